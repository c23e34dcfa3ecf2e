/**
 * The lab that holds predictions against reality: `deno task fidelity [CASE…]`.
 *
 * The same recorded traffic is sent twice into namespaces of the lab's own. In the shadow run `ibsr collect` counts
 * it, and `ibsr report` or `ibsr simulate` says what blocking would have dropped. In the enforced run nftables, ipset
 * with iptables, or xdp-filter really drop, by the rules that ibsr wrote or at the times that it said, and their
 * counters are read. A case holds if every source's real drops lie inside the predicted bounds. Writes the table to
 * docs/fidelity.md. Needs root; touches nothing outside of its namespaces.
 */
import assert from "node:assert/strict";
import { Lab, pause, run, SERVER } from "../tests/kernel/lab.ts";
import {
  type Block,
  blockCommand,
  blockDrops,
  blockTable,
  type Drops,
  ipsetDrops,
  nftDrops,
  startXdpFilter,
} from "./fidelity/enforce.ts";
import {
  type DecisionLine,
  type EvidenceRow,
  ibsr,
  readDecisions,
  readEvidence,
  readRules,
} from "./fidelity/predict.ts";
import { containsPrefix, parsePrefix } from "../src/prefix.ts";
import { client, flood, mix, scan, type Target, type Timed, writeCapture } from "./fidelity/traffic.ts";

const TARGET: Target = { mac: "02:00:00:00:77:02", v4: SERVER.v4, v6: SERVER.v6 };
const ROOT = new URL("..", import.meta.url).pathname;
const PORTS = [22, 80, 443, 8080];

/** How the enforced run is done. */
type Enforcement =
  /** A rate limit of the kernel's own, by nftables, beside an engine's policy that limits alike. */
  | { from: "limit"; by: "nftables"; rules: string; sources: readonly string[]; policy: string }
  /** The rules that `ibsr rules` wrote, before the first frame. */
  | { from: "start"; by: "nftables" | "ipset" | "xdp-filter" }
  /** Each block when the simulation says: as late as it may be, or when an engine that sees each packet would act. */
  | { from: "late" | "exact"; by: "nftables" };

export interface Case {
  name: string;
  title: string;
  recording(): Timed[];
  intervalSec: number;
  /** Options of `ibsr report` or, with a policy, of `ibsr simulate`. */
  report: string[];
  enforcement: Enforcement;
}

interface Range {
  lower: number;
  upper: number;
}

/** One source or network: what was said, and what happened. */
export interface Comparison {
  source: string;
  recorded: number;
  predicted: { packets: Range; bytes: Range };
  dropped: { packets: number; bytes?: number };
  inside: boolean;
}

export interface Outcome {
  case: Case;
  comparisons: Comparison[];
  /** How late the latest frame was sent, in milliseconds, over both runs. */
  latestMs: number;
}

// ------------------------------------------------------------------------------------------------------ the cases

const QUIET = (fromSec = 0, toSec = 12) => [
  client({ source: "192.0.2.20", ports: [80, 443], fromSec, toSec, rate: 3 }, TARGET),
  client({ source: "2001:db8::20", ports: [443], fromSec, toSec, rate: 2 }, TARGET),
  client({ source: "192.0.2.21", ports: [22], fromSec, toSec, rate: 1 }, TARGET),
];
const WINDOW_SEC = 2, SYN_RATE = 40;
const RULES = [
  ...["--window-sec", String(WINDOW_SEC), "--syn-rate-threshold", String(SYN_RATE), "--block-duration-sec", "4"],
];
/** From the start, rules must not expire before the end. */
const LASTING = [...RULES.slice(0, 4), "--block-duration-sec", "300"];

const attack = (source: string, ports: number[], rate = 150, [fromSec, toSec] = [2.3, 11.2]) =>
  flood({ source, ports, fromSec, toSec, rate }, TARGET);

const LIMITED = ["198.51.100.1", "198.51.100.2"];

