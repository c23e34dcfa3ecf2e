/**
 * Ratios measured side by side in one run, on this machine: `deno task bench`.
 *
 * Each figure is the median of several rounds with its extremes; what it is compared with is measured in the same
 * rounds, in turn. `--only program|snapshot|export` measures one part. Needs root. Absolute times say as much about the machine as about ibsr: quote ratios.
 */
import { existsSync } from "node:fs";
import { readObjects } from "../src/objects.ts";
import { toDelta } from "../src/counters.ts";
import { encodeSnapshot } from "../src/snapshot.ts";
import { openSpool } from "../src/spool.ts";
import { openProgram } from "../src/xdp.ts";
import { readKernelFile, returnLargeBuffers } from "../src/libc.ts";
import { V8_FLAGS } from "./compile/permissions.ts";
import { benchReport } from "./bench_report.ts";
import { ibsrCommand } from "../tests/kernel/lab.ts";
import { whatIsMissing } from "../tests/needs.ts";
import { bytesOf, environmentOf, S3Server, segmentName } from "../tests/s3/server.ts";

const [part, ...args] = Deno.args;

/** Ethernet, IPv4, TCP: 54 bytes and `payload` more. */
function frameOf(port: number, flags: number, payload = 0): Uint8Array<ArrayBuffer> {
  const total = 40 + payload;
  return new Uint8Array([
    ...[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, total >> 8, total & 255, 0, 1, 0, 0, 64, 6, 0, 0],
    ...[10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, port >> 8, port & 255, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 255, 255],
    ...[0, 0, 0, 0, ...Array(payload).fill(65)],
  ]);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function spread(values: readonly number[], digits = 0): string {
  const text = (n: number) => n.toFixed(digits);
  return `${text(median(values))} (${text(Math.min(...values))}–${text(Math.max(...values))})`;
}

/** An XDP program that only passes, as the floor of what a test run measures: its code, for `clang -x c -`. */
const EMPTY = `#include <linux/bpf.h>
  __attribute__((section("xdp"), used)) int ibsr(struct xdp_md *ctx) { return XDP_PASS; }`;

/** Nanoseconds a packet takes in the program, beside an empty one's. */
async function benchProgram(): Promise<void> {
  const folder = await Deno.makeTempDir(), pin = `/sys/fs/bpf/ibsr_bench_${Deno.pid}`;
  await Deno.writeTextFile(`${folder}/empty.c`, EMPTY);
  await Deno.writeFile(`${folder}/frame`, frameOf(80, 0x10));
  const include = `-I/usr/include/${Deno.build.arch}-linux-gnu`;
  await run("clang", ["-O2", "-target", "bpfel", include, "-c", `${folder}/empty.c`, "-o", `${folder}/empty.o`]);
  await run("bpftool", ["prog", "load", `${folder}/empty.o`, pin]);
  using program = openProgram(await readObjects(), { mapSize: 100_000, ports: [80, 443] });
  const vlan = frameOf(80, 0x10),
    cases = {
      "known source, ACK": frameOf(80, 0x10),
      "known source, data": frameOf(80, 0x18, 60),
      "known source, SYN": frameOf(80, 2),
      "known source, FIN with data": frameOf(80, 0x19, 60),
      "802.1Q, ACK": new Uint8Array([...vlan.subarray(0, 12), 0x81, 0, 0, 7, ...vlan.subarray(12)]),
      "port not monitored": frameOf(81, 0x10),
      "UDP": frameOf(80, 0x10).with(23, 17),
    };
  const results = new Map<string, number[]>([
    ["empty program", []],
    ...Object.keys(cases).map((n) => [n, []] as [string, number[]]),
  ]);
  try {
    for (const frame of Object.values(cases)) program.run(frame);
    for (let round = 0; round < 9; round++) {
      const out = await run("bpftool", [
        "prog",
        "run",
        "pinned",
        pin,
        "data_in",
        `${folder}/frame`,
        "repeat",
        "1000000",
      ]);
      results.get("empty program")!.push(Number(/average\): (\d+)ns/.exec(out)![1]));
      for (const [name, frame] of Object.entries(cases)) results.get(name)!.push(program.measure(frame, 1_000_000));
    }
  } finally {
    await Deno.remove(pin);
    await Deno.remove(folder, { recursive: true });
  }
  const floor = median(results.get("empty program")!);
  console.log("| packet | ns in a test run, median (least–most) | less the empty program's |\n|---|---|---|");
  for (const [name, ns] of results) console.log(`| ${name} | ${spread(ns)} | ${median(ns) - floor} |`);
}

