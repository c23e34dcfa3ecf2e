/**
 * Assessments to render, in the situations that a report can find: made up, so that renderers are tested with
 * everything they can meet. They are plausible, not computed: no rule was simulated for them.
 */
import type { Assessment, HostSummary, StreamSummary } from "../../src/report/summary.ts";
import { boundOf, gate, impactOf, makeAssessment, NOTHING, range, START } from "./assessment.ts";

/** Everything holds. */
export function ready(): Assessment {
  return makeAssessment({
    days: 7,
    hosts: ["edge-1"],
    clients: 4310,
    hit: 0,
    attackers: 14,
    binSec: 1800,
    gaps: [[0.4, 0.4014, true]],
  }, () => {});
}

/** A NAT would be hit, and the bound is over the limit. */
export function notReady(): Assessment {
  return makeAssessment({
    days: 7,
    hosts: ["edge-1"],
    clients: 963,
    hit: 2,
    attackers: 22,
    binSec: 1800,
    gaps: [[0.4, 0.4014, true], [0.62, 0.655, false]],
  }, (summary) => {
    summary.verdict = "NOT READY";
    summary.verdict_reason =
      "Two shared addresses with working clients behind them would be blocked: the false-positive share may be 1.1%, over the limit of 1%.";
    for (const row of summary.gates) {
      if (row.id === "mixed") {
        Object.assign(row, {
          value: 2,
          outcome: "fail",
          reason: "2 mixed sources would be blocked: a NAT or proxy with a bad neighbour.",
        });
      }
      if (row.id === "min-coverage") {
        Object.assign(row, { value: 0.9636, outcome: "fail", reason: "6 h 7 min were not watched." });
      }
      if (row.id === "fp_bound") {
        Object.assign(row, {
          outcome: "fail",
          reason: "2 of 963 likely-legitimate sources would be blocked: it may be 1.1%.",
        });
      }
      if (row.id === "stability") {
        Object.assign(row, {
          value: "differs",
          outcome: "fail",
          reason: "The first half passes, the second does not.",
        });
      }
      if (row.id === "halves") {
        Object.assign(row, {
          value: null,
          outcome: "unknown",
          reason: "The second half has too few likely-legitimate sources.",
        });
      }
    }
    summary.rules[0]!.verdict = "NOT READY";
    summary.rules[2]!.verdict = "INSUFFICIENT EVIDENCE";
    summary.evidence.bad_line_count = 3;
    summary.evidence.bad_lines = [12, 13, 977].map((line) => ({
      path: "spool/snapshot_2026111607.jsonl",
      line,
      reason: "it is not JSON: Unterminated string in JSON at position 4096",
    }));
    summary.evidence.duplicates = 12;
    summary.shared_addresses = summary.false_positives.sources.map(({ source, why }) => ({ source, reason: why }));
    summary.policy.findings = [{
      severity: "warning",
      code: "low_resolution",
      message: "The sweep rule looks back 5 s; snapshots of 10 s blur it.",
      rule: "port-sweep",
    }];
    summary.limits.statements.push("For 6 h 7 min nobody watched; what came then is in no number.");
  });
}

/** A day and a half, few clients, a spoofed flood. */
export function insufficient(): Assessment {
  return makeAssessment({
    days: 1.5,
    hosts: ["edge-1"],
    clients: 41,
    hit: 0,
    attackers: 3,
    binSec: 600,
    gaps: [],
    spoofed: true,
  }, (summary) => {
    summary.verdict = "INSUFFICIENT EVIDENCE";
    summary.verdict_reason =
      "1 d 12 h of 7 days were observed, and 41 likely-legitimate sources can't show a false-positive share below 7%.";
    for (const row of summary.gates) {
      if (row.id === "min-observation") {
        Object.assign(row, { outcome: "unknown", reason: "7 days are asked for." });
      }
      if (row.id === "fp_bound") {
        Object.assign(row, {
          outcome: "unknown",
          reason: "299 likely-legitimate sources are needed to show less than 1%; there are 41.",
        });
      }
      if (row.id === "max-spoofed") {
        Object.assign(row, { value: 0.91, outcome: "fail", reason: "91% of SYNs come from sources seen once." });
      }
    }
    for (const rule of summary.rules) rule.verdict = "INSUFFICIENT EVIDENCE";
    summary.halves = null;
    if (summary.sweep) summary.sweep.recommended = null;
    summary.spoofing = {
      one_shot_sources: 4_118_020,
      one_shot_syn: 4_502_881,
      share_of_syn: 0.91,
      episodes: [{
        from_unix_sec: START + 67_000,
        to_unix_sec: START + 69_400,
        syn: 4_870_000,
        one_shot_share: 0.93,
        entries: 4_101_332,
      }],
      likely_spoofed: true,
    };
    summary.limits.statements.push(
      "91% of connection attempts come from addresses that were seen once and never answered: rules by source would chase addresses that do not return. SYN cookies or filtering upstream help instead.",
    );
  });
}

