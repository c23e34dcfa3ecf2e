/**
 * A place for what was read or decided until the report is done: in memory while it is little, then in a temporary file.
 *
 * The file has no name once it is open: nothing is left behind, however the program ends. Blocks are gathered to
 * batches, which are written while the next is filled.
 */
import { IbsrError, reason } from "../errors.ts";
import type { Place } from "./rows.ts";

/** Blocks of bytes, written once and read at will. */
export interface Store extends Disposable {
  /** Room for a block of that length, a multiple of 8, to be filled before anything else is called; it begins at one. */
  reserve(length: number): { place: Place; bytes: Uint8Array<ArrayBuffer> };
  /** Waits if writing lags behind. */
  settle(): Promise<void> | undefined;
  /** Waits until everything can be read. */
  flush(): Promise<void>;
  /**
   * What is at a place; it begins at a multiple of 8 in its buffer. Not to be written to.
   *
   * @param room Is used for it if it is large enough: then it is valid until it is used again.
   */
  read(place: Place, room?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

const BATCH_BYTES = 4 << 20;

/** Blocks that lie together. */
interface Batch {
  offset: number;
  used: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * An empty store.
 *
 * @param options `memoryBytes`: what may be kept in memory. `directory`: where the file is made if it takes one. `takes`:
 * how large it gets, in words.
 */
export function openStore(options: { memoryBytes: number; directory?: string | undefined; takes: string }): Store {
  const kept: Batch[] = [], spare: Uint8Array<ArrayBuffer>[] = [];
  let batch: Batch | undefined, end = 0, file: Deno.FsFile | undefined, fileOffset = 0, waiting = 0;
  let written: Promise<void> = Promise.resolve(), failure: IbsrError | undefined;

  const failed = (action: string, cause: unknown) => {
    const where = options.directory ?? "the folder for temporary files";
    return new IbsrError("storage", `Cannot ${action} a temporary file in ${where}: ${reason(cause)}`, {
      hint: `It takes ${options.takes}; TMPDIR says where`,
      cause,
    });
  };

  const open = () => {
    const path = Deno.makeTempFileSync({ prefix: "ibsr-", ...(options.directory ? { dir: options.directory } : {}) });
    const opened = Deno.openSync(path, { read: true, write: true });
    Deno.removeSync(path);
    return opened;
  };

  const write = async ({ bytes, used }: Batch) => {
    try {
      for (let at = 0; at < used && !failure;) at += await file!.write(bytes.subarray(at, used));
    } catch (cause) {
      failure ??= failed("write", cause);
    }
    waiting--;
    if (bytes.length === BATCH_BYTES) spare.push(bytes);
  };

  /** Puts the batch away. */
  const close = () => {
    if (!batch) return;
    const full = batch;
    batch = undefined;
    if (!file && full.offset + full.used <= options.memoryBytes) {
      kept.push(full);
      return;
    }
    try {
      if (!file) {
        file = open();
        fileOffset = full.offset;
      }
    } catch (cause) {
      throw failed("make", cause);
    }
    waiting++;
    written = written.then(() => write(full));
  };

  const settle = async () => {
    await written;
    if (failure) throw failure;
  };

  return {
    reserve(length) {
      if (batch && batch.used + length > batch.bytes.length) close();
      if (!batch) {
        const bytes = length > BATCH_BYTES ? new Uint8Array(length) : spare.pop() ?? new Uint8Array(BATCH_BYTES);
        batch = { offset: end, used: 0, bytes };
      }
      const place = { offset: batch.offset + batch.used, length };
      const bytes = batch.bytes.subarray(batch.used, batch.used + length);
      batch.used += length;
      end = place.offset + length;
      return { place, bytes };
    },
    settle: () => waiting > 1 ? settle() : undefined,
    flush() {
      close();
      return settle();
    },
    read({ offset, length }, room) {
      const held = kept.find((b) => offset >= b.offset && offset < b.offset + b.used);
      if (held) return held.bytes.subarray(offset - held.offset, offset - held.offset + length);
      const bytes = room && room.length >= length ? room.subarray(0, length) : new Uint8Array(length);
      try {
        file!.seekSync(offset - fileOffset, Deno.SeekMode.Start);
        for (let at = 0; at < length;) {
          const read = file!.readSync(bytes.subarray(at));
          if (read === null) throw new Error("it ends early");
          at += read;
        }
      } catch (cause) {
        throw failed("read", cause);
      }
      return bytes;
    },
    [Symbol.dispose]() {
      kept.length = spare.length = 0;
      file?.close();
      file = undefined;
    },
  };
}
