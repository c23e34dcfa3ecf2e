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
import { createEffectList } from "../effects.ts";
import type { Decision, Finding, SimulatedStream, Simulation } from "../policy.ts";
import { ttlMs } from "./blacklist.ts";
import {
  type BlockRule,
  createStepHost,
  type HostStep,
  type PortGate,
  type PortPackets,
  type SourceInterval,
} from "./blacklist_bounds.ts";
import { createAlertDecision, createBlockDecision, createMoments, createOnce, SURELY } from "./decisions.ts";
import { createPortTable, isCountable, type Slot, takeSlots } from "./detection.ts";
import { createDropped, createStops, pushEffect, stopOf, type Stops } from "./effects.ts";
import { compileFirewall } from "./firewall.ts";
import {
  advanceGate,
  boundGate,
  createGateBounds,
  createMatches,
  createOpening,
  createRange,
  type GateBounds,
  type GateRule,
  openGate,
  type Opening,
  type Range,
  setMatches,
} from "./gate.ts";
import { createHosts, type Host, isResting } from "./host_states.ts";
import { createLimiter, type Passing } from "./limiter.ts";
import { createNotes, LIMITER_SOURCES } from "./notes.ts";
import {
  createBlockedSources,
  createBySource,
  createGates,
  createGrouping,
  createKnowledge,
  type Group,
  type Present,
  recall,
  type Simulated,
} from "./sources.ts";
import { createSubnets, type Injection } from "./subnets.ts";
import { createRanges, resize } from "./ranges.ts";
import { createVerdicts } from "./verdicts.ts";

/** Sweeps of today's program, which end blocks late. */
const SWEEP_MS = 60_000;

const NOTHING: Range = { lower: 0, upper: 0 };

