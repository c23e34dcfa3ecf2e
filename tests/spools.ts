/** Spools in real temporary directories, for tests. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { listSegments } from "../src/segment.ts";
import { openSpool, type SpoolOptions } from "../src/spool.ts";

export const HOUR = 3_600_000;
/** When spools are opened: 2026-11-21 03:10 UTC, in milliseconds since 1970. */
export const AT = Date.UTC(2026, 10, 21, 3, 10);
const encoder = new TextEncoder(), decoder = new TextDecoder();

/** A test with a directory of its own. */
export function withDirectory(test: (directory: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const directory = Deno.makeTempDirSync({ prefix: "ibsr-spool-" });
    try {
      await test(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  };
}

/** A spool with hourly segments, opened at `AT`. */
export function open(directory: string, options: Partial<SpoolOptions> = {}) {
  return openSpool(directory, { at: AT, rotate: "hourly", ...options });
}

/** A line as the encoder gives it: in chunks, from one buffer that is written over. */
export function* line(text: string, chunkBytes = 3): Generator<Uint8Array> {
  const bytes = encoder.encode(text + "\n"), buffer = new Uint8Array(chunkBytes);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const part = bytes.subarray(at, at + chunkBytes);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
  }
  buffer.fill(0);
}

/** Puts a file into the directory. */
export function write(directory: string, name: string, content: string | Uint8Array): void {
  Deno.writeFileSync(`${directory}/${name}`, typeof content === "string" ? encoder.encode(content) : content);
}

/** A file's content, as text. */
export function read(directory: string, name: string): string {
  const bytes = Deno.readFileSync(`${directory}/${name}`);
  if (name.endsWith(".zst")) return decoder.decode(zstdDecompressSync(bytes));
  return decoder.decode(name.endsWith(".gz") ? gunzipSync(bytes) : bytes);
}

/** The directory's segment files and all else but the lock, with their content. */
export function readAll(directory: string): Record<string, string> {
  const names = [...Deno.readDirSync(directory)].map((entry) => entry.name).filter((name) => name !== "spool.lock");
  return Object.fromEntries(names.sort().map((name) => [name, read(directory, name)]));
}

/** Names of the spool's segments as `prune()` leaves them. */
export function names(directory: string): string[] {
  return listSegments(directory).map((segment) => segment.name);
}
