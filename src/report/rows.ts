/**
 * The table of sources: a row for each source and port of each stream, kept in columns and made when asked for. Pure.
 */
import type { PrefixSet } from "../allowlist.ts";
import type { Sources, StreamName } from "../evidence/interval.ts";
import type { Policy } from "../policy/policy.ts";
import type { Affected, RuleHits } from "./effects.ts";
import { compareBytes } from "./candidates.ts";
import type { SourceRow } from "./summary.ts";
import { CLASSES, type TallyCounts } from "./tally.ts";

/** What is kept of a stream once it is counted. */
export type StreamRows = TallyCounts["keys"] & {
  name: StreamName;
  affected: Map<number, Affected>;
  /** By rule, the sources of this stream. */
  hits: readonly RuleHits[];
};

/** The rows of a stream, by key, with what would be dropped of them. */
export function keepRows(
  name: StreamName,
  keys: TallyCounts["keys"],
  affected: readonly Affected[],
  hits: readonly RuleHits[],
): StreamRows {
  const places = new Map(affected.map(({ source, port }, i) => [source * 65536 + port, i]));
  const keyOf = new Uint32Array(affected.length);
  for (let key = 0; key < keys.count; key++) {
    const i = places.get(keys.source[key]! * 65536 + keys.port[key]!);
    if (i !== undefined) keyOf[i] = key;
  }
  return { ...keys, name, hits, affected: new Map(affected.map((one, i) => [keyOf[i]!, one])) };
}

/** Makes rows. */
export interface RowMaker {
  /** Those of a stream, sorted by address and port. */
  sorted(stream: StreamRows): Generator<SourceRow>;
  row(stream: StreamRows, key: number): SourceRow;
}

/** Rows name the policy's rules; `allowlist` and own addresses are shown as such. */
export function createRowMaker(sources: Sources, policy: Policy, allowlist: PrefixSet): RowMaker {
  const row = (stream: StreamRows, key: number): SourceRow => {
    const { columns } = stream, source = stream.source[key]!, one = stream.affected.get(key);
    const allowed = allowlist.prefixes.length > 0 && allowlist.contains(sources.bytes(source));
    const rules: string[] = [];
    let certain = false;
    for (const [rule, hits] of stream.hits.entries()) {
      // A rule by source and port acts on the ports that it blocked; one whose trigger was all that came has no drops.
      const own = one ? one.byRule.has(rule) : hits.possible.has(source);
      if (!own) continue;
      rules.push(policy.rules[rule]!.id);
      certain ||= hits.certain.has(source) &&
        (!one || one.byRule.get(rule)!.packets.lower > 0 || one.union.packets.upper > 0);
    }
    const syn = columns.syn[key]!, none = { lower: 0, upper: 0 };
    const range = ({ lower, upper }: { lower: number; upper: number }) => ({ lower, upper });
    return {
      hostname: stream.name.hostname,
      iface: stream.name.iface,
      source: sources.text(source),
      dst_port: stream.port[key]!,
      class: CLASSES[stream.class[key]!]!,
      rules,
      decision: allowed ? "allowlisted" : certain ? "would block" : rules.length > 0 ? "may block" : "pass",
      packets: columns.packets[key]!,
      bytes: columns.bytes[key]!,
      syn,
      handshake_ack: columns.handshakeAck[key]!,
      rst: columns.rst[key]!,
      data: columns.data[key]!,
      max_syn_rate: columns.maxSynRate[key]!,
      handshake_ratio: syn > 0 ? columns.handshakeAck[key]! / syn : null,
      first_unix_sec: columns.firstMs[key]! / 1000,
      last_unix_sec: columns.lastMs[key]! / 1000,
      intervals: stream.intervals[key]!,
      would_block: one
        ? { packets: range(one.union.packets), bytes: range(one.union.bytes), syn: range(one.union.syn) }
        : { packets: none, bytes: none, syn: none },
    };
  };
  return {
    row,
    *sorted(stream) {
      for (const key of sortKeys(stream, sources)) yield row(stream, key);
    },
  };
}

/** IPv4 sorts by number, ports behind; IPv6 byte by byte. */
function sortKeys({ count, source, port }: StreamRows, sources: Sources): number[] {
  const v4: number[] = [], v6: number[] = [], orders = new Float64Array(count), bytesOf = new Map<number, Uint8Array>();
  for (let key = 0; key < count; key++) {
    const bytes = sources.bytes(source[key]!);
    if (bytes.length === 4) {
      orders[key] = ((bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0) * 65536 + port[key]!;
      v4.push(key);
    } else {
      bytesOf.set(source[key]!, bytes);
      v6.push(key);
    }
  }
  v4.sort((a, b) => orders[a]! - orders[b]!);
  v6.sort((a, b) => compareBytes(bytesOf.get(source[a]!)!, bytesOf.get(source[b]!)!) || port[a]! - port[b]!);
  return [...v4, ...v6];
}
