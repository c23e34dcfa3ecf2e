/**
 * The line of progress on a terminal.
 */
import assert from "node:assert/strict";
import { barLine } from "../src/cli/progress.ts";

const line = { what: "reading", share: 0.25, count: "12 MB", elapsedMs: 2000, columns: 80 };

Deno.test("barLine() begins with what runs, and says how far it is and how long it will take", () => {
  assert.equal(barLine(line), "reading  █████░░░░░░░░░░░░░░░  25 %  12 MB  6 s left");
  assert.equal(barLine({ ...line, share: 0 }), "reading  ░░░░░░░░░░░░░░░░░░░░   0 %  12 MB");
  assert.equal(barLine({ ...line, share: undefined }), "reading  12 MB  2 s");
});

Deno.test("barLine() fits the terminal, and is cut at its end", () => {
  assert.equal(barLine({ ...line, columns: 30 }), "reading  █████░░░░░░░░░░░░░░░");
});
