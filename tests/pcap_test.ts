/** Captures built by hand, byte by byte, in every format, whole and damaged. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { IbsrError } from "../src/errors.ts";
import { type CaptureSummary, type Frame, MAX_BLOCK, MAX_FRAME, readFrames } from "../src/pcap.ts";

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

// Building

type Part = number[] | Uint8Array;

function concat(...parts: Part[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Number writers of one byte order. */
function order(little: boolean) {
  const bytes = (value: number, count: number) => {
    const list = Array.from({ length: count }, (_, i) => Math.floor(value / 256 ** i) % 256);
    return little ? list : list.reverse();
  };
  return { u16: (v: number) => bytes(v, 2), u32: (v: number) => bytes(v, 4), little };
}
type Order = ReturnType<typeof order>;

function pcapHeader({ u16, u32 }: Order, options: { nanoseconds?: boolean; linkType?: number } = {}): Uint8Array {
  const magic = options.nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  return concat(u32(magic), u16(2), u16(4), u32(0), u32(0), u32(262_144), u32(options.linkType ?? 1));
}

function pcapRecord({ u32 }: Order, record: { s: number; sub: number; bytes: Part; length?: number }): Uint8Array {
  const { s, sub, bytes, length = bytes.length } = record;
  return concat(u32(s), u32(sub), u32(bytes.length), u32(length), bytes);
}

function block({ u32 }: Order, type: number, body: Part): Uint8Array {
  const padded = concat(body, new Uint8Array(-body.length & 3)), size = padded.length + 12;
  return concat(u32(type), u32(size), padded, u32(size));
}

const section = (o: Order) =>
  block(o, 0x0a0d0d0a, concat(o.u32(0x1a2b3c4d), o.u16(1), o.u16(0), o.u32(0xffffffff), o.u32(0xffffffff)));

function option({ u16 }: Order, code: number, value: Part): Uint8Array {
  return concat(u16(code), u16(value.length), value, new Uint8Array(-value.length & 3));
}

function describeInterface(o: Order, of: { linkType?: number; snapBytes?: number; options?: Part } = {}): Uint8Array {
  return block(o, 1, concat(o.u16(of.linkType ?? 1), o.u16(0), o.u32(of.snapBytes ?? 0), of.options ?? []));
}

interface PacketFields {
  id?: number;
  ticks: number;
  bytes: Part;
  length?: number;
  options?: Part;
}

function enhancedPacket(o: Order, { id = 0, ticks, bytes, length = bytes.length, options = [] }: PacketFields) {
  const pad = new Uint8Array(-bytes.length & 3);
  const time = [o.u32(Math.floor(ticks / 2 ** 32)), o.u32(ticks % 2 ** 32)].flat();
  return block(o, 6, concat(o.u32(id), time, o.u32(bytes.length), o.u32(length), bytes, pad, options));
}

// Reading

interface Result {
  frames: Frame[];
  summary: CaptureSummary;
  error?: unknown;
}

/** Reads all; each chunk is overwritten once the next is asked for. */
async function read(chunks: Iterable<Uint8Array>): Promise<Result> {
  const passing = async function* () {
    for (const chunk of chunks) {
      const lent = await Promise.resolve(chunk.slice());
      yield lent;
      lent.fill(0xee);
    }
  };
  const capture = readFrames(passing(), { name: "t.pcap" });
  const frames: Frame[] = [];
  try {
    for await (const batch of capture.frames) {
      assert.ok(batch.length > 0, "no batch is empty");
      frames.push(...batch.map((frame) => ({ ...frame, bytes: frame.bytes.slice() })));
    }
  } catch (error) {
    return { frames, summary: capture.summary, error };
  }
  return { frames, summary: capture.summary };
}

function* pieces(bytes: Uint8Array, size: number): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const plain = (frames: Frame[]) => frames.map((f) => ({ ...f, bytes: [...f.bytes] }));

async function assertDamaged(bytes: Uint8Array, expected: { message: RegExp; frames?: number }): Promise<void> {
  for (const size of [bytes.length || 1, 1]) {
    const { error, frames } = await read(pieces(bytes, size));
    assert.ok(error instanceof IbsrError, `no IbsrError but ${error}`);
    assert.equal(error.kind, "data");
    assert.match(error.message, /"t\.pcap"/);
    assert.match(error.message, expected.message);
    assert.ok(error.hint);
    assert.equal(frames.length, expected.frames ?? 0);
  }
}

