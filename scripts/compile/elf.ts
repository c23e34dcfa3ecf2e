/**
 * What embedding needs to know of ELF files, and no more: program headers, the dynamic section, sections.
 *
 * It reads 64-bit little-endian files, of the two machines ibsr is made for. Numbers of the file's address space
 * are plain numbers: files of this size have none above 2^53. Anything unexpected throws; nothing is guessed.
 */

/** A machine that an executable can be made for. */
export interface Machine {
  name: "x86_64" | "aarch64";
  /** `e_machine`. */
  id: number;
  /** Relocation type of a GOT slot: R_X86_64_GLOB_DAT, R_AARCH64_GLOB_DAT. */
  globDat: number;
  /** The dynamic loader. */
  loader: string;
  /** The largest page size its kernels have: segments are aligned to it. */
  pageBytes: number;
}

/** The machines by name. */
export const MACHINES: Record<Machine["name"], Machine> = {
  x86_64: { name: "x86_64", id: 62, globDat: 6, loader: "/lib64/ld-linux-x86-64.so.2", pageBytes: 0x1000 },
  aarch64: { name: "aarch64", id: 183, globDat: 1025, loader: "/lib/ld-linux-aarch64.so.1", pageBytes: 0x10000 },
};

/** `p_type` and `sh_type` in use. */
export const PT = { LOAD: 1, DYNAMIC: 2, INTERP: 3, NOTE: 4 };
const SHT = { RELA: 4, REL: 9 };
const DT = { STRTAB: 5, SYMTAB: 6, RELA: 7, RELASZ: 8 };
const PF_X = 1;

/** A program header; `at` is its own place in the file. */
export interface Segment {
  at: number;
  type: number;
  flags: number;
  offset: number;
  address: number;
  fileBytes: number;
  memoryBytes: number;
}

/** A premise that does not hold. */
class ElfError extends Error {
  override name = "ElfError";
}

/** Throws an `ElfError` unless `holds`. */
export function demand(holds: unknown, otherwise: string): asserts holds {
  if (!holds) throw new ElfError(otherwise);
}

/** An ELF file. */
export class Elf {
  readonly view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    demand(bytes.length >= 64 && this.view.getUint32(0) === 0x7f454c46, "it is no ELF file");
    demand(bytes[4] === 2 && bytes[5] === 1, "it is no 64-bit little-endian ELF file");
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  u64(at: number): number {
    const value = this.view.getBigUint64(at, true);
    demand(value <= Number.MAX_SAFE_INTEGER, "it has a number above 2^53 where an address should be");
    return Number(value);
  }

  /** The text at `at`, up to its NUL. */
  text(at: number): string {
    const end = this.bytes.indexOf(0, at);
    demand(end >= 0, "a text in it has no end");
    return new TextDecoder().decode(this.bytes.subarray(at, end));
  }

  get type(): number {
    return this.u16(16);
  }

  get machine(): number {
    return this.u16(18);
  }

  get entry(): number {
    return this.u64(24);
  }

  /** The program headers, in order. */
  segments(): Segment[] {
    const start = this.u64(32), size = this.u16(54), count = this.u16(56);
    return Array.from({ length: count }, (_, i) => {
      const at = start + i * size;
      return {
        at,
        type: this.u32(at),
        flags: this.u32(at + 4),
        offset: this.u64(at + 8),
        address: this.u64(at + 16),
        fileBytes: this.u64(at + 32),
        memoryBytes: this.u64(at + 40),
      };
    });
  }

  /** Where in the file an address is. */
  offsetOf(address: number): number {
    const segment = this.segments().find((s) =>
      s.type === PT.LOAD && address >= s.address && address < s.address + s.fileBytes
    );
    demand(segment, `the address 0x${address.toString(16)} is not in the file`);
    return address - segment.address + segment.offset;
  }

  /** Whether code is at an address. */
  isCode(address: number): boolean {
    return this.segments().some((s) =>
      s.type === PT.LOAD && (s.flags & PF_X) !== 0 && address >= s.address && address < s.address + s.fileBytes
    );
  }

  /** The address of the GOT slot that the loader fills with the address of `symbol`. */
  gotSlot(symbol: string, machine: Machine): number {
    const dynamic = this.segments().find((s) => s.type === PT.DYNAMIC);
    demand(dynamic, "it has no dynamic section");
    const tags = new Map<number, number>();
    for (let at = dynamic.offset; this.u64(at) !== 0; at += 16) tags.set(this.u64(at), this.u64(at + 8));
    const tag = (name: keyof typeof DT) => {
      const value = tags.get(DT[name]);
      demand(value !== undefined, `its dynamic section has no DT_${name}`);
      return value;
    };
    const symbols = this.offsetOf(tag("SYMTAB")), texts = this.offsetOf(tag("STRTAB"));
    const relocations = this.offsetOf(tag("RELA")), slots: number[] = [];
    for (let at = relocations; at < relocations + tag("RELASZ"); at += 24) {
      if (this.u32(at + 8) !== machine.globDat) continue;
      if (this.text(texts + this.u32(symbols + this.u32(at + 12) * 24)) === symbol) slots.push(this.u64(at));
    }
    demand(slots.length === 1, `it has ${slots.length} GOT slots for "${symbol}", not one`);
    return slots[0]!;
  }

  /** The bytes of `.text` of an object file that has nothing else to load and nothing to relocate. */
  plainText(): Uint8Array {
    const start = this.u64(40), size = this.u16(58), count = this.u16(60);
    const names = this.u64(start + this.u16(62) * size + 24);
    let text: Uint8Array | undefined;
    for (let at = start; at < start + count * size; at += size) {
      const name = this.text(names + this.u32(at)), type = this.u32(at + 4), loaded = (this.u64(at + 8) & 2) !== 0;
      const offset = this.u64(at + 24), length = this.u64(at + 32);
      demand(length === 0 || (type !== SHT.RELA && type !== SHT.REL), `it has relocations (${name})`);
      if (name === ".text") text = this.bytes.slice(offset, offset + length);
      else demand(!loaded || length === 0, `it has ${name} besides .text`);
    }
    demand(text, "it has no .text");
    return text;
  }
}
