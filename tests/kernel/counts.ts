/**
 * Independent counts to hold the program against: by tshark from a capture, and the sums of a spool's snapshots.
 */
import { Ajv2020 } from "ajv";
import schema from "../../src/snapshot.schema.json" with { type: "json" };
import { COUNTER_NAMES, type Counters } from "../../src/counters.ts";
import { listInputs } from "../../src/input.ts";
import { readSnapshots, type Snapshot } from "../../src/snapshot.ts";
import { run } from "./lab.ts";

/** Counters by `source port`. */
export type Counts = Map<string, Counters>;

const validate = new Ajv2020().compile(schema);

/** All snapshots of a spool, in order. A line that can't be read, or that the schema refuses, fails the test. */
export async function readSpool(directory: string): Promise<Snapshot[]> {
  const snapshots: Snapshot[] = [];
  for (const input of listInputs([directory])) {
    const text = await new Response(ReadableStream.from(input.read())).text();
    for (const line of text.split("\n").filter(Boolean)) {
      if (!validate(JSON.parse(line))) throw new Error(`${input.path}: ${JSON.stringify(validate.errors)}`);
    }
    for await (const line of readSnapshots(input.read(), input.path)) {
      if ("error" in line) throw line.error;
      snapshots.push(line.snapshot);
    }
  }
  return snapshots;
}

/** Sums of buckets by source and port. */
export function sumBuckets(snapshots: readonly Snapshot[]): Counts {
  const counts: Counts = new Map();
  for (const { buckets } of snapshots) {
    for (const bucket of buckets) add(counts, `${bucket.src_ip} ${bucket.dst_port}`, bucket as Counters);
  }
  return counts;
}

/** Sums of the exact totals by port. */
export function sumTotals(snapshots: readonly Snapshot[]): Counts {
  const counts: Counts = new Map();
  for (const { totals = [] } of snapshots) {
    for (const total of totals) add(counts, String(total.dst_port), total);
  }
  return counts;
}

/** Adds to one entry. */
export function add(counts: Counts, key: string, amount: Counters): void {
  const sum = counts.get(key) ?? Object.fromEntries(COUNTER_NAMES.map((n) => [n, 0])) as unknown as Counters;
  for (const name of COUNTER_NAMES) sum[name] += amount[name];
  counts.set(key, sum);
}

/** What tshark counts in a capture of packets to `ports`, whatever the encapsulation of their IP header. */
export async function countByTshark(capture: string, ports: readonly number[]): Promise<Counts> {
  const fields = [
    "frame.len",
    "ip.src",
    "ipv6.src",
    "tcp.dstport",
    "tcp.flags",
    "tcp.len",
    "ip.len",
    "ip.hdr_len",
    "tcp.hdr_len",
  ];
  const { stdout } = await run("tshark", [
    ...["-n", "-r", capture, "-Y", ports.map((p) => `tcp.dstport==${p}`).join("||")],
    ...["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"],
    ...["-o", "tcp.analyze_sequence_numbers:FALSE", "-T", "fields", "-E", "occurrence=f"],
    ...fields.flatMap((field) => ["-e", field]),
  ]);
  const counts: Counts = new Map();
  for (const row of stdout.split("\n").filter(Boolean)) {
    const [length, v4, v6, port, flags, tcpLength, ipLength, ipHeader, tcpHeader] = row.split("	");
    // Of a first fragment tshark gives no tcp.len.
    const payload = tcpLength || Number(ipLength) - Number(ipHeader) - Number(tcpHeader);
    const has = (bit: number) => (Number(flags) & bit) !== 0 ? 1 : 0;
    const [fin, syn, rst, ack] = [has(1), has(2), has(4), has(16)];
    const data = Number(payload) > 0 ? 1 : 0;
    add(counts, `${v4 || v6} ${port}`, {
      packets: 1,
      bytes: Number(length),
      syn,
      ack,
      rst,
      fin,
      data,
      syn_ack: syn & ack,
      handshake_ack: ack && !syn && !rst && !data ? 1 : 0,
    });
  }
  return counts;
}

/** Entries as sorted lines, for comparing and for reading when they differ. */
export function listCounts(counts: Counts): string[] {
  return [...counts].map(([key, c]) => `${key} ${COUNTER_NAMES.map((n) => `${n}=${c[n]}`).join(" ")}`).sort();
}