const ORDERS = { little: order(true), big: order(false) };
const A = Array.from({ length: 14 }, (_, i) => i), B = Array.from({ length: 21 }, (_, i) => 200 - i);
const TIME_S = 1_700_000_000;

function smallPcap(o: Order, nanoseconds = false): Uint8Array<ArrayBuffer> {
  const sub = (us: number) => nanoseconds ? us * 1000 + 500 : us;
  return concat(
    pcapHeader(o, { nanoseconds }),
    pcapRecord(o, { s: TIME_S, sub: sub(1), bytes: A }),
    pcapRecord(o, { s: TIME_S + 1, sub: sub(999_999), bytes: B, length: 1514 }),
    pcapRecord(o, { s: 0, sub: sub(0), bytes: [] }),
  );
}

function smallPcapng(o: Order): Uint8Array<ArrayBuffer> {
  return concat(
    section(o),
    describeInterface(o, { options: concat(option(o, 2, [101, 116, 104]), option(o, 0, [])) }),
    block(o, 0x0bad, [1, 2, 3, 4, 5, 6, 7, 8]),
    enhancedPacket(o, {
      ticks: TIME_S * 1e6 + 1,
      bytes: A,
      options: concat(option(o, 1, [104, 105]), option(o, 0, [])),
    }),
    enhancedPacket(o, { ticks: TIME_S * 1e6 + 1_999_999, bytes: B, length: 1514 }),
  );
}

const SMALL_FRAMES = [
  { timeMs: TIME_S * 1000 + 0.001, bytes: A, length: 14 },
  { timeMs: TIME_S * 1000 + 1999.999, bytes: B, length: 1514 },
];

// Formats

for (const [name, o] of Object.entries(ORDERS)) {
  Deno.test(`readFrames() reads a ${name}-endian pcap in microseconds, whatever the chunks`, async () => {
    const bytes = smallPcap(o), expected = [...SMALL_FRAMES, { timeMs: 0, bytes: [], length: 0 }];
    for (let size = 1; size <= bytes.length; size++) {
      const { frames, summary, error } = await read(pieces(bytes, size));
      assert.equal(error, undefined);
      assert.deepEqual(plain(frames), expected, `chunks of ${size}`);
      assert.deepEqual(summary, { frames: 3, snapped: 1, warnings: [] });
    }
  });

  Deno.test(`readFrames() reads a ${name}-endian pcap in nanoseconds to a quarter of a microsecond`, async () => {
    const { frames } = await read([smallPcap(o, true)]);
    assert.deepEqual(frames.map((f) => [...f.bytes]), [A, B, []]);
    for (const [i, ms] of [TIME_S * 1000 + 0.0015, TIME_S * 1000 + 1999.9995, 0.0005].entries()) {
      assert.ok(Math.abs(frames[i]!.timeMs - ms) < 0.00025, `${frames[i]!.timeMs}`);
    }
  });

  Deno.test(`readFrames() reads a ${name}-endian pcapng, whatever the chunks`, async () => {
    const bytes = smallPcapng(o);
    for (let size = 1; size <= bytes.length; size++) {
      const { frames, summary, error } = await read(pieces(bytes, size));
      assert.equal(error, undefined);
      assert.deepEqual(plain(frames), SMALL_FRAMES, `chunks of ${size}`);
      assert.deepEqual(summary, { frames: 2, snapped: 1, warnings: [] });
    }
  });
}

Deno.test("readFrames() reads the simple and the obsolete packet block", async () => {
  const o = ORDERS.big;
  const obsolete = concat(o.u16(1), o.u16(9), o.u32(0), o.u32(7000), o.u32(B.length), o.u32(99), B);
  const bytes = concat(
    section(o),
    describeInterface(o, { snapBytes: 5 }),
    describeInterface(o),
    block(o, 2, obsolete),
    block(o, 3, concat(o.u32(A.length), A.slice(0, 5))),
    block(o, 3, concat(o.u32(3), A.slice(0, 3))),
  );
  const { frames, summary } = await read([bytes]);
  assert.deepEqual(plain(frames), [
    { timeMs: 7, bytes: B, length: 99 },
    { timeMs: 7, bytes: A.slice(0, 5), length: 14 },
    { timeMs: 7, bytes: A.slice(0, 3), length: 3 },
  ]);
  assert.equal(summary.snapped, 2);
  assert.match(summary.warnings.join(), /gives 2 frames no time/);
});

