/** The bounds of Ironpost's windows against the detectors themselves, packet by packet, on random traces. */
import assert from "node:assert/strict";
import { countContent, portContent } from "../../../src/policy/ironpost/contents.ts";
import {
  alertLimiter,
  portScanDetector,
  synFloodDetector,
  thresholdCounter,
} from "../../../src/policy/ironpost/packets.ts";
import { advance, createTrack, type Judgement } from "../../../src/policy/ironpost/windows.ts";
import { createRandom, type Random } from "../../packets.ts";
import { countTrace, LENGTHS_SEC, randomTrace, type TraceInterval, type TracePacket } from "./traces.ts";

const TRACES = 2_000;

function countsOf(hits: number, others: number) {
  return { hitsLeast: hits, hitsMost: hits, othersLeast: others, othersMost: others };
}

/** What held for all traces by interval length: how wide the bounds were, and how often there was just one answer. */
function createTally() {
  const widths = new Map<number, { width: number; single: number; traces: number }>();
  return {
    add(lengthSec: number, { least, most }: { least: number; most: number }) {
      const tally = widths.get(lengthSec) ?? { width: 0, single: 0, traces: 0 };
      widths.set(lengthSec, tally);
      tally.width += most - least;
      tally.single += most === least ? 1 : 0;
      tally.traces++;
    },
    /** Fails unless shorter intervals gave narrower bounds. */
    check(name: string) {
      const lines = LENGTHS_SEC.map((s) => {
        const { width, single, traces } = widths.get(s)!;
        return { seconds: s, mean: width / traces, single: single / traces };
      });
      console.log(
        `${name}: mean width (share with one answer) ` +
          lines.map((l) => `${l.seconds} s ${l.mean.toFixed(2)} (${(100 * l.single).toFixed(0)} %)`).join(", "),
      );
      for (const [i, line] of lines.entries()) {
        if (i > 0) {
          assert.ok(line.mean >= lines[i - 1]!.mean, `${name}: ${line.seconds} s is tighter than shorter ones`);
        }
      }
    },
  };
}

/** Runs a trace through a track and holds each interval against how often the engine really alerted in it. */
function holdAgainst(
  intervals: readonly TraceInterval[],
  judgeInterval: (interval: TraceInterval) => Judgement,
  { alertsIn, seed }: { alertsIn: (interval: TraceInterval) => number; seed: number },
): { least: number; most: number } {
  let least = 0, most = 0, alerts = 0;
  for (const interval of intervals) {
    const judgement = judgeInterval(interval), now = alertsIn(interval);
    least += judgement.least;
    most += judgement.most;
    alerts += now;
    const where = `seed ${seed}, (${interval.fromMs}, ${interval.toMs}]`;
    assert.ok(least <= alerts && alerts <= most, `${where}: ${alerts} alerts so far, not ${least} to ${most}`);
    const { nowLeast, nowMost } = judgement;
    assert.ok(nowLeast <= now && now <= nowMost, `${where}: ${now} alerts in it, not ${nowLeast} to ${nowMost}`);
  }
  return { least, most };
}

Deno.test(`SYN-flood bounds hold the packet-exact alerts in ${TRACES} random traces, tighter for shorter intervals`, () => {
  const tally = createTally();
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [100, 100, 20, 5, 1][seed % 5]!;
    const windowMs = [10_000, 10_000, 3_000, 60_000][seed % 4]!, ratio = [0.7, 0.7, 0.5, 0.9][seed % 4]!;
    const trace = randomTrace(random, { windowMs, packets: 2 * count + 20 });
    const options = { content: countContent({ count, ratio }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const detect = synFloodDetector({ windowMs, minPackets: count, ratio });
      const found = holdAgainst(countTrace(trace, lengthSec * 1000), (interval) => {
        const counts = countsOf(interval.syns, interval.packets - interval.syns);
        return advance(track, { ...interval, ...counts }, options);
      }, { alertsIn: ({ trace }) => trace.filter((p) => detect(p.timeMs, p.syn)).length, seed });
      tally.add(lengthSec, found);
    }
  }
  tally.check("SYN flood");
});

Deno.test(`port-scan bounds hold the packet-exact findings in ${TRACES} random traces, tighter for shorter intervals`, () => {
  const tally = createTally();
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [20, 20, 5, 2][seed % 4]!;
    const windowMs = [60_000, 60_000, 10_000][seed % 3]!;
    const trace = randomTrace(random, { windowMs, packets: count + 5, ports: count + random.below(2 * count) });
    const options = { content: portContent(count), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const detect = portScanDetector({ windowMs, ports: count });
      const found = holdAgainst(
        countTrace(trace, lengthSec * 1000),
        (interval) => advance(track, interval, options),
        { alertsIn: ({ trace }) => trace.filter((p) => detect(p.timeMs, p.port).first).length, seed },
      );
      tally.add(lengthSec, found);
    }
  }
  tally.check("port scan");
});

Deno.test(`threshold bounds hold the packet-exact matches in ${TRACES} random traces, tighter for shorter intervals`, () => {
  const tally = createTally();
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [20, 5, 50, 1][seed % 4]!;
    const windowMs = [61_000, 11_000, 2_000][seed % 3]!, flushMs = [0, 5_000, 1_000][seed % 3]!;
    const trace = randomTrace(random, { windowMs, packets: count + 10 });
    const options = { content: countContent({ count, ratio: -1 }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const matches = thresholdCounter({ windowMs, count });
      let flushedMs = -Infinity;
      const found = holdAgainst(countTrace(trace, lengthSec * 1000), (interval) => {
        return advance(
          track,
          { ...interval, toMs: interval.toMs + flushMs, ...countsOf(interval.packets, 0) },
          options,
        );
      }, {
        // Packets are judged in their order, each when its batch is flushed.
        alertsIn: ({ trace }) =>
          trace.filter((p) => {
            flushedMs = Math.max(flushedMs, p.timeMs + random.below(flushMs + 1));
            return matches(flushedMs);
          }).length,
        seed,
      });
      tally.add(lengthSec, found);
    }
  }
  tally.check("threshold");
});

