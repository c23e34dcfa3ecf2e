/**
 * Puts rows where they belong while the kernel hands over the next ones.
 *
 * Rows come in no order, a batch at a time, and a snapshot has them by address. To sort them all at once when all are
 * there takes as long as a quarter of the kernel's reading, most of it waiting for memory; this is done meanwhile, by
 * a thread that has nothing else to do. A table consists of parts in the order of addresses, a part of blocks that lie
 * wherever there was room, so that each part is small enough to be sorted in the processor's cache. Pure.
 */
import { addRows, COUNTER_NAMES, type Table } from "./counters.ts";
import { COUNTERS, KEY4 } from "./layout.ts";

/** Rows of a part, on average: 200 kB of keys and values, and 600 kB of text. */
const PART_ROWS = 4096;
const MOST_PARTS = 1024;
/** Rows of a block. What the last one of a part has too many is empty, as if all of it had been moved. */
const BLOCK = 128;
const WORDS = COUNTERS.sizeof / 4;
/** Values of 16 bits, which rows are divided by. */
const DIGITS = 65536;

/** A table that is being filled. */
export interface Placing {
  /** Empties it, for about so many rows as `expected`. */
  begin(expected: number): void;
  /** Adds `count` rows, of keys and of `struct ibsr_counters`. */
  place(keys: Uint32Array, values: Uint32Array, count: number): void;
  /** The table with all that was placed, until the next `begin()`. Its memory is used again. */
  finish(): Table;
}

/** A table for keys of a size, for one reading after the other. */
export function createPlacing(keySize: number): Placing {
  const table: Table = { keySize, count: 0, keys: new Uint8Array(0), values: new Uint8Array(0) };
  // Of each part: the row that comes next, and how many more its block has room for.
  const next = new Uint32Array(MOST_PARTS), room = new Uint32Array(MOST_PARTS);
  let expected = 0, blocks: number[][] = [], division: Division | undefined;

  const addBlock = (part: number) => {
    const first = table.count;
    reserve(table, first + BLOCK, first === 0 ? expected + BLOCK * blocks.length : 0);
    blocks[part]!.push(first);
    next[part] = first;
    room[part] = BLOCK;
    table.count += BLOCK;
  };

  return {
    begin(rows) {
      expected = rows;
      table.count = 0;
      const bits = Math.ceil(Math.log2(Math.max(1, rows / PART_ROWS)));
      blocks = Array.from({ length: Math.min(MOST_PARTS, 2 ** bits) }, () => []);
      division = undefined;
      table.sum = new Float64Array(COUNTER_NAMES.length);
      room.fill(0);
    },
    place(keys, values, count) {
      if (count === 0) return;
      addRows(table.sum!, values, count);
      division ??= divide(keys, keySize, { count, parts: blocks.length });
      for (let row = 0; (row = placeRows({ table, division, next, room }, { keys, values, row, count })) < count;) {
        addBlock(partOf(new DataView(keys.buffer), row * keySize, division));
      }
    },
    finish() {
      const values = new Uint32Array(table.values.buffer);
      for (let part = 0; part < blocks.length; part++) {
        values.fill(0, next[part]! * WORDS, (next[part]! + room[part]!) * WORDS);
      }
      table.blocks = { of: blocks, rows: BLOCK };
      return table;
    },
  };
}

/** How rows are divided into parts. */
interface Division {
  /** Where in the key the digit begins that decides. */
  digit: number;
  /** A key with what comes before that digit: what is less belongs to the first part, what is more to the last. */
  like: DataView;
  parts: number;
  /** The part by digit. */
  of: Uint16Array;
}

/**
 * Divides by the first rows, which in the order of a hash are a sample: parts get rows enough of those addresses to be of a
 * size; but as much room is left for all others, from which a flood may come that was not in the sample.
 */
function divide(
  keys: Uint32Array,
  keySize: number,
  { count, parts }: { count: number; parts: number },
): Division {
  const view = new DataView(keys.buffer), like = new DataView(keys.slice(0, keySize / 4).buffer);
  const of = new Uint16Array(DIGITS),
    differs = (digit: number) => {
      for (let row = 1; row < count; row++) {
        if (view.getUint16(row * keySize + digit) !== view.getUint16(digit)) return true;
      }
      return false;
    };
  // Of IPv4 it is the first one, since a sample says little of where floods come from. The first that differs, of IPv6.
  let digit = 0;
  if (keySize > KEY4.sizeof) { while (digit < keySize - 6 && !differs(digit)) digit += 2; }
  if (parts > 1) {
    const seen = new Uint32Array(DIGITS);
    for (let row = 0; row < count; row++) seen[view.getUint16(row * keySize + digit)]!++;
    for (let value = 0, before = 0; value < DIGITS; before += seen[value++]!) {
      of[value] = Math.floor(parts * (before / count + value / DIGITS) / 2);
    }
  }
  return { digit, like, parts, of };
}

/** The part of the row whose key is at `at`. */
function partOf(keys: DataView, at: number, { digit, like, parts, of }: Division): number {
  for (let before = 0; before < digit; before += 2) {
    const difference = keys.getUint16(at + before) - like.getUint16(before);
    if (difference !== 0) return difference < 0 ? 0 : parts - 1;
  }
  return of[keys.getUint16(at + digit)]!;
}

/** Copies rows into the blocks of their parts, up to one that has no room left there; returns its number. */
function placeRows(
  { table, division, next, room }: { table: Table; division: Division; next: Uint32Array; room: Uint32Array },
  { keys, values, row, count }: { keys: Uint32Array; values: Uint32Array; row: number; count: number },
): number {
  const { keySize } = table, keyWords = keySize / 4, view = new DataView(keys.buffer);
  const toKeys = new Uint32Array(table.keys.buffer), toValues = new Uint32Array(table.values.buffer);
  for (; row < count; row++) {
    const part = partOf(view, row * keySize, division);
    if (room[part] === 0) break;
    room[part]!--;
    const to = next[part]!++;
    for (let k = 0; k < keyWords; k++) toKeys[to * keyWords + k] = keys[row * keyWords + k]!;
    for (let k = 0; k < WORDS; k++) toValues[to * WORDS + k] = values[row * WORDS + k]!;
  }
  return row;
}

/**
 * Makes room for `rows`. Memory that is not written costs nothing, so the buffers are made as large as `expected` says at
 * first; ones that are far too large (a flood that is over) are let go.
 */
function reserve(table: Table, rows: number, expected: number): void {
  const capacity = table.values.length / COUNTERS.sizeof, need = Math.max(rows, expected);
  if (need <= capacity && (expected === 0 || capacity <= 4 * need)) return;
  const size = expected > 0 ? need : Math.max(need, 2 * capacity), used = expected > 0 ? 0 : table.count;
  const keys = new Uint8Array(size * table.keySize), values = new Uint8Array(size * COUNTERS.sizeof);
  keys.set(table.keys.subarray(0, used * table.keySize));
  values.set(table.values.subarray(0, used * COUNTERS.sizeof));
  table.keys = keys;
  table.values = values;
}
