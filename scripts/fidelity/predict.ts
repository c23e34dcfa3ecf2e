/**
 * What ibsr says of a spool: runs its commands and reads the files they write.
 */
import assert from "node:assert/strict";
import type { Summary } from "../../src/report/summary.ts";
import type { CandidateRule, RuleSet } from "../../src/rules/ruleset.ts";
import { ibsrCommand, run } from "../../tests/kernel/lab.ts";
import type { Unit } from "./compare.ts";

/** A row of evidence.csv: what was recorded of a source and port, and the bounds of what would have been dropped. */
export interface EvidenceRow {
  source: string;
  port: number;
  recorded: Record<Unit, number>;
  wouldBlock: Record<Unit, { lower: number; upper: number }>;
}

/** A line of would_block.jsonl, as far as it is needed here. */
export interface DecisionLine {
  rule: string;
  action: string;
  certain: boolean;
  source: string;
  prefix: string | null;
  dst_ports: (number | string)[];
  from_unix_sec: { earliest: number; latest: number };
  until_unix_sec: { earliest: number | null; latest: number | null };
}

/** Runs a command of ibsr; any of the exit codes given is a success. */
export async function ibsr(args: string[], codes: readonly number[] = [0]): Promise<string> {
  const done = await run(...ibsrCommand(args), { anyCode: true });
  assert.ok(codes.includes(done.code), `ibsr ${args.join(" ")}: exit code ${done.code}: ${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** The rows of evidence.csv. */
export async function readEvidence(report: string): Promise<EvidenceRow[]> {
  const [head, ...rows] = parseCsv(await Deno.readTextFile(`${report}/evidence.csv`));
  return rows.map((row) => {
    const cell = (name: string) => row[head!.indexOf(name)]!, number = (name: string) => Number(cell(name));
    const bounds = (unit: Unit) => ({
      lower: number(`would_block_${unit}_lower`),
      upper: number(`would_block_${unit}_upper`),
    });
    return {
      source: cell("source"),
      port: number("dst_port"),
      recorded: { packets: number("packets"), bytes: number("bytes"), syn: number("syn") },
      wouldBlock: { packets: bounds("packets"), bytes: bounds("bytes"), syn: bounds("syn") },
    };
  });
}

/** The candidate rules of a report. */
export async function readRules(report: string): Promise<CandidateRule[]> {
  return (JSON.parse(await Deno.readTextFile(`${report}/rules.json`)) as RuleSet).rules;
}

/** RFC 4180, without line breaks inside of cells. */
function parseCsv(text: string): string[][] {
  return text.split("\r\n").filter((line) => line !== "").map((line) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) =>
      quoted?.replaceAll('""', '"') ?? plain!
    )
  );
}

/** The decisions of a report, in the order of time. */
export async function readDecisions(report: string): Promise<DecisionLine[]> {
  const text = await Deno.readTextFile(`${report}/would_block.jsonl`);
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** The report's sums over all sources. */
export async function readImpact(report: string): Promise<Record<Unit, { lower: number; upper: number }>> {
  return (JSON.parse(await Deno.readTextFile(`${report}/summary.json`)) as Pick<Summary, "impact">).impact;
}
