/**
 * What the parts of Ironpost that count in windows have in common: tracks by source or group over a stream, where
 * packets may have been there that no counter holds, and how alerts are told. Pure.
 */
import type { Interval } from "../../evidence/interval.ts";
import { formatRangeOf } from "../../words.ts";
import type { Decision, Finding } from "../policy.ts";
import type { Content } from "./hypotheses.ts";
import {
  advance,
  createScratch,
  createTrack,
  isExpired,
  type Judgement,
  type Placement,
  type Track,
} from "./windows.ts";

/** The engine follows this many sources, and as many groups of a rule. */
const MOST_TRACKED = 100_000;

/** Rows of one source in an interval. */
export interface SourceRows {
  source: number;
  /** Cells from `from` up to `to`, not with it. */
  from: number;
  to: number;
}

/** What an interval says of the packets that it doesn't hold. */
export interface Unseen {
  /** TCP of these sources may have been there that no cell has. */
  tcp: boolean;
  /** Anything may have been there. */
  others: boolean;
}

/** Alerts of one rule over the stream. */
export interface Alerts {
  least: number;
  most: number;
}

/** A part of the engine that counts in windows. */
export interface Part {
  begin(interval: Interval, unseen: Unseen): void;
  take(interval: Interval, rows: SourceRows, decisions: Decision[]): void;
  end(interval: Interval, decisions: Decision[]): void;
  /** Drops windows that a gap makes worthless; returns how many. */
  forget(atMs: number, gapMs: number): number;
  finish(stream: { coarsestMs: number; mostPorts: number }): Finding[];
}

/** Tracks by source or group, with what all of them have in common in an interval. */
export function createTracks<C, S extends Placement>(
  content: Content<C, S>,
  { windowMs, delayMs = 0 }: { windowMs: number; delayMs?: number },
) {
  const rules = { content, windowMs, scratch: createScratch(content) },
    tracks = new Map<number, Track<C>>(),
    alerts: Alerts = { least: 0, most: 0 };
  let unseenUntilMs = -Infinity, sweptMs = -Infinity, crowded = false, everCrowded = false;
  let placement: Required<Placement> = { fromMs: 0, toMs: 0, optional: false, loose: false };
  const sweep = (atMs: number) => {
    const now = { atMs, windowMs };
    // An iterator would make two objects a track, which is half of what a simulation makes.
    tracks.forEach((track, key) => {
      if (isExpired(track, now)) tracks.delete(key);
    });
    sweptMs = atMs;
  };
  return {
    alerts,
    tracks,
    get everCrowded() {
      return everCrowded;
    },
    begin({ beginMs, endMs }: Interval, unseen: boolean): void {
      if (beginMs - sweptMs >= windowMs) sweep(beginMs);
      if (unseen) unseenUntilMs = endMs;
      crowded = tracks.size > MOST_TRACKED;
      everCrowded ||= crowded;
      const loose = crowded || beginMs - unseenUntilMs < windowMs;
      placement = { fromMs: beginMs, toMs: endMs + delayMs, optional: crowded, loose };
    },
    /** Where the interval's packets were judged, and whether some may have been ignored. */
    get placement(): Required<Placement> {
      return placement;
    },
    /** Takes what came of a source or group; where it came is put into `seen`, which may be used again. */
    advance(key: number, seen: S): Judgement {
      let track = tracks.get(key);
      if (!track) {
        tracks.set(key, track = createTrack(content));
        if (tracks.size > MOST_TRACKED && !crowded) {
          sweep(placement.fromMs);
          tracks.set(key, track);
          crowded = everCrowded = tracks.size > MOST_TRACKED;
          placement = { ...placement, optional: crowded, loose: placement.loose || crowded };
        }
      }
      seen.fromMs = placement.fromMs;
      seen.toMs = placement.toMs;
      seen.optional = placement.optional || seen.optional === true;
      seen.loose = placement.loose;
      const judgement = advance(track, seen, rules);
      alerts.least += judgement.least;
      alerts.most += judgement.most;
      return judgement;
    },
    forget(atMs: number, gapMs: number): number {
      if (gapMs < windowMs / 2) return 0;
      sweep(atMs);
      const open = tracks.size;
      tracks.clear();
      return open;
    },
  };
}

/** How many of something, in words: `3 scans`, or `1–6 scans`. */
export function describeRange({ least, most }: Alerts, one: string, many = `${one}s`): string {
  return formatRangeOf({ lower: least, upper: most }, one, many);
}

/** Says that intervals are long beside a rule's window; nothing where they are not. */
export function noteCoarse(rule: string, windowMs: number, coarsestMs: number): Finding[] {
  if (coarsestMs <= windowMs / 5) return [];
  return [{
    severity: "note",
    code: "low_resolution",
    rule,
    message: `${rule}: snapshots are up to ${coarsestMs / 1000} s apart: its bounds are narrow with at most ${
      windowMs / 5000
    } s`,
  }];
}

/** Says that a rule had more tracks to follow than it could; nothing where it had not. */
export function noteCrowded(rule: string, everCrowded: boolean): Finding[] {
  if (!everCrowded) return [];
  return [{
    severity: "warning",
    code: "capacity",
    rule,
    message: `${rule}: more than ${MOST_TRACKED} sources at once: the engine doesn't follow all of them`,
  }];
}

/** An alert; it acts on nothing, so it ends when it begins. */
export function alertDecision(
  rule: number,
  source: number,
  { least, earliestMs, windowMs }: Judgement,
  endMs: number,
): Omit<Decision, "measured" | "thresholds" | "formula"> {
  const at = { earliest: earliestMs, latest: endMs };
  return {
    rule,
    action: "alert",
    certain: least > 0,
    source,
    window: { beginMs: windowMs, endMs },
    fromMs: at,
    untilMs: at,
  };
}
