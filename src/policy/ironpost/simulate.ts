/**
 * Ironpost at work on one stream: the blocklist's effects, and the bounds of what detectors and rules would alert.
 *
 * Only IPv4 is looked at, as the engine does. Detectors count all TCP ports of a source together. Where packets were
 * there and not recorded (ports that are not counted, sources that a map lost, a gap), windows may have begun with
 * one of those, and nothing is said to be certain that such packets could undo. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import { formatNumberOf } from "../../words.ts";
import type { Bounds, Decision, Effect, SimulatedStream, Simulation, Step } from "../policy.ts";
import { createDetection } from "./detections.ts";
import { createPortScan, createSynFlood } from "./detectors.ts";
import type { Program } from "./program.ts";
import type { SourceRows, Unseen } from "./tracks.ts";

/** Intervals nearer than this follow each other without a gap. */
const GAP_MS = 50;

/** Starts the simulation of a program on a stream. */
export function simulate(program: Program, stream: SimulatedStream): Simulation {
  const blocked = createBlocklist(program, stream), synFlood = createSynFlood(program);
  const portScan = createPortScan(program),
    detections = program.detections.map((d) => createDetection(d, program, stream));
  const parts = [synFlood, portScan, ...detections].filter((part) => part !== undefined);
  const addresses = createAddresses(stream), rows: SourceRows = { source: 0, from: 0, to: 0 }, { blocklist } = program;
  let lastEndMs: number | undefined, coarsestMs = 0, gaps = 0, ipv6Packets = 0, unseenIntervals = 0, mostPorts = 0;
  let cellsWithoutPort = false;

  return {
    fold(interval): Step {
      const decisions: Decision[] = [], effects: Effect[] = [];
      const gapMs = lastEndMs === undefined ? 0 : interval.beginMs - lastEndMs;
      const unseen = describeUnseen(interval, gapMs);
      let notEvaluated = 0;
      if (gapMs > GAP_MS) {
        gaps++;
        for (const part of parts) notEvaluated += part.forget(interval.beginMs, gapMs);
      }
      coarsestMs = Math.max(coarsestMs, interval.endMs - interval.beginMs);
      mostPorts = Math.max(mostPorts, interval.ports.length);
      if (unseen.tcp) unseenIntervals++;
      for (const part of parts) part.begin(interval, unseen);
      const { cells } = interval, out = { decisions, effects };
      for (let from = 0, to = 0; from < cells.count; from = to) {
        const source = cells.source[from]!;
        while (to < cells.count && cells.source[to] === source) to++;
        if (addresses.of(source) < 0) {
          for (let i = from; i < to; i++) ipv6Packets += cells.packets[i]!;
          continue;
        }
        cellsWithoutPort ||= cells.port[from] === 0;
        rows.source = source;
        rows.from = from;
        rows.to = to;
        if (blocklist.size > 0) blocked(interval, rows, out);
        for (let i = 0; i < parts.length; i++) parts[i]!.take(interval, rows, decisions);
      }
      for (const part of parts) part.end(interval, decisions);
      lastEndMs = interval.endMs;
      return { decisions, effects, notEvaluated };
    },
    finish() {
      const findings = parts.flatMap((part) => part.finish({ coarsestMs, mostPorts }));
      const note = (code: string, message: string) => findings.push({ severity: "note", code, message });
      if (ipv6Packets > 0) {
        note("engine_ignores", `passed by the engine without a look: ${formatNumberOf(ipv6Packets, "IPv6 packet")}`);
      }
      if (unseenIntervals > 0 && parts.length > 0) {
        note(
          "not_recorded",
          `in ${
            formatNumberOf(unseenIntervals, "interval")
          } there was TCP that no source's counters hold (other ports, lost entries): ` +
            "alerts that it could undo are not called certain; counting all ports avoids most of it",
        );
      }
      if (gaps > 0 && parts.length > 0) {
        note("gaps", `${formatNumberOf(gaps, "gap")}: what came in them is in no window`);
      }
      if (cellsWithoutPort && parts.length > 0) note("no_ports", "some counters hold all ports together");
      return { findings };
    },
  };
}

function describeUnseen(interval: Interval, gapMs: number): Unseen {
  const { notCounted, unattributed, evicted, ports } = interval;
  // Versions before 8 don't say what they left out.
  const elsewhere = notCounted ? notCounted.other_port + notCounted.later_fragment > 0 : ports.length < 65_535;
  const tcp = elsewhere || unattributed.packets > 0 || evicted > 0 || gapMs > GAP_MS;
  return { tcp, others: tcp || notCounted === undefined || notCounted.not_tcp > 0 };
}

/** IPv4 addresses by source as numbers, first octet highest; -1 for IPv6. */
function createAddresses({ sources }: SimulatedStream) {
  let known = new Float64Array(1024).fill(NaN);
  return {
    of(source: number): number {
      if (source >= known.length) {
        const longer = new Float64Array(Math.max(source + 1, 2 * known.length)).fill(NaN);
        longer.set(known);
        known = longer;
      }
      const address = known[source]!;
      if (!Number.isNaN(address)) return address;
      const bytes = sources.bytes(source);
      return known[source] = bytes.length === 4
        ? ((bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0)
        : -1;
    },
  };
}

// ------------------------------------------------------------------------------------------------ blocklist

/** What comes of a listed source: each of its cells is dropped, from the load on. */
function createBlocklist({ blocklist, rules, load }: Program, stream: SimulatedStream) {
  const addresses = createAddresses(stream), decided = new Set<number>();
  return (
    interval: Interval,
    { source, from, to }: SourceRows,
    out: { decisions: Decision[]; effects: Effect[] },
  ): void => {
    const listed = blocklist.get(addresses.of(source));
    if (!listed || interval.endMs <= load.fromMs || interval.beginMs >= load.untilMs) return;
    const { rule, action } = listed, { cells, beginMs, endMs } = interval;
    if (!decided.has(source)) {
      decided.add(source);
      const sinceMs = Math.max(beginMs, load.fromMs), partly = beginMs < load.fromMs || endMs > load.untilMs;
      out.decisions.push({
        rule,
        action: action === "block" ? "block" : "alert",
        certain: !partly,
        source,
        window: { beginMs, endMs },
        fromMs: { earliest: sinceMs, latest: sinceMs },
        untilMs: { earliest: load.untilMs, latest: load.untilMs },
        measured: {},
        thresholds: {},
        formula: `source is listed by rule ${rules[rule]!.id}`,
      });
    }
    if (action !== "block") return;
    const inForceMs = Math.min(endMs, load.untilMs) - Math.max(beginMs, load.fromMs);
    const share = inForceMs >= endMs - beginMs ? 1 : inForceMs / (endMs - beginMs);
    const bounds = (count: number): Bounds => ({
      lower: share === 1 ? count : 0,
      expected: share * count,
      upper: count,
    });
    for (let cell = from; cell < to; cell++) {
      out.effects.push({
        cell,
        rule,
        packets: bounds(cells.packets[cell]!),
        bytes: bounds(cells.bytes[cell]!),
        syn: bounds(cells.syn[cell]!),
      });
    }
  };
}
