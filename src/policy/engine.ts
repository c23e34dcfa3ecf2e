/**
 * What an engine that can be rehearsed offers: a name, whether a document is one of its own, and a policy from files.
 */
import type { Document } from "./document.ts";
import type { Policy, PolicyFile } from "./policy.ts";

/** An engine whose policies can be simulated; one line in the table of src/policy/engines.ts. */
export interface Engine {
  name: string;
  /** One line for help and errors: what it is and which files it reads. */
  describe: string;
  /** Readings of the engine that can be simulated, the default first. */
  profiles: readonly string[];
  /** Whether the file's document looks like one of the engine's; `document.root` may be undefined. */
  detect(document: Document): boolean;
  /**
   * A policy of files that belong together. What is wrong with them is in its findings; a policy with an error among
   * them must not be simulated, and its `simulate()` throws.
   *
   * @throws {IbsrError} `usage`, if an option is wrong: a profile that the engine has not, …
   */
  load(files: readonly PolicyFile[], options: LoadOptions): Policy;
}

/** What an operator knows and a policy's files don't say. An engine uses what it can and leaves the rest. */
export interface LoadOptions {
  /** One of the engine's profiles; its first if absent. */
  profile?: string;
  /** Lines of `prefix,country`: `192.0.2.0/24,FR`. Without it no country is known. */
  countries?: PolicyFile;
  /** What lists that the policy names by URL hold, by the list's id. */
  feeds?: ReadonlyMap<string, PolicyFile>;
  /** Addresses of the protected host. */
  hostAddresses?: readonly string[];
  /** CPUs that receive packets: engines with state per CPU allow each source up to that many times its limit. */
  cpus?: number;
}
