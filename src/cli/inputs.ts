/**
 * Opens and reads what `--in` names: files, folders, and `s3://BUCKET/PREFIX`.
 */
import { IbsrError } from "../errors.ts";
import { type Evidence, readEvidence } from "../evidence/read.ts";
import { type Input, isSegmentName, listInputs, makeInput, noSegmentError } from "../input.ts";
import { getObject, listObjects, parseS3Url } from "../s3/read.ts";
import { prepareBucket } from "./bucket.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import { giveUp } from "./permissions.ts";
import { createBar } from "./progress.ts";
import type { S3_SOURCE_OPTIONS } from "./tables/report.ts";
import { formatNumberOf, showName, showText } from "../words.ts";

/**
 * The files of all paths. Without a path of S3 the network is given up.
 *
 * @throws {IbsrError} `data`, if a path can't be read or holds no segment; `network` and `permission`, if a bucket
 * can't be listed.
 */
export async function openInputs(
  paths: readonly string[],
  values: Values<typeof S3_SOURCE_OPTIONS>,
  context: Pick<Context, "environment" | "signal">,
): Promise<Input[]> {
  if (!paths.some((path) => parseS3Url(path))) {
    giveUp("net", "run");
    return listInputs(paths);
  }
  const inputs: Input[] = [];
  for (const path of paths) {
    const place = parseS3Url(path);
    inputs.push(...place ? await listBucket(place, values, context) : listInputs([path]));
  }
  return inputs;
}

async function listBucket(
  { bucket, prefix }: { bucket: string; prefix: string },
  values: Values<typeof S3_SOURCE_OPTIONS>,
  context: Pick<Context, "environment" | "signal">,
): Promise<Input[]> {
  const client = prepareBucket(bucket, {
    ...{ region: values["s3-region"], endpoint: values["s3-endpoint"], "force-path-style": values["s3-path-style"] },
  }, context).connect({ timeoutMs: 60_000, maxRetries: 8, isReader: true });
  const inputs: Input[] = [];
  for await (const { key, size } of listObjects(client, prefix)) {
    if (!isSegmentName(key.slice(key.lastIndexOf("/") + 1))) continue;
    inputs.push(makeInput({ path: `s3://${bucket}/${key}`, bytes: size, open: () => getObject(client, key) }));
  }
  if (inputs.length === 0) throw noSegmentError(`s3://${bucket}/${prefix}`);
  return inputs;
}

/** Their size together, as they are stored; infinite if one's isn't known. */
export function storedBytes(inputs: readonly Input[]): number {
  return inputs.reduce((sum, { bytes = Infinity }) => sum + bytes, 0);
}

/**
 * Reads the inputs, with a line on a terminal.
 *
 * @throws {IbsrError} `data`, if there are lines and none of them is a snapshot; as `readEvidence()`.
 */
export async function readWithProgress(inputs: readonly Input[], signal: AbortSignal): Promise<Evidence> {
  const bar = createBar("reading");
  try {
    const evidence = await readEvidence(inputs, {
      signal,
      progress: (done, total) => bar.show(total ? done / total : 0, `${Math.round(done / 1e6)} MB`),
    });
    const { badLines, badLineCount, versions } = evidence;
    if (versions.length > 0 || badLineCount === 0) return evidence;
    evidence[Symbol.dispose]();
    const first = inputs.find(({ path }) => path === badLines[0]!.path);
    throw describeNoSnapshot({ files: inputs.length, badLines, badLineCount }, first && await readBegin(first));
  } finally {
    bar.clear();
  }
}

// ------------------------------------------------------------------------------------------------ not snapshots

/** What is looked at to tell what a file is. */
const BEGIN_BYTES = 4096;

/** The first bytes of a file; none if they can't be had. */
async function readBegin(input: Input): Promise<Uint8Array | undefined> {
  try {
    for await (const part of input.read()) return part.slice(0, BEGIN_BYTES);
  } catch {
    // What is wrong with it has been said.
  }
  return undefined;
}

/**
 * The error for input that has lines of which none is a snapshot: nothing can be reported of it, not even that nothing
 * was seen.
 *
 * @param begin The first bytes of the file with the first of these lines.
 */
export function describeNoSnapshot(
  { files, badLines: [first], badLineCount }: Pick<Evidence, "badLines" | "badLineCount"> & { files: number },
  begin?: Uint8Array,
): IbsrError {
  const more = files > 1 ? ` and ${formatNumberOf(files - 1, "more file")}` : "";
  const lines = badLineCount === 1
    ? "its only line is no snapshot"
    : files > 1
    ? `none of their ${formatNumberOf(badLineCount, "line")} is a snapshot`
    : `none of its ${formatNumberOf(badLineCount, "line")} is a snapshot`;
  const { path, line, reason } = first!, looks = begin && LOOKS.find(({ is }) => is(begin));
  const what = looks ? `; it looks like ${looks.what}` : "";
  return new IbsrError(
    "data",
    `Cannot read ${showName(path)}${more}: ${lines} (line ${line}: ${showText(reason, 160)})${what}`,
    {
      hint: looks?.hint ??
        "--in takes what `ibsr collect` wrote: its spool, or segments of it (*.jsonl, also as .gz or .zst)",
    },
  );
}

/** What may be given by mistake, by how it begins, and what to do with it. */
const LOOKS: readonly { is(begin: Uint8Array): boolean; what: string; hint?: string }[] = [
  {
    // pcap in either byte order, of microseconds or nanoseconds, and pcapng.
    is: (begin) =>
      ["a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"].some((magic) => startsWith(begin, magic)),
    what: "a capture",
    hint: "`ibsr replay -o SPOOL CAPTURE` makes snapshots of a capture",
  },
  { is: (begin) => startsWith(begin, "1f8b"), what: "gzip, which is read as such if its name ends with .gz" },
  { is: (begin) => startsWith(begin, "28b52ffd"), what: "Zstandard, which is read as such if its name ends with .zst" },
  {
    is: (begin) => /^\s*\{\s*"format": ?"ibsr-/.test(new TextDecoder().decode(begin)),
    what: "a file of a report, not what a report is made of",
  },
  { is: (begin) => begin.includes(0), what: "a binary file" },
];

function startsWith(begin: Uint8Array, magic: string): boolean {
  return begin.subarray(0, magic.length / 2).toHex() === magic;
}
