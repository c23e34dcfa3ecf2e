/**
 * One object into the bucket: by one PUT, or from 16 MiB on in parts that a rerun can go on with.
 *
 * Each body carries its SHA-256 twice: in the signature, which every server checks, and as S3's own checksum, which
 * those that know it keep with the object. Nothing is replaced: `If-None-Match: *`, unless the ledger says that what is
 * there is ours. Every step is in the ledger before the next one, so wherever it is cut off, a rerun knows what the
 * bucket may have.
 *
 * Needs s3:PutObject, and s3:AbortMultipartUpload to clean up. In one case more would help: if the answer to "begin a
 * multipart upload" is lost, its id is too, and only s3:ListBucketMultipartUploads finds it again. That is tried, and
 * where it is denied, a warning says so.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
 */
import { createHash } from "node:crypto";
import { IbsrError } from "../errors.ts";
import { log } from "../log.ts";
import { type History, historyOf, type Ledger, type Part, type Upload } from "./ledger.ts";
import { type Answer, type Bytes, type Client, errorCode, hashOf, refusal } from "./request.ts";
import { elementsOf, escapeXml, textOf } from "./xml.ts";

const MIB = 1 << 20;
/** From this size on, parts. */
export const MULTIPART_FROM = 16 * MIB;
/** A part's usual size, and S3's limits: least bytes of all but the last, and most parts. */
const PART = 8 * MIB, LEAST_PART = 5 * MIB, MOST_PARTS = 10_000;

/** The bytes of an object, which don't change. */
export interface Content {
  size: number;
  /** In hexadecimal; of all, and of each part if it has parts. */
  sha256: string;
  partSize: number;
  parts: readonly string[];
  /** Reads a whole part, or everything if there are none, into memory that `room` has for it. */
  read(part: number, room: Room): Bytes;
}

/** An object to upload. */
export interface ObjectToStore {
  path: string;
  key: string;
  content: Content;
  contentType: string;
  /** `x-amz-meta-…`, storage class, encryption: what is told when the object is made. */
  headers: Record<string, string>;
  /** Replace what the bucket has under that key, whoever put it there. */
  overwrite: boolean;
}

/** Room for one body. The memory is used again by the next one. */
export type Room = (bytes: number) => Bytes;

/** What uploads share. */
export interface Uploader {
  client: Client;
  ledger: Ledger;
  target: string;
  /** Runs an action that has a body in memory, when there is room for it. */
  withRoom<T>(action: (room: Room) => Promise<T>): Promise<T>;
  /** Told of bytes that are in the bucket. */
  progress(bytes: number): void;
  /** Whether this server knows `If-None-Match`. */
  conditional: boolean;
  signal: AbortSignal;
}

/** The size of the parts of an object of that size. */
export function partSizeFor(size: number, usual = PART): number {
  const least = Math.ceil(size / MOST_PARTS / MIB) * MIB;
  return Math.max(LEAST_PART, usual, least);
}

/**
 * Stores an object; returns its ETag, null where the server didn't say one.
 *
 * @throws {IbsrError} `permission`, `network`, `storage` (the ledger). A rerun goes on where this one ended.
 */
export async function store(object: ObjectToStore, uploader: Uploader): Promise<string | null> {
  const { content, key, path } = object, { ledger, target } = uploader;
  const history = historyOf(ledger.state, target);
  const before = history.begun.get(key), isOurs = history.stored.has(key);
  // What was begun with other bytes may be there by now, and is ours; with the same bytes it need not be sent again.
  const begunAlike = before?.sha256 === content.sha256;
  const unconditional = object.overwrite || isOurs || (before !== undefined && !begunAlike);
  const attempt = { ...object, unconditional, begunAlike };
  if (content.parts.length === 0) return await putWhole(attempt, uploader);
  for (let tries = 1;; tries++) {
    const etag = await putInParts(attempt, uploader);
    if (etag !== undefined) return etag;
    if (tries === 3) {
      throw new IbsrError("network", `Cannot upload ${path}: the server doesn't take the parts as it named them`);
    }
  }
}

