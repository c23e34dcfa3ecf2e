/**
 * What was counted of each source and port on a stream, and which sources look legitimate by it.
 *
 * Columns by (source, port) and by source; nothing is kept by interval but what lies within two windows. A source is
 * judged by evidence apart from what triggered: intervals outside of its own possible blocks and triggering windows,
 * both widened by W. Whether an interval is outside is known only when later windows can't reach back to it, so each
 * waits that long before it counts. The same is kept for the current half of the time and the current day, and
 * noted down when those end: counted is a part of the time that is all in one half and one day, and added to those.
 * Pure.
 */
import { atLeast, createPairs, type Pairs } from "../evidence/pairs.ts";
import { formatCount, formatNumberOf } from "../words.ts";
import { LEGITIMATE } from "./bound.ts";
import type { ObservedInterval } from "./observe.ts";
import { addPart, clearScope, emptyScope, growScope, type Part, type Scope } from "./scope.ts";
import type { SourceClass } from "./summary.ts";

/** What is marked by source number: over all time, by half, by day. */
export interface Marks {
  total: Uint8Array;
  halves: [Uint8Array, Uint8Array];
  /** By day since 1970, UTC. */
  days: Map<number, Uint8Array>;
}

/** No marks yet. */
export function createMarks(sources: number): Marks {
  return {
    total: new Uint8Array(sources),
    halves: [new Uint8Array(sources), new Uint8Array(sources)],
    days: new Map(),
  };
}

/** Adds marks to others of the same sources. */
export function addMarks(to: Marks, marks: Marks): void {
  const add = (column: Uint8Array, other: Uint8Array) => {
    for (let source = 0; source < column.length; source++) column[source]! |= other[source]!;
  };
  add(to.total, marks.total);
  for (const h of [0, 1] as const) add(to.halves[h], marks.halves[h]);
  for (const [day, column] of marks.days) add(marksOfDay(to, day), column);
}

/** The marks of a day. */
export function marksOfDay(marks: Marks, day: number): Uint8Array {
  let column = marks.days.get(day);
  if (!column) marks.days.set(day, column = new Uint8Array(marks.total.length));
  return column;
}

/** Likely legitimate: at least so many intervals of use, in so many periods of ten minutes. */
export const LEAST_USES = 3, LEAST_PERIODS = 2, PERIOD_MS = 600_000;
/** An interval of a source is unanswered if it opened at least so many connections and used none. */
export const UNANSWERED_SYN = 10;
/** Evidence waits for no longer than this, whatever a policy's window is: memory has to end somewhere. */
export const LONGEST_WAIT_MS = 600_000;

const TOTAL = 0, HALF = 1, DAY = 2;

/** Evidence of one interval that waits. */
interface Waiting {
  beginMs: number;
  endMs: number;
  count: number;
  source: Int32Array;
  opened: Float64Array;
  handshakeAck: Float64Array;
  data: Float64Array;
}

/**
 * Windows that triggered, and what may have been blocked by that, as numbers beside each other, which go to another
 * thread in no time: of each the source, the window's begin and end, and when it may have begun to block at the earliest
 * and until when at the latest, in milliseconds since 1970.
 */
export type ExcludedSpans = Float64Array<ArrayBuffer>;

/** Numbers of a span. */
export const SPAN_NUMBERS = 5;

/** Classes of sources, as columns have them by number. */
export const CLASSES: readonly SourceClass[] = ["likely legitimate", "mixed", "unknown", "likely abusive"];

