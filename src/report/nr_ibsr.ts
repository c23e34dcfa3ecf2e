/**
 * The compatibility profile: `rules.json`, `evidence.csv` and `report.md` as the existing IBSR (nr-ibsr) writes them,
 * for those who read these files.
 *
 * Semantics and formats are that reporter's, in the reading that its golden files test: a source's first counters
 * count in full; evidence and report divide sums over the whole input by the window, rules come from single
 * intervals. So its numbers are not the report's, and two of its files can contradict each other. Where that reporter
 * loses its way this does not follow: streams and runs are not subtracted from one another, and deltas are not
 * subtracted at all. IPv6 has no place in the formats and is counted as left out. Memory grows with distinct sources,
 * not with time. Pure.
 */
import { expandPorts, parseAddress } from "../address.ts";
import { IbsrError } from "../errors.ts";
import type { Bucket, Snapshot } from "../snapshot.ts";
import { formatFixed, formatJsonFloat } from "./rust.ts";

/** The existing reporter's options, by its names. */
export interface NrIbsrOptions {
  window_sec: number;
  syn_rate_threshold: number;
  success_ratio_threshold: number;
  block_duration_sec: number;
  fp_safe_ratio: number;
  min_samples_for_fp: number;
  vol_syn_rate: number;
  vol_pkt_rate: number;
  vol_byte_rate: number;
  /** What `match_criteria` names; left out, the ports of the first snapshot. They filter nothing. */
  dst_ports?: readonly number[];
  /** Addresses and CIDRs; those of IPv6 are passed over. */
  allowlist: readonly string[];
  /** `generated_at`, seconds since 1970. */
  generatedAtSec: number;
}

/** The three files, and what they have no place for. */
export interface NrIbsrFiles {
  rules: string;
  /** Line by line. */
  evidence: () => Iterable<string>;
  report: string;
  /** Rows of IPv6 sources. */
  ipv6Buckets: number;
}

const FIELDS = ["syn", "handshake_ack", "packets", "bytes"] as const;
type Counts = Record<(typeof FIELDS)[number], number>;
/** u64, as the reporter sums. */
type Sums = Record<(typeof FIELDS)[number], bigint>;
type AbuseClass = "SYN_FLOOD_LIKE" | "VOLUMETRIC_TCP_ABUSE";

/** A run of intervals of one source and port that reach the thresholds, neighbours in its own records. */
interface Episode {
  startSec: number;
  maxSynRate: number;
  maxPacketRate: number;
  maxByteRate: number;
  /** Undefined where no interval had a SYN. */
  minSuccessRatio: number | undefined;
}

/** One source and port over the whole input. */
interface Key {
  cidr: boolean;
  ip: number;
  port: number | undefined;
  sums: Sums;
  /** The first; rules need no other. */
  episode: Episode | undefined;
  /** Whether the last record belongs to the first episode. */
  open: boolean;
}

/** What was decided of a key. */
interface Judged extends Key {
  synRate: number;
  successRatio: number;
  allowed: boolean;
  abuse: AbuseClass | undefined;
}

const U64 = (1n << 64n) - 1n;

/**
 * Reads all snapshots, which come in the order of time, and makes the files of them.
 *
 * @throws {IbsrError} `data`, if there is no snapshot; `usage`, if the allowlist has what is no address or CIDR.
 */
