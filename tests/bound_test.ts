import assert from "node:assert/strict";
import { createBounder, createNetworks, HIT, incompleteBeta, LEGITIMATE, upperLimit } from "../src/report/bound.ts";
import { makeSources } from "./streams.ts";

Deno.test("upperLimit() of no hit is 1 - 0.05^(1/n): 299 are needed to claim less than 1 %", () => {
  for (const n of [1, 2, 10, 298, 299, 2995, 1e6]) assert.equal(upperLimit(0, n), 1 - 0.05 ** (1 / n));
  assert.ok(upperLimit(0, 298)! > 0.01 && upperLimit(0, 299)! < 0.01);
  assert.ok(upperLimit(0, 2994)! > 0.001 && upperLimit(0, 2995)! < 0.001);
  assert.equal(upperLimit(0, 0), null);
  assert.equal(upperLimit(7, 7), 1);
});

Deno.test("upperLimit() agrees with tabulated limits", () => {
  // One-sided 95 % limits: x, n, limit (the usual tables of binomial confidence limits).
  const table = [[1, 10, 0.3942], [2, 10, 0.5069], [5, 10, 0.7776], [1, 20, 0.2161], [1, 100, 0.0466], [
    5,
    100,
    0.1023,
  ]];
  for (const [x, n, limit] of table) assert.equal(upperLimit(x!, n!)!.toFixed(4), limit!.toFixed(4), `${x} of ${n}`);
});

Deno.test("at the limit, seeing so few has a chance of 5 %", () => {
  for (const [x, n] of [[1, 5], [3, 40], [17, 200], [100, 1000], [9, 5000]] as const) {
    const p = upperLimit(x, n)!;
    let term = (1 - p) ** n, sum = term;
    for (let k = 1; k <= x; k++) sum += term *= (n - k + 1) / k * p / (1 - p);
    assert.ok(Math.abs(sum - 0.05) < 1e-9, `${x} of ${n}: ${sum}`);
  }
  for (const [x, n] of [[1000, 1e6], [500_000, 1e6], [3, 1e7]] as const) {
    const p = upperLimit(x, n)!;
    assert.ok(p > x / n && p < x / n + 5 * Math.sqrt((x + 1) / n / n), `${x} of ${n}: ${p}`);
    assert.ok(Math.abs(incompleteBeta(p, x + 1, n - x) - 0.95) < 1e-6);
  }
});

Deno.test("createBounder() takes the larger of the limits by address and by network", () => {
  const sources = makeSources();
  const marks = new Uint8Array(300);
  for (let i = 0; i < 300; i++) marks[sources.of(`10.0.${i % 3}.${1 + Math.floor(i / 3)}`)] = LEGITIMATE;
  marks[0]! |= HIT;
  const bound = createBounder(marks, createNetworks(sources)).marked();
  assert.deepEqual([bound.legitimate, bound.hit, bound.by_network.legitimate, bound.by_network.hit], [300, 1, 3, 1]);
  assert.equal(bound.upper, bound.by_network.upper);
  assert.equal(bound.upper!.toFixed(4), "0.8646"); // 1 of 3
});

Deno.test("createBounder() counts hits among the likely legitimate only", () => {
  const sources = makeSources(), marks = new Uint8Array(10);
  for (let i = 0; i < 10; i++) marks[sources.of(`10.0.${i}.1`)] = i < 4 ? LEGITIMATE : HIT;
  const bounder = createBounder(marks, createNetworks(sources));
  assert.deepEqual([bounder.marked().hit, bounder.marked().legitimate], [0, 4]);
  const { hit, point, upper } = bounder.of([1, 2, 8, 9]);
  assert.deepEqual([hit, point, upper], [2, 0.5, upperLimit(2, 4)]);
});
