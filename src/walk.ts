/**
 * Walks every path through a BPF program and finds what it can return, call and write to.
 *
 * An abstract interpreter: for each register and stack slot it keeps what that can hold, which is one of a few
 * numbers, any number, or a kind of pointer. Paths that meet are joined, so the walk ends; subprograms are walked
 * anew for each call. What it can't follow is a refusal. It relies on what the kernel's verifier enforces on any
 * program before it runs: bounds, null checks, termination, and that a number is never used as a pointer. What
 * a program may do is src/safety.ts's to say; here is only what this walk knows the effect of.
 */
import type { BpfFunction, BpfMap, BpfObject, Instruction } from "./elf.ts";

/** `enum xdp_action`, in order. */
const ACTIONS = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];

/** The kernel functions that a program may call. None of them writes anywhere but into the map it is given. */
export const ALLOWED_HELPERS: ReadonlyMap<number, string> = new Map([
  [1, "map_lookup_elem"],
  [2, "map_update_elem"],
  [188, "xdp_get_buff_len"],
]);
const TAKES_MAP = [1, 2];
const LOOKUP = 1;

/** Names for those that a refusal is likely to be about; numbers are from `__BPF_FUNC_MAPPER` in linux/bpf.h. */
const OTHER_HELPERS: Record<number, string> = {
  3: "map_delete_elem",
  4: "probe_read",
  5: "ktime_get_ns",
  6: "trace_printk",
  10: "l3_csum_replace",
  12: "tail_call",
  23: "redirect",
  25: "perf_event_output",
  28: "csum_diff",
  36: "probe_write_user",
  44: "xdp_adjust_head",
  51: "redirect_map",
  54: "xdp_adjust_meta",
  65: "xdp_adjust_tail",
  69: "fib_lookup",
  87: "map_push_elem",
  109: "send_signal",
  113: "probe_read_kernel",
  130: "ringbuf_output",
  181: "loop",
  189: "xdp_load_bytes",
  190: "xdp_store_bytes",
};

/** The map types that a program may have: memory of its own, and references to such memory. */
export const ALLOWED_MAP_TYPES: readonly string[] = ["ARRAY", "PERCPU_ARRAY", "LRU_HASH", "ARRAY_OF_MAPS"];

/** `enum bpf_map_type`, in order. */
const MAP_TYPES = ("UNSPEC HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE CGROUP_ARRAY " +
  "LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP SOCKMAP CPUMAP XSKMAP SOCKHASH " +
  "CGROUP_STORAGE REUSEPORT_SOCKARRAY PERCPU_CGROUP_STORAGE QUEUE STACK SK_STORAGE DEVMAP_HASH STRUCT_OPS RINGBUF " +
  "INODE_STORAGE TASK_STORAGE BLOOM_FILTER USER_RINGBUF CGRP_STORAGE ARENA").split(" ");

/**
 * What a register or a stack slot can hold. `of` lists the numbers, or a stack pointer's distances from the top of
 * frame `frame`; without it, any. "unknown" is anything at all, an unreadable register included.
 */
export interface Value {
  readonly is: "number" | "stack" | "packet" | "context" | "map" | "mapValue" | "unknown";
  readonly of?: readonly bigint[] | undefined;
  readonly frame?: number;
  readonly map?: BpfMap;
}

const UNKNOWN: Value = { is: "unknown" };
const NUMBER: Value = { is: "number" };
const PACKET: Value = { is: "packet" };
const MAP_VALUE: Value = { is: "mapValue" };
const MAX_ALTERNATIVES = 8;

/** Written stack bytes by offset from the frame's top (negative); overlapping ones are never both there. */
type Frame = ReadonlyMap<number, { readonly size: number; readonly value: Value }>;

/** What is known before an instruction: r0 to r9, and the stack frames of this function and its callers. */
interface State {
  registers: Value[];
  frames: Frame[];
}

const MAX_FRAMES = 8, STACK_BYTES = 512; // the kernel's limits
const MAX_INSTRUCTIONS = 8192, MAX_STEPS = 200_000; // several times what the program itself takes

/** Where a store goes that is allowed: the stack, a map value, or a map value by atomic addition. */
export type Destination = "stack" | "mapValue" | "atomic";

/** Why a slot's instruction is refused. */
export interface Objection {
  readonly about: "stores" | "helpers" | "instructions";
  readonly slot: number;
  readonly reason: string;
}

