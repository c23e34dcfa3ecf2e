/**
 * What a collector is doing and has done, from outside: its lock, its heartbeats, the names of its segments, and the
 * last lines of the open one, which say what was written since the last heartbeat.
 *
 * It only reads, and touches nothing of a running collector: whether the lock is held is looked up in /proc/locks,
 * because trying to take it could keep a collector from starting. How much of the last day was counted is the
 * difference of heartbeats. Lines of thousands of sources are too long to be read along: of such a run that was killed
 * up to one status interval more may have been counted.
 */
import { statfsSync } from "node:fs";
import { IbsrError, reason } from "./errors.ts";
import { advance, decodeHead, decodeHeartbeat, type Heartbeat, type SnapshotHead } from "./heartbeat.ts";
import { readKernelFile } from "./libc.ts";
import { historyOf, readLedger } from "./s3/ledger.ts";
import { listSegments, type Segment } from "./segment.ts";
import { formatBytes, formatDuration, formatNumberOf, isoTime, UNKNOWN } from "./words.ts";

/** The state of a spool and its collector. Times are seconds since 1970. */
export interface Status {
  directory: string;
  /** Process that holds the lock; undefined if none does. */
  pid: number | undefined;
  /** The last heartbeat, with what was written since; undefined if there is none. */
  last: Heartbeat | undefined;
  /** The last heartbeat's age in seconds. */
  age_sec: number | undefined;
  /** Of a running collector: whether its heartbeat is late. */
  late: boolean;
  coverage: Coverage | undefined;
  segments: { count: number; open: number; bytes: number; oldest: number | undefined };
  /** Where segments are uploaded to, and what of them is not yet; undefined if nothing was ever uploaded from here. */
  upload?: Upload | undefined;
  /** Bytes that the collector's user can still write there. */
  free_bytes: number;
}

/** What the export's ledger comes to. */
export interface Upload {
  target: string;
  /** Sealed segments that are not stored there. */
  waiting: { count: number; bytes: number; oldest: number | undefined };
  /** When an object was stored last. */
  last: number | undefined;
  /** Multipart uploads that the next run goes on with. */
  unfinished: number;
}

/** How much of a time was counted. */
export interface Coverage {
  /** Start of the time looked at: a day ago, or the first heartbeat there is. */
  since: number;
  interfaces: { iface: string; covered_sec: number; share: number }[];
  /** Sums over that time. */
  packets: number;
  unattributed: number;
  evicted: number;
}

const DAY_SEC = 86400;

/**
 * Reads the state of the spool in `directory`.
 *
 * @param now Seconds since 1970.
 * @throws {IbsrError} `storage`, if there is no such directory; `permission`, if it may not be read.
 */
export function readStatus(directory: string, now: number): Status {
  const heartbeats = [`${directory}/status.jsonl.1`, `${directory}/status.jsonl`].flatMap(readHeartbeats);
  if (!isDirectory(directory)) {
    throw new IbsrError("storage", `Cannot read the spool ${directory}: there is no such directory`, {
      hint: "--out-dir names the spool of the collector; `ibsr config show status` says which is looked at",
    });
  }
  const segments = listSegments(directory);
  const beat = heartbeats.at(-1);
  const pid = findHolder(`${directory}/spool.lock`);
  const ageSec = beat ? Math.max(0, now - beat.timestamp) : undefined;
  const last = beat && bringUpToDate(beat, segments),
    beats = last && last !== beat ? [...heartbeats, last] : heartbeats;
  const { bavail, bsize } = statfsSync(directory);
  return {
    directory,
    pid,
    last,
    age_sec: ageSec,
    late: pid !== undefined && last !== undefined && ageSec! > 2 * last.status_interval_sec + 5,
    coverage: measureCoverage(beats, { now, running: pid !== undefined }),
    segments: {
      count: segments.length,
      open: segments.filter((s) => s.state === "open").length,
      bytes: segments.reduce((sum, s) => sum + s.bytes, 0),
      oldest: segments[0] ? segments[0].start / 1000 : undefined,
    },
    upload: readUpload(directory, segments),
    free_bytes: bavail * bsize,
  };
}

/** Bytes of the open segment that are read at most: the six lines of a minute, unless they have thousands of rows. */
const TAIL_BYTES = 1 << 20;

/** The heartbeat with what stands in the open segment and not in it yet. */
function bringUpToDate(beat: Heartbeat, segments: readonly Segment[]): Heartbeat {
  const open = segments.findLast(({ state }) => state === "open");
  const tail = open && beat.state === "running" ? readTail(open.path) : undefined;
  if (!tail) return beat;
  const advanced = advance(beat, tail.heads);
  const [only, ...others] = advanced.interfaces;
  // A line longer than what is read: whose it is stands before that, and is known where one interface writes all.
  if (tail.writtenAt === undefined || tail.writtenAt <= beat.timestamp || !only || others.length > 0) return advanced;
  return { ...advanced, interfaces: [{ ...only, last_snapshot: tail.writtenAt }] };
}

