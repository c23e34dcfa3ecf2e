/**
 * The JSONL line: its type, how it is written, how every version ever written is read.
 *
 * One version is written, 8; `src/snapshot.schema.json` describes it. A line is written from a delta in chunks,
 * since a million sources make 150 MB of it. Reading takes any stream of bytes, gives each line's snapshot or the
 * reason why it is none, and never stops at a bad line. Pure: no files, no clock.
 */
import { compactPorts, expandPorts, formatAddress, parseAddress, type PortRange } from "./address.ts";
import {
  COUNTER_NAMES,
  type Counters,
  type Delta,
  type Entries,
  type NotCounted,
  readCounters,
  type Rows,
  SKIP_NAMES,
  wordsOf,
} from "./counters.ts";
import { IbsrError, reason } from "./errors.ts";
import { COUNTERS, KEY4 } from "./layout.ts";

/** The version that is written. */
const VERSION = 8;

/** Where the packets came from: an attached program, or a capture through the program or its model. */
export type SnapshotMode = "native" | "generic" | "test_run" | "model";

/** What is the same in every snapshot of a run on an interface. */
export interface Stream {
  /** Milliseconds since 1970 at the collector's start. */
  runId: number;
  hostname: string;
  iface: string;
  mode: SnapshotMode;
  mapSize: number;
}

/** What is a snapshot's own besides its counters. */
export interface Interval {
  seq: number;
  /** End of the interval, milliseconds since 1970. */
  endMs: number;
  /** Measured length in milliseconds. */
  lengthMs: number;
}

// -------------------------------------------------------------------------------------------------- writing

const CHUNK = 1 << 18;
/** More than one bucket can need: 127 bytes of text, 39 of address, 101 of digits, and the width of one store. */
const BUCKET_ROOM = 320;
const encoder = new TextEncoder();

/**
 * The line of a delta, newline included, in chunks of at most 256 KiB. The chunk is overwritten by the next: write it
 * out before asking for that.
 */
export function* encodeSnapshot(stream: Stream, interval: Interval, delta: Delta): Generator<Uint8Array<ArrayBuffer>> {
  const head = JSON.stringify(headOf(stream, interval, delta));
  yield encoder.encode(`${head.slice(0, -1)},"buckets":[`);
  let separator = false;
  for (const rows of [delta.v4, delta.v6]) {
    for (const chunk of encodeRows(rows, separator)) {
      separator = true;
      yield chunk;
    }
  }
  yield encoder.encode("]}\n");
}

/** Everything before the buckets, in the line's order. */
function headOf(stream: Stream, interval: Interval, delta: Delta) {
  const { known4, known6, syn4, syn6 } = delta.entries;
  return {
    version: VERSION,
    aggregation: "src_ip_dst_port",
    ts_unix_sec: interval.endMs / 1000,
    interval_sec: Math.round(interval.lengthMs) / 1000,
    run_id: stream.runId,
    seq: interval.seq,
    counter_mode: "delta",
    base_ts_unix_sec: stream.runId / 1000,
    dst_ports: compactPorts(delta.ports),
    hostname: stream.hostname,
    iface: stream.iface,
    xdp_mode: stream.mode,
    totals: delta.totals.map(({ port, ...counters }) => ({ dst_port: port, ...inOrder(counters) })),
    unattributed: inOrder(delta.unattributed),
    evicted: delta.evicted,
    not_counted: delta.notCounted,
    map: { max_entries: stream.mapSize, entries: known4 + known6 + syn4 + syn6, known4, known6, syn4, syn6 },
  };
}

function inOrder(counters: Counters): Counters {
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, counters[name]])) as unknown as Counters;
}

/** Buckets of sorted rows, in chunks; each begins with a comma where something is before it in the line. */
function* encodeRows(rows: Rows, separator: boolean): Generator<Uint8Array<ArrayBuffer>> {
  if (rows.count === 0) return;
  fillTables();
  const perChunk = Math.floor(CHUNK / BUCKET_ROOM), out = spare ?? new Uint8Array(CHUNK);
  spare = undefined;
  for (const order of rows.parts()) {
    for (let from = 0; from < order.length; from += perChunk) {
      const length = writeRows(out, rows, order.subarray(from, from + perChunk));
      yield out.subarray(separator ? 0 : 1, length);
      separator = true;
    }
  }
  spare = out;
}

/**
 * Memory for the next chunks. V8 frees what is garbage when it sees fit, which at ten snapshots a second comes to tens of
 * megabytes.
 */
let spare: Uint8Array<ArrayBuffer> | undefined;

