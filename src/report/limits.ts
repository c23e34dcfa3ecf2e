/**
 * What could not be seen, in sentences. Pure.
 */
import { type NotCounted, SKIP_NAMES } from "../counters.ts";
import type { Policy } from "../policy/policy.ts";
import { formatCount, formatNumberOf } from "../words.ts";
import { describeSeconds, percent } from "./gates.ts";
import type { Limits, Spoofing } from "./summary.ts";
import type { Watch } from "./watch.ts";

const SKIPS: Record<keyof NotCounted, string> = {
  not_tcp: "of other protocols (UDP, ICMP, ARP, …)",
  other_port: "TCP to ports that were not monitored",
  malformed: "with a broken header",
  later_fragment: "later fragments, without a TCP header",
  unknown_encapsulation: "in tunnels or encapsulations that are not looked into",
};

/** Sums of what was not seen, and sentences that say what it means. */
export function describeLimits(
  watches: readonly Watch[],
  policy: Policy,
  spoofing: Spoofing,
  options: { blur: number; ports: readonly number[] | undefined },
): Limits {
  const sum = (of: (watch: Watch) => number) => watches.reduce((total, watch) => total + of(watch), 0);
  const recorded = watches.flatMap((watch) => watch.notCounted ?? []);
  const notCounted = recorded.length === 0 ? null : Object.fromEntries(
    SKIP_NAMES.map((name) => [name, recorded.reduce((total, one) => total + one[name], 0)]),
  ) as unknown as NotCounted;
  const packets = sum((w) => w.total.packets),
    unattributed = {
      packets: sum((w) => w.unattributed.packets),
      bytes: sum((w) => w.unattributed.bytes),
      syn: sum((w) => w.unattributed.syn),
    };
  const limits: Limits = {
    not_counted: notCounted,
    unattributed,
    loss: packets > 0 ? unattributed.packets / packets : 0,
    evicted: sum((w) => w.evicted),
    gaps_sec: sum((w) => Math.max(0, w.endMs - w.beginMs - w.coveredMs)) / 1000,
    restarts: sum((w) => w.restarts),
    generic_mode: watches.some((w) => w.modes.has("generic")),
    statements: [],
  };
  const say = (when: boolean, sentence: string) => void (when && limits.statements.push(sentence));

  say(
    true,
    "Nothing was dropped: what senders would have done otherwise is not simulated. Under real blocking a " +
      "TCP client sends its SYN again, and nothing more of a connection that was not made: more SYNs and fewer other " +
      "packets would be dropped than these, of the same connections.",
  );
  say(true, "Payload, and so whether a connection was welcome, is not seen.");
  if (notCounted) {
    for (const name of SKIP_NAMES) {
      say(notCounted[name] > 0, `Not counted: ${formatNumberOf(notCounted[name], "frame")} ${SKIPS[name]}.`);
    }
  } else {
    say(true, "How many frames were not TCP, or not to a monitored port, is not recorded in these snapshots.");
  }
  say(
    options.ports !== undefined,
    `Only ports ${options.ports?.join(", ")} are in this report (--dst-ports); packets that no ` +
      "source could be named for are those of all ports.",
  );
  say(
    unattributed.packets > 0,
    `For ${formatNumberOf(unattributed.packets, "counted packet")} (${
      percent(limits.loss)
    }) no source could be named: ` +
      "this widens the upper bounds of the whole.",
  );
  say(
    limits.evicted > 0,
    `${
      formatNumberOf(limits.evicted, "entry", "entries")
    } pushed out of the maps or fallen back: counts of their sources are too low.`,
  );
  say(sum((w) => w.wrapped) > 0, `Put right: ${formatNumberOf(sum((w) => w.wrapped), "counter")} that passed 2^32.`);
  say(limits.gaps_sec > 0, `${describeSeconds(limits.gaps_sec)} were not watched: that is not zero traffic.`);
  say(
    limits.restarts > 0,
    `Collectors started anew ${formatNumberOf(limits.restarts, "time")}; what came between is not known.`,
  );
  say(
    limits.generic_mode,
    "Generic mode: the kernel may have joined packets of a connection (GRO) before they were counted, so " +
      "packet counts are lower bounds and rules by packets trigger later than they would on the wire.",
  );
  const coarsest = Math.max(0, ...watches.map((w) => w.longestMs));
  say(
    coarsest > policy.resolutionMs && options.blur > 0,
    `Snapshots are up to ${describeSeconds(Number((coarsest / 1000).toPrecision(3)))} apart; with ` +
      `${describeSeconds(policy.resolutionMs / 1000)} or less, lower and upper bounds come near each other.`,
  );
  say(
    spoofing.likely_spoofed,
    `${percent(spoofing.share_of_syn)} of SYNs came from sources that were seen once (${
      formatCount(spoofing.one_shot_sources)
    }): ` +
      "rules by source would chase addresses that never return and fill their tables with them. SYN cookies " +
      "(net.ipv4.tcp_syncookies) and filtering upstream help there.",
  );
  const hidden = policy.rules.filter((rule) => rule.coverage === "not observable" && rule.mode !== "off");
  say(
    hidden.length > 0,
    `Counters can't show ${formatNumberOf(hidden.length, "rule")}, and no number here has what they would do: ` +
      `${hidden.slice(0, 5).map((rule) => rule.id).join(", ")}${hidden.length > 5 ? ", …" : ""}.`,
  );
  return limits;
}
