/** Waiting that a signal can end. */

/** Waits; rejects with the abort reason at `signal`. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    if (ms <= 0) return resolve();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Waits until the monotonic clock shows `at`; false if `signal` aborted first. */
export function sleepUntil(at: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const stop = () => {
      clearTimeout(timer);
      resolve(false);
    };
    let timer: ReturnType<typeof setTimeout>;
    const wait = () => {
      const left = at - performance.now(); // a timer can be early by a millisecond
      if (left <= 0) {
        signal.removeEventListener("abort", stop);
        return resolve(true);
      }
      timer = setTimeout(wait, Math.min(left, 2 ** 30));
    };
    signal.addEventListener("abort", stop, { once: true });
    wait();
  });
}