/**
 * Writes the rows of `order`, a comma before each; returns the length. Text that never changes is stored eight bytes at a
 * time, as doubles (ASCII is never a NaN), and numbers four digits at a time from tables: some 150 ns a row, where
 * JSON.stringify takes ten times as long.
 */
function writeRows(out: Uint8Array<ArrayBuffer>, rows: Rows, order: Uint32Array): number {
  const view = new DataView(out.buffer), keys = new DataView(rows.keys.buffer), words = wordsOf(rows);
  const { keySize } = rows, c = new Float64Array(COUNTER_NAMES.length);
  let at = 0;
  for (let i = 0; i < order.length; i++) {
    const row = order[i]!, key = row * keySize;
    readCounters(words, row * (COUNTERS.sizeof / 4), c);
    at = writeText(view, at, TEXT.address);
    at = keySize === KEY4.sizeof ? writeIpv4(view, at, keys, key) : writeIpv6(view, at, keys, key);
    at = writeNumber(view, writeText(view, at, TEXT.dst_port), keys.getUint16(key + keySize - 4));
    at = writeNumber(view, writeText(view, at, TEXT.syn), c[0]!);
    at = writeNumber(view, writeText(view, at, TEXT.ack), c[1]!);
    at = writeNumber(view, writeText(view, at, TEXT.handshake_ack), c[2]!);
    at = writeNumber(view, writeText(view, at, TEXT.rst), c[3]!);
    at = writeNumber(view, writeText(view, at, TEXT.packets), c[4]!);
    at = writeNumber(view, writeText(view, at, TEXT.bytes), c[5]!);
    at = writeNumber(view, writeText(view, at, TEXT.syn_ack), c[6]!);
    at = writeNumber(view, writeText(view, at, TEXT.fin), c[7]!);
    at = writeNumber(view, writeText(view, at, TEXT.data), c[8]!);
    out[at++] = 0x7d; // "}"
  }
  return at;
}

/** Text as doubles of eight bytes each, the last filled up with bytes that the next write covers. */
interface Text {
  doubles: Float64Array;
  length: number;
}

function text(value: string): Text {
  const bytes = encoder.encode(value.padEnd(Math.ceil(value.length / 8) * 8));
  return { doubles: new Float64Array(bytes.buffer), length: value.length };
}

const TEXT = {
  address: text(',{"key_type":"src_ip","src_ip":"'),
  dst_port: text('","dst_port":'),
  syn: text(',"syn":'),
  ack: text(',"ack":'),
  handshake_ack: text(',"handshake_ack":'),
  rst: text(',"rst":'),
  packets: text(',"packets":'),
  bytes: text(',"bytes":'),
  syn_ack: text(',"syn_ack":'),
  fin: text(',"fin":'),
  data: text(',"data":'),
};

function writeText(view: DataView, at: number, { doubles, length }: Text): number {
  for (let i = 0; i < doubles.length; i++) view.setFloat64(at + 8 * i, doubles[i]!, true);
  return at + length;
}

/** The digits of `value`, at least `width` of them, as ASCII in a little-endian word. */
function packDigits(value: number, base: number, width: number): number {
  let word = 0;
  for (let left = value, count = 0; left > 0 || count < width; count++) {
    const digit = left % base;
    word = word << 8 | (digit < 10 ? 0x30 : 0x61 - 10) + digit;
    left = (left - digit) / base;
  }
  return word >>> 0;
}

const DIGITS = new Uint32Array(10000);
const PADDED_DIGITS = new Uint32Array(10000);
const HEX = new Uint32Array(65536);
const OCTETS = new Uint32Array(256);

/** Fills the tables before the first row; what writes no rows does not wait for it. */
function fillTables(): void {
  if (OCTETS[0] !== 0) return;
  for (let i = 0; i < DIGITS.length; i++) {
    DIGITS[i] = packDigits(i, 10, 1);
    PADDED_DIGITS[i] = packDigits(i, 10, 4);
  }
  for (let i = 0; i < HEX.length; i++) HEX[i] = packDigits(i, 16, 1);
  for (let i = 0; i < OCTETS.length; i++) OCTETS[i] = (DIGITS[i]! | 0x2e << (i < 10 ? 8 : i < 100 ? 16 : 24)) >>> 0;
}

function writeNumber(view: DataView, at: number, value: number): number {
  if (value < 10) {
    view.setUint8(at, 0x30 + value);
    return at + 1;
  }
  if (value < 10000) {
    view.setUint32(at, DIGITS[value]!, true);
    return at + (value < 100 ? 2 : value < 1000 ? 3 : 4);
  }
  const high = Math.floor(value / 10000);
  at = writeNumber(view, at, high);
  view.setUint32(at, PADDED_DIGITS[value - high * 10000]!, true);
  return at + 4;
}