export const CASES: readonly Case[] = [
  ...(["nftables", "ipset"] as const).map((by): Case => ({
    name: `start-${by}`,
    title: "rules from the start",
    recording: () =>
      mix(
        ...QUIET(),
        attack("198.51.100.1", [80]),
        attack("2001:db8::bad", [443], 120),
        attack("198.51.100.2", [80, 443]),
      ),
    intervalSec: 0.5,
    report: LASTING,
    enforcement: { from: "start", by },
  })),
  {
    name: "start-xdp-filter",
    title: "rules from the start, VLAN tags among the frames",
    recording: () =>
      mix(
        ...QUIET(),
        attack("198.51.100.1", [80]),
        flood({ source: "198.51.100.3", ports: [443], fromSec: 2.3, toSec: 9, rate: 130, vlan: 7 }, TARGET),
        attack("2001:db8::bad", [443], 120),
      ),
    intervalSec: 0.5,
    report: LASTING,
    enforcement: { from: "start", by: "xdp-filter" },
  },
  {
    name: "start-cidr",
    title: "a network, from the start",
    recording: () =>
      mix(
        ...QUIET(),
        ...[3, 70, 200].map((host) => attack(`203.0.113.${host}`, [80], 60)),
        attack("198.51.100.1", [80], 20),
      ),
    intervalSec: 0.5,
    report: [...LASTING, "--aggregate", "/24"],
    enforcement: { from: "start", by: "nftables" },
  },
  ...(["late", "exact"] as const).map((from): Case => ({
    name: `timed-${from}`,
    title: {
      late: "floods and scans, expiring and triggered anew; blocked at an interval's edge",
      exact: "the same; blocked inside of an interval",
    }[from],
    recording: () =>
      mix(
        ...QUIET(0, 20),
        attack("198.51.100.1", [80], 150, [2.3, 18.7]),
        attack("198.51.100.2", [80, 443], 260, [4.1, 12.9]),
        attack("2001:db8::bad", [443], 120, [6.2, 9.4]),
        scan({ source: "198.51.100.9", ports: PORTS, fromSec: 3, toSec: 15, rate: 12 }, TARGET),
      ),
    intervalSec: 1,
    report: RULES,
    enforcement: { from, by: "nftables" },
  })),
  {
    name: "limit",
    title: "a rate limit: nft `limit` against a simulated token bucket",
    recording: () =>
      mix(
        ...QUIET(),
        attack(LIMITED[0]!, [80], 150),
        attack(LIMITED[1]!, [443], 70, [3.1, 9.8]),
        attack(LIMITED[1]!, [443], 400, [10, 11]),
      ),
    intervalSec: 0.25,
    report: [],
    enforcement: {
      ...{ from: "limit", by: "nftables", sources: LIMITED },
      policy: [
        "agent: { interfaces: [server] }",
        "ratelimit:",
        "  enabled: true",
        "  default_rate: 1000000",
        "  default_burst: 1000000",
        "  rules:",
        ...LIMITED.map((source, i) =>
          `    - { id: limit${i}, src_ip: ${source}, rate: 50, burst: 100, algorithm: token_bucket, action: drop }`
        ),
      ].join("\n"),
      rules: blockTable([]).replace(
        "policy accept;\n",
        "policy accept;\n" +
          LIMITED.map((source, i) =>
            `\t\tip saddr ${source} limit rate over 50/second burst 100 packets counter name c${i} drop\n`
          ).join(""),
      ).replace("{\n", `{\n${LIMITED.map((_, i) => `\tcounter c${i} {\n\t}\n`).join("")}`),
    },
  },
];

// ------------------------------------------------------------------------------------------------------ the two runs

async function createLab(): Promise<Lab> {
  const lab = await Lab.create();
  await run("ip", ["-n", lab.server, "link", "set", "server", "address", TARGET.mac]);
  return lab;
}

