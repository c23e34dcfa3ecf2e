import assert from "node:assert/strict";
import { Ajv2020 } from "ajv";
import { renderDecisions } from "../src/report/csv.ts";
import { renderMarkdown } from "../src/report/markdown.ts";
import { describeAnswer } from "../src/report/screen.ts";
import summarySchema from "../src/report/summary.schema.json" with { type: "json" };
import wouldBlockSchema from "../src/report/would_block.schema.json" with { type: "json" };
import rulesSchema from "../src/rules/rules.schema.json" with { type: "json" };
import type { Gate, Summary } from "../src/report/summary.ts";
import { expectedPath, formatSummary, type Outcome, runSituation, situationOf } from "./golden/run.ts";
import { DAY, HOUR, SITUATIONS, START } from "./golden/situations.ts";

/** Ids of the gates that do not pass, with "!" where they fail. */
function open({ gates }: Pick<Summary, "gates">): string[] {
  const mark = (gate: Gate) => gate.outcome === "fail" ? `${gate.id}!` : gate.id;
  return gates.filter((gate) => gate.outcome !== "pass").map(mark);
}

function range({ lower, upper }: { lower: number; upper: number }): [number, number] {
  return [lower, upper];
}

/** What was worked out by hand for each situation: a wrong expected file can't hide behind a wrong program. */
const BY_HAND: Record<string, (outcome: Outcome) => void> = {
  "ready": ({ summary, rules, decisions, sources }) => {
    assert.equal(summary.verdict, "READY");
    // Twice 30 × 2000 SYN. The first 10 s of each trigger: 1000 SYN at least pass. Then all is certainly blocked.
    assert.deepEqual(range(summary.impact.syn), [2 * 29 * 2000, 2 * (29 * 2000 + 1000)]);
    assert.deepEqual(range(summary.impact.bytes), [60 * 116_000, 60 * 116_000 + 2 * (120_000 - 54 * 1000)]);
    assert.equal(summary.traffic.syn, 320 * 7 * 2 + 2 * 60_000 + 7 * 2);
    assert.equal(summary.false_positives.upper, 1 - 0.05 ** (1 / 320));
    assert.deepEqual(summary.halves!.map((half) => half.false_positives.legitimate), [320, 320]);
    assert.deepEqual(summary.time_to_block, {
      ...{ median_sec: 10, max_sec: 10 },
      // Each of the two: 1,000 SYN of 54 bytes at least, and at most the whole first interval.
      let_through: {
        packets: { lower: 2000, upper: 4000 },
        bytes: { lower: 108_000, upper: 240_000 },
        syn: { lower: 2000, upper: 4000 },
      },
    });
    // Each flood triggers once, and anew when its block of 300 s would have ended.
    assert.deepEqual(decisions.map((d) => (d.fromMs.earliest / 1000 - START) % HOUR), [0, 290, 0, 290]);
    assert.deepEqual(rules.rules.map((r) => [r.source, r.dst_ports, r.duration_sec, r.triggers, r.class]), [
      ["203.0.113.5", [443], 300, 4, "likely abusive"],
    ]);
    assert.equal(sources.length, 321);
    assert.deepEqual(sources.filter((s) => s.decision !== "pass").map((s) => s.source), ["203.0.113.5"]);
    const { default: initial, recommended } = summary.sweep!;
    assert.equal(initial.blocked_abusive_syn_share, 116_000 / 120_014);
    // Others block as much; none blocks more.
    assert.deepEqual(recommended, initial);
    // 200 SYN/s: at 158 still all, at the next rate of the grid nothing.
    const at251 = summary.sweep!.points.find((p) => p.syn_rate === 251 && p.window_sec === 10)!;
    assert.equal(at251.blocked_abusive_syn_share, 0);
  },
  "too-many-legitimate-hit": ({ summary }) => {
    assert.deepEqual(open(summary), ["fp_bound!", "halves!"]);
    assert.deepEqual([summary.false_positives.hit, summary.false_positives.legitimate], [8, 320]);
    assert.equal(summary.false_positives.source_count, 8);
    // 8 clients, twice six intervals of 2000: the first passes 1000; they are not seen to use anything while blocked.
    assert.deepEqual(range(summary.false_positives.harm.connections), [2 * 8 * 10_000, 2 * 8 * 11_000]);
    assert.deepEqual(range(summary.false_positives.harm.blocked_minutes), [2 * 8 * 50 / 60, 2 * 8 * 60 / 60]);
    // The clients flood as hard as the attacker: no setting stops one and spares the others.
    assert.equal(summary.sweep!.recommended, null);
    assert.equal(summary.sweep!.default.legitimate_hit, 8);
  },
  "too-few-legitimate": ({ summary }) => {
    assert.deepEqual(open(summary), ["fp_bound", "halves"]);
    assert.equal(summary.false_positives.upper, 1 - 0.05 ** (1 / 50));
  },
  "one-network": ({ summary }) => {
    assert.deepEqual(open(summary), ["fp_bound", "halves"]);
    assert.deepEqual(summary.false_positives.by_network, { legitimate: 2, hit: 0, upper: 1 - 0.05 ** (1 / 2) });
  },
  "short-observation": ({ summary }) => {
    // In a day and a half a client comes once or twice: three intervals are asked for.
    assert.deepEqual(open(summary), ["observation", "halves"]);
    assert.equal(summary.false_positives.legitimate, 320);
  },
  "gap": ({ summary }) => {
    assert.ok(open(summary).includes("coverage"));
    assert.equal(summary.evidence.coverage, 158 / 168);
    assert.deepEqual(summary.evidence.streams[0]!.gaps, [
      { from_unix_sec: START + 100 * HOUR, to_unix_sec: START + 110 * HOUR, restart: false },
    ]);
    assert.equal(summary.limits.gaps_sec, 10 * HOUR);
    assert.equal(summary.timeline.find((p) => p.from_unix_sec === START + 105 * HOUR)!.coverage, 0);
    // Hours 4 to 13 of the fifth day: who comes from 4 to 11 was seen twice in the second half, the others thrice.
    assert.deepEqual(summary.halves!.map((half) => half.false_positives.legitimate), [320, 320 - 4 * 14 - 4 * 13]);
  },
  "lost-packets": ({ summary }) => {
    assert.deepEqual(open(summary), ["loss"]);
    assert.deepEqual(summary.limits.unattributed, { packets: 168 * 50, bytes: 168 * 3000, syn: 168 * 10 });
    // They may be of anyone who is blocked: the upper bound of the whole, and of no rule.
    assert.deepEqual(range(summary.impact.syn), [116_000, 118_000 + 1680]);
    assert.deepEqual(range(summary.rules[0]!.impact.syn), [116_000, 118_000]);
  },
  "coarse-snapshots": ({ summary }) => {
    assert.deepEqual(open(summary), ["resolution", "effect"]);
    assert.deepEqual(range(summary.rules[0]!.impact.syn), [0, 2 * 59_000]);
    // volumetric may drop what syn_flood lets pass: together up to all of it.
    assert.deepEqual(range(summary.impact.syn), [0, 2 * 60_000]);
    assert.deepEqual(summary.would_block_sources, { certain: 0, possible: 1 });
    assert.deepEqual(summary.top_sources.map((s) => s.decision), ["may block"]);
  },
  "nat": ({ summary }) => {
    assert.ok(open(summary).includes("mixed!"));
    assert.deepEqual(summary.false_positives.sources.map((s) => [s.source, s.class]), [["192.0.2.80", "mixed"]]);
    assert.deepEqual(summary.shared_addresses.map((s) => s.source), ["192.0.2.80"]);
    assert.deepEqual([summary.false_positives.hit, summary.false_positives.legitimate], [1, 321]);
  },
  "low-and-slow": ({ summary }) => {
    assert.deepEqual(open(summary), ["effect!"]);
    assert.equal(summary.spoofing.likely_spoofed, false);
    assert.deepEqual(range(summary.impact.packets), [0, 0]);
  },
  "spoofed-flood": ({ summary }) => {
    assert.deepEqual(open(summary), ["effect!", "spoofing!"]);
    const { spoofing } = summary;
    assert.deepEqual([spoofing.one_shot_sources, spoofing.one_shot_syn], [90_000, 90_000]);
    assert.equal(spoofing.share_of_syn, 90_000 / (90_000 + 4480));
    const episode = { syn: 45_000, one_shot_share: 1, entries: 45_000 };
    assert.deepEqual(
      spoofing.episodes,
      [60, 132].map((hour) => ({
        from_unix_sec: START + hour * HOUR,
        to_unix_sec: START + hour * HOUR + 300,
        ...episode,
      })),
    );
    assert.ok(summary.limits.statements.some((s) => /SYN cookies/.test(s)));
  },
  "self-blocked": ({ summary }) => assert.deepEqual(open(summary), ["lockout!"]),
  "long-known-blocked": ({ summary }) => {
    assert.ok(open(summary).includes("lockout!"));
    assert.match(summary.gates.find((g) => g.id === "lockout")!.reason, /192\.0\.2\.200/);
  },
  "unstable-halves": ({ summary }) => {
    assert.deepEqual(open(summary), ["halves!"]);
    assert.deepEqual(summary.halves!.map(({ false_positives: f }) => [f.hit, f.legitimate]), [[0, 320], [6, 160]]);
  },
  "nothing-to-gain": ({ summary }) => assert.deepEqual(open(summary), ["effect!"]),
  "no-traffic": ({ summary }) => {
    assert.deepEqual(open(summary), ["fp_bound", "halves", "effect", "spoofing"]);
    assert.equal(summary.false_positives.upper, null);
  },
  "empty": ({ summary, sources }) => {
    assert.equal(summary.verdict, "INSUFFICIENT EVIDENCE");
    assert.deepEqual(summary.evidence.bad_lines.map((l) => [l.path, l.line]), [["web1.jsonl", 1], ["web1.jsonl", 3]]);
    assert.equal(sources.length, 0);
  },
  "all-allowlisted": ({ summary, sources, rules }) => {
    assert.deepEqual(open(summary), ["effect!"]);
    assert.ok(sources.length === 321 && sources.every((s) => s.decision === "allowlisted"));
    assert.deepEqual(rules.exceptions, ["0.0.0.0/0", "::/0"]);
    assert.deepEqual(rules.rules, []);
  },
  "restart": ({ summary }) => {
    // 6000 + 6000, and 7000 of the new run: nothing is subtracted across runs, nothing is lost.
    assert.equal(summary.traffic.syn, 6000 + 6000 + 7000 + 4 + 10);
    // The first minute triggers (1000 in one of six windows), and blocks (60, 300]: both others lie in it.
    assert.deepEqual(range(summary.rules[0]!.impact.syn), [13_000, 5000 + 13_000]);
    assert.equal(summary.limits.restarts, 1);
    assert.equal(summary.limits.gaps_sec, 30);
  },
  "eviction": ({ summary }) => {
    assert.equal(summary.traffic.syn, 6000 + 5000 + 6000);
    assert.equal(summary.limits.evicted, 1);
  },
  "cumulative": ({ summary }) => {
    assert.equal(summary.traffic.syn, 10 * 2 + 8 * 12_000);
    assert.deepEqual(range(summary.rules[0]!.impact.syn), [7 * 12_000, 7 * 12_000 + 11_000]);
  },
  "delta": ({ summary }) => {
    assert.equal(summary.traffic.syn, 10 * 2 + 8 * 12_000);
    assert.deepEqual(range(summary.rules[0]!.impact.syn), [7 * 12_000, 7 * 12_000 + 11_000]);
  },
  "both-families": ({ summary, rules }) => {
    assert.deepEqual(rules.rules.map((r) => [r.source, r.dst_ports, r.would_block.syn.lower]), [
      ["198.51.100.0/24", [443], 59 * 2000],
      ["2001:db8:7::/48", [80], 59 * 2000],
    ]);
    assert.deepEqual(summary.would_block_sources, { certain: 40, possible: 40 });
  },
  "fleet": ({ summary }) => {
    assert.equal(summary.verdict, "READY");
    assert.deepEqual(summary.hosts.map((h) => [h.hostname, h.verdict, ...range(h.impact.syn)]), [
      ["web1", "READY", 232_000, 236_000],
      ["web2", "READY", 116_000, 118_000],
    ]);
    assert.deepEqual(summary.shared_offenders, [{ source: "203.0.113.5", hosts: 2, would_block_hosts: 2 }]);
    // The same 320 clients on both: they are counted once.
    assert.equal(summary.false_positives.legitimate, 320);
  },
  "port-sweep": ({ summary, rules }) => {
    assert.deepEqual(rules.rules.map((r) => [r.policy_rule, r.dst_ports]), [["port_sweep", []]]);
    // Of the 30 SYNs none is certainly dropped; the one a minute later is.
    assert.deepEqual(range(summary.impact.syn), [1, 31]);
  },
  "dst-ports": ({ summary, sources }) => {
    assert.equal(summary.traffic.syn, 30 * 1500);
    assert.deepEqual(sources.map((s) => s.dst_port), [80]);
    assert.deepEqual(range(summary.impact.syn), [29 * 1500, 29 * 1500 + 500]);
  },
  "generic-mode": ({ summary }) => {
    assert.equal(summary.limits.generic_mode, true);
    assert.equal(summary.limits.not_counted!.not_tcp, 210);
    assert.equal(summary.limits.evicted, 60);
    assert.equal(
      summary.limits.statements.filter((s) => /Generic mode|210 frames|60 entries pushed/.test(s)).length,
      3,
    );
  },
};

