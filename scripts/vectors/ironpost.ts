/**
 * Ironpost's vectors: packets through its detectors as they are, the same packets as counters through the policy.
 *
 * What a vector says of packets must come out exactly; what it says of intervals must be the bounds; and wherever
 * there are packets, the bounds from intervals of several lengths must hold what came out.
 */
import type { Interval } from "../../src/evidence/interval.ts";
import type { Decision, Policy, PolicyFile, Step } from "../../src/policy/policy.ts";
import { joinConditions } from "../../src/policy/ironpost/conditions.ts";
import { type IronpostOptions, loadIronpost } from "../../src/policy/ironpost/engine.ts";
import {
  alertLimiter,
  portScanDetector,
  synFloodDetector,
  thresholdCounter,
} from "../../src/policy/ironpost/packets.ts";
import { readDocument } from "../../src/policy/document.ts";
import { readDetectionRule } from "../../src/policy/ironpost/rules.ts";
import { makeInterval, makeSources, type Row } from "../../tests/streams.ts";
import { contains, type Outcome, type Vector } from "./vector.ts";

const TCP = 6, SYN = 2, ACK = 16;
/** Any time: milliseconds since 1970 that are a whole minute. */
const BEGIN_MS = 1_800_000_000_000 - 1_800_000_000_000 % 60_000;
/** Intervals that a vector's packets are also counted in, in milliseconds. */
const LENGTHS_MS = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

interface PacketGroup {
  t_ms: number;
  src: string;
  dst_port: number;
  proto: number;
  tcp_flags: number;
  count: number;
}

interface DetectorVector extends Vector {
  detector: "syn_flood" | "port_scan";
  config: {
    syn_flood?: { threshold_ratio: number; window_secs: number; min_packets: number };
    port_scan?: { port_threshold: number; window_secs: number };
  };
  packets?: PacketGroup[];
  interval_view?: {
    interval_secs: number;
    tcp_and_syn_per_interval?: [number, number][];
    ports_per_interval?: number[][];
    expect_alerts_min: number;
    expect_alerts_max: number;
  };
}

/** Runs one vector. */
export function runVector(vector: Vector): Outcome {
  if (vector.engine === "ebpf-detector") return runDetector(vector as DetectorVector);
  if (vector.engine === "ebpf-blocklist") return runBlocklist(vector as BlocklistVector);
  if (vector.engine === "log-pipeline-rules") return runRule(vector as RuleVector);
  return { passed: false, got: `no such part: ${vector.engine}` };
}

/** A policy's run over intervals: everything that its steps gave. */
function run(policy: Policy, intervals: readonly Interval[], sources: ReturnType<typeof makeSources>) {
  const simulation = policy.simulate({ name: { hostname: "h", iface: "i" }, sources });
  const steps: { step: Step; interval: Interval }[] = [];
  for (const interval of intervals) steps.push({ step: simulation.fold(interval), interval });
  return { steps, decisions: steps.flatMap(({ step }) => step.decisions), ...simulation.finish() };
}

/** Intervals [i × length, (i + 1) × length) of rows, without those in which nothing came. */
function cut(
  rows: readonly (Row & { timeMs: number })[],
  { lengthMs, ports, udp }: { lengthMs: number; ports?: readonly number[]; udp?: boolean },
) {
  const sources = makeSources(), groups = Map.groupBy(rows, (row) => Math.floor(row.timeMs / lengthMs));
  const last = Math.max(-1, ...groups.keys());
  const intervals = Array.from({ length: last + 1 }, (_, i) => {
    const interval = makeInterval(sources, {
      beginMs: BEGIN_MS + i * lengthMs,
      endMs: BEGIN_MS + (i + 1) * lengthMs,
      rows: groups.get(i) ?? [],
      ports: ports ?? ALL_PORTS,
    });
    return udp ? { ...interval, notCounted: { ...interval.notCounted!, not_tcp: 1 } } : interval;
  });
  return { sources, intervals };
}

