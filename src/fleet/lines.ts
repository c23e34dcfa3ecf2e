/**
 * Decodes the lines of snapshots in SQL, into the table `lines`.
 *
 * A line is `clean` if it is literally what is always written: a pattern holds it against that byte by byte, so every
 * number that is then taken out of it is one, and stands where it should. All other lines (other spacing, another order
 * of keys, escapes, versions 3 and 4, rubbish) go to decodeSnapshot(), which alone knows what a snapshot is and why a line
 * is none.
 */
import { COUNTER_NAMES, noCounters, SKIP_NAMES } from "../counters.ts";
import { IbsrError } from "../errors.ts";
import type { BadLine } from "../evidence/read.ts";
import { countNetworkRows, rowsOf } from "../evidence/rows.ts";
import { createSources } from "../evidence/sources.ts";
import { decodeSnapshot, type Snapshot } from "../snapshot.ts";
import { type QueryOptions, streamRows } from "./engine.ts";
import type { Workspace } from "./tables.ts";

/** Lines that an engine can select. */
export interface LineSource {
  /**
   * A subquery with a row for each line: `line String`, `file String` (as a key of `names`), `number UInt64` (from 1).
   */
  readonly from: string;
  /** What its placeholders stand for. */
  bind(): Promise<Required<Pick<QueryOptions, "parameters" | "secrets">>>;
  /** In their order. */
  readonly files: readonly { path: string }[];
  /** The files by what `file` says of them. */
  readonly names: ReadonlyMap<string, { path: string }>;
}

// ------------------------------------------------------------------------------------------------------ patterns

const COUNT = "(?:0|[1-9][0-9]{0,14})", PORT = "(?:0|[1-9][0-9]{0,4})";
// Below the year 9999.
const SECONDS = "(?:0|[1-9][0-9]{0,10})(?:\\.[0-9]{1,3})?";
/** No quotation mark, no backslash, nothing that is more than a byte. */
const TEXT = "[ !#-\\[\\]-~]*";
const OLD_NAMES = COUNTER_NAMES.slice(0, 6);

function list(of: string): string {
  return `\\[(?:${of}(?:,${of})*)?\\]`;
}

function counts(names: readonly string[]): string {
  return names.map((name) => `"${name}":${COUNT}`).join(",");
}

const PORTS = list(`(?:${PORT}|"${PORT}-${PORT}")`);

const LINE_8 = [
  `^\\{"version":8,"aggregation":"${TEXT}","ts_unix_sec":${SECONDS},"interval_sec":${SECONDS},"run_id":${COUNT}`,
  `"seq":${COUNT},"counter_mode":"(?:delta|cumulative)","base_ts_unix_sec":${SECONDS},"dst_ports":${PORTS}`,
  `"hostname":"${TEXT}","iface":"${TEXT}","xdp_mode":"(?:native|generic|test_run|model)"`,
  `"totals":${list(`\\{"dst_port":${PORT},${counts(COUNTER_NAMES)}\\}`)},"unattributed":\\{${counts(COUNTER_NAMES)}\\}`,
  `"evicted":${COUNT},"not_counted":\\{${counts(SKIP_NAMES)}\\}`,
  `"map":\\{${counts(["max_entries", "entries", "known4", "known6", "syn4", "syn6"])}\\}`,
  `"buckets":${
    list(`\\{"key_type":"src_ip","src_ip":"[0-9a-f:.]{2,39}","dst_port":${PORT},${counts(COUNTER_NAMES)}\\}`)
  }\\}[ \\t\\r]*$`,
].join(",");

/** Versions 5 to 7 as the existing IBSR writes them. */
const LINE_OLD = [
  `^\\{"version":[5-7],"aggregation":"${TEXT}","ts_unix_sec":${SECONDS},"interval_sec":${SECONDS},"run_id":${COUNT}`,
  `"counter_mode":"(?:delta|cumulative)","base_ts_unix_sec":${SECONDS},"dst_ports":${PORTS}`,
  `"buckets":${
    list(`\\{"key_type":"src_(?:ip|cidr24)","src_ip":"[0-9a-f:.]{2,39}","dst_port":${PORT},${counts(OLD_NAMES)}\\}`)
  }\\}[ \\t\\r]*$`,
].join(",");

