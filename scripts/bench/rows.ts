/**
 * The benchmark's table: what was measured, what it was compared to in the same rounds, and whether the goal holds.
 *
 * A section measures and returns rows of samples; everything that is said about them (medians, spread, ratios, goals)
 * is worked out here, so that all sections mean the same by it.
 */

/** What is measured: samples of one quantity, one a round. */
export interface Row {
  what: string;
  /** Of the samples: "ns", "ms", "MB", "MB/s", … */
  unit: string;
  ours: readonly number[];
  /** What was measured in the same rounds, in turn. Sample by sample, where there are as many: ratios are of pairs. */
  comparedTo?: { what: string; theirs: readonly number[] };
  goal?: Goal;
}

/** What should hold of a row: the ratio's median (ours / theirs), our median less theirs, our median, or our most. */
export interface Goal {
  of: "ratio" | "difference" | "median" | "most";
  atMost?: number;
  atLeast?: number;
}

/** A part of the benchmark. */
export interface Section {
  name: string;
  title: string;
  /** What is measured, how, and what with; Markdown. */
  about: string;
  /** What is missing here to measure it, in words. */
  missing?: () => string | undefined;
  run(): Promise<Row[]>;
}

/** Samples in short. */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

/** A row, worked out: what is in the JSON. */
export interface Result {
  what: string;
  unit: string;
  rounds: number;
  ours: Spread;
  comparedTo?: { what: string; theirs: Spread; ratio: Spread };
  goal?: Goal & { found: number; holds: boolean };
}

/** The middle one; of an even number, the upper of the two. */
function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/** Works out a row. */
export function evaluate({ what, unit, ours, comparedTo, goal }: Row): Result {
  const result: Result = { what, unit, rounds: ours.length, ours: spreadOf(ours) };
  if (comparedTo) {
    const { theirs } = comparedTo, paired = theirs.length === ours.length;
    const ratios = paired ? ours.map((value, i) => value / theirs[i]!) : [median(ours) / median(theirs)];
    result.comparedTo = { what: comparedTo.what, theirs: spreadOf(theirs), ratio: spreadOf(ratios) };
  }
  if (!goal) return result;
  const found = goal.of === "ratio" || goal.of === "difference" ? against(result, goal.of) : result.ours[goal.of];
  const holds = found <= (goal.atMost ?? Infinity) && found >= (goal.atLeast ?? -Infinity);
  return { ...result, goal: { ...goal, found, holds } };
}

function against({ what, ours, comparedTo }: Result, of: "ratio" | "difference"): number {
  if (!comparedTo) throw new TypeError(`"${what}" has a goal for a ${of} and nothing that it is compared to`);
  return of === "ratio" ? comparedTo.ratio.median : ours.median - comparedTo.theirs.median;
}

/** Three digits that count. */
function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(size >= 10 ? 1 : 2);
}

function formatSpread({ median, least, most }: Spread): string {
  if (!Number.isFinite(median)) return "–"; // a ratio to nothing
  const [middle, ...extremes] = [median, least, most].map(formatNumber);
  return extremes.every((text) => text === middle) ? middle! : `${middle} (${extremes.join("–")})`;
}

function formatGoal({ goal, unit }: Result): string {
  if (!goal) return " | ";
  const inUnits = goal.of === "ratio" ? "" : ` ${unit}`;
  const limits = [
    goal.atMost === undefined ? "" : `≤ ${goal.atMost.toLocaleString("en-US")}`,
    goal.atLeast === undefined ? "" : `≥ ${goal.atLeast.toLocaleString("en-US")}`,
  ].filter(Boolean).join(", ");
  const found = goal.of === "difference" ? `: ${formatNumber(goal.found)}` : "";
  return `${goal.of} ${limits}${inUnits} | ${goal.holds ? "yes" : "**no**"}${found}`;
}

/** Rows as a Markdown table. */
export function formatTable(results: readonly Result[]): string {
  const lines = [
    "| what | unit | ours: median (least–most) | compared to | its median (least–most) | ratio | goal | holds |",
    "|---|---|---|---|---|---|---|---|",
  ];
  for (const result of results) {
    const { what, unit, ours, comparedTo } = result;
    const other = comparedTo
      ? `${comparedTo.what} | ${formatSpread(comparedTo.theirs)} | ${formatSpread(comparedTo.ratio)}`
      : " |  | ";
    lines.push(`| ${what} | ${unit} | ${formatSpread(ours)} | ${other} | ${formatGoal(result)} |`);
  }
  return lines.join("\n") + "\n";
}
