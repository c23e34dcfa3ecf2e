/** Ironpost's policies: what its files become, what is said of them, and their simulation over whole streams. */
import assert from "node:assert/strict";
import type { Interval } from "../../../src/evidence/interval.ts";
import { type IronpostOptions, loadIronpost } from "../../../src/policy/ironpost/engine.ts";
import {
  alertLimiter,
  portScanDetector,
  synFloodDetector,
  thresholdCounter,
} from "../../../src/policy/ironpost/packets.ts";
import type { Policy, PolicyFile, Step } from "../../../src/policy/policy.ts";
import { createRandom, type Random } from "../../packets.ts";
import { makeInterval, makeSources, type Row } from "../../streams.ts";
import { LENGTHS_SEC, randomTrace, type TracePacket } from "./traces.ts";

const CONFIG: PolicyFile = { path: "ironpost.toml", text: "[ebpf]\nenabled = true\n" };
const ALL_PORTS = Array.from({ length: 65_535 }, (_, i) => i + 1);

function load(text: string, path = "rules.toml", options: IronpostOptions = {}): Policy {
  return loadIronpost([{ path, text }], options);
}

/** Findings as text: severity, code and place. */
function list(policy: Policy, severities: readonly string[] = ["error", "warning"]): string[] {
  return policy.findings.filter((f) => severities.includes(f.severity)).map((f) =>
    `${f.place ? `${f.place.path}:${f.place.line}:${f.place.column}: ` : ""}${f.severity}: ${f.message}`
  );
}

// -------------------------------------------------------------------------------------------------- files

Deno.test("ironpost.toml as documented loads without a complaint but those about the released daemon", () => {
  const policy = load(
    `
[general]
log_level = "info"
log_format = "json"
data_dir = "/var/lib/ironpost"
pid_file = "/var/run/ironpost.pid"
[ebpf]
enabled = true
interface = "eth0"
xdp_mode = "skb"
ring_buffer_size = 262144
[log_pipeline]
enabled = true
sources = ["syslog", "file"]
syslog_bind = "0.0.0.0:514"
watch_paths = ["/var/log/syslog", "/var/log/auth.log"]
batch_size = 1000
flush_interval_secs = 5
[log_pipeline.storage]
postgres_url = "postgresql://localhost:5432/ironpost"
redis_url = "redis://localhost:6379"
retention_days = 30
[container]
enabled = false
docker_socket = "/var/run/docker.sock"
poll_interval_secs = 10
policy_path = "/etc/ironpost/policies"
auto_isolate = false
[sbom]
enabled = false
scan_dirs = ["."]
vuln_db_path = "/var/lib/ironpost/vuln-db"
min_severity = "medium"
output_format = "cyclonedx"
`,
    "ironpost.toml",
  );
  assert.deepEqual(list(policy), [
    "warning: as shipped no alert of syn_flood and port_scan goes anywhere, and it names the source backwards",
  ]);
  assert.deepEqual(policy.rules.map((r) => [r.id, r.coverage, r.mode]), [
    ["syn_flood", "bounded", "alert"],
    ["port_scan", "bounded", "alert"],
    ["log_pipeline", "not observable", "alert"],
    ["container", "not observable", "off"],
    ["sbom", "not observable", "off"],
  ]);
  assert.equal(policy.resolutionMs, 2_000);
  assert.equal(policy.windowMs, 60_000);
});

Deno.test("ironpost.toml's wrong values, unknown keys and sections are told with their place", () => {
  const text = `[ebpf]
enabled = true
interface = ""
xdp_mode = "drv"
interfce = "eth1"
[[ebpf.rules]]
action = "drop"
[log_pipeline]
batch_size = 0
watch_paths = ["/etc/passwd", "/var/log/../x", "log"]
sources = ["kafka"]
[container]
poll_interval_secs = 0
[sbom]
enabled = "yes"
[web]
port = 80
`;
  assert.deepEqual(
    list(load(text, "ironpost.toml")).map((line) => line.replace(/^ironpost\.toml:/, "")),
    [
      "16:2: warning: web: unknown key",
      '5:1: warning: ebpf.interfce: unknown key: did you mean "interface"?',
      "3:13: error: ebpf.interface: empty",
      '4:12: error: ebpf.xdp_mode: "drv" is none of native, skb, hw',
      "9:14: error: log_pipeline.batch_size: 0 is not from 1 to 10000",
      '10:16: error: log_pipeline.watch_paths[0]: "/etc/passwd" is neither below /var/log nor /tmp',
      '10:31: error: log_pipeline.watch_paths[1]: "/var/log/../x" has ".." in it',
      '10:48: error: log_pipeline.watch_paths[2]: "log" is not absolute',
      '11:12: warning: log_pipeline.sources[0]: "kafka" is none of syslog, syslog_udp, syslog_tcp, file: skipped',
      "13:22: warning: container.poll_interval_secs: 0 is not from 1 to 3600 (the section is off)",
      '15:11: error: sbom.enabled: expected true or false, found "yes"',
      "6:8: warning: ebpf.rules: no rules are read from here: they are [[rules]] in a file of their own",
      "warning: as shipped no alert of syn_flood and port_scan goes anywhere, and it names the source backwards",
    ],
  );
});

