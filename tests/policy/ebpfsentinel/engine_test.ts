import assert from "node:assert/strict";
import { IbsrError } from "../../../src/errors.ts";
import { readDocument } from "../../../src/policy/document.ts";
import { ebpfsentinel } from "../../../src/policy/ebpfsentinel/engine.ts";
import { detectEngines } from "../../../src/policy/engines.ts";
import type { LoadOptions, Policy } from "../../../src/policy/policy.ts";
import { COUNTRY_FILE, countTrace, randomOf, randomTrace, sources } from "./traces.ts";

const EXAMPLES = ["seed_ips", "code_validator", "firewall_order", "seed_limits"].map((name) => ({
  name,
  text: Deno.readTextFileSync(new URL(`examples/${name}.yaml`, import.meta.url)),
}));
const FEED = { path: "feed.txt", text: "# list\n203.0.113.5\n192.0.2.0/24\n" };

function load(text: string, options: LoadOptions = {}): Policy {
  return ebpfsentinel.load([{ path: "p.yaml", text }], options);
}

function example(name: string): string {
  return EXAMPLES.find((e) => e.name === name)!.text;
}

/** Findings as `severity code [rule] line`. */
function codesOf({ findings }: Policy): string[] {
  return findings.map(({ severity, code, rule, place }) =>
    [severity, code, rule, place?.line].filter((x) => x !== undefined).join(" ")
  );
}

/** Lets a policy work on a little of everything. */
function simulate(policy: Policy): { packets: number; effects: number; findings: string[] } {
  const simulation = policy.simulate({ name: { hostname: "h", iface: "eth0" }, sources });
  const random = randomOf(7), kinds = [2, 2, 16, 24, 24, 4, 17, 18];
  const trace = randomTrace(random, {
    packets: 400,
    spans: [60_000],
    ports: [22, 23, 80, 443, 8899],
    sources: 4,
    kinds,
  });
  let effects = 0;
  for (const { interval } of countTrace(trace, 10_000)) {
    for (const { packets: { lower, expected, upper } } of simulation.fold(interval).effects) {
      assert(Number.isFinite(lower) && lower <= expected && expected <= upper && upper > 0);
      effects++;
    }
  }
  return { packets: trace.length, effects, findings: simulation.finish().findings.map(({ code }) => code) };
}

Deno.test("the example configurations load in both profiles, are told from others' and can be simulated", () => {
  for (const { name, text } of EXAMPLES) {
    assert.deepEqual(detectEngines(readDocument({ path: "p.yaml", text })).map((engine) => engine.name), [
      "ebpfsentinel",
    ]);
    for (const profile of ebpfsentinel.profiles) {
      const feeds = name === "seed_limits" ? new Map([["local", FEED]]) : new Map();
      const policy = load(text, { profile, countries: COUNTRY_FILE, feeds });
      assert.deepEqual(policy.findings.filter(({ severity }) => severity === "error"), [], name);
      assert(policy.rules.length > 0 && policy.resolutionMs > 0 && policy.windowMs >= 1000);
      const result = simulate(policy);
      // The other two let as little as this pass.
      if (name === "firewall_order" || name === "seed_limits") assert(result.effects > 0, `${name} ${profile}`);
    }
  }
});

Deno.test("load() lists every rule with how much of it counters show, and lints what the engine would do otherwise", () => {
  const seed = load(example("seed_ips"));
  assert.deepEqual(seed.rules.map(({ id, coverage, mode }) => `${id}: ${coverage}, ${mode}`), [
    "ips.auto_blacklist: bounded, enforce",
    "ips.subnet_injection: not observable, off",
    "ssh-hammer: bounded, enforce",
    "payload-probe: not observable, alert",
  ]);
  assert.deepEqual(codesOf(seed), [
    "warning engine_ignores 4",
    "warning engine_rejects 14",
    "note packets_not_attempts ssh-hammer 9",
    "warning not_observable",
  ]);
  const order = load(example("firewall_order"));
  assert.deepEqual(order.findings.filter(({ code }) => code === "order_sensitive").map(({ rule }) => rule), [
    "lab-deny",
    "lab-ok",
    "bad-net",
  ]);
});

