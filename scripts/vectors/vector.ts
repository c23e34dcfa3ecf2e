/** A test vector and what came of it. */

/** What all vectors have; the rest is for the engine that runs them. */
export interface Vector {
  id: string;
  /** Part of the engine. */
  engine: string;
  title?: string;
  expect?: unknown;
  [field: string]: unknown;
}

/** What a vector gave. */
export interface Outcome {
  passed: boolean;
  /** In the shape of what was expected. */
  got: unknown;
}

/** Whether `got` has everything that `expected` has; it may have more. */
export function contains(got: unknown, expected: unknown): boolean {
  if (typeof expected !== "object" || expected === null) return Object.is(got, expected);
  if (typeof got !== "object" || got === null) return false;
  if (Array.isArray(expected)) {
    return Array.isArray(got) && got.length === expected.length && expected.every((e, i) => contains(got[i], e));
  }
  return Object.entries(expected).every(([key, value]) => contains((got as Record<string, unknown>)[key], value));
}
