/**
 * `ibsr systemd print|install|uninstall`: the units with the operator's own flags. Files are written and removed;
 * nothing is enabled, started or stopped, and the next command is printed instead.
 */
import { IbsrError, reason } from "../errors.ts";
import { parentOf, removeIfThere, replaceFile } from "../files.ts";
import { isStateDirectory, renderUnits, type Unit } from "../systemd.ts";
import { choosePorts } from "./collect.ts";
import type { Context } from "./command.ts";
import { onlyConfig, resolveCommand } from "./layers.ts";
import { type Layer, readArguments, type Values } from "./options.ts";
import { COLLECT_OPTIONS, type CollectValues } from "./tables/collect.ts";
import { EXPORT_OPTIONS, exportCommand } from "./tables/export.ts";
import type {
  SYSTEMD_INSTALL_OPTIONS,
  SYSTEMD_PRINT_OPTIONS,
  SYSTEMD_UNINSTALL_OPTIONS,
  UNIT_OPTIONS,
} from "./tables/systemd.ts";

const PLACE = "etc/systemd/system";
/** Where a package puts its units; one that is both is found by the first. */
const PACKAGED = ["lib/systemd/system", "usr/lib/systemd/system"];
const ALL_UNITS = ["ibsr.service", "ibsr-export.service", "ibsr-export.timer"];

/** `ibsr systemd print`: returns the exit code. */
export function runSystemdPrint(values: Values<typeof SYSTEMD_PRINT_OPTIONS>, context: Context): number {
  const { units } = makeUnits(values, context);
  for (const { name, text } of units) context.print(`# /${PLACE}/${name}\n${text}\n`);
  return 0;
}

/** `ibsr systemd install`: returns the exit code. */
export function runSystemdInstall(values: Values<typeof SYSTEMD_INSTALL_OPTIONS>, context: Context): number {
  const { units, collect, bucket } = makeUnits(values, context);
  if (values.root === "/") choosePorts(collect);
  const directory = directoryBelow(values.root);
  if (!values.force) refuseOverPackage(values.root);
  for (const { name, text } of units) {
    write(`${directory}/${name}`, text);
    context.print(`wrote ${directory}/${name}\n`);
  }
  if (values.root !== "/") return 0;
  const timer = bucket === undefined ? "" : " ibsr-export.timer";
  context.print(`next: systemctl daemon-reload && systemctl enable --now ibsr.service${timer}\n`);
  if (timer === "") {
    context.print(`ibsr-export.timer wants a bucket first: "export s3": { "bucket": … } in the config file\n`);
  }
  return 0;
}

/** `ibsr systemd uninstall`: returns the exit code. */
export function runSystemdUninstall(values: Values<typeof SYSTEMD_UNINSTALL_OPTIONS>, context: Context): number {
  const directory = directoryBelow(values.root);
  const enabled = ALL_UNITS.filter((name) =>
    ["multi-user.target.wants", "timers.target.wants"].some((wants) => isLink(`${directory}/${wants}/${name}`))
  );
  if (enabled.length > 0) {
    throw new IbsrError("usage", `Cannot remove ${enabled.join(", ")}: still enabled`, {
      hint: `\`systemctl disable --now ${enabled.join(" ")}\``,
    });
  }
  const removed = ALL_UNITS.filter((name) => remove(`${directory}/${name}`));
  for (const name of removed) context.print(`removed ${directory}/${name}\n`);
  if (removed.length === 0) context.print(`no unit of ibsr is in ${directory}\n`);
  else if (values.root === "/") context.print("next: systemctl daemon-reload\n");
  return 0;
}

/** Units of a package would be hidden by these, without a word, and its user and spool with them. */
function refuseOverPackage(root: string): void {
  const packaged = PACKAGED.flatMap((place) => ALL_UNITS.map((name) => `${belowRoot(root, place)}/${name}`)).find(
    isThere,
  );
  if (packaged === undefined) return;
  throw new IbsrError(
    "usage",
    `Cannot install the units: a package's are there (${packaged}), and these would hide them`,
    {
      hint:
        "`systemctl enable --now ibsr.service` starts the package's, `systemctl edit` changes them; --force writes anyway",
    },
  );
}

