/**
 * Token bucket, leaky bucket and sliding window: who is over a rate. Pure.
 *
 * A leaky bucket used as a meter lets through what a token bucket of the same size and rate does. Both hold credit in
 * nanoseconds: a packet costs `floor(1e9 / rate)` of it. The sliding window remembers what passed in eight slots of
 * 125 ms, so between 875 ms and a second.
 *
 * The bounds of an interval start from the most and the least credit that the source can have at its begin. With the
 * most, every packet that any order lets through is within credit and refill. With the least, the first packets pass.
 * Fewest end credit is a refill less all packets; most is left where all came at once at the begin.
 */
import { createMatches, createRange, type Matches, type Range } from "./gate.ts";

/** Size and rate of a bucket. */
export interface BucketRule {
  /** Packets a second. */
  rate: number;
  burst: number;
  /** As the engine's program computes: refills of whole tokens only, the rest of the time is lost. */
  lossy?: "token" | "leaky";
}

const SECOND_NS = 1e9;

/** How it is asked for room, and where the answer is put: made once for many questions. */
export interface Answer {
  /** CPUs that count for themselves. */
  cpus: number;
  room: Range;
  /** To work with. */
  any: Matches;
}

export function createAnswer(cpus: number): Answer {
  return { cpus, room: createRange(), any: createMatches() };
}

/** What a packet costs. */
function costOf({ rate }: BucketRule): number {
  return Math.floor(SECOND_NS / rate);
}

/** A source's bucket, packet by packet. */
export interface Bucket {
  /** Nanoseconds of credit; for the lossy kinds whole tokens, or the level of the leaky bucket. */
  credit: number;
  atMs: number | undefined;
}

/** The bucket of a source that was never seen. */
export function createBucket(): Bucket {
  return { credit: 0, atMs: undefined };
}

/** Whether a packet at `nowMs` is within the rate. A rate over 1e9 limits nothing. */
export function passBucket(rule: BucketRule, bucket: Bucket, nowMs: number): boolean {
  const cost = costOf(rule);
  if (cost === 0) return true;
  const elapsed = bucket.atMs === undefined ? Infinity : Math.round((nowMs - bucket.atMs) * 1e6);
  if (rule.lossy === "token") {
    const tokens = elapsed === Infinity ? rule.burst : Math.floor(elapsed / cost);
    if (tokens > 0) bucket.atMs = nowMs;
    bucket.credit = Math.min(rule.burst, bucket.credit + tokens);
    if (bucket.credit < 1) return false;
    bucket.credit--;
    return true;
  }
  bucket.atMs = nowMs;
  if (rule.lossy === "leaky") {
    const drained = elapsed >= 10 * SECOND_NS ? Infinity : Math.floor(elapsed * rule.rate / SECOND_NS);
    bucket.credit = Math.max(0, bucket.credit - drained);
    if (bucket.credit + 1 > rule.burst) return false;
    bucket.credit++;
    return true;
  }
  bucket.credit = Math.min(rule.burst * cost, bucket.credit + elapsed);
  if (bucket.credit < cost) return false;
  bucket.credit -= cost;
  return true;
}

/** Credit that a source can have, in nanoseconds, at a time: in one of the ranges. */
export interface BucketBounds {
  credits: Credit[];
  atMs: number;
}

interface Credit {
  least: number;
  most: number;
}

/** Ranges kept at once; those nearest to each other are taken together. */
const MAX_CREDITS = 8;

/** What is known of the bucket of a source that was never seen: it is full. */
export function createBucketBounds(): BucketBounds {
  return { credits: [{ least: Infinity, most: Infinity }], atMs: 0 };
}

/**
 * Room for packets in an interval: as many pass at least, and at most, if so many come. Takes the bucket along.
 *
 * Whether one packet passed is often in doubt where its moment is; then there is either less credit, or not yet
 * enough. Taken together these would be anything up to a packet's cost, and the doubt would never end: so they are
 * kept apart, and meet again where credit is the same on both ways.
 *
 * @param answer `cpus`: buckets that a source may have at once, each of the full size.
 */
