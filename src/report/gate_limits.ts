/**
 * The gates' limits: what options move, and what they are where none is given. Pure.
 */

/** The limits of the gates, as options move them. */
export interface GateLimits {
  /** Days. */
  minDays: number;
  /** Least share of the time that was watched. */
  minCoverage: number;
  /** Largest share of packets without a source. */
  maxLoss: number;
  /** Largest distance of the bounds, as a share of the upper one. */
  maxBlur: number;
  /** Most likely-legitimate sources that may be hit, as an upper limit at 95 %. */
  fpLimit: number;
  /** Most would-be-blocked sources in legitimate use, too. */
  maxMixed: number;
  /** Least share of SYNs that certainly would be dropped. */
  minEffect: number;
  /** Largest share of SYNs from sources seen once. */
  maxSpoofed: number;
}

/** Limits where none are given. */
export const DEFAULT_LIMITS: GateLimits = {
  minDays: 7,
  minCoverage: 0.99,
  maxLoss: 0.01,
  maxBlur: 0.1,
  fpLimit: 0.01,
  maxMixed: 0,
  minEffect: 0.01,
  maxSpoofed: 0.5,
};
