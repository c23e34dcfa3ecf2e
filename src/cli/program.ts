/**
 * `ibsr version`, `completions` and `man`: what prints something of the program itself.
 */
import { IbsrError } from "../errors.ts";
import type { Context } from "./command.ts";
import { completionScript } from "./completions.ts";
import { manualPage } from "./manual.ts";
import type { Values } from "./options.ts";
import { SHELLS, type VERSION_OPTIONS } from "./tables/program.ts";
import { describeBuild, VERSION } from "./version.ts";

/** `ibsr version`: returns the exit code. */
export function runVersion({ json }: Values<typeof VERSION_OPTIONS>, { print }: Context): number {
  const { version: { deno }, build: { target } } = Deno;
  if (json) print(JSON.stringify({ version: VERSION, build: describeBuild(), deno, target }, null, 2) + "\n");
  else print(`ibsr ${VERSION}\n${describeBuild()}\ndeno ${deno} (${target})\n`);
  return 0;
}

/** `ibsr completions`: returns the exit code. */
export function runCompletions(_values: unknown, { operands: [name, ...more], print, commands }: Context): number {
  const shell = SHELLS.find((s) => s === name);
  if (!shell || more.length > 0) {
    throw new IbsrError("usage", `Cannot write completions: expected one of ${SHELLS.join(", ")}`, {
      hint: "source <(ibsr completions bash)",
    });
  }
  print(completionScript(shell, commands));
  return 0;
}

/** `ibsr man`: returns the exit code. */
export function runMan(_values: unknown, { print, commands }: Context): number {
  print(manualPage(commands, VERSION));
  return 0;
}
