/**
 * eBPFsentinel as an engine that can be rehearsed: its files in, a policy out. Pure.
 *
 * Two readings. `seed` is what the engine's early documents state, and today's program where they say nothing; `code`
 * is today's program throughout. Where they part, a finding says so.
 */
import { parseAddress } from "../../address.ts";
import { IbsrError } from "../../errors.ts";
import { parsePrefix, type Prefix } from "../../prefix.ts";
import { createPrefixTable, type PrefixTable } from "../../prefix_table.ts";
import { readDocument } from "../document.ts";
import { openField } from "../read.ts";
import type { Engine, Finding, LoadOptions, Policy, PolicyFile } from "../policy.ts";
import { PROFILES as PROFILES_OF } from "../profiles.ts";
import { ttlMs } from "./blacklist.ts";
import { type Config, readConfig } from "./config.ts";
import { boostConfidence, parseList, selectIndicators } from "./config_feeds.ts";
import { type Profile, takeSlots } from "./detection.ts";
import { findOrderSensitive } from "./order.ts";
import { listRules, type RuleTable } from "./rules.ts";
import { startSimulation } from "./simulate.ts";
import type { Simulated } from "./sources.ts";

const NAME = "ebpfsentinel";
const PROFILES = PROFILES_OF.ebpfsentinel;

/** eBPFsentinel. */
export const ebpfsentinel: Engine = {
  name: NAME,
  profiles: PROFILES,
  detect({ root, format }) {
    if (format !== "yaml" || root?.kind !== "mapping") return false;
    const sections = ["agent", "ips", "ids", "ratelimit", "ddos", "threatintel", "firewall"];
    const present = sections.filter((name) => root.members.get(name)?.value.kind === "mapping");
    return present.includes("agent") ? present.length > 1 || root.members.size === 1 : present.length > 1;
  },
  load(files, options) {
    const profile = (options.profile ?? PROFILES[0]) as Profile;
    if (!PROFILES.includes(profile)) {
      throw new IbsrError("usage", `Cannot simulate ${NAME} as "${profile}": it has no such profile`, {
        hint: `profiles: ${PROFILES.join(", ")}`,
      });
    }
    if (files.length !== 1) {
      throw new IbsrError("usage", `Cannot read ${files.length} files as one ${NAME} policy: it has one`);
    }
    return loadPolicy(files[0]!, profile, options);
  },
};

function loadPolicy(file: PolicyFile, profile: Profile, options: LoadOptions): Policy {
  const findings: Finding[] = [], document = readDocument(file, "yaml");
  findings.push(...document.findings);
  const config = readConfig(openField(document, findings));
  if (!document.root) findings.splice(document.findings.length);
  const broken = findings.some(({ severity }) => severity === "error");
  const destinations = (options.hostAddresses ?? []).map((text) => {
    const bytes = parseAddress(text);
    if (!bytes) throw new IbsrError("usage", `Cannot take "${text}" as an address of the host: it is none`);
    return bytes;
  });
  const countries = options.countries && readCountryTable(options.countries, findings);
  const rules = listRules(config, {
    profile,
    countries: countries !== undefined,
    feeds: new Set(options.feeds?.keys()),
  });
  const listed = readFeeds(config, { profile, options, rules, findings, countries });
  const resolutionMs = resolutionOf(config, profile);
  if (!broken) findings.push(...lint(config, profile, { file, countries: countries !== undefined, options }));
  const simulated: Simulated = {
    config,
    profile,
    rules,
    countryOf: (address) => countries?.find(address),
    listed,
    destinations,
    cpus: options.cpus ?? 1,
    resolutionMs,
  };
  return {
    engine: NAME,
    profile,
    rules: rules.list,
    findings,
    resolutionMs,
    windowMs: windowOf(config, profile),
    simulate(stream) {
      const error = findings.find(({ severity }) => severity === "error");
      if (error) throw new IbsrError("usage", `Cannot simulate ${file.path}: ${error.message}`);
      return startSimulation(simulated, stream);
    },
  };
}

