/**
 * Decompresses a stream of bytes, to its end or to an error: also where a file is several compressed files in a row, or is
 * cut. Pure, but for zlib's threads.
 */
import { Readable, type Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { IbsrError, reason } from "./errors.ts";
import { startFrames } from "./zstd.ts";

/**
 * What the chunks hold. What reading them throws, this throws.
 *
 * @throws {IbsrError} `data`, if it can't be decompressed.
 */
export function decompress(
  chunks: AsyncIterable<Uint8Array>,
  compression: "gzip" | "zstd",
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return compression === "gzip" ? decompressBy(createGunzip(), chunks) : decompressFrames(chunks);
}

/** By one decompressor. */
async function* decompressBy(
  decompressor: Transform,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let failure: { cause: unknown } | undefined;
  const file = Readable.from(chunks, { objectMode: false });
  file.on("error", (cause) => {
    failure = { cause };
    decompressor.destroy(cause);
  });
  // Deno's decompressor throws what is wrong with a Zstandard block where nobody can catch it: it would end the program.
  const onThrown = (event: ErrorEvent) => {
    if (!/^Zstd decompress error/.test(event.error?.message)) return;
    event.preventDefault();
    decompressor.destroy(event.error);
  };
  globalThis.addEventListener("error", onThrown);
  try {
    yield* file.pipe(decompressor);
  } catch (cause) {
    if (failure) throw failure.cause;
    throw new IbsrError("data", `it can't be decompressed: ${reason(cause)}`, { cause });
  } finally {
    globalThis.removeEventListener("error", onThrown);
    file.destroy(); // where the reader stopped early
  }
}

/** Zstandard, frame by frame. */
async function* decompressFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const walker = startFrames(), source = chunks[Symbol.asyncIterator]();
  let rest: Uint8Array | undefined = new Uint8Array(0);
  const fill = async () => {
    while (rest?.length === 0) {
      const { done, value } = await source.next();
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
    await source.return?.();
  }
}
