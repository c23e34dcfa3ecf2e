/**
 * The last three sections of report.html: who would have been harmed, what we could not see, therefore. Pure.
 */
import { drawSweep } from "./charts.ts";
import {
  capitalize,
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatRange,
  formatRangeOf,
  formatRate,
  formatRatio,
  formatShare,
  formatSpan,
} from "../words.ts";
import {
  type Column,
  fold,
  type Html,
  markup,
  name,
  renderFigure,
  renderOutcome,
  renderSection,
  renderTable,
  trusted,
  verdictClass,
} from "./html_text.ts";
import type { RuleSet } from "../rules/ruleset.ts";
import {
  blockSentence,
  formatGateLimit,
  formatGateValue,
  harmSentence,
  keepsDefault,
  lackingDays,
  listNotCounted,
  NEVER_TRIGGERED,
  neverTriggered,
  outcomeOf,
  OUTCOMES,
  spoofingSentence,
  unseenSentence,
} from "./sentences.ts";
import type { FleetSummary } from "./fleet.ts";
import type { FpBound, Gate, Summary, SweepPoint } from "./summary.ts";

/** Rows of a table that are shown at once; the rest is folded away. */
const SHOWN = 12, DAYS_SHOWN = 33;

// --------------------------------------------------------------------- who would have been harmed

/** Who would have been harmed: the bound, classes, who exactly, over time, and what other thresholds would do. */
export function renderHarm(summary: Summary): Html {
  const { false_positives: fp, halves, days, sweep } = summary, { harm } = fp;
  const classes = renderTable({
    caption: "Would-be-blocked sources by class",
    note:
      "Judged only on time outside of the source's own possible blocks and triggers, so that no rule vouches for itself.",
    rows: fp.by_class,
    columns: [
      { head: "They look", cell: (row) => row.class, keep: true },
      { head: "Sources", right: true, cell: (row) => formatCount(row.sources) },
      {
        head: "SYN blocked",
        right: true,
        cell: (row) => markup`${formatRange(row.syn)}<small>${formatRangeOf(row.packets, "packet")}</small>`,
      },
    ],
  });
  const costs = harm.sources === 0 ? markup`` : renderTable({
    caption: "The harm",
    note: "To likely-legitimate sources and to shared addresses with working clients behind them.",
    rows: [
      ["Sources", formatCount(harm.sources)],
      ["Connections", formatRange(harm.connections)],
      ["Share of legitimate SYN", formatRange(harm.share_of_legitimate_syn, formatShare)],
      ["Packets", formatRange(harm.packets)],
      ["Bytes", formatRange(harm.bytes, formatBytes)],
      ["Minutes blocked", formatRange(harm.blocked_minutes)],
    ] as [string, string][],
    columns: [{ head: "Unit", cell: ([what]) => what }, {
      head: "Lower–upper bound",
      right: true,
      cell: ([, bounds]) => bounds,
    }],
  });
  const victims = (rows: Summary["false_positives"]["sources"], caption: string) =>
    renderTable({
      caption,
      rows,
      columns: [
        { head: "Source", cell: (row) => markup`${name(row.source)}<small>${name(row.hostname)}</small>` },
        { head: "Looks", cell: (row) => row.class, keep: true },
        { head: "Why", cell: (row) => row.why },
        { head: "Rule", cell: (row) => name(row.rule) },
      ],
    });
  return renderSection(
    "harm",
    "Who would have been harmed",
    harmSentence(fp),
    costs.html === "" ? classes : markup`<div class="pair"><div>${classes}</div><div>${costs}</div></div>
`,
    victims(fp.sources.slice(0, SHOWN), "Likely legitimate or shared, and would be blocked"),
    fp.sources.length <= SHOWN ? markup`` : fold(
      `${formatCount(fp.sources.length - SHOWN)} more of ${formatCount(fp.source_count)}`,
      victims(fp.sources.slice(SHOWN), "More of them"),
      true,
    ),
    renderPeriods(halves, days),
    sweep ? renderSweep(sweep, blockSentence(summary)) : markup``,
  );
}

