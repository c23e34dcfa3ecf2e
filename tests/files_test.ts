import assert from "node:assert/strict";
import { replaceFile } from "../src/files.ts";

Deno.test("replaceFile() writes past what a killed process of the same number left, and leaves nothing beside the file", async () => {
  const folder = await Deno.makeTempDir(), path = `${folder}/ibsr.prom`;
  try {
    Deno.writeTextFileSync(path, "before");
    Deno.writeTextFileSync(`${path}.${Deno.pid}`, "half of it");
    replaceFile(path, "after");
    assert.equal(Deno.readTextFileSync(path), "after");
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o644);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["ibsr.prom"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("replaceFile() leaves the file as it was where it can't write", async () => {
  const folder = await Deno.makeTempDir(), path = `${folder}/ibsr.prom`;
  try {
    Deno.mkdirSync(path);
    assert.throws(() => replaceFile(path, "after"));
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["ibsr.prom"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
