/**
 * What was said against what happened: each source and port, each rule's own counter, and all together. Pure.
 */
import { containsPrefix, parsePrefix } from "../../src/prefix.ts";

/** Connections are SYNs. */
export const UNITS = ["packets", "bytes", "syn"] as const;
/** What is compared. */
export type Unit = typeof UNITS[number];

/** Bounds, as predicted. */
export interface Range {
  lower: number;
  upper: number;
}

/** Bytes are of frames as they were sent; undefined where what counted them can't tell. */
export interface Amount {
  packets: number;
  bytes: number | undefined;
  syn: number;
}

/** A source's traffic to a port: what was recorded in the shadow run, and what was said of it. */
export interface Said {
  source: string;
  port: number;
  recorded: Record<Unit, number>;
  predicted: Record<Unit, Range>;
}

/** What was seen in the enforced run, by `keyOf()`; a source and port that isn't there has nothing. */
export interface Happened {
  /** Before the firewall; undefined where nothing can look there. */
  arrived: ReadonlyMap<string, Amount> | undefined;
  /** Arrived, and not seen behind the firewall. */
  dropped: ReadonlyMap<string, Amount>;
  /** The firewall's own counters by address or prefix. */
  counted: ReadonlyMap<string, { packets: number; bytes: number | undefined }>;
}

/** Nothing counted. */
export const NOTHING: Amount = { packets: 0, bytes: 0, syn: 0 };

/** A source and port as one text. */
export function keyOf({ source, port }: { source: string; port: number }): string {
  return `${source} ${port}`;
}

/** Bounds as text; a number where they are one. */
export function describe({ lower, upper }: Range): string {
  return lower === upper ? `${lower}` : `${lower}–${upper}`;
}

/** A sentence for each number that isn't as it was said; none if the prediction holds. */
export function compare(said: readonly Said[], happened: Happened, all?: Record<Unit, Range>): string[] {
  const { arrived, dropped, counted } = happened, wrong: string[] = [];
  const known = new Set(said.map(keyOf)), sum = { packets: 0, bytes: 0, syn: 0 };
  for (const [key, { packets }] of dropped) {
    if (packets > 0 && !known.has(key)) wrong.push(`${key}: nothing was said, dropped ${packets} packets`);
  }
  for (const row of said) {
    const key = keyOf(row), really = dropped.get(key) ?? NOTHING, here = arrived?.get(key) ?? NOTHING;
    for (const unit of UNITS) {
      const range = row.predicted[unit], n = really[unit], came = here[unit];
      if (n !== undefined && (n < range.lower || n > range.upper)) {
        wrong.push(`${key}: said ${describe(range)} ${unit}, dropped ${n}`);
      }
      if (arrived && came !== undefined && came !== row.recorded[unit]) {
        wrong.push(`${key}: recorded ${row.recorded[unit]} ${unit}, ${came} came to the firewall`);
      }
      sum[unit] += n ?? NaN;
    }
  }
  for (const unit of UNITS) {
    const range = all?.[unit], n = sum[unit];
    if (range && (n < range.lower || n > range.upper)) {
      wrong.push(`all: said ${describe(range)} ${unit}, dropped ${n}`);
    }
  }
  return [...wrong, ...compareCounters(said, dropped, counted)];
}

/** The firewall's own counters against what is missing behind it. */
function compareCounters(
  said: readonly Said[],
  dropped: Happened["dropped"],
  counted: Happened["counted"],
): string[] {
  const wrong: string[] = [], prefixes = [...counted].map(([text, own]) => ({ text, own, prefix: parsePrefix(text)! }));
  const missing = prefixes.map(() => ({ packets: 0, bytes: 0 }));
  for (const row of said) {
    const really = dropped.get(keyOf(row)), source = parsePrefix(row.source)!;
    if (!really || really.packets === 0) continue;
    const rule = prefixes.findIndex(({ prefix }) => containsPrefix(prefix, source));
    if (rule < 0) wrong.push(`${keyOf(row)}: ${really.packets} packets are missing that no rule counted`);
    else {
      missing[rule]!.packets += really.packets;
      missing[rule]!.bytes += really.bytes ?? NaN;
    }
  }
  for (const [i, { text, own }] of prefixes.entries()) {
    const { packets, bytes } = missing[i]!;
    if (own.packets !== packets) wrong.push(`${text}: its rule counted ${own.packets} packets, ${packets} are missing`);
    if (own.bytes !== undefined && !Number.isNaN(bytes) && own.bytes !== bytes) {
      wrong.push(`${text}: its rule counted ${own.bytes} bytes, ${bytes} are missing`);
    }
  }
  return wrong;
}
