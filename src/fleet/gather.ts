/**
 * What comes out of the tables: sums, counts, and all that is known of the would-be-blocked sources.
 *
 * Its size is that of the would-be-blocked sources and of the streams, days and spans of the timeline; never that of all
 * sources or of their intervals.
 */
import type { StreamName } from "../evidence/interval.ts";
import { createSources, type SourceTable } from "../evidence/sources.ts";
import { type NativeOptions, nativePolicy } from "../policy/native.ts";
import type { Decision, Policy } from "../policy/policy.ts";
import { boundCounted, type Bounder, createNetworks, HIT, LEGITIMATE } from "../report/bound.ts";
import { addDrop, type Affected, type Drop, type Effects, noDrop, noEffects } from "../report/effects.ts";
import { keepRows, type StreamRows } from "../report/rows.ts";
import type { StreamResult } from "../report/summarise.ts";
import type { FpBound, Summary } from "../report/summary.ts";
import {
  CLASSES,
  createMarks,
  describeEvidence,
  describeShared,
  type JudgedSource,
  type Judgements,
  LEAST_USES,
  type Marks,
  marksOfDay,
  type TallyCounts,
} from "../report/tally.ts";
import { addDecisions, listDecisions } from "./decisions.ts";
import { SCOPE } from "./legitimacy.ts";
import { addressOf } from "./lines.ts";
import { maskOf, networkOf } from "./native.ts";
import type { KeyRow, Workspace } from "./tables.ts";

/** What is known of a stream. */
export interface GatheredStream {
  effects: Effects;
  rows: StreamRows;
  affected: Affected[];
  judgements: Judgements;
  legitimateSyn: number;
  sourceCount: number;
  bounds: StreamResult["bounds"];
  decisions: Decision[];
}

/** All of it. Sources are those that would be blocked anywhere, and what legitimate ones the sweep hits. */
export interface Gathered {
  policy: Policy;
  sources: SourceTable;
  marks: Marks;
  bounders: { total: Bounder; halves: [Bounder, Bounder] };
  boundDay(day: number): FpBound;
  effects: Effects;
  streams: GatheredStream[];
  sourceCount: number;
  ratios: Summary["handshake_ratio"];
  /** Addresses that look shared: the first 1,000, by text. */
  shared: { source: number; reason: string }[];
  /** A source's number by what the tables have, in hexadecimal. */
  numberOf(hex: string): number | undefined;
  affectedOf(stream: number, hex: string, port: number): Affected | undefined;
  /** Would-be-blocked sources of a stream that look legitimate and have been in use in enough periods. */
  longKnown(stream: number, isLong: (periods: number) => boolean): Set<number>;
}

/** How it is gathered. */
export interface GatherOptions {
  native: NativeOptions;
  streams: readonly StreamName[];
  middleMs: number;
  spanMs: number;
  notEvaluated: ReadonlyMap<number, number>;
  sweepLegitimate: readonly { source: string }[];
}

const UNITS = ["packets", "bytes", "syn"] as const;
const SUMS = UNITS.map((unit) => `sum(t.${unit}_lower), sum(t.${unit}_expected), sum(t.${unit}_upper)`).join(", ");
const LISTED_SHARED = 1000;

/** Sums of drops as they come: nine numbers. */
type DropSums = [string, number, string, string, number, string, string, number, string];

function dropOf(sums: DropSums): Drop {
  const at = (i: number) => ({ lower: Number(sums[i]), expected: Number(sums[i + 1]), upper: Number(sums[i + 2]) });
  return { packets: at(0), bytes: at(3), syn: at(6) };
}

