/** The spool in real temporary directories. Faults that need root are in tests/kernel/spool_faults_test.ts. */
import assert from "node:assert/strict";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { listSegments } from "../src/segment.ts";
import { openSpool, type SpoolOptions } from "../src/spool.ts";

const HOUR = 3_600_000;
import { thrown } from "./thrown.ts";

const AT = Date.UTC(2026, 10, 21, 3, 10);
const encoder = new TextEncoder(), decoder = new TextDecoder();

function withDirectory(test: (directory: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const directory = Deno.makeTempDirSync({ prefix: "ibsr-spool-" });
    try {
      await test(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  };
}

function open(directory: string, options: Partial<SpoolOptions> = {}) {
  return openSpool(directory, { at: AT, rotate: "hourly", ...options });
}

/** A line as the encoder gives it: in chunks, from one buffer that is written over. */
function* line(text: string, chunkBytes = 3): Generator<Uint8Array> {
  const bytes = encoder.encode(text + "\n"), buffer = new Uint8Array(chunkBytes);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const part = bytes.subarray(at, at + chunkBytes);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
  }
  buffer.fill(0);
}

function write(directory: string, name: string, content: string | Uint8Array): void {
  Deno.writeFileSync(`${directory}/${name}`, typeof content === "string" ? encoder.encode(content) : content);
}

function read(directory: string, name: string): string {
  const bytes = Deno.readFileSync(`${directory}/${name}`);
  if (name.endsWith(".zst")) return decoder.decode(zstdDecompressSync(bytes));
  return decoder.decode(name.endsWith(".gz") ? gunzipSync(bytes) : bytes);
}

/** The directory's segment files and all else but the lock, with their content. */
function readAll(directory: string): Record<string, string> {
  const names = [...Deno.readDirSync(directory)].map((entry) => entry.name).filter((name) => name !== "spool.lock");
  return Object.fromEntries(names.sort().map((name) => [name, read(directory, name)]));
}

/** Names of the spool's segments as `prune()` leaves them. */
function names(directory: string): string[] {
  return listSegments(directory).map((segment) => segment.name);
}

Deno.test(
  "append() writes each snapshot as one line of the hour's open segment, on disk when it returns",
  withDirectory(async (directory) => {
    using spool = open(directory);
    assert.equal(await spool.append(line('{"a":1}'), { at: AT }), 8);
    assert.deepEqual(readAll(directory), { "snapshot_2026112103.open.jsonl": '{"a":1}\n' });
    await spool.append(line('{"b":22}', 1), { at: AT + 1000 });
    await spool.append([new Uint8Array(), encoder.encode("{}\n"), new Uint8Array()], { at: AT + 2000 });
    assert.deepEqual(readAll(directory), { "snapshot_2026112103.open.jsonl": '{"a":1}\n{"b":22}\n{}\n' });
  }),
);

Deno.test(
  "append() takes back a line whose encoder throws, at every chunk, and passes the error on",
  withDirectory(async (directory) => {
    using spool = open(directory);
    await spool.append(line("first"), { at: AT });
    const error = new RangeError("encoder");
    for (let chunks = 0; chunks < 5; chunks++) {
      const broken = function* () {
        for (let i = 0; i < chunks; i++) yield encoder.encode("xy");
        throw error;
      };
      await assert.rejects(() => spool.append(broken(), { at: AT }), (caught) => caught === error);
      assert.equal(read(directory, "snapshot_2026112103.open.jsonl"), "first\n");
    }
    await spool.append(line("second"), { at: AT });
    assert.equal(read(directory, "snapshot_2026112103.open.jsonl"), "first\nsecond\n");
  }),
);

Deno.test(
  "append() refuses what is not exactly one line, and writes nothing of it",
  withDirectory(async (directory) => {
    using spool = open(directory);
    for (const chunks of [[], ["a"], ["a\n", "b\n"], ["a\n", "b"], ["\n", "\n"]]) {
      await assert.rejects(() => spool.append(chunks.map((chunk) => encoder.encode(chunk)), { at: AT }), TypeError);
      assert.equal(read(directory, "snapshot_2026112103.open.jsonl"), "", JSON.stringify(chunks));
    }
  }),
);

Deno.test(
  "append() loses at most the last line, wherever the file is cut",
  withDirectory(async (directory) => {
    const lines = ["{}", '{"n":1,"text":"äöü€"}', "", "x".repeat(70), '{"n":3}'].map((text) => text + "\n");
    const whole = encoder.encode(lines.join(""));
    const path = `${directory}/snapshot_2026112103.open.jsonl`;
    for (let cut = 0; cut <= whole.length; cut++) {
      Deno.writeFileSync(path, whole.subarray(0, cut));
      const kept = whole.subarray(0, whole.subarray(0, cut).lastIndexOf(10) + 1);
      {
        using spool = open(directory);
        assert.equal(spool.recovered.length, kept.length < cut ? 1 : 0, `cut at ${cut}: ${spool.recovered}`);
        if (kept.length < cut) {
          assert.match(spool.recovered[0]!, new RegExp(`^Cut ${cut - kept.length} bytes .*_2026112103`));
        }
        await spool.append(line("next"), { at: AT });
      }
      assert.equal(decoder.decode(Deno.readFileSync(path)), decoder.decode(kept) + "next\n", `cut at ${cut}`);
      Deno.removeSync(path);
    }
  }),
);

Deno.test(
  "openSpool() finds the last newline in an unfinished line of any length",
  withDirectory((directory) => {
    const path = `${directory}/snapshot_2026112103.open.jsonl`, block = 1 << 16;
    for (const torn of [0, 1, block - 3, block - 2, block - 1, block, block + 1, 2 * block, 3 * block + 7]) {
      for (const first of ["", "{}\n"]) {
        Deno.writeTextFileSync(path, first + "x".repeat(torn));
        open(directory)[Symbol.dispose]();
        assert.equal(Deno.readTextFileSync(path), first, `${torn} bytes after ${JSON.stringify(first)}`);
      }
    }
  }),
);

Deno.test(
  "append() begins a new file when its own was deleted, and cuts what others left in it",
  withDirectory(async (directory) => {
    using spool = open(directory);
    const path = `${directory}/snapshot_2026112103.open.jsonl`;
    await spool.append(line("one"), { at: AT });
    Deno.removeSync(path);
    await spool.append(line("two"), { at: AT });
    assert.equal(Deno.readTextFileSync(path), "two\n");
    Deno.writeTextFileSync(path, "torn", { append: true });
    await spool.append(line("three"), { at: AT });
    assert.equal(Deno.readTextFileSync(path), "two\nthree\n");
    Deno.truncateSync(path, 6);
    await spool.append(line("four"), { at: AT });
    assert.equal(Deno.readTextFileSync(path), "two\nfour\n");
  }),
);

Deno.test(
  "append() changes segments with the UTC hour, and seal(at) seals those that are over",
  withDirectory(async (directory) => {
    using spool = open(directory);
    const end = Date.UTC(2026, 10, 21, 4);
    await spool.append(line("a"), { at: AT });
    await spool.append(line("b"), { at: end - 1 });
    assert.deepEqual(await spool.seal(end - 1), { sealed: [], warnings: [] });
    await spool.append(line("c"), { at: end });
    const { sealed, warnings } = await spool.seal(end);
    assert.deepEqual(warnings, []);
    assert.deepEqual(sealed, [{
      name: "snapshot_2026112103.jsonl",
      path: `${directory}/snapshot_2026112103.jsonl`,
      start: Date.UTC(2026, 10, 21, 3),
      sequence: 0,
      state: "sealed",
      compression: "none",
      bytes: 4,
    }]);
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112103.jsonl": "a\nb\n",
      "snapshot_2026112104.open.jsonl": "c\n",
    });
    assert.deepEqual((await spool.seal()).sealed.map((segment) => segment.name), ["snapshot_2026112104.jsonl"]);
    assert.deepEqual(await spool.seal(), { sealed: [], warnings: [] });
  }),
);

