/**
 * From candidate rules to what may be blocked: no entry overlaps another, and none touches what must not be blocked.
 *
 * Validators don't do this for the formats: some refuse overlaps, some widen host bits silently, some accept 0.0.0.0/0.
 * Rules are brought together as sets: an address is blocked on a port for as long as the longest rule that covers
 * both. Nothing is widened here. Allowlisted addresses are cut out of CIDRs; a rule that touches a protected address
 * (the host's own, its gateway, …) or a range that is never a remote sender is left out as a whole, with the reason.
 */
import { IbsrError } from "../errors.ts";
import {
  comparePrefixes,
  containsPrefix,
  formatPrefix,
  overlaps,
  parsePrefix,
  type Prefix,
  splitPrefix,
} from "../prefix.ts";
import type { CandidateRule, RuleSet } from "./ruleset.ts";
import { joinSpans, keyOf, type Span, spansOf } from "./spans.ts";

/** Addresses that are blocked alike. */
export interface Region {
  readonly prefix: Prefix;
  readonly spans: readonly Span[];
  /** The rules that ask for it, at most 64 of them. */
  readonly rules: readonly CandidateRule[];
}

/** What must stay reachable, and why: "the default gateway". */
export interface Protected {
  prefix: Prefix;
  why: string;
}

/** Why a rule isn't written. */
export interface LeftOut {
  rule: CandidateRule;
  /** `allowlist`: asked for; `lockout`: would cut this host off; `refused`: never a sender, or too wide. */
  kind: "allowlist" | "lockout" | "refused";
  reason: string;
}

/** What must not be blocked, and how wide a block may be. */
export interface Limits {
  /** Never blocked, besides the file's own exceptions. */
  allowlist: readonly Prefix[];
  protected: readonly Protected[];
  /** The widest prefixes, in bits. */
  widest: { v4: number; v6: number };
  /** How long every block lasts, in whole seconds, if it isn't to be the time that the policy says. */
  durationSec?: number | undefined;
}

/** What may be blocked, and what was left out. */
export interface Plan {
  set: RuleSet;
  limits: Limits;
  /** Sorted, IPv4 first; no two overlap. */
  regions: Region[];
  leftOut: LeftOut[];
  /** Rules that are smaller for the allowlist's sake. */
  cut: number;
}

/** The most regions that rules which overlap may fall into. */
const MAX_REGIONS = 1_000_000;

/** The most rules that a region remembers. */
const MAX_REMEMBERED = 64;

/** The most pieces that the allowlist may cut a rule into. */
const MAX_PIECES = 1024;

const NEVER: readonly Protected[] = [
  ["0.0.0.0/8", "an unspecified address"],
  ["127.0.0.0/8", "a loopback address"],
  ["169.254.0.0/16", "a link-local address"],
  ["224.0.0.0/4", "a multicast address"],
  ["255.255.255.255", "the broadcast address"],
  ["::", "the unspecified address"],
  ["::1", "the loopback address"],
  ["fe80::/10", "a link-local address"],
  ["ff00::/8", "a multicast address"],
].map(([text, why]) => ({ prefix: read(text!), why: why! }));

function read(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (!prefix) throw new IbsrError("data", `Cannot read ${JSON.stringify(text)}: it is no address or CIDR`);
  return prefix;
}

/**
 * Judges every rule and brings the rest together.
 *
 * @throws {IbsrError} `data`: the rules overlap in more than a million pieces.
 */
