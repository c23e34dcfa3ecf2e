/**
 * Runs evidence through both: the report on files, and the same by an engine.
 */
import { assess, type AssessOptions } from "../../src/report/assess.ts";
import { readEvidence } from "../../src/evidence/read.ts";
import { assessFleet } from "../../src/fleet/assess.ts";
import type { EmbeddedEngine } from "../../src/fleet/chdb.ts";
import type { LineSource } from "../../src/fleet/lines.ts";
import { listInputs } from "../../src/input.ts";
import { type NativeOptions, nativePolicy } from "../../src/policy/native.ts";
import { renderDecisions, renderEvidence, renderJson, renderRules } from "../../src/report/csv.ts";
import type { Assessment, SourceRow } from "../../src/report/summary.ts";

/** What a report writes, as it writes it. */
export interface Texts {
  summary: string;
  rules: string;
  evidence: string;
  decisions: string;
}

export interface Asked {
  native: NativeOptions;
  assess: Omit<AssessOptions, "progress">;
}

function textsOf(assessment: Assessment, sources: Iterable<SourceRow>): Texts {
  return {
    summary: [...renderJson(assessment.summary)].join(""),
    rules: [...renderRules(assessment.rules)].join(""),
    evidence: [...renderEvidence(sources)].join(""),
    decisions: [...renderDecisions(assessment.decisions)].join(""),
  };
}

/** By files. */
export async function reportFiles(directory: string, { native, assess: options }: Asked): Promise<Texts> {
  using evidence = await readEvidence(listInputs([directory]));
  const assessment = await assess(evidence, nativePolicy(native), options);
  return textsOf(assessment, assessment.sources);
}

/** By the engine. */
export async function reportFleet(engine: EmbeddedEngine, directory: string, asked: Asked): Promise<Texts> {
  const isTorn = async (path: string) => (await Deno.readFile(path)).at(-1) !== 0x0a;
  await using fleet = await assessFleet(engine, linkSource(engine.folder, directory), { ...asked, isTorn });
  const rows: SourceRow[] = [];
  for await (const row of fleet.rows()) rows.push(row);
  // What a report on files doesn't have.
  const { fleet: _, ...summary } = fleet.assessment.summary;
  return textsOf({ ...fleet.assessment, summary }, rows);
}

let links = 0;

/** The segments of a folder, by links in the engine's. */
export function linkSource(folder: string, directory: string): LineSource {
  const own = `${folder}/test${links++}`, files = listInputs([directory]);
  Deno.mkdirSync(own);
  const names = new Map(files.map((file, i) => {
    const name = `${own}/${String(i).padStart(8, "0")}.jsonl${/\.(gz|zst)$/.exec(file.path)?.[0] ?? ""}`;
    Deno.symlinkSync(Deno.realPathSync(file.path), name);
    return [name, file] as const;
  }));
  const table = "file({source_url:String}, 'LineAsString', 'line String', 'auto')";
  return {
    from: `(SELECT line, _path AS file, _row_number + 1 AS number FROM ${table})`,
    bind: () => Promise.resolve({ parameters: { source_url: `${own}/*` }, secrets: {} }),
    files,
    names,
  };
}
