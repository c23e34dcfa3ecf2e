/**
 * Reading evidence, measured: the report's part of `deno task bench`, or alone.
 *
 *     deno run --allow-all scripts/bench_report.ts [SNAPSHOTSxSOURCES …]
 *
 * Writes snapshots of version 8 as the collector does, then reads them in a process of its own for each round: the
 * whole of readEvidence() and one pass over what it gives. In the same rounds, in turn: JSON.parse() of the same
 * lines and nothing else, and `wc -l`. Times are the shares of the slowest thread, on an otherwise idle machine.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import { type Counters, type Delta, noCounters, type Rows, writeCounters } from "../src/counters.ts";
import { readEvidence } from "../src/evidence/read.ts";
import { listInputs } from "../src/input.ts";
import { COUNTERS, KEY4 } from "../src/layout.ts";
import { readKernelFile } from "../src/libc.ts";
import { encodeSnapshot, readLines } from "../src/snapshot.ts";
import { writeAll } from "../src/segment.ts";
import { evaluate, formatTable, type Row, type Section } from "./bench/rows.ts";

const ROUNDS = 5;
/** From the year 2026 on. */
const START_MS = Date.UTC(2026, 0, 1), LENGTH_MS = 10_000;
const NOT_COUNTED = { not_tcp: 0, other_port: 0, malformed: 0, later_fragment: 0, unknown_encapsulation: 0 };

/** A source in twenty is a flood, the others are clients. */
function countersOf(i: number, n: number): Counters {
  const seed = Math.imul(i + 1, 2654435761) + Math.imul(n + 1, 40503) >>> 16;
  if (i % 20 === 0) {
    return { ...noCounters(), syn: 3000 + seed % 500, packets: 3000 + seed % 500, bytes: 180_000 + seed };
  }
  const syn = seed % 4, data = syn * 9;
  const packets = syn * 2 + data;
  return { ...noCounters(), syn, ack: syn + data, handshake_ack: syn, packets, bytes: packets * 300, data };
}

/** Hourly segments in `folder`; returns their size in bytes. */
function writeSnapshots(folder: string, { snapshots, sources }: { snapshots: number; sources: number }): number {
  const keys = new Uint8Array(sources * KEY4.sizeof), values = new Uint8Array(sources * COUNTERS.sizeof);
  const view = new DataView(keys.buffer), words = new Uint32Array(values.buffer);
  for (let i = 0; i < sources; i++) {
    view.setUint32(i * KEY4.sizeof, 0x0a000000 + i * 3);
    view.setUint16(i * KEY4.sizeof + 4, i % 2 ? 443 : 80);
  }
  const order = Uint32Array.from({ length: sources }, (_, i) => i);
  const none: Rows = {
    keySize: 20,
    count: 0,
    keys: new Uint8Array(0),
    values: new Uint8Array(0),
    order: new Uint32Array(0),
  };
  const stream = { runId: START_MS, hostname: "bench", iface: "eth0", mode: "native" as const, mapSize: sources };
  let bytes = 0;
  for (let seq = 0; seq < snapshots; seq++) {
    for (let i = 0; i < sources; i++) writeCounters(words, i * COUNTERS.sizeof / 4, countersOf(i, seq));
    const endMs = START_MS + (seq + 1) * LENGTH_MS,
      hour = new Date(endMs).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
    const delta: Delta = {
      takenAt: { monotonicMs: 0, wallMs: endMs },
      ports: [80, 443],
      v4: { keySize: KEY4.sizeof, count: sources, keys, values, order },
      v6: none,
      totals: [],
      ...{ unattributed: noCounters(), evicted: 0, notCounted: NOT_COUNTED },
      entries: { known4: sources, known6: 0, syn4: 0, syn6: 0 },
    };
    using file = Deno.openSync(`${folder}/snapshot_${hour}.jsonl`, { append: true, create: true });
    for (const chunk of encodeSnapshot(stream, { seq, endMs, lengthMs: LENGTH_MS }, delta)) {
      writeAll(file, chunk);
      bytes += chunk.length;
    }
  }
  return bytes;
}

/** What a round of reading took. */
interface Round {
  readMs: number;
  passMs: number;
  peakMB: number;
  cells: number;
}

