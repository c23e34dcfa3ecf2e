/**
 * Least privilege: three capabilities or root are enough, and after `--user` every thread has nothing left.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { readSpool, sumTotals } from "./counts.ts";
import { CLIENT, ibsrCommand, Lab, pause, run, type Running, SERVER } from "./lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Any user of every Debian system but root. */
const USER = { name: "daemon", uid: "1", gid: "1" };
const BITS = { bpf: 39, net_admin: 12, perfmon: 38 } as const;

/** A folder that every user may enter. */
async function makeFolder(): Promise<string> {
  const folder = await Deno.makeTempDir();
  await Deno.chmod(folder, 0o755);
  return folder;
}

/** The program as a user can start it who may not enter root's directories. */
async function ibsrForAll(folder: string): Promise<string[]> {
  const [command, args] = ibsrCommand([]);
  const own = `${folder}/ibsr`;
  await run("cp", ["--reflink=auto", await Deno.realPath(command), own]);
  if (Deno.env.has("IBSR_PROGRAM")) return [own];
  const { denoDir } = JSON.parse((await run(command, ["info", "--json"])).stdout);
  await Deno.mkdir(`${folder}/cache`);
  await run("cp", ["-r", ...["main.ts", "deno.json", "deno.lock", "src", "bpf"].map((n) => ROOT + n), folder]);
  await run("cp", ["-r", `${denoDir}/npm`, `${folder}/cache`]);
  await run("chmod", ["-R", "a+rX", folder]);
  return ["env", `DENO_DIR=${folder}/cache`, own, ...args.map((arg) => arg.replace(ROOT, `${folder}/`))];
}

/** `field` of each thread of a process, as /proc shows it; one value if all are alike. */
async function readThreads(pid: number, field: string): Promise<string[]> {
  const values = new Set<string>();
  for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
    const status = await Deno.readTextFile(`/proc/${pid}/task/${name}/status`);
    values.add(new RegExp(`^${field}:\\s*(.*)$`, "m").exec(status)![1]!.trim().replaceAll(/\s+/g, " "));
  }
  return [...values];
}

/** What `setpriv` needs to leave exactly these capabilities to another user. */
function withCapabilities(names: readonly string[]): string[] {
  const sets = ["-all", ...names.map((name) => `+${name}`)].join(",");
  return [
    ...["--reuid=65534", "--regid=65534", "--clear-groups"],
    ...["inh-caps", "ambient-caps", "bounding-set"].map((set) => `--${set}=${sets}`),
  ];
}

function packets(snapshots: Awaited<ReturnType<typeof readSpool>>): number {
  return sumTotals(snapshots).get("80")?.packets ?? 0;
}

async function countIn(spool: string): Promise<number> {
  return packets(await readSpool(spool));
}

/** Opens connections until the spool has more packets than `before`. */
async function countMore(lab: Lab, ibsr: Running, spool: string, before: number): Promise<number> {
  for (const until = performance.now() + 15_000; performance.now() < until; await pause(100)) {
    await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 5);
    await pause(300);
    const now = await countIn(spool);
    if (now > before) return now;
  }
  assert.fail(`nothing more than ${before} packets: ${ibsr.log()}`);
}

testWith(
  "kernel",
  "collect --user has no thread with a right of root, and still counts and attaches again",
  async () => {
    await using lab = await Lab.create();
    const folder = await makeFolder(), spool = `${folder}/spool`;
    await lab.serve([80]);
    const ibsr = await lab.collect(spool, [..."-p 80 --snapshot-interval-sec 0.1 --user".split(" "), USER.name]);
    await ibsr.waitFor(`runs as ${USER.name} (uid ${USER.uid}) now, without any capability`);
    const { pid } = ibsr.process;
    const assertUnprivileged = async () => {
      const four = (id: string) => [Array(4).fill(id).join(" ")];
      assert.deepEqual(await readThreads(pid, "Uid"), four(USER.uid));
      assert.deepEqual(await readThreads(pid, "Gid"), four(USER.gid));
      for (const set of ["CapEff", "CapPrm", "CapInh", "CapAmb"]) {
        assert.deepEqual(await readThreads(pid, set), ["0000000000000000"], set);
      }
      assert.ok(!(await readThreads(pid, "Groups")).some((groups) => groups.split(" ").includes("0")));
    };
    await assertUnprivileged();
    const before = await countMore(lab, ibsr, spool, 0);

    await run("ip", ["-n", lab.client, "link", "del", "client"]);
    await ibsr.waitFor("server is gone or its program was detached");
    await lab.connect();
    for (
      const until = performance.now() + 10_000;
      ibsr.log().match(/attached to server/g)!.length < 2;
      await pause(50)
    ) {
      assert.ok(performance.now() < until, ibsr.log());
    }
    assert.ok(await countMore(lab, ibsr, spool, before) > before);
    await assertUnprivileged();
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    for await (const { name } of Deno.readDir(spool)) {
      const { uid, gid } = await Deno.stat(`${spool}/${name}`);
      assert.deepEqual([String(uid), String(gid)], [USER.uid, USER.gid], name);
    }
    assert.equal((await Deno.stat(spool)).uid, Number(USER.uid));
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "collect as root keeps root's rights, and refuses a --user that does not exist", async () => {
  await using lab = await Lab.create();
  const folder = await makeFolder();
  const ibsr = await lab.collect(`${folder}/spool`, ["-p", "80"]);
  assert.deepEqual(await readThreads(ibsr.process.pid, "Uid"), ["0 0 0 0"]);
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  const { code, stderr } = await lab.ibsr([
    ...["collect", "-p", "80", "-i", "server", "-o", `${folder}/spool`, "--user", "no-such-user"],
  ]).end();
  assert.equal(code, 64);
  assert.match(stderr, /Cannot run as user "no-such-user": there is no such user\n.*useradd/);
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "kernel",
  "collect needs exactly CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and names the one that is missing",
  async () => {
    await using lab = await Lab.create();
    const folder = await makeFolder(), spool = `${folder}/spool`;
    await Deno.mkdir(spool);
    await Deno.chown(spool, 65534, 65534);
    const program = await ibsrForAll(folder);
    const names = Object.keys(BITS) as (keyof typeof BITS)[];
    const start = (granted: readonly string[], ...more: string[]) =>
      lab.start(lab.server, "setpriv", [
        ...withCapabilities(granted),
        ...program,
        ...["collect", "-i", "server", "-o", spool, "-p", "80", "--snapshot-interval-sec", "0.1", ...more],
      ]);
    await lab.serve([80]);

    const ibsr = start(names);
    await ibsr.waitFor("attached to server in native mode");
    const { pid } = ibsr.process;
    const mask = names.reduce((bits, name) => bits | 1n << BigInt(BITS[name]), 0n).toString(16).padStart(16, "0");
    assert.deepEqual(await readThreads(pid, "CapEff"), [mask]);
    assert.deepEqual(await readThreads(pid, "Uid"), ["65534 65534 65534 65534"]);
    await countMore(lab, ibsr, spool, 0);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);

    for (const missing of names) {
      const { code, stderr } = await start(names.filter((name) => name !== missing)).end();
      assert.equal(code, 77, stderr);
      assert.match(
        stderr,
        new RegExp(`Cannot .*: CAP_${missing.toUpperCase()} missing\n.*hint: run as root, or grant`),
      );
    }
    const other = await start(names, "--user", "daemon").end();
    assert.equal(other.code, 77);
    assert.match(other.stderr, /Cannot act as user "daemon": .*\n.*only root can change user/);
    await Deno.remove(folder, { recursive: true });
  },
);
