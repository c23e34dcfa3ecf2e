/**
 * All that was found of the streams, as an assessment: sums, bounds, gates and verdicts, in the words of summary.json.
 * Pure.
 */
import type { PrefixSet } from "../allowlist.ts";
import type { Sources, StreamName } from "../evidence/interval.ts";
import type { Decision, Finding, Policy } from "../policy/policy.ts";
import { formatPrefix } from "../prefix.ts";
import type { AssessedEvidence, AssessOptions } from "./assess.ts";
import { type Bounder, createBounder, LEGITIMATE, type Networks } from "./bound.ts";
import { type Candidates, compareBytes } from "./candidates.ts";
import { blurOf, type Effects, impactOf, noDrop } from "./effects.ts";
import { medianOf } from "./fleet.ts";
import { type GateInput, judge } from "./gates.ts";
import { type Harm, joinHarm } from "./harm.ts";
import { describeLimits } from "./limits.ts";
import { createRowMaker, sortKeys, type StreamRows } from "./rows.ts";
import type { Assessment, FpBound, HostSummary, NamedDecision, RuleSummary, SourceClass, Summary } from "./summary.ts";
import type { Marks } from "./tally.ts";
import type { createTimeline } from "./timeline.ts";
import type { Watch } from "./watch.ts";

/** All that is known of a stream when it has been counted. */
export interface StreamResult {
  name: StreamName;
  watch: Watch;
  /** Rows of the would-be-blocked sources at least, on whichever stream they are. */
  rows: StreamRows;
  /** Sources that were seen. */
  sourceCount: number;
  effects: Effects;
  /** Its own bounds, where there are several streams. */
  bounds: { total: FpBound; halves: [FpBound, FpBound] } | undefined;
  harm: Harm;
  shared: { source: number; reason: string }[];
  /** Would-be-blocked sources that must not be. */
  lockedOut: Set<number>;
  /** Share of SYNs from one-shot sources; null without a SYN. */
  spoofedShare: number | null;
  decisions: Iterable<Decision>;
}

/** All that was found, before it is summed up. */
export interface Everything {
  evidence: AssessedEvidence;
  policy: Policy;
  options: AssessOptions;
  results: StreamResult[];
  /** Sources that were seen, over all streams. */
  sourceCount: number;
  /** Of the would-be-blocked sources at least. */
  marks: Marks;
  effects: Effects;
  bounders: { total: Bounder; halves: [Bounder, Bounder] };
  /** The bounds of a day. */
  boundDay(day: number): FpBound;
  timeline: ReturnType<typeof createTimeline>;
  findings: Finding[];
  ratios: Summary["handshake_ratio"];
  range: { beginMs: number; endMs: number };
  spoofing: Summary["spoofing"];
  sweep: Summary["sweep"];
  candidates: Candidates;
}

