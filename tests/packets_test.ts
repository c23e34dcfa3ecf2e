/** The packet generator: what it reaches, that it repeats itself, and that shrinking shrinks. */
import assert from "node:assert/strict";
import { SKIP_NAMES } from "../src/counters.ts";
import { createModel, modelFrame } from "../src/model.ts";
import { createRandom, everyCut, everyFlagAndOffset, mutateFrame, randomFrame, shrinkFrame } from "./packets.ts";
import { MONITORED_PORTS, readVectors } from "./vectors.ts";

const FRAMES = 30_000;

Deno.test("createRandom() gives the sequence of its seed, spread over the whole range", () => {
  const draw = (seed: number) => {
    const random = createRandom(seed);
    return Array.from({ length: 10_000 }, () => random.below(10));
  };
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
  for (let digit = 0; digit < 10; digit++) {
    const times = draw(1).filter((drawn) => drawn === digit).length;
    assert.ok(times > 850 && times < 1150, `${digit} ${times} times in 10,000`);
  }
});

Deno.test("randomFrame() and mutateFrame() give the same frames for the same seed", () => {
  const hash = (seed: number) => {
    const random = createRandom(seed), other = randomFrame(random);
    return Array.from({ length: 200 }, () => {
      const frame = randomFrame(random);
      return frame.toHex() + mutateFrame(random, { frame, other }).toHex();
    }).join();
  };
  assert.equal(hash(3), hash(3));
  assert.notEqual(hash(3), hash(4));
});

