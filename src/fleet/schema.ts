/**
 * SQL with which an operator looks at snapshots in an engine of their own: tables and views over the objects as they lie.
 *
 * Every dialect has the same three views: `ibsr_snapshots` (a row an interval: who counted what, and what it lost),
 * `ibsr_totals` (a row a port: exact) and `ibsr_buckets` (a row a source and port). Numbers are those in the files; where
 * `counter_mode` is `cumulative` (versions before 8), they are since the entry was made, and have to be subtracted first.
 * Text in, text out: nothing is run, and no key is in it.
 */
import { COUNTER_NAMES, SKIP_NAMES } from "../counters.ts";

/** Whose SQL. */
export type Dialect = "clickhouse" | "duckdb" | "athena" | "trino";

/** Where the snapshots are: a bucket, or a folder of the engine's machine. */
export type Location =
  | { bucket: string; prefix: string; url: string; region: string; endpoint: string | undefined }
  | { folder: string };

/** The statements of a dialect, comments included. */
export function describeSchema(dialect: Dialect, location: Location, { examples }: { examples: boolean }): string {
  const parts = [HEAD, ...DIALECTS[dialect](location), ...examples ? listExamples(dialect) : []];
  return parts.map((part) => part.trim()).filter(Boolean).join("\n\n") + "\n";
}

const HEAD = `
-- Snapshots of ibsr, as \`ibsr export s3 --layout hive\` stores them:
-- …/host=HOST/date=YYYY-MM-DD/hour=HH/snapshot_YYYYMMDDHH.jsonl[.zst|.gz], one snapshot a line.
-- ibsr_snapshots: a row an interval. ibsr_totals: a row a port, exact. ibsr_buckets: a row a source and port.
-- Counters are of the interval where counter_mode is 'delta' (version 8); else since the entry was made.`;

/** Numbers of a snapshot besides its counters. */
const MAP_NAMES = ["max_entries", "entries", "known4", "known6", "syn4", "syn6"];

function counters(type: string, separator = " "): string {
  return COUNTER_NAMES.map((name) => `${name}${separator}${type}`).join(", ");
}

function named(names: readonly string[], type: string, separator = " "): string {
  return names.map((name) => `${name}${separator}${type}`).join(", ");
}

