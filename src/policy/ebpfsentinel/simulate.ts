/**
 * The engine interval by interval: what it would have dropped of each source and port, at least and at most. Pure.
 *
 * Each interval goes through the engine's path: blacklist, firewall, guards, rate limiter, detection, the drop of a
 * port, lists of addresses. A stage is given how many packets come to it at least and at most, and hands on what it
 * leaves. Where a later stage decides about an earlier one (detections begin a block that drops what follows), the
 * earlier is given both: that it drops, and that it doesn't. So bounds widen in such an interval, and never fail.
 */
import type { Cells, Interval } from "../../evidence/interval.ts";
import { formatPrefix, prefixOf } from "../../prefix.ts";
import type { Decision, Effect, Finding, SimulatedStream, Simulation } from "../policy.ts";
import { ttlMs } from "./blacklist.ts";
import { type BlockRule, type HostState, type HostStep, type PortPackets, stepHost } from "./blacklist_bounds.ts";
import { alertDecision, limitDecision, measure } from "./decisions.ts";
import { type Slot, takeSlots } from "./detection.ts";
import { challenged, mergeStops, pushEffect, type Stopped } from "./effects.ts";
import { compileFirewall, OPENING, type Verdict } from "./firewall.ts";
import { advanceGate, boundGate, createGateBounds, type GateBounds, type GateRule, type Range } from "./gate.ts";
import { createGuardBounds, stepGuards } from "./guards.ts";
import { boundLimit, bucketRule, droppedOf, type LimitBounds, type Selected } from "./limits.ts";
import { createNotes, LIMITER_SOURCES } from "./notes.ts";
import { classify, distribute, sumRanges } from "./ranges.ts";
import {
  cellsOf,
  createKnowledge,
  gateOf,
  type Group,
  groupCells,
  type Known,
  type Present,
  recall,
  type Simulated,
  times,
} from "./sources.ts";

/** Verdicts of the firewall that are kept, by source and port. */
const MAX_VERDICTS = 1 << 20;
/** Sweeps of today's program, which end blocks late. */
const SWEEP_MS = 60_000;

/** A network that was blocked, or may have been. */
interface Subnet {
  text: string;
  certainFromMs: number;
  certainUntilMs: number;
  possibleUntilMs: number;
}

const NOTHING: Range = { lower: 0, upper: 0 };

