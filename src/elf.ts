/**
 * Reads a compiled BPF object: ELF sections, symbols, relocations, instructions, and the maps its BTF declares.
 *
 * It sees the object as libbpf does and is stricter wherever libbpf could understand something else: a section,
 * symbol or relocation that one XDP program with its own maps doesn't need becomes an objection. The object is
 * hostile input: bytes that are no BPF object are an error of kind `data`, every loop is bounded by the input's
 * size, and DataView does the bounds checks. It judges no instruction; src/safety.ts does.
 */
import { IbsrError } from "./errors.ts";

/** One instruction, its fields as in linux/bpf.h, and what the loader is going to put into it. */
export interface Instruction {
  readonly op: number;
  readonly dst: number;
  readonly src: number;
  readonly off: number;
  readonly imm: number;
  /** The constant of a well-formed `lddw`, which takes two slots. */
  readonly wide?: bigint;
  /** The map whose address the loader puts into an `lddw`. */
  map?: BpfMap;
  /** The slot that a call to a subprogram goes to. */
  callee?: number | undefined;
}

/** A function by its slots: from `start`, before `end`. */
export interface BpfFunction {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A map as `.maps` declares it; `type` is that of `enum bpf_map_type`. */
export interface BpfMap {
  readonly name: string;
  readonly type: number;
  /** What a map of maps holds. */
  readonly inner?: BpfMap;
}

/** A BPF object. */
export interface BpfObject {
  /** The section of the program: `xdp` or `xdp.frags`. */
  readonly section: string | undefined;
  /** The program's instructions, then those of `.text`; undefined is the second half of an `lddw`. */
  readonly slots: readonly (Instruction | undefined)[];
  /** The program first, then the subprograms; empty if there isn't exactly one program. */
  readonly functions: readonly BpfFunction[];
  readonly maps: readonly BpfMap[];
  /** What it has beyond one XDP program, its subprograms and its maps. */
  readonly objections: readonly string[];
  /** A slot as section and number, as `llvm-objdump -d` counts them. */
  readonly place: (slot: number) => string;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly link: number;
  readonly target: number;
  readonly entry: number;
  readonly bytes: DataView;
}

interface Symbol {
  readonly name: string;
  readonly type: number;
  readonly section: number;
  readonly value: number;
  readonly size: number;
}

const MAX_BYTES = 4 * 1024 * 1024;
const MAX_MAPS = 64, MAX_ATTRIBUTES = 16; // the kernel's limit for a program; libbpf knows 12 attributes
const EM_BPF = 247, ET_REL = 1;
const SHT = { PROGBITS: 1, SYMTAB: 2, STRTAB: 3, REL: 9, LLVM_ADDRSIG: 0x6fff4c03 };
const SHF = { ALLOC: 2, EXECINSTR: 4, COMPRESSED: 0x800 };
const STT = { OBJECT: 1, FUNC: 2 };
const R_BPF_64_64 = 1, R_BPF_64_32 = 10;
const LDDW = 0x18, CALL = 0x85, PSEUDO_CALL = 1;
const BTF = { PTR: 2, ARRAY: 3, STRUCT: 4, VAR: 14, DATASEC: 15 };

const PROGRAM_SECTIONS = ["xdp", "xdp.frags"];
/** The other sections that an object may have, by type, besides relocations and `.debug_*`. */
const SECTIONS = new Map([
  [".text", SHT.PROGBITS],
  [".maps", SHT.PROGBITS],
  ["license", SHT.PROGBITS],
  [".BTF", SHT.PROGBITS],
  [".BTF.ext", SHT.PROGBITS],
  [".symtab", SHT.SYMTAB],
  [".strtab", SHT.STRTAB],
  [".shstrtab", SHT.STRTAB],
  [".llvm_addrsig", SHT.LLVM_ADDRSIG],
]);

/**
 * Reads an object.
 *
 * @throws {IbsrError} `data`, if the bytes are not an ELF64 little-endian BPF object or contradict themselves.
 */
export function parseObject(bytes: Uint8Array): BpfObject {
  try {
    return readObject(bytes);
  } catch (error) {
    if (error instanceof RangeError) malformed("it is cut short or points outside itself", error);
    throw error;
  }
}

function malformed(state: string, cause?: unknown): never {
  throw new IbsrError("data", `Cannot read the BPF object: ${state}`, cause === undefined ? {} : { cause });
}

function readObject(bytes: Uint8Array): BpfObject {
  const objections: string[] = [];
  const sections = readSections(bytes);
  const named = checkSections(sections, objections);
  const symbols = readSymbols(sections);
  for (const s of symbols) {
    if (s.section === 0 && s.name) objections.push(`it needs ${quote(s.name)} from outside the object`);
  }
  const maps = readMaps({ named, sections, symbols, objections });
  checkExtension(named.get(".BTF.ext"), objections);

  const programs = sections.filter((s) => PROGRAM_SECTIONS.includes(s.name) && s.flags & SHF.EXECINSTR);
  const main = programs[0];
  if (!main || programs.length > 1) {
    objections.push(`it has ${programs.length} sections with an XDP program, and should have 1`);
    return { section: undefined, slots: [], functions: [], maps: [...maps.values()], objections, place: String };
  }
  const text = named.get(".text");
  const program = readInstructions(main);
  const base = program.length;
  const slots = text ? program.concat(readInstructions(text)) : program;
  const place = (slot: number) => slot < base ? `${main.name}:${slot}` : `.text:${slot - base}`;

  for (let slot = base; slot < slots.length; slot++) {
    const insn = slots[slot];
    if (insn?.op === CALL && insn.src === PSEUDO_CALL) insn.callee = slot + insn.imm + 1;
  }
  for (const section of sections) {
    const target = section.type === SHT.REL ? sections[section.target] : undefined;
    if (target === main) relocate(section, { first: 0, end: base });
    else if (target && target === text) relocate(section, { first: base, end: slots.length });
  }
  const functions = readFunctions();
  return { section: main.name, slots, functions, maps: [...maps.values()], objections, place };

  /** Follows the relocations of one section of instructions. */
  function relocate(section: Section, { first, end }: { first: number; end: number }): void {
    const seen = new Set<number>();
    for (let at = 0; at < section.bytes.byteLength; at += 16) {
      const slot = first + u64(section.bytes, at) / 8;
      const type = section.bytes.getUint32(at + 8, true);
      const symbol = symbols[section.bytes.getUint32(at + 12, true)];
      const insn = slot < end ? slots[slot] : undefined;
      if (!insn || !symbol || seen.has(slot)) malformed("a relocation fits no instruction");
      seen.add(slot);
      const target = sections[symbol.section];
      if (insn.op === LDDW && insn.src === 0 && type === R_BPF_64_64 && target?.name === ".maps") {
        const map = maps.get(symbol.value);
        if (map) insn.map = map;
        if (map && insn.wide === 0n) continue;
      }
      if (insn.op === CALL && insn.src === PSEUDO_CALL && type === R_BPF_64_32 && text && target === text) {
        insn.callee = base + symbol.value / 8 + insn.imm + 1;
        continue;
      }
      insn.callee = undefined;
      const name = quote(symbol.name || (target?.name ?? ""));
      objections.push(`the loader would change ${place(slot)} (relocation of type ${type} against ${name})`);
    }
  }

  /** The program and its subprograms, which must leave no instruction between them. */
  function readFunctions(): BpfFunction[] {
    const of = (section: Section) =>
      symbols.filter((s) => s.type === STT.FUNC && sections[s.section] === section).sort((a, b) => a.value - b.value);
    const [program, ...others] = of(main!);
    if (!program || others.length > 0) {
      objections.push(`section ${quote(main!.name)} has ${others.length + (program ? 1 : 0)} programs, not 1`);
      return [];
    }
    const functions: BpfFunction[] = [];
    for (const [first, end, list] of [[0, base, [program]], [base, slots.length, text ? of(text) : []]] as const) {
      let next = first;
      for (const { name, value, size } of list) {
        if (first + value / 8 !== next || size === 0 || size % 8 !== 0) break;
        functions.push({ name, start: next, end: next + size / 8 });
        next += size / 8;
      }
      if (next === end) continue;
      objections.push(`function symbols do not cover the instructions exactly, from ${place(Math.min(next, end))}`);
      return [];
    }
    return functions;
  }
}

function readSections(bytes: Uint8Array): Section[] {
  if (bytes.length > MAX_BYTES) malformed(`it is larger than ${MAX_BYTES} bytes`);
  const file = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.getUint32(0) !== 0x7f454c46 || file.getUint16(4) !== 0x0201) malformed("it is no ELF64 little-endian file");
  if (file.getUint16(16, true) !== ET_REL || file.getUint16(18, true) !== EM_BPF) malformed("it is no BPF object");
  const table = u64(file, 0x28), count = file.getUint16(0x3c, true), names = file.getUint16(0x3e, true);
  if (file.getUint16(0x3a, true) !== 64 || count < 2) malformed("it has no section table");

