/**
 * Programs in C that interfere with traffic, each by one trick, and programs that don't though it takes a proof.
 *
 * Every program is compiled in four ways (bad_programs/reach.h): with its trick done directly, behind a branch, in a
 * static and in a global subprogram. A refusal for another reason than the trick fails, and so does a good
 * program that the kernel's verifier wouldn't load: it would show nothing. At last the proof is held against the
 * kernel itself, on thousands of programs that nobody wrote.
 */
import assert from "node:assert/strict";
import { proveSafety } from "../../src/safety.ts";
import { mutate } from "../mutate.ts";
import { createRandom } from "../packets.ts";
import { testWith } from "../needs.ts";

const REACHES = ["directly", "behind a branch", "in a static subprogram", "in a global subprogram"];

const NUMBER = "returns a number that cannot be told";
const VALUE = "returns a value that cannot be told";
const PACKET_WRITE = "writes through a packet pointer";
const ABSENT = "calls a subprogram that is not there";
const calls = (helper: string) => `calls ${helper}, which is not on the list`;
const mapType = (map: string, type: string) => `map "${map}" has type ${type}, which is not on the list`;

/** Every program in bad_programs/, and all the reasons for which it is refused. */
const BAD: Record<string, (string | RegExp)[]> = {
  abort: [/^returns XDP_ABORTED( or XDP_PASS)?$/],
  drop: [/^returns XDP_DROP( or XDP_PASS)?$/],
  redirect: [/^returns (XDP_PASS or )?XDP_REDIRECT$/],
  transmit: [/^returns (XDP_PASS or )?XDP_TX$/],
  unknown_action: [/^returns (XDP_PASS or )?7$/],

  return_argument: [NUMBER],
  return_computed: [NUMBER],
  return_context: [/^returns (the context|a value that cannot be told)$/],
  return_half: [NUMBER],
  return_helper: [NUMBER],
  return_indexed: [VALUE],
  return_looped: [NUMBER],
  return_map_value: [NUMBER],
  return_masked: [NUMBER],
  return_overwritten: [/^returns XDP_DROP( or XDP_PASS)?$/],
  return_packet_byte: [NUMBER],
  return_spilled: [/^returns XDP_DROP( or XDP_PASS)?$/],

  write_context: ["writes through the context"],
  write_metadata: [PACKET_WRITE],
  write_packet: [PACKET_WRITE],
  write_packet_argument: [PACKET_WRITE],
  write_packet_atomic: [PACKET_WRITE],
  write_packet_copied: [PACKET_WRITE],
  write_packet_or_stack: ["writes through a value that cannot be told"],
  write_packet_returned: [PACKET_WRITE],
  write_packet_spilled: [PACKET_WRITE],

  adjust_head: [calls("xdp_adjust_head")],
  adjust_meta: [calls("xdp_adjust_meta")],
  adjust_tail: [calls("xdp_adjust_tail")],
  clock: [calls("ktime_get_ns")],
  kernel_memory: [calls("probe_read_kernel")],
  load_bytes: [calls("xdp_load_bytes")],
  map_delete: [calls("map_delete_elem")],
  no_such_helper: [calls("helper 9999")],
  perf_event_output: [calls("perf_event_output"), mapType("events", "PERF_EVENT_ARRAY")],
  print: [calls("trace_printk")],
  redirect_helper: [calls("redirect")],
  redirect_map: [calls("redirect_map"), mapType("devices", "DEVMAP"), VALUE],
  signal: [calls("send_signal")],
  store_bytes: [calls("xdp_store_bytes")],
  tail_call: [calls("tail_call"), mapType("programs", "PROG_ARRAY")],
  user_memory: [calls("probe_write_user")],

  inner_devices: [calls("redirect_map"), mapType("outer", "ARRAY_OF_MAPS of DEVMAP"), VALUE],
  legacy_map: [
    'section "maps" declares maps without BTF',
    'the loader would change it (relocation of type 1 against "old")',
    "passes a number that cannot be told as a map to map_lookup_elem",
  ],
  pinned_map: ['map "blocklist" is pinned, so another program may share it'],
  socket: [mapType("sockets", "XSKMAP")],

  callback: [
    calls("loop"),
    'the loader would change it (relocation of type 1 against ".text")',
    "no path leads here",
  ],
  constant_data: [
    'section ".rodata" is not expected',
    'the loader would change it (relocation of type 1 against "action")',
    VALUE,
  ],
  global_data: [
    'section ".data" is not expected',
    'the loader would change it (relocation of type 1 against "action")',
    VALUE,
  ],
  kernel_function: [
    'it needs "bpf_rcu_read_lock" from outside the object',
    'the loader would change it (relocation of type 10 against "bpf_rcu_read_lock")',
    ABSENT,
  ],
  recursion: ["calls nest too deep"],
  relocated: ["the loader would rewrite instructions for the running kernel (CO-RE relocations)"],
  replacement: ['section "freplace/xdp_filter" holds another program'],
  second_program: ['section "xdp" has 2 programs, not 1'],
  second_section: ["it has 2 sections with an XDP program, and should have 1"],
  traffic_control: ['section "tc" holds another program'],
};

