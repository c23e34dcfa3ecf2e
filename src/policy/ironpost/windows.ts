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

/** What a window holds, of what an interval brings (`S`), as a range `C`: a new one, or put into `into`. */
export interface Content<C, S> {
  /** A window that holds all of the interval's packets. */
  whole(seen: S, into?: C): C;
  /** A window that holds at least one of them. */
  part(seen: S, into?: C): C;
  /** A window that held `content`, and all of them. */
  add(content: C, seen: S, into?: C): C;
  /** True if a window that holds this has alerted, whatever the order of the packets. */
  certain(content: C): boolean;
  /** False if no order of the packets makes a window alert that held `content` (or nothing) before. */
  possible(content: C | undefined, seen: S): boolean;
  /** True if `windows` windows, the first of which held `content` before, can't all stay silent. */
  unavoidable(content: C | undefined, seen: S, windows: number): boolean;
  /** Most alerts that `windows` new windows can make of the interval's packets. */
  most(seen: S, windows: number): number;
  /** What holds both; undefined is a window without a recorded packet. */
  merge(a: C | undefined, b: C | undefined, into?: C): C | undefined;
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
  /** Where its content is put together: nobody else's. */
  own: C | undefined;
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
  /** Whether one of the hypotheses has alerted, or may have. */
  perhaps: boolean;
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
  return { hypotheses: [createHypothesis()], least: 0, most: 0, perhaps: false, open: [] };
}