/** Sums up. */
export function summarise(all: Everything): Assessment {
  const { evidence, policy, options, results, marks, effects, range } = all, { sources } = evidence;
  const watches = results.map((result) => result.watch);
  const traffic = trafficOf(watches, all.sourceCount), lost = sumOf(watches, (watch) => watch.unattributed);
  const classOf = classifier(results, marks), blur = blurOf(effects.total);
  const total = all.bounders.total.marked();
  const halves = all.bounders.halves.map((bounder) => bounder.marked()) as [FpBound, FpBound];
  const isLegitimate = (source: number) => (marks.total[source]! & LEGITIMATE) !== 0;
  const harm = joinHarm(results.map((result) => result.harm), { isLegitimate, sources });
  const observedSec = watches.length === 0 ? 0 : Math.min(...watches.map((w) => (w.endMs - w.beginMs) / 1000));
  const common = {
    observedSec,
    coverage: watches.length === 0 ? 0 : Math.min(...watches.map((w) => w.summary.coverage)),
    loss: Math.max(0, ...watches.map((w) => w.summary.loss)),
    resolutionSec: policy.resolutionMs / 1000,
    spoofed: traffic.syn > 0 ? all.spoofing.share_of_syn : null,
    given: whatIsGiven(options),
    doubt: policy.doubt,
  };
  const lockedOut = new Set(results.flatMap((result) => [...result.lockedOut]));
  const judgement = judge({
    ...common,
    ...{ blur, falsePositives: total, halves, lockedOut: textsOf(lockedOut, sources) },
    notObservable: policy.rules.filter((rule) => rule.coverage === "not observable" && rule.mode === "enforce").length,
    mixed: countMixed(effects, classOf),
    effect: effectOfAll(effects, traffic.syn, classOf),
  }, options.limits);
  const rules = policy.rules.map((_, i) => summariseRule(i, all, { common, traffic, classOf, lockedOut }));
  const generated = options.generatedAtUnixSec ?? range.endMs / 1000;
  const impact = impactOf(effects.total, traffic, lost);
  const engine = {
    engine: policy.engine,
    ...(policy.profile === undefined ? {} : { profile: policy.profile }),
    ...(options.policySha256 === undefined ? {} : { sha256: options.policySha256 }),
  };
  const naming = { sources, policy, allowlist: options.allowlist };
  const makers = new Map(results.map(({ rows }) => [rows, createRowMaker(rows, naming)]));
  const times = effects.secondsToBlock, median = times.length > 0 ? medianOf(times) : null;
  const named = results.flatMap((result) => result.shared).map((one) => ({ ...one, text: sources.text(one.source) }));
  const sharedAddresses = new Map(named.map(({ text, reason }) => [text, { source: text, reason }]));

  const summary: Summary = {
    format: "ibsr-summary",
    version: 1,
    ibsr_version: options.ibsrVersion,
    generated_at_unix_sec: generated,
    policy: { ...engine, rules: [...policy.rules], findings: all.findings },
    options: options.options,
    evidence: {
      start_unix_sec: range.beginMs / 1000,
      end_unix_sec: range.endMs / 1000,
      observed_sec: (range.endMs - range.beginMs) / 1000,
      covered_sec: watches.reduce((sum, w) => sum + w.coveredMs, 0) / 1000 / Math.max(1, watches.length),
      coverage: common.coverage,
      streams: watches.map((watch) => watch.summary),
      files: evidence.files.length,
      lines: evidence.lines,
      bad_lines: [...evidence.badLines],
      bad_line_count: evidence.badLineCount,
      duplicates: evidence.duplicates,
      versions: [...evidence.versions],
    },
    traffic,
    impact,
    would_block_sources: {
      certain: new Set(effects.hits.flatMap(({ certain }) => [...certain])).size,
      possible: new Set(effects.hits.flatMap(({ possible }) => [...possible])).size,
    },
    rules,
    time_to_block: {
      median_sec: median,
      max_sec: effects.secondsToBlock.length > 0 ? effects.secondsToBlock.reduce((a, b) => Math.max(a, b)) : null,
      let_through: effects.letThrough,
    },
    false_positives: { ...total, ...harm },
    halves: evidence.range
      ? [0, 1].map((h) => ({
        start_unix_sec: (h === 0 ? range.beginMs : (range.beginMs + range.endMs) / 2) / 1000,
        end_unix_sec: (h === 0 ? (range.beginMs + range.endMs) / 2 : range.endMs) / 1000,
        impact: impactOf(effects.halves[h as 0 | 1], all.timeline.halves[h as 0 | 1]),
        false_positives: halves[h as 0 | 1],
      })) as Summary["halves"]
      : null,
    days: all.timeline.days(results.length).map(({ number, counted, ...rest }) => ({
      ...rest,
      impact: impactOf(effects.days.get(number) ?? noDrop(), counted),
      false_positives: all.boundDay(number),
    })),
    sweep: all.sweep,
    spoofing: all.spoofing,
    shared_addresses: [...sharedAddresses.values()].sort((a, b) => a.source < b.source ? -1 : 1).slice(0, 1000),
    limits: describeLimits(watches, policy, all.spoofing, { blur, ports: options.ports }),
    ...{ gates: judgement.gates, verdict: judgement.verdict, verdict_reason: judgement.reason },
    hosts: results.length > 1 ? results.map((result) => summariseHost(result, all)) : [],
    shared_offenders: listShared(results, sources),
    timeline: all.timeline.points(effects.spans, results.length),
    top_sources: listTop(results, sources).map(({ stream, key }) => makers.get(stream)!(key)),
    handshake_ratio: all.ratios,
  };
  return {
    summary,
    rules: {
      format: "ibsr-rules",
      version: 1,
      ibsr_version: options.ibsrVersion,
      generated_at_unix_sec: generated,
      policy: engine,
      evidence: {
        start_unix_sec: range.beginMs / 1000,
        end_unix_sec: range.endMs / 1000,
        streams: results.map(({ name }) => ({ ...name })),
      },
      verdict: judgement.verdict,
      exceptions: listExceptions(options.allowlist),
      rules: all.candidates(classOf),
    },
    sources: {
      *[Symbol.iterator]() {
        for (const [rows, row] of makers) {
          for (const key of sortKeys(rows, sources)) yield row(key);
        }
      },
    },
    decisions: {
      *[Symbol.iterator]() {
        for (const { name, decisions } of results) {
          for (const decision of decisions) yield nameDecision(decision, name, sources, policy);
        }
      },
    },
  };
}

