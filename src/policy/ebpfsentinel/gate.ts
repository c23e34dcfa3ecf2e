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

/** Ranges and matches to be filled: what is asked several times of each source and interval makes no new objects. */
export function createRange(): Range {
  return { lower: 0, upper: 0 };
}

export function createMatches(): Matches {
  return { lower: 0, upper: 0, beginMs: 0, endMs: 0 };
}

/** Fills matches. */
export function setMatches(matches: Matches, { lower, upper }: Range, { beginMs, endMs }: Omit<Matches, keyof Range>) {
  matches.lower = lower;
  matches.upper = upper;
  matches.beginMs = beginMs;
  matches.endMs = endMs;
}

/** Whether the window that was open is over when the interval begins, so that its first match opens one. */
function isFresh({ windowMs }: GateRule, { latestMs }: GateBounds, beginMs: number): boolean {
  return beginMs - latestMs >= windowMs;
}

/** Windows that can open in the interval after the first of it: the one that was open, or a fresh one. */
function countOpenings(
  { windowMs }: GateRule,
  gate: GateBounds,
  { beginMs, endMs }: Omit<Matches, keyof Range>,
  fresh: boolean,
): number {
  // Starts lie a window's length apart, and of an interval one end is not part of it: nothing is as early as the
  // earliest start and as late as the end.
  const fitting = Math.ceil((endMs - beginMs) / windowMs);
  if (fresh) return Math.max(0, fitting - 1);
  const next = gate.earliestMs + windowMs;
  if (next >= endMs) return 0;
  return next <= beginMs ? fitting : Math.ceil((endMs - next) / windowMs);
}

/** What an interval finds of a gate: the same for all that is asked of both, which is found out once. */
export interface Opening {
  /** Whether its first match opens a window. */
  fresh: boolean;
  /** Windows that can open after the first. */
  more: number;
  /** Matches in the window so far: none where it is fresh. */
  fewest: number;
  most: number;
}

export function createOpening(): Opening {
  return { fresh: false, more: 0.5, fewest: 0.5, most: 0.5 };
}

/** Finds it out; put into `into`. */
export function openGate(rule: GateRule, gate: GateBounds, matches: Matches, into = createOpening()): Opening {
  into.fresh = isFresh(rule, gate, matches.beginMs);
  into.more = countOpenings(rule, gate, matches, into.fresh);
  into.fewest = into.fresh ? 0 : gate.fewest;
  into.most = into.fresh ? 0 : gate.most;
  return into;
}

/** A rule, and what an interval finds of its window; without one every match gets through. */
export interface OpenGate {
  rule: GateRule | undefined;
  opening: Opening;
}

/** How many of the matches get through, at least and at most; put into `into`. */
export function boundGate(
  rule: GateRule,
  gate: GateBounds,
  matches: Matches,
  into = createRange(),
  opening = openGate(rule, gate, matches),
): Range {
  const { type, count: N } = rule, { lower: m, upper: M } = matches, { more, fewest: n, most: N0 } = opening;
  into.lower = into.upper = 0;
  if (M === 0) return into;
  if (type === "limit") {
    into.lower = Math.min(m, Math.max(0, N - N0));
    into.upper = Math.min(M, Math.max(0, N - n) + more * N);
  } else if (type === "threshold") {
    const known = n === N0, before = Math.floor(n / N);
    // Each window loses what is left over of it; a window that was joined half-way gains no more than one.
    into.upper = known ? Math.floor((n + M) / N) - before : Math.ceil(M / N);
    if (more > 0) into.lower = Math.max(0, Math.ceil((m - (more + 1) * (N - 1)) / N));
    else into.lower = known ? Math.floor((n + m) / N) - before : Math.floor(m / N);
  } else {
    const before = n < N ? 1 : 0;
    into.upper = Math.min(before + more, Math.floor((N0 + M) / N) + (more > 0 ? Math.floor(M / N) : 0), M);
    if (N0 < N && m > N - 1 - n + more * (N - 1)) into.lower = 1;
  }
  return into;
}

/**
 * Room that a gate of kind `limit` has, put into `into`, and the gate after the matches: what `boundGate` says of
 * matches without end, and `advanceGate` in one. Limits and guards ask this three times a source and interval.
 */
export function takeRoom(rule: GateRule, gate: GateBounds, matches: Matches, into: Range): Range {
  const { count: N } = rule, fresh = isFresh(rule, gate, matches.beginMs);
  const more = countOpenings(rule, gate, matches, fresh);
  into.lower = fresh ? N : Math.max(0, N - gate.most);
  into.upper = (fresh ? N : Math.max(0, N - gate.fewest)) + more * N;
  if (matches.upper > 0) advance(rule, gate, matches, fresh, more);
  return into;
}

/** The gate after the matches. */
export function advanceGate(
  rule: GateRule,
  gate: GateBounds,
  matches: Matches,
  { fresh, more } = openGate(rule, gate, matches),
): void {
  if (matches.upper > 0) advance(rule, gate, matches, fresh, more);
}

function advance(rule: GateRule, gate: GateBounds, matches: Matches, fresh: boolean, more: number): void {
  const { lower: m, upper: M, beginMs, endMs } = matches;
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

/**
 * The fewest matches that let `wanted` through for certain, up to `matches.upper`; Infinity if not even so many do:
 * `boundGate` solved for the matches.
 */
export function matchesFor({ rule, opening }: OpenGate, wanted: number, { upper: M }: Range): number {
  if (wanted <= 0) return 0;
  if (!rule) return wanted;
  const { type, count: N } = rule, { more, fewest: n, most: N0 } = opening;
  let fewest = Infinity;
  if (type === "limit") {
    if (wanted <= N - N0) fewest = wanted;
  } else if (type === "threshold") {
    if (more > 0) fewest = (wanted - 1) * N + (more + 1) * (N - 1) + 1;
    else fewest = n === N0 ? (wanted + Math.floor(n / N)) * N - n : wanted * N;
  } else if (wanted <= 1 && N0 < N) fewest = N - n + more * (N - 1);
  return fewest <= M ? fewest : Infinity;
}

/** The fewest matches that can let `wanted` through; Infinity if `matches.upper` can't. */
export function matchesAtLeast({ rule, opening }: OpenGate, wanted: number, { upper: M }: Range): number {
  if (wanted <= 0) return 0;
  if (!rule) return wanted <= M ? wanted : Infinity;
  const { type, count: N } = rule, { more, fewest: n, most: N0 } = opening;
  let fewest = Infinity;
  if (type === "limit") {
    if (wanted <= Math.max(0, N - n) + more * N) fewest = wanted;
  } else if (type === "threshold") {
    fewest = n === N0 ? (wanted + Math.floor(n / N)) * N - n : (wanted - 1) * N + 1;
  } else if (wanted <= (n < N ? 1 : 0) + more) {
    // Each N matches complete a window, and where others open the one before, too.
    const missing = wanted - Math.floor(N0 / N), completed = N0 % N;
    if (more === 0) fewest = missing * N - completed;
    else fewest = missing % 2 === 0 ? missing / 2 * N : (missing + 1) / 2 * N - completed;
    fewest = Math.max(wanted, fewest);
  }
  return fewest <= M ? fewest : Infinity;
}
