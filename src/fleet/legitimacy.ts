/**
 * Who looks legitimate, in SQL: what a source is judged by, apart from what triggered, as report/tally.ts has it.
 *
 * An interval of a source is evidence unless it lies near one of its triggers or blocks. What is near is known when no
 * later window can reach back to it (`settle_seq`): what had been taken out until then counts, and that is a running
 * minimum and maximum over the source's own triggers. Sources that no rule touched are counted without any of it.
 */
import { LEAST_PERIODS, LEAST_USES, LONGEST_WAIT_MS, PERIOD_MS, UNANSWERED_SYN } from "../report/tally.ts";
import type { Workspace } from "./tables.ts";

/** Scopes of `legitimate` that are no days. */
export const SCOPE = { total: -1, half: [-2, -3] } as const;

/** What judging sources depends on. */
export interface TallyOptions {
  windowMs: number;
  blockDurationMs: number;
  /** Middle of the evidence, in milliseconds since 1970. */
  middleMs: number;
}

const DAY_MS = 86_400_000;

/** Fills `excluded`, `pieces`, `sources` and `legitimate`. */
export async function tallySources({ tables, run }: Workspace, options: TallyOptions): Promise<void> {
  const { middleMs } = options, widen = Math.min(options.windowMs, LONGEST_WAIT_MS);
  const touched = `(SELECT stream, source FROM ${tables.drops}
    UNION DISTINCT SELECT stream, first_source FROM ${tables.decisions})`;
  const before = "(PARTITION BY stream, source ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)";
  const now = "(PARTITION BY stream, source ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";
  await run(
    `INSERT INTO ${tables.excluded}
     WITH extended AS (
       SELECT e.stream AS stream, e.source AS source, e.seq AS seq,
         e.begin_ms - {widen:Int64} AS near_from, least(e.begin_ms, e.window_from) - {widen:Int64} AS out_from,
         e.end_ms + if(e.decided, {duration_ms:Int64}, 0) + {widen:Int64} AS out_until, e.end_ms AS end_ms,
         e.decided AS decided, e.trigger_from AS trigger_from, 2 * {widen:Int64} + 2 * s.longest_ms AS apart
       FROM (
         SELECT stream, source, seq, any(begin_ms) AS begin_ms, any(end_ms) AS end_ms, max(is_decision) AS decided,
           min(from_ms) AS window_from, argMinIf(from_ms, (port, rule), is_decision) AS trigger_from
         FROM (
           SELECT stream, source, seq, begin_ms, end_ms, 0 AS is_decision, begin_ms AS from_ms, port, 0 AS rule
           FROM ${tables.drops}
           UNION ALL
           SELECT stream, first_source, seq, begin_ms, end_ms, 1, from_ms, first_port, rule FROM ${tables.decisions}
         ) GROUP BY stream, source, seq
       ) AS e INNER JOIN ${tables.spans} AS s ON e.stream = s.stream AND e.seq = s.seq
     ),
     states AS (
       SELECT stream, source, seq, min(out_from) OVER (PARTITION BY stream, source, island ORDER BY seq
           ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS from_state,
         max(out_until) OVER ${now} AS until_state,
         argMaxIf(trigger_from, seq, trigger_starts) OVER ${now} AS trigger_from_state,
         maxIf(end_ms, decided) OVER ${now} AS trigger_until_state
       FROM (
         SELECT *, sum(starts) OVER ${now} AS island FROM (
           SELECT *,
             count() OVER ${before} = 0 OR near_from > max(out_until) OVER ${before} + apart AS starts,
             decided AND (countIf(decided) OVER ${before} = 0
               OR trigger_from > maxIf(end_ms, decided) OVER ${before} + apart) AS trigger_starts
           FROM extended
         )
       )
     )
     SELECT stream, source, own_seq, 1, begin_ms < state.4 AND end_ms > state.3 FROM (
       SELECT *, anyLastIf((from_state, until_state, trigger_from_state, trigger_until_state), is_state) OVER
         (PARTITION BY stream, source ORDER BY seq, is_state DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS state,
         countIf(is_state) OVER (PARTITION BY stream, source ORDER BY seq, is_state DESC
           ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS states
       FROM (
         SELECT stream, source, seq, 1 AS is_state, 0 AS own_seq, 0 AS begin_ms, 0 AS end_ms, from_state, until_state,
           trigger_from_state, trigger_until_state
         FROM states
         UNION ALL
         SELECT c.stream, c.source, s.settle_seq, 0, c.seq, s.begin_ms, s.end_ms, 0, 0, 0, 0
         FROM (
           SELECT DISTINCT stream, source, seq FROM ${tables.cells}
           WHERE judged AND packets > 0 AND (stream, source) IN ${touched}
         ) AS c INNER JOIN ${tables.spans} AS s ON c.stream = s.stream AND c.seq = s.seq
       )
     )
     WHERE NOT is_state AND states > 0 AND begin_ms < state.2 AND end_ms > state.1`,
    { widen, duration_ms: options.blockDurationMs },
  );
  await run(pieces(tables, `(stream, source) NOT IN ${touched}`, false), { middle_ms: middleMs });
  await run(pieces(tables, `(stream, source) IN ${touched}`, true), { middle_ms: middleMs });
  // A period that lies across the middle is one, whichever halves it was in use in.
  const split = `(maxIf(last_period, half = 0 AND periods > 0) = minIf(first_period, half = 1 AND periods > 0)
    AND countIf(half = 0 AND periods > 0) > 0 AND countIf(half = 1 AND periods > 0) > 0)`;
  await run(
    `INSERT INTO ${tables.sources}
     WITH ${isLegitimate("judged")} AS legitimate
     SELECT stream, source, intervals, first_seq, syn, handshake_ack, data, judged_syn, judged_handshake_ack,
       judged_data, uses, periods, uses_inside, unanswered,
       multiIf(legitimate, if(uses_inside > 0, 1, 0),
         judged_syn > 0 AND (judged_handshake_ack = 0 OR judged_data = 0), 3, 2)
     FROM (
       SELECT stream, source, sum(p.intervals) AS intervals, min(p.first_seq) AS first_seq, sum(p.syn) AS syn,
         sum(p.handshake_ack) AS handshake_ack, sum(p.data) AS data, sum(p.judged_syn) AS judged_syn,
         sum(p.judged_handshake_ack) AS judged_handshake_ack, sum(p.judged_data) AS judged_data,
         sum(p.uses) AS uses, sum(p.periods) - ${split.replaceAll("periods", "p.periods")} AS periods,
         sum(p.uses_inside) AS uses_inside, sum(p.unanswered) AS unanswered
       FROM ${tables.pieces} AS p GROUP BY stream, source
     )`,
  );
  await run(
    `INSERT INTO ${tables.legitimate}
     SELECT ${SCOPE.total}, stream, source FROM ${tables.sources} WHERE class < 2`,
  );
  const scoped = (scope: string, group: string, overlap: string) =>
    `INSERT INTO ${tables.legitimate}
     SELECT ${scope}, stream, source FROM (
       SELECT stream, source, ${group}, sum(p.uses) AS uses, sum(p.periods) - ${overlap} AS periods,
         sum(p.judged_syn) AS judged_syn, sum(p.judged_handshake_ack) AS judged_handshake_ack
       FROM ${tables.pieces} AS p GROUP BY stream, source, ${group}
     ) WHERE ${isLegitimate("judged")}`;
  await run(scoped(`if(half = 0, ${SCOPE.half[0]}, ${SCOPE.half[1]})`, "half", "0"));
  await run(scoped("day", "day", split.replaceAll("periods", "p.periods")));
}