/** Gates that a rule and a stream share with the whole. */
type Common = Pick<GateInput, "observedSec" | "coverage" | "loss" | "resolutionSec" | "spoofed" | "given" | "doubt">;

function summariseRule(
  index: number,
  { policy, effects, bounders, options, evidence }: Everything,
  { common, traffic, classOf, lockedOut }: {
    common: Common;
    traffic: Summary["traffic"];
    classOf: (source: number) => SourceClass;
    lockedOut: ReadonlySet<number>;
  },
): RuleSummary {
  const rule = policy.rules[index]!, drop = effects.byRule[index]!, hits = effects.hits[index]!;
  const falsePositives = bounders.total.of(hits.possible), blur = blurOf(drop);
  const halves = bounders.halves.map((bounder, h) => bounder.of(hits.halves[h as 0 | 1])) as [FpBound, FpBound];
  const judgement = judge({
    ...common,
    ...{ blur, falsePositives, halves },
    notObservable: rule.coverage === "not observable" && rule.mode === "enforce" ? 1 : 0,
    mixed: countClass(hits.possible, "mixed", classOf),
    effect: {
      syn: traffic.syn,
      certainSynShare: traffic.syn > 0 ? drop.syn.lower / traffic.syn : 0,
      possibleSynShare: traffic.syn > 0 ? drop.syn.upper / traffic.syn : 0,
      certainAbusive: countClass(hits.certain, "likely abusive", classOf),
      possibleAbusive: countClass(hits.possible, "likely abusive", classOf),
    },
    lockedOut: textsOf([...hits.possible].filter((source) => lockedOut.has(source)), evidence.sources),
  }, options.limits);
  return {
    id: rule.id,
    title: rule.title,
    coverage: rule.coverage,
    ...(rule.reason === undefined ? {} : { reason: rule.reason }),
    mode: rule.mode,
    decisions: effects.decisions[index]!,
    sources: { certain: hits.certain.size, possible: hits.possible.size },
    blur,
    not_evaluated: effects.notEvaluated,
    impact: impactOf(drop, traffic),
    false_positives: falsePositives,
    gates: judgement.gates,
    verdict: judgement.verdict,
  };
}

function summariseHost(result: StreamResult, { marks, options, policy, evidence, bounders }: Everything): HostSummary {
  const { effects, watch } = result, traffic = trafficOf([watch], result.sourceCount);
  const { total: falsePositives, halves } = result.bounds ?? markedBounds(bounders);
  const classOf = classifier([result], marks);
  const judgement = judge({
    observedSec: (watch.endMs - watch.beginMs) / 1000,
    coverage: watch.summary.coverage,
    loss: watch.summary.loss,
    resolutionSec: policy.resolutionMs / 1000,
    blur: blurOf(effects.total),
    notObservable: policy.rules.filter((rule) => rule.coverage === "not observable" && rule.mode === "enforce").length,
    ...{ falsePositives, halves },
    mixed: countMixed(effects, classOf),
    effect: effectOfAll(effects, traffic.syn, classOf),
    spoofed: result.spoofedShare,
    lockedOut: textsOf(result.lockedOut, evidence.sources),
    ...{ given: whatIsGiven(options), doubt: policy.doubt },
  }, options.limits);
  return {
    ...result.name,
    traffic,
    impact: impactOf(effects.total, traffic, watch.unattributed),
    false_positives: falsePositives,
    gates: judgement.gates,
    verdict: judgement.verdict,
    verdict_reason: judgement.reason,
  };
}

/** Which addresses that must not be blocked the operator gave. */
function whatIsGiven({ selfAddresses, allowlist }: AssessOptions): GateInput["given"] {
  return { selfAddresses: selfAddresses.prefixes.length > 0, allowlist: allowlist.prefixes.length > 0 };
}

/** The bounds of those that are marked as hit. */
export function markedBounds(bounders: Everything["bounders"]): { total: FpBound; halves: [FpBound, FpBound] } {
  const [first, second] = bounders.halves;
  return { total: bounders.total.marked(), halves: [first.marked(), second.marked()] };
}

/** Counts what a stream's or all marks are bounded by. */
export function boundersOf(marks: Marks, networks: Networks): Everything["bounders"] {
  const [first, second] = marks.halves;
  return {
    total: createBounder(marks.total, networks),
    halves: [createBounder(first, networks), createBounder(second, networks)],
  };
}

