/**
 * The man page, from the command and option tables, in the man(7) macros.
 */
import { EXIT } from "../errors.ts";
import { CONFIG_PATH } from "./layers.ts";
import type { Described } from "./help.ts";
import type { Option } from "./options.ts";

/** What ended the program, by kind of error, for those who script it. */
const EXIT_MEANINGS: Record<keyof typeof EXIT, string> = {
  usage: "The command line or the configuration is wrong.",
  data: "Input can't be read as what it should be.",
  network: "The network, or what is behind it, can't be reached.",
  bug: "A bug in ibsr, or a damaged executable.",
  kernel: "Loading, verifying or attaching the kernel program failed.",
  storage: "The output can't be written, or the spool not be read.",
  permission: "It is not permitted: a capability, a right to a file, or keys for S3 are missing or don't suffice.",
};

/** Every exit code with what it means, in the order of the codes. */
export const EXIT_CODES: readonly (readonly [code: number, meaning: string])[] = [
  [0, "Success; with --exit-code: READY."],
  [
    1,
    "Done, and the answer is not a plain yes: NOT READY with --exit-code; warnings of check; status of a collector that " +
    "doesn't run or fails at something; rules that were left out.",
  ],
  [2, "Done: INSUFFICIENT EVIDENCE with --exit-code."],
  ...Object.entries(EXIT).map(([kind, code]) => [code, EXIT_MEANINGS[kind as keyof typeof EXIT]] as const),
  [130, "A signal asked for the end before it was done."],
];

/** The page `ibsr(1)`. */
export function manualPage(commands: readonly Described[], version: string): string {
  return [
    `.TH IBSR 1 "" "ibsr ${escape(version)}" "User Commands"`,
    ".SH NAME",
    "ibsr \\- show what inline blocking would have done, from real traffic",
    ".SH SYNOPSIS",
    ".B ibsr",
    "\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIOPERAND\\fR]...",
    ".SH DESCRIPTION",
    "ibsr counts TCP traffic by source and port in an XDP program that always passes the packet. Everything else is",
    "done from the files that this leaves behind. It blocks nothing.",
    ".SH COMMANDS",
    ...commands.flatMap(describeCommand),
    ".SH FILES",
    ...definition(
      CONFIG_PATH,
      "The config file: JSON with comments, whose keys are the options' names. Need not exist.",
    ),
    ...definition("/var/lib/ibsr/snapshots", "The spool of the collector, unless --out-dir names another."),
    ".SH ENVIRONMENT",
    ...definition("IBSR_CONFIG", "Another config file."),
    ...definition("IBSR_…", "Options of commands that read the config file: IBSR_MAP_SIZE is --map-size."),
    ...definition("NO_COLOR", "No colors, even on a terminal."),
    ...definition("SOURCE_DATE_EPOCH", "The time that reports say they were made at, in seconds since 1970."),
    ".SH EXIT STATUS",
    ...EXIT_CODES.flatMap(([code, meaning]) => definition(String(code), meaning)),
  ].join("\n") + "\n";
}

function describeCommand(command: Described): string[] {
  return [
    `.SS "ibsr ${escape(command.name)} [options]${command.operands ? ` ${escape(command.operands)}` : ""}"`,
    text(command.summary.replace(/^./, (c) => c.toUpperCase()) + "."),
    ...(command.description?.split("\n\n") ?? []).flatMap((paragraph) => [".PP", text(paragraph)]),
    ...Object.entries(command.options).flatMap(([name, option]) => describeOption(name, option)),
    ...(command.examples ?? []).flatMap((
      [line, does],
    ) => [".PP", text(does), ".PP", ".RS", ".EX", text(line), ".EE", ".RE"]),
  ];
}

function describeOption(name: string, option: Option<unknown>): string[] {
  const { metavar, choices } = option.kind;
  const names = [...(option.short ? [`-${option.short}`] : []), `--${name}`].map((n) => `\\fB${escape(n)}\\fR`);
  const notes = [
    choices ? `One of: ${choices.join(", ")}.` : "",
    option.repeat ? "Repeatable." : "",
    option.live ? "Live." : "",
    option.default !== undefined || option.defaultHelp ? `Default: ${option.defaultHelp ?? option.default}.` : "",
  ];
  return [
    ".TP",
    names.join(", ") + (metavar ? ` \\fI${escape(metavar)}\\fR` : ""),
    text([option.help, ...notes.filter(Boolean)].join(" ")),
  ];
}

function definition(term: string, meaning: string): string[] {
  return [".TP", `\\fB${escape(term)}\\fR`, text(meaning)];
}

/** Text as a line of its own, which roff must not take for a request. */
function text(line: string): string {
  return escape(line).replace(/^(?=[.'])/, "\\&");
}

/** Text with what is special to roff, and what a terminal would show as something else, written out. */
function escape(text: string): string {
  const written: Record<string, string> = {
    "\\": "\\e",
    "-": "\\-",
    "`": "\\(ga",
    "'": "\\(aq",
    "~": "\\(ti",
    "^": "\\(ha",
    '"': "\\(dq",
    "…": "...",
  };
  return text.replaceAll(/[\\\-`'~^"…]/g, (c) => written[c]!).replaceAll(/\s*\n\s*/g, " ");
}
