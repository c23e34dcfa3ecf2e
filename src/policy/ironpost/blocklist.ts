/**
 * Ironpost's filter rules: a TOML file of `[[rules]]`, each an action for one source address. Pure.
 *
 * The kernel looks up the source's IPv4 address and nothing else: a rule's ports, protocol and destination are read
 * and never asked for. Any wrong rule makes the engine refuse the whole file.
 */
import { formatAddress, parseAddress } from "../../address.ts";
import type { Document } from "../document.ts";
import type { Finding, Place } from "../policy.ts";
import {
  asInteger,
  asList,
  asText,
  asWord,
  checkKeys,
  type Field,
  isPresent,
  member,
  note,
  openField,
  require,
} from "../read.ts";

/** One rule of the file. */
export interface FilterRule {
  id: string;
  action: "block" | "monitor";
  /** IPv4 address, 4 bytes; undefined: the rule does nothing. */
  address: Uint8Array | undefined;
  /** Why it does nothing, or less than it says. */
  reason?: string;
  description: string;
  place: Place;
}

const KEYS = ["id", "src_ip", "dst_ip", "dst_port", "protocol", "action", "description"];
/** The engine's limits. */
const MOST_RULES = 10_000, LONGEST_ID = 256, LONGEST_DESCRIPTION = 1024;

/** Whether a document is such a file. */
export function isBlocklist({ format, root }: Document): boolean {
  return format === "toml" && root?.kind === "mapping" && root.members.get("rules")?.value.kind === "list";
}

/** Reads the file's rules, in its order; those that another overrides have no address. */
export function readBlocklist(document: Document, findings: Finding[]): FilterRule[] {
  const root = openField(document, findings);
  checkKeys(root, ["rules"], { code: "engine_ignores" });
  const ids = new Map<string, number>(), rules: FilterRule[] = [];
  for (const field of asList(member(root, "rules"), MOST_RULES)) {
    const rule = readRule(field);
    if (!rule) continue;
    const twin = ids.get(rule.id);
    if (twin !== undefined) {
      note(
        member(field, "id"),
        "error",
        "duplicate",
        `${JSON.stringify(rule.id)} is the id of the rule on line ${twin}`,
      );
    }
    ids.set(rule.id, field.line);
    rules.push(rule);
  }
  return overrideEarlier(rules, findings);
}

function readRule(field: Field): FilterRule | undefined {
  checkKeys(field, KEYS, { code: "engine_ignores" });
  const idField = member(field, "id");
  require(idField);
  const id = asText(idField, { max: LONGEST_ID });
  if (id === "") note(idField, "error", "invalid_value", "empty");
  const actionField = member(field, "action");
  require(actionField);
  const action = asWord(actionField, { block: "block", monitor: "monitor" } as const, { exact: true });
  const descriptionField = member(field, "description");
  require(descriptionField);
  const description = asText(descriptionField, { max: LONGEST_DESCRIPTION });
  if (!id || !action || description === undefined) return undefined;
  const { path } = field.notes, place = { path, line: field.line, column: field.column };
  return { id, action, description, place, ...readScope(field, id) };
}

/** The address, and what narrows the rule in the file but not in the engine. */
function readScope(field: Field, id: string): Pick<FilterRule, "address" | "reason"> {
  const warn = (at: Field, text: string) => {
    const { path, findings } = at.notes;
    const place = { path, line: at.line, column: at.column };
    findings.push({ severity: "warning", code: "engine_ignores", message: `rule ${id}: ${text}`, place, rule: id });
  };
  const port = member(field, "dst_port"), protocol = member(field, "protocol"), target = member(field, "dst_ip");
  asInteger(port, { min: 0, max: 65_535 });
  asInteger(protocol, { min: 0, max: 255 });
  const targetText = asText(target);
  if (targetText !== undefined && !parseAddress(targetText)) {
    note(target, "error", "invalid_value", `${JSON.stringify(targetText)} is no address`);
  }
  const narrowed = [["dst_port", port], ["protocol", protocol], ["dst_ip", target]] as const;
  for (const [key, at] of narrowed) {
    if (isPresent(at)) warn(at, `${key} is not enforced: the engine looks up the source address alone`);
  }
  const source = member(field, "src_ip"), text = asText(source);
  if (!isPresent(source)) {
    warn(field, "no src_ip, no effect");
    return { address: undefined, reason: "no src_ip: no effect" };
  }
  if (text === undefined) return { address: undefined };
  const address = parseAddress(text);
  if (!address) {
    const what = text.includes("/") ? "a network: the engine takes single addresses" : "no address";
    note(source, "error", "invalid_value", `${JSON.stringify(text)} is ${what}`);
    return { address: undefined };
  }
  if (address.length === 16) {
    warn(source, "IPv6 not supported: the rule is skipped");
    return { address: undefined, reason: "IPv6: the engine skips the rule" };
  }
  return { address };
}

/** Of rules for one address the last counts. */
function overrideEarlier(rules: FilterRule[], findings: Finding[]): FilterRule[] {
  const last = new Map(rules.flatMap((rule) => rule.address ? [[formatAddress(rule.address), rule] as const] : []));
  return rules.map((rule) => {
    const winner = rule.address && last.get(formatAddress(rule.address));
    if (!winner || winner === rule) return rule;
    const reason = `rule ${winner.id}, later in the file, is for the same address and overrides it`;
    findings.push({
      severity: "warning",
      code: "engine_ignores",
      message: `rule ${rule.id}: no effect: ${reason}`,
      place: rule.place,
      rule: rule.id,
    });
    return { ...rule, address: undefined, reason };
  });
}
