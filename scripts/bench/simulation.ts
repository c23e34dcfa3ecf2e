/**
 * What a policy's simulation takes, of each engine.
 *
 * Intervals are made up in memory, a hundred that come again and again: nothing is read. A judgement is what an engine
 * says of a source and port in an interval: what it would have dropped, at least and at most.
 */
import { formatAddress } from "../../src/address.ts";
import { noCounters } from "../../src/counters.ts";
import type { Interval, Sources } from "../../src/evidence/interval.ts";
import { nativePolicy } from "../../src/policy/native.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { assess } from "../../src/report/assess.ts";
import { DEFAULT_LIMITS } from "../../src/report/gate_limits.ts";
import { startObserverThread } from "../../src/report/observe_apart.ts";
import { V8_FLAGS } from "../compile/permissions.ts";
import { NATIVE, POLICIES } from "./policies.ts";
import type { Row, Section } from "./rows.ts";
import { peakMb, runApart } from "./apart.ts";
import { countersOf, START_MS } from "./segments.ts";

const ROUNDS = 3, SOURCES = 1_000, LENGTH_MS = 10_000, DISTINCT = 100;
/** For the rates: those in which V8 compiles, and those that are measured; and the intervals of a week. */
const COMPILING = 250, INTERVALS = 2_000, WEEK = 7 * 8_640, WEEK_GOAL_S = 60;

export const SIMULATION: Section = {
  name: "simulation",
  title: "A simulation",
  about: `Policies of each engine and kind on ${SOURCES.toLocaleString("en-US")} sources every ten seconds (one in ` +
    "twenty floods), in a process of its own. A judgement is what the engine would have dropped of a source and port " +
    `in an interval, at least and at most; the goal is the rate at which a week takes ${WEEK_GOAL_S} s, after some in ` +
    "which V8 compiles. The week is a whole assessment by the default policy: simulation, classes, sweep.",
  async run() {
    const rates: Record<string, number[]> = {}, weeks: Week[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const name of Object.keys(POLICIES)) {
        const rate = await runApart<number>(import.meta.filename!, ["rate", name], [V8_FLAGS]);
        rates[name] = [...rates[name] ?? [], rate];
      }
      if (round < 3) weeks.push(await runApart<Week>(import.meta.filename!, ["week"], [V8_FLAGS]));
    }
    const rows: Row[] = Object.entries(rates).map(([name, ours]) => ({
      ...{ what: name, unit: "judgements/s", ours, goal: { of: "median", atLeast: WEEK * SOURCES / WEEK_GOAL_S } },
      ...(name === "native" ? {} : { comparedTo: { what: "native", theirs: rates.native! } }),
    }));
    const what = `a week, ${WEEK.toLocaleString("en-US")} intervals`;
    return [
      ...rows,
      { what, unit: "s", ours: weeks.map(({ seconds }) => seconds), goal: { of: "median", atMost: WEEK_GOAL_S } },
      { what: `${what}, peak RSS`, unit: "MB", ours: weeks.map((week) => week.peakMb) },
    ];
  },
};

/** What a week took. */
interface Week {
  seconds: number;
  peakMb: number;
}

const sources: Sources = {
  count: SOURCES,
  text: (source) => formatAddress(sources.bytes(source)),
  bytes: (source) => new Uint8Array([10, 0, source >> 8, source & 255]),
};

/** So many intervals of ten seconds. */
function* listIntervals(count: number): Generator<Interval> {
  const distinct = Array.from({ length: DISTINCT }, (_, n) => makeInterval(n));
  for (let n = 0; n < count; n++) {
    const beginMs = START_MS + n * LENGTH_MS;
    yield { ...distinct[n % DISTINCT]!, beginMs, endMs: beginMs + LENGTH_MS, first: n === 0 };
  }
}

function makeInterval(n: number): Interval {
  const all = Array.from({ length: SOURCES }, (_, i) => countersOf(i, n)), total = noCounters();
  for (const counters of all) for (const name in total) total[name as keyof typeof total] += counters[name as "syn"];
  const column = (name: keyof typeof total) => Float64Array.from(all, (counters) => counters[name]);
  return {
    ...{ beginMs: 0, endMs: 0, runId: START_MS, first: false, mode: "native", ports: [80, 443] },
    cells: {
      count: SOURCES,
      source: Uint32Array.from(all, (_, i) => i),
      port: Uint16Array.from(all, (_, i) => i % 2 ? 443 : 80),
      ...{ packets: column("packets"), bytes: column("bytes"), syn: column("syn"), ack: column("ack") },
      ...{ handshakeAck: column("handshake_ack"), rst: column("rst"), synAck: column("syn_ack"), fin: column("fin") },
      data: column("data"),
    },
    ...{ total, unattributed: noCounters(), evicted: 0, wrapped: 0, notCounted: undefined },
  };
}

/** Judgements a second, of so many intervals that follow those in which V8 compiles. */
export function measureRate(policy: Policy, intervals = INTERVALS): number {
  const simulation = policy.simulate({ name: { hostname: "bench", iface: "eth0" }, sources });
  let start = 0, done = 0;
  for (const interval of listIntervals(COMPILING + intervals)) {
    if (done++ === COMPILING) start = performance.now();
    simulation.fold(interval);
  }
  simulation.finish();
  return intervals * SOURCES / (performance.now() - start) * 1000;
}

async function measureWeek(): Promise<Week> {
  const start = performance.now(), range = { beginMs: START_MS, endMs: START_MS + WEEK * LENGTH_MS };
  const { windowMs, synRate, successRatio, blockDurationMs } = NATIVE;
  using thread = startObserverThread(Infinity);
  await assess(
    {
      ...{ sources, range, files: [], lines: WEEK, badLines: [], badLineCount: 0, duplicates: 0, versions: [8] },
      findings: [],
      streams: [{
        name: { hostname: "bench", iface: "eth0" },
        spans: Array.from(
          { length: WEEK },
          (_, i) => ({ beginMs: START_MS + i * LENGTH_MS, endMs: START_MS + (i + 1) * LENGTH_MS }),
        ),
        intervals: () => listIntervals(WEEK),
      }],
    },
    nativePolicy(NATIVE),
    {
      ...{ ibsrVersion: "", options: {}, limits: DEFAULT_LIMITS, allowlist: NATIVE.allowlist },
      ...{ selfAddresses: NATIVE.allowlist, floodRate: 100, observe: thread.observe },
      sweep: { windowMs, synRate, successRatio, blockDurationMs },
    },
  );
  return { seconds: (performance.now() - start) / 1000, peakMb: peakMb() };
}

if (import.meta.main) {
  const [part, name] = Deno.args;
  console.log(JSON.stringify(part === "week" ? await measureWeek() : measureRate(POLICIES[name!]!())));
}
