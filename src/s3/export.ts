/**
 * An export: what of a folder the bucket doesn't have yet, object by object, several at a time.
 *
 * A failed object doesn't stop the others, unless it shows that none can succeed: no permission, no bucket, no server.
 * What isn't done stays for the next run; the ledger says from where. Memory is bounded by the objects and parts that
 * are in flight together.
 */
import { IbsrError, reason } from "../errors.ts";
import { log } from "../log.ts";
import { sleep } from "../sleep.ts";
import { openSource, type Source } from "./content.ts";
import { historyOf, type Ledger, type LedgerState, type Stored, targetName } from "./ledger.ts";
import { type Bytes, type Client, hashOf, refusal, refusalOf } from "./request.ts";
import { type Candidate, contentTypeOf, selectFiles, type Selection } from "./select.ts";
import { cleanUp, type Room, store, type Uploader } from "./upload.ts";

/** What to export, and how. */
export interface ExportOptions {
  directory: string;
  bucket: string;
  endpoint: string | undefined;
  selection: Selection;
  /** Of every object: encryption, storage class, tags. */
  headers: Record<string, string>;
  /** Most objects and parts in flight. */
  concurrency: number;
  /** From this size on, objects go in parts. */
  multipartFrom?: number | undefined;
  overwrite: boolean;
  deleteAfterUpload: boolean;
  /** Store a manifest of the run beside the objects. */
  manifest: boolean;
  runId: string;
  /** ibsr's version. */
  program: string;
}

/** What became of one file. */
export interface Outcome {
  path: string;
  key: string;
  /**
   * `unchanged`: it was there already. `gone`: pruned or sealed under another name before it was read. `untried`: the run
   * ended before.
   */
  verdict: "uploaded" | "unchanged" | "gone" | "failed" | "untried";
  /** Bytes stored, or of the file if nothing was. */
  size: number;
  sha256?: string;
  etag?: string | null;
  contentType?: string;
  error?: IbsrError;
}

/** What a run did. */
export interface Summary {
  target: string;
  outcomes: Outcome[];
  /** Bytes sent as objects, parts of earlier runs not counted. */
  bytes: number;
  seconds: number;
  /** What ended the run early. */
  stopped: IbsrError | undefined;
  /** Where the manifest was stored. */
  manifestKey: string | undefined;
}

/** Who is told of a run while it goes on. */
export interface Watcher {
  planned(objects: number, bytes: number): void;
  progress(bytes: number): void;
  done(outcome: Outcome): void;
}

/** The options' name in the ledger. */
export function targetOf({ endpoint, bucket, selection: { prefix } }: ExportOptions): string {
  return targetName({ endpoint, bucket, prefix });
}

/**
 * What would be sent now and what would not, without asking the server.
 *
 * @throws {IbsrError} as `selectFiles()`.
 */
export function planExport(options: ExportOptions, ledger: LedgerState | undefined): {
  todo: Candidate[];
  unchanged: { candidate: Candidate; stored: Stored }[];
} {
  const candidates = selectFiles(options.directory, options.selection);
  const stored = ledger ? historyOf(ledger, targetOf(options)).stored : new Map<string, Stored>();
  const todo: Candidate[] = [], unchanged: { candidate: Candidate; stored: Stored }[] = [];
  for (const candidate of candidates) {
    // What was stored plain need not be stored again compressed.
    const known = [candidate.key, ...candidate.otherKeys].map((key) => stored.get(key)).find((s) =>
      s?.source_size === candidate.size && s.source_mtime_ms === candidate.mtimeMs
    );
    if (known) unchanged.push({ candidate: { ...candidate, key: known.key }, stored: known });
    else todo.push(candidate);
  }
  return { todo, unchanged };
}

/**
 * Uploads what the ledger doesn't know as stored. A ledger that can't be written any more ends the run, as `stopped`.
 *
 * @throws {IbsrError} `storage` or `permission`, if the folder can't be read or the ledger not be written at the start.
 */
