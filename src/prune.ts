/**
 * What a spool keeps: deletes segments by age, number and size.
 *
 * Whose directory it is, and when to call, are for others to know.
 */
import { reason } from "./errors.ts";
import { endOf, type Rotation, scan, type Segment } from "./segment.ts";

/** What is kept. A limit left out is no limit. */
export interface Limits {
  /** Most segments, open ones included. */
  maxFiles?: number | undefined;
  /** Most seconds since a segment's hour (or, unless rotation is hourly, its day) ended. */
  maxAgeSec?: number | undefined;
  /** Most bytes of all segments, open ones included. */
  maxBytes?: number | undefined;
}

/** What `prune()` did. */
export interface Pruned {
  deleted: Segment[];
  /** One sentence for each segment deleted before it was uploaded, or that could not be deleted. */
  warnings: string[];
}

/** What was left. */
export interface Kept {
  /** Bytes of all segments. */
  bytes: number;
  /** From when until when nothing is too old, and nobody looks what others did to the directory. */
  readonly from: number;
  readonly until: number;
}

/** How long what others do to the directory is not looked at. */
const LOOK_MS = 60_000;

/** Whether what is kept may be more than it should be at `at`. Files are what somebody makes, who knows. */
export function mayExceed({ bytes, from, until }: Kept, { maxBytes = Infinity }: Limits, at: number): boolean {
  return at < from || at >= until || bytes > maxBytes;
}

/** Deletes what `Spool.prune()` says. */
export function prune(
  directory: string,
  options: Limits & { rotate: Rotation; isUploaded?: ((name: string) => boolean | undefined) | undefined },
  at: number,
): Pruned & { kept: Kept } {
  const { maxFiles = Infinity, maxAgeSec = Infinity, maxBytes = Infinity, isUploaded, rotate } = options;
  const all = scan(directory).filter((file) => !file.temporary);
  let files = all.length, bytes = all.reduce((sum, segment) => sum + segment.bytes, 0), until = at + LOOK_MS;
  const deleted: Segment[] = [], warnings: string[] = [], waiting: Segment[] = [];
  const remove = (segment: Segment): boolean => {
    try {
      Deno.removeSync(segment.path);
    } catch (error) {
      warnings.push(`Cannot delete segment "${segment.name}": ${reason(error)}`);
      return false;
    }
    files--, bytes -= segment.bytes;
    deleted.push(segment);
    return true;
  };
  for (const segment of all) {
    if (segment.state === "open") continue;
    const leftMs = endOf(segment, rotate) + maxAgeSec * 1000 - at;
    if (leftMs >= 0 && files <= maxFiles && bytes <= maxBytes) {
      until = Math.min(until, at + leftMs + 1);
      continue;
    }
    if (isUploaded?.(segment.name) === false) waiting.push(segment);
    else remove(segment);
  }
  for (const segment of waiting) {
    if (bytes <= maxBytes) break;
    if (remove(segment)) {
      warnings.push(`Deleted segment "${segment.name}" before it was uploaded: the spool exceeds ${maxBytes} bytes`);
    }
  }
  return { deleted, warnings, kept: { bytes, from: at, until } };
}