const ALL_PORTS = Array.from({ length: 65_535 }, (_, i) => i + 1);

// ----------------------------------------------------------------------------------------------- detectors

function configText({ config }: DetectorVector): string {
  const syn = config.syn_flood, scan = config.port_scan;
  const lines = ["[ebpf]", "enabled = true", "[ebpf.detection]"];
  if (syn) {
    lines.push(`syn_ratio = ${syn.threshold_ratio}`, `syn_window_secs = ${syn.window_secs}`);
    lines.push(`syn_min_packets = ${syn.min_packets}`);
  }
  if (scan) lines.push(`scan_ports = ${scan.port_threshold}`, `scan_window_secs = ${scan.window_secs}`);
  return lines.join("\n");
}

function runDetector(vector: DetectorVector): Outcome {
  const got: Record<string, unknown> = {};
  let passed = true;
  const policy = loadIronpost([{ path: "ironpost.toml", text: configText(vector) }]);
  const countAlerts = (decisions: readonly Decision[]) => {
    const mine = decisions.filter((d) => policy.rules[d.rule]!.id === vector.detector);
    const sum = (name: string) => mine.reduce((n, d) => n + d.measured[name]!, 0);
    return { least: sum("alerts_least"), most: sum("alerts_most") };
  };
  if (vector.packets) {
    const exact = detectPackets(vector);
    Object.assign(got, exact);
    passed &&= contains(exact, vector.expect);
    const udp = vector.packets.some((p) => p.proto !== TCP);
    for (const lengthMs of LENGTHS_MS) {
      const { sources, intervals } = cut(rowsOf(vector.packets), { lengthMs, udp });
      const { least, most } = countAlerts(run(policy, intervals, sources).decisions);
      // What is no TCP can't be seen: there may be more than was counted.
      if (least > exact.findings || (exact.findings > most && !udp)) {
        got[`bounds_${lengthMs / 1000}s`] = [least, most];
        passed = false;
      }
    }
  }
  const view = vector.interval_view;
  if (view) {
    const lengthMs = 1000 * view.interval_secs;
    const rows = view.tcp_and_syn_per_interval?.map(([packets, syn], i) => ({
      timeMs: i * lengthMs,
      source: "198.51.100.7",
      port: 22,
      packets,
      syn,
    })) ?? view.ports_per_interval!.flatMap((ports, i) =>
      ports.map((port) => ({ timeMs: i * lengthMs, source: "198.51.100.7", port, packets: 1, syn: 1 }))
    );
    const { sources, intervals } = cut(rows.filter((row) => row.packets > 0), { lengthMs });
    const { least, most } = countAlerts(run(policy, intervals, sources).decisions);
    Object.assign(got, { expect_alerts_min: least, expect_alerts_max: most });
    passed &&= least === view.expect_alerts_min && most === view.expect_alerts_max;
  }
  return { passed, got };
}

/** TCP packets as rows of counters. */
function rowsOf(packets: readonly PacketGroup[]) {
  return packets.filter((p) => p.proto === TCP).map((p) => ({
    timeMs: p.t_ms,
    source: p.src,
    port: p.dst_port,
    packets: p.count,
    syn: p.tcp_flags & SYN ? p.count : 0,
    ack: p.tcp_flags & ACK ? p.count : 0,
    syn_ack: (p.tcp_flags & (SYN | ACK)) === (SYN | ACK) ? p.count : 0,
  }));
}

