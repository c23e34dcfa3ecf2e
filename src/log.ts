/**
 * Log lines: one line each, to standard error, nothing else.
 *
 * Levels are the kernel's (`<3>` error … `<7>` debug), which journald reads from a line's prefix when standard
 * error is the journal; elsewhere the line starts with the level's name instead. As JSON, a line is an object.
 */

/** Severity, from worst to least. */
export type Level = "error" | "warning" | "info" | "debug";

/** How lines look. */
export interface LogOptions {
  /** What is shown: this level and worse. */
  level: Level;
  /** Whether lines carry journald priorities. */
  journal: boolean;
  format: "text" | "json";
}

const PRIORITY: Record<Level, number> = { error: 3, warning: 4, info: 6, debug: 7 };
const encoder = new TextEncoder();

let options: LogOptions = { level: "info", journal: false, format: "text" };

/** Sets how lines look. */
export function configureLog(wanted: LogOptions): void {
  options = wanted;
}

/**
 * Writes one line, and one more for the hint. Control characters in it (a hostile hostname, a file name) are shown as
 * `\xNN`. As JSON: `{"time", "level", "message"}`, with `hint` and `stack` where there are.
 */
export function log(level: Level, message: string, more: { hint?: string | undefined; stack?: string } = {}): void {
  if (PRIORITY[level] > PRIORITY[options.level]) return;
  const prefix = options.journal ? `<${PRIORITY[level]}>` : "";
  if (options.format === "json") {
    return writeLine(prefix + JSON.stringify({ time: new Date().toISOString(), level, message, ...more }));
  }
  writeLine((prefix || `ibsr: ${level}: `) + printable(message));
  for (const line of more.stack?.split("\n") ?? []) writeLine(prefix + printable(line));
  if (more.hint) writeLine(`${prefix || "ibsr: "}hint: ${printable(more.hint)}`);
}

/** Writes `line` to standard error, whole, and never throws: a closed pipe must not end a collector. */
function writeLine(line: string): void {
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
