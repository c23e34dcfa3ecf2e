/**
 * HTML as text in which foreign text can't become markup: what is put into a template is escaped, unless it is HTML
 * already. Pure.
 */
import { escapeHtml } from "../escape.ts";
import { formatCount, showName, showText } from "../words.ts";
import { OUTCOMES, type ShownOutcome } from "./sentences.ts";
import { type Drawing, renderDrawing } from "./svg.ts";
import type { Verdict } from "../rules/ruleset.ts";

/** Markup that a template made. */
export interface Html {
  readonly html: string;
}

type Part = string | number | Html | readonly Html[] | undefined | false;

/** A template: texts and numbers in it are escaped, HTML is taken as it is, undefined and false are nothing. */
export function markup(fixed: TemplateStringsArray, ...parts: Part[]): Html {
  return { html: fixed.map((text, i) => text + (i < parts.length ? render(parts[i]) : "")).join("") };
}

function render(part: Part): string {
  if (part === undefined || part === false) return "";
  if (typeof part === "object") return "html" in part ? part.html : part.map(({ html }) => html).join("");
  return escapeHtml(showText(String(part)));
}

// Style, script and foreign names stay as they are, and so do tags; all else is text, in which "<" is an entity.
const PIECES = /<(style|script)>.*?<\/\1>|<span class="mono">[^<]*<\/span>|<[^>]*>|[^<]+/gs;
const UNITS = /(?<=\d) (?=(?:%|d|h|min|s|ms|µs|ns|[KMGTPE]iB|B|KB|MB|GB|SYN|UTC)(?![\w-]))|(?<=[≤≥]) (?=\d)/g;

/** A page, or a piece of one, whose lines break neither between a number and its unit nor between a sign and its number. */
export function bindNumbers(html: string): string {
  return html.replaceAll(PIECES, (piece) => piece.startsWith("<") ? piece : piece.replaceAll(UNITS, "\u00a0"));
}

/** Markup made elsewhere: SVG of charts, the style and the script of the page. */
export function trusted(html: string): Html {
  return { html };
}

/** A foreign name, shortened, in the font of addresses. */
export function name(text: string): Html {
  return { html: `<span class="mono">${escapeHtml(showName(text))}</span>` };
}

/** Rows of a table at most: a policy may have thousands of rules. */
const MOST_ROWS = 500;

/** A column of a table. */
export interface Column<Row> {
  head: string | Html;
  cell: (row: Row) => Part;
  /** Numbers: to the right. */
  right?: true;
  /** Not broken into lines. */
  keep?: true;
  /** What the page's script sorts by; left out, the cell's text. */
  sort?: (row: Row) => number;
}

/**
 * A table below its heading, in a box that scrolls where it is too wide; the first column names the row. Nothing,
 * without rows.
 */
export function renderTable<Row>(
  { caption, note, rows, columns, id }: {
    caption: string;
    note?: string;
    rows: readonly Row[];
    columns: readonly Column<Row>[];
    id?: string;
  },
): Html {
  if (rows.length === 0) return markup``;
  const more = rows.length - MOST_ROWS;
  const classes = ({ right, keep }: Column<Row>) => right ? ` class="r"` : keep ? ` class="keep"` : "";
  const head = columns.map((column) => markup`<th scope="col"${trusted(classes(column))}>${column.head}</th>`);
  const body = rows.slice(0, MOST_ROWS).map((row) => {
    const cells = columns.map((column, i) => {
      const sort = column.sort ? markup` data-v="${column.sort(row)}"` : undefined;
      return i === 0
        ? markup`<th scope="row"${trusted(classes(column))}${sort}>${column.cell(row)}</th>`
        : markup`<td${trusted(classes(column))}${sort}>${column.cell(row)}</td>`;
    });
    return markup`<tr>${cells}</tr>\n`;
  });
  return markup`<h3>${caption}</h3>${note && markup`<p>${note}</p>`}
<div class="table"${id && markup` id="${id}"`} role="region" tabindex="0" aria-label="${caption}">
<table><caption class="unseen-words">${caption}</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${body}</tbody></table></div>
${more > 0 && markup`<p class="note">and ${formatCount(more)} more in summary.json</p>`}`;
}

const MARKS: Record<ShownOutcome, string> = {
  pass: "M2 6.5 5 9.5 10 3",
  part: "M2 7.5C3.5 4 5 4 6 6S8.5 8 10 4.5",
  fail: "M3 3 9 9M9 3 3 9",
  unknown: "M2 6H10",
};

/** A gate's mark: a shape and a word, so that no one needs the colour. */
export function renderOutcome(outcome: ShownOutcome): Html {
  return trusted(
    `<svg class="outcome" viewBox="0 0 12 12" aria-hidden="true"><path d="${
      MARKS[outcome]
    }"/></svg><span class="unseen-words">${OUTCOMES[outcome]}</span>`,
  );
}

/** The class of a verdict, for its colour. */
export function verdictClass(verdict: Verdict): string {
  return verdict.toLowerCase().replaceAll(" ", "-");
}

/** What a mark of a chart means. */
export type LegendMark = "all" | "would" | "may" | "gap" | "harm";
const LEGEND: Record<LegendMark, string> = {
  all: `<rect width="12" height="12" class="all"/>`,
  would: `<rect width="12" height="12" class="would"/>`,
  may: `<rect width="12" height="12" class="may"/>`,
  harm: `<path d="M0 6H12" class="curve main harm"/>`,
  gap: `<g class="hatch"><path d="M-2 6 6-2M-2 14 14-2M6 14 14 6" class="hatch-line"/></g>`,
};

/** A chart with its title, legend and a note. */
export function renderFigure(drawing: Drawing, legend: [LegendMark, string][], note?: string): Html {
  const marks = legend.map(([mark, words]) =>
    markup`<span class="legend"><svg viewBox="0 0 12 12" aria-hidden="true">${
      trusted(LEGEND[mark])
    }</svg>${words}</span>
`
  );
  return markup`<figure>
<figcaption><b>${drawing.title}</b>
${marks}</figcaption>
${trusted(renderDrawing(drawing))}${note && markup`<p class="note">${note}</p>`}
</figure>
`;
}

/** A section of the page: its heading, the sentence that answers, and what that rests on. */
export function renderSection(id: string, title: string, lead: string, ...parts: Html[]): Html {
  return markup`<section id="${id}">
<h2>${title}</h2>
<p class="lead">${lead}</p>
${parts}</section>
`;
}

/** Folded away until asked for; on paper too, if it is long. */
export function fold(words: string, content: Html, long = false): Html {
  if (content.html === "") return content;
  return markup`<details${long && markup` class="long"`}><summary>${words}</summary>${content}</details>
`;
}
