/**
 * What every format promises of its files, and the formats without a validator in Debian 12 against their published
 * schemas, written down here: STIX 2.1 (OASIS, sections 3.2, 4.5, 4.7, 8 and 9), rows of CSV (RFC 4180), Suricata's
 * rule grammar.
 */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv";
import { FORMATS } from "../../src/rules/formats.ts";
import { uuidOf } from "../../src/rules/stix.ts";
import { plainText, visibleText } from "../../src/rules/texts.ts";
import { render, stemOf, textOf } from "./files.ts";
import { HOSTILE, manyRules, MIXED, setOf, situations } from "./sets.ts";

const NAMES = FORMATS.map(({ name }) => name);

/** Every format in every variant it has, on every situation. */
function* everything() {
  for (const [situation, set] of Object.entries(situations())) {
    for (const { name, can } of FORMATS) {
      for (const shadow of can.shadow ? [false, true] : [false]) {
        yield { name, situation, shadow, can, set, rendered: render(name, set, { shadow }) };
      }
    }
  }
}

Deno.test("render() of every format gives the same bytes for the same rules", () => {
  for (const { name, situation, shadow, set, rendered } of everything()) {
    const again = render(name, JSON.parse(JSON.stringify(set)), { shadow });
    assert.deepEqual(again, rendered, `${name} ${situation}`);
  }
});

Deno.test("render() of every format says what it is, what it rests on, when it ends, and how it is undone", () => {
  for (const { name, situation, shadow, rendered } of everything()) {
    const header = rendered.files.map(({ text }) => text).find((text) => text.includes("ibsr: candidate rules for"));
    assert.ok(header, `${name} ${situation}`);
    for (
      const part of ["A HUMAN MUST REVIEW THIS BEFORE USE", "policy: ", "evidence: ", "expires: ", "apply:", "undo:"]
    ) {
      assert.ok(header.includes(part), `${name} ${situation}: ${part}`);
    }
    if (situation !== "hostile") {
      assert.ok(
        header.includes("ab".repeat(32)) && header.includes("2026-11-14T00:53:20Z to 2026-11-21T00:53:20Z"),
        name,
      );
    }
    if (situation === "hostile") assert.ok(header.includes("VERDICT IS NOT READY"), name);
    assert.equal(/SHADOW: they count/.test(header), shadow, name);
  }
});

Deno.test("render() of every format says when its sources were hot, that it is no policy, and no date that it ends at", () => {
  const set = setOf([{ source: "192.0.2.7", duration_sec: 300 }, {
    source: "192.0.2.9",
    last_trigger_unix_sec: 1_795_222_860,
  }]);
  for (const { name, can } of FORMATS) {
    const header = render(name, set).files.map(({ text }) => text).find((text) => text.includes("A HUMAN MUST"))!;
    assert.match(
      header,
      /sources: +2 candidates that met the policy between 2026-11-21T01:00:00Z and 2026-11-21T02:00:00Z\n/,
      name,
    );
    assert.match(header, /THIS LIST IS NOT THE POLICY that the verdict is about/, name);
    assert.match(
      header,
      can.expiry ? /expires: +each entry 300 to 3,600 s after/ : /expires: +not by itself: .* 300 to/,
      name,
    );
    assert.doesNotMatch(header, /(expires|remove|made).*2026/, name);
    const asked = render(name, set, { durationSec: 600 });
    if (!can.expiry) continue;
    assert.match(asked.files.map(({ text }) => text).join(""), /expires: +each entry 600 s after/, name);
    const text = "each entry lasts 600 s, as asked for: blocks of the policy last 300 to 3,600 s";
    assert.deepEqual(asked.losses.filter((loss) => loss.text.includes("asked")), [{ kind: "wider", text }], name);
    const shorter = render(name, set, { durationSec: 60 }).losses.filter((loss) => loss.text.includes("asked"));
    assert.deepEqual(shorter.map(({ kind }) => kind), ["narrower"], name);
  }
});

Deno.test("render() of every format names no file of a shadow as one that enforces, in its own texts neither", () => {
  for (const { name } of FORMATS.filter(({ can }) => can.shadow)) {
    const [enforcing, counting] = [false, true].map((shadow) => render(name, setOf(MIXED), { shadow }).files);
    const names = new Set(enforcing!.map((file) => file.name));
    for (const file of counting!) {
      assert.ok(!names.has(file.name), `${name}: ${file.name}`);
      for (const other of names) assert.ok(!file.text.includes(other), `${file.name} speaks of ${other}`);
    }
  }
});

