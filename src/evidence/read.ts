/**
 * Reads snapshots of every version as evidence: each file once, from then on in the order of time.
 *
 *     using evidence = await readEvidence(listInputs(["/var/lib/ibsr"]), { progress: (done, total) => … });
 *     for (const stream of evidence.streams) {
 *       for (const interval of stream.intervals()) fold(interval);   // as often as needed
 *     }
 *     evidence.sources.text(interval.cells.source[0]);
 *
 * Lines become rows, which are kept packed: in memory while they are few, then in a temporary file. So an input is
 * read (fetched, decompressed, hashed, checked) once however many passes follow, files and lines may come in any
 * order, an open segment may grow meanwhile, and memory is bounded by distinct sources and the largest few intervals.
 * What was wrong, repeated or left out is listed; nothing is dropped without a word.
 */
import { Buffer } from "node:buffer";
import { uniquePorts } from "../address.ts";
import { COUNTER_NAMES, type Counters, noCounters, type NotCounted, SKIP_NAMES } from "../counters.ts";
import { IbsrError, reason } from "../errors.ts";
import type { Input } from "../input.ts";
import type { Finding } from "../policy/policy.ts";
import type { Snapshot, SnapshotMode } from "../snapshot.ts";
import { formatNumberOf } from "../words.ts";
import { type Counted, countRows } from "./delta.ts";
import { type FileReader, openFileReader } from "./files.ts";
import type { Interval, Sources, StreamName } from "./interval.ts";
import { countNetworkRows, measureRows, type Packing, packRows, type Place, type Rows, unpackRows } from "./rows.ts";
import { createLineScanner, type LineScanner, type Outcome, type ScannedLine } from "./scan.ts";
import { createSources, type SourceTable } from "./sources.ts";
import { openStore, type Store } from "./store.ts";
import { type LineRecord, makeTimeline, type Span, type StreamSpans } from "./timeline.ts";

/** Everything that was read. Disposing of it removes what it keeps on disk. */
export interface Evidence extends Disposable {
  /** The source addresses. */
  sources: Sources;
  /** By hostname, then interface; each has an interval at least. */
  streams: EvidenceStream[];
  /** In the order they were given. */
  files: EvidenceFile[];
  /** Lines that were read, bad and repeated ones too, empty ones not. */
  lines: number;
  /** The first 100; `badLineCount` says how many there are. */
  badLines: BadLine[];
  /** Lines that are no snapshot. */
  badLineCount: number;
  /** Lines left out because another has the same run and number. */
  duplicates: number;
  /** Of good lines, sorted. */
  versions: number[];
  /** From the first interval's begin to the last one's end, over all streams; undefined if there is none. */
  range: { beginMs: number; endMs: number } | undefined;
  /** What a reader of the numbers should know: what was left out, what was assumed. */
  findings: Finding[];
}

/** One interface of one host. */
export interface EvidenceStream {
  /** Host and interface. */
  name: StreamName;
  /** Begin of its first interval, milliseconds since 1970. */
  beginMs: number;
  /** End of its last interval, milliseconds since 1970. */
  endMs: number;
  /** Runs of collectors that it was counted by. */
  runs: number;
  /** Versions of the snapshots. */
  versions: number[];
  /** How it was counted, where the snapshots say. */
  modes: SnapshotMode[];
  /** When was watched, without what was counted: a pass over this costs nothing. */
  spans: readonly WatchedSpan[];
  /**
   * Its intervals in the order of time, from the start at each call. Each is the caller's to keep; with `reuse`, its
   * cells are overwritten by the next one's, which takes less time and half the memory.
   */
  intervals(options?: { reuse?: boolean }): Generator<Interval>;
}

/** The time of an interval. None begins before the one before it ends. */
export type WatchedSpan = Pick<Interval, "beginMs" | "endMs" | "runId" | "first">;

