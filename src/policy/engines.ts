/**
 * The engines whose policies can be simulated. A further one is a line here and a directory beside this file.
 */
import type { Document } from "./document.ts";
import { ebpfsentinel } from "./ebpfsentinel/engine.ts";
import type { Engine } from "./engine.ts";
import { ironpost } from "./ironpost/engine.ts";

/** All engines. */
export const ENGINES: readonly Engine[] = [ebpfsentinel, ironpost];

/** The engine of a name; undefined if there is none. */
export function findEngine(name: string): Engine | undefined {
  return ENGINES.find((engine) => engine.name === name);
}

/** The engines whose document this looks like: one, unless the file says too little or too much. */
export function detectEngines(document: Document): Engine[] {
  return ENGINES.filter((engine) => engine.detect(document));
}
