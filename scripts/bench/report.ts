/**
 * `ibsr report`, measured: its section of `deno task bench`.
 *
 * Writes segments as the collector does, plain and compressed, and reports on each in a process of its own: from its
 * start to its end. In the same rounds, in turn: JSON.parse() of the same lines and nothing else, and `wc -l`.
 */
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import { listInputs } from "../../src/input.ts";
import { readLines } from "../../src/snapshot.ts";
import { ibsrCommand } from "../../tests/kernel/lab.ts";
import { V8_FLAGS } from "../compile/permissions.ts";
import { type Cost, measure } from "./export.ts";
import type { Row, Section } from "./rows.ts";
import { writeSnapshots } from "./segments.ts";

const ROUNDS = 3;
/** Snapshots and sources. */
const SIZES = [[60, 1_000], [60, 10_000], [60, 100_000], [1_440, 10_000]] as const;
/** 817 MB in 3 s. */
const LEAST_MB_PER_SECOND = 272, MOST_MB = 400;
/** How much more memory 24 times the time may take. */
const MOST_GROWTH = 1.3;

export const REPORT: Section = {
  name: "report",
  title: "A report",
  about: "`ibsr report` on segments of version 8 as the collector writes them (a source in twenty floods), plain and " +
    "compressed, from the start of the process to its end. Compared to a process that calls JSON.parse() for the same " +
    "lines and does nothing else, and to `wc -l`. Rates are of lines as they are uncompressed. Of the largest, its phases " +
    "as `--verbose` says them, each compared to half of its own processor time: what two processors could not do in less.",
  missing: () => existsSync("/usr/bin/time") ? undefined : "/usr/bin/time",
  run: measureReports,
};

/** What reports on one size took. */
interface Costs {
  what: string;
  bytes: number;
  plain: Cost[];
  zstd: Cost[];
  parse: Cost[];
  wc: Cost[];
}

async function measureReports(): Promise<Row[]> {
  const all: Costs[] = [];
  for (const [snapshots, sources] of SIZES) all.push(await measureSize(snapshots, sources));
  const rows = all.flatMap((costs) => [...describe(costs, "plain"), ...describe(costs, "zstd")]);
  rows.push(...describePhases(all[2]!));
  const [, short, , long] = all as [Costs, Costs, Costs, Costs];
  rows.push({
    what: `${long.what}, peak RSS`,
    unit: "MB",
    ours: long.plain.map(({ peakMb }) => peakMb),
    comparedTo: { what: short.what, theirs: short.plain.map(({ peakMb }) => peakMb) },
    goal: { of: "ratio", atMost: MOST_GROWTH },
  }, {
    what: `${long.what}, time by MB`,
    unit: "ms/MB",
    ours: long.plain.map(({ seconds }) => seconds / long.bytes * 1e9),
    comparedTo: { what: short.what, theirs: short.plain.map(({ seconds }) => seconds / short.bytes * 1e9) },
    goal: { of: "ratio", atMost: MOST_GROWTH },
  });
  return rows;
}

function describe({ what, bytes, parse, wc, ...costs }: Costs, stored: "plain" | "zstd"): Row[] {
  const ours = costs[stored].map(({ seconds }) => seconds), name = `${what}, ${stored}`;
  const isGoal = stored === "plain" && what.startsWith("60 × 100,000");
  return [
    {
      what: name,
      unit: "MB/s",
      ours: ours.map((seconds) => bytes / 1e6 / seconds),
      ...(isGoal ? { goal: { of: "median", atLeast: LEAST_MB_PER_SECOND } } : {}),
    },
    { what: name, unit: "s", ours, comparedTo: { what: "JSON.parse", theirs: parse.map(({ seconds }) => seconds) } },
    { what: name, unit: "s", ours, comparedTo: { what: "wc -l", theirs: wc.map(({ seconds }) => seconds) } },
    {
      what: `${name}, peak RSS`,
      unit: "MB",
      ours: costs[stored].map(({ peakMb }) => peakMb),
      comparedTo: { what: "JSON.parse", theirs: parse.map(({ peakMb }) => peakMb) },
      ...(isGoal ? { goal: { of: "most", atMost: MOST_MB } } : {}),
    },
  ];
}

/** How busy the processors were in each phase, as it says itself. */
function describePhases({ what, plain }: Costs): Row[] {
  const name = `${what}, plain`, half = "half of its processor time";
  const phases = plain.map(({ said }) => [...said.matchAll(/debug: (\w+): ([\d.]+) s, ([\d.]+) s of processor time/g)]);
  return [
    {
      what: name,
      unit: "s",
      ours: plain.map(({ seconds }) => seconds),
      comparedTo: { what: half, theirs: plain.map(({ processorSeconds }) => processorSeconds / 2) },
    },
    ...phases[0]!.map(([, phase], i): Row => ({
      what: `${name}: ${phase}`,
      unit: "s",
      ours: phases.map((said) => Number(said[i]![2])),
      comparedTo: { what: half, theirs: phases.map((said) => Number(said[i]![3]) / 2) },
    })),
  ];
}

async function measureSize(snapshots: number, sources: number): Promise<Costs> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" }), plain = `${folder}/plain`, zstd = `${folder}/zstd`;
  try {
    for (const path of [plain, zstd]) await Deno.mkdir(path);
    const bytes = writeSnapshots(plain, { snapshots, sources });
    for (const { path } of listInputs([plain])) {
      const target = `${zstd}/${path.slice(path.lastIndexOf("/") + 1)}.zst`;
      await pipeline(createReadStream(path), createZstdCompress(), createWriteStream(target));
    }
    const number = (n: number) => n.toLocaleString("en-US");
    const what = `${number(snapshots)} × ${number(sources)} sources (${number(Math.round(bytes / 1e6))} MB)`;
    const costs: Costs = { what, bytes, plain: [], zstd: [], parse: [], wc: [] };
    const report = async (input: string) => {
      const [program, args] = ibsrCommand(["report", "--verbose", "--in", input, "--out", `${folder}/out`]);
      // As the executable runs, where there is none.
      return await measure(program, program === Deno.execPath() ? ["run", V8_FLAGS, ...args.slice(1)] : args, {});
    };
    for (let round = 0; round < ROUNDS; round++) {
      costs.plain.push(await report(plain));
      costs.zstd.push(await report(zstd));
      costs.parse.push(
        await measure(Deno.execPath(), ["run", "--quiet", "--allow-all", import.meta.filename!, plain], {}),
      );
      costs.wc.push(await measure("wc", ["-l", ...listInputs([plain]).map(({ path }) => path)], {}));
    }
    return costs;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** JSON.parse() of all lines. */
async function parseLines(folder: string): Promise<number> {
  const decoder = new TextDecoder();
  let rows = 0;
  for (const input of listInputs([folder])) {
    for await (const { text } of readLines(input.read())) rows += JSON.parse(decoder.decode(text)).buckets.length;
  }
  return rows;
}

if (import.meta.main) console.log(await parseLines(Deno.args[0]!));
