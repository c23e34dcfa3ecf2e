/** Lines and files of snapshots, made from what a test writes down. */
import { COUNTER_NAMES, type Counters, noCounters } from "../src/counters.ts";
import type { Input } from "../src/input.ts";

export const encoder = new TextEncoder();
const OLD = ["syn", "ack", "handshake_ack", "rst", "packets", "bytes"] as const;

/** Counters of `syn` connection attempts, a third of them completed. */
export function syns(syn: number, more: Partial<Counters> = {}): Counters {
  const handshake_ack = Math.floor(syn / 3);
  const packets = syn + handshake_ack;
  return { ...noCounters(), syn, ack: handshake_ack, handshake_ack, packets, bytes: packets * 60, ...more };
}

export type Row = [address: string, port: number, counters: Counters];

/** A line of version 8, seconds since 1970. */
export function line8(seq: number, end: number, rows: Row[], more: Record<string, unknown> = {}): string {
  const total = noCounters();
  for (const [, , counters] of rows) for (const name of COUNTER_NAMES) total[name] += counters[name];
  const ordered = (c: Counters) => Object.fromEntries(COUNTER_NAMES.map((name) => [name, c[name]]));
  return JSON.stringify({
    ...{ version: 8, aggregation: "src_ip_dst_port", ts_unix_sec: end, interval_sec: 10, run_id: 1000_000, seq },
    ...{ counter_mode: "delta", base_ts_unix_sec: 1000, dst_ports: [80, 443], hostname: "web", iface: "eth0" },
    xdp_mode: "native",
    totals: rows.length > 0 ? [{ dst_port: 80, ...ordered(total) }] : [],
    unattributed: noCounters(),
    evicted: 0,
    not_counted: { not_tcp: 1, other_port: 2, malformed: 3, later_fragment: 4, unknown_encapsulation: 5 },
    map: { max_entries: 9, entries: 1, known4: 1, known6: 0, syn4: 0, syn6: 0 },
    ...more,
    buckets: rows.map(([src_ip, dst_port, c]) => ({ key_type: "src_ip", src_ip, dst_port, ...ordered(c) })),
  });
}

/** A line of the existing IBSR. */
export function line5(end: number, rows: Row[], more: Record<string, unknown> = {}): string {
  const buckets = rows.map(([src_ip, dst_port, c]) => ({
    ...{ key_type: "src_ip", src_ip, dst_port },
    ...Object.fromEntries(OLD.map((name) => [name, c[name]])),
  }));
  return JSON.stringify({
    ...{ version: 5, aggregation: "src_ip_dst_port", ts_unix_sec: end, interval_sec: 60, run_id: 1000 },
    ...{ counter_mode: "cumulative", base_ts_unix_sec: 1000, dst_ports: [80], buckets },
    ...more,
  });
}

export function file(path: string, ...lines: string[]): Input {
  return fileOf(path, encoder.encode(lines.map((line) => `${line}\n`).join("")));
}

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function fileOf(path: string, bytes: Uint8Array<ArrayBuffer>): Input {
  return {
    path,
    bytes: bytes.length,
    local: false,
    async *read(stored) {
      for (let at = 0; at < bytes.length; at += 1000) {
        yield bytes.slice(at, at + 1000);
        await stored?.(bytes.slice(at, at + 1000));
      }
    },
  };
}
