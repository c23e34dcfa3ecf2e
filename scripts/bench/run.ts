/** What the sections share: commands, and processes of their own to measure in. */
import { readKernelFile } from "../../src/libc.ts";

/** Runs a command to its end; its output as text. Throws what it wrote if it fails. */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${decoder.decode(stderr)}${decoder.decode(stdout)}`);
  return decoder.decode(stdout);
}

/**
 * Runs a module of the benchmark in a process of its own, where nothing that was measured before has left memory
 * behind; what it prints, read as JSON.
 *
 * @param flags For `deno run`.
 */
export async function runApart<T>(module: string, args: readonly string[], flags: readonly string[] = []): Promise<T> {
  return JSON.parse(await run(Deno.execPath(), ["run", "--quiet", "--allow-all", ...flags, module, ...args]));
}

/** The most memory that this process has had resident so far, in MB of 1024² bytes. */
export function peakMb(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readKernelFile("/proc/self/status")!)![1]) / 1024;
}
