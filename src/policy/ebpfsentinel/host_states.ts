/**
 * The states that a source can be in towards the blacklist, after an interval. Pure.
 *
 * There are up to seven of them for each source and interval, and all live until the next interval. As objects they
 * would be 180 bytes each, from all over the memory, which takes twice as long to read; so they are rows of numbers,
 * those of a source beside each other.
 */
import { atLeast } from "../../evidence/pairs.ts";
import type { Range } from "./gate.ts";

/**
 * The numbers of a row. Counting: fewest and most detections so far, and when the first of them was at the earliest and
 * at the latest. Blocked: no detections, and when the block ends. Of both: packets dropped on every way here, at least
 * and at most, beyond those of the host: maybe fewer than none.
 */
export const FEWEST = 0, MOST = 1, EARLIEST_MS = 2, LATEST_MS = 3, LEAST_DROPPED = 4, MOST_DROPPED = 5;
/** How many they are. */
export const WIDTH = 6;

/** Blocks kept at once, besides counting; more are taken together. */
const MAX_BLOCKED = 6;
const MAX_STATES = 1 + MAX_BLOCKED;

/** A source's states, and what is asked of all of them. */
export interface Host {
  /** Place of its rows. */
  first: number;
  /** States, and whether the first of them counts: the others are blocks by when they end, none of which overlap. */
  count: number;
  counting: boolean;
  /** Packets that each state's numbers are to be added to: so those of a block that goes on needn't be touched. */
  dropped: number;
  /** The most detections so far. */
  most: number;
  /** Until when it is blocked for certain, and until when perhaps; -Infinity where it may, or must, be counting. */
  coveredUntilMs: number;
  blockedUntilMs: number;
}

/** Rows of all sources: 336 bytes for each that was ever looked at. */
export interface Hosts {
  /** All rows. Adding a source may replace it. */
  readonly rows: Float64Array;
  /** A source that nothing is known of: it counts, and nothing was detected. */
  add(): Host;
  /** Packets dropped so far, whichever of the states a source is in. */
  droppedSoFar(host: Host): Range;
}

export function createHosts(): Hosts {
  let rows = new Float64Array(0), used = 0;
  return {
    get rows() {
      return rows;
    },
    add() {
      const first = used;
      used += MAX_STATES * WIDTH;
      rows = atLeast(rows, used);
      rows[first + EARLIEST_MS] = rows[first + LATEST_MS] = -Infinity;
      return {
        first,
        count: 1,
        counting: true,
        dropped: 0,
        most: 0,
        coveredUntilMs: -Infinity,
        blockedUntilMs: -Infinity,
      };
    },
    droppedSoFar({ first, count, dropped }) {
      let lower = Infinity, upper = 0;
      for (let at = first; at < first + count * WIDTH; at += WIDTH) {
        lower = Math.min(lower, dropped + rows[at + LEAST_DROPPED]!);
        upper = Math.max(upper, dropped + rows[at + MOST_DROPPED]!);
      }
      return { lower, upper };
    },
  };
}

/** Whether a source is counting, and nothing of it was detected. */
export function isResting({ count, counting, most }: Host): boolean {
  return count === 1 && counting && most === 0;
}

/** Place of a source's row. */
export function rowOf({ first }: Host, state: number): number {
  return first + state * WIDTH;
}

// -------------------------------------------------------------------------------------------------- few states

/** States as they are found. */
export interface Draft {
  /** Their rows. */
  readonly rows: Float64Array;
  /** The row of a new state, to be filled; what was dropped so far is as in another row. */
  add(blocked: boolean, before: Float64Array, at: number): number;
  /** Replaces the first so many of a source's states by as few as say the same; the others were blocks, and go on. */
  replace(host: Host, count: number): void;
}

/** Each state leads to five at most: it goes on, falls short, is blocked, is blocked no more, is refused. */
const MAX_FOUND = 5 * MAX_STATES;

