/**
 * Situations that a report has to get right, each described in a few lines: snapshots in, a summary out.
 *
 * Times are seconds after START, a midnight. A host's snapshots are written as the collector writes them (version 8), or
 * as the existing IBSR does (version 7, cumulative). What is expected lies beside this as summary.json, written by
 * scripts/golden.ts; the numbers worked out by hand are in golden_test.ts.
 */
import type { AssessOptions } from "../../src/report/assess.ts";
import { DEFAULT_LIMITS, type GateLimits } from "../../src/report/gate_limits.ts";
import type { NativeOptions } from "../../src/policy/native.ts";
import type { Row } from "../streams.ts";

/** 2026-11-09 00:00:00 UTC, a Monday. */
export const START = 1_794_182_400;
export const HOUR = 3600, DAY = 86_400;

/** One snapshot: what was counted from `begin` to `end`. */
export interface Shot {
  begin: number;
  end: number;
  rows: Row[];
  /** Counted in the totals, and of no source. */
  unattributed?: { packets: number; syn?: number };
  evicted?: number;
  mode?: "native" | "generic";
  notCounted?: number;
}

export interface Situation {
  name: string;
  description: string;
  /** File name → its text. */
  files: Record<string, string>;
  policy?: Partial<Omit<NativeOptions, "allowlist">>;
  limits?: Partial<GateLimits>;
  allowlist?: string;
  selfAddresses?: string[];
  ports?: AssessOptions["ports"];
  /** With the threshold sweep: 210 points, so only where they say something. */
  sweep?: true;
}

// --------------------------------------------------------------------------------------------------- writing

const ZERO = { syn: 0, ack: 0, handshake_ack: 0, rst: 0, packets: 0, bytes: 0, syn_ack: 0, fin: 0, data: 0 };

function bucketOf(row: Row) {
  const { source, port, ...given } = row, { syn = 0, handshake_ack = 0, data = 0, rst = 0 } = given;
  const packets = given.packets ?? syn + handshake_ack + data + rst;
  const derived = { ack: handshake_ack + data, packets, bytes: 60 * packets };
  return { key_type: "src_ip", src_ip: source, dst_port: port, ...ZERO, ...derived, ...given };
}

/** Lines of version 8. */
export function version8(shots: readonly Shot[], host = "web1", runId = START): string {
  return shots.map((shot, seq) => {
    const buckets = shot.rows.map(bucketOf), ports = new Map<number, typeof ZERO>();
    for (const bucket of buckets) {
      const total = ports.get(bucket.dst_port) ?? { ...ZERO };
      for (const name of Object.keys(ZERO) as (keyof typeof ZERO)[]) total[name] += bucket[name];
      ports.set(bucket.dst_port, total);
    }
    const lost = { ...ZERO, ...shot.unattributed, bytes: 60 * (shot.unattributed?.packets ?? 0) };
    if (shot.unattributed) {
      const total = ports.get(443) ?? { ...ZERO };
      for (const name of Object.keys(ZERO) as (keyof typeof ZERO)[]) total[name] += lost[name];
      ports.set(443, total);
    }
    return JSON.stringify({
      version: 8,
      aggregation: "src_ip_dst_port",
      ts_unix_sec: START + shot.end,
      interval_sec: shot.end - shot.begin,
      run_id: runId * 1000,
      seq,
      counter_mode: "delta",
      base_ts_unix_sec: runId,
      dst_ports: [80, 443],
      hostname: host,
      iface: "eth0",
      xdp_mode: shot.mode ?? "native",
      totals: [...ports].sort(([a], [b]) => a - b).map(([dst_port, total]) => ({ dst_port, ...total })),
      unattributed: lost,
      evicted: shot.evicted ?? 0,
      not_counted: {
        not_tcp: shot.notCounted ?? 0,
        other_port: 0,
        malformed: 0,
        later_fragment: 0,
        unknown_encapsulation: 0,
      },
      map: { max_entries: 100_000, entries: buckets.length, known4: buckets.length, known6: 0, syn4: 0, syn6: 0 },
      buckets,
    }) + "\n";
  }).join("");
}