Deno.test(`deduplication bounds hold the alerts of ${TRACES} random sequences of matches, tighter for shorter intervals`, () => {
  const tally = createTally();
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), windowMs = [60_000, 10_000, 6_000][seed % 3]!, exact = seed % 2 === 0;
    const trace = randomTrace(random, { windowMs, packets: 4 });
    const options = { content: countContent({ count: 1, ratio: -1 }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const limit = alertLimiter({ dedupMs: windowMs, perMinute: 10 });
      const found = holdAgainst(countTrace(trace, lengthSec * 1000), (interval) => {
        // Matches may themselves be a range: up to two of them are not there.
        const hitsLeast = exact ? interval.packets : Math.max(0, interval.packets - 2);
        const seen = { hitsLeast, hitsMost: interval.packets, othersLeast: 0, othersMost: 0 };
        return advance(track, { ...interval, ...seen, optional: hitsLeast === 0 }, options);
      }, {
        alertsIn: ({ trace }) => {
          const missing = random.below(exact ? 1 : 3);
          return trace.slice(missing).filter((p) => limit(p.timeMs) === "alert").length;
        },
        seed,
      });
      if (exact) tally.add(lengthSec, found);
    }
  }
  tally.check("deduplication");
});

Deno.test("SYN-flood bounds claim nothing that packets which were not recorded could undo", () => {
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [20, 5, 1][seed % 3]!, windowMs = 10_000, ratio = 0.7;
    const { all, recorded } = hidePackets(randomTrace(random, { windowMs, packets: 2 * count + 5 }), random);
    const options = { content: countContent({ count, ratio }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const detect = synFloodDetector({ windowMs, minPackets: count, ratio });
      let alerts = 0, least = 0;
      for (const interval of countTrace(all, lengthSec * 1000)) {
        alerts += interval.trace.filter((p) => detect(p.timeMs, p.syn)).length;
        const seen = interval.trace.filter((p) => recorded.has(p)), syns = seen.filter((p) => p.syn).length;
        if (seen.length === 0) continue;
        const counts = countsOf(syns, seen.length - syns);
        least += advance(track, { ...interval, ...counts, loose: true, diluted: true }, options).least;
        assert.ok(least <= alerts, `seed ${seed}, ${lengthSec} s: ${alerts} alerts, not ${least} at least`);
      }
    }
  }
});

Deno.test("threshold bounds claim nothing that packets which were not recorded could undo", () => {
  let claimed = 0;
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [10, 5, 1][seed % 3]!, windowMs = 11_000;
    const { all, recorded } = hidePackets(randomTrace(random, { windowMs, packets: 3 * count + 5 }), random);
    const options = { content: countContent({ count, ratio: -1 }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const matches = thresholdCounter({ windowMs, count });
      let alerts = 0, least = 0;
      for (const interval of countTrace(all, lengthSec * 1000)) {
        alerts += interval.trace.filter((p) => matches(p.timeMs)).length;
        const seen = interval.trace.filter((p) => recorded.has(p)).length;
        if (seen === 0) continue;
        least += advance(track, { ...interval, ...countsOf(seen, 0), loose: true }, options).least;
        assert.ok(least <= alerts, `seed ${seed}, ${lengthSec} s: ${alerts} matches, not ${least} at least`);
      }
      claimed += least;
    }
  }
  assert.ok(claimed > TRACES, `only ${claimed} certain matches: the test shows nothing`);
});

Deno.test("threshold bounds hold for an engine that has no room for a source and takes it up at any later packet", () => {
  for (let seed = 1; seed <= TRACES; seed++) {
    const random = createRandom(seed), count = [10, 5, 1][seed % 3]!, windowMs = 11_000;
    const trace = randomTrace(random, { windowMs, packets: 3 * count + 5 });
    const options = { content: countContent({ count, ratio: -1 }), windowMs };
    for (const lengthSec of LENGTHS_SEC) {
      const track = createTrack(options.content);
      const matches = thresholdCounter({ windowMs, count });
      let openUntilMs = -Infinity;
      holdAgainst(countTrace(trace, lengthSec * 1000), (interval) => {
        const seen = { ...countsOf(interval.packets, 0), hitsLeast: 0 };
        return advance(track, { ...interval, ...seen, optional: true, loose: true }, options);
      }, {
        alertsIn: ({ trace }) =>
          trace.filter((p) => {
            if (p.timeMs >= openUntilMs && !random.oneIn(4)) return false;
            if (p.timeMs >= openUntilMs) openUntilMs = p.timeMs + windowMs;
            return matches(p.timeMs);
          }).length,
        seed,
      });
    }
  }
});

/** Leaves packets other than SYN out of what is recorded, up to four in ten. */
function hidePackets(all: TracePacket[], random: Random): { all: TracePacket[]; recorded: Set<TracePacket> } {
  const hidden = random.below(400);
  return { all, recorded: new Set(all.filter((p) => p.syn || random.below(1000) >= hidden)) };
}
