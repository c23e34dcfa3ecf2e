/**
 * What `ibsr fleet report` takes.
 */
import { expectedPort } from "../blocked_ports.ts";
import { COMMON, defineCommand } from "../command.ts";
import { choiceKind, integerKind, type Kind, option, sizeKind, textKind } from "../options.ts";
import { GATE_OPTIONS, POLICY_OPTIONS, REPORT_OPTIONS } from "./report.ts";

/** An engine, as it is named. */
export type EngineName = "embedded" | { url: URL; user: string; hasPassword: boolean };

const engineKind: Kind<EngineName> = {
  metavar: "ENGINE",
  json: ["string"],
  parse: (text) => {
    if (text === "embedded") return { value: text };
    const url = URL.parse(text);
    // What is refused is shown: a password must not be refused here.
    const hasPassword = /^[^/]*:\/\/[^/]*:[^/]*@/.test(text);
    if (hasPassword) return { value: { url: new URL("http://localhost"), user: "", hasPassword } };
    if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash) {
      return { expected: "embedded, http://[USER@]HOST[:PORT] or https://[USER@]HOST[:PORT]" };
    }
    const expected = expectedPort(url);
    if (expected !== undefined) return { expected };
    const user = decodeURIComponent(url.username) || "default";
    url.username = "";
    return { value: { url, user, hasPassword } };
  },
};

/** A time: RFC 3339, or parts of it, in UTC unless it says otherwise. */
const timeKind: Kind<number> = {
  metavar: "TIME",
  json: ["string"],
  parse: (text) => {
    const expected = "a time such as 2026-11-21, 2026-11-21T03:00 or 2026-11-21T03:00:00+01:00";
    const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
    const value = match ? Date.parse(`${match[1]}T${match[2] ?? "00:00"}${match[3] ?? "Z"}`) : NaN;
    // The 30th of February is the 2nd of March to Date.parse() of some.
    const isDay = match && !Number.isNaN(value) && new Date(`${match[1]}T00:00Z`).toISOString().startsWith(match[1]!);
    return isDay ? { value } : { expected };
  },
};

/** Which engine, and what it may use. */
export const ENGINE_OPTIONS = {
  engine: option(engineKind, {
    group: "Engine",
    default: "embedded",
    help: "ClickHouse in this process, or a server's HTTP interface. Its password is in IBSR_ENGINE_PASSWORD, " +
      "CLICKHOUSE_PASSWORD, or --engine-password-file.",
  }),
  "engine-password-file": option(textKind("FILE"), {
    group: "Engine",
    help: "File with the password of ENGINE's user.",
  }),
  "ca-file": option(textKind("FILE"), {
    group: "Engine",
    help: "For https: certificates (PEM) to trust besides the system's.",
  }),
  cluster: option(textKind("NAME"), {
    group: "Engine",
    help: "For a server: spread reading over this cluster of its.",
  }),
  chdb: option(textKind("PATH"), {
    group: "Engine",
    help: "libchdb.so for the embedded engine.",
    defaultHelp: "IBSR_CHDB, or where npm installs it",
  }),
  "max-memory": option(sizeKind(1 << 28), {
    group: "Engine",
    help: "Memory for the engine; what needs more is spilled to disk where that can be done.",
    defaultHelp: "4G; a server's own limit",
  }),
  threads: option(integerKind("N", 1, 1024), {
    group: "Engine",
    help: "Threads of the engine.",
    defaultHelp: "one a processor; a server's own limit",
  }),
  "temp-dir": option(textKind("DIR"), {
    group: "Engine",
    help: "Where the embedded engine keeps its tables while it works, and spills.",
    defaultHelp: "TMPDIR, /tmp",
  }),
  "s3-keys": option(choiceKind("WHOSE", ["ours", "engine"]), {
    group: "Engine",
    default: "ours",
    help: "Whose keys read s3://: those found here, which are sent to the engine, or the engine's own.",
  }),
};

/** Which part of the evidence. */
export const CHOICE_OPTIONS = {
  host: option(textKind("HOST"), {
    group: "Evidence",
    repeat: true,
    help: "These hosts only; other hosts' objects (host=…) are not read.",
  }),
  from: option(timeKind, {
    group: "Evidence",
    help: "Intervals that end after this time (UTC); older objects are not read.",
  }),
  to: option(timeKind, { group: "Evidence", help: "Intervals that end until this time; later objects are not read." }),
};

export const FLEET_REPORT_OPTIONS = {
  ...REPORT_OPTIONS,
  ...CHOICE_OPTIONS,
  ...ENGINE_OPTIONS,
  ...POLICY_OPTIONS,
  ...GATE_OPTIONS,
  ...COMMON,
};

export const fleetReportCommand = defineCommand({
  name: "fleet report",
  summary: "the report of a whole fleet, computed by ClickHouse",
  operands: "[PATH…]",
  description:
    "Computes what ibsr report computes, to the last digit, in SQL: by ClickHouse as a library in this process, or by a " +
    "server. Snapshots are read where they lie; with --host, --from and --to, only the objects that hold them. A bucket is " +
    "read by the engine, with this host's keys (as bound values that it doesn't log) or its own.",
  examples: [
    ["ibsr fleet report --in s3://evidence/ibsr/ --out report", "A fleet's bucket, on this machine."],
    [
      "ibsr fleet report -i s3://e/ibsr/ -o report --engine https://ibsr@ch:8443",
      "The same on a server, which reads the bucket itself.",
    ],
    [
      "ibsr fleet report -i s3://e/ibsr/ -o r --host web-1 --from 2026-11-20",
      "One host, from a day on: nothing else is read.",
    ],
  ],
  permissions: ["read", "write", "env", "sys", "net", "run", "ffi"],
  options: FLEET_REPORT_OPTIONS,
  load: async () => (await import("../fleet.ts")).runFleetReport,
});
