/**
 * The preflight: whether a collector with these options would work on this host, found out by doing it.
 *
 * Loads the program, runs one packet through it, attaches it to each interface, looks what it saw, detaches, writes
 * to the spool. Each step is a check with a verdict of its own, and a failed one does not stop the others. Where a
 * collector runs already, its interfaces and its spool are looked at and left alone.
 */
import { statfsSync } from "node:fs";
import { toDelta } from "./counters.ts";
import { type ErrorKind, IbsrError, reason } from "./errors.ts";
import { parentOf } from "./files.ts";
import { interfaceIndex, readKernelFile } from "./libc.ts";
import { readObjects } from "./objects.ts";
import { actAs, findUser, listKernelDirectory, missingCapabilities, readClockSync, readKernelLink } from "./process.ts";
import { listSegments } from "./segment.ts";
import type { Limits } from "./spool.ts";
import { formatBytes, formatCount, formatNumberOf } from "./words.ts";
import { findAttached, findLibbpf, openProgram, type Program, type XdpMode } from "./xdp.ts";

/** What one check found. */
export interface Check {
  name: string;
  verdict: "pass" | "warn" | "fail";
  detail: string;
  hint?: string | undefined;
  /** Of a failure: decides the exit code. */
  kind?: ErrorKind;
}

/** What to check for: the collector's own options. */
export interface CheckOptions {
  interfaces: readonly string[];
  mode: XdpMode | "auto";
  ports: readonly number[];
  mapSize: number;
  directory: string;
  limits: Limits;
  user: string | undefined;
  metricsFile: string | undefined;
  /** Whether interfaces may be touched: in native mode some drivers reset the link. */
  attach: boolean;
}

/** Runs all checks, in the order in which a collector would meet them. */
export async function runChecks(options: CheckOptions): Promise<Check[]> {
  const checks = [checkKernel(), checkJit(), checkLibbpf(), checkCapabilities()];
  const loaded = await tryLoad(options);
  checks.push(loaded.check);
  using program = loaded.program;
  if (program) checks.push(await checkCounting(program, options.ports[0]!));
  for (const name of options.interfaces) checks.push(await checkInterface(name, program, options));
  checks.push(checkMemory(options), ...await checkSpool(options), checkClock());
  if (options.metricsFile !== undefined) checks.push(await checkMetrics(options.metricsFile, options.user));
  return checks;
}

type Finding = Pick<Check, "verdict" | "detail" | "hint">;

/** A check that fails by throwing. */
function check(name: string, find: () => Finding): Check {
  try {
    return { name, ...find() };
  } catch (error) {
    return failure(name, error);
  }
}

/** A check that failed with that error; one that is none of ours is thrown on. */
export function failure(name: string, error: unknown): Check {
  if (!(error instanceof IbsrError)) throw error;
  return { name, verdict: "fail", detail: error.message, hint: error.hint, kind: error.kind };
}

// ------------------------------------------------------------------------------------------------- the kernel

function checkKernel(): Check {
  return check("kernel", () => {
    const release = readKernelFile("/proc/sys/kernel/osrelease")?.trim() ?? Deno.osRelease();
    const [major, minor] = release.split(".").map(Number) as [number, number];
    const btf = listKernelDirectory("/sys/kernel/btf").includes("vmlinux") ? "with BTF" : "without BTF";
    const detail = `Linux ${release}, ${btf}`;
    const isAtLeast = (a: number, b: number) => major > a || (major === a && minor >= b);
    if (!isAtLeast(5, 9)) {
      throw new IbsrError("kernel", `${detail}: too old`, { hint: "Linux 5.9 or newer is needed" });
    }
    if (!isAtLeast(5, 18)) {
      return {
        verdict: "warn",
        detail: `${detail}: jumbo frames only in generic mode`,
        hint: "Linux 5.18 takes them in native mode too",
      };
    }
    return { verdict: "pass", detail };
  });
}

