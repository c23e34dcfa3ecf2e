/** The reader of rules.json: what it takes, and that everything else is one clear error. */
import assert from "node:assert/strict";
import { IbsrError } from "../../src/errors.ts";
import { MAX_RULES, parseRuleSet } from "../../src/rules/read.ts";
import type { RuleSet } from "../../src/rules/ruleset.ts";
import { ruleOf, setOf, situations } from "./sets.ts";

function parse(value: unknown): RuleSet {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return parseRuleSet(new TextEncoder().encode(text), "rules.json");
}

Deno.test("parseRuleSet() gives back what a report wrote", () => {
  for (const [name, set] of Object.entries(situations())) {
    assert.deepEqual(parse(set), JSON.parse(JSON.stringify(set)), name);
  }
});

Deno.test("parseRuleSet() names the place of what is wrong", () => {
  const rule = ruleOf({ source: "192.0.2.7" });
  const withRule = (more: object) => setOf([{ ...rule, ...more }]);
  const wrong: [unknown, RegExp][] = [
    ["", /it is not JSON/],
    ["{", /it is not JSON/],
    ["[]", /the file is \[\], expected an object/],
    ["null", /the file is null, expected an object/],
    [{}, /format is missing/],
    [{ ...setOf([]), version: 2 }, /version is 2, expected 1/],
    [{ ...setOf([]), format: "ibsr-summary" }, /format is "ibsr-summary", expected "ibsr-rules"/],
    [{ ...setOf([]), verdikt: 1 }, /no key "verdikt"; is it "verdict"\?/],
    [{ ...setOf([]), verdict: "ready" }, /verdict is "ready", expected "READY" or/],
    [{ ...setOf([]), exceptions: ["10.0.0.0/33"] }, /exceptions\[0\] is "10.0.0.0\/33", expected an address or CIDR/],
    [{ ...setOf([]), rules: {} }, /rules is \{\}, expected a list/],
    [{ ...setOf([]), generated_at_unix_sec: 1e18 }, /generated_at_unix_sec is 1000000000000000000/],
    [{ ...setOf([]), policy: { engine: "native", sha256: "xyz" } }, /policy.sha256 is "xyz"/],
    [
      { ...setOf([]), evidence: { start_unix_sec: 2, end_unix_sec: 1, streams: [] } },
      /evidence.start_unix_sec is 2, expected a time not after the end/,
    ],
    [withRule({ source: "example.org" }), /rules\[0\]\.source is "example.org"/],
    [withRule({ source: "10.0.0.1; drop" }), /rules\[0\]\.source/],
    [withRule({ source: "10.0.0.1\n" }), /rules\[0\]\.source/],
    [withRule({ id: "a b" }), /rules\[0\]\.id is "a b"/],
    [withRule({ id: "x\n" }), /rules\[0\]\.id/],
    [withRule({ id: "" }), /rules\[0\]\.id/],
    [withRule({ dst_ports: [65536] }), /rules\[0\]\.dst_ports\[0\] is 65536/],
    [withRule({ dst_ports: [1.5] }), /dst_ports\[0\] is 1.5/],
    [withRule({ dst_ports: ["90-80"] }), /dst_ports\[0\] is "90-80"/],
    [withRule({ dst_ports: ["1-65535\n"] }), /dst_ports\[0\]/],
    [withRule({ dst_ports: Array(65537).fill(1) }), /dst_ports is "a list of 65537"/],
    [withRule({ duration_sec: -1 }), /duration_sec is -1/],
    [withRule({ duration_sec: "60" }), /duration_sec is "60"/],
    [withRule({ duration_sec: 1e300 }), /duration_sec is 1e\+300/],
    [withRule({ reason: "x".repeat(16385) }), /reason is "xxx.*, expected at most 16384 characters/],
    [withRule({ reason: null }), /reason is null, expected a text/],
    [withRule({ protocol: "udp" }), /protocol is "udp", expected "tcp"/],
    [withRule({ action: "accept" }), /action is "accept"/],
    [withRule({ triggers: -1 }), /triggers is -1/],
    [
      withRule({ would_block: { ...rule.would_block, syn: { lower: 2, upper: 1 } } }),
      /would_block\.syn is .*lower bound/,
    ],
    [{ ...setOf([]), rules: [rule, rule] }, /rules\[1\]\.id is "r1", expected an id that no other rule has/],
    ['{"__proto__": {"format": "ibsr-rules"}}', /format is missing/],
  ];
  for (const [value, pattern] of wrong) {
    assert.throws(() => parse(value), (error) => {
      assert.ok(error instanceof IbsrError && error.kind === "data", String(error));
      assert.match(error.message, /^Cannot use rules.json as rules: /);
      assert.match(error.message, pattern);
      assert.ok(error.message.length < 300, `${error.message.length} characters`);
      return true;
    });
  }
});

Deno.test("parseRuleSet() refuses any file with one value replaced by one of another type", () => {
  const set = JSON.parse(JSON.stringify(setOf([{ source: "192.0.2.7", dst_ports: [22, "80-90"] }])));
  let replaced = 0;
  const walk = (node: Record<string, unknown>) => {
    for (const key of Object.keys(node)) {
      const before = node[key];
      for (const value of [{ x: 1 }, true]) {
        node[key] = value;
        assert.throws(() => parse(set), IbsrError, `${key}: ${JSON.stringify(value)}`);
        replaced++;
      }
      node[key] = before;
      if (typeof before === "object" && before !== null) walk(before as Record<string, unknown>);
    }
  };
  walk(set);
  assert.ok(replaced > 60, `${replaced} replaced`);
});

Deno.test("parseRuleSet() refuses deep nesting, wrong encodings and too many rules within seconds", () => {
  const start = performance.now();
  assert.throws(() => parse("[".repeat(100_000_000)), /nested deeper than 16 levels/);
  assert.throws(() => parse(`[${"{},".repeat(30_000_000)}{}]`), /more than 2000000 objects and lists/);
  // Brackets in texts are none.
  const reason = '[[[[{{{{ \\" ['.repeat(100);
  assert.equal(parse(setOf([{ source: "192.0.2.7", reason }])).rules[0]!.reason, reason);
  assert.throws(() => parse(`{"format":${"[".repeat(1000)}${"]".repeat(1000)}}`), IbsrError);
  assert.throws(() => parseRuleSet(Uint8Array.of(0x22, 0xff, 0x22), "rules.json"), IbsrError);
  assert.throws(() => parse({ ...setOf([]), rules: Array(MAX_RULES + 1).fill(0) }), /at most 250000 of them/);
  assert.ok(performance.now() - start < 5000);
});
