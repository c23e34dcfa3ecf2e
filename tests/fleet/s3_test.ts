/** Reading a bucket by the embedded engine: s3() against a real gateway. */
import assert from "node:assert/strict";
import { FLEET_START_MS, type FleetOrder, makeFleet } from "../../scripts/fleet_evidence.ts";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import type { QueryEngine } from "../../src/fleet/engine.ts";
import { describeSchema } from "../../src/fleet/schema.ts";
import { type BucketPlace, openSource, type Source, type SourceOptions } from "../../src/fleet/source.ts";
import { urlOf } from "../../src/s3/request.ts";
import { CHDB, testWith } from "../needs.ts";
import { type Keys, S3Server } from "../s3/server.ts";
import { thrown } from "../thrown.ts";

const FLEET: FleetOrder = { hosts: 4, hours: 6, intervalSec: 300, sources: 5, seed: 1, compress: "zstd" };
const HOUR = 3_600_000;

function place(
  server: S3Server,
  bucket: string,
  prefix: string,
  keys: Keys & { token?: string } = server,
): BucketPlace {
  const { accessKey, secretKey, token } = keys;
  return {
    place: { bucket, region: "us-east-1", endpoint: server.endpoint, pathStyle: true },
    prefix,
    credentials: () => Promise.resolve({ accessKeyId: accessKey, secretAccessKey: secretKey, sessionToken: token }),
  };
}

