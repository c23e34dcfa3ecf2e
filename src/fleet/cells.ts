/**
 * What was counted in each interval: from lines and their spans to the tables `cells` and `keys`.
 *
 * A line of deltas is unfolded. A cumulative line is held against the one before it in its run, key by key, by the rules of
 * evidence/delta.ts: what fell began anew or passed 2^32.
 */
import { COUNTER_NAMES } from "../counters.ts";
import type { Workspace } from "./tables.ts";

/** What a row of cells is that fell: counted anew; passed 2^32; all of its line began anew. */
export const FELL = { evicted: 1, wrapped: 2, restarted: 3 };

const WRAP = "4294967296";
/** No frame with TCP is shorter, in bytes. */
const LEAST_FRAME = 40;

const each = (of: (name: string, k: number) => string) => COUNTER_NAMES.map((name, k) => of(name, k + 1)).join(", ");

/** Whether a cell is of a single source, and of a port that is looked at. */
const JUDGED = "port < 65536 AND ({all_ports:UInt8} OR has({ports:Array(UInt32)}, port))";
/** Packets with payload, as near as versions before 8 come. */
const payload = (of: (name: string) => string) =>
  `if(payload, toInt64(${of("data")}), greatest(0, toInt64(${of("packets")}) - toInt64(${of("syn")}) - ` +
  `toInt64(${of("rst")}) - toInt64(${of("handshake_ack")})))`;

/** How cells are made. */
export interface CellOptions {
  /** These only, if given. */
  ports: readonly number[] | undefined;
  /** Files, and lines in them. */
  files: number;
  lines: number;
  /** Whether there are lines of versions that have no runs: their counters may begin anew together. */
  mayRestart: boolean;
}

/** Lines that are held against their spans at once: the spans are in memory. */
const AT_ONCE = 1_000_000;

/** Fills `cells` and `keys`. */
export async function makeCells({ tables, run }: Workspace, options: CellOptions): Promise<void> {
  const { ports, files, lines, mayRestart } = options;
  const parameters = { all_ports: Number(ports === undefined), ports: ports ?? [] };
  const unfold = each((name, k) => `l.counters[${k}] AS ${name}`);
  const zero = COUNTER_NAMES.map((name) => `${name} = 0`).join(" AND ");
  const step = Math.max(1, Math.ceil(files / Math.ceil(Math.max(1, lines) / AT_ONCE)));
  for (let from = 0; from < files; from += step) {
    const some = "file >= {from:UInt32} AND file < {until:UInt32}";
    await run(
      `INSERT INTO ${tables.cells}
       SELECT s.stream, source, s.seq, port, s.begin_ms, s.end_ms, ${
        each((name) => name === "data" ? payload((n) => n) : name)
      }, 0, ${JUDGED}
       FROM (SELECT * FROM ${tables.lines} WHERE clean AND ${some}) AS l
         INNER JOIN (SELECT * FROM ${tables.spans} WHERE cumulative = 0 AND ${some}) AS s
         ON l.file = s.file AND l.number = s.number
       ARRAY JOIN l.sources AS source, l.ports AS port, ${unfold}
       WHERE NOT (${zero})`,
      { ...parameters, from, until: from + step },
    );
  }
  // A line's own rows, and again those of the line before it.
  const rowsOf = (side: "now" | "before") =>
    `SELECT s.stream AS stream, s.seq AS seq, source, port, s.begin_ms AS begin_ms, s.end_ms AS end_ms,
       may_restart, payload, ${Number(side === "now")} AS is_now, ${each((name) => name)}
     FROM (SELECT * FROM ${tables.lines} WHERE clean AND cumulative = 1) AS l INNER JOIN ${tables.spans} AS s
       ON l.file = s.${side === "now" ? "file" : "before_file"} AND l.number = s.${
      side === "now" ? "number" : "before_number"
    }
     ARRAY JOIN l.sources AS source, l.ports AS port, ${unfold}
     WHERE s.cumulative = 1 ${side === "now" ? "" : "AND s.has_before = 1"}`;
  const line = "OVER (PARTITION BY stream, seq)";
  const restarted = mayRestart ? `may_restart AND sum(fell) ${line} * 2 > sum(has_before) ${line}` : "0";
  const delta = (name: string) => `(now_${name} - before_${name})`;
  const unwrapped = (name: string) => `if(${delta(name)} < 0, ${delta(name)} + ${WRAP}, ${delta(name)})`;
  const wraps = COUNTER_NAMES.filter((name) => name !== "bytes").map((name) =>
    `before_${name} < ${WRAP} AND ${unwrapped(name)} * ${LEAST_FRAME} <= ${delta("bytes")}`
  );
  await run(
    `INSERT INTO ${tables.cells}
     SELECT stream, source, seq, port, begin_ms, end_ms,
       ${each((name) => name === "data" ? payload((n) => `counted_${n}`) : `counted_${name}`)}, kind, ${JUDGED}
     FROM (
       SELECT *,
         multiIf(restarted, ${FELL.restarted}, fell AND wraps, ${FELL.wrapped}, fell, ${FELL.evicted}, 0) AS kind,
         ${
      each((name) =>
        `multiIf(kind IN (${FELL.restarted}, ${FELL.evicted}), now_${name},
           kind = ${FELL.wrapped}, ${unwrapped(name)}, ${delta(name)}) AS counted_${name}`
      )
    }
       FROM (
         SELECT *, ${restarted} AS restarted
         FROM (
           SELECT stream, seq, source, port, any(begin_ms) AS begin_ms, any(end_ms) AS end_ms,
             any(may_restart) AS may_restart, any(payload) AS payload,
             max(is_now) AS has_now, max(NOT is_now) AS has_before,
             ${each((name) => `toInt64(sumIf(${name}, is_now)) AS now_${name}`)},
             ${each((name) => `toInt64(sumIf(${name}, NOT is_now)) AS before_${name}`)},
             has_before AND (${COUNTER_NAMES.map((name) => `now_${name} < before_${name}`).join(" OR ")}) AS fell,
             ${delta("bytes")} >= 0 AND ${wraps.join(" AND ")} AS wraps
           FROM (${rowsOf("now")} UNION ALL ${rowsOf("before")})
           GROUP BY stream, seq, source, port
           HAVING has_now
         )
       )
     )
     WHERE kind > 0 OR NOT (${COUNTER_NAMES.map((name) => `counted_${name} = 0`).join(" AND ")})`,
    parameters,
  );
  await run(
    `INSERT INTO ${tables.keys}
     SELECT stream, source, port, sum(packets), sum(bytes), sum(syn), sum(handshake_ack), sum(rst), sum(data),
       countIf(${IS_PROBE}), max(syn / ((end_ms - begin_ms) / 1000)), min(begin_ms), max(end_ms), count()
     FROM ${tables.cells} WHERE judged AND packets > 0
     GROUP BY stream, source, port`,
  );
}

/** Opens a connection, or has no flag that TCP knows at its place; what answers a connection of ours is none. */
export const IS_PROBE = "port > 0 AND (syn > syn_ack OR (packets > syn + rst + handshake_ack + data AND data = 0))";