Deno.test("ironpost.toml without ebpf.enabled turns every rule off, and says so", () => {
  const policy = loadIronpost([
    { path: "ironpost.toml", text: '[ebpf]\ninterface = "eth0"\n' },
    { path: "rules.toml", text: `[[rules]]\nid = "a"\nsrc_ip = "10.0.0.1"\naction = "block"\ndescription = "d"\n` },
  ]);
  assert.match(list(policy).join("\n"), /ebpf\.enabled is not true: the engine looks at no packet/);
  assert.deepEqual(policy.rules.filter((r) => r.mode !== "off").map((r) => r.id), ["log_pipeline"]);
  assert.match(policy.rules[0]!.reason!, /ebpf\.enabled is not true/);
});

Deno.test("a detection rule's condition decides whether counters can answer it", () => {
  const coverage = (conditions: string, threshold = "") => {
    const text = `id: r\ntitle: t\nseverity: High\ndetection:\n  conditions:\n${conditions}${threshold}`;
    const rule = load(text, "r.yml").rules.find((r) => r.id === "r");
    return rule && `${rule.coverage}: ${rule.reason}`;
  };
  const timing = "bounded: counters don't say when within an interval a packet came";
  const when = (field: string, operator: string, value: string) =>
    coverage(`    - {field: ${field}, operator: ${operator}, value: "${value}"}\n`);
  assert.equal(when("src_ip", "startswith", "10."), timing);
  assert.equal(when("dst_port", "equals", "22"), timing);
  assert.equal(when("dst_port", "regex", "^(22|443)$"), timing);
  assert.equal(when("event_type", "equals", "packet"), timing);
  assert.equal(when("source", "equals", "ebpf"), timing);
  assert.equal(when("protocol", "equals", "6"), timing);
  assert.match(when("protocol", "equals", "17")!, /^not observable: no TCP packet has protocol equals "17"/);
  assert.match(when("process", "equals", "sshd")!, /^not observable: reads log lines \(process\)/);
  assert.match(when("dst_ip", "equals", "10.0.0.1")!, /^not observable: asks for dst_ip/);
  assert.match(when("size", "equals", "60")!, /^not observable: asks for size/);
  assert.match(when("src_port", "equals", "53")!, /^not observable/);
  assert.match(when("user", "equals", "root")!, /^not observable: asks for user/);
  const threshold = (group: string) => `  threshold: {count: 5, timeframe_secs: 60, group_by: ${group}}\n`;
  const any = "    - {field: event_type, operator: equals, value: packet}\n";
  assert.equal(coverage(any, threshold("src_ip")), timing);
  assert.equal(coverage(any, threshold("dst_port")), timing);
  assert.match(coverage(any, threshold("dst_ip"))!, /^not observable: counts by dst_ip/);
});

