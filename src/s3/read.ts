/**
 * Reading from a bucket: what is in it, and an object's bytes. For commands that take `s3://BUCKET/PREFIX` as input.
 *
 * Needs s3:ListBucket and s3:GetObject. Listing goes by pages, in the order of the keys' UTF-8 bytes.
 */
import { IbsrError } from "../errors.ts";
import { type Bytes, type Client, refusal } from "./request.ts";
import { elementsOf, textOf } from "./xml.ts";

/** An object in a listing. */
export interface ListedObject {
  key: string;
  size: number;
  etag: string;
}

/** `s3://BUCKET/PREFIX` in its parts; undefined if it is none. */
export function parseS3Url(text: string): { bucket: string; prefix: string } | undefined {
  const match = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,62})(?:\/(.*))?$/s.exec(text);
  return match ? { bucket: match[1]!, prefix: match[2] ?? "" } : undefined;
}

/**
 * The objects whose keys begin with `prefix`.
 *
 * @throws {IbsrError} `network` or `permission`.
 */
export async function* listObjects(client: Client, prefix: string): AsyncGenerator<ListedObject> {
  let token: string | undefined;
  for (;;) {
    const answer = await client.send({
      method: "GET",
      query: {
        ...{ "list-type": "2", prefix, "encoding-type": "url" },
        ...token === undefined ? {} : { "continuation-token": token },
      },
    });
    if (answer.status !== 200) throw refusal(answer, `list s3://${client.place.bucket}/${prefix}`, { isReader: true });
    for (const element of elementsOf(answer.text, "Contents")) {
      const size = Number(textOf(element, "Size")), encoded = textOf(element, "Key");
      if (encoded === undefined || !Number.isSafeInteger(size)) {
        throw new IbsrError("network", `Cannot list s3://${client.place.bucket}/${prefix}: the answer is not S3's`);
      }
      yield { key: decodeKey(encoded, answer.text), size, etag: (textOf(element, "ETag") ?? "").replaceAll('"', "") };
    }
    const next = textOf(answer.text, "NextContinuationToken");
    if (textOf(answer.text, "IsTruncated") !== "true" || next === undefined || next === token) return;
    token = next;
  }
}

/** A key as a listing has it: percent-encoded, where the server says that it did so. */
function decodeKey(text: string, answer: string): string {
  if (textOf(answer, "EncodingType") !== "url") return text;
  return decodeURIComponent(text.replaceAll("+", " "));
}

/**
 * An object's bytes as they are stored: nothing is decompressed. Ends with an error if the connection does; the bytes
 * so far are then not all.
 *
 * @throws {IbsrError} `network` or `permission`, if there is nothing to read.
 */
export async function* getObject(client: Client, key: string): AsyncGenerator<Bytes> {
  const answer = await client.send({ method: "GET", key, stream: true });
  const name = `s3://${client.place.bucket}/${key}`;
  if (answer.status !== 200) throw refusal(answer, `read ${name}`, { isReader: true });
  const expected = Number(answer.headers.get("content-length") ?? NaN);
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += chunk.length;
    yield chunk;
  }
  if (!Number.isNaN(expected) && length !== expected) {
    throw new IbsrError("network", `Cannot read ${name}: it ended after ${length} of ${expected} bytes`);
  }
}
