/**
 * Numbers that are known up to their bounds: sums, parts, and the packets of a cell by their flags. Pure.
 */
import type { Cells } from "../../evidence/interval.ts";
import type { Range } from "./gate.ts";

/** The sum of ranges that don't depend on each other. */
export function sumRanges(ranges: readonly Range[]): Range {
  let lower = 0, upper = 0;
  for (const range of ranges) {
    lower += range.lower;
    upper += range.upper;
  }
  return { lower, upper };
}

/** Splits a total over the parts that it may have come from. */
export function distribute(total: Range, parts: readonly Range[]): Range[] {
  const all = parts.reduce((sum, part) => sum + part.upper, 0);
  return parts.map((part) => ({
    lower: Math.max(0, total.lower - (all - part.upper)),
    upper: Math.min(total.upper, part.upper),
  }));
}

/** Packets of a cell by the flags that guards ask for, of those that come to them. */
export function classify(cells: Cells, i: number, pass: Range, uncertain: boolean) {
  const packets = cells.packets[i]!, lost = uncertain ? packets : packets - pass.lower;
  const of = (least: number, most: number): Range => ({
    lower: Math.max(0, Math.min(least, most) - lost),
    upper: Math.min(Math.max(0, most), pass.upper),
  });
  const opening = Math.max(0, cells.syn[i]! - cells.synAck[i]!), rst = cells.rst[i]!, fin = cells.fin[i]!;
  const plainAck = Math.max(0, cells.ack[i]! - cells.synAck[i]!);
  return {
    /** SYN without ACK, RST and FIN. */
    opening: of(Math.max(0, opening - rst - fin), opening),
    rst: of(rst, rst),
    fin: of(Math.max(0, fin - rst), fin),
    /** ACK without SYN, RST and FIN. */
    ack: of(Math.max(0, plainAck - rst - fin), plainAck),
  };
}
