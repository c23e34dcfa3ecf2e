/**
 * What programs and spreadsheets read: evidence.csv, would_block.jsonl, rules.json, summary.json, manifest.json.
 *
 * Each is a sequence of texts, so that a report on a million sources needs the memory of a few lines. Schemas of the
 * JSON files lie beside this file and beside ruleset.ts. Pure.
 */
import type { RuleSet } from "../rules/ruleset.ts";
import type { Comparison } from "./compare.ts";
import { escapeCsv } from "../escape.ts";
import type { Assessment, NamedDecision, SourceRow, Summary } from "./summary.ts";

/** A file the report rests on. */
export interface InputFile {
  path: string;
  /** Hexadecimal. */
  sha256: string;
  bytes: number;
  lines: number;
}

/** The same where an SQL engine has read it, which doesn't say more. */
export interface EngineFile {
  path: string;
  bytes: number;
  /** Of an object, as S3 has it. */
  etag?: string;
}

/** A file of the report. */
export type OutputFile = Omit<InputFile, "lines">;

/** `manifest.json`: what a report was made of, how, and what it consists of; itself left out. */
export interface Manifest {
  format: "ibsr-manifest";
  version: 1;
  ibsr_version: string;
  generated_at_unix_sec: number;
  options: Summary["options"];
  policy: RuleSet["policy"];
  inputs: (InputFile | EngineFile)[];
  outputs: OutputFile[];
}

/** Columns of evidence.csv, in order. */
const COLUMNS = [
  ...["hostname", "iface", "source", "dst_port", "decision", "class", "rules"],
  ...["packets", "bytes", "syn", "handshake_ack", "rst", "data", "max_syn_rate", "handshake_ratio"],
  ...["first_unix_sec", "last_unix_sec", "intervals", "would_block_packets_lower", "would_block_packets_upper"],
  ...["would_block_bytes_lower", "would_block_bytes_upper", "would_block_syn_lower", "would_block_syn_upper"],
];

/** The number, or null where JSON and CSV have none. */
function known(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

/** evidence.csv: a header and a line a source and port on a stream (RFC 4180: lines end with CR LF). */
export function* renderEvidence(sources: Iterable<SourceRow>): Generator<string> {
  yield EVIDENCE_HEADER;
  const render = createEvidenceLines();
  for (const row of sources) yield render(row);
}

/** The same of sources that come one by one. What they throw is passed on. */
export async function* renderStreamedEvidence(sources: AsyncIterable<SourceRow>): AsyncGenerator<string> {
  yield EVIDENCE_HEADER;
  const render = createEvidenceLines();
  for await (const row of sources) yield render(row);
}

const EVIDENCE_HEADER = COLUMNS.join(",") + "\r\n";

/**
 * Makes the other lines. What a row has in common with the one before is as text already: names, since they have to be
 * escaped, and what would be dropped where that is nothing, as of nearly all.
 */
function createEvidenceLines(): (row: SourceRow) => string {
  let hostname: string | undefined, iface: string | undefined, names = "";
  let dropped: SourceRow["would_block"] | undefined, drops = "";
  return (row) => {
    if (row.hostname !== hostname || row.iface !== iface) {
      ({ hostname, iface } = row);
      names = `${escapeCsv(hostname)},${escapeCsv(iface)}`;
    }
    if (row.would_block !== dropped) {
      dropped = row.would_block;
      const { packets, bytes, syn } = dropped;
      drops = [packets.lower, packets.upper, bytes.lower, bytes.upper, syn.lower, syn.upper].join();
    }
    // In one list: with a function a column it takes half as long again.
    const cells = [
      names,
      escapeCsv(row.source),
      row.dst_port,
      row.decision,
      row.class,
      row.rules.length === 0 ? "" : escapeCsv(row.rules.join(";")),
      row.packets,
      row.bytes,
      row.syn,
      row.handshake_ack,
      row.rst,
      row.data,
      known(row.max_syn_rate),
      known(row.handshake_ratio),
      row.first_unix_sec,
      row.last_unix_sec,
      row.intervals,
      drops,
    ];
    return cells.join() + "\r\n";
  };
}

/** would_block.jsonl: a line a decision, in the order of streams and time. Times are seconds, null is for good. */
export function* renderDecisions(decisions: Iterable<NamedDecision>): Generator<string> {
  const renderEnd = createLineEnds();
  for (const decision of decisions) yield JSON.stringify(toLine(decision)).slice(0, -1) + renderEnd(decision);
}

function toLine(decision: NamedDecision) {
  const { rule, action, certain, hostname, iface, source, prefix, ports = [], window } = decision;
  return {
    rule,
    action,
    certain,
    hostname,
    iface,
    source,
    prefix: prefix ?? null,
    /** Empty: all ports. */
    dst_ports: ports,
    window: { begin_unix_sec: toSeconds(window.beginMs), end_unix_sec: toSeconds(window.endMs) },
    from_unix_sec: earliestAndLatest(decision.fromMs),
    until_unix_sec: earliestAndLatest(decision.untilMs),
    measured: decision.measured, // JSON has null where a number is not finite
  };
}

/** Makes the last keys of lines: the same of nearly all that a rule decides, and a third of what takes time. */
function createLineEnds(): (decision: NamedDecision) => string {
  const ends = new Map<string, Pick<NamedDecision, "thresholds" | "formula"> & { text: string }>();
  return ({ rule, thresholds, formula }) => {
    const known = ends.get(rule);
    if (known && known.thresholds === thresholds && known.formula === formula) return known.text;
    const text = `,${JSON.stringify({ thresholds, formula }).slice(1)}\n`;
    ends.set(rule, { thresholds, formula, text });
    return text;
  };
}

function toSeconds(ms: number): number | null {
  return Number.isFinite(ms) ? ms / 1000 : null;
}

function earliestAndLatest({ earliest, latest }: { earliest: number; latest: number }) {
  return { earliest: toSeconds(earliest), latest: toSeconds(latest) };
}

const RULES_BEGIN = '{\n  "rules": [', RULES_END = "\n  ]\n}";

/** rules.json, rule by rule: one text of all of them is the largest thing in memory. */
export function* renderRules({ rules, ...rest }: RuleSet): Generator<string> {
  const render = (part: RuleSet | Pick<RuleSet, "rules">) => JSON.stringify(part, null, 2).slice(0, -RULES_END.length);
  const [first, ...others] = rules;
  if (!first) return yield JSON.stringify({ ...rest, rules }, null, 2) + "\n";
  yield render({ ...rest, rules: [first] });
  for (const rule of others) yield `,${render({ rules: [rule] }).slice(RULES_BEGIN.length)}`;
  yield `${RULES_END}\n`;
}

/** JSON for a file: two spaces, a newline at the end. Not a number and infinite become null, as JSON has it. */
export function* renderJson(value: Summary | Manifest | Comparison): Generator<string> {
  yield JSON.stringify(value, null, 2) + "\n";
}

/** The manifest of a report. */
export function toManifest({ summary }: Assessment, inputs: Manifest["inputs"], outputs: OutputFile[]): Manifest {
  const { engine, profile, sha256 } = summary.policy;
  return {
    format: "ibsr-manifest",
    version: 1,
    ibsr_version: summary.ibsr_version,
    generated_at_unix_sec: summary.generated_at_unix_sec,
    options: summary.options,
    policy: { engine, ...(profile === undefined ? {} : { profile }), ...(sha256 === undefined ? {} : { sha256 }) },
    inputs,
    outputs,
  };
}
