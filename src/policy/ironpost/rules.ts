/**
 * Ironpost's detection rules: a YAML file each. Two grammars are read, the documented one (`operator`, `group_by`) and
 * that of the engine's parser (`modifier` as operator, `field` for the group); what the parser would make of the file
 * is among the findings. Pure.
 */
import { nearest } from "../../errors.ts";
import type { Document } from "../document.ts";
import type { Finding, Place } from "../policy.ts";
import { asInteger, asList, asText, asWord, checkKeys, type Field } from "../read.ts";
import { isPresent, member, note, openField, require } from "../read.ts";
import { checkPattern, type Condition, type Operator } from "./conditions.ts";
import type { ThresholdOptions } from "./packets.ts";

/** A rule, ready to be asked. */
export interface DetectionRule {
  id: string;
  title: string;
  severity: string;
  enabled: boolean;
  conditions: Condition[];
  /** Undefined: every match of the conditions is the rule's. */
  threshold: (ThresholdOptions & { timeframeSec: number; groupBy: string | undefined }) | undefined;
  place: Place;
}

const SEVERITIES = ["info", "low", "medium", "high", "critical"];
const OPERATORS: Record<string, Operator> = {
  equals: "equals",
  contains: "contains",
  startswith: "startswith",
  endswith: "endswith",
  regex: "regex",
  exists: "exists",
  exact: "equals",
};
/** What the engine's parser knows of `modifier`. */
const PARSER_MODIFIERS = ["exact", "contains", "startswith", "endswith", "regex"];
const MOST_CONDITIONS = 1_000;

/** Whether a document is such a rule. */
export function isDetectionRule({ format, root }: Document): boolean {
  if (format !== "yaml" || root?.kind !== "mapping") return false;
  return root.members.has("id") && root.members.get("detection")?.value.kind === "mapping";
}

/** Reads a rule; undefined if it is none, and the findings say why. */
export function readDetectionRule(document: Document, findings: Finding[]): DetectionRule | undefined {
  const root = openField(document, findings);
  checkKeys(root, ["id", "title", "description", "severity", "status", "detection", "tags"], {
    code: "engine_ignores",
  });
  const idField = member(root, "id");
  require(idField);
  const id = asText(idField, { max: 256 });
  if (id === "") note(idField, "error", "invalid_value", "empty");
  const title = asText(member(root, "title")) ?? id ?? "";
  asText(member(root, "description"));
  for (const tag of asList(member(root, "tags"), 1_000)) asText(tag);
  const severity = asWord(member(root, "severity"), Object.fromEntries(SEVERITIES.map((s) => [s, s]))) ?? "info";
  const statuses = { enabled: "enabled", disabled: "disabled", test: "test" } as const;
  const status = asWord(member(root, "status"), statuses) ?? "enabled";
  const detection = member(root, "detection");
  require(detection);
  checkKeys(detection, ["conditions", "threshold"], { code: "engine_ignores" });
  const conditions = asList(member(detection, "conditions"), MOST_CONDITIONS).map((field) => readCondition(field));
  const threshold = readThreshold(member(detection, "threshold"));
  noteParser(root, id ?? "");
  if (!id || conditions.includes(undefined) || threshold === "wrong") return undefined;
  return {
    id,
    title,
    severity,
    enabled: status === "enabled",
    conditions: conditions as Condition[],
    threshold,
    place: { path: document.path, line: idField.line, column: idField.column },
  };
}

function readCondition(field: Field): Condition | undefined {
  checkKeys(field, ["field", "operator", "value", "modifier"], { code: "engine_ignores" });
  const nameField = member(field, "field");
  require(nameField);
  const name = asText(nameField, { max: 256 });
  const { operator, ignoreCase, negate, wrong } = readOperator(field);
  const valueField = member(field, "value");
  if (operator !== "exists") require(valueField);
  const value = readValue(valueField);
  if (!name || wrong || operator === undefined || (value === undefined && operator !== "exists")) return undefined;
  const bad = operator === "regex" && value !== undefined ? checkPattern(value) : undefined;
  if (bad) note(valueField, "error", "invalid_value", bad);
  if (bad) return undefined;
  const condition = { field: name, operator, value: value ?? "", ignoreCase, negate };
  noteNeverTrue(valueField, condition);
  return condition;
}

/** A text; a number or a boolean that the file writes without quotes is taken as the text it is written as. */
function readValue(field: Field): string | undefined {
  const scalar = field.tree?.kind === "scalar" ? field.tree.value : undefined;
  if (typeof scalar === "bigint" || typeof scalar === "number" || typeof scalar === "boolean") {
    note(field, "warning", "as_shipped", "not a text: the engine's parser refuses the file; write it in quotes");
    return String(scalar);
  }
  return asText(field);
}