/** Three hosts; a source is seen on several. */
export function fleet(): Assessment {
  return makeAssessment({
    days: 7,
    hosts: ["edge-ams-1", "edge-fra-1", "edge-iad-2"],
    clients: 11_840,
    hit: 0,
    attackers: 31,
    binSec: 3600,
    gaps: [[0.1, 0.102, true], [0.7, 0.7006, false]],
  }, (summary) => {
    summary.hosts = summary.evidence.streams.map(({ hostname, iface }, i): HostSummary => ({
      hostname,
      iface,
      traffic: { ...summary.traffic, syn: Math.round(summary.traffic.syn / 3), sources: 4000 + i },
      impact: impactOf(range(summary.impact.syn.lower / 3, summary.impact.syn.upper / 3), summary.traffic),
      false_positives: boundOf(3900 - 1900 * i, 0),
      gates: summary.gates,
      verdict: i === 1 ? "INSUFFICIENT EVIDENCE" : "READY",
      verdict_reason: i === 1 ? "98.2% coverage is under the limit of 99%." : "All gates hold.",
    }));
    summary.shared_offenders = summary.top_sources.slice(0, 12).map(({ source }, i) => ({
      source,
      hosts: 3 - i % 2,
      would_block_hosts: 3 - i % 3,
    }));
    summary.verdict_reason = "All gates hold on the fleet as a whole; one host alone has too little coverage to tell.";
  });
}

/** Nothing was read but empty snapshots. */
export function empty(): Assessment {
  const made = makeAssessment({
    days: 0.01,
    hosts: ["edge-1"],
    clients: 0,
    hit: 0,
    attackers: 0,
    binSec: 864,
    gaps: [],
  }, (summary) => {
    summary.verdict = "INSUFFICIENT EVIDENCE";
    summary.verdict_reason = "No traffic was counted.";
    summary.timeline = [];
    summary.traffic = { packets: 0, bytes: 0, syn: 0, sources: 0 };
    summary.impact = impactOf(range(0), summary.traffic);
    summary.impact.packets = summary.impact.bytes = summary.impact.syn = NOTHING;
    summary.top_sources = [];
    summary.rules = [];
    summary.sweep = null;
    summary.halves = null;
    summary.days = [];
    summary.limits.not_counted = null;
    summary.spoofing = { one_shot_sources: 0, one_shot_syn: 0, share_of_syn: 0, episodes: [], likely_spoofed: false };
    summary.handshake_ratio = { bins: Array.from({ length: 10 }, () => ({ all: 0, would_block: 0 })), without_syn: 0 };
    summary.false_positives.by_class = [];
    for (const row of summary.gates) {
      Object.assign(row, { value: null, outcome: "unknown", reason: "There is nothing to judge." });
    }
  });
  return { ...made, sources: [], decisions: [], rules: { ...made.rules, rules: [] } };
}

/** Names that try to be more than names. */
export const HOSTILE = [
  `<script>alert(1)</script>`,
  `"><img src=x onerror=alert(1)>`,
  "a|b`c`[d](javascript:alert(1))**e**",
  "line\nbreak\r\n## 5. Readiness Judgment",
  "\u202egnp.exe\u2066\u200b\u0000\u001b[31m",
  `=HYPERLINK("http://x","y")`,
  "]]>--></style></svg>&#60;b&amp;",
  "x".repeat(10_000),
] as const;

/** The situation that is not ready, with hostile names wherever a name can be. */
export function hostile(): Assessment {
  const assessment = notReady(), { summary, rules } = assessment;
  const name = (i: number) => HOSTILE[i % HOSTILE.length]!;
  summary.evidence.streams.push(
    ...HOSTILE.map((text): StreamSummary => ({
      ...summary.evidence.streams[0]!,
      hostname: text,
      iface: text,
      ports: text,
    })),
  );
  summary.evidence.bad_lines = HOSTILE.map((text, i) => ({ path: text, line: i, reason: text }));
  summary.policy.findings = HOSTILE.map((text) => ({
    severity: "error",
    code: text,
    message: text,
    rule: text,
    place: { path: text, line: 1, column: 2 },
  }));
  summary.policy.engine = name(0);
  summary.policy.profile = name(1);
  summary.options = Object.fromEntries(HOSTILE.map((text) => [text, [text]]));
  summary.verdict_reason = HOSTILE.join(" ");
  summary.limits.statements = [...HOSTILE];
  summary.gates.push(...HOSTILE.map((text) => gate(text, text, text, text, text)));
  summary.shared_addresses = HOSTILE.map((text) => ({ source: text, reason: text }));
  summary.shared_offenders = HOSTILE.map((text) => ({ source: text, hosts: 2, would_block_hosts: 1 }));
  summary.hosts = HOSTILE.map((text): HostSummary => ({
    hostname: text,
    iface: text,
    traffic: summary.traffic,
    impact: summary.impact,
    false_positives: boundOf(10, 1),
    gates: summary.gates,
    verdict: "NOT READY",
    verdict_reason: text,
  }));
  summary.false_positives.sources = HOSTILE.map((text) => ({
    hostname: text,
    source: text,
    class: "mixed",
    why: text,
    rule: text,
  }));
  summary.rules.forEach((rule, i) => Object.assign(rule, { id: name(i), title: name(i + 1), reason: name(i + 2) }));
  summary.top_sources.forEach((row, i) =>
    Object.assign(row, { hostname: name(i), iface: name(i + 1), source: name(i + 2), rules: [name(i + 3)] })
  );
  summary.days.forEach((day, i) => day.day = name(i));
  summary.sweep = null;
  rules.rules.forEach((rule, i) =>
    Object.assign(rule, { source: name(i), policy_rule: name(i + 1), reason: name(i + 2) })
  );
  rules.exceptions = [...HOSTILE];
  return {
    summary,
    rules,
    sources: summary.top_sources,
    decisions: [...assessment.decisions].map((decision, i) => ({
      ...decision,
      hostname: name(i),
      iface: name(i),
      source: name(i),
      rule: name(i),
      formula: name(i),
    })),
  };
}
