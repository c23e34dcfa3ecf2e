/**
 * The credential chain against real endpoints on loopback: STS, a container's, an EC2 instance's; files and processes.
 */
import assert from "node:assert/strict";
import { type Chain, openChain } from "../../src/s3/credentials.ts";
import { containerUrl, type Credentials } from "../../src/s3/endpoints.ts";
import { parseProfiles, splitWords } from "../../src/s3/profiles.ts";
import { elementsOf, escapeXml, textOf } from "../../src/s3/xml.ts";

/** A chain with nothing around it but `environment` and the files' texts. */
async function openIn(
  environment: Record<string, string>,
  { config = "", credentials = "", ...more }: Partial<Parameters<typeof openChain>[0]> & {
    config?: string;
    credentials?: string;
  } = {},
): Promise<Chain> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/config`, config);
    await Deno.writeTextFile(`${folder}/credentials`, credentials);
    return openChain({
      environment: {
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_CONFIG_FILE: `${folder}/config`,
        AWS_SHARED_CREDENTIALS_FILE: `${folder}/credentials`,
        ...environment,
      },
      httpClient: () => undefined,
      signal: new AbortController().signal,
      ...more,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** An endpoint that keeps what it was asked. */
function serve(answer: (request: Request, body: string) => Response | string) {
  const asked: { method: string; path: string; headers: Headers; body: string }[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const body = await request.text(), url = new URL(request.url);
    asked.push({ method: request.method, path: url.pathname, headers: request.headers, body });
    const said = answer(request, body);
    return typeof said === "string" ? new Response(said) : said;
  });
  return { url: `http://127.0.0.1:${server.addr.port}`, asked, [Symbol.asyncDispose]: () => server.shutdown() };
}

const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
const HOUR = 3_600_000;

function keysJson(id: string, expiration = inMs(HOUR)): string {
  return JSON.stringify({
    ...{ Code: "Success", AccessKeyId: id, SecretAccessKey: "s", Token: "t", Expiration: expiration },
    ...{ RoleArn: "x", LastUpdated: inMs(0), Type: "AWS-HMAC" },
  });
}

function stsXml(action: string, id: string): string {
  return `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>` +
    `<AccessKeyId>${id}</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey><SessionToken>t+/=</SessionToken>` +
    `<Expiration>${inMs(HOUR)}</Expiration></Credentials></${action}Result></${action}Response>`;
}

const idOf = async (chain: Chain) => (await chain.credentials()).accessKeyId;

Deno.test("openChain() takes the environment before files, and a profile named on the command line before both", async () => {
  const env = { AWS_ACCESS_KEY_ID: "ENV", AWS_SECRET_ACCESS_KEY: "s", AWS_PROFILE: "p" };
  const files = {
    credentials:
      "[p]\naws_access_key_id=FILE\naws_secret_access_key=s\n[q]\naws_access_key_id = Q\naws_secret_access_key = s # why\n",
  };
  assert.equal(await idOf(await openIn(env, files)), "ENV");
  assert.equal(await idOf(await openIn({ AWS_PROFILE: "p" }, files)), "FILE");
  assert.equal(await idOf(await openIn(env, { ...files, profile: "q" })), "Q");
  const chain = await openIn({ AWS_PROFILE: "q" }, {
    ...files,
    config: "[profile q]\nregion = eu-west-1\ns3 =\n  endpoint_url = x\n",
  });
  assert.deepEqual(await chain.credentials(), { accessKeyId: "Q", secretAccessKey: "s", sessionToken: undefined });
  assert.equal(chain.region, "eu-west-1");
  assert.equal(chain.endpoint, undefined);
  await assert.rejects(openIn({ AWS_PROFILE: "r" }, files), /Cannot use profile "r": it is in no configuration file/);
});

