/**
 * Reads the values of a policy's document, and collects everything that is wrong instead of stopping at the first. Pure.
 *
 * A field is a value that may be absent, with the path it has in the document: `ips.rules[0].dst_port`. Each `as…`
 * gives the value, or undefined with a finding; an absent field is undefined without one, unless it is required. A
 * message begins with the path, so that it is clear also where a line number is not.
 */
import { nearest } from "../errors.ts";
import type { Document, Tree } from "./document.ts";
import type { Finding } from "./policy.ts";

/** Findings of one load that are kept; a file with more is broken enough. */
const MAX_FINDINGS = 1_000;

/** What reading leaves behind. */
export interface Notes {
  path: string;
  findings: Finding[];
}

/** A value on its way to be read; `tree` is undefined where it is absent. */
export interface Field {
  /** Path in the document; "" at the top. */
  path: string;
  tree: Tree | undefined;
  /** Where to point at: the value, or the nearest thing around an absent one. */
  line: number;
  column: number;
  notes: Notes;
}

/** The whole document as a field; `findings` grows with what reading finds. */
export function openField(document: Document, findings: Finding[]): Field {
  const { root } = document;
  return {
    path: "",
    tree: root,
    line: root?.line ?? 1,
    column: root?.column ?? 1,
    notes: { path: document.path, findings },
  };
}

/** Adds a finding about a field. `message` follows the field's path and a colon. */
export function note(field: Field, severity: Finding["severity"], code: string, message: string, rule?: string): void {
  const { findings, path } = field.notes;
  if (findings.length >= MAX_FINDINGS) return;
  if (findings.length === MAX_FINDINGS - 1) {
    findings.push({
      severity: "error",
      code: "too_many",
      message: `more than ${MAX_FINDINGS} findings: the rest is left out`,
    });
    return;
  }
  findings.push({
    severity,
    code,
    message: field.path === "" ? message : `${field.path}: ${message}`,
    place: { path, line: field.line, column: field.column },
    ...(rule === undefined ? {} : { rule }),
  });
}

/** What a value is, for messages. */
function describe(tree: Tree | undefined): string {
  if (!tree) return "nothing";
  if (tree.kind !== "scalar") return `a ${tree.kind}`;
  if (tree.value === null) return "null";
  if (typeof tree.value === "string") {
    return JSON.stringify(tree.value.length > 60 ? `${tree.value.slice(0, 60)}…` : tree.value);
  }
  return Number.isInteger(tree.value) ? (tree.value as number).toFixed(1) : String(tree.value);
}

function wrongType(field: Field, expected: string): undefined {
  note(field, "error", "type", `expected ${expected}, found ${describe(field.tree)}`);
}

/** Whether the file says something here; `key:` without a value is null and counts as absent. */
export function isPresent(field: Field): boolean {
  return field.tree !== undefined && !(field.tree.kind === "scalar" && field.tree.value === null);
}

/** Notes that a field which must be there is not; true if it is there. */
export function require(field: Field): boolean {
  if (isPresent(field)) return true;
  note(field, "error", "missing", "missing");
  return false;
}

// -------------------------------------------------------------------------------------------------- parts

/** The value under a key of a mapping. Anything but a mapping has none: `asMapping` says so once. */
export function member(field: Field, key: string): Field {
  const path = field.path === "" ? key : `${field.path}.${key}`;
  const found = field.tree?.kind === "mapping" ? field.tree.members.get(key) : undefined;
  if (!found) return { path, tree: undefined, line: field.line, column: field.column, notes: field.notes };
  // An empty value has no place of its own: its key's is the nearest.
  const { line, column } = found.value.kind === "scalar" ? found.value : found;
  return { path, tree: found.value, line, column, notes: field.notes };
}

/** The members of a mapping; empty if absent, with a finding if it is something else. */
export function asMembers(field: Field): [key: string, value: Field][] {
  if (!isPresent(field)) return [];
  if (field.tree?.kind !== "mapping") {
    wrongType(field, "a mapping");
    return [];
  }
  return [...field.tree.members.keys()].map((key) => [key, member(field, key)]);
}

