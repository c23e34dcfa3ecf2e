/**
 * Evidence that nobody would write down: hosts of every version and counter mode, restarts, gaps, repeated and broken
 * lines, clocks that jump, files in any order; and thresholds to try on it. The same seed makes the same.
 */
import { COUNTER_NAMES, type Counters, noCounters } from "../../src/counters.ts";
import { createPrefixSet } from "../../src/allowlist.ts";
import type { NativeOptions } from "../../src/policy/native.ts";
import { parsePrefix } from "../../src/prefix.ts";
import { DEFAULT_LIMITS } from "../../src/report/gate_limits.ts";
import type { Asked } from "./run.ts";

/** Whole numbers and choices by a seed (mulberry32). */
export function createDice(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  return {
    below,
    between: (low: number, high: number) => low + below(high - low + 1),
    pick: <T>(list: readonly T[]): T => list[below(list.length)]!,
    chance: (share: number) => next() < share,
  };
}

type Dice = ReturnType<typeof createDice>;

const START = 1_794_182_400;
const OLD = COUNTER_NAMES.slice(0, 6);

/** Who sends, and how. */
interface Sender {
  address: string;
  ports: number[];
  kind: "client" | "flood" | "office" | "knock" | "sweep" | "once";
}

function makeSenders(dice: Dice): Sender[] {
  const kinds = ["client", "client", "flood", "office", "knock", "sweep", "once", "once"] as const;
  return Array.from({ length: dice.between(6, 18) }, (_, i) => ({
    address: dice.chance(0.25)
      ? `2001:db8:${dice.below(2)}:${dice.below(3) + 1}::${(i + 1).toString(16)}`
      : dice.chance(0.05)
      ? `::ffff:c000:20${i % 9}`
      : `198.51.${100 + dice.below(2)}.${i + 1}`,
    ports: dice.pick([[443], [80], [80, 443], [443, 8443]]),
    kind: dice.pick(kinds),
  }));
}

/** What a sender sends to each of its ports in so many seconds. */
function send(dice: Dice, { kind, ports, address }: Sender, seconds: number): [string, number, Counters][] {
  const counters = (syn: number, ack: number, data: number, more: Partial<Counters> = {}): Counters => {
    const packets = syn + ack + data + (more.rst ?? 0) + (more.syn_ack ?? 0);
    return {
      ...noCounters(),
      syn,
      ack: ack + data,
      handshake_ack: ack,
      data,
      packets,
      bytes: 60 * packets + 900 * data,
      ...more,
    };
  };
  const rows = (of: (port: number) => Counters | undefined) =>
    ports.flatMap((port): [string, number, Counters][] => {
      const found = of(port);
      return found ? [[address, port, found]] : [];
    });
  const few = Math.max(1, Math.round(seconds / 10));
  switch (kind) {
    case "client":
      return dice.chance(0.4) ? rows(() => counters(dice.between(1, 2) * few, dice.below(6) * few, dice.below(9))) : [];
    case "office":
      return dice.chance(0.9)
        ? rows(() =>
          counters(dice.between(1, dice.chance(0.2) ? 300 : 20), dice.below(40), dice.below(60), { rst: dice.below(3) })
        )
        : [];
    case "flood":
      return dice.chance(0.5)
        ? rows(() =>
          counters(
            dice.between(5, 200) * seconds,
            dice.chance(0.3) ? dice.below(30) : 0,
            dice.chance(0.3) ? dice.below(30) : 0,
          )
        )
        : [];
    case "knock":
      return dice.chance(0.3)
        ? rows(() => counters(dice.between(0, 3), 0, 0, { syn_ack: dice.below(2), fin: dice.below(2) }))
        : [];
    case "sweep": {
      if (!dice.chance(0.3)) return [];
      const from = 8000 + dice.below(4);
      return Array.from({ length: dice.between(1, 8) }, (_, i) => [address, from + i, counters(1, 0, 0)]);
    }
    case "once":
      return dice.chance(0.02) ? rows(() => counters(dice.between(1, 3), 0, 0)) : [];
  }
}