/** An object with what the ledger says of its key. */
type Attempt = ObjectToStore & { unconditional: boolean; begunAlike: boolean };

const encoder = new TextEncoder();

function condition({ unconditional }: Attempt, { conditional }: Uploader): Record<string, string> {
  return unconditional || !conditional ? {} : { "if-none-match": "*" };
}

/** S3's own checksum of a body, from the hexadecimal SHA-256. */
function checksum(sha256: string): string {
  return Uint8Array.fromHex(sha256).toBase64();
}

async function recordBegin({ path, key, content }: Attempt, { ledger, target }: Uploader): Promise<void> {
  await ledger.record({ event: "begin", target, path, key, size: content.size, sha256: content.sha256 });
}

/** What was begun came to nothing, if that is certain: this answer is no, and so was every other. */
async function recordRefusal(
  answer: Answer,
  { key, begunAlike }: Attempt,
  { ledger, target }: Uploader,
): Promise<void> {
  if (answer.unsure || answer.status >= 500 || begunAlike) return;
  await ledger.record({ event: "refused", target, key });
}

async function putWhole(object: Attempt, uploader: Uploader): Promise<string | null> {
  const { content, key, path } = object;
  return await uploader.withRoom(async (room) => {
    const body = content.read(0, room);
    await recordBegin(object, uploader);
    for (;;) {
      const answer = await uploader.client.send({
        ...{ method: "PUT", key, body, sha256: content.sha256 },
        headers: {
          "content-type": object.contentType,
          "x-amz-sdk-checksum-algorithm": "SHA256",
          "x-amz-checksum-sha256": checksum(content.sha256),
          ...object.headers,
          ...condition(object, uploader),
        },
      });
      if (answer.status === 200) {
        uploader.progress(content.size);
        return etagOf(answer.headers.get("etag"));
      }
      if (dropCondition(answer, object, uploader)) continue;
      await recordRefusal(answer, object, uploader);
      if (answer.status === 412) return judgeExisting(object, answer.unsure, uploader);
      throw refusal(answer, `upload ${path}`);
    }
  });
}

/** Whether to go on without conditions: the server has none. Says so once. */
function dropCondition(answer: Answer, object: Attempt, uploader: Uploader): boolean {
  const isUnknown = answer.status === 501 || errorCode(answer) === "NotImplemented";
  if (!isUnknown || object.unconditional || !uploader.conditional) return false;
  uploader.conditional = false;
  log("info", "this server has no If-None-Match: what not to send again is the ledger's alone to know");
  return true;
}

/** An object is there already: ours, if an attempt with these bytes was made whose end we don't know. */
function judgeExisting(object: Attempt, unsure: boolean, uploader: Uploader): null {
  if (unsure || object.begunAlike) {
    uploader.progress(object.content.size);
    return null;
  }
  throw new IbsrError(
    "network",
    `Cannot upload ${object.path}: the bucket has another "${object.key}", not from here`,
    {
      hint: "--overwrite replaces it; --prefix names another place",
      cause: { status: 412, code: "PreconditionFailed" },
    },
  );
}

// ---------------------------------------------------------------------------------------------------- in parts