Deno.test(
  "append() goes on through the UTC day when rotation is daily; the name is that of the first hour",
  withDirectory(async (directory) => {
    using spool = open(directory, { rotate: "daily" });
    for (const hours of [0, 5, 20, 21]) await spool.append(line(`${hours}`), { at: AT + hours * HOUR });
    await spool.seal(AT + 21 * HOUR);
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112103.jsonl": "0\n5\n20\n",
      "snapshot_2026112200.open.jsonl": "21\n",
    });
  }),
);

Deno.test(
  "append() begins a segment after each that has reached the size, and numbers those of one hour",
  withDirectory(async (directory) => {
    using spool = open(directory, { rotate: 10 });
    for (let n = 0; n < 7; n++) {
      await spool.append(line(`${n}xxx`), { at: AT });
      await spool.seal(AT);
    }
    await spool.append(line("hour"), { at: AT + HOUR });
    await spool.append(line("day"), { at: AT + 24 * HOUR });
    await spool.seal(AT + 24 * HOUR);
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112103.jsonl": "0xxx\n1xxx\n",
      "snapshot_2026112103_0001.jsonl": "2xxx\n3xxx\n",
      "snapshot_2026112103_0002.jsonl": "4xxx\n5xxx\n",
      "snapshot_2026112103_0003.jsonl": "6xxx\nhour\n",
      "snapshot_2026112203.open.jsonl": "day\n",
    });
  }),
);

