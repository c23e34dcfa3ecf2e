/**
 * The heartbeat: one line of `status.jsonl`, written by the collector each status interval and at its end.
 *
 * It holds sums since the run began, so that the difference of any two lines of a run says what happened between
 * them, and a lost line loses nothing. `ibsr status` and the metrics file are made of it; snapshots are not read
 * for that, since a day of them can be gigabytes. Pure: no files, no clock.
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