/** What the gateway was asked for since it was asked last: methods, paths, bytes sent. */
async function* watchRequests(server: S3Server): AsyncGenerator<{ gets: string[]; lists: number; bytes: number }> {
  let seen = 0;
  const read = async () => {
    const log = await Deno.readTextFile(`${server.folder}/log/client.rgw.log`);
    return [...log.matchAll(/"GET (\S+) HTTP\/1\.1" 20[06] (\d+)/g)];
  };
  for (;;) {
    // It writes its log a moment after it has answered.
    let lines = await read();
    for (let before = -1; before !== lines.length; lines = await read()) {
      before = lines.length;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    const fresh = lines.slice(seen);
    seen = lines.length;
    const isList = (path: string) => path.includes("list-type=");
    yield {
      gets: fresh.map(([, path]) => path!).filter((path) => !isList(path)).map(decodeURIComponent),
      lists: fresh.filter(([, path]) => isList(path!)).length,
      bytes: fresh.filter(([, path]) => !isList(path!)).reduce((sum, [, , bytes]) => sum + Number(bytes), 0),
    };
  }
}

async function countLines(engine: QueryEngine, source: Source): Promise<Record<string, number>> {
  const rows = await engine.rows<{ file: string; lines: string; bytes: string }>(
    // The bytes are asked for so that they are read: lines alone could be counted otherwise.
    `SELECT file, count() AS lines, sum(sipHash64(line)) AS bytes FROM ${source.from} GROUP BY file ORDER BY file`,
    await source.bind(),
  );
  return Object.fromEntries(rows.map(({ file, lines }) => [source.names.get(file)!.path, Number(lines)]));
}

testWith(["chdb", "s3"], "the embedded engine reads a bucket", async (t) => {
  await using server = await S3Server.start("radosgw");
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 1e9, threads: 2 });
  const requests = watchRequests(server);
  const asked = async () => (await requests.next()).value!;
  const open = (buckets: BucketPlace[], options: Partial<SourceOptions> = {}) =>
    openSource(engine, { paths: [], buckets }, { hosts: [], ...options });
  await server.makeBucket("fleet");
  let storedBytes = 0;
  for (const { path, bytes } of makeFleet(FLEET)) {
    const Body = { base64: bytes.toBase64() };
    assert.equal((await server.call("put_object", { Bucket: "fleet", Key: `ibsr/${path}`, Body })).error, undefined);
    storedBytes += bytes.length;
  }

  await t.step("every segment below the prefix, each once", async () => {
    await asked();
    const source = await open([place(server, "fleet", "ibsr/")]);
    assert.equal(source.files.length, 24);
    assert.equal(source.files.reduce((sum, { bytes }) => sum + bytes, 0), storedBytes);
    assert.match(source.files[0]!.etag!, /^[0-9a-f]{32}$/);
    assert.deepEqual((await asked()).gets, []);
    const lines = await countLines(engine, source);
    assert.deepEqual(Object.values(lines), new Array(24).fill(12));
    const { gets, bytes } = await asked();
    assert.equal(new Set(gets).size, 24);
    assert.equal(gets.length, 24);
    assert.equal(bytes, storedBytes);
  });

  await t.step("with hosts and a time, only what holds them", async () => {
    await asked();
    const source = await open([place(server, "fleet", "ibsr/")], {
      hosts: ["web-0002"],
      fromMs: FLEET_START_MS + 3 * HOUR,
      toMs: FLEET_START_MS + 4.5 * HOUR,
    });
    assert.equal(source.skipped.files, 21);
    await countLines(engine, source);
    const { gets, bytes, lists } = await asked();
    assert.deepEqual(
      gets.sort(),
      ["02", "03", "04"].map((hour) =>
        `/fleet/ibsr/host=web-0002/date=2026-01-01/hour=${hour}/snapshot_20260101${hour}.jsonl.zst`
      ),
    );
    assert.equal(bytes, storedBytes - source.skipped.bytes);
    // What is listed once is asked for by its key from then on.
    assert.equal(lists, 1);
  });

  await t.step("of several places, each with its own prefix", async () => {
    const places = ["web-0000", "web-0001"].map((host) =>
      place(server, "fleet", `ibsr/host=${host}/date=2026-01-01/hour=00/`)
    );
    assert.deepEqual(Object.values(await countLines(engine, await open(places))), [12, 12]);
  });

  await t.step("keys that mean something to patterns, SQL and addresses", async () => {
    await server.makeBucket("odd");
    const keys = [
      "p{a,b}/x*.jsonl",
      "p{a,b}/it's; DROP.jsonl",
      "p{a,b}/q?[x] %41+é#.jsonl",
      "p{a,b}/back\\slash.jsonl",
      "p{a,b}/a'b\".jsonl",
    ];
    for (const Key of [...keys, "pa/x1.jsonl", "p{a,b}/notes.txt"]) {
      assert.equal((await server.call("put_object", { Bucket: "odd", Key, Body: `${Key}\n` })).error, undefined);
    }
    const source = await open([place(server, "odd", "p{a,b}/")]);
    const rows = await engine.rows<{ line: string; file: string }>(
      `SELECT line, file FROM ${source.from}`,
      await source.bind(),
    );
    assert.deepEqual(rows.map(({ line }) => line).sort(), keys.toSorted());
    for (const { line, file } of rows) assert.equal(source.names.get(file)!.path, `s3://odd/${line}`);
  });

  await t.step("wrong keys are an error that tells none of them", async () => {
    const secret = "Wr0ng/secret+Key=", token = "Tok3n/of+mine==";
    const wrong = place(server, "fleet", "ibsr/", { accessKey: server.accessKey, secretKey: secret, token });
    const error = await thrown(() => open([wrong]));
    assert.equal(error.kind, "network");
    assert.match(error.message, /SignatureDoesNotMatch|InvalidToken|AccessDenied/);
    assert.doesNotMatch(Deno.inspect(error), /Wr0ng|Tok3n/);
  });

  await t.step("a bucket that isn't there, and one without segments, say so", async () => {
    assert.match((await thrown(() => open([place(server, "nowhere", "")]))).message, /NoSuchBucket/);
    await server.makeBucket("empty");
    const error = await thrown(() => open([place(server, "empty", "x/")]));
    assert.equal(error.message, "Cannot read s3://empty/x/: no segment (*.jsonl) is in it");
  });

  await t.step("keys are in nothing that the engine shows or stores", async () => {
    const source = await open([place(server, "fleet", "ibsr/")]), { parameters, secrets } = await source.bind();
    assert.deepEqual(Object.keys(secrets), ["source_key0", "source_secret0"]);
    assert.ok(!JSON.stringify([source.from, parameters]).includes(server.secretKey));
    const shown = engine.query(
      `SELECT query, Settings FROM system.processes WHERE 1 OR (SELECT count() FROM ${source.from}) > 0`,
      { parameters, secrets, format: "TSV" },
    );
    const text = await new Response(ReadableStream.from(shown)).text();
    assert.match(text, /\[HIDDEN\]/);
    assert.ok(!text.includes(server.secretKey));
    for (const { path, isFile } of walk(engine.folder)) {
      if (isFile) assert.ok(!(await Deno.readTextFile(path)).includes(server.secretKey), path);
    }
  });

  await t.step(
    "the views of ibsr fleet schema read only the hosts and dates asked for, with keys of a collection",
    async () => {
      const { place: at, prefix } = place(server, "fleet", "ibsr/"), url = urlOf(at, "") + prefix;
      const text = describeSchema("clickhouse", { ...at, prefix, url }, { examples: false });
      for (const statement of text.split(/;\n|;$/)) {
        const sql = statement.replaceAll(/^--.*$/gm, "").trim();
        const isCollection = sql.startsWith("CREATE NAMED COLLECTION");
        if (sql === "") continue;
        await engine.rows(
          isCollection
            ? `${sql}, access_key_id = '${server.accessKey}', secret_access_key = '${server.secretKey}'`
            : sql,
        );
      }
      await asked();
      const [row] = await engine.rows("SELECT count() AS n FROM ibsr_snapshots");
      assert.deepEqual(row, { n: "288" });
      assert.equal((await asked()).gets.length, 24);
      const sql =
        "SELECT sum(syn) > 0 AS some FROM ibsr_buckets WHERE host = 'web-0001' AND date = '2026-01-01' AND hour < 2";
      assert.deepEqual(await engine.rows(sql), [{ some: 1 }]);
      assert.equal((await asked()).gets.length, 2);
    },
  );

  await t.step("a signal ends the reading, soon", async () => {
    const source = await open([place(server, "fleet", "ibsr/")]), start = performance.now();
    const slow = engine.rows(`SELECT sleepEachRow(0.1), line FROM ${source.from}`, {
      ...await source.bind(),
      signal: AbortSignal.timeout(300),
    });
    await assert.rejects(slow, { name: "TimeoutError" });
    assert.ok(performance.now() - start < 5000);
  });
});

function* walk(folder: string): Generator<{ path: string; isFile: boolean }> {
  for (const { name, isFile, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    yield { path, isFile };
    if (isDirectory) yield* walk(path);
  }
}