/** Returns undefined if the upload came to nothing and another one may help. */
async function putInParts(object: Attempt, uploader: Uploader): Promise<string | null | undefined> {
  const { content, key, path } = object, { ledger, target } = uploader;
  const history = historyOf(ledger.state, target);
  await abortUnlike(object, history, uploader);
  const unfinished = [...history.uploads.values()].find(({ upload }) => upload.key === key);
  const { upload, parts } = unfinished ?? await beginUpload(object, uploader);

  const stored: Part[] = [];
  let isGone = false;
  const results = await Promise.allSettled(content.parts.map((sha256, index) =>
    uploader.withRoom(async (room) => {
      const number = index + 1, known = parts.get(number);
      if (isGone) return;
      if (known?.sha256 === sha256) {
        stored[index] = known;
      } else {
        const body = content.read(index, room);
        const answer = await uploader.client.send({
          ...{ method: "PUT", key, body, sha256, query: { partNumber: String(number), uploadId: upload.upload_id } },
          headers: { "x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": checksum(sha256) },
        });
        if (errorCode(answer) === "NoSuchUpload") {
          isGone = true;
          return;
        }
        const etag = answer.headers.get("etag");
        if (answer.status !== 200 || !etag) {
          isGone = true; // spare the other parts
          throw refusal(answer, `upload part ${number} of ${path}`);
        }
        const knowsSum = answer.headers.has("x-amz-checksum-sha256");
        const part: Part = { event: "part", upload_id: upload.upload_id, number, sha256, etag, checksum: knowsSum };
        stored[index] = part;
        await ledger.record(part);
      }
      uploader.progress(content.partSize * number > content.size ? content.size % content.partSize : content.partSize);
    })
  ));
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  if (isGone) {
    // Ended by somebody else: a lifecycle rule, or a run of ours that was killed after it had completed it.
    await ledger.record({ event: "aborted", target, key, upload_id: upload.upload_id });
    return undefined;
  }
  return await complete(object, upload, stored, uploader);
}

/** Aborts unfinished uploads of the same key that can't be gone on with. */
async function abortUnlike({ key, content, path }: Attempt, history: History, uploader: Uploader): Promise<void> {
  for (const { upload } of history.uploads.values()) {
    if (upload.key !== key) continue;
    if (upload.sha256 === content.sha256 && upload.part_size === content.partSize) continue;
    await abort(upload, path, uploader);
  }
}

async function beginUpload(
  object: Attempt,
  uploader: Uploader,
): Promise<{ upload: Upload; parts: Map<number, Part> }> {
  const { content, key, path } = object, { ledger, target } = uploader;
  const { size, sha256, partSize } = content;
  const wasUnsettled = historyOf(ledger.state, target).unsettled.has(key);
  await ledger.record({ event: "opening", target, path, key });
  const answer = await uploader.client.send({
    ...{ method: "POST", key, query: { uploads: "" } },
    headers: { "content-type": object.contentType, "x-amz-checksum-algorithm": "SHA256", ...object.headers },
  });
  const id = textOf(answer.text, "UploadId");
  if (answer.status !== 200 || !id) {
    // Not made, if every answer was a refusal.
    if (!answer.unsure && !wasUnsettled && answer.status < 500) {
      await ledger.record({ event: "settled", target, key, found: 0 });
    }
    throw refusal(answer, `begin the upload of ${path}`);
  }
  const upload: Upload = {
    ...{ event: "multipart", target, path, key, upload_id: id, size, sha256, part_size: partSize },
    ...answer.unsure || wasUnsettled ? { unsure: true } : {},
  };
  await ledger.record(upload);
  return { upload, parts: new Map() };
}

