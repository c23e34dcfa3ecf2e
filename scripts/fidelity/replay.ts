/**
 * One case of the lab: the recording is sent once and counted, ibsr says what blocking would have dropped, the same
 * recording is sent again through a firewall that really drops, and both are compared.
 *
 * Edges: the recording begins at an edge of the collector's intervals, so that it is known on which side of each edge
 * a frame is. A run in which the machine was too late for that is no measurement, and is done again.
 */
import assert from "node:assert/strict";
import type { NativeOptions } from "../../src/policy/native.ts";
import { DEFAULT_THRESHOLDS } from "../../src/policy/thresholds.ts";
import { containsPrefix, parsePrefix } from "../../src/prefix.ts";
import { createPrefixSet } from "../../src/allowlist.ts";
import { readSnapshots, type Snapshot } from "../../src/snapshot.ts";
import { type TimedFrame, writeTimedPcap } from "../../tests/kernel/frames.ts";
import { Lab, pause, run, SERVER } from "../../tests/kernel/lab.ts";
import { linkBytes, packetsOf } from "./capture.ts";
import { type Amount, compare, type Happened, keyOf, NOTHING, type Said, type Unit } from "./compare.ts";
import { APPLY, enforce, type Firewall, limitTable, readCounters, type ReadDrops, TIMED } from "./enforce.ts";
import { ibsr, readDecisions, readEvidence, readImpact, readRules } from "./predict.ts";
import { type Block, blockByInterval, blockByPacket } from "./schedule.ts";
import { clearEdges, type Target } from "./traffic.ts";
import { startWitness, type Witnessed } from "./witness.ts";

/** The project's folder. */
export const ROOT = new URL("../../", import.meta.url).pathname;
/** Whom recordings are sent to: the lab's server. */
export const TARGET: Target = { mac: "02:00:00:00:77:02", v4: SERVER.v4, v6: SERVER.v6 };

/** Thresholds of the default policy; what isn't given is as `ibsr report` has it. */
export type Thresholds = Partial<Omit<NativeOptions, "allowlist">>;

/** How the enforced run is done. */
export type Enforcement =
  /** The rules that `ibsr rules` wrote, before the first frame. */
  | { from: "start"; by: Firewall }
  /** Timed blocks: at the edges of intervals, or behind the packet that meets a rule. */
  | { from: "edge" | "packet"; by: "nftables" | "ipset" }
  /** The kernel's own rate limit beside an engine's policy that limits alike. */
  | { from: "limit"; by: "nftables"; sources: readonly string[]; rate: number; burst: number };

/** A recording, and how what is predicted of it is enforced. */
export interface Case {
  name: string;
  /** What is sent, for the page. */
  title: string;
  recording(folder: string): TimedFrame[] | Promise<TimedFrame[]>;
  ports(recording: readonly TimedFrame[]): number[];
  intervalSec: number;
  thresholds: Thresholds | ((recording: readonly TimedFrame[], ports: readonly number[]) => Thresholds);
  enforcement: Enforcement;
}

/** What was predicted of a case, and what happened. */
export interface Outcome {
  case: Case;
  frames: number;
  said: Said[];
  /** The report's sums over all sources; undefined for rules from the start, of which it says nothing. */
  all: Record<Unit, { lower: number; upper: number }> | undefined;
  happened: Happened;
  /** Sentences; none if what was said is what happened. */
  wrong: string[];
  blocks: number;
  /** How late the latest frame was, and the latest command, in milliseconds. */
  latestMs: number;
}

/** A run that the machine was too busy for. */
export class Disturbed extends Error {}

const DEFAULTS: NativeOptions = { ...DEFAULT_THRESHOLDS, windowMs: 2000, allowlist: createPrefixSet([]) };

