/** What lines of every version say, and how a stream's are put together. */
import assert from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { COUNTER_NAMES, noCounters } from "../src/counters.ts";
import type { Evidence } from "../src/evidence/read.ts";
import { listInputs } from "../src/input.ts";
import { encoder, file, fileOf, line5, line8, type Row, syns } from "./evidence_lines.ts";
import { cellsOf, codesOf, ONE, read, storyOf } from "./evidences.ts";
import { createRandom } from "./packets.ts";

Deno.test("readEvidence() gives a line of version 8 as it stands", async () => {
  const rows: Row[] = [
    ["10.0.0.1", 80, syns(30)],
    ["10.0.0.1", 443, syns(6, { data: 7, fin: 2, syn_ack: 1, rst: 4 })],
    ["10.0.0.2", 80, syns(9, { bytes: 2 ** 50 })],
    ["2001:db8::1", 80, syns(1)],
  ];
  const unattributed = syns(12);
  using evidence = await read([file("a.jsonl", line8(0, 1010, rows, { unattributed, evicted: 4 }))]);
  const [stream] = evidence.streams, [interval] = [...stream!.intervals()];
  assert.deepEqual(stream!.name, { hostname: "web", iface: "eth0" });
  assert.deepEqual([stream!.runs, stream!.versions, stream!.modes], [1, [8], ["native"]]);
  const { cells, ...rest } = interval!;
  assert.deepEqual({ ...rest, ports: [...rest.ports] }, {
    ...{ beginMs: 1_000_000, endMs: 1_010_000, runId: 1000_000, first: true, mode: "native", ports: [80, 443] },
    total: rows.reduce((sum, [, , c]) => {
      for (const name of COUNTER_NAMES) sum[name] += c[name];
      return sum;
    }, noCounters()),
    ...{ unattributed, evicted: 4, wrapped: 0 },
    notCounted: { not_tcp: 1, other_port: 2, malformed: 3, later_fragment: 4, unknown_encapsulation: 5 },
  });
  for (const [i, [address, port, c]] of rows.entries()) {
    assert.equal(evidence.sources.text(cells.source[i]!), address);
    assert.deepEqual(
      [cells.port, cells.packets, cells.bytes, cells.syn, cells.ack, cells.handshakeAck].map((column) => column[i]),
      [port, c.packets, c.bytes, c.syn, c.ack, c.handshake_ack],
    );
    assert.deepEqual(
      [cells.rst, cells.synAck, cells.fin, cells.data].map((column) => column[i]),
      [c.rst, c.syn_ack, c.fin, c.data],
    );
  }
  assert.equal(cells.count, 4);
  assert.equal(evidence.sources.count, 3);
});

Deno.test("readEvidence() counts a source's first interval in full, from the run's start", async () => {
  using evidence = await read([file("a.jsonl", line5(1060, [["10.0.0.1", 80, syns(60000)]]))]);
  assert.deepEqual(storyOf(evidence), ["1000-1060: 10.0.0.1 80 60000 80000"]);
});

Deno.test("readEvidence() subtracts cumulative lines of a run, and starts a new key at 0", async () => {
  using evidence = await read([file(
    "a.jsonl",
    line5(1060, [["10.0.0.1", 80, syns(30)]]),
    line5(1120, [["10.0.0.1", 80, syns(90)], ["10.0.0.2", 80, syns(9)]]),
    line5(1180, [["10.0.0.2", 80, syns(12)]]),
    line5(1240, [["10.0.0.1", 80, syns(96)], ["10.0.0.2", 80, syns(12)]]),
  )]);
  assert.deepEqual(storyOf(evidence), [
    "1000-1060: 10.0.0.1 80 30 40",
    "1060-1120: 10.0.0.1 80 60 80, 10.0.0.2 80 9 12",
    "1120-1180: 10.0.0.2 80 3 4",
    "1180-1240: 10.0.0.1 80 96 128", // it was not there: its entry has been made anew
  ]);
  const [first, second] = [...evidence.streams[0]!.intervals()];
  assert.deepEqual([first!.first, second!.first], [true, false]);
  assert.equal(first!.notCounted, undefined, "that version doesn't say");
  assert.equal(second!.total.syn, 69);
});

