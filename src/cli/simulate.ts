/**
 * `ibsr simulate`: other engines' policies on recorded traffic, each as a report of its own, and side by side.
 */
import { createPrefixSet } from "../allowlist.ts";
import { IbsrError } from "../errors.ts";
import type { Evidence } from "../evidence/read.ts";
import { log } from "../log.ts";
import { nativePolicy } from "../policy/native.ts";
import type { Policy, PolicyFile } from "../policy/policy.ts";
import { assess } from "../report/assess.ts";
import { compare, type Compared, type Comparison } from "../report/compare.ts";
import type { InputFile } from "../report/csv.ts";
import { formatCount, formatNumberOf, formatRange, formatRangeOf, formatShare, showName } from "../words.ts";
import { startObserverThread } from "../report/observe_apart.ts";
import type { Summary } from "../report/summary.ts";
import { writeComparison, writeReport } from "../report/write.ts";
import {
  gateLimits,
  nativeOptions,
  openDecisions,
  printAnswer,
  showIntervals,
  sourceDateEpoch,
  VERDICT_EXIT,
} from "./assessment.ts";
import type { Context } from "./command.ts";
import { fitLines } from "./help.ts";
import { openInputs, readWithProgress, storedBytes } from "./inputs.ts";
import { readAllowlists } from "./named_files.ts";
import { resolveOptions, type Values } from "./options.ts";
import { describeFinding } from "./policy.ts";
import { startPhases } from "./progress.ts";
import { hashFiles, loadOptions, loadPolicy, readPolicyFiles } from "./policy_files.ts";
import { NATIVE, type SIMULATE_OPTIONS } from "./tables/simulate.ts";
import { GATE_OPTIONS, POLICY_OPTIONS } from "./tables/report.ts";
import { VERSION } from "./version.ts";

/** From this many SYN/s of all sources together on it is a flood. */
const FLOOD_RATE = 100;

/** `ibsr simulate`: returns the exit code. */
export async function runSimulate(
  values: SimulateValues,
  context: Context,
): Promise<number> {
  const { operands, print, environment } = context;
  const paths = [...values.in, ...operands];
  const missing = values.policy.length === 0 ? "--policy" : paths.length === 0 ? "--in" : "--out";
  if (values.policy.length === 0 || paths.length === 0 || values.out === undefined) {
    throw new IbsrError("usage", `Cannot simulate: no ${missing} was given`, {
      hint: "ibsr simulate --policy FILE… --in PATH… --out DIR",
    });
  }
  const { out } = values, exceptions = readAllowlists(values.allowlist);
  const candidates = values.policy.map((name, i) => readCandidate(name, i, { values, exceptions }));
  const inputs = await openInputs(paths, values, context), endPhase = startPhases();
  using thread = startObserverThread(storedBytes(inputs));
  using evidence = await readWithProgress(inputs, context.signal);
  endPhase("reading");
  const compared: Compared[] = [];
  for (const candidate of candidates) {
    const { name, policy, files, directory } = candidate;
    using decisions = openDecisions();
    const bar = showIntervals(evidence, `simulating ${showName(name)}`);
    const assessment = await assess(evidence, policy, {
      ibsrVersion: VERSION,
      generatedAtUnixSec: sourceDateEpoch(environment),
      options: shownOptions(name, values),
      policySha256: files.length > 0 ? hashFiles(files) : undefined,
      limits: gateLimits(values),
      allowlist: exceptions,
      selfAddresses: createPrefixSet(values["self-address"]),
      floodRate: FLOOD_RATE,
      decisions,
      observe: thread.observe,
      progress: bar.show,
    });
    bar.clear();
    endPhase(`simulating ${name}`);
    await writeReport(assessment, inputsOf(evidence, files), `${out}/${directory}`);
    endPhase(`writing ${directory}`);
    compared.push({ name, directory, policy, assessment });
  }
  const verdicts = compared.map(({ assessment }) => assessment.summary.verdict);
  if (compared.length === 1) {
    const [{ directory, assessment: { summary } }] = compared as [Compared];
    printAnswer(summary, { json: values.json, folder: `${out}/${directory}` }, context);
  } else {
    const comparison = compare(evidence, compared);
    await writeComparison(comparison, out);
    if (values.json) print(JSON.stringify(comparison, null, 2) + "\n");
    else {
      const text = fitLines(describeComparison(comparison), context.page);
      print(`${text}\nThe reports and comparison.html are in ${out}\n`);
    }
  }
  if (!values["exit-code"]) return 0;
  const worst = verdicts.includes("NOT READY") ? "NOT READY" : verdicts.find((v) => v !== "READY") ?? "READY";
  return VERDICT_EXIT[worst];
}

