/**
 * Address prefixes (CIDRs): text to value and back, and their arithmetic. Pure.
 *
 * A prefix is the bytes of its first address, 4 or 16 of them in network order, and how many leading bits it fixes.
 * An address is a prefix of all its bits. IPv4 and IPv6 never contain each other; an IPv4 address written as IPv6
 * (`::ffff:192.0.2.1`) is IPv4.
 */
import { formatAddress, parseAddress } from "./address.ts";

/** A network, or one address; the bits behind `bits` are zero. */
export interface Prefix {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

/** The prefix of an address or CIDR, its host bits dropped; undefined if the text is neither. */
export function parsePrefix(text: string): Prefix | undefined {
  const match = /^([0-9a-fA-F.:]{2,45})(?:\/(0|[1-9]\d{0,2}))?$/.exec(text);
  const bytes = match ? parseAddress(match[1]!) : undefined;
  if (!bytes) return undefined;
  const bits = match![2] === undefined ? 8 * bytes.length : Number(match![2]);
  if (bits > 8 * bytes.length) return undefined;
  const mapped = bits >= 96 && bytes.length === 16 && bytes.subarray(0, 10).every((b) => b === 0) &&
    bytes[10] === 0xff && bytes[11] === 0xff;
  return mapped ? prefixOf(bytes.subarray(12), bits - 96) : prefixOf(bytes, bits);
}

/** The first `bits` of an address as a prefix; without `bits`, the address alone. */
export function prefixOf(address: Uint8Array, bits: number = 8 * address.length): Prefix {
  const bytes = address.slice(), at = bits >> 3;
  if (at < bytes.length) {
    bytes[at]! &= 0xff00 >> (bits & 7);
    bytes.fill(0, at + 1);
  }
  return { bytes, bits };
}

/** As text: an address without `/32` or `/128`, IPv6 as RFC 5952 writes it. */
export function formatPrefix(prefix: Prefix): string {
  const text = formatAddress(prefix.bytes);
  return isAddress(prefix) ? text : `${text}/${prefix.bits}`;
}

/** Whether the prefix is one address. */
export function isAddress({ bytes, bits }: Prefix): boolean {
  return bits === 8 * bytes.length;
}

/** Whether every address of `inner` is one of `outer`'s. */
export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  if (outer.bytes.length !== inner.bytes.length || outer.bits > inner.bits) return false;
  const whole = outer.bits >> 3;
  for (let i = 0; i < whole; i++) if (outer.bytes[i] !== inner.bytes[i]) return false;
  const mask = 0xff00 >> (outer.bits & 7) & 0xff;
  return whole === outer.bytes.length || outer.bytes[whole] === (inner.bytes[whole]! & mask);
}

/** Whether the prefixes share an address: then one contains the other. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return containsPrefix(a, b) || containsPrefix(b, a);
}

/** The lower and the upper half of a prefix that isn't one address. */
export function splitPrefix({ bytes, bits }: Prefix): [Prefix, Prefix] {
  const upper = bytes.slice();
  upper[bits >> 3]! |= 0x80 >> (bits & 7);
  return [{ bytes, bits: bits + 1 }, { bytes: upper, bits: bits + 1 }];
}

/** Order: IPv4 first, then by address, and of equal addresses the wider prefix first. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.bytes.length !== b.bytes.length) return a.bytes.length - b.bytes.length;
  for (let i = 0; i < a.bytes.length; i++) if (a.bytes[i] !== b.bytes[i]) return a.bytes[i]! - b.bytes[i]!;
  return a.bits - b.bits;
}
