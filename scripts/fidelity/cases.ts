/**
 * The cases of the lab: generated mixes, what the lab records of real TCP itself, and captures of others where there
 * are any.
 */
import type { TimedFrame } from "../../tests/kernel/frames.ts";
import { Lab, pause, run, SERVER } from "../../tests/kernel/lab.ts";
import { captureDirectory } from "../../tests/ground_truth.ts";
import { choosePorts, packetsOf, readCapture } from "./capture.ts";
import { attempt } from "./live.ts";
import { type Case, type Enforcement, TARGET, type Thresholds } from "./replay.ts";
import { bruteForce, client, flood, mix, scan } from "./traffic.ts";

const PORTS = [22, 80, 443, 8080];
const WINDOW_MS = 2000;

/** A captured attack is sent in at most so many milliseconds. */
const LONGEST_MS = 8000;

/** Ordinary clients, IPv4 and IPv6. */
const quiet = (toSec = 9) => [
  client({ source: "192.0.2.20", ports: [80, 443], fromSec: 0, toSec, rate: 3 }, TARGET),
  client({ source: "2001:db8::20", ports: [443], fromSec: 0, toSec, rate: 2 }, TARGET),
  client({ source: "192.0.2.21", ports: [22], fromSec: 0, toSec, rate: 1 }, TARGET),
];

/** Blocks that last some seconds: of three intervals that a block certainly covers two are left behind the edge. */
const EXPIRING = { blockDurationMs: 3500 };

const attack = (source: string, ports: number[], rate: number, [fromSec, toSec]: [number, number], vlan?: number) =>
  flood({ source, ports, fromSec, toSec, rate, ...(vlan === undefined ? {} : { vlan }) }, TARGET);

const floods = () =>
  mix(
    ...quiet(),
    attack("198.51.100.1", [80], 150, [1.3, 8.2]),
    attack("2001:db8::bad", [443], 120, [1.3, 8.2]),
    attack("198.51.100.2", [80, 443], 150, [1.3, 8.2]),
  );

const taggedFloods = () =>
  mix(
    ...quiet(),
    attack("198.51.100.1", [80], 150, [1.3, 8.2]),
    attack("198.51.100.3", [443], 130, [1.3, 8.2], 7),
    attack("2001:db8::bad", [443], 120, [1.3, 8.2], 7),
  );

/** Comes, is blocked, comes again after the block has ended, and sends a little in between. */
const waves = () =>
  mix(
    ...quiet(12),
    attack("198.51.100.1", [80], 150, [1.3, 11.6]),
    attack("198.51.100.2", [80, 443], 260, [1.1, 2.9]),
    attack("198.51.100.2", [80, 443], 20, [2.9, 8.1]),
    attack("198.51.100.2", [80, 443], 260, [8.1, 9.9]),
    attack("2001:db8::bad", [443], 120, [3.2, 5.4]),
    attack("2001:db8::bad", [443], 10, [5.4, 11.8]),
    scan({ source: "198.51.100.9", ports: PORTS, fromSec: 2, toSec: 10, rate: 12 }, TARGET),
  );

const networks = () =>
  mix(
    ...quiet(11),
    ...[3, 70, 200].map((host) => attack(`203.0.113.${host}`, [80], 60, [1.3, 5.2])),
    ...[3, 70].map((host) => attack(`203.0.113.${host}`, [80, 443], 8, [5.2, 10.7])),
    ...["1", "2:1", "3:1"].map((host) => attack(`2001:db8:9::${host}`, [443], 40, [3.4, 9.8])),
    attack("198.51.100.1", [80], 20, [1.3, 9.2]),
  );

/** Log-in attempts of several sources, each only some a second, and scans of all ports. */
const bruteForces = () => {
  const part = (source: string, rate: number, fromSec: number, toSec: number, vlan?: number) =>
    bruteForce({ source, ports: [22], fromSec, toSec, rate, ...(vlan === undefined ? {} : { vlan }) }, TARGET);
  return mix(
    ...quiet(11),
    ...[1, 2, 3].map((host) => part(`198.51.100.${host}`, 5 + host, 1.2, 9.7)),
    part("198.51.100.4", 7, 1.2, 8.7, 7),
    part("2001:db8:bad::1", 8, 1.4, 4.1),
    part("2001:db8:bad::2", 7, 2.2, 9.4, 7),
    scan({ source: "198.51.100.9", ports: PORTS, fromSec: 2, toSec: 8, rate: 5 }, TARGET),
    scan({ source: "2001:db8:bad::9", ports: PORTS, fromSec: 3, toSec: 7, rate: 6 }, TARGET),
  );
};

/** 5 connections and 15 packets a second are a brute force here; four ports within the window a scan. */
const SLOW: Thresholds = { volSynRate: 5, volPacketRate: 15, sweepPorts: 4 };

