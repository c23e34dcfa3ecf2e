/** Segments as the collector writes them, made up: the same at each call. */
import { COUNTER_NAMES, type Counters, type Delta, noCounters, orderRows, writeCounters } from "../../src/counters.ts";
import { COUNTERS, KEY4 } from "../../src/layout.ts";
import { writeAll } from "../../src/files.ts";
import { encodeSnapshot } from "../../src/snapshot.ts";

/** From the year 2026 on. */
export const START_MS = Date.UTC(2026, 0, 1), LENGTH_MS = 10_000;
const PORTS = [80, 443];
const NOT_COUNTED = { not_tcp: 0, other_port: 0, malformed: 0, later_fragment: 0, unknown_encapsulation: 0 };

/** A source in twenty is a flood, the others are clients: each with a connection at least, as no row is empty. */
export function countersOf(i: number, n: number): Counters {
  const seed = Math.imul(i + 1, 2654435761) + Math.imul(n + 1, 40503) >>> 16;
  if (i % 20 === 0) {
    return { ...noCounters(), syn: 3000 + seed % 500, packets: 3000 + seed % 500, bytes: 180_000 + seed };
  }
  const syn = 1 + seed % 3, data = syn * 9;
  const packets = syn * 2 + data;
  return { ...noCounters(), syn, ack: syn + data, handshake_ack: syn, packets, bytes: packets * 300, data };
}

/** Hourly segments in `folder`; returns their size in bytes. */
export function writeSnapshots(folder: string, { snapshots, sources }: { snapshots: number; sources: number }): number {
  const keys = new Uint8Array(sources * KEY4.sizeof), values = new Uint8Array(sources * COUNTERS.sizeof);
  const view = new DataView(keys.buffer), words = new Uint32Array(values.buffer);
  for (let i = 0; i < sources; i++) {
    view.setUint32(i * KEY4.sizeof, 0x0a000000 + i * 3);
    view.setUint16(i * KEY4.sizeof + 4, PORTS[i % 2]!);
  }
  const none = orderRows({ keySize: 20, count: 0, keys: new Uint8Array(0), values: new Uint8Array(0) });
  const stream = { runId: START_MS, hostname: "bench", iface: "eth0", mode: "native" as const, mapSize: sources };
  let bytes = 0;
  for (let seq = 0; seq < snapshots; seq++) {
    const totals = PORTS.map((port) => ({ port, ...noCounters() }));
    for (let i = 0; i < sources; i++) {
      const counters = countersOf(i, seq), total = totals[i % 2]!;
      writeCounters(words, i * COUNTERS.sizeof / 4, counters);
      for (const name of COUNTER_NAMES) total[name] += counters[name];
    }
    const endMs = START_MS + (seq + 1) * LENGTH_MS,
      hour = new Date(endMs).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
    const delta: Delta = {
      takenAt: { monotonicMs: 0, wallMs: endMs },
      ports: PORTS,
      v4: orderRows({ keySize: KEY4.sizeof, count: sources, keys, values }),
      v6: none,
      totals,
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