// -------------------------------------------------------------------------------------------------- files beside it

/** Lines of `prefix,country`, with a header or without, `#` before a comment. */
function readCountryTable({ path, text }: PolicyFile, findings: Finding[]): PrefixTable<string> {
  const entries: [Prefix, string][] = [];
  let wrong = 0;
  for (const [i, line] of text.replace(/^\ufeff/, "").split("\n").entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const [network = "", country = ""] = trimmed.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    const prefix = parsePrefix(network);
    if (prefix && /^[A-Z]{2}$/.test(country)) {
      entries.push([prefix, country]);
    } else if (i > 0 && ++wrong <= 20) {
      const message = `${JSON.stringify(trimmed.slice(0, 60))} is not prefix,COUNTRY`;
      findings.push({ severity: "warning", code: "countries", message, place: { path, line: i + 1, column: 1 } });
    }
  }
  return createPrefixTable(entries);
}

function readFeeds(config: Config, { profile, options, rules, findings, countries }: {
  profile: Profile;
  options: LoadOptions;
  rules: RuleTable;
  findings: Finding[];
  countries: PrefixTable<string> | undefined;
}): Simulated["listed"] {
  const listed = new Map<string, { mode: "alert" | "block"; rule: number }>(), { threatintel } = config;
  for (const id of options.feeds?.keys() ?? []) {
    if (!threatintel.feeds.some((feed) => feed.id === id)) {
      throw new IbsrError("usage", `Cannot use the list of feed "${id}": the policy has no such feed`);
    }
  }
  for (const feed of threatintel.feeds) {
    const file = options.feeds?.get(feed.id);
    if (!file || !feed.enabled || !threatintel.enabled) continue;
    const all = parseList(feed, file.text), kept = selectIndicators(feed, all);
    const mode = profile === "seed" ? feed.mode ?? threatintel.mode : threatintel.mode;
    for (const { address, confidence } of kept) {
      // A country's points change how sure the list is, not what is done.
      const bytes = parseAddress(address)!, country = countries?.find(bytes);
      boostConfidence(confidence, country === undefined ? 0 : threatintel.boost.get(country) ?? 0);
      const present = listed.get(address);
      if (!present || mode === "block") listed.set(address, { mode, rule: rules.index(feed.path) });
    }
    if (kept.length === 0) {
      const message = `the list of feed ${feed.id} has no address that is used`;
      findings.push({ severity: "warning", code: "inert", message, place: { path: file.path, line: 1, column: 1 } });
    }
  }
  return listed;
}

// -------------------------------------------------------------------------------------------------- of the whole

function resolutionOf(config: Config, profile: Profile): number {
  const { ips, ratelimit, ddos } = config, spans = [Infinity];
  const slots = [...takeSlots(config, profile).byPort.values()];
  if (slots.some((slot) => slot.feeds) && ips.ttlS > 0) spans.push(ttlMs(ips, profile) / 3);
  for (const { gate } of slots) if (gate) spans.push(gate.windowMs / 5);
  if (ratelimit.enabled) {
    const limits = [
      ...ratelimit.rules.filter((rule) => rule.enabled),
      ...ratelimit.tiers,
      ...(ratelimit.default ? [ratelimit.default] : []),
    ];
    for (const { algorithm, rate, burst } of limits) {
      spans.push(algorithm === "token_bucket" || algorithm === "leaky_bucket" ? burst / (2 * rate) * 1000 : 200);
    }
    if (ddos.enabled) spans.push(200);
  }
  return Math.max(1, Math.min(...spans));
}

function windowOf(config: Config, profile: Profile): number {
  const slots = [...takeSlots(config, profile).byPort.values()];
  const windows = slots.map(({ gate }) => gate?.windowMs ?? 0);
  if (slots.some((slot) => slot.feeds)) windows.push(ttlMs(config.ips, profile));
  return Math.max(1000, ...windows);
}

