/**
 * Gates and the verdict: each a number against its limit, and what follows when all are taken together.
 *
 * A gate passes, fails on the evidence, or can't be judged. One that fails makes the verdict NOT READY: more evidence
 * would not undo it. Else one that can't be judged makes it INSUFFICIENT EVIDENCE. Too little time, coverage or
 * resolution is never a failure of a rule, and a count of zero in too little time is no proof of anything. Pure.
 */
import type { Verdict } from "../rules/ruleset.ts";
import { capitalize, formatCount, formatDuration, formatNumberOf, tellApart, trimFraction } from "../words.ts";
import type { GateLimits } from "./gate_limits.ts";
import type { FpBound, Gate } from "./summary.ts";
import { LEAST_PERIODS, LEAST_USES, PERIOD_MS } from "./tally.ts";

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
  /** Why the effect can't be judged, whatever it is. */
  doubt?: string | undefined;
  /** Which of such addresses the operator gave; those known since long are always looked for. */
  given: { selfAddresses: boolean; allowlist: boolean };
}

/** The answer. */
export interface Judgement {
  gates: Gate[];
  verdict: Verdict;
  reason: string;
}

/** What a gate is about, whether its limit is the least or the most, and how it is said that a value misses it. */
type GateWords = Pick<Gate, "title" | "unit" | "option"> & {
  sign: "≥" | "≤";
  miss: (value: number, limit: number) => string;
};

/** The gates, in the order of a report. */
export const GATES = {
  observation: {
    ...{ title: "observation time", unit: "sec", option: "--min-days", sign: "≥" },
    miss: (value, limit) =>
      `${describeSeconds(value, limit)} were observed, less than the ${describeLimit(limit, "sec")} asked for`,
  },
  coverage: {
    ...{ title: "share of the time that was watched", unit: "share", option: "--min-coverage", sign: "≥" },
    miss: (value, limit) =>
      `${percent(value, limit)} of the time was watched, less than the ${describeLimit(limit, "share")} asked for`,
  },
  loss: {
    ...{ title: "share of packets that no source could be named for", unit: "share", option: "--max-loss", sign: "≤" },
    miss: (value, limit) => `no source could be named for ${percent(value, limit)} of packets, ${tooMuch(limit)}`,
  },
  resolution: {
    ...{ title: "share of the possible effect that is uncertain", unit: "share", option: "--max-blur", sign: "≤" },
    miss: (value, limit) => `${percent(value, limit)} of the possible effect is uncertain, ${tooMuch(limit)}`,
  },
  observable: {
    ...{ title: "enforcing rules that counters can't show", unit: "count", sign: "≤" },
    miss: (value) => `counters can't show ${formatNumberOf(value, "rule that enforces", "rules that enforce")}`,
  },
  fp_bound: {
    ...{ title: "likely-legitimate sources hit, upper limit at 95 %", unit: "share", option: "--fp-limit", sign: "≤" },
    miss: (value, limit) => `up to ${percent(value, limit)} of likely-legitimate sources may be hit, ${tooMuch(limit)}`,
  },
  halves: {
    ...{ title: "the same upper limit in the worse half of the time", unit: "share", option: "--fp-limit", sign: "≤" },
    miss: (value, limit) =>
      `in one half of the time up to ${percent(value, limit)} of likely-legitimate sources may be hit, ` +
      tooMuch(limit),
  },
  mixed: {
    ...{ title: "would-be-blocked sources in legitimate use, too", unit: "count", option: "--max-mixed", sign: "≤" },
    miss: (value, limit) => {
      const sources = formatNumberOf(value, "source that would be blocked is", "sources that would be blocked are");
      return `${sources} in legitimate use, too${limit > 0 ? `, ${tooMuch(limit, "count")}` : ""}`;
    },
  },
  effect: {
    ...{ title: "share of SYNs that certainly would be dropped", unit: "share", option: "--min-effect", sign: "≥" },
    miss: (value, limit) =>
      `${percent(value, limit)} of SYNs certainly would be dropped, less than the ${
        describeLimit(limit, "share")
      } asked for`,
  },
  spoofing: {
    ...{ title: "share of SYNs from sources seen once", unit: "share", option: "--max-spoofed", sign: "≤" },
    miss: (value, limit) => `${percent(value, limit)} of SYNs are from sources seen once, ${tooMuch(limit)}`,
  },
  lockout: {
    ...{ title: "own, allowlisted and long-known addresses that may be blocked", unit: "count", sign: "≤" },
    miss: (value) =>
      `${
        formatNumberOf(value, "own, allowlisted or long-known address", "own, allowlisted or long-known addresses")
      } ` +
      "may be blocked",
  },
} as const satisfies Record<string, GateWords>;

