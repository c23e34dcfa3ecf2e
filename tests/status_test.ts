/**
 * `ibsr status`: what heartbeats, lock and names of a spool say together.
 */
import assert from "node:assert/strict";
import { decodeHeartbeat, encodeHeartbeat, type Heartbeat } from "../src/heartbeat.ts";
import { openSpool } from "../src/spool.ts";
import { formatStatus, isHealthy, measureCoverage, readStatus } from "../src/status.ts";
import { heartbeat, onInterface } from "./heartbeats.ts";

const T0 = 1_000_000, DAY = 86400, HOUR = 3600;

/** A run's heartbeats each hour: it counts all the time but for `gapSec` in each hour. */
function runOf(
  start: number,
  hours: number,
  { gapSec = 0, perHour = 100 }: { gapSec?: number; perHour?: number } = {},
): Heartbeat[] {
  return Array.from({ length: hours + 1 }, (_, i) =>
    heartbeat({
      run_id: start * 1000,
      timestamp: start + i * HOUR,
      uptime_sec: i * HOUR,
      cycle: i,
      packets: i * perHour,
      unattributed: i,
      interfaces: [onInterface({ covered_sec: i * (HOUR - gapSec), last_snapshot: start + i * HOUR })],
    }));
}

function coverageOf(beats: Heartbeat[], now: number, running = true) {
  return measureCoverage(beats, { now, running })!;
}

Deno.test("coverage of a collector that counts without a gap is 100 %, and of the last day only", () => {
  const coverage = coverageOf(runOf(T0, 48), T0 + 2 * DAY);
  assert.deepEqual(coverage.interfaces, [{ iface: "eth0", covered_sec: DAY, share: 1 }]);
  assert.equal(coverage.since, T0 + DAY);
  assert.equal(coverage.packets, 2400);
  assert.equal(coverage.unattributed, 24);
});

Deno.test("coverage lacks what intervals lack, and what lies between two runs", () => {
  const gaps = coverageOf(runOf(T0, 48, { gapSec: 360 }), T0 + 2 * DAY);
  assert.ok(Math.abs(gaps.interfaces[0]!.share - 0.9) < 1e-9);
  const two = coverageOf([...runOf(T0, 6), ...runOf(T0 + 12 * HOUR, 12)], T0 + DAY);
  assert.equal(two.interfaces[0]!.covered_sec, 18 * HOUR);
  assert.equal(two.interfaces[0]!.share, 0.75);
  assert.equal(two.packets, 1800);
});

Deno.test("coverage of a collector that died goes on falling, that of one that runs leaves out the interval in progress", () => {
  const beats = runOf(T0, 12);
  assert.equal(coverageOf(beats, T0 + DAY, false).interfaces[0]!.share, 0.5);
  const last = beats.at(-1)!;
  const unfinished = heartbeat({
    ...last,
    timestamp: last.timestamp + 8,
    interfaces: [onInterface({ covered_sec: 12 * HOUR, last_snapshot: last.timestamp })],
  });
  assert.equal(coverageOf([...beats, unfinished], last.timestamp + 9).interfaces[0]!.share, 1);
  const stuck = { ...unfinished, timestamp: last.timestamp + 12 * HOUR };
  assert.equal(
    coverageOf([...beats, stuck], last.timestamp + 12 * HOUR).interfaces[0]!.share,
    0.5,
    "it writes nothing",
  );
});

Deno.test("coverage since the first heartbeat, where older ones are gone", () => {
  const coverage = coverageOf(runOf(T0, 48).slice(40), T0 + 2 * DAY);
  assert.equal(coverage.since, T0 + 40 * HOUR);
  assert.equal(coverage.interfaces[0]!.share, 1);
  assert.equal(coverage.packets, 800);
  assert.equal(measureCoverage([], { now: T0, running: false }), undefined);
});

Deno.test("decodeHeartbeat() takes back what was encoded, and nothing for a line that is cut or another's", () => {
  const beat = heartbeat();
  const line = encodeHeartbeat(beat);
  assert.deepEqual(decodeHeartbeat(line), beat);
  for (let length = 0; length < line.length; length++) assert.equal(decodeHeartbeat(line.slice(0, length)), undefined);
  for (const other of ["null", "1", "[]", "{}", '{"timestamp":1,"cycle":1,"ips_collected":0,"snapshots_written":1}']) {
    assert.equal(decodeHeartbeat(other), undefined, other);
  }
});