/** What a walk finds, by slot. */
export interface Findings {
  /** What r0 holds at each exit of the program itself. */
  readonly exits: ReadonlyMap<number, Value>;
  /** The slots that call each helper. */
  readonly helpers: ReadonlyMap<number, ReadonlySet<number>>;
  /** The slots that store to each destination. */
  readonly stores: Readonly<Record<Destination, ReadonlySet<number>>>;
  /** What can't be shown or must not be. */
  readonly refusals: readonly Objection[];
}

/** Walks every path of the program and of what it calls. */
export function walk(object: BpfObject): Findings {
  const exits = new Map<number, Value>();
  const helpers = new Map<number, Set<number>>();
  const stores = { stack: new Set<number>(), mapValue: new Set<number>(), atomic: new Set<number>() };
  const refusals = new Map<string, Objection>();
  const reached = new Set<number>();
  const [main, ...subprograms] = object.functions;
  const callees = new Map(subprograms.map((fn) => [fn.start, fn]));
  const joints = findJoints(object);
  let steps = 0;

  if (object.slots.length > MAX_INSTRUCTIONS) {
    refuse("instructions", "the program is too long to follow", MAX_INSTRUCTIONS);
  } else if (main) {
    const registers = Array<Value>(10).fill(UNKNOWN);
    registers[1] = { is: "context" };
    follow(main, { registers, frames: [new Map()] });
    const lost = object.slots.findIndex((insn, slot) => insn && !reached.has(slot));
    const followed = ![...refusals.values()].some((refusal) => refusal.about === "instructions");
    if (lost >= 0 && followed) refuse("instructions", "no path leads here", lost);
  }
  return { exits, helpers, stores, refusals: [...refusals.values()] };

  /** Later visits have joined more, so the first reason is the most precise. */
  function refuse(about: Objection["about"], reason: string, slot: number): void {
    const key = `${about} ${slot}`;
    if (!refusals.has(key)) refusals.set(key, { about, slot, reason });
  }

  /** Runs a function to the fixed point of its states. Returns what is known at its exits, if it has any. */
  function follow(fn: BpfFunction, entry: State): State | undefined {
    const before = new Map<number, State>([[fn.start, entry]]);
    const pending = new Set([fn.start]);
    let atExit: State | undefined;
    const places = [...joints].filter((slot) => slot >= fn.start && slot < fn.end);
    while (pending.size > 0) {
      // Front to back, so that most joins are complete before they are passed on; back again for each loop.
      for (const slot of places) {
        if (!pending.delete(slot)) continue;
        const { registers, frames } = before.get(slot)!;
        const end = followStraight(fn, slot, { registers: [...registers], frames: [...frames] });
        if (end === undefined) return undefined;
        if (end.exits) atExit = atExit ? joinStates(atExit, end.state) : end.state;
        for (const next of end.next) {
          const old = before.get(next);
          const joined = old ? joinStates(old, end.state) : end.state;
          if (joined === old) continue;
          before.set(next, joined);
          pending.add(next);
        }
      }
    }
    return atExit;
  }

  /**
   * Applies instructions to `state`, from `slot` on to where paths part, meet or end: few states have to be kept.
   * Returns what it comes to, where that leads, and whether the function ends there; undefined if it gives up.
   */
  function followStraight(
    fn: BpfFunction,
    slot: number,
    state: State,
  ): { state: State; next: readonly number[]; exits: boolean } | undefined {
    while (true) {
      if (++steps > MAX_STEPS) return void refuse("instructions", "the paths are too many to follow", slot);
      const insn = object.slots[slot];
      if (!insn) {
        refuse("instructions", "a path leads into the middle of an instruction", slot);
        return { state, next: [], exits: false };
      }
      reached.add(slot);
      if (insn.op === 0x95) {
        if (state.frames.length === 1) exits.set(slot, state.registers[0]!);
        return { state, next: [], exits: true };
      }
      const next = execute(insn, slot, state);
      const isInside = (to: number) => to >= fn.start && to < fn.end;
      if (!next.every(isInside)) {
        refuse("instructions", `a path leads out of ${JSON.stringify(fn.name)}`, slot);
        return { state, next: next.filter(isInside), exits: false };
      }
      if (next.length !== 1 || joints.has(next[0]!)) return { state, next, exits: false };
      slot = next[0]!;
    }
  }

  /** Applies one instruction to `state`. Returns the slots that can follow. */
  function execute(insn: Instruction, slot: number, state: State): number[] {
    const next = slot + (insn.op === 0x18 ? 2 : 1);
    const { op, dst, src, off, imm } = insn;
    const kind = op & 7;
    const wide = kind === 7;
    if (dst > 10 || src > 10) return notUnderstood();
    switch (kind) {
      case 0: // LD
        if (op !== 0x18 || off !== 0 || src !== 0 || insn.wide === undefined) return notUnderstood();
        return set(insn.map ? { is: "map", map: insn.map } : number(insn.wide));
      case 1: // LDX
        if (op >> 5 !== 3) return notUnderstood();
        return set(load(state, { base: get(src), off, size: sizeOf(op) }));
      case 2: // ST
        if (op >> 5 !== 3) return notUnderstood();
        store(number(BigInt(imm)));
        return [next];
      case 3: // STX
        if (op >> 5 === 3) store(get(src));
        else if (op >> 5 === 6 && sizeOf(op) >= 4 && (imm === 0 || imm === 1)) {
          const { is } = get(dst);
          store(UNKNOWN, true);
          if (imm === 1) { // the old value comes back
            if (src > 9) return notUnderstood();
            state.registers[src] = is === "mapValue" ? NUMBER : UNKNOWN;
          }
        } else return notUnderstood();
        return [next];
      case 4: // ALU
      case 7: { // ALU64
        if (op >> 4 > 13 || off !== 0) return notUnderstood();
        return set(compute(op & 0xf0, { a: get(dst), b: op & 8 ? get(src) : number(BigInt(imm)), wide }));
      }
    }
    // JMP and JMP32
    if (op === 0x05) return [next + off];
    if (op === 0x85) return call();
    if (op >> 4 === 0 || op >> 4 === 8 || op >> 4 === 9 || op >> 4 > 13) return notUnderstood();
    return [next, next + off];

    function notUnderstood(): [] {
      refuse("instructions", `instruction 0x${op.toString(16).padStart(2, "0")} is not understood`, slot);
      return [];
    }

    function get(register: number): Value {
      return register === 10 ? { is: "stack", frame: state.frames.length - 1, of: [0n] } : state.registers[register]!;
    }

    function set(value: Value): number[] {
      if (dst > 9) return notUnderstood();
      state.registers[dst] = value;
      return [next];
    }

    function store(value: Value, atomic = false): void {
      const base = get(dst);
      if (base.is === "mapValue") return void stores[atomic ? "atomic" : "mapValue"].add(slot);
      if (base.is === "stack" && writeStack(state, { base, off, size: sizeOf(op), value })) {
        return void stores.stack.add(slot);
      }
      refuse("stores", base.is === "stack" ? "writes past its stack" : `writes through ${DESCRIPTIONS[base.is]}`, slot);
      forgetStack();
    }

    /** After something refused, the rest of the walk must still claim nothing that isn't so. */
    function forgetStack(): void {
      state.frames = state.frames.map(() => new Map());
    }

    function call(): number[] {
      if (src === 1) return callSubprogram();
      const args = state.registers.slice(0, 6);
      state.registers.fill(UNKNOWN, 0, 6);
      if (src !== 0) {
        refuse("helpers", src === 2 ? "calls a kernel function (kfunc)" : `makes a call of unknown kind ${src}`, slot);
        forgetStack();
        return [next];
      }
      const slots = helpers.get(imm) ?? new Set();
      helpers.set(imm, slots.add(slot));
      if (!ALLOWED_HELPERS.has(imm)) {
        refuse("helpers", `calls ${helperName(imm)}, which is not on the list`, slot);
        forgetStack();
        return [next];
      }
      const map = args[1]!;
      if (!TAKES_MAP.includes(imm)) state.registers[0] = NUMBER;
      else if (map.is !== "map") {
        refuse("helpers", `passes ${DESCRIPTIONS[map.is]} as a map to ${helperName(imm)}`, slot);
      } else state.registers[0] = imm !== LOOKUP ? NUMBER : found(map.map!);
      return [next];
    }

    function callSubprogram(): number[] {
      const callee = callees.get(insn.callee ?? -1);
      if (!callee) refuse("instructions", "calls a subprogram that is not there", slot);
      else if (state.frames.length >= MAX_FRAMES) refuse("instructions", "calls nest too deep", slot);
      if (!callee || state.frames.length >= MAX_FRAMES) return [];
      const registers = state.registers.map((value, r) => 1 <= r && r <= 5 ? value : UNKNOWN);
      const after = follow(callee, { registers, frames: [...state.frames, new Map()] });
      if (!after) return [];
      const result = after.registers[0]!;
      state.registers.fill(UNKNOWN, 0, 6);
      state.registers[0] = result.is === "stack" && result.frame! >= state.frames.length ? UNKNOWN : result;
      state.frames = after.frames.slice(0, -1);
      return [next];
    }
  }
}

