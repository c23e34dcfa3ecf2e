/**
 * From what was read of the maps to deltas.
 *
 * Each packet adds to one of eight classes, or to a whole-number combination of them (bpf/ibsr.h, bpf/count.h);
 * the counters are sums of classes modulo 2^32. A reading's rows come in no order, and a source can be in two
 * maps; a delta has each source and port once, sorted. Pure: bytes in, numbers out. Rows stay in the kernel's
 * layout: at a million of them, objects would cost ten times the memory and the time.
 */
import { CLASS, COUNTERS, SYNS } from "./layout.ts";

/** What is counted of TCP packets, by source and destination port. Names and meanings as in a snapshot. */
export interface Counters {
  /** TCP packets. */
  packets: number;
  /** Frame lengths without the checksum. */
  bytes: number;
  /** Packets with SYN set; a SYN-ACK is in `syn` and in `ack`. */
  syn: number;
  /** Packets with ACK set. */
  ack: number;
  /** ACK set, SYN and RST clear, no payload by the IP length. FIN may be set. */
  handshake_ack: number;
  /** Packets with RST set. */
  rst: number;
  /** SYN and ACK set. */
  syn_ack: number;
  /** Packets with FIN set. */
  fin: number;
  /** Packets with payload, by the IP length. */
  data: number;
}

/** Counters in the order of a snapshot's bucket. */
export const COUNTER_NAMES = [
  "syn",
  "ack",
  "handshake_ack",
  "rst",
  "packets",
  "bytes",
  "syn_ack",
  "fin",
  "data",
] as const satisfies readonly (keyof Counters)[];

/** Frames seen and not counted, by reason; names and meanings as in a snapshot. */
export interface NotCounted {
  /** Another protocol: ARP, UDP, ICMP, … */
  not_tcp: number;
  /** TCP to a port that is not monitored. */
  other_port: number;
  /** A header that is cut short or contradicts itself. */
  malformed: number;
  /** A fragment other than the first: it has no TCP header. */
  later_fragment: number;
  /** TCP may be inside: a third VLAN tag, MPLS, PPPoE, a tunnel, ESP. */
  unknown_encapsulation: number;
}

/** Reasons in the order of `enum ibsr_skip`, which is a snapshot's. */
export const SKIP_NAMES = [
  "not_tcp",
  "other_port",
  "malformed",
  "later_fragment",
  "unknown_encapsulation",
] as const satisfies readonly (keyof NotCounted)[];

/** Rows of one address family in the kernel's layout: `count` keys of `keySize` bytes and as many values. */
export interface Table {
  /** 8 for IPv4, 20 for IPv6: address, port (both in network order), two zero bytes. */
  readonly keySize: number;
  count: number;
  keys: Uint8Array<ArrayBuffer>;
  /** `struct ibsr_counters` each; the buffer starts with them. */
  values: Uint8Array<ArrayBuffer>;
  /** Blocks of so many `rows` by their first one, `of` each part in the order of addresses. Without, it is one part. */
  blocks?: { readonly of: readonly (readonly number[])[]; readonly rows: number };
  /** The sum of all rows, if it is known: counters in the order of COUNTER_NAMES. */
  sum?: Float64Array;
}

/** Everything that one read of the maps took out of them. */
export interface Reading {
  /** When the maps were swapped, which ends the interval: by the monotonic clock, and since 1970. */
  readonly takenAt: { readonly monotonicMs: number; readonly wallMs: number };
  /** The ports that were counted. */
  readonly ports: readonly number[];
  /** Ports with traffic: class sums over all CPUs, in the order of `enum ibsr_class`. */
  readonly totals: { readonly port: number; readonly bytes: number; readonly classes: Float64Array }[];
  /** Frames not counted, in the order of `enum ibsr_skip`. */
  readonly skipped: Float64Array;
  /** Entries made in the LRU maps; what is not in `entries` was evicted. */
  readonly inserted: number;
  /** Entries found, by map. */
  readonly entries: Entries;
  readonly v4: Table;
  readonly v6: Table;
}