/** What a tally comes to, in columns. */
export interface TallyCounts {
  /** By source and port. */
  keys: {
    count: number;
    source: Uint32Array;
    port: Uint16Array;
    class: Uint8Array;
    columns: Record<
      "packets" | "bytes" | "syn" | "handshakeAck" | "rst" | "data" | "maxSynRate" | "firstMs" | "lastMs",
      Float64Array
    >;
    intervals: Uint32Array;
  };
  /** By source. */
  sources: {
    count: number;
    /** Its number among all. */
    global: Uint32Array;
    class: Uint8Array;
    syn: Float64Array;
    handshakeAck: Float64Array;
    /** Outside of what triggered. */
    outside: Scope;
    /** Triggering intervals in which it was in use. */
    usesInside: Uint32Array;
    unanswered: Uint32Array;
  };
  /** Sources whose use looks like several users behind one address, and why. */
  shared: { source: number; reason: string }[];
  /** Sources that have been in use for at least half of the ten-minute periods, and for an hour. */
  longKnown: number[];
}

/** The columns of a stream. */
export interface Tally {
  /** (local source, port) → key. */
  readonly keys: Pairs;
  /** Number of a local source among all. */
  readonly global: Uint32Array;
  readonly sourceCount: number;
  /** By local source: over all time, once it is settled. */
  readonly bySource: Record<"syn" | "handshakeAck" | "data", Float64Array>;
  readonly sourceIntervals: Uint32Array;
  readonly firstInterval: Uint32Array;
  /** Counts an interval, the `index`th of the stream; returns the keys of its cells, -1 where nothing was counted. */
  add(interval: ObservedInterval, index: number): Int32Array;
  /** Takes windows and blocks of decisions out of what their sources are judged by. */
  exclude(spans: ExcludedSpans): void;
  /** Takes an interval in which something of a source would have been dropped out of what it is judged by. */
  excludeInterval(source: number, interval: { beginMs: number; endMs: number }): void;
  /** Lets what no later window can reach count; without an interval, all of it. */
  settle(next?: { beginMs: number }): void;
  /** Of a local source, over all time, once it is settled. */
  classOf(local: number): SourceClass;
  /** All of it, once it is settled. */
  counts(): TallyCounts;
}

