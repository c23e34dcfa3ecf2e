/**
 * What `ibsr report` takes; the thresholds and gates are also those of others.
 */
import type { NativeOptions } from "../../policy/native.ts";
import { DEFAULT_THRESHOLDS } from "../../policy/thresholds.ts";
import { parsePrefix, type Prefix } from "../../prefix.ts";
import { DEFAULT_LIMITS } from "../../report/gate_limits.ts";
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";
import {
  choiceKind,
  flag,
  integerKind,
  type Kind,
  numberKind,
  option,
  portsKind,
  secondsKind,
  shareKind,
  textKind,
} from "../options.ts";
import { endpointKind, regionKind } from "./export.ts";

/** Which bits of an address are counted together. */
const aggregateKind: Kind<NativeOptions["aggregateBits"]> = {
  metavar: "UNIT",
  json: ["string"],
  choices: ["src", "/24", "/48", "/24,/48"],
  parse: (text) => {
    const parts = text.split(",").map((part) => part.trim());
    if (text !== "src" && !parts.every((part) => part === "/24" || part === "/48")) {
      return { expected: "src, /24 (IPv4), /48 (IPv6) or /24,/48" };
    }
    return { value: { v4: parts.includes("/24") ? 24 : 32, v6: parts.includes("/48") ? 48 : 128 } };
  },
};

const addressKind: Kind<Prefix> = {
  metavar: "ADDRESS",
  json: ["string"],
  parse: (text) => {
    const prefix = parsePrefix(text);
    return prefix ? { value: prefix } : { expected: "an address or a CIDR" };
  },
};

const rate = (metavar: string) => numberKind(metavar, 0.001, 1e12);

/** The server that `s3://` means; credentials come as for the AWS command line. */
export const S3_SOURCE_OPTIONS = {
  "s3-region": option(regionKind, {
    group: "Evidence",
    help: "For s3://: the bucket's region.",
    defaultHelp: "AWS_REGION, the profile's, us-east-1",
  }),
  "s3-endpoint": option(endpointKind, {
    group: "Evidence",
    help: "For s3://: a server other than AWS.",
    defaultHelp: "AWS_ENDPOINT_URL_S3, AWS",
  }),
  "s3-path-style": option(flag, { group: "Evidence", help: "For s3://: the bucket in the path on AWS too." }),
};

/** Where evidence comes from and goes to, and what is done with the verdict. */
export const REPORT_OPTIONS = {
  in: option(textKind("PATH"), {
    group: "Evidence",
    short: "i",
    repeat: true,
    help: "File or folder of snapshots, also compressed, or s3://BUCKET/PREFIX; may be given several times, or as " +
      "operands. Required.",
  }),
  ...S3_SOURCE_OPTIONS,
  out: option(textKind("DIR"), {
    group: "Report",
    short: "o",
    help: "Folder for the report: made if missing. Required.",
  }),
  "dst-ports": option(portsKind, {
    group: "Evidence",
    repeat: true,
    help: "Look at these destination ports only.",
    defaultHelp: "all that were counted",
  }),
  allowlist: option(textKind("FILE"), {
    group: "Evidence",
    repeat: true,
    help: "Addresses and CIDRs that must never be blocked, one a line; # starts a comment.",
  }),
  "self-address": option(addressKind, {
    group: "Evidence",
    repeat: true,
    help: "Own address, gateway or resolver: a rule that would block it is not ready.",
  }),
  json: { ...JSON_OUTPUT.json, group: "Report", help: "Print summary.json in place of the text." },
};

