/**
 * `./scripts/sample DIR`: writes a made-up week of snapshots to try reports on, the same bytes at every run.
 *
 * A web server's ports 80 and 443 from Monday 2026-11-09 on, counted every 30 s: 440 clients that come a few times a
 * day, more by day than by night; three floods, by one, by twelve and by one source; a restart with five minutes that
 * nobody watched. The documentation's examples and its picture are made of it.
 */
import { createRandom } from "../tests/packets.ts";
import { DAY, HOUR, type Shot, START, version8 } from "../tests/golden/situations.ts";
import type { Row } from "../tests/streams.ts";

const STEP_SEC = 30, WEEK_SEC = 7 * DAY;
const IPV4_CLIENTS = 200, IPV6_CLIENTS = 240;

/** A flood: so many SYNs a second of each source. */
interface Flood {
  beginSec: number;
  minutes: number;
  sources: string[];
  synRate: number;
}

const FLOODS: Flood[] = [
  { beginSec: 1 * DAY + 3.2 * HOUR, minutes: 25, sources: ["203.0.113.9"], synRate: 1200 },
  {
    ...{ beginSec: 3 * DAY + 14.7 * HOUR, minutes: 40, synRate: 180 },
    sources: Array.from({ length: 12 }, (_, i) => `198.51.100.${20 + i}`),
  },
  { beginSec: 5 * DAY + 22 * HOUR, minutes: 15, sources: ["192.0.2.77"], synRate: 3000 },
];

/** When nobody watched: the collector was upgraded. */
const RESTART = { beginSec: 4 * DAY + 10 * HOUR, endSec: 4 * DAY + 10 * HOUR + 300 };

/** Rows by interval. */
function makeWeek(): Map<number, Row[]> {
  const { word } = createRandom(20261109), rows = new Map<number, Row[]>();
  const add = (index: number, row: Row) => {
    const list = rows.get(index);
    if (list) list.push(row);
    else rows.set(index, [row]);
  };
  const share = () => (word() >>> 0) / 2 ** 32;

  for (let client = 0; client < IPV4_CLIENTS + IPV6_CLIENTS; client++) {
    const source = client < IPV4_CLIENTS
      ? `100.${64 + (client >> 6)}.${4 * (client & 63)}.${1 + client % 250}`
      : `2001:db8:${(client - IPV4_CLIENTS + 16).toString(16)}::${(client % 250 + 1).toString(16)}`;
    for (let day = 0; day < 7; day++) {
      for (let visit = 0; visit < 3; visit++) {
        // Most come between 7 and 22 o'clock: the sum of three dice has its middle at 14:30.
        const hour = (7 + 5 * (share() + share() + share()) + (share() < 0.12 ? 12 : 0)) % 24;
        const first = Math.floor((day * DAY + hour * HOUR) / STEP_SEC), length = 2 + Math.floor(5 * share());
        for (let i = 0; i < length; i++) {
          const syn = 1 + Math.floor(6 * share()), data = Math.floor(syn * (3 + 9 * share()));
          add(first + i, {
            ...{
              source,
              port: share() < 0.9 ? 443 : 80,
              syn,
              handshake_ack: syn + Math.ceil(data / 3),
              data,
              fin: syn,
            },
            ...{ packets: 2 * syn + Math.ceil(data / 3) + data, bytes: 62 * syn + 66 * data + 480 * data },
          });
        }
      }
    }
  }
  for (const { beginSec, minutes, sources, synRate } of FLOODS) {
    for (const source of sources) {
      const first = Math.floor(beginSec / STEP_SEC);
      for (let i = 0; i < 2 * minutes; i++) {
        const syn = Math.round(synRate * STEP_SEC * (0.85 + 0.3 * share()));
        add(first + i, { source, port: 443, syn, packets: syn, bytes: 60 * syn });
      }
      // They knock before and after, too, and never use what they open.
      for (let day = 0; day < 7; day++) {
        add(Math.floor((day * DAY + 8 * HOUR + 6 * HOUR * share()) / STEP_SEC), {
          source,
          port: 443,
          syn: 1 + day % 3,
        });
      }
    }
  }
  return rows;
}

/** Rows of one source and port in one interval, added up, in the order of a snapshot. */
function settle(rows: readonly Row[]): Row[] {
  const sums = new Map<string, Row>();
  for (const { source, port, ...counters } of rows) {
    const sum: Row = sums.get(`${source} ${port}`) ?? { source, port };
    for (const [name, count] of Object.entries(counters) as [keyof typeof counters, number][]) {
      sum[name] = (sum[name] ?? 0) + count;
    }
    sums.set(`${source} ${port}`, sum);
  }
  const family = ({ source }: Row) => Number(source.includes(":"));
  return [...sums.values()].sort((a, b) =>
    family(a) - family(b) || (a.source < b.source ? -1 : a.source > b.source ? 1 : a.port - b.port)
  );
}

/** Writes the week into `folder`, an hour a segment, as a collector leaves it. */
function writeSample(folder: string): { segments: number; bytes: number } {
  const week = makeWeek(), runs: Shot[][] = [[], []];
  for (let begin = 0; begin < WEEK_SEC; begin += STEP_SEC) {
    if (begin >= RESTART.beginSec && begin < RESTART.endSec) continue;
    const rows = settle(week.get(begin / STEP_SEC) ?? []), run = begin < RESTART.beginSec ? 0 : 1;
    runs[run]!.push({ begin, end: begin + STEP_SEC, rows, notCounted: 40 + begin / STEP_SEC % 17 });
  }
  const lines = runs.flatMap((shots, run) =>
    version8(shots, "web1", START + (run === 0 ? 0 : RESTART.endSec)).trimEnd().split("\n")
  );
  const segments = Map.groupBy(lines, (line) => {
    const endSec = Number(/"ts_unix_sec":(\d+)/.exec(line)![1]);
    return new Date((endSec - 1) * 1000).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
  });
  Deno.mkdirSync(folder, { recursive: true });
  let bytes = 0;
  for (const [hour, its] of segments) {
    const text = its.map((line) => `${line}\n`).join("");
    bytes += text.length;
    Deno.writeTextFileSync(`${folder}/snapshot_${hour}.jsonl`, text);
  }
  return { segments: segments.size, bytes };
}

if (import.meta.main) {
  const [folder] = Deno.args;
  if (folder === undefined) {
    console.error("usage: ./scripts/sample DIR");
    Deno.exit(64);
  }
  const { segments, bytes } = writeSample(folder);
  console.log(`a made-up week: ${segments} segments, ${(bytes / 1e6).toFixed(0)} MB`);
}
