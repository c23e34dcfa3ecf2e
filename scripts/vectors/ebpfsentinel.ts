/**
 * Runs test vectors of eBPFsentinel: an adapter for each part and kind, from a vector's words to the engine's functions.
 *
 * `expect` is for the profile `seed`, `code_profile_expect` for `code`, where that differs. Times are seconds.
 */
import { formatAddress, parseAddress } from "../../src/address.ts";
import type { Finding } from "../../src/policy/policy.ts";
import { readDocument } from "../../src/policy/document.ts";
import { openField } from "../../src/policy/read.ts";
import type { Prefix } from "../../src/prefix.ts";
import { createStepHost, type PortPackets } from "../../src/policy/ebpfsentinel/blacklist_bounds.ts";
import { createHosts } from "../../src/policy/ebpfsentinel/host_states.ts";
import { countDetection, limitFor, type Source, ttlMs } from "../../src/policy/ebpfsentinel/blacklist.ts";
import { boundTotal } from "../../src/policy/ebpfsentinel/bucket.ts";
import { type Config, readConfig } from "../../src/policy/ebpfsentinel/config.ts";
import {
  boostConfidence,
  type Feed,
  parseList,
  readThreatIntel,
  selectIndicators,
} from "../../src/policy/ebpfsentinel/config_feeds.ts";
import { readDdos, readRatelimit } from "../../src/policy/ebpfsentinel/config_limits.ts";
import { type Profile, sampleHash, takeSlots } from "../../src/policy/ebpfsentinel/detection.ts";
import { compileFirewall } from "../../src/policy/ebpfsentinel/firewall.ts";
import {
  advanceGate,
  boundGate,
  createGate,
  createGateBounds,
  createOpening,
  createRange,
  openGate,
  passGate,
} from "../../src/policy/ebpfsentinel/gate.ts";
import { bucketRule, type LimitState, passLimit, selectLimits } from "../../src/policy/ebpfsentinel/limits.ts";
import { createGuards, createPacketEngine, type Packet, placeEvenly } from "../../src/policy/ebpfsentinel/packets.ts";
import { contains, type Outcome, type Vector } from "./vector.ts";

type Input = Record<string, unknown>;
type Run = (input: Input, profile: Profile) => unknown;

const SYN = 2, RST = 4, ACK = 16, DATA = 24;

/** Whether a file's vectors are of this engine. */
export function describes(file: Record<string, unknown>): boolean {
  return file.subject === "eBPFsentinel";
}

/** Runs a vector in both profiles where it has expectations for both. */
export function runVector(vector: Vector): Outcome {
  const { engine, kind, input, expect, code_profile_expect: code } = vector;
  const run = RUNS[`${engine} ${kind}`];
  if (!run) throw new Error(`no vectors of ${engine} ${kind} are known`);
  const got = run(input as Input, "seed");
  const passed = meets(got, expect);
  if (code === undefined) return { passed, got };
  const inCode = run(input as Input, "code");
  return { passed: passed && meets(inCode, code), got: { seed: got, code: inCode } };
}

/** Whether a result has what is expected; of an error, the words that it names. */
function meets(got: unknown, expected: unknown): boolean {
  const { error, ...rest } = expected as { error?: string };
  if (error === undefined) return contains(got, expected) && (got as { error?: string }).error === undefined;
  return String((got as { error?: string }).error).includes(error) && contains(got, rest);
}

const RUNS: Record<string, Run> = {
  "ips packet": runIpsPackets,
  "ips interval": runIpsIntervals,
  "ids_threshold event": runThreshold,
  "ratelimit packet": runLimitPackets,
  "ratelimit interval": runLimitIntervals,
  "ratelimit lookup": runLimitLookup,
  "firewall packet": runFirewall,
  "pipeline packet": runPipeline,
  "threatintel lookup": runThreatIntel,
  "ddos packet": runGuards,
  "sampling lookup": runSampling,
  "config config": runConfig,
};

// -------------------------------------------------------------------------------------------------- words

/** Reads a configuration; a section alone is completed to one. */
function load(sections: Input): { config: Config; findings: Finding[] } {
  const text = JSON.stringify("agent" in sections ? sections : { agent: { interfaces: ["eth0"] }, ...sections });
  const document = readDocument({ path: "vector.yaml", text }), findings: Finding[] = [...document.findings];
  return { config: readConfig(openField(document, findings)), findings };
}

/** A part of a configuration alone, as its own reader takes it. */
function fieldOf(value: unknown) {
  return openField(readDocument({ path: "vector.yaml", text: JSON.stringify(value) }), []);
}

