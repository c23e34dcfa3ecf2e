/**
 * nftables, as text and as JSON: one table that is replaced in one transaction.
 *
 * Sources blocked on all ports are in one set for IPv4 and IPv6 each, those on some ports in a set of address and port.
 * Elements have timeouts and counters of their own: what a source really sent is read back by element. There is no
 * auto-merge, which would give neighbours the longest timeout among them; the plan has no overlaps. The chain is before
 * connection tracking, so that established connections end too.
 */
import { type Entry, fit, type Loss } from "./fit.ts";
import {
  fileName,
  type Format,
  ifaceLoss,
  jsonText,
  readme,
  type Rendered,
  type RenderOptions,
  tell,
} from "./format.ts";
import { describeEntry } from "./header.ts";
import type { Plan } from "./normalise.ts";
import { writePorts } from "./spans.ts";

/** The kernel takes comments of up to 128 bytes; room is left for the ending NUL. */
const MAX_COMMENT = 120;

const can = { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: true, shadow: true };

/** One set of the table: what it holds and how packets are looked up in it. */
interface NftSet {
  name: string;
  v6: boolean;
  withPorts: boolean;
  entries: Entry[];
}

function setsOf(entries: readonly Entry[]): NftSet[] {
  return [false, true].flatMap((v6) =>
    [false, true].map((withPorts) => ({
      name: `${withPorts ? "ports" : "sources"}${v6 ? 6 : 4}`,
      v6,
      withPorts,
      entries: entries.filter((entry) => entry.v6 === v6 && (entry.ports !== undefined) === withPorts),
    }))
  ).filter((set) => set.entries.length > 0);
}

function tableName({ shadow }: RenderOptions): string {
  return shadow ? "ibsr_shadow" : "ibsr";
}

function commands(command: string, options: RenderOptions) {
  const table = `table inet ${tableName(options)}`;
  return {
    apply: [
      `${command.replace("nft", "nft -c")}    checks it`,
      `${command}    replaces the whole of ${table} in one step`,
      `nft list ${table}    shows what each source has sent since`,
    ],
    undo: [`nft delete ${table}`],
  };
}

function prepare(plan: Plan, options: RenderOptions): { entries: Entry[]; losses: Loss[] } {
  const { entries, losses } = fit(plan, can);
  return { entries, losses: [...losses, ...ifaceLoss(plan, options.iface)] };
}

export const nftables: Format = {
  name: "nftables",
  title: "nftables",
  can,
  render(plan, options): Rendered {
    const { entries, losses } = prepare(plan, options), table = `inet ${tableName(options)}`;
    const sets = setsOf(entries), header = { format: nftables, entries, losses }, name = fileName("nft", options);
    const iface = options.iface === undefined ? "" : `iifname "${options.iface}" `;
    const lines = [
      `table ${table}`,
      `delete table ${table}`,
      `table ${table} {`,
      ...sets.flatMap((set) => [
        `\tset ${set.name} {`,
        `\t\ttype ${set.v6 ? "ipv6_addr" : "ipv4_addr"}${set.withPorts ? " . inet_service" : ""}`,
        "\t\tflags interval, timeout",
        "\t\tcounter",
        "\t\telements = {",
        set.entries.flatMap(elements).join(",\n"),
        "\t\t}",
        "\t}",
      ]),
      "\tchain prerouting {",
      "\t\ttype filter hook prerouting priority raw; policy accept;",
      ...sets.map(({ name, v6, withPorts }) => {
        const address = `${v6 ? "ip6" : "ip"} saddr`;
        const match = withPorts ? `${address} . tcp dport @${name}` : `meta l4proto tcp ${address} @${name}`;
        return `\t\t${iface}${match} counter${options.shadow ? "" : " drop"}`;
      }),
      "\t}",
      "}",
    ];
    const text = tell(plan, options, { ...header, ...commands(`nft -f ${name}`, options) });
    return { files: [{ name, text: text + lines.join("\n") + "\n" }], losses, entries: entries.length };
  },
};

/** The elements of an entry: one, or one for each of its ports. */
function elements(entry: Entry): string[] {
  const ports = entry.ports?.map((range) => ` . ${writePorts([range], "", "-")}`) ?? [""];
  const timeout = entry.durationSec === null ? "" : ` timeout ${entry.durationSec}s`;
  const comment = describeEntry(entry, MAX_COMMENT);
  return ports.map((port) => `\t\t\t${entry.text}${port}${timeout}${comment ? ` comment "${comment}"` : ""}`);
}

export const nftablesJson: Format = {
  name: "nftables-json",
  title: "nftables, as libnftables' JSON",
  can,
  render(plan, options): Rendered {
    const { entries, losses } = prepare(plan, options), file = fileName("nft.json", options);
    const family = "inet", table = tableName(options), chain = "prerouting", sets = setsOf(entries);
    const objects = [
      { add: { table: { family, name: table } } },
      { delete: { table: { family, name: table } } },
      { add: { table: { family, name: table } } },
      { add: { chain: { family, table, name: chain, type: "filter", hook: chain, prio: -300, policy: "accept" } } },
      ...sets.flatMap((set) => [
        {
          add: {
            set: {
              family,
              table,
              name: set.name,
              type: set.withPorts ? [typeOf(set), "inet_service"] : typeOf(set),
              flags: ["interval", "timeout"],
              stmt: [{ counter: null }],
              elem: set.entries.flatMap(jsonElements),
            },
          },
        },
        { add: { rule: { family, table, chain, expr: expressions(set, options) } } },
      ]),
    ];
    return {
      files: [
        { name: file, text: jsonText({ nftables: objects }) },
        readme(plan, options, {
          format: nftablesJson,
          entries,
          losses,
          ...commands(`nft -j -f ${file}`, options),
        }),
      ],
      losses,
      entries: entries.length,
    };
  },
};

function typeOf({ v6 }: NftSet): string {
  return v6 ? "ipv6_addr" : "ipv4_addr";
}

function jsonElements(entry: Entry): unknown[] {
  const [addr, len] = entry.text.split("/");
  const address = len === undefined ? entry.text : { prefix: { addr, len: Number(len) } };
  const values = entry.ports?.map(({ low, high }) => ({
    concat: [address, low === high ? low : { range: [low, high] }],
  })) ?? [address];
  const comment = describeEntry(entry, MAX_COMMENT);
  return values.map((val) => ({
    elem: {
      val,
      ...entry.durationSec === null ? {} : { timeout: entry.durationSec },
      ...comment ? { comment } : {},
    },
  }));
}

function expressions({ name, v6, withPorts }: NftSet, { shadow, iface }: RenderOptions): unknown[] {
  const match = (left: unknown, right: string) => ({ match: { op: "==", left, right } });
  const address = { payload: { protocol: v6 ? "ip6" : "ip", field: "saddr" } };
  const port = { payload: { protocol: "tcp", field: "dport" } };
  return [
    ...iface === undefined ? [] : [match({ meta: { key: "iifname" } }, iface)],
    ...withPorts
      ? [match({ concat: [address, port] }, `@${name}`)]
      : [match({ meta: { key: "l4proto" } }, "tcp"), match(address, `@${name}`)],
    { counter: null },
    ...shadow ? [] : [{ drop: null }],
  ];
}
