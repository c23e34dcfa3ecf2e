/**
 * Real TCP clients under prediction: they open connections at a steady rate, are counted and reported on, and are then
 * blocked for real at the simulated times. A client whose SYN is dropped sends it again, which no recording can know.
 */
import assert from "node:assert/strict";
import { type Lab, pause, run, SERVER } from "../../tests/kernel/lab.ts";
import { keyOf, type Range } from "./compare.ts";
import { enforce, TIMED } from "./enforce.ts";
import { ibsr, readDecisions, readEvidence } from "./predict.ts";
import { createLab, ROOT } from "./replay.ts";
import { startWitness } from "./witness.ts";

/** Connections of one client, `rate` a second from `startMs` on. */
export interface Attempts {
  source: string;
  target: string;
  port: number;
  rate: number;
  count: number;
  /** When a connection that isn't there is given up, and one that is there closed. */
  giveUpMs: number;
  startMs: number;
}

/** Opens the connections; gives how many did not come about. */
export async function attempt(lab: Lab, attempts: Attempts): Promise<number> {
  const { source, target, port, rate, count, giveUpMs, startMs } = attempts;
  const { stdout } = await lab.exec(lab.client, Deno.execPath(), [
    ...["run", "--quiet", "--allow-net", `${ROOT}scripts/fidelity/attempts.ts`],
    ...[source, target, ...[port, rate, count, giveUpMs, startMs].map(String)],
  ]);
  return (JSON.parse(stdout) as { failed: number }).failed;
}

/** A client that is blocked, and one beside it that is not. */
export interface LiveCase {
  name: string;
  source: string;
  target: string;
  neighbour: string;
}

/** The cases with real clients. */
export const LIVE: readonly LiveCase[] = [
  { name: "live-v4", source: "10.77.1.9", neighbour: "10.77.1.10", target: SERVER.v4 },
  { name: "live-v6", source: "fd77::9", neighbour: "fd77::10", target: SERVER.v6 },
];

/** What became of real clients' connections. */
export interface LiveOutcome {
  case: LiveCase;
  attempts: number;
  /** SYNs inside of blocks, as the report bounds them, and connections that really didn't come about. */
  connections: Range;
  failed: number;
  /** Packets inside of blocks of the recording, and those that were really dropped, all of which are SYNs. */
  packets: Range;
  dropped: number;
  droppedSyn: number;
  neighbourFailed: number;
  wrong: string[];
}

const PORT = 8080, INTERVAL_SEC = 0.5, GIVE_UP_MS = 2500;
const CLIENT = { port: PORT, rate: 20, count: 200, giveUpMs: GIVE_UP_MS };
const NEIGHBOUR = { port: PORT, rate: 2, count: 20, giveUpMs: GIVE_UP_MS };
/** Connections within the window that make two of three rates full. */
const SYNS = 20;

async function begin(lab: Lab, { source, neighbour }: LiveCase): Promise<void> {
  for (const address of [source, neighbour]) {
    const prefix = address.includes(":")
      ? [`${address}/64`, "dev", "client", "nodad"]
      : [`${address}/16`, "dev", "client"];
    await run("ip", ["-n", lab.client, "address", "add", ...prefix]);
  }
  await lab.serve([PORT], 200);
}

async function attemptBoth(lab: Lab, { source, neighbour, target }: LiveCase, startMs: number) {
  return await Promise.all([
    attempt(lab, { ...CLIENT, source, target, startMs }),
    attempt(lab, { ...NEIGHBOUR, source: neighbour, target, startMs }),
  ]);
}

/** Shadow, prediction, enforcement. */
export async function runLive(test: LiveCase, folder: string): Promise<LiveOutcome> {
  await Deno.mkdir(folder, { recursive: true });
  const { source } = test;
  {
    await using lab = await createLab();
    await begin(lab, test);
    const collector = await lab.collect(`${folder}/spool`, [
      ...["-p", String(PORT), "--snapshot-interval-sec", String(INTERVAL_SEC)],
    ]);
    assert.deepEqual(await attemptBoth(lab, test, Date.now() + 1500), [0, 0], "unblocked connections come about");
    await pause(1000 * INTERVAL_SEC + 200);
    assert.equal((await collector.end("SIGINT")).code, 0, collector.log());
  }
  // So many connections of one source are a brute force. The block outlasts the attempts: whatever is sent again
  // meets it, too.
  await ibsr([
    ...["report", "--in", `${folder}/spool`, "--out", `${folder}/report`, "--window-sec", "2"],
    ...["--vol-syn-rate", String(SYNS / 2), "--vol-pkt-rate", "40", "--block-duration-sec", "20"],
  ]);
  const said = (await readEvidence(`${folder}/report`)).find((row) => row.source === source)!.wouldBlock;
  const decisions = await readDecisions(`${folder}/report`);
  assert.deepEqual([...new Set(decisions.map((decision) => decision.source))], [source]);

  await using lab = await createLab();
  await begin(lab, test);
  const readDrops = await TIMED.nftables.prepare(lab, [source], folder);
  const readWitness = await startWitness(lab, folder);
  // The connection that makes the rate full passes; those after it don't.
  const atMs = 1000 * (SYNS - 0.5) / CLIENT.rate + 5, startMs = Date.now() + 1500;
  const attempts = attemptBoth(lab, test, startMs);
  await enforce(lab, [{ source, port: PORT, atMs, durationMs: 20_000 }], { by: "nftables", startMs, folder });
  const [failed, neighbourFailed] = await attempts;
  const dropped = (await readDrops()).get(source)?.packets ?? 0, { before, behind } = await readWitness();
  const key = keyOf({ source, port: PORT }), droppedSyn = before.get(key)!.syn - (behind.get(key)?.syn ?? 0);
  const wrong: string[] = [];
  if (failed < said.syn.lower || failed > said.syn.upper) wrong.push(`${failed} connections failed`);
  if (neighbourFailed > 0) wrong.push(`${neighbourFailed} connections of the neighbour failed`);
  // The report's words: more SYNs and fewer other packets, of the same connections.
  if (droppedSyn <= said.syn.upper) wrong.push(`${droppedSyn} SYNs were dropped, no more than were said`);
  const others = dropped - droppedSyn, saidOthers = said.packets.lower - said.syn.lower;
  if (others >= saidOthers) wrong.push(`${others} other packets were dropped, no fewer than were said`);
  return {
    case: test,
    attempts: CLIENT.count,
    connections: said.syn,
    failed: failed!,
    packets: said.packets,
    dropped,
    droppedSyn,
    neighbourFailed: neighbourFailed!,
    wrong,
  };
}
