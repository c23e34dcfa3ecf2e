/**
 * The executable in hostile and poor surroundings: it starts and does its work, or says why not.
 */
import assert from "node:assert/strict";
import { writeSnapshots } from "../../scripts/bench/segments.ts";
import { pause } from "../kernel/lab.ts";
import { testWith } from "../needs.ts";
import { findOwnPart, Folder, type Outcome, PROGRAM, start } from "./program.ts";

const VERSION = /^ibsr \d+\.\d+\.\d+\n$/;

function assertStarted(outcome: Outcome): void {
  assert.match(outcome.stdout, VERSION, outcome.stderr);
  assert.equal(outcome.stderr, "");
  assert.equal(outcome.code, 0);
}

testWith("executable", "ibsr starts with every file system read-only, /tmp noexec, and no environment", async () => {
  const script = `
    set -e
    mount -t tmpfs -o noexec,nosuid tmpfs /tmp
    findmnt -rno TARGET | grep -vE '^/(proc|dev/pts|dev/mqueue)' | while read -r at; do
      mount -o remount,bind,ro "$at" 2>/dev/null || :
    done
    if touch /ibsr-writable /tmp/ibsr-writable 2>/dev/null; then echo "not read-only" >&2; exit 9; fi
    exec env -i "$@"`;
  // Below /tmp it would be hidden.
  await using folder = await Folder.create({ dir: "/var/tmp" });
  const program = PROGRAM.startsWith("/tmp/") ? await folder.copyProgram() : PROGRAM;
  assertStarted(await start(["--version"], { program, by: ["unshare", "-m", "sh", "-c", script, "sh"] }));
});

testWith("executable", "ibsr starts as a user that is in no user database", async () => {
  await using folder = await Folder.create();
  const program = await folder.copyProgram();
  const by = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--no-new-privs", "env", "-i"];
  assertStarted(await start(["--version"], { program, by }));
});

testWith("executable", "ibsr starts four times at once, under any name, through a link, from PATH", async () => {
  await using folder = await Folder.create();
  const program = await folder.copyProgram("a name with\nspaces");
  await Deno.symlink(program, `${folder.path}/ibsr`);
  const started = await Promise.all([
    start(["--version"], { program }),
    start(["--version"], { program }),
    start(["--version"], { program: `${folder.path}/ibsr` }),
    start(["--version"], { program: "ibsr", by: ["env", `PATH=${folder.path}:/usr/bin`] }),
  ]);
  started.forEach(assertStarted);
});

