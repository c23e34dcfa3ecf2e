/**
 * The blacklist, interval by interval: what it can have dropped of a source, whatever the order of its packets. Pure.
 *
 * A source is in one of several possible states: counting (so many detections, in a window that began between two
 * times) or blocked (until some time between two). An interval takes every state to those that can follow; what is
 * dropped lies between the least and the most that any of these ways drops. The way is followed together with its sum,
 * so that what can't happen in two intervals both is not added up.
 *
 * Detections need no time to act: of a port's packets those after the one that completes the count are dropped, and
 * how many these are is known even where the moment is not.
 */
import {
  createMatches,
  createRange,
  type GateBounds,
  type GateRule,
  matchesAtLeast,
  matchesFor,
  type Range,
  setMatches,
} from "./gate.ts";
import { createDraft, createState, type Host, type HostState } from "./host_states.ts";

/** What decides about a source. */
export interface BlockRule {
  /** Detections that block. */
  limit: number;
  /** How long a block lasts, which is also how long detections are counted together. */
  ttlMs: number;
  /** How long a block may last beyond that. */
  lagMs: number;
  /** Blocks are written down and drop nothing. */
  dryRun: boolean;
}

/** The packets of a source to one port, in an interval. */
export interface PortPackets {
  /** All of them. */
  packets: number;
  /** Those that come as far as detection if nothing is blocked. */
  matches: Range;
  /** Undefined for ports without a rule that counts. */
  gate: PortGate | undefined;
}

/** A rule that counts: its window, and what it detects in the interval. */
export interface PortGate {
  rule: GateRule | undefined;
  state: GateBounds;
  detections: Range;
}

/** An interval of a source. */
export interface SourceInterval {
  beginMs: number;
  endMs: number;
  /** The first `count` of them. */
  ports: readonly PortPackets[];
  count: number;
  /** Whether a block may be refused since the list is full: `always` where it can't hold any. */
  refused: "never" | "maybe" | "always";
}

/** What follows from an interval. */
export interface HostStep {
  /** Packets dropped, by port in the order given; those behind are left from before. */
  dropped: readonly Range[];
  /** Whether a block begins: in no way, in some ways, in every way. */
  begins: "never" | "maybe" | "always";
  /** Packets of each port that pass the blacklist, where that is less than all. */
  fewestPass: number;
}

/** A way through the interval, besides what it leads to: which packets pass on it. */
interface Way {
  begins: boolean;
  /** Packets dropped: all, none, or those that `fewest` and `most` leave. */
  drops: "all" | "none" | "some";
  /** Matches that pass at least. */
  fewest: number;
  /** By port, matches that pass at most, and so many less; undefined where all may. */
  most: readonly number[] | undefined;
  less: number;
}

const NONE: Way = { begins: false, drops: "none", fewest: 0, most: undefined, less: 0 };
const ALL: Way = { begins: false, drops: "all", fewest: 0, most: undefined, less: 0 };
/** The count is not complete at the end, or was completed and refused. */
const RESTART: Way = { begins: false, drops: "some", fewest: 0, most: undefined, less: 0 };

/** Takes a source's states through an interval; what is returned is valid until the next call. */
export type StepHost = (rule: BlockRule, host: Host, interval: SourceInterval) => HostStep;

