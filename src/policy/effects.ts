/**
 * Effects of an interval: as many come in each interval of a flood, so the same objects hold them, where new ones would
 * be work for V8. Pure.
 */
import type { Bounds, Effect } from "./policy.ts";

/** A list that is filled anew in each interval. */
export interface EffectList {
  /** Empties it. */
  clear(): void;
  /** The next effect: its bounds are left from before, and to be written. */
  add(cell: number, rule: number): Effect;
  /** Takes the last one back. */
  drop(): void;
  /** Those that were added since it was emptied; they are valid until it is emptied again. */
  list(): readonly Effect[];
}

/** An empty list. */
export function createEffectList(): EffectList {
  const effects: Effect[] = [];
  let count = 0;
  return {
    clear: () => void (count = 0),
    add(cell, rule) {
      const effect = effects[count++] ??= emptyEffect();
      effect.cell = cell;
      effect.rule = rule;
      return effect;
    },
    drop: () => void count--,
    list: () => effects.slice(0, count),
  };
}

function emptyEffect(): Effect {
  // Not 0: V8 then takes the fields for whole numbers, and makes the objects anew when the first is none.
  const none = (): Bounds => ({ lower: 0.5, expected: 0.5, upper: 0.5 });
  return { cell: 0, rule: 0, packets: none(), bytes: none(), syn: none() };
}
