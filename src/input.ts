/**
 * Opens what a user names as input: files and folders of segments, plain or compressed, in the order of time.
 */
import { createReadStream } from "node:fs";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { IbsrError, reason } from "./errors.ts";

/** One file of snapshots. */
export interface Input {
  path: string;
  /** Its bytes, decompressed. What is wrong with them is thrown while reading. */
  read(): AsyncIterable<Uint8Array>;
}

/** Names that hold snapshots, sealed or open. */
const SEGMENT = /\.jsonl(\.open)?(\.gz|\.zst)?$/;

/**
 * The files of the paths: a file as it is, a folder's segments, its subfolders' too, sorted by name.
 *
 * @throws {IbsrError} `data`, if a path can't be read or holds no segment.
 */
export function listInputs(paths: readonly string[]): Input[] {
  return paths.flatMap((path) => {
    try {
      if (!Deno.statSync(path).isDirectory) return [openInput(path)];
      const found = [...walk(path)].sort();
      if (found.length === 0) throw new IbsrError("data", `no segment (*.jsonl) is in it`);
      return found.map(openInput);
    } catch (cause) {
      throw new IbsrError("data", `Cannot read ${path}: ${reason(cause)}`, { cause });
    }
  });
}

function* walk(directory: string): Generator<string> {
  for (const entry of Deno.readDirSync(directory)) {
    const path = `${directory.replace(/\/+$/, "")}/${entry.name}`;
    if (entry.isDirectory) yield* walk(path);
    else if (entry.isFile && SEGMENT.test(entry.name) && !entry.name.startsWith("status.jsonl")) yield path;
  }
}

/** One file of snapshots, plain or compressed as its name says. */
export function openInput(path: string): Input {
  return {
    path,
    async *read() {
      const file = createReadStream(path, { highWaterMark: 1 << 18 });
      if (!/\.(gz|zst)$/.test(path)) return yield* file;
      const decompressor = path.endsWith(".gz") ? createGunzip() : createZstdDecompress();
      file.on("error", (error) => decompressor.destroy(error));
      yield* file.pipe(decompressor);
    },
  };
}
