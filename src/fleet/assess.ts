/**
 * `ibsr report` on an engine: the same assessment, what grows with rows of snapshots being computed in SQL.
 *
 * Lines are decoded into tables once; what is asked of rows, of sources and of their intervals is asked of those. Here
 * come one record a snapshot, sums, and the would-be-blocked sources; from them the same code as for files makes bounds,
 * gates, verdicts and texts.
 */
import { COUNTER_NAMES, type Counters, type NotCounted, SKIP_NAMES } from "../counters.ts";
import type { Cells, Interval } from "../evidence/interval.ts";
import { describeReading } from "../evidence/read.ts";
import type { Span } from "../evidence/timeline.ts";
import { type NativeOptions, nativePolicy } from "../policy/native.ts";
import type { Finding } from "../policy/policy.ts";
import { type AssessOptions, listLockedOut } from "../report/assess.ts";
import { draftCandidates } from "../report/candidates.ts";
import { summariseHarm } from "../report/harm.ts";
import { describeRow } from "../report/rows.ts";
import { listEpisodes, type Moment, MOST_SYN, summariseSpoofing } from "../report/spoofing.ts";
import { type StreamResult, summarise } from "../report/summarise.ts";
import type { Assessment, SourceRow, Summary } from "../report/summary.ts";
import { makeGrid, summariseSweep } from "../report/sweep.ts";
import { isLong, PERIOD_MS } from "../report/tally.ts";
import { createTimeline, regularLength } from "../report/timeline.ts";
import { createWatch, type Watch } from "../report/watch.ts";
import { formatAddress } from "../address.ts";
import { gather, type Gathered } from "./gather.ts";
import { FELL, makeCells } from "./cells.ts";
import type { QueryEngine } from "./engine.ts";
import { tallySources } from "./legitimacy.ts";
import { addressOf, type LineSource, readLines } from "./lines.ts";
import { sumOverHosts } from "./hosts.ts";
import { simulateNative } from "./native.ts";
import { type FleetTimeline, makeSpans } from "./spans.ts";
import { type SweepCounts, sweepRates } from "./sweep.ts";
import { type KeyRow, openWorkspace, type Workspace, type WorkspaceOptions } from "./tables.ts";

/** How a fleet is assessed. */
export interface FleetOptions extends WorkspaceOptions {
  native: NativeOptions;
  assess: Omit<AssessOptions, "progress">;
  /** Whether the last line of a file has no newline yet. */
  isTorn(path: string): Promise<boolean>;
  /** Is told what is being done. */
  step?: ((what: string) => void) | undefined;
}

/** An assessment whose table of sources is still in the engine. */
export interface FleetAssessment extends AsyncDisposable {
  /** Its `sources` are empty. */
  assessment: Assessment;
  /** The rows of evidence.csv, in its order. */
  rows(): AsyncGenerator<SourceRow>;
}

/** Assesses the default policy. Disposing of the result removes the tables. */
export async function assessFleet(
  engine: QueryEngine,
  source: LineSource,
  options: FleetOptions,
): Promise<FleetAssessment> {
  const workspace = await openWorkspace(engine, options);
  try {
    return await assessIn(workspace, source, options);
  } catch (error) {
    await workspace[Symbol.asyncDispose]();
    throw error;
  }
}

