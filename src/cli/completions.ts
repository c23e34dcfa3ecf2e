/**
 * Shell completions, from the command and option tables.
 *
 * They complete commands, options, and the values of options: choices, paths, interfaces, users. Which of these a value is
 * follows from its choices and its metavar.
 */
import type { Described } from "./help.ts";
import type { Option } from "./options.ts";
import type { SHELLS } from "./tables/program.ts";

/** One of them. */
export type Shell = typeof SHELLS[number];

/** A shell's completion script. */
export function completionScript(shell: Shell, commands: readonly Described[]): string {
  return { bash, zsh, fish }[shell](commands);
}

/** What a value is, by its metavar. */
const VALUES: Record<string, "directory" | "file" | "interface" | "user" | "group"> = {
  DIR: "directory",
  FILE: "file",
  PATH: "file",
  IFACE: "interface",
  USER: "user",
  GROUP: "group",
};

/** Commands whose words begin others come after those, so that a search for the first match finds the longest. */
function longestFirst(commands: readonly Described[]): Described[] {
  return [...commands].sort((a, b) => b.name.split(" ").length - a.name.split(" ").length);
}

function takesValue(option: Option<unknown>): boolean {
  return option.kind.metavar !== "";
}

function takesPaths(command: Described): boolean {
  return /PATH|FILE|DIR/.test(command.operands ?? "");
}

/** What an operand can be, where it is one of some words: `bash|zsh|fish`. */
function operandWords({ operands = "" }: Described, commands: readonly Described[]): string[] {
  // Of commands in two words the first is offered: enough to get to the page that lists them.
  if (operands === "[COMMAND]") return [...new Set(listConfigured(commands).map(({ name }) => name.split(" ")[0]!))];
  return /^[a-z]+(\|[a-z]+)+$/.test(operands) ? operands.split("|") : [];
}

/** Those that read the config file. */
function listConfigured(commands: readonly Described[]): Described[] {
  return commands.filter(({ options }) => "config" in options);
}

/**
 * The words that can come at each place of a command, by the words before: "" → collect, systemd; "systemd" → print; and
 * all of that again after "help".
 */
function wordTree(commands: readonly Described[]): Map<string, { word: string; summary: string }[]> {
  const tree = new Map<string, { word: string; summary: string }[]>();
  for (const { name, summary } of commands) {
    const words = name.split(" ");
    words.forEach((word, i) => {
      const before = words.slice(0, i).join(" "), known = tree.get(before) ?? [];
      if (!known.some((k) => k.word === word)) known.push({ word, summary: i === words.length - 1 ? summary : "" });
      tree.set(before, known);
    });
  }
  for (const [before, next] of [...tree]) tree.set(before === "" ? "help" : `help ${before}`, [...next]);
  tree.get("")?.push({ word: "help", summary: "the page of a command" });
  return tree;
}

