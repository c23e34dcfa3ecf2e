/** Frames to measure with. */

/** Of TCP over IPv4 from 10.0.0.1: 54 bytes, and `payload` more. */
export function frameOf(
  { port, flags, payload = 0 }: { port: number; flags: number; payload?: number },
): Uint8Array<ArrayBuffer> {
  const total = 40 + payload;
  return new Uint8Array([
    ...[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, total >> 8, total & 255, 0, 1, 0, 0, 64, 6, 0, 0],
    ...[10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, port >> 8, port & 255, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 255, 255],
    ...[0, 0, 0, 0, ...Array(payload).fill(65)],
  ]);
}

/** The same segment over IPv6, from fd00::1. */
export function frameOf6(tcp: { port: number; flags: number; payload?: number }): Uint8Array<ArrayBuffer> {
  const segment = frameOf(tcp).subarray(34), address = (last: number) => [0xfd, ...Array(14).fill(0), last];
  return new Uint8Array([
    ...[
      2,
      0,
      0,
      0,
      0,
      2,
      2,
      0,
      0,
      0,
      0,
      1,
      0x86,
      0xdd,
      0x60,
      0,
      0,
      0,
      segment.length >> 8,
      segment.length & 255,
      6,
      64,
    ],
    ...[...address(1), ...address(2), ...segment],
  ]);
}

/** The frame with an 802.1Q tag. */
export function tagged(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array([...frame.subarray(0, 12), 0x81, 0, 0, 7, ...frame.subarray(12)]);
}
