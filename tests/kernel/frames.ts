/**
 * Well-formed frames for replaying, and a capture file of them.
 */

import { createRandom } from "../packets.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const ETHERNET = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

function u16(value: number): [number, number] {
  return [value >> 8 & 255, value & 255];
}

function tcpHeader(port: number, flags: number, optionWords: number): number[] {
  return [...u16(40000), ...u16(port), ...Array(8).fill(1), (5 + optionWords) << 4, flags, 255, 255, 0, 0, 0, 0]
    .concat(Array(4 * optionWords).fill(1));
}

/**
 * Frames as a host sees them: IPv4 with and without options, first and later fragments, IPv6 with and without
 * extension headers, none to two VLAN tags, every combination of TCP flags, UDP among them.
 */
export function* mixedFrames(count: number, ports: readonly number[]): Generator<Bytes> {
  const { word: random, pick } = createRandom(1);
  for (let i = 0; i < count; i++) {
    const v6 = random() % 3 === 0, host = random() % 2000;
    const tags = pick([[], [], [0x81, 0, 0, 7], [0x88, 0xa8, 0, 9, 0x81, 0, 0, 7]]);
    const payload = pick([0, 0, 0, 1, 6, 100, 600]);
    const udp = random() % 20 === 0, port = pick([...ports, ...ports, 9999]);
    const segment = udp
      ? [...u16(5), ...u16(port), ...u16(8 + payload), 0, 0]
      : tcpHeader(port, random() & 255, pick([0, 0, 3, 8]));
    const length = segment.length + payload;
    let network: number[];
    if (v6) {
      const extensions = udp ? 0 : pick([0, 0, 1, 2]);
      const chain = Array.from({ length: extensions }, (_, k) => [k + 1 < extensions ? 60 : 6, 0, 1, 4, 0, 0, 0, 0])
        .flat();
      network = [
        ...[0x60, 0, 0, 0, ...u16(chain.length + length), extensions ? 60 : udp ? 17 : 6, 64],
        ...[0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...u16(host)],
        ...[0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        ...chain,
      ];
    } else {
      const options = pick([0, 0, 0, 1, 10]), fragment = random() % 25 === 0 ? pick([0x2000, 185]) : 0;
      network = [
        ...[0x45 + options, 0, ...u16(20 + 4 * options + length), 0, 1, ...u16(fragment), 64, udp ? 17 : 6, 0, 0],
        ...[198, 18, ...u16(host), 10, 77, 0, 2],
        ...Array(4 * options).fill(1),
      ];
    }
    yield new Uint8Array([
      ...ETHERNET,
      ...tags,
      ...(v6 ? [0x86, 0xdd] : [8, 0]),
      ...network,
      ...segment,
      ...Array(payload).fill(65),
    ]);
  }
}

/** One bare SYN each from as many sources, in 198.0.0.0/8. */
export function* spoofedSyns(count: number, port: number): Generator<Bytes> {
  const frame = new Uint8Array([
    ...[...ETHERNET, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 198, 0, 0, 0, 10, 77, 0, 2],
    ...tcpHeader(port, 2, 0),
  ]);
  for (let i = 0; i < count; i++) {
    frame.set([i >> 16, i >> 8, i], 27);
    yield frame;
  }
}

/** One frame each from as many sources, in 198.0.0.0/8: of every four, two bare SYNs, an ACK and one with data. */
export function* churningFrames(count: number, port: number): Generator<Bytes> {
  const network = [...ETHERNET, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 198, 0, 0, 0, 10, 77, 0, 2];
  const [syn, ack, data] = [2, 0x10, 0x18].map((flags) => new Uint8Array([...network, ...tcpHeader(port, flags, 0)]));
  const kinds = [syn!, ack!, syn!, new Uint8Array([...data!.with(17, 100), ...Array(60).fill(65)])];
  for (let i = 0; i < count; i++) {
    const frame = kinds[i % kinds.length]!;
    frame.set([i >> 16, i >> 8, i], 27);
    yield frame;
  }
}

/** One bare SYN each to ports from 1 on, of one source. */
export function* scanSyns(source: string, ports: number): Generator<Bytes> {
  for (let port = 1; port <= ports; port++) {
    yield new Uint8Array([
      ...[...ETHERNET, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, ...source.split(".").map(Number), 10, 77, 0, 2],
      ...tcpHeader(port, 2, 0),
    ]);
  }
}

/** A frame and when it was there, in milliseconds from a recording's start. */
export interface TimedFrame {
  timeMs: number;
  frame: Bytes;
}

/** Writes a classic capture file; each frame a microsecond after the one before. */
export function writePcap(path: string, frames: Iterable<Bytes>): Promise<void> {
  const time = function* (): Generator<TimedFrame> {
    let n = 0;
    for (const frame of frames) yield { timeMs: n++ / 1000, frame };
  };
  return writeTimedPcap(path, time());
}

/** Writes a classic capture file whose frames have their times, to the microsecond; the start is a fixed second. */
export async function writeTimedPcap(path: string, frames: Iterable<TimedFrame>): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const buffer = new Uint8Array(1 << 20), view = new DataView(buffer.buffer);
  const flush = (length: number) => {
    for (let at = 0; at < length;) at += file.writeSync(buffer.subarray(at, length));
  };
  [0xa1b2c3d4, 0x00040002, 0, 0, 262144, 1].forEach((word, i) => view.setUint32(4 * i, word, true));
  let at = 24;
  for (const { timeMs, frame } of frames) {
    if (at + 16 + frame.length > buffer.length) {
      flush(at);
      at = 0;
    }
    const us = Math.round(timeMs * 1000);
    [1_700_000_000 + Math.floor(us / 1e6), us % 1_000_000, frame.length, frame.length]
      .forEach((word, i) => view.setUint32(at + 4 * i, word, true));
    buffer.set(frame, at + 16);
    at += 16 + frame.length;
  }
  flush(at);
}
