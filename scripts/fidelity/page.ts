/**
 * The page of results, as measured just now: method, table, clients that answer back, and what it can't show.
 */
import { run } from "../../tests/kernel/lab.ts";
import { type Amount, describe, keyOf, NOTHING, type Range, type Unit, UNITS } from "./compare.ts";
import type { LiveOutcome } from "./live.ts";
import type { Enforcement, Outcome } from "./replay.ts";

const METHOD: Record<Enforcement["from"], string> = {
  start: "from the start",
  edge: "at interval edges",
  packet: "inside of intervals",
  limit: "the kernel's limit",
};

/** More would-be-blocked sources than this are one row. */
const MOST_ROWS = 4;

interface Row {
  sources: string;
  recorded: number;
  said: Record<Unit, Range>;
  dropped: Record<Unit, number | undefined>;
}

function sumUp(outcome: Outcome, sources: ReadonlySet<string>, name: string): Row {
  const row: Row = {
    sources: name,
    recorded: 0,
    said: { packets: { lower: 0, upper: 0 }, bytes: { lower: 0, upper: 0 }, syn: { lower: 0, upper: 0 } },
    dropped: { packets: 0, bytes: 0, syn: 0 },
  };
  for (const said of outcome.said.filter(({ source }) => sources.has(source))) {
    const really: Amount = outcome.happened.dropped.get(keyOf(said)) ?? NOTHING;
    row.recorded += said.recorded.packets;
    for (const unit of UNITS) {
      row.said[unit].lower += said.predicted[unit].lower;
      row.said[unit].upper += said.predicted[unit].upper;
      const sum = row.dropped[unit], n = really[unit];
      row.dropped[unit] = sum === undefined || n === undefined ? undefined : sum + n;
    }
  }
  return row;
}

/** Sources of which something was to be dropped, or was. */
function touchedSources({ said, happened }: Outcome): Set<string> {
  const touched = said.filter((row) => {
    return row.predicted.packets.upper > 0 || (happened.dropped.get(keyOf(row))?.packets ?? 0) > 0;
  });
  return new Set(touched.map(({ source }) => source));
}

function rowsOf(outcome: Outcome): Row[] {
  const touched = touchedSources(outcome);
  if (touched.size > MOST_ROWS) return [sumUp(outcome, touched, `${touched.size} sources`)];
  return [...touched].map((source) => sumUp(outcome, new Set([source]), source));
}

function renderTable(outcomes: readonly Outcome[]): string[] {
  return [
    "| traffic | enforced | source | recorded packets | packets: said | dropped | bytes: said | dropped | SYN: said | " +
    "dropped | holds |",
    `|${"---|".repeat(11)}`,
    ...outcomes.flatMap((outcome) => {
      const { case: { title, enforcement }, wrong } = outcome;
      return rowsOf(outcome).map(({ sources, recorded, said, dropped }) =>
        `| ${
          [
            title,
            `${METHOD[enforcement.from]}, ${enforcement.by}`,
            sources,
            recorded,
            ...UNITS.flatMap((unit) => [describe(said[unit]), dropped[unit] ?? "–"]),
            wrong.length === 0 ? "yes" : "NO",
          ].join(" | ")
        } |`
      );
    }),
  ];
}

function share(part: number, whole: number): string {
  return `${(100 * part / Math.max(1, whole)).toFixed(1)} %`;
}

/** How far apart the bounds were, and how much of that was between the lower one and what happened. */
function renderWidths(outcomes: readonly Outcome[]): string[] {
  const open = outcomes.filter(({ case: { enforcement: { from } } }) => from === "packet" || from === "limit");
  return [
    "| traffic | enforced | packets: lower | dropped | upper | width, of what was recorded of these sources |",
    `|${"---|".repeat(6)}`,
    ...open.map((outcome) => {
      const { case: { title, enforcement } } = outcome, row = sumUp(outcome, touchedSources(outcome), "");
      const { lower, upper } = row.said.packets;
      return `| ${title} | ${enforcement.by} | ${lower} | ${row.dropped.packets} | ${upper} | ${
        share(upper - lower, row.recorded)
      } |`;
    }),
  ];
}