/** A line of version 7 at `end`: counters since the entry was made. */
export function version7(run: number, end: number, rows: readonly Row[]): string {
  return JSON.stringify({
    version: 7,
    aggregation: "src_ip_dst_port",
    ts_unix_sec: START + end,
    interval_sec: 60,
    run_id: START + run,
    counter_mode: "cumulative",
    base_ts_unix_sec: START + run,
    dst_ports: [80, 443],
    buckets: rows.map(bucketOf).map(({ syn_ack: _, fin: __, data: ___, ...v7 }) => v7),
  }) + "\n";
}

/** Snapshots from `begin` to `end`, `step` seconds each. */
export function shots(begin: number, end: number, step: number, rowsOf: (from: number) => Row[]): Shot[] {
  const count = Math.round((end - begin) / step);
  return Array.from({ length: count }, (_, i) => {
    const from = begin + i * step;
    return { begin: from, end: from + step, rows: rowsOf(from) };
  });
}

/** Clients, each in a network of its own, that come in one hour of every day with two connections. */
function clientsOf(count: number, from: number): Row[] {
  const hour = Math.floor(from / HOUR) % 24;
  return Array.from({ length: count }, (_, i) => i).filter((i) => i % 24 === hour).map((i) => ({
    source: `10.${Math.floor(i / 200)}.${i % 200}.1`,
    port: 443,
    syn: 2,
    handshake_ack: 8,
    data: 10,
  }));
}

const ATTACKER = "203.0.113.5";

/** A week of hourly snapshots of `clients`, with a fine-grained quarter of an hour where `event` adds rows. */
function week(
  options: {
    clients?: number;
    /** Hours after START in whose first 15 minutes snapshots are 10 s long. */
    events?: number[];
    /** Rows of the 10 s that begin `second` seconds into event number `event`. */
    event?: (second: number, event: number) => Row[];
    /** Rows added to the hour that begins at `hour`. */
    hour?: (hour: number) => Row[];
    /** Hours that nobody watched. */
    skip?: (hour: number) => boolean;
    hours?: number;
  },
): Shot[] {
  const { clients = 320, events = [], event = () => [], hour = () => [], skip = () => false, hours = 168 } = options;
  return Array.from({ length: hours }, (_, h) => h).filter((h) => !skip(h)).flatMap((h) => {
    const from = h * HOUR, number = events.indexOf(h), rest = [...clientsOf(clients, from), ...hour(h)];
    if (number < 0) return [{ begin: from, end: from + HOUR, rows: rest }];
    const fine = shots(from, from + 900, 10, (at) => event(at - from, number));
    return [...fine, { begin: from + 900, end: from + HOUR, rows: rest }];
  });
}

/** Five minutes of a flood: 2000 SYN each 10 s. */
function flood(second: number): Row[] {
  return second < 300 ? [{ source: ATTACKER, port: 443, syn: 2000 }] : [];
}

/** The attacker's traffic at other times: a connection attempt a day, never used. */
function knock(hour: number): Row[] {
  return hour % 24 === 3 ? [{ source: ATTACKER, port: 443, syn: 2 }] : [];
}

const FLOODS = { events: [60, 132], event: flood, hour: knock };

// ------------------------------------------------------------------------------------------------ situations

const spoofed = (second: number, event: number): Row[] =>
  second >= 300 ? [] : Array.from({ length: 1500 }, (_, i) => ({
    source: `198.${18 + 2 * event + (second / 10 & 1)}.${(second / 20 | 0) * 8 + Math.floor(i / 200)}.${i % 200 + 1}`,
    port: 443,
    syn: 1,
  }));

