/** Policies side by side: the bounds of what they agree on, changes of a file, and the texts made of it. */
import assert from "node:assert/strict";
import { createPrefixSet } from "../src/allowlist.ts";
import { loadIronpost } from "../src/policy/ironpost/engine.ts";
import type { LoadTimes } from "../src/policy/ironpost/program.ts";
import type { Policy } from "../src/policy/policy.ts";
import { assess, type AssessedEvidence } from "../src/report/assess.ts";
import { addAgreement, type Agreement, compare, type Compared } from "../src/report/compare.ts";
import { renderComparisonHtml, renderComparisonMarkdown } from "../src/report/comparison_text.ts";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { createRandom } from "./packets.ts";
import { makeInterval, makeSources, type Row } from "./streams.ts";

/** A blocklist of these addresses, in force for some time or always. */
function blocklist(addresses: readonly string[], load: Partial<LoadTimes> = {}): Policy {
  const text = addresses.map((address, i) =>
    `[[rules]]\nid = "r${i}"\nsrc_ip = "${address}"\naction = "block"\ndescription = "d"\n`
  ).join("");
  return loadIronpost([{ path: "rules.toml", text: text || "rules = []\n" }], { load });
}

/** Evidence of one stream: rows by interval of ten seconds. */
function evidenceOf(rows: readonly (readonly Row[])[], hostname = "h"): AssessedEvidence {
  const sources = makeSources();
  const intervals = rows.map((rows, i) =>
    makeInterval(sources, { beginMs: 10_000 * i, endMs: 10_000 * (i + 1), rows, ports: [22, 443] })
  );
  return {
    sources,
    streams: [{ name: { hostname, iface: "eth0" }, spans: intervals, intervals: () => intervals }],
    files: [],
    ...{ lines: intervals.length, badLines: [], badLineCount: 0, duplicates: 0, versions: [8], findings: [] },
    range: { beginMs: 0, endMs: 10_000 * rows.length },
  };
}

async function compareAll(evidence: AssessedEvidence, policies: Record<string, Policy>) {
  const compared: Compared[] = [];
  for (const [i, [name, policy]] of Object.entries(policies).entries()) {
    const assessment = await assess(evidence, policy, {
      ibsrVersion: "test",
      options: {},
      limits: DEFAULT_LIMITS,
      allowlist: createPrefixSet([]),
      selfAddresses: createPrefixSet([]),
      floodRate: 100,
    });
    compared.push({ name, directory: `${i + 1}-x`, policy, assessment });
  }
  return compare(evidence, compared);
}

const ROWS: Row[][] = Array.from({ length: 6 }, () => [
  { source: "192.0.2.1", port: 22, syn: 10 },
  { source: "192.0.2.2", port: 22, syn: 20 },
  { source: "192.0.2.2", port: 443, syn: 5 },
  { source: "192.0.2.3", port: 443, syn: 1, handshake_ack: 1, data: 8 },
]);

Deno.test("compare() of two versions of a file says exactly what is newly blocked and what no longer", async () => {
  const comparison = await compareAll(evidenceOf(ROWS), {
    old: blocklist(["192.0.2.1", "192.0.2.2"]),
    new: blocklist(["192.0.2.2", "192.0.2.3"]),
  });
  const [pair] = comparison.pairs, both = (n: number) => ({ lower: n, upper: n });
  assert.deepEqual(pair!.packets, { both: both(150), only_first: both(60), only_second: both(60) });
  assert.deepEqual(pair!.syn, { both: both(150), only_first: both(60), only_second: both(6) });
  assert.deepEqual(pair!.sources, { both: 1, only_first: 1, only_second: 1, undecided: 0 });
  assert.deepEqual(pair!.earlier, { first: 0, second: 0, same: 1 });
  assert.deepEqual(pair!.newly_blocked.map((s) => [s.source, s.packets.lower]), [["192.0.2.3", 60]]);
  assert.deepEqual(pair!.no_longer_blocked.map((s) => [s.source, s.first_blocked_unix_sec]), [["192.0.2.1", 10]]);
  assert.deepEqual(comparison.policies.map((p) => p.impact.packets.lower), [210, 210]);
  assert.deepEqual(comparison.policies.map((p) => p.sources.certain), [2, 2]);
});

