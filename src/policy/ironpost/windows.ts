/**
 * Bounds for what a window that begins with a packet would have seen, from counts by interval.
 *
 * The engine's windows tumble: one begins with the first packet that comes when none is open, ends `windowMs` later,
 * and alerts at most once. An interval says how many packets came, not when; so where a window begins is known only
 * to within an interval, and whether a later interval's packets fall into it or begin the next may be open. A track
 * follows one source (or group) as a list of hypotheses: each is a range for the window's begin, a range for what is
 * in it, and lower and upper counts of alerts so far. Together they hold every course that the packets can have
 * taken. Where they become too many, the nearest two are merged into one that holds both. What is counted is the
 * content's (contents.ts). Pure.
 */

/** What a window holds, of what an interval brings (`S`), as a range `C`. */
export interface Content<C, S> {
  /** A window that holds all of the interval's packets. */
  whole(seen: S): C;
  /** A window that holds at least one of them. */
  part(seen: S): C;
  /** A window that held `content`, and all of them. */
  add(content: C, seen: S): C;
  /** True if a window that holds this has alerted, whatever the order of the packets. */
  certain(content: C): boolean;
  /** False if no order of the packets makes a window alert that held `content` (or nothing) before. */
  possible(content: C | undefined, seen: S): boolean;
  /** True if `windows` windows, the first of which held `content` before, can't all stay silent. */
  unavoidable(content: C | undefined, seen: S, windows: number): boolean;
  /** Most alerts that `windows` new windows can make of the interval's packets. */
  most(seen: S, windows: number): number;
  /** What holds both; undefined is a window without a recorded packet. */
  merge(a: C | undefined, b: C | undefined): C | undefined;
  equal(a: C, b: C): boolean;
  /** Whether a window that held `content` before is far from alerting after the interval, too. */
  isFar(content: C | undefined, seen: S): boolean;
}

/** Where and how an interval's packets came, besides what they are. */
export interface Placement {
  /** The packets were judged within (fromMs, toMs]. */
  fromMs: number;
  toMs: number;
  /** All of them may have been ignored, or there may have been none. */
  optional?: boolean;
  /** Packets that nobody recorded may have begun windows. */
  loose?: boolean;
}

