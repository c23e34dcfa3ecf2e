/**
 * What rules take of a cell, and that as the contract's effects. Pure.
 *
 * There are up to three effects for each source and interval: entries and effects are used again and again, where new
 * ones would take half of the time.
 */
import type { Cells } from "../../evidence/interval.ts";
import type { EffectList } from "../effects.ts";
import type { Bounds } from "../policy.ts";
import type { Range } from "./gate.ts";

/** The least bytes of an Ethernet frame with TCP. */
const LEAST_FRAME = 54;

/** What a rule takes of a cell. */
export interface Stopped {
  /** Index of the rule; -1 where it only counts. */
  rule: number;
  lower: number;
  upper: number;
  /** NaN: in the middle. */
  likely: number;
  /** In mode `block` it would drop some. */
  alert: boolean;
}

/** What all rules take of a cell, one entry a rule: the first `count` of the list. */
export interface Stops {
  count: number;
  list: Stopped[];
}

export function createStops(): Stops {
  return { count: 0, list: [] };
}

/** The entry of a rule, to which more is added; a new one takes nothing, and what is likely isn't known. */
export function stopOf(stops: Stops, rule: number): Stopped {
  const { list, count } = stops;
  for (let s = 0; s < count; s++) if (list[s]!.rule === rule) return list[s]!;
  // Not 0: the numbers of an entry are to be floats from the start.
  if (count === list.length) list.push({ rule, lower: 0.5, upper: 0.5, likely: 0.5, alert: false });
  const stopped = list[stops.count++]!;
  stopped.rule = rule;
  stopped.lower = stopped.upper = 0;
  stopped.likely = NaN;
  stopped.alert = false;
  return stopped;
}

/** How many challenged clients answered, at most: those that completed a handshake. A challenged SYN of another is lost. */
export function countAnswers(cells: Cells, { from, to }: { from: number; to: number }): number {
  let completed = 0;
  for (let i = from; i < to; i++) completed += cells.handshakeAck[i]!;
  return completed;
}

/** What is dropped of a cell by a rule. */
export interface Dropped extends Range {
  cell: number;
  rule: number;
  likely: number;
}

export function createDropped(): Dropped {
  return { cell: 0, rule: 0, lower: 0.5, upper: 0.5, likely: 0.5 };
}

/** Adds an effect, unless there is none; packets dropped tell how many bytes and SYN were, at least and at most. */
export function pushEffect(effects: EffectList, cells: Cells, dropped: Dropped): void {
  const { cell: i, rule, likely } = dropped;
  const packets = cells.packets[i]!, lower = Math.min(packets, dropped.lower), upper = Math.min(packets, dropped.upper);
  if (upper <= 0) return;
  const expected = Math.min(upper, Math.max(lower, likely)), share = packets === 0 ? 0 : expected / packets;
  const bytes = cells.bytes[i]!, syn = cells.syn[i]!;
  const leastBytes = lower === packets ? bytes : Math.min(bytes, LEAST_FRAME * lower);
  const effect = effects.add(i, rule);
  effect.packets.lower = lower;
  effect.packets.expected = expected;
  effect.packets.upper = upper;
  setBounds(effect.bytes, leastBytes, share * bytes, Math.max(0, bytes - LEAST_FRAME * (packets - upper)));
  setBounds(effect.syn, Math.max(0, syn - (packets - lower)), share * syn, Math.min(syn, upper));
}

function setBounds(bounds: Bounds, lower: number, likely: number, upper: number): void {
  bounds.lower = lower;
  bounds.expected = Math.min(upper, Math.max(lower, likely));
  bounds.upper = upper;
}
