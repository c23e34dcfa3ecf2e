/** Numbers, times and names for people, and text that stays text in HTML, Markdown and SVG. */
import assert from "node:assert/strict";
import { bindNumbers } from "../src/report/html_text.ts";
import { escapeHtml, escapeMarkdown } from "../src/escape.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLimit,
  formatNumberOf,
  formatRange,
  formatRangeOf,
  formatRate,
  formatShare,
  formatSpan,
  formatTime,
  isoTime,
  showName,
} from "../src/words.ts";
import { renderHtml } from "../src/report/html.ts";
import { renderMarkdown } from "../src/report/markdown.ts";
import { formatGateLimit, formatGateValue } from "../src/report/sentences.ts";
import type { Summary } from "../src/report/summary.ts";
import { empty, fleet, hostile, insufficient, notReady, ready } from "./report/fixture.ts";

function check<T>(format: (value: T) => string, cases: readonly (readonly [T, string])[]): void {
  for (const [value, text] of cases) assert.equal(format(value), text, `${format.name}(${value})`);
}

Deno.test("formatCount() groups thousands, and formatNumberOf() counts one and many", () => {
  check(formatCount, [[0, "0"], [999, "999"], [1000, "1,000"], [1234567, "1,234,567"], [
    2 ** 53,
    "9,007,199,254,740,992",
  ]]);
  check(formatCount, [[1234.5, "1,235"], [-1234, "-1,234"], [null, "unknown"], [NaN, "unknown"], [
    Infinity,
    "unknown",
  ]]);
  assert.deepEqual([0, 1, 2, 1000].map((n) => formatNumberOf(n, "source")), [
    "0 sources",
    "1 source",
    "2 sources",
    "1,000 sources",
  ]);
});

Deno.test("formatShare() says 0% and 100% only of nothing and of all", () => {
  check(formatShare, [[0, "0\u00a0%"], [1, "100\u00a0%"], [0.5, "50\u00a0%"], [0.01, "1\u00a0%"], [
    0.1234,
    "12.3\u00a0%",
  ], [0.82, "82\u00a0%"]]);
  check(formatShare, [[0.000001, "<0.001\u00a0%"], [0.9999999, ">99.999\u00a0%"], [0.00031, "0.031\u00a0%"], [
    0.0058,
    "0.58\u00a0%",
  ]]);
  check(formatShare, [[0.99864, "99.9\u00a0%"], [0.99986, "99.99\u00a0%"], [0.999986, "99.999\u00a0%"], [
    0.9994,
    "99.94\u00a0%",
  ], [
    null,
    "unknown",
  ]]);
  for (let i = 1; i < 100000; i += 7) assert.doesNotMatch(formatShare(i / 100000), /^(0|100)(\.0+)?\u00a0%$/, `${i}`);
});

Deno.test("formatBytes() has IEC units, formatDuration() the two largest that matter, formatRate() a slash", () => {
  check(formatBytes, [[0, "0 B"], [1023, "1,023 B"], [1024, "1.00 KiB"], [1536, "1.50 KiB"], [
    2 ** 30 * 12.34,
    "12.3 GiB",
  ]]);
  check(formatBytes, [[2 ** 20 - 1, "1.00 MiB"], [2 ** 40 * 500, "500 TiB"], [2 ** 70, "1024 EiB"], [null, "unknown"]]);
  check(formatDuration, [[0, "0 s"], [0.25, "0.25 s"], [9.98, "9.98 s"], [10, "10 s"], [59.96, "60 s"], [60, "1 min"]]);
  check(formatDuration, [[125, "2 min 5 s"], [3600, "1 h"], [86400 * 7, "7 d"], [86400 + 3 * 3600 + 59, "1 d 3 h"]]);
  check(formatDuration, [[86400 * 1000, "1,000 d"], [-5, "-5 s"], [null, "unknown"], [Infinity, "unknown"]]);
  check(formatRate, [[100, "100/s"], [2.54, "2.5/s"], [0.016, "0.016/s"], [123456, "123,456/s"], [null, "unknown"]]);
});

