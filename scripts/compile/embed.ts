/**
 * Makes one executable of a `deno` binary and a bundle, where `deno compile` has no runtime base to work with.
 *
 * The binary stays as it is, byte for byte, but for its entry point and one program header: the one of the notes
 * (ABI tag, build id), which nothing needs at run time, loads the code of stub.c instead. What that finds is
 *
 *     deno │ up to a page │ header, code, texts │ bundle │ up to 32 │ digest from the header on │ digest of all
 *
 * Every premise about the binary is checked here, so that another Deno fails the build and not the start; the
 * started program checks the digest. What is *not* here: which flags and variables the program gets.
 */
import { demand, Elf, type Machine, MACHINES, PT } from "./elf.ts";

/** What to put together. */
export interface EmbedOptions {
  /** A `deno` as it is published. */
  runtime: Uint8Array;
  bundle: Uint8Array;
  /** What stands before the script's path, the program's name first: `deno run FLAGS`. */
  arguments: readonly string[];
  /** Variables that stay: `NAME=`, or a beginning of names. All others are taken away. */
  kept: readonly string[];
  /** Variables to set. */
  added: Record<string, string>;
  /** A variable that the program gets under another name, as long as its own. */
  hidden: readonly [name: string, as: string];
  /** The command that checks the whole file before it starts; all check the part that is ibsr's. */
  thorough: string;
}

const ET_DYN = 3;
const PF_R_X = 5;
const HEADER = { bytes: 176, magic: 0x72736269 };
/** 32 bits each, as in stub.c. */
const DIGEST_LANES = 8;
const DIGEST_BYTES = DIGEST_LANES * 4;

const DAMAGED = "ibsr: error: Cannot start: this executable file is damaged\n" +
  "ibsr: hint: copy it again, and compare it with SHA256SUMS\n";
const UNAVAILABLE = "ibsr: error: Cannot start: the executable can't be read, or memory for it is not to be had\n" +
  "ibsr: hint: it needs /proc, memfd_create(2), and leave to read its own file\n";
const NO_FOLDER = "ibsr: error: Cannot start: the working directory was removed\n" +
  "ibsr: hint: cd to one that is there\n";

/**
 * The executable's bytes; the same for the same options and the same clang.
 *
 * @throws {ElfError} if the binary is not what the layout rests on.
 */
export async function embed(options: EmbedOptions): Promise<Uint8Array<ArrayBuffer>> {
  const deno = new Elf(options.runtime);
  const machine = machineOf(deno);
  const { note, end, environSlot } = checkPremises(deno, machine);
  const code = await compileStub(machine);

  const texts = new Texts(code.length);
  const argumentsAt = texts.addList(options.arguments), keptAt = texts.addList(options.kept);
  const added = Object.entries(options.added).map(([name, value]) => `${name}=${value}`);
  const addedAt = texts.addList(added);
  const self = texts.add("/proc/self/exe"), name = texts.add("ibsr"), prefix = texts.add("/proc/self/fd/");
  const [from, as] = options.hidden;
  demand(from.length === as.length, "a hidden variable's other name is not as long");
  const hidden = texts.add(`${from}=`), hiddenAs = texts.add(`${as}=`);
  const thorough = texts.add(options.thorough);
  const damaged = texts.add(DAMAGED), unavailable = texts.add(UNAVAILABLE);
  const noFolder = texts.add(NO_FOLDER);

  const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;
  const offset = roundUp(options.runtime.length, machine.pageBytes), address = roundUp(end, machine.pageBytes);
  const bundleOffset = offset + texts.end;
  const digestOffset = roundUp(bundleOffset + options.bundle.length, DIGEST_BYTES);
  const header = [
    HEADER.magic,
    ...[address, deno.entry, environSlot, offset, bundleOffset, options.bundle.length, digestOffset],
    ...[argumentsAt, options.arguments.length, keptAt, addedAt, added.length],
    ...[self, name, prefix, hidden, hiddenAs, thorough, damaged, unavailable, noFolder],
  ];
  demand(header.length * 8 === HEADER.bytes, "the header is not the one of stub.c");

  const file = new Uint8Array(digestOffset + 2 * DIGEST_BYTES), view = new DataView(file.buffer);
  const put = (at: number, values: number[]) =>
    values.forEach((value, i) => view.setBigUint64(at + i * 8, BigInt(value), true));
  file.set(options.runtime);
  file.set(code, offset);
  put(offset, header);
  texts.write(file, offset);
  file.set(options.bundle, bundleOffset);
  put(24, [address + HEADER.bytes]); // e_entry
  view.setUint32(note.at, PT.LOAD, true);
  view.setUint32(note.at + 4, PF_R_X, true);
  put(note.at + 8, [offset, address, address, texts.end, texts.end, machine.pageBytes]);
  file.set(digest(file.subarray(offset, digestOffset)), digestOffset);
  file.set(digest(file.subarray(0, digestOffset)), digestOffset + DIGEST_BYTES);
  return file;
}

