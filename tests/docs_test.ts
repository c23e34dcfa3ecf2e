/**
 * The documentation against the program: what it shows is run, what it names exists, what is generated is in step.
 *
 * In README.md, CONTRIBUTING.md, SECURITY.md and docs/*.md: a `console` block is a transcript (tests/transcript.ts), all
 * of a page in one folder, with scripts/ of the project in it; steps of root run in a namespace with an interface eth0.
 * Every line of any block and every piece of code that begins with `ibsr` must parse against the option tables.
 */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv";
import { listPages, renderPage } from "../scripts/docs.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { readArguments, resolveOptions } from "../src/cli/options.ts";
import { IbsrError } from "../src/errors.ts";
import schema from "../src/snapshot.schema.json" with { type: "json" };
import { Lab, run } from "./kernel/lab.ts";
import { Machine } from "./kernel/machine.ts";
import { exists, testWith } from "./needs.ts";
import { parseTranscript, prepareFolder, runSteps, type Step } from "./transcript.ts";

const ROOT = new URL("../", import.meta.url);
const pages = listPages().map((path) => ({ path, text: Deno.readTextFileSync(new URL(path, ROOT)) }));

/** The fenced blocks of a page, with their language. */
function blocksOf(text: string): { language: string; body: string }[] {
  return [...text.matchAll(/^( *)```(\w*)\n(.*?)^ *```$/gms)].map(([, indent, language, body]) => ({
    language: language!,
    body: body!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
}

// ------------------------------------------------------------------------------------------------- sessions

/** A network namespace with an interface eth0 and a default route, until it is disposed of. */
async function makeHost(): Promise<AsyncDisposable & { by: string[] }> {
  const lab = await Lab.create();
  const ip = (...args: string[]) => run("ip", ["-n", lab.server, ...args]);
  await ip("link", "set", "server", "down");
  await ip("link", "set", "server", "name", "eth0");
  await ip("link", "set", "eth0", "up");
  await ip("route", "add", "default", "dev", "eth0");
  return { by: ["ip", "netns", "exec", lab.server], [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose]() };
}

async function runPage(steps: readonly Step[], by: readonly string[]): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-docs-" });
  try {
    await prepareFolder(folder);
    await Deno.symlink(new URL("scripts", ROOT).pathname, `${folder}/scripts`);
    await Deno.writeTextFile(`${folder}/.config.jsonc`, "{}"); // not this host's
    await runSteps(steps, { folder, by, environment: { IBSR_CONFIG: `${folder}/.config.jsonc` } });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const { path, text } of pages) {
  const steps = blocksOf(text).filter(({ language }) => language === "console")
    .flatMap(({ body }) => parseTranscript(body));
  if (steps.length === 0) continue;
  const name = `the sessions of ${path} go as they are shown`;
  if (!steps.some((step) => step.root)) Deno.test(name, () => runPage(steps, []));
  else {
    testWith("kernel", name, async () => {
      await using host = await makeHost();
      await runPage(steps, host.by);
    });
  }
}

testWith("machine", "the collector of docs/deployment.md is a service by the commands that are shown", async () => {
  const page = pages.find(({ path }) => path === "docs/deployment.md")!;
  // The config file, the units of a bare executable, and the start.
  const shown = blocksOf(page.text).filter(({ language }) => language === "sh").slice(0, 3);
  await using machine = await Machine.boot();
  await machine.exec("ip", ["route", "add", "default", "dev", "v0"]);
  // From source the program can't tell its own path; `check` warns of the clock.
  const commands = shown.map(({ body }) => body).join("").replace(
    "ibsr systemd install",
    "$& --program /usr/local/bin/ibsr",
  )
    .replace(/^ibsr check$/m, "$& || [ $? = 1 ]").replace(/^ibsr status$/m, "sleep 1; $&");
  const { stdout } = await machine.exec("env", [
    "-i",
    "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "sh",
    "-ec",
    commands,
  ]);
  assert.match(stdout, /^\/etc\/ibsr\/ibsr\.jsonc: nothing is wrong$/m);
  assert.match(stdout, /^pass {2}interface v0 /m);
  assert.match(stdout, /^collector {2}running since /m);
  const { stdout: scored } = await machine.exec("systemd-analyze", ["security", "--no-pager", "ibsr.service"]);
  const [, score] = /Overall exposure level for ibsr\.service: ([\d.]+)/.exec(scored)!;
  assert.equal(/rates it ([\d.]+) of 10/.exec(page.text)?.[1], score);
  await machine.exec("systemctl", ["disable", "--now", "ibsr.service"]);
  await machine.exec("ibsr", ["systemd", "uninstall"]);
});

testWith(
  "machine",
  "the drop-in of docs/operations.md lets the service write metrics, and it takes one",
  async () => {
    const page = pages.find(({ path }) => path === "docs/operations.md")!;
    const [shown] = blocksOf(page.text).filter(({ language }) => language === "sh");
    const [, metrics] = /"metrics-textfile": "([^"]+)"/.exec(page.text)!;
    await using machine = await Machine.boot();
    // As the package prometheus-node-exporter leaves them.
    await machine.exec("groupadd", ["--force", "--system", "prometheus"]);
    await machine.exec("install", ["-d", metrics!.replace(/\/[^/]*$/, "")]);
    const collect = { iface: "v0", "dst-port": 443, "status-interval-sec": 1, "metrics-textfile": metrics };
    await machine.write("/etc/ibsr/ibsr.jsonc", JSON.stringify({ collect }));
    // The Debian package's unit knows nothing of the config file.
    await machine.exec("ibsr", ["systemd", "install", "--program", "/usr/local/bin/ibsr"]);
    await machine.exec("sed", ["-i", "/^ReadWritePaths=/d", "/etc/systemd/system/ibsr.service"]);
    await machine.exec("systemctl", ["daemon-reload"]);
    await machine.exec("systemctl", ["start", "ibsr.service"]);
    await machine.waitFor("a failure", async () => /Cannot write ".*ibsr\.prom"/.test(await machine.journal()));
    await machine.exec("sh", ["-ec", shown!.body]);
    const { stdout } = await machine.exec("cat", [metrics!]);
    assert.match(stdout, /^ibsr_up 1$/m);
    assert.match(stdout, /^ibsr_failing 0$/m);
    assert.equal((await machine.exec("stat", ["--format=%a", metrics!])).stdout.trim(), "644");
  },
);

// ------------------------------------------------------------------------------------------- command lines

/** A command line's words as a shell splits them, up to where another command begins. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  for (const [token] of line.matchAll(/(?:[^\s'"|;&<>()]|'[^']*'|"[^"]*"|\((?!\s)[^)]*\))+|[|;&<>()]/g)) {
    if (/^[|;&<>()]$/.test(token)) break;
    if (token.startsWith("#")) break;
    words.push(token.replaceAll(/['"]/g, ""));
  }
  return words;
}

/** All command lines of ibsr in a page: those of blocks may be run as they are, those in text may lack values. */
function commandLines(text: string): { line: string; whole: boolean }[] {
  const found: { line: string; whole: boolean }[] = [];
  const add = (code: string, whole: boolean) => {
    for (const part of code.split(/\||&&|;|\n/)) {
      const [, line] = /^\s*(?:[$#] )?(?:\(?[A-Z_]+=\S+ )*(?:busy |sudo )?(ibsr(?: .*)?)$/.exec(part) ?? [];
      if (line !== undefined) found.push({ line, whole });
    }
  };
  for (const { language, body } of blocksOf(text)) {
    if (language === "sh") add(body, true);
    if (language === "console") { for (const { command } of parseTranscript(body)) add(command, true); }
  }
  const prose = text.replaceAll(/^ *```.*?^ *```$/gms, "");
  for (const [, code] of prose.matchAll(/`([^`\n]+)`/g)) add(code!, false);
  return found;
}

/** What is wrong with a command line; undefined if nothing is. */
function checkLine(line: string, whole: boolean): string | undefined {
  const [, ...words] = splitWords(line.replaceAll(/…|\[[^\]]*\]/g, ""));
  if (words.length === 0 || /^(COMMAND|X|--help|--version|help)$/.test(words[0]!)) return undefined;
  const command = COMMANDS.find(({ name }) => name.split(" ").every((word, i) => words[i] === word));
  if (!command) {
    // "ibsr config" stands for both of its commands, in text.
    return !whole && words.length === 1 && COMMANDS.some(({ name }) => name.startsWith(`${words[0]} `))
      ? undefined
      : "no such command";
  }
  const rest = words.slice(command.name.split(" ").length);
  try {
    const { layer, operands } = readArguments(
      command.options,
      whole ? rest : rest.map((word) => word.replace(/,$/, "")),
    );
    if (operands.length > 0 && !command.operands) return `unexpected "${operands[0]}"`;
    if (whole) resolveOptions(command.options, [layer]);
    return undefined;
  } catch (error) {
    // In text an option may stand without its value.
    if (error instanceof IbsrError) return !whole && /needs a value/.test(error.message) ? undefined : error.message;
    throw error;
  }
}

Deno.test("every command line of ibsr in the documentation parses, and bad ones are seen", () => {
  const wrong = pages.flatMap(({ path, text }) =>
    commandLines(text).flatMap(({ line, whole }) => {
      const problem = checkLine(line, whole);
      return problem === undefined ? [] : [`${path}: ${line}: ${problem}`];
    })
  );
  assert.deepEqual(wrong, []);
  assert.ok(pages.flatMap(({ text }) => commandLines(text)).length > 60);
  assert.match(checkLine("ibsr colect -p 443", true)!, /no such command/);
  assert.match(checkLine("ibsr collect --dst-prot 443", true)!, /not an option/);
  assert.match(checkLine("ibsr collect -p 443 --map-size 5", true)!, /whole number/);
  assert.match(checkLine("ibsr collect --map-sise", false)!, /not an option/);
  assert.deepEqual(commandLines("```sh\nibsr check && ibsr status | head\n```\n"), [
    { line: "ibsr check ", whole: true },
    { line: "ibsr status ", whole: true },
  ]);
});

Deno.test("every option that the documentation names exists", () => {
  const known = new Set(COMMANDS.flatMap(({ options }) => Object.keys(options)));
  const wrong = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/`--([a-z][a-z0-9-]*)/g)].filter(([, name]) => !known.has(name!) && name !== "help")
      .map(([, name]) => `${path}: --${name}`)
  );
  assert.deepEqual(wrong, []);
});

