/** A snapshot, from the maps to a line on the disk: what it takes, at sizes from ten thousand entries up. */
import { toDelta } from "../../src/counters.ts";
import { returnLargeBuffers } from "../../src/libc.ts";
import { readObjects } from "../../src/objects.ts";
import { encodeSnapshot } from "../../src/snapshot.ts";
import { openSpool } from "../../src/spool.ts";
import { openProgram } from "../../src/xdp.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { V8_FLAGS } from "../compile/permissions.ts";
import { frameOf } from "./frames.ts";
import type { Row, Section } from "./rows.ts";
import { peakMb, runApart } from "./run.ts";

const SIZES = [[10_000, 9], [100_000, 9], [1_000_000, 9]] as const;

export const SNAPSHOT: Section = {
  name: "snapshot",
  title: "A snapshot, from the maps to the disk",
  about:
    "From the swap of the maps to the line on the disk (fsync), in a process of its own as the collector runs; the " +
    "peak is of that process's resident memory. Compared to the part of it in which the kernel reads its maps.",
  missing: () => whatIsMissing("kernel"),
  async run() {
    const rows: Row[] = [];
    for (const [entries, rounds] of SIZES) {
      const all = await runApart<Round[]>(import.meta.filename!, [`${entries}`, `${rounds}`], [V8_FLAGS]);
      const what = `${entries.toLocaleString("en-US")} entries`;
      rows.push({
        what,
        unit: "ms",
        ours: all.map((round) => round.allMs),
        comparedTo: { what: "the kernel's read alone", theirs: all.map((round) => round.readMs) },
        goal: { of: "ratio", atMost: 1.8 },
      }, { what: `${what}, peak RSS`, unit: "MB", ours: all.map((round) => round.peakMb) });
    }
    return rows;
  },
};

/** What a round took. */
interface Round {
  readMs: number;
  sortMs: number;
  writeMs: number;
  allMs: number;
  peakMb: number;
}

/** One size: fills the maps and takes a snapshot, `rounds` times. */
async function measureRounds(entries: number, rounds: number): Promise<Round[]> {
  returnLargeBuffers(); // as the collector does
  const folder = await Deno.makeTempDir();
  using program = openProgram(await readObjects(), { mapSize: Math.ceil(entries * 1.02) + 1000, ports: [80, 443] });
  using spool = openSpool(folder, { at: Date.now(), rotate: "hourly" });
  const frame = frameOf({ port: 80, flags: 0x10 }), results: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < entries; i++) {
      [frame[27], frame[28], frame[29]] = [i >> 16, i >> 8, i];
      program.run(frame);
    }
    const start = performance.now();
    const reading = await program.read();
    const read = performance.now();
    const delta = toDelta(reading);
    const sorted = performance.now();
    const stream = { runId: 0, hostname: "bench", iface: "bench", mode: "test_run" as const, mapSize: entries };
    const chunks = encodeSnapshot(stream, { seq: round, endMs: Date.now(), lengthMs: 10_000 }, delta);
    await spool.append(chunks, { at: Date.now() });
    const end = performance.now();
    results.push({
      readMs: read - start,
      sortMs: sorted - read,
      writeMs: end - sorted,
      allMs: end - start,
      peakMb: peakMb(),
    });
  }
  await Deno.remove(folder, { recursive: true });
  return results;
}

if (import.meta.main) {
  const [entries, rounds] = Deno.args.map(Number) as [number, number];
  console.log(JSON.stringify(await measureRounds(entries, rounds)));
}
