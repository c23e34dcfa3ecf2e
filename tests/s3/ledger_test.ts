/**
 * The ledger, what it keeps from being pruned, and what is selected.
 */
import assert from "node:assert/strict";
import { historyOf, type LedgerEvent, openLedger, readLedger, watchUploaded } from "../../src/s3/ledger.ts";
import { contentTypeOf, selectFiles, type Selection } from "../../src/s3/select.ts";
import { partSizeFor } from "../../src/s3/upload.ts";
import { openSpool } from "../../src/spool.ts";
import { readStatus } from "../../src/status.ts";
import { Folder, segmentName, segmentText } from "./server.ts";

const T = "http://s3/b/p/";
const stored = (path: string, target = T): LedgerEvent => ({
  ...{ event: "stored", target, path, key: `p/${path}`, size: 3, sha256: "0".repeat(64), etag: "e" },
  ...{ source_size: 3, source_mtime_ms: 1 },
});
const upload: LedgerEvent = {
  ...{ event: "multipart", target: T, path: "x", key: "p/x", upload_id: "U", size: 9, sha256: "1", part_size: 5 },
};

Deno.test("openLedger() knows what was recorded, wherever its last line is cut off", async () => {
  await using folder = await Folder.create();
  const events: LedgerEvent[] = [
    { event: "run", target: T, pid: 7 },
    stored("a"),
    { event: "opening", target: T, path: "x", key: "p/x" },
    upload,
    { event: "part", upload_id: "U", number: 2, sha256: "2", etag: "é", checksum: false },
    { event: "begin", target: T, path: "c", key: "p/c", size: 1, sha256: "3" },
  ];
  {
    using ledger = openLedger(folder.path);
    await Promise.all(events.map((event) => ledger.record(event)));
    assert.equal(ledger.state.pid, 7);
  }
  const path = `${folder.path}/export.jsonl`, whole = await Deno.readFile(path);
  assert.equal((await Deno.stat(path)).mode! & 0o777, 0o640);
  const ends = [...whole.keys()].filter((i) => whole[i] === 10).map((i) => i + 1);
  assert.equal(ends.length, events.length);
  for (let length = 0; length <= whole.length; length += 7) {
    await Deno.writeFile(path, whole.subarray(0, length));
    const known = ends.filter((end) => end <= length).length;
    {
      using ledger = openLedger(folder.path);
      const history = historyOf(ledger.state, T);
      assert.equal(ledger.state.unreadable, 0);
      assert.equal(history.stored.has("p/a"), known >= 2);
      assert.equal(history.unsettled.has("p/x"), known === 3);
      assert.equal(history.uploads.get("U")?.parts.get(2)?.etag, known >= 5 ? "é" : undefined);
      assert.equal(history.begun.has("p/c"), known >= 6);
      await ledger.record(stored("next"));
    }
    const lines = (await Deno.readTextFile(path)).split("\n");
    assert.equal(lines.length, known + 2, "the next line stands alone");
    assert.equal(JSON.parse(lines[known]!).path, "next");
  }
});

Deno.test("openLedger() passes over lines that are none, counts them, and takes no event of a later version for its own", async () => {
  await using folder = await Folder.create({
    "export.jsonl": `${JSON.stringify(stored("a"))}\n{"event":\n\0\0\0\n{"event":"later","target":"${T}","x":1}\n7\n`,
  });
  using ledger = openLedger(folder.path);
  assert.equal(ledger.state.unreadable, 2);
  assert.ok(historyOf(ledger.state, T).stored.has("p/a"));
});

Deno.test("openLedger() is refused while another exporter has it, and nothing is lost", async () => {
  await using folder = await Folder.create();
  using ledger = openLedger(folder.path);
  await ledger.record({ event: "run", target: T, pid: 4711 });
  assert.throws(
    () => openLedger(folder.path),
    (error: Error & { hint?: string; kind?: string }) =>
      error.kind === "storage" && /another exporter has it open/.test(error.message) &&
      error.hint!.includes("ps -p 4711"),
  );
  assert.equal(readLedger(folder.path)?.pid, 4711);
});