/** A file as it was read. */
export interface EvidenceFile {
  /** Path, as it was given. */
  path: string;
  /** Of the file as it is stored; in hexadecimal. */
  sha256: string;
  /** Stored size. */
  bytes: number;
  /** Lines in it, empty ones not. */
  lines: number;
}

/** A line that is no snapshot. */
export interface BadLine {
  /** Path, as it was given. */
  path: string;
  /** From 1. */
  line: number;
  /** What is wrong with it. */
  reason: string;
}

/** How evidence is read. */
export interface EvidenceOptions {
  /** Where a temporary file is made if there is much to keep; the system's folder for them if not given. */
  temporaryDirectory?: string;
  /** What is kept in memory before that, in bytes. */
  memoryBytes?: number;
  /** Is called now and then with the stored bytes read so far, and how many there are (undefined: not known). */
  progress?: (done: number, total: number | undefined) => void;
  /** Ends the reading. */
  signal?: AbortSignal;
}

const LISTED_BAD_LINES = 100;

/**
 * Reads all of the inputs.
 *
 * @throws {IbsrError} `storage` or `permission`, if a file can't be read, or the temporary one not be written.
 */
export async function readEvidence(inputs: readonly Input[], options: EvidenceOptions = {}): Promise<Evidence> {
  const sources = createSources(crypto.getRandomValues(new Uint32Array(1))[0]!);
  const { memoryBytes = 16 << 20, temporaryDirectory: directory } = options;
  const store = openStore({ memoryBytes, directory, takes: "up to a fifth of the uncompressed input" });
  try {
    const total = sumOf(inputs);
    using fileReader = await openFileReader(sumOf(inputs.filter(({ local }) => local)));
    const reader = startReader({ sources, store, fileReader });
    let done = 0;
    for (const input of inputs) {
      await readFile(reader, input, (bytes) => {
        options.signal?.throwIfAborted();
        options.progress?.(done + bytes, Number.isNaN(total) ? undefined : total);
      });
      done += reader.files.at(-1)!.bytes;
    }
    await store.flush();
    return finish(reader, sources);
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  }
}

/** What is known while files are read. */
interface Reader {
  scanner: LineScanner;
  fileReader: FileReader;
  store: Store;
  /** Lists of ports by their text: most lines have the same. */
  ports: Map<string, readonly number[]>;
  records: LineRecord[];
  /** The last is being read. */
  files: EvidenceFile[];
  lines: number;
  badLines: BadLine[];
  badLineCount: number;
  networkRows: number;
  /** Open segments whose last line was being written. */
  unfinished: string[];
}

function startReader({ sources, ...given }: Pick<Reader, "store" | "fileReader"> & { sources: SourceTable }): Reader {
  const reader: Reader = {
    ...given,
    scanner: createLineScanner(sources, { take: (line) => takeLine(reader, line) }),
    ...{ ports: new Map(), records: [], files: [], badLines: [], unfinished: [] },
    ...{ lines: 0, badLineCount: 0, networkRows: 0 },
  };
  return reader;
}

/** Reads a file, the stored bytes of which `progress` is told. */
async function readFile(reader: Reader, input: Input, progress: (bytes: number) => void): Promise<void> {
  const { scanner, store } = reader, open = reader.fileReader.open(input);
  const file: EvidenceFile = { path: input.path, sha256: "", bytes: 0, lines: 0 };
  reader.files.push(file);
  try {
    for await (const piece of open.pieces()) {
      progress(file.bytes = open.bytes);
      scanner.push(piece);
      await store.settle();
    }
    scanner.finish();
  } catch (cause) {
    if (!(cause instanceof IbsrError) || cause.kind !== "data") throw cause;
    addBadLine(reader, { line: scanner.abandon(), reason: reason(cause) });
  }
  file.bytes = open.bytes;
  file.sha256 = open.sha256();
}

/** Stored bytes; not a number if that isn't known before they are read. */
function sumOf(inputs: readonly Input[]): number {
  return inputs.reduce((sum, { bytes = NaN }) => sum + bytes, 0);
}

