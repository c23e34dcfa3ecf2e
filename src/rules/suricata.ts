/**
 * Suricata: a rule for each list of ports and up to a hundred sources; `alert` instead of `drop` for a shadow run.
 */
import { byPorts, chunk, fit } from "./fit.ts";
import { fileName, type Format, type Rendered, tell } from "./format.ts";
import { writePorts } from "./spans.ts";

/** Sources in one rule. */
const MAX_SOURCES = 100;

/** The range that is left to local rules. */
const FIRST_SID = 9_900_001;

export const suricata: Format = {
  name: "suricata",
  title: "Suricata rules",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: false, shadow: true },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, suricata.can), name = fileName("rules", options);
    const header = tell(plan, options, {
      format: suricata,
      entries,
      losses,
      apply: [
        `suricata -T -S ${name}`,
        "add the file to rule-files in suricata.yaml, then `suricatasc -c reload-rules`; drop needs IPS mode",
      ],
      undo: ["take the file out of rule-files and reload"],
    });
    const rules = byPorts(entries).flatMap(({ ports, entries: group }) =>
      chunk(group, MAX_SOURCES).map((part) => ({ part, ports }))
    ).map(({ part, ports }, i) => {
      const ids = part.slice(0, 3).flatMap(({ rules: [rule] }) => rule ? [rule.id] : []).join(" ");
      const more = part.length > 3 ? ` and ${part.length - 3} more` : "";
      return `${options.shadow ? "alert" : "drop"} tcp [${part.map(({ text }) => text).join(",")}] any -> any ` +
        `${ports ? `[${writePorts(ports, ",", ":")}]` : "any"} (msg:"IBSR candidate ${ids}${more}"; ` +
        `sid:${FIRST_SID + i}; rev:1;)\n`;
    });
    return { files: [{ name, text: header + rules.join("") }], losses, entries: entries.length };
  },
};
