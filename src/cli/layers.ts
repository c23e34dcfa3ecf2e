/**
 * The layers of a command's options: its arguments, and below them the environment and the config file.
 *
 * The file is JSON with comments. Its keys are the options' names. At the top level a key is for every command that
 * has such an option; in an object named like a command (`"collect": { … }`) it is for that command, and comes first:
 *
 *     {
 *       "out-dir": "/var/lib/ibsr/snapshots",   // collect, status and check
 *       "collect": { "dst-port": [443, "8000-8080"], "snapshot-interval-sec": 10 }
 *     }
 *
 * In the environment `--map-size` is IBSR_MAP_SIZE, and several values are separated by commas. Commands that read
 * neither are those whose table has no `config` option: what is done offline depends on its arguments alone.
 *
 * Every text goes through the option's own kind, like an argument; messages say file, line and column.
 */
import { parse } from "@std/jsonc";
import { IbsrError, nearest, reason } from "../errors.ts";
import type { Command } from "./command.ts";
import { type Layer, type Option, type OptionTable, resolveOptions, type Sources, type Values } from "./options.ts";

/** Where the config file is unless `--config` or IBSR_CONFIG says otherwise. It need not exist there. */
export const CONFIG_PATH = "/etc/ibsr/ibsr.jsonc";

/** Options that only make sense on the command line. */
const ARGUMENTS_ONLY = ["config", "help"];

/** A value of the config file, and where in it. */
interface Setting {
  value: unknown;
  /** `PATH:LINE:COLUMN`. */
  at: string;
}

/** A config file whose keys and types are right. */
export interface Config {
  path: string;
  /** Top-level settings by option. */
  shared: Map<string, Setting>;
  /** Settings by command and option. */
  sections: Map<string, Map<string, Setting>>;
}

// -------------------------------------------------------------------------------------------------- the layers

/** What a command is called in a config file, and what it takes. */
type Configurable<T extends OptionTable> = Pick<Command, "name" | "like"> & { options: T };

/** All commands (a config file speaks of them all), and the environment. */
interface Surroundings {
  commands: readonly Command[];
  environment: Record<string, string>;
}

/**
 * A command's values, each from the highest layer that has it.
 *
 * @param args The layer of its arguments; `--config` among them is obeyed.
 * @throws {IbsrError} `usage`, if a value is wrong, or the config file is, or that was named and does not exist;
 * `permission`, if it may not be read.
 */
export function resolveCommand<T extends OptionTable>(
  command: Configurable<T>,
  args: Layer,
  context: Surroundings,
): { values: Values<T>; sources: Sources } {
  return resolveOptions(command.options, [args, ...layersBelow(command, args, context)]);
}

/** The arguments of a command that is only asked about: none but `--config`. */
export function onlyConfig(path: string | undefined): Layer {
  return {
    source: "the command line",
    texts: path === undefined ? {} : { config: [path] },
    nameOf: (name) => `--${name}`,
  };
}

/** The layers below the arguments, highest first; none for a command without a `config` option. */
function layersBelow(command: Configurable<OptionTable>, args: Layer, context: Surroundings): Layer[] {
  if (!command.options.config) return [];
  const environment = environmentLayer(command.options, context.environment);
  const named = args.texts.config?.at(-1) ?? context.environment.IBSR_CONFIG;
  const config = readConfig(named ?? CONFIG_PATH, context.commands, { required: named !== undefined });
  return config ? [environment, ...fileLayers(command, config)] : [environment];
}

/** The environment variable of an option. */
export function variableOf(option: string): string {
  return `IBSR_${option.toUpperCase().replaceAll("-", "_")}`;
}

/** The layer of the environment. */
export function environmentLayer(table: OptionTable, environment: Record<string, string>): Layer {
  const texts: Record<string, readonly string[]> = {};
  for (const [name, option] of Object.entries(table)) {
    const text = ARGUMENTS_ONLY.includes(name) ? undefined : environment[variableOf(name)];
    if (text !== undefined) texts[name] = option.repeat ? text.split(",").map((part) => part.trim()) : [text];
  }
  return { source: "the environment", texts, nameOf: variableOf };
}

/** The variables named IBSR_… that are no option of any command, each with the nearest one that is. */
export function strayVariables(
  commands: readonly Command[],
  environment: Record<string, string>,
): { name: string; near: string | undefined }[] {
  const known = ["IBSR_CONFIG", ...optionsOf(commands).keys().map(variableOf)];
  return Object.keys(environment).filter((name) => name.startsWith("IBSR_") && !known.includes(name)).sort()
    .map((name) => ({ name, near: nearest(name, known) }));
}

/** The file's layers for a command: its section, that of the command it speaks of, and what is shared. */
function fileLayers(command: Configurable<OptionTable>, config: Config): Layer[] {
  const names = command.like === undefined ? [command.name] : [command.name, command.like];
  const sections = names.map((name) => config.sections.get(name) ?? new Map<string, Setting>());
  return [...sections, config.shared].map((settings) => ({
    source: config.path,
    texts: Object.fromEntries(
      [...settings].filter(([name]) => Object.hasOwn(command.options, name)).map((
        [name, { value }],
      ) => [name, (Array.isArray(value) ? value : [value]).map(String)]),
    ),
    nameOf: (name) => `${settings.get(name)?.at ?? config.path} "${name}"`,
  }));
}

/** All options that a config file may have, by name, over all commands that read one. */
function optionsOf(commands: readonly Command[]): Map<string, Option<unknown>> {
  const tables = commands.filter((c) => c.options.config).map((c) => Object.entries(c.options));
  return new Map(tables.flat().filter(([name]) => !ARGUMENTS_ONLY.includes(name)));
}

