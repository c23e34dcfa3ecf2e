/**
 * Candidate rules: one for each source (or network), ports and policy rule that certainly would have been blocked.
 *
 * What was only possible is evidence, not a rule. Pure.
 */
import type { PortRange } from "../address.ts";
import type { Decision, Policy } from "../policy/policy.ts";
import { formatPrefix, parsePrefix, prefixOf } from "../prefix.ts";
import type { CandidateRule } from "../rules/ruleset.ts";
import { addDrop, type Drop, noDrop } from "./effects.ts";
import type { SourceClass } from "./summary.ts";

/** What would be dropped of a source and port by a rule, on one stream. */
export interface RuleDrop {
  rule: number;
  source: number;
  port: number;
  drop: Drop;
}

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

/** Groups certain decisions into rules, sorted by source, rule and ports. */
export function listCandidates(
  policy: Policy,
  decisions: Iterable<Decision>,
  drops: Iterable<RuleDrop>,
  options: {
    bytesOf(source: number): Uint8Array;
    textOf(source: number): string;
    classOf(source: number): SourceClass;
  },
): CandidateRule[] {
  const groups = new Map<string, Group>();
  for (const decision of decisions) {
    const { rule, source, prefix, ports = [], certain, action, fromMs, untilMs } = decision;
    if (!certain || action !== "block" || policy.rules[rule]!.mode !== "enforce") continue;
    const key = `${rule} ${prefix ?? source} ${ports.join()}`, group = groups.get(key);
    if (group) {
      group.triggers++;
      group.firstMs = Math.min(group.firstMs, fromMs.latest);
      group.lastMs = Math.max(group.lastMs, fromMs.latest);
      group.durationMs = Math.max(group.durationMs, untilMs.latest - fromMs.latest);
      continue;
    }
    groups.set(key, {
      ...{ rule, source, prefix, ports, triggers: 1, sample: decision },
      ...{ firstMs: fromMs.latest, lastMs: fromMs.latest, durationMs: untilMs.latest - fromMs.latest },
    });
  }
  const sums = sumDrops([...groups.values()], drops, options.bytesOf);
  const order = [...groups.values()].map((group) => ({ group, prefix: prefixOfGroup(group, options.bytesOf) }));
  order.sort((a, b) => compare(a.prefix, b.prefix) || a.group.rule - b.group.rule || comparePorts(a.group, b.group));
  return order.map(({ group, prefix }, i) => {
    const rule = policy.rules[group.rule]!, drop = sums.get(group) ?? noDrop();
    const range = ({ lower, upper }: { lower: number; upper: number }) => ({ lower, upper });
    return {
      id: `${rule.id.replaceAll(/[^A-Za-z0-9_-]/g, "_")}-${i + 1}`,
      source: formatPrefix(prefix),
      protocol: "tcp",
      dst_ports: [...group.ports],
      action: "drop",
      duration_sec: Number.isFinite(group.durationMs) ? group.durationMs / 1000 : null,
      policy_rule: rule.id,
      class: options.classOf(group.source),
      reason: reasonOf(group),
      triggers: group.triggers,
      first_trigger_unix_sec: group.firstMs / 1000,
      last_trigger_unix_sec: group.lastMs / 1000,
      would_block: { packets: range(drop.packets), bytes: range(drop.bytes), syn: range(drop.syn) },
    };
  });
}

/** What was met, before what was measured: comments of some formats have room for the first alone. */
function reasonOf({ sample, triggers }: Group): string {
  const measured = Object.entries(sample.measured).map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`);
  const times = triggers === 1 ? "once" : `${triggers} times, first`;
  return `${sample.formula} (triggered ${times} by ${measured.join(", ")})`;
}

/** What each group's rule drops of the sources and ports that it names. */
function sumDrops(
  groups: readonly Group[],
  drops: Iterable<RuleDrop>,
  bytesOf: (source: number) => Uint8Array,
): Map<Group, Drop> {
  const bySource = new Map<string, Group[]>(), lengths = new Map<number, Set<number>>();
  const keep = (key: string, group: Group) => {
    const list = bySource.get(key);
    if (list) list.push(group);
    else bySource.set(key, [group]);
  };
  for (const group of groups) {
    if (group.prefix === undefined) {
      keep(`${group.rule} ${group.source}`, group);
      continue;
    }
    const prefix = parsePrefix(group.prefix)!;
    keep(`${group.rule} ${group.prefix}`, group);
    lengths.set(prefix.bytes.length, (lengths.get(prefix.bytes.length) ?? new Set()).add(prefix.bits));
  }
  const sums = new Map<Group, Drop>();
  for (const { rule, source, port, drop } of drops) {
    const bytes = bytesOf(source);
    const names = [...lengths.get(bytes.length) ?? []].map((bits) => formatPrefix(prefixOf(bytes, bits)));
    for (const group of [source, ...names].flatMap((name) => bySource.get(`${rule} ${name}`) ?? [])) {
      if (group.ports.length > 0 && !group.ports.some((range) => holds(range, port))) continue;
      const sum = sums.get(group) ?? noDrop();
      addDrop(sum, drop);
      sums.set(group, sum);
    }
  }
  return sums;
}

function holds(range: PortRange, port: number): boolean {
  if (typeof range === "number") return range === port;
  const [low, high] = range.split("-").map(Number) as [number, number];
  return low <= port && port <= high;
}

function prefixOfGroup({ prefix, source }: Group, bytesOf: (source: number) => Uint8Array) {
  return prefix === undefined ? prefixOf(bytesOf(source)) : parsePrefix(prefix)!;
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
