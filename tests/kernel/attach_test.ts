/**
 * Attaching where it can't be done, and an interface that goes away: what `ibsr collect` says and does.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { readSpool, sumTotals } from "./counts.ts";
import { CLIENT, type Finished, hasXdp, ibsrCommand, Lab, pause, run, SERVER } from "./lab.ts";

/** Starts a collector that can't start, and returns how it ended. */
async function refuse(lab: Lab, args: string[], wrap: string[] = []): Promise<Finished> {
  const folder = await Deno.makeTempDir();
  const [command, rest] = ibsrCommand(["collect", "-p", "80", "-o", `${folder}/spool`, ...args]);
  const [first, ...others] = [...wrap, command];
  const done = await lab.exec(lab.server, first!, [...others, ...rest], { anyCode: true });
  await Deno.remove(folder, { recursive: true });
  return done;
}

/** Puts some other program on the server's interface; returns how to take it off. */
async function attachOther(lab: Lab): Promise<() => Promise<unknown>> {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(
    `${folder}/other.c`,
    `#include <linux/bpf.h>
    __attribute__((section("xdp"), used)) int other_tool(struct xdp_md *ctx) { return XDP_PASS; }`,
  );
  const include = `-I/usr/include/${Deno.build.arch}-linux-gnu`;
  await run("clang", ["-O2", "-target", "bpfel", include, "-c", `${folder}/other.c`, "-o", `${folder}/other.o`]);
  await lab.exec(lab.server, "ip", [
    "link",
    "set",
    "dev",
    "server",
    "xdpgeneric",
    "obj",
    `${folder}/other.o`,
    "sec",
    "xdp",
  ]);
  await Deno.remove(folder, { recursive: true });
  return () => lab.exec(lab.server, "ip", ["link", "set", "dev", "server", "xdpgeneric", "off"]);
}

testWith("kernel", "collect names the program that has the interface already, and leaves it there", async () => {
  await using lab = await Lab.create();
  const detach = await attachOther(lab);
  for (const mode of ["auto", "native", "generic"]) {
    const { code, stderr } = await refuse(lab, ["-i", "server", "--xdp-mode", mode]);
    assert.equal(code, 71, stderr);
    assert.match(stderr, /Cannot attach to "server" in \w+ mode: "other_tool" \(program \d+\) is attached there/);
    assert.match(stderr, /hint: `bpftool net show dev server`/);
  }
  assert.ok(await hasXdp(lab.server, "server"));
  await detach();
});

testWith("kernel", "collect names near interfaces for one that is missing", async () => {
  await using lab = await Lab.create();
  const { code, stderr } = await refuse(lab, ["-i", "sever"]);
  assert.equal(code, 71);
  assert.match(stderr, /Cannot attach to "sever": no such interface\n.*did you mean "server"\?/);
});

testWith("kernel", "collect names the capabilities that are missing", async () => {
  await using lab = await Lab.create();
  // Root with fewer capabilities in its bounding set has only those.
  const setpriv = (caps: string) => ["setpriv", `--bounding-set=${caps}`];
  const none = await refuse(lab, ["-i", "server"], setpriv("-all"));
  assert.equal(none.code, 77, none.stderr);
  assert.match(none.stderr, /Cannot load the kernel program: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON missing/);
  const some = await refuse(lab, ["-i", "server"], setpriv("-all,+bpf,+net_admin"));
  assert.equal(some.code, 77, some.stderr);
  assert.match(
    some.stderr,
    /Cannot load the kernel program: CAP_PERFMON missing\n.*hint: run as root, or grant cap_bpf/,
  );
});

testWith("kernel", "collect falls back to generic mode where native is refused, and says why", async () => {
  await using lab = await Lab.create(); // its loopback has no native XDP
  const folder = await Deno.makeTempDir();
  const ibsr = lab.ibsr("collect -p 80 -i lo --duration-sec 0.5 -o".split(" ").concat(folder));
  const { code, stderr } = await ibsr.end();
  assert.equal(code, 0, stderr);
  assert.match(stderr, /attached to lo in generic mode \(native: EOPNOTSUPP, not supported\)/);
  assert.ok((await readSpool(folder)).every((s) => s.xdp_mode === "generic"));
  const forced = await refuse(lab, ["-i", "lo", "--xdp-mode", "native"]);
  assert.equal(forced.code, 71);
  assert.match(forced.stderr, /Cannot attach to "lo" in native mode: EOPNOTSUPP.*\n.*--xdp-mode generic works/);
  await Deno.remove(folder, { recursive: true });
});

testWith("kernel", "collect says how to install libbpf where it is missing", async () => {
  await using lab = await Lab.create();
  const { stdout } = await run("sh", ["-c", "ldconfig -p | sed -n 's/.*libbpf.so.[01] .*=> //p'"]);
  const hide = stdout.trim().split("\n").map((path) => `mount --bind /dev/null ${path}`).join(" && ");
  const { code, stderr } = await refuse(lab, ["-i", "server"], [
    "unshare",
    "--mount",
    "sh",
    "-c",
    `${hide} && exec "$@"`,
    "sh",
  ]);
  assert.equal(code, 71, stderr);
  assert.match(
    stderr,
    /Cannot load libbpf: neither libbpf\.so\.1 nor libbpf\.so\.0 is installed\n.*`apt-get install libbpf1`/,
  );
});

