/**
 * A counter with a window: which of a source's matches count, of those that came one after another. Pure.
 *
 * A window opens with the first match after the one before has ended, and closes when its length is over. Of the
 * matches in it, `limit` lets the first N through, `threshold` every N-th, `both` the N-th only. Rules of detection,
 * the fixed window of the rate limiter, SYN challenges and the guards for RST, FIN and ACK are all of this kind.
 *
 * Packet by packet the answer is exact. Of an interval only a number of matches is known: `boundGate` follows every
 * window that they can make, and its answer holds for every order of them.
 */

/** What a gate lets through. */
export interface GateRule {
  type: "limit" | "threshold" | "both";
  count: number;
  windowMs: number;
}

/** A gate's window as it is. */
export interface Gate {
  matches: number;
  startMs: number;
}

export function createGate(): Gate {
  return { matches: 0, startMs: -Infinity };
}

/** Whether the gate lets a match at `nowMs` through. */
export function passGate({ type, count, windowMs }: GateRule, gate: Gate, nowMs: number): boolean {
  if (nowMs - gate.startMs >= windowMs) {
    gate.matches = 0;
    gate.startMs = nowMs;
  }
  const n = ++gate.matches;
  if (type === "limit") return n <= count;
  return type === "threshold" ? n % count === 0 : n === count;
}

// -------------------------------------------------------------------------------------------------- intervals

/** What a gate's window can be at the end of an interval: between the bounds, or over. */
export interface GateBounds {
  fewest: number;
  most: number;
  /** Earliest and latest start of the window; -Infinity before the first match. */
  earliestMs: number;
  latestMs: number;
}

/** A number that is known up to its bounds. */
export interface Range {
  lower: number;
  upper: number;
}

/** Matches somewhere in an interval. */
export interface Matches extends Range {
  beginMs: number;
  endMs: number;
}

export function createGateBounds(): GateBounds {
  return { fewest: 0, most: 0, earliestMs: -Infinity, latestMs: -Infinity };
}

/** Whether the window that was open is over when the interval begins, so that its first match opens one. */
function isFresh({ windowMs }: GateRule, { latestMs }: GateBounds, { beginMs }: Matches): boolean {
  return beginMs - latestMs >= windowMs;
}

/** Windows that can open in the interval after the first of it: the one that was open, or a fresh one. */
function countOpenings({ windowMs }: GateRule, gate: GateBounds, { beginMs, endMs }: Matches, fresh: boolean): number {
  // Starts lie a window's length apart, and of an interval one end is not part of it: nothing is as early as the
  // earliest start and as late as the end.
  const fitting = Math.ceil((endMs - beginMs) / windowMs);
  if (fresh) return Math.max(0, fitting - 1);
  const next = gate.earliestMs + windowMs;
  if (next >= endMs) return 0;
  return next <= beginMs ? fitting : Math.ceil((endMs - next) / windowMs);
}

/** How many of the matches get through, at least and at most. */
export function boundGate(rule: GateRule, gate: GateBounds, matches: Matches): Range {
  const { type, count: N } = rule, { lower: m, upper: M } = matches;
  if (M === 0) return { lower: 0, upper: 0 };
  const fresh = isFresh(rule, gate, matches), more = countOpenings(rule, gate, matches, fresh);
  const n = fresh ? 0 : gate.fewest, N0 = fresh ? 0 : gate.most;
  if (type === "limit") {
    return { lower: Math.min(m, Math.max(0, N - N0)), upper: Math.min(M, Math.max(0, N - n) + more * N) };
  }
  if (type === "threshold") {
    const known = n === N0, before = Math.floor(n / N);
    // Each window loses what is left over of it; a window that was joined half-way gains no more than one.
    const upper = known ? Math.floor((n + M) / N) - before : Math.ceil(M / N);
    if (more > 0) return { lower: Math.max(0, Math.ceil((m - (more + 1) * (N - 1)) / N)), upper };
    return { lower: known ? Math.floor((n + m) / N) - before : Math.floor(m / N), upper };
  }
  const before = n < N ? 1 : 0;
  const upper = Math.min(before + more, Math.floor((N0 + M) / N) + (more > 0 ? Math.floor(M / N) : 0), M);
  if (N0 >= N) return { lower: 0, upper };
  return { lower: m > N - 1 - n + more * (N - 1) ? 1 : 0, upper };
}

/** The gate after the matches. */
export function advanceGate(rule: GateRule, gate: GateBounds, matches: Matches): void {
  const { lower: m, upper: M, beginMs, endMs } = matches;
  if (M === 0) return;
  const fresh = isFresh(rule, gate, matches), more = countOpenings(rule, gate, matches, fresh);
  if (fresh) {
    gate.fewest = more === 0 ? m : Math.min(1, m);
    gate.most = M;
    gate.earliestMs = beginMs;
    gate.latestMs = endMs;
    return;
  }
  // Without a match so far, the window opens in this interval.
  if (more > 0 || gate.fewest === 0) gate.latestMs = endMs;
  if (more > 0) gate.fewest = m > 0 ? 1 : Math.min(1, gate.fewest);
  else gate.fewest += m;
  gate.most += M;
  // The window of the last match is open at it.
  if (m > 0) gate.earliestMs = Math.max(gate.earliestMs, beginMs - rule.windowMs);
}

/** The fewest matches that let `wanted` through for certain, up to `most`; Infinity if not even so many do. */
export function matchesFor(rule: GateRule | undefined, gate: GateBounds, wanted: number, matches: Matches): number {
  if (wanted <= 0) return 0;
  if (!rule) return wanted;
  const { upper, beginMs, endMs } = matches, some = { lower: upper, upper, beginMs, endMs };
  if (boundGate(rule, gate, some).lower < wanted) return Infinity;
  let low = 0, high = upper;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    some.lower = some.upper = middle;
    if (boundGate(rule, gate, some).lower >= wanted) high = middle;
    else low = middle;
  }
  return high;
}

/** The fewest matches that can let `wanted` through; Infinity if `most` can't. */
export function matchesAtLeast(rule: GateRule | undefined, gate: GateBounds, wanted: number, matches: Matches): number {
  if (wanted <= 0) return 0;
  if (!rule) return wanted <= matches.upper ? wanted : Infinity;
  const { upper, beginMs, endMs } = matches, some = { lower: 0, upper, beginMs, endMs };
  if (boundGate(rule, gate, some).upper < wanted) return Infinity;
  let low = 0, high = upper;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    some.upper = middle;
    if (boundGate(rule, gate, some).upper >= wanted) high = middle;
    else low = middle;
  }
  return high;
}
