/**
 * The loaded program by itself, without an interface: what it counts, and that reading loses nothing.
 */
import assert from "node:assert/strict";
import { COUNTER_NAMES, countersAt, type Delta, noCounters, toDelta, wordsOf } from "../../src/counters.ts";
import { COUNTERS } from "../../src/layout.ts";
import { readObjects } from "../../src/objects.ts";
import { openProgram } from "../../src/xdp.ts";
import { testWith } from "../needs.ts";
import type { Work } from "./hammer.ts";

/** Ethernet, IPv4 from 10.0.0.1, TCP to `port` with `flags`, no payload. */
function frameOf(port: number, flags: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([
    ...[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
    ...[0x9c, 0x40, port >> 8, port & 255, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 255, 255, 0, 0, 0, 0],
  ]);
}

/** Packets in the rows, in the totals, and unattributed. */
function packetsOf(delta: Delta): { rows: number; totals: number; unattributed: number } {
  let rows = 0;
  for (const table of [delta.v4, delta.v6]) {
    const words = wordsOf(table);
    for (const row of table.order) rows += countersAt(words, row * COUNTERS.sizeof / 4).packets;
  }
  return { rows, totals: delta.totals.reduce((s, t) => s + t.packets, 0), unattributed: delta.unattributed.packets };
}

/** Runs the work on two CPUs, reading every 20 ms meanwhile; what all reads together counted. */
async function hammer(works: Omit<Work, "fd">[]) {
  using program = openProgram(await readObjects(), { mapSize: 200_000, ports: [80] });
  const sum = { rows: 0, totals: 0, unattributed: 0, bytes: 0, reads: 0, torn: 0 };
  const read = async () => {
    const delta = toDelta(await program.read()), packets = packetsOf(delta);
    for (const name of ["rows", "totals", "unattributed"] as const) sum[name] += packets[name];
    sum.bytes += delta.totals.reduce((s, t) => s + t.bytes, 0);

    const words = wordsOf(delta.v4);
    for (const row of delta.v4.order) {
      const c = countersAt(words, row * COUNTERS.sizeof / 4);
      if (c.bytes !== 54 * c.packets) sum.torn++;
    }
    sum.reads++;
  };
  let sent = 0, running = works.length;
  const workers = works.map((work) => {
    const worker = new Worker(new URL("hammer.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      sent += data;
      running--;
      worker.terminate();
    };
    worker.postMessage({ ...work, fd: program.fd });
    return worker;
  });
  assert.ok(workers.length > 0);
  while (running > 0) {
    await read();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await read();
  return { sent, ...sum };
}

/**
 * Totals are exact; rows miss at most one packet in a million (the kernel may refuse to make an entry while another
 * CPU changes its bucket), and what they miss is in `unattributed`.
 */
function assertComplete(done: Awaited<ReturnType<typeof hammer>>, sent: number): void {
  console.log(done);
  assert.equal(done.sent, sent);
  assert.equal(done.totals, sent);
  assert.equal(done.rows + done.unattributed, sent);
  assert.ok(done.unattributed >= 0 && done.unattributed <= sent / 1e6);
  assert.equal(done.torn, 0);
  assert.ok(done.reads > 3);
}

testWith(
  "kernel",
  "read() loses and tears nothing while two CPUs count 10,000,000 packets of the same source",
  async () => {
    const frame = frameOf(80, 0x10);
    assertComplete(
      await hammer([0, 1].map((cpu) => ({ cpu, frame, sources: 1, calls: 50, repeat: 100_000 }))),
      10_000_000,
    );
  },
);

testWith(
  "kernel",
  "read() loses and tears nothing while two CPUs count 20,000,000 packets of 1,000 sources",
  async () => {
    const work = { sources: 1000, calls: 10_000_000, repeat: 1 };
    const works = [0x10, 2].map((flags, cpu) => ({ cpu, frame: frameOf(80, flags), ...work }));
    assertComplete(await hammer(works), 20_000_000);
  },
);

testWith("kernel", "read() takes SYNs of a source together with what it sent later", async () => {
  using program = openProgram(await readObjects(), { mapSize: 1000, ports: [80, 443] });
  for (const flags of [2, 2, 0x10, 2, 0x18, 0x11]) program.run(frameOf(80, flags));
  program.run(frameOf(443, 2));
  program.run(frameOf(22, 2));
  const { v4, totals, entries, evicted, unattributed, notCounted } = toDelta(await program.read());
  assert.equal(v4.order.length, 2);
  const row = countersAt(wordsOf(v4), v4.order[0]! * COUNTERS.sizeof / 4);
  assert.deepEqual(row, { ...noCounters(), packets: 6, bytes: 324, syn: 3, ack: 3, handshake_ack: 3, fin: 1 });
  assert.deepEqual(totals.map((t) => [t.port, t.packets]), [[80, 6], [443, 1]]);
  assert.deepEqual(entries, { known4: 1, known6: 0, syn4: 2, syn6: 0 });
  assert.equal(evicted, 0);
  for (const name of COUNTER_NAMES) assert.equal(unattributed[name], 0);
  assert.equal(notCounted.other_port, 1);
  assert.deepEqual(packetsOf(toDelta(await program.read())), { rows: 0, totals: 0, unattributed: 0 });
});

testWith(
  "kernel",
  "setPorts() takes effect with the next read, and counts what came before under the old ports",
  async () => {
    using program = openProgram(await readObjects(), { mapSize: 1000, ports: [80], slots: 4 });
    program.run(frameOf(80, 2));
    program.run(frameOf(443, 2));
    program.setPorts([443]);
    program.run(frameOf(443, 2));
    const before = toDelta(await program.read());
    assert.deepEqual([before.ports, before.totals.map((t) => [t.port, t.packets]), before.notCounted.other_port], [
      [80],
      [[80, 1]],
      2,
    ]);
    program.run(frameOf(443, 2));
    program.run(frameOf(80, 2));
    const after = toDelta(await program.read());
    assert.deepEqual([after.ports, after.totals.map((t) => [t.port, t.packets]), after.notCounted.other_port], [[443], [
      [443, 1],
    ], 1]);
    assert.throws(() => program.setPorts([1, 2, 3, 4, 5]), /4 fit without a restart/);
  },
);

testWith("kernel", "a program counts all 65,535 ports when asked to", async () => {
  const ports = Array.from({ length: 65535 }, (_, i) => i + 1);
  using program = openProgram(await readObjects(), { mapSize: 100_000, ports });
  for (const port of ports) program.run(frameOf(port, 2));
  const delta = toDelta(await program.read());
  assert.equal(delta.totals.length, 65535);
  assert.ok(delta.totals.every((t, i) => t.port === i + 1 && t.packets === 1));
  assert.equal(packetsOf(delta).rows, 65535);
});