/** Each packet through the detector of its source. */
function detectPackets({ detector, config, packets }: DetectorVector) {
  const syn = config.syn_flood, scan = config.port_scan;
  const createFlood = () =>
    synFloodDetector({ windowMs: 1000 * syn!.window_secs, minPackets: syn!.min_packets, ratio: syn!.threshold_ratio });
  const createScan = () => portScanDetector({ windowMs: 1000 * scan!.window_secs, ports: scan!.port_threshold });
  const floods = new Map<string, ReturnType<typeof createFlood>>(),
    scans = new Map<string, ReturnType<typeof createScan>>();
  let alerts = 0, findings = 0, packet_no = 0;
  let first_alert: { t_ms: number; packet_no: number; severity: string; rule: string } | undefined;
  for (const { t_ms, src, dst_port, proto, tcp_flags, count } of packets!) {
    if (!floods.has(src) && syn) floods.set(src, createFlood());
    if (!scans.has(src) && scan) scans.set(src, createScan());
    for (let i = 0; i < count; i++) {
      packet_no++;
      const isSyn = (tcp_flags & (SYN | ACK)) === SYN;
      const found = detector === "port_scan"
        ? scans.get(src)!(t_ms, proto === TCP || proto === 17 ? dst_port : 0)
        : { alert: proto === TCP && floods.get(src)!(t_ms, isSyn), first: true };
      if (!found.alert) continue;
      alerts++;
      if (found.first) findings++;
      first_alert ??= { t_ms, packet_no, severity: detector === "syn_flood" ? "High" : "Medium", rule: detector };
    }
  }
  return { alerts, findings, ...(first_alert ? { first_alert } : {}) };
}

// ----------------------------------------------------------------------------------------------- blocklist

interface BlocklistVector extends Vector {
  rules: Record<string, string | number>[];
  counters: { src: string; dst_port: number; packets: number; bytes: number; interval?: number }[];
  active_from_secs?: number;
  expect: Record<string, unknown>;
}

/** Rules as the engine's file has them. */
function rulesText(rules: readonly Record<string, string | number>[]): string {
  return rules.map((rule) =>
    ["[[rules]]", ...Object.entries(rule).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)].join("\n")
  ).join("\n");
}

function runBlocklist(vector: BlocklistVector): Outcome {
  const file: PolicyFile = { path: "rules.toml", text: rulesText(vector.rules) };
  const { active_from_secs: active } = vector;
  const load = active === undefined ? {} : { load: { fromMs: BEGIN_MS + 1000 * active } };
  const documented = dropped(file, vector.counters ?? [], load);
  const shipped = dropped(file, vector.counters ?? [], { profile: "as-shipped" });
  const got: Record<string, unknown> = {
    ...documented,
    as_documented: documented,
    as_shipped: { ...shipped, alerts: 0 },
  };
  const { warnings: wanted, ...expected } = vector.expect as { warnings?: string[] };
  const warned = (wanted ?? []).every((w) => documented.warnings.some((text) => text.startsWith(w)));
  return { passed: warned && contains(got, expected), got };
}

/** What the list would have dropped, and how often a listed source was seen. */
function dropped(file: PolicyFile, counters: BlocklistVector["counters"], options: IronpostOptions) {
  const policy = loadIronpost([file], options), { findings } = policy;
  const of = (severity: string) => findings.filter((f) => f.severity === severity).map((f) => f.message);
  const errors = of("error"), warnings = of("warning");
  if (errors.length > 0) return { load_errors: errors.length, errors, warnings };
  const rows = counters.map((c) => ({ ...c, timeMs: 1000 * (c.interval ?? 0), source: c.src, port: c.dst_port }));
  const { sources, intervals } = cut(rows, { lengthMs: 1000 });
  const { steps, decisions } = run(policy, intervals, sources);
  const effects = steps.flatMap(({ step }) => step.effects);
  const sum = (of: (effect: typeof effects[number]) => number) => effects.reduce((n, effect) => n + of(effect), 0);
  const lower = sum((e) => e.packets.lower), upper = sum((e) => e.packets.upper);
  const listed = new Set(decisions.map((d) => sources.text(d.source)));
  return {
    ...(lower === upper
      ? { dropped_packets: lower, dropped_bytes: sum((e) => e.bytes.upper) }
      : { dropped_packets_min: lower, dropped_packets_max: upper }),
    events: rows.filter((row) => listed.has(row.source)).reduce((n, row) => n + row.packets, 0),
    warnings,
  };
}

