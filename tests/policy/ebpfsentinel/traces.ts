/**
 * Random packets of several sources, the same packets as intervals count them, and both simulations side by side.
 */
import assert from "node:assert/strict";
import { parseAddress } from "../../../src/address.ts";
import type { Cells, Interval, Sources } from "../../../src/evidence/interval.ts";
import { ebpfsentinel } from "../../../src/policy/ebpfsentinel/engine.ts";
import { type Config, readConfig } from "../../../src/policy/ebpfsentinel/config.ts";
import type { Profile } from "../../../src/policy/ebpfsentinel/detection.ts";
import { createPacketEngine, type Outcome, type Packet } from "../../../src/policy/ebpfsentinel/packets.ts";
import { readDocument } from "../../../src/policy/document.ts";
import { openField } from "../../../src/policy/read.ts";
import type { Effect, Policy } from "../../../src/policy/policy.ts";
import { createRandom } from "../../packets.ts";

/** Numbers as tests ask for them, the same for the same seed. */
export function randomOf(seed: number) {
  const next = createRandom(seed).word, below = (n: number) => next() % n;
  return {
    below,
    pick: <T>(choices: readonly T[]): T => choices[below(choices.length)]!,
    oneIn: (n: number) => below(n) === 0,
  };
}

export type Random = ReturnType<typeof randomOf>;

/** Sources of traces; the second is the first's neighbour, the third is not, the fourth is IPv6. */
const SOURCES = ["198.51.100.7", "198.51.100.9", "203.0.113.5", "2001:db8::7"];
const COUNTRIES = new Map([[SOURCES[0], "RU"], [SOURCES[1], "RU"], [SOURCES[3], "KP"]]);
/** The same countries as a file. */
export const COUNTRY_FILE = { path: "countries.csv", text: "198.51.100.0/24,RU\n2001:db8::/32,KP\n" };

/** The protected host. */
const HOST = "192.0.2.10";
/** What the feed "f" of a policy holds. */
const FEED_FILE = { path: "feed.txt", text: "203.0.113.5\n198.51.100.9\n" };

const FIN = 1, SYN = 2, RST = 4, ACK = 16;

/** Packets in bursts, streams and silences that are likely to meet the ends of windows of `spans` milliseconds. */
export function randomTrace(
  { below, pick, oneIn }: Random,
  { packets, spans, ports, sources = 1, kinds = [24] }: {
    packets: number;
    spans: readonly number[];
    ports: readonly number[];
    sources?: number;
    kinds?: readonly number[];
  },
): Packet[] {
  const trace: Packet[] = [], parts = 1 + below(4);
  let at = 1 + below(5000);
  for (let part = 0; part < parts; part++) {
    const count = 1 + below(Math.max(1, Math.floor(packets / parts)));
    const span = pick([0, 1, 100, 1000, ...spans]), source = below(sources);
    for (let i = 0; i < count; i++) {
      const text = SOURCES[oneIn(4) ? below(sources) : source]!, flags = pick(kinds);
      trace.push({
        nowMs: at + (oneIn(2) ? Math.floor(span * i / count) : below(span + 1)),
        source: { text, bytes: parseAddress(text)!, country: COUNTRIES.get(text) },
        port: pick(ports),
        flags,
        connection: flags & ACK ? pick(["known", "known", "completes", "unknown"] as const) : "unknown",
      });
    }
    at += pick([0, 1, span, 500, 999, 1000, 1001, ...spans.flatMap((s) => [s - 1, s, s + 1])]);
  }
  return trace.sort((a, b) => a.nowMs - b.nowMs);
}

/** The sources of a trace's cells. */
export const sources: Sources = {
  count: SOURCES.length,
  text: (source) => SOURCES[source]!,
  bytes: (source) => parseAddress(SOURCES[source]!)!,
};

