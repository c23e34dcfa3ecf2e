/**
 * Ratios measured side by side in one run, on this machine: `deno task bench`.
 *
 *     deno task bench [--only SECTION,…] [--out FOLDER] [--write FILE]
 *
 * Prints a table a section. `--out` also writes each as SECTION.md and SECTION.json; `--write` puts each into FILE,
 * between the comments `<!-- bench SECTION -->` and `<!-- end -->`. Each figure is the median of several rounds with
 * its extremes; what it is compared to is measured in the same rounds, in turn. Absolute times say as much about the
 * machine as about ibsr: quote ratios. Most sections need root. Nothing else should run meanwhile.
 */
import { parseArgs } from "node:util";
import { readKernelFile } from "../src/libc.ts";
import { findLibbpf } from "../src/xdp.ts";
import { evaluate, formatTable, type Result, type Section } from "./bench/rows.ts";
import { PROGRAM } from "./bench/program.ts";
import { SNAPSHOT } from "./bench/snapshot.ts";
import { REPLAY } from "./bench/replay.ts";
import { EXPORT } from "./bench/export.ts";
import { COLLECTOR } from "./bench/collector.ts";
import { TRAFFIC } from "./bench/traffic.ts";
import { REPORT } from "./bench/report.ts";
import { SIMULATION } from "./bench/simulation.ts";
import { runCommand } from "./run.ts";

const SECTIONS: readonly Section[] = [PROGRAM, SNAPSHOT, COLLECTOR, TRAFFIC, REPLAY, REPORT, SIMULATION, EXPORT];

/** What the figures depend on besides the code. */
interface Machine {
  cpu: string;
  cpus: number;
  memoryGb: number;
  kernel: string;
  deno: string;
  libbpf: string;
  clang: string;
  ibsr: string;
}

async function describeMachine(): Promise<Machine> {
  const config = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const firstLine = (command: string, args: string[]) => runCommand(command, args).catch(() => "none\n");
  const commit = (await firstLine("git", ["-C", new URL("..", import.meta.url).pathname, "rev-parse", "HEAD"])).trim();
  const memory = Number(/MemTotal:\s+(\d+)/.exec(readKernelFile("/proc/meminfo") ?? "")?.[1] ?? 0) / 2 ** 20;
  return {
    cpu: /model name\s*: (.*)/.exec(readKernelFile("/proc/cpuinfo") ?? "")?.[1] ?? Deno.build.arch,
    cpus: navigator.hardwareConcurrency,
    memoryGb: Math.round(memory * 10) / 10,
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
    libbpf: findLibbpf().split(" ")[0]!,
    clang: /version ([\d.]+)/.exec(await firstLine("clang", ["--version"]))?.[1] ?? "none",
    ibsr: `${config.version} (${commit.slice(0, 12)})`,
  };
}

function formatMachine(m: Machine, date: string): string {
  return `Measured ${date}: ${m.cpu}, ${m.cpus} CPUs, ${m.memoryGb} GB; Linux ${m.kernel}, Deno ${m.deno}, ` +
    `libbpf ${m.libbpf}, clang ${m.clang}; ibsr ${m.ibsr}.`;
}

/** Puts a section's text where the file has its comments. */
function replaceSection(page: string, name: string, text: string): string {
  const [from, to] = [`<!-- bench ${name} -->\n`, "<!-- end -->"];
  const start = page.indexOf(from), end = page.indexOf(to, start);
  if (start < 0 || end < 0) throw new Error(`there is no "${from.trim()}" … "${to}" to write between`);
  return `${page.slice(0, start + from.length)}\n${text}\n${page.slice(end)}`;
}

const { values: args } = parseArgs({
  args: Deno.args,
  options: { only: { type: "string" }, out: { type: "string" }, write: { type: "string" } },
});
const only = args.only?.split(","), names = SECTIONS.map(({ name }) => name);
const unknown = only?.filter((name) => !names.includes(name)) ?? [];
if (unknown.length > 0) throw new Error(`no section "${unknown.join(", ")}"; there are ${names.join(", ")}`);

const machine = await describeMachine();
if (args.out) await Deno.mkdir(args.out, { recursive: true });
for (const section of SECTIONS.filter(({ name }) => only?.includes(name) ?? true)) {
  const { name, title, about } = section, missing = section.missing?.(), date = new Date().toISOString().slice(0, 10);
  console.log(`## ${title}\n\n${about}\n`);
  if (missing !== undefined) {
    console.log(`Not measured, missing: ${missing}\n`);
    continue;
  }
  const results: Result[] = (await section.run()).map(evaluate);
  const table = `${formatMachine(machine, date)}\n\n${formatTable(results)}`;
  console.log(table);
  if (args.out) {
    await Deno.writeTextFile(`${args.out}/${name}.md`, `## ${title}\n\n${about}\n\n${table}`);
    await Deno.writeTextFile(
      `${args.out}/${name}.json`,
      JSON.stringify({ section: name, title, about, date, machine, rows: results }, null, 2) + "\n",
    );
  }
  if (args.write) {
    await Deno.writeTextFile(
      args.write,
      replaceSection(await Deno.readTextFile(args.write), name, `${about}\n\n${table}`),
    );
    await runCommand(Deno.execPath(), ["fmt", "--quiet", args.write]);
  }
}
