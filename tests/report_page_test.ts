/** report.html and report.md: what they show of a summary, without a browser. */
import assert from "node:assert/strict";
import { renderHtml } from "../src/report/html.ts";
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
