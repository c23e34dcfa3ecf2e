/**
 * comparison.md and comparison.html: policies side by side, for people. Pure.
 */
import { drawBounds } from "./charts.ts";
import type { Agreement, ChangedSource, Comparison, Pair, PolicyColumn } from "./compare.ts";
import { escapeMarkdown } from "../escape.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatRange,
  formatShare,
  formatSpan,
  formatTime,
} from "../words.ts";
import { bindNumbers, type Html, markup, name, renderTable, trusted, verdictClass } from "./html_text.ts";
import { renderHead } from "./page.ts";

/** Changed sources that the texts show; comparison.json has more. */
const SHOWN = 20;

/** A line of the table of policies: what it is, and how it reads for one of them. */
const LINES: readonly (readonly [string, (policy: PolicyColumn) => string])[] = [
  ["Engine", ({ engine, profile }) => profile === null ? engine : `${engine} (${profile})`],
  ["Verdict", ({ verdict, warnings }) => [verdict, ...warnings].join(". ")],
  ["Sources that would be blocked", ({ sources }) => formatRange({ lower: sources.certain, upper: sources.possible })],
  ["Packets", ({ impact }) => `${formatRange(impact.packets)} (${formatRange(impact.share.packets, formatShare)})`],
  [
    "Bytes",
    ({ impact }) => `${formatRange(impact.bytes, formatBytes)} (${formatRange(impact.share.bytes, formatShare)})`,
  ],
  ["SYN", ({ impact }) => `${formatRange(impact.syn)} (${formatRange(impact.share.syn, formatShare)})`],
  [
    "Likely-legitimate sources hit",
    ({ false_positives: fp }) => `${formatCount(fp.hit)} of ${formatCount(fp.legitimate)}`,
  ],
  ["Upper limit of such (95 %)", ({ false_positives }) => formatLimit(false_positives.upper)],
  ["Connections of theirs", ({ harm }) => formatRange(harm.connections)],
  [
    "Alerts",
    ({ alerts }) =>
      alerts.length === 0
        ? "none"
        : alerts.map(({ rule, certain, possible }) =>
          `${rule}: ${formatRange({ lower: certain, upper: certain + possible })}`
        ).join(", "),
  ],
  ["Rules", ({ rules }) => `${rules.exact} exact, ${rules.bounded} bounded, ${rules.not_observable} not observable`],
  ["Report", ({ directory }) => directory],
];

/** Rows of a pair's table: a unit, and what both and one alone would drop. */
function agreementRows(pair: Pair): [string, Agreement, (value: number | null | undefined) => string][] {
  return [
    ["Packets", pair.packets, formatCount],
    ["Bytes", pair.bytes, formatBytes],
    ["SYN", pair.syn, formatCount],
  ];
}

/** What of a pair goes into words. */
function pairSentences(pair: Pair): string[] {
  const { sources, earlier, harmed } = pair, sentences: string[] = [];
  const certain = sources.both + sources.only_first + sources.only_second;
  if (certain + sources.undecided === 0) return ["Neither would have blocked a source."];
  sentences.push(
    `Both certainly would block ${formatNumberOf(sources.both, "source")}, only the first ${
      formatCount(sources.only_first)
    }, only the second ${formatCount(sources.only_second)}; ${formatCount(sources.undecided)} can't be decided.`,
  );
  if (earlier.first + earlier.second > 0) {
    sentences.push(
      `Of those of both, the first begins earlier for ${formatCount(earlier.first)}, the second for ${
        formatCount(earlier.second)
      }, and in the same interval for ${formatCount(earlier.same)}.`,
    );
  }
  if (harmed.only_first + harmed.only_second > 0) {
    sentences.push(
      `Likely legitimate or mixed are ${formatCount(harmed.only_first)} of those that only the first blocks, and ${
        formatCount(harmed.only_second)
      } of those that only the second does.`,
    );
  }
  return sentences;
}

/** Sources whose fate changes, by the pair's key, and their heading. */
const CHANGES = [
  ["newly_blocked", "Only the second would block: newly blocked, if the second replaces the first"],
  ["no_longer_blocked", "Only the first would block: no longer blocked, if the second replaces the first"],
] as const;

const CHANGED_COLUMNS: readonly (readonly [string, (row: ChangedSource) => string])[] = [
  ["Source", (row) => row.source],
  ["Host", (row) => `${row.hostname} ${row.iface}`],
  ["Class", (row) => row.class ?? "unknown"],
  ["Packets", (row) => formatRange(row.packets)],
  ["SYN", (row) => formatRange(row.syn)],
  ["From", (row) => row.first_blocked_unix_sec > 0 ? formatTime(row.first_blocked_unix_sec) : "its last interval"],
];

function summarySentence({ evidence, traffic }: Comparison): string {
  return `${formatSpan(evidence.start_unix_sec, evidence.end_unix_sec)}, ${
    formatDuration(evidence.end_unix_sec - evidence.start_unix_sec)
  } on ${formatNumberOf(evidence.streams.length, "interface")}, ${formatShare(evidence.coverage)} watched: ${
    formatNumberOf(traffic.packets, "packet")
  }, ${formatCount(traffic.syn)} SYN, ${formatNumberOf(traffic.sources, "source")}.`;
}

