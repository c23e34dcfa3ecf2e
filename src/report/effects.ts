/**
 * What a policy would have done, added up: by rule, source, half, day and span of the timeline.
 *
 * Rules are simulated side by side; together they drop what one of them drops: of a cell at least what the rule with
 * the highest lower bound drops, at most all of them together and never more than the cell holds. Pure.
 */
import type { Interval } from "../evidence/interval.ts";
import type { Bounds, Decision, Effect, Policy, Step } from "../policy/policy.ts";
import type { Range } from "../rules/ruleset.ts";
import { HIT } from "./bound.ts";
import type { Impact } from "./summary.ts";
import { atLeast, createPairs } from "../evidence/pairs.ts";
import type { Exclusions } from "./observe.ts";
import { dayOf, type Marks, marksOfDay, SPAN_NUMBERS } from "./tally.ts";

/** What would be dropped, in the three units. */
export interface Drop {
  packets: Bounds;
  bytes: Bounds;
  syn: Bounds;
}

/** A source and port of which something would be dropped. */
export interface Affected {
  source: number;
  port: number;
  union: Drop;
  byRule: Map<number, Drop>;
  /** Milliseconds of its intervals that are certainly and possibly blocked. */
  blockedMs: Range;
}

/** Sources that a rule would have blocked, by their number among all. */
export interface RuleHits {
  certain: Set<number>;
  possible: Set<number>;
  halves: [Set<number>, Set<number>];
}

/** Sums over one stream or over all. */
export interface Effects {
  total: Drop;
  byRule: Drop[];
  halves: [Drop, Drop];
  days: Map<number, Drop>;
  spans: Map<number, Drop>;
  hits: RuleHits[];
  decisions: { certain: number; possible: number }[];
  notEvaluated: number;
  /** Seconds from the first interval of an episode to its trigger, at the latest; in the order they came. */
  secondsToBlock: number[];
  /** What came in these before it, at least and at most. */
  letThrough: Record<"packets" | "bytes" | "syn", Range>;
}

/** Nothing would be dropped. */
export function noDrop(): Drop {
  const none = () => ({ lower: 0, expected: 0, upper: 0 });
  return { packets: none(), bytes: none(), syn: none() };
}

/** Adds to a sum. */
export function addDrop(to: Drop, { packets, bytes, syn }: Pick<Drop, "packets" | "bytes" | "syn">): void {
  addBounds(to.packets, packets);
  addBounds(to.bytes, bytes);
  addBounds(to.syn, syn);
}

function addBounds(to: Bounds, bounds: Bounds): void {
  to.lower += bounds.lower;
  to.expected += bounds.expected;
  to.upper += bounds.upper;
}

/** No effects of a policy yet. */
export function noEffects(policy: Policy): Effects {
  return {
    total: noDrop(),
    byRule: policy.rules.map(noDrop),
    halves: [noDrop(), noDrop()],
    days: new Map(),
    spans: new Map(),
    hits: policy.rules.map(() => ({ certain: new Set(), possible: new Set(), halves: [new Set(), new Set()] })),
    decisions: policy.rules.map(() => ({ certain: 0, possible: 0 })),
    notEvaluated: 0,
    secondsToBlock: [],
    letThrough: {
      packets: { lower: 0, upper: 0 },
      bytes: { lower: 0, upper: 0 },
      syn: { lower: 0, upper: 0 },
    },
  };
}

/** With the share of everything that was counted; what no source could be named for widens the upper bound. */
export function impactOf(
  drop: Drop,
  counted: { packets: number; bytes: number; syn: number },
  unattributed: { packets: number; bytes: number; syn: number } = { packets: 0, bytes: 0, syn: 0 },
): Impact {
  const share = (unit: "packets" | "bytes" | "syn"): Range => {
    const all = counted[unit];
    if (all === 0) return { lower: 0, upper: 0 };
    return { lower: drop[unit].lower / all, upper: Math.min(1, (drop[unit].upper + unattributed[unit]) / all) };
  };
  const wider = (unit: "packets" | "bytes" | "syn") => ({
    ...drop[unit],
    upper: drop[unit].upper + unattributed[unit],
  });
  return {
    packets: wider("packets"),
    bytes: wider("bytes"),
    syn: wider("syn"),
    share: { packets: share("packets"), bytes: share("bytes"), syn: share("syn") },
  };
}

/** How far the bounds are apart, as a share of the upper one: in packets or in SYNs, whichever is worse. */
export function blurOf({ packets, syn }: Drop): number {
  const blur = ({ lower, upper }: Bounds) => upper > 0 ? (upper - lower) / upper : 0;
  return Math.max(blur(packets), blur(syn));
}

