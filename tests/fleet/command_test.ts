/** `ibsr fleet report`, the program. */
import assert from "node:assert/strict";
import { FLEET_START_MS, type FleetOrder, makeFleet, writeFleet } from "../../scripts/fleet_evidence.ts";
import { ibsrCommand, pause } from "../kernel/lab.ts";
import { CHDB, exists, testWith } from "../needs.ts";
import { environmentOf, S3Server } from "../s3/server.ts";
import { ClickHouse, USER } from "./server.ts";

const FLEET: FleetOrder = { hosts: 3, hours: 5, intervalSec: 60, sources: 20, seed: 5, compress: "zstd" };
/** What must be the same, whoever computes it; the manifest names what was read, the others tell of the fleet, too. */
const FILES = ["evidence.csv", "rules.json", "would_block.jsonl"];

function startIbsr(args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
  const [command, line] = ibsrCommand(args);
  return new Deno.Command(command, {
    args: line,
    env: { IBSR_CHDB: CHDB, NO_COLOR: "1", ...env },
    ...{ stdin: "null", stdout: "piped", stderr: "piped" },
  }).spawn();
}

async function ibsr(args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await startIbsr(args, env).output(), decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function assertSame(one: string, other: string, files = FILES): Promise<void> {
  for (const name of files) {
    assert.equal(await Deno.readTextFile(`${one}/${name}`), await Deno.readTextFile(`${other}/${name}`), name);
  }
}

/** A report's summary, without what only fleets have. */
function readSummary(folder: string) {
  const { fleet: _, evidence: { files, ...evidence }, ...summary } = JSON.parse(
    Deno.readTextFileSync(`${folder}/summary.json`),
  );
  return { files, summary: { ...summary, evidence } };
}

testWith("chdb", "ibsr fleet report writes what ibsr report writes, byte by byte", async () => {
  const folder = await Deno.makeTempDir();
  await writeFleet(`${folder}/in`, FLEET);
  const common = ["--in", `${folder}/in`, "--min-days", "0", "--exit-code"];
  const by = await ibsr(["report", ...common, "--out", `${folder}/report`]);
  const fleet = await ibsr(["fleet", "report", ...common, "--out", `${folder}/fleet`, "--threads", "2"]);
  assert.equal(fleet.stderr, by.stderr);
  assert.equal(fleet.stdout.replace("/fleet", "/report"), by.stdout);
  assert.equal(fleet.code, by.code);
  assert.deepEqual(readSummary(`${folder}/fleet`), readSummary(`${folder}/report`));
  await assertSame(`${folder}/report`, `${folder}/fleet`);
  const { inputs } = JSON.parse(await Deno.readTextFile(`${folder}/fleet/manifest.json`));
  assert.equal(inputs.length, 15);
  assert.deepEqual(Object.keys(inputs[0]), ["path", "bytes"]);
  await Deno.remove(folder, { recursive: true });
});

testWith(["chdb", "s3"], "ibsr fleet report reads a bucket: all of it, or a host's hours", async () => {
  await using server = await S3Server.start("radosgw");
  const folder = await Deno.makeTempDir(), bucket = await server.makeBucket("fleet");
  await writeFleet(`${folder}/in`, FLEET);
  for (const { path, bytes } of makeFleet(FLEET)) {
    await server.call("put_object", { Bucket: bucket, Key: `ibsr/${path}`, Body: { base64: bytes.toBase64() } });
  }
  const from = ["--in", "s3://fleet/ibsr/", "--s3-endpoint", server.endpoint], env = environmentOf(server);
  const all = await ibsr(["fleet", "report", ...from, "--out", `${folder}/all`], env);
  assert.equal(all.code, 0, all.stderr);
  await ibsr(["report", "--in", `${folder}/in`, "--out", `${folder}/report`]);
  assert.deepEqual(readSummary(`${folder}/all`), readSummary(`${folder}/report`));
  await assertSame(`${folder}/report`, `${folder}/all`);

  // Hours 2 and 3 of one host: the same as of its segments of these hours, the last interval of which ends in the third.
  const times = [2, 4].map((hour) => new Date(FLEET_START_MS + hour * 3_600_000).toISOString());
  const part = await ibsr([
    ...["fleet", "report", ...from, "--out", `${folder}/part`, "--host", "web-0001", "--from", times[0]!],
    ...["--to", times[1]!, "--verbose"],
  ], env);
  assert.match(part.stderr, /4 files to read, 11 need not be/);
  const place = `${folder}/in/host=web-0001/date=2026-01-01`;
  const own = ["02", "03"].flatMap((hour) => ["--in", `${place}/hour=${hour}`]);
  await ibsr(["report", ...own, "--out", `${folder}/own`]);
  // Two segments more were looked into: a spool's segments may reach into the next hour.
  const owned = readSummary(`${folder}/own`), parted = readSummary(`${folder}/part`);
  assert.deepEqual(parted.summary, owned.summary);
  assert.deepEqual([owned.files, parted.files], [2, 4]);
  await assertSame(`${folder}/own`, `${folder}/part`, ["evidence.csv", "would_block.jsonl"]);

  const denied = await ibsr(["fleet", "report", ...from, "--out", `${folder}/no`], {
    ...env,
    AWS_SECRET_ACCESS_KEY: "Wr0ng/one",
  });
  assert.equal(denied.code, 69);
  assert.match(
    denied.stderr,
    /^ibsr: error: Cannot run a statement: .*SignatureDoesNotMatch.*\nibsr: hint: the engine reads/,
  );
  assert.doesNotMatch(denied.stderr, /Wr0ng/);
  await Deno.remove(folder, { recursive: true });
});

testWith("chdb", "ibsr fleet report ends at SIGINT, soon, and leaves nothing", async () => {
  const folder = await Deno.makeTempDir();
  await writeFleet(`${folder}/in`, { ...FLEET, hosts: 20, sources: 200 });
  await Deno.mkdir(`${folder}/temp`);
  const process = startIbsr([
    "fleet",
    "report",
    "--in",
    `${folder}/in`,
    "--out",
    `${folder}/out`,
    "--temp-dir",
    `${folder}/temp`,
  ]);
  for (let left = 200; left > 0 && !hasEngine(`${folder}/temp`); left--) await pause(20);
  await pause(500);
  const start = performance.now();
  process.kill("SIGINT");
  const { code, stderr } = await process.output();
  assert.equal(new TextDecoder().decode(stderr), "ibsr: error: stopped before the end: a signal asked for it\n");
  assert.equal(code, 130);
  assert.ok(performance.now() - start < 5000);
  assert.deepEqual([...Deno.readDirSync(`${folder}/temp`)], []);
  assert.ok(!exists(`${folder}/out`));
  await Deno.remove(folder, { recursive: true });
});

testWith("chdb", "ibsr fleet report says that its memory is too small", async () => {
  const folder = await Deno.makeTempDir();
  // One line that is decoded in one piece.
  await writeFleet(`${folder}/in`, {
    ...FLEET,
    hosts: 1,
    hours: 1,
    intervalSec: 3600,
    sources: 400_000,
    compress: "none",
  });
  const args = ["--in", `${folder}/in`, "--out", `${folder}/out`, "--max-memory", "256M"];
  const { code, stderr } = await ibsr(["fleet", "report", ...args]);
  assert.match(stderr, /memory limit exceeded.*\(ClickHouse error 241\)\nibsr: hint: a larger --max-memory/);
  assert.equal(code, 74);
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "clickhouse",
  "ibsr fleet report asks the server of --engine with the password of the environment or a file",
  async () => {
    await using clickhouse = await ClickHouse.start();
    const folder = await Deno.makeTempDir(), file = `${folder}/password`;
    await Deno.writeTextFile(file, `${USER.password}\n`);
    const engine = `http://${USER.name}@127.0.0.1:${clickhouse.port}`;
    const args = ["fleet", "report", "--in", "s3://b/p", "--out", `${folder}/out`, "--engine", engine];
    const isOld =
      /^ibsr: error: Cannot use the engine at (127\.0\.0\.1|localhost):\d+: it is ClickHouse 18\.16\.1\nibsr: hint: reports need version \d+/;
    assert.match((await ibsr(args, { IBSR_ENGINE_PASSWORD: USER.password })).stderr, isOld);
    assert.match((await ibsr([...args, "--engine-password-file", file])).stderr, isOld);
    const secure = args.with(-1, `https://${USER.name}@localhost:${clickhouse.securePort}`);
    assert.match(
      (await ibsr([...secure, "--engine-password-file", file, "--ca-file", clickhouse.authority])).stderr,
      isOld,
    );
    const wrong = await ibsr(args, { IBSR_ENGINE_PASSWORD: "gu3ssed" });
    assert.equal(wrong.code, 77);
    assert.match(wrong.stderr, /Wrong password for user ibsr/);
    assert.doesNotMatch(wrong.stderr, /gu3ssed/);
    assert.ok(!(await clickhouse.log()).includes(USER.password));
    await Deno.remove(folder, { recursive: true });
  },
);

function hasEngine(folder: string): boolean {
  return [...Deno.readDirSync(folder)].length > 0;
}