function createHypothesis<C>(): Hypothesis<C> {
  const none = { earliest: -Infinity, latest: -Infinity, content: undefined, own: undefined };
  return {
    ...none,
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

/** True if a packet after `atMs` would begin a new window whatever happened: the track can be forgotten. */
export function isExpired<C>(
  { hypotheses }: Track<C>,
  { atMs, windowMs }: { atMs: number; windowMs: number },
): boolean {
  for (let i = 0; i < hypotheses.length; i++) if (atMs - hypotheses[i]!.latest < windowMs) return false;
  return true;
}

/** What windows count, and how long they are. */
export interface WindowRules<C, S> {
  content: Content<C, S>;
  windowMs: number;
  /** Room to work in, where many tracks have the same rules. */
  scratch?: Scratch<C>;
}

/**
 * Hypotheses that an interval leads to, before they are few, and those that are left over: all that are kept live until
 * the next interval, so that as new objects they would be what the garbage collector is worst at. Lists are not emptied
 * by their length, which would free what they lie in, too.
 */
export interface Scratch<C> {
  /** The first `count` of them. */
  next: Hypothesis<C>[];
  count: number;
  spare: Hypothesis<C>[];
  /** Of each of them from the one before. */
  distances: number[];
  /** Whether the window at work can alert, and whether one that held nothing can. */
  possible: boolean;
  alone: boolean;
  /** Room for what a window holds that has at least one of the interval's packets. */
  part: C | undefined;
  judgement: Judgement;
}

export function createScratch<C>(): Scratch<C> {
  return {
    next: [],
    count: 0,
    spare: [],
    distances: [0.5],
    possible: false,
    alone: false,
    part: undefined,
    judgement: { ...NOTHING },
  };
}

/**
 * Takes an interval's packets into a track; there is at least one, unless `optional`. What is returned may be written
 * over by the next call with the same room to work in.
 */
export function advance<C, S extends Placement>(
  track: Track<C>,
  seen: S,
  rules: WindowRules<C, S>,
): Judgement {
  const { content, windowMs } = rules, { hypotheses } = track, { fromMs } = seen;
  if (hypotheses.length === 1 && isFar(hypotheses[0]!, seen, content)) {
    keepFar(hypotheses[0]!, seen, rules);
    return NOTHING;
  }
  const scratch = rules.scratch ?? createScratch<C>(), { spare } = scratch;
  scratch.count = 0;
  scratch.alone = content.possible(undefined, seen);
  for (let i = 0; i < hypotheses.length; i++) {
    const known = hypotheses[i]!;
    if (seen.optional) {
      const same = copyOf(known, scratch);
      if (known.content !== undefined) {
        same.content = same.own = content.merge(known.content, known.content, same.own);
      }
      same.nowLeast = same.nowMost = 0;
      scratch.next[scratch.count++] = same;
    }
    follow(known, seen, rules, scratch);
    const unseen = seen.loose ? withUnseenWindow(known, { fromMs, windowMs }, scratch) : undefined;
    if (!unseen) continue;
    follow(unseen, seen, rules, scratch);
    spare.push(unseen);
  }
  for (let i = 0; i < hypotheses.length; i++) spare.push(hypotheses[i]!);
  limitHypotheses(hypotheses, scratch, { content, far: isAllFar(scratch, seen, content) });
  return judge(track, scratch.judgement, { fromMs, windowMs });
}

/** Adds what a hypothesis can lead to. */
function follow<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  rules: WindowRules<C, S>,
  scratch: Scratch<C>,
): void {
  const { next } = scratch;
  if (seen.fromMs - h.latest >= rules.windowMs) {
    next[scratch.count++] = begin(h, seen, rules, scratch);
    return;
  }
  const stays = copyOf(h, scratch), possible = !h.alerted && rules.content.possible(h.content, seen);
  scratch.possible = possible;
  // All of the packets fall into the window that is open.
  stays.earliest = Math.max(h.earliest, seen.fromMs - rules.windowMs);
  judgeWindow(stays, seen, rules.content, possible);
  next[scratch.count++] = stays;
  if (seen.toMs - h.earliest > rules.windowMs) turn(h, seen, rules, scratch);
}

function isAllFar<C, S extends Placement>({ next, count }: Scratch<C>, seen: S, content: Content<C, S>): boolean {
  for (let i = 0; i < count; i++) {
    const h = next[i]!;
    if (h.alerted || h.perhaps || !content.isFar(h.content, seen)) return false;
  }
  return true;
}

/**
 * All fields by name, but where content is put together: a spread takes ten times as long, and this is done several
 * times a source and interval.
 */
function copyOf<C>(h: Hypothesis<C>, { spare }: Scratch<C>): Hypothesis<C> {
  const copy = spare.pop() ?? createHypothesis<C>();
  copy.earliest = h.earliest;
  copy.latest = h.latest;
  copy.content = h.content;
  copy.alerted = h.alerted;
  copy.perhaps = h.perhaps;
  copy.closedLeast = h.closedLeast;
  copy.closedMost = h.closedMost;
  copy.least = h.least;
  copy.most = h.most;
  copy.nowLeast = h.nowLeast;
  copy.nowMost = h.nowMost;
  return copy;
}

/** A hypothesis of which the window is over; nothing is in the next one, which began where the caller says. */
function closedOf<C>(h: Hypothesis<C>, scratch: Scratch<C>): Hypothesis<C> {
  const closed = copyOf(h, scratch);
  closed.content = undefined;
  closed.alerted = closed.perhaps = false;
  closed.closedLeast = h.least;
  closed.closedMost = h.most;
  return closed;
}

const NOTHING: Judgement = { least: 0, most: 0, nowLeast: 0, nowMost: 0, earliestMs: 0, windowMs: 0 };

/** Whether no window can come near an alert, wherever it begins: so it is with nearly all sources, nearly always. */
function isFar<C, S extends Placement>(h: Hypothesis<C>, seen: S, content: Content<C, S>): boolean {
  return !h.alerted && !h.perhaps && !seen.optional && content.isFar(h.content, seen);
}

/** Takes an interval's packets into the only hypothesis of such a track, as merging all of its courses would. */
function keepFar<C, S extends Placement>(h: Hypothesis<C>, seen: S, rules: WindowRules<C, S>): void {
  const { content, windowMs, scratch } = rules;
  const { fromMs, toMs, loose } = seen, expired = fromMs - h.latest >= windowMs;
  const unseen = loose === true && h.earliest + windowMs < fromMs;
  const turns = expired ? toMs - fromMs > windowMs : toMs - h.earliest > windowMs;
  const held = expired || h.content === undefined ? content.whole(seen, h.own) : content.add(h.content, seen, h.own);
  h.content = h.own = held;
  if (turns || unseen) {
    const part = content.part(seen, scratch?.part);
    if (scratch) scratch.part = part;
    h.content = h.own = content.merge(held, part, held);
  }
  h.earliest = expired && !unseen ? fromMs : Math.max(h.earliest, fromMs - windowMs);
  if (expired || turns) h.latest = toMs;
  else if (unseen) h.latest = Math.max(h.latest, fromMs);
  h.closedLeast = h.least;
  h.closedMost = h.most;
  h.nowLeast = h.nowMost = 0;
}

/** That a window without any recorded packet is open when the interval begins; undefined if none can be. */
function withUnseenWindow<C>(
  h: Hypothesis<C>,
  { fromMs, windowMs }: { fromMs: number; windowMs: number },
  scratch: Scratch<C>,
): Hypothesis<C> | undefined {
  const earliest = Math.max(h.earliest + windowMs, fromMs - windowMs);
  if (earliest >= fromMs) return undefined;
  const closed = closedOf(h, scratch);
  closed.earliest = earliest;
  closed.latest = fromMs;
  return closed;
}

/** No window was open: the first packet begins one, and an interval longer than a window may see several. */
function begin<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  rules: WindowRules<C, S>,
  scratch: Scratch<C>,
): Hypothesis<C> {
  const { content, windowMs } = rules, windows = Math.max(1, Math.ceil((seen.toMs - seen.fromMs) / windowMs));
  const begun = closedOf(h, scratch);
  begun.earliest = seen.fromMs;
  begun.latest = seen.toMs;
  if (windows === 1) return judgeWindow(begun, seen, content, scratch.alone);
  const most = content.most(seen, windows), least = content.unavoidable(undefined, seen, windows) ? 1 : 0;
  begun.content = begun.own = content.part(seen, begun.own);
  begun.perhaps = most > 0;
  begun.closedMost = h.most + Math.min(most, windows - 1);
  begun.least = h.least + least;
  begun.most = h.most + most;
  begun.nowLeast = least;
  begun.nowMost = most;
  return begun;
}

