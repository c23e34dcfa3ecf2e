/**
 * Where the frames of a Zstandard file end (RFC 8878, 3.1).
 *
 * Deno's decompressor stops after the first frame, and takes the end of its input for the end of the file: frames
 * written one behind the other (`cat`, `pzstd`) and what a cut file lacks would be missing without a word. Frames and
 * their blocks say how long they are: this follows them, and decompresses nothing. Pure.
 */
import { IbsrError } from "./errors.ts";

/** Follows the bytes of a file. */
export interface FrameWalker {
  /**
   * Takes bytes up to the end of a frame.
   *
   * @returns How many it took; `ended`: the frame ends behind them.
   * @throws {IbsrError} `data`, if no frame begins here.
   */
  walk(bytes: Uint8Array): { taken: number; ended: boolean };
  /** Whether a frame has begun and not ended. */
  readonly inside: boolean;
}

const MAGIC = 0xfd2fb528, SKIPPABLE = 0x184d2a50;
const DICTIONARY_BYTES = [0, 1, 2, 4], CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const RUN_LENGTH = 1;

/** Starts at the beginning of a file. */
export function startFrames(): FrameWalker {
  /** What the next bytes are, and how many of them it takes to go on. */
  type State = "magic" | "length" | "descriptor" | "block";
  let state: State = "magic", need = 4, word = 0, got = 0, skip = 0, inside = false;
  let checksum = 0, last = false;

  const expect = (next: State, bytes: number) => [state, need, word, got] = [next, bytes, 0, 0];
  const end = () => {
    expect("magic", 4);
    inside = false;
  };

  const steps: Record<State, () => void> = {
    magic() {
      if (word === MAGIC) return expect("descriptor", 1);
      if ((word & 0xfffffff0) >>> 0 !== SKIPPABLE) {
        throw new IbsrError("data", "it can't be decompressed: no frame begins where one should");
      }
      expect("length", 4);
    },
    length() {
      skip = word;
      last = true;
      checksum = 0;
      expect("block", 3);
    },
    descriptor() {
      const single = word >> 5 & 1, content = CONTENT_SIZE_BYTES[word >> 6]! || single;
      skip = 1 - single + DICTIONARY_BYTES[word & 3]! + content;
      checksum = word & 4;
      last = false;
      expect("block", 3);
    },
    block() {
      last = (word & 1) === 1;
      skip = (word >> 1 & 3) === RUN_LENGTH ? 1 : word >>> 3;
      if (last) skip += checksum;
      expect("block", 3);
    },
  };

  return {
    walk(bytes) {
      for (let at = 0; at < bytes.length;) {
        inside = true;
        if (skip > 0) {
          const step = Math.min(skip, bytes.length - at);
          skip -= step;
          at += step;
        } else {
          word = (word | bytes[at++]! << 8 * got) >>> 0;
          if (++got < need) continue;
          steps[state]();
        }
        if (skip === 0 && last && state === "block" && got === 0) {
          last = false;
          end();
          return { taken: at, ended: true };
        }
      }
      return { taken: bytes.length, ended: false };
    },
    get inside() {
      return inside;
    },
  };
}
