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

/** Packets of a cell by what guards ask for. */
export interface Classes {
  /** SYN without ACK, RST and FIN. */
  opening: Range;
  rst: Range;
  fin: Range;
  /** ACK without SYN, RST and FIN. */
  ack: Range;
}

/** Packets of a cell by their flags, of those that come to the guards. */
export function classify(cells: Cells, i: number, pass: Range, uncertain: boolean): Classes {
  const packets = cells.packets[i]!, lost = uncertain ? packets : packets - pass.lower;
  const syn = Math.max(0, cells.syn[i]! - cells.synAck[i]!), rst = cells.rst[i]!, fin = cells.fin[i]!;
  const plainAck = Math.max(0, cells.ack[i]! - cells.synAck[i]!);
  return {
    opening: within(Math.max(0, syn - rst - fin), syn, { lost, pass }),
    rst: within(rst, rst, { lost, pass }),
    fin: within(Math.max(0, fin - rst), fin, { lost, pass }),
    ack: within(Math.max(0, plainAck - rst - fin), plainAck, { lost, pass }),
  };
}

function within(least: number, most: number, { lost, pass }: { lost: number; pass: Range }): Range {
  return {
    lower: Math.max(0, Math.min(least, most) - lost),
    upper: Math.min(Math.max(0, most), pass.upper),
  };
}
