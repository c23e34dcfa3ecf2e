/**
 * Requests to an S3 server: addressed, signed, sent, and sent again where that can help.
 *
 * Everything is signed: all headers of ours, and the body by its SHA-256. Bodies are bytes, because a stream would go
 * out without its length, which AWS refuses. Sent again with full jitter: after network errors, timeouts, 5xx, 429,
 * SlowDown and the like, not before `Retry-After`. Put right once each: the clock (from the server's Date), the region
 * (from what the server says; a redirect is never followed as such), keys that have expired.
 *
 * What an answer means is for the caller: `send()` throws only where no answer could be had.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 */
import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { IbsrError, reason } from "../errors.ts";
import { isRegion } from "./region.ts";
import { log, printable } from "../log.ts";
import { sleep } from "../sleep.ts";
import { formatDuration, formatNumberOf } from "../words.ts";
import type { Chain } from "./credentials.ts";
import type { Credentials } from "./endpoints.ts";
import { textOf } from "./xml.ts";
import { readText } from "./body.ts";

/** Bytes that may be sent. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Where a bucket is. */
export interface Place {
  bucket: string;
  region: string;
  /** A server other than AWS: its URL, with `{bucket}` in it where the bucket is part of the host name. */
  endpoint: string | undefined;
  /** The bucket in the path on AWS too. Other servers' is there unless their URL says otherwise. */
  pathStyle: boolean;
}

/** How requests are sent. */
export interface ClientOptions {
  place: Place;
  chain: Pick<Chain, "credentials">;
  /** For one attempt, a body's time at `SLOWEST` bytes a second not counted. */
  timeoutMs: number;
  /** Attempts after the first. */
  maxRetries: number;
  httpClient?: Deno.HttpClient | undefined;
  /** Most bytes of bodies a second. */
  bytesPerSecond?: number | undefined;
  /** Whether it is of a command that reads a bucket: its hints name that command's options. */
  isReader?: boolean | undefined;
  userAgent: string;
  signal: AbortSignal;
}

/** One request. */
export interface Request {
  method: "GET" | "PUT" | "POST" | "DELETE";
  /** Object key; left out for the bucket itself. */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: Bytes;
  /** The body's SHA-256 in hexadecimal, if it is known already. */
  sha256?: string;
  /** Leave the body of a 2xx answer to be read from `body`. */
  stream?: boolean;
}

/** The answer to a request, whatever its status. */
export interface Answer {
  status: number;
  headers: Headers;
  /** The body, up to `LONGEST_TEXT`; empty if it is left to be read. */
  text: string;
  body: AsyncIterable<Bytes> | undefined;
  /** Whether an earlier attempt may have been carried out: the server was asked, and no answer says that it was not. */
  unsure: boolean;
}

/** A refusal, as the cause of an error. */
export interface Refusal {
  status: number;
  /** S3's error code, such as `AccessDenied`; empty if it gave none. */
  code: string;
}

/** The rest of a body's time: 128 KiB a second. */
const SLOWEST = 128 * 1024;
/** Of no answer: after that the log says what is waited for. */
const QUIET_MS = 5000;
const LONGEST_TEXT = 16 << 20;
const FIRST_DELAY_MS = 100, LONGEST_DELAY_MS = 20_000, LONGEST_WAIT_MS = 5 * 60_000;
const PASSING = [
  "SlowDown",
  "RequestTimeout",
  "InternalError",
  "ServiceUnavailable",
  "Throttling",
  "ThrottlingException",
];
/** Two writers at once; the loser is told to come again. */
const CONFLICTS = ["ConditionalRequestConflict", "OperationAborted"];
const EXPIRED = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
const SKEWED = ["RequestTimeTooSkewed", "RequestExpired"];

/** A client for one bucket. */
export interface Client {
  readonly place: Place;
  /**
   * Sends a request until there is an answer that another attempt would not change.
   *
   * @throws {IbsrError} `network`, if there is none after all attempts; `permission`, if there is nothing to sign with.
   * The abort reason, at the client's signal.
   */
  send(request: Request): Promise<Answer>;
  /** A URL with which anyone can GET the object for so long. */
  presign(key: string, validSec: number): Promise<{ url: string; expiresAt: number }>;
}

/** Makes a client. Nothing is sent yet. */
export function openClient(options: ClientOptions): Client {
  return new HttpClient(options);
}

