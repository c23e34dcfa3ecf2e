/**
 * The standard AWS credential chain: where keys come from, and new ones before they expire.
 *
 * In the order of the AWS command line: environment; the profile's role; a web identity token; the profile's keys, in
 * the credentials file, by a process, in the config file; container; EC2 instance. A profile named with `--profile`
 * puts the environment's keys aside. `--assume-role-arn` takes on a role with whatever was found.
 *
 * It is our own because @aws-sdk/credential-provider-node, which would do the same, makes the bundle 1.0 MB larger (it
 * has 0.4 MB without), adds 20 packages, can't be loaded lazily by the bundler, and goes through no proxy. What that
 * has and this hasn't is AWS IAM Identity Center (`sso_…`), whose log-in needs a person: such profiles are named as
 * unsupported.
 *
 * Secrets are in what `credentials()` returns and nowhere else: no error, log line or file of ours has one.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */
import { IbsrError, reason } from "../errors.ts";
import { log } from "../log.ts";
import { readText } from "./body.ts";
import {
  assumeRole,
  type Credentials,
  fromContainer,
  fromInstance,
  fromWebIdentity,
  identityOf,
  LONGEST_ANSWER,
  readAnswer,
  type Surroundings,
} from "./endpoints.ts";
import { mergeProfiles, parseProfiles, type Profile, splitWords } from "./profiles.ts";

/** What the chain starts from. */
export interface ChainOptions extends Surroundings {
  /** `--profile`. */
  profile?: string | undefined;
  /** A role to take on in the end. */
  assumeRole?: { arn: string; sessionName: string } | undefined;
}

/** The chain, with the settings of the profile that it uses. */
export interface Chain {
  /**
   * Keys that are valid for some minutes more. Asks again when those before are about to expire, or `fresh` is set.
   *
   * @throws {IbsrError} `permission`, if there are none: each place that was looked in and why it had none is in the hint.
   */
  credentials(options?: { fresh?: boolean }): Promise<Credentials>;
  /** Where the keys came from, in words; for `ibsr check`. */
  source(): string;
  /** `region` and `endpoint_url` of the environment or the profile. */
  region: string | undefined;
  endpoint: string | undefined;
  caFile: string | undefined;
  /** Whether asking for keys may start a process. */
  runsProcess: boolean;
}

/** Keys are renewed so long before they expire. */
const RENEW_MS = 5 * 60_000;

/** The chain's surroundings, and the profiles. */
type World = Surroundings & { profiles: Map<string, Profile> };

/** One place that may have credentials: undefined if it has none, which is for the next one to see to. */
interface Source {
  name: string;
  find(): Promise<Credentials | undefined>;
}

/**
 * Reads the configuration files and prepares the chain; asks for no credentials yet.
 *
 * @throws {IbsrError} `usage`: a file that can't be read as one, a profile that doesn't exist; `permission`: a file
 * that may not be read.
 */
export function openChain(options: ChainOptions): Chain {
  const { environment, signal } = options;
  const profiles = readProfiles(environment);
  const name = options.profile ?? environment.AWS_PROFILE ?? "default", profile = profiles.get(name);
  if (!profile && name !== "default") {
    throw new IbsrError("usage", `Cannot use profile "${name}": it is in no configuration file`, {
      hint: `there are: ${[...profiles.keys()].sort().join(", ") || "none"}`,
    });
  }
  const region = options.region ?? environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? profile?.region;
  const world: World = { ...options, region, profiles };
  const sources = listSources(world, { name, profile: profile ?? {}, named: options.profile !== undefined });

  let current: Credentials | undefined, from = "", pending: Promise<Credentials> | undefined;
  const renew = async (): Promise<Credentials> => {
    const found = await firstOf(sources);
    from = found.from;
    if (!options.assumeRole) return found.credentials;
    const { arn, sessionName } = options.assumeRole;
    from = `role ${arn} by ${from}`;
    return await assumeRole(world, found.credentials, { arn, sessionName });
  };
  return {
    async credentials({ fresh = false } = {}) {
      const left = (current?.expiresAt ?? Infinity) - Date.now();
      if (current && left > RENEW_MS && !fresh) return current;
      pending ??= renew().finally(() => pending = undefined);
      try {
        return current = await pending;
      } catch (error) {
        signal.throwIfAborted();
        if (!current || left <= 0 || fresh) throw error;
        log(
          "warning",
          `the credentials expire in ${Math.ceil(left / 60_000)} min and could not be renewed: ${reason(error)}`,
        );
        return current;
      }
    },
    source: () => from,
    region,
    endpoint: environment.AWS_ENDPOINT_URL_S3 ?? environment.AWS_ENDPOINT_URL ?? profile?.endpoint_url,
    caFile: environment.AWS_CA_BUNDLE ?? profile?.ca_bundle,
    runsProcess: [...usedProfiles(name, profiles)].some((p) => p.credential_process !== undefined),
  };
}