function sourceOf(text: string, country?: string): Source {
  const bytes = parseAddress(text);
  if (!bytes) throw new Error(`${text} is no address`);
  return { text: formatAddress(bytes), bytes, country };
}

interface VectorPacket {
  t: number;
  src: string;
  port: number;
  cc?: string;
}

function engineOf(config: Config, profile: Profile) {
  // The firewall that the vectors of detection don't speak of lets everything pass.
  return createPacketEngine(config, { profile, destinations: [], listed: new Map() });
}

// -------------------------------------------------------------------------------------------------- ips, ids

function runIpsPackets({ ips, packets }: Input, profile: Profile): unknown {
  const engine = engineOf(load({ ips }).config, profile);
  const decisions = (packets as VectorPacket[]).map(({ t, src, port, cc }) =>
    engine.judge({ nowMs: t * 1000, source: sourceOf(src, cc), port, flags: DATA }).decision
  );
  const { hosts, subnets } = engine.blacklist;
  return {
    decisions,
    host_blocks: Object.fromEntries([...hosts].map(([text, { sinceMs }]) => [text, sinceMs / 1000])),
    subnet_blocks: Object.fromEntries([...subnets.values()].map(({ prefix, sinceMs }) => [prefix, sinceMs / 1000])),
  };
}

interface VectorCell {
  t: number;
  dt: number;
  src: string;
  port: number;
  packets: number;
}

/** Cells of one source: bounds by the states that it can be in, and what is likely by packets placed evenly. */
function runIpsIntervals({ ips, cells }: Input, profile: Profile): unknown {
  const { config } = load({ ips }), slots = takeSlots(config, profile).byPort, list = cells as VectorCell[];
  const rule = {
    limit: limitFor(config.ips, undefined),
    ttlMs: ttlMs(config.ips, profile),
    lagMs: 0,
    dryRun: config.ips.mode === "alert",
  };
  const hosts = createHosts(), host = hosts.add(), stepHost = createStepHost(hosts);
  let earliest: number | undefined, latest: number | undefined;
  const gates = new Map([...slots.keys()].map((port) => [port, createGateBounds()]));
  const detected = { min: 0, max: 0 };
  for (const [t, group] of Map.groupBy(list, (cell) => cell.t)) {
    const interval = { beginMs: t * 1000, endMs: (t + group[0]!.dt) * 1000 };
    const ports = group.map(({ port, packets }): PortPackets => {
      const slot = slots.get(port), state = gates.get(port), matches = { lower: packets, upper: packets, ...interval };
      if (!slot?.feeds || !state) return { packets, matches, gate: undefined };
      const opening = slot.gate ? openGate(slot.gate, state, matches) : createOpening();
      const detections = slot.gate ? boundGate(slot.gate, state, matches, createRange(), opening) : matches;
      detected.min += detections.lower;
      detected.max += detections.upper;
      return { packets, matches, gate: { rule: slot.gate, opening, detections } };
    });
    const step = stepHost(rule, host, { ...interval, ports, count: ports.length, refused: "never" });
    for (const { port, packets } of group) {
      const gate = slots.get(port)?.gate, state = gates.get(port);
      if (gate && state) advanceGate(gate, state, { lower: 0, upper: packets, ...interval });
    }
    if (step.begins !== "never" && earliest === undefined) [earliest, latest] = [t, interval.endMs / 1000];
  }
  const placed = list.flatMap(({ t, dt, src, port, packets }) =>
    placeEvenly({ beginMs: t * 1000, endMs: (t + dt) * 1000, packets }).map((nowMs) => ({ nowMs, src, port }))
  ).sort((a, b) => a.nowMs - b.nowMs || a.port - b.port);
  const engine = engineOf(config, profile), blocks: [number, number][] = [];
  let nominal = 0;
  for (const { nowMs, src, port } of placed) {
    const outcome = engine.judge({ nowMs, source: sourceOf(src), port, flags: DATA });
    if (outcome.decision === "drop") nominal++;
    for (const { sinceMs, untilMs } of engine.blacklist.hosts.values()) {
      if (blocks.at(-1)?.[0] !== sinceMs / 1000) blocks.push([sinceMs / 1000, untilMs / 1000]);
    }
  }
  return {
    dropped: {
      min: hosts.droppedSoFar(host).lower,
      nominal,
      max: hosts.droppedSoFar(host).upper,
    },
    detections: detected,
    first_block: earliest === undefined ? null : { nominal: blocks[0]?.[0], earliest, latest },
    block_intervals_nominal: blocks,
  };
}

