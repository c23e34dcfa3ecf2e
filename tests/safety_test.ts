/**
 * The proof on hand-made objects, instruction by instruction, on damaged ones, and on the compiled program.
 */
import assert from "node:assert/strict";
import { IbsrError } from "../src/errors.ts";
import { proveSafety, renderSafety } from "../src/safety.ts";
import {
  add,
  assemble,
  type Assembled,
  call,
  copy,
  exit,
  type ExtraSection,
  helper,
  jump,
  jumpIf,
  lddw,
  load32,
  load64,
  mov,
  raw,
  store64,
  store8,
} from "./assemble.ts";
import { findInstructions } from "./mutate.ts";
import { testWith } from "./needs.ts";
import { createRandom } from "./packets.ts";

/** Every refusal as `place reason`. */
async function refusalsOf(object: Uint8Array): Promise<string[]> {
  const report = await proveSafety(object);
  assert.equal(report.safe, report.refusals.length === 0);
  return report.refusals.map(({ at, reason }) => at ? `${at} ${reason}` : reason);
}

/** Judges damaged bytes: a report or an error of kind `data`; anything else is a bug. */
async function judgeDamaged(object: Uint8Array): Promise<"safe" | "refused" | "unreadable"> {
  try {
    return (await proveSafety(object)).safe ? "safe" : "refused";
  } catch (error) {
    assert.ok(error instanceof IbsrError && error.kind === "data", String(error));
    return "unreadable";
  }
}

const PASS = [mov(0, 2), exit];
const r10 = 10;

/** Programs that pass every packet, in ways that have to be shown. */
const GOOD: Record<string, { main: Assembled[]; text?: Record<string, Assembled[]> }> = {
  "2": { main: PASS },
  "2 by addition": { main: [mov(0, 1), mov(1, 1), raw(0x0f, 0, 1), exit] },
  "2 by 32-bit wrap": { main: [mov(0, -1), raw(0x04, 0, 0, 0, 3), exit] },
  "2 by arithmetic shift": { main: [mov(0, -8), raw(0xc7, 0, 0, 0, 2), raw(0x07, 0, 0, 0, 4), exit] },
  "2 as a wide constant": { main: [lddw(0, 2), exit] },
  "2 from the stack": { main: [raw(0x7a, r10, 0, -8, 2), load64(0, r10, -8), exit] },
  "2 from the stack through a copied pointer": {
    main: [copy(2, r10), add(2, -16), raw(0x7a, 2, 0, 8, 2), load64(0, r10, -8), exit],
  },
  "2 on both branches": { main: [jumpIf(1, 0, 2), mov(0, 2), exit, mov(0, 2), exit] },
  "2 from a subprogram": { main: [call("f"), exit], text: { f: PASS } },
  "2 written by a subprogram to its caller's stack": {
    main: [copy(1, r10), add(1, -8), call("f"), load64(0, r10, -8), exit],
    text: { f: [mov(2, 2), store64(1, 2, 0), exit] },
  },
  "2 kept across a call in r6": { main: [mov(6, 2), call("f"), copy(0, 6), exit], text: { f: [mov(0, 1), exit] } },
  "2 after a loop": { main: [mov(2, 0), add(2, 1), raw(0xa5, 2, 0, -2, 9), ...PASS] },
};

