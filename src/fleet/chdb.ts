/**
 * ClickHouse in this process: libchdb by FFI.
 *
 * The library is half a gigabyte and no part of the executable: it is looked up when an engine is opened, as libbpf is.
 * It runs in threads of its own and is only called off the main thread, so timers and signals go on; it installs no
 * signal handlers. What it writes lies in a folder of the engine's own, which is removed with it.
 *
 * A process has one such engine at a time; several statements run on connections of their own. A statement is ended
 * from another connection, since one that is being waited for can't be told anything.
 */
import { IbsrError, reason } from "../errors.ts";
import { loadForever, pinned } from "../libc.ts";
import {
  collectRows,
  encodeParameters,
  engineError,
  memorySettings,
  type QueryEngine,
  type QueryOptions,
  SETTINGS,
} from "./engine.ts";

type Bytes = Uint8Array<ArrayBuffer>;

// @see https://github.com/chdb-io/chdb-core: programs/local/chdb.h
const CHDB = {
  chdb_version: { parameters: [], result: "pointer" }, // const char *(void)
  chdb_set_signal_handlers_enabled: { parameters: ["i32"], result: "void" }, // void (int)
  chdb_connect: { parameters: ["i32", "buffer"], result: "pointer", nonblocking: true }, // chdb_connection *(int, char **)
  chdb_close_conn: { parameters: ["pointer"], result: "void", nonblocking: true }, // void (chdb_connection *)
  // chdb_result *(chdb_connection, const char *query, size_t, const char *format, size_t,
  //               const char *const *names, const size_t *, const char *const *values, const size_t *, size_t count)
  chdb_query_with_params_n: {
    parameters: ["pointer", "buffer", "usize", "buffer", "usize", "buffer", "buffer", "buffer", "buffer", "usize"],
    result: "pointer",
    nonblocking: true,
  },
  chdb_stream_query_with_params_n: {
    parameters: ["pointer", "buffer", "usize", "buffer", "usize", "buffer", "buffer", "buffer", "buffer", "usize"],
    result: "pointer",
    nonblocking: true,
  },
  // chdb_result *(chdb_connection, chdb_result *)
  chdb_stream_fetch_result: { parameters: ["pointer", "pointer"], result: "pointer", nonblocking: true },
  // void (chdb_connection, chdb_result *)
  chdb_stream_cancel_query: { parameters: ["pointer", "pointer"], result: "void", nonblocking: true },
  chdb_destroy_query_result: { parameters: ["pointer"], result: "void", nonblocking: true }, // void (chdb_result *)
  chdb_result_error: { parameters: ["pointer"], result: "pointer" }, // const char *(chdb_result *)
  chdb_result_buffer: { parameters: ["pointer"], result: "pointer" }, // char *(chdb_result *)
  chdb_result_length: { parameters: ["pointer"], result: "usize" }, // size_t (chdb_result *)
} as const satisfies Deno.ForeignLibraryInterface;

type Library = Deno.DynamicLibrary<typeof CHDB>["symbols"];

// ------------------------------------------------------------------------------------------------- the library

/** npm's package of the library that this was made and tested with. */
const PACKAGE = `@chdb/lib-linux-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}-gnu`;
const PACKAGE_VERSION = "26.7.3-stable.1";

/** How to install it, in one line. */
const INSTALL = `npm install --global ${PACKAGE}@${PACKAGE_VERSION}`;

/** Where it is looked for, in this order. `named` is `--chdb`. */
export function listLibraryPaths(named: string | undefined, environment: Record<string, string>): string[] {
  const chosen = named ?? environment.IBSR_CHDB;
  if (chosen) return [chosen];
  const homes = environment.HOME ? [`${environment.HOME}/.local/lib`] : [];
  return ["/usr/local/lib", "/usr/lib", ...homes].flatMap((folder) => [
    `${folder}/node_modules/${PACKAGE}/libchdb.so`,
    `${folder}/libchdb.so`,
  ]);
}

/** Loaded libraries by path: one is never unloaded. */
const loaded = new Map<string, Library>();