class HttpClient implements Client {
  place: Place;
  readonly #options: ClientOptions;
  /** Server's clock less ours. */
  #skewMs = 0;
  readonly #throttle: (bytes: number) => Promise<void>;
  /** Whether the log has said that the server gives no answer: once, until it gives one. */
  #isWaiting = false;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.place = options.place;
    this.#throttle = makeThrottle(options.bytesPerSecond, options.signal);
  }

  async send(request: Request): Promise<Answer> {
    const { signal, maxRetries } = this.#options;
    const sha256 = request.sha256 ?? hashOf(request.body ?? new Uint8Array());
    const mended = { clock: false, region: false, keys: false };
    let unsure = false;
    for (let retries = 0;; retries++) {
      let answer: Answer | undefined, failure: unknown, waitMs = 0;
      const { chain } = this.#options, { region } = this.place;
      const credentials = await chain.credentials();
      if (request.body) await this.#throttle(request.body.length);
      try {
        answer = await this.#attempt(request, { sha256, credentials });
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
      }
      if (answer) {
        const code = errorCode(answer);
        if (this.#mend(answer, { code, signedFor: region, mended })) {
          retries--; // it is another request
          continue;
        }
        if (EXPIRED.includes(code) && !mended.keys) {
          mended.keys = true;
          retries--;
          await chain.credentials({ fresh: true });
          continue;
        }
        const { status } = answer;
        const again = [500, 502, 503, 504, 408, 429].includes(status) || PASSING.includes(code) ||
          CONFLICTS.includes(code);
        this.#isWaiting &&= again;
        if (!again || retries >= maxRetries) return { ...answer, unsure };
        // A conflict and "slow down" are answers: nothing was done.
        unsure ||= status >= 500 && code !== "SlowDown" && code !== "ServiceUnavailable";
        waitMs = retryAfterMs(answer.headers.get("retry-after"));
      } else {
        if (retries >= maxRetries) throw this.#unreachable(failure, retries);
        unsure = true;
      }
      const what = answer ? `${answer.status} ${errorCode(answer)}`.trim() : describeFailure(failure);
      const delayMs = Math.max(waitMs, Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** retries));
      if (!this.#isWaiting) {
        this.#sayWaiting(what, { isAnswered: answer !== undefined, delayMs, more: maxRetries - retries });
      }
      log("debug", `${request.method} ${request.key ?? ""}: ${what}; again in ${delayMs.toFixed(0)} ms`);
      await sleep(delayMs, signal);
    }
  }

  async presign(key: string, validSec: number): Promise<{ url: string; expiresAt: number }> {
    const credentials = await this.#options.chain.credentials();
    const now = Date.now() + this.#skewMs;
    const url = new URL(urlOf(this.place, key));
    url.searchParams.set("X-Amz-Expires", String(validSec));
    const signed = await new AwsV4Signer({
      ...{ method: "GET", url: url.href, signQuery: true, service: "s3", region: this.place.region },
      ...keysOf(credentials),
      datetime: formatTime(now),
    }).sign();
    return { url: signed.url.href, expiresAt: Math.min(now + validSec * 1000, credentials.expiresAt ?? Infinity) };
  }

  /** One attempt. Throws whatever fetch() does. */
  async #attempt(
    request: Request,
    { sha256, credentials }: { sha256: string; credentials: Credentials },
  ): Promise<Answer> {
    const { method, key, query = {}, body } = request, { timeoutMs, signal, httpClient, userAgent } = this.#options;
    const url = new URL(urlOf(this.place, key));
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const signed = await new AwsV4Signer({
      ...{ method, url: url.href, service: "s3", region: this.place.region, allHeaders: true },
      headers: { "accept-encoding": "identity", ...request.headers, "x-amz-content-sha256": sha256 },
      ...body ? { body } : {},
      ...keysOf(credentials),
      datetime: formatTime(Date.now() + this.#skewMs),
    }).sign();
    const headers = new Headers(signed.headers);
    headers.set("user-agent", userAgent); // unsigned: a proxy may change it
    const limit = startLimit(timeoutMs + (body?.length ?? 0) / SLOWEST * 1000);
    // A body takes its time. Without one an answer that is to come has come by then.
    const quiet = body || this.#isWaiting ? undefined : setTimeout(() => {
      log("warning", `${url.host}: no answer yet; waiting for up to ${formatDuration(timeoutMs / 1000)}`, {
        hint: this.#suspectAws(),
      });
    }, QUIET_MS);
    try {
      const response = await fetch(signed.url, {
        ...{ method, headers, redirect: "manual", signal: AbortSignal.any([signal, limit.signal]) },
        ...body ? { body } : {},
        ...httpClient ? { client: httpClient } : {},
      });
      const answer = { status: response.status, headers: response.headers, unsure: false };
      if (!request.stream || !response.ok) {
        return { ...answer, text: hide(await readText(response.body, LONGEST_TEXT), credentials), body: undefined };
      }
      limit.stop();
      return { ...answer, text: "", body: response.body ? readSteadily(response.body, timeoutMs) : undefined };
    } finally {
      clearTimeout(quiet);
      limit.stop();
    }
  }

  /** Puts right what the answer says is wrong with the request, each thing once; returns whether it did. */
  #mend(
    { status, headers, text }: Answer,
    { code, signedFor, mended }: { code: string; signedFor: string; mended: { clock: boolean; region: boolean } },
  ): boolean {
    if (SKEWED.includes(code) && !mended.clock) {
      const theirs = Date.parse(headers.get("date") ?? "");
      if (Number.isNaN(theirs)) return false;
      mended.clock = true;
      this.#skewMs = theirs - Date.now();
      log("warning", `this host's clock is ${describeSkew(this.#skewMs)}: signing by the server's`);
      return true;
    }
    const isElsewhere = status === 301 || status === 307 || code === "AuthorizationHeaderMalformed" ||
      code === "IllegalLocationConstraintException";
    if (!isElsewhere || mended.region) return false;
    const region = headers.get("x-amz-bucket-region") ?? textOf(text, "Region") ?? "";
    if (!isRegion(region) || region === signedFor) return false;
    mended.region = true;
    if (region === this.place.region) return true; // another request has put it right meanwhile
    log("info", `the bucket is in region ${region}, not ${this.place.region}: signing for that one`);
    this.place = { ...this.place, region };
    return true;
  }

  /** Says what is being waited for: all attempts together can take minutes. */
  #sayWaiting(
    what: string,
    { isAnswered, delayMs, more }: { isAnswered: boolean; delayMs: number; more: number },
  ): void {
    this.#isWaiting = true;
    const { host } = new URL(urlOf(this.place));
    const next = delayMs < 1000 ? "at once" : `in ${Math.ceil(delayMs / 1000)} s`;
    log(
      isAnswered ? "info" : "warning",
      `${host}: ${what}; trying again ${next}, and up to ${formatNumberOf(more, "time")} in all`,
      {
        hint: isAnswered ? undefined : this.#suspectAws(),
      },
    );
  }

  #unreachable(failure: unknown, retries: number): IbsrError {
    const { host } = new URL(urlOf(this.place)), { isReader } = this.#options;
    const again = retries === 0 ? "" : ` (${retries + 1} attempts)`;
    const who = isReader
      ? "--s3-endpoint, proxies (HTTPS_PROXY) and certificates (AWS_CA_BUNDLE) decide where requests go"
      : "--endpoint, proxies (HTTPS_PROXY) and certificates (--ca-file) decide where requests go; --timeout-sec how long " +
        "an answer may take";
    return new IbsrError("network", `Cannot reach ${host}: ${describeFailure(failure)}${again}`, {
      hint: this.#suspectAws() ?? who,
      cause: failure,
    });
  }

  /** Who forgets to name a server asks AWS. */
  #suspectAws(): string | undefined {
    if (this.place.endpoint !== undefined) return undefined;
    const name = this.#options.isReader ? "--s3-endpoint" : "--endpoint";
    return `no ${name} was given, so this is AWS: name the server if the bucket is elsewhere; proxies (HTTPS_PROXY) ` +
      "are obeyed";
  }
}