Deno.test("formatTime() is UTC, whatever the time zone, and knows no time that is none", () => {
  check(formatTime, [[0, "1970-01-01 00:00:00 UTC"], [1_795_253_400.999, "2026-11-21 09:30:00 UTC"], [
    null,
    "unknown",
  ]]);
  check(formatTime, [[-1, "unknown"], [1e300, "unknown"], [253402300799, "9999-12-31 23:59:59 UTC"]]);
  assert.equal(isoTime(1_795_253_400), "2026-11-21T09:30:00Z");
  assert.equal(formatSpan(1_795_253_400, 1_795_257_000), "2026-11-21 09:30 – 10:30 UTC");
  assert.equal(formatSpan(1_795_253_400, 1_795_353_401), "2026-11-21 09:30:00 – 2026-11-22 13:16:41 UTC");
  assert.equal(formatSpan(null, 0), "unknown");
});

Deno.test("formatRange() names a unit once, and one value where both read alike", () => {
  assert.equal(formatRange({ lower: 1000, upper: 2000 }), "1,000–2,000");
  assert.equal(formatRange({ lower: 5, upper: 5 }), "5");
  assert.equal(formatRange({ lower: 0.821, upper: 0.843 }, formatShare), "82.1–84.3\u00a0%");
  assert.equal(formatRange({ lower: 0.821, upper: 0.999999 }, formatShare), "82.1\u00a0%–>99.999\u00a0%");
  assert.equal(formatRange({ lower: 1e9, upper: 2e9 }, formatBytes), "954 MiB–1.86 GiB");
  assert.equal(formatRange({ lower: 2e9, upper: 3e9 }, formatBytes), "1.86–2.79 GiB");
  assert.equal(formatRange({ lower: 125, upper: 305 }, formatDuration), "2 min 5 s–5 min 5 s");
  assert.equal(formatRange({ lower: 0, upper: NaN }), "0–unknown");
  assert.equal(formatRange(null), "unknown");
  assert.deepEqual(
    [[1, 1], [0, 1], [0, 0], [1, 2]].map(([lower, upper]) => formatRangeOf({ lower: lower!, upper: upper! }, "source")),
    ["1 source", "0–1 sources", "0 sources", "1–2 sources"],
  );
  assert.equal(formatRangeOf({ lower: 1, upper: 1 }, "entry", "entries"), "1 entry");
  assert.deepEqual([formatLimit(0.0031), formatLimit(null)], ["≤ 0.31\u00a0%", "unknown"]);
  assert.deepEqual(
    [
      formatGateValue({ value: 0.99, limit: 0.5, unit: "share" }),
      formatGateValue({ value: 604800, limit: 604800, unit: "sec" }),
      formatGateValue({ value: 2, limit: 0, unit: "count" }),
      formatGateValue({ value: null, limit: 0.01, unit: "share" }),
      formatGateValue({ value: "same", limit: 0, unit: "count" }),
      formatGateValue({ value: 0.98995, limit: 0.99, unit: "share" }),
      formatGateLimit({ limit: 0.07, unit: "share" }),
    ],
    ["99\u00a0%", "7 d", "2", "unknown", "same", "98.995\u00a0%", "7\u00a0%"],
  );
});

Deno.test("showName() shows what a name hides, shortens it, and takes no longer for a longer one", () => {
  check(showName, [["edge-1", "edge-1"], ["é 日本 🙂", "é 日本 🙂"], ["a\nb", "a\\u{a}b"], [
    "\u202egnp",
    "\\u{202e}gnp",
  ]]);
  check(showName, [["a\u0000\u001b[31m", "a\\u{0}\\u{1b}[31m"], ["\ud800", "\\u{d800}"], ["\u{e0041}", "\\u{e0041}"], [
    "",
    "",
  ]]);
  assert.equal(showName("x".repeat(120)), "x".repeat(120));
  assert.equal(showName("x".repeat(10_000)), `${"x".repeat(120)}… (10,000 characters)`);
  assert.equal([...showName("🙂".repeat(200))].filter((c) => c === "🙂").length, 120);
  const start = performance.now();
  showName("\u202e".repeat(50_000_000));
  assert.ok(performance.now() - start < 1000);
});

Deno.test("bindNumbers() joins numbers with their units and signs in text, and leaves tags, styles and names alone", () => {
  const said =
    `<p title="5 s">at most 30 s), 2.71 MiB, ≤ 1 %, 7 d on 1 interface, 158 SYN/s, 00:00 UTC, 12 d-sites</p>`;
  const bound =
    `<p title="5 s">at most 30_s), 2.71_MiB, ≤_1_%, 7_d on 1 interface, 158_SYN/s, 00:00_UTC, 12 d-sites</p>`;
  assert.equal(bindNumbers(said), bound.replaceAll("_", "\u00a0"));
  const kept =
    `<style>a { margin: 1 s }</style><script>1 < 2 && 3 % 2</script><span class="mono">10 s</span><svg d="M2 6 h 5">`;
  assert.equal(bindNumbers(kept), kept);
});

