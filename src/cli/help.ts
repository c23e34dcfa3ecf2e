/**
 * What `--help` prints: a command's or the program's page, from the option tables.
 */
import type { Option, OptionTable } from "./options.ts";

/** What a help page needs to know of a command. */
export interface Described {
  name: string;
  summary: string;
  /** What follows the options in the synopsis. */
  operands?: string;
  /** Paragraphs below the summary. */
  description?: string;
  /** Command lines with what they do. */
  examples?: readonly (readonly [command: string, does: string])[];
  options: OptionTable;
}

/** How a page is laid out. */
export interface Page {
  width: number;
  color: boolean;
  /** Whether a person reads along: long lines are broken for them, and left whole for programs. */
  isTerminal?: boolean;
}

/** The page of a command. */
export function commandHelp(command: Described, page: Page): string {
  const bold = (text: string) => page.color ? `\x1b[1m${text}\x1b[0m` : text;
  const [first, ...rest] = wrap(`ibsr ${command.name}: ${command.summary}`, page.width);
  const lines = [
    first!.replace(`ibsr ${command.name}`, (name) => bold(name)),
    ...rest,
    "",
    `Usage: ibsr ${command.name} [options]${command.operands ? ` ${command.operands}` : ""}`,
  ];
  for (const paragraph of command.description?.split("\n\n") ?? []) lines.push("", ...wrap(paragraph, page.width));
  const groups = Map.groupBy(Object.entries(command.options), ([, o]) => o.group);
  for (const [group, options] of groups) {
    lines.push("", bold(`${group}:`));
    for (const [name, o] of options) lines.push(...optionLines(name, o, page.width));
  }
  if (command.examples?.length) {
    lines.push("", bold("Examples:"));
    for (const [line, does] of command.examples) {
      lines.push(
        `  ${line}`,
        ...wrap(does, page.width - 6).map((l) => `      ${l}`),
      );
    }
  }
  return lines.join("\n") + "\n";
}

/** The page of the program: its commands, a line each; all of them, or those of one first word. */
export function programHelp(commands: readonly Described[], version: string, page: Page): string {
  const bold = (text: string) => page.color ? `\x1b[1m${text}\x1b[0m` : text;
  const width = Math.max(...commands.map((c) => c.name.length));
  const rows = commands.flatMap((c) => {
    const [first, ...rest] = wrap(c.summary, page.width - width - 4);
    return [`  ${c.name.padEnd(width)}  ${first}`, ...rest.map((line) => " ".repeat(width + 4) + line)];
  });
  return [
    ...describeProgram(version, page),
    "",
    "Usage: ibsr COMMAND [options]",
    "",
    bold("Commands:"),
    ...rows,
    "",
    ...wrap("`ibsr` alone says what to do first; `ibsr COMMAND --help` lists its options.", page.width),
  ].join("\n") + "\n";
}

/** What to do first: for whoever types the program's name alone. */
export function firstSteps(version: string, page: Page): string {
  const bold = (text: string) => page.color ? `\x1b[1m${text}\x1b[0m` : text;
  const step = (command: string, does: string) => {
    const line = `  ${command.padEnd(36)}  ${does}`;
    return line.length <= page.width ? [line] : [`  ${command}`, `      ${does}`];
  };
  return [
    ...describeProgram(version, page),
    "",
    bold("On a Linux host, as root:"),
    ...step("ibsr safety", "why this can't hurt the host"),
    ...step("ibsr check -p 443", "would it work here? tries it"),
    ...step("ibsr collect -p 443 -o ./spool", "count until Ctrl-C"),
    "",
    bold("Anywhere, without any rights:"),
    ...step("ibsr replay -o ./spool capture.pcap", "the same from a capture"),
    ...step("ibsr report -i ./spool -o ./report", "what blocking would have done"),
    "",
    ...wrap("`ibsr --help` lists all commands; `ibsr COMMAND --help` has a command's options.", page.width),
  ].join("\n") + "\n";
}

function describeProgram(version: string, page: Page): string[] {
  const [first, ...rest] = wrap(`ibsr ${version}: what inline blocking would have done to real traffic.`, page.width);
  return [
    page.color ? first!.replace("ibsr", "\x1b[1mibsr\x1b[0m") : first!,
    ...rest,
    ...wrap("It counts packets in XDP and always passes them. Everything else is offline.", page.width),
  ];
}

const INDENT = 30;

function optionLines(name: string, option: Option<unknown>, width: number): string[] {
  const { metavar } = option.kind;
  const head = `  ${option.short ? `-${option.short}, ` : "    "}--${name}${metavar ? ` ${metavar}` : ""}`;
  const extras = [
    option.kind.choices ? `${option.kind.choices.join(", ")}` : "",
    option.repeat ? "repeatable" : "",
    option.live ? "live" : "",
    option.default !== undefined || option.defaultHelp ? `default: ${option.defaultHelp ?? option.default}` : "",
  ].filter(Boolean);
  const body = wrap(option.help + (extras.length ? ` [${extras.join("; ")}]` : ""), width - INDENT);
  const first = head.length < INDENT - 1 ? [head.padEnd(INDENT) + body.shift()!] : [head];
  return [...first, ...body.map((l) => " ".repeat(INDENT) + l)];
}

/**
 * Text in columns with its long lines broken, on a terminal: what follows begins below the last column.
 *
 * A column begins behind two spaces or more.
 */
export function fitLines(text: string, { width, isTerminal = false }: Page): string {
  if (!isTerminal) return text;
  return text.split("\n").flatMap((line) => {
    if (line.length <= width) return [line];
    const begin = [...line.matchAll(/ {2,}/g)].map((match) => match.index + match[0].length)
      .findLast((at) => at <= width / 2) ?? 0;
    const [first, ...rest] = wrap(line.slice(begin).replaceAll(" %", "\0%"), width - begin);
    return [line.slice(0, begin) + first, ...rest.map((part) => " ".repeat(begin) + part)];
  }).join("\n").replaceAll("\0%", " %");
}

/** Lines of at most `width` characters, broken between words. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line && line.length + 1 + word.length > Math.max(width, 20)) {
      lines.push(line);
      line = "";
    }
    line += (line ? " " : "") + word;
  }
  return [...lines, line];
}
