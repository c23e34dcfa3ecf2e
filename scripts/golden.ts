/**
 * Writes what the situations of tests/golden come to, for review: `deno task golden [NAME…]`.
 */
import { expectedPath, formatSummary, runSituation } from "../tests/golden/run.ts";
import { SITUATIONS } from "../tests/golden/situations.ts";

for (const situation of SITUATIONS) {
  if (Deno.args.length > 0 && !Deno.args.includes(situation.name)) continue;
  const { summary } = await runSituation(situation);
  const path = expectedPath(situation.name);
  Deno.mkdirSync(path.replace(/\/[^/]*$/, ""), { recursive: true });
  Deno.writeTextFileSync(path, formatSummary(summary));
  console.log(`${situation.name}: ${summary.verdict}: ${summary.verdict_reason}`);
}