type SimulateValues = Values<typeof SIMULATE_OPTIONS>;

/** A policy that is ready to be tried. */
interface Candidate {
  name: string;
  policy: Policy;
  files: PolicyFile[];
  /** Of its report, below --out. */
  directory: string;
}

/**
 * Reads what --policy names. What its engine ignores is logged.
 *
 * @throws {IbsrError} `data`, if its files have an error; `usage`, if the engine can't be told.
 */
function readCandidate(
  name: string,
  index: number,
  { values, exceptions }: { values: SimulateValues; exceptions: ReturnType<typeof readAllowlists> },
): Candidate {
  if (name === NATIVE) {
    const { values: defaults } = resolveOptions(POLICY_OPTIONS, []);
    const policy = nativePolicy(nativeOptions(defaults, exceptions));
    return { name, policy, files: [], directory: `${index + 1}-${NATIVE}` };
  }
  const [, list, profile] = /^(.*?)(?:#([A-Za-z0-9-]+))?$/s.exec(name)!;
  const files = readPolicyFiles(list!.split(",").map((path) => path.trim()).filter((path) => path !== ""));
  if (files.length === 0) throw new IbsrError("usage", `Cannot use --policy "${name}": it names no file`);
  const options = loadOptions(values);
  const { policy, findings } = loadPolicy(files, profile === undefined ? options : { ...options, profile });
  const errors = findings.filter((f) => f.severity === "error");
  if (!policy || errors.length > 0) {
    throw new IbsrError(
      "data",
      `Cannot simulate ${list}: ${formatNumberOf(errors.length, "error")}, the first: ${describeFinding(errors[0]!)}`,
      { hint: `ibsr policy check ${files.map(({ path }) => path).join(" ")}` },
    );
  }
  for (const finding of findings) {
    log(finding.severity === "warning" ? "warning" : "debug", describeFinding(finding).replace(/(warning|note): /, ""));
  }
  const stem = files[0]!.path.replace(/^.*\//, "").replace(/\.(ya?ml|toml)$/i, "");
  const safe = stem.replaceAll(/[^A-Za-z0-9._-]/g, "_").slice(0, 60).replace(/^\.+/, "");
  return { name, policy, files, directory: [index + 1, safe, profile].filter(Boolean).join("-") };
}

/** What moved the numbers, for summary.json. */
function shownOptions(name: string, values: SimulateValues): Summary["options"] {
  const shown: Summary["options"] = { policy: name, cpus: values.cpus };
  for (const key of Object.keys(GATE_OPTIONS) as (keyof typeof GATE_OPTIONS)[]) {
    const value = values[key];
    if (typeof value === "number") shown[key] = value;
  }
  if (values["host-address"].length > 0) shown["host-address"] = values["host-address"];
  if (values.countries !== undefined) shown.countries = values.countries;
  return shown;
}

/** What a report rests on: the snapshots, then the policy's files. */
function inputsOf({ files }: Evidence, policyFiles: readonly PolicyFile[]): InputFile[] {
  const encoder = new TextEncoder();
  return [
    ...files,
    ...policyFiles.map((file) => ({
      path: file.path,
      sha256: hashFiles([file]),
      bytes: encoder.encode(file.text).length,
      lines: file.text.split("\n").length - (file.text.endsWith("\n") ? 1 : 0),
    })),
  ];
}

/** The policies, a line each, and what the pairs agree on. */
function describeComparison({ policies, pairs }: Comparison): string {
  const width = Math.min(40, Math.max(...policies.map((policy) => showName(policy.name).length)));
  const lines = policies.map((policy) => {
    const { sources, impact, false_positives: fp } = policy;
    const engine = policy.profile === null ? policy.engine : `${policy.engine} ${policy.profile}`;
    const blocked = formatRangeOf({ lower: sources.certain, upper: sources.possible }, "source");
    return `${showName(policy.name).padEnd(width)}  ${policy.verdict.padEnd(21)}  ${engine}: ${blocked}, ` +
      `${formatRange(impact.share.syn, formatShare)} of SYN, ${formatCount(fp.hit)} of ${formatCount(fp.legitimate)} ` +
      `likely-legitimate sources hit${policy.warnings.map((warning) => `\n${" ".repeat(width)}  ${warning}`).join("")}`;
  });
  const changes = pairs.map(({ first, second, sources }) =>
    `${showName(first)} → ${showName(second)}: ${formatCount(sources.only_second)} newly blocked, ${
      formatCount(sources.only_first)
    } no longer, ${formatCount(sources.both)} by both, ${formatCount(sources.undecided)} undecided`
  );
  return [...lines, "", ...changes].join("\n") + "\n";
}
