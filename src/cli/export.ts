/**
 * `ibsr export s3`: how the values of its options become what an export needs.
 */
import { EXIT, IbsrError } from "../errors.ts";
import { log } from "../log.ts";
import type { Chain } from "../s3/credentials.ts";
import {
  type ExportOptions,
  failureOf,
  isComplete,
  makeManifest,
  type Outcome,
  planExport,
  runExport,
  runIdNow,
  type Summary,
  targetOf,
  type Watcher,
  watchExport,
} from "../s3/export.ts";
import { listSegments } from "../segment.ts";
import { openLedger, readLedger } from "../s3/ledger.ts";
import policy from "../s3/policy.json" with { type: "json" };
import type { Client } from "../s3/request.ts";
import { checkKey } from "../s3/select.ts";
import { MULTIPART_FROM } from "../s3/upload.ts";
import { formatBytes, formatCount, formatNumberOf } from "../words.ts";
import { prepareBucket } from "./bucket.ts";
import type { Context } from "./command.ts";
import type { ExportValues } from "./tables/export.ts";
import { createBar } from "./progress.ts";
import { VERSION } from "./version.ts";

/** `ibsr export s3`: returns the exit code. */
export async function runExportS3(values: ExportValues, context: Context): Promise<number> {
  const { options, chain, connect } = prepareExport(values, context);
  if (values["print-policy"]) return printPolicy(options, context);
  if (values["dry-run"]) {
    sayOpen(options);
    return printPlan(options, values, context);
  }
  const client = connect();
  using ledger = openLedger(options.directory);
  if (ledger.state.unreadable > 0) {
    log(
      "warning",
      `unreadable in ${ledger.path}, and counted for nothing: ${formatNumberOf(ledger.state.unreadable, "line")}`,
    );
  }
  const watcher = watchOnTerminal();
  const world = { client, ledger, watcher, signal: context.signal };
  try {
    if (!values.watch) {
      // Without keys nothing can be done, and one message says it.
      if (planExport(options, ledger.state).todo.length > 0) await chain.credentials();
      const summary = await runExport(options, world);
      watcher.clear();
      await printSummary(summary, { options, values, client, context });
      sayOpen(options);
      return finish(summary);
    }
    const last = await watchExport(options, world, (summary) => {
      watcher.clear();
      log("info", describeSummary(summary));
      const failure = failureOf(summary);
      if (failure && !context.signal.aborted) log("error", failure.message, { hint: failure.hint });
    });
    return last && !isComplete(last) && !context.signal.aborted ? EXIT.network : 0;
  } finally {
    watcher.clear();
  }
}

/**
 * What the values come to. Nothing is asked of any server yet.
 *
 * @throws {IbsrError} `usage`, if the values don't fit together; what `openChain()` throws.
 */
export function prepareExport(
  values: ExportValues,
  { environment, signal }: Pick<Context, "environment" | "signal">,
): { options: ExportOptions; chain: Chain; connect(): Client } {
  const bucket = values.bucket;
  if (bucket === undefined) {
    throw new IbsrError("usage", "Cannot export: no bucket was given", {
      hint: '--bucket B, or "export s3": { "bucket": "B" } in the config file',
    });
  }
  if (values.sse !== "kms" && (values["kms-key-id"] ?? values["kms-context"]) !== undefined) {
    throw new IbsrError("usage", "Cannot use --kms-key-id or --kms-context: they are for --sse kms");
  }
  const access = prepareBucket(bucket, values, { environment, signal });
  const { chain, endpoint } = access;
  const hostname = Deno.hostname(), limit = values["bandwidth-limit"];
  const runId = values["run-id"] ?? runIdNow();
  const options: ExportOptions = {
    ...{ directory: (values.input ?? values["out-dir"]).replace(/(?<=.)\/+$/, ""), bucket, endpoint, runId },
    selection: {
      ...{ include: values.include, exclude: values.exclude, includeOpen: values["include-open"] },
      ...{ compress: values.compress, layout: values.layout, hostname },
      prefix: choosePrefix(values, hostname),
    },
    headers: objectHeaders(values),
    ...{ concurrency: values.concurrency, overwrite: values.overwrite, manifest: values.manifest, program: VERSION },
    deleteAfterUpload: values["delete-after-upload"],
    multipartFrom: limit === undefined ? MULTIPART_FROM : 5 << 20,
  };
  const connect = () =>
    access.connect({
      ...{ timeoutMs: values["timeout-sec"] * 1000, maxRetries: values["max-retries"], bytesPerSecond: limit },
    });
  return { options, chain, connect };
}

