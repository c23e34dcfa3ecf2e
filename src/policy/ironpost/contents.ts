/**
 * What Ironpost's windows hold: numbers of packets, or sets of ports; each as a range, for hypotheses.ts. Pure.
 */
import type { Content } from "./hypotheses.ts";
import type { Placement } from "./windows.ts";

/** Packets of an interval: those the rule is after, and the rest. */
export interface SeenCounts extends Placement {
  hitsLeast: number;
  hitsMost: number;
  othersLeast: number;
  othersMost: number;
  /** More of the rest came than was recorded, nobody knows how many. */
  diluted?: boolean;
}

/** Packets in a window. */
export interface Counts {
  hitsLeast: number;
  hitsMost: number;
  othersLeast: number;
  othersMost: number;
  diluted: boolean;
}

/** A window alerts once it has `count` packets and hits / packets > `ratio`. */
export interface CountThreshold {
  count: number;
  /** Below 0: packets alone decide. */
  ratio: number;
}

/** Below this share of what makes a window alert it is far from it. */
const FAR = 0.25;
/** Sums of float divisions differ from their exact value by less than this. */
const ROUNDING = 1e-9;

/** Windows that count packets and, where there is a ratio, hits among them. */
export function countContent({ count, ratio }: CountThreshold): Content<Counts, SeenCounts> {
  // The fewest hits with which a window can alert: with more packets than `count` it takes more of them.
  let fewestHits = Math.max(ratio < 0 ? 0 : 1, Math.floor(ratio * count) - 1);
  while (fewestHits <= count && !(fewestHits / count > ratio)) fewestHits++;

  const possible = (held: Counts, seen: SeenCounts): boolean => {
    // The best order: all hits first, then as few others as complete the count (or are the interval's one packet).
    const hits = held.hitsMost + seen.hitsMost;
    if (hits < fewestHits) return false;
    const before = held.othersLeast;
    const others = Math.max(before + (seen.hitsMost === 0 ? 1 : 0), count - hits);
    if (others > held.othersMost + seen.othersMost) return false;
    return hits / (hits + others) > ratio;
  };

  return {
    nothing: noCounts,
    whole(seen, into) {
      into.hitsLeast = seen.hitsLeast;
      into.hitsMost = seen.hitsMost;
      into.othersLeast = seen.othersLeast;
      into.othersMost = seen.othersMost;
      into.diluted = seen.diluted === true;
      return into;
    },
    part(seen, into) {
      into.hitsLeast = !seen.loose && seen.othersMost === 0 ? 1 : 0;
      into.hitsMost = seen.hitsMost;
      into.othersLeast = !seen.loose && seen.hitsMost === 0 ? 1 : 0;
      into.othersMost = seen.othersMost;
      into.diluted = seen.diluted === true;
      return into;
    },
    add(held, seen, into) {
      into.hitsLeast = held.hitsLeast + seen.hitsLeast;
      into.hitsMost = held.hitsMost + seen.hitsMost;
      into.othersLeast = held.othersLeast + seen.othersLeast;
      into.othersMost = held.othersMost + seen.othersMost;
      into.diluted = held.diluted || seen.diluted === true;
      return into;
    },
    certain({ hitsLeast, othersLeast, othersMost, diluted }) {
      if (hitsLeast + othersLeast < count) return false;
      return ratio < 0 || (!diluted && hitsLeast / (hitsLeast + othersMost) > ratio);
    },
    possible,
    unavoidable(held, seen, windows) {
      // Windows that stay silent hold fewer than `count` packets each, or at least a share 1 - ratio of others.
      if (ratio >= 0 && (held.diluted || seen.diluted)) return false;
      const packets = held.hitsLeast + held.othersLeast + seen.hitsLeast + seen.othersLeast;
      const judged = packets - windows * (count - 1), others = held.othersMost + seen.othersMost;
      return judged > 0 && (ratio < 0 || 1 - others / judged > ratio + ROUNDING);
    },
    most(seen, windows) {
      if (!possible(EMPTY, seen)) return 0;
      const byPackets = Math.floor((seen.hitsMost + seen.othersMost) / count);
      return Math.min(windows, byPackets, fewestHits > 0 ? Math.floor(seen.hitsMost / fewestHits) : Infinity);
    },
    merge(a, b, into) {
      into.hitsLeast = Math.min(a.hitsLeast, b.hitsLeast);
      into.hitsMost = Math.max(a.hitsMost, b.hitsMost);
      into.othersLeast = Math.min(a.othersLeast, b.othersLeast);
      into.othersMost = Math.max(a.othersMost, b.othersMost);
      into.diluted = a.diluted || b.diluted;
      return into;
    },
    equal: (a, b) =>
      a.hitsLeast === b.hitsLeast && a.hitsMost === b.hitsMost && a.othersLeast === b.othersLeast &&
      a.othersMost === b.othersMost && a.diluted === b.diluted,
    isFar: (held, seen) => held.hitsMost + held.othersMost + seen.hitsMost + seen.othersMost < FAR * count,
  };
}

