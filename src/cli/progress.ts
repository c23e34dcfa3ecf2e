/**
 * Progress on a terminal: a line of standard error that is written over, and wiped when done.
 */

/** How far something has come. */
export interface Bar {
  /** `share` from 0 to 1; `count` in words: `12 MB`. Drawn ten times a second at most. */
  show(share: number, count: string): void;
  clear(): void;
}

/** A bar for `what`; it shows nothing where standard error is no terminal. */
export function createBar(what: string): Bar {
  const terminal = Deno.stderr.isTerminal(), encoder = new TextEncoder(), start = performance.now();
  let shown = start;
  return {
    show(share, count) {
      const now = performance.now();
      if (!terminal || now - shown < 100) return;
      shown = now;
      const bar = "█".repeat(Math.round(20 * share)).padEnd(20, "░");
      const left = share > 0 ? `${((now - start) / 1000 * (1 / share - 1)).toFixed(0)} s left` : "";
      const line = `\r${bar} ${(100 * share).toFixed(0).padStart(3)} %  ${count}  ${left}  ${what}`;
      Deno.stderr.writeSync(encoder.encode(line.slice(0, Math.max(20, Deno.consoleSize().columns - 1)) + "\x1b[K"));
    },
    clear() {
      if (terminal && shown > start) Deno.stderr.writeSync(encoder.encode("\r\x1b[K"));
    },
  };
}