async function assessIn(workspace: Workspace, source: LineSource, options: FleetOptions): Promise<FleetAssessment> {
  const { native, assess, step = () => {} } = options, { ports } = assess;
  const grid = assess.sweep ? makeGrid(assess.sweep) : undefined;
  step("reading");
  const decoded = await readLines(workspace, source, options);
  const sweepWindowMs = grid?.longestMs ?? native.windowMs;
  const timeline = await makeSpans(workspace, source, { windowMs: native.windowMs, sweepWindowMs });
  const spans = timeline.streams.flatMap((one) => [one.spans[0]!, one.spans.at(-1)!]);
  const range = spans.length === 0 ? undefined : {
    beginMs: spans.reduce((least, span) => Math.min(least, span.beginMs), Infinity),
    endMs: spans.reduce((most, span) => Math.max(most, span.endMs), -Infinity),
  };
  const middleMs = range ? (range.beginMs + range.endMs) / 2 : 0;
  step("counting");
  await makeCells(workspace, {
    ...{ ports, files: source.files.length, lines: timeline.lines },
    mayRestart: timeline.versions.some((version) => version < 5),
  });
  step("simulating");
  const notEvaluated = await simulateNative(workspace, native, timeline);
  step("judging sources");
  await tallySources(workspace, { windowMs: native.windowMs, blockDurationMs: native.blockDurationMs, middleMs });
  step("trying other thresholds");
  const sweep = grid && await sweepRates(workspace, grid, {
    ...{ middleMs, frame: timeline.reach.sweep, allowlist: assess.allowlist.prefixes },
  });
  step("adding up");
  const regularMs = timeline.streams.map(({ spans }) => regularLength(spans));
  const counted = createTimeline(range ?? { beginMs: 0, endMs: 0 }, regularMs);
  const gathered = await gather(workspace, {
    ...{ native, streams: timeline.streams.map(({ name }) => name), middleMs, spanMs: counted.spanMs, notEvaluated },
    sweepLegitimate: sweep?.legitimate ?? [],
  });
  const seen = await watchStreams(workspace, { timeline, counted, options });
  const evidence = {
    sources: gathered.sources,
    streams: [],
    files: source.files,
    lines: timeline.lines,
    ...{ badLines: decoded.badLines, badLineCount: decoded.badLineCount, duplicates: timeline.duplicates },
    versions: timeline.versions,
    range,
    findings: [
      ...describeReading({ networkRows: timeline.networkRows, unfinished: decoded.unfinished }),
      ...timeline.findings,
    ],
  };
  const findings: Finding[] = [...evidence.findings, ...gathered.policy.findings];
  for (const finding of seen.findings) {
    if (!findings.some((f) => f.code === finding.code && f.message === finding.message)) findings.push(finding);
  }
  const results = timeline.streams.map(({ name }, i): StreamResult =>
    makeResult({
      ...{ name, i, gathered, watch: seen.watches[i]!, spoofedShare: seen.spoofedShares[i]!, options },
      longKnown: gathered.longKnown(i, (periods) => isLong(periods, seen.watchedPeriods[i]!)),
    })
  );
  if (results[0]) results[0].shared = gathered.shared;
  const { marks, bounders } = gathered;
  const assessment = summarise({
    ...{ evidence, policy: gathered.policy, options: assess, results, marks, effects: gathered.effects, bounders },
    ...{ timeline: counted, findings, ratios: gathered.ratios, range: range ?? { beginMs: 0, endMs: 0 } },
    ...{ sourceCount: gathered.sourceCount, boundDay: gathered.boundDay, spoofing: seen.spoofing },
    sweep: assess.sweep && sweep ? sumUpSweep(sweep, gathered, assess) : null,
    candidates: draftCandidates(gathered.policy, gathered.streams, gathered.sources),
  });
  const fleet = await sumOverHosts(workspace, assessment.summary);
  const summary: Summary = { ...assessment.summary, ...fleet ? { fleet } : {} };
  return {
    assessment: { ...assessment, summary, sources: [] },
    rows: () => listRows(workspace, { gathered, results, options }),
    [Symbol.asyncDispose]: () => workspace[Symbol.asyncDispose](),
  };
}

function makeResult({ name, i, gathered, watch, spoofedShare, longKnown, options }: {
  name: StreamResult["name"];
  i: number;
  gathered: Gathered;
  watch: Watch;
  spoofedShare: number | null;
  longKnown: Set<number>;
  options: FleetOptions;
}): StreamResult {
  const { effects, rows, affected, judgements, legitimateSyn, bounds, sourceCount, decisions } = gathered.streams[i]!;
  const { policy, sources } = gathered;
  return {
    ...{ name, watch, rows, sourceCount, effects, bounds, decisions, spoofedShare, shared: [] },
    harm: summariseHarm({ name, judgements, affected, hits: effects.hits, policy, sources, legitimateSyn }),
    lockedOut: listLockedOut(effects, { ...options.assess, sources, longKnown }),
  };
}

function sumUpSweep(sweep: SweepCounts, { sources, marks, bounders }: Gathered, assess: FleetOptions["assess"]) {
  const levels = makeGrid(assess.sweep!).rates.length;
  return summariseSweep(assess.sweep!, {
    bySource: sweep.legitimate.map(({ source, highest }) => [sources.intern(addressOf(source)), highest] as const),
    sourcesAt: (config, level) => sweep.sources[config * levels + level] ?? 0,
    droppedAt: (config, level) => sweep.dropped[config * levels + level]!,
    abusiveSyn: sweep.abusiveSyn,
  }, { marks, bounders, fpLimit: assess.limits.fpLimit });
}

// ------------------------------------------------------------------------------------------------------ by interval

/** What is counted of an interval, beside its sources. */
interface Sums {
  stream: number;
  seq: number;
  totals: string[];
  unattributed: string[];
  skips: string[];
  evicted: string;
  judged: string[];
  networks: string[];
  used: string;
  fell: string;
  wrapped: string;
  restarted: number;
  one_shot_syn: string;
  one_shots: string;
}

