/**
 * The ledger: what was uploaded from a folder and where to, in the folder's `export.jsonl`.
 *
 * One line of JSON an event, added and fsynced before the next step depends on it. A rerun reads it and knows what is
 * stored, what was begun, and which multipart uploads are unfinished. The file is locked while an exporter runs. A last
 * line that was cut off is no event: it is cut away before the next one is added.
 *
 * Histories are kept apart by target: endpoint, bucket and prefix.
 */
import { IbsrError } from "../errors.ts";
import { attempt, syncDirectory, writeAll } from "../files.ts";
import { cutUnfinished } from "../segment.ts";

/** The ledger's file name. */
export const LEDGER = "export.jsonl";

/** A run began. */
interface Run {
  event: "run";
  target: string;
  pid: number;
}

/** What identifies an object: where, from which file (below the folder), as what. */
interface Named {
  target: string;
  path: string;
  key: string;
}

/** A request is about to be sent that makes the object: from here on the bucket may have it. */
export interface Begin extends Named {
  event: "begin";
  size: number;
  sha256: string;
}

/** The server has refused to make it: what was begun came to nothing. */
interface Refused {
  event: "refused";
  target: string;
  key: string;
}

/** A multipart upload is about to be made, whose id is not known yet. */
interface Opening extends Named {
  event: "opening";
}

/** An object is stored, whole. */
export interface Stored extends Named {
  event: "stored";
  /** Of the stored bytes. */
  size: number;
  sha256: string;
  /** As the server named it; null where it didn't say. */
  etag: string | null;
  /** Of the file, as it was read. */
  source_size: number;
  source_mtime_ms: number;
  /** Where what is stored is not what is in the file: compressed. */
  source_sha256?: string;
  /** When, as ISO 8601; every line has it. */
  time?: string;
}

/** A multipart upload was made. */
export interface Upload extends Named {
  event: "multipart";
  upload_id: string;
  size: number;
  sha256: string;
  part_size: number;
  /** Another one may have been made for the same key, whose id was lost with the answer. */
  unsure?: true;
}

/** A part of it was stored. */
export interface Part {
  event: "part";
  upload_id: string;
  number: number;
  sha256: string;
  etag: string;
  /** Whether the server keeps S3's own checksum of it, and wants to be told it at the end. */
  checksum: boolean;
}

/** A multipart upload is gone. */
interface Aborted {
  event: "aborted";
  target: string;
  key: string;
  upload_id: string;
}

/** Uploads of that key whose ids were lost were looked for; `found` of them aborted, null if we may not list. */
interface Settled {
  event: "settled";
  target: string;
  key: string;
  found: number | null;
}

/** A file was deleted here after it was stored. */
interface Deleted {
  event: "deleted";
  target: string;
  path: string;
}

/** A line, without its time. */
export type LedgerEvent = Run | Begin | Refused | Stored | Opening | Upload | Part | Aborted | Settled | Deleted;

/** What the lines of one target come to. */
export interface History {
  /** By key. */
  stored: Map<string, Stored>;
  /** Objects that were begun and of which no end is known, by key. */
  begun: Map<string, Begin>;
  /** Unfinished multipart uploads and their parts by number, by id. */
  uploads: Map<string, { upload: Upload; parts: Map<number, Part> }>;
  /** Paths by key for which there may be uploads of unknown id. */
  unsettled: Map<string, string>;
}

/** What the lines come to. */
export interface LedgerState {
  histories: Map<string, History>;
  /** Of the last run. */
  target: string | undefined;
  pid: number | undefined;
  /** Lines that are no events. */
  unreadable: number;
}

/** The target's name in the ledger. */
export function targetName({ endpoint, bucket, prefix }: {
  endpoint: string | undefined;
  bucket: string;
  prefix: string;
}): string {
  return `${endpoint?.replace(/\/+$/, "") ?? "s3:/"}/${bucket}/${prefix}`;
}

