/**
 * The heartbeat: one line of `status.jsonl`, written by the collector at its start, with its first snapshot, each status
 * interval and at its end.
 *
 * It holds sums since the run began, so that the difference of any two lines of a run says what happened between
 * them, and a lost line loses nothing. `ibsr status` and the metrics file are made of it; of snapshots no more than the
 * last lines are read for that, since a day of them can be gigabytes. Pure: no files, no clock.
 */
import type { PortRange } from "./address.ts";

/** One heartbeat. Times are seconds since 1970. Names in snake_case are the line's own. */
export interface Heartbeat {
  timestamp: number;
  /** `stopped` in the last line of a run that ended in good order. */
  state: "running" | "stopped";
  run_id: number;
  pid: number;
  /** ibsr's version. */
  program: string;
  uptime_sec: number;
  interval_sec: number;
  status_interval_sec: number;
  dst_ports: PortRange[];
  /** Intervals since the start. */
  cycle: number;
  /** Entries in the last snapshots. */
  ips_collected: number;
  /** Sums since the start, over all interfaces. */
  snapshots_written: number;
  packets: number;
  unattributed: number;
  evicted: number;
  /** How often the wall clock was set since the start, or the host slept. Earlier versions don't say. */
  clock_steps?: number;
  interfaces: InterfaceState[];
  /** What doesn't work now, a sentence each. */
  failing: string[];
}

/** One interface in a heartbeat. */
export interface InterfaceState {
  iface: string;
  /** Null while its program is not attached. */
  xdp_mode: "native" | "generic" | null;
  /** Number of the next snapshot. */
  seq: number;
  /** Whether a snapshot waits for the spool. */
  unwritten: boolean;
  /** Seconds counted and written since the start. */
  covered_sec: number;
  /** End of the last snapshot written; null before the first. */
  last_snapshot: number | null;
}

/** The line, without its newline. */
export function encodeHeartbeat(heartbeat: Heartbeat): string {
  return JSON.stringify(heartbeat);
}

/** The heartbeat of a line; undefined for a line that is none (cut off, or of another version). */
export function decodeHeartbeat(line: string): Heartbeat | undefined {
  try {
    const value = JSON.parse(line);
    const known = ["timestamp", "run_id", "pid", "uptime_sec", "interval_sec", "status_interval_sec", "packets"];
    const whole = known.every((name) => typeof value[name] === "number") && Array.isArray(value.interfaces) &&
      Array.isArray(value.failing) && value.interfaces.every((i: InterfaceState) => typeof i.covered_sec === "number");
    return whole ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What a snapshot's line says before its buckets, as far as a heartbeat counts it. */
export interface SnapshotHead {
  run_id: number;
  iface: string;
  seq: number;
  ts_unix_sec: number;
  interval_sec: number;
  totals: { packets: number }[];
  unattributed: { packets: number };
  evicted: number;
}

/** What a line says before its buckets; undefined for a line that is no snapshot of a collector. */
export function decodeHead(line: string): SnapshotHead | undefined {
  const end = line.indexOf(',"buckets":[');
  if (end < 0) return undefined;
  try {
    const head = JSON.parse(`${line.slice(0, end)}}`);
    const numbers = [head.run_id, head.seq, head.ts_unix_sec, head.interval_sec, head.unattributed?.packets];
    const whole = [...numbers, head.evicted].every((value) => typeof value === "number") &&
      Array.isArray(head.totals) &&
      head.totals.every((total: { packets: number }) => typeof total?.packets === "number");
    return whole && typeof head.iface === "string" ? head : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The heartbeat with what its run has written since, as the next one will say it; itself, if that is nothing.
 *
 * @param heads Of the last lines, in their order. Where some between the heartbeat and them are missing, only the time
 * of the last snapshot is taken from them, since sums would lack the rest.
 */
export function advance(beat: Heartbeat, heads: readonly SnapshotHead[]): Heartbeat {
  const newer = heads.filter(({ run_id, iface, seq }) =>
    run_id === beat.run_id && beat.interfaces.some((i) => i.iface === iface && seq >= i.seq)
  );
  if (beat.state !== "running" || newer.length === 0) return beat;
  const isWhole = beat.interfaces.every(({ iface, seq }) => {
    const own = newer.filter((head) => head.iface === iface);
    return own.every((head, i) => head.seq === seq + i);
  });
  const interfaces = beat.interfaces.map((state) => {
    const own = newer.filter(({ iface }) => iface === state.iface), last = own.at(-1);
    if (!last) return state;
    const covered_sec = state.covered_sec + own.reduce((sum, { interval_sec }) => sum + interval_sec, 0);
    return { ...state, last_snapshot: last.ts_unix_sec, ...isWhole ? { seq: last.seq + 1, covered_sec } : {} };
  });
  if (!isWhole) return { ...beat, interfaces };
  const sum = (of: (head: SnapshotHead) => number) => newer.reduce((all, head) => all + of(head), 0);
  return {
    ...beat,
    interfaces,
    timestamp: Math.max(beat.timestamp, Math.floor(newer.at(-1)!.ts_unix_sec)),
    cycle: beat.cycle + 1,
    snapshots_written: beat.snapshots_written + newer.length,
    packets: beat.packets + sum(({ totals }) => totals.reduce((all, { packets }) => all + packets, 0)),
    unattributed: beat.unattributed + sum(({ unattributed }) => unattributed.packets),
    evicted: beat.evicted + sum(({ evicted }) => evicted),
  };
}