Deno.test("readFrames() keeps the byte order, interfaces and clocks of each pcapng section apart", async () => {
  const { little, big } = ORDERS;
  const clock = (o: Order, resolution: number, offset?: number[]) =>
    describeInterface(o, {
      options: concat(option(o, 9, [resolution]), offset ? option(o, 14, offset) : [], option(o, 0, [])),
    });
  const bytes = concat(
    section(little),
    clock(little, 9),
    clock(little, 0x80 | 10),
    enhancedPacket(little, { id: 0, ticks: 5_000_000_000, bytes: A }),
    enhancedPacket(little, { id: 1, ticks: 2048 + 512, bytes: A }),
    section(big),
    clock(big, 0, [0, 0, 0, 0, 0, 0, 0, 100]),
    clock(big, 3, Array(8).fill(255)),
    enhancedPacket(big, { id: 0, ticks: 42, bytes: A }),
    enhancedPacket(big, { id: 1, ticks: 5000, bytes: A }),
  );
  const { frames, error } = await read([bytes]);
  assert.equal(error, undefined);
  assert.deepEqual(frames.map((f) => f.timeMs), [5000, 2500, 142_000, 4000]);
});

Deno.test("readFrames() ends the options of an interface at end-of-options and skips those it does not know", async () => {
  const o = ORDERS.little;
  const options = concat(option(o, 2, [1, 2, 3, 4, 5]), option(o, 9, [3]), option(o, 0, []), option(o, 9, [0]));
  const { frames } = await read([
    concat(section(o), describeInterface(o, { options }), enhancedPacket(o, { ticks: 77, bytes: A })),
  ]);
  assert.equal(frames[0]?.timeMs, 77);
});

Deno.test("readFrames() holds no block it only skips, however long", async () => {
  const o = ORDERS.little, size = 3 * MAX_BLOCK;
  const chunks = function* () {
    yield concat(section(o), describeInterface(o), o.u32(0x0bad), o.u32(size));
    for (let left = size - 12; left > 0; left -= 65_536) yield new Uint8Array(Math.min(left, 65_536));
    yield concat(o.u32(size), enhancedPacket(o, { ticks: 0, bytes: A }));
  };
  const { frames, error } = await read(chunks());
  assert.equal(error, undefined);
  assert.deepEqual(frames.map((f) => [...f.bytes]), [A]);
});

Deno.test("readFrames() gives each of many frames as it is, whatever the chunks", async () => {
  const o = ORDERS.little, count = 30_000;
  const record = (i: number) => pcapRecord(o, { s: i, sub: 0, bytes: [i & 255, i >> 8, 0, 0, 0] });
  const bytes = concat(pcapHeader(o), ...Array.from({ length: count }, (_, i) => record(i)));
  const oneByteFirst = [bytes.subarray(0, 1), new Uint8Array(0), bytes.subarray(1)];
  for (const chunks of [pieces(bytes, 7), pieces(bytes, 1000), pieces(bytes, 65_536), oneByteFirst]) {
    const { frames, summary } = await read(chunks);
    assert.equal(summary.frames, count);
    assert.ok(frames.every((f, i) => f.timeMs === i * 1000 && f.bytes[0]! + f.bytes[1]! * 256 === i));
  }
});

Deno.test("readFrames() reads a frame as long as the longest allowed, and its offset is exact for the next", async () => {
  const o = ORDERS.little;
  const bytes = concat(
    pcapHeader(o),
    pcapRecord(o, { s: 0, sub: 0, bytes: new Uint8Array(MAX_FRAME) }),
    concat(o.u32(0), o.u32(0), o.u32(MAX_FRAME + 1), o.u32(60)),
  );
  const { frames, error } = await read(pieces(bytes, 10_000));
  assert.equal(frames[0]?.bytes.length, MAX_FRAME);
  assert.match(String(error), new RegExp(`a frame of ${MAX_FRAME + 1} bytes, .* at byte ${24 + 16 + MAX_FRAME}`));
});

