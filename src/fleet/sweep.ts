/**
 * The SYN rule at other thresholds, in SQL: what report/sweep.ts has of each source and port that came near one.
 *
 * Of each interval the highest level that may and that certainly would trigger is kept, for every window and ratio. At a
 * level an interval is dropped if the last one before it that certainly triggered there, or higher, still blocks: a
 * running maximum of times, one for each level.
 */
import type { Prefix } from "../prefix.ts";
import { WINDOW_SLACK } from "../policy/recent.ts";
import type { SweepGrid } from "../report/sweep.ts";
import { bindPrefixes, isListed } from "./native.ts";
import type { Workspace } from "./tables.ts";

/** What the sweep found. */
export interface SweepCounts {
  /** By configuration and level: sources that may be hit there. */
  sources: number[];
  /** By configuration and level: SYNs of likely-abusive and unknown sources that would be dropped there or below. */
  dropped: number[];
  abusiveSyn: number;
  /** Likely-legitimate sources that may be hit: the highest level by configuration and half, -1 for none. */
  legitimate: { source: string; highest: number[] }[];
}

/** Fills `near`, and counts. */
export async function sweepRates(
  { tables, run, rows }: Workspace,
  grid: SweepGrid,
  options: { middleMs: number; frame: number; allowlist: readonly Prefix[] },
): Promise<SweepCounts> {
  const { windows, ratios, limits, longestMs, half } = grid, configs = windows.length * ratios.length;
  const levels = limits[0]!.length, exempt = isListed("source", "allowed");
  const bound = bindPrefixes("allowed", options.allowlist);
  const key = "PARTITION BY stream, source, port";
  // Rows of a key from the one on that made it a candidate.
  const candidates = `
    SELECT stream, source, port, seq, begin_ms, end_ms, syn, handshake_ack, data, if(n = first_n, before, 0) AS before
    FROM (
      SELECT *, minIf(n, before + syn >= {half:Float64}) OVER (${key}) AS first_n FROM (
        SELECT *,
          multiIf(last_epoch > reached, last_late + last_early, last_epoch = reached, last_late, 0) AS before
        FROM (
          SELECT *, lagInFrame(epoch, 1, -1000000) OVER w AS last_epoch,
            lagInFrame(late, 1, 0) OVER w AS last_late, lagInFrame(early, 1, 0) OVER w AS last_early,
            row_number() OVER w AS n
          FROM (
            SELECT *, sum(syn) OVER (${key}, epoch ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS late,
              sum(syn) OVER (${key} ORDER BY epoch RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING) AS early
            FROM (
              SELECT stream, source, port, seq, begin_ms, end_ms, toInt64(syn) AS syn, handshake_ack, data,
                toInt64(floor(end_ms / {longest_ms:Float64})) AS epoch,
                toInt64(floor(begin_ms / {longest_ms:Float64})) - 1 AS reached
              FROM ${tables.cells}
              WHERE judged AND packets > 0 AND (stream, source, port) IN (
                SELECT stream, source, port FROM ${tables.keys}
                WHERE syn >= {half:Float64} ${options.allowlist.length === 0 ? "" : `AND NOT ${exempt}`}
              )
            )
          )
          WINDOW w AS (${key} ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        )
      )
    )
    WHERE first_n > 0 AND n >= first_n`;
  const row = "begin_ms Int64, end_ms Int64, syn Int64, handshake_ack UInt64, data UInt64, before Int64, island UInt64";
  const fields = row.split(", ").map((field) => field.split(" ")[0]).join(", ");
  const per = (of: (w: number, ratio: string) => string) =>
    windows.flatMap((_, w) => ratios.map((_, r) => of(w, `{ratio_${r}:Float64}`))).join(",\n    ");
  const sum = (of: string, name: string) => `arraySum(r -> r.${name}, ${of})`;
  const seen = windows.map((_, w) => {
    const touch = `touch_${w}`, window = `{window_${w}:Int64}`, slack = `{slack_${w}:Float64}`;
    return `
      arrayFilter(r -> r.end_ms > begin_ms - ${window}, recent) AS ${touch},
      toFloat64(${sum(touch, "syn")} + ${sum(touch, "before")}) AS touch_syn_${w},
      toFloat64(least(${sum(touch, "handshake_ack")}, ${sum(touch, "data")})) AS completed_${w},
      arrayFilter(r -> r.end_ms <= begin_ms AND r.begin_ms >= end_ms - ${window}, ${touch}) AS inside_${w},
      toFloat64(least(${sum(`inside_${w}`, "handshake_ack")}, ${sum(`inside_${w}`, "data")})) AS inner_${w},
      toFloat64(arraySum(r -> r.syn, arrayFilter(r -> r.end_ms = end_ms
        OR (r.island = island AND end_ms - r.begin_ms <= ${slack}), ${touch}))) AS run_${w},
      greatest(1., ceil((end_ms - begin_ms) / ${slack})) AS pieces_${w},
      floor((toFloat64(syn) - 1) / pieces_${w}) + 1 AS most_${w}`;
  }).join(",");
  await run(
    `INSERT INTO ${tables.near}
     WITH ${seen},
     ${windows.map((_, w) => `{limits_${w}:Array(UInt64)} AS limits_${w}`).join(", ")}
     SELECT stream, source, port, seq, begin_ms, end_ms, syn, handshake_ack, data, [
    ${
      per((w, ratio) =>
        `arrayCount(l -> l <= if(inner_${w} <= ${ratio} * touch_syn_${w}, touch_syn_${w}, 0), limits_${w}) - 1`
      )
    }], [
    ${
      per((w, ratio) =>
        `arrayCount(l -> l <= multiIf(
          pieces_${w} = 1, if(completed_${w} <= ${ratio} * run_${w}, run_${w}, 0.),
          completed_${w} = 0, greatest(0., most_${w}),
          greatest(0., least(most_${w}, floor((toFloat64(syn) - 2 * completed_${w} / ${ratio}) / (pieces_${w} - 1)) + 1))
        ), limits_${w}) - 1`
      )
    }]
     FROM (
       SELECT *, groupArray(CAST((${fields}), 'Tuple(${row})')) OVER
         (${key} ORDER BY seq ROWS BETWEEN ${options.frame} PRECEDING AND CURRENT ROW) AS recent
       FROM (
         SELECT *, sum(parts) OVER (${key} ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
         FROM (
           SELECT *, begin_ms - lagInFrame(end_ms, 1, begin_ms) OVER
               (${key} ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
             > greatest(50., 0.02 * (end_ms - begin_ms)) AS parts
           FROM (${candidates})
         )
       )
     )`,
    {
      ...bound,
      ...{ half, longest_ms: longestMs },
      ...Object.fromEntries(limits.map((list, w) => [`limits_${w}`, list])),
      ...Object.fromEntries(windows.map((window, w) => [`window_${w}`, window])),
      ...Object.fromEntries(windows.map((window, w) => [`slack_${w}`, window * WINDOW_SLACK])),
      ...Object.fromEntries(ratios.map((ratio, r) => [`ratio_${r}`, ratio])),
    },
  );
  return {
    ...await countHits({ tables, rows }, { configs, levels, middleMs: options.middleMs }),
    ...await countDropped({ tables, rows }, { configs, levels, durationMs: grid.durationMs, exempt, bound }),
  };
}

