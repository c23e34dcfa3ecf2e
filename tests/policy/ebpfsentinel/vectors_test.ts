/** Hand-worked vectors: the project's own, and the engine's file of those that IBSR_VECTORS names. */
import assert from "node:assert/strict";
import { describes, runVector } from "../../../scripts/vectors/ebpfsentinel.ts";
import type { Vector } from "../../../scripts/vectors/vector.ts";

function runFile(text: string): void {
  const file = JSON.parse(text) as { vectors: Vector[] };
  assert(describes(file as unknown as Record<string, unknown>));
  const failed = file.vectors.flatMap((vector) => {
    const { passed, got } = runVector(vector);
    return passed ? [] : [{ id: vector.id, expect: vector.expect, code: vector.code_profile_expect, got }];
  });
  assert.deepEqual(failed, []);
}

Deno.test("eBPFsentinel's engine gives what the project's own vectors expect", () => {
  runFile(Deno.readTextFileSync(new URL("vectors.json", import.meta.url)));
});

const directory = Deno.env.get("IBSR_VECTORS");
Deno.test({
  name: `eBPFsentinel's engine gives what others' vectors expect${directory ? "" : " (skipped: IBSR_VECTORS)"}`,
  ignore: !directory,
  fn: () => runFile(Deno.readTextFileSync(`${directory}/ebpfsentinel.json`)),
});

Deno.test("runVector() tells what isn't met, in either profile", () => {
  const file = JSON.parse(Deno.readTextFileSync(new URL("vectors.json", import.meta.url))) as { vectors: Vector[] };
  const vector = file.vectors.find(({ id }) => id === "OWN-RL-4")!;
  assert.equal(runVector(vector).passed, true);
  assert.equal(runVector({ ...vector, code_profile_expect: vector.expect }).passed, false);
  assert.equal(runVector({ ...vector, expect: vector.code_profile_expect }).passed, false);
  const error = file.vectors.find(({ id }) => id === "OWN-CFG-1")!;
  assert.equal(runVector({ ...error, expect: { error: "ips.whitelist[0]" } }).passed, false);
});
