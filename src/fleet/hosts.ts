/**
 * Over the fleet: sources by the hosts that have seen them, and those of which most would be blocked.
 */
import { formatAddress } from "../address.ts";
import { type FleetSummary, listDiffering } from "../report/fleet.ts";
import type { Summary } from "../report/summary.ts";
import { addressOf } from "./lines.ts";
import type { Workspace } from "./tables.ts";

const LISTED = 100;
/** Numbers of hosts that sources are counted for. */
const STEPS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/** Adds up over hosts; undefined for a single one. */
export async function sumOverHosts({ tables, rows }: Workspace, summary: Summary): Promise<FleetSummary | undefined> {
  const names = [...new Set(summary.evidence.streams.map(({ hostname }) => hostname))];
  if (names.length < 2) return undefined;
  const host = "arrayElement({hosts:Array(UInt32)}, stream + 1)";
  const parameters = { hosts: summary.evidence.streams.map(({ hostname }) => names.indexOf(hostname)) };
  const steps = STEPS.filter((step) => step <= names.length);
  const [counts] = await rows<{ counts: string[] }>(
    `SELECT sumForEach(arrayMap(step -> toUInt64(hosts >= step), {steps:Array(UInt32)})) AS counts
     FROM (SELECT source, uniqExact(${host}) AS hosts FROM ${tables.sources} GROUP BY source)`,
    { ...parameters, steps },
  );
  const blocked = `(SELECT stream, source FROM ${tables.drops} WHERE packets_upper > 0
    UNION DISTINCT SELECT stream, first_source FROM ${tables.decisions})`;
  type Wide = Record<"source" | "hosts" | "would_block_hosts" | "legitimate_hosts" | "syn" | "packets", string>;
  const widest = await rows<Wide>(
    `SELECT hex(w.source) AS source, any(w.seen) AS hosts, any(w.blocking) AS would_block_hosts,
       any(w.legitimate) AS legitimate_hosts, sum(k.syn) AS syn, sum(k.packets) AS packets
     FROM (
       SELECT source, uniqExact(${host}) AS seen, uniqExactIf(${host}, (stream, source) IN ${blocked}) AS blocking,
         uniqExactIf(${host}, class < 2) AS legitimate
       FROM ${tables.sources} GROUP BY source HAVING seen > 1 ORDER BY seen DESC, blocking DESC, source LIMIT ${LISTED}
     ) AS w INNER JOIN ${tables.keys} AS k ON k.source = w.source
     GROUP BY w.source ORDER BY any(w.seen) DESC, any(w.blocking) DESC, w.source`,
    parameters,
  );
  type Offender = { source: string; hosts: string; would_block_hosts: string; sums: string[] };
  const offenders = await rows<Offender>(
    `SELECT hex(o.source) AS source, uniqExact(arrayElement({hosts:Array(UInt32)}, s.stream + 1)) AS hosts,
       any(o.blocking) AS would_block_hosts, any(o.sums) AS sums
     FROM (
       SELECT source, uniqExact(${host}) AS blocking, [sum(t.packets_lower), sum(t.packets_upper), sum(t.bytes_lower),
         sum(t.bytes_upper), sum(t.syn_lower), sum(t.syn_upper)] AS sums
       FROM ${tables.drops} AS t WHERE t.packets_upper > 0 GROUP BY source
       ORDER BY sum(t.packets_upper) DESC, source LIMIT ${LISTED}
     ) AS o INNER JOIN ${tables.sources} AS s ON s.source = o.source
     GROUP BY o.source ORDER BY any(o.sums)[2] DESC, o.source`,
    parameters,
  );
  const textOf = (hex: string) => formatAddress(addressOf(hex));
  return {
    hosts: names.length,
    sources_by_hosts: steps.map((hosts, i) => ({ hosts, sources: Number(counts?.counts[i] ?? 0) })),
    widest_sources: widest.map((one) => ({
      source: textOf(one.source),
      ...{ hosts: Number(one.hosts), would_block_hosts: Number(one.would_block_hosts) },
      ...{ legitimate_hosts: Number(one.legitimate_hosts), syn: Number(one.syn), packets: Number(one.packets) },
    })),
    top_offenders: offenders.map(({ source, hosts, would_block_hosts, sums }) => {
      const range = (at: number) => ({ lower: Number(sums[at]), upper: Number(sums[at + 1]) });
      return {
        ...{ source: textOf(source), hosts: Number(hosts), would_block_hosts: Number(would_block_hosts) },
        would_block: { packets: range(0), bytes: range(2), syn: range(4) },
      };
    }),
    differing_hosts: listDiffering(summary.hosts, summary.evidence.streams),
  };
}
