/**
 * report.md: the report in short, for a pull request, a ticket or a terminal. The five headings are those of the
 * existing IBSR's report, so that whoever looks for a section finds it. Pure.
 */
import { escapeMarkdown } from "../escape.ts";
import {
  capitalize,
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatPort,
  formatRange,
  formatRate,
  formatRatio,
  formatShare,
  formatSpan,
  formatTime,
} from "../words.ts";
import type { CandidateRule, RuleSet } from "../rules/ruleset.ts";
import {
  blockedHeadline,
  blockSentence,
  className,
  formatGateLimit,
  formatGateValue,
  harmHeadline,
  harmSentence,
  impactSentence,
  keepsDefault,
  lackingDays,
  listDecisive,
  listImpact,
  listNotCounted,
  NEVER_TRIGGERED,
  neverTriggered,
  outcomeOf,
  OUTCOMES,
  seenSentence,
  spoofingSentence,
  unseenHeadline,
  unseenSentence,
} from "./sentences.ts";
import type { FleetSummary } from "./fleet.ts";
import type { Assessment, Gate, Summary, SweepPoint } from "./summary.ts";

/** Characters of a cell. */
const CELL = 240;
/** Rows of a table; the files of the report have all of them. */
const SHOWN = 20;

/**
 * report.md, in pieces: joined they are the report in short.
 *
 * @param assessment Only its summary and its rules are read; the first rules are in the text.
 */
export function* renderMarkdown({ summary, rules }: Assessment): Generator<string> {
  yield `# IBSR Report: ${summary.verdict}\n\n${escapeMarkdown(summary.verdict_reason)}\n\n`;
  for (const warning of listDecisive(summary)) yield `**${escapeMarkdown(warning)}**\n\n`;
  for (const { title, big, of, basis } of [blockedHeadline(summary), harmHeadline(summary), unseenHeadline(summary)]) {
    yield `- **${title}**: **${escapeMarkdown(big)}** ${escapeMarkdown(of)}. ${escapeMarkdown(basis.join(" "))}\n`;
  }
  yield* renderScope(summary);
  yield* renderAbuse(summary);
  yield* renderImpact(summary);
  yield* renderRules(rules);
  yield* renderReadiness(summary);
  yield `\n---\n\nibsr ${escapeMarkdown(summary.ibsr_version)}, as of ${
    formatTime(summary.generated_at_unix_sec)
  }. Nothing was blocked: this is what blocking would have done.\n`;
}

type Column<Row> = readonly [head: string, cell: (row: Row) => string, align?: "right"];

/** A table of the first rows, and how many more there are; its cells are escaped here. Nothing, without rows. */
function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  where = "summary.json",
  most = SHOWN,
): string {
  if (rows.length === 0) return "";
  const line = (cells: string[]) => `| ${cells.join(" | ")} |\n`;
  return "\n" + line(columns.map(([head]) => head)) +
    line(columns.map(([, , align]) => align ? "---:" : "---")) +
    rows.slice(0, most).map((row) => line(columns.map(([, cell]) => escapeMarkdown(cell(row), CELL)))).join("") +
    (rows.length > most ? `\nand ${formatCount(rows.length - most)} more in ${where}.\n` : "");
}

function list(texts: readonly string[]): string {
  return texts.length === 0 ? "" : `\n${texts.map((text) => `- ${escapeMarkdown(text)}\n`).join("")}`;
}

