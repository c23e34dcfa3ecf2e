/**
 * Decisions as the contract wants them told. Pure.
 *
 * A policy may have hundreds of them an interval, most about the same times and limits: what they have in common is one
 * object for all, and those that come again in each interval are used again.
 */
import type { Interval } from "../../evidence/interval.ts";
import { atLeast } from "../../evidence/pairs.ts";
import type { Decision } from "../policy.ts";
import type { Limit } from "./config_limits.ts";
import type { Slot } from "./detection.ts";
import type { Range } from "./gate.ts";

import type { RuleTable } from "./rules.ts";
import { type Group, times } from "./sources.ts";

/** An interval, and what decisions in it have in common. */
export interface Moment {
  interval: Interval;
  window: Decision["window"];
  fromMs: Decision["fromMs"];
  /** Nothing goes on after the interval. */
  ended: Decision["untilMs"];
  /** How many intervals there were before. */
  number: number;
}

/** Says the moment of each interval, and forgets that of the one before. */
export function createMoments(): (interval: Interval) => Moment {
  const fromMs = { earliest: 0.5, latest: 0.5 }, ended = { earliest: 0.5, latest: 0.5 };
  let moment: Moment | undefined;
  return (interval) => {
    const { beginMs, endMs } = interval;
    // Times that were new in each interval would be young objects in old decisions, which V8 has to write down: each
    // of them, in each interval.
    moment ??= { interval, window: times(interval), fromMs, ended, number: -1 };
    const { window } = moment;
    moment.interval = interval;
    moment.number++;
    window.beginMs = fromMs.earliest = beginMs;
    window.endMs =
      fromMs.latest =
      ended.earliest =
      ended.latest =
        endMs;
    return moment;
  };
}

/** Makes decisions, those of an interval anew for the next: they are valid as long as its `Step` is. */
function createPool<T extends Decision>(make: () => T): (moment: Moment) => T {
  const pool: T[] = [];
  let current = -1, used = 0;
  return (moment) => {
    if (moment.number !== current) {
      current = moment.number;
      used = 0;
    }
    const decision = pool[used++] ??= make();
    decision.window = moment.window;
    decision.fromMs = moment.fromMs;
    return decision;
  };
}

/** One that is to be filled; times are floats, so that V8 takes them for such from the start. */
function emptyDecision<M extends Decision["measured"]>(measured: M): Decision & { measured: M } {
  return {
    rule: 0,
    action: "block",
    certain: false,
    source: 0,
    window: NO_TIMES,
    fromMs: NO_SPAN,
    untilMs: { earliest: 0.5, latest: 0.5 },
    measured,
    thresholds: NO_THRESHOLDS,
    formula: "",
  };
}

/** What is said of a limit or a slot: the same each time, and made once. */
function sayOnce<K>(
  sayOf: (of: K) => Pick<Decision, "thresholds" | "formula">,
): (of: K) => Pick<Decision, "thresholds" | "formula"> {
  const said = new Map<K, Pick<Decision, "thresholds" | "formula">>();
  /** Most often it is what it was the last time. */
  let last: K | undefined, words: Pick<Decision, "thresholds" | "formula"> | undefined;
  return (of) => {
    if (of === last && words) return words;
    words = said.get(of);
    if (!words) said.set(of, words = sayOf(of));
    last = of;
    return words;
  };
}

/** Who decides about whom, and when. */
interface Place {
  rule: number;
  group: Group;
  moment: Moment;
}

/** What rules without state do to sources: told at a source's first packet, and not again. */
export interface Once {
  /** Whether what a rule drops of a source was told, or never is: a limit decides anew in each interval. */
  isTold(rule: number, source: number): boolean;
  /** Tells it, unless it was. */
  tell(decisions: Decision[], decision: Place & { dropped: Range; action?: Decision["action"] }): void;
}

const FOR_GOOD = { earliest: Infinity, latest: Infinity }, NO_THRESHOLDS = {};
const NO_TIMES = { beginMs: 0.5, endMs: 0.5 }, NO_SPAN = { earliest: 0.5, latest: 0.5 };

/** Nothing was told so far. */
export function createOnce(rules: RuleTable): Once {
  /** By rule and source, whether it was told. */
  const told = rules.list.map(() => new Uint8Array(0)), limits = rules.list.map((_, rule) => rules.isLimit(rule));
  return {
    isTold: (rule, source) => limits[rule]! || told[rule]![source] === 1,
    tell(decisions, { dropped, action = "block", rule, group, moment }) {
      const { source } = group, known = told[rule] = atLeast(told[rule]!, source + 1);
      if (known[source] === 1 || dropped.upper === 0 || (limits[rule]! && action !== "alert")) return;
      known[source] = 1;
      decisions.push({
        rule,
        action,
        certain: dropped.lower > 0,
        source,
        window: moment.window,
        fromMs: moment.fromMs,
        untilMs: FOR_GOOD,
        measured: measure(group, moment.interval),
        thresholds: NO_THRESHOLDS,
        formula: "the rule matches",
      });
    },
  };
}