Deno.test("readFrames() counts what a frame holds when its length says less, and warns", async () => {
  const o = ORDERS.little;
  const { frames, summary } = await read([
    concat(pcapHeader(o), pcapRecord(o, { s: 0, sub: 0, bytes: A, length: 3 })),
  ]);
  assert.equal(frames[0]?.length, 14);
  assert.equal(summary.snapped, 0);
  assert.match(summary.warnings.join(), /gives 1 frame a length below/);
});

// Gzip

Deno.test("readFrames() reads gzip of either format by its first bytes, in one member or several", async () => {
  for (const bytes of [smallPcap(ORDERS.little), smallPcapng(ORDERS.big)]) {
    const want = await read([bytes]);
    const members = [...pieces(bytes, 31)].map((part) => new Uint8Array(gzipSync(part)));
    for (const packed of [new Uint8Array(gzipSync(bytes)), concat(...members)]) {
      for (const size of [1, 2, 3, 17, packed.length]) {
        const have = await read(pieces(packed, size));
        assert.equal(have.error, undefined);
        assert.deepEqual(plain(have.frames), plain(want.frames), `chunks of ${size}`);
        assert.deepEqual(have.summary, want.summary);
      }
    }
  }
});

Deno.test("readFrames() hands out plain byte arrays, of gzip too", async () => {
  const o = order(true), record = pcapRecord(o, { s: 1, sub: 0, bytes: Array(60).fill(200) });
  for (const bytes of [concat(pcapHeader(o), record), new Uint8Array(gzipSync(concat(pcapHeader(o), record)))]) {
    const frames = (await Array.fromAsync(readFrames(one(bytes), { name: "x" }).frames)).flat();
    assert.deepEqual(frames.map((f) => Object.getPrototypeOf(f.bytes)), [Uint8Array.prototype]);
  }
});

Deno.test("readFrames() gives the whole frames of gzip cut anywhere, and warns", async () => {
  const bytes = smallPcap(ORDERS.little), packed = new Uint8Array(gzipSync(bytes, { level: 0 }));
  for (let cut = 2; cut < packed.length; cut++) {
    const { frames, summary, error } = await read([packed.subarray(0, cut)]);
    // Stored, not compressed: 10 bytes of gzip header and 5 of block header, the capture, 8 of trailer.
    const there = Math.max(0, Math.min(cut - 15, bytes.length));
    if (there < 4) {
      assert.ok(error instanceof IbsrError);
      continue;
    }
    assert.equal(error, undefined);
    assert.equal(frames.length, [54, 91, 107].filter((end) => there >= end).length, `cut at ${cut}`);
    assert.match(summary.warnings[0]!, /ends inside its gzip data/);
    assert.notEqual(summary.truncatedAtByte, undefined);
  }
});

