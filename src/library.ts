/**
 * What a program calls in place of `ibsr report` and `ibsr simulate`: a policy, and what it would have done.
 *
 * They take what a caller knows as texts and numbers, and the defaults for all else. Pure: evidence is read elsewhere
 * (src/evidence/read.ts), and nothing is written.
 */
import project from "../deno.json" with { type: "json" };
import { createPrefixSet, type PrefixSet } from "./allowlist.ts";
import { IbsrError } from "./errors.ts";
import { chooseEngine } from "./policy/engines.ts";
import { nativePolicy } from "./policy/native.ts";
import type { LoadOptions, Policy, PolicyFile } from "./policy/policy.ts";
import { DEFAULT_THRESHOLDS, type Thresholds } from "./policy/thresholds.ts";
import { parsePrefix } from "./prefix.ts";
import { assess, type AssessedEvidence } from "./report/assess.ts";
import { DEFAULT_LIMITS, type GateLimits } from "./report/gate_limits.ts";
import type { Assessment } from "./report/summary.ts";

/** The default policy with the thresholds that it was made with. */
export interface DefaultPolicy extends Policy {
  /** As they were given, the defaults for those that were not. */
  thresholds: Thresholds;
  /** Addresses and CIDRs that it never counts and never blocks. */
  allowlist: readonly string[];
}

/**
 * The policy that `ibsr report` tries: SYN floods, volumetric abuse and port sweeps, by source.
 *
 * @param options Thresholds that are not the default, and addresses that must never be blocked.
 * @throws {IbsrError} `usage`: a text of the allowlist that is neither an address nor a CIDR.
 */
export function defaultPolicy(
  { allowlist = [], ...given }: Partial<Thresholds> & { allowlist?: readonly string[] } = {},
): DefaultPolicy {
  const thresholds = { ...DEFAULT_THRESHOLDS, ...given };
  return { ...nativePolicy({ ...thresholds, allowlist: prefixesOf(allowlist) }), thresholds, allowlist };
}

/**
 * The policy that another engine's files hold.
 *
 * @param files Those that belong together, as texts.
 * @param options The engine's name, where the files don't tell, and what they don't say.
 * @throws {IbsrError} `usage` or `data`: the engine can't be told; `data`: the files have an error, the first of which
 * is the message.
 */
export function readPolicy(files: readonly PolicyFile[], options: LoadOptions & { engine?: string } = {}): Policy {
  const { engine: name, ...rest } = options, choice = chooseEngine(files, name);
  const policy = "engine" in choice ? choice.engine.load(files, rest) : undefined;
  const error = (policy?.findings ?? ("findings" in choice ? choice.findings : [])).find((f) => f.severity === "error");
  if (policy && !error) return policy;
  const at = error?.place ? `${error.place.path}:${error.place.line}:${error.place.column}: ` : "";
  throw new IbsrError("data", `Cannot use the policy: ${at}${error?.message ?? "it can't be read"}`);
}

/** What moves the answer besides the policy. */
export interface AssessPolicyOptions {
  /** Limits of the gates that are not the default. */
  limits?: Partial<GateLimits>;
  /** Addresses and CIDRs that must never be blocked, besides the policy's own. */
  allowlist?: readonly string[];
  /** Own addresses, gateways and resolvers: a policy that would block one is not ready. */
  selfAddresses?: readonly string[];
  /** Destination ports to look at; all that were counted if not given. */
  ports?: readonly number[];
  /** The time that the report says it was made at, seconds since 1970; the end of the evidence if not given. */
  generatedAtUnixSec?: number;
}

/**
 * What a policy would have done to the traffic that was counted, to whom, and whether that is proof enough.
 *
 * @throws {IbsrError} `usage`: a text that is neither an address nor a CIDR.
 */
export async function assessPolicy(
  evidence: AssessedEvidence,
  policy: Policy | DefaultPolicy,
  options: AssessPolicyOptions = {},
): Promise<Assessment> {
  const { thresholds, allowlist = [] } = "thresholds" in policy ? policy : {};
  const { limits, generatedAtUnixSec, ports } = options;
  return await assess(evidence, policy, {
    ibsrVersion: project.version,
    generatedAtUnixSec,
    options: {},
    limits: { ...DEFAULT_LIMITS, ...limits },
    allowlist: prefixesOf([...allowlist, ...options.allowlist ?? []]),
    selfAddresses: prefixesOf(options.selfAddresses ?? []),
    ports,
    sweep: thresholds,
    floodRate: thresholds?.synRate ?? DEFAULT_THRESHOLDS.synRate,
  });
}

function prefixesOf(texts: readonly string[]): PrefixSet {
  return createPrefixSet(texts.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix) return prefix;
    throw new IbsrError(
      "usage",
      `Cannot use ${JSON.stringify(text.slice(0, 60))}: it is neither an address nor a CIDR`,
    );
  }));
}
