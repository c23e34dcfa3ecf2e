/**
 * Policies side by side on the same evidence: what each would have dropped, where they agree, and where not.
 *
 * One more pass over the streams, all policies at once: what two of them would have dropped of the same packets is
 * bounded in every cell of every interval, where sums over all time would say little. Of n packets of a cell, of
 * which one policy drops at least a and at most A, the other b to B, both drop between max(0, a + b - n) and
 * min(A, B); the first alone between max(0, a - B) and min(A, n - b). Where each dropping exactly as much as the other
 * is all that is known of a cell, and both drop all of it or none, the bounds meet. Pure.
 */
import type { Interval, StreamName } from "../evidence/interval.ts";
import type { Effect, Policy, Rule } from "../policy/policy.ts";
import type { Range, Verdict } from "../rules/ruleset.ts";
import type { AssessedEvidence } from "./assess.ts";
import { listDecisive } from "./sentences.ts";
import type { Assessment, Impact, SourceClass, Summary } from "./summary.ts";

/** A policy that is compared, with its own assessment. */
export interface Compared {
  /** As the operator named it. */
  name: string;
  /** Where its report is, below the comparison's folder. */
  directory: string;
  policy: Policy;
  assessment: Assessment;
}

/** `comparison.json`. */
export interface Comparison {
  format: "ibsr-comparison";
  version: 1;
  ibsr_version: string;
  generated_at_unix_sec: number;
  evidence: { start_unix_sec: number; end_unix_sec: number; streams: StreamName[]; coverage: number };
  traffic: Summary["traffic"];
  policies: PolicyColumn[];
  /** Each policy with each later one, in the order they were given: the first pair is the first two. */
  pairs: Pair[];
  timeline: { from_unix_sec: number; to_unix_sec: number; packets: number; would_block_packets: Range[] }[];
}

/** What one policy comes to. */
export interface PolicyColumn {
  name: string;
  directory: string;
  engine: string;
  profile: string | null;
  sha256: string | null;
  verdict: Verdict;
  verdict_reason: string;
  /** What is said about it that changes what its verdict means. */
  warnings: string[];
  impact: Impact;
  sources: { certain: number; possible: number };
  false_positives: { legitimate: number; hit: number; point: number | null; upper: number | null };
  /** To likely-legitimate and mixed sources. */
  harm: { sources: number; connections: Range; bytes: Range; packets: Range };
  rules: { exact: number; bounded: number; not_observable: number };
  /** Of rules that only alert. */
  alerts: { rule: string; certain: number; possible: number }[];
}

/** Two policies, in the order they were given. */
export interface Pair {
  first: string;
  second: string;
  packets: Agreement;
  bytes: Agreement;
  syn: Agreement;
  sources: {
    /** Certainly blocked by both, by one and certainly not by the other. */
    both: number;
    only_first: number;
    only_second: number;
    /** Blocked by one at least, perhaps. */
    undecided: number;
  };
  /** Of the sources that both certainly block: who does so in an earlier interval. */
  earlier: { first: number; second: number; same: number };
  /** Likely-legitimate and mixed sources that only one of them certainly blocks. */
  harmed: { only_first: number; only_second: number };
  /** As a change from the first to the second; most packets first, at most 1,000 each. */
  newly_blocked: ChangedSource[];
  no_longer_blocked: ChangedSource[];
}

/** What both drop, and what one drops and the other not. */
export interface Agreement {
  both: Range;
  only_first: Range;
  only_second: Range;
}

/** A source that one policy certainly blocks and the other certainly doesn't. */
export interface ChangedSource {
  hostname: string;
  iface: string;
  source: string;
  class: SourceClass | null;
  packets: Range;
  syn: Range;
  first_blocked_unix_sec: number;
}

const MOST_LISTED = 1_000;
const UNITS = ["packets", "bytes", "syn"] as const;
type Unit = typeof UNITS[number];

/** What one policy does to one source of one stream. */
interface Share {
  packets: Range;
  syn: Range;
  certain: boolean;
  possible: boolean;
  /** End of the first interval in which it certainly drops, milliseconds since 1970; Infinity: none. */
  firstMs: number;
}

/** Sources of a stream that some policy may block; a share a policy. */
type Touched = Map<number, Share[]>;

