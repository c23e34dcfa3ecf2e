import assert from "node:assert/strict";
import { Ajv2020 } from "ajv";
import { type Counters, noCounters, toDelta } from "../src/counters.ts";
import { IbsrError } from "../src/errors.ts";
import { decodeSnapshot, encodeSnapshot, type Line, readSnapshots } from "../src/snapshot.ts";
import schema from "../src/snapshot.schema.json" with { type: "json" };
import { createRandom } from "./packets.ts";
import { type Row, tableOf } from "./tables.ts";

const STREAM = {
  runId: 1_700_000_000_123,
  hostname: "edge-1",
  iface: "eth0",
  mode: "native" as const,
  mapSize: 100000,
};
const INTERVAL = { seq: 3, endMs: 1_700_000_010_456, lengthMs: 10_000.4 };
const decoder = new TextDecoder();
const validate = new Ajv2020().compile(schema);

function lineOf(v4: Row[], v6: Row[], stream = STREAM): string {
  const sum = noCounters();
  const delta = toDelta({
    takenAt: { monotonicMs: 0, wallMs: 0 },
    ports: [80, 443, 8000, 8001, 8002],
    totals: [],
    skipped: new Float64Array([1, 2, 3, 4, 5]),
    inserted: 100,
    entries: { known4: v4.length, known6: v6.length, syn4: 0, syn6: 0 },
    v4: tableOf(v4, 8),
    v6: tableOf(v6, 20),
  });
  Object.assign(delta.unattributed, sum); // rows without totals: not what this is about
  let line = "";
  for (const chunk of encodeSnapshot(stream, INTERVAL, delta)) line += decoder.decode(chunk); // the next overwrites it
  return line;
}

function counters(random: () => number): Counters {
  const size = () => random() % [10, 1000, 123457, 2 ** 31][random() % 4]!;
  const packets = size() + 1, syn_ack = random() % 3, data = random() % 5;
  return {
    ...{ packets, bytes: packets * 60 + random() * 4096, syn: syn_ack + size(), ack: syn_ack + size() },
    ...{ handshake_ack: size(), rst: size(), syn_ack, fin: size(), data },
  };
}

async function* chunksOf(text: string | Uint8Array, size = 1 << 20): AsyncGenerator<Uint8Array> {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
}

async function readAll(text: string | Uint8Array, size?: number): Promise<Line[]> {
  return await Array.fromAsync(readSnapshots(chunksOf(text, size), "f.jsonl"));
}

Deno.test("encodeSnapshot() writes what JSON.stringify() writes, for 3,000 random rows of each family", () => {
  const { word: random } = createRandom(21);
  const v4 = Array.from(
    { length: 3000 },
    (_, i): Row => [`${random() & 255}.${i >> 8}.${i & 255}.${random() & 255}`, 1 + random() % 65535, counters(random)],
  );
  const v6 = Array.from(
    { length: 3000 },
    (
      _,
      i,
    ): Row => [
      `fd${(i & 255).toString(16).padStart(2, "0")}::${(random() & 0xffff).toString(16)}:${i.toString(16)}`,
      80,
      counters(random),
    ],
  );
  const line = lineOf(v4, v6);
  assert.ok(line.endsWith("]}\n"));
  const value = JSON.parse(line);
  assert.equal(JSON.stringify(value) + "\n", line);
  assert.equal(value.buckets.length, 6000);
  const byKey = new Map([...v4, ...v6].map(([address, port, c]) => [`${address} ${port}`, c]));
  for (const { key_type, src_ip, dst_port, ...rest } of value.buckets) {
    assert.equal(key_type, "src_ip");
    assert.deepEqual(
      rest,
      Object.fromEntries(Object.keys(rest).map((n) => [n, byKey.get(`${src_ip} ${dst_port}`)![n as keyof Counters]])),
    );
  }
});

Deno.test("encodeSnapshot() has room for the longest of rows, in every row of a chunk", () => {
  const most = 2 ** 32 - 1;
  const longest = { ...noCounters(), packets: most, bytes: Number.MAX_SAFE_INTEGER };
  for (const name of Object.keys(longest) as (keyof Counters)[]) if (name !== "bytes") longest[name] = most;
  const address = (i: number) =>
    `fd11:1111:1111:1111:1111:1111:${(0x1000 + (i >> 12)).toString(16)}:${(0x1000 + (i & 0xfff)).toString(16)}`;
  const rows = Array.from({ length: 8000 }, (_, i): Row => [address(i), 65535, longest]);
  const line = lineOf([], rows);
  assert.equal(JSON.stringify(JSON.parse(line)) + "\n", line);
  assert.ok(line.length > 8000 * 260, `${line.length / 8000} bytes a row`);
});

