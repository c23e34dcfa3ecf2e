/**
 * Gross regressions of a policy's simulation, by ratio to that of the engine's own policy in the same process and
 * moments: a look-up by text for each source, objects made anew where they were used again.
 */
import assert from "node:assert/strict";
import { POLICIES } from "../scripts/bench/policies.ts";
import { measureRate } from "../scripts/bench/simulation.ts";

/** Of the benchmark's traffic in one go; the engine's own policy is several times as fast. */
const INTERVALS = 150, OWN_INTERVALS = 1_000, ROUNDS = 6;

/** How many times as long as the engine's own policy each takes at most, and what is found. */
const MOST: Record<string, number> = {
  "eBPFsentinel, an IPS rule": 12, // 5.2 to 7.1
  "eBPFsentinel, five IPS rules": 24, // 12 to 15
  "eBPFsentinel, DDoS guards": 18, // 8.8 to 11
  "eBPFsentinel, all of these": 46, // 24 to 30
  "Ironpost, its detectors": 23, // 11 to 14
  "Ironpost, a detection rule": 17, // 7.0 to 10
};

Deno.test("a simulation takes no more than a few times as long as that of the engine's own policy", () => {
  const best: Record<string, number> = {},
    measure = (name: string, intervals: number) => {
      best[name] = Math.max(best[name] ?? 0, measureRate(POLICIES[name]!(), intervals));
    };
  const ratioOf = (name: string) => best.native! / best[name]!;
  let slow = Object.keys(MOST);
  measure("native", OWN_INTERVALS);
  // The first round also compiles; what else runs slows down one or the other, and not in every round.
  for (let round = 0; round < ROUNDS && slow.length > 0; round++) {
    measure("native", OWN_INTERVALS);
    for (const name of slow) measure(name, INTERVALS);
    slow = slow.filter((name) => ratioOf(name) > MOST[name]!);
  }
  assert.deepEqual(slow.map((name) => `${name}: ${ratioOf(name).toFixed(1)} times, at most ${MOST[name]}`), []);
});
