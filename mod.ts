/**
 * IBSR as a library: read snapshots and captures, try policies on them, render reports. Needs no FFI and runs on any
 * operating system.
 *
 * ```ts
 * import { assessPolicy, defaultPolicy, listInputs, readEvidence, renderHtml } from "./mod.ts";
 *
 * using evidence = await readEvidence(listInputs(["/var/lib/ibsr/snapshots"]));
 * const assessment = await assessPolicy(evidence, defaultPolicy({ synRate: 50 }), { limits: { minDays: 3 } });
 * console.log(assessment.summary.verdict, assessment.summary.verdict_reason);
 * await Deno.writeTextFile("report.html", [...renderHtml(assessment)].join(""));
 * ```
 *
 * Lines one by one, without keeping them:
 *
 * ```ts
 * import { readSnapshots } from "./mod.ts";
 *
 * using file = await Deno.open("snapshot_2026112103.jsonl");
 * for await (const line of readSnapshots(file.readable, "snapshot_2026112103.jsonl")) {
 *   if ("snapshot" in line) console.log(line.snapshot.ts_unix_sec, line.snapshot.buckets.length);
 *   else console.error(line.error.message);
 * }
 * ```
 *
 * @module
 */
export type { PortRange } from "./src/address.ts";
export type { Counters, Entries, NotCounted } from "./src/counters.ts";
export { type ErrorKind, EXIT, IbsrError } from "./src/errors.ts";
export type { Cells, Interval, Sources, StreamName } from "./src/evidence/interval.ts";
export {
  type BadLine,
  type Evidence,
  type EvidenceFile,
  type EvidenceOptions,
  type EvidenceStream,
  readEvidence,
  type WatchedSpan,
} from "./src/evidence/read.ts";
export { type Input, listInputs, makeInput } from "./src/input.ts";
export {
  assessPolicy,
  type AssessPolicyOptions,
  type DefaultPolicy,
  defaultPolicy,
  readPolicy,
} from "./src/library.ts";
export { type Capture, type CaptureSummary, type Frame, readFrames } from "./src/pcap.ts";
export type {
  Bounds,
  Decision,
  Effect,
  Finding,
  LoadOptions,
  Place,
  Policy,
  PolicyFile,
  Rule,
  SimulatedStream,
  Simulation,
  Step,
} from "./src/policy/policy.ts";
export { DEFAULT_THRESHOLDS, type Thresholds } from "./src/policy/thresholds.ts";
export type { FleetSummary } from "./src/report/fleet.ts";
export type { AssessedEvidence } from "./src/report/assess.ts";
export { renderDecisions, renderEvidence } from "./src/report/csv.ts";
export { DEFAULT_LIMITS, type GateLimits } from "./src/report/gate_limits.ts";
export { renderHtml } from "./src/report/html.ts";
export { renderMarkdown } from "./src/report/markdown.ts";
export type {
  Assessment,
  DaySummary,
  Estimate,
  EvidenceSummary,
  FalsePositives,
  FpBound,
  Gate,
  HalfSummary,
  HostSummary,
  Impact,
  Limits,
  NamedDecision,
  RuleSummary,
  SourceClass,
  SourceRow,
  Spoofing,
  StreamSummary,
  Summary,
  Sweep,
  SweepPoint,
  TimelinePoint,
} from "./src/report/summary.ts";
export type { CandidateRule, Range, RuleSet, Verdict } from "./src/rules/ruleset.ts";
export {
  type Bucket,
  decodeSnapshot,
  type Line,
  listPorts,
  readSnapshots,
  type Snapshot,
  type SnapshotMode,
} from "./src/snapshot.ts";
