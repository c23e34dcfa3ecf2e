/**
 * SHA-256 of files while they are read, in a thread of its own where they are large.
 *
 * The digest of a gigabyte takes as long as a third of everything else that reading does. Bytes go to the thread
 * through a ring of shared memory: a buffer that is handed over is new memory each time, which the system has to clear
 * and take back, 2 s for a gigabyte. Where no thread can be started, digests are computed in place: the result is the
 * same. Pure.
 */
import { createHash } from "node:crypto";
import { startThread } from "../thread.ts";

/** Computes digests, one after the other. */
export interface Digester extends Disposable {
  /** Begins the next file's. */
  start(): Digest;
}

/** A digest that is being computed. */
export interface Digest {
  /** Adds bytes. They are taken once what it returns is there: wait for it before adding more. */
  update(bytes: Uint8Array): Promise<void> | undefined;
  /** In hexadecimal. */
  finish(): Promise<string> | string;
}

/** Pieces of the ring, and how large they are: the processor's cache holds all that waits for the thread. */
const SLOTS = 6, SLOT_BYTES = 1 << 20;

/** The thread's module. */
const THREAD = `import { createHash } from "node:crypto";
let hash, ring;
onmessage = ({ data }) => {
  if (data === "start") hash = createHash("sha256");
  else if (data === "finish") postMessage(hash.digest("hex"));
  else if (data instanceof SharedArrayBuffer) ring = data;
  else {
    hash.update(new Uint8Array(ring, data.slot * ${SLOT_BYTES}, data.length));
    postMessage(data.slot);
  }
};
postMessage("ready");`;

/** Starts a digester for about as many bytes. */
export async function openDigester(bytes: number): Promise<Digester> {
  const worker = await startThread(() => `data:text/javascript,${encodeURIComponent(THREAD)}`, { bytes });
  return worker ? digestInThread(worker) : digestHere();
}

function digestHere(): Digester {
  return {
    start() {
      const hash = createHash("sha256");
      return {
        update(bytes) {
          hash.update(bytes);
          return undefined;
        },
        finish: () => hash.digest("hex"),
      };
    },
    [Symbol.dispose]() {},
  };
}

function digestInThread(worker: Worker): Digester {
  const ring = new SharedArrayBuffer(SLOTS * SLOT_BYTES), free = Array.from({ length: SLOTS }, (_, slot) => slot);
  let freed: (() => void) | undefined, finished: ((digest: string) => void) | undefined;
  let fail: ((error: Error) => void) | undefined;
  worker.onmessage = ({ data }: MessageEvent<number | string>) => {
    if (typeof data === "string") return finished?.(data);
    free.push(data);
    freed?.();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail?.(new Error(event.message));
  };
  worker.postMessage(ring);
  /** Hands over what there is room for; returns the rest. */
  const put = (bytes: Uint8Array): Uint8Array => {
    let at = 0;
    while (at < bytes.length && free.length > 0) {
      const slot = free.pop()!, part = bytes.subarray(at, at + SLOT_BYTES);
      new Uint8Array(ring, slot * SLOT_BYTES).set(part);
      worker.postMessage({ slot, length: part.length });
      at += part.length;
    }
    return bytes.subarray(at);
  };
  const putAll = async (bytes: Uint8Array) => {
    for (let rest = bytes; rest.length > 0; rest = put(rest)) {
      await new Promise<void>((resolve, reject) => [freed, fail] = [resolve, reject]);
    }
  };
  return {
    start() {
      worker.postMessage("start");
      return {
        update(bytes) {
          const rest = put(bytes);
          return rest.length === 0 ? undefined : putAll(rest);
        },
        finish() {
          worker.postMessage("finish");
          return new Promise((resolve, reject) => [finished, fail] = [resolve, reject]);
        },
      };
    },
    [Symbol.dispose]: () => worker.terminate(),
  };
}
