/** Rows that come in batches, in no order, and whose addresses the first batch says little of. */
import assert from "node:assert/strict";
import { COUNTER_NAMES, type Counters, countersAt, noCounters, toDelta, wordsOf } from "../src/counters.ts";
import { COUNTERS } from "../src/layout.ts";
import { createPlacing, type Placing } from "../src/placing.ts";
import { createRandom } from "./packets.ts";

const WORDS = COUNTERS.sizeof / 4;

/** Batches of rows, each with its number as bytes, one packet, and every tenth empty; places them. */
function placeRandom(
  placing: Placing,
  { keySize, batches, expected }: { keySize: number; batches: ((key: DataView) => void)[][]; expected?: number },
): Map<string, number> {
  const bytes = new Map<string, number>();
  placing.begin(expected ?? batches.flat().length);
  let number = 0;
  for (const batch of batches) {
    const keys = new Uint32Array(batch.length * keySize / 4), values = new Uint32Array(batch.length * WORDS);
    for (const [row, write] of batch.entries()) {
      write(new DataView(keys.buffer, row * keySize, keySize));
      if (++number % 10 === 0) continue; // empty
      values[row * WORDS] = number;
      values[row * WORDS + 2] = 1;
      const key = new Uint8Array(keys.buffer, row * keySize, keySize).toHex();
      bytes.set(key, (bytes.get(key) ?? 0) + number);
    }
    placing.place(keys, values, batch.length);
  }
  return bytes;
}

/** What a snapshot has of a table: bytes by key, in its order; and the sum that it was said to be. */
function rowsOf(placing: Placing, keySize: number): { rows: [string, number][]; unattributed: Counters } {
  const other = createPlacing(keySize === 8 ? 20 : 8);
  other.begin(0);
  const table = placing.finish(), none = other.finish();
  const { v4, v6, unattributed } = toDelta({
    ...{ takenAt: { monotonicMs: 0, wallMs: 0 }, ports: [], totals: [], skipped: new Float64Array(5), inserted: 0 },
    ...{ entries: { known4: 0, known6: 0, syn4: 0, syn6: 0 } },
    ...keySize === 8 ? { v4: table, v6: none } : { v4: none, v6: table },
  });
  const rows = keySize === 8 ? v4 : v6, words = wordsOf(rows);
  const list = [...rows.order].map((row): [string, number] => [
    rows.keys.subarray(row * keySize, (row + 1) * keySize).toHex(),
    countersAt(words, row * WORDS).bytes,
  ]);
  return { rows: list, unattributed };
}

Deno.test("createPlacing() gives each row back once, in order, however addresses are spread and batches differ", () => {
  const { word: random } = createRandom(5);
  const port = (key: DataView) => key.setUint16(key.byteLength - 4, random() % 3);
  const any4 = (key: DataView) => (key.setUint32(0, random()), port(key));
  const near4 = (key: DataView) => (key.setUint32(0, 0x0a000000 + random() % 5000), port(key));
  const any6 = (key: DataView) => ([0, 4, 8, 12].forEach((at) => key.setUint32(at, random())), port(key));
  const near6 = (key: DataView) => (key.setUint32(0, 0x20010db8), key.setUint32(12, random() % 50000), port(key));
  const one = (key: DataView) => key.setUint8(3, 7);
  const of = (count: number, write: (key: DataView) => void) => Array.from({ length: count }, () => write);
  const cases: Record<string, { keySize: number; batches: ((key: DataView) => void)[][]; expected?: number }> = {
    "all of IPv4": { keySize: 8, batches: [of(5000, any4), of(30000, any4), of(7, any4)] },
    "a network, and then a flood": { keySize: 8, batches: [of(300, near4), of(40000, any4)] },
    "a flood, and then a network": { keySize: 8, batches: [of(20000, any4), of(20000, near4)] },
    "one address": { keySize: 8, batches: [of(20000, one), of(20000, one)] },
    "a network of IPv6, and then a flood": { keySize: 20, batches: [of(10000, near6), of(20000, any6)] },
    "a flood of IPv6, and then a network": { keySize: 20, batches: [of(10000, any6), of(20000, near6)] },
    "one address of IPv6": { keySize: 20, batches: [of(10000, one), of(10, one)] },
    "more rows than expected": { keySize: 8, batches: [of(20000, any4), of(50000, any4)], expected: 10 },
    "fewer rows than expected": { keySize: 8, batches: [of(2, any4)], expected: 100_000 },
    "no row": { keySize: 20, batches: [[]] },
  };
  const placings = new Map([[8, createPlacing(8)], [20, createPlacing(20)]]);
  for (const [name, each] of Object.entries(cases)) {
    const placing = placings.get(each.keySize)!; // used again, so that what was there before must not show
    const expected = placeRandom(placing, each), { rows, unattributed } = rowsOf(placing, each.keySize);
    assert.ok(rows.every(([key], i) => i === 0 || rows[i - 1]![0] < key), `${name}: in order, each key once`);
    assert.deepEqual(new Map(rows), expected, name);
    let bytes = 0;
    for (const of of expected.values()) bytes += of;
    assert.equal(unattributed.bytes, 0 - bytes, name);
    assert.deepEqual(Object.keys(unattributed).sort(), [...COUNTER_NAMES].sort());
  }
});

Deno.test("a delta's rows are the same when they are asked for again", () => {
  const placing = createPlacing(8), same = (key: DataView) => key.setUint8(0, 1);
  placeRandom(placing, { keySize: 8, batches: [[same, same, same]] });
  const { rows } = rowsOf(placing, 8);
  assert.deepEqual(rows, [["0100000000000000", 6]]);
  assert.deepEqual(rowsOf(placing, 8), { rows, unattributed: { ...noCounters(), packets: -3, bytes: -6 } });
});
