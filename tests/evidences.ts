/** Evidence read from lines, as tests look at it. */
import assert from "node:assert/strict";
import type { Interval } from "../src/evidence/interval.ts";
import { type Evidence, type EvidenceOptions, readEvidence } from "../src/evidence/read.ts";
import type { Input } from "../src/input.ts";
import { type Row, syns } from "./evidence_lines.ts";

/** Rows as `address port syn packets`, those without a packet left out. */
export function cellsOf(evidence: Evidence, { cells }: Interval): string[] {
  const rows: string[] = [];
  for (let i = 0; i < cells.count; i++) {
    if (cells.packets[i] === 0) continue;
    rows.push(`${evidence.sources.text(cells.source[i]!)} ${cells.port[i]} ${cells.syn[i]} ${cells.packets[i]}`);
  }
  return rows;
}

/** A stream as `begin-end: rows`, in seconds. */
export function storyOf(evidence: Evidence, stream = 0): string[] {
  return [...evidence.streams[stream]!.intervals()].map((interval) =>
    `${interval.beginMs / 1000}-${interval.endMs / 1000}: ${cellsOf(evidence, interval).join(", ")}`
  );
}

/** The codes of what was found. */
export function codesOf(evidence: Evidence): string[] {
  return evidence.findings.map((finding) => finding.code);
}

/** Reads evidence, and holds it against what is true of all evidence. */
export async function read(inputs: Input[], options?: EvidenceOptions): Promise<Evidence> {
  const evidence = await readEvidence(inputs, options);
  for (const { spans, beginMs, endMs } of evidence.streams) {
    assert.ok(spans.length > 0);
    assert.deepEqual([beginMs, endMs], [spans[0]!.beginMs, spans.at(-1)!.endMs]);
    for (const [i, span] of spans.entries()) {
      assert.ok(span.endMs > span.beginMs, "a length above 0");
      if (i > 0) assert.ok(span.beginMs >= spans[i - 1]!.endMs, "no second twice");
    }
  }
  return evidence;
}

/** Rows of one source, where it matters not which. */
export const ONE: Row[] = [["10.0.0.1", 80, syns(3)]];