function tooMuch(limit: number, unit: Gate["unit"] = "share"): string {
  return `more than the ${describeLimit(limit, unit)} that is accepted`;
}

type Held = Pick<Gate, "value" | "limit" | "outcome" | "in_part" | "reason">;

/** Holds the numbers against the limits. */
export function judge(input: GateInput, limits: GateLimits): Judgement {
  const { observedSec, coverage, loss, blur, mixed, notObservable } = input;
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
    effect: doubtEffect(input, holdEffect(input, limits, enough)),
    spoofing: holdSpoofing(input, limits),
    lockout: holdLockout(input),
  };
  const gates = Object.entries(held).map(([id, one]): Gate => {
    const { value, limit, outcome, in_part, reason } = observedSec > 0 || one.outcome !== "pass"
      ? one
      : notWatched(one);
    const { title, unit, miss: _, sign: _sign, ...option } = GATES[id as keyof typeof GATES];
    return {
      id,
      title,
      // A value that rounding would put on its limit keeps its digits.
      value: typeof value === "number" && round(value) !== limit ? round(value) : value,
      limit,
      unit,
      ...option,
      outcome,
      ...(in_part ? { in_part } : {}),
      reason,
    };
  });
  const has = (outcome: Gate["outcome"]) => gates.some((gate) => gate.outcome === outcome);
  const verdict: Verdict = has("fail") ? "NOT READY" : has("unknown") ? "INSUFFICIENT EVIDENCE" : "READY";
  return { gates, verdict, reason: verdict === "READY" ? readyReason(input) : explainGates(gates).join(" ") };
}

/** Where there is no interval at all, nothing passes: what was never looked at has not been found good. */
function notWatched({ limit }: Held): Held {
  return { value: null, limit, outcome: "unknown", reason: "nothing was watched" };
}

function hold(
  passes: boolean,
  { value, limit, otherwise }: { value: number; limit: number; otherwise: "fail" | "unknown" },
  [good, bad]: readonly [string, string],
): Held {
  return { value, limit, outcome: passes ? "pass" : otherwise, reason: passes ? good : bad };
}

/** What it takes for a source to look likely legitimate, besides what tally.ts asks of its bare ACKs. */
const IT_TAKES =
  `it takes connections opened, completed and used in ${LEAST_USES} intervals, in ${LEAST_PERIODS} periods ` +
  `of ${PERIOD_MS / 60_000} minutes, outside of what triggered`;

function holdBound({ falsePositives: { legitimate, hit, point, upper } }: GateInput, { fpLimit }: GateLimits): Held {
  const seen = `${formatCount(hit)} of ${formatNumberOf(legitimate, "likely-legitimate source")} would be hit`;
  const held = { value: upper, limit: fpLimit };
  if (upper === null) {
    return { ...held, outcome: "unknown", reason: `no source looks likely legitimate yet: ${IT_TAKES}` };
  }
  if (upper <= fpLimit) return { ...held, outcome: "pass", reason: seen };
  if (point! > fpLimit) return { ...held, outcome: "fail", reason: seen };
  const reason = `${seen}, too few sources or networks to claim at most ${describeLimit(fpLimit, "share")}`;
  return { ...held, outcome: "unknown", reason };
}

