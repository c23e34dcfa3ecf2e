/**
 * The report's charts, drawn as SVG text while the report is made: d3-scale maps numbers to places and finds the ticks;
 * no browser and no DOM is needed. Each is drawn for a page and for a phone (svg.ts). Pure.
 *
 * Of d3 there is no more than pays: what is bundled is parsed at every start of the program. d3-shape (32 kB) would
 * draw a few straight lines, d3-time (31 kB) find the ticks of one axis.
 */
// @ts-types="@types/d3-scale"
import { scaleLinear, scaleLog, scaleSqrt } from "d3-scale";
import {
  formatCount,
  formatDuration,
  formatNumberOf,
  formatPort,
  formatRate,
  formatShare,
  formatSpan,
  PERCENT,
  showName,
} from "../words.ts";
import type { SourceRow, StreamSummary, Summary, Sweep, TimelinePoint } from "./summary.ts";
import { escapeHtml } from "../escape.ts";
import { box, type Drawing, element, formatPixels, hairline, hatch, label, polyline } from "./svg.ts";

/** Below this many pixels a chart is for a phone. */
const NARROW = 700;
/** A gap is never thinner than that, or it would not be seen. */
const LEAST_GAP = 1.5;
const STREAMS_SHOWN = 24, SOURCES_SHOWN = 12;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const MINUTE = 60, HOUR = 3600, DAY = 86400;
/** Steps of a time axis, in seconds. */
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].flatMap((n) => [n, n * MINUTE]).sort((a, b) => a - b),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((n) => n * DAY),
];

/** Whole steps of time from `from` to `to`, seconds since 1970; at most about `count`. */
function timeTicks(from: number, to: number, count: number): number[] {
  const step = STEPS.find((step) => (to - from) / step <= count) ?? to - from + 1;
  const first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, i) => first + i * step);
}

/** A tick of a time axis: the day at midnight, the time of day else. */
function formatTick(unixSec: number): string {
  const at = new Date(unixSec * 1000), text = at.toISOString();
  if (text.slice(11, 19) === "00:00:00") return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  return text.slice(11, unixSec % MINUTE === 0 ? 16 : 19);
}

/** A count with three digits that matter, for axes and phones: `1.5M`. */
function formatShort(value: number): string {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const;
  const [size, unit] = units.find(([size]) => value >= size) ?? [1, ""];
  return `${Number((value / size).toPrecision(3))}${unit}`;
}

/** Words that browsers show over a mark. */
function hint(text: string): string {
  return element("title", {}, escapeHtml(text));
}

/** The points as runs without holes between them: an area must not be drawn over time that has no point. */
function splitRuns(points: readonly TimelinePoint[]): TimelinePoint[][] {
  const runs: TimelinePoint[][] = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run && run.at(-1)!.to_unix_sec === point.from_unix_sec && point.coverage > 0) run.push(point);
    else if (point.coverage > 0) runs.push([point]);
  }
  return runs;
}

