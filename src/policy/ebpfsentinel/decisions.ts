/**
 * Decisions as the contract wants them told. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import type { Decision } from "../policy.ts";
import type { Slot } from "./detection.ts";
import type { Range } from "./gate.ts";
import type { Selected } from "./limits.ts";
import type { RuleTable } from "./rules.ts";
import { type Group, times } from "./sources.ts";

/** Who decides about whom, and when. */
interface Place {
  rule: number;
  group: Group;
  interval: Interval;
}

/** What decisions about a source in an interval have in common. */
function decide(
  { rule, group, interval }: Place,
  { action, certain }: Pick<Decision, "action" | "certain">,
): Pick<Decision, "rule" | "action" | "certain" | "source" | "window" | "fromMs"> {
  return {
    rule,
    action,
    certain,
    source: group.source,
    window: times(interval),
    fromMs: { earliest: interval.beginMs, latest: interval.endMs },
  };
}

/** Tells what a rule without state does to a source: at its first packet, and not again. */
export type DecideOnce = (
  decisions: Decision[],
  decision: Place & { dropped: Range; action?: Decision["action"] },
) => void;

/** Starts a simulation's `DecideOnce`. */
export function createDecideOnce(rules: RuleTable): DecideOnce {
  const told = new Set<string>();
  return (decisions, { dropped, action = "block", ...place }) => {
    const { rule, group, interval } = place, key = `${rule} ${group.source}`;
    if (told.has(key) || dropped.upper === 0 || (rules.isLimit(rule) && action !== "alert")) return;
    told.add(key);
    decisions.push({
      ...decide(place, { action, certain: dropped.lower > 0 }),
      untilMs: { earliest: Infinity, latest: Infinity },
      measured: measure(group, interval),
      thresholds: {},
      formula: "the rule matches",
    });
  };
}

/** What is dropped where that it is something is all that counts. */
export const SURELY: Range = { lower: 1, upper: 1 };

/** A source over a limit. */
export function limitDecision(place: Place, { dropped, total, limit, action }: {
  dropped: Range;
  total: Range;
  limit: Selected;
  action: Decision["action"];
}): Decision {
  const { rate, burst, algorithm } = limit.limit, { beginMs, endMs } = place.interval;
  return {
    ...decide(place, { action, certain: dropped.lower > 0 }),
    untilMs: { earliest: beginMs, latest: endMs },
    measured: { packets: total.upper },
    thresholds: { rate, burst },
    formula: `${algorithm}: packets ≤ burst + rate × seconds`,
  };
}

/** Matches that are reported, and count towards nothing. */
export function alertDecision(place: Place, { detections, certain, slot }: {
  detections: Range;
  certain: boolean;
  slot: Slot;
}): Decision {
  const { gate } = slot, { endMs } = place.interval;
  return {
    ...decide(place, { action: "alert", certain }),
    untilMs: { earliest: endMs, latest: endMs },
    measured: { detections: detections.upper },
    thresholds: gate ? { count: gate.count, window: gate.windowMs / 1000 } : {},
    formula: gate ? `${gate.type}: ${gate.count} matches within ${gate.windowMs / 1000} s` : "each match",
  };
}

/** A source that is put on the blacklist: `detections` reached its limit, blocked for `ttlMs` and at most to `latest`. */
export function blockDecision(place: Place, { detections, certain, enforced, ttlMs, latest, ttlS }: {
  detections: Range;
  certain: boolean;
  enforced: boolean;
  ttlMs: number;
  latest: number;
  ttlS: number;
}): Decision {
  const { group, interval } = place, { limit } = group.known;
  return {
    ...decide(place, { action: enforced ? "block" : "alert", certain }),
    untilMs: { earliest: interval.beginMs + ttlMs, latest: Math.max(latest, interval.endMs + ttlMs) },
    measured: { detections: detections.upper, ...measure(group, interval) },
    thresholds: { auto_blacklist_threshold: limit, blacklist_ttl: ttlS },
    formula: `detections ≥ ${limit} within ${ttlS || "∞"} s`,
  };
}

/** Counters of a source in an interval: what a window held. */
function measure({ from, to }: Group, { cells }: Interval): { packets: number; bytes: number; syn: number } {
  const sum = { packets: 0, bytes: 0, syn: 0 };
  for (let i = from; i < to; i++) {
    sum.packets += cells.packets[i]!;
    sum.bytes += cells.bytes[i]!;
    sum.syn += cells.syn[i]!;
  }
  return sum;
}
