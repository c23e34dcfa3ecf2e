/**
 * The default policy in SQL: triggers, blocks, effects and decisions, as policy/native.ts has them.
 *
 * Only sources and ports are looked at that over all time have had enough for any rule (`hot`). What is asked of a window
 * is asked of the last rows of a key, which a window function gathers. A block depends on its last trigger and on where the
 * unbroken chain of triggers before it began: that is a running maximum, not a loop. Only which triggers are reported
 * depends on the last one that was: there the triggers of a block are folded.
 */
import { EXPECTED_PARTS } from "../policy/block.ts";
import type { NativeOptions } from "../policy/native.ts";
import { limitsOf } from "../policy/native_rules.ts";
import { IS_PROBE } from "./cells.ts";
import { hexOf } from "./lines.ts";
import type { FleetTimeline } from "./spans.ts";
import { NO_PORT, type Tables, type Workspace } from "./tables.ts";
import type { Parameter } from "./engine.ts";
import type { Prefix } from "../prefix.ts";

/** The least bytes of an Ethernet frame with TCP. */
const LEAST_FRAME = 54;
const SYN_FLOOD = 0, VOLUMETRIC = 1, PORT_SWEEP = 2;

// ------------------------------------------------------------------------------------------------ addresses in SQL

/** The network of a source, by masks for both families. */
export function networkOf(source: string, v4: string, v6: string): string {
  return `bitAnd(${source}, toFixedString(unhex(if(startsWith(${source}, char(4)), {${v4}:String}, {${v6}:String})), 17))`;
}

/** A mask for the first `bits` bits of the addresses of a length in bytes. */
export function maskOf(length: 4 | 16, bits: number): string {
  const bytes = new Uint8Array(16);
  for (let i = 0; i < bits; i++) bytes[i >> 3]! |= 0x80 >> (i & 7);
  return `ff${bytes.subarray(0, length).toHex().padEnd(32, "0")}`;
}

/** Whether a source is in a list of prefixes that is bound as `name` and `name_masks`. */
export function isListed(source: string, name: string): string {
  return `arrayExists((p, m) -> bitAnd(${source}, toFixedString(unhex(m), 17)) = toFixedString(unhex(p), 17),
    {${name}:Array(String)}, {${name}_masks:Array(String)})`;
}

/** What `isListed()` is bound to. */
export function bindPrefixes(name: string, prefixes: readonly Prefix[]): Record<string, Parameter> {
  return {
    [name]: prefixes.map(({ bytes }) => hexOf(bytes)),
    [`${name}_masks`]: prefixes.map(({ bytes, bits }) => maskOf(bytes.length as 4 | 16, bits)),
  };
}

// ------------------------------------------------------------------------------------------------------- all rules

/** Fills `hot`, `triggers`, `blocks`, `effects`, `drops` and `decisions`; gives windows that can't be judged by stream. */
export async function simulateNative(
  { tables, run, rows }: Workspace,
  options: NativeOptions,
  { reach }: Pick<FleetTimeline, "reach">,
): Promise<Map<number, number>> {
  const limits = limitsOf(options), { v4, v6 } = options.aggregateBits, alone = v4 === 32 && v6 === 128;
  const units: Record<string, Parameter> = {
    ...bindPrefixes("allowed", options.allowlist.prefixes),
    ...alone ? {} : { unit_4: maskOf(4, v4), unit_6: maskOf(16, v6) },
  };
  const unit = alone ? "source" : networkOf("source", "unit_4", "unit_6");
  const free = options.allowlist.prefixes.length === 0 ? "1" : `NOT ${isListed("source", "allowed")}`;
  const all = { unit, free, frame: reach.window };
  const parameters = {
    ...{ n_syn: limits.syn, ratio: limits.ratio, v_syn: limits.volSyn, v_packets: limits.volPackets },
    ...{ v_bytes: limits.volBytes, window_ms: options.windowMs, n_ports: options.sweepPorts },
  };
  await run(findHot(tables, all), { ...units, ...parameters });
  await run(triggerRates(tables, all), parameters);
  await run(triggerSweeps(tables, all), parameters);
  const duration = { duration_ms: options.blockDurationMs };
  await run(extendBlocks(tables), duration);
  await run(findEffects(tables, { ...all, alone }), { ...units, ...duration });
  await run(uniteEffects(tables));
  await run(decide(tables), duration);
  const unjudged = await rows<{ stream: number; keys: string }>(
    `SELECT stream, count() AS keys FROM (
       SELECT stream, seq, ${unit} AS unit, port FROM ${tables.cells}
       WHERE judged AND packets > 0 AND ${free}
         AND (stream, seq) IN (SELECT stream, seq FROM ${tables.spans} WHERE NOT covered)
       GROUP BY stream, seq, unit, port
     ) GROUP BY stream`,
    units,
  );
  return new Map(unjudged.map(({ stream, keys }) => [stream, Number(keys)]));
}

