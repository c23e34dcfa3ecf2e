import assert from "node:assert/strict";
import {
  formatPlace,
  type List,
  type Mapping,
  readDocument,
  type Scalar,
  type Tree,
} from "../../src/policy/document.ts";
import { asInteger, asList, asMapping, checkKeys, member, openField } from "../../src/policy/read.ts";
import type { Finding } from "../../src/policy/policy.ts";

/** A tree without places. */
function plain(tree: Tree | undefined): unknown {
  if (tree === undefined) return undefined;
  if (tree.kind === "scalar") return tree.value;
  if (tree.kind === "list") return tree.values.map(plain);
  return Object.fromEntries([...tree.members].map(([key, { value }]) => [key, plain(value)]));
}

const yaml = (text: string) => readDocument({ path: "p.yaml", text });
const toml = (text: string) => readDocument({ path: "p.toml", text });

/** The one problem of a text that is refused. */
function refusal(text: string, path = "p.yaml"): string {
  const { root, findings } = readDocument({ path, text });
  assert.deepEqual(root, undefined);
  const [first] = findings;
  assert(first?.place);
  return `${formatPlace(first.place)}: ${first.message}`;
}

Deno.test("readDocument() gives YAML's and TOML's values with their types", () => {
  const expected = { a: { b: [1n, 1.5, "x", true, 18446744073709551616n] }, when: "2026-01-02", e: 1000 };
  const text = "a:\n  b: [1, 1.5, x, true, 18446744073709551616]\nwhen: 2026-01-02\ne: 1e3\n";
  assert.deepEqual(plain(yaml(text).root), expected);
  const same = 'when = 2026-01-02\ne = 1e3\n[a]\nb = [1, 1.5, "x", true, 18446744073709551616]\n';
  assert.deepEqual(plain(toml(same).root), expected);
});

Deno.test("readDocument() reads dotted keys, inline tables and lists of tables of TOML", () => {
  const text = "[[rule]]\nid = 1\n[rule.more]\nx.y = { z = [] }\n[[rule]]\nid = 2\n[a.b]\nc = nan\n[a]\nd = 0\n";
  assert.deepEqual(plain(toml(text).root), {
    rule: [{ id: 1n, more: { x: { y: { z: [] } } } }, { id: 2n }],
    a: { b: { c: NaN }, d: 0n },
  });
});

Deno.test("readDocument() knows the line and column of every key and value", () => {
  for (const [path, text] of [["p.yaml", "a: 1\nbb:\n  - c: x\n"], ["p.toml", 'a= 1\n[[bb]]\n  c= "x"\n']] as const) {
    const root = readDocument({ path, text }).root as Mapping;
    const bb = root.members.get("bb")!, c = ((bb.value as List).values[0] as Mapping).members.get("c")!;
    assert.deepEqual([root.members.get("a")!.value.line, root.members.get("a")!.value.column], [1, 4]);
    assert.deepEqual([bb.line, bb.column], path === "p.yaml" ? [2, 1] : [2, 3]);
    assert.deepEqual([c.line, c.column, (c.value as Scalar).column], path === "p.yaml" ? [3, 5, 8] : [3, 3, 6]);
  }
});

Deno.test("readDocument() reads a byte order mark, CRLF and JSON", () => {
  assert.deepEqual(plain(yaml("\ufeffa: 1\r\nb:\r\n  - x\r\n").root), { a: 1n, b: ["x"] });
  assert.deepEqual(plain(toml("\ufeffa = 1\r\nb = 2\r\n").root), { a: 1n, b: 2n });
  assert.deepEqual(plain(yaml('{"a": [1, "x", null]}').root), { a: [1n, "x", null] });
});

Deno.test("readDocument() resolves an alias to what its anchor stands for", () => {
  assert.deepEqual(plain(yaml("a: &x {b: 1}\nc: [*x, *x]\n").root), { a: { b: 1n }, c: [{ b: 1n }, { b: 1n }] });
});

Deno.test("readDocument() says where a text can't be read", () => {
  assert.deepEqual(
    refusal("a: 1\nb: 2\na: 3\n"),
    'p.yaml:3:1: key "a" is here for the second time: the first is on line 1',
  );
  assert.deepEqual(refusal("a: 1\n---\nb: 1\n"), "p.yaml:2:1: more than one document");
  assert.deepEqual(refusal("a: &x {b: 1}\nc:\n  <<: *x\n"), 'p.yaml:3:3: merge key "<<": write out what it stands for');
  assert.deepEqual(refusal("a: *x\n"), "p.yaml:1:4: alias *x has no anchor before it");
  assert.deepEqual(refusal("a: &x [*x]\n"), "p.yaml:1:8: alias *x has no anchor before it");
  assert.deepEqual(
    refusal("a: !!js/function x\n"),
    "p.yaml:1:18: tag tag:yaml.org,2002:js/function: only plain values are read",
  );
  assert.deepEqual(refusal("? [a, b]\n: 1\n"), "p.yaml:1:3: a key that is not a plain value");
  assert.deepEqual(refusal("a:\n\tb: 1\n"), "p.yaml:2:1: tabs are not allowed as indentation");
  assert.deepEqual(refusal(""), "p.yaml:1:1: empty");
  assert.deepEqual(refusal("# nothing\n"), "p.yaml:1:1: empty");
  assert.deepEqual(refusal("a: 1\nb: \0\n"), "p.yaml:2:4: not a text: it has a zero byte");
  assert.deepEqual(refusal("a = 1\na = 2\n", "p.toml").slice(0, 12), "p.toml:2:1: ");
  assert.deepEqual(refusal("a = \n", "p.toml").slice(0, 9), "p.toml:2:");
});

