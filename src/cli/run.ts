/**
 * From the arguments to a command, and from its end to an exit code. Everything a user sees of an error is here.
 */
import { EXIT, exitCode, IbsrError, nearest, reason } from "../errors.ts";
import { configureLog, log, type LogOptions } from "../log.ts";
import { readKernelLink } from "../process.ts";
import type { Command, Context } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { resolveCommand, variableOf } from "./layers.ts";
import { commandHelp, firstSteps, type Page, programHelp } from "./help.ts";
import { readArguments } from "./options.ts";
import { keepOnly } from "./permissions.ts";
import { VERSION } from "./version.ts";

/** The exit code of what SIGINT ended, as shells have it. */
const STOPPED = 130;

/** Runs the command that `args` name; returns the exit code. Errors are printed, none is thrown. */
export async function run(args: readonly string[], signal: AbortSignal): Promise<number> {
  try {
    const first = args[0];
    if (first === "--version" || first === "-V") {
      print(`ibsr ${VERSION}\n`);
      return 0;
    }
    const environment = readEnvironment(), page = choosePage(environment);
    if (first === undefined) {
      print(firstSteps(VERSION, page));
      return EXIT.usage;
    }
    if (first === "--help" || first === "-h" || first === "help") {
      print(helpFor(first === "help" ? args.slice(1) : [], page));
      return 0;
    }
    const found = findCommand(args);
    if (!found) throw unknownCommand(args);
    const { layer, operands } = readArguments(found.command.options, found.rest);
    if (layer.texts.help) {
      print(commandHelp(found.command, page));
      return 0;
    }
    if (operands.length > 0 && !found.command.operands) {
      throw new IbsrError("usage", `Cannot read the arguments: "${operands[0]}" is not expected`, {
        hint: `ibsr ${found.command.name} --help`,
      });
    }
    const texts = (name: string) => layer.texts[name] ?? [environment[variableOf(name)]];
    const format = texts("log-format").at(-1) === "json" ? "json" : "text", journal = isJournal(environment);
    configureLog({ level: "info", journal, format }); // for what is wrong with the options themselves
    const runCommand = await found.command.load();
    keepOnly(found.command.permissions);
    const resolve = () => resolveCommand(found.command, layer, { commands: COMMANDS, environment });
    const { values } = resolve();
    configureLog({
      level: (values.verbose as boolean[]).includes(true) ? "debug" : "info",
      journal,
      format: values["log-format"] as LogOptions["format"],
    });
    const context: Context = { operands, signal, print, page, commands: COMMANDS, environment, resolve };
    return await runCommand(values, context);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return 0; // the reader has seen enough
    if (signal.aborted && error === signal.reason) {
      log("error", "stopped before the end: a signal asked for it");
      return STOPPED;
    }
    printError(error);
    return exitCode(error);
  }
}

/** The command whose words begin the arguments, and what follows them. */
function findCommand(args: readonly string[]): { command: Command; rest: readonly string[] } | undefined {
  for (const command of COMMANDS) {
    const words = command.name.split(" ");
    if (words.every((word, i) => args[i] === word)) return { command, rest: args.slice(words.length) };
  }
  return undefined;
}

/** Commands of several words that begin with that one. */
function listBeginning(word: string | undefined): readonly Command[] {
  return COMMANDS.filter(({ name }) => name.startsWith(`${word} `));
}

/** The page of the command that `words` name, of those that they begin, or of the program if there are none. */
function helpFor(words: readonly string[], page: Page): string {
  if (words.length === 0) return programHelp(COMMANDS, VERSION, page);
  const found = findCommand(words), beginning = listBeginning(words[0]);
  if (found) return commandHelp(found.command, page);
  if (words.length === 1 && beginning.length > 0) return programHelp(beginning, VERSION, page);
  throw unknownCommand(words);
}

function unknownCommand(words: readonly string[]): IbsrError {
  const [first = "", second = ""] = words, beginning = listBeginning(first).map(({ name }) => name);
  const both = /^\w/.test(second) ? `${first} ${second}` : first, names = COMMANDS.map((c) => c.name);
  const typed = beginning.length > 0 ? both : first,
    near = nearest(typed, names) ?? nearest(both, names) ??
      nearest(first, names.map((name) => name.split(" ")[0]!));
  if (typed === first && beginning.length > 0) {
    return new IbsrError("usage", `Cannot run "${first}": another word is missing`, {
      hint: beginning.map((name) => `ibsr ${name}`).join(", "),
    });
  }
  return new IbsrError("usage", `Cannot run "${typed}": there is no such command`, {
    hint: near ? `did you mean "ibsr ${near}"?` : "`ibsr --help` lists the commands",
  });
}

/** The environment; empty where it may not be read. */
function readEnvironment(): Record<string, string> {
  try {
    return Deno.env.toObject();
  } catch {
    return {};
  }
}

/** Whether standard error is the journal: systemd names the device and inode of that socket, and sockets have one. */
function isJournal(environment: Record<string, string>): boolean {
  if (!environment.JOURNAL_STREAM) return false;
  return readKernelLink("/proc/self/fd/2") === `socket:[${environment.JOURNAL_STREAM.split(":")[1]}]`;
}

function choosePage(environment: Record<string, string>): Page {
  const terminal = Deno.stdout.isTerminal();
  const columns = terminal ? Deno.consoleSize().columns : 80;
  const color = terminal && !environment.NO_COLOR && environment.TERM !== "dumb";
  return { width: Math.min(Math.max(columns, 60), 110), color, isTerminal: terminal };
}

const encoder = new TextEncoder();

function print(text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  } catch (cause) {
    if (cause instanceof Deno.errors.BrokenPipe) throw cause;
    throw new IbsrError("storage", `Cannot write to standard output: ${reason(cause)}`, { cause });
  }
}

function printError(error: unknown): void {
  if (error instanceof IbsrError) return log("error", error.message, { hint: error.hint });
  log("error", `a bug in ibsr: ${error}`, {
    hint: "please report it with the lines above",
    ...(error instanceof Error && error.stack ? { stack: error.stack } : {}),
  });
}
