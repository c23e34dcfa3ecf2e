/**
 * Outages of a running collector: what was counted meanwhile appears afterwards, and nothing is said that isn't so.
 */
import assert from "node:assert/strict";
import { decodeHeartbeat, type Heartbeat } from "../../src/heartbeat.ts";
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

testWith(
  "kernel",
  "collect whose interface is deleted while its disk is full has what it counted before, and no time between",
  async () => {
    await using lab = await Lab.create();
    await withSmallDisk(async (disk) => {
      await lab.serve([80]);
      const ibsr = await lab.collect(`${disk}/spool`, "-p 80 --snapshot-interval-sec 0.3".split(" "));
      const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
      await connect();
      await pause(700);
      await run("dd", ["if=/dev/zero", `of=${disk}/filler`, "bs=1k"], { anyCode: true });
      await connect();
      await ibsr.waitFor("it is kept, and counting goes on");
      await connect(); // these stay in the maps
      await pause(1100); // it is seen to be attached after them
      await run("ip", ["-n", lab.client, "link", "del", "client"]);
      await ibsr.waitFor("server is gone or its program was detached");
      await pause(2500);
      await lab.connect();
      await waitUntil(() => ibsr.log().split("attached to server").length === 3);
      await connect();
      await Deno.remove(`${disk}/filler`);
      await ibsr.waitFor("the spool can be written again");
      await connect();
      assert.equal((await ibsr.end("SIGTERM")).code, 0);
      const snapshots = await readSpool(`${disk}/spool`);
      assert.equal(sumTotals(snapshots).get("80")!.syn, 50);
      assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i), "no line is missing");
      const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
      const away = gaps.filter((gap) => Math.abs(gap) >= 0.02);
      assert.equal(away.length, 1, `${gaps}`);
      assert.ok(away[0]! > 2.4, `the time without the interface is no interval: ${gaps}`);
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
    await run("bpftool", ["link", "detach", "id", findLink(ibsr.process.pid)]);
    await ibsr.waitFor("server is gone or its program was detached");
    await pause(1200);
    assert.equal(ibsr.log().match(/attached to server/g)?.length, 2);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    const snapshots = await readSpool(folder);
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    await Deno.remove(folder, { recursive: true });
  },
);

/** An XDP program that only passes, under the name of another. */
const OTHER = `#include <linux/bpf.h>
  __attribute__((section("xdp"), used)) int other(struct xdp_md *ctx) { return XDP_PASS; }`;

