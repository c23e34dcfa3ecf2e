/**
 * eBPFsentinel: deny rules of its firewall, in YAML whose values are JSON.
 *
 * The dialects differ in what they may leave out. Releases (`code`) treat an absent mode as `alert`; the older
 * documents (`seed`) say `block`: the mode is always written. Sources on all ports are matched by source alone in the
 * older documents' two-phase lookup, which finds them by longest prefix before anything else; a rule with a protocol is
 * scanned by priority. Under `code` all rules are one list by priority.
 */
import { formatCount, formatNumberOf } from "../words.ts";
import { fit, type Loss } from "./fit.ts";
import { fileName, type Format, type Rendered, tell } from "./format.ts";
import { describeEntry } from "./header.ts";
import { writePorts } from "./spans.ts";

/** The engine refuses files with more rules. */
const MAX_RULES = 4096;

/** Ports that the engine allows before any rule, unless it is configured otherwise. */
const ANTI_LOCKOUT = [22, 8080, 50051];

/** Priorities are unique and leave room before them for an operator's own rules. */
const FIRST_PRIORITY = 100;

export const ebpfsentinel: Format = {
  name: "ebpfsentinel",
  title: "eBPFsentinel (firewall section)",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: false, shadow: true },
  render(plan, options): Rendered {
    const { entries, losses: lost } = fit(plan, ebpfsentinel.can), losses: Loss[] = [...lost];
    const all = entries.flatMap((entry) => (entry.ports ?? [undefined]).map((port) => ({ entry, port })));
    const open = ANTI_LOCKOUT.filter((port) =>
      entries.some(({ ports }) => !ports || ports.some(({ low, high }) => low <= port && port <= high))
    );
    if (open.length > 0) {
      const text = `the engine's own anti-lockout rules let ports ${open.join(", ")} through first, if it has them`;
      losses.push({ kind: "narrower", text });
    }
    if (all.length > MAX_RULES) {
      const text = `${formatNumberOf(all.length - MAX_RULES, "rule")} left out: the engine takes ${
        formatCount(MAX_RULES)
      }`;
      losses.push({ kind: "narrower", text });
    }
    const rules = all.slice(0, MAX_RULES).flatMap(({ entry, port }, i) => [
      `    # ${describeEntry(entry, 160)}`.trimEnd(),
      `    - {id: "ibsr-${String(i + 1).padStart(4, "0")}", priority: ${FIRST_PRIORITY + i}, action: deny, ` +
      `protocol: tcp, src_ip: "${entry.text}${entry.text.includes("/") ? "" : entry.v6 ? "/128" : "/32"}"` +
      `${port ? `, dst_port: ${port.low === port.high ? port.low : `"${writePorts([port], "", "-")}"`}` : ""}}`,
    ]);
    const header = tell(plan, options, {
      format: { ...ebpfsentinel, title: `${ebpfsentinel.title}, dialect "${options.dialect}"` },
      entries,
      losses,
      apply: [
        "put the firewall section into the agent's configuration; an existing one gets these rules",
        "reload the agent: SIGHUP, or POST /api/v1/config/reload",
      ],
      undo: ["take the rules ibsr-* out again and reload; or DELETE /api/v1/firewall/rules/{id} for each"],
    });
    const named = options.iface === undefined ? plan.set.evidence.streams.map(({ iface }) => iface) : [options.iface];
    const interfaces = [...new Set(named)].filter((name) => /^[A-Za-z0-9_.:@-]{1,15}$/.test(name));
    const lines = [
      `agent: {interfaces: ${JSON.stringify(interfaces.length > 0 ? interfaces : ["INTERFACE"])}}`,
      "firewall:",
      "  enabled: true",
      `  mode: ${options.shadow ? "alert" : "block"}`,
      "  default_policy: pass",
      rules.length > 0 ? "  rules:" : "  rules: []",
      ...rules,
    ];
    return {
      files: [{ name: fileName("ebpfsentinel.yaml", options), text: header + lines.join("\n") + "\n" }],
      losses,
      entries: entries.length,
    };
  },
};
