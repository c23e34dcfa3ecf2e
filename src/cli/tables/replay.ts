/**
 * What `ibsr replay` takes.
 */
import { COMMON, defineCommand } from "../command.ts";
import { choiceKind, option, secondsKind, textKind } from "../options.ts";
import { COLLECT_OPTIONS } from "./collect.ts";

const { live: _, ...DST_PORT } = COLLECT_OPTIONS["dst-port"], { live: __, ...DST_PORTS } = COLLECT_OPTIONS["dst-ports"];

export const REPLAY_OPTIONS = {
  "dst-port": { ...DST_PORT, defaultHelp: "all" },
  "dst-ports": DST_PORTS,
  engine: option(choiceKind("ENGINE", ["auto", "kernel", "model"]), {
    group: "What to count",
    default: "auto",
    help: "What counts; auto takes the kernel program if it can be loaded.",
  }),
  "map-size": COLLECT_OPTIONS["map-size"],
  "out-dir": option(textKind("DIR"), {
    group: "Snapshots",
    short: "o",
    help: "The spool: made if missing. Required.",
  }),
  "snapshot-interval-sec": option(secondsKind(0.001, 86400), {
    group: "Snapshots",
    default: "10",
    help: "One snapshot each so many seconds of the capture.",
  }),
  hostname: option(textKind("NAME"), {
    group: "Snapshots",
    help: "Host to write into the snapshots.",
    defaultHelp: "this host's",
  }),
  iface: option(textKind("NAME"), {
    group: "Snapshots",
    default: "capture",
    help: "Interface to write into the snapshots.",
  }),
  ...COMMON,
};

export const replayCommand = defineCommand({
  name: "replay",
  summary: "count captures instead of an interface",
  operands: "FILE…",
  description:
    "Reads pcap and pcapng, gzip too, of Ethernet; several files are one recording, in their order. The capture's own " +
    "time makes the intervals. The kernel engine runs every frame through the real program, without any interface; the " +
    "model engine counts alike and needs no rights.",
  examples: [
    ["ibsr replay -o ./spool capture.pcapng", "All ports, by whichever engine can be used here."],
    ["ibsr replay --engine model -p 443 -o ./spool a.pcap.gz b.pcap.gz", "Port 443 in two files, without any rights."],
  ],
  permissions: ["read", "write", "sys", "ffi"],
  options: REPLAY_OPTIONS,
  load: async () => (await import("../replay.ts")).runReplay,
});