Deno.test(
  "append() writes to no sealed segment and to no other hour's when the clock is set back or forth",
  withDirectory(async (directory) => {
    using spool = open(directory);
    const hours = [0, 1, 0, 1, -1, 0, 0, 1];
    for (const [n, hour] of hours.entries()) {
      await spool.append(line(`${n}`), { at: AT + hour * HOUR });
      if (n % 2 === 1) await spool.seal(AT + hour * HOUR);
    }
    await spool.seal();
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112102.jsonl": "4\n",
      "snapshot_2026112103.jsonl": "0\n",
      "snapshot_2026112103_0001.jsonl": "2\n",
      "snapshot_2026112103_0002.jsonl": "5\n6\n",
      "snapshot_2026112104.jsonl": "1\n3\n",
      "snapshot_2026112104_0001.jsonl": "7\n",
    });
  }),
);

Deno.test(
  "append() leaves a segment alone while it is being sealed, even if the clock returns to its hour",
  withDirectory(async (directory) => {
    for (const compress of ["none", "zstd"] as const) {
      const inner = `${directory}/${compress}`;
      using spool = open(inner, { compress });
      await spool.append(line("before"), { at: AT });
      await spool.append(line("ahead"), { at: AT + HOUR });
      const sealing = spool.seal(AT + HOUR);
      await Promise.resolve();
      await spool.append(line("back"), { at: AT });
      assert.deepEqual((await sealing).warnings, []);
      await spool.append(line("again"), { at: AT });
      await spool.seal();
      const suffix = compress === "zstd" ? ".zst" : "";
      assert.deepEqual(readAll(inner), {
        [`snapshot_2026112103.jsonl${suffix}`]: "before\n",
        [`snapshot_2026112103_0001.jsonl${suffix}`]: "back\nagain\n",
        [`snapshot_2026112104.jsonl${suffix}`]: "ahead\n",
      });
    }
  }),
);

