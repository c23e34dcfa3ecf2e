/**
 * The rows of one snapshot as it has them, in columns: counters by source and port, sorted, each key once.
 *
 * A block is the same as bytes: each column as wide as its largest number needs, so that a row of seven numbers takes
 * some 20 bytes where its JSON takes 140, and reading it back is no parsing. Pure.
 */
import { parseAddress } from "../address.ts";
import { COUNTER_NAMES } from "../counters.ts";
import type { Bucket } from "../snapshot.ts";
import type { SourceTable } from "./sources.ts";

/** Set in a row's port where the row is of a /24 network, as versions before 8 could have. */
export const NETWORK_ROW = 0x10000;

/** Rows sorted by address and port; columns as long as `count` or longer. */
export interface Rows {
  count: number;
  source: Uint32Array<ArrayBuffer>;
  /** Port, 0 where there is none; and NETWORK_ROW. */
  port: Uint32Array<ArrayBuffer>;
  /** In the order of COUNTER_NAMES. */
  counters: Float64Array<ArrayBuffer>[];
  /** Counters that are known to be 0 in every row. */
  blank: boolean[];
}

/** Rows with room for `room`. */
export function makeRows(room: number): Rows {
  return {
    count: 0,
    source: new Uint32Array(room),
    port: new Uint32Array(room),
    counters: COUNTER_NAMES.map(() => new Float64Array(room)),
    blank: COUNTER_NAMES.map(() => false),
  };
}

/** The same rows with more room. */
export function growRows(rows: Rows, room: number): Rows {
  const grown = makeRows(room);
  grown.count = rows.count;
  grown.source.set(rows.source);
  grown.port.set(rows.port);
  for (const [k, column] of grown.counters.entries()) column.set(rows.counters[k]!);
  return grown;
}

/** The rows of a decoded line, sorted, rows of the same key added up. */
export function rowsOf(buckets: readonly Bucket[], sources: SourceTable): Rows {
  const rows = makeRows(buckets.length);
  buckets.forEach((bucket, i) => {
    rows.source[i] = sources.intern(parseAddress(bucket.src_ip)!);
    rows.port[i] = (bucket.dst_port ?? 0) | (bucket.key_type === "src_cidr24" ? NETWORK_ROW : 0);
    COUNTER_NAMES.forEach((name, k) => rows.counters[k]![i] = bucket[name] ?? 0);
  });
  rows.count = buckets.length;
  return sortRows(rows, sources);
}

/** Negative, 0 or positive, as row `i` of `a` stands before, at or behind row `j` of `b`. */
export function compareRows(a: Rows, i: number, b: Rows, j: number, sources: SourceTable): number {
  const left = a.source[i]!, right = b.source[j]!;
  return left === right ? a.port[i]! - b.port[j]! : sources.compare(left, right);
}

/** The same rows in order, rows of the same key added up. */
export function sortRows(rows: Rows, sources: SourceTable): Rows {
  let sorted = true;
  for (let i = 1; i < rows.count && sorted; i++) sorted = compareRows(rows, i - 1, rows, i, sources) < 0;
  if (sorted) return rows;
  const order = Uint32Array.from({ length: rows.count }, (_, i) => i).sort((i, j) =>
    compareRows(rows, i, rows, j, sources)
  );
  const result = makeRows(rows.count);
  let count = 0;
  for (const i of order) {
    const same = count > 0 && compareRows(result, count - 1, rows, i, sources) === 0, at = same ? count - 1 : count++;
    result.source[at] = rows.source[i]!;
    result.port[at] = rows.port[i]!;
    result.counters.forEach((column, k) => column[at]! += rows.counters[k]![i]!);
  }
  result.count = count;
  return result;
}

/** Rows that are of networks. */
export function countNetworkRows({ count, port }: Rows): number {
  if (most32(port, count) < NETWORK_ROW) return 0;
  return port.subarray(0, count).reduce((sum, p) => sum + (p >= NETWORK_ROW ? 1 : 0), 0);
}