/** Programs with one thing wrong each, and why they are refused. */
const BAD: [name: string, reason: string, main: Assembled[], text?: Record<string, Assembled[]>][] = [
  ["a result that is 2 in its low 32 bits only", "returns 4294967298", [lddw(0, 2, 1), exit]],
  ["no result", "returns a value that cannot be told", [exit]],
  ["a packet pointer as the result", "returns a packet pointer", [load32(0, 1, 0), exit]],
  ["1 or 2", "returns XDP_DROP or XDP_PASS", [mov(0, 1), jumpIf(1, 0, 1), mov(0, 2), exit]],
  ["a spilled 2 that is half overwritten", "returns a value that cannot be told", [
    raw(0x7a, r10, 0, -8, 2),
    raw(0x72, r10, 0, -8, 1),
    load64(0, r10, -8),
    exit,
  ]],
  ["a spilled 2 that a neighbour overlaps", "returns a value that cannot be told", [
    raw(0x7a, r10, 0, -8, 2),
    raw(0x7a, r10, 0, -12, 0),
    load64(0, r10, -8),
    exit,
  ]],
  ["a spilled 2 under a store of unknown offset", "returns a value that cannot be told", [
    raw(0x7a, r10, 0, -8, 2),
    load32(3, 1, 16),
    copy(2, r10),
    raw(0x1f, 2, 3),
    store8(2, 3, -8),
    load64(0, r10, -8),
    exit,
  ]],
  ["r6 of a callee", "returns a value that cannot be told", [call("f"), copy(0, 6), exit], {
    f: [mov(6, 2), mov(0, 0), exit],
  }],
  ["r1 after a call", "returns a value that cannot be told", [mov(1, 2), call("f"), copy(0, 1), exit], { f: PASS }],
  ["a callee's own spilled 2", "returns a value that cannot be told", [
    raw(0x7a, r10, 0, -8, 2),
    call("f"),
    exit,
  ], { f: [load64(0, r10, -8), exit] }],
  ["a store through the result of arithmetic on two pointers", "writes through a value that cannot be told", [
    load32(2, 1, 0),
    raw(0x0f, 2, r10),
    store8(2, 2, 0),
    ...PASS,
  ]],
  ["a store through a number", "writes through a number that cannot be told", [mov(2, 64), store8(2, 2, 0), ...PASS]],
  ["a store below the stack", "writes past its stack", [store8(r10, 1, -513), ...PASS]],
  ["a store above the stack", "writes past its stack", [store64(r10, 1, -4), ...PASS]],
  ["a forgotten helper", "calls helper 4000, which is not on the list", [helper(4000), ...PASS]],
  ["a look-up in what is no map", "passes the context as a map to map_lookup_elem", [helper(1), ...PASS]],
  ["a kernel function", "calls a kernel function (kfunc)", [raw(0x85, 0, 2, 0, 1), ...PASS]],
  ["a call of a kind to come", "makes a call of unknown kind 3", [raw(0x85, 0, 3, 0, 1), ...PASS]],
  ["a call to a place in its own section", "calls a subprogram that is not there", [raw(0x85, 0, 1, 0, 0), ...PASS]],
  ["a call into the middle of a function", "calls a subprogram that is not there", [call("f"), exit], {
    f: [raw(0x85, 0, 1, 0, 0), ...PASS],
  }],
  ["a function that calls itself", "calls nest too deep", [call("f"), exit], { f: [call("f"), exit] }],
  ["a jump out of the program", 'a path leads out of "program"', [jump(7), ...PASS]],
  ["a jump before the program", 'a path leads out of "program"', [jump(-2), ...PASS]],
  ["a program without an end", 'a path leads out of "program"', [mov(0, 2)]],
  ["a subprogram that runs into the next", 'a path leads out of "f"', [call("f"), call("g"), exit], {
    f: [mov(0, 2)],
    g: PASS,
  }],
  ["a jump into a wide constant", "a path leads into the middle of an instruction", [jump(1), lddw(0, 2), exit]],
  ["instructions that no path reaches", "no path leads here", [jump(1), mov(0, 1), ...PASS]],
  ["half a wide constant", "instruction 0x18 is not understood", [raw(0x18, 0, 0, 0, 2), ...PASS]],
  ["a wide constant that names a map by its number", "instruction 0x18 is not understood", [
    { bytes: [...raw(0x18, 1, 1, 0, 5).bytes, ...raw(0).bytes] },
    ...PASS,
  ]],
  ["a long jump", "instruction 0x06 is not understood", [raw(0x06), ...PASS]],
  ["an indirect jump", "instruction 0x0d is not understood", [raw(0x0d, 1), ...PASS]],
  ["an indirect call", "instruction 0x8d is not understood", [raw(0x8d, 1), ...PASS]],
  ["a jump that may be taken", "instruction 0xe5 is not understood", [raw(0xe5), ...PASS]],
  ["a 32-bit exit", "instruction 0x96 is not understood", [mov(0, 2), raw(0x96)]],
  ["a load from the packet by its old instruction", "instruction 0x20 is not understood", [raw(0x20), ...PASS]],
  ["a load with sign", "instruction 0x81 is not understood", [raw(0x81, 2, 1), ...PASS]],
  ["a move with sign", "instruction 0xbf is not understood", [raw(0xbf, 2, 1, 8), ...PASS]],
  ["a cast between address spaces", "instruction 0xbf is not understood", [raw(0xbf, 2, 1, 1, 1), ...PASS]],
  ["a division with sign", "instruction 0x3f is not understood", [raw(0x3f, 2, 1, 1), ...PASS]],
  ["an atomic exchange", "instruction 0xdb is not understood", [raw(0xdb, r10, 1, -8, 0xe1), ...PASS]],
  ["a store with release", "instruction 0xdb is not understood", [raw(0xdb, r10, 1, -8, 0x110), ...PASS]],
  ["an atomic addition to a byte", "instruction 0xd3 is not understood", [raw(0xd3, r10, 1, -8), ...PASS]],
  ["an atomic addition to the packet", "writes through a packet pointer", [
    load32(2, 1, 0),
    raw(0xdb, 2, 1, 0),
    ...PASS,
  ]],
  ["a new frame pointer", "instruction 0xb7 is not understood", [mov(r10, 2), ...PASS]],
  ["an eleventh register", "instruction 0xbf is not understood", [copy(0, 11), ...PASS]],
];

