/**
 * The layers of options: arguments, environment, config file, defaults; and what a wrong config file is told.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { COLLECT_OPTIONS } from "../src/cli/tables/collect.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { CONFIG_PATH, environmentLayer, parseConfig, resolveCommand, variableOf } from "../src/cli/layers.ts";
import { readArguments, resolveOptions, sizeKind } from "../src/cli/options.ts";
import { IbsrError } from "../src/errors.ts";
import { ibsrCommand } from "./kernel/lab.ts";

/** The values of `ibsr collect` with a config file of that text. */
function resolve(
  { args = [], environment = {}, file, command = "collect" }: {
    args?: string[];
    environment?: Record<string, string>;
    file?: string;
    command?: string;
  },
) {
  const { name, options } = COMMANDS.find((c) => c.name === command)!;
  const path = Deno.makeTempFileSync();
  try {
    const { layer } = readArguments(options, file === undefined ? args : [...args, "--config", path]);
    if (file !== undefined) Deno.writeTextFileSync(path, file);
    const { values, sources } = resolveCommand({ name, options }, layer, { commands: COMMANDS, environment });
    return { values: values as Record<string, unknown>, sources, path };
  } finally {
    Deno.removeSync(path);
  }
}

/** The error of a config file; `at` is its line and column. */
function errorOf(text: string): { at: string; message: string; hint: string | undefined } {
  try {
    parseConfig(text, { path: "f", commands: COMMANDS });
  } catch (error) {
    assert.ok(error instanceof IbsrError && error.kind === "usage", String(error));
    const match = /^Cannot use the config file: f:(\d+:\d+): (.*)$/s.exec(error.message);
    assert.ok(match, error.message);
    return { at: match[1]!, message: match[2]!, hint: error.hint };
  }
  assert.fail("nothing was wrong");
}

Deno.test("an option comes from the arguments, else the environment, else the file, else its default", () => {
  const file = '{ "map-size": 4000, "snapshot-interval-sec": 4, "max-files": 4, "out-dir": "/4" }';
  const environment = { IBSR_MAP_SIZE: "3000", IBSR_SNAPSHOT_INTERVAL_SEC: "3", IBSR_MAX_FILES: "3" };
  const args = ["--map-size", "2000", "--snapshot-interval-sec", "2"];
  const { values, sources, path } = resolve({ args, environment, file });
  assert.equal(values["map-size"], 2000);
  assert.equal(sources["map-size"], "--map-size");
  assert.equal(values["snapshot-interval-sec"], 2);
  assert.equal(values["max-files"], 3);
  assert.equal(sources["max-files"], "IBSR_MAX_FILES");
  assert.equal(values["out-dir"], "/4");
  assert.equal(sources["out-dir"], `${path}:1:76 "out-dir"`);
  assert.equal(values["status-interval-sec"], 60);
  assert.equal(sources["status-interval-sec"], "default");
});

Deno.test("a command's own section comes before what is shared, and a command takes only options that it has", () => {
  const file = `{
    // for all
    "out-dir": "/shared", "dst-port": [80, "8000-8001"],
    "collect": { "out-dir": "/collect" }, /* and only there */
  }`;
  assert.equal(resolve({ file }).values["out-dir"], "/collect");
  assert.deepEqual(resolve({ file }).values["dst-port"], [[80], [8000, 8001]]);
  const status = resolve({ file, command: "status" }).values;
  assert.equal(status["out-dir"], "/shared");
  assert.ok(!("dst-port" in status));
});

Deno.test("options that answer one question come from one layer: -p puts aside all-ports of the file", () => {
  const file = '{ "all-ports": true, "dst-ports": "1-10" }';
  const { values } = resolve({ args: ["-p", "443"], file });
  assert.deepEqual([values["dst-port"], values["dst-ports"], values["all-ports"]], [[[443]], [], false]);
  const fromFile = resolve({ file }).values;
  assert.equal(fromFile["all-ports"], true);
});

Deno.test("a list in the environment is separated by commas, and every option has its variable", () => {
  const layer = environmentLayer(COLLECT_OPTIONS, {
    IBSR_IFACE: "eth0, eth1",
    IBSR_DST_PORT: "80,443",
    IBSR_HELP: "true",
  });
  const { values } = resolveOptions(COLLECT_OPTIONS, [layer]);
  assert.deepEqual(values.iface, ["eth0", "eth1"]);
  assert.deepEqual(values["dst-port"], [[80], [443]]);
  assert.equal(values.help, false, "help is an argument only");
  assert.equal(variableOf("snapshot-interval-sec"), "IBSR_SNAPSHOT_INTERVAL_SEC");
});

Deno.test("a wrong value is told with the place it came from, whichever that is", () => {
  const wrong = (options: Parameters<typeof resolve>[0]) => {
    try {
      resolve(options);
    } catch (error) {
      return (error as Error).message.replace(/\/tmp\/[^:]*/, "FILE");
    }
    assert.fail("nothing was wrong");
  };
  const expected = "expected a whole number from 1000 to 4000000";
  assert.equal(wrong({ args: ["--map-size", "7"] }), `Cannot use --map-size "7": ${expected}`);
  assert.equal(wrong({ environment: { IBSR_MAP_SIZE: "7" } }), `Cannot use IBSR_MAP_SIZE "7": ${expected}`);
  assert.equal(wrong({ file: '{\n  "map-size": 7\n}' }), `Cannot use FILE:2:15 "map-size" "7": ${expected}`);
});

