/**
 * What a line counted in its span, from its rows and, where they are cumulative, those of the line before it.
 *
 * A key that the line before doesn't have starts at 0. A counter that fell was made anew: all of the row is this
 * interval's; that is counted as an eviction. A 32-bit counter of the existing IBSR that passed 2^32 fell, too: its
 * bytes, which have 64 bits, then rose, by enough for as many packets as it takes to get there. Pure.
 */
import { COUNTER_NAMES, type Counters, noCounters } from "../counters.ts";
import type { Cells } from "./interval.ts";
import { compareRows, countNetworkRows, makeRows, NETWORK_ROW, type Rows } from "./rows.ts";
import type { SourceTable } from "./sources.ts";

/** What the rows of a line come to. */
export interface Counted {
  cells: Cells;
  /** The sum of all rows. */
  sum: Counters;
  /** The part of it that is no single source's. */
  networks: Counters;
  /** Rows whose counters fell. */
  evicted: number;
  /** Rows with a counter that passed 2^32. */
  wrapped: number;
  /** All began anew: most of the rows that both lines have fell. */
  restarted: boolean;
  /** Whose columns the cells have. */
  rows: Rows;
}

const PACKETS = COUNTER_NAMES.indexOf("packets"), BYTES = COUNTER_NAMES.indexOf("bytes");
const SYN = COUNTER_NAMES.indexOf("syn"), RST = COUNTER_NAMES.indexOf("rst");
const BARE_ACK = COUNTER_NAMES.indexOf("handshake_ack"), DATA = COUNTER_NAMES.indexOf("data");
const WRAP = 2 ** 32;
/** No frame with TCP is shorter, in bytes. */
const LEAST_FRAME = 40;

/** How rows are counted. */
export interface CountOptions {
  /** Rows are since their entries were made; otherwise their columns become the cells'. */
  cumulative: boolean;
  /** What to subtract. */
  previous: Rows | undefined;
  /** Whether rows that fell together mean that all began anew, as no run id tells. */
  mayRestart: boolean;
  /** Whether rows say which packets had payload. */
  payload: boolean;
  sources: SourceTable;
  /** Whose columns become the cells' where `cumulative`; new ones if it isn't there or too small. */
  room: Rows | undefined;
}

/** Makes cells of a line's rows. */
export function countRows(rows: Rows, options: CountOptions): Counted {
  const { count } = rows, { previous, room } = options, changes = { evicted: 0, wrapped: 0, restarted: false };
  let counted = rows;
  if (options.cumulative) {
    counted = room && room.source.length >= count ? room : makeRows(count);
    counted.count = count;
    counted.source.set(rows.source.subarray(0, count));
    counted.port.set(rows.port.subarray(0, count));
    if (previous) subtractRows(counted, rows, { ...options, previous, changes });
    if (!previous || changes.restarted) {
      for (const [k, column] of rows.counters.entries()) counted.counters[k]!.set(column.subarray(0, count));
      counted.blank = [...rows.blank];
    }
  }
  if (!options.payload) derivePayload(counted);
  const sum = noCounters(), networks = noCounters();
  for (const [k, name] of COUNTER_NAMES.entries()) {
    sum[name] = counted.blank[k] ? 0 : sumOf(counted.counters[k]!, count);
  }
  return { cells: takeNetworks(counted, networks), sum, networks, ...changes, rows: counted };
}

/** Sets the columns of `to` to those of `rows` less those of `previous`. */
function subtractRows(
  to: Rows,
  rows: Rows,
  { previous, sources, mayRestart, changes }: CountOptions & {
    previous: Rows;
    changes: Pick<Counted, "evicted" | "wrapped" | "restarted">;
  },
): void {
  const { count } = rows, fell = new Uint8Array(count), matches = matchRows(rows, previous, sources);
  for (const [k, column] of rows.counters.entries()) {
    const before = previous.counters[k]!, into = to.counters[k]!;
    to.blank[k] = rows.blank[k]! && previous.blank[k]!;
    if (to.blank[k]) into.fill(0, 0, count);
    else if (matches) subtractMatched(column, before, { matches, into, fell });
    else subtract(column, before, { into, fell });
  }
  let fallen = 0, matched = 0;
  for (let i = 0; i < count; i++) {
    fallen += fell[i]!;
    if (!matches || matches[i]! >= 0) matched++;
  }
  changes.restarted = mayRestart && fallen * 2 > matched;
  if (fallen === 0 || changes.restarted) return;
  for (let i = fell.indexOf(1); i >= 0; i = fell.indexOf(1, i + 1)) {
    if (unwrap(to.counters, i, previous, matches ? matches[i]! : i)) changes.wrapped++;
    else {
      changes.evicted++;
      for (const [k, column] of to.counters.entries()) column[i] = rows.counters[k]![i]!;
    }
  }
}