export async function runExport(
  options: ExportOptions,
  { client, ledger, watcher, signal }: { client: Client; ledger: Ledger; watcher: Watcher; signal: AbortSignal },
): Promise<Summary> {
  const start = performance.now(), target = targetOf(options);
  await ledger.record({ event: "run", target, pid: Deno.pid });
  const { todo, unchanged } = planExport(options, ledger.state);
  watcher.planned(todo.length, todo.reduce((sum, { size }) => sum + size, 0));
  const summary: Summary = {
    ...{ target, outcomes: [], bytes: 0, seconds: 0, stopped: undefined, manifestKey: undefined },
  };
  const finish = (outcome: Outcome) => {
    summary.outcomes.push(outcome);
    if (outcome.verdict === "uploaded") summary.bytes += outcome.size;
    watcher.done(outcome);
  };
  const uploader: Uploader = {
    ...{ client, ledger, target, signal, conditional: true },
    withRoom: makeRoom(options.concurrency),
    progress: watcher.progress,
  };
  const run: RunInProgress = { options, uploader, summary };
  for (const { candidate, stored } of unchanged) {
    await deleteUploaded(candidate, stored, run);
    finish({ ...outcomeOf(candidate, stored), verdict: "unchanged" });
  }
  const waiting = [...todo];
  const work = async () => {
    for (let candidate; !summary.stopped && (candidate = waiting.shift());) finish(await exportFile(candidate, run));
  };
  await Promise.all(Array.from({ length: options.concurrency }, work));
  for (const { path, key, size } of waiting) finish({ path, key, size, verdict: "untried" });

  summary.outcomes.sort((a, b) => a.path < b.path ? -1 : 1);
  if (!summary.stopped) {
    try {
      const isLeft = ({ verdict }: Outcome) => verdict === "failed";
      await cleanUp(new Set(summary.outcomes.filter(isLeft).map(({ key }) => key)), uploader);
      if (options.manifest) summary.manifestKey = await storeManifest(run);
    } catch (error) {
      summary.stopped = stoppedBy(error, signal);
    }
  }
  summary.seconds = (performance.now() - start) / 1000;
  return summary;
}

/** Looks for something new so often. */
const POLL_MS = 2000;
/** Open segments are sent at most so often: each time they are sent whole. */
const GROWING_MS = 60_000;
const LONGEST_PAUSE_MS = 5 * 60_000;

/**
 * Exports again and again until `signal` aborts; `finished` is told of each run that did something.
 *
 * @returns the last run's summary.
 */
export async function watchExport(
  options: ExportOptions,
  world: { client: Client; ledger: Ledger; watcher: Watcher; signal: AbortSignal },
  finished: (summary: Summary) => void,
): Promise<Summary | undefined> {
  const { signal, ledger } = world;
  let last: Summary | undefined, pauseMs = POLL_MS, growingAt = -Infinity;
  while (!signal.aborted) {
    const includeOpen = options.selection.includeOpen && performance.now() - growingAt >= GROWING_MS;
    const now = { ...options, runId: runIdNow(), selection: { ...options.selection, includeOpen } };
    const { uploads, unsettled } = historyOf(ledger.state, targetOf(now));
    if (planExport(now, ledger.state).todo.length > 0 || !last || uploads.size + unsettled.size > 0) {
      if (includeOpen) growingAt = performance.now();
      last = await runExport(now, world);
      finished(last);
    }
    pauseMs = isComplete(last) ? POLL_MS : Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    await sleep(pauseMs, signal).catch(() => {});
  }
  return last;
}

/** Whether everything that was selected is in the bucket. */
export function isComplete({ outcomes, stopped }: Summary): boolean {
  return !stopped && outcomes.every(({ verdict }) => verdict !== "failed" && verdict !== "untried");
}

/** The error that decides a run's exit code; undefined if all went well. */
export function failureOf({ outcomes, stopped }: Summary): IbsrError | undefined {
  return stopped ?? outcomes.find(({ error }) => error)?.error;
}

/** A run's name where none is given: its time. */
export function runIdNow(): string {
  return new Date().toISOString().replaceAll(/[:-]|\.\d{3}/g, "");
}

