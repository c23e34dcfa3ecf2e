/**
 * Replays a directory of public captures through an engine and compares it with what tshark counted.
 *
 * A capture `NAME.pcap` has `NAME.truth.csv`: one row a source address and destination port, of the whole capture.
 * `corners.csv` lists frames that a reasonable parser may count or not; there either is accepted. The captures are
 * other people's data and no part of this repository. What an engine is and how it counts is not known here, so the
 * model and the kernel program are compared by the same lines.
 */
import { parseAddress } from "../src/address.ts";
import { createModel, type Drained, type Engine, modelFrame, type SourceCounters } from "../src/model.ts";
import { type CaptureSummary, readFrames } from "../src/pcap.ts";

/** Where the captures are: `IBSR_PCAPS`; undefined where that names no directory. */
export function captureDirectory(): string | undefined {
  const directory = Deno.env.get("IBSR_PCAPS");
  if (!directory) return undefined;
  try {
    return Deno.statSync(directory).isDirectory ? directory : undefined;
  } catch {
    return undefined;
  }
}

/** The names of the captures in a directory that have a truth, sorted. */
export function listCaptures(directory: string): string[] {
  const files = new Set(Array.from(Deno.readDirSync(directory), (entry) => entry.name));
  const names = [...files].filter((f) => f.endsWith(".truth.csv")).map((f) => f.slice(0, -".truth.csv".length));
  return names.filter((name) => files.has(`${name}.pcap`)).sort();
}

/** Link type in the header of a classic capture. */
export async function linkTypeOf(path: string): Promise<number> {
  using file = await Deno.open(path);
  const header = new Uint8Array(24);
  await file.read(header);
  const little = header[0] === 0xd4 || header[0] === 0x4d;
  return new DataView(header.buffer).getUint32(20, little) & 0xffff;
}

/** An engine whose counters are read from the kernel. */
export type KernelEngine = Pick<Engine, "count"> & { drain(): Promise<Drained> };

/** What a comparison found. */
export interface Comparison {
  summary: CaptureSummary;
  rows: number;
  /** TCP packets in the truth. */
  packets: number;
  /** A sentence for each difference; none if the engine counted the truth. */
  differences: string[];
}

/** The counters that truth files have. */
export const TRUE_COUNTERS = ["packets", "bytes", "syn", "ack", "handshake_ack", "rst", "fin"] as const;
/** A row of a truth file. */
export type Truth = Record<typeof TRUE_COUNTERS[number], number>;

/**
 * Replays one capture and compares every row, the totals of every port and the number of frames skipped.
 *
 * @param path A capture, `NAME.pcap`, with its truth next to it.
 * @param options.engineFor Makes an engine that monitors exactly these ports, with nothing counted.
 * @param options.lengths `captured` if the engine takes a frame's length from the bytes handed over, as a test run of
 * the kernel program does; the truth's `bytes`, which are of the wire, are then lessened by what each frame lacks.
 */
