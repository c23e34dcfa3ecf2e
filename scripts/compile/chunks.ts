/**
 * From the bundler's chunks to one script, in which each is a text that is compiled when it is first imported.
 *
 * A start thus reads what it runs, however much there is besides: V8 would look through all functions of a script,
 * `deno run` even parse them before. A chunk becomes a function that takes what it imports from `$chunk(NUMBER)` and
 * returns what it exports; numbers are the order in which a start comes by the chunks. Everything this rests on is
 * checked here, so that another bundler fails the build and not the program. A thread's module is a chunk, too: what
 * `import.meta.resolve()` of it gives is a `data:` URL of a script with the chunks that it needs.
 */
import { deflateRawSync } from "node:zlib";

/** A chunk, as its file is. */
interface Chunk {
  name: string;
  /** Imported at its beginning, by name of the chunk; the names that it takes. */
  imports: Map<string, Binding[]>;
  exports: Binding[];
  /** Its code, with `import(…)` of other chunks. */
  code: string;
}

/** `from as to`. */
interface Binding {
  from: string;
  to: string;
}

/** What becomes of the chunks. */
export interface Script {
  /** The script. */
  text: string;
  /** The same code as it runs, to look up lines of stack traces. */
  listing: string;
  /** Bytes of code that every start compiles. */
  startBytes: number;
}

const AsyncFunction = (async () => {}).constructor as FunctionConstructor;

const IMPORT = /^import (?:\{([^{}]*)\} from )?"\.\/([\w.-]+)\.js";\n/;
const EXPORT = /^export \{([^{}]*)\};\n/gm;
const DYNAMIC = /\bimport\("\.\/([\w.-]+)\.js"\)/g;
/** The URL of a thread's module, which is a chunk by its file's name. */
const THREAD = /\bimport\.meta\.resolve\("\.\/(?:[\w-]+\/)*([\w-]+)\.ts"\)/g;
/** Where the bundler says which module follows; its imports from Node.js come next. */
const NODE_IMPORTS = /^(\/\/ \S.*\n)((?:import \{[^{}]+\} from "node:[\w/]+";\n)+)/gm;
const NODE_IMPORT = /import \{([^{}]+)\} from "(node:[\w/]+)";\n/g;

/**
 * Texts that a start does not compile are packed from so many characters on: it has to read past them, 8 ms for a
 * megabyte.
 */
const PACKED_FROM = 8192;
/** In place of the two lines that V8 puts before the body of a function that is made of a text. */
const LISTING_HEAD =
  "// The code of the program, as it runs: lines and columns of its stack traces\n// (ibsr.js, <anonymous>:LINE:COLUMN) are those of this file.\n";
/** What a chunk's function gets. */
const PARAMETERS = ["$chunk", "$import", "$module", "$node", "$importMeta"];

/**
 * Joins chunks.
 *
 * @param files The chunks' texts by name, without `.js`.
 * @param main The one that starts; it alone may wait at its top level.
 * @param prelude Code that runs first.
 */
export function joinChunks(files: ReadonlyMap<string, string>, main: string, prelude: string): Script {
  const chunks = new Map([...files].map(([name, text]) => [name, parseChunk(name, text)]));
  const order = orderChunks(chunks, main), numbers = new Map(order.map((chunk, i) => [chunk.name, i]));
  let listing = LISTING_HEAD;
  const texts = order.map((chunk) => {
    // Every function has as many empty lines before it as there is code before it in the listing.
    const line = countLines(listing);
    const head = `"use strict"; // ${chunk.name === main ? "Start" : `Chunk ${numbers.get(chunk.name)}`}\n`;
    const body = escapeWide(head + writeChunk(chunk, chunks, numbers));
    listing += body;
    return { line, body };
  });
  const numbersOf = (name: string) => reachable(chunks, name).map((chunk) => numbers.get(chunk.name)!);
  const start = new Set(numbersOf(main));
  const later = new Set(order.flatMap(importedLater)), threads = new Set(order.flatMap(startedLater));
  for (const name of threads) {
    const waits = reachable(chunks, name).find((chunk) => importedLater(chunk).length + startedLater(chunk).length > 0);
    if (waits) throw new Error(`Cannot bundle: ${waits.name}, which a thread needs, imports something later`);
    later.add(name);
  }
  const table = texts.map(({ line, body }, number) => {
    new (number === 0 ? AsyncFunction : Function)(...PARAMETERS, body); // throws if it is no such function
    const packed = !start.has(number) && body.length > PACKED_FROM
      ? `packed: "${deflateRawSync(body, { level: 9 }).toString("base64")}"`
      : `text: ${JSON.stringify(body)}`;
    const { name } = order[number]!, needs = later.has(name) ? `, needs: [${numbersOf(name).join(", ")}]` : "";
    return `  { line: ${line}, ${packed}${needs} },\n`;
  });
  return {
    text: `${prelude}${LOADER}const $chunks = [\n${
      table.join("")
    }];\nawait $compile(0, (async () => {}).constructor);\n`,
    listing,
    startBytes: [...start].reduce((sum, number) => sum + texts[number]!.body.length, 0),
  };
}