interface RunInProgress {
  options: ExportOptions;
  uploader: Uploader;
  summary: Summary;
}

function outcomeOf({ path, key, size }: Candidate, stored?: Pick<Stored, "size" | "sha256" | "etag">) {
  return stored
    ? { path, key, size: stored.size, sha256: stored.sha256, etag: stored.etag, contentType: contentTypeOf(key) }
    : { path, key, size };
}

async function exportFile(candidate: Candidate, run: RunInProgress): Promise<Outcome> {
  const { signal } = run.uploader;
  if (signal.aborted) {
    run.summary.stopped ??= stoppedBy(signal.reason, signal);
    return { ...outcomeOf(candidate), verdict: "untried" };
  }
  try {
    const { directory, multipartFrom } = run.options;
    using source = await openSource(directory, candidate, { multipartFrom, signal });
    return await exportSource(candidate, source, run);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { ...outcomeOf(candidate), verdict: "gone" };
    if (signal.aborted) {
      run.summary.stopped ??= stoppedBy(error, signal);
      return { ...outcomeOf(candidate), verdict: "untried" };
    }
    const failure = asFailure(error, candidate.path);
    if (isHopeless(failure) || (failure.kind === "storage" && error === failure)) run.summary.stopped ??= failure;
    return { ...outcomeOf(candidate), verdict: "failed", error: failure };
  }
}

async function exportSource(candidate: Candidate, source: Source, run: RunInProgress): Promise<Outcome> {
  const { options, uploader } = run, { ledger, target } = uploader, { path, key } = candidate;
  if (candidate.isGrowing && source.size === 0) return { ...outcomeOf(candidate), verdict: "gone" };
  const known = historyOf(ledger.state, target).stored.get(key), isSame = known?.sha256 === source.sha256;
  const etag = isSame ? known!.etag : await store({
    ...{ path, key, content: source, contentType: contentTypeOf(key), overwrite: options.overwrite },
    headers: { ...options.headers, ...metadataOf(source, options) },
  }, uploader);
  const stored: Stored = {
    ...{ event: "stored", target, path, key, size: source.size, sha256: source.sha256, etag },
    source_size: source.sourceSize,
    source_mtime_ms: source.sourceMtimeMs,
    ...source.sourceSha256 === undefined ? {} : { source_sha256: source.sourceSha256 },
  };
  await ledger.record(stored);
  await deleteUploaded(candidate, stored, run);
  return { ...outcomeOf(candidate, stored), verdict: isSame ? "unchanged" : "uploaded" };
}

/** What goes with every object, so that it explains itself. */
function metadataOf(source: Source, { selection, runId, program }: ExportOptions): Record<string, string> {
  return {
    "x-amz-meta-ibsr-sha256": source.sha256,
    ...source.sourceSha256 === undefined ? {} : { "x-amz-meta-ibsr-source-sha256": source.sourceSha256 },
    "x-amz-meta-ibsr-hostname": encodeURIComponent(selection.hostname),
    "x-amz-meta-ibsr-run-id": encodeURIComponent(runId),
    "x-amz-meta-ibsr-version": program,
  };
}

/** Deletes a sealed segment that is stored, if that is wanted and it is still the file that was read. */
async function deleteUploaded(
  candidate: Candidate,
  stored: Stored,
  { options, uploader }: RunInProgress,
): Promise<void> {
  if (!options.deleteAfterUpload || candidate.segment?.state !== "sealed") return;
  const file = `${options.directory}/${candidate.path}`;
  try {
    const { size, mtime, isFile } = Deno.lstatSync(file);
    if (!isFile || size !== stored.source_size || (mtime?.getTime() ?? 0) !== stored.source_mtime_ms) return;
    Deno.removeSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    log("warning", `Cannot delete "${file}" after its upload: ${reason(error)}`);
    return;
  }
  await uploader.ledger.record({ event: "deleted", target: uploader.target, path: candidate.path });
}