// ---------------------------------------------------------------------------------------------------------- SQL

const NAMED = COUNTER_NAMES.map((name) => `${name} UInt64`).join(", ");
const DECODED = `Tuple(version UInt8, ts_unix_sec Float64, interval_sec Float64, run_id UInt64, seq UInt64,
  counter_mode String, base_ts_unix_sec Float64, hostname String, iface String, xdp_mode String,
  totals Array(Tuple(dst_port UInt32, ${NAMED})), unattributed Tuple(${NAMED}), evicted UInt64,
  not_counted Tuple(${SKIP_NAMES.map((name) => `${name} UInt64`).join(", ")}),
  buckets Array(Tuple(key_type String, src_ip String, dst_port UInt32, ${NAMED})))`;

/** Milliseconds of seconds with at most three decimals: as Math.round() has them. */
function milliseconds(seconds: string): string {
  return `toInt64(floor(${seconds} * 1000 + 0.5))`;
}

/** An address of the pattern as 17 bytes, 0 in the first if it is none, or not written as it always is. */
const ADDRESS = `multiIf(
    IPv4NumToString(IPv4StringToNumOrDefault(ip)) = ip,
    concat(char(4), reinterpret(byteSwap(IPv4StringToNumOrDefault(ip)), 'FixedString(4)'), repeat(char(0), 12)),
    IPv6NumToString(IPv6StringToNumOrDefault(ip)) = ip AND position(ip, '.') = 0,
    concat(char(16), IPv6StringToNumOrDefault(ip)),
    repeat(char(0), 17))`;

/** A column of the rows. */
const column = (name: string) => `tupleElement(d.buckets, '${name}')`;

/** Odd numbers that nothing else has, one a counter. */
const FACTORS = COUNTER_NAMES.map((_, k) => BigInt.asUintN(64, 0x9e3779b97f4a7c15n * BigInt(2 * k + 1)) | 1n);

/** Keys of rows as numbers. */
const rowKeys = (sources: string, ports: string) => `arrayMap((s, p) -> cityHash64(s, p), ${sources}, ${ports})`;

/** What two lines that say the same have in common, whatever the order of their rows. */
function digest(keys: string, counters: string): string {
  const names = COUNTER_NAMES.map((_, k) => `c${k}`), columns = names.map((_, k) => `${counters}[${k + 1}]`);
  const sum = names.map((name, k) => `${name} * ${FACTORS[k]}`).join(" + ");
  return `arraySum((key, ${names.join(", ")}) -> intHash64(key + ${sum}), ${keys}, ${columns.join(", ")})`;
}

/** The columns of `lines`, from lines that are as they are always written; of others nothing but their place. */
function decodeLines(from: string): string {
  return `
WITH
  match(line, {line_8:String}) OR match(line, {line_old:String}) AS matches,
  JSONExtract(if(matches, line, '{}'), '${DECODED}') AS d,
  arrayMap(ip -> toFixedString(${ADDRESS}, 17), ${column("src_ip")}) AS addresses,
  arrayMap((port, type) -> port + if(type = 'src_cidr24', 65536, 0), ${column("dst_port")}, ${column("key_type")})
    AS row_ports,
  ${rowKeys("addresses", "row_ports")} AS keys,
  if(matches, extract(line, '"dst_ports":\\[([^\\]]*)\\]'), '') AS port_list,
  [${COUNTER_NAMES.map(column).join(", ")}] AS columns,
  matches
    AND arrayAll(a -> a != toFixedString('', 17), addresses)
    AND arrayAll(port -> port < 65536, ${column("dst_port")}) AND arrayAll(t -> t.dst_port < 65536, d.totals)
    AND arrayAll(p -> toUInt32(p) < 65536, extractAll(port_list, '[0-9]+'))
    AND arrayAll(r -> toUInt32(splitByChar('-', r)[1]) <= toUInt32(splitByChar('-', r)[2]),
      extractAll(port_list, '[0-9]+-[0-9]+'))
    -- Two keys that come to the same number by chance send the line to who looks at it closely.
    AND arrayUniq(keys) = length(keys) AS is_clean
SELECT file, number, is_clean, d.version, d.hostname, d.iface, d.run_id, d.seq,
  ${milliseconds("d.ts_unix_sec")}, ${milliseconds("d.interval_sec")}, ${milliseconds("d.base_ts_unix_sec")},
  d.counter_mode = 'cumulative', d.xdp_mode, concat('[', port_list, ']'),
  [${COUNTER_NAMES.map((name) => `arraySum(t -> t.${name}, d.totals)`).join(", ")}],
  [${COUNTER_NAMES.map((name) => `d.unattributed.${name}`).join(", ")}],
  [${SKIP_NAMES.map((name) => `d.not_counted.${name}`).join(", ")}],
  d.evicted, length(addresses), arrayCount(p -> p >= 65536, row_ports),
  ${digest("keys", "columns")},
  if(is_clean, addresses, []), if(is_clean, row_ports, []), if(is_clean, columns, [])
FROM ${from}`;
}