export async function makeNrIbsrFiles(
  snapshots: AsyncIterable<Snapshot> | Iterable<Snapshot>,
  options: NrIbsrOptions,
): Promise<NrIbsrFiles> {
  const allowlist = readAllowlist(options.allowlist), keys = new Map<number, Key>();
  const runs = new Map<string, { runId: number | undefined; last: Map<number, Counts> }>();
  let first: Snapshot | undefined, startSec = Infinity, endSec = 0, ipv6Buckets = 0;
  for await (const snapshot of snapshots) {
    first ??= snapshot;
    const ts = Math.floor(snapshot.ts_unix_sec);
    startSec = Math.min(startSec, ts);
    endSec = Math.max(endSec, ts);
    const stream = JSON.stringify([snapshot.hostname, snapshot.iface]);
    let run = runs.get(stream);
    if (!run || run.runId !== snapshot.run_id) runs.set(stream, run = { runId: snapshot.run_id, last: new Map() });
    for (const bucket of snapshot.buckets) {
      if (bucket.src_ip.includes(":")) {
        ipv6Buckets++;
        continue;
      }
      const id = idOf(bucket);
      let key = keys.get(id);
      if (!key) keys.set(id, key = newKey(bucket));
      const known = run.last.get(id), counted = snapshot.counter_mode === "delta" ? bucket : deltaOf(bucket, known);
      for (const field of FIELDS) key.sums[field] = key.sums[field] + BigInt(counted[field]) & U64;
      if (snapshot.counter_mode === "delta") {
        addRecord(key, ts, counted, snapshot.interval_sec ?? options.window_sec, options);
        continue;
      }
      run.last.set(id, {
        syn: bucket.syn,
        handshake_ack: bucket.handshake_ack,
        packets: bucket.packets,
        bytes: bucket.bytes,
      });
      if (known) addRecord(key, ts, counted, first.interval_sec ?? options.window_sec, options);
      else if (snapshot.base_ts_unix_sec === snapshot.ts_unix_sec) {
        addRecord(key, ts, counted, options.window_sec, options);
      }
    }
  }
  if (!first) throw new IbsrError("data", "Cannot report: there is no snapshot");
  const judged = [...keys].sort(([a], [b]) => a - b).map(([, key]) => judge(key, allowlist, options));
  const ports = options.dst_ports ?? expandPorts(first.dst_ports), span = { startSec, endSec, ports };
  const rules = renderRules(judged, allowlist, { ...options, dst_ports: ports });
  return {
    rules,
    evidence: () => renderEvidence(judged),
    report: renderReport(judged, rules, { ...options, ...span, allowlist }),
    ipv6Buckets,
  };
}

// -------------------------------------------------------------------------------------------------- counting

const PORTS = 65537;

/** A number that sorts keys as the reporter does: addresses before /24s, by address, by port, no port first. */
function idOf({ key_type, src_ip, dst_port }: Bucket): number {
  return ((key_type === "src_ip" ? 0 : 2 ** 32) + numberOf(src_ip)) * PORTS +
    (dst_port === undefined ? 0 : dst_port + 1);
}

function numberOf(ipv4: string): number {
  const [a, b, c, d] = parseAddress(ipv4) as unknown as [number, number, number, number];
  return a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
}

function textOf(ip: number): string {
  return [ip >>> 24, ip >>> 16 & 255, ip >>> 8 & 255, ip & 255].join(".");
}

function newKey({ key_type, src_ip, dst_port }: Bucket): Key {
  return {
    cidr: key_type === "src_cidr24",
    ip: numberOf(src_ip),
    port: dst_port,
    sums: { syn: 0n, handshake_ack: 0n, packets: 0n, bytes: 0n },
    episode: undefined,
    open: true,
  };
}

/** What was added since `known`; a counter that fell adds nothing. */
function deltaOf(bucket: Bucket, known: Counts | undefined): Counts {
  if (!known) return bucket;
  return {
    syn: Math.max(0, bucket.syn - known.syn),
    handshake_ack: Math.max(0, bucket.handshake_ack - known.handshake_ack),
    packets: Math.max(0, bucket.packets - known.packets),
    bytes: Math.max(0, bucket.bytes - known.bytes),
  };
}

/** How many of the three volumetric thresholds are reached. */
function countVolumetric(syn: number, packet: number, byte: number, options: NrIbsrOptions): number {
  return Number(syn >= options.vol_syn_rate) + Number(packet >= options.vol_pkt_rate) +
    Number(byte >= options.vol_byte_rate);
}