/** Where paths can part or meet: the slots that are jumped to or stand behind a jump, in order. */
function findJoints(object: BpfObject): Set<number> {
  const joints: number[] = object.functions.map((fn) => fn.start);
  for (let slot = 0; slot < object.slots.length; slot++) {
    const insn = object.slots[slot], kind = insn ? insn.op & 7 : 0;
    if (!insn || (kind !== 5 && kind !== 6) || insn.op === 0x85 || insn.op === 0x95) continue; // no jump
    joints.push(slot + 1, slot + 1 + insn.off);
  }
  return new Set(joints.sort((x, y) => x - y));
}

/** What a look-up in a map returns. A null is the verifier's to find. */
function found(map: BpfMap): Value {
  const type = mapTypeName(map.type);
  if (type === "ARRAY_OF_MAPS") return map.inner ? { is: "map", map: map.inner } : UNKNOWN;
  return ALLOWED_MAP_TYPES.includes(type) ? MAP_VALUE : UNKNOWN;
}

function load(state: State, { base, off, size }: { base: Value; off: number; size: number }): Value {
  if (base.is === "packet" || base.is === "mapValue") return NUMBER;
  if (base.is === "context") { // struct xdp_md: data, data_end and data_meta come first; then three numbers
    if (size !== 4 || off < 0 || off > 20 || off % 4 !== 0) return UNKNOWN;
    return off < 12 ? PACKET : NUMBER;
  }
  if (base.is === "stack" && base.of?.length === 1) {
    const slot = state.frames[base.frame!]!.get(Number(base.of[0]!) + off);
    if (slot?.size === size) return slot.value;
  }
  return base.is === "stack" && size < 8 ? NUMBER : UNKNOWN; // no pointer fits into less
}

