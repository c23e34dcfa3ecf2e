/**
 * The engine packet by packet: what it does with each, in the order of its path. Pure.
 *
 * Blacklist, firewall, guards, rate limiter, detection, the drop of a port, lists of addresses. It is exact where the
 * packet says all that a rule asks for; what isn't in a packet here (payload, source port, connections) counts as not
 * matching. The bounds of intervals (src/policy/ebpfsentinel/simulate.ts) hold whatever this gives for the packets in
 * them; placed evenly, the packets of an interval give what is likely.
 */
import { type Blacklist, blockOf, countDetection, createBlacklist, type Source } from "./blacklist.ts";
import type { Config } from "./config.ts";
import type { Ddos, Limit } from "./config_limits.ts";
import { isSampled, type Profile, takeSlots } from "./detection.ts";
import { compileFirewall } from "./firewall.ts";
import { createGate, type Gate, passGate } from "./gate.ts";
import { bucketRule, type LimitState, passLimit, selectLimits, synGate } from "./limits.ts";
import { createPrefixTable } from "../../prefix_table.ts";

/** A TCP packet. */
export interface Packet {
  nowMs: number;
  source: Source;
  port: number;
  /** TCP flags. */
  flags: number;
  /** For an ACK: whether it belongs to a connection that the engine knows, and is the first on it. */
  connection?: "unknown" | "known" | "completes";
}

/** What becomes of a packet. */
export interface Outcome {
  decision: "pass" | "drop" | "challenge";
  stage?:
    | "ips_blacklist"
    | "ips_subnet"
    | "firewall"
    | "syn_guard"
    | "guard"
    | "ratelimit"
    | "inline_drop"
    | "threatintel";
  /** Id of the rule that decided, where there is one. */
  rule?: string | undefined;
  /** The dry run of the blacklist or of the firewall would have dropped it. */
  wouldDrop: boolean;
  overLimit: boolean;
  /** Whether it was a detection. */
  detected: boolean;
}

/** An engine with its state. */
export interface PacketEngine {
  judge(packet: Packet): Outcome;
  readonly blacklist: Blacklist;
}

/** What an engine is besides its configuration. */
export interface Surroundings {
  profile: Profile;
  /** Addresses of the host. */
  destinations: readonly Uint8Array[];
  /** Addresses on lists, as text, with what is done about them. */
  listed: ReadonlyMap<string, "alert" | "block">;
}

const FIN = 1, SYN = 2, RST = 4, ACK = 16;

/** The engine with nothing counted and nobody blocked yet. */
export function createPacketEngine(config: Config, { profile, destinations, listed }: Surroundings): PacketEngine {
  const { ips, ids } = config, blacklist = createBlacklist(), { byPort } = takeSlots(config, profile);
  const whitelist = createPrefixTable(ips.whitelist.map((prefix) => [prefix, true])),
    firewall = compileFirewall(config.firewall, {
      profile,
      zonesEnabled: config.zonesEnabled,
    });
  const enforced = ips.mode === "block" && config.firewall.enabled;
  const gates = new Map<string, Gate>(), limits = new Map<string, LimitState>(), guards = createGuards(config.ddos);

  return {
    blacklist,
    judge(packet) {
      const { nowMs, source, port, flags } = packet, { bytes, country, text } = source;
      const outcome: Outcome = { decision: "pass", wouldDrop: false, overLimit: false, detected: false };
      const end = (decision: Outcome["decision"], stage: Outcome["stage"], rule?: string): Outcome =>
        Object.assign(outcome, { decision, stage, rule });

      const trusted = whitelist.find(bytes) === true;
      const block = trusted && profile === "seed" ? undefined : blockOf(blacklist, source, nowMs);
      if (block && enforced) return end("drop", block === "host" ? "ips_blacklist" : "ips_subnet");
      if (block) outcome.wouldDrop = true;

      const verdict = firewall.judge({
        source: bytes,
        port,
        flags: { value: flags, known: 63 },
        destinations,
        established: packet.connection === "known" || packet.connection === "completes",
      });
      if (verdict.wouldDrop) outcome.wouldDrop = true;
      outcome.rule = verdict.applied?.id;
      if (verdict.decision === "drop") return end("drop", "firewall", verdict.applied?.id);

      if (config.ratelimit.enabled) {
        const guarded = config.ddos.enabled ? guards(packet) : undefined;
        if (guarded) return end(guarded, guarded === "challenge" ? "syn_guard" : "guard");
        const { syn, limit } = selectLimits(config.ratelimit, source);
        if (
          syn && isOpening(flags) && !passGate(synGate(syn.limit.rate), gateOf(gates, `${syn.name} ${text}`), nowMs)
        ) {
          if (syn.limit.action === "drop") return end("challenge", "syn_guard", syn.name);
          outcome.overLimit = true;
        }
        if (limit && !passLimit(bucketRule(limit.limit, profile), limitStateOf(limits, limit, text), nowMs)) {
          outcome.overLimit = true;
          if (limit.limit.action === "drop" || profile === "code") return end("drop", "ratelimit", limit.name);
        }
      }

      const slot = byPort.get(port);
      if (slot && !slot.rule.pattern && !slot.rule.domain && slot.rule.unseen.length === 0) {
        const gate = (country === undefined ? undefined : slot.countryGates?.get(country)) ?? slot.gate;
        const sampled = isSampled(ids.sampling, bytes, { destinations, country }) !== false;
        const key = slot.gate && keyOf(slot.rule.threshold!.trackBy, text);
        outcome.detected = sampled && (!gate || passGate(gate, gateOf(gates, `${slot.rule.id} ${key}`), nowMs));
        const counted = outcome.detected && slot.feeds && !trusted &&
          isSampled(ips.sampling, bytes, { destinations, country }) !== false;
        if (counted) countDetection(blacklist, source, { ips, profile, nowMs });
      }
      if (slot?.inlineDrop) return end("drop", "inline_drop", slot.rule.id);
      const action = config.threatintel.enabled ? listed.get(text) : undefined;
      if (action === "block") return end("drop", "threatintel");
      return outcome;
    },
  };
}