/** Reads the tables. */
export async function gather(workspace: Workspace, options: GatherOptions): Promise<Gathered> {
  const { tables, rows } = workspace, policy = nativePolicy(options.native), several = options.streams.length > 1;
  const sources = createSources(crypto.getRandomValues(new Uint32Array(1))[0]!), numbers = new Map<string, number>();
  const numberOf = (hex: string) => {
    let number = numbers.get(hex);
    if (number === undefined) numbers.set(hex, number = sources.intern(addressOf(hex)));
    return number;
  };
  const touched = `(SELECT source FROM ${tables.drops} UNION DISTINCT SELECT first_source FROM ${tables.decisions})`;
  const affected = await listAffected(workspace);
  const decisions = await listDecisions(workspace);
  for (const { source } of affected) numberOf(source);
  for (const { source } of decisions) numberOf(source);
  for (const { source } of options.sweepLegitimate) numberOf(source);
  const shared = await listShared(workspace);
  const marksCount = sources.count;
  for (const one of shared) numberOf(one.hex);

  const total = noEffects(policy), marks = createMarks(marksCount);
  const streams = options.streams.map(() => several ? noEffects(policy) : total);
  const ownMarks = options.streams.map(() => several ? createMarks(marksCount) : marks);
  const each = (stream: number) => several ? [total, streams[stream]!] : [total];
  const marksOf = (stream: number) => several ? [marks, ownMarks[stream]!] : [marks];
  const mark = (stream: number, number: number, { half, day }: { half: 0 | 1; day: number }) => {
    for (const one of marksOf(stream)) {
      one.total[number]! |= HIT;
      one.halves[half][number]! |= HIT;
    }
    marksOfDay(marks, day)[number]! |= HIT;
  };

  await sumDrops(workspace, options, each);
  for (const [stream, keys] of options.notEvaluated) for (const effects of each(stream)) effects.notEvaluated += keys;
  const hit = await rows<{ stream: number; rule: number; source: string; certain: number; halves: [number, number] }>(
    `SELECT stream, rule, hex(source) AS source, max(t.packets_lower > 0) AS certain,
       (max(end_ms <= {middle_ms:Float64}), max(end_ms > {middle_ms:Float64})) AS halves
     FROM ${tables.effects} AS t WHERE t.packets_upper > 0 GROUP BY stream, rule, source ORDER BY stream, source, rule`,
    { middle_ms: options.middleMs },
  );
  for (const { stream, rule, source, certain, halves } of hit) {
    const number = numberOf(source);
    for (const { hits } of each(stream)) {
      hits[rule]!.possible.add(number);
      if (certain) hits[rule]!.certain.add(number);
      for (const half of [0, 1] as const) if (halves[half]) hits[rule]!.halves[half].add(number);
    }
  }
  const hitTimes = await rows<{ stream: number; source: string; half: 0 | 1; day: number }>(
    `SELECT DISTINCT stream, hex(source) AS source, end_ms > {middle_ms:Float64} AS half,
       toInt32(floor((end_ms - 1) / 86400000)) AS day
     FROM ${tables.drops} AS t WHERE t.packets_upper > 0`,
    { middle_ms: options.middleMs },
  );
  for (const { stream, source, ...when } of hitTimes) mark(stream, numberOf(source), when);
  const named = addDecisions(decisions, { ...options, policy, sources, numberOf, each, mark });

  const legitimate = await rows<{ scope: number; stream: number; source: string }>(
    `SELECT scope, stream, hex(source) AS source FROM ${tables.legitimate}
     WHERE source IN ${touched} OR (scope < 0 AND source IN (SELECT source FROM ${tables.near}))`,
  );
  for (const { scope, stream, source } of legitimate) {
    const number = numbers.get(source);
    if (number === undefined || number >= marksCount) continue;
    if (scope >= 0) {
      marksOfDay(marks, scope)[number]! |= LEGITIMATE;
      continue;
    }
    for (const one of marksOf(stream)) {
      const column = scope === SCOPE.total ? one.total : one.halves[scope === SCOPE.half[0] ? 0 : 1];
      column[number]! |= LEGITIMATE;
    }
  }
  const networks = createNetworks(sources), counts = await countLegitimate(workspace, several);
  const bound = (column: Uint8Array, scope: number, stream = -1) =>
    boundCounted(column, networks, counts.get(`${stream} ${scope}`) ?? { legitimate: 0, networks: 0 });
  const boundersOf = (one: Marks, stream?: number) => ({
    total: bound(one.total, SCOPE.total, stream),
    halves: [
      bound(one.halves[0], SCOPE.half[0], stream),
      bound(one.halves[1], SCOPE.half[1], stream),
    ] as [Bounder, Bounder],
  });

  const byKey = options.streams.map(() => new Map<string, Affected>());
  const known = await listTouched(workspace, touched);
  const judgedOf = options.streams.map(() => new Map<number, { cls: number; judged: JudgedSource }>());
  for (const one of known.sources) {
    judgedOf[one.stream]!.set(numberOf(one.source), { cls: one.class, judged: toJudged(one) });
  }
  const keysOf = options.streams.map((): KeyRow[] => []);
  for (const key of known.keys) keysOf[key.stream]!.push(key);
  const affectedKeys = new Map(affected.map((one) => [`${one.stream} ${one.source} ${one.port}`, one]));
  const sums = await countStreams(workspace);
  const gathered = options.streams.map((name, stream): GatheredStream => {
    const keys = keysOf[stream]!, own: Affected[] = [];
    for (const { source, port } of keys) {
      const found = affectedKeys.get(`${stream} ${source} ${port}`);
      if (!found) continue;
      const { union, byRule, blockedMs } = found,
        one: Affected = { source: numberOf(source), port, union, byRule, blockedMs };
      own.push(one);
      byKey[stream]!.set(`${source} ${port}`, one);
    }
    const { total: all, halves } = boundersOf(ownMarks[stream]!, several ? stream : undefined);
    const bounds = { total: all.marked(), halves: [halves[0].marked(), halves[1].marked()] as [FpBound, FpBound] };
    const judged = judgedOf[stream]!, effects = streams[stream]!;
    return {
      effects,
      affected: own,
      rows: keepRows(name, toColumns(keys, { judged, numberOf }), own, effects.hits),
      judgements: {
        classOf: (source) => CLASSES[judged.get(source)?.cls ?? CLASSES.indexOf("unknown")]!,
        describe: (source) => describeEvidence(judged.get(source)!.judged),
      },
      legitimateSyn: Number(sums.get(stream)?.legitimate_syn ?? 0),
      sourceCount: Number(sums.get(stream)?.sources ?? 0),
      bounds: several ? bounds : undefined,
      decisions: named[stream]!,
    };
  });
  const [all] = await rows<{ sources: string }>(
    `SELECT count() AS sources FROM (SELECT source FROM ${tables.sources} GROUP BY source)`,
  );
  return {
    ...{ policy, sources, marks, effects: total, streams: gathered, sourceCount: Number(all!.sources) },
    bounders: boundersOf(marks),
    boundDay: (day) => bound(marks.days.get(day) ?? new Uint8Array(0), day).marked(),
    ratios: await countRatios(workspace),
    shared: shared.map(({ hex, reason }) => ({ source: numberOf(hex), reason })),
    numberOf: (hex) => numbers.get(hex),
    affectedOf: (stream, hex, port) => byKey[stream]!.get(`${hex} ${port}`),
    longKnown: (stream, isLong) =>
      new Set(
        [...judgedOf[stream]!].filter(([, { cls, judged }]) => cls < 2 && isLong(judged.periods)).map(([s]) => s),
      ),
  };
}

