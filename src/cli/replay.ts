/**
 * `ibsr replay`: capture files through an engine into a spool, with progress on a terminal.
 */
import { IbsrError, reason } from "../errors.ts";
import { log } from "../log.ts";
import { readObjects } from "../objects.ts";
import { type Frame, readFrames } from "../pcap.ts";
import { describeReplay, kernelEngine, modelEngine, replay, type ReplayEngine, type ReplaySummary } from "../replay.ts";
import { openSpool } from "../spool.ts";
import { openProgram } from "../xdp.ts";
import { choosePorts, COLLECT_OPTIONS } from "./collect.ts";
import { COMMON, defineCommand } from "./command.ts";
import { choiceKind, option, secondsKind, textKind } from "./options.ts";

export const replayCommand = defineCommand({
  name: "replay",
  summary: "count captures instead of an interface, into the same snapshots",
  operands: "FILE…",
  description:
    "Reads pcap and pcapng, gzip too, of Ethernet; several files are one recording, in their order. The capture's own " +
    "time makes the intervals. The kernel engine runs every frame through the real program, without any interface; the " +
    "model engine counts alike and needs no rights.",
  examples: [
    ["ibsr replay -o ./spool capture.pcapng", "All ports, by whichever engine can be used here."],
    ["ibsr replay --engine model -p 443 -o ./spool a.pcap.gz b.pcap.gz", "Port 443 in two files, without any rights."],
  ],
  permissions: ["read", "write", "sys", "ffi"],
  options: {
    "dst-port": { ...COLLECT_OPTIONS["dst-port"], defaultHelp: "all" },
    "dst-ports": COLLECT_OPTIONS["dst-ports"],
    engine: option(choiceKind("ENGINE", ["auto", "kernel", "model"]), {
      group: "What to count",
      default: "auto",
      help: "What counts; auto takes the kernel program if it can be loaded.",
    }),
    "map-size": COLLECT_OPTIONS["map-size"],
    "out-dir": option(textKind("DIR"), {
      group: "Snapshots",
      short: "o",
      help: "The spool: made if missing. Required.",
    }),
    "snapshot-interval-sec": option(secondsKind(0.001, 86400), {
      group: "Snapshots",
      default: "10",
      help: "One snapshot each so many seconds of the capture.",
    }),
    hostname: option(textKind("NAME"), {
      group: "Snapshots",
      help: "Host to write into the snapshots.",
      defaultHelp: "this host's",
    }),
    iface: option(textKind("NAME"), {
      group: "Snapshots",
      default: "capture",
      help: "Interface to write into the snapshots.",
    }),
    ...COMMON,
  },
  async run(values, { operands, signal, print }) {
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
      `${done.snapshots} snapshots of ${done.packets} packets (${done.frames} frames) in ${values["out-dir"]}; ` +
        `${done.unattributed} packets without a source\n`,
    );
    return 0;
  },
});

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
    let file: Deno.FsFile, size: number;
    try {
      file = await Deno.open(path);
      size = (await file.stat()).size;
    } catch (cause) {
      throw new IbsrError("data", `Cannot read ${path}: ${reason(cause)}`, { cause });
    }
    const progress = showProgress(path, size);
    const { frames, summary } = readFrames(countBytes(file.readable, progress.add), { name: path });
    try {
      for await (const batch of frames) {
        if (signal.aborted) return;
        yield batch;
        progress.show(summary.frames);
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
  stream: ReadableStream<Uint8Array>,
  add: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    add(chunk.length);
    yield chunk;
  }
}

/** A line on a terminal's standard error that is written over: how much of a file was read. */
function showProgress(path: string, size: number) {
  const terminal = Deno.stderr.isTerminal(), encoder = new TextEncoder(), start = performance.now();
  let read = 0, shown = start;
  return {
    add: (bytes: number) => void (read += bytes),
    show(frames: number) {
      const now = performance.now();
      if (!terminal || now - shown < 100) return;
      shown = now;
      const share = size > 0 ? Math.min(1, read / size) : 1, left = (now - start) / 1000 * (1 / share - 1);
      const bar = "█".repeat(Math.round(20 * share)).padEnd(20, "░");
      const line = `\r${bar} ${(100 * share).toFixed(0).padStart(3)} %  ${frames} frames  ${
        left.toFixed(0)
      } s left  ${path}`;
      Deno.stderr.writeSync(encoder.encode(line.slice(0, Math.max(20, Deno.consoleSize().columns - 1)) + "\x1b[K"));
    },
    clear() {
      if (terminal && shown > start) Deno.stderr.writeSync(encoder.encode("\r\x1b[K"));
    },
  };
}