/** The values of a list; empty if absent, with a finding if it is something else or longer than `max`. */
export function asList(field: Field, max = Infinity): Field[] {
  if (!isPresent(field)) return [];
  if (field.tree?.kind !== "list") {
    wrongType(field, "a list");
    return [];
  }
  const { values } = field.tree;
  if (values.length > max) note(field, "error", "out_of_range", `${values.length} entries: at most ${max} are allowed`);
  return values.slice(0, max).map((tree, i) => ({
    path: `${field.path}[${i}]`,
    tree,
    line: tree.line,
    column: tree.column,
    notes: field.notes,
  }));
}

/** Whether the field is a mapping; false with a finding if it is something else, false without one if absent. */
export function asMapping(field: Field): boolean {
  if (!isPresent(field)) return false;
  if (field.tree?.kind === "mapping") return true;
  wrongType(field, "a mapping");
  return false;
}

/** Notes each key that is not in `known`, with the nearest one that is. */
export function checkKeys(
  field: Field,
  known: readonly string[],
  { severity = "warning", code = "unknown_key" }: { severity?: Finding["severity"]; code?: string } = {},
): void {
  if (field.tree?.kind !== "mapping") return;
  for (const [key, { line, column }] of field.tree.members) {
    if (known.includes(key)) continue;
    const near = key.length <= 100 ? nearest(key, known) : undefined;
    const path = field.path === "" ? key : `${field.path}.${key}`;
    const hint = near ? `: did you mean "${near}"?` : "";
    note({ ...field, path, line, column }, severity, code, `unknown key${hint}`);
  }
}

// -------------------------------------------------------------------------------------------------- values

/** A text; numbers and such are not texts. */
export function asText(field: Field, { max = 10_000 }: { max?: number } = {}): string | undefined {
  if (!isPresent(field)) return undefined;
  if (field.tree?.kind !== "scalar" || typeof field.tree.value !== "string") return wrongType(field, "a text");
  if (field.tree.value.length > max) {
    note(field, "error", "out_of_range", `longer than ${max} characters`);
    return undefined;
  }
  return field.tree.value;
}

/** A whole number from `min` to `max`; `1.0` and `"1"` are none. Beyond 2^53 the nearest that a double holds. */
export function asInteger(field: Field, { min, max }: { min: number; max: number | bigint }): number | undefined {
  if (!isPresent(field)) return undefined;
  if (field.tree?.kind !== "scalar" || typeof field.tree.value !== "bigint") return wrongType(field, "a whole number");
  const { value } = field.tree;
  if (value < min || value > max) {
    note(field, "error", "out_of_range", `${shorten(String(value))} is not from ${min} to ${max}`);
    return undefined;
  }
  return Number(value);
}

/** A number from `min` to `max`. */
export function asNumber(field: Field, { min, max }: { min: number; max: number }): number | undefined {
  if (!isPresent(field)) return undefined;
  const value = field.tree?.kind === "scalar" ? field.tree.value : undefined;
  if (typeof value !== "bigint" && typeof value !== "number") return wrongType(field, "a number");
  const number = Number(value);
  // Not-a-number is in no range.
  if (!(number >= min && number <= max)) {
    note(field, "error", "out_of_range", `${shorten(String(value))} is not from ${min} to ${max}`);
    return undefined;
  }
  return number;
}

/** `true` or `false`. */
export function asBoolean(field: Field): boolean | undefined {
  if (!isPresent(field)) return undefined;
  if (field.tree?.kind !== "scalar" || typeof field.tree.value !== "boolean") return wrongType(field, "true or false");
  return field.tree.value;
}

/**
 * What a word stands for.
 *
 * @param words Meanings by word, synonyms included, in lower case unless `exact`.
 */
export function asWord<T>(
  field: Field,
  words: Readonly<Record<string, T>>,
  { exact = false }: { exact?: boolean } = {},
): T | undefined {
  const text = asText(field);
  if (text === undefined) return undefined;
  const word = exact ? text : text.toLowerCase();
  if (Object.hasOwn(words, word)) return words[word];
  const near = word.length <= 100 ? nearest(word, Object.keys(words)) : undefined;
  const hint = near ? `: did you mean "${near}"?` : ` is none of ${Object.keys(words).join(", ")}`;
  note(field, "error", "invalid_value", `${describe(field.tree)}${hint}`);
  return undefined;
}

function shorten(digits: string): string {
  return digits.length > 40 ? `${digits.slice(0, 40)}…` : digits;
}
