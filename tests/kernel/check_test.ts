/**
 * `ibsr check` and `ibsr status` on real interfaces: what they say of a host that is right, and of ones that are not.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { readSpool } from "./counts.ts";
import { CLIENT, hasXdp, ibsrCommand, Lab, pause, run, SERVER } from "./lab.ts";

interface Check {
  name: string;
  verdict: "pass" | "warn" | "fail";
  detail: string;
  hint?: string;
}

/** Runs `ibsr check --json`, all checks by name. */
async function check(lab: Lab, folder: string, args: string[], wrapper: string[] = []) {
  const [command, before] = ibsrCommand(["check", "-o", `${folder}/spool`, "--json", ...args]);
  const [first, ...rest] = [...wrapper, command, ...before] as [string, ...string[]];
  const { code, stdout, stderr } = await lab.exec(lab.server, first, rest, { anyCode: true });
  assert.equal(stderr, "");
  return { code, checks: new Map((JSON.parse(stdout) as Check[]).map((c) => [c.name, c])) };
}

testWith(
  "kernel",
  "check tries everything, passes on an interface with traffic, and leaves nothing behind",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const noise = lab.start(lab.client, Deno.execPath(), [
      ...["eval", "--ext=ts", "--unstable-net"],
      `const socket = Deno.listenDatagram({ port: 0, transport: "udp" });
    const to = { hostname: "${SERVER.v4}", port: 9, transport: "udp" };
    setInterval(() => socket.send(new Uint8Array(10), to).catch(() => {}), 10);
    console.log("sending");`,
    ]);
    await noise.waitFor("sending");
    const { code, checks } = await check(lab, folder, [
      "-i",
      "server",
      "-p",
      "443",
      "--metrics-textfile",
      `${folder}/m.prom`,
    ]);
    const names = "kernel JIT libbpf capabilities program counting memory spool disk clock metrics".split(" ");
    assert.deepEqual([...checks.keys()].sort(), [...names, "interface server"].sort());
    for (const { name, verdict } of checks.values()) assert.ok(verdict === "pass" || name === "clock", name);
    assert.match(checks.get("kernel")!.detail, /^Linux \d+\.\d+.*with BTF$/);
    assert.match(checks.get("libbpf")!.detail, /^\d+\.\d+.* \(libbpf\.so\.\d\)$/);
    assert.equal(checks.get("counting")!.detail, "one SYN to port 443 run, passed and counted");
    assert.match(
      checks.get("interface server")!.detail,
      /^virtual, MTU 1500; attached in native mode, saw (?:1 frame|[1-9][\d,]* frames), detached$/,
    );
    assert.match(checks.get("spool")!.detail, /will be made in/);
    assert.equal(code, checks.get("clock")!.verdict === "warn" ? 1 : 0);
    assert.ok(!await hasXdp(lab.server, "server"));
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  "kernel",
  "check fails where a collector would, each time with the exit code of the first failure",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const missing = await check(lab, folder, ["-i", "servr"]);
    assert.equal(missing.code, 71);
    assert.match(missing.checks.get("interface servr")!.detail, /Cannot attach to "servr": no such interface/);
    assert.match(missing.checks.get("interface servr")!.hint!, /did you mean "server"\?/);

    const loopback = await check(lab, folder, ["-i", "lo", "-i", "server", "--xdp-mode", "native"]);
    assert.equal(loopback.code, 71);
    assert.match(loopback.checks.get("interface lo")!.detail, /Cannot attach to "lo" in native mode/);
    assert.equal(loopback.checks.get("interface server")!.verdict, "pass", "the others are tried all the same");
    const generic = (await check(lab, folder, ["-i", "lo"])).checks.get("interface lo")!;
    assert.equal(generic.verdict, "warn");
    assert.match(generic.detail, /attached in generic mode/);

    await Deno.writeTextFile(`${folder}/spool`, "a file");
    const spool = await check(lab, folder, ["-i", "server", "--skip-attach"]);
    assert.equal(spool.code, 74);
    assert.match(spool.checks.get("spool")!.detail, /is no directory$/);
    assert.match(spool.checks.get("interface server")!.detail, /not tried: --skip-attach$/);
    await Deno.remove(`${folder}/spool`);

    await Deno.mkdir(`${folder}/spool`, { mode: 0o700 });
    const user = await check(lab, folder, ["-i", "server", "--user", "daemon"]);
    assert.equal(user.code, 77);
    assert.match(user.checks.get("spool")!.hint!, /^`chown daemon /);

    const denied = await check(lab, folder, ["-i", "server"], ["setpriv", "--bounding-set=-bpf,-sys_admin"]);
    assert.equal(denied.code, 77);
    assert.equal(denied.checks.get("capabilities")!.detail, "missing: CAP_BPF");
    assert.equal(denied.checks.get("program")!.verdict, "fail");
    assert.match(denied.checks.get("interface server")!.detail, /not tried: the program is not loaded$/);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "check leaves a running collector alone, and names another program on the interface", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  const ibsr = await lab.collect(`${folder}/spool`, ["-p", "80", "--snapshot-interval-sec", "0.2"]);
  const beside = await check(lab, folder, ["-i", "server"]);
  assert.match(beside.checks.get("interface server")!.detail, /; a collector is on it: "ibsr" \(program \d+\)$/);
  assert.ok(beside.code <= 1);
  await pause(500);
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  const snapshots = await readSpool(`${folder}/spool`);
  assert.ok(snapshots.every(({ seq }, i) => seq === i));

  const source = '__attribute__((section("xdp"))) int other_main(void *c) { return 2; }\n' +
    'char name[] __attribute__((section("license"))) = "GPL";\n';
  await Deno.writeTextFile(`${folder}/other.c`, source);
  await run("clang", ["-O2", "-g", "-target", "bpf", "-c", `${folder}/other.c`, "-o", `${folder}/other.o`]);
  await run("ip", ["-n", lab.server, "link", "set", "server", "xdpgeneric", "obj", `${folder}/other.o`, "sec", "xdp"]);
  const taken = await check(lab, folder, ["-i", "server"]);
  assert.equal(taken.code, 71);
  assert.match(taken.checks.get("interface server")!.detail, /"other_main" \(program \d+\) is attached there$/);
  assert.ok(await hasXdp(lab.server, "server"));
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "kernel",
  "status of a running collector is healthy, and of a killed one says that it was no goodbye",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const status = (...args: string[]) =>
      lab.exec(lab.server, ...ibsrCommand(["status", "-o", folder, ...args]) as [string, string[]], { anyCode: true });
    const never = await status();
    assert.deepEqual([never.code, never.stderr], [1, ""]);
    assert.match(never.stdout, /^collector {2}never ran here$/m);
    const metrics = `${folder}/ibsr.prom`;
    const intervals = ["--snapshot-interval-sec", "0.2", "--status-interval-sec", "0.3", "--metrics-textfile", metrics];
    const ibsr = await lab.collect(folder, ["-p", "80", ...intervals]);
    await pause(1500);
    const running = await status();
    assert.deepEqual([running.code, running.stderr], [0, ""], running.stdout);
    assert.match(running.stdout, new RegExp(`^collector {2}running since .*, process ${ibsr.process.pid}$`, "m"));
    assert.match(running.stdout, /^server +native, last snapshot 0 s ago, \d+(\.\d+)? % counted since/m);
    const text = await Deno.readTextFile(metrics);
    assert.match(text, /^ibsr_up 1$/m);
    assert.ok(Number(/^ibsr_snapshots_total (\d+)$/m.exec(text)![1]) >= 3);
    assert.equal((await Deno.stat(metrics)).mode! & 0o777, 0o644);
    const json = JSON.parse((await status("--json")).stdout);
    assert.deepEqual([json.healthy, json.pid], [true, ibsr.process.pid]);

    await run("ip", ["-n", lab.client, "link", "del", "client"]);
    await ibsr.waitFor("server is gone");
    await pause(500);
    const absent = await status();
    assert.equal(absent.code, 1);
    assert.match(absent.stdout, /^server +absent: not attached/m);
    assert.match(absent.stdout, /^failing +Cannot attach to "server"/m);
    assert.match(await Deno.readTextFile(metrics), /^ibsr_attached\{interface="server",mode="none"\} 0$/m);

    await ibsr.end("SIGKILL");
    const killed = await status();
    assert.equal(killed.code, 1);
    assert.match(killed.stdout, /^collector {2}not running; its last heartbeat, .* ago, was no goodbye$/m);
    const leftovers = [...Deno.readDirSync(folder)].filter(({ name }) => name.startsWith("ibsr.prom.")).length;
    assert.equal(leftovers, 0);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "status and metrics tell of a collector's snapshots long before its second heartbeat", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir(), metrics = `${folder}/ibsr.prom`;
  await lab.serve([80]);
  const intervals = ["--snapshot-interval-sec", "0.5", "--status-interval-sec", "3600", "--metrics-textfile", metrics];
  const ibsr = await lab.collect(folder, ["-p", "80", ...intervals]);
  await pause(800); // one snapshot is written
  await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
  await pause(1200);
  const { stdout } = await lab.exec(
    lab.server,
    ...ibsrCommand(["status", "--json", "-o", folder]) as [string, string[]],
  );
  const { last, coverage } = JSON.parse(stdout);
  assert.ok(last.interfaces[0].last_snapshot > Date.now() / 1000 - 2, stdout);
  assert.ok(coverage.packets >= 30 && coverage.interfaces[0].share > 0.5, stdout);
  assert.match(await Deno.readTextFile(metrics), /^ibsr_snapshots_total 1$/m);
  assert.equal((await Deno.readTextFile(`${folder}/status.jsonl`)).trim().split("\n").length, 2);
  assert.equal((await ibsr.end("SIGTERM")).code, 0);
  await Deno.remove(folder, { recursive: true });
});
