/**
 * What a reporter of this kind is known to get wrong, each with the input that shows it: first sights, restarts, rates
 * over the wrong time, bounds that prove themselves, answers that contradict each other.
 */
import assert from "node:assert/strict";
import { nativePolicy } from "../src/policy/native.ts";
import { createPrefixSet } from "../src/allowlist.ts";
import { describeAnswer } from "../src/report/screen.ts";
import { runSituation, situationOf } from "./golden/run.ts";
import { HOUR, shots, type Situation, SITUATIONS, START, version7, version8 } from "./golden/situations.ts";
import type { Row } from "./streams.ts";

const A = "203.0.113.5";

/** A report of one file of snapshots. */
function report(text: string, rest: Partial<Situation> = {}) {
  return runSituation({ name: "", description: "", files: { "a.jsonl": text }, ...rest });
}

/** Cumulative lines of one run, one a minute, from what each minute adds. */
function minutes(rows: readonly (readonly Row[] | undefined)[]): string {
  const sums = new Map<string, Row>();
  return rows.map((added, i) => {
    if (!added) return ""; // a line that was lost, its counts are in the next
    for (const row of added) {
      const sum = sums.get(row.source) ?? { source: row.source, port: row.port, syn: 0, handshake_ack: 0, packets: 0 };
      sum.syn! += row.syn ?? 0;
      sum.handshake_ack! += row.handshake_ack ?? 0;
      sum.packets! += row.packets ?? (row.syn ?? 0) + (row.handshake_ack ?? 0);
      sums.set(row.source, sum);
    }
    return version7(0, 60 * (i + 1), [...sums.values()]);
  }).join("");
}

Deno.test("a source that is seen in one snapshot only is judged by it", async () => {
  const { sources, rules } = await report(minutes([[], [{ source: A, port: 443, syn: 60_000 }]]));
  assert.deepEqual(sources.map((s) => [s.source, s.syn, s.decision]), [[A, 60_000, "would block"]]);
  assert.deepEqual(rules.rules.map((r) => r.policy_rule), ["syn_flood", "volumetric"]);
});

Deno.test("sources that each come once are counted, and said to be likely spoofed", async () => {
  const fresh = (minute: number) =>
    Array.from(
      { length: 2000 },
      (_, i) => ({ source: `198.18.${8 * minute + (i >> 8)}.${i & 255}`, port: 443, syn: 3 }),
    );
  const { summary } = await report(minutes(Array.from({ length: 10 }, (_, i) => fresh(i))));
  assert.deepEqual([summary.traffic.sources, summary.traffic.syn], [20_000, 60_000]);
  assert.equal(summary.spoofing.share_of_syn, 1);
  assert.equal(summary.spoofing.episodes[0]!.entries, 20_000);
  assert.ok(summary.spoofing.likely_spoofed);
});

Deno.test("a long quiet connection never adds up to a flood", async () => {
  const client = { source: "10.0.0.1", port: 443, syn: 60, handshake_ack: 480, packets: 1200 };
  const { summary, sources } = await report(minutes(Array(60).fill([client])));
  assert.deepEqual(sources.map((s) => [s.decision, s.max_syn_rate]), [["pass", 1]]);
  assert.equal(summary.would_block_sources.possible, 0);
});

Deno.test("evidence, rules, decisions and answer never contradict each other", async () => {
  for (const situation of SITUATIONS.filter((s) => s.policy?.aggregateBits === undefined)) {
    const { summary, sources, rules, decisions } = await runSituation(situation);
    const named = (list: readonly { source: string }[]) => [...new Set(list.map((one) => one.source))].sort();
    const blocked = named(sources.filter((row) => row.decision === "would block"));
    assert.deepEqual(named(rules.rules), blocked, situation.name);
    assert.deepEqual(named(decisions.filter((d) => d.certain)), blocked, situation.name);
    const may = named(sources.filter((row) => row.rules.length > 0));
    assert.deepEqual(named(decisions), may, situation.name);
    assert.deepEqual(summary.would_block_sources, { certain: blocked.length, possible: may.length }, situation.name);
    assert.equal(rules.verdict, summary.verdict);
    assert.equal(describeAnswer(summary).split("\n")[0], summary.verdict);
    const sum = sources.reduce((total, row) => total + row.would_block.packets.lower, 0);
    assert.equal(sum, summary.impact.packets.lower, situation.name);
    // Each way to cut the time adds up to the whole; what no source could be named for is in the whole only.
    const upper = summary.impact.syn.upper - summary.limits.unattributed.syn;
    const parts = [
      summary.timeline.map((point) => point.would_block_syn),
      (summary.halves ?? []).map((half) => half.impact.syn),
      summary.days.map((day) => day.impact.syn),
    ];
    for (const part of parts) {
      assert.equal(part.reduce((total, one) => total + one.lower, 0), summary.impact.syn.lower, situation.name);
      assert.equal(part.reduce((total, one) => total + one.upper, 0), upper, situation.name);
    }
    assert.equal(summary.timeline.reduce((total, point) => total + point.syn, 0), summary.traffic.syn, situation.name);
    const most = Math.max(0, ...summary.rules.map((rule) => rule.impact.syn.upper));
    assert.ok(most <= upper && upper <= summary.traffic.syn, situation.name);
  }
});