/** What keys begin with: one slash at its end, none at its start. */
function choosePrefix({ prefix, layout, "run-id": runId }: ExportValues, hostname: string): string {
  const chosen = prefix ?? (layout === "hive" ? "ibsr/" : `ibsr/${hostname}/${runId === undefined ? "" : `${runId}/`}`);
  const trimmed = chosen.replace(/^\/+|\/+$/g, "");
  return checkKey(trimmed === "" ? "" : `${trimmed}/`);
}

function objectHeaders(values: ExportValues): Record<string, string> {
  const headers: Record<string, string> = {};
  const put = (name: string, value: string | undefined) => value !== undefined && (headers[name] = value);
  put("x-amz-server-side-encryption", { none: undefined, s3: "AES256", kms: "aws:kms" }[values.sse]);
  put("x-amz-server-side-encryption-aws-kms-key-id", values["kms-key-id"]);
  const encryptionContext = values["kms-context"];
  if (encryptionContext !== undefined) {
    put("x-amz-server-side-encryption-context", new TextEncoder().encode(encryptionContext).toBase64());
  }
  put("x-amz-storage-class", values["storage-class"]);
  if (values.tag.length > 0) {
    put("x-amz-tagging", values.tag.map((pair) => pair.map(encodeURIComponent).join("=")).join("&"));
  }
  for (const [name, value] of Object.entries(headers)) {
    if (/[^\x20-\x7e]/.test(value)) throw new IbsrError("usage", `Cannot send ${name} "${value}": it is not ASCII`);
  }
  return headers;
}

// -------------------------------------------------------------------------------------------------- what it says

function printPolicy({ bucket, selection }: ExportOptions, { print }: Context): number {
  print(JSON.stringify(policyFor(policy, { bucket, prefix: selection.prefix }), null, 2) + "\n");
  return 0;
}

/** The policy for a bucket and a prefix. */
export function policyFor<T>(template: T, { bucket, prefix }: { bucket: string; prefix: string }): T {
  return JSON.parse(
    JSON.stringify(template),
    (_, value) => typeof value === "string" ? value.replace("BUCKET/PREFIX", `${bucket}/${prefix}`) : value,
  );
}

function printPlan(options: ExportOptions, values: ExportValues, { print }: Context): number {
  const { todo, unchanged } = planExport(options, readLedger(options.directory));
  if (values.output === "json") {
    const objects = todo.map(({ path, key, size }) => ({ path, key, size_bytes: size }));
    print(
      JSON.stringify({ dry_run: true, target: targetOf(options), objects, unchanged: unchanged.length }, null, 2) +
        "\n",
    );
    return 0;
  }
  for (const { path, key, size } of todo) print(`${path} → s3://${options.bucket}/${key} (${formatBytes(size)})\n`);
  const bytes = formatBytes(todo.reduce((sum, { size }) => sum + size, 0));
  const there = formatCount(unchanged.length);
  print(`would upload ${formatNumberOf(todo.length, "object")} (${bytes}); ${there} are there already\n`);
  return 0;
}

async function printSummary(
  summary: Summary,
  { options, values, client, context }: {
    options: ExportOptions;
    values: ExportValues;
    client: Client;
    context: Context;
  },
): Promise<void> {
  const { print } = context;
  const there = summary.outcomes.filter(({ verdict }) => verdict === "uploaded" || verdict === "unchanged");
  const urls = new Map<string, string>();
  if (values.presign !== undefined && there.length > 0) {
    let until = Infinity;
    for (const { key } of there) {
      const { url, expiresAt } = await client.presign(key, values.presign);
      urls.set(key, url);
      until = expiresAt;
    }
    if (until < Date.now() + values.presign * 1000 - 60_000) {
      log("warning", `the URLs end with the credentials that signed them, at ${new Date(until).toISOString()}`);
    }
  }
  if (values.output === "json") {
    const manifest = makeManifest(summary, options);
    const objects = manifest.objects.map((object) => ({ ...object, presigned_get_url: urls.get(object.key) }));
    return print(JSON.stringify({ ...manifest, objects }, null, 2) + "\n");
  }
  for (const { path, key } of there) if (urls.has(key)) print(`${path}: ${urls.get(key)}\n`);
  print(describeSummary(summary) + "\n");
}

