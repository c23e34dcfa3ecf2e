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

/** A bucket of version 5, as it is written. */
type V5Bucket = Pick<Bucket, "key_type" | "src_ip" | "dst_port"> & V5Counters;

/** The sum of a key, and where it stands among all. */
interface Entry {
  bucket: V5Bucket;
  address: number;
}

/** Starts a stream. */
export function createConverter(): Converter {
  const entries = new Map<string, Entry>(), leftOut = { ipv6Buckets: 0, saturated: 0 };
  /** The same in their order, the first `sorted` of them. */
  const ordered: Entry[] = [];
  let sorted = 0;

  const add = (bucket: Bucket, cumulative: boolean) => {
    const { key_type, src_ip, dst_port } = bucket;
    if (src_ip.includes(":")) {
      leftOut.ipv6Buckets++;
      return;
    }
    const id = `${key_type} ${src_ip} ${dst_port}`;
    let entry = entries.get(id);
    if (!entry) {
      const none = { syn: 0, ack: 0, handshake_ack: 0, rst: 0, packets: 0, bytes: 0 };
      const key = { key_type, src_ip, ...(dst_port === undefined ? {} : { dst_port }) };
      entry = { bucket: { ...key, ...none }, address: numberOf(src_ip) };
      entries.set(id, entry);
      ordered.push(entry);
    }
    const sums = entry.bucket;
    for (const name of V5_COUNTERS) {
      const sum = (cumulative ? 0 : sums[name]) + bucket[name];
      const limit = name === "bytes" ? Number.MAX_SAFE_INTEGER : U32_MAX;
      if (sum > limit) leftOut.saturated++;
      sums[name] = Math.min(sum, limit);
    }
  };

  return {
    leftOut,
    convert(snapshot) {
      for (const bucket of snapshot.buckets) add(bucket, snapshot.counter_mode === "cumulative");
      // Most keys of a line were in the one before it: they stand where they stood.
      if (sorted < ordered.length) ordered.sort(compareEntries);
      sorted = ordered.length;
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
        buckets: ordered.map(({ bucket }) => bucket),
      });
    },
  };
}

/** Kind (src_ip first), address by number, port. */
function compareEntries(a: Entry, b: Entry): number {
  const [one, other] = [a.bucket, b.bucket];
  return (one.key_type < other.key_type ? 1 : one.key_type > other.key_type ? -1 : 0) ||
    a.address - b.address || (one.dst_port ?? -1) - (other.dst_port ?? -1);
}

function numberOf(ipv4: string): number {
  return ipv4.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}
