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
}

/** The page of a command. */
export function commandHelp(command: Described, page: Page): string {
  const bold = (text: string) => page.color ? `\x1b[1m${text}\x1b[0m` : text;
  const lines = [
    `${bold(`ibsr ${command.name}`)}: ${command.summary}`,
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

/** The page of the program: its commands, a line each. */
export function programHelp(commands: readonly Described[], version: string, page: Page): string {
  const bold = (text: string) => page.color ? `\x1b[1m${text}\x1b[0m` : text;
  const width = Math.max(...commands.map((c) => c.name.length));
  return [
    `${bold("ibsr")} ${version}: what inline blocking would have done, from real traffic, before it may block.`,
    "It counts packets in XDP and always passes them; everything else is offline.",
    "",
    "Usage: ibsr COMMAND [options]",
    "",
    bold("Commands:"),
    ...commands.map((c) => `  ${c.name.padEnd(width)}  ${c.summary}`),
    "",
    bold("Start here:"),
    "  ibsr safety                       why this cannot hurt the host",
    "  ibsr collect -p 443 -o ./spool    count traffic to port 443 until Ctrl-C",
    "",
    "`ibsr COMMAND --help` has a command's options and examples.",
  ].join("\n") + "\n";
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
