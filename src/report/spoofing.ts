/**
 * Where blocking by source can't help: floods from sources that are seen once.
 *
 * A one-shot source has at most 3 SYNs, in one interval, and never came to a connection that was used. An episode is
 * an unbroken run of intervals in which all sources together reach the rate of a flood and at most half of that came
 * to connections in use. Pure.
 */
import { atLeast } from "../evidence/pairs.ts";
import { follows } from "../policy/recent.ts";
import type { ObservedInterval } from "./observe.ts";
import type { Spoofing } from "./summary.ts";
import type { Tally } from "./tally.ts";

/** A one-shot source has at most so many SYNs. */
export const MOST_SYN = 3;
const MOST_USED = 0.5, LISTED = 100;
/** A source was seen once on a stream, or more often. */
const ONCE = 1, MORE = 2;

/** Sums of an interval over all sources. */
export interface Moment {
  beginMs: number;
  endMs: number;
  syn: number;
  used: number;
}

/** Episodes and one-shot sources over all streams. */
export interface SpoofingCount {
  /** Starts a stream; its end gives its own share of one-shot SYNs, null without a SYN. */
  stream(): { add(interval: ObservedInterval): void; finish(tally: Tally): number | null };
  finish(): Spoofing;
}

/** Counts; `floodRate` is in SYN/s over all sources of a stream. */
export function createSpoofingCount(floodRate: number): SpoofingCount {
  const episodes: Spoofing["episodes"] = [];
  /** By source: ONCE, MORE, or both. */
  let seen = new Uint8Array(0), allSyn = 0, oneShotSyn = 0;
  return {
    stream() {
      const moments: Moment[] = [];
      return {
        add({ beginMs, endMs, cells, totalSyn, unattributedSyn }) {
          let used = 0, syn = unattributedSyn;
          for (let i = 0; i < cells.count; i++) {
            syn += cells.syn[i]!;
            used += Math.min(cells.handshakeAck[i]!, cells.data[i]!, cells.syn[i]!);
          }
          moments.push({ beginMs, endMs, syn: Math.max(syn, totalSyn), used });
        },
        finish(tally) {
          const before = { allSyn, oneShotSyn };
          const oneShots = new Float64Array(moments.length), entries = new Uint32Array(moments.length);
          const { syn, handshakeAck, data } = tally.bySource;
          for (let local = 0; local < tally.sourceCount; local++) {
            const unused = handshakeAck[local] === 0 || data[local] === 0, source = tally.global[local]!;
            if (syn[local] === 0) continue;
            if (source >= seen.length) seen = atLeast(seen, source + 1);
            if (tally.sourceIntervals[local] !== 1 || syn[local]! > MOST_SYN || !unused) {
              seen[source]! |= MORE;
              continue;
            }
            const at = tally.firstInterval[local]!;
            oneShots[at]! += syn[local]!;
            entries[at]!++;
            seen[source]! |= ONCE;
            oneShotSyn += syn[local]!;
          }
          for (const moment of moments) allSyn += moment.syn;
          for (const episode of listEpisodes(moments, { oneShots, entries, floodRate })) episodes.push(episode);
          const ownSyn = allSyn - before.allSyn;
          return ownSyn > 0 ? (oneShotSyn - before.oneShotSyn) / ownSyn : null;
        },
      };
    },
    finish() {
      // A source that is seen once on each of several hosts returns.
      const oneShotSources = seen.reduce((count, how) => how === ONCE ? count + 1 : count, 0);
      return summariseSpoofing(episodes, { oneShotSources, oneShotSyn, allSyn });
    },
  };
}

/** The episodes of a stream. `oneShots` and `entries`: SYNs of one-shot sources, and how many they are, by moment. */
export function listEpisodes(
  moments: readonly Moment[],
  { oneShots, entries, floodRate }: { oneShots: ArrayLike<number>; entries: ArrayLike<number>; floodRate: number },
): Spoofing["episodes"] {
  const episodes: Spoofing["episodes"] = [];
  let open: { from: number; to: number } | undefined;
  const close = () => {
    if (!open) return;
    const sum = { syn: 0, oneShot: 0, entries: 0 };
    for (let i = open.from; i <= open.to; i++) {
      sum.syn += moments[i]!.syn;
      sum.oneShot += oneShots[i]!;
      sum.entries += entries[i]!;
    }
    episodes.push({
      from_unix_sec: moments[open.from]!.beginMs / 1000,
      to_unix_sec: moments[open.to]!.endMs / 1000,
      syn: sum.syn,
      one_shot_share: sum.syn > 0 ? sum.oneShot / sum.syn : 0,
      entries: sum.entries,
    });
    open = undefined;
  };
  for (const [i, moment] of moments.entries()) {
    const seconds = (moment.endMs - moment.beginMs) / 1000;
    const flood = moment.syn >= floodRate * seconds && moment.used <= MOST_USED * moment.syn;
    if (open && (!flood || !follows(moments[i - 1]!, moment))) close();
    if (flood) open = { from: open?.from ?? i, to: i };
  }
  close();
  return episodes;
}

/** The episodes of all streams, the largest of them, and what they come to. */
export function summariseSpoofing(
  episodes: Spoofing["episodes"],
  { oneShotSources, oneShotSyn, allSyn }: { oneShotSources: number; oneShotSyn: number; allSyn: number },
): Spoofing {
  const share = allSyn > 0 ? oneShotSyn / allSyn : 0;
  const largest = episodes.sort((a, b) => b.syn - a.syn || a.from_unix_sec - b.from_unix_sec).slice(0, LISTED);
  largest.sort((a, b) => a.from_unix_sec - b.from_unix_sec || a.to_unix_sec - b.to_unix_sec);
  return {
    one_shot_sources: oneShotSources,
    one_shot_syn: oneShotSyn,
    share_of_syn: share,
    episodes: largest,
    likely_spoofed: share > 0.5 || largest.some((e) => e.one_shot_share > 0.5),
  };
}
