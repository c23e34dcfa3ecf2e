/**
 * The rate limiter: which limit a source has, and whether a packet is over it. Pure.
 *
 * The tier of a source's country comes before a rule for its address, that before the default. A limit that challenges
 * SYN stands beside the others: it looks at nothing else.
 */
import { containsPrefix, prefixOf } from "../../prefix.ts";
import type { Source } from "./blacklist.ts";
import {
  type Answer,
  boundBucket,
  boundSlide,
  type Bucket,
  type BucketBounds,
  type BucketRule,
  createBucket,
  createBucketBounds,
  createSlide,
  createSlideBounds,
  passBucket,
  passSlide,
  type Slide,
  type SlideBounds,
} from "./bucket.ts";
import type { Limit, Ratelimit } from "./config_limits.ts";
import type { Profile } from "./detection.ts";
import {
  boundGate,
  createGate,
  createGateBounds,
  type Gate,
  type GateBounds,
  type GateRule,
  type Matches,
  passGate,
  type Range,
  setMatches,
  takeRoom,
} from "./gate.ts";

/** A limit that was chosen for a source. */
export interface Selected {
  /** `tier:1`, `rule:ID` or `default`. */
  name: string;
  limit: Limit;
  /** `per_ip`, or a name that all sources share. */
  scope: string;
}

/** The limits of a source. */
export function selectLimits(
  { rules, tiers, default: fallback }: Pick<Ratelimit, "rules" | "tiers" | "default">,
  { bytes, country }: Pick<Source, "bytes" | "country">,
): { syn: Selected | undefined; limit: Selected | undefined } {
  const alone = prefixOf(bytes);
  let syn: Selected | undefined, limit: Selected | undefined, synBits = -2, limitBits = -2;
  for (const rule of rules) {
    if (!rule.enabled || (rule.match && !containsPrefix(rule.match, alone))) continue;
    const bits = rule.match?.bits ?? -1,
      selected = {
        name: `rule:${rule.id}`,
        limit: rule,
        scope: rule.scope === "global" ? rule.id : "per_ip",
      };
    if (rule.algorithm === "syn_cookie") {
      if (bits > synBits) [syn, synBits] = [selected, bits];
    } else if (bits > limitBits) [limit, limitBits] = [selected, bits];
  }
  const tier = country === undefined ? undefined : tiers.find(({ countries }) => countries.includes(country));
  if (tier) {
    const selected = { name: `tier:${tier.tierId}`, limit: tier, scope: "per_ip" };
    if (tier.algorithm === "syn_cookie") syn = selected;
    else limit = selected;
  }
  limit ??= fallback && { name: "default", limit: fallback, scope: "per_ip" };
  return { syn, limit };
}

/** SYN that are not challenged: the first of a second always, then those before the threshold. */
export function synGate(thresholdPps: number): GateRule {
  return { type: "limit", count: Math.max(1, thresholdPps - 1), windowMs: 1000 };
}

/** A limit as it is computed. */
export interface LimitRule extends BucketRule {
  algorithm: Limit["algorithm"];
  /** What a fixed window or a challenge counts in. */
  gate: GateRule;
}

/** A limit as the bucket counts it, with the losses of the profile's engine. */
export function bucketRule({ algorithm, rate, burst }: Limit, profile: Profile): LimitRule {
  const gate = algorithm === "syn_cookie" ? synGate(rate) : { type: "limit", count: rate, windowMs: 1000 } as const;
  const rule: LimitRule = { algorithm, rate, burst, gate };
  if (profile === "code" && algorithm === "token_bucket") rule.lossy = "token";
  if (profile === "code" && algorithm === "leaky_bucket") rule.lossy = "leaky";
  return rule;
}

/** What the limiter remembers of a source; made when first used. */
export interface LimitState {
  algorithm: Limit["algorithm"];
  bucket?: Bucket;
  gate?: Gate;
  slide?: Slide;
}

/** Whether a packet at `nowMs` is within the limit. */
export function passLimit(rule: LimitRule, state: LimitState, nowMs: number): boolean {
  if (rule.algorithm === "sliding_window") return passSlide(rule.rate, state.slide ??= createSlide(), nowMs);
  if (rule.algorithm === "token_bucket" || rule.algorithm === "leaky_bucket") {
    return passBucket(rule, state.bucket ??= createBucket(), nowMs);
  }
  return passGate(rule.gate, state.gate ??= createGate(), nowMs);
}

/** The same, for intervals. */
export interface LimitBounds {
  bucket?: BucketBounds;
  gate?: GateBounds;
  slide?: SlideBounds;
}

/** Room for packets in an interval: as many pass at least, and at most, if so many come. Takes the bounds along. */
export function boundLimit(rule: LimitRule, bounds: LimitBounds, packets: Matches, answer: Answer): Range {
  if (rule.algorithm === "sliding_window") {
    return boundSlide(rule.rate, bounds.slide ??= createSlideBounds(), packets, answer);
  }
  if (rule.algorithm === "token_bucket" || rule.algorithm === "leaky_bucket") {
    return boundBucket(rule, bounds.bucket ??= createBucketBounds(), packets, answer);
  }
  return boundWindow(rule.gate, bounds.gate ??= createGateBounds(), packets, answer);
}

const FRESH: Readonly<GateBounds> = createGateBounds();

/** Room that a gate of kind `limit` has in an interval; takes the gate along. */
export function boundWindow(rule: GateRule, gate: GateBounds, packets: Matches, { cpus, room, any }: Answer): Range {
  takeRoom(rule, gate, packets, room);
  if (cpus <= 1) return room;
  // Of another CPU's window nothing is known: it may be full or fresh.
  const { lower } = room;
  setMatches(any, ENDLESS, packets);
  boundGate(rule, FRESH, any, room);
  room.lower = lower;
  room.upper = cpus * (room.upper + rule.count);
  return room;
}

const ENDLESS: Range = { lower: Infinity, upper: Infinity };
