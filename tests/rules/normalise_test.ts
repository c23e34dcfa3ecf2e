/** Normalising against a slow count of addresses, ports and seconds; the guards; the allowlist. */
import assert from "node:assert/strict";
import { containsPrefix, formatPrefix, overlaps, parsePrefix, type Prefix } from "../../src/prefix.ts";
import { aggregate, type Limits, normalise, type Region } from "../../src/rules/normalise.ts";
import { joinSpans, keyOf, type Span, spansOf } from "../../src/rules/spans.ts";
import { createRandom } from "../packets.ts";
import { setOf } from "./sets.ts";

const LIMITS: Limits = { allowlist: [], protected: [], widest: { v4: 16, v6: 32 } };

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  assert.ok(parsed, text);
  return parsed;
}

/** How long an address is blocked on a port by these regions. */
function blocked(regions: readonly Region[], address: string, port: number): number {
  const at = prefix(address);
  return Math.max(
    0,
    ...regions.filter((r) => containsPrefix(r.prefix, at)).flatMap((r) =>
      r.spans.filter((s) => s.low <= port && port <= s.high).map((s) => s.durationSec)
    ),
  );
}

Deno.test("normalise() blocks each address and port as long as the longest rule says, without overlaps", () => {
  const ports = [0, 21, 22, 79, 80, 85, 90, 91, 443, 65535], durations = [60, 600, 3600, null];
  for (let seed = 1; seed <= 200; seed++) {
    const random = createRandom(seed).below, v6 = seed % 2 === 0;
    const base = v6 ? "2001:db8::" : "20.0.0.", bits = v6 ? 128 : 32;
    const rules = Array.from({ length: 1 + random(12) }, () => ({
      source: `${base}${v6 ? random(16).toString(16) : random(16)}/${bits - random(5)}`,
      dst_ports: [[], [22], ["80-90" as const], [443, "85-90" as const]][random(4)]!,
      duration_sec: durations[random(4)]!,
    }));
    const exceptions = random(3) === 0 ? [`${base}${random(10)}/${bits - random(3)}`] : [];
    const { regions } = normalise(setOf(rules, { exceptions }), LIMITS);
    const merged = aggregate(regions, LIMITS.widest);
    for (const list of [regions, merged]) {
      for (const [i, a] of list.entries()) {
        for (const b of list.slice(i + 1)) assert.ok(!overlaps(a.prefix, b.prefix), `seed ${seed}`);
      }
    }
    for (let host = 0; host < 16; host++) {
      const address = `${base}${v6 ? host.toString(16) : host}`;
      const excepted = exceptions.some((e) => containsPrefix(prefix(e), prefix(address)));
      for (const port of ports) {
        const expected = excepted ? 0 : Math.max(
          0,
          ...rules.filter((r) => containsPrefix(prefix(r.source), prefix(address))).flatMap((r) =>
            spansOf(r.dst_ports, r.duration_sec).filter((s) => s.low <= port && port <= s.high)
              .map((s) => s.durationSec)
          ),
        );
        assert.equal(blocked(regions, address, port), expected, `seed ${seed} ${address} ${port}`);
        assert.equal(blocked(merged, address, port), expected, `aggregated, seed ${seed} ${address} ${port}`);
      }
    }
  }
});

Deno.test("normalise() writes canonical addresses, sorted by number, IPv4 first", () => {
  const sources = ["2001:DB8::0:7", "10.0.0.9", "9.255.0.1", "10.0.0.10", "::ffff:10.0.0.8", "10.1.2.3/24"];
  const { regions } = normalise(setOf(sources.map((source) => ({ source }))), LIMITS);
  assert.deepEqual(regions.map((r) => formatPrefix(r.prefix)), [
    ...["9.255.0.1", "10.0.0.8", "10.0.0.9", "10.0.0.10", "10.1.2.0/24", "2001:db8::7"],
  ]);
});

Deno.test("aggregate() joins halves that are blocked alike, but not beyond the widest prefix", () => {
  const sources = ["20.0.0.0/17", "20.0.128.0/17", "20.1.0.0/16", "192.0.2.6", "192.0.2.7", "192.0.2.8"];
  const { regions } = normalise(setOf(sources.map((source) => ({ source }))), LIMITS);
  const joined = aggregate(regions, LIMITS.widest);
  assert.deepEqual(joined.map((r) => formatPrefix(r.prefix)), [
    "20.0.0.0/16",
    "20.1.0.0/16",
    "192.0.2.6/31",
    "192.0.2.8",
  ]);
  assert.deepEqual(joined[2]!.rules.map(({ id }) => id), ["r4", "r5"]);
  const other = [{ source: "192.0.2.6" }, { source: "192.0.2.7", duration_sec: 60 }];
  assert.equal(aggregate(normalise(setOf(other), LIMITS).regions, LIMITS.widest).length, 2);
});