/** Lines that decodeSnapshot() has decoded, as JSON. */
const WRITTEN = `file UInt32, number UInt32, version UInt8, hostname String, iface String, run_id Int64, seq UInt64,
  end_ms Int64, interval_ms Int64, base_ms Int64, cumulative UInt8, mode String, dst_ports String,
  totals Array(UInt64), unattributed Array(UInt64), skips Array(UInt64), evicted UInt64, network_rows UInt32,
  sources Array(String), ports Array(UInt32), counters Array(Array(UInt64))`;

const INSERT_WRITTEN = `
WITH arrayMap(s -> toFixedString(unhex(s), 17), sources) AS addresses
SELECT file, number, 1, version, hostname, iface, run_id, seq, end_ms, interval_ms, base_ms, cumulative, mode,
  dst_ports, totals, unattributed, skips, evicted, length(ports), network_rows,
  ${digest(rowKeys("addresses", "ports"), "counters")}, addresses, ports, counters
FROM format('JSONEachRow', '${WRITTEN.replaceAll(/\s+/g, " ")}', {rows:String})`;

/** Memory is bounded by the bytes of a block, not by how many lines it has. */
const BLOCKS = "SETTINGS max_block_size = 1024, input_format_max_block_size_bytes = 16777216, " +
  "short_circuit_function_evaluation = 'disable', min_insert_block_size_bytes = 67108864, min_insert_block_size_rows = 65536";

/** What was read besides the table. */
export interface DecodedLines {
  badLines: BadLine[];
  badLineCount: number;
  /** Open segments whose last line was being written, by file. */
  unfinished: string[];
}

const LISTED_BAD_LINES = 100;

/**
 * Fills `files`, `odd` and `lines`.
 *
 * @param options `isTorn`: whether a file's last line has no newline yet: asked for open segments with a bad last line.
 */
export async function readLines(
  workspace: Workspace,
  source: LineSource,
  options: { isTorn(path: string): Promise<boolean> },
): Promise<DecodedLines> {
  const { tables, run } = workspace;
  await insertFiles(workspace, source);
  const patterns = { line_8: LINE_8, line_old: LINE_OLD };
  const numbered = `(
    SELECT f.file AS file, toUInt32(s.number) AS number,
      if(s.number = 1 AND startsWith(s.line, '\\xEF\\xBB\\xBF'), substring(s.line, 4), s.line) AS line
    FROM ${source.from} AS s INNER JOIN ${tables.files} AS f ON f.name = s.file)`;
  await run(
    `INSERT INTO ${tables.lines} ${decodeLines(`${numbered} WHERE NOT match(line, '^[ \\\\t\\\\r]*$')`)} ${BLOCKS}`,
    patterns,
    await source.bind(),
  );
  return await decodeOdd(workspace, source, { numbered, ...options });
}

async function insertFiles({ tables, run }: Workspace, { files, names }: LineSource): Promise<void> {
  const numbers = new Map(files.map(({ path }, i) => [path, i])), entries = [...names];
  for (let at = 0; at < entries.length; at += 10_000) {
    const part = entries.slice(at, at + 10_000);
    await run(
      `INSERT INTO ${tables.files}
       SELECT row.1, row.2 FROM (SELECT arrayJoin(arrayZip({names:Array(String)}, {numbers:Array(UInt32)})) AS row)`,
      { names: part.map(([name]) => name), numbers: part.map(([, file]) => numbers.get(file.path)!) },
    );
  }
}