// ------------------------------------------------------------------------------------------------------ would block

async function listAffected({ tables, rows }: Workspace) {
  const union = await rows<
    { stream: number; source: string; port: number; sums: DropSums; blocked_lower: string; blocked_upper: string }
  >(
    `SELECT stream, hex(source) AS source, port, (${SUMS}) AS sums,
       sumIf(end_ms - begin_ms, t.packets_upper > 0) AS blocked_upper,
       sumIf(end_ms - begin_ms, t.packets_lower > 0 AND t.packets_lower >= t.packets) AS blocked_lower
     FROM ${tables.drops} AS t GROUP BY stream, source, port ORDER BY stream, source, port`,
  );
  const byRule = await rows<{ stream: number; source: string; port: number; rule: number; sums: DropSums }>(
    `SELECT stream, hex(source) AS source, port, rule, (${SUMS}) AS sums
     FROM ${tables.effects} AS t GROUP BY stream, source, port, rule ORDER BY stream, source, port, rule`,
  );
  const rulesOf = new Map<string, Map<number, Drop>>();
  for (const { stream, source, port, rule, sums } of byRule) {
    const id = `${stream} ${source} ${port}`, known = rulesOf.get(id);
    if (known) known.set(rule, dropOf(sums));
    else rulesOf.set(id, new Map([[rule, dropOf(sums)]]));
  }
  return union.map(({ stream, source, port, sums, blocked_lower, blocked_upper }) => ({
    ...{ stream, source, port, union: dropOf(sums), byRule: rulesOf.get(`${stream} ${source} ${port}`)! },
    blockedMs: { lower: Number(blocked_lower), upper: Number(blocked_upper) },
  }));
}