// ---------------------------------------------------------------------------------------------------- the file

/**
 * Reads and checks the config file; undefined if there is none and none is required.
 *
 * @throws {IbsrError} `usage`, with file, line and column: not JSONC, an unknown key (with the nearest known one), a
 * value of another type; `permission`, if it may not be read.
 */
function readConfig(
  path: string,
  commands: readonly Command[],
  { required }: { required: boolean },
): Config | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound && !required) return undefined;
    const denied = cause instanceof Deno.errors.PermissionDenied;
    throw new IbsrError(denied ? "permission" : "usage", `Cannot read the config file: ${reason(cause)}`, {
      ...(denied ? { hint: `\`chmod 644 ${path}\` lets every user read it` } : {}),
      cause,
    });
  }
  return parseConfig(text, { path, commands });
}

/** Checks the text of a config file. Throws as `readConfig` does. */
export function parseConfig(
  text: string,
  { path, commands }: { path: string; commands: readonly Command[] },
): Config {
  const fail = (offset: number, message: string, hint?: string): never => {
    throw new IbsrError("usage", `Cannot use the config file: ${place(path, text, offset)}: ${message}`, { hint });
  };
  let root: unknown;
  try {
    root = parse(text.replace(/^\ufeff/, " "));
  } catch (cause) {
    const position = Number(/ at position (\d+)$/.exec(reason(cause))?.[1] ?? text.trimEnd().length);
    const found = reason(cause).replace(/^Cannot parse JSONC: /, "").replace(/ in JSONC( at position \d+)?/, "");
    fail(position, `this is not JSON with comments: ${found}`);
  }
  const places = scan(text);
  const at = (...keys: string[]) => places.get(JSON.stringify(keys)) ?? { key: 0, value: 0 };
  for (const { again } of places.values()) {
    if (again) fail(again.offset, `key "${again.key}" is there twice`);
  }
  if (!isObject(root)) return fail(0, 'it is not an object: { "dst-port": 443 }');

  const take = (entries: [string, unknown][], options: Map<string, Option<unknown>>, within: string[]) => {
    const settings = new Map<string, Setting>();
    for (const [name, value] of entries) {
      const option = options.get(name), where = at(...within, name);
      if (!option) {
        const candidates = [...options.keys(), ...within.length === 0 ? names : []];
        const near = nearest(name, candidates);
        fail(
          where.key,
          within.length > 0 ? `"${name}" is no option of ibsr ${within[0]}` : `"${name}" is no option and no command`,
          near ? `did you mean "${near}"?` : "`ibsr config show` lists the keys",
        );
      }
      const wrong = wrongType(option!, value);
      if (wrong) fail(where.value, `"${name}" is ${describe(value)}, not ${wrong}`);
      settings.set(name, { value, at: place(path, text, where.value) });
    }
    return settings;
  };

  const readers = commands.filter((command) => command.options.config);
  const names = readers.map((command) => command.name);
  const sections = new Map<string, Map<string, Setting>>();
  const top: [string, unknown][] = [];
  for (const [key, value] of Object.entries(root)) {
    const command = readers.find((c) => c.name === key);
    if (!command) {
      top.push([key, value]);
      continue;
    }
    if (!isObject(value)) return fail(at(key).value, `"${key}" is ${describe(value)}, not an object of its options`);
    sections.set(key, take(Object.entries(value), optionsOf([command]), [key]));
  }
  return { path, shared: take(top, optionsOf(readers), []), sections };
}

/** What the value should have been, in words; undefined if it is right. */
function wrongType(option: Option<unknown>, value: unknown): string | undefined {
  const json = option.kind.json ?? ["string", "number"];
  const fits = (v: unknown) => json.includes(typeof v as typeof json[number]);
  if (option.repeat && Array.isArray(value) ? value.every(fits) : fits(value)) return undefined;
  const words = { string: "a text", number: "a number", boolean: "true or false" };
  const one = [...new Set(json)].map((type) => words[type]).join(" or ");
  return option.repeat ? `${one}, or a list of such` : one;
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  return isObject(value) ? "an object" : JSON.stringify(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `PATH:LINE:COLUMN`, both from 1; the column counts characters. */
function place(path: string, text: string, offset: number): string {
  const before = text.slice(0, offset), lineStart = before.lastIndexOf("\n") + 1;
  return `${path}:${before.split("\n").length}:${[...before.slice(lineStart)].length + 1}`;
}

/** Where a key and its value begin, and where the key is again in the same object. */
interface Place {
  key: number;
  value: number;
  again?: { key: string; offset: number };
}

const TOKEN = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"/]+/g;

/** The places of all keys of a text that is known to be JSONC, by the JSON of their path. */
function scan(text: string): Map<string, Place> {
  const places = new Map<string, Place>();
  /** The paths of the objects and lists around. */
  const around: string[][] = [];
  let key: { name: string; offset: number } | undefined, path: string[] = [], afterKey = false;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token.startsWith("/")) continue;
    if (token === ":") {
      afterKey = true;
      continue;
    }
    if (afterKey && key) {
      const name = JSON.stringify([...path, key.name]), known = places.get(name);
      if (known) known.again = { key: key.name, offset: key.offset };
      else places.set(name, { key: key.offset, value: index });
    }
    if (token === "{" || token === "[") {
      around.push(path);
      if (afterKey && key) path = [...path, key.name];
      else if (around.length > 1) path = [...path, `at ${index}`]; // in a list: it has no key
    } else if (token === "}" || token === "]") {
      path = around.pop() ?? [];
    }
    key = token.startsWith('"') && !afterKey ? { name: JSON.parse(token), offset: index } : undefined;
    afterKey = false;
  }
  return places;
}
