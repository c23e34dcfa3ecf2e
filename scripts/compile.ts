/**
 * `deno task compile`: makes the executable and what is published with it, in dist/.
 *
 *     deno task compile [--target x86_64|aarch64] [--kind auto|compile|embed] [--out FOLDER] [--executable-only]
 *
 * `compile` is `deno compile`, and the way to make releases. `embed` puts the same bundle into Deno's own binary,
 * for where the runtime base that `deno compile` needs is out of reach. `auto` tries the first, and says so if it
 * has to do the second. The same commit, Deno and clang give the same bytes.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import project from "../deno.json" with { type: "json" };
import { type Bundle, makeBundle } from "./compile/bundle.ts";
import { describePackage, listParts } from "./compile/contents.ts";
import { buildDeb } from "./compile/deb.ts";
import { type Machine, MACHINES } from "./compile/elf.ts";
import {
  compileBundle,
  embedBundle,
  findCompileObstacle,
  findRuntime,
  type Kind,
  type Runtime,
  tryExecutable,
} from "./compile/executable.ts";
import { runCommand, runDeno } from "./run.ts";
import { type Materials, sha256, writeBill } from "./compile/sbom.ts";

const root = `${resolve(import.meta.dirname!, "..")}/`;

/** What to make. */
interface Order {
  machine: Machine;
  kind: Kind | "auto";
  /** Folder for the results. */
  out: string;
  /** A Deno of another version or place than the one that is running this; for trials. */
  runtime: Runtime | undefined;
  /** Leave out what is published with it. */
  executableOnly: boolean;
}

function readOrder(args: string[]): Order {
  const { values } = parseArgs({
    args,
    options: {
      target: { type: "string", default: Deno.build.arch },
      kind: { type: "string", default: "auto" },
      out: { type: "string", default: `${root}dist` },
      runtime: { type: "string" },
      "executable-only": { type: "boolean", default: false },
    },
  });
  const machine = Object.values(MACHINES).find((m) => m.name === values.target);
  if (!machine) throw new Error(`Cannot make an executable for "${values.target}": --target x86_64 or aarch64`);
  const kind = (["auto", "compile", "embed"] as const).find((k) => k === values.kind);
  if (!kind) throw new Error(`Cannot make "${values.kind}": --kind auto, compile or embed`);
  const out = resolve(values.out);
  const runtime = values.runtime === undefined
    ? undefined
    : { path: resolve(values.runtime), version: "of unknown version" };
  return { machine, kind, out, runtime, executableOnly: values["executable-only"] };
}

/** Makes the executable at `path`; returns how, and of which Deno. */
async function makeExecutable(
  order: Order,
  script: string,
  path: string,
): Promise<{ kind: Kind; deno: string }> {
  if (order.kind !== "embed") {
    try {
      await compileBundle(script, path, order.machine);
      return { kind: "compile", deno: Deno.version.deno };
    } catch (error) {
      if (order.kind === "compile") throw error;
      const obstacle = await findCompileObstacle(script.slice(0, script.lastIndexOf("/")), order.machine);
      if (obstacle === undefined) throw error;
      console.error(
        `deno compile can't be used here (${obstacle}): the program goes into Deno's own binary, which runs it the same`,
      );
    }
  }
  const runtime = order.runtime ?? await findRuntime(order.machine, root);
  if (order.runtime) console.error(`embedding into ${runtime.path}, a Deno ${runtime.version}: not for release`);
  await embedBundle(script, path, runtime, order.machine);
  return { kind: "embed", deno: runtime.version };
}

/** Writes what is published with the executable at `path`, and the sums of all of it. */
async function publish(path: string, order: Order, made: { kind: Kind; deno: string; bundle: Bundle }): Promise<void> {
  const { version } = project, { out, machine } = order, epoch = await findEpoch();
  const objects: Materials["objects"] = {};
  for (const name of ["bpf/ibsr.o", "bpf/ibsr_frags.o"]) objects[name] = await Deno.readFile(root + name);
  const executable = await Deno.readFile(path), { packages } = made.bundle;
  const bill = await writeBill({ ...made, version, machine, executable, packages, objects, epoch });
  await Deno.writeTextFile(`${path}.cdx.json`, bill);
  await Deno.writeTextFile(`${out}/ibsr-${version}.js`, made.bundle.listing); // to look lines of stack traces up
  const parts = listParts(version);
  for (const { name, text } of parts) await Deno.writeTextFile(`${out}/${name}`, text);
  const pack = await describePackage(path, { machine, version, epoch });
  await buildDeb(pack, `${out}/ibsr_${version}_${pack.control.Architecture}.deb`);

  const names: string[] = [];
  for await (const { name } of Deno.readDir(out)) {
    if (name.includes(version) || parts.some((p) => p.name === name)) names.push(name);
  }
  const sums = await Promise.all(
    names.sort().map(async (name) => {
      return `${await sha256(await Deno.readFile(`${out}/${name}`))}  ${name}\n`;
    }),
  );
  await Deno.writeTextFile(`${out}/SHA256SUMS`, sums.join(""));
}

/** The date of everything, in seconds since 1970: SOURCE_DATE_EPOCH, or the commit's. */
async function findEpoch(): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  if (given !== undefined) return Number(given);
  try {
    return Number(await runCommand("git", ["-C", root, "log", "-1", "--format=%ct"]));
  } catch {
    return 0; // a tree without its history
  }
}

async function main(): Promise<void> {
  const order = readOrder(Deno.args), { version } = project;
  await runDeno(["check", "--quiet", "main.ts"], { cwd: root });
  await runCommand(`${root}scripts/bpf`, []);

  const folder = await Deno.makeTempDir({ prefix: "ibsr-compile-" });
  try {
    await Deno.mkdir(order.out, { recursive: true });
    const name = `ibsr-${version}-linux-${order.machine.name}`, path = `${order.out}/${name}`;
    const bundle = await makeBundle(root, folder);
    const { kind, deno } = await makeExecutable(order, bundle.path, path);
    const said = await tryExecutable(path, order.machine, version);
    const { size } = await Deno.stat(path);
    console.error(`${path}: ${(size / 1e6).toFixed(1)} MB, ${kind === "compile" ? "deno compile" : "embedded"}`);
    console.error(said?.replaceAll(/^/gm, "  ").trimEnd() ?? "  not started: there is no qemu for it here");
    if (order.machine.name === Deno.build.arch) {
      await Deno.remove(`${order.out}/ibsr`).catch(() => {});
      await Deno.link(path, `${order.out}/ibsr`);
    }
    if (!order.executableOnly) await publish(path, order, { kind, deno, bundle });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

await main();
