/**
 * From options, environment and AWS configuration to a client for a bucket.
 */
import { IbsrError, reason } from "../errors.ts";
import { log } from "../log.ts";
import { type Chain, openChain } from "../s3/credentials.ts";
import { isRegion } from "../s3/region.ts";
import { type Client, openClient, type Place } from "../s3/request.ts";
import type { Context } from "./command.ts";
import { giveUp } from "./permissions.ts";
import { endpointKind } from "./tables/export.ts";
import { VERSION } from "./version.ts";

/** Which server, and who asks. What is left out comes from the environment and the AWS configuration. */
export interface Access {
  profile?: string | undefined;
  region?: string | undefined;
  endpoint?: string | undefined;
  "force-path-style"?: boolean;
  "assume-role-arn"?: string | undefined;
  "assume-role-session-name"?: string;
  "ca-file"?: string | undefined;
}

/** How a client insists. */
export interface Patience {
  timeoutMs: number;
  maxRetries: number;
  bytesPerSecond?: number | undefined;
  isReader?: boolean;
}

/**
 * Prepares access to a bucket. Nothing is asked of any server yet. Unless a profile names a program that knows the
 * credentials, the right to run programs is given up.
 *
 * @throws {IbsrError} `usage`, if region or endpoint can't be used; what `openChain()` throws.
 */
export function prepareBucket(
  bucket: string,
  access: Access,
  { environment, signal }: Pick<Context, "environment" | "signal">,
): { chain: Chain; place: Place; endpoint: string | undefined; connect(patience: Patience): Client } {
  const { "assume-role-arn": arn, "assume-role-session-name": sessionName = "ibsr" } = access;
  const httpClient = { current: undefined as Deno.HttpClient | undefined };
  const chain = openChain({
    ...{ environment, profile: access.profile, region: access.region, signal },
    assumeRole: arn === undefined ? undefined : { arn, sessionName },
    httpClient: () => httpClient.current,
  });
  if (!chain.runsProcess) giveUp("run");
  httpClient.current = makeHttpClient(access["ca-file"] ?? chain.caFile);
  const endpoint = access.endpoint ?? readEndpoint(chain.endpoint);
  const region = chain.region ?? "us-east-1";
  if (!isRegion(region)) throw new IbsrError("usage", `Cannot use region "${region}": it is no region's name`);
  const place = { bucket, region, endpoint, pathStyle: access["force-path-style"] ?? false };
  const connect = (patience: Patience) => {
    if (endpoint !== undefined && goesInClear(endpoint)) {
      log("warning", `${endpoint} is not encrypted: sources' addresses can be read on the way`, {
        hint: "https:// encrypts; who else can read the network may learn who connects to this host",
      });
    }
    return openClient({
      ...{ place, chain, httpClient: httpClient.current, signal, userAgent: `ibsr/${VERSION}` },
      ...patience,
      bytesPerSecond: patience.bytesPerSecond,
    });
  };
  return { chain, place, endpoint, connect };
}

/** Whether what is sent there leaves the host unencrypted. */
export function goesInClear(endpoint: string): boolean {
  const { protocol, hostname } = new URL(endpoint.replace("{bucket}", "bucket"));
  return protocol === "http:" && !/^(127\.[\d.]+|\[::1\]|(.+\.)?localhost)$/.test(hostname);
}

function readEndpoint(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const result = endpointKind.parse(text);
  if ("value" in result) return result.value;
  throw new IbsrError(
    "usage",
    `Cannot use the endpoint of the AWS configuration, "${text}": expected ${result.expected}`,
  );
}

/** Trusts the certificates of that file too; undefined if there is none. */
export function makeHttpClient(path: string | undefined): Deno.HttpClient | undefined {
  if (path === undefined) return undefined;
  try {
    const certificates = Deno.readTextFileSync(path).match(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
    );
    if (!certificates) throw new Error("there is no PEM certificate in it");
    return Deno.createHttpClient({ caCerts: certificates });
  } catch (cause) {
    throw new IbsrError("usage", `Cannot use the certificates in ${path}: ${reason(cause)}`, { cause });
  }
}
