/**
 * Guards and the rate limiter of a simulation: what they drop of a source's packets, at least and at most. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import { atLeast } from "../../evidence/pairs.ts";
import type { Decision } from "../policy.ts";
import type { Limit } from "./config_limits.ts";
import { createLimitDecision, type Moment, type Once, SURELY } from "./decisions.ts";
import { createAnswer } from "./bucket.ts";
import { countAnswers, stopOf, type Stops } from "./effects.ts";
import { createMatches, createRange, type Range, setMatches } from "./gate.ts";
import { createGuardSteps, type GuardName } from "./guards.ts";
import { boundLimit, bucketRule, type LimitBounds, type LimitRule, type Selected } from "./limits.ts";
import { classify, createClasses, createRanges, distribute, exceed, type Ranges, resize, sumRanges } from "./ranges.ts";
import type { Group, Present, Simulated } from "./sources.ts";

/** What comes to limits that all sources share, and their room, by scope. */
export type SharedLimits = ReadonlyMap<string, { packets: Range; room: Range }>;

/** A source's packets of an interval on their way: what of each cell comes through so far, and what was stopped. */
export interface Passing {
  interval: Interval;
  moment: Moment;
  decisions: Decision[];
  shared: SharedLimits;
  group: Group;
  present: Present;
  passes: Ranges;
  stopped: readonly Stops[];
  /** Whether a block may have taken packets before. */
  uncertain: boolean;
  /** Whether there are more sources than the limiter remembers. */
  crowded: boolean;
}

/**
 * Starts the limiter of a simulation.
 *
 * @param options.undisturbed Whether every packet comes to it: nothing before it ever drops one.
 */
