/**
 * What every file says of itself: what it is, what it rests on, when it ends, what it lost, and how to apply and undo
 * it. Lines of plain ASCII text without a comment mark.
 */
import { formatCount, formatNumberOf } from "../words.ts";
import type { Entry, Loss } from "./fit.ts";
import type { LeftOut, Plan } from "./normalise.ts";
import { BUILT_IN, describeTimes, plainText, utc } from "./texts.ts";

/** What a header needs to know besides the plan. */
export interface HeaderOptions {
  title: string;
  shadow: boolean;
  /** Whether the format itself ends a block. */
  expires: boolean;
  /** Whether this host's own addresses were asked for and kept out. */
  hostChecked: boolean;
  losses: readonly Loss[];
  entries: readonly Entry[];
  apply: readonly string[];
  undo: readonly string[];
}

/** The lines of a header. */
export function headerLines(plan: Plan, options: HeaderOptions): string[] {
  const { set } = plan, { evidence } = set;
  const streams = evidence.streams.slice(0, 8).map((s) => plainText(`${s.hostname} ${s.iface}`, 80)).join(", ");
  const more = evidence.streams.length > 8 ? ` and ${evidence.streams.length - 8} more` : "";
  return [
    `ibsr: candidate rules for ${options.title}${
      options.shadow ? ", SHADOW: they count or report and drop nothing" : ""
    }`,
    "",
    "A HUMAN MUST REVIEW THIS BEFORE USE. It was made from recorded traffic; nothing has been blocked yet.",
    ...set.verdict === "READY" ? [] : [`THE REPORT'S VERDICT IS ${set.verdict}: DON'T ENFORCE THIS.`],
    `verdict:   ${set.verdict}`,
    `policy:    ${describePolicy(set)}`,
    `evidence:  ${utc(evidence.start_unix_sec)} to ${utc(evidence.end_unix_sec)}, ${streams}${more}`,
    `made by:   ibsr ${plainText(set.ibsr_version, 40)}`,
    `entries:   ${formatCount(options.entries.length)} from ${formatNumberOf(set.rules.length, "rule")}`,
    ...describeSources(options.entries),
    `expires:   ${describeExpiry(plan, options)}`,
    ...describeLegitimate(options.entries),
    options.hostChecked
      ? "lock-out:  this host's addresses, gateways, resolvers and the SSH peer were looked up and are not in here"
      : "lock-out:  NOT CHECKED against the host that will use this (--no-host-check): look yourself",
    ...describeLeftOut(plan.leftOut),
    ...plan.cut > 0 ? [`allowlist: cut out of ${formatNumberOf(plan.cut, "network")}`] : [],
    ...options.losses.length === 0
      ? ["lost:      nothing: the file says what was simulated"]
      : options.losses.map(({ kind, text }) => `lost:      ${describeKind(kind)}${plainText(text, 400)}`),
    ...options.losses.some(({ kind }) => kind === "wider")
      ? ["           WIDER THAN SIMULATED: the report's numbers don't hold; simulate again with the wider match"]
      : [],
    "",
    "apply:",
    ...options.apply.map((line) => `  ${line}`),
    "undo:",
    ...options.undo.map((line) => `  ${line}`),
  ];
}

/** Its file's checksum; what is built in has no file, and is told by ibsr's version. */
function describePolicy({ policy, ibsr_version }: Plan["set"]): string {
  const name = plainText([policy.engine, policy.profile].filter(Boolean).join(" "), 80);
  if (policy.sha256 !== undefined) return `${name}, sha256 ${policy.sha256}`;
  return policy.engine === BUILT_IN
    ? `built into ibsr ${plainText(ibsr_version, 40)}; its thresholds are the options in the report's summary.json`
    : `${name}, checksum not recorded`;
}

function describeKind(kind: Loss["kind"]): string {
  return kind === "note" ? "" : `${kind}: `;
}

/** When the sources were hot, and what a list of them is not. */
function describeSources(entries: readonly Entry[]): string[] {
  const rules = new Set(entries.flatMap((entry) => entry.rules));
  if (rules.size === 0) return [];
  let first = Infinity, last = 0;
  const sources = new Set<string>(), times = new Set<number>();
  for (const rule of rules) {
    first = Math.min(first, rule.first_trigger_unix_sec);
    last = Math.max(last, rule.last_trigger_unix_sec);
    sources.add(rule.source);
    if (rule.duration_sec !== null) times.add(rule.duration_sec);
  }
  const long = times.size === 0 ? "for good" : `for ${describeTimes([...times])}`;
  return [
    `sources:   ${formatNumberOf(sources.size, "candidate")} that met the policy between ${utc(first)} and ${
      utc(last)
    }`,
    "           THIS LIST IS NOT THE POLICY that the verdict is about. The policy blocks whoever meets it, when they",
    `           do, ${long}; the list drops these sources alone, from when it is applied, whatever they do`,
    "           then. Days later they may be silent, and their addresses somebody else's.",
  ];
}

/** When blocks end, counted from when the file is applied: when that is, it can't know. */
function describeExpiry({ regions }: Plan, { expires }: HeaderOptions): string {
  const durations = regions.flatMap(({ spans }) => spans.map(({ durationSec }) => durationSec));
  const timed = durations.filter((d) => d !== Infinity), forGood = durations.length - timed.length;
  if (durations.length === 0) return "nothing is blocked";
  if (timed.length === 0) return "never: every entry is for good";
  const rest = forGood > 0 ? `, ${formatNumberOf(forGood, "entry", "entries")} never` : "";
  return expires
    ? `each entry ${describeTimes(timed)} after the file is applied, whenever that is${rest}`
    : `not by itself: remove each entry ${describeTimes(timed)} after it is applied${rest}`;
}

function describeLegitimate(entries: readonly Entry[]): string[] {
  const n = entries.filter(({ rules }) => rules.some((rule) => rule.class === "likely legitimate")).length;
  return n === 0 ? [] : [`CAUTION:   ${formatNumberOf(n, "entry is", "entries are")} of sources that look legitimate`];
}

function describeLeftOut(leftOut: readonly LeftOut[]): string[] {
  const shown = leftOut.filter(({ kind }) => kind !== "allowlist");
  const allowed = leftOut.length - shown.length;
  return [
    ...shown.slice(0, 20).map(({ rule, kind, reason }) =>
      `left out:  ${kind === "lockout" ? "WOULD LOCK OUT: " : ""}${plainText(rule.source, 60)} (${rule.id}): ${
        plainText(reason, 200)
      }`
    ),
    ...shown.length > 20 ? [`left out:  and ${shown.length - 20} more`] : [],
    ...allowed > 0 ? [`left out:  ${formatNumberOf(allowed, "rule")} of allowlisted sources`] : [],
  ];
}

/** The header as comment lines. */
export function commentLines(lines: readonly string[], mark = "#"): string {
  return lines.map((line) => `${mark} ${line}`.trimEnd() + "\n").join("");
}

/** What an entry rests on, for a comment: its rules, and the first one's reason. */
export function describeEntry({ rules }: Entry, maxLength: number): string {
  const [first] = rules;
  if (!first) return "";
  const ids = rules.slice(0, 3).map(({ id }) => id).join(" ") + (rules.length > 3 ? ` +${rules.length - 3}` : "");
  return plainText(`${ids}: ${first.reason}`, maxLength);
}