/** Starts a simulation of a stream. */
export function startSimulation(simulated: Simulated, { sources }: SimulatedStream): Simulation {
  const { config, profile, rules, destinations, cpus } = simulated,
    { ips, ids, ratelimit, ddos } = config;
  const slots = takeSlots(config, profile).byPort;
  const firewall = compileFirewall(config.firewall, { profile, zonesEnabled: config.zonesEnabled });
  const know = createKnowledge(simulated, sources), presents = new Map<number, Present>();
  const subnets = new Map<string, Subnet>(), blocked = new Map<number, number>();
  const globals = new Map<string, LimitBounds>(), reported = new Set<string>();
  const verdicts = new Map<number, Verdict>();
  const ttl = ttlMs(ips, profile), lagMs = profile === "code" ? SWEEP_MS : 0;
  const enforced = ips.mode === "block" && config.firewall.enabled;
  const counting = ips.enabled && [...slots.values()].some((slot) => slot.feeds);
  const found = createNotes();

  function judge(source: number, port: number, opening: boolean): Verdict {
    const key = (source * 65536 + port) * 2 + Number(opening), present = verdicts.get(key);
    if (present) return present;
    if (verdicts.size >= MAX_VERDICTS) verdicts.clear();
    const flags = opening ? OPENING : { value: 0, known: 0 };
    const flow = { source: know(source).bytes, port: port === 0 ? undefined : port, flags, destinations };
    const verdict = firewall.judge({ ...flow, established: opening ? false : "unknown" });
    verdicts.set(key, verdict);
    return verdict;
  }

  return {
    fold(interval) {
      const { cells, beginMs } = interval, decisions: Decision[] = [], effects: Effect[] = [];
      for (const [source, untilMs] of blocked) if (untilMs <= beginMs) blocked.delete(source);
      const groups = groupCells(cells, know);
      const refused = boundCapacity(groups, interval);
      const injections = listInjections(groups, interval, refused);
      const shared = boundShared(groups, interval);
      found.note(interval);
      for (const group of groups) {
        stepSource(group, { interval, decisions, effects, refused, injections, shared });
      }
      for (const [key, injection] of injections) extendSubnet(key, injection, interval, decisions);
      if (presents.size > LIMITER_SOURCES && ratelimit.enabled) found.add("limiter_full");
      return { decisions, effects, notEvaluated: 0 };
    },
    finish: () => ({ findings: [...found.list(simulated), ...sumBlocks()] }),
  };

  /** What the blacklist drops of all intervals together, which is closer than the sum of each on its own. */
  function sumBlocks(): Finding[] {
    if (!enforced || ips.countryThresholds) return [];
    let lower = 0, upper = 0;
    for (const { host } of presents.values()) {
      lower += Math.min(...host.map(({ dropped }) => dropped.lower));
      upper += Math.max(...host.map(({ dropped }) => dropped.upper));
    }
    if (upper === 0) return [];
    const message = `all intervals taken together, the blacklist would have dropped ${lower} to ${upper} packets`;
    return [{ severity: "note", code: "joint_bounds", message }];
  }

  // ------------------------------------------------------------------------------------------------ before sources

  /** Whether a source can reach its limit in the interval, as far as a quick look tells. */
  function mayBlock({ known, from, to, source }: Group, cells: Cells): boolean {
    if (!counting || known.trusted || known.sampled === false || known.counted === false) return false;
    let matches = 0;
    for (let i = from; i < to; i++) {
      if (cells.port[i] === 0 || slots.get(cells.port[i]!)?.feeds) matches += cells.packets[i]!;
    }
    if (matches === 0) return false;
    const states = presents.get(source)?.host;
    const most = states ? Math.max(...states.map((state) => state.blocked ? 0 : state.most)) : 0;
    return most + matches >= known.limit;
  }

  /** Whether the blacklist may be too full for what begins in the interval. */
  function boundCapacity(groups: readonly Group[], { cells }: Interval): "never" | "maybe" | "always" {
    if (!counting) return "never";
    if (ips.maxSize === 0) return "always";
    if (blocked.size + groups.length <= ips.maxSize) return "never";
    let most = blocked.size;
    for (const group of groups) if (!blocked.has(group.source) && mayBlock(group, cells)) most++;
    if (most <= ips.maxSize) return "never";
    found.add("capacity_reached");
    return "maybe";
  }

  /** Networks that may be blocked from some moment of the interval on, with the sources that may bring it about. */
  function listInjections(
    groups: readonly Group[],
    interval: Interval,
    refused: SourceRefusal,
  ): Map<string, Injection> {
    const injections = new Map<string, Injection>();
    if (!ips.countryThresholds || refused === "always") return injections;
    for (const group of groups) {
      const { injects, bytes } = group.known;
      if (injects === undefined || !mayBlock(group, interval.cells)) continue;
      const injection = injections.get(injects) ?? {
        text: formatPrefix(prefixOf(bytes, bytes.length === 4 ? 24 : 48)),
        sources: [],
        certain: false,
      };
      injection.sources.push(group.source);
      injections.set(injects, injection);
    }
    return injections;
  }

  /** Room of the limits that all sources share. */
  function boundShared(groups: readonly Group[], interval: Interval): Map<string, { packets: Range; room: Range }> {
    const shared = new Map<string, { packets: Range; room: Range }>();
    for (const { known, from, to } of groups) {
      const { limit } = known.limits;
      if (!limit || limit.scope === "per_ip") continue;
      const sum = shared.get(limit.scope) ?? { packets: { ...NOTHING }, room: NOTHING };
      // How many come to the limiter depends on what is before it.
      for (let i = from; i < to; i++) sum.packets.upper += interval.cells.packets[i]!;
      shared.set(limit.scope, sum);
    }
    for (const [scope, sum] of shared) {
      const rule = ratelimit.rules.find(({ id }) => id === scope)!;
      if (!counting && !ddos.enabled && firewall.letsAllPass) sum.packets.lower = sum.packets.upper;
      const bounds = globals.get(scope) ?? {};
      globals.set(scope, bounds);
      sum.room = boundLimit(bucketRule(rule, profile), bounds, { ...sum.packets, ...times(interval) }, cpus);
    }
    return shared;
  }

  // ------------------------------------------------------------------------------------------------ a source

  function stepSource(group: Group, context: SourceContext): void {
    const { interval, effects } = context, { known, from, to, source } = group, { cells } = interval;
    const subnet = coverBySubnet(known, group, context);
    const host = presents.get(source)?.host;
    const active = enforced && !known.trusted;
    if (subnet.certain || (active && host && isCovered(host, interval))) {
      dropAll(group, context, subnet.certain ? "ips:subnet" : "ips:auto-blacklist");
      if (host) advanceCovered(group, interval);
      return;
    }
    const present = recall(presents, source), count = to - from;
    const mayBegin = active && context.refused !== "always" && mayBlock(group, cells);
    const mayDrop = subnet.possible ||
      (active && (mayBegin || present.host.some((s) => s.blocked && s.latestMs > interval.beginMs)));

    // Firewall: what of each cell comes through, and what is stopped by which rule.
    const passes: Range[] = [], stopped: Stopped[][] = [];
    for (let i = from; i < to; i++) {
      const stops = judgeCell(source, i, cells);
      const sum = sumRanges(stops.map((stop) => stop.dropped)), packets = cells.packets[i]!;
      passes.push({ lower: packets - Math.min(packets, sum.upper), upper: packets - sum.lower });
      stopped.push(stops);
    }
    // Guards and limits, of what no block may have taken before.
    if (ratelimit.enabled) {
      stepLimits(group, { context, present, passes, stopped, uncertain: mayDrop });
    }
    // Detection, and the blocks that it begins.
    const step = stepDetection(group, { context, present, passes, subnet: subnet.possible, mayDrop });
    for (let k = 0; k < count; k++) {
      const i = from + k, packets = cells.packets[i]!;
      let taken = active && step ? step.dropped[k]! : NOTHING;
      if (subnet.possible) taken = { lower: taken.lower, upper: packets };
      if (taken.upper > 0) {
        const likely = step ? step.share * packets : packets / 2;
        pushEffect(
          effects,
          cells,
          i,
          rules.index(subnet.possible && !mayBegin ? "ips:subnet" : "ips:auto-blacklist"),
          taken,
          likely,
        );
      }
      const left = stopped[k]!;
      const slot = slots.get(cells.port[i]!), rest = passes[k]!;
      if (slot?.inlineDrop) left.push({ rule: rules.index(slot.rule.path), dropped: { ...rest } });
      if (known.listed?.mode === "block" && config.threatintel.enabled && !slot?.inlineDrop) {
        left.push({ rule: known.listed.rule, dropped: { ...rest } });
      }
      for (const { rule, alert } of left) if (alert) decideOnce(context, group, rule, { lower: 1, upper: 1 }, "alert");
      for (const { rule, dropped, likely } of mergeStops(left)) {
        if (rule < 0 || dropped.upper === 0) continue;
        const after = {
          lower: Math.max(0, dropped.lower - taken.upper),
          upper: Math.min(dropped.upper, packets - taken.lower),
        };
        const share = taken.upper === 0 ? 1 : 1 - (taken.lower + taken.upper) / 2 / packets;
        pushEffect(effects, cells, i, rule, after, (likely ?? (dropped.lower + dropped.upper) / 2) * share);
        decideOnce(context, group, rule, after);
      }
    }
    if (known.listed?.mode === "alert") decideOnce(context, group, known.listed.rule, { lower: 1, upper: 1 }, "alert");
  }

  /** What the firewall stops of a cell: connections being opened, and all others, each by a rule. */
  function judgeCell(source: number, i: number, cells: Cells): Stopped[] {
    const port = cells.port[i]!, packets = cells.packets[i]!;
    const opening = Math.min(packets, Math.max(0, cells.syn[i]! - cells.synAck[i]!));
    const stops: Stopped[] = [];
    for (const [count, isOpening] of [[opening, true], [packets - opening, false]] as const) {
      if (count === 0) continue;
      const verdict = judge(source, port, isOpening), rule = rules.firewall(verdict.applied);
      if (verdict.decision === "pass") {
        // A rule that would drop in mode block is reported, once a source.
        if (verdict.wouldDrop) stops.push({ rule, dropped: NOTHING, alert: true });
        continue;
      }
      stops.push({ rule, dropped: { lower: verdict.decision === "drop" ? count : 0, upper: count } });
    }
    return stops;
  }

  /** Guards and the rate limiter: takes what they drop off `passes`, and adds it to `stopped`. */
  function stepLimits(group: Group, { context, present, passes, stopped, uncertain }: {
    context: SourceContext;
    present: Present;
    passes: Range[];
    stopped: Stopped[][];
    uncertain: boolean;
  }): void {
    const { interval, shared } = context, { known, from } = group, { cells } = interval;
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
      for (
        const { name, drops } of stepGuards(
          ddos,
          present.guards,
          passes.map((_, k) => classOf(k)),
          times(interval),
          cpus,
        )
      ) {
        take(rules.index(`ddos:${name}`), name === "syn" ? drops.map((drop) => challenged(drop, cells, group)) : drops);
      }
    }
    const { syn, limit } = known.limits;
    if (syn) {
      const openings = passes.map((_, k) => classOf(k).opening), total = sumRanges(openings);
      const room = boundLimit(bucketRule(syn.limit, profile), present.syn, { ...total, ...times(interval) }, cpus);
      const harmless = syn.limit.action === "pass";
      take(rules.limit(syn.name), distribute(challenged(droppedOf(room, total), cells, group), openings), harmless);
      if (harmless && total.upper > room.upper) {
        decideOnce(context, group, rules.limit(syn.name), { lower: 1, upper: 1 }, "alert");
      }
    }
    if (!limit) return;
    const inputs = passes.map((pass) => uncertain ? { lower: 0, upper: pass.upper } : pass),
      rule = rules.limit(limit.name);
    const all = shared.get(limit.scope);
    const total = all ? all.packets : sumRanges(inputs);
    const room = all
      ? all.room
      : boundLimit(bucketRule(limit.limit, profile), present.limit, { ...total, ...times(interval) }, cpus);
    const dropped = droppedOf(room, total);
    // A source that the limiter has forgotten starts with a full burst.
    if (presents.size > LIMITER_SOURCES) dropped.lower = 0;
    if (all) dropped.lower = Math.max(0, dropped.lower - (all.packets.upper - sumRanges(inputs).upper));
    const passing = limit.limit.action === "pass" && profile === "seed";
    const likely = likelyDrop(present, limit, sumRanges(passes).upper, interval);
    if (dropped.upper > 0) {
      const action = passing ? "alert" : "limit";
      context.decisions.push(limitDecision({ rule, group, interval, dropped, total, limit, action }));
    }
    take(rule, distribute(dropped, inputs), passing, Math.min(dropped.upper, Math.max(dropped.lower, likely)));
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

  /** Detections of a source and the blocks they begin; undefined where there is nothing to detect. */
  function stepDetection(group: Group, { context, present, passes, subnet, mayDrop }: {
    context: SourceContext;
    present: Present;
    passes: readonly Range[];
    subnet: boolean;
    mayDrop: boolean;
  }): (HostStep & { share: number }) | undefined {
    const { interval, decisions } = context, { known, from, to, source } = group, { cells } = interval;
    if (known.trusted && ids.rules.length === 0) return undefined;
    const unknownShare = known.sampled === "unknown" || subnet, ports: PortPackets[] = [];
    const advances: { gate: GateBounds; rule: GateRule; matches: Range }[] = [];
    let detecting = false, matched = 0;
    for (let i = from; i < to; i++) {
      const port = cells.port[i]!, packets = cells.packets[i]!, pass = passes[i - from]!, slot = slots.get(port);
      const matches = { lower: unknownShare ? 0 : pass.lower, upper: pass.upper };
      if (!slot || !isObservable(slot) || known.sampled === false) {
        ports.push({ packets, matches, gate: undefined });
        continue;
      }
      const rule = (known.country === undefined ? undefined : slot.countryGates?.get(known.country)) ?? slot.gate;
      const state = gateOf(present, port);
      const bySource = !rule || !slot.rule.threshold || slot.rule.threshold.trackBy === "src_ip" ||
        (slot.rule.threshold.trackBy === "both" && destinations.length === 1);
      let detections = rule ? boundGate(rule, state, { ...matches, ...times(interval) }) : matches;
      if (!bySource) detections = { lower: 0, upper: matches.upper };
      if (rule) advances.push({ gate: state, rule, matches });
      if (slot.rule.mode === "alert" && detections.upper > 0) {
        const certain = detections.lower > 0 && !mayDrop;
        decisions.push(
          alertDecision({ rule: rules.index(slot.rule.path), group, interval, detections, certain, slot }),
        );
      }
      const feeds = slot.feeds && !known.trusted && known.counted !== false;
      const counted = known.counted === "unknown" ? { lower: 0, upper: detections.upper } : detections;
      ports.push({
        packets,
        matches,
        gate: feeds ? { rule: bySource ? rule : undefined, state, detections: counted } : undefined,
      });
      if (feeds && (known.counted === "unknown" || !bySource)) {
        ports.at(-1)!.matches = { lower: 0, upper: matches.upper };
      }
      if (feeds) [detecting, matched] = [true, matched + 1];
    }
    // A port that was counted with all others may hold matches of any rule.
    const everyPort = counting && !known.trusted && cells.port[from] === 0 && known.sampled !== false &&
      known.counted !== false;
    if (everyPort) {
      const pass = passes[0]!, detections = { lower: 0, upper: pass.upper }, state = createGateBounds();
      ports[0] = { packets: ports[0]!.packets, matches: detections, gate: { rule: undefined, state, detections } };
      detecting = true;
    }
    const before = present.host;
    const resting = before.length === 1 && !before[0]!.blocked && before[0]!.most === 0;
    if (!detecting && (resting || known.trusted)) {
      advanceGates(advances, interval, mayDrop ? 0 : Infinity);
      return undefined;
    }
    const block: BlockRule = { limit: known.limit, ttlMs: ttl, lagMs, dryRun: !enforced };
    const step = stepHost(block, before, { ...times(interval), ports, refused: context.refused });
    const counted = before.every((state) => !state.blocked || state.latestMs <= interval.beginMs);
    const reach = !enforced || (!mayDrop && step.begins === "never")
      ? Infinity
      : counted && !subnet && matched === 1
      ? step.fewestPass
      : 0;
    advanceGates(advances, interval, reach);
    present.host = step.states;
    const latest = Math.max(-Infinity, ...step.states.map((state) => state.blocked ? state.latestMs : -Infinity));
    if (latest > interval.endMs) blocked.set(source, latest);
    const share = likelyShare(present, { known, ports, interval, begins: step.begins });
    if (step.begins !== "never") begin(group, context, { step, ports, latest });
    return { ...step, share };
  }

  function advanceGates(
    advances: readonly { gate: GateBounds; rule: GateRule; matches: Range }[],
    interval: Interval,
    reach: number,
  ): void {
    for (const { gate, rule, matches } of advances) {
      advanceGate(rule, gate, { lower: Math.min(matches.lower, reach), upper: matches.upper, ...times(interval) });
    }
  }

  /** The share of a source's packets that a block takes if they come evenly; takes the likely course along. */
  function likelyShare({ likely }: Present, { known, ports, interval, begins }: {
    known: Known;
    ports: readonly PortPackets[];
    interval: Interval;
    begins: HostStep["begins"];
  }): number {
    const { beginMs, endMs } = interval, length = Math.max(1, endMs - beginMs);
    if (likely.untilMs >= endMs) return 1;
    let share = 0, open = beginMs;
    if (likely.untilMs > beginMs) {
      [share, open, likely.detections] = [(likely.untilMs - beginMs) / length, likely.untilMs, 0];
    }
    if (open - likely.sinceMs >= ttl) [likely.detections, likely.sinceMs] = [0, open];
    const detections =
      ports.reduce((sum, { gate }) => sum + (gate ? (gate.detections.lower + gate.detections.upper) / 2 : 0), 0) *
      (endMs - open) / length;
    likely.detections += detections;
    if (likely.detections < known.limit || begins === "never") return share;
    const needed = detections === 0 ? 1 : 1 - (likely.detections - known.limit) / detections;
    const start = open + (endMs - open) * Math.min(1, Math.max(0, needed));
    Object.assign(likely, { untilMs: start + ttl, detections: 0, sinceMs: -Infinity });
    return share + Math.max(0, Math.min(endMs, start + ttl) - start) / length;
  }

  // ------------------------------------------------------------------------------------------------ blocks

  function begin(group: Group, context: SourceContext, { step, ports, latest }: {
    step: HostStep;
    ports: readonly PortPackets[];
    latest: number;
  }): void {
    const { interval, decisions, injections } = context, { known, source } = group, { beginMs, endMs } = interval;
    const certain = step.begins === "always",
      detections = sumRanges(ports.flatMap(({ gate }) => gate ? [gate.detections] : []));
    if (certain && known.injects !== undefined) {
      const injection = injections.get(known.injects);
      if (injection) injection.certain = true;
    }
    decisions.push({
      rule: rules.index("ips:auto-blacklist"),
      action: enforced ? "block" : "alert",
      certain,
      source,
      window: times(interval),
      fromMs: { earliest: beginMs, latest: endMs },
      untilMs: { earliest: beginMs + ttl, latest: Math.max(latest, endMs + ttl) },
      measured: { detections: detections.upper, ...measure(group, interval) },
      thresholds: { auto_blacklist_threshold: known.limit, blacklist_ttl: ips.ttlS },
      formula: `detections ≥ ${known.limit} within ${ips.ttlS || "∞"} s`,
    });
    found.blocked(cellsOf(group, interval), config);
  }

  function coverBySubnet(
    known: Known,
    { source, from, to }: Group,
    { interval, injections }: SourceContext,
  ): { certain: boolean; possible: boolean } {
    if (!ips.countryThresholds || !enforced) return { certain: false, possible: false };
    const subnet = subnets.get(known.subnet), injection = injections.get(known.subnet);
    const others = injection?.sources.some((other) => other !== source) ?? false;
    const possible = others || (subnet !== undefined && subnet.possibleUntilMs > interval.beginMs);
    const certain = subnet !== undefined && subnet.certainFromMs <= interval.beginMs &&
      subnet.certainUntilMs >= interval.endMs;
    if (known.trusted && (possible || certain)) {
      let packets = 0;
      for (let i = from; i < to; i++) packets += interval.cells.packets[i]!;
      found.trusted(known.text, packets);
      if (profile === "seed") return { certain: false, possible: false };
    }
    return { certain, possible };
  }

  function extendSubnet(
    key: string,
    { text, certain, sources }: Injection,
    { beginMs, endMs }: Interval,
    decisions: Decision[],
  ): void {
    const subnet = subnets.get(key) ??
      { text, certainFromMs: Infinity, certainUntilMs: -Infinity, possibleUntilMs: -Infinity };
    const began = decisions.find(({ source, rule }) =>
      rule === rules.index("ips:auto-blacklist") && sources.includes(source)
    );
    if (!began || (subnet.certainFromMs <= beginMs && subnet.certainUntilMs >= endMs)) return;
    if (certain && subnet.possibleUntilMs <= beginMs) {
      Object.assign(subnet, { certainFromMs: endMs, certainUntilMs: beginMs + ttl });
    }
    subnet.possibleUntilMs = Math.max(subnet.possibleUntilMs, endMs + ttl + lagMs);
    subnets.set(key, subnet);
    decisions.push({ ...began, rule: rules.index("ips:subnet"), prefix: text, certain });
  }

  function dropAll({ from, to }: Group, { interval, effects }: SourceContext, name: string): void {
    for (let i = from; i < to; i++) {
      const packets = interval.cells.packets[i]!;
      pushEffect(effects, interval.cells, i, rules.index(name), { lower: packets, upper: packets }, packets);
    }
  }

  /** A source of which every packet is dropped: only time goes on. */
  function advanceCovered({ known, source, from, to }: Group, interval: Interval): void {
    const present = recall(presents, source);
    const ports: PortPackets[] = [];
    for (let i = from; i < to; i++) {
      ports.push({ packets: interval.cells.packets[i]!, matches: NOTHING, gate: undefined });
    }
    const block = { limit: known.limit, ttlMs: ttl, lagMs, dryRun: false };
    present.host = stepHost(block, present.host, { ...times(interval), ports, refused: "never" }).states;
  }

  // ------------------------------------------------------------------------------------------------ words

  /** A decision about a source and a rule without state: at the first packet. */
  function decideOnce(
    { interval, decisions }: SourceContext,
    group: Group,
    rule: number,
    dropped: Range,
    action: Decision["action"] = "block",
  ): void {
    const key = `${rule} ${group.source}`;
    if (reported.has(key) || dropped.upper === 0 || rules.isLimit(rule) && action !== "alert") return;
    reported.add(key);
    decisions.push({
      rule,
      action,
      certain: dropped.lower > 0,
      source: group.source,
      window: times(interval),
      fromMs: { earliest: interval.beginMs, latest: interval.endMs },
      untilMs: { earliest: Infinity, latest: Infinity },
      measured: measure(group, interval),
      thresholds: {},
      formula: "the rule matches",
    });
  }
}

type SourceRefusal = "never" | "maybe" | "always";

interface Injection {
  text: string;
  sources: number[];
  certain: boolean;
}

interface SourceContext {
  interval: Interval;
  decisions: Decision[];
  effects: Effect[];
  refused: SourceRefusal;
  injections: Map<string, Injection>;
  shared: Map<string, { packets: Range; room: Range }>;
}

function isObservable({ rule }: Slot): boolean {
  return !rule.pattern && !rule.domain && rule.unseen.length === 0;
}

/** Whether a source is blocked from begin to end, whichever of its states it is in. */
function isCovered(states: readonly HostState[], { endMs }: Interval): boolean {
  return states.every((state) => state.blocked && state.earliestMs >= endMs);
}