/** An empty tally. `marks` receive what is found of the sources, by their number among all. */
export function createTally(
  sourcesOfAll: number,
  options: { windowMs: number; middleMs: number; marks: readonly Marks[] },
): Tally {
  const widenMs = Math.min(options.windowMs, LONGEST_WAIT_MS), keys = createPairs();
  const localOf = new Int32Array(sourcesOfAll).fill(-1);
  let global = new Uint32Array(0), sourceCount = 0, watchedPeriods = 0, lastWatched = -1, longestMs = 0;
  const doubles = () => new Float64Array(0);
  const counters = {
    packets: doubles(),
    bytes: doubles(),
    syn: doubles(),
    handshakeAck: doubles(),
    rst: doubles(),
    data: doubles(),
  };
  let maxSynRate = doubles(), firstMs = doubles(), lastMs = doubles(), intervals = new Uint32Array(0);
  const bySource = { syn: doubles(), handshakeAck: doubles(), data: doubles() };
  let sourceIntervals = new Uint32Array(0), firstInterval = new Uint32Array(0);
  /** By local source: what is not evidence, and the part of that where something triggered. */
  let outFrom = doubles(), outUntil = doubles(), triggerFrom = doubles(), triggerUntil = doubles();
  let usesInside = new Uint32Array(0), unanswered = new Uint32Array(0);
  const scopes: [Scope, Scope, Scope] = [emptyScope(), emptyScope(), emptyScope()];
  const part: Part = { ...emptyScope(), firstPeriod: new Int32Array(0) };
  const waiting: Waiting[] = [], spare: Waiting[] = [];
  let keyOf = new Int32Array(0), half = 0, day = -1;
  /** By local source, once it is settled: the class's place in CLASSES. */
  let classes = new Uint8Array(0);

  const growSources = (count: number) => {
    if (count <= global.length) return;
    global = atLeast(global, count);
    [sourceIntervals, firstInterval] = [atLeast(sourceIntervals, count), atLeast(firstInterval, count)];
    [outFrom, outUntil] = [atLeast(outFrom, count), atLeast(outUntil, count, -Infinity)];
    [triggerFrom, triggerUntil] = [atLeast(triggerFrom, count), atLeast(triggerUntil, count, -Infinity)];
    [usesInside, unanswered] = [atLeast(usesInside, count), atLeast(unanswered, count)];
    for (const scope of [...scopes, part]) growScope(scope, count);
    part.firstPeriod = atLeast(part.firstPeriod, count);
  };
  const growKeys = (count: number) => {
    if (count <= maxSynRate.length) return;
    for (const name of Object.keys(counters) as (keyof typeof counters)[]) {
      counters[name] = atLeast(counters[name], count);
    }
    [maxSynRate, firstMs, lastMs] = [atLeast(maxSynRate, count), atLeast(firstMs, count), atLeast(lastMs, count)];
    intervals = atLeast(intervals, count);
  };

  /** Sets the keys of an interval's cells. Columns have room for all of them then, and need not grow under addUp(). */
  const findKeys = ({ cells, beginMs }: ObservedInterval, index: number) => {
    const { count, source: sources, port: ports, packets } = cells;
    for (let i = 0; i < count; i++) {
      // Cumulative snapshots repeat what they have seen, idle or not.
      if (packets[i] === 0) {
        keyOf[i] = -1;
        continue;
      }
      const source = sources[i]!;
      let local = localOf[source]!;
      if (local < 0) {
        local = localOf[source] = sourceCount++;
        growSources(sourceCount);
        global[local] = source;
        firstInterval[local] = index;
      }
      const before = keys.count, key = keyOf[i] = keys.of(local, ports[i]!);
      if (key !== before) continue;
      growKeys(keys.count);
      firstMs[key] = beginMs;
    }
  };

  /** Adds up an interval's cells, by key and by source, and what they are evidence of. */
  const addUp = (
    { count, source: sources, packets, bytes, syn, synAck, handshakeAck, rst, data }: ObservedInterval["cells"],
    evidence: Waiting,
    { seconds, endMs }: { seconds: number; endMs: number },
  ) => {
    // What is looked up once an interval: V8 looks up a variable of an outer function at each use.
    const keys = keyOf, sums = { ...counters }, most = maxSynRate, latest = lastMs, times = intervals;
    const ownTimes = sourceIntervals;
    for (let i = 0; i < count;) {
      const source = sources[i]!, local = localOf[source]!;
      let opened = 0, ownAck = 0, ownData = 0, counted = false;
      for (; i < count && sources[i] === source; i++) {
        const key = keys[i]!;
        if (key < 0) continue;
        const s = syn[i]!, rate = s / seconds, acks = handshakeAck[i]!, payload = data[i]!;
        sums.packets[key]! += packets[i]!;
        sums.bytes[key]! += bytes[i]!;
        sums.syn[key]! += s;
        sums.handshakeAck[key]! += acks;
        sums.rst[key]! += rst[i]!;
        sums.data[key]! += payload;
        if (rate > most[key]!) most[key] = rate;
        latest[key] = endMs;
        times[key]!++;
        opened += s - synAck[i]!;
        ownAck += acks;
        ownData += payload;
        counted = true;
      }
      if (!counted) continue;
      ownTimes[local]!++;
      const at = evidence.count++;
      evidence.source[at] = local;
      evidence.opened[at] = opened;
      evidence.handshakeAck[at] = ownAck;
      evidence.data[at] = ownData;
    }
  };

  const isLegitimate = ({ uses, periods, syn, handshakeAck }: Scope, local: number) =>
    uses[local]! >= LEAST_USES && periods[local]! >= LEAST_PERIODS && handshakeAck[local]! >= syn[local]! / 2;

  /** Marks the sources that a scope finds legitimate. */
  const note = (scope: Scope, columnOf: (marks: Marks) => Uint8Array) => {
    const columns = options.marks.map(columnOf);
    for (let local = 0; local < sourceCount; local++) {
      if (!isLegitimate(scope, local)) continue;
      for (const column of columns) column[global[local]!]! |= LEGITIMATE;
    }
  };

  /** Ends the part of the time that is counted. */
  const endPart = () => {
    for (const scope of scopes) addPart(scope, part, sourceCount);
    clearScope(part);
  };

  const count = (evidence: Waiting) => {
    const now = evidence.endMs <= options.middleMs ? 0 : 1, today = dayOf(evidence.endMs);
    if (day >= 0 && (now !== half || today !== day)) endPart();
    if (now !== half) {
      note(scopes[HALF], (marks) => marks.halves[0]);
      clearScope(scopes[HALF]);
      half = now;
    }
    if (today !== day) {
      const ended = day;
      if (ended >= 0) note(scopes[DAY], (marks) => marksOfDay(marks, ended));
      clearScope(scopes[DAY]);
      day = today;
    }
    const period = Math.floor((evidence.endMs - 1) / PERIOD_MS);
    if (period !== lastWatched) [lastWatched, watchedPeriods] = [period, watchedPeriods + 1];
    countPart(evidence, part, period);
  };

  const countPart = (
    { count, beginMs, endMs, source, opened, handshakeAck, data }: Waiting,
    { uses, periods, firstPeriod, lastPeriod, ...sums }: Part,
    period: number,
  ) => {
    const from = outFrom, until = outUntil;
    for (let i = 0; i < count; i++) {
      const local = source[i]!, syn = opened[i]!, acks = handshakeAck[i]!, payload = data[i]!;
      const used = syn > 0 && acks > 0 && payload > 0;
      if (syn >= UNANSWERED_SYN && (acks === 0 || payload === 0)) unanswered[local]!++;
      if (beginMs < until[local]! && endMs > from[local]!) {
        if (used && beginMs < triggerUntil[local]! && endMs > triggerFrom[local]!) usesInside[local]!++;
        continue;
      }
      sums.syn[local]! += syn;
      sums.handshakeAck[local]! += acks;
      sums.data[local]! += payload;
      if (!used) continue;
      if (uses[local]!++ === 0) firstPeriod[local] = period;
      else if (lastPeriod[local] === period) continue;
      lastPeriod[local] = period;
      periods[local]!++;
    }
  };

  const sumBySource = () => {
    const { syn, handshakeAck, data } = counters, { count } = keys, by = bySource;
    by.syn = new Float64Array(sourceCount);
    by.handshakeAck = new Float64Array(sourceCount);
    by.data = new Float64Array(sourceCount);
    for (let key = 0; key < count; key++) {
      const local = keys.first(key);
      by.syn[local]! += syn[key]!;
      by.handshakeAck[local]! += handshakeAck[key]!;
      by.data[local]! += data[key]!;
    }
  };

  const extend = (local: number, from: number, until: number) => {
    // An older range matters only to evidence that still waits: what lies near is taken as one.
    if (from > outUntil[local]! + 2 * widenMs + 2 * longestMs) outFrom[local] = from;
    else outFrom[local] = Math.min(outFrom[local]!, from);
    outUntil[local] = Math.max(outUntil[local]!, until);
  };

  /** The class of a source by all of the evidence. */
  const judge = (local: number): SourceClass => {
    const scope = scopes[TOTAL];
    if (isLegitimate(scope, local)) return usesInside[local]! > 0 ? "mixed" : "likely legitimate";
    const unused = scope.handshakeAck[local] === 0 || scope.data[local] === 0;
    return scope.syn[local]! > 0 && unused ? "likely abusive" : "unknown";
  };

  const classOf = (local: number): SourceClass => CLASSES[classes[local]!]!;

  const countKeys = (): TallyCounts["keys"] => {
    const { count } = keys, source = new Uint32Array(count), port = new Uint16Array(count);
    const byKey = new Uint8Array(count);
    for (let key = 0; key < count; key++) {
      const local = keys.first(key);
      source[key] = global[local]!;
      port[key] = keys.second(key);
      byKey[key] = classes[local]!;
    }
    const columns = Object.fromEntries(
      Object.entries({ ...counters, maxSynRate, firstMs, lastMs }).map(([name, column]) => [
        name,
        column.subarray(0, count),
      ]),
    ) as TallyCounts["keys"]["columns"];
    return { count, source, port, class: byKey, columns, intervals: intervals.subarray(0, count) };
  };

  return {
    keys,
    get global() {
      return global;
    },
    get sourceCount() {
      return sourceCount;
    },
    bySource,
    get sourceIntervals() {
      return sourceIntervals;
    },
    get firstInterval() {
      return firstInterval;
    },
    add(interval, index) {
      const { cells, beginMs, endMs } = interval, seconds = (endMs - beginMs) / 1000;
      longestMs = Math.max(longestMs, endMs - beginMs);
      keyOf = atLeast(keyOf, cells.count);
      if (index === 0) {
        // Most of a stream's sources are in its first interval: room for them at once is less to clear and to copy.
        growSources(Math.min(cells.count, sourcesOfAll));
        growKeys(cells.count);
      }
      findKeys(interval, index);
      const evidence = spare.pop() ?? emptyWaiting();
      Object.assign(evidence, { beginMs, endMs, count: 0 });
      growWaiting(evidence, cells.count);
      addUp(cells, evidence, { seconds, endMs });
      waiting.push(evidence);
      return keyOf;
    },
    exclude(spans) {
      for (let at = 0; at < spans.length; at += SPAN_NUMBERS) {
        const local = localOf[spans[at]!]!, beginMs = spans[at + 1]!, endMs = spans[at + 2]!;
        if (local < 0) continue;
        extend(local, Math.min(beginMs, spans[at + 3]!) - widenMs, Math.max(endMs, spans[at + 4]!) + widenMs);
        if (beginMs > triggerUntil[local]! + 2 * widenMs + 2 * longestMs) triggerFrom[local] = beginMs;
        triggerUntil[local] = Math.max(triggerUntil[local]!, endMs);
      }
    },
    excludeInterval(source, { beginMs, endMs }) {
      const local = localOf[source]!;
      if (local >= 0) extend(local, beginMs - widenMs, endMs + widenMs);
    },
    settle(next) {
      const untilMs = next ? next.beginMs - 2 * widenMs - longestMs : Infinity;
      while (waiting.length > 0 && waiting[0]!.endMs <= untilMs) {
        const evidence = waiting.shift()!;
        count(evidence);
        spare.push(evidence);
      }
      if (next) return;
      endPart();
      sumBySource();
      const current = half as 0 | 1;
      note(scopes[TOTAL], (marks) => marks.total);
      note(scopes[HALF], (marks) => marks.halves[current]);
      if (day >= 0) note(scopes[DAY], (marks) => marksOfDay(marks, day));
      classes = new Uint8Array(sourceCount);
      for (let local = 0; local < sourceCount; local++) classes[local] = CLASSES.indexOf(judge(local));
    },
    classOf,
    counts() {
      const outside = scopes[TOTAL],
        sources = {
          ...{ count: sourceCount, global, class: classes, outside, usesInside, unanswered },
          ...{ syn: bySource.syn, handshakeAck: bySource.handshakeAck },
        };
      const shared: TallyCounts["shared"] = [], longKnown: number[] = [];
      for (let local = 0; local < sourceCount; local++) {
        const source = global[local]!;
        const reason = describeShared(classOf(local), { uses: outside.uses[local]!, unanswered: unanswered[local]! });
        if (reason !== undefined) shared.push({ source, reason });
        if (isLegitimate(outside, local) && isLong(outside.periods[local]!, watchedPeriods)) longKnown.push(source);
      }
      return { keys: countKeys(), sources, shared, longKnown };
    },
  };
}