/** The operator, from `operator` and what `modifier` adds or, in the parser's grammar, is. */
function readOperator(field: Field) {
  const operatorField = member(field, "operator"), modifierField = member(field, "modifier");
  const modifiers = modifierField.tree?.kind === "list" ? asList(modifierField, 10) : [modifierField];
  let ignoreCase = false, negate = false, wrong = false, fromModifier: Operator | undefined;
  for (const at of modifiers.filter(isPresent)) {
    const word = asText(at)?.toLowerCase();
    if (word === "case_insensitive") ignoreCase = true;
    else if (word === "negate") negate = true;
    else if (word !== undefined && PARSER_MODIFIERS.includes(word)) fromModifier = OPERATORS[word];
    else {
      wrong = true;
      if (word !== undefined) noteUnknown(at, word, ["case_insensitive", "negate", ...PARSER_MODIFIERS]);
    }
  }
  const stated = asWord(operatorField, OPERATORS);
  if (isPresent(operatorField) && stated === undefined) wrong = true;
  if (stated !== undefined && fromModifier !== undefined && stated !== fromModifier) {
    note(
      modifierField,
      "warning",
      "ambiguous",
      `"operator" and "modifier" disagree: operator is taken here, modifier by the engine's parser`,
    );
  }
  return { operator: stated ?? fromModifier ?? "equals", ignoreCase, negate, wrong };
}

function noteUnknown(field: Field, word: string, known: readonly string[]): void {
  const near = word.length <= 100 ? nearest(word, known) : undefined;
  const hint = near ? `did you mean "${near}"?` : `expected one of ${known.join(", ")}`;
  note(field, "error", "invalid_value", `${JSON.stringify(word.slice(0, 60))}: ${hint}`);
}

/** Conditions that sound right and never hold. */
function noteNeverTrue(field: Field, { field: name, operator, value }: Condition): void {
  if (name === "source" && value.toLowerCase() === "ebpf") {
    note(
      field,
      "warning",
      "as_shipped",
      `the engine's parser calls the source of every event "json": never true there`,
    );
  }
  if (name === "protocol" && operator === "equals" && !/^\d+$/.test(value)) {
    note(field, "warning", "never_true", "events hold the protocol's number: write 6 for TCP, 17 for UDP");
  }
}

function readThreshold(field: Field): DetectionRule["threshold"] | "wrong" {
  if (!isPresent(field)) return undefined;
  checkKeys(field, ["count", "timeframe_secs", "group_by", "field", "timeframe"], { code: "engine_ignores" });
  const countField = member(field, "count"), written = member(field, "timeframe_secs");
  const alias = member(field, "timeframe");
  require(countField);
  if (isPresent(alias)) {
    note(alias, "warning", "as_shipped", `the engine's parser wants "timeframe_secs": it skips the file`);
  }
  if (!isPresent(alias)) require(written);
  const count = asInteger(countField, { min: 1, max: Number.MAX_SAFE_INTEGER });
  const timeframeSec = asInteger(isPresent(written) ? written : alias, { min: 1, max: 1e10 });
  const documented = asText(member(field, "group_by")), parsed = asText(member(field, "field"));
  if (documented === undefined && parsed === undefined) {
    note(field, "warning", "no_group", `no "group_by": all sources count together`);
  }
  if (count === undefined || timeframeSec === undefined) return "wrong";
  return { count, timeframeSec, windowMs: 1000 * (timeframeSec + 1), groupBy: documented ?? parsed };
}

/** What the engine's own parser makes of the file, where that differs. */
function noteParser(root: Field, rule: string): void {
  const differs = (field: Field, message: string) => note(field, "note", "as_shipped", message, rule);
  const severity = member(root, "severity"), text = severity.tree?.kind === "scalar" ? severity.tree.value : undefined;
  if (typeof text === "string" && SEVERITIES.includes(text.toLowerCase()) && !/^[A-Z][a-z]+$/.test(text)) {
    const right = text[0]!.toUpperCase() + text.slice(1).toLowerCase();
    differs(severity, `the engine's parser wants ${JSON.stringify(right)} and skips the file`);
  }
  const threshold = member(member(root, "detection"), "threshold");
  if (isPresent(threshold) && threshold.tree?.kind === "mapping" && !isPresent(member(threshold, "field"))) {
    differs(threshold, `the engine's parser wants the group as "field" and skips the file`);
  }
  const conditions = member(member(root, "detection"), "conditions");
  const list = conditions.tree?.kind === "list" ? asList(conditions) : [];
  for (const condition of list) {
    const modifier = member(condition, "modifier"), operator = member(condition, "operator");
    const word = modifier.tree?.kind === "scalar" ? modifier.tree.value : undefined;
    if (isPresent(modifier) && !(typeof word === "string" && PARSER_MODIFIERS.includes(word))) {
      differs(modifier, "the engine's parser doesn't know this modifier and skips the file");
    }
    const operation = operator.tree?.kind === "scalar" ? operator.tree.value : undefined;
    if (isPresent(operator) && operation !== "equals" && !isPresent(modifier)) {
      differs(operator, `the engine's parser ignores "operator" and compares for equality`);
    }
  }
}
