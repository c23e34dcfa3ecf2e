/**
 * Types for the parts of the standard library in use: the npm package that stands in for it has none.
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
