/**
 * A collector's use of the spool, for tests that kill it: appends lines `first` to `last`, six an hour, tells standard
 * output the number of each once append() has returned, seals as it goes and at the end.
 *
 *     spool_writer.ts DIRECTORY COMPRESSION FIRST LAST BYTES
 */
import type { Compression } from "../../src/segment.ts";
import { openSpool } from "../../src/spool.ts";

/** When line `n` is written, in milliseconds since 1970. */
export function timeOf(n: number): number {
  return Date.UTC(2026, 10, 21) + n * 600_000;
}

/** Line `n`, about `bytes` long. */
export function* lineOf(n: number, bytes: number): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  yield encoder.encode(`{"n":${n},"pad":"`);
  const pad = encoder.encode(Array.from({ length: 1000 }, (_, i) => (i * n) % 997).join(" ").slice(0, 2000));
  for (let at = 0; at < bytes; at += pad.length) yield pad;
  yield encoder.encode('"}\n');
}

if (import.meta.main) {
  const [directory, compress, first, last, bytes] = Deno.args as [string, Compression, ...string[]];
  using spool = openSpool(directory, { at: timeOf(Number(first)), rotate: "hourly", compress });
  for (let n = Number(first); n <= Number(last); n++) {
    await spool.append(lineOf(n, Number(bytes)), { at: timeOf(n) });
    Deno.stdout.writeSync(new TextEncoder().encode(`${n}\n`));
    const sealing = spool.seal(timeOf(n));
    if (n % 3 === 0) await sealing;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await spool.seal();
}
