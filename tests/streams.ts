/**
 * Streams for tests: intervals from counts or from packets.
 */
import { formatAddress, parseAddress } from "../src/address.ts";
import type { Cells, Interval, Sources } from "../src/evidence/interval.ts";
import type { Counters, NotCounted } from "../src/counters.ts";

/** Counters of a source and port, in the words of a snapshot; what is not given is 0, `packets` and `bytes` derived. */
export interface Row {
  source: string;
  port: number;
  syn?: number;
  ack?: number;
  handshake_ack?: number;
  rst?: number;
  packets?: number;
  bytes?: number;
  syn_ack?: number;
  fin?: number;
  data?: number;
}

/** Sources by text, numbered in the order they are asked for. */
export function makeSources(): Sources & { of(text: string): number } {
  const texts: string[] = [], numbers = new Map<string, number>();
  return {
    get count() {
      return texts.length;
    },
    text: (source) => texts[source]!,
    bytes: (source) => parseAddress(texts[source]!)!,
    of(text) {
      const bytes = parseAddress(text);
      if (!bytes) throw new Error(`${text} is no address`);
      const canonical = formatAddress(bytes);
      const known = numbers.get(canonical);
      if (known !== undefined) return known;
      numbers.set(canonical, texts.length);
      return texts.push(canonical) - 1;
    },
  };
}

const ZERO: Counters = {
  packets: 0,
  bytes: 0,
  syn: 0,
  ack: 0,
  handshake_ack: 0,
  rst: 0,
  syn_ack: 0,
  fin: 0,
  data: 0,
};

function compareAddresses(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}

/** An interval of rows, sorted and added up as the reader does. */
export function makeInterval(
  sources: ReturnType<typeof makeSources>,
  { beginMs, endMs, rows, ...rest }: { beginMs: number; endMs: number; rows: readonly Row[] } & Partial<Interval>,
): Interval {
  const sums = new Map<string, Row & Counters>();
  for (const row of rows) {
    const source = sources.text(sources.of(row.source)), key = `${source} ${row.port}`;
    const sum = sums.get(key) ?? { ...ZERO, source, port: row.port };
    const syn = row.syn ?? 0, handshake_ack = row.handshake_ack ?? 0, data = row.data ?? 0, rst = row.rst ?? 0;
    const packets = row.packets ?? syn + handshake_ack + data + rst;
    sum.syn += syn;
    sum.ack += row.ack ?? handshake_ack + data;
    sum.handshake_ack += handshake_ack;
    sum.rst += rst;
    sum.packets += packets;
    sum.bytes += row.bytes ?? 60 * packets;
    sum.syn_ack += row.syn_ack ?? 0;
    sum.fin += row.fin ?? 0;
    sum.data += data;
    sums.set(key, sum);
  }
  const sorted = [...sums.values()].sort((a, b) =>
    compareAddresses(parseAddress(a.source)!, parseAddress(b.source)!) || a.port - b.port
  );
  const column = (name: keyof Counters) => Float64Array.from(sorted, (row) => row[name]);
  const cells: Cells = {
    count: sorted.length,
    source: Uint32Array.from(sorted, (row) => sources.of(row.source)),
    port: Uint16Array.from(sorted, (row) => row.port),
    packets: column("packets"),
    bytes: column("bytes"),
    syn: column("syn"),
    ack: column("ack"),
    handshakeAck: column("handshake_ack"),
    rst: column("rst"),
    synAck: column("syn_ack"),
    fin: column("fin"),
    data: column("data"),
  };
  const total = { ...ZERO };
  for (const row of sorted) for (const name of Object.keys(ZERO) as (keyof Counters)[]) total[name] += row[name];
  const notCounted: NotCounted = {
    not_tcp: 0,
    other_port: 0,
    malformed: 0,
    later_fragment: 0,
    unknown_encapsulation: 0,
  };
  return {
    beginMs,
    endMs,
    runId: 1,
    first: false,
    mode: "native",
    ports: [80, 443],
    cells,
    total,
    unattributed: { ...ZERO },
    evicted: 0,
    wrapped: 0,
    notCounted,
    ...rest,
  };
}

/** A packet of a trace. */
export interface Packet {
  timeMs: number;
  source: string;
  port: number;
  /** What rules count it as besides a packet; `rst` is nothing to any of them. */
  kind: "syn" | "ack" | "data" | "rst";
  bytes: number;
}

/** Packets counted in intervals that begin at the edges; the last edge is the end. Packets outside are lost. */
export function countPackets(
  sources: ReturnType<typeof makeSources>,
  packets: readonly Packet[],
  spans: readonly { beginMs: number; endMs: number }[],
): Interval[] {
  return spans.map((span) =>
    makeInterval(sources, {
      ...span,
      rows: packets.filter((p) => p.timeMs > span.beginMs && p.timeMs <= span.endMs).map((p) => ({
        source: p.source,
        port: p.port,
        [p.kind === "ack" ? "handshake_ack" : p.kind]: 1,
        bytes: p.bytes,
      })),
    })
  );
}