Deno.test("readEvidence() derives packets with payload where a version doesn't record them", async () => {
  const counters = { ...noCounters(), packets: 100, syn: 10, rst: 5, ack: 80, handshake_ack: 25, bytes: 9000 };
  using evidence = await read([file("a.jsonl", line5(1060, [["10.0.0.1", 80, counters]]))]);
  const [interval] = [...evidence.streams[0]!.intervals()];
  assert.deepEqual([interval!.cells.data[0], interval!.total.data], [60, 60]);
});

Deno.test("readEvidence() subtracts no run from another, and says which interval is a run's first", async () => {
  using evidence = await read([file(
    "a.jsonl",
    line5(1060, [["10.0.0.1", 80, syns(30)]]),
    line5(2060, [["10.0.0.1", 80, syns(90)]], { run_id: 2000, base_ts_unix_sec: 2000 }), // larger than before: no delta
    line5(2120, [["10.0.0.1", 80, syns(96)]], { run_id: 2000, base_ts_unix_sec: 2000 }),
  )]);
  assert.deepEqual(storyOf(evidence), [
    "1000-1060: 10.0.0.1 80 30 40",
    "2000-2060: 10.0.0.1 80 90 120",
    "2060-2120: 10.0.0.1 80 6 8",
  ]);
  assert.deepEqual([...evidence.streams[0]!.intervals()].map((i) => i.first), [true, true, false]);
  assert.equal(evidence.streams[0]!.runs, 2);
});

Deno.test("readEvidence() takes a counter that fell for an entry made anew, and counts it", async () => {
  using evidence = await read([file(
    "a.jsonl",
    line5(1060, [["10.0.0.1", 80, syns(300)], ["10.0.0.2", 80, syns(30)]]),
    line5(1120, [["10.0.0.1", 80, syns(9)], ["10.0.0.2", 80, syns(60)]]),
  )]);
  assert.deepEqual(storyOf(evidence)[1], "1060-1120: 10.0.0.1 80 9 12, 10.0.0.2 80 30 40");
  assert.deepEqual([...evidence.streams[0]!.intervals()].map((i) => [i.evicted, i.wrapped]), [[0, 0], [1, 0]]);
});

Deno.test("readEvidence() measures the time between lines that are missing or late, whatever interval_sec says", async () => {
  const rows = (n: number): Row[] => [["10.0.0.1", 80, syns(n * 90)]];
  using evidence = await read([file(
    "a.jsonl",
    line5(1060, rows(60)),
    line5(1120, rows(120)),
    line5(1240, rows(240), { interval_sec: 60 }), // one is missing
    line5(1250, rows(250), { interval_sec: 0 }),
    line5(1311, rows(311), { interval_sec: 3600 }),
  )]);
  assert.deepEqual(
    evidence.streams[0]!.spans.map((span) => (span.endMs - span.beginMs) / 1000),
    [60, 60, 120, 10, 61],
  );
  for (const interval of evidence.streams[0]!.intervals()) {
    assert.equal(interval.total.syn / (interval.endMs - interval.beginMs), 0.09);
  }
});

Deno.test("readEvidence() gives a first line without a start its interval, and leaves one without either out", async () => {
  const at = (base: number, interval: number) => line5(1060, ONE, { base_ts_unix_sec: base, interval_sec: interval });
  const next = line5(1120, [["10.0.0.1", 80, syns(6)]]);
  using own = await read([file("a.jsonl", at(1060, 60), next)]);
  assert.deepEqual(storyOf(own), ["1000-1060: 10.0.0.1 80 3 4", "1060-1120: 10.0.0.1 80 3 4"]);
  using neither = await read([file("a.jsonl", at(2000, 0), next)]);
  assert.deepEqual(storyOf(neither), ["1060-1120: 10.0.0.1 80 3 4"]);
  assert.deepEqual(codesOf(neither), ["undated"]);
  assert.equal([...neither.streams[0]!.intervals()][0]!.first, true);
});

Deno.test("readEvidence() leaves lines that say `delta` as they are", async () => {
  const delta = { counter_mode: "delta" };
  using evidence = await read([file(
    "a.jsonl",
    line5(1060, ONE, delta),
    line5(1121, ONE, delta),
    line5(1300, ONE, delta), // lines are missing before it: it counted its own interval only
  )]);
  assert.deepEqual(storyOf(evidence), [
    "1000-1060: 10.0.0.1 80 3 4",
    "1060-1121: 10.0.0.1 80 3 4",
    "1240-1300: 10.0.0.1 80 3 4",
  ]);
});

