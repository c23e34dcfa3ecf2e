/**
 * Guards and the rate limiter of a simulation: what they drop of a source's packets, at least and at most. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import type { Decision } from "../policy.ts";
import type { Limit } from "./config_limits.ts";
import { createLimitDecision, type DecideOnce, type Moment, SURELY } from "./decisions.ts";
import { challenged, type Stopped } from "./effects.ts";
import type { Range } from "./gate.ts";
import { createGuardBounds, type GuardName, guardRules, stepGuards } from "./guards.ts";
import { boundLimit, bucketRule, droppedOf, type LimitBounds, type LimitRule, type Selected } from "./limits.ts";
import { classify, createClasses, distribute, sumRanges } from "./ranges.ts";
import { type Group, type Present, type Simulated, times } from "./sources.ts";

/** What comes to limits that all sources share, and their room, by scope. */
export type SharedLimits = ReadonlyMap<string, { packets: Range; room: Range }>;

/** A source's packets on their way: what of each cell comes through so far, and what was stopped. */
export interface Passing {
  present: Present;
  passes: Range[];
  stopped: (Stopped[] | undefined)[];
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
  { decideOnce, undisturbed }: { decideOnce: DecideOnce; undisturbed: boolean },
) {
  const globals = new Map<string, LimitBounds>(), limitDecision = createLimitDecision();
  const anyGlobal = ratelimit.rules.some(({ scope }) => scope === "global");
  const guards = { ...ddos, rules: guardRules(ddos) }, classes = createClasses();
  const indexOf = (name: GuardName) => rules.index(`ddos:${name}`);
  const guardIndex: Record<GuardName, number> = {
    ...{ syn: indexOf("syn"), rst: indexOf("rst"), fin: indexOf("fin") },
    ...{ half_open: indexOf("half_open"), ack: indexOf("ack") },
  };
  /** Limits as they are computed, and the index of the rule. */
  const compiled = new Map<Limit, { rule: LimitRule; index: number }>();
  const compile = ({ name, limit }: Selected) => {
    let found = compiled.get(limit);
    if (!found) compiled.set(limit, found = { rule: bucketRule(limit, profile), index: rules.limit(name) });
    return found;
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
      sum.room = boundLimit(bucketRule(rule, profile), bounds, { ...sum.packets, ...times(interval) }, cpus);
    }
    return shared;
  }

  /** Takes what a rule drops off `passes`, and adds it to `stopped`; a `harmless` one only counts. */
  function take(
    { passes, stopped }: Passing,
    drops: readonly Range[],
    { rule, harmless, likely }: { rule: number; harmless: boolean; likely: number | undefined },
  ): void {
    let sum = 0;
    for (let k = 0; k < drops.length; k++) sum += drops[k]!.upper;
    for (let k = 0; k < drops.length; k++) {
      const dropped = drops[k]!, pass = passes[k]!;
      if (dropped.upper === 0) continue;
      (stopped[k] ??= []).push({
        rule: harmless ? -1 : rule,
        dropped,
        likely: likely === undefined ? undefined : likely * dropped.upper / sum,
      });
      if (harmless) continue;
      pass.lower = Math.max(0, pass.lower - dropped.upper);
      pass.upper -= dropped.lower;
    }
  }

  /** What guards take of a source. */
  function stepDdos(group: Group, passing: Passing, interval: Interval): void {
    const { present, passes, uncertain } = passing, { cells } = interval;
    classify(classes, cells, { from: group.from, passes, uncertain });
    present.guards ??= createGuardBounds();
    for (const { name, drops } of stepGuards(guards, present.guards, classes, interval, cpus)) {
      const lost = name === "syn" ? drops.map((drop) => challenged(drop, cells, group)) : drops;
      take(passing, lost, { rule: guardIndex[name], harmless: false, likely: undefined });
    }
  }

  /** Takes what guards and limits drop of a source off `passes`, and adds it to `stopped`. */
  function step(
    group: Group,
    passing: Passing,
    { interval, moment, decisions, shared }: {
      interval: Interval;
      moment: Moment;
      decisions: Decision[];
      shared: SharedLimits;
    },
  ): void {
    const { known, from } = group, { cells, beginMs, endMs } = interval, { present, passes, uncertain } = passing;
    if (ddos.enabled) stepDdos(group, passing, interval);
    const { syn, limit } = known.limits;
    if (syn) {
      classify(classes, cells, { from, passes, uncertain });
      const { rule, index } = compile(syn), harmless = syn.limit.action === "pass";
      const { lower, upper } = sumRanges(classes.opening);
      const room = boundLimit(rule, present.syn ??= {}, { lower, upper, beginMs, endMs }, cpus);
      const dropped = droppedOf(room, { lower, upper });
      if (dropped.upper > 0) {
        const drops = distribute(challenged(dropped, cells, group), classes.opening);
        take(passing, drops, { rule: index, harmless, likely: undefined });
      }
      if (harmless && upper > room.upper) {
        decideOnce(decisions, { rule: index, group, moment, dropped: SURELY, action: "alert" });
      }
    }
    if (!limit) return;
    const inputs = uncertain ? passes.map(({ upper }) => ({ lower: 0, upper })) : passes, own = sumRanges(inputs);
    const { rule, index } = compile(limit), all = shared.get(limit.scope);
    const { lower, upper } = all?.packets ?? own;
    const room = all?.room ?? boundLimit(rule, present.limit ??= {}, { lower, upper, beginMs, endMs }, cpus);
    const dropped = droppedOf(room, { lower, upper });
    // A source that the limiter has forgotten starts with a full burst.
    if (passing.crowded) dropped.lower = 0;
    if (all) dropped.lower = Math.max(0, dropped.lower - (all.packets.upper - own.upper));
    const likely = likelyDrop(present, limit.limit, own.upper, interval);
    if (dropped.upper === 0) return;
    const harmless = limit.limit.action === "pass" && profile === "seed", action = harmless ? "alert" : "limit";
    decisions.push(
      limitDecision({ rule: index, group, moment }, { dropped, packets: upper, limit: limit.limit, action }),
    );
    const drops = distribute(dropped, inputs);
    take(passing, drops, { rule: index, harmless, likely: Math.min(dropped.upper, Math.max(dropped.lower, likely)) });
  }

  return { share, step };
}

/** Packets over a limit if they come evenly. */
function likelyDrop(present: Present, limit: Limit, packets: number, { beginMs, endMs }: Interval): number {
  const { algorithm, rate } = limit, bucket = algorithm === "token_bucket" || algorithm === "leaky_bucket";
  const tokens = present.tokens ??= { room: Infinity, atMs: 0 };
  const seconds = (endMs - beginMs) / 1000, burst = bucket ? limit.burst : rate;
  const carried = Math.min(burst, tokens.room + rate * Math.max(0, beginMs - tokens.atMs) / 1000);
  const passed = Math.min(packets, carried + rate * seconds);
  tokens.room = Math.min(burst, carried + rate * seconds - passed);
  tokens.atMs = endMs;
  return packets - passed;
}
