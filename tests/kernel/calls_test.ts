/**
 * A collector whose calls into the kernel fail: strace answers bpf(2) in the kernel's place.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { countByTshark, listCounts, readSpool, sumBuckets, sumTotals } from "./counts.ts";
import { CLIENT, Lab, pause, type Running, SERVER } from "./lab.ts";

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
    const capture = await lab.capture(`${folder}/all.pcap`, "tcp dst port 80");
    const ibsr = await lab.collect(`${folder}/spool`, ["-p", "80", "--snapshot-interval-sec", "0.1"]);
    const connect = (count: number) =>
      lab.connectAll([CLIENT.v4, CLIENT.v6], [`${SERVER.v4}/80`, `${SERVER.v6}/80`], count);
    const listMissing = () => PLACES.filter((place) => !ibsr.log().includes(`${place}: ENOMEM`));
    await lab.keepTalking(80, async () => {
      await connect(10);
      // The counts of calls in a reading and this one have no divisor in common, so that each call has its turn.
      for (let tries = 0; tries < 10 && listMissing().length > 0; tries++) {
        await whileCallsFail(lab, ibsr.process.pid, `${tries + 1}+7`, async () => {
          await connect(10);
          await pause(2000);
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
    const expected = await countByTshark(`${folder}/all.pcap`, [80]);
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
