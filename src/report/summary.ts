/**
 * The answer of a report: all of its numbers, as `summary.json` holds them.
 *
 * Every other artefact is rendered from this and from the lists beside it (`Assessment`); no renderer computes. Times
 * are seconds since 1970, shares are fractions from 0 to 1, and null stands where a number can't be known. Pure types.
 */
import type { Decision, Finding, Rule } from "../policy/policy.ts";
import type { Range, RuleSet, Verdict } from "../rules/ruleset.ts";
import type { NotCounted } from "../counters.ts";
import type { SnapshotMode } from "../snapshot.ts";

/** The whole of a report, before it is written. */
export interface Assessment {
  summary: Summary;
  rules: RuleSet;
  /**
   * Every source and port that was judged, for evidence.csv and the table; sorted by host, interface, source, port.
   * Made as they are asked for, each time anew: a hundred thousand of them need not be there at once.
   */
  sources: Iterable<SourceRow>;
  /** In the order of streams and time, for would_block.jsonl. */
  decisions: Iterable<NamedDecision>;
}

/** A decision with its source and rule by name. */
export interface NamedDecision extends Omit<Decision, "source" | "rule"> {
  hostname: string;
  iface: string;
  source: string;
  rule: string;
}

/** A count with bounds; `expected` lies between them. */
export interface Estimate extends Range {
  expected: number;
}

/** What would be dropped, in the three units, with the share of everything that was counted. */
export interface Impact {
  packets: Estimate;
  bytes: Estimate;
  /** Connection attempts. */
  syn: Estimate;
  share: { packets: Range; bytes: Range; syn: Range };
}

/** A source's class by evidence outside of what triggered (docs: who looks legitimate). */
export type SourceClass = "likely legitimate" | "mixed" | "unknown" | "likely abusive";

/** `summary.json`. */
export interface Summary {
  format: "ibsr-summary";
  version: 1;
  ibsr_version: string;
  generated_at_unix_sec: number;
  policy: { engine: string; profile?: string; sha256?: string; rules: Rule[]; findings: Finding[] };
  options: Record<string, string | number | boolean | string[]>;
  evidence: EvidenceSummary;
  traffic: { packets: number; bytes: number; syn: number; sources: number };
  /** What the policy would have done, in all and by rule. */
  impact: Impact;
  /** Sources that some rule certainly would have blocked, and that one may have; the second includes the first. */
  would_block_sources: { certain: number; possible: number };
  rules: RuleSummary[];
  time_to_block: {
    /** Seconds from the first interval of an episode to its trigger. */
    median_sec: number | null;
    max_sec: number | null;
    /** What came before the triggers. */
    let_through: { packets: number; bytes: number; syn: number };
  };
  false_positives: FalsePositives;
  halves: [HalfSummary, HalfSummary] | null;
  days: DaySummary[];
  sweep: Sweep | null;
  spoofing: Spoofing;
  /** Sources whose behaviour looks shared (NAT, proxy): mixed ones, blocked or not. */
  shared_addresses: { source: string; reason: string }[];
  limits: Limits;
  gates: Gate[];
  verdict: Verdict;
  /** One plain sentence that says why. */
  verdict_reason: string;
  /** Per stream, where there are several: the same answer for each alone. */
  hosts: HostSummary[];
  /** Would-be-blocked sources seen on more than one host, most hosts first; at most 1,000. */
  shared_offenders: { source: string; hosts: number; would_block_hosts: number }[];
  timeline: TimelinePoint[];
  /** Most would-be-blocked first, at most 100; all of them are in evidence.csv. */
  top_sources: SourceRow[];
  /** Sources by handshake ratio: ten bins of 0.1, the last takes ≥ 0.9. Sources without a SYN are apart. */
  handshake_ratio: { bins: { all: number; would_block: number }[]; without_syn: number };
}

export interface EvidenceSummary {
  start_unix_sec: number;
  end_unix_sec: number;
  observed_sec: number;
  /** In the mean of the streams. */
  covered_sec: number;
  /** Of the stream that was watched least: its covered time by the time from its first interval to its last. */
  coverage: number;
  streams: StreamSummary[];
  files: number;
  lines: number;
  bad_lines: { path: string; line: number; reason: string }[];
  /** All of them; `bad_lines` lists the first 100. */
  bad_line_count: number;
  /** Lines left out because another has the same run and sequence number. */
  duplicates: number;
  versions: number[];
}

export interface StreamSummary {
  hostname: string;
  iface: string;
  modes: SnapshotMode[];
  runs: number;
  intervals: number;
  interval_sec: { min: number; median: number; max: number };
  start_unix_sec: number;
  end_unix_sec: number;
  coverage: number;
  /** The longest first; at most 100. */
  gaps: { from_unix_sec: number; to_unix_sec: number; restart: boolean }[];
  gap_count: number;
  loss: number;
  ports: string;
}

