/**
 * What the firewall says of a source and port, asked once and kept. Pure.
 */
import type { Sources } from "../../evidence/interval.ts";
import { atLeast, createPairs } from "../../evidence/pairs.ts";
import { type CompiledFirewall, OPENING, type Verdict } from "./firewall.ts";
import type { Simulated } from "./sources.ts";

/** Pairs of source and port that are kept, of which each takes some 30 bytes; beyond, all are asked anew. */
const MAX_PAIRS = 1 << 20;

const UNKNOWN_FLAGS = { value: 0, known: 0 };

/** A verdict, and the index of its rule; all that are the same are one. */
export interface Judged {
  decision: Verdict["decision"];
  wouldDrop: boolean;
  rule: number;
}

/** Starts without any. */
export function createVerdicts(
  { rules, destinations }: Pick<Simulated, "rules" | "destinations">,
  { firewall, sources }: { firewall: CompiledFirewall; sources: Sources },
) {
  const list: Judged[] = [];
  /** By twice the number of a pair, and one more for packets that open a connection: place in the list + 1. */
  let places = new Uint32Array(0), pairs = createPairs();

  function ask(pair: number, opening: boolean): number {
    const source = sources.bytes(pairs.first(pair)), port = pairs.second(pair);
    const flow = {
      source,
      port: port === 0 ? undefined : port,
      flags: opening ? OPENING : UNKNOWN_FLAGS,
      destinations,
    };
    const { decision, wouldDrop, applied } = firewall.judge({ ...flow, established: opening ? false : "unknown" });
    const rule = rules.firewall(applied);
    const present = list.findIndex((j) => j.decision === decision && j.wouldDrop === wouldDrop && j.rule === rule);
    return present < 0 ? list.push({ decision, wouldDrop, rule }) : present + 1;
  }

  return {
    /** The number of a source and port, to be asked about at once. */
    pair(source: number, port: number): number {
      if (pairs.count >= MAX_PAIRS) {
        pairs = createPairs();
        places = new Uint32Array(0);
      }
      const pair = pairs.of(source, port);
      if (2 * pair + 1 >= places.length) places = atLeast(places, 2 * pair + 2);
      return pair;
    },
    judge(pair: number, opening: boolean): Judged {
      const at = 2 * pair + Number(opening), known = places[at]!;
      return list[(known === 0 ? places[at] = ask(pair, opening) : known) - 1]!;
    },
  };
}