Deno.test("randomFrame() counts about half of its frames and meets every skip reason, in both families", () => {
  const random = createRandom(1), model = createModel(MONITORED_PORTS);
  const seen = new Map<string, number>();
  for (let i = 0; i < FRAMES; i++) {
    const frame = randomFrame(random), outcome = modelFrame(frame, frame.length);
    model.count(frame, frame.length);
    const family = frame[14]! >> 4;
    const key = typeof outcome === "string" ? `${family} ${outcome}` : `${outcome.source.length} counted`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  const { sources, not_counted } = model.drain();
  const counted = FRAMES - Object.values(not_counted).reduce((a, b) => a + b);
  assert.ok(counted > FRAMES * 0.4 && counted < FRAMES * 0.7, `${counted} counted`);
  for (const name of SKIP_NAMES) assert.ok(not_counted[name] > FRAMES * 0.01, `${name} ${not_counted[name]}`);
  for (const key of ["4 later_fragment", "6 later_fragment", "4 malformed", "6 malformed", "4 counted", "16 counted"]) {
    assert.ok(seen.get(key)! > FRAMES * 0.01, `${key} ${seen.get(key)}`);
  }
  assert.ok(sources.length >= 8 * 2 * MONITORED_PORTS.length, `${sources.length} keys`);
  assert.ok(sources.filter((s) => s.counters.packets > 1).length > 60, "keys repeat");
});

Deno.test("randomFrame() reaches every depth of tags and of extension headers, and the end of the walk", () => {
  const random = createRandom(2), tags = new Set<number>(), depths = new Map<number, Set<string>>();
  for (let i = 0; i < FRAMES; i++) {
    const frame = randomFrame(random), view = new DataView(frame.buffer);
    if (frame.length < 54) continue;
    let at = 12, depth = 0;
    for (; [0x8100, 0x88a8, 0x9100].includes(view.getUint16(at)); at += 4) depth++;
    tags.add(depth);
    if (view.getUint16(at) !== 0x86dd || at > 20) continue;
    let next = frame[at + 8]!, chain = 0;
    for (at += 42; [0, 43, 44, 51, 60, 135].includes(next) && at + 8 <= frame.length; chain++) {
      [next, at] = [frame[at]!, at + (next === 44 ? 8 : next === 51 ? frame[at + 1]! * 4 + 8 : frame[at + 1]! * 8 + 8)];
    }
    const outcome = modelFrame(frame, frame.length);
    const kind = typeof outcome === "string" ? outcome : "counted";
    depths.set(chain, (depths.get(chain) ?? new Set()).add(kind));
  }
  for (let depth = 0; depth <= 3; depth++) assert.ok(tags.has(depth), `${depth} tags`);
  for (let chain = 0; chain <= 10; chain++) assert.ok(depths.has(chain), `${chain} extension headers`);
  for (let chain = 0; chain <= 8; chain++) assert.ok(depths.get(chain)!.has("counted"), `none counted behind ${chain}`);
  assert.ok(depths.get(9)!.has("unknown_encapsulation") && !depths.get(9)!.has("counted"));
});

Deno.test("everyFlagAndOffset() gives 8,192 frames, of which those with a whole header count their flags", () => {
  const seen = new Set<string>();
  let frames = 0;
  for (const frame of everyFlagAndOffset()) {
    const words = frame[46]! >> 4, flags = frame[47]!, outcome = modelFrame(frame, frame.length);
    frames++;
    if (words < 5) {
      assert.equal(outcome, "malformed");
      continue;
    }
    assert.ok(typeof outcome !== "string");
    const { syn, ack, rst, fin, data, packets } = outcome.counters;
    assert.deepEqual([fin, syn, rst, ack], [0, 1, 2, 4].map((bit) => flags >> bit & 1));
    assert.equal(packets, 1);
    assert.equal(data, frame.length > 34 + words * 4 ? 1 : 0);
    seen.add(`${words} ${flags} ${data}`);
  }
  assert.equal(frames, 8192);
  assert.equal(seen.size, 11 * 256 * 2);
});

Deno.test("everyCut() gives each length from nothing to the whole frame", () => {
  const frame = Uint8Array.of(1, 2, 3);
  assert.deepEqual([...everyCut(frame)].map((cut) => [...cut]), [[], [1], [1, 2], [1, 2, 3]]);
});

Deno.test("mutateFrame() changes most frames, leaves the given ones alone, and changes what many count", () => {
  const frames = [...readVectors().values()].flat().map((v) => v.frame).filter((frame) => frame.length > 54);
  const random = createRandom(5), before = frames.map((frame) => frame.toHex());
  let same = 0, turned = 0, longer = 0, shorter = 0;
  const rounds = 10_000;
  for (let i = 0; i < rounds; i++) {
    const frame = random.pick(frames), mutant = mutateFrame(random, { frame, other: random.pick(frames) });
    if (mutant.toHex() === frame.toHex()) same++;
    if (mutant.length > frame.length) longer++;
    if (mutant.length < frame.length) shorter++;
    const [had, has] = [modelFrame(frame, frame.length), modelFrame(mutant, mutant.length)];
    if (typeof had !== typeof has || (typeof had === "string" && had !== has)) turned++;
  }
  assert.deepEqual(frames.map((frame) => frame.toHex()), before);
  assert.ok(same < rounds * 0.15, `${same} the same`);
  assert.ok(turned > rounds * 0.15, `${turned} turned`);
  assert.ok(longer > rounds * 0.1 && shorter > rounds * 0.1, `${longer} longer, ${shorter} shorter`);
});

Deno.test("shrinkFrame() keeps the failure, and no byte can be left out or made 0", () => {
  const random = createRandom(11);
  const predicates: ((frame: Uint8Array) => boolean)[] = [
    (frame) => frame.includes(7) && frame.length >= 5,
    (frame) => frame.indexOf(9) >= 0 && frame.indexOf(3) > frame.indexOf(9),
    (frame) => modelFrame(frame, frame.length) === "later_fragment",
    (frame) => typeof modelFrame(frame, frame.length) !== "string",
  ];
  for (const fails of predicates) {
    for (let shrunk = 0; shrunk < 10;) {
      const frame = randomFrame(random);
      if (!fails(frame)) continue;
      shrunk++;
      const least = shrinkFrame(frame, fails);
      assert.ok(fails(least));
      for (let at = 0; at < least.length; at++) {
        assert.ok(!fails(Uint8Array.of(...least.subarray(0, at), ...least.subarray(at + 1))), "a byte can be left out");
        if (least[at] !== 0) assert.ok(!fails(least.with(at, 0)), "a byte can be made 0");
      }
    }
  }
});

Deno.test("shrinkFrame() brings a counted frame down to the headers that make it one", () => {
  const frame = readVectors().get("tcp")!.find((v) => v.name.startsWith("a byte behind the options"))!.frame;
  assert.equal(frame.length, 67);
  const least = shrinkFrame(frame, (f) => typeof modelFrame(f, f.length) !== "string");
  assert.equal(least.length, 54);
  assert.deepEqual([...least].map((byte, at) => [at, byte]).filter(([, byte]) => byte !== 0).map(([at]) => at), [
    12, // type of IPv4
    14, // version and header length
    23, // TCP
    46, // data offset
  ]);
});

Deno.test("shrinkFrame() refuses a frame that does not fail", () => {
  assert.throws(() => shrinkFrame(Uint8Array.of(1), () => false), /does not fail/);
});
