/**
 * Ironpost's detection rules over counted intervals: matches by group, and what deduplication leaves of their alerts.
 *
 * A rule sees a packet when its batch is flushed, up to `flushMs` later. Deduplication is a window too: it begins with
 * an alert, and within it no other is sent. It counts by rule and not by source, so that one source's alert hides
 * another's; more matches never make fewer alerts. The rate limit (10 a minute) can't bind behind it. Pure.
 */
import type { Interval, Sources } from "../../evidence/interval.ts";
import { atLeast, createPairs } from "../../evidence/pairs.ts";
import type { Decision, Finding, SimulatedStream } from "../policy.ts";
import type { Answer, Conditions } from "./conditions.ts";
import { countContent, type Counts, type SeenCounts } from "./contents.ts";
import type { Detection, Program } from "./program.ts";
import {
  alertDecision,
  type Alerts,
  createTracks,
  describeRange,
  noteCoarse,
  noteCrowded,
  type Part,
  type SourceRows,
} from "./tracks.ts";
import { advance, createTrack, type Judgement } from "./windows.ts";

/** An alert of a rule within this time after its last one is dropped. */
const DEDUP_MS = 60_000;

/** What of an interval's packets meets a rule's conditions, in one group. */
interface Matches extends Alerts {
  /** The source with most of them, and how many. */
  source: number;
  top: number;
}

/** Pairs of source and port whose answers are kept, of which each takes some 20 bytes; beyond, all are asked anew. */
const MOST_PAIRS = 1 << 20;

const NOT_ASKED = 0, NO = 1, YES = 2, UNKNOWN = 3;

/** What a rule's conditions say of a source and port, asked once and kept: an address as text is work. */
function createAnswers({ matches }: Conditions, sources: Sources) {
  let pairs = createPairs(), known = new Uint8Array(0);
  const ask = (source: number, port: number) => {
    const answer = matches(sources.text(source), port === 0 ? undefined : port);
    return answer === undefined ? UNKNOWN : answer ? YES : NO;
  };
  return {
    /** Port 0: all ports together, or it doesn't matter. */
    of(source: number, port: number): Answer {
      if (pairs.count >= MOST_PAIRS) [pairs, known] = [createPairs(), new Uint8Array(0)];
      const pair = pairs.of(source, port);
      if (pair >= known.length) known = atLeast(known, pair + 1);
      const answer = known[pair] === NOT_ASKED ? known[pair] = ask(source, port) : known[pair]!;
      return answer === UNKNOWN ? undefined : answer === YES;
    },
  };
}

/** A rule at work. */
export function createDetection(detection: Detection, { flushMs }: Program, { sources }: SimulatedStream): Part {
  const { rule, id, threshold, usesPort, tcpOnly } = detection, windowMs = threshold?.windowMs ?? 0;
  const groupBy = threshold?.groupBy, bySource = groupBy === "src_ip", byPort = groupBy === "dst_port";
  const content = countContent({ count: threshold?.count ?? 1, ratio: -1 });
  const tracks = createTracks<Counts, SeenCounts>(content, { windowMs, delayMs: flushMs });
  const limiter = { content: countContent({ count: 1, ratio: -1 }), windowMs: DEDUP_MS },
    dedup = createTrack(limiter.content);
  const matched: Alerts = { least: 0, most: 0 }, sent: Alerts = { least: 0, most: 0 };
  const groups = new Map<number, Matches>(), answers = createAnswers(detection, sources);
  const seen: SeenCounts = { fromMs: 0, toMs: 0, hitsLeast: 0, hitsMost: 0, othersLeast: 0, othersMost: 0 };

  const add = (key: number, { least, most }: Alerts, source: number) => {
    const group = groups.get(key);
    if (!group) return void groups.set(key, { least, most, source, top: most });
    group.least += least;
    group.most += most;
    if (most > group.top) [group.source, group.top] = [source, most];
  };
  const decide = (found: Judgement, { source, most }: Matches, endMs: number): Decision => ({
    ...alertDecision(rule, source, found, endMs),
    measured: { packets: most, alerts_least: found.least, alerts_most: found.most },
    thresholds: threshold ? { count: threshold.count, timeframe_sec: threshold.timeframeSec } : {},
    formula: threshold
      ? `matches ≥ ${threshold.count} in ${threshold.timeframeSec} s${groupBy ? ` by ${groupBy}` : ""}`
      : `a match, at most once in ${DEDUP_MS / 1000} s`,
  });

  /** Matches of the rule in the interval: each of its conditions', or its threshold's. */
  const countMatches = (interval: Interval, decisions: Decision[]): Alerts => {
    const now: Alerts = { least: 0, most: 0 };
    for (const [key, group] of groups) {
      if (!threshold) {
        now.least += group.least;
        now.most += group.most;
        continue;
      }
      seen.hitsLeast = tracks.placement.optional ? 0 : group.least;
      seen.hitsMost = group.most;
      seen.optional = seen.hitsLeast === 0;
      const found = tracks.advance(key, seen);
      now.least += found.nowLeast;
      now.most += found.nowMost;
      if (bySource && found.least + found.most > 0) decisions.push(decide(found, group, interval.endMs));
    }
    if (!threshold) {
      matched.least += now.least;
      matched.most += now.most;
    }
    return now;
  };

  return {
    begin(interval, unseen) {
      groups.clear();
      tracks.begin(interval, tcpOnly ? unseen.tcp : unseen.others);
    },
    take({ cells }, { source, from, to }: SourceRows) {
      const portMatters = usesPort || byPort;
      for (let i = from; i < to;) {
        const port = cells.port[i]!, answer = answers.of(source, usesPort ? port : 0);
        let packets = cells.packets[i++]!;
        // Where the port doesn't matter, the source's rows are one.
        while (!portMatters && i < to) packets += cells.packets[i++]!;
        if (answer === false || packets === 0) continue;
        const least = answer === true && !(byPort && port === 0) ? packets : 0;
        add(bySource ? source : byPort ? port : 0, { least, most: packets }, source);
      }
    },
    end(interval, decisions) {
      if (groups.size === 0) return;
      const now = countMatches(interval, decisions);
      if (now.most === 0) return;
      const counts = { hitsLeast: now.least, hitsMost: now.most, othersLeast: 0, othersMost: 0 };
      const placement = { fromMs: interval.beginMs, toMs: interval.endMs + flushMs, optional: now.least === 0 };
      const found = advance(dedup, { ...counts, ...placement }, limiter);
      sent.least += found.least;
      sent.most += found.most;
      if (bySource || found.least + found.most === 0) return;
      const top = [...groups.values()].reduce((a, b) => b.top > a.top ? b : a);
      decisions.push(decide(found, top, interval.endMs));
    },
    forget: (atMs, gapMs) => threshold ? tracks.forget(atMs, gapMs) : 0,
    finish({ coarsestMs }): Finding[] {
      const matches = threshold ? tracks.alerts : matched;
      const alerts = {
        least: Math.max(sent.least, matches.least > 0 ? 1 : 0),
        most: Math.min(sent.most, matches.most),
      };
      const counts = `${describeRange(matches, "match", "matches")}, ${
        describeRange(alerts, "alert")
      } after deduplication`;
      return [
        { severity: "note", code: "alerts", rule: id, message: `${id}: ${counts}` },
        ...(threshold ? noteCoarse(id, windowMs, coarsestMs) : []),
        ...noteCrowded(id, tracks.everCrowded),
      ];
    },
  };
}