for (const [name, program] of Object.entries(GOOD)) {
  Deno.test(`proveSafety() accepts ${name}`, async () => {
    assert.deepEqual(await refusalsOf(assemble(program)), []);
  });
}

for (const [name, reason, main, text] of BAD) {
  Deno.test(`proveSafety() refuses ${name}: ${reason}`, async () => {
    const refusals = await refusalsOf(assemble(text ? { main, text } : { main }));
    assert.deepEqual([...new Set(refusals.map((refusal) => refusal.replace(/^\S+:\d+ /, "")))], [reason]);
  });
}

Deno.test("proveSafety() refuses every opcode that it doesn't know", async () => {
  const known = new Set<number>([0x18, 0x05, 0x85, 0x95]);
  for (const size of [0x00, 0x08, 0x10, 0x18]) [0x61, 0x62, 0x63].forEach((op) => known.add(op | size));
  for (const op of [0xc3, 0xdb]) known.add(op);
  for (let op = 0x00; op <= 0xd0; op += 0x10) [0x04, 0x0c, 0x07, 0x0f].forEach((kind) => known.add(op | kind));
  for (const op of [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13]) {
    [0x05, 0x0d, 0x06, 0x0e].forEach((kind) => known.add(op << 4 | kind));
  }
  for (let op = 0; op < 256; op++) {
    const [refusal] = await refusalsOf(assemble({ main: [raw(op, 2, 0), ...PASS] }));
    const notUnderstood = refusal?.endsWith("is not understood") ?? false;
    assert.equal(notUnderstood, !known.has(op) || op === 0x18, `0x${op.toString(16)}: ${refusal}`);
  }
});

Deno.test("proveSafety() gives up on programs that are too long or have too many paths", async () => {
  const long = [...Array<Assembled>(8192).fill(mov(1, 0)), ...PASS];
  assert.deepEqual(await refusalsOf(assemble({ main: long })), ["xdp:8192 the program is too long to follow"]);
  const text: Record<string, Assembled[]> = { f7: PASS };
  for (let i = 0; i < 7; i++) text[`f${i}`] = [...Array<Assembled>(20).fill(call(`f${i + 1}`)), exit];
  const [refusal, ...others] = await refusalsOf(assemble({ main: [call("f1"), exit], text }));
  assert.match(refusal!, /the paths are too many to follow$/);
  assert.ok(others.every((other) => other.includes("cannot be told")));
});

const SECTIONS: [name: string, reason: string, extra: ExtraSection][] = [
  ["a program of another kind", 'section "tc" holds another program', { name: "tc", flags: 6 }],
  ["a replacement", 'section "freplace/f" holds another program', { name: "freplace/f", flags: 6 }],
  ["a program that is loaded on request", 'section "?xdp" holds another program', { name: "?xdp", flags: 6 }],
  ["a second XDP program", "it has 2 sections with an XDP program, and should have 1", {
    name: "xdp.frags",
    flags: 6,
    bytes: exit.bytes,
  }],
  ["maps without BTF", 'section "maps" declares maps without BTF', { name: "maps" }],
  ["global variables", 'section ".data" is not expected', { name: ".data" }],
  ["constants", 'section ".rodata" is not expected', { name: ".rodata" }],
  ["structures of functions", 'section ".struct_ops" is not expected', { name: ".struct_ops" }],
  ["a section twice", 'it has two sections named ".text"', { name: ".text", flags: 6, bytes: [] }],
  ["compressed content", 'section "license" is compressed', { name: "license", flags: 0x803 }],
  ["an executable license", 'section "license" holds another program', { name: "license", flags: 6 }],
  ["relocations with addends", 'section ".relaxdp" is not expected', { name: ".relaxdp", type: 4 }],
  ["a name with a control character", 'section "?[2J" is not expected', { name: "\x1b[2J" }],
  ["CO-RE relocations", "the loader would rewrite instructions for the running kernel (CO-RE relocations)", {
    name: ".BTF.ext",
    bytes: [0x9f, 0xeb, 1, 0, 32, 0, 0, 0, ...Array<number>(20).fill(0), 8, 0, 0, 0],
  }],
];

