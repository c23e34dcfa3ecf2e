/**
 * Threads of this process: started where they pay, and never needed. Pure.
 */

/** Of fewer bytes of snapshots, a thread costs more than it saves. */
const WORTH_A_THREAD = 32 << 20;

/**
 * Starts a thread that is to work on about so many bytes of snapshots.
 *
 * @param module Its module's URL. The module says by a message, whatever it is, that it has started.
 * @returns Once it has started; undefined if it isn't worth it or can't be: then the work is done in this one.
 */
export async function startThread(
  module: () => string | Promise<string>,
  { bytes }: { bytes: number },
): Promise<Worker | undefined> {
  if (bytes < WORTH_A_THREAD || navigator.hardwareConcurrency < 2) return undefined;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let worker: Worker | undefined;
  try {
    worker = new Worker(await module(), { type: "module" });
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
