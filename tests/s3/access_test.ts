/**
 * What `ibsr export s3` may do and needs to: a user with its policy and nothing else, Swift's s3api, TLS, and reading back.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { policyFor } from "../../src/cli/export.ts";
import policy from "../../src/s3/policy.json" with { type: "json" };
import { getObject, listObjects } from "../../src/s3/read.ts";
import { openClient } from "../../src/s3/request.ts";
import { ibsrCommand } from "../kernel/lab.ts";
import { makeCertificates } from "../certificates.ts";
import { testWith } from "../needs.ts";
import { FaultyProxy } from "./proxy.ts";
import {
  bytesOf,
  environmentOf,
  Folder,
  fromTo,
  type Keys,
  runExport,
  S3Server,
  segmentName,
  segmentText,
} from "./server.ts";

const BIG = bytesOf(17_000_000, 7);

/** Everything that an export could be tempted to do besides. */
const READING = "GetObject GetObjectVersion DeleteObject ListBucket ListBucketMultipartUploads ListMultipartUploadParts"
  .split(" ").map((name) => `s3:${name}`);

/** A user of `server` who may do what the project's policy says with objects of `bucket` below `prefix`. */
async function makeWriter(server: S3Server, bucket: string, prefix: string): Promise<Keys> {
  const writer = await server.makeUser("writer");
  const document = policyFor(policy, { bucket, prefix });
  // A bucket's policy says whom it is for, a user's doesn't: that is all that is added.
  const Statement = document.Statement.map((statement) => ({
    ...statement,
    Principal: { AWS: ["arn:aws:iam:::user/writer"] },
  }));
  // Objects are their writer's here, as on AWS with ACLs: who may write could read. On AWS without ACLs it could not.
  const nothingElse = {
    ...{ Effect: "Deny", Principal: Statement[0]!.Principal, Action: READING },
    Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
  };
  // And without this the test could not look at them.
  const looking = {
    ...{ Effect: "Allow", Principal: { AWS: ["arn:aws:iam:::user/ibsr"] }, Action: ["s3:*"] },
    Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
  };
  const Policy = JSON.stringify({ ...document, Statement: [...Statement, nothingElse, looking] });
  assert.equal((await server.call("put_bucket_policy", { Bucket: bucket, Policy })).error, undefined);
  return writer;
}

testWith(
  "s3",
  "ibsr export s3 works with nothing but its policy: it can't list, read, replace or go elsewhere",
  async () => {
    await using server = await S3Server.start("radosgw");
    const bucket = await server.makeBucket("writeonly"), writer = await makeWriter(server, bucket, "p/");
    await using folder = await Folder.create({ [segmentName(1)]: segmentText(1), [`${segmentName(2)}.zst`]: BIG });
    const args = ["--input", folder.path, "--bucket", bucket, "--prefix", "p"], at = ["--endpoint", server.endpoint];
    const done = await runExport([...args, ...at, "--manifest"], { keys: writer });
    assert.equal(done.code, 0, done.stderr);
    assert.equal((await server.download(bucket)).size, 3);
    for (const [method, more] of Object.entries({ list_objects_v2: {}, head_object: { Key: `p/${segmentName(1)}` } })) {
      assert.equal((await server.call(method, { Bucket: bucket, ...more }, writer)).status, 403, method);
    }
    const elsewhere = await runExport([...args, ...at, "--prefix", "q"], { keys: writer });
    assert.equal(elsewhere.code, 77, elsewhere.stderr);
    assert.match(elsewhere.stderr, /403 AccessDenied\n.*hint: the keys need s3:PutObject on the prefix/);

    // An answer that was lost leaves an upload that only somebody who may list can find: it says so, and goes on.
    await using another = await Folder.create({ [segmentName(3)]: segmentText(3), [`${segmentName(4)}.zst`]: BIG });
    await using proxy = new FaultyProxy({ hostname: "127.0.0.1", port: Number(new URL(server.endpoint).port) });
    proxy.judge = (kind, number) => kind === "create" && number === 1 ? { do: "lose-answer" } : undefined;
    const lost = await runExport([...args, "--input", another.path, "--endpoint", proxy.endpoint], { keys: writer });
    assert.equal(lost.code, 0, lost.stderr);
    assert.match(lost.stderr, /an unfinished upload of .* may be left .* may not list uploads\n.*lifecycle rule/);
    const kinds = Object.keys(proxy.seen).sort();
    assert.deepEqual(kinds, ["complete", "create", "list", "part", "put"], "everything else is PutObject");
    const before = proxy.heads.filter((head) => /^(HEAD|GET) /.test(head));
    assert.equal(before.length, 1, "the one question after what was lost");
  },
);

