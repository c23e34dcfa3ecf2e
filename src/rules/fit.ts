/**
 * Fits what may be blocked to what a format can say. What is lost on the way is counted, in words.
 *
 * A loss that blocks more than was simulated is "wider": its numbers no longer hold, and the policy should be
 * simulated again with that match. One that blocks less is "narrower".
 */
import { IbsrError } from "../errors.ts";
import { formatPrefix, isAddress, type Prefix, splitPrefix } from "../prefix.ts";
import { formatNumberOf } from "../words.ts";
import { aggregate, type Plan, type Region } from "./normalise.ts";
import type { CandidateRule } from "./ruleset.ts";
import { coversAllPorts, keyOf, type Span, widenPorts, withDuration } from "./spans.ts";
import { describeTimes } from "./texts.ts";

/** What a format can say. */
export interface Abilities {
  v6: boolean;
  cidr: boolean;
  /** TCP alone, rather than everything a source sends. */
  tcpOnly: boolean;
  /** Ports of each source of its own. */
  ports: boolean;
  /** A time of each entry of its own. */
  expiry: boolean;
  /** A variant that counts or reports and drops nothing. */
  shadow: boolean;
}

/** What a file can't say of what was simulated. */
export interface Loss {
  kind: "wider" | "narrower" | "note";
  text: string;
}

/** One prefix, blocked on these ports for one time. */
export interface Entry {
  prefix: Prefix;
  /** The prefix, canonical. */
  text: string;
  v6: boolean;
  /** Sorted, disjoint; undefined: all ports. */
  ports: readonly { low: number; high: number }[] | undefined;
  /** Whole seconds; null: for good. */
  durationSec: number | null;
  rules: readonly CandidateRule[];
}

/** CIDRs of so many addresses or fewer are written as addresses where a format has no CIDRs. */
const MAX_EXPANDED = 16;

/** The most ranges of ports of all entries together. */
const MAX_RANGES = 2_000_000;

/** The longest time that any format is asked for, in seconds; above it means "for good". */
const MAX_DURATION_SEC = 3_155_760_000;

/**
 * The entries that a format with these abilities can say, sorted, and what was lost.
 *
 * @throws {IbsrError} `data`: more ranges of ports than two millions.
 */
export function fit(plan: Plan, can: Abilities): { entries: Entry[]; losses: Loss[] } {
  const losses: Loss[] = [];
  const lose = (kind: Loss["kind"], n: number, text: string) => {
    if (n > 0) losses.push({ kind, text });
  };
  let regions: Region[] = plan.regions;
  if (!can.v6) {
    const before = regions.length;
    regions = regions.filter(({ prefix }) => prefix.bytes.length === 4);
    const n = before - regions.length;
    lose("narrower", n, `${formatNumberOf(n, "IPv6 entry", "IPv6 entries")} left out: the format has IPv4 only`);
  }
  if (!can.ports) {
    const n = regions.filter(({ spans }) => !coversAllPorts(spans)).length;
    regions = regions.map((region) => ({ ...region, spans: widenPorts(region.spans) }));
    const many = formatNumberOf(n, "entry is", "entries are");
    lose("wider", n, `${many} limited to some ports: the format blocks all ports`);
  }
  if (!can.tcpOnly) {
    lose("wider", regions.length, "the format blocks every protocol: what was simulated is TCP");
  }
  if (!can.expiry) {
    const n = regions.filter(({ spans }) => spans.some(({ durationSec }) => durationSec !== Infinity)).length;
    regions = regions.map((region) => ({ ...region, spans: withDuration(region.spans, () => Infinity) }));
    const many = formatNumberOf(n, "entry has", "entries have");
    lose("wider", n, `${many} an end: the format has none, remove them by hand`);
  }
  const asked = plan.limits.durationSec;
  if (can.expiry && asked !== undefined) {
    const said = plan.set.rules.map((rule) => rule.duration_sec ?? Infinity);
    const timed = said.filter((seconds) => seconds !== Infinity);
    const shown = [
      ...timed.length > 0 ? [describeTimes(timed)] : [],
      ...timed.length < said.length ? ["for good"] : [],
    ];
    const text = `each entry lasts ${describeTimes([asked])}, as asked for: blocks of the policy last ${
      shown.join(" or ")
    }`;
    lose("wider", said.filter((seconds) => seconds < asked).length, text);
    if (!said.some((seconds) => seconds < asked)) {
      lose("narrower", said.filter((seconds) => seconds > asked).length, text);
    }
  }
  if (can.cidr) {
    regions = aggregate(regions, plan.limits.widest);
  } else {
    const tooWide = regions.filter(({ prefix }) => sizeOf(prefix) > MAX_EXPANDED);
    regions = regions.flatMap((region) =>
      sizeOf(region.prefix) > MAX_EXPANDED ? [] : addressesOf(region.prefix).map((prefix) => ({ ...region, prefix }))
    );
    lose(
      "narrower",
      tooWide.length,
      `${formatNumberOf(tooWide.length, "network")} of more than ${MAX_EXPANDED} addresses left out ` +
        `(the format has single addresses only): ${
          tooWide.slice(0, 5).map(({ prefix }) => formatPrefix(prefix)).join(", ")
        }` +
        (tooWide.length > 5 ? ", …" : ""),
    );
  }
  const entries = regions.flatMap(entriesOf);
  // Formats that list ports one by one would make texts larger than any program takes.
  const ranges = entries.reduce((sum, { ports }) => sum + (ports?.length ?? 1), 0);
  if (ranges > MAX_RANGES) {
    throw new IbsrError(
      "data",
      `Cannot write the rules: they have ${ranges} ranges of ports, the most is ${MAX_RANGES}`,
    );
  }
  return { entries, losses };
}

/** How many addresses a prefix has. */
function sizeOf({ bytes, bits }: Prefix): number {
  return 2 ** (8 * bytes.length - bits);
}

function addressesOf(prefix: Prefix): Prefix[] {
  return isAddress(prefix) ? [prefix] : splitPrefix(prefix).flatMap(addressesOf);
}

/** A region's spans by duration, the longest first. */
function entriesOf({ prefix, spans, rules }: Region): Entry[] {
  const text = formatPrefix(prefix), v6 = prefix.bytes.length === 16;
  const byDuration = Map.groupBy(spans, ({ durationSec }) => durationSec);
  return [...byDuration].sort(([a], [b]) => b - a).map(([durationSec, group]) => ({
    prefix,
    text,
    v6,
    ports: coversAllPorts(group) ? undefined : group.map(({ low, high }) => ({ low, high })),
    durationSec: durationSec > MAX_DURATION_SEC ? null : durationSec,
    rules,
  }));
}

/** Entries of equal ports together; the groups in the order of their ports. */
export function byPorts(entries: readonly Entry[]): { ports: Entry["ports"]; entries: Entry[] }[] {
  const keyed = (ports: Entry["ports"]) => ports ? keyOf(ports.map((p): Span => ({ ...p, durationSec: 0 }))) : "";
  const groups = [...Map.groupBy(entries, ({ ports }) => keyed(ports)).values()];
  return groups.map((group) => ({ ports: group[0]!.ports, entries: group })).sort((a, b) => {
    if (!a.ports || !b.ports) return a.ports ? 1 : -1;
    return a.ports[0]!.low - b.ports[0]!.low || a.ports[0]!.high - b.ports[0]!.high ||
      (keyed(a.ports) < keyed(b.ports) ? -1 : 1);
  });
}

/** A list in parts of so many. */
export function chunk<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}