Deno.test("readEvidence() names a bad line by file and number, and loses no other", async () => {
  const bad = [
    "{",
    line5(1120, ONE).slice(0, -9),
    line5(1120, ONE, { version: 9 }),
    line5(1120, ONE).replace('"rst":0', '"rst":-1'),
    "\ufffd".repeat(3),
  ];
  using evidence = await read([
    file("x/a.jsonl", line5(1060, ONE), ...bad, "", line5(1120, [["10.0.0.1", 80, syns(6)]])),
    fileOf(
      "x/b.jsonl",
      new Uint8Array([0xff, 0xfe, 0x0a, ...encoder.encode(line5(1180, [["10.0.0.1", 80, syns(9)]]))]),
    ),
  ]);
  assert.equal(evidence.badLineCount, 6);
  assert.deepEqual(evidence.badLines.map(({ path, line }) => `${path}:${line}`), [
    ...["x/a.jsonl:2", "x/a.jsonl:3", "x/a.jsonl:4", "x/a.jsonl:5", "x/a.jsonl:6"],
    "x/b.jsonl:1",
  ]);
  assert.equal(evidence.badLines[2]!.reason, "version 9 is none of 3 to 8");
  assert.equal(evidence.badLines[3]!.reason, "buckets[0].rst is -1, not a whole number from 0 to 2^53");
  assert.deepEqual([evidence.lines, evidence.files.map((f) => f.lines)], [9, [7, 2]]);
  assert.deepEqual(storyOf(evidence).length, 3);
});

Deno.test("readEvidence() reads a line with a field it doesn't know", async () => {
  const line = line5(1060, ONE).replace('"syn":3', '"new":{"a":[1]},"syn":3');
  using evidence = await read([file("a.jsonl", line)]);
  assert.deepEqual([evidence.badLineCount, storyOf(evidence)], [0, ["1000-1060: 10.0.0.1 80 3 4"]]);
});

Deno.test("readEvidence() lists the first 100 bad lines and counts them all", async () => {
  using evidence = await read([file("a.jsonl", ...Array<string>(1000).fill("x"), line5(1060, ONE))]);
  assert.deepEqual([evidence.badLines.length, evidence.badLineCount, evidence.lines], [100, 1000, 1001]);
});

Deno.test("readEvidence() takes the unfinished last line of an open segment for what it is", async () => {
  const bytes = encoder.encode(`${line8(0, 1010, ONE)}\n${line8(1, 1020, ONE).slice(0, 300)}`);
  using open = await read([fileOf("snapshot_2026112103.open.jsonl", bytes)]);
  assert.deepEqual([open.badLineCount, codesOf(open), open.streams[0]!.spans.length], [0, ["unfinished_line"], 1]);
  using sealed = await read([fileOf("snapshot_2026112103.jsonl", bytes)]);
  assert.deepEqual([sealed.badLineCount, codesOf(sealed)], [1, []]);
});

Deno.test("readEvidence() counts damage of a compressed file as a bad line, and keeps the lines before it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const random = createRandom(4).word;
    const rows = Array.from({ length: 9000 }, (_, i): Row => [`10.0.${i >> 8}.${i & 255}`, 80, syns(random() % 9999)]);
    const text = encoder.encode(`${line8(0, 1010, ONE)}\n${line8(1, 1020, rows)}\n`);
    for (
      const [name, bytes] of Object.entries({ "a.jsonl.gz": gzipSync(text), "a.jsonl.zst": zstdCompressSync(text) })
    ) {
      const path = `${folder}/${name}`;
      Deno.writeFileSync(path, bytes.subarray(0, bytes.length - 20_000));
      using evidence = await read(listInputs([path]));
      assert.deepEqual([evidence.badLineCount, evidence.streams[0]!.spans.length], [1, 1], name);
      assert.equal(evidence.badLines[0]!.line, 2, name);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readEvidence() counts a copied line once, also from a copy of its file in another form or folder", async () => {
  const lines = [0, 1, 2].map((seq) => line8(seq, 1010 + 10 * seq, ONE));
  const old = [1060, 1120].map((end) => line5(end, [["10.0.0.1", 80, syns(end - 1000)]]));
  using evidence = await read([
    ...[file("a.jsonl", ...lines), file("copy of a.jsonl", ...lines.toReversed()), file("b/a.jsonl", lines[1]!)],
    ...[file("old/a.jsonl", ...old), file("backup/a.jsonl", ...old), file("old/a.jsonl", old[1]!)],
  ]);
  assert.equal(evidence.duplicates, 7);
  assert.equal(evidence.lines, 12);
  assert.deepEqual(evidence.streams.map((stream) => stream.name.hostname), ["unknown", "web"]);
  assert.deepEqual(storyOf(evidence, 0), ["1000-1060: 10.0.0.1 80 60 80", "1060-1120: 10.0.0.1 80 60 80"]);
  assert.equal(storyOf(evidence, 1).length, 3);
});

