/**
 * What `ibsr config check` and `ibsr config show` take.
 */
import { CONFIGURED, defineCommand, JSON_OUTPUT } from "../command.ts";

export const CONFIG_CHECK_OPTIONS = { ...CONFIGURED };

export const configCheckCommand = defineCommand({
  name: "config check",
  summary: "say what is wrong with the config file and the environment",
  description:
    "Reads the config file and the IBSR_… variables as every command would, and starts nothing. Exit code: 0 if " +
    "all is right, 64 if not.",
  examples: [["ibsr config check --config ./ibsr.jsonc", "Before it is put in place."]],
  permissions: ["read"],
  options: CONFIG_CHECK_OPTIONS,
  load: async () => (await import("../config.ts")).runConfigCheck,
});

export const CONFIG_SHOW_OPTIONS = { ...JSON_OUTPUT, ...CONFIGURED };

export const configShowCommand = defineCommand({
  name: "config show",
  summary: "each option's value, and where it comes from",
  operands: "[COMMAND]",
  description:
    "Prints what a command (collect, if none is named) would use if it were given no arguments: each option, its " +
    "value, and whether that is the default, the environment's (IBSR_…) or the config file's (line and column).",
  examples: [
    ["ibsr config show", "Of ibsr collect."],
    ["ibsr config show status --json", "Of ibsr status, for a program."],
  ],
  permissions: ["read"],
  options: CONFIG_SHOW_OPTIONS,
  load: async () => (await import("../config.ts")).runConfigShow,
});