Deno.test(
  "openSpool() continues an open segment of its hour and leaves the earlier ones to seal()",
  withDirectory(async (directory) => {
    write(directory, "snapshot_2026112023.open.jsonl", "old\nto");
    write(directory, "snapshot_2026112101.open.jsonl", "torn");
    write(directory, "snapshot_2026112103.open.jsonl", "mine\n");
    using spool = open(directory);
    assert.equal(spool.recovered.length, 2);
    assert.deepEqual((await spool.seal(AT)).sealed.map((segment) => segment.name), ["snapshot_2026112023.jsonl"]);
    await spool.append(line("more"), { at: AT });
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112023.jsonl": "old\n",
      "snapshot_2026112103.open.jsonl": "mine\nmore\n",
    });
  }),
);

Deno.test(
  "openSpool() opens no sealed segment again: a restart in the same hour begins the next number",
  withDirectory(async (directory) => {
    for (let run = 0; run < 12; run++) {
      using spool = open(directory);
      await spool.append(line(`${run}`), { at: AT });
      await spool.seal();
    }
    const written = listSegments(directory);
    assert.deepEqual(
      written.map((segment) => read(directory, segment.name)),
      [...Array(12).keys()].map((n) => `${n}\n`),
    );
    assert.deepEqual(written.map((segment) => segment.name), written.map((segment) => segment.name).toSorted());
    assert.equal(written[11]!.name, "snapshot_2026112103_0011.jsonl");
  }),
);

Deno.test(
  "append() adds nothing to an open segment whose compressed twin is sealed already",
  withDirectory(async (directory) => {
    write(directory, "snapshot_2026112103.open.jsonl", "one\n");
    write(directory, "snapshot_2026112103.jsonl.zst", zstdCompressSync(encoder.encode("one\n")));
    using spool = open(directory);
    await spool.append(line("two"), { at: AT });
    await spool.seal();
    assert.deepEqual(readAll(directory), {
      "snapshot_2026112103.jsonl.zst": "one\n",
      "snapshot_2026112103_0001.jsonl": "two\n",
    });
  }),
);

Deno.test(
  "append() gives no segment a name that was uploaded, even if it was pruned since",
  withDirectory(async (directory) => {
    const uploaded = ["snapshot_2026112103.jsonl", "snapshot_2026112103_0001.jsonl.gz"];
    using spool = open(directory, { isUploaded: (name) => uploaded.includes(name) });
    await spool.append(line("x"), { at: AT });
    assert.deepEqual(names(directory), ["snapshot_2026112103_0002.open.jsonl"]);
  }),
);

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

/** Waits until a compression has written something. */
async function waitForCompression(directory: string): Promise<void> {
  for (let n = 0; n < 5000; n++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const temporary = [...Deno.readDirSync(directory)].find((entry) => entry.name.endsWith(".tmp"));
    if (temporary && Deno.statSync(`${directory}/${temporary.name}`).size > 0) return;
  }
  assert.fail("nothing is compressed");
}

/** A line that takes long to compress. */
const heavy = Array.from({ length: 64 }, () => crypto.getRandomValues(new Uint8Array(1 << 15)).toHex()).join("");

Deno.test(
  "seal() keeps the original when the compressed file does not hold the same",
  withDirectory(async (directory) => {
    using spool = open(directory, { compress: "gzip" });
    const path = `${directory}/snapshot_2026112103.open.jsonl`;
    await spool.append(line(heavy, 1 << 16), { at: AT });
    const sealing = spool.seal();
    await waitForCompression(directory);
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
    await spool.append(line(heavy, 1 << 16), { at: AT });
    const sealing = spool.seal();
    await waitForCompression(directory);
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
    await spool.append(line(heavy, 1 << 16), { at: AT });
    const sealing = spool.seal();
    await waitForCompression(directory);
    spool[Symbol.dispose]();
    using next = open(directory, { compress: "gzip", at: AT + HOUR });
    assert.equal(next.recovered.length, 1);
    const [before, after] = await Promise.all([sealing, next.seal()]);
    assert.deepEqual(before.sealed, []);
    assert.deepEqual(after.warnings, []);
    assert.deepEqual(readAll(directory), { "snapshot_2026112103.jsonl.gz": `${heavy}\n` });
  }),
);

