/**
 * `ibsr fleet report`: what `ibsr report` computes, by an SQL engine; which engine, and where it reads.
 */
import { IbsrError, reason } from "../errors.ts";
import { assessFleet } from "../fleet/assess.ts";
import { listLibraryPaths, openEmbeddedEngine } from "../fleet/chdb.ts";
import type { QueryEngine } from "../fleet/engine.ts";
import { openServer } from "../fleet/http.ts";
import { type BucketPlace, openSource, type Source } from "../fleet/source.ts";
import { log } from "../log.ts";
import { writeStreamedReport } from "../report/write.ts";
import { parseS3Url } from "../s3/read.ts";
import { answer, assessOptions, nativeOptions } from "./assessment.ts";
import { makeHttpClient, prepareBucket } from "./bucket.ts";
import type { Context } from "./command.ts";
import { describeNoSnapshot } from "./inputs.ts";
import { readAllowlists } from "./named_files.ts";
import type { Values } from "./options.ts";
import { giveUp } from "./permissions.ts";
import { createBar } from "./progress.ts";
import type { CHOICE_OPTIONS, ENGINE_OPTIONS, FLEET_REPORT_OPTIONS } from "./tables/fleet.ts";
import type { S3_SOURCE_OPTIONS } from "./tables/report.ts";
import { VERSION } from "./version.ts";

/** `ibsr fleet report`: returns the exit code. */
export async function runFleetReport(values: Values<typeof FLEET_REPORT_OPTIONS>, context: Context): Promise<number> {
  const { operands, signal, environment } = context, paths = [...values.in, ...operands];
  if (paths.length === 0 || values.out === undefined) {
    throw new IbsrError("usage", `Cannot report: no ${paths.length === 0 ? "--in" : "--out"} was given`, {
      hint: "ibsr fleet report --in s3://BUCKET/PREFIX --out DIR",
    });
  }
  if (values.from !== undefined && values.to !== undefined && values.from >= values.to) {
    throw new IbsrError("usage", "Cannot report: --from is not before --to");
  }
  const allowlist = readAllowlists(values.allowlist), native = nativeOptions(values, allowlist);
  await using engine = await openEngine(values, context);
  const source = await openEngineSource(engine, paths, { values, context });
  log("debug", `${engine.name}: ${source.files.length} files to read, ${source.skipped.files} need not be`);
  const bar = createBar(engine.name);
  let doing = "reading";
  try {
    await using fleet = await assessFleet(engine, source, {
      ...{ native, assess: assessOptions(values, { native, allowlist, environment }), isTorn, signal },
      step: (what) => {
        log("debug", `${engine.name}: ${what}`);
        doing = what;
      },
      progress: (rows, bytes) => bar.show(undefined, `${doing}: ${rows} rows, ${Math.round(bytes / 1e6)} MB`),
    });
    bar.clear();
    const { files, versions, bad_lines: badLines, bad_line_count: badLineCount } = fleet.assessment.summary.evidence;
    if (versions.length === 0 && badLineCount > 0) throw describeNoSnapshot({ files, badLines, badLineCount });
    await writeStreamedReport(fleet.assessment, { inputs: [...source.files], sources: fleet.rows() }, values.out);
    return answer(fleet.assessment.summary, values, context);
  } finally {
    bar.clear();
  }
}

/** Whether a file's last line has no newline yet. Of open segments, only whole lines are uploaded. */
async function isTorn(path: string): Promise<boolean> {
  if (path.startsWith("s3://")) return false;
  using file = await Deno.open(path);
  const { size } = await file.stat(), last = new Uint8Array(1);
  if (size === 0) return false;
  await file.seek(size - 1, Deno.SeekMode.Start);
  await file.read(last);
  return last[0] !== 0x0a;
}

// ---------------------------------------------------------------------------------------------------- engine

/** What an embedded engine may use if nothing is said. */
const MAX_MEMORY_BYTES = 4 * 2 ** 30;

/**
 * Opens the engine that the options name.
 *
 * @throws {IbsrError} `usage`, if the options contradict each other or its library or password can't be read; as
 * `openEmbeddedEngine()` and `openServer()`.
 */
async function openEngine(
  values: Values<typeof ENGINE_OPTIONS>,
  { environment, signal }: Pick<Context, "environment" | "signal">,
): Promise<QueryEngine> {
  const { engine, threads, "max-memory": maxMemoryBytes } = values;
  if (engine === "embedded") {
    refuse(values, "the embedded engine", ["cluster", "engine-password-file", "ca-file"]);
    return await openEmbeddedEngine({
      paths: listLibraryPaths(values.chdb, environment),
      maxMemoryBytes: maxMemoryBytes ?? MAX_MEMORY_BYTES,
      ...{ threads, tempDirectory: values["temp-dir"] },
    });
  }
  if (engine.hasPassword) {
    throw new IbsrError(
      "usage",
      "Cannot use --engine: there is a password in it, which every user of this host can see",
      {
        hint: "IBSR_ENGINE_PASSWORD or --engine-password-file",
      },
    );
  }
  refuse(values, "a server", ["chdb", "temp-dir"]);
  return await openServer({
    ...{ url: engine.url, user: engine.user, password: readPassword(values["engine-password-file"], environment) },
    ...{ maxMemoryBytes, threads, signal, userAgent: `ibsr/${VERSION}` },
    httpClient: makeHttpClient(values["ca-file"]),
  });
}

/** @throws {IbsrError} `usage`, if one of the options was given. */
function refuse<T extends object>(values: T, engine: string, names: readonly (keyof T & string)[]): void {
  const given = names.find((name) => values[name] !== undefined);
  if (given === undefined) return;
  throw new IbsrError("usage", `Cannot use --${given}: ${engine} has no use for it`, {
    hint: "--engine says which engine it is",
  });
}

function readPassword(path: string | undefined, environment: Record<string, string>): string {
  if (path === undefined) return environment.IBSR_ENGINE_PASSWORD ?? environment.CLICKHOUSE_PASSWORD ?? "";
  try {
    return Deno.readTextFileSync(path).replace(/\r?\n$/, "");
  } catch (cause) {
    throw new IbsrError("usage", `Cannot read the password in ${path}: ${reason(cause)}`, { cause });
  }
}

/**
 * Finds what the paths name, and what of it the hosts and times asked for need. Without a server and a path of S3 the
 * network is given up.
 *
 * @throws {IbsrError} as `openSource()`.
 */
async function openEngineSource(
  engine: QueryEngine,
  paths: readonly string[],
  { values, context }: {
    values: Values<typeof ENGINE_OPTIONS & typeof CHOICE_OPTIONS & typeof S3_SOURCE_OPTIONS>;
    context: Pick<Context, "environment" | "signal">;
  },
): Promise<Source> {
  const places = paths.map((path) => ({ path, url: parseS3Url(path) }));
  const buckets = places.flatMap(({ url }): BucketPlace[] => {
    if (!url) return [];
    const { chain, place } = prepareBucket(url.bucket, {
      ...{ region: values["s3-region"], endpoint: values["s3-endpoint"], "force-path-style": values["s3-path-style"] },
    }, context);
    const credentials = values["s3-keys"] === "ours" ? () => chain.credentials() : undefined;
    return [{ place, prefix: url.prefix, credentials }];
  });
  if (buckets.length === 0 && values.engine === "embedded") {
    giveUp("net", "run");
  }
  return await openSource(engine, { paths: places.filter(({ url }) => !url).map(({ path }) => path), buckets }, {
    ...{ hosts: values.host, fromMs: values.from, toMs: values.to, cluster: values.cluster, signal: context.signal },
  });
}
