/**
 * From evidence and a policy to an assessment: one pass over each stream, in the order of time.
 *
 * Of each interval the policy says what it would have done; sums, classes, the sweep and the limits are kept beside it,
 * by source and by key, never by interval. The halves are those of the whole range, so that streams compare. Pure: no
 * clock, no files; what is the same in is the same out.
 */
import type { PrefixSet } from "../allowlist.ts";
import type { Interval, Sources, StreamName } from "../evidence/interval.ts";
import type { Decision, Finding, Policy } from "../policy/policy.ts";
import { createNetworks, HIT } from "./bound.ts";
import { createStreamEffects, type Effects, noEffects } from "./effects.ts";
import type { GateLimits } from "./gate_limits.ts";
import { summariseHarm } from "./harm.ts";
import { keepRows } from "./rows.ts";
import { createSpoofingCount } from "./spoofing.ts";
import { boundersOf, markedBounds, type StreamResult, summarise } from "./summarise.ts";
import type { Assessment, Summary } from "./summary.ts";
import { createSweeper, type SweepDefault } from "./sweep.ts";
import { createMarks, createTally, type Marks } from "./tally.ts";
import { createTimeline } from "./timeline.ts";
import { createWatch } from "./watch.ts";

/** What an assessment needs of evidence that was read. */
export interface AssessedEvidence {
  /** The source addresses. */
  sources: Sources;
  /** Host, interface, and the intervals in the order of time. */
  streams: readonly { name: StreamName; intervals(): Iterable<Interval> }[];
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
  /** Is called with the intervals done so far. */
  progress?: ((intervals: number) => void) | undefined;
}

/** Assesses a policy on evidence. */
export function assess(evidence: AssessedEvidence, policy: Policy, options: AssessOptions): Assessment {
  const { sources } = evidence, range = evidence.range ?? { beginMs: 0, endMs: 0 };
  const middleMs = (range.beginMs + range.endMs) / 2, several = evidence.streams.length > 1;
  const marks = createMarks(sources.count), effects = noEffects(policy), networks = createNetworks(sources);
  const timeline = createTimeline(range);
  const spoofingCount = createSpoofingCount(options.floodRate);
  const isExempt = (source: number) => options.allowlist.contains(sources.bytes(source));
  const sweeper = options.sweep ? createSweeper(options.sweep, { middleMs, isExempt }) : undefined;
  const findings: Finding[] = [...evidence.findings, ...policy.findings];
  const ratios = { bins: Array.from({ length: 10 }, () => ({ all: 0, would_block: 0 })), without_syn: 0 };
  let done = 0;

  const results = evidence.streams.map(({ name, intervals }): StreamResult => {
    const ownMarks = several ? createMarks(sources.count) : marks, ownEffects = several ? noEffects(policy) : effects;
    const allMarks = several ? [marks, ownMarks] : [marks], allEffects = several ? [effects, ownEffects] : [effects];
    const tally = createTally(sources, { windowMs: policy.windowMs, middleMs, marks: allMarks });
    const added = createStreamEffects(policy, tally, {
      ...{ effects: allEffects, marks: allMarks, middleMs, spanMs: timeline.spanMs },
    });
    const simulation = policy.simulate({ name, sources }), watch = createWatch(name);
    const sweep = sweeper?.stream(tally), spoofing = spoofingCount.stream();
    const decisions: Decision[] = [];
    let index = 0;
    for (const whole of intervals()) {
      const interval = options.ports ? onlyPorts(whole, options.ports) : whole;
      watch.add(interval);
      timeline.add(interval);
      spoofing.add(interval);
      const keyOf = tally.add(interval, index++), step = simulation.fold(interval);
      added.add(step, interval, keyOf);
      for (const decision of step.decisions) decisions.push(decision);
      sweep?.add(interval, keyOf);
      tally.settle(interval);
      options.progress?.(++done);
    }
    tally.settle();
    for (const finding of simulation.finish().findings) {
      if (!findings.some((f) => f.code === finding.code && f.message === finding.message)) findings.push(finding);
    }
    sweep?.finish();
    const spoofedShare = spoofing.finish(tally);
    countRatios(tally, ownMarks, ratios);
    const shared: StreamResult["shared"] = [], longKnown = new Set<number>();
    for (let local = 0; local < tally.sourceCount; local++) {
      const reason = tally.sharedReason(local);
      if (reason !== undefined) shared.push({ source: tally.global[local]!, reason });
      if (tally.isLongKnown(local)) longKnown.add(tally.global[local]!);
    }
    const rows = keepRows(name, tally, added.affected, ownEffects.hits);
    const harm = summariseHarm({ name, tally, affected: added.affected, hits: ownEffects.hits, policy, sources });
    return {
      ...{
        name,
        watch: watch.finish(),
        rows,
        effects: ownEffects,
        marks: ownMarks,
        harm,
        shared,
        decisions,
        spoofedShare,
      },
      bounds: several ? markedBounds(boundersOf(ownMarks, networks)) : undefined,
      lockedOut: listLockedOut(ownEffects, { ...options, sources, longKnown }),
    };
  });

  const bounders = boundersOf(marks, networks);
  return summarise({
    ...{ evidence, policy, options, results, marks, effects, networks, bounders, timeline, findings, ratios, range },
    spoofing: spoofingCount.finish(),
    sweep: sweeper?.finish(marks, bounders, options.limits.fpLimit) ?? null,
  });
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

function countRatios(
  tally: ReturnType<typeof createTally>,
  marks: Marks,
  ratios: Summary["handshake_ratio"],
): void {
  for (let local = 0; local < tally.sourceCount; local++) {
    const syn = tally.bySource.syn[local]!, ratio = tally.bySource.handshakeAck[local]! / syn;
    if (syn === 0) {
      ratios.without_syn++;
      continue;
    }
    const bin = ratios.bins[Math.min(9, Math.floor(10 * ratio))]!;
    bin.all++;
    if (marks.total[tally.global[local]!]! & HIT) bin.would_block++;
  }
}

/** Would-be-blocked sources that are allowlisted, the host's own, or known since long. */
function listLockedOut(
  effects: Effects,
  { allowlist, selfAddresses, sources, longKnown }: Pick<AssessOptions, "allowlist" | "selfAddresses"> & {
    sources: Sources;
    longKnown: Set<number>;
  },
): Set<number> {
  const hit = new Set(effects.hits.flatMap(({ possible }) => [...possible]));
  return new Set([...hit].filter((source) => {
    const bytes = sources.bytes(source);
    return longKnown.has(source) || allowlist.contains(bytes) || selfAddresses.contains(bytes);
  }));
}
