/**
 * Makes up an assessment, number by number, from a few that matter: plausible, not computed. The situations are in
 * fixture.ts.
 */
import type {
  Assessment,
  FpBound,
  Gate,
  Impact,
  NamedDecision,
  RuleSummary,
  SourceRow,
  StreamSummary,
  Summary,
  SweepPoint,
  TimelinePoint,
} from "../../src/report/summary.ts";
import type { Range } from "../../src/rules/ruleset.ts";
import { createRandom } from "../packets.ts";

/** When assessments start: 2026-11-14 00:00:00 UTC, in seconds since 1970. */
export const START = 1_794_614_400;
const DAY = 86_400;

export const range = (lower: number, upper = lower): Range => ({ lower, upper });
const between = (lower: number, upper: number) => ({ lower, upper, expected: (lower + upper) / 2 });
export const NOTHING = { ...range(0), expected: 0 };

export function impactOf(syn: Range, total: Summary["traffic"]): Impact {
  const packets = between(syn.lower * 1.02, syn.upper * 1.05), bytes = between(syn.lower * 61, syn.upper * 66);
  const share = (part: Range, whole: number) => whole === 0 ? range(0) : range(part.lower / whole, part.upper / whole);
  return {
    packets,
    bytes,
    syn: between(syn.lower, syn.upper),
    share: {
      packets: share(packets, total.packets),
      bytes: share(bytes, total.bytes),
      syn: share(syn, total.syn),
    },
  };
}

/** 1 − 0.05^(1/n) for no hit; a little more for each hit, which is near enough for a picture. */
export function boundOf(legitimate: number, hit: number): FpBound {
  const networks = Math.ceil(legitimate * 0.6);
  const upperOf = (n: number) => n === 0 ? null : Math.min(1, (1 - 0.05 ** (1 / n)) * (1 + 0.58 * hit));
  return {
    legitimate,
    hit,
    point: legitimate === 0 ? null : hit / legitimate,
    upper: upperOf(networks),
    by_network: { legitimate: networks, hit, upper: upperOf(networks) },
  };
}

/** What differs between the situations. */
interface Shape {
  days: number;
  hosts: string[];
  clients: number;
  hit: number;
  attackers: number;
  /** Parts of the time that were not watched, from 0 to 1. */
  gaps: [number, number, restart: boolean][];
  binSec: number;
  spoofed?: boolean;
}

const ATTACKS: [from: number, to: number, rate: number][] = [
  [0.21, 0.24, 2400],
  [0.238, 0.245, 900],
  [0.52, 0.53, 4100],
  [0.78, 0.83, 1500],
];

function timelineOf({ days, gaps, binSec, hosts, attackers }: Shape): TimelinePoint[] {
  const random = createRandom(3).word, points: TimelinePoint[] = [], bins = Math.round(days * DAY / binSec);
  for (let i = 0; i < bins; i++) {
    const at = (i + 0.5) / bins, day = i * binSec / DAY % 1;
    const covered = 1 -
      gaps.reduce(
        (sum, [from, to]) => sum + Math.max(0, Math.min((i + 1) / bins, to) - Math.max(i / bins, from)) * bins,
        0,
      );
    const normal = hosts.length * (14 + 10 * Math.sin((day - 0.3) * 2 * Math.PI)) * (0.85 + (random() % 300) / 1000);
    const attack = attackers === 0 ? 0 : ATTACKS.reduce(
      (sum, [from, to, rate]) => sum + (at >= from && at < to ? rate * (0.8 + (random() % 400) / 1000) : 0),
      0,
    );
    const syn = Math.round((normal + attack) * binSec * covered), hit = Math.round(attack * binSec * covered);
    points.push({
      from_unix_sec: START + i * binSec,
      to_unix_sec: START + (i + 1) * binSec,
      coverage: Math.max(0, Math.min(1, covered)),
      packets: Math.round(syn * 3.2),
      syn,
      would_block_packets: range(Math.round(hit * 0.9), Math.round(hit * 1.05)),
      would_block_syn: range(Math.round(hit * 0.88), Math.round(Math.min(syn, hit * 1.02))),
    });
  }
  return points;
}

