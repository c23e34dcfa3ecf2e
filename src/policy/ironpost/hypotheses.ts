/**
 * Hypotheses: courses that a source's (or group's) windows can have taken, and how many courses become few.
 *
 * Each is a range for the window's begin, a range for what is in it, and lower and upper counts of alerts so far.
 * Those that differ in nothing but their alerts are one; where they become too many, the nearest two are merged into one
 * that holds both. What is counted is the content's (contents.ts). Pure.
 */

/** What a window holds, of what an interval brings (`S`), as a range `C`; what changes is put into `into`. */
export interface Content<C, S> {
  /** A window without a recorded packet. */
  nothing(): C;
  /** A window that holds all of the interval's packets. */
  whole(seen: S, into: C): C;
  /** A window that holds at least one of them. */
  part(seen: S, into: C): C;
  /** A window that held `content`, and all of them; `into` may be `content`. */
  add(content: C, seen: S, into: C): C;
  /** True if a window that holds this has alerted, whatever the order of the packets. */
  certain(content: C): boolean;
  /** False if no order of the packets makes a window alert that held `content` before. */
  possible(content: C, seen: S): boolean;
  /** True if `windows` windows, the first of which held `content` before, can't all stay silent. */
  unavoidable(content: C, seen: S, windows: number): boolean;
  /** Most alerts that `windows` new windows can make of the interval's packets; 0 if one can't alert. */
  most(seen: S, windows: number): number;
  /** What holds both; `into` may be either. */
  merge(a: C, b: C, into: C): C;
  equal(a: C, b: C): boolean;
  /** Whether a window that held `content` before is far from alerting after the interval, too. */
  isFar(content: C, seen: S): boolean;
}

/** One course of things. */
export interface Hypothesis<C> {
  /** When the window began: after `earliest`, no later than `latest`; -Infinity: none was ever open. */
  earliest: number;
  latest: number;
  /** Nobody else's. */
  content: C;
  /** The window has alerted, certainly or perhaps. */
  alerted: boolean;
  perhaps: boolean;
  /** Alerts of the windows before, and of all. */
  closedLeast: number;
  closedMost: number;
  least: number;
  most: number;
  /** Alerts within the latest interval. */
  nowLeast: number;
  nowMost: number;
}

export function createHypothesis<C>(content: C): Hypothesis<C> {
  return {
    earliest: -Infinity,
    latest: -Infinity,
    content,
    alerted: false,
    perhaps: false,
    closedLeast: 0,
    closedMost: 0,
    least: 0,
    most: 0,
    nowLeast: 0,
    nowMost: 0,
  };
}

/**
 * Hypotheses that an interval leads to, before they are few. All that are kept live until the next interval, so that as
 * new objects they would be what the garbage collector is worst at: they are changed for those of the track. Lists are
 * not emptied by their length, which would free what they lie in, too.
 */
export interface Drafts<C> {
  /** The first `count` of them, no two alike; the one behind them is being made. */
  next: Hypothesis<C>[];
  count: number;
  /** Of each of them from the one before. */
  distances: number[];
}

export function createDrafts<C>(): Drafts<C> {
  return { next: [], count: 0, distances: [0.5] };
}

/** A hypothesis to write all fields of, and then to add. */
export function draft<C, S>({ next, count }: Drafts<C>, { nothing }: Content<C, S>): Hypothesis<C> {
  if (count === next.length) next.push(createHypothesis(nothing()));
  return next[count]!;
}

/** Adds the drafted hypothesis, or takes it into one that is like it: whichever it is in. */
export function add<C, S>(drafts: Drafts<C>, content: Content<C, S>): Hypothesis<C> {
  const { next, count } = drafts, h = next[count]!;
  for (let i = 0; i < count; i++) {
    if (!isAlike(next[i]!, h, content)) continue;
    mergeAlerts(next[i]!, h);
    return next[i]!;
  }
  drafts.count++;
  return h;
}

function isAlike<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): boolean {
  return a.earliest === b.earliest && a.latest === b.latest && a.alerted === b.alerted &&
    content.equal(a.content, b.content);
}

/** Merges the nearest until there are few enough. */
export function limitHypotheses<C, S>(drafts: Drafts<C>, content: Content<C, S>, most: number): void {
  const { next, distances } = drafts;
  let { count } = drafts;
  if (count <= most) return;
  sortByBegin(next, count);
  for (let i = 1; i < count; i++) distances[i] = distanceOf(next[i - 1]!, next[i]!);
  while (count > most) {
    let near = 1, least = Infinity;
    for (let i = 1; i < count; i++) {
      // A hypothesis without a window is at -Infinity: it is merged with its like alone.
      if (distances[i]! >= least) continue;
      near = i;
      least = distances[i]!;
    }
    const left = next[near]!;
    merge(next[near - 1]!, left, content);
    count--;
    for (let i = near; i < count; i++) {
      next[i] = next[i + 1]!;
      distances[i] = distances[i + 1]!;
    }
    next[count] = left;
    if (near > 1) distances[near - 1] = distanceOf(next[near - 2]!, next[near - 1]!);
    if (near < count) distances[near] = distanceOf(next[near - 1]!, next[near]!);
  }
  drafts.count = count;
}

/** Makes the track's hypotheses the drafts, which get the old ones to write on. */
export function keepNext<C>(kept: Hypothesis<C>[], { next, count }: Drafts<C>): void {
  while (kept.length > count) next.push(kept.pop()!);
  for (let i = 0; i < kept.length; i++) {
    const h = kept[i]!;
    kept[i] = next[i]!;
    next[i] = h;
  }
  while (kept.length < count) {
    const i = kept.length, last = next.pop()!;
    kept.push(i < next.length ? next[i]! : last);
    if (i < next.length) next[i] = last;
  }
}

function distanceOf<C>(a: Hypothesis<C>, b: Hypothesis<C>): number {
  return Math.abs(b.earliest - a.earliest) + Math.abs(b.latest - a.latest) + (a.alerted === b.alerted ? 0 : 1) +
    Math.abs(a.most - b.most) + Math.abs(a.least - b.least);
}

/** Sorts the first `count`; those of the same begin stay as they are. */
function sortByBegin<C>(list: Hypothesis<C>[], count: number): void {
  for (let i = 1; i < count; i++) {
    const h = list[i]!;
    let at = i;
    for (; at > 0; at--) {
      const { earliest, latest } = list[at - 1]!;
      if (!(earliest > h.earliest || (earliest === h.earliest && latest > h.latest))) break;
      list[at] = list[at - 1]!;
    }
    list[at] = h;
  }
}

/** Makes a course hold another, too. */
function merge<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): void {
  a.earliest = Math.min(a.earliest, b.earliest);
  a.latest = Math.max(a.latest, b.latest);
  content.merge(a.content, b.content, a.content);
  a.alerted = a.alerted && b.alerted;
  mergeAlerts(a, b);
}

/** Makes a course hold the alerts of another that is like it, too. */
export function mergeAlerts<C>(a: Hypothesis<C>, b: Hypothesis<C>): void {
  a.perhaps = a.perhaps || b.perhaps;
  a.closedLeast = Math.min(a.closedLeast, b.closedLeast);
  a.closedMost = Math.max(a.closedMost, b.closedMost);
  a.least = Math.min(a.least, b.least);
  a.most = Math.max(a.most, b.most);
  a.nowLeast = Math.min(a.nowLeast, b.nowLeast);
  a.nowMost = Math.max(a.nowMost, b.nowMost);
}
