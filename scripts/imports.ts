/**
 * Holds the sources against the table of who may use what. Fails `deno task lint` on any other edge, and on a function,
 * class or constant that is exported and that no other file imports.
 *
 * A rule names the files it is about and what they must not contain, or the only files that may contain a thing.
 */
interface File {
  path: string;
  /** The source without comments and string contents, so that words in prose don't count. */
  code: string;
  /** Modules of this project that it imports, as paths. */
  imports: string[];
  /** Functions, classes and constants that others may import. Types are for who reads a signature. */
  exports: string[];
  /** What it imports of them, as `PATH NAME`; `PATH *` for all. */
  uses: string[];
}

/** Modules that know nothing of the others. */
const LEAVES = ["src/errors.ts", "src/log.ts", "src/layout.ts", "src/address.ts", "src/objects.ts"];

/** Bytes in, values out: no operating system, no clock. A folder stands for all that is in it. */
const PURE = [
  "src/address.ts",
  "src/allowlist.ts",
  "src/convert.ts",
  "src/counters.ts",
  "src/decompress.ts",
  "src/elf.ts",
  "src/escape.ts",
  "src/evidence/",
  "src/fleet/engine.ts",
  "src/fleet/schema.ts",
  "src/heartbeat.ts",
  "src/library.ts",
  "src/metrics.ts",
  "src/model.ts",
  "src/pcap.ts",
  "src/placing.ts",
  "src/policy/",
  "src/prefix.ts",
  "src/prefix_table.ts",
  "src/report/",
  "src/rules/",
  "src/s3/profiles.ts",
  "src/s3/region.ts",
  "src/s3/xml.ts",
  "src/safety.ts",
  "src/snapshot.ts",
  "src/systemd.ts",
  "src/thread.ts",
  "src/walk.ts",
  "src/words.ts",
  "src/zstd.ts",
];

/** What in those folders is not. */
const IMPURE = [
  "src/evidence/file_thread.ts",
  "src/evidence/files.ts",
  "src/evidence/open_file.ts",
  "src/evidence/read.ts",
  "src/evidence/store.ts",
  "src/report/write.ts",
  "src/rules/lockout.ts",
];

function isPure(path: string): boolean {
  return !IMPURE.includes(path) && PURE.some((pure) => pure.endsWith("/") ? path.startsWith(pure) : path === pure);
}

/** What only the named files may contain. */
const OWNERS: { what: string; pattern: RegExp; files: RegExp }[] = [
  { what: "FFI", pattern: /Deno\.(dlopen|Unsafe\w+)/, files: /^src\/(xdp|libbpf|libc|process|fleet\/chdb)\.ts$/ },
  // S3, and the one other server that a user can name: an SQL engine, to which S3's signatures mean nothing.
  { what: "fetch()", pattern: /\bfetch\(/, files: /^src\/(s3\/|fleet\/http\.ts$)/ },
  // Engines are asked for their progress, and told to end until they have.
  {
    what: "timers",
    pattern: /\bset(Timeout|Interval)\(/,
    files: /^src\/(sleep|s3\/request|fleet\/(chdb|http))\.ts$/,
  },
  { what: "Deno.args", pattern: /Deno\.args\b/, files: /^main\.ts$/ },
  { what: "Deno.exit()", pattern: /Deno\.exit\(/, files: /^main\.ts$/ },
  { what: "signals", pattern: /Deno\.addSignalListener/, files: /^(main|src\/collect)\.ts$/ },
];

async function* listSources(root: string, directory: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(root + directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) yield* listSources(root, path);
    else if (/\.ts$/.test(path) && !path.endsWith(".d.ts")) yield path;
  }
}

/** The module path that `specifier` means in `path`; undefined for a package. */
function resolveImport(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return new URL(specifier, `file:///${path}`).pathname.slice(1);
}

/** An import or a re-export: the names in braces, or the star, and the module; of `import()` the module alone. */
const USE = /(?:(?:import|export)\s+(?:type\s+)?(\{[^}]*\}|\*[^{"]*)\s*from\s*|import\()"([^"]+)"/g;
const USED_NAME = /(?:type\s+)?(\w+)(?:\s+as\s+\w+)?/g;

function parseSource(path: string, text: string): File {
  const plain = text.replaceAll(/\/\*[\s\S]*?\*\/|(?<![:"'`])\/\/.*$/gm, "");
  const imports = [...plain.matchAll(/(?:from|import|import\()\s*"([^"]+)"/g)]
    .map((m) => resolveImport(path, m[1]!))
    .filter((p) => p !== undefined);
  const exports = [...plain.matchAll(/^export (?:async )?(?:function\*?|class|const|let) (\w+)/gm)].map((m) => m[1]!);
  const uses = [...plain.matchAll(USE)].flatMap(([, clause = "*", specifier]) => {
    const names = clause.startsWith("*") ? ["*"] : [...clause.matchAll(USED_NAME)].map((m) => m[1]);
    return names.map((name) => `${resolveImport(path, specifier!)} ${name}`);
  });
  return { path, code: plain.replaceAll(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""'), imports, exports, uses };
}

/** What is wrong with a file, a sentence each. */
function checkFile({ path, code, imports }: File): string[] {
  const wrong: string[] = [];
  const ours = imports.filter((p) => p.endsWith(".ts"));
  if (LEAVES.includes(path) && path !== "src/objects.ts" && ours.length > 0) {
    wrong.push(`${path} imports ${ours.join(", ")}: it may import nothing`);
  }
  if (isPure(path)) {
    if (/\bDeno\./.test(code)) wrong.push(`${path} uses Deno: it is pure`);
    if (/\b(Date\.now|performance\.now|new Date\(\))/.test(code)) wrong.push(`${path} reads a clock: it is pure`);
    for (const used of ours.filter((p) => !LEAVES.includes(p) && !isPure(p))) {
      wrong.push(`${path} imports ${used}, which is not pure`);
    }
  }
  if (path !== "main.ts" && !path.startsWith("src/cli/") && ours.some((p) => p.startsWith("src/cli/"))) {
    wrong.push(`${path} imports the command line: data flows the other way`);
  }
  const table = /^src\/cli\/tables\/(.*)$/.exec(path)?.[1];
  if (table !== undefined && !ours.includes(`src/cli/${table}`)) {
    wrong.push(
      `${path} loads another module than src/cli/${table}: what a table's commands do is in the file of its name`,
    );
  }
  for (const { what, pattern, files } of OWNERS) {
    if (pattern.test(code) && !files.test(path)) wrong.push(`${path} uses ${what}: only ${files.source} may`);
  }
  return wrong;
}

/** Exports that nobody imports, a sentence each. Constants of C are there whether they are used or not. */
function checkExports(files: readonly File[]): string[] {
  const used = new Set(files.flatMap(({ uses }) => uses));
  return files.filter(({ path }) => path !== "src/layout.ts").flatMap(({ path, exports }) =>
    used.has(`${path} *`) ? [] : exports.filter((name) => !used.has(`${path} ${name}`))
      .map((name) => `${path} exports ${name}: no other file imports it`)
  );
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url).pathname;
  const read = (path: string) => parseSource(path, Deno.readTextFileSync(root + path));
  const program: File[] = ["main.ts", "mod.ts"].map(read), others: File[] = [];
  for await (const path of listSources(root, "src")) program.push(read(path));
  for (const directory of ["tests", "scripts"]) {
    for await (const path of listSources(root, directory)) others.push(read(path));
  }
  const wrong = [...program.flatMap(checkFile), ...checkExports([...program, ...others])];
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) Deno.exit(1);
}