async function readRound(folder: string): Promise<Round> {
  const start = performance.now();
  using evidence = await readEvidence(listInputs([folder]), { temporaryDirectory: folder });
  const read = performance.now();
  let cells = 0;
  for (const stream of evidence.streams) {
    for (const interval of stream.intervals({ reuse: true })) cells += interval.cells.count;
  }
  const end = performance.now();
  const peakMB = Number(/VmHWM:\s+(\d+)/.exec(readKernelFile("/proc/self/status")!)![1]) / 1024;
  return { readMs: read - start, passMs: end - read, peakMB, cells };
}

/** JSON.parse() of all lines. */
async function parseRound(folder: string): Promise<Round> {
  const start = performance.now(), decoder = new TextDecoder();
  let cells = 0;
  for (const input of listInputs([folder])) {
    for await (const { text } of readLines(input.read())) cells += JSON.parse(decoder.decode(text)).buckets.length;
  }
  return { readMs: performance.now() - start, passMs: 0, peakMB: 0, cells };
}

async function childRound(kind: "read" | "parse", folder: string): Promise<Round> {
  const args = ["run", "--quiet", "--allow-all", import.meta.filename!, kind, folder];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

async function countLines(folder: string): Promise<number> {
  const start = performance.now();
  for (const { path } of listInputs([folder])) {
    const { success } = await new Deno.Command("wc", { args: ["-l", path], stdout: "null" }).output();
    if (!success) throw new Error(`wc -l ${path} failed`);
  }
  return performance.now() - start;
}

/** The report's section. */
export const REPORT: Section = {
  name: "report",
  title: "Evidence, from segments to intervals",
  about: "The whole of readEvidence() on snapshots of version 8 as the collector writes them, plain and compressed; " +
    "compared to JSON.parse() of the same lines and nothing else, and to `wc -l`.",
  run: () => measureReport(["60x1000", "60x10000", "60x100000", "1440x10000"]),
};

async function measureReport(sizes: readonly string[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of sizes) {
    const [snapshots, sources] = size.split("x").map(Number) as [number, number];
    const plain = await Deno.makeTempDir({ prefix: "ibsr-bench-" }),
      zstd = await Deno.makeTempDir({ prefix: "ibsr-bench-" });
    try {
      const bytes = writeSnapshots(plain, { snapshots, sources });
      for (const { path } of listInputs([plain])) {
        const target = `${zstd}/${path.slice(path.lastIndexOf("/") + 1)}.zst`;
        await pipeline(createReadStream(path), createZstdCompress(), createWriteStream(target));
      }
      const rounds: { plain: Round; zstd: Round; parse: Round; wcMs: number }[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        rounds.push({
          plain: await childRound("read", plain),
          zstd: await childRound("read", zstd),
          parse: await childRound("parse", plain),
          wcMs: await countLines(plain),
        });
      }
      for (const stored of ["plain", "zstd"] as const) {
        const what = `${snapshots} × ${sources}, ${stored}, ${(bytes / 1e6).toFixed(0)} MB of lines`;
        const ours = rounds.map((round) => round[stored].readMs);
        rows.push(
          { what, unit: "ms", ours, comparedTo: { what: "JSON.parse", theirs: rounds.map((r) => r.parse.readMs) } },
          { what, unit: "ms", ours, comparedTo: { what: "wc -l", theirs: rounds.map((r) => r.wcMs) } },
          { what: `${what}, a pass`, unit: "ms", ours: rounds.map((r) => r[stored].passMs) },
          { what: `${what}, peak RSS`, unit: "MB", ours: rounds.map((r) => r[stored].peakMB) },
        );
      }
    } finally {
      await Deno.remove(plain, { recursive: true });
      await Deno.remove(zstd, { recursive: true });
    }
  }
  return rows;
}

if (import.meta.main) {
  const [part, folder] = Deno.args;
  if (part === "read") console.log(JSON.stringify(await readRound(folder!)));
  else if (part === "parse") console.log(JSON.stringify(await parseRound(folder!)));
  else console.log(formatTable((await measureReport(Deno.args)).map(evaluate)));
}
