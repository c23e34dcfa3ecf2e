/** One case of the fidelity lab; `deno task fidelity` runs all of them. */
import assert from "node:assert/strict";
import { CASES, runCase } from "../../scripts/fidelity.ts";
import { testWith } from "../needs.ts";

for (const name of ["start-nftables", "timed-exact"]) {
  testWith(["kernel", "validators"], `what ibsr says would be dropped is what a firewall drops: ${name}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "ibsr-fidelity-" });
    try {
      const { comparisons } = await runCase(CASES.find((test) => test.name === name)!, folder);
      assert.ok(comparisons.filter(({ dropped }) => dropped.packets > 0).length >= 3, "several sources were blocked");
      assert.deepEqual(comparisons.filter(({ inside }) => !inside), []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
