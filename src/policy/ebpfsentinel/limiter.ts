/**
 * Guards and the rate limiter of a simulation: what they drop of a source's packets, at least and at most. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import type { Decision } from "../policy.ts";
import { type DecideOnce, limitDecision, SURELY } from "./decisions.ts";
import { challenged, type Stopped } from "./effects.ts";
import type { Range } from "./gate.ts";
import { createGuardBounds, stepGuards } from "./guards.ts";
import { boundLimit, bucketRule, droppedOf, type LimitBounds, type Selected } from "./limits.ts";
import { classify, distribute, sumRanges } from "./ranges.ts";
import { type Group, type Present, type Simulated, times } from "./sources.ts";

/** What comes to limits that all sources share, and their room, by scope. */
export type SharedLimits = ReadonlyMap<string, { packets: Range; room: Range }>;

/** A source's packets on their way: what of each cell comes through so far, and what was stopped. */
export interface Passing {
  present: Present;
  passes: Range[];
  stopped: Stopped[][];
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
  const globals = new Map<string, LimitBounds>();

  /** Room of the limits that all sources share. */
  function share(groups: readonly Group[], interval: Interval): SharedLimits {
    const shared = new Map<string, { packets: Range; room: Range }>();
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

  /** Takes what guards and limits drop of a source off `passes`, and adds it to `stopped`. */
  function step(
    group: Group,
    { present, passes, stopped, uncertain, crowded }: Passing,
    { interval, decisions, shared }: { interval: Interval; decisions: Decision[]; shared: SharedLimits },
  ): void {
    const { known, from } = group, { cells } = interval;
    const take = (rule: number, drops: Range[], harmless = false, likely?: number) => {
      const sum = drops.reduce((total, drop) => total + drop.upper, 0);
      for (const [k, drop] of drops.entries()) {
        if (drop.upper === 0) continue;
        stopped[k]!.push({
          rule: harmless ? -1 : rule,
          dropped: drop,
          likely: likely === undefined ? undefined : likely * drop.upper / sum,
        });
        if (harmless) continue;
        passes[k]!.lower = Math.max(0, passes[k]!.lower - drop.upper);
        passes[k]!.upper -= drop.lower;
      }
    };
    const classOf = (k: number) => classify(cells, from + k, passes[k]!, uncertain);
    if (ddos.enabled) {
      present.guards ??= createGuardBounds();
      const classes = passes.map((_, k) => classOf(k));
      for (const { name, drops } of stepGuards(ddos, present.guards, classes, times(interval), cpus)) {
        take(rules.index(`ddos:${name}`), name === "syn" ? drops.map((drop) => challenged(drop, cells, group)) : drops);
      }
    }
    const { syn, limit } = known.limits;
    if (syn) {
      const openings = passes.map((_, k) => classOf(k).opening), total = sumRanges(openings);
      const room = boundLimit(bucketRule(syn.limit, profile), present.syn, { ...total, ...times(interval) }, cpus);
      const rule = rules.limit(syn.name), harmless = syn.limit.action === "pass";
      take(rule, distribute(challenged(droppedOf(room, total), cells, group), openings), harmless);
      if (harmless && total.upper > room.upper) {
        decideOnce(decisions, { rule, group, interval, dropped: SURELY, action: "alert" });
      }
    }
    if (!limit) return;
    const inputs = passes.map((pass) => uncertain ? { lower: 0, upper: pass.upper } : pass);
    const rule = rules.limit(limit.name), all = shared.get(limit.scope);
    const total = all ? all.packets : sumRanges(inputs);
    const room = all
      ? all.room
      : boundLimit(bucketRule(limit.limit, profile), present.limit, { ...total, ...times(interval) }, cpus);
    const dropped = droppedOf(room, total);
    // A source that the limiter has forgotten starts with a full burst.
    if (crowded) dropped.lower = 0;
    if (all) dropped.lower = Math.max(0, dropped.lower - (all.packets.upper - sumRanges(inputs).upper));
    const passing = limit.limit.action === "pass" && profile === "seed";
    const likely = likelyDrop(present, limit, sumRanges(passes).upper, interval);
    if (dropped.upper > 0) {
      const action = passing ? "alert" : "limit";
      decisions.push(limitDecision({ rule, group, interval }, { dropped, total, limit, action }));
    }
    take(rule, distribute(dropped, inputs), passing, Math.min(dropped.upper, Math.max(dropped.lower, likely)));
  }

  return { share, step };
}

/** Packets over a limit if they come evenly. */
function likelyDrop({ likely }: Present, { limit }: Selected, packets: number, { beginMs, endMs }: Interval): number {
  const seconds = (endMs - beginMs) / 1000, burst = /bucket/.test(limit.algorithm) ? limit.burst : limit.rate;
  const carried = Math.min(burst, likely.room + limit.rate * Math.max(0, beginMs - likely.atMs) / 1000);
  const passed = Math.min(packets, carried + limit.rate * seconds);
  likely.room = Math.min(burst, carried + limit.rate * seconds - passed);
  likely.atMs = endMs;
  return packets - passed;
}
