/** report.html and report.md: what they show of a summary, without a browser. */
import assert from "node:assert/strict";
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
