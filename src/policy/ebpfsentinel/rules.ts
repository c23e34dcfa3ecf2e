/**
 * The rules of an eBPFsentinel policy as others see them: each exact, bounded or not observable, and by which index. Pure.
 */
import type { Rule } from "../policy.ts";
import type { Config, DetectionRule } from "./config.ts";
import type { FirewallRule } from "./config_firewall.ts";
import type { Limit } from "./config_limits.ts";
import { isCountable, type Profile, takeSlots } from "./detection.ts";
import type { Applied } from "./firewall.ts";

/** Rules by name. */
export interface RuleTable {
  list: Rule[];
  /** Index of a rule by the path or name that it was added under; -1 if there is none. */
  index(name: string): number;
  /** Index of the firewall's rule that was applied. */
  firewall(applied: Applied | undefined): number;
  /** Index of a limit: `default`, `rule:ID`, `tier:N`. */
  limit(name: string): number;
  /** Whether the rule at an index is a limit, which decides anew in each interval. */
  isLimit(index: number): boolean;
}

const NO_PAYLOAD = "it looks into payload or names, which aren't counted";

/** All rules of a configuration, and how parts of the simulation find theirs. */
export function listRules(config: Config, { profile, countries, feeds }: {
  profile: Profile;
  /** Whether countries of sources are known. */
  countries: boolean;
  /** Feeds whose list was given. */
  feeds: ReadonlySet<string>;
}): RuleTable {
  const list: Rule[] = [], names = new Map<string, number>();
  const add = (name: string, rule: Rule) => void names.set(name, list.push(rule) - 1);
  const bounded = (reason: string) => ({ coverage: "bounded", reason } as const);
  const unseen = (reason: string) => ({ coverage: "not observable", reason } as const);
  const { ips, ids, firewall, ratelimit, ddos, threatintel } = config;

  const slots = takeSlots(config, profile), feeding = [...slots.byPort.values()].filter((slot) => slot.feeds);
  if (ips.enabled && feeding.length > 0) {
    const mode = ips.mode === "block" && firewall.enabled ? "enforce" : "alert";
    add("ips:auto-blacklist", {
      id: "ips.auto_blacklist",
      kind: "ips",
      title: `block a source for ${ips.ttlS === 0 ? "good" : `${ips.ttlS} s`} after ${ips.threshold} detections`,
      ...bounded("how many packets a block drops is known; when it begins only up to the interval"),
      mode,
    });
    if (ips.countryThresholds) {
      add("ips:subnet", {
        id: "ips.subnet_injection",
        kind: "ips",
        title: "block the /24 or /48 of a source whose country has a threshold",
        ...(countries
          ? bounded("when a block begins is known only up to the interval")
          : unseen("no country file was given")),
        mode: countries ? mode : "off",
      });
    }
  }
  const inert = new Set(slots.inert.map((entry) => entry.rule));
  const slotOf = new Map([...slots.byPort.values()].map((slot) => [slot.rule, slot]));
  for (const rule of [...ids.rules, ...ips.rules]) {
    const slot = slotOf.get(rule);
    add(rule.path, {
      id: rule.id,
      kind: rule.list,
      title: titleOf(rule),
      ...coverDetection(rule, config, bounded, unseen),
      mode: inert.has(rule) || !slot && isCountable(rule)
        ? "off"
        : slot?.feeds && ips.mode === "block" || slot?.inlineDrop
        ? "enforce"
        : "alert",
    });
  }
  if (firewall.enabled) {
    for (const rule of firewall.rules) {
      const denies = rule.action === "deny" || rule.action === "reject";
      add(rule.path, {
        id: rule.id,
        kind: "firewall",
        title: `${rule.action}, priority ${rule.priority}${
          denies && firewall.mode === "alert" ? " (logged only: firewall.mode is alert)" : ""
        }`,
        ...coverFirewall(rule, bounded, unseen),
        mode: !rule.enabled
          ? "off"
          : rule.action === "allow" || (denies && firewall.mode === "block")
          ? "enforce"
          : "alert",
      });
    }
    if (firewall.defaultPolicy === "drop" || config.zonesEnabled) {
      add("firewall:default", {
        id: "firewall.default_policy",
        kind: "firewall",
        title: "drop what no rule matches",
        ...bounded(
          config.zonesEnabled
            ? "the zone of an interface isn't recorded"
            : "established connections are spared, and aren't counted apart",
        ),
        mode: "enforce",
      });
    }
  }
  const limitMode = ratelimit.enabled ? "enforce" : "off";
  const limit = (
    name: string,
    id: string,
    kind: string,
    title: string,
    { algorithm, action }: Limit,
    on: boolean,
    reason?: string,
  ) =>
    add(name, {
      id,
      kind,
      title,
      ...(reason ? unseen(reason) : bounded(
        algorithm === "syn_cookie"
          ? "when SYN came is known only up to the interval, and a challenged client may answer"
          : "when packets came is known only up to the interval; UDP of the source uses the same allowance and isn't counted",
      )),
      mode: !on || reason ? "off" : action === "pass" && profile === "seed" ? "alert" : limitMode,
    });
  const describe = ({ algorithm, rate, burst }: Limit) => `${algorithm}: ${rate} packets/s, burst ${burst}`;
  for (const rule of ratelimit.rules) {
    limit(`limit:rule:${rule.id}`, rule.id, "ratelimit", describe(rule), rule, rule.enabled);
  }
  for (const tier of ratelimit.tiers) {
    const reason = countries ? undefined : "no country file was given";
    limit(
      `limit:tier:${tier.tierId}`,
      `tier-${tier.tierId}`,
      "ratelimit",
      `${tier.countries.join(", ")}: ${describe(tier)}`,
      tier,
      true,
      reason,
    );
  }
  if (ratelimit.enabled && ratelimit.default) {
    limit("limit:default", "ratelimit.default", "ratelimit", describe(ratelimit.default), ratelimit.default, true);
  }
  if (ddos.enabled) {
    const guard = (name: string, on: boolean, title: string, reason: string) =>
      on && add(`ddos:${name}`, { id: `ddos.${name}`, kind: "ddos", title, ...bounded(reason), mode: "enforce" });
    const { syn, tracking } = ddos, when = "when packets came is known only up to the interval";
    guard(
      "syn",
      syn.enabled,
      `challenge SYN from ${syn.thresholdPps}/s of a source on`,
      `${when}, and a challenged client may answer`,
    );
    guard("rst", tracking.enabled && tracking.rst > 0, `${tracking.rst} RST/s of a source`, when);
    guard("fin", tracking.enabled && tracking.fin > 0, `${tracking.fin} FIN/s of a source`, when);
    guard(
      "half_open",
      tracking.enabled,
      `${tracking.halfOpen} half-open connections of a source`,
      "which ACK completes a connection isn't counted",
    );
    guard(
      "ack",
      tracking.enabled && tracking.ack > 0,
      `${tracking.ack} ACK/s of no known connection`,
      "connections aren't counted: from above only",
    );
    for (const policy of ddos.policies) {
      add(policy.path, {
        id: policy.id,
        kind: "ddos",
        title: `policy: ${policy.action}`,
        ...unseen(
          policy.action === "throttle"
            ? "throttle has no effect in the engine"
            : "it watches the guards' events, of all sources together",
        ),
        mode: policy.enabled ? policy.action === "block" ? "enforce" : "alert" : "off",
      });
    }
  }
  for (const feed of threatintel.feeds) {
    const mode = profile === "seed" ? feed.mode ?? threatintel.mode : threatintel.mode;
    add(feed.path, {
      id: feed.id,
      kind: "threatintel",
      title: `addresses of a list in ${feed.format}`,
      ...(feeds.has(feed.id) ? { coverage: "exact" } as const : unseen("its list was not given")),
      mode: !threatintel.enabled || !feed.enabled || !feeds.has(feed.id)
        ? "off"
        : mode === "block"
        ? "enforce"
        : "alert",
    });
  }
  for (const { section, reason } of config.notObservable) {
    add(`section:${section}`, {
      id: section,
      kind: section,
      title: `section ${section}`,
      ...unseen(reason),
      mode: "off",
    });
  }
  return {
    list,
    index: (name) => names.get(name) ?? -1,
    firewall: (applied) =>
      applied?.rule ? names.get(applied.rule.path) ?? -1 : applied ? -1 : names.get("firewall:default") ?? -1,
    limit: (name) => names.get(`limit:${name}`) ?? -1,
    isLimit: (index) => list[index]?.kind === "ratelimit",
  };
}