/** Adds what a policy does on one stream to the sums of that stream and of all. */
export function createStreamEffects(
  policy: Policy,
  options: { effects: readonly Effects[]; marks: readonly Marks[]; middleMs: number; spanMs: number },
) {
  /** By the number of their pair of source and port. */
  const affected: Affected[] = [], pairs = createPairs();
  /** By pair and rule: which of its hits have been added, so that a flood's are not added in each of its intervals. */
  let added = new Uint8Array(0);
  /** What the interval at work takes out of what sources are judged by. */
  let sources = new Uint32Array(0), spans = new Float64Array(0), spanNumbers = 0;
  /** By source or network: until when it may be blocked by what was decided, by any rule; later begins an episode. */
  const blockedUntil = new Map<string | number, number>();
  const hitsOf = (rule: number, pick: (hits: RuleHits) => Set<number>, source: number) => {
    for (const effects of options.effects) pick(effects.hits[rule]!).add(source);
  };

  const mark = (source: number, endMs: number, half: 0 | 1) => {
    for (const marks of options.marks) {
      marks.total[source]! |= HIT;
      marks.halves[half][source]! |= HIT;
      marksOfDay(marks, dayOf(endMs))[source]! |= HIT;
    }
  };

  const addDecision = (
    decision: Decision,
    { interval, dropped }: { interval: Interval; dropped: (source: number, rule: number) => Drop },
  ) => {
    const { rule, source, certain } = decision;
    const enforced = decision.action !== "alert" && policy.rules[rule]!.mode === "enforce";
    for (const effects of options.effects) effects.decisions[rule]![certain ? "certain" : "possible"]++;
    if (!enforced) return;
    const { window, fromMs, untilMs } = decision;
    spans = atLeast(spans, spanNumbers + SPAN_NUMBERS);
    spans[spanNumbers++] = source;
    spans[spanNumbers++] = window.beginMs;
    spans[spanNumbers++] = window.endMs;
    spans[spanNumbers++] = fromMs.earliest;
    spans[spanNumbers++] = untilMs.latest;
    const half = interval.endMs <= options.middleMs ? 0 : 1;
    hitsOf(rule, (hits) => hits.possible, source);
    hitsOf(rule, (hits) => hits.halves[half], source);
    if (certain) hitsOf(rule, (hits) => hits.certain, source);
    mark(source, interval.endMs, half);
    if (!certain) return;
    const id = decision.prefix ?? source, before = blockedUntil.get(id) ?? -Infinity;
    blockedUntil.set(id, Math.max(before, decision.untilMs.latest));
    if (before + policy.windowMs >= decision.fromMs.earliest) return;
    const passed = dropped(source, rule), { measured } = decision;
    for (const effects of options.effects) {
      effects.secondsToBlock.push((decision.fromMs.latest - decision.window.beginMs) / 1000);
      addLetThrough(effects, { measured, dropped: (unit) => passed[unit].upper });
    }
  };

  /** Where what an interval's cells drop is added, in each of the effects: the same for all of them. */
  const sumsOf = ({ endMs }: Interval) => {
    const half: 0 | 1 = endMs <= options.middleMs ? 0 : 1, day = dayOf(endMs);
    const span = Math.ceil(endMs / options.spanMs) - 1;
    const drops = options.effects.flatMap((effects) => [
      ...[effects.total, effects.halves[half]],
      ...[at(effects.days, day), at(effects.spans, span)],
    ]);
    return { half, drops };
  };

  const addCell = (
    { cell, drop, byRule }: { cell: number; drop: Drop; byRule: readonly Effect[] },
    { beginMs, endMs, cells }: Interval,
    { half, drops }: ReturnType<typeof sumsOf>,
  ) => {
    const source = cells.source[cell]!, port = cells.port[cell]!, pair = pairs.of(source, port);
    if (pair === affected.length) {
      affected.push({ source, port, union: noDrop(), byRule: new Map(), blockedMs: { lower: 0, upper: 0 } });
      added = atLeast(added, affected.length * policy.rules.length);
    }
    const one = affected[pair]!;
    addDrop(one.union, drop);
    if (drop.packets.upper > 0) one.blockedMs.upper += endMs - beginMs;
    if (drop.packets.lower > 0 && drop.packets.lower >= cells.packets[cell]!) one.blockedMs.lower += endMs - beginMs;
    for (const sum of drops) addDrop(sum, drop);
    for (const effect of byRule) {
      let own = one.byRule.get(effect.rule);
      if (!own) one.byRule.set(effect.rule, own = noDrop());
      addDrop(own, effect);
      for (const effects of options.effects) addDrop(effects.byRule[effect.rule]!, effect);
      if (effect.packets.upper <= 0) continue;
      const certain = effect.packets.lower > 0, place = pair * policy.rules.length + effect.rule;
      const bits = (half === 0 ? 1 : 2) | (certain ? 4 : 0);
      if ((added[place]! & bits) === bits) continue;
      added[place]! |= bits;
      hitsOf(effect.rule, (hits) => hits.possible, source);
      hitsOf(effect.rule, (hits) => hits.halves[half], source);
      if (certain) hitsOf(effect.rule, (hits) => hits.certain, source);
    }
    if (drop.packets.upper > 0) mark(source, endMs, half);
  };

  return {
    affected,
    /** Adds an interval; returns what it takes out of what sources are judged by. */
    add({ decisions, effects, notEvaluated }: Step, interval: Interval): Exclusions {
      const { cells } = interval;
      let sourceCount = 0;
      spanNumbers = 0;
      for (const one of options.effects) one.notEvaluated += notEvaluated;
      const sums = effects.length > 0 ? sumsOf(interval) : undefined;
      for (let i = 0; sums && i < effects.length;) {
        const { cell } = effects[i]!, from = i;
        while (i < effects.length && effects[i]!.cell === cell) i++;
        if (cells.packets[cell] === 0) continue; // nothing was counted
        const byRule = effects.slice(from, i), drop = uniteAll(byRule, cells);
        sources = atLeast(sources, sourceCount + 1);
        sources[sourceCount++] = cells.source[cell]!;
        addCell({ cell, drop, byRule }, interval, sums);
      }
      let drops: Map<number, Drop> | undefined; // few decisions begin an episode
      const dropped = (source: number, rule: number) => {
        drops ??= sumBySource(effects, cells, policy.rules.length);
        return drops.get(source * policy.rules.length + rule) ?? noDrop();
      };
      for (const decision of decisions) addDecision(decision, { interval, dropped });
      return { sources: sources.slice(0, sourceCount), spans: spans.slice(0, spanNumbers) };
    },
  };
}

