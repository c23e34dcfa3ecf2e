/** Rule sets for tests: small ones written down, a large one made by a formula, and one with hostile texts. */
import type { CandidateRule, RuleSet } from "../../src/rules/ruleset.ts";

/** What a rule needs to say; the rest has defaults. */
type Said = Partial<CandidateRule> & { source: string };

export function ruleOf(said: Said, i = 0): CandidateRule {
  return {
    id: `r${i + 1}`,
    protocol: "tcp",
    dst_ports: [],
    action: "drop",
    duration_sec: 3600,
    policy_rule: "syn-rate",
    class: "likely abusive",
    reason: "412 SYN in 10 s, threshold 100",
    triggers: 3,
    first_trigger_unix_sec: 1_795_222_800,
    last_trigger_unix_sec: 1_795_226_400,
    would_block: { packets: { lower: 10, upper: 20 }, bytes: { lower: 600, upper: 1200 }, syn: { lower: 5, upper: 9 } },
    ...said,
  };
}

export function setOf(rules: readonly Said[], more: Partial<RuleSet> = {}): RuleSet {
  return {
    format: "ibsr-rules",
    version: 1,
    ibsr_version: "0.1.0",
    generated_at_unix_sec: 1_795_226_400,
    policy: { engine: "native", profile: "default", sha256: "ab".repeat(32) },
    evidence: {
      start_unix_sec: 1_794_617_600,
      end_unix_sec: 1_795_222_400,
      streams: [{ hostname: "web1", iface: "eth0" }],
    },
    verdict: "READY",
    exceptions: [],
    rules: rules.map(ruleOf),
    ...more,
  };
}

/** Texts that would break out of one format or another if they were written as they are. */
export const HOSTILE = [
  '"; drop; }\ntable inet evil {',
  "$(touch /tmp/ibsr-owned) `id` ; rm -rf / #",
  "' || true; flush ruleset \\",
  "}}]]> <!-- *)\r\n[DEFAULT]\nignoreip = 0.0.0.0/0",
  '=HYPERLINK("http://x","y")',
  "%(known/failregex)s {{ }} %s \0\u0007\u001b[31mred\u202edesrever\u200b\ud800",
  '- !!python/object/apply:os.system ["id"]',
  "COMMIT\n-A INPUT -j ACCEPT",
  '"""\n[[rules]]\nid = "x',
  "ünïcödé ≥ 5 – наблюдение 攻撃 ".repeat(20),
];

/** Sources of every kind: v4, v6, CIDR, ports, ranges, durations, for good; overlaps, duplicates, host bits. */
export const MIXED: readonly Said[] = [
  { source: "192.0.2.7" },
  { source: "192.0.2.8", dst_ports: [22], duration_sec: 60 },
  { source: "192.0.2.9", dst_ports: [22, 80, "8080-8899"], duration_sec: null },
  { source: "198.51.100.0/24", duration_sec: 1800 },
  { source: "198.51.100.77", dst_ports: [443], duration_sec: 7200 },
  { source: "203.0.113.5/25", dst_ports: [22] },
  { source: "203.0.113.128/25", dst_ports: [22] },
  { source: "::ffff:192.0.2.10", duration_sec: null },
  { source: "192.0.2.7", duration_sec: 60 },
  { source: "2001:db8::7" },
  { source: "2001:DB8:0:1::/64", dst_ports: ["1-1023"], duration_sec: 300 },
  { source: "2001:db8:0:1::5", dst_ports: [22], duration_sec: null },
  { source: "2001:db8::8", dst_ports: [22, 443], duration_sec: 86400 },
];

/** `count` rules with sources of both families, ports, durations and hostile reasons. */
export function manyRules(count: number): Said[] {
  return Array.from({ length: count }, (_, i) => {
    const v6 = i % 5 === 4, high = i >> 8 & 255, low = i & 255;
    return {
      source: v6 ? `2001:db8:${i.toString(16)}::${i % 3 === 0 ? "/48" : "1"}` : `20.${i % 200}.${high}.${low}`,
      dst_ports: i % 4 === 0 ? [] : i % 4 === 1 ? [22] : i % 4 === 2 ? [80, 443] : [`${8000 + i % 7}-${8100 + i % 11}`],
      duration_sec: [60, 3600, 86400, null][i % 7 % 4]!,
      policy_rule: HOSTILE[i % HOSTILE.length]!,
      reason: HOSTILE[(i + 3) % HOSTILE.length]!,
    };
  });
}

/** The sets that every format must get through its validator. */
export function situations(): Record<string, RuleSet> {
  return {
    empty: setOf([]),
    mixed: setOf(MIXED),
    hostile: setOf(HOSTILE.map((reason, i) => ({ source: `192.0.2.${2 * i + 21}`, reason, policy_rule: reason })), {
      ibsr_version: HOSTILE[0]!,
      policy: { engine: HOSTILE[1]!, profile: HOSTILE[3]! },
      evidence: {
        start_unix_sec: 0,
        end_unix_sec: 253_402_300_799,
        streams: HOSTILE.map((text) => ({ hostname: text, iface: text })),
      },
      verdict: "NOT READY",
    }),
    many: setOf(manyRules(1000)),
  };
}
