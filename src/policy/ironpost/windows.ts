/**
 * Bounds for what a window that begins with a packet would have seen, from counts by interval.
 *
 * The engine's windows tumble: one begins with the first packet that comes when none is open, ends `windowMs` later,
 * and alerts at most once. An interval says how many packets came, not when; so where a window begins is known only
 * to within an interval, and whether a later interval's packets fall into it or begin the next may be open. A track
 * follows one source (or group) as a list of hypotheses (hypotheses.ts), which together hold every course that the
 * packets can have taken. What is counted is the content's (contents.ts). Pure.
 */
import {
  add,
  type Content,
  createDrafts,
  createHypothesis,
  draft,
  type Drafts,
  type Hypothesis,
  keepNext,
  limitHypotheses,
  mergeAlerts,
} from "./hypotheses.ts";

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
export function createTrack<C>({ nothing }: Pick<Content<C, never>, "nothing">): Track<C> {
  return { hypotheses: [createHypothesis(nothing())], least: 0, most: 0, perhaps: false, open: [] };
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

/** Room to work in. */
export interface Scratch<C> extends Drafts<C> {
  /** The latest of them whose window began within the interval: with all of its packets, and with at least one. */
  whole: Hypothesis<C> | undefined;
  part: Hypothesis<C> | undefined;
  /** A window without any recorded packet; its content stays empty. */
  unseen: Hypothesis<C>;
  /** What a window holds that has all of the interval's packets and no others: may it alert, will it. */
  alone: C;
  alonePossible: boolean;
  aloneCertain: boolean;
  judgement: Judgement;
}

export function createScratch<C>({ nothing }: Pick<Content<C, never>, "nothing">): Scratch<C> {
  return {
    ...createDrafts(),
    whole: undefined,
    part: undefined,
    unseen: createHypothesis(nothing()),
    alone: nothing(),
    alonePossible: false,
    aloneCertain: false,
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
  const { content } = rules, { hypotheses } = track;
  if (hypotheses.length === 1 && isFar(hypotheses[0]!, seen, content)) {
    keepFar(hypotheses[0]!, seen, rules);
    return NOTHING;
  }
  const scratch = rules.scratch ?? createScratch(content);
  scratch.count = 0;
  scratch.whole = scratch.part = undefined;
  content.whole(seen, scratch.alone);
  scratch.alonePossible = content.possible(scratch.unseen.content, seen);
  scratch.aloneCertain = content.certain(scratch.alone);
  for (let i = 0; i < hypotheses.length; i++) {
    const known = hypotheses[i]!;
    if (seen.optional) ignore(known, rules, scratch);
    follow(known, seen, rules, scratch);
    if (seen.loose && openUnseen(known, seen, rules, scratch)) follow(scratch.unseen, seen, rules, scratch);
  }
  limitHypotheses(scratch, content, mostOf(scratch, seen, content));
  keepNext(hypotheses, scratch);
  return judge(track, seen, rules, scratch);
}

/** None of the packets came, or none was looked at. */
function ignore<C, S>(h: Hypothesis<C>, { content }: WindowRules<C, S>, scratch: Scratch<C>): void {
  const same = draft(scratch, content);
  same.earliest = h.earliest;
  same.latest = h.latest;
  content.merge(h.content, h.content, same.content);
  same.alerted = h.alerted;
  same.perhaps = h.perhaps;
  same.closedLeast = h.closedLeast;
  same.closedMost = h.closedMost;
  same.least = h.least;
  same.most = h.most;
  same.nowLeast = same.nowMost = 0;
  add(scratch, content);
}

/** Adds what a hypothesis can lead to. */
function follow<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  rules: WindowRules<C, S>,
  scratch: Scratch<C>,
): void {
  const { content, windowMs } = rules, { fromMs, toMs } = seen;
  if (fromMs - h.latest >= windowMs) return begin(h, seen, rules, scratch);
  // All of the packets fall into the window that is open.
  const stays = draft(scratch, content), possible = !h.alerted && content.possible(h.content, seen);
  content.add(h.content, seen, stays.content);
  const certain = !h.alerted && content.certain(stays.content);
  stays.earliest = Math.max(h.earliest, fromMs - windowMs);
  stays.latest = h.latest;
  stays.alerted = h.alerted || certain;
  stays.perhaps = h.perhaps || possible;
  stays.closedLeast = h.closedLeast;
  stays.closedMost = h.closedMost;
  stays.least = certain ? Math.max(h.least, h.closedLeast + 1) : h.least;
  stays.most = possible ? Math.min(h.most, h.closedMost) + 1 : h.most;
  stays.nowLeast = certain && !h.perhaps ? 1 : 0;
  stays.nowMost = possible ? 1 : 0;
  add(scratch, content);
  if (toMs - h.earliest > windowMs) turn(h, possible, seen, rules, scratch);
}

/** Makes `unseen` a window without any recorded packet that is open when the interval begins; false if none can be. */
function openUnseen<C, S extends Placement>(
  h: Hypothesis<C>,
  { fromMs }: S,
  { windowMs }: WindowRules<C, S>,
  { unseen }: Scratch<C>,
): boolean {
  const earliest = Math.max(h.earliest + windowMs, fromMs - windowMs);
  if (earliest >= fromMs) return false;
  unseen.earliest = earliest;
  unseen.latest = fromMs;
  unseen.closedLeast = unseen.least = h.least;
  unseen.closedMost = unseen.most = h.most;
  return true;
}

/** No window was open: the first packet begins one, and an interval longer than a window may see several. */
function begin<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  { content, windowMs }: WindowRules<C, S>,
  scratch: Scratch<C>,
): void {
  const windows = windowsIn(seen.toMs - seen.fromMs, windowMs);
  if (windows === 1) {
    draft(scratch, content).earliest = seen.fromMs;
    return addWhole(h, seen, content, scratch);
  }
  const most = content.most(seen, windows);
  const least = content.unavoidable(scratch.unseen.content, seen, windows) ? 1 : 0;
  const begun = draft(scratch, content);
  begun.earliest = seen.fromMs;
  begun.closedLeast = h.least;
  begun.closedMost = h.most + Math.min(most, windows - 1);
  begun.least = h.least + least;
  begun.most = h.most + most;
  begun.nowLeast = least;
  begun.nowMost = most;
  addPart(most > 0, seen, content, scratch);
}