function checkJit(): Check {
  return check("JIT", () => {
    if (readKernelFile("/proc/sys/net/core/bpf_jit_enable")?.trim() !== "0") {
      return { verdict: "pass", detail: "programs are compiled to machine code" };
    }
    return {
      verdict: "warn",
      detail: "programs are interpreted: ten times slower",
      hint: "`sysctl net.core.bpf_jit_enable=1`",
    };
  });
}

function checkLibbpf(): Check {
  return check("libbpf", () => ({ verdict: "pass", detail: findLibbpf() }));
}

function checkCapabilities(): Check {
  return check("capabilities", () => {
    const missing = missingCapabilities();
    if (missing.length === 0) return { verdict: "pass", detail: "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON" };
    throw new IbsrError("permission", `missing: ${missing.join(", ")}`, {
      hint: "run as root, or grant the three (AmbientCapabilities= in the unit)",
    });
  });
}

async function tryLoad(options: CheckOptions): Promise<{ check: Check; program?: Program }> {
  try {
    const program = openProgram(await readObjects(), { mapSize: options.mapSize, ports: options.ports });
    const { verifiedInstructions, machineBytes } = program.statistics;
    const size = `${formatCount(verifiedInstructions)} instructions verified, ${formatCount(machineBytes)} bytes`;
    const detail = `loaded (${program.kind}): ${size}`;
    return { check: { name: "program", verdict: "pass", detail }, program };
  } catch (error) {
    return { check: failure("program", error) };
  }
}

/** One SYN to `port` through the program, and back out of the maps. */
async function checkCounting(program: Program, port: number): Promise<Check> {
  try {
    const verdict = program.run(synTo(port)), XDP_PASS = 2;
    if (verdict !== XDP_PASS) {
      throw new IbsrError("kernel", `the program returned ${verdict} for a packet, not XDP_PASS`);
    }
    const { totals } = toDelta(await program.read());
    const counted = totals.find((total) => total.port === port)?.packets ?? 0;
    if (counted !== 1) throw new IbsrError("kernel", `of one packet run through the program ${counted} were counted`);
    return { name: "counting", verdict: "pass", detail: `one SYN to port ${port} run, passed and counted` };
  } catch (error) {
    return failure("counting", error);
  }
}