function writeIpv4(view: DataView, at: number, keys: DataView, key: number): number {
  for (let i = 0; i < 4; i++) {
    const octet = keys.getUint8(key + i);
    view.setUint32(at, OCTETS[octet]!, true);
    at += octet < 10 ? 2 : octet < 100 ? 3 : 4;
  }
  return at - 1;
}

/** RFC 5952: the first longest run of two or more zero groups is "::". */
function writeIpv6(view: DataView, at: number, keys: DataView, key: number): number {
  let start = -1, length = 1, run = 0;
  for (let i = 0; i < 8; i++) {
    run = keys.getUint16(key + 2 * i) === 0 ? run + 1 : 0;
    if (run > length) [start, length] = [i - run + 1, run];
  }
  for (let i = 0; i < 8; i++) {
    if (i === start) {
      view.setUint16(at, 0x3a3a); // "::"
      at += 2;
      i += length - 1;
      continue;
    }
    if (i > 0 && i !== start + length) view.setUint8(at++, 0x3a);
    const group = keys.getUint16(key + 2 * i);
    view.setUint32(at, HEX[group]!, true);
    at += group < 0x10 ? 1 : group < 0x100 ? 2 : group < 0x1000 ? 3 : 4;
  }
  return at;
}

// -------------------------------------------------------------------------------------------------- reading

/** Counters of a bucket; the ones that a version before 8 doesn't have are undefined. */
export interface Bucket extends Omit<Counters, "syn_ack" | "fin" | "data"> {
  /** An address, or a /24. */
  key_type: "src_ip" | "src_cidr24";
  /** Source address, or that of the network. */
  src_ip: string;
  /** Undefined where a version before 4 counted all ports together. */
  dst_port?: number;
  /** Packets with SYN and ACK set; since version 8. */
  syn_ack?: number;
  /** Packets with FIN set; since version 8. */
  fin?: number;
  /** Packets with payload; since version 8. */
  data?: number;
}

/** A line of any version. What that version doesn't record is undefined. */
export interface Snapshot {
  /** 3 to 8. */
  version: number;
  /** What the rows are by. */
  aggregation: string;
  /** End of the interval, seconds since 1970. */
  ts_unix_sec: number;
  /** Versions before 5 don't say; before 8 it is what was asked for, not what was measured. */
  interval_sec?: number;
  /** When the collector started: milliseconds since 1970, before version 8 seconds. */
  run_id?: number;
  /** 0, 1, 2, … within a run and interface. */
  seq?: number;
  /** `cumulative`: since the entry was made. `delta`: in the interval. */
  counter_mode: "delta" | "cumulative";
  /** When the run began. */
  base_ts_unix_sec?: number;
  /** Ports that were counted. */
  dst_ports: PortRange[];
  /** Host that counted; since version 8. */
  hostname?: string;
  /** Interface that was counted on; since version 8. */
  iface?: string;
  /** How it was counted. */
  xdp_mode?: SnapshotMode;
  /** Exact counters by port, whatever the maps lost. */
  totals?: (Counters & { dst_port: number })[];
  /** What the totals have more than the rows. */
  unattributed?: Counters;
  /** Entries pushed out of the maps before they were read. */
  evicted?: number;
  /** Frames seen and not counted. */
  not_counted?: NotCounted;
  /** Room in the maps, and entries found. */
  map?: Entries & { max_entries: number; entries: number };
  /** Counters by source and port. */
  buckets: Bucket[];
}

/** A line of a stream: its snapshot, or why it is none. */
export type Line = { number: number; snapshot: Snapshot } | { number: number; error: IbsrError };

/** The longest line that is read: V8 has no longer text. */
export const MAX_LINE = 512 * 1024 * 1024;

/**
 * The lines of a stream of bytes, empty ones left out, numbers from 1. A line without its newline at the end is
 * read like any other: whole, it is a snapshot; torn, it says so.
 *
 * @param bytes JSON lines in UTF-8, in pieces of any size.
 * @param name What the errors of lines call the stream. They are given, not thrown; what `bytes` throws is.
 */
export async function* readSnapshots(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  for await (const { number, text } of readLines(bytes)) {
    try {
      if (!text) throw lineTooLong(MAX_LINE);
      yield { number, snapshot: decodeSnapshot(text) };
    } catch (cause) {
      yield { number, error: new IbsrError("data", `Cannot read ${name}:${number}: ${reason(cause)}`, { cause }) };
    }
  }
}

