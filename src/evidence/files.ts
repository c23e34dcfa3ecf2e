/**
 * Files, each read once: their bytes for the scanner, and their SHA-256 for the manifest.
 *
 * Large ones are read, decompressed and hashed in a thread, which takes about as long as scanning does: a gigabyte then
 * takes 1.1 s where it would take 2. Where no thread can be started, it is done in this one; what comes out is the same.
 */
import { setImmediate } from "node:timers";
import { IbsrError } from "../errors.ts";
import { type Input, makeRoom } from "../input.ts";
import { startThread } from "../thread.ts";
import { makeSlots, type Outcome } from "./file_slots.ts";
import { type OpenFile, openFile } from "./open_file.ts";

/** Reads files, one after the other, each to its end. */
export interface FileReader extends Disposable {
  /** Starts with the next. */
  open(input: Input): OpenFile;
}

/** A reader of about as many bytes. */
export async function openFileReader(bytes: number): Promise<FileReader> {
  const worker = await startThread(async () => await import.meta.resolve("./file_thread.ts"), { bytes });
  return worker ? readApart(worker) : { open: openHere, [Symbol.dispose]() {} };
}

function openHere(input: Input): OpenFile {
  let room: Uint8Array | undefined;
  return openFile(input, () => room ??= makeRoom(input));
}

function readApart(worker: Worker): FileReader {
  const slots = makeSlots(), { states, stored, rooms } = slots;
  let slot = 0, failure: string | undefined;
  worker.onerror = (event) => {
    event.preventDefault();
    failure = event.message;
    for (let i = 0; i < rooms.length; i++) Atomics.notify(states, i);
  };
  worker.postMessage(slots);
  /** The state of the slot that is next, when it is filled. */
  const waitForSlot = async () => {
    await new Promise<void>((resolve) => setImmediate(resolve)); // signals are heard of meanwhile
    for (let state;;) {
      if ((state = Atomics.load(states, slot)) !== 0) return state;
      if (failure !== undefined) throw new Error(`the thread that reads files failed: ${failure}`);
      const { async: waits, value } = Atomics.waitAsync(states, slot, 0);
      if (waits) await value;
    }
  };
  const openApart = ({ path }: Input): OpenFile => {
    let bytes = 0, outcome: Outcome | undefined;
    return {
      async *pieces() {
        worker.postMessage(path);
        for (;;) {
          const state = await waitForSlot(), room = rooms[slot]!;
          bytes = stored[slot]!;
          if (state > 0) yield room.subarray(0, state);
          else outcome = JSON.parse(new TextDecoder().decode(room.slice(0, -state))) as Outcome;
          Atomics.store(states, slot, 0);
          Atomics.notify(states, slot);
          slot = (slot + 1) % rooms.length;
          if (!outcome) continue;
          if (outcome.failed === undefined) return;
          const { kind, message, hint } = outcome.failed;
          throw kind === undefined ? new Error(message) : new IbsrError(kind, message, { hint });
        }
      },
      get bytes() {
        return bytes;
      },
      sha256: () => outcome!.sha256,
    };
  };
  return {
    open: (input) => input.local ? openApart(input) : openHere(input),
    [Symbol.dispose]: () => worker.terminate(),
  };
}
