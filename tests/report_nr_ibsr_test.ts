/** The compatibility profile: the existing reporter's own golden files where they are there, and cases worked by hand. */
import assert from "node:assert/strict";
import { IbsrError } from "../src/errors.ts";
import { makeNrIbsrFiles, type NrIbsrOptions } from "../src/report/nr_ibsr.ts";
import { formatFixed, formatJsonFloat } from "../src/report/rust.ts";
import { decodeSnapshot, type Snapshot } from "../src/snapshot.ts";
import { goldenDirectory, testWith } from "./needs.ts";
import { NR_IBSR_DEFAULTS } from "./report/nr_ibsr.ts";

const OPTIONS: NrIbsrOptions = { ...NR_IBSR_DEFAULTS, allowlist: [], generatedAtSec: 7, min_samples_for_fp: 1 };

/** A cumulative line: source, port, syn, handshake_ack, packets, bytes. */
function line(ts: number, rows: [string, number | null, number, number, number, number][], more = {}): Snapshot {
  const buckets = rows.map(([src_ip, port, syn, handshake_ack, packets, bytes]) => ({
    ...{ key_type: "src_ip", src_ip, syn, ack: handshake_ack, handshake_ack, rst: 0, packets, bytes },
    ...(port === null ? {} : { dst_port: port }),
  }));
  return decodeSnapshot(JSON.stringify({
    ...{ version: 5, aggregation: "src_ip_dst_port", ts_unix_sec: ts, interval_sec: 60, run_id: 1 },
    ...{ counter_mode: "cumulative", base_ts_unix_sec: 0, dst_ports: [80], buckets, ...more },
  }));
}

async function evidenceOf(snapshots: Snapshot[], options = OPTIONS): Promise<string[]> {
  const { evidence } = await makeNrIbsrFiles(snapshots, options);
  return [...evidence()].slice(1).map((row) => row.trimEnd());
}

testWith("golden", "makeNrIbsrFiles() writes the existing reporter's golden files", async () => {
  const root = `${goldenDirectory()}/nr-ibsr`, read = (path: string) => Deno.readTextFileSync(`${root}/${path}`);
  const names = [...Deno.readDirSync(root)].filter((entry) => entry.isDirectory).map((entry) => entry.name);
  assert.equal(names.length, 5);
  for (const name of names) {
    const { dst_ports: _, ...config } = JSON.parse(read(`${name}/config.json`));
    const files = [...Deno.readDirSync(`${root}/${name}/snapshots`)].map((entry) => entry.name).sort();
    let allowlist: string[] = [];
    try {
      allowlist = read(`${name}/allowlist.txt`).split("\n").filter((text) => text && !text.startsWith("#"));
    } catch { /* it has none */ }
    const made = await makeNrIbsrFiles(
      files.flatMap((file) => read(`${name}/snapshots/${file}`).trim().split("\n")).map(decodeSnapshot),
      {
        ...NR_IBSR_DEFAULTS,
        ...config,
        allowlist,
        generatedAtSec: JSON.parse(read(`${name}/scenario.json`)).generated_at,
      },
    );
    const rules = read(`${name}/expected/rules.json`);
    assert.equal(made.rules, rules, name);
    assert.equal([...made.evidence()].join(""), read(`${name}/expected/evidence.csv`), name);
    // The golden reports embed rules of version 2, older than the rules.json beside them: nothing else differs.
    const report = read(`${name}/expected/report.md`).replace(
      /```json\n[^]*?\n```/,
      () => "```json\n" + rules.trimEnd() + "\n```",
    );
    assert.equal(made.report, report, name);
  }
});

Deno.test("formatFixed() rounds the exact binary value, ties to even, as Rust does", () => {
  const cases: readonly (readonly [number, number, string])[] = [
    ...[[0.25, 1, "0.2"], [0.125, 2, "0.12"], [1 / 32, 4, "0.0312"], [6.25, 1, "6.2"], [0.375, 2, "0.38"]] as const,
    ...[[0.35, 1, "0.3"], [0.45, 1, "0.5"], [2.5, 0, "2"], [3.5, 0, "4"], [
      1e21,
      1,
      "1000000000000000000000.0",
    ]] as const,
    ...[[-0.04, 1, "-0.0"], [0, 2, "0.00"], [5e-324, 3, "0.000"], [NaN, 1, "NaN"], [Infinity, 2, "inf"]] as const,
    ...[[1234.5678, 2, "1234.57"], [0.0009, 2, "0.00"], [99.95, 1, "100.0"], [
      2 ** 53,
      1,
      "9007199254740992.0",
    ]] as const,
  ];
  for (const [value, digits, text] of cases) assert.equal(formatFixed(value, digits), text, `${value}, ${digits}`);
  // Away from ties it agrees with toFixed(), which is exact as well.
  for (let i = 1; i < 2000; i++) assert.equal(formatFixed(i / 7, 3), (i / 7).toFixed(3));
});

