/**
 * What a rule takes of a cell, as the contract's effects. Pure.
 */
import type { Cells } from "../../evidence/interval.ts";
import type { Bounds, Effect } from "../policy.ts";
import type { Range } from "./gate.ts";

/** The least bytes of an Ethernet frame with TCP. */
const LEAST_FRAME = 54;
/** What a rule takes of a cell. */
export interface Stopped {
  /** Index of the rule; -1 where it only counts. */
  rule: number;
  dropped: Range;
  likely?: number | undefined;
  alert?: boolean;
}

/** A challenged SYN is lost unless the client answers; how many did is the most that completed a handshake. */
export function challenged(dropped: Range, cells: Cells, { from, to }: { from: number; to: number }): Range {
  let completed = 0;
  for (let i = from; i < to; i++) completed += cells.handshakeAck[i]!;
  return { lower: Math.max(0, dropped.lower - completed), upper: dropped.upper };
}

/** At most one entry a rule; the same list where there is no more. */
export function mergeStops(stops: readonly Stopped[]): readonly Stopped[] {
  if (stops.length < 2) return stops;
  const byRule = new Map<number, Stopped>();
  for (const stop of stops) {
    const present = byRule.get(stop.rule);
    if (!present) byRule.set(stop.rule, { ...stop, dropped: { ...stop.dropped } });
    else {
      present.dropped.lower += stop.dropped.lower;
      present.dropped.upper += stop.dropped.upper;
    }
  }
  return [...byRule.values()];
}

/** Adds an effect, unless there is none; packets dropped tell how many bytes and SYN were, at least and at most. */
export function pushEffect(
  effects: Effect[],
  cells: Cells,
  i: number,
  rule: number,
  dropped: Range,
  likely: number,
): void {
  const packets = cells.packets[i]!, lower = Math.min(packets, dropped.lower), upper = Math.min(packets, dropped.upper);
  if (upper <= 0) return;
  const expected = Math.min(upper, Math.max(lower, likely)), share = packets === 0 ? 0 : expected / packets;
  const bytes = cells.bytes[i]!, syn = cells.syn[i]!;
  const leastBytes = lower === packets ? bytes : Math.min(bytes, LEAST_FRAME * lower);
  effects.push({
    cell: i,
    rule,
    packets: { lower, expected, upper },
    bytes: boundsOf(leastBytes, share * bytes, Math.max(0, bytes - LEAST_FRAME * (packets - upper))),
    syn: boundsOf(Math.max(0, syn - (packets - lower)), share * syn, Math.min(syn, upper)),
  });
}

function boundsOf(lower: number, likely: number, upper: number): Bounds {
  return { lower, expected: Math.min(upper, Math.max(lower, likely)), upper };
}
