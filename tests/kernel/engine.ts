/**
 * The loaded program as an engine that counts frames, and its comparison with the model, packet by packet.
 */
import { formatAddress } from "../../src/address.ts";
import { COUNTER_NAMES, countersAt, type Delta, toDelta, wordsOf } from "../../src/counters.ts";
import { COUNTERS } from "../../src/layout.ts";
import { compareSources, createModel, type Drained } from "../../src/model.ts";
import { readObjects } from "../../src/objects.ts";
import { openProgram, type Program } from "../../src/xdp.ts";
import { formatFrame } from "../vectors.ts";
import { shrinkFrame } from "../packets.ts";

/** Frames that BPF_PROG_TEST_RUN takes, in bytes. */
export const RUNNABLE = { least: 14, most: 65549 };
const XDP_PASS = 2;

/** Opens the program that would be attached, or the one of a kind. */
export async function openKernel(
  ports: readonly number[],
  kind?: "frags" | "plain",
  mapSize = 200_000,
): Promise<Program> {
  const objects = await readObjects();
  return openProgram(kind ? objects.filter((o) => o.kind === kind) : objects, { ports, mapSize });
}

/** A delta in the model's shape. Rows that the maps had no room for make it incomparable: that is an error. */
function drainedOf(delta: Delta): Drained {
  for (const name of COUNTER_NAMES) {
    if (delta.unattributed[name] !== 0) throw new Error(`${delta.unattributed[name]} ${name} are unattributed`);
  }
  const sources: Drained["sources"] = [];
  for (const table of [delta.v4, delta.v6]) {
    const words = wordsOf(table), view = new DataView(table.keys.buffer), addressBytes = table.keySize - 4;
    for (const row of table.order) {
      const at = row * table.keySize;
      sources.push({
        source: table.keys.slice(at, at + addressBytes),
        port: view.getUint16(at + addressBytes),
        counters: countersAt(words, row * COUNTERS.sizeof / 4),
      });
    }
  }
  const totals = delta.totals.map(({ port, ...counters }) => ({ port, counters }));
  return { sources, totals, not_counted: { ...delta.notCounted } };
}

/** Reads what the program counted, in the model's shape. */
export async function drainKernel(program: Program): Promise<Drained> {
  return drainedOf(toDelta(await program.read()));
}

/** Runs one frame; says what is wrong if it isn't passed, or not passed as it was. */
export function runFrame(program: Program, frame: Uint8Array): string | undefined {
  const after = new Uint8Array(frame.length), result = program.run(frame, after);
  if (result !== XDP_PASS) return `the program returns ${result}`;
  const changed = after.findIndex((byte, i) => byte !== frame[i]);
  return changed < 0 ? undefined : `the program changes byte ${changed}`;
}

/** Where two countings differ, a line each; counters of keys in order. */
export function differences(kernel: Drained, model: Drained): string[] {
  const lines = (d: Drained) => [
    ...[...d.sources].sort(compareSources).map((s) => `${formatAddress(s.source)} ${s.port} ${values(s.counters)}`),
    ...d.totals.map((t) => `total ${t.port} ${values(t.counters)}`),
    ...Object.entries(d.not_counted).map(([name, n]) => `${name} ${n}`),
  ];
  const [ours, theirs] = [lines(kernel), lines(model)];
  const [has, wants] = [new Set(ours), new Set(theirs)];
  return [
    ...ours.filter((line) => !wants.has(line)).map((line) => `kernel: ${line}`),
    ...theirs.filter((line) => !has.has(line)).map((line) => `model:  ${line}`),
  ];
}

function values(
  counters: typeof COUNTER_NAMES extends readonly (infer N extends string)[] ? Record<N, number> : never,
): string {
  return COUNTER_NAMES.map((name) => `${name}=${counters[name]}`).join(" ");
}

/**
 * Counts frames by both and compares: everything that was counted, what was returned, and that no byte changed.
 *
 * @returns undefined if they agree; else the smallest frame on which they don't, and how, for people.
 */
export async function compareFrames(
  program: Program,
  ports: readonly number[],
  frames: readonly Uint8Array[],
): Promise<string | undefined> {
  const model = createModel(ports);
  let wrong: string | undefined;
  const runAll = (some: readonly Uint8Array[]) => {
    for (const frame of some) {
      wrong ??= runFrame(program, frame);
      model.count(frame, frame.length);
    }
  };
  const compare = async (some: readonly Uint8Array[]) => {
    wrong = undefined;
    runAll(some);
    const found = differences(await drainKernel(program), model.drain());
    return [...wrong === undefined ? [] : [wrong], ...found];
  };
  if ((await compare(frames)).length === 0) return undefined;

  // One frame is at fault (counting is adding up): halve, then shrink. Each step drains both.
  let suspects = frames;
  while (suspects.length > 1) {
    const half = suspects.slice(0, suspects.length >> 1);
    suspects = (await compare(half)).length > 0 ? half : suspects.slice(half.length);
  }
  const smallest = await shrink(suspects[0]!, async (frame) => (await compare([frame])).length > 0);
  return [
    `kernel and model disagree on this frame of ${smallest.length} bytes:`,
    formatFrame(smallest),
    ...await compare([smallest]),
  ]
    .join("\n");
}

/** `shrinkFrame()` for a predicate that has to wait: it is asked again with what it tried, until it tries no more. */
async function shrink(frame: Uint8Array, fails: (frame: Uint8Array) => Promise<boolean>): Promise<Uint8Array> {
  const answers = new Map([[frame.toHex(), true]]);
  for (;;) {
    let unknown: Uint8Array | undefined;
    const smallest = shrinkFrame(frame, (candidate) => {
      if (candidate.length < RUNNABLE.least) return false;
      const answer = answers.get(candidate.toHex());
      if (answer === undefined) unknown ??= candidate.slice();
      return answer ?? false;
    });
    if (!unknown) return smallest;
    answers.set(unknown.toHex(), await fails(unknown));
  }
}
