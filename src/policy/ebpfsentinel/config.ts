/**
 * An eBPFsentinel configuration as one normalised value, whichever dialect it is written in. Pure.
 *
 * Two dialects are read: the one of the engine's early documents (`blacklist_ttl`, `threshold.mode`, `window`) and the
 * one its loader takes today (`max_blacklist_duration_secs`, `threshold.type`, `window_secs`). Everything wrong is
 * collected: `error` where no engine could use the value, `engine_rejects` where today's engine refuses what its
 * documents once allowed, `engine_ignores` where it passes over a key in silence, and so brings back a default.
 */
import type { Prefix } from "../../prefix.ts";
import {
  asBoolean,
  asInteger,
  asList,
  asMapping,
  asMembers,
  asNumber,
  asText,
  asWord,
  checkKeys,
  type Field,
  isPresent,
  member,
  note,
  require,
} from "../read.ts";
import { type Aliases, type Firewall, readAliases, readFirewall } from "./config_firewall.ts";
import { type Ddos, type Ratelimit, readDdos, readRatelimit } from "./config_limits.ts";
import {
  type Mode,
  MODES,
  PORT,
  type Protocol,
  PROTOCOLS,
  readCountries,
  readId,
  readPrefix,
  U32,
  U64,
} from "./config_words.ts";
import { readThreatIntel, type ThreatIntel } from "./config_feeds.ts";

/** The whole file. */
export interface Config {
  ips: Ips;
  ids: Ids;
  ratelimit: Ratelimit;
  firewall: Firewall;
  threatintel: ThreatIntel;
  ddos: Ddos;
  zonesEnabled: boolean;
  /** Enabled sections that counters can't show, with the reason. */
  notObservable: { section: string; reason: string }[];
}

/** The section `ips`. */
export interface Ips {
  enabled: boolean;
  mode: Mode;
  /** Seconds a source stays blocked; 0 for good. */
  ttlS: number;
  /** Detections that block a source; 0 behaves as 1. */
  threshold: number;
  /** Whether the file says so. */
  thresholdGiven: boolean;
  maxSize: number;
  whitelist: Prefix[];
  /** Detections by country, instead of `threshold`. */
  countryThresholds: ReadonlyMap<string, number> | undefined;
  sampling: Sampling | undefined;
  rules: DetectionRule[];
}

/** The section `ids`. */
export interface Ids {
  enabled: boolean;
  mode: Mode;
  sampling: Sampling | undefined;
  rules: DetectionRule[];
}

/** A rule of `ids` or `ips`. */
export interface DetectionRule {
  list: "ids" | "ips";
  /** Path in the file. */
  path: string;
  id: string;
  mode: Mode;
  severity: Severity;
  protocol: Protocol;
  dstPort: number | undefined;
  srcPort: number | undefined;
  /** A pattern in payload or names: what it matches isn't counted. */
  pattern: boolean;
  domain: boolean;
  enabled: boolean;
  threshold: Threshold | undefined;
  /** Instead of `threshold`, by country. */
  countryThresholds: ReadonlyMap<string, Threshold> | undefined;
  /** Other criteria that counters don't carry, by key. */
  unseen: string[];
  place: { line: number; column: number };
}

/** A rule's severity, in the engine's words. */
export type Severity = "low" | "medium" | "high" | "critical";

/** Which of a rule's matches are detections. */
export interface Threshold {
  type: "limit" | "threshold" | "both";
  count: number;
  windowS: number;
  trackBy: "src_ip" | "dst_ip" | "both";
}

/** Which packets the classifier looks at. */
export interface Sampling {
  mode: "none" | "random" | "hash" | "country_based";
  /** Share of (source, destination) pairs, 0 to 1; for country_based `highRate` of the listed and `rate` of others. */
  rate: number;
  highRate: number;
  countries: readonly string[];
}

const SEVERITIES: Readonly<Record<string, Severity>> = {
  low: "low",
  info: "low",
  medium: "medium",
  warning: "medium",
  high: "high",
  critical: "critical",
  crit: "critical",
};
const MAX_RULES = 50_000;
/** Longest pattern that is looked at; it is never run. */
const MAX_PATTERN = 10_000;

const TOP =
  ("agent firewall ids ips dlp dns ratelimit ddos threatintel l7 alerting audit auth conntrack container nat " +
    "zones routing loadbalancer qos geoip aliases interface_groups auto_response auto_capture management enterprise")
    .split(" ");
