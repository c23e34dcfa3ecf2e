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

/** Runs tests, shows their output as it comes, and adds up the runner's own counts. */
async function runTests(args: string[]): Promise<void> {
  const child = new Deno.Command(deno, {
    args: ["test", "--quiet", "--no-prompt", "--allow-all", ...args],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let summary: RegExpExecArray | null = null, rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    await Deno.stdout.write(new TextEncoder().encode(text));
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
  // Tests on the kernel measure and share two CPUs with what they measure, as does a browser: one at a time. A process
  // has one embedded SQL engine.
  const tests = listTests("tests");
  const alone = tests.filter((path) => /^tests\/((browser|kernel|cli|compile|fleet)\/|docs_test)/.test(path));
  await runTests(["--parallel", ...tests.filter((path) => !alone.includes(path))]);
  await runTests(alone);
}

const skipped = counts.ignored > 0 ? `, ${counts.ignored} skipped` : "";
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
Deno.exit(counts.failed > 0 ? 1 : 0);