/** Counters since the start of a run, as a cumulative collector has them. */
function accumulate(
  dice: Dice,
  sums: Map<string, [string, number, Counters]>,
  rows: readonly [string, number, Counters][],
): [string, number, Counters][] {
  for (const [address, port, counters] of rows) {
    const key = `${address} ${port}`, known = sums.get(key);
    // What has been counted since long is about to pass 2^32.
    const before = !known && dice.chance(0.05) ? 2 ** 32 - dice.between(1, 300) : 0, sum = known?.[2] ?? noCounters();
    for (const name of COUNTER_NAMES) sum[name] += counters[name] + (name === "bytes" ? 0 : before);
    sums.set(key, [address, port, sum]);
  }
  // An entry is pushed out.
  for (const key of sums.keys()) if (dice.chance(0.02)) sums.delete(key);
  const shown = (counters: Counters) =>
    COUNTER_NAMES.map((name) => [name, name === "bytes" ? counters[name] : counters[name] % 2 ** 32]);
  return [...sums.values()].map(([address, port, counters]) => [
    ...[address, port] as const,
    Object.fromEntries(shown(counters)) as unknown as Counters,
  ]);
}

interface Host {
  name: string;
  version: number;
  cumulative: boolean;
  stepSec: number;
}

function ordered(counters: Counters, names: readonly (keyof Counters)[] = COUNTER_NAMES) {
  return Object.fromEntries(names.map((name) => [name, counters[name]]));
}

function lineOf(
  dice: Dice,
  host: Host,
  at: { end: number; seconds: number; run: number; seq: number },
  rows: readonly [string, number, Counters][],
): string {
  const { version, cumulative } = host,
    full = version >= 8,
    number = (address: string) => address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const buckets = rows.filter(([address]) => version > 3 || !address.includes(":")).map(([address, port, counters]) => {
    const network = !full && version > 3 && !address.includes(":") && dice.chance(0.03);
    return {
      key_type: network ? "src_cidr24" : "src_ip",
      ...version === 3 ? { key_value: number(address) } : { src_ip: address },
      ...version === 3 ? {} : { dst_port: port },
      ...ordered(counters, full ? COUNTER_NAMES : OLD),
    };
  });
  const total = noCounters(), lost = noCounters();
  for (const [, , counters] of rows) for (const name of COUNTER_NAMES) total[name] += counters[name];
  if (dice.chance(0.2)) {
    lost.packets = dice.below(200);
    lost.syn = dice.below(lost.packets + 1);
    lost.bytes = 60 * lost.packets;
    for (const name of COUNTER_NAMES) total[name] += lost[name];
  }
  const head = {
    version,
    ...version >= 4 ? { aggregation: "src_ip_dst_port" } : {},
    ts_unix_sec: full ? at.end : Math.floor(at.end),
  };
  const run = {
    interval_sec: full ? at.seconds : host.stepSec,
    run_id: full ? at.run * 1000 : at.run,
    ...full ? { seq: at.seq } : {},
    counter_mode: cumulative ? "cumulative" : "delta",
    base_ts_unix_sec: at.run,
    dst_ports: [80, 443, "8000-8012"],
  };
  if (!full) {
    const line = version >= 5 ? { ...head, ...run, buckets } : { ...head, dst_ports: [80, 443], buckets };
    return JSON.stringify(line);
  }
  const counts = {
    not_tcp: dice.below(9),
    other_port: 1,
    malformed: 0,
    later_fragment: 0,
    unknown_encapsulation: dice.below(2),
  };
  const line = {
    ...head,
    ...run,
    ...{ hostname: host.name, iface: "eth0", xdp_mode: dice.chance(0.1) ? "generic" : "native" },
    totals: [{ dst_port: 80, ...ordered(total) }],
    unattributed: ordered(lost),
    evicted: dice.chance(0.1) ? dice.below(5) : 0,
    not_counted: counts,
    map: { max_entries: 1000, entries: buckets.length, known4: buckets.length, known6: 0, syn4: 0, syn6: 0 },
    buckets,
  };
  // Spaces, keys in another order, a key too many: not as it is always written, and the same.
  if (dice.chance(0.04)) {
    return JSON.stringify({ ...line, note: "é\n", hostname: line.hostname }).replaceAll(",", " , ");
  }
  if (dice.chance(0.03) && buckets.length > 0) return JSON.stringify({ ...line, buckets: [...buckets, buckets[0]] });
  return JSON.stringify(line);
}

const BAD = [
  "",
  "  \t",
  "not json",
  "{",
  '{"version":99}',
  "[]",
  '{"version":8}',
  '{"version":8,"buckets":[]}',
  "null",
];

