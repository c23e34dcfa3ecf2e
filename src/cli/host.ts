/**
 * `ibsr check` and `ibsr status`: would it work here, does it.
 */
import { type Check, runChecks } from "../check.ts";
import { EXIT } from "../errors.ts";
import { formatStatus, isHealthy, readStatus } from "../status.ts";
import { chooseInterfaces, choosePorts, COLLECT_OPTIONS } from "./collect.ts";
import { CONFIGURED, defineCommand, SPOOL } from "./command.ts";
import { type Page, wrap } from "./help.ts";
import { flag, option } from "./options.ts";

const JSON_OPTION = { json: option(flag, { group: "Output", help: "Print JSON." }) };

/** The options of `collect` that say what is needed of the host. */
function pick<const N extends keyof typeof COLLECT_OPTIONS>(...names: N[]): Pick<typeof COLLECT_OPTIONS, N> {
  return Object.fromEntries(names.map((name) => [name, COLLECT_OPTIONS[name]])) as Pick<typeof COLLECT_OPTIONS, N>;
}

export const checkCommand = defineCommand({
  name: "check",
  summary: "try whether collecting would work here",
  description:
    "Takes the options of collect, and tries for real: loads the program, runs a packet through it, attaches it to " +
    "each interface for up to a second, writes to the spool. A running collector is not disturbed.\n\n" +
    "Exit code: 0 if all passed, 1 if there were warnings, else that of the first failure: 71 the kernel, 74 the " +
    "disk, 77 a right that is missing.",
  examples: [["ibsr check -p 443 --user ibsr", "As `ibsr collect` with the same options would be run."]],
  permissions: ["read", "write", "sys", "ffi"],
  options: {
    ...pick("dst-port", "dst-ports", "all-ports", "iface", "xdp-mode", "map-size", "out-dir"),
    ...pick("max-files", "max-bytes", "user", "metrics-textfile"),
    "skip-attach": option(flag, {
      group: "What to count",
      help: "Leave the interfaces alone: in native mode some drivers reset the link.",
    }),
    ...JSON_OPTION,
    ...CONFIGURED,
  },
  async run(values, { print, page }) {
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
    print(values.json ? JSON.stringify(checks, null, 2) + "\n" : formatChecks(checks, page));
    const failed = checks.find((check) => check.verdict === "fail");
    if (failed) return EXIT[failed.kind ?? "kernel"];
    return checks.some((check) => check.verdict === "warn") ? 1 : 0;
  },
});

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

export const statusCommand = defineCommand({
  name: "status",
  summary: "what the collector is doing and has done",
  description:
    "Reads the spool's lock, heartbeats and names; nothing of the collector is touched. Exit code: 0 if a collector " +
    "runs and nothing fails, else 1.",
  examples: [["ibsr status", "Of the collector with the default spool, or the config file's."]],
  permissions: ["read", "sys", "ffi"],
  options: { ...SPOOL, ...JSON_OPTION, ...CONFIGURED },
  run(values, { print }) {
    const now = Date.now() / 1000;
    const status = readStatus(values["out-dir"], now);
    const healthy = isHealthy(status);
    print(values.json ? JSON.stringify({ healthy, ...status }, null, 2) + "\n" : formatStatus(status, now));
    return healthy ? 0 : 1;
  },
});
