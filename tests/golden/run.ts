/**
 * Runs a situation: writes its files, reads them as evidence, assesses the default policy on them.
 */
import { createPrefixSet, parseAllowlist } from "../../src/allowlist.ts";
import { readEvidence } from "../../src/evidence/read.ts";
import { listInputs } from "../../src/input.ts";
import { type NativeOptions, nativePolicy } from "../../src/policy/native.ts";
import { DEFAULT_THRESHOLDS } from "../../src/policy/thresholds.ts";
import { parsePrefix } from "../../src/prefix.ts";
import { assess, type AssessOptions } from "../../src/report/assess.ts";
import type { NamedDecision, SourceRow, Summary } from "../../src/report/summary.ts";
import type { RuleSet } from "../../src/rules/ruleset.ts";
import { optionsOf, type Situation, SITUATIONS } from "./situations.ts";

/** A report, its lists made. */
export interface Outcome {
  summary: Summary;
  rules: RuleSet;
  sources: SourceRow[];
  decisions: NamedDecision[];
}

/** The situation of that name. */
export function situationOf(name: string): Situation {
  const found = SITUATIONS.find((situation) => situation.name === name);
  if (!found) throw new Error(`there is no situation ${name}`);
  return found;
}

/** Writes a situation's files into a temporary folder, which goes when it is disposed of. */
export function placeFiles({ files }: Situation): Disposable & { directory: string } {
  const directory = Deno.makeTempDirSync();
  for (const [path, text] of Object.entries(files)) {
    Deno.mkdirSync(`${directory}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${directory}/${path}`, text);
  }
  return { directory, [Symbol.dispose]: () => Deno.removeSync(directory, { recursive: true }) };
}

/** What is asked of a situation's files; the sweep whether or not the situation has one. */
export function askedOf(situation: Situation): { native: NativeOptions; assess: AssessOptions } {
  const allowlist = parseAllowlist(situation.allowlist ?? "", "allow.txt");
  const native = { ...DEFAULT_THRESHOLDS, ...situation.policy, allowlist };
  const { windowMs, synRate, successRatio, blockDurationMs } = native;
  return {
    native,
    assess: {
      ...optionsOf(situation),
      ibsrVersion: "0.0.0",
      options: {},
      allowlist,
      selfAddresses: createPrefixSet((situation.selfAddresses ?? []).map((text) => parsePrefix(text)!)),
      sweep: { windowMs, synRate, successRatio, blockDurationMs },
      floodRate: synRate,
    },
  };
}

/** Paths in the result are relative to the situation's folder. */
export async function runSituation(situation: Situation): Promise<Outcome> {
  using placed = placeFiles(situation);
  const { native, assess: options } = askedOf(situation);
  using evidence = await readEvidence(listInputs([placed.directory]));
  const sweep = situation.sweep && options.sweep;
  const { summary, rules, sources, decisions } = await assess(evidence, nativePolicy(native), { ...options, sweep });
  const text = JSON.stringify({ summary, rules, sources: [...sources], decisions: [...decisions] });
  return JSON.parse(text.replaceAll(`${placed.directory}/`, ""));
}


/** Where the expected summary of a situation lies. */
export function expectedPath(name: string): string {
  return new URL(`${name}/summary.json`, import.meta.url).pathname;
}

/** JSON with a line for each entry of the lists and objects two levels down: short, and still good to compare. */
export function formatSummary(summary: Summary): string {
  const entries = Object.entries(summary).map(([key, value]) => {
    const inner = Array.isArray(value)
      ? lines("[", value.map((one) => JSON.stringify(one)), "]")
      : typeof value === "object" && value !== null
      ? lines("{", Object.entries(value).map(([k, one]) => `${JSON.stringify(k)}: ${formatValue(one)}`), "}")
      : JSON.stringify(value);
    return `${JSON.stringify(key)}: ${inner}`;
  });
  return `{\n${entries.join(",\n")}\n}\n`;
}

function formatValue(value: unknown): string {
  if (!Array.isArray(value) || value.length < 2) return JSON.stringify(value);
  return `[\n${value.map((one) => `    ${JSON.stringify(one)}`).join(",\n")}\n  ]`;
}

function lines(open: string, parts: readonly string[], close: string): string {
  return parts.length === 0 ? open + close : `${open}\n${parts.map((part) => `  ${part}`).join(",\n")}\n${close}`;
}
