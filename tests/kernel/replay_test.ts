/**
 * `ibsr replay` and `ibsr safety` as programs: both engines write the same snapshots, memory stays flat, and a
 * collector refuses an object that is not proven safe.
 */
import assert from "node:assert/strict";
import { parseAddress } from "../../src/address.ts";
import { readObjects } from "../../src/objects.ts";
import { readFrames } from "../../src/pcap.ts";
import { kernelEngine, modelEngine, replay } from "../../src/replay.ts";
import { decodeSnapshot } from "../../src/snapshot.ts";
import { openProgram } from "../../src/xdp.ts";
import { captureDirectory, keyOf, linkTypeOf, listCaptures, readTruth, TRUE_COUNTERS } from "../ground_truth.ts";
import { testWith } from "../needs.ts";
import { readSpool, sumBuckets } from "./counts.ts";
import { mixedFrames, writePcap } from "./frames.ts";
import { ibsrCommand, Lab, run } from "./lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Runs ibsr to its end. */
function ibsr(args: string, options?: { anyCode: boolean }) {
  return run(...ibsrCommand(args.split(" ")), options);
}

/** A capture's bytes with every record's time set, so that record i is `ms(i)` after the first. */
async function retime(path: string, ms: (i: number) => number): Promise<void> {
  const bytes = await Deno.readFile(path), view = new DataView(bytes.buffer);
  for (let at = 24, i = 0; at < bytes.length; at += 16 + view.getUint32(at + 8, true), i++) {
    view.setUint32(at, 1_700_000_000 + Math.floor(ms(i) / 1000), true);
    view.setUint32(at + 4, ms(i) % 1000 * 1000, true);
  }
  await Deno.writeFile(path, bytes);
}