for (const [name, reason, extra] of SECTIONS) {
  Deno.test(`proveSafety() refuses an object with ${name}`, async () => {
    assert.ok((await refusalsOf(assemble({ main: PASS, extra: [extra] }))).includes(reason));
  });
}

Deno.test("proveSafety() accepts both XDP sections and no other", async () => {
  assert.deepEqual(await refusalsOf(assemble({ main: PASS, section: "xdp.frags" })), []);
  for (const section of ["xdp/devmap", "xdp.frags/cpumap", "XDP", "tc", "kprobe/x", ".text.x"]) {
    const report = await proveSafety(assemble({ main: PASS, section }));
    assert.equal(report.safe, false, section);
    assert.equal(report.claims.find((claim) => claim.id === "exits")?.holds, false, section);
  }
});

Deno.test("proveSafety() lets no claim hold that an instruction it couldn't follow might break", async () => {
  const report = await proveSafety(assemble({ main: [jumpIf(1, 0, 2), ...PASS, raw(0x0d, 1)] }));
  assert.deepEqual(
    report.claims.filter((claim) => claim.holds).map((claim) => claim.id),
    ["maps", "object"],
  );
});

Deno.test("proveSafety() gives the object's SHA-256", async () => {
  const object = assemble({ main: PASS });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", object));
  assert.equal((await proveSafety(object)).sha256, digest.toHex());
});

const SMALL = assemble({
  main: [jumpIf(1, 0, 2), call("f"), exit, store64(r10, 1, -8), lddw(3, 7), ...PASS],
  text: { f: PASS },
  extra: [{ name: "license", bytes: [71, 80, 76, 0] }],
});

Deno.test("proveSafety() refuses an object cut short anywhere", async () => {
  assert.equal(await judgeDamaged(SMALL), "safe");
  for (let length = 0; length < SMALL.length; length++) {
    assert.equal(await judgeDamaged(SMALL.subarray(0, length)), "unreadable", `${length} bytes`);
  }
});

Deno.test("proveSafety() throws nothing but a data error, whichever byte is damaged and however", async () => {
  for (let at = 0; at < SMALL.length; at++) {
    for (const value of [0, 1, 0x7f, 0x80, 0xff, SMALL[at]! ^ 1, SMALL[at]! ^ 0x10]) {
      const damaged = SMALL.slice();
      damaged[at] = value;
      await judgeDamaged(damaged);
    }
  }
});

Deno.test("proveSafety() throws nothing but a data error on noise", async () => {
  const random = createRandom(1).below;
  for (let i = 0; i < 500; i++) {
    const noise = Uint8Array.from({ length: 64 + random(2000) }, () => random(256));
    assert.equal(await judgeDamaged(noise), "unreadable");
    noise.set(SMALL.subarray(0, 64)); // a header that is in order, and noise behind it
    await judgeDamaged(noise);
  }
});

testWith("kernel", "proveSafety() accepts the compiled program, with and without fragments", async () => {
  for (const [name, section] of [["ibsr.o", "xdp"], ["ibsr_frags.o", "xdp.frags"]] as const) {
    const report = await proveSafety(readCompiled(name));
    assert.deepEqual(report.refusals, []);
    assert.equal(report.safe, true);
    assert.equal(report.section, section);
    assert.ok(report.exits.length > 0 && report.exits.every((way) => way.returns === "XDP_PASS"));
    assert.ok(report.stores.mapValue > 0 && report.stores.atomic > 0 && report.stores.stack > 0);
    assert.deepEqual(new Set(report.maps.map((map) => map.type)), EXPECTED_TYPES);
  }
});

const EXPECTED_TYPES = new Set(["ARRAY", "PERCPU_ARRAY", "LRU_HASH", "ARRAY_OF_MAPS of ARRAY"]);

