/**
 * The export's units in a systemd that runs as PID 1: the timer starts the service, which uploads from its sandbox what
 * the collector has sealed to a real S3 server in the machine's network, once; and says so when it can't.
 */
import assert from "node:assert/strict";
import { testWith } from "../needs.ts";
import { S3Server } from "../s3/server.ts";
import { pause } from "./lab.ts";
import { Machine } from "./machine.ts";

const SPOOL = "/var/lib/ibsr/snapshots";
/** In place of a minute of each hour: every three seconds. */
const OFTEN = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/3\nRandomizedDelaySec=0\nAccuracySec=100ms\n";

/** Writes the config file of both services. */
async function configure(machine: Machine, endpoint: string): Promise<void> {
  await machine.write(
    "/etc/ibsr/ibsr.jsonc",
    JSON.stringify({
      iface: "v0",
      "collect": { "dst-port": 443, "snapshot-interval-sec": 0.2, compress: "zstd" },
      "export s3": { bucket: "spool", endpoint, prefix: "p", "max-retries": 1 },
    }),
  );
}

/** Names of sealed segments in the machine's spool. */
async function listSealed(machine: Machine): Promise<string[]> {
  const { stdout } = await machine.exec("ls", [SPOOL]);
  return stdout.split("\n").filter((name) => /^snapshot_.*\.jsonl\.zst$/.test(name));
}

/** What the export's runs have printed, one line each. */
async function listRuns(machine: Machine): Promise<string[]> {
  return (await machine.journal("ibsr-export.service")).match(/uploaded \d+ objects? .*$/gm) ?? [];
}

testWith(
  ["machine", "s3"],
  "ibsr-export.timer starts the service, which uploads each sealed segment once from its sandbox, and fails with 69",
  async (t) => {
    await using machine = await Machine.boot();
    await using server = await S3Server.start("radosgw", {}, ["nsenter", "--target", `${machine.pid}`, "--net", "--"]);
    await server.makeBucket("spool");
    await configure(machine, server.endpoint);
    const { accessKey, secretKey } = server;
    await machine.write("/etc/ibsr/export.env", `AWS_ACCESS_KEY_ID=${accessKey}\nAWS_SECRET_ACCESS_KEY=${secretKey}\n`);
    await machine.exec("chmod", ["600", "/etc/ibsr/export.env"]);
    const { stdout } = await machine.exec("ibsr", ["systemd", "install", "--program", "/usr/local/bin/ibsr"]);
    assert.match(stdout, /^next: .* enable --now ibsr\.service ibsr-export\.timer$/m);
    await Deno.mkdir(`/proc/${machine.pid}/root/etc/systemd/system/ibsr-export.timer.d`);
    await machine.write("/etc/systemd/system/ibsr-export.timer.d/often.conf", OFTEN);
    await machine.exec("systemctl", ["daemon-reload"]);
    await machine.exec("systemctl", ["enable", "--now", "ibsr.service", "ibsr-export.timer"]);

    await t.step("the timer starts it while the collector runs, and what is sealed arrives", async () => {
      for (const sealed of [1, 2, 3]) {
        await pause(500);
        await machine.exec("systemctl", ["restart", "ibsr.service"]); // which seals what is there
        assert.equal((await listSealed(machine)).length, sealed);
      }
      await machine.waitFor("uploads", async () => (await listRuns(machine)).some((run) => !/ 0 objects/.test(run)));
      assert.equal(await machine.show("ibsr-export.service", "Result"), "success");
    });

    await t.step("the run after the last upload sends nothing", async () => {
      await machine.exec("systemctl", ["stop", "ibsr.service"]);
      const before = (await listRuns(machine)).length;
      await machine.waitFor("two more runs", async () => (await listRuns(machine)).length >= before + 3);
      await machine.exec("systemctl", ["stop", "ibsr-export.timer"]);
      assert.match(
        (await listRuns(machine)).at(-1)!,
        /^uploaded 0 objects .*; [1-9]\d* (?:was|were) there already; 0 failed$/,
      );
    });

    await t.step("the bucket has every segment as it is, and the ledger is the collector's user's", async () => {
      const stored = await server.download("spool"), sealed = await listSealed(machine);
      assert.deepEqual([...stored.keys()].sort(), sealed.map((name) => `p/${name}`).sort());
      const root = `/proc/${machine.pid}/root/var/lib/private/ibsr/snapshots`;
      for (const [key, bytes] of stored) assert.deepEqual(bytes, await Deno.readFile(`${root}/${key.slice(2)}`), key);
      const [ledger, segment] = ["export.jsonl", sealed[0]].map((name) => Deno.statSync(`${root}/${name}`));
      assert.equal(ledger!.uid, segment!.uid);
      assert.notEqual(ledger!.uid, 0);
      assert.equal(ledger!.mode! & 0o777, 0o640);
      const status = await machine.exec("ibsr", ["status"], { anyCode: true });
      assert.match(status.stdout, /^upload +0 segments wait for http:.*\/spool\/p\//m, status.stdout);
    });

    await t.step(
      "a server that can't be reached fails the unit with 69, and the journal says it without keys",
      async () => {
        await configure(machine, "http://127.0.0.1:59999");
        const another = `${SPOOL}/snapshot_2020010100.jsonl.zst`;
        await machine.exec("cp", ["-p", `${SPOOL}/${(await listSealed(machine))[0]}`, another]);
        const { code } = await machine.exec("systemctl", ["start", "ibsr-export.service"], { anyCode: true });
        assert.equal(code, 1);
        assert.equal(await machine.show("ibsr-export.service", "ExecMainStatus"), "69");
        assert.equal(await machine.show("ibsr-export.service", "Result"), "exit-code");
        const { stdout: lines } = await machine.exec("journalctl", ["--unit=ibsr-export.service", "--output=json"]);
        const errors = lines.trim().split("\n").map((line) => JSON.parse(line)).filter((e) => e.PRIORITY === "3")
          .map((entry) => entry.MESSAGE as string);
        assert.ok(errors.some((m) => /^Cannot .*127\.0\.0\.1:\d+.*: .*refused/i.test(m)), errors.join("\n"));
        assert.ok(!lines.includes(secretKey), "the secret key");
        assert.ok(!lines.includes(accessKey), "the access key's id");
      },
    );
  },
);

testWith(
  "machine",
  "ibsr-export.service without a bucket fails with 64 and says where to name one; the timer waits for the hour",
  async () => {
    await using machine = await Machine.boot();
    const { stdout } = await machine.exec("ibsr", [
      ...["systemd", "install", "--program", "/usr/local/bin/ibsr", "--", "-p", "443"],
    ]);
    assert.match(stdout, /enable --now ibsr\.service$/m);
    assert.match(stdout, /^ibsr-export\.timer wants a bucket first/m);
    await machine.exec("systemctl", ["daemon-reload"]);
    await machine.exec("systemctl", ["start", "ibsr-export.service"], { anyCode: true });
    assert.equal(await machine.show("ibsr-export.service", "ExecMainStatus"), "64");
    assert.match(await machine.journal("ibsr-export.service"), /no bucket was given\n.*"export s3": \{ "bucket"/);

    await machine.exec("systemctl", ["start", "ibsr-export.timer"]);
    const next = new Date(await machine.show("ibsr-export.timer", "NextElapseUSecRealtime")).getTime();
    assert.ok(next > Date.now() && next < Date.now() + 90.1 * 60_000, `${new Date(next)}`);
  },
);
