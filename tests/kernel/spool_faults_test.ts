/**
 * The spool under real faults: full, read-only and dying disks, power cuts, killed processes.
 *
 * Disks are a tmpfs, or an ext4 file system in a file; a power cut is ext4's shutdown ioctl, which drops all that was
 * not synced. Everything is mounted on temporary directories and unmounted in the end.
 */
import assert from "node:assert/strict";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type Compression, listSegments } from "../../src/segment.ts";
import { openSpool, type SpoolOptions } from "../../src/spool.ts";
import { lineOf, timeOf } from "./spool_writer.ts";
import { testWith } from "../needs.ts";
import { thrown } from "../thrown.ts";

const AT = timeOf(0);
const WRITER = new URL("spool_writer.ts", import.meta.url).pathname;
const PAGE = 4096;
const encoder = new TextEncoder();

function run(command: string, ...args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command(command, { args }).outputSync();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  assert.ok(success, `${command} ${args.join(" ")}: ${text(stderr)}`);
  return text(stdout);
}

/** Declares a test that needs root, mounts and a few commands. */
function faultTest(name: string, test: () => void | Promise<void>): void {
  testWith("disks", name, test);
}

function withDirectory<T extends void | Promise<void>>(use: (directory: string) => T): T {
  const directory = Deno.makeTempDirSync({ prefix: "ibsr-faults-" });
  const remove = () => Deno.removeSync(directory, { recursive: true });
  return andThen(() => use(directory), remove);
}

/** Runs `first`, awaited if it is asynchronous, and then `last`, whatever happens. */
function andThen<T extends void | Promise<void>>(first: () => T, last: () => unknown): T {
  let result: T;
  try {
    result = first();
  } catch (error) {
    last();
    throw error;
  }
  if (result instanceof Promise) return result.finally(() => void last()) as T;
  last();
  return result;
}

function withTmpfs<T extends void | Promise<void>>(pages: number, use: (directory: string) => T): T {
  return withDirectory((directory) => {
    run("mount", "-t", "tmpfs", "-o", `size=${pages * PAGE},mode=0750`, "ibsr-test", directory);
    return andThen(() => use(directory), () => run("umount", "--lazy", directory));
  });
}

interface Disk {
  /** Where it is mounted. */
  directory: string;
  /** Cuts the power: what was not synced is lost, and all that follows fails. */
  cut(): void;
  /** Mounts it again, as after a restart; its files must be closed. */
  restart(): void;
}

/** An ext4 disk of 16 MiB that writes nothing of its own accord. */
function withDisk<T extends void | Promise<void>>(use: (disk: Disk) => T): T {
  return withDirectory((base) => {
    const image = `${base}/image`, directory = `${base}/disk`;
    Deno.writeFileSync(image, new Uint8Array());
    Deno.truncateSync(image, 16 << 20);
    Deno.mkdirSync(directory);
    run("mkfs.ext4", "-q", image);
    const mount = () => void run("mount", "-o", "loop,commit=300", image, directory);
    const restart = () => {
      run("umount", directory);
      mount();
    };
    mount();
    const disk = { directory, cut: () => shutDown(directory), restart };
    return andThen(() => use(disk), () => run("umount", "--lazy", directory));
  });
}

/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): the journal's unwritten part is dropped too. */
function shutDown(directory: string): void {
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const file = libc.symbols.open(encoder.encode(`${directory}\0`), 0);
  assert.equal(libc.symbols.ioctl(file, 0x8004587dn, new Uint32Array([2])), 0, "EXT4_IOC_SHUTDOWN");
  libc.symbols.close(file);
  libc.close();
}

function open(directory: string, options: Partial<SpoolOptions> = {}) {
  return openSpool(directory, { at: AT, rotate: "hourly", ...options });
}