/** @throws {IbsrError} `usage`, if it is nowhere, or is none. */
function loadLibrary(paths: readonly string[]): Library {
  const path = paths.find(isFile);
  if (path === undefined) {
    const where = paths.length === 1 ? `there is no file "${paths[0]}"` : "libchdb.so is not installed";
    throw new IbsrError("usage", `Cannot open the embedded engine: ${where}`, {
      hint: `\`${INSTALL}\` installs it where it is looked for (${paths.join(", ")}); elsewhere, --chdb PATH names it`,
    });
  }
  const known = loaded.get(path);
  if (known) return known;
  const absolute = Deno.realPathSync(path);
  let library: Library;
  try {
    loadForever(absolute);
    library = Deno.dlopen(absolute, CHDB).symbols;
  } catch (cause) {
    throw new IbsrError("usage", `Cannot load ${path}: ${reason(cause)}`, {
      hint: `it has to be chdb ${PACKAGE_VERSION.replace(/-.*/, "")} or later, for this machine: \`${INSTALL}\``,
      cause,
    });
  }
  library.chdb_set_signal_handlers_enabled(0);
  loaded.set(path, library);
  return library;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

// -------------------------------------------------------------------------------------------------- the engine

/** What an embedded engine may use. */
export interface EmbeddedOptions {
  /** Where the library may be: `listLibraryPaths()`. */
  paths: readonly string[];
  /** Bytes, of all statements together. What needs more is spilled to disk where that can be done, else an error. */
  maxMemoryBytes: number;
  /** As many as there are processors if not said. */
  threads?: number | undefined;
  /** Where the engine's folder is made; the system's folder for temporary files if not said. */
  tempDirectory?: string | undefined;
}

/** A connection, which runs one statement at a time. */
interface Connection {
  /** To be closed with. */
  owner: Deno.PointerObject;
  handle: Deno.PointerObject;
  /** What its statements are found by. */
  label: string;
}

let isOpen = false;

/**
 * Opens the engine.
 *
 * @throws {IbsrError} `usage`, if the library is not there; `storage`, if its folder can't be made.
 */
export async function openEmbeddedEngine(options: EmbeddedOptions): Promise<EmbeddedEngine> {
  const library = loadLibrary(options.paths);
  if (isOpen) throw new Error("a process has one embedded engine at a time");
  let folder: string;
  try {
    folder = await Deno.makeTempDir({
      prefix: "ibsr-fleet-",
      ...options.tempDirectory === undefined ? {} : { dir: options.tempDirectory },
    });
  } catch (cause) {
    throw new IbsrError("storage", `Cannot make a folder for the engine: ${reason(cause)}`, { cause });
  }
  isOpen = true;
  const engine = new EmbeddedEngine(library, folder, options);
  try {
    await engine.start();
    return engine;
  } catch (error) {
    await engine[Symbol.asyncDispose]();
    throw error;
  }
}

export type { EmbeddedEngine };

class EmbeddedEngine implements QueryEngine {
  readonly name: string;
  readonly folder: string;
  readonly #library: Library;
  readonly #arguments: readonly string[];
  readonly #idle: Connection[] = [];
  readonly #connections: Connection[] = [];
  /** The connection that ends the others' statements, and asks how far they are. */
  #control: Connection | undefined;
  #controlled: Promise<unknown> = Promise.resolve();

  constructor(library: Library, folder: string, { maxMemoryBytes, threads }: EmbeddedOptions) {
    this.#library = library;
    this.folder = folder;
    const version = Deno.UnsafePointerView.getCString(library.chdb_version()!);
    this.name = `ClickHouse ${version} in this process`;
    const settings: Record<string, string> = {
      ...SETTINGS,
      ...threads === undefined ? {} : { max_threads: String(threads) },
      max_server_memory_usage: String(maxMemoryBytes),
      ...memorySettings(maxMemoryBytes),
      // A mapped file that is cut short meanwhile would end the process.
      storage_file_read_method: "pread",
      // They look at what threads do by signals, which are the process's.
      query_profiler_real_time_period_ns: "0",
      query_profiler_cpu_time_period_ns: "0",
    };
    this.#arguments = [
      "ibsr",
      `--path=${folder}/engine`,
      ...Object.entries(settings).map(([name, value]) => `--${name}=${value}`),
    ];
  }

  async start(): Promise<void> {
    this.#control = await this.#connect();
    this.#idle.push(await this.#connect());
  }

  async *query(sql: string, options: QueryOptions = {}): AsyncGenerator<Bytes> {
    options.signal?.throwIfAborted();
    const connection = this.#idle.pop() ?? await this.#connect();
    const watch = this.#watch(connection, options);
    try {
      if (/^\s*(SELECT|WITH)\b/i.test(sql)) yield* this.#stream(connection, sql, options);
      else {
        const bytes = await this.#run(connection, sql, options);
        if (bytes.length > 0) yield bytes;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      await watch.end();
      this.#idle.push(connection);
    }
  }

  rows<T>(sql: string, options?: Omit<QueryOptions, "format">): Promise<T[]> {
    return collectRows<T>(this, sql, options);
  }

  /** A statement without a result, or one that can't be streamed (SHOW). */
  async #run(connection: Connection, sql: string, options: QueryOptions): Promise<Bytes> {
    const { chdb_query_with_params_n, chdb_destroy_query_result } = this.#library;
    const call = prepareCall(sql, options);
    const result = await chdb_query_with_params_n(connection.handle, ...call.arguments);
    call.release();
    try {
      return this.#take(result, options);
    } finally {
      await chdb_destroy_query_result(result);
    }
  }

  async *#stream(connection: Connection, sql: string, options: QueryOptions): AsyncGenerator<Bytes> {
    const library = this.#library, call = prepareCall(sql, options);
    const stream = await library.chdb_stream_query_with_params_n(connection.handle, ...call.arguments);
    call.release();
    let isOver = true; // it is what begins, and fails, without anything to cancel
    try {
      this.#take(stream, options);
      isOver = false;
      for (;;) {
        isOver = true;
        const result = await library.chdb_stream_fetch_result(connection.handle, stream);
        let bytes: Bytes;
        try {
          bytes = this.#take(result, options);
        } finally {
          await library.chdb_destroy_query_result(result);
        }
        if (bytes.length === 0) return;
        isOver = false;
        yield bytes;
        options.signal?.throwIfAborted();
      }
    } finally {
      if (!isOver) await library.chdb_stream_cancel_query(connection.handle, stream);
      await library.chdb_destroy_query_result(stream);
    }
  }

  /** The bytes of a result, copied: they are the library's. @throws {IbsrError} `engineError()`. */
  #take(result: Deno.PointerValue, options: QueryOptions): Bytes {
    const { chdb_result_error, chdb_result_length, chdb_result_buffer } = this.#library;
    if (!result) throw new IbsrError("storage", "Cannot run a statement: the engine gave no result");
    const error = chdb_result_error(result);
    if (error) throw engineError("run a statement", Deno.UnsafePointerView.getCString(error), options);
    const length = Number(chdb_result_length(result)), buffer = chdb_result_buffer(result);
    const bytes = new Uint8Array(length);
    if (buffer && length > 0) Deno.UnsafePointerView.copyInto(buffer, bytes);
    return bytes;
  }

  /** Ends the connection's statement when the signal says so, and tells of its progress. */
  #watch(connection: Connection, { signal, progress }: QueryOptions): { end(): Promise<void> } {
    let timer: ReturnType<typeof setInterval> | undefined, last: Promise<void> = Promise.resolve(), isBusy = false;
    const each = (ms: number, act: () => Promise<void>) => {
      clearInterval(timer);
      timer = setInterval(() => {
        if (isBusy) return;
        isBusy = true;
        last = act().catch(() => {}).finally(() => isBusy = false);
      }, ms);
    };
    // Again and again: the statement may be about to begin.
    const kill = () =>
      each(50, async () => {
        await this.#tell("KILL QUERY WHERE Settings['log_comment'] = {label:String} ASYNC", connection.label);
      });
    if (progress) each(250, () => this.#tellProgress(connection, progress));
    signal?.addEventListener("abort", kill);
    if (signal?.aborted) kill();
    return {
      async end() {
        clearInterval(timer);
        signal?.removeEventListener("abort", kill);
        await last;
      },
    };
  }

  async #tellProgress(connection: Connection, progress: NonNullable<QueryOptions["progress"]>): Promise<void> {
    const sql = "SELECT read_rows, read_bytes FROM system.processes WHERE Settings['log_comment'] = {label:String}";
    const text = new TextDecoder().decode(await this.#tell(sql, connection.label));
    const row = /^(\d+)\t(\d+)$/m.exec(text);
    if (row) progress(Number(row[1]), Number(row[2]));
  }

  /** Something short by the control connection, in turn. */
  #tell(sql: string, label: string): Promise<Bytes> {
    const answer = this.#controlled.then(() =>
      this.#run(this.#control!, sql, { parameters: { label }, format: "TSV" })
    );
    this.#controlled = answer.catch(() => {});
    return answer;
  }

  async #connect(): Promise<Connection> {
    const label = `ibsr-${crypto.randomUUID()}`;
    const texts = [...this.#arguments, `--log_comment=${label}`].map(cText), list = pointersTo(texts);
    const owner = await this.#library.chdb_connect(texts.length, list);
    keepAlive(texts);
    if (!owner) {
      throw new IbsrError("storage", "Cannot start the embedded engine: it gave no reason", {
        hint: "is there room for temporary files? --temp-dir names another folder",
      });
    }
    const handle = new Deno.UnsafePointerView(owner).getPointer()!;
    const connection = { owner, handle, label };
    this.#connections.push(connection);
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#controlled;
    for (const { owner } of this.#connections.splice(0)) await this.#library.chdb_close_conn(owner);
    this.#idle.length = 0;
    await Deno.remove(this.folder, { recursive: true }).catch(() => {});
    isOpen = false;
  }
}