testWith("s3", "ibsr export s3 says what is wrong with keys, and never the keys", async () => {
  await using server = await S3Server.start("radosgw");
  const bucket = await server.makeBucket("secrets");
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  const secret = "SECRETSECRETSECRETSECRETSECRETSECRETSECR", token = "TOKENTOKENTOKEN";
  const args = [...fromTo(folder, { bucket, endpoint: server.endpoint }), "--output", "json", "-v", "--presign", "1h"];
  const cases: [Record<string, string>, RegExp][] = [
    [
      { AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: secret },
      /403 SignatureDoesNotMatch\n.*the secret key is another/,
    ],
    [
      { AWS_ACCESS_KEY_ID: "AKIDNOBODY0000000000", AWS_SECRET_ACCESS_KEY: secret },
      /403 InvalidAccessKeyId\n.*doesn't know this access key/,
    ],
    [{ AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token }, /Cannot upload/],
    [{ AWS_ACCESS_KEY_ID: server.accessKey }, /AWS_SECRET_ACCESS_KEY is missing/],
    [{}, /there are no credentials\n.*looked in: the environment; profile "default"; .*AWS_ACCESS_KEY_ID/],
  ];
  for (const [env, expected] of cases) {
    const { code, stderr, stdout } = await runExport(args, { env });
    assert.equal(code, 77, stderr);
    assert.match(stderr, expected);
    const ledger = await Deno.readTextFile(`${folder.path}/export.jsonl`);
    for (const text of [stderr, stdout, ledger]) assert.ok(!text.includes(secret) && !text.includes(token), text);
  }
  const { code, stdout, stderr } = await runExport([...args, "--manifest"], { keys: server });
  assert.equal(code, 0, stderr);
  const stored = [...(await server.download(bucket)).values()].map((bytes) => new TextDecoder().decode(bytes)).join("");
  const ledger = await Deno.readTextFile(`${folder.path}/export.jsonl`);
  for (const text of [stdout, stderr, stored, ledger]) assert.ok(!text.includes(server.secretKey));
});

testWith("swift", "ibsr export s3 works with a server without conditions, and in the region that it says", async () => {
  await using server = await S3Server.start("swift");
  const bucket = await server.makeBucket("swift");
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1), [`${segmentName(2)}.zst`]: BIG });
  const args = [...fromTo(folder, { bucket, endpoint: server.endpoint }), "--region", "eu-central-1"];
  const first = await runExport([...args, "--prefix", "p"], { keys: server });
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /the bucket is in region us-east-1, not eu-central-1: signing for that one/);
  assert.match(first.stderr, /this server has no If-None-Match/);
  const stored = await server.download(bucket);
  assert.equal(stored.size, 2);
  assert.ok(Buffer.compare(stored.get(`p/${segmentName(2)}.zst`)!, BIG) === 0);
  assert.deepEqual(await server.listUnfinished(bucket), []);
  assert.match(
    (await runExport([...args, "--prefix", "p"], { keys: server })).stdout,
    /^uploaded 0 objects .*; 2 were there/m,
  );
});

testWith("s3", "ibsr export s3 trusts the certificates of --ca-file, and no unknown ones", async () => {
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  await using certificates = await Folder.create();
  const { authority, certificate, key } = await makeCertificates(certificates.path);
  await using server = await S3Server.start("radosgw", { TLS_CERT: certificate, TLS_KEY: key });
  assert.match(server.endpoint, /^https:/);
  const args = [...fromTo(folder, { bucket: "tls", endpoint: server.endpoint }), "--max-retries", "0"];
  const unknown = await runExport(args, { keys: server });
  assert.equal(unknown.code, 69);
  assert.match(unknown.stderr, /Cannot reach .*certificate.*\n.*--ca-file/);
  // The bucket isn't there: S3 itself says so.
  for (const trust of [{ args: ["--ca-file", authority] }, { args: [], env: { AWS_CA_BUNDLE: authority } }]) {
    const known = await runExport([...args, ...trust.args], { keys: server, env: trust.env ?? {} });
    assert.match(known.stderr, /404 NoSuchBucket/);
  }
});