const ajv = new Ajv2020({ strict: false });
const isSummary = ajv.compile(summarySchema),
  isRuleSet = ajv.compile(rulesSchema),
  isDecision = ajv.compile(wouldBlockSchema);

for (const situation of SITUATIONS) {
  Deno.test(`the report of "${situation.name}" is what was worked out by hand, and its summary as expected`, async () => {
    const outcome = await runSituation(situation);
    const check = BY_HAND[situation.name];
    assert.ok(check, "no number of it was worked out by hand");
    check(outcome);
    assert.ok(isSummary(outcome.summary), ajv.errorsText(isSummary.errors));
    assert.ok(isRuleSet(outcome.rules), ajv.errorsText(isRuleSet.errors));
    for (const line of renderDecisions(outcome.decisions)) {
      assert.ok(isDecision(JSON.parse(line)), ajv.errorsText(isDecision.errors));
    }
    const expected = Deno.readTextFileSync(expectedPath(situation.name));
    assert.deepEqual(outcome.summary, JSON.parse(expected), "deno task golden writes what is now");
    assert.equal(formatSummary(outcome.summary), expected);
  });
}

Deno.test("no text of a report has a plural of one", async () => {
  for (const situation of SITUATIONS) {
    const { summary, rules, sources, decisions } = await runSituation(situation);
    const text = describeAnswer(summary) + [...renderMarkdown({ summary, rules, sources, decisions })].join("");
    const wrong = /(?<![\d.,–]|to )1 (?:[a-z-]+ )?(?:[a-z]{2,}[^s\W]s|SYNs|entries|addresses)\b(?! that| would| is)/
      .exec(text);
    assert.equal(wrong?.[0], undefined, `${situation.name}: ${text.slice(wrong?.index, (wrong?.index ?? 0) + 80)}`);
  }
});

