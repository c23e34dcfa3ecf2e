/**
 * Decisions as the contract wants them told. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import type { Decision } from "../policy.ts";
import type { Slot } from "./detection.ts";
import type { Range } from "./gate.ts";
import type { Selected } from "./limits.ts";
import { type Group, times } from "./sources.ts";

/** A source over a limit. */
export function limitDecision({ rule, group, interval, dropped, total, limit, action }: {
  rule: number;
  group: Group;
  interval: Interval;
  dropped: Range;
  total: Range;
  limit: Selected;
  action: Decision["action"];
}): Decision {
  const { rate, burst, algorithm } = limit.limit;
  return {
    rule,
    action,
    certain: dropped.lower > 0,
    source: group.source,
    window: times(interval),
    fromMs: { earliest: interval.beginMs, latest: interval.endMs },
    untilMs: { earliest: interval.beginMs, latest: interval.endMs },
    measured: { packets: total.upper },
    thresholds: { rate, burst },
    formula: `${algorithm}: packets ≤ burst + rate × seconds`,
  };
}

/** Matches that are reported, and count towards nothing. */
export function alertDecision({ rule, group, interval, detections, certain, slot }: {
  rule: number;
  group: Group;
  interval: Interval;
  detections: Range;
  certain: boolean;
  slot: Slot;
}): Decision {
  const { gate } = slot;
  return {
    rule,
    action: "alert",
    certain,
    source: group.source,
    window: times(interval),
    fromMs: { earliest: interval.beginMs, latest: interval.endMs },
    untilMs: { earliest: interval.endMs, latest: interval.endMs },
    measured: { detections: detections.upper },
    thresholds: gate ? { count: gate.count, window: gate.windowMs / 1000 } : {},
    formula: gate ? `${gate.type}: ${gate.count} matches within ${gate.windowMs / 1000} s` : "each match",
  };
}

/** Counters of a source in an interval: what a window held. */
export function measure({ from, to }: Group, { cells }: Interval): { packets: number; bytes: number; syn: number } {
  const sum = { packets: 0, bytes: 0, syn: 0 };
  for (let i = from; i < to; i++) {
    sum.packets += cells.packets[i]!;
    sum.bytes += cells.bytes[i]!;
    sum.syn += cells.syn[i]!;
  }
  return sum;
}
