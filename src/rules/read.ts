/**
 * Reads `rules.json` from bytes that may come from anyone: what this returns has the types and limits it promises.
 *
 * Every key is known, every address and port is one, every text is bounded. What addresses mean (host bits, overlaps,
 * what must never be blocked) is normalise.ts's business; how texts are written into a format is each format's.
 */
import type { PortRange } from "../address.ts";
import { IbsrError, nearest, reason } from "../errors.ts";
import { parsePrefix } from "../prefix.ts";
import type { CandidateRule, Range, RuleSet, Verdict } from "./ruleset.ts";

/** The largest file in bytes, and the most rules and exceptions in one. */
export const MAX_BYTES = 128 * 2 ** 20, MAX_RULES = 250_000;

/** Objects in objects, and all of them: a rule has six. */
const MAX_DEPTH = 16, MAX_OPENED = 8 * MAX_RULES;

/** Characters of a text, and ports and ranges of a rule. */
const MAX_TEXT = 16_384, MAX_PORTS = 65_536;

/** Seconds since 1970 that dates can show: until the year 9999. */
const MAX_TIME = 253_402_300_799;

const VERDICTS = ["READY", "NOT READY", "INSUFFICIENT EVIDENCE"] as const satisfies readonly Verdict[];
const CLASSES = ["likely legitimate", "mixed", "unknown", "likely abusive"] as const satisfies readonly CandidateRule[
  "class"
][];

/**
 * Reads a file of candidate rules.
 *
 * @param path Only for messages.
 * @throws {IbsrError} `data`: not JSON, or not a rule set; the message names the first place that is wrong.
 */
export function parseRuleSet(bytes: Uint8Array, path: string): RuleSet {
  if (bytes.length > MAX_BYTES) throw wrongFile(path, `it has ${bytes.length} bytes, the most is ${MAX_BYTES}`);
  const structure = judgeStructure(bytes);
  if (structure) throw wrongFile(path, structure);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw wrongFile(path, `it is not JSON (${reason(cause)})`, cause);
  }
  try {
    return readRuleSet(value);
  } catch (cause) {
    if (cause instanceof Wrong) throw wrongFile(path, cause.message, cause);
    throw cause;
  }
}

/**
 * What of the brackets no rule set has, before JSON.parse makes objects of them: a hundred megabytes of "[" would
 * cost gigabytes.
 */
function judgeStructure(bytes: Uint8Array): string | undefined {
  let depth = 0, opened = 0, quoted = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x22) quoted = !quoted; // "
    else if (quoted) i += byte === 0x5c ? 1 : 0; // \
    else if (byte === 0x5b || byte === 0x7b) { // [ {
      if (++depth > MAX_DEPTH) return `it is nested deeper than ${MAX_DEPTH} levels`;
      if (++opened > MAX_OPENED) return `it has more than ${MAX_OPENED} objects and lists`;
    } else if (byte === 0x5d || byte === 0x7d) depth--; // ] }
  }
  return undefined;
}

function wrongFile(path: string, state: string, cause?: unknown): IbsrError {
  return new IbsrError("data", `Cannot use ${path} as rules: ${state}`, {
    hint: "`ibsr report` writes rules.json",
    cause,
  });
}

/** What is wrong with a value, and where it is. */
class Wrong extends Error {
  constructor(place: string, expected: string, value?: unknown) {
    super(`${place || "the file"} is ${value === undefined ? "missing" : show(value)}, expected ${expected}`);
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** Reads one value at a place of the file. */
type Reader<T> = (value: unknown, place: string) => T;

/** An object with exactly these keys; those in `optional` may be absent. */
function readObject<T extends object>(readers: { [K in keyof T]-?: Reader<T[K]> }, optional: string[] = []): Reader<T> {
  const known = Object.keys(readers);
  return (value, place) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Wrong(place, "an object", value);
    }
    const result: Record<string, unknown> = {};
    for (const key of known) {
      const at = place ? `${place}.${key}` : key;
      if (Object.hasOwn(value, key)) {
        result[key] = readers[key as keyof T](value[key as keyof typeof value], at);
      } else if (!optional.includes(key)) {
        throw new Wrong(at, "a value");
      }
    }
    for (const key of Object.keys(value)) {
      if (known.includes(key)) continue;
      const near = nearest(key.slice(0, 64), known);
      throw new Wrong(place, `no key ${show(key)}${near ? `; is it "${near}"?` : ""}`, "an object with more keys");
    }
    return result as T;
  };
}

function readList<T>(reader: Reader<T>, most: number): Reader<T[]> {
  return (value, place) => {
    if (!Array.isArray(value)) throw new Wrong(place, "a list", value);
    if (value.length > most) throw new Wrong(place, `at most ${most} of them`, `a list of ${value.length}`);
    return value.map((element, i) => reader(element, `${place}[${i}]`));
  };
}

