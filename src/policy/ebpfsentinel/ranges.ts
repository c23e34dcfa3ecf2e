/**
 * Numbers that are known up to their bounds: sums, parts, and the packets of a cell by their flags. Pure.
 */
import type { Cells } from "../../evidence/interval.ts";
import type { Range } from "./gate.ts";

/** The sum of ranges that don't depend on each other. */
export function sumRanges(ranges: readonly Range[]): Range {
  let lower = 0, upper = 0;
  for (let i = 0; i < ranges.length; i++) {
    lower += ranges[i]!.lower;
    upper += ranges[i]!.upper;
  }
  return { lower, upper };
}

/** Splits a total over the parts that it may have come from. */
export function distribute(total: Range, parts: readonly Range[]): Range[] {
  const { upper: all } = sumRanges(parts), split: Range[] = [];
  for (let i = 0; i < parts.length; i++) {
    const { upper } = parts[i]!;
    split.push({ lower: Math.max(0, total.lower - (all - upper)), upper: Math.min(total.upper, upper) });
  }
  return split;
}

/** Packets of a source's cells by what guards ask for. */
export interface Classes {
  /** SYN without ACK, RST and FIN. */
  opening: Range[];
  rst: Range[];
  fin: Range[];
  /** ACK without SYN, RST and FIN. */
  ack: Range[];
}

export function createClasses(): Classes {
  return { opening: [], rst: [], fin: [], ack: [] };
}

/** Packets of cells by their flags, of those that come to the guards; `classes` is written over. */
export function classify(classes: Classes, cells: Cells, { from, passes, uncertain }: {
  from: number;
  passes: readonly Range[];
  uncertain: boolean;
}): void {
  const { opening, rst, fin, ack } = classes, count = passes.length;
  for (const kind of [opening, rst, fin, ack]) {
    while (kind.length < count) kind.push({ lower: 0, upper: 0 });
    kind.length = count;
  }
  for (let k = 0; k < count; k++) {
    const i = from + k,
      packets = cells.packets[i]!,
      pass = passes[k]!,
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