/** Whether the others would fail alike: asking the server again for each would only take long. */
function isHopeless(failure: IbsrError): boolean {
  const refused = refusalOf(failure);
  if (!refused) return failure.kind === "permission" || failure.kind === "network"; // no keys, no answer
  return [301, 307, 401, 403].includes(refused.status) || ["NoSuchBucket", "InvalidBucketName"].includes(refused.code);
}

function asFailure(error: unknown, path: string): IbsrError {
  if (error instanceof IbsrError) return error;
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) throw error;
  return new IbsrError("storage", `Cannot read ${path}: ${reason(error)}`, { cause: error });
}

function stoppedBy(error: unknown, signal: AbortSignal): IbsrError {
  if (signal.aborted) return new IbsrError("network", "Cannot go on uploading: told to stop", { cause: error });
  if (error instanceof IbsrError) return error;
  throw error;
}

/** Lets `places` actions run at a time, each with memory of its own; the others wait their turn. */
function makeRoom(places: number): Uploader["withRoom"] {
  const free: Room[] = Array.from({ length: places }, () => {
    let memory: Bytes = new Uint8Array();
    return (bytes) => {
      if (memory.length < bytes) memory = new Uint8Array(bytes);
      return memory.subarray(0, bytes);
    };
  });
  const waiting: ((room: Room) => void)[] = [];
  return async (action) => {
    const room = free.pop() ?? await new Promise<Room>((resolve) => waiting.push(resolve));
    try {
      return await action(room);
    } finally {
      const next = waiting.shift();
      if (next) next(room);
      else free.push(room);
    }
  };
}

// ------------------------------------------------------------------------------------------------- the manifest

/** What a run came to, as a document. */
export function makeManifest(summary: Summary, options: ExportOptions) {
  const { bucket, endpoint, selection } = options,
    of = (...verdicts: Outcome["verdict"][]) => summary.outcomes.filter(({ verdict }) => verdicts.includes(verdict));
  return {
    version: 1,
    tool: "ibsr",
    tool_version: options.program,
    run_id: options.runId,
    hostname: selection.hostname,
    generated_at: new Date().toISOString(),
    status: isComplete(summary) ? "complete" : "incomplete",
    target: { type: "s3", bucket, prefix: selection.prefix, ...endpoint === undefined ? {} : { endpoint } },
    objects: of("uploaded", "unchanged").map(({ path, key, verdict, size, sha256, etag, contentType }) => ({
      ...{ path, key, url: `s3://${bucket}/${key}`, size_bytes: size, sha256, etag, content_type: contentType },
      uploaded: verdict === "uploaded",
    })),
    failures: of("failed", "untried").map(({ path, key, verdict, error }) => ({
      ...{ path, key, reason: error?.message ?? (verdict === "untried" ? "not tried" : "") },
    })),
    bytes: summary.bytes,
    seconds: Math.round(summary.seconds * 1000) / 1000,
  };
}

/**
 * Stores a few bytes as an object of its own, always the same one; returns its key.
 *
 * @throws {IbsrError} `permission` or `network`.
 */
export async function storeProbe(client: Client, { selection, headers }: ExportOptions): Promise<string> {
  const key = `${selection.prefix}ibsr-check`, body = new TextEncoder().encode("ibsr check\n");
  const answer = await client.send({ method: "PUT", key, body, headers: { "content-type": "text/plain", ...headers } });
  if (answer.status !== 200) throw refusal(answer, `store s3://${client.place.bucket}/${key}`);
  return key;
}

/** Stores the manifest of a run that uploaded something. */
async function storeManifest({ options, uploader, summary }: RunInProgress): Promise<string | undefined> {
  if (!summary.outcomes.some(({ verdict }) => verdict === "uploaded")) return undefined;
  const key = `${options.selection.prefix}manifests/${options.runId}.json`;
  const body = new TextEncoder().encode(JSON.stringify(makeManifest(summary, options), null, 2) + "\n");
  const answer = await uploader.client.send({
    ...{ method: "PUT", key, body, sha256: hashOf(body) },
    headers: { "content-type": contentTypeOf(key), ...options.headers },
  });
  if (answer.status !== 200) throw refusal(answer, "store the manifest");
  return key;
}
