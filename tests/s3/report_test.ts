/**
 * `ibsr report` on what `ibsr export s3` stored: the same answer as from the folder it came from.
 */
import assert from "node:assert/strict";
import type { Summary } from "../../src/report/summary.ts";
import { situationOf } from "../golden/run.ts";
import { ibsrCommand, run } from "../kernel/lab.ts";
import { testWith } from "../needs.ts";
import { environmentOf, Folder, runExport, S3Server, segmentName } from "./server.ts";

testWith("s3", "ibsr report --in s3://BUCKET/PREFIX says what it says of the folder that was exported", async () => {
  await using server = await S3Server.start("radosgw");
  const bucket = await server.makeBucket("evidence");
  const texts = Object.values(situationOf("fleet").files);
  await using folder = await Folder.create(
    Object.fromEntries(texts.map((text, i) => [`host${i}/${segmentName(i)}`, text])),
  );
  for (const compress of [[], ["--compress", "zstd"], ["--compress", "gzip"]]) {
    const prefix = compress.at(-1) ?? "plain";
    const to = ["--bucket", bucket, "--endpoint", server.endpoint, "--prefix", `${prefix}/`];
    const exported = await runExport(["--input", folder.path, ...to, ...compress], { keys: server });
    assert.equal(exported.code, 0, exported.stderr);
    const report = async (from: string, out: string) => {
      const [program, args] = ibsrCommand(["report", "--in", from, "--s3-endpoint", server.endpoint, "--out", out]);
      const keys = Object.entries(environmentOf(server)).map(([name, value]) => `${name}=${value}`);
      await run("env", [...keys, program, ...args]);
      const { options: _, ...summary }: Summary = JSON.parse(await Deno.readTextFile(`${out}/summary.json`));
      return summary;
    };
    const local = await report(folder.path, `${folder.path}/../${prefix}-local`);
    const remote = await report(`s3://${bucket}/${prefix}/`, `${folder.path}/../${prefix}-remote`);
    assert.deepEqual(remote, local);
    assert.ok(local.evidence.streams.length > 1);
    for (const out of ["local", "remote"]) {
      await Deno.remove(`${folder.path}/../${prefix}-${out}`, { recursive: true });
    }
  }
});