/** Whose machine code a file has. */
export function machineOf(elf: Elf): Machine {
  const machine = Object.values(MACHINES).find((m) => m.id === elf.machine);
  demand(machine, `it is for machine ${elf.machine}, which ibsr is not made for`);
  return machine;
}

/** What the layout rests on: throws unless all of it holds. */
function checkPremises(deno: Elf, machine: Machine) {
  const segments = deno.segments(), loads = segments.filter((s) => s.type === PT.LOAD);
  const loader = segments.find((s) => s.type === PT.INTERP), notes = segments.filter((s) => s.type === PT.NOTE);
  const last = loads.at(-1), note = notes.at(-1);
  demand(deno.type === ET_DYN, "it is not position-independent");
  demand(loader && deno.text(loader.offset) === machine.loader, `its loader is not ${machine.loader}`);
  demand(last, "it has nothing to load");
  demand(loads.every((s, i) => i === 0 || s.address > loads[i - 1]!.address), "its segments are not in order");
  demand(note, "it has no notes, whose program header would be taken over: is it a plain deno?");
  demand(note.at > last.at, "its notes come before a segment: segments would not be in order");
  demand(deno.isCode(deno.entry), "its entry point is not code");
  return { note, end: last.address + last.memoryBytes, environSlot: deno.gotSlot("environ", machine) };
}

/** stub.c for a machine: code that starts with room for the header. */
async function compileStub(machine: Machine): Promise<Uint8Array> {
  const object = await Deno.makeTempFile({ suffix: ".o" });
  try {
    const { success, stderr } = await new Deno.Command("clang", {
      args: [
        ...[`--target=${machine.name}-linux-gnu`, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"],
        ...["-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fpic"],
        ...["-fomit-frame-pointer", "-fno-vectorize", "-fno-slp-vectorize", "-mgeneral-regs-only"],
        ...["-c", `${import.meta.dirname}/stub.c`, "-o", object],
      ],
    }).output();
    demand(success, `clang can't compile stub.c: ${new TextDecoder().decode(stderr)}`);
    const elf = new Elf(await Deno.readFile(object));
    demand(elf.machine === machine.id, "clang has compiled stub.c for another machine");
    const code = elf.plainText();
    demand(code.subarray(0, HEADER.bytes).every((byte) => byte === 0), "the header is not first in stub.o");
    return code;
  } finally {
    await Deno.remove(object);
  }
}

/** NUL-terminated texts behind the code; places are counted from the header. */
class Texts {
  readonly #parts: Uint8Array[] = [];
  end: number;

  constructor(readonly start: number) {
    this.end = start;
  }

  add(text: string): number {
    demand(!text.includes("\0"), `there is a NUL in "${text}"`);
    const at = this.end, bytes = new TextEncoder().encode(`${text}\0`);
    this.#parts.push(bytes);
    this.end += bytes.length;
    return at;
  }

  /** Texts, and an empty one as the list's end. */
  addList(texts: readonly string[]): number {
    const at = this.end;
    for (const text of texts) {
      demand(text !== "", "an empty text would end the list");
      this.add(text);
    }
    this.add("");
    return at;
  }

  write(file: Uint8Array, offset: number): void {
    let at = offset + this.start;
    for (const part of this.#parts) {
      file.set(part, at);
      at += part.length;
    }
  }
}

/**
 * The digest that stub.c compares: eight lanes, each a chain over every eighth word of 32 bits. Each step can be
 * undone, so that any change within one word changes it for certain. It is for damage; for malice there are
 * signatures.
 */
function digest(bytes: Uint8Array<ArrayBuffer>): Uint8Array {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4); // little-endian, as both machines
  const lanes = Uint32Array.from({ length: DIGEST_LANES }, (_, i) => i);
  for (let i = 0; i < words.length; i++) {
    const mixed = lanes[i % DIGEST_LANES]! ^ words[i]!;
    lanes[i % DIGEST_LANES] = Math.imul((mixed << 13) | (mixed >>> 19), 0x9e3779b1);
  }
  return new Uint8Array(lanes.buffer);
}
