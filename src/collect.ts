/**
 * The daemon's loop: maps → deltas → snapshots → spool, one snapshot an interface and interval.
 *
 * It owns the timers. Ticks are at whole intervals from the start, by the monotonic clock, so that a late one does
 * not shift the rest. What can't be written stays: a snapshot in memory (one an interface) until the spool takes
 * it, everything after it in the kernel's maps, so that an outage makes one long interval and loses nothing.
 * Time during which an interface was not watched is no interval at all.
 */
import { lchownSync } from "node:fs";
import { compactPorts } from "./address.ts";
import { type Delta, toDelta } from "./counters.ts";
import { IbsrError, reason } from "./errors.ts";
import { parentOf, replaceFile } from "./files.ts";
import { encodeHeartbeat, type Heartbeat } from "./heartbeat.ts";
import { releaseStartup, returnLargeBuffers } from "./libc.ts";
import { log } from "./log.ts";
import { formatMetrics } from "./metrics.ts";
import { type CompiledObject, type ObjectKind, readObjects } from "./objects.ts";
import { actAs, becomeUser, effectiveUid, findUser, monotonicUsec, type Notify, type User } from "./process.ts";
import { judge } from "./safety.ts";
import { sleepUntil } from "./sleep.ts";
import { encodeSnapshot, type Stream } from "./snapshot.ts";
import { type Limits, openSpool, type Spool, type SpoolOptions } from "./spool.ts";
import { formatCount, formatNumberOf } from "./words.ts";
import { type Attachment, openProgram, type Program, type XdpMode } from "./xdp.ts";

/** What to collect, and where to. */
export interface CollectOptions {
  interfaces: readonly string[];
  mode: XdpMode | "auto";
  /** Ascending, each once. */
  ports: readonly number[];
  mapSize: number;
  intervalMs: number;
  /** Between heartbeats. */
  statusMs: number;
  /** Stop after that long; undefined: when told to. */
  durationMs?: number | undefined;
  hostname: string;
  /** ibsr's version, for the heartbeat. */
  program: string;
  spool: { directory: string } & Omit<SpoolOptions, "at" | keyof Limits>;
  limits: Limits;
  /** Whose rights are enough after the start; undefined: those of the start are kept. */
  user?: string | undefined;
  /** Where metrics are written with each heartbeat. */
  metricsFile?: string | undefined;
  /** Whom to tell of the start, the end and, each half `watchdogMs`, that the loop turns. */
  supervisor?: { notify: Notify; watchdogMs: number | undefined } | undefined;
  /** What SIGHUP does: the options as they are now. Throws as reading them at the start does. */
  reload?: (() => Reload) | undefined;
}

/** Options read again while the collector runs. */
export interface Reload {
  live: Pick<CollectOptions, "ports" | "intervalMs" | "statusMs" | "limits">;
  /** Names of those that differ and are live, and of those that differ and need a restart. */
  changed: readonly string[];
  refused: readonly string[];
}

/** What a run did. */
export interface CollectSummary {
  snapshots: number;
  packets: number;
  unattributed: number;
  segments: string[];
}

/** An interface that is watched: its program, its place in the snapshots, what waits to be written. */
interface Watch {
  name: string;
  program: Program;
  attachment: Attachment | undefined;
  stream: Stream;
  seq: number;
  /** Monotonic start of the interval in progress. */
  since: number;
  /** When the attachment was last seen alive. */
  aliveAt: number;
  /** Whether the maps may hold counts of before `attachment`, because reading them or writing the ones before failed. */
  unread: boolean;
  /** A delta that the spool has not taken yet. */
  pending: { delta: Delta; endMs: number; lengthMs: number } | undefined;
  /** Counted and written so far, and until when. */
  coveredMs: number;
  writtenUntilMs: number | undefined;
}

