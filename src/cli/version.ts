/** The program's version, from deno.json, and how it was made. */
import project from "../../deno.json" with { type: "json" };

/** As `ibsr --version` says it. */
export const VERSION: string = project.version;

/** What runs: the source, or which kind of executable (scripts/compile.ts). */
export function describeBuild(): string {
  if (Deno.build.standalone) return "made by deno compile";
  // An embedded bundle is a memory file, which nothing else is started from.
  return import.meta.url.startsWith("file:///proc/self/fd/")
    ? "embedded in Deno's own binary: for where deno compile can't be used"
    : "run from source";
}