testWith("s3", "ibsr export s3 goes through a proxy of HTTP_PROXY, and past it for NO_PROXY", async () => {
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  const asked: string[] = [];
  await using proxy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    asked.push(`${request.method} ${request.url}`);
    return new Response("<Error><Code>NoSuchBucket</Code></Error>", { status: 404 });
  });
  const env = { HTTP_PROXY: `http://127.0.0.1:${proxy.addr.port}`, NO_PROXY: "direct.test" };
  const keys = { accessKey: "AKID", secretKey: "secret" };
  const args = ["--input", folder.path, "--bucket", "bucket", "--max-retries", "0", "--prefix", "p"];
  const through = await runExport([...args, "--endpoint", "http://s3.test"], { keys, env });
  assert.match(through.stderr, /404 NoSuchBucket/);
  assert.equal(asked.length, 1);
  const past = await runExport([...args, "--endpoint", "http://direct.test"], { keys, env });
  assert.match(past.stderr, /Cannot reach direct\.test: .*dns/);
  assert.equal(asked.length, 1);
});

testWith("s3", "listObjects() and getObject() read what an exporter stored, page by page, byte for byte", async () => {
  await using server = await S3Server.start("radosgw");
  const bucket = await server.makeBucket("read"), names = Array.from({ length: 1100 }, (_, n) => segmentName(n));
  await using folder = await Folder.create(Object.fromEntries(names.map((name, n) => [name, segmentText(n)])));
  await folder.write(`a b+c/ü & <x>/${segmentName(1)}`, "odd\n");
  const done = await runExport([
    ...fromTo(folder, { bucket, endpoint: server.endpoint }),
    "--prefix",
    "p",
    "--concurrency",
    "16",
  ], {
    keys: server,
  });
  assert.equal(done.code, 0, done.stderr);
  const client = openClient({
    place: { bucket, region: "us-east-1", endpoint: server.endpoint, pathStyle: true },
    chain: { credentials: () => Promise.resolve({ accessKeyId: server.accessKey, secretAccessKey: server.secretKey }) },
    ...{ timeoutMs: 10_000, maxRetries: 2, userAgent: "test", signal: new AbortController().signal },
  });
  const listed = await Array.fromAsync(listObjects(client, "p/snapshot_"));
  assert.deepEqual(listed.map(({ key }) => key), names.map((name) => `p/${name}`).sort());
  assert.equal(listed[7]!.size, segmentText(7).length);
  const [odd] = await Array.fromAsync(listObjects(client, "p/a"));
  assert.equal(odd!.key, `p/a b+c/ü & <x>/${segmentName(1)}`);
  const chunks = await Array.fromAsync(getObject(client, odd!.key));
  assert.equal(new TextDecoder().decode(Buffer.concat(chunks)), "odd\n");
  await assert.rejects(Array.fromAsync(getObject(client, "p/none")), /Cannot read s3:\/\/read\/p\/none: 404 NoSuchKey/);
});

testWith(
  ["s3", "kernel"],
  "ibsr check tries the credentials and the bucket of the config file, and says what is wrong with them",
  async () => {
    await using server = await S3Server.start("radosgw");
    const bucket = await server.makeBucket("check");
    await using folder = await Folder.create();
    const check = async (section: Record<string, unknown> | undefined, keys: Keys) => {
      await folder.write("ibsr.jsonc", JSON.stringify(section ? { "export s3": section } : {}));
      const args = ["--config", `${folder.path}/ibsr.jsonc`, "-i", "lo", "--skip-attach", "-o", folder.path, "--json"];
      const [command, line] = ibsrCommand(["check", ...args]);
      const { code, stdout } = await new Deno.Command(command, { args: line, env: environmentOf(keys) }).output();
      const checks = JSON.parse(new TextDecoder().decode(stdout)) as {
        name: string;
        verdict: string;
        detail: string;
      }[];
      return {
        code,
        rows: checks.filter(({ name }) => name.startsWith("S3")).map(({ verdict, detail }) => `${verdict} ${detail}`),
      };
    };
    assert.deepEqual((await check(undefined, server)).rows, []);
    const right = { bucket, endpoint: server.endpoint, prefix: "p" };
    assert.deepEqual((await check(right, server)).rows, [
      "pass from the environment",
      "pass stored s3://check/p/ibsr-check",
    ]);
    assert.ok((await server.download(bucket)).has("p/ibsr-check"));
    const denied = await check(right, { ...server, accessKey: server.accessKey, secretKey: "wrong" });
    assert.equal(denied.code, 77);
    assert.match(denied.rows[1]!, /^fail Cannot store .*: 403 SignatureDoesNotMatch$/);
    const absent = await check({ ...right, bucket: "absent" }, server);
    assert.equal(absent.code, 69);
    assert.match(absent.rows[1]!, /404 NoSuchBucket/);
  },
);
