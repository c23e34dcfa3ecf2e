/**
 * What `ibsr export s3` takes, and the kinds of text that only its options have.
 */
import { isRegion } from "../../s3/region.ts";
import { expectedPort } from "../blocked_ports.ts";
import { CONFIGURED, defineCommand, SPOOL } from "../command.ts";
import {
  choiceKind,
  flag,
  integerKind,
  type Kind,
  option,
  secondsKind,
  sizeKind,
  textKind,
  type Values,
} from "../options.ts";

const WEEK_SEC = 7 * 86400;

/** A length of time: `90s`, `30m`, `12h`, `7d`, or seconds. S3 signs for a week at most. */
const durationKind: Kind<number> = {
  metavar: "DUR",
  parse: (text) => {
    const match = /^(\d{1,6})([smhd]?)$/.exec(text), units = { "": 1, s: 1, m: 60, h: 3600, d: 86400 };
    const value = match ? Number(match[1]) * units[match[2] as keyof typeof units] : NaN;
    return value >= 1 && value <= WEEK_SEC
      ? { value }
      : { expected: "a time such as 90s, 30m, 12h or 7d, 7 days at most" };
  },
};

const bucketKind: Kind<string> = {
  metavar: "BUCKET",
  json: ["string"],
  parse: (text) =>
    /^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$/.test(text)
      ? { value: text }
      : { expected: "a bucket's name, without s3:// and slashes" },
};

/** The name of a region. */
export const regionKind: Kind<string> = {
  metavar: "REGION",
  json: ["string"],
  parse: (text) => isRegion(text) ? { value: text } : { expected: "a region such as eu-central-1" },
};

/** The URL of an S3 server. */
export const endpointKind: Kind<string> = {
  metavar: "URL",
  json: ["string"],
  parse: (text) => {
    const url = URL.parse(text.replace("{bucket}", "bucket"));
    const isPlain = url && /^https?:$/.test(url.protocol) && !url.username && !url.search && !url.hash;
    if (!isPlain) return { expected: "an http or https URL" };
    const expected = expectedPort(url);
    return expected === undefined ? { value: text } : { expected };
  },
};

const tagKind: Kind<[string, string]> = {
  metavar: "KEY=VALUE",
  json: ["string"],
  parse: (text) => {
    const match = /^([^=]{1,128})=(.{0,256})$/s.exec(text);
    return match ? { value: [match[1]!, match[2]!] } : { expected: "KEY=VALUE" };
  },
};

const contextKind: Kind<string> = {
  metavar: "JSON",
  json: ["string"],
  parse: (text) => {
    try {
      const value = JSON.parse(text);
      const isFlat = typeof value === "object" && value !== null &&
        Object.values(value).every((v) => typeof v === "string");
      if (isFlat && !Array.isArray(value)) return { value: JSON.stringify(value) };
    } catch {
      // Said below.
    }
    return { expected: 'an object of texts such as {"team":"net"}' };
  },
};

