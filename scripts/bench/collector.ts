/** What the collector takes of the host: to start, at rest, and under load. */
import { readKernelFile } from "../../src/libc.ts";
import { churningFrames, writePcap } from "../../tests/kernel/frames.ts";
import { ibsrCommand, Lab, pause } from "../../tests/kernel/lab.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { frameOf } from "./frames.ts";
import type { Row, Section } from "./rows.ts";
import { runCommand } from "../run.ts";
import { compilePrograms, loadFlood, openLoaded, time } from "./test_run.ts";

const STARTS = 9, WINDOWS = 3, WINDOW_MS = 5000, SETTLE_MS = 2000;
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
    "xdp object` with the same object. Then with a snapshot each second, at rest and with " +
    `${PER_SECOND.toLocaleString("en-US")} packets a second of ${
      SOURCES.toLocaleString("en-US")
    } sources through a veth ` +
    "pair: processor time of the process (of one CPU; the program's own is in the section on packets) and resident " +
    "memory, beside tcpdump with a buffer of 256 MB, which writes what it reads into nothing. At last the peak of its " +
    "memory with so many sources in an interval that its maps are full.",
  missing: () => whatIsMissing("kernel"),
  run: measureCollector,
};

async function measureCollector(): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" });
  await using lab = await Lab.create();
  try {
    const rows = [...await measureStart(lab, folder), ...await measureLoad(lab, folder)];
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

async function watch(pid: number): Promise<Use[]> {
  const uses: Use[] = [];
  const ticks = () => {
    const fields = readKernelFile(`/proc/${pid}/stat`)!.replace(/^.*\) /s, "").split(" ");
    return Number(fields[11]) + Number(fields[12]); // user and system, in hundredths of a second
  };
  for (let n = 0; n < WINDOWS; n++) {
    const before = ticks(), start = performance.now();
    await pause(WINDOW_MS);
    const cpuPercent = (ticks() - before) * 10 / (performance.now() - start) * 100;
    const rssMb = Number(/VmRSS:\s+(\d+)/.exec(readKernelFile(`/proc/${pid}/status`)!)![1]) / 1024;
    uses.push({ cpuPercent, rssMb });
  }
  return uses;
}

async function measureLoad(lab: Lab, folder: string): Promise<Row[]> {
  // Answers have nowhere to go; without this they would be asked for by ARP.
  await runCommand("ip", ["-n", lab.server, "route", "add", "blackhole", "198.0.0.0/8"]);
  await writePcap(`${folder}/load.pcap`, churningFrames(SOURCES, PORT));
  /** Watches the process that `start` starts, at rest and under load. */
  const measure = async (
    start: () => Promise<{ process: Deno.ChildProcess; end(signal: Deno.Signal): Promise<unknown> }>,
  ) => {
    const running = await start(), pid = running.process.pid;
    await pause(SETTLE_MS);
    const idle = await watch(pid);
    const traffic = lab.start(lab.client, "tcpreplay", [
      ...["-q", "-i", "client", "--pps", String(PER_SECOND), "--loop", "0", "--preload-pcap", `${folder}/load.pcap`],
    ]);
    await pause(SETTLE_MS);
    const before = await received(lab), at = performance.now(), busy = await watch(pid);
    const perSecond = (await received(lab) - before) / (performance.now() - at) * 1000;
    await traffic.end("SIGINT");
    await running.end("SIGINT");
    return { idle, busy, perSecond };
  };
  const args = ["-p", String(PORT), "--snapshot-interval-sec", "1"];
  const ours = await measure(() => lab.collect(`${folder}/spool`, args));
  const theirs = await measure(() => lab.capture("/dev/null", `tcp dst port ${PORT}`));
  const row = (what: string, unit: string, of: (side: typeof ours) => number[], goal?: Row["goal"]): Row => ({
    ...{ what, unit, ours: of(ours), comparedTo: { what: "tcpdump", theirs: of(theirs) }, ...goal && { goal } },
  });
  return [
    row("at rest: processor", "%", ({ idle }) => idle.map((use) => use.cpuPercent)),
    row("at rest: memory", "MB", ({ idle }) => idle.map((use) => use.rssMb)),
    row("under load: packets received", "1/s", ({ perSecond }) => [perSecond]),
    row("under load: processor", "%", ({ busy }) => busy.map((use) => use.cpuPercent)),
    row("under load: memory", "MB", ({ busy }) => busy.map((use) => use.rssMb)),
  ];
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