/** Keys that only early documents have at the top. */
const EARLY = ["schedules", "tls"];
/** Sections that only a packet's content, or another protocol, could show. */
const UNSEEN_SECTIONS: Record<string, string> = {
  dlp: "payload isn't counted",
  dns: "only TCP is counted",
  l7: "payload isn't counted",
  nat: "rewrites addresses after the packets are counted",
  container: "which container a packet is for isn't counted",
  qos: "delays packets, drops none that counters show",
  loadbalancer: "chooses a backend, drops nothing",
  routing: "chooses an interface, drops nothing",
  auto_response: "a second way to the blacklist that alerts take; not simulated: blocks of it come on top",
};
const RULE_KEYS = [
  "id",
  "severity",
  "mode",
  "description",
  "protocol",
  "dst_port",
  "pattern",
  "enabled",
  "threshold",
  "tenant_id",
];
const IDS_RULE_KEYS = [
  ...RULE_KEYS,
  "src_port",
  "domain_pattern",
  "domain_match_mode",
  "country_thresholds",
  "interfaces",
];

/** Reads a document. Every problem is among the findings; with an error among them the value must not be used. */
export function readConfig(root: Field): Config {
  if (root.tree?.kind !== "mapping") note(root, "error", "type", "expected a mapping at the top of the file");
  checkKeys(root, [...TOP, ...EARLY], { severity: "error" });
  for (const key of EARLY) {
    if (isPresent(member(root, key))) {
      note(member(root, key), "warning", "engine_rejects", "a key of early documents; today's engine refuses the file");
    }
  }
  const section = (name: string) => {
    const field = member(root, name);
    asMapping(field);
    return field;
  };
  const agent = section("agent");
  const interfaces = asList(member(agent, "interfaces")).map((field) => asText(field));
  if (interfaces.length === 0) {
    note(member(agent, "interfaces"), "error", "missing", "at least one interface must be listed");
  }

  const ids = readIds(section("ids"));
  const ips = readIps(section("ips"));
  checkDuplicates([...ids.rules, ...ips.rules], root);
  const ratelimit = readRatelimit(section("ratelimit"));
  const ddos = readDdos(section("ddos"), ratelimit.enabled);
  const firewallField = section("firewall");
  const aliases: Aliases = readAliases(section("aliases"), member(firewallField, "aliases"));
  const schedules = member(root, "schedules");
  const firewall = readFirewall(firewallField, { aliases, schedules });
  const threatintel = readThreatIntel(section("threatintel"));
  const zones = section("zones");
  const zonesEnabled = asBoolean(member(zones, "enabled")) ?? false;
  const conntrack = section("conntrack");
  if (
    ["half_open_threshold", "rst_threshold", "fin_threshold", "ack_threshold"].some((k) =>
      isPresent(member(conntrack, k))
    )
  ) {
    note(conntrack, "warning", "engine_ignores", "its thresholds arm nothing: ddos.connection_tracking does");
  }
  const notObservable: Config["notObservable"] = [];
  for (const [name, reason] of Object.entries(UNSEEN_SECTIONS)) {
    const field = section(name);
    if (isPresent(field) && (asBoolean(member(field, "enabled")) ?? name !== "auto_response")) {
      notObservable.push({ section: name, reason });
    }
  }
  checkSections({ ips, ids, firewall }, root);
  return { ips, ids, ratelimit, firewall, threatintel, ddos, zonesEnabled, notObservable };
}

/** What only two sections together show. */
function checkSections({ ips, ids, firewall }: Pick<Config, "ips" | "ids" | "firewall">, root: Field): void {
  if (ips.rules.length === 0 || !ips.enabled) return;
  const field = member(root, "ips");
  if (!firewall.enabled && ips.mode === "block") {
    note(
      field,
      "warning",
      "inert",
      "nothing is blocked: with firewall.enabled false no program looks at the blacklist",
    );
  }
  if (!ids.enabled) note(field, "warning", "inert", "nothing is detected: with ids.enabled false no rule is matched");
}

function checkDuplicates(rules: readonly DetectionRule[], root: Field): void {
  const seen = new Map<string, string>();
  for (const { id, path, place } of rules) {
    const first = seen.get(id);
    if (first !== undefined && id !== "") {
      note({ ...root, path, ...place }, "error", "duplicate", `duplicate rule id: ${id} (the first is ${first})`);
    }
    seen.set(id, first ?? path);
  }
}

// -------------------------------------------------------------------------------------------------- ips, ids

