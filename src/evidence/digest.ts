/**
 * SHA-256 of files while they are read, in a thread of its own where they are large.
 *
 * The digest of a gigabyte takes as long as a third of everything else that reading does. The thread's module is a
 * `data:` URL, since the executable is one script and has no other modules to start a thread with. Where no thread
 * can be started, digests are computed in place: the result is the same.
 */
import { createHash } from "node:crypto";

/** Computes digests, one after the other. */
export interface Digester extends Disposable {
  /** Begins the next file's. */
  start(): Digest;
}

/** A digest that is being computed. */
export interface Digest {
  /** Adds bytes, which it may take for itself. Wait for what it returns before adding more. */
  update(bytes: Uint8Array<ArrayBuffer>): Promise<void> | undefined;
  /** In hexadecimal. */
  finish(): Promise<string> | string;
}

/** Below this a thread costs more than it saves. */
const WORTH_A_THREAD = 32 << 20;
/** Bytes that may wait for the thread. */
const MOST_WAITING = 16 << 20;

const THREAD = `import { createHash } from "node:crypto";
let hash;
onmessage = ({ data }) => {
  if (data === "start") hash = createHash("sha256");
  else if (data === "finish") postMessage(hash.digest("hex"));
  else postMessage(hash.update(data) && data.length);
};
postMessage("ready");`;

/** Starts a digester for about as many bytes. */
export async function openDigester(bytes: number): Promise<Digester> {
  const worker = bytes >= WORTH_A_THREAD && navigator.hardwareConcurrency > 1 ? await startThread() : undefined;
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

/** The thread once it has started; undefined if it can't. */
async function startThread(): Promise<Worker | undefined> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let worker: Worker | undefined;
  try {
    worker = new Worker(`data:text/javascript,${encodeURIComponent(THREAD)}`, { type: "module" });
    worker.onmessage = () => resolve(true);
    worker.onerror = (event) => {
      event.preventDefault();
      resolve(false);
    };
    if (await promise) return worker;
  } catch {
    // It can't be started in this build or place: nothing but time is lost.
  }
  worker?.terminate();
  return undefined;
}

function digestInThread(worker: Worker): Digester {
  let waiting = 0, room: (() => void) | undefined, fail: ((error: Error) => void) | undefined;
  let finished: ((digest: string) => void) | undefined;
  worker.onmessage = ({ data }: MessageEvent<number | string>) => {
    if (typeof data === "string") return finished?.(data);
    waiting -= data;
    if (waiting <= MOST_WAITING) room?.();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail?.(new Error(event.message));
  };
  return {
    start() {
      worker.postMessage("start");
      return {
        update(bytes) {
          waiting += bytes.length;
          worker.postMessage(bytes, [bytes.buffer]);
          if (waiting <= MOST_WAITING) return undefined;
          return new Promise((resolve, reject) => [room, fail] = [resolve, reject]);
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
