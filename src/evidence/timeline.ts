/**
 * From lines in any order to each stream's spans in the order of time, and what was left out and why.
 *
 * Lines of one run are chained: by their number since version 8, by their time before. A line that another repeats is
 * left out; so is one whose time has been counted already, by another collector or before a clock was set back: no
 * second of a stream is counted twice. Every case has a finding. Versions before 8 name neither host nor interface:
 * they are one stream, "unknown", unless folders hold runs of the same time, which then are a stream each. Pure: what
 * was counted is elsewhere; this is about who, when and in which order.
 */
import type { Finding } from "../policy/policy.ts";
import type { SnapshotMode } from "../snapshot.ts";
import { compareTexts, formatNumberOf } from "../words.ts";
import type { StreamName } from "./interval.ts";
import type { Place } from "./rows.ts";

/** What a line says of itself, and where its rows are kept. */
export interface LineRecord {
  path: string;
  /** From 1. */
  number: number;
  version: number;
  hostname: string | undefined;
  iface: string | undefined;
  /** Versions 3 and 4 have none. */
  runId: number | undefined;
  seq: number | undefined;
  endMs: number;
  /** As the line says; undefined or 0 where it doesn't. */
  intervalMs: number | undefined;
  baseMs: number | undefined;
  cumulative: boolean;
  mode: SnapshotMode | undefined;
  ports: readonly number[];
  place: Place;
  /** How many rows it has. */
  rows: number;
}

/** When one line counted, and what it is compared with. */
export interface Span {
  beginMs: number;
  endMs: number;
  runId: number;
  /** First of its run: what came before it was not watched. */
  first: boolean;
  line: LineRecord;
  /** The line before it in its run, where counters are cumulative and there is one. */
  previous: LineRecord | undefined;
}

/** A stream's spans, in the order of time; none begins before the one before it ends. */
export interface StreamSpans {
  name: StreamName;
  spans: Span[];
}

/** What lines come to once they are in the order of time. */
export interface Timeline {
  /** By hostname, then interface. */
  streams: StreamSpans[];
  /** Lines that repeat another's. */
  duplicates: number;
  findings: Finding[];
}

/** Times within this of one another are the same: versions before 8 have whole seconds. */
const SLACK_MS = 1000;

/** Lines of one run of a collector, in its order. */
interface Run {
  id: number;
  /** Folder of the host, as far as folders tell. */
  home: string;
  /** Since version 8. */
  name: StreamName | undefined;
  lines: LineRecord[];
  spans: Span[];
}

/**
 * Puts lines in order.
 *
 * @param lines In the order they were read: of two that say the same the first is kept.
 * @param same Whether the rows of two lines are the same.
 */
export function makeTimeline(
  lines: readonly LineRecord[],
  same: (a: LineRecord, b: LineRecord) => boolean,
): Timeline {
  const findings: Finding[] = [];
  const { kept, duplicates } = dropRepeated(lines, same, findings);
  const runs = groupRuns(kept);
  for (const run of runs) chain(run, findings);
  const streams = groupStreams(runs.filter((run) => run.spans.length > 0), findings)
    .map(({ name, runs }) => ({ name, spans: mergeRuns(name, runs, findings) }))
    .sort((a, b) => compareTexts(a.name.hostname, b.name.hostname) || compareTexts(a.name.iface, b.name.iface));
  return { streams, duplicates, findings };
}

// --------------------------------------------------------------------------------------------------- duplicates

function dropRepeated(
  lines: readonly LineRecord[],
  same: (a: LineRecord, b: LineRecord) => boolean,
  findings: Finding[],
): { kept: LineRecord[]; duplicates: number } {
  const byKey = new Map<string, LineRecord[]>(), conflicts: LineRecord[] = [];
  let duplicates = 0;
  const kept = lines.filter((line) => {
    const key = identityOf(line), others = byKey.get(key);
    if (!others) {
      byKey.set(key, [line]);
      return true;
    }
    if (others.some((other) => same(other, line))) {
      duplicates++;
      return false;
    }
    // Before version 8, two hosts may have started in the same second: folders tell them apart.
    if (line.version < 8 && others.every((other) => homeOf(other) !== homeOf(line))) {
      others.push(line);
      return true;
    }
    conflicts.push(line);
    return false;
  });
  if (conflicts.length > 0) {
    const [{ path, number }] = conflicts as [LineRecord];
    findings.push({
      severity: "warning",
      code: "conflicting_line",
      message: `${formatNumberOf(conflicts.length, "line")} left out: ` +
        "another has the same run and number, and other counts",
      place: { path, line: number, column: 1 },
    });
  }
  return { kept, duplicates };
}

function identityOf({ version, hostname, iface, runId, seq, endMs, path, rows }: LineRecord): string {
  if (version >= 8) return JSON.stringify([hostname, iface, runId, seq]);
  if (runId !== undefined) return `${runId} ${endMs}`;
  // Nothing but its time identifies a line of version 3 or 4; two that counted nothing are not one for that.
  return `${endMs} ${rows} ${folderOf(path)}`;
}