/** Adds an interval of `seconds` to the key's first episode, begins or ends it. */
function addRecord(key: Key, ts: number, counts: Counts, seconds: number, options: NrIbsrOptions): void {
  if (!key.open) return;
  const rate = (count: number) => seconds === 0 ? 0 : count / seconds;
  const syn = rate(counts.syn), packet = rate(counts.packets), byte = rate(counts.bytes);
  const ratio = counts.syn === 0 ? 0 : counts.handshake_ack / counts.syn;
  const hot = (syn >= options.syn_rate_threshold && ratio <= options.success_ratio_threshold) ||
    countVolumetric(syn, packet, byte, options) >= 2;
  if (!hot) {
    key.open = key.episode === undefined;
    return;
  }
  const episode = key.episode ??= {
    startSec: ts,
    maxSynRate: 0,
    maxPacketRate: 0,
    maxByteRate: 0,
    minSuccessRatio: undefined,
  };
  episode.maxSynRate = Math.max(episode.maxSynRate, syn);
  episode.maxPacketRate = Math.max(episode.maxPacketRate, packet);
  episode.maxByteRate = Math.max(episode.maxByteRate, byte);
  if (counts.syn > 0) episode.minSuccessRatio = Math.min(episode.minSuccessRatio ?? Infinity, ratio);
}

function judge(key: Key, allowlist: Allowlist, options: NrIbsrOptions): Judged {
  const syn = Number(key.sums.syn), { window_sec: window } = options;
  const synRate = syn / window, successRatio = syn === 0 ? 0 : Number(key.sums.handshake_ack) / syn;
  const flood = synRate >= options.syn_rate_threshold && successRatio <= options.success_ratio_threshold;
  const volumetric = countVolumetric(
    synRate,
    Number(key.sums.packets) / window,
    Number(key.sums.bytes) / window,
    options,
  ) >= 2;
  const allowed = isAllowed(key.ip, allowlist);
  const abuse = flood && syn >= 10
    ? "SYN_FLOOD_LIKE" as const
    : volumetric
    ? "VOLUMETRIC_TCP_ABUSE" as const
    : undefined;
  return {
    ...key,
    synRate,
    successRatio,
    allowed,
    abuse: allowed ? undefined : abuse ?? (flood ? "SYN_FLOOD_LIKE" : undefined),
  };
}

function classOf(episode: Episode, options: NrIbsrOptions): AbuseClass | "UNKNOWN" {
  const { maxSynRate, maxPacketRate, maxByteRate, minSuccessRatio = 0 } = episode;
  if (maxSynRate >= options.syn_rate_threshold && minSuccessRatio <= options.success_ratio_threshold) {
    return "SYN_FLOOD_LIKE";
  }
  return countVolumetric(maxSynRate, maxPacketRate, maxByteRate, options) >= 2 ? "VOLUMETRIC_TCP_ABUSE" : "UNKNOWN";
}

// ------------------------------------------------------------------------------------------------- allowlist

/** Addresses once each and in order; networks by address and length. */
interface Allowlist {
  addresses: number[];
  networks: { ip: number; length: number }[];
}

function readAllowlist(entries: readonly string[]): Allowlist {
  const addresses = new Set<number>(), networks: Allowlist["networks"] = [];
  for (const entry of entries) {
    const [address = "", length] = entry.split("/"), bytes = parseAddress(address);
    const bits = (bytes?.length ?? 0) * 8;
    if (!bytes || (length !== undefined && !(/^\d{1,3}$/.test(length) && Number(length) <= bits))) {
      throw new IbsrError("usage", `Cannot read the allowlist: "${entry}" is no address or CIDR`);
    }
    if (bits !== 32) continue;
    if (length === undefined) addresses.add(numberOf(address));
    else networks.push({ ip: numberOf(address) - numberOf(address) % sizeOf(Number(length)), length: Number(length) });
  }
  return {
    addresses: [...addresses].sort((a, b) => a - b),
    networks: networks.sort((a, b) => a.ip - b.ip || a.length - b.length),
  };
}

function sizeOf(length: number): number {
  return 2 ** (32 - length);
}

function isAllowed(ip: number, { addresses, networks }: Allowlist): boolean {
  return addresses.includes(ip) || networks.some((n) => ip >= n.ip && ip < n.ip + sizeOf(n.length));
}

// ------------------------------------------------------------------------------------------------- rendering

