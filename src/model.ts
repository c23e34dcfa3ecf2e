/**
 * What must be counted, in a page: the specifications read once more, to test the kernel program against.
 *
 * `modelFrame()` takes the outermost headers off a frame, one slice after another, and says what the frame adds to
 * which source and port, or why it is skipped. `createModel()` adds frames up as an interval does. It is written from
 * the specifications named at each step, not from bpf/; its own choices, where those leave one, are the operator's
 * manual's. It favours the reader over speed, reassembles nothing, verifies no checksum, and evicts nothing.
 */
import type { Counters, NotCounted } from "./counters.ts";
import { COUNTER_NAMES, SKIP_NAMES } from "./counters.ts";

/** Counters of one source address (4 or 16 bytes, network order) and destination port. */
export interface SourceCounters {
  source: Uint8Array;
  port: number;
  counters: Counters;
}

/** Why a frame is skipped, whatever ports are monitored. */
export type SkipName = Exclude<keyof NotCounted, "other_port">;

/** What a run counted. */
export interface Drained {
  /** By family, address, port. */
  sources: SourceCounters[];
  /** Exact sums by port; ports without traffic are left out. */
  totals: { port: number; counters: Counters }[];
  not_counted: NotCounted;
}

/** Counts frames until it is drained. The kernel program behind a test run has this shape too. */
export interface Engine {
  /** `frame` as captured, from the Ethernet header on; `length` as on the wire. */
  count(frame: Uint8Array, length: number): void;
  /** What was counted since the last drain. */
  drain(): Drained;
}

/** IEEE 802.1Q-2022, table 9-1: C-tag and S-tag. Two are taken off, in any order. */
const TAGS = [0x8100, 0x88a8];
/** More tags (9100 and 9200 are from before 802.1ad), MPLS (RFC 3032), PPPoE (RFC 2516), MACsec, B.A.T.M.A.N., NSH, PBB, TEB. */
const CARRIERS = [...TAGS, 0x9100, 0x9200, 0x8847, 0x8848, 0x8864, 0x88e5, 0x4305, 0x894f, 0x88e7, 0x6558];
/** IANA protocol numbers: IP-in-IP, 6in4, GRE, ESP, AH (over IPv4), EtherIP, IPComp, L2TPv3, MPLS-in-IP. */
const TUNNELS = [4, 41, 47, 50, 51, 97, 108, 115, 137];
const TCP = 6, FRAGMENT = 44;

/** RFC 8200 section 4, RFC 4302 section 2.2, RFC 6275 section 6.1.1: bytes of a header whose length field is `n`. */
const EXTENSIONS: Record<number, (n: number) => number> = {
  0: (n) => 8 * (n + 1), // hop-by-hop options
  43: (n) => 8 * (n + 1), // routing
  [FRAGMENT]: () => 8, // the field is reserved
  51: (n) => 4 * (n + 2), // authentication
  60: (n) => 8 * (n + 1), // destination options
  135: (n) => 8 * (n + 1), // mobility
};
const MAX_EXTENSIONS = 8;

/**
 * What one frame adds, or why it adds nothing.
 *
 * @param frame From the Ethernet header on, as captured.
 * @param length On the wire; what `bytes` counts, and the end of a packet whose own length field is 0.
 */
export function modelFrame(frame: Uint8Array, length: number): SourceCounters | SkipName {
  if (frame.length < 14) return "malformed"; // IEEE 802.3: two addresses and the type
  let type = uint16(frame, 12), packet = frame.subarray(14);
  for (let tags = 0; tags < 2 && TAGS.includes(type); tags++) {
    if (packet.length < 4) return "malformed";
    [type, packet] = [uint16(packet, 2), packet.subarray(4)];
  }
  const toEnd = length - (frame.length - packet.length);
  const ip = type === 0x0800
    ? modelIpv4(packet, toEnd)
    : type === 0x86dd
    ? modelIpv6(packet, toEnd)
    : CARRIERS.includes(type)
    ? "unknown_encapsulation"
    : "not_tcp";
  if (typeof ip === "string") return ip;

  // RFC 9293 section 3.1. The fixed header has to be there, in the capture and by the IP length. A data offset that
  // points past the segment leaves no payload: the rest of the header is in the next fragment, if anywhere.
  const { source, segment, segmentBytes } = ip;
  if (segment.length < 20 || segmentBytes < 20) return "malformed";
  const headerBytes = 4 * (segment[12]! >> 4), flags = segment[13]!;
  if (headerBytes < 20) return "malformed";
  const fin = flags & 1, syn = flags >> 1 & 1, rst = flags >> 2 & 1, ack = flags >> 4 & 1;
  const data = segmentBytes > headerBytes ? 1 : 0;
  const handshake_ack = ack && !syn && !rst && !data ? 1 : 0;
  const counters = { syn, ack, handshake_ack, rst, packets: 1, bytes: length, syn_ack: syn & ack, fin, data };
  return { source, port: uint16(segment, 2), counters };
}

