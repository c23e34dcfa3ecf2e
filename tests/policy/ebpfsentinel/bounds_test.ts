import assert from "node:assert/strict";
import type { Profile } from "../../../src/policy/ebpfsentinel/detection.ts";
import { holdBounds, type Random, randomOf, randomTrace, subjectOf, type Width } from "./traces.ts";

/** Traces a part is tried with. */
const TRACES = 2_004;
/** Lengths of intervals, in milliseconds. */
const LENGTHS = [1, 50, 250, 1000, 3000, 10_000] as const;

/** A part of the engine: a random configuration of it, and the packets it is tried with. */
interface Part {
  sections(random: Random): Record<string, unknown>;
  trace: Parameters<typeof randomTrace>[1];
  profiles?: readonly Profile[];
}

const detection = ({ pick }: Random, threshold?: unknown) => ({
  mode: "block",
  blacklist_ttl: pick([0, 1, 2, 5, 15, 60]),
  auto_blacklist_threshold: pick([0, 1, 2, 3, 5, 20]),
  rules: [
    { id: "a", severity: "high", protocol: "tcp", dst_port: 22, ...(threshold ? { threshold } : {}) },
    { id: "b", severity: "high", protocol: "tcp", dst_port: 23, mode: pick(["block", "alert"]) },
  ],
});
const threshold = ({ pick }: Random) => ({
  mode: pick(["limit", "threshold", "both"]),
  count: pick([1, 2, 3, 5, 10]),
  window: pick([1, 2, 5, 60]),
  track_by: pick(["src_ip", "src_ip", "dst_ip", "both"]),
});
const limiter = (algorithm: string) => (random: Random) => {
  const { pick } = random, rate = pick([1, 2, 3, 10, 100, 300]);
  const rule = {
    id: "r",
    algorithm,
    rate,
    burst: pick([1, 2, 5, 20, 3000]),
    action: pick(["drop", "drop", "drop", "pass"]),
  };
  return {
    ratelimit: {
      enabled: true,
      default_rate: pick([0, 0, 5]),
      default_burst: 3,
      rules: [{
        ...rule,
        scope: pick(["per_ip", "per_ip", "global"]),
        ...(pick([true, false]) ? { src_ip: "198.51.100.0/24" } : {}),
      }],
    },
  };
};
const guards = ({ pick }: Random, syn: boolean) => ({
  ratelimit: { enabled: true, default_rate: pick([0, 0, 4]), default_burst: 5 },
  ddos: {
    enabled: true,
    syn_protection: {
      enabled: syn,
      threshold_mode: pick([true, true, true, false]),
      threshold_pps: pick([1, 2, 3, 10]),
    },
    connection_tracking: {
      enabled: !syn || pick([true, false]),
      half_open_threshold: pick([1, 2, 5, 10]),
      rst_threshold: pick([0, 1, 3]),
      fin_threshold: pick([0, 1, 3]),
      ack_threshold: pick([0, 2, 5]),
    },
  },
});
const firewall = ({ pick, below }: Random) => {
  const rules = Array.from({ length: 1 + below(6) }, (_, i) => ({
    id: `r${i}`,
    priority: 1 + below(5),
    action: pick(["allow", "deny", "log", "reject"]),
    ...pick([{}, { protocol: "tcp" }, { protocol: "udp" }]),
    ...pick([
      {},
      { src_ip: "198.51.100.0/24" },
      { src_ip: "198.51.100.7" },
      { src_ip: "0.0.0.0/0" },
      { src_ip: "2001:db8::/32" },
      { dst_ip: "192.0.2.0/24" },
      { dst_ip: "192.0.3.0/24" },
      { dst_ip: "2001:db8:9::/48" },
      { src_ip: "198.51.100.0/25", dst_ip: "192.0.2.10" },
    ]),
    ...pick([{}, {}, { dst_port: 22 }, { dst_port: "20-30" }, { dst_port: { start: 23, end: 80 } }]),
    ...pick([{}, {}, {}, { flags: "S/SA" }, { flags: "R/R" }, { flags: "/F" }]),
    ...pick([{}, {}, {}, { negate_source: true }]),
    ...pick([{}, {}, {}, {}, { enabled: false }]),
  }));
  return {
    mode: pick(["block", "block", "alert"]),
    default_policy: pick(["pass", "drop"]),
    anti_lockout: { enabled: pick([true, false]) },
    rules,
  };
};

