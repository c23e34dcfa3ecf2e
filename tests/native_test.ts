import assert from "node:assert/strict";
import { createPrefixSet, parseAllowlist } from "../src/allowlist.ts";
import { type NativeOptions, nativePolicy } from "../src/policy/native.ts";
import type { Interval } from "../src/evidence/interval.ts";
import type { Decision, Effect } from "../src/policy/policy.ts";
import { DEFAULT_THRESHOLDS } from "../src/policy/thresholds.ts";
import { formatPrefix, parsePrefix } from "../src/prefix.ts";
import { parseAddress } from "../src/address.ts";
import { droppedExactly } from "./exact_engine.ts";
import { createRandom } from "./packets.ts";
import { countPackets, makeInterval, makeSources, type Packet, type Row } from "./streams.ts";

const OPTIONS: NativeOptions = { ...DEFAULT_THRESHOLDS, allowlist: createPrefixSet([]) };

/** What a policy does with intervals: each step copied. */
function simulate(options: NativeOptions, intervals: readonly Interval[], sources: ReturnType<typeof makeSources>) {
  const simulation = nativePolicy(options).simulate({ name: { hostname: "h", iface: "i" }, sources });
  return intervals.map((interval) => structuredClone(simulation.fold(interval)));
}

/** Rows of the same counts for consecutive intervals of `stepMs` from 0. */
function stream(rows: readonly (readonly Row[])[], stepMs: number) {
  const sources = makeSources();
  const intervals = rows.map((r, i) =>
    makeInterval(sources, { beginMs: i * stepMs, endMs: (i + 1) * stepMs, rows: r })
  );
  return { sources, intervals };
}

const A = "192.0.2.1";

Deno.test("syn_flood triggers at exactly the threshold, and at most at the ratio", () => {
  const cases: [Row, boolean | undefined][] = [
    [{ source: A, port: 80, syn: 1000 }, true],
    [{ source: A, port: 80, syn: 999 }, undefined],
    [{ source: A, port: 80, syn: 1000, handshake_ack: 100, data: 100 }, true],
    [{ source: A, port: 80, syn: 1000, handshake_ack: 101, data: 101 }, false], // unless the SYNs came first
    [{ source: A, port: 80, syn: 4800, handshake_ack: 500 }, true], // bare ACKs beside the SYNs, nothing sent
    [{ source: A, port: 80, syn: 4800, handshake_ack: 0, data: 500 }, true], // payload and no handshake
  ];
  for (const [row, expected] of cases) {
    const { sources, intervals } = stream([[row]], 10_000);
    const [step] = simulate(OPTIONS, intervals, sources);
    assert.deepEqual(
      step!.decisions.map((d) => [d.rule, d.certain]),
      expected === undefined ? [] : [[0, expected]],
      JSON.stringify(row),
    );
  }
});

Deno.test("a block certainly holds from the end of the interval to its begin + D, and is renewed while the source is hot", () => {
  const hot: Row[] = [{ source: A, port: 80, syn: 1000 }], cool: Row[] = [{ source: A, port: 80, syn: 1, packets: 5 }];
  const { sources, intervals } = stream([hot, hot, ...Array(8).fill(cool)], 10_000);
  const steps = simulate({ ...OPTIONS, blockDurationMs: 50_000 }, intervals, sources);
  const syn = steps.map(({ effects: [e] }) => e ? [e.syn.lower, e.syn.expected, e.syn.upper] : null);
  // Triggers in (0, 10] and (10, 20]: certainly blocked in (10, 50] and (20, 60], possibly in (0, 60] and (10, 70]; in
  // the third interval a window can hold packets of the second, which alone are 1000. One packet at least passes.
  assert.deepEqual(syn.slice(0, 2), [[0, 0, 0], [1000, 1000, 1000]]);
  assert.deepEqual(syn.slice(2, 6), [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]);
  assert.deepEqual(syn[6], [0, 0, 1]);
  assert.deepEqual(syn[7], [0, 0, 1]); // the window (19, 29] could have been hot: blocked to 79
  assert.equal(syn[8], null);
  assert.deepEqual(steps.flatMap((s) => s.decisions.map((d) => d.fromMs.latest)), [10_000]);
});