export async function compareCapture(
  path: string,
  options: { engineFor: (ports: number[]) => Engine | KernelEngine; lengths?: "wire" | "captured" },
): Promise<Comparison> {
  const truth = await readTruth(path);
  const corners = await readCorners(path);
  const ports = new Set([...truth.keys(), ...corners.keys()].map((key) => Number(key.split(" ")[1])));
  const engine = options.engineFor([...ports].sort((a, b) => a - b));

  using file = await Deno.open(path);
  const { frames, summary } = readFrames(file.readable, { name: path.replace(/.*\//, "") });
  for await (const batch of frames) {
    for (const { bytes, length } of batch) {
      engine.count(bytes, length);
      if (options.lengths !== "captured" || bytes.length === length) continue;
      const seen = modelFrame(bytes, length), row = typeof seen === "string" ? undefined : truth.get(keyOf(seen));
      if (row) row.bytes -= length - bytes.length;
    }
  }
  const packets = [...truth.values()].reduce((sum, row) => sum + row.packets, 0);
  return {
    summary,
    rows: truth.size,
    packets,
    differences: compare(await engine.drain(), { truth, corners, summary }),
  };
}

function compare(
  drained: Drained,
  against: { truth: Map<string, Truth>; corners: Map<string, number>; summary: CaptureSummary },
): string[] {
  const { truth, corners, summary } = against, differences: string[] = [];
  const none = Object.fromEntries(TRUE_COUNTERS.map((name) => [name, 0])) as Truth;
  const counted = new Map(drained.sources.map((s) => [keyOf(s), s]));
  if (counted.size !== drained.sources.length) differences.push("a source is drained twice");

  for (const key of new Set([...truth.keys(), ...counted.keys()])) {
    const want = truth.get(key) ?? none, have = counted.get(key)?.counters ?? none, corner = corners.get(key);
    const more = TRUE_COUNTERS.map((name) => have[name] - want[name]);
    if (more.every((n) => n === 0)) continue;
    const [packets, bytes, ...flags] = more;
    if (packets === 1 && bytes === corner && flags.every((n) => n === 0 || n === 1)) continue;
    differences.push(
      `${key}: ${TRUE_COUNTERS.map((n) => `${n} ${have[n]}${have[n] === want[n] ? "" : `, not ${want[n]}`}`)}`,
    );
  }

  const sums = createSums(drained.sources);
  for (const port of new Set([...sums.keys(), ...drained.totals.map((t) => t.port)])) {
    const total = drained.totals.find((t) => t.port === port)?.counters;
    for (const name of TRUE_COUNTERS) {
      const sum = sums.get(port)?.[name] ?? 0;
      if (total?.[name] !== sum) differences.push(`total of port ${port}: ${name} ${total?.[name]}, not ${sum}`);
    }
  }

  const { other_port, ...skipped } = drained.not_counted;
  if (other_port > 0) differences.push(`${other_port} frames counted to ports of which there is no packet`);
  const all = Object.values(skipped).reduce((a, b) => a + b, other_port) +
    drained.sources.reduce((a, s) => a + s.counters.packets, 0);
  if (all !== summary.frames) differences.push(`${all} frames counted or skipped, of ${summary.frames}`);
  return differences;
}

function createSums(sources: SourceCounters[]): Map<number, Truth> {
  const sums = new Map<number, Truth>();
  for (const { port, counters } of sources) {
    const sum = sums.get(port);
    if (!sum) sums.set(port, { ...counters });
    else for (const name of TRUE_COUNTERS) sum[name] += counters[name];
  }
  return sums;
}

/** `ADDRESS PORT`, the address as hexadecimal digits: one spelling, whoever wrote it. */
export function keyOf(of: { source: Uint8Array; port: number }): string {
  return `${of.source.toHex()} ${of.port}`;
}

/** The rows of a capture's truth by `keyOf()`. */
export async function readTruth(path: string): Promise<Map<string, Truth>> {
  const rows = readCsv(await Deno.readTextFile(path.replace(/\.pcap$/, ".truth.csv"))).map((row) => {
    const counters = Object.fromEntries(TRUE_COUNTERS.map((name) => [name, Number(row[name])])) as Truth;
    return [keyOf({ source: parseAddress(row.src_ip!)!, port: Number(row.dst_port) }), counters] as const;
  });
  return new Map(rows);
}

/** The frame length of each row's corner. */
async function readCorners(path: string): Promise<Map<string, number>> {
  const [directory, file] = [path.replace(/[^/]*$/, ""), path.replace(/.*\//, "")];
  const rows = readCsv(await Deno.readTextFile(`${directory}corners.csv`)).filter((row) => row.file === file);
  const corners = rows.map((row) =>
    [keyOf({ source: parseAddress(row.src_ip!)!, port: Number(row.dst_port) }), Number(row.frame_len)] as const
  );
  if (new Map(corners).size !== corners.length) throw new Error(`${file}: two corner frames in one row`);
  return new Map(corners);
}

/** Rows by column name; the last column may hold commas. */
function readCsv(csv: string): Record<string, string>[] {
  const [head, ...lines] = csv.trimEnd().split("\n").map((line) => line.split(","));
  return lines.map((line) => Object.fromEntries(head!.map((name, i) => [name, line[i] ?? ""])));
}

/** An engine that counts by the model, for `engineFor`. */
export const modelEngine = (ports: number[]): Engine => createModel(ports);
