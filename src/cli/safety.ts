/**
 * `ibsr safety`: the proof of each object, and the kernel's own numbers where it lets us load.
 */
import { EXIT, reason } from "../errors.ts";
import { namedFileError } from "../files.ts";
import { log } from "../log.ts";
import { readObjects } from "../objects.ts";
import { proveSafety, renderSafety, type SafetyReport, type VerifierStatistics } from "../safety.ts";
import { openProgram } from "../xdp.ts";
import type { Context } from "./command.ts";
import { fitLines } from "./help.ts";
import type { Values } from "./options.ts";
import type { SAFETY_OPTIONS } from "./tables/safety.ts";

/** `ibsr safety`: returns the exit code. */
export async function runSafety(
  values: Values<typeof SAFETY_OPTIONS>,
  { operands, print, page }: Context,
): Promise<number> {
  const reports = await judgeObjects(operands);
  const text = values.json
    ? JSON.stringify(reports.map(({ name, report, verifier }) => ({ name, ...report, verifier })), null, 2) + "\n"
    : reports.map(({ name, report, verifier }) => `== ${name}\n${renderSafety(report, verifier)}`).join("\n");
  print(values.json ? text : fitLines(text, page));
  return reports.every(({ report }) => report.safe) ? 0 : EXIT.kernel;
}

/** What was found of one object. */
interface Judged {
  name: string;
  report: SafetyReport;
  /** Undefined where nothing was loaded: not our own object, not permitted, or not proven safe. */
  verifier: VerifierStatistics | undefined;
}

/**
 * Judges the objects at `paths`, or without any the two in this program.
 *
 * @throws {IbsrError} `data`, if a file can't be read or is no BPF object.
 */
async function judgeObjects(paths: readonly string[]): Promise<Judged[]> {
  if (paths.length > 0) {
    return await Promise.all(paths.map(async (path) => {
      try {
        return { name: path, report: await proveSafety(await Deno.readFile(path)), verifier: undefined };
      } catch (cause) {
        throw namedFileError(path, cause);
      }
    }));
  }
  const judged: Judged[] = [];
  for (const object of await readObjects()) {
    const report = await proveSafety(object.bytes);
    let verifier: VerifierStatistics | undefined;
    try {
      if (report.safe) {
        using program = openProgram([object], { mapSize: 1000, ports: [] });
        const { verifiedInstructions, translatedBytes, machineBytes } = program.statistics;
        verifier = { programBytes: translatedBytes, jitedBytes: machineBytes };
        if (verifiedInstructions > 0) verifier = { ...verifier, walkedInstructions: verifiedInstructions };
      }
    } catch (error) {
      log("info", `the kernel was not asked about ${object.kind}: ${reason(error)}`);
    }
    judged.push({ name: `the kernel program (${object.kind})`, report, verifier });
  }
  return judged;
}
