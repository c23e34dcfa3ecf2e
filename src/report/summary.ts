/**
 * The answer of a report: all of its numbers, as `summary.json` holds them.
 *
 * Every other artefact is rendered from this and from the lists beside it (`Assessment`); no renderer computes. Times
 * are seconds since 1970, shares are fractions from 0 to 1, and null stands where a number can't be known. Pure types.
 */
import type { Decision, Finding, Rule } from "../policy/policy.ts";
import type { Range, RuleSet, Verdict } from "../rules/ruleset.ts";
import type { NotCounted } from "../counters.ts";
import type { FleetSummary } from "./fleet.ts";
import type { SnapshotMode } from "../snapshot.ts";

/** The whole of a report, before it is written. */
export interface Assessment {
  /** All numbers. */
  summary: Summary;
  /** Candidate rules, for review. */
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
  /** Host that counted. */
  hostname: string;
  /** Interface that was counted on. */
  iface: string;
  /** Address. */
  source: string;
  /** Id of the rule. */
  rule: string;
}

/** A count with bounds; `expected` lies between them. */
export interface Estimate extends Range {
  /** By share of time. */
  expected: number;
}

/** What would be dropped, in the three units, with the share of everything that was counted. */
export interface Impact {
  /** TCP packets. */
  packets: Estimate;
  /** Frame lengths without the checksum. */
  bytes: Estimate;
  /** Connection attempts. */
  syn: Estimate;
  /** Of everything that was counted. */
  share: { packets: Range; bytes: Range; syn: Range };
}

/** A source's class by evidence outside of what triggered (docs: who looks legitimate). */
export type SourceClass = "likely legitimate" | "mixed" | "unknown" | "likely abusive";

/** `summary.json`. */
export interface Summary {
  /** Says what file this is. */
  format: "ibsr-summary";
  /** Of the format. */
  version: 1;
  /** What made it. */
  ibsr_version: string;
  /** SOURCE_DATE_EPOCH, else the end of the evidence. */
  generated_at_unix_sec: number;
  /** What was tried. */
  policy: { engine: string; profile?: string; sha256?: string; rules: Rule[]; findings: Finding[] };
  /** What moved the numbers, by name. */
  options: Record<string, string | number | boolean | string[]>;
  /** What they rest on. */
  evidence: EvidenceSummary;
  /** What was counted. */
  traffic: { packets: number; bytes: number; syn: number; sources: number };
  /** What the policy would have done, in all and by rule. */
  impact: Impact;
  /** Sources that some rule certainly would have blocked, and that one may have; the second includes the first. */
  would_block_sources: { certain: number; possible: number };
  /** Each rule alone. */
  rules: RuleSummary[];
  /** How long a source went on before it would have been blocked. */
  time_to_block: {
    /** Seconds from the first interval of an episode to its trigger, at the latest: of half of the episodes, of all. */
    median_sec: number | null;
    max_sec: number | null;
    /** What came before the triggers: the upper bound goes with these times. */
    let_through: { packets: Range; bytes: Range; syn: Range };
  };
  /** Likely-legitimate sources that would be hit. */
  false_positives: FalsePositives;
  /** Each half of the time alone; null without evidence. */
  halves: [HalfSummary, HalfSummary] | null;
  /** Each day alone, UTC, in order. Where nobody watched more than 7 in a row, these are left out. */
  days: DaySummary[];
  /** The same at other thresholds; null for other engines' policies. */
  sweep: Sweep | null;
  /** What blocking by source can't help against. */
  spoofing: Spoofing;
  /** Sources whose behaviour looks shared (NAT, proxy): mixed ones, blocked or not. */
  shared_addresses: { source: string; reason: string }[];
  /** What could not be seen. */
  limits: Limits;
  /** Each with its number and limit. */
  gates: Gate[];
  /** What follows from the gates. */
  verdict: Verdict;
  /** One plain sentence that says why. */
  verdict_reason: string;
  /** Per stream, where there are several: the same answer for each alone. */
  hosts: HostSummary[];
  /** Would-be-blocked sources seen on more than one host, most hosts first; at most 1,000. */
  shared_offenders: { source: string; hosts: number; would_block_hosts: number }[];
  /** Equal spans of the time. */
  timeline: TimelinePoint[];
  /** Most would-be-blocked first, at most 100; all of them are in evidence.csv. */
  top_sources: SourceRow[];
  /** Sources by handshake ratio: ten bins of 0.1, the last takes ≥ 0.9. Sources without a SYN are apart. */
  handshake_ratio: { bins: { all: number; would_block: number }[]; without_syn: number };
  /** Where it was made of several hosts by an engine. */
  fleet?: FleetSummary;
}

