/** The public captures through pcap.ts and the model, against tshark's count of each. */
import assert from "node:assert/strict";
import { IbsrError } from "../src/errors.ts";
import { readFrames } from "../src/pcap.ts";
import { testWith } from "./needs.ts";
import { captureDirectory, compareCapture, linkTypeOf, listCaptures, modelEngine } from "./ground_truth.ts";

testWith("captures", "The model counts what tshark counts in every public capture", async () => {
  const directory = captureDirectory()!;
  const refusals: Record<number, string> = {
    0: "NULL",
    101: "RAW",
    113: "LINUX_SLL",
    228: "IPV4",
    276: "LINUX_SLL2",
  };
  let captures = 0, refused = 0, frames = 0, rows = 0, packets = 0;
  for (const name of listCaptures(directory)) {
    const path = `${directory}/${name}.pcap`, linkType = await linkTypeOf(path);
    if (linkType !== 1) {
      const text = `${refusals[linkType]} (link type ${linkType})`;
      await assert.rejects(
        compareCapture(path, { engineFor: modelEngine }),
        (error) => error instanceof IbsrError && error.kind === "data" && error.message.includes(text),
        name,
      );
      refused++;
      continue;
    }
    const found = await compareCapture(path, { engineFor: modelEngine });
    assert.deepEqual(found.differences, [], name);
    assert.deepEqual(found.summary.warnings, [], name);
    captures++;
    frames += found.summary.frames;
    rows += found.rows;
    packets += found.packets;
  }
  assert.ok(captures > 0, `${directory} holds no captures`);
  console.log(
    `${captures} captures, ${frames} frames: ${rows} rows, ${packets} TCP packets equal; ${refused} refused by link type`,
  );
});

testWith(
  "captures",
  "compareCapture() tells a wrong counter, a missing row, a wrong total and a lost frame apart",
  async () => {
    const directory = captureDirectory()!;
    const path = `${directory}/synflood-1src.pcap`;
    const spoilt = (spoil: (d: ReturnType<ReturnType<typeof modelEngine>["drain"]>) => void) =>
      compareCapture(path, {
        engineFor(ports) {
          const engine = modelEngine(ports);
          return {
            ...engine,
            drain() {
              const drained = engine.drain();
              spoil(drained);
              return drained;
            },
          };
        },
      });
    assert.equal((await spoilt(() => {})).differences.length, 0);
    assert.match((await spoilt((d) => d.sources[0]!.counters.syn--)).differences.join("\n"), /syn 199, not 200/);
    assert.match((await spoilt((d) => d.sources.push(d.sources[0]!))).differences.join("\n"), /drained twice/);
    assert.match((await spoilt((d) => d.sources.pop())).differences.join("\n"), /packets 0, not 200/);
    assert.match(
      (await spoilt((d) => d.totals[0]!.counters.bytes++)).differences.join("\n"),
      /total of port \d+: bytes/,
    );
    assert.match((await spoilt((d) => d.not_counted.not_tcp++)).differences.join("\n"), /201 frames .* of 200/);
    assert.match((await spoilt((d) => d.not_counted.other_port++)).differences.join("\n"), /no packet/);
  },
);

testWith("captures", "compareCapture() expects the captured bytes of an engine that knows no others", async () => {
  const directory = captureDirectory()!;
  const path = `${directory}/snapped-timestamp.pcap`;
  const engineFor = (ports: number[]) => {
    const engine = modelEngine(ports);
    return { ...engine, count: (frame: Uint8Array) => engine.count(frame, frame.length) };
  };
  assert.deepEqual((await compareCapture(path, { engineFor, lengths: "captured" })).differences, []);
  assert.notDeepEqual((await compareCapture(path, { engineFor })).differences, []);
  using file = await Deno.open(path);
  const { frames, summary } = readFrames(file.readable, { name: path });
  for await (const _ of frames);
  assert.equal(summary.snapped, 691);
});
