/** What is measured in a process of its own. */
import { readKernelFile } from "../../src/libc.ts";
import { runDeno } from "../run.ts";

/**
 * Runs a module of the benchmark in a process of its own, where nothing that was measured before has left memory
 * behind; what it prints, read as JSON.
 *
 * @param flags For `deno run`.
 */
export async function runApart<T>(module: string, args: readonly string[], flags: readonly string[] = []): Promise<T> {
  return JSON.parse(await runDeno(["run", "--quiet", "--allow-all", ...flags, module, ...args]));
}

/** The most memory that this process has had resident so far, in MB of 1024² bytes. */
export function peakMb(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readKernelFile("/proc/self/status")!)![1]) / 1024;
}
