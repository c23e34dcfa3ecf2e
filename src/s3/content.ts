/**
 * A file's bytes as they are uploaded: read once to know their size and hash, then again part by part.
 *
 * Of a file that grows only the whole lines that are there now are taken. What is compressed on the way goes through an
 * temporary file, which has no name any more once it is complete, so that its length is known and memory stays small. If a
 * file changes between the two readings, the server refuses it: the hash is signed.
 */
import { createHash } from "node:crypto";
import { compressFile } from "../segment.ts";
import { hashOf } from "./request.ts";
import type { Candidate } from "./select.ts";
import { type Content, MULTIPART_FROM, partSizeFor } from "./upload.ts";

/** The content of a file, open until it is disposed of. */
export interface Source extends Content, Disposable {
  /** Of the file, as it was read. */
  sourceSize: number;
  sourceMtimeMs: number;
  /** Of the file, where something else is stored: it was compressed. */
  sourceSha256: string | undefined;
}

/** How to read. */
export interface SourceOptions {
  /** From this size on, parts. */
  multipartFrom?: number | undefined;
  signal: AbortSignal;
}

/**
 * Opens and hashes a file.
 *
 * @throws what reading it or writing a temporary file throws: `Deno.errors.NotFound`, if it is gone.
 */
export async function openSource(
  root: string,
  candidate: Pick<Candidate, "path" | "isGrowing" | "compress">,
  { multipartFrom = MULTIPART_FROM, signal }: SourceOptions,
): Promise<Source> {
  const path = `${root}/${candidate.path}`;
  using stack = new DisposableStack();
  const plain = stack.use(Deno.openSync(path)), { size: wholeSize, mtime } = plain.statSync();
  const about = { sourceMtimeMs: mtime?.getTime() ?? 0, sourceSize: wholeSize };
  let file = plain, sourceSha256: string | undefined;
  if (candidate.compress !== "none") {
    sourceSha256 = (await hashFile(plain, { size: wholeSize, partSize: Infinity, signal })).sha256;
    file = stack.use(await compressUnnamed(path, candidate.compress, signal));
  }
  const size = candidate.isGrowing ? endOfLines(file) : file.statSync().size;
  const partSize = size < multipartFrom ? Infinity : partSizeFor(size, Math.min(8 << 20, multipartFrom));
  const { sha256, parts } = await hashFile(file, { size, partSize, signal });
  const owned = stack.move();
  return {
    ...about,
    sourceSha256,
    size,
    sha256,
    partSize,
    parts,
    read(part, room) {
      const from = parts.length === 0 ? 0 : part * partSize, length = Math.min(size - from, partSize);
      const bytes = room(length);
      // In one go, without a wait between: others read the same file.
      file.seekSync(from, Deno.SeekMode.Start);
      for (let at = 0; at < length;) {
        const n = file.readSync(bytes.subarray(at));
        if (n === null) throw new Error("it became shorter while it was read");
        at += n;
      }
      return bytes;
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** The SHA-256 of the first `size` bytes, and of each part if there is more than one. */
async function hashFile(
  file: Deno.FsFile,
  { size, partSize, signal }: { size: number; partSize: number; signal: AbortSignal },
): Promise<{ sha256: string; parts: string[] }> {
  const buffer = new Uint8Array(Math.min(1 << 20, Math.max(size, 1)));
  const whole = createHash("sha256"), parts: string[] = [];
  let part = createHash("sha256"), inPart = 0;
  await file.seek(0, Deno.SeekMode.Start);
  for (let at = 0; at < size;) {
    signal.throwIfAborted();
    const n = await file.read(buffer.subarray(0, Math.min(buffer.length, size - at, partSize - inPart)));
    if (n === null) throw new Error("it became shorter while it was read");
    const bytes = buffer.subarray(0, n);
    whole.update(bytes);
    at += n;
    if (partSize === Infinity) continue;
    part.update(bytes);
    inPart += n;
    if (inPart < partSize && at < size) continue;
    parts.push(part.digest("hex"));
    part = createHash("sha256");
    inPart = 0;
  }
  return { sha256: size === 0 ? hashOf(new Uint8Array()) : whole.digest("hex"), parts };
}

/** Where the last whole line ends. */
function endOfLines(file: Deno.FsFile): number {
  const { size } = file.statSync(), block = new Uint8Array(1 << 16);
  for (let end = size; end > 0;) {
    const from = Math.max(0, end - block.length), part = block.subarray(0, end - from);
    file.seekSync(from, Deno.SeekMode.Start);
    let length = 0;
    for (let n; length < part.length && (n = file.readSync(part.subarray(length)));) length += n;
    const newline = part.lastIndexOf(10, length - 1);
    if (newline >= 0) return from + newline + 1;
    end = from;
  }
  return 0;
}

/** A compressed copy, its name removed: it is gone when it is closed. */
async function compressUnnamed(path: string, compression: "zstd" | "gzip", signal: AbortSignal): Promise<Deno.FsFile> {
  const temporary = Deno.makeTempFileSync({ prefix: "ibsr-export-" });
  try {
    await compressFile(path, { path: temporary, compression }, signal);
    return Deno.openSync(temporary);
  } finally {
    Deno.removeSync(temporary);
  }
}
