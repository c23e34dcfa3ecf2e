/**
 * report.html: one file that needs nothing else. It is read without a script and without a network, and its charts are
 * SVG. A script of a few lines makes the source table sortable. The first screen answers; the sections say why, in the
 * order: what we saw, what would have happened, who would have been harmed, what we could not see, therefore.
 */
import script from "./page.js" with { type: "text" };
import { drawBounds } from "./charts.ts";
import { capitalize, formatNumberOf, formatSpan, formatTime } from "../words.ts";
import { bindNumbers, type Html, markup, name, renderOutcome, trusted, verdictClass } from "./html_text.ts";
import { renderImpact, renderSeen } from "./html_evidence.ts";
import { renderHarm, renderTherefore, renderUnseen } from "./html_judgment.ts";
import { renderHead } from "./page.ts";
import {
  blockedHeadline,
  formatGateLimit,
  formatGateValue,
  harmHeadline,
  type Headline,
  listDecisive,
  outcomeOf,
  OUTCOMES,
  unseenHeadline,
} from "./sentences.ts";
import type { Assessment, Gate, Summary } from "./summary.ts";

/**
 * report.html, in pieces: joined they are a page that needs nothing else.
 *
 * @param assessment Only its summary and its rules are read; the most blocked sources are in the summary.
 */
export function* renderHtml(assessment: Assessment): Generator<string> {
  for (const piece of renderPieces(assessment)) yield bindNumbers(piece);
}

function* renderPieces({ summary, rules }: Assessment): Generator<string> {
  const title = `${summary.verdict} · IBSR report · ${
    formatSpan(summary.evidence.start_unix_sec, summary.evidence.end_unix_sec)
  }`;
  yield renderHead(title, script).html;
  yield renderFirstScreen(summary).html;
  yield "<main>\n";
  yield renderSeen(summary).html;
  yield renderImpact(summary).html;
  yield renderHarm(summary).html;
  yield renderUnseen(summary).html;
  yield renderTherefore(summary, rules).html;
  yield "</main>\n";
  yield renderFooter(summary).html;
  yield markup`<script>${trusted(script)}</script>
</body>
</html>
`.html;
}

function renderFirstScreen(summary: Summary): Html {
  const { evidence, verdict, verdict_reason, policy, false_positives, gates } = summary;
  const [first] = evidence.streams, more = evidence.streams.length - 1;
  const stream = first ? markup`${name(first.hostname)} ${name(first.iface)}` : "no stream";
  const profile = policy.profile === undefined ? undefined : markup`, ${name(policy.profile)}`;
  const limit = limitOf(gates, "fp_bound"), upper = false_positives.upper ?? 0, unseen = 1 - evidence.coverage;
  const harm = {
    lower: false_positives.point ?? 0,
    upper,
    most: Math.max(upper, limit ?? 0) * 1.25 || 1,
    kind: "harm",
  };
  const pictures = [
    drawBounds({ ...summary.impact.share.syn, most: 1, kind: "would" }),
    drawBounds(limit === undefined ? harm : { ...harm, limit }),
    drawBounds({ lower: unseen, upper: unseen, most: 1, kind: "unseen" }),
  ] as const;
  return markup`<header>
<div class="about"><span><b>IBSR report</b> · what blocking would have done; nothing was blocked</span>
<span>${stream}${more > 0 && ` and ${more} more`} · ${
    formatSpan(evidence.start_unix_sec, evidence.end_unix_sec)
  }</span></div>
<div class="verdict">
<h1 class="${verdictClass(verdict)}"><small>Verdict on policy ${name(policy.engine)}${profile}</small>${verdict}</h1>
<p>${verdict_reason}</p>
${
    listDecisive(summary).map((warning) =>
      markup`<p class="warning">${warning}</p>
`
    )
  }</div>
<div class="three">
${renderHeadline(blockedHeadline(summary), pictures[0])}
${renderHeadline(harmHeadline(summary), pictures[1])}
${renderHeadline(unseenHeadline(summary), pictures[2])}
</div>
<ul class="gates" aria-label="Gates">
${gates.map(renderGate)}</ul>
</header>
`;
}

/** The number that a gate holds against; undefined if it has none. */
function limitOf(gates: readonly Gate[], id: string): number | undefined {
  const limit = gates.find((gate) => gate.id === id)?.limit;
  return typeof limit === "number" ? limit : undefined;
}

function renderHeadline({ title, big, of, basis }: Headline, picture: string): Html {
  return markup`<section>
<h2>${title}</h2>
<p class="big">${big}</p>
<p class="of">${of}</p>
${trusted(picture)}
${basis.map((line) => markup`<p>${line}</p>\n`)}</section>`;
}

function renderGate(gate: Gate): Html {
  const outcome = outcomeOf(gate),
    { title } = gate,
    asked = gate.outcome === "pass" ? "" : `, limit ${formatGateLimit(gate)}`;
  return markup`<li class="${outcome}">${renderOutcome(outcome)}<span>${capitalize(title)}</span><span>${
    formatGateValue(gate)
  }${asked}${outcome === "part" && ` (${OUTCOMES.part})`}</span></li>
`;
}

function renderFooter({ ibsr_version, generated_at_unix_sec, policy, evidence, options }: Summary): Html {
  const settings = Object.entries(options).map(([key, value]) =>
    markup`<dt>${name(key)}</dt><dd>${name(Array.isArray(value) ? value.join(", ") : String(value))}</dd>
`
  );
  const profile = policy.profile === undefined ? undefined : markup` ${name(policy.profile)}`;
  const sha256 = policy.sha256 === undefined ? undefined : markup`, SHA-256 ${name(policy.sha256)}`;
  return markup`<footer>
<p>Made by ibsr ${ibsr_version}, as of ${formatTime(generated_at_unix_sec)}, from ${
    formatNumberOf(evidence.files, "file")
  } of ${
    formatNumberOf(evidence.lines, "snapshot")
  }. Beside this page: summary.json with every number here, evidence.csv
with every source, would_block.jsonl with every decision, rules.json with the candidate rules, report.md with this in
short, and manifest.json with the checksums of all of them and of what was read.</p>
<details><summary>Options and policy</summary>
<dl>
<dt>policy</dt><dd>${name(policy.engine)}${profile}${sha256}</dd>
${settings}</dl></details>
</footer>
`;
}
