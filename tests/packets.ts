/**
 * Random packets for fuzzing: made from the headers' structure, mutated, cut, and shrunk once one fails.
 *
 * Everything follows from a seed. `randomFrame()` stacks headers as a sender might and spoils about a field in ten, so
 * that most frames get past the first checks and each check meets frames on both sides of it; sources and ports come
 * from small pools, so that keys repeat. `mutateFrame()` spoils given frames without knowing their structure. What a
 * frame must count is the model's business.
 */
import { MONITORED_PORTS } from "./vectors.ts";

/** A deterministic source of randomness. */
export interface Random {
  /** A whole number from 0 to 2^32 - 1. */
  word(): number;
  /** A whole number from 0 to `below - 1`. */
  below(below: number): number;
  /** A number from 0 up to 1. */
  share(): number;
  /** True once in `n` times. */
  oneIn(n: number): boolean;
  pick<T>(list: readonly T[]): T;
  bytes(count: number): number[];
}

/** xoshiro128** (https://prng.di.unimi.it), its state filled by splitmix32 from `seed`. Same seed, same sequence. */
export function createRandom(seed: number): Random {
  const split = () => {
    seed = (seed + 0x9e3779b9) | 0;
    let z = Math.imul(seed ^ seed >>> 16, 0x21f0aaad);
    z = Math.imul(z ^ z >>> 15, 0x735a2d97);
    return z ^ z >>> 15;
  };
  let [a, b, c, d] = [split(), split(), split(), split()];
  const rotate = (x: number, k: number) => x << k | x >>> 32 - k;
  const next = () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0, t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
  const below = (limit: number) => Math.floor(next() / 2 ** 32 * limit);
  return {
    word: next,
    below,
    share: () => next() / 2 ** 32,
    oneIn: (n) => below(n) === 0,
    pick: (list) => list[below(list.length)]!,
    bytes: (count) => Array.from({ length: count }, () => below(256)),
  };
}

/** Ports that are not monitored, among them neighbours of those that are and one with its bytes exchanged. */
export const OTHER_PORTS = [0, 21, 81, 444, 8080, 0x5000, 65534];

const TAGS = [0x8100, 0x88a8, 0x9100];
const OTHER_TYPES = [0x0806, 0x9100, 0x9200, 0x8847, 0x8848, 0x8863, 0x8864, 0x88e5, 0x4305, 0x894f, 0x88cc, 38, 0];
const OTHER_PROTOCOLS = [17, 1, 58, 132, 59, 139, 140, 253, 4, 41, 47, 50, 97, 115, 137, 108, 255];
const EXTENSIONS = [0, 43, 44, 51, 60, 135];
const TCP = 6;

/** A header or payload, and the number by which the header before it announces it. */
interface Part {
  number: number;
  bytes: number[];
}

/** One random Ethernet frame of 0 to some 2,500 bytes; about half of them are TCP to a monitored port. */
export function randomFrame(random: Random): Uint8Array {
  const inner = random.oneIn(6)
    ? { number: random.oneIn(4) ? random.below(256) : random.pick(OTHER_PROTOCOLS), bytes: random.bytes(40) }
    : { number: TCP, bytes: tcpSegment(random) };
  let packet = random.oneIn(2) ? ipv4(random, inner) : ipv6(random, inner);
  if (random.oneIn(15)) packet = { number: random.pick(OTHER_TYPES), bytes: packet.bytes };
  const depth = random.oneIn(2) ? 0 : random.below(4);
  for (let tag = 0; tag < depth; tag++) {
    const type = random.oneIn(8) ? random.pick(TAGS) : TAGS[tag % 2]!;
    packet = { number: type, bytes: [...random.bytes(2), ...uint16(packet.number), ...packet.bytes] };
  }
  const frame = [...random.bytes(12), ...uint16(packet.number), ...packet.bytes];
  if (random.oneIn(3)) frame.push(...random.bytes(Math.max(0, 60 - frame.length)));
  if (random.oneIn(12)) frame.length = random.below(frame.length + 1);
  return Uint8Array.from(frame);
}

function tcpSegment(random: Random): number[] {
  const words = random.oneIn(4) ? random.below(16) : 5;
  const options = random.oneIn(6) ? 0 : Math.max(0, words - 5) * 4;
  const payload = random.oneIn(2) ? 0 : random.oneIn(8) ? random.below(1400) : random.below(9);
  const ordinary = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14];
  return [
    ...random.bytes(2),
    ...uint16(random.oneIn(8) ? random.pick(OTHER_PORTS) : random.pick(MONITORED_PORTS)),
    ...random.bytes(8),
    words << 4 | random.below(16),
    random.oneIn(2) ? random.pick(ordinary) : random.below(256),
    ...random.bytes(6 + options + payload),
  ];
}

function ipv4(random: Random, inner: Part): Part {
  const words = random.oneIn(4) ? random.below(11) + 5 : 5, headerBytes = words * 4;
  const first = random.oneIn(20) ? random.below(256) : 0x40 | words;
  const total = spoilLength(random, headerBytes + inner.bytes.length);
  const bytes = [first, random.below(256), ...uint16(total), ...random.bytes(2)];
  bytes.push(...uint16(fragmentField(random, 13)), 64, inner.number, ...random.bytes(2));
  bytes.push(192, 0, 2, random.below(8), 198, 51, 100, 1);
  bytes.push(...random.bytes(headerBytes - 20), ...inner.bytes);
  return { number: 0x0800, bytes };
}

