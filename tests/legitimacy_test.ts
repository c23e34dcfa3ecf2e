import assert from "node:assert/strict";
import { runSituation } from "./golden/run.ts";
import { HOUR, type Shot, shots, version8 } from "./golden/situations.ts";
import type { Row } from "./streams.ts";

const A = "192.0.2.1";
const USE: Row = { source: A, port: 443, syn: 2, handshake_ack: 6, data: 9 };
const FLOOD: Row = { source: A, port: 443, syn: 2000 };

/** The class of A, where `rowOf` says what it does in the 10 s that begin at a second. */
async function classOf(rowOf: (second: number) => Row | undefined, seconds = HOUR): Promise<string | null> {
  const { sources } = await runSituation({
    name: "",
    description: "",
    files: { "a.jsonl": version8(shots(0, seconds, 10, (at) => [rowOf(at) ?? []].flat())) },
  });
  return sources.find((row) => row.source === A)?.class ?? null;
}

/** Whether `second` is one of these. */
const at = (...seconds: number[]) => (second: number) => seconds.includes(second);

Deno.test("likely legitimate is who used connections in three intervals of two ten-minute periods", async () => {
  const uses = (...seconds: number[]) => classOf((s) => at(...seconds)(s) ? USE : undefined);
  assert.equal(await uses(0, 300, 900), "likely legitimate");
  assert.equal(await uses(0, 900), "unknown"); // two intervals
  assert.equal(await uses(0, 300, 590), "unknown"); // one period
  assert.equal(await uses(0, 300, 600), "likely legitimate"); // the second begins at 600
  const middle = await classOf((s) => at(700, 800, 900)(s) ? USE : undefined, 1500);
  assert.equal(middle, "unknown"); // one period, though the second half begins in it, at 750
});

Deno.test("opened, completed and used: each of the three is asked for", async () => {
  const like = (row: Partial<Row>) => classOf((s) => at(0, 300, 900)(s) ? { ...USE, ...row } : undefined);
  assert.equal(await like({ syn: 12 }), "likely legitimate"); // 18 bare ACKs for 36 SYNs are half
  assert.equal(await like({ syn: 13 }), "unknown");
  assert.equal(await like({ data: 0 }), "likely abusive");
  assert.equal(await like({ handshake_ack: 0 }), "likely abusive");
  assert.equal(await like({ syn: 0 }), "unknown");
  assert.equal(await like({ syn_ack: 2 }), "unknown"); // it answers connections of ours
});

Deno.test("a rule can't vouch for itself: what lies in blocks and windows, widened by W, is no evidence", async () => {
  // Hot in (1000, 1010]: the window before can reach from 990, widened to 980; blocked until 1310, widened to 1320.
  const around = (...seconds: number[]) =>
    classOf((s) => s === 1000 ? FLOOD : at(0, 300, ...seconds)(s) ? USE : undefined);
  assert.equal(await around(900), "likely legitimate");
  assert.equal(await around(1200), "unknown"); // in the block
  assert.equal(await around(1310), "unknown"); // in its margin
  assert.equal(await around(1330), "likely legitimate");
  assert.equal(await around(990), "unknown"); // in the window's margin
  assert.equal(await around(960), "likely legitimate");
});

Deno.test("mixed is who is in use outside and in the very windows that trigger", async () => {
  const hot: Row = { source: A, port: 443, syn: 2000, handshake_ack: 30, data: 40 };
  assert.equal(await classOf((s) => s === 1000 ? hot : at(0, 300, 900)(s) ? USE : undefined), "mixed");
  assert.equal(await classOf((s) => s === 1000 ? FLOOD : at(0, 300, 900)(s) ? USE : undefined), "likely legitimate");
});

Deno.test("likely abusive is who opens and never uses outside; unknown, who has no outside", async () => {
  const knock: Row = { source: A, port: 443, syn: 1 };
  assert.equal(await classOf((s) => s === 1000 ? FLOOD : s === 2000 ? knock : undefined), "likely abusive");
  assert.equal(await classOf((s) => s === 1000 ? FLOOD : undefined), "unknown");
});

Deno.test("harm is counted in the connections of whom a neighbour's trigger blocks", async () => {
  const rows = (second: number): Row[] => [
    ...second >= 1000 && second < 1060 ? [{ source: "192.0.2.66", port: 443, syn: 3000 }] : [],
    ...at(0, 300, 900, 1100)(second) ? [USE] : [],
  ];
  const files = { "a.jsonl": version8(shots(0, HOUR, 10, rows)) };
  const alone = await runSituation({ name: "", description: "", files });
  assert.equal(alone.summary.false_positives.hit, 0);
  const together = await runSituation({
    ...{ name: "", description: "", files },
    policy: { aggregateBits: { v4: 24, v6: 48 } },
  });
  const { hit, legitimate, harm, sources } = together.summary.false_positives;
  assert.deepEqual([hit, legitimate, harm.sources], [1, 1, 1]);
  assert.deepEqual(harm.connections, { lower: 2, upper: 2 });
  assert.deepEqual(sources.map((s) => [s.source, s.class]), [[A, "likely legitimate"]]);
});

Deno.test("a source that is legitimate on one host is so for all, and is counted once", async () => {
  const good: Shot[] = shots(0, HOUR, 10, (s) => at(0, 300, 900)(s) ? [USE] : []);
  const bad: Shot[] = shots(0, HOUR, 10, (s) => s === 1000 ? [FLOOD] : []);
  const files = { "a/x.jsonl": version8(good, "a"), "b/x.jsonl": version8(bad, "b") };
  const { summary, rules } = await runSituation({ name: "", description: "", files });
  assert.deepEqual([summary.false_positives.hit, summary.false_positives.legitimate], [1, 1]);
  assert.equal(rules.rules[0]!.class, "likely legitimate");
  // The flood of 2000 triggers itself and is over: 1000 of it may have been dropped.
  assert.deepEqual(summary.false_positives.harm.connections, { lower: 0, upper: 1000 });
  assert.deepEqual(summary.false_positives.sources.map((s) => [s.hostname, s.source]), [["b", A]]);
});
