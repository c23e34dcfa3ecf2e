/**
 * The default policy: conservative rules that block a source, as `ibsr report` tries them.
 *
 * - `syn_flood`: SYNs of a source to a port in a window W reach rate × W, and at most a share of them came to be
 *   connections that were used. A connection counts as used by the lesser of bare ACKs and packets with payload: an
 *   attacker who sends bare ACKs beside the SYNs gains nothing by them.
 * - `volumetric`: two of three rates (SYN, packets, bytes) over W reach their thresholds.
 * - `port_sweep`: a source opens (or probes with flagless packets) so many monitored ports within W.
 *
 * The engine that is simulated sees every packet, before anything is dropped: whenever a packet arrives and the
 * window (t - W, t] that ends with it meets the rule, the source is blocked in (t, t + D]. So a source that stays hot
 * stays blocked, its block ends D after the last window that met the rule, and it triggers anew later: this is what
 * nftables does with `update @set { ip saddr timeout 300s }`. Each rule is simulated as if it were alone; together
 * they drop what one of them drops. A lower threshold, a longer window of time blocked or one more rule then never
 * blocks less. Counters don't know the order of packets: see Recent for what is certain and what is possible. Where an
 * interval is longer than W, it is covered by m windows, and one of them holds at least an m-th. An interval up to 5 %
 * longer than W counts as W. Pure.
 */
import type { PrefixSet } from "../allowlist.ts";
import type { Interval } from "../evidence/interval.ts";
import { atLeast, createPairs } from "../evidence/pairs.ts";
import { formatPrefix, prefixOf } from "../prefix.ts";
import { type Block, createBlock, extendBlock, fillEffect, type Trigger } from "./block.ts";
import { createEffectList } from "./effects.ts";
import type { Decision, Effect, Finding, Policy, Rule, SimulatedStream, Simulation, Step } from "./policy.ts";
import {
  describeRules,
  type Judged,
  judgeSynFlood,
  judgeVolume,
  limitsOf,
  mayTrigger,
  measureTrigger,
} from "./native_rules.ts";
import { createRecent, emptySeen } from "./recent.ts";
import type { Thresholds } from "./thresholds.ts";

/** The default policy's thresholds and exceptions. */
export interface NativeOptions extends Thresholds {
  /** Never counted, never blocked. */
  allowlist: PrefixSet;
}

const SYN_FLOOD = 0, VOLUMETRIC = 1, PORT_SWEEP = 2;

/** The default policy with these thresholds. */
export function nativePolicy(options: NativeOptions): Policy {
  const rule = (id: string, title: string): Rule => ({
    id,
    kind: id,
    title,
    coverage: "bounded",
    reason: "counters say how many packets an interval held, not in which order",
    mode: "enforce",
  });
  const seconds = options.windowMs / 1000;
  return {
    engine: "ibsr",
    rules: [
      rule(
        "syn_flood",
        `at least ${options.synRate} SYN/s over ${seconds} s, at most ${
          Number((100 * options.successRatio).toPrecision(6))
        } % of these connections used`,
      ),
      rule("volumetric", `two of three over ${seconds} s: ${describeVolume(options)}`),
      rule("port_sweep", `at least ${options.sweepPorts} monitored ports within ${seconds} s`),
    ],
    findings: [],
    resolutionMs: options.windowMs / 5,
    windowMs: options.windowMs,
    simulate: (stream) => simulate(options, stream),
  };
}

function describeVolume({ volSynRate, volPacketRate, volByteRate }: NativeOptions): string {
  return `${volSynRate} SYN/s, ${volPacketRate} packets/s, ${volByteRate} bytes/s`;
}

const UNKNOWN = -1, ALLOWED = -2;

