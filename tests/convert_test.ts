import assert from "node:assert/strict";
import { createConverter, streamOf } from "../src/convert.ts";
import { type Bucket, decodeSnapshot, type Snapshot } from "../src/snapshot.ts";

const NONE = { syn: 0, ack: 0, handshake_ack: 0, rst: 0, packets: 0, bytes: 0, syn_ack: 0, fin: 0, data: 0 };

function snapshotOf(seq: number, buckets: Partial<Bucket>[]): Snapshot {
  return {
    version: 8,
    aggregation: "src_ip_dst_port",
    ts_unix_sec: 1_700_000_000.25 + 10 * (seq + 1),
    interval_sec: 10.004,
    run_id: 1_700_000_000_250,
    seq,
    counter_mode: "delta",
    base_ts_unix_sec: 1_700_000_000.25,
    dst_ports: [80, "8000-8002"],
    hostname: "edge 1",
    iface: "eth0",
    buckets: buckets.map((b) => ({ key_type: "src_ip", src_ip: "10.0.0.1", dst_port: 80, ...NONE, ...b })),
  };
}

Deno.test("convert() writes cumulative lines of version 5 that carry every entry on", () => {
  const { convert, leftOut } = createConverter();
  convert(
    snapshotOf(0, [{ src_ip: "10.0.0.10", syn: 5, packets: 5, bytes: 300 }, {
      src_ip: "10.0.0.2",
      packets: 1,
      bytes: 60,
    }]),
  );
  const line = convert(snapshotOf(1, [{ src_ip: "10.0.0.10", syn: 1, packets: 2, bytes: 120 }]));
  assert.equal(
    line,
    '{"version":5,"aggregation":"src_ip_dst_port","ts_unix_sec":1700000020,"interval_sec":10,"run_id":1700000000,' +
      '"counter_mode":"cumulative","base_ts_unix_sec":1700000000,"dst_ports":[80,8000,8001,8002],"buckets":[' +
      '{"key_type":"src_ip","src_ip":"10.0.0.2","dst_port":80,"syn":0,"ack":0,"handshake_ack":0,"rst":0,"packets":1,"bytes":60},' +
      '{"key_type":"src_ip","src_ip":"10.0.0.10","dst_port":80,"syn":6,"ack":0,"handshake_ack":0,"rst":0,"packets":7,"bytes":420}]}',
  );
  assert.deepEqual(leftOut, { ipv6Buckets: 0, saturated: 0 });
  assert.equal(decodeSnapshot(line).version, 5);
});

Deno.test("convert() counts what version 5 has no place for", () => {
  const { convert, leftOut } = createConverter();
  const line = convert(snapshotOf(0, [{ src_ip: "fd00::1", packets: 3 }, { packets: 2 ** 33, bytes: 2 ** 40 }]));
  assert.deepEqual(leftOut, { ipv6Buckets: 1, saturated: 1 });
  assert.deepEqual(JSON.parse(line).buckets.map((b: Bucket) => [b.src_ip, b.packets, b.bytes]), [[
    "10.0.0.1",
    2 ** 32 - 1,
    2 ** 40,
  ]]);
});

Deno.test("streamOf() names a host, interface and run in characters that any file system takes", () => {
  assert.equal(streamOf(snapshotOf(0, [])), "edge_1-eth0-1700000000250");
  assert.equal(streamOf({ ...snapshotOf(0, []), hostname: "../../x", iface: "a/b" }), "__.._x-a_b-1700000000250");
});
