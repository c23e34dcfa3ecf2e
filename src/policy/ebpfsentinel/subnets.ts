/**
 * Networks that are blocked with a source: where thresholds are by country, the engine blocks a blocked source's
 * /24 (IPv6: /48) too. From when to when, certainly and possibly. Pure.
 */
import type { Interval, Sources } from "../../evidence/interval.ts";
import { formatPrefix, prefixOf } from "../../prefix.ts";
import type { Decision } from "../policy.ts";
import type { Notes } from "./notes.ts";
import type { Group, Simulated } from "./sources.ts";

/** A network that was blocked, or may have been. */
interface Subnet {
  text: string;
  certainFromMs: number;
  certainUntilMs: number;
  possibleUntilMs: number;
}

/** A network that may be blocked in an interval, and the sources that may bring it about. */
export interface Injection {
  text: string;
  sources: number[];
  /** Whether one of them is blocked for certain. */
  certain: boolean;
}

const NOT_COVERED = { certain: false, possible: false };

/** Starts the networks of a simulation: none is blocked. */
export function createSubnets(
  { config: { ips }, profile, rules }: Simulated,
  { ttlMs, lagMs, enforced, found, sources }: {
    ttlMs: number;
    lagMs: number;
    enforced: boolean;
    found: Notes;
    sources: Sources;
  },
) {
  const subnets = new Map<string, Subnet>();
  return {
    /** Networks that may be blocked from some moment of an interval on, by key, if these groups are blocked. */
    list(groups: Iterable<Group>): Map<string, Injection> {
      const injections = new Map<string, Injection>();
      for (const { known: { injects }, source } of groups) {
        if (injects === undefined) continue;
        let injection = injections.get(injects);
        if (!injection) {
          const bytes = sources.bytes(source);
          injection = {
            ...{ text: formatPrefix(prefixOf(bytes, bytes.length === 4 ? 24 : 48)), sources: [], certain: false },
          };
          injections.set(injects, injection);
        }
        injection.sources.push(source);
      }
      return injections;
    },

    /** Whether a source is blocked with its network: throughout the interval, and in some of it. */
    cover(
      { known, source, from, to }: Group,
      { interval, injections }: { interval: Interval; injections: ReadonlyMap<string, Injection> },
    ): { certain: boolean; possible: boolean } {
      if (!ips.countryThresholds || !enforced) return NOT_COVERED;
      const subnet = subnets.get(known.subnet), injection = injections.get(known.subnet);
      const others = injection?.sources.some((other) => other !== source) ?? false;
      const possible = others || (subnet !== undefined && subnet.possibleUntilMs > interval.beginMs);
      const certain = subnet !== undefined && subnet.certainFromMs <= interval.beginMs &&
        subnet.certainUntilMs >= interval.endMs;
      if (known.trusted && (possible || certain)) {
        let packets = 0;
        for (let i = from; i < to; i++) packets += interval.cells.packets[i]!;
        found.trusted(sources.text(source), packets);
        if (profile === "seed") return NOT_COVERED;
      }
      return { certain, possible };
    },

    /** Blocks the networks of sources that the interval's decisions block, and adds a decision for each. */
    extend(
      injections: ReadonlyMap<string, Injection>,
      { beginMs, endMs }: Interval,
      decisions: Decision[],
    ): void {
      for (const [key, { text, certain, sources }] of injections) {
        const subnet = subnets.get(key) ??
          { text, certainFromMs: Infinity, certainUntilMs: -Infinity, possibleUntilMs: -Infinity };
        const began = decisions.find(({ source, rule }) =>
          rule === rules.index("ips:auto-blacklist") && sources.includes(source)
        );
        if (!began || (subnet.certainFromMs <= beginMs && subnet.certainUntilMs >= endMs)) continue;
        if (certain && subnet.possibleUntilMs <= beginMs) {
          Object.assign(subnet, { certainFromMs: endMs, certainUntilMs: beginMs + ttlMs });
        }
        subnet.possibleUntilMs = Math.max(subnet.possibleUntilMs, endMs + ttlMs + lagMs);
        subnets.set(key, subnet);
        decisions.push({ ...began, rule: rules.index("ips:subnet"), prefix: text, certain });
      }
    },
  };
}
