/**
 * Decompresses a stream of bytes, to its end or to an error: also where a file is several compressed files in a row, is
 * cut or damaged. What comes out before the error depends on the bytes alone, not on how fast they come or are taken,
 * nor on the pieces they come in. Pure, but for the decompressors' memory.
 */
import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { IbsrError, reason } from "./errors.ts";
import { startFrames } from "./zstd.ts";

/** Bytes fed at once: a decompressor that fails drops what it had not yet given of a piece, some 16 kB at most. */
const PIECE_BYTES = 1 << 16;

/**
 * What the chunks hold, in memory that is not written again. What reading them throws, this throws.
 *
 * @throws {IbsrError} `data`, if it can't be decompressed; a `cause` of code `Z_BUF_ERROR`: the gzip is cut.
 */
export function decompress(
  chunks: AsyncIterable<Uint8Array>,
  compression: "gzip" | "zstd",
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const pieces = cut(chunks);
  if (compression === "zstd") return decompressFrames(pieces);
  return decompressBy(createGunzip(), pieces);
}

/** The same bytes in pieces of PIECE_BYTES; the last may be shorter. */
async function* cut(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const held = new Uint8Array(PIECE_BYTES);
  let length = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + PIECE_BYTES - length);
      at += part.length;
      if (part.length === PIECE_BYTES) {
        yield part;
        continue;
      }
      held.set(part, length);
      length += part.length;
      if (length < PIECE_BYTES) continue;
      yield held;
      length = 0;
    }
  }
  if (length > 0) yield held.subarray(0, length);
}

/**
 * By one decompressor. A stream drops what is unread when it fails: so all that it gives is taken before it gets the
 * next piece, and before it is told that there is none.
 */
async function* decompressBy(
  decompressor: Transform & { bytesWritten: number },
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let failure: Error | undefined, ended = false, wake = () => {};
  decompressor.on("readable", () => wake());
  decompressor.on("end", () => {
    ended = true;
    wake();
  });
  decompressor.on("error", (error) => {
    failure = error;
    wake();
  });
  // Deno's decompressor throws what is wrong with a Zstandard block where nobody can catch it: it would end the program.
  const onThrown = (event: ErrorEvent) => {
    if (!/^Zstd decompress error/.test(event.error?.message)) return;
    event.preventDefault();
    decompressor.destroy(event.error);
  };
  /** What it gives until `fed`, its end, or an error. */
  const take = async function* (feed: (fed: () => void) => void) {
    let fed = false;
    feed(() => {
      fed = true;
      wake();
    });
    for (;;) {
      for (let bytes: Uint8Array<ArrayBuffer> | null; (bytes = decompressor.read()) !== null;) {
        // A plain array: a Node Buffer's slice() is no copy and its text no list of numbers.
        yield new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
      }
      if (fed || ended || failure) return;
      await new Promise<void>((resolve) => wake = resolve);
    }
  };

  globalThis.addEventListener("error", onThrown);
  try {
    let over = false;
    for await (const piece of pieces) {
      const before = decompressor.bytesWritten;
      if (!over) yield* take((fed) => decompressor.write(piece, fed));
      if (failure) break;
      const rest = piece.subarray(decompressor.bytesWritten - before);
      if (rest.some((byte) => byte !== 0)) {
        throw new IbsrError("data", "it can't be decompressed: more follows behind its end");
      }
      over ||= rest.length > 0; // zeros, as tapes have them
    }
    if (!failure) yield* take(() => decompressor.end());
  } finally {
    globalThis.removeEventListener("error", onThrown);
    decompressor.destroy();
  }
  if (failure) throw new IbsrError("data", `it can't be decompressed: ${reason(failure)}`, { cause: failure });
}

/** Zstandard, frame by frame. */
async function* decompressFrames(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const walker = startFrames();
  let rest: Uint8Array | undefined = new Uint8Array(0);
  const fill = async () => {
    while (rest?.length === 0) {
      const { done, value } = await pieces.next();
      rest = done ? undefined : value;
    }
    return rest;
  };
  const frame = async function* () {
    for (let bytes; (bytes = await fill()) !== undefined;) {
      const { taken, ended } = walker.walk(bytes);
      rest = bytes.subarray(taken);
      yield bytes.subarray(0, taken);
      if (ended) return;
    }
  };
  try {
    while (await fill()) yield* decompressBy(createZstdDecompress(), frame());
    if (walker.inside) throw new IbsrError("data", "it can't be decompressed: it ends early");
  } finally {
    await pieces.return(undefined);
  }
}