/** A line of `length` bytes, newline included, in chunks. */
function* lineOfLength(length: number): Generator<Uint8Array> {
  const bytes = encoder.encode("x".repeat(length - 1) + "\n"), chunkBytes = Math.max(100, length >> 4);
  for (let at = 0; at < length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** The whole lines of all segments, in order, and whether the last segment has more. */
function readLines(directory: string): string[] {
  return listSegments(directory).flatMap(({ path, compression }) => {
    const bytes = Deno.readFileSync(path);
    const plain = compression === "zstd"
      ? zstdDecompressSync(bytes)
      : compression === "gzip"
      ? gunzipSync(bytes)
      : bytes;
    return new TextDecoder().decode(plain).split("\n").slice(0, -1);
  });
}

function numbersIn(directory: string): number[] {
  return readLines(directory).map((text) => JSON.parse(text).n);
}

function countTo(end: number): number[] {
  return Array.from({ length: end }, (_, n) => n);
}

/** Takes all free space of the file system; returns how to give it back. */
function fillUp(directory: string): () => void {
  const path = `${directory}/ballast`;
  using file = Deno.openSync(path, { create: true, write: true });
  try {
    for (const block = new Uint8Array(PAGE);;) file.writeSync(block);
  } catch (error) {
    assert.equal((error as { code?: string }).code, "ENOSPC");
  }
  return () => Deno.removeSync(path);
}

faultTest(
  "append() keeps what is whole, and goes on after, at whichever byte of a line the disk fills up",
  () =>
    withTmpfs(16, async (directory) => {
      const path = `${directory}/snapshot_2026112100.open.jsonl`, length = 300;
      let cutInside = 0;
      for (let room = 0; room <= length; room++) {
        using spool = open(directory);
        await spool.append(lineOfLength(PAGE - room), { at: AT });
        const before = Deno.readTextFileSync(path);
        const makeRoom = fillUp(directory);
        if (room < length) {
          const error = await thrown(() => spool.append(lineOfLength(length), { at: AT }));
          assert.equal(error.kind, "storage");
          assert.match(error.message, /No space left on device$/);
          assert.match(error.hint ?? "", /df/);
          assert.equal(Deno.readTextFileSync(path), before, `room for ${room} bytes`);
          if (room > 0) cutInside++;
          makeRoom();
        }
        await spool.append(lineOfLength(length), { at: AT });
        assert.equal(Deno.readTextFileSync(path), `${before}${"x".repeat(length - 1)}\n`, `room for ${room} bytes`);
        if (room === length) makeRoom();
        Deno.removeSync(path);
      }
      assert.equal(cutInside, length - 1);
    }),
);

faultTest(
  "append() takes back a long line, and goes on after, wherever the disk fills up",
  () =>
    withDisk(async ({ directory }) => {
      const path = `${directory}/snapshot_2026112100.open.jsonl`, length = 4 << 20;
      using spool = open(directory);
      await spool.append(lineOfLength(5000), { at: AT });
      const before = Deno.readTextFileSync(path);
      for (let room = 0; room < length; room += length / 16 - 1000) {
        const makeRoom = fillUp(directory);
        Deno.truncateSync(`${directory}/ballast`, Math.max(0, Deno.statSync(`${directory}/ballast`).size - room));
        const error = await thrown(() => spool.append(lineOfLength(length), { at: AT }));
        assert.match(error.message, /No space left on device$/);
        assert.equal(Deno.readTextFileSync(path), before, `room for ${room} bytes`);
        makeRoom();
      }
      await spool.append(lineOfLength(length), { at: AT });
      assert.equal(Deno.readTextFileSync(path), `${before}${"x".repeat(length - 1)}\n`);
    }),
);

faultTest(
  "openSpool() opens a spool on a full disk, and prune() makes the room to append again",
  () =>
    withTmpfs(16, async (directory) => {
      for (const hour of ["00", "01", "02"]) {
        Deno.writeTextFileSync(`${directory}/snapshot_20261120${hour}.jsonl`, `${"x".repeat(PAGE)}\n`);
      }
      open(directory)[Symbol.dispose]();
      fillUp(directory);
      using spool = open(directory, { maxBytes: 10_000 });
      await assert.rejects(() => spool.append(lineOfLength(100), { at: AT }), { kind: "storage" });
      assert.equal(spool.prune(AT).deleted.length, 1);
      await spool.append(lineOfLength(100), { at: AT });
      assert.equal(readLines(directory).length, 3);
      assert.equal((await thrown(() => open(directory))).message.includes(`process ${Deno.pid} `), true);
    }),
);

faultTest(
  "seal() seals a segment as it is when there is no room to compress it",
  () =>
    withTmpfs(64, async (directory) => {
      for (const compress of ["zstd", "gzip"] as const) {
        using spool = open(directory, { compress });
        const random = Array.from({ length: 8 }, () => crypto.getRandomValues(new Uint8Array(8 * 1024)).toHex());
        for (const text of random) await spool.append([encoder.encode(`${text}\n`)], { at: AT });
        const makeRoom = fillUp(directory);
        const { sealed, warnings } = await spool.seal();
        makeRoom();
        assert.equal(sealed[0]?.compression, "none");
        assert.equal(warnings.length, 1);
        assert.match(warnings[0]!, /^Cannot compress segment .*No space left on device/i);
        assert.deepEqual(readLines(directory), random);
        assert.deepEqual([...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".tmp")), []);
        Deno.removeSync(sealed[0]!.path);
      }
    }),
);

faultTest(
  "append() throws when the disk becomes read-only under it, and the lines before it are there",
  () =>
    withDisk(async ({ directory, restart }) => {
      {
        using spool = open(directory, { maxFiles: 0 });
        for (const n of [0, 1]) await spool.append(lineOf(n, 10_000), { at: timeOf(n) });
        run("mount", "-o", "remount,abort", directory); // as ext4 does at an error of the disk
        for (const at of [AT, timeOf(6)]) {
          const error = await thrown(() => spool.append(lineOf(2, 10_000), { at }));
          assert.equal(error.kind, "storage");
          assert.match(error.message, /Read-only file system/);
        }
        assert.match((await spool.seal()).warnings.join(), /Read-only file system/);
        assert.deepEqual(spool.prune(AT + 1e12).deleted, []);
        assert.equal((await thrown(() => spool.appendStatus("{}"))).kind, "storage");
        assert.deepEqual(numbersIn(directory), [0, 1]);
      }
      assert.equal((await thrown(() => open(directory))).kind, "storage");
      restart();
      using spool = open(directory);
      await spool.append(lineOf(2, 10_000), { at: AT });
      assert.deepEqual(numbersIn(directory), [0, 1, 2]);
    }),
);

faultTest(
  "append() cuts a line that it could not take back before it adds another",
  () =>
    withDisk(async ({ directory }) => {
      using spool = open(directory);
      const path = `${directory}/snapshot_2026112100.open.jsonl`;
      await spool.append(lineOf(0, 100), { at: AT });
      const failing = function* () {
        yield* lineOfLength(2 << 20).filter((chunk) => chunk.at(-1) !== 10);
        throw new RangeError("encoder");
      };
      const size = () => Deno.statSync(path).size, whole = size();
      run("chattr", "+a", path); // an append-only file cannot be truncated
      await assert.rejects(() => spool.append(failing(), { at: AT }), RangeError);
      const torn = size();
      assert.ok(torn > whole, "a part of the line was written");
      for (let attempt = 0; attempt < 2; attempt++) {
        const error = await thrown(() => spool.append(lineOf(2, 100), { at: AT }));
        assert.equal(error.kind, "permission");
        assert.match((await spool.seal()).warnings.join(), /Operation not permitted/);
        assert.equal(size(), torn);
      }
      run("chattr", "-a", path);
      await spool.append(lineOf(3, 100), { at: AT });
      assert.deepEqual(numbersIn(directory), [0, 3]);
    }),
);

faultTest("prune() goes on after a segment that cannot be deleted, and names it", () =>
  withDisk(({ directory }) => {
    const names = ["00", "01", "02", "03"].map((hour) => `snapshot_20261120${hour}.jsonl`);
    for (const name of names) Deno.writeTextFileSync(`${directory}/${name}`, "{}\n");
    using spool = open(directory, { maxFiles: 2 });
    run("chattr", "+i", `${directory}/${names[0]}`);
    const { deleted, warnings } = spool.prune(AT);
    run("chattr", "-i", `${directory}/${names[0]}`);
    assert.deepEqual(deleted.map((segment) => segment.name), names.slice(1, 3));
    assert.deepEqual(warnings, [`Cannot delete segment "${names[0]}": Operation not permitted`]);
  }));

faultTest(
  "openSpool() gives its files and directory to the group, by name or number",
  () =>
    withDirectory(async (base) => {
      const daemon = Number(Deno.readTextFileSync("/etc/group").match(/^daemon:[^:]*:(\d+)/m)![1]);
      for (const group of ["daemon", "54321"]) {
        const directory = `${base}/${group}`;
        using spool = open(directory, { group, compress: "gzip" });
        await spool.append(lineOf(0, 10), { at: AT });
        await spool.seal();
        await spool.append(lineOf(1, 10), { at: AT });
        spool.appendStatus("{}");
        const files = [...Deno.readDirSync(directory)].map(({ name }) => `${directory}/${name}`);
        assert.equal(files.length, 4);
        for (const path of [directory, ...files]) {
          assert.equal(Deno.statSync(path).gid, group === "daemon" ? daemon : 54321, path);
        }
      }
    }),
);

for (const [compress, bytes] of [["none", 20_000], ["none", 2_500_000], ["zstd", 20_000], ["gzip", 20_000]] as const) {
  faultTest(
    `append() and seal() lose nothing in a power cut once they have returned (${bytes} bytes a line, compression: ${compress})`,
    async () => {
      for (let steps = 1; steps <= 6; steps++) {
        await withDisk(async ({ directory, cut, restart }) => {
          const spoolDirectory = `${directory}/spool`;
          const sealed: string[] = [];
          let appended = 0;
          {
            using spool = open(spoolDirectory, { compress });
            const append = () => spool.append(lineOf(appended, bytes), { at: timeOf(appended++ * 5) });
            const seal = async (at?: number) => sealed.push(...(await spool.seal(at)).sealed.map(({ name }) => name));
            for (const step of [append, append, append, () => seal(timeOf(10)), append, () => seal()].slice(0, steps)) {
              await step();
            }
            Deno.writeTextFileSync(`${spoolDirectory}/control`, "not synced");
            cut();
            await assert.rejects(() => spool.append(lineOf(99, 10), { at: timeOf(99) }), { kind: "storage" });
          }
          restart();
          assert.throws(
            () => Deno.statSync(`${spoolDirectory}/control`),
            Deno.errors.NotFound,
            "the cut is a real one",
          );
          assert.deepEqual(numbersIn(spoolDirectory), countTo(appended), `after step ${steps}`);
          const names = listSegments(spoolDirectory).filter(({ state }) => state === "sealed").map(({ name }) => name);
          assert.deepEqual(names, sealed, `after step ${steps}`);
          using spool = open(spoolDirectory, { compress });
          await spool.seal();
          assert.deepEqual(numbersIn(spoolDirectory), countTo(appended), `after step ${steps}, sealed`);
        });
      }
    },
  );
}

faultTest(
  "seal() loses nothing in a power cut in the middle of compressing",
  () =>
    withDisk(async ({ directory, cut, restart }) => {
      {
        using spool = open(directory, { compress: "gzip" });
        for (const n of countTo(4)) await spool.append(lineOf(n, 500_000), { at: AT });
        const sealing = spool.seal();
        const size = () => Deno.statSync(`${directory}/snapshot_2026112100.jsonl.gz.tmp`).size;
        for (let written = 0; written < 10_000;) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          try {
            written = size();
          } catch {
            // It does not exist yet.
          }
        }
        cut();
        assert.deepEqual((await sealing).sealed, []);
      }
      restart();
      assert.deepEqual(numbersIn(directory), countTo(4));
      using spool = open(directory, { compress: "gzip" });
      const { sealed, warnings } = await spool.seal();
      assert.deepEqual([sealed.length, warnings], [1, []]);
      assert.deepEqual(numbersIn(directory), countTo(4));
      assert.deepEqual(listSegments(directory).map(({ name }) => name), ["snapshot_2026112100.jsonl.gz"]);
    }),
);

