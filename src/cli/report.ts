/**
 * `ibsr report`: snapshots in, evidence out. Reads, lets the default policy run, and writes the files.
 */
import type { PrefixSet } from "../allowlist.ts";
import { IbsrError } from "../errors.ts";
import type { Input } from "../input.ts";
import { log } from "../log.ts";
import { nativePolicy } from "../policy/native.ts";
import { formatPrefix } from "../prefix.ts";
import { assess } from "../report/assess.ts";
import { startObserverThread } from "../report/observe_apart.ts";
import { makeNrIbsrFiles } from "../report/nr_ibsr.ts";
import { writeNrIbsr, writeReport } from "../report/write.ts";
import { readSnapshots, type Snapshot } from "../snapshot.ts";
import { formatNumberOf } from "../words.ts";
import {
  answer,
  assessOptions,
  nativeOptions,
  openDecisions,
  type PolicyValues,
  showIntervals,
  sortedPorts,
  sourceDateEpoch,
} from "./assessment.ts";
import type { Context } from "./command.ts";
import { openInputs, readWithProgress, storedBytes } from "./inputs.ts";
import { readAllowlists } from "./named_files.ts";
import { startPhases } from "./progress.ts";
import type { Values } from "./options.ts";
import type { REPORT_COMMAND_OPTIONS } from "./tables/report.ts";

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
  const inputs = await openInputs(paths, values, context), endPhase = startPhases();
  using thread = startObserverThread(storedBytes(inputs));
  using evidence = await readWithProgress(inputs, signal);
  endPhase("reading");
  if (values.profile === "nr-ibsr") {
    const endSec = Math.floor((evidence.range?.endMs ?? 0) / 1000);
    await writeProfile(values, { inputs, out: values.out, allowlist, generatedAtSec: generatedAtUnixSec ?? endSec });
    print(`The report is in ${values.out}, in the existing reporter's format\n`);
    return 0;
  }
  const native = nativeOptions(values, allowlist);
  using decisions = openDecisions();
  const bar = showIntervals(evidence, "judging");
  const assessment = await assess(evidence, nativePolicy(native), {
    ...assessOptions(values, { native, allowlist, environment }),
    decisions,
    observe: thread.observe,
    progress: bar.show,
  });
  bar.clear();
  endPhase("judging");
  for (const { path, line, reason } of evidence.badLines) log("debug", `${path}:${line}: ${reason}`);
  await writeReport(assessment, evidence.files, values.out);
  endPhase("writing");
  return answer(assessment.summary, values, context);
}

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
    log(
      "warning",
      `left out, since this format has no place for them: ${formatNumberOf(files.ipv6Buckets, "row")} of IPv6 sources`,
    );
  }
  await writeNrIbsr(files, options.out);
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