function streamsOf({ days, hosts, gaps }: Shape): StreamSummary[] {
  return hosts.map((hostname, i) => {
    const own = i === 0 ? gaps : gaps.slice(1), from = START + i * 5400;
    const uncovered = own.reduce((sum, [from, to]) => sum + to - from, 0);
    return {
      hostname,
      iface: i === 2 ? "bond0.120" : "eth0",
      modes: [i === 1 ? "generic" : "native"],
      runs: 1 + own.filter(([, , restart]) => restart).length,
      intervals: Math.round(days * DAY / 10 * (1 - uncovered)),
      interval_sec: { min: 9.98, median: 10, max: own.length > 0 ? 31.2 : 10.04 },
      start_unix_sec: from,
      end_unix_sec: START + days * DAY,
      coverage: 1 - uncovered,
      gaps: own.map(([a, b, restart]) => ({
        from_unix_sec: Math.round(START + a * days * DAY),
        to_unix_sec: Math.round(START + b * days * DAY),
        restart,
      })),
      gap_count: own.length,
      loss: i === 0 ? 0.00021 : 0,
      ports: "80, 443, 8000-8010",
    };
  });
}

function sourcesOf({ hosts, attackers, hit, spoofed }: Shape, total: Summary["traffic"]): SourceRow[] {
  const random = createRandom(11).word, rows: SourceRow[] = [];
  for (let i = 0; i < Math.min(100, attackers + hit + 14); i++) {
    const bad = i < attackers, harmed = !bad && i < attackers + hit;
    const syn = bad ? Math.round(total.syn * 0.6 / (i + 1.6) ** 1.25) : harmed ? 48_210 : 900 + random() % 4000;
    const lower = bad ? Math.round(syn * 0.97) : harmed ? Math.round(syn * 0.4) : 0;
    const upper = bad ? Math.round(syn * 0.99) : harmed ? Math.round(syn * 0.52) : i === attackers + hit ? 320 : 0;
    const handshakes = bad
      ? (spoofed ? 0 : Math.round(syn * 0.004 * (i % 3)))
      : Math.round(syn * (harmed ? 0.41 : 0.97));
    const ipv6 = i % 5 === 3;
    rows.push({
      hostname: hosts[i % hosts.length]!,
      iface: i % hosts.length === 2 ? "bond0.120" : "eth0",
      source: ipv6
        ? `2001:db8:${(random() & 0xffff).toString(16)}::${(random() & 0xffff).toString(16)}`
        : `198.51.${100 + i % 3}.${random() & 255}`,
      dst_port: [443, 80, 8003, 0][i % 4]!,
      class: bad
        ? (i % 4 === 2 ? "unknown" : "likely abusive")
        : harmed
        ? "mixed"
        : i % 9 === 8
        ? null
        : "likely legitimate",
      rules: bad ? (i % 3 === 0 ? ["syn-flood", "volumetric"] : ["syn-flood"]) : harmed ? ["syn-flood"] : [],
      decision: bad || harmed ? "would block" : upper > 0 ? "may block" : i % 11 === 10 ? "allowlisted" : "pass",
      packets: syn * (bad ? 1 : 14),
      bytes: syn * (bad ? 60 : 9120),
      syn,
      handshake_ack: handshakes,
      rst: Math.round(syn * 0.02),
      data: bad ? 0 : syn * 6,
      max_syn_rate: bad ? 4100 / (i + 1) + 120 : harmed ? 131.4 : 2.1,
      handshake_ratio: syn === 0 ? null : handshakes / syn,
      first_unix_sec: START + 120_000 + i * 640,
      last_unix_sec: START + 126_000 + i * 5400,
      intervals: bad ? 1860 : 40_000 + i,
      would_block: {
        packets: range(lower, upper),
        bytes: range(lower * 60, upper * 64),
        syn: range(lower, upper),
      },
    });
  }
  return rows.sort((a, b) => b.would_block.syn.upper - a.would_block.syn.upper || b.syn - a.syn);
}

/** Outcome "pass", until a situation says otherwise. */
export function gate(
  id: string,
  title: string,
  value: Gate["value"],
  limit: Gate["limit"],
  reason: string,
  unit: Gate["unit"] = "share",
): Gate {
  const option = id === "fp_bound" || id === "halves" ? "--fp-limit" : `--${id}`;
  return { id, title, value, limit, unit, option, outcome: "pass", reason };
}

