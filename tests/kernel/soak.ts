/**
 * The collector over a long time, under traffic whose sources never stay the same: what it takes of the host, and
 * whether an interval or a packet is missing.
 *
 * Frames of `SOURCES` addresses are sent in turn, at a rate at which 20,000 of them are there each second and all are
 * others ten seconds later. Snapshots are read while the collector prunes them behind the reader, so that days fit
 * on a disk.
 */
import { listSegments } from "../../src/segment.ts";
import { readSnapshots } from "../../src/snapshot.ts";
import { openInput } from "../../src/input.ts";
import { churningFrames, writePcap } from "./frames.ts";
import { Lab, pause, run } from "./lab.ts";

/** Distinct sources, and how many of them send in a second: one frame each. */
const SOURCES = 200_000, PER_SECOND = 20_000;
const PORT = 80;

/** What to run. */
export interface SoakOptions {
  seconds: number;
  intervalMs: number;
  /** Between two looks at the process. */
  sampleMs: number;
  /** Told what was found so far, now and then. */
  tell?: (text: string) => void;
}

/** One look at the process. */
interface Sample {
  rssMb: number;
  anonymousMb: number;
  files: number;
}

/** What was found. */
export interface SoakReport {
  samples: Sample[];
  /** Medians of the first and the last quarter of the samples. */
  first: Sample;
  last: Sample;
  peakMb: number;
  /** How many files were open at least and at most. */
  files: [least: number, most: number];
  snapshots: number;
  /** Places where a sequence number or a time between two intervals is missing, in words. */
  missing: string[];
  /** Sum of the intervals, and seconds from attaching to the end by the clock of this process. */
  coveredSec: number;
  ranSec: number;
  /** Intervals half as long again as asked for, and the longest. */
  late: number;
  longestSec: number;
  /** What tcpreplay says that it sent, what the totals count, and what has no source. */
  sent: number;
  counted: number;
  unattributed: number;
  /** Rows in the median snapshot. */
  rows: number;
  /** What the collector logged as a warning or an error. */
  complaints: string[];
}

/** Runs a collector under load for a while. Needs what tests on the kernel need. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir({ prefix: "ibsr-soak-" }), spool = `${folder}/spool`;
  try {
    // Answers have nowhere to go; without this they would be asked for by ARP.
    await run("ip", ["-n", lab.server, "route", "add", "blackhole", "198.0.0.0/8"]);
    await writePcap(`${folder}/churn.pcap`, churningFrames(SOURCES, PORT));
    const ibsr = await lab.collect(spool, [
      ...["-p", String(PORT), "--snapshot-interval-sec", String(options.intervalMs / 1000)],
      ...["--status-interval-sec", "1", "--rotate", "8M", "--max-bytes", "400M"],
    ]);
    const attachedAt = performance.now();
    // It ends by itself: told to, it miscounts by one what it has sent.
    const packets = PER_SECOND * Math.max(1, options.seconds - 1);
    const traffic = lab.start(lab.client, "tcpreplay", [
      ...["-q", "-i", "client", "--pps", String(PER_SECOND), "--loop", "0", "--limit", String(packets)],
      ...["--preload-pcap", `${folder}/churn.pcap`],
    ]);
    const reader = new Reader(spool);
    const samples: Sample[] = [];
    const end = attachedAt + options.seconds * 1000;
    for (let toldAt = attachedAt; performance.now() < end;) {
      await pause(Math.min(options.sampleMs, end - performance.now()));
      samples.push(await look(ibsr.process.pid));
      await reader.readSealed();
      if (options.tell && performance.now() - toldAt > 60_000) {
        toldAt = performance.now();
        options.tell(
          `${Math.round((toldAt - attachedAt) / 1000)} s: ${samples.at(-1)!.rssMb.toFixed(1)} MB, ` +
            `${samples.at(-1)!.files} files, ${reader.seen.snapshots} snapshots, ${reader.seen.missing.length} missing`,
        );
      }
    }
    const sent = Number(/Successful packets:\s+(\d+)/.exec((await traffic.end()).stdout)?.[1]);
    await pause(2 * options.intervalMs);
    const { stderr } = await ibsr.end("SIGTERM");
    const ranSec = (performance.now() - attachedAt) / 1000;
    await reader.readSealed();
    const { seen } = reader;
    const quarter = Math.ceil(samples.length / 4);
    return {
      samples,
      first: medianSample(samples.slice(0, quarter)),
      last: medianSample(samples.slice(-quarter)),
      peakMb: Math.max(...samples.map((s) => s.rssMb)),
      files: [Math.min(...samples.map((s) => s.files)), Math.max(...samples.map((s) => s.files))],
      snapshots: seen.snapshots,
      missing: seen.missing,
      counted: seen.counted,
      unattributed: seen.unattributed,
      rows: median(seen.rows),
      late: seen.intervals.filter((sec) => sec > 1.5 * options.intervalMs / 1000).length,
      longestSec: Math.max(...seen.intervals),
      coveredSec: seen.intervals.reduce((sum, sec) => sum + sec, 0),
      ranSec,
      sent,
      // What is late is counted already.
      complaints: stderr.split("\n").filter((line) => /^ibsr: (warning|error)(?!.* s long: )/.test(line)),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Reads segments as they are sealed, each once. */
class Reader {
  readonly #done = new Set<string>();
  #lastEnd: number | undefined;
  readonly seen = {
    snapshots: 0,
    missing: [] as string[],
    intervals: [] as number[],
    rows: [] as number[],
    counted: 0,
    unattributed: 0,
  };

  constructor(readonly spool: string) {}

  async readSealed(): Promise<void> {
    for (const { name, path, state } of listSegments(this.spool)) {
      if (state !== "sealed" || this.#done.has(name)) continue;
      this.#done.add(name);
      for await (const line of readSnapshots(openInput(path).read(), path)) {
        if ("error" in line) throw line.error;
        const { seq, interval_sec, ts_unix_sec, totals, unattributed, buckets } = line.snapshot, { seen } = this;
        if (seq !== seen.snapshots) seen.missing.push(`number ${seen.snapshots} (${name} goes on with ${seq})`);
        const gap = ts_unix_sec - interval_sec! - (this.#lastEnd ?? ts_unix_sec - interval_sec!);
        if (Math.abs(gap) > 0.02) seen.missing.push(`${gap.toFixed(3)} s before number ${seq}`);
        this.#lastEnd = ts_unix_sec;
        seen.snapshots = seq! + 1;
        seen.intervals.push(interval_sec!);
        seen.rows.push(buckets.length);
        for (const total of totals!) seen.counted += total.packets;
        seen.unattributed += unattributed!.packets;
      }
    }
  }
}

/** `pid` is that of `ip netns exec`, which has become the command. */
async function look(pid: number): Promise<Sample> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / 1024;
  return {
    rssMb: field("VmRSS"),
    anonymousMb: field("RssAnon"),
    files: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function medianSample(samples: readonly Sample[]): Sample {
  return {
    rssMb: median(samples.map((s) => s.rssMb)),
    anonymousMb: median(samples.map((s) => s.anonymousMb)),
    files: median(samples.map((s) => s.files)),
  };
}
