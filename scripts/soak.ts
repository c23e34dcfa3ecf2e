/**
 * `deno task soak [--minutes N] [--interval-ms N]`: a collector under 20,000 sources a second in churn, looked at every
 * three seconds. Ends with what it found as a table; exit code 1 if memory or files grew, or something is missing.
 *
 * It runs the executable of IBSR_PROGRAM, else the source, in namespaces of its own. Needs root.
 */
import { parseArgs } from "node:util";
import { Lab } from "../tests/kernel/lab.ts";
import { soak } from "../tests/kernel/soak.ts";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "30" }, "interval-ms": { type: "string", default: "100" } },
});
const minutes = Number(values.minutes), intervalMs = Number(values["interval-ms"]);
if (!(minutes > 0) || !(intervalMs >= 20)) throw new Error("usage: deno task soak --minutes N --interval-ms N");
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => void Lab.disposeAll().finally(() => Deno.exit(130)));
}

const report = await soak({ seconds: minutes * 60, intervalMs, sampleMs: 3000, tell: console.log });
const { first, last, files } = report, growth = 100 * (last.rssMb / first.rssMb - 1);
const rows: [string, string, boolean][] = [
  [
    "RSS, first to last quarter",
    `${first.rssMb.toFixed(1)} → ${last.rssMb.toFixed(1)} MB (${growth.toFixed(1)} %), peak ${
      report.peakMb.toFixed(1)
    }`,
    Math.abs(growth) <= 5,
  ],
  ["of it anonymous", `${first.anonymousMb.toFixed(1)} → ${last.anonymousMb.toFixed(1)} MB`, true],
  ["open files", `${first.files} → ${last.files} (${files.join(" to ")})`, first.files === last.files],
  ["snapshots", `${report.snapshots}, of ${report.rows} rows`, report.snapshots > 0],
  ["missing", report.missing.join("; ") || "nothing", report.missing.length === 0],
  [
    "time",
    `${report.coveredSec.toFixed(2)} s of ${report.ranSec.toFixed(2)} s`,
    Math.abs(report.coveredSec - report.ranSec) < 1,
  ],
  ["late intervals", `${report.late}, the longest ${report.longestSec} s`, true],
  ["packets", `${report.counted} counted of ${report.sent} sent`, report.counted === report.sent],
  ["without a source", String(report.unattributed), true],
  ["warnings and errors", report.complaints.join("; ") || "none", report.complaints.length === 0],
];
console.log(`\n${minutes} minutes, ${intervalMs} ms\n\n| | | |\n|---|---|---|`);
for (const [what, found, holds] of rows) console.log(`| ${what} | ${found} | ${holds ? "ok" : "NOT OK"} |`);
Deno.exit(rows.every(([, , holds]) => holds) ? 0 : 1);
