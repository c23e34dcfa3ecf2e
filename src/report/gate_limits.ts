/**
 * The gates' limits: what options move, and what they are where none is given. Pure.
 */

/** The limits of the gates, as options move them. */
export interface GateLimits {
  /** Days. */
  minDays: number;
  minCoverage: number;
  maxLoss: number;
  maxBlur: number;
  fpLimit: number;
  maxMixed: number;
  minEffect: number;
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
