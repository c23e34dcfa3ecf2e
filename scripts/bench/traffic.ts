/** What a TCP service loses to the program: its throughput and latency, beside an empty XDP program and none. */
import { CLIENT, Lab, SERVER } from "../../tests/kernel/lab.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import type { Row, Section } from "./rows.ts";
import { runCommand } from "../run.ts";
import { compilePrograms } from "./test_run.ts";

const ROUNDS = 9, MS = 1500, PORT = 80, ASKED_BYTES = 64;

export const TRAFFIC: Section = {
  name: "traffic",
  title: "A TCP service behind the program",
  about:
    `One connection through a veth pair between two network namespaces, without offloads, as on a wire: for ${MS} ms ` +
    `it sends as fast as it can, and for as long it sends ${ASKED_BYTES} bytes and waits until they come back ` +
    "(scripts/bench/load.c; service and load each on one CPU). With `ibsr collect` on the service's interface in native " +
    "mode, with an XDP program that does nothing but pass, and with none, in turn. That any XDP program costs on veth " +
    "what the last comparison shows is veth's: it copies each packet into a buffer for XDP.",
  missing: () => whatIsMissing("kernel"),
  run: measureTraffic,
};

/** What a round found. */
interface Round {
  mbitPerSec: number;
  asksPerSec: number;
  p50: number;
  p99: number;
  p999: number;
}

type State = "ibsr" | "empty" | "none";

async function measureTraffic(): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" }), load = `${folder}/load`;
  await using lab = await Lab.create();
  try {
    await compilePrograms(folder);
    await runCommand("clang", ["-O2", "-pthread", new URL("load.c", import.meta.url).pathname, "-o", load]);
    const last = String(navigator.hardwareConcurrency - 1);
    const server = lab.start(lab.server, "taskset", ["-c", "0", load, "serve", String(PORT)]);
    await server.waitFor("listening");
    const ask = async (...args: string[]) => {
      const { stdout } = await lab.exec(lab.client, "taskset", ["-c", last, load, ...args]);
      return stdout.trim().split(" ").map(Number);
    };
    const rounds: Record<State, Round[]> = { ibsr: [], empty: [], none: [] };
    for (let round = 0; round < ROUNDS; round++) {
      for (const state of ["ibsr", "empty", "none"] as const) {
        await using _ = await attach(lab, state, folder);
        await ask("ask", SERVER.v4, String(PORT), "200", String(ASKED_BYTES)); // the way is known, the processor awake
        const [bytes] = await ask("bulk", SERVER.v4, String(PORT), String(MS));
        const [asks, p50, p99, p999] = await ask("ask", SERVER.v4, String(PORT), String(MS), String(ASKED_BYTES));
        rounds[state].push({ mbitPerSec: bytes! * 8 / 1e6, asksPerSec: asks!, p50: p50!, p99: p99!, p999: p999! });
      }
    }
    return (["empty", "none"] as const).flatMap((other) => {
      const name = { empty: "an empty XDP program", none: "no program" }[other];
      const row = (what: string, unit: string, key: keyof Round): Row => ({
        ...{ what, unit, ours: rounds.ibsr.map((round) => round[key]) },
        comparedTo: { what: name, theirs: rounds[other].map((round) => round[key]) },
      });
      return [
        row("throughput", "Mbit/s", "mbitPerSec"),
        row("questions and answers", "1/s", "asksPerSec"),
        row("time of an answer, 50th percentile", "µs", "p50"),
        row("time of an answer, 99th percentile", "µs", "p99"),
        row("time of an answer, 99.9th percentile", "µs", "p999"),
      ];
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Puts one of the programs on the service's interface until it is disposed of. */
async function attach(lab: Lab, state: State, folder: string): Promise<AsyncDisposable> {
  if (state === "none") return { [Symbol.asyncDispose]: () => Promise.resolve() };
  if (state === "empty") {
    const link = ["-n", lab.server, "link", "set", "dev", "server", "xdpdrv"];
    await runCommand("ip", [...link, "object", `${folder}/empty.o`, "section", "xdp.frags"]);
    return { [Symbol.asyncDispose]: async () => void await runCommand("ip", [...link, "off"]) };
  }
  const spool = `${folder}/spool`, args = ["-p", String(PORT), "--xdp-mode", "native", "--snapshot-interval-sec", "1"];
  const collector = await lab.collect(spool, args);
  return {
    async [Symbol.asyncDispose]() {
      const { code, stderr } = await collector.end("SIGTERM");
      if (code !== 0) throw new Error(stderr);
      const written = await runCommand("sh", ["-c", `cat ${spool}/*.jsonl | grep -c '"src_ip":"${CLIENT.v4}"'`]);
      if (Number(written) === 0) throw new Error("nothing was counted");
      await Deno.remove(spool, { recursive: true });
    },
  };
}