async function firstOf(sources: readonly Source[]): Promise<{ credentials: Credentials; from: string }> {
  const tried: string[] = [];
  for (const { name, find } of sources) {
    const credentials = await find();
    if (credentials) return { credentials, from: name };
    tried.push(name);
  }
  throw new IbsrError("permission", "Cannot sign requests: there are no credentials", {
    hint: `looked in: ${tried.join("; ")}. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment are the ` +
      "shortest way",
  });
}

function listSources(world: World, { name, profile, named }: { name: string; profile: Profile; named: boolean }) {
  const sources: Source[] = [];
  const add = (sourceName: string, find: Source["find"]) => sources.push({ name: sourceName, find });
  if (!named) add("the environment", () => Promise.resolve(fromEnvironment(world.environment)));
  add(`profile "${name}"`, () => fromRoleProfile(world, profile, [name]));
  if (!named) add("a web identity token", () => fromWebIdentity(world, identityOf(world.environment)));
  add(`the keys of profile "${name}"`, () => fromProfile(world, profile, name));
  add("the container", () => fromContainer(world));
  add("the EC2 instance", () => fromInstance(world));
  return sources;
}

// ------------------------------------------------------------------------------------- environment and profiles

function fromEnvironment(environment: Record<string, string>): Credentials | undefined {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
  if (!accessKeyId && !secretAccessKey) return undefined;
  if (!accessKeyId || !secretAccessKey) {
    const missing = accessKeyId ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID";
    throw new IbsrError("permission", `Cannot use the environment's credentials: ${missing} is missing`);
  }
  return { accessKeyId, secretAccessKey, sessionToken: environment.AWS_SESSION_TOKEN || undefined };
}

function readProfiles(environment: Record<string, string>): Map<string, Profile> {
  const read = (kind: "config" | "credentials", variable: string) => {
    const named = environment[variable], home = environment.HOME ?? "";
    if (named === undefined && home === "") return new Map<string, Profile>();
    const path = (named ?? `~/.aws/${kind}`).replace(/^~(?=\/)/, home);
    try {
      return parseProfiles(Deno.readTextFileSync(path), { path, kind });
    } catch (cause) {
      if (cause instanceof IbsrError) throw cause;
      // Without a name nothing need be there: a unit with ProtectHome= has no home to look in.
      const absent = cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory;
      if (absent || (named === undefined && cause instanceof Deno.errors.PermissionDenied)) return new Map();
      throw new IbsrError("permission", `Cannot read ${path}: ${reason(cause)}`, { cause });
    }
  };
  return mergeProfiles(read("config", "AWS_CONFIG_FILE"), read("credentials", "AWS_SHARED_CREDENTIALS_FILE"));
}

/** A profile and those that its `source_profile` leads to. */
function* usedProfiles(name: string, profiles: Map<string, Profile>): Generator<Profile> {
  const seen = new Set<string>();
  for (let at: string | undefined = name; at !== undefined && !seen.has(at);) {
    seen.add(at);
    const profile: Profile | undefined = profiles.get(at);
    if (!profile) return;
    yield profile;
    at = profile.source_profile;
  }
}