function addBadLine(reader: Reader, bad: Omit<BadLine, "path">): void {
  const { path } = reader.files.at(-1)!;
  reader.badLineCount++;
  if (reader.badLines.length < LISTED_BAD_LINES) reader.badLines.push({ path, ...bad });
}

// --------------------------------------------------------------------------------------------------- one line

/** Numbers that are kept beside a line's rows. */
const REST = 2 * COUNTER_NAMES.length + SKIP_NAMES.length + 1;

function takeLine(reader: Reader, line: ScannedLine): void {
  const file = reader.files.at(-1)!, { path } = file;
  file.lines++;
  reader.lines++;
  if ("head" in line) keepLine(reader, line, { path, number: line.number });
  else if (!line.ended && /\.open\.jsonl$|\.jsonl\.open$/.test(path)) reader.unfinished.push(path);
  else addBadLine(reader, { line: line.number, reason: line.error.message });
}

function keepLine(
  reader: Reader,
  { head, rows }: Extract<Outcome, { head: object }>,
  at: { path: string; number: number },
): void {
  reader.networkRows += countNetworkRows(rows);
  const { totals = [], unattributed = noCounters(), evicted = 0, not_counted } = head;
  const total = noCounters();
  for (const counters of totals) for (const name of COUNTER_NAMES) total[name] += counters[name];
  const rest = [
    ...COUNTER_NAMES.map((name) => total[name]),
    ...COUNTER_NAMES.map((name) => unattributed[name]),
    ...SKIP_NAMES.map((name) => not_counted?.[name] ?? NaN),
    evicted,
  ];
  reader.records.push({
    ...at,
    version: head.version,
    hostname: head.hostname,
    iface: head.iface,
    runId: head.run_id,
    seq: head.seq,
    endMs: Math.round(head.ts_unix_sec * 1000),
    intervalMs: milliseconds(head.interval_sec),
    baseMs: milliseconds(head.base_ts_unix_sec),
    cumulative: head.counter_mode === "cumulative",
    mode: head.xdp_mode,
    ports: listPorts(reader, head),
    place: keepRows(reader.store, measureRows(rows, rest)),
    rows: rows.count,
  });
}

function keepRows(store: Store, packing: Packing): Place {
  const { place, bytes } = store.reserve(packing.length);
  packRows(packing, bytes);
  return place;
}

function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.round(seconds * 1000);
}

function listPorts(reader: Reader, { dst_ports }: Pick<Snapshot, "dst_ports">): readonly number[] {
  const key = JSON.stringify(dst_ports);
  let ports = reader.ports.get(key);
  if (!ports) reader.ports.set(key, ports = uniquePorts(dst_ports));
  return ports;
}

// --------------------------------------------------------------------------------------------------- all lines

function finish(reader: Reader, sources: SourceTable): Evidence {
  const { store, records, files, lines, badLines, badLineCount } = reader;
  const { streams, duplicates, findings } = makeTimeline(records, (a, b) => {
    if (a.place.length !== b.place.length) return false;
    const left = store.read(a.place), right = store.read(b.place);
    return Buffer.compare(left, right) === 0;
  });
  const begins = streams.map(({ spans }) => spans[0]!.beginMs), ends = streams.map(({ spans }) => spans.at(-1)!.endMs);
  return {
    sources,
    streams: streams.map((stream) => describeStream(stream, store, sources)),
    files,
    lines,
    badLines,
    badLineCount,
    duplicates,
    versions: sorted(records.map((record) => record.version)),
    range: streams.length > 0
      ? { beginMs: begins.reduce((a, b) => Math.min(a, b)), endMs: ends.reduce((a, b) => Math.max(a, b)) }
      : undefined,
    findings: [...describeReading(reader), ...findings],
    [Symbol.dispose]: () => store[Symbol.dispose](),
  };
}

