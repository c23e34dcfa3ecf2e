/**
 * The metrics file, read by the parsers of Prometheus' own Python client.
 */
import assert from "node:assert/strict";
import type { Heartbeat } from "../src/heartbeat.ts";
import { formatMetrics } from "../src/metrics.ts";
import { heartbeat } from "./heartbeats.ts";
import { testWith } from "./needs.ts";

const HOSTILE = 'eth"0\\\n{}';

function example(): Heartbeat {
  const beat = heartbeat({ packets: 123_456_789_012, unattributed: 5, evicted: 7, failing: ["x", "y"] });
  const absent = { ...beat.interfaces[0]!, iface: HOSTILE, xdp_mode: null, last_snapshot: null, covered_sec: 0.5 };
  return { ...beat, interfaces: [...beat.interfaces, absent] };
}

/** Samples as `name{label="value"} value` by the parser in a Python module. */
async function parse(module: string, text: string): Promise<Map<string, number>> {
  const script = `import sys, json
from ${module} import text_string_to_metric_families as parse
print(json.dumps([[s.name, s.labels, s.value, f.name, f.type] for f in parse(sys.stdin.read()) for s in f.samples]))`;
  const child = new Deno.Command("/usr/bin/python3", {
    args: ["-c", script],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  const rows = JSON.parse(new TextDecoder().decode(stdout)) as [string, Record<string, string>, number][];
  return new Map(rows.map(([name, labels, value]) => [`${name} ${JSON.stringify(Object.values(labels))}`, value]));
}

for (const module of ["prometheus_client.openmetrics.parser", "prometheus_client.parser"]) {
  testWith("prometheus", `the metrics file has all samples for ${module}`, async () => {
    const samples = await parse(module, formatMetrics(example()));
    assert.deepEqual(
      [...samples],
      [
        ['ibsr_build_info ["0.1.0"]', 1],
        ["ibsr_up []", 1],
        ["ibsr_heartbeat_timestamp_seconds []", 1_000_060],
        ["ibsr_start_timestamp_seconds []", 1_000_000],
        ['ibsr_attached ["eth0","native"]', 1],
        [`ibsr_attached ${JSON.stringify([HOSTILE, "none"])}`, 0],
        ['ibsr_last_snapshot_timestamp_seconds ["eth0"]', 1_000_060],
        ['ibsr_covered_seconds_total ["eth0"]', 60],
        [`ibsr_covered_seconds_total ${JSON.stringify([HOSTILE])}`, 0.5],
        ['ibsr_snapshot_unwritten ["eth0"]', 0],
        [`ibsr_snapshot_unwritten ${JSON.stringify([HOSTILE])}`, 0],
        ["ibsr_snapshots_total []", 6],
        ["ibsr_packets_total []", 123_456_789_012],
        ["ibsr_unattributed_packets_total []", 5],
        ["ibsr_evicted_entries_total []", 7],
        ["ibsr_entries []", 3],
        ["ibsr_failing []", 2],
      ],
    );
  });
}

Deno.test("the metrics file of a collector that stopped says that it is not up, and has no sample without a value", () => {
  const text = formatMetrics(heartbeat({ state: "stopped", interfaces: [] }));
  assert.match(text, /^ibsr_up 0$/m);
  assert.ok(!text.includes("ibsr_attached"));
  assert.ok(text.endsWith("\n# EOF\n"));
  assert.ok(
    text.split("\n").every((line) => /^$|^# (HELP|TYPE) ibsr_\w+ |^# EOF$|^ibsr_\w+(\{.*\})? [\d.]+$/.test(line)),
  );
});