interface Units {
  /** What a source is counted by, in SQL. */
  unit: string;
  /** Whether a source is not allowlisted, in SQL. */
  free: string;
  /** Rows of a key before one that a window may touch, at most. */
  frame: number;
}

const MAY_TRIGGER = (syn: string, packets: string, bytes: string) =>
  `(${syn} >= {n_syn:Float64} OR
    (${syn} >= {v_syn:Float64}) + (${packets} >= {v_packets:Float64}) + (${bytes} >= {v_bytes:Float64}) >= 2)`;

function findHot(tables: Tables, { unit, free }: Units): string {
  const keys = `SELECT *, ${unit} AS unit FROM ${tables.keys} WHERE ${free}`;
  return `
INSERT INTO ${tables.hot}
SELECT stream, unit, port, seq, min(source), any(begin_ms), any(end_ms), sum(syn), sum(handshake_ack), sum(data),
  sum(packets), sum(bytes), max(is_probe), any(rated), any(swept)
FROM (
  SELECT *, ${unit} AS unit, ${IS_PROBE} AS is_probe,
    (stream, unit, port) IN (
      SELECT stream, unit, port FROM (${keys}) GROUP BY stream, unit, port
      HAVING ${MAY_TRIGGER("sum(syn)", "sum(packets)", "sum(bytes)")}
    ) AS rated,
    (stream, unit) IN (
      SELECT stream, unit FROM (${keys}) WHERE probes > 0 GROUP BY stream, unit
      HAVING uniqExact(port) >= {n_ports:Float64}
    ) AS swept
  FROM ${tables.cells}
  WHERE judged AND packets > 0 AND ${free} AND (rated OR swept)
)
GROUP BY stream, unit, port, seq`;
}