function renderRules(judged: Judged[], allowlist: Allowlist, options: NrIbsrOptions): string {
  // The first episode of an address and port makes the rule, be its key an address or a /24.
  const byTarget = new Map<string, { key: Judged; episode: Episode }>();
  for (const key of judged) {
    const target = `${key.ip} ${key.port}`, { episode } = key, other = byTarget.get(target);
    if (!episode || key.allowed || (other && other.episode.startSec <= episode.startSec)) continue;
    byTarget.set(target, { key, episode });
  }
  const triggers = [...byTarget.values()].map(({ key, episode }) => ({
    key_type: "src_ip",
    key_value: textOf(key.ip),
    dst_port: key.port ?? null,
    abuse_class: classOf(episode, options),
    window_sec: options.window_sec,
    syn_rate_threshold: JSON.rawJSON(formatJsonFloat(options.syn_rate_threshold)),
    success_ratio_threshold: JSON.rawJSON(formatJsonFloat(options.success_ratio_threshold)),
    action: { action_type: "drop", duration_sec: options.block_duration_sec },
  }));
  triggers.sort((a, b) =>
    a.key_value === b.key_value ? (a.dst_port ?? -1) - (b.dst_port ?? -1) : a.key_value < b.key_value ? -1 : 1
  );
  const exceptions = [
    ...allowlist.addresses.map((ip) => ({ key_type: "src_ip", key_value: textOf(ip) })),
    ...allowlist.networks.map(({ ip, length }) => ({ key_type: "src_cidr", key_value: `${textOf(ip)}/${length}` })),
  ];
  const rules = {
    version: 3,
    generated_at: options.generatedAtSec,
    match_criteria: { proto: "tcp", dst_ports: options.dst_ports },
    triggers,
    exceptions,
  };
  return JSON.stringify(rules, null, 2) + "\n";
}

function* renderEvidence(judged: Judged[]): Generator<string> {
  yield "source,abuse_class,syn_rate,success_ratio,decision,packets,bytes,syn\n";
  for (const key of judged) {
    const { packets, bytes, syn } = key.sums;
    yield `${display(key)},${key.abuse ?? ""},${formatFixed(key.synRate, 2)},${formatFixed(key.successRatio, 4)},` +
      `${key.abuse ? "block" : "allow"},${packets},${bytes},${syn}\n`;
  }
}

function display({ cidr, ip, port }: Key): string {
  if (cidr) return `${textOf(ip - ip % 256)}/24`;
  return port === undefined ? textOf(ip) : `${textOf(ip)}:${port}`;
}

interface ReportOptions extends NrIbsrOptions {
  startSec: number;
  endSec: number;
  ports: readonly number[];
}

function renderReport(
  judged: Judged[],
  rules: string,
  options: Omit<ReportOptions, "allowlist"> & { allowlist: Allowlist },
): string {
  const counted = judged.filter((key) => !key.allowed), blocked = counted.filter((key) => key.abuse);
  const total = addUp(counted), gone = addUp(blocked);
  const share = (field: keyof Sums) => total[field] === 0n ? 0 : 100 * Number(gone[field]) / Number(total[field]);
  const bound = boundOf(counted, blocked, options);
  const offenders = blocked.toSorted((a, b) => a.sums.syn < b.sums.syn ? 1 : a.sums.syn > b.sums.syn ? -1 : 0).slice(
    0,
    10,
  );
  const reasons = [
    ...(typeof bound === "string" ? [`False positive bound unknown: ${bound}`] : []),
    ...(typeof bound === "number" && bound > 5 ? [`False positive bound too high: ${formatFixed(bound, 1)}%`] : []),
    ...(offenders.length === 0 ? ["No abuse pattern detected"] : []),
    ...(offenders.length > 0 && share("syn") < 1 ? ["Minimal impact (<1% SYN blocked)"] : []),
    ...(total.packets === 0n ? ["No traffic observed"] : []),
  ];
  const { addresses, networks } = options.allowlist;
  const lines = [
    "# IBSR Report",
    "",
    "## 1. Scope & Configuration",
    "",
    `- **Time window start**: ${options.startSec}`,
    `- **Time window end**: ${options.endSec}`,
    `- **Duration**: ${options.endSec - options.startSec} seconds`,
    `- **Destination ports**: ${options.ports.join(", ")}`,
    `- **Window size**: ${options.window_sec} seconds`,
    `- **SYN rate threshold**: ${formatFixed(options.syn_rate_threshold, 1)} SYN/sec`,
    `- **Success ratio threshold**: ${formatFixed(options.success_ratio_threshold, 2)}`,
    `- **Block duration**: ${options.block_duration_sec} seconds`,
    addresses.length + networks.length === 0
      ? "- **Allowlist**: None configured"
      : `- **Allowlist**: ${addresses.length} IPs, ${networks.length} CIDRs`,
    "",
    "## 2. Abuse Pattern Observed",
    "",
    ...listOffenders(offenders),
    "",
    "## 3. Counterfactual Enforcement Impact",
    "",
    "### Blocked Traffic (if rules were enforced)",
    "",
    `- **Packets blocked**: ${formatFixed(share("packets"), 1)}%`,
    `- **Bytes blocked**: ${formatFixed(share("bytes"), 1)}%`,
    `- **SYN blocked**: ${formatFixed(share("syn"), 1)}%`,
    "",
    "### False Positive Bound",
    "",
    ...describeBound(bound),
    "",
    "### Uncertainty",
    "",
    total.packets === 0n
      ? "- No traffic was observed during the analysis window."
      : `- Analysis based on ${total.packets} total packets, ${total.syn} total SYN.`,
    "",
    "## 4. Candidate Enforcement Rules",
    "",
    "```json",
    rules.trimEnd(),
    "```",
    "",
    "## 5. Readiness Judgment",
    "",
    ...(reasons.length > 0
      ? [
        "**This abuse class IS NOT safe for autonomous enforcement.**",
        "",
        "Gating reasons:",
        "",
        ...reasons.map((reason) => `- ${reason}`),
      ]
      : [
        "**This abuse class IS safe for autonomous enforcement.**",
        "",
        "All safety criteria have been met:",
        "- Abuse pattern clearly detected",
        "- False positive bound within acceptable limits",
        "- Meaningful impact on malicious traffic",
      ]),
    "",
  ];
  return lines.join("\n") + "\n";
}