/** Starts a simulation of a stream. */
export function startSimulation(simulated: Simulated, { sources }: SimulatedStream): Simulation {
  const { config, profile, rules, destinations } = simulated, { ips, ids, ratelimit, ddos } = config;
  const slots = takeSlots(config, profile).byPort, inlineDrops = [...slots.values()].some((slot) => slot.inlineDrop);
  const slotOf = createPortTable(slots);
  const firewall = compileFirewall(config.firewall, { profile, zonesEnabled: config.zonesEnabled });
  const know = createKnowledge(simulated, sources), presents = createBySource<Present>();
  const group = createGrouping(know), once = createOnce(rules);
  const verdicts = createVerdicts(simulated, { firewall, sources });
  const blocked = createBlockedSources();
  const ttl = ttlMs(ips, profile), lagMs = profile === "code" ? SWEEP_MS : 0;
  const enforced = ips.mode === "block" && config.firewall.enabled;
  const counting = ips.enabled && [...slots.values()].some((slot) => slot.feeds);
  const found = createNotes(), momentOf = createMoments();
  const hosts = createHosts(), stepHost = createStepHost(hosts), gateOf = createGates();
  /** Of the source that is at work, by its cells. */
  const passes = createRanges(), stopped: Stops[] = [], ports: Port[] = [], effects = createEffectList();
  const work = { passes, stopped, uncertain: false, crowded: false } as unknown as Work;
  const block: BlockRule = { limit: 0, ttlMs: ttl, lagMs, dryRun: !enforced };
  const taking: SourceInterval = { beginMs: 0.5, endMs: 0.5, ports, count: 0, refused: "never" };
  const taken = createDropped(), after = createDropped(), matches = createMatches();
  const limiter = createLimiter(simulated, {
    once,
    undisturbed: !counting && !ddos.enabled && firewall.letsAllPass,
  });
  const subnets = createSubnets(simulated, { ttlMs: ttl, lagMs, enforced, found, sources });
  const autoBlacklist = rules.index("ips:auto-blacklist"), subnetRule = rules.index("ips:subnet");
  const alertDecision = createAlertDecision(),
    blockDecision = createBlockDecision({ rule: autoBlacklist, enforced, ttlMs: ttl, ttlS: ips.ttlS });
  const ruleOf = new Map([...slots.values()].map(({ rule }) => [rule, rules.index(rule.path)]));

  return {
    fold(interval) {
      const { cells } = interval, decisions: Decision[] = [];
      effects.clear();
      blocked.forget(interval.beginMs);
      const groups = group(cells), refused = boundCapacity(groups, interval);
      const candidates = ips.countryThresholds && refused !== "always" ? groups : [];
      const injections = subnets.list(
        candidates.filter((group) => group.known.injects !== undefined && mayBlock(group, cells)),
      );
      Object.assign(work, { interval, decisions, refused, injections });
      work.shared = limiter.share(groups, interval);
      work.moment = momentOf(interval);
      found.note(interval);
      for (let i = 0; i < groups.length; i++) {
        work.group = groups[i]!;
        stepSource();
      }
      subnets.extend(injections, interval, decisions);
      if (presents.values.length > LIMITER_SOURCES && ratelimit.enabled) found.add("limiter_full");
      return { decisions, effects: effects.list(), notEvaluated: 0 };
    },
    finish: () => ({ findings: [...found.list(simulated), ...sumBlocks()] }),
  };

  /** What the blacklist drops of all intervals together, which is closer than the sum of each on its own. */
  function sumBlocks(): Finding[] {
    if (!enforced || ips.countryThresholds) return [];
    let lower = 0, upper = 0;
    for (const { host } of presents.values) {
      if (!host) continue;
      const dropped = hosts.droppedSoFar(host);
      lower += dropped.lower;
      upper += dropped.upper;
    }
    if (upper === 0) return [];
    const message = `all intervals taken together, the blacklist would have dropped ${
      formatRangeOf({ lower, upper }, "packet")
    }`;
    return [{ severity: "note", code: "joint_bounds", message }];
  }

  // ------------------------------------------------------------------------------------------------ before sources

  /** Whether a source can reach its limit in the interval, as far as a quick look tells. */
  function mayBlock({ known, from, to, source }: Group, cells: Cells, host = presents.get(source)?.host): boolean {
    if (!counting || known.trusted || known.sampled === false || known.counted === false) return false;
    let matches = 0;
    for (let i = from; i < to; i++) {
      if (cells.port[i] === 0 || slotOf(cells.port[i]!)?.feeds) matches += cells.packets[i]!;
    }
    if (matches === 0) return false;
    return (host ? host.most : 0) + matches >= known.limit;
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

  /** Takes the group at work through the engine's path. */
  function stepSource(): void {
    const { group, interval, refused } = work, { known, from, to, source } = group, { cells } = interval;
    const subnet = subnets.cover(group, work);
    const host = presents.get(source)?.host, active = enforced && !known.trusted;
    const covered = active && host !== undefined && host.coveredUntilMs >= interval.endMs;
    if (covered || subnet.certain) {
      dropAll(subnet.certain ? subnetRule : autoBlacklist);
      if (covered) host.dropped += sumPackets(group, cells);
      else if (host) advanceUncounted(host, group, interval);
      return;
    }
    const present = work.present = recall(presents, source), count = to - from;
    const mayBegin = active && refused !== "always" && mayBlock(group, cells, host);
    const mayDrop = subnet.possible || mayBegin || (active && blockedUntil(present) > interval.beginMs);
    work.uncertain = mayDrop;
    work.subnet = subnet.possible;

    // Firewall: what of each cell comes through, and what is stopped by which rule.
    const reaching = resize(passes, count);
    while (stopped.length < count) stopped.push(createStops());
    for (let k = 0; k < count; k++) {
      const pass = reaching[k]!;
      pass.lower = pass.upper = cells.packets[from + k]!;
      stopped[k]!.count = 0;
      if (!firewall.isSilent) judgeCell(k);
    }
    // Guards and limits, of what no block may have taken before.
    if (ratelimit.enabled) {
      work.crowded = presents.values.length > LIMITER_SOURCES;
      limiter.step(work);
    }
    // Detection, and the blocks that it begins.
    const step = slots.size === 0 ? undefined : stepDetection();
    const share = step ? likelyShare(step.begins) : 0;
    taken.rule = subnet.possible && !mayBegin ? subnetRule : autoBlacklist;
    for (let k = 0; k < count; k++) {
      const cell = taken.cell = from + k, packets = cells.packets[cell]!;
      const dropped = active && step ? step.dropped[k]! : NOTHING;
      taken.lower = dropped.lower;
      taken.upper = subnet.possible ? packets : dropped.upper;
      taken.likely = step ? share * packets : packets / 2;
      if (taken.upper > 0) pushEffect(effects, cells, taken);
      finishCell(k);
    }
    if (known.listed?.mode === "alert") alertOnce(known.listed.rule);
  }

  /** What stops a cell's packets after detection, and all of that as effects; blocks have `taken` some before. */
  function finishCell(k: number): void {
    const { group, interval: { cells }, moment, decisions } = work, { known, from, source } = group;
    const cell = after.cell = from + k, packets = cells.packets[cell]!, stops = stopped[k]!;
    const slot = inlineDrops ? slotOf(cells.port[cell]!) : undefined;
    const last = slot?.inlineDrop
      ? rules.index(slot.rule.path)
      : known.listed?.mode === "block" && config.threatintel.enabled
      ? known.listed.rule
      : undefined;
    if (last !== undefined) {
      const stop = stopOf(stops, last);
      stop.lower += passes.list[k]!.lower;
      stop.upper += passes.list[k]!.upper;
    }
    for (let s = 0; s < stops.count; s++) {
      const { rule, alert } = stops.list[s]!;
      if (alert) alertOnce(rule);
    }
    for (let s = 0; s < stops.count; s++) {
      const { rule, lower, upper, likely: most } = stops.list[s]!;
      if (rule < 0 || upper === 0) continue;
      after.lower = Math.max(0, lower - taken.upper);
      after.upper = Math.min(upper, packets - taken.lower);
      const share = taken.upper === 0 ? 1 : 1 - (taken.lower + taken.upper) / 2 / packets;
      after.rule = rule;
      after.likely = (Number.isNaN(most) ? (lower + upper) / 2 : most) * share;
      pushEffect(effects, cells, after);
      if (!once.isTold(rule, source)) once.tell(decisions, { rule, group, moment, dropped: after });
    }
  }

  /** Reports what a rule would do to the source, or does beside dropping anything. */
  function alertOnce(rule: number): void {
    const { decisions, group, moment } = work;
    once.tell(decisions, { rule, group, moment, dropped: SURELY, action: "alert" });
  }

  /**
   * What the firewall stops of the group's k-th cell: connections being opened, and all others, each by a rule. What
   * comes through is left of what `passes`.
   */
  function judgeCell(k: number): void {
    const { group: { source, from }, interval: { cells } } = work, i = from + k;
    const pass = passes.list[k]!, stops = stopped[k]!;
    const packets = cells.packets[i]!, pair = verdicts.pair(source, cells.port[i]!);
    const opening = Math.min(packets, Math.max(0, cells.syn[i]! - cells.synAck[i]!));
    let least = 0, most = 0;
    for (let part = 0; part < 2; part++) {
      const count = part === 0 ? opening : packets - opening;
      if (count === 0) continue;
      const { decision, wouldDrop, rule } = verdicts.judge(pair, part === 0);
      if (decision === "pass") {
        // A rule that would drop in mode block is reported, once a source.
        if (wouldDrop) stopOf(stops, rule).alert = true;
        continue;
      }
      const lower = decision === "drop" ? count : 0, stop = stopOf(stops, rule);
      stop.lower += lower;
      stop.upper += count;
      least += lower;
      most += count;
    }
    pass.lower = packets - Math.min(packets, most);
    pass.upper = packets - least;
  }

  /** Detections of the source and the blocks they begin; undefined where there is nothing to detect. Fills `ports`. */
  function stepDetection(): HostStep | undefined {
    const { interval, present, subnet, uncertain: mayDrop } = work, { cells, beginMs, endMs } = interval;
    const { known, from, to } = work.group;
    if (known.trusted && ids.rules.length === 0) return undefined;
    const unknownShare = known.sampled === "unknown" || subnet, count = to - from;
    let matched = 0;
    taking.beginMs = beginMs;
    taking.endMs = endMs;
    taking.count = count;
    while (ports.length < count) ports.push(createPort());
    for (let k = 0; k < count; k++) {
      const port = ports[k]!, pass = passes.list[k]!, slot = slotOf(cells.port[from + k]!);
      port.packets = cells.packets[from + k]!;
      port.matches.lower = port.least = unknownShare ? 0 : pass.lower;
      port.matches.upper = pass.upper;
      port.gate = port.window = undefined;
      if (slot && known.sampled !== false) detect(port, slot);
      if (port.gate) matched++;
    }
    // A port that was counted with all others may hold matches of any rule.
    const everyPort = counting && !known.trusted && cells.port[from] === 0 && known.sampled !== false &&
      known.counted !== false;
    if (everyPort) {
      const { matches } = ports[0]!;
      matches.lower = 0;
      ports[0]!.gate = { rule: undefined, opening: ports[0]!.opening, detections: matches };
    }
    if (matched === 0 && !everyPort && (known.trusted || !present.host || isResting(present.host))) {
      advanceGates(interval, mayDrop ? 0 : Infinity);
      return undefined;
    }
    const counted = blockedUntil(present) <= beginMs, host = present.host ??= hosts.add();
    block.limit = known.limit;
    taking.refused = work.refused;
    const step = stepHost(block, host, taking);
    const reach = !enforced || (!mayDrop && step.begins === "never")
      ? Infinity
      : counted && !subnet && matched === 1
      ? step.fewestPass
      : 0;
    advanceGates(interval, reach);
    const latest = host.blockedUntilMs;
    if (latest > endMs) blocked.set(work.group.source, latest);
    if (step.begins !== "never") begin(step, latest);
    return step;
  }

  /** What the rule of a slot detects of a port's packets. */
  function detect(port: Port, slot: Slot): void {
    if (!isCountable(slot.rule)) return;
    const { group, group: { known }, interval, moment, uncertain: mayDrop } = work, { threshold, mode } = slot.rule;
    const rule = (known.country === undefined ? undefined : slot.countryGates?.get(known.country)) ?? slot.gate;
    const { lower, upper } = port.matches, state = gateOf(group.source, slot.number), { detections } = port;
    const bySource = !rule || !threshold || threshold.trackBy === "src_ip" ||
      (threshold.trackBy === "both" && destinations.length === 1);
    if (rule) {
      setMatches(matches, port.matches, interval);
      openGate(rule, state, matches, port.opening);
    }
    if (bySource && rule) {
      boundGate(rule, state, matches, detections, port.opening);
    } else {
      detections.lower = bySource ? lower : 0;
      detections.upper = upper;
    }
    port.state = state;
    port.window = rule;
    if (mode === "alert" && detections.upper > 0) {
      const certain = detections.lower > 0 && !mayDrop,
        place = { rule: ruleOf.get(slot.rule)!, group, moment };
      work.decisions.push(alertDecision(place, { detections, certain, slot }));
    }
    if (!slot.feeds || known.trusted || known.counted === false) return;
    if (known.counted === "unknown") detections.lower = 0;
    if (known.counted === "unknown" || !bySource) port.matches.lower = 0;
    port.gate = port.own;
    port.own.rule = bySource ? rule : undefined;
  }

  /** Takes the windows of rules along, to which so many matches come at the least. */
  function advanceGates({ beginMs, endMs }: Interval, reach: number): void {
    for (let k = 0; k < taking.count; k++) {
      const { window, state, opening, least, matches: { upper } } = ports[k]!;
      if (!window) continue;
      matches.lower = Math.min(least, reach);
      matches.upper = upper;
      matches.beginMs = beginMs;
      matches.endMs = endMs;
      advanceGate(window, state, matches, opening);
    }
  }

  /** The share of a source's packets that a block takes if they come evenly; takes the likely course along. */
  function likelyShare(begins: HostStep["begins"]): number {
    const { present, interval, group: { known } } = work;
    const likely = present.likely ??= { untilMs: -Infinity, detections: 0, sinceMs: -Infinity };
    const { beginMs, endMs } = interval, length = Math.max(1, endMs - beginMs);
    if (likely.untilMs >= endMs) return 1;
    let share = 0, open = beginMs, detections = 0;
    if (likely.untilMs > beginMs) {
      share = (likely.untilMs - beginMs) / length;
      open = likely.untilMs;
      likely.detections = 0;
    }
    if (open - likely.sinceMs >= ttl) {
      likely.detections = 0;
      likely.sinceMs = open;
    }
    for (let k = 0; k < taking.count; k++) {
      const { gate } = ports[k]!;
      if (gate) detections += (gate.detections.lower + gate.detections.upper) / 2;
    }
    detections = detections * (endMs - open) / length;
    likely.detections += detections;
    if (likely.detections < known.limit || begins === "never") return share;
    const needed = detections === 0 ? 1 : 1 - (likely.detections - known.limit) / detections;
    const start = open + (endMs - open) * Math.min(1, Math.max(0, needed));
    likely.untilMs = start + ttl;
    likely.detections = 0;
    likely.sinceMs = -Infinity;
    return share + Math.max(0, Math.min(endMs, start + ttl) - start) / length;
  }

  // ------------------------------------------------------------------------------------------------ blocks

  function begin(step: HostStep, latest: number): void {
    const { group, interval, moment, decisions, injections } = work,
      { known } = group,
      certain = step.begins === "always";
    let detections = 0;
    for (let k = 0; k < taking.count; k++) detections += ports[k]!.gate?.detections.upper ?? 0;
    if (certain && known.injects !== undefined) {
      const injection = injections.get(known.injects);
      if (injection) injection.certain = true;
    }
    decisions.push(blockDecision(group, moment, { detections, certain, latest }));
    found.blocked(group, interval.cells, config);
  }

  function dropAll(rule: number): void {
    const { group: { from, to }, interval: { cells } } = work;
    taken.rule = rule;
    for (let cell = from; cell < to; cell++) {
      taken.cell = cell;
      taken.lower = taken.upper = taken.likely = cells.packets[cell]!;
      pushEffect(effects, cells, taken);
    }
  }

  /** A source that is dropped with its network, and is not counted: only time goes on. */
  function advanceUncounted(host: Host, { known, from, to }: Group, { beginMs, endMs, cells }: Interval): void {
    const ports: PortPackets[] = [];
    for (let i = from; i < to; i++) ports.push({ packets: cells.packets[i]!, matches: NOTHING, gate: undefined });
    const uncounted = { beginMs, endMs, ports, count: ports.length, refused: "never" } as const;
    stepHost({ ...block, limit: known.limit, dryRun: false }, host, uncounted);
  }
}

type SourceRefusal = "never" | "maybe" | "always";

/** The source that is at work, and the interval: one object for all of them, since new ones would be work for V8. */
interface Work extends Passing {
  refused: SourceRefusal;
  injections: Map<string, Injection>;
  /** Whether it may be dropped with its network. */
  subnet: boolean;
}

/** A cell on its way through detection. */
interface Port extends PortPackets {
  /** What `gate` is where there is one, and its detections. */
  own: PortGate;
  detections: Range;
  /** The window that is to be taken along, what the interval finds of it, its rule, and the least that comes to it. */
  state: GateBounds;
  opening: Opening;
  window: GateRule | undefined;
  least: number;
}

function createPort(): Port {
  const detections = createRange(),
    state = createGateBounds(),
    opening = createOpening(),
    own = { rule: undefined, opening, detections };
  return {
    packets: 0.5,
    matches: createRange(),
    gate: undefined,
    own,
    detections,
    state,
    opening,
    window: undefined,
    least: 0.5,
  };
}

/** Until when a source may be blocked. */
function blockedUntil({ host }: Present): number {
  return host?.blockedUntilMs ?? -Infinity;
}

function sumPackets({ from, to }: Group, { packets }: Cells): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += packets[i]!;
  return sum;
}
