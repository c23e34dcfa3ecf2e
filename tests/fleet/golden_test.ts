/** Every golden situation comes to the same by the engine as by files, to the last digit. */
import assert from "node:assert/strict";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import { askedOf, placeFiles } from "../golden/run.ts";
import { SITUATIONS } from "../golden/situations.ts";
import { CHDB, testWith } from "../needs.ts";
import { reportFiles, reportFleet } from "./run.ts";

testWith("chdb", "a report by the engine is that on files, in every golden situation", async (t) => {
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 4e9 });
  for (const situation of SITUATIONS) {
    await t.step(situation.name, async () => {
      using placed = placeFiles(situation);
      // With the sweep, though its summary on disk may be without.
      const asked = askedOf(situation);
      assert.deepEqual(
        await reportFleet(engine, placed.directory, asked),
        await reportFiles(placed.directory, asked),
      );
    });
  }
});