/** Adds the packets to the window of a hypothesis that is nobody else's, and in which an alert is `possible` or not. */
function judgeWindow<C, S>(
  h: Hypothesis<C>,
  seen: S,
  content: Content<C, S>,
  possible: boolean,
): Hypothesis<C> {
  const held = h.content === undefined ? content.whole(seen, h.own) : content.add(h.content, seen, h.own);
  const certain = !h.alerted && content.certain(held);
  h.content = h.own = held;
  h.nowLeast = certain && !h.perhaps ? 1 : 0;
  h.nowMost = possible ? 1 : 0;
  if (certain) h.least = Math.max(h.least, h.closedLeast + 1);
  if (possible) h.most = Math.min(h.most, h.closedMost) + 1;
  h.alerted = h.alerted || certain;
  h.perhaps = h.perhaps || possible;
  return h;
}

/** The window ends within the interval: some packets, or none, fall into it, the others begin the next. */
function turn<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  { content, windowMs }: WindowRules<C, S>,
  scratch: Scratch<C>,
): void {
  const earliest = Math.max(seen.fromMs, h.earliest + windowMs);
  const windows = Math.max(1, Math.ceil((seen.toMs - earliest) / windowMs));
  const lastOld = scratch.possible ? 1 : 0;
  const oldMost = lastOld ? Math.min(h.most, h.closedMost) + 1 : h.most;
  const most = content.most(seen, windows), least = content.unavoidable(h.content, seen, windows + 1) ? 1 : 0;
  if (windows === 1) {
    const begun = closedOf(h, scratch);
    begun.earliest = earliest;
    begun.latest = seen.toMs;
    scratch.next[scratch.count++] = judgeWindow(begun, seen, content, scratch.alone);
  }
  const after = closedOf(h, scratch);
  after.earliest = earliest;
  after.latest = seen.toMs;
  after.content = after.own = content.part(seen, after.own);
  after.perhaps = most > 0;
  after.closedMost = oldMost + Math.min(most, windows - 1);
  after.least = Math.max(h.least, h.closedLeast + least);
  after.most = oldMost + most;
  after.nowLeast = h.perhaps ? 0 : least;
  after.nowMost = lastOld + most;
  scratch.next[scratch.count++] = after;
}

