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
