/** Segments listed, and deleted by age, number and size. */
import assert from "node:assert/strict";
import { listSegments } from "../src/segment.ts";
import { createRandom } from "./packets.ts";
import { AT, HOUR, line, names, open, withDirectory, write } from "./spools.ts";

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
  "mayPrune() is true from the millisecond on in which a segment is too old",
  withDirectory((directory) => {
    fill(directory);
    using spool = open(directory, { maxAgeSec: 12 * 3600 });
    const at = Date.UTC(2026, 10, 21, 1); // a segment is as old as that
    for (const before of [0, 30_000]) {
      spool.prune(at - before);
      assert.equal(spool.mayPrune(at), false);
      assert.equal(spool.mayPrune(at + 1), true);
    }
    assert.equal(spool.prune(at + 1).deleted.length, 1);
  }),
);

Deno.test(
  "mayPrune() is false only if prune() would delete nothing, and true once a minute, whatever is written and limited",
  withDirectory(async (directory) => {
    const { share: random } = createRandom(5);
    let asked = 0, read = 0;
    for (const rotate of ["hourly", "daily", 500] as const) {
      let at = AT;
      using spool = open(directory, { rotate });
      for (let step = 0; step < 600; step++) {
        at += [1000, 1000, 1000, 5000, 20_000, -3000, 0.3 * HOUR][Math.floor(random() ** 3 * 7)]!;
        await spool.append(line("x".repeat(Math.floor(random() * 99))), { at });
        if (random() < 0.7) await spool.seal(at);
        if (random() < 0.02) {
          const limit = () => random() < 0.5 ? undefined : Math.floor(random() ** 2 * 20);
          const [maxFiles, hours, kilobytes] = [limit(), limit(), limit()];
          spool.setLimits({ maxFiles, maxAgeSec: hours && hours * 3600, maxBytes: kilobytes && kilobytes * 1000 });
        }
        asked++;
        if (spool.mayPrune(at)) {
          read++;
          spool.prune(at);
        } else if (random() < 0.2) assert.deepEqual(spool.prune(at).deleted, []);
      }
      spool.setLimits({ maxFiles: undefined, maxAgeSec: undefined, maxBytes: undefined });
      spool.prune(at);
      assert.deepEqual([at + 59_999, at + 60_000, at - 1].map((then) => spool.mayPrune(then)), [false, true, true]);
      await spool.seal();
    }
    assert.ok(read < asked / 2, `${read} of ${asked}`);
  }),
);
