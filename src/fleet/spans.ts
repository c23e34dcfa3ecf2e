/**
 * Which line counted when: the timeline of a report on files, made of what the table `lines` has beside its rows.
 *
 * One record a snapshot comes here, however many sources it has, and goes through the same code: runs, clocks that were
 * set back, lines that repeat others, streams. What rules ask of time alone (which intervals a window touches, when
 * evidence is settled) is worked out here, too, by the same code, and goes back with the spans.
 */
import { uniquePorts } from "../address.ts";
import { type LineRecord, makeTimeline, type Span, type Timeline } from "../evidence/timeline.ts";
import { createRecent } from "../policy/recent.ts";
import type { SnapshotMode } from "../snapshot.ts";
import { LONGEST_WAIT_MS } from "../report/tally.ts";
import type { LineSource } from "./lines.ts";
import type { Workspace } from "./tables.ts";

/** A stream's time in the tables' terms. */
export interface FleetTimeline extends Timeline {
  /** Distinct, sorted; of good lines. */
  versions: number[];
  /** Lines that were read, bad ones too. */
  lines: number;
  networkRows: number;
  /** How many intervals before one a window that ends in it can touch, at most: for rules, and for the sweep. */
  reach: { window: number; sweep: number };
}

/** What is told apart in time. */
export interface SpanOptions {
  windowMs: number;
  /** The longest window of the sweep. */
  sweepWindowMs: number;
}

/** A line as the table has it; 64-bit numbers are texts. */
interface Head {
  file: number;
  number: number;
  version: number;
  hostname: string;
  iface: string;
  run_id: string;
  seq: string;
  end_ms: string;
  interval_ms: string;
  base_ms: string;
  cumulative: number;
  mode: string;
  dst_ports: string;
  row_count: number;
  same: string;
}

/** Line records by their place: what `makeTimeline()` compares. */
interface FleetLine extends LineRecord {
  file: number;
  same: string;
}

/** Makes the timeline and fills `spans`. */
export async function makeSpans(
  workspace: Workspace,
  source: LineSource,
  options: SpanOptions,
): Promise<FleetTimeline> {
  const { tables, stream, rows } = workspace, ports = new Map<string, readonly number[]>();
  const lines: FleetLine[] = [];
  const heads = stream<Head>(
    `SELECT file, number, version, hostname, iface, run_id, seq, end_ms, interval_ms, base_ms, cumulative, mode,
       dst_ports, row_count, sipHash64(digest, row_count, totals, unattributed, skips, evicted) AS same
     FROM ${tables.lines} WHERE clean ORDER BY file, number`,
  );
  for await (const head of heads) lines.push(toRecord(head, source, ports));
  const timeline = makeTimeline(lines, (a, b) => (a as FleetLine).same === (b as FleetLine).same);
  const [counts] = await rows<{ lines: string; network_rows: string; versions: number[] }>(
    `SELECT uniqExact(file, number) AS lines, sumIf(network_rows, clean) AS network_rows,
       arraySort(groupUniqArrayIf(version, clean)) AS versions FROM ${tables.lines}`,
  );
  const reach = { window: 0, sweep: 0 };
  for (const [number, { spans }] of timeline.streams.entries()) {
    await insertSpans(workspace, number, spans, { ...options, reach });
  }
  return {
    ...timeline,
    lines: Number(counts!.lines),
    networkRows: Number(counts!.network_rows),
    versions: counts!.versions,
    reach,
  };
}

