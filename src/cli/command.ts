/**
 * What a command is, and the options that several have.
 */
import { CONFIG_PATH } from "./layers.ts";
import type { Described, Page } from "./help.ts";
import { choiceKind, flag, option, type OptionTable, type Sources, textKind, type Values } from "./options.ts";

/** What a command does: runs until done or until the signal aborts; returns the exit code. */
export type Run<T extends OptionTable = OptionTable> = (
  values: Values<T>,
  context: Context,
) => Promise<number> | number;

/**
 * A command: what help says of it, and where that is which it does.
 *
 * Every start of the program reads all tables (src/cli/tables/), so they import nothing but what options are made of;
 * what a command does is read when it runs.
 */
export interface Command<T extends OptionTable = OptionTable> extends Described {
  options: T;
  /** A command whose section of the config file holds for this one, too, below its own: it looks at what that one does. */
  like?: string;
  /** What it may use of the system; all else is given up before it runs. */
  permissions: readonly Deno.PermissionName[];
  /**
   * Reads the code of what it does, while the program may still read files:
   * `async () => (await import("../x.ts")).runX`.
   */
  load(): Promise<Run<T>>;
}

/** What a command gets besides its options. */
export interface Context {
  operands: readonly string[];
  signal: AbortSignal;
  /** Writes a result to standard output. */
  print(text: string): void;
  page: Page;
  /** All commands, for those that speak of others. */
  commands: readonly Command[];
  environment: Record<string, string>;
  /**
   * The command's options once more, the config file read again.
   *
   * @throws {IbsrError} `usage` or `permission`, as at the start.
   */
  resolve(): { values: Record<string, unknown>; sources: Sources };
}

/** Declares a command; its values are typed by its options. */
export function defineCommand<const T extends OptionTable>(command: Command<T>): Command {
  return command as unknown as Command;
}

/** Options of every command. */
export const COMMON = {
  "log-format": option(choiceKind("FORMAT", ["text", "json"]), {
    group: "General",
    default: "text",
    help: "Log lines as text or as JSON objects.",
  }),
  verbose: option(flag, { group: "General", short: "v", repeat: true, help: "Log every snapshot, file and phase." }),
  help: option(flag, { group: "General", short: "h", help: "Show this page." }),
};

/** Options of a command that reads the environment and the config file: the option is what makes it one. */
export const CONFIGURED = {
  config: option(textKind("PATH"), {
    group: "General",
    help: "Config file; its keys are the options' names.",
    defaultHelp: `${CONFIG_PATH}, if it exists`,
  }),
  ...COMMON,
};

/** The same result for programs, of commands that print a table or a page of text. */
export const JSON_OUTPUT = { json: option(flag, { group: "Output", help: "Print JSON." }) };

/** The spool, for every command that works on it. */
export const SPOOL = {
  "out-dir": option(textKind("DIR"), {
    group: "Snapshots",
    short: "o",
    default: "/var/lib/ibsr/snapshots",
    help: "The spool: made if missing.",
  }),
};
