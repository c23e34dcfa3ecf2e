/**
 * The one error class and the exit codes.
 *
 * A kind says what went wrong for the operator; it decides the exit code, and nothing else in the program does.
 * The codes are those of `sysexits.h`, which systemd shows by name.
 */

/** Exit code by kind of error, from sysexits.h (sysexits.h(3head)). */
export const EXIT = {
  usage: 64, // EX_USAGE: the command line or the config file is wrong
  data: 65, // EX_DATAERR: a snapshot, policy or capture file cannot be read as one
  network: 69, // EX_UNAVAILABLE: S3 refused or could not be reached
  bug: 70, // EX_SOFTWARE: anything that is not an IbsrError
  kernel: 71, // EX_OSERR: load, verify or attach failed
  storage: 74, // EX_IOERR: the spool cannot be written
  permission: 77, // EX_NOPERM: a capability, a right to a file, or keys for S3 are missing
} as const;

/** What went wrong, as far as the operator's next step depends on it. */
export type ErrorKind = Exclude<keyof typeof EXIT, "bug">;

/** An error the operator can act on. Anything else that is thrown is a bug of ours. */
export class IbsrError extends Error {
  /** Decides the exit code. */
  readonly kind: ErrorKind;
  /** The next thing to try, preferably a command. */
  readonly hint: string | undefined;

  /** `message` is the action that failed, a colon, and the present state. */
  constructor(kind: ErrorKind, message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.name = "IbsrError";
    this.kind = kind;
    this.hint = options.hint;
  }
}

/** The exit code for anything thrown. */
export function exitCode(error: unknown): number {
  return error instanceof IbsrError ? EXIT[error.kind] : EXIT.bug;
}

/** A thrown value's message on one line, for use after the colon of another message. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // What Deno says of /proc, /sys and /dev is for who starts Deno: no flag of ibsr gives that access.
  const said = text.replace(/^Requires all access to "([^"]*)", run again .*$/, "Deno lets no program use files in $1");
  return said.replace(/ \(os error \d+\)/, "").replace(/: \w+ '[^']*'$/, "").replaceAll(/\s+/g, " ").trim();
}

/** The candidate nearest to what was typed, if it is near enough to be a slip of the finger. */
export function nearest(typed: string, candidates: Iterable<string>): string | undefined {
  const limit = Math.max(1, Math.floor(typed.length / 3));
  let best: string | undefined, least = limit + 1;
  for (const candidate of candidates) {
    const d = candidate.startsWith(typed) && typed.length >= 3 ? 1 : distance(typed, candidate);
    if (d < least) [best, least] = [candidate, d];
  }
  return best;
}

/** Damerau-Levenshtein distance (adjacent letters may change places). */
function distance(a: string, b: string): number {
  let before: number[] = [], last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let d = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d = Math.min(d, before[j - 2]! + 1);
      row.push(d);
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