/**
 * The script's own code. `$node` stands for a thing of Node.js and loads that when it is first used; `$import` is
 * import() of a chunk, `$chunk` an import of one whose text is there, `$module` a promise of the URL of a thread's.
 */
const LOADER = `function $node(module, name) {
  const load = () => process.getBuiltinModule(module)[name];
  return new Proxy(function () {}, {
    apply: (_, self, args) => Reflect.apply(load(), self, args),
    construct: (_, args) => Reflect.construct(load(), args),
    get: (_, key) => load()[key],
  });
}
const $loaded = [];
function $compile(number, Function) {
  const { line, text } = $chunks[number], lines = "\\n".repeat(line - ${countLines(LISTING_HEAD)});
  const body = \`\${lines}\${text}\\n//# sourceURL=ibsr.js\`;
  return new Function("${PARAMETERS.join('", "')}", body)($chunk, $import, $module, $node, import.meta);
}
function $chunk(number) {
  return $loaded[number] ??= $compile(number, Function);
}
async function $import(number) {
  for (const needed of $chunks[number].needs) $chunks[needed].text ??= await $unpack($chunks[needed].packed);
  return $chunk(number);
}
async function $module(number) {
  const { needs } = $chunks[number], chunks = [];
  for (const needed of needs) {
    $chunks[needed].text ??= await $unpack($chunks[needed].packed);
    const { line, text } = $chunks[needed];
    chunks.push(\`\${needed}: \${JSON.stringify({ line, text })}\`);
  }
  const script = \`\${$node}\nconst $loaded = [], $import = undefined, $module = undefined;\n\${$compile}\n\${$chunk}\n\` +
    \`const $chunks = {\${chunks.join()}};\n$chunk(\${number});\n\`;
  return \`data:text/javascript,\${encodeURIComponent(script)}\`;
}
async function $unpack(packed) {
  const stream = new DecompressionStream("deflate-raw"), writer = stream.writable.getWriter();
  const written = writer.write(Uint8Array.fromBase64(packed)).then(() => writer.close());
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of stream.readable) text += decoder.decode(bytes, { stream: true });
  await written;
  return text;
}
`;

function countLines(text: string): number {
  return text.split("\n").length - 1;
}