Deno.test("detection rules of both grammars load, and what the engine's parser makes of them is said", () => {
  const documented = load(
    `id: ssh_brute_force
title: SSH
severity: high
detection:
  conditions:
    - field: src_ip
      operator: regex
      value: "^10\\\\."
      modifier: negate
  threshold:
    count: 5
    timeframe_secs: 60
    group_by: src_ip
tags: [attack.credential_access, T1110]
`,
    "ssh.yaml",
  );
  assert.deepEqual(list(documented, ["error", "note"]).filter((line) => line.includes("parser")), [
    'ssh.yaml:3:11: note: severity: the engine\'s parser wants "High" and skips the file',
    'ssh.yaml:10:3: note: detection.threshold: the engine\'s parser wants the group as "field" and skips the file',
    "ssh.yaml:9:17: note: detection.conditions[0].modifier: the engine's parser doesn't know this modifier and skips the file",
  ]);
  const parsed = load(
    `id: r
title: t
severity: High
detection:
  conditions:
    - {field: dst_port, value: "22", modifier: exact}
  threshold: {count: 5, timeframe_secs: 60, field: src_ip}
`,
    "r.yaml",
  );
  assert.deepEqual(list(parsed, ["error", "note"]).filter((line) => line.includes("parser")), []);
  const shippedExample = load(
    `id: r
title: t
severity: High
detection:
  conditions:
    - {field: source, value: ebpf, modifier: exact}
    - {field: protocol, value: TCP, modifier: exact}
  threshold: {count: 5, timeframe: 60, field: src_ip}
`,
    "r.yaml",
  );
  assert.match(list(shippedExample).join("\n"), /:6:30: warning: .*calls the source of every event "json"/);
  assert.match(list(shippedExample).join("\n"), /:7:32: warning: .*write 6 for TCP/);
  assert.match(list(shippedExample).join("\n"), /:8:36: warning: .*wants "timeframe_secs"/);
});

Deno.test("a detection rule's regular expression is refused where the engine refuses it, and is never slow", () => {
  const rule = (pattern: string) =>
    load(
      `id: r\ndetection:\n  conditions:\n    - {field: src_ip, operator: regex, value: ${JSON.stringify(pattern)}}\n`,
      "r.yml",
    );
  for (const bad of ["(a+)+", "((a*)b)*", "(", "(?=a)", "x".repeat(1001), "(\\d{1,3})*$"]) {
    assert.equal(rule(bad).findings.filter((f) => f.severity === "error").length, 1, bad);
  }
  const started = performance.now();
  for (const slow of ["^(1|1|1)*x", `${"\\d*".repeat(300)}x`, "(\\d|1)*(\\d|1)*(\\d|1)*x", "\\d{0,1000}\\d{0,1000}x"]) {
    const policy = rule(slow), sources = makeSources();
    if (policy.rules[0]!.coverage === "not observable") continue;
    const rows = Array.from(
      { length: 500 },
      (_, i) => ({ source: `111.111.11${i % 10}.1${i % 100}`, port: 22, syn: 1 }),
    );
    policy.simulate({ name: { hostname: "h", iface: "i" }, sources })
      .fold(makeInterval(sources, { beginMs: 0, endMs: 1000, rows }));
  }
  assert.ok(performance.now() - started < 10_000, `${performance.now() - started} ms`);
});

Deno.test("the same id in two detection rules: the first file's is taken", () => {
  const text = (port: number) =>
    `id: twice\ndetection:\n  conditions:\n    - {field: dst_port, operator: equals, value: "${port}"}\n`;
  const policy = loadIronpost([{ path: "a.yml", text: text(22) }, { path: "b.yml", text: text(23) }]);
  assert.equal(policy.rules.length, 1);
  assert.match(list(policy).join("\n"), /b\.yml:1:5: warning: rule twice: skipped: a\.yml has a rule of this id/);
});

Deno.test("a file that is none of Ironpost's, and a policy with an error, are not simulated", () => {
  const policy = load("a: 1\n", "x.yml");
  assert.match(list(policy).join("\n"), /x\.yml:1:1: error: no file of Ironpost/);
  assert.throws(
    () => policy.simulate({ name: { hostname: "h", iface: "i" }, sources: makeSources() }),
    /Cannot simulate: the policy has an error/,
  );
  assert.throws(() => load("", "x.yml", { profile: "code" }), /Cannot use profile "code"/);
});

Deno.test("a container policy is listed as not observable", () => {
  const policy = load(`[[policy]]\nname = "x"\nseverity_threshold = "high"\naction = "network_disconnect"\n`, "p.toml");
  assert.deepEqual(policy.rules.map((r) => [r.kind, r.coverage]), [["container_policy", "not observable"]]);
});

// --------------------------------------------------------------------------------------------- simulation

/** Packets of several sources; times are milliseconds since the stream began. */
interface SourcePacket extends TracePacket {
  source: string;
}