/** Entries by map: `known` sources have sent more than SYNs. */
export interface Entries {
  /** IPv4 sources that sent more than SYNs. */
  known4: number;
  /** IPv6 sources that sent more than SYNs. */
  known6: number;
  /** IPv4 sources that sent nothing but SYNs. */
  syn4: number;
  /** IPv6 sources that sent nothing but SYNs. */
  syn6: number;
}

/** A table with its rows in order: each key once, by address and port, those without a packet left out. */
export interface Rows extends Table {
  /** Row numbers, part by part: some rows lie near each other in memory. Each is overwritten by the next. */
  parts(): Generator<Uint32Array>;
  /** All row numbers. */
  readonly order: Uint32Array;
}

/** What was counted in one interval on one interface. */
export interface Delta {
  readonly takenAt: Reading["takenAt"];
  readonly ports: readonly number[];
  readonly v4: Rows;
  readonly v6: Rows;
  /** Exact, by port; ports without traffic are left out. */
  readonly totals: (Counters & { readonly port: number })[];
  /** Totals less rows: what the maps had no room for. */
  readonly unattributed: Counters;
  /** Entries that were pushed out by others before they were read. */
  readonly evicted: number;
  readonly notCounted: NotCounted;
  readonly entries: Entries;
}

/**
 * Turns a reading into a delta. Rows of the same key are added up in place: a reading can be used once.
 */
export function toDelta(reading: Reading): Delta {
  const totals = reading.totals
    .map(({ port, bytes, classes }) => {
      sumClasses(classes, bytes, rowCounters);
      return { port, ...countersOf(rowCounters) };
    })
    .sort((a, b) => a.port - b.port);
  const unattributed = noCounters();
  for (const total of totals) addCounters(unattributed, total, 1);
  for (const table of [reading.v4, reading.v6]) addCounters(unattributed, sumOf(table), -1);
  const { known4, known6, syn4, syn6 } = reading.entries;
  return {
    takenAt: reading.takenAt,
    ports: reading.ports,
    v4: orderRows(reading.v4),
    v6: orderRows(reading.v6),
    totals,
    unattributed,
    evicted: reading.inserted - (known4 + known6 + syn4 + syn6),
    notCounted: Object.fromEntries(SKIP_NAMES.map((name, i) => [name, reading.skipped[i]!])) as unknown as NotCounted,
    entries: reading.entries,
  };
}

/** Counters that are all zero. */
export function noCounters(): Counters {
  return { packets: 0, bytes: 0, syn: 0, ack: 0, handshake_ack: 0, rst: 0, syn_ack: 0, fin: 0, data: 0 };
}

/** Adds `sign` times `amount` to `sum`. */
function addCounters(sum: Counters, amount: Counters, sign: 1 | -1): void {
  for (const name of COUNTER_NAMES) sum[name] += sign * amount[name];
}

/**
 * Writes counters, in the order of COUNTER_NAMES, from class sums; exact, so they may be those of many rows. Numbers and
 * no object, since this is done for each row: V8 may find that the shape of objects changes with their numbers, and then
 * doesn't compile what handles them.
 */
function sumClasses(c: Float64Array, bytes: number, to: Float64Array): void {
  const { NONE, SYN, SYN_ACK, ACK_DATA, ACK, RST, RST_ACK, FIN_ACK } = CLASS;
  const none = c[NONE]!, syn = c[SYN]!, syn_ack = c[SYN_ACK]!, data = c[ACK_DATA]!;
  const pure = c[ACK]!, rst = c[RST]!, rst_ack = c[RST_ACK]!, fin = c[FIN_ACK]!;
  to[0] = syn + syn_ack;
  to[1] = syn_ack + data + pure + rst_ack + fin;
  to[2] = pure + fin;
  to[3] = rst + rst_ack;
  to[4] = none + syn + syn_ack + data + pure + rst + rst_ack + fin;
  to[5] = bytes;
  to[6] = syn_ack;
  to[7] = fin;
  to[8] = data;
}

/** Counters from numbers in the order of COUNTER_NAMES. */
function countersOf(numbers: Float64Array): Counters {
  return Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, numbers[i]!])) as unknown as Counters;
}

const WORDS = COUNTERS.sizeof / 4;

/** The words of a table's values: bytes (low, high), then the classes. */
export function wordsOf(table: Table): Uint32Array {
  return new Uint32Array(table.values.buffer, 0, table.count * WORDS);
}