/** A line as it stands there. */
export interface RawLine {
  /** From 1. */
  number: number;
  /** Without its newline; overwritten by the next line. Undefined if it is longer than a line may be. */
  text: Uint8Array | undefined;
  /** Whether its newline is there: the last line of a file that is still written may be without. */
  ended: boolean;
}

/** What is wrong with a line of more than `longest` bytes. */
export function lineTooLong(longest: number): IbsrError {
  return new IbsrError("data", `it is longer than ${longest} bytes`);
}

/** The lines of a stream of bytes that aren't empty, without a byte order mark. */
export async function* readLines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<RawLine> {
  let number = 0;
  for await (const { text, ended } of splitLines(bytes)) {
    number++;
    const marked = number === 1 && text?.[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf;
    const line = marked ? text.subarray(3) : text;
    if (line && isBlank(line)) continue;
    yield { number, text: line, ended };
  }
}

/** Whether there is nothing but blanks in a line. */
export function isBlank(line: Uint8Array): boolean {
  let at = 0;
  while (line[at] === 0x20 || line[at] === 0x0d || line[at] === 0x09) at++;
  return at === line.length;
}

async function* splitLines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Omit<RawLine, "number">> {
  // The beginning of a line whose end has not come. Its room is used for the next one, too: lines may be large.
  let held = new Uint8Array(0), length = 0;
  const hold = (part: Uint8Array) => {
    const from = length;
    length += part.length;
    if (length > MAX_LINE) return;
    if (length > held.length) {
      const room = new Uint8Array(Math.min(MAX_LINE, Math.max(1 << 16, length + (length >> 1))));
      room.set(held.subarray(0, from));
      held = room;
    }
    held.set(part, from);
  };
  const take = () => length > MAX_LINE ? undefined : held.subarray(0, length);
  for await (const chunk of bytes) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      if (length === 0) yield { text: chunk.subarray(from, end), ended: true };
      else {
        hold(chunk.subarray(from, end));
        yield { text: take(), ended: true };
      }
      [length, from] = [0, end + 1];
    }
    hold(chunk.subarray(from));
  }
  if (length > 0) yield { text: take(), ended: false };
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * A snapshot of any version from 3 on, as src/snapshot.schema.json describes the newest. Unknown keys are ignored.
 *
 * @param line A line of JSON, with or without its newline; as bytes, in UTF-8.
 * @throws {IbsrError} `data`, saying what is wrong with the line.
 */
export function decodeSnapshot(line: Uint8Array | string): Snapshot {
  let value: unknown;
  try {
    value = JSON.parse(typeof line === "string" ? line : decoder.decode(line));
  } catch (cause) {
    throw new IbsrError("data", `it is not JSON: ${reason(cause)}`, { cause });
  }
  const at = asObject(value, "the line");
  const version = asCount(at.version, "version");
  if (version < 3 || version > VERSION) {
    throw new IbsrError("data", `version ${version} is none of 3 to ${VERSION}`);
  }
  const snapshot: Snapshot = {
    version,
    aggregation: version >= 4 ? asText(at.aggregation, "aggregation") : "src_ip_dst_port",
    ts_unix_sec: asSeconds(at.ts_unix_sec, "ts_unix_sec"),
    counter_mode: "cumulative",
    dst_ports: asArray(at.dst_ports, "dst_ports").map(asPortRange),
    buckets: [],
  };
  if (version >= 5) {
    snapshot.interval_sec = asSeconds(at.interval_sec, "interval_sec");
    snapshot.run_id = asCount(at.run_id, "run_id");
    snapshot.counter_mode = asOneOf(at.counter_mode, ["cumulative", "delta"], "counter_mode");
    snapshot.base_ts_unix_sec = asSeconds(at.base_ts_unix_sec, "base_ts_unix_sec");
  }
  if (version >= 8) {
    snapshot.seq = asCount(at.seq, "seq");
    snapshot.hostname = asText(at.hostname, "hostname");
    snapshot.iface = asText(at.iface, "iface");
    snapshot.xdp_mode = asOneOf(at.xdp_mode, ["native", "generic", "test_run", "model"], "xdp_mode");
    snapshot.totals = asArray(at.totals, "totals").map((total, i) => {
      const where = `totals[${i}]`, object = asObject(total, where);
      return { dst_port: asPort(object.dst_port, `${where}.dst_port`), ...asCounters(object, where) };
    });
    snapshot.unattributed = asCounters(asObject(at.unattributed, "unattributed"), "unattributed");
    snapshot.evicted = asCount(at.evicted, "evicted");
    snapshot.not_counted = asCounts(asObject(at.not_counted, "not_counted"), SKIP_NAMES, "not_counted");
    snapshot.map = asCounts(asObject(at.map, "map"), MAP_NAMES, "map");
  }
  snapshot.buckets = asArray(at.buckets, "buckets").map((bucket, i) => asBucket(bucket, version, `buckets[${i}]`));
  return snapshot;
}

