/**
 * `ibsr policy check`: what is wrong with a policy's files, and how much of it counters can show.
 */
import { EXIT, IbsrError } from "../errors.ts";
import { formatPlace } from "../policy/document.ts";
import type { Finding, Rule } from "../policy/policy.ts";
import { showName, showText } from "../words.ts";
import type { Context } from "./command.ts";
import { fitLines } from "./help.ts";
import type { Values } from "./options.ts";
import { type Loaded, loadOptions, loadPolicy, readPolicyFiles } from "./policy_files.ts";
import type { POLICY_CHECK_OPTIONS } from "./tables/policy.ts";

/** `ibsr policy check`: returns the exit code. */
export function runPolicyCheck(
  values: Values<typeof POLICY_CHECK_OPTIONS>,
  { operands, print, page }: Context,
): number {
  if (operands.length === 0) {
    throw new IbsrError("usage", "Cannot check a policy: no file was given", { hint: "ibsr policy check FILE…" });
  }
  const loaded = loadPolicy(readPolicyFiles(operands), loadOptions(values));
  print(values.json ? renderJson(loaded) : fitLines(renderText(loaded), page));
  return loaded.findings.some((f) => f.severity === "error") ? EXIT.data : 0;
}

function countBy<T, K extends string>(list: readonly T[], keys: readonly K[], keyOf: (one: T) => K): Record<K, number> {
  const counts = Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;
  for (const one of list) counts[keyOf(one)]++;
  return counts;
}

const SEVERITIES = ["error", "warning", "note"] as const;
const COVERAGES = ["exact", "bounded", "not observable"] as const;

function renderJson({ files, engine, policy, findings }: Loaded): string {
  const rules = policy?.rules ?? [];
  const checked = {
    format: "ibsr-policy-check",
    version: 1,
    engine: engine?.name ?? null,
    profile: policy?.profile ?? null,
    files: files.map(({ path }) => path),
    ok: !findings.some((f) => f.severity === "error"),
    findings,
    rules,
    counts: {
      findings: countBy(findings, SEVERITIES, (f) => f.severity),
      rules: countBy(rules, COVERAGES, (r) => r.coverage),
    },
  };
  return JSON.stringify(checked, null, 2) + "\n";
}

function renderText({ files, engine, policy, findings }: Loaded): string {
  const rules = policy?.rules ?? [], lines: string[] = [];
  const profile = policy?.profile === undefined ? "" : ` (${policy.profile})`;
  lines.push(
    `${engine?.name ?? "unknown engine"}${profile}: ${files.map(({ path }) => showName(path)).join(", ")}`,
    "",
  );
  const bySeverity = SEVERITIES.flatMap((severity) => findings.filter((f) => f.severity === severity));
  lines.push(...bySeverity.map(describeFinding));
  if (findings.length > 0) lines.push("");
  const broken = findings.some((f) => f.severity === "error");
  if (!broken) lines.push(...listRules(rules));
  const severities = countBy(findings, SEVERITIES, (f) => f.severity),
    coverages = countBy(rules, COVERAGES, (r) => r.coverage);
  const counted = (count: number, word: string) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const found = SEVERITIES.map((severity) => counted(severities[severity], severity)).join(", ");
  const shown = COVERAGES.map((coverage) => `${coverages[coverage]} ${coverage}`).join(", ");
  lines.push(broken ? found : `${found}; ${counted(rules.length, "rule")}: ${shown}`);
  return lines.join("\n") + "\n";
}

/** A finding on one line, as compilers print them. */
export function describeFinding({ severity, message, place }: Finding): string {
  const where = place ? `${formatPlace({ ...place, path: showName(place.path) })}: ` : "";
  return `${where}${severity}: ${showText(message)}`;
}

/** A line a rule, in columns, and a blank one. */
function listRules(rules: readonly Rule[]): string[] {
  if (rules.length === 0) return [];
  const rows = rules.map(({ id, kind, mode, coverage, reason }) => [
    showName(id),
    showName(kind),
    mode,
    coverage,
    showText(reason ?? ""),
  ]);
  const table = [["RULE", "KIND", "MODE", "COVERAGE", "WHY"], ...rows];
  const widths = [0, 1, 2, 3].map((i) => Math.min(40, Math.max(...table.map((row) => row[i]!.length))));
  return [...table.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd()), ""];
}