function titleOf({ dstPort, srcPort, pattern, threshold, mode }: DetectionRule): string {
  const port = dstPort !== undefined ? `port ${dstPort}` : srcPort !== undefined ? `source port ${srcPort}` : "no port";
  const gate = threshold ? `, ${threshold.type} ${threshold.count} in ${threshold.windowS} s` : "";
  return `${mode}: ${pattern ? "a pattern, " : ""}${port}${gate}`;
}

type Coverage = Pick<Rule, "coverage" | "reason">;

function coverDetection(
  rule: DetectionRule,
  { ids }: Config,
  bounded: (reason: string) => Coverage,
  unseen: (reason: string) => Coverage,
): Coverage {
  if (rule.pattern || rule.domain) return unseen(NO_PAYLOAD);
  if (rule.unseen.length > 0) return unseen(`${rule.unseen.join(", ")} isn't counted`);
  if (rule.protocol === "udp" || rule.protocol === "icmp") return unseen("only TCP is counted");
  if (rule.dstPort === undefined) {
    return unseen(rule.srcPort === undefined ? "it matches nothing" : "source ports aren't counted");
  }
  if (ids.sampling && ids.sampling.mode !== "none") {
    return bounded("which sources are sampled depends on the host's address");
  }
  if (rule.protocol === "any") return bounded("only the TCP part of what it matches is counted");
  if (rule.threshold) return bounded("its window may end inside an interval");
  return { coverage: "exact" };
}

function coverFirewall(
  rule: FirewallRule,
  bounded: (reason: string) => Coverage,
  unseen: (reason: string) => Coverage,
): Coverage {
  if (rule.protocol === "udp" || rule.protocol === "icmp") return unseen("only TCP is counted");
  const missing = [...rule.unseen, ...(rule.srcPorts ? ["src_port"] : [])];
  if (missing.length > 0) return bounded(`${missing.join(", ")} isn't counted: none to all of its packets`);
  if (rule.flags) return bounded("of flags, only those that open a connection are told apart");
  return { coverage: "exact" };
}
