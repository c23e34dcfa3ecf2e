/**
 * What was counted lately: the rows of the intervals that a window can touch, by key.
 *
 * A rule looks at a window of length W that may end at any packet of the newest interval. What is asked of the rows
 * is therefore two-sided: all that such a window can hold (`touch`), what every such window holds (`inner`, `run`).
 * Rows lie in a ring of columns and point to the one before of their key; the ring grows with what W holds, not with
 * time. Pure.
 */
import type { Interval } from "../evidence/interval.ts";
import { atLeast } from "../evidence/pairs.ts";

/** By how much an interval may be longer than W and still count as W: clocks tick late, engines' too. */
export const WINDOW_SLACK = 1.05;

/** Sums over rows of one key, as of the newest interval. */
export interface Seen {
  /** Over every interval that a window ending in the newest can touch. */
  touch: Sums;
  /** When the first of them that has a row begins. */
  touchBeginMs: number;
  /** Over the newest alone. */
  own: Sums;
  /** Completed connections in the intervals that every such window holds whole. */
  inner: { handshakeAck: number; data: number };
  /** Over the longest unbroken run of intervals, the newest last, that is no longer than W. */
  run: Sums;
  runBeginMs: number;
}

/** What rows have counted together. */
export interface Sums {
  syn: number;
  handshakeAck: number;
  data: number;
  packets: number;
  bytes: number;
}

/** An interval that is still in reach. */
interface Reached {
  seq: number;
  beginMs: number;
  endMs: number;
  rows: number;
}

/** The rows of recent intervals. */
export interface Recent {
  /** Sequence number of the newest interval, from 1. */
  readonly seq: number;
  /** The first interval that a window ending in the newest can touch, and the first of the longest run within W. */
  readonly touchSeq: number;
  readonly runSeq: number;
  /** The first of the intervals that every window ending in the newest holds whole, but for the newest itself. */
  readonly innerSeq: number;
  readonly runBeginMs: number;
  readonly touchBeginMs: number;
  /** End of the newest interval. */
  readonly endMs: number;
  /** How many windows cover the newest interval: 1 unless it is longer than W. */
  readonly pieces: number;
  /** Share of a window that ends with the newest interval that was watched. */
  readonly covered: number;
  /** Begins the next interval, which has so many rows at most, and forgets what is out of reach. */
  begin(interval: Pick<Interval, "beginMs" | "endMs">, mostRows: number): void;
  /**
   * Adds an interval's cells to the rows of their keys, of which there are so many; -1 is no key.
   *
   * @param mayMatter Whether a key that touches so much at most is worth a look.
   * @returns The rows; valid until the next are added.
   */
  add(
    cells: Interval["cells"],
    keys: { of: Int32Array; count: number },
    mayMatter: (syn: number, packets: number, bytes: number) => boolean,
  ): NewRows;
  /** Fills `seen` from the rows of a key that has one in this interval. */
  look(key: number, seen: Seen): void;
}

/** Rows of the newest interval, in the order of the first cells of their keys. */
export interface NewRows {
  count: number;
  /** That first cell. */
  cell: Int32Array;
  /** 1 if it is worth a look. */
  matters: Uint8Array;
}

/** Whether `after` begins where `before` ends, but for what a clock may be off. */
export function follows(before: { endMs: number }, after: { beginMs: number; endMs: number }): boolean {
  return after.beginMs - before.endMs <= Math.max(50, 0.02 * (after.endMs - after.beginMs));
}

/** A `Seen` to be filled. */
export function emptySeen(): Seen {
  const none = () => ({ syn: 0, handshakeAck: 0, data: 0, packets: 0, bytes: 0 });
  return {
    touch: none(),
    own: none(),
    run: none(),
    inner: { handshakeAck: 0, data: 0 },
    touchBeginMs: 0,
    runBeginMs: 0,
  };
}

