/**
 * The observer in another thread: the policy is simulated here, while sources are counted there.
 *
 * An interval's cells are copied into one of a few slots of shared memory, which the thread frees when it has counted
 * them: a tenth of the time that counting takes. What was simulated waits where the thread is slower. A thread gets
 * everything in the same order as an observer here would, so it finds the same. Where no thread can be started, or it
 * isn't worth it, the observer is one of this thread. Pure.
 */
import { startThread } from "../thread.ts";
import { createObserver, type Observation, type Observer, type ObserverOptions } from "./observe.ts";
import { CELL_BYTES, DOUBLES, FAILED, type Failure, type ObserverMessage, TAKEN, viewCells } from "./observe_slots.ts";

/** Intervals that may wait for the thread, and how much memory they may take together: one always may. */
const MOST_SLOTS = 3, MOST_BYTES = 64 << 20;

/** A thread, for as many observers as are needed one after the other. */
export interface ObserverThread extends Disposable {
  /** Waits for the thread's start; the observer is in this one where there is none. */
  observe(options: ObserverOptions): Promise<Observer>;
}

/** Starts a thread for about as many bytes of snapshots, while something else is done. */
export function startObserverThread(bytes: number): ObserverThread {
  const starting = startThread(async () => await import.meta.resolve("./observe_thread.ts"), { bytes });
  return {
    async observe(options) {
      const worker = await starting;
      return worker ? observeApart(worker, options) : createObserver(options);
    },
    [Symbol.dispose]: () => void starting.then((worker) => worker?.terminate()),
  };
}

function observeApart(worker: Worker, options: ObserverOptions): Observer {
  const states = new Int32Array(new SharedArrayBuffer(4 * MOST_SLOTS)), slots: SharedArrayBuffer[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<Observation>();
  promise.catch(() => {}); // it is thrown where it is waited for
  let next = 0;
  const send = (message: ObserverMessage) => worker.postMessage(message);
  const fail = (why: string) => reject(new Error(`the observer's thread failed: ${why}`));
  worker.onmessage = ({ data }: MessageEvent<Observation | Failure>) => {
    if ("failed" in data) fail(data.failed);
    else resolve(data);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(event.message);
  };
  send({ kind: "begin", options, states });

  /** A slot with room for so many bytes, when there is one. */
  const reserve = (bytes: number): number => {
    const count = Math.max(1, Math.min(MOST_SLOTS, Math.floor(MOST_BYTES / Math.max(1, bytes))));
    if (next >= count) next = 0;
    const slot = next++;
    // A large interval waits until those in the other slots have been counted, too: their room is then given up.
    for (let i = 0; i < slots.length; i++) {
      if (i === slot || i >= count) { while (Atomics.load(states, i) === TAKEN) Atomics.wait(states, i, TAKEN); }
    }
    if (slots.length > count) slots.length = count;
    if ((slots[slot]?.byteLength ?? -1) < bytes) {
      const room = slots[slot] = new SharedArrayBuffer(bytes + (bytes >> 2));
      send({ kind: "room", slot, room });
    }
    return slot;
  };

  return {
    startStream: () => send({ kind: "stream" }),
    add({ beginMs, endMs, cells, totalSyn, unattributedSyn }, exclusions) {
      const { count } = cells, slot = reserve(CELL_BYTES * count);
      if (Atomics.load(states, slot) === FAILED) return; // finish() says why
      const room = viewCells(slots[slot]!, count);
      for (const name of DOUBLES) room[name].set(cells[name].subarray(0, count));
      room.source.set(cells.source.subarray(0, count));
      room.port.set(cells.port.subarray(0, count));
      Atomics.store(states, slot, TAKEN);
      send({ kind: "interval", slot, count, interval: { beginMs, endMs, totalSyn, unattributedSyn }, exclusions });
    },
    finish() {
      send({ kind: "finish" });
      return promise;
    },
  };
}