// --------------------------------------------------------------------------------------------------- runs

function folderOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "." : path.slice(0, at) || "/";
}

/** The folder of a host's runs: the existing IBSR gives every run a folder of its own in there. */
function homeOf({ path }: LineRecord): string {
  const folder = folderOf(path), match = /^(?:(.*)\/)?ibsr-\d{8}-\d{6}Z$/.exec(folder);
  return match ? match[1] ?? "." : folder;
}

function groupRuns(lines: readonly LineRecord[]): Run[] {
  const runs = new Map<string, Run>();
  const apart = findSharedRunIds(lines);
  for (const line of lines) {
    const { version, hostname, iface, runId, cumulative } = line, home = homeOf(line);
    const key = version >= 8
      ? JSON.stringify([hostname, iface, runId, cumulative])
      : runId === undefined
      ? `folder ${folderOf(line.path)}`
      : `${runId} ${cumulative} ${apart.has(runId) ? home : ""}`;
    let run = runs.get(key);
    if (!run) {
      const name = version >= 8 ? { hostname: hostname!, iface: iface! } : undefined;
      runs.set(key, run = { id: runId ?? Math.floor(line.endMs / 1000), home, name, lines: [], spans: [] });
    }
    run.lines.push(line);
  }
  for (const run of runs.values()) {
    run.lines.sort((a, b) => run.name ? a.seq! - b.seq! : a.endMs - b.endMs);
    run.home = homeOf(run.lines[0]!);
  }
  return [...runs.values()].sort((a, b) => a.lines[0]!.endMs - b.lines[0]!.endMs || a.id - b.id);
}

/** Run ids before version 8 that two folders have at the same time: two hosts that started in the same second. */
function findSharedRunIds(lines: readonly LineRecord[]): Set<number> {
  const ranges = new Map<number, Map<string, { from: number; to: number }>>();
  for (const line of lines) {
    if (line.version >= 8 || line.runId === undefined) continue;
    let homes = ranges.get(line.runId);
    if (!homes) ranges.set(line.runId, homes = new Map());
    const home = homeOf(line), range = homes.get(home);
    if (!range) homes.set(home, { from: line.endMs, to: line.endMs });
    else [range.from, range.to] = [Math.min(range.from, line.endMs), Math.max(range.to, line.endMs)];
  }
  const shared = new Set<number>();
  for (const [id, homes] of ranges) {
    const sorted = [...homes.values()].sort((a, b) => a.from - b.from);
    if (sorted.some((range, i) => i > 0 && range.from <= Math.max(...sorted.slice(0, i).map((r) => r.to)))) {
      shared.add(id);
    }
  }
  return shared;
}

/** Gives a run its spans. */
function chain(run: Run, findings: Finding[]): void {
  const steady = new Set(longestRising(run.lines));
  if (steady.size < run.lines.length) {
    const line = run.lines.find((l) => !steady.has(l))!;
    findings.push({
      severity: "warning",
      code: "clock_step",
      message: `${formatNumberOf(run.lines.length - steady.size, "snapshot")} of run ${run.id} left out: ` +
        `the clock was set back, and their times contradict those of more others`,
      place: { path: line.path, line: line.number, column: 1 },
    });
  }
  let previous: LineRecord | undefined, undated = 0;
  for (const line of run.lines) {
    const lengthMs = lengthOf(line, previous);
    if (lengthMs === undefined) undated++;
    else if (steady.has(line)) {
      run.spans.push({
        beginMs: line.endMs - lengthMs,
        endMs: line.endMs,
        runId: run.id,
        first: run.spans.length === 0,
        line,
        previous: line.cumulative ? previous : undefined,
      });
    }
    previous = line;
  }
  if (undated > 0) {
    const { path, number } = run.lines[0]!;
    findings.push({
      severity: "warning",
      code: "undated",
      message: `${formatNumberOf(undated, "snapshot")} of run ${run.id} left out: nothing says since when they counted`,
      place: { path, line: number, column: 1 },
    });
  }
}

/** How long a line counted, in milliseconds, more than 0; undefined if nothing says so. */
function lengthOf(line: LineRecord, previous: LineRecord | undefined): number | undefined {
  const { endMs, intervalMs = 0, baseMs = 0, cumulative, version } = line;
  const sayable = intervalMs > 0 ? intervalMs : undefined;
  const sinceStart = baseMs > 0 && baseMs < endMs ? endMs - baseMs : undefined;
  const distance = previous && previous.endMs < endMs ? endMs - previous.endMs : undefined;
  if (version >= 8) {
    if (!cumulative) return sayable;
    if (!previous) return sinceStart ?? sayable;
    return line.seq === previous.seq! + 1 ? sayable ?? distance : distance ?? sayable;
  }
  if (cumulative) return previous ? distance : sinceStart ?? sayable;
  // A delta says what one interval counted. Where the last line is further away, one between them is missing.
  const since = previous ? distance : sinceStart;
  return sayable !== undefined && (since === undefined || since > 1.5 * sayable) ? sayable : since;
}

