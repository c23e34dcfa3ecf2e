/**
 * The files of a spool: their names, their listing, and what is done to one of them (cut, compress, compare).
 *
 * A file's name is its state:
 *
 *     snapshot_2026112103.open.jsonl       lines may still be added to it, or it waits to be sealed
 *     snapshot_2026112103.jsonl            sealed: it never changes again (with `.zst` or `.gz`: and is compressed)
 *     snapshot_2026112103.jsonl.zst.tmp    a compression that has not ended; worthless
 *     snapshot_2026112103_0001.jsonl       the second segment that began in that hour
 *
 * The digits are the UTC hour of the segment's first snapshot, however segments are rotated. The number after them is
 * added where the hour already has a segment: after a restart, a rotation by size, a clock set back. Bytewise order of
 * the names of sealed segments is the order of time, in a shell's glob and in a bucket's listing too.
 *
 * Nothing here needs the spool's lock; who changes a file holds it.
 */
import { Buffer } from "node:buffer";
import { createReadStream, createWriteStream } from "node:fs";
import { PassThrough, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGzip, createZstdCompress } from "node:zlib";
import { decompress } from "./decompress.ts";
import { IbsrError } from "./errors.ts";
import { attempt } from "./files.ts";
import { compareTexts } from "./words.ts";

/** How a sealed segment is stored. */
export type Compression = "none" | "zstd" | "gzip";

/** When a segment ends: with the UTC hour, with the UTC day, or at a size (in bytes) and with the UTC day. */
export type Rotation = "hourly" | "daily" | number;

/** What a segment's name says. */
export interface SegmentName {
  /** Start of the UTC hour of its first snapshot, in milliseconds since 1970. */
  start: number;
  /** Tells apart the segments of an hour; 0 for the first, which has no number in its name. */
  sequence: number;
  /** A reader may meet an unfinished last line in an open segment. */
  state: "open" | "sealed";
  compression: Compression;
}

/** One file of the spool. */
export interface Segment extends SegmentName {
  /** File name without the directory. */
  name: string;
  path: string;
  /** Size on disk. */
  bytes: number;
}

/** A file with a segment's name; a temporary one has `.tmp` after it. */
export type SegmentFile = Segment & { temporary: boolean };

const NAME = /^snapshot_(\d{4})(\d\d)(\d\d)(\d\d)(?:_(\d{4,}))?(\.open)?\.jsonl(\.zst|\.gz)?(\.tmp)?$/;
const NEWLINE = 10;
/** An hour in milliseconds. */
export const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** File name endings, by compression. */
export const SUFFIX = { none: "", zstd: ".zst", gzip: ".gz" } as const satisfies Record<Compression, string>;

/**
 * The segments in `directory`, oldest first; other files are left out. Needs no lock. Of several files with the same
 * lines (a crash in the middle of compressing, a copy unpacked beside its original) one is listed, a sealed one first.
 *
 * @throws {IbsrError} `storage` or `permission`, if the directory cannot be read.
 */
export function listSegments(directory: string): Segment[] {
  const files = attempt(`list segments in "${directory}"`, () => scan(directory));
  const listed: Segment[] = [];
  for (const { temporary, ...segment } of files) {
    const last = listed.at(-1);
    if (!temporary && !(last && isTwin(last, segment))) listed.push(segment);
  }
  return listed;
}

/** Every regular file with a name of ours, in the order of time; of one hour and number, the sealed ones first. */
export function scan(directory: string): SegmentFile[] {
  for (let tries = 1;; tries++) {
    try {
      const files: SegmentFile[] = [];
      for (const { name, isFile } of Deno.readDirSync(directory)) {
        const parsed = isFile && parseSegmentName(name);
        if (!parsed) continue;
        const path = join(directory, name);
        const segmentName = parsed.temporary ? name.slice(0, -".tmp".length) : name;
        files.push({ ...parsed, name: segmentName, path, bytes: Deno.lstatSync(path).size });
      }
      return files.sort((a, b) =>
        a.start - b.start || a.sequence - b.sequence || compareTexts(b.state, a.state) || compareTexts(a.path, b.path)
      );
    } catch (error) {
      // A file was renamed or deleted between the two calls: it may be there by its next name.
      if (!(error instanceof Deno.errors.NotFound) || tries >= 5) throw error;
    }
  }
}

/** The segment of that name in `directory`, as yet without lines. */
export function describe(directory: string, name: SegmentName): Segment {
  const { start, sequence, state, compression } = name;
  const rendered = render(name);
  return { name: rendered, path: join(directory, rendered), start, sequence, state, compression, bytes: 0 };
}

