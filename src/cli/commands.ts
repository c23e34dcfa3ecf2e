/**
 * All commands, and those that only print something of the program itself.
 */
import { IbsrError } from "../errors.ts";
import { collectCommand } from "./collect.ts";
import { type Command, COMMON, defineCommand } from "./command.ts";
import { completionScript, SHELLS } from "./completions.ts";
import { configCheckCommand, configShowCommand } from "./config_commands.ts";
import { convertCommand } from "./convert.ts";
import { checkCommand, statusCommand } from "./host.ts";
import { manualPage } from "./manual.ts";
import { replayCommand } from "./replay.ts";
import { rulesCommand } from "./rules.ts";
import { safetyCommand } from "./safety.ts";
import { systemdInstallCommand, systemdPrintCommand, systemdUninstallCommand } from "./systemd_commands.ts";
import { describeBuild, VERSION } from "./version.ts";

const versionCommand = defineCommand({
  name: "version",
  summary: "what this is and was built with",
  permissions: [],
  options: { ...COMMON },
  run(_values, { print }) {
    print(`ibsr ${VERSION}\n${describeBuild()}\ndeno ${Deno.version.deno} (${Deno.build.target})\n`);
    return 0;
  },
});

const completionsCommand = defineCommand({
  name: "completions",
  summary: "completions for a shell",
  operands: SHELLS.join("|"),
  examples: [["source <(ibsr completions bash)", "For the shell that is running."]],
  permissions: [],
  options: { ...COMMON },
  run(_values, { operands: [name, ...more], print }) {
    const shell = SHELLS.find((s) => s === name);
    if (!shell || more.length > 0) {
      throw new IbsrError("usage", `Cannot write completions: expected one of ${SHELLS.join(", ")}`);
    }
    print(completionScript(shell, COMMANDS));
    return 0;
  },
});

const manCommand = defineCommand({
  name: "man",
  summary: "the manual as a man page",
  examples: [["ibsr man | man -l -", "To read it."]],
  permissions: [],
  options: { ...COMMON },
  run(_values, { print }) {
    print(manualPage(COMMANDS, VERSION));
    return 0;
  },
});

/** All commands, in the order of `ibsr --help`. */
export const COMMANDS: readonly Command[] = [
  collectCommand,
  checkCommand,
  statusCommand,
  safetyCommand,
  replayCommand,
  convertCommand,
  rulesCommand,
  ...[configCheckCommand, configShowCommand],
  ...[systemdInstallCommand, systemdPrintCommand, systemdUninstallCommand],
  ...[completionsCommand, manCommand, versionCommand],
];
