/**
 * From evidence and a policy to an assessment: one pass over each stream, in the order of time.
 *
 * Of each interval the policy says what it would have done; sums, classes, the sweep and the limits are kept beside it,
 * by source and by key, never by interval. The halves are those of the whole range, so that streams compare. Pure: no
 * clock, no files; what is the same in is the same out.
 */
import type { PrefixSet } from "../allowlist.ts";
import type { Interval, Sources, StreamName } from "../evidence/interval.ts";
import type { Finding, Policy } from "../policy/policy.ts";
import { createBounder, createNetworks, HIT } from "./bound.ts";
import { draftCandidates } from "./candidates.ts";
import { createDecisionLog, createMemoryStore, type DecisionStore } from "./decisions.ts";
import { createStreamEffects, type Effects, noEffects } from "./effects.ts";
import type { GateLimits } from "./gate_limits.ts";
import { sumLegitimateSyn, summariseHarm } from "./harm.ts";
import { createObserver, type Observer, type ObserverOptions, type StreamObservation } from "./observe.ts";
import { keepRows } from "./rows.ts";
import { boundersOf, markedBounds, type StreamResult, summarise } from "./summarise.ts";
import type { Assessment, Summary } from "./summary.ts";
import { judgeSweep, type SweepDefault } from "./sweep.ts";
import { addMarks, createMarks, type Marks, readJudgements } from "./tally.ts";
import { createTimeline, regularLength } from "./timeline.ts";
import { createWatch } from "./watch.ts";

/** What an assessment needs of evidence that was read. */
export interface AssessedEvidence {
  /** The source addresses. */
  sources: Sources;
  /** Host, interface, and the intervals in the order of time. */
  streams: readonly {
    name: StreamName;
    spans: Iterable<{ beginMs: number; endMs: number }>;
    intervals(options?: { reuse?: boolean }): Iterable<Interval>;
  }[];
  /** What was read. */
  files: { readonly length: number };
  /** Lines that were read. */
  lines: number;
  /** The first of those that are no snapshot. */
  badLines: readonly { path: string; line: number; reason: string }[];
  /** All of those. */
  badLineCount: number;
  /** Lines left out because another says the same. */
  duplicates: number;
  /** Versions of the snapshots. */
  versions: readonly number[];
  /** From the first interval to the last; undefined if there is none. */
  range: { beginMs: number; endMs: number } | undefined;
  /** What was left out or assumed. */
  findings: readonly Finding[];
}

/** What is the operator's to say. */
export interface AssessOptions {
  ibsrVersion: string;
  /** SOURCE_DATE_EPOCH; the end of the evidence if not given. */
  generatedAtUnixSec?: number | undefined;
  /** As summary.json shows them. */
  options: Summary["options"];
  policySha256?: string | undefined;
  limits: GateLimits;
  allowlist: PrefixSet;
  /** Own addresses: never to be blocked, and not exempt from being tried. */
  selfAddresses: PrefixSet;
  /** Only these destination ports. */
  ports?: readonly number[] | undefined;
  /** The SYN rule to vary; none for policies of other engines. */
  sweep?: SweepDefault | undefined;
  /** SYN/s of all sources together from which on it is a flood. */
  floodRate: number;
  /** Keeps the decisions as long as the assessment is used; memory does if it is not given. */
  decisions?: DecisionStore | undefined;
  /** Makes what looks at the sources; in this thread if not given. */
  observe?: ((options: ObserverOptions) => Promise<Observer>) | undefined;
  /** Is called with the intervals done so far. */
  progress?: ((intervals: number) => void) | undefined;
}

