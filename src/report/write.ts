/**
 * Writes a report's files: all of them or none.
 *
 * They are made and synced in a folder of their own inside the report's, and only then renamed into place, the
 * manifest last; the manifest of an earlier report goes first. So a folder with a manifest holds one whole report,
 * and one without it holds none. Nothing else in the folder is touched.
 */
import { createHash } from "node:crypto";
import { attempt, removeIfThere, syncDirectory, writeAll } from "../files.ts";
import type { Comparison } from "./compare.ts";
import { renderComparisonHtml, renderComparisonMarkdown } from "./comparison_text.ts";
import {
  createEvidenceLines,
  type EngineFile,
  EVIDENCE_HEADER,
  type InputFile,
  type Manifest,
  type OutputFile,
  renderDecisions,
  renderEvidence,
  renderJson,
  renderRules,
  toManifest,
} from "./csv.ts";
import { renderHtml } from "./html.ts";
import { renderMarkdown } from "./markdown.ts";
import type { NrIbsrFiles } from "./nr_ibsr.ts";
import type { Assessment, SourceRow } from "./summary.ts";

const MANIFEST = "manifest.json", EVIDENCE = "evidence.csv";
/** Written to a file at once, at least. */
const CHUNK = 1 << 16;

/**
 * Writes the report's files and their manifest into `outDir`, which is made if missing; returns what it wrote.
 *
 * @throws {IbsrError} `storage` or `permission`; an earlier report in the folder is then as it was, unless renaming
 * itself failed.
 */
export function writeReport(assessment: Assessment, inputs: InputFile[], outDir: string): OutputFile[] {
  using folder = openFolder(outDir);
  return writeFiles(folder, assessment, {
    inputs,
    evidence: folder.write(EVIDENCE, renderEvidence(assessment.sources)),
  });
}

/**
 * The same of an assessment whose sources come one by one, from elsewhere. What they throw is passed on.
 *
 * @throws {IbsrError} as `writeReport()`.
 */
export async function writeStreamedReport(
  assessment: Assessment,
  { inputs, sources }: { inputs: EngineFile[]; sources: AsyncIterable<SourceRow> },
  outDir: string,
): Promise<OutputFile[]> {
  using folder = openFolder(outDir);
  const file = folder.open(EVIDENCE);
  try {
    const render = createEvidenceLines();
    file.add(EVIDENCE_HEADER);
    for await (const row of sources) file.add(render(row));
    return writeFiles(folder, assessment, { inputs, evidence: file.finish() });
  } finally {
    file.close();
  }
}

/** Everything but evidence.csv, and all of it into place. */
function writeFiles(
  { write, commit }: Folder,
  assessment: Assessment,
  { inputs, evidence }: { inputs: Manifest["inputs"]; evidence: OutputFile },
): OutputFile[] {
  const { summary, rules, decisions } = assessment;
  const outputs = [
    write("report.html", renderHtml(assessment)),
    write("report.md", renderMarkdown(assessment)),
    write("summary.json", renderJson(summary)),
    evidence,
    write("would_block.jsonl", renderDecisions(decisions)),
    write("rules.json", renderRules(rules)),
  ];
  return commit([...outputs, write(MANIFEST, renderJson(toManifest(assessment, inputs, outputs)))]);
}

/** Writes the files of the compatibility profile, which has no manifest. Errors are those of `writeReport()`. */
export function writeNrIbsr({ rules, evidence, report }: NrIbsrFiles, outDir: string): OutputFile[] {
  using folder = openFolder(outDir);
  return folder.commit([
    folder.write("rules.json", [rules]),
    folder.write("report.md", [report]),
    folder.write(EVIDENCE, evidence()),
  ]);
}

/** Writes a comparison of policies into `outDir`, beside their reports. Errors are those of `writeReport()`. */
export function writeComparison(comparison: Comparison, outDir: string): OutputFile[] {
  using folder = openFolder(outDir);
  return folder.commit([
    folder.write("comparison.html", renderComparisonHtml(comparison)),
    folder.write("comparison.md", renderComparisonMarkdown(comparison)),
    folder.write("comparison.json", renderJson(comparison)),
  ]);
}

/** Files in a new folder inside the report's. Disposing of it removes what was not put into place. */
interface Folder extends Disposable {
  /** Writes a file that is not there yet and syncs it. What `texts` throws is passed on. */
  write(name: string, texts: Iterable<string>): OutputFile;
  /** Opens one to be written piece by piece. */
  open(name: string): OutputStream;
  /** Moves the files into the report's folder, those of them that are all on disk. */
  commit(outputs: OutputFile[]): OutputFile[];
}

interface OutputStream {
  add(text: string): void;
  /** Writes the rest and syncs. */
  finish(): OutputFile;
  close(): void;
}

function openFolder(outDir: string): Folder {
  const directory = outDir.replace(/(?<=.)\/+$/, ""), action = `write the report into "${directory}"`;
  const working = attempt(action, () => {
    Deno.mkdirSync(directory, { recursive: true });
    return Deno.makeTempDirSync({ dir: directory, prefix: ".writing-" });
  });
  const open = (name: string) => openFile(name, { working, action });
  return {
    open,
    write(name, texts) {
      const file = open(name);
      try {
        for (const text of texts) file.add(text);
        return file.finish();
      } finally {
        file.close();
      }
    },
    commit(outputs) {
      attempt(action, () => {
        removeIfThere(`${directory}/${MANIFEST}`);
        for (const { path } of outputs) Deno.renameSync(`${working}/${path}`, `${directory}/${path}`);
        syncDirectory(directory);
      });
      return outputs;
    },
    [Symbol.dispose]() {
      Deno.removeSync(working, { recursive: true });
    },
  };
}

function openFile(name: string, { working, action }: { working: string; action: string }): OutputStream {
  const file = attempt(action, () => Deno.openSync(`${working}/${name}`, { write: true, createNew: true }));
  const hash = createHash("sha256"), encoder = new TextEncoder(), room = new Uint8Array(2 * CHUNK);
  let bytes = 0, waiting: string[] = [], length = 0;
  const flush = () => {
    for (let text = waiting.join(""); text !== "";) {
      const { read, written } = encoder.encodeInto(text, room), chunk = room.subarray(0, written);
      hash.update(chunk);
      attempt(action, () => writeAll(file, chunk));
      [bytes, text] = [bytes + written, text.slice(read)];
    }
    [waiting, length] = [[], 0];
  };
  return {
    add(text) {
      waiting.push(text);
      length += text.length;
      if (length >= CHUNK) flush();
    },
    finish() {
      flush();
      attempt(action, () => file.syncSync());
      return { path: name, sha256: hash.digest("hex"), bytes };
    },
    close: () => file.close(),
  };
}
