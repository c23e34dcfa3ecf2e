/**
 * Which files of a fleet hold what is asked for, told by their paths alone: what is left out is never read.
 *
 * `ibsr export s3 --layout hive` puts a segment at `PREFIX host=H/date=D/hour=HH/PATH`; its name says the hour of its first
 * snapshot in any layout. A path that says nothing is always kept.
 */
import { parseSegmentName } from "../segment.ts";

/** A file of snapshots. */
export interface SourceFile {
  /** As a user knows it: a path, or `s3://BUCKET/KEY`. */
  path: string;
  /** As it is stored. */
  bytes: number;
  /** Of the object, as S3 has it. */
  etag?: string;
}

/** What is asked for. */
export interface Choice {
  /** These only; all if empty. */
  hosts: readonly string[];
  /** Milliseconds since 1970. An interval belongs to it if it ends after `fromMs` and not after `toMs`. */
  fromMs?: number | undefined;
  toMs?: number | undefined;
}

const HIVE = /^((?:.*\/)?)host=([^/]*)\/(?:date=\d{4}-\d\d-\d\d\/hour=\d\d\/)?((?:.*\/)?)([^/]*)$/s;
const PLAIN = /^((?:.*\/)?)([^/]*)$/s;
const HOUR_MS = 3_600_000, DAY_MS = 24 * HOUR_MS;

/** What a path says of a file. */
interface Place {
  host: string | undefined;
  /** The folder that a collector wrote to: its segments follow each other in time. */
  spool: string;
  /** Start of the hour of its first snapshot. */
  startMs: number | undefined;
}

/** Reads a path. */
export function readPlace(path: string): Place {
  const hive = HIVE.exec(path), [, prefix = "", name = ""] = hive ? [] : PLAIN.exec(path) ?? [];
  const file = hive ? hive[4]! : name;
  return {
    host: hive?.[2],
    spool: hive ? `${hive[1]}host=${hive[2]}/${hive[3]}` : prefix,
    startMs: parseSegmentName(file)?.start,
  };
}

/** The files that may hold something of it, in the order given. */
export function chooseFiles<F extends SourceFile>(files: readonly F[], { hosts, fromMs, toMs }: Choice): F[] {
  const placed = files.map((file) => ({ file, place: readPlace(file.path) }));
  const isHost = ({ host }: Place) => hosts.length === 0 || host === undefined || hosts.includes(host);
  const laterStarts = fromMs === undefined ? new Map<string, number[]>() : startsBySpool(placed.map((p) => p.place));
  return placed.filter(({ place }) => {
    if (!isHost(place)) return false;
    const { startMs, spool } = place;
    if (startMs === undefined) return true;
    if (toMs !== undefined && startMs > toMs) return false;
    return fromMs === undefined || endOf(startMs, laterStarts.get(spool)!) > fromMs;
  }).map(({ file }) => file);
}

function startsBySpool(places: readonly Place[]): Map<string, number[]> {
  const starts = new Map<string, number[]>();
  for (const { spool, startMs } of places) {
    if (startMs === undefined) continue;
    const list = starts.get(spool);
    if (list) list.push(startMs);
    else starts.set(spool, [startMs]);
  }
  for (const list of starts.values()) list.sort((a, b) => a - b);
  return starts;
}

/**
 * When the last snapshot of a segment was taken, at the latest. However segments are rotated, a day ends them; and the
 * next one of the spool has begun before its first hour was over. An interval that was under way then is the next one's.
 */
function endOf(startMs: number, starts: readonly number[]): number {
  const next = starts[firstAfter(starts, startMs)];
  const endOfDay = (Math.floor(startMs / DAY_MS) + 1) * DAY_MS;
  return Math.min(endOfDay, next === undefined ? Infinity : next + HOUR_MS);
}

/** The index of the first that is larger. */
function firstAfter(sorted: readonly number[], value: number): number {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
