/**
 * The firewall: which rule decides about a packet, or may, where a criterion isn't counted. Pure.
 *
 * Early documents describe two phases: rules that name a network and nothing else are looked up first, by the longest
 * prefix, the source before the destination; all others then by priority. Today's program goes through one list. Each
 * criterion answers yes, no or maybe; the first rule that says yes ends the search.
 */
import { containsPrefix, type Prefix, prefixOf } from "../../prefix.ts";
import { createPrefixTable, type PrefixTable } from "../../prefix_table.ts";
import type { Firewall, FirewallRule, Ports } from "./config_firewall.ts";
import type { Profile } from "./detection.ts";

/** What is known of a packet. */
export interface Flow {
  source: Uint8Array;
  /** Undefined where all ports were counted together. */
  port: number | undefined;
  /** TCP flags, and which of them are known. */
  flags: { value: number; known: number };
  /** Of the host that it is for: addresses that it may have. */
  destinations: readonly Uint8Array[];
  /** Whether it belongs to a connection that the engine has seen; the default policy spares those. */
  established: boolean | "unknown";
}

/** A rule of the engine's own, or one of the file. */
export interface Applied {
  id: string;
  rule: FirewallRule | undefined;
  /** Whether it drops where the firewall's mode lets it. */
  denies: boolean;
}

/** What the firewall does with a packet. */
export interface Verdict {
  decision: "pass" | "drop" | "maybe";
  /** The rule that decides, or the first that may drop; undefined for the default policy. */
  applied: Applied | undefined;
  /** A rule that drops in mode `block` only, and the mode is `alert`. */
  wouldDrop: boolean;
  /** What isn't counted and made it a maybe. */
  unknown: readonly string[];
}

/** A firewall ready to be asked. */
export interface CompiledFirewall {
  /** Whether no packet can be dropped. */
  letsAllPass: boolean;
  /** Whether, besides, none would be in mode `block`: there is nothing to ask. */
  isSilent: boolean;
  judge(flow: Flow): Verdict;
}

type Answer = "yes" | "no" | "maybe";

const SYN = 2, ACK = 16;

/** Makes the rules ready to be asked, in the order in which the profile's engine goes through them. */
export function compileFirewall(
  firewall: Firewall,
  { profile, zonesEnabled }: { profile: Profile; zonesEnabled: boolean },
): CompiledFirewall {
  const enabled = firewall.rules.filter((rule) => rule.enabled);
  const trie = (rule: FirewallRule) => profile === "seed" && isNetworkOnly(rule);
  const sources = tableOf(enabled.filter((rule) => trie(rule) && rule.src), "src");
  const byDestination = enabled.filter((rule) => trie(rule) && !rule.src), destinations = tableOf(byDestination, "dst");
  const lockout: { priority: number; applied: Applied; port?: number }[] = firewall.antiLockout.enabled
    ? firewall.antiLockout.ports.map((port) => {
      return { priority: 0, port, applied: { id: `anti-lockout-${port}`, rule: undefined, denies: false } };
    })
    : [];
  const list: typeof lockout = [...lockout, ...enabled.filter((rule) => !trie(rule)).map(listed)];
  list.sort((a, b) => a.priority - b.priority);

  const denies = enabled.some((rule) => appliedOf(rule).denies), { enabled: asked, mode, defaultPolicy } = firewall;
  const spares = defaultPolicy === "pass" && !zonesEnabled;
  return {
    letsAllPass: !asked || (spares && !(denies && mode === "block")),
    isSilent: !asked || (spares && !denies),
    judge(flow) {
      if (!firewall.enabled) return { decision: "pass", applied: undefined, wouldDrop: false, unknown: [] };
      const reachable: { applied: Applied | undefined; denies: boolean; maybe: boolean }[] = [];
      const unknown = new Set<string>();
      const finish = () => conclude(firewall, reachable, [...unknown]);

      const bySource = sources.find(flow.source);
      if (bySource) {
        reachable.push({ applied: bySource, denies: bySource.denies, maybe: false });
        return finish();
      }
      // A packet goes from and to addresses of one family.
      const family = flow.source.length, hosts = flow.destinations.filter(({ length }) => length === family);
      const found = new Set(hosts.map((address) => destinations.find(address)));
      const looked = hosts.length > 0
        ? []
        : byDestination.filter(({ dst }) => dst?.some(({ bytes }) => bytes.length === family));
      for (const rule of looked) {
        unknown.add("dst_ip");
        reachable.push({ applied: appliedOf(rule), denies: appliedOf(rule).denies, maybe: true });
      }
      for (const applied of found) {
        if (applied) reachable.push({ applied, denies: applied.denies, maybe: found.size > 1 });
      }
      if (found.size === 1 && !found.has(undefined)) return finish();
      if (found.size > 1) unknown.add("dst_ip");

      for (const { applied, port } of list) {
        const { rule } = applied;
        const answer = rule ? matchRule(rule, flow, unknown) : matchPort([[port!, port!]], flow.port);
        if (answer === "no") continue;
        if (!rule && answer === "maybe") unknown.add("dst_port");
        reachable.push({ applied, denies: applied.denies, maybe: answer === "maybe" });
        if (answer === "yes") return finish();
      }
      const maybe = zonesEnabled || flow.established === "unknown";
      if (zonesEnabled) {
        unknown.add("zones");
        reachable.push({ applied: undefined, denies: true, maybe: true });
        reachable.push({ applied: undefined, denies: false, maybe: true });
      } else if (firewall.defaultPolicy === "drop" && flow.established !== true) {
        reachable.push({ applied: undefined, denies: true, maybe });
        if (maybe) {
          unknown.add("established");
          reachable.push({ applied: undefined, denies: false, maybe });
        }
      } else {
        reachable.push({ applied: undefined, denies: false, maybe: false });
      }
      return finish();
    },
  };
}

