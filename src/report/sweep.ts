/**
 * What the SYN rule would do at other thresholds: rates on a logarithmic grid, a few ratios, a few windows.
 *
 * A block is renewed while its source is hot, so at a rate r an interval is certainly dropped if some interval within
 * the block's duration before it certainly reached r: the highest such rate is all that has to be kept, and one
 * pass answers for every rate at once. Whether a source would have been hit at all is its highest possible rate. Only
 * sources that come near the lowest rate are looked at more closely. Pure.
 */
import { atLeast } from "../evidence/pairs.ts";
import { certainSyn, possibleSyn } from "../policy/native_rules.ts";
import { emptySeen, follows, type Seen, WINDOW_SLACK } from "../policy/recent.ts";
import { type Bounder, LEGITIMATE } from "./bound.ts";
import type { ObservedInterval } from "./observe.ts";
import type { Sweep, SweepPoint } from "./summary.ts";
import type { Marks, Tally } from "./tally.ts";

/** The setting that is compared with the grid. */
export interface SweepDefault {
  windowMs: number;
  synRate: number;
  successRatio: number;
  blockDurationMs: number;
}

interface Config {
  windowMs: number;
  ratio: number;
}

/** A recent interval of a candidate. */
interface Row {
  beginMs: number;
  endMs: number;
  syn: number;
  handshakeAck: number;
  data: number;
  /** SYNs of the intervals before it that were not kept, as far as windows may reach them. */
  before: number;
}

/** A source and port that came near the lowest rate. */
interface Candidate {
  key: number;
  /** Those that windows may reach. */
  rows: Row[];
  /** SYNs of these and before them. */
  syn: number;
  /** Begin of the last interval that triggered, at any level. */
  triggeredMs: number;
  /**
   * By window: what it comes to at each ratio; one for all of them until two ratios first differ. Those of a flood
   * whose connections nobody uses never do.
   */
  outcomes: Outcome[][];
}

/** What the rule comes to for a candidate in one configuration. */
interface Outcome {
  /** Triggers that still block, strongest first. */
  triggers: { beginMs: number; level: number }[];
  /** By half: the highest possible level, -1 for none. */
  highest: [number, number];
  /** By level: SYNs certainly dropped at that level and those below. */
  dropped: Float64Array;
}

/** What is tried. */
export interface SweepGrid {
  /** In milliseconds, sorted. */
  windows: number[];
  ratios: number[];
  /** In SYN/s. */
  rates: number[];
  /** By window: the rates as SYNs. */
  limits: number[][];
  longestMs: number;
  /** The least SYNs that are near the lowest rate, and those from which on a source is looked at. */
  least: number;
  half: number;
  durationMs: number;
  /** Windows by ratios. */
  configs: Config[];
}

/** What was found of it. Configurations are windows by ratios; levels are rates. */
export interface SweepFound {
  /** By source: the highest level that it may reach, by configuration and half; -1 for none. */
  bySource: Iterable<readonly [source: number, highest: ArrayLike<number>]>;
  /** Sources that reach a level, where `bySource` doesn't have all of them. */
  sourcesAt?: (config: number, level: number) => number;
  /** SYNs of likely-abusive and unknown sources that certainly would be dropped at a level. */
  droppedAt(config: number, level: number): number;
  abusiveSyn: number;
}

/** The grid around a setting. */
export function makeGrid(initial: SweepDefault): SweepGrid {
  const windows = sortedUnique([initial.windowMs, 60_000]);
  const ratios = sortedUnique([0.05, 0.1, 0.2, 0.5, initial.successRatio]);
  const grid = Array.from({ length: 21 }, (_, i) => Math.round(10 ** (1 + i / 5)));
  const rates = sortedUnique([...grid, initial.synRate]), lowest = rates[0]!;
  const longestMs = windows.at(-1)!, least = Math.ceil(lowest * windows[0]! / 1000), half = Math.ceil(least / 2);
  const limits = windows.map((windowMs) => rates.map((rate) => Math.max(1, Math.ceil(rate * windowMs / 1000 - 1e-9))));
  const configs = windows.flatMap((windowMs) => ratios.map((ratio) => ({ windowMs, ratio })));
  return { windows, ratios, rates, limits, configs, longestMs, least, half, durationMs: initial.blockDurationMs };
}

/** The sweep over all streams. */
export interface Sweeper {
  /** Starts a stream. */
  stream(tally: Tally): { add(interval: ObservedInterval, keyOf: Int32Array): void; finish(): void };
  counts(): SweepCounts;
}

/** What the sweep counted over all streams. */
export interface SweepCounts {
  /** By source, the highest possible level by configuration and half, -1 for none. */
  bySource: Map<number, Int16Array>;
  /** SYNs of abusive sources that are certainly dropped, by configuration and level: at that level and those below. */
  abusive: Float64Array;
  /** All SYNs of abusive sources. */
  abusiveSyn: number;
}

