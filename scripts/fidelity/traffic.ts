/**
 * Recorded traffic for the fidelity lab: floods, scans, brute force and normal clients as frames with times, and the
 * capture files they are replayed from. The same call gives the same frames.
 */

type Bytes = Uint8Array<ArrayBuffer>;

/** A frame at its time, in milliseconds from the recording's start. */
export interface Timed {
  timeMs: number;
  frame: Bytes;
  segment: Segment;
}

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

function addressBytes(text: string): number[] {
  if (!text.includes(":")) return text.split(".").map(Number);
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const left = groups(head), right = tail === undefined ? [] : groups(tail);
  return [...left, ...Array(8 - left.length - right.length).fill(0), ...right].flatMap(u16);
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: readonly number[]): number {
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
  const addresses = [...addressBytes(source), ...addressBytes(v6 ? target.v6 : target.v4)];
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

type Kind = (part: Part, target: Target) => Iterable<Timed>;

function at(timeMs: number, segment: Segment, target: Target): Timed {
  return { timeMs, segment, frame: makeFrame(segment, target) };
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
export const client: Kind = function* (part, target) {
  let n = 0;
  for (const timeMs of moments(part)) {
    const port = part.ports[n % part.ports.length]!, sourcePort = 1024 + n++ % 60000;
    const steps: [number, number, number?][] = [
      [0, SYN],
      [1, ACK],
      [2, PSH | ACK, 200 + 37 * (n % 20)],
      [5, ACK],
      [8, PSH | ACK, 80],
      [12, FIN | ACK],
      [13, ACK],
    ];
    for (const [after, flags, payload] of steps) {
      const segment = { ...part, port, sourcePort, flags, ...(payload ? { payload } : {}) };
      yield at(timeMs + after, segment, target);
    }
  }
};

/** Everything in the order of time. */
export function mix(...parts: Iterable<Timed>[]): Timed[] {
  return parts.flatMap((part) => [...part]).sort((a, b) => a.timeMs - b.timeMs);
}

/** Writes a classic capture file; the first frame is at `recording[0].timeMs` after a fixed second. */
export async function writeCapture(path: string, recording: readonly Timed[]): Promise<void> {
  const size = recording.reduce((sum, { frame }) => sum + 16 + frame.length, 24);
  const bytes = new Uint8Array(size), view = new DataView(bytes.buffer);
  [0xa1b2c3d4, 0x00040002, 0, 0, 262144, 1].forEach((word, i) => view.setUint32(4 * i, word, true));
  let at = 24;
  for (const { timeMs, frame } of recording) {
    const us = Math.round(timeMs * 1000);
    [1_700_000_000 + Math.floor(us / 1e6), us % 1_000_000, frame.length, frame.length]
      .forEach((word, i) => view.setUint32(at + 4 * i, word, true));
    bytes.set(frame, at + 16);
    at += 16 + frame.length;
  }
  await Deno.writeFile(path, bytes);
}
