/**
 * What only a fleet shows: sources that many hosts see, who would be blocked most over all of them, which hosts differ.
 *
 * A host differs in a measure if it is further from the median of all than five times what the hosts commonly are (by the
 * median of their distances, which a few odd hosts don't move), and by a tenth of the median. Pure.
 */
import type { Range } from "../rules/ruleset.ts";
import type { HostSummary, StreamSummary } from "./summary.ts";

/** Where a report was made of many hosts by an engine. */
export interface FleetSummary {
  /** Hosts that were watched. */
  hosts: number;
  /** How many sources at least so many hosts have seen. */
  sources_by_hosts: { hosts: number; sources: number }[];
  /** Sources that most hosts have seen; at most 100. */
  widest_sources: {
    source: string;
    hosts: number;
    /** On how many it would or may be blocked, and looks legitimate. */
    would_block_hosts: number;
    legitimate_hosts: number;
    syn: number;
    packets: number;
  }[];
  /** Sources of which most would be blocked over all hosts; at most 100. */
  top_offenders: {
    source: string;
    hosts: number;
    would_block_hosts: number;
    would_block: { packets: Range; bytes: Range; syn: Range };
  }[];
  /** Hosts that differ from the others, the furthest first; at most 100. Fewer than 5 are not compared. */
  differing_hosts: {
    hostname: string;
    iface: string;
    measure: string;
    value: number;
    median: number;
    /** In common distances; null where the others don't differ at all. */
    distance: number | null;
  }[];
}

/** Fewer hosts have no common distance. */
const LEAST_HOSTS = 5, LISTED = 100;
/** How far is far, in common distances and as a share of the median; what shares differ by without being worth a word. */
const FAR = 5, LEAST_SHARE = 0.1, LEAST_DIFFERENCE = 0.001;
/** A normal distribution's standard deviation, in medians of distances. */
const DEVIATION = 1.4826;

const MEASURES: Record<string, (host: HostSummary, stream: StreamSummary) => number> = {
  "packets per second": ({ traffic }, stream) => traffic.packets / watchedSec(stream),
  "sources": ({ traffic }) => traffic.sources,
  "SYNs per packet": ({ traffic }) => traffic.packets > 0 ? traffic.syn / traffic.packets : 0,
  "share of SYNs that certainly would be blocked": ({ impact }) => impact.share.syn.lower,
  "share of sources that look legitimate": ({ traffic, false_positives }) =>
    traffic.sources > 0 ? false_positives.legitimate / traffic.sources : 0,
  "share of the time that was watched": (_, { coverage }) => coverage,
  "share of packets without a source": (_, { loss }) => loss,
};

function watchedSec({ start_unix_sec, end_unix_sec, coverage }: StreamSummary): number {
  return Math.max(1, (end_unix_sec - start_unix_sec) * coverage);
}

/** Hosts that differ. `streams` are those of `hosts`, in the same order. */
export function listDiffering(
  hosts: readonly HostSummary[],
  streams: readonly StreamSummary[],
): FleetSummary["differing_hosts"] {
  if (hosts.length < LEAST_HOSTS) return [];
  const differing = Object.entries(MEASURES).flatMap(([measure, of]) => {
    const values = hosts.map((host, i) => of(host, streams[i]!)), median = medianOf(values);
    const common = DEVIATION * medianOf(values.map((value) => Math.abs(value - median)));
    return hosts.flatMap(({ hostname, iface }, i) => {
      const value = values[i]!, away = Math.abs(value - median);
      const isFar = away > FAR * common && away > LEAST_SHARE * median && away > LEAST_DIFFERENCE;
      return isFar ? [{ hostname, iface, measure, value, median, distance: common > 0 ? away / common : null }] : [];
    });
  });
  const order = ({ distance }: typeof differing[number]) => distance ?? Infinity;
  return differing.sort((a, b) => order(a) === order(b) ? 0 : order(b) - order(a)).slice(0, LISTED);
}

/** The median of at least one value. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
