/**
 * What was watched, and what was not: coverage, gaps, losses, runs and modes of a stream. Pure.
 */
import { compactPorts } from "../address.ts";
import { COUNTER_NAMES, type Counters, noCounters, type NotCounted, SKIP_NAMES } from "../counters.ts";
import type { Interval, StreamName } from "../evidence/interval.ts";
import { follows } from "../policy/recent.ts";
import type { SnapshotMode } from "../snapshot.ts";
import type { StreamSummary } from "./summary.ts";

const LISTED_GAPS = 100, LISTED_PORTS = 50;

/** Sums over a stream. */
export interface Watch {
  summary: StreamSummary;
  beginMs: number;
  endMs: number;
  coveredMs: number;
  total: Counters;
  unattributed: Counters;
  evicted: number;
  wrapped: number;
  notCounted: NotCounted | null;
  restarts: number;
  longestMs: number;
  modes: Set<SnapshotMode>;
}

/** Watches a stream; `add` is called with each interval in order. */
export function createWatch(name: StreamName) {
  const total = noCounters(), unattributed = noCounters(), lengths: number[] = [], gaps: StreamSummary["gaps"] = [];
  const runs = new Set<number>(), modes = new Set<SnapshotMode>(), ports = new Map<string, readonly number[]>();
  let before: Pick<Interval, "beginMs" | "endMs" | "runId"> | undefined,
    beginMs = Infinity,
    coveredMs = 0,
    gapCount = 0,
    restarts = 0;
  let evicted = 0, wrapped = 0, lastPorts: readonly number[] | undefined;
  let notCounted: NotCounted | null = null;
  return {
    add(interval: Interval) {
      for (const field of COUNTER_NAMES) {
        total[field] += interval.total[field];
        unattributed[field] += interval.unattributed[field];
      }
      if (interval.notCounted) {
        notCounted ??= Object.fromEntries(SKIP_NAMES.map((skip) => [skip, 0])) as unknown as NotCounted;
        for (const skip of SKIP_NAMES) notCounted[skip] += interval.notCounted[skip];
      }
      evicted += interval.evicted;
      wrapped += interval.wrapped;
      runs.add(interval.runId);
      if (interval.mode) modes.add(interval.mode);
      if (interval.ports !== lastPorts) ports.set(compactPorts(interval.ports).join(","), lastPorts = interval.ports);
      beginMs = Math.min(beginMs, interval.beginMs);
      coveredMs += interval.endMs - interval.beginMs;
      lengths.push(interval.endMs - interval.beginMs);
      const restart = before !== undefined && (interval.first || before.runId !== interval.runId);
      if (restart) restarts++;
      if (before && !follows(before, interval)) {
        gapCount++;
        gaps.push({ from_unix_sec: before.endMs / 1000, to_unix_sec: interval.beginMs / 1000, restart });
        if (gaps.length > 2 * LISTED_GAPS) longestFirst(gaps).length = LISTED_GAPS;
      }
      before = { beginMs: interval.beginMs, endMs: interval.endMs, runId: interval.runId };
    },
    finish(): Watch {
      const endMs = before?.endMs ?? 0, observedMs = before ? endMs - beginMs : 0;
      const sorted = Float64Array.from(lengths).sort();
      const all = new Set([...ports.values()].flat()), text = compactPorts([...all].sort((a, b) => a - b));
      return {
        summary: {
          ...name,
          modes: [...modes].sort(),
          runs: runs.size,
          intervals: lengths.length,
          interval_sec: {
            min: (sorted[0] ?? 0) / 1000,
            median: (sorted[sorted.length >> 1] ?? 0) / 1000,
            max: (sorted.at(-1) ?? 0) / 1000,
          },
          start_unix_sec: before ? beginMs / 1000 : 0,
          end_unix_sec: endMs / 1000,
          coverage: observedMs > 0 ? Math.min(1, coveredMs / observedMs) : 0,
          gaps: longestFirst(gaps).slice(0, LISTED_GAPS),
          gap_count: gapCount,
          loss: total.packets > 0 ? unattributed.packets / total.packets : 0,
          ports: text.slice(0, LISTED_PORTS).join(",") + (text.length > LISTED_PORTS ? ",…" : ""),
        },
        ...{ beginMs, endMs, coveredMs, total, unattributed, evicted, wrapped, notCounted, restarts, modes },
        longestMs: sorted.at(-1) ?? 0,
      };
    },
  };
}

function longestFirst(gaps: StreamSummary["gaps"]): StreamSummary["gaps"] {
  const length = (gap: StreamSummary["gaps"][number]) => gap.to_unix_sec - gap.from_unix_sec;
  return gaps.sort((a, b) => length(b) - length(a) || a.from_unix_sec - b.from_unix_sec);
}
