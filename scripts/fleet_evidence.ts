/**
 * Evidence of a fleet that doesn't exist: for measurements and tests of `ibsr fleet`.
 *
 *     deno task fleet-evidence FOLDER [--hosts 100] [--hours 24] [--interval-sec 60]
 *         [--sources 100] [--seed 1] [--compress zstd|none]
 *
 * Writes hourly segments as the collector does, at the paths that `ibsr export s3 --layout hive` gives them. The same
 * options give the same bytes. Memory is bounded by one segment.
 *
 * A host has clients whose number follows the time of day, some of them regulars and one in fifty over IPv6; a gateway
 * that many share; scanners, which are the same for the whole fleet; and now and then a flood, some of which are aimed
 * at many hosts at once. `--sources` is the mean number of sources in a snapshot.
 */
import { parseArgs } from "node:util";
import { zstdCompressSync } from "node:zlib";
import { COUNTER_NAMES, type Counters, type Delta, noCounters, orderRows, writeCounters } from "../src/counters.ts";
import { COUNTERS, KEY4, KEY6 } from "../src/layout.ts";
import { encodeSnapshot, type Stream } from "../src/snapshot.ts";

/** What to make. */
export interface FleetOrder {
  hosts: number;
  hours: number;
  intervalSec: number;
  /** Mean per snapshot. */
  sources: number;
  seed: number;
  compress: "zstd" | "none";
}

/** What was made. */
export interface FleetSize {
  files: number;
  snapshots: number;
  rows: number;
  bytes: number;
  storedBytes: number;
}

/** Midnight, 1 January 2026. */
export const FLEET_START_MS = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;
const PORTS = [22, 80, 443];

/** The name of the n-th host. */
export function fleetHost(n: number): string {
  return `web-${String(n).padStart(4, "0")}`;
}

/** One segment of a host. */
export interface FleetSegment {
  /** `host=…/date=…/hour=…/snapshot_….jsonl`, with `.zst` where it is compressed. */
  path: string;
  bytes: Uint8Array<ArrayBuffer>;
  snapshots: number;
  rows: number;
  /** Before compression. */
  plainBytes: number;
}

/** The segments, host by host, hour by hour. */
export function* makeFleet(order: FleetOrder): Generator<FleetSegment> {
  const rows = createRows(order.sources * 4 + 64);
  for (let host = 0; host < order.hosts; host++) {
    for (let hour = 0; hour < order.hours; hour++) yield makeSegment(order, { host, hour }, rows);
  }
}

function makeSegment(order: FleetOrder, { host, hour }: { host: number; hour: number }, rows: RowWriter): FleetSegment {
  const startMs = FLEET_START_MS + hour * HOUR_MS, perHour = Math.floor(3600 / order.intervalSec);
  const stream: Stream = {
    ...{ runId: FLEET_START_MS, hostname: fleetHost(host), iface: "eth0", mode: "native", mapSize: 262_144 },
  };
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let count = 0;
  for (let i = 0; i < perHour; i++) {
    const seq = hour * perHour + i, endMs = startMs + Math.min((i + 1) * order.intervalSec * 1000, HOUR_MS - 1);
    rows.reset();
    fillSnapshot(order, { host, seq, hourOfDay: hour % 24 }, rows);
    const delta = rows.toDelta(endMs);
    count += delta.v4.count + delta.v6.count;
    const lengthMs = i === perHour - 1 ? order.intervalSec * 1000 - 1 : order.intervalSec * 1000;
    for (const chunk of encodeSnapshot(stream, { seq, endMs, lengthMs }, delta)) chunks.push(chunk.slice());
  }
  const plain = join(chunks), date = new Date(startMs).toISOString();
  const name = `snapshot_${date.slice(0, 13).replaceAll(/[-T]/g, "")}.jsonl`;
  const isPacked = order.compress === "zstd";
  return {
    path: `host=${fleetHost(host)}/date=${date.slice(0, 10)}/hour=${date.slice(11, 13)}/${name}${
      isPacked ? ".zst" : ""
    }`,
    bytes: isPacked ? new Uint8Array(zstdCompressSync(plain)) : plain,
    snapshots: perHour,
    rows: count,
    plainBytes: plain.length,
  };
}