Deno.test("readStatus() knows who holds the lock and leaves it alone, and reads both heartbeat files", async () => {
  const directory = await Deno.makeTempDir();
  const now = T0 + 12 * HOUR;
  {
    using spool = openSpool(directory, { at: now * 1000, rotate: "hourly" });
    const beats = runOf(T0, 12).map((beat) => ({ ...beat, pid: Deno.pid }));
    Deno.writeTextFileSync(
      `${directory}/status.jsonl.1`,
      beats.slice(0, 6).map((b) => encodeHeartbeat(b) + "\n").join(""),
    );
    for (const beat of beats.slice(6)) spool.appendStatus(encodeHeartbeat(beat));
    await spool.append([new TextEncoder().encode("{}\n")], { at: now * 1000 });
    const status = readStatus(directory, now);
    assert.equal(status.pid, Deno.pid);
    assert.deepEqual([status.segments.count, status.segments.open, status.segments.bytes], [1, 1, 3]);
    assert.equal(status.coverage!.interfaces[0]!.share, 1);
    assert.ok(isHealthy(status));
    assert.match(formatStatus(status, now), new RegExp(`^collector {2}running since .*process ${Deno.pid}$`, "m"));
    assert.match(formatStatus(status, now), /^eth0 +native, last snapshot 0 s ago, 100 % counted since/m);
    assert.match(
      formatStatus(readStatus(directory, now + 7), now + 7),
      /^counted {4}1,200 packets since \S+Z, as of 1970-01-13T01:46:40Z \(7 s ago\)$/m,
    );
    const late = readStatus(directory, now + 200);
    assert.ok(late.late && !isHealthy(late), "no heartbeat for more than two status intervals");
    await spool.seal();
  }
  const stopped = readStatus(directory, now + 60);
  assert.equal(stopped.pid, undefined);
  assert.ok(!isHealthy(stopped) && !stopped.late);
  assert.match(
    formatStatus(stopped, now + 60),
    /^collector {2}not running; its last heartbeat, 1 min ago, was no goodbye$/m,
  );
  await Deno.remove(directory, { recursive: true });
});

Deno.test("a collector that says that something fails, or has lost an interface, is not healthy", () => {
  const healthy = {
    directory: "",
    pid: 1,
    age_sec: 0,
    late: false,
    coverage: undefined,
    segments: { count: 0, open: 0, bytes: 0, oldest: undefined },
    free_bytes: 0,
  };
  assert.ok(isHealthy({ ...healthy, last: heartbeat() }));
  assert.ok(!isHealthy({ ...healthy, last: heartbeat({ failing: ["the disk is full"] }) }));
  assert.ok(!isHealthy({ ...healthy, last: heartbeat({ interfaces: [onInterface({ xdp_mode: null })] }) }));
  assert.ok(!isHealthy({ ...healthy, last: heartbeat(), late: true }));
  assert.ok(!isHealthy({ ...healthy, last: heartbeat(), pid: undefined }));
});

Deno.test("a share of time is never rounded up to 100 %", () => {
  const beats = runOf(T0, 24, { gapSec: 0.001 });
  const status = {
    ...{ directory: "/s", pid: 1, last: beats.at(-1), age_sec: 0, late: false, free_bytes: 2 ** 30 },
    coverage: coverageOf(beats, T0 + DAY),
    segments: { count: 2345, open: 1, bytes: 1500, oldest: T0 },
  };
  const text = formatStatus(status, T0 + DAY);
  assert.match(text, /99\.99 % counted/);
  assert.match(text, /^spool +\/s: 2,345 segments, 1\.46 KiB, the oldest of 1970-01-12T13:46:40Z$/m);
});

// ------------------------------------------------------------------------------- between two heartbeats