/** An Ethernet frame of 60 bytes: IPv4, TCP, a SYN from 192.0.2.1 (RFC 5737). */
function synTo(port: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(60), view = new DataView(frame.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint16(16, 40);
  view.setUint8(22, 64);
  view.setUint8(23, 6);
  view.setUint32(26, 0xc0000201);
  view.setUint32(30, 0xc0000202);
  view.setUint16(34, 40000);
  view.setUint16(36, port);
  view.setUint8(46, 0x50);
  view.setUint8(47, 0x02);
  return frame;
}

// --------------------------------------------------------------------------------------------- the interfaces

async function checkInterface(name: string, program: Program | undefined, options: CheckOptions): Promise<Check> {
  const label = `interface ${name}`;
  try {
    const about = `${driverOf(name)}, MTU ${readKernelFile(`/sys/class/net/${name}/mtu`)?.trim() ?? "unknown"}`;
    if (interfaceIndex(name) !== 0 && program) {
      const other = findAttached(name);
      if (other?.startsWith('"ibsr"')) {
        return { name: label, verdict: "pass", detail: `${about}; a collector is on it: ${other}` };
      }
      if (other) {
        throw new IbsrError("kernel", `${about}; ${other} is attached there`, {
          hint: `\`bpftool net show dev ${name}\` says who; one XDP program an interface is the kernel's rule`,
        });
      }
    }
    if (!program) return { name: label, verdict: "warn", detail: `${about}; not tried: the program is not loaded` };
    if (!options.attach) return { name: label, verdict: "warn", detail: `${about}; not tried: --skip-attach` };
    using attachment = program.attach(name, options.mode);
    const { mode, refusal } = attachment;
    const frames = await watchFrames(program);
    const saw = frames > 0 ? `saw ${formatNumberOf(frames, "frame")}` : `saw no frame in ${WATCH_MS / 1000} s`;
    const detail = `${about}; attached in ${mode} mode, ${saw}, detached`;
    if (refusal === undefined) return { name: label, verdict: "pass", detail };
    return {
      name: label,
      verdict: "warn",
      detail,
      hint: `native mode was refused: ${refusal}; generic costs more CPU`,
    };
  } catch (error) {
    return failure(label, error);
  }
}

/** How long to wait for a first frame. */
const WATCH_MS = 1000;

/** Reads until something came by; each read waits in the kernel for some milliseconds. */
async function watchFrames(program: Program): Promise<number> {
  const until = performance.now() + WATCH_MS;
  while (performance.now() < until) {
    const { totals, skipped } = await program.read();
    const counted = totals.reduce((sum, total) => sum + total.classes.reduce((a, b) => a + b, 0), 0);
    const frames = counted + skipped.reduce((a, b) => a + b, 0);
    if (frames > 0) return frames;
  }
  return 0;
}

/** The interface's driver; what it is instead, for one without a device. */
function driverOf(name: string): string {
  const driver = readKernelLink(`/sys/class/net/${name}/device/driver`)?.split("/").at(-1);
  if (driver) return driver;
  const type = /^DEVTYPE=(.*)$/m.exec(readKernelFile(`/sys/class/net/${name}/uevent`) ?? "")?.[1];
  return type ?? "virtual";
}

// ------------------------------------------------------------------------------------------ memory, disk, time

/** Kernel memory an entry of `mapSize`, all maps of both generations together. */
const ENTRY_BYTES = 900;

function checkMemory({ mapSize, interfaces }: CheckOptions): Check {
  const need = mapSize * ENTRY_BYTES * interfaces.length;
  const detail = `maps of ${formatCount(mapSize)} entries: ${formatBytes(need)}`;
  const limits = [["available memory", readAvailable()], ["this cgroup's limit", readCgroupLimit()]] as const;
  const tight = limits.find(([, bytes]) => bytes !== undefined && bytes < 2 * need);
  if (!tight) return { name: "memory", verdict: "pass", detail };
  const [what, bytes] = tight;
  return {
    name: "memory",
    verdict: bytes! < need ? "fail" : "warn",
    detail: `${detail}, of ${formatBytes(bytes!)} ${what}`,
    hint: "a smaller --map-size",
    ...(bytes! < need ? { kind: "kernel" as const } : {}),
  };
}

function readAvailable(): number | undefined {
  const kibibytes = /^MemAvailable:\s*(\d+)/m.exec(readKernelFile("/proc/meminfo") ?? "")?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

/** The limit of the process's cgroup (version 2); undefined if it has none. */
function readCgroupLimit(): number | undefined {
  const path = /^0::(.*)$/m.exec(readKernelFile("/proc/self/cgroup") ?? "")?.[1];
  const limit = readKernelFile(`/sys/fs/cgroup${path}/memory.max`)?.trim();
  return limit && limit !== "max" ? Number(limit) : undefined;
}

async function checkSpool(options: CheckOptions): Promise<Check[]> {
  const { directory, limits } = options;
  let existing: string;
  try {
    existing = nearestExisting(directory);
  } catch (error) {
    return [failure("spool", error)];
  }
  const missing = existing !== directory;
  // What is missing is made as the user that the collector starts as.
  const spool = await tryWriting("spool", existing, missing ? undefined : options.user);
  if (spool.verdict !== "pass") return [spool];
  if (missing) spool.detail = `${directory} will be made in ${existing}`;
  return [
    spool,
    check("disk", () => {
      const { bavail, bsize } = statfsSync(existing), free = bavail * bsize;
      const segments = missing ? [] : listSegments(directory);
      const used = segments.reduce((sum, { bytes }) => sum + bytes, 0);
      const largest = segments.reduce((most, { bytes }) => Math.max(most, bytes), 0);
      const { verdict, detail } = judgeDisk({ free, used, largest, limits });
      return { verdict, detail, ...verdict === "warn" ? { hint: "--max-bytes bounds the spool" } : {} };
    }),
  ];
}

/**
 * Whether what is kept at most has room. The limit that holds is --max-bytes. By --max-files alone it is a number of
 * segments of any size, and of those that are there the largest is all that is known.
 *
 * @param sizes In bytes: free on the disk, used by the spool, of its largest segment (0: there is none).
 */
export function judgeDisk(
  { free, used, largest, limits: { maxBytes, maxFiles } }: {
    free: number;
    used: number;
    largest: number;
    limits: Pick<Limits, "maxBytes" | "maxFiles">;
  },
): { verdict: "pass" | "warn"; detail: string } {
  const room = `${formatBytes(free)} free`, now = `${formatBytes(used)} now`;
  if (maxBytes !== undefined) {
    const rest = Math.max(0, maxBytes - used);
    const detail = `${room}; the spool may grow to ${formatBytes(maxBytes)} (--max-bytes; ${now}), ` +
      `by ${formatBytes(rest)} more`;
    return { verdict: rest <= free ? "pass" : "warn", detail };
  }
  if (maxFiles === undefined || largest === 0) {
    const files = maxFiles === undefined ? "" : `--max-files keeps ${formatCount(maxFiles)} segments of any size; `;
    const detail = `${room}; ${files}how large the spool gets can't be told: no --max-bytes`;
    return { verdict: free < 2 ** 30 ? "warn" : "pass", detail };
  }
  const rest = Math.max(0, largest * maxFiles - used);
  const detail =
    `${room}; --max-files keeps ${formatCount(maxFiles)} segments of any size (${now}): were each as large as ` +
    `the largest so far (${formatBytes(largest)}), by ${formatBytes(rest)} more; no --max-bytes bounds it`;
  return { verdict: rest <= free && free >= 2 ** 30 ? "pass" : "warn", detail };
}

async function checkMetrics(path: string, user: string | undefined): Promise<Check> {
  return await tryWriting("metrics", parentOf(path), user);
}

/** Makes a file in `directory` and removes it, as `user` if one is given. */
async function tryWriting(name: string, directory: string, user: string | undefined): Promise<Check> {
  const path = `${directory}/.ibsr-check.${Deno.pid}`;
  const write = () => {
    try {
      using file = Deno.openSync(path, { write: true, createNew: true });
      file.writeSync(new Uint8Array(4096));
      file.syncSync();
    } catch (cause) {
      const denied = cause instanceof Deno.errors.PermissionDenied;
      throw new IbsrError(denied ? "permission" : "storage", `Cannot write in ${directory}: ${reason(cause)}`, {
        hint: denied && user ? `\`chown ${user} ${directory}\`` : "`df -h` and `ls -ld` tell more",
        cause,
      });
    } finally {
      try {
        Deno.removeSync(path);
      } catch {
        // It was not made.
      }
    }
  };
  try {
    await (user === undefined ? write() : actAs(findUser(user), write));
    const by = user === undefined ? "" : ` by ${user}`;
    return { name, verdict: "pass", detail: `${directory} can be written${by}` };
  } catch (error) {
    return failure(name, error);
  }
}

function nearestExisting(path: string): string {
  for (let at = path;; at = parentOf(at)) {
    try {
      if (Deno.statSync(at).isDirectory) return at;
      throw new IbsrError("storage", `Cannot use "${path}" as the spool: ${at} is no directory`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound && at !== parentOf(at)) continue;
      if (error instanceof IbsrError) throw error;
      throw new IbsrError("storage", `Cannot use "${path}" as the spool: ${reason(error)}`, { cause: error });
    }
  }
}

function checkClock(): Check {
  const { synchronised, maxErrorMs } = readClockSync();
  if (synchronised) {
    return { name: "clock", verdict: "pass", detail: `synchronised, at most ${Math.ceil(maxErrorMs)} ms off` };
  }
  return {
    name: "clock",
    verdict: "warn",
    detail: "nothing synchronises it: snapshots of several hosts can't be laid side by side",
    hint: "`timedatectl set-ntp true`, or install chrony",
  };
}
