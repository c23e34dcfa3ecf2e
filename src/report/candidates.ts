/**
 * Candidate rules: one for each source (or network), ports and policy rule that certainly would have been blocked.
 *
 * What was only possible is evidence, not a rule. Pure.
 */
import type { PortRange } from "../address.ts";
import type { Sources } from "../evidence/interval.ts";
import type { Decision, Policy } from "../policy/policy.ts";
import { formatPrefix, parsePrefix, prefixOf } from "../prefix.ts";
import type { CandidateRule } from "../rules/ruleset.ts";
import { addDrop, type Affected, noDrop } from "./effects.ts";
import type { SourceClass } from "./summary.ts";

interface Group {
  rule: number;
  source: number;
  prefix: string | undefined;
  ports: readonly PortRange[];
  triggers: number;
  firstMs: number;
  lastMs: number;
  durationMs: number;
  sample: Decision;
}

/** Candidate rules, once it is known what their sources look like. */
export type Candidates = (classOf: (source: number) => SourceClass) => CandidateRule[];

/**
 * Groups certain decisions of all streams into rules, sorted by source, rule and ports. All but the classes of sources
 * is made here, so that it can be while these are still being looked at elsewhere.
 */
export function draftCandidates(
  policy: Policy,
  streams: readonly { decisions: Iterable<Decision>; affected: readonly Affected[] }[],
  sources: Sources,
): Candidates {
  const groups = groupDecisions(policy, streams), sums = sumDrops(policy, groups, streams, sources);
  const order = groups.map((group, i) => ({ group, drop: sums[i]!, prefix: prefixOfGroup(group, sources) }));
  order.sort((a, b) => compare(a.prefix, b.prefix) || a.group.rule - b.group.rule || comparePorts(a.group, b.group));
  const range = ({ lower, upper }: { lower: number; upper: number }) => ({ lower, upper });
  const ids = policy.rules.map(({ id }) => id.replaceAll(/[^A-Za-z0-9_-]/g, "_"));
  const drafts = order.map(({ group, drop, prefix }, i): CandidateRule => ({
    id: `${ids[group.rule]!}-${i + 1}`,
    source: formatPrefix(prefix),
    protocol: "tcp",
    dst_ports: [...group.ports],
    action: "drop",
    duration_sec: Number.isFinite(group.durationMs) ? group.durationMs / 1000 : null,
    policy_rule: policy.rules[group.rule]!.id,
    class: "unknown", // until it is known
    reason: reasonOf(group),
    triggers: group.triggers,
    first_trigger_unix_sec: group.firstMs / 1000,
    last_trigger_unix_sec: group.lastMs / 1000,
    would_block: { packets: range(drop.packets), bytes: range(drop.bytes), syn: range(drop.syn) },
  }));
  const sourceOf = Uint32Array.from(order, ({ group }) => group.source);
  return (classOf) => {
    for (const [i, draft] of drafts.entries()) draft.class = classOf(sourceOf[i]!);
    return drafts;
  };
}

/** By rule, what it blocks, and ports. */
function groupDecisions(policy: Policy, streams: readonly { decisions: Iterable<Decision> }[]): Group[] {
  const groups: Group[] = [], known = policy.rules.map(() => new Map<number | string, Group>());
  for (const { decisions } of streams) {
    for (const decision of decisions) {
      const { rule, source, prefix, ports = [], certain, action, fromMs, untilMs } = decision;
      if (!certain || action !== "block" || policy.rules[rule]!.mode !== "enforce") continue;
      // Nearly all block one port of one source: a number is found sooner than a text.
      const [port] = ports, alone = prefix === undefined && ports.length === 1 && typeof port === "number";
      const key = alone ? source * 65536 + port : `${prefix ?? source} ${ports.join()}`;
      const group = known[rule]!.get(key);
      if (group) {
        group.triggers++;
        group.firstMs = Math.min(group.firstMs, fromMs.latest);
        group.lastMs = Math.max(group.lastMs, fromMs.latest);
        group.durationMs = Math.max(group.durationMs, untilMs.latest - fromMs.latest);
        continue;
      }
      const added: Group = {
        ...{ rule, source, prefix, ports, triggers: 1, sample: decision },
        ...{ firstMs: fromMs.latest, lastMs: fromMs.latest, durationMs: untilMs.latest - fromMs.latest },
      };
      known[rule]!.set(key, added);
      groups.push(added);
    }
  }
  return groups;
}

/** What was met, before what was measured: comments of some formats have room for the first alone. */
function reasonOf({ sample, triggers }: Group): string {
  const measured: string[] = [];
  for (const [name, value] of Object.entries(sample.measured)) {
    // What most are is the same in six digits, and found without them.
    const short = Number.isInteger(value) && Math.abs(value) < 1e6 ? value : Number(value.toPrecision(6));
    measured.push(`${name} ${short}`);
  }
  const times = triggers === 1 ? "once" : `${triggers} times, first`;
  return `${sample.formula} (triggered ${times} by ${measured.join(", ")})`;
}

/** What each group's rule drops of the sources and ports that it names. */
function sumDrops(
  policy: Policy,
  groups: readonly Group[],
  streams: readonly { affected: readonly Affected[] }[],
  sources: Sources,
) {
  const sums = groups.map(noDrop), lengths = new Map<number, Set<number>>();
  /** By rule, the places of the groups of a source or network. */
  const placesOf = policy.rules.map(() => new Map<number | string, number[]>());
  for (const [place, { rule, source, prefix }] of groups.entries()) {
    const places = placesOf[rule]!.get(prefix ?? source);
    if (places) places.push(place);
    else placesOf[rule]!.set(prefix ?? source, [place]);
    if (prefix === undefined) continue;
    const { bytes, bits } = parsePrefix(prefix)!;
    lengths.set(bytes.length, (lengths.get(bytes.length) ?? new Set()).add(bits));
  }
  const networksOf = (source: number) => {
    if (lengths.size === 0) return [];
    const bytes = sources.bytes(source);
    return [...lengths.get(bytes.length) ?? []].map((bits) => formatPrefix(prefixOf(bytes, bits)));
  };
  for (const { affected } of streams) {
    for (const { source, port, byRule } of affected) {
      const names = [source, ...networksOf(source)];
      for (const [rule, drop] of byRule) {
        for (const name of names) {
          for (const place of placesOf[rule]!.get(name) ?? []) {
            const { ports } = groups[place]!;
            if (ports.length === 0 || ports.some((range) => holds(range, port))) addDrop(sums[place]!, drop);
          }
        }
      }
    }
  }
  return sums;
}

function holds(range: PortRange, port: number): boolean {
  if (typeof range === "number") return range === port;
  const [low, high] = range.split("-").map(Number) as [number, number];
  return low <= port && port <= high;
}

function prefixOfGroup({ prefix, source }: Group, sources: Sources) {
  return prefix === undefined ? prefixOf(sources.bytes(source)) : parsePrefix(prefix)!;
}

function compare(a: { bytes: Uint8Array; bits: number }, b: { bytes: Uint8Array; bits: number }): number {
  return compareBytes(a.bytes, b.bytes) || a.bits - b.bits;
}

/** IPv4 before IPv6, then by value. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

function comparePorts(a: Group, b: Group): number {
  const first = ({ ports }: Group) => ports.length === 0 ? 0 : parseInt(`${ports[0]}`);
  return first(a) - first(b) || (a.ports.join() < b.ports.join() ? -1 : 1);
}