function* renderScope(summary: Summary): Generator<string> {
  const { evidence, policy, options } = summary;
  yield "\n## 1. Scope & Configuration\n\n";
  yield `${escapeMarkdown(seenSentence(summary))}\n`;
  yield table(evidence.streams, [
    ["Host", (row) => row.hostname],
    ["Interface", (row) => row.iface],
    ["Mode", (row) => row.modes.join(", ")],
    ["Ports", (row) => row.ports],
    ["Time", (row) => formatSpan(row.start_unix_sec, row.end_unix_sec)],
    ["Watched", (row) => formatShare(row.coverage), "right"],
    ["Gaps", (row) => formatCount(row.gap_count), "right"],
    ["Runs", (row) => formatCount(row.runs), "right"],
    ["Interval", (row) => formatDuration(row.interval_sec.median), "right"],
  ]);
  const { bad_lines, bad_line_count, files, lines, duplicates, versions } = evidence;
  yield `\n${formatNumberOf(files, "file")}, ${formatNumberOf(lines, "snapshot")} (versions ${
    versions.join(", ") || "none"
  }), ${formatNumberOf(duplicates, "duplicate")} left out, ${
    formatNumberOf(bad_line_count, "line")
  } that could not be read.\n`;
  yield table(
    bad_lines,
    [["Line", (row) => `${row.path}:${row.line}`], ["Reason", (row) => row.reason]],
    "summary.json",
  );
  yield "\n### Configuration\n";
  yield table(
    [
      ["policy", [policy.engine, policy.profile ?? ""].join(" ").trim()] as const,
      ...Object.entries(options).map(([key, value]) =>
        [key, Array.isArray(value) ? value.join(", ") : String(value)] as const
      ),
    ],
    [["Option", ([key]) => key], ["Value", ([, value]) => value]],
    "summary.json",
    100,
  );
  yield table(policy.findings, [
    ["Finding", (row) => row.severity],
    ["What", (row) => row.message],
    ["Rule", (row) => row.rule ?? ""],
  ]);
}

function* renderAbuse({ rules, top_sources, spoofing }: Summary): Generator<string> {
  yield "\n## 2. Abuse Pattern Observed\n";
  const hit = top_sources.filter((row) => row.would_block.packets.upper > 0);
  if (hit.length === 0) yield "\nNo rule would have blocked any source.\n";
  yield table(rules, [
    ["Rule", (row) => row.title],
    ["Mode", (row) => row.mode],
    ["Seen by counters", (row) => row.coverage],
    ["Triggers", ({ decisions: d }) => formatRange({ lower: d.certain, upper: d.certain + d.possible }), "right"],
    ["Sources", ({ sources: s }) => formatRange({ lower: s.certain, upper: s.possible }), "right"],
    ["SYN blocked", (row) => formatRange(row.impact.syn), "right"],
    ["Blur", (row) => formatShare(row.blur), "right"],
  ]);
  if (hit.length > 0) yield "\n### Top Offenders\n";
  yield table(hit, [
    ["Source", (row) => row.source],
    ["Port", (row) => formatPort(row.dst_port), "right"],
    ["Host", (row) => row.hostname],
    ["Looks", className],
    ["Decision", (row) => row.decision],
    ["Rules", (row) => row.rules.join(", ")],
    ["SYN", (row) => formatCount(row.syn), "right"],
    ["Completed", (row) => row.handshake_ratio === null ? "no SYN" : formatShare(row.handshake_ratio), "right"],
    ["Peak", (row) => formatRate(row.max_syn_rate), "right"],
    ["SYN blocked", (row) => formatRange(row.would_block.syn), "right"],
  ], "evidence.csv");
  yield `\n### Spoofing\n\n${escapeMarkdown(spoofingSentence(spoofing))}\n`;
  yield table(spoofing.episodes, [
    ["Time", (row) => formatSpan(row.from_unix_sec, row.to_unix_sec)],
    ["SYN", (row) => formatCount(row.syn), "right"],
    ["Seen once", (row) => formatShare(row.one_shot_share), "right"],
    ["Table entries that blocks would take", (row) => formatCount(row.entries), "right"],
  ]);
}