/** The same by half and by day. */
function renderPeriods(halves: Summary["halves"], days: Summary["days"]): Html {
  const rows = [
    ...(halves ?? []).map((half, i) => ({
      ...half,
      title: i === 0 ? "First half" : "Second half",
      coverage: undefined,
    })),
    ...days.map((day) => ({ ...day, title: day.day, coverage: day.coverage })),
  ];
  const table = (part: typeof rows, caption: string, note?: string) =>
    renderTable({
      caption,
      ...(note === undefined ? {} : { note }),
      rows: part,
      columns: [
        { head: "Time (UTC)", cell: (row) => row.title, keep: true },
        { head: "Watched", right: true, cell: (row) => row.coverage === undefined ? "" : formatShare(row.coverage) },
        { head: "SYN blocked", right: true, cell: (row) => formatRange(row.impact.syn) },
        { head: "Share", right: true, cell: (row) => formatRange(row.impact.share.syn, formatShare) },
        {
          head: "Likely legitimate",
          right: true,
          cell: ({ false_positives: f }: { false_positives: FpBound }) => formatCount(f.legitimate),
        },
        { head: "Of them hit", right: true, cell: ({ false_positives: f }) => formatCount(f.hit) },
        { head: "Harm, upper 95\u00a0% limit", right: true, cell: ({ false_positives: f }) => formatLimit(f.upper) },
      ],
    });
  const words = `A rule that harms in one half and not in the other is not stable. ${lackingDays(days)}`.trimEnd();
  return markup`${table(rows.slice(0, DAYS_SHOWN), "By half and by day", words)}${
    fold(`${formatNumberOf(rows.length - DAYS_SHOWN, "more day")}`, table(rows.slice(DAYS_SHOWN), "More days"), true)
  }`;
}

function renderSweep(sweep: NonNullable<Summary["sweep"]>, block: string): Html {
  const { default: standard, recommended, fp_limit } = sweep;
  const words = recommended === null
    ? `No setting has a bound of at most ${formatShare(fp_limit)} in both halves.`
    : keepsDefault(sweep)
    ? `No setting with a bound of at most ${formatShare(fp_limit)} in both halves blocks more than what was tried: ${
      describePoint(standard)
    }. ${block}`.trimEnd()
    : `Most effective with a bound of at most ${formatShare(fp_limit)} in both halves: ${
      describePoint(recommended)
    }. What was tried: ${describePoint(standard)}. ${block}`.trimEnd();
  return markup`${
    renderFigure(drawSweep(sweep), [["would", "effect, default window"], ["harm", "bound, default window"]], words)
  }${
    fold(
      `All ${formatCount(sweep.points.length)} settings`,
      renderTable({
        caption: "Threshold sweep",
        rows: sweep.points,
        columns: [
          { head: "SYN rate", cell: (row) => `≥ ${formatRate(row.syn_rate)}`, keep: true },
          { head: "Handshake ratio", right: true, cell: (row) => `≤ ${formatRatio(row.success_ratio)}` },
          { head: "Window", right: true, cell: (row) => formatDuration(row.window_sec) },
          {
            head: "Abusive SYN certainly blocked",
            right: true,
            cell: (row) => formatShare(row.blocked_abusive_syn_share),
          },
          { head: "Sources", right: true, cell: (row) => formatCount(row.sources) },
          { head: "Likely legitimate hit", right: true, cell: (row) => formatCount(row.legitimate_hit) },
          { head: "Upper 95\u00a0% limit", right: true, cell: (row) => formatLimit(row.upper) },
        ],
      }),
      true,
    )
  }`;
}

function describePoint(point: SweepPoint): string {
  return `≥ ${formatRate(point.syn_rate)} over ${formatDuration(point.window_sec)} at a handshake ratio ≤ ${
    formatRatio(point.success_ratio)
  } blocks ${formatShare(point.blocked_abusive_syn_share)} of abusive SYN and harms ${formatLimit(point.upper)}`;
}

// --------------------------------------------------------------------------- what we could not see