/** `syn_flood` and `volumetric`, from what the last rows of a key add up to. */
function triggerRates(tables: Tables, { frame }: Units): string {
  const sum = (of: string, name: string) => `arraySum(r -> r.${name}, ${of})`;
  const sums = (of: string) =>
    ["syn", "handshake_ack", "data", "packets", "bytes"].map((name) => `${sum(of, name)} AS ${of}_${name}`).join(", ");
  const reached = (s: string, p: string, b: string) =>
    `((${s} >= {v_syn:Float64}) + (${p} >= {v_packets:Float64}) + (${b} >= {v_bytes:Float64}))`;
  return `
INSERT INTO ${tables.triggers}
WITH
  toFloat64(least(touch_handshake_ack, touch_data)) AS completed,
  {ratio:Float64} AS ratio,
  -- How evenly spread packets would lie in a window.
  least(1., {window_ms:Float64} / (end_ms - touch[1].begin_ms)) AS spread,
  -- syn_flood: what it has to see in this interval; whether every order of packets triggers it.
  greatest(0., {n_syn:Float64} - (touch_syn - toFloat64(syn))) AS flood_syn,
  greatest(1., flood_syn) AS flood_packets,
  floor((toFloat64(syn) - 1) / pieces) + 1 AS most,
  floor((toFloat64(syn) - 2 * completed / ratio) / (toFloat64(pieces) - 1)) + 1 AS spared,
  multiIf(
    pieces = 1, if(completed <= ratio * run_syn, toFloat64(run_syn), 0.),
    completed = 0, greatest(0., most),
    greatest(0., least(most, spared))) AS certain_syn,
  least(inner_handshake_ack, inner_data) <= ratio * touch_syn AND touch_syn >= {n_syn:Float64} AS floods,
  certain_syn >= {n_syn:Float64} AS floods_certainly,
  touch_syn * spread >= {n_syn:Float64} AND completed <= ratio * touch_syn AS floods_evenly,
  if(syn > 0, least(1., flood_syn / syn), 1.) AS flood_share,
  -- volumetric
  ${reached("touch_syn", "touch_packets", "touch_bytes")} >= 2 AS is_volume,
  ceil({v_bytes:Float64} / ${LEAST_FRAME}) AS in_packets,
  if(pieces = 1, ${reached("run_syn", "run_packets", "run_bytes")} >= 2,
    syn > (greatest({v_syn:Float64}, least({v_packets:Float64}, in_packets)) - 1) * pieces
      OR packets > (greatest({v_packets:Float64}, in_packets) - 1) * pieces) AS volume_certainly,
  greatest(0., {v_syn:Float64} - (touch_syn - toFloat64(syn))) AS needed_syn,
  greatest(1., {v_packets:Float64} - (touch_packets - toFloat64(packets))) AS needed_packets,
  greatest(0., {v_bytes:Float64} - (touch_bytes - toFloat64(bytes))) AS needed_bytes,
  -- The cheapest of the pairs that can have been reached, unit by unit.
  arrayFilter(p -> p.1, [
    (touch_syn >= {v_syn:Float64} AND touch_packets >= {v_packets:Float64}, needed_syn, needed_packets, 0.),
    (touch_syn >= {v_syn:Float64} AND touch_bytes >= {v_bytes:Float64}, needed_syn, 1., needed_bytes),
    (touch_packets >= {v_packets:Float64} AND touch_bytes >= {v_bytes:Float64}, 0., needed_packets, needed_bytes)
  ]) AS pairs,
  arrayMin(p -> p.2, pairs) AS volume_syn,
  arrayMin(p -> greatest(1., p.3, p.2), pairs) AS volume_packets,
  arrayMin(p -> greatest(p.4, ${LEAST_FRAME} * greatest(1., p.3, p.2)), pairs) AS volume_bytes,
  ${reached("touch_syn * spread", "touch_packets * spread", "touch_bytes * spread")} >= 2 AS volume_evenly,
  if(packets > 0, least(1., volume_packets / packets), 1.) AS volume_share
SELECT stream, t.1 AS rule, unit, port, seq, first_source, port, begin_ms, end_ms, t.2 AS is_certain,
  t.2 OR t.3 AS has_expected, if(has_expected, begin_ms + t.4 * (end_ms - begin_ms), 0.),
  if(is_certain, run[1].begin_ms, touch[1].begin_ms),
  toUInt64(t.5), toUInt64(t.6), toUInt64(t.7),
  if(is_certain, [run_syn, run_handshake_ack, run_data, run_packets, run_bytes],
    [touch_syn, touch_handshake_ack, touch_data, touch_packets, touch_bytes])
FROM (
  SELECT *, ${sums("touch")}, ${sums("run")}, ${sum("inside", "handshake_ack")} AS inner_handshake_ack,
    ${sum("inside", "data")} AS inner_data
  FROM (
    SELECT h.*, s.pieces AS pieces,
      arrayFilter(r -> r.seq >= s.touch_seq, h.recent) AS touch,
      arrayFilter(r -> r.seq >= s.run_seq, h.recent) AS run,
      arrayFilter(r -> r.seq >= s.inner_seq AND r.seq < h.seq, h.recent) AS inside
    FROM (
      SELECT stream, unit, port, seq, first_source, begin_ms, end_ms, syn, packets, bytes,
        groupArray(CAST((seq, begin_ms, syn, handshake_ack, data, packets, bytes), 'Tuple(seq UInt32, begin_ms Int64,
          syn UInt64, handshake_ack UInt64, data UInt64, packets UInt64, bytes UInt64)')) OVER key AS recent
      FROM ${tables.hot} WHERE rated
      WINDOW key AS (PARTITION BY stream, unit, port ORDER BY seq ROWS BETWEEN ${frame} PRECEDING AND CURRENT ROW)
    ) AS h INNER JOIN ${tables.spans} AS s ON h.stream = s.stream AND h.seq = s.seq
  )
  WHERE ${MAY_TRIGGER(sum("touch", "syn"), sum("touch", "packets"), sum("touch", "bytes"))}
)
ARRAY JOIN arrayFilter(t -> t.8, [
  (${SYN_FLOOD}, floods_certainly, floods_evenly, flood_share, flood_packets, ${LEAST_FRAME} * flood_packets, flood_syn,
    floods),
  (${VOLUMETRIC}, volume_certainly, volume_evenly, volume_share, volume_packets, volume_bytes, volume_syn, is_volume)
]) AS t`;
}

