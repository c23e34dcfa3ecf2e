/** Reading this machine's files by the embedded engine. */
import assert from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import type { QueryEngine } from "../../src/fleet/engine.ts";
import { openSource, type Source, type SourceOptions } from "../../src/fleet/source.ts";
import { CHDB, testWith } from "../needs.ts";
import { thrown } from "../thrown.ts";

const DAY = Date.UTC(2026, 10, 21), HOUR = 3_600_000;

/** The lines of a source, by the paths of their files. */
async function readAll(engine: QueryEngine, source: Source, isWhole = true): Promise<Map<string, string[]>> {
  const lines = new Map<string, string[]>(source.files.map(({ path }) => [path, []]));
  const rows = await engine.rows<{ line: string; file: string; number: string }>(
    `SELECT line, file, number FROM ${source.from} ORDER BY file, number`,
    await source.bind(),
  );
  for (const { line, file, number } of rows) {
    const list = lines.get(source.names.get(file)!.path)!;
    if (isWhole) assert.equal(Number(number), list.length + 1);
    list.push(line);
  }
  return lines;
}

/** A line of a snapshot that ended at that hour of the day. */
function lineAt(hour: number, hostname: string): string {
  return JSON.stringify({ version: 8, ts_unix_sec: (DAY + hour * HOUR) / 1000, hostname }) + "\n";
}