const rowClasses = new Float64Array(CLASS.CLASSES), rowCounters = new Float64Array(COUNTER_NAMES.length);

/**
 * Writes the counters of a row in the order of COUNTER_NAMES: `words` as of `wordsOf()`, from index `at`. Each is below
 * 2^32, `bytes` below 2^53.
 */
export function readCounters(words: Uint32Array, at: number, to: Float64Array): void {
  for (let k = 0; k < CLASS.CLASSES; k++) rowClasses[k] = words[at + 2 + k]!;
  sumClasses(rowClasses, words[at + 1]! * 0x1_0000_0000 + words[at]!, to);
  for (let i = 0; i < 5; i++) to[i] = to[i]! >>> 0; // sums are modulo 2^32, as what is in the kernel is
}

/** The counters of a row. */
export function countersAt(words: Uint32Array, at: number): Counters {
  readCounters(words, at, rowCounters);
  return countersOf(rowCounters);
}

/**
 * The class sums of counters, in the order of `enum ibsr_class`: the inverse of what counters are sums of, by the
 * formulas of bpf/count.h. Exact, so some may be below zero.
 */
export function classesOf(c: Counters): Float64Array<ArrayBuffer> {
  return Float64Array.of(
    c.packets - c.syn - c.rst - c.handshake_ack - c.data,
    c.syn - c.syn_ack,
    c.syn_ack,
    c.data,
    c.handshake_ack - c.fin,
    c.rst - c.ack + c.syn_ack + c.handshake_ack + c.data,
    c.ack - c.syn_ack - c.handshake_ack - c.data,
    c.fin,
  );
}

/**
 * Writes counters as a row: the inverse of `countersAt()`.
 *
 * @param words Receives the words of one value from index `at`.
 */
export function writeCounters(words: Uint32Array, at: number, c: Counters): void {
  words[at] = c.bytes % 0x1_0000_0000;
  words[at + 1] = Math.floor(c.bytes / 0x1_0000_0000);
  words.set(classesOf(c), at + 2); // modulo 2^32
}

/** Adds `count` rows to a sum in the order of COUNTER_NAMES. */
export function addRows(sum: Float64Array, words: Uint32Array, count: number): void {
  for (let row = 0; row < count; row++) {
    readCounters(words, row * WORDS, rowCounters);
    for (let i = 0; i < sum.length; i++) sum[i]! += rowCounters[i]!;
  }
}

/** The sum of all rows of a table. */
function sumOf(table: Table): Counters {
  if (table.sum) return countersOf(table.sum);
  const sum = new Float64Array(COUNTER_NAMES.length);
  addRows(sum, wordsOf(table), table.count);
  return countersOf(sum);
}

/**
 * Writes values of `syn4_*` or `syn6_*` as rows.
 *
 * @param syns `count` of `struct ibsr_syns`.
 * @param values Receives `count` of `struct ibsr_counters`.
 */
export function expandSyns(syns: Uint8Array, values: Uint8Array, count: number): void {
  const from = new DataView(syns.buffer, syns.byteOffset), to = new Uint32Array(values.buffer, values.byteOffset);
  for (let i = 0; i < count; i++) {
    const at = i * SYNS.sizeof, syn = from.getUint32(at + SYNS.syn, true), data = from.getUint32(at + SYNS.data, true);
    writeCounters(to, i * WORDS, {
      ...noCounters(),
      packets: syn,
      bytes: from.getUint32(at + 4, true) * 0x1_0000_0000 + from.getUint32(at, true),
      syn,
      data,
    });
  }
}

/**
 * Puts a table's rows in order when they are asked for. Rows of the same key are added up in the first one, and the
 * others are emptied.
 */
export function orderRows(table: Table): Rows {
  let order: Uint32Array | undefined;
  return {
    ...table,
    parts: () => sortParts(table),
    get order() {
      if (order) return order;
      const numbers: number[] = [];
      for (const part of sortParts(table)) for (const row of part) numbers.push(row);
      return order = Uint32Array.from(numbers);
    },
  };
}

/**
 * Row numbers of one part after the other, sorted. Whoever has written a part's rows before asking for the next one finds
 * them in the processor's cache: sorted all at once, a million take half as long again to sort and to write.
 */
