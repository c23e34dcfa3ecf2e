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
  return {
    ibsr,
    /** Writes the file, sends SIGHUP, and waits until the log says `last` of it: all that the log has of it then. */
    async reload(settings: Record<string, unknown> | string, last: RegExp): Promise<string> {
      await write(settings);
      const before = ibsr.log().length, log = () => ibsr.log().slice(before);
      ibsr.process.kill("SIGHUP");
      await waitUntil(() => last.test(log()), () => `the log has no ${last}: ${log()}`);
      return log();
    },
  };
}

/** Waits as long as a busy machine may take, and fails then. */
async function waitUntil(holds: () => boolean | Promise<boolean>, describe: () => string): Promise<void> {
  for (const until = performance.now() + 60_000; !await holds(); await pause(50)) {
    if (performance.now() > until) assert.fail(describe());
  }
}

/** Whole lines of the spool's files whose names begin so. */
function countLines(spool: string, prefix: string): number {
  const names = [...Deno.readDirSync(spool)].map(({ name }) => name).filter((name) => name.startsWith(prefix));
  return names.reduce((sum, name) => sum + Deno.readTextFileSync(`${spool}/${name}`).split("\n").length - 1, 0);
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
    }, /reloaded: .*/);
    assert.match(log, /reloaded: dst-port, snapshot-interval-sec, status-interval-sec changed/);
    assert.doesNotMatch(log, /an interval of server is/, "it was as long as it was to be");
    await connect(80, 10);
    await connect(81, 10);
    const written = () => [countLines(spool, "snapshot_"), countLines(spool, "status.jsonl")] as const;
    await waitUntil(() => written()[0] >= 6 && written()[1] >= 4, () => `${written()} snapshots and heartbeats`);
    const unchanged = await reload({
      ...base,
      "dst-port": "81,80", // the same ports, said in another way
      "snapshot-interval-sec": 0.2,
      "status-interval-sec": 0.5,
    }, /reloaded: .*/);
    assert.match(unchanged, /reloaded: nothing changed/);
    assert.ok(await hasXdp(lab.server, "server"));
    assert.equal((await ibsr.end("SIGTERM")).code, 0);

    const snapshots = await readSpool(spool);
    assert.deepEqual(snapshots[0]!.dst_ports, [80], "what was counted before is written with the ports of before");
    assert.deepEqual(snapshots[1]!.dst_ports, [80, 81]);
    assert.equal(sumTotals([snapshots[0]!]).get("80")!.syn, 10);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 20);
    assert.equal(sumTotals(snapshots).get("81")!.syn, 10);
    assert.ok(snapshots.every(({ seq, run_id }, i) => seq === i && run_id === snapshots[0]!.run_id), "one run");
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
  const segments = () => [...Deno.readDirSync(spool)].filter(({ name }) => name.startsWith("snapshot_")).length;
  await waitUntil(() => segments() === 11, () => `${segments()} segments, not 10 and its own`);
  const wanted = { ...base, "max-files": 3, "map-size": 5000, iface: "client", user: "daemon" };
  const log = await reload(wanted, /user changed too.*/);
  assert.match(log, /reloaded: max-files changed/);
  for (const name of ["iface", "map-size", "user"]) {
    assert.match(log, new RegExp(`warning: ${name} changed too, and needs a restart: it stays as it was`));
  }
  await waitUntil(() => segments() === 3, () => `${segments()} segments, not 3`);
  const again = await reload({ ...base, "max-files": 3, "map-size": 5000 }, /map-size changed too.*/);
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
  const typo = await reload('{\n  "dst-prot": 443\n}', /did you mean.*/);
  assert.match(
    typo,
    /error: nothing is reloaded: Cannot use the config file: .*:2:3: "dst-prot"[^\n]*\n.*"dst-port"\?/,
  );
  const none = await reload({ ...base, "dst-port": [] }, /no port to count/);
  assert.match(none, /error: nothing is reloaded: Cannot start: no port to count/);
  const many = await reload({ ...base, "dst-port": "1-20000" }, /Cannot count.*/);
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