Deno.test("render() of every format says of a policy without a file that it is built in, and is never unknown", () => {
  const builtIn = { ...setOf([{ source: "192.0.2.1" }]), policy: { engine: "ibsr" } };
  const another = { ...builtIn, policy: { engine: "ironpost" } };
  for (const { name } of FORMATS) {
    const text = (set: typeof builtIn) => render(name, set).files.map((file) => file.text).join("");
    assert.match(text(builtIn), /policy: +built into ibsr 0\.1\.0; its thresholds are the options/, name);
    assert.match(text(another), /policy: +ironpost, checksum not recorded/, name);
    assert.doesNotMatch(text(builtIn) + text(another), /unknown(?! source)/i, name);
  }
});

Deno.test("render() of every format writes only printable ASCII and newlines, or JSON and CSV that hide nothing", () => {
  for (const { name, situation, rendered } of everything()) {
    for (const file of rendered.files) {
      const allowed = /\.(json|csv)$/.test(file.name) ? /^[^\p{C}]*$/u : /^[\x20-\x7e]*$/;
      for (const line of file.text.split(/\r?\n/)) {
        assert.match(line.replaceAll("\t", " "), allowed, `${name} ${situation} ${file.name}`);
      }
      assert.ok(file.text === "" || file.text.endsWith("\n"), `${file.name} ends with a newline`);
    }
  }
});

Deno.test("render() of every format has as many lines of rules for hostile texts as for harmless ones", () => {
  const hostile = situations().hostile!;
  const harmless = structuredClone(hostile);
  for (const rule of harmless.rules) rule.reason = rule.policy_rule = "x";
  for (const stream of harmless.evidence.streams) stream.hostname = stream.iface = "x";
  harmless.evidence.streams.forEach((stream, i) => stream.iface = `x${i}`);
  Object.assign(harmless, { ibsr_version: "x", policy: { engine: "x", profile: "x" } });
  for (const name of NAMES) {
    const count = (set: typeof hostile) =>
      render(name, set).files.map((f) => [f.name, f.text.split("\n").filter((line) => !line.startsWith("#")).length]);
    assert.deepEqual(count(hostile), count(harmless), name);
  }
});

