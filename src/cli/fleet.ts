/**
 * `ibsr fleet report`: what `ibsr report` computes, by an SQL engine.
 */
import { IbsrError } from "../errors.ts";
import { assessFleet } from "../fleet/assess.ts";
import { log } from "../log.ts";
import { writeStreamedReport } from "../report/write.ts";
import { answer, assessOptions, nativeOptions, readAllowlists } from "./assessment.ts";
import type { Context } from "./command.ts";
import { openEngine, openEngineSource } from "./engine.ts";
import type { Values } from "./options.ts";
import { createBar } from "./progress.ts";
import type { FLEET_REPORT_OPTIONS } from "./tables/fleet.ts";

/** `ibsr fleet report`: returns the exit code. */
export async function runFleetReport(values: Values<typeof FLEET_REPORT_OPTIONS>, context: Context): Promise<number> {
  const { operands, signal, environment } = context, paths = [...values.in, ...operands];
  if (paths.length === 0 || values.out === undefined) {
    throw new IbsrError("usage", `Cannot report: no ${paths.length === 0 ? "--in" : "--out"} was given`, {
      hint: "ibsr fleet report --in s3://BUCKET/PREFIX --out DIR",
    });
  }
  if (values.from !== undefined && values.to !== undefined && values.from >= values.to) {
    throw new IbsrError("usage", "Cannot report: --from is not before --to");
  }
  const allowlist = readAllowlists(values.allowlist), native = nativeOptions(values, allowlist);
  await using engine = await openEngine(values, context);
  const source = await openEngineSource(engine, paths, { values, context });
  log("debug", `${engine.name}: ${source.files.length} files to read, ${source.skipped.files} need not be`);
  const bar = createBar(engine.name);
  let doing = "reading";
  try {
    await using fleet = await assessFleet(engine, source, {
      ...{ native, assess: assessOptions(values, { native, allowlist, environment }), isTorn, signal },
      step: (what) => {
        log("debug", `${engine.name}: ${what}`);
        doing = what;
      },
      progress: (rows, bytes) => bar.show(undefined, `${doing}: ${rows} rows, ${Math.round(bytes / 1e6)} MB`),
    });
    bar.clear();
    await writeStreamedReport(fleet.assessment, { inputs: [...source.files], sources: fleet.rows() }, values.out);
    return answer(fleet.assessment.summary, values, context);
  } finally {
    bar.clear();
  }
}

/** Whether a file's last line has no newline yet. Of open segments, only whole lines are uploaded. */
async function isTorn(path: string): Promise<boolean> {
  if (path.startsWith("s3://")) return false;
  using file = await Deno.open(path);
  const { size } = await file.stat(), last = new Uint8Array(1);
  if (size === 0) return false;
  await file.seek(size - 1, Deno.SeekMode.Start);
  await file.read(last);
  return last[0] !== 0x0a;
}