/** What is dropped where that it is something is all that counts. */
export const SURELY: Range = { lower: 1, upper: 1 };

/** Starts to tell of sources over a limit. */
export function createLimitDecision() {
  const pool = createPool(() => emptyDecision({ packets: 0.5 }));
  const wordsOf = sayOnce(({ rate, burst, algorithm }: Limit) => {
    return { thresholds: { rate, burst }, formula: `${algorithm}: packets ≤ burst + rate × seconds` };
  });
  return ({ rule, group, moment }: Place, { dropped, packets, limit, action }: {
    dropped: Range;
    packets: number;
    limit: Limit;
    action: Decision["action"];
  }): Decision => {
    const words = wordsOf(limit), decision = pool(moment);
    decision.rule = rule;
    decision.action = action;
    decision.certain = dropped.lower > 0;
    decision.source = group.source;
    decision.untilMs = moment.fromMs;
    decision.measured.packets = packets;
    decision.thresholds = words.thresholds;
    decision.formula = words.formula;
    return decision;
  };
}

/** Starts to tell of matches that are reported, and count towards nothing. */
export function createAlertDecision() {
  const wordsOf = sayOnce(({ gate }: Slot) => ({
    thresholds: gate ? { count: gate.count, window: gate.windowMs / 1000 } : NO_THRESHOLDS,
    formula: gate ? `${gate.type}: ${gate.count} matches within ${gate.windowMs / 1000} s` : "each match",
  }));
  const pool = createPool(() => emptyDecision({ detections: 0.5 }));
  return ({ rule, group, moment }: Place, { detections, certain, slot }: {
    detections: Range;
    certain: boolean;
    slot: Slot;
  }): Decision => {
    const words = wordsOf(slot), decision = pool(moment);
    decision.rule = rule;
    decision.action = "alert";
    decision.certain = certain;
    decision.source = group.source;
    decision.untilMs = moment.ended;
    decision.measured.detections = detections.upper;
    decision.thresholds = words.thresholds;
    decision.formula = words.formula;
    return decision;
  };
}

/**
 * Starts to tell of sources that are put on the blacklist: `detections` reached its limit, blocked for `ttlMs` and at
 * most to `latest`.
 */
export function createBlockDecision(
  { rule, enforced, ttlMs, ttlS }: { rule: number; enforced: boolean; ttlMs: number; ttlS: number },
) {
  const wordsOf = sayOnce((limit: number) => {
    const thresholds = { auto_blacklist_threshold: limit, blacklist_ttl: ttlS };
    return { thresholds, formula: `detections ≥ ${limit} within ${ttlS || "∞"} s` };
  });
  const pool = createPool(() => emptyDecision({ detections: 0.5, packets: 0.5, bytes: 0.5, syn: 0.5 }));
  return (group: Group, moment: Moment, { detections, certain, latest }: {
    detections: number;
    certain: boolean;
    latest: number;
  }): Decision => {
    const { source, known: { limit } } = group, { interval: { beginMs, endMs, cells } } = moment;
    const words = wordsOf(limit), decision = pool(moment), { measured, untilMs } = decision;
    decision.rule = rule;
    decision.action = enforced ? "block" : "alert";
    decision.certain = certain;
    decision.source = source;
    untilMs.earliest = beginMs + ttlMs;
    untilMs.latest = Math.max(latest, endMs + ttlMs);
    measured.detections = detections;
    let packets = 0, bytes = 0, syn = 0;
    for (let i = group.from; i < group.to; i++) {
      packets += cells.packets[i]!;
      bytes += cells.bytes[i]!;
      syn += cells.syn[i]!;
    }
    measured.packets = packets;
    measured.bytes = bytes;
    measured.syn = syn;
    decision.thresholds = words.thresholds;
    decision.formula = words.formula;
    return decision;
  };
}

/** Counters of a source in an interval: what a window held. */
function measure({ from, to }: Group, { cells }: Interval): { packets: number; bytes: number; syn: number } {
  let packets = 0, bytes = 0, syn = 0;
  for (let i = from; i < to; i++) {
    packets += cells.packets[i]!;
    bytes += cells.bytes[i]!;
    syn += cells.syn[i]!;
  }
  return { packets, bytes, syn };
}
