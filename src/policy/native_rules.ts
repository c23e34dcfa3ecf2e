/**
 * The default policy's rules on what a window may and must have held: certain, possible, or neither.
 *
 * Certain: every order of the packets meets the rule at some packet of the newest interval. Where the longest run of
 * intervals within W ends with it, its last packet's window holds the whole run, and of other intervals at most what
 * they have. Where the interval is longer than W it is cut into m windows: if it holds more than (N - 1) × m, one of
 * them holds N; a completed connection can spoil the ratio of two of them, since the window reaches into the one
 * before. Possible: some order does. Pure.
 */
import type { Trigger } from "./block.ts";
import type { NativeOptions } from "./native.ts";
import type { Recent, Seen, Sums } from "./recent.ts";

/** Thresholds as counts over a window. */
export interface Limits {
  syn: number;
  ratio: number;
  volSyn: number;
  volPackets: number;
  volBytes: number;
  windowMs: number;
}

/** A rule that a window may have met. */
export interface Judged {
  certain: boolean;
  /** Share of the interval after which the trigger is to be expected; undefined if it isn't. */
  expectedShare: number | undefined;
  passed: Trigger["passed"];
}

/** The least bytes of an Ethernet frame with TCP. */
const LEAST_FRAME = 54;

/** Rates × window, rounded up to whole packets. */
export function limitsOf(options: Omit<NativeOptions, "allowlist" | "aggregateBits" | "sweepPorts">): Limits {
  const count = (rate: number) => Math.max(1, Math.ceil(rate * options.windowMs / 1000 - 1e-9));
  return {
    syn: count(options.synRate),
    ratio: options.successRatio,
    volSyn: count(options.volSynRate),
    volPackets: count(options.volPacketRate),
    volBytes: count(options.volByteRate),
    windowMs: options.windowMs,
  };
}

/** Whether counts as high as these can meet any rule. */
export function mayTrigger(syn: number, packets: number, bytes: number, limits: Limits): boolean {
  if (syn >= limits.syn) return true;
  return Number(syn >= limits.volSyn) + Number(packets >= limits.volPackets) + Number(bytes >= limits.volBytes) >= 2;
}

/** The most SYNs for which the rule would certainly trigger: the rule does if its threshold is at most that; 0: never. */
export function certainSyn(seen: Seen, recent: Pick<Recent, "pieces">, ratio: number): number {
  const { touch, run, own } = seen, completed = Math.min(touch.handshakeAck, touch.data), m = recent.pieces;
  if (m === 1) return completed <= ratio * run.syn ? run.syn : 0;
  const most = Math.floor((own.syn - 1) / m) + 1;
  if (completed === 0) return Math.max(0, most);
  // 2 × completed ≤ ratio × (SYNs that must lie in pieces of N or more).
  const spared = Math.floor((own.syn - 2 * completed / ratio) / (m - 1)) + 1;
  return Math.max(0, Math.min(most, spared));
}

/** The most SYNs for which the rule could trigger; 0: never. */
export function possibleSyn(seen: Seen, ratio: number): number {
  return Math.min(seen.inner.handshakeAck, seen.inner.data) <= ratio * seen.touch.syn ? seen.touch.syn : 0;
}

/** `syn_flood`. */
export function judgeSynFlood(seen: Seen, recent: Recent, limits: Limits): Judged | undefined {
  if (possibleSyn(seen, limits.ratio) < limits.syn) return undefined;
  const certain = certainSyn(seen, recent, limits.ratio) >= limits.syn;
  const { own, touch } = seen, needed = Math.max(0, limits.syn - (touch.syn - own.syn));
  const packets = Math.max(1, needed);
  const spread = spreadOf(seen, recent, limits.windowMs);
  const evenly = touch.syn * spread >= limits.syn &&
    Math.min(touch.handshakeAck, touch.data) <= limits.ratio * touch.syn;
  return {
    certain,
    expectedShare: certain || evenly ? expectedAt(needed, own.syn) : undefined,
    passed: { syn: needed, packets, bytes: LEAST_FRAME * packets },
  };
}

