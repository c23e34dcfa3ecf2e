/**
 * The engines' names, and the readings of each that can be simulated: all that help says of them. Pure.
 */

/** Readings by engine, the default first. */
export const PROFILES = {
  ebpfsentinel: ["seed", "code"],
  ironpost: ["documented", "as-shipped"],
} as const;

/** An engine that can be simulated. */
export type EngineName = keyof typeof PROFILES;