/** SYN over time, what would be blocked of it, and below it when each stream was watched. */
export function drawTimeline({ timeline, evidence }: Summary): Drawing {
  const spans = timeline.map((p) => p.to_unix_sec - p.from_unix_sec), longest = Math.max(0, ...spans);
  // The first and the last may be shorter than the others.
  const unit = formatDuration(longest) + (spans.every((span) => span === longest) ? "" : ", less at the ends");
  // A flood is a hundred times the traffic of every day, which would not be seen beside it.
  const sizes = timeline.map((p) => p.syn).sort((a, b) => a - b), middle = sizes[sizes.length >> 1] ?? 0;
  const rooted = middle > 0 && sizes.at(-1)! > 15 * middle;
  const shown = evidence.streams.slice(0, STREAMS_SHOWN);
  return {
    id: "timeline",
    title: "Connection attempts over time",
    description: `SYN per ${unit}, the part that would be blocked, and when each stream was watched, ${
      formatSpan(evidence.start_unix_sec, evidence.end_unix_sec)
    }.`,
    draw(width, id) {
      const narrow = width < NARROW,
        left = 48,
        right = width - 1,
        top = 28,
        plot = narrow ? 150 : 190,
        bottom = top + plot;
      const at = scaleLinear([evidence.start_unix_sec, evidence.end_unix_sec], [left, right]);
      const most = timeline.reduce((most, p) => Math.max(most, p.syn, p.would_block_syn.upper), 1);
      const y = (rooted ? scaleSqrt() : scaleLinear()).domain([0, most]).range([bottom, top]).nice(3);
      const parts = [hatch(`${id}-hatch`)];
      for (const tick of rooted ? rootedTicks(y.domain()[1] ?? most, y) : y.ticks(3)) {
        parts.push(hairline(left, y(tick), right, y(tick)));
        parts.push(label(left - 8, y(tick) + 4, formatShort(tick), { "text-anchor": "end" }));
      }
      parts.push(label(0, 12, `SYN per ${unit}${rooted ? ", square-root scale" : ""}`, { class: "unit" }));
      for (const point of timeline.filter((p) => p.coverage < 1)) {
        const from = at(point.from_unix_sec), length = Math.max(LEAST_GAP, at(point.to_unix_sec) - from);
        const opacity = (1 - point.coverage).toFixed(2);
        parts.push(box(from, top, length, plot, { fill: `url(#${id}-hatch)`, opacity }));
      }
      for (const run of splitRuns(timeline)) {
        const layer = (name: string, height: (point: TimelinePoint) => number) => {
          const steps = run.map((p) => `V${formatPixels(y(height(p)))}H${formatPixels(at(p.to_unix_sec))}`);
          const start = `M${formatPixels(at(run[0]!.from_unix_sec))} ${formatPixels(bottom)}`;
          parts.push(element("path", { class: name, d: `${start}${steps.join("")}V${formatPixels(bottom)}Z` }));
        };
        layer("all", (p) => p.syn);
        layer("may", (p) => p.would_block_syn.upper);
        layer("would", (p) => p.would_block_syn.lower);
      }
      parts.push(hairline(left, bottom, right, bottom, "axis"));
      for (const tick of timeTicks(evidence.start_unix_sec, evidence.end_unix_sec, narrow ? 4 : 9)) {
        const px = at(tick);
        parts.push(hairline(px, bottom, px, bottom + 4, "axis"));
        const anchor = px > right - 20 ? "end" : px < left + 20 ? "start" : "middle";
        parts.push(label(px, bottom + 17, formatTick(tick), { "text-anchor": anchor }));
      }
      let row = bottom + 42;
      for (const stream of shown) {
        parts.push(drawStream(stream, { id, left: 0, right, at, top: row, start: left }));
        row += 32;
      }
      if (shown.length < evidence.streams.length) {
        parts.push(label(0, row + 4, `and ${formatNumberOf(evidence.streams.length - shown.length, "more stream")}`));
        row += 20;
      }
      return { height: row - 8, body: parts.join("") };
    },
  };
}

/** The top of a square-root scale, 0, and the powers of ten between that have room. */
function rootedTicks(top: number, y: (value: number) => number): number[] {
  const ticks = [0, top], powers = decades([1, top * 0.9]).reverse();
  for (const tick of [top / 2, ...powers]) {
    if (ticks.every((other) => Math.abs(y(other) - y(tick)) > 24)) ticks.push(tick);
  }
  return ticks;
}