/** How often an attachment is looked at, and a lost one tried again. */
const ALIVE_MS = 1000;
/** Ports that fit besides those of the start, so that a reload needs no other maps: some 0.2 kB each and CPU. */
const SPARE_PORTS = 256;
/** A difference between the clocks from which on the wall clock was set. */
const CLOCK_STEP_MS = 1000;
/** How often the last snapshot is tried: a call into the kernel may fail once. */
const LAST_TRIES = 3;
/** An interval so much longer than asked for is worth a line in the log. */
const LATE_MS = 1000;

/**
 * Runs until `signal` aborts or the duration is over; then writes last snapshots, detaches, and seals.
 *
 * @throws {IbsrError} if it can't start: `kernel`, `permission`, `storage`. Once running it keeps running.
 */
export async function collect(options: CollectOptions, signal: AbortSignal): Promise<CollectSummary> {
  returnLargeBuffers();
  const objects = await readObjects(), approve = refuseUnproven();
  const wantedUser = options.user === undefined ? undefined : findUser(options.user);
  using stack = new DisposableStack();
  const runId = Date.now();
  const watches = options.interfaces.map((name): Watch => {
    const slots = options.ports.length + SPARE_PORTS;
    const program = stack.use(openProgram(objects, { mapSize: options.mapSize, ports: options.ports, slots, approve }));
    if (program.kind === "plain") {
      const why = program.declined === undefined ? "" : ` (${program.declined})`;
      log("info", `the kernel takes no multi-buffer program${why}: jumbo frames need generic mode`);
    }
    const stream = {
      runId,
      hostname: options.hostname,
      iface: name,
      mode: "native" as XdpMode,
      mapSize: options.mapSize,
    };
    return {
      ...{ name, program, stream, attachment: undefined, seq: 0, since: 0, aliveAt: 0, pending: undefined },
      ...{ unread: false, coveredMs: 0, writtenUntilMs: undefined },
    };
  });
  stack.defer(() => watches.forEach((watch) => watch.attachment?.[Symbol.dispose]()));

  // What the user can't do now, it can't do later: reading, opening the spool and attaching are done as the user.
  const user = wantedUser && await suffices(wantedUser, watches) ? wantedUser : undefined;
  const asUser = <T>(action: () => T) => user ? actAs(user, action) : action();
  if (user) makeDirectoryFor(user, options.spool.directory);
  using spool = await asUser(() => openSpool(options.spool.directory, spoolOptions(options)));
  for (const line of spool.recovered) log("warning", line);
  const run = new Run(options, spool, watches, runId);
  using _ = run.listenForReload(); // before the log says "attached": who reads that may send SIGHUP
  for (const watch of watches) await asUser(() => attach(watch, options.mode));
  releaseStartup();
  if (user) {
    becomeUser(user);
    log("info", `runs as ${user.name} (uid ${user.uid}) now, without any capability`);
  }

  await run.untilStopped(signal);
  return await run.finish();
}

/** Throws for an object that is not proven safe. The proof takes memory: only what is loaded is proven, and once. */
function refuseUnproven(): (object: CompiledObject) => void {
  const proven = new Set<ObjectKind>();
  return ({ kind, bytes }) => {
    if (proven.has(kind)) return;
    if (!judge(bytes).safe) {
      throw new IbsrError("kernel", `Cannot use the kernel program (${kind}): it is not proven safe`, {
        hint: "`ibsr safety` says which claim does not hold; install ibsr again",
      });
    }
    proven.add(kind);
  };
}

function spoolOptions({ spool, limits }: CollectOptions): SpoolOptions {
  return { ...spool, ...limits, at: Date.now() };
}