Deno.test("load() collects all that is wrong, with line and column", () => {
  const text = `agent: {interfaces: []}
ips:
  mode: drop
  whitelist: [10.0.0.0/33, 10.0.0.1, nonsense]
  auto_blacklist_treshold: 4
  rules:
    - {id: "a b", severity: hihg, dst_port: 70000}
    - {id: c, severity: low, pattern: "(((", dst_port: 80}
    - {id: c, severity: low, dst_port: 81, threshold: {type: Limit, count: 0}}
firewall:
  rules:
    - {id: x, priority: 0, action: deny, dst_port: 443-80}
frewall: {}
`;
  const found = load(text).findings.map(({ place, message }) => `${place?.line}:${place?.column} ${message}`);
  assert.deepEqual(found, [
    '13:1 frewall: unknown key: did you mean "firewall"?',
    "1:9 agent.interfaces: at least one interface must be listed",
    '5:3 ips.auto_blacklist_treshold: unknown key: did you mean "auto_blacklist_threshold"?',
    '3:9 ips.mode: "drop" is none of alert, monitor, observe, block, enforce',
    '4:15 ips.whitelist[0]: prefix length "33" is not from 0 to 32',
    '4:38 ips.whitelist[2]: "nonsense" is neither an address nor a CIDR',
    "7:12 ips.rules[0].id: an id is letters, digits, - and _, at least one",
    '7:29 ips.rules[0].severity: "hihg": did you mean "high"?',
    "7:45 ips.rules[0].dst_port: 70000 is not from 0 to 65535",
    "8:39 ips.rules[1].pattern: the pattern leaves a bracket open",
    "9:44 ips.rules[2].threshold.window_secs: missing",
    '9:62 ips.rules[2].threshold.type: "Limit": did you mean "limit"?',
    "9:76 ips.rules[2].threshold.count: must be > 0",
    "9:7 ips.rules[2]: duplicate rule id: c (the first is ips.rules[1])",
    "12:25 firewall.rules[0].priority: must be > 0: 0 is the engine's own",
    "12:52 firewall.rules[0].dst_port: 443-80 ends before it begins",
    "10:1 firewall.mode: not given, which means alert: 1 rule that denies (x) would only be logged and nothing dropped; " +
    "mode: block drops",
  ]);
  assert.throws(() => load(text).simulate({ name: { hostname: "h", iface: "e" }, sources }), IbsrError);
});

Deno.test("load() says why rules that deny are alerts: firewall.mode is alert where it isn't given", () => {
  const policy = (mode: string) =>
    load(`agent: {interfaces: [eth0]}
firewall:
${mode}
  rules:
    - {id: a, priority: 1, action: deny, dst_port: 80}
    - {id: b, priority: 2, action: reject, dst_port: 81, enabled: false}
    - {id: c, priority: 3, action: allow, dst_port: 82}
`);
  const said = ({ findings }: Policy) => findings.filter(({ code }) => code === "alert_mode").map((f) => f.message);
  const effect = "1 rule that denies (a) would only be logged and nothing dropped; mode: block drops";
  assert.deepEqual(said(policy("")), [`firewall.mode: not given, which means alert: ${effect}`]);
  assert.deepEqual(said(policy("  mode: monitor")), [`firewall.mode: alert: ${effect}`]);
  assert.deepEqual(said(policy("  mode: block")), []);
  assert.deepEqual(said(policy("  enabled: false")), []);
  const modeOf = (text: string) => policy(text).rules.map(({ id, mode, title }) => `${id} ${mode}: ${title}`);
  assert.equal(modeOf("")[0], "a alert: deny, priority 1 (logged only: firewall.mode is alert)");
  assert.equal(modeOf("  mode: block")[0], "a enforce: deny, priority 1");
});

Deno.test("load() refuses options that the engine hasn't", () => {
  const text = example("seed_limits"), feeds = new Map([["other", FEED]]);
  for (const options of [{ profile: "as-shipped" }, { hostAddresses: ["nobody"] }, { feeds }]) {
    assert.throws(() => load(text, options), (error) => error instanceof IbsrError && error.kind === "usage");
  }
});

Deno.test("load() reads countries and feeds from files, and says what it passes over", () => {
  const countries = { path: "c.csv", text: "network,country\n198.51.100.0/24,RU\nnonsense,RU\n10.0.0.0/8,russia\n" };
  const policy = load(example("seed_limits"), { countries, feeds: new Map([["local", FEED]]) });
  assert.deepEqual(policy.findings.filter(({ code }) => code === "countries").map(({ place }) => place?.line), [3, 4]);
  assert.equal(policy.rules.find(({ id }) => id === "tier-1")?.coverage, "bounded");
  assert.equal(policy.rules.find(({ id }) => id === "local")?.coverage, "exact");
});

Deno.test("load() takes a byte order mark, CRLF and tabs where YAML does", () => {
  const crlf = `\ufeff${example("code_validator").replaceAll("\n", "\r\n")}`;
  assert.deepEqual(load(crlf).rules, load(example("code_validator")).rules);
  const [tab] = load("agent:\n\tinterfaces: [eth0]\n").findings;
  assert.deepEqual([tab?.severity, tab?.place?.line], ["error", 2]);
});

