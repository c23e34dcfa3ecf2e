/**
 * CrowdSec decisions for `cscli decisions import`, as JSON and as CSV.
 *
 * A decision is about an address or a range and has a duration; a reason, which decisions can be deleted by. Ports, and
 * whether to drop at all, are the bouncer's.
 */
import { escapeCsv } from "../escape.ts";
import { formatNumberOf } from "../words.ts";
import { type Abilities, type Entry, fit, type Loss } from "./fit.ts";
import { type Format, jsonText, readme, type Rendered, type RenderOptions } from "./format.ts";
import type { Plan } from "./normalise.ts";
import { policyTag } from "./texts.ts";

const can: Abilities = { v6: true, cidr: true, tcpOnly: false, ports: false, expiry: true, shadow: false };

/** A decision needs a duration: ten years stand for "for good". */
const FOR_GOOD_HOURS = 87_600;

/** A decision as `cscli` reads it. */
interface Decision {
  duration: string;
  scope: "ip" | "range";
  value: string;
  type: "ban";
  reason: string;
}

/** One reason for all: decisions are deleted by it. What is known of each source is in the format csv. */
function reasonOf({ set }: Plan): string {
  return `ibsr/candidates-${policyTag(set, 12)}`;
}

function decisionOf(entry: Entry, reason: string): Decision {
  return {
    duration: entry.durationSec === null ? `${FOR_GOOD_HOURS}h` : `${entry.durationSec}s`,
    scope: entry.text.includes("/") ? "range" : "ip",
    value: entry.text,
    type: "ban",
    reason,
  };
}

function prepare(plan: Plan): { entries: Entry[]; losses: Loss[] } {
  const { entries, losses } = fit(plan, can), forGood = entries.filter((entry) => entry.durationSec === null).length;
  if (forGood === 0) return { entries, losses };
  const text = `${formatNumberOf(forGood, "entry", "entries")} for good end after ten years`;
  return { entries, losses: [...losses, { kind: "narrower", text }] };
}

function finish(plan: Plan, options: RenderOptions, of: ReturnType<typeof prepare> & { format: Format }): Rendered {
  const { format, entries, losses } = of, file = format === crowdsecCsv ? "ibsr.crowdsec.csv" : "ibsr.crowdsec.json";
  const reason = reasonOf(plan), decisions = entries.map((entry) => decisionOf(entry, reason));
  const rows = decisions.map((d) => [d.duration, d.scope, d.value, d.type, d.reason].map(escapeCsv).join(","));
  const text = format === crowdsecCsv
    ? ["duration,scope,value,type,reason", ...rows].map((row) => row + "\n").join("")
    : jsonText(decisions);
  const told = {
    apply: [`cscli decisions import -i ${file}`, "cscli decisions list -a    (1.4 shows networks with the scope Ip)"],
    undo: [`cscli decisions delete --scenario ${reason}`],
  };
  return {
    files: [{ name: file, text }, readme(plan, options, { format, entries, losses, ...told })],
    losses,
    entries: entries.length,
  };
}

export const crowdsecJson: Format = {
  name: "crowdsec",
  title: "CrowdSec decisions (JSON)",
  can,
  render: (plan, options) => finish(plan, options, { ...prepare(plan), format: crowdsecJson }),
};

export const crowdsecCsv: Format = {
  name: "crowdsec-csv",
  title: "CrowdSec decisions (CSV)",
  can,
  render: (plan, options) => finish(plan, options, { ...prepare(plan), format: crowdsecCsv }),
};