/** What we could not see: limits, spoofing, shared addresses, gaps, lines that could not be read. */
export function renderUnseen(summary: Summary): Html {
  const { limits, spoofing, shared_addresses, evidence, policy } = summary;
  const gaps = evidence.streams.flatMap((stream) =>
    stream.gaps.map((gap) => ({ ...gap, ...{ hostname: stream.hostname, iface: stream.iface } }))
  );
  const notCounted = renderTable({
    caption: "Frames seen and not counted",
    rows: listNotCounted(limits.not_counted),
    columns: [{ head: "Reason", cell: (row) => row.what }, { head: "Frames", right: true, cell: (row) => row.frames }],
  });
  const lessThanWholly = renderTable({
    caption: "Counted less than wholly",
    rows: [
      ["Packets without their source", formatCount(limits.unattributed.packets)],
      ["SYN without their source", formatCount(limits.unattributed.syn)],
      ["Entries pushed out before they were read", formatCount(limits.evicted)],
      ["Restarts of the collector", formatCount(limits.restarts)],
      ["Time nobody watched", formatDuration(limits.gaps_sec)],
      ["Super-packets may be counted as one (generic mode)", limits.generic_mode ? "yes" : "no"],
      ["Lines that could not be read", formatCount(evidence.bad_line_count)],
      ["Lines left out because another is the same", formatCount(evidence.duplicates)],
    ] as [string, string][],
    columns: [{ head: "What", cell: ([what]) => what }, { head: "", right: true, cell: ([, count]) => count }],
  });
  return renderSection(
    "unseen",
    "What we could not see",
    unseenSentence(summary),
    limits.statements.length === 0
      ? markup``
      : markup`<ul class="statements">${
        limits.statements.map((text) =>
          markup`<li>${text}</li>
`
        )
      }</ul>
`,
    markup`<div class="pair"><div>${
      limits.not_counted === null
        ? markup`<h3>Frames seen and not counted</h3><p>Unknown: these snapshots do not record it.</p>`
        : notCounted
    }</div><div>${lessThanWholly}</div></div>
`,
    markup`<h3>Where blocking by source can't help</h3><p>${spoofingSentence(spoofing)}</p>
`,
    renderTable({
      caption: "Floods, and how much of each comes from sources seen once",
      rows: spoofing.episodes,
      columns: [
        { head: "Time", cell: (row) => formatSpan(row.from_unix_sec, row.to_unix_sec), keep: true },
        { head: "SYN", right: true, cell: (row) => formatCount(row.syn) },
        { head: "Seen once", right: true, cell: (row) => formatShare(row.one_shot_share) },
        { head: "Table entries that blocks would take", right: true, cell: (row) => formatCount(row.entries) },
      ],
    }),
    renderTable({
      caption: "Addresses that look shared (NAT, proxy)",
      rows: shared_addresses,
      columns: [{ head: "Source", cell: (row) => name(row.source) }, { head: "Why", cell: (row) => row.reason }],
    }),
    renderTable({
      caption: "What is said about the policy",
      rows: policy.findings,
      columns: [
        { head: "Finding", cell: (row) => markup`${row.severity}<small>${name(row.code)}</small>` },
        { head: "What", cell: (row) => row.message },
        { head: "Rule", cell: (row) => row.rule === undefined ? undefined : name(row.rule) },
        {
          head: "Place",
          cell: ({ place }) => place ? markup`${name(place.path)}:${place.line}:${place.column}` : undefined,
        },
      ],
    }),
    fold(
      `${formatNumberOf(gaps.length, "gap")}, the longest first`,
      renderTable({
        caption: "Gaps",
        rows: gaps.sort((a, b) => b.to_unix_sec - b.from_unix_sec - (a.to_unix_sec - a.from_unix_sec)),
        columns: [
          { head: "Stream", cell: (row) => markup`${name(row.hostname)} ${name(row.iface)}` },
          { head: "Time", cell: (row) => formatSpan(row.from_unix_sec, row.to_unix_sec), keep: true },
          { head: "Length", right: true, cell: (row) => formatDuration(row.to_unix_sec - row.from_unix_sec) },
          { head: "", cell: (row) => row.restart ? "restart" : "" },
        ],
      }),
    ),
    fold(
      `${formatNumberOf(evidence.bad_line_count, "line")} that could not be read${
        evidence.bad_line_count > evidence.bad_lines.length
          ? `, ${formatCount(evidence.bad_lines.length)} of them here`
          : ""
      }`,
      renderTable({
        caption: "Lines that could not be read",
        rows: evidence.bad_lines,
        columns: [
          { head: "Line", cell: (row) => markup`${name(row.path)}:${row.line}` },
          { head: "Reason", cell: (row) => row.reason },
        ],
      }),
    ),
  );
}

// ---------------------------------------------------------------------------------------- therefore

/** Therefore: gates, verdicts by rule and host, and the rules to review. */
export function renderTherefore(summary: Summary, rules: RuleSet): Html {
  return renderSection(
    "therefore",
    "Therefore",
    summary.verdict_reason,
    renderTable({
      caption: "Gates",
      note:
        "READY only if all hold; NOT READY if one fails on the evidence; INSUFFICIENT EVIDENCE if one can't be judged.",
      rows: summary.gates,
      columns: GATE_COLUMNS,
    }),
    renderTable({
      caption: "Verdict by rule",
      rows: summary.rules,
      columns: [
        { head: "Rule", cell: (row) => markup`${row.title}<small>${name(row.id)}</small>` },
        {
          head: "Verdict",
          cell: (row) => neverTriggered(row) ? NEVER_TRIGGERED : renderVerdict(row.verdict),
          keep: true,
        },
        { head: "Gates that don't hold", cell: (row) => neverTriggered(row) ? "" : listFailures(row.gates) },
      ],
    }),
    renderTable({
      caption: "Verdict by host",
      rows: summary.hosts,
      columns: [
        { head: "Host", cell: (row) => markup`${name(row.hostname)} ${name(row.iface)}` },
        { head: "Verdict", cell: (row) => renderVerdict(row.verdict), keep: true },
        { head: "Why", cell: (row) => row.verdict_reason },
        { head: "SYN", right: true, cell: (row) => formatCount(row.traffic.syn) },
        { head: "Would be blocked", right: true, cell: (row) => formatRange(row.impact.share.syn, formatShare) },
        { head: "Harm", right: true, cell: ({ false_positives: f }) => formatLimit(f.upper) },
      ],
    }),
    renderShared(summary.shared_offenders),
    summary.fleet ? renderFleet(summary.fleet) : markup``,
    markup`<h3>Candidate rules</h3><p>${formatNumberOf(rules.rules.length, "rule")} in rules.json, with ${
      formatNumberOf(rules.exceptions.length, "exception")
    } that must never be blocked. They are for review: nothing enforces them.</p>
`,
  );
}

