/**
 * Option tables: what an option is, and how its text becomes a value.
 *
 * An option is stated once, in a command's table; parsing, help, completions, the manual and the keys of the
 * config file derive from it. Values come in layers (command line, environment, file, defaults); each is text
 * until the option's kind has parsed it, so that every layer is checked alike.
 */
import { parseArgs } from "@std/cli/parse-args";
import { parsePorts } from "../address.ts";
import { IbsrError, nearest } from "../errors.ts";

/** How text becomes a value of type T. */
export interface Kind<T> {
  /** Stands for the value in help: `SEC`. Empty for flags, which take none. */
  metavar: string;
  /** The value, or what was expected instead. */
  parse(text: string): { value: T } | { expected: string };
  /** The values to choose from, where they are few. */
  choices?: readonly string[];
  /** What a value is in the config file; a text or a number if not said. */
  json?: readonly ("string" | "number" | "boolean")[];
}

/** One option of a command. */
export interface Option<T> {
  kind: Kind<T>;
  help: string;
  /** Heading under which help lists it. */
  group: string;
  short?: string;
  /** Text, as a user would write it; shown in help. */
  default?: string;
  /** May be given several times. */
  repeat?: boolean;
  /** What help shows as the default where it is computed. */
  defaultHelp?: string;
  /** Can change while the command runs: SIGHUP. */
  live?: true;
  /**
   * Options that answer one question together have the same word here. All of them come from one layer, so that
   * `-p 443` on the command line puts aside `all-ports` in the config file.
   */
  question?: string;
}

/** A command's options by long name. */
export type OptionTable = Record<string, Option<unknown>>;

type ValueOf<O> = O extends Option<infer T> ? O extends { repeat: true } ? T[]
  : O extends { default: string } ? T
  : T extends boolean ? boolean
  : T | undefined
  : never;

/** The parsed values of a table. */
export type Values<T extends OptionTable> = { [K in keyof T]: ValueOf<T[K]> };

/** Declares an option; keeps the literal type, so that `Values` knows its defaults and repeats. */
export function option<T, const O extends Omit<Option<T>, "kind">>(kind: Kind<T>, rest: O): { kind: Kind<T> } & O {
  return { kind, ...rest };
}

// ---------------------------------------------------------------------------------------------------- kinds

/** An option without a value. */
export const flag: Kind<boolean> = {
  metavar: "",
  json: ["boolean"],
  parse: (text) => text === "true" || text === "false" ? { value: text === "true" } : { expected: "true or false" },
};

/** Any text but an empty one. */
export function textKind(metavar: string): Kind<string> {
  return { metavar, json: ["string"], parse: (text) => text === "" ? { expected: "a text" } : { value: text } };
}

/** A whole number in decimal digits. */
export function integerKind(metavar: string, min: number, max: number): Kind<number> {
  return {
    metavar,
    json: ["number"],
    parse: (text) => {
      const value = Number(text);
      return /^\d{1,15}$/.test(text) && value >= min && value <= max
        ? { value }
        : { expected: `a whole number from ${min} to ${max}` };
    },
  };
}

/** A decimal number. */
export function numberKind(metavar: string, min: number, max: number): Kind<number> {
  return {
    metavar,
    json: ["number"],
    parse: (text) => {
      const value = Number(text);
      return /^\d{1,15}(\.\d{1,9})?$/.test(text) && value >= min && value <= max
        ? { value }
        : { expected: `a number from ${min} to ${max}` };
    },
  };
}

/** A share from 0 to 1; also in percent, as results show it: `0.02`, `2%`, `2 %`. */
export const shareKind: Kind<number> = {
  metavar: "SHARE",
  parse: (text) => {
    const [, digits, percent] = /^(\d{1,15}(?:\.\d{1,9})?)(\s?%)?$/.exec(text) ?? [];
    const value = percent ? Number(`${digits}e-2`) : Number(digits); // divided by 100, 0.7 is not 0.007
    return value >= 0 && value <= 1 ? { value } : { expected: "a share from 0 to 1 such as 0.02, or 2%" };
  },
};

/** A number of seconds, fractions allowed. */
export function secondsKind(min: number, max: number): Kind<number> {
  return {
    metavar: "SEC",
    json: ["number"],
    parse: (text) => {
      const value = Number(text);
      return /^\d{1,12}(\.\d{1,3})?$/.test(text) && value >= min && value <= max
        ? { value }
        : { expected: `seconds from ${min} to ${max}` };
    },
  };
}

/** One of a few words. */
export function choiceKind<const T extends string>(metavar: string, choices: readonly T[]): Kind<T> {
  return {
    metavar,
    choices,
    json: ["string"],
    parse: (text) => {
      const value = choices.find((c) => c === text);
      return value ? { value } : { expected: `one of ${choices.join(", ")}` };
    },
  };
}