function sweepOf(legitimate: number, fpLimit: number): NonNullable<Summary["sweep"]> {
  const points: SweepPoint[] = [];
  for (const window_sec of [1, 10, 60]) {
    for (const success_ratio of [0.05, 0.1, 0.5]) {
      for (let step = 0; step <= 20; step++) {
        const syn_rate = Number((10 * 10 ** (step / 5)).toPrecision(2));
        const hit = legitimate === 0 ? 0 : Math.round(
          legitimate * Math.max(0, 0.05 * success_ratio * 4 * (60 / syn_rate) * (10 / window_sec) ** 0.3 - 0.002),
        );
        points.push({
          window_sec,
          syn_rate,
          success_ratio,
          blocked_abusive_syn_share: 0.985 / (1 + (syn_rate / (900 * (window_sec / 10) ** -0.25)) ** 1.7) *
            (0.9 + success_ratio / 5),
          sources: Math.round(40 / (1 + syn_rate / 600)) + hit,
          legitimate_hit: hit,
          upper: boundOf(legitimate, hit).upper,
        });
      }
    }
  }
  const of = (rate: number) =>
    points.find((p) => p.window_sec === 10 && p.success_ratio === 0.1 && p.syn_rate === rate)!;
  const within = points.filter((p) => p.upper !== null && p.upper <= fpLimit);
  const best = within.toSorted((a, b) => b.blocked_abusive_syn_share - a.blocked_abusive_syn_share)[0];
  return { points, default: of(100), recommended: best ?? null, fp_limit: fpLimit };
}

