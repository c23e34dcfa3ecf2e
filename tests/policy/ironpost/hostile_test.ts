/** Files made to cost time or memory, or to break the reader: each is refused or read, quickly, and never throws. */
import assert from "node:assert/strict";
import { chooseEngine } from "../../../src/policy/engines.ts";
import { loadIronpost } from "../../../src/policy/ironpost/engine.ts";
import { IbsrError } from "../../../src/errors.ts";
import { createRandom, type Random } from "../../packets.ts";

const LIMIT_MS = 20_000;

/** What is wrong with the text, or how many rules it has; and that it took no time. */
function load(text: string, path: string): { errors: string[]; rules: number } {
  const started = performance.now(), policy = loadIronpost([{ path, text }]), took = performance.now() - started;
  assert.ok(took < LIMIT_MS, `${path}: ${took.toFixed(0)} ms`);
  assert.ok(policy.findings.length <= 25_000, `${policy.findings.length} findings`);
  return {
    errors: policy.findings.filter((f) => f.severity === "error").map((f) => f.message),
    rules: policy.rules.length,
  };
}

function filterRules(count: number, idOf: (i: number) => string = (i) => `r${i}`): string {
  return Array.from(
    { length: count },
    (_, i) =>
      `[[rules]]\nid = "${idOf(i)}"\nsrc_ip = "10.${i >> 16 & 255}.${i >> 8 & 255}.${i & 255}"\naction = "block"\n` +
      `description = "d"\n`,
  ).join("");
}

Deno.test("hostile TOML: 10 MB, deep nesting, long strings and keys, zero bytes are refused with a sentence", () => {
  const one = (text: string) => load(text, "x.toml").errors.join("\n");
  assert.match(one(`[ebpf]\ninterface = "${"a".repeat(10_000_000)}"\n`), /larger than \d+ MiB/);
  assert.match(one("#\n".repeat(5_000_000)), /larger than \d+ MiB/);
  assert.match(one(`a = ${"[".repeat(50_000)}${"]".repeat(50_000)}\n`), /nested/);
  assert.match(one(`[${Array.from({ length: 2_000 }, () => "a").join(".")}]\n`), /nested deeper/);
  assert.match(one(`a = { ${"b = { ".repeat(5_000)}${"}".repeat(5_000)} }\n`), /nested/);
  assert.match(one(`[ebpf]\nenabled = true\0\n`), /zero byte/);
  assert.match(one(`[ebpf]\nenabled = true\n[ebpf]\nenabled = false\n`), /./);
  assert.match(one(`[ebpf]\nenabled = true\nenabled = true\n`), /./);
  assert.match(one(`[ebpf\n`), /./);
});

Deno.test("hostile YAML rules: alias bombs, deep nesting, two documents and tags are refused with a sentence", () => {
  const one = (text: string) => load(text, "x.yml").errors.join("\n");
  const bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 12; i++) bomb.push(`a${i}: &a${i} [${Array.from({ length: 9 }, () => `*a${i - 1}`).join(", ")}]`);
  assert.match(one(`id: r\ndetection: {}\n${bomb.join("\n")}\n`), /more than \d+ values/);
  assert.match(one(`id: r\ndetection: ${"[".repeat(10_000)}${"]".repeat(10_000)}\n`), /nested deeper/);
  assert.match(one(`id: r\ndetection: {}\n---\nid: s\n`), /more than one document/);
  assert.match(one(`id: !!js/function "x"\ndetection: {}\n`), /tag/);
  assert.match(one(`id: r\nid: s\ndetection: {}\n`), /second time/);
  assert.match(one(`id: r\ndetection:\n  conditions: [${"{field: a, value: b}, ".repeat(2_000)}]\n`), /at most 1000/);
});

Deno.test("a filter file of the most rules the engine takes loads; one more, or the same id twice, doesn't", () => {
  assert.deepEqual(load(filterRules(10_000), "rules.toml").errors, []);
  assert.match(load(filterRules(10_001), "rules.toml").errors.join(), /10001 entries: at most 10000/);
  const twice = load(filterRules(3, () => "same"), "rules.toml").errors;
  assert.equal(twice.length, 2);
  assert.match(twice[0]!, /"same" is the id of the rule on line 1/);
});