/** Starts a writer, and returns it with the numbers that it has told to have appended. */
function startWriter(directory: string, args: { compress: Compression; first: number; bytes: number }) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", WRITER, directory, args.compress, `${args.first}`, "1000000", `${args.bytes}`],
    stdout: "piped",
  }).spawn();
  const told: number[] = [];
  const ended = (async () => {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      told.push(...lines.map(Number));
    }
    await child.status;
  })();
  return { child, told, ended };
}

async function waitFor(condition: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < end, "waited 20 s in vain");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

for (const [compress, bytes] of [["none", 200_000], ["none", 5_000_000], ["zstd", 200_000]] as const) {
  faultTest(
    `append() and seal() lose and repeat nothing when killed at any time (${bytes} bytes a line, compression: ${compress})`,
    () =>
      withDirectory(async (directory) => {
        let next = 0, recovered = 0, left = 0;
        for (let round = 0; round < 15; round++) {
          const { child, told, ended } = startWriter(directory, { compress, first: next, bytes });
          await waitFor(() => told.length >= 1);
          const wait = Math.random() * 60;
          await new Promise((resolve) => setTimeout(resolve, wait));
          child.kill("SIGKILL");
          await ended;
          using spool = open(directory, { at: timeOf(told.at(-1)!), compress });
          recovered += spool.recovered.length;
          left += listSegments(directory).filter(({ state }) => state === "open").length;
          if (round % 2 === 1) assert.deepEqual((await spool.seal()).warnings, []);
          const numbers = numbersIn(directory);
          assert.deepEqual(numbers, countTo(numbers.length), `killed after ${wait} ms`);
          const untold = numbers.length - 1 - told.at(-1)!;
          assert.ok(untold === 0 || untold === 1, `${untold} lines more than were told`);
          next = numbers.length;
        }
        // When a kill strikes is up to the machine: what it met is said, not demanded.
        console.log(`15 kills: ${recovered} torn lines or unfinished compressions, ${left} open segments`);
      }),
  );
}

