/**
 * Rows from the bytes of a line that is literally what is always written.
 *
 * The text between the numbers is compared eight bytes at a time, the numbers go straight into columns: some 100 ns a
 * row. The code repeats itself for each counter: in one loop over names it takes three times as long. Pure.
 */
import { COUNTER_NAMES } from "../counters.ts";
import { growRows, makeRows, type Rows } from "./rows.ts";
import type { SourceTable } from "./sources.ts";

/** No row is longer than this: numbers of 15 digits, the longest address, all counters. */
export const MOST_ROW = 512;
/** No row is shorter: version 4's with one digit a number. */
const LEAST_ROW = 100;

/** Reads the rows of a line, piece by piece. */
export interface RowScanner {
  /** Begins a line. `full`: its rows have the counters of version 8, and not only those before it. */
  begin(full: boolean): void;
  /**
   * Reads rows from `at` on, where one begins, up to `end`.
   *
   * @param bytes Can be read for MOST_ROW behind `end`, whatever is there.
   * @param range `final`: nothing more comes; otherwise rows that may not be there whole are left for the next call.
   * @returns Whether more is needed, something is not as it is always written, or the rows have ended.
   */
  advance(bytes: Uint8Array, range: { at: number; end: number; final: boolean }): "more" | "wrong" | "ended";
  /** Behind the last row that was read, or behind the bracket that ends them. */
  readonly at: number;
  /** What was read of the line; overwritten by the next. */
  readonly rows: Rows;
  /** Whether they are sorted and each key is there once. */
  readonly sorted: boolean;
}

/**
 * The IPv4 sources of the line before, in its order. Most are in the next line, too, and lines are sorted: one step
 * finds them, where a look into the table of all sources waits for memory.
 */
interface Known {
  count: number;
  addresses: Uint32Array;
  sources: Uint32Array;
}

function growKnown(from: Known, room: number): Known {
  const to = makeKnown(room);
  to.addresses.set(from.addresses);
  to.sources.set(from.sources);
  to.count = from.count;
  return to;
}

function makeKnown(room: number): Known {
  return { count: 0, addresses: new Uint32Array(room), sources: new Uint32Array(room) };
}

const CLOSE = 0x5d, COMMA = 0x2c, QUOTE = 0x22, BRACE = 0x7d, ZERO = 0x30, COLON = 0x3a, DOT = 0x2e;
const encoder = new TextEncoder();

/** Four bytes of a text as a little-endian word. */
function word(text: string, from: number): number {
  return new DataView(encoder.encode(text).buffer).getUint32(from, true);
}

/** Eight bytes of a text as a double; of ASCII it is never a NaN. */
function long(text: string, from: number): number {
  return new DataView(encoder.encode(text).buffer).getFloat64(from, true);
}

// The texts between the numbers, as words that overlap where the length is no multiple of theirs.
const ADDRESS = '{"key_type":"src_ip","src_ip":"';
const [ADDRESS_0, ADDRESS_8, ADDRESS_16] = [long(ADDRESS, 0), long(ADDRESS, 8), long(ADDRESS, 16)];
const ADDRESS_23 = long(ADDRESS, 23);
const PORT = '","dst_port":', PORT_0 = long(PORT, 0), PORT_5 = long(PORT, 5);
const SYN = ',"syn":', SYN_0 = word(SYN, 0), SYN_3 = word(SYN, 3);
const ACK = ',"ack":', ACK_0 = word(ACK, 0), ACK_3 = word(ACK, 3);
const BARE_ACK = ',"handshake_ack":', BARE_ACK_0 = long(BARE_ACK, 0), BARE_ACK_8 = long(BARE_ACK, 8);
const RST = ',"rst":', RST_0 = word(RST, 0), RST_3 = word(RST, 3);
const PACKETS = ',"packets":', PACKETS_0 = long(PACKETS, 0), PACKETS_7 = word(PACKETS, 7);
const BYTES = ',"bytes":', BYTES_0 = long(BYTES, 0);
const SYN_ACK = ',"syn_ack":', SYN_ACK_0 = long(SYN_ACK, 0), SYN_ACK_7 = word(SYN_ACK, 7);
const FIN = ',"fin":', FIN_0 = word(FIN, 0), FIN_3 = word(FIN, 3);
const DATA = ',"data":', DATA_0 = long(DATA, 0);

/** Where the columns of a row are in COUNTER_NAMES. */
const [K_SYN, K_ACK, K_BARE_ACK, K_RST, K_PACKETS, K_BYTES, K_SYN_ACK, K_FIN, K_DATA] = COUNTER_NAMES.keys();