/** Assesses a policy on evidence. */
export async function assess(
  evidence: AssessedEvidence,
  policy: Policy,
  options: AssessOptions,
): Promise<Assessment> {
  const { sources } = evidence, range = evidence.range ?? { beginMs: 0, endMs: 0 };
  const middleMs = (range.beginMs + range.endMs) / 2, several = evidence.streams.length > 1;
  const marks = createMarks(sources.count), effects = noEffects(policy), networks = createNetworks(sources);
  const timeline = createTimeline(range, evidence.streams.map(({ spans }) => regularLength(spans)));
  const findings: Finding[] = [...evidence.findings, ...policy.findings];
  const observer = await (options.observe ?? createObserver)({
    ...{ sourceCount: sources.count, several, windowMs: policy.windowMs, middleMs, floodRate: options.floodRate },
    ...{ sweep: options.sweep, exempt: listExempt(options.allowlist, sources) },
  });
  let done = 0;

  const store = options.decisions ?? createMemoryStore();
  const simulateStream = async ({ name, intervals }: AssessedEvidence["streams"][number]) => {
    const ownMarks = several ? createMarks(sources.count) : marks, ownEffects = several ? noEffects(policy) : effects;
    const allMarks = several ? [marks, ownMarks] : [marks], allEffects = several ? [effects, ownEffects] : [effects];
    const added = createStreamEffects(policy, {
      ...{ effects: allEffects, marks: allMarks, middleMs, spanMs: timeline.spanMs },
    });
    const simulation = policy.simulate({ name, sources }), watch = createWatch(name);
    const decisions = createDecisionLog(store);
    observer.startStream();
    for (const whole of intervals({ reuse: true })) {
      const interval = options.ports ? onlyPorts(whole, options.ports) : whole;
      watch.add(interval);
      timeline.add(interval);
      const step = simulation.fold(interval), exclusions = added.add(step, interval);
      for (const decision of step.decisions) decisions.add(decision);
      const { beginMs, endMs, cells, total, unattributed } = interval;
      observer.add({ beginMs, endMs, cells, totalSyn: total.syn, unattributedSyn: unattributed.syn }, exclusions);
      options.progress?.(++done);
      const waiting = store.settle();
      if (waiting) await waiting;
    }
    decisions.finish();
    for (const finding of simulation.finish().findings) {
      if (!findings.some((f) => f.code === finding.code && f.message === finding.message)) findings.push(finding);
    }
    return { name, watch: watch.finish(), marks: ownMarks, effects: ownEffects, affected: added.affected, decisions };
  };
  const simulated: Awaited<ReturnType<typeof simulateStream>>[] = [];
  for (const stream of evidence.streams) simulated.push(await simulateStream(stream));
  await store.flush();

  const observing = observer.finish();
  const candidates = draftCandidates(policy, simulated, sources); // while the thread still observes
  const observed = await observing;
  addMarks(marks, observed.marks);
  const ratios = { bins: Array.from({ length: 10 }, () => ({ all: 0, would_block: 0 })), without_syn: 0 };
  const results = simulated.map((stream, i): StreamResult => {
    const { name, affected } = stream, { hits } = stream.effects, found = observed.streams[i]!;
    if (found.marks) addMarks(stream.marks, found.marks);
    countRatios(found, stream.marks, ratios);
    return {
      ...{ name, watch: stream.watch, effects: stream.effects, decisions: stream.decisions },
      rows: keepRows(name, found.keys, affected, hits),
      sourceCount: found.sources.count,
      harm: summariseHarm({
        ...{ name, affected, hits, policy, sources, legitimateSyn: sumLegitimateSyn(found.sources) },
        judgements: readJudgements(found.sources, new Set([...listHit(hits), ...affected.map(({ source }) => source)])),
      }),
      shared: found.shared,
      spoofedShare: found.spoofedShare,
      bounds: several ? markedBounds(boundersOf(stream.marks, networks)) : undefined,
      lockedOut: listLockedOut(stream.effects, { ...options, sources, longKnown: new Set(found.longKnown) }),
    };
  });

  const bounders = boundersOf(marks, networks), { fpLimit } = options.limits, { sweep } = options;
  return summarise({
    ...{ evidence, policy, options, results, marks, effects, bounders, timeline, findings, ratios, range, candidates },
    sourceCount: countSeen(results, sources.count),
    boundDay: (day) => createBounder(marks.days.get(day) ?? new Uint8Array(0), networks).marked(),
    spoofing: observed.spoofing,
    sweep: sweep && observed.sweep ? judgeSweep(sweep, observed.sweep, { marks, bounders, fpLimit }) : null,
  });
}

