/**
 * The sections `ratelimit` and `ddos` of an eBPFsentinel configuration. Pure.
 */
import { formatPrefix, isAddress, type Prefix } from "../../prefix.ts";
import {
  asBoolean,
  asInteger,
  asList,
  asMapping,
  asText,
  asWord,
  checkKeys,
  type Field,
  isPresent,
  member,
  note,
  require,
} from "../read.ts";
import { readCountries, readId, readPrefix, U32, U64 } from "./config_words.ts";

/** How packets over a rate are told from the others. */
export type Algorithm = "token_bucket" | "fixed_window" | "sliding_window" | "leaky_bucket" | "syn_cookie";

/** A limit on packets a second. */
export interface Limit {
  algorithm: Algorithm;
  /** Packets (SYN for `syn_cookie`) a second. */
  rate: number;
  burst: number;
  /** What happens to packets over it. */
  action: "drop" | "pass";
}

/** The section `ratelimit`. */
export interface Ratelimit {
  enabled: boolean;
  /** For sources that nothing else is for; undefined for none. */
  default: Limit | undefined;
  defaultRate: number;
  defaultBurst: number;
  rules: LimitRule[];
  tiers: Tier[];
}

/** A limit for the sources of a network. */
export interface LimitRule extends Limit {
  id: string;
  path: string;
  /** Undefined for every source. */
  match: Prefix | undefined;
  /** One for each source, or one for all together. */
  scope: "per_ip" | "global";
  enabled: boolean;
  place: { line: number; column: number };
}

/** A limit for the sources of countries. */
export interface Tier extends Limit {
  tierId: number;
  path: string;
  countries: readonly string[];
  place: { line: number; column: number };
}

/** The section `ddos`. */
export interface Ddos {
  enabled: boolean;
  syn: { enabled: boolean; thresholdMode: boolean; thresholdPps: number };
  tracking: Tracking;
  policies: { id: string; path: string; action: string; enabled: boolean; place: { line: number; column: number } }[];
}

/** Thresholds on a source's packets a second; 0 switches RST, FIN and ACK off. */
export interface Tracking {
  enabled: boolean;
  halfOpen: number;
  rst: number;
  fin: number;
  ack: number;
}

const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  token_bucket: "token_bucket",
  tokenbucket: "token_bucket",
  fixed_window: "fixed_window",
  fixedwindow: "fixed_window",
  sliding_window: "sliding_window",
  slidingwindow: "sliding_window",
  leaky_bucket: "leaky_bucket",
  leakybucket: "leaky_bucket",
  syn_cookie: "syn_cookie",
  syncookie: "syn_cookie",
};
const ACTIONS = { drop: "drop", deny: "drop", block: "drop", pass: "pass", allow: "pass" } as const;

/** Reads the section; what is wrong with it is noted, never thrown. */
export function readRatelimit(field: Field): Ratelimit {
  checkKeys(
    field,
    ["enabled", "default_rate", "default_burst", "default_algorithm", "rules", "country_tiers"],
    { code: "engine_ignores" },
  );
  const defaultRate = asInteger(member(field, "default_rate"), U64) ?? 1000;
  const defaultBurst = asInteger(member(field, "default_burst"), U64) ?? 2000;
  const word = asText(member(field, "default_algorithm"))?.toLowerCase() ?? "token_bucket";
  let algorithm = Object.hasOwn(ALGORITHMS, word) ? ALGORITHMS[word]! : undefined;
  if (algorithm === undefined || algorithm === "syn_cookie") {
    note(
      member(field, "default_algorithm"),
      "warning",
      "engine_ignores",
      "not an algorithm: the engine takes token_bucket",
    );
    algorithm = "token_bucket";
  }
  const rules = asList(member(field, "rules"), 10_000).filter(asMapping).map(readLimitRule);
  if (rules.length > 1024) note(member(field, "rules"), "warning", "capacity", "early documents allow 1024 rules");
  checkTwins(field, rules);
  return {
    enabled: asBoolean(member(field, "enabled")) ?? false,
    default: defaultRate > 0 ? { algorithm, rate: defaultRate, burst: defaultBurst, action: "drop" } : undefined,
    defaultRate,
    defaultBurst,
    rules,
    tiers: asList(member(field, "country_tiers")).filter(asMapping).map(readTier),
  };
}