Deno.test("openChain() takes on a profile's role by STS, through a chain of profiles, signed with the first one's keys", async () => {
  await using sts = serve((_, body) => stsXml("AssumeRole", `ROLE${new URLSearchParams(body).get("RoleArn")!.at(-1)}`));
  const config = `[profile a]\nrole_arn = arn:role/A\nsource_profile = b\nexternal_id = ext\n
[profile b]\nrole_arn = arn:role/B\nsource_profile = c\n
[profile c]\naws_access_key_id = C\naws_secret_access_key = s\nregion = eu-north-1\n`;
  const chain = await openIn({ AWS_PROFILE: "a", AWS_REGION: "eu-north-1", AWS_ENDPOINT_URL_STS: sts.url }, { config });
  const { accessKeyId, secretAccessKey, sessionToken } = await chain.credentials();
  assert.deepEqual([accessKeyId, secretAccessKey, sessionToken], ["ROLEA", "a&b", "t+/="]);
  assert.equal(sts.asked.length, 2);
  const scope = (i: number) => /Credential=([^/]+)\/\d{8}\/([^,]+),/.exec(sts.asked[i]!.headers.get("authorization")!)!;
  assert.deepEqual(scope(0).slice(1), ["C", "eu-north-1/sts/aws4_request"]);
  assert.equal(scope(1)[1], "ROLEB");
  assert.equal(sts.asked[1]!.headers.get("x-amz-security-token"), "t+/=");
  assert.match(sts.asked[1]!.body, /ExternalId=ext/);
  assert.match(chain.source(), /profile "a"/);
  await assert.rejects(
    (await openIn({ AWS_PROFILE: "x" }, {
      config: "[profile x]\nrole_arn=r\nsource_profile=y\n[profile y]\nrole_arn=r\nsource_profile=x\n",
    })).credentials(),
    /goes round in a circle/,
  );
});

Deno.test("openChain() takes on --assume-role-arn with whatever it found; a refusal is told without secrets", async () => {
  let status = 200;
  await using sts = serve(() =>
    status === 200 ? stsXml("AssumeRole", "ASSUMED") : new Response(
      "<ErrorResponse><Error><Code>AccessDenied</Code><Message>SECRET</Message></Error></ErrorResponse>",
      { status },
    )
  );
  const env = { AWS_ACCESS_KEY_ID: "ENV", AWS_SECRET_ACCESS_KEY: "SECRET", AWS_ENDPOINT_URL_STS: sts.url };
  const assumeRole = { arn: "arn:x", sessionName: "me" };
  const chain = await openIn(env, { assumeRole });
  assert.equal(await idOf(chain), "ASSUMED");
  assert.match(sts.asked[0]!.body, /RoleSessionName=me/);
  status = 403;
  const error = await (await openIn(env, { assumeRole })).credentials().catch((e) => e);
  assert.equal(error.kind, "permission");
  assert.match(error.message, /Cannot get credentials from STS \(AssumeRole of arn:x\): 403 AccessDenied$/);
  assert.ok(!Deno.inspect(error).includes("SECRET"));
  assert.equal(sts.asked.length, 2, "a refusal is not asked for again");
});

Deno.test("openChain() takes a web identity token, read anew each time and sent unsigned", async () => {
  await using sts = serve(() => stsXml("AssumeRoleWithWebIdentity", "WEB"));
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "TOKEN-1\n");
  const chain = await openIn({
    AWS_WEB_IDENTITY_TOKEN_FILE: file,
    AWS_ROLE_ARN: "arn:w",
    AWS_ENDPOINT_URL_STS: sts.url,
  });
  assert.equal(await idOf(chain), "WEB");
  await Deno.writeTextFile(file, "TOKEN-2\n");
  await chain.credentials({ fresh: true });
  assert.deepEqual(sts.asked.map(({ body }) => new URLSearchParams(body).get("WebIdentityToken")), [
    "TOKEN-1",
    "TOKEN-2",
  ]);
  assert.equal(sts.asked[0]!.headers.get("authorization"), null);
  await Deno.remove(file);
});

