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
  /** Memory for the order of rows, kept for the next reading: as garbage it would stay for some snapshots. */
  numbers?: Uint32Array<ArrayBuffer>;
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
  /** Row numbers. */
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
    .map(({ port, bytes, classes }) => ({ port, ...countersOf(classes, 0, bytes) }))
    .sort((a, b) => a.port - b.port);
  const unattributed = noCounters();
  for (const total of totals) addCounters(unattributed, total, 1);
  for (const table of [reading.v4, reading.v6]) addCounters(unattributed, sumRows(table), -1);
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

/** Counters of the class sums that stand in `c` from index `at`; exact, so they may be those of many rows. */
function countersOf(c: Float64Array | Uint32Array, at: number, bytes: number): Counters {
  const { NONE, SYN, SYN_ACK, ACK_DATA, ACK, RST, RST_ACK, FIN_ACK } = CLASS;
  const none = c[at + NONE]!, syn = c[at + SYN]!, syn_ack = c[at + SYN_ACK]!, data = c[at + ACK_DATA]!;
  const pure = c[at + ACK]!, rst = c[at + RST]!, rst_ack = c[at + RST_ACK]!, fin = c[at + FIN_ACK]!;
  return {
    packets: none + syn + syn_ack + data + pure + rst + rst_ack + fin,
    bytes,
    syn: syn + syn_ack,
    ack: syn_ack + data + pure + rst_ack + fin,
    handshake_ack: pure + fin,
    rst: rst + rst_ack,
    syn_ack,
    fin,
    data,
  };
}

const WORDS = COUNTERS.sizeof / 4;

/** The words of a table's values: bytes (low, high), then the classes. */
export function wordsOf(table: Table): Uint32Array {
  return new Uint32Array(table.values.buffer, 0, table.count * WORDS);
}