const office = (hour: number): Row[] =>
  hour % 24 >= 8 && hour % 24 < 18 ? [{ source: "192.0.2.80", port: 443, syn: 20, handshake_ack: 60, data: 90 }] : [];

/** A partner that calls every hour, day and night. */
const partner: Row = { source: "192.0.2.200", port: 443, syn: 5, handshake_ack: 20, data: 30 };

const floodOf = (source: string, length = 300) => (second: number): Row[] =>
  second < length ? [{ source, port: 443, syn: 2000 }] : [];

export const SITUATIONS: Situation[] = [
  {
    name: "ready",
    sweep: true,
    description: "A week of 320 clients; one source floods twice for five minutes, never uses a connection.",
    files: { "web1.jsonl": version8(week(FLOODS)) },
  },
  {
    name: "too-many-legitimate-hit",
    sweep: true,
    description: "As ready, but 8 of the 320 clients flood, too, in their own hour.",
    files: {
      "web1.jsonl": version8(week({
        ...FLOODS,
        event: (second) => [
          ...flood(second),
          ...second < 60 ? Array.from({ length: 8 }, (_, i) => ({ source: `10.0.${i}.1`, port: 443, syn: 2000 })) : [],
        ],
      })),
    },
  },
  {
    name: "too-few-legitimate",
    description: "As ready with 50 clients: none is hit, and 50 are too few to say more than 5.8 %.",
    files: { "web1.jsonl": version8(week({ ...FLOODS, clients: 50 })) },
  },
  {
    name: "one-network",
    description: "320 clients in two /24: too few networks, however many addresses.",
    files: {
      "web1.jsonl": version8(week({
        ...FLOODS,
        clients: 0,
        hour: (hour) => [
          ...knock(hour),
          ...clientsOf(320, hour * HOUR).map((row, i) => ({
            ...row,
            source: `10.9.${i % 2}.${1 + Math.floor(i / 2) + 7 * (hour % 24)}`,
          })),
        ],
      })),
    },
  },
  {
    name: "short-observation",
    description: "Three days of the same.",
    files: { "web1.jsonl": version8(week({ ...FLOODS, hours: 72, events: [12, 60] })) },
  },
  {
    name: "gap",
    description: "As ready, but ten hours were not watched: coverage 94 %.",
    files: { "web1.jsonl": version8(week({ ...FLOODS, skip: (hour) => hour >= 100 && hour < 110 })) },
  },
  {
    name: "lost-packets",
    description: "As ready, but every hour 50 packets can't be named a source: more than 1 % of all.",
    files: {
      "web1.jsonl": version8(
        week(FLOODS).map((shot) => shot.end - shot.begin >= 1000 ? { ...shot, unattributed: { packets: 50, syn: 10 } } : shot),
      ),
    },
  },
  {
    name: "coarse-snapshots",
    description: "The flood of ready, seen in hourly snapshots alone: 60,000 SYN in an hour may be a flood or not.",
    files: {
      "web1.jsonl": version8(week({
        hour: (hour) => [...knock(hour), ...hour === 60 || hour === 132 ? [{ source: ATTACKER, port: 443, syn: 60_000 }] : []],
      })),
    },
  },
  {
    name: "nat",
    sweep: true,
    description: "An office of many users; one of them floods while the others work.",
    files: {
      "web1.jsonl": version8(week({
        events: [60, 132],
        hour: office,
        event: (second) => [{
          ...{ source: "192.0.2.80", port: 443, handshake_ack: 3, data: 5 },
          syn: second < 300 ? 2000 : 1,
        }],
      })),
    },
  },
  {
    name: "low-and-slow",
    description: "A source opens a connection every nine seconds all week and uses none: no rule sees it.",
    files: { "web1.jsonl": version8(week({ hour: () => [{ source: ATTACKER, port: 443, syn: 400 }] })) },
  },
  {
    name: "spoofed-flood",
    sweep: true,
    description: "150 SYN/s for five minutes, each from an address that never returns, twice.",
    files: { "web1.jsonl": version8(week({ events: [60, 132], event: spoofed })) },
  },
  {
    name: "self-blocked",
    description: "The flood comes from the operator's own gateway, in NAT with everyone behind it.",
    files: { "web1.jsonl": version8(week(FLOODS)) },
    selfAddresses: ["203.0.113.0/28"],
  },
  {
    name: "long-known-blocked",
    description: "A partner that calls every hour floods once: long known, so nobody to lock out.",
    files: {
      "web1.jsonl": version8(week({ events: [60], event: floodOf(partner.source, 60), hour: () => [partner] })),
    },
  },
  {
    name: "unstable-halves",
    description:
      "Half of the clients stay away in the second half of the week, and 6 of the others flood then: over all 6 of 320, in the second half 6 of 160.",
    files: {
      "web1.jsonl": version8(
        week({
          ...FLOODS,
          event: (second, event) => [
            ...flood(second),
            ...event === 1 && second < 60
              ? Array.from({ length: 6 }, (_, i) => ({ source: `10.0.${2 * i}.1`, port: 443, syn: 2000 }))
              : [],
          ],
        }).map((shot) => shot.begin < 84 * HOUR ? shot : { ...shot, rows: shot.rows.filter(comesBack) }),
      ),
    },
    limits: { fpLimit: 0.037 },
  },
  {
    name: "nothing-to-gain",
    description: "A quiet week.",
    files: { "web1.jsonl": version8(week({})) },
  },
  {
    name: "no-traffic",
    description: "A week in which nobody came.",
    files: { "web1.jsonl": version8(week({ clients: 0 })) },
  },
  {
    name: "empty",
    description: "One file, and no line in it is a snapshot.",
    files: { "web1.jsonl": '{"version":99}\n\nnot json\n' },
  },
  {
    name: "all-allowlisted",
    description: "As ready, and every address is allowlisted.",
    files: { "web1.jsonl": version8(week(FLOODS)) },
    allowlist: "0.0.0.0/0\n::/0\n",
  },
  {
    name: "restart",
    description: "Cumulative lines; the collector starts anew after two minutes, with a lower and with a higher counter.",
    files: {
      "snapshot_2026110900.jsonl": [
        version7(0, 60, [{ source: ATTACKER, port: 443, syn: 6000 }, { source: "10.0.0.1", port: 443, syn: 2, handshake_ack: 8, data: 9 }]),
        version7(0, 120, [{ source: ATTACKER, port: 443, syn: 12_000 }, { source: "10.0.0.1", port: 443, syn: 4, handshake_ack: 16, data: 18 }]),
        version7(150, 210, [{ source: ATTACKER, port: 443, syn: 7000 }, { source: "10.0.0.1", port: 443, syn: 10, handshake_ack: 40, data: 45 }]),
      ].join(""),
    },
  },
  {
    name: "eviction",
    description: "Cumulative lines of one run; an entry is pushed out and made anew, so its counter falls.",
    files: {
      "snapshot_2026110900.jsonl": [
        version7(0, 60, [{ source: ATTACKER, port: 443, syn: 6000 }]),
        version7(0, 120, [{ source: ATTACKER, port: 443, syn: 5000 }]),
        version7(0, 180, [{ source: ATTACKER, port: 443, syn: 11_000 }]),
      ].join(""),
    },
  },
  {
    name: "cumulative",
    description: "Ten minutes of a flood as the existing IBSR writes them; delta has the same as ibsr does.",
    files: {
      "snapshot_2026110900.jsonl": Array.from({ length: 10 }, (_, i) => version7(0, 60 * (i + 1), tenMinutes(i + 1))).join(""),
    },
  },
  {
    name: "delta",
    description: "The same ten minutes in version 8.",
    files: {
      "web1.jsonl": version8(
        shots(0, 600, 60, (from) => from === 0 ? tenMinutes(1) : differenceOf(tenMinutes(from / 60 + 1), tenMinutes(from / 60))),
      ),
    },
  },
  {
    name: "both-families",
    description: "A /24 and a /48 flood together, no source of theirs enough for itself; counted by network.",
    files: {
      "web1.jsonl": version8(shots(0, 600, 10, () => [
        ...Array.from({ length: 20 }, (_, i) => ({ source: `198.51.100.${i + 1}`, port: 443, syn: 100 })),
        ...Array.from({ length: 20 }, (_, i) => ({ source: `2001:db8:7:${i + 1}::1`, port: 80, syn: 100 })),
        { source: "2001:db8:8::1", port: 443, syn: 1, handshake_ack: 3, data: 4 },
      ])),
    },
    policy: { aggregateBits: { v4: 24, v6: 48 } },
  },
  {
    name: "fleet",
    description: "Two hosts for a week: a source floods both, another only the first.",
    files: {
      "web1/a.jsonl": version8(week({ ...FLOODS, event: (s) => [...flood(s), ...floodOf("203.0.113.9")(s)] }), "web1"),
      "web2/a.jsonl": version8(week(FLOODS), "web2"),
    },
  },
  {
    name: "port-sweep",
    description: "A source tries 30 ports in ten seconds and comes back to one of them a minute later; only 80 and 443 are asked for.",
    files: {
      "web1.jsonl": version8(shots(0, 120, 10, (from) =>
        from === 0
          ? Array.from({ length: 30 }, (_, i) => ({ source: ATTACKER, port: 8000 + i, syn: 1 }))
          : from === 60
          ? [{ source: ATTACKER, port: 8000, syn: 1 }]
          : [])),
    },
  },
  {
    name: "dst-ports",
    description: "Floods to 80 and 443; --dst-ports 80 leaves the other out of every number.",
    files: {
      "web1.jsonl": version8(shots(0, 300, 10, () => [
        { source: ATTACKER, port: 80, syn: 1500 },
        { source: ATTACKER, port: 443, syn: 3000 },
      ])),
    },
    ports: [80],
  },
  {
    name: "generic-mode",
    description: "Five minutes in generic mode, with frames that are not TCP and entries that were pushed out.",
    files: {
      "web1.jsonl": version8(
        shots(0, 300, 10, () => [{ source: ATTACKER, port: 443, syn: 1500 }])
          .map((shot) => ({ ...shot, mode: "generic" as const, notCounted: 7, evicted: 2 })),
      ),
    },
  },
];

