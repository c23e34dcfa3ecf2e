/** Gross regressions of a report, by ratio to JSON.parse() of the same bytes, in the same process and moments. */
import process from "node:process";
import assert from "node:assert/strict";
import { createPrefixSet } from "../src/allowlist.ts";
import { readEvidence } from "../src/evidence/read.ts";
import { listInputs } from "../src/input.ts";
import { nativePolicy } from "../src/policy/native.ts";
import { assess } from "../src/report/assess.ts";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { writeReport } from "../src/report/write.ts";
import { writeSnapshots } from "../scripts/bench/segments.ts";

/** A report takes this many times as long as JSON.parse() at most: it is about 1.5 where nothing else runs. */
const MOST = 5;
const NATIVE = {
  ...{ windowMs: 10_000, blockDurationMs: 300_000, synRate: 100, successRatio: 0.1, volSynRate: 500 },
  ...{ volPacketRate: 1000, volByteRate: 1_000_000, sweepPorts: 20, aggregateBits: { v4: 32, v6: 128 } },
  allowlist: createPrefixSet([]),
};

/** Processor time of this process in milliseconds, all threads together: others on the machine don't matter to it. */
function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

Deno.test("a report takes no more than five times the processor time of JSON.parse() on the same bytes", async () => {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-speed-" });
  try {
    await Deno.mkdir(`${folder}/in`);
    writeSnapshots(`${folder}/in`, { snapshots: 150, sources: 2_000 });
    const report = async () => {
      using evidence = await readEvidence(listInputs([`${folder}/in`]));
      const assessment = await assess(evidence, nativePolicy(NATIVE), {
        ...{ ibsrVersion: "", options: {}, limits: DEFAULT_LIMITS, allowlist: NATIVE.allowlist },
        ...{ selfAddresses: NATIVE.allowlist, floodRate: 100, sweep: NATIVE },
      });
      await writeReport(assessment, evidence.files, `${folder}/out`);
    };
    const parse = async () => {
      for (const { path } of listInputs([`${folder}/in`])) {
        for (const line of (await Deno.readTextFile(path)).trimEnd().split("\n")) JSON.parse(line);
      }
    };
    const time = async (part: () => Promise<void>) => {
      const start = usedMs();
      await part();
      return usedMs() - start;
    };
    let ratio = Infinity; // of the best of three: the first also compiles
    for (let round = 0; round < 3 && ratio > MOST; round++) ratio = await time(report) / await time(parse);
    assert.ok(ratio <= MOST, `${ratio.toFixed(2)} times`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
