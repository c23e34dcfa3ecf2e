/** What a report says of a fleet as a whole. */
import assert from "node:assert/strict";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import { assessFleet } from "../../src/fleet/assess.ts";
import { listDiffering } from "../../src/report/fleet.ts";
import { renderHtml } from "../../src/report/html.ts";
import { renderMarkdown } from "../../src/report/markdown.ts";
import type { HostSummary, StreamSummary } from "../../src/report/summary.ts";
import { shots, START, version8 } from "../golden/situations.ts";
import { CHDB, testWith } from "../needs.ts";
import { createDice, makeAsked } from "./random.ts";
import { linkSource } from "./run.ts";

/** A host with so many sources, watched for an hour. */
function hostOf(hostname: string, sources: number): [HostSummary, StreamSummary] {
  const host = {
    ...{ hostname, iface: "eth0", traffic: { packets: 36_000, bytes: 1, syn: 3600, sources } },
    impact: { share: { syn: { lower: 0.1, upper: 0.1 } } },
    false_positives: { legitimate: 0 },
  };
  const stream = { start_unix_sec: 0, end_unix_sec: 3600, coverage: 1, loss: 0 };
  return [host as unknown as HostSummary, stream as unknown as StreamSummary];
}

Deno.test("listDiffering() names the host that is far from the median, and the measure", () => {
  const all = [100, 110, 105, 98, 102, 400].map((sources, i) => hostOf(`web${i}`, sources));
  const found = listDiffering(all.map(([host]) => host), all.map(([, stream]) => stream));
  assert.deepEqual(found.map(({ hostname, measure, value, median }) => ({ hostname, measure, value, median })), [
    { hostname: "web5", measure: "sources", value: 400, median: 103.5 },
  ]);
});

Deno.test("listDiffering() compares no fewer than five hosts", () => {
  const all = [100, 100, 100, 9000].map((sources, i) => hostOf(`web${i}`, sources));
  assert.deepEqual(listDiffering(all.map(([host]) => host), all.map(([, stream]) => stream)), []);
});

testWith("chdb", "a report by the engine names who is seen, and blocked, on how many hosts", async () => {
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 1e9 });
  const directory = Deno.makeTempDirSync();
  try {
    // One source floods three hosts of four, one is seen by all, one by one.
    for (const host of [0, 1, 2, 3]) {
      const lines = shots(0, 300, 10, (from) => [
        { source: "192.0.2.1", port: 443, syn: 1, handshake_ack: 2, data: 3 },
        ...host < 3 ? [{ source: "203.0.113.5", port: 443, syn: 1500 }] : [],
        ...host === 3 && from === 0 ? [{ source: "2001:db8::7", port: 80, syn: 1 }] : [],
      ]);
      Deno.writeTextFileSync(`${directory}/web${host}.jsonl`, version8(lines, `web${host}`, START));
    }
    const asked = makeAsked(createDice(1)), { allowlist } = asked.native;
    const native = { ...asked.native, windowMs: 10_000, blockDurationMs: 300_000, synRate: 100, successRatio: 0.1 };
    await using report = await assessFleet(engine, linkSource(engine.folder, directory), {
      native: { ...native, volSynRate: 500, volPacketRate: 1000, aggregateBits: { v4: 32, v6: 128 } },
      assess: { ...asked.assess, allowlist, ports: undefined },
      isTorn: () => Promise.resolve(false),
    });
    const { summary } = report.assessment, fleet = summary.fleet!;
    assert.equal(fleet.hosts, 4);
    assert.deepEqual(fleet.sources_by_hosts, [
      { hosts: 1, sources: 3 },
      { hosts: 2, sources: 2 },
      { hosts: 3, sources: 2 },
    ]);
    const [first, second] = fleet.widest_sources;
    assert.deepEqual([first!.source, first!.hosts, first!.would_block_hosts, first!.syn], ["192.0.2.1", 4, 0, 120]);
    assert.deepEqual([second!.source, second!.hosts, second!.would_block_hosts], ["203.0.113.5", 3, 3]);
    const [offender] = fleet.top_offenders;
    assert.deepEqual([offender!.source, offender!.hosts, offender!.would_block_hosts], ["203.0.113.5", 3, 3]);
    const { lower, upper, expected: _ } = summary.impact.packets;
    assert.deepEqual(offender!.would_block.packets, { lower, upper });
    for (const text of [[...renderMarkdown(report.assessment)].join(""), [...renderHtml(report.assessment)].join("")]) {
      assert.match(text, /Over 4 hosts/);
      assert.match(text, /203\.0\.113\.5/);
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
