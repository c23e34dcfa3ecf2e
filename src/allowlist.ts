/**
 * Addresses that must never be blocked: the file they are listed in, and the look-up.
 *
 * A line is an IPv4 or IPv6 address or a CIDR; what follows a "#" is a comment. Pure: text in, prefixes out.
 */
import { IbsrError } from "./errors.ts";
import { comparePrefixes, formatPrefix, parsePrefix, type Prefix } from "./prefix.ts";
import { createPrefixTable } from "./prefix_table.ts";

/** Prefixes that can be asked for an address. */
export interface PrefixSet {
  /** As they were given, sorted, each once. */
  readonly prefixes: readonly Prefix[];
  /** Whether a prefix contains the address, 4 or 16 bytes in network order. */
  contains(address: Uint8Array): boolean;
}

/** An allowlist file as it was read. */
export interface Allowlist extends PrefixSet {
  /** What a reader should know: a line that allows a whole family, each a sentence. */
  warnings: string[];
}

/**
 * Reads an allowlist.
 *
 * @param path For messages.
 * @throws {IbsrError} `usage`, naming file and line of the first line that is neither address nor CIDR.
 */
export function parseAllowlist(text: string, path: string): Allowlist {
  const prefixes: Prefix[] = [], warnings: string[] = [];
  for (const [i, line] of text.replace(/^\uFEFF/, "").split("\n").entries()) {
    const entry = line.replace(/#.*/, "").trim();
    if (entry === "") continue;
    const prefix = parsePrefix(entry);
    if (!prefix) {
      const shown = JSON.stringify(entry.slice(0, 60));
      throw new IbsrError("usage", `Cannot read ${path}:${i + 1}: ${shown} is neither an address nor a CIDR`, {
        hint: "one a line, such as 192.0.2.1, 198.51.100.0/24 or 2001:db8::/32; # starts a comment",
      });
    }
    if (prefix.bits === 0) {
      const family = prefix.bytes.length === 4 ? "IPv4" : "IPv6";
      warnings.push(`${path}:${i + 1}: ${formatPrefix(prefix)} allows every ${family} address: no rule can act on one`);
    }
    prefixes.push(prefix);
  }
  return { ...createPrefixSet(prefixes), warnings };
}

/** A set of prefixes. A look-up costs one step for each length of prefix in it. */
export function createPrefixSet(prefixes: Iterable<Prefix>): PrefixSet {
  const unique = new Map([...prefixes].map((p) => [formatPrefix(p), p]));
  const sorted = [...unique.values()].sort(comparePrefixes);
  const table = createPrefixTable(sorted.map((prefix) => [prefix, true]));
  return { prefixes: sorted, contains: (address) => table.find(address) === true };
}
