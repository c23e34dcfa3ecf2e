/**
 * The blacklist, packet by packet: detections of a source are counted, and enough of them block it. Pure.
 *
 * A block is [start, start + TTL), never refreshed, and refused while the list is full. A source of a country that
 * has a threshold of its own takes its /24 or /48 along.
 */
import { formatPrefix, prefixOf } from "../../prefix.ts";
import { prefixKey } from "../../prefix_table.ts";
import type { Ips } from "./config.ts";
import type { Profile } from "./detection.ts";

/** What the blacklist holds. */
export interface Blacklist {
  /** Sources by their text. */
  hosts: Map<string, { sinceMs: number; untilMs: number }>;
  counts: Map<string, { detections: number; sinceMs: number }>;
  /** Networks by their key. */
  subnets: Map<string, { prefix: string; sinceMs: number; untilMs: number }>;
}

/** A source as the blacklist knows it. */
export interface Source {
  text: string;
  bytes: Uint8Array;
  country: string | undefined;
}

/** An empty one. */
export function createBlacklist(): Blacklist {
  return { hosts: new Map(), counts: new Map(), subnets: new Map() };
}

/** Milliseconds that a block lasts; early documents have 0 stand for good. */
export function ttlMs({ ttlS }: Pick<Ips, "ttlS">, profile: Profile): number {
  return ttlS === 0 && profile === "seed" ? Infinity : ttlS * 1000;
}

/** Detections that block a source. */
export function limitFor(ips: Ips, country: string | undefined): number {
  const own = country === undefined ? undefined : ips.countryThresholds?.get(country);
  return Math.max(1, own ?? ips.threshold);
}

/** How much of an address is blocked with a source of a listed country; undefined: nothing. */
export function injectedBits(ips: Ips, { country, bytes }: Pick<Source, "country" | "bytes">): number | undefined {
  if (country === undefined || !ips.countryThresholds?.has(country)) return undefined;
  return bytes.length === 4 ? 24 : 48;
}

/** What blocks a source at `nowMs`; a whitelisted source must be asked only where the profile lets subnets block it. */
export function blockOf(list: Blacklist, { text, bytes }: Source, nowMs: number): "host" | "subnet" | undefined {
  const host = list.hosts.get(text);
  if (host && nowMs < host.untilMs) return "host";
  const subnet = list.subnets.get(prefixKey(bytes, bytes.length === 4 ? 24 : 48));
  return subnet && nowMs < subnet.untilMs ? "subnet" : undefined;
}

/** Counts a detection; true if it blocks the source. */
export function countDetection(
  list: Blacklist,
  source: Source,
  { ips, profile, nowMs }: { ips: Ips; profile: Profile; nowMs: number },
): boolean {
  const ttl = ttlMs(ips, profile), { text, bytes } = source;
  let count = list.counts.get(text);
  if (!count || nowMs - count.sinceMs >= ttl) list.counts.set(text, count = { detections: 0, sinceMs: nowMs });
  if (++count.detections < limitFor(ips, source.country)) return false;
  list.counts.delete(text);

  const bits = injectedBits(ips, source);
  if (bits !== undefined) {
    const key = prefixKey(bytes, bits), present = list.subnets.get(key);
    if (!present || nowMs >= present.untilMs) {
      list.subnets.set(key, { prefix: formatPrefix(prefixOf(bytes, bits)), sinceMs: nowMs, untilMs: nowMs + ttl });
    }
  }
  const present = list.hosts.get(text);
  if (present && nowMs < present.untilMs) return false;
  list.hosts.delete(text);
  if (list.hosts.size >= ips.maxSize) {
    for (const [host, { untilMs }] of list.hosts) if (nowMs >= untilMs) list.hosts.delete(host);
  }
  if (list.hosts.size >= ips.maxSize) return false;
  list.hosts.set(text, { sinceMs: nowMs, untilMs: nowMs + ttl });
  return true;
}