const SPANS = [1000, 2000, 5000, 15_000];
const FLAGS = [2, 2, 2, 16, 16, 24, 24, 4, 20, 17, 18];
const PARTS: Record<string, Part> = {
  blacklist: {
    sections: (r) => ({ ips: detection(r) }),
    trace: { packets: 40, spans: SPANS, ports: [22, 22, 23, 443], sources: 2 },
  },
  "blacklist with rule thresholds": {
    sections: (r) => ({ ips: detection(r, threshold(r)) }),
    trace: { packets: 60, spans: SPANS, ports: [22, 22, 22, 443] },
  },
  "blacklist with countries and networks": {
    sections: (r) => ({
      ips: {
        ...detection(r),
        country_thresholds: { RU: r.pick([0, 1, 2, 4]), KP: 3 },
        whitelist: r.pick([[], ["198.51.100.9"], ["198.51.100.0/25", "2001:db8::/64"]]),
      },
    }),
    trace: { packets: 40, spans: SPANS, ports: [22, 22, 443], sources: 4 },
    profiles: ["seed", "seed", "code"],
  },
  "blacklist that is full": {
    sections: (r) => ({ ips: { ...detection(r), max_blacklist_size: r.pick([0, 1, 2]) } }),
    trace: { packets: 40, spans: SPANS, ports: [22, 22, 443], sources: 4 },
  },
  firewall: {
    sections: (r) => ({ firewall: firewall(r) }),
    trace: { packets: 40, spans: SPANS, ports: [22, 23, 80, 443], sources: 4, kinds: FLAGS },
    profiles: ["seed", "code"],
  },
  "token bucket": {
    sections: limiter("token_bucket"),
    trace: { packets: 60, spans: SPANS, ports: [22, 22, 22, 443], sources: 3 },
    profiles: ["seed", "code"],
  },
  "leaky bucket": {
    sections: limiter("leaky_bucket"),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 3 },
    profiles: ["seed", "code"],
  },
  "fixed window": {
    sections: limiter("fixed_window"),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 3 },
  },
  "sliding window": {
    sections: limiter("sliding_window"),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 3 },
  },
  "SYN cookie": {
    sections: limiter("syn_cookie"),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 3, kinds: FLAGS },
  },
  "SYN protection": {
    sections: (r) => guards(r, true),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 2, kinds: FLAGS },
  },
  "connection guards": {
    sections: (r) => guards(r, false),
    trace: { packets: 60, spans: SPANS, ports: [22, 443], sources: 2, kinds: FLAGS },
  },
  sampling: {
    sections: (r) => {
      const sampling = {
        mode: r.pick(["none", "hash", "random", "country_based"]),
        rate: r.pick([0, 0.5, 1]),
        high_risk_countries: ["RU"],
        high_risk_rate: r.pick([0.3, 1]),
        default_rate: 0.6,
      };
      return { ids: { sampling }, ips: { ...detection(r), sampling: { ...sampling, mode: "hash", rate: 0.6 } } };
    },
    trace: { packets: 40, spans: SPANS, ports: [22, 443], sources: 4 },
  },
  "lists of addresses": {
    sections: (r) => {
      const feed = {
        id: "f",
        name: "f",
        url: "https://lists.example.net/",
        ...r.pick([{}, { default_action: "block" }, { default_action: "alert" }]),
      };
      return { ips: detection(r), threatintel: { mode: r.pick(["block", "block", "alert"]), feeds: [feed] } };
    },
    trace: { packets: 40, spans: SPANS, ports: [22, 443], sources: 4 },
    profiles: ["seed", "code"],
  },
  "whole path": {
    sections: (r) => ({
      ...guards(r, true),
      firewall: { ...firewall(r), mode: "block" },
      ips: detection(r, r.pick([undefined, threshold(r)])),
      ids: { mode: r.pick(["alert", "block"]) },
    }),
    trace: { packets: 60, spans: SPANS, ports: [22, 22, 23, 443], sources: 3, kinds: FLAGS },
    profiles: ["seed", "code"],
  },
};

