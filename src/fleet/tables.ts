/**
 * The tables that a report keeps in the engine while it is made: what is in them, and the workspace that makes them,
 * runs statements on them, and removes them.
 *
 * Snapshots are read and decoded once, into columns that are a tenth of their size; everything after that reads these.
 * Rows are kept by stream and source, so that what is asked of a source is read in one piece, without sorting all of
 * them, and what doesn't fit in memory is merged from disk. All tables of a report begin with a word of its own; they
 * go when it is done.
 */
import { type Parameter, type QueryEngine, type QueryOptions, streamRows } from "./engine.ts";

/** The columns of a table, and how its rows lie. */
interface Shape {
  columns: string;
  order: string;
}

/**
 * A source is 17 bytes: 4 or 16, which says how many of the rest are its address, in network order; zeros behind. So IPv4
 * comes before IPv6, and both in the order of their value.
 */
const SOURCE = "FixedString(17)";

/** Counters in the order of COUNTER_NAMES, a column each. */
const COUNTERS = "syn UInt64, ack UInt64, handshake_ack UInt64, rst UInt64, packets UInt64, bytes UInt64, " +
  "syn_ack UInt64, fin UInt64, data UInt64";

/** What a cell would lose, by unit: at least, likely, at most. */
const DROP = ["packets", "bytes", "syn"].map((unit) =>
  `${unit}_lower UInt64, ${unit}_expected Float64, ${unit}_upper UInt64`
).join(", ");

