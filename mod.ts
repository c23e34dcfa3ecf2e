/**
 * IBSR as a library. Needs no FFI and runs on any operating system.
 *
 * @module
 */
export type { Counters, NotCounted } from "./src/counters.ts";
