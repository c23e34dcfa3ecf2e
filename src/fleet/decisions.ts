/**
 * What would have been decided: the triggers that are reported, named, and added to what was found of their streams.
 *
 * One comes back for each time that a block would have been made, in the order of streams and time.
 */
import type { StreamName } from "../evidence/interval.ts";
import type { SourceTable } from "../evidence/sources.ts";
import type { NativeOptions } from "../policy/native.ts";
import { describeRules, measureTrigger } from "../policy/native_rules.ts";
import type { Decision, Policy } from "../policy/policy.ts";
import { formatPrefix, prefixOf } from "../prefix.ts";
import { addLetThrough, type Effects } from "../report/effects.ts";
import { dayOf } from "../report/tally.ts";
import { NO_PORT, type Workspace } from "./tables.ts";

/** A decision as the tables have it, and the most that its rule drops of the source in its interval. */
export interface DecisionRow {
  stream: number;
  rule: number;
  port: number;
  source: string;
  begin_ms: string;
  end_ms: string;
  certain: number;
  from_ms: string;
  measured: string[];
  packets: number;
  bytes: number;
  syn: number;
}

/** In the order of streams, time, address, port and rule. */
export function listDecisions({ tables, rows }: Workspace): Promise<DecisionRow[]> {
  return rows(
    `SELECT d.stream AS stream, d.rule AS rule, d.port AS port, hex(d.first_source) AS source, d.begin_ms AS begin_ms,
       d.end_ms AS end_ms, certain, from_ms, measured, e.packets AS packets, e.bytes AS bytes, e.syn AS syn
     FROM ${tables.decisions} AS d LEFT JOIN (
       SELECT stream, rule, source, seq, sum(t.packets_upper) AS packets, sum(t.bytes_upper) AS bytes,
         sum(t.syn_upper) AS syn
       FROM ${tables.effects} AS t
       WHERE (stream, rule, source, seq) IN (SELECT stream, rule, first_source, seq FROM ${tables.decisions})
       GROUP BY stream, rule, source, seq
     ) AS e ON d.stream = e.stream AND d.rule = e.rule AND d.first_source = e.source AND d.seq = e.seq
     ORDER BY d.stream, d.seq, d.first_source, d.first_port, d.rule`,
  );
}

/** Names decisions and adds them to the effects, as report/effects.ts does; by stream. */
export function addDecisions(
  decisions: readonly DecisionRow[],
  { native, streams, middleMs, policy, sources, numberOf, each, mark }: {
    native: NativeOptions;
    streams: readonly StreamName[];
    middleMs: number;
    policy: Policy;
    sources: SourceTable;
    numberOf(hex: string): number;
    each(stream: number): readonly Effects[];
    mark(stream: number, number: number, when: { half: 0 | 1; day: number }): void;
  },
): Decision[][] {
  const said = describeRules(native), saidOf = [said.syn_flood, said.volumetric, said.port_sweep];
  const named = streams.map((): Decision[] => []);
  const blockedUntil = streams.map(() => new Map<string | number, number>());
  for (const row of decisions) {
    const number = numberOf(row.source), bytes = sources.bytes(number);
    const bits = bytes.length === 4 ? native.aggregateBits.v4 : native.aggregateBits.v6;
    const prefix = bits === 8 * bytes.length ? undefined : formatPrefix(prefixOf(bytes, bits));
    const beginMs = Number(row.begin_ms), endMs = Number(row.end_ms), fromMs = Number(row.from_ms);
    const [syn, handshakeAck, data, packets, sizes] = row.measured.map(Number) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const decision: Decision = {
      rule: row.rule,
      action: "block",
      certain: row.certain === 1,
      source: number,
      ...(prefix ? { prefix } : {}),
      ...(row.port === 0 || row.port === NO_PORT ? {} : { ports: [row.port] }),
      window: { beginMs: fromMs, endMs },
      fromMs: { earliest: beginMs, latest: endMs },
      untilMs: { earliest: beginMs + native.blockDurationMs, latest: endMs + native.blockDurationMs },
      measured: row.measured.length === 1
        ? { ports: syn }
        : measureTrigger({ syn, handshakeAck, data, packets, bytes: sizes }, (endMs - fromMs) / 1000),
      ...saidOf[row.rule]!,
    };
    named[row.stream]!.push(decision);
    const half = endMs <= middleMs ? 0 : 1;
    mark(row.stream, number, { half, day: dayOf(endMs) });
    for (const effects of each(row.stream)) {
      effects.decisions[row.rule]![decision.certain ? "certain" : "possible"]++;
      const hits = effects.hits[row.rule]!;
      hits.possible.add(number);
      hits.halves[half].add(number);
      if (decision.certain) hits.certain.add(number);
    }
    if (!decision.certain) continue;
    const id = prefix ?? number, until = blockedUntil[row.stream]!, before = until.get(id) ?? -Infinity;
    until.set(id, Math.max(before, decision.untilMs.latest));
    if (before + policy.windowMs >= beginMs) continue;
    for (const effects of each(row.stream)) {
      effects.secondsToBlock.push((endMs - fromMs) / 1000);
      addLetThrough(effects, { measured: decision.measured, dropped: (unit) => row[unit] });
    }
  }
  return named;
}