Deno.test("escapeHtml() leaves no character that begins markup or ends an attribute", () => {
  assert.equal(escapeHtml(`<a href='x' title="y">&amp;`), "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;amp;");
});

Deno.test("escapeMarkdown() makes text of tables, code, links, HTML, headings, lists, autolinks and mentions", () => {
  check((text: string) => escapeMarkdown(text), [
    ["a|b", "a\\|b"],
    ["`c`", "\\`c\\`"],
    ["[a](b)", "\\[a\\](b)"],
    ["![a](b)", "!\\[a\\](b)"],
    ["<b>&lt;", "&lt;b&gt;&amp;lt;"],
    ["# h", "\\# h"],
    ["- a", "\\- a"],
    ["1. a", "1\\. a"],
    ["192.0.2.1", "192.0.2.1"],
    ["*a* _b_ ~c~", "\\*a\\* \\_b\\_ \\~c\\~"],
    ["http://x www.y.z @me", "http&#58;//x www&#46;y.z &#64;me"],
    ["$x$ \\", "\\$x\\$ \\\\"],
    ["a\r\nb", "a\\\\u{d}\\\\u{a}b"],
  ]);
});

const SITUATIONS = { ready, notReady, insufficient, fleet, empty, hostile };
const HEADINGS = [
  "## 1. Scope & Configuration",
  "## 2. Abuse Pattern Observed",
  "## 3. Counterfactual Enforcement Impact",
  "## 4. Candidate Enforcement Rules",
  "## 5. Readiness Judgment",
];