/** Whether this kernel lets `user` read the maps without any capability; says so if not. */
async function suffices(user: User, watches: readonly Watch[]): Promise<boolean> {
  if (effectiveUid() === user.uid) return false; // nothing to drop
  try {
    await actAs(user, () => Promise.all(watches.map(({ program }) => program.read())));
    return true;
  } catch (error) {
    if (!(error instanceof IbsrError && error.kind === "permission") || effectiveUid() !== 0) throw error;
    log("warning", `keeps root's rights instead of becoming ${user.name}: ${error.message}`, {
      hint: "kernels before 5.19 let only CAP_BPF read maps, unless kernel.unprivileged_bpf_disabled is 0",
    });
    return false;
  }
}

/** Makes a directory that is missing, and `user` its owner: above it may be what only root can write. */
function makeDirectoryFor(user: User, directory: string): void {
  try {
    Deno.mkdirSync(parentOf(directory), { recursive: true });
    Deno.mkdirSync(directory, { mode: 0o750 });
    lchownSync(directory, user.uid, user.gid);
  } catch (cause) {
    if (cause instanceof Deno.errors.AlreadyExists) return; // as it is, the user can write it or the spool says so
    throw new IbsrError("storage", `Cannot make "${directory}": ${reason(cause)}`, { cause });
  }
}

/**
 * Attaches, and starts an interval. Counts of before that are still in the maps belong to it: then it is as much longer
 * as they took, so that the time without the program is no part of any interval's length.
 */
function attach(watch: Watch, mode: XdpMode | "auto"): void {
  watch.attachment = watch.program.attach(watch.name, mode);
  const now = performance.now(), countedMs = watch.unread ? watch.aliveAt - watch.since : 0;
  watch.since = now - countedMs;
  watch.aliveAt = now;
  watch.stream.mode = watch.attachment.mode;
  const { refusal } = watch.attachment;
  log("info", `attached to ${watch.name} in ${watch.attachment.mode} mode${refusal ? ` (native: ${refusal})` : ""}`);
}

/** A run in progress: everything between attaching and detaching. */
class Run {
  #summary: CollectSummary = { snapshots: 0, packets: 0, unattributed: 0, segments: [] };
  #startedAt = performance.now();
  #clockOffset = Date.now() - performance.now();
  #clockSteps = 0;
  #cycle = 0;
  #entries = 0;
  #evicted = 0;
  /** Set by SIGHUP, obeyed by the loop. */
  #reloadWanted = false;
  /** While a reload ends intervals: how long they were to be, by the options until then. */
  #intendedMs = 0;
  /** Messages of failures that go on: said once, not every second. */
  #failing = new Map<string, string>();
  /** What sealing and pruning warned of the last time. */
  #warnings: Record<"seal" | "prune", readonly string[]> = { seal: [], prune: [] };

  constructor(
    public options: CollectOptions,
    readonly spool: Spool,
    readonly watches: readonly Watch[],
    readonly runId: number,
  ) {}