function holdHalves({ halves, falsePositives }: GateInput, { fpLimit }: GateLimits): Held {
  if (!halves || halves.some((h) => h.upper === null)) {
    const lacking = (halves ?? []).flatMap(({ upper }, i) => upper === null ? [i === 0 ? "first" : "second"] : []);
    const where = lacking.length === 1 ? `the ${lacking[0]} half` : "either half";
    const what = falsePositives.upper === null ? "see fp_bound" : IT_TAKES;
    const reason = `in ${where} of the time no source looks likely legitimate: ${what}`;
    return { value: null, limit: fpLimit, outcome: "unknown", reason };
  }
  const upper = Math.max(halves[0].upper!, halves[1].upper!), failing = halves.some((h) => h.point! > fpLimit);
  const counts = halves.map((h) => `${formatCount(h.hit)} of ${formatCount(h.legitimate)}`).join(" and ");
  const outcome = upper <= fpLimit ? "pass" : failing ? "fail" : "unknown";
  const few = outcome === "unknown"
    ? `, too few sources or networks to claim at most ${describeLimit(fpLimit, "share")}`
    : "";
  return { value: upper, limit: fpLimit, outcome, reason: `${counts} would be hit in the halves${few}` };
}

function holdEffect({ effect }: GateInput, { minEffect }: GateLimits, enough: boolean): Held {
  const { syn, certainSynShare, possibleSynShare, certainAbusive, possibleAbusive } = effect;
  const held = { value: syn > 0 ? certainSynShare : null, limit: minEffect };
  if (syn === 0) return { ...held, outcome: "unknown", reason: "no connection attempt was seen" };
  if (certainSynShare >= minEffect) return { ...held, outcome: "pass", reason: "something to gain" };
  if (certainAbusive > 0) {
    const sources = formatNumberOf(certainAbusive, "likely-abusive source");
    return { ...held, outcome: "pass", reason: `little, but ${sources} certainly would be blocked: that is enough` };
  }
  if (possibleSynShare >= minEffect) {
    return { ...held, outcome: "unknown", reason: `it may be up to ${percent(possibleSynShare, minEffect)}` };
  }
  if (possibleAbusive > 0) {
    const sources = formatNumberOf(possibleAbusive, "likely-abusive source");
    return { ...held, outcome: "unknown", reason: `${sources} may be blocked, or may not` };
  }
  const reason = "nothing to gain, since no likely-abusive source would be blocked, either";
  if (enough) return { ...held, outcome: "fail", reason };
  return { ...held, outcome: "unknown", reason: `${reason}; so short a time proves nothing` };
}

/** A simulated effect is none if it isn't known that the engine has it at all. */
function doubtEffect({ doubt }: GateInput, held: Held): Held {
  if (doubt === undefined || held.outcome !== "pass") return held;
  return { value: null, limit: held.limit, outcome: "unknown", reason: doubt };
}

function holdSpoofing({ spoofed }: GateInput, { maxSpoofed }: GateLimits): Held {
  const held = { value: spoofed, limit: maxSpoofed };
  if (spoofed === null) return { ...held, outcome: "unknown", reason: "no connection attempt was seen" };
  if (spoofed <= maxSpoofed) return { ...held, outcome: "pass", reason: "not mostly spoofed" };
  return { ...held, outcome: "fail", reason: "likely spoofed, so that blocks would chase addresses that never return" };
}

/**
 * Nobody who must not be is blocked, as far as was asked. Which addresses are the host's own, or its gateway's, a report
 * made elsewhere can't know: it passes without them, and says that it did.
 */
