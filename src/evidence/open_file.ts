/**
 * A file that is read once, for its bytes and for what it is as it is stored: the same here and in a thread.
 */
import { createHash } from "node:crypto";
import type { Input } from "../input.ts";

/** A file that is being read. */
export interface OpenFile {
  /** Its bytes, decompressed: to their end, or to what is wrong with them. A piece is valid until the next is asked for. */
  pieces(): AsyncIterable<Uint8Array>;
  /** Bytes read so far, as they are stored. */
  readonly bytes: number;
  /** Of all of them, when the pieces have ended; in hexadecimal. */
  sha256(): string;
}

/** Starts to read; `room` as Input.read() has it. */
export function openFile(input: Input, room: () => Uint8Array): OpenFile {
  const hash = createHash("sha256");
  let bytes = 0;
  const take = (part: Uint8Array) => {
    hash.update(part);
    bytes += part.length;
  };
  return {
    pieces: () => input.read(take, room),
    get bytes() {
      return bytes;
    },
    sha256: () => hash.digest("hex"),
  };
}
