/** Random evidence comes to the same by the engine as by files. `IBSR_SEEDS=FROM-TO` tries others. */
import assert from "node:assert/strict";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import { CHDB, testWith } from "../needs.ts";
import { createDice, makeAsked, makeFiles } from "./random.ts";
import { reportFiles, reportFleet } from "./run.ts";

/** A few that are known to meet much, and two that nobody has met. */
function listSeeds(): number[] {
  const [from, to] = (Deno.env.get("IBSR_SEEDS") ?? "").split("-").map(Number) as [number, number?];
  if (to !== undefined) return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return [1, 3, 4, 7, 11, ...crypto.getRandomValues(new Uint32Array(2))];
}

testWith("chdb", "a report by the engine is that on files, on random evidence", async (t) => {
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 4e9 });
  for (const seed of listSeeds()) {
    await t.step(`seed ${seed}`, async () => {
      const dice = createDice(seed),
        files = makeFiles(dice),
        asked = makeAsked(dice),
        directory = Deno.makeTempDirSync();
      try {
        for (const [path, text] of Object.entries(files)) {
          Deno.mkdirSync(`${directory}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
          Deno.writeTextFileSync(`${directory}/${path}`, text);
        }
        assert.deepEqual(await reportFleet(engine, directory, asked), await reportFiles(directory, asked));
      } finally {
        Deno.removeSync(directory, { recursive: true });
      }
    });
  }
});
