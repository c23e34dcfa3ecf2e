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

/** Deletes what `Spool.prune()` says. */
export function prune(
  directory: string,
  options: Limits & { rotate: Rotation; isUploaded?: ((name: string) => boolean | undefined) | undefined },
  at: number,
): Pruned {
  const { maxFiles = Infinity, maxAgeSec = Infinity, maxBytes = Infinity, isUploaded, rotate } = options;
  const all = scan(directory).filter((file) => !file.temporary);
  let files = all.length, bytes = all.reduce((sum, segment) => sum + segment.bytes, 0);
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
    const ageSec = (at - endOf(segment, rotate)) / 1000;
    if (ageSec <= maxAgeSec && files <= maxFiles && bytes <= maxBytes) continue;
    if (isUploaded?.(segment.name) === false) waiting.push(segment);
    else remove(segment);
  }
  for (const segment of waiting) {
    if (bytes <= maxBytes) break;
    if (remove(segment)) {
      warnings.push(`Deleted segment "${segment.name}" before it was uploaded: the spool exceeds ${maxBytes} bytes`);
    }
  }
  return { deleted, warnings };
}
