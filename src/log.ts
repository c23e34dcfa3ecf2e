/**
 * Log lines: one line each, to standard error, nothing else.
 *
 * Levels are the kernel's (`<3>` error … `<7>` debug), which journald reads from a line's prefix when standard
 * error is the journal; on a terminal the line starts with the level's name instead.
 */

/** Severity, from worst to least. */
export type Level = "error" | "warning" | "info" | "debug";

const PRIORITY: Record<Level, number> = { error: 3, warning: 4, info: 6, debug: 7 };
const encoder = new TextEncoder();

let threshold: Level = "info";
let journal = false;

/** Sets what is shown (`level` and worse) and whether lines carry journald priorities. */
export function configureLog(options: { level: Level; journal: boolean }): void {
  threshold = options.level;
  journal = options.journal;
}

/** Writes one line. Control characters in it (a hostile hostname, a file name) are shown as `\xNN`. */
export function log(level: Level, message: string): void {
  if (PRIORITY[level] > PRIORITY[threshold]) return;
  const line = journal ? `<${PRIORITY[level]}>${printable(message)}` : `ibsr: ${level}: ${printable(message)}`;
  writeLine(line);
}

/** Writes `line` to standard error, whole, and never throws: a closed pipe must not end a collector. */
export function writeLine(line: string): void {
  const bytes = encoder.encode(line + "\n");
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    // Nobody is left to read it.
  }
}

/** The text with control characters made visible, so that it stays one line and moves no cursor. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