/** Into how many windows a time can fall, the first of which begins with it. */
function windowsIn(lengthMs: number, windowMs: number): number {
  return lengthMs <= windowMs ? 1 : Math.ceil(lengthMs / windowMs);
}

/** The window ends within the interval: some packets, or none, fall into it, the others begin the next. */
function turn<C, S extends Placement>(
  h: Hypothesis<C>,
  possible: boolean,
  seen: S,
  { content, windowMs }: WindowRules<C, S>,
  scratch: Scratch<C>,
): void {
  const earliest = Math.max(seen.fromMs, h.earliest + windowMs);
  const windows = windowsIn(seen.toMs - earliest, windowMs);
  const lastOld = possible ? 1 : 0;
  const oldMost = lastOld ? Math.min(h.most, h.closedMost) + 1 : h.most;
  const most = scratch.alonePossible ? content.most(seen, windows) : 0;
  const least = content.unavoidable(h.content, seen, windows + 1) ? 1 : 0;
  if (windows === 1) {
    draft(scratch, content).earliest = earliest;
    addWhole(h, seen, content, scratch);
  }
  const after = draft(scratch, content);
  after.earliest = earliest;
  after.closedLeast = h.least;
  after.closedMost = oldMost + Math.min(most, windows - 1);
  after.least = Math.max(h.least, h.closedLeast + least);
  after.most = oldMost + most;
  after.nowLeast = h.perhaps ? 0 : least;
  after.nowMost = lastOld + most;
  addPart(most > 0, seen, content, scratch);
}

/**
 * Adds the drafted window, of which only the begin is written: it holds all of the packets, the one of `h` being over.
 * Nearly all hypotheses lead to the same such window: its content is put together once. A time is written into the
 * draft, not handed over: V8 makes an object of it for a function that it doesn't inline (50 bytes a judgement).
 */
function addWhole<C, S extends Placement>(
  h: Hypothesis<C>,
  seen: S,
  content: Content<C, S>,
  scratch: Scratch<C>,
): void {
  const begun = draft(scratch, content), { whole } = scratch;
  const least = scratch.aloneCertain ? 1 : 0, most = scratch.alonePossible ? 1 : 0;
  begun.closedLeast = h.least;
  begun.closedMost = h.most;
  begun.least = h.least + least;
  begun.most = h.most + most;
  begun.nowLeast = least;
  begun.nowMost = most;
  begun.perhaps = scratch.alonePossible;
  // Not `whole?.earliest`: compared with what may be undefined, V8 makes an object of each number.
  if (whole !== undefined && whole.earliest === begun.earliest) return mergeAlerts(whole, begun);
  begun.latest = seen.toMs;
  begun.alerted = scratch.aloneCertain;
  content.whole(seen, begun.content);
  scratch.whole = add(scratch, content);
}

/** Adds the drafted window, which began within the interval and holds at least one of its packets. */
function addPart<C, S extends Placement>(
  perhaps: boolean,
  seen: S,
  content: Content<C, S>,
  scratch: Scratch<C>,
): void {
  const begun = draft(scratch, content), { part } = scratch;
  begun.perhaps = perhaps;
  if (part !== undefined && part.earliest === begun.earliest) return mergeAlerts(part, begun);
  begun.latest = seen.toMs;
  begun.alerted = false;
  content.part(seen, begun.content);
  scratch.part = add(scratch, content);
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
  if (expired) content.whole(seen, h.content);
  else content.add(h.content, seen, h.content);
  if (turns || unseen) {
    const part = content.part(seen, scratch?.alone ?? content.nothing());
    content.merge(h.content, part, h.content);
  }
  h.earliest = expired && !unseen ? fromMs : Math.max(h.earliest, fromMs - windowMs);
  if (expired || turns) h.latest = toMs;
  else if (unseen) h.latest = Math.max(h.latest, fromMs);
  h.closedLeast = h.least;
  h.closedMost = h.most;
  h.nowLeast = h.nowMost = 0;
}

/** How many hypotheses are kept of those that an interval led to. */
function mostOf<C, S>({ next, count }: Scratch<C>, seen: S, content: Content<C, S>): number {
  let far = true;
  for (let i = 0; i < count; i++) {
    const h = next[i]!;
    if (h.perhaps || h.nowMost > 0) return MOST_HYPOTHESES;
    far &&= !h.alerted && content.isFar(h.content, seen);
  }
  return far ? 1 : MOST_COLD;
}

/** What all hypotheses agree on, and how it differs from before. */
function judge<C, S extends Placement>(
  track: Track<C>,
  { fromMs }: S,
  { windowMs }: WindowRules<C, S>,
  { judgement }: Scratch<C>,
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
