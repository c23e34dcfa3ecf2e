/**
 * The report's sentences, for HTML and Markdown alike: what was seen, what would have happened, who would have been
 * harmed, what was not seen. Numbers come from the summary and are only formatted. Plain text, not escaped. Pure.
 */
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatRange,
  formatRangeOf,
  formatShare,
  formatShareBeside,
  formatShareLimit,
  formatSpan,
  showName,
} from "../words.ts";
import type { FpBound, Gate, Impact, SourceRow, Summary } from "./summary.ts";

/** One of the three numbers that a report begins with. */
export interface Headline {
  title: string;
  /** The number, with its bounds. */
  big: string;
  /** Of what. */
  of: string;
  /** What it rests on, a line each. */
  basis: string[];
}

/** What would be blocked. */
export function blockedHeadline({ impact, would_block_sources, traffic }: Summary): Headline {
  const { certain: lower, possible: upper } = would_block_sources;
  return {
    title: "What would be blocked",
    big: traffic.syn === 0 ? "nothing" : formatRange(impact.share.syn, formatShare),
    of: "of all connection attempts (SYN)",
    basis: [
      `${formatRange(impact.syn)} of ${formatCount(traffic.syn)} SYN, from ${formatRange({ lower, upper })} of ${
        formatNumberOf(traffic.sources, "source")
      }.`,
      `${formatRange(impact.share.packets, formatShare)} of packets, ${
        formatRange(impact.share.bytes, formatShare)
      } of bytes.`,
    ],
  };
}

/** A limit above this tells nothing that anybody could act on: too few sources or networks were seen for one. */
const USELESS_LIMIT = 0.5;

/** Whether there are so few likely-legitimate sources that the limit of those hit says nothing; false without any. */
export function isUnbounded({ point, upper }: Pick<FpBound, "point" | "upper">): boolean {
  return upper !== null && upper > USELESS_LIMIT && point! <= USELESS_LIMIT;
}

/** What the bound rests on where it says nothing: `0 of 6 likely-legitimate sources in 1 network`. */
export function describeFew({ legitimate, hit, by_network }: FpBound): string {
  return `${formatCount(hit)} of ${formatNumberOf(legitimate, "likely-legitimate source")} in ${
    formatNumberOf(by_network.legitimate, "network")
  }`;
}

/** Who would be harmed. */
export function harmHeadline({ false_positives }: Summary): Headline {
  const { legitimate, hit, upper, harm } = false_positives;
  const basis = legitimate === 0
    ? ["No source could be told to be likely legitimate, so the share can't be bounded."]
    : isUnbounded(false_positives)
    ? [`Too few for a limit that says anything: at 95\u00a0% confidence it is ${formatShare(upper)}.`]
    : [`${formatCount(hit)} of ${formatNumberOf(legitimate, "likely-legitimate source")} would be blocked.`];
  // Where nobody looks legitimate, that none of them would be hit says nothing.
  if (harm.sources > 0) {
    const who = formatNumberOf(
      harm.sources,
      "likely-legitimate or shared address",
      "likely-legitimate or shared addresses",
    );
    basis.push(
      `${who} would lose ${formatRangeOf(harm.connections, "connection")} in ${
        formatRangeOf(harm.blocked_minutes, "minute")
      }.`,
    );
  } else if (legitimate > 0) basis.push("No connection of a likely-legitimate or shared address would be blocked.");
  const title = "Who would be harmed";
  return isUnbounded(false_positives)
    ? { title, big: "not bounded yet", of: `${describeFew(false_positives)} would be blocked`, basis }
    : { title, big: formatLimit(upper), of: "of likely-legitimate sources, at 95\u00a0% confidence", basis };
}

/** What was not seen. */
export function unseenHeadline({ evidence, limits }: Summary): Headline {
  return {
    title: "What was not seen",
    big: formatShare(1 - evidence.coverage),
    of: `of ${formatDuration(evidence.observed_sec)}: nobody watched`,
    basis: [
      `${formatDuration(limits.gaps_sec)} in gaps, ${formatNumberOf(limits.restarts, "restart")}.`,
      `${formatShare(limits.loss)} of packets counted without their source.`,
    ],
  };
}

