/**
 * SHA-256 of files while they are read, in a thread of its own where they are large.
 *
 * The digest of a gigabyte takes as long as a third of everything else that reading does. Where bytes lie in shared
 * memory (src/input.ts reads files into such), the thread takes them from there: copied into the thread's own they would
 * be new memory each time, which the system has to clear and take back, 2 s for a gigabyte. Where no thread can be
 * started, digests are computed in place: the result is the same. Pure.
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
  /** Adds bytes. They are taken once what it returns is there: wait for it before changing them. */
  update(bytes: Uint8Array): Promise<unknown> | undefined;
  /** In hexadecimal. */
  finish(): Promise<string> | string;
}

/** The thread's module. */
const THREAD = `import { createHash } from "node:crypto";
let hash;
onmessage = ({ data }) => {
  try {
    if (data === "start") hash = createHash("sha256");
    else if (data === "finish") postMessage(hash.digest("hex"));
    else postMessage(hash.update(data) && "");
  } catch (error) {
    postMessage({ failed: String(error) });
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
  /** What waits for an answer, in the order that the thread was asked in. */
  const asked: PromiseWithResolvers<string>[] = [];
  let failure: Error | undefined;
  const fail = (why: string) => {
    failure = new Error(`the thread for digests failed: ${why}`);
    for (const { reject } of asked.splice(0)) reject(failure);
  };
  worker.onmessage = ({ data }: MessageEvent<string | { failed: string }>) => {
    if (typeof data === "string") asked.shift()?.resolve(data);
    else fail(data.failed);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(event.message);
  };
  const ask = (message: Uint8Array | "finish"): Promise<string> => {
    if (failure) return Promise.reject(failure);
    const answer = Promise.withResolvers<string>();
    answer.promise.catch(() => {}); // it is thrown where it is waited for, unless something else was before
    asked.push(answer);
    worker.postMessage(message);
    return answer.promise;
  };
  return {
    start() {
      worker.postMessage("start");
      return {
        update: ask,
        finish: () => ask("finish"),
      };
    },
    [Symbol.dispose]: () => worker.terminate(),
  };
}