Deno.test("encodeSnapshot() writes lines that the schema accepts, with hostile names as well", () => {
  const one = { ...noCounters(), packets: 1, bytes: 60, ack: 1, handshake_ack: 1 };
  const hostile = { ...STREAM, hostname: '</script>"\\\n\u0000\u2028', iface: "eth0;rm" };
  for (const line of [lineOf([], []), lineOf([["10.0.0.1", 80, one]], [["::1", 80, one]]), lineOf([], [], hostile)]) {
    assert.equal(line.split("\n").length, 2, "one line");
    assert.ok(validate(JSON.parse(line)), JSON.stringify(validate.errors));
  }
  assert.ok(!validate({ ...JSON.parse(lineOf([], [])), seq: -1 }), "the schema refuses what is wrong");
  assert.ok(!validate({ ...JSON.parse(lineOf([], [])), extra: 1 }));
});

Deno.test("encodeSnapshot() keeps the order of fields that older readers know", () => {
  const keys = Object.keys(JSON.parse(lineOf([], [])));
  const old = "version aggregation ts_unix_sec interval_sec run_id counter_mode base_ts_unix_sec dst_ports buckets"
    .split(" ");
  assert.deepEqual(keys.filter((k) => old.includes(k)), old);
  const one = { ...noCounters(), packets: 1, bytes: 60 };
  const bucket = Object.keys(JSON.parse(lineOf([["10.0.0.1", 80, one]], [])).buckets[0]);
  assert.deepEqual(
    bucket,
    "key_type src_ip dst_port syn ack handshake_ack rst packets bytes syn_ack fin data".split(" "),
  );
});

Deno.test("decodeSnapshot() reads what encodeSnapshot() wrote", () => {
  const { word: random } = createRandom(2), row: Row = ["192.0.2.7", 443, counters(random)];
  const snapshot = decodeSnapshot(lineOf([row], []));
  assert.equal(snapshot.version, 8);
  assert.equal(snapshot.ts_unix_sec, 1_700_000_010.456);
  assert.equal(snapshot.interval_sec, 10);
  assert.deepEqual(snapshot.dst_ports, [80, 443, "8000-8002"]);
  assert.deepEqual(snapshot.not_counted, {
    not_tcp: 1,
    other_port: 2,
    malformed: 3,
    later_fragment: 4,
    unknown_encapsulation: 5,
  });
  assert.deepEqual(snapshot.buckets, [{ key_type: "src_ip", src_ip: "192.0.2.7", dst_port: 443, ...row[2] }]);
});

const V3 =
  '{"version":3,"ts_unix_sec":1705312920,"dst_ports":[8899,8900],"buckets":[{"key_type":"src_ip","key_value":3232235777,"dst_port":8899,"syn":42,"ack":156,"handshake_ack":40,"rst":2,"packets":200,"bytes":45000}]}';
const V5 =
  '{"version":5,"aggregation":"src_ip_dst_port","ts_unix_sec":1060,"interval_sec":60,"run_id":1000,"counter_mode":"cumulative","base_ts_unix_sec":1000,"dst_ports":[80],"buckets":[{"key_type":"src_cidr24","src_ip":"10.0.0.0","syn":1,"ack":1,"handshake_ack":1,"rst":0,"packets":2,"bytes":120}]}';

Deno.test("decodeSnapshot() reads the versions from 3 to 7 of the existing IBSR", () => {
  const v3 = decodeSnapshot(V3);
  assert.deepEqual([v3.version, v3.counter_mode, v3.interval_sec, v3.run_id], [3, "cumulative", undefined, undefined]);
  assert.deepEqual(v3.buckets, [{
    key_type: "src_ip",
    src_ip: "192.168.1.1",
    dst_port: 8899,
    syn: 42,
    ack: 156,
    handshake_ack: 40,
    rst: 2,
    packets: 200,
    bytes: 45000,
  }]);
  const v4 = decodeSnapshot(
    V3.replace('"version":3,', '"version":4,"aggregation":"src_ip_dst_port",').replace(
      '"key_value":3232235777',
      '"src_ip":"192.168.1.1"',
    ),
  );
  assert.deepEqual(v4.buckets, v3.buckets);
  const v5 = decodeSnapshot(V5);
  assert.deepEqual([v5.interval_sec, v5.run_id, v5.base_ts_unix_sec], [60, 1000, 1000]);
  assert.equal(v5.buckets[0]!.dst_port, undefined);
  for (const version of [6, 7]) {
    const extended = V5.replace(
      '"version":5',
      `"version":${version},"resp_aggregates":{"count":1},"host":{"cpu_mean":0.5}`,
    );
    assert.deepEqual(decodeSnapshot(extended), { ...v5, version });
  }
});