/** The trace as snapshots every `lengthMs` count it; those in which nothing came are left out. */
export function countTrace(trace: readonly Packet[], lengthMs: number): { interval: Interval; packets: Packet[][] }[] {
  const byEnd = Map.groupBy(trace, ({ nowMs }) => Math.ceil(nowMs / lengthMs) * lengthMs);
  return [...byEnd].map(([endMs, list]) => {
    const byCell = Map.groupBy(list, ({ source, port }) => SOURCES.indexOf(source.text) * 65536 + port);
    const keys = [...byCell.keys()].sort((a, b) => a - b), packets = keys.map((key) => byCell.get(key)!);
    const count = (is: (flags: number) => boolean) =>
      Float64Array.from(packets, (cell) => cell.filter((p) => is(p.flags)).length);
    const size = Float64Array.from(packets, (cell) => cell.length);
    const cells: Cells = {
      count: keys.length,
      source: Uint32Array.from(keys, (key) => Math.floor(key / 65536)),
      port: Uint16Array.from(keys, (key) => key % 65536),
      packets: size,
      bytes: size.map((n) => 60 * n),
      syn: count((f) => (f & SYN) !== 0),
      ack: count((f) => (f & ACK) !== 0),
      handshakeAck: count((f) => (f & (SYN | RST | ACK)) === ACK && (f & 8) === 0),
      rst: count((f) => (f & RST) !== 0),
      synAck: count((f) => (f & (SYN | ACK)) === (SYN | ACK)),
      fin: count((f) => (f & FIN) !== 0),
      data: count((f) => (f & 8) !== 0),
    };
    const zero = { packets: 0, bytes: 0, syn: 0, ack: 0, handshake_ack: 0, rst: 0, syn_ack: 0, fin: 0, data: 0 };
    const interval: Interval = {
      beginMs: endMs - lengthMs,
      endMs,
      runId: 1,
      first: false,
      mode: "model",
      ports: [...new Set(trace.map(({ port }) => port))].sort((a, b) => a - b),
      cells,
      total: zero,
      unattributed: zero,
      evicted: 0,
      wrapped: 0,
      notCounted: undefined,
    };
    return { interval, packets };
  });
}

/** A policy of sections as a file would give it, and what the engine makes of the file packet by packet. */
export interface Subject {
  sections: Record<string, unknown>;
  profile: Profile;
  policy: Policy;
  config: Config;
}

export function subjectOf(sections: Record<string, unknown>, profile: Profile = "seed"): Subject {
  const file = { path: "policy.yaml", text: JSON.stringify({ agent: { interfaces: ["eth0"] }, ...sections }) };
  const feeds = new Map(sections.threatintel ? [["f", FEED_FILE]] : []);
  const policy = ebpfsentinel.load([file], { profile, countries: COUNTRY_FILE, feeds, hostAddresses: [HOST] });
  assert.deepEqual(policy.findings.filter(({ severity }) => severity === "error"), []);
  return { sections, profile, policy, config: readConfig(openField(readDocument(file), [])) };
}

/** The engine packet by packet. */
function judgeTrace({ config, profile }: Subject, trace: readonly Packet[]): Map<Packet, Outcome> {
  const { mode } = config.threatintel, feed = config.threatintel.feeds[0];
  const action = (profile === "seed" ? feed?.mode : undefined) ?? mode;
  const listed = new Map(feed ? [["203.0.113.5", action], ["198.51.100.9", action]] : []);
  const engine = createPacketEngine(config, { profile, destinations: [parseAddress(HOST)!], listed });
  return new Map(trace.map((packet) => [packet, engine.judge(packet)]));
}

/** What a part of the engine drops, by the kind of its rules. */
const STAGES: Record<string, string> = {
  ips_blacklist: "ips",
  ips_subnet: "ips",
  firewall: "firewall",
  syn_guard: "limit",
  guard: "limit",
  ratelimit: "limit",
  inline_drop: "inline",
  threatintel: "threatintel",
};

