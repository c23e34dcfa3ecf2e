/**
 * A source in a simulation: what stays the same about it, and what changes from interval to interval. Pure.
 */
import { createPrefixTable, prefixKey } from "../../prefix_table.ts";
import type { Cells, Sources } from "../../evidence/interval.ts";
import { atLeast, createPairs } from "../../evidence/pairs.ts";
import { injectedBits, limitFor } from "./blacklist.ts";
import type { Host } from "./host_states.ts";
import type { Config } from "./config.ts";
import { isSampled, type Profile } from "./detection.ts";
import { createGateBounds, type GateBounds } from "./gate.ts";
import { type LimitBounds, type Selected, selectLimits } from "./limits.ts";
import type { RuleTable } from "./rules.ts";

/** What a simulation is of. */
export interface Simulated {
  config: Config;
  profile: Profile;
  rules: RuleTable;
  countryOf: (address: Uint8Array) => string | undefined;
  /** Addresses on lists, as text, with what is done about them and by which rule. */
  listed: ReadonlyMap<string, { mode: "alert" | "block"; rule: number }>;
  destinations: readonly Uint8Array[];
  cpus: number;
  resolutionMs: number;
}

/** What stays the same about a source; sources of which all of it is the same share one. */
export interface Known {
  country: string | undefined;
  trusted: boolean;
  limit: number;
  /** Key of the network that is blocked with it. */
  injects: string | undefined;
  /** Key of the network that it would be blocked with. */
  subnet: string;
  limits: { syn: Selected | undefined; limit: Selected | undefined };
  sampled: boolean | "unknown";
  counted: boolean | "unknown";
  listed: { mode: "alert" | "block"; rule: number } | undefined;
}

/** What changes about a source; parts of it are made when first used. */
export interface Present {
  /** From 0, in the order in which sources came. */
  number: number;
  host: Host | undefined;
  limit: LimitBounds | undefined;
  syn: LimitBounds | undefined;
  /** A likely course of blocks: when one ends, what was counted since when. */
  likely: { untilMs: number; detections: number; sinceMs: number } | undefined;
}

/** The cells of a source in an interval, and what becomes of them. */
export interface Group {
  known: Known;
  from: number;
  to: number;
  source: number;
}

/** Values by number of source: four bytes for each number up to the highest, and the value. */
export interface BySource<T> {
  get(source: number): T | undefined;
  /** A source has none so far. */
  add(source: number, value: T): T;
  /** Values as they came. */
  readonly values: readonly T[];
}

export function createBySource<T>(): BySource<T> {
  const values: T[] = [];
  let places = new Uint32Array(1024);
  return {
    values,
    get: (source) => source < places.length ? values[places[source]! - 1] : undefined,
    add(source, value) {
      if (source >= places.length) places = atLeast(places, source + 1);
      places[source] = values.push(value);
      return value;
    },
  };
}

/** Sources that may be blocked, and until when. */
export interface BlockedSources {
  readonly size: number;
  has(source: number): boolean;
  set(source: number, untilMs: number): void;
  /** Forgets blocks that are over. */
  forget(atMs: number): void;
}

/** None is blocked: eight bytes for each number of a source, and four for each that is blocked. */
export function createBlockedSources(): BlockedSources {
  /** By source, 0 if it isn't; and the sources that are. None of the blocks ends before `next[0]`. */
  let untils = new Float64Array(0), blocked = new Uint32Array(0), size = 0;
  const next = new Float64Array([Infinity]);
  return {
    get size() {
      return size;
    },
    has: (source) => source < untils.length && untils[source] !== 0,
    set(source, untilMs) {
      if (source >= untils.length) untils = atLeast(untils, source + 1);
      if (untils[source] === 0) {
        if (size === blocked.length) blocked = atLeast(blocked, size + 1);
        blocked[size++] = source;
      }
      untils[source] = untilMs;
      if (untilMs < next[0]!) next[0] = untilMs;
    },
    forget(atMs) {
      if (next[0]! > atMs) return;
      let kept = 0, soonest = Infinity;
      for (let i = 0; i < size; i++) {
        const source = blocked[i]!, untilMs = untils[source]!;
        if (untilMs <= atMs) {
          untils[source] = 0;
          continue;
        }
        soonest = Math.min(soonest, untilMs);
        blocked[kept++] = source;
      }
      size = kept;
      next[0] = soonest;
    },
  };
}

/** Looks up what is known of sources, each once. */
export function createKnowledge(simulated: Simulated, sources: Sources): (source: number) => Known {
  const { config: { ips, ids, ratelimit }, destinations, countryOf, listed } = simulated;
  const whitelist = createPrefixTable(ips.whitelist.map((prefix) => [prefix, true]));
  const knowns = createBySource<Known>(), kinds = new Map<string, Known>();
  const look = (source: number): Known => {
    const bytes = sources.bytes(source), country = countryOf(bytes), bits = injectedBits(ips, { bytes, country });
    const known: Known = {
      country,
      trusted: whitelist.find(bytes) === true,
      limit: limitFor(ips, country),
      injects: bits === undefined ? undefined : prefixKey(bytes, bits),
      subnet: ips.countryThresholds ? prefixKey(bytes, bytes.length === 4 ? 24 : 48) : "",
      limits: ratelimit.enabled ? selectLimits(ratelimit, { bytes, country }) : NO_LIMITS,
      sampled: isSampled(ids.sampling, bytes, { destinations, country }),
      counted: isSampled(ips.sampling, bytes, { destinations, country }),
      listed: listed.size > 0 ? listed.get(sources.text(source)) : undefined,
    };
    const { limits: { syn, limit }, ...others } = known, kind = JSON.stringify([others, syn?.name, limit?.name]);
    const present = kinds.get(kind);
    if (!present) kinds.set(kind, known);
    return present ?? known;
  };
  return (source) => knowns.get(source) ?? knowns.add(source, look(source));
}

const NO_LIMITS = { syn: undefined, limit: undefined };

/** Finds a source's present state, or makes one. */
export function recall(presents: BySource<Present>, source: number): Present {
  return presents.get(source) ?? presents.add(source, {
    // Not spread from smaller ones: V8 keeps what it adds to an object elsewhere than the object.
    number: presents.values.length,
    host: undefined,
    limit: undefined,
    syn: undefined,
    likely: undefined,
  });
}

/** Windows of rules, by source and the number of a slot; made when first asked for. */
export function createGates(): (source: number, slot: number) => GateBounds {
  const pairs = createPairs(), gates: GateBounds[] = [];
  return (source, slot) => {
    const pair = pairs.of(source, slot);
    if (pair === gates.length) gates.push(createGateBounds());
    return gates[pair]!;
  };
}

/** When an interval is. */
export function times({ beginMs, endMs }: { beginMs: number; endMs: number }): { beginMs: number; endMs: number } {
  return { beginMs, endMs };
}

/** Groups of an interval's cells, in their order; made once and used again for the next interval. */
export function createGrouping(know: (source: number) => Known) {
  const groups: Group[] = [], spare: Group[] = [];
  return (cells: Cells): readonly Group[] => {
    let count = 0;
    for (let from = 0, to = 0; from < cells.count; from = to, count++) {
      const source = cells.source[from]!, known = know(source);
      while (to < cells.count && cells.source[to] === source) to++;
      if (count === groups.length) groups.push(spare.pop() ?? { known, from, to, source });
      const group = groups[count]!;
      group.known = known;
      group.from = from;
      group.to = to;
      group.source = source;
    }
    while (groups.length > count) spare.push(groups.pop()!);
    return groups;
  };
}
