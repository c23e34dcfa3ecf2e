/**
 * The states that a source can be in towards the blacklist, after an interval. Pure.
 *
 * There are up to seven of them for each source and interval, and all live until the next interval: as new objects they
 * would be what the garbage collector is worst at, and take half of the time. So states that are left over are used
 * again, and a block that only goes on is left where it is.
 */
import type { Range } from "./gate.ts";

/** Counting, or blocked. */
export interface HostState {
  blocked: boolean;
  /** Detections so far; of a source that is blocked none. */
  fewest: number;
  most: number;
  /** When the first of them was, or when the block ends. */
  earliestMs: number;
  latestMs: number;
  /** Packets dropped on every way here, at least and at most, beyond those of the host: maybe fewer than none. */
  leastDropped: number;
  mostDropped: number;
}

/** A source's states, and what is asked of all of them. */
export interface Host {
  /** At most one that counts, then blocks by when they end, none of which overlap. */
  states: HostState[];
  /** Packets that each state's numbers are to be added to: so those of a block that goes on needn't be touched. */
  dropped: number;
  /** The most detections so far. */
  most: number;
  /** Until when it is blocked for certain, and until when perhaps; -Infinity where it may, or must, be counting. */
  coveredUntilMs: number;
  blockedUntilMs: number;
}

/** A source that nothing is known of. */
export function createHost(): Host {
  return { states: [createState()], dropped: 0, most: 0, coveredUntilMs: -Infinity, blockedUntilMs: -Infinity };
}

/** Counting, and nothing was detected. */
export function createState(): HostState {
  return {
    ...{ blocked: false, fewest: 0, most: 0, earliestMs: -Infinity, latestMs: -Infinity },
    ...{ leastDropped: 0, mostDropped: 0 },
  };
}

/** Whether a source is counting, and nothing of it was detected. */
export function isResting({ states, most }: Host): boolean {
  return states.length === 1 && !states[0]!.blocked && most === 0;
}

/** Packets dropped so far, whichever of the states a source is in. */
export function droppedSoFar({ states, dropped }: Host): Range {
  let lower = Infinity, upper = 0;
  for (const { leastDropped, mostDropped } of states) {
    lower = Math.min(lower, dropped + leastDropped);
    upper = Math.max(upper, dropped + mostDropped);
  }
  return { lower, upper };
}

// -------------------------------------------------------------------------------------------------- few states

/** States kept at once, besides counting; more are taken together. */
const MAX_BLOCKED = 6;

/** States as they are found. */
export interface Draft {
  /** A state of a kind, to be filled; what was dropped so far is as in `before`. */
  add(blocked: boolean, before: HostState): HostState;
  /** Replaces the first so many of a source's states by as few as say the same; the others were blocks, and go on. */
  replace(host: Host, count: number): void;
}

export function createDraft(): Draft {
  const found: HostState[] = [], blocks: HostState[] = [], spare: HostState[] = [];
  return {
    add(blocked, { leastDropped, mostDropped }) {
      const state = spare.pop() ?? createState();
      found.push(state);
      state.blocked = blocked;
      state.fewest = state.most = 0;
      state.leastDropped = leastDropped;
      state.mostDropped = mostDropped;
      return state;
    },
    replace(host, count) {
      const { states } = host;
      let counting: HostState | undefined, untouched = Infinity, merged = 0;
      for (let i = 0; i < count; i++) spare.push(states[i]!);
      for (let i = count; i < states.length; i++) blocks.push(states[i]!);
      for (let i = 0; i < found.length; i++) {
        const state = found[i]!;
        if (state.blocked) untouched = Math.min(untouched, insert(blocks, state));
        else if (!counting) counting = state;
        else {
          joinCounting(counting, state);
          spare.push(state);
        }
      }
      if (counting) states[merged++] = counting;
      const first = merged;
      for (let i = 0; i < blocks.length; i++) {
        const state = blocks[i]!, last = states[Math.max(0, merged - 1)]!, count = merged - first;
        if (i >= untouched && count > 0 && (count >= MAX_BLOCKED || state.earliestMs <= last.latestMs)) {
          joinBlocked(last, state);
          spare.push(state);
        } else {
          states[merged++] = state;
        }
      }
      states.length = merged;
      found.length = blocks.length = 0;
      host.most = counting ? counting.most : 0;
      host.coveredUntilMs = counting ? -Infinity : states[0]!.earliestMs;
      host.blockedUntilMs = merged > first ? states[merged - 1]!.latestMs : -Infinity;
    },
  };
}

/** Puts a block where it belongs, by when it ends; returns that place. */
function insert(blocks: HostState[], state: HostState): number {
  let at = blocks.push(state) - 1;
  for (; at > 0; at--) {
    const before = blocks[at - 1]!;
    const order = before.earliestMs - state.earliestMs || before.latestMs - state.latestMs;
    if (!(order > 0)) break;
    blocks[at] = before;
  }
  blocks[at] = state;
  return at;
}

function joinCounting(into: HostState, from: HostState): void {
  into.leastDropped = Math.min(into.leastDropped, from.leastDropped);
  into.mostDropped = Math.max(into.mostDropped, from.mostDropped);
  if (into.most !== 0 && from.most !== 0) {
    into.fewest = Math.min(into.fewest, from.fewest);
    into.most = Math.max(into.most, from.most);
    into.earliestMs = Math.min(into.earliestMs, from.earliestMs);
    into.latestMs = Math.max(into.latestMs, from.latestMs);
    return;
  }
  // A state without detections says nothing of when the first was.
  into.fewest = 0;
  if (into.most !== 0) return;
  into.most = from.most;
  into.earliestMs = from.earliestMs;
  into.latestMs = from.latestMs;
}

function joinBlocked(into: HostState, from: HostState): void {
  into.earliestMs = Math.min(into.earliestMs, from.earliestMs);
  into.latestMs = Math.max(into.latestMs, from.latestMs);
  into.leastDropped = Math.min(into.leastDropped, from.leastDropped);
  into.mostDropped = Math.max(into.mostDropped, from.mostDropped);
}
