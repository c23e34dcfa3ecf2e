/**
 * How many would be hit, at the most: the exact (Clopper–Pearson) upper limit of a proportion.
 *
 * Of n drawn, x were hit. The limit is the proportion at which seeing x or fewer has a chance of 5 %: the 0.95
 * quantile of Beta(x + 1, n - x) (C. Clopper and E. Pearson, Biometrika 26, 1934). Pure.
 */
import { prefixOf } from "../prefix.ts";
import type { FpBound } from "./summary.ts";

/**
 * The upper limit at 95 % confidence, one-sided.
 *
 * @returns null if n is 0: nothing is known then.
 */
export function upperLimit(x: number, n: number): number | null {
  if (n <= 0) return null;
  if (x >= n) return 1;
  if (x <= 0) return 1 - 0.05 ** (1 / n);
  let low = x / n, high = 1;
  for (let i = 0; i < 100 && high - low > 1e-15; i++) {
    const middle = (low + high) / 2;
    if (incompleteBeta(middle, x + 1, n - x) < 0.95) low = middle;
    else high = middle;
  }
  return high;
}

/** The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast below the mean only.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) + lnGamma(a + b) - lnGamma(a) - lnGamma(b)) / a;
  const tiny = 1e-300;
  let c = 1, d = 1 / nonZero(1 - (a + b) * x / (a + 1)), result = d;
  for (let m = 1; m < 10_000; m++) {
    const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / nonZero(1 + even * d);
    c = nonZero(1 + even / c);
    result *= d * c;
    const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / nonZero(1 + odd * d);
    c = nonZero(1 + odd / c);
    result *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return Math.min(1, front * result);

  function nonZero(value: number): number {
    return Math.abs(value) < tiny ? tiny : value;
  }
}

/** ln Γ(z) for z ≥ 1/2, by Stirling's series from 10 on (DLMF 5.11.1): about 14 digits. */
function lnGamma(z: number): number {
  let shift = 0;
  while (z < 10) shift -= Math.log(z++);
  const w = 1 / (z * z);
  const series = (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z;
  return shift + (z - 0.5) * Math.log(z) - z + Math.log(2 * Math.PI) / 2 + series;
}

/** In a column of marks, what a source is and what befell it. */
export const LEGITIMATE = 1, HIT = 2;

/** Numbers for networks: /24 of IPv4, /48 of IPv6. Sources in one aren't independent. */
export interface Networks {
  of(source: number): number;
}

/** Networks of sources, each found once. */
export function createNetworks(sources: { bytes(source: number): Uint8Array; readonly count: number }): Networks {
  const numbers = new Map<string, number>(), known = new Int32Array(sources.count).fill(-1);
  return {
    of(source) {
      if (known[source]! >= 0) return known[source]!;
      const bytes = sources.bytes(source), { bytes: network } = prefixOf(bytes, bytes.length === 4 ? 24 : 48);
      const key = String.fromCharCode(...network), number = numbers.get(key) ?? numbers.size;
      numbers.set(key, number);
      return known[source] = number;
    },
  };
}

/** The bounds of one column of marks. */
export interface Bounder {
  /** Likely-legitimate sources. */
  readonly legitimate: number;
  /** If these would have been blocked, legitimate or not; each is named once. */
  of(hits: Iterable<number>): FpBound;
  /** With those that are marked as hit. */
  marked(): FpBound;
}

/** Counts the likely-legitimate sources of a column and their networks, once for any number of bounds. */
export function createBounder(marks: Uint8Array, networks: Networks): Bounder {
  const all = new Set<number>();
  let legitimate = 0;
  for (let source = 0; source < marks.length; source++) {
    if ((marks[source]! & LEGITIMATE) === 0) continue;
    legitimate++;
    all.add(networks.of(source));
  }
  return boundCounted(marks, networks, { legitimate, networks: all.size });
}

/**
 * The bounds of a column whose likely-legitimate sources, and their networks, have been counted: of `marks` only those
 * need to be there that may be hit.
 */
export function boundCounted(
  marks: Uint8Array,
  networks: Networks,
  all: { legitimate: number; networks: number },
): Bounder {
  const { legitimate } = all;
  const of = (hits: Iterable<number>): FpBound => {
    const hitNetworks = new Set<number>();
    let hit = 0;
    for (const source of hits) {
      if ((marks[source]! & LEGITIMATE) === 0) continue;
      hit++;
      hitNetworks.add(networks.of(source));
    }
    const upper = upperLimit(hit, legitimate), network = upperLimit(hitNetworks.size, all.networks);
    return {
      legitimate,
      hit,
      point: legitimate > 0 ? hit / legitimate : null,
      upper: upper === null || network === null ? null : Math.max(upper, network),
      by_network: { legitimate: all.networks, hit: hitNetworks.size, upper: network },
    };
  };
  function* marked(): Generator<number> {
    for (let source = 0; source < marks.length; source++) if ((marks[source]! & HIT) !== 0) yield source;
  }
  return { legitimate, of, marked: () => of(marked()) };
}