/**
 * Adds what a new episode let through before its block. The block begins at the trigger, which is somewhere in the last
 * interval of the window: at most all that the window held came before it, at least what is not dropped in the earliest
 * case. The time to block, in seconds to that interval's end, is a latest: it belongs to the upper bound.
 *
 * @param trigger `dropped`: the most that is dropped of the source in the triggering interval.
 */
export function addLetThrough(
  { letThrough }: Pick<Effects, "letThrough">,
  { measured, dropped }: {
    measured: Decision["measured"];
    dropped(unit: "packets" | "bytes" | "syn"): number;
  },
): void {
  for (const unit of ["packets", "bytes", "syn"] as const) {
    const held = measured[unit] ?? 0;
    letThrough[unit].lower += Math.max(0, held - dropped(unit));
    letThrough[unit].upper += held;
  }
}

/** What is dropped of each source by each of so many rules: by source × rules + rule. */
function sumBySource(effects: readonly Effect[], cells: Interval["cells"], rules: number): Map<number, Drop> {
  const drops = new Map<number, Drop>();
  for (const effect of effects) {
    const id = cells.source[effect.cell]! * rules + effect.rule, sum = drops.get(id) ?? noDrop();
    addDrop(sum, effect);
    drops.set(id, sum);
  }
  return drops;
}

/** What effects on one cell drop together; one alone, which the cell can hold, as it is. */
function uniteAll(effects: readonly Effect[], cells: Interval["cells"]): Drop {
  const [first] = effects as [Effect], { cell } = first;
  const [packets, bytes, syn] = [cells.packets[cell]!, cells.bytes[cell]!, cells.syn[cell]!];
  const alone = effects.length === 1 && first.packets.upper <= packets && first.bytes.upper <= bytes &&
    first.syn.upper <= syn;
  if (alone) return first;
  return {
    packets: unite(effects, "packets", packets),
    bytes: unite(effects, "bytes", bytes),
    syn: unite(effects, "syn", syn),
  };
}

function unite(effects: readonly Effect[], unit: "packets" | "bytes" | "syn", count: number): Bounds {
  const bounds = { lower: 0, expected: 0, upper: 0 };
  for (const effect of effects) {
    const one = effect[unit];
    bounds.lower = Math.max(bounds.lower, one.lower);
    bounds.expected = Math.max(bounds.expected, one.expected);
    bounds.upper += one.upper;
  }
  bounds.upper = Math.min(bounds.upper, count);
  return bounds;
}

function at(drops: Map<number, Drop>, key: number): Drop {
  let drop = drops.get(key);
  if (!drop) drops.set(key, drop = noDrop());
  return drop;
}
