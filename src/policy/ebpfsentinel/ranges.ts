/**
 * Numbers that are known up to their bounds: sums, parts, and the packets of a cell by their flags. Pure.
 *
 * Ranges that are asked for in every interval of every source are put where the caller says: made anew, they would be
 * most of what a simulation takes.
 */
import type { Cells } from "../../evidence/interval.ts";
import { createRange, type Range } from "./gate.ts";

/** Ranges of a source's cells: the first `count` of the list. To shorten the list itself would take more than all else. */
export interface Ranges {
  count: number;
  list: Range[];
}

export function createRanges(): Ranges {
  return { count: 0, list: [] };
}

/** Makes them so many; what is in them is left from before. */
export function resize(ranges: Ranges, count: number): readonly Range[] {
  while (ranges.list.length < count) ranges.list.push(createRange());
  ranges.count = count;
  return ranges.list;
}

/** The sum of ranges that don't depend on each other; put into `into`. */
export function sumRanges<R extends Range>({ count, list }: Ranges, into: R): R {
  let lower = 0, upper = 0;
  for (let k = 0; k < count; k++) {
    lower += list[k]!.lower;
    upper += list[k]!.upper;
  }
  into.lower = lower;
  into.upper = upper;
  return into;
}

/** What of so many packets finds no room: put into `dropped`. */
export function exceed(packets: Range, room: Range, dropped: Range): Range {
  dropped.lower = Math.max(0, packets.lower - room.upper);
  dropped.upper = Math.max(0, packets.upper - room.lower);
  return dropped;
}

/** Splits a total over the parts that it may have come from; `split` is written over. */
export function distribute(total: Range, { count, list }: Ranges, split: Ranges): Ranges {
  const parts = resize(split, count);
  let all = 0;
  for (let k = 0; k < count; k++) all += list[k]!.upper;
  for (let k = 0; k < count; k++) {
    const { upper } = list[k]!, part = parts[k]!;
    part.lower = Math.max(0, total.lower - (all - upper));
    part.upper = Math.min(total.upper, upper);
  }
  return split;
}

/** Packets of a source's cells by what guards ask for. */
export interface Classes {
  /** SYN without ACK, RST and FIN. */
  opening: Ranges;
  rst: Ranges;
  fin: Ranges;
  /** ACK without SYN, RST and FIN. */
  ack: Ranges;
}

export function createClasses(): Classes {
  return { opening: createRanges(), rst: createRanges(), fin: createRanges(), ack: createRanges() };
}

/** Packets of cells by their flags, of those that come to the guards; `classes` is written over. */
export function classify(classes: Classes, cells: Cells, { from, passes, uncertain }: {
  from: number;
  passes: Ranges;
  uncertain: boolean;
}): void {
  const { count, list } = passes, opening = resize(classes.opening, count), rst = resize(classes.rst, count);
  const fin = resize(classes.fin, count), ack = resize(classes.ack, count);
  for (let k = 0; k < count; k++) {
    const i = from + k,
      packets = cells.packets[i]!,
      pass = list[k]!,
      lost = uncertain ? packets : packets - pass.lower;
    const syn = Math.max(0, cells.syn[i]! - cells.synAck[i]!), rsts = cells.rst[i]!, fins = cells.fin[i]!;
    const acks = Math.max(0, cells.ack[i]! - cells.synAck[i]!), { upper } = pass;
    setWithin(opening[k]!, Math.max(0, syn - rsts - fins), syn, lost, upper);
    setWithin(rst[k]!, rsts, rsts, lost, upper);
    setWithin(fin[k]!, Math.max(0, fins - rsts), fins, lost, upper);
    setWithin(ack[k]!, Math.max(0, acks - rsts - fins), acks, lost, upper);
  }
}

/** At least `least` less those that are lost, at most `most` and those that pass. */
function setWithin(range: Range, least: number, most: number, lost: number, passing: number): void {
  range.lower = Math.max(0, Math.min(least, most) - lost);
  range.upper = Math.min(Math.max(0, most), passing);
}
