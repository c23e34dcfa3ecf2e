/**
 * Progress on a terminal: a line of standard error that is written over, and wiped when done; and what phases took.
 */
import { cpuUsage } from "node:process";
import { log } from "../log.ts";

/** How far something has come. */
export interface Bar {
  /** `share` from 0 to 1, if it is known; `count` in words: `12 MB`. Drawn ten times a second at most. */
  show(share: number | undefined, count: string): void;
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
      const line = barLine({ what, share, count, elapsedMs: now - start, columns: Deno.consoleSize().columns });
      Deno.stderr.writeSync(encoder.encode(`\r${line}\x1b[K`));
    },
    clear() {
      if (terminal && shown > start) Deno.stderr.writeSync(encoder.encode("\r\x1b[K"));
    },
  };
}

/** The line, what it is about first: one command may show several, one after another. */
export function barLine(
  { what, share, count, elapsedMs, columns }: {
    what: string;
    share: number | undefined;
    count: string;
    elapsedMs: number;
    columns: number;
  },
): string {
  const time = share === undefined
    ? `${(elapsedMs / 1000).toFixed(0)} s`
    : share > 0
    ? sayLeft(elapsedMs / share * (1 - share))
    : "";
  const parts = [what, share === undefined ? "" : drawShare(share), count, time].filter(Boolean);
  return parts.join("  ").slice(0, Math.max(20, columns - 1));
}

function drawShare(share: number): string {
  const bar = "█".repeat(Math.round(20 * share)).padEnd(20, "░");
  return `${bar} ${(100 * share).toFixed(0).padStart(3)} %`;
}

function sayLeft(ms: number): string {
  return `${(ms / 1000).toFixed(0)} s left`;
}

/**
 * Says with --verbose what each phase of a command took, of time and of the process's processor time. The first is what
 * came before this is called, since the process started; each other begins where the one before it has ended.
 */
export function startPhases(): (ended: string) => void {
  let time = 0, processor = 0;
  const endPhase = (ended: string) => {
    const { user, system } = cpuUsage(), now = performance.now(), used = (user + system) / 1000;
    log("debug", `${ended}: ${formatMs(now - time)}, ${formatMs(used - processor)} of processor time`);
    [time, processor] = [now, used];
  };
  endPhase("starting");
  return endPhase;
}

function formatMs(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
