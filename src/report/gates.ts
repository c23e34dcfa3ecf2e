/**
 * Gates and the verdict: each a number against its limit, and what follows when all are taken together.
 *
 * A gate passes, fails on the evidence, or can't be judged. One that fails makes the verdict NOT READY: more evidence
 * would not undo it. Else one that can't be judged makes it INSUFFICIENT EVIDENCE. Too little time, coverage or
 * resolution is never a failure of a rule, and a count of zero in too little time is no proof of anything. Pure.
 */
import type { Verdict } from "../rules/ruleset.ts";
import { capitalize, formatCount, formatNumberOf } from "../words.ts";
import type { GateLimits } from "./gate_limits.ts";
import type { FpBound, Gate } from "./summary.ts";

/** What the gates judge: a rule, a stream or all together. */
export interface GateInput {
  observedSec: number;
  coverage: number;
  loss: number;
  /** Bounds are this far apart, as a share of the upper one. */
  blur: number;
  /** The longest interval at which bounds are narrow, in seconds. */
  resolutionSec: number;
  /** Coverage of the rules by counters: those that enforce and can't be observed. */
  notObservable: number;
  falsePositives: FpBound;
  halves: readonly [FpBound, FpBound] | null;
  /** Would-be-blocked sources that are mixed. */
  mixed: number;
  effect: {
    syn: number;
    certainSynShare: number;
    possibleSynShare: number;
    /** Likely-abusive sources that would be blocked. */
    certainAbusive: number;
    possibleAbusive: number;
  };
  /** Share of SYNs from one-shot sources; null without a SYN. */
  spoofed: number | null;
  /** Addresses that must not be blocked and would or may be. */
  lockedOut: readonly string[];
}

/** The answer. */
export interface Judgement {
  gates: Gate[];
  verdict: Verdict;
  reason: string;
}

/** What a gate is about, and how it is said that a value misses the limit. */
type GateWords = Pick<Gate, "title" | "unit" | "option"> & { miss: (value: number, limit: number) => string };

/** The gates, in the order of a report. */
export const GATES = {
  observation: {
    ...{ title: "observation time", unit: "sec", option: "--min-days" },
    miss: (value, limit) =>
      `${describeSeconds(value)} were observed, less than the ${describeSeconds(limit)} asked for`,
  },
  coverage: {
    ...{ title: "share of the time that was watched", unit: "share", option: "--min-coverage" },
    miss: (value, limit) => `${percent(value)} of the time was watched, less than the ${percent(limit)} asked for`,
  },
  loss: {
    ...{ title: "share of packets that no source could be named for", unit: "share", option: "--max-loss" },
    miss: (value, limit) => `no source could be named for ${percent(value)} of packets, ${tooMuch(percent(limit))}`,
  },
  resolution: {
    ...{ title: "share of the possible effect that is uncertain", unit: "share", option: "--max-blur" },
    miss: (value, limit) => `${percent(value)} of the possible effect is uncertain, ${tooMuch(percent(limit))}`,
  },
  observable: {
    ...{ title: "enforcing rules that counters can't show", unit: "count" },
    miss: (value) => `counters can't show ${formatNumberOf(value, "rule that enforces", "rules that enforce")}`,
  },
  fp_bound: {
    ...{ title: "likely-legitimate sources hit, upper limit at 95 %", unit: "share", option: "--fp-limit" },
    miss: (value, limit) =>
      `up to ${percent(value)} of likely-legitimate sources may be hit, ${tooMuch(percent(limit))}`,
  },
  halves: {
    ...{ title: "the same upper limit in the worse half of the time", unit: "share", option: "--fp-limit" },
    miss: (value, limit) =>
      `in one half of the time up to ${percent(value)} of likely-legitimate sources may be hit, ` +
      tooMuch(percent(limit)),
  },
  mixed: {
    ...{ title: "would-be-blocked sources in legitimate use, too", unit: "count", option: "--max-mixed" },
    miss: (value, limit) => {
      const sources = formatNumberOf(value, "source that would be blocked is", "sources that would be blocked are");
      return `${sources} in legitimate use, too${limit > 0 ? `, ${tooMuch(formatCount(limit))}` : ""}`;
    },
  },
  effect: {
    ...{ title: "share of SYNs that certainly would be dropped", unit: "share", option: "--min-effect" },
    miss: (value, limit) =>
      `${percent(value)} of SYNs certainly would be dropped, less than the ${percent(limit)} asked for`,
  },
  spoofing: {
    ...{ title: "share of SYNs from sources seen once", unit: "share", option: "--max-spoofed" },
    miss: (value, limit) => `${percent(value)} of SYNs are from sources seen once, ${tooMuch(percent(limit))}`,
  },
  lockout: {
    ...{ title: "own, allowlisted and long-known addresses that may be blocked", unit: "count" },
    miss: (value) =>
      `${
        formatNumberOf(value, "own, allowlisted or long-known address", "own, allowlisted or long-known addresses")
      } ` +
      "may be blocked",
  },
} as const satisfies Record<string, GateWords>;

