/**
 * From a bundle to an executable: by `deno compile`, or into Deno's own binary where that can't be done.
 *
 * `deno compile` needs Deno's runtime base, which it downloads. Whether it is to be had is found out by asking for
 * the compilation of an empty script, not by reading messages: if even that fails, it is not the bundle's fault.
 */
import { Elf, type Machine } from "./elf.ts";
import { embed, machineOf } from "./embed.ts";
import { ADDED, HIDDEN, KEPT, PERMISSIONS, RUN, V8_FLAGS } from "./permissions.ts";
import { runCommand, runDeno } from "../run.ts";

/** How an executable is made: `compile` by `deno compile`, `embed` into Deno's own binary. */
export type Kind = "compile" | "embed";

/** A Deno to embed into. */
export interface Runtime {
  path: string;
  version: string;
}

/** Makes `out` of a bundle with `deno compile`. */
export async function compileBundle(bundle: string, out: string, machine: Machine): Promise<void> {
  // The names of files and their dates are in the result; that of the folder is not, seen from within.
  const at = bundle.lastIndexOf("/"), folder = bundle.slice(0, at);
  await Deno.utime(bundle, 0, 0);
  await runDeno([
    ...["compile", "--quiet", "--no-check", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--no-prompt"],
    // A compiled program would otherwise keep a cache at a path in /tmp that anyone can guess.
    "--no-code-cache",
    ...[`--target=${machine.name}-unknown-linux-gnu`, V8_FLAGS, ...PERMISSIONS, "-o", "ibsr", bundle.slice(at + 1)],
  ], { cwd: folder });
  await runCommand("mv", ["-f", `${folder}/ibsr`, out]);
}

/** Why `deno compile` can compile nothing here; undefined if it can. */
export async function findCompileObstacle(folder: string, machine: Machine): Promise<string | undefined> {
  await Deno.writeTextFile(`${folder}/empty.js`, "");
  try {
    await compileBundle(`${folder}/empty.js`, `${folder}/empty`, machine);
    return undefined;
  } catch (error) {
    // Rust's chain of causes, the first cause last.
    const causes = /Caused by:\n((?: +\S.*\n)+)/.exec((error as Error).message)?.[1]?.trim().split("\n") ?? [];
    return causes.at(-1)?.trim().replace(/^\d+: /, "") ?? "not even an empty script can be compiled";
  }
}

/** Makes `out` of a bundle and a Deno. */
export async function embedBundle(bundle: string, out: string, runtime: Runtime, machine: Machine): Promise<void> {
  const bytes = await Deno.readFile(runtime.path);
  const found = machineOf(new Elf(bytes));
  if (found !== machine) throw new Error(`Cannot embed: ${runtime.path} is for ${found.name}, not ${machine.name}`);
  const file = await embed({
    runtime: bytes,
    bundle: await Deno.readFile(bundle),
    arguments: [...RUN, V8_FLAGS, ...PERMISSIONS],
    kept: KEPT,
    hidden: HIDDEN,
    added: ADDED,
    thorough: "collect",
  });
  // A new file under the old name: the old one may be running.
  await Deno.writeFile(`${out}.new`, file, { mode: 0o755 });
  await Deno.chmod(`${out}.new`, 0o755);
  await Deno.rename(`${out}.new`, out);
}

/** The Deno of `machine`, of the same version as this one: this one, or npm's package, fetched once. */
export async function findRuntime(machine: Machine, root: string): Promise<Runtime> {
  const { deno: version } = Deno.version;
  if (machine.name === Deno.build.arch) return { path: Deno.execPath(), version };
  const name = `@deno/linux-${machine.name === "aarch64" ? "arm64" : "x64"}-glibc`;
  const prefix = `${root}.tools/${machine.name}`, home = `${prefix}/node_modules/${name}`;
  const found = await Deno.readTextFile(`${home}/package.json`).then((text) => JSON.parse(text).version, () => "none");
  if (found !== version) {
    await Deno.mkdir(prefix, { recursive: true });
    // --force: the package is for another machine than this one, which is the point.
    await runCommand("npm", [
      ...["install", "--force", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", prefix],
      `${name}@${version}`,
    ]);
  }
  return { path: `${home}/deno`, version };
}

/**
 * Starts the executable: it must say its version, and how it was made. For another machine it takes qemu.
 *
 * @returns What it said of itself; undefined if it can't be started here.
 */
export async function tryExecutable(path: string, machine: Machine, version: string): Promise<string | undefined> {
  let start: [string, string[]] = [path, []];
  if (machine.name !== Deno.build.arch) {
    start = [`qemu-${machine.name}-static`, ["-L", `/usr/${machine.name}-linux-gnu`, path]];
    try {
      await runCommand(start[0], ["--version"]);
    } catch {
      return undefined;
    }
  }
  const [command, args] = start, said = await runCommand(command, [...args, "version"]);
  if (!said.startsWith(`ibsr ${version}\n`)) throw new Error(`Cannot use ${path}: it says ${JSON.stringify(said)}`);
  return said;
}
