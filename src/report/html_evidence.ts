/**
 * The first two sections of report.html: what we saw, and what would have happened. Pure.
 */
import { drawHandshakeRatio, drawTimeline, drawTopSources } from "./charts.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatPort,
  formatRange,
  formatRate,
  formatShare,
  showName,
} from "../words.ts";
import { type Column, type Html, markup, name, renderFigure, renderSection, renderTable } from "./html_text.ts";
import { blockSentence, className, impactSentence, listImpact, seenSentence } from "./sentences.ts";
import type { SourceRow, Summary } from "./summary.ts";

// ------------------------------------------------------------------------------------------- what we saw

/** What we saw: traffic over time, when each stream was watched, how handshakes went. */
export function renderSeen(summary: Summary): Html {
  const { evidence, handshake_ratio, timeline } = summary;
  const streams = renderTable({
    caption: "Streams",
    note: "An interface of a host each, and how its snapshots came.",
    rows: evidence.streams,
    columns: [
      { head: "Host", cell: (row) => name(row.hostname) },
      { head: "Interface", cell: (row) => name(row.iface) },
      { head: "Mode", cell: (row) => row.modes.join(", ") || "unknown" },
      { head: "Ports", cell: (row) => row.ports },
      { head: "Watched", right: true, cell: (row) => formatShare(row.coverage) },
      { head: "Gaps", right: true, cell: (row) => formatCount(row.gap_count) },
      { head: "Without source", right: true, cell: (row) => formatShare(row.loss) },
      { head: "Runs", right: true, cell: (row) => formatCount(row.runs) },
      { head: "Snapshots", right: true, cell: (row) => formatCount(row.intervals) },
      {
        head: "Interval",
        right: true,
        cell: ({ interval_sec: { min, median, max } }) =>
          markup`${formatDuration(median)}<small>${formatRange({ lower: min, upper: max }, formatDuration)}</small>`,
      },
    ],
  });
  return renderSection(
    "seen",
    "What we saw",
    seenSentence(summary),
    timeline.length === 0 ? markup`` : renderFigure(drawTimeline(summary), [
      ["all", "all SYN"],
      ["would", "would be blocked"],
      ["may", "may be blocked (upper bound)"],
      ["gap", "not watched"],
    ]),
    summary.traffic.syn === 0 ? markup`` : renderFigure(
      drawHandshakeRatio(handshake_ratio),
      [],
      `The handshake ratio of a source is its completed handshakes over its SYN. ${
        formatNumberOf(handshake_ratio.without_syn, "source")
      } sent no SYN and ${handshake_ratio.without_syn === 1 ? "has" : "have"} none.`,
    ),
    streams,
  );
}

// -------------------------------------------------------------------------- what would have happened

/** What would have happened: by unit, by rule, by source. */
export function renderImpact(summary: Summary): Html {
  const { impact, rules, top_sources, traffic } = summary,
    hit = top_sources.filter((row) => row.would_block.syn.upper > 0);
  const units = traffic.packets === 0 ? markup`` : renderTable({
    caption: "What would have been dropped",
    note:
      "Whatever the order of packets was, the number is between the two; likely is by share of time. Clients that are blocked try again, " +
      "so real drops of packets exceed a replay's; connections don't.",
    rows: listImpact(impact),
    columns: [
      { head: "Unit", cell: (row) => row.what },
      { head: "Lower–upper bound", right: true, cell: (row) => row.bounds },
      { head: "Likely", right: true, cell: (row) => row.expected },
      { head: "Share of all", right: true, cell: (row) => row.share },
    ],
  });
  const byRule = renderTable({
    caption: "By rule",
    note: `Certain: it triggers in whatever order the packets came. Possible: it may have. ${blockSentence(summary)}`
      .trimEnd(),
    rows: rules,
    columns: [
      {
        head: "Rule",
        cell: (row) =>
          markup`${row.title}<small>${name(row.id)}${row.mode === "enforce" ? "" : `, ${row.mode}`}</small>`,
      },
      {
        head: "Seen by counters",
        cell: (row) => markup`${row.coverage}${row.reason ? markup`<small>${row.reason}</small>` : undefined}`,
      },
      {
        head: "Triggers",
        right: true,
        cell: ({ decisions: d }) => formatRange({ lower: d.certain, upper: d.certain + d.possible }),
      },
      { head: "Sources", right: true, cell: ({ sources: s }) => formatRange({ lower: s.certain, upper: s.possible }) },
      {
        head: "SYN",
        right: true,
        cell: ({ impact: { syn, share } }) =>
          markup`${formatRange(syn)}<small>${formatRange(share.syn, formatShare)}</small>`,
      },
      { head: "Blur", right: true, cell: (row) => formatShare(row.blur) },
      { head: "Not evaluated", right: true, cell: (row) => formatCount(row.not_evaluated) },
      {
        head: "Harm",
        right: true,
        cell: ({ false_positives: f }) =>
          markup`${formatLimit(f.upper)}<small>${formatCount(f.hit)} of ${formatCount(f.legitimate)}</small>`,
      },
    ],
  });
  return renderSection(
    "impact",
    "What would have happened",
    impactSentence(summary),
    units,
    byRule,
    hit.length === 0
      ? markup``
      : renderFigure(drawTopSources(hit), [["all", "all SYN of the source"], ["would", "would be blocked"], [
        "may",
        "may be blocked (upper bound)",
      ]]),
    renderTable({
      id: "sources",
      caption: "Sources",
      note: `${formatNumberOf(top_sources.length, "source and port", "sources and ports")} of ${
        formatNumberOf(traffic.sources, "source")
      }, those first of which most would be blocked. All are in evidence.csv.`,
      rows: top_sources,
      columns: SOURCE_COLUMNS,
    }),
  );
}

const SOURCE_COLUMNS: Column<SourceRow>[] = [
  {
    head: "Source",
    cell: (row) => markup`${name(row.source)}<small>${name(row.hostname)} ${name(row.iface)}</small>`,
  },
  { head: "Port", right: true, cell: (row) => formatPort(row.dst_port), sort: (row) => row.dst_port },
  {
    head: "Decision",
    cell: (row) => markup`${row.decision}<small>${row.rules.map(showName).join(", ")}</small>`,
    keep: true,
  },
  { head: "Looks", cell: className, keep: true },
  {
    head: "SYN blocked",
    right: true,
    cell: ({ would_block, syn }) => markup`${formatRange(would_block.syn)}<small>of ${formatCount(syn)}</small>`,
    sort: ({ would_block: { syn } }) => syn.upper,
  },
  {
    head: "Completed",
    right: true,
    cell: (row) =>
      markup`${row.handshake_ratio === null ? "no SYN" : formatShare(row.handshake_ratio)}<small>${
        formatCount(row.data)
      } with payload</small>`,
    sort: (row) => row.handshake_ratio ?? -1,
  },
  { head: "Peak", right: true, cell: (row) => formatRate(row.max_syn_rate), sort: (row) => row.max_syn_rate },
  {
    head: "Packets",
    right: true,
    cell: (row) => markup`${formatCount(row.packets)}<small>${formatBytes(row.bytes)}</small>`,
    sort: (row) => row.packets,
  },
  {
    head: "Seen",
    right: true,
    cell: (row) =>
      markup`${formatDuration(row.last_unix_sec - row.first_unix_sec)}<small>${
        formatNumberOf(row.intervals, "interval")
      }</small>`,
    sort: (row) => row.first_unix_sec,
  },
];