/** Returns undefined if the parts are not what the server has. */
async function complete(
  object: Attempt,
  upload: Upload,
  stored: readonly Part[],
  uploader: Uploader,
): Promise<string | null | undefined> {
  const { key, path } = object;
  const parts = stored.map((part) => {
    // Swift takes an element that it doesn't know for an error.
    const sum = part.checksum ? `<ChecksumSHA256>${checksum(part.sha256)}</ChecksumSHA256>` : "";
    return `<Part><PartNumber>${part.number}</PartNumber><ETag>${escapeXml(part.etag)}</ETag>${sum}</Part>`;
  });
  const body = encoder.encode(
    `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${
      parts.join("")
    }</CompleteMultipartUpload>`,
  );
  await recordBegin(object, uploader);
  for (let tries = 1;; tries++) {
    const answer = await uploader.client.send({
      ...{ method: "POST", key, query: { uploadId: upload.upload_id }, body, sha256: hashOf(body) },
      headers: { "content-type": "application/xml", ...condition(object, uploader) },
    });
    const code = errorCode(answer);
    if (answer.status === 200 && code === "") {
      return etagOf(textOf(answer.text, "ETag") ?? null) ?? etagOfParts(stored);
    }
    if (code === "NoSuchUpload") {
      // Our own first attempt has completed it: nobody else works on this upload.
      if (answer.unsure) return null;
      await uploader.ledger.record({ event: "aborted", target: upload.target, key, upload_id: upload.upload_id });
      return undefined;
    }
    // Swift says 412 with another code for a condition that it doesn't know here.
    if (answer.status === 412 && code !== "PreconditionFailed" && !object.unconditional && uploader.conditional) {
      uploader.conditional = false;
      continue;
    }
    if (dropCondition(answer, object, uploader)) continue;
    if (answer.status === 200 && tries < 3) continue; // an error that came after the status: told to try again
    // It stays, for the next run to complete.
    if (answer.status >= 500 || answer.status === 403) throw refusal(answer, `complete the upload of ${path}`);
    await abort(upload, path, uploader);
    await recordRefusal(answer, object, uploader);
    if (answer.status === 412) return judgeExisting(object, answer.unsure, uploader);
    if (/^InvalidPart|^EntityTooSmall$/.test(code)) return undefined;
    throw refusal(answer, `complete the upload of ${path}`);
  }
}

/** Aborts an upload; that it is gone already is as good. */
async function abort({ key, upload_id }: Pick<Upload, "key" | "upload_id">, path: string, uploader: Uploader) {
  const answer = await uploader.client.send({ method: "DELETE", key, query: { uploadId: upload_id } });
  if (answer.status !== 204 && answer.status !== 200 && answer.status !== 404) {
    throw refusal(answer, `abort an unfinished upload of ${path}`);
  }
  await uploader.ledger.record({ event: "aborted", target: uploader.target, key, upload_id });
}

/** Finds uploads of the key whose ids were lost, and aborts them. */
async function settle(key: string, path: string, uploader: Uploader): Promise<void> {
  const { client, ledger, target } = uploader;
  const { uploads } = historyOf(ledger.state, target);
  const answer = await client.send({ method: "GET", query: { uploads: "", prefix: key } });
  if (answer.status !== 200) {
    log("warning", `an unfinished upload of ${path} may be left in the bucket, and these keys may not list uploads`, {
      hint: "a lifecycle rule (AbortIncompleteMultipartUpload) removes such",
    });
    await ledger.record({ event: "settled", target, key, found: null });
    return;
  }
  let found = 0;
  for (const element of elementsOf(answer.text, "Upload")) {
    const id = textOf(element, "UploadId");
    if (textOf(element, "Key") !== key || !id || uploads.has(id)) continue;
    await abort({ key, upload_id: id }, path, uploader);
    found++;
  }
  await ledger.record({ event: "settled", target, key, found });
}

/**
 * Ends what runs have left in the bucket: uploads of files that are gone or not selected any more, and uploads whose ids
 * were lost.
 *
 * @param wanted Keys whose uploads the next run goes on with.
 */
export async function cleanUp(wanted: ReadonlySet<string>, uploader: Uploader): Promise<void> {
  const history = historyOf(uploader.ledger.state, uploader.target);
  for (const { upload } of history.uploads.values()) {
    if (!wanted.has(upload.key)) await abort(upload, upload.path, uploader);
  }
  for (const [key, path] of history.unsettled) await settle(key, path, uploader);
}

/** The ETag of an object whose server names only those of its parts: what S3 would call it. */
function etagOfParts(parts: readonly Part[]): string | null {
  const sums = parts.map(({ etag }) => etagOf(etag) ?? "");
  if (!sums.every((sum) => /^[0-9a-f]{32}$/.test(sum))) return null;
  return `${createHash("md5").update(Uint8Array.fromHex(sums.join(""))).digest("hex")}-${parts.length}`;
}

/** An ETag without its quotes; null if it is none. */
function etagOf(text: string | null): string | null {
  return text?.replace(/^(W\/)?"(.*)"$/, "$2") || null;
}
