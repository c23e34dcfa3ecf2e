/**
 * Who of the legitimate would have been harmed, and how much: of one stream, and of all. Pure.
 */
import type { Sources, StreamName } from "../evidence/interval.ts";
import type { Policy } from "../policy/policy.ts";
import type { Range } from "../rules/ruleset.ts";
import { compareTexts } from "../words.ts";
import type { Affected, RuleHits } from "./effects.ts";
import type { FalsePositives, SourceClass } from "./summary.ts";
import { CLASSES, type Judgements, type TallyCounts } from "./tally.ts";

const LISTED = 1000;

/** What would have been dropped of a source, and for how long. */
interface Befallen {
  connections: Range;
  bytes: Range;
  packets: Range;
  blockedMs: Range;
}

/** What would have befallen the sources of a stream. */
export interface Harm extends Befallen {
  hostname: string;
  /** Likely-legitimate and mixed sources that may be blocked. */
  sources: Set<number>;
  legitimateSyn: number;
  /** Would-be-blocked sources that don't look legitimate here; they may on another host. */
  others: Map<number, Befallen & { rules: string[] }>;
  byClass: Map<SourceClass, { sources: Set<number>; syn: Range; packets: Range }>;
  listed: FalsePositives["sources"];
  /** By source that may be blocked. */
  classes: Map<number, SourceClass>;
}

/** Adds up what `affected` says, by the classes of a stream's sources. */
export function summariseHarm(
  stream: {
    name: StreamName;
    /** Of the would-be-blocked sources at least. */
    judgements: Judgements;
    /** SYNs of all likely-legitimate and mixed sources. */
    legitimateSyn: number;
    affected: readonly Affected[];
    hits: readonly RuleHits[];
    policy: Policy;
    sources: Sources;
  },
): Harm {
  const { name, judgements, affected, hits, policy, sources } = stream;
  const none = () => ({ lower: 0, upper: 0 });
  const harm: Harm = {
    ...{ hostname: name.hostname, sources: new Set(), others: new Map() },
    ...{ connections: none(), bytes: none(), packets: none(), blockedMs: none() },
    ...{ legitimateSyn: stream.legitimateSyn, byClass: new Map(), listed: [], classes: new Map() },
  };
  const rulesOf = new Map<number, string[]>();
  for (const [rule, { possible }] of hits.entries()) {
    for (const source of possible) {
      const list = rulesOf.get(source);
      if (list) list.push(policy.rules[rule]!.id);
      else rulesOf.set(source, [policy.rules[rule]!.id]);
    }
  }
  const classAt = (cls: SourceClass) => {
    let sum = harm.byClass.get(cls);
    if (!sum) harm.byClass.set(cls, sum = { sources: new Set(), syn: none(), packets: none() });
    return sum;
  };
  for (const [source, rules] of rulesOf) {
    const cls = judgements.classOf(source);
    harm.classes.set(source, cls);
    classAt(cls).sources.add(source);
    if (cls !== "likely legitimate" && cls !== "mixed") {
      const befallen = { connections: none(), bytes: none(), packets: none(), blockedMs: none() };
      harm.others.set(source, { ...befallen, rules });
      continue;
    }
    harm.sources.add(source);
    const row = { hostname: name.hostname, source: sources.text(source), class: cls };
    harm.listed.push({ ...row, why: judgements.describe(source), rule: rules.join(", ") });
  }
  for (const { source, union, blockedMs } of affected) {
    const cls = judgements.classOf(source), sum = classAt(cls);
    addRange(sum.syn, union.syn);
    addRange(sum.packets, union.packets);
    const befallen = cls === "likely legitimate" || cls === "mixed" ? harm : harm.others.get(source);
    if (!befallen) continue;
    addRange(befallen.connections, union.syn);
    addRange(befallen.bytes, union.bytes);
    addRange(befallen.packets, union.packets);
    addRange(befallen.blockedMs, blockedMs);
  }
  return harm;
}

/** SYNs of the sources that look legitimate, blocked or not. */
export function sumLegitimateSyn(counts: TallyCounts["sources"]): number {
  let syn = 0;
  for (let at = 0; at < counts.count; at++) {
    const cls = CLASSES[counts.class[at]!]!;
    if (cls === "likely legitimate" || cls === "mixed") syn += counts.syn[at]!;
  }
  return syn;
}

/**
 * The harm on all streams, as summary.json has it.
 *
 * @param isLegitimate Whether a source looks legitimate on any of them: then what befalls it elsewhere is harm, too.
 */
export function joinHarm(
  harms: readonly Harm[],
  { isLegitimate, sources }: { isLegitimate(source: number): boolean; sources: Sources },
): Omit<FalsePositives, "legitimate" | "hit" | "point" | "upper" | "by_network"> {
  for (const harm of harms) {
    for (const [source, befallen] of harm.others) {
      if (!isLegitimate(source)) continue;
      for (const unit of ["connections", "bytes", "packets", "blockedMs"] as const) {
        addRange(harm[unit], befallen[unit]);
      }
      harm.sources.add(source);
      const row = { hostname: harm.hostname, source: sources.text(source), class: "likely legitimate" as const };
      harm.listed.push({ ...row, why: "looks legitimate on another host", rule: befallen.rules.join(", ") });
    }
  }
  const sum = (of: (harm: Harm) => Range): Range =>
    harms.map(of).reduce((a, b) => ({ lower: a.lower + b.lower, upper: a.upper + b.upper }), { lower: 0, upper: 0 });
  const connections = sum((h) => h.connections), blocked = sum((h) => h.blockedMs);
  const syn = harms.reduce((total, h) => total + h.legitimateSyn, 0);
  const listed = harms.flatMap((h) => h.listed);
  listed.sort((a, b) => compareTexts(a.hostname, b.hostname) || compareTexts(a.source, b.source));
  const ids = (pick: (harm: Harm) => Iterable<number>) => new Set(harms.flatMap((h) => [...pick(h)])).size;
  return {
    harm: {
      sources: ids((h) => h.sources),
      connections,
      bytes: sum((h) => h.bytes),
      packets: sum((h) => h.packets),
      blocked_minutes: { lower: blocked.lower / 60_000, upper: blocked.upper / 60_000 },
      share_of_legitimate_syn: syn > 0
        ? { lower: connections.lower / syn, upper: connections.upper / syn }
        : { lower: 0, upper: 0 },
    },
    by_class: CLASSES.map((cls) => ({
      class: cls,
      sources: ids((h) => h.byClass.get(cls)?.sources ?? []),
      syn: sum((h) => h.byClass.get(cls)?.syn ?? { lower: 0, upper: 0 }),
      packets: sum((h) => h.byClass.get(cls)?.packets ?? { lower: 0, upper: 0 }),
    })),
    sources: listed.slice(0, LISTED),
    source_count: listed.length,
  };
}

function addRange(to: Range, { lower, upper }: Range): void {
  to.lower += lower;
  to.upper += upper;
}