Deno.test("compare() of a policy with itself finds no difference", async () => {
  const policy = blocklist(["192.0.2.1", "192.0.2.2"]);
  const [pair] = (await compareAll(evidenceOf(ROWS), { a: policy, b: policy })).pairs;
  assert.deepEqual(pair!.packets.only_first, { lower: 0, upper: 0 });
  assert.deepEqual(pair!.packets.only_second, { lower: 0, upper: 0 });
  assert.deepEqual([pair!.newly_blocked, pair!.no_longer_blocked, pair!.sources.undecided], [[], [], 0]);
});

Deno.test("compare() sees who begins earlier, and leaves undecided what bounds leave open", async () => {
  const early = blocklist(["192.0.2.1"]), late = blocklist(["192.0.2.1"], { fromMs: 25_000 });
  const ending = blocklist(["192.0.2.1"], { fromMs: 55_000 });
  const { pairs } = await compareAll(evidenceOf(ROWS), { early, late, ending });
  assert.deepEqual(pairs[0]!.earlier, { first: 1, second: 0, same: 0 });
  assert.deepEqual(pairs[0]!.packets.both, { lower: 30, upper: 40 });
  assert.deepEqual(pairs[0]!.packets.only_first, { lower: 20, upper: 30 });
  assert.deepEqual(pairs.map((p) => [p.first, p.second]), [["early", "late"], ["early", "ending"], ["late", "ending"]]);
  assert.deepEqual(pairs[1]!.sources, { both: 0, only_first: 0, only_second: 0, undecided: 1 });
});

Deno.test("addAgreement()'s bounds hold what two policies drop together and alone, whichever packets they choose", () => {
  for (let seed = 1; seed <= 5_000; seed++) {
    const random = createRandom(seed), count = 1 + random.below(12);
    const dropped = () => Array.from({ length: count }, () => random.oneIn(2));
    const first = dropped(), second = dropped();
    const bound = (list: boolean[]) => {
      const exact = list.filter(Boolean).length;
      return { lower: random.below(exact + 1), upper: exact + random.below(count - exact + 1) };
    };
    const none = () => ({ lower: 0, upper: 0 });
    const agreement: Agreement = { both: none(), only_first: none(), only_second: none() };
    addAgreement(agreement, bound(first), bound(second), count);
    const exact = {
      both: first.filter((drop, i) => drop && second[i]).length,
      only_first: first.filter((drop, i) => drop && !second[i]).length,
      only_second: second.filter((drop, i) => drop && !first[i]).length,
    };
    for (const key of ["both", "only_first", "only_second"] as const) {
      assert.ok(agreement[key].lower <= exact[key] && exact[key] <= agreement[key].upper, `seed ${seed}: ${key}`);
    }
  }
});

Deno.test("a comparison's texts hold every policy and pair, and foreign names in them stay text", async () => {
  const evil = `<script>alert(1)</script>|*x*[a](http://e)`;
  const evidence = evidenceOf(ROWS, evil);
  const comparison = await compareAll(evidence, {
    [evil]: blocklist(["192.0.2.1"]),
    b: blocklist(["192.0.2.2"]),
    c: blocklist([]),
  });
  const html = [...renderComparisonHtml(comparison)].join(""),
    markdown = [...renderComparisonMarkdown(comparison)].join("");
  assert.ok(!html.includes("<script"), "a script in the page");
  assert.ok(html.includes("&lt;script&gt;"));
  assert.ok(!markdown.includes("<script"), "a script in the Markdown");
  assert.ok(!/(?<!\\)\]\(/.test(markdown), "a link in the Markdown");
  for (const text of [html, markdown]) {
    assert.ok(text.includes("Only the first would block: no longer blocked"));
    assert.match(
      text,
      /Both certainly would block 0 sources, only the first 1, only the second 1; 0 can&?(?:#39;|')t be decided/,
    );
  }
  assert.equal(comparison.pairs.length, 3);
  assert.deepEqual(JSON.parse(JSON.stringify(comparison)), comparison);
});
