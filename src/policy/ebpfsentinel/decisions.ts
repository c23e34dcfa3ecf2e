/**
 * Decisions as the contract wants them told. Pure.
 *
 * A policy may have hundreds of them an interval, most about the same times and limits: what they have in common is one
 * object for all.
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
}

export function momentOf(interval: Interval): Moment {
  const { beginMs, endMs } = interval;
  return { interval, window: times(interval), fromMs: { earliest: beginMs, latest: endMs } };
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
  /** By limit: what is said of it. */
  const said = new Map<Limit, Pick<Decision, "thresholds" | "formula">>();
  const sayOf = ({ rate, burst, algorithm }: Limit) => {
    return { thresholds: { rate, burst }, formula: `${algorithm}: packets ≤ burst + rate × seconds` };
  };
  return ({ rule, group, moment }: Place, { dropped, packets, limit, action }: {
    dropped: Range;
    packets: number;
    limit: Limit;
    action: Decision["action"];
  }): Decision => {
    let words = said.get(limit);
    if (!words) said.set(limit, words = sayOf(limit));
    return {
      rule,
      action,
      certain: dropped.lower > 0,
      source: group.source,
      window: moment.window,
      fromMs: moment.fromMs,
      untilMs: moment.fromMs,
      measured: { packets },
      thresholds: words.thresholds,
      formula: words.formula,
    };
  };
}

/** Matches that are reported, and count towards nothing. */
export function alertDecision({ rule, group, moment }: Place, { detections, certain, slot }: {
  detections: Range;
  certain: boolean;
  slot: Slot;
}): Decision {
  const { gate } = slot, { endMs } = moment.interval;
  return {
    rule,
    action: "alert",
    certain,
    source: group.source,
    window: moment.window,
    fromMs: moment.fromMs,
    untilMs: { earliest: endMs, latest: endMs },
    measured: { detections: detections.upper },
    thresholds: gate ? { count: gate.count, window: gate.windowMs / 1000 } : NO_THRESHOLDS,
    formula: gate ? `${gate.type}: ${gate.count} matches within ${gate.windowMs / 1000} s` : "each match",
  };
}

/**
 * Starts to tell of sources that are put on the blacklist: `detections` reached its limit, blocked for `ttlMs` and at
 * most to `latest`.
 */
export function createBlockDecision(
  { rule, enforced, ttlMs, ttlS }: { rule: number; enforced: boolean; ttlMs: number; ttlS: number },
) {
  /** By limit: what is said of it. */
  const said = new Map<number, Pick<Decision, "thresholds" | "formula">>();
  const sayOf = (limit: number) => {
    const thresholds = { auto_blacklist_threshold: limit, blacklist_ttl: ttlS };
    return { thresholds, formula: `detections ≥ ${limit} within ${ttlS || "∞"} s` };
  };
  return (group: Group, { interval, window, fromMs }: Moment, { detections, certain, latest }: {
    detections: number;
    certain: boolean;
    latest: number;
  }): Decision => {
    const { source, known: { limit } } = group, { packets, bytes, syn } = measure(group, interval);
    let words = said.get(limit);
    if (!words) said.set(limit, words = sayOf(limit));
    return {
      rule,
      action: enforced ? "block" : "alert",
      certain,
      source,
      window,
      fromMs,
      untilMs: { earliest: interval.beginMs + ttlMs, latest: Math.max(latest, interval.endMs + ttlMs) },
      measured: { detections, packets, bytes, syn },
      thresholds: words.thresholds,
      formula: words.formula,
    };
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