export function createLimiter(
  { config: { ratelimit, ddos }, profile, rules, cpus }: Simulated,
  { once, undisturbed }: { once: Once; undisturbed: boolean },
) {
  const globals = new Map<string, LimitBounds>(), limitDecision = createLimitDecision();
  const likelyDrop = createLikelyDrop();
  const anyGlobal = ratelimit.rules.some(({ scope }) => scope === "global");
  const classes = createClasses(), answer = createAnswer(cpus);
  const packets = createMatches(), dropped = createRange(), drops = createRanges(), inputs = createRanges();
  const indexOf = (name: GuardName) => rules.index(`ddos:${name}`);
  const guardIndex: Record<GuardName, number> = {
    ...{ syn: indexOf("syn"), rst: indexOf("rst"), fin: indexOf("fin") },
    ...{ half_open: indexOf("half_open"), ack: indexOf("ack") },
  };
  const stepGuards = createGuardSteps(ddos, { cpus, index: guardIndex });
  const compiled = new Map<Limit, CompiledLimit>();
  /** The last one: most sources have the same. */
  let lastLimit: Limit | undefined, last: CompiledLimit | undefined;
  const compile = ({ name, limit }: Selected): CompiledLimit => {
    if (limit === lastLimit && last) return last;
    lastLimit = limit;
    last = compiled.get(limit);
    if (!last) compiled.set(limit, last = { rule: bucketRule(limit, profile), index: rules.limit(name) });
    return last;
  };

  /** Room of the limits that all sources share. */
  function share(groups: readonly Group[], interval: Interval): SharedLimits {
    const shared = new Map<string, { packets: Range; room: Range }>();
    if (!anyGlobal) return shared;
    for (const { known, from, to } of groups) {
      const { limit } = known.limits;
      if (!limit || limit.scope === "per_ip") continue;
      const sum = shared.get(limit.scope) ?? { packets: { lower: 0, upper: 0 }, room: { lower: 0, upper: 0 } };
      // How many come to the limiter depends on what is before it.
      for (let i = from; i < to; i++) sum.packets.upper += interval.cells.packets[i]!;
      shared.set(limit.scope, sum);
    }
    for (const [scope, sum] of shared) {
      const rule = ratelimit.rules.find(({ id }) => id === scope)!;
      if (undisturbed) sum.packets.lower = sum.packets.upper;
      const bounds = globals.get(scope) ?? {};
      globals.set(scope, bounds);
      setMatches(packets, sum.packets, interval);
      sum.room = { ...boundLimit(bucketRule(rule, profile), bounds, packets, answer) };
    }
    return shared;
  }

  /** Takes what a rule drops off `passes`, and adds it to `stopped`; a `harmless` one only counts. */
  function take({ passes, stopped }: Passing, { count, list }: Ranges, { rule, harmless, likely }: Taking): void {
    let sum = 0;
    for (let k = 0; k < count; k++) sum += list[k]!.upper;
    for (let k = 0; k < count; k++) {
      const { lower, upper } = list[k]!, pass = passes.list[k]!;
      if (upper === 0) continue;
      const stop = stopOf(stopped[k]!, harmless ? -1 : rule);
      if (stop.upper === 0) stop.likely = likely * upper / sum;
      stop.lower += lower;
      stop.upper += upper;
      if (harmless) continue;
      pass.lower = Math.max(0, pass.lower - upper);
      pass.upper -= lower;
    }
  }

  /** The source that is at work, for the guards. */
  let passing: Passing;
  /** A field: V8 makes a new object of each number that is put into a variable of a closure and may be a fraction. */
  const answered = { most: 0.5 };
  const taking: Taking = { rule: 0, harmless: false, likely: NaN };
  const takeDrops = (rule: number, lost: Ranges) => {
    taking.rule = rule;
    if (rule !== guardIndex.syn || answered.most === 0) return take(passing, lost, taking);
    const { count, list } = lost, unanswered = resize(drops, count);
    for (let k = 0; k < count; k++) {
      const { lower, upper } = list[k]!;
      unanswered[k]!.lower = Math.max(0, lower - answered.most);
      unanswered[k]!.upper = upper;
    }
    take(passing, drops, taking);
  };

  /** Takes what guards and limits drop of a source off `passes`, and adds it to `stopped`. */
  function step(of: Passing): void {
    const { interval, moment, decisions, shared, group } = of, { known, from } = group, { cells } = interval;
    const { present, passes, uncertain } = of;
    passing = of;
    const answers = answered.most = ddos.enabled || known.limits.syn ? countAnswers(cells, group) : 0;
    packets.beginMs = interval.beginMs;
    packets.endMs = interval.endMs;
    if (ddos.enabled) {
      classify(classes, cells, { from, passes, uncertain });
      stepGuards(present.number, classes, interval, takeDrops);
    }
    const { syn, limit } = known.limits;
    if (syn) {
      classify(classes, cells, { from, passes, uncertain });
      const { rule, index } = compile(syn), harmless = syn.limit.action === "pass";
      sumRanges(classes.opening, packets);
      const room = boundLimit(rule, present.syn ??= {}, packets, answer);
      if (exceed(packets, room, dropped).upper > 0) {
        dropped.lower = Math.max(0, dropped.lower - answers);
        take(of, distribute(dropped, classes.opening, drops), { rule: index, harmless, likely: NaN });
      }
      if (harmless && packets.upper > room.upper) {
        once.tell(decisions, { rule: index, group, moment, dropped: SURELY, action: "alert" });
      }
    }
    if (!limit) return;
    const come = resize(inputs, passes.count);
    for (let k = 0; k < passes.count; k++) {
      const { lower, upper } = passes.list[k]!;
      come[k]!.lower = uncertain ? 0 : lower;
      come[k]!.upper = upper;
    }
    sumRanges(inputs, packets);
    const { rule, index } = compile(limit), all = anyGlobal ? shared.get(limit.scope) : undefined, own = packets.upper;
    const asked = all?.packets ?? packets;
    exceed(asked, all?.room ?? boundLimit(rule, present.limit ??= {}, packets, answer), dropped);
    // A source that the limiter has forgotten starts with a full burst.
    if (of.crowded) dropped.lower = 0;
    if (all) dropped.lower = Math.max(0, dropped.lower - (all.packets.upper - own));
    const likely = likelyDrop(present, limit.limit, own, interval);
    if (dropped.upper === 0) return;
    const harmless = limit.limit.action === "pass" && profile === "seed", action = harmless ? "alert" : "limit";
    decisions.push(
      limitDecision({ rule: index, group, moment }, { dropped, packets: asked.upper, limit: limit.limit, action }),
    );
    distribute(dropped, inputs, drops);
    take(of, drops, { rule: index, harmless, likely: Math.min(dropped.upper, Math.max(dropped.lower, likely)) });
  }

  return { share, step };
}

/** A limit as it is computed, and the index of its rule. */
interface CompiledLimit {
  rule: LimitRule;
  index: number;
}

/** By which rule packets are taken, and how many of them likely; NaN if that isn't known. */
interface Taking {
  rule: number;
  harmless: boolean;
  likely: number;
}

/** Starts to follow a likely course of the limiter: packets over a limit if they come evenly. */
function createLikelyDrop() {
  /** By source, the room that was left and when: Infinity for one that was never seen. */
  let rows = new Float64Array(0);
  return ({ number }: Present, limit: Limit, packets: number, { beginMs, endMs }: Interval): number => {
    const { algorithm, rate } = limit, bucket = algorithm === "token_bucket" || algorithm === "leaky_bucket";
    const row = 2 * number;
    if (row + 2 > rows.length) rows = atLeast(rows, row + 2, Infinity);
    const seconds = (endMs - beginMs) / 1000, burst = bucket ? limit.burst : rate;
    const carried = Math.min(burst, rows[row]! + rate * Math.max(0, beginMs - rows[row + 1]!) / 1000);
    const passed = Math.min(packets, carried + rate * seconds);
    rows[row] = Math.min(burst, carried + rate * seconds - passed);
    rows[row + 1] = endMs;
    return packets - passed;
  };
}