/** What the numbers rest on. */
export interface EvidenceSummary {
  /** Begin of the time looked at. */
  start_unix_sec: number;
  /** End of the time looked at. */
  end_unix_sec: number;
  /** From the first interval to the last. */
  observed_sec: number;
  /** In the mean of the streams. */
  covered_sec: number;
  /** Of the stream that was watched least: its covered time by the time from its first interval to its last. */
  coverage: number;
  /** Each interface of each host. */
  streams: StreamSummary[];
  /** How many were read. */
  files: number;
  /** Lines that were read. */
  lines: number;
  /** The first 100 that are no snapshot. */
  bad_lines: { path: string; line: number; reason: string }[];
  /** All of them; `bad_lines` lists the first 100. */
  bad_line_count: number;
  /** Lines left out because another has the same run and sequence number. */
  duplicates: number;
  /** Versions of the snapshots. */
  versions: number[];
}

/** One interface of one host. */
export interface StreamSummary {
  /** Host that counted. */
  hostname: string;
  /** Interface that was counted on. */
  iface: string;
  /** How it was counted. */
  modes: SnapshotMode[];
  /** Runs of collectors. */
  runs: number;
  /** Snapshots. */
  intervals: number;
  /** Their lengths. */
  interval_sec: { min: number; median: number; max: number };
  /** Begin of the time looked at. */
  start_unix_sec: number;
  /** End of the time looked at. */
  end_unix_sec: number;
  /** Share of that time that was watched. */
  coverage: number;
  /** The longest first; at most 100. */
  gaps: { from_unix_sec: number; to_unix_sec: number; restart: boolean }[];
  /** Times that nobody watched. */
  gap_count: number;
  /** Share of packets without a source. */
  loss: number;
  /** Ports that were counted. */
  ports: string;
}

/** What one rule would have done, as if it were alone. */
export interface RuleSummary {
  /** Its name in the policy. */
  id: string;
  /** What it does, in a line. */
  title: string;
  /** How much of it counters can show. */
  coverage: Rule["coverage"];
  /** Why it isn't exact. */
  reason?: string;
  /** Whether the policy lets it act. */
  mode: Rule["mode"];
  /** `possible`: those that are not certain. */
  decisions: { certain: number; possible: number };
  /** That it would have blocked; the possible include the certain. */
  sources: { certain: number; possible: number };
  /** Possible less certain effect, as a share of the possible one: how much the snapshots' interval blurs. */
  blur: number;
  /** Windows that were less than half covered. */
  not_evaluated: number;
  /** What would be dropped. */
  impact: Impact;
  /** Likely-legitimate sources that would be hit. */
  false_positives: FpBound;
  /** Each with its number and limit. */
  gates: Gate[];
  /** What follows from the gates. */
  verdict: Verdict;
}

/** Of n likely-legitimate sources, x would have been blocked at least once. */
export interface FpBound {
  /** n. */
  legitimate: number;
  /** x. */
  hit: number;
  /** x / n; null: unknown. */
  point: number | null;
  /** 95 % Clopper–Pearson upper limit, the larger of that by address and that by network; null: unknown. */
  upper: number | null;
  /** The same by /24 and /48. */
  by_network: { legitimate: number; hit: number; upper: number | null };
}

/** Who of the legitimate would have been hit, and how hard. */
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
  /** Would-be-blocked sources by class. */
  by_class: { class: SourceClass; sources: number; syn: Range; packets: Range }[];
  /** Would-be-blocked sources that are likely legitimate or mixed, each with what speaks for it; at most 1,000. */
  sources: { hostname: string; source: string; class: SourceClass; why: string; rule: string }[];
  /** All of them. */
  source_count: number;
}

/** One half of the time. */
export interface HalfSummary {
  /** Begin of the time looked at. */
  start_unix_sec: number;
  /** End of the time looked at. */
  end_unix_sec: number;
  /** What would be dropped. */
  impact: Impact;
  /** Likely-legitimate sources that would be hit. */
  false_positives: FpBound;
}

/** One day, UTC. */
export interface DaySummary extends HalfSummary {
  /** `2026-11-21`, UTC. */
  day: string;
  /** Share of that time that was watched. */
  coverage: number;
}

/** What the SYN rule would do at other thresholds. */
export interface Sweep {
  /** All settings. */
  points: SweepPoint[];
  /** The setting that the report is of. */
  default: SweepPoint;
  /** The largest effect whose bound is at most the limit in both halves; null: none. */
  recommended: SweepPoint | null;
  /** The limit. */
  fp_limit: number;
}