Deno.test("a source that is still hot when its block ends triggers anew", () => {
  const { sources, intervals } = stream(Array(30).fill([{ source: A, port: 80, syn: 2000 }]), 10_000);
  const steps = simulate({ ...OPTIONS, blockDurationMs: 100_000 }, intervals, sources);
  const times = steps.flatMap((s) => s.decisions.filter((d) => d.rule === 0).map((d) => d.fromMs.earliest / 1000));
  assert.deepEqual(times, [0, 90, 180, 270]);
  assert.equal(steps.slice(1).every((s) => s.effects[0]!.syn.lower === 2000), true);
});

Deno.test("a source's first interval counts, however long snapshots are apart", () => {
  const { sources, intervals } = stream(
    [[{ source: A, port: 80, syn: 60_000 }], [{ source: A, port: 80, syn: 5 }]],
    60_000,
  );
  const steps = simulate(OPTIONS, intervals, sources);
  assert.equal(steps[0]!.decisions[0]!.certain, true);
  assert.equal(steps[0]!.effects[0]!.syn.upper, 59_000);
  assert.equal(steps[1]!.effects[0]!.syn.lower, 5);
});

Deno.test("over an interval longer than the window, the mean rate decides what is certain", () => {
  const one = (row: Omit<Row, "source" | "port">) => {
    const { sources, intervals } = stream([[{ source: A, port: 80, ...row }]], 60_000);
    return simulate(OPTIONS, intervals, sources)[0]!.decisions.filter((d) => d.rule === 0).map((d) => d.certain);
  };
  assert.deepEqual(one({ syn: 999 }), []);
  assert.deepEqual(one({ syn: 1000 }), [false]); // all in one window, or not
  assert.deepEqual(one({ syn: 5994 }), [false]); // 999 in each of six
  assert.deepEqual(one({ syn: 5995 }), [true]);
  assert.deepEqual(one({ syn: 12_000, handshake_ack: 300, data: 300 }), [true]);
  assert.deepEqual(one({ syn: 12_000, handshake_ack: 400, data: 400 }), [false]); // they may all be where the SYNs are
});

Deno.test("90 SYN/s stay 90 SYN/s across missing snapshots", () => {
  const sources = makeSources(), row = { source: A, port: 80 };
  const minutes: [number, number, number][] = [[0, 1, 5400], [1, 2, 5400], [2, 4, 10_800], [4, 5, 5400]];
  const intervals = minutes.map(([from, to, syn]) =>
    makeInterval(sources, { beginMs: from * 60_000, endMs: to * 60_000, rows: [{ ...row, syn }] })
  );
  const decisions = simulate(OPTIONS, intervals, sources).flatMap((s) => s.decisions);
  assert.deepEqual(decisions.filter((d) => d.certain), []);
});

Deno.test("one client with 1 SYN/s, 20 packets/s and 6 kB/s for an hour triggers nothing", () => {
  const row = { source: A, port: 80, syn: 60, handshake_ack: 480, data: 660, bytes: 360_000 };
  const { sources, intervals } = stream(Array(60).fill([row]), 60_000);
  const steps = simulate(OPTIONS, intervals, sources);
  assert.deepEqual(steps.flatMap((s) => [...s.decisions, ...s.effects]), []);
});

Deno.test("volumetric needs two of the three rates in one window", () => {
  const one = (row: Omit<Row, "source" | "port">, stepMs: number) => {
    const { sources, intervals } = stream([[{ source: A, port: 80, ...row }]], stepMs);
    return simulate(OPTIONS, intervals, sources)[0]!.decisions.filter((d) => d.rule === 1).map((d) => d.certain);
  };
  assert.deepEqual(one({ packets: 10_000, bytes: 10_000_000 }, 10_000), [true]);
  assert.deepEqual(one({ packets: 9_999, bytes: 10_000_000 }, 10_000), []);
  assert.deepEqual(one({ syn: 5000, packets: 10_000, bytes: 1_000_000 }, 10_000), [true]);
  // Six windows in the minute: packets may lie in another than the bytes.
  assert.deepEqual(one({ packets: 60_000, bytes: 60_000_000 }, 60_000), [false]);
  assert.deepEqual(one({ packets: 1_200_000, bytes: 64_800_000 }, 60_000), [true]);
});

