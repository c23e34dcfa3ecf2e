/**
 * The decisions of a stream, kept until the report is written.
 *
 * A policy may make fifty million of them in a week, and would_block.jsonl has each. As objects they would take half a
 * kilobyte each; here what many have in common is kept once (rule, thresholds, formula, names of what was measured),
 * times are left out where they are the same as of the decision before, and the rest is some fifty bytes in blocks,
 * which go to a store: a temporary file where there is one. Memory is then bounded by rules, networks and ports. Pure.
 */
import type { PortRange } from "../address.ts";
import type { Place } from "../evidence/rows.ts";
import type { Decision } from "../policy/policy.ts";

/** Keeps blocks of bytes; src/evidence/store.ts does so in a file. */
export interface DecisionStore {
  /** Room for a block of that length, a multiple of 8, to be filled before anything else is called. */
  reserve(length: number): { place: Place; bytes: Uint8Array };
  /** Waits if writing lags behind. */
  settle(): Promise<void> | undefined;
  /** Waits until everything can be read. */
  flush(): Promise<void>;
  /** What is at a place, beginning at a multiple of 8 in its buffer. */
  read(place: Place): Uint8Array;
}

/** Decisions in the order they were added, as often as they are asked for. */
export interface DecisionLog extends Iterable<Decision> {
  /** Adds a copy. */
  add(decision: Decision): void;
  /** Ends it: nothing is added afterwards. */
  finish(): void;
}

/** Keeps blocks in memory. */
export function createMemoryStore(): DecisionStore {
  const blocks: Uint8Array[] = [];
  return {
    reserve(length) {
      const bytes = new Uint8Array(length);
      return { place: { offset: blocks.push(bytes) - 1, length }, bytes };
    },
    settle: () => undefined,
    flush: () => Promise.resolve(),
    read: ({ offset }) => blocks[offset]!,
  };
}

/** What decisions of a rule have in common, and the names of what they measured. */
interface Said extends Pick<Decision, "rule" | "action" | "thresholds" | "formula"> {
  names: readonly string[];
}

/** What is blocked where it is not the source, and all of its ports. */
interface Scope {
  prefix?: string;
  ports?: readonly PortRange[];
}

const BLOCK_BYTES = 1 << 16;
/** Of a record: source, number of what is said, number of the scope, and which of the times follow; in 32 bits each. */
const HEAD_BYTES = 16, TIMES = 6, CERTAIN = 1 << TIMES;

/** An empty log, the blocks of which go to a store that others may use, too. */
export function createDecisionLog(store: DecisionStore): DecisionLog {
  const places: Place[] = [], said: Said[] = [], saidOf: number[][] = [], scopes: Scope[] = [{}];
  const scopeOf = new Map<number | string, number>();
  const block = new ArrayBuffer(BLOCK_BYTES), words = new Uint32Array(block), numbers = new Float64Array(block);
  const times = new Float64Array(TIMES), before = new Float64Array(TIMES).fill(NaN);
  let used = 0;

  const close = () => {
    if (used === 0) return;
    const { place, bytes } = store.reserve(used);
    bytes.set(new Uint8Array(block, 0, used));
    places.push(place);
    used = 0;
    before.fill(NaN);
  };

  const numberSaid = ({ rule, action, thresholds, formula, measured }: Decision): number => {
    const known = saidOf[rule] ??= [];
    for (let i = 0; i < known.length; i++) {
      const one = said[known[i]!]!;
      const same = one.action === action && one.formula === formula && hasNames(measured, one.names) &&
        (one.thresholds === thresholds || isSame(one.thresholds, thresholds));
      if (same) return known[i]!;
    }
    const number = said.push({ rule, action, thresholds, formula, names: Object.keys(measured) }) - 1;
    known.push(number);
    return number;
  };

  const numberScope = ({ prefix, ports }: Decision): number => {
    if (prefix === undefined && ports === undefined) return 0;
    const [port] = ports ?? [], alone = prefix === undefined && ports!.length === 1 && typeof port === "number";
    const key = alone ? port : `${prefix ?? ""} ${ports?.join() ?? "all"}`, known = scopeOf.get(key);
    if (known !== undefined) return known;
    const scope = {
      ...(prefix === undefined ? {} : { prefix }),
      ...(ports === undefined ? {} : { ports: [...ports] }),
    };
    scopeOf.set(key, scopes.push(scope) - 1);
    return scopes.length - 1;
  };

  function* read(place: Place): Generator<Decision> {
    const { buffer, byteOffset } = store.read(place), { length } = place, last = new Float64Array(TIMES);
    const words = new Uint32Array(buffer, byteOffset, length / 4),
      numbers = new Float64Array(buffer, byteOffset, length / 8);
    for (let at = 0; at < length / 8;) {
      const source = words[2 * at]!, what = said[words[2 * at + 1]!]!, flags = words[2 * at + 3]!;
      const scope = scopes[words[2 * at + 2]!]!, measured: Record<string, number> = {};
      at += HEAD_BYTES / 8;
      for (let t = 0; t < TIMES; t++) if (flags & 1 << t) last[t] = numbers[at++]!;
      for (const name of what.names) measured[name] = numbers[at++]!;
      yield {
        ...{ rule: what.rule, action: what.action, certain: (flags & CERTAIN) !== 0, source, ...scope },
        window: { beginMs: last[0]!, endMs: last[1]! },
        fromMs: { earliest: last[2]!, latest: last[3]! },
        untilMs: { earliest: last[4]!, latest: last[5]! },
        ...{ measured, thresholds: what.thresholds, formula: what.formula },
      };
    }
  }

  return {
    add(decision) {
      const { source, certain, window, fromMs, untilMs, measured } = decision;
      const what = numberSaid(decision), scope = numberScope(decision), { names } = said[what]!;
      if (used + HEAD_BYTES + 8 * (TIMES + names.length) > BLOCK_BYTES) close();
      times[0] = window.beginMs;
      times[1] = window.endMs;
      times[2] = fromMs.earliest;
      times[3] = fromMs.latest;
      times[4] = untilMs.earliest;
      times[5] = untilMs.latest;
      let at = (used + HEAD_BYTES) / 8, flags = certain ? CERTAIN : 0;
      for (let t = 0; t < TIMES; t++) {
        if (times[t] === before[t]) continue;
        flags |= 1 << t;
        numbers[at++] = before[t] = times[t]!;
      }
      for (let i = 0; i < names.length; i++) numbers[at++] = measured[names[i]!]!;
      words[used / 4] = source;
      words[used / 4 + 1] = what;
      words[used / 4 + 2] = scope;
      words[used / 4 + 3] = flags;
      used = 8 * at;
    },
    finish: close,
    *[Symbol.iterator]() {
      for (const place of places) yield* read(place);
    },
  };
}

/** Whether these are the names, in that order. */
function hasNames(values: Record<string, number>, names: readonly string[]): boolean {
  let i = 0;
  for (const name in values) if (names[i++] !== name) return false;
  return i === names.length;
}

function isSame(a: Record<string, number>, b: Record<string, number>): boolean {
  const names = Object.keys(a);
  return hasNames(b, names) && names.every((name) => Object.is(a[name], b[name]));
}