Deno.test("render() says what each format can't: wider, narrower, or nothing", () => {
  const lost = (name: string, set = setOf(MIXED)) =>
    render(name, set).losses.map(({ kind, text }) => `${kind}: ${text}`);
  for (const name of ["nftables", "nftables-json", "ipset"]) {
    assert.deepEqual(lost(name), [
      "note: the rules act on every interface of the host (--iface limits them to one): the evidence is of eth0 alone",
    ]);
    assert.deepEqual(render(name, setOf(MIXED), { iface: "eth0" }).losses, []);
  }
  for (const name of ["csv", "stix"]) assert.deepEqual(lost(name), [], name);
  const ports = /wider: \d+ entries are limited to some ports/, every = /wider: the format blocks every protocol/;
  const end = /wider: \d+ entries have an end/, networks = /narrower: \d+ networks of more than 16 addresses left out/;
  const expected: Record<string, RegExp[]> = {
    "xdp-filter": [ports, every, end, networks],
    fail2ban: [networks],
    crowdsec: [ports, every, /narrower: \d+ entries for good end after ten years/],
    "crowdsec-csv": [ports, every, /ten years/],
    ebpfsentinel: [end, /narrower: the engine's own anti-lockout rules let ports 22, 8080, 50051 through/],
    ironpost: [/narrower: \d+ IPv6 entries left out/, ports, every, end, networks],
    cilium: [end],
    suricata: [end],
    "aws-waf": [ports, every, end, /narrower: it sees HTTP/],
    "aws-nacl": [end],
    plain: [ports, every, end],
  };
  for (const [name, patterns] of Object.entries(expected)) {
    const texts = lost(name);
    for (const pattern of patterns) {
      assert.ok(texts.some((text) => pattern.test(text)), `${name}: ${pattern} in ${texts}`);
    }
    assert.equal(texts.length, patterns.length, `${name}: ${texts.join("; ")}`);
    const header = render(name, setOf(MIXED)).files.map(({ text }) => text).join("");
    assert.equal(header.includes("WIDER THAN SIMULATED"), texts.some((text) => text.startsWith("wider")), name);
  }
  assert.match(
    lost("aws-nacl", setOf(manyRules(50))).join(),
    /narrower: 3\d entries left out: a network ACL has room for 20/,
  );
  assert.match(
    lost("ebpfsentinel", setOf(manyRules(5000))).join(),
    /narrower: [\d,]+ rules left out: the engine takes 4,096/,
  );
  assert.match(
    lost("ironpost", setOf(manyRules(15_000))).join(),
    /narrower: [\d,]+ entries left out: the engine takes 10,000/,
  );
  const long = setOf([{ source: "192.0.2.7", duration_sec: 1e9 }]);
  assert.match(lost("ipset", long).join(), /narrower: 1 entry ends after 2147483 seconds/);
  assert.match(lost("fail2ban", long).join(), /wider: 1 entry of over ten years never end/);
  assert.deepEqual(Object.keys(expected).length + 5, NAMES.length, "every format is here");
});

Deno.test("render() of plain lists keeps the longer of two times and all ports where it must choose", () => {
  const set = setOf([{ source: "192.0.2.7", dst_ports: [22], duration_sec: 60 }, {
    source: "192.0.2.7",
    dst_ports: [80],
  }]);
  assert.deepEqual(textOf(render("plain", set), "ibsr.v4.txt").split("\n").filter((l) => !l.startsWith("#")), [
    "192.0.2.7 # r1 r2: 412 SYN in 10 s, threshold 100",
    "",
  ]);
});

Deno.test("render() of xdp-filter and fail2ban writes the addresses of a small network one by one", () => {
  const set = setOf([{ source: "192.0.2.12/30" }, { source: "2001:db8::8/127" }, { source: "192.0.2.32/27" }]);
  const script = textOf(render("xdp-filter", set), "ibsr.xdp-filter.sh");
  const added = [...script.matchAll(/^source_address (\S+)/gm)].map((m) => m[1]);
  assert.deepEqual(added, ["192.0.2.12", "192.0.2.13", "192.0.2.14", "192.0.2.15", "2001:db8::8", "2001:db8::9"]);
  assert.ok(script.includes("left out (the format has single addresses only): 192.0.2.32/27"));
  assert.ok(!/-p|port/.test(script.split("\n").filter((line) => !line.startsWith("#")).join("\n")), "never a port");
});

Deno.test("render() of CSV round-trips through a CSV reader, and no cell is a formula", () => {
  for (const [situation, set] of Object.entries(situations())) {
    const text = textOf(render("csv", set), "ibsr.csv"), rows = readCsv(text);
    for (const row of rows) assert.equal(row.length, rows[0]!.length, situation);
    for (const cell of rows.flat()) assert.ok(!/^[=+\-@\t\r]/.test(cell), cell);
  }
  const mixed = readCsv(textOf(render("csv", setOf(MIXED)), "ibsr.csv"));
  const row = mixed.find(([source]) => source === "192.0.2.9")!;
  assert.deepEqual(row.slice(0, 6), ["192.0.2.9", "ipv4", "tcp", "22 80 8080-8899", "never", "r3"]);
  assert.deepEqual(mixed.find(([source]) => source === "192.0.2.8")!.slice(3, 5), ["22", "60"]);
});

/** Rows of CSV text (RFC 4180). */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  for (const match of text.matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)(,|\n)/g)) {
    if (match.index === 0 || text[match.index - 1] === "\n") rows.push([]);
    const cell = match[1]!;
    rows.at(-1)!.push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
  }
  return rows;
}

Deno.test("plainText() writes the signs of formulas so that they can be read, and a comment begins with the rule that was met", () => {
  const reason =
    "syn ≥ 100/s × 10 s and min(handshake_ack, data) / syn ≤ 0.1 (triggered 4 times, first by syn 92847, data 0)";
  const met = "syn >= 100/s x 10 s and min(handshake_ack, data) / syn <= 0.1 (triggered 4 times";
  assert.equal(plainText(reason, 80), `${met.slice(0, 77)}...`);
  assert.equal(plainText("detections ≥ 3 within ∞ s", 80), "detections >= 3 within unlimited s");
  const set = setOf([{ source: "192.0.2.7", reason, id: "syn_flood-1" }]);
  for (const name of ["nftables", "ipset"]) {
    assert.match(
      render(name, set).files[0]!.text,
      /comment "syn_flood-1: syn >= 100\/s x 10 s and [^"]*syn <= 0\.1 \(/,
      name,
    );
  }
});