Deno.test("openChain() asks a container, with its token, and again after an error of the server", async () => {
  let fails = 1;
  await using container = serve(() => fails-- > 0 ? new Response("", { status: 500 }) : keysJson("CONTAINER"));
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "TOKEN");
  const chain = await openIn({
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${container.url}/creds`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file,
  });
  assert.equal(await idOf(chain), "CONTAINER");
  assert.deepEqual(
    container.asked.map(({ path, headers }) => [path, headers.get("authorization")]),
    Array(2).fill(["/creds", "TOKEN"]),
  );
  await Deno.remove(file);
});

Deno.test("containerUrl() speaks plain HTTP to this host only", () => {
  assert.equal(containerUrl("/v2/x", undefined).href, "http://169.254.170.2/v2/x");
  for (const good of ["https://creds.example/x", "http://127.0.0.1:80/", "http://[::1]/", "http://169.254.170.23/v1"]) {
    assert.ok(containerUrl(undefined, good), good);
  }
  for (
    const bad of ["http://example.com/", "http://127.0.0.1.example.com/", "file:///etc/passwd", "x", "http://10.0.0.1/"]
  ) {
    assert.throws(() => containerUrl(undefined, bad), /neither https nor local/, bad);
  }
});

Deno.test("openChain() asks an EC2 instance by its version 2: a token first, then the role's keys", async () => {
  let role: Response | undefined;
  await using imds = serve((request) => {
    const { pathname } = new URL(request.url), place = "/latest/meta-data/iam/security-credentials/";
    if (pathname === "/latest/api/token") {
      return request.method === "PUT" ? "TOKEN==" : new Response("", { status: 405 });
    }
    if (request.headers.get("x-aws-ec2-metadata-token") !== "TOKEN==") return new Response("", { status: 401 });
    if (pathname === place) return role ?? "my-role\n";
    return pathname === `${place}my-role` ? keysJson("EC2") : new Response("", { status: 404 });
  });
  const env = { AWS_EC2_METADATA_DISABLED: "false", AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.url };
  const chain = await openIn(env);
  assert.equal(await idOf(chain), "EC2");
  assert.equal(chain.source(), "the EC2 instance");
  assert.equal(imds.asked[0]!.headers.get("x-aws-ec2-metadata-token-ttl-seconds"), "21600");
  role = new Response("", { status: 404 });
  await assert.rejects((await openIn(env)).credentials(), /there are no credentials/);
  role = new Response("../../user-data\n");
  await assert.rejects((await openIn(env)).credentials(), /asking for its role gave 200/);
  const asked = imds.asked.length;
  await assert.rejects((await openIn({ ...env, AWS_EC2_METADATA_DISABLED: "TRUE" })).credentials(), /no credentials/);
  assert.equal(imds.asked.length, asked);
});

Deno.test("openChain() waits for no EC2 instance longer than a second", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // as beyond a hop limit: connected, and nothing comes
  const endpoint = `http://127.0.0.1:${silent.addr.port}`, start = performance.now();
  const chain = await openIn({ AWS_EC2_METADATA_DISABLED: "", AWS_EC2_METADATA_SERVICE_ENDPOINT: endpoint });
  await assert.rejects(chain.credentials(), /there are no credentials/);
  assert.ok(performance.now() - start < 2500);
});

Deno.test("openChain() starts a credential_process without a shell, and keeps what it says to itself", async () => {
  const answer = JSON.stringify({ Version: 1, AccessKeyId: "PROCESS", SecretAccessKey: "s", Expiration: inMs(HOUR) });
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, answer);
  const open = (line: string) =>
    openIn({ AWS_PROFILE: "p" }, { config: `[profile p]\ncredential_process = ${line}\n` });
  const chain = await open(`/bin/cat "${file}"`);
  assert.ok(chain.runsProcess);
  assert.equal(await idOf(chain), "PROCESS");
  const cases: [string, RegExp][] = [
    ["/bin/sh -c 'echo SECRET; echo SECRET >&2; exit 3'", /its exit code is 3$/],
    ["/bin/echo SECRET", /its answer is no JSON$/],
    [`/bin/echo '{"Version":2,"AccessKeyId":"a","SecretAccessKey":"SECRET"}'`, /its Version is not 1$/],
    ["/none/at/all", /Failed to spawn|No such file/],
    ["'open", /no command line$/],
  ];
  for (const [line, expected] of cases) {
    const error = await (await open(line)).credentials().catch((e) => e);
    assert.match(error.message, expected);
    assert.ok(!error.message.includes("SECRET"));
  }
  await Deno.remove(file);
});

Deno.test("openChain() names what needs a person as unsupported: sso_session, mfa_serial", async () => {
  const config = "[profile s]\nsso_session = x\nsso_account_id = 1\n[sso-session x]\nsso_region = us-east-1\n" +
    "[profile m]\nrole_arn = r\nsource_profile = s\nmfa_serial = arn:mfa\n";
  const fails = async (AWS_PROFILE: string) =>
    await (await openIn({ AWS_PROFILE }, { config })).credentials().catch((e) => e);
  assert.match((await fails("s")).message, /profile "s": sso_session \(IAM Identity Center\) is not supported/);
  assert.match((await fails("m")).message, /mfa_serial .* not supported/);
});