function conclude(
  { mode }: Firewall,
  reachable: readonly { applied: Applied | undefined; denies: boolean }[],
  unknown: readonly string[],
): Verdict {
  // The default policy drops in either mode.
  const drops = reachable.map(({ applied, denies }) => denies && (mode === "block" || !applied));
  const first = reachable[Math.max(0, reachable.findIndex(({ denies }) => denies))]!;
  const decision = drops.every(Boolean) ? "drop" : drops.some(Boolean) ? "maybe" : "pass";
  const deciding = decision === "pass" && !reachable.some(({ denies }) => denies) ? reachable[0]! : first;
  return {
    decision,
    applied: deciding.applied,
    wouldDrop: decision === "pass" && reachable.some(({ denies }) => denies),
    unknown: decision === "maybe" ? unknown : [],
  };
}

function listed(rule: FirewallRule): { priority: number; applied: Applied } {
  return { priority: rule.priority, applied: appliedOf(rule) };
}

const APPLIED = new WeakMap<FirewallRule, Applied>();

/** One object for each rule, so that answers can be compared. */
function appliedOf(rule: FirewallRule): Applied {
  const present = APPLIED.get(rule);
  if (present) return present;
  const made = { id: rule.id, rule, denies: rule.action === "deny" || rule.action === "reject" };
  APPLIED.set(rule, made);
  return made;
}

/** Of equal prefixes the one with the lowest priority number, then the first of the file. */
function tableOf(rules: readonly FirewallRule[], side: "src" | "dst"): PrefixTable<Applied> {
  const sorted = [...rules].sort((a, b) => a.priority - b.priority);
  return createPrefixTable(
    sorted.flatMap((rule) => (rule[side] ?? []).map((prefix) => [prefix, appliedOf(rule)] as const)),
  );
}

/** Whether a rule names networks on one side and nothing else. */
export function isNetworkOnly(rule: FirewallRule): boolean {
  const { src, dst, srcPorts, dstPorts, flags, unseen, protocol, negateSource, negateDestination } = rule;
  return (src === undefined) !== (dst === undefined) && protocol === "any" && !srcPorts && !dstPorts && !flags &&
    unseen.length === 0 && !negateSource && !negateDestination;
}

// -------------------------------------------------------------------------------------------------- criteria

/** Adds to `unknown` what made the answer a maybe. */
function matchRule(rule: FirewallRule, flow: Flow, unknown: Set<string>): Answer {
  if (rule.protocol === "udp" || rule.protocol === "icmp") return "no";
  const family = flow.source.length, hosts = flow.destinations.filter(({ length }) => length === family);
  const maybes: string[] = [...rule.unseen];
  const criteria: [string, Answer][] = [
    ["src_ip", matchAddress(rule.src, { addresses: [flow.source], negate: rule.negateSource, family })],
    ["dst_ip", matchAddress(rule.dst, { addresses: hosts, negate: rule.negateDestination, family })],
    ["dst_port", matchPort(rule.dstPorts, flow.port)],
    ["src_port", matchPort(rule.srcPorts, undefined)],
    ["flags", matchFlags(rule.flags, flow.flags)],
  ];
  for (const [name, answer] of criteria) {
    if (answer === "no") return "no";
    if (answer === "maybe") maybes.push(name);
  }
  for (const name of maybes) unknown.add(name);
  return maybes.length > 0 ? "maybe" : "yes";
}

/** Whether one of several possible addresses is in one of the networks; a family never is in the other's. */
function matchAddress(
  networks: readonly Prefix[] | undefined,
  { addresses, negate, family }: { addresses: readonly Uint8Array[]; negate: boolean; family: number },
): Answer {
  if (!networks) return "yes";
  if (!networks.some(({ bytes }) => bytes.length === family)) return "no";
  const answers = new Set(addresses.map((address) => {
    const alone = prefixOf(address);
    return networks.some((network) => containsPrefix(network, alone)) !== negate;
  }));
  if (answers.size !== 1) return "maybe";
  return answers.has(true) ? "yes" : "no";
}

function matchPort(ports: readonly Ports[] | undefined, port: number | undefined): Answer {
  if (!ports) return "yes";
  if (ports.some(([low, high]) => low === 0 && high === 65535)) return "yes";
  if (port === undefined) return "maybe";
  return ports.some(([low, high]) => port >= low && port <= high) ? "yes" : "no";
}

function matchFlags(flags: FirewallRule["flags"], { value, known }: Flow["flags"]): Answer {
  if (!flags) return "yes";
  const wanted = flags.set & flags.mask, seen = flags.mask & known;
  if ((value & seen) !== (wanted & seen)) return "no";
  return seen === flags.mask ? "yes" : "maybe";
}

/** What is known of the flags of packets that open a connection. */
export const OPENING = { value: SYN, known: SYN | ACK } as const;
