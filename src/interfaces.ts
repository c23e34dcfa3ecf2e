/**
 * Which interfaces carry the default routes, from the kernel's routing tables as /proc shows them.
 */
import { readKernelFile } from "./libc.ts";

const ROUTE_UP = 0x1, ROUTE_REJECT = 0x200; // RTF_UP, RTF_REJECT of linux/route.h

/** The interfaces of the default routes, IPv4's before IPv6's, each once. */
export function defaultInterfaces(): string[] {
  const names = [
    ...readTable("/proc/net/route").slice(1)
      .filter(([, destination, , flags, , , , mask]) =>
        destination === "00000000" && mask === "00000000" && isUp(flags)
      )
      .map(([name]) => name!),
    ...readTable("/proc/net/ipv6_route")
      .filter((row) => /^0{32}$/.test(row[0]!) && row[1] === "00" && isUp(row[8]))
      .map((row) => row[9]!),
  ];
  return [...new Set(names)].filter((name) => name !== "lo");
}

function isUp(flags: string | undefined): boolean {
  const bits = parseInt(flags ?? "0", 16);
  return (bits & ROUTE_UP) !== 0 && (bits & ROUTE_REJECT) === 0;
}

/** Rows of fields; a table that is not there (no IPv6) has none. */
function readTable(path: string): string[][] {
  return (readKernelFile(path) ?? "").split("\n").filter(Boolean).map((line) => line.trim().split(/\s+/));
}

/** The gateways of the default routes, each once: bytes in network order. A route straight onto a link has none. */
export function defaultGateways(): Uint8Array[] {
  const v4 = readTable("/proc/net/route").slice(1)
    .filter(([, destination, gateway, flags, , , , mask]) =>
      destination === "00000000" && mask === "00000000" && gateway !== "00000000" && isUp(flags)
    )
    .map(([, , gateway]) => fromHex(gateway).reverse()); // as the CPU has it: every one Deno runs on is little-endian
  const v6 = readTable("/proc/net/ipv6_route")
    .filter((row) => /^0{32}$/.test(row[0]!) && row[1] === "00" && !/^0{32}$/.test(row[4] ?? "0") && isUp(row[8]))
    .map((row) => fromHex(row[4]));
  return [...new Map([...v4, ...v6].map((bytes) => [bytes.toHex(), bytes])).values()];
}

function fromHex(text: string | undefined): Uint8Array {
  return /^([0-9a-fA-F]{2})+$/.test(text ?? "") ? Uint8Array.fromHex(text!) : new Uint8Array();
}
