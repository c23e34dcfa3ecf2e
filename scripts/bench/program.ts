/** What a packet takes in the kernel program, by BPF_PROG_TEST_RUN. */
import { readObjects } from "../../src/objects.ts";
import { openProgram } from "../../src/xdp.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { frameOf, tagged } from "./frames.ts";
import { median, type Row, type Section } from "./rows.ts";
import { run } from "./run.ts";

const ROUNDS = 9;

export const PROGRAM: Section = {
  name: "program",
  title: "A packet in the program",
  about: "Nanoseconds by BPF_PROG_TEST_RUN, which runs the program on one frame a million times.",
  missing: () => whatIsMissing("kernel"),
  run: measureProgram,
};

/** An XDP program that only passes, as the floor of what a test run measures: its code, for `clang -x c -`. */
const EMPTY = `#include <linux/bpf.h>
  __attribute__((section("xdp"), used)) int ibsr(struct xdp_md *ctx) { return XDP_PASS; }`;

async function measureProgram(): Promise<Row[]> {
  const folder = await Deno.makeTempDir(), pin = `/sys/fs/bpf/ibsr_bench_${Deno.pid}`;
  await Deno.writeTextFile(`${folder}/empty.c`, EMPTY);
  await Deno.writeFile(`${folder}/frame`, frameOf({ port: 80, flags: 0x10 }));
  const include = `-I/usr/include/${Deno.build.arch}-linux-gnu`;
  await run("clang", ["-O2", "-target", "bpfel", include, "-c", `${folder}/empty.c`, "-o", `${folder}/empty.o`]);
  await run("bpftool", ["prog", "load", `${folder}/empty.o`, pin]);
  using program = openProgram(await readObjects(), { mapSize: 100_000, ports: [80, 443] });
  const cases = {
    "known source, ACK": frameOf({ port: 80, flags: 0x10 }),
    "known source, data": frameOf({ port: 80, flags: 0x18, payload: 60 }),
    "known source, SYN": frameOf({ port: 80, flags: 2 }),
    "known source, FIN with data": frameOf({ port: 80, flags: 0x19, payload: 60 }),
    "802.1Q, ACK": tagged(frameOf({ port: 80, flags: 0x10 })),
    "port not monitored": frameOf({ port: 81, flags: 0x10 }),
    "UDP": frameOf({ port: 80, flags: 0x10 }).with(23, 17),
  };
  const floor: number[] = [], ours = new Map(Object.keys(cases).map((name) => [name, [] as number[]]));
  try {
    for (const frame of Object.values(cases)) program.run(frame);
    for (let round = 0; round < ROUNDS; round++) {
      const repeat = ["data_in", `${folder}/frame`, "repeat", "1000000"];
      const out = await run("bpftool", ["prog", "run", "pinned", pin, ...repeat]);
      floor.push(Number(/average\): (\d+)ns/.exec(out)![1]));
      for (const [name, frame] of Object.entries(cases)) ours.get(name)!.push(program.measure(frame, 1_000_000));
    }
  } finally {
    await Deno.remove(pin);
    await Deno.remove(folder, { recursive: true });
  }
  return [...ours].map(([what, ns]) => ({
    what: `${what} (floor ${median(floor)} ns)`,
    unit: "ns",
    ours: ns,
    comparedTo: { what: "an empty program", theirs: floor },
  }));
}
