/**
 * Lines of files, their rows taken from the bytes.
 *
 * Nearly all of a line are its buckets, and whoever writes them writes the same text around the numbers. Where a line
 * is literally that (version 8 as ibsr writes it, 4 to 7 as the existing IBSR does), its rows are read while its bytes
 * arrive and are in the processor's cache: nobody looks for the end of a line of some megabytes first, nobody parses
 * it as JSON. Everything before the buckets, and any line that differs by a byte, goes to decodeSnapshot(): the result
 * is the same for every line, errors too. A line's bytes are kept to its end for that, but not more than can be
 * decoded at all: longer lines are read if they are as they are always written. Pure.
 */
import { IbsrError } from "../errors.ts";
import { decodeSnapshot, isBlank, lineTooLong, MAX_LINE, type Snapshot } from "../snapshot.ts";
import { createRowScanner, MOST_ROW } from "./row_scanner.ts";
import { type Rows, rowsOf, sortRows } from "./rows.ts";
import type { SourceTable } from "./sources.ts";

/** What a line says, or why it says nothing. */
export type Outcome = { head: Omit<Snapshot, "buckets">; rows: Rows } | { error: IbsrError };

/** A line that isn't empty. The rows are overwritten by the next. */
export type ScannedLine = Outcome & {
  /** From 1. */
  number: number;
  /** Whether its newline is there: the last line of a file that is still written may be without. */
  ended: boolean;
};

/** Takes files, one after the other, in pieces of any size. */
export interface LineScanner {
  /** Takes the next piece. The last line in it may be given only with the next. */
  push(bytes: Uint8Array): void;
  /** Ends a file: its last line may be without a newline. */
  finish(): void;
  /** Ends a file that can't be read on; returns the number of the line that is lost. */
  abandon(): number;
}

type Phase = "buckets" | "rows" | "end" | "newline";

const encoder = new TextEncoder(), decoder = new TextDecoder("utf-8", { fatal: true });
const NEWLINE = 0x0a, OPEN = 0x5b, BRACE = 0x7d;
const HEAD_END = encoder.encode('"buckets":[');
/** More blanks than this at the end of a line are looked at no more than once. */
const MOST_BLANKS = 100;

/**
 * Makes a scanner.
 *
 * @param sources Receives the sources of all lines.
 * @param take Receives the lines. `longest`: of a line that can be decoded, in bytes.
 */