function addWidth(sum: Width, { between, packets }: Width): void {
  sum.between += between;
  sum.packets += packets;
}

for (const [name, { sections, trace, profiles = ["seed"] as const }] of Object.entries(PARTS)) {
  Deno.test(`bounds of the ${name} contain what the engine does packet by packet, in ${TRACES} traces`, () => {
    const widths = new Map<number, Width>(LENGTHS.map((length) => [length, { between: 0, packets: 0 }]));
    for (let seed = 1; seed <= TRACES / LENGTHS.length; seed++) {
      const random = randomOf(seed), subject = subjectOf(sections(random), random.pick(profiles));
      for (const lengthMs of LENGTHS) {
        const packets = randomTrace(random, trace);
        addWidth(widths.get(lengthMs)!, holdBounds(subject, { trace: packets, lengthMs, about: `seed ${seed}` }));
      }
    }
    const shares = LENGTHS.map((length) => widths.get(length)!.between / widths.get(length)!.packets);
    if (Deno.env.get("IBSR_WIDTHS")) console.log(name, shares.map((s) => s.toFixed(3)).join(" "));
    // What a firewall doesn't see, it doesn't see in short intervals either.
    if (name !== "firewall") assert(shares[0]! < shares.at(-1)!, `${name}: ${shares}`);
  });
}

/** What is left between bounds at a millisecond: where the engine's own clock has slots that nobody can see. */
const LEFT_OVER: Record<string, number> = { "fixed window": 0.1, "sliding window": 0.2 };
/** What chance may do to the mean of so many traces. */
const CHANCE = 0.01;

/** Parts of which everything that decides is counted, in one source and one port. */
const MEETING: Record<string, (random: Random) => Record<string, unknown>> = {
  blacklist: (r) => ({ ips: detection(r) }),
  "blacklist with rule thresholds": (r) => ({ ips: detection(r, { ...threshold(r), track_by: "src_ip" }) }),
  "token bucket": (r) => perSource(r, "token_bucket"),
  "leaky bucket": (r) => perSource(r, "leaky_bucket"),
  "fixed window": (r) => perSource(r, "fixed_window"),
  "sliding window": (r) => perSource(r, "sliding_window"),
};

function perSource({ pick }: Random, algorithm: string) {
  const rules = [{ id: "r", algorithm, rate: pick([1, 2, 3, 10, 30]), burst: pick([1, 2, 5, 20]) }];
  return { ratelimit: { enabled: true, default_rate: 0, rules } };
}

for (const [name, sections] of Object.entries(MEETING)) {
  Deno.test(`bounds of the ${name} come together as intervals get shorter`, () => {
    const lengths = [10_000, 3000, 1000, 250, 50, 1], between = lengths.map(() => 0);
    let packets = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomOf(seed), subject = subjectOf(sections(random));
      const dense = randomTrace(random, { packets: 60, spans: SPANS, ports: [22] });
      // One packet a millisecond: what shares an interval of a millisecond has no order.
      const trace = [...new Map(dense.map((packet) => [packet.nowMs, packet])).values()];
      packets += trace.length;
      for (const [i, lengthMs] of lengths.entries()) {
        between[i]! += holdBounds(subject, { trace, lengthMs, about: `seed ${seed}` }).between;
      }
    }
    const shares = between.map((sum) => sum / packets);
    if (Deno.env.get("IBSR_WIDTHS")) console.log(name, shares.map((s) => s.toFixed(4)).join(" "));
    for (const [i, share] of shares.entries()) {
      assert(i === 0 || share <= shares[i - 1]! + CHANCE, `${name}: ${shares}`);
    }
    assert(shares.at(-1)! < (LEFT_OVER[name] ?? 0.03), `${name}: ${shares}`);
  });
}