function toRecord(head: Head, { files }: LineSource, ports: Map<string, readonly number[]>): FleetLine {
  const { version, mode, dst_ports } = head, hasRun = version >= 5, hasName = version >= 8;
  let list = ports.get(dst_ports);
  if (!list) ports.set(dst_ports, list = uniquePorts(JSON.parse(dst_ports)));
  return {
    path: files[head.file]!.path,
    file: head.file,
    number: head.number,
    version,
    hostname: hasName ? head.hostname : undefined,
    iface: hasName ? head.iface : undefined,
    runId: hasRun ? Number(head.run_id) : undefined,
    seq: hasName ? Number(head.seq) : undefined,
    endMs: Number(head.end_ms),
    intervalMs: hasRun ? Number(head.interval_ms) : undefined,
    baseMs: hasRun ? Number(head.base_ms) : undefined,
    cumulative: head.cumulative === 1,
    mode: mode === "" ? undefined : mode as SnapshotMode,
    ports: list,
    place: { offset: 0, length: 0 },
    rows: head.row_count,
    same: head.same,
  };
}

const STRUCTURE = `stream UInt32, seq UInt32, file UInt32, number UInt32, before_file UInt32, before_number UInt32,
  has_before UInt8, begin_ms Int64, end_ms Int64, may_restart UInt8, cumulative UInt8, payload UInt8,
  touch_seq UInt32, touch_begin_ms Int64, run_seq UInt32, run_begin_ms Int64, inner_seq UInt32, pieces UInt32,
  covered UInt8, settle_seq UInt32, longest_ms Int64`.replaceAll(/\s+/g, " ");
const AT_ONCE = 10_000;
/** No interval has that number: evidence that is settled when all is read. */
const NEVER = 0xffffffff;

async function insertSpans(
  { tables, run }: Workspace,
  stream: number,
  spans: readonly Span[],
  { windowMs, sweepWindowMs, reach }: SpanOptions & { reach: FleetTimeline["reach"] },
): Promise<void> {
  const recent = createRecent(windowMs), sweep = createRecent(sweepWindowMs);
  const settled = settle(spans, Math.min(windowMs, LONGEST_WAIT_MS));
  let texts: string[] = [], longestMs = 0;
  const flush = () =>
    run(`INSERT INTO ${tables.spans} SELECT * FROM format('JSONEachRow', '${STRUCTURE}', {rows:String})`, {
      rows: texts.join("\n"),
    });
  for (const [i, span] of spans.entries()) {
    const { line, previous, beginMs, endMs } = span, before = previous as FleetLine | undefined;
    longestMs = Math.max(longestMs, endMs - beginMs);
    recent.begin(span, 0);
    sweep.begin(span, 0);
    reach.window = Math.max(reach.window, recent.seq - recent.touchSeq);
    reach.sweep = Math.max(reach.sweep, sweep.seq - sweep.touchSeq);
    texts.push(JSON.stringify({
      stream,
      seq: i + 1,
      file: (line as FleetLine).file,
      number: line.number,
      before_file: before?.file ?? 0,
      before_number: before?.number ?? 0,
      has_before: Number(before !== undefined),
      begin_ms: beginMs,
      end_ms: endMs,
      may_restart: Number(line.version < 5),
      cumulative: Number(line.cumulative),
      payload: Number(line.version >= 8),
      touch_seq: recent.touchSeq,
      touch_begin_ms: recent.touchBeginMs,
      run_seq: recent.runSeq,
      run_begin_ms: recent.runBeginMs,
      inner_seq: recent.innerSeq,
      pieces: recent.pieces,
      covered: Number(recent.covered >= 0.5),
      settle_seq: settled[i]!,
      longest_ms: longestMs,
    }));
    if (texts.length < AT_ONCE) continue;
    await flush();
    texts = [];
  }
  if (texts.length > 0) await flush();
}

/** By interval: in which one a tally counts its evidence, since no later window can reach it. */
function settle(spans: readonly Span[], widenMs: number): Float64Array {
  const settled = new Float64Array(spans.length).fill(NEVER);
  let waiting = 0, longestMs = 0;
  for (const [i, { beginMs, endMs }] of spans.entries()) {
    longestMs = Math.max(longestMs, endMs - beginMs);
    const untilMs = beginMs - 2 * widenMs - longestMs;
    while (waiting <= i && spans[waiting]!.endMs <= untilMs) settled[waiting++] = i + 1;
  }
  return settled;
}
