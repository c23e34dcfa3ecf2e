/** Files of evidence: their digests, where rows are kept, and that nothing of it changes what was counted. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { COUNTER_NAMES, noCounters } from "../src/counters.ts";
import { IbsrError } from "../src/errors.ts";
import { openFileReader } from "../src/evidence/files.ts";
import { readEvidence } from "../src/evidence/read.ts";
import type { Place } from "../src/evidence/rows.ts";
import { openStore } from "../src/evidence/store.ts";
import { listInputs } from "../src/input.ts";
import { concat, encoder, file, line5, line8, type Row, syns } from "./evidence_lines.ts";
import { cellsOf, codesOf, ONE, read, storyOf } from "./evidences.ts";
import { createRandom } from "./packets.ts";

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

Deno.test("readEvidence() says that nothing is there where nothing is", async () => {
  using evidence = await read([file("a.jsonl"), file("b.jsonl", "x")]);
  assert.deepEqual([evidence.streams, evidence.range, evidence.versions, evidence.lines], [[], undefined, [], 1]);
});

Deno.test("readEvidence() expands a million overlapping ranges of ports without trying", async () => {
  const dst_ports = Array<string>(100_000).fill("1-65535");
  using evidence = await read([file("a.jsonl", line8(0, 1010, ONE, { dst_ports }))]);
  const [interval] = [...evidence.streams[0]!.intervals()];
  assert.deepEqual([interval!.ports.length, interval!.ports[0], interval!.ports.at(-1)], [65535, 1, 65535]);
});

Deno.test("readEvidence() names files by the digest of their stored bytes, and tells how far it is", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const text = encoder.encode(`${line8(0, 1010, ONE)}\n`), zstd = zstdCompressSync(text);
    Deno.mkdirSync(`${folder}/b`);
    Deno.writeFileSync(`${folder}/a.jsonl`, text);
    Deno.writeFileSync(`${folder}/b/c.jsonl.zst`, zstd);
    for (const name of ["status.jsonl", "export.jsonl", "notes.txt"]) {
      Deno.writeTextFileSync(`${folder}/${name}`, "x\n");
    }
    const steps: (number | undefined)[][] = [];
    using evidence = await read(listInputs([folder]), { progress: (...step) => steps.push(step) });
    assert.deepEqual(evidence.files, [
      { path: `${folder}/a.jsonl`, sha256: sha256Of(text), bytes: text.length, lines: 1 },
      { path: `${folder}/b/c.jsonl.zst`, sha256: sha256Of(zstd), bytes: zstd.length, lines: 1 },
    ]);
    assert.deepEqual([evidence.duplicates, evidence.badLineCount], [1, 0]);
    const total = text.length + zstd.length;
    assert.deepEqual(steps, [[text.length, total], [total, total]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readEvidence() computes digests in a thread where files are large, and the same ones", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const blank = new Uint8Array(20 << 20).fill(0x20);
    for (let i = 0; i < 20; i++) blank[i << 20 | i] = 0x0a; // what is read from one place is nowhere else the same
    Deno.writeFileSync(`${folder}/a.jsonl`, blank);
    Deno.writeFileSync(`${folder}/b.jsonl`, blank.subarray(7, 100_000)); // into a part of what the first was read into
    Deno.writeFileSync(`${folder}/c.jsonl`, blank.subarray(3));
    Deno.writeFileSync(`${folder}/d.jsonl.zst`, zstdCompressSync(encoder.encode(line8(0, 1010, ONE))));
    using evidence = await read(listInputs([folder]));
    for (const { path, sha256 } of evidence.files) {
      assert.equal(sha256, sha256Of(Deno.readFileSync(path)));
    }
    assert.equal(storyOf(evidence).length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openFileReader() reads the same in a thread and without one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const random = createRandom(7).word, text = Uint8Array.from({ length: 9_000_000 }, () => 0x20 + random() % 64);
    const [gzip, zstd] = [gzipSync(text), zstdCompressSync(text)];
    const files: Record<string, Uint8Array> = {
      ...{ "a.jsonl": text, "empty.jsonl": new Uint8Array(0), "b.jsonl": text.subarray(5, 100), "c.jsonl.gz": gzip },
      ...{ "d.jsonl.zst": zstd, "short.jsonl": text.subarray(7, 3 << 20), "empty.jsonl.zst": new Uint8Array(0) },
      ...{ "cut.jsonl.gz": gzip.subarray(0, 4_000_000), "cut.jsonl.zst": zstd.subarray(0, 4_000_000) },
      ...{
        "wrong.jsonl.zst": text.subarray(0, 5_000_000),
        "twice.jsonl.zst": concat([zstd, zstd]),
        "gone.jsonl": text,
      },
    };
    for (const [name, bytes] of Object.entries(files)) Deno.writeFileSync(`${folder}/${name}`, bytes);
    const inputs = listInputs([folder]);
    Deno.removeSync(`${folder}/gone.jsonl`);
    const readAll = async (bytes: number) => {
      using reader = await openFileReader(bytes);
      const found = [];
      for (const input of inputs) {
        const file = reader.open(input), pieces: Uint8Array[] = [], name = input.path.slice(folder.length + 1);
        const failed = await (async () => {
          for await (const piece of file.pieces()) pieces.push(piece.slice());
        })().catch((error: IbsrError) => [error.kind, error.message, error.hint]);
        found.push({ name, failed, text: sha256Of(concat(pieces)), bytes: file.bytes, sha256: file.sha256() });
      }
      return found;
    };
    const here = await readAll(0);
    assert.deepEqual(await readAll(Infinity), here);
    for (const { name, bytes, sha256 } of here.filter(({ name }) => name !== "gone.jsonl")) {
      assert.deepEqual([name, bytes, sha256], [name, files[name]!.length, sha256Of(files[name]!)]);
    }
    const failures = here.flatMap(({ name, failed }) => failed ? [[name, failed[0]]] : []);
    assert.deepEqual(failures, [
      ["cut.jsonl.gz", "data"],
      ["cut.jsonl.zst", "data"],
      ["gone.jsonl", "storage"],
      ["wrong.jsonl.zst", "data"],
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readEvidence() says that a file can't be read, and stops at an abort", async () => {
  const folder = await Deno.makeTempDir(), path = `${folder}/a.jsonl`;
  Deno.writeTextFileSync(path, line8(0, 1010, ONE));
  const inputs = listInputs([path]);
  await Deno.remove(folder, { recursive: true });
  await assert.rejects(readEvidence(inputs), {
    ...{ kind: "storage", message: `Cannot read ${path}: No such file or directory` },
    hint: "a collector may have sealed or pruned it meanwhile: try again",
  });
  const signal = AbortSignal.abort();
  await assert.rejects(readEvidence([file("a.jsonl", line8(0, 1010, ONE))], { signal }), { name: "AbortError" });
});

Deno.test("readEvidence() leaves no temporary file behind, and says where one can't be made", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const lines = Array.from({ length: 50 }, (_, seq) => line8(seq, 1010 + 10 * seq, ONE));
    const options = { memoryBytes: 0, temporaryDirectory: folder };
    using evidence = await read([file("a.jsonl", ...lines)], options);
    assert.equal(storyOf(evidence).length, 50);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    await assert.rejects(
      readEvidence([file("a.jsonl", ...lines)], { ...options, temporaryDirectory: `${folder}/gone` }),
      (error) => error instanceof IbsrError && error.kind === "storage" && error.message.includes(`${folder}/gone`),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("intervals() gives intervals to keep, or ones that overwrite each other, with the same numbers", async () => {
  const lines = Array.from(
    { length: 9 },
    (_, i) =>
      line5(1060 + 60 * i, [
        ["10.0.0.1", 80, syns(9 * i + 9)],
        ...(i % 3 ? ONE : []).map(([, ...r]): Row => ["10.0.0.2", ...r]),
      ]),
  );
  const v8 = Array.from(
    { length: 9 },
    (_, i) => line8(i, 1010 + 10 * i, i % 2 ? ONE : [["10.0.0.3", 80, syns(i + 1)], ...ONE]),
  );
  for (const input of [file("a.jsonl", ...lines), file("a.jsonl", ...v8)]) {
    using evidence = await read([input]);
    const [stream] = evidence.streams, kept = [...stream!.intervals()].map((i) => cellsOf(evidence, i));
    const passing: string[][] = [];
    for (const interval of stream!.intervals({ reuse: true })) passing.push(cellsOf(evidence, interval));
    assert.deepEqual(passing, kept);
  }
});

Deno.test("openStore() gives back what lies in memory and what lies in its file", async () => {
  using store = openStore({ memoryBytes: 10 << 20, takes: "little" });
  const random = createRandom(6).word, places: { place: Place; seed: number }[] = [];
  for (let n = 0; n < 60; n++) {
    const seed = random() & 255, { place, bytes } = store.reserve(8 * (1 + random() % (n % 20 ? 1 << 16 : 1 << 20)));
    for (let i = 0; i < bytes.length; i++) bytes[i] = seed + i;
    places.push({ place, seed });
    await store.settle();
  }
  await store.flush();
  for (const { place, seed } of places.sort(() => random() % 3 - 1)) {
    const bytes = store.read(place);
    assert.deepEqual([bytes.length, bytes.byteOffset % 8], [place.length, 0]);
    assert.ok(bytes.every((byte, i) => byte === (seed + i & 255)));
  }
});

/** Cells by interval and key, as they are written in either mode. */
interface Truth {
  begin: number;
  end: number;
  run: number;
  rows: Row[];
}

