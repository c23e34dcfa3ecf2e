/**
 * A collector whose calls into the kernel fail: strace answers bpf(2) in the kernel's place.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { countByTshark, listCounts, readSpool, sumBuckets, sumTotals } from "./counts.ts";
import { CLIENT, hasXdp, ibsrCommand, Lab, pause, run, type Running, SERVER } from "./lab.ts";

/** Calls of bpf(2) in each reading of the maps, by what the log says when they fail. */
const PLACES = [
  "Cannot swap the generation of maps",
  "Cannot read the totals",
  "Cannot read the counters of frames not counted",
  ...["known4", "known6", "syn4", "syn6"].map((map) => `Cannot read map ${map}`),
  "Cannot reset the totals of port 80",
  "Cannot reset the counters of frames not counted",
];

/** While `meanwhile` runs, those calls of bpf(2) fail that `which` names, on each thread: strace's `when=`. */
async function whileCallsFail(lab: Lab, pid: number, which: string, meanwhile: () => Promise<void>): Promise<void> {
  const strace = lab.start(lab.server, "strace", [
    ...["-f", "-p", String(pid), "-e", "trace=bpf", "-e", `inject=bpf:error=ENOMEM:when=${which}`],
  ]);
  await strace.waitFor("attached");
  await meanwhile();
  const { stderr } = await strace.end("SIGINT");
  assert.match(stderr, /ENOMEM .*\(INJECTED\)/);
}

testWith(
  ["kernel", "tracing"],
  "collect whose calls into the kernel fail at every place in turn loses no packet and no interval",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    await lab.serve([80]);
    const capture = await lab.capture(`${folder}/all.pcap`, "tcp dst port 80 or tcp dst port 81");
    const ibsr = await lab.collect(`${folder}/spool`, ["-p", "80,81", "--snapshot-interval-sec", "0.1"]);
    const connect = (count: number) =>
      lab.connectAll([CLIENT.v4, CLIENT.v6], [`${SERVER.v4}/80`, `${SERVER.v6}/80`], count);
    // Nobody listens there. The map of such sources over IPv6 is the last, and not looked through if it must be empty.
    const knock = () =>
      lab.exec(lab.client, Deno.execPath(), [
        ...["eval", "--no-config"],
        `for (let i = 0; i < 40; i++) {
          await Deno.connect({ hostname: "${SERVER.v6}", port: 81 }).catch(() => {});
          await new Promise((resolve) => setTimeout(resolve, 40));
        }`,
      ]);
    const listMissing = () => PLACES.filter((place) => !ibsr.log().includes(`${place}: ENOMEM`));
    await lab.keepTalking(80, async () => {
      await connect(10);
      // What failed is called again, which shifts all that follows, in each thread by itself: a number that goes on
      // hitting the same calls is followed by others.
      for (let tries = 0; tries < 40 && listMissing().length > 0; tries++) {
        const which = `${1 + tries % 10}+${tries < 10 ? 7 : 5 + tries % 4}`;
        await whileCallsFail(lab, ibsr.process.pid, which, async () => {
          await connect(10);
          await knock();
          await pause(400);
        });
      }
      await connect(10);
    });
    assert.deepEqual(listMissing(), [], "places that have not failed");
    await pause(500);
    assert.match(ibsr.log().trim().split("\n").at(-1)!, /can be read again$/);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    await capture.end("SIGINT");

    const snapshots = await readSpool(`${folder}/spool`);
    const expected = await countByTshark(`${folder}/all.pcap`, [80, 81]);
    assert.deepEqual(listCounts(sumBuckets(snapshots)), listCounts(expected));
    assert.ok(snapshots.every((s) => s.unattributed!.packets === 0));
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
    assert.ok(gaps.every((gap) => Math.abs(gap) < 0.02), `all time is covered: ${gaps}`);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  ["kernel", "tracing"],
  "collect keeps its program attached while it cannot ask the kernel for it",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    await lab.serve([80]);
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.2"]);
    const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
    const attached = (ibsr: Running) => ibsr.log().split("attached to server").length - 1;
    await connect();
    await whileCallsFail(lab, ibsr.process.pid, "1+", async () => {
      await connect();
      await pause(2500); // longer than it takes to look whether it is still attached
      assert.doesNotMatch(ibsr.log(), /gone|detached/);
      assert.equal(attached(ibsr), 1);
    });
    await connect();
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    const snapshots = await readSpool(folder);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 30);
    assert.ok(snapshots.some((s) => s.interval_sec! > 2), "the interval in which nothing could be read is long");
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  ["kernel", "tracing"],
  "collect that can neither read nor attach when its interface is made anew says both, and has all counts afterwards",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    await lab.serve([80]);
    const args = ["-p", "80", "--snapshot-interval-sec", "0.5", "--status-interval-sec", "0.5"];
    const ibsr = await lab.collect(folder, args);
    const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
    const refused =
      'Cannot attach to "server" in generic mode, nor native (ENOMEM, out of memory): ENOMEM, out of memory';
    await connect();
    await pause(1500); // both generations of maps have been read
    await whileCallsFail(lab, ibsr.process.pid, "1+", async () => {
      await connect(); // these stay in the maps
      await pause(1100); // it is seen to be attached after them
      await run("ip", ["-n", lab.client, "link", "del", "client"]);
      await ibsr.waitFor("server is gone or its program was detached");
      await ibsr.waitFor('Cannot attach to "server": no such interface');
      await pause(1500);
      await lab.connect();
      await ibsr.waitFor(refused);
      await pause(2000);
      const status = (await Deno.readTextFile(`${folder}/status.jsonl`)).trim().split("\n").at(-1)!;
      assert.deepEqual(JSON.parse(status).failing.sort(), [
        refused,
        "Cannot swap the generation of maps: ENOMEM, out of memory",
      ]);
    });
    for (const until = performance.now() + 15_000; ibsr.log().split("attached to server").length < 3; await pause(50)) {
      assert.ok(performance.now() < until, ibsr.log());
    }
    await connect();
    await pause(700);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    assert.equal(ibsr.log().split(refused).length, 2, "said once, not each second");
    assert.match(ibsr.log(), /the maps of server can be read again/);
    const snapshots = await readSpool(folder);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 30);
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
    const away = gaps.filter((gap) => Math.abs(gap) >= 0.02);
    assert.equal(away.length, 1, `${gaps}`);
    assert.ok(away[0]! > 3.4, `the time without the interface is no interval: ${gaps}`);
    await Deno.remove(folder, { recursive: true });
  },
);