/** One course of things. */
interface Hypothesis<C> {
  /** When the window began: after `earliest`, no later than `latest`; -Infinity: none was ever open. */
  earliest: number;
  latest: number;
  content: C | undefined;
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

/** What one source or group may be in the middle of. */
export interface Track<C> {
  hypotheses: Hypothesis<C>[];
  /** Alerts so far, certainly and at most. */
  least: number;
  most: number;
  /** Begins of intervals in which an alert became possible and none certain since. */
  open: number[];
}

/** What an interval did to a track. */
export interface Judgement {
  /** By how much the certain and the possible number of alerts grew. */
  least: number;
  most: number;
  /** Alerts within the interval. */
  nowLeast: number;
  nowMost: number;
  /** Earliest time of the alert that the growth is about. */
  earliestMs: number;
  /** Earliest begin of the window that was judged. */
  windowMs: number;
}

/** More hypotheses than this are merged; fewer are kept of a track that can't have alerted, one if it is far from it. */
const MOST_HYPOTHESES = 10, MOST_COLD = 3;

/** A track on which nothing came yet. */
export function createTrack<C>(): Track<C> {
  const none = { earliest: -Infinity, latest: -Infinity, content: undefined, alerted: false, perhaps: false };
  const silent = { closedLeast: 0, closedMost: 0, least: 0, most: 0, nowLeast: 0, nowMost: 0 };
  return { hypotheses: [{ ...none, ...silent }], least: 0, most: 0, open: [] };
}

/** True if a packet after `atMs` would begin a new window whatever happened: the track can be forgotten. */
export function isExpired<C>(track: Track<C>, { atMs, windowMs }: { atMs: number; windowMs: number }): boolean {
  return track.hypotheses.every((h) => atMs - h.latest >= windowMs);
}

/** Takes an interval's packets into a track; there is at least one, unless `optional`. */
export function advance<C, S extends Placement>(
  track: Track<C>,
  seen: S,
  { content, windowMs }: { content: Content<C, S>; windowMs: number },
): Judgement {
  const [only] = track.hypotheses;
  if (track.hypotheses.length === 1 && isFar(only!, seen, content)) {
    keepFar(only!, seen, { content, windowMs });
    return NOTHING;
  }
  const { fromMs, toMs } = seen, next: Hypothesis<C>[] = [], rules = { content, windowMs };
  for (const known of track.hypotheses) {
    if (seen.optional) next.push({ ...known, nowLeast: 0, nowMost: 0 });
    const candidates = seen.loose ? withUnseenWindow(known, fromMs, windowMs) : [known];
    for (const h of candidates) {
      if (fromMs - h.latest >= windowMs) {
        next.push(begin(h, seen, rules));
        continue;
      }
      next.push(stay(h, seen, rules));
      if (toMs - h.earliest > windowMs) next.push(...turn(h, seen, rules));
    }
  }
  const far = next.every((h) => !h.alerted && !h.perhaps && content.isFar(h.content, seen));
  track.hypotheses = limitHypotheses(next, content, far);
  return judge(track, fromMs, windowMs);
}

const NOTHING: Judgement = { least: 0, most: 0, nowLeast: 0, nowMost: 0, earliestMs: 0, windowMs: 0 };

/** Whether no window can come near an alert, wherever it begins: so it is with nearly all sources, nearly always. */
function isFar<C, S extends Placement>(h: Hypothesis<C>, seen: S, content: Content<C, S>): boolean {
  return !h.alerted && !h.perhaps && !seen.optional && content.isFar(h.content, seen);
}

/** Takes an interval's packets into the only hypothesis of such a track, as merging all of its courses would. */
function keepFar<C, S extends Placement>(h: Hypothesis<C>, seen: S, { content, windowMs }: Rules<C, S>): void {
  const { fromMs, toMs, loose } = seen, expired = fromMs - h.latest >= windowMs;
  const unseen = loose === true && h.earliest + windowMs < fromMs;
  const turns = expired ? toMs - fromMs > windowMs : toMs - h.earliest > windowMs;
  const held = expired || h.content === undefined ? content.whole(seen) : content.add(h.content, seen);
  h.content = turns || unseen ? content.merge(held, content.part(seen)) : held;
  h.earliest = expired && !unseen ? fromMs : Math.max(h.earliest, fromMs - windowMs);
  if (expired || turns) h.latest = toMs;
  else if (unseen) h.latest = Math.max(h.latest, fromMs);
  h.closedLeast = h.least;
  h.closedMost = h.most;
  h.nowLeast = h.nowMost = 0;
}

/** The hypothesis, and that a window without any recorded packet is open when the interval begins. */
function withUnseenWindow<C>(h: Hypothesis<C>, fromMs: number, windowMs: number): Hypothesis<C>[] {
  const earliest = Math.max(h.earliest + windowMs, fromMs - windowMs);
  if (earliest >= fromMs) return [h];
  const closed = { closedLeast: h.least, closedMost: h.most };
  return [h, { ...h, ...closed, earliest, latest: fromMs, content: undefined, alerted: false, perhaps: false }];
}

interface Rules<C, S> {
  content: Content<C, S>;
  windowMs: number;
}

/** No window was open: the first packet begins one, and an interval longer than a window may see several. */
function begin<C, S extends Placement>(h: Hypothesis<C>, seen: S, rules: Rules<C, S>): Hypothesis<C> {
  const { content, windowMs } = rules, windows = Math.max(1, Math.ceil((seen.toMs - seen.fromMs) / windowMs));
  const closed: Hypothesis<C> = {
    ...h,
    earliest: seen.fromMs,
    latest: seen.toMs,
    closedLeast: h.least,
    closedMost: h.most,
  };
  if (windows === 1) return judgeWindow({ ...closed, content: undefined, alerted: false, perhaps: false }, seen, rules);
  const most = content.most(seen, windows), least = content.unavoidable(undefined, seen, windows) ? 1 : 0;
  return {
    ...closed,
    content: content.part(seen),
    alerted: false,
    perhaps: most > 0,
    closedMost: h.most + Math.min(most, windows - 1),
    least: h.least + least,
    most: h.most + most,
    nowLeast: least,
    nowMost: most,
  };
}

/** All of the packets fall into the window that is open. */
function stay<C, S extends Placement>(h: Hypothesis<C>, seen: S, rules: Rules<C, S>): Hypothesis<C> {
  return judgeWindow({ ...h, earliest: Math.max(h.earliest, seen.fromMs - rules.windowMs) }, seen, rules);
}

/** Adds the packets to the hypothesis' window. */
function judgeWindow<C, S>(h: Hypothesis<C>, seen: S, { content }: Rules<C, S>): Hypothesis<C> {
  const held = h.content === undefined ? content.whole(seen) : content.add(h.content, seen);
  const possible = !h.alerted && content.possible(h.content, seen);
  const certain = !h.alerted && content.certain(held);
  return {
    ...h,
    content: held,
    alerted: h.alerted || certain,
    perhaps: h.perhaps || possible,
    least: certain ? Math.max(h.least, h.closedLeast + 1) : h.least,
    most: possible ? Math.min(h.most, h.closedMost) + 1 : h.most,
    nowLeast: certain && !h.perhaps ? 1 : 0,
    nowMost: possible ? 1 : 0,
  };
}

/** The window ends within the interval: some packets, or none, fall into it, the others begin the next. */
function turn<C, S extends Placement>(h: Hypothesis<C>, seen: S, rules: Rules<C, S>): Hypothesis<C>[] {
  const { content, windowMs } = rules, earliest = Math.max(seen.fromMs, h.earliest + windowMs);
  const windows = Math.max(1, Math.ceil((seen.toMs - earliest) / windowMs));
  const fresh = { ...h, earliest, latest: seen.toMs, content: undefined, alerted: false, perhaps: false };
  const lastOld = !h.alerted && content.possible(h.content, seen) ? 1 : 0;
  const oldMost = lastOld ? Math.min(h.most, h.closedMost) + 1 : h.most;
  const most = content.most(seen, windows), least = content.unavoidable(h.content, seen, windows + 1) ? 1 : 0;
  const after: Hypothesis<C> = {
    ...fresh,
    content: content.part(seen),
    perhaps: most > 0,
    closedLeast: h.least,
    closedMost: oldMost + Math.min(most, windows - 1),
    least: Math.max(h.least, h.closedLeast + least),
    most: oldMost + most,
    nowLeast: h.perhaps ? 0 : least,
    nowMost: lastOld + most,
  };
  if (windows > 1) return [after];
  const atFirst = judgeWindow({ ...fresh, closedLeast: h.least, closedMost: h.most }, seen, rules);
  return [atFirst, after];
}

/** Merges what is alike, then the nearest, until there are few enough. */
function limitHypotheses<C, S>(hypotheses: Hypothesis<C>[], content: Content<C, S>, far: boolean): Hypothesis<C>[] {
  if (hypotheses.length === 1) return hypotheses;
  const kept: Hypothesis<C>[] = [];
  for (const h of hypotheses) {
    const at = kept.findIndex((k) => isAlike(k, h, content));
    if (at < 0) kept.push(h);
    else kept[at] = merge(kept[at]!, h, content);
  }
  const most = far ? 1 : kept.some((h) => h.perhaps || h.nowMost > 0) ? MOST_HYPOTHESES : MOST_COLD;
  if (kept.length <= most) return kept;
  kept.sort((a, b) => a.earliest - b.earliest || a.latest - b.latest);
  while (kept.length > most) {
    let near = 1, least = Infinity;
    for (let i = 1; i < kept.length; i++) {
      const a = kept[i - 1]!, b = kept[i]!;
      const distance = Math.abs(b.earliest - a.earliest) + Math.abs(b.latest - a.latest) +
        (a.alerted === b.alerted ? 0 : 1) + Math.abs(a.most - b.most) + Math.abs(a.least - b.least);
      // A hypothesis without a window is at -Infinity: it is merged with its like alone.
      if (distance < least) [near, least] = [i, distance];
    }
    kept.splice(near - 1, 2, merge(kept[near - 1]!, kept[near]!, content));
  }
  return kept;
}

function isAlike<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): boolean {
  if (a.earliest !== b.earliest || a.latest !== b.latest || a.alerted !== b.alerted) return false;
  if (a.content === undefined || b.content === undefined) return a.content === b.content;
  return content.equal(a.content, b.content);
}

