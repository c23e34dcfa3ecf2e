/**
 * The sections `firewall` and `aliases` of an eBPFsentinel configuration. Pure.
 *
 * A rule keeps what packets and counters can be asked for, and the names of its criteria that they can't.
 */
import type { Prefix } from "../../prefix.ts";
import { formatNumberOf } from "../../words.ts";
import {
  asBoolean,
  asInteger,
  asList,
  asMapping,
  asMembers,
  asText,
  asWord,
  checkKeys,
  type Field,
  isPresent,
  member,
  note,
  require,
} from "../read.ts";
import { type Mode, MODES, PORT, type Protocol, PROTOCOLS, readId, readPrefix, U32 } from "./config_words.ts";

/** The section `firewall`. */
export interface Firewall {
  enabled: boolean;
  mode: Mode;
  defaultPolicy: "pass" | "drop";
  antiLockout: { enabled: boolean; ports: number[] };
  /** Enabled and disabled, in the file's order. */
  rules: FirewallRule[];
}

/** A rule of the firewall: what it asks of a packet, and what it does. */
export interface FirewallRule {
  id: string;
  path: string;
  priority: number;
  action: "allow" | "deny" | "log" | "reject";
  enabled: boolean;
  protocol: Protocol;
  /** Any of them; undefined for every address. */
  src: readonly Prefix[] | undefined;
  dst: readonly Prefix[] | undefined;
  negateSource: boolean;
  negateDestination: boolean;
  srcPorts: readonly Ports[] | undefined;
  dstPorts: readonly Ports[] | undefined;
  /** Flags that must be set, of those in `mask`; bits as in the TCP header. */
  flags: { set: number; mask: number } | undefined;
  /** Criteria that neither packets nor counters here carry, by key. */
  unseen: string[];
  place: { line: number; column: number };
}

/** Both ends are in it. */
export type Ports = readonly [low: number, high: number];

/** What names in rules stand for; "unknown" for what only a running engine could look up. */
export interface Aliases {
  addresses: ReadonlyMap<string, readonly Prefix[] | "unknown">;
  ports: ReadonlyMap<string, readonly Ports[] | "unknown">;
}

const ACTIONS = {
  allow: "allow",
  pass: "allow",
  deny: "deny",
  drop: "deny",
  block: "deny",
  log: "log",
  reject: "reject",
  reset: "reject",
} as const;
const MAX_RULES = 4096;
/** Members that a rule with aliases is expanded to at most; the engine leaves out a rule with more. */
const MAX_EXPANSION = 256;
/** Criteria that make a rule depend on what isn't counted. `state` has a synonym of early documents. */
const UNSEEN = [
  "vlan_id",
  "src_mac_alias",
  "dst_mac_alias",
  "src_mac",
  "dst_mac",
  "state",
  "ct_states",
  "icmp_type",
  "icmp_code",
  "dscp_match",
  "max_states",
  "schedule",
];
const KEYS = [
  ...UNSEEN,
  "id",
  "priority",
  "action",
  "enabled",
  "protocol",
  "src_ip",
  "dst_ip",
  "src_port",
  "dst_port",
  "scope",
  "src_alias",
  "dst_alias",
  "src_port_alias",
  "dst_port_alias",
  "flags",
  "negate_source",
  "negate_destination",
  "dscp_mark",
  "interfaces",
  "tenant_id",
  "description",
];
const FLAGS: Readonly<Record<string, number>> = { F: 1, S: 2, R: 4, P: 8, A: 16, U: 32 };

/** Reads the section; what is wrong with it is noted, never thrown. */
export function readFirewall(field: Field, { aliases, schedules }: { aliases: Aliases; schedules: Field }): Firewall {
  checkKeys(
    field,
    ["enabled", "mode", "default_policy", "rules", "aliases", "anti_lockout", "schedules", "scrub"],
    { code: "engine_ignores" },
  );
  const lockout = member(field, "anti_lockout");
  asMapping(lockout);
  const ports = asList(member(lockout, "ports")).flatMap((port) => asInteger(port, PORT) ?? []);
  if (asList(member(lockout, "interfaces")).length > 0) {
    note(member(lockout, "interfaces"), "warning", "not_observable", "taken as every interface");
  }
  const known = new Set([...asMembers(member(field, "schedules")), ...asMembers(schedules)].map(([name]) => name));
  const rules = asList(member(field, "rules")).filter(asMapping).flatMap((rule) => readRule(rule, { aliases, known }));
  if (rules.length > MAX_RULES) {
    note(
      member(field, "rules"),
      "warning",
      "engine_rejects",
      `${rules.length} rules; today's engine takes ${MAX_RULES}`,
    );
  }
  const ids = new Set<string>();
  for (const { id, path, place } of rules) {
    if (ids.has(id) && id !== "") note({ ...field, path, ...place }, "error", "duplicate", `duplicate rule id: ${id}`);
    ids.add(id);
  }
  const enabled = asBoolean(member(field, "enabled")) ?? true, given = asWord(member(field, "mode"), MODES);
  const mode = given ?? "alert";
  if (enabled && mode === "alert" && (given || !isPresent(member(field, "mode")))) noteAlertMode(field, rules);
  return {
    enabled,
    mode,
    defaultPolicy: asWord(member(field, "default_policy"), { pass: "pass", drop: "drop" } as const, { exact: true }) ??
      "pass",
    antiLockout: {
      enabled: asBoolean(member(lockout, "enabled")) ?? true,
      ports: isPresent(member(lockout, "ports")) ? ports : [22, 8080, 50051],
    },
    rules,
  };
}