testWith(
  "kernel",
  "collect keeps its hook against other programs, names the one that takes it meanwhile, and comes back after it",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir(), pin = `/sys/fs/bpf/ibsr_other_${Deno.pid}`;
    const network = `--net=/run/netns/${lab.server}`; // `ip netns exec` would hide what is pinned
    await Deno.writeTextFile(`${folder}/other.c`, OTHER);
    const include = `-I/usr/include/${Deno.build.arch}-linux-gnu`, object = `${folder}/other.o`;
    await run("clang", ["-O2", "-target", "bpfel", include, "-c", `${folder}/other.c`, "-o", object]);
    await run("bpftool", ["prog", "load", object, pin]);
    try {
      await lab.serve([80]);
      const args = ["-p", "80", "--snapshot-interval-sec", "0.3", "--status-interval-sec", "0.3"];
      const ibsr = await lab.collect(`${folder}/spool`, args);
      const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
      await lab.keepTalking(80, async () => {
        await connect();
        for (const mode of ["xdpdrv", "xdpgeneric"]) {
          const taken = await run("nsenter", [
            network,
            "bpftool",
            "net",
            "attach",
            mode,
            "pinned",
            pin,
            "dev",
            "server",
          ], {
            anyCode: true,
          });
          assert.match(taken.stderr, /Device or resource busy|File exists/, `attached as ${mode}`);
        }
        await connect();

        const detach = `bpftool link detach id ${findLink(ibsr.process.pid)}`;
        await run("nsenter", [network, "sh", "-c", `${detach} && bpftool net attach xdpdrv pinned ${pin} dev server`]);
        await ibsr.waitFor(`Cannot attach to "server" in native mode: "other" (program `);
        await pause(2500);
        assert.match(
          (await lastHeartbeat(`${folder}/spool`)).failing.join(),
          /"other" \(program \d+\) is attached there/,
        );
        assert.equal((await lastHeartbeat(`${folder}/spool`)).interfaces[0]!.xdp_mode, null);
        await run("nsenter", [network, "bpftool", "net", "detach", "xdpdrv", "dev", "server"]);
        await waitUntil(() => ibsr.log().split("attached to server").length === 3);
        await connect();
      });
      await pause(700);
      assert.deepEqual((await lastHeartbeat(`${folder}/spool`)).failing, []);
      assert.equal((await ibsr.end("SIGTERM")).code, 0);
      assert.equal(ibsr.log().match(/Cannot attach to "server"/g)?.length, 1, "said once, not each second");
      const snapshots = await readSpool(`${folder}/spool`);
      assert.equal(sumTotals(snapshots).get("80")!.syn, 31, "what was counted before it lost its hook is there");
      assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
      const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
      assert.ok(Math.max(...gaps) > 2.4, `the time without the hook is no interval: ${gaps}`);
    } finally {
      await Deno.remove(pin);
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testWith(
  "kernel",
  "collect on a disk that turns read-only keeps counting, and goes on there once it is mounted again",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir(), disk = `${folder}/disk`;
    await Deno.mkdir(disk);
    const mount = (image: string) => run("mount", ["-o", "loop", `${folder}/${image}`, disk]);
    await run("truncate", ["-s", "16M", `${folder}/image`]);
    await run("mkfs.ext4", ["-q", `${folder}/image`]);
    await mount("image");
    try {
      await lab.serve([80]);
      const ibsr = await lab.collect(`${disk}/spool`, ["-p", "80", "--snapshot-interval-sec", "0.3"]);
      const connect = () => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
      await lab.keepTalking(80, async () => {
        await connect();
        await pause(700);
        await run("mount", ["-o", "remount,abort", disk]); // as ext4 does when the disk fails
        await connect();
        await ibsr.waitFor("Read-only file system; it is kept, and counting goes on");
        await connect();
        // What was taken away comes back as a copy: the kernel keeps the failed one while it is in use.
        const there = [`--mount=/proc/${ibsr.process.pid}/ns/mnt`]; // `ip netns exec` has given it one of its own
        await run("nsenter", [...there, "umount", "--lazy", disk]);
        await run("cp", [`${folder}/image`, `${folder}/repaired`]);
        await run("nsenter", [...there, "mount", "-o", "loop", `${folder}/repaired`, disk]);
        await ibsr.waitFor("the spool can be written again");
        await connect();
      });
      assert.equal((await ibsr.end("SIGTERM")).code, 0);
      assert.equal(
        ibsr.log().match(/Read-only file system; it is kept, and counting goes on/g)?.length,
        1,
        "said once, not each time",
      );
      await run("umount", ["--lazy", disk]);
      await mount("repaired");
      const snapshots = await readSpool(`${disk}/spool`);
      assert.equal(sumTotals(snapshots).get("80")!.syn, 41);
      assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i), "no line is missing");
      const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
      assert.ok(gaps.every((gap) => Math.abs(gap) < 0.02), `all time is covered: ${gaps}`);
    } finally {
      await run("umount", ["--lazy", disk]);
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** The number of the link that a process holds: no other program is touched by what is done to that. */
function findLink(pid: number): string {
  const held = [...Deno.readDirSync(`/proc/${pid}/fdinfo`)]
    .map(({ name }) => Deno.readTextFileSync(`/proc/${pid}/fdinfo/${name}`));
  return held.map((text) => /^link_id:\s*(\d+)/m.exec(text)?.[1]).find((found) => found !== undefined)!;
}

async function lastHeartbeat(spool: string): Promise<Heartbeat> {
  return decodeHeartbeat((await Deno.readTextFile(`${spool}/status.jsonl`)).trim().split("\n").at(-1)!)!;
}

async function waitUntil(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 15_000; !condition(); await pause(20)) {
    assert.ok(performance.now() < end, "waited 15 s in vain");
  }
}
