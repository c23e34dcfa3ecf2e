/** Files of vectors for the simulators: the project's own, and those that IBSR_VECTORS names. */
import assert from "node:assert/strict";
import { describeResults, runVectors } from "../scripts/vectors.ts";

const OWN = ["policy/ironpost/vectors.json"].map((path) => new URL(path, import.meta.url));
const shared = Deno.env.get("IBSR_VECTORS");

for (const url of OWN) {
  Deno.test(`the simulators give what tests/${url.pathname.split("/tests/")[1]} expects`, () => {
    check(Deno.readTextFileSync(url));
  });
}

if (!shared) {
  Deno.test({ name: "the simulators give what other vectors expect (skipped: IBSR_VECTORS)", ignore: true, fn() {} });
} else {
  for (const { name } of [...Deno.readDirSync(shared)].filter((entry) => entry.name.endsWith(".json"))) {
    Deno.test(`the simulators give what ${name} in IBSR_VECTORS expects`, () => {
      check(Deno.readTextFileSync(`${shared}/${name}`));
    });
  }
}

function check(text: string): void {
  const results = runVectors(text), lines = describeResults(results);
  assert.ok(results.length > 0);
  assert.ok(results.every((r) => r.passed), lines.join("\n"));
  console.log(lines.join("\n"));
}

Deno.test("runVectors() tells a vector that isn't met, and a file that is none", () => {
  const vectors = JSON.parse(Deno.readTextFileSync(OWN[0]!)) as { vectors: { expect?: { alerts?: number } }[] };
  vectors.vectors[0]!.expect = { alerts: 7 };
  const results = runVectors(JSON.stringify(vectors));
  assert.deepEqual(results.filter((r) => !r.passed).map((r) => r.vector.id), ["S03"]);
  assert.match(describeResults(results).join("\n"), /S03.*\n.*expected \{"alerts":7\}\n.*got .*"alerts":0/);
  assert.throws(() => runVectors(`{"vectors": []}`), /none of: eBPFsentinel, Ironpost/);
  assert.throws(() => runVectors(`{"schema": "ironpost"}`), /no list of vectors/);
});
