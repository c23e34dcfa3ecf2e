/** A snapshot, from the maps to a line on the disk: what it takes, at sizes from ten thousand entries to four million. */
import { toDelta } from "../../src/counters.ts";
import { COUNTERS, KEY4 } from "../../src/layout.ts";
import { releaseStartup, returnLargeBuffers } from "../../src/libc.ts";
import { readObjects } from "../../src/objects.ts";
import { encodeSnapshot } from "../../src/snapshot.ts";
import { openSpool } from "../../src/spool.ts";
import { openProgram, type Program } from "../../src/xdp.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { V8_FLAGS } from "../compile/permissions.ts";
import { frameOf } from "./frames.ts";
import type { Row, Section } from "./rows.ts";
import { runCommand } from "../run.ts";
import { peakMb, runApart } from "./apart.ts";
import { compilePrograms, drain, loadFlood, openMap, time, timeGracePeriod } from "./test_run.ts";

/** A size, how often it is measured after so many rounds in which V8 compiles, and its goal. */
interface Size {
  entries: number;
  rounds: number;
  warmUp: number;
  mostMs?: number;
}

const SIZES: Size[] = [
  { entries: 10_000, rounds: 25, warmUp: 40 },
  { entries: 100_000, rounds: 15, warmUp: 10 },
  { entries: 1_000_000, rounds: 7, warmUp: 2, mostMs: 400 },
  { entries: 4_000_000, rounds: 3, warmUp: 0 },
];

/** Of an entry in a snapshot. */
const LINE_BYTES = 155;

/** Rounds in which bpftool takes part: it needs up to half a minute for four million entries. */
const DUMPS = 1;