function holdLockout({ lockedOut, given: { selfAddresses, allowlist } }: GateInput): Held {
  const held = { value: lockedOut.length, limit: 0 };
  if (lockedOut.length > 0) {
    const reason = `${lockedOut.length > 3 ? "among them " : ""}${lockedOut.slice(0, 3).join(", ")}`;
    return { ...held, outcome: "fail", reason };
  }
  if (selfAddresses && allowlist) return { ...held, outcome: "pass", reason: "none would be hit" };
  if (selfAddresses) {
    return { ...held, outcome: "pass", reason: "own and long-known addresses: none hit; no --allowlist was given" };
  }
  if (allowlist) {
    const reason = "allowlisted and long-known addresses: none hit; no --self-address was given";
    return { ...held, outcome: "pass", reason };
  }
  const reason = "long-known sources: none hit; own addresses and an allowlist were not given " +
    "(--self-address, --allowlist)";
  return { ...held, outcome: "pass", in_part: true, reason };
}

function readyReason({ effect, falsePositives, given }: GateInput): string {
  const asked = given.selfAddresses || given.allowlist
    ? ""
    : " Whether it would lock you out was not asked: no --self-address and no --allowlist was given.";
  return `${percent(effect.certainSynShare)} of connection attempts certainly would be dropped, and at most ` +
    `${percent(falsePositives.upper!)} of likely-legitimate sources would be hit (at 95 % confidence).${asked}`;
}

/**
 * Why the gates don't let the verdict be READY, a sentence each: those that fail, or else those that can't be judged.
 * What several can't be judged for is said once. None if all pass.
 */
export function explainGates(gates: readonly Gate[]): string[] {
  const failed = gates.filter((g) => g.outcome === "fail");
  const decisive = failed.length > 0 ? failed : gates.filter((g) => g.outcome === "unknown");
  const bounded = decisive.some(({ id }) => id === "fp_bound");
  const sentences = decisive.filter(({ id }) => id !== "halves" || !bounded).map(({ id, value, limit, reason }) =>
    typeof value === "number" && typeof limit === "number"
      ? `${GATES[id as keyof typeof GATES].miss(value, limit)}: ${reason}`
      : reason
  );
  return [...new Set(sentences)].map((sentence) => `${capitalize(sentence)}.`);
}

/** A gate's number against its limit, for people: `99.95 % (≥ 99 %, --min-coverage)`. */
export function describeNumber({ id, value, limit, unit, option }: Gate): string {
  const asked = `${GATES[id as keyof typeof GATES].sign} ${describeLimit(limit, unit)}${option ? `, ${option}` : ""}`;
  return `${describeValue(value, { limit, unit })} (${asked})`;
}

function describeValue(value: Gate["value"], { limit, unit }: Pick<Gate, "limit" | "unit">): string {
  if (value === null) return "unknown";
  if (typeof value === "string") return value;
  const beside = typeof limit === "number" ? limit : undefined;
  return unit === "share"
    ? percent(value, beside)
    : unit === "sec"
    ? describeSeconds(value, beside)
    : `${round(value)}`;
}

/** A limit has all of its digits. */
function describeLimit(limit: Gate["limit"], unit: Gate["unit"]): string {
  return describeValue(limit, { limit, unit });
}

/**
 * A length of time as everywhere, or with the digits it takes beside a limit that it would read like: it is rounded to
 * seconds, and 7 d less a tenth of a second is not 7 d.
 */
export function describeSeconds(value: number, limit?: number): string {
  const text = formatDuration(value);
  if (limit === undefined || value === limit || text !== formatDuration(limit) || value > limit) return text;
  return `${trimFraction(value)} s`;
}

/**
 * A fraction as a percentage with two significant digits, or those it takes beside a limit; what is less than all is
 * never shown as 100 %.
 */
export function percent(fraction: number, limit?: number): string {
  const value = 100 * fraction;
  const short = value < 100 && value > 99.9
    ? Math.min(99.99, Math.floor(100 * value) / 100)
    : value === 0 || value >= 10
    ? Math.round(10 * value) / 10
    : Number(value.toPrecision(2));
  return `${limit === undefined ? short : tellApart(value, { short, limit: trimFraction(100 * limit) })} %`;
}

/** Six significant digits are enough for any of these. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