/** What holds both courses. */
function merge<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): Hypothesis<C> {
  return {
    earliest: Math.min(a.earliest, b.earliest),
    latest: Math.max(a.latest, b.latest),
    content: content.merge(a.content, b.content),
    alerted: a.alerted && b.alerted,
    perhaps: a.perhaps || b.perhaps,
    closedLeast: Math.min(a.closedLeast, b.closedLeast),
    closedMost: Math.max(a.closedMost, b.closedMost),
    least: Math.min(a.least, b.least),
    most: Math.max(a.most, b.most),
    nowLeast: Math.min(a.nowLeast, b.nowLeast),
    nowMost: Math.max(a.nowMost, b.nowMost),
  };
}

/** What all hypotheses agree on, and how it differs from before. */
function judge<C>(track: Track<C>, fromMs: number, windowMs: number): Judgement {
  let least = Infinity, most = 0, nowLeast = Infinity, nowMost = 0, begin = Infinity;
  for (const h of track.hypotheses) {
    least = Math.min(least, h.least);
    most = Math.max(most, h.most);
    nowLeast = Math.min(nowLeast, h.nowLeast);
    nowMost = Math.max(nowMost, h.nowMost);
    if (h.earliest > -Infinity) begin = Math.min(begin, h.earliest);
  }
  const grown = { least: Math.max(0, least - track.least), most: Math.max(0, most - track.most) };
  const open = track.open.filter((time) => time >= fromMs - 2 * windowMs);
  const earliestMs = grown.least > 0 ? open.shift() ?? fromMs : fromMs;
  if (grown.most > grown.least) open.push(fromMs);
  track.open = open;
  [track.least, track.most] = [Math.max(track.least, least), Math.max(track.most, most)];
  return { ...grown, nowLeast, nowMost, earliestMs, windowMs: Math.min(begin, fromMs) };
}