export const SNAPSHOT: Section = {
  name: "snapshot",
  title: "A snapshot, from the maps to the disk",
  about:
    "From the swap of the maps to the line on the disk (fsync), in a process of its own that does what the collector " +
    "does, " +
    "after rounds in which V8 compiles. Compared to the least that any reader takes, bpf_map_lookup_and_delete_batch() on the one map that is full, " +
    "again and again into the same buffer; to that together with what no reader that loses nothing can do without, one " +
    "grace period (by membarrier(2), which waits for the same) and as many bytes written and synced; and, once a size, to `bpftool map dump -j` of that map into nothing. The peak " +
    "is of this process's resident memory under `deno run` (the executable's is in the section on the collector; the " +
    "maps are the kernel's).",
  missing: () => whatIsMissing("kernel"),
  async run() {
    const rows: Row[] = [], folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" });
    try {
      await compilePrograms(folder);
      for (const size of SIZES) rows.push(...await measureSize(folder, size));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    return rows;
  },
};

async function measureSize(folder: string, { entries, rounds, warmUp, mostMs }: Size): Promise<Row[]> {
  const args = [folder, `${entries}`, `${rounds}`, `${warmUp}`];
  const all = await runApart<Round[]>(import.meta.filename!, args, [V8_FLAGS]);
  const column = (name: keyof Round) => all.map((round) => round[name]),
    what = `${entries.toLocaleString("en-US")} entries`;
  const ours = column("allMs"), limit = { what: "the kernel's batch read alone", theirs: column("limitMs") };
  return [
    { what, unit: "ms", ours, comparedTo: limit, goal: { of: "ratio", atMost: 1.8 } },
    {
      ...{
        what,
        unit: "ms",
        ours,
        comparedTo: { what: "bpftool map dump -j", theirs: column("dumpMs").slice(0, DUMPS) },
      },
      ...mostMs && { goal: { of: "median", atMost: mostMs } },
    },
    {
      ...{ what, unit: "ms", ours },
      comparedTo: {
        what: "the batch read, a grace period, and the bytes on the disk",
        theirs: all.map(({ limitMs, graceMs, diskMs }) => limitMs + graceMs + diskMs),
      },
    },
    { what: `${what}: reading the maps`, unit: "ms", ours: column("readMs"), comparedTo: limit },
    {
      what: `${what}: sorting, encoding, writing, fsync`,
      unit: "ms",
      ours: all.map(({ sortMs, writeMs }) => sortMs + writeMs),
    },
    {
      what: `${what}: peak RSS`,
      unit: "MB",
      ours: column("peakMb"),
    },
  ];
}

/** What a round took. */
interface Round {
  limitMs: number;
  /** One synchronize_rcu(). */
  graceMs: number;
  /** As many bytes as the line has, written to the same disk, and fsync. */
  diskMs: number;
  dumpMs: number;
  readMs: number;
  sortMs: number;
  writeMs: number;
  allMs: number;
  peakMb: number;
}

/** One size, in this process: fills the maps, lets others read them, fills them again and takes a snapshot. */
async function measureRounds(
  folder: string,
  { entries, rounds, warmUp }: { entries: number; rounds: number; warmUp: number },
): Promise<Round[]> {
  returnLargeBuffers(); // as the collector does
  const mapSize = Math.ceil(entries * 1.02) + 1000;
  using program = openProgram(await readObjects(), { mapSize, ports: [80, 443] });
  using flood = loadFlood(folder, program.fd);
  using spool = openSpool(`${folder}/spool${entries}`, { at: Date.now(), rotate: "hourly" });
  const ack = frameOf({ port: 80, flags: 0x10 }), maps = await findMaps(program, ["known4_0", "known4_1"]);
  const results: Round[] = [];
  releaseStartup(); // as the collector does, once it is attached
  let generation = 0;
  const read = async () => {
    generation = 1 - generation;
    return await program.read();
  };
  for (let round = -warmUp; round < rounds; round++) {
    time(flood.fd, ack, entries);
    const start = performance.now();
    if (round >= 0 && round < DUMPS) {
      await runCommand("sh", ["-c", `bpftool -j map dump id ${maps[generation]!.id} >/dev/null`]);
    }
    const dumped = performance.now();
    const count = drain(maps[generation]!.fd, { keySize: KEY4.sizeof, valueSize: COUNTERS.sizeof });
    const drained = performance.now();
    if (count !== entries) throw new Error(`${count} entries are in the map, not ${entries}`);
    await read(); // what is left are the totals
    const graceMs = timeGracePeriod(), diskMs = timeDisk(folder, LINE_BYTES * entries);
    time(flood.fd, ack, entries);
    const took = await takeSnapshot(read, spool, { seq: round + warmUp, mapSize });
    if (round >= 0) results.push({ limitMs: drained - dumped, graceMs, diskMs, dumpMs: dumped - start, ...took });
  }
  return results;
}

/** Milliseconds until as many bytes as a snapshot has are on the disk, by the plainest means. */
function timeDisk(folder: string, bytes: number): number {
  const part = new Uint8Array(1 << 18).fill(0x20), path = `${folder}/bytes`, start = performance.now();
  {
    using file = Deno.openSync(path, { write: true, create: true, truncate: true });
    for (let left = bytes; left > 0; left -= part.length) file.writeSync(part.subarray(0, left));
    file.syncDataSync();
  }
  const ms = performance.now() - start;
  Deno.removeSync(path);
  return ms;
}

/** Takes a snapshot, and times its parts. */
export async function takeSnapshot(
  read: Program["read"],
  spool: ReturnType<typeof openSpool>,
  { seq, mapSize }: { seq: number; mapSize: number },
): Promise<Omit<Round, "limitMs" | "graceMs" | "diskMs" | "dumpMs">> {
  const start = performance.now();
  const reading = await read();
  const done = performance.now();
  const delta = toDelta(reading);
  const sorted = performance.now();
  const stream = { runId: 0, hostname: "bench", iface: "bench", mode: "test_run" as const, mapSize };
  await spool.append(encodeSnapshot(stream, { seq, endMs: Date.now(), lengthMs: 10_000 }, delta), { at: Date.now() });
  const end = performance.now();
  if (delta.evicted !== 0) throw new Error(`${delta.evicted} entries were pushed out`);
  return { readMs: done - start, sortMs: sorted - done, writeMs: end - sorted, allMs: end - start, peakMb: peakMb() };
}

/** The maps of a program by name. */
export async function findMaps(program: Program, names: string[]): Promise<{ id: number; fd: number }[]> {
  const programId = /prog_id:\s+(\d+)/.exec(await Deno.readTextFile(`/proc/self/fdinfo/${program.fd}`))![1]!;
  const { map_ids } = JSON.parse(await runCommand("bpftool", ["-j", "prog", "show", "id", programId]));
  const shown = await Promise.all(
    (map_ids as number[]).map((id) => runCommand("bpftool", ["-j", "map", "show", "id", `${id}`])),
  );
  const maps: { id: number; name: string }[] = shown.map((text) => JSON.parse(text));
  return names.map((name) => {
    const { id } = maps.find((map) => map.name === name)!;
    return { id, fd: openMap(id) };
  });
}

if (import.meta.main) {
  const [folder, ...numbers] = Deno.args as [string, ...string[]], [entries, rounds, warmUp] = numbers.map(Number);
  console.log(JSON.stringify(await measureRounds(folder, { entries: entries!, rounds: rounds!, warmUp: warmUp! })));
}