/** The programs in a folder beside this file, without `.bpf.c`. */
function listPrograms(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, import.meta.url))]
    .map((entry) => entry.name).filter((name) => name.endsWith(".bpf.c"))
    .map((name) => name.slice(0, -".bpf.c".length)).sort();
}

const compiled = new Map<string, Promise<Uint8Array[]>>();

/** A program compiled with its trick reached in each of the ways, in order. */
function compile(source: string): Promise<Uint8Array[]> {
  if (!compiled.has(source)) compiled.set(source, compileOnce(source));
  return compiled.get(source)!;
}

async function compileOnce(source: string): Promise<Uint8Array[]> {
  const directory = await Deno.makeTempDir();
  try {
    return await Promise.all(REACHES.map(async (_, reach) => {
      const object = `${directory}/${reach}.o`;
      const { success, stderr } = await new Deno.Command("clang", {
        args: [
          ..."-O2 -g -target bpfel -mcpu=v2 -c".split(" "),
          `-I/usr/include/${Deno.build.arch}-linux-gnu`,
          `-DREACH=${reach}`,
          new URL(`${source}.bpf.c`, import.meta.url).pathname,
          "-o",
          object,
        ],
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      return await Deno.readFile(object);
    }));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("bad_programs/ holds the programs of the table and no other", () => {
  assert.deepEqual(listPrograms("bad_programs"), Object.keys(BAD).sort());
});

for (const [name, reasons] of Object.entries(BAD)) {
  testWith("kernel", `proveSafety() refuses ${name}: ${reasons.join("; ")}`, async () => {
    const objects = await compile(`bad_programs/${name}`);
    for (const [reach, object] of objects.entries()) {
      const report = await proveSafety(object);
      assert.equal(report.safe, false, REACHES[reach]);
      const found = report.refusals.map(({ reason }) => reason.replace(/(?<=would change )\S+/, "it"));
      const matches = (reason: string | RegExp, text: string) =>
        typeof reason === "string" ? reason === text : reason.test(text);
      for (const text of found) {
        assert.ok(reasons.some((reason) => matches(reason, text)), `${REACHES[reach]}: refused because it ${text}`);
      }
      for (const reason of reasons) {
        assert.ok(found.some((text) => matches(reason, text)), `${REACHES[reach]}: not refused because it ${reason}`);
      }
    }
  });
}

for (const name of listPrograms("good_programs")) {
  testWith("kernel", `proveSafety() accepts ${name}, and so does the kernel's verifier`, async () => {
    const objects = await compile(`good_programs/${name}`);
    for (const [reach, object] of objects.entries()) {
      const report = await proveSafety(object);
      assert.deepEqual(report.refusals, [], REACHES[reach]);
      assert.equal(report.safe, true);
      await withLoaded(object, (accepted, reason) => assert.ok(accepted, reason));
    }
  });
}

testWith(
  "kernel",
  "proveSafety() accepts no mutant that the kernel loads and that doesn't pass its packet",
  async () => {
    const sources = [
      ...listPrograms("good_programs").map((name) => `good_programs/${name}`),
      ...[
        "drop",
        "return_spilled",
        "return_overwritten",
        "write_packet",
        "write_packet_spilled",
        "write_packet_argument",
      ]
        .map((name) => `bad_programs/${name}`),
    ];
    const objects = (await Promise.all(sources.map(compile))).flat();
    const random = createRandom(3).below;
    let accepted = 0, ran = 0;
    for (let i = 0; i < 6000; i++) {
      const mutant = mutate(objects[i % objects.length]!, random);
      const report = await proveSafety(mutant).catch(() => undefined);
      if (!report?.safe) continue;
      accepted++;
      await withLoaded(mutant, async (loaded, pin) => {
        if (!loaded) return;
        const packet = Uint8Array.from({ length: 64 }, () => random(256));
        const result = await runProgram(pin, packet);
        assert.deepEqual(result, { action: 2, packet }, report.sha256);
        ran++;
      });
    }
    assert.ok(accepted > 100 && ran > 10, `${accepted} accepted, ${ran} run`);
  },
);

/** Loads an object, and calls back with where it is pinned, or why the kernel refused it. */
async function withLoaded(
  object: Uint8Array,
  use: (loaded: boolean, pinOrReason: string) => void | Promise<void>,
): Promise<void> {
  const file = await Deno.makeTempFile({ suffix: ".o" });
  const pin = `/sys/fs/bpf/ibsr_test_${Deno.pid}`;
  try {
    await Deno.writeFile(file, object);
    const { success, stderr } = await new Deno.Command("bpftool", { args: ["prog", "load", file, pin] }).output();
    await use(success, success ? pin : new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(file);
    await Deno.remove(pin).catch(() => {});
  }
}

/** Runs a pinned program once: what it returned, and the packet afterwards. */
async function runProgram(pin: string, packet: Uint8Array): Promise<{ action: number; packet: Uint8Array }> {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeFile(file, packet);
    const args = ["-j", "prog", "run", "pinned", pin, "data_in", file, "data_out", `${file}.out`];
    const { stdout } = await new Deno.Command("bpftool", { args }).output();
    const action = JSON.parse(new TextDecoder().decode(stdout)).retval;
    return { action, packet: new Uint8Array(await Deno.readFile(`${file}.out`)) };
  } finally {
    await Deno.remove(file);
    await Deno.remove(`${file}.out`).catch(() => {});
  }
}