export function createDraft(hosts: Hosts): Draft {
  const rows = new Float64Array(MAX_FOUND * WIDTH), counts = new Uint8Array(MAX_FOUND);
  /** Rows of blocks by when they end. */
  const blocks = new Int32Array(MAX_FOUND);
  let used = 0;

  /** Puts a block where it belongs among so many, by when it ends; returns that place. */
  const insert = (count: number, row: number): number => {
    const earliest = rows[row + EARLIEST_MS]!, latest = rows[row + LATEST_MS]!;
    let at = count;
    for (; at > 0; at--) {
      const before = blocks[at - 1]!;
      const order = rows[before + EARLIEST_MS]! - earliest || rows[before + LATEST_MS]! - latest;
      if (!(order > 0)) break;
      blocks[at] = before;
    }
    blocks[at] = row;
    return at;
  };

  return {
    rows,
    add(blocked, before, at) {
      const row = used * WIDTH;
      counts[used++] = blocked ? 0 : 1;
      rows[row + FEWEST] = rows[row + MOST] = 0;
      rows[row + LEAST_DROPPED] = before[at + LEAST_DROPPED]!;
      rows[row + MOST_DROPPED] = before[at + MOST_DROPPED]!;
      return row;
    },
    replace(host, count) {
      const { first } = host, states = hosts.rows, found = used;
      let kept = 0, untouched = Infinity, counting = -1, merged = first;
      for (let i = count; i < host.count; i++) {
        blocks[kept++] = copyRow(rows, used++ * WIDTH, states, first + i * WIDTH);
      }
      for (let i = 0; i < found; i++) {
        const row = i * WIDTH;
        if (counts[i] === 0) untouched = Math.min(untouched, insert(kept++, row));
        else if (counting < 0) counting = row;
        else joinCounting(rows, counting, row);
      }
      if (counting >= 0) merged = copyRow(states, first, rows, counting) + WIDTH;
      const blocksFrom = merged;
      for (let i = 0; i < kept; i++) {
        const row = blocks[i]!, last = merged - WIDTH, ofBlocks = merged - blocksFrom;
        const isFull = ofBlocks >= MAX_BLOCKED * WIDTH;
        if (i >= untouched && ofBlocks > 0 && (isFull || rows[row + EARLIEST_MS]! <= states[last + LATEST_MS]!)) {
          joinBlocked(states, last, rows, row);
        } else {
          copyRow(states, merged, rows, row);
          merged += WIDTH;
        }
      }
      used = 0;
      host.count = (merged - first) / WIDTH;
      host.counting = counting >= 0;
      host.most = counting >= 0 ? states[first + MOST]! : 0;
      host.coveredUntilMs = counting >= 0 ? -Infinity : states[first + EARLIEST_MS]!;
      host.blockedUntilMs = merged > blocksFrom ? states[merged - WIDTH + LATEST_MS]! : -Infinity;
    },
  };
}

/** Copies a row; returns where it is. */
function copyRow(to: Float64Array, at: number, from: Float64Array, row: number): number {
  for (let i = 0; i < WIDTH; i++) to[at + i] = from[row + i]!;
  return at;
}

function joinDropped(to: Float64Array, into: number, rows: Float64Array, from: number): void {
  to[into + LEAST_DROPPED] = Math.min(to[into + LEAST_DROPPED]!, rows[from + LEAST_DROPPED]!);
  to[into + MOST_DROPPED] = Math.max(to[into + MOST_DROPPED]!, rows[from + MOST_DROPPED]!);
}

function joinTimes(to: Float64Array, into: number, rows: Float64Array, from: number): void {
  to[into + EARLIEST_MS] = Math.min(to[into + EARLIEST_MS]!, rows[from + EARLIEST_MS]!);
  to[into + LATEST_MS] = Math.max(to[into + LATEST_MS]!, rows[from + LATEST_MS]!);
}

function joinCounting(rows: Float64Array, into: number, from: number): void {
  joinDropped(rows, into, rows, from);
  if (rows[into + MOST] !== 0 && rows[from + MOST] !== 0) {
    rows[into + FEWEST] = Math.min(rows[into + FEWEST]!, rows[from + FEWEST]!);
    rows[into + MOST] = Math.max(rows[into + MOST]!, rows[from + MOST]!);
    joinTimes(rows, into, rows, from);
    return;
  }
  // A state without detections says nothing of when the first was.
  rows[into + FEWEST] = 0;
  if (rows[into + MOST] !== 0) return;
  rows[into + MOST] = rows[from + MOST]!;
  rows[into + EARLIEST_MS] = rows[from + EARLIEST_MS]!;
  rows[into + LATEST_MS] = rows[from + LATEST_MS]!;
}

function joinBlocked(to: Float64Array, into: number, rows: Float64Array, from: number): void {
  joinTimes(to, into, rows, from);
  joinDropped(to, into, rows, from);
}
