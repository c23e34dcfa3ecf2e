/**
 * Lists for everything else: one address or CIDR a line, and a table with all that is known of each.
 */
import { escapeCsv } from "../escape.ts";
import { fit } from "./fit.ts";
import { type Format, readme, type Rendered, tell } from "./format.ts";
import { describeEntry } from "./header.ts";
import { writePorts } from "./spans.ts";
import { visibleText } from "./texts.ts";

export const plain: Format = {
  name: "plain",
  title: "plain lists of addresses and CIDRs",
  can: { v6: true, cidr: true, tcpOnly: false, ports: false, expiry: false, shadow: false },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, plain.can);
    const header = tell(plan, options, {
      format: plain,
      entries,
      losses,
      apply: [
        "load the file for each family where lists of addresses are blocked; `ibsr rules -f csv` has ports and times",
      ],
      undo: ["remove the lists there"],
    });
    return {
      files: [false, true].map((v6) => ({
        name: v6 ? "ibsr.v6.txt" : "ibsr.v4.txt",
        text: header + entries.filter((entry) => entry.v6 === v6)
          .map((entry) => `${entry.text} # ${describeEntry(entry, 120)}`.trimEnd() + "\n").join(""),
      })),
      losses,
      entries: entries.length,
    };
  },
};

const COLUMNS = [
  "source",
  "family",
  "protocol",
  "ports",
  "duration_sec",
  "rules",
  "policy_rule",
  "class",
  "would_block_packets_lower",
  "would_block_packets_upper",
  "would_block_bytes_upper",
  "would_block_syn_upper",
  "reason",
];

export const csv: Format = {
  name: "csv",
  title: "CSV with all that is known",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: true, shadow: false },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, csv.can);
    const rows = entries.map((entry) => {
      const { rules, durationSec } = entry;
      const sum = (of: (rule: typeof rules[number]) => number) => rules.reduce((total, rule) => total + of(rule), 0);
      return [
        entry.text,
        entry.v6 ? "ipv6" : "ipv4",
        "tcp",
        entry.ports ? writePorts(entry.ports, " ", "-") : "all",
        durationSec ?? "never",
        rules.map(({ id }) => id).join(" "),
        visibleText([...new Set(rules.map((rule) => rule.policy_rule))].join(" "), 500),
        [...new Set(rules.map((rule) => rule.class))].join(" "),
        sum((rule) => rule.would_block.packets.lower),
        sum((rule) => rule.would_block.packets.upper),
        sum((rule) => rule.would_block.bytes.upper),
        sum((rule) => rule.would_block.syn.upper),
        visibleText(rules[0]?.reason ?? "", 1000),
      ];
    });
    return {
      files: [
        { name: "ibsr.csv", text: [COLUMNS, ...rows].map((row) => row.map(escapeCsv).join(",") + "\n").join("") },
        readme(plan, options, {
          format: csv,
          entries,
          losses,
          apply: ["for reading and for scripts; cells that begin like a formula are quoted with '"],
          undo: ["nothing to undo"],
        }),
      ],
      losses,
      entries: entries.length,
    };
  },
};
