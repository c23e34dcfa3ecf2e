/**
 * What `ibsr check` and `ibsr status` take.
 */
import { CONFIGURED, defineCommand, JSON_OUTPUT, SPOOL } from "../command.ts";
import { flag, option } from "../options.ts";
import { COLLECT_OPTIONS } from "./collect.ts";

/** The options of `collect` that say what is needed of the host; nothing is read again while these commands run. */
function pick<const N extends keyof typeof COLLECT_OPTIONS>(...names: N[]): Pick<typeof COLLECT_OPTIONS, N> {
  const still = (name: N) =>
    Object.fromEntries(Object.entries(COLLECT_OPTIONS[name]).filter(([key]) => key !== "live"));
  return Object.fromEntries(names.map((name) => [name, still(name)])) as unknown as Pick<typeof COLLECT_OPTIONS, N>;
}

export const CHECK_OPTIONS = {
  ...pick("dst-port", "dst-ports", "all-ports", "iface", "xdp-mode", "map-size", "out-dir"),
  ...pick("max-files", "max-bytes", "user", "metrics-textfile"),
  "skip-attach": option(flag, {
    group: "What to count",
    help: "Leave the interfaces alone: in native mode some drivers reset the link.",
  }),
  ...JSON_OUTPUT,
  ...CONFIGURED,
};

export const checkCommand = defineCommand({
  name: "check",
  like: "collect",
  summary: "try whether collecting would work here",
  description:
    "Takes the options of collect, and tries for real: loads the program, runs a packet through it, attaches it to " +
    "each interface for up to a second, writes to the spool. A running collector is not disturbed.\n\n" +
    "Exit code: 0 if all passed, 1 if there were warnings, else that of the first failure: 71 the kernel, 74 the " +
    "disk, 77 a right that is missing. If `ibsr export s3` has a bucket in the config file, that is tried too: it asks " +
    "for credentials, and stores an object of a few bytes, PREFIX/ibsr-check.",
  examples: [["ibsr check -p 443 --user ibsr", "As `ibsr collect` with the same options would be run."]],
  permissions: ["read", "write", "sys", "ffi", "net", "run"],
  options: CHECK_OPTIONS,
  load: async () => (await import("../host.ts")).runCheck,
});

export const STATUS_OPTIONS = {
  "out-dir": { ...SPOOL["out-dir"], help: "The collector's spool." },
  ...JSON_OUTPUT,
  ...CONFIGURED,
};

export const statusCommand = defineCommand({
  name: "status",
  like: "collect",
  summary: "what the collector is doing and has done",
  description:
    "Reads the spool's lock, heartbeats, names and the last lines of the open segment; nothing of the collector is " +
    "touched. Exit code: 0 if a collector runs and nothing fails, else 1.",
  examples: [["ibsr status", "Of the collector with the default spool, or the config file's."]],
  permissions: ["read", "sys", "ffi"],
  options: STATUS_OPTIONS,
  load: async () => (await import("../host.ts")).runStatus,
});
