/**
 * Outages of a running collector: what was counted meanwhile appears afterwards, and nothing is said that isn't so.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { readSpool, sumTotals } from "./counts.ts";
import { CLIENT, Lab, pause, run, SERVER } from "./lab.ts";

/** A small file system of its own, for as long as `use` runs. */
async function withSmallDisk(use: (disk: string) => Promise<void>): Promise<void> {
  const disk = await Deno.makeTempDir();
  await run("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", disk]);
  try {
    await use(disk);
  } finally {
    await run("umount", [disk]);
    await Deno.remove(disk);
  }
}

testWith(
  "kernel",
  "collect on a disk that is full for a while keeps counting, and loses no packet and no line",
  async () => {
    await using lab = await Lab.create();
    await withSmallDisk(async (disk) => {
      await lab.serve([80]);
      const ibsr = await lab.collect(
        `${disk}/spool`,
        "-p 80 --snapshot-interval-sec 0.3 --status-interval-sec 0.3".split(" "),
      );
      const connect = () => lab.connectAll([CLIENT.v4, CLIENT.v6], [`${SERVER.v4}/80`, `${SERVER.v6}/80`], 10);
      await connect();
      await pause(700);
      await run("dd", ["if=/dev/zero", `of=${disk}/filler`, "bs=1k"], { anyCode: true }); // until it is full
      try {
        await connect();
        await ibsr.waitFor("it is kept, and counting goes on");
        await connect();
        await pause(1500);
      } finally {
        await Deno.remove(`${disk}/filler`);
      }
      await ibsr.waitFor("the spool can be written again");
      await connect();
      await pause(700);
      assert.equal(ibsr.log().match(/it is kept, and counting goes on/g)?.length, 1, "said once, not each time");
      assert.equal((await ibsr.end("SIGTERM")).code, 0);

      const snapshots = await readSpool(`${disk}/spool`);
      assert.equal(sumTotals(snapshots).get("80")!.syn, 80);
      assert.ok(snapshots.every((s) => s.unattributed!.packets === 0));
      assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i), "no line is missing");
      const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
      assert.ok(gaps.every((gap) => Math.abs(gap) < 0.02), `all time is covered: ${gaps}`);
      const longest = Math.max(...snapshots.map((s) => s.interval_sec!));
      assert.ok(longest > 1.5, `the interval of the outage is long: ${longest} s`);
    });
  },
);

testWith("kernel", "collect counts exactly on an interface that goes down, comes up and changes its MTU", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  await lab.serve([80]);
  const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.5"]);
  const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
  await connect();
  for (const change of ["down", "up", "mtu 1400", "mtu 3000", "mtu 1500"]) {
    await run("ip", ["-n", lab.server, "link", "set", "server", ...change.split(" ")]);
  }
  await pause(1500); // the link is up again, and looked at
  await connect();
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  assert.equal(sumTotals(await readSpool(folder)).get("80")!.syn, 20);
  assert.equal(ibsr.log().match(/attached to server/g)?.length, 1);
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "kernel",
  "collect attaches again when its program is detached by force, and covers no time between",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.5"]);
    // The link is the one that the collector holds: no other program is touched.
    const held = [...Deno.readDirSync(`/proc/${ibsr.process.pid}/fdinfo`)]
      .map(({ name }) => Deno.readTextFileSync(`/proc/${ibsr.process.pid}/fdinfo/${name}`));
    const id = held.map((text) => /^link_id:\s*(\d+)/m.exec(text)?.[1]).find((found) => found !== undefined)!;
    await run("bpftool", ["link", "detach", "id", id]);
    await ibsr.waitFor("server is gone or its program was detached");
    await pause(1200);
    assert.equal(ibsr.log().match(/attached to server/g)?.length, 2);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    const snapshots = await readSpool(folder);
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    await Deno.remove(folder, { recursive: true });
  },
);
