/**
 * Ironpost's SYN-flood and port-scan detectors, by source, over counted intervals. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import type { Finding } from "../policy.ts";
import { countContent, type Counts, portContent, type Ports, type SeenCounts, type SeenPorts } from "./contents.ts";
import type { Program } from "./program.ts";
import {
  alertDecision,
  type Alerts,
  createTracks,
  describeRange,
  noteCoarse,
  noteCrowded,
  type Part,
  type SourceRows,
} from "./tracks.ts";
import type { Placement, Track } from "./windows.ts";

/** Puts a source's cells into `seen`: SYN without ACK, and the rest. Before version 8 a SYN-ACK can't be told from a SYN. */
function countSyn({ cells, notCounted }: Interval, { from, to }: SourceRows, seen: SeenCounts): void {
  let packets = 0, most = 0, least = 0;
  for (let i = from; i < to; i++) {
    const syn = cells.syn[i]! - cells.synAck[i]!;
    packets += cells.packets[i]!;
    most += syn;
    least += notCounted ? syn : Math.max(0, syn - cells.ack[i]!);
  }
  seen.hitsLeast = least;
  seen.hitsMost = most;
  seen.othersLeast = packets - most;
  seen.othersMost = packets - least;
}

/** The SYN-flood detector; undefined where it is off. */
export function createSynFlood({ synFlood }: Program): Part | undefined {
  if (!synFlood) return undefined;
  const { rule, windowMs, minPackets, ratio } = synFlood, seconds = windowMs / 1000;
  const tracks = createTracks<Counts, SeenCounts>(countContent({ count: minPackets, ratio }), { windowMs });
  const thresholds = { packets: minPackets, ratio, window_sec: seconds },
    formula = `packets ≥ ${minPackets} and syn / packets > ${ratio} in ${seconds} s from the window's first packet`;
  const seen: SeenCounts = { fromMs: 0, toMs: 0, hitsLeast: 0, hitsMost: 0, othersLeast: 0, othersMost: 0 };
  return {
    begin: (interval, unseen) => tracks.begin(interval, unseen.tcp),
    take(interval, rows, decisions) {
      const { placement } = tracks;
      countSyn(interval, rows, seen);
      if (placement.optional) seen.hitsLeast = seen.othersLeast = 0;
      seen.diluted = placement.loose;
      seen.optional = false;
      const found = tracks.advance(rows.source, seen);
      if (found.least === 0 && found.most === 0) return;
      const held = mostHeld(tracks.tracks.get(rows.source));
      decisions.push({
        ...alertDecision(rule, rows.source, found, interval.endMs),
        measured: { packets: held.packets, syn: held.hits, alerts_least: found.least, alerts_most: found.most },
        thresholds,
        formula,
      });
    },
    end() {},
    forget: tracks.forget,
    finish: ({ coarsestMs }) => [
      alertsFinding("syn_flood", tracks.alerts),
      ...noteCoarse("syn_flood", windowMs, coarsestMs),
      ...noteCrowded("syn_flood", tracks.everCrowded),
    ],
  };
}

function alertsFinding(rule: string, alerts: Alerts): Finding {
  return {
    severity: "note",
    code: "alerts",
    rule,
    message: `${rule} would have alerted ${describeRange(alerts, "time")}`,
  };
}

/** The most that a window of the track can hold. */
function mostHeld(track: Track<Counts> | undefined): { packets: number; hits: number } {
  let packets = 0, hits = 0;
  for (const { content } of track?.hypotheses ?? []) {
    packets = Math.max(packets, content.hitsMost + content.othersMost);
    hits = Math.max(hits, content.hitsMost);
  }
  return { packets, hits };
}

/** The port-scan detector; undefined where it is off. */
export function createPortScan({ portScan }: Program): Part | undefined {
  if (!portScan) return undefined;
  const { rule, windowMs, ports: count } = portScan, seconds = windowMs / 1000;
  const tracks = createTracks<Ports, SeenPorts>(portContent(count), { windowMs });
  const seen: SeenPorts = { fromMs: 0, toMs: 0, ports: new Set(), packets: 0 };
  const raw: Alerts = { least: 0, most: 0 }, single = new Array<ReadonlySet<number>>(65_536);
  return {
    begin: (interval, unseen) => tracks.begin(interval, unseen.others),
    take({ cells, endMs }, rows, decisions) {
      const { source, from, to } = rows, ports = portsOf(cells.port, rows, single);
      if (ports.size === 0) return;
      let packets = 0;
      for (let i = from; i < to; i++) packets += cells.packets[i]!;
      const { placement } = tracks, before = tracks.tracks.get(source);
      // Once a window has alerted, each of its packets does.
      const mayGoOn = before?.perhaps === true, goesOn = mayGoOn && isAlerting(before!, placement, windowMs);
      seen.ports = ports;
      seen.packets = packets;
      seen.optional = false;
      const found = tracks.advance(source, seen);
      raw.least += goesOn && !placement.optional && !placement.loose ? packets : found.nowLeast;
      raw.most += mayGoOn || found.nowMost > 0 ? packets : 0;
      if (found.least === 0 && found.most === 0) return;
      const held = tracks.tracks.get(source)!.hypotheses.map((h) => h.content.possible.size);
      decisions.push({
        ...alertDecision(rule, source, found, endMs),
        measured: { ports: Math.max(...held), alerts_least: found.least, alerts_most: found.most },
        thresholds: { ports: count, window_sec: seconds },
        formula: `ports ≥ ${count} in ${seconds} s from the window's first packet`,
      });
    },
    end() {},
    forget: tracks.forget,
    finish({ coarsestMs, mostPorts }) {
      const findings: Finding[] = [{
        severity: "note",
        code: "alerts",
        rule: "port_scan",
        message: `port_scan would have found ${describeRange(tracks.alerts, "scan")}, and alerted with each of ${
          describeRange(raw, "packet")
        }`,
      }];
      findings.push(...noteCoarse("port_scan", windowMs, coarsestMs), ...noteCrowded("port_scan", tracks.everCrowded));
      if (mostPorts > 0 && mostPorts < count) {
        findings.push({
          severity: "warning",
          code: "not_observable",
          rule: "port_scan",
          message: `port_scan is not observable: ${
            mostPorts === 1 ? "1 port was" : `${mostPorts} ports were`
          } counted, it needs ${count}`,
        });
      }
      return findings;
    },
  };
}

/** Whether each course is in a window that has alerted and is not over before the packets are. */
function isAlerting({ hypotheses }: Track<Ports>, { toMs }: Placement, windowMs: number): boolean {
  return hypotheses.every((h) => h.alerted && toMs - h.earliest <= windowMs);
}

/** Distinct ports of a source; 0 stands for "all together" and is none. Sets of one port are made once. */
function portsOf(
  column: Uint16Array,
  { from, to }: SourceRows,
  single: ReadonlySet<number>[],
): ReadonlySet<number> {
  if (to - from > 1) {
    const ports = new Set(column.subarray(from, to));
    ports.delete(0);
    return ports;
  }
  const port = column[from]!;
  return single[port] ??= new Set(port === 0 ? [] : [port]);
}
