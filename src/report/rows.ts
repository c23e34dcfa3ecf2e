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

/** Makes rows of a stream, by key. They name the policy's rules; what is on the `allowlist` is shown as such. */
export type RowMaker = (key: number) => SourceRow;

/** A stream's. */
export function createRowMaker(
  stream: StreamRows,
  { sources, policy, allowlist }: { sources: Sources; policy: Policy; allowlist: PrefixSet },
): RowMaker {
  const { columns, hits } = stream, hit = new Set<number>();
  for (const { possible } of hits) for (const source of possible) hit.add(source);
  return (key) => {
    const source = stream.source[key]!, affected = stream.affected.get(key);
    // No spreads here: a row is made for each source, and they would take a third of the time.
    return describeRow({
      name: stream.name,
      source: sources.text(source),
      port: stream.port[key]!,
      class: stream.class[key]!,
      packets: columns.packets[key]!,
      bytes: columns.bytes[key]!,
      syn: columns.syn[key]!,
      handshakeAck: columns.handshakeAck[key]!,
      rst: columns.rst[key]!,
      data: columns.data[key]!,
      maxSynRate: columns.maxSynRate[key]!,
      firstMs: columns.firstMs[key]!,
      lastMs: columns.lastMs[key]!,
      intervals: stream.intervals[key]!,
      allowed: allowlist.prefixes.length > 0 && allowlist.contains(sources.bytes(source)),
      affected,
      hits: affected || hit.has(source)
        ? hits.map(({ certain, possible }) => ({ certain: certain.has(source), possible: possible.has(source) }))
        : NO_HITS,
      policy,
    });
  };
}

const NO_HITS: RowFacts["hits"] = [];

/** What is known of a source and port on a stream. */
export interface RowFacts extends Record<keyof StreamRows["columns"], number> {
  name: StreamName;
  source: string;
  port: number;
  /** Number of its class. */
  class: number;
  intervals: number;
  allowed: boolean;
  affected: Pick<Affected, "union" | "byRule"> | undefined;
  /** By rule: whether it would have blocked the source on this stream; empty if none would have. */
  hits: readonly { certain: boolean; possible: boolean }[];
  policy: Policy;
}

const NONE = { lower: 0, upper: 0 }, NOTHING: SourceRow["would_block"] = { packets: NONE, bytes: NONE, syn: NONE };

/** A row of the table. */
export function describeRow(facts: RowFacts): SourceRow {
  const { affected: one, syn, hits } = facts, rules: string[] = [];
  let certain = false;
  for (let rule = 0; rule < hits.length; rule++) {
    const hit = hits[rule]!;
    // A rule by source and port acts on the ports that it blocked; one whose trigger was all that came has no drops.
    const own = one ? one.byRule.has(rule) : hit.possible;
    if (!own) continue;
    rules.push(facts.policy.rules[rule]!.id);
    certain ||= hit.certain && (!one || one.byRule.get(rule)!.packets.lower > 0 || one.union.packets.upper > 0);
  }
  const range = ({ lower, upper }: { lower: number; upper: number }) => ({ lower, upper });
  return {
    hostname: facts.name.hostname,
    iface: facts.name.iface,
    source: facts.source,
    dst_port: facts.port,
    class: CLASSES[facts.class]!,
    rules,
    decision: facts.allowed ? "allowlisted" : certain ? "would block" : rules.length > 0 ? "may block" : "pass",
    packets: facts.packets,
    bytes: facts.bytes,
    syn,
    handshake_ack: facts.handshakeAck,
    rst: facts.rst,
    data: facts.data,
    max_syn_rate: facts.maxSynRate,
    handshake_ratio: syn > 0 ? facts.handshakeAck / syn : null,
    first_unix_sec: facts.firstMs / 1000,
    last_unix_sec: facts.lastMs / 1000,
    intervals: facts.intervals,
    would_block: one
      ? { packets: range(one.union.packets), bytes: range(one.union.bytes), syn: range(one.union.syn) }
      : NOTHING,
  };
}

/** A stream's keys by address, then by port. Most are in order: keys are numbered as they are met, and intervals are sorted. */
export function sortKeys({ count, source, port }: StreamRows, sources: Sources): number[] {
  const compare = sources.compare ?? ((a: number, b: number) => compareBytes(sources.bytes(a), sources.bytes(b)));
  return Array.from({ length: count }, (_, key) => key)
    .sort((a, b) => compare(source[a]!, source[b]!) || port[a]! - port[b]!);
}