export function normalise(set: RuleSet, limits: Limits): Plan {
  const allowlist = sortDisjoint([...set.exceptions.map(read), ...limits.allowlist]);
  const leftOut: LeftOut[] = [], regions: Region[] = [];
  // Many rules may be about one source, and many exceptions inside of it.
  const known = new Map<string, Prefix[]>();
  let cut = 0;
  for (const rule of set.rules) {
    const prefix = read(rule.source), refused = judge(prefix, limits);
    if (refused) {
      leftOut.push({ rule, ...refused });
      continue;
    }
    const name = formatPrefix(prefix), pieces = known.get(name) ?? subtractAll(prefix, allowlist);
    known.set(name, pieces);
    if (pieces.length === 0) {
      leftOut.push({ rule, kind: "allowlist", reason: "the allowlist covers it" });
      continue;
    }
    if (pieces.length > MAX_PIECES) {
      leftOut.push({
        rule,
        kind: "refused",
        reason: `the allowlist would cut it into more than ${MAX_PIECES} pieces`,
      });
      continue;
    }
    if (pieces[0]!.bits !== prefix.bits) cut++;
    const spans = spansOf(rule.dst_ports, limits.durationSec ?? rule.duration_sec);
    for (const piece of pieces) regions.push({ prefix: piece, spans, rules: [rule] });
  }
  return { set, limits, regions: flatten(regions), leftOut, cut };
}

function judge(prefix: Prefix, limits: Limits): Omit<LeftOut, "rule"> | undefined {
  const widest = prefix.bytes.length === 4 ? limits.widest.v4 : limits.widest.v6;
  // What locks out is said before what is too wide: /0 does both.
  const locked = limits.protected.find((p) => overlaps(p.prefix, prefix));
  if (locked) return { kind: "lockout", reason: `it holds ${locked.why} ${formatPrefix(locked.prefix)}` };
  if (prefix.bits < widest || prefix.bits === 0) {
    return { kind: "refused", reason: `/${prefix.bits} is wider than /${Math.max(widest, 1)}` };
  }
  const never = NEVER.find((p) => overlaps(p.prefix, prefix));
  return never && { kind: "refused", reason: `it is or holds ${never.why} (${formatPrefix(never.prefix)})` };
}

/** The prefixes sorted, without those inside another. */
function sortDisjoint(prefixes: readonly Prefix[]): Prefix[] {
  const result: Prefix[] = [];
  for (const prefix of prefixes.toSorted(comparePrefixes)) {
    const last = result.at(-1);
    if (!last || !containsPrefix(last, prefix)) result.push(prefix);
  }
  return result;
}

/** What is left of a prefix without any of the sorted, disjoint exceptions; the same object if all of it is. */
function subtractAll(prefix: Prefix, exceptions: readonly Prefix[]): Prefix[] {
  const from = indexOf(prefix, exceptions);
  if (from > 0 && containsPrefix(exceptions[from - 1]!, prefix)) return [];
  let to = from;
  while (to < exceptions.length && containsPrefix(prefix, exceptions[to]!)) to++;
  const pieces: Prefix[] = [];
  carve(prefix, exceptions.slice(from, to), pieces);
  return pieces;
}

/** Adds the prefix without the exceptions, all of which are inside of it; stops when there are too many pieces. */
function carve(prefix: Prefix, exceptions: readonly Prefix[], pieces: Prefix[]): void {
  if (pieces.length > MAX_PIECES) return;
  if (exceptions.length === 0) return void pieces.push(prefix);
  if (exceptions[0]!.bits === prefix.bits) return;
  const [lower, upper] = splitPrefix(prefix), at = indexOf(upper, exceptions);
  carve(lower, exceptions.slice(0, at), pieces);
  carve(upper, exceptions.slice(at), pieces);
}