/** `ibsr collect` for a tenth of a second under strace, which is told what to do with its calls of bpf(2). */
function collectTraced(lab: Lab, folder: string, { args = [], trace = [] }: { args?: string[]; trace?: string[] }) {
  return lab.exec(lab.server, "strace", [
    ...["-f", "-e", "trace=bpf", ...trace],
    ...ibsrCommand(["collect", "-i", "server", "-p", "80", "-o", `${folder}/spool`, "--duration-sec", "0.1"]).flat(),
    ...args,
  ], { anyCode: true });
}

/** The calls of bpf(2) in what strace wrote, in order. */
function listCalls({ stderr }: { stderr: string }): string[] {
  return stderr.split("\n").filter((line) => /^(\[pid +\d+\] )?bpf\(/.test(line));
}

testWith(
  ["kernel", "tracing"],
  "collect whose call into the kernel fails once, whichever it is, ends with an error at the start or counts to the end",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    let triedAgain = 0;
    const { length } = listCalls(await collectTraced(lab, folder, {}));
    assert.ok(length > 30);
    for (let nth = 1; nth <= length; nth++) {
      await Deno.remove(`${folder}/spool`, { recursive: true });
      const trace = ["-e", `inject=bpf:error=ENOMEM:when=${nth}`];
      const { code, stdout, stderr } = await collectTraced(lab, folder, { trace });
      assert.ok(code === 0 || code === 71, stderr); // 0 also where there is another way: libbpf's, or the plain object
      assert.ok(!await hasXdp(lab.server, "server"));
      if (code !== 0) assert.match(stderr, /^ibsr: error: Cannot .*: ENOMEM, out of memory$/m);
      else if (stdout.startsWith("1 snapshot of 0 packets")) triedAgain += Number(/^ibsr: error/m.test(stderr));
      else assert.match(stderr, /^ibsr: error: what server counted last .* is lost$/m); // strace failed each thread's
      await Deno.mkdir(`${folder}/spool`, { recursive: true });
    }
    assert.ok(triedAgain > 0, "the last reading failed, and was there at the second try");
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(["kernel", "tracing"], "collect that cannot map its settings says so, and leaves nothing behind", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  const trace = ["-P", "anon_inode:bpf-map", "-e", "trace=mmap", "-e", "inject=mmap:error=ENOMEM"];
  const { code, stderr } = await collectTraced(lab, folder, { trace });
  assert.equal(code, 71, stderr);
  assert.match(stderr, /^ibsr: error: Cannot map the settings: ENOMEM, out of memory$/m);
  assert.ok(!await hasXdp(lab.server, "server"));
  await Deno.remove(folder, { recursive: true });
});

testWith(["kernel", "tracing"], "collect that is stopped while it cannot read says what is lost", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.5"]);
  await pause(1200);
  await whileCallsFail(lab, ibsr.process.pid, "1+", async () => {
    await pause(700);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
  });
  assert.match(ibsr.log(), /Cannot swap the generation of maps: ENOMEM/);
  assert.match(ibsr.log(), /^ibsr: error: what server counted last is in no snapshot and is lost$/m);
  const last = JSON.parse((await Deno.readTextFile(`${folder}/status.jsonl`)).trim().split("\n").at(-1)!);
  assert.equal(last.state, "stopped");
  assert.match(last.failing.join(), /Cannot swap the generation/);
  await Deno.remove(folder, { recursive: true });
});

