/**
 * What is found of the sources whatever the policy is: counts and classes, the sweep, one-shot sources.
 *
 * It takes each interval together with what the policy's effects take out of the evidence, and knows sources by number
 * only: so it can be done in another thread (observe_thread.ts) as well as here. What it comes to is plain values. Pure.
 */
import type { Interval } from "../evidence/interval.ts";
import { createSpoofingCount } from "./spoofing.ts";
import type { Spoofing } from "./summary.ts";
import { createSweeper, type SweepCounts, type SweepDefault } from "./sweep.ts";
import { createMarks, createTally, type ExcludedSpans, type Marks, type TallyCounts } from "./tally.ts";

/** How it is counted. */
export interface ObserverOptions {
  /** Numbers of sources are below it. */
  sourceCount: number;
  /** There are several streams: each has marks of its own, too. */
  several: boolean;
  windowMs: number;
  middleMs: number;
  floodRate: number;
  sweep: SweepDefault | undefined;
  /** By source: 1 if it is never blocked. Undefined: none is. */
  exempt: Uint8Array | undefined;
}

/** The part of an interval that is looked at. */
export interface ObservedInterval {
  beginMs: number;
  endMs: number;
  cells: Pick<
    Interval["cells"],
    "count" | "source" | "port" | "packets" | "bytes" | "syn" | "synAck" | "handshakeAck" | "rst" | "data"
  >;
  /** SYNs over all ports, whatever the maps lost, and those of no source. */
  totalSyn: number;
  unattributedSyn: number;
}

/** What an interval's effects take out of what sources are judged by. */
export interface Exclusions {
  /** Of these something would have been dropped in it. */
  sources: Uint32Array<ArrayBuffer>;
  /** Windows that triggered, and blocks. */
  spans: ExcludedSpans;
}

/** Takes the intervals of all streams. */
export interface Observer {
  /** Starts the next stream. */
  startStream(): void;
  /** Takes its next interval in time. */
  add(interval: ObservedInterval, exclusions: Exclusions): void;
  /** Ends the last stream. */
  finish(): Observation | Promise<Observation>;
}

/** What was found. */
export interface Observation {
  streams: StreamObservation[];
  /** Who looks legitimate, on any stream. */
  marks: Marks;
  spoofing: Spoofing;
  sweep: SweepCounts | undefined;
}

/** What was found on a stream. */
export interface StreamObservation extends TallyCounts {
  /** Who looks legitimate on this one, where there are several. */
  marks: Marks | undefined;
  /** Share of SYNs from one-shot sources; null without a SYN. */
  spoofedShare: number | null;
}

/** An observer in this thread. */
export function createObserver(options: ObserverOptions): Omit<Observer, "finish"> & { finish(): Observation } {
  const { exempt, middleMs, sourceCount } = options, marks = createMarks(sourceCount);
  const spoofing = createSpoofingCount(options.floodRate), streams: StreamObservation[] = [];
  const isExempt = (source: number) => exempt?.[source] === 1;
  const sweeper = options.sweep ? createSweeper(options.sweep, { middleMs, isExempt }) : undefined;
  const start = () => {
    const ownMarks = options.several ? createMarks(sourceCount) : undefined;
    const tally = createTally(sourceCount, {
      ...{ windowMs: options.windowMs, middleMs, marks: ownMarks ? [marks, ownMarks] : [marks] },
    });
    return { ownMarks, tally, spoofing: spoofing.stream(), sweep: sweeper?.stream(tally), index: 0 };
  };
  let stream: ReturnType<typeof start> | undefined;
  const end = () => {
    if (!stream) return;
    const { ownMarks, tally, sweep } = stream;
    tally.settle();
    sweep?.finish();
    streams.push({ ...tally.counts(), marks: ownMarks, spoofedShare: stream.spoofing.finish(tally) });
    stream = undefined;
  };
  return {
    startStream() {
      end();
      stream = start();
    },
    add(interval, { sources, spans }) {
      const { tally, sweep } = stream!;
      stream!.spoofing.add(interval);
      const keyOf = tally.add(interval, stream!.index++);
      sweep?.add(interval, keyOf);
      for (const source of sources) tally.excludeInterval(source, interval);
      tally.exclude(spans);
      tally.settle(interval);
    },
    finish() {
      end();
      return { streams, marks, spoofing: spoofing.finish(), sweep: sweeper?.counts() };
    },
  };
}