/** Makes room for the ways of one source at a time. */
export function createStepHost(): StepHost {
  const draft = createDraft(), dropped: Range[] = [], result: HostStep = { dropped, begins: "never", fewestPass: 0 };
  const idle = createState();
  const detections = createRange(), asked = createMatches(), passing: number[] = [];
  const incomplete: Way = { ...RESTART, most: passing, less: 1 }, trigger: Way = { ...RESTART, begins: true };
  let rule: BlockRule, interval: SourceInterval, allMatches = 0;
  let ways = 0, starting = 0, fewestPass = Infinity, covered = 0;

  /** Takes a way along to what it leads to. */
  function takeWay(next: HostState, { begins, drops, fewest, most, less }: Way): void {
    const { ports, count } = interval;
    ways++;
    if (begins) starting++;
    if (drops !== "none") fewestPass = Math.min(fewestPass, drops === "all" ? 0 : fewest);
    for (let i = 0; i < count; i++) {
      const { packets, matches, gate } = ports[i]!, sum = dropped[i]!;
      let lower = 0, upper = 0;
      if (drops === "all") lower = upper = packets;
      else if (drops === "some") {
        if (gate && most) lower = Math.max(0, matches.lower - (most[i]! - less));
        // The matches that must pass may be another port's.
        upper = gate ? packets - Math.min(packets, Math.max(0, fewest - (allMatches - matches.upper))) : packets;
      }
      sum.lower = Math.min(sum.lower, lower);
      sum.upper = Math.max(sum.upper, upper);
      next.leastDropped += lower;
      next.mostDropped += upper;
    }
    next.leastDropped -= covered;
    next.mostDropped -= covered;
  }

  /** A source whose block is over. While it was blocked, nothing of it was counted: but for a dry run. */
  function countingAfter(state: HostState): HostState {
    const { dryRun, limit, ttlMs } = rule;
    idle.most = dryRun ? limit - 1 : 0;
    idle.earliestMs = dryRun ? state.earliestMs - ttlMs : -Infinity;
    idle.latestMs = dryRun ? state.latestMs : -Infinity;
    idle.leastDropped = state.leastDropped;
    idle.mostDropped = state.mostDropped;
    return idle;
  }

  function stepCounting(state: HostState): void {
    const { limit, ttlMs } = rule, { beginMs, endMs, refused } = interval;
    if (detections.upper === 0) {
      // It goes on as it was.
      const next = draft.add(false, state);
      next.fewest = state.fewest;
      next.most = state.most;
      next.earliestMs = state.earliestMs;
      next.latestMs = state.latestMs;
      return takeWay(next, NONE);
    }
    const over = state.most === 0 || beginMs - state.latestMs >= ttlMs;
    const fewest = over ? 0 : state.fewest, most = over ? 0 : state.most;
    let more = 0;
    if (over) more = countWindows(ttlMs, beginMs, endMs);
    else if (state.earliestMs + ttlMs <= beginMs) more = Math.ceil((endMs - beginMs) / ttlMs);
    else if (state.earliestMs + ttlMs < endMs) more = Math.ceil((endMs - state.earliestMs - ttlMs) / ttlMs);
    // Each window may end one detection short.
    const needed = limit - fewest + wasted(more, limit);
    const enough = limit - most;
    const possible = detections.upper >= enough && refused !== "always" && !(ttlMs === 0 && limit > 1);
    const certain = possible && detections.lower >= needed && refused === "never";
    if (!certain) {
      const next = draft.add(false, state);
      if (limit === 1) {
        next.earliestMs = next.latestMs = -Infinity;
      } else {
        const least = fewest + detections.lower, earliestMs = over ? beginMs : state.earliestMs;
        next.fewest = Math.min(limit - 1, more > 0 ? Math.min(1, least) : least);
        next.most = Math.min(limit - 1, most + detections.upper);
        // The window of the last detection is open at it.
        const reopened = detections.lower > 0 && ttlMs > 0;
        next.earliestMs = reopened ? Math.max(earliestMs, beginMs - ttlMs) : earliestMs;
        next.latestMs = over || more > 0 || fewest === 0 ? endMs : state.latestMs;
      }
      takeWay(next, NONE);
    }
    if (!possible) return;
    takeTrigger(state, { from: beginMs, needed, enough, listed: false });
    // Refused, it is counted anew; the count may have been completed more than once.
    if (refused === "maybe") takeWay(restarted(state), NONE);
  }

  function stepBlocked(state: HostState): void {
    const { limit, ttlMs, dryRun } = rule, { beginMs, endMs, refused } = interval;
    if (state.latestMs >= endMs) {
      const next = draft.add(true, state);
      next.earliestMs = Math.max(state.earliestMs, endMs);
      next.latestMs = state.latestMs;
      takeWay(next, ALL);
    }
    // One end is not part of an interval: a block until then covers it.
    if (state.earliestMs >= endMs) return;
    const from = Math.max(beginMs, state.earliestMs), enough = dryRun ? 1 : limit;
    const needed = limit + wasted(countWindows(ttlMs, from, endMs), limit);
    listMatches(needed);
    const next = draft.add(false, state);
    next.most = dryRun ? limit - 1 : Math.min(limit - 1, detections.upper);
    next.earliestMs = dryRun ? -Infinity : from;
    next.latestMs = endMs;
    // One match more and the count would be complete.
    takeWay(next, incomplete);
    if (detections.upper < enough || refused === "always") return;
    takeTrigger(state, { from, needed, enough, listed: true });
    if (refused === "maybe") takeWay(restarted(state), RESTART);
  }

  /** What follows where the count is not complete, or was completed and refused. */
  function restarted(state: HostState): HostState {
    const next = draft.add(false, state);
    next.most = rule.limit - 1;
    next.earliestMs = interval.beginMs;
    next.latestMs = interval.endMs;
    return next;
  }

  /** The ways on which a block begins between `from` and the interval's end. */
  function takeTrigger(state: HostState, { from, needed, enough, listed }: {
    from: number;
    needed: number;
    enough: number;
    /** Whether `passing` is of `needed` already. */
    listed: boolean;
  }): void {
    const { ttlMs, lagMs, limit, dryRun } = rule, { endMs, ports, count } = interval, next = draft.add(true, state);
    trigger.drops = dryRun ? "none" : "some";
    trigger.fewest = dryRun ? 0 : fewestMatches(enough);
    trigger.most = passing;
    next.earliestMs = Math.max(from + ttlMs, endMs);
    next.latestMs = endMs + ttlMs + lagMs;
    if (from + ttlMs >= endMs) {
      if (!listed && !dryRun) listMatches(needed);
      return takeWay(next, trigger);
    }
    // The block may end in the interval, and others begin: a window of counting for each.
    const cycles = ttlMs > 0 ? Math.floor((endMs - from) / ttlMs) + 1 : Infinity;
    for (let i = 0; i < count; i++) passing[i] = ports[i]!.gate?.rule ? Infinity : needed + cycles * limit;
    takeWay(next, trigger);
    takeWay(restarted(state), trigger);
  }

  /** Adds what so many blocks drop that go on throughout: all of it, and of the other states so much less. */
  function takeCovered(host: Host, count: number): void {
    const { ports } = interval;
    for (let i = 0; i < interval.count; i++) {
      const sum = dropped[i]!, { packets } = ports[i]!;
      covered += packets;
      sum.lower = Math.min(sum.lower, packets);
      sum.upper = Math.max(sum.upper, packets);
    }
    host.dropped += covered;
    ways += count;
    fewestPass = 0;
  }

  /** Fills `passing`: by port, matches that may pass before `needed` detections are there. */
  function listMatches(needed: number): void {
    const { ports, count } = interval;
    for (let i = 0; i < count; i++) {
      const { gate, matches } = ports[i]!;
      if (gate) setMatches(asked, matches, interval);
      passing[i] = gate ? matchesFor(gate.rule, gate.state, needed, asked) : Infinity;
    }
  }

  /** Matches that must pass before there can be `enough` detections. */
  function fewestMatches(enough: number): number {
    const { ports, count } = interval;
    let only: PortPackets | undefined;
    for (let i = 0; i < count; i++) {
      if (!ports[i]!.gate) continue;
      if (only) return enough;
      only = ports[i]!;
    }
    if (!only?.gate) return enough;
    setMatches(asked, only.matches, interval);
    const fewest = matchesAtLeast(only.gate.rule, only.gate.state, enough, asked);
    return fewest === Infinity ? enough : fewest;
  }

  return (ruleOfSource, host, intervalOfSource) => {
    rule = ruleOfSource;
    interval = intervalOfSource;
    const { ports, count, beginMs, endMs } = interval, { states } = host;
    detections.lower = detections.upper = allMatches = 0;
    for (let i = 0; i < count; i++) {
      const { gate, matches } = ports[i]!;
      if (i === dropped.length) dropped.push({ lower: 0, upper: 0 });
      dropped[i]!.lower = Infinity;
      dropped[i]!.upper = 0;
      if (!gate) continue;
      detections.lower += gate.detections.lower;
      detections.upper += gate.detections.upper;
      allMatches += matches.upper;
    }
    ways = starting = 0;
    fewestPass = Infinity;
    covered = 0;
    // Blocks that cover the interval are the last of the states.
    let open = 0;
    while (open < states.length && !(states[open]!.blocked && states[open]!.earliestMs >= endMs)) open++;
    if (open < states.length) takeCovered(host, states.length - open);
    if (open === 1 && detections.upper === 0 && !states[0]!.blocked) takeWay(states[0]!, NONE);
    else {
      for (let i = 0; i < open; i++) {
        const state = states[i]!;
        if (!state.blocked) stepCounting(state);
        else if (state.latestMs <= beginMs) stepCounting(countingAfter(state));
        else stepBlocked(state);
      }
      if (open > 0) draft.replace(host, open);
    }
    result.begins = starting === 0 ? "never" : starting === ways ? "always" : "maybe";
    result.fewestPass = fewestPass;
    return result;
  };
}

/** Windows of counting that can begin in [from, end] after the one that is open or opens first. */
function countWindows(ttlMs: number, from: number, endMs: number): number {
  if (ttlMs === 0) return Infinity;
  return Math.max(0, Math.ceil((endMs - from) / ttlMs) - 1);
}

/** Detections that windows can take in without completing the count, each one less than the limit. */
function wasted(windows: number, limit: number): number {
  return limit > 1 ? windows * (limit - 1) : 0;
}
