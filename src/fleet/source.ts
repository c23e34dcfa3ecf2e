/**
 * Where an engine reads snapshots: files of this machine, or a bucket, which it reads by itself.
 *
 * First it is listed, then chosen from (choose.ts), then read: only what was chosen. What a user or a bucket calls a thing
 * never becomes part of a pattern: this machine's files get links with names of ours, keys are compared as they are.
 *
 * Keys for S3 are bound as secrets. ClickHouse shows `[HIDDEN]` for them wherever it shows statements, and engineError()
 * takes them out of what it says.
 */
import { IbsrError } from "../errors.ts";
import { isSegmentName, listInputs, noSegmentError } from "../input.ts";
import type { Credentials } from "../s3/endpoints.ts";
import { type Place, urlOf } from "../s3/request.ts";
import { type Choice, chooseFiles, readPlace, type SourceFile } from "./choose.ts";
import { type Parameter, type QueryEngine, type QueryOptions, streamRows } from "./engine.ts";

/** A bucket that is read from. */
export interface BucketPlace {
  place: Place;
  prefix: string;
  /** The engine's own keys are used if it is undefined. */
  credentials: (() => Promise<Credentials>) | undefined;
}

/** Snapshots that an engine can select from. */
export interface Source {
  /**
   * A subquery with a row for each line: `line String`, `file String` (as a key of `names`), `number UInt64` (from 1).
   * It goes behind FROM, and its placeholders begin with `source_`.
   */
  readonly from: string;
  /** What its placeholders stand for: asked for before each statement, for keys expire. */
  bind(): Promise<Required<Pick<QueryOptions, "parameters" | "secrets">>>;
  /** What is read. */
  readonly files: readonly SourceFile[];
  /** What need not be. */
  readonly skipped: { files: number; bytes: number };
  /** The files by what `file` says of them. */
  readonly names: ReadonlyMap<string, SourceFile>;
}

/** One place to read from, listed. */
interface Part {
  files: { file: SourceFile; name: string }[];
  /** How the engine reads those of the names. `n` tells placeholders of parts apart. */
  select(names: readonly string[], n: number): { from: string; parameters: Record<string, string | readonly string[]> };
  secrets(n: number): Promise<Record<string, string>>;
}

/** What to read, and how. */
export interface SourceOptions extends Choice {
  /** Spread reading over this cluster of the engine's. */
  cluster?: string | undefined;
  signal?: AbortSignal;
}

/**
 * Lists the places and chooses from them.
 *
 * @throws {IbsrError} `data`, if there is nothing to read; `usage`, if the engine can't see this machine's files; as
 * `QueryEngine.query()`, if a bucket can't be listed.
 */
export async function openSource(
  engine: QueryEngine,
  { paths, buckets }: { paths: readonly string[]; buckets: readonly BucketPlace[] },
  options: SourceOptions,
): Promise<Source> {
  const parts: Part[] = [];
  if (paths.length > 0) parts.push(linkFiles(engine, paths));
  for (const bucket of buckets) parts.push(await listBucket(engine, bucket, options));
  const listed = parts.flatMap((part) => part.files.map(({ file, name }) => ({ ...file, part, name })));
  const chosen = chooseFiles(listed, options);
  if (chosen.length === 0) {
    const what = `none of ${listed.length} files is of the hosts and the time asked for`;
    throw new IbsrError("data", `Cannot read snapshots: ${what}`, {
      hint: "hosts are told by host=… in the paths, times by the names of segments",
    });
  }
  const selects: string[] = [], parameters: Record<string, Parameter> = {};
  const used = parts.filter((part) => chosen.some((file) => file.part === part));
  for (const [n, part] of used.entries()) {
    const select = part.select(chosen.filter((file) => file.part === part).map(({ name }) => name), n);
    selects.push(select.from);
    Object.assign(parameters, select.parameters);
  }
  const files = chosen.map(({ part: _, name: __, ...file }) => file);
  const lines = `(${selects.join(" UNION ALL ")})`, row = chooseLines(chosen, options);
  Object.assign(parameters, row.parameters);
  return {
    from: row.where === undefined ? lines : `(SELECT line, file, number FROM ${lines} WHERE ${row.where})`,
    async bind() {
      const secrets = await Promise.all(used.map((part, n) => part.secrets(n)));
      return { parameters, secrets: Object.assign({}, ...secrets) };
    },
    files,
    skipped: { files: listed.length - chosen.length, bytes: sumBytes(listed) - sumBytes(chosen) },
    names: new Map(chosen.map(({ name }, i) => [name, files[i]!])),
  };
}

