/**
 * Random packets of one source, and the same packets as intervals count them.
 */
import type { Random } from "../../packets.ts";

/** A packet: milliseconds since the trace began, SYN without ACK or not, destination port. */
export interface TracePacket {
  timeMs: number;
  syn: boolean;
  port: number;
}

/** What an interval (fromMs, toMs] counts of a trace. */
export interface TraceInterval {
  fromMs: number;
  toMs: number;
  packets: number;
  syns: number;
  ports: Set<number>;
  /** Its packets. */
  trace: TracePacket[];
}

/** Interval lengths that the bounds are held against, in seconds. */
export const LENGTHS_SEC = [1, 2, 5, 10, 30, 60] as const;

/**
 * A trace in which windows are often nearly full and ends of windows are often met: bursts, steady streams and
 * silences, at times that are like as not a whole number of windows apart.
 */
export function randomTrace(
  { below, pick, oneIn }: Random,
  { windowMs, packets, ports = 1 }: { windowMs: number; packets: number; ports?: number },
): TracePacket[] {
  const trace: TracePacket[] = [], parts = 1 + below(8);
  let at = below(20_000);
  for (let part = 0; part < parts; part++) {
    const count = 1 + below(packets), synShare = pick([0, 0.5, 0.69, 0.7, 0.71, 0.75, 0.9, 1, 1]);
    const spanMs = pick([0, 10, 999, 1000, 5000, windowMs - 1, windowMs, windowMs + 1, 3 * windowMs]);
    const firstPort = below(ports);
    for (let i = 0; i < count; i++) {
      const timeMs = at + (oneIn(2) ? Math.floor(spanMs * i / count) : below(spanMs + 1));
      trace.push({ timeMs, syn: below(1000) < 1000 * synShare, port: 1 + ((firstPort + i) % ports) });
    }
    at += pick([0, 1, spanMs, windowMs - 1, windowMs, windowMs + 1, 500, 1000, 7300, 2 * windowMs]);
  }
  return trace.sort((a, b) => a.timeMs - b.timeMs);
}

/** The trace as intervals of `lengthMs` see it; those without a packet are left out. */
export function countTrace(trace: readonly TracePacket[], lengthMs: number): TraceInterval[] {
  const intervals: TraceInterval[] = [];
  for (const packet of trace) {
    const toMs = Math.ceil(packet.timeMs / lengthMs) * lengthMs, last = intervals.at(-1);
    const interval = last?.toMs === toMs
      ? last
      : { fromMs: toMs - lengthMs, toMs, packets: 0, syns: 0, ports: new Set<number>(), trace: [] };
    if (interval !== last) intervals.push(interval);
    interval.packets++;
    if (packet.syn) interval.syns++;
    interval.ports.add(packet.port);
    interval.trace.push(packet);
  }
  return intervals;
}