testWith("kernel", "proveSafety() refuses the compiled program with any other number in r0 at an exit", async () => {
  const object = readCompiled("ibsr.o");
  const places = findInstructions(object).filter((at) => (
    object[at] === 0xb7 && object[at + 1] === 0 && object[at + 4] === 2 && object[at + 8] === 0x95
  ));
  assert.ok(places.length > 0);
  for (const at of places) {
    for (const action of [0, 1, 3, 4, 5, 255]) {
      const mutant = object.slice();
      mutant[at + 4] = action;
      const report = await proveSafety(mutant);
      assert.deepEqual(report.refusals.map((refusal) => refusal.claim), ["exits"]);
    }
  }
});

testWith("kernel", "proveSafety() refuses the compiled program with any instruction replaced by a trick", async () => {
  const object = readCompiled("ibsr.o");
  const tricks = { exits: exit, helpers: helper(44), instructions: raw(0x0d, 1) };
  const places = findInstructions(object).filter((at) => ![0x00, 0x18, 0x95].includes(object[at]!));
  for (const [index, [claim, { bytes }]] of Object.entries(tricks).entries()) {
    for (let i = index; i < places.length; i += 37) { // each takes milliseconds
      const mutant = object.slice();
      mutant.set(bytes, places[i]!);
      const report = await proveSafety(mutant);
      assert.ok(report.refusals.some((refusal) => refusal.claim === claim), `${claim} at byte ${places[i]}`);
    }
  }
});

testWith("kernel", "proveSafety() throws nothing but a data error on the compiled program, damaged", async () => {
  const object = readCompiled("ibsr.o");
  const random = createRandom(2).below;
  for (let i = 0; i < 200; i++) {
    assert.equal(await judgeDamaged(object.subarray(0, random(object.length))), "unreadable");
    const damaged = object.slice();
    for (let n = 0; n <= i % 3; n++) damaged[random(object.length)] = random(256);
    await judgeDamaged(damaged);
  }
});

Deno.test("renderSafety() makes the case, each claim with its evidence", async () => {
  const { sha256, ...report } = await proveSafety(assemble({
    main: [store64(r10, 1, -8), call("f"), exit],
    text: { f: [helper(188), ...PASS] },
  }));
  const text = renderSafety({ sha256: "0f".repeat(32), ...report }, {
    walkedInstructions: 7,
    programBytes: 48,
    jitedBytes: 133,
  });
  assert.equal(sha256.length, 64);
  assert.equal(
    text,
    `\
This object cannot interfere with traffic: it counts packets and passes every one of them on.

object    sha256 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
verifier  accepted: 7 instructions walked, 48 bytes of BPF, 133 bytes of machine code

yes  Every path through it ends in XDP_PASS
       xdp:2 returns XDP_PASS

yes  It writes to its own stack and maps, never to a packet
       1 store to the stack, 0 to map values, 0 atomic additions to map values

yes  It calls no kernel function that could change, send or drop a packet
       xdp_get_buff_len (1 call)

yes  Its maps hold counters and settings: none can redirect a packet or call a program
       none

yes  Every instruction was reached and understood
       6 instructions; subprograms: f

yes  It is one XDP program with its own maps, and the loader changes nothing else in it
       section xdp; every relocation is of a map or a subprogram of its own

Places are section:instruction, as \`llvm-objdump -d\` prints them. Not shown here: the time a packet takes in
the program, and what a network driver does on attaching (some drivers reset the link in native mode).
`,
  );
});

Deno.test("renderSafety() says what is refused, where and why, and what was not shown", async () => {
  const text = renderSafety(await proveSafety(assemble({ main: [mov(0, 1), exit], extra: [{ name: ".data" }] })));
  for (
    const lines of [
      "REFUSED: it cannot be shown that this object leaves traffic alone.",
      "verifier  not asked: nothing was loaded",
      "NO   Every path through it ends in XDP_PASS\n       xdp:1 returns XDP_DROP",
      "send or drop a packet\n       not every path could be followed",
      'the loader changes nothing else in it\n       section ".data" is not expected',
    ]
  ) assert.ok(text.includes(`${lines}\n`), lines);
});

function readCompiled(name: "ibsr.o" | "ibsr_frags.o"): Uint8Array {
  return Deno.readFileSync(new URL(`../bpf/${name}`, import.meta.url));
}