/** Adds what is dropped of each stream, by rule, half, day and span. */
async function sumDrops(
  { tables, rows }: Workspace,
  { middleMs, spanMs }: GatherOptions,
  each: (stream: number) => readonly Effects[],
): Promise<void> {
  const times = await rows<{ stream: number; half: 0 | 1; day: number; span: string; sums: DropSums }>(
    `SELECT stream, end_ms > {middle_ms:Float64} AS half, toInt32(floor((end_ms - 1) / 86400000)) AS day,
       toInt64(ceil(end_ms / {span_ms:Float64})) - 1 AS span, (${SUMS}) AS sums
     FROM ${tables.drops} AS t GROUP BY stream, half, day, span`,
    { middle_ms: middleMs, span_ms: spanMs },
  );
  for (const { stream, half, day, span, sums } of times) {
    const drop = dropOf(sums);
    for (const effects of each(stream)) {
      addDrop(effects.total, drop);
      addDrop(effects.halves[half], drop);
      addDrop(at(effects.days, day), drop);
      addDrop(at(effects.spans, Number(span)), drop);
    }
  }
  const rules = await rows<{ stream: number; rule: number; sums: DropSums }>(
    `SELECT stream, rule, (${SUMS}) AS sums FROM ${tables.effects} AS t GROUP BY stream, rule`,
  );
  for (const { stream, rule, sums } of rules) {
    for (const effects of each(stream)) addDrop(effects.byRule[rule]!, dropOf(sums));
  }
}

function at(drops: Map<number, Drop>, key: number): Drop {
  let drop = drops.get(key);
  if (!drop) drops.set(key, drop = noDrop());
  return drop;
}

// ---------------------------------------------------------------------------------------------- sources of streams

interface TouchedSource {
  stream: number;
  source: string;
  class: number;
  uses: number;
  periods: number;
  judged_syn: string;
  judged_handshake_ack: string;
  judged_data: string;
  uses_inside: number;
  unanswered: number;
}

const JUDGED =
  "stream, hex(source) AS source, class, uses, periods, judged_syn, judged_handshake_ack, judged_data, uses_inside, unanswered";

async function listTouched({ tables, rows }: Workspace, touched: string) {
  return {
    sources: await rows<TouchedSource>(
      `SELECT ${JUDGED} FROM ${tables.sources} AS t WHERE t.source IN ${touched} ORDER BY stream, t.source`,
    ),
    keys: await rows<KeyRow>(
      `SELECT stream, hex(source) AS source, port, packets, bytes, syn, handshake_ack, rst, data, max_syn_rate, first_ms,
         last_ms, intervals
       FROM ${tables.keys} AS t WHERE t.source IN ${touched} ORDER BY stream, t.source, port`,
    ),
  };
}

function toJudged(one: TouchedSource): JudgedSource {
  return {
    ...{ uses: one.uses, periods: one.periods, usesInside: one.uses_inside, unanswered: one.unanswered },
    ...{ syn: Number(one.judged_syn), handshakeAck: Number(one.judged_handshake_ack), data: Number(one.judged_data) },
  };
}

function toColumns(
  keys: readonly KeyRow[],
  { judged, numberOf }: { judged: ReadonlyMap<number, { cls: number }>; numberOf(hex: string): number },
): TallyCounts["keys"] {
  const column = (of: (key: KeyRow) => string | number) => Float64Array.from(keys, (key) => Number(of(key)));
  const source = Uint32Array.from(keys, (key) => numberOf(key.source));
  return {
    ...{ count: keys.length, source, port: Uint16Array.from(keys, (key) => key.port) },
    class: Uint8Array.from(source, (number) => judged.get(number)!.cls),
    columns: {
      packets: column((key) => key.packets),
      bytes: column((key) => key.bytes),
      syn: column((key) => key.syn),
      handshakeAck: column((key) => key.handshake_ack),
      rst: column((key) => key.rst),
      data: column((key) => key.data),
      maxSynRate: column((key) => key.max_syn_rate),
      firstMs: column((key) => key.first_ms),
      lastMs: column((key) => key.last_ms),
    },
    intervals: Uint32Array.from(keys, (key) => key.intervals),
  };
}

