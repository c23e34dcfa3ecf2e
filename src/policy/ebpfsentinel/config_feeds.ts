/**
 * The section `threatintel` of an eBPFsentinel configuration, and the lists that its feeds name. Pure.
 *
 * Lists are given as files: nothing is fetched. Only whole addresses are matched; what else a list holds is passed
 * over, as the engine does.
 */
import { formatAddress, parseAddress } from "../../address.ts";
import {
  asBoolean,
  asInteger,
  asList,
  asMapping,
  asMembers,
  asText,
  asWord,
  checkKeys,
  type Field,
  isPresent,
  member,
  note,
  require,
} from "../read.ts";
import { type Mode, MODES, readId, U64 } from "./config_words.ts";

/** The section `threatintel`. */
export interface ThreatIntel {
  enabled: boolean;
  mode: Mode;
  feeds: Feed[];
  /** Added to an address's confidence by its country. */
  boost: ReadonlyMap<string, number>;
}

/** A list of addresses. */
export interface Feed {
  id: string;
  path: string;
  format: "plaintext" | "csv" | "json" | "stix";
  enabled: boolean;
  maxIocs: number;
  /** Instead of the section's mode, as documented. */
  mode: Mode | undefined;
  minConfidence: number;
  ipField: string;
  confidenceField: string | undefined;
  separator: string;
  commentPrefix: string;
  skipHeader: boolean;
  place: { line: number; column: number };
}

/** An address of a list, and how sure the list is of it, 0 to 100. */
export interface Indicator {
  address: string;
  confidence: number;
}

const FORMATS = {
  plaintext: "plaintext",
  txt: "plaintext",
  text: "plaintext",
  csv: "csv",
  json: "json",
  stix: "stix",
} as const;
/** Longest list that is read. */
const MAX_LIST = 256 << 20;

/** Reads the section; what is wrong with it is noted, never thrown. */
export function readThreatIntel(field: Field): ThreatIntel {
  checkKeys(field, ["enabled", "mode", "country_confidence_boost", "feeds"], { code: "engine_ignores" });
  const boost = new Map<string, number>();
  for (const [country, value] of asMembers(member(field, "country_confidence_boost"))) {
    const points = asInteger(value, { min: -128, max: 127 });
    if (points !== undefined) boost.set(country, points);
  }
  const feeds = asList(member(field, "feeds"), 100).filter(asMapping).map(readFeed);
  const ids = new Set<string>();
  for (const { id, path, place } of feeds) {
    if (ids.has(id) && id !== "") note({ ...field, path, ...place }, "error", "duplicate", `duplicate feed id: ${id}`);
    ids.add(id);
  }
  return {
    enabled: asBoolean(member(field, "enabled")) ?? true,
    mode: asWord(member(field, "mode"), MODES) ?? "alert",
    feeds,
    boost,
  };
}

/** Reads one feed's entry; how its list is written, too. */
function readFeed(field: Field): Feed {
  checkKeys(field, [
    ..."id name url format enabled refresh_interval_secs max_iocs default_action min_confidence ip_field".split(" "),
    ..."confidence_field category_field separator comment_prefix skip_header auth_header".split(" "),
  ], { code: "engine_ignores" });
  const id = readId(member(field, "id"));
  if (require(member(field, "name"))) asText(member(field, "name"));
  if (require(member(field, "url"))) checkUrl(member(field, "url"));
  const refresh = member(field, "refresh_interval_secs");
  if (asInteger(refresh, U64) === 0) note(refresh, "error", "out_of_range", "must be > 0");
  const action = member(field, "default_action");
  if (isPresent(action)) {
    note(action, "warning", "engine_ignores", "today's engine takes threatintel.mode for every feed", id);
  }
  const separator = asText(member(field, "separator")) ?? ",";
  if (separator.length !== 1) note(member(field, "separator"), "error", "invalid_value", "must be one character");
  return {
    id,
    path: field.path,
    format: asWord(member(field, "format"), FORMATS) ?? "plaintext",
    enabled: asBoolean(member(field, "enabled")) ?? true,
    maxIocs: asInteger(member(field, "max_iocs"), U64) ?? 500_000,
    mode: asWord(action, MODES),
    minConfidence: asInteger(member(field, "min_confidence"), { min: 0, max: 255 }) ?? 0,
    ipField: asText(member(field, "ip_field")) ?? "ip",
    confidenceField: asText(member(field, "confidence_field")),
    separator,
    commentPrefix: asText(member(field, "comment_prefix")) || "#",
    skipHeader: asBoolean(member(field, "skip_header")) ?? false,
    place: { line: field.line, column: field.column },
  };
}