  const section = (index: number, name: (at: number) => string): Section => {
    const at = table + index * 64;
    return {
      name: name(file.getUint32(at, true)),
      type: file.getUint32(at + 4, true),
      flags: u64(file, at + 8),
      link: file.getUint32(at + 40, true),
      target: file.getUint32(at + 44, true),
      entry: u64(file, at + 56),
      bytes: index === 0 ? new DataView(new ArrayBuffer(0)) : view(file, u64(file, at + 24), u64(file, at + 32)),
    };
  };
  if (names >= count) malformed("its section names are missing");
  const strings = section(names, () => "").bytes;
  return Array.from({ length: count }, (_, index) => section(index, (at) => string(strings, at)));
}

/** Sections by name. Each is expected once, by its name and type, or objected to. */
function checkSections(sections: readonly Section[], objections: string[]): Map<string, Section> {
  const named = new Map<string, Section>();
  for (const section of sections.slice(1)) {
    const { name, type, flags } = section;
    if (named.has(name)) objections.push(`it has two sections named ${quote(name)}`);
    named.set(name, section);
    if (flags & SHF.COMPRESSED) objections.push(`section ${quote(name)} is compressed`);
    const executable = (flags & SHF.EXECINSTR) !== 0;
    if (type === SHT.REL) {
      if (section.entry !== 16 || section.bytes.byteLength % 16) malformed(`${quote(name)} holds no relocations`);
      if (sections[section.target] && name === `.rel${sections[section.target]!.name}` && !executable) continue;
    } else if (PROGRAM_SECTIONS.includes(name) || name === ".text") {
      if (executable && type === SHT.PROGBITS) continue;
    } else if (executable) {
      objections.push(`section ${quote(name)} holds another program`);
      continue;
    } else if (SECTIONS.get(name) === type) continue;
    else if (name.startsWith(".debug_") && !(flags & SHF.ALLOC)) continue;
    objections.push(
      name === "maps" ? 'section "maps" declares maps without BTF' : `section ${quote(name)} is not expected`,
    );
  }
  return named;
}