Deno.test("decodeSnapshot() ignores keys it doesn't know, in lines and in buckets", () => {
  const extended = V5.replace('"dst_ports"', '"new":{"a":[1]},"dst_ports"').replace('"syn":1', '"later":"x","syn":1');
  assert.deepEqual(decodeSnapshot(extended), decodeSnapshot(V5));
});

Deno.test("decodeSnapshot() says what is wrong with a line", () => {
  const cases: [string, RegExp][] = [
    ["{", /^it is not JSON: /],
    ["[]", /^the line is \[\], not an object$/],
    ["null", /^the line is null, not an object$/],
    ['{"version":9}', /^version 9 is none of 3 to 8$/],
    ['{"version":"5"}', /^version is "5", not a whole number/],
    [V5.replace("1060", "1e99"), /^ts_unix_sec is 1e\+99, not a time in seconds$/],
    [V5.replace('"cumulative"', '"other"'), /^counter_mode is "other", not one of cumulative, delta$/],
    [V5.replace('"rst":0', '"rst":-1'), /^buckets\[0\]\.rst is -1, not a whole number/],
    [V5.replace('"rst":0', '"rst":0.5'), /^buckets\[0\]\.rst is 0\.5, not a whole number/],
    [
      V5.replace('"bytes":120', '"bytes":9007199254740993'),
      /^buckets\[0\]\.bytes is 9007199254740992, not a whole number/,
    ],
    [V5.replace("10.0.0.0", "10.0.0"), /^buckets\[0\]\.src_ip is "10\.0\.0", not an IP address$/],
    [V5.replace("[80]", "[65536]"), /^dst_ports\[0\] is 65536, not a port$/],
    [V5.replace("[80]", '["9-8"]'), /^dst_ports\[0\] is "9-8", not a port or a range of ports$/],
    [V5.replace('"syn":1,', ""), /^buckets\[0\]\.syn is missing, not a whole number/],
    [V3.replace("3232235777", "4294967296"), /^buckets\[0\]\.key_value is 4294967296/],
  ];
  for (const [line, message] of cases) {
    assert.throws(
      () => decodeSnapshot(line),
      (error) => error instanceof IbsrError && error.kind === "data" && message.test(error.message),
      line,
    );
  }
});

Deno.test("readSnapshots() gives the same lines however the bytes are cut", async () => {
  const text = `\ufeff${V5}\r\n\n  \n${V3}\nbroken\n${V5}`;
  const expected = await readAll(text);
  assert.deepEqual(expected.map((l) => [l.number, "snapshot" in l]), [[1, true], [4, true], [5, false], [6, true]]);
  for (const size of [1, 2, 3, 7, 64, 500]) {
    const got = await readAll(text, size);
    assert.deepEqual(
      got.map((l) => "snapshot" in l ? l : l.number),
      expected.map((l) => "snapshot" in l ? l : l.number),
      `chunks of ${size}`,
    );
  }
});

Deno.test("readSnapshots() names file and line of a bad line, and goes on behind it", async () => {
  const bytes = new Uint8Array([
    ...new TextEncoder().encode(`${V5}\n{"version":5,"aggreg\n`),
    0xff,
    0xfe,
    0x0a,
    ...new TextEncoder().encode(V5),
  ]);
  const lines = await readAll(bytes);
  assert.deepEqual(lines.map((l) => "error" in l ? l.error.message.replace(/: it is not JSON.*/, "") : l.number), [
    1,
    "Cannot read f.jsonl:2",
    "Cannot read f.jsonl:3",
    4,
  ]);
});

Deno.test("readSnapshots() reads a line cut at any byte as torn, and loses no other", async () => {
  const bytes = new TextEncoder().encode(`${V5}\n${V3}\n`);
  const first = V5.length + 1;
  for (let end = first; end <= bytes.length; end++) {
    const lines = await readAll(bytes.subarray(0, end));
    assert.ok("snapshot" in lines[0]!);
    if (end === first) assert.equal(lines.length, 1);
    else assert.equal("snapshot" in lines[1]!, end >= bytes.length - 1, `cut at ${end}`);
  }
});
