/**
 * An assembler for tests: BPF instructions and functions → a relocatable ELF object, such as clang writes.
 */

/** One instruction, or two slots for `lddw`; `to` is the function whose address the loader puts in. */
export interface Assembled {
  readonly bytes: readonly number[];
  readonly to?: string;
}

/** A section besides those of the program. */
export interface ExtraSection {
  readonly name: string;
  readonly type?: number;
  readonly flags?: number;
  readonly bytes?: readonly number[];
}

/** Any instruction, by its fields. */
export function raw(op: number, dst = 0, src = 0, off = 0, imm = 0): Assembled {
  return { bytes: [op, dst | src << 4, off & 255, off >> 8 & 255, ...word(imm)] };
}

/** `rD = imm`. */
export const mov = (dst: number, imm: number) => raw(0xb7, dst, 0, 0, imm);
/** `rD = rS`. */
export const copy = (dst: number, src: number) => raw(0xbf, dst, src);
/** `rD += imm`. */
export const add = (dst: number, imm: number) => raw(0x07, dst, 0, 0, imm);
/** `rD = *(u32 *)(rS + off)`. */
export const load32 = (dst: number, src: number, off: number) => raw(0x61, dst, src, off);
/** `rD = *(u64 *)(rS + off)`. */
export const load64 = (dst: number, src: number, off: number) => raw(0x79, dst, src, off);
/** `*(u8 *)(rD + off) = rS`. */
export const store8 = (dst: number, src: number, off: number) => raw(0x73, dst, src, off);
/** `*(u64 *)(rD + off) = rS`. */
export const store64 = (dst: number, src: number, off: number) => raw(0x7b, dst, src, off);
/** `goto +off`. */
export const jump = (off: number) => raw(0x05, 0, 0, off);
/** `if rD == imm goto +off`. */
export const jumpIf = (dst: number, imm: number, off: number) => raw(0x15, dst, 0, off, imm);
/** `call` of a helper by number. */
export const helper = (id: number) => raw(0x85, 0, 0, 0, id);
/** `call` of a function in `.text`, relocated by its symbol. */
export const call = (to: string): Assembled => ({ ...raw(0x85, 0, 1, 0, -1), to });
/** `rD = imm ll`, two slots. */
export const lddw = (dst: number, low: number, high = 0): Assembled => (
  { bytes: [...raw(0x18, dst, 0, 0, low).bytes, 0, 0, 0, 0, ...word(high)] }
);
/** `exit`. */
export const exit = raw(0x95);

/** An object with `main` in its section and `text` as subprograms. */
export function assemble(
  { main, text = {}, section = "xdp", extra = [] }: {
    main: readonly Assembled[];
    text?: Readonly<Record<string, readonly Assembled[]>>;
    section?: string;
    extra?: readonly ExtraSection[];
  },
): Uint8Array<ArrayBuffer> {
  const strings = [0], offsets = new Map<string, number>([["", 0]]);
  const name = (text: string) => {
    if (!offsets.has(text)) {
      offsets.set(text, strings.length);
      strings.push(...new TextEncoder().encode(text), 0);
    }
    return offsets.get(text)!;
  };
  const symbols = [...zeros(24)], indexes = new Map<string, number>();
  const define = (label: string, shndx: number, value: number, size: number) => {
    indexes.set(label, symbols.length / 24);
    symbols.push(...word(name(label)), 0x12, 0, shndx, 0, ...long(value), ...long(size));
  };
  const code = (instructions: readonly Assembled[]) => instructions.flatMap((i) => [...i.bytes]);
  const mainBytes = code(main), textBytes = Object.values(text).flatMap(code);
  define("program", 1, 0, mainBytes.length);
  let start = 0;
  for (const [label, instructions] of Object.entries(text)) {
    define(label, 2, start, code(instructions).length);
    start += code(instructions).length;
  }
  const relocations = (instructions: readonly Assembled[]) => {
    const found: number[] = [];
    let at = 0;
    for (const { bytes, to } of instructions) {
      if (to) found.push(...long(at), ...word(10), ...word(indexes.get(to)!));
      at += bytes.length;
    }
    return found;
  };
  const sections: { name: string; type: number; flags: number; bytes: number[]; link?: number; info?: number }[] = [
    { name: "", type: 0, flags: 0, bytes: [] },
    { name: section, type: 1, flags: 6, bytes: mainBytes },
    { name: ".text", type: 1, flags: 6, bytes: textBytes },
    { name: ".symtab", type: 2, flags: 0, bytes: symbols, link: 4, info: 1 },
    { name: ".strtab", type: 3, flags: 0, bytes: [] },
    { name: `.rel${section}`, type: 9, flags: 0, bytes: relocations(main), link: 3, info: 1 },
    { name: ".rel.text", type: 9, flags: 0, bytes: relocations(Object.values(text).flat()), link: 3, info: 2 },
    ...extra.map((s) => ({ name: s.name, type: s.type ?? 1, flags: s.flags ?? 3, bytes: [...s.bytes ?? [0]] })),
  ];
  const named = sections.map((s) => name(s.name));
  sections[4]!.bytes = strings;
  const entrySize = (type: number) => type === 2 ? 24 : type === 9 ? 16 : 0;
  let at = 64;
  const table: number[] = [];
  let body: number[] = [];
  for (const [index, s] of sections.entries()) {
    table.push(...word(named[index]!), ...word(s.type), ...long(s.flags), ...long(0), ...long(at));
    table.push(...long(s.bytes.length), ...word(s.link ?? 0), ...word(s.info ?? 0), ...long(8));
    table.push(...long(entrySize(s.type)));
    body = body.concat(s.bytes, zeros(-s.bytes.length & 7));
    at = 64 + body.length;
  }
  const header = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, ...zeros(9), 1, 0, 247, 0, ...word(1), ...long(0), ...long(0)];
  header.push(...long(at), ...word(0), 64, 0, 0, 0, 0, 0, 64, 0, sections.length, 0, 4, 0);
  return new Uint8Array(header.concat(body, table));
}

function word(n: number): number[] {
  return [n & 255, n >> 8 & 255, n >> 16 & 255, n >>> 24];
}

function long(n: number): number[] {
  return [...word(n), ...word(0)];
}

function zeros(n: number): number[] {
  return Array<number>(n).fill(0);
}