Deno.test("a filter file with ten thousand wrong rules is told in so many findings as can be read", () => {
  const text = filterRules(10_000, () => "same").replaceAll("block", "drop");
  assert.ok(load(text, "rules.toml").errors.length <= 1_100);
});

const CONFIG = `[general]
log_level = "info"
[ebpf]
enabled = true
interface = "eth0"
xdp_mode = "skb"
[ebpf.detection]
syn_ratio = 0.5
[log_pipeline]
enabled = true
sources = ["syslog", "file"]
watch_paths = ["/var/log/syslog"]
batch_size = 1000
flush_interval_secs = 5
`;
const RULES = filterRules(3);
const RULE = `id: r
title: t
severity: high
status: enabled
detection:
  conditions:
    - field: src_ip
      operator: regex
      value: "^10[.]"
      modifier: negate
  threshold:
    count: 5
    timeframe_secs: 60
    group_by: src_ip
tags: [a, b]
`;

/** The text with some of its words and signs put elsewhere, doubled, cut or replaced by values of other types. */
function spoil(text: string, random: Random): string {
  const values = [
    "-1",
    "0",
    "1e400",
    "99999999999999999999",
    '""',
    '"x"',
    "[]",
    "{}",
    "true",
    "null",
    "nan",
    "2026-11-21",
    "*a",
    "|",
  ];
  const words = text.split(/(\s+|[=:,\[\]])/);
  for (let n = 1 + random.below(4); n > 0; n--) {
    const at = random.below(words.length), other = random.below(words.length);
    const change = random.below(5);
    if (change === 0) words[at] = random.pick(values);
    else if (change === 1) words[at] = "";
    else if (change === 2) [words[at], words[other]] = [words[other]!, words[at]!];
    else if (change === 3) words.splice(at, 0, words[other]!);
    else {words[at] = words[at]!.slice(0, random.below(3)) +
        random.pick(["\u0000", "\u202e", "<script>", "'", '"', "\n"]);}
  }
  return words.join("");
}

Deno.test("files spoiled at random are read or refused; nothing throws, and what loads can be simulated", () => {
  let refused = 0, loaded = 0;
  for (let seed = 1; seed <= 3_000; seed++) {
    const random = createRandom(seed),
      [text, path] = random.pick([[CONFIG, "a.toml"], [RULES, "b.toml"], [RULE, "c.yml"]] as const);
    const spoiled = spoil(text, random);
    const policy = loadIronpost([{ path, text: spoiled }]);
    if (policy.findings.some((f) => f.severity === "error")) {
      refused++;
      continue;
    }
    loaded++;
    const sources = { count: 1, text: () => "10.0.0.1", bytes: () => new Uint8Array([10, 0, 0, 1]) };
    policy.simulate({ name: { hostname: "h", iface: "i" }, sources }).finish();
    for (const { message, place } of policy.findings) {
      assert.ok(message.length < 2_000, spoiled);
      if (place) assert.ok(place.line >= 1 && place.column >= 1, spoiled);
    }
  }
  assert.ok(refused > 500 && loaded > 100, `${refused} refused, ${loaded} loaded`);
});

Deno.test("chooseEngine() finds the engine by what a file holds, and says why it can't", () => {
  const choose = (files: Record<string, string>) =>
    chooseEngine(Object.entries(files).map(([path, text]) => ({ path, text })));
  const nameOf = (choice: ReturnType<typeof choose>) =>
    "engine" in choice ? choice.engine.name : choice.findings[0]!.message;
  assert.equal(nameOf(choose({ "a.toml": CONFIG })), "ironpost");
  assert.equal(nameOf(choose({ "a.toml": CONFIG, "b.toml": RULES, "c.yml": RULE })), "ironpost");
  assert.equal(nameOf(choose({ "a.yaml": "agent:\n  interfaces: [eth0]\nips:\n  enabled: true\n" })), "ebpfsentinel");
  assert.match(nameOf(choose({ "a.yaml": "a: [" })), /./);
  assert.throws(() => choose({ "a.yaml": "a: 1" }), (e) => e instanceof IbsrError && e.kind === "data");
  assert.throws(
    () => choose({ "a.toml": CONFIG, "b.yaml": "agent: {}\nips: {}\n" }),
    /Cannot tell the engine: a\.toml \(ironpost\), b\.yaml \(ebpfsentinel\)/,
  );
  assert.throws(() => chooseEngine([], "suricata"), /there is none/);
});