function readText(value: unknown, place: string): string {
  if (typeof value !== "string") throw new Wrong(place, "a text", value);
  if (value.length > MAX_TEXT) throw new Wrong(place, `at most ${MAX_TEXT} characters`, value);
  return value;
}

function readChoice<const T>(choices: readonly T[]): Reader<T> {
  return (value, place) => {
    const choice = choices.find((c) => c === value);
    if (choice === undefined) throw new Wrong(place, choices.map((c) => JSON.stringify(c)).join(" or "), value);
    return choice;
  };
}

function readMatch(pattern: RegExp, expected: string): Reader<string> {
  return (value, place) => {
    if (typeof value !== "string" || !pattern.test(value)) throw new Wrong(place, expected, value);
    return value;
  };
}

function readNumber(min: number, max: number, whole: boolean, expected: string): Reader<number> {
  return (value, place) => {
    const fits = typeof value === "number" && value >= min && value <= max && (!whole || Number.isInteger(value));
    if (!fits) throw new Wrong(place, expected, value);
    return value;
  };
}

const readCount = readNumber(0, Number.MAX_SAFE_INTEGER, false, "a number that is not negative");
const readTime = readNumber(0, MAX_TIME, false, "seconds since 1970");

const readPrefix: Reader<string> = (value, place) => {
  if (typeof value !== "string" || !parsePrefix(value)) throw new Wrong(place, "an address or CIDR", value);
  return value;
};

const readPortRange: Reader<PortRange> = (value, place) => {
  const match = typeof value === "string" && value.length < 12 ? /^(\d{1,5})-(\d{1,5})$/.exec(value) : null;
  const low = match ? Number(match[1]) : value, high = match ? Number(match[2]) : value;
  const isPort = (port: unknown) => typeof port === "number" && Number.isInteger(port) && port >= 0 && port <= 65535;
  if (!isPort(low) || !isPort(high) || Number(low) > Number(high)) {
    throw new Wrong(place, 'a port from 0 to 65535 or a range such as "8000-8080"', value);
  }
  return value as PortRange;
};

const readRange: Reader<Range> = (value, place) => {
  const range = readObject<Range>({ lower: readCount, upper: readCount })(value, place);
  if (range.lower > range.upper) throw new Wrong(place, "a lower bound that is not above the upper one", value);
  return range;
};

const readDuration: Reader<number | null> = (value, place) =>
  value === null ? null : readNumber(0, 3_155_760_000, false, "null or seconds, at most 100 years")(value, place);

const readRule = readObject<CandidateRule>({
  id: readMatch(/^[A-Za-z0-9_-]{1,512}$/, 'an id of at most 512 letters, digits, "-" and "_"'),
  source: readPrefix,
  protocol: readChoice(["tcp"]),
  dst_ports: readList(readPortRange, MAX_PORTS),
  action: readChoice(["drop"]),
  duration_sec: readDuration,
  policy_rule: readText,
  class: readChoice(CLASSES),
  reason: readText,
  triggers: readCount,
  first_trigger_unix_sec: readTime,
  last_trigger_unix_sec: readTime,
  would_block: readObject<CandidateRule["would_block"]>({ packets: readRange, bytes: readRange, syn: readRange }),
});

const readFile = readObject<RuleSet>({
  format: readChoice(["ibsr-rules"]),
  version: readChoice([1]),
  ibsr_version: readText,
  generated_at_unix_sec: readTime,
  policy: readObject<RuleSet["policy"]>({
    engine: readText,
    profile: readText,
    sha256: readMatch(/^[0-9a-f]{64}$/, "64 hexadecimal digits"),
  }, ["profile", "sha256"]),
  evidence: readObject<RuleSet["evidence"]>({
    start_unix_sec: readTime,
    end_unix_sec: readTime,
    streams: readList(readObject<{ hostname: string; iface: string }>({ hostname: readText, iface: readText }), 10_000),
  }),
  verdict: readChoice(VERDICTS),
  exceptions: readList(readPrefix, MAX_RULES),
  rules: readList(readRule, MAX_RULES),
});

function readRuleSet(value: unknown): RuleSet {
  const set = readFile(value, "");
  if (set.evidence.start_unix_sec > set.evidence.end_unix_sec) {
    throw new Wrong("evidence.start_unix_sec", "a time not after the end", set.evidence.start_unix_sec);
  }
  const ids = new Set<string>();
  set.rules.forEach(({ id }, i) => {
    if (ids.has(id)) throw new Wrong(`rules[${i}].id`, "an id that no other rule has", id);
    ids.add(id);
  });
  return set;
}