const MAP_NAMES = ["max_entries", "entries", "known4", "known6", "syn4", "syn6"] as const;

function asBucket(value: unknown, version: number, where: string): Bucket {
  const at = asObject(value, where);
  const bucket: Bucket = {
    key_type: asOneOf(at.key_type, ["src_ip", "src_cidr24"], `${where}.key_type`),
    src_ip: version === 3 ? asNumberedAddress(at.key_value, `${where}.key_value`) : asAddress(at.src_ip, where),
    syn: asCount(at.syn, `${where}.syn`),
    ack: asCount(at.ack, `${where}.ack`),
    handshake_ack: asCount(at.handshake_ack, `${where}.handshake_ack`),
    rst: asCount(at.rst, `${where}.rst`),
    packets: asCount(at.packets, `${where}.packets`),
    bytes: asCount(at.bytes, `${where}.bytes`),
  };
  if (at.dst_port !== undefined || version >= 8) bucket.dst_port = asPort(at.dst_port, `${where}.dst_port`);
  if (version >= 8) {
    bucket.syn_ack = asCount(at.syn_ack, `${where}.syn_ack`);
    bucket.fin = asCount(at.fin, `${where}.fin`);
    bucket.data = asCount(at.data, `${where}.data`);
  }
  return bucket;
}

function wrong(where: string, expected: string, value: unknown): IbsrError {
  const shown = value === undefined ? "missing" : JSON.stringify(value)?.slice(0, 60) ?? typeof value;
  return new IbsrError("data", `${where} is ${shown}, not ${expected}`);
}

function asObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(where, "an object", value);
  return value as Record<string, unknown>;
}

function asArray(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw wrong(where, "an array", value);
  return value;
}

function asText(value: unknown, where: string): string {
  if (typeof value !== "string") throw wrong(where, "a text", value);
  return value;
}

function asOneOf<T extends string>(value: unknown, choices: readonly T[], where: string): T {
  if (!choices.includes(value as T)) throw wrong(where, `one of ${choices.join(", ")}`, value);
  return value as T;
}

/** A whole number that JSON carried exactly. */
function asCount(value: unknown, where: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong(where, "a whole number from 0 to 2^53", value);
  return value as number;
}

function asSeconds(value: unknown, where: string): number {
  // The year 9999 in seconds: later times are no times.
  if (typeof value !== "number" || !(value >= 0 && value < 253402300800)) {
    throw wrong(where, "a time in seconds", value);
  }
  return value;
}

function asPort(value: unknown, where: string): number {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 65535) {
    throw wrong(where, "a port", value);
  }
  return value as number;
}

function asPortRange(value: unknown, i: number): PortRange {
  const where = `dst_ports[${i}]`;
  if (typeof value !== "string") return asPort(value, where);
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(value);
  const low = Number(match?.[1]), high = Number(match?.[2]);
  if (!match || low > high || high > 65535) throw wrong(where, "a port or a range of ports", value);
  return `${low}-${high}`;
}

/** The address as RFC 5952 writes it. */
function asAddress(value: unknown, where: string): string {
  const bytes = typeof value === "string" ? parseAddress(value) : undefined;
  if (!bytes) throw wrong(`${where}.src_ip`, "an IP address", value);
  return formatAddress(bytes);
}

/** Version 3's IPv4 address: a number, the first octet highest. */
function asNumberedAddress(value: unknown, where: string): string {
  const number = asCount(value, where);
  if (number > 0xffff_ffff) throw wrong(where, "an IPv4 address as a number", value);
  return formatAddress(new Uint8Array([number >>> 24, number >>> 16, number >>> 8, number]));
}

function asCounts<N extends string>(at: Record<string, unknown>, names: readonly N[], where: string) {
  return Object.fromEntries(names.map((name) => [name, asCount(at[name], `${where}.${name}`)])) as Record<N, number>;
}

function asCounters(at: Record<string, unknown>, where: string): Counters {
  return asCounts(at, COUNTER_NAMES, where);
}

/** The ports that a snapshot's program counted, one by one. */
export function listPorts(snapshot: Snapshot): number[] {
  return expandPorts(snapshot.dst_ports);
}
