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
import { type GateBounds, type GateRule, type Matches, matchesAtLeast, matchesFor, type Range } from "./gate.ts";

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

/** One of the states that a source can be in. */
export type HostState = Counting | Blocked;

interface Counting {
  blocked: false;
  /** Detections so far, and when the first of them was. */
  fewest: number;
  most: number;
  earliestMs: number;
  latestMs: number;
  /** Packets dropped on every way here. */
  dropped: Range;
}

interface Blocked {
  blocked: true;
  /** When it ends. */
  earliestMs: number;
  latestMs: number;
  dropped: Range;
}

/** The packets of a source to one port, in an interval. */
export interface PortPackets {
  /** All of them. */
  packets: number;
  /** Those that come as far as detection if nothing is blocked. */
  matches: Range;
  /** Undefined for ports without a rule that counts. */
  gate: { rule: GateRule | undefined; state: GateBounds; detections: Range } | undefined;
}

/** An interval of a source. */
export interface SourceInterval {
  beginMs: number;
  endMs: number;
  ports: PortPackets[];
  /** Whether a block may be refused since the list is full: `always` where it can't hold any. */
  refused: "never" | "maybe" | "always";
}

/** What follows from an interval. */
export interface HostStep {
  states: HostState[];
  /** Packets dropped, by port in the order given. */
  dropped: Range[];
  /** Whether a block begins: in no way, in some ways, in every way. */
  begins: "never" | "maybe" | "always";
  /** Whether the source is blocked from begin to end in every way. */
  covered: boolean;
  /** Packets of each port that pass the blacklist, where that is less than all. */
  fewestPass: number;
}

/** States kept at once; more are taken together. */
const MAX_STATES = 6;

export function createHostStates(): HostState[] {
  return [{
    blocked: false,
    fewest: 0,
    most: 0,
    earliestMs: -Infinity,
    latestMs: -Infinity,
    dropped: { lower: 0, upper: 0 },
  }];
}

/** A way through the interval: what it leads to, and which packets pass on it. */
interface Way {
  next: HostState;
  begins: boolean;
  /** Packets dropped: all, none, or those that `fewest` and `most` leave. */
  drops: "all" | "none" | "some";
  /** Matches that pass at least. */
  fewest: number;
  /** By port, matches that pass at most. */
  most: (port: PortPackets) => number;
}

/** Takes every state through an interval. */
export function stepHost(rule: BlockRule, states: readonly HostState[], interval: SourceInterval): HostStep {
  const ways: Way[] = [];
  const dropped: Range[] = interval.ports.map(() => ({ lower: Infinity, upper: 0 }));
  const matches = interval.ports.reduce((sum, port) => sum + (port.gate ? port.matches.upper : 0), 0);
  const following: HostState[] = [];
  for (const state of states) {
    const before = ways.length;
    if (!state.blocked) stepCounting(rule, state, interval, ways);
    else if (state.latestMs <= interval.beginMs) stepCounting(rule, countingAfter(rule, state), interval, ways);
    else stepBlocked(rule, state, interval, ways);
    for (const way of ways.slice(before)) {
      const sum = { ...state.dropped };
      for (const [i, port] of interval.ports.entries()) {
        const drop = dropOf(way, port, matches);
        dropped[i]!.lower = Math.min(dropped[i]!.lower, drop.lower);
        dropped[i]!.upper = Math.max(dropped[i]!.upper, drop.upper);
        sum.lower += drop.lower;
        sum.upper += drop.upper;
      }
      following.push({ ...way.next, dropped: sum });
    }
  }
  const starting = ways.filter((way) => way.begins).length;
  return {
    states: mergeStates(following),
    dropped,
    begins: starting === 0 ? "never" : starting === ways.length ? "always" : "maybe",
    covered: ways.every((way) => way.drops === "all"),
    fewestPass: Math.min(...ways.map((way) => way.drops === "all" ? 0 : way.drops === "none" ? Infinity : way.fewest)),
  };
}

function dropOf(way: Way, port: PortPackets, allMatches: number): Range {
  const { packets, matches, gate } = port;
  if (way.drops !== "some") return way.drops === "all" ? { lower: packets, upper: packets } : { lower: 0, upper: 0 };
  if (!gate) return { lower: 0, upper: packets };
  return {
    lower: Math.max(0, matches.lower - way.most(port)),
    // The matches that must pass may be another port's.
    upper: packets - Math.min(packets, Math.max(0, way.fewest - (allMatches - matches.upper))),
  };
}

