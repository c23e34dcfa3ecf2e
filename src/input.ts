/**
 * Opens what a user names as input: files and folders of segments, plain or compressed, in the order of time.
 */
import { decompress } from "./decompress.ts";
import { IbsrError, reason } from "./errors.ts";

/** One file of snapshots. */
export interface Input {
  /** For messages; its ending says how it is compressed. */
  path: string;
  /** Size as it is stored; undefined if that isn't known before it is read. */
  bytes: number | undefined;
  /**
   * Its bytes, decompressed. What is wrong with them is thrown while reading.
   *
   * @param stored Receives the bytes as they are stored, in their order. What it returns is waited for, perhaps after it
   *   has received more: then they are overwritten. With it, what read() gives is valid until the next is asked for, and
   *   may be shared memory.
   * @param room What files before this one were read into, and the next may be: one list for all of them, empty at first.
   *   V8 doesn't know how much memory a chunk takes, and lets those of many files pile up.
   */
  read(stored?: StoredBytes, room?: Uint8Array[]): AsyncIterable<Uint8Array>;
}

/** What takes the bytes of a file as they are stored. */
export type StoredBytes = (bytes: Uint8Array) => Promise<unknown> | undefined;

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
      if (found.length === 0) throw new IbsrError("data", `no segment (*.jsonl) is in it`);
      return found.map(openInput);
    } catch (cause) {
      throw new IbsrError("data", `Cannot read ${path}: ${reason(cause)}`, { cause });
    }
  });
}

/**
 * What is read at once: large files in large pieces, which wake fewer threads; small ones whole. The chunks in use fit
 * together into the processor's caches: 4 MB each, and reading a gigabyte takes 0.3 s more of them.
 */
const LEAST_CHUNK_BYTES = 1 << 16, MOST_CHUNK_BYTES = 1 << 20;
/** Chunks that wait for whoever takes the stored bytes: a thread may be slow to wake. */
const MOST_WAITING = 2;

function* walk(directory: string): Generator<string> {
  for (const entry of Deno.readDirSync(directory)) {
    const path = `${directory.replace(/\/+$/, "")}/${entry.name}`;
    if (entry.isDirectory) yield* walk(path);
    else if (entry.isFile && isSegmentName(entry.name)) yield path;
  }
}

/** One file of snapshots, plain or compressed as its name says. */
export function openInput(path: string): Input {
  return makeInput({ path, bytes: Deno.statSync(path).size, open: (kept, room) => readChunks(path, kept, room) });
}

/**
 * Snapshots from wherever `open()` has the stored bytes, plain or compressed as the path says.
 *
 * @param source `open(kept, room)`: the last so many chunks that were given must stay as they are; those before may be
 *   overwritten. `room` are chunks of files before this one.
 */
export function makeInput(
  { path, bytes, open }: {
    path: string;
    bytes: number;
    open(kept: number, room: Uint8Array[]): AsyncIterable<Uint8Array>;
  },
): Input {
  return {
    path,
    bytes,
    async *read(stored, room = []) {
      if (!/\.(gz|zst)$/.test(path)) {
        const waiting: (Promise<unknown> | undefined)[] = [];
        for await (const chunk of open(stored ? MOST_WAITING + 1 : Infinity, room)) {
          waiting.push(stored?.(chunk));
          yield chunk;
          if (waiting.length > MOST_WAITING) await waiting.shift();
        }
        await Promise.all(waiting);
        return;
      }
      yield* decompress(readCopied(open(Infinity, []), stored), path.endsWith(".gz") ? "gzip" : "zstd");
    },
  };
}

/** The chunks, each handed to `stored`, too. */
async function* readCopied(chunks: AsyncIterable<Uint8Array>, stored?: StoredBytes): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await stored?.(chunk);
    yield chunk;
  }
}

/**
 * A chunk is overwritten once `kept` more have been given: new memory costs more than what fills it. It is shared memory
 * then, from which other threads can take the bytes.
 */
async function* readChunks(path: string, kept: number, used: Uint8Array[]): AsyncGenerator<Uint8Array> {
  using file = await Deno.open(path);
  const { size } = await file.stat(), room = Math.min(MOST_CHUNK_BYTES, Math.max(LEAST_CHUNK_BYTES, size));
  const reused = Number.isFinite(kept);
  const make = () => reused ? new Uint8Array(new SharedArrayBuffer(room)) : new Uint8Array(room);
  const read = async () => {
    const free = used.length > kept ? used.shift()! : undefined;
    const chunk = free && free.length >= room ? free : make(), length = await file.read(chunk);
    if (reused) used.push(chunk);
    return length === null ? undefined : chunk.subarray(0, length);
  };
  let next = read();
  try {
    for (let chunk; (chunk = await next) !== undefined;) {
      next = read(); // while use is made of this one
      yield chunk;
    }
  } finally {
    await next.catch(() => {}); // nobody may close the file under it
  }
}
