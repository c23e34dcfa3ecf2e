import assert from "node:assert/strict";
import type { Summary } from "../src/report/summary.ts";
import { runSituation, situationOf } from "./golden/run.ts";
import { ibsrCommand } from "./kernel/lab.ts";

/** Runs `ibsr report` on a situation's files. */
async function command(name: string, flags: readonly string[]) {
  const directory = await Deno.makeTempDir(), { files, allowlist } = situationOf(name);
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(`${directory}/in/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${directory}/in/${path}`, text);
    }
    if (allowlist !== undefined) await Deno.writeTextFile(`${directory}/allow.txt`, allowlist);
    const [program, args] = ibsrCommand([
      ...["report", "--in", `${directory}/in`, "--out", `${directory}/out`, "--exit-code", ...flags],
      ...allowlist === undefined ? [] : ["--allowlist", `${directory}/allow.txt`],
    ]);
    const { code, stdout, stderr } = await new Deno.Command(program, { args, stderr: "piped" }).output();
    const summary: Summary = JSON.parse(await Deno.readTextFile(`${directory}/out/summary.json`));
    return { code, summary, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** What the command's options are to change: all but the version, the options themselves and the sweep. */
function numbersOf({ ibsr_version: _, options: __, sweep: ___, ...summary }: Summary) {
  return summary;
}

const CASES: [name: string, code: number, flags: string[]][] = [
  ["ready", 0, []],
  ["nothing-to-gain", 1, []],
  ["short-observation", 2, []],
  ["self-blocked", 1, ["--self-address", "203.0.113.0/28"]],
  ["both-families", 2, ["--aggregate", "/24,/48"]],
  ["dst-ports", 2, ["--dst-ports", "80"]],
  ["unstable-halves", 1, ["--fp-limit", "0.037"]],
  ["all-allowlisted", 1, []],
];

for (const [name, code, flags] of CASES) {
  Deno.test(`ibsr report ${flags.join(" ")} on "${name}" exits ${code}, with that situation's numbers`, async () => {
    const done = await command(name, flags), { summary } = await runSituation(situationOf(name));
    assert.equal(done.code, code, done.stderr);
    assert.deepEqual(numbersOf(done.summary), numbersOf(summary));
    assert.equal(done.stdout.split("\n")[0], summary.verdict);
    assert.ok(done.stdout.split("\n").length < 40, "it fits a screen");
  });
}

Deno.test("each option of the policy and the gates moves what it says", async () => {
  const base = (await command("short-observation", [])).summary;
  const cases: [string[], (summary: Summary) => unknown][] = [
    [["--syn-rate-threshold", "250"], (s) => s.impact.syn.lower],
    [["--block-duration-sec", "5"], (s) => s.impact.syn.lower],
    [["--window-sec", "30"], (s) => s.time_to_block.max_sec],
    [["--vol-syn-rate", "100", "--vol-pkt-rate", "100"], (s) => s.rules[1]!.decisions.certain],
    [["--vol-syn-rate", "100", "--vol-byte-rate", "100"], (s) => s.rules[1]!.decisions.certain],
    [["--sweep-ports", "2"], (s) => s.rules[2]!.title],
    [["--min-days", "2"], (s) => s.gates[0]!.outcome],
    [["--min-coverage", "1"], (s) => s.gates[1]!.limit],
    [["--max-loss", "0.5"], (s) => s.gates[2]!.limit],
    [["--max-blur", "0.001"], (s) => s.gates[3]!.outcome],
    [["--fp-limit", "0.001"], (s) => s.gates[5]!.outcome],
    [["--max-mixed", "3"], (s) => s.gates[7]!.limit],
    [["--min-effect", "0.99"], (s) => s.gates[8]!.limit],
    [["--max-spoofed", "0.9"], (s) => s.gates[9]!.limit],
  ];
  for (const [flags, of] of cases) {
    const { summary } = await command("short-observation", flags);
    assert.notDeepEqual(of(summary), of(base), flags.join(" "));
    for (let i = 0; i < flags.length; i += 2) {
      assert.equal(summary.options[flags[i]!.slice(2)], Number(flags[i + 1]), flags[i]);
    }
  }
});

Deno.test("`ibsr report --verbose` says what its phases took", async () => {
  const begin = performance.now(), { stderr } = await command("ready", ["--verbose"]);
  const phases = [...stderr.matchAll(/^ibsr: debug: (\w+): ([\d.]+) s, ([\d.]+) s of processor time$/gm)];
  assert.deepEqual(phases.map(([, name]) => name), ["starting", "reading", "judging", "writing"]);
  const sums = [2, 3].map((k) => phases.reduce((sum, phase) => sum + Number(phase[k]), 0));
  assert.ok(
    sums.every((sum) => sum > 0 && sum < (performance.now() - begin) / 1000 * navigator.hardwareConcurrency),
    stderr,
  );
});
