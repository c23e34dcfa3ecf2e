/**
 * `ibsr export s3` against Ceph's gateway; what it stored is looked at with boto3.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { zstdDecompressSync } from "node:zlib";
import { testWith, whatIsMissing } from "../needs.ts";
import {
  bytesOf,
  Folder,
  fromTo,
  killing,
  runExport,
  S3Server,
  segmentName,
  segmentText,
  startExport,
} from "./server.ts";

let server: S3Server;
Deno.test.beforeAll(async () => {
  if (whatIsMissing("s3") === undefined) server = await S3Server.start("radosgw");
});
Deno.test.afterAll(async () => await server?.[Symbol.asyncDispose]());

/** Exports `folder` to `bucket` as the server's owner. */
function exportFolder(folder: Folder, bucket: string, ...args: string[]) {
  return runExport([...fromTo(folder, { bucket, endpoint: server.endpoint }), "--prefix", "p", ...args], {
    keys: server,
  });
}

testWith("s3", "ibsr export s3 stores sealed segments and reports once, below the prefix, as they are", async () => {
  const bucket = await server.makeBucket("once");
  const big = bytesOf(20_000_000, 1);
  await using folder = await Folder.create({
    [segmentName(1)]: segmentText(1),
    [`run-2/${segmentName(2)}`]: segmentText(2),
    [`${segmentName(3)}.zst`]: big,
    "report.md": "# Report\n",
    "rules.nft": "table inet x {}\n",
    "would_block.jsonl": '{"source":"192.0.2.1"}', // not growing: whole, whatever it ends with
    "comparison.html": "<p>two policies</p>\n",
    // Not to be uploaded:
    "snapshot_2026112104.open.jsonl": '{"a":1}\n',
    "status.jsonl": "{}\n",
    "spool.lock": "1\n",
    "notes.txt": "mine\n",
    ".hidden/report.md": "no\n",
    "snapshot_2026112105.jsonl.zst.tmp": "half",
  });
  await Deno.symlink("/etc/passwd", `${folder.path}/summary.json`);
  const first = await exportFolder(folder, bucket, "-v");
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /^uploaded 7 objects \(19\.1 MiB\) to .*; 0 were there already; 0 failed$/m);
  assert.equal(first.stderr.match(/uploaded .* as p\//g)?.length, 7);
  const stored = await server.download(bucket);
  assert.deepEqual(
    [...stored.keys()].sort(),
    [
      "p/comparison.html",
      "p/report.md",
      "p/rules.nft",
      "p/would_block.jsonl",
      `p/run-2/${segmentName(2)}`,
      `p/${segmentName(1)}`,
      `p/${segmentName(3)}.zst`,
    ].sort(),
  );
  for (const [key, bytes] of stored) {
    assert.ok(Buffer.compare(bytes, await Deno.readFile(`${folder.path}/${key.slice(2)}`)) === 0, key);
  }
  const head = await server.call("head_object", { Bucket: bucket, Key: `p/${segmentName(1)}` });
  assert.equal(head.ContentType, "application/x-ndjson");
  assert.match(head.Metadata["ibsr-sha256"], /^[0-9a-f]{64}$/);

  const second = await exportFolder(folder, bucket);
  assert.equal(second.code, 0);
  assert.match(second.stdout, /^uploaded 0 objects \(0 B\) .*; 7 were there already; 0 failed$/m);
  await folder.write(segmentName(6), segmentText(6));
  await folder.write("report.md", "# Another report\n");
  const third = await exportFolder(folder, bucket);
  assert.match(third.stdout, /^uploaded 2 objects .*; 6 were there already/m, third.stderr);
  assert.equal(new TextDecoder().decode((await server.download(bucket)).get("p/report.md")), "# Another report\n");

  const ledger = await folder.ledger(), lines = ledger.filter(({ event }) => event === "stored");
  assert.equal(lines.length, 9);
  for (const { path, size, sha256, etag, time } of lines) {
    assert.ok(
      typeof path === "string" && size > 0 && /^[0-9a-f]{64}$/.test(sha256) && etag && !Number.isNaN(Date.parse(time)),
    );
  }
  assert.deepEqual(await server.listUnfinished(bucket), []);
});

testWith("s3", "ibsr export s3 replaces nothing that others stored, unless told to", async () => {
  const bucket = await server.makeBucket("others");
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1), [segmentName(2)]: segmentText(2) });
  await server.call("put_object", { Bucket: bucket, Key: `p/${segmentName(1)}`, Body: "theirs" });
  for (const _ of [1, 2]) { // the second run must not take it for its own
    const { code, stderr } = await exportFolder(folder, bucket);
    assert.equal(code, 69);
    assert.match(
      stderr,
      /Cannot upload snapshot_\d+\.jsonl: the bucket has another "p\/snapshot_\d+\.jsonl", not from here\n/,
    );
    assert.match(stderr, /hint: --overwrite replaces it/);
    assert.match(stderr, /the next run goes on from here/);
  }
  const theirs = (await server.download(bucket)).get(`p/${segmentName(1)}`);
  assert.equal(new TextDecoder().decode(theirs), "theirs");
  const { code, stdout } = await exportFolder(folder, bucket, "--overwrite");
  assert.equal(code, 0);
  assert.match(stdout, /^uploaded 1 object .*; 1 was there already/m);
  const ours = (await server.download(bucket)).get(`p/${segmentName(1)}`);
  assert.equal(new TextDecoder().decode(ours), segmentText(1));
});

