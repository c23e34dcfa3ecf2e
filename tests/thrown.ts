/** What is thrown, for tests that look at more of it than assert.throws() does. */
import assert from "node:assert/strict";
import { IbsrError } from "../src/errors.ts";

/** The error of `action`; fails if there is none, or one that is not ibsr's. */
export async function thrown(action: () => unknown): Promise<IbsrError> {
  try {
    await action();
  } catch (error) {
    assert.ok(error instanceof IbsrError, `not an IbsrError: ${error}`);
    return error;
  }
  assert.fail("nothing was thrown");
}
