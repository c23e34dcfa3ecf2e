/**
 * SIGHUP: the config file is read again, what can change live does, and nothing counted is lost.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { readSpool, sumTotals } from "./counts.ts";
import { CLIENT, hasXdp, Lab, pause, type Running, SERVER } from "./lab.ts";

/** A collector with a config file, and how to give it another. */
async function startConfigured(lab: Lab, folder: string, config: Record<string, unknown>) {
  const path = `${folder}/ibsr.jsonc`;
  const write = (settings: Record<string, unknown> | string) =>
    Deno.writeTextFile(path, typeof settings === "string" ? settings : JSON.stringify({ collect: settings }));
  await write(config);
  const ibsr: Running = lab.ibsr(["collect", "--config", path, "-v"]);
  await ibsr.waitFor("attached to server");
  let reloads = 0;
  return {
    ibsr,
    /** Writes the file, sends SIGHUP, and waits for what the log says. */
    async reload(settings: Record<string, unknown> | string): Promise<string> {
      await write(settings);
      const before = ibsr.log().length;
      ibsr.process.kill("SIGHUP");
      reloads++;
      for (const until = performance.now() + 5000; performance.now() < until; await pause(20)) {
        if ((ibsr.log().match(/reloaded/g)?.length ?? 0) >= reloads) break;
      }
      await pause(50);
      return ibsr.log().slice(before);
    },
  };
}

testWith(
  "kernel",
  "SIGHUP changes ports and intervals while connections are counted, and loses none of them",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir(), spool = `${folder}/spool`;
    await lab.serve([80, 81]);
    const base = { iface: "server", "out-dir": spool };
    const { ibsr, reload } = await startConfigured(lab, folder, {
      ...base,
      "dst-port": 80,
      "snapshot-interval-sec": 3600,
      "status-interval-sec": 3600,
    });
    const connect = (port: number, count: number) => lab.connectAll([CLIENT.v4], [`${SERVER.v4}/${port}`], count);
    await connect(80, 10);
    await connect(81, 3); // not counted yet
    await pause(1500); // longer than an interval will be
    const log = await reload({
      ...base,
      "dst-port": [80, 81],
      "snapshot-interval-sec": 0.2,
      "status-interval-sec": 0.5,
    });
    assert.match(log, /reloaded: dst-port, snapshot-interval-sec, status-interval-sec changed/);
    assert.doesNotMatch(log, /an interval of server is/, "it was as long as it was to be");
    await connect(80, 10);
    await connect(81, 10);
    await pause(1200);
    const unchanged = await reload({
      ...base,
      "dst-port": [80, 81],
      "snapshot-interval-sec": 0.2,
      "status-interval-sec": 0.5,
    });
    assert.match(unchanged, /reloaded: nothing changed/);
    assert.ok(await hasXdp(lab.server, "server"));
    assert.equal((await ibsr.end("SIGTERM")).code, 0);

    const snapshots = await readSpool(spool);
    assert.deepEqual(snapshots[0]!.dst_ports, [80], "what was counted before is written with the ports of before");
    assert.deepEqual(snapshots[1]!.dst_ports, [80, 81]);
    assert.equal(sumTotals([snapshots[0]!]).get("80")!.syn, 10);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 20);
    assert.equal(sumTotals(snapshots).get("81")!.syn, 10);
    assert.ok(snapshots.length >= 6, `${snapshots.length} snapshots at 0.2 s`);
    assert.ok(snapshots.every(({ seq, run_id }, i) => seq === i && run_id === snapshots[0]!.run_id), "one run");
    const beats = (await Deno.readTextFile(`${spool}/status.jsonl`)).trim().split("\n").map((line) => JSON.parse(line));
    assert.ok(beats.length >= 4, `${beats.length} heartbeats at 0.5 s`);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "SIGHUP changes retention, names what needs a restart, and keeps that as it was", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir(), spool = `${folder}/spool`;
  const base = { iface: "server", "out-dir": spool, "dst-port": 80, "snapshot-interval-sec": 0.2 };
  await Deno.mkdir(spool);
  for (let hour = 10; hour < 20; hour++) await Deno.writeTextFile(`${spool}/snapshot_20200101${hour}.jsonl`, "");
  const { ibsr, reload } = await startConfigured(lab, folder, base);
  await pause(500);
  const segments = () => [...Deno.readDirSync(spool)].filter(({ name }) => name.startsWith("snapshot_")).length;
  assert.equal(segments(), 11);
  const log = await reload({ ...base, "max-files": 3, "map-size": 5000, iface: "client", user: "daemon" });
  assert.match(log, /reloaded: max-files changed/);
  for (const name of ["iface", "map-size", "user"]) {
    assert.match(log, new RegExp(`warning: ${name} changed too, and needs a restart: it stays as it was`));
  }
  await pause(500);
  assert.equal(segments(), 3);
  const again = await reload({ ...base, "max-files": 3, "map-size": 5000 });
  assert.match(again, /warning: map-size changed too/);
  assert.ok(!again.includes("iface changed"), "it is what it was");
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  const snapshots = await readSpool(spool);
  assert.ok(snapshots.length > 0 && snapshots.every((s) => s.map!.max_entries === 100_000 && s.iface === "server"));
  await Deno.remove(folder, { recursive: true });
});

testWith("kernel", "SIGHUP with a config file that is wrong changes nothing and says where it is wrong", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir(), spool = `${folder}/spool`;
  const base = { iface: "server", "out-dir": spool, "dst-port": 80, "snapshot-interval-sec": 0.2 };
  const { ibsr, reload } = await startConfigured(lab, folder, base);
  const typo = await reload('{\n  "dst-prot": 443\n}');
  assert.match(
    typo,
    /error: nothing is reloaded: Cannot use the config file: .*:2:3: "dst-prot"[^\n]*\n.*"dst-port"\?/,
  );
  const none = await reload({ ...base, "dst-port": [] });
  assert.match(none, /error: nothing is reloaded: Cannot start: no port to count/);
  const many = await reload({ ...base, "dst-port": "1-20000" });
  assert.match(many, /error: nothing is reloaded: Cannot count 20000 ports: 257 fit without a restart/);
  await lab.serve([80]);
  await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 4);
  await pause(500);
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  const snapshots = await readSpool(spool);
  assert.ok(snapshots.every(({ dst_ports }) => dst_ports.join() === "80"));
  assert.equal(sumTotals(snapshots).get("80")!.syn, 4);
  await Deno.remove(folder, { recursive: true });
});