testWith("s3", "ibsr export s3 keeps a history for each bucket and prefix", async () => {
  const [one, two] = [await server.makeBucket("history1"), await server.makeBucket("history2")];
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  for (const [bucket, prefix] of [[one, "p"], [two, "p"], [one, "q"]] as const) {
    const { stdout } = await exportFolder(folder, bucket, "--prefix", prefix);
    assert.match(stdout, /^uploaded 1 object/m);
  }
  assert.match((await exportFolder(folder, one)).stdout, /^uploaded 0 objects .*; 1 was there already/m);
  assert.deepEqual([...(await server.download(one)).keys()].sort(), [`p/${segmentName(1)}`, `q/${segmentName(1)}`]);
});

testWith("s3", "ibsr export s3 refuses to run twice at once on a folder", async () => {
  const bucket = await server.makeBucket("twice");
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  const args = fromTo(folder, { bucket, endpoint: server.endpoint });
  const watching = startExport([...args, "--watch"], { keys: server });
  using _ = killing(watching);
  const reader = watching.stderr.getReader();
  let log = "";
  while (!log.includes("uploaded 1 object")) log += new TextDecoder().decode((await reader.read()).value);
  const { code, stderr } = await exportFolder(folder, bucket);
  assert.equal(code, 74);
  assert.match(stderr, new RegExp(`another exporter has it open\\n.*\`ps -p ${watching.pid}\``));

  // --watch notices what is sealed.
  await folder.write(segmentName(2), segmentText(2));
  log = "";
  while (!log.includes("uploaded 1 object")) log += new TextDecoder().decode((await reader.read()).value);
  watching.kill("SIGTERM");
  assert.equal((await watching.status).code, 0);
  reader.releaseLock();
  await Promise.all([watching.stdout.cancel(), watching.stderr.cancel()]);
  assert.equal((await server.download(bucket)).size, 2);
});

testWith("s3", "--include-open stores whole lines only, and again when there are more", async () => {
  const bucket = await server.makeBucket("open"), name = segmentName(1).replace(".jsonl", ".open.jsonl");
  await using folder = await Folder.create({ [name]: '{"a":1}\n{"b":' });
  const stored = async () => new TextDecoder().decode((await server.download(bucket)).get(`p/${name}`));
  const without = await exportFolder(folder, bucket);
  assert.match(without.stdout, /^uploaded 0 objects/m);
  assert.match(
    without.stderr,
    /left out: 1 open segment \(.*\.open\.jsonl\); it goes once it is sealed\n.*--include-open/,
  );
  const sent = await exportFolder(folder, bucket, "--include-open");
  assert.equal(sent.code, 0);
  assert.doesNotMatch(sent.stderr, /left out/);
  assert.equal(await stored(), '{"a":1}\n');
  assert.match((await exportFolder(folder, bucket, "--include-open")).stdout, /^uploaded 0 objects/m);
  await folder.write(name, '{"a":1}\n{"b":2}\n{"c"');
  assert.match((await exportFolder(folder, bucket, "--include-open")).stdout, /^uploaded 1 object/m);
  assert.equal(await stored(), '{"a":1}\n{"b":2}\n');
  // Sealed, it is another object; a copy left open by a crash is not sent.
  await folder.write(segmentName(1), '{"a":1}\n{"b":2}\n{"c":3}\n');
  assert.match((await exportFolder(folder, bucket, "--include-open")).stdout, /^uploaded 1 object/m);
});

