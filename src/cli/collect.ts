/**
 * `ibsr collect`: its options, and how their values become what the collector needs.
 */
import { collect, type CollectOptions, type Reload } from "../collect.ts";
import { IbsrError } from "../errors.ts";
import { defaultInterfaces } from "../interfaces.ts";
import { openNotify } from "../process.ts";
import { CONFIGURED, type Context, defineCommand, SPOOL } from "./command.ts";
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
} from "./options.ts";
import { VERSION } from "./version.ts";

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
  iface: option(textKind("NAME"), {
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
  user: option(textKind("NAME"), {
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
  async run(values, context) {
    const interfaces = chooseInterfaces(values);
    const summary = await collect({
      ...liveOptions(values),
      interfaces,
      mode: values["xdp-mode"],
      mapSize: values["map-size"],
      durationMs: values["duration-sec"] === undefined ? undefined : values["duration-sec"] * 1000,
      hostname: Deno.hostname(),
      program: VERSION,
      user: values.user,
      metricsFile: values["metrics-textfile"],
      supervisor: findSupervisor(context.environment),
      // From a terminal SIGHUP means that it was closed.
      reload: Deno.stdin.isTerminal() ? undefined : () => reload(values, context),
      spool: {
        directory: values["out-dir"],
        rotate: values.rotate,
        compress: values.compress,
        group: values.group,
      },
    }, context.signal);
    context.print(
      `${summary.snapshots} snapshots of ${summary.packets} packets in ${values["out-dir"]}; ` +
        `${summary.unattributed} packets without a source\n`,
    );
    return 0;
  },
});

/** The ports that the values name, ascending. @throws {IbsrError} `usage`, if there are none. */
export function choosePorts(values: Pick<CollectValues, "all-ports" | "dst-port" | "dst-ports">): number[] {
  const ports = values["all-ports"]
    ? Array.from({ length: 65535 }, (_, i) => i + 1)
    : [...new Set([...values["dst-port"], ...values["dst-ports"]].flat())].sort((a, b) => a - b);
  if (ports.length > 0) return ports;
  throw new IbsrError("usage", "Cannot start: no port to count was given", {
    hint: "-p 443 counts port 443; --all-ports counts all",
  });
}

/** The interfaces that the values name, or the default routes'. @throws {IbsrError} `usage`, if there are none. */
export function chooseInterfaces(values: Pick<CollectValues, "iface">): string[] {
  const interfaces = values.iface.length > 0 ? [...new Set(values.iface)] : defaultInterfaces();
  if (interfaces.length > 0) return interfaces;
  throw new IbsrError("usage", "Cannot choose an interface: there is no default route", {
    hint: "-i NAME names one; `ip link` lists them",
  });
}

/** The part that SIGHUP changes: of the options marked `live`. */
function liveOptions(values: CollectValues): Pick<CollectOptions, "ports" | "intervalMs" | "statusMs" | "limits"> {
  return {
    ports: choosePorts(values),
    intervalMs: values["snapshot-interval-sec"] * 1000,
    statusMs: values["status-interval-sec"] * 1000,
    limits: { maxFiles: values["max-files"], maxAgeSec: values["max-age"], maxBytes: values["max-bytes"] },
  };
}

/** Reads the config file again; `running` is what the collector runs with, and is brought up to date. */
function reload(running: CollectValues, context: Context): Reload {
  const wanted = context.resolve().values as CollectValues;
  const live = liveOptions(wanted);
  const names = Object.keys(COLLECT_OPTIONS) as (keyof CollectValues)[];
  const differing = names.filter((name) => JSON.stringify(running[name]) !== JSON.stringify(wanted[name]));
  const isLive = (name: keyof CollectValues) => "live" in COLLECT_OPTIONS[name];
  const changed = differing.filter(isLive);
  for (const name of changed) Object.assign(running, { [name]: wanted[name] });
  return { live, changed, refused: differing.filter((name) => !isLive(name)) };
}

/** systemd, if it started this process and wants to hear of it. */
function findSupervisor(environment: Record<string, string>): CollectOptions["supervisor"] {
  const { NOTIFY_SOCKET: address, WATCHDOG_USEC: watchdogUsec, WATCHDOG_PID: watchdogPid } = environment;
  if (!address) return undefined;
  const isOurs = !watchdogPid || watchdogPid === String(Deno.pid);
  const watchdogMs = watchdogUsec && isOurs ? Number(watchdogUsec) / 1000 : 0;
  return { notify: openNotify(address), watchdogMs: watchdogMs > 0 ? watchdogMs : undefined };
}
