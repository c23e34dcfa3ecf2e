/**
 * `ibsr report`: snapshots in, evidence out. Reads, lets the default policy run, and writes the files.
 */
import { createPrefixSet, parseAllowlist, type PrefixSet } from "../allowlist.ts";
import { IbsrError, reason } from "../errors.ts";
import { type Evidence, readEvidence } from "../evidence/read.ts";
import type { Input } from "../input.ts";
import { log } from "../log.ts";
import { type NativeOptions, nativePolicy } from "../policy/native.ts";
import { formatPrefix } from "../prefix.ts";
import { assess, type AssessOptions } from "../report/assess.ts";
import type { GateLimits } from "../report/gate_limits.ts";
import { startObserverThread } from "../report/observe_apart.ts";
import { makeNrIbsrFiles } from "../report/nr_ibsr.ts";
import { describeAnswer } from "../report/screen.ts";
import type { Summary } from "../report/summary.ts";
import { writeNrIbsr, writeReport } from "../report/write.ts";
import type { Verdict } from "../rules/ruleset.ts";
import { readSnapshots, type Snapshot } from "../snapshot.ts";
import type { Context } from "./command.ts";
import { fitLines } from "./help.ts";
import { openInputs } from "./inputs.ts";
import type { Values } from "./options.ts";
import { createBar } from "./progress.ts";
import { GATE_OPTIONS, POLICY_OPTIONS, type REPORT_COMMAND_OPTIONS, type REPORT_OPTIONS } from "./tables/report.ts";
import { VERSION } from "./version.ts";

/** Exit codes of verdicts. */
export const VERDICT_EXIT: Record<Verdict, number> = { READY: 0, "NOT READY": 1, "INSUFFICIENT EVIDENCE": 2 };

/** `ibsr report`: returns the exit code. */
export async function runReport(
  values: Values<typeof REPORT_COMMAND_OPTIONS>,
  context: Context,
): Promise<number> {
  const { operands, signal, print, environment } = context;
  const paths = [...values.in, ...operands];
  if (paths.length === 0 || values.out === undefined) {
    throw new IbsrError("usage", `Cannot report: no ${paths.length === 0 ? "--in" : "--out"} was given`, {
      hint: "ibsr report --in PATH… --out DIR",
    });
  }
  if (values.json && values.profile === "nr-ibsr") {
    throw new IbsrError("usage", "Cannot print JSON: the existing reporter's format has no summary.json", {
      hint: "leave --json or --profile nr-ibsr out",
    });
  }
  const allowlist = readAllowlists(values.allowlist), generatedAtUnixSec = sourceDateEpoch(environment);
  const inputs = await openInputs(paths, values, context);
  using thread = startObserverThread(storedBytes(inputs));
  using evidence = await readWithProgress(inputs, signal);
  if (values.profile === "nr-ibsr") {
    const endSec = Math.floor((evidence.range?.endMs ?? 0) / 1000);
    await writeProfile(values, { inputs, out: values.out, allowlist, generatedAtSec: generatedAtUnixSec ?? endSec });
    print(`The report is in ${values.out}, in the existing reporter's format\n`);
    return 0;
  }
  const native = nativeOptions(values, allowlist);
  const progress = showIntervals(evidence);
  const assessment = await assess(evidence, nativePolicy(native), {
    ...assessOptions(values, { native, allowlist, environment }),
    observe: thread.observe,
    progress: progress.show,
  });
  progress.clear();
  for (const { path, line, reason } of evidence.badLines) log("debug", `${path}:${line}: ${reason}`);
  writeReport(assessment, evidence.files, values.out);
  return answer(assessment.summary, values, context);
}

/** Says what was found and where the report is; returns the exit code. */
export function answer(
  summary: Summary,
  values: { out: string | undefined; json: boolean; "exit-code": boolean },
  { print, page }: Context,
): number {
  for (const { severity, message } of summary.policy.findings) log(severity === "note" ? "debug" : "warning", message);
  if (values.json) print(JSON.stringify(summary, null, 2) + "\n");
  else print(`${fitLines(describeAnswer(summary), page)}\nThe report is in ${values.out}\n`);
  return values["exit-code"] ? VERDICT_EXIT[summary.verdict] : 0;
}

/** What a report of the default policy is made with, as options give it. */
export function assessOptions(
  values: PolicyValues & Values<typeof GATE_OPTIONS> & Values<typeof REPORT_OPTIONS>,
  { native, allowlist, environment }: {
    native: NativeOptions;
    allowlist: PrefixSet;
    environment: Record<string, string>;
  },
): AssessOptions {
  return {
    ibsrVersion: VERSION,
    generatedAtUnixSec: sourceDateEpoch(environment),
    options: shownOptions(values),
    limits: gateLimits(values),
    allowlist,
    selfAddresses: createPrefixSet(values["self-address"]),
    ports: values["dst-ports"].length > 0 ? sortedPorts(values["dst-ports"]) : undefined,
    sweep: {
      windowMs: native.windowMs,
      synRate: native.synRate,
      successRatio: native.successRatio,
      blockDurationMs: native.blockDurationMs,
    },
    floodRate: native.synRate,
  };
}

export type PolicyValues = Values<typeof POLICY_OPTIONS>;

/** The default policy's thresholds, as options give them. */
export function nativeOptions(values: PolicyValues, allowlist: PrefixSet): NativeOptions {
  return {
    windowMs: values["window-sec"] * 1000,
    blockDurationMs: values["block-duration-sec"] * 1000,
    synRate: values["syn-rate-threshold"],
    successRatio: values["success-ratio-threshold"],
    volSynRate: values["vol-syn-rate"],
    volPacketRate: values["vol-pkt-rate"],
    volByteRate: values["vol-byte-rate"],
    sweepPorts: values["sweep-ports"],
    aggregateBits: values.aggregate,
    allowlist,
  };
}

