/** What a packet takes in the kernel program: of a known source, of none that is counted, of a flood. */
import { formatAddress } from "../../src/address.ts";
import { countersAt, toDelta, wordsOf } from "../../src/counters.ts";
import { COUNTERS, KEY4 } from "../../src/layout.ts";
import { readObjects } from "../../src/objects.ts";
import { openProgram, type Program } from "../../src/xdp.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { frameOf, frameOf6, tagged } from "./frames.ts";
import type { Row, Section } from "./rows.ts";
import { compilePrograms, load, type Loaded, loadFlood, loadSimple, pin, time } from "./test_run.ts";

const ROUNDS = 15, REPEAT = 1_000_000;
const FLOODS = [100_000, 1_000_000], FLOOD_ROUNDS = 9;
/** Sources that have answered before the flood begins. */
const CLIENTS = 1000;
const SYN = 0x02, ACK = 0x10, PSH_ACK = 0x18, FIN_PSH_ACK = 0x19;
const FLOOR = "an empty program", SIMPLE = "the simple counter";

export const PROGRAM: Section = {
  name: "program",
  title: "A packet in the program",
  about:
    "Nanoseconds a packet by BPF_PROG_TEST_RUN, which runs the program a million times on one frame, the thread on " +
    "one CPU; some 6 ns of them are the test run's own. Compared to a program that does nothing but pass, the floor " +
    "(scripts/bench/programs/empty.bpf.c), and to the simplest correct counter for plain IPv4 (simple.bpf.c there: " +
    "eight ports, one LRU hash, an atomic addition a counter). In a flood, each SYN has another source (flood.bpf.c " +
    "writes it, which costs all three the same), and the maps are full.",
  missing: () => whatIsMissing("kernel"),
  run: measureProgram,
};

/** What a case is compared to, and what should come of it. */
interface Case {
  what: string;
  frame: Uint8Array;
  to: "simple" | "floor";
  goal?: Row["goal"];
}

const KNOWN = { of: "ratio", atMost: 0.75 } as const, PASSED_OVER = { of: "difference", atMost: 2 } as const;
const UDP = 17;
const CASES: Case[] = [
  { what: "known source, ACK", frame: frameOf({ port: 80, flags: ACK }), to: "simple", goal: KNOWN },
  { what: "known source, data", frame: frameOf({ port: 80, flags: PSH_ACK, payload: 60 }), to: "simple", goal: KNOWN },
  { what: "known source, SYN", frame: frameOf({ port: 80, flags: SYN }), to: "simple", goal: KNOWN },
  { what: "known source, FIN with data", frame: frameOf({ port: 80, flags: FIN_PSH_ACK, payload: 60 }), to: "simple" },
  { what: "port not monitored", frame: frameOf({ port: 81, flags: ACK }), to: "floor", goal: PASSED_OVER },
  { what: "port not monitored", frame: frameOf({ port: 81, flags: ACK }), to: "simple" },
  { what: "UDP", frame: frameOf({ port: 80, flags: ACK }).with(23, UDP), to: "floor" },
  { what: "IPv6, known source, ACK", frame: frameOf6({ port: 80, flags: ACK }), to: "floor" },
  { what: "IPv6, port not monitored", frame: frameOf6({ port: 81, flags: ACK }), to: "floor" },
  { what: "802.1Q, known source, ACK", frame: tagged(frameOf({ port: 80, flags: ACK })), to: "floor" },
];

/** Known sources and ports that are not counted. */
function measureCases(ours: Program, { simple, empty }: { simple: Loaded; empty: Loaded }): Row[] {
  const rows = CASES.map(({ what, to, goal }) => ({
    ...{ what, unit: "ns", ours: [] as number[], ...goal && { goal } },
    comparedTo: { what: to === "simple" ? SIMPLE : FLOOR, theirs: [] as number[] },
  }));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [i, { frame, to }] of CASES.entries()) {
      const other = (to === "simple" ? simple : empty).fd;
      const [a, b] = [time(ours.fd, frame, REPEAT), time(other, frame, REPEAT)];
      if (round < 0) continue; // the sources get known, the processor warm
      rows[i]!.ours.push(a);
      rows[i]!.comparedTo.theirs.push(b);
    }
  }
  return rows;
}