async function countHits(
  { tables, rows }: Pick<Workspace, "tables" | "rows">,
  { configs, levels, middleMs }: { configs: number; levels: number; middleMs: number },
): Promise<Pick<SweepCounts, "sources" | "legitimate">> {
  const highest = `
    SELECT source,
      maxForEach(arrayFlatten(arrayMap(p -> if(end_ms <= {middle_ms:Float64}, [p, -1], [-1, p]), possible))) AS highest
    FROM ${tables.near} GROUP BY source HAVING arrayMax(highest) >= 0`;
  const range = `arrayFlatten(arrayMap(c -> arrayMap(l ->
    toUInt64(greatest(highest[2 * c + 1], highest[2 * c + 2]) >= l), range(${levels})), range(${configs})))`;
  const [sums] = await rows<{ sources: string[] }>(
    `SELECT sumForEach(${range}) AS sources FROM (${highest})`,
    { middle_ms: middleMs },
  );
  const legitimate = await rows<{ source: string; highest: number[] }>(
    `SELECT hex(source) AS source, highest FROM (${highest})
     WHERE source IN (SELECT source FROM ${tables.legitimate} WHERE scope < 0)`,
    { middle_ms: middleMs },
  );
  return { sources: (sums?.sources ?? []).map(Number), legitimate };
}

async function countDropped(
  { tables, rows }: Pick<Workspace, "tables" | "rows">,
  { configs, levels, durationMs, exempt, bound }: {
    configs: number;
    levels: number;
    durationMs: number;
    exempt: string;
    bound: ReturnType<typeof bindPrefixes>;
  },
): Promise<Pick<SweepCounts, "dropped" | "abusiveSyn">> {
  const abusive = `SELECT stream, source FROM ${tables.sources} WHERE class >= 2 AND NOT ${exempt}`;
  const [sums] = await rows<{ dropped: string[] }>(
    `SELECT sumForEach(arrayMap(t -> if(t > 0 AND t + {duration_ms:Int64} >= end_ms, syn, 0), latest)) AS dropped
     FROM (
       SELECT end_ms, syn, maxForEach(fires) OVER (PARTITION BY stream, source, port ORDER BY seq
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest
       FROM (
         SELECT stream, source, port, seq, end_ms, syn,
           arrayFlatten(arrayMap(c -> arrayMap(l -> if(c >= l, begin_ms, 0), range(${levels})), certain)) AS fires
         FROM ${tables.near}
         WHERE (stream, source) IN (${abusive}) AND (stream, source, port) IN (
           SELECT stream, source, port FROM ${tables.near} WHERE arrayMax(certain) >= 0)
       )
     )`,
    { ...bound, duration_ms: durationMs },
  );
  const [total] = await rows<{ syn: string }>(
    `SELECT sum(syn) AS syn FROM ${tables.sources} WHERE class >= 2 AND NOT ${exempt}`,
    bound,
  );
  const dropped = sums!.dropped.map(Number);
  return {
    dropped: dropped.length > 0 ? dropped : Array.from({ length: configs * levels }, () => 0),
    abusiveSyn: Number(total!.syn),
  };
}
