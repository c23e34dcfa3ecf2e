/**
 * The answer on one screen: the verdict first, then the numbers behind it. Pure.
 */
import type { Range } from "../rules/ruleset.ts";
import { formatCount, formatNumberOf } from "../words.ts";
import { describeSeconds, describeValue, percent } from "./gates.ts";
import type { Gate, Summary } from "./summary.ts";

/** Lines for a terminal, without color; the last ends with a newline. */
export function describeAnswer(summary: Summary): string {
  const { evidence, traffic, impact, false_positives: fp, would_block_sources: blocked } = summary;
  const lines = [
    `${summary.verdict}`,
    summary.verdict_reason,
    "",
    `Seen            ${describeSeconds(evidence.end_unix_sec - evidence.start_unix_sec)} on ${
      formatNumberOf(evidence.streams.length, "interface")
    }, ${percent(evidence.coverage)} watched, ${percent(summary.limits.loss)} of packets without a source`,
    `                ${formatCount(traffic.packets)} packets, ${formatCount(traffic.syn)} SYN, ${
      formatCount(traffic.sources)
    } sources`,
    `Would block     ${sourcesOf(blocked)}: ${shares(impact.share.syn)} of SYN, ${
      shares(impact.share.packets)
    } of packets, ${shares(impact.share.bytes)} of bytes`,
    ...summary.rules.filter((rule) => rule.sources.possible > 0).map((rule) =>
      `  ${rule.id.padEnd(13)} ${sourcesOf(rule.sources)}: ${shares(rule.impact.share.syn)} of SYN (${rule.verdict})`
    ),
    `Would harm      ${fp.hit} of ${fp.legitimate} likely-legitimate sources; at most ${
      fp.upper === null ? "unknown" : percent(fp.upper)
    } of such (95 %)`,
    ...summary.time_to_block.median_sec === null ? [] : [
      `Time to block   ${describeSeconds(summary.time_to_block.median_sec)} in the median, ${
        describeSeconds(summary.time_to_block.max_sec!)
      } at most`,
    ],
    ...summary.spoofing.likely_spoofed
      ? [`Likely spoofed  ${percent(summary.spoofing.share_of_syn)} of SYN from sources seen once`]
      : [],
    ...summary.sweep?.recommended
      ? [
        `Sweep           the most effective setting within the limit: ${summary.sweep.recommended.syn_rate} SYN/s over ` +
        `${summary.sweep.recommended.window_sec} s, ratio ${summary.sweep.recommended.success_ratio}: ` +
        `${percent(summary.sweep.recommended.blocked_abusive_syn_share)} of SYN that are not legitimate`,
      ]
      : [],
    "",
    ...summary.gates.map(describeGate),
  ];
  const more = badLines(summary);
  return [...lines, ...more].map((line) => line.trimEnd() + "\n").join("");
}

function badLines({ evidence }: Summary): string[] {
  if (evidence.bad_line_count === 0) return [];
  const [first] = evidence.bad_lines;
  return [
    "",
    `${formatNumberOf(evidence.bad_line_count, "line")} could not be read; the first: ${first!.path}:${first!.line}: ${
      first!.reason
    }`,
  ];
}

const OUTCOMES: Record<Gate["outcome"], string> = { pass: "pass", fail: "FAIL", unknown: "unknown" };

function describeGate({ id, value, limit, unit, outcome, reason, option }: Gate): string {
  const range = `${describeValue(value, unit)} (limit ${describeValue(limit, unit)}${option ? `, ${option}` : ""})`;
  return `  ${OUTCOMES[outcome].padEnd(8)}${id.padEnd(12)} ${range}: ${reason}`;
}

function sourcesOf({ certain, possible }: { certain: number; possible: number }): string {
  return certain === possible
    ? formatNumberOf(certain, "source")
    : `${certain} to ${formatNumberOf(possible, "source")}`;
}

function shares({ lower, upper }: Range): string {
  const low = percent(lower), high = percent(upper);
  return low === high ? low : `${low.replace(" %", "")} to ${high}`;
}