/** What a valid file means that its author may not expect. */
function lint(config: Config, profile: Profile, { file: { path }, countries, options }: {
  file: PolicyFile;
  countries: boolean;
  options: LoadOptions;
}): Finding[] {
  const findings: Finding[] = [], { ips, ids, firewall, ratelimit, threatintel } = config;
  const add = (
    code: string,
    message: string,
    at?: { id?: string; place: { line: number; column: number } },
    severity: Finding["severity"] = "warning",
  ) =>
    findings.push({
      severity,
      code,
      message,
      ...(at ? { place: { path, ...at.place } } : {}),
      ...(at?.id === undefined ? {} : { rule: at.id }),
    });
  const slots = takeSlots(config, profile);
  for (const { rule, takenBy, reason } of slots.inert) {
    if (takenBy) add("slot_taken", `rule ${rule.id} never counts: ${reason}, which is for the same port`, rule);
    else if (reason !== "disabled") add("inert", `rule ${rule.id} does nothing: ${reason}`, rule);
  }
  for (const { rule, inlineDrop, feeds } of slots.byPort.values()) {
    if (inlineDrop) {
      add(
        "inline_port_drop",
        `rule ${rule.id}: port ${rule.dstPort}, 100 % of packets are dropped, whatever thresholds and whitelist say`,
        rule,
      );
    } else if (ids.mode === "block" && rule.mode === "block") {
      add(
        "inline_port_drop",
        `rule ${rule.id}: with ids.mode block today's engine drops every packet to port ${rule.dstPort}`,
        rule,
      );
    }
    if (feeds) {
      add(
        "packets_not_attempts",
        `rule ${rule.id} counts packets, not attempts: a login is thirty or more`,
        rule,
        "note",
      );
    }
  }
  if (!ips.thresholdGiven && [...slots.byPort.values()].some((slot) => slot.feeds)) {
    add(
      "default_threshold",
      "ips.auto_blacklist_threshold is absent: 3 detections block; with 1, the first would",
      undefined,
      "note",
    );
  }
  const needs = (ips.countryThresholds?.size ?? 0) > 0 || ratelimit.tiers.length > 0 ||
    ids.rules.some((rule) => rule.countryThresholds);
  if (needs && !countries) {
    add("not_observable", "it has rules by country, and no country file was given: every country is unknown");
  }
  if ([ids.sampling, ips.sampling].some((s) => s && s.mode !== "none") && !options.hostAddresses?.length) {
    add(
      "not_observable",
      "sampling depends on the host's address, which was not given: detections are bounded by none and all",
    );
  }
  for (const feed of threatintel.feeds) {
    if (feed.enabled && threatintel.enabled && !options.feeds?.has(feed.id)) {
      add("not_observable", `the list of feed ${feed.id} was not given: what it would block is unknown`, feed, "note");
    }
  }
  if (profile === "seed" && ips.ttlS === 0) {
    add("profiles_differ", "ips: a TTL of 0 is for good here; today's engine lets it expire at once");
  }
  if (profile === "seed") {
    for (const rule of ratelimit.rules) {
      if (rule.action === "pass") {
        add(
          "profiles_differ",
          `rule ${rule.id}: action pass lets packets over the limit through; today's engine drops them`,
          rule,
        );
      }
    }
  }
  if (firewall.enabled) {
    const open = firewall.rules.filter((r) =>
      r.enabled && !r.src && !r.dst && (r.action === "deny" || r.action === "reject") && r.protocol !== "udp" &&
      r.protocol !== "icmp"
    );
    for (const rule of open) {
      add("ipv6_not_covered", `rule ${rule.id} names no address: today's engine installs it for IPv4 only`, rule);
    }
    findings.push(...findOrderSensitive(config, path));
  }
  return findings;
}