function isLegitimate(prefix: string): string {
  return `(uses >= ${LEAST_USES} AND least(periods, 65535) >= ${LEAST_PERIODS}
    AND 2 * ${prefix}_handshake_ack >= ${prefix}_syn)`;
}

/** Evidence of sources, by half and day. `some`: intervals of theirs may be excluded. */
function pieces(tables: Workspace["tables"], which: string, some: boolean): string {
  const evidence = `
    SELECT stream, source, seq, any(begin_ms) AS begin_ms, any(end_ms) AS end_ms, sum(cells.syn) AS syn,
      sum(toInt64(cells.syn) - toInt64(syn_ack)) AS opened, sum(cells.handshake_ack) AS handshake_ack,
      sum(cells.data) AS data
    FROM ${tables.cells} AS cells WHERE judged AND packets > 0 AND ${which} GROUP BY stream, source, seq`;
  const out = some ? "x.out" : "0", inside = some ? "x.inside" : "0";
  return `
INSERT INTO ${tables.pieces}
SELECT stream, source, half, day, count(), min(seq), sum(e.syn), sum(e.handshake_ack), sum(e.data),
  sumIf(opened, NOT out), sumIf(e.handshake_ack, NOT out), sumIf(e.data, NOT out),
  countIf(used AND NOT out), uniqExactIf(period, used AND NOT out), minIf(period, used AND NOT out),
  maxIf(period, used AND NOT out), countIf(used AND out AND inside),
  countIf(opened >= ${UNANSWERED_SYN} AND (e.handshake_ack = 0 OR e.data = 0))
FROM (
  SELECT e.stream AS stream, e.source AS source, e.seq AS seq, e.syn AS syn, e.opened AS opened,
    e.handshake_ack AS handshake_ack, e.data AS data, e.end_ms > {middle_ms:Float64} AS half,
    toInt32(floor((e.end_ms - 1) / ${DAY_MS})) AS day, toInt32(floor((e.end_ms - 1) / ${PERIOD_MS})) AS period,
    e.opened > 0 AND e.handshake_ack > 0 AND e.data > 0 AS used, ${out} AS out, ${inside} AS inside
  FROM (${evidence}) AS e
  ${some ? `LEFT JOIN ${tables.excluded} AS x ON e.stream = x.stream AND e.source = x.source AND e.seq = x.seq` : ""}
) AS e
GROUP BY stream, source, half, day`;
}
