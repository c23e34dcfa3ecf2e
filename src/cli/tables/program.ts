/**
 * What `ibsr version`, `completions` and `man` take.
 */
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";

/** Shells that there are completions for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

export const VERSION_OPTIONS = { ...JSON_OUTPUT, ...COMMON };

export const versionCommand = defineCommand({
  name: "version",
  summary: "what this is and was built with",
  permissions: [],
  options: VERSION_OPTIONS,
  load: async () => (await import("../program.ts")).runVersion,
});

export const completionsCommand = defineCommand({
  name: "completions",
  summary: "completions for a shell",
  operands: SHELLS.join("|"),
  examples: [["source <(ibsr completions bash)", "For the shell that is running."]],
  permissions: [],
  options: COMMON,
  load: async () => (await import("../program.ts")).runCompletions,
});

export const manCommand = defineCommand({
  name: "man",
  summary: "the manual as a man page",
  examples: [["ibsr man | man -l -", "To read it."]],
  permissions: [],
  options: COMMON,
  load: async () => (await import("../program.ts")).runMan,
});