Deno.test("readEvidence() keeps the first of two lines that contradict each other, and says so", async () => {
  using evidence = await read([
    file("a.jsonl", line8(0, 1010, ONE), line8(0, 1010, [["10.0.0.9", 80, syns(3)]])),
  ]);
  assert.deepEqual(storyOf(evidence), ["1000-1010: 10.0.0.1 80 3 4"]);
  assert.deepEqual(codesOf(evidence), ["conflicting_line"]);
  assert.deepEqual(evidence.findings[0]!.place, { path: "a.jsonl", line: 2, column: 1 });
});

Deno.test("readEvidence() attributes a /24 row to no source, and keeps it in the totals", async () => {
  const network = (syn: number, end: number) =>
    line5(end, [["10.0.0.0", 80, syns(syn)], ["10.0.0.0", 80, syns(3 * end)]]).replace("src_ip", "src_ip").replace(
      '"key_type":"src_ip"',
      '"key_type":"src_cidr24"',
    );
  using evidence = await read([file("a.jsonl", network(30, 1060), network(90, 1120))]);
  const [first, second] = [...evidence.streams[0]!.intervals()];
  assert.deepEqual([cellsOf(evidence, first!), cellsOf(evidence, second!)], [["10.0.0.0 80 3180 4240"], [
    "10.0.0.0 80 180 240",
  ]]);
  assert.deepEqual([second!.total.syn, second!.unattributed.syn], [240, 60]);
  assert.deepEqual(codesOf(evidence), ["network_rows"]);
});

Deno.test("readEvidence() recognizes a 32-bit counter that passed its end by the bytes, which have 64", async () => {
  const at = (end: number, packets: number, bytes: number) =>
    line5(end, [["10.0.0.1", 80, { ...noCounters(), packets, bytes }]]);
  const last = 2 ** 32 - 1000;
  using wrapped = await read([file("a.jsonl", at(1060, last, last * 60), at(1120, 59_000, (last + 60_000) * 60))]);
  const [, second] = [...wrapped.streams[0]!.intervals()];
  assert.deepEqual([second!.cells.packets[0], second!.cells.bytes[0]], [60_000, 3_600_000]);
  assert.deepEqual([second!.wrapped, second!.evicted], [1, 0]);
  // An entry made anew, which got more bytes than the old one had, but not for as many packets.
  using evicted = await read([file("a.jsonl", at(1060, 1000, 60_000), at(1120, 900, 1_200_000))]);
  const [, after] = [...evicted.streams[0]!.intervals()];
  assert.deepEqual([after!.cells.packets[0], after!.cells.bytes[0]], [900, 1_200_000]);
  assert.deepEqual([after!.wrapped, after!.evicted], [0, 1]);
});

Deno.test("readEvidence() gives the same for lines and files in any order", async () => {
  const lines = Array.from({ length: 12 }, (_, i) => line5(1060 + 60 * i, [["10.0.0.1", 80, syns(9 + 9 * i)]]));
  using ordered = await read([file("a.jsonl", ...lines)]);
  using mixed = await read([
    file("z.jsonl", lines[7]!, lines[2]!, lines[3]!, lines[11]!),
    file("b.jsonl", ...lines.filter((_, i) => ![7, 2, 3, 11].includes(i)).reverse()),
  ]);
  assert.deepEqual(storyOf(mixed), storyOf(ordered));
  assert.equal(storyOf(mixed).length, 12);
});