/** The frame with another source: the n-th client's. */
function clientFrame(n: number, flags: number): Uint8Array {
  const frame = frameOf({ port: 80, flags });
  frame.set([172, 16, n >> 8, n & 255], 26);
  return frame;
}

/** A flood of SYNs on full maps of a size; what it costs, and what is left of the clients' counts. */
async function measureFlood(folder: string, mapSize: number): Promise<Row[]> {
  using ours = openProgram(await readObjects(), { mapSize, ports: [80, 443] });
  using simple = loadSimple(folder, mapSize);
  using empty = load(folder, "empty");
  const floods = [ours, simple, empty].map(({ fd }) => loadFlood(folder, fd));
  using stack = new DisposableStack();
  for (const flood of floods) stack.use(flood);

  const syn = frameOf({ port: 80, flags: SYN }), takes: number[][] = [[], [], []];
  const sendClients = () => {
    for (let n = 0; n < CLIENTS; n++) for (const { fd } of [ours, simple]) time(fd, clientFrame(n, ACK), 1);
  };
  sendClients();
  for (let round = -1; round < FLOOD_ROUNDS; round++) {
    for (const [i, { fd }] of floods.entries()) {
      // Before the first round the maps are filled, twice over.
      const ns = time(fd, syn, round < 0 ? 2 * mapSize : REPEAT);
      if (round >= 0) takes[i]!.push(ns);
    }
  }
  sendClients();
  const what = `flood of SYNs, maps of ${mapSize.toLocaleString("en-US")}`;
  return [
    {
      ...{ what, unit: "ns", ours: takes[0]! },
      ...{ comparedTo: { what: SIMPLE, theirs: takes[1]! }, goal: { of: "ratio", atMost: 1.1 } },
    },
    { what, unit: "ns", ours: takes[0]!, comparedTo: { what: FLOOR, theirs: takes[2]! } },
    {
      ...{ what: `${what}: of ${CLIENTS} clients' packets before and after, kept`, unit: "%" },
      ...{ ours: [await keptByOurs(ours)], comparedTo: { what: SIMPLE, theirs: [keptBySimple(simple)] } },
      goal: { of: "median", atLeast: 100 },
    },
  ];
}

/** Percent of two packets of each client that ibsr's maps still have. */
async function keptByOurs(program: Program): Promise<number> {
  const { v4 } = toDelta(await program.read()), words = wordsOf(v4);
  let packets = 0;
  for (const row of v4.order) {
    const address = v4.keys.subarray(row * KEY4.sizeof, row * KEY4.sizeof + 4);
    if (!formatAddress(address).startsWith("172.16.")) continue;
    // A SYN of the flood may have come from there, too.
    const { packets: all, syn } = countersAt(words, row * COUNTERS.sizeof / 4);
    packets += all - syn;
  }
  return 100 * packets / (2 * CLIENTS);
}

/** The same of the simple counter's. */
function keptBySimple(simple: Loaded): number {
  let packets = 0;
  for (let n = 0; n < CLIENTS; n++) {
    const frame = clientFrame(n, ACK), value = new Uint8Array(48), key = new Uint8Array(8);
    key.set(frame.subarray(26, 30));
    key.set(frame.subarray(36, 38), 4);
    if (!simple.lookup("sources", key, value)) continue;
    const view = new DataView(value.buffer);
    packets += Number(view.getBigUint64(0, true) - view.getBigUint64(16, true)); // packets less syn
  }
  return 100 * packets / (2 * CLIENTS);
}

async function measureProgram(): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" });
  try {
    await compilePrograms(folder);
    pin(navigator.hardwareConcurrency - 1);
    const rows: Row[] = [];
    {
      using ours = openProgram(await readObjects(), { mapSize: 100_000, ports: [80, 443] });
      using simple = loadSimple(folder, 100_000);
      using empty = load(folder, "empty");
      rows.push(...measureCases(ours, { simple, empty }));
    }
    for (const mapSize of FLOODS) rows.push(...await measureFlood(folder, mapSize));
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
