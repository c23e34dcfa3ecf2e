/**
 * IP addresses and port lists: text to value and back. Pure.
 *
 * Addresses are their bytes in network order, 4 or 16 of them; IPv6 text is RFC 5952's.
 */

/** The bytes of an IPv4 or IPv6 address, or undefined if the text is not one (no zone, no leading zeros in IPv4). */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const octet = match[i + 1]!;
    if (Number(octet) > 255 || (octet.length > 1 && octet.startsWith("0"))) return undefined;
    bytes[i] = Number(octet);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2 || text.length > 45) return undefined;
  const parsed = halves.map((half, i) => parseGroups(half, i === halves.length - 1));
  const [head, tail = []] = parsed;
  if (!head || parsed.includes(undefined)) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  return new Uint8Array([...head, ...Array<number>(missing).fill(0), ...tail]);
}

/** The bytes of groups separated by colons; the last may be an IPv4 address where `dotted`. */
function parseGroups(text: string, dotted: boolean): number[] | undefined {
  if (text === "") return [];
  const groups = text.split(":"), bytes: number[] = [];
  for (const [i, group] of groups.entries()) {
    if (dotted && i === groups.length - 1 && group.includes(".")) {
      const ipv4 = parseIpv4(group);
      if (!ipv4) return undefined;
      bytes.push(...ipv4);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 255);
    }
  }
  return bytes;
}

/** An address as text; `bytes` are 4 or 16. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!);
  // The longest run of two or more zero groups, the first of equals, is written "::".
  let start = -1, length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    if (end > i) i = end;
  }
  const hex = groups.map((g) => g.toString(16));
  return start < 0 ? hex.join(":") : `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

/** A port, or an inclusive range of them as text. */
export type PortRange = number | `${number}-${number}`;

/**
 * The ports of a list such as `80,443` or `1-1024`, sorted, each once.
 *
 * @returns The ports, or the part of the text that is not a port from 1 to 65535 or a range of them.
 */
export function parsePorts(text: string): number[] | { wrong: string } {
  const ports = new Set<number>();
  for (const part of text.split(",").map((p) => p.trim())) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const low = Number(match?.[1]), high = Number(match?.[2] ?? match?.[1]);
    if (!match || low < 1 || high > 65535 || low > high) return { wrong: part };
    for (let port = low; port <= high; port++) ports.add(port);
  }
  return [...ports].sort((a, b) => a - b);
}

/** Sorted ports with every run of three or more as a range. */
export function compactPorts(ports: readonly number[]): PortRange[] {
  const ranges: PortRange[] = [];
  for (let i = 0; i < ports.length;) {
    let end = i;
    while (ports[end + 1] === ports[end]! + 1) end++;
    if (end - i >= 2) {
      ranges.push(`${ports[i]!}-${ports[end]!}`);
      i = end + 1;
    } else {
      ranges.push(ports[i++]!);
    }
  }
  return ranges;
}

/** The ports of ranges, in their order. */
export function expandPorts(ranges: readonly PortRange[]): number[] {
  return ranges.flatMap((range) => {
    if (typeof range === "number") return range;
    const [low, high] = range.split("-").map(Number) as [number, number];
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  });
}

/** The ports of ranges, sorted, each once, whatever a hostile line repeats. */
export function uniquePorts(ranges: readonly PortRange[]): number[] {
  const spans = ranges.map((range) => typeof range === "number" ? [range, range] : range.split("-").map(Number))
    .sort(([a], [b]) => a! - b!);
  const list: number[] = [];
  for (const [low, high] of spans) {
    for (let port = Math.max(low!, (list.at(-1) ?? -1) + 1); port <= high!; port++) list.push(port);
  }
  return list;
}
