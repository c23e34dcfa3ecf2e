/**
 * The source addresses of all evidence, each once, by a number from 0 in the order of first sight.
 *
 * Open addressing in typed arrays: a dozen bytes an IPv4 source, some 30 an IPv6 one, where a Map of texts takes
 * 150. The hash is seeded, so that nobody can choose addresses which all fall on one place. Pure.
 */
import { formatAddress } from "../address.ts";
import type { Sources } from "./interval.ts";

/** Sources that grow while evidence is read. */
export interface SourceTable extends Sources {
  /** The number of an IPv4 address, first octet highest. */
  intern4(address: number): number;
  /** The number of an IPv6 address in four 32-bit words, highest first. */
  intern6(a: number, b: number, c: number, d: number): number;
  /** The number of an address of 4 or 16 bytes. */
  intern(bytes: Uint8Array): number;
  /** Negative, 0 or positive, as `a` stands before, at or behind `b`: IPv4 before IPv6, then by value. */
  compare(a: number, b: number): number;
}

/** Marks a source as IPv6 in `families`. */
const V6 = 1;

/** An empty table. `seed`: any 32 bits that who makes the evidence can't know; results don't depend on it. */
export function createSources(seed: number): SourceTable {
  let count = 0, count6 = 0;
  /** Of IPv4, the address; of IPv6, where its words begin in `words6`, by four. */
  let values = new Uint32Array(1 << 10), families = new Uint8Array(1 << 10), words6 = new Uint32Array(1 << 6);
  /** Number + 1 of a source, 0 where there is none; both families in one table. */
  let slots = new Uint32Array(1 << 11), mask = slots.length - 1;

  const hash4 = (address: number) => mix(Math.imul(address ^ seed, 0x9e3779b1));
  const hash6 = (a: number, b: number, c: number, d: number) => {
    let hash = mix(Math.imul(a ^ seed, 0x9e3779b1));
    hash = mix(Math.imul(b ^ hash, 0x85ebca6b));
    hash = mix(Math.imul(c ^ hash, 0xc2b2ae35));
    return mix(Math.imul(d ^ hash, 0x27d4eb2f));
  };

  const add = (slot: number, value: number, family: number): number => {
    if (count === values.length) {
      values = grown(values, new Uint32Array(count * 2));
      families = grown(families, new Uint8Array(count * 2));
    }
    values[count] = value;
    families[count] = family;
    slots[slot] = ++count;
    if (count * 2 > slots.length) rehash();
    return count - 1;
  };

  const rehash = () => {
    slots = new Uint32Array(slots.length * 2);
    mask = slots.length - 1;
    for (let source = 0; source < count; source++) {
      const value = values[source]!, at = value * 4;
      let slot = families[source] === V6
        ? hash6(words6[at]!, words6[at + 1]!, words6[at + 2]!, words6[at + 3]!)
        : hash4(value);
      for (slot &= mask; slots[slot] !== 0;) slot = slot + 1 & mask;
      slots[slot] = source + 1;
    }
  };

  const intern4 = (address: number): number => {
    for (let slot = hash4(address) & mask;; slot = slot + 1 & mask) {
      const found = slots[slot]! - 1;
      if (found < 0) return add(slot, address, 0);
      if (values[found] === address && families[found] !== V6) return found;
    }
  };

  const intern6 = (a: number, b: number, c: number, d: number): number => {
    for (let slot = hash6(a, b, c, d) & mask;; slot = slot + 1 & mask) {
      const found = slots[slot]! - 1;
      if (found >= 0) {
        const at = values[found]! * 4;
        if (families[found] !== V6 || words6[at + 3] !== d || words6[at + 2] !== c) continue;
        if (words6[at + 1] === b && words6[at] === a) return found;
        continue;
      }
      if (count6 * 4 === words6.length) words6 = grown(words6, new Uint32Array(words6.length * 2));
      words6.set([a, b, c, d], count6 * 4);
      return add(slot, count6++, V6);
    }
  };

  const bytes = (source: number): Uint8Array => {
    if (!(source >= 0 && source < count)) throw new RangeError(`there is no source ${source}`);
    const value = values[source]!;
    if (families[source] !== V6) return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
    const result = new Uint8Array(16);
    for (let i = 0; i < 16; i++) result[i] = words6[value * 4 + (i >> 2)]! >>> 24 - 8 * (i & 3);
    return result;
  };

  return {
    get count() {
      return count;
    },
    bytes,
    text(source) {
      if (!(source < count) || families[source] === V6) return formatAddress(bytes(source));
      const value = values[source]!;
      return `${value >>> 24}.${value >>> 16 & 255}.${value >>> 8 & 255}.${value & 255}`;
    },
    intern4,
    intern6,
    intern(address) {
      const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
      if (address.length === 4) return intern4(view.getUint32(0));
      return intern6(view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12));
    },
    compare(a, b) {
      const family = families[a]! - families[b]!;
      if (family !== 0) return family;
      const left = values[a]!, right = values[b]!;
      if (families[a] !== V6) return left - right;
      for (let i = 0; i < 4; i++) {
        const difference = words6[left * 4 + i]! - words6[right * 4 + i]!;
        if (difference !== 0) return difference;
      }
      return 0;
    },
  };
}

/** Spreads the bits of a 32-bit word (the finish of MurmurHash3). */
function mix(word: number): number {
  word = Math.imul(word ^ word >>> 16, 0x85ebca6b);
  word = Math.imul(word ^ word >>> 13, 0xc2b2ae35);
  return (word ^ word >>> 16) >>> 0;
}

function grown<T extends Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
