/**
 * Reads `tests/vectors/*.txt`: frames written out by header, and what each must count.
 *
 * A vector is a heading, the frame, and one line of expectation, worked out by hand from the specification:
 *
 *     == a SYN behind no tag is counted
 *     eth   02 00 00 00 00 01  02 00 00 00 00 02  08 00
 *     opt   01*40  # forty times 01
 *     wire  1514
 *     count 192.0.2.1 80: packets 1, bytes 1514, syn 1
 *
 * or `skip  malformed`, any name of a snapshot's `not_counted`. The words before the bytes are for people. `wire` is
 * there when the frame was longer than what was captured. Counters that are not named are 0. IP and TCP checksums are
 * 0: nothing verifies them. Monitored are {@link MONITORED_PORTS}.
 */
import { COUNTER_NAMES, type Counters, type NotCounted, SKIP_NAMES } from "../src/counters.ts";
import type { Drained, SourceCounters } from "../src/model.ts";
import { parseAddress } from "../src/address.ts";

/** The ports monitored when a vector is counted. */
export const MONITORED_PORTS = [22, 80, 443, 65535];

/** A frame and what it must count. */
export interface Vector {
  /** A sentence. */
  name: string;
  frame: Uint8Array;
  /** Length on the wire; more than the frame's where the capture is cut. */
  length: number;
  expected: SourceCounters | keyof NotCounted;
}

/** Vectors by file name without its ending. */
export function readVectors(): Map<string, Vector[]> {
  const directory = new URL("vectors/", import.meta.url);
  const files = Array.from(Deno.readDirSync(directory), (entry) => entry.name).filter((n) => n.endsWith(".txt")).sort();
  return new Map(
    files.map((file) => [file.replace(/\.txt$/, ""), parseVectors(Deno.readTextFileSync(new URL(file, directory)))]),
  );
}

/** Parses the text of one file. Throws an `Error` that names the line for anything it does not know. */
export function parseVectors(text: string): Vector[] {
  const vectors: Vector[] = [];
  let name: string | undefined, bytes: number[] = [], wire: number | undefined;
  for (const [i, line] of text.split("\n").entries()) {
    const bare = line.replace(/#.*/, "").trimEnd();
    if (bare === "") continue;
    const [word, rest = ""] = bare.split(/ +(.*)/s, 2) as [string, string?];
    const wrong = (what: string) => new Error(`line ${i + 1}: ${what}: ${line}`);
    if (word === "==") {
      if (name !== undefined) throw wrong("the vector before expects nothing");
      name = rest;
    } else if (name === undefined) {
      throw wrong("not in a vector");
    } else if (word === "wire") {
      wire = Number(rest);
    } else if (word === "count" || word === "skip") {
      const expected = word === "count" ? parseCount(rest) : SKIP_NAMES.find((skip) => skip === rest);
      if (!expected) throw wrong("no expectation");
      vectors.push({ name, frame: Uint8Array.from(bytes), length: wire ?? bytes.length, expected });
      [name, bytes, wire] = [undefined, [], undefined];
    } else {
      for (const token of rest.split(/ +/).filter(Boolean)) {
        const [, byte, times = "1"] = /^([0-9a-f]{2})(?:\*(\d+))?$/.exec(token) ?? [];
        if (!byte) throw wrong(`"${token}" is no byte`);
        bytes.push(...Array<number>(Number(times)).fill(parseInt(byte, 16)));
      }
    }
  }
  if (name !== undefined) throw new Error(`the last vector expects nothing: ${name}`);
  return vectors;
}

/** `192.0.2.1 80: packets 1, bytes 54` */
function parseCount(text: string): SourceCounters | undefined {
  const [, address, port, list] = /^(\S+) (\d+): (.*)$/.exec(text) ?? [];
  if (!address || !port || !list) return undefined;
  const counters = zeros(COUNTER_NAMES);
  for (const term of list.split(", ")) {
    const [name, value] = term.split(" ");
    if (!(name! in counters)) return undefined;
    counters[name as keyof Counters] = Number(value);
  }
  return { source: parseAddress(address)!, port: Number(port), counters };
}

/** What an engine that monitors {@link MONITORED_PORTS} must drain after this one frame. */
export function drainedOf(vector: Vector): Drained {
  const { expected } = vector, not_counted = zeros(SKIP_NAMES);
  if (typeof expected === "string") {
    not_counted[expected] = 1;
    return { sources: [], totals: [], not_counted };
  }
  return { sources: [expected], totals: [{ port: expected.port, counters: expected.counters }], not_counted };
}

/** A frame as lines of a vector, 16 bytes each, to keep what a fuzzer found. */
export function formatFrame(frame: Uint8Array): string {
  const bytes = Array.from(frame, (byte) => byte.toString(16).padStart(2, "0"));
  const lines = Array.from({ length: Math.ceil(bytes.length / 16) }, (_, i) => bytes.slice(i * 16, i * 16 + 16));
  return lines.map((line) => `data  ${line.join(" ")}\n`).join("");
}

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
}
