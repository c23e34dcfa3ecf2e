/**
 * A collector that is killed at each step of what it does to its spool, by strace, and started again after each.
 */
import assert from "node:assert/strict";
import { listInputs } from "../../src/input.ts";
import { testWith } from "../needs.ts";
import { readSpool } from "./counts.ts";
import { hasXdp, ibsrCommand, Lab } from "./lab.ts";

/**
 * The calls that change something on a disk, and the ends of the paths that they are about. strace counts them on each
 * thread by itself: those that are not of the main thread need a turn of their own.
 */
const CALLS = [
  ...["mkdir", "chmod", "ftruncate", "write", "fdatasync", "fsync", "rename", "unlink"].map((call) => [call, ""]),
  ...[["fsync", ".open.jsonl"], ["fsync", ".tmp"], ["write", ".tmp"]],
] as [call: string, end: string][];

/** Some snapshots and heartbeats, and a segment that is sealed and compressed. */
const RUN = [
  ...["-i", "server", "-p", "80", "--snapshot-interval-sec", "0.1", "--duration-sec", "0.25"],
  ...["--status-interval-sec", "0.1", "--compress", "gzip"],
];

/** The files that such a run has to do with, whichever hour it is by then. */
function listPaths(spool: string): string[] {
  const hours = [0, 1].map((n) => new Date(Date.now() + n * 3_600_000).toISOString().slice(0, 13).replace(/[-T]/g, ""));
  const states = [".open.jsonl", ".jsonl", ".jsonl.gz", ".jsonl.gz.tmp"];
  const segments = hours.flatMap((hour) => states.map((state) => `${spool}/snapshot_${hour}${state}`));
  return [spool, `${spool}/spool.lock`, `${spool}/status.jsonl`, ...segments];
}

/** The whole lines of all segments, each once; of one being compressed there are two files. */
async function readLines(spool: string): Promise<string[]> {
  let inputs;
  try {
    inputs = listInputs([spool]);
  } catch {
    return []; // nothing was begun yet
  }
  const lines: string[] = [];
  for (const input of inputs) {
    const text = await new Response(ReadableStream.from(input.read())).text();
    lines.push(...text.split("\n").slice(0, -1));
  }
  return [...new Set(lines)];
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

testWith(
  ["kernel", "tracing"],
  "collect loses no whole line and leaves no program, at whichever step it is killed, and goes on when started again",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    await lab.serve([80]);
    const kills: Record<string, number> = {};
    let cut = 0, kept = 0;
    await lab.keepTalking(80, async () => {
      for (const [call, end] of CALLS) {
        for (let step = 1;; step++) {
          const spool = `${folder}/spool`, name = `${call} ${end} ${step}`;
          const paths = listPaths(spool).filter((path) => path.endsWith(end));
          const [command, args] = ibsrCommand(["collect", "-o", spool, ...RUN]);
          const { code } = await lab.exec(lab.server, "strace", [
            ...["-f", "-qqq", "-o", "/dev/null", "-e", `trace=${call}`],
            ...[
              "-e",
              `inject=${call}:signal=SIGKILL:when=${step}`,
              ...paths.flatMap((path) => ["-P", path]),
            ],
            ...[command, ...args],
          ], { anyCode: true });
          if (code === 0) { // there are no more such steps
            await Deno.remove(spool, { recursive: true });
            break;
          }
          assert.equal(code, 137, name);
          kills[`${call} ${end}`.trim()] = step;
          assert.ok(!await hasXdp(lab.server, "server"), name);

          // A short line is one write; of a long one, or with the power cut, a part can be there.
          const open = paths.find((path) => path.endsWith(".open.jsonl") && isFile(path));
          if (open) await Deno.writeTextFile(open, '{"version":8,"aggregation":"src_i', { append: true });
          const before = await readLines(spool);
          const again = await lab.exec(lab.server, ...ibsrCommand(["collect", "-o", spool, ...RUN]));
          const after = await readLines(spool);
          assert.deepEqual(after.slice(0, before.length), before, name);
          assert.equal((await readSpool(spool)).length, after.length, `${name}: a line is there twice, or is none`);
          assert.ok(after.length > before.length, name);
          assert.equal(again.stderr.includes("Cut 33 bytes of an unfinished line"), open !== undefined, name);
          if (open) cut++;
          kept += before.length;
          await Deno.remove(spool, { recursive: true });
        }
      }
    });
    console.log(`killed at ${JSON.stringify(kills)}: ${kept} whole lines kept, ${cut} torn lines cut`);
    assert.equal(Object.keys(kills).length, CALLS.length);
    assert.ok(kills.write! >= 4 && cut >= 3 && kept > 10);
    await Deno.remove(folder, { recursive: true });
  },
);
