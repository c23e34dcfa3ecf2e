/**
 * ipset with iptables and ip6tables: sets of networks with timeouts, and a chain of its own for each family.
 *
 * Sets are filled beside those in use and swapped, because a restore isn't atomic. Sources of equal ports share a set,
 * matched by `multiport`, which takes 15 ports (a range counts as two); where ports differ too much for that they go
 * into one set of address and port, which has an element for every port.
 */
import { formatNumberOf } from "../words.ts";
import { byPorts, type Entry, fit, type Loss } from "./fit.ts";
import { fileName, type Format, ifaceLoss, type Rendered, type RenderOptions, tell } from "./format.ts";
import { describeEntry } from "./header.ts";
import { writePorts } from "./spans.ts";

/** The longest timeout of an element in seconds (UINT_MAX / 1000 / 2, linux/netfilter/ipset/ip_set_timeout.h). */
const MAX_TIMEOUT = 2_147_483;

/** Every set may hold so many; memory is taken as elements come. Fixed, so that swapped sets fit each other. */
const MAX_ELEMENTS = 1_048_576;

/** More sets of ports than this become one set of address and port, if that has no more elements than `MAX_SPREAD`. */
const MAX_GROUPS = 32, MAX_SPREAD = 262_144;

const can = { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: true, shadow: true };

/** One ipset, and the ports it is about. */
interface Group {
  name: string;
  kind: "hash:net" | "hash:net,port";
  v6: boolean;
  ports: Entry["ports"];
  entries: Entry[];
}

export const ipset: Format = {
  name: "ipset",
  title: "ipset, iptables and ip6tables",
  can,
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, can);
    const long = entries.filter(({ durationSec }) => durationSec !== null && durationSec > MAX_TIMEOUT).length;
    const lost: Loss[] = [...losses, ...ifaceLoss(plan, options.iface)];
    if (long > 0) {
      lost.unshift({
        kind: "narrower",
        text: `${formatNumberOf(long, "entry ends", "entries end")} after ${MAX_TIMEOUT} seconds, ipset's longest time`,
      });
    }
    const groups = [false, true].flatMap((v6) => groupsOf(entries.filter((entry) => entry.v6 === v6), { v6, options }));
    const chain = options.shadow ? "IBSR_SHADOW" : "IBSR";
    const header = tell(plan, options, {
      format: ipset,
      entries,
      losses: lost,
      apply: [
        `ipset restore -! < ${fileName("ipset", options)}`,
        ...["ip", "ip6"].flatMap((ip) => [
          `${ip}tables-restore --noflush < ${fileName(`${ip}tables`, options)}`,
          `${ip}tables -t raw -C PREROUTING -j ${chain} || ${ip}tables -t raw -I PREROUTING -j ${chain}`,
        ]),
        "ipset list    shows what each source has sent since",
      ],
      undo: [
        ...["ip", "ip6"].map((ip) =>
          `${ip}tables -t raw -D PREROUTING -j ${chain}; ${ip}tables -t raw -F ${chain}; ${ip}tables -t raw -X ${chain}`
        ),
        ...groups.map(({ name }) => `ipset destroy ${name}`),
      ],
    });
    return {
      files: [
        {
          name: fileName("ipset", options),
          text: header + groups.flatMap(setLines).map((line) => line + "\n").join(""),
        },
        ...[false, true].map((v6) => ({
          name: fileName(v6 ? "ip6tables" : "iptables", options),
          text: header + chainLines(groups.filter((group) => group.v6 === v6), chain, options),
        })),
      ],
      losses: lost,
      entries: entries.length,
    };
  },
};

function groupsOf(entries: Entry[], { v6, options }: { v6: boolean; options: RenderOptions }): Group[] {
  const groups = byPorts(entries), prefix = `ibsr${v6 ? 6 : 4}${options.shadow ? "s" : ""}`;
  const limited = groups.filter(({ ports }) => ports !== undefined);
  const spread = limited.reduce((sum, { ports, entries }) => {
    return sum + entries.length * ports!.reduce((n, { low, high }) => n + high - low + 1, 0);
  }, 0);
  const all = groups.filter(({ ports }) => ports === undefined)
    .map((group): Group => ({ ...group, name: `${prefix}_all`, kind: "hash:net", v6 }));
  if (limited.length > MAX_GROUPS && spread <= MAX_SPREAD) {
    const together = limited.flatMap((group) => group.entries);
    return [...all, { name: `${prefix}_ports`, kind: "hash:net,port", v6, ports: undefined, entries: together }];
  }
  return [
    ...all,
    ...limited.map((group): Group => {
      return { ...group, name: `${prefix}_${hash(writePorts(group.ports!, ",", "-"))}`, kind: "hash:net", v6 };
    }),
  ];
}

/** A name for a list of ports that stays when others come or go: FNV-1a in hexadecimal digits. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return value.toString(16).padStart(8, "0");
}

/** A set is made, filled beside the one in use, and swapped with it. */
function setLines({ name, kind, v6, entries }: Group): string[] {
  const fresh = `${name}_new`;
  const shape = `${kind} family ${v6 ? "inet6" : "inet"} maxelem ${MAX_ELEMENTS} timeout 0 counters comment`;
  return [
    `create ${name} ${shape}`,
    `create ${fresh} ${shape}`,
    `flush ${fresh}`,
    ...entries.flatMap((entry) => {
      const ports = kind === "hash:net" ? [""] : entry.ports!.map((range) => `,tcp:${writePorts([range], "", "-")}`);
      const timeout = entry.durationSec === null ? 0 : Math.min(entry.durationSec, MAX_TIMEOUT);
      const comment = describeEntry(entry, 200);
      return ports.map((port) =>
        `add ${fresh} ${entry.text}${port} timeout ${timeout}${comment ? ` comment "${comment}"` : ""}`
      );
    }),
    `swap ${fresh} ${name}`,
    `destroy ${fresh}`,
  ];
}

function chainLines(groups: readonly Group[], chain: string, { shadow, iface }: RenderOptions): string {
  const device = iface === undefined ? "" : `-i ${iface} `, verdict = shadow ? "" : " -j DROP";
  const lines = [
    "*raw",
    `:${chain} - [0:0]`,
    ...groups.flatMap(({ name, kind, ports }) => {
      const match = `-m set --match-set ${name} ${kind === "hash:net" ? "src" : "src,dst"}`;
      const parts = ports ? multiports(ports) : [undefined];
      return parts.map((part) =>
        `-A ${chain} ${device}-p tcp${part ? ` -m multiport --dports ${part}` : ""} ${match}${verdict}`
      );
    }),
    "COMMIT",
  ];
  return lines.join("\n") + "\n";
}

/** Lists of up to 15 ports; a range counts as two. */
function multiports(ports: readonly { low: number; high: number }[]): string[] {
  const lists: { low: number; high: number }[][] = [];
  let room = 0;
  for (const range of ports) {
    const needs = range.low === range.high ? 1 : 2;
    if (needs > room) {
      lists.push([]);
      room = 15;
    }
    lists.at(-1)!.push(range);
    room -= needs;
  }
  return lists.map((list) => writePorts(list, ",", ":"));
}