function readIps(field: Field): Ips {
  checkKeys(field, [
    "enabled",
    "mode",
    "blacklist_ttl",
    "max_blacklist_duration_secs",
    "auto_blacklist_threshold",
    "max_blacklist_size",
    "whitelist",
    "whitelist_aliases",
    "country_thresholds",
    "sampling",
    "rules",
  ], { code: "engine_ignores" });
  const mode = asWord(member(field, "mode"), MODES) ?? "alert";
  const seedTtl = member(field, "blacklist_ttl"), codeTtl = member(field, "max_blacklist_duration_secs");
  const ttlS = asInteger(seedTtl, U64) ?? asInteger(codeTtl, U64) ?? 3600;
  if (isPresent(seedTtl) && isPresent(codeTtl)) {
    note(
      field,
      "warning",
      "conflict",
      "blacklist_ttl/max_blacklist_duration_secs: the first is simulated, the engine reads the second",
    );
  } else if (isPresent(seedTtl)) {
    note(seedTtl, "warning", "engine_ignores", "today's engine reads max_blacklist_duration_secs, and 3600 without it");
  }
  const aliases = member(field, "whitelist_aliases");
  if (asList(aliases).length > 0) {
    note(
      aliases,
      "warning",
      "not_observable",
      "aliases of the whitelist are not read: list the addresses in ips.whitelist",
    );
  }
  const thresholdField = member(field, "auto_blacklist_threshold");
  const threshold = asInteger(thresholdField, U32);
  return {
    enabled: asBoolean(member(field, "enabled")) ?? true,
    mode,
    ttlS,
    threshold: threshold ?? 3,
    thresholdGiven: isPresent(thresholdField),
    maxSize: asInteger(member(field, "max_blacklist_size"), U64) ?? 10_000,
    whitelist: asList(member(field, "whitelist")).flatMap((entry) => readPrefix(entry) ?? []),
    countryThresholds: readCountries(member(field, "country_thresholds")),
    sampling: readSampling(member(field, "sampling")),
    rules: asList(member(field, "rules"), MAX_RULES).filter(asMapping).map((rule) => readRule(rule, "ips", mode)),
  };
}

function readIds(field: Field): Ids {
  checkKeys(field, ["enabled", "mode", "inspect_egress", "sampling", "rules"], { code: "engine_ignores" });
  const mode = asWord(member(field, "mode"), MODES) ?? "alert";
  asBoolean(member(field, "inspect_egress"));
  return {
    enabled: asBoolean(member(field, "enabled")) ?? true,
    mode,
    sampling: readSampling(member(field, "sampling")),
    rules: asList(member(field, "rules"), MAX_RULES).filter(asMapping).map((rule) => readRule(rule, "ids", mode)),
  };
}

function readRule(field: Field, list: "ids" | "ips", inherited: Mode): DetectionRule {
  checkKeys(field, list === "ids" ? IDS_RULE_KEYS : RULE_KEYS, { code: "engine_ignores" });
  const id = readId(member(field, "id"));
  const severity = require(member(field, "severity")) ? asWord(member(field, "severity"), SEVERITIES) : undefined;
  const patternField = member(field, "pattern"), pattern = asText(patternField, { max: MAX_PATTERN }) ?? "";
  if (pattern !== "") checkPattern(patternField, pattern);
  const protocol = asWord(member(field, "protocol"), PROTOCOLS) ?? "any";
  const dstPort = asInteger(member(field, "dst_port"), PORT);
  const srcPort = list === "ids" ? asInteger(member(field, "src_port"), PORT) : undefined;
  const domain = asText(member(field, "domain_pattern")) !== undefined;
  if (domain !== isPresent(member(field, "domain_match_mode"))) {
    note(field, "error", "cross_section", "domain_pattern and domain_match_mode go together");
  }
  const rule: DetectionRule = {
    list,
    path: field.path,
    id,
    mode: asWord(member(field, "mode"), MODES) ?? inherited,
    severity: severity ?? "low",
    protocol,
    dstPort,
    srcPort,
    pattern: pattern !== "",
    domain,
    enabled: asBoolean(member(field, "enabled")) ?? true,
    threshold: readThreshold(member(field, "threshold")),
    countryThresholds: list === "ids" ? readCountryBlocks(member(field, "country_thresholds")) : undefined,
    unseen: (asInteger(member(field, "tenant_id"), U32) ?? 0) !== 0 ? ["tenant_id"] : [],
    place: { line: field.line, column: field.column },
  };
  if (asList(member(field, "interfaces")).length > 0) rule.unseen.push("interfaces");
  checkMatch(field, rule);
  return rule;
}

/** Whether a rule can ever match, and whether today's engine would take it. */
function checkMatch(field: Field, rule: DetectionRule): void {
  const { pattern, protocol, id } = rule;
  // A port that is there and wrong is a finding already.
  const [dstPort, srcPort] = [
    isPresent(member(field, "dst_port")),
    rule.list === "ids" && isPresent(member(field, "src_port")),
  ];
  if (pattern && !dstPort) {
    note(
      member(field, "dst_port"),
      "warning",
      "engine_rejects",
      "pattern without port; today's engine refuses the file",
      id,
    );
  }
  if (pattern && protocol !== "tcp" && protocol !== "any") {
    note(member(field, "protocol"), "error", "cross_section", "a pattern is matched in TCP only", id);
  }
  if (pattern || dstPort || srcPort) return;
  if (rule.list === "ids") note(member(field, "dst_port"), "error", "missing", "dst_port or src_port is required", id);
  else note(field, "warning", "inert", "it has neither a pattern nor a port, and so never matches", id);
}