/** A TCP segment: what was captured of it, and its length by the IP header. */
interface Segment {
  source: Uint8Array;
  segment: Uint8Array;
  segmentBytes: number;
}

/** RFC 791 section 3.1. A total length of 0 is a super-packet of segmentation offload: it ends with the frame. */
function modelIpv4(packet: Uint8Array, toEnd: number): Segment | SkipName {
  if (packet.length < 20 || packet[0]! >> 4 !== 4) return "malformed";
  const headerBytes = 4 * (packet[0]! & 15), totalBytes = uint16(packet, 2) || toEnd;
  if (headerBytes < 20 || totalBytes < headerBytes) return "malformed";
  if (packet[9] !== TCP) return otherThanTcp(packet[9]!);
  if ((uint16(packet, 6) & 0x1fff) > 0) return "later_fragment";
  const segment = packet.subarray(headerBytes);
  return { source: packet.subarray(12, 16), segment, segmentBytes: totalBytes - headerBytes };
}

/** RFC 8200 section 3. A payload length of 0 is a jumbogram or a super-packet: it ends with the frame. */
function modelIpv6(packet: Uint8Array, toEnd: number): Segment | SkipName {
  if (packet.length < 40 || packet[0]! >> 4 !== 6) return "malformed";
  const source = packet.subarray(8, 24), payloadBytes = uint16(packet, 4) || toEnd - 40;

  const walk = (next: number, rest: Uint8Array, restBytes: number, depth: number): Segment | SkipName => {
    const sizeOf = EXTENSIONS[next];
    if (next === TCP) return { source, segment: rest, segmentBytes: restBytes };
    if (!sizeOf) return otherThanTcp(next);
    if (depth === MAX_EXTENSIONS) return "unknown_encapsulation";
    if (rest.length < 8) return "malformed"; // the least any of them measures
    const after = rest[0]!, size = sizeOf(rest[1]!);
    // RFC 8200 section 4.5: "next header" of a later fragment is that of the first, and no header follows.
    const later = next === FRAGMENT && uint16(rest, 2) >> 3 > 0;
    if (later) return after === TCP || EXTENSIONS[after] ? "later_fragment" : otherThanTcp(after);
    return walk(after, rest.subarray(size), restBytes - size, depth + 1);
  };
  return walk(packet[6]!, packet.subarray(40), payloadBytes, 0);
}

function otherThanTcp(protocol: number): SkipName {
  return TUNNELS.includes(protocol) ? "unknown_encapsulation" : "not_tcp";
}

function uint16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/**
 * An engine that counts by the model.
 *
 * @param ports The monitored ports.
 */
export function createModel(ports: Iterable<number>): Engine {
  const monitored = new Set(ports);
  const zero = <K extends string>(names: readonly K[]) =>
    Object.fromEntries(names.map((n) => [n, 0])) as Record<K, number>;
  const empty = () => ({
    sources: new Map<string, SourceCounters>(),
    totals: new Map<number, { port: number; counters: Counters }>(),
    not_counted: zero(SKIP_NAMES),
  });
  let now = empty();
  return {
    count(frame, length) {
      const seen = modelFrame(frame, length);
      if (typeof seen === "string") {
        now.not_counted[seen]++;
        return;
      }
      if (!monitored.has(seen.port)) {
        now.not_counted.other_port++;
        return;
      }
      let total = now.totals.get(seen.port);
      if (!total) now.totals.set(seen.port, total = { port: seen.port, counters: zero(COUNTER_NAMES) });
      const key = `${seen.source.toHex()} ${seen.port}`;
      let entry = now.sources.get(key);
      if (!entry) {
        entry = { source: seen.source.slice(), port: seen.port, counters: zero(COUNTER_NAMES) };
        now.sources.set(key, entry);
      }
      for (const name of COUNTER_NAMES) {
        entry.counters[name] += seen.counters[name];
        total.counters[name] += seen.counters[name];
      }
    },
    drain() {
      const { sources, totals, not_counted } = now;
      now = empty();
      return {
        sources: [...sources.values()].sort(compareSources),
        totals: [...totals.values()].sort((a, b) => a.port - b.port),
        not_counted,
      };
    },
  };
}

/** The order of sources in a drain: family, address, port. */
export function compareSources(a: SourceCounters, b: SourceCounters): number {
  if (a.source.length !== b.source.length) return a.source.length - b.source.length;
  const at = a.source.findIndex((byte, i) => byte !== b.source[i]);
  return at < 0 ? a.port - b.port : a.source[at]! - b.source[at]!;
}