  async untilStopped(signal: AbortSignal): Promise<void> {
    const start = this.#startedAt = performance.now(), end = start + (this.options.durationMs ?? Infinity);
    // A tick that took longer than an interval is followed by the next whole one. What is due at whole seconds is so at
    // once: to wake up costs more than most of what there is to do.
    const nextAfter = (now: number, periodMs: number) => start + (Math.floor((now - start) / periodMs) + 1) * periodMs;
    const watchdogMs = (this.options.supervisor?.watchdogMs ?? Infinity) / 2;
    let nextTick = nextAfter(start, this.options.intervalMs), nextStatus = nextAfter(start, this.options.statusMs);
    let nextCheck = nextAfter(start, ALIVE_MS), nextWatchdog = start;
    this.#writeStatus("running");
    this.#notify(`READY=1\n${this.#describeState()}`);
    while (!signal.aborted) {
      if (watchdogMs < Infinity && performance.now() >= nextWatchdog) {
        this.#notify("WATCHDOG=1");
        nextWatchdog = performance.now() + watchdogMs;
      }
      const next = Math.min(nextTick, nextStatus, nextCheck, end, watchdogMs < Infinity ? nextWatchdog : Infinity);
      if (!await sleepUntil(next, signal)) break;
      const now = performance.now();
      if (now >= end) break;
      if (now >= nextCheck) {
        for (const watch of this.watches) await this.#check(watch);
        nextCheck = nextAfter(performance.now(), ALIVE_MS);
      }
      if (this.#reloadWanted) {
        await this.#reload();
        nextTick = nextAfter(performance.now(), this.options.intervalMs);
        nextStatus = nextAfter(performance.now(), this.options.statusMs);
      }
      if (now >= nextTick) {
        const isFirst = this.#summary.snapshots === 0;
        await this.#tick();
        this.#notify(this.#describeState());
        // Who has just started it looks now, and should not be told for a status interval that nothing was counted.
        if (isFirst && this.#summary.snapshots > 0) this.#writeStatus("running");
        nextTick = nextAfter(performance.now(), this.options.intervalMs);
      }
      if (now >= nextStatus) {
        this.#writeStatus("running");
        nextStatus = nextAfter(performance.now(), this.options.statusMs);
      }
    }
  }

  /** Detaches first, so that everything counted is in the last snapshots. */
  async finish(): Promise<CollectSummary> {
    this.#notify("STOPPING=1\nSTATUS=writing the last snapshots");
    for (const watch of this.watches) {
      const alive = watch.attachment?.isAlive() ?? false;
      const end = alive ? performance.now() : watch.aliveAt;
      watch.attachment?.[Symbol.dispose]();
      const isOwed = watch.attachment !== undefined || watch.unread;
      let isRead = !isOwed;
      for (let tries = 0; tries < LAST_TRIES && !isRead; tries++) isRead = await this.#snapshot(watch, end);
      if (!isOwed && watch.pending) await this.#write(watch);
      watch.attachment = undefined;
      if (watch.pending) log("error", `a last snapshot of ${watch.name} could not be written and is lost`);
      if (!isRead) log("error", `what ${watch.name} counted last is in no snapshot and is lost`);
    }
    this.#report("seal", await this.spool.seal());
    this.#writeStatus("stopped");
    return this.#summary;
  }

  async #tick(): Promise<void> {
    this.#cycle++;
    this.#entries = 0;
    this.#watchClock();
    for (const watch of this.watches) {
      if (watch.attachment) await this.#snapshot(watch);
      else if (watch.unread) await this.#snapshot(watch, watch.aliveAt);
      else if (watch.pending) await this.#write(watch);
    }
    const now = Date.now();
    this.spool.seal(now).then((sealed) => this.#report("seal", sealed), (error) => this.#fail("seal", error));
    if (!this.spool.mayPrune(now)) return;
    try {
      this.#report("prune", this.spool.prune(now));
      this.#recover("prune", "the spool can be pruned again");
    } catch (error) {
      this.#fail("prune", error);
    }
  }

  /**
   * Reads and writes one snapshot; what was read before and is not written yet goes first. Returns whether the maps
   * were read.
   */
  async #snapshot(watch: Watch, until?: number): Promise<boolean> {
    if (watch.pending && !await this.#write(watch)) return false;
    let delta: Delta;
    try {
      delta = toDelta(await watch.program.read());
      this.#recover(`read ${watch.name}`, `the maps of ${watch.name} can be read again`);
    } catch (error) {
      this.#fail(`read ${watch.name}`, error);
      return false;
    }
    const { monotonicMs, wallMs } = delta.takenAt;
    const end = Math.max(watch.since, Math.min(until ?? Infinity, monotonicMs)), lengthMs = end - watch.since;
    if (lengthMs > Math.max(this.options.intervalMs, this.#intendedMs) + LATE_MS) {
      log(
        "warning",
        `an interval of ${watch.name} is ${(lengthMs / 1000).toFixed(1)} s long: there was a failure, or the process ` +
          "was stopped or had no CPU; nothing counted is missing",
      );
    }
    watch.pending = { delta, endMs: Math.round(wallMs - (monotonicMs - end)), lengthMs };
    watch.since = monotonicMs;
    watch.unread = false;
    await this.#write(watch);
    return true;
  }

  /** Appends what is pending. */
  async #write(watch: Watch): Promise<boolean> {
    const { delta, endMs, lengthMs } = watch.pending!;
    try {
      const chunks = encodeSnapshot(watch.stream, { seq: watch.seq, endMs, lengthMs }, delta);
      await this.spool.append(chunks, { at: endMs });
    } catch (error) {
      this.#fail("write", error, "; it is kept, and counting goes on");
      return false;
    }
    this.#recover("write", `the spool can be written again; the next interval of ${watch.name} is longer`);
    watch.pending = undefined;
    watch.seq++;
    watch.coveredMs += lengthMs;
    watch.writtenUntilMs = endMs;
    const packets = delta.totals.reduce((sum, total) => sum + total.packets, 0);
    const { known4, known6, syn4, syn6 } = delta.entries, entries = known4 + known6 + syn4 + syn6;
    this.#entries += entries;
    this.#summary.snapshots++;
    this.#summary.packets += packets;
    this.#summary.unattributed += delta.unattributed.packets;
    this.#evicted += delta.evicted;
    log(
      "debug",
      `${watch.name}: ${packets} packets, ${entries} entries of sources and ports in ` +
        `${(lengthMs / 1000).toFixed(3)} s, ${delta.unattributed.packets} unattributed`,
    );
    return true;
  }

  /** Notices an interface that went away or lost its program, and attaches again when it can. */
  async #check(watch: Watch): Promise<void> {
    if (watch.attachment?.isAlive()) {
      watch.aliveAt = performance.now();
      return;
    }
    if (watch.attachment) {
      log("warning", `${watch.name} is gone or its program was detached: waiting for it`);
      watch.unread = !await this.#snapshot(watch, watch.aliveAt);
      watch.attachment[Symbol.dispose]();
      watch.attachment = undefined;
    }
    try {
      attach(watch, this.options.mode);
      this.#failing.delete(`attach ${watch.name}`);
    } catch (error) {
      this.#fail(`attach ${watch.name}`, error);
    }
  }