// -------------------------------------------------------------------------------------------------- Markdown

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => escapeMarkdown(cell, 200)).join(" | ")} |\n`;
  return line(head) + `|${head.map(() => " --- |").join("")}\n` + rows.map(line).join("");
}

/** The comparison as Markdown, in pieces. */
export function* renderComparisonMarkdown(comparison: Comparison): Generator<string> {
  const { policies, pairs } = comparison;
  yield `# Policies compared\n\n${escapeMarkdown(summarySentence(comparison))}\n`;
  yield `Nothing was blocked: this is what each of them would have done.\n\n`;
  yield table(["", ...policies.map((p) => p.name)], LINES.map(([title, cell]) => [title, ...policies.map(cell)]));
  yield `\n${policies.map((p) => `- ${escapeMarkdown(`${p.name}: ${p.verdict_reason}`)}\n`).join("")}`;
  for (const pair of pairs) {
    yield `\n## ${escapeMarkdown(pair.first, 100)} and ${escapeMarkdown(pair.second, 100)}\n\n`;
    yield `${escapeMarkdown(pairSentences(pair).join(" "))}\n\n`;
    yield table(
      ["Would drop", "Both", "Only the first", "Only the second"],
      agreementRows(pair).map(([title, agreement, format]) => [
        title,
        formatRange(agreement.both, format),
        formatRange(agreement.only_first, format),
        formatRange(agreement.only_second, format),
      ]),
    );
    for (const [key, title] of CHANGES) {
      const rows = pair[key];
      if (rows.length === 0) continue;
      yield `\n### ${title}\n\n`;
      yield table(
        CHANGED_COLUMNS.map(([head]) => head),
        rows.slice(0, SHOWN).map((row) => CHANGED_COLUMNS.map(([, c]) => c(row))),
      );
      const total = key === "newly_blocked" ? pair.sources.only_second : pair.sources.only_first;
      if (total > SHOWN) yield `\nand ${formatCount(total - SHOWN)} more; comparison.json has the first 1,000.\n`;
    }
  }
  yield `\n---\n\nibsr ${escapeMarkdown(comparison.ibsr_version)}, as of ${
    formatTime(comparison.generated_at_unix_sec)
  }. Ranges are lower and upper bounds that hold for every order of the packets.\n`;
}

// -------------------------------------------------------------------------------------------------- HTML

/** The comparison as a page that needs nothing else, in pieces. */
export function* renderComparisonHtml(comparison: Comparison): Generator<string> {
  for (const piece of renderPieces(comparison)) yield bindNumbers(piece);
}

function* renderPieces(comparison: Comparison): Generator<string> {
  const { policies, pairs } = comparison;
  yield renderHead(`IBSR: ${formatNumberOf(policies.length, "policy", "policies")} compared`).html;
  yield markup`<header>
<div class="about"><span><b>IBSR comparison</b> · what each policy would have done; nothing was blocked</span></div>
<p>${summarySentence(comparison)}</p>
</header>
<main>
<section>
`.html;
  yield renderTable({
    caption: "Policies",
    rows: LINES,
    columns: [
      { head: "", cell: ([title]) => title },
      ...policies.map((policy) => ({
        head: name(policy.name),
        cell: ([title, cell]: typeof LINES[number]) =>
          title === "Report"
            ? markup`<a href="${encodeURI(policy.directory)}/report.html">${policy.directory}</a>`
            : title === "Verdict"
            ? markup`<b class="${verdictClass(policy.verdict)}">${policy.verdict}</b>${
              policy.warnings.map((warning) => markup`<small class="warning">${warning}</small>`)
            }`
            : cell(policy),
      })),
    ],
  }).html;
  yield renderShares(policies).html;
  yield "</section>\n";
  for (const pair of pairs) yield renderPair(pair).html;
  yield markup`</main>
<footer><p>Made by ibsr ${comparison.ibsr_version}, as of ${formatTime(comparison.generated_at_unix_sec)}. Ranges are
lower and upper bounds that hold for every order of the packets. comparison.json has every number here.</p></footer>
</body>
</html>
`.html;
}

/** A bar a policy: the share of SYN it would drop. */
function renderShares(policies: readonly PolicyColumn[]): Html {
  const bars = policies.map((policy) =>
    markup`<p class="bar">${name(policy.name)}: ${formatRange(policy.impact.share.syn, formatShare)} of SYN</p>
${trusted(drawBounds({ ...policy.impact.share.syn, most: 1, kind: "would" }))}
`
  );
  return markup`<h3>Share of SYN that each would drop</h3>
${bars}`;
}

function renderPair(pair: Pair): Html {
  const agreements = renderTable({
    caption: "What both would drop, and what one alone",
    rows: agreementRows(pair),
    columns: [
      { head: "Would drop", cell: ([title]) => title },
      { head: "Both", right: true, cell: ([, agreement, format]) => formatRange(agreement.both, format) },
      {
        head: "Only the first",
        right: true,
        cell: ([, agreement, format]) => formatRange(agreement.only_first, format),
      },
      {
        head: "Only the second",
        right: true,
        cell: ([, agreement, format]) => formatRange(agreement.only_second, format),
      },
    ],
  });
  const changes = CHANGES.map(([key, title]) =>
    renderTable({
      caption: title,
      rows: pair[key].slice(0, SHOWN),
      columns: CHANGED_COLUMNS.map(([head, cell]) => ({
        head,
        cell: (row: ChangedSource) => head === "Source" || head === "Host" ? name(cell(row)) : cell(row),
      })),
    })
  );
  return markup`<section>
<h2>${name(pair.first)} and ${name(pair.second)}</h2>
${
    pairSentences(pair).map((sentence) =>
      markup`<p>${sentence}</p>
`
    )
  }${agreements}${changes}</section>
`;
}