function join(directory: string, name: string): string {
  return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

/** Whether the two are states of one segment. */
export function isTwin(a: SegmentName, b: SegmentName): boolean {
  return a.start === b.start && a.sequence === b.sequence;
}

/** The file name for what it says. */
export function render({ start, sequence, state, compression }: SegmentName): string {
  const hour = new Date(start).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
  const number = sequence > 0 ? `_${String(sequence).padStart(4, "0")}` : "";
  return `snapshot_${hour}${number}${state === "open" ? ".open" : ""}.jsonl${SUFFIX[compression]}`;
}

/** What a file's name says, and whether it ends in `.tmp`; undefined if it is none of ours. */
export function parseSegmentName(name: string): (SegmentName & { temporary: boolean }) | undefined {
  const match = NAME.exec(name);
  if (!match) return undefined;
  const [, year, month, day, hour, sequence, open, suffix, temporary] = match;
  const parsed = {
    start: Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour)),
    sequence: Number(sequence ?? 0),
    state: open ? "open" as const : "sealed" as const,
    compression: suffix === ".zst" ? "zstd" as const : suffix === ".gz" ? "gzip" as const : "none" as const,
    temporary: temporary !== undefined,
  };
  // A name that we would write otherwise (hour 24, number 0000) is a stranger's.
  return render(parsed) + (temporary ?? "") === name ? parsed : undefined;
}

/** The start of the unit that a time is in. */
export function floorTo(at: number, unitMs: number): number {
  return Math.floor(at / unitMs) * unitMs;
}

/** Whether a snapshot of that time goes into the segment. */
export function covers(segment: Segment, at: number, rotate: Rotation): boolean {
  if (rotate === "hourly") return segment.start === floorTo(at, HOUR_MS);
  return floorTo(segment.start, DAY_MS) === floorTo(at, DAY_MS) && (rotate === "daily" || segment.bytes < rotate);
}

/** When the segment's last snapshot is at the latest. */
export function endOf(segment: Segment, rotate: Rotation): number {
  return rotate === "hourly" ? segment.start + HOUR_MS : floorTo(segment.start, DAY_MS) + DAY_MS;
}

/**
 * Cuts what stands behind the last newline; returns its length in bytes. Does not sync: if the power is cut, it is
 * there to be cut again.
 */
export function cutUnfinished(file: Deno.FsFile): number {
  const { size } = file.statSync();
  const block = new Uint8Array(1 << 16);
  let end = size;
  while (end > 0) {
    const from = Math.max(0, end - block.length);
    const part = block.subarray(0, end - from);
    file.seekSync(from, Deno.SeekMode.Start);
    readAll(file, part);
    const newline = part.lastIndexOf(NEWLINE);
    end = from + newline + 1;
    if (newline >= 0) break;
  }
  if (end < size) file.truncateSync(end);
  return size - end;
}

/**
 * Writes a compressed copy of `source` over the existing file at `target`, syncs it, and reads it back.
 *
 * @throws if it cannot be written, or reads back as anything but `source`, or at `signal`.
 */
export async function compressFile(
  source: string,
  target: { path: string; compression: Compression },
  signal: AbortSignal,
): Promise<void> {
  await pipeline(
    createReadStream(source, { highWaterMark: 1 << 18 }),
    compressor(target.compression),
    createWriteStream(target.path, { flags: "r+" }),
    { signal },
  );
  using file = Deno.openSync(target.path, { read: true, write: true });
  await file.sync();
  if (!await isSame(source, target, signal)) {
    throw new IbsrError("storage", `Cannot compress "${source}": the compressed copy reads back differently`);
  }
}

/** Whether `stored` holds exactly the bytes of the file `original`. Rejects if it cannot be decompressed. */
export async function isSame(
  original: string,
  stored: { path: string; compression: Compression },
  signal: AbortSignal,
): Promise<boolean> {
  using file = Deno.openSync(original);
  const { compression } = stored, chunks = createReadStream(stored.path, { signal });
  let length = 0;
  for await (const chunk of compression === "none" ? chunks : decompress(chunks, compression)) {
    const expected = Buffer.alloc(chunk.length);
    if (!readAll(file, expected) || !expected.equals(chunk)) return false;
    length += chunk.length;
  }
  return length === file.statSync().size;
}

function compressor(compression: Compression): Transform {
  if (compression === "none") return new PassThrough();
  if (compression === "gzip") return createGzip();
  const { ZSTD_c_compressionLevel: level, ZSTD_c_checksumFlag: checksum } = constants;
  return createZstdCompress({ params: { [level]: 3, [checksum]: 1 } });
}

/** Fills `into`; returns whether the file was long enough. */
function readAll(file: Deno.FsFile, into: Uint8Array): boolean {
  for (let at = 0; at < into.length;) {
    const read = file.readSync(into.subarray(at));
    if (read === null) return false;
    at += read;
  }
  return true;
}