/** The common ground of all situations; `change` makes it one of them. */
export function makeAssessment(shape: Shape, change: (summary: Summary) => void): Assessment {
  const timeline = timelineOf(shape), streams = streamsOf(shape);
  const syn = timeline.reduce((sum, point) => sum + point.syn, 0), end = START + shape.days * DAY;
  const traffic = { packets: Math.round(syn * 3.2), bytes: syn * 2210, syn, sources: shape.clients + shape.attackers };
  const blocked = range(
    timeline.reduce((sum, point) => sum + point.would_block_syn.lower, 0),
    timeline.reduce((sum, point) => sum + point.would_block_syn.upper, 0),
  );
  const impact = impactOf(blocked, traffic), bound = boundOf(shape.clients, shape.hit);
  const covered = shape.days * DAY * (1 - shape.gaps.reduce((sum, [a, b]) => sum + b - a, 0));
  const rows = sourcesOf(shape, traffic), bad = shape.attackers, half = shape.days * DAY / 2;
  const gates: Gate[] = [
    gate("min-observation", "Observation time", shape.days * DAY, 7 * DAY, "7 d were observed.", "sec"),
    gate("min-coverage", "Coverage", covered / (shape.days * DAY), 0.99, "99.86% of the time was watched."),
    gate("max-loss", "Loss", 0.00021, 0.01, "0.021% of packets have no source."),
    gate("max-blur", "Resolution", 0.031, 0.1, "Lower and upper bound differ by 3.1% of the effect."),
    gate(
      "fp_bound",
      "False-positive bound",
      bound.upper,
      0.01,
      "None of the likely-legitimate sources would be blocked.",
    ),
    gate("halves", "The same in both halves", 0.0019, 0.01, "0.19% in the first half, 0.14% in the second."),
    gate("mixed", "Shared addresses hit", 0, 0, "No mixed source would be blocked.", "count"),
    gate(
      "min-effect",
      "Effect",
      impact.share.syn.lower,
      0.01,
      "A good part of all connection attempts would be blocked.",
    ),
    gate("max-spoofed", "Spoofing", 0.07, 0.5, "7% of SYNs come from sources seen once."),
    gate("stability", "Same verdict in both halves", "same", "same", "Both halves pass."),
    gate("lock-out", "Nobody locked out", 0, 0, "Neither allowlisted nor own addresses would be blocked.", "count"),
  ];
  const rules: RuleSummary[] = (["syn-flood", "volumetric", "port-sweep"] as const).map((id, i) => ({
    id,
    title: ["SYN flood by source", "Volumetric by source", "Sweep over monitored ports"][i]!,
    coverage: i === 2 ? "bounded" : "exact",
    ...(i === 2 ? { reason: "The order of ports inside an interval is not recorded." } : {}),
    mode: i === 2 ? "alert" : "enforce",
    decisions: { certain: [412, 96, 3][i]! * Math.sign(bad), possible: [19, 5, 6][i]! * Math.sign(bad) },
    sources: { certain: [bad, Math.ceil(bad / 3), 0][i]!, possible: [bad + 1, Math.ceil(bad / 3), 2][i]! },
    blur: [0.031, 0.044, 0.6][i]!,
    not_evaluated: [17, 17, 0][i]!,
    impact: i === 2
      ? impactOf(range(0), traffic)
      : impactOf(range(blocked.lower * (i ? 0.4 : 1), blocked.upper * (i ? 0.4 : 1)), traffic),
    false_positives: i === 0 ? bound : boundOf(shape.clients, 0),
    gates: gates.slice(3, 8),
    verdict: "READY",
  }));
  const halfOf = (from: number): NonNullable<Summary["halves"]>[0] => ({
    start_unix_sec: from,
    end_unix_sec: from + half,
    impact: impactOf(range(blocked.lower * 0.5, blocked.upper * 0.5), traffic),
    false_positives: boundOf(Math.round(shape.clients * 0.8), shape.hit),
  });
  const summary: Summary = {
    format: "ibsr-summary",
    version: 1,
    ibsr_version: "0.1.0",
    generated_at_unix_sec: end,
    policy: {
      engine: "ibsr",
      sha256: "6b3a55e0261b0304143f805a24924d0c1c44524821305f31d9277843b8a10f4e",
      rules: rules.map(({ id, title, coverage, mode, reason }) => ({
        id,
        kind: id,
        title,
        coverage,
        mode,
        ...(reason ? { reason } : {}),
      })),
      findings: [],
    },
    options: {
      "syn-rate-threshold": 100,
      "success-ratio-threshold": 0.1,
      "window-sec": 10,
      "block-duration-sec": 300,
      "fp_bound": 0.01,
      aggregate: "src",
      allowlist: ["192.0.2.0/24", "2001:db8:ffff::/48"],
      profile: "ibsr",
    },
    evidence: {
      start_unix_sec: START,
      end_unix_sec: end,
      observed_sec: shape.days * DAY,
      covered_sec: covered,
      coverage: covered / (shape.days * DAY),
      streams,
      files: 169 * shape.hosts.length,
      lines: streams.reduce((sum, stream) => sum + stream.intervals, 0),
      bad_lines: [],
      bad_line_count: 0,
      duplicates: 0,
      versions: [8],
    },
    traffic,
    impact,
    would_block_sources: { certain: bad + shape.hit, possible: bad + shape.hit + (bad ? 1 : 0) },
    rules,
    time_to_block: bad === 0
      ? { median_sec: null, max_sec: null, let_through: { packets: range(0, 0), bytes: range(0, 0), syn: range(0, 0) } }
      : {
        median_sec: 10,
        max_sec: 40,
        let_through: {
          packets: range(214_311, 301_204),
          bytes: range(12_858_660, 18_072_240),
          syn: range(210_042, 296_118),
        },
      },
    false_positives: {
      ...bound,
      harm: {
        sources: shape.hit,
        connections: range(shape.hit * 19_284, shape.hit * 25_069),
        bytes: range(shape.hit * 175_000_000, shape.hit * 228_000_000),
        packets: range(shape.hit * 269_976, shape.hit * 350_966),
        blocked_minutes: range(shape.hit * 41, shape.hit * 55),
        share_of_legitimate_syn: range(shape.hit * 0.0041, shape.hit * 0.0053),
      },
      by_class: [
        {
          class: "likely abusive",
          sources: Math.round(bad * 0.75),
          syn: range(blocked.lower * 0.9, blocked.upper * 0.9),
          packets: range(blocked.lower * 0.9, blocked.upper * 0.9),
        },
        {
          class: "unknown",
          sources: bad - Math.round(bad * 0.75),
          syn: range(blocked.lower * 0.1, blocked.upper * 0.1),
          packets: range(blocked.lower * 0.1, blocked.upper * 0.1),
        },
        {
          class: "mixed",
          sources: shape.hit,
          syn: range(shape.hit * 19_284, shape.hit * 25_069),
          packets: range(shape.hit * 19_284, shape.hit * 25_069),
        },
        { class: "likely legitimate", sources: 0, syn: range(0), packets: range(0) },
      ],
      sources: rows.filter((row) => row.class === "mixed").map((row) => ({
        hostname: row.hostname,
        source: row.source,
        class: "mixed" as const,
        why:
          "41 intervals in 9 ten-minute periods with connections opened, completed and used, 7 of them inside triggering windows",
        rule: "syn-flood",
      })),
      source_count: shape.hit,
    },
    halves: [halfOf(START), halfOf(START + half)],
    days: Array.from({ length: Math.ceil(shape.days) }, (_, i) => ({
      ...halfOf(START + i * DAY),
      end_unix_sec: Math.min(end, START + (i + 1) * DAY),
      day: new Date((START + i * DAY) * 1000).toISOString().slice(0, 10),
      coverage: i === 3 ? 0.991 : 1,
      impact: impactOf(
        range(
          blocked.lower * [0, 0.31, 0.02, 0.24, 0, 0.43, 0][i % 7]!,
          blocked.upper * [0, 0.31, 0.02, 0.24, 0, 0.43, 0][i % 7]!,
        ),
        traffic,
      ),
    })),
    sweep: sweepOf(shape.clients, 0.01),
    spoofing: {
      one_shot_sources: 18_233,
      one_shot_syn: 21_190,
      share_of_syn: 0.07,
      episodes: [],
      likely_spoofed: false,
    },
    shared_addresses: [],
    limits: {
      not_counted: {
        not_tcp: 48_201_334,
        other_port: 912_004,
        malformed: 212,
        later_fragment: 18,
        unknown_encapsulation: 0,
      },
      unattributed: { packets: 20_118, bytes: 1_207_080, syn: 20_118 },
      loss: 0.00021,
      evicted: 0,
      gaps_sec: shape.days * DAY - covered,
      restarts: shape.gaps.filter(([, , restart]) => restart).length,
      generic_mode: shape.hosts.length > 1,
      statements: [
        "UDP and everything else that is not TCP was not counted: 48,201,334 frames.",
        "Payload is not looked at: a source that completes handshakes and then misuses them looks legitimate.",
        "Under real blocking clients try again, so more packets would be dropped than this replay shows; connections don't multiply.",
      ],
    },
    gates,
    verdict: "READY",
    verdict_reason:
      "All gates hold: the rules would have blocked two thirds of all connection attempts and none of 4,310 likely-legitimate sources.",
    hosts: [],
    shared_offenders: [],
    timeline,
    top_sources: rows,
    handshake_ratio: {
      bins: [38, 9, 5, 4, 8, 14, 33, 96, 402, 3610].map((all, i) => ({
        all: Math.round(all * shape.clients / 4310) + (i === 0 ? bad : 0),
        would_block: i === 0 ? bad : i === 4 ? shape.hit : 0,
      })),
      without_syn: 91,
    },
  };
  change(summary);
  return { summary, rules: rulesOf(summary), sources: [...rows].sort(bySource), decisions: decisionsOf(summary) };
}