Deno.test("port_sweep counts distinct ports that were opened, and blocks all ports of the source", () => {
  const ports = (from: number, count: number, row: Partial<Row> = { syn: 1 }): Row[] =>
    Array.from({ length: count }, (_, i) => ({ source: A, port: from + i, ...row }));
  const run = (rows: Row[][]) => {
    const { sources, intervals } = stream(rows, 10_000);
    return simulate(OPTIONS, intervals, sources).map((s) => ({
      decisions: s.decisions.filter((d) => d.rule === 2),
      effects: s.effects.filter((e) => e.rule === 2),
    }));
  };
  assert.equal(run([ports(1, 19)])[0]!.decisions.length, 0);
  assert.equal(run([ports(1, 20)])[0]!.decisions[0]!.certain, true);
  assert.equal(run([ports(1, 20)])[0]!.decisions[0]!.ports, undefined);
  assert.deepEqual(run([ports(1, 10), ports(11, 10)])[1]!.decisions.map((d) => d.certain), [false]);
  assert.deepEqual(run([ports(1, 10), ports(1, 10)])[1]!.decisions, []);
  assert.deepEqual(run([ports(1, 20), [], [], ports(500, 1)])[3]!.effects.map((e) => e.packets.lower), [1]);
  assert.equal(run([ports(1, 20, { syn: 1, syn_ack: 1 })])[0]!.decisions.length, 0); // answers to connections of ours
  assert.equal(run([ports(1, 20, { packets: 1 })])[0]!.decisions.length, 1); // flagless packets
  assert.equal(run([ports(1, 20, { handshake_ack: 1, data: 3 })])[0]!.decisions.length, 0); // connections that were open
});

