/**
 * The default policy as an engine runs it that sees every packet: when it blocks, and which packets that drops.
 *
 * It shares nothing with the simulation but the options, and is written to be read rather than to be fast.
 */
import { parseAddress } from "../src/address.ts";
import type { NativeOptions } from "../src/policy/native.ts";
import { formatPrefix, prefixOf } from "../src/prefix.ts";
import type { Packet } from "./streams.ts";

/** A source or network that is blocked in (fromMs, untilMs]; without a port: on all ports. */
export interface Blocking {
  unit: string;
  port: number | undefined;
  fromMs: number;
  untilMs: number;
}

/** What an address is counted with: itself, or its network. */
export function unitOf(options: Pick<NativeOptions, "aggregateBits">, source: string): string {
  const bytes = parseAddress(source)!, { v4, v6 } = options.aggregateBits;
  return formatPrefix(prefixOf(bytes, bytes.length === 4 ? v4 : v6));
}

/** Units of the sources of packets, each looked up once; undefined: allowlisted. */
function unitsOf(options: NativeOptions, packets: readonly Packet[]): Map<string, string | undefined> {
  const sources = new Set(packets.map(({ source }) => source));
  const isAllowed = (source: string) => options.allowlist.contains(parseAddress(source)!);
  return new Map([...sources].map((source) => [source, isAllowed(source) ? undefined : unitOf(options, source)]));
}

/** What each rule blocks, as syn_flood, volumetric, port_sweep; packets are in the order of time. */
export function blockExactly(options: NativeOptions, packets: readonly Packet[]): Blocking[][] {
  const units = unitsOf(options, packets);
  return RULES.map(({ byPort, meets }) => {
    const windows = new Map<string, Packet[]>(), last = new Map<string, Blocking>(), blockings: Blocking[] = [];
    for (const packet of packets) {
      const unit = units.get(packet.source), port = byPort ? packet.port : undefined, key = `${unit} ${port}`;
      if (unit === undefined) continue;
      const fromMs = packet.timeMs, untilMs = fromMs + options.blockDurationMs;
      const window = (windows.get(key) ?? []).filter((p) => p.timeMs > fromMs - options.windowMs);
      window.push(packet);
      windows.set(key, window);
      if (!meets(window, options)) continue;
      const before = last.get(key);
      if (before && fromMs <= before.untilMs) {
        before.untilMs = untilMs;
        continue;
      }
      const blocking = { unit, port, fromMs, untilMs };
      last.set(key, blocking);
      blockings.push(blocking);
    }
    return blockings;
  });
}

/** Which packets each rule drops. */
export function droppedExactly(options: NativeOptions, packets: readonly Packet[]): Set<Packet>[] {
  const units = unitsOf(options, packets);
  return blockExactly(options, packets).map((blockings) => {
    const byUnit = Map.groupBy(blockings, ({ unit }) => unit);
    return new Set(
      packets.filter(({ source, port, timeMs }) =>
        byUnit.get(units.get(source) ?? "")?.some((b) =>
          (b.port === undefined || b.port === port) && b.fromMs < timeMs && timeMs <= b.untilMs
        )
      ),
    );
  });
}

const RULES: { byPort: boolean; meets: (window: readonly Packet[], options: NativeOptions) => boolean }[] = [
  {
    byPort: true,
    meets(window, { windowMs, synRate, successRatio }) {
      const syn = count(window, "syn"), used = Math.min(count(window, "ack"), count(window, "data"));
      return syn >= synRate * windowMs / 1000 && used <= successRatio * syn;
    },
  },
  {
    byPort: true,
    meets(window, { windowMs, volSynRate, volPacketRate, volByteRate }) {
      const seconds = windowMs / 1000, bytes = window.reduce((sum, p) => sum + p.bytes, 0);
      const reached = [
        count(window, "syn") >= volSynRate * seconds,
        window.length >= volPacketRate * seconds,
        bytes >= volByteRate * seconds,
      ];
      return reached.filter(Boolean).length >= 2;
    },
  },
  {
    byPort: false,
    meets: (window, { sweepPorts }) =>
      new Set(window.filter((p) => p.kind === "syn").map((p) => p.port)).size >= sweepPorts,
  },
];

function count(window: readonly Packet[], kind: Packet["kind"]): number {
  return window.filter((p) => p.kind === kind).length;
}
