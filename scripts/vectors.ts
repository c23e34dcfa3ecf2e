/**
 * Runs files of hand-worked test vectors through the simulators: `deno task vectors FILE…`.
 *
 * A file is JSON with a list `vectors`; each has an id, an engine's part and what is expected, and what the file is
 * about says whose vectors they are. Others can bring their own in the same form. Prints passed and failed by part
 * and kind, and each failure with what was expected and what was got. Exit code 1 if one fails, 65 if a file is none.
 */
import { runVector as runEbpfsentinel } from "./vectors/ebpfsentinel.ts";
import { runVector as runIronpost } from "./vectors/ironpost.ts";
import type { Outcome, Vector } from "./vectors/vector.ts";

/** Whose vectors a file holds, and how they are run. */
interface Subject {
  name: string;
  /** Whether the file's top level says so. */
  describes(file: Record<string, unknown>): boolean;
  /** What one of them tests, in a word: the second column. */
  kindOf(vector: Vector): string;
  run(vector: Vector): Outcome;
}

const SUBJECTS: readonly Subject[] = [
  {
    name: "eBPFsentinel",
    describes: (file) => file.subject === "eBPFsentinel",
    kindOf: (vector) => String(vector.kind),
    run: runEbpfsentinel,
  },
  {
    name: "Ironpost",
    describes: (file) => String(file.schema).includes("ironpost"),
    kindOf: (vector) => String(vector.detector ?? (vector.interval_view ? "interval" : "packet")),
    run: runIronpost,
  },
];

/** What one vector gave. */
export interface Result extends Outcome {
  vector: Vector;
  subject: string;
  kind: string;
}

/**
 * Runs the vectors of a file's text.
 *
 * @throws {Error} If the text is no file of vectors, or of none of the engines.
 */
export function runVectors(text: string): Result[] {
  const file = JSON.parse(text) as Record<string, unknown>;
  const subject = SUBJECTS.find((s) => s.describes(file));
  if (!subject) throw new Error(`its vectors are of none of: ${SUBJECTS.map((s) => s.name).join(", ")}`);
  if (!Array.isArray(file.vectors)) throw new Error("it has no list of vectors");
  return (file.vectors as Vector[]).map((vector) => {
    const about = { vector, subject: subject.name, kind: subject.kindOf(vector) };
    try {
      return { ...about, ...subject.run(vector) };
    } catch (error) {
      return { ...about, passed: false, got: error instanceof Error ? `${error.name}: ${error.message}` : error };
    }
  });
}

/** Lines that tell the results: a table, then each failure. */
export function describeResults(results: readonly Result[]): string[] {
  const groups = Map.groupBy(results, (r) => `${r.subject.padEnd(13)} ${String(r.vector.engine).padEnd(20)} ${r.kind}`);
  const lines = [...groups].map(([name, group]) => {
    const failed = group.filter((r) => !r.passed).length;
    return `${name.padEnd(52)} ${String(group.length - failed).padStart(4)} passed ${
      String(failed).padStart(4)
    } failed`;
  });
  for (const { vector, got } of results.filter((r) => !r.passed)) {
    lines.push(`${vector.id}: ${vector.title ?? ""}`);
    lines.push(
      `  expected ${JSON.stringify(vector.expect ?? vector.interval_view)}`,
      `  got      ${JSON.stringify(got)}`,
    );
  }
  const failed = results.filter((r) => !r.passed).length;
  return [...lines, `${results.length - failed} passed, ${failed} failed`];
}

if (import.meta.main) {
  if (Deno.args.length === 0) {
    console.error("deno task vectors FILE…");
    Deno.exit(64);
  }
  const results: Result[] = [];
  for (const path of Deno.args) {
    try {
      results.push(...runVectors(Deno.readTextFileSync(path)));
    } catch (error) {
      console.error(`${path}: ${error instanceof Error ? error.message : error}`);
      Deno.exit(65);
    }
  }
  for (const line of describeResults(results)) console.log(line);
  if (results.some((r) => !r.passed)) Deno.exit(1);
}
