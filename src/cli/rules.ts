/**
 * `ibsr rules`: candidate rules of a report in a format that is enforced elsewhere. It writes files and changes nothing.
 */
import { IbsrError, nearest } from "../errors.ts";
import { fileError } from "../files.ts";
import { readHostAddresses } from "../rules/lockout.ts";
import { log } from "../log.ts";
import type { Abilities } from "../rules/fit.ts";
import type { Format, Rendered } from "../rules/format.ts";
import { FORMATS } from "../rules/formats.ts";
import { normalise, type Plan, type Protected } from "../rules/normalise.ts";
import { MAX_BYTES, parseRuleSet } from "../rules/read.ts";
import { plainText } from "../rules/texts.ts";
import { formatNumberOf } from "../words.ts";
import type { Context } from "./command.ts";
import { readAllowlists, readWhole } from "./named_files.ts";
import type { Values } from "./options.ts";
import type { RULES_OPTIONS } from "./tables/rules.ts";

/** `ibsr rules`: returns the exit code. */
export function runRules(values: Values<typeof RULES_OPTIONS>, { print, environment }: Context): number {
  if (values["list-formats"]) {
    const formats = FORMATS.map(({ name, title, can: { tcpOnly, ...can } }) => ({
      ...{ name, title, can: { ...can, tcp_only: tcpOnly } },
    }));
    print(values.json ? JSON.stringify(formats, null, 2) + "\n" : listFormats());
    return 0;
  }
  const format = chooseFormat(values.format);
  if (values.shadow && !format.can.shadow) {
    throw new IbsrError("usage", `Cannot write a shadow variant: ${format.name} has none`, {
      hint: `formats with one: ${FORMATS.filter((f) => f.can.shadow).map((f) => f.name).join(", ")}`,
    });
  }
  if (values["block-duration-sec"] !== undefined && !format.can.expiry) {
    throw new IbsrError("usage", `Cannot say how long entries last: ${format.name} has no end for them`, {
      hint: `formats with one: ${FORMATS.filter((f) => f.can.expiry).map((f) => f.name).join(", ")}`,
    });
  }
  const set = parseRuleSet(
    readWhole(values.from, { mostBytes: MAX_BYTES, gone: "`ibsr report` writes rules.json; --from names it" }),
    values.from,
  );
  const hostChecked = !values["no-host-check"];
  const plan = normalise(set, {
    allowlist: readAllowlists(values.allowlist).prefixes,
    protected: [
      ...values.protect.map((prefix): Protected => ({ prefix, why: "what --protect names:" })),
      ...hostChecked ? readHostAddresses(environment) : [],
    ],
    widest: { v4: values["widest-v4"], v6: values["widest-v6"] },
    durationSec: values["block-duration-sec"],
  });
  const { shadow, iface, dialect } = values;
  const rendered = format.render(plan, { shadow, iface, dialect, hostChecked });
  writeFiles(rendered, { format, out: values.out, print });
  warn(plan, rendered);
  return plan.leftOut.some(({ kind }) => kind !== "allowlist") ? 1 : 0;
}

/** What people call a format that has another name here. */
const ALIASES: Record<string, string> = {
  iptables: "ipset, whose files hold the iptables rules",
  ip6tables: "ipset, whose files hold the ip6tables rules",
  nft: "nftables",
};

function chooseFormat(name: string | undefined): Format {
  const format = FORMATS.find((f) => f.name === name);
  if (format) return format;
  const near = name === undefined
    ? undefined
    : ALIASES[name.toLowerCase()] ?? nearest(name, FORMATS.map((f) => f.name));
  const state = name === undefined ? "no --format was given" : `there is no format ${JSON.stringify(name)}`;
  throw new IbsrError("usage", `Cannot write rules: ${state}`, {
    hint: near ? `did you mean ${near}?` : "`ibsr rules --list-formats` shows them",
  });
}

/** A table of formats and abilities. */
function listFormats(): string {
  const columns: Record<keyof Abilities, string> = {
    v6: "IPv6",
    cidr: "CIDR",
    ports: "ports",
    tcpOnly: "TCP only",
    expiry: "expiry",
    shadow: "shadow",
  };
  const keys = Object.keys(columns) as (keyof Abilities)[];
  const rows = FORMATS.map(({ name, title, can }) => [name, ...keys.map((key) => can[key] ? "yes" : "-"), title]);
  const table = [["FORMAT", ...keys.map((key) => columns[key]), "WHAT IT IS"], ...rows];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  return table.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd() + "\n").join("");
}

/** Where the files go. */
interface Target {
  format: Format;
  out: string;
  print(text: string): void;
}

function writeFiles({ files }: Rendered, { format, out, print }: Target): void {
  if (out === "-") {
    const [only, ...more] = files.filter(({ name }) => !name.endsWith(".README.txt"));
    if (!only || more.length > 0) {
      throw new IbsrError("usage", `Cannot write ${format.name} to standard output: it is ${files.length} files`, {
        hint: `ibsr rules -f ${format.name} --out DIR`,
      });
    }
    return print(only.text);
  }
  try {
    Deno.mkdirSync(out, { recursive: true });
    for (const { name, text } of files) {
      const path = `${out}/${name}`;
      Deno.writeTextFileSync(`${path}.tmp`, text);
      Deno.renameSync(`${path}.tmp`, path);
      print(`${path}\n`);
    }
  } catch (cause) {
    throw fileError(`write below ${out}`, cause);
  }
}

/** Says on standard error what the files are not. */
function warn({ set, leftOut }: Plan, { losses }: Rendered): void {
  if (set.verdict !== "READY") log("warning", `the report's verdict is ${set.verdict}: don't enforce these rules`);
  const loud = leftOut.filter(({ kind }) => kind !== "allowlist");
  for (const { rule, kind, reason } of loud.slice(0, 50)) {
    const what = `${rule.id} (${plainText(rule.source, 60)}) is left out: ${plainText(reason, 300)}`;
    if (kind === "lockout") log("error", `WOULD LOCK OUT: ${what}`);
    else log("warning", what);
  }
  if (loud.length > 50) log("warning", `and ${formatNumberOf(loud.length - 50, "more rule")} left out`);
  for (const { kind, text } of losses) {
    log(
      kind === "note" ? "info" : "warning",
      kind === "note" ? plainText(text, 400) : `${kind} than simulated: ${plainText(text, 400)}`,
    );
  }
}