/** What the report rests on. */
export function seenSentence({ evidence, traffic }: Summary): string {
  const { streams } = evidence;
  return `Over ${formatDuration(evidence.observed_sec)} (${
    formatSpan(evidence.start_unix_sec, evidence.end_unix_sec)
  }), ${formatNumberOf(streams.length, "interface")} took ${formatNumberOf(traffic.packets, "packet")} (${
    formatBytes(traffic.bytes)
  }) and ${formatNumberOf(traffic.syn, "connection attempt")} (SYN) from ${
    formatNumberOf(traffic.sources, "source")
  }; ${formatShare(evidence.coverage)} of the time was watched.`;
}

/** What the policy would have done. */
export function impactSentence(summary: Summary): string {
  const { impact, would_block_sources: { certain: lower, possible: upper }, time_to_block, traffic } = summary;
  if (traffic.packets === 0) return "Nothing was counted, so nothing would have been blocked.";
  if (upper === 0) return "No rule would have blocked any source.";
  return `${formatRangeOf({ lower, upper }, "source")} would have been blocked, and with ${
    upper === 1 ? "it" : "them"
  } ${formatRangeOf(impact.syn, "connection attempt")}, ${formatRange(impact.share.syn, formatShare)} of all. ${
    timeToBlockSentence(time_to_block)
  }`;
}

/** How fast, and what got through before. */
function timeToBlockSentence({ median_sec, max_sec, let_through }: Summary["time_to_block"]): string {
  if (median_sec === null) return "No time to block can be told.";
  const { syn, packets, bytes } = let_through;
  return `A block would have come within ${formatDuration(median_sec)} of the onset (median; all within ${
    formatDuration(max_sec)
  }); before, ${formatRange(syn)} SYN in ${formatRangeOf(packets, "packet")} (${
    formatRange(bytes, formatBytes)
  }) got through.`;
}

/** The bound, and what it rests on. */
export function harmSentence(bound: FpBound): string {
  const { legitimate, hit, point, upper, by_network } = bound;
  if (legitimate === 0) {
    return "No source could be told to be likely legitimate: who would have been harmed is unknown.";
  }
  if (isUnbounded(bound)) {
    return `${describeFew(bound)} would have been blocked at least once: too few to bound the share.`;
  }
  return `Of ${formatNumberOf(legitimate, "likely-legitimate source")}, ${
    formatCount(hit)
  } would have been blocked at least once (${formatShare(point)}). With 95\u00a0% confidence the share is at most ${
    formatShare(upper)
  }; by network, ${formatCount(by_network.hit)} of ${formatCount(by_network.legitimate)}, at most ${
    formatShare(by_network.upper)
  }. The larger bound counts.`;
}

/** What escaped notice. */
export function unseenSentence({ evidence, limits }: Summary): string {
  return `${formatDuration(limits.gaps_sec)} of ${formatDuration(evidence.observed_sec)} (${
    formatShare(1 - evidence.coverage)
  }) were not watched, and ${formatNumberOf(limits.unattributed.packets, "packet")} (${
    formatShare(limits.loss)
  }) were counted without their source. What came unwatched is in no number; what came without a source widens the upper bounds of the whole.`;
}

/** Whether the sweep found nothing that does more than what was tried. */
export function keepsDefault({ default: standard, recommended }: NonNullable<Summary["sweep"]>): boolean {
  return recommended !== null && recommended.window_sec === standard.window_sec &&
    recommended.syn_rate === standard.syn_rate && recommended.success_ratio === standard.success_ratio;
}

/** How long a block lasts, which thresholds alone don't say; nothing for policies of other engines. */
export function blockSentence({ options }: Pick<Summary, "options">): string {
  const seconds = options["block-duration-sec"];
  return typeof seconds === "number" ? `A block lasts ${formatDuration(seconds)} (--block-duration-sec).` : "";
}

/** How much of the SYNs comes from sources that can't be blocked to any use. */
export function spoofingSentence(
  { one_shot_sources, one_shot_syn, share_of_syn, likely_spoofed }: Summary["spoofing"],
): string {
  const share = `${formatNumberOf(one_shot_sources, "source")} sent at most 3 SYN in one interval and completed none: ${
    formatNumberOf(one_shot_syn, "SYN", "SYN")
  }, ${formatShare(share_of_syn)} of all.`;
  return likely_spoofed
    ? `${share} Most are likely spoofed. Rules by source chase addresses that never return; SYN cookies or filtering upstream help instead.`
    : share;
}

