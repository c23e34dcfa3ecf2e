/**
 * The kernel program against the model and against ground truth: every packet, every counter.
 */
import assert from "node:assert/strict";
import { readObjects } from "../../src/objects.ts";
import { readFrames } from "../../src/pcap.ts";
import { openProgram } from "../../src/xdp.ts";
import { captureDirectory, compareCapture, linkTypeOf, listCaptures } from "../ground_truth.ts";
import { testWith } from "../needs.ts";
import { createRandom, everyCut, everyFlagAndOffset, mutateFrame, OTHER_PORTS, randomFrame } from "../packets.ts";
import { drainedOf as expectationOf, MONITORED_PORTS, readVectors } from "../vectors.ts";
import { compareFrames, differences, drainKernel, openKernel, runFrame, RUNNABLE } from "./engine.ts";

const runnable = (frame: Uint8Array) => frame.length >= RUNNABLE.least && frame.length <= RUNNABLE.most;

for (const kind of ["frags", "plain"] as const) {
  testWith(
    "kernel",
    `the ${kind} program counts every vector as worked out by hand, passes it, and changes no byte`,
    async () => {
      using program = await openKernel(MONITORED_PORTS, kind, 1000);
      let ran = 0;
      for (const vectors of readVectors().values()) {
        for (const vector of vectors) {
          // A test run knows no other length than the frame's, and takes none shorter than an Ethernet header.
          if (!runnable(vector.frame) || vector.length !== vector.frame.length) continue;
          assert.equal(runFrame(program, vector.frame), undefined, vector.name);
          assert.deepEqual(differences(await drainKernel(program), expectationOf(vector)), [], vector.name);
          ran++;
        }
      }
      console.log(`${ran} vectors`);
      assert.ok(ran >= 170);
    },
  );

  testWith("kernel", `the ${kind} program and the model agree on every flag byte, data offset and cut`, async () => {
    using program = await openKernel(MONITORED_PORTS, kind);
    const frames = [...everyFlagAndOffset()];
    for (const vectors of readVectors().values()) {
      for (const { frame } of vectors) if (frame.length < 200) frames.push(...everyCut(frame));
    }
    const ran = frames.filter(runnable);
    console.log(`${ran.length} frames`);
    assert.equal(await compareFrames(program, MONITORED_PORTS, ran), undefined);
    assert.ok(ran.length > 15_000);
  });
}

testWith("kernel", "the program and the model agree on 80,000 random packets", async () => {
  using program = await openKernel([...MONITORED_PORTS, ...OTHER_PORTS.slice(0, 2).filter((p) => p > 0)]);
  const ports = [...MONITORED_PORTS, ...OTHER_PORTS.slice(0, 2).filter((p) => p > 0)];
  const random = createRandom(Number(Deno.env.get("IBSR_SEED") ?? 1));
  for (let batch = 0; batch < 8; batch++) {
    const frames = Array.from({ length: 10_000 }, () => randomFrame(random)).filter(runnable);
    assert.equal(await compareFrames(program, ports, frames), undefined, `batch ${batch}`);
  }
});

testWith(["kernel", "captures"], "the program and the model agree on 40,000 mutated packets of captures", async () => {
  const directory = captureDirectory()!, seeds: Uint8Array[] = [];
  for (const name of listCaptures(directory)) {
    const path = `${directory}/${name}.pcap`;
    if (await linkTypeOf(path) !== 1) continue;
    using file = await Deno.open(path);
    let taken = 0;
    for await (const batch of readFrames(file.readable, { name }).frames) {
      for (const { bytes } of batch) if (taken++ < 40) seeds.push(bytes.slice(0, 2000));
      if (taken >= 40) break;
    }
  }
  const ports = [80, 443, 22, 21, 25565];
  using program = await openKernel(ports);
  const random = createRandom(2), pick = () => seeds[random.below(seeds.length)]!;
  const frames = Array.from({ length: 40_000 }, () => mutateFrame(random, { frame: pick(), other: pick() })).filter(
    runnable,
  );
  console.log(`${frames.length} frames from ${seeds.length}`);
  assert.equal(await compareFrames(program, ports, frames), undefined);
});

testWith(["kernel", "captures"], "the program counts what tshark counts in every public capture", async () => {
  const objects = await readObjects(),
    directory = captureDirectory()!,
    sum = { captures: 0, rows: 0, packets: 0, refused: 0 };
  for (const name of listCaptures(directory)) {
    const path = `${directory}/${name}.pcap`;
    if (await linkTypeOf(path) !== 1) {
      sum.refused++;
      continue;
    }
    using stack = new DisposableStack();
    const engineFor = (ports: number[]) => {
      const program = stack.use(openProgram(objects, { ports, mapSize: 100_000 }));
      let tooShort = 0;
      return {
        count: (frame: Uint8Array) => void (frame.length < RUNNABLE.least ? tooShort++ : program.run(frame)),
        async drain() {
          const drained = await drainKernel(program);
          drained.not_counted.malformed += tooShort;
          return drained;
        },
      };
    };
    const { differences, rows, packets } = await compareCapture(path, { engineFor, lengths: "captured" });
    assert.deepEqual(differences, [], name);
    sum.captures++;
    sum.rows += rows;
    sum.packets += packets;
  }
  console.log(
    `${sum.captures} captures: ${sum.rows} rows, ${sum.packets} TCP packets equal; ${sum.refused} refused by link type`,
  );
  assert.ok(sum.rows > 40_000);
});

testWith("kernel", "compareFrames() finds and shrinks the one frame on which two countings differ", async () => {
  using program = await openKernel([80]);
  const random = createRandom(3), counted = readVectors().get("tcp")!.find((v) => typeof v.expected !== "string")!;
  const odd = counted.frame.slice();
  new DataView(odd.buffer).setUint16(14 + 20 + 2, 443);
  const frames = [
    ...Array.from({ length: 200 }, () => randomFrame(random)).filter((f) => runnable(f) && f.length < 60),
    odd,
  ];
  const message = await compareFrames(program, [80, 443], frames);
  assert.match(message!, /^kernel and model disagree on this frame of 54 bytes:/);
  assert.match(message!, /kernel: other_port 1\n/);
  assert.match(message!, /model: {2}\S+ 443 /);
});
