/**
 * What collect tells systemd, on a real notify socket.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { ibsrCommand, Lab, pause } from "./lab.ts";
import { startSupervisor } from "./supervisor.ts";

/** Starts `ibsr collect` with variables of its own. */
function start(lab: Lab, variables: string[], args: string[]) {
  const [command, before] = ibsrCommand(["collect", "-i", "server", "-p", "80", ...args]);
  return lab.start(lab.server, "env", [...variables, command, ...before]);
}

for (const kind of ["a path", "an abstract name"]) {
  testWith("kernel", `collect says READY, STATUS, RELOADING and STOPPING on a notify socket with ${kind}`, async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const address = kind === "a path" ? `${folder}/notify` : `@ibsr-test-${Deno.pid}`;
    const supervisor = await startSupervisor(lab, address);
    const ibsr = start(lab, [`NOTIFY_SOCKET=${address}`], ["-o", `${folder}/spool`, "--snapshot-interval-sec", "0.3"]);
    let seen = await supervisor.waitFor("READY=1");
    assert.equal(seen, 1, "the first message, and only once attached");
    assert.match(ibsr.log(), /attached to server/);
    const [ready] = supervisor.messages();
    assert.equal(ready!.pid, ibsr.process.pid);
    assert.equal(ready!.text, "READY=1\nSTATUS=server (native): 0 snapshots, 0 packets, 0 without a source");
    seen = await supervisor.waitFor("STATUS=server (native): 2 snapshots", seen);

    ibsr.process.kill("SIGHUP");
    seen = await supervisor.waitFor("RELOADING=1", seen);
    const [, usec] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(supervisor.messages()[seen - 1]!.text)!;
    const uptime = Number((await Deno.readTextFile("/proc/uptime")).split(" ")[0]);
    assert.ok(Math.abs(Number(usec) / 1e6 - uptime) < 10, `${usec} µs, up for ${uptime} s`);
    seen = await supervisor.waitFor("READY=1\nSTATUS=", seen);

    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    const rest = supervisor.messages().slice(seen).map(({ text }) => text);
    assert.equal(rest.at(-1), "STOPPING=1\nSTATUS=writing the last snapshots");
    assert.ok(!supervisor.messages().some(({ text }) => text.includes("WATCHDOG")), "nobody asked for it");
    await Deno.remove(folder, { recursive: true });
  });
}

testWith(
  "kernel",
  "collect sends WATCHDOG twice each WATCHDOG_USEC, and not while its loop does not turn",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const supervisor = await startSupervisor(lab, `${folder}/notify`);
    const variables = [`NOTIFY_SOCKET=${folder}/notify`, "WATCHDOG_USEC=400000"];
    const ibsr = start(lab, variables, ["-o", `${folder}/spool`]);
    const count = () => supervisor.messages().filter(({ text }) => text === "WATCHDOG=1").length;
    await supervisor.waitFor("WATCHDOG=1");
    const before = count();
    await pause(2000);
    const sent = count() - before;
    assert.ok(sent >= 7 && sent <= 11, `${sent} in 2 s, 10 expected`);
    ibsr.process.kill("SIGSTOP");
    await pause(100);
    const stopped = count();
    await pause(1000);
    assert.equal(count(), stopped);
    ibsr.process.kill("SIGCONT");
    await supervisor.waitFor("WATCHDOG=1", supervisor.messages().length);
    assert.equal((await ibsr.end("SIGTERM")).code, 0);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  "kernel",
  "collect goes on when the notify socket is gone, and WATCHDOG_PID of another is not its own",
  async () => {
    await using lab = await Lab.create();
    const folder = await Deno.makeTempDir();
    const variables = [`NOTIFY_SOCKET=${folder}/nobody`, "WATCHDOG_USEC=200000", "WATCHDOG_PID=1"];
    const ibsr = start(lab, variables, [
      "-o",
      `${folder}/spool`,
      "--snapshot-interval-sec",
      "0.1",
      "--log-format",
      "json",
    ]);
    await ibsr.waitFor("Cannot notify systemd");
    await pause(1000);
    const { code, stderr, stdout } = await ibsr.end("SIGTERM");
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^\d+ snapshots of /);
    const lines = stderr.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(lines.filter(({ message }) => message.startsWith("Cannot notify")).length, 1, "said once");
    for (const { time, level, message } of lines) {
      assert.ok(!Number.isNaN(Date.parse(time)) && ["info", "error"].includes(level) && message.length > 0);
    }
    const watched = await startSupervisor(lab, `${folder}/other`);
    const other = start(lab, [...variables, `NOTIFY_SOCKET=${folder}/other`], ["-o", `${folder}/spool`]);
    await watched.waitFor("READY=1");
    await pause(500);
    assert.equal((await other.end("SIGTERM")).code, 0);
    assert.ok(!watched.messages().some(({ text }) => text === "WATCHDOG=1"));
    await Deno.remove(folder, { recursive: true });
  },
);
