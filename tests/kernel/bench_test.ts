/**
 * Speed, as far as a busy machine can tell: gross regressions fail by ratio, whatever the machine.
 *
 * The limits are far from what `deno task bench` finds (docs/performance.md), so that only a mistake reaches them: a
 * look-up that is no longer inlined, a key that the processor waits for, a copy too many. The least of several
 * interleaved rounds is compared, in processor time, since what else runs only ever adds.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { COUNTERS, KEY4 } from "../../src/layout.ts";
import { readObjects } from "../../src/objects.ts";
import { openSpool } from "../../src/spool.ts";
import { openProgram } from "../../src/xdp.ts";
import { frameOf } from "../../scripts/bench/frames.ts";
import { findMaps, takeSnapshot } from "../../scripts/bench/snapshot.ts";
import { compilePrograms, drain, load, loadFlood, loadSimple, time } from "../../scripts/bench/test_run.ts";
import { testWith } from "../needs.ts";

async function withPrograms(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-test-" });
  try {
    await compilePrograms(folder);
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const SYN = 0x02, ACK = 0x10, PSH_ACK = 0x18;

testWith(
  "kernel",
  "the program counts a packet in no more time than the simplest counter does",
  () =>
    withPrograms(async (folder) => {
      using simple = loadSimple(folder, 10_000);
      using empty = load(folder, "empty");
      for (const object of await readObjects()) {
        using ours = openProgram([object], { mapSize: 10_000, ports: [80, 443] });
        /** The least that each of the three takes, in nanoseconds. */
        const measure = (frame: Uint8Array) => {
          const least = [ours, simple, empty].map(() => Infinity);
          for (let round = 0; round < 8; round++) {
            for (const [i, { fd }] of [ours, simple, empty].entries()) {
              least[i] = Math.min(least[i]!, time(fd, frame, 100_000));
            }
          }
          return { ours: least[0]!, simple: least[1]!, empty: least[2]! };
        };
        for (
          const [what, frame] of [
            ["ACK", frameOf({ port: 80, flags: ACK })],
            ["data", frameOf({ port: 80, flags: PSH_ACK, payload: 60 })],
            ["SYN", frameOf({ port: 80, flags: SYN })],
          ] as const
        ) {
          const ns = measure(frame), ratio = ns.ours / ns.simple; // 0.63 to 0.72
          assert.ok(ratio < 0.9, `${object.kind}, ${what}: ${JSON.stringify(ns)}`);
        }
        const other = measure(frameOf({ port: 81, flags: ACK })); // 3.5 ns of 6.5
        assert.ok(
          other.ours - other.empty < 1.2 * other.empty,
          `${object.kind}, another port: ${JSON.stringify(other)}`,
        );
      }
    }),
);

testWith("kernel", "a flood of SYNs costs no more than in the simplest counter", () =>
  withPrograms(async (folder) => {
    const mapSize = 100_000, syn = frameOf({ port: 80, flags: SYN });
    using ours = openProgram(await readObjects(), { mapSize, ports: [80, 443] });
    using simple = loadSimple(folder, mapSize);
    using a = loadFlood(folder, ours.fd);
    using b = loadFlood(folder, simple.fd);
    const least = [Infinity, Infinity];
    for (const { fd } of [a, b]) time(fd, syn, 2 * mapSize); // fills the maps
    for (let round = 0; round < 8; round++) {
      for (const [i, { fd }] of [a, b].entries()) least[i] = Math.min(least[i]!, time(fd, syn, 100_000));
    }
    assert.ok(least[0]! / least[1]! < 1.4, `${least} ns`); // 0.97
  }));

testWith(
  "kernel",
  "a snapshot takes less than four times the processor time of reading the map",
  () =>
    withPrograms(async (folder) => {
      const entries = 200_000, mapSize = 1.05 * entries, ack = frameOf({ port: 80, flags: ACK });
      using program = openProgram(await readObjects(), { mapSize, ports: [80, 443] });
      using flood = loadFlood(folder, program.fd);
      using spool = openSpool(`${folder}/spool`, { at: Date.now(), rotate: "hourly" });
      const [map] = await findMaps(program, ["known4_0"]);
      /** Milliseconds of processor time, of all threads. */
      const spent = async (action: () => unknown) => {
        const before = process.cpuUsage();
        await action();
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1000;
      };
      let allMs = Infinity, limitMs = Infinity;
      for (let round = 0; round < 5; round++) {
        time(flood.fd, ack, entries);
        // Each read swaps the generations, twice in a round.
        const size = { keySize: KEY4.sizeof, valueSize: COUNTERS.sizeof };
        limitMs = Math.min(limitMs, await spent(() => assert.equal(drain(map!.fd, size), entries)));
        await program.read();
        time(flood.fd, ack, entries);
        allMs = Math.min(allMs, await spent(() => takeSnapshot(program.read, spool, { seq: round, mapSize })));
      }
      assert.ok(allMs / limitMs < 4, `${allMs} ms, and ${limitMs} for the kernel's read alone`); // 2.0
    }),
);