const SHAPES = {
  /** What the source calls its files, and their numbers from 0 in the order they were given. */
  files: { columns: "name String, file UInt32", order: "name" },
  /** Every line that isn't empty. One that isn't `clean` is here with its place alone, and once more when it is decoded. */
  lines: {
    columns: `file UInt32, number UInt32, clean UInt8, version UInt8, hostname String, iface String, run_id UInt64,
      seq UInt64, end_ms Int64, interval_ms Int64, base_ms Int64, cumulative UInt8, mode LowCardinality(String),
      dst_ports String, totals Array(UInt64), unattributed Array(UInt64), skips Array(UInt64), evicted UInt64,
      row_count UInt32, network_rows UInt32, digest UInt64,
      sources Array(${SOURCE}), ports Array(UInt32), counters Array(Array(UInt64))`,
    order: "file, number",
  },
  /** When lines counted, as the timeline has it; `stream` and `seq` (from 1) name an interval. */
  spans: {
    columns: `stream UInt32, seq UInt32, file UInt32, number UInt32, before_file UInt32, before_number UInt32,
      has_before UInt8, begin_ms Int64, end_ms Int64, may_restart UInt8, cumulative UInt8, payload UInt8,
      touch_seq UInt32, touch_begin_ms Int64, run_seq UInt32, run_begin_ms Int64,
      inner_seq UInt32, pieces UInt32, covered UInt8, settle_seq UInt32,
      longest_ms Int64`,
    order: "stream, seq",
  },
  /** What was counted of a source and port in an interval. Networks have 65536 in the port. */
  cells: {
    columns: `stream UInt32, source ${SOURCE}, seq UInt32, port UInt32, begin_ms Int64, end_ms Int64, ${COUNTERS},
      fell UInt8, judged UInt8`,
    order: "stream, source, seq, port",
  },
  /** What was counted of a source and port over all time. */
  keys: {
    columns: `stream UInt32, source ${SOURCE}, port UInt32, packets UInt64, bytes UInt64, syn UInt64,
      handshake_ack UInt64, rst UInt64, data UInt64, probes UInt64, max_syn_rate Float64, first_ms Int64,
      last_ms Int64, intervals UInt32`,
    order: "stream, source, port",
  },
  /** The rows of what rules may act on, by what they count by (`unit`: a source or its network) and port. */
  hot: {
    columns: `stream UInt32, unit ${SOURCE}, port UInt32, seq UInt32, first_source ${SOURCE}, begin_ms Int64,
      end_ms Int64, syn UInt64, handshake_ack UInt64, data UInt64, packets UInt64, bytes UInt64, probed UInt8,
      rated UInt8, swept UInt8`,
    order: "stream, unit, port, seq",
  },
  /** Rules that triggered or may have, in each interval that they did. `port` is NO_PORT for rules on all ports. */
  triggers: {
    columns: `stream UInt32, rule UInt8, unit ${SOURCE}, port UInt32, seq UInt32, first_source ${SOURCE},
      first_port UInt32, begin_ms Int64, end_ms Int64, certain UInt8, has_expected UInt8, expected_ms Float64, from_ms Int64,
      passed_packets UInt64, passed_bytes UInt64, passed_syn UInt64, measured Array(UInt64)`,
    order: "stream, rule, unit, port, seq",
  },
  /** The state of a rule's block as each trigger leaves it. */
  blocks: {
    columns: `stream UInt32, rule UInt8, unit ${SOURCE}, port UInt32, seq UInt32, end_ms Int64, possible_until Int64,
      certain_from Int64, certain_until Int64, expected_from Float64, expected_until Float64, expected_before Float64,
      passed_packets UInt64, passed_bytes UInt64, passed_syn UInt64`,
    order: "stream, rule, unit, port, seq",
  },
  /** What a rule would have dropped of a cell. */
  effects: {
    columns: `stream UInt32, rule UInt8, source ${SOURCE}, port UInt32, seq UInt32, begin_ms Int64, end_ms Int64,
      packets UInt64, bytes UInt64, syn UInt64, ${DROP}`,
    order: "stream, source, seq, port, rule",
  },
  /** What all rules together would have. */
  drops: {
    columns: `stream UInt32, source ${SOURCE}, seq UInt32, port UInt32, begin_ms Int64, end_ms Int64, packets UInt64,
      ${DROP}`,
    order: "stream, source, seq, port",
  },
  /** Triggers that are reported: those that no earlier one of their block covers. */
  decisions: {
    columns: `stream UInt32, rule UInt8, unit ${SOURCE}, port UInt32, seq UInt32, first_source ${SOURCE},
      first_port UInt32, begin_ms Int64, end_ms Int64, certain UInt8, from_ms Int64, measured Array(UInt64)`,
    order: "stream, seq, first_source, first_port, rule",
  },
  /** Evidence that a source isn't judged by: its intervals near what triggered; `inside`: where something did. */
  excluded: {
    columns: `stream UInt32, source ${SOURCE}, seq UInt32, out UInt8, inside UInt8`,
    order: "stream, source, seq",
  },
  /** What a source is judged by, by half and day. */
  pieces: {
    columns: `stream UInt32, source ${SOURCE}, half UInt8, day Int32, intervals UInt64, first_seq UInt32, syn UInt64,
      handshake_ack UInt64, data UInt64, judged_syn Int64, judged_handshake_ack UInt64, judged_data UInt64,
      uses UInt32, periods UInt32, first_period Int32, last_period Int32, uses_inside UInt32, unanswered UInt32`,
    order: "stream, source, half, day",
  },
  /** The same over all time, and what follows from it. */
  sources: {
    columns: `stream UInt32, source ${SOURCE}, intervals UInt64, first_seq UInt32, syn UInt64, handshake_ack UInt64,
      data UInt64, judged_syn Int64, judged_handshake_ack UInt64, judged_data UInt64, uses UInt32, periods UInt32,
      uses_inside UInt32, unanswered UInt32, class UInt8`,
    order: "stream, source",
  },
  /** Likely-legitimate sources: over all time (`scope` -1), by half (-2, -3), by day. */
  legitimate: { columns: `scope Int32, stream UInt32, source ${SOURCE}`, order: "scope, source, stream" },
  /** Rows of sources and ports that come near the lowest rate of the sweep. */
  near: {
    columns: `stream UInt32, source ${SOURCE}, port UInt32, seq UInt32, begin_ms Int64, end_ms Int64, syn UInt64,
      handshake_ack UInt64, data UInt64, possible Array(Int16), certain Array(Int16)`,
    order: "stream, source, port, seq",
  },
} as const satisfies Record<string, Shape>;

