/**
 * The endpoints that hand out AWS credentials: STS, a container's, an EC2 instance's.
 *
 * What they answer is shown to nobody: an error names who was asked and the status. Plain HTTP is spoken to this host
 * and to link-local addresses only, and never by way of a proxy.
 */
import { request } from "node:http";
import { AwsV4Signer } from "aws4fetch";
import { IbsrError, reason } from "../errors.ts";
import { sleep } from "../sleep.ts";
import { readText } from "./body.ts";
import { textOf } from "./xml.ts";

/** Keys to sign with. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  /** Milliseconds since 1970; undefined for keys that don't expire. */
  expiresAt?: number | undefined;
}

/** What asking takes. */
export interface Surroundings {
  environment: Record<string, string>;
  /** `--region`, or the profile's: for STS too. */
  region?: string | undefined;
  /** Trusts `--ca-file`. */
  httpClient(): Deno.HttpClient | undefined;
  signal: AbortSignal;
}

const DEFAULT_ROLE_SEC = 3600;
/** Bytes of an answer. The largest that there is, keys and a session token, has a few thousand. */
export const LONGEST_ANSWER = 256 * 1024;

function clientOf({ httpClient }: Surroundings): { client?: Deno.HttpClient } {
  const client = httpClient();
  return client ? { client } : {};
}

/**
 * Credentials as programs and endpoints say them in JSON.
 *
 * @throws {IbsrError} `permission`, if they don't.
 */
export function readAnswer(text: string, from: string): Credentials {
  let answer: Record<string, unknown>;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new IbsrError("permission", `Cannot get credentials from ${from}: its answer is no JSON`);
  }
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Expiration: expiration } = answer;
  const sessionToken = answer.SessionToken ?? answer.Token;
  if (typeof accessKeyId !== "string" || typeof secretAccessKey !== "string") {
    const code = typeof answer.Code === "string" && /^\w{1,60}$/.test(answer.Code) ? ` (it says ${answer.Code})` : "";
    throw new IbsrError("permission", `Cannot get credentials from ${from}: its answer has no keys${code}`);
  }
  const expiresAt = expiration == null ? undefined : Date.parse(String(expiration));
  if (Number.isNaN(expiresAt)) {
    throw new IbsrError("permission", `Cannot get credentials from ${from}: its Expiration is no time`);
  }
  return {
    accessKeyId,
    secretAccessKey,
    sessionToken: typeof sessionToken === "string" ? sessionToken : undefined,
    expiresAt,
  };
}

// ---------------------------------------------------------------------------------------------------------- STS

/** A role to take on. */
interface Role {
  arn: string;
  sessionName: string;
  externalId?: string | undefined;
  durationSec?: string | undefined;
}

/**
 * A role's credentials, asked for with those of `base`.
 *
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
 */
export async function assumeRole(world: Surroundings, base: Credentials, role: Role): Promise<Credentials> {
  const parameters = {
    Action: "AssumeRole",
    Version: "2011-06-15",
    RoleArn: role.arn,
    RoleSessionName: role.sessionName,
    DurationSeconds: role.durationSec ?? String(DEFAULT_ROLE_SEC),
    ...role.externalId === undefined ? {} : { ExternalId: role.externalId },
  };
  return await askSts(world, parameters, base);
}

/** What a web identity's variables say. */
export function identityOf(
  { AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME }: Record<string, string>,
) {
  return { tokenFile: AWS_WEB_IDENTITY_TOKEN_FILE, arn: AWS_ROLE_ARN, sessionName: AWS_ROLE_SESSION_NAME };
}

/**
 * A role's credentials for a token in a file; undefined if there is no file.
 *
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
 */
export async function fromWebIdentity(
  world: Surroundings,
  { tokenFile, arn, sessionName }: {
    tokenFile: string | undefined;
    arn: string | undefined;
    sessionName: string | undefined;
  },
): Promise<Credentials | undefined> {
  if (tokenFile === undefined) return undefined;
  if (arn === undefined) {
    throw new IbsrError("permission", "Cannot use the web identity token: no role is named", { hint: "AWS_ROLE_ARN" });
  }
  return await askSts(world, {
    Action: "AssumeRoleWithWebIdentity",
    Version: "2011-06-15",
    RoleArn: arn,
    RoleSessionName: sessionName ?? "ibsr-export",
    WebIdentityToken: readToken(tokenFile, "the web identity token"),
  });
}

