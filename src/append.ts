/**
 * Appends a line to a file: gathers its chunks, and writes while the next ones are being made.
 *
 * A short line is one write. Of a long one, the whole blocks go to the disk past the page cache, on another thread:
 * the memory that the host caches its own files in stays as it is, and encoding doesn't wait for the disk. Where
 * that isn't to be had (tmpfs, a kernel or file system without it), or fails, the same bytes are written the ordinary
 * way, whose errors are the ones that are thrown.
 */
import { alignedBytes, BLOCK, type DirectFile, openDirect } from "./libc.ts";
import { attempt, writeAll } from "./files.ts";

const NEWLINE = 10;
/** Bytes written at once. */
const PART = 1 << 19;

/** Two parts of memory: one is filled while the other is written. */
export type Parts = [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>];

/** Memory for appending, for one line at a time. */
export function makeParts(): Parts {
  return [alignedBytes(PART), alignedBytes(PART)];
}

/** Where a line goes, and what is being done, for errors. */
export interface Target {
  /** Opened for appending. */
  file: Deno.FsFile;
  path: string;
  /** Its present length. */
  size: number;
  parts: Parts;
  action: string;
}

/**
 * Appends the line that `chunks` make, with one newline, at its end. It is not yet on the disk afterwards: sync.
 *
 * @returns the line's length.
 * @throws {IbsrError} `storage` or `permission`, if it can't be written, or what `chunks` throws. A part of the line
 * may then stand in the file.
 */
export async function appendLine(
  chunks: Iterable<Uint8Array>,
  { file, path, size, parts: [part, spare], action }: Target,
): Promise<number> {
  const write = (bytes: Uint8Array) => attempt(action, () => writeAll(file, bytes));
  let direct: DirectFile | undefined, writing: Promise<void> | undefined;
  const writeDirect = async (to: DirectFile, blocks: Uint8Array<ArrayBuffer>, at: number) => {
    const written = await to.write(blocks, at);
    if (written < blocks.length) write(blocks.subarray(written));
  };
  // The first part ends on a block's border, so that all others begin on one.
  let position = size, filled = 0, room = PART - size % BLOCK, ended = false;
  try {
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      if (ended) throw new TypeError("More than one line to append");
      ended = chunk[chunk.length - 1] === NEWLINE;
      // To look through all of a long line would take an eighth of the time that it takes to write it.
      if (position === size && chunk.subarray(0, Math.min(chunk.length - 1, PART)).includes(NEWLINE)) {
        throw new TypeError("A newline inside a line to append");
      }
      for (let from = 0; from < chunk.length;) {
        const taken = chunk.subarray(from, from + room - filled);
        part.set(taken, filled);
        filled += taken.length;
        from += taken.length;
        if (filled < room) continue;
        await writing;
        if (position === size) direct = openDirect(path);
        if (position > size && direct) {
          writing = writeDirect(direct, part, position);
          writing.catch(() => {}); // it is awaited before the next one and at the end
          [part, spare] = [spare, part];
        } else {
          write(part.subarray(0, filled));
        }
        [position, filled, room] = [position + filled, 0, PART];
      }
    }
    if (!ended) throw new TypeError("A line to append without its newline");
    await writing;
    write(part.subarray(0, filled));
    return position + filled - size;
  } finally {
    await writing?.catch(() => {});
    direct?.[Symbol.dispose]();
  }
}
