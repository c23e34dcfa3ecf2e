/**
 * Candidate rules as `rules.json` holds them: what a report proposes, and what `ibsr rules` turns into the formats
 * that operators enforce. Keys are the file's. Pure types.
 */
import type { PortRange } from "../address.ts";

/** The file `rules.json`. */
export interface RuleSet {
  /** Says what file this is. */
  format: "ibsr-rules";
  /** Of the format. */
  version: 1;
  /** What made it. */
  ibsr_version: string;
  /** From SOURCE_DATE_EPOCH where set, else the end of the evidence: never the clock of the machine that reports. */
  generated_at_unix_sec: number;
  /** The policy that would have blocked. */
  policy: { engine: string; profile?: string; sha256?: string };
  /** What it rests on. */
  evidence: { start_unix_sec: number; end_unix_sec: number; streams: { hostname: string; iface: string }[] };
  /** Of the report: rules of one that isn't READY are not for enforcing. */
  verdict: Verdict;
  /** What must never be blocked: the allowlist, as addresses and CIDRs. */
  exceptions: string[];
  /** Sorted by source. */
  rules: CandidateRule[];
}

/** The three answers of a report. */
export type Verdict = "READY" | "NOT READY" | "INSUFFICIENT EVIDENCE";

/** One block that the policy would have made, ready for review. */
export interface CandidateRule {
  /** Unique in the file: letters, digits, "-" and "_". */
  id: string;
  /** Address or CIDR, canonical. */
  source: string;
  /** The only one that is counted. */
  protocol: "tcp";
  /** Empty: all ports. */
  dst_ports: PortRange[];
  /** What to do with it. */
  action: "drop";
  /** Null: for good. */
  duration_sec: number | null;
  /** Rule of the policy that triggered. */
  policy_rule: string;
  /** What the source looks like. */
  class: "likely legitimate" | "mixed" | "unknown" | "likely abusive";
  /** Why, in a sentence of plain text. */
  reason: string;
  /** Times the rule triggered for this source. */
  triggers: number;
  /** When it triggered first, at the latest. */
  first_trigger_unix_sec: number;
  /** When it triggered last, at the latest. */
  last_trigger_unix_sec: number;
  /** What the block would have dropped. */
  would_block: { packets: Range; bytes: Range; syn: Range };
}

/** Lower and upper bound. */
export interface Range {
  /** At least. */
  lower: number;
  /** At most. */
  upper: number;
}