faultTest(
  "openSpool() names the process that has the spool open, and opens it once that was killed",
  () =>
    withDirectory(async (directory) => {
      const { child, told, ended } = startWriter(directory, { compress: "none", first: 0, bytes: 100 });
      try {
        await waitFor(() => told.length > 0);
        const error = await thrown(() => open(directory));
        assert.equal(error.kind, "storage");
        assert.ok(error.message.endsWith(`process ${child.pid} has it open`), error.message);
      } finally {
        child.kill("SIGKILL");
        await ended;
      }
      open(directory)[Symbol.dispose]();
    }),
);

/** The file operations on its segments of a writer that appends two lines and seals them, by strace. */
function traceWriter(base: string, compress: Compression): string[] {
  const directory = `${base}/spool`, trace = `${base}/trace`;
  const calls = "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
  const writer = [Deno.execPath(), "run", "-A", WRITER, directory, compress, "0", "1", "10"];
  run("strace", "-f", "-y", "-e", calls, "-o", trace, ...writer);
  const operations: string[] = [];
  for (const line of Deno.readTextFileSync(trace).split("\n")) {
    const call = line.match(/^\d+ +(\w+?)(?:at2?)?\(/)?.[1]?.replace(/^f(data)?sync$/, "sync");
    const names = [...line.matchAll(/[<"]([^<>"]*)[>"]/g)].map((match) => match[1]!)
      .filter((path) => path === directory || path.startsWith(`${directory}/snapshot_`))
      .map((path) => path === directory ? "directory" : path.slice(directory.length + 1));
    if (!call || names.length === 0) continue;
    if (call !== "open") operations.push(`${call} ${names.join(" to ")}`);
    else if (line.includes("O_EXCL")) operations.push(`create ${names[0]}`);
  }
  const isRepeated = (operation: string, n: number) => operation.startsWith("write") && operation === operations[n - 1];
  return operations.filter((operation, n) => !isRepeated(operation, n));
}

faultTest("append() and seal() sync each file before its name says more, and the directory after", () => {
  const open = "snapshot_2026112100.open.jsonl", sealed = "snapshot_2026112100.jsonl", packed = `${sealed}.gz`;
  const appending = [
    `create ${open}`,
    "sync directory",
    `write ${open}`,
    `sync ${open}`,
    `write ${open}`,
    `sync ${open}`,
  ];
  withDirectory((base) => {
    assert.deepEqual(traceWriter(base, "none"), [
      ...appending,
      `sync ${open}`,
      `rename ${open} to ${sealed}`,
      "sync directory",
    ]);
  });
  withDirectory((base) => {
    assert.deepEqual(traceWriter(base, "gzip"), [
      ...appending,
      `sync ${open}`,
      `create ${packed}.tmp`,
      `write ${packed}.tmp`,
      `sync ${packed}.tmp`,
      `rename ${packed}.tmp to ${packed}`,
      "sync directory",
      `unlink ${open}`,
    ]);
  });
});