function bySource(a: SourceRow, b: SourceRow): number {
  return a.hostname < b.hostname ? -1 : a.hostname > b.hostname ? 1 : a.source < b.source ? -1 : 1;
}

function rulesOf(summary: Summary): Assessment["rules"] {
  const { engine, sha256 = "" } = summary.policy,
    blocked = summary.top_sources.filter((row) => row.decision === "would block");
  return {
    format: "ibsr-rules",
    version: 1,
    ibsr_version: summary.ibsr_version,
    generated_at_unix_sec: summary.generated_at_unix_sec,
    policy: { engine, sha256 },
    evidence: {
      start_unix_sec: summary.evidence.start_unix_sec,
      end_unix_sec: summary.evidence.end_unix_sec,
      streams: summary.evidence.streams.map(({ hostname, iface }) => ({ hostname, iface })),
    },
    verdict: summary.verdict,
    exceptions: ["192.0.2.0/24", "2001:db8:ffff::/48"],
    rules: blocked.map((row, i) => ({
      id: `syn-flood-${i + 1}`,
      source: row.source,
      protocol: "tcp",
      dst_ports: row.dst_port === 0 ? [] : [row.dst_port],
      action: "drop",
      duration_sec: 300,
      policy_rule: row.rules[0] ?? "syn-flood",
      class: row.class ?? "unknown",
      reason: `${row.syn} SYN, ${row.handshake_ack} completed; at most ${Math.round(row.max_syn_rate)} SYN/s`,
      triggers: 12,
      first_trigger_unix_sec: row.first_unix_sec,
      last_trigger_unix_sec: row.last_unix_sec,
      would_block: row.would_block,
    })),
  };
}

function decisionsOf(summary: Summary): NamedDecision[] {
  return summary.top_sources.filter((row) => row.decision !== "pass").map((row, i) => {
    const end = (row.first_unix_sec + 10) * 1000;
    return {
      rule: "syn-flood",
      action: "block",
      certain: row.decision === "would block",
      hostname: row.hostname,
      iface: row.iface,
      source: row.source,
      ...(row.dst_port === 0 ? {} : { ports: [row.dst_port] }),
      ...(i === 1 ? { prefix: "198.51.100.0/24" } : {}),
      window: { beginMs: end - 10_000, endMs: end },
      fromMs: { earliest: end - 10_000, latest: end },
      untilMs: i === 2 ? { earliest: Infinity, latest: Infinity } : { earliest: end + 290_000, latest: end + 300_000 },
      measured: { syn: 4120, handshake_ack: 3, syn_rate: 412, handshake_ratio: 0.0007, packets: 4123, bytes: 247_380 },
      thresholds: { syn_rate: 100, handshake_ratio: 0.1 },
      formula: "syn / window ≥ syn_rate and handshake_ack / syn ≤ handshake_ratio",
    };
  });
}