function* sortParts(table: Table): Generator<Uint32Array> {
  const words = wordsOf(table), { keySize } = table;
  const keys = new DataView(table.keys.buffer, table.keys.byteOffset);
  const { of: parts, rows } = table.blocks ?? { of: [[0]], rows: table.count };
  for (const blocks of parts) {
    const most = blocks.length * rows;
    if (numbers[0].length < most) numbers = [new Uint32Array(most), new Uint32Array(most)];
    const [order, spare] = numbers;
    const live = listRows(words, blocks, rows, order);
    sortNumbers(order.subarray(0, live), spare, { keys, keySize });
    const distinct = live > 1 ? mergeEqual(keys, keySize, words, order.subarray(0, live)) : live;
    if (distinct > 0) yield order.subarray(0, distinct);
  }
}

/** Writes the numbers of a part's rows that are not empty; returns how many they are. */
function listRows(words: Uint32Array, blocks: readonly number[], count: number, numbers: Uint32Array): number {
  let live = 0;
  for (const first of blocks) {
    for (let row = first; row < first + count; row++) {
      // A source whose SYNs have all moved to `known` leaves an empty row behind. Not empty is also one whose bytes
      // have moved and a SYN has not, since they move one after the other: together with `known` it is right.
      let any = 0;
      for (let at = row * WORDS; at < (row + 1) * WORDS; at++) any |= words[at]!;
      if (any !== 0) numbers[live++] = row;
    }
  }
  return live;
}

/** Memory for sorting, kept: garbage of a quarter of a megabyte at each snapshot adds up before V8 frees it. */
let digitStarts: Uint32Array | undefined;
let numbers: [Uint32Array, Uint32Array] = [new Uint32Array(0), new Uint32Array(0)];

/**
 * Sorts row numbers by key: radix sort from the port up, where each pass keeps the order of the last; 16 bits at a time,
 * or 8 of so few rows that to count 65,536 values would take longer.
 */
function sortNumbers(
  rows: Uint32Array,
  spare: Uint32Array,
  { keys, keySize }: { keys: DataView; keySize: number },
): void {
  const count = rows.length, starts = digitStarts ??= new Uint32Array(65537);
  if (count < 2) return;
  const bytes = count < 16384 ? 1 : 2, values = 1 << 8 * bytes;
  const digitOf = (at: number) => bytes === 1 ? keys.getUint8(at) : keys.getUint16(at);
  let from = rows, to = spare.subarray(0, count);
  for (let digit = keySize - 2 - bytes; digit >= 0; digit -= bytes) {
    starts.fill(0, 0, values + 1);
    for (let i = 0; i < count; i++) starts[digitOf(from[i]! * keySize + digit) + 1]!++;
    if (starts[digitOf(from[0]! * keySize + digit) + 1] === count) continue; // all the same
    for (let i = 1; i < values; i++) starts[i]! += starts[i - 1]!;
    for (let i = 0; i < count; i++) {
      const row = from[i]!;
      to[starts[digitOf(row * keySize + digit)]!++] = row;
    }
    [from, to] = [to, from];
  }
  if (from !== rows) rows.set(from);
}

/** Adds each row to the one before it if their keys are equal, and empties it; returns how many are left in `order`. */
function mergeEqual(keys: DataView, keySize: number, words: Uint32Array, order: Uint32Array): number {
  let kept = 0;
  for (let i = 1; i < order.length; i++) {
    const row = order[i]! * keySize, last = order[kept]! * keySize;
    let at = keySize - 4;
    while (at >= 0 && keys.getUint32(row + at) === keys.getUint32(last + at)) at -= 4;
    if (at >= 0) {
      order[++kept] = order[i]!;
      continue;
    }
    const from = order[i]! * WORDS, to = order[kept]! * WORDS;
    const bytes = words[from]! + words[to]! + (words[from + 1]! + words[to + 1]!) * 0x1_0000_0000;
    words[to] = bytes % 0x1_0000_0000;
    words[to + 1] = Math.floor(bytes / 0x1_0000_0000);
    for (let k = 2; k < WORDS; k++) words[to + k]! += words[from + k]!;
    words.fill(0, from, from + WORDS);
  }
  return kept + 1;
}
