/** Segments sealed and compressed. */
import assert from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { listSegments } from "../src/segment.ts";
import type { Spool } from "../src/spool.ts";
import { AT, HOUR, line, names, open, read, readAll, withDirectory, write } from "./spools.ts";
import { thrown } from "./thrown.ts";

const encoder = new TextEncoder();

Deno.test(
  "seal() deletes an empty segment",
  withDirectory(async (directory) => {
    write(directory, "snapshot_2026112023.open.jsonl", "");
    using spool = open(directory);
    await assert.rejects(() => spool.append([], { at: AT }), TypeError);
    assert.deepEqual(await spool.seal(), { sealed: [], warnings: [] });
    assert.deepEqual(readAll(directory), {});
  }),
);

for (const [compress, suffix, magic] of [["zstd", ".zst", "28b52ffd"], ["gzip", ".gz", "1f8b"]] as const) {
  Deno.test(
    `seal() replaces a segment with one that is ${compress}-compressed, while append() goes on`,
    withDirectory(async (directory) => {
      using spool = open(directory, { compress });
      const text = Array.from({ length: 200_000 }, (_, n) => `{"n":${n * 7919 % 65521}}`).join(",");
      for (let n = 0; n < 4; n++) await spool.append(line(text, 1 << 16), { at: AT });
      await spool.append(line("next"), { at: AT + HOUR });
      let done = false, appended = 0;
      const sealing = spool.seal(AT + HOUR).finally(() => done = true);
      while (!done) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        await spool.append(line("on"), { at: AT + HOUR });
        appended++;
      }
      const { sealed, warnings } = await sealing;
      assert.deepEqual(warnings, []);
      const name = `snapshot_2026112103.jsonl${suffix}`;
      assert.deepEqual(sealed.map((segment) => [segment.name, segment.compression]), [[name, compress]]);
      assert.equal(sealed[0]!.bytes, Deno.statSync(`${directory}/${name}`).size);
      const stored = Deno.readFileSync(`${directory}/${name}`);
      assert.ok(stored.length < text.length, `${stored.length} bytes`);
      assert.ok(stored.toHex().startsWith(magic));
      assert.ok(appended >= 3, `only ${appended} appends while compressing`);
      assert.deepEqual(readAll(directory), {
        [name]: `${text}\n`.repeat(4),
        "snapshot_2026112104.open.jsonl": "next\n" + "on\n".repeat(appended),
      });
    }),
  );

  Deno.test(
    `seal() reads a ${compress}-compressed segment back whatever of it is decompressed before the file's end is met`,
    withDirectory(async (directory) => {
      using spool = open(directory, { compress });
      for (let hour = 1; hour <= 20; hour++) {
        // Hardly compressible: the last of it is decompressed in no time.
        const text = crypto.getRandomValues(new Uint8Array(20_000)).toHex(), at = AT + hour * HOUR;
        await spool.append(line(text), { at });
        const { sealed, warnings } = await spool.seal(at + HOUR);
        assert.deepEqual([sealed.map(({ compression }) => compression), warnings], [[compress], []]);
      }
    }),
  );

  Deno.test(
    `openSpool() and seal() finish a ${compress} compression, wherever it stopped`,
    withDirectory(async (directory) => {
      const content = "one\ntwo\n", bytes = encoder.encode(content);
      const packed = compress === "zstd" ? zstdCompressSync(bytes) : gzipSync(bytes);
      const original = "snapshot_2026112101.open.jsonl", target = `snapshot_2026112101.jsonl${suffix}`;
      const states: Record<string, Record<string, string | Uint8Array>> = {
        "before it": { [original]: content },
        "before its first byte": { [original]: content, [`${target}.tmp`]: "" },
        "in the middle": { [original]: content, [`${target}.tmp`]: packed.subarray(0, packed.length / 2) },
        "before the rename": { [original]: content, [`${target}.tmp`]: packed },
        "before the unlink": { [original]: content, [target]: packed },
        "after it": { [target]: packed },
      };
      for (const [where, files] of Object.entries(states)) {
        const inner = `${directory}/${where}`;
        Deno.mkdirSync(inner);
        for (const [name, stored] of Object.entries(files)) write(inner, name, stored);
        assert.equal(listSegments(inner).length, 1, `${where}: the lines are listed once`);
        using spool = open(inner, { compress });
        assert.deepEqual((await spool.seal(AT)).warnings, [], where);
        assert.deepEqual(readAll(inner), { [target]: content }, where);
      }
    }),
  );
}

Deno.test(
  "seal() overwrites no sealed segment with other lines, whether or not that can be read",
  withDirectory(async (directory) => {
    for (const [n, stored] of ["two\n", "one\ntwo\n", "one\nto", "garbage"].entries()) {
      for (const suffix of ["", ".zst", ".gz"]) {
        const inner = `${directory}/${n}${suffix}`, twin = `snapshot_2026112101.jsonl${suffix}`;
        Deno.mkdirSync(inner);
        const raw = n === 3 || suffix === "";
        const bytes = encoder.encode(stored);
        write(inner, twin, raw ? bytes : suffix === ".zst" ? zstdCompressSync(bytes) : gzipSync(bytes));
        write(inner, "snapshot_2026112101.open.jsonl", "one\n");
        using spool = open(inner);
        await spool.seal(AT);
        assert.equal(read(inner, "snapshot_2026112101_0001.jsonl"), "one\n");
        const kept = Deno.readFileSync(`${inner}/${twin}`);
        if (raw) assert.deepEqual(kept, bytes);
        assert.deepEqual(names(inner), [twin, "snapshot_2026112101_0001.jsonl"]);
      }
    }
  }),
);

