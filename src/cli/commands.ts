/**
 * All commands: their tables. What they do is read when they run.
 */
import type { Command } from "./command.ts";
import { collectCommand } from "./tables/collect.ts";
import { configCheckCommand, configShowCommand } from "./tables/config.ts";
import { convertCommand } from "./tables/convert.ts";
import { exportCommand } from "./tables/export.ts";
import { fleetReportCommand } from "./tables/fleet.ts";
import { fleetSchemaCommand } from "./tables/fleet_schema.ts";
import { checkCommand, statusCommand } from "./tables/host.ts";
import { policyCheckCommand } from "./tables/policy.ts";
import { completionsCommand, manCommand, versionCommand } from "./tables/program.ts";
import { replayCommand } from "./tables/replay.ts";
import { reportCommand } from "./tables/report.ts";
import { rulesCommand } from "./tables/rules.ts";
import { safetyCommand } from "./tables/safety.ts";
import { simulateCommand } from "./tables/simulate.ts";
import { systemdInstallCommand, systemdPrintCommand, systemdUninstallCommand } from "./tables/systemd.ts";

/** All commands, in the order of `ibsr --help`. */
export const COMMANDS: readonly Command[] = [
  collectCommand,
  checkCommand,
  statusCommand,
  safetyCommand,
  replayCommand,
  reportCommand,
  ...[fleetReportCommand, fleetSchemaCommand],
  rulesCommand,
  simulateCommand,
  policyCheckCommand,
  convertCommand,
  exportCommand,
  ...[configCheckCommand, configShowCommand],
  ...[systemdInstallCommand, systemdPrintCommand, systemdUninstallCommand],
  ...[completionsCommand, manCommand, versionCommand],
];