function textsOf(numbers: Iterable<number>, sources: Sources): string[] {
  return [...numbers].map((source) => sources.text(source)).sort();
}

/** A source's class over all streams: legitimate anywhere is legitimate. Asked for would-be-blocked sources only. */
function classifier(results: readonly StreamResult[], marks: Marks): (source: number) => SourceClass {
  return (source) => {
    const classes = results.flatMap(({ harm }) => harm.classes.get(source) ?? []);
    if (classes.includes("mixed")) return "mixed";
    if ((marks.total[source]! & LEGITIMATE) !== 0) return "likely legitimate";
    return classes.includes("likely abusive") ? "likely abusive" : "unknown";
  };
}

function countMixed(effects: Effects, classOf: (source: number) => SourceClass): number {
  const hit = new Set(effects.hits.flatMap(({ possible }) => [...possible]));
  return countClass(hit, "mixed", classOf);
}

function countClass(sources: Iterable<number>, cls: SourceClass, classOf: (source: number) => SourceClass): number {
  let count = 0;
  for (const source of sources) if (classOf(source) === cls) count++;
  return count;
}

function effectOfAll(effects: Effects, syn: number, classOf: (source: number) => SourceClass): GateInput["effect"] {
  const certain = new Set(effects.hits.flatMap((hits) => [...hits.certain]));
  const possible = new Set(effects.hits.flatMap((hits) => [...hits.possible]));
  return {
    syn,
    certainSynShare: syn > 0 ? effects.total.syn.lower / syn : 0,
    possibleSynShare: syn > 0 ? effects.total.syn.upper / syn : 0,
    certainAbusive: countClass(certain, "likely abusive", classOf),
    possibleAbusive: countClass(possible, "likely abusive", classOf),
  };
}

function sumOf(watches: readonly Watch[], of: (watch: Watch) => { packets: number; bytes: number; syn: number }) {
  const sum = { packets: 0, bytes: 0, syn: 0 };
  for (const watch of watches) {
    const one = of(watch);
    sum.packets += one.packets;
    sum.bytes += one.bytes;
    sum.syn += one.syn;
  }
  return sum;
}

function trafficOf(watches: readonly Watch[], sources: number): Summary["traffic"] {
  return { ...sumOf(watches, (watch) => watch.total), sources };
}

/** Would-be-blocked sources that several hosts have seen. */
function listShared(results: readonly StreamResult[], sources: Sources): Summary["shared_offenders"] {
  if (results.length < 2) return [];
  const offenders = new Map<number, { hosts: Set<string>; blocking: Set<string> }>();
  for (const { harm } of results) {
    for (const source of harm.classes.keys()) {
      if (!offenders.has(source)) offenders.set(source, { hosts: new Set(), blocking: new Set() });
    }
  }
  for (const { name, rows, harm } of results) {
    for (const source of rows.source) {
      const one = offenders.get(source);
      if (!one) continue;
      one.hosts.add(name.hostname);
      if (harm.classes.has(source)) one.blocking.add(name.hostname);
    }
  }
  return [...offenders].filter(([, { hosts }]) => hosts.size > 1)
    .map(([source, { hosts, blocking }]) => ({
      source: sources.text(source),
      hosts: hosts.size,
      would_block_hosts: blocking.size,
    }))
    .sort((a, b) => b.hosts - a.hosts || b.would_block_hosts - a.would_block_hosts || (a.source < b.source ? -1 : 1))
    .slice(0, 1000);
}

/** The keys of which most would be dropped. */
function listTop(results: readonly StreamResult[], sources: Sources): { stream: StreamRows; key: number }[] {
  const all = results.flatMap(({ rows }) =>
    [...rows.affected].map(([key, { union }]) => ({ stream: rows, key, upper: union.packets.upper }))
  );
  const bytesOf = ({ stream, key }: typeof all[number]) => sources.bytes(stream.source[key]!);
  // Of the same on several streams the first stays the first.
  const order = (a: typeof all[number], b: typeof all[number]) =>
    compareBytes(bytesOf(a), bytesOf(b)) || a.stream.port[a.key]! - b.stream.port[b.key]!;
  return all.sort((a, b) => b.upper - a.upper || order(a, b)).slice(0, 100);
}

function listExceptions(allowlist: PrefixSet): string[] {
  return allowlist.prefixes.map(formatPrefix);
}

function nameDecision(decision: Decision, name: StreamName, sources: Sources, policy: Policy): NamedDecision {
  return { ...decision, ...name, source: sources.text(decision.source), rule: policy.rules[decision.rule]!.id };
}
