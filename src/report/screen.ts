/**
 * The answer on one screen: the verdict first, then the numbers behind it. Pure.
 */
import type { Range } from "../rules/ruleset.ts";
import { formatCount, formatNumberOf, formatRange, formatRangeOf } from "../words.ts";
import { describeNumber, describeSeconds, explainGates, percent } from "./gates.ts";
import { describeFew, isUnbounded, keepsDefault, listDecisive, outcomeOf, type ShownOutcome } from "./sentences.ts";
import type { Gate, Summary } from "./summary.ts";

/** Lines for a terminal, without color; the last ends with a newline. */
export function describeAnswer(summary: Summary): string {
  const { evidence, traffic, impact, false_positives: fp, would_block_sources: blocked } = summary;
  const lines = [
    `${summary.verdict}`,
    describeReason(summary),
    ...listDecisive(summary),
    "",
    `Seen            ${describeSeconds(evidence.end_unix_sec - evidence.start_unix_sec)} on ${
      formatNumberOf(evidence.streams.length, "interface")
    }, ${percent(evidence.coverage)} watched, ${percent(summary.limits.loss)} of packets without a source`,
    `                ${formatNumberOf(traffic.packets, "packet")}, ${formatCount(traffic.syn)} SYN, ${
      formatNumberOf(traffic.sources, "source")
    }`,
    `Would block     ${sourcesOf(blocked)}: ${shares(impact.share.syn)} of SYN, ${
      shares(impact.share.packets)
    } of packets, ${shares(impact.share.bytes)} of bytes`,
    ...summary.rules.filter((rule) => rule.sources.possible > 0).map((rule) =>
      `  ${rule.id.padEnd(13)} ${sourcesOf(rule.sources)}: ${shares(rule.impact.share.syn)} of SYN (${
        rule.verdict === summary.verdict ? rule.verdict : describeAlone(rule)
      })`
    ),
    fp.upper === null
      ? "Would harm      unknown: no source looks likely legitimate yet (fp_bound says what that takes)"
      : isUnbounded(fp)
      ? `Would harm      not bounded yet: ${describeFew(fp)}`
      : `Would harm      ${formatCount(fp.hit)} of ${
        formatNumberOf(fp.legitimate, "likely-legitimate source")
      }; at most ${percent(fp.upper)} of such (at 95 % confidence)`,
    ...summary.time_to_block.median_sec === null ? [] : [
      `Time to block   within ${describeSeconds(summary.time_to_block.median_sec)} in the median, all within ${
        describeSeconds(summary.time_to_block.max_sec!)
      }`,
    ],
    ...summary.spoofing.likely_spoofed
      ? [`Likely spoofed  ${percent(summary.spoofing.share_of_syn)} of SYN from sources seen once`]
      : [],
    ...summary.sweep?.recommended && keepsDefault(summary.sweep)
      ? ["Sweep           no setting within the limit blocks more than these thresholds"]
      : summary.sweep?.recommended
      ? [
        `Sweep           the most effective setting within the limit, ${summary.sweep.recommended.syn_rate} SYN/s over ` +
        `${summary.sweep.recommended.window_sec} s, ratio ${summary.sweep.recommended.success_ratio}, ` +
        `would block ${percent(summary.sweep.recommended.blocked_abusive_syn_share)} of SYN that don't look legitimate`,
      ]
      : [],
    "",
    ...summary.gates.map(describeGate),
  ];
  const more = badLines(summary);
  return [...lines, ...more].map((line) => line.trimEnd() + "\n").join("");
}

/** The first reason: what else there is stands with the gates. */
function describeReason({ verdict, verdict_reason, gates }: Summary): string {
  const [first, ...more] = explainGates(gates);
  if (first === undefined || more.length === 0) return verdict_reason;
  const where = verdict === "NOT READY" ? OUTCOMES.fail : OUTCOMES.unknown;
  return `${first} And ${formatNumberOf(more.length, "more reason")}: see what is ${where} below.`;
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

const OUTCOMES: Record<ShownOutcome, string> = { pass: "pass", part: "in part", fail: "FAIL", unknown: "unknown" };

function describeGate(gate: Gate): string {
  return `  ${OUTCOMES[outcomeOf(gate)].padEnd(8)}${gate.id.padEnd(12)} ${describeNumber(gate)}: ${gate.reason}`;
}

/** The verdict of a rule by itself, where it isn't that of all, and the gates that make it. */
function describeAlone({ verdict, gates }: Pick<Summary["rules"][number], "verdict" | "gates">): string {
  const ids = (outcome: Gate["outcome"]) => gates.filter((gate) => gate.outcome === outcome).map(({ id }) => id);
  const decisive = verdict === "NOT READY" ? ids("fail") : ids("unknown");
  return `alone ${verdict}${decisive.length > 0 ? `: ${decisive.join(", ")}` : ""}`;
}

function sourcesOf({ certain, possible }: { certain: number; possible: number }): string {
  return formatRangeOf({ lower: certain, upper: possible }, "source");
}

function shares(range: Range): string {
  return formatRange(range, (share) => percent(share ?? NaN));
}