Deno.test("watchUploaded() protects from pruning what the last target hasn't, but not from --max-bytes", async () => {
  const names = [1, 2, 3, 4].map(segmentName);
  await using folder = await Folder.create(Object.fromEntries(names.map((name, n) => [name, segmentText(n)])));
  const isUploaded = watchUploaded(folder.path);
  assert.equal(isUploaded(names[0]!), undefined, "no ledger, no protection");
  {
    using ledger = openLedger(folder.path);
    await ledger.record({ event: "run", target: "elsewhere", pid: 1 });
    await ledger.record(stored(names[0]!, "elsewhere"));
    assert.equal(isUploaded(names[0]!), true);
    await ledger.record({ event: "run", target: T, pid: 1 });
    assert.equal(isUploaded(names[0]!), false, "another bucket, another history");
    await ledger.record(stored(names[1]!));
    assert.equal(isUploaded(names[1]!), true);
  }
  const at = Date.UTC(2026, 10, 2);
  using spool = openSpool(folder.path, { at, rotate: "hourly", maxFiles: 1, isUploaded });
  assert.deepEqual(spool.prune(at).deleted.map(({ name }) => name), [names[1]]);
  const left = () => names.filter((name) => [...Deno.readDirSync(folder.path)].some((entry) => entry.name === name));
  assert.deepEqual(left(), [names[0], names[2], names[3]]);
  const { upload } = readStatus(folder.path, at / 1000);
  assert.equal(upload?.target, T);
  assert.deepEqual(upload?.waiting.count, 3);
  spool.setLimits({ maxBytes: 150 });
  const { warnings } = spool.prune(at);
  assert.match(warnings[0]!, new RegExp(`Deleted segment "${names[0]}" before it was uploaded`));
  assert.deepEqual(left(), [names[3]]);
});

const SELECTION: Selection = {
  ...{ include: [], exclude: [], includeOpen: false, compress: "none", prefix: "p/", layout: "plain", hostname: "h" },
};

Deno.test("selectFiles() refuses keys that would end up elsewhere, or twice", async () => {
  await using folder = await Folder.create({ [segmentName(1)]: "x\n", [`${segmentName(1)}.zst`]: "y" });
  assert.throws(
    () => selectFiles(folder.path, { ...SELECTION, compress: "zstd" }),
    /Cannot upload .* and .*: both would be "p\//,
  );
  assert.equal(selectFiles(folder.path, SELECTION).length, 2);
  assert.throws(() => selectFiles(folder.path, { ...SELECTION, prefix: "a/../b/" }), /an empty part, \. or \.\./);
  assert.throws(
    () => selectFiles(folder.path, { ...SELECTION, prefix: `${"é".repeat(512)}/` }),
    /longer than 1024 bytes/,
  );
  assert.throws(() => selectFiles(`${folder.path}/none`, SELECTION), /Cannot read the folder/);
});

Deno.test("selectFiles() matches globs by name and by path, and never what is ibsr's own", async () => {
  const paths = [
    "a.log",
    "sub/b.log",
    "sub/deep/c.log",
    "export.jsonl",
    "spool.lock",
    ".env",
    "x.tmp",
    "upload-manifest.json",
  ];
  await using folder = await Folder.create(Object.fromEntries(paths.map((path) => [path, "x\n"])));
  const select = (include: string[], exclude: string[] = []) =>
    selectFiles(folder.path, { ...SELECTION, include, exclude }).map(({ path }) => path);
  assert.deepEqual(select(["*"]), ["a.log", "sub/b.log", "sub/deep/c.log"]);
  assert.deepEqual(select(["sub/*"]), ["sub/b.log"]);
  assert.deepEqual(select(["sub/**"], ["c.*"]), ["sub/b.log"]);
  assert.deepEqual(select(["[ab].log"]), ["a.log", "sub/b.log"]);
});

Deno.test("partSizeFor() keeps to S3's limits: 5 MiB at least, 10,000 parts at most", () => {
  for (const size of [16 << 20, 2 ** 36, 5 * 2 ** 40]) {
    const part = partSizeFor(size);
    assert.ok(part >= 5 << 20 && Math.ceil(size / part) <= 10_000, `${size}: ${part}`);
  }
  assert.equal(partSizeFor(1 << 30), 8 << 20);
});

Deno.test("contentTypeOf() goes by the last ending", () => {
  assert.equal(contentTypeOf("a/snapshot_2026112103.jsonl"), "application/x-ndjson");
  assert.equal(contentTypeOf("snapshot_2026112103.jsonl.zst"), "application/zstd");
  assert.equal(contentTypeOf("rules.nft"), "application/octet-stream");
});