/** One stream's name, and the strip of time it was watched. */
function drawStream(
  stream: StreamSummary,
  { id, left, right, at, top, start }: {
    id: string;
    left: number;
    right: number;
    at: (sec: number) => number;
    top: number;
    start: number;
  },
): string {
  const from = at(stream.start_unix_sec), to = at(stream.end_unix_sec);
  const most = Math.floor((right - 130) / 7), name = showName(`${stream.hostname} ${stream.iface}`);
  const gaps = stream.gaps.map((gap) => {
    const begin = at(gap.from_unix_sec), length = Math.max(LEAST_GAP, at(gap.to_unix_sec) - begin);
    const words = `${gap.restart ? "Restart" : "Gap"}: ${formatSpan(gap.from_unix_sec, gap.to_unix_sec)}`;
    return element(
      "g",
      {},
      hint(words),
      box(begin, top + 4, length, 8, { class: "gap" }),
      box(begin, top + 4, length, 8, { fill: `url(#${id}-hatch)` }),
    );
  });
  return [
    label(left, top, name.length > most ? `${name.slice(0, most - 1)}…` : name, { class: "name" }),
    label(right, top, `${formatShare(stream.coverage)} watched`, { "text-anchor": "end" }),
    box(start, top + 4, from - start, 8, { fill: `url(#${id}-hatch)` }),
    box(from, top + 4, to - from, 8, { class: "all" }),
    box(to, top + 4, right - to, 8, { fill: `url(#${id}-hatch)` }),
    ...gaps,
  ].join("");
}

/** The sources that most of would be blocked, with all that they sent. */
export function drawTopSources(sources: readonly SourceRow[]): Drawing {
  const shown = sources.slice(0, SOURCES_SHOWN);
  return {
    id: "top-sources",
    title: "Top sources",
    description:
      `Connection attempts of the ${shown.length} sources of which most would be blocked, and the part that would be.`,
    draw(width) {
      const narrow = width < NARROW, gutter = narrow ? 0 : 290, end = narrow ? width : width - 250;
      const pitch = narrow ? 40 : 26, most = shown.reduce((most, row) => Math.max(most, row.syn), 1);
      const x = scaleLinear([0, most], [gutter, end]);
      const rows = shown.map((row, i) => {
        const top = i * pitch, bar = narrow ? top + 20 : top + 5, size = narrow ? 9 : 13;
        const { lower, upper } = row.would_block.syn, name = showName(row.source);
        const long = narrow ? 20 : 31,
          port = row.dst_port === 0 ? "" : `${narrow ? ":" : "port "}${formatPort(row.dst_port)}`;
        const shortened = name.length > long ? `${name.slice(0, long - 1)}…` : name;
        const count = narrow ? formatShort : formatCount, most = count(upper), least = count(lower);
        const value = `${least === most ? most : `${least}–${most}`} of ${count(row.syn)}`;
        const base = narrow ? top + 14 : top + 16;
        return [
          element(
            "text",
            { x: 0, y: base, class: "name" },
            escapeHtml(shortened),
            element("tspan", { dx: narrow ? 4 : 8, class: "port" }, port),
          ),
          narrow ? label(width, base, value, { "text-anchor": "end" }) : "",
          box(gutter, bar, x(row.syn) - gutter, size, { class: "all" }),
          box(gutter, bar, x(upper) - gutter, size, { class: "may" }),
          box(gutter, bar, x(lower) - gutter, size, { class: "would" }),
          narrow ? "" : label(x(Math.max(row.syn, upper)) + 8, top + 16, value),
        ].join("");
      });
      return { height: Math.max(1, shown.length * pitch), body: rows.join("") };
    },
  };
}

