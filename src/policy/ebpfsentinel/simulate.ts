/**
 * The engine interval by interval: what it would have dropped of each source and port, at least and at most. Pure.
 *
 * Each interval goes through the engine's path: blacklist, firewall, guards, rate limiter, detection, the drop of a
 * port, lists of addresses. A stage is given how many packets come to it at least and at most, and hands on what it
 * leaves. Where a later stage decides about an earlier one (detections begin a block that drops what follows), the
 * earlier is given both: that it drops, and that it doesn't. So bounds widen in such an interval, and never fail.
 */
import type { Cells, Interval } from "../../evidence/interval.ts";
import { formatRangeOf } from "../../words.ts";
import type { Decision, Effect, Finding, SimulatedStream, Simulation } from "../policy.ts";
import { ttlMs } from "./blacklist.ts";
import { type BlockRule, type HostState, type HostStep, type PortPackets, stepHost } from "./blacklist_bounds.ts";
import { alertDecision, blockDecision, createDecideOnce, SURELY } from "./decisions.ts";
import { type Slot, takeSlots } from "./detection.ts";
import { mergeStops, pushEffect, type Stopped } from "./effects.ts";
import { compileFirewall, OPENING, type Verdict } from "./firewall.ts";
import { advanceGate, boundGate, createGateBounds, type GateBounds, type GateRule, type Range } from "./gate.ts";
import { createLimiter, type SharedLimits } from "./limiter.ts";
import { createNotes, LIMITER_SOURCES } from "./notes.ts";
import { sumRanges } from "./ranges.ts";
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
import { createSubnets, type Injection } from "./subnets.ts";

/** Verdicts of the firewall that are kept, by source and port. */
const MAX_VERDICTS = 1 << 20;
/** Sweeps of today's program, which end blocks late. */
const SWEEP_MS = 60_000;

const NOTHING: Range = { lower: 0, upper: 0 };

/** Starts a simulation of a stream. */
export function startSimulation(simulated: Simulated, { sources }: SimulatedStream): Simulation {
  const { config, profile, rules, destinations } = simulated, { ips, ids, ratelimit, ddos } = config;
  const slots = takeSlots(config, profile).byPort;
  const firewall = compileFirewall(config.firewall, { profile, zonesEnabled: config.zonesEnabled });
  const know = createKnowledge(simulated, sources), presents = new Map<number, Present>();
  const blocked = new Map<number, number>(), decideOnce = createDecideOnce(rules);
  const verdicts = new Map<number, Verdict>();
  const ttl = ttlMs(ips, profile), lagMs = profile === "code" ? SWEEP_MS : 0;
  const enforced = ips.mode === "block" && config.firewall.enabled;
  const counting = ips.enabled && [...slots.values()].some((slot) => slot.feeds);
  const found = createNotes();
  const limiter = createLimiter(simulated, {
    decideOnce,
    undisturbed: !counting && !ddos.enabled && firewall.letsAllPass,
  });
  const subnets = createSubnets(simulated, { ttlMs: ttl, lagMs, enforced, found });

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
      const candidates = ips.countryThresholds && refused !== "always" ? groups : [];
      const injections = subnets.list(
        candidates.filter((group) => group.known.injects !== undefined && mayBlock(group, cells)),
      );
      const shared = limiter.share(groups, interval);
      found.note(interval);
      for (const group of groups) {
        stepSource(group, { interval, decisions, effects, refused, injections, shared });
      }
      subnets.extend(injections, interval, decisions);
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
    const message = `all intervals taken together, the blacklist would have dropped ${
      formatRangeOf({ lower, upper }, "packet")
    }`;
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

  // ------------------------------------------------------------------------------------------------ a source

  function stepSource(group: Group, context: SourceContext): void {
    const { interval, decisions, effects } = context, { known, from, to, source } = group, { cells } = interval;
    const subnet = subnets.cover(group, context);
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
      const crowded = presents.size > LIMITER_SOURCES;
      limiter.step(group, { present, passes, stopped, uncertain: mayDrop, crowded }, context);
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
      for (const { rule, alert } of left) {
        if (alert) decideOnce(decisions, { rule, group, interval, dropped: SURELY, action: "alert" });
      }
      for (const { rule, dropped, likely } of mergeStops(left)) {
        if (rule < 0 || dropped.upper === 0) continue;
        const after = {
          lower: Math.max(0, dropped.lower - taken.upper),
          upper: Math.min(dropped.upper, packets - taken.lower),
        };
        const share = taken.upper === 0 ? 1 : 1 - (taken.lower + taken.upper) / 2 / packets;
        pushEffect(effects, cells, i, rule, after, (likely ?? (dropped.lower + dropped.upper) / 2) * share);
        decideOnce(decisions, { rule, group, interval, dropped: after });
      }
    }
    if (known.listed?.mode === "alert") {
      decideOnce(decisions, { rule: known.listed.rule, group, interval, dropped: SURELY, action: "alert" });
    }
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
          alertDecision({ rule: rules.index(slot.rule.path), group, interval }, { detections, certain, slot }),
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
    const { interval, decisions, injections } = context, { known } = group;
    const certain = step.begins === "always",
      detections = sumRanges(ports.flatMap(({ gate }) => gate ? [gate.detections] : []));
    if (certain && known.injects !== undefined) {
      const injection = injections.get(known.injects);
      if (injection) injection.certain = true;
    }
    decisions.push(
      blockDecision(
        { rule: rules.index("ips:auto-blacklist"), group, interval },
        { detections, certain, enforced, ttlMs: ttl, latest, ttlS: ips.ttlS },
      ),
    );
    found.blocked(cellsOf(group, interval), config);
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
}

type SourceRefusal = "never" | "maybe" | "always";

interface SourceContext {
  interval: Interval;
  decisions: Decision[];
  effects: Effect[];
  refused: SourceRefusal;
  injections: Map<string, Injection>;
  shared: SharedLimits;
}

function isObservable({ rule }: Slot): boolean {
  return !rule.pattern && !rule.domain && rule.unseen.length === 0;
}

/** Whether a source is blocked from begin to end, whichever of its states it is in. */
function isCovered(states: readonly HostState[], { endMs }: Interval): boolean {
  return states.every((state) => state.blocked && state.earliestMs >= endMs);
}
