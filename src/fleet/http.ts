/**
 * A ClickHouse server by HTTP.
 *
 * A statement goes out as a form: its text, and its values as fields of their own, so that none of them is in an address
 * that a proxy or the server's log would keep. The server is asked to hold a result back until it is whole, so that its
 * status says whether it is one; what it may still say at the end of a result is looked at all the same.
 *
 * A statement is ended by its id: closing the connection alone ends it on some servers only.
 *
 * @see https://clickhouse.com/docs/interfaces/http
 */
import { IbsrError, reason } from "../errors.ts";
import { log } from "../log.ts";
import { sleep } from "../sleep.ts";
import {
  collectRows,
  encodeParameters,
  engineError,
  memorySettings,
  parseFailure,
  type QueryEngine,
  type QueryOptions,
  SETTINGS,
} from "./engine.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Which server, and who asks. */
export interface ServerOptions {
  /** Without user and password. */
  url: URL;
  user: string;
  password: string;
  /** Bytes, of each statement; the server's own limit if not said. */
  maxMemoryBytes?: number | undefined;
  /** Of each statement; the server's own limit if not said. */
  threads?: number | undefined;
  /** Trusts more certificates than the system does. */
  httpClient?: Deno.HttpClient | undefined;
  userAgent: string;
  signal: AbortSignal;
}

/** The oldest server whose SQL has what the statements of a report need. */
const OLDEST = 25;
/** Attempts after the first, of what only reads. */
const MAX_RETRIES = 3;
/** Of a result's end: what the server says late is not longer. */
const TAIL_BYTES = 1 << 16;

/**
 * Opens a server: asks for its version.
 *
 * @throws {IbsrError} `network`, if it can't be reached or is no ClickHouse; `permission`, if it doesn't let the user in;
 * `data`, if it is too old.
 */
export async function openServer(options: ServerOptions): Promise<QueryEngine> {
  const server = new Server(options, {});
  const [row] = await server.rows<{ version: string }>("SELECT version() AS version");
  const version = row?.version ?? "";
  if (!(parseInt(version) >= OLDEST)) {
    throw new IbsrError("data", `Cannot use ${server.name}: it is ClickHouse ${version}`, {
      hint: `reports need version ${OLDEST} or later`,
    });
  }
  const { maxMemoryBytes, threads } = options;
  const limits = {
    ...maxMemoryBytes === undefined ? {} : memorySettings(maxMemoryBytes),
    ...threads === undefined ? {} : { max_threads: String(threads) },
  };
  return new Server(options, { ...SETTINGS, ...limits });
}

/** A server of any version, as it is asked with these settings. */
export class Server implements QueryEngine {
  readonly name: string;
  readonly folder = undefined;
  readonly #options: ServerOptions;
  readonly #settings: Readonly<Record<string, string>>;

  constructor(options: ServerOptions, settings: Readonly<Record<string, string>>) {
    this.#options = options;
    this.#settings = settings;
    this.name = `the engine at ${options.url.host}`;
  }

  async *query(sql: string, options: QueryOptions = {}): AsyncGenerator<Bytes> {
    const id = crypto.randomUUID(), ended = new AbortController();
    const signals = [this.#options.signal, ...options.signal ? [options.signal] : []];
    const signal = AbortSignal.any([...signals, ended.signal]);
    const watch = options.progress ? this.#tellProgress(id, options.progress) : undefined;
    let isOver = false;
    try {
      const response = await this.#ask(sql, { ...options, signal }, id);
      yield* this.#read(response, options);
      isOver = true;
    } catch (error) {
      isOver = error instanceof IbsrError && error.kind !== "network";
      throw signals.find(({ aborted }) => aborted)?.reason ?? error;
    } finally {
      watch?.stop();
      if (!isOver) {
        ended.abort();
        await this.#kill(id);
      }
    }
  }

  rows<T>(sql: string, options?: Omit<QueryOptions, "format">): Promise<T[]> {
    return collectRows<T>(this, sql, options);
  }

  /** Sends a statement until there is an answer, and takes what is no result for an error. */
  async #ask(sql: string, options: QueryOptions & { signal: AbortSignal }, id: string): Promise<Response> {
    const reads = /^\s*(SELECT|WITH)\b/i.test(sql);
    for (let retries = 0;; retries++) {
      let failure: IbsrError;
      try {
        const response = await this.#send(sql, options, retries === 0 ? id : `${id}-${retries}`);
        if (response.ok) return response;
        failure = await this.#refusal(response, options);
        // What ClickHouse itself says is final; what something before it says passes.
        if (failure.cause !== undefined || ![502, 503, 504].includes(response.status)) throw failure;
      } catch (cause) {
        options.signal.throwIfAborted();
        if (cause instanceof IbsrError) throw cause;
        failure = new IbsrError("network", `Cannot reach ${this.name}: ${describe(cause)}`, {
          hint: "--engine names it: http://HOST:8123, https://HOST:8443",
          cause,
        });
      }
      if (!reads || retries === MAX_RETRIES) throw failure;
      log("debug", `${failure.message}; again`);
      await sleep(200 * 2 ** retries * (0.5 + Math.random()), options.signal);
    }
  }