Deno.test(
  "openSpool() refuses a spool that is open, naming the process, and takes it once that has closed it",
  withDirectory(async (directory) => {
    {
      using _first = open(directory);
      const error = await thrown(() => open(directory));
      assert.equal(error.kind, "storage");
      assert.ok(error.message.includes(`process ${Deno.pid} `), error.message);
    }
    open(directory)[Symbol.dispose]();
  }),
);

Deno.test(
  "openSpool() makes the directory 0750 and its files 0640, whatever the umask, and leaves an existing one as it is",
  withDirectory(async (directory) => {
    const mode = (path: string) => (Deno.statSync(path).mode! & 0o7777).toString(8);
    for (const umask of [0o000, 0o077]) {
      const inner = `${directory}/${umask}/a/spool`;
      const before = Deno.umask(umask);
      try {
        using spool = open(inner, { compress: "gzip", group: String(Deno.gid()) });
        await spool.append(line("a"), { at: AT });
        await spool.seal();
        await spool.append(line("b"), { at: AT });
        spool.appendStatus("{}");
      } finally {
        Deno.umask(before);
      }
      assert.equal(mode(inner), "750");
      const files = [...Deno.readDirSync(inner)].map((entry) => entry.name).sort();
      assert.deepEqual(files, [
        "snapshot_2026112103.jsonl.gz",
        "snapshot_2026112103_0001.open.jsonl",
        "spool.lock",
        "status.jsonl",
      ]);
      for (const name of files) assert.equal(mode(`${inner}/${name}`), "640", name);
    }
    Deno.chmodSync(directory, 0o705);
    open(directory)[Symbol.dispose]();
    assert.equal(mode(directory), "705");
  }),
);

Deno.test(
  "openSpool() names a group that does not exist",
  withDirectory(async (directory) => {
    const error = await thrown(() => open(directory, { group: "no-such-group" }));
    assert.equal(error.kind, "usage");
    assert.match(error.message, /"no-such-group"/);
  }),
);

Deno.test(
  "openSpool() on a path that is a file throws a storage error",
  withDirectory(async (directory) => {
    write(directory, "file", "");
    assert.equal((await thrown(() => open(`${directory}/file`))).kind, "storage");
    assert.equal((await thrown(() => open(`${directory}/file/spool`))).kind, "storage");
    assert.equal((await thrown(() => listSegments(`${directory}/missing`))).kind, "storage");
  }),
);

Deno.test(
  "listSegments() lists in the order of time, once each, what has a segment's name and is a regular file",
  withDirectory((directory) => {
    const ours = [
      "snapshot_1970010100.jsonl",
      "snapshot_2026112100.jsonl.gz",
      "snapshot_2026112100_0001.jsonl",
      "snapshot_2026112100_0002.jsonl.zst",
      "snapshot_2026112100_9999.jsonl",
      "snapshot_2026112100_10000.jsonl",
      "snapshot_2026112101.open.jsonl",
      "snapshot_2026112101_0001.open.jsonl",
    ];
    const others = [
      "snapshot_2026112100_0001.open.jsonl", // its sealed twin is listed
      "snapshot_2026112100_0002.jsonl.zst.tmp",
      "snapshot_20261121.jsonl",
      "snapshot_2026112124.jsonl",
      "snapshot_2026022900.jsonl",
      "snapshot_2026112102.jsonl.bak",
      "snapshot_2026112102.jsonl.xz",
      "snapshot_2026112102_0000.jsonl",
      "snapshot_2026112102_1.jsonl",
      "snapshot_2026112102_00001.jsonl",
      "snapshot_2026112102_99999999999999999999.jsonl",
      "snapshot_2026112102.open.jsonl.zst.old",
      "snapshot_2026112102.jsonl\n",
      "Snapshot_2026112102.jsonl",
      "xsnapshot_2026112102.jsonl",
      "status.jsonl",
      "spool.lock",
    ];
    for (const name of [...ours, ...others].toReversed()) write(directory, name, "12\n");
    Deno.mkdirSync(`${directory}/snapshot_2026112105.jsonl`);
    Deno.symlinkSync("/etc/passwd", `${directory}/snapshot_2026112106.jsonl`);
    assert.deepEqual(names(directory), ours);
    assert.deepEqual(listSegments(`${directory}/`)[3], {
      name: "snapshot_2026112100_0002.jsonl.zst",
      path: `${directory}/snapshot_2026112100_0002.jsonl.zst`,
      start: Date.UTC(2026, 10, 21),
      sequence: 2,
      state: "sealed",
      compression: "zstd",
      bytes: 3,
    });
  }),
);