async function writeFiles(files: Record<string, string | Uint8Array>): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const [path, content] of Object.entries(files)) {
    const whole = `${folder}/${path}`;
    await Deno.mkdir(whole.slice(0, whole.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(whole, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }
  return folder;
}

testWith("chdb", "the embedded engine reads files", async (t) => {
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 1e9, threads: 2 });
  const open = (paths: string[], options: Partial<SourceOptions> = {}) =>
    openSource(engine, { paths, buckets: [] }, { hosts: [], ...options });

  await t.step("plain, gzip and zstd, line by line, the last one with or without its end", async () => {
    const folder = await writeFiles({
      "a.jsonl": '{"a":1}\n\n"tab\\t"\n{"torn',
      "b.jsonl.gz": gzipSync("b1\nb2\n"),
      "c.jsonl.zst": zstdCompressSync("c1\nc2"),
      "d.jsonl": "",
      // Frames of their own, as two files put together are.
      "e.jsonl.zst": new Uint8Array([...zstdCompressSync("e1\n"), ...zstdCompressSync("e2\n")]),
      "notes.txt": "no segment",
      "export.jsonl": "nor this",
    });
    const lines = await readAll(engine, await open([folder]));
    assert.deepEqual([...lines], [
      [`${folder}/a.jsonl`, ['{"a":1}', "", '"tab\\t"', '{"torn']],
      [`${folder}/b.jsonl.gz`, ["b1", "b2"]],
      [`${folder}/c.jsonl.zst`, ["c1", "c2"]],
      [`${folder}/d.jsonl`, []],
      [`${folder}/e.jsonl.zst`, ["e1", "e2"]],
    ]);
    await Deno.remove(folder, { recursive: true });
  });

  await t.step("files whose names mean something to patterns, SQL and addresses", async () => {
    const names = [
      "a{b,c}*.jsonl",
      "it's; DROP TABLE x --.jsonl",
      "q?[x] %41+é\u2028.jsonl",
      "back\\slash\n.jsonl",
      "**.jsonl",
    ];
    const folder = await writeFiles({
      ...Object.fromEntries(names.map((name, i) => [`host={a,b}'*/${name}`, `line ${i}\n`])),
      "other/abc.jsonl": "not asked for\n",
    });
    const lines = await readAll(engine, await open([`${folder}/host={a,b}'*`]));
    const expected = names.map((name, i) => [`${folder}/host={a,b}'*/${name}`, [`line ${i}`]]);
    assert.deepEqual(Object.fromEntries(lines), Object.fromEntries(expected));
    const one = await readAll(engine, await open([`${folder}/host={a,b}'*/**.jsonl`]));
    assert.deepEqual([...one.values()], [["line 4"]]);
    await Deno.remove(folder, { recursive: true });
  });

  await t.step("nothing of what need not be read: that may be anything", async () => {
    const files: Record<string, string | Uint8Array> = {};
    for (const host of ["a", "b", "it's"]) {
      for (let hour = 0; hour < 24; hour++) {
        const digits = String(hour).padStart(2, "0"), isWanted = host === "it's" && hour >= 9 && hour <= 12;
        files[`host=${host}/date=2026-11-21/hour=${digits}/snapshot_20261121${digits}.jsonl.zst`] = isWanted
          ? zstdCompressSync([0, 0.5].map((part) => lineAt(hour + part, host)).join(""))
          : "this is no zstd";
      }
    }
    const folder = await writeFiles(files);
    const source = await open([folder], { hosts: ["it's"], fromMs: DAY + 10.5 * HOUR, toMs: DAY + 12.5 * HOUR });
    const lines = [...(await readAll(engine, source, false)).values()].flat();
    // An interval that ends at the beginning is not of the time, one that ends at its end is.
    assert.deepEqual(lines, [11, 11.5, 12, 12.5].map((hour) => lineAt(hour, "it's").trim()));
    assert.deepEqual(source.skipped, { files: 68, bytes: 68 * 15 });
    // And what is read is really looked at.
    const all = await open([folder], { hosts: ["it's"] });
    assert.match((await thrown(() => readAll(engine, all))).message, /ClickHouse error \d+/);
    await Deno.remove(folder, { recursive: true });
  });

  await t.step(
    "of files that don't tell their host or time, the lines that are asked for, and what may be wrong",
    async () => {
      const lines = [lineAt(1, "a"), lineAt(2, "b"), lineAt(3, "a"), '{"torn', '{"ts_unix_sec":"soon","hostname":"a"}'];
      const folder = await writeFiles({ "mine.jsonl": lines.map((line) => line.trim()).join("\n") });
      const read = async (choice: Partial<SourceOptions>) =>
        [...(await readAll(engine, await open([folder], choice), false)).values()].flat();
      const [a1, b2, a3, torn, soon] = lines.map((line) => line.trim());
      assert.deepEqual(await read({ hosts: ["a"] }), [a1, a3, soon]);
      assert.deepEqual(await read({ fromMs: DAY + HOUR, toMs: DAY + 2 * HOUR }), [b2, torn, soon]);
      assert.deepEqual(await read({ hosts: ["b"], fromMs: DAY + 2 * HOUR }), []);
      await Deno.remove(folder, { recursive: true });
    },
  );

  await t.step("lines of a file that is read in parallel, with their numbers", async () => {
    const count = 30_000,
      folder = await writeFiles({
        "big.jsonl": Array.from({ length: count }, (_, i) => `${i} ${"x".repeat(1000)}\n`).join(""),
      });
    const source = await open([folder]);
    const [row] = await engine.rows(
      `SELECT count() AS n, countIf(toUInt64(splitByChar(' ', line)[1]) + 1 = number) AS right FROM ${source.from}`,
      await source.bind(),
    );
    assert.deepEqual(row, { n: `${count}`, right: `${count}` });
    await Deno.remove(folder, { recursive: true });
  });

  await t.step("a line of 60 MB", async () => {
    const folder = await writeFiles({ "long.jsonl": `short\n${"x".repeat(6e7)}\nshort\n` });
    const source = await open([folder]);
    const sql = `SELECT number, length(line) AS bytes FROM ${source.from} ORDER BY number`;
    const rows = await engine.rows(sql, await source.bind());
    const bytes = [5, 6e7, 5].map(String);
    assert.deepEqual(rows, bytes.map((bytes, i) => ({ number: `${i + 1}`, bytes })));
    await Deno.remove(folder, { recursive: true });
  });

  await t.step("says that there is nothing to read", async () => {
    const folder = await writeFiles({ "host=a/date=2026-11-21/hour=07/snapshot_2026112107.jsonl": "x\n" });
    assert.equal((await thrown(() => open([`${folder}/none`]))).kind, "data");
    const error = await thrown(() => open([folder], { hosts: ["b"] }));
    assert.equal(error.message, "Cannot read snapshots: none of 1 files is of the hosts and the time asked for");
    await Deno.remove(folder, { recursive: true });
  });

  await t.step("an engine elsewhere doesn't see them, and says so", async () => {
    const elsewhere: QueryEngine = Object.assign(Object.create(engine), { folder: undefined, name: "the engine at x" });
    const error = await thrown(() => openSource(elsewhere, { paths: ["/tmp"], buckets: [] }, { hosts: [] }));
    assert.equal(error.kind, "usage");
    assert.match(error.message, /doesn't see this machine's files$/);
  });
});