/** The snapshots that begin in the end of a segment; if its last line is longer than that, when that was written. */
function readTail(path: string): { heads: SnapshotHead[]; writtenAt: number | undefined } | undefined {
  try {
    using file = Deno.openSync(path);
    const { size, mtime } = file.statSync(), from = Math.max(0, size - TAIL_BYTES);
    const bytes = new Uint8Array(size - from);
    file.seekSync(from, Deno.SeekMode.Start);
    let length = 0;
    for (let read; length < bytes.length && (read = file.readSync(bytes.subarray(length)));) length += read;
    const lines = new TextDecoder().decode(bytes.subarray(0, length)).split("\n");
    const unfinished = lines.pop();
    if (from > 0) lines.shift(); // it began before
    const isLong = from > 0 && lines.length === 0 && unfinished === "";
    const heads = lines.map(decodeHead).filter((head) => head !== undefined);
    return { heads, writtenAt: isLong && mtime ? mtime.getTime() / 1000 : undefined };
  } catch (cause) {
    // Sealed under another name or pruned meanwhile, or readable by others only: the heartbeat says enough.
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.PermissionDenied) return undefined;
    throw new IbsrError("storage", `Cannot read ${path}: ${reason(cause)}`, { cause });
  }
}

function readUpload(directory: string, segments: readonly Segment[]): Upload | undefined {
  const ledger = readLedger(directory);
  if (ledger?.target === undefined) return undefined;
  const { stored, uploads } = historyOf(ledger, ledger.target), objects = [...stored.values()];
  const paths = new Set(objects.map(({ path }) => path));
  const waiting = segments.filter((segment) => segment.state === "sealed" && !paths.has(segment.name));
  const times = objects.map(({ time }) => Date.parse(time ?? "")).filter((time) => !Number.isNaN(time));
  return {
    target: ledger.target,
    waiting: {
      count: waiting.length,
      bytes: waiting.reduce((sum, segment) => sum + segment.bytes, 0),
      oldest: waiting[0] ? waiting[0].start / 1000 : undefined,
    },
    last: times.length > 0 ? times.reduce((a, b) => Math.max(a, b)) / 1000 : undefined,
    unfinished: uploads.size,
  };
}

/** Whether all is as it should be: a collector runs, its heartbeat is fresh, and it says that nothing fails. */
export function isHealthy({ pid, last, late }: Status): boolean {
  return pid !== undefined && last !== undefined && !late && last.failing.length === 0 &&
    last.interfaces.every((i) => i.xdp_mode !== null);
}

function readHeartbeats(path: string): Heartbeat[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new IbsrError("permission", `Cannot read the heartbeats: ${reason(cause)}`, {
      hint: "run it as root, or as a member of the spool's group",
      cause,
    });
  }
  return text.split("\n").map(decodeHeartbeat).filter((heartbeat) => heartbeat !== undefined);
}

/** Whether it is one, or may be: who isn't let in is told so by what follows. */
function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (cause) {
    return !(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory);
  }
}

/** The process that holds the lock of that file, by the kernel's list of locks. */
function findHolder(path: string): number | undefined {
  try {
    const { ino } = Deno.statSync(path);
    const pid = Deno.readTextFileSync(path).trim();
    const locks = readKernelFile("/proc/locks")?.split("\n") ?? [];
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:16042 0 EOF`. The device is not compared: btrfs has several names for one.
    const held = locks.map((line) => line.trim().split(/\s+/)).some(([, type, , , holder, file]) =>
      type === "FLOCK" && holder === pid && file?.endsWith(`:${ino}`)
    );
    return held ? Number(pid) : undefined;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw new IbsrError("permission", `Cannot read the spool's lock: ${reason(cause)}`, { cause });
  }
}

/**
 * The coverage of the day before `now` (seconds since 1970): of each run what its last heartbeat has more than the
 * last one before the day, or than nothing if the run began in the day.
 */
export function measureCoverage(
  heartbeats: readonly Heartbeat[],
  { now, running }: { now: number; running: boolean },
): Coverage | undefined {
  const first = heartbeats[0], last = heartbeats.at(-1);
  if (!first || !last) return undefined;
  const startOf = (beat: Heartbeat) => isFirst(beat) ? beat.run_id / 1000 : beat.timestamp;
  const since = Math.max(now - DAY_SEC, startOf(first));
  const covered = new Map<string, number>();
  const sums = { packets: 0, unattributed: 0, evicted: 0 };
  for (const beats of Map.groupBy(heartbeats, (beat) => beat.run_id).values()) {
    const end = beats.at(-1)!;
    if (end.timestamp < since) continue;
    const before = beats.findLast((beat) => beat.timestamp <= since) ?? (isFirst(beats[0]!) ? undefined : beats[0]!);
    for (const { iface, covered_sec } of end.interfaces) {
      const earlier = before?.interfaces.find((i) => i.iface === iface)?.covered_sec ?? 0;
      covered.set(iface, (covered.get(iface) ?? 0) + covered_sec - earlier);
    }
    for (const name of ["packets", "unattributed", "evicted"] as const) {
      sums[name] += end[name] - (before?.[name] ?? 0);
    }
  }
  return {
    since,
    interfaces: [...covered].map(([iface, sec]) => {
      const length = Math.max((running ? countedUntil(last, iface) : now) - since, 1e-3);
      const covered_sec = Math.min(Math.max(sec, 0), length);
      return { iface, covered_sec, share: covered_sec / length };
    }),
    ...sums,
  };
}

