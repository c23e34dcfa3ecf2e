/**
 * The guards of `ddos`, interval by interval: challenged SYN, and RST, FIN, half-open connections and ACK. Pure.
 *
 * Each looks at one source. Connections aren't counted: an ACK may complete one, or belong to one, or to none. So an
 * ACK may lower the count of half-open connections or may not, and the guard for ACK of no known connection is bounded
 * from above only.
 */
import type { Ddos } from "./config_limits.ts";
import { createGateBounds, type GateBounds, type Range } from "./gate.ts";
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

/** What each guard takes of each cell. */
export function stepGuards(
  { syn, tracking }: Pick<Ddos, "syn" | "tracking">,
  bounds: GuardBounds,
  cells: readonly Classes[],
  interval: { beginMs: number; endMs: number },
  cpus = 1,
): { name: GuardName; drops: Range[] }[] {
  const steps: { name: GuardName; drops: Range[] }[] = [];
  const take = (name: GuardName, dropped: Range, parts: readonly Range[]): Range[] => {
    const drops = distribute(dropped, parts);
    steps.push({ name, drops });
    return drops;
  };
  const window = (name: "rst" | "fin", count: number) => {
    const parts = cells.map((cell) => cell[name]), total = sumRanges(parts);
    if (count === 0 || total.upper === 0) return;
    const room = boundWindow({ type: "limit", count, windowMs: 1000 }, bounds[name], { ...total, ...interval }, cpus);
    take(name, droppedOf(room, total), parts);
  };

  let openings = cells.map((cell) => cell.opening);
  if (syn.enabled) {
    const total = sumRanges(openings);
    const room = boundWindow(synGate(syn.thresholdPps), bounds.syn, { ...total, ...interval }, cpus);
    const drops = take("syn", syn.thresholdMode ? droppedOf(room, total) : total, openings);
    openings = openings.map((part, k) => ({
      lower: Math.max(0, part.lower - drops[k]!.upper),
      upper: part.upper - drops[k]!.lower,
    }));
  }
  if (!tracking.enabled) return steps;
  window("rst", tracking.rst);
  window("fin", tracking.fin);
  take(
    "half_open",
    boundHalfOpen(tracking.halfOpen, bounds, {
      openings: sumRanges(openings),
      acks: sumRanges(cells.map((c) => c.ack)),
    }),
    openings,
  );
  // The gate of ACK counts those of no known connection only: none, or all.
  const acks = cells.map((cell) => ({ lower: 0, upper: cell.ack.upper }));
  const total = sumRanges(acks);
  if (tracking.ack > 0 && total.upper > 0) {
    const rule = { type: "limit", count: tracking.ack, windowMs: 1000 } as const;
    const room = boundWindow(rule, bounds.ack, { ...total, ...interval }, cpus);
    take("ack", { lower: 0, upper: droppedOf(room, total).upper }, acks);
  }
  return steps;
}

/** SYN that are dropped since too many before them are unanswered. An ACK answers one, or none. */
function boundHalfOpen(
  limit: number,
  bounds: GuardBounds,
  { openings, acks }: { openings: Range; acks: Range },
): Range {
  const { lower, upper } = bounds.halfOpen;
  const room = { lower: Math.max(0, limit - upper), upper: Math.max(0, limit - lower) + acks.upper };
  const passed = { lower: Math.min(openings.lower, room.lower), upper: Math.min(openings.upper, room.upper) };
  bounds.halfOpen = {
    lower: Math.max(0, Math.min(limit, lower + passed.lower) - acks.upper),
    upper: Math.min(limit, upper + passed.upper),
  };
  return droppedOf(room, openings);
}
