/**
 * Text for where it goes: HTML, Markdown, CSV. Pure.
 *
 * Each function takes any text and gives one that is only text there: sentences and names alike may come from a
 * snapshot or a policy file.
 */
import { showText } from "./words.ts";

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text for HTML, between tags and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (c) => ENTITIES[c]!);
}

/**
 * A foreign name or sentence for Markdown (CommonMark and GitHub's), at most `most` characters of it: in running text,
 * in lists and in table cells. HTML, links, emphasis, code, headings, lists, autolinks and mentions all become text.
 */
export function escapeMarkdown(text: string, most?: number): string {
  return showText(text, most)
    .replaceAll(/[\\`*_[\]#|~<>&$]/g, (c) => c === "<" || c === ">" || c === "&" ? ENTITIES[c]! : `\\${c}`)
    .replaceAll("@", "&#64;")
    .replaceAll(/:(?=\/\/)/g, "&#58;")
    .replaceAll(/\bwww\./gi, (www) => `${www.slice(0, -1)}&#46;`)
    // At the start of a line: lists, underlines of headings, rules.
    .replace(/^(\s*)([-+=])/, "$1\\$2")
    .replace(/^(\s*\d+)([.)])(?=\s|$)/, "$1\\$2");
}

/**
 * A cell of CSV (RFC 4180). A text that a spreadsheet would take for a formula has an apostrophe put before it, which
 * spreadsheets hide. Numbers are as they are.
 */
export function escapeCsv(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  if (!/[",\r\n\t'=+\-@＝＋－＠]/.test(value)) return value; // nearly all
  const text = /^[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
  return /[",\r\n\t']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
