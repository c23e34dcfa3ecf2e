/**
 * Requests against small servers of the tests' own that answer what real ones seldom do.
 */
import assert from "node:assert/strict";
import type { Credentials } from "../../src/s3/endpoints.ts";
import { type Bytes, type Client, type ClientOptions, openClient, refusal, urlOf } from "../../src/s3/request.ts";
import { goesInClear } from "../../src/cli/bucket.ts";
import { ibsrCommand } from "../kernel/lab.ts";
import { thrown } from "../thrown.ts";
import { getObject, parseS3Url } from "../../src/s3/read.ts";

/** A server that answers from a list, and a client of it. */
function serve(answers: ((request: Request) => Response | Promise<Response>)[], options: Partial<ClientOptions> = {}) {
  const asked: { headers: Headers; at: number }[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    await request.arrayBuffer();
    asked.push({ headers: request.headers, at: performance.now() });
    return await answers[Math.min(asked.length, answers.length) - 1]!(request);
  });
  const client = openClient({
    place: { bucket: "bucket", region: "us-east-1", endpoint: `http://127.0.0.1:${server.addr.port}`, pathStyle: true },
    chain: {
      credentials: () => Promise.resolve({ accessKeyId: "AK", secretAccessKey: "SECRET", sessionToken: "TOKEN" }),
    },
    ...{ timeoutMs: 5000, maxRetries: 3, userAgent: "ibsr/test", signal: new AbortController().signal, ...options },
  });
  return { client, asked, [Symbol.asyncDispose]: () => server.shutdown() };
}

const error = (code: string, status: number, more: Record<string, string> = {}, inner = "") => () =>
  new Response(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>m TOKEN</Message>${inner}</Error>`, {
    status,
    headers: more,
  });
const ok = () => new Response("");
const put = (client: Client, body: Bytes = new Uint8Array(3)) => client.send({ method: "PUT", key: "k", body });
const regionOf = (headers: Headers) => /Credential=[^/]+\/\d+\/([^/]+)/.exec(headers.get("authorization")!)![1];

Deno.test("send() signs the body's hash, every header of ours and the session token", async () => {
  await using server = serve([ok]);
  await server.client.send({ method: "PUT", key: "k", body: new Uint8Array(3), headers: { "content-type": "text/x" } });
  const { headers } = server.asked[0]!;
  const signed = /SignedHeaders=([^,]+)/.exec(headers.get("authorization")!)![1]!.split(";");
  for (const name of ["host", "content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]) {
    assert.ok(signed.includes(name), name);
  }
  assert.equal(headers.get("x-amz-content-sha256"), "709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c");
  assert.equal(headers.get("content-length"), "3");
});

Deno.test("send() signs by the server's clock once it is told that ours is wrong", async () => {
  const theirs = new Date(Date.now() - 40 * 60_000);
  await using server = serve([error("RequestTimeTooSkewed", 403, { date: theirs.toUTCString() }), ok]);
  assert.equal((await put(server.client)).status, 200);
  const at = server.asked[1]!.headers.get("x-amz-date")!.replace(/(....)(..)(..T..)(..)(..)/, "$1-$2-$3:$4:$5");
  assert.ok(Math.abs(Date.parse(at) - theirs.getTime()) < 5000, at);
  await using stubborn = serve([error("RequestTimeTooSkewed", 403, { date: theirs.toUTCString() })]);
  assert.equal((await put(stubborn.client)).status, 403);
  assert.equal(stubborn.asked.length, 2, "once");
});

Deno.test("send() signs for another region when told to, and follows no redirect anywhere; what an answer repeats of keys is hidden", async () => {
  let strays = 0;
  await using elsewhere = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => (strays++, new Response("")),
  );
  const location = `http://127.0.0.1:${elsewhere.addr.port}/bucket/k`;
  await using moved = serve([error("PermanentRedirect", 301, { location, "x-amz-bucket-region": "eu-central-1" }), ok]);
  assert.equal((await put(moved.client)).status, 200);
  assert.deepEqual(moved.asked.map(({ headers }) => regionOf(headers)), ["us-east-1", "eu-central-1"]);
  await using malformed = serve([error("AuthorizationHeaderMalformed", 400, {}, "<Region>eu-north-1</Region>"), ok]);
  assert.equal((await put(malformed.client)).status, 200);
  assert.equal(regionOf(malformed.asked[1]!.headers), "eu-north-1");
  await using lost = serve([error("TemporaryRedirect", 307, { location, "x-amz-bucket-region": "evil.example/" })]);
  const answer = await put(lost.client);
  assert.equal(lost.asked.length, 1);
  assert.match(refusal(answer, "upload x").message, /307 TemporaryRedirect \(m \*\*\*\) to http/);
  assert.equal(strays, 0);
});