function tooMuch(limit: string): string {
  return `more than the ${limit} that is accepted`;
}

type Held = Pick<Gate, "value" | "limit" | "outcome" | "reason">;

/** Holds the numbers against the limits. */
export function judge(input: GateInput, limits: GateLimits): Judgement {
  const { observedSec, coverage, loss, blur, mixed, lockedOut, notObservable } = input;
  const leastSec = limits.minDays * 86_400, enough = observedSec >= leastSec;
  const held: Record<keyof typeof GATES, Held> = {
    observation: hold(enough, { value: observedSec, limit: leastSec, otherwise: "unknown" }, [
      "long enough",
      "what comes once a week has not been seen",
    ]),
    coverage: hold(
      coverage >= limits.minCoverage,
      { value: coverage, limit: limits.minCoverage, otherwise: "unknown" },
      [
        "watched",
        "a gap is time nobody watched, not zero traffic",
      ],
    ),
    loss: hold(loss <= limits.maxLoss, { value: loss, limit: limits.maxLoss, otherwise: "unknown" }, [
      "counted",
      "a larger --map-size loses fewer",
    ]),
    resolution: hold(blur <= limits.maxBlur, { value: blur, limit: limits.maxBlur, otherwise: "unknown" }, [
      "bounds are near each other",
      `snapshots every ${round(input.resolutionSec)} s or less bring the bounds near each other`,
    ]),
    observable: hold(notObservable === 0, { value: notObservable, limit: 0, otherwise: "unknown" }, [
      "none",
      "what they would drop is not in any number here",
    ]),
    fp_bound: holdBound(input, limits),
    halves: holdHalves(input, limits),
    mixed: hold(mixed <= limits.maxMixed, { value: mixed, limit: limits.maxMixed, otherwise: "fail" }, [
      mixed === 0 ? "none" : "accepted",
      "a block of a shared address hits the neighbours of whoever triggered it",
    ]),
    effect: holdEffect(input, limits, enough),
    spoofing: holdSpoofing(input, limits),
    lockout: hold(lockedOut.length === 0, { value: lockedOut.length, limit: 0, otherwise: "fail" }, [
      "none",
      `${lockedOut.length > 3 ? "among them " : ""}${lockedOut.slice(0, 3).join(", ")}`,
    ]),
  };
  const gates = Object.entries(held).map(([id, { value, limit, outcome, reason }]): Gate => {
    const { title, unit, miss: _, ...option } = GATES[id as keyof typeof GATES];
    return {
      id,
      title,
      value: typeof value === "number" ? round(value) : value,
      limit,
      unit,
      ...option,
      outcome,
      reason,
    };
  });
  const failed = gates.filter((g) => g.outcome === "fail"), unknown = gates.filter((g) => g.outcome === "unknown");
  const verdict: Verdict = failed.length > 0 ? "NOT READY" : unknown.length > 0 ? "INSUFFICIENT EVIDENCE" : "READY";
  const decisive = failed.length > 0 ? failed : unknown;
  return { gates, verdict, reason: decisive.length === 0 ? readyReason(input) : explain(decisive) };
}

function hold(
  passes: boolean,
  { value, limit, otherwise }: { value: number; limit: number; otherwise: "fail" | "unknown" },
  [good, bad]: readonly [string, string],
): Held {
  return { value, limit, outcome: passes ? "pass" : otherwise, reason: passes ? good : bad };
}

const NO_LEGITIMATE = "no likely-legitimate source was seen to judge by";

function holdBound({ falsePositives: { legitimate, hit, point, upper } }: GateInput, { fpLimit }: GateLimits): Held {
  const seen = `${formatCount(hit)} of ${formatNumberOf(legitimate, "likely-legitimate source")} would be hit`;
  const held = { value: upper, limit: fpLimit };
  if (upper === null) return { ...held, outcome: "unknown", reason: NO_LEGITIMATE };
  if (upper <= fpLimit) return { ...held, outcome: "pass", reason: seen };
  if (point! > fpLimit) return { ...held, outcome: "fail", reason: seen };
  const reason = `${seen}, too few sources or networks to claim at most ${percent(fpLimit)}`;
  return { ...held, outcome: "unknown", reason };
}