/** The most lines, in their order, whose times rise. */
function longestRising(lines: readonly LineRecord[]): readonly LineRecord[] {
  if (lines.every((line, i) => i === 0 || lines[i - 1]!.endMs < line.endMs)) return lines;
  const before = new Int32Array(lines.length), ends: number[] = [];
  for (const [i, { endMs }] of lines.entries()) {
    let low = 0, high = ends.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (lines[ends[middle]!]!.endMs < endMs) low = middle + 1;
      else high = middle;
    }
    before[i] = low > 0 ? ends[low - 1]! : -1;
    ends[low] = i;
  }
  const rising: LineRecord[] = [];
  for (let i = ends.at(-1) ?? -1; i >= 0; i = before[i]!) rising.push(lines[i]!);
  return rising.reverse();
}

// --------------------------------------------------------------------------------------------------- streams

function groupStreams(runs: readonly Run[], findings: Finding[]): { name: StreamName; runs: Run[] }[] {
  const unnamed = runs.filter((run) => !run.name), homes = [...new Set(unnamed.map((run) => run.home))].sort();
  const apart = homes.length > 1 && overlapAcross(unnamed);
  const ends = homes.map((home) => home.slice(home.lastIndexOf("/") + 1));
  const hostOf = (run: Run) => {
    if (!apart) return "unknown";
    const i = homes.indexOf(run.home), short = ends.filter((e) => e === ends[i]).length === 1;
    return `unknown (${short ? ends[i] : run.home})`;
  };
  if (apart) {
    findings.push({
      severity: "note",
      code: "hosts_by_folder",
      message:
        `versions before 8 name no host: the runs in ${formatNumberOf(homes.length, "folder")} overlap in time ` +
        `and are taken for those of as many hosts`,
    });
  }
  const streams = new Map<string, { name: StreamName; runs: Run[] }>();
  for (const run of runs) {
    const name = run.name ?? { hostname: hostOf(run), iface: "unknown" },
      key = JSON.stringify([name.hostname, name.iface]);
    const stream = streams.get(key);
    if (stream) stream.runs.push(run);
    else streams.set(key, { name, runs: [run] });
  }
  if (unnamed.length > 0 && unnamed.length < runs.length) {
    findings.push({
      severity: "note",
      code: "unnamed_streams",
      message:
        "versions before 8 name no host: if theirs is among the hosts of version 8, its traffic is in two streams",
    });
  }
  return [...streams.values()];
}

/** Whether runs of different folders are of the same time. */
function overlapAcross(runs: readonly Run[]): boolean {
  const sorted = runs.map(({ home, spans }) => ({ home, from: spans[0]!.beginMs, to: spans.at(-1)!.endMs }))
    .sort((a, b) => a.from - b.from);
  // The latest ends so far, of two different folders: one of them is another's than the next run's.
  let latest = { home: "", to: -Infinity }, other = { home: "", to: -Infinity };
  for (const { home, from, to } of sorted) {
    if ((latest.home === home ? other : latest).to > from + SLACK_MS) return true;
    if (home === latest.home) latest.to = Math.max(latest.to, to);
    else if (to > latest.to) [latest, other] = [{ home, to }, latest];
    else if (to > other.to) other = { home, to };
  }
  return false;
}

/** The spans of a stream's runs, one after the other: what overlaps with one before it is left out. */
function mergeRuns(name: StreamName, runs: readonly Run[], findings: Finding[]): Span[] {
  const sorted = runs.flatMap((run) => run.spans.map((span) => ({ run, span })))
    .sort((a, b) => a.span.endMs - b.span.endMs); // stable: the run that began first is first
  const spans: Span[] = [], left: Span[] = [];
  let last: { run: Run; endMs: number } | undefined, clipped = 0;
  for (const { run, span } of sorted) {
    const overlap = last ? last.endMs - span.beginMs : 0, half = (span.endMs - span.beginMs) / 2;
    if (overlap > (last?.run === run ? half : Math.min(half, SLACK_MS))) {
      left.push(span);
      continue;
    }
    // Lengths are measured by a clock that never steps, times by one that does: a little overlap is no time at all.
    if (overlap > SLACK_MS) clipped++;
    spans.push(overlap > 0 ? { ...span, beginMs: last!.endMs } : span);
    last = { run, endMs: span.endMs };
  }
  const stream = `${name.hostname}, ${name.iface}`;
  if (left.length > 0) {
    const { path, number } = left[0]!.line;
    findings.push({
      severity: "warning",
      code: "overlap",
      message: `${stream}: ${formatNumberOf(left.length, "snapshot")} left out: their time had been counted already, ` +
        `by another run of a collector or before the clock was set back`,
      place: { path, line: number, column: 1 },
    });
  }
  if (clipped > 0) {
    findings.push({
      severity: "note",
      code: "clock_step",
      message:
        `${stream}: ${formatNumberOf(clipped, "snapshot")} began before the last ended: the clock was set back, ` +
        `their lengths are cut and their rates too high by as much`,
    });
  }
  return spans;
}