async function versions(): Promise<string> {
  const packages = ["nftables", "iptables", "ipset", "xdp-tools"];
  const { stdout } = await run("dpkg-query", ["-W", "-f", "${Package} ${Version}\\n", ...packages], { anyCode: true });
  return stdout.trim().split("\n").join(", ");
}

/** Markdown; `missing` says which cases were left out, `disturbed` how many runs were no measurement. */
export async function renderPage(
  outcomes: readonly Outcome[],
  live: readonly LiveOutcome[],
  { missing, disturbed, seconds }: { missing: string | undefined; disturbed: number; seconds: number },
): Promise<string> {
  const all = outcomes.flatMap(({ said, case: { name } }) => said.map(({ source }) => `${name} ${source}`));
  const touched = outcomes.reduce((sum, outcome) => sum + touchedSources(outcome).size, 0);
  const sources = new Set(all).size, frames = outcomes.reduce((sum, { frames }) => sum + 2 * frames, 0);
  const distinct = new Set(outcomes.flatMap(({ said }) => said.map(({ source }) => source))).size;
  const dropped = outcomes.reduce((sum, o) => {
    return sum + [...o.happened.dropped.values()].reduce((n, { packets }) => n + packets, 0);
  }, 0);
  const exact = outcomes.filter(({ case: { enforcement: { from } } }) => from === "start" || from === "edge");
  const wrong = [...outcomes, ...live].filter(({ wrong }) => wrong.length > 0).length;
  return [
    "# Would block = really dropped",
    "",
    "Written by `deno task fidelity`, which sends the same recorded traffic twice, frame by frame at its times, into",
    "network namespaces of its own. In the first run `ibsr collect` counts it and `ibsr report` or `ibsr simulate` says",
    "what blocking would have dropped. In the second a real firewall drops, and what is missing behind it is counted.",
    "",
    `Measured on ${new Date().toISOString().slice(0, 10)} in ${Math.round(seconds)} s, Linux ${Deno.osRelease()}, ` +
    `Deno ${Deno.version.deno}, ${await versions()}.`,
    "",
    `- ${outcomes.length + live.length} cases, ${
      wrong === 0 ? "all of which hold" : `${wrong} of which DO NOT HOLD`
    }: ` +
    `${exact.length} where said and dropped must be equal, ${outcomes.length - exact.length} where what is dropped ` +
    `must lie inside of the bounds, ${live.length} with clients that answer back.`,
    `- ${frames} frames sent in both runs. Each case's sources together are ${sources}, of which ${distinct} addresses ` +
    `are distinct. ${dropped} packets of ${touched} sources were dropped or were to be. Of the other ` +
    `${sources - touched} nothing was to be dropped, and nothing was.`,
    `- The latest frame of all runs was ${
      Math.max(...outcomes.map(({ latestMs }) => latestMs)).toFixed(0)
    } ms behind its time; ${disturbed} runs in which frames, snapshots or commands were too late for their times were done again.`,
    ...(missing ? [`- Left out, missing: ${missing}.`] : []),
    "",
    "## Method",
    "",
    "- **From the start**: the file that `ibsr rules` wrote is applied before the first frame. All that was recorded of",
    "  its sources and ports must be missing, and nothing else.",
    "- **At interval edges**: blocks begin and end at edges of the collector's intervals, where the intervals certainly",
    "  meet a rule: what the lower bound is about. What is missing must equal it. The lab decides by the snapshots'",
    "  counters with code of its own, and each decision of the report must be one of these blocks.",
    "- **Inside of intervals**: an engine of the lab's own that sees each packet blocks behind the one that meets a rule.",
    "  The report, which has only the counters, must have decided in that interval, and what is missing must lie inside",
    "  of its bounds. Blocks expire, are renewed and are triggered again.",
    "- **The kernel's limit**: nft `limit` beside `ibsr simulate` of a policy with the same token bucket.",
    "- Packets, bytes of frames and SYNs (connections) are compared for each source and port and in all. Three numbers",
    "  must agree: what a table of counters in front of the firewall and one behind it differ by, what the firewall's own",
    "  counter of the source says, and the prediction. What comes to the firewall must equal what was recorded.",
    "  xdp-filter acts before the first table: there, what was recorded takes its place.",
    "- Frames of timed cases keep their interval, and 15 % of it away from its edges, so that a snapshot or a command",
    "  that is some milliseconds late meets the same frames.",
    "- Captures keep addresses, ports, flags and payload; MAC addresses are the lab's, padding behind the IP packet is",
    "  left out, a longer capture loses its pauses first and is then sent faster. One capture is recorded by the lab from",
    "  real TCP. `deno task fidelity --capture FILE` does the same with a capture of yours.",
    "- That the comparison can fail is tested: one packet, byte or SYN more or less in a prediction, or the same sum at",
    "  another source, does not hold.",
    "",
    "## What was said, and what was dropped",
    "",
    ...renderTable(outcomes),
    "",
    "## Width of the bounds",
    "",
    "Where a rule's times fall inside of intervals counters can't say which side of them a packet was on. With snapshots",
    "of a second and windows of two (the limit: a quarter of a second), the bounds were this far apart. They are wide",
    "because blocks of 3.5 s begin and end within a dozen snapshots; longer blocks have fewer edges.",
    "",
    ...renderWidths(outcomes),
    "",
    ...renderLive(live),
    "## What this can't show",
    "",
    "- Frames run over a veth pair without offloads. A real card's GRO and LRO join segments before generic XDP and",
    "  netfilter see them: both then count fewer, longer packets, and native XDP counts what was on the wire.",
    "- Frames that the IP stack refuses before any firewall (wrong checksum, cut short) are counted by ibsr and reach no",
    "  nftables rule. Captures with frames of which only the beginning was kept are refused by the lab.",
    "- Netfilter counts IP packets. The Ethernet header and VLAN tag are added for the comparison, padding is not sent.",
    "- Rates are those of these recordings: what a firewall does that is overloaded isn't tried.",
    "- Senders that answer back are only those above. What an attacker does when blocked nobody can say.",
    "",
  ].join("\n");
}

