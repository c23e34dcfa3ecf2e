/**
 * Which ports a source is blocked on, and for how long: spans of ports, sorted, that don't overlap. Pure.
 */
import type { PortRange } from "../address.ts";

/** Ports from `low` to `high`, blocked so many whole seconds; Infinity: for good. */
export interface Span {
  readonly low: number;
  readonly high: number;
  readonly durationSec: number;
}

const ALL_PORTS = { low: 0, high: 65535 };

/** The spans of a rule; no ports means all of them. A duration is rounded up to whole seconds, at least one. */
export function spansOf(ports: readonly PortRange[], durationSec: number | null): Span[] {
  const duration = durationSec === null ? Infinity : Math.max(1, Math.ceil(durationSec));
  if (ports.length === 0) return [{ ...ALL_PORTS, durationSec: duration }];
  const sorted = ports.map((range) => {
    const [low, high = low] = typeof range === "number" ? [range] : range.split("-").map(Number) as [number, number];
    return { low, high, durationSec: duration };
  }).sort((a, b) => a.low - b.low);
  const spans: Span[] = [];
  for (const span of sorted) {
    const last = spans.at(-1);
    if (last && span.low <= last.high + 1) spans[spans.length - 1] = { ...last, high: Math.max(last.high, span.high) };
    else spans.push(span);
  }
  return spans;
}

/** Every port of either, as long as the longer of both blocks it. */
export function joinSpans(a: readonly Span[], b: readonly Span[]): Span[] {
  if (a.length === 0 || b.length === 0) return [...a, ...b];
  const edges = [...new Set([...a, ...b].flatMap(({ low, high }) => [low, high + 1]))].sort((x, y) => x - y);
  const joined: Span[] = [];
  let i = 0, j = 0;
  for (const [k, low] of edges.slice(0, -1).entries()) {
    while (i < a.length && a[i]!.high < low) i++;
    while (j < b.length && b[j]!.high < low) j++;
    const durationSec = Math.max(durationAt(a[i], low), durationAt(b[j], low));
    if (durationSec > 0) joined.push({ low, high: edges[k + 1]! - 1, durationSec });
  }
  return coalesce(joined);
}

function durationAt(span: Span | undefined, port: number): number {
  return span && span.low <= port && port <= span.high ? span.durationSec : 0;
}

/** Neighbours of one duration as one span. */
function coalesce(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of spans) {
    const last = result.at(-1);
    if (last && last.high + 1 === span.low && last.durationSec === span.durationSec) {
      result[result.length - 1] = { ...last, high: span.high };
    } else {
      result.push(span);
    }
  }
  return result;
}

/** Equal spans have equal keys. */
export function keyOf(spans: readonly Span[]): string {
  return spans.map(({ low, high, durationSec }) => `${low}-${high}:${durationSec}`).join(",");
}

/** The same ports with one duration each span. */
export function withDuration(spans: readonly Span[], duration: (durationSec: number) => number): Span[] {
  return coalesce(spans.map((span) => ({ ...span, durationSec: duration(span.durationSec) })));
}

/** All ports, as long as the longest span blocks any. */
export function widenPorts(spans: readonly Span[]): Span[] {
  return [{ ...ALL_PORTS, durationSec: Math.max(...spans.map((span) => span.durationSec)) }];
}

/** Whether the spans are all ports, whatever the durations. */
export function coversAllPorts(spans: readonly Span[]): boolean {
  return spans[0]?.low === 0 && spans.at(-1)?.high === 65535 &&
    spans.every((span, i) => i === 0 || spans[i - 1]!.high + 1 === span.low);
}

/** Ports as a format writes them: `22,8080-8899` with the separators that it takes. */
export function writePorts(ports: readonly { low: number; high: number }[], comma: string, dash: string): string {
  return ports.map(({ low, high }) => low === high ? `${low}` : `${low}${dash}${high}`).join(comma);
}
