/**
 * What `ibsr convert` takes.
 */
import { COMMON, defineCommand } from "../command.ts";
import { choiceKind, option, textKind } from "../options.ts";

export const CONVERT_OPTIONS = {
  to: option(choiceKind("VERSION", ["5"]), { group: "Conversion", default: "5", help: "Format to write." }),
  out: option(textKind("DIR"), { group: "Conversion", help: "Where to: made if missing. Required." }),
  ...COMMON,
};

export const convertCommand = defineCommand({
  name: "convert",
  summary: "write snapshots in an older format",
  operands: "PATH…",
  description:
    "Reads segments (files or folders of them) and writes one folder a stream (host, interface, run) below --out. " +
    "Version 5 is the existing IBSR's: cumulative, IPv4 only. What it has no place for is said at the end.",
  examples: [["ibsr convert --to 5 --out ./v5 /var/lib/ibsr/snapshots", "For the existing reporter."]],
  permissions: ["read", "write"],
  options: CONVERT_OPTIONS,
  load: async () => (await import("../convert.ts")).runConvert,
});
