/**
 * The spool: the directory of segments. Locks it, recovers it, appends snapshots, seals and prunes segments.
 *
 * The files' names are their states (segment.ts says how); beside them stand `status.jsonl` and `status.jsonl.1`, the
 * heartbeats, and `spool.lock`, which is locked while a collector runs and holds its process id.
 *
 * A new segment: create, fsync the directory. A snapshot: write, fdatasync; on failure cut back to the last whole
 * line. Sealing: fsync, rename, fsync the directory. Sealing compressed: fsync, compress to `.tmp`, fsync, compare
 * with the original, rename, fsync the directory, unlink the original. Wherever that is cut off, the names say what is
 * left to do: opening the spool removes a `.tmp` and cuts an unfinished last line, the first snapshot continues an open
 * segment whose time is not over, and `seal()` seals the other ones (of one whose compressed twin is whole, only the
 * unlinking is left). A sealed segment is never opened again and no name is used twice, because an exporter may
 * have uploaded it.
 *
 * What a line says, when to call, and what has been uploaded are for others to know. It deletes only regular files of
 * the directory with a segment's name.
 */
import { appendLine, makeParts, type Parts } from "./append.ts";
import { IbsrError, reason } from "./errors.ts";
import { attempt, parentOf, syncDirectory, writeAll } from "./files.ts";
import { type Kept, type Limits, mayExceed, prune, type Pruned } from "./prune.ts";
import {
  compressFile,
  type Compression,
  covers,
  cutUnfinished,
  describe,
  floorTo,
  HOUR_MS,
  isSame,
  isTwin,
  render,
  type Rotation,
  scan,
  type Segment,
  SUFFIX,
} from "./segment.ts";

/** How a spool is kept. */
export interface SpoolOptions extends Limits {
  /** Now, in milliseconds since 1970: decides whether an open segment of an earlier run is continued. */
  at: number;
  rotate: Rotation;
  compress?: Compression | undefined;
  /** Group of the files and of the directory: a name in /etc/group, or a number. */
  group?: string | undefined;
  /**
   * Whether the export ledger knows the sealed segment of that name as uploaded. `false` protects it from all limits
   * but `maxBytes`; `undefined` (no ledger) does not. A name which was uploaded is not given to another segment.
   */
  isUploaded?: ((name: string) => boolean | undefined) | undefined;
}

/** What `seal()` did. */
export interface Sealed {
  sealed: Segment[];
  /** One sentence for each segment that could not be sealed (the next call tries again) or not be compressed. */
  warnings: string[];
}

const STATUS_BYTES = 1 << 20;
const FILE_MODE = 0o640, DIRECTORY_MODE = 0o750;

/**
 * Takes the lock of the spool in `directory`, which is made if missing, and recovers what an earlier run left.
 *
 * @throws {IbsrError} `storage`, if another process holds the lock (its id is in the message), or if the directory
 * cannot be written; `permission`, if that is for want of a right; `usage`, if the group does not exist.
 */
export function openSpool(directory: string, options: SpoolOptions): Spool {
  return new Spool(directory, options);
}

export type { Limits, Spool };

/** A locked spool. Disposing of it gives the lock back and leaves the open segment to the next run: seal first. */
class Spool implements Disposable {
  /** One sentence for each thing that opening the spool has put right. */
  readonly recovered: readonly string[];

  readonly #directory: string;
  #options: SpoolOptions;
  readonly #group: number | undefined;
  readonly #lock: Deno.FsFile;
  readonly #closing = new AbortController();
  /** To be asked first and after each wait: once the lock is given back, the files are another process's. */
  readonly #closed = this.#closing.signal;
  /** The segment that lines go to; its `bytes` is where the last whole line ends. */
  #open: Segment | undefined;
  /** The open segment's file; undefined after a failure, when bytes may stand behind the last whole line. */
  #file: Deno.FsFile | undefined;
  /** Name of the segment being sealed, which must not be found and continued meanwhile. */
  #leaving: string | undefined;
  #lastSeal: Promise<unknown> = Promise.resolve();
  /** Whether there may be a segment to seal besides the open one: of an earlier run, or one that was left. */
  #unsealed = true;
  /** What the last `prune()` left, with what was added since; undefined after what another may have to look at. */
  #kept: Kept | undefined;
  /** Settles when the line that is being written is, or has failed. */
  #appending: Promise<void> | undefined;
  /** Memory for writing lines, from the first one on. */
  #parts: Parts | undefined;