const UNITS = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** A number of bytes: digits, and K, M, G or T for powers of 1024. */
export function sizeKind(min: number): Kind<number> {
  return {
    metavar: "SIZE",
    parse: (text) => {
      const match = /^(\d{1,12})([KMGT]?)$/.exec(text);
      const value = match ? Number(match[1]) * UNITS[match[2] as keyof typeof UNITS] : NaN;
      return value >= min && value <= Number.MAX_SAFE_INTEGER
        ? { value }
        : { expected: `bytes such as 500M or 20G, at least ${min}` };
    },
  };
}

/** What either kind takes; the first is asked first. */
export function eitherKind<A, B>(metavar: string, first: Kind<A>, second: Kind<B>): Kind<A | B> {
  return {
    metavar,
    json: [...first.json ?? ["string", "number"], ...second.json ?? ["string", "number"]],
    parse: (text) => {
      const results = [first.parse(text), second.parse(text)] as const;
      const value = results.find((result) => "value" in result);
      return value ?? { expected: results.map((r) => "expected" in r ? r.expected : "").join(", or ") };
    },
  };
}

/** Ports and ranges of them, separated by commas. */
export const portsKind: Kind<number[]> = {
  metavar: "PORTS",
  parse: (text) => {
    const ports = parsePorts(text);
    return Array.isArray(ports)
      ? { value: ports }
      : { expected: `ports from 1 to 65535 such as 443 or 8000-8080 ("${ports.wrong}" is none)` };
  },
};

// -------------------------------------------------------------------------------------------------- parsing

/** Texts by option name, from one source. */
export interface Layer {
  /** Where they come from, for messages: "the command line". */
  source: string;
  texts: Record<string, readonly string[]>;
  /** How an option is called there: `--map-size`. */
  nameOf(option: string): string;
}

/** Where each option's value comes from, as that layer calls it; "default" if from none. */
export type Sources = Record<string, string>;

/**
 * Reads a command's arguments.
 *
 * @returns The options' texts as a layer, and the operands.
 * @throws {IbsrError} `usage`: an unknown option, with the nearest known one; a missing value.
 */
export function readArguments(table: OptionTable, args: readonly string[]): { layer: Layer; operands: string[] } {
  const names = Object.keys(table), isFlag = (name: string) => table[name]!.kind.metavar === "";
  const unknown: string[] = [];
  const parsed = parseArgs([...args], {
    string: ["_", ...names.filter((n) => !isFlag(n))], // operands too: "007" is not 7
    boolean: names.filter(isFlag),
    collect: names,
    alias: Object.fromEntries(names.flatMap((n) => table[n]!.short ? [[table[n]!.short!, n]] : [])),
    unknown: (arg, key) => key === undefined ? true : (unknown.push(arg), false),
  });
  if (unknown.length > 0) throw unknownOption(unknown[0]!, table);
  const texts: Record<string, readonly string[]> = {};
  for (const name of names) {
    const given = (parsed[name] as (string | boolean)[] | undefined ?? []).map(String);
    if (given.length === 0) continue;
    if (!isFlag(name) && given.includes("")) {
      throw new IbsrError("usage", `Cannot read --${name}: it needs a value`, {
        hint: `--${name} ${table[name]!.kind.metavar}`,
      });
    }
    texts[name] = given;
  }
  return {
    layer: { source: "the command line", texts, nameOf: (name) => `--${name}` },
    operands: parsed._.map(String),
  };
}

function unknownOption(arg: string, table: OptionTable): IbsrError {
  const typed = arg.replace(/^-+/, "").replace(/=.*$/s, "");
  const near = nearest(typed, Object.keys(table));
  const shown = arg.startsWith("--") ? `--${typed}` : arg;
  return new IbsrError("usage", `Cannot read the arguments: ${shown} is not an option of this command`, {
    hint: near ? `did you mean --${near}?` : "--help lists the options",
  });
}

/**
 * The values of a table: for each option the first layer that has it, else its default.
 *
 * @throws {IbsrError} `usage`: a text that is not of the option's kind.
 */
export function resolveOptions<T extends OptionTable>(
  table: T,
  layers: readonly Layer[],
): { values: Values<T>; sources: Sources } {
  const values: Record<string, unknown> = {}, sources: Sources = {};
  for (const [name, option] of Object.entries(table)) {
    const together = Object.keys(table).filter((n) =>
      n === name || (option.question !== undefined && table[n]!.question === option.question)
    );
    const layer = layers.find((l) => together.some((n) => l.texts[n] !== undefined));
    const texts = layer?.texts[name] ?? (option.default === undefined ? [] : [option.default]);
    const parsed = texts.map((text) => {
      const result = option.kind.parse(text);
      if ("value" in result) return result.value;
      throw new IbsrError(
        "usage",
        `Cannot use ${layer?.nameOf(name) ?? `--${name}`} ${JSON.stringify(text)}: expected ${result.expected}`,
      );
    });
    values[name] = option.repeat ? parsed : parsed.at(-1) ?? (option.kind.metavar === "" ? false : undefined);
    sources[name] = layer?.texts[name] ? layer.nameOf(name) : "default";
  }
  return { values: values as Values<T>, sources };
}