/** Writes to each place that the pointer can mean. Returns whether all are inside the frame. */
function writeStack(
  state: State,
  { base, off, size, value }: { base: Value; off: number; size: number; value: Value },
): boolean {
  const frame = base.of ? new Map(state.frames[base.frame!]) : new Map();
  for (const distance of base.of ?? []) {
    const at = Number(distance) + off;
    if (at < -STACK_BYTES || at + size > 0) return false;
    for (let other = at - 7; other < at + size; other++) {
      if (other + (frame.get(other)?.size ?? 0) > at) frame.delete(other);
    }
    if (base.of!.length > 1) continue;
    const escapes = value.is === "stack" && value.frame! > base.frame!;
    frame.set(at, { size, value: escapes ? UNKNOWN : size < 8 ? truncate(value, size * 8) : value });
  }
  state.frames[base.frame!] = frame;
  return true;
}

const FOLD: Record<number, (a: bigint, b: bigint, bits: number) => bigint> = {
  0x00: (a, b) => a + b,
  0x10: (a, b) => a - b,
  0x20: (a, b) => a * b,
  0x40: (a, b) => a | b,
  0x50: (a, b) => a & b,
  0x60: (a, b, bits) => a << b % BigInt(bits),
  0x70: (a, b, bits) => a >> b % BigInt(bits),
  0xa0: (a, b) => a ^ b,
  0xb0: (_, b) => b,
  0xc0: (a, b, bits) => BigInt.asIntN(bits, a) >> b % BigInt(bits),
};
const ADD = 0x00, SUB = 0x10, NEG = 0x80, MOV = 0xb0, END = 0xd0;

