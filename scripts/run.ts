/** Commands that scripts start: they succeed, or what they said becomes the error. */

/** Where and with what a command runs; `env` is in addition to what is there. */
export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/** Runs a command; returns its standard output. */
export async function runCommand(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const env = { NO_COLOR: "1", ...options.env };
  const { success, code, stdout, stderr } = await new Deno.Command(command, { ...options, env, args: [...args] })
    .output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(
      `Cannot run ${command} ${args.join(" ")}: exit code ${code}\n${decoder.decode(stdout)}${decoder.decode(stderr)}`,
    );
  }
  return decoder.decode(stdout);
}

/** Runs the `deno` that runs this. */
export function runDeno(args: readonly string[], options: RunOptions = {}): Promise<string> {
  return runCommand(Deno.execPath(), args, options);
}