Deno.test("a slow source with a high sum has no rule, no decision and no effect", async () => {
  const { summary, rules, sources } = await report(minutes(Array(60).fill([{ source: A, port: 443, syn: 900 / 2 }])));
  assert.deepEqual([rules.rules.length, sources[0]!.decision, summary.impact.syn.upper], [0, "pass", 0]);
});

Deno.test("runs are not subtracted from each other, nor hosts", async () => {
  const { summary } = await runSituation(situationOf("restart"));
  assert.equal(summary.traffic.syn, 19_014);
  const two = await report("", {
    files: {
      "a/x.jsonl": version8(shots(0, 120, 60, () => [{ source: A, port: 443, syn: 10 }]), "a"),
      "b/x.jsonl": version8(shots(0, 120, 60, () => [{ source: A, port: 443, syn: 7 }]), "b"),
    },
  });
  assert.deepEqual(two.summary.hosts.map((h) => [h.hostname, h.traffic.syn]), [["a", 20], ["b", 14]]);
});

Deno.test("ports that are not asked for are in no number and no rule", async () => {
  const text = version8(shots(0, 60, 10, () => [{ source: A, port: 8080, syn: 5000 }]));
  const { summary, rules, sources } = await report(text, { ports: [443] });
  assert.deepEqual([summary.traffic.syn, rules.rules.length, sources.length], [0, 0, 0]);
  assert.equal(summary.verdict, "INSUFFICIENT EVIDENCE");
});

Deno.test("a rate is divided by the time that was measured, across missing snapshots too", async () => {
  const row = { source: A, port: 443, syn: 5400 };
  const { sources, decisions } = await report(minutes([[row], [row], undefined, [row, row], [row]]));
  assert.equal(sources[0]!.max_syn_rate, 90);
  assert.deepEqual(decisions.filter((d) => d.certain), []);
});

Deno.test("delta counters are not subtracted again, whatever their version", async () => {
  const delta = (minute: number) =>
    version7(0, 60 * minute, [{ source: A, port: 443, syn: 60_000 }]).replace('"cumulative"', '"delta"');
  const { summary } = await report([1, 2, 3].map(delta).join(""));
  assert.equal(summary.traffic.syn, 180_000);
  assert.equal(summary.impact.syn.lower, 120_000);
});

Deno.test("without a legitimate source, the false-positive bound is unknown and not 0", async () => {
  const floods = Array.from({ length: 10 }, (_, i) => ({ source: `203.0.113.${i + 1}`, port: 443, syn: 5000 }));
  const { summary } = await report(version8(shots(0, 600, 10, () => floods)));
  const { point, upper, legitimate } = summary.false_positives;
  assert.deepEqual([point, upper, legitimate], [null, null, 0]);
  assert.equal(summary.gates.find((g) => g.id === "fp_bound")!.outcome, "unknown");
  const answer = describeAnswer(summary);
  assert.match(answer, /^Would harm {6}unknown: no source looks likely legitimate yet/m);
  assert.match(answer, /used in 3 intervals, in 2 periods of 10 minutes/);
  assert.match(answer, /^10 min were observed, less than the 7 d .*\. And 1 more reason: see what is unknown/m);
});

Deno.test("a rate and a ratio are of the same time, and episodes end where the source is quiet", async () => {
  const busy = { source: A, port: 443, syn: 1500, handshake_ack: 1500, data: 1500 },
    idle = { source: A, port: 443, syn: 5 };
  const mixed = await report(version8(shots(0, 60, 2, (at) => at % 20 === 0 ? [{ ...busy, syn: 900 }] : [idle])));
  assert.deepEqual(mixed.decisions, []);
  const hot = (minute: number) => minute === 1 || minute === 179 ? [{ source: A, port: 443, syn: 60_000 }] : [idle];
  const two = await report(version8(shots(0, 10_860, 60, (at) => hot(at / 60))));
  const floods = two.decisions.filter((d) => d.rule === "syn_flood" && d.certain);
  assert.deepEqual(floods.map((d) => d.fromMs.latest / 1000 - START), [120, 10_800]);
  assert.equal(two.rules.rules.find((r) => r.policy_rule === "syn_flood")!.triggers, 2);
});

Deno.test("allowlisted sources are in no decision, rule or gate", async () => {
  const text = version8(shots(0, 600, 10, () => [{ source: A, port: 443, syn: 5000 }]));
  const { summary, decisions, rules, sources } = await report(text, { allowlist: `${A} # the office\n` });
  assert.deepEqual([decisions, rules.rules, summary.impact.syn.upper], [[], [], 0]);
  assert.deepEqual([sources[0]!.decision, rules.exceptions], ["allowlisted", [A]]);
  assert.equal(summary.gates.find((g) => g.id === "lockout")!.outcome, "pass");
});

