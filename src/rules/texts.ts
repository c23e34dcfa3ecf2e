/**
 * Texts of a rule set in the formats' own quotations. Pure.
 *
 * Reasons, host names and policy words come from whoever made the file, and end in files that shells, parsers and
 * people read. A comment gets letters, digits and harmless marks only, on one line; a quoted text keeps all that can
 * be seen. What can reorder or hide text (controls, bidirectional marks, zero widths) is shown as "?".
 */
import { formatCount } from "../words.ts";
import type { RuleSet } from "./ruleset.ts";

/** Text for a comment or a quoted name in any of the formats: printable ASCII without quotes, `$` and the like. */
export function plainText(text: string, maxLength: number): string {
  const ascii = text.normalize("NFKC").replaceAll("≥", ">=").replaceAll("≤", "<=").replaceAll("…", "...").replaceAll(
    "×",
    "x",
  )
    .replaceAll("∞", "unlimited")
    .replaceAll(/[–—−]/g, "-").replaceAll(/\s+/g, " ").replaceAll(/[^A-Za-z0-9 .,:/()%+=<>@_-]/gu, "?").trim();
  return ascii.length <= maxLength ? ascii : `${ascii.slice(0, maxLength - 3)}...`;
}

/** Text for a format with quotations of its own (JSON, CSV): one line, nothing invisible. */
export function visibleText(text: string, maxLength: number): string {
  const line = text.toWellFormed().replaceAll(/\s+/g, " ").replaceAll(/[\p{C}\u2028\u2029]/gu, "?").trim();
  return [...line.slice(0, 2 * maxLength)].slice(0, maxLength).join("");
}

/** The engine of the policy that ibsr itself has: no file, so no checksum. */
export const BUILT_IN = "ibsr";

/** A policy in short, for names: the checksum's first digits, or else the engine's name and ibsr's version. */
export function policyTag(
  { policy, ibsr_version }: Pick<RuleSet, "policy" | "ibsr_version">,
  digits: number,
): string {
  if (policy.sha256 !== undefined) return policy.sha256.slice(0, digits);
  return `${policy.engine}-${ibsr_version}`.replaceAll(/[^A-Za-z0-9.-]+/g, "-").slice(0, 40);
}

/** How long the shortest and the longest of some times last: `300 s`, `60 to 3,600 s`. */
export function describeTimes(seconds: readonly number[]): string {
  const [least, most] = seconds.reduce(([a, b], s) => [Math.min(a, s), Math.max(b, s)], [Infinity, 0]);
  return least === most ? `${formatCount(most)} s` : `${formatCount(least)} to ${formatCount(most)} s`;
}

/** Seconds since 1970 as a date and time in UTC. */
export function utc(unixSec: number): string {
  return new Date(Math.min(Math.floor(unixSec), 253_402_300_799) * 1000).toISOString().replace(".000Z", "Z");
}
