/**
 * What everything offline rests on: intervals of counted traffic, in columns.
 *
 * A stream is one interface of one host. Its snapshots become intervals (begin, end], each with what was counted in
 * it by source and destination port. Rows are kept in columns: a hundred thousand of them are a dozen arrays, not a
 * hundred thousand objects. Pure types.
 */
import type { Counters, NotCounted } from "../counters.ts";
import type { SnapshotMode } from "../snapshot.ts";

/**
 * One interface of one host. Snapshots before version 8 name neither: both are then "unknown", or "unknown (FOLDER)"
 * for hosts that only folders tell apart.
 */
export interface StreamName {
  /** Host that counted. */
  hostname: string;
  /** Interface that was counted on. */
  iface: string;
}

/** The source addresses of all streams, each once, by a number from 0. */
export interface Sources {
  /** How many there are. */
  readonly count: number;
  /** As RFC 5952 writes it. */
  text(source: number): string;
  /** 4 or 16 bytes in network order. */
  bytes(source: number): Uint8Array;
  /**
   * Negative, 0 or positive, as `a` stands before, at or behind `b`: IPv4 before IPv6, then by value. Their bytes are
   * compared where it isn't there, which takes longer.
   */
  compare?(a: number, b: number): number;
}

/** Rows of an interval, sorted by address and port; the columns are as long as `count` or longer. */
export interface Cells {
  /** Rows. */
  count: number;
  /** Number of the source. */
  source: Uint32Array;
  /** Destination port; 0 where a snapshot counted all ports together. */
  port: Uint16Array;
  /** TCP packets. */
  packets: Float64Array;
  /** Frame lengths without the checksum. */
  bytes: Float64Array;
  /** Packets with SYN set. */
  syn: Float64Array;
  /** Packets with ACK set. */
  ack: Float64Array;
  /** Bare ACKs. */
  handshakeAck: Float64Array;
  /** Packets with RST set. */
  rst: Float64Array;
  /** Packets with SYN and ACK set. */
  synAck: Float64Array;
  /** Packets with FIN set. */
  fin: Float64Array;
  /** Packets with payload. Before version 8 derived: the packets that are no SYN, no RST and no bare ACK. */
  data: Float64Array;
}

/** What one snapshot says of (beginMs, endMs]. */
export interface Interval {
  /** Milliseconds since 1970; the length is as measured. */
  beginMs: number;
  /** Milliseconds since 1970. */
  endMs: number;
  /** Run of the collector. */
  runId: number;
  /** The first of its run: what came before it was not watched. */
  first: boolean;
  /** How it was counted; undefined where a version doesn't say. */
  mode: SnapshotMode | undefined;
  /** Ports that were counted, sorted. */
  ports: readonly number[];
  /** What was counted by source and port. */
  cells: Cells;
  /** Exact totals over all ports, whatever the maps lost; the sum of the cells where a version doesn't record it. */
  total: Counters;
  /** Counted in the totals and in no cell. */
  unattributed: Counters;
  /** Entries the maps pushed out before they were read; counters seen to decrease, in cumulative snapshots. */
  evicted: number;
  /** Rows of cumulative snapshots with a 32-bit counter that passed its end, which was put right. */
  wrapped: number;
  /** Undefined where a version doesn't record it. */
  notCounted: NotCounted | undefined;
}