/** A sweep with `initial`'s window, ratio and rate in the grid. */
export function createSweeper(
  initial: SweepDefault,
  options: { middleMs: number; isExempt(source: number): boolean },
): Sweeper {
  const { windows, ratios, rates, limits, configs, longestMs, least, half, durationMs } = makeGrid(initial);

  const bySource: SweepCounts["bySource"] = new Map(), abusive = new Float64Array(configs.length * rates.length);
  let abusiveSyn = 0;

  /** By window: the last number of SYNs that was looked up, and its level: most ratios ask for the same. */
  const lookedUp = windows.map(() => ({ possible: { syn: 0, level: -1 }, certain: { syn: 0, level: -1 } }));
  /** The highest level whose count is at most `syn`; -1 for none. */
  const levelOf = (last: { syn: number; level: number }, counts: readonly number[], syn: number): number => {
    if (last.syn === syn) return last.level;
    let low = -1, high = counts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (counts[middle]! <= syn) low = middle;
      else high = middle - 1;
    }
    last.syn = syn;
    return last.level = low;
  };

  const seen = emptySeen(), covering = { pieces: 1 }, lowestRatio = ratios[0]!, highestRatio = ratios.at(-1)!;
  /** Whether all ratios answer the same of what `seen` has: the answers rise with the ratio. */
  const agree = () =>
    possibleSyn(seen, lowestRatio) === possibleSyn(seen, highestRatio) &&
    certainSyn(seen, covering, lowestRatio) === certainSyn(seen, covering, highestRatio);

  const judge = (candidate: Candidate, now: 0 | 1) => {
    const { rows } = candidate, own = rows.at(-1)!;
    for (let w = 0; w < windows.length; w++) {
      covering.pieces = look(rows, windows[w]!, seen);
      const outcomes = candidate.outcomes[w]!, counts = limits[w]!, last = lookedUp[w]!;
      if (outcomes.length === 1 && !agree()) {
        while (outcomes.length < ratios.length) outcomes.push(copyOutcome(outcomes[0]!));
      }
      for (let r = 0; r < outcomes.length; r++) {
        const { triggers, highest, dropped } = outcomes[r]!, ratio = ratios[r]!;
        while (triggers.length > 0 && triggers[0]!.beginMs + durationMs < own.endMs) triggers.shift();
        const blocking = triggers[0]; // the strongest of those that still block
        if (blocking) dropped[blocking.level]! += own.syn;
        const possible = levelOf(last.possible, counts, possibleSyn(seen, ratio));
        if (possible > highest[now]) highest[now] = possible;
        const level = levelOf(last.certain, counts, certainSyn(seen, covering, ratio));
        if (level < 0) continue;
        candidate.triggeredMs = own.beginMs;
        // A stronger trigger outlives those before it that are no stronger.
        let weaker;
        while (triggers.length > 0 && triggers.at(-1)!.level <= level) weaker = triggers.pop();
        if (!weaker) triggers.push({ beginMs: own.beginMs, level });
        else {
          weaker.beginMs = own.beginMs;
          weaker.level = level;
          triggers.push(weaker);
        }
      }
    }
  };

  return {
    stream(tally) {
      const candidates: Candidate[] = [];
      /** By key: candidate + 1, 0 for none yet, -1 for never. */
      let candidateOf = new Int32Array(0);
      /**
       * By key that is no candidate: SYNs of the intervals that end in an epoch, as long as the longest window, and in
       * the one before it. They are fewer than `half`, which is 300 at most: 10 SYN/s over 60 s are in every grid.
       */
      let epochOf = new Uint32Array(0), lateSyn = new Uint16Array(0), earlySyn = new Uint16Array(0);
      return {
        add({ cells, beginMs, endMs }, keyOf) {
          if (tally.keys.count > candidateOf.length) {
            candidateOf = atLeast(candidateOf, tally.keys.count);
            epochOf = atLeast(epochOf, candidateOf.length);
            [lateSyn, earlySyn] = [atLeast(lateSyn, candidateOf.length), atLeast(earlySyn, candidateOf.length)];
          }
          const now = endMs <= options.middleMs ? 0 : 1;
          const reached = Math.floor(beginMs / longestMs) - 1, epoch = Math.floor(endMs / longestMs);
          const { count, syn: syns } = cells, candidateAt = candidateOf, epochs = epochOf;
          const lates = lateSyn, earlies = earlySyn;
          for (let i = 0; i < count; i++) {
            const key = keyOf[i]!, syn = syns[i]!;
            if (key < 0 || candidateAt[key]! < 0) continue;
            let before = 0;
            if (candidateAt[key] === 0) {
              const known = epochs[key]!, late = lates[key]!, early = earlies[key]!;
              before = known > reached ? late + early : known === reached ? late : 0;
              if (before + syn < half) {
                earlies[key] = known === epoch ? early : known === epoch - 1 ? late : 0;
                lates[key] = known === epoch ? late + syn : syn;
                epochs[key] = epoch;
                continue;
              }
              const exempt = options.isExempt(cells.source[i]!);
              candidateAt[key] = exempt ? -1 : candidates.push(createCandidate(key, windows.length, rates.length));
              if (exempt) continue;
            }
            const candidate = candidates[candidateAt[key]! - 1]!, { rows } = candidate;
            let row: Row | undefined;
            while (rows.length > 0 && rows[0]!.endMs <= beginMs - longestMs) {
              row = rows.shift()!;
              candidate.syn -= row.syn + row.before;
            }
            row ??= { beginMs, endMs, syn: 0, handshakeAck: 0, data: 0, before: 0 };
            row.beginMs = beginMs;
            row.endMs = endMs;
            row.syn = syn;
            row.handshakeAck = cells.handshakeAck[i]!;
            row.data = cells.data[i]!;
            row.before = before;
            rows.push(row);
            candidate.syn += syn + before;
            // What is not near any level need not be judged; what a block drops must be.
            if (candidate.syn >= least || candidate.triggeredMs + durationMs >= endMs) judge(candidate, now);
          }
        },
        finish() {
          const isAbusive = (local: number) => {
            if (options.isExempt(tally.global[local]!)) return false;
            const cls = tally.classOf(local);
            return cls === "likely abusive" || cls === "unknown";
          };
          for (let local = 0; local < tally.sourceCount; local++) {
            if (isAbusive(local)) abusiveSyn += tally.bySource.syn[local]!;
          }
          for (const { key, outcomes } of candidates) {
            const local = tally.keys.first(key), source = tally.global[local]!, abuses = isAbusive(local);
            const highest = new Int16Array(2 * configs.length);
            for (let config = 0; config < configs.length; config++) {
              const some = outcomes[Math.floor(config / ratios.length)]!;
              const one = some[config % ratios.length] ?? some[0]!; // where there is one, it is that of all ratios
              highest[2 * config] = one.highest[0];
              highest[2 * config + 1] = one.highest[1];
              for (let level = 0; abuses && level < rates.length; level++) {
                abusive[config * rates.length + level]! += one.dropped[level]!;
              }
            }
            if (!highest.some((level) => level >= 0)) continue;
            const known = bySource.get(source);
            if (known) highest.forEach((level, i) => known[i] = Math.max(known[i]!, level));
            else bySource.set(source, highest);
          }
        },
      };
    },
    counts: () => ({ bySource, abusive, abusiveSyn }),
  };
}