/** What sources are judged to be, by their numbers among all. */
export interface Judgements {
  classOf(source: number): SourceClass;
  /** What makes the class, in words. */
  describe(source: number): string;
}

/** Of a tally's sources, those that are going to be asked for. */
export function readJudgements(counts: TallyCounts["sources"], asked: ReadonlySet<number>): Judgements {
  const places = new Map<number, number>();
  for (let at = 0; at < counts.count; at++) if (asked.has(counts.global[at]!)) places.set(counts.global[at]!, at);
  return {
    classOf(source) {
      const at = places.get(source);
      return at === undefined ? "unknown" : CLASSES[counts.class[at]!]!;
    },
    describe: (source) => describeEvidence(judgedAt(counts, places.get(source)!)),
  };
}

function judgedAt({ outside, usesInside, unanswered }: TallyCounts["sources"], at: number): JudgedSource {
  const { uses, periods, syn, handshakeAck, data } = outside;
  return {
    ...{ uses: uses[at]!, periods: periods[at]!, syn: syn[at]!, handshakeAck: handshakeAck[at]!, data: data[at]! },
    ...{ usesInside: usesInside[at]!, unanswered: unanswered[at]! },
  };
}

/** What a source is judged by, over all time. */
export interface JudgedSource {
  /** Intervals outside of what triggered in which it was in use, and the periods they are in. */
  uses: number;
  periods: number;
  /** Counters of its intervals outside of what triggered. */
  syn: number;
  handshakeAck: number;
  data: number;
  /** Intervals in which it was in use while something triggered. */
  usesInside: number;
  unanswered: number;
}

