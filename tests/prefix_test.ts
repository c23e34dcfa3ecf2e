/** Prefixes: text, order and containment, against counting addresses one by one. */
import assert from "node:assert/strict";
import {
  comparePrefixes,
  containsPrefix,
  formatPrefix,
  isAddress,
  overlaps,
  parsePrefix,
  type Prefix,
  splitPrefix,
} from "../src/prefix.ts";

/** A prefix that is there. */
function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  assert.ok(parsed, text);
  return parsed;
}

Deno.test("parsePrefix() drops host bits and writes the canonical text", () => {
  const texts: Record<string, string> = {
    "192.0.2.7": "192.0.2.7",
    "192.0.2.7/32": "192.0.2.7",
    "10.0.0.5/24": "10.0.0.0/24",
    "255.255.255.255/1": "128.0.0.0/1",
    "10.1.2.3/0": "0.0.0.0/0",
    "2001:DB8:0:0::7": "2001:db8::7",
    "2001:db8:ffff::/33": "2001:db8:8000::/33",
    "::ffff:192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7/120": "192.0.2.0/24",
    "::ffff:0:0/96": "0.0.0.0/0",
    "::/0": "::/0",
    "::1/128": "::1",
  };
  for (const [text, canonical] of Object.entries(texts)) assert.equal(formatPrefix(prefix(text)), canonical, text);
});

Deno.test("parsePrefix() refuses what is no address or CIDR", () => {
  const wrong = ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "::/129", "10.0.0/8", "10.0.0.999"];
  wrong.push(" 10.0.0.1", "10.0.0.1 ", "fe80::1%eth0", "010.0.0.1", "1.2.3.4/2/3", "example.org", ":".repeat(100));
  for (const text of wrong) assert.equal(parsePrefix(text), undefined, text);
});

Deno.test("containsPrefix() and overlaps() agree with the addresses, at every length", () => {
  for (let a = 24; a <= 32; a++) {
    for (let b = 24; b <= 32; b++) {
      for (const last of [0, 1, 77, 128, 255]) {
        const outer = prefix(`192.0.2.${last}/${a}`), inner = prefix(`192.0.2.128/${b}`);
        const inside = addresses(inner).every((address) => addresses(outer).includes(address));
        assert.equal(containsPrefix(outer, inner), inside, `${formatPrefix(outer)} ${formatPrefix(inner)}`);
        assert.equal(overlaps(outer, inner), addresses(inner).some((address) => addresses(outer).includes(address)));
      }
    }
  }
  assert.equal(containsPrefix(prefix("0.0.0.0/0"), prefix("::1")), false);
  assert.equal(containsPrefix(prefix("::/0"), prefix("10.0.0.1")), false);
  assert.equal(containsPrefix(prefix("2001:db8::/33"), prefix("2001:db8:8000::1")), false);
});

/** The last bytes of the addresses of a prefix within 192.0.2.0/24. */
function addresses({ bytes, bits }: Prefix): number[] {
  return Array.from({ length: 2 ** (32 - bits) }, (_, i) => bytes[3]! + i);
}

Deno.test("splitPrefix() gives the halves, comparePrefixes() puts IPv4 first and the wider first", () => {
  assert.deepEqual(splitPrefix(prefix("10.0.0.0/8")).map(formatPrefix), ["10.0.0.0/9", "10.128.0.0/9"]);
  const sorted = ["9.0.0.1", "10.0.0.0/8", "10.0.0.0", "10.0.0.1", "::", "2001:db8::/32"].map(prefix);
  assert.deepEqual(sorted.toReversed().sort(comparePrefixes).map(formatPrefix), sorted.map(formatPrefix));
  assert.ok(isAddress(prefix("::1")) && !isAddress(prefix("::/127")));
});