Deno.test("an allowlisted source is never blocked, whatever it sends", () => {
  const allowlist = parseAllowlist("# ours\n192.0.2.0/24 # office\n2001:db8::/32\r\n\n198.51.100.7\n", "allow.txt");
  assert.deepEqual(allowlist.prefixes.map(formatPrefix), ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"]);
  const rows = ["192.0.2.200", "198.51.100.7", "2001:db8:1::1"].map((source) => ({ source, port: 80, syn: 1e6 }));
  const { sources, intervals } = stream([rows, rows], 10_000);
  for (const aggregateBits of [OPTIONS.aggregateBits, { v4: 24, v6: 48 }]) {
    const steps = simulate({ ...OPTIONS, allowlist, aggregateBits }, intervals, sources);
    assert.deepEqual(steps.flatMap((s) => [...s.decisions, ...s.effects]), []);
  }
});

Deno.test("parseAllowlist() names the line that is wrong, and says when a line allows everything", () => {
  assert.throws(
    () => parseAllowlist("1.2.3.4\nfe80::1%eth0\n", "a.txt"),
    /Cannot read a.txt:2: "fe80::1%eth0" is neither/,
  );
  assert.throws(() => parseAllowlist("1.2.3.4/33", "a.txt"), /a.txt:1/);
  assert.match(parseAllowlist("0.0.0.0/0", "a.txt").warnings.join(), /a.txt:1: 0.0.0.0\/0 allows every IPv4 address/);
});

Deno.test("networks are counted and blocked together", () => {
  const rows = (network: string, syn: number) =>
    Array.from({ length: 10 }, (_, i) => ({ source: `${network}${i}`, port: 80, syn }));
  const { sources, intervals } = stream(
    Array(3).fill([...rows("192.0.2.", 100), ...rows("2001:db8:1:2::", 100)]),
    10_000,
  );
  const alone = simulate(OPTIONS, intervals, sources).flatMap((s) => s.decisions);
  assert.deepEqual(alone, []);
  const steps = simulate({ ...OPTIONS, aggregateBits: { v4: 24, v6: 48 } }, intervals, sources);
  assert.deepEqual(steps[0]!.decisions.map((d) => d.prefix), ["192.0.2.0/24", "2001:db8:1::/48"]);
  assert.equal(steps[1]!.effects.length, 20);
  assert.equal(steps[1]!.effects.every((e) => e.syn.lower === 100), true);
});

// ---------------------------------------------------------------------------------------------- packet-exact

const WINDOW = 8000;

/** Packets over some minutes: sources that come in phases about as fast as the thresholds. */
function randomTrace(random: () => number, spanMs: number): Packet[] {
  const packets: Packet[] = [], pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!;
  const sources = ["192.0.2.1", "192.0.2.2", "198.51.100.9", "2001:db8::1"].slice(0, 1 + Math.floor(random() * 4));
  for (const source of sources) {
    for (let at = random() * 30_000; at < spanMs;) {
      const length = random() * 30_000,
        count = Math.floor(random() ** 2 * 40),
        use = random() < 0.5 ? 0 : random() * 0.4;
      const ports = random() < 0.3 ? [80, 81, 82, 83, 84] : [80], clustered = random() < 0.4;
      for (let i = 0; i < count; i++) {
        const place = clustered ? random() ** 4 : random();
        packets.push({
          timeMs: at + place * length,
          source,
          port: pick(ports),
          kind: random() < use ? pick(["ack", "data"]) : random() < 0.85 ? "syn" : pick(["ack", "data"]),
          bytes: random() < 0.7 ? 54 : 54 + Math.floor(random() * 1400),
        });
      }
      at += length + random() * 60_000;
    }
  }
  return packets.filter((p) => p.timeMs <= spanMs).sort((a, b) => a.timeMs - b.timeMs);
}

function randomOptions(random: () => number): NativeOptions {
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!;
  return {
    windowMs: WINDOW,
    blockDurationMs: pick([3000, 10_000, 25_000, 60_000]),
    synRate: pick([0.5, 1, 1.5, 2.3]),
    successRatio: pick([0, 0.1, 0.25, 0.5]),
    volSynRate: pick([0.5, 1, 2]),
    volPacketRate: pick([1, 1.5, 2.5]),
    volByteRate: pick([100, 400, 1000]),
    sweepPorts: pick([2, 3, 4]),
    aggregateBits: pick([{ v4: 32, v6: 128 }, { v4: 32, v6: 128 }, { v4: 24, v6: 48 }]),
    allowlist: createPrefixSet(random() < 0.2 ? [parsePrefix("192.0.2.2")!] : []),
  };
}

/** Consecutive spans from 0. */
function spansOf(stepMs: number, spanMs: number) {
  return Array.from({ length: spanMs / stepMs }, (_, i) => ({ beginMs: i * stepMs, endMs: (i + 1) * stepMs }));
}

/** What the packets of a cell come to, by rule. */
function exactOf(dropped: Set<Packet>, packets: readonly Packet[]) {
  const inside = packets.filter((p) => dropped.has(p));
  return {
    packets: inside.length,
    bytes: inside.reduce((sum, p) => sum + p.bytes, 0),
    syn: inside.filter((p) => p.kind === "syn").length,
  };
}

Deno.test("the bounds of every cell contain what an engine that sees every packet drops, on 2,500 random traces", () => {
  const random = createRandom(7).share;
  let cells = 0, dropped = 0, certain = 0;
  for (let trace = 0; trace < 2500; trace++) {
    const spanMs = 240_000, options = randomOptions(random), packets = randomTrace(random, spanMs);
    const stepMs = [500, 1000, 2000, 4000, 8000, 16_000, 24_000, 60_000][Math.floor(random() * 8)]!;
    const gaps = random() < 0.3;
    const spans = spansOf(stepMs, spanMs).filter(() => !gaps || random() < 0.8);
    const recorded = packets.filter((p) => spans.some((s) => p.timeMs > s.beginMs && p.timeMs <= s.endMs));
    const exact = droppedExactly(options, recorded), sources = makeSources();
    const intervals = countPackets(sources, recorded, spans);
    simulate(options, intervals, sources).forEach(({ effects }, k) => {
      const { cells: at } = intervals[k]!, byCell = new Map(effects.map((e) => [`${e.cell} ${e.rule}`, e]));
      for (let i = 0; i < at.count; i++) {
        const own = recorded.filter((p) =>
          p.timeMs > spans[k]!.beginMs && p.timeMs <= spans[k]!.endMs && p.port === at.port[i] &&
          p.source === sources.text(at.source[i]!)
        );
        for (let rule = 0; rule < 3; rule++) {
          const effect: Effect | undefined = byCell.get(`${i} ${rule}`), truth = exactOf(exact[rule]!, own);
          for (const unit of ["packets", "bytes", "syn"] as const) {
            const { lower, expected, upper } = effect?.[unit] ?? { lower: 0, expected: 0, upper: 0 };
            const where = `trace ${trace}, interval ${k}, cell ${i}, rule ${rule}, ${unit}, step ${stepMs}`;
            assert.ok(lower <= truth[unit] && truth[unit] <= upper, `${where}: ${lower} ≤ ${truth[unit]} ≤ ${upper}`);
            assert.ok(lower <= expected && expected <= upper, `${where}: expected ${lower} ${expected} ${upper}`);
          }
          cells++;
          dropped += truth.packets;
          certain += effect?.packets.lower ?? 0;
        }
      }
    });
  }
  // The test would prove nothing on traces without drops, or with bounds from nothing to everything.
  assert.ok(cells > 20_000 && dropped > 20_000 && certain > dropped / 10, `${cells} ${dropped} ${certain}`);
});

Deno.test("bounds tighten as the interval shrinks", () => {
  const random = createRandom(11).share;
  for (let trace = 0; trace < 300; trace++) {
    const spanMs = 256_000, options = randomOptions(random), packets = randomTrace(random, spanMs);
    let before: Record<string, { lower: number; upper: number }> | undefined;
    for (const stepMs of [64_000, 32_000, 16_000, 8000, 4000, 2000, 1000, 500]) {
      const sources = makeSources(), intervals = countPackets(sources, packets, spansOf(stepMs, spanMs));
      const sums: Record<string, { lower: number; upper: number }> = {};
      for (const { effects } of simulate(options, intervals, sources)) {
        for (const effect of effects) {
          for (const unit of ["packets", "syn"] as const) {
            const sum = sums[`${effect.rule} ${unit}`] ??= { lower: 0, upper: 0 };
            sum.lower += effect[unit].lower;
            sum.upper += effect[unit].upper;
          }
        }
      }
      for (const [key, { lower, upper }] of Object.entries(before ?? {})) {
        const now = sums[key] ?? { lower: 0, upper: 0 };
        assert.ok(
          now.lower >= lower && now.upper <= upper,
          `trace ${trace}, ${key}, ${stepMs}: ${JSON.stringify([now, lower, upper])}`,
        );
      }
      before = sums;
    }
  }
});

Deno.test("a stricter policy never blocks less", () => {
  const random = createRandom(13).share;
  let more = 0;
  for (let trace = 0; trace < 400; trace++) {
    const spanMs = 240_000, options = randomOptions(random), packets = randomTrace(random, spanMs);
    const stepMs = [1000, 4000, 8000, 24_000, 60_000][Math.floor(random() * 5)]!;
    const stricter: NativeOptions = {
      ...options,
      synRate: options.synRate * random(),
      successRatio: options.successRatio + random() * (1 - options.successRatio),
      volSynRate: options.volSynRate * random(),
      volPacketRate: options.volPacketRate * random(),
      volByteRate: options.volByteRate * random(),
      sweepPorts: Math.max(1, options.sweepPorts - Math.floor(random() * 3)),
      blockDurationMs: options.blockDurationMs * (1 + random()),
    };
    const sources = makeSources(), intervals = countPackets(sources, packets, spansOf(stepMs, spanMs));
    const lax = simulate(options, intervals, sources), strict = simulate(stricter, intervals, sources);
    lax.forEach(({ effects }, k) => {
      const found = new Map(strict[k]!.effects.map((e) => [`${e.cell} ${e.rule}`, e]));
      for (const effect of effects) {
        const other = found.get(`${effect.cell} ${effect.rule}`);
        for (const unit of ["packets", "bytes", "syn"] as const) {
          assert.ok((other?.[unit].lower ?? 0) >= effect[unit].lower, `trace ${trace}: lower ${unit}`);
          assert.ok((other?.[unit].upper ?? 0) >= effect[unit].upper, `trace ${trace}: upper ${unit}`);
        }
      }
      more += strict[k]!.effects.length - effects.length;
    });
  }
  assert.ok(more > 1000, `${more}`);
});

Deno.test("decisions name the source, the port and the time of every trigger that an engine could have", () => {
  const random = createRandom(17).share;
  for (let trace = 0; trace < 200; trace++) {
    const options = randomOptions(random), packets = randomTrace(random, 240_000), sources = makeSources();
    const intervals = countPackets(sources, packets, spansOf(8000, 240_000));
    const decisions: Decision[] = simulate(options, intervals, sources).flatMap((s) => s.decisions);
    const dropped = droppedExactly(options, packets)[0]!;
    for (const packet of dropped) {
      const covering = decisions.some((d) =>
        d.rule === 0 && d.ports?.[0] === packet.port && d.fromMs.earliest <= packet.timeMs &&
        (d.prefix ? containsText(d.prefix, packet.source) : sources.text(d.source) === packet.source)
      );
      assert.ok(covering, `trace ${trace}: no decision for ${JSON.stringify(packet)}`);
    }
  }
});

function containsText(prefix: string, source: string): boolean {
  return createPrefixSet([parsePrefix(prefix)!]).contains(parseAddress(source)!);
}
