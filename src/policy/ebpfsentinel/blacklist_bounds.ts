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
import { createRange, matchesAtLeast, matchesFor, type OpenGate, type Range } from "./gate.ts";
import {
  createDraft,
  EARLIEST_MS,
  FEWEST,
  type Host,
  type Hosts,
  LATEST_MS,
  LEAST_DROPPED,
  MOST,
  MOST_DROPPED,
  rowOf,
  WIDTH,
} from "./host_states.ts";

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
export interface PortGate extends OpenGate {
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
export function createStepHost(hosts: Hosts): StepHost {
  const draft = createDraft(hosts),
    next = draft.rows,
    dropped: Range[] = [],
    result: HostStep = { dropped, begins: "never", fewestPass: 0.5 };
  /** The row of a source whose block is over. */
  const idle = new Float64Array(WIDTH);
  const detections = createRange(), passing: number[] = [];
  const incomplete: Way = { ...RESTART, most: passing, less: 1 }, trigger: Way = { ...RESTART, begins: true };
  let rule: BlockRule, interval: SourceInterval, ways = 0, starting = 0;
  /** Fields, since V8 makes a new object of each fraction that is put into a variable of a closure. */
  const sums = { allMatches: 0.5, fewestPass: 0.5, covered: 0.5 };

  /** Takes a way along to what it leads to: a row. */
  function takeWay(rows: Float64Array, row: number, { begins, drops, fewest, most, less }: Way): void {
    const { ports, count } = interval, { allMatches, covered } = sums;
    let leastDropped = -covered, mostDropped = -covered;
    ways++;
    if (begins) starting++;
    if (drops !== "none") sums.fewestPass = Math.min(sums.fewestPass, drops === "all" ? 0 : fewest);
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
      leastDropped += lower;
      mostDropped += upper;
    }
    rows[row + LEAST_DROPPED]! += leastDropped;
    rows[row + MOST_DROPPED]! += mostDropped;
  }

  /** Counting after a block is over. While there was one, nothing of the source was counted: but for a dry run. */
  function stepUnblocked(rows: Float64Array, row: number): void {
    const { dryRun, limit, ttlMs } = rule;
    idle[MOST] = dryRun ? limit - 1 : 0;
    idle[EARLIEST_MS] = dryRun ? rows[row + EARLIEST_MS]! - ttlMs : -Infinity;
    idle[LATEST_MS] = dryRun ? rows[row + LATEST_MS]! : -Infinity;
    idle[LEAST_DROPPED] = rows[row + LEAST_DROPPED]!;
    idle[MOST_DROPPED] = rows[row + MOST_DROPPED]!;
    stepCounting(idle, 0);
  }

  function stepCounting(rows: Float64Array, row: number): void {
    const { limit, ttlMs } = rule, { beginMs, endMs, refused } = interval;
    const earliestMs = rows[row + EARLIEST_MS]!, latestMs = rows[row + LATEST_MS]!;
    if (detections.upper === 0) {
      // It goes on as it was.
      const same = draft.add(false, rows, row);
      next[same + FEWEST] = rows[row + FEWEST]!;
      next[same + MOST] = rows[row + MOST]!;
      next[same + EARLIEST_MS] = earliestMs;
      next[same + LATEST_MS] = latestMs;
      return takeWay(next, same, NONE);
    }
    const over = rows[row + MOST] === 0 || beginMs - latestMs >= ttlMs;
    const fewest = over ? 0 : rows[row + FEWEST]!, most = over ? 0 : rows[row + MOST]!;
    let more = 0;
    if (over) more = countWindows(ttlMs, beginMs, endMs);
    else if (earliestMs + ttlMs <= beginMs) more = Math.ceil((endMs - beginMs) / ttlMs);
    else if (earliestMs + ttlMs < endMs) more = Math.ceil((endMs - earliestMs - ttlMs) / ttlMs);
    // Each window may end one detection short.
    const needed = limit - fewest + wasted(more, limit);
    const enough = limit - most;
    const possible = detections.upper >= enough && refused !== "always" && !(ttlMs === 0 && limit > 1);
    const certain = possible && detections.lower >= needed && refused === "never";
    if (!certain) {
      const short = draft.add(false, rows, row);
      if (limit === 1) {
        next[short + EARLIEST_MS] = next[short + LATEST_MS] = -Infinity;
      } else {
        const least = fewest + detections.lower, from = over ? beginMs : earliestMs;
        next[short + FEWEST] = Math.min(limit - 1, more > 0 ? Math.min(1, least) : least);
        next[short + MOST] = Math.min(limit - 1, most + detections.upper);
        // The window of the last detection is open at it.
        const reopened = detections.lower > 0 && ttlMs > 0;
        next[short + EARLIEST_MS] = reopened ? Math.max(from, beginMs - ttlMs) : from;
        next[short + LATEST_MS] = over || more > 0 || fewest === 0 ? endMs : latestMs;
      }
      takeWay(next, short, NONE);
    }
    if (!possible) return;
    takeTrigger(rows, row, beginMs, needed, enough, false);
    // Refused, it is counted anew; the count may have been completed more than once.
    if (refused === "maybe") takeWay(next, restarted(rows, row), NONE);
  }