/** The options of `ibsr export s3`. */
export const EXPORT_OPTIONS = {
  input: option(textKind("DIR"), {
    group: "What to upload",
    help: "Folder to upload from, subfolders too. Its ledger, export.jsonl, says what was uploaded.",
    defaultHelp: "--out-dir",
  }),
  "out-dir": { ...SPOOL["out-dir"], group: "What to upload", help: "The collector's spool." },
  include: option(textKind("GLOB"), {
    group: "What to upload",
    repeat: true,
    help: "Files besides sealed segments and the files of a report; by name, or by path below DIR.",
  }),
  exclude: option(textKind("GLOB"), { group: "What to upload", repeat: true, help: "Files to leave out." }),
  "include-open": option(flag, {
    group: "What to upload",
    help: "Open segments too: their whole lines so far, again whenever there are more.",
  }),
  "delete-after-upload": option(flag, {
    group: "What to upload",
    help: "Delete sealed segments here once they are stored.",
  }),
  bucket: option(bucketKind, { group: "Where to", help: "The bucket. Required." }),
  prefix: option(textKind("PREFIX"), {
    group: "Where to",
    help: "What object keys begin with; / for nothing.",
    defaultHelp: "ibsr/HOSTNAME/, then RUN/ with --run-id",
  }),
  layout: option(choiceKind("LAYOUT", ["plain", "hive"]), {
    group: "Where to",
    default: "plain",
    help: "Paths as in DIR, or below host=…/date=…/hour=…/, by which query engines choose what to read. With hive " +
      "the default prefix is ibsr/.",
  }),
  region: option(regionKind, {
    group: "Where to",
    help: "The bucket's region.",
    defaultHelp: "AWS_REGION, the profile's, us-east-1",
  }),
  endpoint: option(endpointKind, {
    group: "Where to",
    help: "An S3 server other than AWS; {bucket} in it where the bucket is part of the host name.",
    defaultHelp: "AWS_ENDPOINT_URL_S3, AWS",
  }),
  "force-path-style": option(flag, { group: "Where to", help: "The bucket in the path on AWS too." }),
  profile: option(textKind("PROFILE"), {
    group: "Credentials",
    help: "A profile of the AWS configuration files, in place of the environment's keys.",
    defaultHelp: "AWS_PROFILE",
  }),
  "assume-role-arn": option(textKind("ARN"), { group: "Credentials", help: "A role to take on, by STS." }),
  "assume-role-session-name": option(textKind("TEXT"), {
    group: "Credentials",
    default: "ibsr-export",
    help: "What its session is called in logs.",
  }),
  "ca-file": option(textKind("FILE"), {
    group: "Credentials",
    help: "Certificates (PEM) to trust besides the usual ones.",
    defaultHelp: "AWS_CA_BUNDLE",
  }),
  sse: option(choiceKind("HOW", ["none", "s3", "kms"]), {
    group: "Objects",
    default: "none",
    help: "Encryption to ask for; with none the bucket's own default decides.",
  }),
  "kms-key-id": option(textKind("KEY"), { group: "Objects", help: "The key of --sse kms." }),
  "kms-context": option(contextKind, { group: "Objects", help: "The encryption context of --sse kms." }),
  "storage-class": option(textKind("CLASS"), { group: "Objects", help: "Such as STANDARD_IA." }),
  tag: option(tagKind, { group: "Objects", repeat: true, help: "Tag every object; needs s3:PutObjectTagging." }),
  compress: option(choiceKind("HOW", ["none", "zstd", "gzip"]), {
    group: "Objects",
    default: "none",
    help: "Compress sealed segments that are not yet; their keys end in .zst or .gz.",
  }),
  overwrite: option(flag, {
    group: "Objects",
    help: "Replace objects that are there and not in the ledger.",
  }),
  manifest: option(flag, { group: "Objects", help: "Store what a run uploaded as PREFIX/manifests/RUN.json." }),
  "run-id": option(textKind("RUN"), {
    group: "Objects",
    help: "The run's name in manifest and metadata.",
    defaultHelp: "its time",
  }),
  concurrency: option(integerKind("N", 1, 64), {
    group: "Transfer",
    default: "4",
    help: "Objects and parts at a time; each may take some 40 MiB of memory.",
  }),
  "max-retries": option(integerKind("N", 0, 100), {
    group: "Transfer",
    default: "8",
    help: "Attempts after the first, where another one can help.",
  }),
  "timeout-sec": option(secondsKind(0.1, 3600), {
    group: "Transfer",
    default: "60",
    help: "Longest wait for an answer, and a second more for each 128 KiB sent.",
  }),
  "bandwidth-limit": option(sizeKind(1024), {
    group: "Transfer",
    help: "Most bytes a second, on average: a pause before each object or part, which is then 5 MiB at most.",
    defaultHelp: "none",
  }),
  presign: option(durationKind, {
    group: "Output",
    help: "Print URLs with which anyone can GET the objects for so long.",
  }),
  output: option(choiceKind("FORMAT", ["text", "json"]), {
    group: "Output",
    default: "text",
    help: "A summary, or a manifest of the run.",
  }),
  "dry-run": option(flag, {
    group: "Output",
    help: "Print what would be uploaded. Asks no server and writes nothing.",
  }),
  "print-policy": option(flag, { group: "Output", help: "Print the IAM policy that this needs, and do nothing else." }),
  watch: option(flag, { group: "Output", help: "Keep running: upload segments as they are sealed." }),
  ...CONFIGURED,
};

/** The values of `ibsr export s3`'s options. */
export type ExportValues = Values<typeof EXPORT_OPTIONS>;

export const exportCommand = defineCommand({
  name: "export s3",
  summary: "upload sealed segments to S3, each once",
  description:
    "Uploads what the folder's ledger doesn't know as stored, several at a time, in parts from 16 MiB on. However it " +
    "ends, the next run goes on from there, and nothing is stored twice or in part. Objects that exist are not " +
    "replaced.\n\n" +
    "It needs s3:PutObject and s3:AbortMultipartUpload on the prefix, nothing else (--print-policy).\n\n" +
    "Credentials come as for the AWS command line: environment, configuration files, web identity, container, EC2. " +
    "They are never options. HTTPS_PROXY and NO_PROXY are obeyed. Exit code: 0 if all is stored, 69 if something " +
    "is not, 77 without credentials or permission.",
  examples: [
    ["ibsr export s3 --bucket B --region eu-central-1", "The collector's spool, to ibsr/HOSTNAME/ in B."],
    ["ibsr export s3 --input ./report --bucket B --prefix reports/7 --presign 7d", "A report, with links to it."],
    ["ibsr export s3 --bucket B --endpoint https://s3.example.net --watch", "As they are sealed."],
  ],
  permissions: ["read", "write", "net", "sys", "run"],
  options: EXPORT_OPTIONS,
  load: async () => (await import("../export.ts")).runExportS3,
});
