/**
 * The default policy's thresholds: what options move, and what they are where none is given. Pure.
 */

/** Thresholds of the default policy; rates are per second over the window. */
export interface Thresholds {
  /** Window that rates are taken over, in milliseconds. */
  windowMs: number;
  /** How long a source stays blocked after the last window that met a rule, in milliseconds. */
  blockDurationMs: number;
  /** syn_flood: SYN/s of a source to a port, at least. */
  synRate: number;
  /** syn_flood: at most this share of SYNs became connections that were used. */
  successRatio: number;
  /** volumetric: SYN/s; two of three count. */
  volSynRate: number;
  /** volumetric: packets/s. */
  volPacketRate: number;
  /** volumetric: bytes/s. */
  volByteRate: number;
  /** port_sweep: distinct monitored ports within the window, at least. */
  sweepPorts: number;
  /** Leading bits of the address that are counted and blocked together. */
  aggregateBits: { v4: number; v6: number };
}

/** Thresholds where none are given. */
export const DEFAULT_THRESHOLDS: Thresholds = {
  windowMs: 10_000,
  blockDurationMs: 300_000,
  synRate: 100,
  successRatio: 0.1,
  volSynRate: 500,
  volPacketRate: 1000,
  volByteRate: 1_000_000,
  sweepPorts: 20,
  aggregateBits: { v4: 32, v6: 128 },
};