function keyOf(trackBy: "src_ip" | "dst_ip" | "both", source: string): string {
  return trackBy === "dst_ip" ? "" : source;
}

function gateOf(gates: Map<string, Gate>, key: string): Gate {
  const gate = gates.get(key) ?? createGate();
  gates.set(key, gate);
  return gate;
}

function limitStateOf(
  states: Map<string, LimitState>,
  { limit, scope }: { limit: Limit; scope: string },
  source: string,
): LimitState {
  const key = scope === "per_ip" ? source : scope, state = states.get(key) ?? { algorithm: limit.algorithm };
  states.set(key, state);
  return state;
}

/** SYN set; ACK, RST and FIN clear. */
function isOpening(flags: number): boolean {
  return (flags & (SYN | ACK | RST | FIN)) === SYN;
}

/** The guards of `ddos`, each packet in its order; what they do with one, undefined if they let it through. */
export function createGuards(
  { syn, tracking }: Pick<Ddos, "syn" | "tracking">,
): (packet: Packet) => "drop" | "challenge" | undefined {
  const gates = new Map<string, Gate>(), halfOpen = new Map<string, number>();
  const over = (kind: string, count: number, { source, nowMs }: Packet): "drop" | undefined => {
    if (count === 0) return undefined;
    return passGate({ type: "limit", count, windowMs: 1000 }, gateOf(gates, `${kind} ${source.text}`), nowMs)
      ? undefined
      : "drop";
  };
  return (packet) => {
    const { flags, source, nowMs, connection } = packet, { text } = source;
    if (syn.enabled && isOpening(flags)) {
      const gate = gateOf(gates, `syn ${text}`);
      if (!syn.thresholdMode || !passGate(synGate(syn.thresholdPps), gate, nowMs)) return "challenge";
    }
    if (!tracking.enabled) return undefined;
    if (flags & RST) return over("rst", tracking.rst, packet);
    if (flags & FIN) return over("fin", tracking.fin, packet);
    const open = halfOpen.get(text) ?? 0;
    if ((flags & (SYN | ACK)) === SYN) {
      if (open >= tracking.halfOpen) return "drop";
      halfOpen.set(text, open + 1);
    } else if (flags & ACK && !(flags & SYN)) {
      if (connection === "completes") halfOpen.set(text, Math.max(0, open - 1));
      else if (connection !== "known") return over("ack", tracking.ack, packet);
    }
    return undefined;
  };
}

/** Packets of an interval that nothing more is known of, as evenly as can be: the j-th of n at begin + j/n of its length. */
export function placeEvenly(
  { beginMs, endMs, packets }: { beginMs: number; endMs: number; packets: number },
): number[] {
  return Array.from({ length: packets }, (_, j) => beginMs + (endMs - beginMs) * j / packets);
}