export function boundBucket(rule: BucketRule, bucket: BucketBounds, packets: Matches, answer: Answer): Range {
  const cost = costOf(rule), size = rule.burst * cost, { upper: N, beginMs, endMs } = packets, { cpus, room } = answer;
  room.lower = room.upper = Infinity;
  if (cost === 0 || N === 0) return room;
  const idle = Math.max(0, beginMs - bucket.atMs) * 1e6, length = (endMs - beginMs) * 1e6;
  bucket.atMs = endMs;
  if (cpus > 1 || rule.lossy) return boundLoosely(rule, bucket, packets, { answer, idle, length });
  const { credits } = bucket, only = credits[0]!;
  if (credits.length === 1 && Math.min(size, only.least + idle) >= N * cost) {
    // All pass for certain: so it is with nearly all sources, nearly always.
    const least = Math.min(size, only.least + idle), most = Math.min(size, only.most + idle);
    if (leavesOne(least, most, { packets, cost, size, length })) {
      only.least = Math.max(0, Math.min(size, least + length) - N * cost);
      only.most = Math.min(size, most + length - packets.lower * cost);
      room.lower = Math.floor(least / cost);
      room.upper = Math.floor((most + length) / cost);
      return room;
    }
  }
  let lower = Infinity, upper = 0;
  const next: Credit[] = [];
  for (let i = 0; i < credits.length; i++) {
    const least = Math.min(size, credits[i]!.least + idle), most = Math.min(size, credits[i]!.most + idle);
    const fewest = Math.floor(least / cost), largest = Math.floor((most + length) / cost);
    lower = Math.min(lower, fewest);
    upper = Math.max(upper, largest);
    pushCredits(next, { least, most }, { packets, fewest, largest, cost, size, length });
  }
  bucket.credits = next.length > 1 ? mergeCredits(next) : next;
  room.lower = lower;
  room.upper = upper;
  return room;
}

/** Whether what is left after each number of packets, all of which pass, is one range. */
function leavesOne(
  least: number,
  most: number,
  { packets, cost, size, length }: Pick<Spending, "packets" | "cost" | "size" | "length">,
): boolean {
  const { lower, upper } = packets, fewest = Math.min(size, least + length);
  if (upper - lower > MAX_CREDITS) return true;
  for (let passed = lower; passed < upper; passed++) {
    if (fewest - passed * cost > Math.min(size, most + length - (passed + 1) * cost)) return false;
  }
  return true;
}

interface Spending {
  packets: Range;
  fewest: number;
  largest: number;
  cost: number;
  size: number;
  length: number;
}

/** What is left after each number of packets that may have passed. */
function pushCredits(next: Credit[], credit: Credit, spending: Spending): void {
  const { packets, fewest, largest, cost } = spending;
  const first = Math.min(packets.lower, fewest), last = Math.min(packets.upper, largest);
  // Beyond this many, what is left is below nothing, or more than a refusal leaves: both are no way.
  const possible = packets.lower > last ? Math.floor((credit.least - cost) / cost) : first;
  const begin = Math.max(first, Math.min(last, possible));
  if (last - begin > MAX_CREDITS) return pushCredit(next, credit, spending, begin, last);
  for (let passed = begin; passed <= last; passed++) pushCredit(next, credit, spending, passed, passed);
}

/** What is left after at least `from` packets and at most `to`. */
function pushCredit(
  next: Credit[],
  { least, most }: Credit,
  { packets, cost, size, length }: Spending,
  from: number,
  to: number,
): void {
  // Where one was refused, there was less than one's cost at that moment.
  const refused = to < packets.lower ? cost + length : Infinity;
  const left = Math.max(0, Math.min(size, least + length) - to * cost);
  const right = Math.min(size, most + length - from * cost, refused);
  if (left <= right) next.push({ least: left, most: right });
}