Deno.test("credentials() renews before keys expire, keeps the old ones while it can't, and asks once for many", async () => {
  let expiresMs = 4 * 60_000, fails = false;
  await using container = serve(() =>
    fails ? new Response("", { status: 400 }) : keysJson(`K${container.asked.length}`, inMs(expiresMs))
  );
  const chain = await openIn({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${container.url}/` });
  const all = await Promise.all(Array.from({ length: 5 }, () => chain.credentials()));
  assert.deepEqual(new Set(all.map(({ accessKeyId }: Credentials) => accessKeyId)), new Set(["K1"]));
  assert.equal(await idOf(chain), "K2", "four minutes are too few");
  fails = true;
  assert.equal(await idOf(chain), "K2", "better than none");
  fails = false;
  expiresMs = HOUR;
  const fresh = await idOf(chain);
  assert.equal(await idOf(chain), fresh, "an hour is enough");
});

Deno.test("parseProfiles() says where a file is wrong, and not what is there", () => {
  const parse = (text: string) => parseProfiles(text, { path: "F", kind: "credentials" });
  assert.throws(() => parse("[a]\nSECRET\n"), { message: "Cannot read F:2: neither [section] nor key = value" });
  assert.throws(() => parse("key = SECRET\n"), /^IbsrError: Cannot read F:1: /);
  assert.deepEqual([...parse("# c\n[ a ]\nKey=v ; c\n\n[b]\n").entries()], [["a", { key: "v" }], ["b", {}]]);
});

Deno.test("splitWords() splits as a shell would, without being one", () => {
  assert.deepEqual(splitWords(`/a/b "c d"  'e "f' g\\ h "" "i\\"j" $x`), [
    "/a/b",
    "c d",
    'e "f',
    "g h",
    "",
    'i"j',
    "$x",
  ]);
  assert.equal(splitWords("'a"), undefined);
});

Deno.test("textOf() and elementsOf() read S3's XML, and survive any other", () => {
  const xml = `<?xml version="1.0"?><L xmlns="x"><C><K>a&amp;b&#x41;&#66;&bogus;</K></C><C><K/></C><E a="1">e</E></L>`;
  assert.equal(textOf(xml, "K"), "a&bAB&bogus;");
  assert.deepEqual(elementsOf(xml, "C"), ["<K>a&amp;b&#x41;&#66;&bogus;</K>", "<K/>"]);
  assert.equal(textOf(xml, "E"), "e");
  assert.equal(textOf("<K>never ended", "K"), undefined);
  assert.equal(textOf("<K>&#9999999;</K>", "K"), "&#9999999;");
  assert.equal(escapeXml(`<"&>`), "&lt;&quot;&amp;&gt;");
});

/** A body without an end, and how much of it was taken. */
function endless(): { body: ReadableStream<Uint8Array>; taken(): number } {
  let bytes = 0;
  const part = new TextEncoder().encode("x".repeat(16 * 1024));
  return {
    body: new ReadableStream({
      pull(controller) {
        bytes += part.length;
        controller.enqueue(part);
      },
    }),
    taken: () => bytes,
  };
}

Deno.test("openChain() leaves off reading an answer without an end: STS, a container, an instance, a process", async () => {
  const bodies: ReturnType<typeof endless>[] = [];
  await using server = serve((request) => {
    if (request.method === "PUT") return "token";
    bodies.push(endless());
    return new Response(bodies.at(-1)!.body);
  });
  const keys = { AWS_ACCESS_KEY_ID: "ENV", AWS_SECRET_ACCESS_KEY: "s" };
  const chains = {
    STS: openIn({ ...keys, AWS_ENDPOINT_URL_STS: server.url }, { assumeRole: { arn: "arn:x", sessionName: "me" } }),
    container: openIn({ AWS_CONTAINER_CREDENTIALS_FULL_URI: server.url }),
    instance: openIn({ AWS_EC2_METADATA_DISABLED: "false", AWS_EC2_METADATA_SERVICE_ENDPOINT: server.url }),
    process: openIn({ AWS_PROFILE: "p" }, { config: "[profile p]\ncredential_process = yes\n" }),
  };
  for (const [name, chain] of Object.entries(chains)) {
    const from = performance.now();
    await assert.rejects((await chain).credentials(), /: an answer of more than 262144 bytes/, name);
    assert.ok(performance.now() - from < 10_000, name);
  }
  assert.equal(bodies.length, 3 + 3 + 1, "asked three times, but the instance");
  // What lies in the sockets' buffers is beyond what was read.
  for (const { taken } of bodies) assert.ok(taken() < 16 << 20, `${taken()} bytes`);
});
