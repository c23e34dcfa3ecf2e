/**
 * Policies of each engine and kind, which the simulation is measured with.
 *
 * Rules are many enough, and their limits such, that something is done about floods and nothing about most clients:
 * of the benchmark's sources one in twenty floods (some 300 SYN/s), the others send a handful of packets a second.
 */
import { createPrefixSet } from "../../src/allowlist.ts";
import { loadPolicy } from "../../src/cli/policy_files.ts";
import { type NativeOptions, nativePolicy } from "../../src/policy/native.ts";
import type { Policy } from "../../src/policy/policy.ts";

export const NATIVE: NativeOptions = {
  ...{ windowMs: 10_000, blockDurationMs: 300_000, synRate: 100, successRatio: 0.1, volSynRate: 500 },
  ...{ volPacketRate: 1000, volByteRate: 1_000_000, sweepPorts: 20, aggregateBits: { v4: 32, v6: 128 } },
  allowlist: createPrefixSet([]),
};

const HAMMER = `ips:
  mode: block
  auto_blacklist_threshold: 5
  rules:
    - id: web-hammer
      severity: high
      mode: block
      protocol: tcp
      dst_port: 443
      threshold: { mode: both, count: 400, window: 60 }
`;
const SEVERAL = `ips:
  mode: block
  auto_blacklist_threshold: 3
  max_blacklist_duration_secs: 600
  rules:
    - { id: ssh, severity: high, mode: block, protocol: tcp, dst_port: 22 }
    - { id: rdp, severity: high, mode: block, protocol: tcp, dst_port: 3389 }
    - { id: http, severity: high, mode: block, protocol: tcp, dst_port: 80, threshold: { mode: threshold, count: 300, window: 10 } }
    - { id: https, severity: high, mode: block, protocol: tcp, dst_port: 443, threshold: { mode: limit, count: 5, window: 60 } }
    - { id: web, severity: low, mode: alert, protocol: tcp, dst_port: 8080 }
`;
const FIREWALL = `firewall:
  mode: block
  default_policy: pass
  rules:
    - { id: office, priority: 1, action: allow, src_ip: "198.51.100.0/24" }
    - { id: bad-net, priority: 2, action: deny, src_ip: "10.0.3.0/25" }
    - { id: no-telnet, priority: 10, action: deny, protocol: tcp, dst_port: 23 }
    - { id: half-web, priority: 20, action: deny, protocol: tcp, src_ip: "10.0.2.0/24", dst_port: 80 }
    - { id: web, priority: 30, action: allow, protocol: tcp, dst_port: "80-443" }
    - { id: rest, priority: 100, action: log, protocol: tcp }
`;
const DDOS = `ratelimit: { enabled: true, default_rate: 1000, default_burst: 2000 }
ddos:
  enabled: true
  syn_protection: { enabled: true, threshold_mode: true, threshold_pps: 100 }
  connection_tracking: { enabled: true, half_open_threshold: 100, rst_threshold: 50, fin_threshold: 50, ack_threshold: 200 }
`;
const THREATS = `threatintel:
  mode: block
  feeds: [{ id: list, name: list, url: "https://lists.example.net/ips.txt" }]
`;
/** Every twentieth source, and as many that never come. */
const LISTED = Array.from({ length: 100 }, (_, i) => `10.0.${i * 20 >> 8}.${i * 20 & 255}\n`).join("");

const limited = (algorithm: string) =>
  `ratelimit: { enabled: true, default_rate: 100, default_burst: 200, default_algorithm: ${algorithm} }\n`;

/** Policies by what they are, and the engine's own before the others. */
export const POLICIES: Record<string, () => Policy> = {
  "native": () => nativePolicy(NATIVE),
  "eBPFsentinel, an IPS rule": () => sentinel(HAMMER),
  "eBPFsentinel, five IPS rules": () => sentinel(SEVERAL),
  "eBPFsentinel, token buckets": () => sentinel(limited("token_bucket")),
  "eBPFsentinel, fixed windows": () => sentinel(limited("fixed_window")),
  "eBPFsentinel, sliding windows": () => sentinel(limited("sliding_window")),
  "eBPFsentinel, DDoS guards": () => sentinel(DDOS),
  "eBPFsentinel, a firewall": () => sentinel(FIREWALL),
  "eBPFsentinel, a threat list": () => sentinel(THREATS),
  "eBPFsentinel, all of these": () => sentinel(SEVERAL + FIREWALL + DDOS + THREATS),
  "Ironpost, a blocklist": () => load([["ironpost.toml", BLOCKLIST]]),
  "Ironpost, its detectors": () => load([["ironpost.toml", DETECTORS]]),
  "Ironpost, a detection rule": () => load([["rule.yaml", DETECTION]]),
};

const BLOCKLIST = Array.from({ length: 50 }, (_, i) =>
  `[[rules]]
id = "flood-${i}"
src_ip = "10.0.${i * 20 >> 8}.${i * 20 & 255}"
action = "block"
description = "a flood"
`).join("");
const DETECTORS = `[ebpf]
enabled = true
interface = "eth0"
`;
const DETECTION = `id: hammer
title: Many packets to HTTPS
level: high
detection:
  conditions:
    - { field: dst_port, value: "443" }
  threshold: { count: 500, timeframe_secs: 60, group_by: src_ip }
`;

function sentinel(sections: string): Policy {
  return load([["ebpfsentinel.yaml", `agent: { interfaces: [eth0] }\n${sections}`]]);
}

function load(files: [path: string, text: string][]): Policy {
  const list = { path: "list.txt", text: LISTED }, listed = files.some(([, text]) => text.includes("threatintel:"));
  const { policy, findings } = loadPolicy(files.map(([path, text]) => ({ path, text })), {
    ...{ feeds: new Map(listed ? [["list", list]] : []), hostAddresses: [], cpus: 1 },
  });
  const error = findings.find(({ severity }) => severity === "error");
  if (!policy || error) throw new Error(`${files[0]![0]}: ${findings.map(({ message }) => message).join("; ")}`);
  return policy;
}