Deno.test("readEvidence() adds up rows of one key in a line, and sorts rows that are not", async () => {
  const rows: Row[] = [
    ["2001:db8::2", 80, syns(3)],
    ["10.0.0.2", 80, syns(3)],
    ["10.0.0.1", 443, syns(3)],
    ["10.0.0.1", 80, syns(6)],
    ["2001:db8::1", 80, syns(3)],
    ["10.0.0.1", 443, syns(30)],
  ];
  using evidence = await read([file("a.jsonl", line8(0, 1010, rows))]);
  assert.deepEqual(storyOf(evidence), [
    "1000-1010: 10.0.0.1 80 6 8, 10.0.0.1 443 33 44, 10.0.0.2 80 3 4, 2001:db8::1 80 3 4, 2001:db8::2 80 3 4",
  ]);
});

Deno.test("readEvidence() gives rows without a port the port 0", async () => {
  using evidence = await read([file("a.jsonl", line5(1060, ONE).replace('"dst_port":80,', ""))]);
  assert.deepEqual(storyOf(evidence), ["1000-1060: 10.0.0.1 0 3 4"]);
});

Deno.test("readEvidence() keeps hosts and interfaces apart, in the order of their names", async () => {
  using evidence = await read([file(
    "a.jsonl",
    line8(0, 1010, ONE, { hostname: "web-2" }),
    line8(0, 1010, ONE, { iface: "eth1" }),
    line8(0, 1010, ONE),
  )]);
  assert.deepEqual(evidence.streams.map(({ name }) => `${name.hostname} ${name.iface}`), [
    "web eth0",
    "web eth1",
    "web-2 eth0",
  ]);
  assert.deepEqual([evidence.duplicates, evidence.range], [0, { beginMs: 1_000_000, endMs: 1_010_000 }]);
});

Deno.test("readEvidence() counts no second twice where two collectors ran on one interface, and says so", async () => {
  const a = [0, 1, 2].map((seq) => line8(seq, 1010 + 10 * seq, ONE));
  const b = [0, 1, 2, 3].map((seq) => line8(seq, 1014 + 10 * seq, [["10.0.0.1", 80, syns(6)]], { run_id: 1004_000 }));
  using evidence = await read([file("a.jsonl", ...a), file("b.jsonl", ...b)]);
  assert.deepEqual(evidence.streams[0]!.spans.map((s) => [s.runId, s.endMs / 1000]), [
    [1000_000, 1010],
    [1000_000, 1020],
    [1000_000, 1030],
    [1004_000, 1044],
  ]);
  assert.deepEqual(codesOf(evidence), ["overlap"]);
  assert.match(evidence.findings[0]!.message, /^web, eth0: 3 snapshots left out/);
});

Deno.test("readEvidence() takes runs of one time in different folders for different hosts where none is named", async () => {
  const a = [1060, 1120].map((end) => line5(end, [["10.0.0.1", 80, syns(end - 1000)]]));
  const b = [1061, 1121].map((end) =>
    line5(end, [["10.0.0.1", 80, syns(3 * end)]], { run_id: 1001, base_ts_unix_sec: 1001 })
  );
  using evidence = await read([
    file("fleet/web-1/ibsr-20260101-000000Z/snapshot_2026010100.jsonl", ...a),
    file("fleet/web-2/ibsr-20260101-000001Z/snapshot_2026010100.jsonl", ...b),
  ]);
  assert.deepEqual(evidence.streams.map((s) => s.name.hostname), ["unknown (web-1)", "unknown (web-2)"]);
  assert.deepEqual(storyOf(evidence, 0), ["1000-1060: 10.0.0.1 80 60 80", "1060-1120: 10.0.0.1 80 60 80"]);
  assert.deepEqual(storyOf(evidence, 1), ["1001-1061: 10.0.0.1 80 3183 4244", "1061-1121: 10.0.0.1 80 180 240"]);
  assert.deepEqual(codesOf(evidence), ["hosts_by_folder"]);
  // Two that started in the same second have the same run.
  using same = await read([
    file("web-1/a.jsonl", ...a),
    file("web-2/a.jsonl", ...b.map((l) => l.replace('"run_id":1001', '"run_id":1000'))),
  ]);
  assert.deepEqual(storyOf(same, 0), storyOf(evidence, 0));
  assert.deepEqual(storyOf(same, 1), storyOf(evidence, 1));
  const third = a.map((line) => line.replace('"syn":', '"syn":1')); // and snapshots of the same second
  using twins = await read([file("web-1/a.jsonl", ...a), file("web-2/a.jsonl", ...third)]);
  assert.deepEqual(storyOf(twins, 0), storyOf(evidence, 0));
  assert.deepEqual(storyOf(twins, 1), ["1000-1060: 10.0.0.1 80 160 80", "1060-1120: 10.0.0.1 80 960 80"]);
  assert.deepEqual(codesOf(twins), ["hosts_by_folder"]);
  // One after the other they may be one host's.
  using one = await read([
    file("x/ibsr-20260101-000000Z/a.jsonl", ...a),
    file("y/ibsr-20260101-001000Z/a.jsonl", line5(2060, ONE, { run_id: 2000, base_ts_unix_sec: 2000 })),
  ]);
  assert.deepEqual(one.streams.map((s) => [s.name.hostname, s.runs]), [["unknown", 2]]);
});

