import assert from "node:assert/strict";
import { ENGINES } from "../../src/policy/engines.ts";
import { PROFILES } from "../../src/policy/profiles.ts";

Deno.test("PROFILES, which help shows, has every engine, in their order, and each one's readings", () => {
  assert.deepEqual(Object.keys(PROFILES), ENGINES.map(({ name }) => name));
  for (const { name, profiles } of ENGINES) assert.deepEqual(PROFILES[name as keyof typeof PROFILES], profiles);
});
