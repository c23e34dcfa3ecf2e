/**
 * From the kernel's class sums to counters.
 *
 * Each packet adds to one of eight classes, or to a whole-number combination of them (bpf/ibsr.h, bpf/count.h);
 * the counters are sums of classes modulo 2^32. Pure: bytes in, numbers out.
 */
import { CLASS } from "./layout.ts";

/** What is counted of TCP packets, by source and destination port. Names and meanings as in a snapshot. */
export interface Counters {
  packets: number;
  /** Frame lengths without the checksum. */
  bytes: number;
  /** Packets with that flag set; a SYN-ACK is in `syn` and in `ack`. */
  syn: number;
  ack: number;
  /** ACK set, SYN and RST clear, no payload by the IP length. FIN may be set. */
  handshake_ack: number;
  rst: number;
  /** SYN and ACK set. */
  syn_ack: number;
  fin: number;
  /** Packets with payload, by the IP length. */
  data: number;
}

/** Counters in the order of a snapshot's bucket. */
export const COUNTER_NAMES = [
  "syn",
  "ack",
  "handshake_ack",
  "rst",
  "packets",
  "bytes",
  "syn_ack",
  "fin",
  "data",
] as const satisfies readonly (keyof Counters)[];

/** Frames seen and not counted, by reason; names and meanings as in a snapshot. */
export interface NotCounted {
  /** Another protocol: ARP, UDP, ICMP, … */
  not_tcp: number;
  /** TCP to a port that is not monitored. */
  other_port: number;
  /** A header that is cut short or contradicts itself. */
  malformed: number;
  /** A fragment other than the first: it has no TCP header. */
  later_fragment: number;
  /** TCP may be inside: a third VLAN tag, MPLS, PPPoE, a tunnel, ESP. */
  unknown_encapsulation: number;
}

/** Reasons in the order of `enum ibsr_skip`, which is a snapshot's. */
export const SKIP_NAMES = [
  "not_tcp",
  "other_port",
  "malformed",
  "later_fragment",
  "unknown_encapsulation",
] as const satisfies readonly (keyof NotCounted)[];

/**
 * The counters of a row of class sums.
 *
 * @param bytes Sum of frame lengths.
 * @param c Class sums modulo 2^32, in the order of `enum ibsr_class`, from index `at`.
 */
export function countersOf(bytes: number, c: ArrayLike<number>, at = 0): Counters {
  const of = (k: number) => c[at + k]!;
  const { NONE, SYN, SYN_ACK, ACK_DATA, ACK, RST, RST_ACK, FIN_ACK } = CLASS;
  return {
    packets: (of(NONE) + of(SYN) + of(SYN_ACK) + of(ACK_DATA) + of(ACK) + of(RST) + of(RST_ACK) + of(FIN_ACK)) >>> 0,
    bytes,
    syn: (of(SYN) + of(SYN_ACK)) >>> 0,
    ack: (of(SYN_ACK) + of(ACK_DATA) + of(ACK) + of(RST_ACK) + of(FIN_ACK)) >>> 0,
    handshake_ack: (of(ACK) + of(FIN_ACK)) >>> 0,
    rst: (of(RST) + of(RST_ACK)) >>> 0,
    syn_ack: of(SYN_ACK) >>> 0,
    fin: of(FIN_ACK) >>> 0,
    data: of(ACK_DATA) >>> 0,
  };
}