function readSymbols(sections: readonly Section[]): Symbol[] {
  const tables = sections.filter((s) => s.type === SHT.SYMTAB);
  const table = tables[0];
  const strings = table && sections[table.link];
  if (!table || !strings || tables.length > 1 || table.entry !== 24) malformed("it has no symbol table");
  const symbols: Symbol[] = [];
  for (let at = 0; at + 24 <= table.bytes.byteLength; at += 24) {
    symbols.push({
      name: string(strings.bytes, table.bytes.getUint32(at, true)),
      type: table.bytes.getUint8(at + 4) & 15,
      section: table.bytes.getUint16(at + 6, true),
      value: u64(table.bytes, at + 8),
      size: u64(table.bytes, at + 16),
    });
  }
  return symbols;
}

function readInstructions({ bytes, name }: Section): (Instruction | undefined)[] {
  if (bytes.byteLength % 8) malformed(`section ${quote(name)} is not a whole number of instructions`);
  const slots: (Instruction | undefined)[] = [];
  for (let at = 0; at < bytes.byteLength; at += 8) {
    const registers = bytes.getUint8(at + 1);
    const insn = {
      op: bytes.getUint8(at),
      dst: registers & 15,
      src: registers >> 4,
      off: bytes.getInt16(at + 2, true),
      imm: bytes.getInt32(at + 4, true),
    };
    if (insn.op !== LDDW || at + 16 > bytes.byteLength || bytes.getUint32(at + 8, true) !== 0) {
      slots.push(insn);
      continue;
    }
    at += 8;
    slots.push({ ...insn, wide: BigInt(bytes.getUint32(at + 4, true)) << 32n | BigInt(insn.imm >>> 0) }, undefined);
  }
  return slots;
}