function* renderImpact(summary: Summary): Generator<string> {
  const { impact, false_positives: fp, halves, days, sweep, limits, shared_addresses } = summary;
  yield `\n## 3. Counterfactual Enforcement Impact\n\n${escapeMarkdown(impactSentence(summary))}\n`;
  yield "\n### Blocked Traffic (if rules were enforced)\n";
  yield table(listImpact(impact), [
    ["Unit", (row) => row.what],
    ["Lower–upper bound", (row) => row.bounds, "right"],
    ["Likely", (row) => row.expected, "right"],
    ["Share of all", (row) => row.share, "right"],
  ]);
  yield `\n### False Positive Bound\n\n${escapeMarkdown(harmSentence(fp))}\n`;
  yield table(fp.by_class, [
    ["Would-be-blocked sources look", (row) => row.class],
    ["Sources", (row) => formatCount(row.sources), "right"],
    ["SYN blocked", (row) => formatRange(row.syn), "right"],
  ]);
  yield table(fp.harm.sources === 0 ? [] : [fp.harm], [
    ["Harm to sources", (row) => formatCount(row.sources), "right"],
    ["Connections", (row) => formatRange(row.connections), "right"],
    ["Of legitimate SYN", (row) => formatRange(row.share_of_legitimate_syn, formatShare), "right"],
    ["Bytes", (row) => formatRange(row.bytes, formatBytes), "right"],
    ["Minutes", (row) => formatRange(row.blocked_minutes), "right"],
  ]);
  yield table(fp.sources, [
    ["Likely legitimate or shared, and blocked", (row) => row.source],
    ["Host", (row) => row.hostname],
    ["Looks", (row) => row.class],
    ["Why", (row) => row.why],
    ["Rule", (row) => row.rule],
  ]);
  yield table([
    ...(halves ?? []).map((half, i) => ({ ...half, title: i === 0 ? "First half" : "Second half" })),
    ...days.map((day) => ({ ...day, title: day.day })),
  ], [
    ["Time (UTC)", (row) => row.title],
    ["SYN blocked", (row) => formatRange(row.impact.syn), "right"],
    ["Likely legitimate", ({ false_positives: f }) => formatCount(f.legitimate), "right"],
    ["Of them hit", ({ false_positives: f }) => formatCount(f.hit), "right"],
    ["Upper 95\u00a0% limit", ({ false_positives: f }) => formatLimit(f.upper), "right"],
  ]);
  const lacking = lackingDays(days);
  if (lacking !== "") yield `\n${lacking}\n`;
  if (sweep) {
    yield `\n### Threshold Sweep\n\nOf ${formatNumberOf(sweep.points.length, "setting")}, ${
      sweep.recommended ? "one is" : "none is"
    } the most effective with a bound of at most ${formatShare(sweep.fp_limit)} in both halves${
      keepsDefault(sweep) ? ": what was tried" : ""
    }. ${escapeMarkdown(blockSentence(summary))}\n`;
    const rows: [string, SweepPoint][] = [["what was tried", sweep.default]];
    if (sweep.recommended && !keepsDefault(sweep)) rows.push(["recommended", sweep.recommended]);
    yield table(rows, [
      ["Setting", ([name]) => name],
      ["SYN rate", ([, row]) => `≥ ${formatRate(row.syn_rate)}`, "right"],
      ["Handshake ratio", ([, row]) => `≤ ${formatRatio(row.success_ratio)}`, "right"],
      ["Window", ([, row]) => formatDuration(row.window_sec), "right"],
      ["Abusive SYN blocked", ([, row]) => formatShare(row.blocked_abusive_syn_share), "right"],
      ["Likely legitimate hit", ([, row]) => formatCount(row.legitimate_hit), "right"],
      ["Upper 95\u00a0% limit", ([, row]) => formatLimit(row.upper), "right"],
    ]);
  }
  yield `\n### Uncertainty\n\n${escapeMarkdown(unseenSentence(summary))}\n`;
  yield list(limits.statements);
  if (limits.not_counted === null) {
    yield "\nWhat was seen and not counted is unknown: these snapshots do not record it.\n";
  }
  yield table(listNotCounted(limits.not_counted), [
    ["Seen and not counted", (row) => row.what],
    ["Frames", (row) => row.frames, "right"],
  ]);
  yield table(
    shared_addresses,
    [["Looks shared", (row) => row.source], ["Why", (row) => row.reason]],
    "summary.json",
  );
}

