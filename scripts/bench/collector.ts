/** What the collector takes of the host: to start, at rest, and under load. */
import { readKernelFile } from "../../src/libc.ts";
import { churningFrames, writePcap } from "../../tests/kernel/frames.ts";
import { ibsrCommand, Lab, pause, type Running } from "../../tests/kernel/lab.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { frameOf } from "./frames.ts";
import type { Row, Section } from "./rows.ts";
import { runCommand } from "../run.ts";
import { compilePrograms, loadFlood, openLoaded, time } from "./test_run.ts";

const STARTS = 9, WINDOWS = 3, WINDOW_MS = 5000, SETTLE_MS = 2000;
/** At rest there is little to see: it is watched for longer, and after what V8 compiles and collects at the start. */
const REST_WINDOW_MS = 10_000, REST_SETTLE_MS = 5000, MOST_AT_REST: Row["goal"] = { of: "median", atMost: 0.5 };
/** Segments of a month, in a spool that has been used for long. */
const SEGMENTS = 31 * 24;
/** Sources in an interval, and the most memory that the collector should take then. */
const PEAKS = [{ sources: 1_000_000, mostMb: 150 }, { sources: 4_000_000, mostMb: 250 }], PEAK_ROUNDS = 2;
const ACK = 0x10;
const PORT = 80, SOURCES = 10_000, PER_SECOND = 100_000;

export const COLLECTOR: Section = {
  name: "collector",
  title: "The collector",
  about:
    `${
      Deno.env.has("IBSR_PROGRAM") ? "The executable" : "The source by `deno run` (IBSR_PROGRAM names an executable)"
    }: ` +
    "from the process's start to the line of help, and to where it is attached and counts, beside `ip link set dev … " +
    "xdp object` with the same object. Then processor time of the process (of one CPU; the program's own is in the " +
    "section on packets) and resident memory, with a snapshot each second, ten times as many as by default. At rest: " +
    `${WINDOWS} windows of ${REST_WINDOW_MS / 1000} s, the first ${
      REST_SETTLE_MS / 1000
    } s after the start, in which ` +
    `nothing arrives; with an empty spool, with one of ${SEGMENTS} segments, and tcpdump, each on an interface of its ` +
    `own and all in the same windows. Under load: ${PER_SECOND.toLocaleString("en-US")} packets a second of ` +
    `${SOURCES.toLocaleString("en-US")} sources through a veth pair, one after the other. tcpdump has a buffer of ` +
    "256 MB and writes what it reads into nothing. At last the peak of the collector's memory with so many sources in " +
    "an interval that its maps are full.",
  missing: () => whatIsMissing("kernel"),
  run: measureCollector,
};

