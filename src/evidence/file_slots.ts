/**
 * What goes between a thread that reads files and who uses their bytes: slots of shared memory, used in turn.
 *
 * A message starts a file; all else goes through the slots, since a message takes ten times as long as its megabyte
 * takes to be looked at. Pure.
 */
import type { ErrorKind } from "../errors.ts";

/** What the thread gets at its start; later messages are paths of files. */
export interface Slots {
  /** Of each: 0, the thread's to fill; the number of bytes in it; or, negative, how many bytes of JSON are, an Outcome. */
  states: Int32Array;
  /** Of each: bytes as they are stored that were read so far. */
  stored: Float64Array;
  /** Together as much as the processor's caches hold: of 4 MB each, a gigabyte takes 0.3 s more. */
  rooms: Uint8Array[];
}

/** How a file ended. */
export interface Outcome {
  /** Of what is stored; in hexadecimal. */
  sha256: string;
  /** What was thrown. `kind`: of an IbsrError. */
  failed: { kind: ErrorKind | undefined; message: string; hint: string | undefined } | undefined;
}

/** Slots, and bytes in each. */
const COUNT = 4, ROOM_BYTES = 1 << 20;

/** Empty slots. */
export function makeSlots(): Slots {
  return {
    states: new Int32Array(new SharedArrayBuffer(4 * COUNT)),
    stored: new Float64Array(new SharedArrayBuffer(8 * COUNT)),
    rooms: Array.from({ length: COUNT }, () => new Uint8Array(new SharedArrayBuffer(ROOM_BYTES))),
  };
}