function reportOptions(options: NativeOptions): string[] {
  const { v4, v6 } = options.aggregateBits;
  const networks = [...(v4 === 24 ? ["/24"] : []), ...(v6 === 48 ? ["/48"] : [])];
  const named = {
    "window-sec": options.windowMs / 1000,
    "block-duration-sec": options.blockDurationMs / 1000,
    "syn-rate-threshold": options.synRate,
    "success-ratio-threshold": options.successRatio,
    "vol-syn-rate": options.volSynRate,
    "vol-pkt-rate": options.volPacketRate,
    "vol-byte-rate": options.volByteRate,
    "sweep-ports": options.sweepPorts,
    "aggregate": networks.join(",") || "src",
  };
  return Object.entries(named).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/** Share of an interval at each edge that is kept free of frames. */
const MARGIN = 0.15;

/**
 * How far a snapshot may be from its edge, as a share of the interval: two intervals count as a window of twice their
 * length if they are at most 5 % longer.
 */
const OFF = 0.04;

/** Time for the sender to start and to read the recording. */
const LEAD_MS = 1500;

/** A lab whose server takes frames as long as these. */
export async function createLab(recording: readonly TimedFrame[] = []): Promise<Lab> {
  const lab = await Lab.create(), longest = recording.reduce((most, { frame }) => Math.max(most, frame.length), 0);
  await run("ip", ["-n", lab.server, "link", "set", "server", "address", TARGET.mac]);
  if (longest > 1518) {
    await run("ip", ["-n", lab.server, "link", "set", "server", "mtu", "65535"]);
    await run("ip", ["-n", lab.client, "link", "set", "client", "mtu", "65535"]);
  }
  return lab;
}

/** Sends the recording, the first frame's zero at `startMs` since 1970; gives how late the latest frame was. */
async function send(lab: Lab, capture: string, startMs: number): Promise<number> {
  const { stdout } = await lab.exec(lab.client, Deno.execPath(), [
    ...["run", "--quiet", `--config=${ROOT}deno.json`, "--allow-all"],
    ...[`${ROOT}scripts/fidelity/send.ts`, capture, "client", String(startMs)],
  ]);
  return (JSON.parse(stdout) as { latestMs: number }).latestMs;
}

interface Recording {
  frames: TimedFrame[];
  /** When the first frame is due, from the recording's start. */
  firstMs: number;
  path: string;
  ports: number[];
  options: NativeOptions;
}

/** Whether it matters on which side of an edge a frame is. */
function isTimed({ enforcement: { from } }: Case): boolean {
  return from === "edge" || from === "packet";
}

async function prepareRecording(test: Case, folder: string): Promise<Recording> {
  const raw = await test.recording(folder), intervalMs = 1000 * test.intervalSec;
  const frames = isTimed(test) ? clearEdges(raw, intervalMs, MARGIN * intervalMs) : raw;
  const path = `${folder}/recording.pcap`, ports = test.ports(frames);
  await writeTimedPcap(path, frames);
  const thresholds = typeof test.thresholds === "function" ? test.thresholds(frames, ports) : test.thresholds;
  return { frames, firstMs: frames[0]?.timeMs ?? 0, path, ports, options: { ...DEFAULTS, ...thresholds } };
}

// ------------------------------------------------------------------------------------------------- the shadow run

async function readSpool(spool: string): Promise<Snapshot[]> {
  const snapshots: Snapshot[] = [];
  for await (const { name } of Deno.readDir(spool)) {
    if (!name.startsWith("snapshot_")) continue;
    using file = await Deno.open(`${spool}/${name}`);
    for await (const line of readSnapshots(file.readable, name)) {
      if ("snapshot" in line) snapshots.push(line.snapshot);
    }
  }
  return snapshots.sort((a, b) => a.ts_unix_sec - b.ts_unix_sec);
}

async function runShadow(test: Case, recording: Recording, spool: string) {
  await using lab = await createLab(recording.frames);
  const intervalMs = 1000 * test.intervalSec;
  const collector = await lab.collect(spool, [
    ...["--dst-ports", recording.ports.join(","), "--snapshot-interval-sec", String(test.intervalSec)],
    ...["--xdp-mode", "native"],
  ]);
  // Snapshots keep their edges, too.
  await run("chrt", ["--all-tasks", "--rr", "--pid", "1", String(collector.process.pid)]);
  let first: Snapshot[] = [];
  while (first.length < 2) {
    await pause(100);
    first = await readSpool(spool);
  }
  const edgeMs = 1000 * first.at(-1)!.ts_unix_sec;
  const startMs = edgeMs + Math.ceil((Date.now() + LEAD_MS - edgeMs) / intervalMs) * intervalMs;
  const latestMs = await send(lab, recording.path, startMs + recording.firstMs);
  await pause(Math.max(intervalMs + 200, 400));
  assert.equal((await collector.end("SIGINT")).code, 0, collector.log());
  const lastMs = recording.frames.at(-1)!.timeMs;
  const snapshots = (await readSpool(spool)).filter(({ ts_unix_sec }) => {
    const atMs = 1000 * ts_unix_sec - startMs;
    return atMs > intervalMs / 2 && atMs < lastMs + intervalMs;
  });
  for (const { ts_unix_sec } of isTimed(test) ? snapshots : []) {
    const atMs = 1000 * ts_unix_sec - startMs, off = Math.abs(atMs - Math.round(atMs / intervalMs) * intervalMs);
    if (off > OFF * intervalMs) throw new Disturbed(`a snapshot was ${off.toFixed(0)} ms off`);
  }
  return { startMs, latestMs, snapshots };
}

// ----------------------------------------------------------------------------------------------- the enforced run

interface Enforced {
  witnessed: Witnessed;
  counted: Awaited<ReturnType<ReadDrops>>;
  latestMs: number;
}

async function runEnforced(test: Case, recording: Recording, folder: string, blocks: readonly Block[]) {
  await using lab = await createLab(recording.frames);
  const { enforcement } = test, lead = () => Date.now() + LEAD_MS + recording.firstMs;
  const isTagged = recording.frames.some(({ frame }) => linkBytes(frame) > 14);
  if (isTagged && enforcement.by !== "xdp-filter") await lab.joinVlan(["server"]);
  const readWitness = await startWitness(lab, folder);
  const finish = async (readDrops: ReadDrops, latestMs: number): Promise<Enforced> => {
    return { counted: await readDrops(), witnessed: await readWitness(), latestMs };
  };
  if (enforcement.from === "start") {
    const rules = `${folder}/rules`, { by } = enforcement;
    await ibsr(["rules", "-f", by, "--from", `${folder}/report/rules.json`, "--out", rules, "--no-host-check"]);
    const readDrops = await APPLY[by](lab, rules, folder);
    return await finish(readDrops, await send(lab, recording.path, lead()));
  }
  if (enforcement.from === "limit") {
    const { sources } = enforcement;
    await Deno.writeTextFile(`${folder}/limit.nft`, limitTable(sources, enforcement));
    await lab.exec(lab.server, "nft", ["-f", `${folder}/limit.nft`]);
    return await finish(() => readCounters(lab, sources), await send(lab, recording.path, lead()));
  }
  const { by } = enforcement, sources = [...new Set(blocks.map(({ source }) => source))];
  const readDrops = await TIMED[by].prepare(lab, sources, folder);
  const startMs = Date.now() + LEAD_MS, sending = send(lab, recording.path, startMs + recording.firstMs);
  const late = await enforce(lab, blocks, { by, startMs, folder });
  const latestMs = await sending;
  if (late > 1000 * MARGIN * test.intervalSec) throw new Disturbed(`a command was ${late} ms late`);
  return await finish(readDrops, latestMs);
}

// ------------------------------------------------------------------------------------------------- the comparison

/**
 * Runs one case; does it again if the machine was too busy for its times.
 *
 * @throws {Disturbed} If it always was.
 */
export async function runCase(test: Case, folder: string, mostTries = 5): Promise<Outcome> {
  // The lab's commands have their times as well.
  await run("renice", ["-n", "-10", "-p", String(Deno.pid)]);
  for (let tries = 1;; tries++) {
    const own = `${folder}/${tries}`;
    await Deno.mkdir(own, { recursive: true });
    try {
      return await tryCase(test, own);
    } catch (error) {
      if (!(error instanceof Disturbed) || tries === mostTries) throw error;
    }
  }
}

async function tryCase(test: Case, folder: string): Promise<Outcome> {
  const { enforcement } = test, recording = await prepareRecording(test, folder);
  const shadow = await runShadow(test, recording, `${folder}/spool`);
  const report = await predict(test, recording, folder);
  const evidence = await readEvidence(report);
  const blocks = await plan(test, recording, shadow, report);
  const enforced = await runEnforced(test, recording, folder, blocks);
  const latestMs = Math.max(shadow.latestMs, enforced.latestMs);
  const mayBeLateMs = isTimed(test) ? 1000 * MARGIN * test.intervalSec : enforcement.from === "limit" ? 50 : Infinity;
  if (latestMs > mayBeLateMs) throw new Disturbed(`a frame was ${latestMs.toFixed(0)} ms late`);

  const rules = enforcement.from === "start" ? await readRules(report) : [];
  const said = evidence.map(({ source, port, recorded, wouldBlock }): Said => {
    const exactly = (pick: (unit: Unit) => number) => {
      const range = (unit: Unit) => ({ lower: pick(unit), upper: pick(unit) });
      return { packets: range("packets"), bytes: range("bytes"), syn: range("syn") };
    };
    // Blocks at edges leave nothing open: they drop all of the intervals that certainly are inside.
    if (enforcement.from === "edge") return { source, port, recorded, predicted: exactly((u) => wouldBlock[u].lower) };
    if (enforcement.from !== "start") return { source, port, recorded, predicted: wouldBlock };
    const covered = rules.some((rule) =>
      containsPrefix(parsePrefix(rule.source)!, parsePrefix(source)!) &&
      // xdp-filter knows no ports: it drops all of a source.
      (enforcement.by === "xdp-filter" || rule.dst_ports.length === 0 || rule.dst_ports.includes(port))
    );
    return { source, port, recorded, predicted: exactly((unit) => covered ? recorded[unit] : 0) };
  });
  const happened = happen(test, recording, said, enforced);
  const impact = enforcement.from === "start" ? undefined : await readImpact(report);
  const all = enforcement.from === "edge" && impact ? exactlyLower(impact) : impact;
  return {
    case: test,
    frames: recording.frames.length,
    said,
    all,
    happened,
    wrong: compare(said, happened, all),
    blocks: enforcement.from === "start" ? rules.length : blocks.length,
    latestMs,
  };
}

function exactlyLower(impact: Record<Unit, { lower: number; upper: number }>) {
  const at = (unit: Unit) => ({ lower: impact[unit].lower, upper: impact[unit].lower });
  return { packets: at("packets"), bytes: at("bytes"), syn: at("syn") };
}

/** The report; gives its folder. */
async function predict(test: Case, { options }: Recording, folder: string): Promise<string> {
  const { enforcement } = test, from = ["--in", `${folder}/spool`, "--out", `${folder}/report`];
  if (enforcement.from !== "limit") {
    await ibsr(["report", ...from, ...reportOptions(options)]);
    return `${folder}/report`;
  }
  const { sources, rate, burst } = enforcement;
  const limits = sources.map((source, i) =>
    `    - { id: limit${i}, src_ip: ${source}, rate: ${rate}, burst: ${burst}, algorithm: token_bucket, action: drop }\n`
  );
  await Deno.writeTextFile(
    `${folder}/policy.yaml`,
    "agent: { interfaces: [server] }\nratelimit:\n  enabled: true\n  default_rate: 1000000\n" +
      `  default_burst: 1000000\n  rules:\n${limits.join("")}`,
  );
  await ibsr(["simulate", "--policy", `${folder}/policy.yaml`, ...from]);
  return `${folder}/report/1-policy`;
}

/** The timed blocks, each of which the report must have decided on. */
async function plan(
  test: Case,
  recording: Recording,
  shadow: { startMs: number; snapshots: readonly Snapshot[] },
  report: string,
): Promise<Block[]> {
  const { from } = test.enforcement, { options } = recording, intervalMs = 1000 * test.intervalSec;
  if (from !== "edge" && from !== "packet") return [];
  const blocks = from === "edge"
    ? blockByInterval(options, shadow.snapshots, { startMs: shadow.startMs, intervalMs })
    : blockByPacket(options, packetsOf(recording.frames, recording.ports));
  const decisions = (await readDecisions(report)).map((decision) => ({
    ...decision,
    unit: decision.prefix ?? decision.source,
    from: 1000 * decision.from_unix_sec.earliest - shadow.startMs,
    to: 1000 * decision.from_unix_sec.latest - shadow.startMs,
  }));
  const slackMs = MARGIN * intervalMs;
  for (const { source, port, atMs } of blocks) {
    const decided = decisions.some(({ unit, dst_ports, from, to }) =>
      unit === source && (port === undefined ? dst_ports.length === 0 : dst_ports.includes(port)) &&
      from - slackMs <= atMs && atMs <= to + slackMs
    );
    assert.ok(decided, `${test.name}: the report has no decision on ${source} ${port ?? ""} at ${atMs} ms`);
  }
  if (from === "packet") return blocks;
  for (const { certain, unit, dst_ports, to } of decisions) {
    const held = !certain ||
      blocks.some(({ source, port, atMs, durationMs }) =>
        unit === source && (port === undefined ? dst_ports.length === 0 : dst_ports.includes(port)) &&
        atMs - slackMs <= to && to <= atMs + durationMs + slackMs
      );
    assert.ok(held, `${test.name}: the report blocks ${unit} ${dst_ports} at ${to} ms for certain, the lab doesn't`);
  }
  return blocks;
}

/** What the witness and the firewall counted, in bytes of frames. */
function happen(test: Case, { frames, ports }: Recording, said: readonly Said[], enforced: Enforced): Happened {
  const { witnessed: { before, behind } } = enforced, monitored = new Set(ports);
  // What a source's frames have before the IP packet; NaN if they differ.
  const link = new Map<string, number>();
  for (const timed of frames) {
    for (const { source } of packetsOf([timed], ports)) {
      const bytes = linkBytes(timed.frame), known = link.get(source) ?? bytes;
      link.set(source, known === bytes ? bytes : NaN);
    }
  }
  const framed = (source: string, packets: number, ipBytes: number | undefined) => {
    const bytes = (ipBytes ?? NaN) + packets * (link.get(source) ?? 14);
    return Number.isNaN(bytes) ? undefined : bytes;
  };
  const recorded = new Map(said.map((row) => [keyOf(row), row.recorded]));
  const arrived = new Map<string, Amount>(), dropped = new Map<string, Amount>();
  const seesArrivals = test.enforcement.by !== "xdp-filter";
  for (const key of new Set([...before.keys(), ...recorded.keys()])) {
    const [source, port] = key.split(" ") as [string, string];
    if (!monitored.has(Number(port))) continue;
    const amount = ({ packets, ipBytes, syn }: { packets: number; ipBytes: number; syn: number }) => {
      return { packets, syn, bytes: framed(source, packets, ipBytes) };
    };
    const none = { packets: 0, ipBytes: 0, syn: 0 };
    const came = seesArrivals ? amount(before.get(key) ?? none) : recorded.get(key) ?? NOTHING;
    const left = amount(behind.get(key) ?? none);
    const bytes = came.bytes === undefined || left.bytes === undefined ? undefined : came.bytes - left.bytes;
    arrived.set(key, came);
    dropped.set(key, { packets: came.packets - left.packets, bytes, syn: came.syn - left.syn });
  }
  const counted = new Map(
    [...enforced.counted].map(([text, { packets, ipBytes }]) => {
      const prefix = parsePrefix(text)!;
      const sources = [...link.keys()].filter((source) => containsPrefix(prefix, parsePrefix(source)!));
      const alike = new Set(sources.map((source) => link.get(source))).size === 1;
      return [text, { packets, bytes: alike ? framed(sources[0]!, packets, ipBytes) : undefined }];
    }),
  );
  return { arrived: seesArrivals ? arrived : undefined, dropped, counted };
}
