/**
 * Real S3 servers for tests (scripts/s3-server), an independent client to look at what they store, and `ibsr export s3`.
 */
import assert from "node:assert/strict";
import { type Finished, ibsrCommand } from "../kernel/lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const STARTER = `${ROOT}scripts/s3-server`;

/** Who asks a server. */
export interface Keys {
  accessKey: string;
  secretKey: string;
}

/** A running server; disposing of it ends it and deletes what it stored. */
export class S3Server implements AsyncDisposable, Keys {
  #process: Deno.ChildProcess;
  #client: ReturnType<typeof startClient> | undefined;

  private constructor(
    readonly kind: "radosgw" | "swift",
    readonly folder: string,
    readonly endpoint: string,
    readonly accessKey: string,
    readonly secretKey: string,
    process: Deno.ChildProcess,
    readonly by: readonly string[],
  ) {
    this.#process = process;
  }

  /**
   * Starts one on free ports. `env` as scripts/s3-server says; `by` is a command that starts the server and the client,
   * such as one that enters another network namespace.
   */
  static async start(
    kind: "radosgw" | "swift",
    env: Record<string, string> = {},
    by: readonly string[] = [],
  ): Promise<S3Server> {
    for (let tries = 1;; tries++) {
      const folder = await Deno.makeTempDir({ prefix: "ibsr-s3-" }), port = freePorts();
      const [command, ...args] = [...by, STARTER, kind, folder, String(port)];
      const process = new Deno.Command(command!, {
        args,
        env,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const line = await firstLine(process.stdout);
      const [endpoint, accessKey, secretKey] = line.split(" ");
      if (endpoint && accessKey && secretKey) {
        process.stderr.cancel();
        return new S3Server(kind, folder, endpoint, accessKey, secretKey, process, by);
      }
      const said = await new Response(process.stderr).text();
      await process.stdin.close().catch(() => {});
      await process.status;
      await Deno.remove(folder, { recursive: true });
      if (tries === 3) throw new Error(`Cannot start ${kind}: ${said}`); // somebody took the ports
    }
  }

  get host(): string {
    return new URL(this.endpoint).host;
  }

  /** Asks boto3; `keys` are the owner's unless others are given. What S3 refuses is `{ error, status }`. */
  // deno-lint-ignore no-explicit-any -- the shape is the method's
  call(method: string, args: Record<string, unknown>, keys: Keys = this): Promise<any> {
    return this.#ask({ call: method, with: args, keys: [keys.accessKey, keys.secretKey] });
  }

  async makeBucket(name: string): Promise<string> {
    assert.equal((await this.call("create_bucket", { Bucket: name })).error, undefined);
    return name;
  }

  /** The bytes of every object by key. */
  async download(bucket: string): Promise<Map<string, Uint8Array>> {
    const into = await Deno.makeTempDir();
    const { objects } = await this.#ask({ download: bucket, into, keys: [this.accessKey, this.secretKey] });
    const found = new Map<string, Uint8Array>();
    for (const [key, path] of Object.entries(objects as Record<string, string>)) {
      found.set(key, await Deno.readFile(path));
    }
    await Deno.remove(into, { recursive: true });
    return found;
  }

  /** Keys of unfinished multipart uploads. */
  async listUnfinished(bucket: string): Promise<string[]> {
    const { Uploads = [] } = await this.call("list_multipart_uploads", { Bucket: bucket });
    return Uploads.map(({ Key }: { Key: string }) => Key);
  }

  /** One line to the client, one back; in turn. */
  // deno-lint-ignore no-explicit-any -- as of call()
  #ask(question: unknown): Promise<any> {
    const client = this.#client ??= startClient(this.endpoint, this.by);
    const answer = client.last.then(async () => {
      await client.writer.write(new TextEncoder().encode(JSON.stringify(question) + "\n"));
      const { value } = await client.lines.next();
      return JSON.parse(value ?? '{"error":"the client ended"}');
    });
    client.last = answer.catch(() => {});
    return answer;
  }

  /** Makes another user (radosgw only). */
  async makeUser(name: string): Promise<Keys> {
    const [accessKey, secretKey] = [`AK${name.toUpperCase()}00000000`, `${name}/secret+key/of/its/own0000000000000`];
    await runText("radosgw-admin", [
      ...["-c", `${this.folder}/ceph.conf`, "user", "create", `--uid=${name}`, `--display-name=${name}`],
      ...[`--access-key=${accessKey}`, `--secret-key=${secretKey}`],
    ], {});
    return { accessKey, secretKey };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#client) {
      await this.#client.writer.close();
      await this.#client.lines.next();
      await this.#client.process.status;
    }
    await this.#process.stdin.close();
    await this.#process.status;
    await this.#process.stdout.cancel().catch(() => {});
    await Deno.remove(this.folder, { recursive: true });
  }
}

