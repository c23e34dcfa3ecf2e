/**
 * One SQL engine: ClickHouse, as a library in this process (chdb.ts) or as a server by HTTP (http.ts).
 *
 * The same statements go to both. A value never becomes part of a statement's text: it is bound to a placeholder,
 * `{name:Type}`. Both engines run with the same settings where those move results: times in UTC, 64-bit numbers quoted
 * in JSON, no limit that cuts a result short without an error.
 */
import { IbsrError } from "../errors.ts";

/** What is bound to a placeholder; a list to one of `Array(…)`. */
export type Parameter = string | number | bigint | boolean | readonly Parameter[];

/** How a statement is run. */
export interface QueryOptions {
  /** Values by the placeholders' names. */
  parameters?: Readonly<Record<string, Parameter>>;
  /** Values that no log, error or list of running statements may show: the engine sees to it. */
  secrets?: Readonly<Record<string, string>>;
  /** Output format, as ClickHouse calls it; `JSONEachRow` if not said. Of no account to what has no result. */
  format?: string;
  /** Ends the statement, in the engine too. */
  signal?: AbortSignal;
  /** Told some times a second what was read so far: rows and bytes as the engine counts them. */
  progress?: (rowsRead: number, bytesRead: number) => void;
}

/** One SQL engine: chdb in this process, or a server by HTTP. */
export interface QueryEngine extends AsyncDisposable {
  /** What it is, for people: `ClickHouse 26.7.3 in this process`. */
  readonly name: string;
  /** A folder whose files it reads, removed with it; undefined if it doesn't see the files of this machine. */
  readonly folder: string | undefined;

  /**
   * Runs one statement; every value is a bound parameter. Gives the result's bytes, streamed; each piece is the caller's
   * to keep. Several may run at the same time. Who stops asking ends the statement.
   *
   * @throws {IbsrError} as `engineError()` says, also late in the stream; the signal's reason, once it aborts.
   */
  query(sql: string, options?: QueryOptions): AsyncIterable<Uint8Array<ArrayBuffer>>;

  /**
   * All rows of a result, as objects by column. Integers of 64 bits and more, and decimals, are texts; NaN and
   * infinities too.
   */
  rows<T>(sql: string, options?: Omit<QueryOptions, "format">): Promise<T[]>;
}

/** Settings of every statement, on every engine. */
export const SETTINGS: Readonly<Record<string, string>> = {
  session_timezone: "UTC",
  output_format_json_quote_64bit_integers: "1",
  output_format_json_quote_decimals: "1",
  output_format_json_quote_denormals: "1",
  // What a path says of its host is read by us: as a column it would be of any type that it looks like.
  use_hive_partitioning: "0",
  // A server that isn't there is found out in seconds; with the 500 of ClickHouse's own, after hours.
  s3_retry_attempts: "5",
  // Joins are written with the small table on the right, which is the one that is held in memory.
  query_plan_join_swap_table: "false",
};

/**
 * Settings for so many bytes of memory: what can be spilled to disk is, each kind from a quarter on, for a statement may
 * do several at once.
 */
export function memorySettings(maxMemoryBytes: number): Record<string, string> {
  const quarter = String(Math.floor(maxMemoryBytes / 4));
  return {
    max_memory_usage: String(maxMemoryBytes),
    max_bytes_before_external_group_by: quarter,
    max_bytes_before_external_sort: quarter,
    max_bytes_before_external_join: quarter,
  };
}

/** Rows of a result in `JSONEachRow`, one at a time. */
export async function* streamRows<T>(
  engine: Pick<QueryEngine, "query">,
  sql: string,
  options: Omit<QueryOptions, "format"> = {},
): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of engine.query(sql, { ...options, format: "JSONEachRow" })) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield JSON.parse(line);
  }
  if (rest !== "") yield JSON.parse(rest);
}

/** As `QueryEngine.rows()`. */
export async function collectRows<T>(
  engine: Pick<QueryEngine, "query">,
  sql: string,
  options: Omit<QueryOptions, "format"> = {},
): Promise<T[]> {
  const rows: T[] = [];
  for await (const row of streamRows<T>(engine, sql, options)) rows.push(row);
  return rows;
}

// -------------------------------------------------------------------------------------------------- parameters