/** Asks STS; signed, if there is something to sign with. */
async function askSts(
  world: Surroundings,
  parameters: Record<string, string>,
  base?: Credentials,
): Promise<Credentials> {
  const region = world.region ?? "us-east-1", action = parameters.Action!;
  const suffix = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const url = `${world.environment.AWS_ENDPOINT_URL_STS ?? `https://sts.${region}.${suffix}`}`.replace(/\/*$/, "/");
  const headers = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
  const body = new TextEncoder().encode(new URLSearchParams(parameters).toString());
  const signed = base && await new AwsV4Signer({
    ...{ method: "POST", url, headers, body, region, service: "sts", allHeaders: true },
    accessKeyId: base.accessKeyId,
    secretAccessKey: base.secretAccessKey,
    ...base.sessionToken === undefined ? {} : { sessionToken: base.sessionToken },
  }).sign();
  const fail = (state: string, cause?: unknown) =>
    new IbsrError("permission", `Cannot get credentials from STS (${action} of ${parameters.RoleArn}): ${state}`, {
      hint: `asked ${new URL(url).host}`,
      cause,
    });
  return await thrice(world.signal, async () => {
    let response: Response, text: string;
    try {
      response = await fetch(url, {
        ...{ method: "POST", headers: signed?.headers ?? headers, body, redirect: "manual" },
        signal: AbortSignal.any([world.signal, AbortSignal.timeout(20_000)]),
        ...clientOf(world),
      });
      text = await readText(response.body, LONGEST_ANSWER);
    } catch (cause) {
      throw fail(reason(cause), cause);
    }
    if (response.status !== 200) {
      // Its message may repeat what was signed, a session token too: the code is enough.
      const code = textOf(text, "Code") ?? "no reason given", error = fail(`${response.status} ${code}`);
      if (response.status >= 500 || response.status === 429 || code === "Throttling") throw error;
      return error;
    }
    const [accessKeyId, secretAccessKey] = [textOf(text, "AccessKeyId"), textOf(text, "SecretAccessKey")];
    const expiresAt = Date.parse(textOf(text, "Expiration") ?? "");
    if (!accessKeyId || !secretAccessKey || Number.isNaN(expiresAt)) throw fail("its answer has no keys");
    return { accessKeyId, secretAccessKey, sessionToken: textOf(text, "SessionToken"), expiresAt };
  });
}

// ------------------------------------------------------------------------------------------ container, instance

/**
 * Those of the container's role (ECS, EKS); undefined if its variables are not set.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
 */
export async function fromContainer(world: Surroundings): Promise<Credentials | undefined> {
  const {
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: full,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile,
    AWS_CONTAINER_AUTHORIZATION_TOKEN: token,
  } = world.environment;
  if (!relative && !full) return undefined;
  const url = containerUrl(relative, full);
  const authorization = tokenFile ? readToken(tokenFile, "the container's authorization token") : token;
  if (authorization && /[\r\n]/.test(authorization)) {
    throw new IbsrError("permission", "Cannot ask the container for credentials: its token has a line break in it");
  }
  return await thrice(world.signal, async () => {
    const { status, text } = await askEndpoint(url, {
      method: "GET",
      headers: authorization ? { authorization } : {},
      timeoutMs: 2000,
      world,
    });
    if (status !== 200) {
      const error = new IbsrError("permission", `Cannot get credentials from the container (${url.host}): ${status}`);
      if (status >= 500) throw error;
      return error;
    }
    return readAnswer(text, `the container (${url.host})`);
  });
}

/** Whom plain HTTP may be spoken to: the credentials must not leave the host. */
const CONTAINER_HOSTS = ["localhost", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "[::1]"];

/**
 * The URL to ask a container for credentials.
 *
 * @throws {IbsrError} `permission`, if that is plain HTTP to another host.
 */
export function containerUrl(relative: string | undefined, full: string | undefined): URL {
  if (relative) return new URL(`http://169.254.170.2${relative.startsWith("/") ? "" : "/"}${relative}`);
  const url = URL.parse(full ?? "");
  const isLocal = url && (CONTAINER_HOSTS.includes(url.hostname) || /^127(\.\d+){3}$/.test(url.hostname));
  if (url?.protocol === "https:" || (url?.protocol === "http:" && isLocal)) return url;
  throw new IbsrError("permission", "Cannot ask AWS_CONTAINER_CREDENTIALS_FULL_URI: it is neither https nor local");
}

