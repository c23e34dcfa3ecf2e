/**
 * Files, read in pieces, and written so that nothing is lost or seen half: what the spool, the ledger, reports and units
 * have in common.
 */
import { type ErrorKind, IbsrError, reason } from "./errors.ts";

/** Runs the file operations of `action`; an error of theirs is thrown as one of ours. */
export function attempt<T>(action: string, operations: () => T): T {
  try {
    return operations();
  } catch (cause) {
    throw fileError(action, cause);
  }
}

/** The same of operations that are waited for. */
export async function attemptLater<T>(action: string, operations: () => Promise<T>): Promise<T> {
  try {
    return await operations();
  } catch (cause) {
    throw fileError(action, cause);
  }
}

/**
 * What a file operation of `action` threw, as one of our errors.
 *
 * @param options.gone What to try where the file isn't there.
 * @param options.kind Not `permission` or `storage`, by what was thrown.
 */
export function fileError(
  action: string,
  cause: unknown,
  { gone, kind }: { gone?: string; kind?: ErrorKind } = {},
): IbsrError {
  if (cause instanceof IbsrError) return cause;
  const code = cause instanceof Error && "code" in cause ? cause.code as string : "";
  const found = code === "EACCES" || code === "EPERM" ? "permission" : "storage";
  const hint = code === "ENOENT" ? gone : HINTS[code];
  return new IbsrError(kind ?? found, `Cannot ${action}: ${reason(cause)}`, { hint, cause });
}

/** What to try, by the error's code. */
const HINTS: Readonly<Record<string, string>> = {
  EACCES: "`namei -l PATH` shows whose it is, and each folder on the way to it",
  ENOSPC: "`df` shows free space; --max-bytes bounds the spool",
};

/** What reading a file that a user named threw, as fileError(); `what`: the file, in words. */
export function namedFileError(
  what: string,
  cause: unknown,
  { kind = "data", gone = "check the spelling; a relative path begins in the folder that ibsr was started in" }: {
    kind?: ErrorKind;
    gone?: string;
  } = {},
): IbsrError {
  return fileError(`read ${what}`, cause, { kind, gone });
}

/**
 * A file's bytes, in pieces, each read into the room that is given for it.
 *
 * @param fail Makes an error of ours of what goes wrong.
 */
export async function* readPieces(
  path: string,
  room: () => Uint8Array,
  fail: (cause: unknown) => IbsrError,
): AsyncGenerator<Uint8Array> {
  try {
    using file = await Deno.open(path);
    for (;;) {
      const piece = room(), length = await file.read(piece);
      if (length === null) return;
      yield piece.subarray(0, length);
    }
  } catch (cause) {
    throw fail(cause);
  }
}

/** Writes all of `bytes`: one write(2) may take only a part. */
export function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

/** Makes a directory's entries durable: fsync(2) of a file does not reach its name. */
export function syncDirectory(path: string): void {
  using directory = Deno.openSync(path);
  directory.syncSync();
}

/** Writes a file that everybody may read, whole: readers see the one before or this one. */
export function replaceFile(path: string, text: string): void {
  const temporary = `${path}.${Deno.pid}`; // no ending that somebody reads: `.prom`, `.service`
  try {
    removeIfThere(temporary); // of a process that was killed, and had the same number: 1 in every container
    Deno.writeTextFileSync(temporary, text, { createNew: true });
    Deno.chmodSync(temporary, 0o644);
    Deno.renameSync(temporary, path);
  } catch (error) {
    try {
      removeIfThere(temporary);
    } catch {
      // What failed first is what is told.
    }
    throw error;
  }
}

/** Removes a file; returns whether there was one. */
export function removeIfThere(path: string): boolean {
  try {
    Deno.removeSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The directory that a path is in. Not node:path's: loading that takes 4 MB, in a process that runs for years. */
export function parentOf(path: string): string {
  return path.replace(/\/*[^/]*\/*$/, "") || (path.startsWith("/") ? "/" : ".");
}