/** Merges what is alike, then the nearest, until there are few enough: those that are kept, and replace what `kept` was. */
function limitHypotheses<C, S>(
  kept: Hypothesis<C>[],
  { next, count: found, spare, distances }: Scratch<C>,
  { content, far }: { content: Content<C, S>; far: boolean },
): void {
  let most = far ? 1 : MOST_COLD, count = 0;
  for (let i = 0; i < found; i++) {
    const h = next[i]!;
    if (!far && (h.perhaps || h.nowMost > 0)) most = MOST_HYPOTHESES;
    let at = 0;
    while (at < count && !isAlike(kept[at]!, h, content)) at++;
    if (at === count) {
      kept[count++] = h;
      continue;
    }
    merge(kept[at]!, h, content);
    spare.push(h);
  }
  if (count > most) {
    sortByBegin(kept, count);
    for (let i = 1; i < count; i++) distances[i] = distanceOf(kept[i - 1]!, kept[i]!);
  }
  while (count > most) {
    let near = 1, least = Infinity;
    for (let i = 1; i < count; i++) {
      // A hypothesis without a window is at -Infinity: it is merged with its like alone.
      if (distances[i]! >= least) continue;
      near = i;
      least = distances[i]!;
    }
    merge(kept[near - 1]!, kept[near]!, content);
    spare.push(kept[near]!);
    count--;
    for (let i = near; i < count; i++) {
      kept[i] = kept[i + 1]!;
      distances[i] = distances[i + 1]!;
    }
    if (near > 1) distances[near - 1] = distanceOf(kept[near - 2]!, kept[near - 1]!);
    if (near < count) distances[near] = distanceOf(kept[near - 1]!, kept[near]!);
  }
  if (kept.length > count) kept.length = count;
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

function isAlike<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): boolean {
  if (a.earliest !== b.earliest || a.latest !== b.latest || a.alerted !== b.alerted) return false;
  if (a.content === undefined || b.content === undefined) return a.content === b.content;
  return content.equal(a.content, b.content);
}

/** Makes a course hold another, too. */
function merge<C, S>(a: Hypothesis<C>, b: Hypothesis<C>, content: Content<C, S>): void {
  a.earliest = Math.min(a.earliest, b.earliest);
  a.latest = Math.max(a.latest, b.latest);
  a.content = a.own = content.merge(a.content, b.content, a.own);
  a.alerted = a.alerted && b.alerted;
  a.perhaps = a.perhaps || b.perhaps;
  a.closedLeast = Math.min(a.closedLeast, b.closedLeast);
  a.closedMost = Math.max(a.closedMost, b.closedMost);
  a.least = Math.min(a.least, b.least);
  a.most = Math.max(a.most, b.most);
  a.nowLeast = Math.min(a.nowLeast, b.nowLeast);
  a.nowMost = Math.max(a.nowMost, b.nowMost);
}

/** What all hypotheses agree on, and how it differs from before. */
function judge<C>(
  track: Track<C>,
  judgement: Judgement,
  { fromMs, windowMs }: { fromMs: number; windowMs: number },
): Judgement {
  const { hypotheses, open } = track;
  let least = Infinity, most = 0, nowLeast = Infinity, nowMost = 0, begin = Infinity;
  track.perhaps = false;
  for (let i = 0; i < hypotheses.length; i++) {
    const h = hypotheses[i]!;
    least = Math.min(least, h.least);
    most = Math.max(most, h.most);
    nowLeast = Math.min(nowLeast, h.nowLeast);
    nowMost = Math.max(nowMost, h.nowMost);
    track.perhaps ||= h.perhaps;
    if (h.earliest > -Infinity) begin = Math.min(begin, h.earliest);
  }
  judgement.least = Math.max(0, least - track.least);
  judgement.most = Math.max(0, most - track.most);
  judgement.nowLeast = nowLeast;
  judgement.nowMost = nowMost;
  while (open.length > 0 && open[0]! < fromMs - 2 * windowMs) open.shift();
  judgement.earliestMs = judgement.least > 0 ? open.shift() ?? fromMs : fromMs;
  judgement.windowMs = Math.min(begin, fromMs);
  if (judgement.most > judgement.least) open.push(fromMs);
  track.least = Math.max(track.least, least);
  track.most = Math.max(track.most, most);
  return judgement;
}
