/**
 * The engines whose policies can be simulated, and which of them a policy's files are for. A further one is a line here,
 * one in profiles.ts, and a directory beside this file. Pure.
 */
import { IbsrError } from "../errors.ts";
import { type Document, readDocument } from "./document.ts";
import { ebpfsentinel } from "./ebpfsentinel/engine.ts";
import { ironpost } from "./ironpost/engine.ts";
import type { Engine, Finding, PolicyFile } from "./policy.ts";

/** All engines. */
export const ENGINES: readonly Engine[] = [ebpfsentinel, ironpost];

/** The engines whose document this looks like: one, unless the file says too little or too much. */
export function detectEngines(document: Document): Engine[] {
  return ENGINES.filter((engine) => engine.detect(document));
}

/** The engine, or what is so wrong with the files that none can be told. */
export type Choice = { engine: Engine } | { findings: Finding[] };

/**
 * The engine of the files: the named one, or the only one that says the files are its own.
 *
 * @throws {IbsrError} `usage`: there is no engine of that name, or the files are of several; `data`: they are of none.
 */
export function chooseEngine(files: readonly PolicyFile[], name?: string): Choice {
  const engines = ENGINES.map((engine) => engine.name).join(", ");
  if (name !== undefined) {
    const engine = ENGINES.find((one) => one.name === name);
    if (!engine) {
      throw new IbsrError("usage", `Cannot use engine "${name}": there is none`, { hint: `one of ${engines}` });
    }
    return { engine };
  }
  const documents = files.map((file) => readDocument(file));
  const told = documents.map((document) => document.root ? detectEngines(document) : []);
  const candidates = [...new Set(told.flat())];
  const [first] = candidates;
  if (candidates.length === 1) return { engine: first! };
  const broken = documents.filter((document) => !document.root);
  if (!first && broken.length > 0) return { findings: broken.flatMap((document) => [...document.findings]) };
  if (!first) {
    const paths = files.map(({ path }) => path).join(", ");
    throw new IbsrError("data", `Cannot tell the engine of ${paths}: it looks like none of ${engines}`, {
      hint: "--engine NAME says it; `ibsr policy check --engine NAME FILE` then says what is missing",
    });
  }
  const apart = documents.map(({ path }, i) => `${path} (${told[i]!.map((e) => e.name).join(" or ") || "unknown"})`);
  throw new IbsrError("usage", `Cannot tell the engine: ${apart.join(", ")}`, {
    hint: "give the files of one engine at a time, or --engine NAME",
  });
}
