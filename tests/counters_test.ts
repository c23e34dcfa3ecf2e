import assert from "node:assert/strict";
import {
  COUNTER_NAMES,
  type Counters,
  countersAt,
  expandSyns,
  noCounters,
  type Reading,
  toDelta,
  wordsOf,
  writeCounters,
} from "../src/counters.ts";
import { COUNTERS, SYNS } from "../src/layout.ts";
import { createRandom } from "./packets.ts";
import { type Row, tableOf } from "./tables.ts";

/** The counters of one packet, from the definitions. */
function packet(flags: number, data: 0 | 1, bytes: number): Counters {
  const [fin, syn, rst, ack] = [flags & 1, flags >> 1 & 1, flags >> 2 & 1, flags >> 4 & 1] as const;
  const handshake_ack = ack && !syn && !rst && !data ? 1 : 0;
  return { packets: 1, bytes, syn, ack, handshake_ack, rst, syn_ack: syn & ack, fin, data };
}

function readingOf(v4: Row[], v6: Row[], rest: Partial<Reading> = {}): Reading {
  return {
    takenAt: { monotonicMs: 0, wallMs: 0 },
    ports: [80],
    totals: [],
    skipped: new Float64Array(5),
    inserted: v4.length + v6.length,
    entries: { known4: v4.length, known6: v6.length, syn4: 0, syn6: 0 },
    v4: tableOf(v4, 8),
    v6: tableOf(v6, 20),
    ...rest,
  };
}

Deno.test("countersAt() undoes writeCounters() for every combination of flags and payload", () => {
  const words = new Uint32Array(COUNTERS.sizeof / 4);
  for (let flags = 0; flags < 256; flags++) {
    for (const data of [0, 1] as const) {
      writeCounters(words, 0, packet(flags, data, 2 ** 40 + flags));
      assert.deepEqual(countersAt(words, 0), packet(flags, data, 2 ** 40 + flags));
    }
  }
});

Deno.test("countersAt() is exact for sums of any packets, modulo 2^32", () => {
  const { word: random } = createRandom(5),
    row = new Uint32Array(COUNTERS.sizeof / 4),
    sum = new Uint32Array(row.length);
  const expected = noCounters();
  for (let i = 0; i < 5000; i++) {
    const one = packet(random() & 255, (random() & 1) as 0 | 1, random() % 1500);
    writeCounters(row, 0, one);
    for (let k = 0; k < row.length; k++) sum[k]! += row[k]!;
    for (const name of COUNTER_NAMES) expected[name] += one[name];
  }
  assert.deepEqual(countersAt(sum, 0), expected);
});

Deno.test("toDelta() sorts by address and port, as numbers", () => {
  const one = packet(0x10, 0, 60);
  const rows: Row[] = [["10.0.0.10", 80, one], ["9.255.0.1", 443, one], ["10.0.0.2", 443, one], ["10.0.0.2", 80, one]];
  const delta = toDelta(readingOf(rows, [["fd00::2", 1, one], ["::1", 9, one]]));
  assert.deepEqual([...delta.v4.order], [1, 3, 2, 0]);
  assert.deepEqual([...delta.v6.order], [1, 0]);
});

Deno.test("toDelta() sorts 5,000 random IPv6 rows as their bytes sort", () => {
  const { word: random } = createRandom(11), one = packet(2, 0, 60);
  const rows = Array.from({ length: 5000 }, (): Row => {
    const group = () => (random() % 4 === 0 ? random() & 0xffff : 1).toString(16);
    return [Array.from({ length: 8 }, group).join(":"), 1 + random() % 65535, one];
  });
  const delta = toDelta(readingOf([], rows));
  const key = (row: number) =>
    delta.v6.keys.subarray(row * 20, row * 20 + 20).toString().split(",").map((n) => n.padStart(3, "0")).join();
  const keys = [...delta.v6.order].map(key);
  assert.deepEqual(keys, [...keys].sort());
  assert.equal(new Set(keys).size, keys.length);
});