/** Makes a scanner, which adds sources to `sources`. */
export function createRowScanner(sources: SourceTable): RowScanner {
  let rows = makeRows(0), known = makeKnown(0), seen = makeKnown(0), next = 0, full = false, stop = 0;
  let sorted = true, beforeIs6 = false, beforePort = -1;
  const address = new Uint32Array(4), before = new Uint32Array(4), number = new Float64Array(1);

  /** Room for as many rows as can be in so many bytes. */
  const reserve = (bytes: number) => {
    const least = rows.count + Math.ceil(bytes / LEAST_ROW) + 1;
    if (rows.source.length >= least) return;
    rows = growRows(rows, least + (least >> 1));
    seen = growKnown(seen, rows.source.length);
  };

  const scan = (bytes: Uint8Array, at: number, end: number, final: boolean): "more" | "wrong" | "ended" => {
    const { source, port, counters } = rows, view = new DataView(bytes.buffer, bytes.byteOffset);
    const syn = counters[K_SYN!]!, ack = counters[K_ACK!]!, bareAck = counters[K_BARE_ACK!]!, rst = counters[K_RST!]!;
    const packets = counters[K_PACKETS!]!, size = counters[K_BYTES!]!, synAck = counters[K_SYN_ACK!]!;
    const fin = counters[K_FIN!]!, data = counters[K_DATA!]!, wide = full;
    const { addresses: knownAddresses, count: knownCount } = known;
    const last = final ? end : end - MOST_ROW;
    let row = rows.count;
    for (;; at++, row++) {
      rows.count = row;
      stop = at;
      if (at >= last) return final ? "wrong" : "more";
      if (
        view.getFloat64(at, true) !== ADDRESS_0 || view.getFloat64(at + 8, true) !== ADDRESS_8 ||
        view.getFloat64(at + 16, true) !== ADDRESS_16 || view.getFloat64(at + 23, true) !== ADDRESS_23
      ) return "wrong";
      at += ADDRESS.length;

      const is4 = scanIpv4(bytes, at, address), after = is4 > 0 ? is4 : scanIpv6(bytes, at, address);
      if (after < 0 || view.getFloat64(after, true) !== PORT_0 || view.getFloat64(after + 5, true) !== PORT_5) {
        return "wrong";
      }
      at = scanNumber(bytes, after + PORT.length, number, 0);
      if (at < 0 || number[0]! > 65535) return "wrong";
      port[row] = number[0]!;
      if (is4 > 0) {
        const value = address[0]!;
        while (next < knownCount && knownAddresses[next]! < value) next++;
        const met = next < knownCount && knownAddresses[next] === value;
        source[row] = met ? known.sources[next]! : sources.intern4(value);
        seen.addresses[seen.count] = value;
        seen.sources[seen.count++] = source[row]!;
      } else {
        source[row] = sources.intern6(address[0]!, address[1]!, address[2]!, address[3]!);
      }
      if (sorted) {
        const order = is4 > 0
          ? beforeIs6 ? -1 : address[0]! - before[0]!
          : beforeIs6
          ? compareWords(address, before)
          : 1;
        sorted = order > 0 || order === 0 && port[row]! > beforePort;
        before[0] = address[0]!;
        if (is4 < 0) [before[1], before[2], before[3]] = [address[1]!, address[2]!, address[3]!];
        beforeIs6 = is4 < 0;
        beforePort = port[row]!;
      }

      if (view.getUint32(at, true) !== SYN_0 || view.getUint32(at + 3, true) !== SYN_3) return "wrong";
      at = scanNumber(bytes, at + SYN.length, syn, row);
      if (at < 0 || view.getUint32(at, true) !== ACK_0 || view.getUint32(at + 3, true) !== ACK_3) return "wrong";
      at = scanNumber(bytes, at + ACK.length, ack, row);
      if (
        at < 0 || view.getFloat64(at, true) !== BARE_ACK_0 || view.getFloat64(at + 8, true) !== BARE_ACK_8 ||
        bytes[at + 16] !== COLON
      ) return "wrong";
      at = scanNumber(bytes, at + BARE_ACK.length, bareAck, row);
      if (at < 0 || view.getUint32(at, true) !== RST_0 || view.getUint32(at + 3, true) !== RST_3) return "wrong";
      at = scanNumber(bytes, at + RST.length, rst, row);
      if (at < 0 || view.getFloat64(at, true) !== PACKETS_0 || view.getUint32(at + 7, true) !== PACKETS_7) {
        return "wrong";
      }
      at = scanNumber(bytes, at + PACKETS.length, packets, row);
      if (at < 0 || view.getFloat64(at, true) !== BYTES_0 || bytes[at + 8] !== COLON) return "wrong";
      at = scanNumber(bytes, at + BYTES.length, size, row);
      if (wide) {
        if (at < 0 || view.getFloat64(at, true) !== SYN_ACK_0 || view.getUint32(at + 7, true) !== SYN_ACK_7) {
          return "wrong";
        }
        at = scanNumber(bytes, at + SYN_ACK.length, synAck, row);
        if (at < 0 || view.getUint32(at, true) !== FIN_0 || view.getUint32(at + 3, true) !== FIN_3) return "wrong";
        at = scanNumber(bytes, at + FIN.length, fin, row);
        if (at < 0 || view.getFloat64(at, true) !== DATA_0) return "wrong";
        at = scanNumber(bytes, at + DATA.length, data, row);
      } else {
        synAck[row] = fin[row] = data[row] = 0;
      }
      // What is behind the end may look like the rest of a row that was cut.
      if (at < 0 || at + 1 >= end || bytes[at++] !== BRACE) return "wrong";
      if (bytes[at] === COMMA) continue;
      if (bytes[at] !== CLOSE) return "wrong";
      rows.count = row + 1;
      stop = at + 1;
      return "ended";
    }
  };

  return {
    begin(asFull) {
      [known, seen] = [seen, known];
      if (seen.addresses.length < rows.source.length) seen = makeKnown(rows.source.length);
      [rows.count, seen.count, next, full, stop] = [0, 0, 0, asFull, 0];
      [sorted, beforeIs6, beforePort] = [true, false, -1];
    },
    advance(bytes, { at, end, final }) {
      if (rows.count === 0 && at < end && bytes[at] === CLOSE) {
        stop = at + 1;
        return "ended";
      }
      reserve(end - at);
      return scan(bytes, at, end, final);
    },
    get at() {
      return stop;
    },
    get rows() {
      return rows;
    },
    get sorted() {
      return sorted;
    },
  };
}

