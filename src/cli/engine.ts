/**
 * From options to an SQL engine, and to where it reads.
 */
import { IbsrError, reason } from "../errors.ts";
import { listLibraryPaths, openEmbeddedEngine } from "../fleet/chdb.ts";
import type { QueryEngine } from "../fleet/engine.ts";
import { openServer } from "../fleet/http.ts";
import { type BucketPlace, openSource, type Source } from "../fleet/source.ts";
import { parseS3Url } from "../s3/read.ts";
import { makeHttpClient, prepareBucket } from "./bucket.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import { giveUp } from "./permissions.ts";
import type { CHOICE_OPTIONS, ENGINE_OPTIONS } from "./tables/fleet.ts";
import type { S3_SOURCE_OPTIONS } from "./tables/report.ts";
import { VERSION } from "./version.ts";

/** What an embedded engine may use if nothing is said. */
const MAX_MEMORY_BYTES = 4 * 2 ** 30;

/**
 * Opens the engine that the options name.
 *
 * @throws {IbsrError} `usage`, if the options contradict each other or its library or password can't be read; as
 * `openEmbeddedEngine()` and `openServer()`.
 */
export async function openEngine(
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
export async function openEngineSource(
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
