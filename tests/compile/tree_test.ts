/**
 * The executable that counts: in a tree with nothing but two libraries, with file capabilities, and what it costs.
 */
import assert from "node:assert/strict";
import { runCommand } from "../../scripts/run.ts";
import { readSpool, sumTotals } from "../kernel/counts.ts";
import { CLIENT, hasXdp, Lab, pause, type Running, SERVER } from "../kernel/lab.ts";
import { testWith } from "../needs.ts";
import { Folder } from "./program.ts";

/** Ten connections to port 80 while `ibsr` runs; then it is told to end, and must have counted them. */
async function assertCounts(lab: Lab, ibsr: Running, spool: string): Promise<void> {
  await ibsr.waitFor("attached to server");
  await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
  await pause(200);
  const { code, stderr } = await ibsr.end("SIGTERM");
  assert.equal(code, 0, stderr);
  const total = sumTotals(await readSpool(spool)).get("80");
  assert.equal(total?.syn, 10);
  assert.ok(!await hasXdp(lab.server, "server"));
}

const IDLE = ["collect", "-i", "server", "-p", "80"];
const COLLECT = [...IDLE, "--snapshot-interval-sec", "0.2"];

testWith(
  "counting",
  "ibsr copied into a tree with libc and libbpf alone counts there, and writes only its spool",
  async () => {
    await using folder = await Folder.create();
    await using lab = await Lab.create();
    const tree = `${folder.path}/tree`;
    await Deno.mkdir(`${tree}/proc`, { recursive: true });
    await Deno.mkdir(`${tree}/sys`);
    await Deno.mkdir(`${tree}/spool`);
    await folder.copyProgram("tree/ibsr");
    const linked = await runCommand("ldd", [`${tree}/ibsr`]);
    const libbpf = /=> (\S+)/.exec(await runCommand("sh", ["-c", "ldconfig -p | grep libbpf.so.1"]))![1]!;
    const needed = linked + await runCommand("ldd", [libbpf]);
    const libraries = new Set([libbpf, ...[...needed.matchAll(/(\/\S+) \(0x/g)].map((m) => m[1]!)]);
    for (const library of libraries) {
      await Deno.mkdir(tree + library.slice(0, library.lastIndexOf("/")), { recursive: true });
      await Deno.copyFile(library, tree + library);
    }
    console.log(`${[...libraries].map((l) => l.split("/").at(-1)).sort().join(" ")}`);
    const before = await runCommand("find", [tree, "-not", "-path", `${tree}/spool/*`]);
    const script =
      `mount -t proc proc ${tree}/proc && mount --rbind -o ro /sys ${tree}/sys && exec chroot ${tree} "$@"`;
    const ibsr = lab.start(lab.server, "unshare", [
      ...["-m", "sh", "-c", script, "sh"],
      ...["/ibsr", ...COLLECT, "-o", "/spool"],
    ]);
    await lab.serve([80]);
    await assertCounts(lab, ibsr, `${tree}/spool`);
    assert.equal(await runCommand("find", [tree, "-not", "-path", `${tree}/spool/*`]), before);
  },
);

testWith("counting", "ibsr with file capabilities counts as another user than root", async () => {
  await using folder = await Folder.create();
  await using lab = await Lab.create();
  const program = await folder.copyProgram(), spool = `${folder.path}/spool`;
  await runCommand("setcap", ["cap_bpf,cap_net_admin,cap_perfmon=ep", program]);
  await Deno.mkdir(spool);
  await Deno.chown(spool, 54321, 54321);
  await lab.serve([80]);
  const ibsr = lab.start(lab.server, "setpriv", [
    ...["--reuid=54321", "--regid=54321", "--clear-groups", program, ...COLLECT, "-o", spool],
  ]);
  await assertCounts(lab, ibsr, spool);
});

testWith(
  "counting",
  "ibsr collect in a folder with a false libbpf loads the host's, and takes at most 60 MB",
  async () => {
    await using folder = await Folder.create();
    await using lab = await Lab.create();
    const program = await folder.copyProgram(), spool = `${folder.path}/spool`, here = `${folder.path}/here`;
    await Deno.mkdir(here);
    for (const name of ["libbpf.so.1", "libbpf.so.0", "libc.so.6"]) {
      await Deno.writeTextFile(
        `${here}/${name}`,
        "false",
      );
    }
    await lab.serve([80]);
    const ibsr = lab.start(lab.server, "env", [
      "-C",
      here,
      program,
      ...IDLE,
      "--snapshot-interval-sec",
      "1",
      "-o",
      spool,
    ]);
    await ibsr.waitFor("attached to server");
    await pause(3500); // snapshots without traffic are written
    const status = await Deno.readTextFile(`/proc/${ibsr.process.pid}/status`);
    const resident = Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
    const process = `/proc/${ibsr.process.pid}`;
    const open = [...Deno.readDirSync(`${process}/fd`)].map(({ name }) => Deno.readLinkSync(`${process}/fd/${name}`));
    const sockets = open.flatMap((path) => /^socket:\[(\d+)\]$/.exec(path)?.[1] ?? []); // pairs, its own and stdio's
    for (const table of ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"]) {
      const rows = (await Deno.readTextFile(`${process}/net/${table}`)).split("\n").map((row) =>
        row.trim().split(/\s+/)
      );
      assert.deepEqual(rows.filter((row) => row.some((field) => sockets.includes(field))), [], table);
    }
    await assertCounts(lab, ibsr, spool);
    assert.deepEqual([...Deno.readDirSync(here)].length, 3);
    console.log(`idle: ${resident.toFixed(1)} MB`);
    assert.ok(resident <= 60, `${resident} MB`);
  },
);
