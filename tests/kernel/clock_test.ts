/**
 * A collector while time does what it shouldn't: somebody sets the wall clock, the process is stopped for a while.
 */
import assert from "node:assert/strict";
import { decodeHeartbeat } from "../../src/heartbeat.ts";
import { listSegments } from "../../src/segment.ts";
import { testWith } from "../needs.ts";
import { readSpool, sumTotals } from "./counts.ts";
import { CLIENT, ibsrCommand, Lab, pause, run, type Running, SERVER } from "./lab.ts";

const HOUR = 3600;
const CLOCK = new URL("clock.c", import.meta.url).pathname;

/** A collector with a wall clock and a clock since boot that are `setClock()`'s seconds ahead, none at first. */
async function collectWithClock(
  lab: Lab,
  folder: string,
): Promise<{ ibsr: Running; setClock: (wallSec: number, bootSec?: number) => void }> {
  const clock = `${folder}/clock`;
  const setClock = (wallSec: number, bootSec = 0) => {
    using file = Deno.openSync(clock, { write: true, create: true }); // never shorter: that is a SIGBUS to who maps it
    file.writeSync(new Uint8Array(BigInt64Array.of(BigInt(wallSec), BigInt(bootSec)).buffer));
  };
  await run("clang", ["-shared", "-fPIC", "-O1", "-o", `${folder}/clock.so`, CLOCK]);
  setClock(0);
  const [command, args] = ibsrCommand([
    ...["collect", "-i", "server", "-o", `${folder}/spool`, "-p", "80", "--snapshot-interval-sec", "0.25"],
    ...["--status-interval-sec", "0.5"],
  ]);
  const preload = [`LD_PRELOAD=${folder}/clock.so`, `IBSR_TEST_CLOCK=${clock}`];
  const ibsr = lab.start(lab.server, "env", [...preload, command, ...args]);
  await ibsr.waitFor("attached to server");
  return { ibsr, setClock };
}

for (const [direction, stepSec] of [["forward", HOUR], ["back", -HOUR]] as const) {
  testWith(
    "kernel",
    `collect measures intervals by the monotonic clock while the wall clock steps ${direction} an hour and home again`,
    async () => {
      await using lab = await Lab.create();
      const folder = await Deno.makeTempDir(), spool = `${folder}/spool`;
      await lab.serve([80]);
      const before = Date.now() / 1000;
      const { ibsr, setClock } = await collectWithClock(lab, folder);
      const attachedAt = performance.now();
      const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
      await connect();
      await pause(700);
      await lab.keepTalking(80, async () => {
        setClock(stepSec);
        await ibsr.waitFor(`the clock was set ${direction} by 3600.`);
        await pause(700);
        setClock(0);
        await ibsr.waitFor(`the clock was set ${stepSec > 0 ? "back" : "forward"} by 3600.`);
      });
      await connect();
      await pause(700);
      assert.equal((await ibsr.end("SIGTERM")).code, 0);
      const ranSec = (performance.now() - attachedAt) / 1000;

      const snapshots = await readSpool(spool);
      const own = sumTotals(snapshots).get("80")!;
      assert.equal(own.syn, 21, "10 connections before, the one that went on, and 10 after");
      assert.deepEqual(snapshots.map((s) => s.seq).sort((a, b) => a! - b!), snapshots.map((_, i) => i));
      const intervals = snapshots.map((s) => s.interval_sec!), covered = intervals.reduce((sum, sec) => sum + sec, 0);
      assert.ok(intervals.every((sec) => sec >= 0 && sec < 2), `no interval has the hour in it: ${intervals}`);
      assert.ok(Math.abs(covered - ranSec) < 1, `${covered} s of ${ranSec} s are covered`);

      // Each line is in the segment of the hour that its clock showed, and time goes on within each segment.
      const during = (sec: number) => sec > before + 0.5 * HOUR || sec < before - 0.5 * HOUR;
      assert.ok(snapshots.some((s) => during(s.ts_unix_sec)) && snapshots.some((s) => !during(s.ts_unix_sec)));
      for (const { name, path } of listSegments(spool)) {
        const times = (await readSpool(path)).map((s) => s.ts_unix_sec);
        assert.deepEqual(times, times.toSorted((a, b) => a - b), name);
        for (const sec of times) assert.ok(name.includes(hourOf(sec)), `${name} has a line of ${hourOf(sec)}`);
      }
      const beats = (await Deno.readTextFile(`${spool}/status.jsonl`)).trim().split("\n").map((l) =>
        decodeHeartbeat(l)!
      );
      assert.deepEqual([...new Set(beats.map((b) => b.clock_steps))], [0, 1, 2]);
      const uptimes = beats.map((b) => b.uptime_sec);
      assert.deepEqual(uptimes, uptimes.toSorted((a, b) => a - b), "uptime is not the wall clock's");
      await Deno.remove(folder, { recursive: true });
    },
  );
}

/** As in a segment's name. */
function hourOf(sec: number): string {
  return new Date(sec * 1000).toISOString().slice(0, 13).replace(/[-T]/g, "");
}

testWith(
  "kernel",
  "collect that is stopped for a while says so, and what passed meanwhile is in one long interval",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    await lab.serve([80]);
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.25"]);
    const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
    await connect();
    await pause(600);
    await lab.keepTalking(80, async () => {
      ibsr.process.kill("SIGSTOP"); // as for a process, a sleeping host is: no CPU for a while
      await pause(3000);
      await connect();
      ibsr.process.kill("SIGCONT");
      await ibsr.waitFor("was stopped or had no CPU; nothing counted is missing");
    });
    await connect();
    assert.equal((await ibsr.end("SIGTERM")).code, 0);

    const snapshots = await readSpool(folder);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 31);
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
    assert.ok(gaps.every((gap) => Math.abs(gap) < 0.02), `all time is covered: ${gaps}`);
    const long = snapshots.filter((s) => s.interval_sec! > 2);
    assert.equal(long.length, 1);
    assert.ok(sumTotals(long).get("80")!.syn >= 10, "the connections made meanwhile are in it");
    assert.match(ibsr.log(), /an interval of server is [345]\.\d s long/);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "collect on a host that sleeps for an hour counts on, and covers no time of its sleep", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  await lab.serve([80]);
  const { ibsr, setClock } = await collectWithClock(lab, folder);
  const attachedAt = performance.now();
  const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
  await connect();
  await pause(700);
  // No CPU; when it has it again, the wall clock and the clock since boot are ahead of the monotonic, which stood still.
  ibsr.process.kill("SIGSTOP");
  setClock(HOUR, HOUR);
  ibsr.process.kill("SIGCONT");
  await ibsr.waitFor("the clock was set forward by 3600.0 s, or the host slept");
  await connect();
  await pause(700);
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  const ranSec = (performance.now() - attachedAt) / 1000;

  const snapshots = await readSpool(`${folder}/spool`);
  assert.equal(sumTotals(snapshots).get("80")!.syn, 20);
  assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
  const covered = snapshots.reduce((sum, s) => sum + s.interval_sec!, 0);
  assert.ok(Math.abs(covered - ranSec) < 1, `${covered} s are covered of ${ranSec} s awake`);
  const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
  const asleep = gaps.filter((gap) => Math.abs(gap) >= 0.02);
  assert.equal(asleep.length, 1, `${gaps}`);
  assert.ok(Math.abs(asleep[0]! - HOUR) < 0.5, `the sleep is no interval: ${gaps}`);
  await Deno.remove(folder, { recursive: true });
});
