/**
 * Capture files as recordings: what a lab can send again of them, and the numbers of packets that a rule would see.
 */
import { formatAddress } from "../../src/address.ts";
import { modelFrame } from "../../src/model.ts";
import { readFrames } from "../../src/pcap.ts";
import type { TimedFrame } from "../../tests/kernel/frames.ts";
import type { Packet } from "../../tests/streams.ts";
import { checksum } from "./traffic.ts";

/** Gaps longer than this are shortened where a capture is longer than it may be. */
const LONGEST_GAP_MS = 1000;

/**
 * The frames of a capture, the first at 0, for the interface with this MAC address. Addresses and ports are those of
 * the capture. Padding behind the IP packet is left out, because a firewall counts packets. The checksum of IPv4
 * headers is made right, as a card does it: where a capture was taken on the sender, or made anonymous, it often isn't.
 *
 * @param options.longestMs A longer capture loses its pauses first, then all of it is sent that much faster.
 */
export async function readCapture(
  path: string,
  options: { mac: string; longestMs: number },
): Promise<TimedFrame[]> {
  const mac = options.mac.split(":").map((part) => parseInt(part, 16)), recording: TimedFrame[] = [];
  using file = await Deno.open(path);
  for await (const batch of readFrames(file.readable, { name: path }).frames) {
    for (const { timeMs, bytes, length } of batch) {
      if (bytes.length < length) throw new Error(`${path} holds only the beginning of frames: capture with -s 0`);
      if (bytes.length < 14) continue;
      const frame = new Uint8Array(withoutPadding(bytes));
      frame.set(mac);
      frame.set([2, 0, 0, 0, 0, 1], 6);
      mendChecksum(frame);
      recording.push({ timeMs, frame });
    }
  }
  return compress(recording.sort((a, b) => a.timeMs - b.timeMs), options.longestMs);
}

function compress(recording: readonly TimedFrame[], longestMs: number): TimedFrame[] {
  const first = recording[0]?.timeMs ?? 0, span = (recording.at(-1)?.timeMs ?? 0) - first;
  const gapMs = span > longestMs ? LONGEST_GAP_MS : Infinity;
  let before = first, at = 0;
  const shortened = recording.map(({ timeMs, frame }) => {
    at += Math.min(timeMs - before, gapMs);
    before = timeMs;
    return { timeMs: at, frame };
  });
  const factor = Math.min(1, longestMs / Math.max(1, at));
  return shortened.map(({ timeMs, frame }) => ({ timeMs: timeMs * factor, frame }));
}

/** Bytes before the IP header: Ethernet and VLAN tags. */
export function linkBytes(frame: Uint8Array): number {
  let at = 12;
  while (at + 4 < frame.length && [0x8100, 0x88a8].includes(frame[at]! << 8 | frame[at + 1]!)) at += 4;
  return at + 2;
}

function mendChecksum(frame: Uint8Array): void {
  const at = linkBytes(frame), end = at + 4 * (frame[at]! & 15);
  if (frame[at - 2] !== 8 || frame[at - 1] !== 0 || frame[at]! >> 4 !== 4 || end > frame.length) return;
  frame.fill(0, at + 10, at + 12);
  const sum = checksum(frame.subarray(at, end));
  frame.set([sum >> 8, sum & 255], at + 10);
}

/** A frame's bytes up to the end of its IP packet, by that packet's own length. */
function withoutPadding(frame: Uint8Array): Uint8Array {
  const at = linkBytes(frame), type = frame[at - 2]! << 8 | frame[at - 1]!;
  const length = (offset: number) => (frame[at + offset] ?? 0) << 8 | (frame[at + offset + 1] ?? 0);
  if (type === 0x0800 && length(2) > 0) return frame.subarray(0, at + length(2));
  if (type === 0x86dd && length(4) > 0) return frame.subarray(0, at + 40 + length(4));
  return frame;
}

/** What a rule sees of a recording: TCP to these ports. Frames that nothing counts are left out. */
export function packetsOf(recording: readonly TimedFrame[], ports: readonly number[]): Packet[] {
  const monitored = new Set(ports);
  return recording.flatMap(({ timeMs, frame }) => {
    const seen = modelFrame(frame, frame.length);
    if (typeof seen === "string" || !monitored.has(seen.port)) return [];
    const { syn, handshake_ack, data } = seen.counters;
    const kind = syn ? "syn" : handshake_ack ? "ack" : data ? "data" : "rst";
    return { timeMs, source: formatAddress(seen.source), port: seen.port, kind, bytes: frame.length };
  });
}

/** The ports that most connections of a recording are opened to, or, where none is, that most packets go to. */
export function choosePorts(recording: readonly TimedFrame[], most = 1000): number[] {
  const opened = new Map<number, number>(), met = new Map<number, number>();
  for (const { frame } of recording) {
    const seen = modelFrame(frame, frame.length);
    if (typeof seen === "string") continue;
    const { syn, syn_ack } = seen.counters;
    if (syn > syn_ack) opened.set(seen.port, (opened.get(seen.port) ?? 0) + 1);
    met.set(seen.port, (met.get(seen.port) ?? 0) + 1);
  }
  const counts = opened.size > 0 ? opened : met;
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, most).map(([port]) => port).sort((a, b) => a - b);
}