Deno.test("formatJsonFloat() writes floats as serde_json does", () => {
  const cases: readonly (readonly [number, string])[] = [
    ...[[100, "100.0"], [0.1, "0.1"], [0, "0.0"], [-0, "-0.0"], [1e15, "1000000000000000.0"], [1e16, "1e16"]] as const,
    ...[[1.2e17, "1.2e17"], [0.00001, "0.00001"], [0.000001, "1e-6"], [1.5e-7, "1.5e-7"], [NaN, "null"]] as const,
    ...[[1234.5, "1234.5"], [-2.5, "-2.5"], [1.7976931348623157e308, "1.7976931348623157e308"], [
      0.05,
      "0.05",
    ]] as const,
  ];
  for (const [value, text] of cases) assert.equal(formatJsonFloat(value), text);
});

Deno.test("makeNrIbsrFiles() sorts evidence by address as a number and rules by address as a text", async () => {
  const rows = ["10.0.0.10", "10.0.0.2"].flatMap((ip) =>
    [443, 80].map((port) =>
      [ip, port, 60_000, 0, 60_000, 3_600_000] as [string, number, number, number, number, number]
    )
  );
  const made = await makeNrIbsrFiles([line(60, rows, { base_ts_unix_sec: 60 })], OPTIONS);
  assert.deepEqual([...made.evidence()].slice(1).map((row) => row.split(",")[0]), [
    "10.0.0.2:80",
    "10.0.0.2:443",
    "10.0.0.10:80",
    "10.0.0.10:443",
  ]);
  assert.deepEqual(
    JSON.parse(made.rules).triggers.map((t: { key_value: string; dst_port: number }) => [t.key_value, t.dst_port]),
    [["10.0.0.10", 80], ["10.0.0.10", 443], ["10.0.0.2", 80], ["10.0.0.2", 443]],
  );
});

Deno.test("makeNrIbsrFiles() counts first counters in full, then what was added, and nothing where a counter fell", async () => {
  const snapshots = [
    line(60, [["10.0.0.1", 80, 100, 10, 200, 9000]]),
    line(120, [["10.0.0.1", 80, 150, 20, 300, 9900], ["10.0.0.2", null, 7, 7, 30, 1000]]),
    line(180, [["10.0.0.1", 80, 40, 25, 310, 9901]]),
  ];
  assert.deepEqual(await evidenceOf(snapshots), [
    "10.0.0.1:80,,15.00,0.1667,allow,310,9901,150",
    "10.0.0.2,,0.70,1.0000,allow,30,1000,7",
  ]);
});

Deno.test("makeNrIbsrFiles() subtracts no run, host or interface from another, and no deltas", async () => {
  const row: [string, number, number, number, number, number] = ["10.0.0.1", 80, 100, 10, 200, 9000];
  const expected = ["10.0.0.1:80,,20.00,0.1000,allow,400,18000,200"];
  assert.deepEqual(await evidenceOf([line(60, [row]), line(120, [row], { run_id: 2 })]), expected);
  assert.deepEqual(
    await evidenceOf(["delta", "delta"].map((mode) => line(60, [row], { counter_mode: mode }))),
    expected,
  );
  const [a, b] = ["a", "b"].map((hostname) => ({ ...line(60, [row]), hostname, iface: "eth0" })) as [
    Snapshot,
    Snapshot,
  ];
  assert.deepEqual(await evidenceOf([a, b]), expected);
});