/** In single quotes for a shell of the Bourne family. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function bash(commands: readonly Described[]): string {
  const actions = {
    directory: "_ibsr_paths -d",
    file: "_ibsr_paths -f",
    interface: '_ibsr_words "$(ls /sys/class/net)"',
    user: '_ibsr_words "$(compgen -u)"',
    group: '_ibsr_words "$(compgen -g)"',
  };
  const cases = longestFirst(commands).map((command) => {
    const options = Object.entries(command.options);
    const names = options.flatMap(([name, { short }]) => [`--${name}`, ...(short ? [`-${short}`] : [])]);
    const values = options.filter(([, o]) => takesValue(o)).map(([name, option]) => {
      const { choices, metavar } = option.kind, value = VALUES[metavar];
      const action = choices ? `_ibsr_words ${quote(choices.join(" "))}` : value ? actions[value] : "";
      return `\t\t${option.short ? `-${option.short} | ` : ""}--${name}) ${action ? `${action}; ` : ""}return ;;`;
    });
    const operands = operandWords(command, commands);
    const operandAction = takesPaths(command)
      ? actions.file
      : operands.length > 0
      ? `_ibsr_words ${quote(operands.join(" "))}`
      : "";
    return [
      `\t${quote(`${command.name} `)}*)`,
      ...(values.length ? ["\t\tcase $before in", ...values, "\t\tesac"] : []),
      `\t\tif [[ $word == -* ]]; then _ibsr_words ${quote(names.join(" "))};` +
      `${operandAction === "" ? "" : ` else ${operandAction};`} fi ;;`,
    ].join("\n");
  });
  const words = [...wordTree(commands)].map(([before, next]) => {
    const choices = [...next.map((n) => n.word), ...(before ? [] : ["--help", "--version"])];
    return `\t${quote(before ? `${before} ` : "")}) _ibsr_words ${quote(choices.join(" "))} ;;`;
  });
  return `# bash completion for ibsr: source <(ibsr completions bash)
_ibsr_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$word")
}

_ibsr_paths() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen "$1" -- "$word")
}

_ibsr() {
	local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} line
	line="\${COMP_WORDS[*]:1:COMP_CWORD - 1}"
	line=\${line:+$line }
	COMPREPLY=()
	case $line in
${[...words, ...cases].join("\n")}
	esac
}
complete -F _ibsr ibsr
`;
}

function zsh(commands: readonly Described[]): string {
  const note = (text: string) => text.replaceAll(/[[\]:\\]/g, "\\$&");
  const actions = {
    directory: "_files -/",
    file: "_files",
    interface: "_net_interfaces",
    user: "_users",
    group: "_groups",
  };
  const cases = longestFirst(commands).map((command) => {
    const specs = Object.entries(command.options).map(([name, option]) => {
      const { choices, metavar } = option.kind, value = VALUES[metavar];
      const action = choices ? `(${choices.join(" ")})` : value ? actions[value] : " ";
      const names = option.short ? `{-${option.short},--${name}}` : `--${name}`;
      const rest = `[${note(option.help)}]${takesValue(option) ? `:${note(metavar)}:${action}` : ""}`;
      return `${option.repeat ? "'*'" : ""}${names}${quote(rest)}`;
    });
    if (takesPaths(command)) specs.push("'*:path:_files'");
    const operands = operandWords(command, commands);
    if (operands.length > 0) specs.push(quote(`:${operands.join("|")}:(${operands.join(" ")})`));
    return `\t${quote(`${command.name} `)}*) shift ${command.name.split(" ").length} words; ` +
      `(( CURRENT -= ${command.name.split(" ").length} )); _arguments -s \\\n\t\t${specs.join(" \\\n\t\t")} ;;`;
  });
  const words = [...wordTree(commands)].map(([before, next]) => {
    const entries = next.map(({ word, summary }) => quote(`${note(word)}${summary ? `:${note(summary)}` : ""}`));
    return `\t${before ? quote(`${before} `) : "''"}) local -a next=(${entries.join(" ")}); _describe command next ;;`;
  });
  return `#compdef ibsr
# zsh completion for ibsr: a file _ibsr in a folder of $fpath
_ibsr() {
	local line="\${(j: :)words[2,CURRENT-1]}"
	case "\${line:+$line }" in
${words.join("\n")}
${cases.join("\n")}
	esac
}
if [ "$funcstack[1]" = _ibsr ]; then _ibsr "$@"; else compdef _ibsr ibsr; fi
`;
}

function fish(commands: readonly Described[]): string {
  const literal = (text: string) => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const arguments_ = {
    directory: "-xa '(__fish_complete_directories)'",
    file: "-rF",
    interface: "-xa '(command ls /sys/class/net)'",
    user: "-xa '(__fish_complete_users)'",
    group: "-xa '(__fish_complete_groups)'",
  };
  const lines = [
    "# fish completion for ibsr: ibsr completions fish | source",
    "function __ibsr_is",
    "    set -l words (commandline -opc)",
    '    string match -q -- "$argv[1]" "$words[2..]"',
    "end",
    "complete -c ibsr -f",
  ];
  for (const [before, next] of wordTree(commands)) {
    for (const { word, summary } of next) {
      lines.push(`complete -c ibsr -n "__ibsr_is ${literal(before)}" -a ${word} -d ${literal(summary)}`);
    }
  }
  for (const command of commands) {
    const here = `complete -c ibsr -n "__ibsr_is ${literal(command.name)}; or __ibsr_is ${
      literal(`${command.name} *`)
    }"`;
    for (const [name, option] of Object.entries(command.options)) {
      const { choices, metavar } = option.kind, value = VALUES[metavar];
      const argument = choices
        ? `-xa ${literal(choices.join(" "))}`
        : value
        ? arguments_[value]
        : takesValue(option)
        ? "-x"
        : "";
      lines.push(
        [here, `-l ${name}`, option.short ? `-s ${option.short}` : "", argument, `-d ${literal(option.help)}`]
          .filter(Boolean).join(" "),
      );
    }
    if (takesPaths(command)) lines.push(`${here} -F`);
    for (const word of operandWords(command, commands)) lines.push(`${here} -a ${word}`);
  }
  return lines.join("\n") + "\n";
}