function startClient(endpoint: string, by: readonly string[]) {
  const [command, ...args] = [...by, "/usr/bin/python3", `${ROOT}tests/s3/client.py`, endpoint];
  const process = new Deno.Command(command!, {
    args,
    env: { AWS_CONFIG_FILE: "/dev/null", AWS_SHARED_CREDENTIALS_FILE: "/dev/null" },
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const lines = readLines(process.stdout);
  return { process, writer: process.stdin.getWriter(), lines, last: Promise.resolve() as Promise<unknown> };
}

/** Lines of text, as they come. */
async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** The environment that gives a client its keys, and keeps it from looking elsewhere. */
export function environmentOf({ accessKey, secretKey }: Keys): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: accessKey,
    AWS_SECRET_ACCESS_KEY: secretKey,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_PAGER: "",
  };
}

/** The first of some fifty ports in a row of which those that are listened on for sure are free. */
function freePorts(): number {
  for (;;) {
    const port = 20_000 + 60 * Math.floor(Math.random() * 200);
    try {
      for (const offset of [0, 1, 2, 3]) Deno.listen({ hostname: "127.0.0.1", port: port + offset }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader(), decoder = new TextDecoder();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  reader.releaseLock();
  return text.split("\n")[0]!;
}

async function runText(command: string, args: string[], env: Record<string, string>): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, env, stdin: "null" }).output();
  const decoder = new TextDecoder();
  assert.ok(success, `${command} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** How an export is started. */
export interface ExportStart {
  keys?: Keys;
  env?: Record<string, string>;
}

/** `ibsr export s3`, started; its environment has nothing but what is given. */
export function startExport(args: string[], { keys, env = {} }: ExportStart = {}): Deno.ChildProcess {
  const [command, line] = ibsrCommand(["export", "s3", ...args]);
  const nobody = {
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  const home = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
  return new Deno.Command(command, {
    args: line,
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", DENO_DIR: home, NO_COLOR: "1", ...keys ? environmentOf(keys) : nobody, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Ends a process at the end of a test, if it is still there. */
export function killing(process: Deno.ChildProcess): Disposable {
  let isOver = false;
  process.status.then(() => isOver = true);
  return { [Symbol.dispose]: () => isOver || process.kill("SIGKILL") };
}

/** `ibsr export s3` to its end. */
export async function runExport(args: string[], options: ExportStart = {}): Promise<Finished> {
  const { code, stdout, stderr } = await startExport(args, options).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A folder with files in it, by path; removed at the end. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(files: Record<string, string | Uint8Array> = {}): Promise<Folder> {
    const folder = new Folder(await Deno.makeTempDir({ prefix: "ibsr-export-test-" }));
    for (const [path, content] of Object.entries(files)) await folder.write(path, content);
    return folder;
  }

  async write(path: string, content: string | Uint8Array): Promise<void> {
    const whole = `${this.path}/${path}`;
    await Deno.mkdir(whole.slice(0, whole.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(whole, content);
    else await Deno.writeFile(whole, content);
  }

  /** The events in the ledger. */
  // deno-lint-ignore no-explicit-any -- of many shapes
  async ledger(): Promise<any[]> {
    const text = await Deno.readTextFile(`${this.path}/export.jsonl`);
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The options that say what is uploaded and where to. */
export function fromTo(folder: Folder, { bucket, endpoint }: { bucket: string; endpoint: string }): string[] {
  return ["--input", folder.path, "--bucket", bucket, "--endpoint", endpoint];
}

/** Bytes that look random and are the same for the same seed. */
export function bytesOf(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let x = seed * 2654435761 >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return new Uint8Array(words.buffer).subarray(0, length);
}

/** The name of the n-th sealed segment. */
export function segmentName(n: number): string {
  const hour = new Date(Date.UTC(2026, 10, 1) + n * 3_600_000).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
  return `snapshot_${hour}.jsonl`;
}

/** A segment's text, some of it its own. */
export function segmentText(n: number, lines = 3): string {
  return Array.from({ length: lines }, (_, i) => `{"version":8,"segment":${n},"line":${i}}\n`).join("");
}