Deno.test("an unknown key is an error with line, column and the nearest known key", () => {
  assert.deepEqual(errorOf('{\n  // ports\n  "dst-prot": 443\n}'), {
    at: "3:3",
    message: '"dst-prot" is no option and no command',
    hint: 'did you mean "dst-port"?',
  });
  assert.deepEqual(errorOf('{ "collect": { "max-file": 1 } }'), {
    at: "1:16",
    message: '"max-file" is no option of ibsr collect',
    hint: 'did you mean "max-files"?',
  });
  assert.equal(errorOf('{ "colect": {} }').hint, 'did you mean "collect"?');
  for (const key of ["help", "config", "toString", "__proto__", "constructor", "to"]) {
    assert.equal(errorOf(`{ "${key}": "x" }`).at, "1:3", key);
  }
  assert.equal(errorOf('{ "status": { "dst-port": 1 } }').at, "1:15", "an option of another command");
});

Deno.test("a value of another type is an error with the value's line and column", () => {
  assert.deepEqual(errorOf('{ "map-size":\n     "5000" }'), {
    at: "2:6",
    message: '"map-size" is "5000", not a number',
    hint: undefined,
  });
  assert.equal(errorOf('{"all-ports": 1}').message, '"all-ports" is 1, not true or false');
  assert.equal(errorOf('{"out-dir": null}').message, '"out-dir" is null, not a text');
  assert.equal(errorOf('{"out-dir": ["/a"]}').message, '"out-dir" is a list, not a text');
  assert.equal(errorOf('{"iface": ["a", 1]}').message, '"iface" is a list, not a text, or a list of such');
  assert.equal(
    errorOf('{"dst-port": {}}').message,
    '"dst-port" is an object, not a text or a number, or a list of such',
  );
  assert.equal(errorOf('{"collect": 1}').message, '"collect" is 1, not an object of its options');
  assert.equal(errorOf("[]").message, 'it is not an object: { "dst-port": 443 }');
});

Deno.test("a key that is there twice is an error at the second place, also by another spelling and in a section", () => {
  assert.equal(errorOf('{ "iface": "a",\n "iface": "b" }').at, "2:2");
  assert.equal(errorOf('{ "iface": "a", "if\\u0061ce": "b" }').at, "1:17");
  assert.equal(errorOf('{ "collect": { "user": "a", "user": "b" } }').at, "1:29");
  parseConfig('{ "user": "a", "collect": { "user": "b" } }', { path: "f", commands: COMMANDS });
});

Deno.test("a text that is no JSONC is an error at its place", () => {
  assert.equal(errorOf('{\n  "iface": nul\n}').at, "2:12");
  assert.equal(errorOf('{ "iface": "a" "user": "b" }').at, "1:16");
  assert.equal(errorOf('{ "iface": "a"').at, "1:15");
  assert.equal(errorOf("").at, "1:1");
});

Deno.test("places are right after comments, brackets in texts, lists and objects before", () => {
  const text =
    '\ufeff{ /* "x": 1 */ "iface": ["}", "a\\"]{"], // "y": {\n "user": "b", "collect": {"user": "é", "bad": 1} }';
  assert.equal(errorOf(text).at, "2:40");
});

Deno.test("a config file that was named must exist, the usual one need not", () => {
  const args = (config: string[]) => readArguments(COLLECT_OPTIONS, config).layer;
  const command = { name: "collect", options: COLLECT_OPTIONS };
  const context = { commands: COMMANDS, environment: {} };
  assert.throws(
    () => resolveCommand(command, args(["--config", "/nonexistent"]), context),
    /Cannot read the config file: No such file/,
  );
  assert.throws(
    () => resolveCommand(command, args([]), { ...context, environment: { IBSR_CONFIG: "/nonexistent" } }),
    /Cannot read the config file: No such file/,
  );
});

Deno.test("a command without --config reads neither environment nor file", () => {
  const { name, options } = COMMANDS.find((c) => c.name === "convert")!;
  const { layer } = readArguments(options, []), environment = { IBSR_OUT: "/x", IBSR_CONFIG: "/nonexistent" };
  const { values, sources } = resolveCommand({ name, options }, layer, { commands: COMMANDS, environment });
  assert.deepEqual([(values as Record<string, unknown>).out, sources.out], [undefined, "default"]);
});

Deno.test("sizes are bytes, with K, M, G and T as powers of 1024", () => {
  const { parse } = sizeKind(1000);
  assert.deepEqual(parse("1000"), { value: 1000 });
  assert.deepEqual(parse("20G"), { value: 20 * 2 ** 30 });
  for (const text of ["", "999", "1k", "1.5G", "-1", "9999999999999", "999999999999T"]) {
    assert.ok("expected" in parse(text), text);
  }
});

