import assert from "node:assert/strict";
import { openStore } from "../src/evidence/store.ts";
import type { Decision } from "../src/policy/policy.ts";
import { createDecisionLog, createMemoryStore, type DecisionStore } from "../src/report/decisions.ts";
import { createRandom } from "./packets.ts";

/** Decisions of every kind that an engine makes, and of some that none does. */
function* randomDecisions(count: number): Generator<Decision> {
  const { below, pick } = createRandom(5);
  const shared = { thresholds: { rate: 1, burst: 2 }, formula: "packets ≤ burst" };
  let atMs = Date.UTC(2026, 0, 1);
  for (let i = 0; i < count; i++) {
    if (below(4) === 0) atMs += 10_000;
    const fromMs = { earliest: atMs, latest: atMs + 10_000 };
    yield {
      rule: below(5),
      action: pick(["block", "limit", "alert"]),
      certain: below(2) === 0,
      source: pick([0, 7, 2 ** 32 - 1]),
      ...pick([{}, { prefix: "192.0.2.0/24" }, { prefix: "2001:db8::/48", ports: [80] }]),
      ...pick([{}, { ports: [443] }, { ports: [] }, { ports: ["1-1023", 8080] as const }]),
      window: { beginMs: pick([atMs, atMs - 60_000, atMs + 0.25]), endMs: atMs + 10_000 },
      fromMs,
      untilMs: pick([fromMs, { earliest: Infinity, latest: Infinity }, { earliest: atMs + 1, latest: Infinity }]),
      measured: pick([
        {},
        { packets: below(9), bytes: 2 ** 50 + below(9), syn: 0.1 },
        { syn: 1, packets: NaN },
        Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`port ${n}`, n])),
      ]),
      ...pick([shared, { thresholds: { rate: below(3) }, formula: "rate" }, { thresholds: {}, formula: "a match" }]),
    };
  }
}

async function keep(decisions: Iterable<Decision>, store: DecisionStore): Promise<{ kept: string; again: string }> {
  const log = createDecisionLog(store);
  for (const decision of decisions) {
    log.add(decision);
    await store.settle();
  }
  log.finish();
  await store.flush();
  return { kept: textOf(log), again: textOf(log) };
}

/** All of them, infinite times and numbers that are none included. */
function textOf(decisions: Iterable<Decision>): string {
  const plain = (_: string, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  return [...decisions].map((decision) => JSON.stringify(decision, plain)).join("\n");
}

Deno.test("createDecisionLog() gives back what was added, from memory and from a file, as often as it is asked", async () => {
  const decisions = [...randomDecisions(20_000)], expected = textOf(decisions);
  using file = openStore({ memoryBytes: 0, takes: "little" });
  for (const store of [createMemoryStore(), file]) {
    const { kept, again } = await keep(decisions, store);
    assert.ok(kept === expected, "not what was added");
    assert.ok(again === expected, "not the same again");
  }
});

Deno.test("createDecisionLog() keeps nothing of a decision but some fifty bytes in its store", () => {
  let bytes = 0;
  const store = createMemoryStore(),
    log = createDecisionLog({
      ...store,
      reserve: (length) => {
        bytes += length;
        return store.reserve(length);
      },
    });
  const count = 100_000;
  for (let i = 0; i < count; i++) {
    const beginMs = Date.UTC(2026, 0, 1) + 10_000 * Math.floor(i / 800), endMs = beginMs + 10_000;
    log.add({
      ...{ rule: 0, action: "block", certain: false, source: i % 800, window: { beginMs, endMs } },
      fromMs: { earliest: beginMs, latest: endMs },
      untilMs: { earliest: beginMs + 600_000, latest: endMs + 600_000 },
      measured: { detections: 5, packets: 33 + i % 7, bytes: 5000 + i, syn: 3 },
      thresholds: { auto_blacklist_threshold: 3, blacklist_ttl: 600 },
      formula: "detections ≥ 3 within 600 s",
    });
  }
  log.finish();
  assert.ok(bytes / count < 60, `${bytes / count} bytes a decision`);
});