  function stepBlocked(rows: Float64Array, row: number): void {
    const { limit, ttlMs, dryRun } = rule, { beginMs, endMs, refused } = interval;
    const earliestMs = rows[row + EARLIEST_MS]!, latestMs = rows[row + LATEST_MS]!;
    if (latestMs >= endMs) {
      const on = draft.add(true, rows, row);
      next[on + EARLIEST_MS] = Math.max(earliestMs, endMs);
      next[on + LATEST_MS] = latestMs;
      takeWay(next, on, ALL);
    }
    // One end is not part of an interval: a block until then covers it.
    if (earliestMs >= endMs) return;
    const from = Math.max(beginMs, earliestMs), enough = dryRun ? 1 : limit;
    const needed = limit + wasted(countWindows(ttlMs, from, endMs), limit);
    listMatches(needed);
    const short = draft.add(false, rows, row);
    next[short + MOST] = dryRun ? limit - 1 : Math.min(limit - 1, detections.upper);
    next[short + EARLIEST_MS] = dryRun ? -Infinity : from;
    next[short + LATEST_MS] = endMs;
    // One match more and the count would be complete.
    takeWay(next, short, incomplete);
    if (detections.upper < enough || refused === "always") return;
    takeTrigger(rows, row, from, needed, enough, true);
    if (refused === "maybe") takeWay(next, restarted(rows, row), RESTART);
  }

  /** What follows where the count is not complete, or was completed and refused: a row. */
  function restarted(rows: Float64Array, row: number): number {
    const anew = draft.add(false, rows, row);
    next[anew + MOST] = rule.limit - 1;
    next[anew + EARLIEST_MS] = interval.beginMs;
    next[anew + LATEST_MS] = interval.endMs;
    return anew;
  }

  /** The ways on which a block begins between `from` and the interval's end; `passing` may be `listed` already. */
  function takeTrigger(
    rows: Float64Array,
    row: number,
    from: number,
    needed: number,
    enough: number,
    listed: boolean,
  ): void {
    const { ttlMs, lagMs, limit, dryRun } = rule, { endMs, ports, count } = interval;
    const block = draft.add(true, rows, row);
    trigger.drops = dryRun ? "none" : "some";
    trigger.fewest = dryRun ? 0 : fewestMatches(enough);
    trigger.most = passing;
    next[block + EARLIEST_MS] = Math.max(from + ttlMs, endMs);
    next[block + LATEST_MS] = endMs + ttlMs + lagMs;
    if (from + ttlMs >= endMs) {
      if (!listed && !dryRun) listMatches(needed);
      return takeWay(next, block, trigger);
    }
    // The block may end in the interval, and others begin: a window of counting for each.
    const cycles = ttlMs > 0 ? Math.floor((endMs - from) / ttlMs) + 1 : Infinity;
    for (let i = 0; i < count; i++) passing[i] = ports[i]!.gate?.rule ? Infinity : needed + cycles * limit;
    takeWay(next, block, trigger);
    takeWay(next, restarted(rows, row), trigger);
  }

  /** Adds what so many blocks drop that go on throughout: all of it, and of the other states so much less. */
  function takeCovered(host: Host, count: number): void {
    const { ports } = interval;
    let covered = 0;
    for (let i = 0; i < interval.count; i++) {
      const sum = dropped[i]!, { packets } = ports[i]!;
      covered += packets;
      sum.lower = Math.min(sum.lower, packets);
      sum.upper = Math.max(sum.upper, packets);
    }
    host.dropped += covered;
    ways += count;
    sums.covered = covered;
    sums.fewestPass = 0;
  }

  /** Fills `passing`: by port, matches that may pass before `needed` detections are there. */
  function listMatches(needed: number): void {
    const { ports, count } = interval;
    for (let i = 0; i < count; i++) {
      const { gate, matches } = ports[i]!;
      passing[i] = gate ? matchesFor(gate, needed, matches) : Infinity;
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
    const fewest = matchesAtLeast(only.gate, enough, only.matches);
    return fewest === Infinity ? enough : fewest;
  }

  return (ruleOfSource, host, intervalOfSource) => {
    rule = ruleOfSource;
    interval = intervalOfSource;
    const { ports, count, beginMs, endMs } = interval, { rows } = hosts, states = host.count;
    let fewest = 0, most = 0, allMatches = 0;
    for (let i = 0; i < count; i++) {
      const { gate, matches } = ports[i]!;
      if (i === dropped.length) dropped.push({ lower: 0, upper: 0 });
      dropped[i]!.lower = Infinity;
      dropped[i]!.upper = 0;
      if (!gate) continue;
      fewest += gate.detections.lower;
      most += gate.detections.upper;
      allMatches += matches.upper;
    }
    detections.lower = fewest;
    detections.upper = most;
    sums.allMatches = allMatches;
    sums.fewestPass = Infinity;
    sums.covered = ways = starting = 0;
    // Blocks that cover the interval are the last of the states.
    let open = host.counting ? 1 : 0;
    while (open < states && rows[rowOf(host, open) + EARLIEST_MS]! < endMs) open++;
    if (open < states) takeCovered(host, states - open);
    if (open === 1 && detections.upper === 0 && host.counting) takeWay(rows, rowOf(host, 0), NONE);
    else {
      for (let i = 0; i < open; i++) {
        const row = rowOf(host, i);
        if (i === 0 && host.counting) stepCounting(rows, row);
        else if (rows[row + LATEST_MS]! <= beginMs) stepUnblocked(rows, row);
        else stepBlocked(rows, row);
      }
      if (open > 0) draft.replace(host, open);
    }
    result.begins = starting === 0 ? "never" : starting === ways ? "always" : "maybe";
    result.fewestPass = sums.fewestPass;
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
