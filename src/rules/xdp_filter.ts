/**
 * xdp-filter of xdp-tools, as a script of its commands.
 *
 * It has single addresses only. A port must never be given to it: its port and address filters are joined by "or", so
 * one would block that port for everyone.
 */
import { fit } from "./fit.ts";
import { type Format, type Rendered, tell } from "./format.ts";
import { describeEntry } from "./header.ts";

export const xdpFilter: Format = {
  name: "xdp-filter",
  title: "xdp-filter (xdp-tools)",
  can: { v6: true, cidr: false, tcpOnly: false, ports: false, expiry: false, shadow: false },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, xdpFilter.can);
    const header = tell(plan, options, {
      format: xdpFilter,
      entries,
      losses,
      apply: [
        "xdp-filter load -m native -f ipv4,ipv6 INTERFACE    (or -m skb; not where another XDP program is attached)",
        "sh ibsr.xdp-filter.sh add",
        "xdp-filter status    shows hits by address",
      ],
      undo: ["sh ibsr.xdp-filter.sh remove", "xdp-filter unload INTERFACE"],
    });
    const lines = [
      "set -eu",
      "case ${1-} in",
      "add) remove= ;;",
      "remove) remove=-r ;;",
      '*) echo "usage: sh $0 add|remove" >&2; exit 64 ;;',
      "esac",
      "# $remove is one word or none.",
      'source_address() { xdp-filter ip "$1" -m src $remove; }',
      "",
      ...entries.map((entry) => `source_address ${entry.text} # ${describeEntry(entry, 120)}`.trimEnd()),
    ];
    return {
      files: [{ name: "ibsr.xdp-filter.sh", text: `#!/bin/sh\n${header}${lines.join("\n")}\n` }],
      losses,
      entries: entries.length,
    };
  },
};
