/**
 * `ibsr collect`: how the values of its options become what the collector needs.
 */
import { collect, type CollectOptions, type Reload } from "../collect.ts";
import { IbsrError } from "../errors.ts";
import { defaultInterfaces } from "../interfaces.ts";
import { openNotify } from "../process.ts";
import { watchUploaded } from "../s3/ledger.ts";
import { formatNumberOf } from "../words.ts";
import type { Context } from "./command.ts";
import { COLLECT_OPTIONS, type CollectValues } from "./tables/collect.ts";
import { VERSION } from "./version.ts";

/** `ibsr collect`: returns the exit code. */
export async function runCollect(values: CollectValues, context: Context): Promise<number> {
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
      isUploaded: watchUploaded(values["out-dir"]),
    },
  }, context.signal);
  context.print(
    `${formatNumberOf(summary.snapshots, "snapshot")} of ${formatNumberOf(summary.packets, "packet")} in ${
      values["out-dir"]
    }; ${formatNumberOf(summary.unattributed, "packet")} without a source\n`,
  );
  return 0;
}

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

/**
 * The interfaces that the values name, or the default routes'.
 *
 * @throws {IbsrError} `network`, if there are none: at boot they may come later than the unit, which then tries again.
 */
export function chooseInterfaces(values: Pick<CollectValues, "iface">): string[] {
  const interfaces = values.iface.length > 0 ? [...new Set(values.iface)] : defaultInterfaces();
  if (interfaces.length > 0) return interfaces;
  throw new IbsrError("network", "Cannot choose an interface: there is no default route", {
    hint: '-i IFACE, or "iface" in the config file, names one; `ip link` lists them',
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

/** The options that say what ports are counted. */
const PORT_OPTIONS: readonly (keyof CollectValues)[] = ["dst-port", "dst-ports", "all-ports"];

/** Reads the config file again; `running` is what the collector runs with, and is brought up to date. */
function reload(running: CollectValues, context: Context): Reload {
  const wanted = context.resolve().values as CollectValues;
  const live = liveOptions(wanted);
  const names = Object.keys(COLLECT_OPTIONS) as (keyof CollectValues)[];
  // Ports are one set, however the two options list them.
  const samePorts = choosePorts(running).join() === choosePorts(wanted).join();
  const differing = names.filter((name) =>
    !(samePorts && PORT_OPTIONS.includes(name)) && JSON.stringify(running[name]) !== JSON.stringify(wanted[name])
  );
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