// --------------------------------------------------------------------------------------------------- as bytes

/** Where a block of bytes is kept. */
export interface Place {
  offset: number;
  length: number;
}

/** How wide a column is in a block: bytes a number; 0 where all are 0. */
type Width = 0 | 1 | 2 | 4 | 8;

/** Rows that are about to become a block. */
export interface Packing {
  rows: Rows;
  /** Numbers beside the rows. */
  rest: readonly number[];
  /** Of source, port, counters. */
  widths: Width[];
  /** Of the block in bytes; a multiple of 8. */
  length: number;
}

/** Doubles in front of a block: how many rows; the columns' widths; then what is beside the rows. */
const WIDTHS_AT = 1, COLUMNS = 2 + COUNTER_NAMES.length, REST_AT = WIDTHS_AT + COLUMNS;

/** Works out how large the block of rows, and of numbers beside them, is. */
export function measureRows(rows: Rows, rest: readonly number[]): Packing {
  const most = [rows.source, rows.port].map((column) => most32(column, rows.count));
  const widths = [...most, ...rows.counters.map((column) => most64(column, rows.count))].map(widthOf);
  const length = widths.reduce((sum, width) => sum + paddedTo8(width * rows.count), (REST_AT + rest.length) * 8);
  return { rows, rest, widths, length };
}

/** Writes the block into `bytes`, which are as many as it has and begin at a multiple of 8. */
export function packRows({ rows, rest, widths }: Packing, bytes: Uint8Array<ArrayBuffer>): void {
  const head = new Float64Array(bytes.buffer, bytes.byteOffset, REST_AT + rest.length);
  head.set([rows.count, ...widths, ...rest]);
  let at = bytes.byteOffset + head.byteLength;
  for (const [k, column] of [rows.source, rows.port, ...rows.counters].entries()) {
    const width = widths[k]!;
    if (width === 0) continue;
    viewColumn(bytes.buffer, at, width, rows.count).set(column.subarray(0, rows.count));
    at += paddedTo8(width * rows.count);
  }
}

/** What packRows() made bytes of, in `room` if that is there and large enough. */
export function unpackRows(
  bytes: Uint8Array<ArrayBuffer>,
  restLength: number,
  room: Rows | undefined,
): { rows: Rows; rest: Float64Array } {
  const head = new Float64Array(bytes.buffer, bytes.byteOffset, REST_AT + restLength), count = head[0]!;
  const rows = room && room.source.length >= count ? room : makeRows(count);
  rows.count = count;
  let at = bytes.byteOffset + head.byteLength;
  for (const [k, column] of [rows.source, rows.port, ...rows.counters].entries()) {
    const width = head[WIDTHS_AT + k] as Width;
    if (k >= 2) rows.blank[k - 2] = width === 0;
    if (width === 0) {
      column.fill(0, 0, count);
      continue;
    }
    column.set(viewColumn(bytes.buffer, at, width, count));
    at += paddedTo8(width * count);
  }
  return { rows, rest: head.slice(REST_AT) };
}

// One function a type: a loop over columns of several types takes four times as long.

function most32(column: Uint32Array, count: number): number {
  let most = 0;
  for (let i = 0; i < count; i++) if (column[i]! > most) most = column[i]!;
  return most;
}

function most64(column: Float64Array, count: number): number {
  let most = 0;
  for (let i = 0; i < count; i++) if (column[i]! > most) most = column[i]!;
  return most;
}

function widthOf(most: number): Width {
  return most === 0 ? 0 : most < 0x100 ? 1 : most < 0x10000 ? 2 : most < 0x1_0000_0000 ? 4 : 8;
}

function paddedTo8(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function viewColumn(buffer: ArrayBuffer, at: number, width: Width, count: number) {
  if (width === 1) return new Uint8Array(buffer, at, count);
  if (width === 2) return new Uint16Array(buffer, at, count);
  return width === 4 ? new Uint32Array(buffer, at, count) : new Float64Array(buffer, at, count);
}
