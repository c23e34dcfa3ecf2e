/**
 * The lab that holds predictions against reality:
 *
 *     deno task fidelity [CASE…] [--jobs N] [--list] [--keep]
 *     deno task fidelity --capture FILE [--ports 22,80]
 *
 * The same recorded traffic is sent twice into namespaces of the lab's own. In the shadow run `ibsr collect` counts
 * it, and `ibsr report` or `ibsr simulate` says what blocking would have dropped. In the enforced run nftables, ipset
 * with iptables, or xdp-filter really drop, by the rules that ibsr wrote or at the times that it said, and what is
 * missing behind them is compared. Without arguments all cases are run, and docs/fidelity.md is written; with a
 * capture file only that is tried. Needs root; touches nothing outside of its namespaces.
 */
import { parseArgs } from "node:util";
import { parsePorts } from "../src/address.ts";
import { Lab } from "../tests/kernel/lab.ts";
import { CASES, casesOfCapture, missingCaptures } from "./fidelity/cases.ts";
import { describe } from "./fidelity/compare.ts";
import { LIVE, type LiveOutcome, runLive } from "./fidelity/live.ts";
import { renderPage } from "./fidelity/page.ts";
import { type Case, Disturbed, type Outcome, ROOT, runCase } from "./fidelity/replay.ts";

/** Runs tasks, a few at a time; results are in the order of the tasks. */
async function runAll<T>(tasks: readonly (() => Promise<T>)[], jobs: number): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const work = async () => {
    while (next < tasks.length) {
      const i = next++;
      results[i] = await tasks[i]!();
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return results;
}

function printOutcome({ case: test, said, wrong, frames, latestMs }: Outcome): void {
  const sources = new Set(said.map(({ source }) => source)).size;
  console.log(
    `${test.name}: ${wrong.length === 0 ? "as said" : "NOT AS SAID"}: ${sources} sources, ${frames} frames, ` +
      `latest ${latestMs.toFixed(0)} ms`,
  );
  for (const sentence of wrong) console.log(`  ${sentence}`);
}

function printLive({ case: test, failed, attempts, connections, wrong }: LiveOutcome): void {
  const verdict = wrong.length === 0 ? "as said" : "NOT AS SAID";
  console.log(`${test.name}: ${verdict}: ${failed} of ${attempts} connections failed, said ${describe(connections)}`);
  for (const sentence of wrong) console.log(`  ${sentence}`);
}

function chooseCases(names: readonly string[], capture: string | undefined, ports: string | undefined) {
  if (capture !== undefined) {
    const parsed = ports === undefined ? undefined : parsePorts(ports);
    if (parsed && "wrong" in parsed) throw new Error(`"${parsed.wrong}" is no port`);
    return { cases: casesOfCapture("capture", capture, capture, parsed ? { ports: parsed } : {}), live: [] };
  }
  const wanted = ({ name }: { name: string }) => names.length === 0 || names.some((part) => name.startsWith(part));
  const chosen = { cases: CASES.filter(wanted), live: LIVE.filter(wanted) };
  if (chosen.cases.length + chosen.live.length === 0) throw new Error(`No case begins with ${names.join(" or ")}`);
  return chosen;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      capture: { type: "string" },
      ports: { type: "string" },
      jobs: { type: "string", default: "5" },
      list: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
    },
  });
  const { cases, live } = chooseCases(positionals, values.capture, values.ports);
  if (values.list) {
    for (const { name } of [...cases, ...live]) console.log(name);
    Deno.exit(0);
  }
  const missing = missingCaptures();
  if (missing && values.capture === undefined) console.log(`skipped, missing: ${missing}`);
  const folder = await Deno.makeTempDir({ prefix: "ibsr-fidelity-" }), startMs = performance.now();
  // Namespaces outlive a process that ends early; what fails while it stops has failed because of that.
  let stopping: Promise<never> | undefined;
  const stop = async (code: number): Promise<never> => {
    await Lab.disposeAll();
    await Deno.remove(folder, { recursive: true });
    Deno.exit(code);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void (stopping ??= stop(130)));
  }
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    if (!stopping) console.error(event.reason);
    stopping ??= stop(1);
  });
  const jobs = Number(values.jobs);
  const outcomes = new Map<Case, Outcome>();
  let disturbed = 0;
  // What the machine was too busy for is done again, with less beside it.
  for (const atOnce of [jobs, 2, 2, 1, 1, 1]) {
    const left = cases.filter((test) => !outcomes.has(test));
    const tryOne = (test: Case) => async () => {
      try {
        const outcome = await runCase(test, `${folder}/${test.name}-${disturbed}`, 1);
        outcomes.set(test, outcome);
        printOutcome(outcome);
      } catch (error) {
        if (!(error instanceof Disturbed)) throw error;
        disturbed++;
        console.log(`${test.name}: not measured: ${error.message}`);
      }
    };
    await runAll(left.map(tryOne), atOnce);
  }
  const measured = cases.flatMap((test) => outcomes.get(test) ?? []);
  const lived = await runAll(
    live.map((test) => async () => {
      const outcome = await runLive(test, `${folder}/${test.name}`);
      printLive(outcome);
      return outcome;
    }),
    jobs,
  );
  const isWhole = measured.length === cases.length;
  if (values.capture === undefined && positionals.length === 0 && isWhole) {
    const page = await renderPage(measured, lived, {
      missing,
      disturbed,
      seconds: (performance.now() - startMs) / 1000,
    });
    await Deno.writeTextFile(`${ROOT}docs/fidelity.md`, page);
    await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", `${ROOT}docs/fidelity.md`] }).output();
    console.log("written: docs/fidelity.md");
  }
  if (values.keep) console.log(`kept: ${folder}`);
  else await Deno.remove(folder, { recursive: true });
  const holds = isWhole && [...measured, ...lived].every(({ wrong }) => wrong.length === 0);
  console.log(
    `${measured.length + lived.length} of ${cases.length + live.length} cases in ${
      ((performance.now() - startMs) / 1000).toFixed(0)
    } s: ` +
      (holds ? "all as said" : "NOT ALL AS SAID"),
  );
  Deno.exit(holds ? 0 : 1);
}