/** The counters of a row: `words` as of `wordsOf()`, from index `at`. Each is below 2^32, `bytes` below 2^53. */
export function countersAt(words: Uint32Array, at: number): Counters {
  const row = countersOf(words, at + 2, words[at + 1]! * 0x1_0000_0000 + words[at]!);
  row.packets >>>= 0; // sums are modulo 2^32, as what is in the kernel is
  row.syn >>>= 0;
  row.ack >>>= 0;
  row.handshake_ack >>>= 0;
  row.rst >>>= 0;
  return row;
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

/** The sum of all rows. */
function sumRows(table: Table): Counters {
  const sum = noCounters(), words = wordsOf(table);
  for (let at = 0; at < words.length; at += WORDS) {
    const row = countersAt(words, at);
    sum.packets += row.packets;
    sum.bytes += row.bytes;
    sum.syn += row.syn;
    sum.ack += row.ack;
    sum.handshake_ack += row.handshake_ack;
    sum.rst += row.rst;
    sum.syn_ack += row.syn_ack;
    sum.fin += row.fin;
    sum.data += row.data;
  }
  return sum;
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
 * Sorts a table's rows by address and port, and adds rows of the same key up.
 *
 * Many rows are first moved themselves, into parts in order of the address's leading bits; then the row numbers of each
 * part are sorted. Sorted all at once, numbers lead all over memory, and so does the encoder that follows them: at four
 * million rows both together take 2,000 ms instead of 1,100, and 16 MB more.
 */
function orderRows(table: Table): Rows {
  const words = wordsOf(table), { keySize, count } = table;
  const keys = new DataView(table.keys.buffer, table.keys.byteOffset);
  const ends = partition(table, Math.min(8, Math.ceil(Math.log2(count / PART_ROWS))));
  const longest = ends.reduce((most, end, i) => Math.max(most, end - (ends[i - 1] ?? 0)), 0);
  const kept = table.numbers, fits = kept && kept.length >= count && kept.length <= 4 * count;
  const order = fits ? kept : table.numbers = new Uint32Array(count), spare = new Uint32Array(count > 1 ? longest : 0);
  let live = 0;
  for (let part = 0, row = 0; part < ends.length; part++) {
    const from = live;
    for (; row < ends[part]!; row++) {
      // A source whose SYNs have all moved to `known` leaves an empty row behind. Not empty is also one whose bytes
      // have moved and a SYN has not, since they move one after the other: together with `known` it is right.
      let any = 0;
      for (let at = row * WORDS; at < (row + 1) * WORDS; at++) any |= words[at]!;
      if (any !== 0) order[live++] = row;
    }
    sortNumbers(order.subarray(from, live), spare, { keys, keySize });
  }
  const distinct = live > 1 ? mergeEqual(keys, keySize, words, order.subarray(0, live)) : live;
  return { keySize, count, keys: table.keys, values: table.values, order: order.subarray(0, distinct) };
}

/** Rows of a part at most, on average: 3 MB of keys and values. */
const PART_ROWS = 65536;

/**
 * Moves rows so that they are in order by the first `bits` bits in which addresses differ. Returns where each part ends;
 * how the addresses are spread decides how long they are.
 */
function partition(table: Table, bits: number): number[] {
  const { keySize, count } = table, keys = new DataView(table.keys.buffer, table.keys.byteOffset);
  if (!(bits > 0)) return [count];
  // The first word of the address that is not the same in all rows, and its bits that are not.
  let word = 0, differing = 0;
  for (; word < keySize - 4; word += 4) {
    const first = keys.getUint32(word);
    for (let row = 1; row < count; row++) differing |= keys.getUint32(row * keySize + word) ^ first;
    if (differing !== 0) break;
  }
  if (differing === 0) return [count];
  const shift = Math.max(0, 32 - Math.clz32(differing) - bits), mask = (1 << bits) - 1;
  const ends = new Array<number>(1 << bits).fill(0);
  const partOf = (row: number) => keys.getUint32(row * keySize + word) >>> shift & mask;
  for (let row = 0; row < count; row++) ends[partOf(row)]!++;
  const next = new Uint32Array(ends.length);
  for (let part = 1; part < ends.length; part++) {
    next[part] = ends[part - 1]!;
    ends[part]! += ends[part - 1]!;
  }
  const keyWords = new Uint32Array(table.keys.buffer, table.keys.byteOffset, count * keySize / 4),
    words = wordsOf(table);
  for (let part = 0; part < ends.length; part++) {
    while (next[part]! < ends[part]!) {
      const to = partOf(next[part]!);
      if (to !== part) { // its place is where the next row of its part will be
        swap(keyWords, keySize / 4, next[part]!, next[to]!);
        swap(words, WORDS, next[part]!, next[to]!);
      }
      next[to]!++;
    }
  }
  return ends;
}

function swap(words: Uint32Array, width: number, a: number, b: number): void {
  for (let k = 0, i = a * width, j = b * width; k < width; k++, i++, j++) {
    const word = words[i]!;
    words[i] = words[j]!;
    words[j] = word;
  }
}

/** Memory for counting digits, kept: garbage of a quarter of a megabyte at each snapshot adds up before V8 frees it. */
let digitStarts: Uint32Array | undefined;

/** Sorts row numbers by key: radix sort, 16 bits at a time from the port up; each pass keeps the order of the last. */
function sortNumbers(
  rows: Uint32Array,
  spare: Uint32Array,
  { keys, keySize }: { keys: DataView; keySize: number },
): void {
  const count = rows.length, starts = digitStarts ??= new Uint32Array(65537);
  if (count < 2) return;
  let from = rows, to = spare.subarray(0, count);
  for (let digit = keySize - 4; digit >= 0; digit -= 2) {
    starts.fill(0);
    for (let i = 0; i < count; i++) starts[keys.getUint16(from[i]! * keySize + digit) + 1]!++;
    if (starts[keys.getUint16(from[0]! * keySize + digit) + 1] === count) continue; // all the same
    for (let i = 1; i < 65536; i++) starts[i]! += starts[i - 1]!;
    for (let i = 0; i < count; i++) {
      const row = from[i]!;
      to[starts[keys.getUint16(row * keySize + digit)]!++] = row;
    }
    [from, to] = [to, from];
  }
  if (from !== rows) rows.set(from);
}

/** Adds each row to the one before it if their keys are equal; returns how many are left in `order`. */
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
  }
  return kept + 1;
}
