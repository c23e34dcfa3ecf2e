/**
 * Whether a firewall means different things to early documents and to today's program: by trying. Pure.
 */
import { formatAddress } from "../../address.ts";
import type { Finding } from "../policy.ts";
import type { Config } from "./config.ts";
import { compileFirewall, isNetworkOnly, OPENING } from "./firewall.ts";

/** Addresses and ports that are tried at most. */
const MAX_ADDRESSES = 500, MAX_PORTS = 40;
/** Differences that are told. */
const MAX_TOLD = 20;

/** A finding for each rule of a network that the order of evaluation decides about. */
export function findOrderSensitive({ firewall, zonesEnabled }: Config, path: string): Finding[] {
  const rules = firewall.rules.filter((rule) => rule.enabled);
  const networks = rules.filter(isNetworkOnly);
  if (networks.length === 0) return [];
  const addresses = new Map<string, Uint8Array>();
  for (const { src, dst } of rules) for (const { bytes } of src ?? dst ?? []) addresses.set(bytes.join("."), bytes);
  const edges = rules.flatMap(({ dstPorts }) => dstPorts ?? []).flatMap(([low, high]) => [low, high]);
  const ports = new Set([...edges, ...firewall.antiLockout.ports, 1, 65535].slice(0, MAX_PORTS));
  const seed = compileFirewall(firewall, { profile: "seed", zonesEnabled });
  const code = compileFirewall(firewall, { profile: "code", zonesEnabled });
  const told = new Map<string, Finding>();
  for (const source of [...addresses.values()].slice(0, MAX_ADDRESSES)) {
    for (const port of ports) {
      const flow = { source, port, flags: OPENING, destinations: [], established: false } as const;
      const a = seed.judge(flow), b = code.judge(flow);
      if (a.decision === b.decision && a.wouldDrop === b.wouldDrop) continue;
      const [first, second] = [a.applied?.id ?? "the default policy", b.applied?.id ?? "the default policy"];
      const rule = a.applied?.rule ?? b.applied?.rule;
      if (told.has(first) || told.size >= MAX_TOLD) continue;
      told.set(first, {
        severity: "warning",
        code: "order_sensitive",
        message: `port ${port} of ${
          formatAddress(source)
        }: by longest prefix first, ${first} decides; by priority alone, ${second}`,
        ...(rule ? { place: { path, ...rule.place }, rule: rule.id } : {}),
      });
    }
  }
  return [...told.values()];
}