/** Compares policies; there are two at least. */
export function compare(evidence: AssessedEvidence, compared: readonly Compared[]): Comparison {
  const [{ assessment: { summary } }] = compared as [Compared];
  const agreements = pairsOf(compared).map(() => noAgreement());
  const streams = evidence.streams.map(({ name, intervals }) => ({
    name,
    touched: foldStream({ name, intervals, sources: evidence.sources, compared }, agreements),
  }));
  const classes = classesOf(compared, streams, evidence);
  return {
    format: "ibsr-comparison",
    version: 1,
    ibsr_version: summary.ibsr_version,
    generated_at_unix_sec: summary.generated_at_unix_sec,
    evidence: {
      start_unix_sec: summary.evidence.start_unix_sec,
      end_unix_sec: summary.evidence.end_unix_sec,
      streams: evidence.streams.map(({ name: { hostname, iface } }) => ({ hostname, iface })),
      coverage: summary.evidence.coverage,
    },
    traffic: summary.traffic,
    policies: compared.map(describePolicy),
    pairs: pairsOf(compared).map(([a, b], i) => ({
      first: compared[a]!.name,
      second: compared[b]!.name,
      ...agreements[i]!,
      ...comparePair([a, b], streams, (host, source) => classes.get(`${host} ${source}`) ?? null, evidence),
    })),
    timeline: summary.timeline.map((point, i) => ({
      from_unix_sec: point.from_unix_sec,
      to_unix_sec: point.to_unix_sec,
      packets: point.packets,
      would_block_packets: compared.map(({ assessment }) => assessment.summary.timeline[i]!.would_block_packets),
    })),
  };
}

function pairsOf(compared: readonly unknown[]): [number, number][] {
  return compared.flatMap((_, a) => compared.slice(a + 1).map((_, i): [number, number] => [a, a + 1 + i]));
}

function noRange(): Range {
  return { lower: 0, upper: 0 };
}

function noAgreement(): Record<Unit, Agreement> {
  const none = (): Agreement => ({ both: noRange(), only_first: noRange(), only_second: noRange() });
  return { packets: none(), bytes: none(), syn: none() };
}

// -------------------------------------------------------------------------------------------------- the pass

interface ComparedStream {
  name: StreamName;
  intervals(): Iterable<Interval>;
  sources: AssessedEvidence["sources"];
  compared: readonly Compared[];
}

/** Runs all policies over a stream; adds to the pairs' agreements. */
function foldStream({ name, intervals, sources, compared }: ComparedStream, agreements: Record<Unit, Agreement>[]) {
  const touched: Touched = new Map(), pairs = pairsOf(compared);
  const simulations = compared.map(({ policy }) => policy.simulate({ name, sources }));
  const shareOf = (source: number, policy: number): Share => {
    let shares = touched.get(source);
    if (!shares) {
      const none = () => ({ packets: noRange(), syn: noRange(), certain: false, possible: false, firstMs: Infinity });
      touched.set(source, shares = compared.map(none));
    }
    return shares[policy]!;
  };
  for (const interval of intervals()) {
    const { cells, endMs } = interval;
    const drops = simulations.map((simulation, i) => {
      const { decisions, effects } = simulation.fold(interval), { rules } = compared[i]!.policy;
      for (const { rule, action, certain, source } of decisions) {
        if (action === "alert" || rules[rule]!.mode !== "enforce") continue;
        const share = shareOf(source, i);
        share.possible = true;
        share.certain ||= certain;
      }
      return joinEffects(effects, rules, cells);
    });
    for (const cell of new Set(drops.flatMap((drop) => [...drop.keys()]))) {
      for (const [i, drop] of drops.entries()) {
        const one = drop.get(cell);
        if (!one || one.packets.upper <= 0) continue;
        const share = shareOf(cells.source[cell]!, i);
        share.possible = true;
        for (const unit of ["packets", "syn"] as const) addRange(share[unit], one[unit]);
        if (one.packets.lower <= 0) continue;
        share.certain = true;
        share.firstMs = Math.min(share.firstMs, endMs);
      }
      for (const [i, [a, b]] of pairs.entries()) {
        for (const unit of UNITS) {
          addAgreement(
            agreements[i]![unit],
            drops[a]!.get(cell)?.[unit],
            drops[b]!.get(cell)?.[unit],
            cells[unit][cell]!,
          );
        }
      }
    }
  }
  return touched;
}

function addRange(to: Range, { lower, upper }: Range): void {
  to.lower += lower;
  to.upper += upper;
}

/** What a policy drops by cell: of its rules together at least the most certain one, at most all of them. */
function joinEffects(
  effects: readonly Effect[],
  rules: readonly Rule[],
  cells: Interval["cells"],
): Map<number, Record<Unit, Range>> {
  const drops = new Map<number, Record<Unit, Range>>();
  for (const effect of effects) {
    if (rules[effect.rule]!.mode !== "enforce") continue;
    let drop = drops.get(effect.cell);
    if (!drop) drops.set(effect.cell, drop = { packets: noRange(), bytes: noRange(), syn: noRange() });
    for (const unit of UNITS) {
      drop[unit].lower = Math.max(drop[unit].lower, effect[unit].lower);
      drop[unit].upper = Math.min(cells[unit][effect.cell]!, drop[unit].upper + effect[unit].upper);
    }
  }
  return drops;
}

const NOTHING: Range = { lower: 0, upper: 0 };