Deno.test("a whitelisted source is never dropped by the blacklist, nor by networks of its neighbours", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomOf(seed), whitelist = ["198.51.100.9", "2001:db8::/32"];
    const ips = { ...detection(random), country_thresholds: { RU: 1, KP: 1 }, whitelist };
    const trace = randomTrace(random, { packets: 60, spans: SPANS, ports: [22, 443], sources: 4 });
    const lengthMs = random.pick(LENGTHS);
    const { sources } = holdBounds(subjectOf({ ips }), { trace, lengthMs, about: `seed ${seed}` });
    for (const source of ["198.51.100.9", "2001:db8::7"]) assert(!sources.has(source), `seed ${seed}: ${source}`);
  }
});

Deno.test("a stricter policy drops no less: a lower threshold, a lower rate, a longer block, a guard more", () => {
  /** Laxer and stricter sections; of one limit or block in the trace, so that one drop can't prevent another. */
  const pairs: ((random: Random) => [Record<string, unknown>, Record<string, unknown>, number[]])[] = [
    ({ pick }) => {
      const ips = {
        mode: "block",
        blacklist_ttl: 0,
        rules: [{ id: "a", severity: "high", protocol: "tcp", dst_port: 22 }],
      };
      const limit = pick([2, 3, 5, 20]);
      return [{ ips: { ...ips, auto_blacklist_threshold: limit } }, {
        ips: { ...ips, auto_blacklist_threshold: limit - 1 },
      }, [24]];
    },
    ({ pick }) => {
      const ips = {
        mode: "block",
        auto_blacklist_threshold: 1,
        rules: [{ id: "a", severity: "high", protocol: "tcp", dst_port: 22 }],
      };
      return [{ ips: { ...ips, blacklist_ttl: pick([1, 5, 60]) } }, { ips: { ...ips, blacklist_ttl: 0 } }, [24]];
    },
    ({ pick }) => {
      const algorithm = pick(["token_bucket", "leaky_bucket", "fixed_window"]),
        rate = pick([2, 4, 10, 100]),
        burst = pick([2, 5, 20]);
      const with_ = (rate: number, burst: number) => ({
        ratelimit: { enabled: true, default_rate: 0, rules: [{ id: "r", algorithm, rate, burst }] },
      });
      return [with_(rate, burst), with_(rate / 2, burst - 1), [24]];
    },
    ({ pick }) => {
      const with_ = (halfOpen: number, rst: number) => ({
        ratelimit: { enabled: true, default_rate: 0 },
        ddos: {
          enabled: true,
          connection_tracking: { enabled: true, half_open_threshold: halfOpen, rst_threshold: rst },
        },
      });
      const rst = pick([2, 5]), halfOpen = pick([2, 3, 10]);
      return [with_(halfOpen, rst), with_(halfOpen - 1, rst - 1), [2, 2, 4]];
    },
    () => {
      const rules = [{ id: "d", priority: 5, action: "deny", src_ip: "198.51.100.0/25" }];
      const wider = [{ ...rules[0], src_ip: "198.51.100.0/24" }, {
        id: "e",
        priority: 6,
        action: "deny",
        protocol: "tcp",
        dst_port: 443,
      }];
      return [{ firewall: { mode: "block", rules } }, { firewall: { mode: "block", rules: wider } }, [2, 24]];
    },
  ];
  for (let seed = 1; seed <= 600; seed++) {
    const random = randomOf(seed), [lax, strict, kinds] = pairs[seed % pairs.length]!(random);
    const trace = randomTrace(random, { packets: 60, spans: SPANS, ports: [22, 443], sources: 2, kinds });
    const lengthMs = random.pick(LENGTHS), about = `seed ${seed}`;
    const [a, b] = [lax, strict].map((sections) => holdBounds(subjectOf(sections!), { trace, lengthMs, about }));
    assert(
      b!.dropped >= a!.dropped,
      `${about}: ${a!.dropped} packets, of the stricter ${b!.dropped}: ${JSON.stringify([lax, strict])}`,
    );
    assert(
      b!.upper >= a!.upper,
      `${about}: at most ${a!.upper} packets, of the stricter ${b!.upper}: ${JSON.stringify([lax, strict, lengthMs])}`,
    );
  }
});
