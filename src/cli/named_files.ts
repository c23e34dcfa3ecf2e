/**
 * Files that options name, read whole: policies, rules, allowlists. Each has a limit, and a pipe is as good as a file.
 */
import { Buffer } from "node:buffer";
import { createPrefixSet, parseAllowlist, type PrefixSet } from "../allowlist.ts";
import type { ErrorKind } from "../errors.ts";
import { namedFileError } from "../files.ts";
import { log } from "../log.ts";

/** No list of addresses or policy that people wrote is larger. */
const MOST_BYTES = 64 << 20;

/**
 * All bytes of a file.
 *
 * @param what It, in an error's words; its path if not given.
 * @param error As namedFileError() takes it.
 * @throws {IbsrError} of `kind` (`data` if not given), if it can't be read or is larger than `mostBytes`.
 */
export function readWhole(
  path: string,
  { what = path, mostBytes = MOST_BYTES, ...error }: {
    what?: string;
    mostBytes?: number;
    kind?: ErrorKind;
    gone?: string;
  } = {},
): Uint8Array {
  try {
    using file = Deno.openSync(path);
    const { size, isFile } = file.statSync();
    if (isFile && size > mostBytes) throw new Error(`it has ${size} bytes, the most is ${mostBytes}`);
    // A pipe has no size: read no more than may be used.
    const chunks: Uint8Array[] = [], buffer = new Uint8Array(1 << 16);
    let length = 0;
    for (let n = file.readSync(buffer); n !== null; n = file.readSync(buffer)) {
      chunks.push(buffer.slice(0, n));
      length += n;
      if (length > mostBytes) throw new Error(`it has more than ${mostBytes} bytes`);
    }
    return Buffer.concat(chunks, length);
  } catch (cause) {
    throw namedFileError(what, cause, error);
  }
}

/** All text of a file in UTF-8, a byte order mark included; as readWhole(). */
export function readWholeText(path: string, options?: Parameters<typeof readWhole>[1]): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(readWhole(path, options));
}

/**
 * The addresses and CIDRs of allowlists together. What a reader should know of them is logged.
 *
 * @throws {IbsrError} `usage`, if a file can't be read or a line is neither.
 */
export function readAllowlists(paths: readonly string[]): PrefixSet {
  return createPrefixSet(paths.flatMap((path) => {
    const text = readWholeText(path, { what: `the allowlist ${path}`, kind: "usage" });
    const { prefixes, warnings } = parseAllowlist(text.replace(/^\uFEFF/, ""), path);
    for (const warning of warnings) log("warning", warning);
    return prefixes;
  }));
}
