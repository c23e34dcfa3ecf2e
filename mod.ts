/**
 * IBSR as a library: snapshots of every version, and captures, read as streams. Needs no FFI and runs on any
 * operating system.
 *
 * ```ts
 * import { readSnapshots } from "./mod.ts";
 *
 * using file = await Deno.open("snapshot_2026112103.jsonl");
 * for await (const line of readSnapshots(file.readable, "snapshot_2026112103.jsonl")) {
 *   if ("snapshot" in line) console.log(line.snapshot.ts_unix_sec, line.snapshot.buckets.length);
 *   else console.error(line.error.message);
 * }
 * ```
 *
 * @module
 */
export type { PortRange } from "./src/address.ts";
export type { Counters, Entries, NotCounted } from "./src/counters.ts";
export { type ErrorKind, IbsrError } from "./src/errors.ts";
export { type Capture, type CaptureSummary, type Frame, readFrames } from "./src/pcap.ts";
export {
  type Bucket,
  decodeSnapshot,
  type Line,
  listPorts,
  readSnapshots,
  type Snapshot,
  type SnapshotMode,
} from "./src/snapshot.ts";