const day = Array.from({ length: 24 }, (_, hour) => `snapshot_20261120${String(hour).padStart(2, "0")}.jsonl`);

function fill(directory: string): void {
  for (const name of day) write(directory, name, "x".repeat(99) + "\n");
}

Deno.test(
  "prune() keeps maxFiles segments, the open one among them, and deletes the oldest first",
  withDirectory(async (directory) => {
    for (const maxFiles of [30, 25, 24, 5, 2, 1, 0]) {
      fill(directory);
      using spool = open(directory, { maxFiles });
      await spool.append(line("open"), { at: AT });
      const { deleted, warnings } = spool.prune(AT);
      const over = Math.min(24, Math.max(0, 25 - maxFiles));
      assert.deepEqual(deleted.map((segment) => segment.name), day.slice(0, over));
      assert.deepEqual(warnings, []);
      assert.deepEqual(names(directory), [...day.slice(over), "snapshot_2026112103.open.jsonl"]);
      assert.deepEqual(spool.prune(AT).deleted, []);
    }
  }),
);

Deno.test(
  "prune() counts age from the end of a segment's hour, or of its day if rotation is not hourly",
  withDirectory((directory) => {
    const at = Date.UTC(2026, 10, 21, 12);
    for (
      const [rotate, maxAgeSec, kept] of [
        ["hourly", 24 * 3600, day.slice(11)],
        ["hourly", 24 * 3600 - 1, day.slice(12)],
        ["hourly", 1, []],
        ["daily", 12 * 3600, day],
        ["daily", 12 * 3600 - 1, []],
        [1000, 12 * 3600, day],
      ] as const
    ) {
      fill(directory);
      using spool = open(directory, { rotate, maxAgeSec, at });
      spool.prune(at);
      assert.deepEqual(names(directory), kept, `${rotate}, ${maxAgeSec} s`);
    }
  }),
);

Deno.test(
  "prune() never deletes the open segment, however old or large",
  withDirectory(async (directory) => {
    using spool = open(directory, { maxFiles: 0, maxBytes: 0, maxAgeSec: 0 });
    await spool.append(line("x".repeat(1000)), { at: AT });
    assert.deepEqual(spool.prune(AT + 1000 * HOUR), { deleted: [], warnings: [] });
    assert.deepEqual(names(directory), ["snapshot_2026112103.open.jsonl"]);
  }),
);

Deno.test(
  "prune() keeps at most maxBytes, the open segment included",
  withDirectory(async (directory) => {
    for (const [maxBytes, kept] of [[2500, 24], [2499, 23], [1000, 9], [199, 0], [0, 0]] as const) {
      fill(directory);
      using spool = open(directory, { maxBytes });
      await spool.append(line("x".repeat(99)), { at: AT });
      spool.prune(AT);
      assert.deepEqual(names(directory), [...day.slice(24 - kept), "snapshot_2026112103.open.jsonl"]);
      spool.prune(AT);
      assert.equal(names(directory).length, kept + 1);
      Deno.removeSync(`${directory}/snapshot_2026112103.open.jsonl`);
    }
  }),
);