function runThreshold({ threshold, events }: Input): unknown {
  const rules = [{ id: "r", severity: "low", dst_port: 22, threshold }];
  const gate = takeSlots(load({ ips: { mode: "block", rules } }).config, "seed").byPort.get(22)!.gate!;
  const gates = new Map<string, ReturnType<typeof createGate>>();
  const alert = (events as { t: number; key: string }[]).map(({ t, key }) => {
    const state = gates.get(key) ?? createGate();
    gates.set(key, state);
    return passGate(gate, state, t * 1000);
  });
  return { alert };
}

function runSampling({ mode, rate, pairs }: Input): unknown {
  const hash = (pairs as [string, string][]).map(([src, dst]) =>
    sampleHash(parseAddress(src)!, parseAddress(dst)!, mode as "hash" | "random")
  );
  return { hash, processed: hash.map((h) => h / 0xffff_ffff < (rate as number)) };
}

// -------------------------------------------------------------------------------------------------- limits, guards

function limitOf(rule: unknown) {
  const complete = { id: "r", burst: 1, ...(rule as Input) };
  // A window has no burst, and today's loader takes none of 0.
  if (complete.burst === 0) complete.burst = 1;
  return readRatelimit(fieldOf({ enabled: true, rules: [complete] })).rules[0]!;
}

function runLimitPackets({ rule, times, packets }: Input, profile: Profile): unknown {
  const limit = limitOf(rule), states = new Map<string, LimitState>(), within = bucketRule(limit, profile);
  const list = (packets as { t: number; src: string }[] | undefined) ??
    (times as number[]).map((t) => ({ t, src: "s" }));
  const over = list.map(({ t, src }) => {
    const key = limit.scope === "global" ? "all" : src, state = states.get(key) ?? { algorithm: limit.algorithm };
    states.set(key, state);
    return !passLimit(within, state, t * 1000);
  });
  const drops = limit.action === "drop" || profile === "code";
  const word = limit.algorithm === "syn_cookie" ? "challenge" : "drop";
  return { decisions: over.map((is) => is && drops ? word : "pass"), over_limit: over };
}

function runLimitIntervals({ rule, interval_s, interval_packets }: Input): unknown {
  const cells = (interval_packets as number[]).map((packets) => ({ lengthMs: (interval_s as number) * 1000, packets }));
  const { lower, upper } = boundTotal(limitOf(rule), cells), all = cells.reduce((sum, { packets }) => sum + packets, 0);
  return { passed_min: lower, passed_max: upper, dropped_min: all - upper, dropped_max: all - lower };
}

function runLimitLookup({ ratelimit, lookups }: Input): unknown {
  const section = readRatelimit(fieldOf(ratelimit));
  return {
    selected: (lookups as { src: string; cc?: string }[]).map(({ src, cc }) =>
      selectLimits(section, sourceOf(src, cc)).limit?.name ?? null
    ),
  };
}

function runGuards({ connection_tracking, rst_times, events }: Input): unknown {
  const { tracking, syn } = readDdos(
    fieldOf({ connection_tracking: { enabled: true, ...(connection_tracking as Input) } }),
    true,
  );
  const guard = createGuards({ syn, tracking }), source = sourceOf("198.51.100.7");
  const packets: Packet[] = rst_times !== undefined
    ? (rst_times as number[]).map((t) => ({ nowMs: t * 1000, source, port: 80, flags: RST }))
    : (events as string[]).map((event, i) =>
      event === "syn"
        ? { nowMs: i, source, port: 80, flags: SYN }
        : { nowMs: i, source, port: 80, flags: ACK, connection: "completes" as const }
    );
  return { decisions: packets.map((packet) => guard(packet) ?? "pass") };
}

// -------------------------------------------------------------------------------------------------- firewall, lists

function runFirewall({ firewall, packet }: Input, profile: Profile): unknown {
  const { config } = load({ firewall }), { src, port } = packet as VectorPacket;
  const verdict = compileFirewall(config.firewall, { profile, zonesEnabled: false }).judge({
    source: parseAddress(src)!,
    port,
    flags: { value: SYN, known: SYN | ACK },
    destinations: [],
    established: false,
  });
  return {
    decision: verdict.decision,
    rule: verdict.applied?.id ?? null,
    ...(verdict.wouldDrop ? { would: "drop" } : {}),
  };
}