Deno.test("lines that can't be read are named, and the others count", async () => {
  const text = version8(shots(0, 60, 10, () => [{ source: A, port: 443, syn: 5 }]));
  const { summary } = await report(`${text}{"version":8,"torn\n`);
  assert.deepEqual(summary.evidence.bad_lines.map(({ path, line }) => [path, line]), [["a.jsonl", 7]]);
  assert.equal(summary.traffic.syn, 30);
  assert.match(describeAnswer(summary), /1 line could not be read; the first: a\.jsonl:7: /);
  const unknown = await report(text.replaceAll('"fin":0,', '"fin":0,"surprise":[1],'));
  assert.equal(unknown.summary.traffic.syn, 30);
});

Deno.test("a copied file changes no number but that of duplicates", async () => {
  const { files } = situationOf("ready"), [text] = Object.values(files);
  const once = await report(text!), twice = await report("", { files: { "a.jsonl": text!, "copy.jsonl": text! } });
  assert.equal(twice.summary.evidence.duplicates, 348);
  assert.deepEqual(twice.summary.impact, once.summary.impact);
  assert.deepEqual(twice.decisions, once.decisions);
});

Deno.test("a rule for a network names the network", async () => {
  const { rules, summary } = await runSituation(situationOf("both-families"));
  assert.deepEqual(rules.rules.map((r) => r.source), ["198.51.100.0/24", "2001:db8:7::/48"]);
  assert.equal(summary.would_block_sources.certain, 40);
});

Deno.test("a counter that passes 2^32 loses nothing", async () => {
  const limit = 2 ** 32, row = (packets: number, bytes: number) => ({ source: A, port: 443, packets, syn: 0, bytes });
  const { summary } = await report(
    version7(0, 60, [row(limit - 1000, 60 * limit)]) + version7(0, 120, [row(59_000, 60 * limit + 60 * 60_000)]),
  );
  assert.equal(summary.traffic.packets, limit - 1000 + 60_000);
});

Deno.test("bare ACKs beside a flood don't hide it", async () => {
  const text = minutes(Array(5).fill([{ source: A, port: 443, syn: 480 * 60, handshake_ack: 50 * 60 }]));
  const { sources } = await report(text);
  assert.deepEqual(sources.map((s) => [s.decision, s.handshake_ratio!.toFixed(3)]), [["would block", "0.104"]]);
});

Deno.test("every would-be-blocked source is counted, however many", async () => {
  const floods = Array.from({ length: 250 }, (_, i) => ({ source: `203.0.${i >> 4}.${i & 15}`, port: 443, syn: 5000 }));
  const { summary, rules } = await report(version8(shots(0, 60, 10, () => floods)));
  assert.deepEqual([summary.would_block_sources.certain, rules.rules.length, summary.top_sources.length], [
    250,
    250,
    100,
  ]);
  assert.match(describeAnswer(summary), /250 sources/);
});

Deno.test("a decision says which time, counters and thresholds made it", async () => {
  const { decisions } = await report(
    version8(shots(0, HOUR, 10, (at) => at === 120 ? [{ source: A, port: 443, syn: 1234 }] : [])),
  );
  const [decision] = decisions;
  assert.deepEqual(decision!.window, { beginMs: (START + 120) * 1000, endMs: (START + 130) * 1000 });
  assert.deepEqual(decision!.measured, {
    ...{ syn: 1234, handshake_ack: 0, data: 0, packets: 1234, bytes: 60 * 1234, seconds: 10, success_ratio: 0 },
  });
  assert.deepEqual(decision!.thresholds, { window_sec: 10, syn_rate: 100, success_ratio: 0.1 });
  assert.equal(decision!.formula, "syn ≥ 100/s × 10 s and min(handshake_ack, data) / syn ≤ 0.1");
});

Deno.test("a report is dated by its evidence, not by the clock", async () => {
  const { summary, rules } = await runSituation(situationOf("generic-mode"));
  assert.equal(summary.generated_at_unix_sec, START + 300);
  assert.equal(rules.generated_at_unix_sec, START + 300);
});

Deno.test("the default policy's rules say what they are and how well counters show them", () => {
  const allowlist = createPrefixSet([]);
  const { rules } = nativePolicy({
    ...{ windowMs: 10_000, blockDurationMs: 300_000, synRate: 100, successRatio: 0.1, volSynRate: 500 },
    ...{ volPacketRate: 1000, volByteRate: 1e6, sweepPorts: 20, aggregateBits: { v4: 32, v6: 128 }, allowlist },
  });
  assert.deepEqual(rules.map((r) => [r.id, r.coverage, r.mode]), [
    ["syn_flood", "bounded", "enforce"],
    ["volumetric", "bounded", "enforce"],
    ["port_sweep", "bounded", "enforce"],
  ]);
});