function noCounts(): Counts {
  return { hitsLeast: 0, hitsMost: 0, othersLeast: 0, othersMost: 0, diluted: false };
}

const EMPTY: Readonly<Counts> = noCounts();

/** Ports of an interval. */
export interface SeenPorts extends Placement {
  ports: ReadonlySet<number>;
  packets: number;
}

/** Ports in a window: those that are certainly in it, and those that may be. */
export interface Ports {
  certain: ReadonlySet<number>;
  possible: ReadonlySet<number>;
}

const NONE: ReadonlySet<number> = new Set();

function noPorts(): Ports {
  return { certain: NONE, possible: NONE };
}

/** Windows that count distinct ports, and alert at `count` of them. */
export function portContent(count: number): Content<Ports, SeenPorts> {
  const certainPorts = (seen: SeenPorts) => seen.optional ? NONE : seen.ports;
  return {
    nothing: noPorts,
    whole(seen, into) {
      into.certain = certainPorts(seen);
      into.possible = seen.ports;
      return into;
    },
    part(seen, into) {
      into.certain = !seen.loose && seen.ports.size === 1 ? seen.ports : NONE;
      into.possible = seen.ports;
      return into;
    },
    add(held, seen, into) {
      into.certain = union(held.certain, certainPorts(seen));
      into.possible = union(held.possible, seen.ports);
      return into;
    },
    certain: ({ certain }) => certain.size >= count,
    possible: (held, seen) => union(held.possible, seen.ports).size >= count,
    unavoidable: (held, seen, windows) => union(held.certain, certainPorts(seen)).size > windows * (count - 1),
    most: (seen, windows) => seen.ports.size < count ? 0 : Math.min(windows, Math.floor(seen.packets / count)),
    merge(a, b, into) {
      into.certain = intersection(a.certain, b.certain);
      into.possible = union(a.possible, b.possible);
      return into;
    },
    isFar: (held, seen) => held.possible.size + seen.ports.size < FAR * count,
    equal: (a, b) => sameSet(a.certain, b.certain) && sameSet(a.possible, b.possible),
  };
}

/** Either set itself where the other holds it. */
function intersection(a: ReadonlySet<number>, b: ReadonlySet<number>): ReadonlySet<number> {
  if (a === b || a.size === 0 || b.size === 0) return a.size === 0 ? a : b;
  const [fewer, more] = a.size <= b.size ? [a, b] : [b, a];
  for (const port of fewer) if (!more.has(port)) return a.intersection(b);
  return fewer;
}

/** Either set itself where it holds the other: windows mostly see the same ports again. */
function union(a: ReadonlySet<number>, b: ReadonlySet<number>): ReadonlySet<number> {
  if (a.size === 0 || a === b) return b;
  for (const port of b) if (!a.has(port)) return a.union(b);
  return a;
}

function sameSet(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
  return a === b || (a.size === b.size && a.isSubsetOf(b));
}