Deno.test("load() reads numbers at the ends of their range and refuses those beyond", () => {
  const ips = (ttl: string) => load(`agent: {interfaces: [e]}\nips: {max_blacklist_duration_secs: ${ttl}}\n`);
  assert.deepEqual(ips("18446744073709551615").findings, []);
  assert.match(ips("18446744073709551616").findings[0]!.message, /is not from 0 to 18446744073709551615/);
  assert.match(ips("9".repeat(5000)).findings[0]!.message, /^ips.max_blacklist_duration_secs: 9{40}… is not from/);
  assert.match(ips("1e3").findings[0]!.message, /expected a whole number, found 1000.0/);
});

Deno.test("load() and the simulation withstand a wrong value in every place", () => {
  const wrong = [
    "null",
    '""',
    "x",
    "-1",
    "1.5",
    ".inf",
    "1e400",
    "[]",
    "{}",
    "[[]]",
    "true",
    "99999999999999999999",
    "{a: {b: c}}",
    '"::/0"',
    "0",
    "[1, x, {}]",
  ];
  let refused = 0, loaded = 0;
  for (const { text } of EXAMPLES) {
    const lines = text.split("\n");
    for (const [i, line] of lines.entries()) {
      // Each value after a colon or in a list, one at a time.
      for (const match of line.matchAll(/(?<=: |\[|, |- )(?:"[^"]*"|[^\s,{}[\]"]+(?=[,}\]]|$))/g)) {
        for (const value of wrong) {
          const changed = line.slice(0, match.index) + value + line.slice(match.index + match[0].length);
          const policy = load([...lines.slice(0, i), changed, ...lines.slice(i + 1)].join("\n"), {
            countries: COUNTRY_FILE,
          });
          if (policy.findings.some(({ severity }) => severity === "error")) refused++;
          else if (loaded++ % 10 === 0) simulate(policy);
        }
      }
    }
  }
  assert(refused > 500 && loaded > 100, `${refused} refused, ${loaded} loaded`);
});

Deno.test("load() looks at a pattern without running or compiling it", () => {
  const rule = (pattern: string) =>
    load(
      `agent: {interfaces: [e]}\nips: {rules: [{id: r, severity: low, dst_port: 80, pattern: ${
        JSON.stringify(pattern)
      }}]}\n`,
    );
  for (
    const pattern of ["(a+)+$", "((((a{1,999}){1,999}){1,999}){1,999})", "[]a]", "[^]a]", "(?i)x\\)", "a{99999999}"]
  ) {
    assert.deepEqual(rule(pattern).findings.filter(({ severity }) => severity === "error"), [], pattern);
  }
  for (const pattern of ["(", ")", "[a", "a\\", "(".repeat(201) + ")".repeat(201)]) {
    assert(rule(pattern).findings.some(({ severity }) => severity === "error"), pattern);
  }
  assert.match(rule("a".repeat(10_001)).findings[0]!.message, /longer than 10000 characters/);
});

Deno.test("load() reads the most rules that the engine takes, and refuses a list that is longer than it may be", () => {
  const rules = Array.from({ length: 50_000 }, (_, i) => `    - {id: r${i}, severity: low, dst_port: ${i}}\n`).join("");
  const begin = performance.now(), policy = load(`agent: {interfaces: [e]}\nips:\n  mode: block\n  rules:\n${rules}`);
  assert.equal(policy.rules.length, 50_001);
  // Two seconds where nothing else runs.
  assert(performance.now() - begin < 60_000);
  const feed = "{id: x, name: x, url: https://lists.example.net/}";
  const { findings } = load(`agent: {interfaces: [e]}\nthreatintel: {feeds: [${Array(101).fill(feed).join(", ")}]}\n`);
  assert.match(findings[0]!.message, /^threatintel.feeds: 101 entries: at most 100 are allowed/);
});

Deno.test("the simulation says what it could not see or hold", () => {
  const ips =
    "{mode: block, blacklist_ttl: 3, auto_blacklist_threshold: 1, max_blacklist_size: 1, country_thresholds: {RU: 1}, " +
    "whitelist: [198.51.100.9], rules: [{id: a, severity: low, protocol: tcp, dst_port: 22}, {id: b, severity: low, protocol: tcp, dst_port: 5900}]}";
  const { findings } = simulate(load(`agent: {interfaces: [e]}\nips: ${ips}\n`, { countries: COUNTRY_FILE }));
  assert.deepEqual(
    new Set(findings),
    new Set([
      "low_resolution",
      "whitelist_inside_injected_subnet",
      "capacity_reached",
      "lockout_risk",
      "port_not_recorded",
    ]),
  );
});
