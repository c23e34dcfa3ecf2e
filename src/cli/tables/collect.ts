/**
 * What `ibsr collect` takes. Other commands' tables, the units and the config file are made of the same.
 */
import { CONFIGURED, defineCommand, SPOOL } from "../command.ts";
import {
  choiceKind,
  eitherKind,
  flag,
  integerKind,
  option,
  portsKind,
  secondsKind,
  sizeKind,
  textKind,
  type Values,
} from "../options.ts";

const YEAR_SEC = 366 * 86400;

/** The options of `ibsr collect`. `check` and the units are made of the same. */
export const COLLECT_OPTIONS = {
  "dst-port": option(portsKind, {
    group: "What to count",
    short: "p",
    repeat: true,
    live: true,
    question: "ports",
    help: "Destination port, range or list.",
  }),
  "dst-ports": option(portsKind, {
    group: "What to count",
    repeat: true,
    live: true,
    question: "ports",
    help: "The same; both add up.",
  }),
  "all-ports": option(flag, { group: "What to count", live: true, question: "ports", help: "Ports 1 to 65535." }),
  iface: option(textKind("IFACE"), {
    group: "What to count",
    short: "i",
    repeat: true,
    help: "Interface to count on.",
    defaultHelp: "those of the default routes",
  }),
  "xdp-mode": option(choiceKind("MODE", ["auto", "native", "generic"]), {
    group: "What to count",
    default: "auto",
    help: "In the driver, or in the kernel's generic path; auto tries native first.",
  }),
  "map-size": option(integerKind("N", 1000, 4_000_000), {
    group: "What to count",
    default: "100000",
    help:
      "Sources and ports kept apart per interval, for IPv4 and for IPv6 each. Kernel memory: about 0.9 kB an entry.",
  }),
  ...SPOOL,
  "snapshot-interval-sec": option(secondsKind(0.02, 86400), {
    group: "Snapshots",
    default: "10",
    live: true,
    help: "One snapshot per interface each so many seconds.",
  }),
  "status-interval-sec": option(secondsKind(0.1, 86400), {
    group: "Snapshots",
    default: "60",
    live: true,
    help: "A heartbeat to status.jsonl each so many seconds.",
  }),
  "metrics-textfile": option(textKind("PATH"), {
    group: "Snapshots",
    help: "Write metrics there with each heartbeat, for node_exporter's textfile collector.",
  }),
  "duration-sec": option(secondsKind(0.02, 10 * YEAR_SEC), {
    group: "Snapshots",
    help: "Stop after so many seconds.",
    defaultHelp: "when told to",
  }),
  rotate: option(eitherKind("WHEN", choiceKind("", ["hourly", "daily"]), sizeKind(1 << 16)), {
    group: "Segments",
    default: "hourly",
    help: "Begin another segment each UTC hour, each UTC day, or at a size (and each day).",
  }),
  compress: option(choiceKind("HOW", ["none", "zstd", "gzip"]), {
    group: "Segments",
    default: "none",
    help: "How sealed segments are stored.",
  }),
  group: option(textKind("GROUP"), { group: "Segments", help: "Group of the spool and its files: may read them." }),
  "max-files": option(integerKind("N", 1, 1_000_000_000), {
    group: "Retention",
    default: "3600",
    live: true,
    help: "Most segments to keep, those of earlier runs counted; the oldest go first.",
  }),
  "max-age": option(integerKind("SEC", 1, 100 * YEAR_SEC), {
    group: "Retention",
    live: true,
    help: "Delete segments whose hour ended so long ago.",
    defaultHelp: "none",
  }),
  "max-bytes": option(sizeKind(1 << 16), {
    group: "Retention",
    live: true,
    help: "Most bytes of all segments together.",
    defaultHelp: "none",
  }),
  user: option(textKind("USER"), {
    group: "Privileges",
    help: "Started as root: become this user once attached, without any capability.",
  }),
  ...CONFIGURED,
};

/** The values of `ibsr collect`'s options. */
export type CollectValues = Values<typeof COLLECT_OPTIONS>;

export const collectCommand = defineCommand({
  name: "collect",
  summary: "count TCP by source and port in XDP, and write snapshots",
  description:
    "Attaches a program that always passes the packet, and writes what it counted, one JSON line an interval, to " +
    "the spool. Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Ctrl-C or SIGTERM writes a last snapshot and " +
    "detaches; if the process dies, the kernel detaches.\n\n" +
    "Options come from the arguments, then from the environment (--map-size is IBSR_MAP_SIZE), then from the config " +
    "file. SIGHUP reads the file again: options marked live change at once and nothing counted is lost; others are " +
    "named in the log and need a restart.",
  examples: [
    ["ibsr collect -p 443", "Port 443 on the interfaces of the default routes, until stopped."],
    ["ibsr collect -p 22 -p 8000-8080 -i eth0 -o ./spool --duration-sec 600", "Ten minutes, into a folder here."],
    ["ibsr collect -p 443 --user ibsr", "Started as root, runs on as user ibsr."],
  ],
  permissions: ["read", "write", "sys", "ffi"],
  options: COLLECT_OPTIONS,
  load: async () => (await import("../collect.ts")).runCollect,
});