testWith("s3", "--compress stores compressed copies, not of what is there plain already", async () => {
  const bucket = await server.makeBucket("compress"), text = segmentText(1, 50_000);
  await using folder = await Folder.create({ [segmentName(1)]: text, "report.md": "# Report\n" });
  assert.equal((await exportFolder(folder, bucket, "--compress", "zstd")).code, 0);
  const stored = await server.download(bucket);
  assert.deepEqual([...stored.keys()].sort(), ["p/report.md", `p/${segmentName(1)}.zst`]);
  const compressed = stored.get(`p/${segmentName(1)}.zst`)!;
  assert.ok(compressed.length < text.length / 5);
  assert.equal(zstdDecompressSync(compressed).toString(), text);
  const [line] = (await folder.ledger()).filter(({ event, path }) => event === "stored" && path === segmentName(1));
  const sha256 = async (bytes: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  assert.equal(line.sha256, await sha256(new Uint8Array(compressed)));
  assert.equal(line.source_sha256, await sha256(new TextEncoder().encode(text)));
  assert.match((await exportFolder(folder, bucket)).stdout, /^uploaded 0 objects .*; 2 were there already/m);
});

testWith("s3", "--delete-after-upload deletes sealed segments that are stored, and nothing else", async () => {
  const bucket = await server.makeBucket("delete"), open = segmentName(9).replace(".jsonl", ".open.jsonl");
  await using folder = await Folder.create({
    [segmentName(1)]: segmentText(1),
    [segmentName(2)]: segmentText(2),
    [open]: "{}\n",
    "report.md": "# Report\n",
  });
  await server.call("put_object", { Bucket: bucket, Key: `p/${segmentName(2)}`, Body: "theirs" }); // this one can't be stored
  assert.equal((await exportFolder(folder, bucket, "--delete-after-upload", "--include-open")).code, 69);
  const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
  assert.deepEqual(left, ["export.jsonl", "report.md", segmentName(2), open].sort());
});

testWith("s3", "--manifest stores what a run uploaded; --output json and --presign say it", async () => {
  const bucket = await server.makeBucket("manifest");
  await using folder = await Folder.create({
    [segmentName(1)]: segmentText(1),
    [`${segmentName(2)}.zst`]: bytesOf(1000, 2),
  });
  const { code, stdout, stderr } = await exportFolder(
    folder,
    bucket,
    ...[
      "--manifest",
      "--run-id",
      "R 1",
      "--output",
      "json",
      "--presign",
      "10m",
      "--layout",
      "hive",
      "--tag",
      "team=net ops",
    ],
  );
  assert.equal(code, 0, stderr);
  const said = JSON.parse(stdout);
  assert.equal(said.status, "complete");
  assert.equal(said.run_id, "R 1");
  assert.equal(said.objects.length, 2);
  const [object] = said.objects;
  assert.equal(object.key, `p/host=${Deno.hostname()}/date=2026-11-01/hour=01/${segmentName(1)}`);
  const response = await fetch(object.presigned_get_url);
  assert.equal(await response.text(), segmentText(1));
  const key = "p/manifests/R 1.json";
  const manifest = JSON.parse(new TextDecoder().decode((await server.download(bucket)).get(key)));
  assert.deepEqual(
    manifest.objects.map((o: { key: string }) => o.key),
    said.objects.map((o: { key: string }) => o.key),
  );
  const tags = await server.call("get_object_tagging", { Bucket: bucket, Key: object.key });
  assert.deepEqual(tags.TagSet, [{ Key: "team", Value: "net ops" }]);
});

testWith("s3", "--dry-run says what would be uploaded, asks nobody and writes nothing", async () => {
  await using folder = await Folder.create({
    [segmentName(1)]: segmentText(1),
    "extra.log": "x\n",
    "sub/other.log": "y\n",
  });
  const args = [
    "--input",
    folder.path,
    "--bucket",
    "nowhere",
    "--endpoint",
    "http://192.0.2.1",
    "--prefix",
    "/",
    "--dry-run",
  ];
  const { code, stdout } = await runExport([...args, "--include", "*.log", "--exclude", "sub/**"]);
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `extra.log → s3://nowhere/extra.log (2 B)\n${segmentName(1)} → s3://nowhere/${segmentName(1)} (105 B)\n` +
      "would upload 2 objects (107 B); 0 are there already\n",
  );
  assert.ok(![...Deno.readDirSync(folder.path)].some(({ name }) => name === "export.jsonl"));
});

testWith("s3", "--sse kms, --storage-class and keys of every kind reach the server", async () => {
  const bucket = await server.makeBucket("kinds");
  const odd = ["a b+c&d=e%f", "ünïcödé", "it's (1)!*;", "back\\slash", "q?#x", "e\u0301"].map((name) =>
    `${name}/report.md`
  );
  await using folder = await Folder.create(Object.fromEntries(odd.map((path) => [path, path])));
  const { code, stderr } = await exportFolder(folder, bucket, "--sse", "kms", "--kms-key-id", "testkey-1");
  assert.equal(code, 0, stderr);
  const { Contents } = await server.call("list_objects_v2", { Bucket: bucket });
  assert.deepEqual(Contents.map(({ Key }: { Key: string }) => Key).sort(), odd.map((path) => `p/${path}`).sort());
  const head = await server.call("head_object", { Bucket: bucket, Key: `p/${odd[0]}` });
  assert.equal(head.ServerSideEncryption, "aws:kms");
  assert.equal(head.SSEKMSKeyId, "testkey-1");
  await folder.write("summary.json", "{}\n");
  const unknown = await exportFolder(folder, bucket, "--storage-class", "NOSUCH");
  assert.equal(unknown.code, 69);
  assert.match(
    unknown.stderr,
    /Cannot upload summary\.json: 400 InvalidStorageClass|Cannot upload summary\.json: 4\d\d /,
  );
  assert.equal((await exportFolder(folder, bucket, "--storage-class", "STANDARD")).code, 0);
});
