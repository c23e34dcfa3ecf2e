/**
 * Writes a report's files: all of them or none.
 *
 * They are made and synced in a folder of their own inside the report's, and only then renamed into place, the
 * manifest last; the manifest of an earlier report goes first. So a folder with a manifest holds one whole report,
 * and one without it holds none. Nothing else in the folder is touched.
 */
import { createHash } from "node:crypto";
import { attempt, syncDirectory, writeAll } from "../segment.ts";
import type { Comparison } from "./compare.ts";
import { renderComparisonHtml, renderComparisonMarkdown } from "./comparison_text.ts";
import { type InputFile, type OutputFile, renderDecisions, renderEvidence, renderJson, toManifest } from "./csv.ts";
import { renderHtml } from "./html.ts";
import { renderMarkdown } from "./markdown.ts";
import type { NrIbsrFiles } from "./nr_ibsr.ts";
import type { Assessment } from "./summary.ts";

const MANIFEST = "manifest.json";
/** Written to a file at once, at least. */
const CHUNK = 1 << 16;

/**
 * Writes the report's files and their manifest into `outDir`, which is made if missing; returns what it wrote.
 *
 * @throws {IbsrError} `storage` or `permission`; an earlier report in the folder is then as it was, unless renaming
 * itself failed.
 */
export function writeReport(assessment: Assessment, inputs: InputFile[], outDir: string): OutputFile[] {
  const { summary, rules, sources, decisions } = assessment;
  return writeFolder(outDir, (write) => {
    const outputs = [
      write("report.html", renderHtml(assessment)),
      write("report.md", renderMarkdown(assessment)),
      write("summary.json", renderJson(summary)),
      write("evidence.csv", renderEvidence(sources)),
      write("would_block.jsonl", renderDecisions(decisions)),
      write("rules.json", renderJson(rules)),
    ];
    return [...outputs, write(MANIFEST, renderJson(toManifest(assessment, inputs, outputs)))];
  });
}

/** Writes the files of the compatibility profile, which has no manifest. Errors are those of `writeReport()`. */
export function writeNrIbsr({ rules, evidence, report }: NrIbsrFiles, outDir: string): OutputFile[] {
  return writeFolder(outDir, (write) => [
    write("rules.json", [rules]),
    write("report.md", [report]),
    write("evidence.csv", evidence()),
  ]);
}

/** Writes a comparison of policies into `outDir`, beside their reports. Errors are those of `writeReport()`. */
export function writeComparison(comparison: Comparison, outDir: string): OutputFile[] {
  return writeFolder(outDir, (write) => [
    write("comparison.html", renderComparisonHtml(comparison)),
    write("comparison.md", renderComparisonMarkdown(comparison)),
    write("comparison.json", renderJson(comparison)),
  ]);
}

type Write = (name: string, texts: Iterable<string>) => OutputFile;

/** Has `make` write files into a new folder inside `outDir`, and moves them out of it once they are all on disk. */
function writeFolder(outDir: string, make: (write: Write) => OutputFile[]): OutputFile[] {
  const directory = outDir.replace(/(?<=.)\/+$/, ""), action = `write the report into "${directory}"`;
  const working = attempt(action, () => {
    Deno.mkdirSync(directory, { recursive: true });
    return Deno.makeTempDirSync({ dir: directory, prefix: ".writing-" });
  });
  try {
    const outputs = make((name, texts) => ({ path: name, ...writeFile(`${working}/${name}`, texts, action) }));
    attempt(action, () => {
      removeIfThere(`${directory}/${MANIFEST}`);
      for (const { path } of outputs) Deno.renameSync(`${working}/${path}`, `${directory}/${path}`);
      syncDirectory(directory);
    });
    return outputs;
  } finally {
    Deno.removeSync(working, { recursive: true });
  }
}

/** Writes a file that is not there yet and syncs it. What `texts` throws is passed on. */
function writeFile(path: string, texts: Iterable<string>, action: string): Omit<OutputFile, "path"> {
  using file = attempt(action, () => Deno.openSync(path, { write: true, createNew: true }));
  const hash = createHash("sha256"), encoder = new TextEncoder();
  let bytes = 0, waiting: string[] = [], length = 0;
  const flush = () => {
    const chunk = encoder.encode(waiting.join(""));
    hash.update(chunk);
    attempt(action, () => writeAll(file, chunk));
    [bytes, waiting, length] = [bytes + chunk.length, [], 0];
  };
  for (const text of texts) {
    waiting.push(text);
    length += text.length;
    if (length >= CHUNK) flush();
  }
  flush();
  attempt(action, () => file.syncSync());
  return { sha256: hash.digest("hex"), bytes };
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