/** `port_sweep`, from the ports that a unit has probed in its last intervals. */
function triggerSweeps(tables: Tables, { frame }: Units): string {
  const ports = (from: string) =>
    `length(arrayDistinct(arrayFlatten(arrayMap(r -> r.probed, arrayFilter(r -> r.seq >= ${from}, h.recent)))))`;
  return `
INSERT INTO ${tables.triggers}
WITH
  toFloat64(length(h.probed)) AS own, ${ports("s.touch_seq")} AS touched, ${ports("s.run_seq")} AS run,
  greatest(0., {n_ports:Float64} - (toFloat64(touched) - own)) AS needed,
  if(s.pieces = 1, run >= {n_ports:Float64}, own > ({n_ports:Float64} - 1) * s.pieces) AS is_certain
SELECT h.stream, ${PORT_SWEEP}, h.unit, ${NO_PORT}, h.seq, h.first.1, h.first.2, h.begin_ms, h.end_ms, is_certain,
  is_certain, if(is_certain, h.begin_ms + if(needed = 0, 0., least(1., needed / own)) * (h.end_ms - h.begin_ms), 0.),
  if(is_certain, s.run_begin_ms, s.touch_begin_ms), 0, 0, 0, [if(is_certain, run, touched)]
FROM (
  SELECT *, groupArray(CAST((seq, probed), 'Tuple(seq UInt32, probed Array(UInt32))')) OVER
    (PARTITION BY stream, unit ORDER BY seq ROWS BETWEEN ${frame} PRECEDING AND CURRENT ROW) AS recent
  FROM (
    SELECT stream, unit, seq, any(begin_ms) AS begin_ms, any(end_ms) AS end_ms, min((first_source, port)) AS first,
      groupArrayIf(port, probed) AS probed
    FROM ${tables.hot} WHERE swept GROUP BY stream, unit, seq
  )
) AS h INNER JOIN ${tables.spans} AS s ON h.stream = s.stream AND h.seq = s.seq
WHERE touched >= {n_ports:Float64}`;
}

/** What each trigger makes of its block: see extendBlock() of policy/block.ts. */
function extendBlocks(tables: Tables): string {
  const before =
    "(PARTITION BY stream, rule, unit, port ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)";
  const now = "(PARTITION BY stream, rule, unit, port ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";
  return `
INSERT INTO ${tables.blocks}
SELECT stream, rule, unit, port, seq, end_ms, end_ms + {duration_ms:Int64},
  maxIf(end_ms, certain_starts) OVER ${now}, maxIf(begin_ms + {duration_ms:Int64}, lasts) OVER ${now},
  maxIf(expected_ms, expected_starts) OVER ${now},
  maxIf(expected_ms + {duration_ms:Int64}, has_expected) OVER ${now},
  if(expected_starts, greatest(0., expected_until - greatest(toFloat64(begin_ms),
    maxIf(expected_ms, expected_starts) OVER ${before})), 0.),
  if(is_free, passed_packets, 0), if(is_free, passed_bytes, 0), if(is_free, passed_syn, 0)
FROM (
  SELECT *, certain AND begin_ms + {duration_ms:Int64} > end_ms AS lasts,
    count() OVER ${before} = 0 OR max(end_ms) OVER ${before} + {duration_ms:Int64} <= begin_ms AS is_free,
    -- An unbroken chain begins where the one before has ended.
    lasts AND (countIf(lasts) OVER ${before} = 0
      OR maxIf(begin_ms, lasts) OVER ${before} + {duration_ms:Int64} < end_ms) AS certain_starts,
    maxIf(expected_ms + {duration_ms:Int64}, has_expected) OVER ${before} AS expected_until,
    has_expected AND (countIf(has_expected) OVER ${before} = 0 OR expected_until < expected_ms) AS expected_starts
  FROM ${tables.triggers}
)`;
}

