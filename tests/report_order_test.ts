/** A report says the same, in whatever order its evidence is read and added up. */
import assert from "node:assert/strict";
import { version7, version8 } from "./golden/situations.ts";
import { runSituation } from "./golden/run.ts";

/** Sources that flood as hard as one another, from an address on. */
function floods(first: number) {
  return Array.from({ length: 5 }, (_, k) => ({
    begin: 10 * k,
    end: 10 * k + 10,
    rows: [0, 1, 2].map((i) => ({ source: `203.0.113.${first + i}`, port: 443, syn: 1501 + k, handshake_ack: k })),
  }));
}

Deno.test("a report doesn't depend on the order in which files are read", async () => {
  const lower = version8(floods(5), "web1"), upper = version8(floods(100), "web2");
  const run = (files: Record<string, string>) => runSituation({ name: "order", description: "", files });
  const [one, other] = [
    await run({ "a.jsonl": lower, "b.jsonl": upper }),
    await run({ "b.jsonl": lower, "a.jsonl": upper }),
  ];
  assert.deepEqual(one, other);
  assert.deepEqual(
    one.summary.top_sources.map(({ source }) => source),
    [5, 6, 7, 100, 101, 102].map((n) => `203.0.113.${n}`),
  );
});

Deno.test("what is expected is a whole number of 1024ths of packets, and of bytes", async () => {
  // Blocks end within the last interval.
  const last = { begin: 335, end: 345, rows: [{ source: "203.0.113.5", port: 443, syn: 7 }] };
  const shots = [...floods(5), last];
  const { summary } = await runSituation({ name: "parts", description: "", files: { "a.jsonl": version8(shots) } });
  const { packets, bytes, syn } = summary.impact;
  assert.ok(packets.expected > packets.lower && packets.expected < packets.upper, "a block ends within an interval");
  for (const value of [packets.expected * 1024, syn.expected * 1024, bytes.expected]) {
    assert.ok(Number.isInteger(value));
  }
});

Deno.test("a report on some ports counts the sources of those alone", async () => {
  const rows = [
    { source: "192.0.2.1", port: 80, syn: 1, handshake_ack: 1, data: 1 },
    { source: "192.0.2.2", port: 443, syn: 1, handshake_ack: 1, data: 1 },
  ];
  const files = { "a.jsonl": version8([{ begin: 0, end: 10, rows }]) };
  const { summary } = await runSituation({ name: "ports", description: "", files, ports: [80] });
  assert.equal(summary.traffic.sources, 1);
});

Deno.test("two lines of version 4 of the same time are one if they have the same rows, and contradict each other if as many", async () => {
  const line = (syn: number, more = 0) => {
    const { run_id: _, interval_sec: __, counter_mode: ___, base_ts_unix_sec: ____, ...rest } = JSON.parse(
      version7(0, 60, Array.from({ length: 1 + more }, (_, i) => ({ source: `192.0.2.${i + 1}`, port: 443, syn }))),
    );
    return JSON.stringify({ ...rest, version: 4 }) + "\n";
  };
  const run = (text: string) => runSituation({ name: "v4", description: "", files: { "a.jsonl": text } });
  assert.equal((await run(line(7) + line(7))).summary.evidence.duplicates, 1);
  // However wide the numbers are that the lines hold.
  const { summary } = await run(line(7) + line(70_000));
  assert.ok(summary.policy.findings.some(({ code }) => code === "conflicting_line"));
});
