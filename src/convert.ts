/**
 * Snapshots in the format of the existing IBSR: cumulative lines of version 5.
 *
 * One stream (host, interface, run) at a time: that format has no place for more, nor for IPv6, exact totals or
 * anything lost. What is left out is counted, so that the caller can say so. Pure.
 */
import type { Counters } from "./counters.ts";
import type { Bucket, Snapshot } from "./snapshot.ts";
import { listPorts } from "./snapshot.ts";

/** What version 5 had no place for. */
export interface LeftOut {
  ipv6Buckets: number;
  /** Counters that had reached the format's limit of 2^32 - 1 and stayed there. */
  saturated: number;
}

/** A stream's converter: call it with each snapshot in order. */
export interface Converter {
  /** The line of version 5, without a newline. */
  convert(snapshot: Snapshot): string;
  readonly leftOut: LeftOut;
}

const V5_COUNTERS = ["syn", "ack", "handshake_ack", "rst", "packets", "bytes"] as const;
type V5Counters = Pick<Counters, typeof V5_COUNTERS[number]>;
const U32_MAX = 0xffff_ffff;

/** Identifies the stream that a snapshot belongs to: what has to be converted together. */
export function streamOf(snapshot: Snapshot): string {
  const name = [snapshot.hostname ?? "host", snapshot.iface ?? "iface", snapshot.run_id ?? 0].join("-");
  return name.replaceAll(/[^A-Za-z0-9_.-]/g, "_").replace(/^\.+/, "_");
}

/** Starts a stream. */
export function createConverter(): Converter {
  const sums = new Map<string, { key: Pick<Bucket, "key_type" | "src_ip" | "dst_port">; counters: V5Counters }>();
  const leftOut = { ipv6Buckets: 0, saturated: 0 };

  const add = (bucket: Bucket, cumulative: boolean) => {
    if (bucket.src_ip.includes(":")) {
      leftOut.ipv6Buckets++;
      return;
    }
    const id = `${bucket.key_type} ${bucket.src_ip} ${bucket.dst_port}`;
    let entry = sums.get(id);
    if (!entry) {
      const key = { key_type: bucket.key_type, src_ip: bucket.src_ip, ...port(bucket) };
      entry = { key, counters: { syn: 0, ack: 0, handshake_ack: 0, rst: 0, packets: 0, bytes: 0 } };
      sums.set(id, entry);
    }
    for (const name of V5_COUNTERS) {
      const sum = (cumulative ? 0 : entry.counters[name]) + bucket[name];
      const limit = name === "bytes" ? Number.MAX_SAFE_INTEGER : U32_MAX;
      if (sum > limit) leftOut.saturated++;
      entry.counters[name] = Math.min(sum, limit);
    }
  };

  return {
    leftOut,
    convert(snapshot) {
      for (const bucket of snapshot.buckets) add(bucket, snapshot.counter_mode === "cumulative");
      const end = Math.floor(snapshot.ts_unix_sec), interval = snapshot.interval_sec ?? 0;
      return JSON.stringify({
        version: 5,
        aggregation: snapshot.aggregation,
        ts_unix_sec: end,
        interval_sec: Math.max(1, Math.round(interval)),
        run_id: Math.floor((snapshot.run_id ?? 0) / (snapshot.version >= 8 ? 1000 : 1)),
        counter_mode: "cumulative",
        base_ts_unix_sec: Math.floor(snapshot.base_ts_unix_sec ?? end - interval),
        dst_ports: listPorts(snapshot),
        buckets: [...sums.values()].sort(byKey).map(({ key, counters }) => ({ ...key, ...counters })),
      });
    },
  };
}

function port(bucket: Bucket): { dst_port?: number } {
  return bucket.dst_port === undefined ? {} : { dst_port: bucket.dst_port };
}

type Entry = { key: Pick<Bucket, "key_type" | "src_ip" | "dst_port"> };

/** Kind (src_ip first), address by number, port. */
function byKey({ key: a }: Entry, { key: b }: Entry): number {
  return (a.key_type < b.key_type ? 1 : a.key_type > b.key_type ? -1 : 0) ||
    numberOf(a.src_ip) - numberOf(b.src_ip) || (a.dst_port ?? -1) - (b.dst_port ?? -1);
}

function numberOf(ipv4: string): number {
  return ipv4.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}