Deno.test("send() asks for new keys once when those it has were called expired", async () => {
  const given: boolean[] = [];
  const credentials = (options: { fresh?: boolean } = {}): Promise<Credentials> => {
    given.push(options.fresh ?? false);
    return Promise.resolve({ accessKeyId: `K${given.length}`, secretAccessKey: "s" });
  };
  await using server = serve([error("ExpiredToken", 400), ok], { chain: { credentials } });
  assert.equal((await put(server.client)).status, 200);
  assert.deepEqual(given, [false, true, false]);
  await using never = serve([error("ExpiredToken", 400)], { chain: { credentials } });
  assert.equal((await put(never.client)).status, 400);
  assert.equal(never.asked.length, 2);
});

Deno.test("send() tells apart what was refused from what may have been done", async () => {
  for (
    const [first, unsure] of [[error("SlowDown", 503), false], [error("InternalError", 500), true], [
      () => new Response("", { status: 429 }),
      false,
    ]] as const
  ) {
    await using server = serve([first, error("PreconditionFailed", 412)]);
    const answer = await put(server.client);
    assert.deepEqual([answer.status, answer.unsure], [412, unsure]);
  }
});

Deno.test("send() tries again as often as it may, and not at all where that can't help", async () => {
  await using failing = serve([error("InternalError", 500)], { maxRetries: 2 });
  assert.equal((await put(failing.client)).status, 500);
  assert.equal(failing.asked.length, 3);
  for (
    const [code, status] of [["AccessDenied", 403], ["NoSuchBucket", 404], ["NotImplemented", 501], [
      "InvalidRequest",
      400,
    ]] as const
  ) {
    await using server = serve([error(code, status)]);
    assert.equal((await put(server.client)).status, status);
    assert.equal(server.asked.length, 1, code);
  }
  await using slow = serve([() => new Promise((resolve) => setTimeout(() => resolve(new Response("")), 400))], {
    timeoutMs: 100,
    maxRetries: 1,
  });
  await assert.rejects(put(slow.client), /Cannot reach 127\.0\.0\.1:\d+: no answer in time \(2 attempts\)/);
  await new Promise((resolve) => setTimeout(resolve, 500));
});

Deno.test("send() keeps to the bandwidth limit, a body at a time", async () => {
  await using server = serve([ok], { bytesPerSecond: 100_000 });
  const start = performance.now();
  await Promise.all(Array.from({ length: 6 }, () => put(server.client, new Uint8Array(10_000))));
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds >= 0.49 && seconds < 1.5, `${seconds}`);
});

Deno.test("send() stops at once when told to, in a request and between two", async () => {
  const stop = new AbortController();
  await using server = serve([() => new Response("", { status: 503, headers: { "retry-after": "30" } })], {
    signal: stop.signal,
  });
  const start = performance.now();
  setTimeout(() => stop.abort(new Error("stop")), 100);
  await assert.rejects(put(server.client), /stop/);
  assert.ok(performance.now() - start < 2000);
});

Deno.test("getObject() ends with an error when the bytes do before their time", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(4096));
      await connection.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
      connection.close();
    }
  })();
  await using other = serve([ok]);
  const client = openClient({
    place: { ...other.client.place, endpoint: `http://127.0.0.1:${listener.addr.port}` },
    chain: { credentials: () => Promise.resolve({ accessKeyId: "a", secretAccessKey: "b" }) },
    ...{ timeoutMs: 2000, maxRetries: 0, userAgent: "x", signal: new AbortController().signal },
  });
  await assert.rejects(Array.fromAsync(getObject(client, "k")), /Cannot read s3:\/\/bucket\/k: |error reading a body/);
  listener.close();
  await serving;
});

Deno.test("presign() signs for so long, and says when it ends with the keys", async () => {
  const expiresAt = Date.now() + 600_000;
  await using server = serve([ok], {
    chain: { credentials: () => Promise.resolve({ accessKeyId: "AK", secretAccessKey: "s", expiresAt }) },
  });
  const signed = await server.client.presign("a b/c", 3600);
  assert.match(signed.url, /\/bucket\/a%20b\/c\?X-Amz-Expires=3600&.*X-Amz-Signature=[0-9a-f]{64}$/);
  assert.equal(signed.expiresAt, expiresAt);
});