function addUp(keys: Judged[]): Sums {
  const sums: Sums = { syn: 0n, handshake_ack: 0n, packets: 0n, bytes: 0n };
  for (const key of keys) {
    for (const field of FIELDS) sums[field] = sums[field] + key.sums[field] & U64;
  }
  return sums;
}

/** Percent, or why it is unknown. */
function boundOf(counted: Judged[], blocked: Judged[], options: { min_samples_for_fp: number; fp_safe_ratio: number }) {
  const { min_samples_for_fp: least, fp_safe_ratio: safe } = options;
  if (counted.length < least) return `Insufficient data: ${counted.length} keys, need at least ${least}`;
  const all = addUp(blocked).packets, good = addUp(blocked.filter((key) => key.successRatio >= safe)).packets;
  return all === 0n ? 0 : 100 * Number(good) / Number(all);
}

function listOffenders(offenders: Judged[]): string[] {
  if (offenders.length === 0) return ["No abuse pattern detected matching the trigger conditions."];
  return [
    `Detected ${offenders.length} source(s) matching abuse pattern (TCP SYN churn).`,
    "",
    "### Top Offenders",
    "",
    "| Source | SYN Rate | Success Ratio | Would Block Packets | Would Block SYN |",
    "|--------|----------|---------------|---------------------|------------------|",
    ...offenders.map((key) => {
      const rate = key.cidr ? key.synRate : key.episode?.maxSynRate ?? key.synRate;
      const ratio = key.cidr || !key.episode ? key.successRatio : key.episode.minSuccessRatio ?? 0;
      return `| ${display(key)} | ${formatFixed(rate, 1)}/sec | ${
        formatFixed(ratio, 2)
      } | ${key.sums.packets} | ${key.sums.syn} |`;
    }),
  ];
}

function describeBound(bound: number | string): string[] {
  if (typeof bound === "string") {
    return [
      "- **FP bound**: UNKNOWN",
      `- **Reason**: ${bound}`,
      "- Enforcement decision should be made with caution.",
    ];
  }
  return [
    `- **FP bound**: ${formatFixed(bound, 1)}%`,
    bound === 0
      ? "- No likely legitimate traffic would be blocked."
      : bound <= 5
      ? "- FP bound is within acceptable range (<= 5%)."
      : "- **WARNING**: FP bound exceeds acceptable threshold (> 5%).",
  ];
}