Deno.test("makeNrIbsrFiles() makes rules of intervals, evidence of sums, and leaves allowlisted sources in evidence", async () => {
  const flood = (times: number): [string, number, number, number, number, number] => [
    ...["10.0.0.1", 80] as const,
    ...[6000 * times, 0, 6000 * times, 360_000 * times] as const,
  ];
  const snapshots = [1, 2, 3].map((times) => line(60 * times, [flood(times)]));
  const made = await makeNrIbsrFiles(snapshots, { ...OPTIONS, syn_rate_threshold: 100.5 });
  assert.deepEqual(JSON.parse(made.rules).triggers, [], "100 a second in each interval");
  assert.match([...made.evidence()][1]!, /^10\.0\.0\.1:80,SYN_FLOOD_LIKE,1800\.00,0\.0000,block,/);
  assert.match((await makeNrIbsrFiles(snapshots, OPTIONS)).rules, /"syn_rate_threshold": 100\.0,/);
  for (const entry of ["10.0.0.1", "10.0.0.77/24", "0.0.0.0/0"]) {
    const allowed = await makeNrIbsrFiles(snapshots, { ...OPTIONS, allowlist: [entry, "fd00::/8"] });
    assert.deepEqual(JSON.parse(allowed.rules).triggers, [], entry);
    assert.match([...allowed.evidence()][1]!, /^10\.0\.0\.1:80,,1800\.00,0\.0000,allow,/, entry);
  }
  const masked = await makeNrIbsrFiles(snapshots, { ...OPTIONS, allowlist: ["10.0.0.77/24", "9.9.9.9", "9.9.9.9"] });
  assert.deepEqual(JSON.parse(masked.rules).exceptions, [
    { key_type: "src_ip", key_value: "9.9.9.9" },
    { key_type: "src_cidr", key_value: "10.0.0.0/24" },
  ]);
  assert.match(masked.report, /- \*\*Allowlist\*\*: 1 IPs, 1 CIDRs\n/);
  await assert.rejects(
    makeNrIbsrFiles(snapshots, { ...OPTIONS, allowlist: ["10.0.0.1/33"] }),
    (error) => error instanceof IbsrError && error.kind === "usage" && error.message.includes('"10.0.0.1/33"'),
  );
});

Deno.test("makeNrIbsrFiles() sums beyond 2^53 exactly and reads a volumetric source as one", async () => {
  const most = Number.MAX_SAFE_INTEGER;
  const rows = (add: number) =>
    [["10.0.0.1", 80, 5, 5, 20_000, add]] as [string, number, number, number, number, number][];
  const deltas = [most, most, 2].map((bytes, i) => line(60 * (i + 1), rows(bytes), { counter_mode: "delta" }));
  assert.deepEqual(await evidenceOf(deltas), [
    "10.0.0.1:80,VOLUMETRIC_TCP_ABUSE,1.50,1.0000,block,60000,18014398509481984,15",
  ]);
});

Deno.test("makeNrIbsrFiles() calls fewer than 10 SYN a flood only where they are nothing else", async () => {
  const classOf = async (syn: number, packets: number) => {
    const snapshots = [line(60, [["10.0.0.1", 80, syn, 0, packets, 1000 * packets]])];
    return (await evidenceOf(snapshots, { ...OPTIONS, syn_rate_threshold: 0.1 }))[0]!.split(",")[1];
  };
  assert.equal(await classOf(9, 20_000), "VOLUMETRIC_TCP_ABUSE");
  assert.equal(await classOf(10, 20_000), "SYN_FLOOD_LIKE");
  assert.equal(await classOf(9, 9), "SYN_FLOOD_LIKE");
  assert.equal(await classOf(0, 20_000), "VOLUMETRIC_TCP_ABUSE");
});

Deno.test("makeNrIbsrFiles() ends an episode at a cold interval of the same source, and makes one rule of the first", async () => {
  const deltas = [600, 6000, 9000, 10, 60_000].map((syn, i) =>
    line(60 * (i + 1), [["10.0.0.1", 80, syn, 0, syn, 60 * syn]], { counter_mode: "delta" })
  );
  const { report, rules } = await makeNrIbsrFiles(deltas, OPTIONS);
  assert.equal(JSON.parse(rules).triggers.length, 1);
  // 9000 SYN in 60 s; the later 60,000 belong to another episode.
  assert.match(report, /\n\| 10\.0\.0\.1:80 \| 150\.0\/sec \| 0\.00 \| 75610 \| 75610 \|\n/);
});

Deno.test("makeNrIbsrFiles() counts the IPv6 rows that the format has no place for, and refuses to report on nothing", async () => {
  const row: [string, number, number, number, number, number] = ["2001:db8::1", 80, 1, 1, 2, 100];
  const made = await makeNrIbsrFiles([line(60, [row, ["10.0.0.1", 80, 1, 1, 2, 100]])], OPTIONS);
  assert.equal(made.ipv6Buckets, 1);
  assert.equal([...made.evidence()].length, 2);
  await assert.rejects(makeNrIbsrFiles([], OPTIONS), /there is no snapshot/);
});