/** Says why rules that deny drop nothing: the mode that is there if none is given makes them log. */
function noteAlertMode(field: Field, rules: readonly FirewallRule[]): void {
  const at = member(field, "mode"), isGiven = isPresent(at);
  const denying = rules.filter(({ enabled, action }) => enabled && (action === "deny" || action === "reject"));
  if (denying.length === 0) return;
  const names = denying.slice(0, 3).map(({ id }) => id).join(", ") + (denying.length > 3 ? ", …" : "");
  note(
    at,
    "warning",
    "alert_mode",
    `${isGiven ? "alert" : "not given, which means alert"}: ${
      formatNumberOf(denying.length, "rule that denies", "rules that deny")
    } (${names}) would only be logged and nothing dropped; mode: block drops`,
  );
}

/** No rule where an alias removes it. */
function readRule(field: Field, { aliases, known }: { aliases: Aliases; known: ReadonlySet<string> }): FirewallRule[] {
  checkKeys(field, KEYS, { code: "engine_ignores" });
  const id = readId(member(field, "id")), at = (key: string) => member(field, key);
  const priority = require(at("priority")) ? asInteger(at("priority"), U32) : undefined;
  if (priority === 0) note(at("priority"), "error", "out_of_range", "must be > 0: 0 is the engine's own", id);
  const action = require(at("action")) ? asWord(at("action"), ACTIONS) : undefined;
  const unseen = UNSEEN.filter((key) => isPresent(at(key)));
  for (const key of ["scope", "interfaces", "tenant_id"]) if (isUnseen(at(key))) unseen.push(key);
  const schedule = asText(at("schedule"));
  if (schedule !== undefined && !known.has(schedule)) {
    note(at("schedule"), "error", "cross_section", `no schedule is called ${JSON.stringify(schedule)}`, id);
  }
  const srcIp = readPrefix(at("src_ip")), dstIp = readPrefix(at("dst_ip"));
  if (srcIp && dstIp && srcIp.bytes.length !== dstIp.bytes.length) {
    note(field, "error", "cross_section", "src_ip and dst_ip are of two families", id);
  }
  const rule: FirewallRule = {
    id,
    path: field.path,
    priority: priority || 1,
    action: action ?? "log",
    enabled: asBoolean(at("enabled")) ?? true,
    protocol: asWord(at("protocol"), PROTOCOLS) ?? "any",
    src: srcIp && [srcIp],
    dst: dstIp && [dstIp],
    negateSource: asBoolean(at("negate_source")) ?? false,
    negateDestination: asBoolean(at("negate_destination")) ?? false,
    srcPorts: readPorts(at("src_port")),
    dstPorts: readPorts(at("dst_port")),
    flags: readFlags(at("flags")),
    unseen,
    place: { line: field.line, column: field.column },
  };
  return expandAliases(field, rule, aliases) ? [rule] : [];
}

/** Whether a key makes the rule one for some interfaces or tenants only. */
function isUnseen(field: Field): boolean {
  const { tree } = field;
  if (!isPresent(field) || !tree) return false;
  if (tree.kind === "scalar") return tree.value !== "global" && tree.value !== 0n;
  return tree.kind === "mapping" || tree.values.length > 0;
}