/** A text as a literal of standard SQL. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const DIALECTS: Record<Dialect, (location: Location) => string[]> = {
  clickhouse: describeClickHouse,
  duckdb: describeDuckDb,
  athena: describeAthena,
  trino: describeTrino,
};

// --------------------------------------------------------------------------------------------------- ClickHouse

/** A text as a literal of ClickHouse's. */
function quoteClickHouse(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function describeClickHouse(location: Location): string[] {
  const structure = `version UInt8, ts_unix_sec Float64, interval_sec Float64, run_id UInt64, seq UInt64,
    counter_mode LowCardinality(String), hostname LowCardinality(String), iface LowCardinality(String),
    xdp_mode LowCardinality(String), totals Array(Tuple(dst_port UInt16, ${counters("UInt64")})),
    unattributed Tuple(${counters("UInt64")}), evicted UInt64, not_counted Tuple(${named(SKIP_NAMES, "UInt64")}),
    map Tuple(${named(MAP_NAMES, "UInt64")}),
    buckets Array(Tuple(key_type LowCardinality(String), src_ip String, dst_port UInt16, ${counters("UInt64")}))`;
  const flat = structure.replaceAll(/\s+/g, " ");
  const lines = "bucket" in location
    ? `
-- Keys are the server's own: give it a role, or put them into the collection (GRANT NAMED COLLECTION says who may use it):
--   CREATE NAMED COLLECTION ibsr AS url = ${
      quoteClickHouse(`${location.url}**`)
    }, access_key_id = '…', secret_access_key = '…';
CREATE NAMED COLLECTION IF NOT EXISTS ibsr AS url = ${quoteClickHouse(`${location.url}**`)};`
    : "";
  const from = "bucket" in location
    ? "s3(ibsr, format = 'LineAsString', structure = 'line String')"
    : `file(${quoteClickHouse(`${location.folder}/**`)}, 'LineAsString', 'line String')`;
  return [
    lines,
    `
CREATE VIEW IF NOT EXISTS ibsr_snapshots AS
SELECT extract(path, '/host=([^/]*)/') AS host, toDateOrNull(extract(path, '/date=([0-9-]{10})/')) AS date,
  toUInt8OrNull(extract(path, '/hour=([0-9]{2})/')) AS hour, path,
  toDateTime64(s.ts_unix_sec, 3, 'UTC') AS ended_at, s.interval_sec AS interval_sec, s.version AS version,
  s.run_id AS run_id, s.seq AS seq, s.counter_mode AS counter_mode, s.hostname AS hostname, s.iface AS iface,
  s.xdp_mode AS xdp_mode, s.totals AS totals, s.unattributed AS unattributed, s.evicted AS evicted,
  s.not_counted AS not_counted, s.map AS map, s.buckets AS buckets
FROM (
  SELECT CAST(_path, 'String') AS path, JSONExtract(line, 'Tuple(${flat})') AS s
  FROM ${from}
  WHERE match(_file, '^snapshot_.*[.]jsonl([.]gz|[.]zst)?$') AND isValidJSON(line)
);`,
    ...["totals", "buckets"].map((list) => {
      const key = list === "totals" ? "" : "r.key_type AS key_type, r.src_ip AS src_ip, ";
      return `
CREATE VIEW IF NOT EXISTS ibsr_${list} AS
SELECT host, date, hour, ended_at, interval_sec, counter_mode, hostname, iface, run_id, seq, ${key}r.dst_port AS dst_port,
  ${COUNTER_NAMES.map((name) => `r.${name} AS ${name}`).join(", ")}
FROM ibsr_snapshots ARRAY JOIN ${list} AS r;`;
    }),
  ];
}

// ------------------------------------------------------------------------------------------------------- DuckDB

function describeDuckDb(location: Location): string[] {
  const of = `STRUCT(${counters("UBIGINT")})`, rows = `STRUCT(dst_port USMALLINT, ${counters("UBIGINT")})[]`;
  const columns: Record<string, string> = {
    ...{ version: "UTINYINT", ts_unix_sec: "DOUBLE", interval_sec: "DOUBLE", run_id: "UBIGINT", seq: "UBIGINT" },
    ...{ counter_mode: "VARCHAR", hostname: "VARCHAR", iface: "VARCHAR", xdp_mode: "VARCHAR" },
    ...{ totals: rows, unattributed: of, evicted: "UBIGINT" },
    not_counted: `STRUCT(${named(SKIP_NAMES, "UBIGINT")})`,
    map: `STRUCT(${named(MAP_NAMES, "UBIGINT")})`,
    buckets: `STRUCT(key_type VARCHAR, src_ip VARCHAR, dst_port USMALLINT, ${counters("UBIGINT")})[]`,
  };
  const root = "bucket" in location ? `s3://${location.bucket}/${location.prefix}` : `${location.folder}/`;
  const secret = "bucket" in location
    ? `
-- Keys come as for the AWS command line.
INSTALL httpfs; LOAD httpfs; INSTALL aws; LOAD aws;
CREATE SECRET IF NOT EXISTS ibsr (TYPE s3, PROVIDER credential_chain, REGION ${quote(location.region)}${
      location.endpoint === undefined
        ? ""
        : `, ENDPOINT ${quote(location.endpoint.replace(/^https?:\/\//, ""))}, URL_STYLE 'path', USE_SSL ${
          location.endpoint.startsWith("https:")
        }`
    }, SCOPE ${quote(root)});`
    : "";
  return [
    secret,
    `
CREATE OR REPLACE VIEW ibsr_snapshots AS
SELECT host, date, hour, filename AS path, make_timestamp(CAST(round(ts_unix_sec * 1000000) AS BIGINT)) AS ended_at,
  * EXCLUDE (host, date, hour, filename, ts_unix_sec)
FROM read_json(${quote(`${root}**/snapshot_*.jsonl*`)}, format = 'newline_delimited', filename = true,
  hive_partitioning = true, hive_types = {host: VARCHAR, date: DATE, hour: UTINYINT},
  ignore_errors = true, maximum_object_size = 536870912,
  columns = {
    ${Object.entries(columns).map(([name, type]) => `${name}: ${quote(type)}`).join(",\n    ")}
  })
WHERE version IS NOT NULL;`,
    ...["totals", "buckets"].map((list) => `
CREATE OR REPLACE VIEW ibsr_${list} AS
SELECT host, date, hour, ended_at, interval_sec, counter_mode, hostname, iface, run_id, seq, unnest(r)
FROM (SELECT *, unnest(${list}) AS r FROM ibsr_snapshots);`),
  ];
}

// --------------------------------------------------------------------------------------------- Athena and Trino

/** Columns of the table, in the type language of Hive (`struct<a:b>`) or of Trino (`ROW(a b)`). */
function listColumns(style: "hive" | "trino"): string {
  const of = (fields: string) => style === "hive" ? `struct<${fields}>` : `ROW(${fields})`;
  const many = (fields: string) => style === "hive" ? `array<${of(fields)}>` : `ARRAY(${of(fields)})`;
  const text = style === "hive" ? "string" : "varchar", gap = style === "hive" ? ":" : " ";
  const columns: [string, string][] = [
    ...["version", "ts_unix_sec", "interval_sec", "run_id", "seq"].map((name): [string, string] => [
      name,
      name.endsWith("_sec") ? "double" : name === "version" ? "int" : "bigint",
    ]),
    ...["counter_mode", "hostname", "iface", "xdp_mode"].map((name): [string, string] => [name, text]),
    ["totals", many(`dst_port${gap}int, ${counters("bigint", gap)}`)],
    ["unattributed", of(counters("bigint", gap))],
    ["evicted", "bigint"],
    ["not_counted", of(named(SKIP_NAMES, "bigint", gap))],
    ["map", of(named(MAP_NAMES, "bigint", gap))],
    ["buckets", many(`key_type${gap}${text}, src_ip${gap}${text}, dst_port${gap}int, ${counters("bigint", gap)}`)],
  ];
  const mark = style === "hive" ? "`" : '"';
  return columns.map(([name, type]) => `  ${mark}${name}${mark} ${type}`).join(",\n");
}