/** Decodes what isn't clean, in the order of files and lines. What is a snapshot comes beside it, clean. */
async function decodeOdd(
  { tables, run, engine, rows }: Workspace,
  source: LineSource,
  options: { numbered: string; isTorn(path: string): Promise<boolean> },
): Promise<DecodedLines> {
  const result: DecodedLines = { badLines: [], badLineCount: 0, unfinished: [] };
  const counts = await rows<{ file: number; lines: string; last: number }>(
    `SELECT file, countIf(clean = 0) AS lines, max(number) AS last FROM ${tables.lines} GROUP BY file
     HAVING lines > 0 ORDER BY file`,
  );
  for (const { file, last } of counts) {
    const { path } = source.files[file]!, decoded: string[] = [];
    let bytes = 0;
    const flush = async () => {
      if (decoded.length === 0) return;
      await run(`INSERT INTO ${tables.lines} ${INSERT_WRITTEN}`, { rows: decoded.join("\n") });
      [decoded.length, bytes] = [0, 0];
    };
    const bound = await source.bind();
    const odd = streamRows<{ number: number; line: string }>(
      engine,
      `SELECT number, base64Encode(line) AS line FROM ${options.numbered} WHERE file = {only:UInt32}
         AND number IN (SELECT number FROM ${tables.lines} WHERE file = {only:UInt32} AND clean = 0)
       ORDER BY number`,
      { ...bound, parameters: { ...bound.parameters, only: file } },
    );
    for await (const { number, line } of odd) {
      try {
        const text = describeSnapshot(decodeSnapshot(Uint8Array.fromBase64(line)), { file, number });
        decoded.push(text);
        bytes += text.length;
        if (bytes > 1 << 23) await flush();
      } catch (error) {
        if (!(error instanceof IbsrError) || error.kind !== "data") throw error;
        if (number === last && /\.open\.jsonl$|\.jsonl\.open$/.test(path) && await options.isTorn(path)) {
          result.unfinished.push(path);
          continue;
        }
        result.badLineCount++;
        if (result.badLines.length < LISTED_BAD_LINES) {
          result.badLines.push({ path, line: number, reason: error.message });
        }
      }
    }
    await flush();
  }
  return result;
}

/** A snapshot as `WRITTEN` has it, rows of the same key added up. */
function describeSnapshot(snapshot: Snapshot, place: { file: number; number: number }): string {
  const table = createSources(0), rows = rowsOf(snapshot.buckets, table);
  const { totals = [], unattributed = noCounters(), not_counted } = snapshot;
  const milliseconds = (seconds = 0) => Math.round(seconds * 1000);
  return JSON.stringify({
    ...place,
    version: snapshot.version,
    hostname: snapshot.hostname ?? "",
    iface: snapshot.iface ?? "",
    run_id: snapshot.run_id ?? 0,
    seq: snapshot.seq ?? 0,
    end_ms: milliseconds(snapshot.ts_unix_sec),
    interval_ms: milliseconds(snapshot.interval_sec),
    base_ms: milliseconds(snapshot.base_ts_unix_sec),
    cumulative: Number(snapshot.counter_mode === "cumulative"),
    mode: snapshot.xdp_mode ?? "",
    dst_ports: JSON.stringify(snapshot.dst_ports),
    totals: COUNTER_NAMES.map((name) => totals.reduce((sum, total) => sum + total[name], 0)),
    unattributed: COUNTER_NAMES.map((name) => unattributed[name]),
    skips: SKIP_NAMES.map((name) => not_counted?.[name] ?? 0),
    evicted: snapshot.evicted ?? 0,
    network_rows: countNetworkRows(rows),
    sources: Array.from(rows.source.subarray(0, rows.count), (source) => hexOf(table.bytes(source))),
    ports: [...rows.port.subarray(0, rows.count)],
    counters: rows.counters.map((column) => [...column.subarray(0, rows.count)]),
  });
}

/** An address as the tables have it, in hexadecimal. */
export function hexOf(address: Uint8Array): string {
  return (address.length === 4 ? "04" : "10") + address.toHex().padEnd(32, "0");
}

/** The address of what the tables have, in hexadecimal. */
export function addressOf(hex: string): Uint8Array {
  return Uint8Array.fromHex(hex.slice(2, hex.startsWith("04") ? 10 : 34));
}