/**
 * Those of the EC2 instance's role, by version 2 of its metadata service; undefined if there is no instance or role.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
 */
export async function fromInstance(world: Surroundings): Promise<Credentials | undefined> {
  const { environment } = world;
  if (environment.AWS_EC2_METADATA_DISABLED?.toLowerCase() === "true") return undefined;
  const isIpv6 = environment.AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE?.toLowerCase() === "ipv6";
  const base = (environment.AWS_EC2_METADATA_SERVICE_ENDPOINT ??
    (isIpv6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254")).replace(/\/+$/, "");
  const timeoutMs = 1000 * (Number(environment.AWS_METADATA_SERVICE_TIMEOUT) || 1);
  const ask = (path: string, method: "GET" | "PUT", headers: Record<string, string>) =>
    askEndpoint(new URL(base + path), { method, headers, timeoutMs, world });
  let token: string;
  try {
    // Over a container's bridge the answer comes no further than its hop limit allows, and the time limit ends this.
    const answer = await ask("/latest/api/token", "PUT", { "x-aws-ec2-metadata-token-ttl-seconds": "21600" });
    if (answer.status !== 200 || !/^[\x21-\x7e]{1,4096}$/.test(answer.text)) return undefined;
    token = answer.text;
  } catch {
    world.signal.throwIfAborted();
    return undefined; // no EC2 instance
  }
  const path = "/latest/meta-data/iam/security-credentials/", headers = { "x-aws-ec2-metadata-token": token };
  const role = await ask(path, "GET", headers);
  if (role.status === 404) return undefined; // it has no role
  const name = role.text.split("\n")[0]!.trim();
  if (role.status !== 200 || !/^[\w+=,.@-]{1,128}$/.test(name)) {
    throw new IbsrError(
      "permission",
      `Cannot get the EC2 instance's credentials: asking for its role gave ${role.status}`,
    );
  }
  const answer = await ask(path + name, "GET", headers);
  if (answer.status !== 200) {
    throw new IbsrError("permission", `Cannot get the EC2 instance's credentials: role ${name} gave ${answer.status}`);
  }
  return readAnswer(answer.text, "the EC2 instance");
}

/** A token's file, read each time: it is replaced before it expires. */
function readToken(path: string, what: string): string {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch (cause) {
    throw new IbsrError("permission", `Cannot read ${what} in ${path}: ${reason(cause)}`, { cause });
  }
}

/**
 * One request to a link-local or loopback endpoint. Plain HTTP goes by Node's client, which knows no proxies: what
 * such an endpoint says is for this host only.
 */
async function askEndpoint(
  url: URL,
  { method, headers, timeoutMs, world }: {
    method: "GET" | "PUT";
    headers: Record<string, string>;
    timeoutMs: number;
    world: Surroundings;
  },
): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.any([world.signal, AbortSignal.timeout(timeoutMs)]);
  const failure = (cause: unknown) =>
    new IbsrError("permission", `Cannot ask ${url.host} for credentials: ${reason(cause)}`, { cause });
  if (url.protocol === "https:") {
    try {
      const response = await fetch(url, { method, headers, redirect: "manual", signal, ...clientOf(world) });
      return { status: response.status, text: await readText(response.body, LONGEST_ANSWER) };
    } catch (cause) {
      throw failure(cause);
    }
  }
  return await new Promise((resolve, reject) => {
    const fail = (cause: unknown) => reject(failure(cause));
    const sent = request(url, { method, headers }, (response) => {
      readText(response, LONGEST_ANSWER).then((text) => resolve({ status: response.statusCode ?? 0, text }), fail);
    });
    const stop = () => sent.destroy(new Error(world.signal.aborted ? "stopped" : `no answer in ${timeoutMs} ms`));
    signal.addEventListener("abort", stop, { once: true });
    sent.on("close", () => signal.removeEventListener("abort", stop));
    sent.on("error", fail);
    sent.end();
  });
}

/** Tries up to three times, with a pause, while what is tried throws; an error that it returns is final. */
async function thrice<T>(signal: AbortSignal, attempt: () => Promise<T | IbsrError>): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      const result = await attempt();
      if (!(result instanceof IbsrError)) return result;
      tries = 3;
      throw result;
    } catch (error) {
      signal.throwIfAborted();
      if (tries === 3) throw error;
      await sleep(200 * 2 ** tries * Math.random(), signal);
    }
  }
}