/** For each row the place of the same key in `previous`, -1 where it has none; undefined if it is the same for all. */
function matchRows(rows: Rows, previous: Rows, sources: SourceTable): Int32Array | undefined {
  let same = 0;
  if (rows.count === previous.count) {
    const { source, port, count } = rows;
    while (same < count && source[same] === previous.source[same] && port[same] === previous.port[same]) same++;
    if (same === count) return undefined;
  }
  const matches = new Int32Array(rows.count).fill(-1);
  for (let i = 0; i < same; i++) matches[i] = i;
  for (let i = same, j = same; i < rows.count && j < previous.count;) {
    const order = compareRows(rows, i, previous, j, sources);
    if (order === 0) matches[i++] = j++;
    else if (order < 0) i++;
    else j++;
  }
  return matches;
}

/** Sets `into` to a column less that of the line before, and `fell` where that is negative. */
function subtract(
  column: Float64Array,
  before: Float64Array,
  { into, fell }: { into: Float64Array; fell: Uint8Array },
): void {
  for (let i = 0; i < fell.length; i++) {
    const delta = column[i]! - before[i]!;
    into[i] = delta;
    if (delta < 0) fell[i] = 1;
  }
}

/** The same for rows that are in other places. */
function subtractMatched(
  column: Float64Array,
  before: Float64Array,
  { matches, into, fell }: { matches: Int32Array; into: Float64Array; fell: Uint8Array },
): void {
  for (let i = 0; i < fell.length; i++) {
    const j = matches[i]!, delta = j < 0 ? column[i]! : column[i]! - before[j]!;
    into[i] = delta;
    if (delta < 0) fell[i] = 1;
  }
}

/** Adds 2^32 to the deltas of a row that fell, if that is what happened to them. */
function unwrap(deltas: readonly Float64Array[], i: number, previous: Rows, j: number): boolean {
  const rose = deltas[BYTES]![i]!;
  if (rose < 0) return false;
  for (const [k, column] of deltas.entries()) {
    const delta = column[i]!, wrapped = delta < 0 ? delta + WRAP : delta;
    if (k !== BYTES && (previous.counters[k]![j]! >= WRAP || wrapped * LEAST_FRAME > rose)) return false;
  }
  for (const column of deltas) if (column[i]! < 0) column[i]! += WRAP;
  return true;
}

/** Sets packets with payload, as near as versions before 8 come: those that are no SYN, no RST and no bare ACK. */
function derivePayload({ count, counters, blank }: Rows): void {
  const packets = counters[PACKETS]!, syn = counters[SYN]!, rst = counters[RST]!, bareAck = counters[BARE_ACK]!;
  const data = counters[DATA]!;
  for (let i = 0; i < count; i++) data[i] = Math.max(0, packets[i]! - syn[i]! - rst[i]! - bareAck[i]!);
  blank[DATA] = false;
}

/** Whole numbers: their sum doesn't depend on the order. Four at a time, an addition needn't wait for the one before. */
function sumOf(column: Float64Array, count: number): number {
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 3 < count; i += 4) {
    a += column[i]!;
    b += column[i + 1]!;
    c += column[i + 2]!;
    d += column[i + 3]!;
  }
  for (; i < count; i++) a += column[i]!;
  return a + b + c + d;
}

/** The rows of single sources as cells; the others are added to `networks`. */
function takeNetworks(rows: Rows, networks: Counters): Cells {
  const { source, counters } = rows, port = new Uint16Array(rows.count);
  let count = 0;
  const alone = countNetworkRows(rows) === 0;
  if (alone) port.set(rows.port.subarray(0, count = rows.count));
  for (let i = 0; !alone && i < rows.count; i++) {
    if (rows.port[i]! >= NETWORK_ROW) {
      for (const [k, name] of COUNTER_NAMES.entries()) networks[name] += counters[k]![i]!;
      continue;
    }
    port[count] = rows.port[i]!;
    if (count < i) {
      source[count] = source[i]!;
      for (const column of counters) column[count] = column[i]!;
    }
    count++;
  }
  const [syn, ack, handshakeAck, rst, packets, bytes, synAck, fin, data] = counters as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  return { count, source, port, packets, bytes, syn, ack, handshakeAck, rst, synAck, fin, data };
}
