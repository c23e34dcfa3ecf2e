/**
 * What was counted over time: in spans of equal length, by half and by day. An interval belongs to where it ends; what
 * was watched is exact. Pure.
 */
import type { Interval } from "../evidence/interval.ts";
import type { Drop } from "./effects.ts";
import type { TimelinePoint } from "./summary.ts";
import { dayOf } from "./tally.ts";

const DAY_MS = 86_400_000, MOST_POINTS = 240, MOST_EMPTY_DAYS = 7;
const SPANS_SEC = [
  1,
  2,
  5,
  10,
  15,
  30,
  60,
  120,
  300,
  600,
  900,
  1800,
  3600,
  7200,
  10_800,
  14_400,
  21_600,
  43_200,
  86_400,
];

/** Sums of a part of the time. */
export interface Counted {
  packets: number;
  bytes: number;
  syn: number;
  coveredMs: number;
}

/** How long a stream's intervals are as a rule, in milliseconds: the median; 0 without one. */
export function regularLength(spans: Iterable<{ beginMs: number; endMs: number }>): number {
  const lengths = Float64Array.from(spans, ({ beginMs, endMs }) => endMs - beginMs).sort();
  return lengths[lengths.length >> 1] ?? 0;
}

/**
 * How long the spans of a timeline are: as short as `MOST_POINTS` allows, and long enough to be compared. What an
 * interval counted is all in the span where it ends. So a span shorter than the intervals can look empty though all
 * of it was watched, and of spans of one and a half, every other looks twice as full. Spans are a whole number of
 * intervals, or four at least.
 */
function chooseSpan({ beginMs, endMs }: { beginMs: number; endMs: number }, regularMs: readonly number[]): number {
  const fits = (seconds: number) =>
    Math.ceil(endMs / 1000 / seconds) - Math.floor(beginMs / 1000 / seconds) <= MOST_POINTS;
  const isEven = (seconds: number) =>
    regularMs.every((length) => {
      const intervals = 1000 * seconds / length, whole = Math.round(intervals);
      return intervals >= 4 || (whole > 0 && Math.abs(intervals - whole) <= 0.01 * whole);
    });
  const found = SPANS_SEC.find((seconds) => fits(seconds) && isEven(seconds));
  if (found !== undefined) return 1000 * found;
  const leastMs = regularMs.reduce((a, b) => Math.max(a, b), (endMs - beginMs) / MOST_POINTS);
  return DAY_MS * Math.max(1, Math.ceil(leastMs / DAY_MS));
}

/**
 * Sums for the range of all evidence.
 *
 * @param regularMs The regular lengths of each stream's intervals, in milliseconds.
 */
export function createTimeline(range: { beginMs: number; endMs: number }, regularMs: readonly number[]) {
  const { beginMs, endMs } = range, middleMs = (beginMs + endMs) / 2, spanMs = chooseSpan(range, regularMs);
  const spans = new Map<number, Counted>(),
    days = new Map<number, Counted>(),
    halves: [Counted, Counted] = [none(), none()];
  const spanOf = (timeMs: number) => Math.ceil(timeMs / spanMs) - 1;

  const watch = (parts: Map<number, Counted>, partMs: number, interval: Interval) => {
    for (let part = Math.floor(interval.beginMs / partMs); part * partMs < interval.endMs; part++) {
      const from = Math.max(interval.beginMs, part * partMs), to = Math.min(interval.endMs, (part + 1) * partMs);
      at(parts, part).coveredMs += to - from;
    }
  };
  return {
    spanMs,
    halves,
    add(interval: Interval) {
      const { total, endMs: end } = interval;
      for (const sum of [at(spans, spanOf(end)), at(days, dayOf(end)), halves[end <= middleMs ? 0 : 1]]) {
        sum.packets += total.packets;
        sum.bytes += total.bytes;
        sum.syn += total.syn;
      }
      watch(spans, spanMs, interval);
      watch(days, DAY_MS, interval);
    },
    points(drops: Map<number, Drop>, streams: number): TimelinePoint[] {
      if (endMs <= beginMs) return [];
      const first = Math.floor(beginMs / spanMs), points: TimelinePoint[] = [];
      for (let span = first; span <= spanOf(endMs); span++) {
        const from = Math.max(beginMs, span * spanMs), to = Math.min(endMs, (span + 1) * spanMs);
        const sum = spans.get(span) ?? none(), drop = drops.get(span);
        points.push({
          from_unix_sec: from / 1000,
          to_unix_sec: to / 1000,
          coverage: Math.min(1, sum.coveredMs / (to - from) / streams),
          packets: sum.packets,
          syn: sum.syn,
          would_block_packets: { lower: drop?.packets.lower ?? 0, upper: drop?.packets.upper ?? 0 },
          would_block_syn: { lower: drop?.syn.lower ?? 0, upper: drop?.syn.upper ?? 0 },
        });
      }
      return points;
    },
    /** Of each day, in order. Where nobody watched more than `MOST_EMPTY_DAYS` in a row, these are left out. */
    days(streams: number) {
      const first = Math.floor(beginMs / DAY_MS), watched = [...days.keys()].sort((a, b) => a - b);
      const listed = watched.flatMap((day, i) => {
        const after = i === 0 ? first : watched[i - 1]! + 1, empty = day - after;
        return empty > MOST_EMPTY_DAYS ? [day] : Array.from({ length: empty + 1 }, (_, k) => after + k);
      });
      return listed.map((day) => {
        const from = Math.max(beginMs, day * DAY_MS), to = Math.min(endMs, (day + 1) * DAY_MS);
        const counted = days.get(day) ?? none();
        return {
          day: new Date(day * DAY_MS).toISOString().slice(0, 10),
          number: day,
          start_unix_sec: from / 1000,
          end_unix_sec: to / 1000,
          coverage: Math.min(1, counted.coveredMs / (to - from) / streams),
          counted,
        };
      });
    },
  };
}

function none(): Counted {
  return { packets: 0, bytes: 0, syn: 0, coveredMs: 0 };
}

function at(parts: Map<number, Counted>, key: number): Counted {
  let part = parts.get(key);
  if (!part) parts.set(key, part = none());
  return part;
}
