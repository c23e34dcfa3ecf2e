/**
 * `ibsr replay`: capture files through an engine into a spool, with progress on a terminal.
 */
import { IbsrError, reason } from "../errors.ts";
import { namedFileError, readPieces } from "../files.ts";
import { log } from "../log.ts";
import { readObjects } from "../objects.ts";
import { type Frame, readFrames } from "../pcap.ts";
import { describeReplay, kernelEngine, modelEngine, replay, type ReplayEngine, type ReplaySummary } from "../replay.ts";
import { openSpool } from "../spool.ts";
import { formatNumberOf } from "../words.ts";
import { openProgram } from "../xdp.ts";
import { choosePorts } from "./collect.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import { createBar } from "./progress.ts";
import type { REPLAY_OPTIONS } from "./tables/replay.ts";

/** `ibsr replay`: returns the exit code. */
export async function runReplay(
  values: Values<typeof REPLAY_OPTIONS>,
  { operands, signal, print }: Context,
): Promise<number> {
  if (operands.length === 0 || values["out-dir"] === undefined) {
    throw new IbsrError("usage", `Cannot replay: no ${operands.length === 0 ? "capture" : "--out-dir"} was given`, {
      hint: "ibsr replay -o DIR FILE…",
    });
  }
  const given = [...values["dst-port"], ...values["dst-ports"]].flat();
  const done = await replayFiles(operands, {
    engine: values.engine,
    ports: choosePorts({ ...values, "all-ports": given.length === 0 }),
    mapSize: values["map-size"],
    intervalMs: values["snapshot-interval-sec"] * 1000,
    hostname: values.hostname ?? Deno.hostname(),
    iface: values.iface,
    directory: values["out-dir"],
  }, signal);
  print(
    `${formatNumberOf(done.snapshots, "snapshot")} of ${formatNumberOf(done.packets, "packet")} (${
      formatNumberOf(done.frames, "frame")
    }) in ${values["out-dir"]}; ${formatNumberOf(done.unattributed, "packet")} without a source\n`,
  );
  return 0;
}

/** What to replay, and how. */
interface ReplayFilesOptions {
  engine: "auto" | "kernel" | "model";
  ports: readonly number[];
  mapSize: number;
  intervalMs: number;
  hostname: string;
  iface: string;
  directory: string;
}

/**
 * Replays the files as one recording. What is odd about them is logged.
 *
 * @throws {IbsrError} `data`: a file that is no Ethernet capture; `kernel` or `permission`: the kernel engine was
 * asked for and can't be had; `storage`.
 */
async function replayFiles(
  paths: readonly string[],
  options: ReplayFilesOptions,
  signal: AbortSignal,
): Promise<ReplaySummary> {
  using stack = new DisposableStack();
  const engine = await chooseEngine(options, stack);
  let spool: ReturnType<typeof openSpool> | undefined;
  const done = await replay(readFiles(paths, signal), engine, {
    ...options,
    async write(line, at) {
      // Opened with the first snapshot's time: an open segment of that hour is continued.
      spool ??= stack.use(openSpool(options.directory, { ...at, rotate: "hourly" }));
      await spool.append(line, at);
    },
  });
  const sealed = await spool?.seal();
  for (const warning of [...sealed?.warnings ?? [], ...describeReplay(done)]) log("warning", warning);
  return done;
}

/** The engine that was asked for; `auto` says which one it took. */
async function chooseEngine(options: ReplayFilesOptions, stack: DisposableStack): Promise<ReplayEngine> {
  if (options.engine === "model") return modelEngine(options.ports);
  try {
    const program = stack.use(openProgram(await readObjects(), options));
    if (options.engine === "auto") log("info", "the kernel program counts");
    return kernelEngine(program);
  } catch (error) {
    if (options.engine === "kernel") throw error;
    log("info", `the model counts: ${reason(error)}`);
    return modelEngine(options.ports);
  }
}

/** The frames of all files, in their order; warnings and progress go to standard error. */
async function* readFiles(paths: readonly string[], signal: AbortSignal): AsyncGenerator<Frame[]> {
  for (const path of paths) {
    const failed = (cause: unknown) => namedFileError(path, cause);
    const { size } = await Deno.stat(path).catch((cause) => {
      throw failed(cause);
    });
    const progress = createBar(path), room = new Uint8Array(1 << 16);
    let read = 0;
    const counted = countBytes(readPieces(path, () => room, failed), (bytes) => void (read += bytes));
    const { frames, summary } = readFrames(counted, { name: path });
    try {
      for await (const batch of frames) {
        if (signal.aborted) return;
        yield batch;
        progress.show(size > 0 ? Math.min(1, read / size) : 1, `${summary.frames} frames`);
      }
    } finally {
      progress.clear();
    }
    for (const warning of summary.warnings) log("warning", warning);
    if (summary.snapped > 0) {
      log("info", `${path}: ${summary.snapped} of ${summary.frames} frames are cut; their bytes are those on the wire`);
    }
  }
}

async function* countBytes(
  pieces: AsyncIterable<Uint8Array>,
  add: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    add(piece.length);
    yield piece;
  }
}
