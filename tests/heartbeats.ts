/**
 * Heartbeats for tests.
 */
import type { Heartbeat } from "../src/heartbeat.ts";

/** One heartbeat of a run that began at 1,000,000 s, a minute later; `own` differs. */
export function heartbeat(own: Partial<Heartbeat> = {}): Heartbeat {
  const timestamp = own.timestamp ?? 1_000_060;
  return {
    timestamp,
    state: "running",
    run_id: 1_000_000_000,
    pid: 4711,
    program: "0.1.0",
    uptime_sec: 60,
    interval_sec: 10,
    status_interval_sec: 60,
    dst_ports: [80, 443],
    cycle: 6,
    ips_collected: 3,
    snapshots_written: 6,
    packets: 600,
    unattributed: 0,
    evicted: 0,
    clock_steps: 0,
    interfaces: [onInterface({ last_snapshot: timestamp })],
    failing: [],
    ...own,
  };
}

/** The state of an interface, eth0 unless `own` says otherwise. */
export function onInterface(own: Partial<Heartbeat["interfaces"][0]> = {}): Heartbeat["interfaces"][0] {
  return {
    iface: "eth0",
    xdp_mode: "native",
    seq: 6,
    unwritten: false,
    covered_sec: 60,
    last_snapshot: 1_000_060,
    ...own,
  };
}