/** One setting of the SYN rule. */
export interface SweepPoint {
  /** Window. */
  window_sec: number;
  /** SYN/s. */
  syn_rate: number;
  /** At most this share of SYNs came to be used. */
  success_ratio: number;
  /** Share of the SYNs of likely-abusive and unknown sources that certainly would be blocked. */
  blocked_abusive_syn_share: number;
  /** That possibly would be blocked. */
  sources: number;
  /** Likely-legitimate sources among them. */
  legitimate_hit: number;
  /** Upper limit at 95 % of the share of likely-legitimate sources hit; null: unknown. */
  upper: number | null;
}

/** Sources that are seen once, and floods of them. */
export interface Spoofing {
  /** Sources with at most 3 SYN, in one interval, never completed. */
  one_shot_sources: number;
  /** Their SYNs. */
  one_shot_syn: number;
  /** Of all SYNs. */
  share_of_syn: number;
  /** The same within episodes of floods, and the table entries a block per source would burn. */
  episodes: { from_unix_sec: number; to_unix_sec: number; syn: number; one_shot_share: number; entries: number }[];
  /** More than half of all SYNs, or of an episode's. */
  likely_spoofed: boolean;
}

/** What could not be seen. */
export interface Limits {
  /** Frames seen and not counted, by reason; null where no version records it. */
  not_counted: NotCounted | null;
  /** Counted without a source. */
  unattributed: { packets: number; bytes: number; syn: number };
  /** Share of packets without a source. */
  loss: number;
  /** Entries that the maps pushed out. */
  evicted: number;
  /** Time that nobody watched. */
  gaps_sec: number;
  /** Times that a collector started anew. */
  restarts: number;
  /** Whether packets may have been joined before they were counted. */
  generic_mode: boolean;
  /** Sentences for people: what could not be seen, and what that means. */
  statements: string[];
}

/** One condition of the verdict. */
export interface Gate {
  /** Stable word for programs. */
  id: string;
  /** What it is about. */
  title: string;
  /** What was found; null: unknown. */
  value: number | string | null;
  /** What it is compared with. */
  limit: number | string;
  /** What value and limit are, where they are numbers: a share from 0 to 1, seconds, or a count. */
  unit: "share" | "sec" | "count";
  /** Option that moves the limit. */
  option?: string;
  /** Whether it holds. */
  outcome: "pass" | "fail" | "unknown";
  /** Passes as far as was asked, and something was not: the reason says what. */
  in_part?: true;
  /** Why, in words. */
  reason: string;
}

/** One stream alone. */
export interface HostSummary {
  /** Host that counted. */
  hostname: string;
  /** Interface that was counted on. */
  iface: string;
  /** What was counted. */
  traffic: Summary["traffic"];
  /** What would be dropped. */
  impact: Impact;
  /** Likely-legitimate sources that would be hit. */
  false_positives: FpBound;
  /** Each with its number and limit. */
  gates: Gate[];
  /** What follows from the gates. */
  verdict: Verdict;
  /** One plain sentence that says why. */
  verdict_reason: string;
}

/** One span of the timeline. */
export interface TimelinePoint {
  /** Begin of the span. */
  from_unix_sec: number;
  /** End of the span. */
  to_unix_sec: number;
  /** Fraction of the span that was watched. */
  coverage: number;
  /** TCP packets. */
  packets: number;
  /** Packets with SYN set: connection attempts. */
  syn: number;
  /** That would have been dropped. */
  would_block_packets: Range;
  /** That would have been dropped. */
  would_block_syn: Range;
}

/** A source and port on a stream, over all time. */
export interface SourceRow {
  /** Host that counted. */
  hostname: string;
  /** Interface that was counted on. */
  iface: string;
  /** Address. */
  source: string;
  /** 0: all ports together. */
  dst_port: number;
  /** By evidence outside of what triggered; null where it was not judged. */
  class: SourceClass | null;
  /** Rules that would have acted on it. */
  rules: string[];
  /** What the policy would have done with it. */
  decision: "would block" | "may block" | "pass" | "allowlisted";
  /** TCP packets. */
  packets: number;
  /** Frame lengths without the checksum. */
  bytes: number;
  /** Packets with SYN set: connection attempts. */
  syn: number;
  /** Bare ACKs: ACK set, SYN and RST clear, no payload. */
  handshake_ack: number;
  /** Packets with RST set. */
  rst: number;
  /** Packets with payload. */
  data: number;
  /** Highest SYN rate of any interval, per second. */
  max_syn_rate: number;
  /** handshake_ack / syn; null without a SYN. */
  handshake_ratio: number | null;
  /** Begin of the first interval it was seen in. */
  first_unix_sec: number;
  /** End of the last interval it was seen in. */
  last_unix_sec: number;
  /** Intervals it was seen in. */
  intervals: number;
  /** What would have been dropped of it. */
  would_block: { packets: Range; bytes: Range; syn: Range };
}