testWith("embedded", "ibsr in a working directory that was removed says so in its own words", async () => {
  const by = ["sh", "-c", 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"', "sh"];
  const { code, stdout, stderr } = await start(["--version"], { by });
  assert.deepEqual([code, stdout], [74, ""]);
  assert.equal(
    stderr,
    "ibsr: error: Cannot start: the working directory was removed\nibsr: hint: cd to one that is there\n",
  );
});

testWith("executable", "ibsr starts with its standard streams closed", async () => {
  for (const closed of ["<&-", "<&- 2>&-"]) {
    const { code, stdout } = await start(["--version"], { by: ["sh", "-c", `exec "$@" ${closed}`, "sh"] });
    assert.match(stdout, VERSION, closed);
    assert.equal(code, 0);
  }
});

testWith(
  "executable",
  "ibsr takes arguments as they are: spaces, newlines, none, UTF-8, Deno's own flags",
  async () => {
    for (
      const argument of [
        "two words",
        "two\nlines",
        "",
        "größe ✓",
        "$(id) `id` \\",
        "--",
        "-A",
        "--allow-run",
        "--help=x",
      ]
    ) {
      const first = await start([argument]);
      assert.equal(first.code, 64, argument);
      const shown = argument.replace("\n", "\\x0a");
      assert.ok(first.stderr.includes(`Cannot run "${shown}"`), `${argument}: ${first.stderr}`);
    }
    const { stderr } = await start(["collect", "one", "two words"]);
    assert.match(stderr, /"one" is not expected/);
    const many = await start([
      "convert",
      "--out",
      "/dev/null/x",
      ...Array.from({ length: 20000 }, (_, i) => `/none/${i}`),
    ]);
    assert.match(many.stderr, /\/none\/0\b/);
  },
);

testWith("executable", "ibsr passes on exit codes: 0, 64 usage, 65 data", async () => {
  await using folder = await Folder.create();
  await Deno.writeTextFile(`${folder.path}/x.jsonl`, "no snapshot\n");
  assert.equal((await start(["version"])).code, 0);
  assert.equal((await start([])).code, 64);
  assert.equal((await start(["collect", "--no-such-option"])).code, 64);
  assert.equal((await start(["convert", "--out", `${folder.path}/out`, `${folder.path}/x.jsonl`])).code, 65);
});

testWith("executable", "ibsr dies of the signals that it does not handle, and ends at the second SIGTERM", async () => {
  await using folder = await Folder.create();
  await new Deno.Command("mkfifo", { args: [`${folder.path}/x.jsonl`] }).output();
  for (
    const [signals, expected] of [
      [["SIGTERM", "SIGTERM"], { code: 143, signal: null }],
      [["SIGINT", "SIGINT"], { code: 130, signal: null }],
      [["SIGKILL"], { code: 137, signal: "SIGKILL" }],
      [["SIGHUP"], { code: 129, signal: "SIGHUP" }],
    ] as [Deno.Signal[], { code: number; signal: string | null }][]
  ) {
    // Nobody writes into the pipe: it reads until it is told to end.
    const process = new Deno.Command(PROGRAM, {
      args: ["convert", "--out", `${folder.path}/out`, `${folder.path}/x.jsonl`],
      stdout: "null",
      stderr: "null",
    }).spawn();
    await new Promise((resolve) => setTimeout(resolve, 250));
    for (const signal of signals) {
      process.kill(signal);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { code, signal } = await process.status;
    assert.deepEqual({ code, signal }, expected, signals.join());
  }
});

testWith("embedded", "ibsr that is cut anywhere does not start, and says so where its own part is cut", async () => {
  await using folder = await Folder.create();
  const program = await folder.copyProgram(), { offset, size } = await findOwnPart(program);
  // From the end on: each cut makes the file shorter.
  for (const length of [size - 1, size - 64, size - 100_000, offset + 5000, offset + 100]) {
    await Deno.truncate(program, length);
    const { code, stdout, stderr } = await start(["--version"], { program });
    assert.equal(stdout, "", `cut at ${length}`);
    assert.notEqual(code, 0, `cut at ${length}`);
    if (length > offset + 4096) {
      assert.match(stderr, /^ibsr: error: Cannot start: this executable file is damaged\nibsr: hint: .*SHA256SUMS\n$/);
      assert.equal(code, 70, `cut at ${length}`);
    }
  }
  for (const length of [offset, 50_000_000, 1_000_000, 4096, 100, 0]) {
    await Deno.truncate(program, length);
    const starting = start(["--version"], { program, cwd: folder.path });
    const outcome = await starting.catch((error) => ({ code: 126, stdout: "", error }));
    assert.equal(outcome.stdout, "", `cut at ${length}`);
    // What is no program is a shell's to start: an empty file, and also 100 bytes, in which one is ">" and a name follows.
    if (length > 0) assert.notEqual(outcome.code, 0, `cut at ${length}`);
  }
});

testWith("embedded", "ibsr with one byte changed in its own part, or one byte more, does not start", async () => {
  await using folder = await Folder.create();
  const program = await folder.copyProgram(), { offset, size } = await findOwnPart(program);
  const own = size - 64 - offset;
  const places = Array.from({ length: 24 }, (_, i) => offset + Math.floor((own * i) / 24) + (i * 37) % 1000);
  for (const place of [...places, size - 65, size - 64, size - 33]) {
    await flip(program, place);
    const { code, stdout } = await start(["--version"], { program });
    assert.equal(stdout, "", `byte ${place - offset} of its own part`);
    assert.notEqual(code, 0);
    await flip(program, place);
  }
  for (const place of [size - 1000, size - 65]) {
    await flip(program, place);
    const { code, stderr } = await start(["--version"], { program });
    assert.match(stderr, /this executable file is damaged/);
    assert.equal(code, 70);
    await flip(program, place);
  }
  assertStarted(await start(["--version"], { program }));
  using file = await Deno.open(program, { append: true });
  await file.write(new Uint8Array(1));
  file.close();
  assert.equal((await start(["--version"], { program })).code, 70);
});

testWith("embedded", "ibsr collect with one byte changed anywhere, also in Deno's part, does not start", async () => {
  await using folder = await Folder.create();
  const program = await folder.copyProgram(), { offset, size } = await findOwnPart(program);
  // Debug texts and code that a start does not come by: nothing but a digest would tell.
  for (const place of [30_000_000, 60_000_001, offset - 1, offset + 200_000, size - 1]) {
    await flip(program, place);
    const { code, stderr } = await start(["collect"], { program });
    assert.match(stderr, /this executable file is damaged/, `byte ${place}`);
    assert.equal(code, 70);
    await flip(program, place);
  }
  assert.match((await start(["collect"], { program })).stderr, /no port to count/);
});

testWith(
  "executable",
  "ibsr is not changed by the environment of Deno, Node.js, npm, OpenTelemetry or TLS",
  async () => {
    await using folder = await Folder.create();
    await Deno.writeTextFile(`${folder.path}/evil.cjs`, `require("fs").writeFileSync("${folder.path}/evil", "");`);
    await Deno.writeTextFile(`${folder.path}/hello.ts`, "console.log(1)");
    const trap = `${folder.path}/traps`,
      env = {
        HOME: trap,
        XDG_CACHE_HOME: trap,
        DENO_DIR: `${trap}/dir`,
        DENO_AUDIT_PERMISSIONS: `${trap}-audit`,
        DENO_COVERAGE_DIR: `${trap}/coverage`,
        DENO_V8_FLAGS: "--no-such-flag",
        DENO_LOG: "debug",
        DENO_CERT: "/nowhere",
        DENO_NO_PACKAGE_JSON: "0",
        DENO_CONDITIONS: "x",
        DENO_TRACE_PERMISSIONS: "1",
        DENO_UNSTABLE_SLOPPY_IMPORTS: "1",
        RUST_LOG: "trace",
        NODE_OPTIONS: `--require ${folder.path}/evil.cjs`,
        NODE_EXTRA_CA_CERTS: "/nowhere",
        NODE_CHANNEL_FD: "1",
        NODE_V8_COVERAGE: `${trap}/v8`,
        OTEL_DENO: "true",
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
        SSLKEYLOGFILE: `${trap}-keys`,
        npm_config_registry: "http://127.0.0.1:9",
      };
    const clean = await start(["version"]);
    assert.deepEqual(await start(["version"], { env }), clean);
    assert.deepEqual(await start(["version"], { env: { COMPLETE: "bash" } }), clean);
    assert.deepEqual([...Deno.readDirSync(folder.path)].map((e) => e.name).sort(), ["evil.cjs", "hello.ts"]);

    // The same environment does change Deno: were it passed on, this test would see it.
    const { DENO_V8_FLAGS: _, DENO_CERT: __, ...mild } = env;
    const { code, stdout } = await start(["run", `${folder.path}/hello.ts`], { program: Deno.execPath(), env: mild });
    const written = [...Deno.readDirSync(folder.path)].map((e) => e.name);
    assert.ok(written.length > 2, `${code} ${stdout} ${written}`);
  },
);

testWith("executable", "ibsr says on a terminal what it says in a pipe, and nothing of Deno's", async () => {
  const piped = await start(["version"]);
  const shown = await start(["-qec", `${PROGRAM} version`, "/dev/null"], { program: "script" });
  assert.deepEqual([shown.code, shown.stdout.replaceAll("\r", "")], [0, piped.stdout]);
});

testWith("executable", "ibsr is not changed by what lies in the working folder", async () => {
  await using folder = await Folder.create();
  const files = {
    "deno.json": "{ broken",
    "deno.jsonc": '{"imports":{"node:fs":"./evil.ts"},"permissions":{}}',
    "package.json": "{ broken",
    "deno.lock": "broken",
    "tsconfig.json": "{ broken",
    ".npmrc": "\xff broken",
    ".env": "IBSR_MAP_SIZE=1\nNO_COLOR=1",
    "libbpf.so.1": "no library",
    "node_modules/.bin/x": "",
  };
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(`${folder.path}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(`${folder.path}/${name}`, text);
  }
  assert.deepEqual(await start(["version"], { cwd: folder.path }), await start(["version"]));
  const traced = await start(["version"], { cwd: folder.path, by: ["strace", "-f", "-qq", "-e", "trace=%file"] });
  const touched = Object.keys(files).filter((name) =>
    traced.stderr.includes(`${folder.path}/${name}"`) || traced.stderr.includes(`"${name}"`)
  );
  assert.deepEqual(touched, []);
  assert.match(traced.stderr, /openat/);
});

testWith("executable", "ibsr does not look into HOME, whatever that is", async () => {
  await using folder = await Folder.create();
  await new Deno.Command("mkfifo", { args: [`${folder.path}/.npmrc`] }).output(); // who opens it waits for ever
  await Deno.writeTextFile(`${folder.path}/file`, "");
  for (const HOME of [folder.path, `${folder.path}/file`, `${folder.path}/none`, "", "not absolute"]) {
    assertStarted(await start(["--version"], { env: { HOME }, by: ["timeout", "5"] }));
  }
});

testWith("executable", "ibsr opens no file for writing, makes none, and has no socket", async () => {
  const { stderr } = await start(["version"], {
    env: { HOME: "/root" },
    by: ["strace", "-f", "-qq", "-e", "trace=%file,%network,memfd_create"],
  });
  const calls = stderr.split("\n").filter((line) => /\w+\(.*\) += \d/.test(line)); // those that succeeded
  assert.ok(calls.length > 10, stderr);
  const changing = calls.filter((line) =>
    /O_WRONLY|O_RDWR|O_CREAT|\b(mkdir|rename|unlink|link|symlink|chmod|chown|truncate|mknod)(at)?\d?\(/.test(line)
  );
  assert.deepEqual(changing, []);
  assert.deepEqual(calls.filter((line) => /\b(socket|connect|bind|sendto)\(/.test(line)), []);
});

testWith("executable", "ibsr --version takes at most twice as long as Deno with an empty script", async () => {
  await using folder = await Folder.create();
  await Deno.writeTextFile(`${folder.path}/empty.js`, "");
  /** Milliseconds by the clock, and of CPUs. */
  const measure = async (args: string[], program: string) => {
    const by = ["bash", "-c", 'TIMEFORMAT="%3R %3U %3S"; time "$@" >/dev/null', "bash"];
    const { code, stderr } = await start(args, { program, by, env: { DENO_DIR: `${folder.path}/cache` } });
    assert.equal(code, 0, stderr);
    const [real, user, system] = stderr.trim().split(" ").map((sec) => Number(sec) * 1000) as [number, number, number];
    return { real, cpu: user + system };
  };
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
  const ibsr: { real: number; cpu: number }[] = [], deno: typeof ibsr = [];
  for (let i = 0; i < 25; i++) {
    ibsr.push(await measure(["--version"], PROGRAM));
    deno.push(await measure(["run", "--no-config", `${folder.path}/empty.js`], Deno.execPath()));
  }
  const ratio = (of: "real" | "cpu") => median(ibsr.map((m) => m[of])) / median(deno.map((m) => m[of]));
  const text = `${median(ibsr.map((m) => m.real)).toFixed(0)} ms, ${ratio("real").toFixed(2)} times Deno's; ` +
    `CPU ${ratio("cpu").toFixed(2)} times`;
  console.log(text);
  // By the time of CPUs: what else the machine does adds to the clock's, and not evenly.
  assert.ok(ratio("cpu") <= 2, text);
});

/** Changes one bit of a file's byte. */
async function flip(path: string, at: number): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  const byte = new Uint8Array(1);
  await file.seek(at, Deno.SeekMode.Start);
  assert.equal(await file.read(byte), 1);
  byte[0]! ^= 0x10;
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(byte);
}

testWith("executable", "ibsr report reads in a thread and observes in one, where there is much to read", async () => {
  await using folder = await Folder.create();
  const input = `${folder.path}/in`, args = ["report", "--in", input, "--out", `${folder.path}/out`];
  await Deno.mkdir(input);
  writeSnapshots(input, { snapshots: 20, sources: 12_000 });
  const program = new Deno.Command(PROGRAM, { args, stdout: "null", stderr: "piped" }).spawn();
  const tasks = `/proc/${program.pid}/task`, threads = new Set<string>();
  let running = true;
  const ended = program.output().finally(() => running = false);
  while (running) {
    try {
      for (const { name } of Deno.readDirSync(tasks)) {
        threads.add(Deno.readTextFileSync(`${tasks}/${name}/comm`).trim());
      }
    } catch {
      // One has ended meanwhile.
    }
    await pause(5);
  }
  assert.equal(new TextDecoder().decode((await ended).stderr), ""); // Deno says here why a thread can't start
  assert.deepEqual([...threads].filter((name) => name.startsWith("worker-")).sort(), ["worker-1", "worker-2"]);
});
