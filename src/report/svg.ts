/**
 * SVG as text: elements, text and the axes that several charts have. Colours are classes of report.css, so that one
 * drawing serves light, dark and print. Pure.
 */
import { escapeHtml } from "../escape.ts";

/** Attributes by name; undefined leaves one out, numbers are rounded to a tenth of a pixel. */
export type Attributes = Record<string, string | number | undefined>;

/** An element with its children. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const written = Object.entries(attributes).filter(([, value]) => value !== undefined).map(([key, value]) =>
    ` ${key}="${escapeHtml(typeof value === "number" ? formatPixels(value) : value!)}"`
  );
  return `<${name}${written.join("")}${children.length === 0 ? "/>" : `>${children.join("")}</${name}>`}`;
}

/** A coordinate with at most one decimal. */
export function formatPixels(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** A piece of text at a point, its baseline there. */
export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element("text", { x, y, ...attributes }, escapeHtml(text));
}

/** A rectangle; nothing where it has no size. */
export function box(x: number, y: number, width: number, height: number, attributes: Attributes): string {
  return width > 0 && height > 0 ? element("rect", { x, y, width, height, ...attributes }) : "";
}

/** A horizontal or vertical hairline. */
export function hairline(x1: number, y1: number, x2: number, y2: number, className = "grid"): string {
  return element("line", { x1, y1, x2, y2, class: className });
}

/** Straight lines from point to point; nothing, for fewer than two. */
export function polyline(points: readonly (readonly [x: number, y: number])[], className: string): string {
  if (points.length < 2) return "";
  return element("polyline", { class: className, points: points.map((p) => p.map(formatPixels).join(",")).join(" ") });
}

/** A hatched pattern for time that nobody watched, to fill with `url(#id)`. */
export function hatch(id: string): string {
  const pattern = { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  return element(
    "defs",
    {},
    element("pattern", pattern, box(0, 0, 6, 6, { class: "hatch-ground" }), hairline(0, 0, 0, 6, "hatch-line")),
  );
}

/** What a chart is called and what it shows, for those who don't see it. */
export interface Drawing {
  id: string;
  title: string;
  description: string;
  /** Draws the chart for a width in pixels; `id` is unique in the document. */
  draw(width: number, id: string): { height: number; body: string };
}

/** Widths that charts are drawn for: a page, and a phone. One of them is shown. */
const WIDTHS = { wide: 1040, narrow: 358 } as const;

/** The drawing for both widths. */
export function renderDrawing({ id, title, description, draw }: Drawing): string {
  return Object.entries(WIDTHS).map(([name, width]) => {
    const own = `${id}-${name}`, { height, body } = draw(width, own);
    const attributes = { class: `chart ${name}`, viewBox: `0 0 ${width} ${formatPixels(height)}`, role: "img" };
    return element(
      "svg",
      { ...attributes, "aria-labelledby": `${own}-title ${own}-desc` },
      element("title", { id: `${own}-title` }, escapeHtml(title)),
      element("desc", { id: `${own}-desc` }, escapeHtml(description)),
      body,
    );
  }).join("");
}
