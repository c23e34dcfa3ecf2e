import assert from "node:assert/strict";
import { atLeast, createPairs } from "../src/evidence/pairs.ts";
import { createRandom } from "./packets.ts";

Deno.test("createPairs() numbers pairs as a Map of texts does, in whatever order they come", () => {
  const random = createRandom(3).share, pairs = createPairs(), map = new Map<string, number>();
  const draw = () => [Math.floor(random() * 300), Math.floor(random() * 40) * (random() < 0.1 ? 2 ** 26 : 1)] as const;
  const order = Array.from({ length: 5000 }, draw);
  for (const round of [order, order, order.toReversed(), Array.from({ length: 5000 }, draw), order]) {
    for (const [first, second] of round) {
      const key = `${first} ${second}`;
      if (!map.has(key)) map.set(key, map.size);
      assert.equal(pairs.of(first, second), map.get(key));
    }
  }
  assert.equal(pairs.count, map.size);
  for (const [key, number] of map) {
    assert.equal(`${pairs.first(number)} ${pairs.second(number)}`, key);
  }
});

Deno.test("atLeast() keeps what was there and fills what is new", () => {
  const longer = atLeast(Int32Array.of(1, 2), 3, -1);
  assert.deepEqual([...longer.subarray(0, 4)], [1, 2, -1, -1]);
  assert.equal(atLeast(longer, 3), longer);
});
