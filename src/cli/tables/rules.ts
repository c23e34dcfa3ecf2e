/**
 * What `ibsr rules` takes.
 */
import { parsePrefix, type Prefix } from "../../prefix.ts";
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";
import { choiceKind, flag, integerKind, type Kind, option, textKind } from "../options.ts";

/** An address or CIDR. */
const prefixKind: Kind<Prefix> = {
  metavar: "ADDR",
  json: ["string"],
  parse: (text) => {
    const value = parsePrefix(text);
    return value ? { value } : { expected: "an address or CIDR such as 192.0.2.7 or 2001:db8::/32" };
  },
};

/** A name that the kernel gives interfaces, without what nftables and iptables read as a pattern. */
const interfaceKind: Kind<string> = {
  metavar: "IFACE",
  json: ["string"],
  parse: (text) =>
    /^[A-Za-z0-9_.:@-]{1,15}$/.test(text)
      ? { value: text }
      : { expected: "the name of an interface, without wildcards" },
};

/** The formats' names, in the order of rules/formats.ts, whose code is not loaded for help and completions. */
export const FORMAT_NAMES = [
  ...["nftables", "nftables-json", "ipset", "xdp-filter", "suricata", "fail2ban", "crowdsec", "crowdsec-csv"],
  ...["ebpfsentinel", "ironpost", "cilium", "aws-waf", "aws-nacl", "stix", "plain", "csv"],
];

export const RULES_OPTIONS = {
  // Any text: who mistypes one is told the nearest.
  format: option({ ...textKind("FORMAT"), choices: FORMAT_NAMES }, {
    group: "Rules",
    short: "f",
    help: "Format to write: --list-formats says what each can. Required.",
  }),
  from: option(textKind("FILE"), { group: "Rules", default: "report/rules.json", help: "The report's rules.json." }),
  out: option(textKind("DIR"), {
    group: "Rules",
    default: "-",
    help: "Where to: made if missing; - is standard output, for formats of one file.",
  }),
  "block-duration-sec": option(integerKind("SEC", 1, 31_536_000), {
    group: "Rules",
    help: "Seconds from applying that each entry lasts, where the format has an end.",
    defaultHelp: "as long as the policy's blocks",
  }),
  shadow: option(flag, { group: "Rules", help: "Rules that count or report instead of dropping." }),
  iface: option(interfaceKind, {
    group: "Rules",
    short: "i",
    help: "Only on this interface, where the format can.",
    defaultHelp: "every interface",
  }),
  dialect: option(choiceKind("NAME", ["code", "seed"]), {
    group: "Rules",
    default: "code",
    help: "For ebpfsentinel: as its releases read files, or as its first documents say.",
  }),
  "list-formats": option(flag, { group: "Rules", help: "Print the formats and what each can say." }),
  json: { ...JSON_OUTPUT.json, group: "Rules", help: "Of --list-formats: print JSON." },
  allowlist: option(textKind("FILE"), {
    group: "Never blocked",
    repeat: true,
    help: "Addresses and CIDRs, one a line, # for comments; they are cut out of networks.",
  }),
  protect: option(prefixKind, {
    group: "Never blocked",
    repeat: true,
    help: "An address or CIDR that must stay reachable; rules that touch it are left out.",
  }),
  "no-host-check": option(flag, {
    group: "Never blocked",
    help: "Don't look this host's addresses up: the rules are for another one.",
  }),
  "widest-v4": option(integerKind("BITS", 1, 32), {
    group: "Never blocked",
    default: "16",
    help: "Shortest prefix of an IPv4 network that may be blocked.",
  }),
  "widest-v6": option(integerKind("BITS", 1, 128), {
    group: "Never blocked",
    default: "32",
    help: "Shortest prefix of an IPv6 network that may be blocked.",
  }),
  ...COMMON,
};

export const rulesCommand = defineCommand({
  name: "rules",
  summary: "write a report's candidate rules for a firewall",
  description:
    "Reads rules.json of a report and writes files for --format; nothing is applied, and a human must review them. " +
    "Every file says what it is, when it ends, what the format could not say, and how to apply and undo it. With " +
    "--shadow its rules count or report and drop nothing.\n\n" +
    "The rules are a list of the sources that met the policy while evidence was recorded. They are not the policy that " +
    "the verdict is about: that one blocks whoever meets it, when they do. The list drops its sources alone, from when " +
    "it is applied and for as long as one block lasts (300 s, unless the report or --block-duration-sec says " +
    "otherwise): it is for a flood that is still going on, and for looking at. Days later its sources may be silent, " +
    "and their addresses somebody else's. What enforces the policy is an engine that counts for itself.\n\n" +
    "What would cut this host off is left out: its own addresses, default gateways, resolvers, the SSH peer, and " +
    "--protect. So are loopback, link-local and multicast addresses, and networks wider than --widest-v4 and -v6. " +
    "Run it where the rules will be used, or name that host's addresses by --protect and give --no-host-check.\n\n" +
    "Exit code: 0 if every rule is in the files or allowlisted, 1 if some were left out because they would lock out " +
    "or must not be blocked (the rest is written), 65 if rules.json can't be used.",
  examples: [
    [
      "ibsr rules -f nftables --from report/rules.json --out .",
      "The candidates as ./ibsr.nft; with --shadow as ./ibsr.shadow.nft.",
    ],
    ["ibsr rules -f nftables --from report/rules.json --shadow | nft -c -f -", "A counting table, checked by nft."],
    ["ibsr rules --list-formats", "What each format can say."],
  ],
  permissions: ["read", "write", "sys", "ffi"],
  options: RULES_OPTIONS,
  load: async () => (await import("../rules.ts")).runRules,
});