/** `volumetric`. */
export function judgeVolume(seen: Seen, recent: Recent, limits: Limits): Judged | undefined {
  const { touch, run, own } = seen;
  if (reached(touch, limits) < 2) return undefined;
  const { volSyn, volPackets, volBytes } = limits, m = recent.pieces;
  const inPackets = Math.ceil(volBytes / LEAST_FRAME);
  const certain = m === 1
    ? reached(run, limits) >= 2
    : own.syn > (Math.max(volSyn, Math.min(volPackets, inPackets)) - 1) * m ||
      own.packets > (Math.max(volPackets, inPackets) - 1) * m;
  const before = {
    syn: touch.syn - own.syn,
    packets: touch.packets - own.packets,
    bytes: touch.bytes - own.bytes,
  };
  const syn = Math.max(0, volSyn - before.syn), packets = Math.max(1, volPackets - before.packets);
  const bytes = Math.max(0, volBytes - before.bytes);
  // The cheapest of the pairs that can have been reached, unit by unit.
  const passed = { syn: Infinity, packets: Infinity, bytes: Infinity };
  const pair = (possible: boolean, s: number, p: number, b: number) => {
    if (!possible) return;
    passed.syn = Math.min(passed.syn, s);
    passed.packets = Math.min(passed.packets, Math.max(1, p, s));
    passed.bytes = Math.min(passed.bytes, Math.max(b, LEAST_FRAME * Math.max(1, p, s)));
  };
  const [s, p, b] = [touch.syn >= volSyn, touch.packets >= volPackets, touch.bytes >= volBytes];
  pair(s && p, syn, packets, 0);
  pair(s && b, syn, 1, bytes);
  pair(p && b, 0, packets, bytes);
  const spread = spreadOf(seen, recent, limits.windowMs);
  const evenly = reached(
    { syn: touch.syn * spread, packets: touch.packets * spread, bytes: touch.bytes * spread },
    limits,
  );
  return {
    certain,
    expectedShare: certain || evenly >= 2 ? expectedAt(passed.packets, own.packets) : undefined,
    passed,
  };
}

/** How many of the three thresholds are reached. */
function reached(sums: Pick<Sums, "syn" | "packets" | "bytes">, limits: Limits): number {
  return Number(sums.syn >= limits.volSyn) + Number(sums.packets >= limits.volPackets) +
    Number(sums.bytes >= limits.volBytes);
}

/** The share of what was touched that a window holds if packets come evenly. */
function spreadOf(seen: Seen, recent: Recent, windowMs: number): number {
  const touchedMs = recent.endMs - seen.touchBeginMs;
  return Math.min(1, windowMs / touchedMs);
}

function expectedAt(needed: number, own: number): number {
  return own > 0 ? Math.min(1, needed / own) : 1;
}

/** What a rule says of itself in each of its decisions. */
export interface Said {
  thresholds: Record<string, number>;
  formula: string;
}

/** The thresholds and formulas of the rules. */
export function describeRules(options: Omit<NativeOptions, "allowlist" | "aggregateBits">): Record<
  "syn_flood" | "volumetric" | "port_sweep",
  Said
> {
  const { synRate, successRatio, volSynRate, volPacketRate, volByteRate, sweepPorts } = options;
  const window_sec = options.windowMs / 1000;
  return {
    syn_flood: {
      thresholds: { window_sec, syn_rate: synRate, success_ratio: successRatio },
      formula: `syn ≥ ${synRate}/s × ${window_sec} s and min(handshake_ack, data) / syn ≤ ${successRatio}`,
    },
    volumetric: {
      thresholds: { window_sec, syn_rate: volSynRate, packet_rate: volPacketRate, byte_rate: volByteRate },
      formula:
        `two of: syn ≥ ${volSynRate}/s, packets ≥ ${volPacketRate}/s, bytes ≥ ${volByteRate}/s, each × ${window_sec} s`,
    },
    port_sweep: {
      thresholds: { ports: sweepPorts, window_sec },
      formula: `ports ≥ ${sweepPorts} within ${window_sec} s`,
    },
  };
}

/** What was counted, for a decision. */
export function measureTrigger(sums: Sums, seconds: number): Record<string, number> {
  const { syn, handshakeAck: handshake_ack, data, packets, bytes } = sums;
  const success_ratio = syn > 0 ? Math.min(handshake_ack, data) / syn : 0;
  return { syn, handshake_ack, data, packets, bytes, seconds, success_ratio };
}