/** Intervals (i × length, (i + 1) × length] of packets, empty ones too. */
function cut(packets: readonly SourcePacket[], lengthMs: number, rest: Partial<Interval> = {}) {
  const sources = makeSources(), intervals: Interval[] = [];
  const groups = Map.groupBy(packets, (p) => Math.max(0, Math.ceil(p.timeMs / lengthMs) - 1));
  for (let i = 0; i <= Math.max(0, ...groups.keys()); i++) {
    const rows = new Map<string, Row & { packets: number; syn: number; ack: number }>();
    for (const { source, port, syn } of groups.get(i) ?? []) {
      const key = `${source} ${port}`, row = rows.get(key) ?? { source, port, packets: 0, syn: 0, ack: 0 };
      rows.set(key, row);
      row.packets++;
      row[syn ? "syn" : "ack"]++;
    }
    const at = { beginMs: i * lengthMs, endMs: (i + 1) * lengthMs };
    intervals.push(makeInterval(sources, { ...at, rows: [...rows.values()], ports: ALL_PORTS, ...rest }));
  }
  return { sources, intervals };
}

function simulate(policy: Policy, { sources, intervals }: ReturnType<typeof cut>) {
  const simulation = policy.simulate({ name: { hostname: "h", iface: "i" }, sources });
  const steps: Step[] = intervals.map((interval) => simulation.fold(interval));
  return { steps, findings: simulation.finish().findings };
}

/** Packets of three sources at once. */
function randomPackets(random: Random, options: { windowMs: number; packets: number; ports?: number }): SourcePacket[] {
  const sources = ["10.0.0.1", "10.0.0.2", "192.0.2.3"];
  return sources.flatMap((source) => randomTrace(random, options).map((packet) => ({ ...packet, source })))
    .sort((a, b) => a.timeMs - b.timeMs);
}

const BLOCK = `[[rules]]\nid = "a"\nsrc_ip = "10.0.0.2"\naction = "block"\ndescription = "d"\n`;

Deno.test("blocklist bounds hold what is dropped when the list is loaded and unloaded at any time, in 2000 random traces", () => {
  const widths = new Map<number, number>();
  for (let seed = 1; seed <= 2000; seed++) {
    const random = createRandom(seed), packets = randomPackets(random, { windowMs: 10_000, packets: 20 });
    const end = packets.at(-1)!.timeMs, fromMs = random.below(end + 1), untilMs = fromMs + random.below(end + 1);
    // In force from the packet after the load to the packet before the unload.
    const dropped = packets.filter((p) => p.source === "10.0.0.2" && p.timeMs > fromMs && p.timeMs <= untilMs).length;
    const policy = load(BLOCK, "rules.toml", { load: { fromMs, untilMs } });
    for (const lengthSec of LENGTHS_SEC) {
      const { steps } = simulate(policy, cut(packets, lengthSec * 1000));
      const effects = steps.flatMap((s) => s.effects);
      const lower = effects.reduce((n, e) => n + e.packets.lower, 0),
        upper = effects.reduce((n, e) => n + e.packets.upper, 0);
      assert.ok(
        lower <= dropped && dropped <= upper,
        `seed ${seed}, ${lengthSec} s: ${dropped}, not ${lower} to ${upper}`,
      );
      for (const { packets } of effects) {
        assert.ok(packets.lower <= packets.expected && packets.expected <= packets.upper);
      }
      widths.set(lengthSec, (widths.get(lengthSec) ?? 0) + upper - lower);
    }
  }
  const list = LENGTHS_SEC.map((s) => widths.get(s)!);
  assert.deepEqual(list, [...list].sort((a, b) => a - b));
  console.log(
    `blocklist: mean width ${LENGTHS_SEC.map((s, i) => `${s} s ${(list[i]! / 2000).toFixed(2)}`).join(", ")}`,
  );
});

Deno.test("a blocklist that is in force all the time is exact, and whoever isn't on it is never touched", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const packets = randomPackets(createRandom(seed), { windowMs: 10_000, packets: 60 });
    const count = cut(packets, 10_000), { steps } = simulate(load(BLOCK), count);
    let dropped = 0;
    for (const [i, step] of steps.entries()) {
      for (const effect of step.effects) {
        const { cells } = count.intervals[i]!;
        assert.equal(count.sources.text(cells.source[effect.cell]!), "10.0.0.2");
        assert.equal(effect.packets.lower, effect.packets.upper);
        assert.equal(effect.syn.lower, cells.syn[effect.cell]);
        assert.equal(effect.bytes.lower, cells.bytes[effect.cell]);
        dropped += effect.packets.lower;
      }
    }
    assert.equal(dropped, packets.filter((p) => p.source === "10.0.0.2").length);
    assert.deepEqual(steps.flatMap((s) => s.decisions).map((d) => [d.action, d.certain, d.untilMs.latest]), [
      ["block", true, Infinity],
    ]);
  }
});