Deno.test("readEvidence() drops the fewest snapshots whose times contradict the others', and says so", async () => {
  const at = (ends: number[]) => file("a.jsonl", ...ends.map((end, seq) => line8(seq, end, ONE)));
  const endsOf = (evidence: Evidence) => evidence.streams[0]!.spans.map((span) => span.endMs / 1000);
  using ahead = await read([at([1010, 1020, 9_999_999, 1040, 1050])]);
  assert.deepEqual([endsOf(ahead), codesOf(ahead)], [[1010, 1020, 1040, 1050], ["clock_step"]]);
  using back = await read([at([5010, 5020, 1030, 1040, 1050, 1060])]);
  assert.deepEqual([endsOf(back), codesOf(back)], [[1030, 1040, 1050, 1060], ["clock_step"]]);
  using little = await read([at([1010, 1020, 1027, 1037])]);
  assert.deepEqual(little.streams[0]!.spans.map((s) => s.endMs - s.beginMs), [10_000, 10_000, 7000, 10_000]);
  assert.deepEqual(codesOf(little), ["clock_step"]);
});

Deno.test("readEvidence() subtracts lines of version 8 that say `cumulative`, over those that are missing", async () => {
  const at = (seq: number, end: number, syn: number) =>
    line8(seq, end, [["10.0.0.1", 80, syns(syn)]], { counter_mode: "cumulative", interval_sec: 9 });
  using evidence = await read([file("a.jsonl", at(0, 1010, 9), at(1, 1020, 30), at(3, 1040, 90))]);
  assert.deepEqual(storyOf(evidence), [
    "1000-1010: 10.0.0.1 80 9 12",
    "1011-1020: 10.0.0.1 80 21 28",
    "1020-1040: 10.0.0.1 80 60 80",
  ]);
});

Deno.test("readEvidence() reads versions 3 and 4, whose lines name neither run nor interval", async () => {
  const line3 = (end: number, syn: number) =>
    `{"version":3,"ts_unix_sec":${end},"dst_ports":[80],"buckets":[{"key_type":"src_ip","key_value":167772161,` +
    `"dst_port":80,"syn":${syn},"ack":0,"handshake_ack":0,"rst":0,"packets":${syn},"bytes":${60 * syn}}]}`;
  const line4 = (end: number, syn: number) =>
    line3(end, syn).replace('"version":3', '"version":4,"aggregation":"src_ip_dst_port"').replace(
      '"key_value":167772161',
      '"src_ip":"10.0.0.1"',
    );
  for (const line of [line3, line4]) {
    using evidence = await read([file("a.jsonl", line(1060, 50), line(1120, 80), line(1240, 100), line(1300, 7))]);
    assert.deepEqual(storyOf(evidence), [
      "1060-1120: 10.0.0.1 80 30 30", // since when the line before it counted nobody knows
      "1120-1240: 10.0.0.1 80 20 20",
      "1240-1300: 10.0.0.1 80 7 7", // all counters fell: another run
    ]);
    assert.deepEqual([...evidence.streams[0]!.intervals()].map((i) => i.first), [true, false, true]);
    assert.deepEqual(codesOf(evidence), ["undated"]);
    using apart = await read([
      file("a/a.jsonl", line(1060, 50), line(1120, 80)),
      file("b/a.jsonl", line(1061, 5), line(1121, 95)),
    ]);
    assert.deepEqual([storyOf(apart, 0), storyOf(apart, 1)], [["1060-1120: 10.0.0.1 80 30 30"], [
      "1061-1121: 10.0.0.1 80 90 90",
    ]]);
  }
});