/** What makes a source's class, in words. */
export function describeEvidence({ uses, periods, syn, handshakeAck, data, usesInside }: JudgedSource): string {
  const counts = `${formatCount(syn)} SYN, ${formatNumberOf(handshakeAck, "bare ACK")} and ${
    formatNumberOf(data, "packet")
  } with payload`;
  const outside = `outside of what triggered: ${counts}, in use in ${formatNumberOf(uses, "interval")} of ${
    formatNumberOf(periods, "ten-minute period")
  }`;
  return usesInside > 0 ? `${outside}; in use in ${formatNumberOf(usesInside, "triggering interval")}, too` : outside;
}

/** Why a source's use looks like several users behind one address; undefined if it doesn't. */
export function describeShared(
  cls: SourceClass,
  { uses, unanswered }: Pick<JudgedSource, "uses" | "unanswered">,
): string | undefined {
  if (cls === "mixed") return "in use both outside of what triggered and inside";
  if (cls !== "likely legitimate" || unanswered < LEAST_USES) return undefined;
  return `in use in ${formatNumberOf(uses, "interval")}, and in ${
    formatCount(unanswered)
  } at least ${UNANSWERED_SYN} SYN and no use`;
}

/** Whether a likely-legitimate source that was in use in so many periods has been known since long. */
export function isLong(periods: number, watchedPeriods: number): boolean {
  return periods >= Math.max(6, Math.min(0xffff, watchedPeriods) / 2);
}

/** Day since 1970, UTC, of an interval by its end. */
export function dayOf(endMs: number): number {
  return Math.floor((endMs - 1) / 86_400_000);
}

function emptyWaiting(): Waiting {
  const doubles = () => new Float64Array(0);
  return {
    beginMs: 0,
    endMs: 0,
    count: 0,
    source: new Int32Array(0),
    opened: doubles(),
    handshakeAck: doubles(),
    data: doubles(),
  };
}

function growWaiting(evidence: Waiting, count: number): void {
  evidence.source = atLeast(evidence.source, count);
  evidence.opened = atLeast(evidence.opened, count);
  evidence.handshakeAck = atLeast(evidence.handshakeAck, count);
  evidence.data = atLeast(evidence.data, count);
}