for (
  const [mode, number, expected] of [
    [
      "auto",
      "ENOMEM",
      /Cannot attach to "server" in generic mode, nor native \(ENOMEM, out of memory\): ENOMEM, out of memory\n/,
    ],
    ["native", "EOPNOTSUPP", /Cannot attach to "server" in native mode: EOPNOTSUPP, .*\n.*hint: .*--xdp-mode generic/],
    ["native", "ERANGE", /in native mode: the interface's MTU is too large for its driver\n.*hint: --xdp-mode generic/],
    ["generic", "EPERM", /Cannot attach to "server" in generic mode: EPERM, .*\n.*hint: .*security module/],
    ["auto", "EBUSY", /Cannot attach to "server" in native mode: another program is attached there\n.*bpftool net/],
    [
      "auto",
      "EINTR",
      /Cannot attach to "server" in generic mode, nor native \(error 4, interrupted system call\): error 4, /,
    ],
  ] as const
) {
  testWith(
    ["kernel", "tracing"],
    `collect --xdp-mode ${mode} that the kernel refuses a link with ${number} says so, and leaves nothing behind`,
    async () => {
      await using lab = await Lab.create();
      const folder = await Deno.makeTempDir();
      const args = ["--xdp-mode", mode];
      const calls = listCalls(await collectTraced(lab, folder, { args }));
      const nth = 1 + calls.findIndex((line) => line.includes("BPF_LINK_CREATE"));
      assert.ok(nth > 0, "the main thread makes the link");
      const trace = ["-e", `inject=bpf:error=${number}:when=${nth}+`];
      const { code, stderr } = await collectTraced(lab, folder, { args, trace });
      assert.match(stderr, new RegExp(`BPF_LINK_CREATE.*${number} .*INJECTED`));
      assert.equal(code, number === "EPERM" ? 77 : 71, stderr);
      assert.match(stderr, expected);
      assert.ok(!await hasXdp(lab.server, "server"));
      await Deno.remove(folder, { recursive: true });
    },
  );
}

testWith(
  ["kernel", "tracing"],
  "collect reads the spool's directory now and then, not with each snapshot",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.05"]);
    await pause(500); // in which it begins a segment, and looks for older ones
    const strace = lab.start(lab.server, "strace", [
      ...["-f", "-p", String(ibsr.process.pid), "-e", "trace=getdents64,fdatasync"],
    ]);
    await strace.waitFor("attached");
    await pause(1500);
    const { stderr } = await strace.end("SIGINT");
    const count = (call: string) => stderr.split(`${call}(`).length - 1;
    assert.ok(count("fdatasync") >= 10, stderr);
    assert.ok(count("getdents64") <= 8, stderr); // two calls a reading: now it may be the minute for one, or an hour may end
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    await Deno.remove(folder, { recursive: true });
  },
);

/** Calls of bpf(2) on maps by strace's log: when each begins and when it is answered, in order. */
function* listMapCalls(log: string): Generator<{ command: string; fd: string; isOver: boolean }> {
  const begun = new Map<string, { command: string; fd: string }>();
  for (const line of log.split("\n")) {
    const [, thread = "", rest = ""] = /^\[pid +(\d+)\] (.*)/.exec(line) ?? [];
    const [, command, fd] = /^bpf\(BPF_MAP_(\w+), \{map_fd=(\d+)/.exec(rest) ?? [];
    if (command && fd) yield { command, fd, isOver: false };
    const call = command && fd ? { command, fd } : begun.get(thread);
    if (rest.endsWith("<unfinished ...>")) {
      if (call) begun.set(thread, call);
    } else if (call && / = \d+$/.test(rest)) {
      begun.delete(thread);
      yield { ...call, isOver: true };
    }
  }
}

testWith(
  ["kernel", "tracing"],
  "collect reads what it counted only after the kernel has said that no program runs any more which may write it",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.05"]);
    const strace = lab.start(lab.server, "strace", ["-f", "-p", String(ibsr.process.pid), "-e", "trace=bpf"]);
    await strace.waitFor("attached");
    await pause(1500);
    const { stderr } = await strace.end("SIGINT");
    const calls = [...listMapCalls(stderr)];
    // The map of maps is the only one that is updated and never looked up: the update is the question (ibsr.bpf.c).
    const looked = new Set(calls.filter(({ command }) => command === "LOOKUP_ELEM").map(({ fd }) => fd));
    let readings = 0, isAnswered: boolean | undefined; // undefined: in a reading whose beginning was not seen
    for (const { command, fd, isOver } of calls) {
      if (command === "UPDATE_ELEM" && !looked.has(fd)) isAnswered = isOver;
      else if (command === "LOOKUP_ELEM" && isAnswered !== undefined) assert.ok(isAnswered, stderr);
      else if (command === "UPDATE_ELEM" && isOver) { // what was not counted is set to zero: a reading ends
        isAnswered = false;
        readings++;
      }
    }
    assert.ok(readings >= 5, stderr);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    await Deno.remove(folder, { recursive: true });
  },
);