function checkTwins(field: Field, rules: readonly LimitRule[]): void {
  const ids = new Set<string>(), sources = new Map<string, string>();
  for (const rule of rules) {
    const at = { ...field, path: rule.path, ...rule.place };
    if (ids.has(rule.id) && rule.id !== "") note(at, "error", "duplicate", `duplicate rule id: ${rule.id}`);
    ids.add(rule.id);
    const source = `${rule.match ? formatPrefix(rule.match) : "any"} ${rule.algorithm === "syn_cookie"}`;
    const first = sources.get(source);
    if (first) note(at, "error", "duplicate", `the same source as rule ${first}: the second would replace the first`);
    sources.set(source, rule.id);
  }
}

function readLimitRule(field: Field): LimitRule {
  checkKeys(
    field,
    ["id", "rate", "burst", "src_ip", "action", "algorithm", "enabled", "scope", "interfaces", "tenant_id"],
    { code: "engine_ignores" },
  );
  const id = readId(member(field, "id")), source = member(field, "src_ip");
  const match = readPrefix(source);
  if (!isPresent(source)) {
    note(source, "warning", "engine_rejects", "src_ip missing; today's engine refuses the file", id);
  } else if (match && (match.bytes.length === 16 || !isAddress(match))) {
    const what = match.bytes.length === 16 ? "IPv6" : `prefix /${match.bits}`;
    note(source, "warning", "engine_rejects", `${what}; today's engine takes one IPv4 host only`, id);
  }
  const scopeField = member(field, "scope");
  const scope = asWord(scopeField, { per_ip: "per_ip", source_ip: "per_ip", global: "global" } as const);
  if (isPresent(scopeField)) {
    note(scopeField, "warning", "engine_ignores", "today's engine limits each source on its own", id);
  }
  const limit = readLimit(field);
  if (limit.algorithm === "syn_cookie") {
    note(
      member(field, "algorithm"),
      "warning",
      "engine_rejects",
      "syn_cookie; today's engine has it as ddos.syn_protection",
      id,
    );
  }
  if (asList(member(field, "interfaces")).length > 0) {
    note(member(field, "interfaces"), "warning", "not_observable", "taken as every interface", id);
  }
  asInteger(member(field, "tenant_id"), U32);
  return {
    ...limit,
    id,
    path: field.path,
    match,
    scope: scope ?? "per_ip",
    enabled: asBoolean(member(field, "enabled")) ?? true,
    place: { line: field.line, column: field.column },
  };
}

function readTier(field: Field): Tier {
  checkKeys(field, ["tier_id", "country_codes", "rate", "burst", "algorithm", "action"], { code: "engine_ignores" });
  const tier = member(field, "tier_id"), codes = member(field, "country_codes");
  require(tier);
  const countries = asList(codes).flatMap((code) => asText(code) ?? []);
  if (countries.length === 0) note(codes, "error", "missing", "at least one country must be listed");
  return {
    ...readLimit(field),
    tierId: asInteger(tier, { min: 1, max: 15 }) ?? 0,
    path: field.path,
    countries,
    place: { line: field.line, column: field.column },
  };
}

function readLimit(field: Field): Limit {
  const positive = (key: string) => {
    if (!require(member(field, key))) return 1;
    const value = asInteger(member(field, key), U64);
    if (value === 0) note(member(field, key), "error", "out_of_range", "must be > 0");
    return value || 1;
  };
  return {
    algorithm: asWord(member(field, "algorithm"), ALGORITHMS) ?? "token_bucket",
    rate: positive("rate"),
    burst: positive("burst"),
    action: asWord(member(field, "action"), ACTIONS) ?? "drop",
  };
}