/** A row of `keys` as it is read: the source in hexadecimal, 64-bit numbers as texts. */
export interface KeyRow {
  stream: number;
  source: string;
  port: number;
  packets: string;
  bytes: string;
  syn: string;
  handshake_ack: string;
  rst: string;
  data: string;
  max_syn_rate: number;
  first_ms: string;
  last_ms: string;
  intervals: number;
}

/** A port that stands for all. */
export const NO_PORT = 0xffffffff;

/** Tables by what they hold: their names in SQL. */
export type Tables = Readonly<Record<keyof typeof SHAPES, string>>;

/** What runs the statements of one report. */
export interface Workspace extends AsyncDisposable {
  readonly tables: Tables;
  readonly engine: QueryEngine;
  /** Runs a statement that has no result. */
  run(sql: string, parameters?: Readonly<Record<string, Parameter>>, options?: QueryOptions): Promise<void>;
  /** All rows of a result. */
  rows<T>(sql: string, parameters?: Readonly<Record<string, Parameter>>): Promise<T[]>;
  /** Rows of a result, one at a time. */
  stream<T>(sql: string, parameters?: Readonly<Record<string, Parameter>>): AsyncGenerator<T>;
}

/** The statements that make the tables, with names that begin with `prefix`. */
function describeTables(prefix: string): { tables: Tables; ddl: string[] } {
  const entries = Object.entries(SHAPES).map(([name, { columns, order }]) => {
    const table = `${prefix}${name}`;
    return { name, table, ddl: `CREATE TABLE ${table} (${columns}) ENGINE = MergeTree ORDER BY (${order})` };
  });
  return {
    tables: Object.fromEntries(entries.map(({ name, table }) => [name, table])) as unknown as Tables,
    ddl: entries.map(({ ddl }) => ddl),
  };
}

/** What statements have in common. */
export interface WorkspaceOptions {
  signal?: AbortSignal | undefined;
  progress?: QueryOptions["progress"] | undefined;
}

/** Makes the tables. Disposing of the workspace removes them. */
export async function openWorkspace(engine: QueryEngine, options: WorkspaceOptions = {}): Promise<Workspace> {
  const { tables, ddl } = describeTables(`ibsr_${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}_`);
  const common: QueryOptions = {
    ...options.signal ? { signal: options.signal } : {},
    ...options.progress ? { progress: options.progress } : {},
  };
  const run = async (sql: string, parameters: Record<string, Parameter> = {}, more: QueryOptions = {}) => {
    const all = { ...more.parameters, ...parameters };
    for await (const _ of engine.query(withSettings(sql), { ...common, ...more, parameters: all }));
  };
  const workspace: Workspace = {
    tables,
    engine,
    run,
    rows: (sql, parameters = {}) => engine.rows(withSettings(sql), { ...common, parameters }),
    stream: (sql, parameters = {}) => streamRows(engine, withSettings(sql), { ...common, parameters }),
    async [Symbol.asyncDispose]() {
      for (const table of Object.values(tables)) {
        for await (const _ of engine.query(`DROP TABLE IF EXISTS ${table}`));
      }
    },
  };
  try {
    for (const statement of ddl) await run(statement);
  } catch (error) {
    await workspace[Symbol.asyncDispose]();
    throw error;
  }
  return workspace;
}

/**
 * A name is that of a column where there is one, as in SQL elsewhere, and not that of another result. What is added up by
 * what its table is sorted by is added up while it is read, in no memory.
 */
const SETTINGS = "prefer_column_name_to_alias = 1, optimize_aggregation_in_order = 1";

function withSettings(sql: string): string {
  if (!/^\s*(INSERT|SELECT|WITH)\b/.test(sql)) return sql;
  return /\bSETTINGS [^)]*$/.test(sql) ? `${sql}, ${SETTINGS}` : `${sql} SETTINGS ${SETTINGS}`;
}
