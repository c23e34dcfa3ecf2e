/**
 * Runs every check and every test, and ends with one line that counts them: `N passed, N failed, N skipped`.
 *
 * Arguments are passed on to `deno test` (a path, `--filter TEXT`) and then leave the checks out.
 */
const root = new URL("../", import.meta.url).pathname;
const deno = Deno.execPath();
const counts = { passed: 0, failed: 0, ignored: 0 };

/** Runs a command with its output shown; returns whether it succeeded. */
async function runCheck(name: string, args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(deno, { args, cwd: root }).output();
  console.log(`${name} ... ${success ? "ok" : "FAILED"}`);
  if (!success) {
    await Deno.stdout.write(stdout);
    await Deno.stderr.write(stderr);
  }
  counts[success ? "passed" : "failed"]++;
}

/** Runs tests, shows their output as it comes or, of two runs at a time, at the end, and adds up the runner's own counts. */
async function runTests(
  args: string[],
  { shown = "at once" }: { shown?: "at once" | "at the end" } = {},
): Promise<void> {
  const child = new Deno.Command(deno, {
    args: ["test", "--quiet", "--no-prompt", "--allow-all", ...args],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const show = async (text: string) => void await Deno.stdout.write(new TextEncoder().encode(text));
  let summary: RegExpExecArray | null = null, rest = "", kept = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (shown === "at once") await show(text);
    else kept += text;
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      summary =
        /^(?:ok|FAILED) \| (\d+) passed(?: \([^)]*\))? \| (\d+) failed(?: \([^)]*\))?(?: \| (\d+) ignored)?/.exec(
          line,
        ) ??
          summary;
    }
  }
  await show(kept);
  const { success } = await child.status;
  const [, passed = "0", failed = "0", ignored = "0"] = summary ?? [];
  counts.passed += Number(passed);
  counts.failed += Number(failed) || (success ? 0 : 1);
  counts.ignored += Number(ignored);
}

/** Test files below a folder, by whether they are in one of the named subfolders. */
function listTests(folder: string): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync(root + folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) found.push(...listTests(path));
    else if (entry.name.endsWith("_test.ts")) found.push(path);
  }
  return found.sort();
}

if (Deno.args.length > 0) {
  await runTests(Deno.args);
} else {
  await runCheck("deno task fmt", ["task", "fmt"]);
  await runCheck("deno task lint", ["task", "lint"]);
  await runCheck("deno task check", ["task", "check"]);
  const left = new Set(listTests("tests"));
  const take = (pattern: RegExp) => {
    const found = [...left].filter((path) => pattern.test(path));
    for (const path of found) left.delete(path);
    return found;
  };
  // What measures shares two CPUs with what it measures, and has them to itself.
  const measuring = take(
    /^tests\/(kernel\/(attach|bench|clock|collect|fidelity|outage|soak|xdp)|compile\/start|simulation_speed)_test/,
  );
  // What has a kernel, a browser, a machine or an SQL engine, of which a process has one: two runs beside each other.
  const kernel = take(/^tests\/(kernel|fleet)\//), program = take(/^tests\/((browser|cli|compile)\/|docs_test)/);
  await runTests(["--parallel", ...left]);
  await Promise.all([runTests(kernel), runTests(program, { shown: "at the end" })]);
  await runTests(measuring);
}

const skipped = counts.ignored > 0 ? `, ${counts.ignored} skipped` : "";
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
Deno.exit(counts.failed > 0 ? 1 : 0);