  /** Says so when somebody sets the wall clock: intervals stay true, their dates jump. */
  #watchClock(): void {
    const offset = Date.now() - performance.now(), step = offset - this.#clockOffset;
    if (Math.abs(step) > CLOCK_STEP_MS) {
      this.#clockSteps++;
      const by = `by ${Math.abs(step / 1000).toFixed(1)} s`;
      log("warning", step > 0 ? `the clock was set forward ${by}, or the host slept` : `the clock was set back ${by}`);
    }
    this.#clockOffset = offset;
  }

  /** SIGHUP sets a flag that the loop sees within a second; without `reload` the signal ends the process. */
  listenForReload(): Disposable {
    if (!this.options.reload) return { [Symbol.dispose]() {} };
    const want = () => this.#reloadWanted = true;
    Deno.addSignalListener("SIGHUP", want);
    return { [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", want) };
  }

  /** Takes over what can change while running. What was counted until now is written with the ports until now. */
  async #reload(): Promise<void> {
    this.#reloadWanted = false;
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${monotonicUsec()}`);
    try {
      const { live, changed, refused } = this.options.reload!();
      for (const { program } of this.watches) program.setPorts(live.ports);
      this.#intendedMs = this.options.intervalMs;
      this.options = { ...this.options, ...live };
      this.spool.setLimits(live.limits);
      await this.#tick();
      this.#intendedMs = 0;
      this.#writeStatus("running");
      log("info", changed.length > 0 ? `reloaded: ${changed.join(", ")} changed` : "reloaded: nothing changed");
      for (const name of refused) log("warning", `${name} changed too, and needs a restart: it stays as it was`);
    } catch (error) {
      if (!(error instanceof IbsrError)) throw error;
      for (const { program } of this.watches) program.setPorts(this.options.ports);
      log("error", `nothing is reloaded: ${error.message}`, { hint: error.hint });
    }
    this.#notify(`READY=1\n${this.#describeState()}`);
  }

  #notify(state: string): void {
    const { supervisor } = this.options;
    if (!supervisor) return;
    if (supervisor.notify(state)) this.#recover("notify", "systemd can be notified again");
    else this.#fail("notify", "Cannot notify systemd: NOTIFY_SOCKET takes nothing");
  }

  /** One line for `systemctl status`. */
  #describeState(): string {
    const places = this.watches.map((w) => w.attachment ? `${w.name} (${w.attachment.mode})` : `${w.name} (absent)`);
    const { snapshots, packets, unattributed } = this.#summary;
    const failures = this.#listFailures();
    const failing = failures.length > 0 ? `; failing: ${failures.join("; ")}` : "";
    return `STATUS=${places.join(", ")}: ${formatNumberOf(snapshots, "snapshot")}, ${
      formatNumberOf(packets, "packet")
    }, ${formatCount(unattributed)} without a source` +
      failing.replaceAll("\n", " ");
  }

  #writeStatus(state: Heartbeat["state"]): void {
    const { intervalMs, statusMs, ports, program, metricsFile } = this.options;
    const heartbeat: Heartbeat = {
      timestamp: Math.floor(Date.now() / 1000),
      state,
      cycle: this.#cycle,
      ips_collected: this.#entries,
      snapshots_written: this.#summary.snapshots,
      run_id: this.runId,
      pid: Deno.pid,
      program,
      uptime_sec: Math.round((performance.now() - this.#startedAt) / 1000),
      interval_sec: intervalMs / 1000,
      status_interval_sec: statusMs / 1000,
      dst_ports: compactPorts(ports),
      packets: this.#summary.packets,
      unattributed: this.#summary.unattributed,
      evicted: this.#evicted,
      clock_steps: this.#clockSteps,
      interfaces: this.watches.map((w) => ({
        iface: w.name,
        xdp_mode: w.attachment?.mode ?? null,
        seq: w.seq,
        unwritten: w.pending !== undefined,
        covered_sec: Math.round(w.coveredMs) / 1000,
        last_snapshot: w.writtenUntilMs === undefined ? null : w.writtenUntilMs / 1000,
      })),
      failing: this.#listFailures(),
    };
    try {
      this.spool.appendStatus(encodeHeartbeat(heartbeat));
      this.#recover("status", "heartbeats can be written again");
    } catch (error) {
      this.#fail("status", error);
    }
    if (metricsFile === undefined) return;
    try {
      replaceFile(metricsFile, formatMetrics(heartbeat));
      this.#recover("metrics", "metrics can be written again");
    } catch (error) {
      this.#fail("metrics", `Cannot write "${metricsFile}": ${reason(error)}`);
    }
  }

  #report(
    what: "seal" | "prune",
    done: { sealed?: { name: string }[]; deleted?: { name: string }[]; warnings: string[] },
  ): void {
    for (const { name } of done.sealed ?? []) {
      this.#summary.segments.push(name);
      log("debug", `sealed ${name}`);
    }
    for (const { name } of done.deleted ?? []) log("info", `deleted ${name}`);
    for (const warning of done.warnings) {
      if (!this.#warnings[what].includes(warning)) log("warning", warning);
    }
    this.#warnings[what] = done.warnings;
  }

  #listFailures(): string[] {
    return [...this.#failing.values(), ...this.#warnings.seal, ...this.#warnings.prune];
  }

  #fail(what: string, error: unknown, consequence = ""): void {
    const message = reason(error);
    if (this.#failing.get(what) !== message) log("error", message + consequence);
    this.#failing.set(what, message);
  }

  #recover(what: string, message: string): void {
    if (this.#failing.delete(what)) log("info", message);
  }
}