function partOf(policy: Policy, { rule }: Effect): string {
  const { kind, id } = policy.rules[rule]!;
  if (kind === "ratelimit" || kind === "ddos") return "limit";
  return (kind === "ips" || kind === "ids") && !id.startsWith("ips.") ? "inline" : kind;
}

/** How far bounds were from each other, and how many packets there were. */
export interface Width {
  between: number;
  packets: number;
}

/** What came of holding bounds. */
export interface Held extends Width {
  /** Packets that the engine dropped, and the most that the bounds say. */
  dropped: number;
  upper: number;
  /** Sources of which a packet may be dropped. */
  sources: Set<string>;
}

/** Simulates a trace in intervals of a length, and holds each cell's bounds against the engine packet by packet. */
export function holdBounds(
  subject: Subject,
  { trace, lengthMs, about }: { trace: readonly Packet[]; lengthMs: number; about: string },
): Held {
  const { policy, sections, profile } = subject, outcomes = judgeTrace(subject, trace);
  const simulation = policy.simulate({ name: { hostname: "h", iface: "eth0" }, sources });
  const width: Held = { between: 0, packets: 0, dropped: 0, upper: 0, sources: new Set() };
  for (const { interval, packets } of countTrace(trace, lengthMs)) {
    const step = simulation.fold(interval);
    for (const [i, cell] of packets.entries()) {
      const effects = step.effects.filter((effect) => effect.cell === i);
      const parts = Map.groupBy(effects, (effect) => partOf(policy, effect));
      const exact = Map.groupBy(
        cell.filter((packet) => outcomes.get(packet)!.decision !== "pass"),
        (packet) => STAGES[outcomes.get(packet)!.stage!]!,
      );
      for (const part of new Set([...parts.keys(), ...exact.keys()])) {
        const dropped = exact.get(part) ?? [], bounds = parts.get(part) ?? [];
        const sum = (of: (effect: Effect) => number) => bounds.reduce((total, effect) => total + of(effect), 0);
        const where = () =>
          `${about}, ${profile}, ${part}, cell ${i} until ${interval.endMs}: ${
            JSON.stringify({
              sections,
              lengthMs,
              bounds,
              trace: trace.map((p) => [p.nowMs, p.source.text, p.port, p.flags, p.connection]),
            })
          }`;
        hold(dropped.length, sum((e) => e.packets.lower), sum((e) => e.packets.upper), where);
        hold(dropped.length * 60, sum((e) => e.bytes.lower), sum((e) => e.bytes.upper), where);
        const syns = dropped.filter(({ flags }) => flags & SYN).length;
        hold(syns, sum((e) => e.syn.lower), sum((e) => e.syn.upper), where);
        for (const { packets: { lower, expected, upper } } of bounds) {
          assert(lower <= expected && expected <= upper, where());
        }
        width.between += sum((e) => e.packets.upper - e.packets.lower);
        width.upper += sum((e) => e.packets.upper);
        width.dropped += dropped.length;
      }
      if (effects.length > 0) width.sources.add(cell[0]!.source.text);
      width.packets += cell.length;
    }
  }
  const joint = simulation.finish().findings.find(({ code }) => code === "joint_bounds")?.message;
  if (joint !== undefined) {
    const [, lower, upper = lower] = /(\d+)(?:–(\d+))? packets?$/.exec(joint.replaceAll(",", ""))!;
    const blocked = [...outcomes.values()].filter(({ stage }) => stage === "ips_blacklist").length;
    hold(
      blocked,
      Number(lower),
      Number(upper),
      () => `${about}, ${profile}, together: ${JSON.stringify({ sections, lengthMs })}`,
    );
  }
  return width;
}

function hold(exact: number, lower: number, upper: number, where: () => string): void {
  if (exact < lower || exact > upper) throw new Error(`${exact} is not from ${lower} to ${upper}: ${where()}`);
}