/** Sends the recording; `startMs` is when its first frame is due, since 1970. */
async function send(lab: Lab, capture: string, startMs: number): Promise<number> {
  const { stdout } = await lab.exec(lab.client, Deno.execPath(), [
    ...["run", "--quiet", `--config=${ROOT}deno.json`, "--allow-all", `${ROOT}scripts/fidelity/send.ts`],
    ...[capture, "client", String(startMs)],
  ]);
  return (JSON.parse(stdout) as { latestMs: number }).latestMs;
}

/** Time for the sender to start and to read the recording. */
const LEAD_MS = 1500;

async function shadowRun(spool: string, capture: string, intervalSec: number) {
  await using lab = await createLab();
  const collector = await lab.collect(spool, [
    ...["--dst-ports", PORTS.join(","), "--snapshot-interval-sec", String(intervalSec), "--xdp-mode", "native"],
  ]);
  const startMs = Date.now() + LEAD_MS;
  const latestMs = await send(lab, capture, startMs);
  await pause(1000 * intervalSec + 200);
  assert.equal((await collector.end("SIGINT")).code, 0, collector.log());
  return { startMs, latestMs };
}

/**
 * When each block begins, and for how long: a decision while the one before it still holds prolongs that. Of what may
 * have triggered but need not, nothing is enforced.
 */
function schedule(decisions: readonly DecisionLine[], startMs: number, recording?: readonly Timed[]): Block[] {
  const last = new Map<string, Block>(), blocks: Block[] = [];
  for (const { certain, source, prefix, dst_ports, from_unix_sec, until_unix_sec } of decisions) {
    if (!certain) continue;
    const earliest = 1000 * from_unix_sec.earliest - startMs, latest = 1000 * from_unix_sec.latest - startMs;
    // Before the interval's end by what a command may take.
    const met = recording && whenMet(recording, { source, ports: dst_ports, from: earliest, to: latest });
    const atMs = Math.min(met ?? Infinity, latest - 100);
    const durationMs = 1000 * (until_unix_sec.earliest! - from_unix_sec.earliest);
    const key = `${prefix ?? source} ${dst_ports}`, before = last.get(key);
    if (before && atMs <= before.atMs + before.durationMs) {
      before.durationMs = atMs + durationMs - before.atMs;
      continue;
    }
    const block = { source: prefix ?? source, ports: dst_ports, atMs, durationMs };
    last.set(key, block);
    blocks.push(block);
  }
  return blocks.sort((a, b) => a.atMs - b.atMs);
}

/** When the SYN flood rule of `RULES` is met by the packets themselves; undefined if not between the two moments. */
function whenMet(
  recording: readonly Timed[],
  { source, ports, from, to }: { source: string; ports: readonly (number | string)[]; from: number; to: number },
): number | undefined {
  const first = recording[0]!.timeMs, recent: number[] = [];
  for (const { timeMs, segment } of recording) {
    if (segment.source !== source || !ports.includes(segment.port) || segment.flags !== 2) continue;
    recent.push(timeMs - first);
    if (recent.length > WINDOW_SEC * SYN_RATE) recent.shift();
    const isMet = recent.length === WINDOW_SEC * SYN_RATE && recent.at(-1)! - recent[0]! < 1000 * WINDOW_SEC;
    if (isMet && recent.at(-1)! > from) return recent.at(-1)! < to ? recent.at(-1) : undefined;
  }
  return undefined;
}