testWith(
  "kernel",
  "replay writes the same snapshots by the kernel program and by the model, in the capture's time",
  async () => {
    const folder = await Deno.makeTempDir(), capture = `${folder}/a.pcap`;
    await writePcap(capture, mixedFrames(5000, [80, 443]));
    await retime(capture, (i) => 7 * i); // 35 s, four intervals
    await run("gzip", ["--keep", capture]);
    for (const [engine, file] of [["kernel", capture], ["model", `${capture}.gz`]]) {
      const { stdout, stderr } = await ibsr(`replay --engine ${engine} --hostname h -o ${folder}/${engine} ${file}`);
      assert.match(stdout, /^4 snapshots of [\d,]+ packets \(5,000 frames\)/);
      assert.equal(stderr, "");
    }
    const [kernel, model] = [await readSpool(`${folder}/kernel`), await readSpool(`${folder}/model`)];
    assert.equal(kernel.length, 4);
    const comparable = (snapshots: typeof kernel) => snapshots.map(({ xdp_mode: _, map: __, ...rest }) => rest);
    assert.deepEqual(comparable(kernel), comparable(model));
    assert.deepEqual(kernel.map((s) => s.xdp_mode), Array(4).fill("test_run"));
    assert.deepEqual(kernel.map((s) => [s.ts_unix_sec, s.interval_sec]), [
      [1_700_000_010, 10],
      [1_700_000_020, 10],
      [1_700_000_030, 10],
      [1_700_000_034.994, 4.994],
    ]);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "replay gives what is whole of a cut capture, and says where it ends", async () => {
  const folder = await Deno.makeTempDir(), capture = `${folder}/a.pcap`;
  await writePcap(capture, mixedFrames(100, [80]));
  const bytes = await Deno.readFile(capture);
  await Deno.writeFile(capture, bytes.subarray(0, bytes.length - 10));
  for (const engine of ["kernel", "model"]) {
    const { stdout, stderr } = await ibsr(`replay --engine ${engine} -o ${folder}/${engine} ${capture}`);
    assert.match(stdout, /\(99 frames\)/);
    assert.match(stderr, /^ibsr: warning: ".*" ends inside the record at byte \d+; 99 frames read before it/m);
  }
  await Deno.remove(folder, { recursive: true });
});

testWith("kernel", "replay covers no time in which the capture has a long pause", async () => {
  const folder = await Deno.makeTempDir(), capture = `${folder}/a.pcap`;
  await writePcap(capture, mixedFrames(20, [80]));
  await retime(capture, (i) => i < 10 ? i * 1000 : 86_400_000 + i * 1000);
  const { stderr } = await ibsr(`replay --engine model -o ${folder}/s ${capture}`);
  assert.match(stderr, /covered by no interval: 1 long pause of the capture/);
  const covered = (await readSpool(`${folder}/s`)).map((s) => s.interval_sec);
  assert.deepEqual(covered, [9.001, 9.001]);
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "kernel",
  "replay needs no more memory for a capture of 1,000,000 frames than for one of 100,000",
  async () => {
    const folder = await Deno.makeTempDir(), peaks: number[] = [];
    for (const frames of [100_000, 1_000_000]) {
      await writePcap(`${folder}/a.pcap`, mixedFrames(frames, [80]));
      const [command, args] = ibsrCommand([
        "replay",
        "--engine",
        "kernel",
        "-p",
        "80",
        "-o",
        `${folder}/${frames}`,
        `${folder}/a.pcap`,
      ]);
      const { stderr } = await run("python3", [
        "-c",
        `
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)`,
        command,
        ...args,
      ]);
      peaks.push(Number(stderr.trim().split("\n").at(-1)));
    }
    console.log(`peak RSS ${peaks.join(" and ")} MB`);
    assert.ok(peaks[1]! < peaks[0]! + 40, `${peaks}`);
    await Deno.remove(folder, { recursive: true });
  },
);

for (const which of ["kernel", "model"] as const) {
  testWith(
    ["kernel", "captures"],
    `replay by the ${which} writes every row of every public capture as tshark has it`,
    async () => {
      const directory = captureDirectory()!, objects = await readObjects(), seen = { captures: 0, rows: 0, refused: 0 };
      for (const name of listCaptures(directory)) {
        const path = `${directory}/${name}.pcap`, truth = await readTruth(path);
        const ports = [...new Set([...truth.keys()].map((key) => Number(key.split(" ")[1])))].sort((a, b) => a - b);
        using stack = new DisposableStack();
        const engine = which === "model"
          ? modelEngine(ports)
          : kernelEngine(stack.use(openProgram(objects, { ports, mapSize: 100_000 })));
        using file = await Deno.open(path);
        const lines: string[] = [], isEthernet = await linkTypeOf(path) === 1;
        const write = (chunks: Iterable<Uint8Array>) => {
          const decoder = new TextDecoder();
          let line = "";
          for (const chunk of chunks) line += decoder.decode(chunk); // each is overwritten by the next
          lines.push(line);
        };
        const frames = readFrames(file.readable, { name }).frames;
        const replayed = replay(frames, engine, {
          intervalMs: 3_600_000,
          hostname: "h",
          iface: "i",
          mapSize: 1,
          write,
        });
        if (!isEthernet) {
          await assert.rejects(replayed, /link type \d+\), not Ethernet/);
          seen.refused++;
          continue;
        }
        await replayed;
        const counted = new Map(
          [...sumBuckets(lines.map((line) => decodeSnapshot(line)))].map(([row, counters]) => {
            const [address, port] = row.split(" ");
            return [keyOf({ source: parseAddress(address!)!, port: Number(port) }), counters];
          }),
        );
        const differing = [...new Set([...counted.keys(), ...truth.keys()])].filter((key) =>
          !TRUE_COUNTERS.every((c) => counted.get(key)?.[c] === truth.get(key)?.[c])
        );
        // Of one frame of one capture corners.csv says that either count is right.
        assert.ok(differing.length <= (name === "fw-malformed-v4" ? 1 : 0), `${name}: ${differing}`);
        seen.captures++;
        seen.rows += truth.size;
      }
      console.log(`${seen.captures} captures: ${seen.rows} rows equal; ${seen.refused} refused by link type`);
      assert.ok(seen.rows > 40_000);
    },
  );
}

testWith("kernel", "replay chooses the model where the kernel program can't be loaded, and says so", async () => {
  const folder = await Deno.makeTempDir(), capture = `${folder}/a.pcap`;
  await writePcap(capture, mixedFrames(10, [80]));
  const [command, args] = ibsrCommand(["replay", "-o", `${folder}/s`, capture]);
  const { stderr } = await run("setpriv", ["--bounding-set=-all", command, ...args]);
  assert.match(stderr, /the model counts: .* CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON missing/);
  assert.deepEqual((await readSpool(`${folder}/s`)).map((s) => s.xdp_mode), ["model"]);
  const forced = await run("setpriv", [
    ...["--bounding-set=-all", command, ...args.slice(0, -3), "--engine", "kernel", ...args.slice(-3)],
  ], { anyCode: true });
  assert.equal(forced.code, 77, forced.stderr);
  await Deno.remove(folder, { recursive: true });
});

testWith("kernel", "safety proves both objects, with what the kernel's verifier says of them", async () => {
  const { stdout } = await ibsr("safety");
  assert.equal(stdout.match(/^This object cannot interfere with traffic/gm)?.length, 2);
  assert.equal(stdout.match(/^verifier {2}accepted: [\d,]+ instructions walked, /gm)?.length, 2);
  assert.equal(stdout.match(/^NO /gm), null);
  const reports = JSON.parse((await ibsr("safety --json")).stdout);
  for (const report of reports) {
    assert.ok(report.safe && report.verifier.jitedBytes > 0);
    const file = report.name.includes("frags") ? "ibsr_frags.o" : "ibsr.o";
    const { stdout } = await run("sha256sum", [`${ROOT}bpf/${file}`]);
    assert.equal(report.sha256, stdout.slice(0, 64));
  }
});

testWith("kernel", "safety refuses a program that drops, and collect doesn't attach one", async () => {
  const folder = await Deno.makeTempDir();
  for (const part of ["src", "bpf", "main.ts", "deno.json", "deno.lock"]) await run("cp", ["-r", ROOT + part, folder]);
  const source = await Deno.readTextFile(`${folder}/bpf/ibsr.bpf.c`);
  const dropping = source.replace(
    /return XDP_PASS;\n}\n\nchar/,
    "return packet.port == 81 ? XDP_DROP : XDP_PASS;\n}\n\nchar",
  );
  assert.notEqual(dropping, source);
  await Deno.writeTextFile(`${folder}/bpf/ibsr.bpf.c`, dropping);
  await run("cp", ["-r", `${ROOT}scripts`, folder]);
  await run(`${folder}/scripts/bpf`, []);

  const judged = await ibsr(`safety ${folder}/bpf/ibsr_frags.o`, { anyCode: true });
  assert.equal(judged.code, 71);
  assert.match(
    judged.stdout,
    /^REFUSED: .*\n[^]*^NO {3}Every path through it ends in XDP_PASS\n +xdp\.frags:\d+ returns/m,
  );

  await using lab = await Lab.create();
  const refused = await lab.exec(lab.server, Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", `--config=${folder}/deno.json`, `${folder}/main.ts`],
    ...["collect", "-i", "server", "-p", "80", "-o", `${folder}/spool`],
  ], { anyCode: true });
  assert.equal(refused.code, 71);
  assert.match(
    refused.stderr,
    /Cannot use the kernel program \(frags\): it is not proven safe\n.*`ibsr safety` says which/,
  );
  await Deno.remove(folder, { recursive: true });
});
