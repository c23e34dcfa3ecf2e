/**
 * Types for what has none: the npm package that stands in for Deno's standard library, and newer parts of the language.
 */
declare module "@std/cli/parse-args" {
  /** Reads command line arguments into options (`string`, `boolean`) and operands (`_`). */
  export function parseArgs(args: string[], options: {
    string?: string[];
    boolean?: string[];
    collect?: string[];
    alias?: Record<string, string>;
    unknown?: (arg: string, key?: string, value?: unknown) => unknown;
  }): Record<string, unknown> & { _: (string | number)[] };
}

declare module "@std/jsonc" {
  /** Parses JSON with comments and trailing commas. */
  export function parse(text: string): unknown;
}

/** In V8, and not yet in TypeScript's library. */
interface JSON {
  /** A number, text, true, false or null that JSON.stringify() writes as it stands. */
  rawJSON(text: string): unknown;
}

declare module "@std/path/posix/glob-to-regexp" {
  /** A glob (`*`, `**`, `?`, `[…]`, `{a,b}`) as a pattern for whole paths. */
  export function globToRegExp(glob: string, options?: { extended?: boolean; globstar?: boolean }): RegExp;
}
