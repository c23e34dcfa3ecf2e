/**
 * Opens what a user names as input: files and folders of segments, plain or compressed, in the order of time.
 */
import { decompress } from "./decompress.ts";
import { IbsrError } from "./errors.ts";
import { fileError, namedFileError, readPieces } from "./files.ts";

/** One file of snapshots. */
export interface Input {
  /** For messages; its ending says how it is compressed. */
  path: string;
  /** Size as it is stored; undefined if that isn't known before it is read. */
  bytes: number | undefined;
  /** `path` names a file of this machine: openInput() of it reads the same, in a thread, too. */
  local: boolean;
  /**
   * Its bytes, decompressed. What is wrong with them is thrown while reading, as a `data` error; a `storage` or
   * `permission` error says that it can't be read.
   *
   * @param stored Receives the bytes as they are stored, in their order.
   * @param room Gives what the next piece is read into, if it is read as it is stored; new memory each time if not given.
   */
  read(stored?: (bytes: Uint8Array) => void, room?: () => Uint8Array): AsyncIterable<Uint8Array>;
}

/** That a folder, or what lies below a prefix of a bucket, is empty. */
export function noSegmentError(name: string): IbsrError {
  return new IbsrError("data", `Cannot read ${name}: no segment (*.jsonl) is in it`, {
    hint: "`ibsr collect` writes them into its spool (--out-dir)",
  });
}

/** Names that hold snapshots, sealed or open. */
const SEGMENT = /\.jsonl(\.open)?(\.gz|\.zst)?$/;
/** Names of other lines that lie beside them: what the existing IBSR says of itself, what was exported. */
const OTHER = /^(status|export)\.jsonl/;

/** Whether a file of that name holds snapshots. */
export function isSegmentName(name: string): boolean {
  return SEGMENT.test(name) && !OTHER.test(name);
}

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
      if (found.length === 0) throw noSegmentError(path);
      return found.map((found) => openInput(found));
    } catch (cause) {
      throw namedFileError(path, cause);
    }
  });
}

/**
 * What is read at once, at least and at most: large files in large pieces, small ones whole. Of compressed ones the
 * least: a piece is up to thirty times as much in memory, and four hours in pieces of a megabyte take 50 MB more.
 */
const LEAST_PIECE_BYTES = 1 << 16, MOST_PIECE_BYTES = 1 << 20;

function* walk(directory: string): Generator<string> {
  for (const entry of Deno.readDirSync(directory)) {
    const path = `${directory.replace(/\/+$/, "")}/${entry.name}`;
    if (entry.isDirectory) yield* walk(path);
    else if (entry.isFile && isSegmentName(entry.name)) yield path;
  }
}

/** One file of snapshots, plain or compressed as its name says. `bytes`: its size, if that is known. */
export function openInput(path: string, bytes = Deno.statSync(path).size): Input {
  const gone = "a collector may have sealed or pruned it meanwhile: try again";
  const failed = (cause: unknown) => fileError(`read ${path}`, cause, { gone });
  return {
    ...makeInput({ path, bytes, open: (room = () => makeRoom({ path, bytes })) => readPieces(path, room, failed) }),
    local: true,
  };
}

/** Room for what is read at once of a file. */
export function makeRoom({ path, bytes = 0 }: Pick<Input, "path" | "bytes">): Uint8Array {
  const most = compressionOf(path) ? LEAST_PIECE_BYTES : MOST_PIECE_BYTES;
  return new Uint8Array(Math.min(most, Math.max(LEAST_PIECE_BYTES, bytes)));
}

/** Snapshots from wherever `open()` has the stored bytes, plain or compressed as the path says. */
export function makeInput(
  { path, bytes, open }: {
    path: string;
    bytes: number;
    /** `room`: as read() has it; it may do without. */
    open(room?: () => Uint8Array): AsyncIterable<Uint8Array>;
  },
): Input {
  const compression = compressionOf(path);
  return {
    ...{ path, bytes, local: false },
    async *read(stored, room) {
      // What can't be decompressed is read to its end, too: what it is, is said of the whole file.
      const pieces = open(compression ? undefined : room)[Symbol.asyncIterator]();
      const next = async () => {
        const step = await pieces.next();
        if (!step.done) stored?.(step.value);
        return step;
      };
      const source = { [Symbol.asyncIterator]: () => ({ next }) };
      try {
        yield* compression ? decompress(source, compression) : source;
      } catch (error) {
        while (!(await next()).done);
        throw error;
      } finally {
        await pieces.return?.();
      }
    },
  };
}

function compressionOf(path: string): "gzip" | "zstd" | undefined {
  return path.endsWith(".gz") ? "gzip" : path.endsWith(".zst") ? "zstd" : undefined;
}