/** Says what of the folder itself was not meant, because lines are still added to it, and when it will be. */
function sayOpen({ directory, selection }: ExportOptions): void {
  if (selection.includeOpen) return;
  const open = listSegments(directory).filter(({ state }) => state === "open");
  if (open.length === 0) return;
  const goes = open.length === 1 ? "it goes once it is sealed" : "they go once they are sealed";
  log("info", `left out: ${formatNumberOf(open.length, "open segment")} (${open.at(-1)!.name}); ${goes}`, {
    hint:
      "the collector seals when its --rotate says so (hourly: when the hour is over) and when it ends; --include-open " +
      "sends what is there now",
  });
}

function describeSummary({ outcomes, bytes, seconds, target, manifestKey }: Summary): string {
  const number = (verdict: Outcome["verdict"]) => outcomes.filter((o) => o.verdict === verdict).length;
  const uploaded = formatNumberOf(number("uploaded"), "object");
  const parts = [
    `uploaded ${uploaded} (${formatBytes(bytes)}) to ${target} in ${seconds.toFixed(1)} s`,
    formatNumberOf(number("unchanged"), "was there already", "were there already"),
    `${formatCount(number("failed"))} failed`,
    ...number("untried") > 0 ? [`${formatCount(number("untried"))} not tried`] : [],
    ...manifestKey === undefined ? [] : [`manifest: ${manifestKey}`],
  ];
  return parts.join("; ");
}

const MOST_REASONS = 10;

/** Says what failed and what the next run will do; returns the exit code. */
function finish(summary: Summary): number {
  const failure = failureOf(summary);
  if (!failure) return 0;
  const failed = summary.outcomes.filter(({ verdict }) => verdict === "failed");
  const others = [...new Set(failed.map(({ error }) => error!.message))].filter((m) => m !== failure.message);
  for (const message of others.slice(0, MOST_REASONS)) log("error", message);
  const unsaid = others.length - MOST_REASONS;
  if (unsaid > 0) log("error", `and ${formatNumberOf(unsaid, "more failure")}`);
  log("error", failure.message, { hint: failure.hint });
  log("info", "the next run goes on from here: what is stored is not sent again, unfinished uploads are resumed");
  return failure.kind === "permission" || failure.kind === "storage" ? EXIT[failure.kind] : EXIT.network;
}

/** Progress of a run: a bar on a terminal, a line an object with `-v`. */
function watchOnTerminal(): Watcher & { clear(): void } {
  const planned = { objects: 0, bytes: 0 }, at = { objects: 0, bytes: 0 };
  let start = performance.now();
  const bar = createBar("uploading");
  const show = () => {
    const rate = formatBytes(Math.round(at.bytes / (performance.now() - start) * 1000));
    const share = planned.bytes > 0 ? Math.min(1, at.bytes / planned.bytes) : 0;
    bar.show(share, `${at.objects}/${planned.objects} objects  ${formatBytes(at.bytes)}  ${rate}/s`);
  };
  return {
    planned(objects, bytes) {
      Object.assign(planned, { objects, bytes });
      Object.assign(at, { objects: 0, bytes: 0 });
      start = performance.now();
    },
    progress(bytes) {
      at.bytes += bytes;
      show();
    },
    done({ path, key, verdict, size, error }) {
      if (verdict !== "unchanged") at.objects++;
      if (verdict === "untried" || verdict === "unchanged") return;
      bar.clear();
      log("debug", `${verdict} ${path}${error ? `: ${error.message}` : ` as ${key} (${formatBytes(size)})`}`);
      show();
    },
    clear: bar.clear,
  };
}