function* renderRules({ rules, exceptions }: RuleSet): Generator<string> {
  yield `\n## 4. Candidate Enforcement Rules\n\n${
    formatNumberOf(rules.length, "rule")
  } for review in rules.json, with ${
    formatNumberOf(exceptions.length, "exception")
  } that must never be blocked. Nothing enforces them.\n`;
  yield table<CandidateRule>(rules, [
    ["Source", (row) => row.source],
    ["Ports", (row) => row.dst_ports.join(", ") || "all"],
    ["For", (row) => row.duration_sec === null ? "good" : formatDuration(row.duration_sec), "right"],
    ["Rule", (row) => row.policy_rule],
    ["Looks", (row) => row.class],
    ["Triggers", (row) => formatCount(row.triggers), "right"],
    ["SYN blocked", (row) => formatRange(row.would_block.syn), "right"],
    ["Why", (row) => row.reason],
  ], "rules.json");
}

const GATES: readonly Column<Gate>[] = [
  ["Gate", (row) => capitalize(row.title)],
  ["Outcome", (row) => OUTCOMES[outcomeOf(row)]],
  ["Number", formatGateValue, "right"],
  ["Limit", formatGateLimit, "right"],
  ["Why", (row) => row.reason],
  ["Option", (row) => row.option ?? ""],
];

function* renderReadiness(
  { verdict, verdict_reason, gates, rules, hosts, shared_offenders, fleet }: Summary,
): Generator<string> {
  yield `\n## 5. Readiness Judgment\n\n**${verdict}**: ${escapeMarkdown(verdict_reason)}\n`;
  yield table(gates, GATES, "summary.json", gates.length);
  yield table(rules, [["Rule", (row) => row.title], [
    "Verdict",
    (row) => neverTriggered(row) ? NEVER_TRIGGERED : row.verdict,
  ]]);
  yield table(hosts, [
    ["Host", (row) => `${row.hostname} ${row.iface}`],
    ["Verdict", (row) => row.verdict],
    ["Why", (row) => row.verdict_reason],
    ["SYN blocked", (row) => formatRange(row.impact.share.syn, formatShare), "right"],
    ["Harm", ({ false_positives: f }) => formatLimit(f.upper), "right"],
  ]);
  yield table(shared_offenders, [
    ["Source on several hosts", (row) => row.source],
    ["Seen on", (row) => formatCount(row.hosts), "right"],
    ["Blocked on", (row) => formatCount(row.would_block_hosts), "right"],
  ]);
  if (fleet) yield* renderFleet(fleet);
}

function* renderFleet(fleet: FleetSummary): Generator<string> {
  yield `\n### Over ${formatNumberOf(fleet.hosts, "host")}\n`;
  yield table(fleet.sources_by_hosts, [
    ["Hosts, at least", (row) => formatCount(row.hosts), "right"],
    ["Sources seen by so many", (row) => formatCount(row.sources), "right"],
  ]);
  yield table(fleet.top_offenders, [
    ["Blocked most over all hosts", (row) => row.source],
    ["Seen on", (row) => formatCount(row.hosts), "right"],
    ["Blocked on", (row) => formatCount(row.would_block_hosts), "right"],
    ["Packets", (row) => formatRange(row.would_block.packets), "right"],
    ["SYN", (row) => formatRange(row.would_block.syn), "right"],
  ]);
  yield table(fleet.widest_sources, [
    ["Seen by most hosts", (row) => row.source],
    ["Hosts", (row) => formatCount(row.hosts), "right"],
    ["Blocked on", (row) => formatCount(row.would_block_hosts), "right"],
    ["Looks legitimate on", (row) => formatCount(row.legitimate_hosts), "right"],
    ["SYN", (row) => formatCount(row.syn), "right"],
  ]);
  yield table(fleet.differing_hosts, [
    ["Host that differs", (row) => `${row.hostname} ${row.iface}`],
    ["In", (row) => row.measure],
    ["Here", (row) => `${Number(row.value.toPrecision(3))}`, "right"],
    ["Median", (row) => `${Number(row.median.toPrecision(3))}`, "right"],
  ]);
}