/** Limits of the gates. */
export const GATE_OPTIONS = {
  "fp-limit": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.fpLimit}`,
    help: "Likely-legitimate sources that may be hit, as an upper limit at 95 %: 0.02 or 2%, as all shares.",
  }),
  "min-days": option(numberKind("DAYS", 0, 3650), {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.minDays}`,
    help: "Least time of observation.",
  }),
  "min-coverage": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.minCoverage}`,
    help: "Least share of that time that was watched.",
  }),
  "max-loss": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.maxLoss}`,
    help: "Largest share of packets without a source.",
  }),
  "max-blur": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.maxBlur}`,
    help: "Largest distance of the bounds, as a share of the upper one.",
  }),
  "max-mixed": option(integerKind("N", 0, 1e9), {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.maxMixed}`,
    help: "Would-be-blocked sources that may be in legitimate use, too.",
  }),
  "min-effect": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.minEffect}`,
    help: "Least share of SYNs that certainly would be dropped, unless an abusive source is.",
  }),
  "max-spoofed": option(shareKind, {
    group: "Verdict",
    default: `${DEFAULT_LIMITS.maxSpoofed}`,
    help: "Largest share of SYNs from sources that were seen once.",
  }),
  "exit-code": option(flag, {
    group: "Verdict",
    help: "Exit 0 for READY, 1 for NOT READY, 2 for INSUFFICIENT EVIDENCE.",
  }),
};

/** Thresholds of the default policy. */
export const POLICY_OPTIONS = {
  "window-sec": option(secondsKind(0.1, 86_400), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.windowMs / 1000}`,
    help: "Window that rates are taken over.",
  }),
  "syn-rate-threshold": option(rate("RATE"), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.synRate}`,
    help: "syn_flood: SYN/s of a source to a port, at least.",
  }),
  "success-ratio-threshold": option(shareKind, {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.successRatio}`,
    help: "syn_flood: share of SYNs that became connections in use, at most.",
  }),
  "block-duration-sec": option(secondsKind(0.1, 31_536_000), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.blockDurationMs / 1000}`,
    help: "How long a source stays blocked after the last window that met a rule.",
  }),
  "vol-syn-rate": option(rate("RATE"), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.volSynRate}`,
    help: "volumetric: SYN/s; two of three count.",
  }),
  "vol-pkt-rate": option(rate("RATE"), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.volPacketRate}`,
    help: "volumetric: packets/s.",
  }),
  "vol-byte-rate": option(rate("RATE"), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.volByteRate}`,
    help: "volumetric: bytes/s.",
  }),
  "sweep-ports": option(integerKind("N", 2, 65_535), {
    group: "Policy",
    default: `${DEFAULT_THRESHOLDS.sweepPorts}`,
    help: "port_sweep: monitored ports that a source opens within the window, at least.",
  }),
  aggregate: option(aggregateKind, {
    group: "Policy",
    default: "src",
    help: "Count and block by source, or by network: /24 (IPv4), /48 (IPv6), or both.",
  }),
};

export const REPORT_COMMAND_OPTIONS = {
  ...REPORT_OPTIONS,
  ...POLICY_OPTIONS,
  ...GATE_OPTIONS,
  profile: option(choiceKind("PROFILE", ["ibsr", "nr-ibsr"]), {
    group: "Report",
    default: "ibsr",
    help: "nr-ibsr: rules.json, evidence.csv and report.md as the existing IBSR writes them, by its own arithmetic.",
  }),
  "fp-safe-ratio": option(shareKind, {
    group: "Report",
    default: "0.5",
    help: "Of --profile nr-ibsr only: handshake ratio from which on it counts a source as a false positive.",
  }),
  "min-samples-for-fp": option(integerKind("N", 0, 1e9), {
    group: "Report",
    default: "10",
    help: "Of --profile nr-ibsr only: sources it needs to give a false-positive share.",
  }),
  ...COMMON,
};

export const reportCommand = defineCommand({
  name: "report",
  summary: "what blocking would have done, and to whom",
  operands: "[PATH…]",
  description:
    "Reads snapshots of every version, of one host or many, and simulates the default policy on them: what would have " +
    "been dropped, as lower and upper bounds that hold for every order of the packets; who of the legitimate would have " +
    "been hit; what was not seen. The verdict is READY only if every gate passes.",
  examples: [
    ["ibsr report --in /var/lib/ibsr/snapshots --out report", "What the last days say."],
    ["ibsr report -i a/ -i b/ -o report --exit-code && deploy", "Two hosts at once; go on only if READY."],
    [
      "ibsr report -i spool -o report --syn-rate-threshold 50 --allowlist ours.txt",
      "A stricter rule, own addresses apart.",
    ],
  ],
  permissions: ["read", "write", "net", "run"], // the last two for s3:// alone
  options: REPORT_COMMAND_OPTIONS,
  load: async () => (await import("../report.ts")).runReport,
});