Deno.test("a longer blocklist never blocks less", () => {
  const rule = (i: number) => `[[rules]]\nid = "r${i}"\nsrc_ip = "10.0.0.${i}"\naction = "block"\ndescription = "d"\n`;
  const packets = randomPackets(createRandom(7), { windowMs: 10_000, packets: 60 });
  const dropped = (text: string) =>
    simulate(load(text), cut(packets, 5_000)).steps.flatMap((s) => s.effects).reduce((n, e) => n + e.packets.lower, 0);
  assert.ok(dropped(rule(1)) < dropped(rule(1) + rule(2)));
  assert.equal(dropped(rule(1) + rule(2)), dropped(rule(1) + rule(2) + rule(3)));
});

Deno.test("detector decisions of a policy hold what the detectors alert over several sources, in 100 random streams", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = createRandom(seed);
    const packets = randomPackets(random, { windowMs: 10_000, packets: 240, ports: 30 });
    const floods = new Map<string, ReturnType<typeof synFloodDetector>>();
    const scans = new Map<string, ReturnType<typeof portScanDetector>>();
    const alerts = { syn_flood: 0, port_scan: 0 };
    for (const { source, timeMs, syn, port } of packets) {
      if (!floods.has(source)) floods.set(source, synFloodDetector({ windowMs: 10_000, minPackets: 100, ratio: 0.7 }));
      if (!scans.has(source)) scans.set(source, portScanDetector({ windowMs: 60_000, ports: 20 }));
      if (floods.get(source)!(timeMs, syn)) alerts.syn_flood++;
      if (scans.get(source)!(timeMs, port).first) alerts.port_scan++;
    }
    const policy = loadIronpost([CONFIG]);
    for (const lengthSec of LENGTHS_SEC) {
      const { steps } = simulate(policy, cut(packets, lengthSec * 1000)), decisions = steps.flatMap((s) => s.decisions);
      for (const [id, count] of Object.entries(alerts)) {
        const mine = decisions.filter((d) => policy.rules[d.rule]!.id === id);
        const least = mine.reduce((n, d) => n + d.measured.alerts_least!, 0);
        const most = mine.reduce((n, d) => n + d.measured.alerts_most!, 0);
        assert.ok(
          least <= count && count <= most,
          `seed ${seed}, ${lengthSec} s: ${id} ${count}, not ${least} to ${most}`,
        );
        assert.ok(mine.filter((d) => d.certain).length <= count);
      }
    }
  }
});

Deno.test("a detection rule's matches and deduplicated alerts over several sources are held, in 500 random streams", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = createRandom(seed), count = [1, 5, 20][seed % 3]!, group = ["src_ip", "dst_port", ""][seed % 4 % 3]!;
    const flushSec = [1, 5][seed % 2]!, withThreshold = seed % 5 !== 0;
    const packets = randomPackets(random, { windowMs: 11_000, packets: 2 * count, ports: 3 });
    const threshold = `  threshold: {count: ${count}, timeframe_secs: 10${group ? `, group_by: ${group}` : ""}}\n`;
    const policy = loadIronpost([
      { path: "ironpost.toml", text: `[ebpf]\nenabled = true\n[log_pipeline]\nflush_interval_secs = ${flushSec}\n` },
      {
        path: "r.yml",
        text: `id: r\ndetection:\n  conditions:\n    - {field: dst_port, operator: regex, value: "^[12]$"}\n` +
          (withThreshold ? threshold : ""),
      },
    ]);
    const counters = new Map<string, ReturnType<typeof thresholdCounter>>();
    const limit = alertLimiter({ dedupMs: 60_000, perMinute: 10 });
    let matches = 0, alerts = 0, flushedMs = 0;
    for (const { source, port, timeMs } of packets) {
      flushedMs = Math.max(flushedMs, timeMs + random.below(1000 * flushSec + 1));
      if (port > 2) continue;
      const key = group === "src_ip" ? source : group === "dst_port" ? String(port) : "";
      if (!counters.has(key)) counters.set(key, thresholdCounter({ windowMs: 11_000, count }));
      if (withThreshold && !counters.get(key)!(flushedMs)) continue;
      matches++;
      if (limit(flushedMs) === "alert") alerts++;
    }
    for (const lengthSec of LENGTHS_SEC) {
      const { findings } = simulate(policy, cut(packets, lengthSec * 1000));
      const message = findings.find((f) => f.rule === "r" && f.code === "alerts")!.message;
      const numbers = message.matchAll(/(\d+)(?:–(\d+))? (?:match|alert)/g);
      const ranges = [...numbers].map(([, least, most = least]) => ({
        least: Number(least),
        most: Number(most),
      }));
      for (const [i, count] of [matches, alerts].entries()) {
        const { least, most } = ranges[i]!;
        assert.ok(least <= count && count <= most, `seed ${seed}, ${lengthSec} s: ${count}: ${message}`);
      }
    }
  }
});

