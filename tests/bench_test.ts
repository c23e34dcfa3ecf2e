/** The benchmark's table: what is said about samples. */
import assert from "node:assert/strict";
import { evaluate, formatTable } from "../scripts/bench/rows.ts";

Deno.test("evaluate() takes ratios of pairs, so that a machine that slows down halfway changes none", () => {
  const { ours, comparedTo } = evaluate({
    ...{ what: "x", unit: "ms", ours: [1, 1, 10, 10, 10] },
    comparedTo: { what: "y", theirs: [2, 2, 20, 20, 20] },
  });
  assert.deepEqual(ours, { median: 10, least: 1, most: 10 });
  assert.deepEqual(comparedTo?.ratio, { median: 0.5, least: 0.5, most: 0.5 });
});

Deno.test("evaluate() takes the ratio of the medians where the rounds are no pairs", () => {
  const result = evaluate({ what: "x", unit: "ms", ours: [1, 2, 9], comparedTo: { what: "y", theirs: [4] } });
  assert.equal(result.comparedTo?.ratio.median, 0.5);
});

Deno.test("evaluate() holds each kind of goal against what was found", () => {
  const row = { what: "x", unit: "ns", ours: [7, 8, 12], comparedTo: { what: "y", theirs: [6, 6, 6] } };
  for (
    const [goal, found, holds] of [
      [{ of: "difference", atMost: 2 }, 2, true],
      [{ of: "difference", atMost: 1 }, 2, false],
      [{ of: "ratio", atMost: 1.3 }, 8 / 6, false],
      [{ of: "median", atMost: 8 }, 8, true],
      [{ of: "most", atMost: 11 }, 12, false],
      [{ of: "median", atLeast: 9 }, 8, false],
    ] as const
  ) {
    assert.deepEqual(evaluate({ ...row, goal }).goal, { ...goal, found, holds });
  }
  const alone = { what: "x", unit: "ns", ours: [1], goal: { of: "ratio", atMost: 1 } } as const;
  assert.throws(() => evaluate(alone), /nothing that it is compared to/);
});

Deno.test("formatTable() says what was measured, against what, and whether the goal holds", () => {
  const table = formatTable([
    evaluate({
      ...{ what: "a packet", unit: "ns", ours: [23.94, 24.06, 25.5] },
      ...{ comparedTo: { what: "another", theirs: [32, 32, 32] }, goal: { of: "ratio", atMost: 0.75 } },
    }),
    evaluate({ what: "memory", unit: "MB", ours: [1281], goal: { of: "most", atMost: 250 } }),
  ]).split("\n");
  assert.equal(
    table[2],
    "| a packet | ns | 24.1 (23.9–25.5) | another | 32.0 | 0.75 (0.75–0.80) | ratio ≤ 0.75 | **no** |",
  );
  assert.equal(table[3], "| memory | MB | 1,281 |  |  |  | most ≤ 250 MB | **no** |");
});