/** The gates' limits, as options give them. */
export function gateLimits(values: Values<typeof GATE_OPTIONS>): GateLimits {
  return {
    minDays: values["min-days"],
    minCoverage: values["min-coverage"],
    maxLoss: values["max-loss"],
    maxBlur: values["max-blur"],
    fpLimit: values["fp-limit"],
    maxMixed: values["max-mixed"],
    minEffect: values["min-effect"],
    maxSpoofed: values["max-spoofed"],
  };
}

/** What moved the numbers, for summary.json; paths and what only moves the output are left out. */
function shownOptions(
  values: PolicyValues & Values<typeof GATE_OPTIONS> & Values<typeof REPORT_OPTIONS>,
): Summary["options"] {
  const shown: Summary["options"] = {};
  for (const name of Object.keys({ ...POLICY_OPTIONS, ...GATE_OPTIONS })) {
    const value = values[name as keyof typeof values];
    if (typeof value === "number") shown[name] = value;
  }
  const { v4, v6 } = values.aggregate;
  shown.aggregate = [v4 === 24 ? "/24" : "", v6 === 48 ? "/48" : ""].filter(Boolean).join() || "src";
  if (values["dst-ports"].length > 0) shown["dst-ports"] = sortedPorts(values["dst-ports"]).map(String);
  return shown;
}

function sortedPorts(lists: readonly (readonly number[])[]): number[] {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}

/** All files as one list; warnings about them are logged. */
export function readAllowlists(paths: readonly string[]): PrefixSet {
  return createPrefixSet(paths.flatMap((path) => {
    let text: string;
    try {
      text = Deno.readTextFileSync(path);
    } catch (cause) {
      throw new IbsrError("usage", `Cannot read the allowlist ${path}: ${reason(cause)}`, { cause });
    }
    const { prefixes, warnings } = parseAllowlist(text, path);
    for (const warning of warnings) log("warning", warning);
    return prefixes;
  }));
}

/** https://reproducible-builds.org/specs/source-date-epoch/: seconds since 1970. */
export function sourceDateEpoch(environment: Record<string, string>): number | undefined {
  const text = environment.SOURCE_DATE_EPOCH;
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,12}$/.test(text)) {
    throw new IbsrError("usage", `Cannot use SOURCE_DATE_EPOCH ${JSON.stringify(text)}: expected whole seconds`);
  }
  return Number(text);
}

// -------------------------------------------------------------------------------------------------- progress

/** Their size as they are stored; infinite if one's isn't known. */
export function storedBytes(inputs: readonly Input[]): number {
  return inputs.reduce((sum, { bytes = Infinity }) => sum + bytes, 0);
}

/** Reads the inputs, with a line on a terminal. */
export async function readWithProgress(inputs: readonly Input[], signal: AbortSignal): Promise<Evidence> {
  const bar = createBar("reading");
  try {
    return await readEvidence(inputs, {
      signal,
      progress: (done, total) => bar.show(total ? done / total : 0, `${Math.round(done / 1e6)} MB`),
    });
  } finally {
    bar.clear();
  }
}

function showIntervals(evidence: Evidence) {
  const bar = createBar("simulating"), total = evidence.streams.reduce((sum, s) => sum + s.spans.length, 0);
  return { show: (done: number) => bar.show(done / total, `${done} intervals`), clear: bar.clear };
}

// --------------------------------------------------------------------------------------------------- profile

/** The existing reporter's files, by its own arithmetic: they take the whole input, whatever the gates and ports. */
async function writeProfile(
  values: PolicyValues & { "fp-safe-ratio": number; "min-samples-for-fp": number; "dst-ports": number[][] },
  options: { inputs: readonly Input[]; out: string; allowlist: PrefixSet; generatedAtSec: number },
): Promise<void> {
  const ports = sortedPorts(values["dst-ports"]);
  const files = await makeNrIbsrFiles(readInTime(options.inputs), {
    window_sec: values["window-sec"],
    syn_rate_threshold: values["syn-rate-threshold"],
    success_ratio_threshold: values["success-ratio-threshold"],
    block_duration_sec: values["block-duration-sec"],
    fp_safe_ratio: values["fp-safe-ratio"],
    min_samples_for_fp: values["min-samples-for-fp"],
    vol_syn_rate: values["vol-syn-rate"],
    vol_pkt_rate: values["vol-pkt-rate"],
    vol_byte_rate: values["vol-byte-rate"],
    ...(ports.length > 0 ? { dst_ports: ports } : {}),
    allowlist: options.allowlist.prefixes.map(formatPrefix),
    generatedAtSec: options.generatedAtSec,
  });
  if (files.ipv6Buckets > 0) {
    log("warning", `${files.ipv6Buckets} rows of IPv6 sources are left out: this format has no place for them`);
  }
  writeNrIbsr(files, options.out);
}

/** The snapshots of all files, those first whose first snapshot is the oldest: a file's own are in order. */
async function* readInTime(inputs: readonly Input[]): AsyncGenerator<Snapshot> {
  const dated: { input: Input; at: number }[] = [];
  for (const input of inputs) {
    for await (const line of readSnapshots(input.read(), input.path)) {
      if (!("snapshot" in line)) continue;
      dated.push({ input, at: line.snapshot.ts_unix_sec });
      break;
    }
  }
  for (const { input } of dated.sort((a, b) => a.at - b.at)) {
    for await (const line of readSnapshots(input.read(), input.path)) {
      if ("snapshot" in line) yield line.snapshot;
      else log("warning", line.error.message);
    }
  }
}