/** Runs ibsr from source with an environment of its own. */
async function ibsr(args: string[], env: Record<string, string> = {}) {
  const [command, all] = ibsrCommand(args);
  // Without the variables that steer the tests: they are no options of ibsr's.
  const inherited = Object.entries(Deno.env.toObject()).filter(([name]) => !name.startsWith("IBSR_"));
  const output = await new Deno.Command(command, {
    args: all,
    clearEnv: true,
    env: { ...Object.fromEntries(inherited), ...env },
  }).output();
  const decoder = new TextDecoder();
  return { code: output.code, stdout: decoder.decode(output.stdout), stderr: decoder.decode(output.stderr) };
}

Deno.test("ibsr config check says what is wrong and exits with 64, or that nothing is", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{ "dst-port": [443],\n  "max-age": -1 }');
  const wrong = await ibsr(["config", "check", "--config", path]);
  assert.deepEqual([wrong.code, wrong.stdout], [64, ""]);
  assert.match(wrong.stderr, /Cannot use .*:2:14 "max-age" "-1": expected a whole number/);
  await Deno.writeTextFile(path, '{ "dst-port": [443] }');
  const right = await ibsr(["config", "check"], { IBSR_CONFIG: path });
  assert.deepEqual([right.code, right.stdout, right.stderr], [0, `${path}: nothing is wrong\n`, ""]);
  if (!existsSync(CONFIG_PATH)) {
    const none = await ibsr(["config", "check"]);
    assert.deepEqual([none.code, none.stdout], [0, `${CONFIG_PATH} is not there: the options' defaults hold\n`]);
  }
  const report = await ibsr(["config", "show", "report"]);
  assert.match(report.stderr, /Cannot show the options of "report": it doesn't read the config file\n.*collect, check/);
  assert.match((await ibsr(["config", "show", "reprot"])).stderr, /"reprot": there is no such command/);
  const stray = await ibsr(["config", "check", "--config", path], { IBSR_MAX_FILE: "1" });
  assert.equal(stray.code, 64);
  assert.match(stray.stderr, /Cannot use IBSR_MAX_FILE .*\n.*did you mean IBSR_MAX_FILES\?/);
  await Deno.remove(path);
});

Deno.test("ibsr config show has each option with its value and where that comes from", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{ "dst-port": [443, 80] }');
  const { code, stdout, stderr } = await ibsr(["config", "show", "--config", path, "--json"], { IBSR_MAX_AGE: "60" });
  assert.deepEqual([code, stderr], [0, ""]);
  const rows = new Map((JSON.parse(stdout) as { option: string }[]).map((row) => [row.option, row]));
  assert.deepEqual(rows.get("dst-port"), {
    option: "dst-port",
    value: [443, 80],
    from: `${path}:1:15 "dst-port"`,
    live: true,
  });
  assert.deepEqual(rows.get("max-age"), { option: "max-age", value: 60, from: "IBSR_MAX_AGE", live: true });
  assert.deepEqual(rows.get("user"), { option: "user", from: "default", live: false });
  assert.equal(rows.size, Object.keys(COLLECT_OPTIONS).length - 2, "all but help and config");
  const text = (await ibsr(["config", "show", "--config", path])).stdout;
  assert.match(text, /^dst-port +443,80 +\S+:1:15 "dst-port"$/m);
  await Deno.remove(path);
});

Deno.test("ibsr check and ibsr status look at what the section of collect says", async () => {
  const path = await Deno.makeTempFile();
  const sections = { collect: { "dst-port": [8443], iface: ["eth7"], "out-dir": "/a" }, check: { "out-dir": "/b" } };
  await Deno.writeTextFile(path, JSON.stringify({ "out-dir": "/c", "map-size": 5000, ...sections }));
  const show = async (command: string) => {
    const { stdout } = await ibsr(["config", "show", command, "--config", path, "--json"]);
    const rows = JSON.parse(stdout) as { option: string; value: unknown }[];
    return Object.fromEntries(rows.map(({ option, value }) => [option, value]));
  };
  const check = await show("check");
  assert.deepEqual([check["dst-port"], check.iface, check["map-size"], check["out-dir"]], [
    [8443],
    ["eth7"],
    5000,
    "/b",
  ]);
  assert.equal((await show("status"))["out-dir"], "/a");
  assert.equal((await show("export s3"))["input"], undefined);
  await Deno.remove(path);
});

Deno.test("the example config file of the package is right, with what is commented out in it too", async () => {
  const text = await Deno.readTextFile(new URL("../scripts/package/ibsr.jsonc", import.meta.url));
  const whole = text.replaceAll(/^ *\/\/ (".*)$/gm, "$1");
  assert.notEqual(whole, text);
  for (const each of [text, whole]) {
    const { sections } = parseConfig(each, { path: "ibsr.jsonc", commands: COMMANDS });
    assert.equal(sections.has("export s3"), each === whole);
    assert.equal(sections.get("collect")!.has("iface"), each === whole);
  }
});
