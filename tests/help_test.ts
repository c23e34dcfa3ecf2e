/**
 * The pages of `ibsr` and `ibsr --help`, and how long lines are broken for a terminal.
 */
import assert from "node:assert/strict";
import { COMMANDS } from "../src/cli/commands.ts";
import { firstSteps, fitLines, programHelp } from "../src/cli/help.ts";
import { ibsrCommand } from "./kernel/lab.ts";
import { testWith } from "./needs.ts";

const page = { width: 80, color: false, isTerminal: true };

Deno.test("programHelp() and firstSteps() fit 80 columns or 60, and name commands that exist", () => {
  const narrow = { ...page, width: 60 };
  for (const line of `${programHelp(COMMANDS, "1.2.3", narrow)}${firstSteps("1.2.3", narrow)}`.split("\n")) {
    assert.ok(line.length <= 60, line);
  }
  const all = programHelp(COMMANDS, "1.2.3", page), first = firstSteps("1.2.3", page);
  for (const line of `${all}${first}`.split("\n")) assert.ok(line.length <= 80, line);
  for (const { name } of COMMANDS) assert.ok(all.includes(`\n  ${name} `), name);
  for (const [, name] of first.matchAll(/^ {2}ibsr (\w+)/gm)) {
    assert.ok(COMMANDS.some((command) => command.name === name), name);
  }
  assert.ok(!`${all}${first}`.includes("\x1b"));
  assert.ok(firstSteps("1.2.3", { ...page, color: true }).startsWith("\x1b[1mibsr\x1b[0m 1.2.3"));
});

Deno.test("fitLines() breaks lines below their last column, keeps numbers with their %, and short lines whole", () => {
  const text = "Name      about one hundred words, 95 % of them\n  a  b\n";
  assert.equal(
    fitLines(text, { ...page, width: 37 }),
    "Name      about one hundred words,\n          95 % of them\n  a  b\n",
  );
});

Deno.test("fitLines() leaves text alone that no terminal shows", () => {
  const line = `x  ${"word ".repeat(40)}`;
  assert.equal(fitLines(line, { width: 80, color: false }), line);
});

testWith("shells", "ibsr colors its pages on a terminal, not with NO_COLOR, on a dumb one or in a pipe", async () => {
  const [program, args] = ibsrCommand(["--help"]), line = [program, ...args].map((word) => `'${word}'`).join(" ");
  const isColored = async (command: string, env: Record<string, string>) => {
    const { stdout } = await new Deno.Command("script", { args: ["-qec", command, "/dev/null"], env }).output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /Commands:/);
    return text.includes("\x1b[1mibsr");
  };
  const plain = { NO_COLOR: "", TERM: "xterm" };
  assert.equal(await isColored(line, plain), true);
  assert.equal(await isColored(line, { ...plain, NO_COLOR: "1" }), false);
  assert.equal(await isColored(line, { ...plain, TERM: "dumb" }), false);
  assert.equal(await isColored(`${line} | cat`, plain), false);
});