Deno.test("every command is documented with all of its options", () => {
  const page = pages.find(({ path }) => path === "docs/configuration.md")!.text;
  for (const { name, options } of COMMANDS) {
    const from = page.indexOf(`\n### ibsr ${name}\n`);
    assert.ok(from > 0, name);
    const section = page.slice(from, page.indexOf("\n### ", from + 1) + 1 || undefined);
    for (const option of Object.keys(options).filter((o) => !["log-format", "verbose", "help"].includes(o))) {
      assert.ok(section.includes(`\`--${option}\``), `${name} --${option}`);
    }
  }
});

// ---------------------------------------------------------------------------------------- links, generated parts

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(/\s/g, "-");
}

function isThere(path: string): boolean {
  return exists(new URL(path, ROOT).pathname);
}

Deno.test("every link leads to a file and a heading that are there, and every page is linked from the README", () => {
  const wrong: string[] = [], linked = new Set<string>(["README.md"]);
  for (const { path, text } of pages) {
    const prose = text.replaceAll(/^ *```.*?^ *```$/gms, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [file = "", anchor] = target!.split("#");
      const at = file === "" ? path : new URL(file, new URL(path, "file:///")).pathname.slice(1);
      if (path === "README.md") linked.add(at);
      if (!isThere(at)) {
        wrong.push(`${path}: ${target}`);
        continue;
      }
      if (anchor === undefined) continue;
      const headings = [...Deno.readTextFileSync(new URL(at, ROOT)).matchAll(/^#+ (.*)$/gm)].map(([, h]) =>
        anchorOf(h!)
      );
      if (!headings.includes(anchor)) wrong.push(`${path}: ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(pages.map(({ path }) => path).filter((path) => !linked.has(path)), []);
});

Deno.test("every file that the documentation names in code is there", () => {
  const wrong = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/`((?:src|scripts|tests|bpf)\/[\w./-]+)`/g)].filter(([, file]) => !isThere(file!))
      .map(([, file]) => `${path}: ${file}`)
  );
  assert.deepEqual(wrong, []);
});

/** What the rows of docs/architecture.md name in their first column: files and folders, as paths. */
function listDrawn(text: string): string[] {
  let folder = "src/";
  return text.split("\n").flatMap((line) => {
    const [, cell] = /^\| (.*?) +\|/.exec(line) ?? [], [, inside] = /^in `(\w+\/)`$/.exec(cell ?? "") ?? [];
    if (cell === "where") folder = "src/";
    else if (inside !== undefined) folder = `src/${inside}`;
    else {return [...(cell ?? "").matchAll(/`([\w./]+)`/g)].map(([, name]) =>
        /^(main\.ts|mod\.ts|bpf\/|scripts\/|tests\/)$/.test(name!) ? name! : folder + name
      );}
    return [];
  });
}

Deno.test("docs/architecture.md names every module and folder once, and none that isn't there", () => {
  const list = (folder: string): string[] =>
    [...Deno.readDirSync(new URL(folder, ROOT))].filter(({ name }) => !name.endsWith(".d.ts")).flatMap((entry) =>
      entry.isDirectory ? `${folder}${entry.name}/` : entry.name.endsWith(".ts") ? folder + entry.name : []
    );
  const drawn = listDrawn(pages.find(({ path }) => path === "docs/architecture.md")!.text);
  const top = list("src/"), folders = top.filter((path) => path.endsWith("/"));
  const there = ["main.ts", "mod.ts", "bpf/", "scripts/", "tests/", ...top, ...folders.flatMap(list)];
  assert.deepEqual(drawn.toSorted(), there.toSorted());
});

Deno.test("every task says what it is for, and every script that can be run is in one or has a command of its own", () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT))) as {
    tasks: Record<string, { description: string; command: string }>;
  };
  for (const [name, { description }] of Object.entries(tasks)) assert.ok(description, `deno task ${name}`);
  const scripts = [...Deno.readDirSync(new URL("scripts", ROOT))].filter(({ isFile }) => isFile).map(({ name }) =>
    name
  );
  const read = (name: string) => Deno.readTextFileSync(new URL(`scripts/${name}`, ROOT));
  const commands = [
    ...Object.values(tasks).map(({ command }) => command),
    ...scripts.filter((name) => !name.endsWith(".ts")).map(read),
  ].join("\n");
  const imported = scripts.filter((name) => name.endsWith(".ts")).map(read).join("\n");
  const alone = scripts.filter((name) =>
    name.endsWith(".ts") && !commands.includes(`scripts/${name}`) && !imported.includes(`"./${name}"`)
  );
  assert.deepEqual(alone, []);
});

Deno.test("the generated parts of the documentation are what `deno task docs` writes", async () => {
  for (const { path, text } of pages) {
    if (text.includes("<!-- generated:")) assert.equal(text, await renderPage(text), `${path}: deno task docs`);
  }
});

Deno.test("the sample's snapshots are of version 8, by the schema, and the same at every run", async () => {
  const validate = new Ajv2020({ strict: false }).compile(schema);
  const folders = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    for (const folder of folders) await run(new URL("scripts/sample", ROOT).pathname, [folder]);
    const [first, second] = folders as [string, string];
    const names = [...Deno.readDirSync(first)].map(({ name }) => name).sort();
    assert.equal(names.length, 168);
    for (const name of names) {
      const text = Deno.readTextFileSync(`${first}/${name}`);
      assert.equal(text, Deno.readTextFileSync(`${second}/${name}`));
      const line = text.slice(0, text.indexOf("\n"));
      assert.ok(validate(JSON.parse(line)), JSON.stringify(validate.errors));
    }
  } finally {
    for (const folder of folders) await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the README's picture is a PNG of less than 300 kB", () => {
  const picture = Deno.readFileSync(new URL("docs/report.png", ROOT));
  assert.deepEqual([...picture.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
  assert.ok(picture.length < 300_000);
});
