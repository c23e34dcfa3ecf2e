/**
 * Values by address prefix, looked up by the longest prefix that contains an address. Pure.
 */
import type { Prefix } from "./prefix.ts";

/** A table that can be asked for an address, 4 or 16 bytes in network order. */
export interface PrefixTable<T> {
  /** The value of the longest prefix that contains the address; undefined if none does. */
  find(address: Uint8Array): T | undefined;
}

/** Builds a table; of equal prefixes the first counts. A look-up costs a step for each length of prefix in it. */
export function createPrefixTable<T>(entries: Iterable<readonly [Prefix, T]>): PrefixTable<T> {
  const families = new Map<number, Map<number, Map<string, T>>>([[4, new Map()], [16, new Map()]]);
  for (const [{ bytes, bits }, value] of entries) {
    const lengths = families.get(bytes.length)!;
    const values = lengths.get(bits) ?? new Map<string, T>();
    const key = prefixKey(bytes, bits);
    if (!values.has(key)) values.set(key, value);
    lengths.set(bits, values);
  }
  const sorted = new Map([...families].map(([size, lengths]) => [size, [...lengths].sort(([a], [b]) => b - a)]));
  return {
    find(address) {
      for (const [bits, values] of sorted.get(address.length) ?? []) {
        const value = values.get(prefixKey(address, bits));
        if (value !== undefined) return value;
      }
      return undefined;
    },
  };
}

/**
 * The first `bits` of an address as text: addresses of a family with equal texts are in one prefix of that length.
 * Nothing is allocated but the text: it is asked for every source and every length of prefix.
 */
export function prefixKey(address: Uint8Array, bits: number): string {
  const whole = bits >> 3;
  let key = "";
  for (let i = 0; i < whole; i++) key += String.fromCharCode(address[i]!);
  return (bits & 7) === 0 ? key : key + String.fromCharCode(address[whole]! & 0xff00 >> (bits & 7) & 0xff);
}