/**
 * A value as ClickHouse reads that of a placeholder: the text of a field of TSV, or within a list a literal.
 *
 * @see https://clickhouse.com/docs/interfaces/http: "HTTP parameters", and `ReplaceQueryParameterVisitor`
 */
export function encodeParameter(value: Parameter): string {
  if (typeof value === "string") return escapeText(value);
  return Array.isArray(value) ? `[${value.map(encodeElement).join(",")}]` : String(value);
}

function encodeElement(value: Parameter): string {
  return typeof value === "string" ? `'${escapeText(value).replaceAll("'", "\\'")}'` : encodeParameter(value);
}

const ESCAPES: Record<string, string> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0" };

function escapeText(text: string): string {
  return text.replaceAll(/[\\\t\n\r\0]/g, (c) => ESCAPES[c]!);
}

/** All values of a statement by name, as the engine takes them. */
export function encodeParameters({ parameters = {}, secrets = {} }: QueryOptions): [name: string, value: string][] {
  return Object.entries({ ...parameters, ...secrets }).map(([name, value]) => [name, encodeParameter(value)]);
}

// ------------------------------------------------------------------------------------------------------ errors

/** ClickHouse's codes that say something of what to do next. @see its src/Common/ErrorCodes.cpp */
const KINDS: Record<number, { kind: IbsrError["kind"]; hint?: string }> = {
  158: { kind: "storage", hint: "the server limits what a statement may read" }, // TOO_MANY_ROWS
  159: { kind: "network", hint: "the server limits a statement's time" }, // TIMEOUT_EXCEEDED
  164: { kind: "permission", hint: "the engine's user needs a profile with readonly = 0 or 2" }, // READONLY
  192: { kind: "permission" }, // UNKNOWN_USER
  193: { kind: "permission" }, // WRONG_PASSWORD
  194: { kind: "permission" }, // REQUIRED_PASSWORD
  195: { kind: "permission" }, // IP_ADDRESS_NOT_ALLOWED
  241: { kind: "storage", hint: "a larger --max-memory, fewer hosts or a shorter time" }, // MEMORY_LIMIT_EXCEEDED
  243: { kind: "storage" }, // NOT_ENOUGH_SPACE
  291: { kind: "permission" }, // DATABASE_ACCESS_DENIED
  497: { kind: "permission", hint: "the user of the engine needs SELECT, and READ ON S3" }, // ACCESS_DENIED
  499: { kind: "network", hint: "the engine reads the bucket itself: --s3-endpoint and --s3-region must hold for it" }, // S3_ERROR
  516: { kind: "permission" }, // AUTHENTICATION_FAILED
};

/** What ClickHouse says of a failure: `Code: N. DB::Exception: …`. */
export interface Failure {
  code: number;
  message: string;
}

/** Reads it; undefined if the text is not one. */
export function parseFailure(text: string): Failure | undefined {
  const match = /Code: (\d+)[.,] +(?:e\.displayText\(\) = )?(?:DB::Exception: )?([\s\S]*)/.exec(text);
  return match
    ? { code: Number(match[1]), message: match[2]!.replace(/, e\.what\(\) = DB::Exception\s*$/, "") }
    : undefined;
}

/**
 * What ClickHouse said, as an error: by its code `storage` (memory, disk), `permission`, `network`, else `data`, for
 * the statements are ours and what they meet is not. Secrets don't get into it.
 */
export function engineError(
  action: string,
  text: string,
  { secrets = {} }: Pick<QueryOptions, "secrets"> = {},
): IbsrError {
  const { code = 0, message = text } = parseFailure(text) ?? {}, { kind = "data", hint } = KINDS[code] ?? {};
  let state = message.replaceAll(/\s+/g, " ").trim();
  for (const secret of Object.values(secrets).filter((s) => s !== "").flatMap(listForms)) {
    state = state.replaceAll(secret, "[hidden]");
  }
  if (state.length > 600) state = `${state.slice(0, 450)} … ${state.slice(-140)}`;
  const number = code === 0 ? "" : ` (ClickHouse error ${code})`;
  return new IbsrError(kind, `Cannot ${action}: ${state}${number}`, {
    hint,
    cause: { code },
  });
}

/** How a text may stand in a message: as it is, as a literal of SQL, in an address. */
function listForms(text: string): string[] {
  return [text, escapeText(text).replaceAll("'", "\\'"), encodeURIComponent(text)];
}