/** The units for FLAGS; those are checked as `ibsr collect` checks them. */
function makeUnits(
  values: Values<typeof UNIT_OPTIONS>,
  { operands: flags, commands }: Context,
): { units: Unit[]; collect: CollectValues; bucket: string | undefined } {
  const { layer, operands } = readArguments(COLLECT_OPTIONS, flags);
  if (operands.length > 0) {
    throw new IbsrError("usage", `Cannot make the unit: "${operands[0]}" is no option of ibsr collect`, {
      hint: "ibsr systemd install -- -p 443",
    });
  }
  const context = { commands, environment: {} }; // the unit has none
  const { values: collect } = resolveCommand({ name: "collect", options: COLLECT_OPTIONS }, layer, context);
  if (collect.user !== undefined) {
    throw new IbsrError("usage", "Cannot make the unit: --user is for a collector that is started as root", {
      hint: "ibsr systemd install --user USER -- FLAGS",
    });
  }
  for (const name of ["out-dir", "metrics-textfile", "config"] as const) {
    const path = collect[name];
    if (path !== undefined && !path.startsWith("/")) {
      throw new IbsrError("usage", `Cannot make the unit: --${name} "${path}" is relative`, {
        hint: "a unit has no working directory: begin it with /",
      });
    }
  }
  if (values.user === undefined && !isStateDirectory(collect["out-dir"])) {
    throw new IbsrError("usage", `Cannot make the unit: a user that systemd makes can't own ${collect["out-dir"]}`, {
      hint: "--user USER names one that exists; or use a spool below /var/lib",
    });
  }
  const metrics = collect["metrics-textfile"];
  const units = renderUnits({
    program: [findProgram(values.program)],
    collect: flags,
    exports: [...exportCommand.name.split(" "), ...forExport(layer)],
    directory: collect["out-dir"],
    writable: metrics === undefined ? [] : [parentOf(metrics)],
    user: values.user,
  });
  const exported = { name: exportCommand.name, options: EXPORT_OPTIONS };
  const { bucket } = resolveCommand(exported, onlyConfig(collect.config), context).values;
  return { units, collect, bucket };
}

/** Of the collector's flags those that the export must have too, to find the same spool. */
function forExport({ texts }: Layer): string[] {
  return (["out-dir", "config"] as const).flatMap((name) => texts[name] ? [`--${name}`, texts[name].at(-1)!] : []);
}

function findProgram(named: string | undefined): string {
  const program = named ?? Deno.execPath();
  if (named === undefined && /(^|\/)deno$/.test(program)) {
    throw new IbsrError("usage", "Cannot name the program in the unit: ibsr runs from source", {
      hint: "--program /usr/bin/ibsr names the executable",
    });
  }
  if (program.startsWith("/")) return program;
  throw new IbsrError("usage", `Cannot name the program in the unit: "${program}" is relative`);
}

function directoryBelow(root: string): string {
  return belowRoot(root, PLACE);
}

function belowRoot(root: string, place: string): string {
  return `${root.replace(/\/+$/, "")}/${place}`;
}

function write(path: string, text: string): void {
  try {
    Deno.mkdirSync(parentOf(path), { recursive: true });
    replaceFile(path, text);
  } catch (cause) {
    throw fileError(`write ${path}`, cause);
  }
}

function remove(path: string): boolean {
  try {
    return removeIfThere(path);
  } catch (cause) {
    throw fileError(`remove ${path}`, cause);
  }
}

function fileError(action: string, cause: unknown): IbsrError {
  const kind = cause instanceof Deno.errors.PermissionDenied ? "permission" : "storage";
  return new IbsrError(kind, `Cannot ${action}: ${reason(cause)}`, { cause });
}

/** Whether there is a file: what can't be looked at is taken as there. */
function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (cause) {
    return !(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory);
  }
}

function isLink(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSymlink;
  } catch {
    return false;
  }
}