async function enforcedRun(test: Case, folder: string, shadowStartMs: number) {
  await using lab = await createLab();
  const { enforcement } = test, { by } = enforcement;
  if (enforcement.from === "start") {
    const rules = `${folder}/rules`;
    await ibsr(["rules", "-f", by, "--from", `${folder}/report/rules.json`, "--out", rules, "--no-host-check"]);
    const readDrops = await APPLY[by](lab, rules, folder);
    const latestMs = await send(lab, `${folder}/recording.pcap`, Date.now() + LEAD_MS);
    return { drops: await readDrops(), latestMs };
  }
  if (enforcement.from === "limit") {
    await Deno.writeTextFile(`${folder}/limit.nft`, enforcement.rules);
    await lab.exec(lab.server, "nft", ["-f", `${folder}/limit.nft`]);
    const latestMs = await send(lab, `${folder}/recording.pcap`, Date.now() + LEAD_MS);
    return { drops: await blockDrops(lab, enforcement.sources), latestMs };
  }
  const blocks = schedule(
    await readDecisions(`${folder}/report`),
    shadowStartMs,
    enforcement.from === "exact" ? test.recording() : undefined,
  );
  const sources = [...new Set(blocks.map(({ source }) => source))];
  await Deno.writeTextFile(`${folder}/blocks.nft`, blockTable(sources));
  await lab.exec(lab.server, "nft", ["-f", `${folder}/blocks.nft`]);
  const startMs = Date.now() + LEAD_MS;
  const sending = send(lab, `${folder}/recording.pcap`, startMs);
  for (const block of blocks) {
    await pause(Math.max(0, startMs + block.atMs - Date.now()));
    await lab.exec(lab.server, "nft", [blockCommand(block)]);
  }
  const latestMs = await sending;
  return { drops: await blockDrops(lab, sources), latestMs };
}

type Apply = (lab: Lab, rules: string, folder: string) => Promise<() => Promise<Drops>>;

/** Puts the files of `ibsr rules` in force, as they say themselves; gives how to read what they drop. */
const APPLY: Record<"nftables" | "ipset" | "xdp-filter", Apply> = {
  async nftables(lab, rules) {
    await lab.exec(lab.server, "nft", ["-f", `${rules}/ibsr.nft`]);
    return () => nftDrops(lab);
  },
  async ipset(lab, rules) {
    await lab.exec(lab.server, "sh", ["-c", `ipset restore -! < ${rules}/ibsr.ipset`]);
    for (const ip of ["ip", "ip6"]) {
      const command = `${ip}tables-restore --noflush < ${rules}/ibsr.${ip}tables && ` +
        `${ip}tables -t raw -I PREROUTING -j IBSR`;
      await lab.exec(lab.server, "sh", ["-c", command]);
    }
    return () => ipsetDrops(lab);
  },
  "xdp-filter": (lab, rules, folder) => startXdpFilter(lab, `${rules}/ibsr.xdp-filter.sh`, folder),
};

/** Runs one case: shadow, prediction, enforcement, comparison. */
export async function runCase(test: Case, folder: string): Promise<Outcome> {
  await Deno.mkdir(folder, { recursive: true });
  const recording = test.recording();
  await writeCapture(`${folder}/recording.pcap`, recording);
  const shadow = await shadowRun(`${folder}/spool`, `${folder}/recording.pcap`, test.intervalSec);
  const { enforcement } = test;
  const from = ["--in", `${folder}/spool`, "--out", `${folder}/report`, ...test.report];
  if (enforcement.from === "limit") {
    await Deno.writeTextFile(`${folder}/policy.yaml`, enforcement.policy);
    await ibsr(["simulate", "--policy", `${folder}/policy.yaml`, ...from]);
    await Deno.rename(`${folder}/report/1-policy`, `${folder}/simulated`);
    await Deno.remove(`${folder}/report`, { recursive: true });
    await Deno.rename(`${folder}/simulated`, `${folder}/report`);
  } else {
    await ibsr(["report", ...from]);
  }
  const evidence = await readEvidence(`${folder}/report`);
  const enforced = await enforcedRun(test, folder, shadow.startMs);
  const expected = test.enforcement.from === "start" ? await expectAll(test, folder, evidence) : expectBounds(evidence);
  const inside = ({ lower, upper }: Range, n: number) => lower <= n && n <= upper;
  return {
    case: test,
    latestMs: Math.max(shadow.latestMs, enforced.latestMs),
    comparisons: [...expected].map(([source, { recorded, packets, bytes }]) => {
      const dropped = enforced.drops.get(source) ?? { packets: 0, bytes: 0 };
      const holds = inside(packets, dropped.packets) && (dropped.bytes === undefined || inside(bytes, dropped.bytes));
      return { source, recorded, predicted: { packets, bytes }, dropped, inside: holds };
    }),
  };
}

