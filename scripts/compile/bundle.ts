/**
 * One JavaScript text of the whole program: modules, BPF objects, JSON and texts.
 *
 * The text is the same wherever the project lies: where the bundler says which file something comes from, it says
 * `src/…` or `npm/NAME/VERSION/…`. That also tells which packages are in it. It is not minified and has no source
 * map: names in a stack trace are the source's, and a map in it would double the time of a start.
 *
 * Modules of Node.js are loaded when something of them is first used: together they take longer to load than
 * everything else that a start does, and most commands use none. Imported bytes are handed over as they are, where
 * the bundler would copy every byte as a property of a module: 50 MB for two BPF objects.
 */
import { resolve } from "node:path";
import { HIDDEN } from "./permissions.ts";
import { runDeno } from "./run.ts";

/** A bundle, and what other people's packages it has. */
export interface Bundle {
  path: string;
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

/** The bundler's comment on where the following comes from. */
const ORIGIN = /^(\s*)\/\/ ((?:\.\.\/)+.+)$/gm;
/** A file of a package in Deno's cache: …/npm/REGISTRY/NAME/VERSION/FILE */
const CACHED = /^(.*\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/([^/]+))\/(.+)$/;

/**
 * Bundles `main.ts` of the project at `root`.
 *
 * @param folder For the bundle, `ibsr.js`.
 */
export async function makeBundle(root: string, folder: string): Promise<Bundle> {
  const path = `${folder}/ibsr.js`, homes = new Map<string, string>();
  await runDeno(["bundle", "--quiet", "--platform=deno", "-o", path, "main.ts"], { cwd: root });
  const named = (await Deno.readTextFile(path)).replaceAll(ORIGIN, (_, indent: string, origin: string) => {
    const cached = CACHED.exec(resolve(root, origin));
    if (!cached) throw new Error(`Cannot bundle: ${origin} is neither the project's nor a package's`);
    const [, home, name, version, file] = cached;
    homes.set(`${name}@${version}`, home!);
    return `${indent}// npm/${name}/${version}/${file}`;
  });
  const bundle = PRELUDE + deferNode(handOverBytes(named));
  for (const place of [root, folder]) {
    if (bundle.includes(place)) throw new Error(`Cannot bundle: ${place} is in the bundle`);
  }
  await Deno.writeTextFile(path, bundle);

  const lock = JSON.parse(await Deno.readTextFile(`${root}deno.lock`)), packages: BundledPackage[] = [];
  for (const [key, home] of [...homes].sort(([a], [b]) => a < b ? -1 : 1)) {
    const { name, version, license } = JSON.parse(await Deno.readTextFile(`${home}/package.json`));
    const integrity: string | undefined = lock.npm?.[key]?.integrity;
    const sha512 = integrity?.startsWith("sha512-") ? Uint8Array.fromBase64(integrity.slice(7)).toHex() : undefined;
    packages.push({ name, version, license, sha512 });
  }
  return { path, packages };
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
// Loads what it stands for when that is first used (scripts/compile/bundle.ts).
function $node(module, name) {
  const load = () => process.getBuiltinModule(module)[name];
  return new Proxy(function () {}, {
    apply: (_, self, args) => Reflect.apply(load(), self, args),
    construct: (_, args) => Reflect.construct(load(), args),
    get: (_, key) => load()[key],
  });
}
`;

/** Turns what is imported from Node.js into stand-ins that load it when called, constructed or asked for a property. */
function deferNode(text: string): string {
  const stands: string[] = [];
  const rest = text.replaceAll(/^import \{([^{}]+)\} from "(node:[\w/]+)";\n/gm, (_, names: string, module) => {
    for (const name of names.split(",")) {
      const [imported, local = imported] = name.trim().split(" as ");
      stands.push(`const ${local} = $node("${module}", "${imported}");\n`);
    }
    return "";
  });
  if (/^import\b.*"node:/m.test(rest)) throw new Error("Cannot bundle: an import from Node.js is not by names");
  return stands.join("") + rest;
}

/** Makes modules of imported bytes have nothing but their default export. */
function handOverBytes(text: string): string {
  let bundle = text;
  for (const [, name] of text.matchAll(/^var (\w+) = __commonJS\(\{\n.*\n +module\.exports = __toBinary\(/gm)) {
    bundle = bundle.replaceAll(`__toESM(${name}())`, `({ default: ${name}() })`);
  }
  if (/__toBinary\("/.test(text) === (bundle === text)) {
    throw new Error("Cannot bundle: bytes are imported differently");
  }
  // The bundler's own loop over each byte is hot enough to wake V8's optimising compilers: 4 MB.
  return bundle.replaceAll('__toBinary("', 'Uint8Array.fromBase64("');
}

/**
 * The bundle as a script that hands it to V8 as text. `deno run` parses modules itself before V8 does, some 80 ms for
 * a megabyte of code; a text it passes over.
 */
export function wrapBundle(bundle: string): string {
  if (/^(import|export)\b(?!\.|\()/m.test(bundle)) throw new Error("Cannot wrap: the bundle imports or exports");
  const body = `"use strict";${bundle.replaceAll("import.meta", "importMeta")}\n//# sourceURL=ibsr.js`;
  return `const AsyncFunction = (async () => {}).constructor;
await new AsyncFunction("importMeta", ${JSON.stringify(body)})(import.meta);
`;
}
