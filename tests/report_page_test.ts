/** report.html and report.md: what they show of a summary, without a browser. */
import assert from "node:assert/strict";
import { upperLimit } from "../src/report/bound.ts";
import { renderHtml } from "../src/report/html.ts";
import { renderMarkdown } from "../src/report/markdown.ts";
import { describeAnswer } from "../src/report/screen.ts";
import type { Assessment, Summary } from "../src/report/summary.ts";
import { ready } from "./report/fixture.ts";

/** A report with some of its summary changed. */
function changed(assessment: Assessment, summary: Partial<Summary>): Assessment {
  return { ...assessment, summary: { ...assessment.summary, ...summary } };
}

function page(assessment: Assessment): string {
  return [...renderHtml(assessment)].join("");
}

Deno.test("renderHtml() draws the harm's bar and its limit the same with and without a threshold sweep", () => {
  const bar = (html: string) => /Who would be harmed<\/h2>[^]*?(<svg class="bounds"[^]*?<\/svg>)/.exec(html)![1]!;
  const report = ready(), own = bar(page(report)), simulated = bar(page(changed(report, { sweep: null })));
  assert.match(own, /limit-mark/);
  assert.equal(simulated, own);
});

Deno.test("reports show what changes the meaning of a verdict beside it, on the page, in Markdown and on the screen", () => {
  const report = ready(), message = "as shipped nothing would be blocked";
  const findings = [{ severity: "warning", code: "as_shipped", message, decisive: true }] as const;
  const warned = changed(report, { policy: { ...report.summary.policy, findings: [...findings] } });
  assert.match(page(warned).split("<main>")[0]!, /<p class="warning">Warning: as shipped nothing would be blocked\./);
  assert.match([...renderMarkdown(warned)].join("").split("\n## ")[0]!, /\*\*Warning: as shipped nothing would be/);
  assert.match(
    describeAnswer({ ...warned.summary, gates: [] }),
    /^READY\n.*\nWarning: as shipped nothing would be blocked\.\n\n/,
  );
  const other = changed(report, {
    policy: { ...report.summary.policy, findings: [{ ...findings[0], decisive: undefined }] as never },
  });
  assert.doesNotMatch(page(other).split("<main>")[0]!, /as shipped/);
});

/** `hit` of so many likely-legitimate sources, all of one network. */
function bounded(report: Assessment, hit: number, legitimate: number): Assessment {
  const upper = upperLimit(hit, legitimate), network = { legitimate: Math.min(1, legitimate), hit: Math.min(1, hit) };
  const by_network = { ...network, upper: upperLimit(network.hit, network.legitimate) };
  const fp = { ...report.summary.false_positives, legitimate, hit, point: legitimate > 0 ? hit / legitimate : null };
  const harm = { ...fp.harm, sources: hit };
  return changed(report, { false_positives: { ...fp, harm, upper: upper && by_network.upper, by_network }, gates: [] });
}

Deno.test("a report doesn't reassure where nobody looks legitimate, nor shows a limit that says nothing", () => {
  const texts = (report: Assessment) => [
    page(report).split("<main>")[0]!,
    [...renderMarkdown(report)].join("").split("\n## ")[0]!,
    describeAnswer(report.summary),
  ];
  for (const text of texts(bounded(ready(), 0, 0))) {
    assert.match(text, /unknown/);
    assert.doesNotMatch(text, /No connection of/);
  }
  const [html, markdown, screen] = texts(bounded(ready(), 0, 6)) as [string, string, string];
  for (const text of [html, markdown, screen]) assert.match(text, /0 of 6 likely-legitimate sources in 1 network/);
  assert.match(html, /<p class="big">not bounded yet<\/p>/);
  assert.match(markdown, /\*\*not bounded yet\*\*/);
  assert.match(screen, /Would harm {6}not bounded yet: 0 of 6/);
  assert.doesNotMatch(html + markdown + screen, /at most 95|≤ 95/);
});

Deno.test("a rule that never triggered is said to be so, and has no verdict in red", () => {
  const report = ready(), [rule] = report.summary.rules, none = { certain: 0, possible: 0 };
  const idle = { ...rule!, title: "an idle rule", verdict: "NOT READY", decisions: none, sources: none } as const;
  const html = page(changed(report, { rules: [idle] }));
  assert.match(html, /Verdict by rule[^]*an idle rule[^]*?<td class="keep">not triggered<\/td><td><\/td>/);
  assert.match([...renderMarkdown(changed(report, { rules: [idle] }))].join(""), /\| an idle rule \| not triggered \|/);
  assert.doesNotMatch(
    [...renderMarkdown(changed(report, { rules: [{ ...idle, sources: { certain: 0, possible: 1 } }] }))]
      .join(""),
    /not triggered/,
  );
  // What counters can't show may have triggered.
  const unseen = page(changed(report, { rules: [{ ...idle, coverage: "not observable" }] }));
  assert.doesNotMatch(unseen, /not triggered/);
});