function mergeCredits(credits: Credit[]): Credit[] {
  credits.sort((a, b) => a.least - b.least);
  const merged: Credit[] = [];
  for (const credit of credits) {
    const last = merged.at(-1);
    if (last && (credit.least <= last.most || merged.length >= MAX_CREDITS)) {
      last.most = Math.max(last.most, credit.most);
    } else merged.push(credit);
  }
  return merged;
}

/** As `boundBucket`, for several buckets at once and for refills that lose time: the least and the most credit alone. */
function boundLoosely(
  rule: BucketRule,
  bucket: BucketBounds,
  { lower: n, upper: N }: Range,
  { answer: { cpus, room }, idle, length }: { answer: Answer; idle: number; length: number },
): Range {
  const cost = costOf(rule), size = rule.burst * cost;
  const least = Math.min(size, bucket.credits[0]!.least + idle);
  // Idle for ten seconds, the lossy leaky bucket is empty, however slowly it drains.
  const emptied = rule.lossy === "leaky" && rule.burst > 10 * rule.rate;
  const most = emptied ? size * cpus : Math.min(size * cpus, bucket.credits[0]!.most + idle * cpus);
  const price = rule.lossy === "leaky" ? Math.ceil(SECOND_NS / rule.rate) : cost;
  room.lower = Math.floor(least / price);
  room.upper = emptied && length >= 10 * SECOND_NS ? Infinity : Math.floor((most + length * cpus) / cost);
  const left = Math.max(most - n * cost, Math.min(most, cost * cpus));
  bucket.credits = [{
    // Each refill may lose up to a packet's cost, and one that comes too often all of it.
    least: rule.lossy
      ? Math.max(0, Math.floor(least / price) - N) * price
      : Math.max(0, Math.min(size, least + length) - N * cost),
    most: Math.min(size * cpus, left + length * cpus),
  }];
  return room;
}

// -------------------------------------------------------------------------------------------------- several intervals together

/** How much passes of several intervals together, at least and at most: closer than the sum of each on its own. */
export function boundTotal(rule: BucketRule, cells: readonly { lengthMs: number; packets: number }[]): Range {
  const cost = costOf(rule), size = rule.burst * cost;
  const sum = cells.reduce((total, { packets }) => total + packets, 0);
  if (cost === 0) return { lower: sum, upper: sum };
  // Most passes where packets come as credit does.
  let credit = size, upper = 0;
  for (const { lengthMs, packets } of cells) {
    const passed = Math.min(packets, Math.floor((credit + lengthMs * 1e6) / cost));
    upper += passed;
    credit = Math.min(size, credit + lengthMs * 1e6 - passed * cost);
  }
  // Least passes where all packets of an interval come at one of its ends; each choice is followed, but for those that
  // are no better in anything than another.
  let states = [{ passed: 0, credit: size, at: 0 }], begin = 0;
  for (const { lengthMs, packets } of cells) {
    const end = begin + lengthMs * 1e6;
    if (packets > 0) {
      const next = states.flatMap((state) =>
        [begin, end].map((at) => {
          const present = Math.min(size, state.credit + at - state.at);
          const passed = Math.min(packets, Math.floor(present / cost));
          return { passed: state.passed + passed, credit: present - passed * cost, at };
        })
      );
      states = [begin, end].flatMap((at) => pareto(next.filter((state) => state.at === at)));
    }
    begin = end;
  }
  return { lower: Math.min(...states.map(({ passed }) => passed)), upper };
}

/** The states that no other beats in both, fewest passed first. */
function pareto<S extends { passed: number; credit: number }>(states: S[]): S[] {
  let least = Infinity;
  return states.sort((a, b) => a.passed - b.passed || a.credit - b.credit).filter(({ credit }) => {
    const better = credit < least;
    least = Math.min(least, credit);
    return better;
  });
}

// -------------------------------------------------------------------------------------------------- sliding window

const SLOT_MS = 125, SLOTS = 8;