/**
 * The URL of an object, or of the bucket. Each segment of the key is percent-encoded: a raw `+` or `\` would be signed
 * as something else.
 */
export function urlOf({ bucket, region, endpoint, pathStyle }: Place, key?: string): string {
  const path = key === undefined ? "" : key.split("/").map(encodeURIComponent).join("/");
  if (endpoint !== undefined) {
    const base = endpoint.replace(/\/+$/, "");
    return base.includes("{bucket}") ? `${base.replace("{bucket}", bucket)}/${path}` : `${base}/${bucket}/${path}`;
  }
  const host = `s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  // A dot in the bucket's name is none of the certificate's.
  const isHostName = /^[a-z0-9][a-z0-9-]+$/.test(bucket) && !pathStyle;
  return isHostName ? `https://${bucket}.${host}/${path}` : `https://${host}/${bucket}/${path}`;
}

/** The SHA-256 in hexadecimal. */
export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** S3's code in an answer that is an error; empty if it has none. */
export function errorCode({ status, text }: Pick<Answer, "status" | "text">): string {
  if (status < 300 && !/^\s*(<\?xml[^>]*>)?\s*<Error>/.test(text)) return "";
  const code = textOf(text, "Code") ?? "";
  return /^\w{1,80}$/.test(code) ? code : "";
}

const HINTS: Record<string, string> = {
  AccessDenied: "the keys need s3:PutObject on the prefix; `ibsr export s3 --print-policy` shows the policy",
  InvalidAccessKeyId: "the server doesn't know this access key: is it of another server or account?",
  SignatureDoesNotMatch: "the secret key is another one's, or a proxy changes requests",
  NoSuchBucket: "make the bucket, or look at --bucket, --region and --endpoint",
  RequestTimeTooSkewed: "`timedatectl` shows this host's clock",
  QuotaExceeded: "the bucket or its owner has no room left",
  KMS: "--kms-key-id names the key; the role needs kms:GenerateDataKey on it",
};

