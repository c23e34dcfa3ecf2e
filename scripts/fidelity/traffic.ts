/**
 * Recorded traffic for the fidelity lab: floods, scans, brute force and normal clients as frames with times. The same
 * call gives the same frames.
 */
import { parseAddress } from "../../src/address.ts";
import type { TimedFrame } from "../../tests/kernel/frames.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16;

/** What a segment is made of. */
export interface Segment {
  source: string;
  port: number;
  flags: number;
  payload?: number;
  /** An 802.1Q tag. */
  vlan?: number;
  sourcePort?: number;
}

/** To whom the frames go: the server's interface and addresses. */
export interface Target {
  mac: string;
  v4: string;
  v6: string;
}

function u16(value: number): number[] {
  return [value >> 8 & 255, value & 255];
}

/** The Internet checksum (RFC 1071). */
export function checksum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** A frame that the server's IP stack takes: its own MAC address, a right IP checksum. */
export function makeFrame(segment: Segment, target: Target): Bytes {
  const { source, port, flags, payload = 0, vlan, sourcePort = 40000 } = segment;
  const v6 = source.includes(":"), length = 20 + payload;
  const tcp = [...u16(sourcePort), ...u16(port), ...Array(8).fill(1), 0x50, flags, 255, 255, 0, 0, 0, 0];
  const addresses = [...parseAddress(source)!, ...parseAddress(v6 ? target.v6 : target.v4)!];
  let ip: number[];
  if (v6) ip = [0x60, 0, 0, 0, ...u16(length), 6, 64, ...addresses];
  else {
    const header = (sum: number) => [0x45, 0, ...u16(20 + length), 0, 1, 0x40, 0, 64, 6, ...u16(sum), ...addresses];
    ip = header(checksum(header(0)));
  }
  return new Uint8Array([
    ...target.mac.split(":").map((part) => parseInt(part, 16)),
    ...[2, 0, 0, 0, 0, 1],
    ...(vlan === undefined ? [] : [0x81, 0, ...u16(vlan)]),
    ...(v6 ? [0x86, 0xdd] : [8, 0]),
    ...ip,
    ...tcp,
    ...Array(payload).fill(65),
  ]);
}

/** A source's traffic from one moment to another, in seconds. */
export interface Part {
  source: string;
  ports: readonly number[];
  fromSec: number;
  toSec: number;
  /** Per second: SYNs of a flood or a scan, connections of a client or a brute force. */
  rate: number;
  vlan?: number;
}

type Kind = (part: Part, target: Target) => Iterable<TimedFrame>;

function at(timeMs: number, segment: Segment, target: Target): TimedFrame {
  return { timeMs, frame: makeFrame(segment, target) };
}

/** Moments at a rate, never on a whole second: a snapshot's edge may be there. */
function* moments({ fromSec, toSec, rate }: Part): Generator<number> {
  const step = 1000 / rate;
  for (let t = fromSec * 1000 + step / 2; t < toSec * 1000; t += step) yield t;
}

/** Nothing but SYNs, to its ports in turn. */
export const flood: Kind = function* (part, target) {
  let n = 0;
  for (const timeMs of moments(part)) {
    const port = part.ports[n % part.ports.length]!;
    yield at(timeMs, { ...part, port, flags: SYN, sourcePort: 1024 + n++ % 60000 }, target);
  }
};

/** Short connections with an answer that is a reset: SYN, then RST. */
export const scan: Kind = function* (part, target) {
  let n = 0;
  for (const timeMs of moments(part)) {
    const port = part.ports[n % part.ports.length]!, sourcePort = 1024 + n++ % 60000;
    yield at(timeMs, { ...part, port, sourcePort, flags: SYN }, target);
    yield at(timeMs + 1, { ...part, port, sourcePort, flags: RST }, target);
  }
};

/** Whole connections: handshake, some data, close. */
export const client: Kind = connections((n) => [
  [0, SYN],
  [1, ACK],
  [2, PSH | ACK, 200 + 37 * (n % 20)],
  [5, ACK],
  [8, PSH | ACK, 80],
  [12, FIN | ACK],
  [13, ACK],
]);

/** Log-in attempts: a connection each, complete and short, refused in the end. */
export const bruteForce: Kind = connections((n) => [
  [0, SYN],
  [1, ACK],
  [2, PSH | ACK, 21],
  [4, PSH | ACK, 48 + n % 7],
  [6, ACK],
  [7, RST | ACK],
]);

function connections(stepsOf: (n: number) => [afterMs: number, flags: number, payload?: number][]): Kind {
  return function* (part, target) {
    let n = 0;
    for (const timeMs of moments(part)) {
      const port = part.ports[n % part.ports.length]!, sourcePort = 1024 + n % 60000;
      for (const [afterMs, flags, payload] of stepsOf(n++)) {
        const segment = { ...part, port, sourcePort, flags, ...(payload ? { payload } : {}) };
        yield at(timeMs + afterMs, segment, target);
      }
    }
  };
}

/** Everything in the order of time. */
export function mix(...parts: Iterable<TimedFrame>[]): TimedFrame[] {
  return parts.flatMap((part) => [...part]).sort((a, b) => a.timeMs - b.timeMs);
}

/**
 * The same frames in the same intervals, none near an edge: each interval's frames are pressed together by as much as
 * both margins. What is done at an edge, some milliseconds early or late, then meets the same frames.
 */
export function clearEdges(recording: readonly TimedFrame[], intervalMs: number, marginMs: number): TimedFrame[] {
  return recording.map(({ timeMs, frame }) => {
    const begin = Math.floor(timeMs / intervalMs) * intervalMs;
    return { frame, timeMs: begin + marginMs + (timeMs - begin) * (1 - 2 * marginMs / intervalMs) };
  });
}
