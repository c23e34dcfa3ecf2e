/**
 * Captures to snapshots: the same counting and the same files as on an interface, with the capture's own time.
 *
 * Two engines count alike: `kernel` runs each frame through the real program by BPF_PROG_TEST_RUN, `model` through
 * src/model.ts, without any rights. Intervals follow each other from the first frame on, empty ones too; a pause
 * of the capture that is longer than an hour (or 360 intervals) is time that nobody recorded, not silence.
 */
import { classesOf, type Delta, SKIP_NAMES, toDelta, writeCounters } from "./counters.ts";
import { COUNTERS, KEY4, KEY6 } from "./layout.ts";
import { createModel, modelFrame } from "./model.ts";
import type { Frame } from "./pcap.ts";
import { encodeSnapshot, type SnapshotMode } from "./snapshot.ts";
import { formatNumberOf } from "./words.ts";
import type { Program } from "./xdp.ts";

/** Counts frames and gives what it counted as a delta. */
export interface ReplayEngine {
  readonly mode: SnapshotMode;
  count(frame: Frame): void;
  /** What was counted since the last read. */
  read(): Promise<Delta>;
  /** Frames that could not be counted because the kernel doesn't take them that long. */
  readonly tooLong: number;
}

/** What a replay needs to know. */
export interface ReplayOptions {
  intervalMs: number;
  hostname: string;
  iface: string;
  mapSize: number;
  /** Takes a snapshot's line, in chunks; `at` is the interval's end in milliseconds since 1970. */
  write(line: Iterable<Uint8Array>, at: { at: number }): Promise<unknown> | void;
}

/** What a replay did. */
export interface ReplaySummary {
  frames: number;
  packets: number;
  snapshots: number;
  unattributed: number;
  /** Frames that were captured before the interval in progress began; they are counted in it. */
  late: number;
  /** Pauses that no interval covers. */
  pauses: number;
  tooLong: number;
}

/**
 * Replays frames, in batches, into snapshots.
 *
 * @param batches Frames in the order they were captured.
 * @returns Counts of what was done; all zero if there was no frame.
 */
export async function replay(
  batches: AsyncIterable<readonly Frame[]>,
  engine: ReplayEngine,
  options: ReplayOptions,
): Promise<ReplaySummary> {
  const { intervalMs } = options, longestPause = Math.max(3_600_000, 360 * intervalMs);
  const done = { frames: 0, packets: 0, snapshots: 0, unattributed: 0, late: 0, pauses: 0 };
  const stream = { ...options, mode: engine.mode, runId: 0 };
  let start: number | undefined, last = 0;

  const write = async (startMs: number, endMs: number) => {
    const delta = await engine.read();
    const interval = { seq: done.snapshots, endMs: Math.round(endMs), lengthMs: endMs - startMs };
    await options.write(encodeSnapshot(stream, interval, delta), { at: endMs });
    done.snapshots++;
    done.packets += delta.totals.reduce((sum, total) => sum + total.packets, 0);
    done.unattributed += delta.unattributed.packets;
  };

  for await (const batch of batches) {
    for (const frame of batch) {
      if (start === undefined) {
        start = last = frame.timeMs;
        stream.runId = Math.floor(start);
      }
      if (frame.timeMs < start) done.late++;
      if (frame.timeMs - last > longestPause) {
        await write(start, last + 1);
        done.pauses++;
        start = frame.timeMs;
      }
      for (; frame.timeMs >= start + intervalMs; start += intervalMs) await write(start, start + intervalMs);
      last = Math.max(last, frame.timeMs);
      engine.count(frame);
      done.frames++;
    }
  }
  if (start !== undefined) await write(start, Math.max(last + 1, start + 1));
  return { ...done, tooLong: engine.tooLong };
}

/** The least that Ethernet needs; the kernel takes no shorter frame. */
const ETHERNET_BYTES = 14;
/** The most that the kernel takes. */
const TEST_RUN_BYTES = 65549;

/**
 * The engine that runs each frame through a loaded program.
 *
 * A frame of which only the beginning was captured is filled up with zeros to its length on the wire, so that its
 * bytes count; but only if all headers are in what was captured, since the program would read the zeros as headers.
 */
export function kernelEngine(program: Program): ReplayEngine {
  let tooShort = 0, tooLong = 0;
  return {
    mode: "test_run",
    get tooLong() {
      return tooLong;
    },
    count({ bytes, length }) {
      if (bytes.length < ETHERNET_BYTES) {
        tooShort++;
        return;
      }
      let frame = bytes;
      if (bytes.length < length && typeof modelFrame(bytes, length) !== "string") {
        frame = new Uint8Array(length);
        frame.set(bytes);
      }
      if (frame.length > TEST_RUN_BYTES) {
        tooLong++;
        return;
      }
      program.run(frame);
    },
    async read() {
      const delta = toDelta(await program.read());
      delta.notCounted.malformed += tooShort;
      tooShort = 0;
      return delta;
    },
  };
}

/** The engine that needs no rights. It has room for every source, so nothing is ever unattributed. */
export function modelEngine(ports: readonly number[]): ReplayEngine {
  const model = createModel(ports);
  return {
    mode: "model",
    tooLong: 0,
    count: ({ bytes, length }) => model.count(bytes, length),
    read() {
      const { sources, totals, not_counted } = model.drain();
      const table = (family: 4 | 16, keySize: number) => {
        const own = sources.filter((s) => s.source.length === family);
        const keys = new Uint8Array(own.length * keySize), values = new Uint8Array(own.length * COUNTERS.sizeof);
        const view = new DataView(keys.buffer), words = new Uint32Array(values.buffer);
        own.forEach(({ source, port, counters }, i) => {
          keys.set(source, i * keySize);
          view.setUint16(i * keySize + family, port);
          writeCounters(words, i * COUNTERS.sizeof / 4, counters);
        });
        return { keySize, count: own.length, keys, values };
      };
      const [v4, v6] = [table(4, KEY4.sizeof), table(16, KEY6.sizeof)];
      const delta = toDelta({
        takenAt: { monotonicMs: 0, wallMs: 0 },
        ports,
        totals: totals.map(({ port, counters }) => ({ port, bytes: counters.bytes, classes: classesOf(counters) })),
        skipped: Float64Array.from(SKIP_NAMES.map((name) => not_counted[name])),
        inserted: sources.length,
        entries: { known4: v4.count, known6: v6.count, syn4: 0, syn6: 0 },
        v4,
        v6,
      });
      return Promise.resolve(delta);
    },
  };
}

/** Says what a replay could not do as asked, a sentence each. */
export function* describeReplay(done: ReplaySummary): Generator<string> {
  if (done.late > 0) {
    yield `captured before the interval in progress, and counted in it: ${formatNumberOf(done.late, "frame")}`;
  }
  if (done.pauses > 0) yield `covered by no interval: ${formatNumberOf(done.pauses, "long pause")} of the capture`;
  if (done.tooLong > 0) {
    yield `not counted: ${
      formatNumberOf(done.tooLong, "frame")
    } longer than ${TEST_RUN_BYTES} bytes, which the kernel takes none of`;
  }
}