/** The role that a profile names, taken on with another's credentials. `path` is how we came to it. */
async function fromRoleProfile(world: World, profile: Profile, path: string[]): Promise<Credentials | undefined> {
  const { role_arn: arn, source_profile: sourceName, credential_source: sourceKind } = profile;
  if (arn === undefined || profile.web_identity_token_file !== undefined) return undefined;
  const name = path.at(-1)!;
  const fail = (state: string) => new IbsrError("permission", `Cannot take on the role of profile "${name}": ${state}`);
  if (profile.mfa_serial !== undefined) throw fail("mfa_serial needs a person to type a code, and is not supported");
  let base: Credentials | undefined;
  if (sourceName !== undefined) {
    const source = world.profiles.get(sourceName);
    if (!source) throw fail(`source_profile "${sourceName}" does not exist`);
    // A profile that names itself has the keys as well as the role.
    if (sourceName !== name && path.includes(sourceName)) throw fail(`source_profile goes round in a circle`);
    base = (sourceName === name ? undefined : await fromRoleProfile(world, source, [...path, sourceName])) ??
      await fromProfile(world, source, sourceName);
    if (!base) throw fail(`source_profile "${sourceName}" has no credentials`);
  } else if (sourceKind !== undefined) {
    const kinds: Record<string, () => Promise<Credentials | undefined>> = {
      Environment: () => Promise.resolve(fromEnvironment(world.environment)),
      EcsContainer: () => fromContainer(world),
      Ec2InstanceMetadata: () => fromInstance(world),
    };
    const find = kinds[sourceKind];
    if (!find) throw fail(`credential_source is none of ${Object.keys(kinds).join(", ")}`);
    base = await find();
    if (!base) throw fail(`credential_source ${sourceKind} has no credentials`);
  } else {
    throw fail("it has neither source_profile nor credential_source");
  }
  return await assumeRole(world, base, {
    arn,
    sessionName: profile.role_session_name ?? "ibsr-export",
    externalId: profile.external_id,
    durationSec: profile.duration_seconds,
  });
}

/** Everything of a profile but a role with another's credentials. */
async function fromProfile(world: World, profile: Profile, name: string): Promise<Credentials | undefined> {
  const identity = await fromWebIdentity(world, {
    tokenFile: profile.web_identity_token_file,
    arn: profile.role_arn,
    sessionName: profile.role_session_name,
  });
  if (identity) return identity;
  const { aws_access_key_id: accessKeyId, aws_secret_access_key: secretAccessKey } = profile;
  if (accessKeyId && secretAccessKey) {
    return { accessKeyId, secretAccessKey, sessionToken: profile.aws_session_token || undefined };
  }
  if (profile.credential_process !== undefined) return await fromProcess(profile.credential_process, name);
  if (Object.keys(profile).some((key) => key.startsWith("sso_"))) {
    throw new IbsrError(
      "permission",
      `Cannot use profile "${name}": sso_session (IAM Identity Center) is not supported`,
      {
        hint:
          "its log-in needs a person; `aws configure export-credentials --format process` can be a credential_process",
      },
    );
  }
  if (accessKeyId || secretAccessKey) {
    throw new IbsrError("permission", `Cannot use profile "${name}": one of its two keys is missing`);
  }
  return undefined;
}

/** @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html */
async function fromProcess(line: string, profile: string): Promise<Credentials> {
  const from = `the credential_process of profile "${profile}"`;
  const fail = (state: string, cause?: unknown) =>
    new IbsrError("permission", `Cannot get credentials from ${from}: ${state}`, { cause });
  const [program, ...args] = splitWords(line) ?? [];
  if (program === undefined) throw fail("it is no command line");
  let text: string, status: Deno.CommandStatus;
  try {
    const signal = AbortSignal.timeout(60_000);
    // What it writes to standard error stays unsaid: it may be a secret.
    const command = new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "null", signal });
    await using child = command.spawn(); // ended, if it says too much
    text = await readText(child.stdout, LONGEST_ANSWER);
    status = await child.status;
  } catch (cause) {
    throw fail(reason(cause), cause);
  }
  if (!status.success) {
    throw fail(status.signal ? `it was ended by ${status.signal}` : `its exit code is ${status.code}`);
  }
  const credentials = readAnswer(text, from);
  if (JSON.parse(text).Version !== 1) throw fail("its Version is not 1");
  return credentials;
}
