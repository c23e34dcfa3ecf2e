/**
 * The thread that reads files (files.ts): their bytes go into the slots, decompressed, and then what their SHA-256 is.
 */
import { IbsrError, reason } from "../errors.ts";
import { openInput } from "../input.ts";
import type { Outcome, Slots } from "./file_slots.ts";
import { openFile } from "./open_file.ts";

/** This thread, as those of its kind have it. */
const thread = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown): void;
};

/** What reads a file into slots, which are used in turn, wherever the file before it ended. */
function createReader({ states, stored, rooms }: Slots): (path: string) => Promise<void> {
  let slot = 0;
  /** The next slot's room, once it is free. */
  const room = () => {
    for (let state; (state = Atomics.load(states, slot)) !== 0;) Atomics.wait(states, slot, state);
    return rooms[slot]!;
  };
  const handOver = (state: number, bytes: number) => {
    stored[slot] = bytes;
    Atomics.store(states, slot, state);
    Atomics.notify(states, slot);
    slot = (slot + 1) % rooms.length;
  };

  return async (path) => {
    const file = openFile(openInput(path, 0), room); // its size would only say how much room to make
    let filled = 0, failed: Outcome["failed"];
    try {
      for await (const piece of file.pieces()) {
        if (piece.buffer === rooms[slot]!.buffer) {
          handOver(piece.length, file.bytes);
          continue;
        }
        // What was decompressed comes in small pieces: several fill a slot.
        for (let at = 0; at < piece.length;) {
          const to = room(), part = piece.subarray(at, at + to.length - filled);
          to.set(part, filled);
          at += part.length;
          filled += part.length;
          if (filled < to.length) continue;
          handOver(filled, file.bytes);
          filled = 0;
        }
      }
    } catch (error) {
      const { kind = undefined, hint = undefined } = error instanceof IbsrError ? error : {};
      failed = { kind, message: reason(error), hint };
    }
    if (filled > 0) handOver(filled, file.bytes);
    const outcome: Outcome = { sha256: file.sha256(), failed };
    const text = new TextEncoder().encode(JSON.stringify(outcome));
    room().set(text);
    handOver(-text.length, file.bytes);
  };
}

thread.onmessage = ({ data }: MessageEvent<Slots>) => {
  const read = createReader(data);
  thread.onmessage = ({ data }: MessageEvent<string>) => void read(data);
};
thread.postMessage("ready");