/** What reading came across that a report says, by an engine too. */
export function describeReading(
  { networkRows, unfinished }: { networkRows: number; unfinished: readonly string[] },
): Finding[] {
  const findings: Finding[] = [];
  if (networkRows > 0) {
    const message = `${formatNumberOf(networkRows, "row")} of /24 networks: in the totals, and attributed to no source`;
    findings.push({ severity: "warning", code: "network_rows", message });
  }
  for (const path of unfinished) {
    findings.push({ severity: "note", code: "unfinished_line", message: `${path}: the last line was being written` });
  }
  return findings;
}

function describeStream({ name, spans }: StreamSpans, store: Store, sources: SourceTable): EvidenceStream {
  return {
    name,
    beginMs: spans[0]!.beginMs,
    endMs: spans.at(-1)!.endMs,
    runs: new Set(spans.map((span) => span.runId)).size,
    versions: sorted(spans.map((span) => span.line.version)),
    modes: [...new Set(spans.flatMap((span) => span.line.mode ?? []))].sort(),
    spans,
    intervals: ({ reuse = false } = {}) => listIntervals(spans, { store, sources, reuse }),
  };
}

function sorted(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

function* listIntervals(
  spans: readonly Span[],
  { store, sources, reuse }: { store: Store; sources: SourceTable; reuse: boolean },
): Generator<Interval> {
  // What the last line of each run said, which the next one's counters are compared with; and room for the next.
  const last = new Map<number, { line: LineRecord; rows: Rows }>(), spare: Rows[] = [];
  let packed = new Uint8Array(0);
  const load = ({ place }: LineRecord, room: Rows | undefined) => {
    if (packed.length < place.length) packed = new Uint8Array(place.length + (place.length >> 2));
    return unpackRows(store.read(place, packed), REST, room);
  };
  let room: Rows | undefined;
  for (const span of spans) {
    const { line, previous } = span, { cumulative } = line;
    const { rows, rest } = load(line, cumulative ? spare.pop() : room), kept = last.get(span.runId);
    let before = cumulative && kept?.line === previous ? kept?.rows : undefined;
    if (previous && !before) before = load(previous, spare.pop()).rows;
    const counted = countRows(rows, {
      ...{ cumulative, previous: before, room, sources },
      mayRestart: line.version < 5,
      payload: line.version >= 8,
    });
    if (reuse) room = counted.rows;
    yield describeInterval(span, counted, rest);
    if (!cumulative) continue;
    last.delete(span.runId);
    last.set(span.runId, { line, rows });
    if (kept) spare.push(kept.rows);
    // Runs follow one another: the rows of one that has ended are not kept.
    if (last.size > 4) last.delete(last.keys().next().value!);
  }
}

function describeInterval(
  { beginMs, endMs, runId, first, line }: Span,
  counted: Counted,
  rest: Float64Array,
): Interval {
  const { cells, sum, networks, evicted, wrapped, restarted } = counted;
  const exact = line.version >= 8 && !line.cumulative;
  const unattributed = countersFrom(rest, COUNTER_NAMES.length);
  for (const name of COUNTER_NAMES) unattributed[name] = (exact ? unattributed[name] : 0) + networks[name];
  return {
    ...{ beginMs, endMs, runId, first: first || restarted, mode: line.mode, ports: line.ports, cells },
    total: exact ? countersFrom(rest, 0) : sum,
    unattributed,
    evicted: (exact ? rest.at(-1)! : 0) + evicted,
    wrapped,
    notCounted: exact ? skipsFrom(rest, 2 * COUNTER_NAMES.length) : undefined,
  };
}

function countersFrom(numbers: Float64Array, at: number): Counters {
  const counters = noCounters();
  for (const [k, name] of COUNTER_NAMES.entries()) counters[name] = numbers[at + k]!;
  return counters;
}

function skipsFrom(numbers: Float64Array, at: number): NotCounted {
  return Object.fromEntries(SKIP_NAMES.map((name, k) => [name, numbers[at + k]!])) as unknown as NotCounted;
}