Deno.test("normalise() leaves out what must never be blocked, and says why", () => {
  const refused: Record<string, RegExp> = {
    "0.0.0.0/0": /wider than \/16/,
    "::/0": /wider than \/32/,
    "10.0.0.0/15": /\/15 is wider than \/16/,
    "2001:db8::/31": /\/31 is wider than \/32/,
    "::ffff:0:0/96": /\/0 is wider/,
    "127.0.0.1": /loopback/,
    "::ffff:127.0.0.1": /loopback/,
    "::1": /loopback/,
    "0.0.0.0": /unspecified/,
    "::": /unspecified/,
    "::/64": /unspecified/,
    "169.254.7.7": /link-local/,
    "169.254.0.0/16": /link-local/,
    "fe80::1": /link-local/,
    "224.0.0.1": /multicast/,
    "239.255.255.250": /multicast/,
    "ff02::1": /multicast/,
    "255.255.255.255": /broadcast|multicast/,
  };
  for (const [source, pattern] of Object.entries(refused)) {
    const { regions, leftOut } = normalise(setOf([{ source }, { source: "192.0.2.7" }]), LIMITS);
    assert.deepEqual(leftOut.map(({ kind, rule }) => [kind, rule.source]), [["refused", source]]);
    assert.match(leftOut[0]!.reason, pattern, source);
    assert.deepEqual(regions.map((r) => formatPrefix(r.prefix)), ["192.0.2.7"]);
  }
});

Deno.test("normalise() leaves out as a whole a rule that holds a protected address, on whatever port", () => {
  const limits = { ...LIMITS, protected: [{ prefix: prefix("192.0.2.1"), why: "the default gateway" }] };
  const rules = [{ source: "192.0.2.0/24", dst_ports: [9] }, { source: "192.0.2.1" }, { source: "192.0.2.2" }];
  const { regions, leftOut } = normalise(setOf(rules), limits);
  assert.deepEqual(leftOut.map(({ kind, rule }) => `${kind} ${rule.source}`), [
    "lockout 192.0.2.0/24",
    "lockout 192.0.2.1",
  ]);
  assert.equal(leftOut[0]!.reason, "it holds the default gateway 192.0.2.1");
  assert.deepEqual(regions.map((r) => formatPrefix(r.prefix)), ["192.0.2.2"]);
  // Even 0.0.0.0/0 is first of all a lock-out.
  assert.equal(normalise(setOf([{ source: "0.0.0.0/0" }]), limits).leftOut[0]!.kind, "lockout");
});

Deno.test("normalise() cuts the allowlist out of networks, and refuses a rule it would cut too finely", () => {
  const plan = normalise(
    setOf([{ source: "192.0.2.0/24" }, { source: "198.51.100.7" }], {
      exceptions: ["192.0.2.128/25", "198.51.100.0/24"],
    }),
    { ...LIMITS, allowlist: [prefix("192.0.2.0")] },
  );
  assert.deepEqual(plan.regions.map((r) => formatPrefix(r.prefix)), [
    ...["192.0.2.1", "192.0.2.2/31", "192.0.2.4/30", "192.0.2.8/29", "192.0.2.16/28", "192.0.2.32/27", "192.0.2.64/26"],
  ]);
  assert.deepEqual(plan.leftOut.map(({ kind, rule }) => `${kind} ${rule.source}`), ["allowlist 198.51.100.7"]);
  assert.equal(plan.cut, 1);
  const fine = Array.from({ length: 2000 }, (_, i) => `20.0.${i >> 7}.${2 * (i & 127)}`);
  const { leftOut } = normalise(setOf([{ source: "20.0.0.0/16" }], { exceptions: fine }), LIMITS);
  assert.match(leftOut[0]!.reason, /more than 1024 pieces/);
});

Deno.test("normalise() takes hostile sizes in bounded time", () => {
  const start = performance.now();
  const same = Array.from({ length: 50_000 }, () => ({ source: "20.0.0.0/16" }));
  const exceptions = Array.from({ length: 50_000 }, (_, i) => `20.0.${i >> 8}.${i & 255}`);
  assert.ok(normalise(setOf(same, { exceptions }), LIMITS).regions.length < 100);
  const nested = Array.from({ length: 50_000 }, (_, i) => ({
    source: i === 0 ? "2001:db8::/32" : `2001:db8:${(i * 7919 & 0xffff).toString(16)}:${(i >> 3).toString(16)}::1`,
    duration_sec: i === 0 ? 60 : 3600,
  }));
  let regions = 0;
  try {
    regions = normalise(setOf(nested), LIMITS).regions.length;
  } catch (error) {
    assert.match(String(error), /overlap in more than 1000000 pieces/);
  }
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds < 20, `${seconds} s, ${regions} regions`);
});

Deno.test("joinSpans() is the longest duration at every port", () => {
  const spans = (...list: [number, number, number][]): Span[] =>
    list.map(([low, high, durationSec]) => ({ low, high, durationSec }));
  assert.equal(
    keyOf(joinSpans(spans([20, 30, 60]), spans([25, 25, Infinity], [30, 40, 60]))),
    "20-24:60,25-25:Infinity,26-40:60",
  );
  assert.equal(keyOf(spansOf([22, 23, "20-30", 80], 1.2)), "20-30:2,80-80:2");
  assert.equal(keyOf(spansOf([22], 0)), "22-22:1", "at least a second");
  assert.equal(keyOf(spansOf(["20-30", 25, "24-40", 41, 43], 5)), "20-41:5,43-43:5");
  const every = Array.from({ length: 32_768 }, (_, i) => 2 * i + 1);
  assert.equal(spansOf(every, 60).length, 32_768);
  assert.equal(keyOf(spansOf([], null)), "0-65535:Infinity");
});