/** Adds what two policies drop together and apart of a cell of `count`. */
export function addAgreement(to: Agreement, first: Range = NOTHING, second: Range = NOTHING, count: number): void {
  to.both.lower += Math.max(0, first.lower + second.lower - count);
  to.both.upper += Math.min(first.upper, second.upper);
  to.only_first.lower += Math.max(0, first.lower - second.upper);
  to.only_first.upper += Math.min(first.upper, count - second.lower);
  to.only_second.lower += Math.max(0, second.lower - first.upper);
  to.only_second.upper += Math.min(second.upper, count - first.lower);
}

// -------------------------------------------------------------------------------------------------- by source

interface StreamTouched {
  name: StreamName;
  touched: Touched;
}

function hostOf({ hostname, iface }: StreamName): string {
  return JSON.stringify([hostname, iface]);
}

/** Classes of touched sources, as the first policy's report that has one says. */
function classesOf(
  compared: readonly Compared[],
  streams: readonly StreamTouched[],
  { sources }: AssessedEvidence,
): Map<string, SourceClass> {
  const wanted = new Set<string>(), classes = new Map<string, SourceClass>();
  for (const { name, touched } of streams) {
    for (const source of touched.keys()) wanted.add(`${hostOf(name)} ${sources.text(source)}`);
  }
  for (const { assessment } of compared) {
    for (const row of assessment.sources) {
      const key = `${hostOf(row)} ${row.source}`;
      if (row.class !== null && wanted.has(key) && !classes.has(key)) classes.set(key, row.class);
    }
  }
  return classes;
}

/** Sources that both policies touch, or one of them. */
function comparePair(
  [a, b]: [number, number],
  streams: readonly StreamTouched[],
  classOf: (host: string, source: string) => SourceClass | null,
  { sources }: AssessedEvidence,
): Pick<Pair, "sources" | "earlier" | "harmed" | "newly_blocked" | "no_longer_blocked"> {
  const counts = { both: 0, only_first: 0, only_second: 0, undecided: 0 };
  const earlier = { first: 0, second: 0, same: 0 }, harmed = { only_first: 0, only_second: 0 };
  const lists = { only_first: [] as ChangedSource[], only_second: [] as ChangedSource[] };
  for (const { name, touched } of streams) {
    const host = hostOf(name);
    for (const [source, shares] of touched) {
      const first = shares[a]!, second = shares[b]!;
      if (!first.possible && !second.possible) continue;
      if (first.certain && second.certain) {
        counts.both++;
        earlier[first.firstMs < second.firstMs ? "first" : first.firstMs > second.firstMs ? "second" : "same"]++;
        continue;
      }
      const side = first.certain && !second.possible
        ? "only_first"
        : second.certain && !first.possible
        ? "only_second"
        : undefined;
      counts[side ?? "undecided"]++;
      if (!side) continue;
      const text = sources.text(source), sourceClass = classOf(host, text);
      const { packets, syn, firstMs } = side === "only_first" ? first : second;
      if (sourceClass === "likely legitimate" || sourceClass === "mixed") harmed[side]++;
      const since = Number.isFinite(firstMs) ? firstMs / 1000 : 0;
      lists[side].push({
        ...{ hostname: name.hostname, iface: name.iface, source: text, class: sourceClass },
        ...{ packets, syn, first_blocked_unix_sec: since },
      });
    }
  }
  const most = (list: ChangedSource[]) =>
    list.sort((x, y) => y.packets.lower - x.packets.lower || (x.source < y.source ? -1 : 1)).slice(0, MOST_LISTED);
  const changes = { newly_blocked: most(lists.only_second), no_longer_blocked: most(lists.only_first) };
  return { sources: counts, earlier, harmed, ...changes };
}

function describePolicy({ name, directory, assessment: { summary } }: Compared): PolicyColumn {
  const { policy, false_positives: fp } = summary, { sources, connections, bytes, packets } = fp.harm;
  const covered = (coverage: Rule["coverage"]) => policy.rules.filter((rule) => rule.coverage === coverage).length;
  const alerting = summary.rules.filter((rule) => rule.mode === "alert" && rule.coverage !== "not observable");
  return {
    ...{ name, directory, engine: policy.engine, profile: policy.profile ?? null, sha256: policy.sha256 ?? null },
    verdict: summary.verdict,
    verdict_reason: summary.verdict_reason,
    warnings: listDecisive(summary),
    impact: summary.impact,
    sources: summary.would_block_sources,
    false_positives: { legitimate: fp.legitimate, hit: fp.hit, point: fp.point, upper: fp.upper },
    harm: { sources, connections, bytes, packets },
    rules: { exact: covered("exact"), bounded: covered("bounded"), not_observable: covered("not observable") },
    alerts: alerting.map(({ id, decisions }) => ({ rule: id, ...decisions })),
  };
}