/** A source's sliding window, packet by packet. */
export interface Slide {
  anchorMs: number;
  lastMs: number;
  /** Packets that passed, by number of slot since the anchor; only the last eight matter. */
  passed: Map<number, number>;
}

/** The window of a source that was never seen. */
export function createSlide(): Slide {
  return { anchorMs: -Infinity, lastMs: -Infinity, passed: new Map() };
}

/** Whether a packet at `nowMs` is within `rate`. */
export function passSlide(rate: number, slide: Slide, nowMs: number): boolean {
  if (nowMs - slide.lastMs >= SLOT_MS * SLOTS) {
    slide.anchorMs = nowMs;
    slide.passed.clear();
  }
  slide.lastMs = nowMs;
  const slot = Math.floor((nowMs - slide.anchorMs) / SLOT_MS);
  let total = 0;
  for (const [past, count] of slide.passed) {
    if (past <= slot - SLOTS) slide.passed.delete(past);
    else total += count;
  }
  if (total >= rate) return false;
  slide.passed.set(slot, (slide.passed.get(slot) ?? 0) + 1);
  return true;
}

/** Intervals of the last second and what passed in them, and when the slots began to be counted. */
export interface SlideBounds {
  past: (Range & { beginMs: number; endMs: number })[];
  /** Undefined: not known. */
  anchor: { earliestMs: number; latestMs: number } | undefined;
  /** The last interval in which a packet certainly came. */
  last: { beginMs: number; endMs: number } | undefined;
}

/** What is known of the window of a source that was never seen: it is empty. */
export function createSlideBounds(): SlideBounds {
  return { past: [], anchor: undefined, last: undefined };
}

/** Room for packets in an interval, as `boundBucket` gives it; adds what passes to the window. */
export function boundSlide(rate: number, slide: SlideBounds, packets: Matches, { cpus, room }: Answer): Range {
  const { beginMs, endMs, lower: n, upper: N } = packets, memory = SLOT_MS * (SLOTS - 1), longest = SLOT_MS * SLOTS;
  room.lower = room.upper = Infinity;
  if (N === 0) return room;
  slide.past = slide.past.filter((past) => past.endMs > beginMs - longest);
  if (!slide.last || beginMs - slide.last.endMs >= longest) {
    slide.anchor = slide.past.length === 0 ? { earliestMs: beginMs, latestMs: endMs } : undefined;
  } else if (endMs - slide.last.beginMs > longest) {
    slide.anchor = undefined;
  }
  // Remembered perhaps by one of the packets, and for certain by all of them.
  let perhaps = 0, surely = 0;
  const now = slotsOf(slide, packets);
  for (const past of slide.past) {
    const then = slotsOf(slide, past);
    if (!now || !then || then.last > now.first - SLOTS) perhaps += past.upper;
    if (past.beginMs >= endMs - memory || (now && then && then.first > now.last - SLOTS)) surely += past.lower;
  }
  const length = endMs - beginMs;
  room.lower = Math.max(0, rate - perhaps);
  room.upper = length < memory && cpus === 1
    ? Math.max(0, rate - surely)
    : rate * cpus * (Math.floor(length / memory) + 1);
  slide.past.push({ beginMs, endMs, lower: Math.min(n, room.lower), upper: Math.min(N, room.upper) });
  // Within a long interval, or where perhaps nothing came, the slots may have begun anew.
  if (length >= longest || n === 0) slide.anchor = undefined;
  slide.last = n > 0 ? { beginMs, endMs } : slide.last;
  return room;
}

/** The slots that packets of an interval can be in. */
function slotsOf({ anchor }: SlideBounds, { beginMs, endMs }: { beginMs: number; endMs: number }) {
  if (!anchor) return undefined;
  const first = Math.floor((beginMs - anchor.latestMs) / SLOT_MS),
    last = Math.floor((endMs - anchor.earliestMs) / SLOT_MS);
  return { first, last };
}