/** What differs for commands that read. */
const READER_HINTS: Record<string, string> = {
  ...HINTS,
  AccessDenied: "the keys need s3:ListBucket on the bucket and s3:GetObject on the prefix",
  NoSuchBucket: "look at the bucket's name, --s3-region and --s3-endpoint",
};

/**
 * The error of an answer that is none of the expected ones.
 *
 * @param action What can't be done: `upload a.jsonl`.
 * @param isReader As of the client.
 */
export function refusal(answer: Answer, action: string, { isReader = false } = {}): IbsrError {
  const { status, text, headers } = answer, code = errorCode(answer);
  // Nothing else of the answer: it may repeat what was signed.
  const message = /^Signature|^InvalidAccessKey/.test(code) ? "" : (textOf(text, "Message") ?? "").slice(0, 200);
  const location = status >= 300 && status < 400 ? headers.get("location") : null;
  const state = [status, code, message && `(${printable(message)})`, location && `to ${printable(location)}`];
  const hints = isReader ? READER_HINTS : HINTS, option = isReader ? "--s3-" : "--";
  const elsewhere = location ? `${option}endpoint or ${option}region names the right server` : undefined;
  const hint = hints[code.startsWith("KMS.") ? "KMS" : code] ?? (status === 403 ? hints.AccessDenied : elsewhere);
  const cause: Refusal = { status, code };
  const denied = status === 401 || status === 403;
  return new IbsrError(denied ? "permission" : "network", `Cannot ${action}: ${state.filter(Boolean).join(" ")}`, {
    hint,
    cause,
  });
}

/** The refusal that an error comes from; undefined if it comes from something else. */
export function refusalOf(error: unknown): Refusal | undefined {
  const cause = error instanceof IbsrError ? error.cause : undefined;
  return typeof cause === "object" && cause !== null && "status" in cause && "code" in cause
    ? cause as Refusal
    : undefined;
}

/** A time limit that can be ended. */
function startLimit(ms: number): { signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException("no answer in time", "TimeoutError")), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

/** A body whose every chunk must come in time. */
async function* readSteadily(body: ReadableStream<Bytes>, timeoutMs: number): AsyncGenerator<Bytes> {
  const reader = body.getReader();
  try {
    for (;;) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => {
        late.reject(new IbsrError("network", `Cannot go on reading: nothing came for ${timeoutMs / 1000} s`));
      }, timeoutMs);
      try {
        const { done, value } = await Promise.race([reader.read(), late.promise]);
        if (done) return;
        yield value;
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** An answer without what it repeats of secrets: parts of it become messages. */
function hide(text: string, { secretAccessKey, sessionToken }: Credentials): string {
  return [secretAccessKey, sessionToken].reduce<string>(
    (rest, secret) => secret ? rest.replaceAll(secret, "***") : rest,
    text,
  );
}

function keysOf({ accessKeyId, secretAccessKey, sessionToken }: Credentials) {
  return { accessKeyId, secretAccessKey, ...sessionToken === undefined ? {} : { sessionToken } };
}

/** As a signature has it: 20261121T090000Z. */
function formatTime(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[:-]|\.\d{3}/g, "");
}

function describeSkew(ms: number): string {
  const minutes = Math.abs(ms) / 60_000;
  return `${minutes.toFixed(minutes < 10 ? 1 : 0)} min ${ms > 0 ? "behind" : "ahead of"} the server's`;
}

/** The innermost reason of what fetch() throws, without the URL. */
function describeFailure(failure: unknown): string {
  if (failure instanceof DOMException && failure.name === "TimeoutError") return "no answer in time";
  const inner = failure instanceof Error && failure.cause instanceof Error ? failure.cause : failure;
  return reason(inner).replace(/^error sending request .*?: (?=client error|\w+ error)/, "");
}

/** Milliseconds that `Retry-After` asks for: seconds or a date. */
function retryAfterMs(value: string | null): number {
  if (!value) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), LONGEST_WAIT_MS);
}

/**
 * A token bucket over whole bodies: one may go when those before it have had their time. What goes is at most a body
 * ahead of the rate.
 */
function makeThrottle(bytesPerSecond: number | undefined, signal: AbortSignal): (bytes: number) => Promise<void> {
  if (bytesPerSecond === undefined) return () => Promise.resolve();
  let free = performance.now();
  return async (bytes) => {
    const now = performance.now(), at = Math.max(now, free);
    free = at + bytes / bytesPerSecond * 1000;
    await sleep(at - now, signal);
  };
}