/** CO-RE relocations rewrite immediates at load, so that the object's bytes say nothing about what runs. */
function checkExtension(section: Section | undefined, objections: string[]): void {
  if (!section || section.bytes.byteLength === 0) return;
  const { bytes } = section;
  if (bytes.getUint16(0, true) !== 0xeb9f) malformed('section ".BTF.ext" has no header');
  if (bytes.getUint32(4, true) < 32 || bytes.getUint32(28, true) === 0) return;
  objections.push("the loader would rewrite instructions for the running kernel (CO-RE relocations)");
}

/** The maps that `.maps` declares in BTF, by their offset in that section. */
function readMaps(
  { named, sections, symbols, objections }: {
    named: ReadonlyMap<string, Section>;
    sections: readonly Section[];
    symbols: readonly Symbol[];
    objections: string[];
  },
): Map<number, BpfMap> {
  const maps = new Map<number, BpfMap>();
  const section = named.get(".maps");
  if (!section) return maps;
  const btf = named.get(".BTF")?.bytes;
  if (!btf || btf.getUint16(0, true) !== 0xeb9f) malformed('section ".maps" has no BTF');
  const header = btf.getUint32(4, true);
  const records = view(btf, header + btf.getUint32(8, true), btf.getUint32(12, true));
  const strings = view(btf, header + btf.getUint32(16, true), btf.getUint32(20, true));
  const types = indexTypes(records);
  const declared = symbols.filter((s) => s.type === STT.OBJECT && sections[s.section] === section);
  if (declared.length > MAX_MAPS) malformed(`it has more than ${MAX_MAPS} maps`);
  const offsets = new Map(declared.map((symbol) => [symbol.name, symbol.value]));

  const kind = (type: number) => records.getUint32(at(type) + 4, true) >>> 24 & 31;
  const variables = (type: number) => records.getUint32(at(type) + 4, true) & 0xffff;
  const refers = (type: number) => records.getUint32(at(type) + 8, true);
  const name = (where: number) => string(strings, records.getUint32(where, true));
  for (let type = 1; type < types.length; type++) {
    if (kind(type) !== BTF.DATASEC || name(at(type)) !== ".maps") continue;
    const placed = refers(type) !== 0; // a size, so the offsets have been filled in
    for (let i = 0; i < variables(type); i++) {
      const entry = at(type) + 12 + 12 * i;
      const variable = records.getUint32(entry, true);
      if (kind(variable) !== BTF.VAR) malformed("its BTF declares a map that is no variable");
      const label = name(at(variable));
      const offset = offsets.get(label);
      if (offset === undefined || maps.has(offset) || (placed && records.getUint32(entry + 4, true) !== offset)) {
        malformed(`its BTF and its symbols disagree about map ${quote(label)}`);
      }
      maps.set(offset, readMap(label, resolve(refers(variable)), true));
    }
  }
  if (maps.size !== declared.length) malformed("its BTF and its symbols disagree about the maps");
  return maps;

  function at(type: number): number {
    return types[type] ?? malformed("its BTF refers to a type that is missing");
  }

  /** Follows typedef, const, volatile and the like. */
  function resolve(type: number): number {
    for (let steps = 0; steps < 32; steps++) {
      if (![8, 9, 10, 11, 18].includes(kind(type))) return type;
      type = refers(type);
    }
    return malformed("its BTF has a type that refers to itself");
  }

  /** The number that `__uint(name, number)` hides in a pointer to an array. */
  function length(type: number): number {
    const array = resolve(refers(resolve(type)));
    if (kind(resolve(type)) !== BTF.PTR || kind(array) !== BTF.ARRAY) malformed("its BTF has a map without a number");
    return records.getUint32(at(array) + 20, true);
  }

  function readMap(label: string, struct: number, outer: boolean): BpfMap {
    if (kind(struct) !== BTF.STRUCT) malformed(`its BTF declares map ${quote(label)} without a struct`);
    if (variables(struct) > MAX_ATTRIBUTES) malformed(`its BTF declares map ${quote(label)} without end`);
    let type = 0, inner: BpfMap | undefined;
    for (let i = 0; i < variables(struct); i++) {
      const member = at(struct) + 12 + 12 * i;
      const memberType = resolve(records.getUint32(member + 4, true));
      const attribute = name(member);
      if (attribute === "type") type = length(memberType);
      else if (attribute === "values" && outer) {
        if (kind(memberType) !== BTF.ARRAY) malformed(`its BTF declares map ${quote(label)} without inner maps`);
        const pointer = resolve(records.getUint32(at(memberType) + 12, true));
        const target = kind(pointer) === BTF.PTR ? resolve(refers(pointer)) : 0;
        // Anything else is a program: a map of those is refused by its type.
        if (target && kind(target) === BTF.STRUCT) inner = readMap(`${label}.inner`, target, false);
      } else if (attribute === "pinning") {
        objections.push(`map ${quote(label)} is pinned, so another program may share it`);
      } else if (!["max_entries", "key", "value", "key_size", "value_size", "map_flags"].includes(attribute)) {
        objections.push(`map ${quote(label)} has the attribute ${quote(attribute)}`);
      }
    }
    return inner ? { name: label, type, inner } : { name: label, type };
  }
}