export function createLineScanner(
  sources: SourceTable,
  { take, longest = MAX_LINE }: { take: (line: ScannedLine) => void; longest?: number },
): LineScanner {
  const scanner = createRowScanner(sources);
  /** The line's bytes are from `start` to `end`; MOST_ROW more can be read. */
  let held = new Uint8Array(1 << 16), start = 0, end = 0;
  let number = 1, head: Omit<Snapshot, "buckets"> | undefined;
  /** What is looked for, from `at` bytes behind the line's beginning on: up to there is no newline. */
  let phase: Phase = "buckets", at = 0;
  /** The line has become too long to be decoded; some of it is held no more. */
  let cut = false;

  const hold = (bytes: Uint8Array) => {
    let length = end - start;
    if (length + bytes.length > longest) {
      // Rows that were read won't be needed; of anything else, no more than that it is too long.
      const done = phase === "rows" || phase === "end" ? at : length;
      [start, at, length, cut] = [start + done, 0, length - done, true];
      if (phase === "buckets") phase = "newline";
    }
    if (end + bytes.length + MOST_ROW > held.length) {
      // What follows begins at a multiple of 8: V8 copies shared memory, as pieces are, by 8 bytes or one by one.
      const needed = 8 + length + bytes.length + MOST_ROW;
      const room = needed + (needed >> 1) <= held.length ? held : new Uint8Array(needed + (needed >> 1));
      const from = -length & 7;
      room.set(held.subarray(start, end), from);
      [held, start, end] = [room, from, from + length];
    }
    held.set(bytes, end);
    end += bytes.length;
  };

  /** Ends the line at that length, and goes behind its newline if it has one. */
  const endLine = (length: number, outcome: "scanned" | "unknown", ended = true): true => {
    const line = withoutMark(held.subarray(start, start + length));
    if (outcome === "scanned") {
      const rows = scanner.sorted ? scanner.rows : sortRows(scanner.rows, sources);
      take({ number, ended, head: head!, rows });
    } else if (cut || !isBlank(line)) take({ number, ended, ...decode(line) });
    start += length + (ended ? 1 : 0);
    number++;
    [phase, at, head, cut] = ["buckets", 0, undefined, false];
    return true;
  };

  const withoutMark = (line: Uint8Array) =>
    number === 1 && line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? line.subarray(3) : line;

  const decode = (line: Uint8Array): Outcome => {
    try {
      if (cut) throw lineTooLong(longest);
      const snapshot = decodeSnapshot(line);
      return { head: snapshot, rows: rowsOf(snapshot.buckets, sources) };
    } catch (error) {
      if (error instanceof IbsrError) return { error };
      throw error;
    }
  };

  /** Each goes a step on; returns whether there was one to go without more bytes. `final`: no more come. */
  const steps: Record<Phase, (line: Uint8Array, final: boolean) => boolean> = {
    buckets(line, final) {
      const open = line.indexOf(OPEN, at), newline = line.subarray(at, open < 0 ? undefined : open).indexOf(NEWLINE);
      if (newline >= 0) return endLine(at + newline, "unknown");
      at = open < 0 ? line.length : open + 1;
      if (open < 0) return final && endLine(at, "unknown", false);
      const found = decodeHead(withoutMark(line.subarray(0, at)));
      if (found === "wrong") phase = "newline";
      if (typeof found === "string") return true;
      [phase, head] = ["rows", found];
      scanner.begin(found.version >= 8);
      return true;
    },
    rows(_, final) {
      const state = scanner.advance(held, { at: start + at, end, final });
      at = scanner.at - start;
      if (state === "more") return false;
      phase = state === "ended" ? "end" : "newline";
      return true;
    },
    end(line, final) {
      let to = at + 1;
      while (line[to] === 0x20 || line[to] === 0x0d || line[to] === 0x09) to++;
      if (line[at] === BRACE && line[to] === NEWLINE) return endLine(to, "scanned");
      if (line[at] === BRACE && to >= line.length && final) return endLine(line.length, "scanned", false);
      if (to >= line.length && to - at < MOST_BLANKS && !final) return false;
      phase = "newline";
      return true;
    },
    newline(line, final) {
      const newline = line.indexOf(NEWLINE, at);
      if (newline >= 0) return endLine(newline, "unknown");
      at = line.length;
      return final && endLine(at, "unknown", false);
    },
  };

  const go = (final: boolean) => {
    while (start < end && steps[phase](held.subarray(start, end), final));
    if (start === end) start = end = 0;
  };

  return {
    push(bytes) {
      hold(bytes);
      go(false);
    },
    finish() {
      go(true);
      if (cut) endLine(0, "unknown", false);
      number = 1;
    },
    abandon() {
      const lost = number;
      [start, end, number] = [0, 0, 1];
      [phase, at, head, cut] = ["buckets", 0, undefined, false];
      return lost;
    },
  };
}

/**
 * What comes before the rows of a line, which go on behind its last bracket.
 *
 * @returns `not yet`: that bracket doesn't open the buckets; `wrong`: decodeSnapshot() has to see the whole line.
 */
function decodeHead(line: Uint8Array): Omit<Snapshot, "buckets"> | "not yet" | "wrong" {
  // In a text, a quotation mark has a backslash before it: these bytes are a key, of the line or of an object in it.
  const from = line.length - HEAD_END.length;
  if (from < 0 || HEAD_END.some((byte, i) => line[from + i] !== byte)) return "not yet";
  try {
    const snapshot = decodeSnapshot(`${decoder.decode(line)}]}`);
    return snapshot.version >= 4 ? snapshot : "wrong";
  } catch {
    return "wrong";
  }
}