/** Packets, bytes and connections with bounds, expectation and share, for a table. */
export function listImpact({ packets, bytes, syn, share }: Impact) {
  return [
    {
      what: "Connection attempts (SYN)",
      bounds: formatRange(syn),
      expected: formatCount(syn.expected),
      share: formatRange(share.syn, formatShare),
    },
    {
      what: "Packets",
      bounds: formatRange(packets),
      expected: formatCount(packets.expected),
      share: formatRange(share.packets, formatShare),
    },
    {
      what: "Bytes",
      bounds: formatRange(bytes, formatBytes),
      expected: formatBytes(bytes.expected),
      share: formatRange(share.bytes, formatShare),
    },
  ];
}

/** Frames that were seen and not counted, by reason, in words. */
export function listNotCounted(notCounted: Summary["limits"]["not_counted"]): { what: string; frames: string }[] {
  if (notCounted === null) return [];
  return [
    { what: "Not TCP (UDP, ICMP, ARP, …)", frames: formatCount(notCounted.not_tcp) },
    { what: "TCP to ports that are not monitored", frames: formatCount(notCounted.other_port) },
    { what: "Malformed headers", frames: formatCount(notCounted.malformed) },
    { what: "Later fragments, which have no TCP header", frames: formatCount(notCounted.later_fragment) },
    { what: "Encapsulated (tunnels, MPLS, PPPoE, ESP)", frames: formatCount(notCounted.unknown_encapsulation) },
  ];
}

/** What stands for the verdict of a rule that never triggered: nothing speaks for or against it. */
export const NEVER_TRIGGERED = "not triggered";

/** Whether a rule would never have acted on anybody, not even perhaps; of one that counters can't show, nobody knows. */
export function neverTriggered(
  { coverage, decisions, sources }: Pick<Summary["rules"][number], "coverage" | "decisions" | "sources">,
): boolean {
  return coverage !== "not observable" && decisions.certain + decisions.possible + sources.possible === 0;
}

/** What is said about the policy that changes what the verdict means, a sentence each, for beside the verdict. */
export function listDecisive({ policy }: Pick<Summary, "policy">): string[] {
  return policy.findings.filter(({ decisive }) => decisive).map(({ message }) => `Warning: ${message}.`);
}

/** How the outcome of a gate is said. */
export const OUTCOMES: Record<ShownOutcome, string> = {
  pass: "holds",
  part: "holds in part",
  fail: "fails",
  unknown: "can't be judged",
};

/** A gate's outcome as it is shown: what was asked only in part has a mark of its own. */
export type ShownOutcome = Gate["outcome"] | "part";

/** Which of them a gate has. */
export function outcomeOf({ outcome, in_part }: Pick<Gate, "outcome" | "in_part">): ShownOutcome {
  return in_part ? "part" : outcome;
}

/** A source's class, where it was given one. */
export function className(source: Pick<SourceRow, "class">): string {
  return source.class ?? "not judged";
}

/** What days a table lacks, as a sentence; nothing if it lacks none. */
export function lackingDays(days: Summary["days"]): string {
  const lacks = days.some((day, i) => i > 0 && day.start_unix_sec > days[i - 1]!.end_unix_sec);
  return lacks ? "Days that nobody watched are left out where there are more than seven in a row." : "";
}

/** A gate's number, beside its limit; a text is shown as it is. */
export function formatGateValue({ value, limit, unit }: Pick<Gate, "value" | "limit" | "unit">): string {
  if (unit === "share" && typeof value === "number" && typeof limit === "number") {
    return formatShareBeside(value, limit);
  }
  return formatMeasure(value, unit);
}

/** A gate's limit. */
export function formatGateLimit({ limit, unit }: Pick<Gate, "limit" | "unit">): string {
  return unit === "share" && typeof limit === "number" ? formatShareLimit(limit) : formatMeasure(limit, unit);
}

function formatMeasure(value: Gate["value"], unit: Gate["unit"]): string {
  if (typeof value === "string") return showName(value);
  return unit === "share" ? formatShare(value) : unit === "sec" ? formatDuration(value) : formatCount(value);
}