Deno.test(
  "seal() goes on after a segment that cannot be sealed, and tries that again the next time",
  withDirectory(async (directory) => {
    using spool = open(directory);
    for (const hour of [0, 1, 2]) await spool.append(line(`${hour}`), { at: AT + hour * HOUR });
    Deno.mkdirSync(`${directory}/snapshot_2026112104.jsonl`);
    const { sealed, warnings } = await spool.seal();
    assert.deepEqual(sealed.map((segment) => segment.name), ["snapshot_2026112103.jsonl", "snapshot_2026112105.jsonl"]);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /^Cannot seal segment "snapshot_2026112104\.open\.jsonl": /);
    Deno.removeSync(`${directory}/snapshot_2026112104.jsonl`);
    assert.equal((await spool.seal()).sealed.length, 1);
  }),
);

Deno.test(
  "seal() reads the directory only where a segment is over, was left by an earlier run, or could not be sealed",
  withDirectory(async (directory) => {
    write(directory, "snapshot_2026112102.open.jsonl", "earlier\n");
    using spool = open(directory);
    const seal = async (at: number) => (await spool.seal(at)).sealed.map(({ name }) => name);
    await spool.append(line("a"), { at: AT });
    assert.deepEqual(await seal(AT), ["snapshot_2026112102.jsonl"]);
    write(directory, "snapshot_2026112101.open.jsonl", "not ours\n");
    await spool.append(line("b"), { at: AT });
    assert.deepEqual(await seal(AT), []);
    assert.deepEqual(await seal(AT + HOUR), ["snapshot_2026112101.jsonl", "snapshot_2026112103.jsonl"]);
    await spool.append(line("c"), { at: AT + HOUR });
    Deno.mkdirSync(`${directory}/snapshot_2026112104.jsonl`);
    assert.deepEqual(await seal(AT + 2 * HOUR), []);
    Deno.removeSync(`${directory}/snapshot_2026112104.jsonl`);
    assert.deepEqual(await seal(AT + 2 * HOUR), ["snapshot_2026112104.jsonl"]);
  }),
);

Deno.test(
  "seal() seals a segment as it is when it cannot be compressed",
  withDirectory(async (directory) => {
    using spool = open(directory, { compress: "gzip" });
    await spool.append(line("a"), { at: AT });
    Deno.mkdirSync(`${directory}/snapshot_2026112103.jsonl.gz.tmp/x`, { recursive: true });
    const { sealed, warnings } = await spool.seal();
    assert.deepEqual(sealed.map((segment) => segment.name), ["snapshot_2026112103.jsonl"]);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /^Cannot compress segment "snapshot_2026112103\.open\.jsonl", sealing it as it is: /);
    assert.equal(read(directory, "snapshot_2026112103.jsonl"), "a\n");
  }),
);

/** A line that takes long to compress. */
const heavy = Array.from({ length: 64 }, () => crypto.getRandomValues(new Uint8Array(1 << 15)).toHex()).join("");

/** Seals a segment that takes long to compress; it is in the middle of that. */
async function beginSealing(spool: Spool, directory: string): Promise<{ sealing: ReturnType<Spool["seal"]> }> {
  await spool.append(line(heavy, 1 << 16), { at: AT });
  const sealing = spool.seal();
  for (let n = 0; n < 5000; n++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const temporary = [...Deno.readDirSync(directory)].find((entry) => entry.name.endsWith(".tmp"));
    if (temporary && Deno.statSync(`${directory}/${temporary.name}`).size > 0) return { sealing };
  }
  assert.fail("nothing is compressed");
}

Deno.test(
  "seal() keeps the original when the compressed file does not hold the same",
  withDirectory(async (directory) => {
    using spool = open(directory, { compress: "gzip" });
    const path = `${directory}/snapshot_2026112103.open.jsonl`;
    const { sealing } = await beginSealing(spool, directory);
    using file = Deno.openSync(path, { write: true });
    file.writeSync(encoder.encode("!"));
    const { sealed, warnings } = await sealing;
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /reads back differently$/);
    assert.equal(sealed[0]?.name, "snapshot_2026112103.jsonl");
    assert.deepEqual(readAll(directory), { "snapshot_2026112103.jsonl": `!${heavy.slice(1)}\n` });
  }),
);

Deno.test(
  "a spool that is disposed of touches nothing any more, not even to end a compression",
  withDirectory(async (directory) => {
    const spool = open(directory, { compress: "gzip" });
    const { sealing } = await beginSealing(spool, directory);
    spool[Symbol.dispose]();
    const { sealed, warnings } = await sealing;
    assert.deepEqual(sealed, []);
    assert.match(warnings.join(), /: the spool was closed$/);
    for (
      const action of [() => spool.append(line("y"), { at: AT }), () => spool.prune(AT), () => spool.appendStatus("")]
    ) {
      assert.match((await thrown(action)).message, /: the spool was closed$/);
    }
    assert.match((await spool.seal()).warnings.join(), /: the spool was closed$/);
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name).sort(), [
      "snapshot_2026112103.jsonl.gz.tmp",
      "snapshot_2026112103.open.jsonl",
      "spool.lock",
    ]);
  }),
);

Deno.test(
  "openSpool() can be called as soon as the spool is disposed of in the middle of a compression",
  withDirectory(async (directory) => {
    const spool = open(directory, { compress: "gzip" });
    const { sealing } = await beginSealing(spool, directory);
    spool[Symbol.dispose]();
    using next = open(directory, { compress: "gzip", at: AT + HOUR });
    assert.equal(next.recovered.length, 1);
    const [before, after] = await Promise.all([sealing, next.seal()]);
    assert.deepEqual(before.sealed, []);
    assert.deepEqual(after.warnings, []);
    assert.deepEqual(readAll(directory), { "snapshot_2026112103.jsonl.gz": `${heavy}\n` });
  }),
);