const NO_CELLS: Cells = {
  count: 0,
  source: new Uint32Array(0),
  port: new Uint16Array(0),
  ...{ packets: new Float64Array(0), bytes: new Float64Array(0), syn: new Float64Array(0), ack: new Float64Array(0) },
  ...{ handshakeAck: new Float64Array(0), rst: new Float64Array(0), synAck: new Float64Array(0) },
  ...{ fin: new Float64Array(0), data: new Float64Array(0) },
};

/** A pass over all intervals without their cells: what was watched, when, and where floods were. */
async function watchStreams(
  { tables, stream, rows }: Workspace,
  { timeline, counted, options }: {
    timeline: FleetTimeline;
    counted: ReturnType<typeof createTimeline>;
    options: FleetOptions;
  },
) {
  const { assess, native } = options, policy = nativePolicy(native), sources = { count: 0 } as never;
  const list = (of: (name: string) => string) => `[${COUNTER_NAMES.map(of).join(", ")}]`;
  const sums = stream<Sums>(
    `SELECT s.stream AS stream, s.seq AS seq, l.totals AS totals, l.unattributed AS unattributed, l.skips AS skips,
       l.evicted AS evicted, c.judged AS judged, c.networks AS networks, c.used AS used, c.evicted AS fell,
       c.wrapped AS wrapped, c.restarted AS restarted, o.syn AS one_shot_syn, o.entries AS one_shots
     FROM ${tables.spans} AS s
     INNER JOIN (SELECT file, number, totals, unattributed, skips, evicted FROM ${tables.lines} WHERE clean) AS l
       ON s.file = l.file AND s.number = l.number
     LEFT JOIN (
       SELECT stream, seq, ${list((name) => `sumIf(${name}, cells.judged)`)} AS judged,
         ${list((name) => `sumIf(${name}, port >= 65536)`)} AS networks,
         sumIf(least(handshake_ack, data, syn), cells.judged) AS used, countIf(fell = ${FELL.evicted}) AS evicted,
         countIf(fell = ${FELL.wrapped}) AS wrapped, max(fell = ${FELL.restarted}) AS restarted
       FROM ${tables.cells} AS cells GROUP BY stream, seq
     ) AS c ON s.stream = c.stream AND s.seq = c.seq
     LEFT JOIN (
       SELECT stream, first_seq AS seq, sum(a.syn) AS syn, count() AS entries FROM ${tables.sources} AS a
       WHERE ${IS_ONE_SHOT} GROUP BY stream, seq
     ) AS o ON s.stream = o.stream AND s.seq = o.seq
     ORDER BY s.stream, s.seq
     SETTINGS join_algorithm = 'full_sorting_merge'`,
  );
  const watches: Watch[] = [], findings: Finding[] = [], spoofedShares: (number | null)[] = [];
  const watchedPeriods: number[] = [], episodes: Summary["spoofing"]["episodes"] = [];
  let allSyn = 0, oneShotSyn = 0;
  let at: ReturnType<typeof startStream> | undefined;
  const startStream = (i: number) => {
    const { name, spans } = timeline.streams[i]!;
    const moments: Moment[] = [], oneShots: number[] = [], entries: number[] = [];
    return {
      ...{ i, spans, watch: createWatch(name), simulation: policy.simulate({ name, sources }) },
      ...{ moments, oneShots, entries, periods: 0, lastPeriod: -1 },
    };
  };
  const finishStream = () => {
    if (!at) return;
    watches.push(at.watch.finish());
    findings.push(...at.simulation.finish().findings);
    watchedPeriods.push(at.periods);
    const { moments, oneShots, entries } = at;
    for (const episode of listEpisodes(moments, { oneShots, entries, floodRate: assess.floodRate })) {
      episodes.push(episode);
    }
    const syn = moments.reduce((sum, moment) => sum + moment.syn, 0), once = oneShots.reduce((a, b) => a + b, 0);
    spoofedShares.push(syn > 0 ? once / syn : null);
    [allSyn, oneShotSyn] = [allSyn + syn, oneShotSyn + once];
  };
  const ports = new Map<readonly number[], readonly number[]>();
  for await (const sum of sums) {
    if (at?.i !== sum.stream) {
      finishStream();
      at = startStream(sum.stream);
    }
    const interval = describeInterval(at.spans[sum.seq - 1]!, sum, { only: assess.ports, ports });
    at.watch.add(interval);
    counted.add(interval);
    at.simulation.fold(interval);
    const { beginMs, endMs, total, unattributed } = interval, period = Math.floor((endMs - 1) / PERIOD_MS);
    const syn = Math.max(unattributed.syn + Number(sum.judged[0] ?? 0), total.syn);
    at.moments.push({ beginMs, endMs, syn, used: Number(sum.used) });
    at.oneShots.push(Number(sum.one_shot_syn));
    at.entries.push(Number(sum.one_shots));
    if (period !== at.lastPeriod) at.periods++;
    at.lastPeriod = period;
  }
  finishStream();
  const [once] = await rows<{ sources: string }>(
    `SELECT count() AS sources FROM (
       SELECT source FROM ${tables.sources} WHERE syn > 0 GROUP BY source HAVING countIf(NOT ${IS_ONE_SHOT}) = 0)`,
  );
  const spoofing = summariseSpoofing(episodes, { oneShotSources: Number(once!.sources), oneShotSyn, allSyn });
  return { watches, findings, spoofedShares, watchedPeriods, spoofing };
}