Deno.test("urlOf() names AWS by region, the bucket in the host where a certificate allows, and other servers as they are", () => {
  const place = { bucket: "b-1", region: "eu-central-1", endpoint: undefined, pathStyle: false };
  assert.equal(urlOf(place, "a/b c+d"), "https://b-1.s3.eu-central-1.amazonaws.com/a/b%20c%2Bd");
  assert.equal(urlOf({ ...place, bucket: "b.c" }, "k"), "https://s3.eu-central-1.amazonaws.com/b.c/k");
  assert.equal(urlOf({ ...place, pathStyle: true }, "k"), "https://s3.eu-central-1.amazonaws.com/b-1/k");
  assert.equal(urlOf({ ...place, region: "cn-north-1" }), "https://b-1.s3.cn-north-1.amazonaws.com.cn/");
  assert.equal(urlOf({ ...place, endpoint: "https://s3.example/base/" }, "k"), "https://s3.example/base/b-1/k");
  assert.equal(urlOf({ ...place, endpoint: "https://{bucket}.s3.example" }, "k"), "https://b-1.s3.example/k");
});

Deno.test("parseS3Url() takes s3://BUCKET/PREFIX and nothing else", () => {
  assert.deepEqual(parseS3Url("s3://bucket/a/b"), { bucket: "bucket", prefix: "a/b" });
  assert.deepEqual(parseS3Url("s3://bucket"), { bucket: "bucket", prefix: "" });
  for (const bad of ["bucket/a", "s3:/bucket", "s3://", "s3://a/../../x y".slice(0, 5), "http://x/"]) {
    assert.equal(parseS3Url(bad), undefined, bad);
  }
});

/** What `ibsr report` says of a bucket that it can't reach: on standard error, until it ends or is told to. */
async function reportFrom(url: string, args: string[], env: Record<string, string>) {
  const [program, rest] = ibsrCommand(["report", "--in", url, "--out", "/nonexistent/report", ...args]);
  const process = new Deno.Command(program, {
    ...{ args: rest, env: { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b", ...env } },
    ...{ stdin: "null", stdout: "null", stderr: "piped" } as const,
  }).spawn();
  let said = "";
  for await (const text of process.stderr.pipeThrough(new TextDecoderStream())) {
    said += text;
    if (/hint: |no answer yet.*\n/.test(said)) break;
  }
  process.kill("SIGTERM");
  await process.status;
  return said;
}

Deno.test("report says at once which server gives no answer, and suspects a missing --s3-endpoint", async () => {
  // A proxy that nobody is behind stands for a network without AWS.
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 }), { port } = closed.addr;
  closed.close();
  const aws = await reportFrom("s3://bucket/p/", [], { HTTPS_PROXY: `http://127.0.0.1:${port}` });
  assert.match(
    aws,
    /warning: bucket\.s3\.us-east-1\.amazonaws\.com: .*; trying again at once, and up to 8 times in all/,
  );
  assert.match(aws, /hint: no --s3-endpoint was given, so this is AWS/);
});

Deno.test("report says after 5 s that a server which takes the request gives no answer", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const said = await reportFrom("s3://bucket/p/", ["--s3-endpoint", `http://127.0.0.1:${silent.addr.port}`], {});
  assert.match(said, /warning: 127\.0\.0\.1:\d+: no answer yet; waiting for up to 1 min/);
});

Deno.test("send() says once that the server is not there, and the error names options of the command that asks", async () => {
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 }), endpoint = `http://127.0.0.1:${closed.addr.port}`;
  closed.close();
  const place = { bucket: "bucket", region: "us-east-1", endpoint, pathStyle: true };
  for (
    const [isReader, named, unnamed] of [[true, /--s3-endpoint/, /--ca-file|--timeout-sec/], [
      false,
      /--ca-file/,
      /--s3/,
    ]] as const
  ) {
    await using other = serve([ok], { place, isReader, maxRetries: 1 });
    const { hint = "" } = await thrown(() => put(other.client));
    assert.match(hint, named);
    assert.doesNotMatch(hint, unnamed);
  }
  const answer = { status: 404, text: "<Error><Code>NoSuchBucket</Code></Error>", headers: new Headers() };
  const asked = { ...answer, body: undefined, unsure: false };
  assert.match(refusal(asked, "list", { isReader: true }).hint!, /--s3-endpoint/);
  assert.match(refusal(asked, "store").hint!, /--bucket, --region and --endpoint/);
});

Deno.test("goesInClear() is true of http:// to another host", () => {
  for (
    const there of [
      "http://minio.example.net:9000",
      "http://{bucket}.s3.test",
      "http://10.0.0.1",
      "http://localhost.test",
    ]
  ) {
    assert.ok(goesInClear(there), there);
  }
  for (
    const here of [
      "https://s3.example.net",
      "http://127.0.0.1:7480",
      "http://[::1]:9000",
      "http://localhost:9000",
      "http://{bucket}.localhost",
    ]
  ) {
    assert.ok(!goesInClear(here), here);
  }
});
