/**
 * Policy files as the command line names them: read, and loaded by their engine.
 */
import { createHash } from "node:crypto";
import { namedFileError } from "../files.ts";
import { chooseEngine } from "../policy/engines.ts";
import type { Engine, Finding, LoadOptions, Policy, PolicyFile } from "../policy/policy.ts";
import { readWholeText } from "./named_files.ts";
import type { Values } from "./options.ts";
import type { POLICY_FILE_OPTIONS } from "./tables/policy.ts";

/** Files of one folder. */
const MOST_FILES = 10_000;

/**
 * The files of the paths: a file as it is, of a folder its *.yml, *.yaml and *.toml, by name.
 *
 * @throws {IbsrError} `data`, if one can't be read or a folder holds none.
 */
export function readPolicyFiles(paths: readonly string[]): PolicyFile[] {
  return paths.flatMap((path) => {
    try {
      if (!Deno.statSync(path).isDirectory) return [readFile(path)];
      const names = [...Deno.readDirSync(path)].filter((e) => e.isFile && /\.(ya?ml|toml)$/i.test(e.name));
      if (names.length === 0) throw new Error("no *.yml, *.yaml or *.toml is in it");
      if (names.length > MOST_FILES) throw new Error(`more than ${MOST_FILES} files are in it`);
      return names.map((e) => e.name).sort().map((name) => readFile(`${path.replace(/\/+$/, "")}/${name}`));
    } catch (cause) {
      throw namedFileError(`the policy ${path}`, cause);
    }
  });
}

function readFile(path: string): PolicyFile {
  return { path, text: readWholeText(path, { what: `the policy ${path}` }) };
}

/** What the options say besides the files. */
export function loadOptions(values: Values<typeof POLICY_FILE_OPTIONS>): LoadOptions & { engine?: string } {
  const readOne = (path: string) => ({ path, text: readWholeText(path) });
  return {
    ...(values.engine === undefined ? {} : { engine: values.engine }),
    ...(values.profile === undefined ? {} : { profile: values.profile }),
    ...(values.countries === undefined ? {} : { countries: readOne(values.countries) }),
    feeds: new Map(values.feed.map(({ id, path }) => [id, readOne(path)])),
    hostAddresses: values["host-address"],
    cpus: values.cpus,
  };
}

/** Files of one policy, and what their engine makes of them; undefined where nobody can tell what they are. */
export interface Loaded {
  files: PolicyFile[];
  engine: Engine | undefined;
  policy: Policy | undefined;
  findings: readonly Finding[];
}

/**
 * Loads files that belong together.
 *
 * @throws {IbsrError} `usage`, if the engine can't be told or an option is none of its.
 */
export function loadPolicy(files: PolicyFile[], { engine: name, ...options }: ReturnType<typeof loadOptions>): Loaded {
  const choice = chooseEngine(files, name);
  if ("findings" in choice) return { files, engine: undefined, policy: undefined, findings: choice.findings };
  const policy = choice.engine.load(files, options);
  return { files, engine: choice.engine, policy, findings: policy.findings };
}

/** SHA-256 of a policy's files: of the one, or of a line `sha256  path` each. */
export function hashFiles(files: readonly PolicyFile[]): string {
  const hash = (text: string) => createHash("sha256").update(text).digest("hex");
  if (files.length === 1) return hash(files[0]!.text);
  return hash(files.map(({ path, text }) => `${hash(text)}  ${path}\n`).join(""));
}
