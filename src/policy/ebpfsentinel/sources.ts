/**
 * A source in a simulation: what stays the same about it, and what changes from interval to interval. Pure.
 */
import { createPrefixTable, prefixKey } from "../../prefix_table.ts";
import type { Cells, Interval, Sources } from "../../evidence/interval.ts";
import { injectedBits, limitFor } from "./blacklist.ts";
import { createHostStates, type HostState } from "./blacklist_bounds.ts";
import type { Config } from "./config.ts";
import { isSampled, type Profile } from "./detection.ts";
import { createGateBounds, type GateBounds } from "./gate.ts";
import type { GuardBounds } from "./guards.ts";
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

/** What stays the same about a source. */
export interface Known {
  text: string;
  bytes: Uint8Array;
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

/** What changes about a source. */
export interface Present {
  host: readonly HostState[];
  /** By port; made when first used. */
  gates: Map<number, GateBounds> | undefined;
  limit: LimitBounds;
  syn: LimitBounds;
  guards: GuardBounds | undefined;
  /** A likely course: when a block ends, what was counted since when, tokens of the limiter. */
  likely: { untilMs: number; detections: number; sinceMs: number; room: number; atMs: number };
}

/** The cells of a source in an interval, and what becomes of them. */
export interface Group {
  known: Known;
  from: number;
  to: number;
  source: number;
}

/** Looks up what is known of sources, each once. */
export function createKnowledge(simulated: Simulated, sources: Sources): (source: number) => Known {
  const { config: { ips, ids, ratelimit }, destinations, countryOf, listed } = simulated;
  const whitelist = createPrefixTable(ips.whitelist.map((prefix) => [prefix, true])), knowns = new Map<number, Known>();
  return (source) => {
    const present = knowns.get(source);
    if (present) return present;
    const bytes = sources.bytes(source).slice(), text = sources.text(source), country = countryOf(bytes);
    const bits = injectedBits(ips, { bytes, country });
    const known: Known = {
      text,
      bytes,
      country,
      trusted: whitelist.find(bytes) === true,
      limit: limitFor(ips, country),
      injects: bits === undefined ? undefined : prefixKey(bytes, bits),
      subnet: ips.countryThresholds ? prefixKey(bytes, bytes.length === 4 ? 24 : 48) : "",
      limits: ratelimit.enabled ? selectLimits(ratelimit, { bytes, country }) : NO_LIMITS,
      sampled: isSampled(ids.sampling, bytes, { destinations, country }),
      counted: isSampled(ips.sampling, bytes, { destinations, country }),
      listed: listed.get(text),
    };
    knowns.set(source, known);
    return known;
  };
}

const NO_LIMITS = { syn: undefined, limit: undefined };
/** The state of every source at first; states are never written to. */
const AT_FIRST: readonly HostState[] = createHostStates();

/** Finds a source's present state, or makes one. */
export function recall(presents: Map<number, Present>, source: number): Present {
  const present = presents.get(source) ?? {
    host: AT_FIRST,
    gates: undefined,
    limit: {},
    syn: {},
    guards: undefined,
    likely: { untilMs: -Infinity, detections: 0, sinceMs: -Infinity, room: Infinity, atMs: 0 },
  };
  presents.set(source, present);
  return present;
}

/** The window of the rule for a port. */
export function gateOf(present: Present, port: number): GateBounds {
  const gates = present.gates ??= new Map(), gate = gates.get(port) ?? createGateBounds();
  gates.set(port, gate);
  return gate;
}

/** When an interval is. */
export function times({ beginMs, endMs }: { beginMs: number; endMs: number }): { beginMs: number; endMs: number } {
  return { beginMs, endMs };
}

/** The cells of each source, in the order of cells. */
export function groupCells(cells: Cells, know: (source: number) => Known): Group[] {
  const groups: Group[] = [];
  for (let from = 0; from < cells.count;) {
    const source = cells.source[from]!;
    let to = from + 1;
    while (to < cells.count && cells.source[to] === source) to++;
    groups.push({ known: know(source), from, to, source });
    from = to;
  }
  return groups;
}

/** What a source did on each port. */
export function cellsOf({ from, to }: Group, { cells }: Interval): { port: number; data: number }[] {
  const list = [];
  for (let i = from; i < to; i++) list.push({ port: cells.port[i]!, data: cells.data[i]! });
  return list;
}
