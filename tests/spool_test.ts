/** The spool opened, and lines appended to it. Faults that need root are in tests/kernel/spool_faults_test.ts. */
import assert from "node:assert/strict";
import { zstdCompressSync } from "node:zlib";
import { listSegments } from "../src/segment.ts";
import { AT, HOUR, line, names, open, read, readAll, withDirectory, write } from "./spools.ts";
import { thrown } from "./thrown.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();

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
