/**
 * What the commands have in common that assess a policy (`report`, `fleet report`, `simulate`): how options become what
 * an assessment is made with, and how its answer is told.
 */
import { createPrefixSet, type PrefixSet } from "../allowlist.ts";
import { IbsrError } from "../errors.ts";
import type { Evidence } from "../evidence/read.ts";
import { openStore, type Store } from "../evidence/store.ts";
import { log } from "../log.ts";
import type { NativeOptions } from "../policy/native.ts";
import type { AssessOptions } from "../report/assess.ts";
import type { GateLimits } from "../report/gate_limits.ts";
import { describeAnswer } from "../report/screen.ts";
import type { Summary } from "../report/summary.ts";
import type { Verdict } from "../rules/ruleset.ts";
import type { Context } from "./command.ts";
import { fitLines } from "./help.ts";
import type { Values } from "./options.ts";
import { type Bar, createBar } from "./progress.ts";
import { GATE_OPTIONS, POLICY_OPTIONS, type REPORT_OPTIONS } from "./tables/report.ts";
import { VERSION } from "./version.ts";

/** Opens what keeps decisions until a report is written: a policy may make millions of them, and none of them is left out. */
export function openDecisions(): Store {
  return openStore({ memoryBytes: 8 << 20, takes: "some fifty bytes a decision" });
}

// --------------------------------------------------------------------------------------------------- options

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

/** The default policy's options. */
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

/** Ports of several lists, each once, ascending. */
export function sortedPorts(lists: readonly (readonly number[])[]): number[] {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
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

// ---------------------------------------------------------------------------------------------------- answer

/** Exit codes of verdicts. */
export const VERDICT_EXIT: Record<Verdict, number> = { READY: 0, "NOT READY": 1, "INSUFFICIENT EVIDENCE": 2 };

/** Says what was found and where the report is; returns the exit code. */
export function answer(
  summary: Summary,
  values: { out: string | undefined; json: boolean; "exit-code": boolean },
  context: Pick<Context, "print" | "page">,
): number {
  for (const { severity, message } of summary.policy.findings) log(severity === "note" ? "debug" : "warning", message);
  printAnswer(summary, { json: values.json, folder: values.out }, context);
  return values["exit-code"] ? VERDICT_EXIT[summary.verdict] : 0;
}

/** The answer on one screen, and where the rest is; or the summary as JSON. */
export function printAnswer(
  summary: Summary,
  { json, folder }: { json: boolean; folder: string | undefined },
  { print, page }: Pick<Context, "print" | "page">,
): void {
  if (json) print(JSON.stringify(summary, null, 2) + "\n");
  else print(`${fitLines(describeAnswer(summary), page)}\nThe report is in ${folder}\n`);
}

/** Shows on a terminal how many of the evidence's intervals are done. */
export function showIntervals(evidence: Evidence, what: string): { show(done: number): void; clear: Bar["clear"] } {
  const bar = createBar(what), total = evidence.streams.reduce((sum, stream) => sum + stream.spans.length, 0);
  return { show: (done) => bar.show(done / total, `${done} intervals`), clear: bar.clear };
}
