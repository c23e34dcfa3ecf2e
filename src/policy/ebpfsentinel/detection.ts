/**
 * Which rule of `ids` and `ips` a packet is a match of. Pure.
 *
 * The engine's program has one slot for each protocol and port. The rules of `ids` come first, then those of `ips`,
 * and a later rule takes the slot of an earlier one: what the earlier one is for then never happens. A rule for any
 * protocol is looked at as one for TCP, since nothing else is counted.
 */
import type { Config, DetectionRule, Sampling } from "./config.ts";
import type { GateRule } from "./gate.ts";

/** A reading of the engine: `seed` as its early documents say, `code` as its program does today. */
export type Profile = "seed" | "code";

/** A slot's rule, and what its matches do. */
export interface Slot {
  /** Slots have numbers from 0. */
  number: number;
  rule: DetectionRule;
  /** Whether detections of it count towards the blacklist. */
  feeds: boolean;
  /** Whether every packet of the port is dropped. */
  inlineDrop: boolean;
  gate: GateRule | undefined;
  countryGates: ReadonlyMap<string, GateRule> | undefined;
}

/** Slots by destination port, and the rules that have none. */
export interface Slots {
  byPort: ReadonlyMap<number, Slot>;
  /** Rules that never act, and why. */
  inert: { rule: DetectionRule; reason: string; takenBy?: string }[];
}

export function takeSlots({ ids, ips }: Pick<Config, "ids" | "ips">, profile: Profile): Slots {
  const byPort = new Map<number, Slot>(), inert: Slots["inert"] = [];
  if (!ids.enabled) {
    return { byPort, inert: [...ids.rules, ...ips.rules].map((rule) => ({ rule, reason: "ids.enabled is false" })) };
  }
  for (const rule of [...ids.rules, ...ips.rules]) {
    if (!rule.enabled) {
      inert.push({ rule, reason: "disabled" });
    } else if (rule.list === "ips" && !ips.enabled) {
      inert.push({ rule, reason: "ips.enabled is false" });
    } else if (rule.dstPort !== undefined && (rule.protocol === "tcp" || rule.protocol === "any")) {
      const before = byPort.get(rule.dstPort);
      if (before) {
        const reason = `slot taken by ${rule.id}`;
        inert.push({ rule: before.rule, reason, takenBy: rule.id });
      }
      byPort.set(rule.dstPort, { number: before?.number ?? byPort.size, ...slotOf(rule, { ids, ips }, profile) });
    }
  }
  return { byPort, inert };
}

/** Looks up slots by port, as often as there are cells: 128 KB, where a Map takes several times as long. */
export function createPortTable(byPort: ReadonlyMap<number, Slot>): (port: number) => Slot | undefined {
  if (byPort.size === 0) return () => undefined;
  const list = [undefined, ...byPort.values()], places = new Uint16Array(1 << 16);
  for (const [at, port] of [...byPort.keys()].entries()) places[port] = at + 1;
  return (port) => list[places[port]!];
}

function slotOf(
  rule: DetectionRule,
  { ids, ips }: Pick<Config, "ids" | "ips">,
  profile: Profile,
): Omit<Slot, "number"> {
  const gateOf = (threshold: DetectionRule["threshold"]): GateRule | undefined =>
    threshold && { type: threshold.type, count: threshold.count, windowMs: threshold.windowS * 1000 };
  const countryGates = rule.threshold && rule.countryThresholds
    ? new Map([...rule.countryThresholds].map(([country, threshold]) => [country, gateOf(threshold)!]))
    : undefined;
  const counted = rule.mode === "block" || (profile === "code" && rule.list === "ids");
  return {
    rule,
    feeds: ips.enabled && counted && isCountable(rule),
    inlineDrop: profile === "code" && ids.mode === "block" && rule.mode === "block",
    gate: gateOf(rule.threshold),
    countryGates,
  };
}

/** Whether the packets that a rule matches are those that are counted for its port. */
export function isCountable(rule: DetectionRule): boolean {
  return !rule.pattern && !rule.domain && rule.unseen.length === 0;
}

// -------------------------------------------------------------------------------------------------- sampling

/** The hash by which a pair of addresses is looked at or not; of IPv6 the first 32 bits count. */
export function sampleHash(source: Uint8Array, destination: Uint8Array, mode: Sampling["mode"] = "hash"): number {
  const src = wordOf(source), hash = Math.imul(src ^ wordOf(destination), 2654435761) >>> 0;
  return mode === "random" ? hash + Math.imul(src, 17) >>> 0 : hash;
}

function wordOf(bytes: Uint8Array): number {
  return (bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0;
}

/**
 * Whether packets between two addresses are looked at: always or never, since a pair's hash is what it is.
 *
 * @param destinations Addresses of the host. With none or several that differ in it, nobody can say.
 */
export function isSampled(
  sampling: Sampling | undefined,
  source: Uint8Array,
  { destinations, country }: { destinations: readonly Uint8Array[]; country: string | undefined },
): boolean | "unknown" {
  if (!sampling || sampling.mode === "none") return true;
  const listed = country !== undefined && sampling.countries.includes(country);
  const rate = sampling.mode === "country_based" && listed ? sampling.highRate : sampling.rate;
  // At a rate of 1 it is all but one hash in four thousand million.
  if (rate >= 1) return true;
  if (rate <= 0) return false;
  const same = destinations.filter(({ length }) => length === source.length);
  const answers = new Set(same.map((d) => sampleHash(source, d, sampling.mode) / 0xffff_ffff < rate));
  return answers.size === 1 ? [...answers][0]! : "unknown";
}