/** Reads a number of at most 15 digits into a column; returns where it ends, or -1 if there is none. */
function scanNumber(bytes: Uint8Array, at: number, column: Float64Array, row: number): number {
  let digit = bytes[at]! - ZERO;
  if (digit >>> 0 > 9) return -1;
  const most = at + 15; // a double holds 15 digits
  let value = digit;
  while ((digit = bytes[++at]! - ZERO) >>> 0 <= 9) {
    if (at === most || value === 0) return -1; // JSON has no number with a 0 before it
    value = value * 10 + digit;
  }
  column[row] = value;
  return at;
}

/** Reads an IPv4 address into the first word of `to`; returns where it ends, or -1 if there is none. */
function scanIpv4(bytes: Uint8Array, at: number, to: Uint32Array): number {
  let address = 0;
  for (let dots = 0;; dots++) {
    let octet = bytes[at]! - ZERO;
    if (octet >>> 0 > 9) return -1;
    at++;
    if (octet > 0) {
      let digit = bytes[at]! - ZERO;
      if (digit >>> 0 <= 9) {
        octet = octet * 10 + digit;
        digit = bytes[++at]! - ZERO;
        if (digit >>> 0 <= 9) {
          octet = octet * 10 + digit;
          at++;
        }
      }
    }
    if (octet > 255) return -1;
    address = address << 8 | octet;
    if (dots === 3) break;
    if (bytes[at++] !== DOT) return -1;
  }
  to[0] = address;
  return bytes[at] === QUOTE ? at : -1;
}

const GROUPS = new Uint16Array(8);

/** Reads an IPv6 address of groups into `to`; returns where it ends, or -1 if there is none. */
function scanIpv6(bytes: Uint8Array, at: number, to: Uint32Array): number {
  let count = 0, gap = -1;
  if (bytes[at] === COLON && bytes[at + 1] === COLON) [gap, at] = [0, at + 2];
  while (bytes[at] !== QUOTE || gap !== count) {
    let group = 0, digits = 0;
    for (let digit; (digit = hexDigit(bytes[at]!)) >= 0; at++, digits++) group = group << 4 | digit;
    if (digits === 0 || digits > 4 || count === 8) return -1;
    GROUPS[count++] = group;
    if (bytes[at] !== COLON) break;
    if (bytes[++at] !== COLON) continue;
    if (gap >= 0) return -1;
    gap = count;
    at++;
  }
  if (bytes[at] !== QUOTE || (gap < 0 ? count !== 8 : count === 8)) return -1;
  if (gap >= 0) {
    GROUPS.copyWithin(8 - count + gap, gap, count);
    GROUPS.fill(0, gap, 8 - count + gap);
  }
  for (let i = 0; i < 4; i++) to[i] = GROUPS[2 * i]! << 16 | GROUPS[2 * i + 1]!;
  return at;
}

/** The value of a hexadecimal digit, or -1. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function compareWords(a: Uint32Array, b: Uint32Array): number {
  for (let i = 0; i < 4; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}
