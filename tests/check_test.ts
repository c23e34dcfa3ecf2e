/**
 * What `ibsr check` says of the disk, by the limits of the spool.
 */
import assert from "node:assert/strict";
import { judgeDisk } from "../src/check.ts";

const MIB = 2 ** 20, GIB = 2 ** 30;

Deno.test("judgeDisk() names --max-bytes as what the spool may grow to, however small its segments are", () => {
  const limits = { maxBytes: 20 * GIB, maxFiles: 3600 };
  const roomy = judgeDisk({ free: 60 * GIB, used: 6 * 1500, largest: 1500, limits });
  assert.equal(roomy.verdict, "pass");
  assert.match(roomy.detail, /the spool may grow to 20\.0 GiB \(--max-bytes; \S+ KiB now\), by 20\.0 GiB more$/);
  assert.equal(judgeDisk({ free: 19 * GIB, used: 0, largest: 0, limits }).verdict, "warn");
  assert.equal(judgeDisk({ free: 19 * GIB, used: 2 * GIB, largest: 0, limits }).verdict, "pass");
});

Deno.test("judgeDisk() says that --max-files bounds no bytes, and counts with the largest segment", () => {
  const limits = { maxBytes: undefined, maxFiles: 3600 };
  const { verdict, detail } = judgeDisk({ free: 60 * GIB, used: 101 * MIB, largest: 100 * MIB, limits });
  assert.equal(verdict, "warn", "3600 of 100 MiB are 351 GiB");
  assert.match(
    detail,
    /3,600 segments of any size .*the largest so far \(100 MiB\), by 351 GiB more; no --max-bytes bounds it/,
  );
  assert.equal(judgeDisk({ free: 60 * GIB, used: MIB, largest: MIB, limits }).verdict, "pass");
  const fresh = judgeDisk({ free: 60 * GIB, used: 0, largest: 0, limits });
  assert.match(fresh.detail, /how large the spool gets can't be told: no --max-bytes$/);
  assert.equal(judgeDisk({ free: 0.5 * GIB, used: 0, largest: 0, limits }).verdict, "warn");
});
