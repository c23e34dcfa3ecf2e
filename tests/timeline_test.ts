/** What was counted over time: spans that can be compared, and days. */
import assert from "node:assert/strict";
import { createTimeline, regularLength } from "../src/report/timeline.ts";
import { makeInterval, makeSources } from "./streams.ts";

const START = Date.UTC(2026, 10, 21, 3, 10, 7), DAY = 86_400_000;

/** The timeline of streams of SYNs, one a second, in intervals from `beginMs` on. */
function timelineOf(streams: { beginMs: number; stepMs: number; count: number }[]) {
  const sources = makeSources();
  const made = streams.map(({ beginMs, stepMs, count }) =>
    Array.from({ length: count }, (_, i) =>
      makeInterval(sources, {
        ...{ beginMs: beginMs + i * stepMs, endMs: beginMs + (i + 1) * stepMs },
        rows: [{ source: "192.0.2.1", port: 80, syn: stepMs / 1000 }],
      }))
  );
  const all = made.flat();
  const range = {
    beginMs: Math.min(...all.map(({ beginMs }) => beginMs)),
    endMs: Math.max(...all.map(({ endMs }) => endMs)),
  };
  const timeline = createTimeline(range, made.map(regularLength));
  for (const interval of all) timeline.add(interval);
  return { spanSec: timeline.spanMs / 1000, points: timeline.points(new Map(), streams.length), timeline };
}

Deno.test("points() has no span without an interval where all was watched, nor one twice as full as the next", () => {
  for (const stepSec of [1, 2, 3, 5, 7, 10, 15, 20, 45, 60, 90, 300, 420, 600, 3600]) {
    for (const hours of [0.5, 1, 2, 7, 24]) {
      const count = Math.floor(hours * 3600 / stepSec);
      if (count < 12 || count > 10_000) continue;
      const { points, spanSec } = timelineOf([{ beginMs: START, stepMs: 1000 * stepSec, count }]);
      assert.ok(points.length <= 240 && spanSec >= stepSec, `${points.length} spans of ${spanSec} s`);
      const whole = points.slice(1, -1).map(({ syn }) => syn),
        what = `${stepSec} s in ${hours} h: spans of ${spanSec} s`;
      assert.ok(whole.every((syn) => syn > 0), `${what}: empty ones`);
      assert.ok(
        Math.max(...whole) <= 1.26 * Math.min(...whole),
        `${what}: ${Math.min(...whole)}–${Math.max(...whole)}`,
      );
    }
  }
});

Deno.test("points() are as short as the streams with the longest intervals allow", () => {
  const fine = { beginMs: START, stepMs: 10_000, count: 360 }, coarse = { beginMs: START, stepMs: 60_000, count: 60 };
  assert.equal(timelineOf([fine]).spanSec, 30);
  assert.equal(timelineOf([coarse]).spanSec, 60);
  assert.equal(timelineOf([fine, coarse]).spanSec, 60);
  assert.equal(timelineOf([{ beginMs: START, stepMs: 1000, count: 60 }]).spanSec, 1);
});

Deno.test("days() has the days of a week that nobody watched, and none of more", () => {
  const at = (day: number) => ({ beginMs: START + day * DAY, stepMs: 60_000, count: 10 });
  const list = (...days: number[]) => timelineOf(days.map(at)).timeline.days(days.length);
  const week = list(0, 8);
  assert.deepEqual(week.map(({ day }) => Number(day.slice(8))), [21, 22, 23, 24, 25, 26, 27, 28, 29]);
  assert.deepEqual(week.map(({ coverage }) => coverage > 0), [true, ...Array(7).fill(false), true]);
  const years = list(0, 9, 10, 4000);
  assert.deepEqual(years.map(({ day }) => day), ["2026-11-21", "2026-11-30", "2026-12-01", "2037-11-03"]);
  assert.equal(years.reduce((sum, { counted }) => sum + counted.syn, 0), 4 * 600);
});
