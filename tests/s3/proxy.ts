/**
 * A proxy between an exporter and its server that does what networks do: refuses, resets, stalls, lies.
 *
 * One request a connection. Each is read whole (or as far as its fault lets it), its kind is told to `judge`, and the
 * fault that this returns happens to it.
 */

/** What a request asks for. */
export type RequestKind = "put" | "create" | "part" | "complete" | "abort" | "list" | "other";

/** What happens to a request; undefined: nothing. */
export type Fault =
  | { do: "reset-request"; at: number } // the connection ends after so many bytes of it
  | { do: "lose-answer" } // carried out, and nobody hears of it
  | { do: "reset-answer"; at: number }
  | { do: "stall" } // carried out, and nothing comes back for as long as the client waits
  | { do: "status"; status: number; body?: string; headers?: string }
  | { do: "wrong-etag" }
  | { do: "slow"; ms: number }
  | undefined;

/** A running proxy. */
export class FaultyProxy implements AsyncDisposable {
  readonly endpoint: string;
  /** Requests of each kind so far. */
  readonly seen: Record<string, number> = {};
  /** Heads of all requests so far. */
  readonly heads: string[] = [];
  /** Asked about each request before it is passed on: kind, number of its kind from 1. */
  judge: (kind: RequestKind, number: number) => Fault | Promise<Fault> = () => undefined;
  /** Told when the server has answered, before the client hears of it. */
  answered: (kind: RequestKind, number: number) => void | Promise<void> = () => {};
  readonly #listener: Deno.TcpListener;
  readonly #open = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(readonly server: { hostname: string; port: number }) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.endpoint = `http://127.0.0.1:${this.#listener.addr.port}`;
    this.#accept();
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) {
      const serving = this.#serve(connection).catch(() => {}).finally(() => {
        this.#open.delete(serving);
        try {
          connection.close();
        } catch {
          // Closed by a fault.
        }
      });
      this.#open.add(serving);
    }
  }

  async #serve(client: Deno.TcpConn): Promise<void> {
    const head = await readHead(client);
    if (!head) return;
    const kind = kindOf(head.text), number = this.seen[kind] = (this.seen[kind] ?? 0) + 1;
    this.heads.push(head.text);
    const fault = await this.judge(kind, number);
    const length = Number(/^content-length: *(\d+)/im.exec(head.text)?.[1] ?? 0);
    const limit = fault?.do === "reset-request" ? Math.max(0, fault.at - head.text.length) : Infinity;
    if (fault?.do === "reset-request" && fault.at < head.text.length) return;
    const body = await readBody(client, head.rest, Math.min(length, limit));
    if (fault?.do === "reset-request") return;
    if (fault?.do === "status") {
      const { status, body: text = "", headers = "" } = fault;
      await writeAll(
        client,
        new TextEncoder().encode(
          `HTTP/1.1 ${status} Fault\r\nContent-Length: ${text.length}\r\nConnection: close\r\n${headers}\r\n${text}`,
        ),
      );
      return;
    }
    if (fault?.do === "slow") await wait(fault.ms, this.#closing.signal);
    let answer = await this.#pass(head.text, body);
    await this.answered(kind, number);
    if (fault?.do === "lose-answer") return;
    if (fault?.do === "stall") return await wait(60_000, this.#closing.signal);
    if (fault?.do === "wrong-etag") {
      answer = edit(answer, (text) => text.replace(/^(etag: *"?)[0-9a-f]{8}/im, "$100000000"));
    }
    await writeAll(client, fault?.do === "reset-answer" ? answer.subarray(0, fault.at) : answer);
  }

  /** Sends the request on, asks for the connection to be closed, and returns all that comes back. */
  async #pass(head: string, body: Uint8Array): Promise<Uint8Array> {
    using server = await Deno.connect(this.server);
    const lines = head.replace(/^connection:.*\r\n/im, "").replace(/\r\n\r\n$/, "\r\nConnection: close\r\n\r\n");
    await writeAll(server, new TextEncoder().encode(lines));
    await writeAll(server, body);
    const parts: Uint8Array[] = [], buffer = new Uint8Array(65536);
    for (let n; (n = await server.read(buffer)) !== null;) parts.push(buffer.slice(0, n));
    const answer = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (answer.set(part, at), at + part.length), 0);
    return edit(
      answer,
      (text) => text.replace(/^connection:.*\r\n/im, "").replace(/\r\n/, "\r\nConnection: close\r\n"),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#listener.close();
    await Promise.all(this.#open);
  }
}

/** Changes an answer's head. */
function edit(answer: Uint8Array, change: (head: string) => string): Uint8Array {
  const text = Array.from(answer.subarray(0, 16384), (c) => String.fromCharCode(c)).join("");
  const end = text.indexOf("\r\n\r\n") + 4;
  const head = new TextEncoder().encode(change(text.slice(0, end)));
  const edited = new Uint8Array(head.length + answer.length - end);
  edited.set(head);
  edited.set(answer.subarray(end), head.length);
  return edited;
}

function kindOf(head: string): RequestKind {
  const [method, url = ""] = head.split(" "), query = url.split("?")[1] ?? "";
  if (method === "PUT") return query.includes("uploadId=") ? "part" : "put";
  if (method === "POST") return query.includes("uploadId=") ? "complete" : "create";
  if (method === "DELETE") return "abort";
  return method === "GET" && query.startsWith("uploads") ? "list" : "other";
}

async function readHead(client: Deno.TcpConn): Promise<{ text: string; rest: Uint8Array } | undefined> {
  let bytes = new Uint8Array();
  const buffer = new Uint8Array(65536);
  for (;;) {
    const n = await client.read(buffer);
    if (n === null) return undefined;
    const more = new Uint8Array(bytes.length + n);
    more.set(bytes);
    more.set(buffer.subarray(0, n), bytes.length);
    bytes = more;
    const text = Array.from(bytes.subarray(0, 16384), (c) => String.fromCharCode(c)).join(""),
      end = text.indexOf("\r\n\r\n");
    if (end >= 0) return { text: text.slice(0, end + 4), rest: bytes.subarray(end + 4) };
  }
}

async function readBody(client: Deno.TcpConn, rest: Uint8Array, length: number): Promise<Uint8Array> {
  const body = new Uint8Array(length);
  body.set(rest.subarray(0, length));
  for (let at = Math.min(rest.length, length); at < length;) {
    const n = await client.read(body.subarray(at));
    if (n === null) throw new Error("the client ended");
    at += n;
  }
  return body;
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