function sumBytes(files: readonly SourceFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * What a line must say to be of the hosts and the time asked for, as far as its file's path doesn't. A line without a time
 * is kept: it is for the report to say what is wrong with it. One without a host is of none that was asked for.
 */
function chooseLines(
  files: readonly (SourceFile & { name: string })[],
  { hosts, fromMs, toMs }: Choice,
): { where: string | undefined; parameters: Record<string, Parameter> } {
  const conditions: string[] = [], parameters: Record<string, Parameter> = {};
  const plain = files.filter(({ path }) => readPlace(path).host === undefined).map(({ name }) => name);
  if (hosts.length > 0 && plain.length > 0) {
    const isHost = "JSONExtractString(line, 'hostname') IN {source_hosts:Array(String)}";
    conditions.push(`(file NOT IN {source_plain:Array(String)} OR ${isHost})`);
    Object.assign(parameters, { source_hosts: hosts, source_plain: plain });
  }
  const endMs = "toInt64(round(JSONExtractFloat(line, 'ts_unix_sec') * 1000))";
  const isTimeless = "JSONType(line, 'ts_unix_sec') NOT IN ('Int64', 'UInt64', 'Double')";
  if (fromMs !== undefined) {
    conditions.push(`(${isTimeless} OR ${endMs} > {source_from:Int64})`);
    parameters.source_from = fromMs;
  }
  if (toMs !== undefined) {
    conditions.push(`(${isTimeless} OR ${endMs} <= {source_to:Int64})`);
    parameters.source_to = toMs;
  }
  return { where: conditions.length === 0 ? undefined : conditions.join(" AND "), parameters };
}

/** Lines of the files whose `_path` is bound to `source_paths…`. */
function selectLines(table: string, n: number): string {
  return `SELECT line, _path AS file, _row_number + 1 AS number FROM ${table} WHERE _path IN {source_paths${n}:Array(String)}`;
}

// ------------------------------------------------------------------------------------------ this machine's files

let folders = 0;

/** Makes links to the files below the engine's folder, and lists them. */
function linkFiles(engine: QueryEngine, paths: readonly string[]): Part {
  const { folder } = engine;
  if (folder === undefined) {
    throw new IbsrError("usage", `Cannot read "${paths[0]}" with ${engine.name}: it doesn't see this machine's files`, {
      hint: "--engine embedded does; a server reads from s3://BUCKET/PREFIX",
    });
  }
  const links = `${Deno.realPathSync(folder)}/files${folders++}`;
  Deno.mkdirSync(links);
  const files = listInputs(paths).map(({ path, bytes }, i) => {
    const name = `${links}/${String(i).padStart(8, "0")}.jsonl${/\.(gz|zst)$/.exec(path)?.[0] ?? ""}`;
    return { file: { path, bytes: bytes ?? 0 }, name };
  });
  return {
    files,
    select(names, n) {
      const chosen = new Set(names);
      for (const { file, name } of files) {
        if (chosen.has(name)) Deno.symlinkSync(Deno.realPathSync(file.path), name);
      }
      const pattern = `source_url${n}`;
      return {
        from: selectLines(`file({${pattern}:String}, 'LineAsString', 'line String', 'auto')`, n),
        parameters: { [pattern]: `${links}/*`, [`source_paths${n}`]: names },
      };
    },
    secrets: () => Promise.resolve({}),
  };
}

// ------------------------------------------------------------------------------------------------------ buckets

/** Lists the segments of a bucket by the engine: what it can list, it can read. */
async function listBucket(engine: QueryEngine, bucket: BucketPlace, options: SourceOptions): Promise<Part> {
  const { place, prefix } = bucket, url = patternOf(bucket);
  const secrets = async (n: number): Promise<Record<string, string>> => {
    if (!bucket.credentials) return {};
    const { accessKeyId, secretAccessKey, sessionToken } = await bucket.credentials();
    return {
      [`source_key${n}`]: accessKeyId,
      [`source_secret${n}`]: secretAccessKey,
      ...sessionToken === undefined ? {} : { [`source_token${n}`]: sessionToken },
    };
  };
  let hasToken = false;
  const table = (n: number, ...rest: string[]) => {
    const keys = !bucket.credentials ? [] : ["key", "secret", ...hasToken ? ["token"] : []];
    const bound = ["url", ...keys].map((name) => `{source_${name}${n}:String}`);
    if (options.cluster === undefined) return `s3(${[...bound, ...rest].join(", ")})`;
    return `s3Cluster({source_cluster:String}, ${[...bound, ...rest].join(", ")})`;
  };
  const fixed = (n: number) => ({
    [`source_url${n}`]: url,
    ...options.cluster === undefined ? {} : { source_cluster: options.cluster },
  });
  const now = await secrets(0), files: Part["files"] = [];
  hasToken = "source_token0" in now;
  // Of that format nothing is read: it is a listing.
  const sql =
    `SELECT _path AS path, _size AS bytes, _etag AS etag FROM ${table(0, "'One'", "'dummy UInt8'", "'auto'")} ` +
    "WHERE startsWith(_path, {source_prefix:String})";
  const rows = streamRows<{ path: string; bytes: string; etag: string }>(engine, sql, {
    parameters: { ...fixed(0), source_prefix: `${place.bucket}/${prefix}` },
    secrets: now,
    ...options.signal ? { signal: options.signal } : {},
  });
  for await (const { path, bytes, etag } of rows) {
    if (!isSegmentName(path.slice(path.lastIndexOf("/") + 1))) continue;
    const file = { path: `s3://${path}`, bytes: Number(bytes), etag: etag.replaceAll('"', "") };
    files.push({ file, name: path });
  }
  if (files.length === 0) throw noSegmentError(`s3://${place.bucket}/${prefix}`);
  files.sort((a, b) => a.name < b.name ? -1 : 1);
  return {
    files,
    select: (names, n) => ({
      from: selectLines(table(n, "'LineAsString'", "'line String'", "'auto'"), n),
      parameters: { ...fixed(n), [`source_paths${n}`]: names },
    }),
    secrets,
  };
}

/**
 * A pattern for everything that begins with the prefix, and maybe more: it ends where a character might mean something
 * in a pattern or an address.
 */
function patternOf({ place, prefix }: BucketPlace): string {
  const plain = /^[A-Za-z0-9_.=/-]*/.exec(prefix)![0];
  return `${urlOf(place, "")}${plain}**`;
}