/** The engine fetches only from public hosts over HTTP. The address is never used here. */
function checkUrl(field: Field): void {
  const text = asText(field);
  if (text === undefined) return;
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    return note(field, "error", "invalid_value", "not an http or https address");
  }
  const host = url.hostname;
  const local = host === "localhost" || host.endsWith(".localhost") || host.endsWith(".internal") ||
    host.startsWith("[::1") ||
    /^\[f[cde]/i.test(host) || /^(0|10|127)\.|^192\.168\.|^169\.254\.|^172\.(1[6-9]|2\d|3[01])\./.test(host);
  if (local) note(field, "error", "invalid_value", `the engine refuses ${host}: a host that isn't public`);
}

// -------------------------------------------------------------------------------------------------- lists

/** What a feed's filter and limit leave of a list, each address once with its highest confidence, in order. */
export function selectIndicators(
  feed: Pick<Feed, "minConfidence" | "maxIocs">,
  found: Iterable<Indicator>,
): Indicator[] {
  const kept = new Map<string, Indicator>();
  for (const indicator of found) {
    if (indicator.confidence < feed.minConfidence) continue;
    const present = kept.get(indicator.address);
    if (present) present.confidence = Math.max(present.confidence, indicator.confidence);
    else if (kept.size < feed.maxIocs) kept.set(indicator.address, { ...indicator });
  }
  return [...kept.values()];
}

/** Adds a country's points to a confidence, within 0 and 100. */
export function boostConfidence(confidence: number, points: number): number {
  return Math.min(100, Math.max(0, confidence + points));
}

/**
 * The addresses of a list.
 *
 * @param nowMs For entries with an end of validity, milliseconds since 1970; undefined: all are valid.
 */
export function parseList(feed: Feed, text: string, nowMs?: number): Indicator[] {
  if (text.length > MAX_LIST) return [];
  if (feed.format === "plaintext") return parsePlain(feed, text);
  if (feed.format === "csv") return parseCsv(feed, text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return [];
  }
  return feed.format === "json" ? parseJson(feed, value) : parseStix(value, nowMs);
}

function indicator(text: unknown, confidence: unknown): Indicator[] {
  const bytes = typeof text === "string" ? parseAddress(text.trim()) : undefined;
  const points = Number(confidence);
  const given = confidence !== undefined && confidence !== "" && Number.isInteger(points) && points >= 0 &&
    points <= 255;
  return bytes ? [{ address: formatAddress(bytes), confidence: given ? Math.min(points, 100) : 100 }] : [];
}

function parsePlain(feed: Feed, text: string): Indicator[] {
  return text.split("\n").flatMap((line) => {
    const trimmed = line.trim();
    return trimmed.startsWith(feed.commentPrefix) ? [] : indicator(trimmed.split(/\s+/, 1)[0], undefined);
  });
}

function parseCsv(feed: Feed, text: string): Indicator[] {
  const lines = text.split("\n").map((l) => l.trim()).filter((l) => l !== "" && !l.startsWith(feed.commentPrefix));
  const header = feed.skipHeader ? lines.shift()?.split(feed.separator).map((c) => c.trim().toLowerCase()) : undefined;
  const column = (name: string | undefined) => {
    if (name === undefined) return -1;
    return /^\d+$/.test(name) ? Number(name) : header?.indexOf(name.toLowerCase()) ?? -1;
  };
  const ip = Math.max(column(feed.ipField), 0), confidence = column(feed.confidenceField);
  return lines.flatMap((line) => {
    const cells = line.split(feed.separator).map((c) => c.trim().replace(/^"(.*)"$/, "$1"));
    return indicator(cells[ip], confidence < 0 ? undefined : cells[confidence]);
  });
}

function parseJson(feed: Feed, value: unknown): Indicator[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry) => {
    if (typeof entry !== "object" || entry === null) return indicator(entry, undefined);
    const fields = entry as Record<string, unknown>;
    return indicator(
      fields[feed.ipField],
      feed.confidenceField === undefined ? undefined : fields[feed.confidenceField],
    );
  });
}

function parseStix(value: unknown, nowMs: number | undefined): Indicator[] {
  const objects = (value as { objects?: unknown } | null)?.objects;
  if (!Array.isArray(objects)) return [];
  return objects.flatMap((object: unknown) => {
    if (typeof object !== "object" || object === null) return [];
    const { type, pattern, valid_until, confidence } = object as Record<string, unknown>;
    if (type !== "indicator" || typeof pattern !== "string") return [];
    if (nowMs !== undefined && typeof valid_until === "string" && Date.parse(valid_until) < nowMs) return [];
    const matches = pattern.slice(0, 10_000).matchAll(/ipv[46]-addr:value\s*=\s*'([^']{1,64})'/g);
    return [...matches].flatMap(([, address]) => indicator(address, confidence));
  });
}