/** A target's history, empty if it has none. */
export function historyOf(state: LedgerState, target: string): History {
  let history = state.histories.get(target);
  if (!history) {
    history = { stored: new Map(), begun: new Map(), uploads: new Map(), unsettled: new Map() };
    state.histories.set(target, history);
  }
  return history;
}

function emptyState(): LedgerState {
  return { histories: new Map(), target: undefined, pid: undefined, unreadable: 0 };
}

/** Adds whole lines to what is known. Events of later versions are passed over. */
function takeLines(state: LedgerState, text: string): void {
  for (const line of text.split("\n")) {
    if (line === "") continue;
    let event: LedgerEvent;
    try {
      event = JSON.parse(line);
    } catch {
      state.unreadable++;
      continue;
    }
    if (typeof event === "object" && event !== null) takeEvent(state, event);
  }
}

function takeEvent(state: LedgerState, event: LedgerEvent): void {
  if (event.event === "part") {
    // An upload's id is its server's: whose it is, its own line said.
    for (const { uploads } of state.histories.values()) uploads.get(event.upload_id)?.parts.set(event.number, event);
    return;
  }
  const history = historyOf(state, event.target);
  switch (event.event) {
    case "run":
      state.target = event.target;
      state.pid = event.pid;
      break;
    case "begin":
      history.begun.set(event.key, event);
      break;
    case "refused":
      history.begun.delete(event.key);
      break;
    case "opening":
      history.unsettled.set(event.key, event.path);
      break;
    case "multipart":
      history.uploads.set(event.upload_id, { upload: event, parts: new Map() });
      if (!event.unsure) history.unsettled.delete(event.key);
      break;
    case "stored":
      history.stored.set(event.key, event);
      history.begun.delete(event.key);
      for (const [id, { upload }] of history.uploads) {
        if (upload.key === event.key && upload.sha256 === event.sha256) history.uploads.delete(id);
      }
      break;
    case "aborted":
      history.uploads.delete(event.upload_id);
      break;
    case "settled":
      history.unsettled.delete(event.key);
      break;
    case "deleted":
      break;
  }
}

/**
 * Opens and locks the ledger of `directory`, makes it if there is none, cuts an unfinished last line.
 *
 * @throws {IbsrError} `storage`, if another exporter has it open, or it can't be written; `permission`, if that is for
 * want of a right.
 */
export function openLedger(directory: string): Ledger {
  return new Ledger(directory);
}

export type { Ledger };

/** A locked ledger. Disposing of it gives the lock back. */
class Ledger implements Disposable {
  readonly state: LedgerState = emptyState();
  readonly path: string;
  readonly #file: Deno.FsFile;
  #size: number;
  #queue: { line: string; done: () => void; failed: (error: unknown) => void }[] = [];
  #isWriting = false;