Deno.test("toDelta() sorts 200,000 rows, each with its counters, however their addresses are spread", () => {
  const { word: random } = createRandom(11), count = 200_000;
  const spreads: Record<string, { keySize: 8 | 20; writeAddress: (key: DataView, at: number) => void }> = {
    "all IPv4": { keySize: 8, writeAddress: (key, at) => key.setUint32(at, random()) },
    "one /20 of IPv4": { keySize: 8, writeAddress: (key, at) => key.setUint32(at, 0xc0a81000 + random() % 4096) },
    "two addresses of IPv4": { keySize: 8, writeAddress: (key, at) => key.setUint32(at, 0x7fffffff + random() % 2) },
    "one address of IPv4": { keySize: 8, writeAddress: (key, at) => key.setUint32(at, 1) },
    "one /112 of IPv6": { keySize: 20, writeAddress: (key, at) => key.setUint32(at + 12, random() & 0xffff) },
    "two /32 of IPv6": {
      keySize: 20,
      writeAddress(key, at) {
        key.setUint32(at, 0x20010db8 + random() % 2);
        key.setUint32(at + 8, random());
      },
    },
  };
  for (const [spread, { keySize, writeAddress }] of Object.entries(spreads)) {
    const keys = new Uint8Array(count * keySize), values = new Uint8Array(count * COUNTERS.sizeof);
    const view = new DataView(keys.buffer), words = new Uint32Array(values.buffer);
    const expected = new Map<string, number>(),
      keyOf = (row: number) => keys.subarray(row * keySize, (row + 1) * keySize);
    for (let row = 0; row < count; row++) {
      writeAddress(view, row * keySize);
      view.setUint16((row + 1) * keySize - 4, random() % 16);
      if (row % 10 === 0) continue; // empty
      words[row * COUNTERS.sizeof / 4] = row;
      words[row * COUNTERS.sizeof / 4 + 2] = 1;
      expected.set(keyOf(row).toHex(), (expected.get(keyOf(row).toHex()) ?? 0) + row);
    }
    const table = { keySize, count, keys, values };
    const { v4, v6 } = toDelta(readingOf([], [], keySize === 8 ? { v4: table } : { v6: table }));
    const rows = keySize === 8 ? v4 : v6, after = wordsOf(rows);
    const found = [...rows.order].map((
      row,
    ) => [keyOf(row).toHex(), countersAt(after, row * COUNTERS.sizeof / 4).bytes]);
    assert.ok(found.every(([key], i) => i === 0 || found[i - 1]![0]! < key!), `${spread}: in order, each key once`);
    assert.deepEqual(new Map(found as [string, number][]), expected, spread);
  }
});

Deno.test("toDelta() adds a source's SYNs to its other packets, and leaves empty rows out", () => {
  const syns = new Uint8Array(3 * SYNS.sizeof), view = new DataView(syns.buffer);
  view.setBigUint64(0, 120n, true);
  view.setUint32(SYNS.syn, 2, true);
  view.setBigUint64(SYNS.sizeof, 74n, true);
  view.setUint32(SYNS.sizeof + SYNS.syn, 1, true);
  view.setUint32(SYNS.sizeof + SYNS.data, 1, true);
  const none = noCounters();
  const reading = readingOf([["10.0.0.1", 80, packet(0x10, 0, 60)], ["10.0.0.1", 80, none], ["10.0.0.2", 80, none], [
    "10.0.0.3",
    80,
    none,
  ]], []);
  expandSyns(syns, reading.v4.values.subarray(COUNTERS.sizeof), 3);
  const { v4 } = toDelta(reading);
  assert.deepEqual([...v4.order], [0, 2], "the empty third entry is no row");
  const at = (row: number) => countersAt(wordsOf(v4), row * COUNTERS.sizeof / 4);
  assert.deepEqual(at(0), { ...packet(0x10, 0, 180), packets: 3, syn: 2 });
  assert.deepEqual(at(2), packet(2, 1, 74));
});

Deno.test("toDelta() keeps a SYN whose bytes are in the source's other entry already", () => {
  const known = { ...packet(0x10, 0, 60 + 54), packets: 1 }, syn = { ...packet(2, 0, 0) };
  const { v4 } = toDelta(readingOf([["10.0.0.1", 80, known], ["10.0.0.1", 80, syn]], []));
  assert.equal(v4.order.length, 1);
  const row = countersAt(wordsOf(v4), v4.order[0]! * COUNTERS.sizeof / 4);
  assert.deepEqual(row, { ...known, packets: 2, syn: 1 });
});

Deno.test("toDelta() shows in unattributed what totals have and rows have not", () => {
  const classes = new Float64Array(8);
  classes[1] = 5; // SYN
  classes[4] = 3; // ACK
  const delta = toDelta(readingOf([["10.0.0.1", 80, { ...packet(0x10, 0, 60) }]], [], {
    totals: [{ port: 80, bytes: 480, classes }],
    inserted: 6,
  }));
  assert.deepEqual(delta.unattributed, { ...noCounters(), packets: 7, bytes: 420, syn: 5, ack: 2, handshake_ack: 2 });
  assert.equal(delta.evicted, 5);
});