/** A line of a run's snapshots, `packets` of them counted, with buckets of so many bytes. */
function lineOf(
  { run_id = T0 * 1000, iface = "eth0", seq, at, packets = 0, bucketBytes = 0 }: {
    run_id?: number;
    iface?: string;
    seq: number;
    at: number;
    packets?: number;
    bucketBytes?: number;
  },
): string {
  const head = JSON.stringify({
    ...{ version: 8, ts_unix_sec: at, interval_sec: 10, run_id, seq, iface, totals: [{ dst_port: 80, packets }] },
    ...{ unattributed: { packets: 1 }, evicted: 2 },
  });
  return `${head.slice(0, -1)},"buckets":[${" ".repeat(bucketBytes)}]}\n`;
}

/** A spool whose collector began at T0, with its first heartbeat and these lines in the open segment. */
async function spoolOf(
  lines: readonly string[],
  interfaces = [onInterface({ seq: 0, covered_sec: 0, last_snapshot: null })],
) {
  const directory = await Deno.makeTempDir();
  const first = heartbeat({ timestamp: T0, cycle: 0, packets: 0, snapshots_written: 0, pid: Deno.pid, interfaces });
  const spool = openSpool(directory, { at: T0 * 1000, rotate: "hourly" });
  spool.appendStatus(encodeHeartbeat(first));
  for (const line of lines) await spool.append([new TextEncoder().encode(line)], { at: T0 * 1000 });
  return {
    directory,
    async [Symbol.asyncDispose]() {
      spool[Symbol.dispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("status says what was written since the last heartbeat", async () => {
  const lines = [0, 1, 2, 3, 4].map((seq) => lineOf({ seq, at: T0 + 10 * (seq + 1), packets: 1946 }));
  await using spool = await spoolOf(lines);
  const status = readStatus(spool.directory, T0 + 55), text = formatStatus(status, T0 + 55);
  assert.match(text, /^eth0 +native, last snapshot 5 s ago, 100 % counted since/m);
  assert.match(text, /^counted +9,730 packets since .*\(5 s ago\)$/m);
  assert.match(text, /^lost +the source of 5 packets/m);
  assert.deepEqual([status.age_sec, status.late, isHealthy(status)], [55, false, true]);
  assert.equal(readStatus(spool.directory, T0 + 200).late, true, "a heartbeat is late although lines are there");
});

Deno.test("status takes nothing from lines of another run, of before the heartbeat, or that are none", async () => {
  const before = [onInterface({ seq: 3, last_snapshot: T0 - 5, covered_sec: 30 })];
  const lines = [
    lineOf({ seq: 2, at: T0 + 9, packets: 7 }),
    lineOf({ run_id: 5, seq: 9, at: T0 + 9, packets: 7 }),
    "{}\n",
  ];
  await using spool = await spoolOf(lines, before);
  const { last, coverage } = readStatus(spool.directory, T0 + 10);
  assert.equal(last!.interfaces[0]!.last_snapshot, T0 - 5);
  assert.equal(coverage!.packets, 0);
});

Deno.test("status knows the last snapshot where its line is longer than what is read, and sums nothing then", async () => {
  const long = { at: T0 + 10, packets: 7, bucketBytes: 2 << 20 };
  await using spool = await spoolOf([lineOf({ seq: 0, ...long })]);
  const [{ path }] = [...Deno.readDirSync(spool.directory)].filter(({ name }) => name.startsWith("snapshot_"))
    .map(({ name }) => ({ path: `${spool.directory}/${name}` })) as [{ path: string }];
  Deno.utimeSync(path, T0 + 11, T0 + 11);
  const status = readStatus(spool.directory, T0 + 14);
  assert.match(formatStatus(status, T0 + 14), /^eth0 +native, last snapshot 3 s ago/m);
  assert.equal(status.coverage!.packets, 0);

  await using gap = await spoolOf([lineOf({ seq: 0, ...long }), lineOf({ seq: 1, at: T0 + 20, packets: 7 })]);
  const after = readStatus(gap.directory, T0 + 21);
  assert.equal(after.last!.interfaces[0]!.last_snapshot, T0 + 20);
  assert.equal(after.coverage!.packets, 0, "a sum without the long line would be wrong");
});