function listViews(table: string): string[] {
  const common =
    `host, "date", "hour", from_unixtime(ts_unix_sec) AS ended_at, interval_sec, counter_mode, hostname, iface,
  run_id, seq`;
  return [
    `
CREATE OR REPLACE VIEW ibsr_snapshots AS
SELECT ${common}, "$path" AS path, version, xdp_mode, totals, unattributed, evicted, not_counted, "map", buckets
FROM ${table} WHERE version IS NOT NULL;`,
    ...["totals", "buckets"].map((list) => {
      const names = list === "totals" ? ["dst_port"] : ["key_type", "src_ip", "dst_port"];
      const all = [...names, ...COUNTER_NAMES].join(", ");
      return `
CREATE OR REPLACE VIEW ibsr_${list} AS
SELECT ${common}, ${all}
FROM ${table} CROSS JOIN UNNEST(${list}) AS r (${all});`;
    }),
  ];
}

function folderOf(location: Location, scheme: string): string {
  if (!("bucket" in location)) throw new TypeError("only buckets");
  return `${scheme}://${location.bucket}/${location.prefix.replace(/(?<=[^/])$/, "/")}`;
}

function describeAthena(location: Location): string[] {
  const folder = folderOf(location, "s3");
  return [
    `
-- A line may have 32 MB at most in Athena. Each statement by itself: Athena takes one at a time.
-- Which hosts there are is asked of the statement (WHERE host = '…'), dates and hours follow from their pattern; for
-- questions over all hosts, leave the TBLPROPERTIES out and run MSCK REPAIR TABLE ibsr_raw, or a crawler.
CREATE EXTERNAL TABLE IF NOT EXISTS ibsr_raw (
${listColumns("hive")}
)
PARTITIONED BY (host string, \`date\` string, \`hour\` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
LOCATION ${quote(folder)}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.host.type' = 'injected',
  'projection.date.type' = 'date', 'projection.date.format' = 'yyyy-MM-dd', 'projection.date.range' = '2026-01-01,NOW',
  'projection.hour.type' = 'integer', 'projection.hour.range' = '0,23', 'projection.hour.digits' = '2',
  'storage.location.template' = ${quote(`${folder}host=\${host}/date=\${date}/hour=\${hour}/`)}
);`,
    ...listViews("ibsr_raw"),
  ];
}

function describeTrino(location: Location): string[] {
  return [
    `
-- In a catalog of the Hive connector, here called hive, whose properties have the keys.
CREATE SCHEMA IF NOT EXISTS hive.ibsr;
USE hive.ibsr;
CREATE TABLE IF NOT EXISTS ibsr_raw (
${listColumns("trino")},
  host varchar,
  "date" varchar,
  "hour" varchar
)
WITH (format = 'JSON', external_location = ${quote(folderOf(location, "s3"))},
  partitioned_by = ARRAY['host', 'date', 'hour']);
-- Whenever there are new ones:
CALL hive.system.sync_partition_metadata('ibsr', 'ibsr_raw', 'ADD');`,
    ...listViews("ibsr_raw"),
  ];
}

// ----------------------------------------------------------------------------------------------------- examples

function listExamples(dialect: Dialect): string[] {
  const day = dialect === "athena" || dialect === "trino" ? `"date" = '2026-11-21'` : "date = '2026-11-21'";
  const hosts = dialect === "clickhouse" ? "uniqExact(hostname)" : "count(DISTINCT hostname)";
  return [
    `
-- Who opens most and finishes least.
SELECT src_ip, dst_port, sum(syn) AS opened, sum(handshake_ack) AS acks, sum(data) AS with_data
FROM ibsr_buckets WHERE counter_mode = 'delta' AND ${day}
GROUP BY src_ip, dst_port HAVING sum(syn) >= 1000 ORDER BY opened DESC, src_ip, dst_port LIMIT 20;`,
    `
-- Who is seen on many hosts.
SELECT src_ip, ${hosts} AS hosts, sum(packets) AS packets
FROM ibsr_buckets WHERE ${day} GROUP BY src_ip HAVING ${hosts} >= 5 ORDER BY hosts DESC, src_ip LIMIT 20;`,
    `
-- What was not seen: packets that no source has.
SELECT hostname, iface, count(*) AS intervals, sum(unattributed.packets) AS packets_without_source, sum(evicted) AS evicted
FROM ibsr_snapshots WHERE ${day} GROUP BY hostname, iface ORDER BY packets_without_source DESC, hostname, iface;`,
  ];
}
