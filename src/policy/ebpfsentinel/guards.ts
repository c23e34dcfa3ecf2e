/**
 * The guards of `ddos`, interval by interval: challenged SYN, and RST, FIN, half-open connections and ACK. Pure.
 *
 * Each looks at one source. Connections aren't counted: an ACK may complete one, or belong to one, or to none. So an
 * ACK may lower the count of half-open connections or may not, and the guard for ACK of no known connection is bounded
 * from above only.
 */
import type { Ddos } from "./config_limits.ts";
import { createGateBounds, type GateBounds, type GateRule, type Range } from "./gate.ts";
import { boundWindow, droppedOf, synGate } from "./limits.ts";
import { type Classes, distribute, sumRanges } from "./ranges.ts";

/** What is known of a source's guards. */
export interface GuardBounds {
  syn: GateBounds;
  rst: GateBounds;
  fin: GateBounds;
  ack: GateBounds;
  halfOpen: Range;
}

/** A guard's name in rules and findings. */
export type GuardName = "syn" | "rst" | "fin" | "half_open" | "ack";

/** What is known of a source that was never seen. */
export function createGuardBounds(): GuardBounds {
  return {
    syn: createGateBounds(),
    rst: createGateBounds(),
    fin: createGateBounds(),
    ack: createGateBounds(),
    halfOpen: { lower: 0, upper: 0 },
  };
}

/** The windows of a section `ddos`. */
export interface GuardRules {
  syn: GateRule;
  rst: GateRule;
  fin: GateRule;
  ack: GateRule;
}

export function guardRules({ syn, tracking }: Pick<Ddos, "syn" | "tracking">): GuardRules {
  const each = (count: number): GateRule => ({ type: "limit", count, windowMs: 1000 });
  return { syn: synGate(syn.thresholdPps), rst: each(tracking.rst), fin: each(tracking.fin), ack: each(tracking.ack) };
}

/** What guards take of each cell; those that take nothing are left out. */
export function stepGuards(
  { syn, tracking, rules }: Pick<Ddos, "syn" | "tracking"> & { rules: GuardRules },
  bounds: GuardBounds,
  classes: Classes,
  { beginMs, endMs }: { beginMs: number; endMs: number },
  cpus = 1,
): { name: GuardName; drops: Range[] }[] {
  const steps: { name: GuardName; drops: Range[] }[] = [], { opening, rst, fin, ack } = classes;
  if (syn.enabled) {
    const { lower, upper } = sumRanges(opening);
    const room = boundWindow(rules.syn, bounds.syn, { lower, upper, beginMs, endMs }, cpus);
    const dropped = syn.thresholdMode ? droppedOf(room, { lower, upper }) : { lower, upper };
    if (dropped.upper > 0) {
      const drops = distribute(dropped, opening);
      steps.push({ name: "syn", drops });
      for (let k = 0; k < drops.length; k++) {
        opening[k]!.lower = Math.max(0, opening[k]!.lower - drops[k]!.upper);
        opening[k]!.upper -= drops[k]!.lower;
      }
    }
  }
  if (!tracking.enabled) return steps;
  for (const name of WINDOWS) {
    const parts = name === "rst" ? rst : fin, { lower, upper } = sumRanges(parts);
    if (rules[name].count === 0 || upper === 0) continue;
    const room = boundWindow(rules[name], bounds[name], { lower, upper, beginMs, endMs }, cpus);
    const dropped = droppedOf(room, { lower, upper });
    if (dropped.upper > 0) steps.push({ name, drops: distribute(dropped, parts) });
  }
  const halfOpen = boundHalfOpen(tracking.halfOpen, bounds, { openings: sumRanges(opening), acks: sumRanges(ack) });
  if (halfOpen.upper > 0) steps.push({ name: "half_open", drops: distribute(halfOpen, opening) });
  // The gate of ACK counts those of no known connection only: none, or all.
  const { upper } = sumRanges(ack);
  if (tracking.ack > 0 && upper > 0) {
    const room = boundWindow(rules.ack, bounds.ack, { lower: 0, upper, beginMs, endMs }, cpus);
    const most = droppedOf(room, { lower: 0, upper }).upper;
    if (most > 0) steps.push({ name: "ack", drops: distribute({ lower: 0, upper: most }, ack) });
  }
  return steps;
}

const WINDOWS = ["rst", "fin"] as const;

/** SYN that are dropped since too many before them are unanswered. An ACK answers one, or none. */
function boundHalfOpen(
  limit: number,
  { halfOpen }: GuardBounds,
  { openings, acks }: { openings: Range; acks: Range },
): Range {
  const { lower, upper } = halfOpen;
  const room = { lower: Math.max(0, limit - upper), upper: Math.max(0, limit - lower) + acks.upper };
  const least = Math.min(openings.lower, room.lower), most = Math.min(openings.upper, room.upper);
  halfOpen.lower = Math.max(0, Math.min(limit, lower + least) - acks.upper);
  halfOpen.upper = Math.min(limit, upper + most);
  return droppedOf(room, openings);
}