type Expected = Map<string, { recorded: number; packets: Range; bytes: Range }>;

/** Rules that are there from the start leave nothing open: all that was recorded of their sources and ports. */
async function expectAll(test: Case, folder: string, evidence: readonly EvidenceRow[]): Promise<Expected> {
  const expected: Expected = new Map(), counted = new Map<string, Set<EvidenceRow>>();
  for (const { source, dst_ports } of await readRules(`${folder}/report`)) {
    const rows = counted.get(source) ?? new Set();
    counted.set(source, rows);
    for (const row of evidence) {
      if (!containsPrefix(parsePrefix(source)!, parsePrefix(row.source)!)) continue;
      // xdp-filter knows no ports: it drops all of a source.
      if (test.enforcement.by === "xdp-filter" || dst_ports.length === 0 || dst_ports.includes(row.port)) rows.add(row);
    }
  }
  for (const [source, rows] of counted) {
    const sum = (unit: "packets" | "bytes") => [...rows].reduce((n, row) => n + row.recorded[unit], 0);
    const exactly = (n: number) => ({ lower: n, upper: n });
    const packets = sum("packets");
    expected.set(source, { recorded: packets, packets: exactly(packets), bytes: exactly(sum("bytes")) });
  }
  return expected;
}

/** The bounds of each source over its ports. */
function expectBounds(evidence: readonly EvidenceRow[]): Expected {
  const expected: Expected = new Map();
  for (const { source, recorded, wouldBlock } of evidence) {
    const before = expected.get(source) ??
      { recorded: 0, packets: { lower: 0, upper: 0 }, bytes: { lower: 0, upper: 0 } };
    const add = (a: Range, b: Range) => ({ lower: a.lower + b.lower, upper: a.upper + b.upper });
    expected.set(source, {
      recorded: before.recorded + recorded.packets,
      packets: add(before.packets, wouldBlock.packets),
      bytes: add(before.bytes, wouldBlock.bytes),
    });
  }
  return expected;
}

// ---------------------------------------------------------------------------------------------------- live clients

/** What became of real clients' connections. */
export interface LiveOutcome {
  /** SYNs inside of blocks, as the report bounds them, and connections that really didn't come about. */
  connections: Range;
  failed: number;
  /** Packets inside of blocks of the recording, and those that were really dropped: SYNs are sent again. */
  packets: Range;
  dropped: number;
  holds: boolean;
}

/** Connections within the window that make two of three rates full. */
const LIVE_SYNS = 20;
const LIVE = { source: "10.77.1.9", port: 8080, rate: 20, count: 240, giveUpMs: 2500 };

/**
 * Real TCP clients that open connections at a steady rate. Counted, reported on, then blocked for real at the
 * simulated times: a client whose SYN is dropped sends it again after a second, which no recording can know.
 */
