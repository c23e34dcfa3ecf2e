/**
 * What a simulation of eBPFsentinel can say only at the end. Pure.
 */
import type { Cells, Interval } from "../../evidence/interval.ts";
import { formatNumberOf } from "../../words.ts";
import type { Finding } from "../policy.ts";
import type { Config } from "./config.ts";
import type { Simulated } from "./sources.ts";

/** The engine's table of sources of the rate limiter; one that is pushed out starts afresh. */
export const LIMITER_SOURCES = 262_144;

/** What a simulation notes as it goes, for findings in the end. */
export type Notes = ReturnType<typeof createNotes>;

/** Takes notes of intervals and blocks. */
export function createNotes() {
  const codes = new Set<string>(), trusted = new Map<string, number>(), ports = new Set<number>();
  let coarsestMs = 0, managed = 0, allPorts = false;
  return {
    add: (code: string) => void codes.add(code),
    note({ beginMs, endMs, ports: seen, cells }: Interval): void {
      coarsestMs = Math.max(coarsestMs, endMs - beginMs);
      for (const port of seen) ports.add(port);
      if (cells.count > 0 && cells.port[0] === 0) allPorts = true;
    },
    trusted: (source: string, packets: number) => void trusted.set(source, (trusted.get(source) ?? 0) + packets),
    /** A source is blocked that also talks to a port by which the host is managed. */
    blocked({ from, to }: { from: number; to: number }, { port, data }: Cells, { firewall }: Config): void {
      for (let i = from; i < to; i++) {
        if (data[i] === 0 || !firewall.antiLockout.ports.includes(port[i]!)) continue;
        managed++;
        return;
      }
    },
    list({ resolutionMs, config, profile }: Simulated): Finding[] {
      const findings: Finding[] = [];
      const warn = (code: string, message: string) => findings.push({ severity: "warning", code, message });
      if (coarsestMs > resolutionMs) {
        warn(
          "low_resolution",
          `snapshots of up to ${coarsestMs / 1000} s: this policy needs ${
            resolutionMs / 1000
          } s or less for bounds near each other`,
        );
      }
      for (const [source, packets] of trusted) {
        if (findings.length > 50) break;
        const fate = profile === "seed" ? "today's engine would drop" : "of it are dropped";
        warn(
          "whitelist_inside_injected_subnet",
          `${source} is whitelisted, in a network that is blocked with a neighbour: ${fate} up to ${
            formatNumberOf(packets, "packet")
          }`,
        );
      }
      if (codes.has("capacity_reached")) {
        warn(
          "capacity_reached",
          `more sources than ips.max_blacklist_size (${config.ips.maxSize}): further ones may be refused`,
        );
      }
      if (codes.has("limiter_full")) {
        warn(
          "capacity_reached",
          `more than ${LIMITER_SOURCES} sources: those that the limiter forgets start with a full burst`,
        );
      }
      if (managed > 0) {
        warn(
          "lockout_risk",
          `of sources that also use a management port (${config.firewall.antiLockout.ports.join(", ")}): ${
            formatNumberOf(managed, "block")
          }, and a block comes before anti-lockout`,
        );
      }
      if (allPorts) {
        warn("ports_unknown", "the snapshots counted all ports together: what rules for a port match is not known");
      }
      const wanted = [...config.ids.rules, ...config.ips.rules].filter((rule) =>
        rule.enabled && rule.dstPort !== undefined && rule.protocol !== "udp" && rule.protocol !== "icmp"
      );
      const missing = new Set(wanted.map((rule) => rule.dstPort!).filter((port) => !ports.has(port)));
      if (missing.size > 0 && ports.size > 0 && !allPorts) {
        warn(
          "port_not_recorded",
          `no packets to ports ${[...missing].slice(0, 20).join(", ")} were recorded: rules for them can't match`,
        );
      }
      return findings;
    },
  };
}
