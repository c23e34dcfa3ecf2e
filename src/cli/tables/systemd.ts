/**
 * What `ibsr systemd print|install|uninstall` take.
 */
import { COMMON, defineCommand } from "../command.ts";
import { flag, option, textKind } from "../options.ts";

/** What the units are made of, besides the collector's flags. */
export const UNIT_OPTIONS = {
  program: option(textKind("PATH"), {
    group: "Units",
    help: "The executable that the units start.",
    defaultHelp: "this one",
  }),
  user: option(textKind("USER"), {
    group: "Units",
    help: "An existing user to run as; needed for a spool outside /var/lib.",
    defaultHelp: "systemd makes one, DynamicUser=",
  }),
};
const ROOT_OPTION = {
  root: option(textKind("DIR"), { group: "Units", default: "/", help: "Write below DIR, to build a package." }),
};

export const SYSTEMD_PRINT_OPTIONS = { ...UNIT_OPTIONS, ...COMMON };

export const systemdPrintCommand = defineCommand({
  name: "systemd print",
  summary: "the systemd units, on standard output",
  operands: "[-- FLAGS]",
  description: "What `ibsr systemd install` would write. FLAGS are those of `ibsr collect`.",
  examples: [["ibsr systemd print -- -p 443 --compress zstd", "The collector's unit, with these flags."]],
  permissions: ["read"],
  options: SYSTEMD_PRINT_OPTIONS,
  load: async () => (await import("../systemd.ts")).runSystemdPrint,
});

export const SYSTEMD_INSTALL_OPTIONS = {
  ...UNIT_OPTIONS,
  ...ROOT_OPTION,
  force: option(flag, { group: "Units", help: "Write them although a package's units are there, which they hide." }),
  ...COMMON,
};

export const systemdInstallCommand = defineCommand({
  name: "systemd install",
  summary: "write the systemd units",
  operands: "[-- FLAGS]",
  description:
    "Writes the units with FLAGS, which are those of `ibsr collect`; without any, all comes from the config file. " +
    "Starts nothing: the next command is printed. With the Debian package, which brings its units, it refuses. To change a unit, write a drop-in (`systemctl edit`).",
  examples: [
    ["ibsr systemd install -- -p 443 --compress zstd", "Port 443, as these flags say."],
    ["ibsr systemd install", "As /etc/ibsr/ibsr.jsonc says."],
  ],
  permissions: ["read", "write"],
  options: SYSTEMD_INSTALL_OPTIONS,
  load: async () => (await import("../systemd.ts")).runSystemdInstall,
});

export const SYSTEMD_UNINSTALL_OPTIONS = { ...ROOT_OPTION, ...COMMON };

export const systemdUninstallCommand = defineCommand({
  name: "systemd uninstall",
  summary: "remove the systemd units",
  description: "Removes the units' files, once they are disabled. The spool and the config file stay.",
  examples: [["ibsr systemd uninstall", "After `systemctl disable --now ibsr.service`."]],
  permissions: ["read", "write"],
  options: SYSTEMD_UNINSTALL_OPTIONS,
  load: async () => (await import("../systemd.ts")).runSystemdUninstall,
});