Deno.test("cumulative and delta snapshots of the same traffic give the same numbers", async () => {
  const [a, b] = await Promise.all(["cumulative", "delta"].map((name) => runSituation(situationOf(name))));
  assert.deepEqual(a!.summary.impact.syn, b!.summary.impact.syn);
  assert.deepEqual(a!.summary.false_positives, b!.summary.false_positives);
  const rows = ({ sources }: Outcome) =>
    sources.map(({ source, syn, packets, decision }) => [source, syn, packets, decision]);
  assert.deepEqual(rows(a!), rows(b!));
});

Deno.test("a report is the same each time, in whatever order its files are named", async () => {
  const situation = situationOf("fleet");
  const reversed = { ...situation, files: Object.fromEntries(Object.entries(situation.files).reverse()) };
  assert.equal(JSON.stringify(await runSituation(situation)), JSON.stringify(await runSituation(reversed)));
});

Deno.test("every gate passes, fails or is unknown in some situation", async () => {
  const outcomes = new Map<string, Set<string>>();
  for (const situation of SITUATIONS) {
    const { gates }: Summary = JSON.parse(await Deno.readTextFile(expectedPath(situation.name)));
    for (const { id, outcome } of gates) outcomes.set(id, (outcomes.get(id) ?? new Set()).add(outcome));
  }
  const seen = [...outcomes].map(([id, set]) => `${id}: ${[...set].sort().join(" ")}`);
  assert.deepEqual(seen, [
    "observation: pass unknown",
    "coverage: pass unknown",
    "loss: pass unknown",
    "resolution: pass unknown",
    "observable: pass unknown",
    "fp_bound: fail pass unknown",
    "halves: fail pass unknown",
    "mixed: fail pass unknown",
    "effect: fail pass unknown",
    "spoofing: fail pass unknown",
    "lockout: fail pass unknown",
  ]);
  assert.equal(DAY, 24 * HOUR);
});
