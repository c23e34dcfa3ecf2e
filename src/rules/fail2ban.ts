/**
 * fail2ban: a jail for each duration and list of ports, and a script that bans the sources in them.
 *
 * Jails read a log that nothing writes, and get their bans from the script: bans from a log would count from the log's
 * own times. Single addresses only: fail2ban lists a network as banned although its action fails. The jails use
 * fail2ban's own nftables action with `drop`, or for a shadow run with `counter`.
 */
import { formatNumberOf } from "../words.ts";
import { chunk, type Entry, fit, type Loss } from "./fit.ts";
import { fileName, type Format, type Rendered, tell } from "./format.ts";
import { keyOf, writePorts } from "./spans.ts";

/** Addresses in one command line. */
const PER_COMMAND = 100;

/** fail2ban adds up times of ban and deadline as C longs of seconds; a jail of ten years is for good. */
const MAX_BANTIME = 315_360_000;

const LOG = "/var/log/ibsr-candidates.log";

export const fail2ban: Format = {
  name: "fail2ban",
  title: "fail2ban (1.0 or later, with nftables)",
  can: { v6: true, cidr: false, tcpOnly: true, ports: true, expiry: true, shadow: true },
  render(plan, options): Rendered {
    const { entries, losses: lost } = fit(plan, fail2ban.can), jails = jailsOf(entries, options.shadow);
    const long = entries.filter(({ durationSec }) => (durationSec ?? 0) > MAX_BANTIME).length;
    const losses: Loss[] = [...lost];
    if (long > 0) {
      losses.push({ kind: "wider", text: `${formatNumberOf(long, "entry", "entries")} of over ten years never end` });
    }
    if (jails.length > 50) {
      losses.push({ kind: "note", text: `${jails.length} jails: one for each time and port list` });
    }
    // Under /etc/fail2ban too: the shadow's files go without those that ban.
    const name = options.shadow ? "ibsr-shadow" : "ibsr", script = fileName("fail2ban.sh", options);
    const filter = fileName("filter.conf", options), jail = fileName("jail.conf", options);
    const header = tell(plan, options, {
      format: fail2ban,
      entries,
      losses,
      apply: [
        `touch ${LOG}`,
        `cp ${filter} /etc/fail2ban/filter.d/${name}.conf && cp ${jail} /etc/fail2ban/jail.d/${name}.conf`,
        "fail2ban-client -t && fail2ban-client reload",
        `sh ${script} ban`,
      ],
      undo: [
        `sh ${script} unban`,
        `rm /etc/fail2ban/jail.d/${name}.conf /etc/fail2ban/filter.d/${name}.conf && fail2ban-client reload`,
      ],
    });
    const filterLines = [
      "[Definition]",
      "# Lines such as: 2026-11-21T00:49:04Z ibsr candidate src=192.0.2.7",
      "failregex = ^\\s*ibsr candidate src=<SUBNET>(?:\\s|$)",
      "ignoreregex =",
    ];
    const config = jails.flatMap(({ name: jailName, entries: [first] }) => [
      `[${jailName}]`,
      "enabled = true",
      `filter = ${name}`,
      "backend = polling",
      `logpath = ${LOG}`,
      "maxretry = 1",
      "findtime = 1d",
      `bantime = ${bantime(first!)}`,
      "protocol = tcp",
      ...first!.ports ? [`port = ${writePorts(first!.ports, ",", ":")}`] : [],
      `action = nftables[type=${first!.ports ? "multiport" : "allports"}, name=%(__name__)s, ` +
      `${first!.ports ? 'port="%(port)s", ' : ""}protocol=tcp, blocktype=${options.shadow ? "counter" : "drop"}]`,
      "",
    ]);
    const commands = [
      "set -eu",
      "case ${1-} in",
      "ban) verb=banip ;;",
      "unban) verb=unbanip ;;",
      '*) echo "usage: sh $0 ban|unban" >&2; exit 64 ;;',
      "esac",
      ...jails.flatMap(({ name: jailName, entries: all }) =>
        chunk(all, PER_COMMAND).map((part) =>
          `fail2ban-client set ${jailName} "$verb" ${part.map(({ text }) => text).join(" ")}`
        )
      ),
    ];
    return {
      files: [
        { name: jail, text: `${header}\n${config.join("\n")}` },
        { name: filter, text: `${header}\n${filterLines.join("\n")}\n` },
        { name: script, text: `#!/bin/sh\n${header}${commands.join("\n")}\n` },
      ],
      losses,
      entries: entries.length,
    };
  },
};

function bantime({ durationSec }: Entry): number {
  return durationSec === null || durationSec > MAX_BANTIME ? -1 : durationSec;
}

/** Entries of one duration and one list of ports; no two jails of one source. */
function jailsOf(entries: readonly Entry[], shadow: boolean): { name: string; entries: Entry[] }[] {
  const groups = Map.groupBy(entries, (entry) => {
    return `${bantime(entry)} ${entry.ports ? keyOf(entry.ports.map((p) => ({ ...p, durationSec: 0 }))) : ""}`;
  });
  return [...groups.values()].map((group, i) => ({ name: `ibsr-${shadow ? "shadow-" : ""}${i + 1}`, entries: group }));
}