/** Checks that the brackets and escapes of a regular expression can be one. It is never run, nor compiled. */
function checkPattern(field: Field, pattern: string): void {
  let depth = 0, inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i];
    if (c === "\\") {
      if (++i === pattern.length) return note(field, "error", "invalid_value", "the pattern ends in a backslash");
    } else if (inClass) {
      if (c === "]") inClass = false;
    } else if (c === "[") {
      inClass = true;
      // A bracket that comes first stands for itself.
      if (pattern[i + 1] === "^") i++;
      if (pattern[i + 1] === "]") i++;
    } else if (c === "(") {
      if (++depth > 200) return note(field, "error", "invalid_value", "the pattern is nested deeper than 200 groups");
    } else if (c === ")" && --depth < 0) {
      return note(field, "error", "invalid_value", "the pattern closes a group that isn't open");
    }
  }
  if (inClass || depth > 0) note(field, "error", "invalid_value", "the pattern leaves a bracket open");
}

function readThreshold(field: Field): Threshold | undefined {
  if (!asMapping(field)) return undefined;
  checkKeys(field, ["mode", "type", "count", "window", "window_secs", "track_by"], { code: "engine_ignores" });
  const types = { limit: "limit", threshold: "threshold", both: "both" } as const;
  const tracks = { src_ip: "src_ip", dst_ip: "dst_ip", both: "both" } as const;
  const seedType = member(field, "mode"), codeType = member(field, "type");
  const seedWindow = member(field, "window"), codeWindow = member(field, "window_secs");
  if (!isPresent(codeType)) {
    if (isPresent(seedType)) note(field, "warning", "engine_rejects", "type missing; today's engine refuses the file");
    else note(codeType, "error", "missing", "missing");
  } else if (isPresent(seedType)) {
    note(field, "warning", "conflict", "mode/type: the first is simulated, the engine reads the second");
  }
  if (isPresent(seedWindow) && isPresent(codeWindow)) {
    note(field, "warning", "conflict", "window/window_secs: the first is simulated, the engine reads the second");
  } else if (isPresent(seedWindow) && isPresent(codeType)) {
    note(field, "warning", "engine_rejects", "window_secs missing; today's engine refuses the file");
  } else if (!isPresent(seedWindow)) {
    require(codeWindow);
  }
  const seed = asWord(seedType, types, { exact: true }), code = asWord(codeType, types, { exact: true });
  const positive = (f: Field, range: { min: number; max: number | bigint }) => {
    const value = asInteger(f, range);
    if (value === 0) note(f, "error", "out_of_range", "must be > 0");
    return value;
  };
  const count = require(member(field, "count")) ? positive(member(field, "count"), U32) : undefined;
  const window = positive(seedWindow, U64) ?? positive(codeWindow, U64);
  return {
    type: seed ?? code ?? "limit",
    count: count || 1,
    windowS: window || 1,
    trackBy: asWord(member(field, "track_by"), tracks, { exact: true }) ?? "src_ip",
  };
}

function readCountryBlocks(field: Field): Map<string, Threshold> | undefined {
  if (!isPresent(field)) return undefined;
  const blocks = new Map<string, Threshold>();
  for (const [country, block] of asMembers(field)) {
    if (!/^\S{2}$/.test(country)) note(block, "error", "invalid_value", "a country is two letters");
    const threshold = readThreshold(block);
    if (threshold) blocks.set(country, threshold);
  }
  return blocks;
}

function readSampling(field: Field): Sampling | undefined {
  if (!isPresent(field)) return undefined;
  if (typeof (field.tree?.kind === "scalar" ? field.tree.value : undefined) === "bigint") {
    note(field, "error", "type", "expected a mapping with mode and rate");
    return undefined;
  }
  if (!asMapping(field)) return undefined;
  checkKeys(field, ["mode", "rate", "high_risk_countries", "high_risk_rate", "default_rate"], {
    code: "engine_ignores",
  });
  const modes = { none: "none", random: "random", hash: "hash", country_based: "country_based" } as const;
  const mode = asWord(member(field, "mode"), modes, { exact: true }) ?? "none";
  const share = { min: 0, max: 1 };
  const rate = asNumber(member(field, "rate"), share);
  if ((mode === "random" || mode === "hash") && !isPresent(member(field, "rate"))) require(member(field, "rate"));
  return {
    mode,
    rate: mode === "country_based" ? asNumber(member(field, "default_rate"), share) ?? 0.1 : rate ?? 1,
    highRate: asNumber(member(field, "high_risk_rate"), share) ?? 1,
    countries: asList(member(field, "high_risk_countries"), 250).flatMap((country) => asText(country) ?? []),
  };
}
