/**
 * The program: arguments → one command → exit code.
 *
 * SIGINT and SIGTERM ask the command to end; a second one ends it at once.
 */
import { run } from "./src/cli/run.ts";

const shutdown = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    if (shutdown.signal.aborted) Deno.exit(signal === "SIGINT" ? 130 : 143);
    shutdown.abort();
  });
}

Deno.exit(await run(Deno.args, shutdown.signal));