function linesOf(dice: Dice, host: Host, senders: readonly Sender[], from: number): string[] {
  const lines: string[] = [];
  let now = from, run = from, seq = 0, sums = new Map<string, [string, number, Counters]>();
  for (let i = 0, count = dice.between(20, 120); i < count; i++) {
    if (dice.chance(0.02)) now += dice.pick([-30, -3, -0.6, 25, 400, 3000]);
    if (dice.chance(0.03)) {
      run = Math.ceil(now);
      seq = 0;
      if (dice.chance(0.8)) sums = new Map();
    }
    const jitter = host.version >= 8 && dice.chance(0.3) ? dice.between(-200, 200) / 1000 : 0;
    const seconds = Math.max(1, Math.round(1000 * (host.stepSec + jitter)) / 1000);
    now = Math.round(1000 * (now + seconds)) / 1000;
    const sent = senders.flatMap((sender) => send(dice, sender, seconds));
    const rows = host.cumulative ? accumulate(dice, sums, sent) : sent;
    if (dice.chance(0.02)) seq++;
    const line = lineOf(dice, host, { end: now, seconds, run, seq: seq++ }, rows);
    if (dice.chance(0.02)) continue;
    lines.push(line);
    if (dice.chance(0.02)) lines.push(line);
    if (dice.chance(0.01)) lines.push(line.replace(/"packets":(\d+)/, '"packets":1$1'));
    if (dice.chance(0.01)) lines.push(line.slice(0, dice.below(line.length)));
    if (dice.chance(0.03)) lines.push(dice.pick(BAD));
  }
  if (dice.chance(0.2)) [lines[0], lines[1]] = [lines[1]!, lines[0]!];
  return lines;
}

/** File name → text. */
export function makeFiles(dice: Dice): Record<string, string> {
  const files: Record<string, string> = {}, senders = makeSenders(dice);
  const stepSec = dice.pick([1, 5, 10, 30, 60, 60, 120]), from = START + dice.pick([0, 80_000, 85_500]);
  for (let i = 0, hosts = dice.between(1, 4); i < hosts; i++) {
    const version = dice.pick([8, 8, 8, 8, 8, 7, 6, 5, 4, 3]),
      cumulative = version < 5 || dice.chance(version < 8 ? 0.8 : 0.25);
    const host = { name: `web${dice.chance(0.8) ? i : 0}`, version, cumulative, stepSec };
    const lines = linesOf(dice, host, senders, from + dice.below(300));
    const parts = dice.between(1, 3), each = Math.ceil(lines.length / parts);
    for (let part = 0; part < parts; part++) {
      const name = `h${i}/${dice.chance(0.3) ? "ibsr-20261109-000000Z/" : ""}${dice.pick(["b", "a", "c"])}${part}`;
      const open = dice.chance(0.15), end = dice.chance(0.8) ? "\n" : "", mark = dice.chance(0.1) ? "\ufeff" : "";
      const line = lines.slice(part * each, (part + 1) * each), newline = dice.chance(0.1) ? "\r\n" : "\n";
      files[`${name}.jsonl${open ? ".open" : ""}`] = mark + line.join(newline) + end;
    }
  }
  return files;
}

/** Thresholds and lists. */
export function makeAsked(dice: Dice): Asked {
  const list = (share: number) =>
    createPrefixSet(
      ["198.51.100.3", "198.51.101.0/29", "2001:db8::/47", "198.51.100.8"].filter(() => dice.chance(share))
        .map((text) => parsePrefix(text)!),
    );
  const allowlist = dice.chance(0.4) ? list(0.4) : list(0);
  const native: NativeOptions = {
    windowMs: dice.pick([10_000, 10_000, 1000, 30_000, 60_000, 2500, 600_000]),
    blockDurationMs: dice.pick([300_000, 20_000, 60_000, 5000, 1000]),
    synRate: dice.pick([100, 10, 1, 5, 0.4]),
    successRatio: dice.pick([0.1, 0, 0.5, 1, 0.07]),
    volSynRate: dice.pick([500, 2]),
    volPacketRate: dice.pick([1000, 8, 3]),
    volByteRate: dice.pick([1_000_000, 900]),
    sweepPorts: dice.pick([20, 3, 2, 6]),
    aggregateBits: { v4: dice.pick([32, 32, 24]), v6: dice.pick([128, 128, 48]) },
    allowlist,
  };
  const { windowMs, synRate, successRatio, blockDurationMs } = native;
  return {
    native,
    assess: {
      ibsrVersion: "0.0.0",
      options: {},
      limits: { ...DEFAULT_LIMITS, fpLimit: dice.pick([0.01, 0.3, 0.9]), minDays: dice.pick([7, 0]) },
      allowlist,
      selfAddresses: list(0.2),
      ports: dice.chance(0.3) ? [443, ...dice.chance(0.5) ? [8001, 8002, 8003] : []] : undefined,
      sweep: { windowMs, synRate, successRatio, blockDurationMs },
      floodRate: synRate,
    },
  };
}