function renderLive(live: readonly LiveOutcome[]): string[] {
  if (live.length === 0) return [];
  return [
    "## Clients that answer back",
    "",
    "Real TCP clients open connections at a steady rate; one of two is blocked when it meets the rule. The report says of",
    "its numbers: *under real blocking a TCP client sends its SYN again, and nothing more of a connection that was not",
    "made: more SYNs and fewer other packets would be dropped than these, of the same connections.* All three are tested.",
    "",
    "| blocked client | connections tried | said to fall into blocks | really failed | SYNs dropped for them | packets: said | " +
    "dropped | failed beside it | holds |",
    `|${"---|".repeat(9)}`,
    ...live.map((o) =>
      `| ${o.case.source} | ${o.attempts} | ${describe(o.connections)} | ${o.failed} | ${o.droppedSyn} | ${
        describe(o.packets)
      } | ${o.dropped} | ${o.neighbourFailed} | ${o.wrong.length === 0 ? "yes" : "NO"} |`
    ),
    "",
    "SYNs are sent again until a client gives up, after 2.5 s here: of each dropped connection more than one SYN is " +
    "dropped, and connections are as said. The rest of such a connection is never sent, which the recording has: of " +
    `packets in all ${
      live.every((o) => o.dropped < o.packets.lower) ? "fewer" : "not always fewer"
    } were dropped than were said. So the report's words are right about SYNs and connections; which way packets in ` +
    "all go depends on how long connections are. Connections are the number to go by.",
    "",
  ];
}