/** Sources that look shared: of all of them, the first by text are kept. */
async function listShared({ tables, stream }: Workspace): Promise<{ hex: string; reason: string }[]> {
  const byText = new Map<string, { hex: string; reason: string }>(), table = createSources(0);
  const keep = () => {
    const sorted = [...byText].sort(([a], [b]) => a < b ? -1 : 1).slice(0, LISTED_SHARED);
    byText.clear();
    for (const [text, one] of sorted) byText.set(text, one);
  };
  const found = stream<TouchedSource>(
    `SELECT ${JUDGED} FROM ${tables.sources} AS t WHERE class = 1 OR (class = 0 AND unanswered >= ${LEAST_USES})
     ORDER BY stream, t.source`,
  );
  for await (const one of found) {
    const reason = describeShared(CLASSES[one.class]!, toJudged(one));
    if (reason === undefined) continue;
    byText.set(table.text(table.intern(addressOf(one.source))), { hex: one.source, reason });
    if (byText.size > 4 * LISTED_SHARED) keep();
  }
  keep();
  return [...byText.values()];
}

async function countStreams({ tables, rows }: Workspace) {
  const sums = await rows<{ stream: number; sources: string; legitimate_syn: string }>(
    `SELECT stream, count() AS sources, sumIf(syn, class < 2) AS legitimate_syn FROM ${tables.sources} GROUP BY stream`,
  );
  return new Map(sums.map((one) => [one.stream, one]));
}

/** Likely-legitimate sources and their networks: by stream (-1: all) and scope. */
async function countLegitimate({ tables, rows }: Workspace, several: boolean) {
  const network = networkOf("source", "net_4", "net_6"), masks = { net_4: maskOf(4, 24), net_6: maskOf(16, 48) };
  type Count = { stream: number; scope: number; count: string };
  const count = async (what: string, stream: string, where: string) =>
    await rows<Count>(
      `SELECT host AS stream, scope, count() AS count FROM (
         SELECT ${stream} AS host, scope, ${what} AS one FROM ${tables.legitimate} ${where} GROUP BY host, scope, one
       ) GROUP BY host, scope`,
      masks,
    );
  const counts = new Map<string, { legitimate: number; networks: number }>();
  for (const [stream, where] of [["-1", ""], ...several ? [["toInt64(stream)", "WHERE scope < 0"]] : []]) {
    for (const one of await count("source", stream!, where!)) {
      counts.set(`${one.stream} ${one.scope}`, { legitimate: Number(one.count), networks: 0 });
    }
    for (const one of await count(network, stream!, where!)) {
      counts.get(`${one.stream} ${one.scope}`)!.networks = Number(one.count);
    }
  }
  return counts;
}

async function countRatios({ tables, rows }: Workspace): Promise<Summary["handshake_ratio"]> {
  const hits = `(SELECT stream, source FROM ${tables.drops} WHERE packets_upper > 0
    UNION DISTINCT SELECT stream, first_source FROM ${tables.decisions})`;
  const bins = await rows<{ bin: number; all: string; hit: string }>(
    `SELECT if(syn = 0, -1, toInt32(least(9, floor(10 * (handshake_ack / syn))))) AS bin, count() AS all,
       countIf((stream, source) IN ${hits}) AS hit
     FROM ${tables.sources} GROUP BY bin`,
  );
  const ratios: Summary["handshake_ratio"] = {
    bins: Array.from({ length: 10 }, () => ({ all: 0, would_block: 0 })),
    without_syn: 0,
  };
  for (const { bin, all, hit } of bins) {
    if (bin < 0) ratios.without_syn = Number(all);
    else ratios.bins[bin] = { all: Number(all), would_block: Number(hit) };
  }
  return ratios;
}
