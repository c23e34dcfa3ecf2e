/**
 * The soak of `deno task soak`, for some seconds: long enough to see what grows fast, and that the soak sees it.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { soak } from "./soak.ts";

testWith(
  "kernel",
  "collect under 20,000 sources a second in churn misses no interval and no packet, and doesn't grow",
  async () => {
    const report = await soak({ seconds: 20, intervalMs: 100, sampleMs: 500 });
    const { samples, ...found } = report, { first, last } = report;
    console.log(JSON.stringify(found));
    assert.deepEqual(report.missing, []);
    assert.deepEqual(report.complaints, []);
    assert.ok(Math.abs(report.coveredSec - report.ranSec) < 1, `${report.coveredSec} s of ${report.ranSec} s`);
    assert.ok(report.sent > 100_000 && report.rows > 1000, `${report.sent} packets, ${report.rows} rows`);
    assert.equal(report.counted, report.sent);
    assert.equal(report.unattributed, 0);
    assert.equal(last.files, first.files);
    // The first seconds are V8's: it compiles what is hot, and gives its heap the size that it needs.
    const half = samples.slice(samples.length >> 1), most = Math.max(...half.map((s) => s.rssMb));
    assert.ok(most <= 1.1 * half[0]!.rssMb, `${half[0]!.rssMb} MB at half time, ${most} MB at most from there on`);
  },
);