/** No rows yet; windows are `windowMs` long. */
export function createRecent(windowMs: number): Recent {
  const intervals: Reached[] = [];
  let seq = 0, runSeq = 0, innerSeq = 0, pieces = 1, covered = 1;
  let capacity = 1024, tail = 0, live = 0, keys = 0;
  let lastRow = new Int32Array(1024), lastSeq = new Uint32Array(1024);
  let before = new Int32Array(capacity), beforeSeq = new Uint32Array(capacity);
  let syn = new Float64Array(capacity), handshakeAck = new Float64Array(capacity), data = new Float64Array(capacity);
  let packets = new Float64Array(capacity), bytes = new Float64Array(capacity);
  /** By key: an upper bound of what the intervals that a window can touch hold, which spares most keys a look. */
  let mostSyn = new Float64Array(0), mostPackets = new Float64Array(0), mostBytes = new Float64Array(0);
  const added: NewRows = { count: 0, cell: new Int32Array(0), matters: new Uint8Array(0) };

  /** More room, the oldest row first. `room`: a power of two. */
  const grow = (room: number) => {
    const from = tail, old = capacity;
    const unwind = <T extends Float64Array | Uint32Array | Int32Array>(column: T): T => {
      const wider = new (column.constructor as new (length: number) => T)(room);
      wider.set(column.subarray(from) as never, 0);
      wider.set(column.subarray(0, from) as never, old - from);
      return wider;
    };
    [before, beforeSeq] = [unwind(before), unwind(beforeSeq)];
    [syn, handshakeAck, data] = [unwind(syn), unwind(handshakeAck), unwind(data)];
    [packets, bytes] = [unwind(packets), unwind(bytes)];
    for (let row = 0; row < old; row++) before[row] = (before[row]! - from + old) % old;
    for (let key = 0; key < keys; key++) lastRow[key] = (lastRow[key]! - from + old) % old;
    capacity = room;
    tail = 0;
  };

  const growKeys = (count: number) => {
    if (count <= keys) return;
    keys = count;
    [lastRow, lastSeq] = [atLeast(lastRow, keys), atLeast(lastSeq, keys)];
    [mostSyn, mostPackets] = [atLeast(mostSyn, keys), atLeast(mostPackets, keys)];
    mostBytes = atLeast(mostBytes, keys);
  };

  return {
    get seq() {
      return seq;
    },
    get touchSeq() {
      return intervals[0]?.seq ?? seq;
    },
    get runSeq() {
      return runSeq;
    },
    get innerSeq() {
      return innerSeq;
    },
    get runBeginMs() {
      return intervals[intervals.length - 1 - (seq - runSeq)]!.beginMs;
    },
    get touchBeginMs() {
      return intervals[0]!.beginMs;
    },
    get endMs() {
      return intervals.at(-1)!.endMs;
    },
    get pieces() {
      return pieces;
    },
    get covered() {
      return covered;
    },
    begin({ beginMs, endMs }, mostRows) {
      while (intervals.length > 0 && intervals[0]!.endMs <= beginMs - windowMs) {
        const { rows } = intervals.shift()!;
        tail = (tail + rows) % capacity;
        live -= rows;
      }
      let room = capacity;
      while (room < live + mostRows) room *= 2;
      if (room > capacity) grow(room);
      intervals.push({ seq: ++seq, beginMs, endMs, rows: 0 });
      pieces = Math.max(1, Math.ceil((endMs - beginMs) / (windowMs * WINDOW_SLACK)));
      [runSeq, innerSeq] = [seq, seq];
      for (let i = intervals.length - 2; i >= 0; i--) {
        const one = intervals[i]!;
        if (!follows(one, intervals[i + 1]!) || endMs - one.beginMs > windowMs * WINDOW_SLACK) break;
        runSeq = one.seq;
      }
      for (let i = intervals.length - 2; i >= 0 && intervals[i]!.beginMs >= endMs - windowMs; i--) {
        innerSeq = intervals[i]!.seq;
      }
      let watched = 0;
      for (const one of intervals) watched += Math.max(0, one.endMs - Math.max(one.beginMs, endMs - windowMs));
      covered = Math.min(1, watched / windowMs);
    },
    add(cells, { of: keyOf, count: keyCount }, mayMatter) {
      const { count } = cells, first = intervals[0]!.seq, begin = tail + live, last = capacity - 1; // a power of two
      added.cell = atLeast(added.cell, count);
      added.matters = atLeast(added.matters, count);
      growKeys(keyCount);
      // What is looked up once an interval: V8 looks up a variable of an outer function at each use.
      const { cell, matters } = added, own = seq, rowOf = lastRow, seqOf = lastSeq, earlier = before;
      const earlierSeq = beforeSeq, syns = syn, acks = handshakeAck, payloads = data, all = packets, lengths = bytes;
      const highSyn = mostSyn, highPackets = mostPackets, highBytes = mostBytes;
      let rows = 0;
      for (let i = 0; i < count; i++) {
        const key = keyOf[i]!;
        if (key < 0) continue;
        const known = seqOf[key]!, s = cells.syn[i]!, p = cells.packets[i]!, b = cells.bytes[i]!;
        const touches = known >= first;
        const most = (touches ? highSyn[key]! : 0) + s, mostP = (touches ? highPackets[key]! : 0) + p;
        const mostB = (touches ? highBytes[key]! : 0) + b;
        highSyn[key] = most;
        highPackets[key] = mostP;
        highBytes[key] = mostB;
        const same = known === own,
          row = same ? rowOf[key]! : begin + rows & last,
          at = same ? row - begin & last : rows++;
        if (same) {
          syns[row]! += s;
          acks[row]! += cells.handshakeAck[i]!;
          payloads[row]! += cells.data[i]!;
          all[row]! += p;
          lengths[row]! += b;
        } else {
          earlier[row] = rowOf[key]!;
          earlierSeq[row] = known;
          syns[row] = s;
          acks[row] = cells.handshakeAck[i]!;
          payloads[row] = cells.data[i]!;
          all[row] = p;
          lengths[row] = b;
          rowOf[key] = row;
          seqOf[key] = own;
          cell[at] = i;
        }
        matters[at] = mayMatter(most, mostP, mostB) ? 1 : 0;
      }
      live += rows;
      intervals.at(-1)!.rows = rows;
      added.count = rows;
      return added;
    },
    look(key, seen) {
      const { touch, run, own, inner } = seen, first = intervals[0]!.seq;
      let row = lastRow[key]!, at = seq;
      own.syn = touch.syn = run.syn = syn[row]!;
      own.handshakeAck = touch.handshakeAck = run.handshakeAck = handshakeAck[row]!;
      own.data = touch.data = run.data = data[row]!;
      own.packets = touch.packets = run.packets = packets[row]!;
      own.bytes = touch.bytes = run.bytes = bytes[row]!;
      inner.handshakeAck = inner.data = 0;
      let runFrom = seq, touchFrom = seq;
      for (;;) {
        at = beforeSeq[row]!;
        if (at < first) break;
        row = before[row]!;
        touch.syn += syn[row]!;
        touch.handshakeAck += handshakeAck[row]!;
        touch.data += data[row]!;
        touch.packets += packets[row]!;
        touch.bytes += bytes[row]!;
        touchFrom = at;
        if (at >= runSeq) {
          run.syn += syn[row]!;
          run.handshakeAck += handshakeAck[row]!;
          run.data += data[row]!;
          run.packets += packets[row]!;
          run.bytes += bytes[row]!;
          runFrom = at;
        }
        if (at >= innerSeq) {
          inner.handshakeAck += handshakeAck[row]!;
          inner.data += data[row]!;
        }
      }
      mostSyn[key] = touch.syn;
      mostPackets[key] = touch.packets;
      mostBytes[key] = touch.bytes;
      const newest = intervals.length - 1;
      seen.runBeginMs = intervals[newest - (seq - runFrom)]!.beginMs;
      seen.touchBeginMs = intervals[newest - (seq - touchFrom)]!.beginMs;
    },
  };
}
