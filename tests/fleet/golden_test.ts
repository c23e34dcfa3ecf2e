/** Every golden situation comes to the same by the engine as by files, to the last digit. */
import assert from "node:assert/strict";
import { createPrefixSet, parseAllowlist } from "../../src/allowlist.ts";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import type { NativeOptions } from "../../src/policy/native.ts";
import { parsePrefix } from "../../src/prefix.ts";
import { optionsOf, type Situation, SITUATIONS } from "../golden/situations.ts";
import { CHDB, testWith } from "../needs.ts";
import { type Asked, reportFiles, reportFleet } from "./run.ts";

function askedOf(situation: Situation): Asked {
  const allowlist = parseAllowlist(situation.allowlist ?? "", "allow.txt");
  const native: NativeOptions = {
    ...{ windowMs: 10_000, blockDurationMs: 300_000, synRate: 100, successRatio: 0.1, volSynRate: 500 },
    ...{ volPacketRate: 1000, volByteRate: 1_000_000, sweepPorts: 20, aggregateBits: { v4: 32, v6: 128 } },
    ...situation.policy,
    allowlist,
  };
  const { windowMs, synRate, successRatio, blockDurationMs } = native;
  return {
    native,
    assess: {
      ...optionsOf(situation),
      ibsrVersion: "0.0.0",
      options: {},
      allowlist,
      selfAddresses: createPrefixSet((situation.selfAddresses ?? []).map((text) => parsePrefix(text)!)),
      // Of every situation, though its summary on disk may be without.
      sweep: { windowMs, synRate, successRatio, blockDurationMs },
      floodRate: synRate,
    },
  };
}

testWith("chdb", "a report by the engine is that on files, in every golden situation", async (t) => {
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 4e9 });
  for (const situation of SITUATIONS) {
    await t.step(situation.name, async () => {
      const directory = Deno.makeTempDirSync();
      try {
        for (const [path, text] of Object.entries(situation.files)) {
          Deno.mkdirSync(`${directory}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
          Deno.writeTextFileSync(`${directory}/${path}`, text);
        }
        const asked = askedOf(situation);
        assert.deepEqual(await reportFleet(engine, directory, asked), await reportFiles(directory, asked));
      } finally {
        Deno.removeSync(directory, { recursive: true });
      }
    });
  }
});