/** A source whose block is over. While it was blocked, nothing of it was counted: but for a dry run. */
function countingAfter({ dryRun, limit, ttlMs }: BlockRule, { earliestMs, latestMs, dropped }: Blocked): Counting {
  const none = { earliestMs: -Infinity, latestMs: -Infinity };
  return {
    blocked: false,
    fewest: 0,
    most: dryRun ? limit - 1 : 0,
    ...(dryRun ? { earliestMs: earliestMs - ttlMs, latestMs } : none),
    dropped,
  };
}

/** Detections in the interval by all rules together. */
function sumDetections(ports: readonly PortPackets[]): Range {
  let lower = 0, upper = 0;
  for (const { gate } of ports) {
    lower += gate?.detections.lower ?? 0;
    upper += gate?.detections.upper ?? 0;
  }
  return { lower, upper };
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

function stepCounting(rule: BlockRule, state: Counting, interval: SourceInterval, ways: Way[]): void {
  const { limit, ttlMs } = rule, { beginMs, endMs, ports, refused } = interval, { dropped } = state;
  const detections = sumDetections(ports), length = endMs - beginMs;
  if (detections.upper === 0) {
    ways.push({ next: state, begins: false, drops: "none", fewest: 0, most: () => Infinity });
    return;
  }
  const over = state.most === 0 || beginMs - state.latestMs >= ttlMs;
  const [fewest, most] = over ? [0, 0] : [state.fewest, state.most];
  let more = 0;
  if (over) more = countWindows(ttlMs, beginMs, endMs);
  else if (state.earliestMs + ttlMs <= beginMs) more = Math.ceil(length / ttlMs);
  else if (state.earliestMs + ttlMs < endMs) more = Math.ceil((endMs - state.earliestMs - ttlMs) / ttlMs);
  // Each window may end one detection short.
  const needed = limit - fewest + wasted(more, limit);
  const enough = limit - most;
  const possible = detections.upper >= enough && refused !== "always" && !(ttlMs === 0 && limit > 1);
  const certain = possible && detections.lower >= needed && refused === "never";

  const counting = (): Counting => {
    if (limit === 1) return { ...(createHostStates()[0] as Counting), dropped };
    const earliestMs = over ? beginMs : state.earliestMs;
    return {
      blocked: false,
      fewest: Math.min(limit - 1, more > 0 ? Math.min(1, fewest + detections.lower) : fewest + detections.lower),
      most: Math.min(limit - 1, most + detections.upper),
      // The window of the last detection is open at it.
      earliestMs: detections.lower > 0 && ttlMs > 0 ? Math.max(earliestMs, beginMs - ttlMs) : earliestMs,
      latestMs: over || more > 0 || fewest === 0 ? endMs : state.latestMs,
      dropped,
    };
  };
  if (!certain) ways.push({ next: counting(), begins: false, drops: "none", fewest: 0, most: () => Infinity });
  if (possible) pushTrigger({ rule, interval, ways, dropped, from: beginMs, needed, enough });
  // Refused, it is counted anew; the count may have been completed more than once.
  if (possible && refused === "maybe") ways.push({ ...restart(rule, interval, dropped), drops: "none" });
}

function stepBlocked(rule: BlockRule, state: Blocked, interval: SourceInterval, ways: Way[]): void {
  const { limit, ttlMs } = rule, { beginMs, endMs, ports, refused } = interval, { dropped } = state;
  if (state.latestMs >= endMs) {
    const next: Blocked = { ...state, earliestMs: Math.max(state.earliestMs, endMs) };
    ways.push({ next, begins: false, drops: "all", fewest: 0, most: () => 0 });
  }
  // One end is not part of an interval: a block until then covers it.
  if (state.earliestMs >= endMs) return;
  const from = Math.max(beginMs, state.earliestMs), detections = sumDetections(ports).upper;
  const needed = limit + wasted(countWindows(ttlMs, from, endMs), limit);
  const enough = rule.dryRun ? 1 : limit;
  const most = (port: PortPackets) => matchesOf(port, needed, interval);
  const next: Counting = {
    blocked: false,
    fewest: 0,
    most: rule.dryRun ? limit - 1 : Math.min(limit - 1, detections),
    earliestMs: rule.dryRun ? -Infinity : from,
    latestMs: endMs,
    dropped,
  };
  // One match more and the count would be complete.
  ways.push({ next, begins: false, drops: "some", fewest: 0, most: (port) => most(port) - 1 });
  if (detections < enough || refused === "always") return;
  pushTrigger({ rule, interval, ways, dropped, from, needed, enough });
  if (refused === "maybe") ways.push(restart(rule, interval, dropped));
}

/** The way on which the count is not complete, or was completed and refused, at the end. */
function restart({ limit }: BlockRule, { beginMs, endMs }: SourceInterval, dropped: Range): Way {
  const next: Counting = { blocked: false, fewest: 0, most: limit - 1, earliestMs: beginMs, latestMs: endMs, dropped };
  return { next, begins: false, drops: "some", fewest: 0, most: () => Infinity };
}

/** The ways on which a block begins between `from` and the interval's end. */
function pushTrigger(
  { rule, interval, ways, dropped, from, needed, enough }: {
    rule: BlockRule;
    interval: SourceInterval;
    ways: Way[];
    dropped: Range;
    from: number;
    needed: number;
    enough: number;
  },
): void {
  const { ttlMs, lagMs, limit, dryRun } = rule, { endMs, ports } = interval;
  const until = { earliestMs: from + ttlMs, latestMs: endMs + ttlMs + lagMs };
  const fewest = fewestMatches(ports, enough, interval);
  if (from + ttlMs >= endMs) {
    const most = (port: PortPackets) => matchesOf(port, needed, interval);
    ways.push({
      next: { blocked: true, ...until, dropped },
      begins: true,
      drops: dryRun ? "none" : "some",
      fewest,
      most,
    });
    return;
  }
  // The block may end in the interval, and others begin: a window of counting for each.
  const cycles = ttlMs > 0 ? Math.floor((endMs - from) / ttlMs) + 1 : Infinity;
  const most = (port: PortPackets) => port.gate?.rule ? Infinity : needed + cycles * limit;
  const drops = dryRun ? "none" : "some";
  ways.push({
    next: { blocked: true, earliestMs: Math.max(until.earliestMs, endMs), latestMs: until.latestMs, dropped },
    begins: true,
    drops,
    fewest,
    most,
  });
  ways.push({ ...restart(rule, interval, dropped), begins: true, drops, fewest, most });
}

/** Matches of a port that may pass before `needed` detections are there. */
function matchesOf({ gate, matches }: PortPackets, needed: number, { beginMs, endMs }: SourceInterval): number {
  if (!gate) return Infinity;
  return matchesFor(gate.rule, gate.state, needed, { ...matches, beginMs, endMs });
}

/** Matches that must pass before there can be `enough` detections. */
function fewestMatches(ports: readonly PortPackets[], enough: number, { beginMs, endMs }: SourceInterval): number {
  const counted = ports.filter(({ gate }) => gate);
  const [only] = counted;
  if (counted.length !== 1 || !only?.gate) return enough;
  const all: Matches = { ...only.matches, beginMs, endMs };
  const fewest = matchesAtLeast(only.gate.rule, only.gate.state, enough, all);
  return fewest === Infinity ? enough : fewest;
}

// -------------------------------------------------------------------------------------------------- few states

/** As few states as say the same; those nearest to each other are taken together. */
function mergeStates(states: readonly HostState[]): HostState[] {
  let counting: Counting | undefined;
  const blocked: Blocked[] = [];
  for (const state of states) {
    if (state.blocked) blocked.push({ ...state });
    else counting = counting ? joinCounting(counting, state) : { ...state };
  }
  blocked.sort((a, b) => a.earliestMs - b.earliestMs || a.latestMs - b.latestMs);
  const merged: Blocked[] = [];
  for (const state of blocked) {
    const last = merged.at(-1);
    if (last && (state.earliestMs <= last.latestMs || merged.length >= MAX_STATES)) joinBlocked(last, state);
    else merged.push(state);
  }
  return counting ? [counting, ...merged] : merged;
}

function joinRange(a: Range, b: Range): Range {
  return { lower: Math.min(a.lower, b.lower), upper: Math.max(a.upper, b.upper) };
}

function joinCounting(a: Counting, b: Counting): Counting {
  // A state without detections says nothing of when the first was.
  const dropped = joinRange(a.dropped, b.dropped);
  if (a.most === 0) return { ...b, fewest: 0, dropped };
  if (b.most === 0) return { ...a, fewest: 0, dropped };
  return {
    blocked: false,
    fewest: Math.min(a.fewest, b.fewest),
    most: Math.max(a.most, b.most),
    earliestMs: Math.min(a.earliestMs, b.earliestMs),
    latestMs: Math.max(a.latestMs, b.latestMs),
    dropped,
  };
}

function joinBlocked(into: Blocked, from: Blocked): void {
  into.earliestMs = Math.min(into.earliestMs, from.earliestMs);
  into.latestMs = Math.max(into.latestMs, from.latestMs);
  into.dropped = joinRange(into.dropped, from.dropped);
}