/** Sources that any stream has seen: of those in the evidence, some may be of other ports, or of lines left out. */
function countSeen(results: readonly StreamResult[], most: number): number {
  const seen = new Uint8Array(most);
  for (const { rows } of results) for (const source of rows.source) seen[source] = 1;
  return seen.reduce((sum, one) => sum + one, 0);
}

/** By source: 1 if it is on the list. */
function listExempt(allowlist: PrefixSet, sources: Sources): Uint8Array | undefined {
  if (allowlist.prefixes.length === 0) return undefined;
  return Uint8Array.from({ length: sources.count }, (_, source) => allowlist.contains(sources.bytes(source)) ? 1 : 0);
}

/** Cells of other ports left out, totals cut down to what is left. */
function onlyPorts(interval: Interval, ports: readonly number[]): Interval {
  const { cells } = interval, kept: number[] = [];
  for (let i = 0; i < cells.count; i++) if (ports.includes(cells.port[i]!)) kept.push(i);
  const pick = <T extends Float64Array | Uint32Array | Uint16Array>(column: T): T =>
    (column.constructor as unknown as { from(values: number[], map: (i: number) => number): T })
      .from(kept, (i) => column[i]!);
  const sum = (column: Float64Array) => kept.reduce((total, i) => total + column[i]!, 0);
  return {
    ...interval,
    ports: interval.ports.filter((port) => ports.includes(port)),
    cells: {
      count: kept.length,
      ...{ source: pick(cells.source), port: pick(cells.port), packets: pick(cells.packets), bytes: pick(cells.bytes) },
      ...{ syn: pick(cells.syn), ack: pick(cells.ack), handshakeAck: pick(cells.handshakeAck), rst: pick(cells.rst) },
      ...{ synAck: pick(cells.synAck), fin: pick(cells.fin), data: pick(cells.data) },
    },
    total: {
      packets: sum(cells.packets) + interval.unattributed.packets,
      bytes: sum(cells.bytes) + interval.unattributed.bytes,
      syn: sum(cells.syn) + interval.unattributed.syn,
      ack: sum(cells.ack) + interval.unattributed.ack,
      handshake_ack: sum(cells.handshakeAck) + interval.unattributed.handshake_ack,
      rst: sum(cells.rst) + interval.unattributed.rst,
      syn_ack: sum(cells.synAck) + interval.unattributed.syn_ack,
      fin: sum(cells.fin) + interval.unattributed.fin,
      data: sum(cells.data) + interval.unattributed.data,
    },
  };
}

function countRatios({ sources }: StreamObservation, marks: Marks, ratios: Summary["handshake_ratio"]): void {
  for (let at = 0; at < sources.count; at++) {
    const syn = sources.syn[at]!, ratio = sources.handshakeAck[at]! / syn;
    if (syn === 0) {
      ratios.without_syn++;
      continue;
    }
    const bin = ratios.bins[Math.min(9, Math.floor(10 * ratio))]!;
    bin.all++;
    if (marks.total[sources.global[at]!]! & HIT) bin.would_block++;
  }
}

/** Sources that some rule may block. */
function listHit(hits: Effects["hits"]): Set<number> {
  return new Set(hits.flatMap(({ possible }) => [...possible]));
}

/** Would-be-blocked sources that are allowlisted, the host's own, or known since long. */
export function listLockedOut(
  effects: Effects,
  { allowlist, selfAddresses, sources, longKnown }: Pick<AssessOptions, "allowlist" | "selfAddresses"> & {
    sources: Sources;
    longKnown: Set<number>;
  },
): Set<number> {
  const hit = listHit(effects.hits);
  return new Set([...hit].filter((source) => {
    const bytes = sources.bytes(source);
    return longKnown.has(source) || allowlist.contains(bytes) || selfAddresses.contains(bytes);
  }));
}
