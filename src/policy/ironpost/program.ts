/**
 * What Ironpost would do, once its files are read: between engine.ts, which makes it, and simulate.ts, which runs it.
 * Pure types.
 */
import type { Rule } from "../policy.ts";
import type { FilterRule } from "./blocklist.ts";
import type { Conditions } from "./conditions.ts";
import type { Config } from "./config.ts";
import type { DetectionRule } from "./rules.ts";

/** What the engine would do, ready to be simulated. Numbers are indexes into the policy's rules. */
export interface Program {
  rules: readonly Rule[];
  /** Rule by IPv4 address, first octet highest. */
  blocklist: ReadonlyMap<number, { rule: number; action: FilterRule["action"] }>;
  synFlood: (Config["synFlood"] & { rule: number }) | undefined;
  portScan: (Config["portScan"] & { rule: number }) | undefined;
  detections: readonly Detection[];
  flushMs: number;
  load: LoadTimes;
}

/** A detection rule that counters can answer. */
export interface Detection extends Conditions {
  rule: number;
  id: string;
  threshold: DetectionRule["threshold"];
}

/** When the list of filter rules is in force, in milliseconds since 1970. */
export interface LoadTimes {
  fromMs: number;
  untilMs: number;
}
