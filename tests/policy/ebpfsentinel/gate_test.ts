import assert from "node:assert/strict";
import {
  boundGate,
  type GateRule,
  matchesAtLeast,
  matchesFor,
  openGate,
} from "../../../src/policy/ebpfsentinel/gate.ts";
import { randomOf } from "./traces.ts";

Deno.test("matchesFor() and matchesAtLeast() give the fewest matches for which boundGate() says so, of 20,000 random gates", () => {
  const { below, pick } = randomOf(11);
  let found = 0;
  for (let i = 0; i < 20_000; i++) {
    const type = pick(["limit", "threshold", "both"] as const), count = 1 + below(12);
    const rule: GateRule = { type, count, windowMs: pick([1000, 10_000]) }, latestMs = 100_000 - below(12_000);
    const fewest = below(20), most = fewest + pick([0, 0, below(20)]);
    const gate = pick([
      { fewest, most, earliestMs: latestMs - below(10_000), latestMs },
      { fewest: 0, most: 0, earliestMs: -Infinity, latestMs: -Infinity },
    ]);
    const upper = below(60), wanted = 1 + below(8), at = { beginMs: 100_000, endMs: 100_001 + below(30_000) };
    const search = (reaches: (matches: number) => boolean) => {
      for (let matches = 1; matches <= upper; matches++) if (reaches(matches)) return matches;
      return Infinity;
    };
    const surely = search((n) => boundGate(rule, gate, { lower: n, upper: n, ...at }).lower >= wanted);
    const perhaps = search((n) => boundGate(rule, gate, { lower: 0, upper: n, ...at }).upper >= wanted);
    const where = JSON.stringify({ rule, gate, upper, wanted, at });
    const matches = { lower: 0, upper, ...at }, open = { rule, opening: openGate(rule, gate, matches) };
    assert.equal(matchesFor(open, wanted, matches), surely, where);
    assert.equal(matchesAtLeast(open, wanted, matches), perhaps, where);
    if (surely < Infinity && perhaps < Infinity) found++;
  }
  assert.ok(found > 2000, `${found}`);
});
