/**
 * One JavaScript text of the whole program: modules, BPF objects, JSON and texts.
 *
 * The text is the same wherever the project lies: where the bundler says which file something comes from, it says
 * `src/…` or `npm/NAME/VERSION/…`. That also tells which packages are in it. It is not minified and has no source
 * map: names in a stack trace are the source's, and a map in it would double the time of a start.
 */
import { resolve } from "node:path";
import { joinChunks } from "./chunks.ts";
import { HIDDEN } from "./permissions.ts";
import { runDeno } from "../run.ts";

/** A bundle, and what other people's packages it has. */
export interface Bundle {
  /** Of the script. */
  path: string;
  /** The code as it runs, to look up lines of stack traces. */
  listing: string;
  /** Bytes of code that every start compiles. */
  startBytes: number;
  packages: BundledPackage[];
}

/** A package of npm. */
export interface BundledPackage {
  name: string;
  version: string;
  /** Its SPDX name, as the package says. */
  license: string | undefined;
  /** In hexadecimal, as the lock file has it. */
  sha512: string | undefined;
}

/** Modules that threads are started with, by `import.meta.resolve()`. */
const THREADS = ["src/evidence/file_thread.ts", "src/report/observe_thread.ts"];
/** Where the bundler says that something comes from outside the project: in a comment, or as a module's key. */
const ORIGIN = /^(\s*(?:\/\/ |"))((?:\.\.\/)+.+?)("\(|$)/gm;
/** A file of a package in Deno's cache: …/npm/REGISTRY/NAME/VERSION/FILE */
const CACHED = /^(.*\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/([^/]+))\/(.+)$/;

/**
 * Bundles `main.ts` of the project at `root`.
 *
 * @param folder For the bundle, `ibsr.js`.
 * @param threads Modules that it starts threads with.
 */
export async function makeBundle(root: string, folder: string, threads: readonly string[] = THREADS): Promise<Bundle> {
  const path = `${folder}/ibsr.js`, parts = `${folder}/chunks`, homes = new Map<string, string>();
  const bundling = ["bundle", "--quiet", "--platform=deno", "--code-splitting", "--outdir", parts];
  await runDeno([...bundling, "main.ts", ...threads], { cwd: root });
  const chunks = new Map<string, string>();
  const files = [...Deno.readDirSync(parts)].filter(({ isFile }) => isFile).map(({ name }) => name);
  for (const file of [...files, ...threads.map((thread) => thread.replace(/\.ts$/, ".js"))]) {
    const name = file.slice(file.lastIndexOf("/") + 1);
    const text = (await Deno.readTextFile(`${parts}/${file}`))
      .replaceAll(/^(import (?:\{[^{}]*\} from )?")(?:\.\.\/)+/gm, "$1./")
      .replaceAll(ORIGIN, (_, before: string, origin: string, after: string) => {
        const cached = CACHED.exec(resolve(root, origin));
        if (!cached) throw new Error(`Cannot bundle: ${origin} is neither the project's nor a package's`);
        const [, home, name, version, file] = cached;
        homes.set(`${name}@${version}`, home!);
        return `${before}npm/${name}/${version}/${file}${after}`;
      });
    chunks.set(name.replace(/\.js$/, ""), adaptRuntime(text));
  }
  const { text, listing, startBytes } = joinChunks(chunks, "main", PRELUDE);
  for (const place of [root, folder]) {
    if ((text + listing).includes(place)) throw new Error(`Cannot bundle: ${place} is in the bundle`);
  }
  await Deno.writeTextFile(path, text);

  const lock = JSON.parse(await Deno.readTextFile(`${root}deno.lock`)), packages: BundledPackage[] = [];
  for (const [key, home] of [...homes].sort(([a], [b]) => a < b ? -1 : 1)) {
    const { name, version, license } = JSON.parse(await Deno.readTextFile(`${home}/package.json`));
    const integrity: string | undefined = lock.npm?.[key]?.integrity;
    const sha512 = integrity?.startsWith("sha512-") ? Uint8Array.fromBase64(integrity.slice(7)).toHex() : undefined;
    packages.push({ name, version, license, sha512 });
  }
  return { path, listing, startBytes, packages };
}

/** The first lines of the bundle. */
const PRELUDE =
  `// Embedded in Deno's own binary, HOME goes by another name until here (scripts/compile/permissions.ts).
if (import.meta.url.startsWith("file:///proc/self/fd/")) {
  const home = Deno.env.get("${HIDDEN[1]}");
  if (home === undefined) Deno.env.delete("${HIDDEN[0]}");
  else Deno.env.set("${HIDDEN[0]}", home);
  Deno.env.delete("${HIDDEN[1]}");
}
`;

/** Replaces two functions that the bundler adds by what the runtime has: they would load Node.js, and 4 MB. */
function adaptRuntime(text: string): string {
  const REQUIRE =
    /^import \{ createRequire as (\w+) \} from "node:module";\nvar __require = \1\(import\.meta\.url\);\n/m;
  const adapted = text
    .replace(REQUIRE, "var __require = (name) => process.getBuiltinModule(name);\n")
    // The bundler's own loop over each byte is hot enough to wake V8's optimising compilers.
    .replaceAll('__toBinary("', 'Uint8Array.fromBase64("');
  if (/^import .*"node:module"/m.test(adapted)) throw new Error("Cannot bundle: require() is made differently");
  return adapted;
}