// -------------------------------------------------------------------------------------------------- rules

interface RuleVector extends Vector {
  /** A rule without its frame, or the text of a file. */
  rule?: { id: string; conditions: Record<string, string>[]; threshold?: Record<string, string | number> };
  rule_text?: string;
  alert_generator?: { dedup_window_secs: number; rate_limit_per_rule_per_min: number };
  events?: { t_ms: number; src_ip: string; dst_port?: number; count: number }[];
  expect: Record<string, unknown>;
}

function runRule(vector: RuleVector): Outcome {
  const text = vector.rule_text ?? JSON.stringify({
    id: vector.rule!.id,
    title: vector.title,
    detection: { conditions: vector.rule!.conditions, threshold: vector.rule!.threshold ?? null },
  });
  const file: PolicyFile = { path: "rule.yml", text }, findings: Policy["findings"][number][] = [];
  const rule = readDetectionRule(readDocument(file), findings);
  const policy = loadIronpost([file]);
  const loads = !policy.findings.some((f) => f.severity === "error");
  const shippedLoads = !findings.some((f) => f.code === "as_shipped" && f.message.endsWith("skips the file"));
  const got: Record<string, unknown> = { loads, shipped_loads: shippedLoads };
  if (!rule || !vector.events) return { passed: contains(got, vector.expect), got };

  const conditions = joinConditions(rule.conditions), counters = new Map<string, ReturnType<typeof thresholdCounter>>();
  const limits = vector.alert_generator!,
    limit = alertLimiter({
      dedupMs: 1000 * limits.dedup_window_secs,
      perMinute: limits.rate_limit_per_rule_per_min,
    });
  const counts = { events: 0, rule_matches: 0, alerts: 0, dedup_suppressed: 0, rate_suppressed: 0 };
  const alertTimes: number[] = [];
  for (const { t_ms, src_ip, dst_port, count } of vector.events) {
    for (let i = 0; i < count; i++) {
      counts.events++;
      if (!conditions.matches(src_ip, dst_port ?? 22)) continue;
      const group = rule.threshold?.groupBy === "src_ip" ? src_ip : "";
      if (rule.threshold && !counters.has(group)) counters.set(group, thresholdCounter(rule.threshold));
      if (rule.threshold && !counters.get(group)!(t_ms)) continue;
      counts.rule_matches++;
      const fate = limit(t_ms);
      if (fate === "alert") alertTimes.push(t_ms);
      counts[fate === "alert" ? "alerts" : fate === "duplicate" ? "dedup_suppressed" : "rate_suppressed"]++;
    }
  }
  Object.assign(got, counts, { alert_t_ms: alertTimes });
  const wrong = limits.dedup_window_secs === 60 ? holdBounds(policy, vector.events, counts) : [];
  if (wrong.length > 0) got.bounds = wrong;
  return { passed: contains(got, vector.expect) && wrong.length === 0, got };
}

/** Bounds from counters that don't hold the counts. */
function holdBounds(
  policy: Policy,
  events: NonNullable<RuleVector["events"]>,
  counts: { rule_matches: number; alerts: number },
): string[] {
  return LENGTHS_MS.flatMap((lengthMs) => {
    const rows = events.map((e) => ({
      timeMs: e.t_ms,
      source: e.src_ip,
      port: e.dst_port ?? 22,
      packets: e.count,
      syn: e.count,
    }));
    const { sources, intervals } = cut(rows, { lengthMs });
    const message = run(policy, intervals, sources).findings.find((f) => f.code === "alerts")?.message ?? "";
    const ranges = [...message.matchAll(/(\d+)(?:–(\d+))? (match|alert)(?:e?s)?\b/g)];
    const held = ranges.length === 2 && ranges.every(([, least, most = least, what]) => {
      const count = what === "match" ? counts.rule_matches : counts.alerts;
      return Number(least) <= count && count <= Number(most);
    });
    return held ? [] : [`${lengthMs / 1000} s: ${message}`];
  });
}