export interface RuleSummary {
  id: string;
  title: string;
  coverage: Rule["coverage"];
  reason?: string;
  mode: Rule["mode"];
  /** `possible`: those that are not certain. */
  decisions: { certain: number; possible: number };
  sources: { certain: number; possible: number };
  /** Possible less certain effect, as a share of the possible one: how much the snapshots' interval blurs. */
  blur: number;
  not_evaluated: number;
  impact: Impact;
  false_positives: FpBound;
  gates: Gate[];
  verdict: Verdict;
}

/** Of n likely-legitimate sources, x would have been blocked at least once. */
export interface FpBound {
  legitimate: number;
  hit: number;
  point: number | null;
  /** 95 % Clopper–Pearson upper limit, the larger of that by address and that by network; null: unknown. */
  upper: number | null;
  by_network: { legitimate: number; hit: number; upper: number | null };
}

export interface FalsePositives extends FpBound {
  /** Harm to likely-legitimate and mixed sources. */
  harm: {
    sources: number;
    connections: Range;
    bytes: Range;
    packets: Range;
    blocked_minutes: Range;
    share_of_legitimate_syn: Range;
  };
  by_class: { class: SourceClass; sources: number; syn: Range; packets: Range }[];
  /** Would-be-blocked sources that are likely legitimate or mixed, each with what speaks for it; at most 1,000. */
  sources: { hostname: string; source: string; class: SourceClass; why: string; rule: string }[];
  source_count: number;
}

export interface HalfSummary {
  start_unix_sec: number;
  end_unix_sec: number;
  impact: Impact;
  false_positives: FpBound;
}

export interface DaySummary extends HalfSummary {
  /** `2026-11-21`, UTC. */
  day: string;
  coverage: number;
}

export interface Sweep {
  points: SweepPoint[];
  default: SweepPoint;
  /** The largest effect whose bound is at most the limit in both halves; null: none. */
  recommended: SweepPoint | null;
  fp_limit: number;
}

export interface SweepPoint {
  window_sec: number;
  syn_rate: number;
  success_ratio: number;
  /** Share of the SYNs of likely-abusive and unknown sources that certainly would be blocked. */
  blocked_abusive_syn_share: number;
  sources: number;
  legitimate_hit: number;
  upper: number | null;
}

export interface Spoofing {
  /** Sources with at most 3 SYN, in one interval, never completed. */
  one_shot_sources: number;
  one_shot_syn: number;
  share_of_syn: number;
  /** The same within episodes of floods, and the table entries a block per source would burn. */
  episodes: { from_unix_sec: number; to_unix_sec: number; syn: number; one_shot_share: number; entries: number }[];
  likely_spoofed: boolean;
}

export interface Limits {
  not_counted: NotCounted | null;
  unattributed: { packets: number; bytes: number; syn: number };
  loss: number;
  evicted: number;
  gaps_sec: number;
  restarts: number;
  generic_mode: boolean;
  /** Sentences for people: what could not be seen, and what that means. */
  statements: string[];
}

export interface Gate {
  id: string;
  title: string;
  value: number | string | null;
  limit: number | string;
  /** What value and limit are, where they are numbers: a share from 0 to 1, seconds, or a count. */
  unit: "share" | "sec" | "count";
  /** Option that moves the limit. */
  option?: string;
  outcome: "pass" | "fail" | "unknown";
  reason: string;
}

export interface HostSummary {
  hostname: string;
  iface: string;
  traffic: Summary["traffic"];
  impact: Impact;
  false_positives: FpBound;
  gates: Gate[];
  verdict: Verdict;
  verdict_reason: string;
}

export interface TimelinePoint {
  from_unix_sec: number;
  to_unix_sec: number;
  /** Fraction of the span that was watched. */
  coverage: number;
  packets: number;
  syn: number;
  would_block_packets: Range;
  would_block_syn: Range;
}

/** A source and port on a stream, over all time. */
export interface SourceRow {
  hostname: string;
  iface: string;
  source: string;
  /** 0: all ports together. */
  dst_port: number;
  class: SourceClass | null;
  /** Rules that would have acted on it. */
  rules: string[];
  decision: "would block" | "may block" | "pass" | "allowlisted";
  packets: number;
  bytes: number;
  syn: number;
  handshake_ack: number;
  rst: number;
  data: number;
  /** Highest SYN rate of any interval, per second. */
  max_syn_rate: number;
  /** handshake_ack / syn; null without a SYN. */
  handshake_ratio: number | null;
  first_unix_sec: number;
  last_unix_sec: number;
  intervals: number;
  would_block: { packets: Range; bytes: Range; syn: Range };
}