/** The sweep's curve of what was counted. */
export function judgeSweep(
  initial: SweepDefault,
  { bySource, abusive, abusiveSyn }: SweepCounts,
  judges: Parameters<typeof summariseSweep>[2],
): Sweep {
  const { length } = makeGrid(initial).rates;
  return summariseSweep(initial, {
    bySource,
    droppedAt(config, level) {
      let syn = 0;
      for (let l = level; l < length; l++) syn += abusive[config * length + l]!;
      return syn;
    },
    abusiveSyn,
  }, judges);
}

/** The curve of what was found, and the point on it that is recommended. */
export function summariseSweep(
  initial: SweepDefault,
  found: SweepFound,
  { marks, bounders, fpLimit }: {
    marks: Marks;
    bounders: { total: Bounder; halves: readonly Bounder[] };
    fpLimit: number;
  },
): Sweep {
  const { rates, configs } = makeGrid(initial), { abusiveSyn } = found;
  // Few numbers of hits are met again and again.
  const known = new Map<Bounder, Map<string, number | null>>();
  const upperOf = (bounder: Bounder, hits: readonly number[]): number | null => {
    const limits = known.get(bounder) ?? new Map<string, number | null>(), key = hits.join();
    known.set(bounder, limits);
    if (!limits.has(key)) limits.set(key, bounder.of(hits).upper);
    return limits.get(key)!;
  };
  // A bound is about likely-legitimate sources, and those that come near a limit are few: for each point only they are
  // looked through. Of the others it is enough to know how many reach a level.
  const all = [...found.bySource], isMarked = (column: Uint8Array, source: number) => column[source]! & LEGITIMATE;
  const judged = all.filter(([source]) => [marks.total, ...marks.halves].some((column) => isMarked(column, source)));
  const points: (SweepPoint & { level: number; stable: boolean })[] = [];
  for (const [c, { windowMs, ratio }] of configs.entries()) {
    const reaching = countReaching(all, c, rates.length);
    for (const [level, rate] of rates.entries()) {
      const hits: [number[], number[], number[]] = [[], [], []];
      for (const [source, highest] of judged) {
        const inHalf = [highest[2 * c]! >= level, highest[2 * c + 1]! >= level];
        if (!inHalf[0] && !inHalf[1]) continue;
        if (isMarked(marks.total, source)) hits[2].push(source);
        for (const h of [0, 1] as const) if (inHalf[h] && isMarked(marks.halves[h], source)) hits[h].push(source);
      }
      const upper = upperOf(bounders.total, hits[2]), syn = found.droppedAt(c, level);
      points.push({
        window_sec: windowMs / 1000,
        syn_rate: rate,
        success_ratio: ratio,
        blocked_abusive_syn_share: abusiveSyn > 0 ? syn / abusiveSyn : 0,
        sources: found.sourcesAt?.(c, level) ?? reaching[level]!,
        legitimate_hit: hits[2].length,
        upper,
        level,
        stable: bounders.halves.every((bounder, h) => (upperOf(bounder, hits[h]!) ?? 1) <= fpLimit),
      });
    }
  }
  const strip = ({ level: _, stable: __, ...point }: typeof points[number]): SweepPoint => point;
  const allowed = points.filter((p) =>
    p.stable && p.upper !== null && p.upper <= fpLimit && p.blocked_abusive_syn_share > 0
  );
  // Of equal effect, the highest rate and the lowest ratio: the least that does it.
  allowed.sort((a, b) =>
    b.blocked_abusive_syn_share - a.blocked_abusive_syn_share || b.syn_rate - a.syn_rate ||
    a.success_ratio - b.success_ratio || a.window_sec - b.window_sec
  );
  const isDefault = (p: SweepPoint) =>
    p.window_sec === initial.windowMs / 1000 && p.syn_rate === initial.synRate &&
    p.success_ratio === initial.successRatio;
  // What is in use already and does as much need not be changed.
  const [best] = allowed,
    same = allowed.find((p) => isDefault(p) && p.blocked_abusive_syn_share === best!.blocked_abusive_syn_share);
  const recommended = same ?? best;
  return {
    points: points.map(strip),
    default: strip(points.find(isDefault)!),
    recommended: recommended ? strip(recommended) : null,
    fp_limit: fpLimit,
  };
}