Deno.test("renderMarkdown() has the five headings of the existing report, and tables whose rows are as wide as their heads", () => {
  for (const [name, make] of Object.entries(SITUATIONS)) {
    const assessment = make(), lines = [...renderMarkdown(assessment)].join("").split("\n");
    assert.equal(lines[0], `# IBSR Report: ${assessment.summary.verdict}`, name);
    assert.deepEqual(lines.filter((line) => line.startsWith("## ")), HEADINGS, name);
    let width = 0;
    for (const line of lines) {
      const cells = line.startsWith("|") ? line.replaceAll(/\\./g, "").split("|").length : 0;
      if (cells > 0 && width > 0) assert.equal(cells, width, `${name}: ${line}`);
      width = cells;
      assert.doesNotMatch(line, /[<>]/, name);
      assert.ok(line.length < 6000, `${name}: ${line.length}`);
    }
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(lines.join(""), /[\u0000-\u001f\u202a-\u202e\u2066-\u2069]/, name);
    assert.doesNotMatch(lines.join("\n"), /undefined|NaN|Infinity|\[object/, name);
  }
});

Deno.test("renderHtml() is the same twice, balanced, without a style attribute or an address to load, and not too long", () => {
  for (const [name, make] of Object.entries(SITUATIONS)) {
    const page = [...renderHtml(make())].join("");
    assert.equal([...renderHtml(make())].join(""), page, name);
    assert.ok(page.startsWith("<!doctype html>\n"), name);
    assert.ok(page.length < 400_000, `${name}: ${page.length}`);
    const markup = page.replace(/<script>[^]*?<\/script>|<style>[^]*?<\/style>/g, "");
    assert.doesNotMatch(markup, /undefined|NaN|Infinity|\[object/, name);
    assert.doesNotMatch(markup, /<[^>]* (style|src|href|on\w+)=/, name);
    const open: string[] = [];
    for (const [, end, tag, rest] of markup.matchAll(/<(\/?)([a-z][\w]*)([^>]*)>/g)) {
      if (end) assert.equal(open.pop(), tag, name);
      else if (!rest!.endsWith("/") && !["meta", "input"].includes(tag!)) open.push(tag!);
    }
    assert.deepEqual(open, [], name);
  }
});

Deno.test("renderHtml() shows each number of the first screen with its bounds", () => {
  const text = [...renderHtml(notReady())].join("");
  for (
    const [title, number] of [["What would be blocked", "82.3–94.5\u00a0%"], [
      "Who would be harmed",
      "≤\u00a01.1\u00a0%",
    ], [
      "What was not seen",
      "3.6\u00a0%",
    ]]
  ) {
    assert.match(text, new RegExp(`<h2>${title}</h2>\\s*<p class="big">${number}</p>`));
  }
  assert.match([...renderHtml(empty())].join(""), /<p class="big">unknown<\/p>/);
});

Deno.test("renderHtml() and renderMarkdown() draw and write nothing that is no number, whatever is zero, one or unknown", () => {
  const changes: ((summary: Summary) => void)[] = [
    ({ sweep }) => sweep!.fp_limit = 0,
    ({ sweep }) => [...sweep!.points, sweep!.default].forEach((point) => point.upper = null),
    ({ sweep }) => [...sweep!.points, sweep!.default].forEach((point) => point.upper = 0),
    ({ sweep }) => Object.assign(sweep!, { fp_limit: 1, points: [], recommended: null }),
    ({ sweep }) => sweep!.points = [sweep!.default],
    ({ sweep }) => sweep!.points.forEach((point) => point.syn_rate = 100),
    (summary) => summary.timeline = summary.timeline.slice(0, 1),
    (summary) => summary.timeline.forEach((point) => Object.assign(point, { syn: 0, coverage: 0 })),
    (summary) => summary.timeline.forEach((point) => point.to_unix_sec = point.from_unix_sec),
    ({ evidence }) => evidence.end_unix_sec = evidence.start_unix_sec,
    ({ evidence }) => evidence.end_unix_sec += 1e11,
    ({ evidence }) => evidence.streams = [],
    ({ evidence }) => evidence.streams = Array.from({ length: 300 }, () => evidence.streams[0]!),
    ({ top_sources }) => top_sources.forEach((row) => Object.assign(row, { syn: 0, handshake_ratio: null })),
    ({ top_sources }) => top_sources.forEach((row) => row.would_block.syn.lower = row.would_block.syn.upper = 0),
    ({ false_positives }) => Object.assign(false_positives, { upper: null, point: null, legitimate: 0 }),
    ({ false_positives }) => false_positives.upper = 0,
    ({ handshake_ratio }) => handshake_ratio.bins.forEach((bin) => Object.assign(bin, { all: 0, would_block: 0 })),
    ({ limits }) => limits.not_counted = null,
    ({ time_to_block }) => time_to_block.median_sec = time_to_block.max_sec = null,
  ];
  for (const [i, change] of changes.entries()) {
    const assessment = notReady();
    change(assessment.summary);
    for (const render of [renderHtml, renderMarkdown]) {
      const text = [...render(assessment)].join("").replace(/<script>[^]*?<\/script>/, "");
      assert.doesNotMatch(text, /NaN|Infinity|undefined/, `${i} ${render.name}`);
    }
  }
});

Deno.test("renderHtml() and renderMarkdown() stay short, however many days, rules, findings and streams there are", () => {
  const assessment = notReady(), { summary } = assessment;
  const many = <T>(list: T[]) => Array.from({ length: 20_000 }, (_, i) => list[i % list.length]!);
  summary.days = many(summary.days);
  summary.rules = many(summary.rules);
  summary.policy.findings = many(summary.policy.findings);
  summary.shared_addresses = many(summary.shared_addresses);
  summary.hosts = many(fleet().summary.hosts);
  summary.spoofing.episodes = many(insufficient().summary.spoofing.episodes);
  summary.evidence.streams = many(summary.evidence.streams);
  const page = [...renderHtml(assessment)].join("");
  assert.ok(page.length < 3_000_000, `${page.length}`);
  assert.match(page, /and 19,500 more in summary\.json/);
  assert.ok([...renderMarkdown(assessment)].join("").length < 100_000);
});

Deno.test("renderMarkdown() and renderHtml() give triggers from those that are certain to all that may be", () => {
  for (const render of [renderMarkdown, renderHtml]) {
    const text = [...render(notReady())].join("");
    assert.match(text, /412–431/);
    assert.match(text, /96–101/);
  }
});

Deno.test("Both reports say that days are left out, where they are", () => {
  const made = ready(), left = /Days that nobody watched are left out/;
  for (const render of [renderHtml, renderMarkdown]) assert.doesNotMatch([...render(made)].join(""), left);
  made.summary.days.splice(2, 3);
  for (const render of [renderHtml, renderMarkdown]) assert.match([...render(made)].join(""), left);
});