export async function runLive(folder: string): Promise<LiveOutcome> {
  await Deno.mkdir(folder, { recursive: true });
  const begin = async (lab: Lab) => {
    await run("ip", ["-n", lab.client, "address", "add", `${LIVE.source}/16`, "dev", "client"]);
    await lab.serve([LIVE.port], 200);
  };
  const attempt = async (lab: Lab, startMs: number) => {
    const { source, port, rate, count, giveUpMs } = LIVE;
    const { stdout } = await lab.exec(lab.client, Deno.execPath(), [
      ...["run", "--quiet", "--allow-net", `${ROOT}scripts/fidelity/attempts.ts`],
      ...[source, SERVER.v4, ...[port, rate, count, giveUpMs, startMs].map(String)],
    ]);
    return (JSON.parse(stdout) as { failed: number }).failed;
  };
  let shadowStartMs: number;
  {
    await using lab = await createLab();
    await begin(lab);
    const collector = await lab.collect(`${folder}/spool`, ["-p", String(LIVE.port), "--snapshot-interval-sec", "0.5"]);
    shadowStartMs = Date.now() + LEAD_MS;
    assert.equal(await attempt(lab, shadowStartMs), 0, "without enforcement every connection comes about");
    await pause(700);
    assert.equal((await collector.end("SIGINT")).code, 0, collector.log());
  }
  // So many connections of one source are a brute force: two of three rates.
  const thresholds = [
    "--window-sec",
    "2",
    "--vol-syn-rate",
    String(LIVE_SYNS / 2),
    "--vol-pkt-rate",
    "40",
    "--block-duration-sec",
    "4",
  ];
  await ibsr(["report", "--in", `${folder}/spool`, "--out", `${folder}/report`, ...thresholds]);
  const said = (await readEvidence(`${folder}/report`)).find(({ source }) => source === LIVE.source)!.wouldBlock;
  await using lab = await createLab();
  await begin(lab);
  const blocks = schedule(await readDecisions(`${folder}/report`), shadowStartMs);
  // The rule is met by the connection that makes the rate full; it passes, those after it don't.
  blocks[0]!.atMs = 1000 * (LIVE_SYNS - 0.5) / LIVE.rate + 5;
  await Deno.writeTextFile(`${folder}/blocks.nft`, blockTable([LIVE.source]));
  await lab.exec(lab.server, "nft", ["-f", `${folder}/blocks.nft`]);
  const startMs = Date.now() + LEAD_MS, attempts = attempt(lab, startMs);
  for (const block of blocks) {
    await pause(Math.max(0, startMs + block.atMs - Date.now()));
    await lab.exec(lab.server, "nft", [blockCommand(block)]);
  }
  const failed = await attempts;
  const dropped = (await blockDrops(lab, [LIVE.source])).get(LIVE.source)!.packets;
  // A SYN that was dropped shortly before the block ended is sent again after it, and then its connection comes about.
  const retried = Math.ceil(LIVE.rate * Math.max(1, LIVE.giveUpMs / 1000));
  const holds = said.syn.lower - retried <= failed && failed <= said.syn.upper;
  return { connections: said.syn, failed, packets: said.packets, dropped, holds };
}

// ------------------------------------------------------------------------------------------------------- the page

function describe({ lower, upper }: Range): string {
  return lower === upper ? `${lower}` : `${lower}–${upper}`;
}

const METHOD = {
  "start": "from the start, by",
  "late": "at the end of the triggering interval, by",
  "exact": "when the packets meet the rule, by",
  "limit": "the kernel's own limit, by",
};

