/**
 * Random packets through the loaded kernel program and through the model: `deno task fuzz --packets N --seed S`.
 *
 * Each packet must be passed, unchanged, and counted alike. Ends at the first that is not, and prints it as small as
 * it can be made, in the form of tests/vectors. The seed is printed: the same one gives the same packets.
 */
import { parseArgs } from "node:util";
import { compareFrames, openKernel, RUNNABLE } from "../tests/kernel/engine.ts";
import { createRandom, mutateFrame, OTHER_PORTS, randomFrame } from "../tests/packets.ts";
import { MONITORED_PORTS } from "../tests/vectors.ts";

const BATCH = 20_000;
const { values } = parseArgs({
  options: {
    packets: { type: "string", default: "1000000" },
    seed: { type: "string", default: `${Date.now() % 1_000_000}` },
  },
});
const packets = Number(values.packets), seed = Number(values.seed);
if (!(packets > 0) || !Number.isInteger(seed)) throw new Error("usage: deno task fuzz --packets N --seed S");
console.log(`${packets} packets, --seed ${seed}`);

const ports = [...MONITORED_PORTS, ...OTHER_PORTS.filter((port) => port > 0).slice(0, 2)];
const random = createRandom(seed);
using program = await openKernel(ports);
let done = 0, tooShort = 0, shown = performance.now();
let last: Uint8Array[] = [];
while (done < packets) {
  const frames: Uint8Array[] = [];
  while (frames.length < Math.min(BATCH, packets - done)) {
    const frame = last.length > 0 && random.oneIn(3)
      ? mutateFrame(random, { frame: random.pick(last), other: random.pick(last) })
      : randomFrame(random);
    if (frame.length >= RUNNABLE.least && frame.length <= RUNNABLE.most) frames.push(frame);
    else tooShort++; // a test run takes no frame without an Ethernet header
  }
  const wrong = await compareFrames(program, ports, frames);
  if (wrong) {
    console.log(`after ${done} packets with --seed ${seed}: ${wrong}`);
    Deno.exit(1);
  }
  done += frames.length;
  last = frames.slice(0, 1000);
  if (performance.now() - shown > 10_000) {
    shown = performance.now();
    console.log(`${done} packets agree`);
  }
}
console.log(`${done} packets with --seed ${seed}: passed, unchanged, counted alike (${tooShort} too short to run)`);
