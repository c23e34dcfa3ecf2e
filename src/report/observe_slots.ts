/** What goes between an observer and its thread: messages, and cells in slots of shared memory. Pure. */
import type { Exclusions, ObservedInterval, ObserverOptions } from "./observe.ts";

/** What the thread is told. */
export type ObserverMessage =
  | { kind: "begin"; options: ObserverOptions; states: Int32Array }
  | { kind: "stream" }
  | { kind: "room"; slot: number; room: SharedArrayBuffer }
  | {
    kind: "interval";
    slot: number;
    count: number;
    interval: Omit<ObservedInterval, "cells">;
    exclusions: Exclusions;
  }
  | { kind: "finish" };

/** What the thread says if it can't go on; otherwise it says what was observed. */
export interface Failure {
  failed: string;
}

/** States of a slot. */
export const FREE = 0, TAKEN = 1, FAILED = 2;

/** Columns of doubles. */
export const DOUBLES = ["packets", "bytes", "syn", "synAck", "handshakeAck", "rst", "data"] as const;
/** Of a cell. */
export const CELL_BYTES = 8 * DOUBLES.length + 4 + 2;

/** The cells in a slot: doubles first, so that all columns begin where their numbers may. */
export function viewCells(slot: SharedArrayBuffer, count: number): ObservedInterval["cells"] {
  const column = (k: number) => new Float64Array(slot, 8 * count * k, count), rest = 8 * count * DOUBLES.length;
  return {
    ...{ count, source: new Uint32Array(slot, rest, count), port: new Uint16Array(slot, rest + 4 * count, count) },
    ...{ packets: column(0), bytes: column(1), syn: column(2), synAck: column(3), handshakeAck: column(4) },
    ...{ rst: column(5), data: column(6) },
  } as unknown as ObservedInterval["cells"];
}