Deno.test("readFrames() refuses damaged gzip, after the frames before the damage", async () => {
  const o = ORDERS.little, record = pcapRecord(o, { s: 1, sub: 0, bytes: Array(84).fill(200) });
  const packed = gzipSync(concat(pcapHeader(o), ...Array<Uint8Array>(1000).fill(record)), { level: 0 });
  packed[packed.length - 5]! ^= 1; // of the checksum
  const { frames, error } = await read([new Uint8Array(packed)]);
  assert.ok(error instanceof IbsrError && error.kind === "data");
  assert.match(error.message, /Cannot read "t.pcap": it can't be decompressed: .*data check after byte \d+$/);
  assert.ok(frames.length > 950, `${frames.length}`); // the last 1.7 kB, 18 frames, are made in the call that fails
});

Deno.test("readFrames() decompresses no faster than frames are taken", async () => {
  const o = ORDERS.little, zeros = new Uint8Array(64 * 1024 * 1024);
  const packed = new Uint8Array(gzipSync(concat(pcapHeader(o), zeros))); // 4,194,304 empty frames in 65 kB
  assert.ok(packed.length < 100_000);
  const before = Deno.memoryUsage().rss;
  const { frames, summary } = readFrames(ReadableStream.from([packed]), { name: "t.pcap" });
  let most = 0;
  for await (const _ of frames) if (summary.frames % 65_536 === 0) most = Math.max(most, Deno.memoryUsage().rss);
  assert.equal(summary.frames, zeros.length / 16);
  assert.ok(most - before < 48e6, `${((most - before) / 1e6).toFixed()} MB for what would be 64 MiB at once`);
});

// Damage

Deno.test("readFrames() gives the whole frames of a pcap cut at any byte, and says where it broke off", async () => {
  const bytes = smallPcap(ORDERS.little), ends = [24, 54, 91, 107];
  for (let cut = 4; cut <= bytes.length; cut++) {
    const { frames, summary, error } = await read([bytes.subarray(0, cut)]);
    assert.equal(error, undefined);
    assert.equal(frames.length, ends.filter((end) => cut >= end).length - (cut >= 24 ? 1 : 0));
    assert.equal(summary.frames, frames.length);
    const start = ends.findLast((end) => cut >= end) ?? 0;
    assert.equal(summary.truncatedAtByte, cut === start ? undefined : start, `cut at ${cut}`);
    const message = `ends inside the record at byte ${start}; ${frames.length} frame`;
    assert.equal(summary.warnings.some((w) => w.includes(message)), cut !== start);
  }
});

Deno.test("readFrames() gives the whole frames of a pcapng cut at any byte, and says where it broke off", async () => {
  const o = ORDERS.big, bytes = smallPcapng(o), ends = [0];
  for (let at = 0; at < bytes.length; ends.push(at)) at += new DataView(bytes.buffer).getUint32(at + 4);
  assert.equal(ends.length, 6);
  for (const size of [1, 9, bytes.length]) {
    for (let cut = 4; cut <= bytes.length; cut++) {
      const { frames, summary, error } = await read(pieces(bytes.subarray(0, cut), size));
      assert.equal(error, undefined);
      assert.equal(frames.length, ends.slice(4).filter((end) => cut >= end).length);
      const start = ends.findLast((end) => cut >= end)!;
      assert.equal(summary.truncatedAtByte, cut === start ? undefined : start, `cut at ${cut}`);
    }
  }
});

Deno.test("readFrames() refuses what is no capture", async () => {
  await assertDamaged(new Uint8Array(0), { message: /it is empty/ });
  await assertDamaged(Uint8Array.of(0xa1, 0xb2), { message: /it has 2 bytes/ });
  await assertDamaged(new TextEncoder().encode("<html>not a capture</html>"), { message: /begins with 3c68746d/ });
  await assertDamaged(new Uint8Array(gzipSync("text")), { message: /begins with 74657874/ });
  const old = smallPcap(ORDERS.little);
  old[4] = 1;
  await assertDamaged(old, { message: /pcap version 1\.4 is not supported at byte 0/ });
});

Deno.test("readFrames() refuses other link types by name", async () => {
  const o = ORDERS.little;
  const names = { 0: "NULL", 9: "PPP", 101: "RAW", 105: "IEEE802_11", 108: "LOOP", 113: "LINUX_SLL", 228: "IPV4" };
  for (const [linkType, name] of Object.entries({ ...names, 229: "IPV6", 276: "LINUX_SLL2", 999: "unnamed" })) {
    const bytes = concat(pcapHeader(o, { linkType: Number(linkType) }), pcapRecord(o, { s: 0, sub: 0, bytes: A }));
    await assertDamaged(bytes, { message: new RegExp(`are ${name} \\(link type ${linkType}\\), not Ethernet`) });
  }
});

Deno.test("readFrames() ignores the frame check sequence bits above the link type", async () => {
  const o = ORDERS.little;
  const bytes = concat(pcapHeader(o, { linkType: 0x24000001 }), pcapRecord(o, { s: 0, sub: 0, bytes: A }));
  assert.equal((await read([bytes])).frames.length, 1);
});

Deno.test("readFrames() refuses a pcapng at its first packet that is not Ethernet, not for a silent interface", async () => {
  const o = ORDERS.little;
  const declared = concat(
    section(o),
    describeInterface(o, { linkType: 113 }),
    describeInterface(o),
    enhancedPacket(o, { id: 1, ticks: 0, bytes: A }),
  );
  assert.equal((await read([declared])).error, undefined);
  const used = concat(declared, enhancedPacket(o, { id: 0, ticks: 0, bytes: A }));
  await assertDamaged(used, { message: /packets of its interface 0 are LINUX_SLL \(link type 113\)/, frames: 1 });
});

Deno.test("readFrames() names the byte of a block that contradicts itself", async () => {
  for (const o of [ORDERS.little, ORDERS.big]) {
    const { u32 } = o, start = concat(section(o), describeInterface(o)), at = 28 + 20;
    const good = enhancedPacket(o, { ticks: 0, bytes: A }),
      bad = (change: (bytes: DataView) => void) => {
        const copy = good.slice();
        change(new DataView(copy.buffer));
        return concat(start, good, copy, good);
      };
    const refuse = (bytes: Uint8Array, message: string) =>
      assertDamaged(bytes, { message: new RegExp(`${message} at byte ${at + good.length}$`), frames: 1 });
    for (const size of [0, 4, 8, 28, 47, 49, 0xffffffff]) {
      await refuse(bad((v) => v.setUint32(4, size, o.little)), `: a block of ${size} bytes`);
    }
    await refuse(bad((v) => v.setUint32(4, 0xfffffffc, o.little)), "a block of 4294967292 bytes, of at most .*");
    await refuse(bad((v) => v.setUint32(good.length - 4, 44, o.little)), "a block of 48 bytes that ends as one of 44");
    await refuse(bad((v) => v.setUint32(8, 1, o.little)), "a packet of interface 1, of 1 declared");
    await refuse(bad((v) => v.setUint32(20, 17, o.little)), "a frame of 17 bytes in a block that has 16");
    await refuse(bad((v) => v.setUint32(20, 0xffffffff, o.little)), "a frame of 4294967295 bytes, of at most .*");
    await refuse(
      concat(start, good, u32(0x0bad), u32(16), u32(0), u32(20)),
      "a block of 16 bytes that ends as one of 20",
    );
    await refuse(concat(start, good, u32(3), u32(16), u32(1), u32(16)), "a frame of 1 bytes in a block that has 0");
    await refuse(concat(start, good, u32(0x0a0d0d0a), u32(28), u32(0)), "a section without a byte order");
    const overlong = describeInterface(o, { options: concat(o.u16(2), o.u16(5), [1, 2, 3, 4]) });
    await refuse(concat(start, good, overlong), "an option of 5 bytes .*");
    const later = section(o);
    new DataView(later.buffer).setUint16(12, 2, o.little);
    await refuse(concat(start, good, later), "pcapng version 2 .*");
  }
});

Deno.test("readFrames() ends on every one-byte change of a capture, with frames of the file or an IbsrError", async () => {
  let whole = 0, errors = 0;
  for (
    const bytes of [
      smallPcap(ORDERS.little),
      smallPcapng(ORDERS.little),
      new Uint8Array(gzipSync(smallPcap(ORDERS.big))),
    ]
  ) {
    for (let at = 0; at < bytes.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const copy = bytes.slice();
        copy[at]! ^= flip;
        const { frames, error } = await read([copy]);
        assert.ok(frames.every((f) => f.bytes.length <= bytes.length && f.bytes.length <= f.length));
        if (error) assert.ok(error instanceof IbsrError && error.kind === "data", `byte ${at}: ${error}`);
        if (error) errors++;
        else whole++;
      }
    }
  }
  assert.ok(whole > 100 && errors > 100, `${whole} read, ${errors} refused`);
});

Deno.test("readFrames() passes on an error of the file it reads, and closes the file when its reader stops", async () => {
  let closed = false;
  const chunks = async function* () {
    try {
      yield smallPcap(ORDERS.little);
      throw new Deno.errors.BrokenPipe("gone");
    } finally {
      closed = true;
    }
  };
  const all = async () => {
    for await (const _ of readFrames(chunks(), { name: "t.pcap" }).frames);
  };
  await assert.rejects(all(), Deno.errors.BrokenPipe);
  closed = false;
  for await (const _ of readFrames(chunks(), { name: "t.pcap" }).frames) break;
  assert.equal(closed, true);
});