/** An IPv4 flags-and-offset field (13 bits of offset), or an IPv6 one (offset in the upper 13 bits). */
function fragmentField(random: Random, low: 13 | 3): number {
  if (!random.oneIn(low === 13 ? 6 : 2)) return low === 13 ? random.pick([0x0000, 0x4000]) : 0;
  const offset = random.oneIn(2) ? 0 : random.pick([1, 2, 185, 0x1fff]), flags = random.below(8);
  return low === 13 ? flags << 13 | offset : offset << 3 | flags;
}

/** Mostly the right length; else 0, one off, a few bytes, or anything. */
function spoilLength(random: Random, right: number): number {
  if (!random.oneIn(6)) return right;
  return random.pick([0, right - 1, right + 1, random.below(64), random.below(65_536)]) & 0xffff;
}

function ipv6(random: Random, inner: Part): Part {
  let rest = inner;
  const depth = random.oneIn(2) ? 0 : random.below(random.oneIn(3) ? 11 : 4);
  for (let i = 0; i < depth; i++) rest = extensionHeader(random, rest);
  const bytes = [random.oneIn(25) ? random.below(256) : 0x60, ...random.bytes(3)];
  bytes.push(...uint16(spoilLength(random, rest.bytes.length)), rest.number, 64);
  bytes.push(0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), random.below(8), ...random.bytes(16));
  return { number: 0x86dd, bytes: [...bytes, ...rest.bytes] };
}

function extensionHeader(random: Random, next: Part): Part {
  const number = random.pick(EXTENSIONS), eights = random.oneIn(4) ? random.below(4) + 1 : 1;
  if (number === 44) {
    const field = uint16(fragmentField(random, 3));
    return { number, bytes: [next.number, random.below(256), ...field, ...random.bytes(4), ...next.bytes] };
  }
  const right = number === 51 ? eights * 2 - 2 : eights - 1, length = random.oneIn(20) ? random.below(256) : right;
  return { number, bytes: [next.number, length, ...random.bytes(eights * 8 - 2), ...next.bytes] };
}

function uint16(value: number): number[] {
  return [value >> 8 & 255, value & 255];
}

/** Every TCP flag byte with every data offset, over IPv4, without payload (behind 60 bytes of header) and with it. */
export function* everyFlagAndOffset(): Generator<Uint8Array> {
  for (let flags = 0; flags < 256; flags++) {
    for (let words = 0; words < 16; words++) {
      for (const payload of [0, 1]) {
        const segment = Math.max(20, words * 4) + payload, frame = new Uint8Array(34 + segment);
        frame.set([8, 0, 0x45, 0, ...uint16(20 + segment), 0, 0, 0, 0, 64, TCP, 0, 0, 192, 0, 2, words], 12);
        frame.set([198, 51, 100, 1, 195, 80, ...uint16(80)], 30);
        frame.set([words << 4, flags], 46);
        yield frame;
      }
    }
  }
}

/** A frame cut at every byte, from nothing to the whole. */
export function* everyCut(frame: Uint8Array): Generator<Uint8Array> {
  for (let cut = 0; cut <= frame.length; cut++) yield frame.subarray(0, cut);
}

/**
 * A copy of a frame with one to four random changes, most of them among its headers.
 *
 * @param other A frame to splice in.
 */
export function mutateFrame(random: Random, frames: { frame: Uint8Array; other: Uint8Array }): Uint8Array {
  let bytes = [...frames.frame];
  for (let change = random.below(4); change >= 0; change--) {
    const near = random.oneIn(4) ? bytes.length : Math.min(bytes.length, 100);
    const at = random.below(near + 1), to = random.below(near + 1), length = random.below(24) + 1;
    switch (random.below(8)) {
      case 0:
      case 1:
        if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
        break;
      case 2:
        if (at < bytes.length) {
          bytes[at] = random.pick([0, 1, 4, 5, 6, 0x45, 0x60, 0x7f, 0x80, 0xff, random.below(256)]);
        }
        break;
      case 3:
        if (at < bytes.length && to < bytes.length) [bytes[at], bytes[to]] = [bytes[to]!, bytes[at]!];
        break;
      case 4:
        bytes.length = at;
        break;
      case 5:
        bytes.splice(at, length);
        break;
      case 6:
        bytes.splice(at, 0, ...bytes.slice(to, to + length));
        break;
      case 7:
        bytes = [...bytes.slice(0, at), ...frames.other.subarray(random.oneIn(2) ? at : to)];
    }
  }
  return Uint8Array.from(bytes.slice(0, 65_000));
}

/**
 * The least of a failing frame that still fails: no byte of it can be left out, nor made 0, without passing.
 *
 * @param fails Must hold for `frame`, and give the same answer each time.
 * @throws {Error} If `frame` does not fail.
 */
export function shrinkFrame(frame: Uint8Array, fails: (frame: Uint8Array) => boolean): Uint8Array {
  if (!fails(frame)) throw new Error("the frame to shrink does not fail");
  const without = (from: Uint8Array, at: number, size: number) =>
    Uint8Array.of(...from.subarray(0, at), ...from.subarray(at + size));
  const zeroed = (from: Uint8Array, at: number, size: number) => from.slice().fill(0, at, at + size);
  const weight = (of: Uint8Array) => of.length + of.filter(Boolean).length;

  let least = frame;
  for (let progress = true; progress;) {
    progress = false;
    for (let size = least.length; size >= 1; size >>= 1) {
      for (let at = least.length - size; at >= 0; at -= size) {
        const changes = [without(least, at, size), zeroed(least, at, size)];
        const smaller = changes.find((change) => weight(change) < weight(least) && fails(change));
        if (smaller) [least, progress] = [smaller, true];
      }
    }
  }
  return least;
}
