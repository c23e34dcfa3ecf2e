/**
 * `ibsr check` and `ibsr status`: would it work here, does it.
 */
import { type Check, failure, runChecks } from "../check.ts";
import { EXIT } from "../errors.ts";
import { storeProbe } from "../s3/export.ts";
import { formatStatus, isHealthy, readStatus } from "../status.ts";
import { chooseInterfaces, choosePorts } from "./collect.ts";
import type { Context } from "./command.ts";
import { onlyConfig, resolveCommand } from "./layers.ts";
import { prepareExport } from "./export.ts";
import { type Page, wrap } from "./help.ts";
import type { Values } from "./options.ts";
import { giveUp } from "./permissions.ts";
import { EXPORT_OPTIONS, exportCommand, type ExportValues } from "./tables/export.ts";
import type { CHECK_OPTIONS, STATUS_OPTIONS } from "./tables/host.ts";

/** `ibsr check`: returns the exit code. */
export async function runCheck(values: Values<typeof CHECK_OPTIONS>, context: Context): Promise<number> {
  const { print, page } = context, exported = exportValues(values.config, context);
  if (exported.bucket === undefined) giveUp("net", "run");
  const hasPorts = values["all-ports"] || values["dst-port"].length + values["dst-ports"].length > 0;
  const checks = await runChecks({
    interfaces: chooseInterfaces(values),
    mode: values["xdp-mode"],
    ports: hasPorts ? choosePorts(values) : [443],
    mapSize: values["map-size"],
    directory: values["out-dir"],
    limits: { maxFiles: values["max-files"], maxBytes: values["max-bytes"] },
    user: values.user,
    metricsFile: values["metrics-textfile"],
    attach: !values["skip-attach"],
  });
  checks.push(...await checkExport(exported, context));
  print(values.json ? JSON.stringify(checks, null, 2) + "\n" : formatChecks(checks, page));
  const failed = checks.find((check) => check.verdict === "fail");
  if (failed) return EXIT[failed.kind ?? "kernel"];
  return checks.some((check) => check.verdict === "warn") ? 1 : 0;
}

/** The options with which `ibsr export s3` would run. */
function exportValues(config: string | undefined, context: Context): ExportValues {
  const command = { name: exportCommand.name, options: EXPORT_OPTIONS };
  return resolveCommand(command, onlyConfig(config), context).values;
}

/** Tries what `ibsr export s3` would use, if a bucket is configured for it. */
async function checkExport(values: ExportValues, context: Context): Promise<Check[]> {
  if (values.bucket === undefined) return [];
  const names = ["S3 credentials", "S3 bucket"] as const, checks: Check[] = [];
  try {
    // It is to tell soon, not to insist.
    const { options, chain, connect } = prepareExport({ ...values, "max-retries": 1, "timeout-sec": 10 }, context);
    await chain.credentials();
    checks.push({ name: names[0], verdict: "pass", detail: `from ${chain.source()}` });
    const key = await storeProbe(connect(), options);
    checks.push({ name: names[1], verdict: "pass", detail: `stored s3://${options.bucket}/${key}` });
  } catch (error) {
    const failed = failure(names[checks.length]!, error);
    const hint = failed.hint ?? "what the unit reads from /etc/ibsr/export.env has to be in this environment too";
    checks.push({ ...failed, hint });
  }
  return checks;
}

const COLORS = { pass: "32", warn: "33", fail: "31" };

function formatChecks(checks: readonly Check[], page: Page): string {
  const width = Math.max(...checks.map((check) => check.name.length));
  const indent = " ".repeat(width + 8);
  const lines = checks.flatMap(({ name, verdict, detail, hint }) => {
    const shown = page.color ? `\x1b[${COLORS[verdict]}m${verdict}\x1b[0m` : verdict;
    const [first, ...rest] = wrap(detail, page.width - indent.length);
    return [
      `${shown}  ${name.padEnd(width)}  ${first}`,
      ...rest.map((line) => indent + line),
      ...hint ? wrap(`→ ${hint}`, page.width - indent.length).map((line) => indent + line) : [],
    ];
  });
  return lines.join("\n") + "\n";
}

/** `ibsr status`: returns the exit code. */
export function runStatus(values: Values<typeof STATUS_OPTIONS>, { print }: Context): number {
  const now = Date.now() / 1000;
  const status = readStatus(values["out-dir"], now);
  const healthy = isHealthy(status);
  print(values.json ? JSON.stringify({ healthy, ...status }, null, 2) + "\n" : formatStatus(status, now));
  return healthy ? 0 : 1;
}
