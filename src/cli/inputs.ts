/**
 * Opens and reads what `--in` names: files, folders, and `s3://BUCKET/PREFIX`.
 */
import { IbsrError } from "../errors.ts";
import { type Evidence, readEvidence } from "../evidence/read.ts";
import { type Input, isSegmentName, listInputs, makeInput } from "../input.ts";
import { getObject, listObjects, parseS3Url } from "../s3/read.ts";
import { prepareBucket } from "./bucket.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import { giveUp } from "./permissions.ts";
import { createBar } from "./progress.ts";
import type { S3_SOURCE_OPTIONS } from "./tables/report.ts";

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
  }, context).connect({ timeoutMs: 60_000, maxRetries: 8 });
  const inputs: Input[] = [];
  for await (const { key, size } of listObjects(client, prefix)) {
    if (!isSegmentName(key.slice(key.lastIndexOf("/") + 1))) continue;
    inputs.push(makeInput({ path: `s3://${bucket}/${key}`, bytes: size, open: () => getObject(client, key) }));
  }
  if (inputs.length === 0) {
    throw new IbsrError("data", `Cannot read s3://${bucket}/${prefix}: no segment (*.jsonl) is in it`);
  }
  return inputs;
}

/** Their size together, as they are stored; infinite if one's isn't known. */
export function storedBytes(inputs: readonly Input[]): number {
  return inputs.reduce((sum, { bytes = Infinity }) => sum + bytes, 0);
}

/** Reads the inputs, with a line on a terminal. */
export async function readWithProgress(inputs: readonly Input[], signal: AbortSignal): Promise<Evidence> {
  const bar = createBar("reading");
  try {
    return await readEvidence(inputs, {
      signal,
      progress: (done, total) => bar.show(total ? done / total : 0, `${Math.round(done / 1e6)} MB`),
    });
  } finally {
    bar.clear();
  }
}