  constructor(directory: string) {
    const path = this.path = `${directory.replace(/(?<=.)\/+$/, "")}/${LEDGER}`;
    const action = `open the ledger "${path}"`;
    let created = false;
    this.#file = attempt(action, () => {
      try {
        return Deno.openSync(path, { read: true, append: true });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        created = true;
        const file = Deno.openSync(path, { read: true, append: true, create: true, mode: 0o640 });
        giveToOwner(path, directory);
        return file;
      }
    });
    try {
      if (!this.#file.tryLockSync(true)) {
        const { pid } = readLedger(directory) ?? {};
        throw new IbsrError("storage", `Cannot open the ledger "${path}": another exporter has it open`, {
          hint: pid === undefined ? "try again in a moment" : `\`ps -p ${pid}\` shows it; it uploads the same files`,
        });
      }
      this.#size = attempt(action, () => {
        cutUnfinished(this.#file);
        takeLines(this.state, Deno.readTextFileSync(path));
        if (created) syncDirectory(directory);
        return this.#file.statSync().size;
      });
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /**
   * Adds a line, and returns once it is on disk. Lines that wait at the same time are written together.
   *
   * @throws {IbsrError} `storage`. The event is then as good as not happened.
   */
  record(event: LedgerEvent): Promise<void> {
    const line = JSON.stringify({ ...event, time: new Date().toISOString() }) + "\n";
    takeEvent(this.state, event);
    return new Promise((done, failed) => {
      this.#queue.push({ line, done, failed });
      if (!this.#isWriting) this.#write();
    });
  }

  /** Never rejects: who waits for a line is told. */
  async #write(): Promise<void> {
    this.#isWriting = true;
    await Promise.resolve(); // those of this turn together
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0);
      try {
        const bytes = new TextEncoder().encode(batch.map(({ line }) => line).join(""));
        attempt(`write the ledger "${this.path}"`, () => writeAll(this.#file, bytes));
        await this.#file.syncData();
        this.#size += bytes.length;
        for (const { done } of batch) done();
      } catch (error) {
        try {
          this.#file.truncateSync(this.#size);
        } catch {
          // Opening it again cuts it.
        }
        for (const { failed } of batch) failed(error);
      }
    }
    this.#isWriting = false; // in the same turn in which the queue was found empty
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Made by root, a ledger belongs to whom the folder belongs to: the collector reads it, the next exporter writes it. */
function giveToOwner(path: string, directory: string): void {
  if (Deno.uid() !== 0) return;
  const { uid, gid } = Deno.statSync(directory);
  Deno.chownSync(path, uid, gid);
}

/**
 * Reads a folder's ledger without locking it; undefined if there is none.
 *
 * @throws {IbsrError} `storage` or `permission`, if it can't be read.
 */
export function readLedger(directory: string): LedgerState | undefined {
  const reader = new LedgerReader(directory);
  reader.refresh();
  return reader.state;
}

/** A ledger that others write, read as it grows. */
class LedgerReader {
  state: LedgerState | undefined;
  readonly #path: string;
  /** Of the bytes read. */
  #read = { inode: null as number | null, size: 0 };

  constructor(directory: string) {
    this.#path = `${directory}/${LEDGER}`;
  }

  refresh(): void {
    attempt(`read the ledger "${this.#path}"`, () => {
      let file: Deno.FsFile;
      try {
        file = Deno.openSync(this.#path);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        this.state = undefined;
        return;
      }
      using _ = file;
      const { size, ino } = file.statSync();
      if (!this.state || ino !== this.#read.inode || size < this.#read.size) {
        this.state = emptyState();
        this.#read = { inode: ino, size: 0 };
      }
      if (size === this.#read.size) return;
      const bytes = new Uint8Array(size - this.#read.size);
      file.seekSync(this.#read.size, Deno.SeekMode.Start);
      let length = 0;
      for (let n; length < bytes.length && (n = file.readSync(bytes.subarray(length)));) length += n;
      const whole = bytes.subarray(0, bytes.lastIndexOf(10, length - 1) + 1);
      takeLines(this.state, new TextDecoder().decode(whole));
      this.#read.size += whole.length;
    });
  }
}

/**
 * Answers, for pruning a spool: whether the sealed segment of that name was uploaded to the target of the last run;
 * undefined if the folder has no ledger, or it can't be read. Reads what was added since the last question.
 */
export function watchUploaded(directory: string): (name: string) => boolean | undefined {
  const reader = new LedgerReader(directory.replace(/(?<=.)\/+$/, ""));
  let paths = new Set<string>(), counted = -1, target: string | undefined;
  return (name) => {
    try {
      reader.refresh();
    } catch {
      return undefined;
    }
    const { state } = reader;
    if (!state || state.target === undefined) return undefined;
    const { stored } = historyOf(state, state.target);
    if (counted !== stored.size || target !== state.target) {
      paths = new Set([...stored.values()].map(({ path }) => path));
      [counted, target] = [stored.size, state.target];
    }
    return paths.has(name);
  };
}