Deno.test(
  "prune() keeps what was not uploaded until maxBytes forces it, and then names it",
  withDirectory((directory) => {
    const isUploaded = (name: string) => day.indexOf(name) % 2 === 0;
    const odd = day.filter((_, n) => n % 2 === 1);
    fill(directory);
    {
      using spool = open(directory, { isUploaded, maxFiles: 1, maxAgeSec: 1 });
      const { deleted, warnings } = spool.prune(AT + 1000 * HOUR);
      assert.deepEqual(deleted.map((segment) => segment.name), day.filter((_, n) => n % 2 === 0));
      assert.deepEqual(warnings, []);
      assert.deepEqual(names(directory), odd);
    }
    fill(directory);
    {
      using spool = open(directory, { isUploaded, maxBytes: 1000 });
      const { deleted, warnings } = spool.prune(AT);
      assert.deepEqual(
        deleted.map((segment) => segment.name),
        [...day.filter((_, n) => n % 2 === 0), ...odd.slice(0, 2)],
      );
      assert.deepEqual(names(directory), odd.slice(2));
      assert.equal(warnings.length, 2);
      for (const n of [0, 1]) assert.ok(warnings[n]!.includes(`"${odd[n]}" before it was uploaded`), warnings[n]);
    }
    fill(directory);
    using spool = open(directory, { isUploaded: () => undefined, maxFiles: 3 });
    spool.prune(AT);
    assert.deepEqual(names(directory), day.slice(21));
  }),
);

Deno.test(
  "prune() leaves strangers' files, directories and symbolic links alone",
  withDirectory((directory) => {
    const outside = `${directory}/outside`, spoolDirectory = `${directory}/spool`;
    Deno.mkdirSync(`${spoolDirectory}/snapshot_2020010101.jsonl`, { recursive: true });
    Deno.writeTextFileSync(outside, "precious");
    Deno.symlinkSync(outside, `${spoolDirectory}/snapshot_2020010100.jsonl`);
    for (const name of ["ledger.jsonl", "snapshot_2020010102.jsonl.orig", "README", "snapshot_20200101.jsonl"]) {
      write(spoolDirectory, name, "kept");
    }
    write(spoolDirectory, "snapshot_2020010103.jsonl", "pruned\n");
    using spool = open(spoolDirectory, { maxFiles: 0, maxBytes: 0, maxAgeSec: 0 });
    spool.appendStatus("{}");
    assert.deepEqual(spool.prune(AT).deleted.map((segment) => segment.name), ["snapshot_2020010103.jsonl"]);
    assert.deepEqual([...Deno.readDirSync(spoolDirectory)].map((entry) => entry.name).sort(), [
      "README",
      "ledger.jsonl",
      "snapshot_20200101.jsonl",
      "snapshot_2020010100.jsonl",
      "snapshot_2020010101.jsonl",
      "snapshot_2020010102.jsonl.orig",
      "spool.lock",
      "status.jsonl",
    ]);
    assert.equal(Deno.readTextFileSync(outside), "precious");
  }),
);

Deno.test(
  "appendStatus() keeps the last one to two MiB of heartbeats, in whole lines",
  withDirectory((directory) => {
    using spool = open(directory);
    write(directory, "status.jsonl", "whole\ntorn");
    spool.appendStatus("next");
    assert.equal(read(directory, "status.jsonl"), "whole\nnext\n");
    const heartbeat = "x".repeat(99_999);
    for (let n = 0; n < 40; n++) {
      spool.appendStatus(heartbeat);
      const sizes = ["status.jsonl", "status.jsonl.1"].map((name) => {
        try {
          return Deno.statSync(`${directory}/${name}`).size;
        } catch {
          return 0;
        }
      });
      assert.ok(sizes[0]! < 1 << 20 && sizes[1]! < (1 << 20) + 100_000, `${sizes} bytes`);
    }
    assert.ok(read(directory, "status.jsonl.1").split("\n").every((text) => text === heartbeat || text === ""));
  }),
);
