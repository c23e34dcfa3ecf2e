/** What gets through before a block, within bounds. */
import assert from "node:assert/strict";
import { addLetThrough } from "../src/report/effects.ts";
import { expectedPath } from "./golden/run.ts";
import { SITUATIONS } from "./golden/situations.ts";

Deno.test("addLetThrough() gives the least and the most that came before a block", () => {
  const letThrough = {
    packets: { lower: 0, upper: 0 },
    bytes: { lower: 0, upper: 0 },
    syn: { lower: 0, upper: 0 },
  };
  const upper = { packets: 8270, bytes: 496_200, syn: 8270 };
  // 309 SYN/s for 30 s: the threshold of 1,000 had to be reached, and the trigger may have come at the very end.
  addLetThrough({ letThrough }, {
    measured: { packets: 9270, bytes: 556_200, syn: 9270 },
    dropped: (unit) => upper[unit],
  });
  assert.deepEqual(letThrough, {
    packets: { lower: 1000, upper: 9270 },
    bytes: { lower: 60_000, upper: 556_200 },
    syn: { lower: 1000, upper: 9270 },
  });
  // Rules that count no packets add nothing, and nothing is less than none.
  addLetThrough({ letThrough }, { measured: { ports: 20 }, dropped: () => 5 });
  assert.equal(letThrough.syn.lower, 1000);
});

Deno.test("what got through before blocks is within bounds in every golden situation", async () => {
  let compared = 0;
  for (const { name } of SITUATIONS) {
    const { time_to_block: { let_through } } = JSON.parse(await Deno.readTextFile(expectedPath(name)));
    for (const { lower, upper } of Object.values(let_through) as { lower: number; upper: number }[]) {
      assert.ok(lower <= upper, name);
      if (upper > lower) compared++;
    }
  }
  assert.ok(compared > 10);
});
