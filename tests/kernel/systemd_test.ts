/**
 * The unit in a systemd that runs as PID 1: started, reloaded, watched over, stopped, in its sandbox.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { pause } from "./lab.ts";
import { Machine } from "./machine.ts";

const CONFIG = {
  iface: "v0",
  "dst-port": 443,
  "snapshot-interval-sec": 0.3,
  "status-interval-sec": 1,
  rotate: 65536,
  compress: "zstd",
};

/** A machine with the unit installed and started. */
async function bootWithUnit(): Promise<Machine> {
  const machine = await Machine.boot();
  await machine.write("/etc/ibsr/ibsr.jsonc", JSON.stringify(CONFIG));
  await machine.exec("ibsr", ["systemd", "install", "--program", "/usr/local/bin/ibsr"]);
  await machine.exec("systemctl", ["daemon-reload"]);
  await machine.exec("systemctl", ["start", "ibsr"]);
  return machine;
}

testWith(
  "machine",
  "ibsr.service runs in its sandbox with three capabilities, reloads, logs with priorities, and stops",
  async () => {
    await using machine = await bootWithUnit();
    const started = machine.journal();
    assert.equal(await machine.show("ibsr", "ActiveState"), "active");
    assert.match(await started, /attached to v0 in native mode/);
    const pid = await machine.show("ibsr", "MainPID");
    await machine.waitFor(
      "counting",
      async () => /v0 \(native\): [1-9]/.test(await machine.show("ibsr", "StatusText")),
    );

    const tasks = await machine.exec("sh", ["-c", `cat /proc/${pid}/task/*/status`]);
    const values = (field: string) =>
      new Set([...tasks.stdout.matchAll(new RegExp(`^${field}:\\s*(.*)$`, "gm"))].map((m) => m[1]!.split(/\s+/)[0]));
    assert.deepEqual(values("CapEff"), new Set(["000000c000001000"]), "BPF, NET_ADMIN, PERFMON");
    assert.deepEqual(values("CapBnd"), values("CapEff"));
    assert.deepEqual(values("NoNewPrivs"), new Set(["1"]));
    assert.deepEqual(values("Seccomp"), new Set(["2"]));
    assert.ok(!values("Uid").has("0"));

    const { "dst-port": _, ...rest } = CONFIG;
    await machine.write("/etc/ibsr/ibsr.jsonc", JSON.stringify({ ...rest, "dst-port": [80, 443], "map-size": 5000 }));
    await machine.exec("systemctl", ["reload", "ibsr"]);
    await machine.waitFor("a reload", async () => (await machine.journal()).includes("reloaded: dst-port changed"));
    assert.equal(await machine.show("ibsr", "MainPID"), pid);
    const { stdout: lines } = await machine.exec("journalctl", ["--unit=ibsr", "--output=json", `_PID=${pid}`]);
    const priorities = new Map(
      lines.trim().split("\n").map((line) => JSON.parse(line)).map((
        entry,
      ) => [entry.MESSAGE as string, entry.PRIORITY]),
    );
    assert.equal(priorities.get("attached to v0 in native mode"), "6");
    assert.equal(priorities.get("map-size changed too, and needs a restart: it stays as it was"), "4");

    const status = await machine.exec("ibsr", ["status"]);
    assert.match(status.stdout, /^collector {2}running since /m);
    assert.match(status.stdout, /^ports +80,443$/m);

    await machine.exec("systemctl", ["stop", "ibsr"]);
    assert.equal(await machine.show("ibsr", "Result"), "success");
    const { stdout: files } = await machine.exec("ls", ["-ln", "/var/lib/ibsr/snapshots/"]);
    assert.match(files, /snapshot_\d{10}\.jsonl\.zst$/m, "sealed, and compressed in the sandbox");
    assert.ok(!/ 0 +0 .*snapshot_/.test(files), "none is root's");
    assert.ok(!(await machine.exec("ip", ["-details", "link", "show", "v0"])).stdout.includes("prog/xdp"));
  },
);

testWith(
  "machine",
  "systemd starts ibsr again when its loop no longer turns, and not when its config file is wrong",
  async () => {
    await using machine = await bootWithUnit();
    await Deno.mkdir(`/proc/${machine.pid}/root/etc/systemd/system/ibsr.service.d`);
    await machine.write("/etc/systemd/system/ibsr.service.d/quick.conf", "[Service]\nWatchdogSec=1\nRestartSec=0\n");
    await machine.exec("systemctl", ["daemon-reload"]);
    await machine.exec("systemctl", ["restart", "ibsr"]);
    await pause(2500);
    assert.equal(await machine.show("ibsr", "NRestarts"), "0", "a loop that turns is left alone");
    const pid = await machine.show("ibsr", "MainPID");
    await machine.exec("kill", ["-STOP", pid]);
    await machine.waitFor("a restart", async () => await machine.show("ibsr", "NRestarts") === "1");
    assert.match(await machine.journal(), /Watchdog timeout/);
    await machine.waitFor("ready again", async () => await machine.show("ibsr", "ActiveState") === "active");
    assert.notEqual(await machine.show("ibsr", "MainPID"), pid);

    await machine.write("/etc/ibsr/ibsr.jsonc", '{ "dst-prot": 443 }');
    await machine.exec("systemctl", ["restart", "ibsr"], { anyCode: true });
    await machine.waitFor("failure", async () => await machine.show("ibsr", "ActiveState") === "failed");
    assert.equal(await machine.show("ibsr", "ExecMainStatus"), "64");
    assert.match(await machine.journal(), /\/etc\/ibsr\/ibsr\.jsonc:1:3: "dst-prot" is no option/);
  },
);