/** Several runs of a collector, one after the other, with gaps, idle sources and new ones. */
function anyTruth(random: () => number, iface: number): Truth[] {
  const truth: Truth[] = [];
  let now = 1000 + random() % 1000;
  for (let runs = 1 + random() % 3; runs > 0; runs--) {
    const run = now;
    for (let n = 1 + random() % 8; n > 0; n--) {
      const begin = now, keys = new Set(Array.from({ length: random() % 6 }, () => random() % 12));
      now += 1 + random() % 90;
      const rows = [...keys].sort((a, b) => a - b).map((key): Row => [
        ...[`10.0.${iface}.${key >> 1}`, key & 1 ? 443 : 80] as [string, number],
        syns(1 + random() % 500, { rst: random() % 9 }),
      ]);
      truth.push({ begin, end: now, run, rows });
    }
    now += 10 + random() % 500;
  }
  return truth;
}

/** The lines of a stream: deltas of version 8, or sums of version 7 since the run began. */
function linesOf(truth: Truth[], version: 7 | 8, iface: string): string[] {
  const sums = new Map<string, Row>();
  let run = -1, seq = 0;
  return truth.map((t) => {
    if (t.run !== run) {
      sums.clear();
      [run, seq] = [t.run, 0];
    }
    if (version === 8) {
      const more = { interval_sec: t.end - t.begin, run_id: t.run * 1000, base_ts_unix_sec: t.run, iface };
      return line8(seq++, t.end, t.rows, more);
    }
    for (const [address, port, counters] of t.rows) {
      const sum = sums.get(`${address} ${port}`)?.[2] ?? noCounters(), next = noCounters();
      for (const name of COUNTER_NAMES) next[name] = sum[name] + counters[name];
      sums.set(`${address} ${port}`, [address, port, next]);
    }
    return line5(t.end, [...sums.values()], { version: 7, run_id: t.run, base_ts_unix_sec: t.run });
  });
}