// ----------------------------------------------------------------------------------------------------- C's side

type CallArguments = [Bytes, bigint, Bytes, bigint, Bytes, Bytes, Bytes, Bytes, bigint];

/** The arguments of a call, and what keeps them where they are until it has returned. */
function prepareCall(sql: string, options: QueryOptions): { arguments: CallArguments; release(): void } {
  const encoded = encodeParameters(options);
  const names = encoded.map(([name]) => cText(name)), values = encoded.map(([, value]) => cText(value));
  const query = cText(sql), format = cText(options.format ?? "JSONEachRow");
  return {
    arguments: [
      query,
      BigInt(query.length - 1),
      format,
      BigInt(format.length - 1),
      pointersTo(names),
      lengthsOf(names),
      pointersTo(values),
      lengthsOf(values),
      BigInt(encoded.length),
    ],
    release: () => keepAlive([...names, ...values]),
  };
}

/** Text as C has it, at an address that stays. */
function cText(text: string): Bytes {
  const encoded = new TextEncoder().encode(text), bytes = pinned(encoded.length + 1);
  bytes.set(encoded);
  return bytes;
}

/** An array of pointers. What they point to must be kept alive by whoever asks. */
function pointersTo(texts: readonly Bytes[]): Bytes {
  return wordsOf(texts.map((text) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(text))));
}

/** The lengths of texts, without their terminators. */
function lengthsOf(texts: readonly Bytes[]): Bytes {
  return wordsOf(texts.map((text) => BigInt(text.length - 1)));
}

function wordsOf(words: readonly bigint[]): Bytes {
  const bytes = pinned(8 * Math.max(1, words.length)), view = new BigUint64Array(bytes.buffer);
  words.forEach((word, i) => view[i] = word);
  return bytes;
}

let kept = 0;
/** A use of buffers after a call that only had their addresses: until here V8 may not free them. */
function keepAlive(buffers: readonly Bytes[]): void {
  for (const { length } of buffers) kept = (kept + length) | 0;
}