/** Reads the section; what is wrong with it is noted, never thrown. */
export function readDdos(field: Field, ratelimitEnabled: boolean): Ddos {
  const strict = { severity: "error" } as const;
  checkKeys(
    field,
    ["enabled", "syn_protection", "icmp_protection", "amplification_protection", "connection_tracking", "policies"],
    strict,
  );
  const enabled = asBoolean(member(field, "enabled")) ?? false;
  const syn = member(field, "syn_protection"), tracking = member(field, "connection_tracking");
  const icmp = member(field, "icmp_protection"), amplification = member(field, "amplification_protection");
  for (const part of [syn, tracking, icmp, amplification]) asMapping(part);
  checkKeys(syn, ["enabled", "threshold_mode", "threshold_pps"], strict);
  checkKeys(icmp, ["enabled", "max_pps", "max_payload_size"], strict);
  checkKeys(amplification, ["enabled", "ports"], strict);
  checkKeys(tracking, ["enabled", "half_open_threshold", "rst_threshold", "fin_threshold", "ack_threshold"], strict);
  const on = (part: Field) => asBoolean(member(part, "enabled")) ?? false;
  const guards = [syn, tracking, icmp, amplification].map(on);
  if (enabled && !ratelimitEnabled) {
    note(
      member(field, "enabled"),
      "error",
      "cross_section",
      "needs ratelimit.enabled: the guards are part of its program",
    );
  }
  if (enabled && !guards.includes(true)) {
    note(member(field, "enabled"), "error", "cross_section", "no guard is enabled");
  }
  for (
    const [name, part, is] of [["icmp_protection", icmp, guards[2]], [
      "amplification_protection",
      amplification,
      guards[3],
    ]] as const
  ) {
    if (enabled && is) note(part, "note", "not_observable", `${name} is not TCP: it is not simulated`);
  }
  const whole = (part: Field, key: string, fallback: number) => asInteger(member(part, key), U64) ?? fallback;
  return {
    enabled,
    syn: {
      enabled: guards[0]!,
      thresholdMode: asBoolean(member(syn, "threshold_mode")) ?? true,
      thresholdPps: whole(syn, "threshold_pps", 10_000),
    },
    tracking: {
      enabled: guards[1]!,
      halfOpen: whole(tracking, "half_open_threshold", 100),
      rst: whole(tracking, "rst_threshold", 50),
      fin: whole(tracking, "fin_threshold", 50),
      ack: whole(tracking, "ack_threshold", 200),
    },
    policies: asList(member(field, "policies"), 100).filter(asMapping).map(readDdosPolicy),
  };
}

function readDdosPolicy(field: Field): Ddos["policies"][number] {
  checkKeys(field, [
    "id",
    "attack_type",
    "detection_threshold_pps",
    "mitigation_action",
    "auto_block_duration_secs",
    "enabled",
    "country_thresholds",
  ], { severity: "error" });
  const types = "syn_flood udp_amplification icmp_flood rst_flood fin_flood ack_flood volumetric".split(" ");
  const actions = {
    alert: "alert",
    log: "alert",
    throttle: "throttle",
    ratelimit: "throttle",
    block: "block",
    drop: "block",
    deny: "block",
  };
  const type = asWord(member(field, "attack_type"), Object.fromEntries(types.map((t) => [t, t])));
  require(member(field, "attack_type"));
  const pps = member(field, "detection_threshold_pps");
  if (require(pps)) asInteger(pps, { min: 1, max: U64.max });
  asInteger(member(field, "auto_block_duration_secs"), U64);
  readCountries(member(field, "country_thresholds"));
  const id = readId(member(field, "id")), action = asWord(member(field, "mitigation_action"), actions) ?? "alert";
  if (type === "rst_flood" || type === "fin_flood" || type === "ack_flood") {
    note(field, "warning", "inert", `the engine calls such events volumetric: a policy for ${type} never matches`, id);
  }
  if (action === "block") {
    note(
      field,
      "warning",
      "country_block",
      "it blocks every network of the country that the first event came from",
      id,
    );
  }
  return {
    id,
    path: field.path,
    action,
    enabled: asBoolean(member(field, "enabled")) ?? true,
    place: { line: field.line, column: field.column },
  };
}