/** The page of results: a table of what was measured just now, how, and what it can't show. */
export async function renderPage(outcomes: readonly Outcome[], live: LiveOutcome | undefined): Promise<string> {
  const tools = await run("dpkg-query", ["-W", "-f", "${Package} ${Version}\\n", "nftables", "ipset", "xdp-tools"], {
    anyCode: true,
  });
  const versions = tools.stdout.trim().split("\n").join(", ");
  const rows = outcomes.flatMap(({ case: test, comparisons }) =>
    comparisons.filter(({ predicted, dropped }) => predicted.packets.upper > 0 || dropped.packets > 0)
      .map(({ source, recorded, predicted, dropped, inside }) =>
        `| ${test.title} | ${METHOD[test.enforcement.from]} ${test.enforcement.by} | ${source} | ${recorded} | ` +
        `${describe(predicted.packets)} | ${dropped.packets} | ${describe(predicted.bytes)} | ${
          dropped.bytes ?? "–"
        } | ` +
        `${inside ? "yes" : "NO"} |`
      )
  );
  const untouched =
    outcomes.flatMap(({ comparisons }) =>
      comparisons.filter(({ predicted, dropped }) => predicted.packets.upper === 0 && dropped.packets === 0)
    ).length;
  const lines = [
    "# Would block = really dropped",
    "",
    "Written by `deno task fidelity`. The same recorded traffic is sent twice, frame by frame at its times, into network",
    "namespaces of the lab's own. First `ibsr collect` counts it and `ibsr report` or `ibsr simulate` says what blocking",
    "would have dropped. Then a real firewall drops, by the rules that `ibsr rules` wrote or at the times that the report",
    "said, and its own counters are read. A row holds if what was dropped lies inside of what was said.",
    "",
    `Measured on ${new Date().toISOString().slice(0, 10)}, Linux ${Deno.osRelease()}, ${versions}.`,
    "",
    "| traffic | enforced | source | recorded packets | said: packets | dropped | said: bytes | dropped | holds |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows,
    "",
    `${untouched} sources of which nothing was to be dropped lost nothing. The latest frame of all runs was ` +
    `${Math.max(...outcomes.map(({ latestMs }) => latestMs)).toFixed(0)} ms behind its time.`,
    "",
  ];
  if (live) {
    lines.push(
      "## Clients that answer back",
      "",
      `${LIVE.count} real TCP connections at ${LIVE.rate} a second; blocked at the simulated times. The report said that ` +
        `${
          describe(live.connections)
        } connection attempts fall into blocks; ${live.failed} connections failed. It said ` +
        `${
          describe(live.packets)
        } packets of the recording; the firewall dropped ${live.dropped}: a client whose SYN is ` +
        "dropped never sends the rest of its connection, and sends the SYN again. This is why a report counts connections " +
        "beside packets, and says of packets that they are those of the recording.",
      "",
    );
  }
  lines.push(
    "## What this can't show",
    "",
    "- Frames run over a veth pair without offloads: a real card's GRO and LRO join packets before generic XDP sees them,",
    "  and its native XDP is not netfilter's place. The counts of the program itself are held against tshark elsewhere.",
    "- The firewalls here count what reaches them. A frame that is lost before is lost to both.",
    "- Timed blocks are commands: each begins some milliseconds after its time, inside of the triggering interval.",
    "",
  );
  return lines.join("\n");
}

if (import.meta.main) {
  const names = Deno.args, chosen = names.length > 0 ? CASES.filter(({ name }) => names.includes(name)) : CASES;
  const folder = await Deno.makeTempDir({ prefix: "ibsr-fidelity-" });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void Lab.disposeAll().finally(() => Deno.exit(130)));
  }
  const outcomes: Outcome[] = [];
  for (const test of chosen) {
    const outcome = await runCase(test, `${folder}/${test.name}`);
    outcomes.push(outcome);
    const wrong = outcome.comparisons.filter(({ inside }) => !inside);
    console.log(`${test.name}: ${outcome.comparisons.length - wrong.length} sources as said, ${wrong.length} not`);
    for (const { source, predicted, dropped } of wrong) {
      console.log(`  ${source}: said ${describe(predicted.packets)}, dropped ${dropped.packets}`);
    }
  }
  const live = names.length === 0 || names.includes("live") ? await runLive(`${folder}/live`) : undefined;
  if (live) console.log(`live: ${live.failed} connections failed, said ${describe(live.connections)}`);
  if (names.length === 0) {
    await Deno.mkdir(`${ROOT}docs`, { recursive: true });
    await Deno.writeTextFile(`${ROOT}docs/fidelity.md`, await renderPage(outcomes, live));
    console.log("written: docs/fidelity.md");
  }
  await Deno.remove(folder, { recursive: true });
  const holds = outcomes.every(({ comparisons }) => comparisons.every(({ inside }) => inside)) && live?.holds !== false;
  Deno.exit(holds ? 0 : 1);
}
