/**
 * Transcripts: what a person types and what comes back, run again.
 *
 *     $ ibsr colect            a command line for `sh`, with `ibsr` on PATH; `$TMP` is the folder
 *     ibsr: error: …           its output, standard error after standard output; `…` stands for anything in a line,
 *     …                        and alone for any number of lines
 *     [64]                     its exit code, where that is not 0
 *
 * A command may begin with `# ` in place of `$ `: it needs root. Empty lines don't count, and a space is
 * any space.
 */
import assert from "node:assert/strict";
import { ibsrCommand } from "./kernel/lab.ts";

/** A command of a transcript, and what it must do. */
export interface Step {
  command: string;
  root: boolean;
  output: string[];
  code: number;
}

/** The steps of a transcript. */
export function parseTranscript(text: string): Step[] {
  const steps: Step[] = [];
  for (const line of text.split("\n")) {
    const step = steps.at(-1), code = /^\[(\d+)\]$/.exec(line), prompt = /^([$#]) (.*)$/.exec(line);
    if (prompt) steps.push({ command: prompt[2]!, root: prompt[1] === "#", output: [], code: 0 });
    else if (code && step) step.code = Number(code[1]);
    else if (step && line !== "") step.output.push(line);
  }
  return steps;
}

/** A pattern for the lines, in which `…` stands for anything in a line or, alone, for lines. */
function patternOf(lines: readonly string[]): RegExp {
  const parts = lines.map((line) =>
    line.trim() === "…" ? "(?:.*\n)*" : `${plain(line).split("…").map((part) => RegExp.escape(part)).join(".*")}\n`
  );
  return new RegExp(`^${parts.join("")}$`);
}

/** The tests' variables, which `ibsr` would take for misspelt options. */
const OWN_VARIABLES = ["IBSR_PROGRAM", "IBSR_REQUIRE", "IBSR_PCAPS", "IBSR_GOLDEN"].flatMap((name) => ["-u", name]);

/** A space that doesn't break looks like any other. */
function plain(text: string): string {
  return text.replaceAll("\u00a0", " ");
}

/** Where steps run. */
export interface Place {
  folder: string;
  /** Goes before `sh`: `ip netns exec NAME`. */
  by?: readonly string[];
  environment?: Record<string, string>;
}

/** Makes `ibsr` and `deno` commands of the folder. */
export async function prepareFolder(folder: string): Promise<void> {
  const [program, args] = ibsrCommand([]);
  const quoted = [program, ...args].map((word) => `'${word}'`).join(" ");
  await Deno.mkdir(`${folder}/.bin`);
  await Deno.writeTextFile(`${folder}/.bin/ibsr`, `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 });
  await Deno.symlink(Deno.execPath(), `${folder}/.bin/deno`);
}

/** Runs the steps one after the other; fails at the first that does something else than it must. */
export async function runSteps(steps: readonly Step[], { folder, by = [], environment = {} }: Place): Promise<void> {
  for (const { command, output, code } of steps) {
    const line = [
      ...by,
      "env",
      ...OWN_VARIABLES,
      "sh",
      "-c",
      `${command} 2>"$TMP/.stderr"; code=$?; cat "$TMP/.stderr"; exit $code`,
    ];
    const done = await new Deno.Command(line[0]!, {
      args: line.slice(1),
      cwd: folder,
      env: { PATH: `${folder}/.bin:${Deno.env.get("PATH")}`, TMP: folder, NO_COLOR: "1", ...environment },
      stdin: "null",
    }).output();
    const lines = plain(new TextDecoder().decode(done.stdout)).split("\n").filter((line) => line !== "");
    if (!patternOf(output).test(lines.map((line) => `${line}\n`).join(""))) assert.deepEqual(lines, output, command);
    assert.equal(done.code, code, command);
  }
}
