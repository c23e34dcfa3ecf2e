/**
 * Transcripts: what a person types and what comes back. `*.txt` beside this file, each run in a folder of its own.
 *
 *     $ ibsr colect            a command line for `sh`, with `ibsr` on PATH; `$TMP` is the folder
 *     ibsr: error: …           its output, standard error after standard output; `…` stands for anything in a line
 *     [64]                     its exit code, where that is not 0
 */
import assert from "node:assert/strict";
import { ibsrCommand } from "../kernel/lab.ts";

/** A command of a transcript, and what it must do. */
interface Step {
  command: string;
  output: string[];
  code: number;
}

function parseTranscript(text: string): Step[] {
  const steps: Step[] = [];
  for (const line of text.split("\n")) {
    const step = steps.at(-1), code = /^\[(\d+)\]$/.exec(line);
    if (line.startsWith("$ ")) steps.push({ command: line.slice(2), output: [], code: 0 });
    else if (code && step) step.code = Number(code[1]);
    else if (step && line !== "") step.output.push(line);
  }
  return steps;
}

/** A pattern for a line in which `…` stands for anything. */
function patternOf(line: string): RegExp {
  return new RegExp(`^${line.split("…").map((part) => RegExp.escape(part)).join(".*")}$`);
}

for (const entry of [...Deno.readDirSync(new URL(".", import.meta.url))].sort((a, b) => a.name < b.name ? -1 : 1)) {
  if (!entry.name.endsWith(".txt")) continue;
  Deno.test(`ibsr answers as tests/cli/${entry.name} says`, async () => {
    const folder = await Deno.makeTempDir(), [program, args] = ibsrCommand([]);
    try {
      const quoted = [program, ...args].map((word) => `'${word}'`).join(" ");
      await Deno.writeTextFile(`${folder}/ibsr`, `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 });
      const text = await Deno.readTextFile(new URL(entry.name, import.meta.url));
      for (const { command, output, code } of parseTranscript(text)) {
        const done = await new Deno.Command("sh", {
          args: ["-c", `${command} 2>"$TMP/stderr"; code=$?; cat "$TMP/stderr"; exit $code`],
          cwd: folder,
          env: { PATH: `${folder}:${Deno.env.get("PATH")}`, TMP: folder, NO_COLOR: "1" },
          stdin: "null",
        }).output();
        const lines = new TextDecoder().decode(done.stdout).split("\n").filter((line) => line !== "");
        const wrong = lines.length !== output.length || output.some((line, i) => !patternOf(line).test(lines[i]!));
        if (wrong) assert.deepEqual(lines, output, command);
        assert.equal(done.code, code, command);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
