/**
 * Ironpost: its blocklist of single IPv4 addresses, in TOML. A rule matches all that a source sends, and has no end.
 */
import { formatCount, formatNumberOf } from "../words.ts";
import { fit, type Loss } from "./fit.ts";
import { fileName, type Format, type Rendered, tell } from "./format.ts";
import { describeEntry } from "./header.ts";

/** The engine's table has room for so many. */
const MAX_RULES = 10_000;

export const ironpost: Format = {
  name: "ironpost",
  title: "Ironpost (filter rules)",
  can: { v6: false, cidr: false, tcpOnly: false, ports: false, expiry: false, shadow: true },
  render(plan, options): Rendered {
    const { entries: all, losses: lost } = fit(plan, ironpost.can), losses: Loss[] = [...lost];
    const entries = all.slice(0, MAX_RULES);
    if (all.length > MAX_RULES) {
      const text = `${formatNumberOf(all.length - MAX_RULES, "entry", "entries")} left out: the engine takes ${
        formatCount(MAX_RULES)
      }`;
      losses.push({ kind: "narrower", text });
    }
    const header = tell(plan, options, {
      format: ironpost,
      entries,
      losses,
      apply: ["put the rules into the engine's filter-rules file and restart it"],
      undo: ["take the rules ibsr-* out again and restart it"],
    });
    const rules = entries.map((entry, i) =>
      [
        "",
        "[[rules]]",
        `id = "ibsr-${String(i + 1).padStart(5, "0")}"`,
        `src_ip = "${entry.text}"`,
        `action = "${options.shadow ? "monitor" : "block"}"`,
        `description = "IBSR candidate ${describeEntry(entry, 400)}. Never expires: the engine has no end for rules"`,
        "",
      ].join("\n")
    );
    return {
      files: [{
        name: fileName("ironpost.toml", options),
        text: header + (rules.length > 0 ? rules.join("") : "\nrules = []\n"),
      }],
      losses,
      entries: entries.length,
    };
  },
};