/** What blocks drop of the cells of their sources and ports: see effectOf() of policy/block.ts. */
function findEffects(tables: Tables, { unit, free, alone }: Units & { alone: boolean }): string {
  const drop = (name: string, parts: number) => `
  if(whole, c.${name}, 0), floor(least(toFloat64(${name}_upper), share * c.${name}) * ${parts} + 0.5) / ${parts},
  greatest(0, toInt64(c.${name}) - toInt64(if(takes_passed, b.passed_${name}, 0))) AS ${name}_upper`;
  const state = "seq UInt32, possible_until Int64, certain_from Int64, certain_until Int64, expected_from Float64, " +
    "expected_until Float64, expected_before Float64, passed_packets UInt64, passed_bytes UInt64, passed_syn UInt64";
  const fields = state.split(", ").map((field) => field.split(" ")[0]);
  return `
INSERT INTO ${tables.effects}
WITH
  b.certain_from <= begin_ms AND b.certain_until >= end_ms AS whole,
  b.seq = seq AS touched,
  greatest(0., least(toFloat64(end_ms), b.expected_until) - greatest(toFloat64(begin_ms), b.expected_from)) AS overlap,
  if(whole, 1., least(1., (overlap + if(touched, b.expected_before, 0.)) / (end_ms - begin_ms))) AS share,
  touched AND ${Number(alone)} AND rule != ${PORT_SWEEP} AS takes_passed
SELECT stream, rule, source, port, seq, begin_ms, end_ms, c.packets, c.bytes, c.syn,
  ${drop("packets", EXPECTED_PARTS)}, ${drop("bytes", 1)}, ${drop("syn", EXPECTED_PARTS)}
FROM (
  SELECT *, anyLastIf(state, is_block) OVER
    (PARTITION BY stream, rule, unit, block_port ORDER BY seq, is_block DESC
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS b
  FROM (
    SELECT stream, rule, ${unit} AS unit, if(rule = ${PORT_SWEEP}, ${NO_PORT}, port) AS block_port, seq, 0 AS is_block,
      source, port, begin_ms, end_ms, CAST((packets, bytes, syn), 'Tuple(packets UInt64, bytes UInt64, syn UInt64)') AS c,
      CAST((${fields.map(() => 0).join(", ")}), 'Tuple(${state})') AS state
    FROM ${tables.cells} ARRAY JOIN [${SYN_FLOOD}, ${VOLUMETRIC}, ${PORT_SWEEP}] AS rule
    WHERE judged AND packets > 0 AND ${free}
      AND (stream, rule, unit, block_port) IN (SELECT stream, rule, unit, port FROM ${tables.blocks})
    UNION ALL
    SELECT stream, rule, unit, port AS block_port, seq, 1 AS is_block, unit AS source, 0 AS port, 0 AS begin_ms,
      0 AS end_ms, CAST((0, 0, 0), 'Tuple(packets UInt64, bytes UInt64, syn UInt64)') AS c,
      CAST((${fields.join(", ")}), 'Tuple(${state})') AS state
    FROM ${tables.blocks}
  )
)
WHERE NOT is_block AND b.possible_until > begin_ms`;
}

/** Together rules drop what one of them drops: see unite() of report/effects.ts. */
function uniteEffects(tables: Tables): string {
  const unit = (name: string) => `max(${name}_lower), max(${name}_expected), least(sum(${name}_upper), any(e.${name}))`;
  return `
INSERT INTO ${tables.drops}
SELECT stream, source, seq, port, any(begin_ms), any(end_ms), any(e.packets),
  ${unit("packets")}, ${unit("bytes")}, ${unit("syn")}
FROM ${tables.effects} AS e GROUP BY stream, source, seq, port`;
}

/** A trigger is reported unless its block still lasts, by an earlier one that is as certain. */
function decide(tables: Tables): string {
  return `
INSERT INTO ${tables.decisions}
SELECT stream, rule, unit, port, seq, first_source, first_port, begin_ms, end_ms, certain, from_ms, measured
FROM ${tables.triggers}
WHERE (stream, rule, unit, port, seq) IN (
  SELECT stream, rule, unit, port, arrayJoin(arrayFold(
    (acc, t) -> if(t.3 < acc.1 AND (acc.2 OR NOT t.4), acc, (t.2 + {duration_ms:Int64}, t.4, arrayPushBack(acc.3, t.1))),
    arraySort(t -> t.1, groupArray((seq, begin_ms, end_ms, certain))),
    (toInt64(-9000000000000000000), toUInt8(0), emptyArrayUInt32())).3)
  FROM ${tables.triggers} GROUP BY stream, rule, unit, port
)`;
}