/** Whether it is a run's first; otherwise what came before it is gone. */
function isFirst(beat: Heartbeat): boolean {
  return beat.cycle === 0;
}

/** Until when a running collector can have written: an interval in progress is no gap. */
function countedUntil(beat: Heartbeat, iface: string): number {
  const { last_snapshot = null, xdp_mode = null } = beat.interfaces.find((i) => i.iface === iface) ?? {};
  const isDue = last_snapshot === null || beat.timestamp - last_snapshot > beat.interval_sec + 2;
  return isDue || xdp_mode === null ? beat.timestamp : last_snapshot;
}

// --------------------------------------------------------------------------------------------------- one screen

/** The state as text, a line each. */
export function formatStatus(status: Status, now: number): string {
  const { pid, last, age_sec: ageSec = 0, coverage, segments } = status;
  const beatAt = now - ageSec;
  const lines: string[] = [];
  const row = (name: string, text: string) => lines.push(`${name.padEnd(10)} ${text}`);
  const ago = (time: number) => `${formatDuration(Math.floor(Math.max(0, now - time)))} ago`;
  if (pid !== undefined) {
    const since = last && last.pid === pid
      ? `since ${formatTime(last.run_id / 1000)} (${ago(last.run_id / 1000)})`
      : "";
    row("collector", `running ${since}, process ${pid}`.replace(" ,", ","));
  } else if (last?.state === "stopped") {
    row("collector", `stopped ${ago(beatAt)}`);
  } else {
    row(
      "collector",
      last ? `not running; its last heartbeat, ${ago(beatAt)}, was no goodbye` : "never ran here",
    );
  }
  if (last && status.late) row("heartbeat", `late: the last was ${ago(beatAt)}`);
  if (last) {
    row("ports", last.dst_ports.join(","));
    for (const { iface, xdp_mode, last_snapshot, unwritten } of last.interfaces) {
      const share = coverage?.interfaces.find((i) => i.iface === iface)?.share;
      const parts = [
        pid === undefined ? "not watched" : xdp_mode === null ? "absent: not attached" : xdp_mode,
        last_snapshot === null ? "no snapshot yet" : `last snapshot ${ago(last_snapshot)}`,
        unwritten ? "one waits for the disk" : "",
        share === undefined ? "" : `${formatShare(share)} counted since ${formatTime(coverage!.since)}`,
      ];
      row(iface, parts.filter(Boolean).join(", "));
    }
  }
  if (coverage) {
    const lost = coverage.packets === 0 ? 0 : coverage.unattributed / coverage.packets;
    const share = coverage.unattributed > 0 ? ` (${formatShare(lost)})` : "";
    const asOf = last ? `, as of ${formatTime(last.timestamp)} (${ago(last.timestamp)})` : "";
    row("counted", `${formatNumberOf(coverage.packets, "packet")} since ${formatTime(coverage.since)}${asOf}`);
    row("lost", `the source of ${formatNumberOf(coverage.unattributed, "packet")}${share}${asOf}`);
  }
  const oldest = segments.oldest === undefined ? "" : `, the oldest of ${formatTime(segments.oldest)}`;
  row(
    "spool",
    `${status.directory}: ${formatNumberOf(segments.count, "segment")}, ${formatBytes(segments.bytes)}${oldest}`,
  );
  if (status.upload) {
    const { target, waiting, last: storedAt, unfinished } = status.upload;
    const since = waiting.oldest === undefined
      ? ""
      : ` (${formatBytes(waiting.bytes)}), the oldest of ${formatTime(waiting.oldest)}`;
    const parts = [
      `${formatNumberOf(waiting.count, "segment waits", "segments wait")} for ${target}${since}`,
      storedAt === undefined ? "nothing was uploaded yet" : `the last upload was ${ago(storedAt)}`,
      unfinished > 0 ? `${unfinished} unfinished` : "",
    ];
    row("upload", parts.filter(Boolean).join("; "));
  }
  row("disk", `${formatBytes(status.free_bytes)} free`);
  for (const failure of last?.failing ?? []) row("failing", failure);
  return lines.join("\n") + "\n";
}

/** A UTC time to the second. */
function formatTime(unixSec: number): string {
  return isoTime(unixSec) ?? UNKNOWN;
}

/** Never rounded up to 100 %. */
function formatShare(share: number): string {
  return `${Math.floor(share * 10000) / 100} %`;
}