/** How many sources complete which part of their handshakes: all of them, and those that would be blocked. */
export function drawHandshakeRatio({ bins, without_syn }: Summary["handshake_ratio"]): Drawing {
  return {
    id: "handshake-ratio",
    title: "Sources by handshake ratio",
    description:
      `Sources by the share of their connection attempts that were completed, in ten steps: all of them, and those that would be blocked. ${
        formatNumberOf(without_syn, "source")
      } sent no SYN.`,
    draw(width) {
      const narrow = width < NARROW, gap = 48, size = narrow ? width : (width - gap) / 2, plot = narrow ? 96 : 120;
      const panels = ([["all", "All sources"], ["would_block", "Would be blocked"]] as const).map(([key, title], i) => {
        const left = narrow ? 0 : i * (size + gap), top = narrow ? i * (plot + 76) : 0, bottom = top + 40 + plot;
        const y = scaleLinear([0, Math.max(1, ...bins.map((bin) => bin[key]))], [0, plot]);
        const step = size / bins.length;
        return [
          label(left, top + 12, title, { class: "unit" }),
          ...bins.flatMap((bin, at) => {
            const count = bin[key], x = left + at * step, height = count === 0 ? 0 : Math.max(1, y(count));
            return [
              box(x + 1, bottom - height, step - 2, height, { class: key === "all" ? "all" : "would" }),
              count === 0
                ? ""
                : label(x + step / 2, bottom - height - 5, narrow ? formatShort(count) : formatCount(count), {
                  "text-anchor": "middle",
                }),
              label(x + step / 2, bottom + 15, at === bins.length - 1 ? `≥ .${at}` : at === 0 ? "0" : `.${at}`, {
                "text-anchor": "middle",
              }),
            ];
          }),
          hairline(left, bottom, left + size, bottom, "axis"),
        ].join("");
      });
      return { height: narrow ? 2 * plot + 136 : plot + 60, body: panels.join("") };
    },
  };
}

