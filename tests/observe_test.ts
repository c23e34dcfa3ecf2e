import assert from "node:assert/strict";
import { createPrefixSet } from "../src/allowlist.ts";
import { nativePolicy } from "../src/policy/native.ts";
import { parsePrefix } from "../src/prefix.ts";
import { assess, type AssessedEvidence } from "../src/report/assess.ts";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { startObserverThread } from "../src/report/observe_apart.ts";
import { createRandom } from "./packets.ts";
import { makeInterval, makeSources, type Row } from "./streams.ts";

/** Clients and floods on three streams over two days, with gaps; intervals of one to a thousand rows. */
function makeEvidence(seed: number): AssessedEvidence {
  const random = createRandom(seed).share, sources = makeSources(), whole = (n: number) => Math.floor(random() * n);
  const streams = ["a", "b", "c"].map((hostname) => {
    let endMs = 1_700_000_000_000;
    const intervals = Array.from({ length: 60 }, (_, k) => {
      const beginMs = endMs + (random() < 0.05 ? 86_400_000 / 3 : 0), count = k % 7 === 0 ? 1000 : whole(60) + 1;
      endMs = beginMs + 10_000;
      const rows = Array.from({ length: count }, (_, i): Row => {
        const flood = i % 10 === 0, syn = flood ? whole(4000) : whole(4), used = flood ? 0 : syn;
        return { source: `10.0.${i >> 8}.${i & 255}`, port: 80 + i % 2, syn, handshake_ack: used, data: 3 * used };
      });
      return makeInterval(sources, { beginMs, endMs, rows });
    });
    return { name: { hostname, iface: "i" }, spans: intervals, intervals: () => intervals };
  });
  const all = streams.flatMap(({ intervals }) => intervals());
  const range = {
    beginMs: Math.min(...all.map(({ beginMs }) => beginMs)),
    endMs: Math.max(...all.map(({ endMs }) => endMs)),
  };
  const files = { files: [], lines: all.length, badLines: [], badLineCount: 0, duplicates: 0, versions: [8] };
  return { sources, streams, ...files, findings: [], range };
}

const NATIVE = {
  ...{ windowMs: 10_000, blockDurationMs: 60_000, synRate: 100, successRatio: 0.1, volSynRate: 500 },
  ...{ volPacketRate: 1000, volByteRate: 1e6, sweepPorts: 20, aggregateBits: { v4: 32, v6: 128 } },
};

async function assessWith(evidence: AssessedEvidence, observe?: Parameters<typeof assess>[2]["observe"]) {
  const allowlist = createPrefixSet([parsePrefix("10.0.0.0/29")!]);
  const { summary, rules, sources, decisions } = await assess(evidence, nativePolicy({ ...NATIVE, allowlist }), {
    ...{ ibsrVersion: "", options: {}, limits: DEFAULT_LIMITS, allowlist, selfAddresses: createPrefixSet([]) },
    ...{ floodRate: 100, sweep: NATIVE, observe },
  });
  return JSON.stringify({ summary, rules, sources: [...sources], decisions: [...decisions] });
}

Deno.test("an observer's thread finds what one of this thread does, however large intervals are, one after the other", async () => {
  using thread = startObserverThread(Infinity);
  for (const seed of [1, 2]) {
    const evidence = makeEvidence(seed), alone = await assessWith(evidence);
    assert.ok(alone.includes('"likely legitimate"') && alone.includes('"likely abusive"'));
    assert.ok(await assessWith(evidence, thread.observe) === alone, "the report is another");
  }
});

Deno.test("an observer's thread that fails says why, and nobody waits for it", async () => {
  using thread = startObserverThread(Infinity);
  const [first] = makeEvidence(1).streams;
  const observer = await thread.observe({
    ...{ sourceCount: -1, several: false, windowMs: 10_000, middleMs: 0, floodRate: 1 },
    ...{ sweep: undefined, exempt: undefined },
  });
  observer.startStream();
  for (const { beginMs, endMs, cells } of first!.intervals()) {
    const nothing = { sources: new Uint32Array(0), spans: new Float64Array(0) };
    observer.add({ beginMs, endMs, cells, totalSyn: 0, unattributedSyn: 0 }, nothing);
  }
  await assert.rejects(
    async () => await observer.finish(),
    /the observer's thread failed: .*Invalid typed array length/,
  );
});
