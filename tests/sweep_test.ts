import assert from "node:assert/strict";
import { createPrefixSet } from "../src/allowlist.ts";
import type { Interval } from "../src/evidence/interval.ts";
import { type NativeOptions, nativePolicy } from "../src/policy/native.ts";
import { assess } from "../src/report/assess.ts";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { createRandom } from "./packets.ts";
import { makeInterval, makeSources, type Row } from "./streams.ts";

const NATIVE: NativeOptions = {
  ...{
    windowMs: 10_000,
    blockDurationMs: 60_000,
    synRate: 100,
    successRatio: 0.1,
    volSynRate: 1e9,
    volPacketRate: 1e9,
  },
  ...{ volByteRate: 1e12, sweepPorts: 65_535, aggregateBits: { v4: 32, v6: 128 }, allowlist: createPrefixSet([]) },
};

/** The report of a policy on one stream. */
async function report(native: NativeOptions, intervals: readonly Interval[], sources: ReturnType<typeof makeSources>) {
  const ends = intervals.map((interval) => interval.endMs);
  const evidence = {
    sources,
    streams: [{ name: { hostname: "h", iface: "i" }, spans: intervals, intervals: () => intervals }],
    ...{ files: [], lines: 0, badLines: [], badLineCount: 0, duplicates: 0, versions: [8], findings: [] },
    range: { beginMs: intervals[0]!.beginMs, endMs: Math.max(...ends) },
  };
  const { windowMs, synRate, successRatio, blockDurationMs } = native, none = createPrefixSet([]);
  const { summary } = await assess(evidence, nativePolicy(native), {
    ...{ ibsrVersion: "", options: {}, limits: DEFAULT_LIMITS, allowlist: none, selfAddresses: none, floodRate: 100 },
    sweep: { windowMs, synRate, successRatio, blockDurationMs },
  });
  return summary;
}

/** Sources that flood at all rates of the grid, now and then, with more or less use beside it. */
function randomStream(random: () => number, stepMs: number) {
  const sources = makeSources(), count = Math.floor(600_000 / stepMs);
  const phases = Array.from({ length: 12 }, () => ({
    ...{ from: Math.floor(random() * count), length: 1 + Math.floor(random() * count / 3) },
    ...{ rate: 10 ** (0.5 + 3 * random()), used: random() < 0.5 ? 0 : random() * 0.3 },
  }));
  const intervals = Array.from({ length: count }, (_, k) => {
    const rows = phases.flatMap(({ from, length, rate, used }, i): Row[] => {
      if (k < from || k >= from + length || random() < 0.1) return [];
      const syn = Math.round(rate * stepMs / 1000 * (0.5 + random())), completed = Math.round(used * syn);
      return [{ source: `192.0.2.${i + 1}`, port: 443, syn, handshake_ack: completed, data: 2 * completed }];
    });
    return makeInterval(sources, { beginMs: k * stepMs, endMs: (k + 1) * stepMs, rows });
  });
  return { sources, intervals };
}

Deno.test("each point of the sweep is what a policy with its thresholds says, never more effect nor less harm", async () => {
  const random = createRandom(5).share;
  let equal = 0, all = 0;
  for (let round = 0; round < 12; round++) {
    const stepMs = [2000, 5000, 10_000, 60_000][round % 4]!, { sources, intervals } = randomStream(random, stepMs);
    const { sweep } = await report(NATIVE, intervals, sources);
    assert.ok(sweep);
    for (const point of sweep.points.filter(() => random() < 0.15)) {
      const native = {
        ...NATIVE,
        windowMs: 1000 * point.window_sec,
        synRate: point.syn_rate,
        successRatio: point.success_ratio,
      };
      const other = await report(native, intervals, sources), where = `${stepMs} ${JSON.stringify(point)}`;
      // None of these sources looks legitimate: all of their SYNs count.
      const share = other.impact.syn.lower / other.traffic.syn;
      assert.ok(point.blocked_abusive_syn_share <= share + 1e-9, `${where}: effect ${share}`);
      assert.ok(point.sources >= other.would_block_sources.possible, `${where}: ${other.would_block_sources.possible}`);
      all++;
      if (Math.abs(point.blocked_abusive_syn_share - share) < 1e-9) equal++;
    }
    const { would_block_sources } = await report(NATIVE, intervals, sources);
    assert.deepEqual(sweep.default.sources, would_block_sources.possible);
  }
  assert.ok(all > 200 && equal > 0.8 * all, `${equal} of ${all}`);
});

Deno.test("a higher rate of the sweep never blocks more, nor does a lower ratio", async () => {
  const random = createRandom(9).share;
  for (let round = 0; round < 8; round++) {
    const { sources, intervals } = randomStream(random, [2000, 10_000, 30_000, 60_000][round % 4]!);
    const { points } = (await report(NATIVE, intervals, sources)).sweep!;
    for (const a of points) {
      for (const b of points) {
        if (a.window_sec !== b.window_sec || a.syn_rate > b.syn_rate || a.success_ratio < b.success_ratio) continue;
        assert.ok(a.blocked_abusive_syn_share >= b.blocked_abusive_syn_share - 1e-12);
        assert.ok(a.sources >= b.sources && a.legitimate_hit >= b.legitimate_hit);
      }
    }
  }
});

Deno.test("the sweep doesn't count what lies further back than its longest window", async () => {
  const sources = makeSources();
  // 45 SYNs in as many intervals, then 60 in one: no window holds 100.
  const intervals = Array.from({ length: 46 }, (_, k) => {
    const row = { source: "192.0.2.1", port: 443, syn: k < 45 ? 1 : 60 };
    return makeInterval(sources, { beginMs: k * 10_000, endMs: (k + 1) * 10_000, rows: [row] });
  });
  const { sweep } = await report(NATIVE, intervals, sources);
  assert.deepEqual(sweep!.points.filter((point) => point.sources > 0), []);
});