/** What each threshold would block of the abuse, and how sure it is that it harms no one: two panels over one axis. */
export function drawSweep(sweep: Sweep): Drawing {
  const { default: standard, recommended } = sweep;
  const same = sweep.points.filter((point) => point.success_ratio === standard.success_ratio);
  const windows = [...new Set(same.map((point) => point.window_sec))].sort((a, b) => a - b);
  const curves = windows.map((window) => ({
    window,
    points: same.filter((point) => point.window_sec === window).sort((a, b) => a.syn_rate - b.syn_rate),
  })).sort((a, b) => Number(b.window === standard.window_sec) - Number(a.window === standard.window_sec));
  return {
    id: "sweep",
    title: "Threshold sweep",
    description:
      `Above, the share of abusive connection attempts that would certainly be blocked, by SYN rate threshold; below, the upper 95\u00a0% limit of the false-positive share, with the limit of ${
        formatShare(sweep.fp_limit)
      }. One line a window; handshake ratio ${standard.success_ratio}.`,
    draw(width) {
      const narrow = width < NARROW, left = 48, right = width - (narrow ? 40 : 110), plot = narrow ? 120 : 150;
      const rates = same.map((point) => point.syn_rate);
      const x = scaleLog([Math.min(...rates, standard.syn_rate), Math.max(...rates, standard.syn_rate * 1.01)], [
        left,
        right,
      ]);
      const limits = sweep.fp_limit > 0 ? [sweep.fp_limit] : [];
      const known = [
        ...limits,
        ...[...same, standard].flatMap((p) => p.upper === null || p.upper <= 0 ? [] : [p.upper]),
      ];
      const least = Math.min(1, ...known), most = known.length > 0 ? Math.max(...known) : 1;
      const top1 = 24, bottom1 = top1 + plot, top2 = bottom1 + 66, bottom2 = top2 + plot;
      const effect = scaleLinear([0, 1], [bottom1, top1]);
      // A little lower: a limit of 1 % is a line of its own, not the axis.
      const powers = [Math.floor(Math.log10(least * 0.99)), Math.ceil(Math.log10(most))] as const;
      const bound = scaleLog([10 ** Math.min(powers[0], powers[1] - 1), 10 ** powers[1]], [bottom2, top2]);
      const parts: string[] = [label(0, 12, "Abusive SYN certainly blocked", { class: "unit" })];
      for (const tick of [0, 0.5, 1]) parts.push(gridline(left, right, effect(tick), formatShare(tick)));
      parts.push(label(0, top2 - 12, "False-positive share, upper 95\u00a0% limit", { class: "unit" }));
      for (const tick of decades(bound.domain() as [number, number])) {
        parts.push(gridline(left, right, bound(tick), `${Number((tick * 100).toPrecision(3))}${PERCENT}`));
      }
      for (const share of limits) {
        const y = bound(share), words = narrow ? formatShare(share) : `limit ${formatShare(share)}`;
        parts.push(hairline(left, y, right, y, "limit"), label(right + 6, y + 4, words, { class: "harm-text" }));
      }
      for (const tick of decades(x.domain() as [number, number])) {
        for (const [top, bottom] of [[top1, bottom1], [top2, bottom2]] as const) {
          parts.push(hairline(x(tick), top, x(tick), bottom));
        }
        parts.push(label(x(tick), bottom2 + 17, formatRate(tick), { "text-anchor": "middle" }));
      }
      const crossing = same.find((p) => p.window_sec === standard.window_sec && p.blocked_abusive_syn_share < 0.5);
      const middle = crossing ? x(crossing.syn_rate) : left;
      const placed: number[] = [];
      for (const { window, points } of curves) {
        const main = window === standard.window_sec ? "curve main" : "curve";
        const share = points.map((p) => [x(p.syn_rate), effect(p.blocked_abusive_syn_share)] as const);
        const upper = points.flatMap((p) =>
          p.upper === null || p.upper <= 0 ? [] : [[x(p.syn_rate), bound(p.upper)] as const]
        );
        parts.push(polyline(share, main), polyline(upper, `${main} harm`));
        const end = points.find((p) => p.blocked_abusive_syn_share < 0.5) ?? points.at(-1);
        if (end && windows.length > 1) {
          // Left of the main curve its own left side is free, right of it the right.
          const px = x(end.syn_rate), py = effect(end.blocked_abusive_syn_share), left = px < middle;
          const attributes = { "text-anchor": left ? "end" : "start", class: main.replace("curve", "curve-name") };
          // Where curves fall together, one name is better than two on top of each other.
          if (!narrow && placed.every((other) => Math.abs(other - px) > 24)) {
            parts.push(label(px + (left ? -7 : 6), py + (left ? 10 : -5), formatDuration(window), attributes));
            placed.push(px);
          }
        }
      }
      for (const [point, name] of [[standard, "default"], [recommended, "recommended"]] as const) {
        if (!point) continue;
        const px = x(point.syn_rate), py = effect(point.blocked_abusive_syn_share);
        parts.push(hairline(px, top1, px, bottom2, `mark-line ${name}`));
        parts.push(element("circle", { cx: px, cy: py, r: 4.5, class: `mark ${name}` }));
        if (point.upper !== null && point.upper > 0) {
          parts.push(element("circle", { cx: px, cy: bound(point.upper), r: 4.5, class: `mark ${name}` }));
        }
        const other = point === standard ? recommended : standard;
        const before = other === null || px === x(other.syn_rate)
          ? point === standard && px > left + 60
          : px < x(other.syn_rate);
        parts.push(
          label(px + (before ? -7 : 7), bottom1 + 16, name, {
            "text-anchor": before ? "end" : "start",
            class: "mark-name",
          }),
        );
      }
      return { height: bottom2 + 26, body: parts.join("") };
    },
  };
}

function gridline(left: number, right: number, y: number, text: string): string {
  return hairline(left, y, right, y) + label(left - 8, y + 4, text, { "text-anchor": "end" });
}

/** Powers of ten within a domain. */
function decades([from, to]: [number, number]): number[] {
  const first = Math.ceil(Math.log10(from) - 1e-9), last = Math.floor(Math.log10(to) + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(`1e${first + i}`));
}

/** A bar from 0 to `most` for a number's bounds, with its limit where it has one. Decoration: the words say it all. */
export function drawBounds(
  { lower, upper, most, limit, kind }: { lower: number; upper: number; most: number; limit?: number; kind: string },
): string {
  const x = scaleLinear([0, most], [0, 320]).clamp(true);
  return element(
    "svg",
    { class: "bounds", viewBox: "0 0 320 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    box(0, 3, 320, 4, { class: "track" }),
    box(0, 3, x(upper), 4, { class: `${kind} upper` }),
    box(0, 3, lower > 0 ? Math.max(1.5, x(lower)) : 0, 4, { class: kind }),
    limit === undefined ? "" : box(x(limit) - 1, 0, 2, 10, { class: "limit-mark" }),
  );
}
