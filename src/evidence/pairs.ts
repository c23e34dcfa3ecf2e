/**
 * Numbers for pairs of numbers: (source, port) → 0, 1, 2, … in the order of first sight.
 *
 * Open addressing over typed arrays: a Map of objects or texts would cost five times the memory and the time, and
 * this is asked for every row of every snapshot. Most first words have one second: the first of them is found without a
 * hash. First words are numbers from 0, without large gaps. Pure.
 */

/** Pairs that have been seen, by number. */
export interface Pairs {
  /** How many there are. */
  readonly count: number;
  /** Two words a pair. */
  first(pair: number): number;
  second(pair: number): number;
  /** The pair's number; a new one if it has none. */
  of(first: number, second: number): number;
}

/** No pair yet. Words are below 2^32. */
export function createPairs(): Pairs {
  let words = new Uint32Array(2048), slots = new Int32Array(4096).fill(-1), count = 0;
  /** By first word: the pair that was seen first with it, -1 for none. */
  let heads = new Int32Array(1024).fill(-1);

  const slotOf = (first: number, second: number): number => {
    const mask = slots.length - 1;
    let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 15, 0xc2b2ae35);
    for (let slot = (hash ^ hash >>> 13) & mask;; slot = slot + 1 & mask) {
      const pair = slots[slot]!;
      if (pair < 0 || (words[2 * pair] === first && words[2 * pair + 1] === second)) return slot;
    }
  };
  const grow = () => {
    const wider = new Uint32Array(words.length * 2);
    wider.set(words);
    words = wider;
    slots = new Int32Array(slots.length * 2).fill(-1);
    for (let pair = 0; pair < count; pair++) slots[slotOf(words[2 * pair]!, words[2 * pair + 1]!)] = pair;
  };

  return {
    get count() {
      return count;
    },
    first: (pair) => words[2 * pair]!,
    second: (pair) => words[2 * pair + 1]!,
    of(first, second) {
      if (first >= heads.length) heads = atLeast(heads, first + 1, -1);
      const head = heads[first]!;
      if (head >= 0 && words[2 * head + 1] === second) return head;
      const slot = slotOf(first, second), known = slots[slot]!;
      if (known >= 0) return known;
      if (head < 0) heads[first] = count;
      slots[slot] = count;
      words[2 * count] = first;
      words[2 * count + 1] = second;
      if (++count * 2 === words.length) grow();
      return count - 1;
    },
  };
}

/** The array, or a copy at least `length` long; what is new in it is `fill`. */
export function atLeast<T extends Float64Array | Float32Array | Uint32Array | Int32Array | Uint16Array | Uint8Array>(
  array: T,
  length: number,
  fill = 0,
): T {
  if (array.length >= length) return array;
  const longer = new (array.constructor as new (length: number) => T)(Math.max(length, 2 * array.length, 1024));
  longer.set(array);
  if (fill !== 0) longer.fill(fill, array.length);
  return longer;
}