/** Whether a row is of the attacker or of a client with an even number. */
function comesBack({ source }: Row): boolean {
  const [first, second, third] = source.split(".").map(Number);
  return first !== 10 || (200 * second! + third!) % 2 === 0;
}

/** Counters after so many minutes: a flood of 200 SYN/s from the third on, and a client. */
function tenMinutes(minutes: number): Row[] {
  const client = { source: "10.0.0.1", port: 443, syn: 2 * minutes, handshake_ack: 8 * minutes, packets: 19 * minutes };
  const rows: Row[] = [{ ...client, data: 9 * minutes }];
  if (minutes > 2) rows.push({ source: ATTACKER, port: 443, syn: 12_000 * (minutes - 2) });
  return rows;
}

function differenceOf(now: readonly Row[], before: readonly Row[]): Row[] {
  return now.map((row) => {
    const last = before.find((one) => one.source === row.source);
    const less = (name: "syn" | "handshake_ack" | "packets" | "data") =>
      row[name] === undefined ? {} : { [name]: row[name] - (last?.[name] ?? 0) };
    return { source: row.source, port: row.port, ...less("syn"), ...less("handshake_ack"), ...less("packets"), ...less("data") };
  });
}

/** Options of a situation, as the command makes them of its defaults. */
export function optionsOf({ limits = {}, ports }: Situation): Pick<AssessOptions, "limits" | "ports"> {
  return { limits: { ...DEFAULT_LIMITS, ...limits }, ports };
}
