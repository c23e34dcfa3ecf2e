/**
 * `ibsr config check` and `ibsr config show`: what the config file and the environment say, before anything runs.
 */
import { IbsrError } from "../errors.ts";
import type { Command, Context } from "./command.ts";
import { CONFIG_PATH, onlyConfig, resolveCommand, strayVariables } from "./layers.ts";
import type { Values } from "./options.ts";
import type { CONFIG_CHECK_OPTIONS, CONFIG_SHOW_OPTIONS } from "./tables/config.ts";

/** `ibsr config check`: returns the exit code. */
export function runConfigCheck(values: Values<typeof CONFIG_CHECK_OPTIONS>, context: Context): number {
  for (const command of listReaders(context)) resolveCommand(command, onlyConfig(values.config), context);
  const strays = strayVariables(context.commands, context.environment);
  if (strays.length > 0) {
    const [{ name, near }] = strays as [typeof strays[0]];
    throw new IbsrError("usage", `Cannot use ${name} of the environment: it is no option`, {
      hint: near ? `did you mean ${near}?` : "`ibsr config show` lists the variables' options",
    });
  }
  const path = pathOf(values.config, context);
  // A file that is named must be there; the usual one need not.
  context.print(isThere(path) ? `${path}: nothing is wrong\n` : `${path} is not there: the options' defaults hold\n`);
  return 0;
}

/** `ibsr config show`: returns the exit code. */
export function runConfigShow(values: Values<typeof CONFIG_SHOW_OPTIONS>, context: Context): number {
  const name = context.operands.join(" ") || "collect";
  const command = listReaders(context).find((c) => c.name === name);
  if (!command) {
    const isCommand = context.commands.some((c) => c.name === name);
    const state = isCommand ? "it doesn't read the config file" : "there is no such command";
    throw new IbsrError("usage", `Cannot show the options of "${name}": ${state}`, {
      hint: `those that read the file: ${listReaders(context).map((c) => c.name).join(", ")}`,
    });
  }
  const resolved = resolveCommand(command, onlyConfig(values.config), context);
  const rows = Object.keys(command.options).filter((n) => n !== "help" && n !== "config").map((option) => ({
    option,
    value: flatten(resolved.values[option]),
    from: resolved.sources[option]!,
    live: command.options[option]!.live ?? false,
  }));
  if (values.json) {
    context.print(JSON.stringify(rows, null, 2) + "\n");
    return 0;
  }
  const shown = rows.map((row) => ({ ...row, text: formatValue(row.value) }));
  const widths = [Math.max(...shown.map((r) => r.option.length)), Math.max(...shown.map((r) => r.text.length))];
  for (const { option, text, from } of shown) {
    context.print(`${option.padEnd(widths[0]!)}  ${text.padEnd(widths[1]!)}  ${from}\n`);
  }
  return 0;
}

function listReaders({ commands }: Context): Command[] {
  return commands.filter((command) => command.options.config);
}

/** The file that is read, for messages. */
function pathOf(config: string | undefined, { environment }: Context): string {
  return config ?? environment.IBSR_CONFIG ?? CONFIG_PATH;
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw cause; // it has just been read
  }
}

/** Of an option that may be given several times, each with several values: all values. */
function flatten(value: unknown): unknown {
  return Array.isArray(value) ? value.flat() : value;
}

function formatValue(value: unknown): string {
  if (value === undefined) return "-";
  if (!Array.isArray(value)) return String(value);
  if (value.length === 0) return "-";
  return value.length > 12 ? `${value.slice(0, 12).join(",")},… (${value.length})` : value.join(",");
}