testWith(
  "kernel",
  "collect attaches natively to an interface with jumbo frames, and counts one of 8,000 bytes",
  async () => {
    await using lab = await Lab.create();
    for (const [namespace, device] of [[lab.client, "client"], [lab.server, "server"]] as const) {
      await run("ip", ["-n", namespace, "link", "set", device, "mtu", "9000"]);
    }
    const folder = await Deno.makeTempDir();
    await lab.serve([80], 100);
    const ibsr = await lab.collect(folder, ["-p", "80"]);
    assert.match(ibsr.log(), /attached to server in native mode/);
    const script = new URL("traffic.ts", import.meta.url).pathname;
    await lab.exec(lab.client, Deno.execPath(), [
      "run",
      "--quiet",
      "--allow-net",
      script,
      "send",
      `${SERVER.v4}/80`,
      "8000",
    ]);
    await ibsr.end("SIGTERM");
    const total = sumTotals(await readSpool(folder)).get("80")!;
    assert.ok(total.bytes > 8000 && total.data <= 2, `${total.data} packets with data, ${total.bytes} bytes`);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  "kernel",
  "collect attaches again to an interface that was deleted and made anew, and covers no time between",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const serving = await lab.serve([80]);
    const ibsr = await lab.collect(folder, ["-p", "80", "--snapshot-interval-sec", "1"]);
    await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
    await run("ip", ["-n", lab.server, "link", "del", "server"]);
    await ibsr.waitFor("server is gone or its program was detached");
    await ibsr.waitFor("no such interface");
    await pause(2500);
    await lab.connect();
    await pause(1500);
    assert.equal(ibsr.log().match(/attached to server in native mode/g)?.length, 2);
    assert.equal(ibsr.log().match(/no such interface/g)?.length, 1, "said once, not each second");
    await serving.end("SIGKILL");
    await lab.serve([80]);
    await lab.connectAll([CLIENT.v4], [`${SERVER.v4}/80`], 10);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);

    const snapshots = await readSpool(folder);
    assert.equal(sumTotals(snapshots).get("80")!.syn, 20, "what was counted before is not lost");
    assert.deepEqual(snapshots.map((s) => s.seq), snapshots.map((_, i) => i));
    const gaps = snapshots.slice(1).map((s, i) => s.ts_unix_sec - s.interval_sec! - snapshots[i]!.ts_unix_sec);
    assert.equal(gaps.filter((gap) => gap > 2).length, 1, `one gap: ${gaps}`);
    assert.ok(gaps.every((gap) => gap > -0.01), "no time is covered twice");
    await Deno.remove(folder, { recursive: true });
  },
);

testWith("kernel", "collect writes every interval, also without traffic, one line an interface", async () => {
  await using lab = await Lab.create();
  await run("ip", ["-n", lab.server, "link", "add", "second", "type", "veth", "peer", "name", "other"]);
  await run("ip", ["-n", lab.server, "link", "set", "second", "up"]);
  const folder = await Deno.makeTempDir();
  const ibsr = await lab.collect(folder, [
    "-i",
    "second",
    "-p",
    "80",
    "--snapshot-interval-sec",
    "0.2",
    "--duration-sec",
    "2.1",
  ]);
  assert.equal((await ibsr.end()).code, 0);
  const snapshots = await readSpool(folder);
  for (const iface of ["server", "second"]) {
    const own = snapshots.filter((s) => s.iface === iface);
    assert.equal(own.length, 11, "ten intervals and what was left at the end");
    assert.deepEqual(own.map((s) => s.seq), own.map((_, i) => i));
    assert.ok(
      own.slice(0, 10).every((s) => Math.abs(s.interval_sec! - 0.2) < 0.15),
      own.map((s) => s.interval_sec).join(),
    );
    const covered = own.reduce((sum, s) => sum + s.interval_sec!, 0);
    assert.ok(Math.abs(covered - 2.1) < 0.2, `${covered} s covered`);
  }
  await Deno.remove(folder, { recursive: true });
});

testWith("kernel", "collect without -i counts on the interfaces of the default routes", async () => {
  await using lab = await Lab.create();
  const folder = await Deno.makeTempDir();
  const none = await refuse(lab, []);
  assert.equal(none.code, 69, "not 64, after which systemd wouldn't try again: a route may come later");
  assert.match(none.stderr, /Cannot choose an interface: there is no default route/);
  await run("ip", ["-n", lab.server, "route", "add", "default", "via", CLIENT.v4]);
  await run("ip", ["-n", lab.server, "-6", "route", "add", "default", "via", CLIENT.v6]);
  const ibsr = lab.ibsr(["collect", "-p", "80", "-o", folder, "--duration-sec", "0.3"]);
  const { code, stderr } = await ibsr.end();
  assert.equal(code, 0, stderr);
  assert.equal(stderr.match(/attached to server/g)?.length, 1);
  await Deno.remove(folder, { recursive: true });
});