async function run(command: string, commandArgs: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args: commandArgs }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** One size, in a process of its own: prints rounds as JSON. */
async function snapshotRounds(entries: number, rounds: number): Promise<void> {
  returnLargeBuffers(); // as the collector does
  const folder = await Deno.makeTempDir();
  using program = openProgram(await readObjects(), { mapSize: Math.ceil(entries * 1.02) + 1000, ports: [80, 443] });
  using spool = openSpool(folder, { at: Date.now(), rotate: "hourly" });
  const frame = frameOf(80, 0x10), results = [];
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < entries; i++) {
      [frame[27], frame[28], frame[29]] = [i >> 16, i >> 8, i];
      program.run(frame);
    }
    const start = performance.now();
    const reading = await program.read();
    const read = performance.now();
    const delta = toDelta(reading);
    const sorted = performance.now();
    const stream = { runId: 0, hostname: "bench", iface: "bench", mode: "test_run" as const, mapSize: entries };
    const chunks = encodeSnapshot(stream, { seq: round, endMs: Date.now(), lengthMs: 10_000 }, delta);
    const bytes = await spool.append(chunks, { at: Date.now() });
    const end = performance.now();
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readKernelFile("/proc/self/status")!)![1]) / 1024;
    results.push({
      rows: delta.v4.order.length,
      bytes,
      read: read - start,
      sort: sorted - read,
      write: end - sorted,
      all: end - start,
      peak,
    });
  }
  await Deno.remove(folder, { recursive: true });
  console.log(JSON.stringify(results));
}

/** Maps to an fsynced line. */
async function benchSnapshot(): Promise<void> {
  console.log(
    "| entries | kernel read ms | sort ms | encode, write, fsync ms | all ms | all / read | MB | peak RSS MB |",
  );
  console.log("|---|---|---|---|---|---|---|---|");
  for (const [entries, rounds] of [[10_000, 9], [100_000, 9], [1_000_000, 9]] as const) {
    const output = await run(Deno.execPath(), [
      "run",
      "--quiet",
      "--allow-all",
      V8_FLAGS,
      import.meta.filename!,
      "rounds",
      `${entries}`,
      `${rounds}`,
    ]);
    const all = JSON.parse(output) as Record<"rows" | "bytes" | "read" | "sort" | "write" | "all" | "peak", number>[];
    const column = (name: keyof typeof all[0]) => all.map((r) => r[name]);
    console.log(
      `| ${Math.min(...column("rows"))} | ${spread(column("read"))} | ${spread(column("sort"))} | ${
        spread(column("write"))
      } | ` +
        `${spread(column("all"))} | ${(median(column("all")) / median(column("read"))).toFixed(2)} | ` +
        `${(median(column("bytes")) / 1e6).toFixed(1)} | ${Math.max(...column("peak")).toFixed(0)} |`,
    );
  }
}

/** Starts a command; returns its seconds and its peak memory in MB. */
async function measure(command: string, commandArgs: string[], env: Record<string, string>) {
  const output = `${await Deno.makeTempFile()}`, start = performance.now();
  const { success, stderr } = await new Deno.Command("/usr/bin/time", {
    args: ["-f", "%M", "-o", output, command, ...commandArgs],
    env,
    stdout: "null",
    stderr: "piped",
  }).output();
  const seconds = (performance.now() - start) / 1000;
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  const peak = Number((await Deno.readTextFile(output)).trim()) / 1024;
  await Deno.remove(output);
  return { seconds, peak };
}