function join(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

// -------------------------------------------------------------------------------------------------- the traffic

/** A number from 0 to 2^32 that depends on all that is given, and on nothing else. */
function draw(...from: number[]): number {
  let h = 0x9e3779b9;
  for (const part of from) {
    h = Math.imul(h ^ part, 0x85ebca6b);
    h = Math.imul(h ^ h >>> 13, 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return h >>> 0;
}

function fillSnapshot(
  { sources, seed, intervalSec }: FleetOrder,
  { host, seq, hourOfDay }: { host: number; seq: number; hourOfDay: number },
  rows: RowWriter,
): void {
  // Clients: fewer by night. A quarter comes back all day, the others stay for ten minutes or so.
  const daylight = 1 + 0.6 * Math.sin((hourOfDay - 9) / 24 * 2 * Math.PI);
  const clients = Math.round(sources * daylight * (0.9 + draw(seed, host, seq) % 200 / 1000));
  for (let i = 0; i < clients; i++) {
    const who = i % 4 === 0 ? draw(seed, host, i) : draw(seed, host, i, Math.floor((seq + i) / 10));
    // No two snapshots of a source are alike, as in life: it is what makes them hard to compress.
    const now = draw(seed, who, seq), syn = now % 4, data = syn * 3 + (now >>> 8) % 60, handshake_ack = syn + data % 7;
    const packets = syn + data + handshake_ack, port = who % 7 === 0 ? 80 : 443;
    const counters = {
      ...noCounters(),
      ...{ syn, ack: packets - syn, handshake_ack, data, packets, bytes: packets * 60 + data * ((now >>> 14) % 1400) },
      fin: Math.min(syn, handshake_ack),
    };
    if (i % 50 === 49) rows.add6(0x20010db8, who, port, counters);
    else rows.add4(0x0b000000 + who % 0x50000000, port, counters);
  }
  // A gateway that many share: much, and all of it in use.
  const many = Math.round(40 * daylight * intervalSec / 10);
  rows.add4(0xc6336400 + host % 200, 443, {
    ...noCounters(),
    ...{ syn: many, ack: many * 8, handshake_ack: many, data: many * 7, packets: many * 9, bytes: many * 9 * 420 },
  });
  // Scanners: forty for the whole fleet, each at a third of the hosts at a time.
  for (let i = 0; i < 40; i++) {
    if ((draw(seed, i, host, Math.floor(seq / 30)) % 3) !== 0) continue;
    const syn = 1 + draw(seed, i, host, seq) % 3;
    rows.add4(0xcb007100 + i, PORTS[i % 3]!, { ...noCounters(), syn, rst: syn, packets: 2 * syn, bytes: 120 * syn });
  }
  // Floods: three sources a day on each host for twenty minutes, and one that meets a fifth of the fleet.
  for (let i = 0; i < 4; i++) {
    const isWide = i === 3, day = Math.floor(seq * intervalSec / 86_400);
    if (isWide && draw(seed, host, day) % 5 !== 0) continue;
    const begin = draw(seed, isWide ? 7 : host, i, day) % (86_400 - 1200), at = seq * intervalSec % 86_400;
    if (at < begin || at >= begin + 1200) continue;
    const syn = (150 + draw(seed, host, i, seq) % 250) * intervalSec;
    const who = isWide ? 0xcb007263 + day : 0x5c000000 + draw(seed, host, i, day) % 0x1000000;
    rows.add4(who, 443, { ...noCounters(), syn, packets: syn, bytes: syn * 60 });
  }
}

// ----------------------------------------------------------------------------------------------------- the rows

interface RowWriter {
  reset(): void;
  /** A source that is there already is left as it is. */
  add4(address: number, port: number, counters: Counters): void;
  add6(high: number, low: number, port: number, counters: Counters): void;
  toDelta(endMs: number): Delta;
}

function createRows(capacity: number): RowWriter {
  const v4 = createTable(KEY4.sizeof, capacity), v6 = createTable(KEY6.sizeof, capacity);
  const totals = new Map<number, Counters>();
  const count = (port: number, counters: Counters) => {
    const total = totals.get(port) ?? noCounters();
    for (const name of COUNTER_NAMES) total[name] += counters[name];
    totals.set(port, total);
  };
  return {
    reset() {
      v4.reset();
      v6.reset();
      totals.clear();
    },
    add4(address, port, counters) {
      if (v4.add(address, [address], port, counters)) count(port, counters);
    },
    add6(high, low, port, counters) {
      if (v6.add(low, [high, 0, 0, low], port, counters)) count(port, counters);
    },
    toDelta(endMs) {
      const rows4 = v4.rows(), rows6 = v6.rows();
      return {
        takenAt: { monotonicMs: 0, wallMs: endMs },
        ports: PORTS,
        ...{ v4: rows4, v6: rows6, unattributed: noCounters(), evicted: 0 },
        totals: PORTS.map((port) => ({ port, ...totals.get(port) ?? noCounters() })),
        notCounted: { not_tcp: 0, other_port: 0, malformed: 0, later_fragment: 0, unknown_encapsulation: 0 },
        entries: { known4: rows4.count, known6: rows6.count, syn4: 0, syn6: 0 },
      };
    },
  };
}

function createTable(keySize: number, capacity: number) {
  const keys = new Uint8Array(keySize * capacity), values = new Uint8Array(COUNTERS.sizeof * capacity);
  const view = new DataView(keys.buffer), words = new Uint32Array(values.buffer);
  const seen = new Set<number>();
  return {
    reset() {
      seen.clear();
    },
    /** `id` is what rows are told apart by. */
    add(id: number, address: readonly number[], port: number, counters: Counters): boolean {
      if (seen.has(id) || seen.size === capacity) return false;
      const row = seen.size, at = row * keySize;
      seen.add(id);
      address.forEach((word, i) => view.setUint32(at + 4 * i, word));
      view.setUint16(at + keySize - 4, port);
      writeCounters(words, row * COUNTERS.sizeof / 4, counters);
      return true;
    },
    rows: () => orderRows({ keySize, count: seen.size, keys, values }),
  };
}

// -------------------------------------------------------------------------------------------------- the program

/** Writes the fleet's segments into a folder. */
export async function writeFleet(folder: string, order: FleetOrder): Promise<FleetSize> {
  const size: FleetSize = { files: 0, snapshots: 0, rows: 0, bytes: 0, storedBytes: 0 };
  for (const { path, bytes, snapshots, rows, plainBytes } of makeFleet(order)) {
    const whole = `${folder}/${path}`;
    await Deno.mkdir(whole.slice(0, whole.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(whole, bytes);
    size.files++;
    size.snapshots += snapshots;
    size.rows += rows;
    size.bytes += plainBytes;
    size.storedBytes += bytes.length;
  }
  return size;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      hosts: { type: "string", default: "100" },
      hours: { type: "string", default: "24" },
      "interval-sec": { type: "string", default: "60" },
      sources: { type: "string", default: "100" },
      seed: { type: "string", default: "1" },
      compress: { type: "string", default: "zstd" },
    },
  });
  if (positionals.length !== 1) throw new Error("fleet_evidence.ts FOLDER [--hosts N] …");
  const size = await writeFleet(positionals[0]!, {
    ...{ hosts: Number(values.hosts), hours: Number(values.hours), intervalSec: Number(values["interval-sec"]) },
    ...{ sources: Number(values.sources), seed: Number(values.seed) },
    compress: values.compress === "none" ? "none" : "zstd",
  });
  console.log(JSON.stringify(size));
}