function parseChunk(name: string, text: string): Chunk {
  const imports: Chunk["imports"] = new Map();
  let code = text;
  for (let found = IMPORT.exec(code); found; found = IMPORT.exec(code)) {
    const [whole, names = "", from] = found;
    imports.set(from!, [...imports.get(from!) ?? [], ...parseBindings(names)]);
    code = code.slice(whole.length).replace(/^\n+/, "");
  }
  const [last, ...more] = [...code.matchAll(EXPORT)].toReversed();
  if (more.length > 0) throw new Error(`Cannot bundle: ${name} exports in several places`);
  const exports = last ? parseBindings(last[1]!) : [];
  if (last) {
    const after = code.slice(last.index + last[0].length);
    if (after.replaceAll(/\/\*[\s\S]*?\*\//g, "").trim() !== "") {
      throw new Error(`Cannot bundle: there is code behind the exports of ${name}`);
    }
    code = code.slice(0, last.index) + after;
  }
  const imported = new Set([...imports.values()].flat().map(({ to }) => to));
  for (const { from } of exports) if (!imported.has(from)) checkConstant(name, code, from);
  return { name, imports, exports, code };
}

/** `a, b as c`: names with what they become. */
function parseBindings(list: string): Binding[] {
  return list.split(",").map((binding) => binding.trim()).filter((binding) => binding !== "").map((binding) => {
    const [, from, to = from] = /^([\w$]+)(?: as ([\w$]+))?$/.exec(binding) ?? [];
    if (!from || !to) throw new Error(`Cannot bundle: "${binding}" is imported or exported differently`);
    return { from, to };
  });
}

/** Importers get an export's value once: it must not change afterwards. */
function checkConstant(chunk: string, code: string, name: string): void {
  const escaped = name.replaceAll("$", "\\$");
  if (new RegExp(`^(async )?function\\*? ${escaped}\\(|^class ${escaped}\\b`, "m").test(code)) return;
  const assigned = [...code.matchAll(new RegExp(`(?<![\\w$.])${escaped}(?: (?:[-+*/%&|^?<>]{0,3})= |\\+\\+|--)`, "g"))];
  if (assigned.length !== 1) {
    throw new Error(`Cannot bundle: ${name}, which ${chunk} exports, is assigned ${assigned.length} times, not once`);
  }
}

/** The chunks as a start comes by them: those that it needs, then those that may be imported later. */
function orderChunks(chunks: ReadonlyMap<string, Chunk>, main: string): Chunk[] {
  const first = chunks.get(main);
  if (!first) throw new Error(`Cannot bundle: there is no chunk ${main}`);
  const order = new Set([first]);
  for (const chunk of order) {
    for (const other of reachable(chunks, chunk.name)) order.add(other);
    for (const name of [...importedLater(chunk), ...startedLater(chunk)]) order.add(find(chunks, name, chunk.name));
  }
  return [...order];
}

/** Chunks that one imports when it comes to that, and those that it starts threads of. */
function importedLater({ code }: Chunk): string[] {
  return [...code.matchAll(DYNAMIC)].map(([, name]) => name!);
}

function startedLater({ code }: Chunk): string[] {
  return [...code.matchAll(THREAD)].map(([, name]) => name!);
}

/** A chunk and all that come with it. Throws if one of them imports itself by way of others. */
function reachable(chunks: ReadonlyMap<string, Chunk>, name: string): Chunk[] {
  const found = new Set<Chunk>(), around: Chunk[] = [];
  const visit = (chunk: Chunk) => {
    if (around.includes(chunk)) throw new Error(`Cannot bundle: ${chunk.name} imports itself by way of others`);
    if (found.has(chunk)) return;
    found.add(chunk);
    around.push(chunk);
    for (const other of chunk.imports.keys()) visit(find(chunks, other, chunk.name));
    around.pop();
  };
  visit(find(chunks, name, name));
  return [...found];
}

function find(chunks: ReadonlyMap<string, Chunk>, name: string, from: string): Chunk {
  const chunk = chunks.get(name);
  if (!chunk) throw new Error(`Cannot bundle: ${from} imports ${name}, which is no chunk`);
  return chunk;
}

/** A chunk as the body of a function. */
function writeChunk(chunk: Chunk, chunks: ReadonlyMap<string, Chunk>, numbers: ReadonlyMap<string, number>): string {
  const lines: string[] = [];
  for (const [name, bindings] of chunk.imports) {
    const known = find(chunks, name, chunk.name).exports.map(({ to }) => to), number = numbers.get(name);
    const missing = bindings.find(({ from }) => !known.includes(from));
    if (missing) throw new Error(`Cannot bundle: ${chunk.name} imports ${missing.from}, which ${name} does not export`);
    const taken = bindings.map(({ from, to }) => from === to ? from : `${from}: ${to}`).join(", ");
    lines.push(taken ? `const { ${taken} } = $chunk(${number});\n` : `$chunk(${number});\n`);
  }
  const code = chunk.code
    .replaceAll(
      NODE_IMPORTS,
      (_, origin: string, imports: string) => origin + imports.replaceAll(NODE_IMPORT, deferNode),
    )
    .replaceAll(DYNAMIC, (_, name) => `$import(${numbers.get(name)})`)
    .replaceAll(THREAD, (_, name) => `$module(${numbers.get(name)})`)
    .replaceAll("import.meta", "$importMeta");
  const given = chunk.exports.map(({ from, to }) => from === to ? from : `${to}: ${from}`).join(", ");
  return `${lines.join("")}${code}${given ? `return { ${given} };\n` : ""}`;
}

/** Names that stand for things of Node.js: loading those takes longer than all else that most commands do. */
function deferNode(_: string, names: string, module: string): string {
  return parseBindings(names).map(({ from, to }) => `const ${to} = $node("${module}", "${from}");\n`).join("");
}

/** In ASCII: for one character beyond Latin-1, V8 keeps and reads all of a text as twice as many bytes. */
function escapeWide(text: string): string {
  if (/String\.raw`/.test(text)) throw new Error("Cannot bundle: String.raw would show escapes");
  return text.replaceAll(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