/** Uploads to Ceph's gateway on this machine, by ibsr and by two others, in turn. */
async function benchExport(): Promise<void> {
  const others = ["/usr/bin/aws", "/usr/bin/s3cmd", "/usr/bin/time"].filter((path) => !existsSync(path)).join(", ");
  const missing = whatIsMissing("s3") ?? (others || undefined);
  if (missing !== undefined) return console.log(`not measured, missing: ${missing}`);
  console.log("| files | program | seconds, median (least–most) | MiB/s | time / ibsr's | peak RSS MB |");
  console.log("|---|---|---|---|---|---|");
  const folder = await Deno.makeTempDir(), environment = { AWS_DEFAULT_REGION: "us-east-1" };
  for (const [count, mib] of [[200, 4], [4, 256]] as const) {
    const input = `${folder}/${count}x${mib}`, results = new Map<string, { seconds: number; peak: number }[]>();
    await Deno.mkdir(input);
    for (let n = 0; n < count; n++) await Deno.writeFile(`${input}/${segmentName(n)}.zst`, bytesOf(mib << 20, n + 1));
    for (let round = 0; round < 3; round++) {
      await using server = await S3Server.start("radosgw"); // it keeps objects in memory
      const env = { ...environmentOf(server), ...environment },
        bucket = (name: string) => server.makeBucket(`${name}-${round}`);
      const [ibsr, ibsrArgs] = ibsrCommand([
        "export",
        "s3",
        "--input",
        input,
        "--endpoint",
        server.endpoint,
        "--bucket",
      ]);
      const programs: [string, () => Promise<{ seconds: number; peak: number }>][] = [
        ["ibsr export s3", async () => await measure(ibsr, [...ibsrArgs, await bucket("ibsr"), "-v"], env)],
        ["aws s3 cp --recursive", async () => {
          const to = `s3://${await bucket("aws")}`, at = ["--endpoint-url", server.endpoint];
          return await measure("/usr/bin/aws", [...at, "s3", "cp", "--quiet", "--recursive", input, to], env);
        }],
        ["s3cmd put --recursive", async () => {
          const to = `s3://${await bucket("s3cmd")}`, { host, accessKey, secretKey } = server;
          const at = ["--config=/dev/null", "--no-ssl", `--host=${host}`, `--host-bucket=${host}`, "--no-progress"];
          const keys = [`--access_key=${accessKey}`, `--secret_key=${secretKey}`];
          return await measure("s3cmd", [...at, ...keys, "put", "--recursive", `${input}/`, to], env);
        }],
      ];
      for (const [name, start] of programs) results.set(name, [...results.get(name) ?? [], await start()]);
      await Deno.remove(`${input}/export.jsonl`);
    }
    const ours = median(results.get("ibsr export s3")!.map(({ seconds }) => seconds));
    for (const [name, rounds] of results) {
      const seconds = rounds.map((r) => r.seconds),
        peak = Math.max(...rounds.map((r) => r.peak)),
        middle = median(seconds);
      console.log(
        `| ${count} × ${mib} MiB | ${name} | ${spread(seconds, 2)} | ${(count * mib / middle).toFixed(0)} | ` +
          `${(middle / ours).toFixed(2)} | ${peak.toFixed(0)} |`,
      );
    }
    await Deno.remove(input, { recursive: true });
  }
  await Deno.remove(folder, { recursive: true });
}

if (part === "rounds") {
  await snapshotRounds(Number(args[0]), Number(args[1]));
} else {
  const cpu = /model name\s*: (.*)/.exec(readKernelFile("/proc/cpuinfo") ?? "")?.[1] ?? Deno.build.arch;
  console.log(`${cpu}, ${navigator.hardwareConcurrency} CPUs, Linux ${Deno.osRelease()}, Deno ${Deno.version.deno}\n`);
  const only = part === "--only" ? args[0] : undefined;
  const sections: [string, string, () => Promise<void>][] = [
    ["program", "The program, by BPF_PROG_TEST_RUN", benchProgram],
    ["snapshot", "A snapshot, from the maps to the disk", benchSnapshot],
    ["report", "Evidence, from segments to intervals", benchReport],
    ["export", "An upload to a server on this machine", benchExport],
  ];
  for (const [name, title, bench] of sections) {
    if (only !== undefined && only !== name) continue;
    console.log(`## ${title}\n`);
    await bench();
    console.log();
  }
}