  #send(sql: string, options: QueryOptions & { signal: AbortSignal }, id: string): Promise<Response> {
    const form = new FormData();
    form.append("query", sql);
    for (const [name, value] of encodeParameters(options)) form.append(`param_${name}`, value);
    return this.#post(form, {
      ...{ query_id: id, default_format: options.format ?? "JSONEachRow", wait_end_of_query: "1" },
      ...this.#settings,
    }, options.signal);
  }

  #post(body: FormData, search: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const { user, password, httpClient, userAgent } = this.#options, url = new URL(this.#options.url);
    for (const [name, value] of Object.entries(search)) url.searchParams.set(name, value);
    return fetch(url, {
      ...{ method: "POST", body, signal, redirect: "manual" },
      // Passwords are of any characters, headers are not.
      headers: {
        "x-clickhouse-user": asHeader(user),
        ...password === "" ? {} : { "x-clickhouse-key": asHeader(password) },
        "user-agent": userAgent,
      },
      ...httpClient ? { client: httpClient } : {},
    });
  }

  async #refusal(response: Response, { secrets }: QueryOptions): Promise<IbsrError> {
    const text = await readText(response), { password } = this.#options;
    const hidden = { secrets: { ...secrets, password } };
    if (parseFailure(text)) return engineError(`run a statement on ${this.name}`, text, hidden);
    const isDenied = response.status === 401 || response.status === 403;
    const location = response.headers.has("location") ? "a redirect" : "no answer of ClickHouse's";
    return new IbsrError(
      isDenied ? "permission" : "network",
      `Cannot use ${this.name}: ${response.status}, ${location}`,
      {
        hint: "--engine names the server's HTTP interface: http://HOST:8123, https://HOST:8443",
      },
    );
  }

  /** A result's bytes. Its end is held back until it is known to be one. */
  async *#read(response: Response, options: QueryOptions): AsyncGenerator<Bytes> {
    let held: Bytes = new Uint8Array();
    try {
      for await (const chunk of response.body ?? []) {
        const bytes = join(held, chunk);
        const give = Math.max(0, bytes.length - TAIL_BYTES);
        if (give > 0) yield bytes.slice(0, give);
        held = bytes.slice(give);
      }
    } catch (cause) {
      throw lateFailure(held, this.name, options) ??
        new IbsrError("network", `Cannot read from ${this.name}: ${describe(cause)}`, { cause });
    }
    const failure = lateFailure(held, this.name, options);
    if (failure) throw failure;
    if (held.length > 0) yield held;
  }

  /** Ends a statement, if it is there. Its id is of our making, so it may stand in the text, for servers of any age. */
  async #kill(id: string): Promise<void> {
    const form = new FormData();
    form.append("query", `KILL QUERY WHERE query_id LIKE '${id}%' ASYNC`);
    try {
      const response = await this.#post(form, {}, AbortSignal.timeout(5000));
      await response.body?.cancel();
      log("debug", `${this.name} was told to end statement ${id}: ${response.status}`);
    } catch (cause) {
      log("debug", `${this.name} could not be told to end statement ${id}: ${describe(cause)}`);
    }
  }

  #tellProgress(id: string, progress: NonNullable<QueryOptions["progress"]>): { stop(): void } {
    const sql = `SELECT read_rows, read_bytes FROM system.processes WHERE query_id LIKE '${id}%'`;
    const stopped = new AbortController();
    let isBusy = false;
    const timer = setInterval(async () => {
      if (isBusy) return;
      isBusy = true;
      try {
        const form = new FormData();
        form.append("query", sql);
        const response = await this.#post(form, {}, stopped.signal);
        const row = response.ok ? /^(\d+)\t(\d+)$/m.exec(await readText(response)) : undefined;
        if (row) progress(Number(row[1]), Number(row[2]));
        else await response.body?.cancel();
      } catch {
        // Told next time, or not at all: it is only of interest.
      }
      isBusy = false;
    }, 500);
    return {
      stop() {
        clearInterval(timer);
        stopped.abort();
      },
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** Bytes of UTF-8 as a header's value, which is of bytes. */
function asHeader(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** An error at the end of what began as a result: in a line of its own, or marked as one. */
function lateFailure(tail: Bytes, name: string, options: Pick<QueryOptions, "secrets">): IbsrError | undefined {
  const text = new TextDecoder().decode(tail);
  const match = /(?:^|\n)(?:__exception__\r?\n[^\n]*\n)?(Code: \d+[.,] [^\n]*DB::Exception[\s\S]*)$/.exec(text);
  return match ? engineError(`read from ${name}`, match[1]!, options) : undefined;
}

function join(a: Bytes, b: Uint8Array): Bytes {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

/** A body that should be short. */
async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > TAIL_BYTES) break;
  }
  return text;
}

/** Why a request failed: the innermost cause, in which there is no address. */
function describe(error: unknown): string {
  if (error instanceof DOMException && error.name === "TimeoutError") return "no answer in time";
  let cause = error;
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause;
  return reason(cause).replace(/^error sending request .*?: (?=client error|\w+ error)/, "");
}