/** `a op b`. A 32-bit result is a number whatever went in: the verifier makes it one. */
function compute(op: number, { a, b, wide }: { a: Value; b: Value; wide: boolean }): Value {
  if (op === END) return NUMBER;
  if (wide && op === MOV) return b;
  if (wide && op !== NEG && (a.is !== "number" || b.is !== "number")) return offset(op, a, b);
  if (wide && a.is !== "number") return UNKNOWN;
  const fold = FOLD[op], bits = wide ? 64 : 32;
  const lefts = op === MOV ? [0n] : truncate(a, bits).of, rights = truncate(b, bits).of;
  if (!fold || !lefts || !rights) return NUMBER;
  return number(...lefts.flatMap((x) => rights.map((y) => BigInt.asUintN(bits, fold(x, y, bits)))));
}

/** Pointer arithmetic. Where inside a packet or a map value a pointer points is the verifier's to check. */
function offset(op: number, a: Value, b: Value): Value {
  if (op === ADD && a.is === "number") [a, b] = [b, a];
  const movable = a.is === "packet" || a.is === "mapValue" || a.is === "stack";
  if (op === SUB && movable && b.is === a.is) return NUMBER;
  if ((op !== ADD && op !== SUB) || !movable || b.is !== "number") return UNKNOWN;
  if (a.is !== "stack") return a;
  const sign = op === ADD ? 1n : -1n;
  const places = a.of && b.of && a.of.flatMap((x) => b.of!.map((y) => x + sign * BigInt.asIntN(64, y)));
  return { ...a, of: places && alternatives(places) };
}

/** The low bits, as a number. */
function truncate(value: Value, bits: number): Value {
  if (value.is !== "number" || !value.of) return NUMBER;
  return number(...value.of.map((n) => BigInt.asUintN(bits, n)));
}

function number(...of: bigint[]): Value {
  return { is: "number", of: alternatives(of.map((n) => BigInt.asUintN(64, n))) };
}

function alternatives(of: readonly bigint[]): bigint[] | undefined {
  const distinct = [...new Set(of)];
  return distinct.length > MAX_ALTERNATIVES ? undefined : distinct;
}

/** What holds on either path. Returns `a` itself if `b` adds nothing. */
function join(a: Value, b: Value): Value {
  if (a === b || a.is === "unknown") return a;
  if (a.is !== b.is || a.frame !== b.frame || a.map !== b.map) return UNKNOWN;
  if (!a.of || b.of?.every((n) => a.of!.includes(n))) return a;
  return { ...a, of: b.of && alternatives([...a.of, ...b.of]) };
}

function joinStates(a: State, b: State): State {
  const registers = a.registers.map((value, r) => join(value, b.registers[r]!));
  const frames = a.frames.map((frame, depth) => joinFrames(frame, b.frames[depth]!));
  const same = registers.every((v, r) => v === a.registers[r]) && frames.every((f, depth) => f === a.frames[depth]);
  return same ? a : { registers, frames };
}

function joinFrames(a: Frame, b: Frame): Frame {
  if (a === b) return a;
  const joined = new Map(a);
  let same = true;
  for (const [at, { size, value }] of a) {
    const other = b.get(at);
    const both = other?.size === size ? join(value, other.value) : undefined;
    if (both === value) continue;
    same = false;
    if (both) joined.set(at, { size, value: both });
    else joined.delete(at);
  }
  return same ? a : joined;
}

function sizeOf(op: number): number {
  return [4, 2, 1, 8][op >> 3 & 3]!;
}

/** A helper's name, for people. */
export function helperName(id: number): string {
  return ALLOWED_HELPERS.get(id) ?? OTHER_HELPERS[id] ?? `helper ${id}`;
}

/** A map type's name, for people. */
export function mapTypeName(type: number): string {
  return MAP_TYPES[type] ?? `type ${type}`;
}

/** Whether a value is `XDP_PASS`, all 64 bits of it, on every path. */
export function isPass(value: Value): boolean {
  return value.is === "number" && value.of?.length === 1 && value.of[0] === BigInt(ACTIONS.indexOf("XDP_PASS"));
}

/** A returned value in words: a number as an XDP action. */
export function describeReturn({ is, of }: Value): string {
  if (is !== "number" || !of) return DESCRIPTIONS[is];
  return [...of].sort((a, b) => a < b ? -1 : 1).map((n) => ACTIONS[Number(n)] ?? String(n)).join(" or ");
}

const DESCRIPTIONS: Record<Value["is"], string> = {
  number: "a number that cannot be told",
  stack: "a stack pointer",
  packet: "a packet pointer",
  context: "the context",
  map: "a map",
  mapValue: "a pointer into a map",
  unknown: "a value that cannot be told",
};