Deno.test("as shipped nothing is blocked and nothing alerts", () => {
  const files = [CONFIG, { path: "rules.toml", text: BLOCK }, {
    path: "r.yml",
    text: "id: r\ndetection:\n  conditions: []\n",
  }];
  const packets = randomPackets(createRandom(3), { windowMs: 10_000, packets: 500 });
  const shipped = simulate(loadIronpost(files, { profile: "as-shipped" }), cut(packets, 1000)).steps;
  assert.deepEqual(shipped.flatMap((s) => [...s.decisions, ...s.effects]), []);
  const documented = simulate(loadIronpost(files), cut(packets, 1000)).steps;
  assert.ok(documented.flatMap((s) => s.effects).length > 0);
  assert.equal(
    loadIronpost(files, { profile: "as-shipped" }).rules.every((r) => r.mode === "off" || r.kind === "log_pipeline"),
    true,
  );
});

Deno.test("packets that no counter holds take the certainty from SYN-flood alerts, and the end says why", () => {
  const packets = Array.from({ length: 300 }, (_, i) => ({ source: "10.0.0.1", timeMs: i, syn: true, port: 80 }));
  const policy = loadIronpost([CONFIG]), plain = simulate(policy, cut(packets, 1000));
  assert.deepEqual(plain.steps.flatMap((s) => s.decisions).map((d) => [policy.rules[d.rule]!.id, d.certain]), [
    ["syn_flood", true],
  ]);
  const elsewhere = { malformed: 0, not_tcp: 0, other_port: 5, later_fragment: 0, unknown_encapsulation: 0 };
  const partial = simulate(policy, cut(packets, 1000, { notCounted: elsewhere, ports: [80] }));
  assert.deepEqual(partial.steps.flatMap((s) => s.decisions).map((d) => d.certain), [false]);
  assert.match(partial.findings.map((f) => f.message).join("\n"), /TCP that no source's counters hold/);
  assert.match(partial.findings.map((f) => f.message).join("\n"), /port_scan is not observable: 1 port was counted/);
});

Deno.test("IPv6 sources are left alone, as the engine does, and counted", () => {
  const packets = Array.from({ length: 300 }, (_, i) => ({ source: "2001:db8::1", timeMs: i, syn: true, port: 80 }));
  const { steps, findings } = simulate(loadIronpost([CONFIG]), cut(packets, 1000));
  assert.deepEqual(steps.flatMap((s) => s.decisions), []);
  assert.match(findings.map((f) => f.message).join("\n"), /passed by the engine without a look: 300 IPv6 packets/);
});

Deno.test("a gap longer than half a window leaves what it cuts not evaluated", () => {
  const policy = loadIronpost([CONFIG]), sources = makeSources();
  const simulation = policy.simulate({ name: { hostname: "h", iface: "i" }, sources });
  const at = (beginMs: number) =>
    makeInterval(sources, {
      beginMs,
      endMs: beginMs + 1000,
      rows: [{ source: "10.0.0.1", port: 80, syn: 60 }],
      ports: ALL_PORTS,
    });
  assert.equal(simulation.fold(at(0)).notEvaluated, 0);
  const after = simulation.fold(at(7000));
  assert.equal(after.notEvaluated, 1); // the SYN-flood window; the port scan's is six times as long
  assert.deepEqual(after.decisions, []);
});