Deno.test("readEvidence() gives what was counted, however it was written, split, copied, compressed and mixed", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (let seed = 1; seed <= 60; seed++) {
      const random = createRandom(seed).word, home = `${folder}/${seed}`;
      const old = anyTruth(random, 0), streams = [anyTruth(random, 1), anyTruth(random, 2)];
      const lines = [...linesOf(old, 7, ""), ...streams.flatMap((truth, i) => linesOf(truth, 8, `eth${i}`))];
      const copies = lines.filter(() => random() % 5 === 0);
      const files = Array.from({ length: 1 + random() % 5 }, (): string[] => []);
      for (const line of [...lines, ...copies]) {
        const file = files[random() % files.length]!;
        file.splice(random() % (file.length + 1), 0, line);
      }
      Deno.mkdirSync(home);
      for (const [i, file] of files.entries()) {
        const bytes = encoder.encode(file.join("\n") + (random() % 2 ? "\n" : ""));
        const [ending, stored] = [["", bytes], [".gz", gzipSync(bytes)], [
          ".zst",
          zstdCompressSync(bytes),
        ]][random() % 3]!;
        Deno.writeFileSync(`${home}/snapshot_${i}.jsonl${ending as string}`, stored as Uint8Array);
      }
      using evidence = await read(listInputs([home]), { memoryBytes: random() % 3 * 1000, temporaryDirectory: folder });
      assert.deepEqual([evidence.badLineCount, evidence.duplicates], [0, copies.length], `seed ${seed}`);
      const expected = [old, ...streams].map((truth) =>
        truth.map(({ begin, end, rows }) =>
          `${begin}-${end}: ${rows.map(([a, port, c]) => `${a} ${port} ${c.syn} ${c.packets}`).join(", ")}`
        )
      );
      assert.deepEqual(evidence.streams.map((_, i) => storyOf(evidence, i)), expected, `seed ${seed}`);
      assert.deepEqual(codesOf(evidence), ["unnamed_streams"]);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