/** What a stream's sources are counted by: the source itself, or its network. */
function createUnits(options: NativeOptions, stream: SimulatedStream) {
  const { v4, v6 } = options.aggregateBits, alone = v4 === 32 && v6 === 128;
  const numbers = new Map<string, number>(), networks: (string | undefined)[] = [];
  let units = new Int32Array(0);
  const isItself = alone && options.allowlist.prefixes.length === 0;
  const find = (source: number): number => {
    const bytes = stream.sources.bytes(source), bits = bytes.length === 4 ? v4 : v6;
    if (options.allowlist.contains(bytes)) return ALLOWED;
    if (alone) return source;
    const text = formatPrefix(prefixOf(bytes, bits)), unit = numbers.get(text) ?? numbers.size;
    numbers.set(text, unit);
    networks[unit] = bits === 8 * bytes.length ? undefined : text;
    return unit;
  };
  return {
    /** The unit as text, if it is a network. */
    network: (unit: number) => networks[unit],
    of(source: number): number {
      if (isItself) return source;
      if (source >= units.length) units = atLeast(units, source + 1, UNKNOWN);
      const known = units[source]!;
      return known === UNKNOWN ? units[source] = find(source) : known;
    },
  };
}

function simulate(options: NativeOptions, stream: SimulatedStream): Simulation {
  const { windowMs, blockDurationMs: durationMs, sweepPorts } = options, seconds = windowMs / 1000;
  const limits = limitsOf(options),
    said = describeRules(options),
    alone = options.aggregateBits.v4 === 32 && options.aggregateBits.v6 === 128;
  const units = createUnits(options, stream), keys = createPairs(), recent = createRecent(windowMs), seen = emptySeen();
  /** By key: blocks + 1, 0 for none; and when the key was last probed. */
  let synBlock = new Int32Array(0), volBlock = new Int32Array(0), probedSeq = new Uint32Array(0);
  /** By key: the next key of its unit, -1 for none. */
  let nextKey = new Int32Array(0);
  /** By unit: its first key + 1; how many keys it has; its block. */
  let firstKey = new Int32Array(0), keysOf = new Uint32Array(0), sweepBlock = new Int32Array(0);
  /** By unit with as many keys as a sweep takes: an upper bound of the ports it probed in reach; when; when judged. */
  let mostProbes = new Float64Array(0), probesSeq = new Uint32Array(0), sweptSeq = new Uint32Array(0);
  /** There is such a unit. */
  let maySweep = false;
  const blocks: Block[] = [];
  let activeUntil = -Infinity, coarsestMs = 0, most = 0;
  let keyOf = new Int32Array(0);
  let decisions: Decision[] = [];

  const growKeys = (count: number) => {
    if (count <= synBlock.length) return;
    [synBlock, volBlock, nextKey] = [atLeast(synBlock, count), atLeast(volBlock, count), atLeast(nextKey, count)];
    probedSeq = atLeast(probedSeq, count);
  };
  const growUnits = (count: number) => {
    if (count <= firstKey.length) return;
    [firstKey, keysOf, sweepBlock] = [atLeast(firstKey, count), atLeast(keysOf, count), atLeast(sweepBlock, count)];
    [mostProbes, probesSeq] = [atLeast(mostProbes, count), atLeast(probesSeq, count)];
    sweptSeq = atLeast(sweptSeq, count);
  };

  const trigger = (
    at: { rule: number; blockOf: Int32Array; index: number; cell: number; port: number | undefined; unit: number },
    interval: Interval,
    found: Trigger & { describe(): Pick<Decision, "measured" | "thresholds" | "formula"> & { beginMs: number } },
  ) => {
    if (at.blockOf[at.index] === 0) at.blockOf[at.index] = blocks.push(createBlock());
    const block = blocks[at.blockOf[at.index]! - 1]!, { beginMs, endMs } = interval;
    extendBlock(block, interval, found);
    activeUntil = Math.max(activeUntil, block.possibleUntil);
    if (endMs < block.decidedUntil && (block.decidedCertain || !found.certain)) return;
    block.decidedUntil = beginMs + durationMs;
    block.decidedCertain = found.certain;
    const prefix = units.network(at.unit), { beginMs: windowBeginMs, ...described } = found.describe();
    decisions.push({
      rule: at.rule,
      action: "block",
      certain: found.certain,
      source: interval.cells.source[at.cell]!,
      ...(prefix ? { prefix } : {}),
      ...(at.port === undefined ? {} : { ports: [at.port] }),
      window: { beginMs: windowBeginMs, endMs },
      fromMs: { earliest: beginMs, latest: endMs },
      untilMs: { earliest: beginMs + durationMs, latest: endMs + durationMs },
      ...described,
    });
  };

  /** Judges the rules of a key that has a row in this interval. */
  const judgeKey = (key: number, cell: number, interval: Interval) => {
    recent.look(key, seen);
    const flood = judgeSynFlood(seen, recent, limits), volume = judgeVolume(seen, recent, limits);
    if (!flood && !volume) return;
    const port = keys.second(key),
      at = { index: key, cell, unit: keys.first(key), port: port === 0 ? undefined : port };
    if (flood) trigger({ ...at, rule: SYN_FLOOD, blockOf: synBlock }, interval, foundOf(flood, interval, "syn_flood"));
    if (volume) {
      trigger({ ...at, rule: VOLUMETRIC, blockOf: volBlock }, interval, foundOf(volume, interval, "volumetric"));
    }
  };

  const foundOf = (judged: Judged, { beginMs, endMs }: Interval, rule: "syn_flood" | "volumetric") => ({
    certain: judged.certain,
    durationMs,
    passed: judged.passed,
    expectedMs: judged.expectedShare === undefined ? undefined : beginMs + judged.expectedShare * (endMs - beginMs),
    /** Most triggers renew a block and are no decision. */
    describe() {
      const sums = judged.certain ? seen.run : seen.touch, from = judged.certain ? seen.runBeginMs : seen.touchBeginMs;
      return { beginMs: from, measured: measureTrigger(sums, (endMs - from) / 1000), ...said[rule] };
    },
  });

  /** Judges a unit that has a row in this interval, and may have probed enough ports within reach. */
  const judgeSweep = (unit: number, cell: number, interval: Interval) => {
    let touched = 0, run = 0, own = 0;
    for (let key = firstKey[unit]! - 1; key >= 0; key = nextKey[key]!) {
      const seq = probedSeq[key]!;
      if (seq >= recent.touchSeq) touched++;
      if (seq >= recent.runSeq) run++;
      if (seq === recent.seq) own++;
    }
    mostProbes[unit] = touched;
    if (touched < sweepPorts) return;
    const { pieces } = recent, { beginMs, endMs } = interval;
    const certain = pieces === 1 ? run >= sweepPorts : own > (sweepPorts - 1) * pieces;
    const needed = Math.max(0, sweepPorts - (touched - own));
    trigger({ rule: PORT_SWEEP, blockOf: sweepBlock, index: unit, cell, port: undefined, unit }, interval, {
      certain,
      durationMs,
      passed: { packets: 0, bytes: 0, syn: 0 },
      expectedMs: certain ? beginMs + (needed === 0 ? 0 : Math.min(1, needed / own)) * (endMs - beginMs) : undefined,
      describe: () => ({
        beginMs: certain ? recent.runBeginMs : recent.touchBeginMs,
        measured: { ports: certain ? run : touched },
        ...said.port_sweep,
      }),
    });
  };

  const effects = createEffectList();
  const listEffects = (interval: Interval, count: number): readonly Effect[] => {
    effects.clear();
    const known = keyOf, flood = synBlock, volume = volBlock, probing = sweepBlock;
    for (let i = 0; i < count; i++) {
      const key = known[i]!;
      if (key < 0) continue;
      const sweep = maySweep ? probing[keys.first(key)]! : 0;
      if (sweep === 0 && flood[key] === 0 && volume[key] === 0) continue;
      for (let rule = SYN_FLOOD; rule <= PORT_SWEEP; rule++) {
        const block = rule === SYN_FLOOD ? flood[key]! : rule === VOLUMETRIC ? volume[key]! : sweep;
        if (block === 0) continue;
        const effect = effects.add(i, rule), of = { interval, alone: alone && rule !== PORT_SWEEP };
        if (!fillEffect(effect, blocks[block - 1]!, of)) effects.drop();
      }
    }
    return effects.list();
  };

  /** Sets the keys of an interval's cells; columns have room for all of them then. */
  const findKeys = ({ count, source, port, packets }: Interval["cells"]) => {
    keyOf = atLeast(keyOf, count);
    // Most keys are in the first interval: room for them at once is less to clear and to copy.
    if (keys.count === 0) growKeys(count);
    for (let i = 0; i < count; i++) {
      // Cumulative snapshots repeat what they have seen, idle or not.
      const unit = packets[i] === 0 ? UNKNOWN : units.of(source[i]!);
      if (unit < 0) {
        keyOf[i] = -1;
        continue;
      }
      const before = keys.count, key = keyOf[i] = keys.of(unit, port[i]!);
      if (key !== before) continue;
      growKeys(keys.count);
      growUnits(unit + 1);
      nextKey[key] = firstKey[unit]! - 1;
      firstKey[unit] = key + 1;
      if (++keysOf[unit]! !== sweepPorts) continue;
      maySweep = true;
      // It may have probed all of its ports in reach.
      mostProbes[unit] = keysOf[unit]!;
      probesSeq[unit] = recent.seq;
    }
  };

  /** Notes which keys were probed. */
  const addProbes = (cells: Interval["cells"]) => {
    const { seq, touchSeq } = recent, { count, port } = cells, known = keyOf, probed = probedSeq;
    for (let i = 0; i < count; i++) {
      const key = known[i]!;
      if (key < 0 || port[i] === 0 || probed[key] === seq || !isProbe(cells, i)) continue;
      probed[key] = seq;
      if (!maySweep) continue;
      const unit = keys.first(key);
      if (probesSeq[unit]! < touchSeq) mostProbes[unit] = 0;
      mostProbes[unit]!++;
      probesSeq[unit] = seq;
    }
  };

  const mayMatter = (syn: number, packets: number, bytes: number) => mayTrigger(syn, packets, bytes, limits);

  return {
    fold(interval): Step {
      const { cells } = interval;
      decisions = [];
      coarsestMs = Math.max(coarsestMs, interval.endMs - interval.beginMs);
      most = Math.max(most, interval.ports.length);
      recent.begin(interval, cells.count);
      findKeys(cells);
      addProbes(cells);
      const rows = recent.add(cells, { of: keyOf, count: keys.count }, mayMatter), { touchSeq } = recent;
      for (let row = 0; row < rows.count; row++) {
        if (rows.matters[row]) judgeKey(keyOf[rows.cell[row]!]!, rows.cell[row]!, interval);
        if (!maySweep) continue;
        const cell = rows.cell[row]!, unit = keys.first(keyOf[cell]!);
        if (keysOf[unit]! < sweepPorts || mostProbes[unit]! < sweepPorts || probesSeq[unit]! < touchSeq) continue;
        if (sweptSeq[unit] === recent.seq) continue;
        sweptSeq[unit] = recent.seq;
        judgeSweep(unit, cell, interval);
      }
      const effects = activeUntil > interval.beginMs ? listEffects(interval, cells.count) : [];
      return { decisions, effects, notEvaluated: recent.covered < 0.5 ? rows.count : 0 };
    },
    finish() {
      const findings: Finding[] = [];
      if (coarsestMs > windowMs / 5) {
        findings.push({
          severity: "note",
          code: "low_resolution",
          message: `Snapshots are up to ${coarsestMs / 1000} s apart: bounds are narrow with at most ${seconds / 5} s`,
        });
      }
      if (most > 0 && most < sweepPorts) {
        findings.push({
          severity: "note",
          code: "too_few_ports",
          rule: "port_sweep",
          message: `port_sweep can't trigger: it needs ${sweepPorts} ports, and ${most} ${
            most === 1 ? "was" : "were"
          } counted at most`,
        });
      }
      return { findings };
    },
  };
}

/** Opens a connection, or has no flag that TCP knows at its place; what answers a connection of ours is none. */
function isProbe(cells: Interval["cells"], i: number): boolean {
  if (cells.syn[i]! > cells.synAck[i]!) return true;
  const known = cells.syn[i]! + cells.rst[i]! + cells.handshakeAck[i]! + cells.data[i]!;
  return cells.packets[i]! > known && cells.data[i] === 0;
}