const FROM_THE_START: readonly Enforcement[] = [{ from: "start", by: "nftables" }, { from: "start", by: "ipset" }];
/** Blocks that begin and end as the traffic goes: at the edges of intervals, and packet by packet. */
const WHILE_IT_HAPPENS: readonly Enforcement[] = [
  { from: "edge", by: "nftables" },
  { from: "edge", by: "ipset" },
  { from: "packet", by: "nftables" },
  { from: "packet", by: "ipset" },
];

const GENERATED: readonly {
  name: string;
  title: string;
  recording: () => TimedFrame[];
  thresholds: Thresholds;
  enforcements: readonly Enforcement[];
}[] = [
  {
    name: "floods",
    title: "floods of one and of two ports",
    recording: floods,
    thresholds: { synRate: 40 },
    enforcements: FROM_THE_START,
  },
  {
    name: "tagged",
    title: "floods, VLAN tags on some",
    recording: taggedFloods,
    thresholds: { synRate: 40 },
    enforcements: [{ from: "start", by: "xdp-filter" }, { from: "start", by: "nftables" }],
  },
  {
    name: "waves",
    title: "floods that come again, and a scan",
    recording: waves,
    thresholds: { synRate: 40, ...EXPIRING },
    enforcements: WHILE_IT_HAPPENS,
  },
  {
    name: "networks",
    title: "floods of /24 and /48 networks",
    recording: networks,
    thresholds: { synRate: 40, aggregateBits: { v4: 24, v6: 48 } },
    enforcements: FROM_THE_START,
  },
  {
    name: "networks-expiring",
    title: "floods of /24 and /48 networks",
    recording: networks,
    thresholds: { synRate: 40, aggregateBits: { v4: 24, v6: 48 }, ...EXPIRING },
    enforcements: WHILE_IT_HAPPENS,
  },
  {
    name: "brute-force",
    title: "brute force and scans of several sources, VLAN tags on some",
    recording: bruteForces,
    thresholds: SLOW,
    enforcements: [
      { from: "start", by: "nftables" },
      { from: "start", by: "ipset" },
      { from: "start", by: "xdp-filter" },
    ],
  },
  {
    name: "brute-force-expiring",
    title: "brute force and scans of several sources, VLAN tags on some",
    recording: bruteForces,
    thresholds: { ...SLOW, ...EXPIRING },
    enforcements: WHILE_IT_HAPPENS,
  },
  {
    name: "limit",
    title: "nft `limit` of 50 a second, bursts of 100, against a simulated token bucket",
    recording: () =>
      mix(
        ...quiet(),
        attack("198.51.100.1", [80], 150, [1.3, 8.2]),
        attack("198.51.100.2", [443], 70, [2.1, 6.8]),
        attack("198.51.100.2", [443], 400, [7, 8]),
      ),
    thresholds: {},
    enforcements: [{
      ...{ from: "limit", by: "nftables", rate: 50, burst: 100 },
      sources: ["198.51.100.1", "198.51.100.2"],
    }],
  },
];

// -------------------------------------------------------------------------------------------------------- captures

/**
 * Thresholds that a capture's busiest sources reach: a fifth of the most that a source sends to a port within a window.
 * What is tested is the comparison, not whom to block.
 */
function reachable(recording: readonly TimedFrame[], ports: readonly number[]): Thresholds {
  const most = { packets: 0, bytes: 0, syn: 0 };
  const flows = Map.groupBy(packetsOf(recording, ports), ({ source, port }) => `${source} ${port}`);
  for (const packets of flows.values()) {
    const windows = Map.groupBy(packets, ({ timeMs }) => Math.floor(timeMs / WINDOW_MS)).values();
    for (const window of windows) {
      most.packets = Math.max(most.packets, window.length);
      most.bytes = Math.max(most.bytes, window.reduce((sum, { bytes }) => sum + bytes, 0));
      most.syn = Math.max(most.syn, window.filter(({ kind }) => kind === "syn").length);
    }
  }
  const fifth = (count: number) => Math.max(1, Math.ceil(count / 5 * 1000 / WINDOW_MS));
  return {
    synRate: fifth(most.syn),
    volSynRate: fifth(most.syn),
    volPacketRate: fifth(most.packets),
    volByteRate: fifth(most.bytes),
  };
}

/** A capture file with rules from the start and on interval edges, by nftables and by ipset. */
export function casesOfCapture(
  name: string,
  title: string,
  path: string | ((folder: string) => Promise<string>),
  options: { ports?: readonly number[]; enforcements?: readonly Enforcement[]; thresholds?: Thresholds } = {},
): Case[] {
  const enforcements = options.enforcements ??
    (["start", "edge"] as const).flatMap((from) => (["nftables", "ipset"] as const).map((by) => ({ from, by })));
  return enforcements.map((enforcement): Case => ({
    name: `${name}-${enforcement.from}-${enforcement.by}`,
    title,
    recording: async (folder) =>
      readCapture(typeof path === "string" ? path : await path(folder), { mac: TARGET.mac, longestMs: LONGEST_MS }),
    ports: (recording) => options.ports ? [...options.ports] : choosePorts(recording),
    intervalSec: 1,
    thresholds: (recording, ports) => ({
      ...reachable(recording, ports),
      ...options.thresholds,
      ...(enforcement.from === "start" ? {} : EXPIRING),
    }),
    enforcement,
  }));
}

