/**
 * The guards of `ddos`, interval by interval: challenged SYN, and RST, FIN, half-open connections and ACK. Pure.
 *
 * Each looks at one source. Connections aren't counted: an ACK may complete one, or belong to one, or to none. So an
 * ACK may lower the count of half-open connections or may not, and the guard for ACK of no known connection is bounded
 * from above only.
 */
import { atLeast } from "../../evidence/pairs.ts";
import type { Ddos } from "./config_limits.ts";
import { createAnswer } from "./bucket.ts";
import { createGateBounds, createMatches, createRange, type GateRule, type Range } from "./gate.ts";
import { boundWindow, synGate } from "./limits.ts";
import { type Classes, createRanges, distribute, exceed, type Ranges, sumRanges } from "./ranges.ts";

/** A guard's name in rules and findings. */
export type GuardName = "syn" | "rst" | "fin" | "half_open" | "ack";

/**
 * The numbers of a source's row: of each window fewest, most, earliest and latest, then half-open connections, fewest
 * and most; -Infinity in all of them for a source that was never seen. As objects they would be 600 bytes, from all over
 * the memory.
 */
const SYN = 0, RST = 4, FIN = 8, ACK = 12, HALF_OPEN = 16, WIDTH = 18;

/** Takes packets off a source's cells: what a guard drops of each, valid until the next call. */
export type TakeDrops = (rule: number, drops: Ranges) => void;

/** Makes the guards of a section `ddos`, which are these rules, and room to work in for one source at a time. */
export function createGuardSteps(
  { syn, tracking }: Pick<Ddos, "syn" | "tracking">,
  { cpus, index }: { cpus: number; index: Readonly<Record<GuardName, number>> },
) {
  const each = (count: number): GateRule => ({ type: "limit", count, windowMs: 1000 });
  const rules = {
    syn: synGate(syn.thresholdPps),
    rst: each(tracking.rst),
    fin: each(tracking.fin),
    ack: each(tracking.ack),
  };
  const packets = createMatches(), answer = createAnswer(cpus), dropped = createRange();
  const acks = createRange(), room = createRange(), drops = createRanges();
  /** Rows of all sources, and the window that is at work. */
  let rows = new Float64Array(0);
  const gate = createGateBounds();

  /** What the window at a place drops of `packets`. */
  function stepWindow(rule: GateRule, at: number): Range {
    gate.fewest = Math.max(0, rows[at]!);
    gate.most = Math.max(0, rows[at + 1]!);
    gate.earliestMs = rows[at + 2]!;
    gate.latestMs = rows[at + 3]!;
    boundWindow(rule, gate, packets, answer);
    rows[at] = gate.fewest;
    rows[at + 1] = gate.most;
    rows[at + 2] = gate.earliestMs;
    rows[at + 3] = gate.latestMs;
    return exceed(packets, answer.room, dropped);
  }

  /** What a window drops of one kind of packets is taken. */
  function takeWindow(rule: GateRule, at: number, parts: Ranges, of: number, take: TakeDrops): void {
    if (rule.count === 0 || sumRanges(parts, packets).upper === 0) return;
    if (stepWindow(rule, at).upper > 0) take(of, distribute(dropped, parts, drops));
  }

  /** SYN that are dropped since too many before them are unanswered. An ACK answers one, or none. */
  function stepHalfOpen(at: number, openings: Range): Range {
    const lower = Math.max(0, rows[at]!), upper = Math.max(0, rows[at + 1]!), limit = tracking.halfOpen;
    room.lower = Math.max(0, limit - upper);
    room.upper = Math.max(0, limit - lower) + acks.upper;
    const least = Math.min(openings.lower, room.lower), most = Math.min(openings.upper, room.upper);
    rows[at] = Math.max(0, Math.min(limit, lower + least) - acks.upper);
    rows[at + 1] = Math.min(limit, upper + most);
    return exceed(openings, room, dropped);
  }

  /**
   * What guards take of each cell; those that take nothing take no part. `classes` is written over.
   *
   * @param source By number, from 0 without gaps.
   */
  return (
    source: number,
    { opening, rst, fin, ack }: Classes,
    { beginMs, endMs }: { beginMs: number; endMs: number },
    take: TakeDrops,
  ): void => {
    const row = source * WIDTH;
    if (row + WIDTH > rows.length) rows = atLeast(rows, row + WIDTH, -Infinity);
    packets.beginMs = beginMs;
    packets.endMs = endMs;
    if (syn.enabled && sumRanges(opening, packets).upper > 0) {
      const challenged = syn.thresholdMode ? stepWindow(rules.syn, row + SYN) : packets;
      if (challenged.upper > 0) {
        take(index.syn, distribute(challenged, opening, drops));
        for (let k = 0; k < drops.count; k++) {
          const { lower, upper } = drops.list[k]!, part = opening.list[k]!;
          part.lower = Math.max(0, part.lower - upper);
          part.upper -= lower;
        }
      }
    }
    if (!tracking.enabled) return;
    takeWindow(rules.rst, row + RST, rst, index.rst, take);
    takeWindow(rules.fin, row + FIN, fin, index.fin, take);
    sumRanges(ack, acks);
    if (stepHalfOpen(row + HALF_OPEN, sumRanges(opening, packets)).upper > 0) {
      take(index.half_open, distribute(dropped, opening, drops));
    }
    // The gate of ACK counts those of no known connection only: none, or all.
    if (tracking.ack === 0 || acks.upper === 0) return;
    packets.lower = 0;
    packets.upper = acks.upper;
    if (stepWindow(rules.ack, row + ACK).upper === 0) return;
    dropped.lower = 0;
    take(index.ack, distribute(dropped, ack, drops));
  };
}
