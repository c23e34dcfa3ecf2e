/** The model on vectors written by hand, and the sums of a run. */
import assert from "node:assert/strict";
import { SKIP_NAMES } from "../src/counters.ts";
import { createModel, modelFrame } from "../src/model.ts";
import { drainedOf, formatFrame, MONITORED_PORTS, parseVectors, readVectors } from "./vectors.ts";

const vectors = readVectors();

for (const [file, list] of vectors) {
  Deno.test(`The model counts each of the ${list.length} vectors of ${file}.txt as worked out by hand`, () => {
    const model = createModel(MONITORED_PORTS);
    for (const vector of list) {
      model.count(vector.frame, vector.length);
      assert.deepEqual(model.drain(), drainedOf(vector), vector.name);
    }
  });
}

Deno.test("The vectors have unique names and hold every skip reason, and as many skipped frames as counted ones", () => {
  for (const [file, list] of vectors) assert.equal(new Set(list.map((v) => v.name)).size, list.length, file);
  const all = [...vectors.values()].flat();
  const skipped = all.map((v) => v.expected).filter((expected) => typeof expected === "string");
  for (const name of SKIP_NAMES) assert.ok(skipped.includes(name), name);
  assert.ok(all.length >= 60 && skipped.length * 2 >= all.length, `${skipped.length} of ${all.length}`);
});

Deno.test("modelFrame() counts a frame cut behind the fixed TCP header as it counts all of it, and no shorter one", () => {
  let counted = 0;
  for (const { name, frame, length, expected } of [...vectors.values()].flat()) {
    if (typeof expected === "string") continue;
    const whole = modelFrame(frame, length);
    const cuts = Array.from({ length: frame.length }, (_, cut) => modelFrame(frame.subarray(0, cut), length));
    const first = cuts.findIndex((seen) => typeof seen !== "string");
    const end = first < 0 ? frame.length : first;
    assert.ok(end >= 54, name);
    cuts.forEach((seen, cut) => assert.deepEqual(seen, cut < end ? "malformed" : whole, `${name}, cut at ${cut}`));
    counted++;
  }
  assert.ok(counted > 50);
});

Deno.test("createModel() sums by source and port, in the order of family, address and port, and starts again", () => {
  const find = (file: string, name: string) => vectors.get(file)!.find((v) => v.name === name)!;
  const syn4 = find("tcp", "SYN counts as such").frame, ack6 = find("ipv6", "TCP behind hop-by-hop options is counted");
  const from = (last: number, port: number) => {
    const frame = syn4.slice();
    frame[29] = last;
    new DataView(frame.buffer).setUint16(36, port);
    return frame;
  };
  const model = createModel([443, 80, 22, 80]);
  model.count(ack6.frame, ack6.length);
  for (const [last, port] of [[200, 80], [3, 443], [3, 80], [200, 80], [3, 8080]] as const) {
    model.count(from(last, port), 54);
  }
  model.count(new Uint8Array(60), 60);
  const { sources, totals, not_counted } = model.drain();
  assert.deepEqual(
    sources.map((s) => [s.source.toHex(), s.port, s.counters.packets, s.counters.bytes, s.counters.syn]),
    [
      ["c0000203", 80, 1, 54, 1],
      ["c0000203", 443, 1, 54, 1],
      ["c00002c8", 80, 2, 108, 2],
      ["20010db8000000000000000000000001", 80, 1, 82, 0],
    ],
  );
  assert.deepEqual(totals.map((t) => [t.port, t.counters.packets, t.counters.bytes, t.counters.handshake_ack]), [
    [80, 4, 244, 1],
    [443, 1, 54, 0],
  ]);
  assert.deepEqual(not_counted, {
    not_tcp: 1,
    other_port: 1,
    malformed: 0,
    later_fragment: 0,
    unknown_encapsulation: 0,
  });
  assert.deepEqual(model.drain(), createModel([22, 80, 443]).drain());
});

Deno.test("createModel() keeps no view of a frame: a buffer that is used again changes no source", () => {
  const frame = vectors.get("tcp")![0]!.frame.slice(), model = createModel([80]);
  model.count(frame, 54);
  frame.fill(0xff);
  assert.equal(model.drain().sources[0]?.source.toHex(), "c0000201");
});

Deno.test("parseVectors() refuses a byte, a reason, a counter and a vector that are none, and names the line", () => {
  const refuse = (text: string, message: RegExp) => assert.throws(() => parseVectors(text), message);
  refuse("== a\neth  0g\nskip  malformed\n", /line 2: "0g" is no byte/);
  refuse("== a\neth  00\nskip  wrong\n", /line 3: no expectation/);
  refuse("== a\neth  00\ncount 192.0.2.1 80: packet 1\n", /line 3: no expectation/);
  refuse("== a\n== b\n", /line 2: the vector before expects nothing/);
  refuse("eth  00\n", /line 1: not in a vector/);
  refuse("== a\neth  00\n", /the last vector expects nothing: a/);
});

Deno.test("formatFrame() writes lines that parseVectors() reads back", () => {
  for (const length of [0, 1, 16, 17, 60]) {
    const frame = Uint8Array.from({ length }, (_, i) => i * 37);
    assert.deepEqual(parseVectors(`== a\n${formatFrame(frame)}skip  malformed\n`)[0]?.frame, frame);
  }
});