function renderFleet(fleet: FleetSummary): Html {
  const offenders = renderTable({
    caption: "Blocked most over all hosts",
    rows: fleet.top_offenders.slice(0, SHOWN),
    columns: [
      { head: "Source", cell: (row) => name(row.source) },
      { head: "Seen on hosts", right: true, cell: (row) => formatCount(row.hosts) },
      { head: "Would be blocked on", right: true, cell: (row) => formatCount(row.would_block_hosts) },
      { head: "Packets", right: true, cell: (row) => formatRange(row.would_block.packets) },
      { head: "SYN", right: true, cell: (row) => formatRange(row.would_block.syn) },
    ],
  });
  const widest = renderTable({
    caption: "Sources that most hosts have seen",
    note: fleet.sources_by_hosts.map(({ hosts, sources }) => `${formatCount(sources)} on ${formatCount(hosts)} or more`)
      .join(", ") + ".",
    rows: fleet.widest_sources.slice(0, SHOWN),
    columns: [
      { head: "Source", cell: (row) => name(row.source) },
      { head: "Hosts", right: true, cell: (row) => formatCount(row.hosts) },
      { head: "Would be blocked on", right: true, cell: (row) => formatCount(row.would_block_hosts) },
      { head: "Looks legitimate on", right: true, cell: (row) => formatCount(row.legitimate_hosts) },
      { head: "SYN", right: true, cell: (row) => formatCount(row.syn) },
    ],
  });
  const differing = renderTable({
    caption: "Hosts that differ from the others",
    rows: fleet.differing_hosts.slice(0, SHOWN),
    columns: [
      { head: "Host", cell: (row) => markup`${name(row.hostname)} ${name(row.iface)}` },
      { head: "In", cell: (row) => row.measure },
      { head: "Here", right: true, cell: (row) => `${Number(row.value.toPrecision(3))}` },
      { head: "Median of all", right: true, cell: (row) => `${Number(row.median.toPrecision(3))}` },
    ],
  });
  return markup`<h3>Over ${formatNumberOf(fleet.hosts, "host")}</h3>
${offenders}${widest}${differing}`;
}

function renderShared(rows: Summary["shared_offenders"]): Html {
  const table = (part: typeof rows) =>
    renderTable({
      caption: "Would-be-blocked sources on several hosts",
      rows: part,
      columns: [
        { head: "Source", cell: (row) => name(row.source) },
        { head: "Seen on hosts", right: true, cell: (row) => formatCount(row.hosts) },
        { head: "Would be blocked on", right: true, cell: (row) => formatCount(row.would_block_hosts) },
      ],
    });
  return rows.length <= SHOWN
    ? table(rows)
    : markup`${table(rows.slice(0, SHOWN))}${
      fold(`${formatCount(rows.length - SHOWN)} more`, table(rows.slice(SHOWN)), true)
    }`;
}

const GATE_COLUMNS: Column<Gate>[] = [
  { head: "Gate", cell: (row) => capitalize(row.title) },
  {
    head: "Outcome",
    cell: (row) => {
      const outcome = outcomeOf(row), words = trusted(`<span aria-hidden="true">${OUTCOMES[outcome]}</span>`);
      return markup`<span class="${outcome}">${renderOutcome(outcome)}</span> ${words}`;
    },
    keep: true,
  },
  { head: "Number", right: true, cell: formatGateValue },
  { head: "Limit", right: true, cell: formatGateLimit },
  { head: "Why", cell: (row) => row.reason },
  { head: "Option", cell: (row) => row.option === undefined ? undefined : name(row.option), keep: true },
];

function renderVerdict(verdict: Summary["verdict"]): Html {
  return markup`<span class="${verdictClass(verdict)}">${verdict}</span>`;
}

function listFailures(gates: readonly Gate[]): string {
  return gates.filter(({ outcome }) => outcome !== "pass").map(({ title, outcome }) => `${title} ${OUTCOMES[outcome]}`)
    .join("; ") || "none";
}