  constructor(directory: string, options: SpoolOptions) {
    this.#directory = directory.replace(/(?<=.)\/+$/, "");
    this.#options = options;
    this.#group = options.group === undefined ? undefined : findGroup(options.group);
    const action = `open spool "${directory}"`;
    this.#lock = attempt(action, () => {
      this.#makeDirectory();
      return this.#openOrCreate(`${this.#directory}/spool.lock`);
    });
    try {
      takeLock(this.#lock, directory);
      this.recovered = attempt(action, () => this.#recover());
      this.#open = attempt(action, () => this.#findOpen(options.at));
    } catch (error) {
      this.#lock.close();
      throw error;
    }
  }

  /**
   * Adds one line, its newline at the end, and returns once it is on disk. `chunks` may reuse one buffer. Begins
   * another segment if the open one does not cover `at`, in milliseconds since 1970; that is left to `seal()`. A second
   * call waits for the first.
   *
   * @returns the line's length in bytes.
   * @throws {IbsrError} `storage` or `permission`, if the line cannot be written: the segment then ends with the line
   * before, and the next call may succeed. What `chunks` throws is passed on, with the same effect.
   */
  async append(chunks: Iterable<Uint8Array>, { at }: { at: number }): Promise<number> {
    await this.#appended();
    const appending = this.#append(chunks, at);
    const settled = this.#appending = appending.then(() => {}, () => {});
    try {
      return await appending;
    } finally {
      if (this.#appending === settled) this.#appending = undefined;
    }
  }

  async #append(chunks: Iterable<Uint8Array>, at: number): Promise<number> {
    const action = `append to spool "${this.#directory}"`;
    const { file, segment } = attempt(action, () => this.#startLine(at));
    try {
      const parts = this.#parts ??= makeParts();
      const length = await appendLine(chunks, { file, path: segment.path, size: segment.bytes, parts, action });
      attempt(action, () => file.syncDataSync());
      segment.bytes += length;
      if (this.#kept) this.#kept.bytes += length;
      return length;
    } catch (error) {
      this.#cutBack(file, segment);
      throw error;
    }
  }

  /** Waits until no line is being written. */
  async #appended(): Promise<void> {
    while (this.#appending) await this.#appending;
  }

  /**
   * Seals every segment whose time is over at `at`, in milliseconds since 1970, or all if that is left out. Appending
   * may go on meanwhile; a second call waits for the first. Empty segments are deleted instead. The directory is not
   * read if the open segment goes on and there was no other when it was read last.
   */
  seal(at?: number): Promise<Sealed> {
    const run = this.#lastSeal.then(() => this.#sealAll(at));
    this.#lastSeal = run.catch(() => {});
    return run;
  }

  /** Changes the limits; the next `prune()` holds to them. */
  setLimits(limits: Limits): void {
    this.#options = { ...this.#options, ...limits };
    this.#kept = undefined;
  }

  /**
   * Whether `prune()` may find something to do at `at`, in milliseconds since 1970: what was written and the time tell,
   * and once a minute it is worth to look what others did. To read a directory of a month's segments takes longer than
   * all else of a snapshot in which nothing was counted, so that who writes many asks first.
   */
  mayPrune(at: number): boolean {
    return !this.#kept || mayExceed(this.#kept, this.#options, at);
  }

  /**
   * Deletes sealed segments, oldest first, until the limits hold at `at`, in milliseconds since 1970. Never an open
   * one; one that the ledger knows as not uploaded only for `maxBytes`, after all others.
   *
   * @throws {IbsrError} `storage` or `permission`, if the directory cannot be read.
   */
  prune(at: number): Pruned {
    return attempt(`prune spool "${this.#directory}"`, () => {
      this.#closed.throwIfAborted();
      this.#kept = undefined; // if it fails
      const { kept, ...pruned } = prune(this.#directory, this.#options, at);
      this.#kept = kept;
      return pruned;
    });
  }

  /**
   * Adds a heartbeat, one line without its newline, to `status.jsonl`. At 1 MiB that becomes `status.jsonl.1`, in
   * place of the one before, and a new one begins. A heartbeat may be lost in a power cut.
   *
   * @throws {IbsrError} `storage` or `permission`, after which a collector goes on.
   */
  appendStatus(line: string): void {
    const path = `${this.#directory}/status.jsonl`;
    attempt(`append to "${path}"`, () => {
      this.#closed.throwIfAborted();
      using file = this.#openOrCreate(path);
      cutUnfinished(file);
      writeAll(file, new TextEncoder().encode(line + "\n"));
      if (file.statSync().size >= STATUS_BYTES) Deno.renameSync(path, `${path}.1`);
    });
  }

  [Symbol.dispose](): void {
    if (this.#closed.aborted) return;
    this.#closing.abort(new Error("the spool was closed"));
    this.#file?.close();
    this.#lock.close();
  }

  /** The open segment that covers `at`, ready for a line: the present one, one left open, or a new one. */
  #startLine(at: number): { segment: Segment; file: Deno.FsFile } {
    this.#closed.throwIfAborted();
    this.#mend();
    if (this.#open && !covers(this.#open, at, this.#options.rotate)) this.#leave();
    this.#open ??= this.#findOpen(at) ?? this.#begin(at);
    this.#file ??= Deno.openSync(this.#open.path, { append: true });
    return { segment: this.#open, file: this.#file };
  }

  /** Makes the open segment end with its last whole line, or gives it up if others have changed or deleted it. */
  #mend(): void {
    if (!this.#open) return;
    const { path, bytes } = this.#open;
    try {
      const file = this.#file ??= Deno.openSync(path, { append: true });
      const { size, nlink } = file.statSync();
      if (nlink === 0 || size < bytes) return this.#leave();
      if (size > bytes) file.truncateSync(bytes);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      this.#leave();
    }
  }

  /** Adds no more lines to the open segment. */
  #leave(): void {
    this.#unsealed = true;
    this.#file?.close();
    this.#file = this.#open = undefined;
  }

  /** Takes back a line that failed. The next goes by the name again: the disk may be another one then. */
  #cutBack(file: Deno.FsFile, segment: Segment): void {
    try {
      file.truncateSync(segment.bytes);
    } catch {
      // `#mend()` does it later.
    }
    this.#file = undefined;
    file.close();
  }

  /** The newest open segment that covers `at`, its unfinished last line cut. */
  #findOpen(at: number): Segment | undefined {
    const files = scan(this.#directory);
    const segment = files.findLast((file) =>
      file.state === "open" && file.name !== this.#leaving && covers(file, at, this.#options.rotate)
    );
    if (!segment || files.some((file) => file.state === "sealed" && isTwin(file, segment))) return undefined;
    using file = Deno.openSync(segment.path, { read: true, write: true });
    cutUnfinished(file);
    return { ...segment, bytes: file.statSync().size };
  }

  /** Creates a segment. */
  #begin(at: number): Segment {
    const start = floorTo(at, HOUR_MS);
    const sequence = this.#nextSequence(start);
    const segment = describe(this.#directory, { start, sequence, state: "open", compression: "none" });
    this.#create(segment.path).close();
    this.#kept = undefined;
    syncDirectory(this.#directory);
    return segment;
  }

  /** The least number after all that this hour's segments have had, those uploaded and pruned included. */
  #nextSequence(start: number): number {
    const { isUploaded = () => undefined } = this.#options;
    let sequence = 0;
    for (const file of scan(this.#directory)) {
      if (file.start === start) sequence = Math.max(sequence, file.sequence + 1);
    }
    const isTaken = (compression: Compression) => isUploaded(render({ start, sequence, state: "sealed", compression }));
    while ((Object.keys(SUFFIX) as Compression[]).some(isTaken)) sequence++;
    return sequence;
  }

  async #sealAll(at: number | undefined): Promise<Sealed> {
    const sealed: Segment[] = [], warnings: string[] = [];
    await this.#appended();
    try {
      this.#closed.throwIfAborted();
      const isOver = this.#open && (at === undefined || !covers(this.#open, at, this.#options.rotate));
      if (!isOver && !this.#unsealed) return { sealed, warnings };
      this.#mend();
      if (isOver) this.#leave();
      this.#unsealed = false;
      this.#kept = undefined;
      for (const file of scan(this.#directory)) {
        if (file.state === "sealed" || file.name === this.#open?.name) continue;
        this.#leaving = file.name;
        try {
          const segment = await this.#sealOne(file, warnings);
          if (segment) sealed.push(segment);
        } catch (error) {
          this.#closed.throwIfAborted();
          warnings.push(`Cannot seal segment "${file.name}": ${reason(error)}`);
        }
      }
    } catch (error) {
      warnings.push(`Cannot seal the segments of spool "${this.#directory}": ${reason(error)}`);
    } finally {
      this.#leaving = undefined;
      if (warnings.length > 0) this.#unsealed = true;
    }
    return { sealed, warnings };
  }

  /** Seals a segment that no line is added to; returns undefined if there was nothing in it that is not sealed. */
  async #sealOne(segment: Segment, warnings: string[]): Promise<Segment | undefined> {
    const { compress = "none" } = this.#options;
    {
      using file = Deno.openSync(segment.path, { read: true, write: true });
      cutUnfinished(file);
      await file.sync();
      this.#closed.throwIfAborted();
      if (file.statSync().size === 0) {
        Deno.removeSync(segment.path);
        return undefined;
      }
    }
    const twins = scan(this.#directory).filter((file) => file.state === "sealed" && isTwin(file, segment));
    for (const twin of twins.filter((file) => !file.temporary)) {
      const same = await isSame(segment.path, twin, this.#closed).catch(() => false);
      this.#closed.throwIfAborted();
      if (same) {
        Deno.removeSync(segment.path);
        return undefined;
      }
    }
    const sequence = twins.length > 0 ? this.#nextSequence(segment.start) : segment.sequence;
    const name = (compression: Compression) =>
      describe(this.#directory, { start: segment.start, sequence, state: "sealed", compression });
    const isCompressed = compress !== "none" && await this.#compress(segment, name(compress), warnings);
    const target = name(isCompressed ? compress : "none");
    if (!isCompressed) Deno.renameSync(segment.path, target.path);
    syncDirectory(this.#directory);
    if (isCompressed) Deno.removeSync(segment.path);
    return { ...target, bytes: Deno.lstatSync(target.path).size };
  }

  /** Puts `target`, compressed, beside `segment`. If it cannot, says so in `warnings`, and leaves nothing behind. */
  async #compress(segment: Segment, target: Segment, warnings: string[]): Promise<boolean> {
    const temporary = `${target.path}.tmp`;
    let isOurs = false;
    try {
      this.#create(temporary).close();
      isOurs = true;
      await compressFile(segment.path, { ...target, path: temporary }, this.#closed);
      this.#closed.throwIfAborted();
      Deno.renameSync(temporary, target.path);
      return true;
    } catch (error) {
      this.#closed.throwIfAborted();
      if (isOurs) Deno.removeSync(temporary);
      warnings.push(`Cannot compress segment "${segment.name}", sealing it as it is: ${reason(error)}`);
      return false;
    }
  }

  #recover(): string[] {
    const recovered: string[] = [];
    for (const segment of scan(this.#directory)) {
      if (segment.temporary) {
        Deno.removeSync(segment.path);
        recovered.push(`Removed "${segment.name}.tmp", a compression that had not ended`);
      } else if (segment.state === "open") {
        using file = Deno.openSync(segment.path, { read: true, write: true });
        const cut = cutUnfinished(file);
        if (cut > 0) recovered.push(`Cut ${cut} bytes of an unfinished line from the end of "${segment.name}"`);
      }
    }
    return recovered;
  }

  #makeDirectory(): void {
    const parent = parentOf(this.#directory);
    Deno.mkdirSync(parent, { recursive: true });
    try {
      Deno.mkdirSync(this.#directory, { mode: DIRECTORY_MODE });
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) return;
      throw error;
    }
    this.#own(this.#directory, DIRECTORY_MODE);
    syncDirectory(parent);
  }

  #openOrCreate(path: string): Deno.FsFile {
    try {
      return Deno.openSync(path, { read: true, append: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return this.#create(path);
    }
  }

  /** Creates a file with our mode and group, whatever the umask. */
  #create(path: string): Deno.FsFile {
    const file = Deno.openSync(path, { createNew: true, read: true, append: true, mode: FILE_MODE });
    try {
      this.#own(path, FILE_MODE);
      return file;
    } catch (error) {
      file.close();
      Deno.removeSync(path);
      throw error;
    }
  }

  #own(path: string, mode: number): void {
    Deno.chmodSync(path, mode);
    if (this.#group !== undefined) Deno.chownSync(path, null, this.#group);
  }
}

/** Locks with flock(2), which the kernel undoes when the process dies. The file stays: others may have it open. */
function takeLock(file: Deno.FsFile, directory: string): void {
  const bytes = new Uint8Array(20);
  if (!file.tryLockSync(true)) {
    const pid = new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0)).trim();
    const holder = pid ? `process ${pid}` : "another process";
    throw new IbsrError("storage", `Cannot open spool "${directory}": ${holder} has it open`, {
      hint: pid ? `\`ps -p ${pid}\` shows it; each collector needs a directory of its own` : "Try again in a moment",
    });
  }
  try {
    file.truncateSync(0);
    writeAll(file, new TextEncoder().encode(`${Deno.pid}\n`));
  } catch {
    // The disk is full: the lock holds all the same, and pruning may make room.
  }
}

/** The number of a group. Groups that are not in /etc/group (LDAP, …) are given by number. */
function findGroup(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  const lines = attempt("read /etc/group", () => Deno.readTextFileSync("/etc/group")).split("\n");
  const fields = lines.map((line) => line.split(":")).find(([name]) => name === group);
  if (fields?.[2]) return Number(fields[2]);
  throw new IbsrError("usage", `Cannot give the spool to group "${group}": not in /etc/group`, {
    hint: "`getent group` lists groups; one from a directory service is given by its number",
  });
}