/** A source that has at most a few SYNs, in one interval, and no connection in use. */
const IS_ONE_SHOT = `(syn > 0 AND intervals = 1 AND syn <= ${MOST_SYN} AND (handshake_ack = 0 OR data = 0))`;

function describeInterval(
  { beginMs, endMs, runId, first, line }: Span,
  sum: Sums,
  { only, ports }: { only: readonly number[] | undefined; ports: Map<readonly number[], readonly number[]> },
): Interval {
  const exact = line.version >= 8 && !line.cumulative;
  const judged = countersOf(sum.judged), networks = countersOf(sum.networks);
  const unattributed = exact ? added(countersOf(sum.unattributed), networks) : networks;
  let kept = ports.get(line.ports);
  if (!kept) ports.set(line.ports, kept = only ? line.ports.filter((port) => only.includes(port)) : line.ports);
  return {
    ...{ beginMs, endMs, runId, first: first || sum.restarted === 1, mode: line.mode, ports: kept, cells: NO_CELLS },
    total: only ? added(judged, unattributed) : exact ? countersOf(sum.totals) : added(judged, networks),
    unattributed,
    evicted: (exact ? Number(sum.evicted) : 0) + Number(sum.fell),
    wrapped: Number(sum.wrapped),
    notCounted: exact
      ? Object.fromEntries(SKIP_NAMES.map((name, k) => [name, Number(sum.skips[k])])) as unknown as NotCounted
      : undefined,
  };
}

function countersOf(numbers: readonly string[]): Counters {
  return Object.fromEntries(COUNTER_NAMES.map((name, k) => [name, Number(numbers[k] ?? 0)])) as unknown as Counters;
}

function added(a: Counters, b: Counters): Counters {
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, a[name] + b[name]])) as unknown as Counters;
}

// ------------------------------------------------------------------------------------------------------- evidence.csv

/** Sources and ports of all streams, sorted. */
async function* listRows(
  { tables, stream }: Workspace,
  { gathered, results, options }: { gathered: Gathered; results: readonly StreamResult[]; options: FleetOptions },
): AsyncGenerator<SourceRow> {
  const { allowlist } = options.assess, { policy } = gathered, nobody = policy.rules.map(() => NOT_HIT);
  const keys = stream<KeyRow & { class: number }>(
    `SELECT k.stream AS stream, hex(k.source) AS source, k.port AS port, s.class AS class, packets, bytes, k.syn AS syn,
       k.handshake_ack AS handshake_ack, rst, k.data AS data, max_syn_rate, first_ms, last_ms, k.intervals AS intervals
     FROM ${tables.keys} AS k INNER JOIN ${tables.sources} AS s ON k.stream = s.stream AND k.source = s.source
     ORDER BY k.stream, k.source, k.port
     SETTINGS join_algorithm = 'full_sorting_merge'`,
  );
  for await (const key of keys) {
    const address = addressOf(key.source), number = gathered.numberOf(key.source);
    const { name, effects } = results[key.stream]!;
    yield describeRow({
      ...{ name, source: formatAddress(address), port: key.port, class: key.class, intervals: key.intervals, policy },
      ...{ packets: Number(key.packets), bytes: Number(key.bytes), syn: Number(key.syn), rst: Number(key.rst) },
      ...{ handshakeAck: Number(key.handshake_ack), data: Number(key.data), maxSynRate: key.max_syn_rate },
      ...{ firstMs: Number(key.first_ms), lastMs: Number(key.last_ms) },
      allowed: allowlist.prefixes.length > 0 && allowlist.contains(address),
      affected: number === undefined ? undefined : gathered.affectedOf(key.stream, key.source, key.port),
      hits: number === undefined ? nobody : effects.hits.map(({ certain, possible }) => ({
        ...{ certain: certain.has(number), possible: possible.has(number) },
      })),
    });
  }
}

const NOT_HIT = { certain: false, possible: false };