/** Puts in what the rule's aliases stand for; false if one removes the rule. */
function expandAliases(field: Field, rule: FirewallRule, aliases: Aliases): boolean {
  let members = 1;
  for (
    const [key, to, table] of [
      ["src_alias", "src", aliases.addresses],
      ["dst_alias", "dst", aliases.addresses],
      ["src_port_alias", "srcPorts", aliases.ports],
      ["dst_port_alias", "dstPorts", aliases.ports],
    ] as const
  ) {
    const at = member(field, key), name = asText(at);
    if (name === undefined) continue;
    const found = table.get(name);
    if (found === undefined) {
      note(at, "error", "cross_section", `no such alias: ${JSON.stringify(name)}`, rule.id);
    } else if (found === "unknown") {
      rule.unseen.push(key);
    } else if (found.length === 0) {
      note(at, "warning", "inert", `the alias ${name} is empty: the engine leaves the rule out`, rule.id);
      return false;
    } else {
      Object.assign(rule, { [to]: found });
      members *= found.length;
    }
  }
  if (members <= MAX_EXPANSION) return true;
  note(
    field,
    "warning",
    "inert",
    `its aliases make ${members} rules; the engine leaves out one of more than ${MAX_EXPANSION}`,
    rule.id,
  );
  return false;
}

/** `80`, `"80"`, `"80-443"` or `{start, end}`. */
function readPorts(field: Field): Ports[] | undefined {
  if (!isPresent(field)) return undefined;
  let low: number | undefined, high: number | undefined;
  const { tree } = field;
  if (tree?.kind === "mapping") {
    [low, high] = [asInteger(member(field, "start"), PORT), asInteger(member(field, "end"), PORT)];
    require(member(field, "start"));
    require(member(field, "end"));
  } else if (tree?.kind === "scalar" && typeof tree.value === "string") {
    const match = /^\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?$/.exec(tree.value);
    [low, high] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (!match || low > 65535 || high > 65535) {
      note(
        field,
        "error",
        "invalid_port_range",
        `${JSON.stringify(tree.value.slice(0, 40))} is neither a port nor a range`,
      );
      return undefined;
    }
  } else {
    low = high = asInteger(field, PORT);
  }
  if (low === undefined || high === undefined) return undefined;
  if (low > high) {
    note(field, "error", "invalid_port_range", `${low}-${high} ends before it begins`);
    return undefined;
  }
  return [[low, high]];
}

/** `S/SA`: the flags that must be set, and those that are looked at. */
function readFlags(field: Field): FirewallRule["flags"] {
  const text = asText(field);
  if (text === undefined) return undefined;
  const match = /^([FSRPAU]*)\/([FSRPAU]+)$/i.exec(text);
  if (!match) {
    note(field, "error", "invalid_value", `${JSON.stringify(text.slice(0, 40))} is not flags/mask of F S R P A U`);
    return undefined;
  }
  const bits = (letters: string) => [...letters.toUpperCase()].reduce((sum, c) => sum | FLAGS[c]!, 0);
  return { set: bits(match[1]!), mask: bits(match[2]!) };
}

// -------------------------------------------------------------------------------------------------- aliases

/** Reads aliases; those of the section's own key come before the firewall's. */
export function readAliases(field: Field, legacy: Field): Aliases {
  const fields = new Map<string, Field>();
  for (const section of [legacy, field]) {
    if (section.tree?.kind === "list") {
      note(section, "warning", "engine_rejects", "a list; today's engine takes a mapping of names");
      for (const entry of asList(section).filter(asMapping)) {
        const name = asText(member(entry, "id"));
        if (name !== undefined) fields.set(name, entry);
      }
    } else {
      for (const [name, alias] of asMembers(section)) if (asMapping(alias)) fields.set(name, alias);
    }
  }
  if (fields.size > 1000) note(field, "error", "out_of_range", "more than 1000 aliases");
  const addresses = new Map<string, readonly Prefix[] | "unknown">(),
    ports = new Map<string, readonly Ports[] | "unknown">();
  const nested: [string, Field][] = [];
  for (const [name, alias] of fields) {
    const type = asText(member(alias, "type"));
    const values = isPresent(member(alias, "entries")) ? member(alias, "entries") : member(alias, "values");
    if (type === "ip_set" || type === "ip") {
      // What an alias leaves out can't be told by prefixes alone.
      const prefixes = asList(values).flatMap((value) => readPrefix(value) ?? []);
      addresses.set(name, asList(member(alias, "exclude")).length > 0 ? "unknown" : prefixes);
    } else if (type === "port_set" || type === "port") {
      ports.set(name, asList(values).flatMap((value) => readPorts(value) ?? []));
    } else if (type === "nested") {
      nested.push([name, alias]);
    } else if (type === undefined) {
      require(member(alias, "type"));
    } else {
      addresses.set(name, "unknown");
      ports.set(name, "unknown");
    }
  }
  for (const [name, alias] of nested) {
    const members = asList(member(alias, "aliases")).flatMap((value) => asText(value) ?? []);
    const parts = members.map((other) => addresses.get(other) ?? "unknown");
    const excludes = asList(member(alias, "exclude")).length > 0 || parts.includes("unknown");
    addresses.set(name, excludes ? "unknown" : (parts as readonly (readonly Prefix[])[]).flat());
  }
  return { addresses, ports };
}