function runPipeline({ firewall, ips_blocked, packet }: Input, profile: Profile): unknown {
  const { config } = load({ firewall, ips: { mode: "block", auto_blacklist_threshold: 1 } });
  const engine = engineOf(config, profile), { src, port } = packet as VectorPacket;
  for (const text of ips_blocked as string[]) {
    countDetection(engine.blacklist, sourceOf(text), { ips: config.ips, profile, nowMs: 0 });
  }
  const { decision, stage } = engine.judge({ nowMs: 1, source: sourceOf(src), port, flags: SYN });
  return { decision, stage };
}

/** A feed with what a vector says of it. */
function feedOf(feed: unknown): Feed {
  const complete = { id: "f", name: "f", url: "https://lists.example.net/f", ...(feed as Input) };
  return readThreatIntel(fieldOf({ feeds: [complete] })).feeds[0]!;
}

function runThreatIntel({ feed, text, iocs, boost, ioc, packet }: Input, profile: Profile): unknown {
  if (ioc !== undefined) {
    const { src, port } = packet as VectorPacket;
    return Object.fromEntries((["alert", "block"] as const).map((mode) => {
      const surroundings = { profile, destinations: [], listed: new Map([[ioc as string, mode]]) };
      const engine = createPacketEngine(load({ threatintel: { mode } }).config, surroundings);
      return [mode, engine.judge({ nowMs: 0, source: sourceOf(src), port, flags: DATA }).decision];
    }));
  }
  const given = iocs as { ip: string; confidence: number; cc?: string }[] | undefined;
  const found = given?.map(({ ip, confidence }) => ({ address: ip, confidence })) ??
    parseList(feedOf(feed), text as string);
  const kept = selectIndicators(feedOf(feed), found);
  if (boost === undefined) return { loaded: kept.map(({ address }) => address) };
  const countries = new Map(given?.map(({ ip, cc }) => [ip, cc]));
  const points = (address: string) => (boost as Record<string, number>)[countries.get(address) ?? ""] ?? 0;
  return {
    loaded: Object.fromEntries(
      kept.map(({ address, confidence }) => [address, boostConfidence(confidence, points(address))]),
    ),
  };
}

// -------------------------------------------------------------------------------------------------- configuration

/** Normalised values by the names that vectors use; the first error's words; warnings as `code:path (why)`. */
function runConfig({ yaml }: Input): unknown {
  const { config, findings } = load(yaml as Input), { ips, ids, firewall, ratelimit, threatintel } = config;
  const error = findings.find(({ severity }) => severity === "error")?.message;
  const codes = ["engine_ignores", "engine_rejects", "conflict"];
  const warnings = findings.filter(({ code }) => codes.includes(code)).map(({ code, message }) => {
    const [path = "", words = ""] = message.split(/: (.*)/s, 2);
    if (code === "conflict") return `${code}:${path}.${words.split(":", 1)[0]}`;
    return code === "engine_ignores" ? `${code}:${path}` : `${code}:${path} (${words.split(";", 1)[0]})`;
  });
  const rules = (section: string, list: { path: string }[]) =>
    Object.fromEntries(
      list.flatMap((rule, i) => Object.entries(rule).map(([key, value]) => [`${section}.rules[${i}].${key}`, value])),
    );
  return {
    ...(error === undefined ? {} : { error }),
    "ips.enabled": ips.enabled,
    "ips.mode": ips.mode,
    "ips.blacklist_ttl_s": ips.ttlS,
    "ips.auto_blacklist_threshold": ips.threshold,
    "ips.max_blacklist_size": ips.maxSize,
    "ids.mode": ids.mode,
    "firewall.mode": firewall.mode,
    "firewall.default_policy": firewall.defaultPolicy,
    "firewall.anti_lockout.enabled": firewall.antiLockout.enabled,
    "firewall.anti_lockout.ports": firewall.antiLockout.ports,
    "ratelimit.enabled": ratelimit.enabled,
    "ratelimit.default_rate": ratelimit.defaultRate,
    "ratelimit.default_burst": ratelimit.defaultBurst,
    "threatintel.mode": threatintel.mode,
    ...rules(
      "ips",
      ips.rules.map((rule) => {
        const { threshold } = rule;
        if (!threshold) return rule;
        const { windowS, trackBy, type, count } = threshold;
        return { ...rule, threshold: { type, count, window_s: windowS, track_by: trackBy } };
      }),
    ),
    ...rules("ratelimit", ratelimit.rules.map((rule) => ({ ...rule, match: rule.match && textOf(rule.match) }))),
    warnings,
  };
}

function textOf({ bytes, bits }: Prefix): string {
  return `${formatAddress(bytes)}/${bits}`;
}
