/**
 * The contract between an engine, its policies, and those who ask what they would have done. Pure types.
 *
 * An engine reads policy files and gives a policy: its rules, each exact, bounded or not observable, what is wrong
 * with the files, and a simulation that folds a stream's intervals in the order of time into decisions and effects.
 * A counted interval says how many packets came, not when: so every effect is a lower and an upper bound that hold
 * for every order of the packets, and an expected value between them. An engine drops nothing that the recording
 * doesn't hold; what a sender would have done otherwise is not simulated.
 */
import type { PortRange } from "../address.ts";
import type { Interval, Sources, StreamName } from "../evidence/interval.ts";
import type { Document } from "./document.ts";

/** An engine whose policies can be simulated; one line in the table of src/policy/engines.ts. */
export interface Engine {
  /** Its name for `--engine`. */
  name: string;
  /** Readings of the engine that can be simulated, the default first. */
  profiles: readonly string[];
  /** Whether the file's document looks like one of the engine's; `document.root` may be undefined. */
  detect(document: Document): boolean;
  /**
   * A policy of files that belong together. What is wrong with them is in its findings; a policy with an error among
   * them must not be simulated, and its `simulate()` throws.
   *
   * @throws {IbsrError} `usage`, if an option is wrong: a profile that the engine has not, …
   */
  load(files: readonly PolicyFile[], options: LoadOptions): Policy;
}

/** What an operator knows and a policy's files don't say. An engine uses what it can and leaves the rest. */
export interface LoadOptions {
  /** One of the engine's profiles; its first if absent. */
  profile?: string;
  /** Lines of `prefix,country`: `192.0.2.0/24,FR`. Without it no country is known. */
  countries?: PolicyFile;
  /** What lists that the policy names by URL hold, by the list's id. */
  feeds?: ReadonlyMap<string, PolicyFile>;
  /** Addresses of the protected host. */
  hostAddresses?: readonly string[];
  /** CPUs that receive packets: engines with state per CPU allow each source up to that many times its limit. */
  cpus?: number;
}

/** A policy file as it was handed over. */
export interface PolicyFile {
  /** For messages. */
  path: string;
  /** What it holds. */
  text: string;
}

/** A place in a policy file; line and column count from 1. */
export interface Place {
  /** The file. */
  path: string;
  /** From 1. */
  line: number;
  /** From 1. */
  column: number;
}

/** Something a reader of the policy should know. `error`: the policy can't be used; `warning`: it does less or other than it says. */
export interface Finding {
  /** How much it matters. */
  severity: "error" | "warning" | "note";
  /** Stable word for programs: `engine_ignores`, `order_sensitive`, `low_resolution`, … */
  code: string;
  /** In words, for people. */
  message: string;
  /** Where in the files. */
  place?: Place;
  /** Id of the rule it is about. */
  rule?: string;
  /** It changes what a verdict means: shown beside it. */
  decisive?: true;
}

/** A rule of a policy and how much of it counters can show. */
export interface Rule {
  /** Its name in the policy. */
  id: string;
  /** Part of the engine it belongs to: `syn_flood`, `ips`, `firewall`, … */
  kind: string;
  /** What it does, in a line. */
  title: string;
  /** How much of it counters can show. */
  coverage: "exact" | "bounded" | "not observable";
  /** Why it isn't exact. */
  reason?: string;
  /** Whether the policy, as it is, lets this rule act or only report. */
  mode: "enforce" | "alert" | "off";
}

/** A policy that can be simulated. */
export interface Policy {
  /** Name of the engine. */
  engine: string;
  /** Reading of the engine that is simulated, where there are several: `seed`, `code`, `as-shipped`. */
  profile?: string;
  /** In the policy's order. */
  rules: readonly Rule[];
  /** What is wrong with its files, and what a reader should know. */
  findings: readonly Finding[];
  /** Why what it would block can't be judged, though a simulation says it: which engine runs was not said. */
  doubt?: string;
  /** The longest snapshot interval in milliseconds at which lower and upper bounds stay near each other. */
  resolutionMs: number;
  /** The longest time in milliseconds that a rule looks back. */
  windowMs: number;
  /** Begins with a stream. */
  simulate(stream: SimulatedStream): Simulation;
}

/** What a simulation may know of the stream besides its intervals. */
export interface SimulatedStream {
  /** Host and interface. */
  name: StreamName;
  /** Addresses by number. */
  sources: Sources;
}

/** A policy at work on one stream. */
export interface Simulation {
  /** Takes the next interval in time. The result is valid until the next call. */
  fold(interval: Interval): Step;
  /** What can be said only at the end. */
  finish(): { findings: Finding[] };
}

/** What a policy does in one interval. */
export interface Step {
  /** In the order they were made. */
  decisions: readonly Decision[];
  /** At most one a cell and rule; in the order of cells. Lower and upper hold whatever the order of packets was. */
  effects: readonly Effect[];
  /** Windows that would have been judged, had more than half of them been covered. */
  notEvaluated: number;
}

/** Lower and upper bound of a count, and what is likely. */
export interface Bounds {
  /** Certainly so many. */
  lower: number;
  /** Likely, by share of time. */
  expected: number;
  /** At most so many. */
  upper: number;
}

/** What a rule would have dropped of one cell; `alert` rules have decisions and no effects. */
export interface Effect {
  /** Index into the interval's cells. */
  cell: number;
  /** Index into the policy's rules. */
  rule: number;
  /** TCP packets dropped. */
  packets: Bounds;
  /** Bytes of them. */
  bytes: Bounds;
  /** Connection attempts among them. */
  syn: Bounds;
}

/** A rule that triggered, or may have: what it saw, and what it would do. */
export interface Decision {
  /** Index into the policy's rules. */
  rule: number;
  /** What the rule does with the source. */
  action: "block" | "limit" | "alert";
  /** False if another order of the same packets would not have triggered. */
  certain: boolean;
  /** The source that triggered. */
  source: number;
  /** What is blocked where it is more than the source: `192.0.2.0/24`. */
  prefix?: string;
  /** Undefined: all ports. */
  ports?: readonly PortRange[];
  /** What it looked at, milliseconds since 1970. */
  window: { beginMs: number; endMs: number };
  /** When it would have begun to act. */
  fromMs: { earliest: number; latest: number };
  /** Until when, if nothing renews it; Infinity for good. */
  untilMs: { earliest: number; latest: number };
  /**
   * The counters and thresholds by name, and the formula that joins them, for people. `syn`, `packets` and `bytes`
   * are what the window held: it came before the block.
   */
  measured: Record<string, number>;
  /** What the measured is compared with, by name. */
  thresholds: Record<string, number>;
  /** How they are compared. */
  formula: string;
}