/** By level: how many sources reach it with a configuration, in either half. */
function countReaching(
  bySource: readonly (readonly [source: number, highest: ArrayLike<number>])[],
  config: number,
  levels: number,
): Uint32Array {
  const reaching = new Uint32Array(levels);
  for (const [, highest] of bySource) {
    const most = Math.max(highest[2 * config]!, highest[2 * config + 1]!);
    if (most >= 0) reaching[most]!++;
  }
  for (let level = levels - 2; level >= 0; level--) reaching[level]! += reaching[level + 1]!;
  return reaching;
}

function createCandidate(key: number, windows: number, levels: number): Candidate {
  const none = (): Outcome => ({ triggers: [], highest: [-1, -1], dropped: new Float64Array(levels) });
  return { key, rows: [], syn: 0, triggeredMs: -Infinity, outcomes: Array.from({ length: windows }, () => [none()]) };
}

function copyOutcome({ triggers, highest, dropped }: Outcome): Outcome {
  return { triggers: triggers.map((trigger) => ({ ...trigger })), highest: [...highest], dropped: dropped.slice() };
}

/** Fills `seen` for windows that end in the last row, as Recent does; returns how many windows cover that. */
function look(rows: readonly Row[], windowMs: number, seen: Seen): number {
  const own = rows.at(-1)!;
  for (const sums of [seen.touch, seen.run, seen.own]) {
    sums.syn = own.syn;
    sums.handshakeAck = own.handshakeAck;
    sums.data = own.data;
  }
  seen.touch.syn += own.before;
  seen.inner.handshakeAck = seen.inner.data = 0;
  let running = true;
  for (let i = rows.length - 2; i >= 0; i--) {
    const row = rows[i]!;
    if (row.endMs <= own.beginMs - windowMs) break;
    seen.touch.syn += row.syn + row.before;
    seen.touch.handshakeAck += row.handshakeAck;
    seen.touch.data += row.data;
    running &&= follows(row, rows[i + 1]!) && own.endMs - row.beginMs <= windowMs * WINDOW_SLACK;
    if (running) seen.run.syn += row.syn;
    if (row.beginMs < own.endMs - windowMs) continue;
    seen.inner.handshakeAck += row.handshakeAck;
    seen.inner.data += row.data;
  }
  return Math.max(1, Math.ceil((own.endMs - own.beginMs) / (windowMs * WINDOW_SLACK)));
}

function sortedUnique(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}
