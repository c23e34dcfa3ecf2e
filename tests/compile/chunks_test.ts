/**
 * Chunks of a bundle as one script: it does what the chunks do, and what it could not do right is refused.
 */
import assert from "node:assert/strict";
import { makeBundle } from "../../scripts/compile/bundle.ts";
import { joinChunks } from "../../scripts/compile/chunks.ts";
import { runDeno } from "../../scripts/run.ts";
import { testWith } from "../needs.ts";
import { Folder } from "./program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Chunks as the bundler writes them. */
const FILES = {
  main: `import {
  Failure,
  log
} from "./chunk-A.js";

// src/main.ts
import { basename } from "node:path";
log("start ✓", basename("/a/b"), typeof import.meta.url);
try {
  (await import("./later-B.js")).fail();
} catch (error) {
  log(error instanceof Failure, error.stack);
}
log((await import("./later-B.js")).default);
`,
  "chunk-A": `// src/a.ts
var Failure = class extends Error {
};
function log(...what) {
  console.log(...what);
}

export {
  Failure,
  log
};
`,
  "later-B": `import {
  Failure as Failure2,
  log
} from "./chunk-A.js";

// src/b.ts
log("loaded");
var filler = "${"x".repeat(10_000)}";
function fail() {
  throw new Failure2("it fails");
}
var b_default = filler.length;
export {
  b_default as default,
  fail
};
/*! a license */
`,
};

const join = (changed: Record<string, string>) =>
  joinChunks(new Map(Object.entries({ ...FILES, ...changed })), "main", "");

Deno.test("joinChunks() gives a script that loads a chunk when it is imported, once, with lines of the listing", async () => {
  await using folder = await Folder.create();
  const { text, listing, startBytes } = join({});
  assert.ok(!text.includes("xxxxxxxx"), "what a start needs not is packed");
  assert.ok(startBytes < 1000, `${startBytes}`);
  await Deno.writeTextFile(`${folder.path}/it.js`, text);
  const said = (await runDeno(["run", "--quiet", "--no-config", `${folder.path}/it.js`])).split("\n");
  assert.deepEqual(said.slice(0, 3), ["start ✓ b string", "loaded", "true Error: it fails"]);
  assert.equal(said.at(-2), "10000");
  const places = said.flatMap((line) => /ibsr\.js, <anonymous>:(\d+):(\d+)/.exec(line)?.slice(1).map(Number) ?? []);
  const lines = listing.split("\n");
  assert.equal(lines[places[0]! - 1]!.slice(places[1]! - 1), 'new Failure2("it fails");');
  assert.match(lines[places[2]! - 1]!, /\(await \$import\(2\)\)\.fail\(\)/);
});

Deno.test("joinChunks() gives a thread a script of its own, with the chunks that it needs", async () => {
  await using folder = await Folder.create();
  const thread = `import {
  log
} from "./chunk-A.js";

// src/thread.ts
import { basename } from "node:path";
log("in the thread ✓", basename("/a/b"), "${"x".repeat(10_000)}".length);
postMessage("done");
`;
  const start = `const worker = new Worker(await import.meta.resolve("./parts/thread.ts"), { type: "module" });
worker.onmessage = ({ data }) => (log(data), worker.terminate());
`;
  const { text } = join({ main: `import {\n  log\n} from "./chunk-A.js";\n${start}`, thread });
  await Deno.writeTextFile(`${folder.path}/it.js`, text);
  const said = await runDeno(["run", "--quiet", "--no-config", `${folder.path}/it.js`]);
  assert.equal(said, "in the thread ✓ b 10000\ndone\n");
  const waiting = `${thread}await import("./later-B.js");\n`;
  assert.throws(() => join({ main: start, thread: waiting }), /thread, which a thread needs, imports something later/);
});

Deno.test("joinChunks() is the same whatever the chunks are called, and whatever their order", () => {
  const renamed = Object.entries(FILES).toReversed().map(([name, text]) =>
    [name.replace(/-.$/, "-Z$&"), text.replaceAll(/-([AB])\.js/g, "-Z-$1.js")] as const
  );
  assert.deepEqual(joinChunks(new Map(renamed), "main", ""), join({}));
});

Deno.test("joinChunks() refuses what a function can't do as a module does", () => {
  const { main, "chunk-A": a, "later-B": b } = FILES;
  const refused: [Record<string, string>, RegExp][] = [
    [{ main: main.replace("chunk-A", "chunk-C") }, /main imports chunk-C, which is no chunk/],
    [{ main: main.replace("later-B", "later-C") }, /main imports later-C, which is no chunk/],
    [{ main: main.replace("Failure,", "Other,") }, /main imports Other, which chunk-A does not export/],
    [{ main: main.replace("Failure,", "* as all,") }, /"\* as all" is imported or exported differently/],
    [{ "chunk-A": `import {\n  fail\n} from "./later-B.js";\n${a}` }, /chunk-A imports itself by way of others/],
    [{ "chunk-A": a.replace("console.log", "Failure = 1; console.log") }, /Failure, .* is assigned 2 times, not once/],
    [{ "chunk-A": a.replace("console.log", "Failure ??= 1; console.log") }, /Failure, .* is assigned 2 times/],
    [{ "chunk-A": a.replace("console.log", "Failure++; console.log") }, /Failure, .* is assigned 2 times/],
    [{ "later-B": `${b}fail();\n` }, /there is code behind the exports of later-B/],
    [{ "later-B": b.replace("// src/b.ts\n", "// src/b.ts\nexport * from 'node:fs';\n") }, /SyntaxError/],
    [{ "later-B": b.replace("// src/b.ts\n", "\nimport fs from 'node:fs';\n") }, /SyntaxError/],
    [{ "later-B": b.replace("// src/b.ts\n", "// src/b.ts\nawait sleep(1);\n") }, /SyntaxError/],
    [{ main: `${main}import fs from 'node:fs';\n` }, /SyntaxError/],
    [{ main: `${main}String.raw\`ü\`;\n` }, /String\.raw would show escapes/],
  ];
  for (const [changed, message] of refused) assert.throws(() => join(changed), message, `${message}`);
});

testWith("compiler", "a start compiles no more than options and help: 160 kB", async () => {
  await using folder = await Folder.create();
  const { startBytes, listing } = await makeBundle(ROOT, folder.path);
  assert.ok(listing.length > 1_000_000, "all of the program is there");
  assert.ok(startBytes < 160_000, `${startBytes} bytes: src/cli/tables/ may import what options need, nothing else`);
});