/** Where in sorted prefixes the first is that doesn't come before this one. */
function indexOf(prefix: Prefix, sorted: readonly Prefix[]): number {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (comparePrefixes(sorted[middle]!, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Regions that don't overlap: inside of several the spans of all are joined. */
function flatten(regions: readonly Region[]): Region[] {
  const flat: Region[] = [];
  const add = (region: Region) => {
    if (flat.push(region) > MAX_REGIONS) {
      throw new IbsrError("data", `Cannot bring the rules together: they overlap in more than ${MAX_REGIONS} pieces`);
    }
  };
  /** A region with those inside of it that differ from it, in order. */
  interface Open {
    region: Region;
    inside: Region[];
  }
  const open: Open[] = [];
  const close = () => {
    const { region, inside } = open.pop()!;
    if (inside.length === 0) return keep(region);
    const pieces: Region[] = [];
    cutOut(region, inside, pieces);
    for (const piece of pieces) keep(piece);
  };
  const keep = (region: Region) => {
    const parent = open.at(-1);
    if (parent) parent.inside.push(region);
    else add(region);
  };
  for (const region of regions.toSorted((a, b) => comparePrefixes(a.prefix, b.prefix))) {
    while (open.length > 0 && !containsPrefix(open.at(-1)!.region.prefix, region.prefix)) close();
    const parent = open.at(-1);
    if (!parent) {
      open.push({ region, inside: [] });
      continue;
    }
    const spans = joinSpans(parent.region.spans, region.spans), rules = remember(parent.region.rules, region.rules);
    const same = keyOf(spans) === keyOf(parent.region.spans);
    if (same || comparePrefixes(parent.region.prefix, region.prefix) === 0) {
      open[open.length - 1] = { ...parent, region: { ...parent.region, spans, rules } };
    } else {
      open.push({ region: { prefix: region.prefix, spans, rules }, inside: [] });
    }
  }
  while (open.length > 0) close();
  return flat;
}

/** Both lists, each rule once. */
function remember(a: readonly CandidateRule[], b: readonly CandidateRule[]): readonly CandidateRule[] {
  return a.length >= MAX_REMEMBERED ? a : [...new Set([...a, ...b])].slice(0, MAX_REMEMBERED);
}

/** Adds the region without the addresses of those inside of it, and these, in order. */
function cutOut(region: Region, inside: readonly Region[], out: Region[]): void {
  if (inside.length === 0) return void out.push(region);
  if (inside.length === 1 && inside[0]!.prefix.bits === region.prefix.bits) return void out.push(inside[0]!);
  if (out.length > MAX_REGIONS) {
    throw new IbsrError("data", `Cannot bring the rules together: they overlap in more than ${MAX_REGIONS} pieces`);
  }
  const [lower, upper] = splitPrefix(region.prefix);
  const at = inside.findIndex(({ prefix }) => containsPrefix(upper, prefix));
  const split = at < 0 ? inside.length : at;
  cutOut({ ...region, prefix: lower }, inside.slice(0, split), out);
  cutOut({ ...region, prefix: upper }, inside.slice(split), out);
}

/** Neighbours that are blocked alike as one prefix, as long as none gets wider than `widest`. */
export function aggregate(regions: readonly Region[], widest: Limits["widest"]): Region[] {
  const result: Region[] = [];
  for (const region of regions) {
    result.push(region);
    for (;;) {
      const upper = result.at(-1)!, lower = result.at(-2);
      const parent = lower && join(lower, upper, upper.prefix.bytes.length === 4 ? widest.v4 : widest.v6);
      if (!parent) break;
      result.splice(-2, 2, parent);
    }
  }
  return result;
}

/** Both halves of a prefix as one; undefined if they aren't, or differ. */
function join(lower: Region, upper: Region, widest: number): Region | undefined {
  const { bytes, bits } = lower.prefix;
  if (bits !== upper.prefix.bits || bytes.length !== upper.prefix.bytes.length || bits <= Math.max(widest, 1)) {
    return undefined;
  }
  const parent = { bytes, bits: bits - 1 };
  if ((bytes[(bits - 1) >> 3]! & 0x80 >> ((bits - 1) & 7)) !== 0) return undefined;
  if (!containsPrefix(parent, upper.prefix) || keyOf(lower.spans) !== keyOf(upper.spans)) return undefined;
  return { prefix: parent, spans: lower.spans, rules: remember(lower.rules, upper.rules) };
}