async function measureCollector(): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" });
  await using lab = await Lab.create();
  try {
    const rows = [...await measureStart(lab, folder), ...await measureUse(folder)];
    await compilePrograms(folder);
    for (const { sources, mostMb } of PEAKS) rows.push(await measurePeak(lab, folder, { sources, mostMb }));
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function elapsed(action: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

async function measureStart(lab: Lab, folder: string): Promise<Row[]> {
  const help: number[] = [], deno: number[] = [], attached: number[] = [], loaded: number[] = [];
  const object = new URL("../../bpf/ibsr_frags.o", import.meta.url).pathname;
  const [command, args] = ibsrCommand(["--help"]);
  const link = ["-n", lab.server, "link", "set", "dev", "server", "xdpdrv"];
  for (let n = 0; n < STARTS; n++) {
    help.push(await elapsed(() => runCommand(command, args)));
    deno.push(await elapsed(() => runCommand(Deno.execPath(), ["eval", "0"])));
    const start = performance.now();
    const collector = await lab.collect(`${folder}/start${n}`, ["-p", String(PORT)]);
    attached.push(performance.now() - start);
    await collector.end("SIGTERM");
    loaded.push(await elapsed(() => runCommand("ip", [...link, "object", object, "section", "xdp.frags"])));
    await runCommand("ip", [...link, "off"]);
  }
  return [
    { what: "start to help", unit: "ms", ours: help, comparedTo: { what: "deno eval 0", theirs: deno } },
    {
      ...{ what: "start to attached", unit: "ms", ours: attached },
      comparedTo: { what: "ip link set … xdp object", theirs: loaded },
    },
  ];
}

/** A look at a process over a while. */
interface Use {
  cpuPercent: number;
  rssMb: number;
}

/** Processor time of a process in milliseconds, to the nanosecond: a window at rest has but a few hundredths of a second. */
function cpuMs(pid: number): number {
  let ns = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    ns += Number(readKernelFile(`/proc/${pid}/task/${name}/schedstat`)?.split(" ")[0] ?? 0);
  }
  return ns / 1e6;
}

/** Watches processes in the same windows. */
async function watch(pids: readonly number[], windowMs: number): Promise<Use[][]> {
  const uses: Use[][] = pids.map(() => []);
  for (let n = 0; n < WINDOWS; n++) {
    const before = pids.map(cpuMs), start = performance.now();
    await pause(windowMs);
    const elapsedMs = performance.now() - start;
    for (const [i, pid] of pids.entries()) {
      const cpuPercent = (cpuMs(pid) - before[i]!) / elapsedMs * 100;
      const rssMb = Number(/VmRSS:\s+(\d+)/.exec(readKernelFile(`/proc/${pid}/status`)!)![1]) / 1024;
      uses[i]!.push({ cpuPercent, rssMb });
    }
  }
  return uses;
}

async function measureUse(folder: string): Promise<Row[]> {
  await writePcap(`${folder}/load.pcap`, churningFrames(SOURCES, PORT));
  const args = ["-p", String(PORT), "--snapshot-interval-sec", "1"];
  await using oursLab = await Lab.create();
  await using usedLab = await Lab.create();
  await using theirsLab = await Lab.create();
  await fillSpool(`${folder}/used`);
  const used = await usedLab.collect(`${folder}/used`, args);
  const ours = { lab: oursLab, running: await oursLab.collect(`${folder}/spool`, args) };
  const theirs = { lab: theirsLab, running: await theirsLab.capture("/dev/null", `tcp dst port ${PORT}`) };
  await pause(REST_SETTLE_MS);
  const atRest = await watch(
    [ours, { running: used }, theirs].map(({ running }) => running.process.pid),
    REST_WINDOW_MS,
  );
  const [oursIdle, usedIdle, theirsIdle] = atRest as [Use[], Use[], Use[]];
  await used.end("SIGINT");
  const oursBusy = await measureLoad(ours, folder), theirsBusy = await measureLoad(theirs, folder);

  const cpu = (uses: readonly Use[]) => uses.map((use) => use.cpuPercent),
    rss = (uses: readonly Use[]) => uses.map((use) => use.rssMb);
  const row = (what: string, unit: string, ours: number[], theirs: number[], goal?: Row["goal"]): Row => ({
    ...{ what, unit, ours, comparedTo: { what: "tcpdump", theirs }, ...goal && { goal } },
  });
  const inUse = `at rest, ${SEGMENTS} segments in the spool`;
  return [
    row("at rest: processor", "%", cpu(oursIdle), cpu(theirsIdle), MOST_AT_REST),
    row(`${inUse}: processor`, "%", cpu(usedIdle), cpu(theirsIdle), MOST_AT_REST),
    row("at rest: memory", "MB", rss(oursIdle), rss(theirsIdle)),
    row(`${inUse}: memory`, "MB", rss(usedIdle), rss(theirsIdle)),
    row("under load: packets received", "1/s", [oursBusy.perSecond], [theirsBusy.perSecond]),
    row("under load: processor", "%", cpu(oursBusy.uses), cpu(theirsBusy.uses)),
    row("under load: memory", "MB", rss(oursBusy.uses), rss(theirsBusy.uses)),
  ];
}

/** A spool with the sealed segments of the hours before this one. */
async function fillSpool(directory: string): Promise<void> {
  await Deno.mkdir(directory);
  for (let hour = 1; hour <= SEGMENTS; hour++) {
    const name = new Date(Date.now() - hour * 3_600_000).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
    await Deno.writeTextFile(`${directory}/snapshot_${name}.jsonl`, "{}\n");
  }
}

/** Watches a process under load, and ends it. */
async function measureLoad(
  { lab, running }: { lab: Lab; running: Running },
  folder: string,
): Promise<{ uses: Use[]; perSecond: number }> {
  // Answers have nowhere to go; without this they would be asked for by ARP.
  await runCommand("ip", ["-n", lab.server, "route", "add", "blackhole", "198.0.0.0/8"]);
  const traffic = lab.start(lab.client, "tcpreplay", [
    ...["-q", "-i", "client", "--pps", String(PER_SECOND), "--loop", "0", "--preload-pcap", `${folder}/load.pcap`],
  ]);
  await pause(SETTLE_MS);
  const before = await received(lab), at = performance.now();
  const [uses] = await watch([running.process.pid], WINDOW_MS);
  const perSecond = (await received(lab) - before) / (performance.now() - at) * 1000;
  await traffic.end("SIGINT");
  await running.end("SIGINT");
  return { uses: uses!, perSecond };
}

/** Memory of a collector in whose interval there are so many sources: a test run makes them. */
async function measurePeak(
  lab: Lab,
  folder: string,
  { sources, mostMb }: { sources: number; mostMb: number },
): Promise<Row> {
  const spool = `${folder}/peak`, peaks: number[] = [];
  for (let round = 0; round < PEAK_ROUNDS; round++) {
    // An interval in which there is time enough to fill the maps.
    const args = ["-p", String(PORT), "--map-size", String(sources), "--snapshot-interval-sec", "10"];
    const collector = await lab.collect(spool, args);
    const { stdout } = await lab.exec(lab.server, "ip", ["-details", "-json", "link", "show", "dev", "server"]);
    using flood = loadFlood(folder, openLoaded(JSON.parse(stdout)[0].xdp.prog.id));
    time(flood.fd, frameOf({ port: PORT, flags: ACK }), sources);
    while (Number(await runCommand("sh", ["-c", `cat ${spool}/*.jsonl 2>/dev/null | wc -c`])) < 90 * sources) {
      await pause(200);
    }
    peaks.push(Number(/VmHWM:\s+(\d+)/.exec(readKernelFile(`/proc/${collector.process.pid}/status`)!)![1]) / 1024);
    const { code, stderr } = await collector.end("SIGTERM");
    if (code !== 0) throw new Error(stderr);
    await Deno.remove(spool, { recursive: true });
  }
  const what = `${sources.toLocaleString("en-US")} sources in an interval: peak memory`;
  return { what, unit: "MB", ours: peaks, goal: { of: "most", atMost: mostMb } };
}

/** Packets that the server's interface has received. */
async function received(lab: Lab): Promise<number> {
  const { stdout } = await lab.exec(lab.server, "cat", ["/sys/class/net/server/statistics/rx_packets"]);
  return Number(stdout);
}