function holdHalves({ halves }: GateInput, { fpLimit }: GateLimits): Held {
  if (!halves || halves.some((h) => h.upper === null)) {
    const reason = "a half of the time has no likely-legitimate source to judge by";
    return { value: null, limit: fpLimit, outcome: "unknown", reason };
  }
  const upper = Math.max(halves[0].upper!, halves[1].upper!), failing = halves.some((h) => h.point! > fpLimit);
  const counts = halves.map((h) => `${formatCount(h.hit)} of ${formatCount(h.legitimate)}`).join(" and ");
  const outcome = upper <= fpLimit ? "pass" : failing ? "fail" : "unknown";
  return { value: upper, limit: fpLimit, outcome, reason: `${counts} would be hit in the halves` };
}

function holdEffect({ effect }: GateInput, { minEffect }: GateLimits, enough: boolean): Held {
  const { syn, certainSynShare, possibleSynShare, certainAbusive, possibleAbusive } = effect;
  const held = { value: syn > 0 ? certainSynShare : null, limit: minEffect };
  if (syn === 0) return { ...held, outcome: "unknown", reason: "no connection attempt was seen" };
  if (certainSynShare >= minEffect || certainAbusive > 0) {
    return { ...held, outcome: "pass", reason: `likely-abusive sources certainly blocked: ${certainAbusive}` };
  }
  if (enough && possibleSynShare < minEffect && possibleAbusive === 0) {
    return {
      ...held,
      outcome: "fail",
      reason: "nothing to gain, since no likely-abusive source would be blocked, either",
    };
  }
  const reason = enough ? `it may be up to ${percent(possibleSynShare)}` : "nothing to gain in so short a time";
  return { ...held, outcome: "unknown", reason };
}

function holdSpoofing({ spoofed }: GateInput, { maxSpoofed }: GateLimits): Held {
  const held = { value: spoofed, limit: maxSpoofed };
  if (spoofed === null) return { ...held, outcome: "unknown", reason: "no connection attempt was seen" };
  if (spoofed <= maxSpoofed) return { ...held, outcome: "pass", reason: "not mostly spoofed" };
  return { ...held, outcome: "fail", reason: "likely spoofed, so that blocks would chase addresses that never return" };
}

function readyReason({ effect, falsePositives }: GateInput): string {
  return `${percent(effect.certainSynShare)} of connection attempts certainly would be dropped, and at most ` +
    `${percent(falsePositives.upper!)} of likely-legitimate sources would be hit (at 95 % confidence).`;
}

/** Why these gates decide, a sentence each. What several can't be judged for is said once. */
function explain(gates: readonly Gate[]): string {
  const bounded = gates.some(({ id }) => id === "fp_bound");
  const sentences = gates.filter(({ id }) => id !== "halves" || !bounded).map(({ id, value, limit, reason }) =>
    typeof value === "number" && typeof limit === "number"
      ? `${GATES[id as keyof typeof GATES].miss(value, limit)}: ${reason}`
      : reason
  );
  return [...new Set(sentences)].map((sentence) => `${capitalize(sentence)}.`).join(" ");
}

/** A gate's value or limit, for people. */
export function describeValue(value: Gate["value"], unit: Gate["unit"]): string {
  if (value === null) return "unknown";
  if (typeof value === "string") return value;
  return unit === "share" ? percent(value) : unit === "sec" ? describeSeconds(value) : `${round(value)}`;
}

/** A length of time with three significant digits. */
export function describeSeconds(value: number): string {
  const [amount, unit] = value >= 172_800
    ? [value / 86_400, "days"]
    : value >= 7200
    ? [value / 3600, "hours"]
    : value >= 120
    ? [value / 60, "minutes"]
    : [value, "s"];
  return `${Number(amount.toPrecision(3))} ${unit}`;
}

/** A fraction as a percentage with two significant digits; what is less than all is never shown as 100 %. */
export function percent(fraction: number): string {
  const value = 100 * fraction;
  if (value < 100 && value > 99.9) return `${Math.min(99.99, Math.floor(100 * value) / 100)} %`;
  return `${value === 0 || value >= 10 ? Math.round(10 * value) / 10 : Number(value.toPrecision(2))} %`;
}

/** Six significant digits are enough for any of these. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
