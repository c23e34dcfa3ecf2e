/**
 * Numbers, times and names as people read them: in every line, page and file that is not for programs.
 *
 * Nothing here depends on a locale or a time zone: same value, same text. What can't be known (null, NaN, Infinity)
 * reads "unknown". Names that come out of snapshots and policies are other people's: `showName()` makes what a
 * terminal, an editor or a browser would hide or reorder visible, and shortens what is too long. Pure.
 */
import type { Range } from "./rules/ruleset.ts";

/** What stands where a number can't be known. */
export const UNKNOWN = "unknown";

/** The unit of shares, with a space that no line breaks at. */
export const PERCENT = "\u00a0%";

/** A value that may be unknown. */
export type Maybe = number | null | undefined;

/** Which of two texts comes first, by UTF-16 code units: for `sort()`. */
export function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isKnown(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** Digits with a comma between thousands: `1,234,567`; fractions are rounded away. */
export function formatCount(value: Maybe): string {
  return isKnown(value) ? group(Math.round(value).toFixed(0)) : UNKNOWN;
}

function group(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A count with its noun: `1 source`, `2 sources`. */
export function formatNumberOf(value: Maybe, one: string, many = `${one}s`): string {
  return `${formatCount(value)} ${isKnown(value) && Math.round(value) === 1 ? one : many}`;
}

/**
 * A share from 0 to 1 in percent, with the digits that tell something: two or three significant ones, more next to
 * 100 %. Only nothing is `0 %` and only all is `100 %`; a whole percent has no decimals.
 */
export function formatShare(value: Maybe): string {
  if (!isKnown(value)) return UNKNOWN;
  const percent = value * 100;
  if (percent > 0 && percent < 0.001) return `<0.001${PERCENT}`;
  if (percent > 99.999 && percent < 100) return `>99.999${PERCENT}`;
  if (Math.abs(percent - Math.round(percent)) < 1e-9) return `${Math.round(percent)}${PERCENT}`;
  const high = percent > 50 && percent < 100, edge = high ? 100 - percent : Math.abs(percent);
  const digits = Math.min(3, Math.max(1, (high ? 0 : 1) - Math.floor(Math.log10(edge))));
  return `${percent.toFixed(digits)}${PERCENT}`;
}

/**
 * A number in short, or with the digits it takes to be on the side of a limit that it is on: 98.99 beside 99 is not 99.
 *
 * @param short The number as it reads where no limit is near.
 */
export function tellApart(value: number, { short, limit }: { short: number; limit: number }): number {
  const side = Math.sign(trimFraction(value) - limit);
  for (let digits = 2, shown = short; digits < 12; shown = Number(value.toPrecision(++digits))) {
    if (Math.sign(shown - limit) === side) return shown;
  }
  return trimFraction(value);
}

/** Without what binary fractions add: 7.000000000000001 is 7. */
export function trimFraction(value: number): number {
  return Number(value.toPrecision(12));
}

/** A share beside the limit that it is held against. */
export function formatShareBeside(value: Maybe, limit: number): string {
  const text = formatShare(value), short = Number.parseFloat(text);
  if (!isKnown(value) || Number.isNaN(short)) return text;
  const apart = tellApart(value * 100, { short, limit: trimFraction(limit * 100) });
  return apart === short ? text : `${apart}${PERCENT}`;
}

/** A limit that shares are held against, with all of its digits. */
export function formatShareLimit(limit: Maybe): string {
  return isKnown(limit) ? `${trimFraction(limit * 100)}${PERCENT}` : UNKNOWN;
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes in powers of 1024: `1.2 GiB`. */
export function formatBytes(value: Maybe): string {
  if (!isKnown(value)) return UNKNOWN;
  let left = value, unit = 0;
  while (left >= 1023.5 && unit < IEC.length - 1) [left, unit] = [left / 1024, unit + 1];
  return `${unit === 0 ? formatCount(left) : left.toFixed(left < 9.995 ? 2 : left < 99.95 ? 1 : 0)} ${IEC[unit]}`;
}

/** Seconds in the two largest units that matter: `7 d 3 h`, `2 min 5 s`, `0.25 s`. */
export function formatDuration(seconds: Maybe): string {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 0) return `-${formatDuration(-seconds)}`;
  if (seconds < 60) return `${trimZeros(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ] as const;
  const from = parts.findIndex(([count]) => count > 0);
  return parts.slice(from, from + 2).filter(([count]) => count > 0)
    .map(([count, unit]) => `${unit === "d" ? formatCount(count) : count} ${unit}`).join(" ");
}

/** A rate: `100/s`, `2.5/s`. */
export function formatRate(perSecond: Maybe): string {
  if (!isKnown(perSecond)) return UNKNOWN;
  return `${perSecond < 100 ? trimZeros(perSecond.toFixed(perSecond < 1 ? 3 : 1)) : formatCount(perSecond)}/s`;
}

/** A ratio or a setting with up to three decimals: `0.1`, `1.25`. */
export function formatRatio(value: Maybe): string {
  return isKnown(value) ? trimZeros(value.toFixed(3)) : UNKNOWN;
}

/** `2026-11-21 09:30:00 UTC`. */
export function formatTime(unixSec: Maybe): string {
  const text = isoTime(unixSec);
  return text === undefined ? UNKNOWN : `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

/** The time for programs: `2026-11-21T09:30:00Z`; undefined if unknown. */
export function isoTime(unixSec: Maybe): string | undefined {
  // The year 9999: later times would have more digits.
  if (!isKnown(unixSec) || unixSec < 0 || unixSec >= 253402300800) return undefined;
  return `${new Date(Math.floor(unixSec) * 1000).toISOString().slice(0, 19)}Z`;
}

/** From and to, the date once where both have it: `2026-11-21 09:30 – 11:00 UTC`. */
export function formatSpan(fromSec: Maybe, toSec: Maybe): string {
  const from = isoTime(fromSec), to = isoTime(toSec);
  if (!from || !to) return UNKNOWN;
  const exact = from.endsWith(":00Z") && to.endsWith(":00Z") ? 16 : 19;
  const day = from.slice(0, 10) === to.slice(0, 10) ? "" : `${to.slice(0, 10)} `;
  return `${from.slice(0, 10)} ${from.slice(11, exact)} – ${day}${to.slice(11, exact)} UTC`;
}

/**
 * Lower and upper bound with a unit once: `82.1–84.3 %`, `3–5`, `1.2–1.5 GiB`. One value where both read alike; where
 * the unit differs, each has its own.
 */
export function formatRange(range: Range | null | undefined, format: (value: Maybe) => string = formatCount): string {
  if (!range) return UNKNOWN;
  const lower = format(range.lower), upper = format(range.upper);
  if (lower === upper) return lower;
  const [, number, unit] = /^([\d.,]+)(\D*)$/.exec(lower) ?? [];
  // Of what is nearly all, the upper bound begins with no digit: `>99.999 %`.
  const isShared = number !== undefined && unit !== "" && `${/^[\d.,]+/.exec(upper)?.[0]}${unit}` === upper;
  return isShared ? `${number}–${upper}` : `${lower}–${upper}`;
}

/** Bounds of a count with their noun: `1 source`, `0–1 sources`. */
export function formatRangeOf(range: Range | null | undefined, one: string, many = `${one}s`): string {
  const text = formatRange(range);
  return `${text} ${text === "1" ? one : many}`;
}

/** An upper limit: `≤ 0.31 %`. */
export function formatLimit(upper: Maybe, format: (value: Maybe) => string = formatShare): string {
  return isKnown(upper) ? `≤ ${format(upper)}` : UNKNOWN;
}

/** A port, where 0 stands for all ports together. */
export function formatPort(port: number): string {
  return port === 0 ? "all" : String(port);
}

/** A text with its first letter large, as a heading. */
export function capitalize(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

// Controls, and what Unicode has for hiding and turning text: soft hyphen, zero-width and bidi characters, line and
// paragraph separator, tags, variation selectors, fillers, lone surrogates.
const HIDDEN =
  // deno-lint-ignore no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}\ud800-\udfff]/gu;

/** A name as it can be shown safely on one line; summary.json has it as it is. */
export function showName(name: string): string {
  return showText(name, 120);
}

/** A sentence as it can be shown safely, at most `most` characters of it. */
export function showText(text: string, most = 1000): string {
  // By characters, of no more than could be shown: a name may have millions.
  const characters = [...text.slice(0, 4 * most)];
  const kept = characters.slice(0, most).join("").replaceAll(HIDDEN, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
  return characters.length > most ? `${kept}… (${formatCount(text.length)} characters)` : kept;
}