Deno.test("readDocument() refuses what is made to exhaust it, within seconds", () => {
  const bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" +
    Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(", ")}]\n`).join("");
  const M = 1 << 20;
  const texts: Record<string, [text: string, message: RegExp, path?: string]> = {
    "alias bomb": [bomb, /more than 1000000 values, aliases replaced/],
    "10,000 flow lists": ["[".repeat(10_000), /nested deeper than 64 levels/],
    "10,000 closed flow lists": ["[".repeat(10_000) + "]".repeat(10_000), /nested deeper/],
    "10,000 flow mappings": ["{a: ".repeat(10_000), /nested deeper/],
    "10,000 block lists": ["- ".repeat(10_000) + "a", /nested deeper/],
    "4,000 block mappings": [Array.from({ length: 4_000 }, (_, i) => `${" ".repeat(i)}a:\n`).join(""), /nested deeper/],
    "10,000 explicit keys": ["? ".repeat(10_000) + "a", /nested deeper/],
    "depth by aliases": [
      Array.from({ length: 70 }, (_, i) => `a${i}: &a${i} [${i > 0 ? `*a${i - 1}` : "x"}]\n`).join(""),
      /nested deeper/,
    ],
    "10 MiB of elements": ["[" + "1,".repeat(5 * M - 10) + "]", /more than 3000000 tokens/],
    "10 MiB of line ends": ["\n".repeat(10 * M), /more than 1000000 lines/],
    "a million documents": ["---\n".repeat(999_000), /more than one document/],
    "a million lines of errors": ["]\n".repeat(999_000), /./],
    "an open quote": ['a: "' + "x\n ".repeat(2 * M), /./],
    "more than 10 MiB": ["#".repeat(10 * M + 1), /larger than 10 MiB/],
    "more than 1 MiB of TOML": ["#".repeat(M + 1), /larger than 1 MiB/, "p.toml"],
    "10,000 lists of TOML": ["a=" + "[".repeat(10_000) + "]".repeat(10_000), /nested too deep/, "p.toml"],
    "10,000 tables of TOML": ["a=" + "{a=".repeat(10_000) + "1" + "}".repeat(10_000), /nested/, "p.toml"],
    "10,000 keys in a row": [`${"a.".repeat(10_000)}a=1`, /nested deeper/, "p.toml"],
    "10,000 headers in a row": [`[${"a.".repeat(10_000)}a]\nb=1`, /nested deeper/, "p.toml"],
    "growing headers": [Array.from({ length: 1_000 }, (_, i) => `[${"a.".repeat(i)}a]\n`).join(""), /nested/, "p.toml"],
    "a string of 1 MiB": [`a='${"x".repeat(M - 10)}'`, /string of more than/, "p.toml"],
  };
  for (const [name, [text, message, path]] of Object.entries(texts)) {
    const begin = performance.now(), got = refusal(text, path);
    assert(message.test(got), `${name}: ${got}`);
    const seconds = (performance.now() - begin) / 1000;
    // Three where nothing else runs.
    assert(seconds < 60, `${name} took ${seconds} s`);
  }
});

Deno.test("readDocument() reads 100,000 keys of one mapping in seconds, and finds the one that is there twice", () => {
  const keys = Array.from({ length: 100_000 }, (_, i) => `k${i}: ${i}\n`).join("");
  assert.deepEqual((yaml(keys).root as Mapping).members.size, 100_000);
  assert(refusal(`${keys}k7: 0\n`).endsWith('key "k7" is here for the second time: the first is on line 8'));
});

Deno.test("reading collects every problem with its path and place", () => {
  const document = yaml(
    "limt: 3\nrules:\n  - {port: 70000}\n  - {port: '22'}\n  - {port: 1.0}\n  - 7\n  - {port: 80}\n",
  );
  const findings: Finding[] = [], field = openField(document, findings);
  checkKeys(field, ["limit", "rules"]);
  const ports = asList(member(field, "rules")).filter(asMapping)
    .map((rule) => asInteger(member(rule, "port"), { min: 0, max: 65535 }));
  assert.deepEqual(ports, [undefined, undefined, undefined, 80]);
  assert.deepEqual(findings.map(({ place, message }) => `${place?.line}:${place?.column}: ${message}`), [
    '1:1: limt: unknown key: did you mean "limit"?',
    "6:5: rules[3]: expected a mapping, found 7",
    "3:12: rules[0].port: 70000 is not from 0 to 65535",
    '4:12: rules[1].port: expected a whole number, found "22"',
    "5:12: rules[2].port: expected a whole number, found 1.0",
  ]);
});
