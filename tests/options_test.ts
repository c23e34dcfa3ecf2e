import assert from "node:assert/strict";
import { commandHelp } from "../src/cli/help.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import {
  flag,
  integerKind,
  type Layer,
  option,
  portsKind,
  readArguments,
  resolveOptions,
  secondsKind,
  shareKind,
  textKind,
} from "../src/cli/options.ts";
import { IbsrError, nearest } from "../src/errors.ts";

const TABLE = {
  port: option(portsKind, { group: "G", short: "p", repeat: true, help: "Ports." }),
  name: option(textKind("NAME"), { group: "G", help: "Name." }),
  size: option(integerKind("N", 1, 1000), { group: "G", default: "7", help: "Size." }),
  wait: option(secondsKind(0, 10), { group: "G", default: "1.5", help: "Wait." }),
  quiet: option(flag, { group: "G", short: "q", help: "Quiet." }),
};

const read = (args: string) =>
  resolveOptions(TABLE, [readArguments(TABLE, args.split(" ").filter(Boolean)).layer]).values;

Deno.test("readArguments() reads long, short, joined and repeated options, and operands", () => {
  assert.deepEqual(read(""), { port: [], name: undefined, size: 7, wait: 1.5, quiet: false });
  assert.deepEqual(read("-p 80 --port=443,22 -q --size 9 --name=x=y --wait 0.25"), {
    port: [[80], [22, 443]],
    name: "x=y",
    size: 9,
    wait: 0.25,
    quiet: true,
  });
  assert.equal(read("--size 8 --size 9").size, 9, "the last one counts");
  assert.deepEqual(readArguments(TABLE, ["a", "--size", "1", "--", "--name", "-q"]).operands, ["a", "--name", "-q"]);
});

Deno.test("readArguments() keeps numbers as they were typed", () => {
  assert.equal(read("--name 007").name, "007");
  assert.equal(read("--name 1e3").name, "1e3");
});

Deno.test("readArguments() and resolveOptions() refuse what is wrong, by name", () => {
  const cases: [string, RegExp][] = [
    ["--nmae x", /--nmae is not an option/],
    ["-x", /-x is not an option/],
    ["--__proto__=1", /--__proto__ is not an option/],
    ["--size", /--size: it needs a value/],
    ["--size --quiet", /--size: it needs a value/],
    ["--size 0", /--size "0": expected a whole number from 1 to 1000/],
    ["--size 1.5", /--size "1\.5": expected a whole number/],
    ["--size 0x10", /--size "0x10": expected a whole number/],
    ["--wait -1", /is not an option|needs a value/],
    ["--wait 1e1", /--wait "1e1": expected seconds from 0 to 10/],
    ["--port 80-", /"80-" is none/],
  ];
  for (const [args, message] of cases) {
    assert.throws(
      () => read(args),
      (error) => error instanceof IbsrError && error.kind === "usage" && message.test(error.message),
      args,
    );
  }
});

Deno.test("shareKind takes a share as a number and in percent, and nothing beyond 100 %", () => {
  for (
    const [text, value] of [["0.02", 0.02], ["2%", 0.02], ["2 %", 0.02], ["0.7%", 0.007], ["100%", 1], [
      "0",
      0,
    ]] as const
  ) {
    assert.deepEqual(shareKind.parse(text), { value }, text);
  }
  for (const text of ["2", "101%", "-1%", "%", "2%%", "1e-2", ""]) {
    assert.deepEqual(shareKind.parse(text), { expected: "a share from 0 to 1 such as 0.02, or 2%" }, text);
  }
});

Deno.test("resolveOptions() takes each option from the first layer that has it, and says which", () => {
  const layer = (source: string, texts: Record<string, string[]>): Layer => ({
    source,
    texts,
    nameOf: (n) => `${source} ${n}`,
  });
  const layers = [layer("first", { size: ["1"] }), layer("second", { size: ["2"], name: ["n"], quiet: ["true"] })];
  const { values, sources } = resolveOptions(TABLE, layers);
  assert.deepEqual([values.size, values.name, values.quiet, values.wait], [1, "n", true, 1.5]);
  assert.deepEqual(sources, {
    port: "default",
    name: "second name",
    size: "first size",
    wait: "default",
    quiet: "second quiet",
  });
  assert.throws(() => resolveOptions(TABLE, [layer("the file", { size: ["x"] })]), /Cannot use the file size "x"/);
});

Deno.test("nearest() finds slips of the finger and nothing else", () => {
  const names = ["map-size", "max-files", "max-age", "iface"];
  assert.equal(nearest("map-sise", names), "map-size");
  assert.equal(nearest("mapsize", names), "map-size");
  assert.equal(nearest("ifcae", names), "iface");
  assert.equal(nearest("max-fil", names), "max-files");
  assert.equal(nearest("xyz", names), undefined);
  assert.equal(nearest("bandwidth", names), undefined);
});

Deno.test("commandHelp() names every option of every command, in at most 80 columns", () => {
  for (const command of COMMANDS) {
    const page = commandHelp(command, { width: 80, color: false });
    for (const name of Object.keys(command.options)) assert.ok(page.includes(`--${name}`), `${command.name} --${name}`);
    for (const line of page.split("\n")) assert.ok(line.length <= 80, line);
    assert.ok(command.summary.length <= 59, command.summary);
  }
});

const BLOCKED = "an endpoint's port that fetch() blocks is refused at once, and no other";
// Without the right to the network, so that nobody is asked: fetch() looks at the port first.
Deno.test({ name: BLOCKED, permissions: { net: false } }, async () => {
  const { options } = COMMANDS.find(({ name }) => name === "export s3")!;
  const refusal = (port: number): string | undefined => {
    const args = ["--bucket", "bucket", "--endpoint", `http://127.0.0.1:${port}`];
    try {
      resolveOptions(options, [readArguments(options, args).layer]);
      return undefined;
    } catch (error) {
      assert.ok(error instanceof IbsrError && error.kind === "usage");
      return error.message;
    }
  };
  assert.match(
    refusal(6000)!,
    /^Cannot use --endpoint "http:\/\/127\.0\.0\.1:6000": expected a port other than 6000: /,
  );
  for (let port = 1; port < 65536; port++) {
    const failure = await fetch(`http://127.0.0.1:${port}`).catch((error) => error);
    assert.equal(refusal(port) !== undefined, !(failure instanceof Deno.errors.NotCapable), `${port}: ${failure}`);
  }
});
