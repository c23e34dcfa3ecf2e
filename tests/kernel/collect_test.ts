/**
 * `ibsr collect` on a real interface: real TCP and replayed frames, counted exactly as others count them.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { countByTshark, listCounts, readSpool, sumBuckets, sumTotals } from "./counts.ts";
import { mixedFrames, spoofedSyns, writePcap } from "./frames.ts";
import { CLIENT, hasXdp, Lab, pause, run, SERVER } from "./lab.ts";

const PORTS = [80, 443];

for (const mode of ["native", "generic"] as const) {
  testWith(
    "kernel",
    `collect in ${mode} mode counts 400 real connections, half of them over VLAN, as tshark does`,
    async () => {
      await using lab = await Lab.create();
      const folder = await Deno.makeTempDir();
      await lab.serve(PORTS);
      const capture = await lab.capture(`${folder}/c.pcap`, "tcp or vlan");
      const ibsr = await lab.collect(`${folder}/spool`, [
        ...["-p", "80,443", "--xdp-mode", mode, "--snapshot-interval-sec", "0.5"],
      ]);
      const targets = PORTS.flatMap((p) => [`${SERVER.v4}/${p}`, `${SERVER.v6}/${p}`]);
      await lab.connectAll([CLIENT.v4, CLIENT.v6], targets, 50);
      await lab.joinVlan();
      await lab.connectAll([CLIENT.v4, CLIENT.v6], targets, 50);
      await pause(300);
      assert.equal((await ibsr.end("SIGTERM")).code, 0);
      const { stderr } = await capture.end("SIGINT");
      assert.match(stderr, /\n0 packets dropped by kernel/);

      const snapshots = await readSpool(`${folder}/spool`);
      assert.ok(snapshots.every((s) => s.xdp_mode === mode && s.unattributed!.packets === 0 && s.evicted === 0));
      const expected = await countByTshark(`${folder}/c.pcap`, PORTS);
      assert.equal(expected.size, 2 * PORTS.length);
      for (const [key, counters] of expected) assert.equal(counters.syn, 100, key);
      const { stdout: tagged } = await run("tshark", [
        "-n",
        "-r",
        `${folder}/c.pcap`,
        "-Y",
        "vlan.id==7 && tcp.flags==2",
      ]);
      assert.equal(tagged.trim().split("\n").length, 200, "SYNs with a tag in the frame");
      assert.deepEqual(listCounts(sumBuckets(snapshots)), listCounts(expected));
      await Deno.remove(folder, { recursive: true });
    },
  );

  testWith(
    "kernel",
    `collect in ${mode} mode counts 300,000 mixed frames at 200,000 a second and more, as tshark does`,
    async () => {
      await using lab = await Lab.create();
      const folder = await Deno.makeTempDir();
      const pcap = `${folder}/mixed.pcap`;
      await writePcap(pcap, mixedFrames(100_000, PORTS));
      await run("ip", ["-n", lab.client, "link", "set", "client", "txqueuelen", "20000"]);
      const ibsr = await lab.collect(`${folder}/spool`, [
        ...["-p", "80,443", "--xdp-mode", mode, "--snapshot-interval-sec", "0.2"],
      ]);
      const sent = await lab.exec(lab.client, "tcpreplay", [
        "-i",
        "client",
        "--topspeed",
        "--preload-pcap",
        "--loop",
        "3",
        pcap,
      ]);
      await pause(500);
      assert.equal((await ibsr.end("SIGTERM")).code, 0);

      const rate = Number(/([\d.]+) pps/.exec(sent.stdout)?.[1]);
      assert.match(sent.stdout, /Successful packets:\s+300000/);
      assert.ok(rate >= 200_000, `${rate} packets/s`);
      const snapshots = await readSpool(`${folder}/spool`);
      const expected = await countByTshark(pcap, PORTS);
      for (const counters of expected.values()) {
        for (const name of Object.keys(counters) as (keyof typeof counters)[]) counters[name] *= 3;
      }
      assert.deepEqual(listCounts(sumBuckets(snapshots)), listCounts(expected));
      assert.ok(snapshots.every((s) => s.unattributed!.packets === 0 && s.evicted === 0));
      console.log(`${expected.size} sources and ports, ${Math.round(rate)} packets/s`);
      await Deno.remove(folder, { recursive: true });
    },
  );
}

testWith("kernel", "collect that is killed leaves no program behind, and a TCP stream through it goes on", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  await lab.serve([80]);
  const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "0.1"]);
  assert.ok(await hasXdp(lab.server, "server"));
  await lab.keepTalking(80, async () => {
    await pause(1000);
    await ibsr.end("SIGKILL");
    assert.ok(!await hasXdp(lab.server, "server"), "the program is gone when the process is");
    await pause(1000);
  });
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "kernel",
  "collect keeps 100 real clients exact beside 1,000,000 spoofed sources in maps of 100,000",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const clients = Array.from({ length: 100 }, (_, i) => `10.77.1.${i + 1}`);
    const batch = clients.map((c) => `address add ${c}/16 dev client`).join("\n");
    await Deno.writeTextFile(`${folder}/batch`, batch);
    await run("ip", ["-n", lab.client, "-batch", `${folder}/batch`]);
    await lab.exec(lab.server, "sysctl", ["-qw", "net.ipv4.tcp_syncookies=2", "net.ipv4.tcp_max_syn_backlog=65536"]);
    // Answers to spoofed sources have nowhere to go; without this they would be asked for by ARP, a million times.
    await run("ip", ["-n", lab.server, "route", "add", "blackhole", "198.0.0.0/8"]);
    await writePcap(`${folder}/flood.pcap`, spoofedSyns(1_000_000, 80));
    await lab.serve([80]);
    const capture = await lab.capture(`${folder}/clients.pcap`, "src net 10.77.1.0/24 and tcp");
    const ibsr = await lab.collect(`${folder}/spool`, [
      ...["-p", "80", "--map-size", "100000", "--snapshot-interval-sec", "5", "--status-interval-sec", "1"],
    ]);
    const rssBefore = await readRss(ibsr.process.pid);
    const flood = lab.start(lab.client, "tcpreplay", [
      "-i",
      "client",
      "--pps",
      "150000",
      "--preload-pcap",
      `${folder}/flood.pcap`,
    ]);
    await lab.connectAll(clients, [`${SERVER.v4}/80`], 5);
    const sent = await flood.end();
    assert.match(sent.stdout, /Successful packets:\s+1000000/);
    await pause(500);
    // The least of some: what a snapshot leaves behind is garbage until it is collected.
    let rssAfter = Infinity;
    for (let look = 0; look < 4; look++) {
      rssAfter = Math.min(rssAfter, await readRss(ibsr.process.pid));
      await pause(700);
    }
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    await capture.end("SIGINT");

    const snapshots = await readSpool(`${folder}/spool`);
    const expected = await countByTshark(`${folder}/clients.pcap`, [80]);
    const counted = sumBuckets(snapshots);
    const real = new Map([...counted].filter(([key]) => key.startsWith("10.77.1.")));
    assert.equal(expected.size, 100);
    assert.deepEqual(listCounts(real), listCounts(expected));

    const realPackets = [...expected.values()].reduce((sum, c) => sum + c.packets, 0);
    const total = sumTotals(snapshots).get("80")!;
    assert.equal(total.packets, 1_000_000 + realPackets, "totals are exact");
    const unattributed = snapshots.reduce((sum, s) => sum + s.unattributed!.packets, 0);
    const evicted = snapshots.reduce((sum, s) => sum + s.evicted!, 0);
    const attributed = [...counted.values()].reduce((sum, c) => sum + c.packets, 0);
    assert.equal(attributed + unattributed, total.packets, "what is not in the buckets is in unattributed");
    assert.ok(unattributed > 100_000 && evicted >= unattributed, `unattributed ${unattributed}, evicted ${evicted}`);
    console.log(`unattributed ${unattributed}, evicted ${evicted}, RSS ${rssBefore} → ${rssAfter} MB`);
    assert.ok(rssAfter - rssBefore < 60, "memory is bounded by the maps, not by the flood");
    await Deno.remove(folder, { recursive: true });
  },
);

/** Resident memory in MB. `pid` is that of `ip netns exec`, which has become the command. */
async function readRss(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024);
}
