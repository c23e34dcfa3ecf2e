/**
 * The state of one block: when it certainly holds, when it possibly does, and when by share of time.
 *
 * A rule that triggers somewhere in (b, e] blocks for D from there: certainly in (e, b + D], possibly in (b, e + D].
 * Each window that still meets the rule renews the block. Since every order of the packets is in doubt by itself,
 * the sets only grow by union, and so each interval's bounds hold on their own. Pure.
 */
import type { Interval } from "../evidence/interval.ts";
import type { Bounds, Effect } from "./policy.ts";

/** One block; times are milliseconds since 1970, ranges are empty where `until` isn't later than `from`. */
export interface Block {
  certainFrom: number;
  certainUntil: number;
  possibleFrom: number;
  possibleUntil: number;
  expectedFrom: number;
  expectedUntil: number;
  /** Until when, at the least, the last decision that was reported lasts; and whether that one was certain. */
  decidedUntil: number;
  decidedCertain: boolean;
  /** End of the interval that `passed` and `expectedBefore` are about. */
  touchedMs: number;
  /** What must have passed in the triggering interval before the block began. */
  passed: { packets: number; bytes: number; syn: number };
  /** Milliseconds of the interval in which the block that has since been replaced was expected to hold. */
  expectedBefore: number;
}

/** A trigger in an interval. */
export interface Trigger {
  certain: boolean;
  /** When it is to be expected; undefined if it isn't. */
  expectedMs: number | undefined;
  durationMs: number;
  /** What the rule has to see in this interval before it can trigger; 54 bytes is the least of a TCP frame. */
  passed: { packets: number; bytes: number; syn: number };
}

/** What is expected is counted in whole parts of a packet, and in whole bytes: a sum is then the same in any order. */
export const EXPECTED_PARTS = 1024;

const NOTHING = { packets: 0, bytes: 0, syn: 0 };

/** No block has been made yet. */
export function createBlock(): Block {
  return {
    certainFrom: 0,
    certainUntil: 0,
    possibleFrom: 0,
    possibleUntil: 0,
    expectedFrom: 0,
    expectedUntil: 0,
    decidedUntil: -Infinity,
    decidedCertain: false,
    touchedMs: 0,
    passed: { packets: 0, bytes: 0, syn: 0 },
    expectedBefore: 0,
  };
}

/** Begins or renews a block. */
export function extendBlock(block: Block, { beginMs, endMs }: Interval, trigger: Trigger): void {
  const { durationMs } = trigger;
  const free = block.possibleUntil <= beginMs;
  block.touchedMs = endMs;
  const passed = free ? trigger.passed : NOTHING;
  block.passed.packets = passed.packets; // a hot source's block lives long, and gets other numbers in each interval
  block.passed.bytes = passed.bytes;
  block.passed.syn = passed.syn;
  block.expectedBefore = 0;
  if (free) block.possibleFrom = beginMs;
  block.possibleUntil = endMs + durationMs;
  if (trigger.certain && beginMs + durationMs > endMs) {
    if (block.certainUntil < endMs) block.certainFrom = endMs;
    block.certainUntil = beginMs + durationMs;
  }
  if (trigger.expectedMs !== undefined) {
    if (block.expectedUntil < trigger.expectedMs) {
      block.expectedBefore = Math.max(0, block.expectedUntil - Math.max(beginMs, block.expectedFrom));
      block.expectedFrom = trigger.expectedMs;
    }
    block.expectedUntil = trigger.expectedMs + durationMs;
  }
}

/**
 * Fills `effect`, whose cell and rule are set, with what a block drops of the cell; returns whether it is anything.
 *
 * @param alone The cell is all that its key has in this interval: what must have passed is then known to be its.
 */
export function fillEffect(
  effect: Effect,
  block: Block,
  { interval, alone }: { interval: Interval; alone: boolean },
): boolean {
  const { beginMs, endMs, cells } = interval, i = effect.cell;
  if (block.possibleUntil <= beginMs || block.possibleFrom >= endMs) return false;
  const whole = block.certainFrom <= beginMs && block.certainUntil >= endMs;
  const touched = block.touchedMs === endMs;
  const overlap = Math.max(0, Math.min(endMs, block.expectedUntil) - Math.max(beginMs, block.expectedFrom));
  const share = whole ? 1 : Math.min(1, (overlap + (touched ? block.expectedBefore : 0)) / (endMs - beginMs));
  const passed = touched && alone ? block.passed : NOTHING;
  fillBounds(effect.packets, cells.packets[i]!, { whole, share, passed: passed.packets, parts: EXPECTED_PARTS });
  fillBounds(effect.bytes, cells.bytes[i]!, { whole, share, passed: passed.bytes, parts: 1 });
  fillBounds(effect.syn, cells.syn[i]!, { whole, share, passed: passed.syn, parts: EXPECTED_PARTS });
  return true;
}

function fillBounds(
  bounds: Bounds,
  count: number,
  { whole, share, passed, parts }: { whole: boolean; share: number; passed: number; parts: number },
): void {
  bounds.lower = whole ? count : 0;
  bounds.upper = Math.max(0, count - passed);
  bounds.expected = Math.round(Math.min(bounds.upper, share * count) * parts) / parts;
}