/** Where each BTF type starts; index 0 is void. */
function indexTypes(records: DataView): (number | undefined)[] {
  const types: (number | undefined)[] = [undefined];
  const perMember = new Map([[4, 12], [5, 12], [6, 8], [13, 8], [15, 12], [19, 12]]);
  const fixed = new Map([[1, 4], [3, 12], [14, 4], [17, 4]]);
  for (let at = 0; at < records.byteLength;) {
    types.push(at);
    const kind = records.getUint32(at + 4, true) >>> 24 & 31;
    if (kind === 0 || kind > 19) malformed(`its BTF has a type of unknown kind ${kind}`);
    at += 12 + (perMember.get(kind) ?? 0) * (records.getUint32(at + 4, true) & 0xffff) + (fixed.get(kind) ?? 0);
  }
  return types;
}

function u64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/** A part of `outer`; a DataView refuses a part that is not inside. */
function view(outer: DataView, at: number, length: number): DataView {
  if (at + length > outer.byteLength) throw new RangeError(`${at} + ${length} is past ${outer.byteLength}`);
  return new DataView(outer.buffer, outer.byteOffset + at, length);
}

/** A name, with what is not printable ASCII as `?`: names are shown, and none that matters has any. */
function string(strings: DataView, at: number): string {
  let name = "";
  for (let code = strings.getUint8(at); code !== 0; code = strings.getUint8(++at)) {
    name += code < 0x20 || code > 0x7e ? "?" : String.fromCharCode(code);
    if (name.length > 255) malformed("it has a name longer than 255 bytes");
  }
  return name;
}

function quote(name: string): string {
  return JSON.stringify(name);
}