const RECORDED = { v4: "10.77.1.9", v6: "fd77::9", normal: "10.77.1.20" };

/** Real TCP between the lab's own ends, as tcpdump has it: brute force over both protocols, and an ordinary client. */
async function recordCapture(folder: string): Promise<string> {
  const path = `${folder}/recorded.pcap`;
  await using lab = await Lab.create();
  for (const address of [RECORDED.v4, RECORDED.normal]) {
    await run("ip", ["-n", lab.client, "address", "add", `${address}/16`, "dev", "client"]);
  }
  await run("ip", ["-n", lab.client, "-6", "address", "add", `${RECORDED.v6}/64`, "dev", "client", "nodad"]);
  await lab.serve([22, 443], 200);
  const capture = await lab.capture(path, "tcp", 65535);
  const startMs = Date.now() + 1000, common = { giveUpMs: 300, startMs };
  await Promise.all([
    attempt(lab, { ...common, source: RECORDED.v4, target: SERVER.v4, port: 22, rate: 25, count: 150 }),
    attempt(lab, { ...common, source: RECORDED.v6, target: SERVER.v6, port: 22, rate: 20, count: 100 }),
    attempt(lab, { ...common, source: RECORDED.normal, target: SERVER.v4, port: 443, rate: 2, count: 14 }),
  ]);
  await pause(300);
  await capture.end("SIGINT");
  return path;
}

/** Captures of others, by what is in them; IBSR_PCAPS says where they are. */
const PUBLIC: readonly {
  file: string;
  title: string;
  enforcements: readonly Enforcement[];
  ports?: number[];
  thresholds?: Thresholds;
}[] = [
  {
    file: "nmap-syn-1000",
    title: "nmap -sS of 1,000 ports",
    // A scan and nothing else: two SYNs to a port are no flood.
    thresholds: { synRate: 100, volSynRate: 500, sweepPorts: 20 },
    enforcements: [{ from: "start", by: "nftables" }, { from: "start", by: "ipset" }, { from: "edge", by: "nftables" }],
  },
  {
    file: "synflood-1src",
    title: "a SYN flood of one source",
    enforcements: [{ from: "start", by: "xdp-filter" }, { from: "start", by: "ipset" }],
  },
  {
    file: "ssh-hydra-1",
    title: "SSH brute force by hydra, 20 minutes in 8 s",
    enforcements: [{ from: "start", by: "nftables" }, { from: "edge", by: "nftables" }, { from: "edge", by: "ipset" }],
  },
  {
    file: "ssh-ncrack-paranoid",
    title: "SSH brute force by ncrack, 20 minutes in 8 s",
    enforcements: [{ from: "start", by: "ipset" }, { from: "edge", by: "nftables" }],
  },
  {
    file: "merge-clients-ndpi",
    title: "ordinary clients, 165 s in 8 s",
    ports: [22, 80, 443],
    enforcements: [{ from: "start", by: "nftables" }, { from: "edge", by: "ipset" }],
  },
  {
    file: "ipv6-reddit",
    title: "web browsing over IPv6",
    enforcements: [{ from: "start", by: "nftables" }, { from: "edge", by: "nftables" }],
  },
  {
    file: "vlan-bot",
    title: "a web robot behind a VLAN tag",
    enforcements: [{ from: "start", by: "nftables" }, { from: "edge", by: "ipset" }],
  },
];

/** The captures of others that are missing here; undefined if none is. */
export function missingCaptures(): string | undefined {
  return captureDirectory() ? undefined : "captures of others (IBSR_PCAPS)";
}

/** All cases: each recording with each of its enforcements, and the captures. */
export const CASES: readonly Case[] = [
  ...GENERATED.flatMap(({ enforcements, name, ...rest }) =>
    enforcements.map((enforcement): Case => ({
      ...rest,
      name: `${name}-${enforcement.from}-${enforcement.by}`,
      ports: () => PORTS,
      intervalSec: enforcement.from === "limit" ? 0.25 : enforcement.from === "start" ? 0.5 : 1,
      enforcement,
    }))
  ),
  ...casesOfCapture("recorded", "real TCP of the lab's own, recorded by tcpdump", recordCapture),
  ...PUBLIC.flatMap(({ file, title, ...more }) => {
    const directory = captureDirectory();
    return directory ? casesOfCapture(file, `${file}: ${title}`, `${directory}/${file}.pcap`, more) : [];
  }),
];