Deno.test("plainText() drops what a parser would end at, and visibleText() what can't be seen", () => {
  for (const text of HOSTILE) {
    assert.match(plainText(text, 120), /^[A-Za-z0-9 .,:\/()%+=<>@?_-]{0,120}$/);
    assert.match(visibleText(text, 120), /^[^\p{C}]{0,120}$/u);
  }
});

/** STIX 2.1: the required and the used properties of a bundle, an identity and an indicator. */
const TIME = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$" };
const idOf = (type: string) => ({
  type: "string",
  pattern: `^${type}--[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
});
const COMMON = { spec_version: { const: "2.1" }, created: TIME, modified: TIME };
const STIX = {
  type: "object",
  required: ["type", "id", "objects"],
  additionalProperties: false,
  properties: {
    type: { const: "bundle" },
    id: idOf("bundle"),
    objects: {
      type: "array",
      items: {
        oneOf: [{
          type: "object",
          required: ["type", "spec_version", "id", "created", "modified", "name"],
          additionalProperties: false,
          properties: {
            ...COMMON,
            type: { const: "identity" },
            id: idOf("identity"),
            name: { type: "string", minLength: 1 },
            identity_class: { enum: ["individual", "group", "system", "organization", "class", "unknown"] },
          },
        }, {
          type: "object",
          required: ["type", "spec_version", "id", "created", "modified", "pattern", "pattern_type", "valid_from"],
          additionalProperties: false,
          properties: {
            ...COMMON,
            type: { const: "indicator" },
            id: idOf("indicator"),
            created_by_ref: idOf("identity"),
            name: { type: "string" },
            description: { type: "string" },
            indicator_types: { type: "array", minItems: 1, items: { const: "anomalous-activity" } },
            pattern: {
              type: "string",
              pattern: "^\\[network-traffic:src_ref\\.type = '(ipv4|ipv6)-addr' AND network-traffic:src_ref\\.value " +
                "(= '[0-9a-f.:]+'|ISSUBSET '[0-9a-f.:]+/\\d{1,3}') AND network-traffic:protocols\\[\\*\\] = 'tcp'" +
                "( AND [a-z_:0-9 (),<>=ANDORI-]+)?\\]$",
            },
            pattern_type: { const: "stix" },
            valid_from: TIME,
            valid_until: TIME,
          },
        }],
      },
    },
  },
};

Deno.test("render() of STIX is a bundle as the standard says, its identifiers unique and of the content", () => {
  const validate = new Ajv2020({ allErrors: true }).compile(STIX);
  for (const [situation, set] of Object.entries(situations())) {
    const bundle = JSON.parse(textOf(render("stix", set), "ibsr.stix.json"));
    assert.ok(validate(bundle as unknown), `${situation}: ${JSON.stringify(validate.errors?.slice(0, 3))}`);
    const ids = bundle.objects.map(({ id }: { id: string }) => id);
    assert.equal(new Set(ids).size, ids.length);
    for (const { type, valid_from, valid_until } of bundle.objects) {
      if (type === "indicator" && valid_until) assert.ok(valid_until > valid_from);
    }
  }
  const [, ...indicators] = JSON.parse(textOf(render("stix", setOf(MIXED)), "ibsr.stix.json")).objects;
  const patterns = indicators.map(({ pattern }: { pattern: string }) => pattern);
  const start = "[network-traffic:src_ref.type = 'ipv4-addr' AND network-traffic:src_ref.value = '192.0.2.9' AND " +
    "network-traffic:protocols[*] = 'tcp' AND ";
  assert.ok(patterns.includes(
    `${start}(network-traffic:dst_port IN (22, 80) OR (network-traffic:dst_port >= 8080 AND network-traffic:dst_port <= 8899))]`,
  ));
});

Deno.test("uuidOf() is the version 5 UUID of RFC 9562, appendix A.4", () => {
  assert.equal(
    uuidOf("www.example.com", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "2ed6657d-e927-568b-95e1-2665a8aea6a2",
  );
});

Deno.test("render() of Suricata writes one rule a line, as its grammar says", () => {
  const address = "[0-9a-f.:]+(?:/\\d{1,3})?", port = "\\d{1,5}(?::\\d{1,5})?";
  const rule = new RegExp(
    `^(drop|alert) tcp \\[${address}(?:,${address}){0,99}\\] any -> any (?:any|\\[${port}(?:,${port})*\\]) ` +
      `\\(msg:"[A-Za-z0-9 _-]+"; sid:(\\d+); rev:1;\\)$`,
  );
  for (const [situation, set] of Object.entries(situations())) {
    for (const shadow of [false, true]) {
      const lines = textOf(render("suricata", set, { shadow }), `${stemOf(shadow)}.rules`).split("\n").filter((l) =>
        l && !l.startsWith("#")
      );
      const sids = lines.map((line) => {
        const match = rule.exec(line);
        assert.ok(match, `${situation}: ${line}`);
        assert.equal(match[1], shadow ? "alert" : "drop");
        return match[2];
      });
      assert.equal(new Set(sids).size, sids.length);
    }
  }
});

Deno.test("render() of a network ACL takes what blocks most, within its 20 entries, in the order of addresses", () => {
  const rules = manyRules(100).map((rule, i) => ({
    ...rule,
    source: `192.0.2.${2 * i}`,
    dst_ports: [443],
    would_block: { packets: { lower: 0, upper: i }, bytes: { lower: 0, upper: i }, syn: { lower: 0, upper: 0 } },
  }));
  const entries = JSON.parse(textOf(render("aws-nacl", setOf(rules)), "ibsr.aws-nacl.json"));
  assert.deepEqual(
    entries.map((e: { CidrBlock: string }) => e.CidrBlock),
    Array.from({ length: 20 }, (_, i) => `192.0.2.${160 + 2 * i}/32`),
  );
  assert.deepEqual(
    entries.map((e: { RuleNumber: number }) => e.RuleNumber),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

Deno.test("render() refuses rules whose ports no format could list", () => {
  const dst_ports = Array.from({ length: 32_768 }, (_, i) => 2 * i);
  const set = setOf(Array.from({ length: 70 }, (_, i) => ({ source: `20.0.0.${2 * i}`, dst_ports })));
  assert.throws(() => render("nftables", set), /they have 2293760 ranges of ports, the most is 2000000/);
});

Deno.test("render() of AWS WAF keeps to the service's patterns, and to 10,000 addresses of one family a set", () => {
  const rules = Array.from({ length: 12_000 }, (_, i) => ({ source: `20.${i >> 13}.${i >> 6 & 127}.${2 * (i & 63)}` }));
  for (const set of [...Object.values(situations()), setOf(rules)]) {
    const { files } = render("aws-waf", set);
    for (const { name, text } of files.filter((f) => /v\d-\d+\.json$/.test(f.name))) {
      const made = JSON.parse(text), family = name.includes("v4") ? /^[\d.]+\/(?!0$)\d+$/ : /^[0-9a-f:.]+\/(?!0$)\d+$/;
      assert.match(made.Name, /^[\w-]{1,128}$/);
      assert.match(made.Description, /^[\w+=:#@/\-,.][\w+=:#@/\-,.\s]+[\w+=:#@/\-,.]$/);
      assert.ok(made.Addresses.length >= 1 && made.Addresses.length <= 10_000);
      for (const address of made.Addresses) assert.match(address, family);
    }
  }
  const many = render("aws-waf", setOf(rules)).files.map(({ name }) => name);
  assert.deepEqual(many, [
    ...["ibsr.aws-waf.v4-1.json", "ibsr.aws-waf.v4-2.json", "ibsr.aws-waf.rule.json", "aws-waf.README.txt"],
  ]);
});

Deno.test("render() of 20,000 rules takes seconds in every format", () => {
  const rules = Array.from({ length: 20_000 }, (_, i) => ({
    source: i % 5 === 0
      ? `2001:db8:${(i >> 4).toString(16)}:${(i & 15).toString(16)}::1`
      : `20.${i >> 14}.${i >> 7 & 127}.${2 * (i & 127)}`,
    dst_ports: i % 2 === 0 ? [] : [22, 80],
    duration_sec: [60, 3600, null][i % 3]!,
  }));
  const set = setOf(rules);
  for (const name of NAMES) {
    const start = performance.now();
    render(name, set);
    const seconds = (performance.now() - start) / 1000;
    assert.ok(seconds < 15, `${name}: ${seconds} s`);
  }
});
