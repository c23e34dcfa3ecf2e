/**
 * The conditions of Ironpost's YAML rules, asked of counted TCP packets.
 *
 * The engine turns each packet into an event with text fields. Of those, counters hold the source address and the
 * destination port; a few are the same in every TCP event; the others can't be known. So an answer is true, false
 * or unknown. Patterns run in RE2's syntax and time, as the engine's own do. Pure.
 */
import { RE2JS } from "re2js";
import { reason } from "../../errors.ts";

/** How a condition compares. */
export type Operator = "equals" | "contains" | "startswith" | "endswith" | "regex" | "exists";

/** A condition of a rule, as the file says it. */
export interface Condition {
  field: string;
  operator: Operator;
  value: string;
  ignoreCase: boolean;
  negate: boolean;
}

/** Three-valued: undefined is unknown. */
export type Answer = boolean | undefined;

/** What is asked of a source and a port; the port is undefined where ports were counted together. */
export type Question = (source: string, port: number | undefined) => Answer;

/** What a rule's conditions together can be asked. */
export interface Conditions {
  matches: Question;
  /** Whether the answer depends on the port. */
  usesPort: boolean;
  /** Nothing but TCP packets can match. */
  tcpOnly: boolean;
  /** Why no counter can answer; undefined: they can. */
  unanswerable?: string;
}

/** Fields that are the same in the event of every TCP packet. `protocol` is a number in text. */
const CONSTANTS: Record<string, string> = { event_type: "packet", source: "ebpf", protocol: "6" };
/** Fields of log lines; a packet's event has none of them, or an empty one. */
const LOG_FIELDS = ["process", "hostname", "severity", "facility", "pid", "timestamp"];
/** Fields of a packet's event that no counter holds. */
const UNCOUNTED: Record<string, string> = {
  message: "the event's text",
  dst_ip: "destination addresses are not recorded",
  src_port: "source ports are not recorded",
  size: "sizes are recorded as sums",
  trace_id: "the engine makes it up",
};

/** The longest pattern that the engine takes. */
const LONGEST_PATTERN = 1000;

/**
 * What is wrong with a pattern: the engine refuses the rule.
 *
 * @returns Why; undefined if nothing is.
 */
export function checkPattern(pattern: string): string | undefined {
  if (pattern.length > LONGEST_PATTERN) return `a pattern of more than ${LONGEST_PATTERN} characters`;
  if (hasNestedQuantifier(pattern)) return "a quantifier inside a quantified group: the engine refuses it";
  try {
    RE2JS.compile(pattern);
    return undefined;
  } catch (error) {
    return reason(error).slice(0, 200);
  }
}

/** Whether a quantified group has a quantifier in it: `(a+)+`. */
function hasNestedQuantifier(pattern: string): boolean {
  const groups: boolean[] = [];
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i]!;
    if (c === "\\") i++;
    else if (inClass) inClass = c !== "]";
    else if (c === "[") inClass = true;
    else if (c === "(") groups.push(false);
    else if (c === ")") {
      const inner = groups.pop() ?? false;
      if (inner && /[*+{]/.test(pattern[i + 1] ?? "")) return true;
      if (inner && groups.length > 0) groups[groups.length - 1] = true;
    } else if (/[*+{]/.test(c) && groups.length > 0) groups[groups.length - 1] = true;
  }
  return false;
}

/** Counted repetitions are written out by a compiler: many make a pattern slow that is short to read. */
function isCostly(pattern: string): boolean {
  const counts = [...pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].map((m) => Math.max(Number(m[1]), Number(m[2] ?? 0)));
  return counts.reduce((sum, n) => sum + n, 0) > 200;
}

/** Joins a rule's conditions: all of them must hold. */
export function joinConditions(conditions: readonly Condition[]): Conditions {
  const questions: Question[] = [], unanswerable: string[] = [];
  let usesPort = false, tcpOnly = false;
  for (const condition of conditions) {
    const { field, operator } = condition, constant = CONSTANTS[field];
    if (constant !== undefined) {
      if (compare(condition, constant)) tcpOnly ||= field === "protocol";
      else unanswerable.push(`no TCP packet has ${describeCondition(condition)}`);
    } else if (field === "src_ip" || field === "dst_port") {
      if (operator === "regex" && isCostly(condition.value)) {
        unanswerable.push(`the pattern on ${field} takes too long to try on every source`);
        continue;
      }
      const test = remember(createTest(condition));
      usesPort ||= field === "dst_port";
      questions.push(
        field === "src_ip"
          ? (source) => test(source)
          : operator === "exists"
          ? () => !condition.negate
          : (_source, port) => port === undefined ? undefined : test(String(port)),
      );
    } else if (field in UNCOUNTED) {
      if (operator !== "exists") unanswerable.push(`asks for ${field}: ${UNCOUNTED[field]}`);
      else if (condition.negate) unanswerable.push(`no TCP packet has ${describeCondition(condition)}`);
    } else if (LOG_FIELDS.includes(field)) {
      unanswerable.push(`reads log lines (${field}), not packets`);
    } else {
      unanswerable.push(`asks for ${field}, which packets' events don't have`);
    }
  }
  return {
    usesPort,
    tcpOnly,
    ...(unanswerable.length > 0 ? { unanswerable: unanswerable.join("; ") } : {}),
    matches(source, port) {
      let answer: Answer = true;
      for (const question of questions) {
        const one = question(source, port);
        if (one === false) return false;
        if (one === undefined) answer = undefined;
      }
      return answer;
    },
  };
}

/** A condition in words: `protocol equals "17"`. */
function describeCondition({ field, operator, value, negate }: Condition): string {
  return `${field} ${negate ? "not " : ""}${operator}${operator === "exists" ? "" : ` ${JSON.stringify(value)}`}`;
}

function compare(condition: Condition, text: string): boolean {
  return createTest(condition)(text);
}

/** The comparison of a condition with a field's text. */
function createTest({ operator, value, ignoreCase, negate }: Condition): (text: string) => boolean {
  const fold = (text: string) => ignoreCase ? text.toLowerCase() : text, wanted = fold(value);
  const test: (text: string) => boolean = operator === "regex"
    ? createPattern(value, ignoreCase)
    : operator === "exists"
    ? () => true
    : operator === "equals"
    ? (text) => fold(text) === wanted
    : operator === "contains"
    ? (text) => fold(text).includes(wanted)
    : operator === "startswith"
    ? (text) => fold(text).startsWith(wanted)
    : (text) => fold(text).endsWith(wanted);
  return (text) => test(text) !== negate;
}

function createPattern(pattern: string, ignoreCase: boolean): (text: string) => boolean {
  const compiled = RE2JS.compile(pattern, ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
  return (text) => compiled.matcher(text).find();
}

/** Answers are kept: the same addresses and ports come in every interval. */
function remember(test: (text: string) => boolean): (text: string) => boolean {
  const known = new Map<string, boolean>();
  return (text) => {
    let answer = known.get(text);
    if (answer !== undefined) return answer;
    if (known.size >= 1_000_000) known.clear();
    known.set(text, answer = test(text));
    return answer;
  };
}
