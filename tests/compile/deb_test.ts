/**
 * The Debian package in a Debian of its own: installed, used, removed, purged.
 */
import assert from "node:assert/strict";
import { buildDeb } from "../../scripts/compile/deb.ts";
import { describePackage } from "../../scripts/compile/contents.ts";
import { MACHINES } from "../../scripts/compile/elf.ts";
import { runCommand } from "../../scripts/run.ts";
import { Lab } from "../kernel/lab.ts";
import { Machine } from "../kernel/machine.ts";
import { testWith } from "../needs.ts";
import { Folder, PROGRAM, start } from "./program.ts";

/** The mirror and the release that this host installs from. */
async function findMirror(): Promise<{ uri: string; suite: string }> {
  const said = await runCommand("apt-get", ["indextargets", "--format", "$(SITE) $(RELEASE) $(CODENAME) $(REPO_URI)"]);
  const lines = said.split("\n").map((line) => line.split(" "));
  const [, , suite, uri] = lines.find(([, , codename]) => /^[a-z]+$/.test(codename ?? ""))!;
  return { uri: uri!, suite: suite! };
}

/** Every path of a tree with its size and date, but what any use of a system changes. */
async function listTree(tree: string): Promise<string[]> {
  const volatile = /^(var\/(log|cache|lib\/(dpkg|apt))|etc\/ld\.so\.cache|tmp|run|proc|dev|sys)[\/ ]/;
  const said = await runCommand("find", [tree, "-xdev", "-printf", "%P %s %T@ %m\\n"]);
  return said.split("\n").filter((line) => line && !/^[^ ]* \d+ [\d.]+ 755$/.test(line) && !volatile.test(line)).sort();
}

/** Builds the package of the executable under test at `out`. */
async function buildPackage(out: string): Promise<void> {
  const machine = MACHINES[Deno.build.arch as keyof typeof MACHINES];
  await buildDeb(await describePackage(PROGRAM, { machine, version: "1.2.3", epoch: 1_700_000_000 }), out);
}

testWith(
  "debian",
  "the Debian package installs, works, and leaves nothing but the data when it is purged",
  async (t) => {
    await using folder = await Folder.create();
    const deb = `${folder.path}/ibsr.deb`, tree = `${folder.path}/tree`;
    await buildPackage(deb);

    await t.step("lintian says nothing", async () => {
      assert.equal(await runCommand("lintian", ["--allow-root", "--fail-on", "error,warning", deb]), "");
    });

    const { uri, suite } = await findMirror();
    await runCommand("debootstrap", ["--variant=minbase", "--include=libbpf1", suite, tree, uri]);
    const inside = (line: string) => start(["-c", line], { program: "sh", by: ["chroot", tree] });
    await runCommand("mount", ["-t", "proc", "proc", `${tree}/proc`]);
    try {
      const before = await listTree(tree);
      await Deno.copyFile(deb, `${tree}/tmp/ibsr.deb`);

      await t.step("it installs", async () => {
        const { code, stderr } = await inside("dpkg --install /tmp/ibsr.deb && dpkg --verify ibsr");
        assert.equal(code, 0, stderr);
      });
      await t.step("it works", async () => {
        const version = await inside("ibsr --version");
        assert.match(version.stdout, /^ibsr \d/, version.stderr);
        await using lab = await Lab.create();
        const check = await lab.exec(lab.server, "chroot", [tree, "ibsr", "check", "-p", "443", "-i", "server"], {
          anyCode: true,
        });
        // Without /sys it can't tell all; what it tries, works.
        assert.ok([0, 1].includes(check.code), `${check.code}: ${check.stdout}${check.stderr}`);
        assert.match(check.stdout, /^pass +libbpf/m);
        assert.match(check.stdout, /^pass +counting +one SYN to port 443 run, passed and counted$/m);
        const listed = await inside("dpkg --listfiles ibsr");
        for (const path of ["/usr/share/man/man1/ibsr.1.gz", "/usr/share/bash-completion/completions/ibsr"]) {
          assert.ok(listed.stdout.includes(`${path}\n`), path);
        }
      });
      await t.step("dpkg --verify tells of a changed byte", async () => {
        await runCommand("sh", ["-c", `printf x | dd of=${tree}/usr/bin/ibsr bs=1 seek=50000000 conv=notrunc`]);
        assert.match((await inside("dpkg --verify ibsr")).stdout, /^\?\?5\?+ +\/usr\/bin\/ibsr$/m);
      });
      await t.step("it is removed and purged, the data stays", async () => {
        await inside("mkdir -p /var/lib/ibsr/snapshots && echo data >/var/lib/ibsr/snapshots/x.jsonl");
        const { code, stderr } = await inside("dpkg --remove ibsr && dpkg --purge ibsr && rm /tmp/ibsr.deb");
        assert.equal(code, 0, stderr);
        const left = (await listTree(tree)).filter((line) => !before.includes(line)).map((line) => line.split(" ")[0]);
        assert.deepEqual(left, ["var/lib/ibsr/snapshots/x.jsonl"]);
        assert.equal((await inside("dpkg --listfiles ibsr")).code, 1);
      });
    } finally {
      await runCommand("umount", [`${tree}/proc`]);
    }
  },
);

testWith(
  ["debian", "machine"],
  "the Debian package's units verify, are not enabled by installing it, run when they are, and go with it",
  async (t) => {
    await using folder = await Folder.create();
    await buildPackage(`${folder.path}/ibsr.deb`);
    await using machine = await Machine.boot();
    await Deno.copyFile(`${folder.path}/ibsr.deb`, `/proc/${machine.pid}/root/tmp/ibsr.deb`);
    const root = `/proc/${machine.pid}/root`, place = "/usr/lib/systemd/system";
    const units = ["ibsr.service", "ibsr-export.service", "ibsr-export.timer"];
    const state = async (
      unit: string,
    ) => [await machine.show(unit, "UnitFileState"), await machine.show(unit, "ActiveState")];
    await machine.exec("rm", ["-f", "/usr/sbin/policy-rc.d"]); // where this host is a container, it forbids to stop units
    await machine.exec("dpkg", ["--install", "/tmp/ibsr.deb"]);

    await t.step("systemd finds nothing wrong with them, and scores 2.5 or better", async () => {
      const paths = units.map((unit) => `${place}/${unit}`);
      const { stdout, stderr } = await machine.exec("systemd-analyze", ["verify", "--man=no", ...paths]);
      assert.equal(stdout + stderr, "");
      for (const service of units.filter((unit) => unit.endsWith(".service"))) {
        const { stdout } = await machine.exec("systemd-analyze", [
          ...["security", "--offline=true", "--no-pager", `${place}/${service}`],
        ]);
        const score = Number(/Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1]);
        assert.ok(score <= 2.5, `${service}: ${score}`);
        console.log(`${service} of the package: ${score}`);
      }
    });
    await t.step("none is enabled or started", async () => {
      assert.deepEqual(await state("ibsr.service"), ["disabled", "inactive"]);
      assert.deepEqual(await state("ibsr-export.service"), ["static", "inactive"]);
      assert.deepEqual(await state("ibsr-export.timer"), ["disabled", "inactive"]);
    });
    await t.step("enabled, the collector runs as the package's user and the timer waits", async () => {
      await machine.write("/etc/ibsr/ibsr.jsonc", '{ "iface": "v0", "dst-port": 443 }');
      await machine.exec("systemctl", ["enable", "--now", "ibsr.service", "ibsr-export.timer"]);
      assert.deepEqual(await state("ibsr.service"), ["enabled", "active"]);
      assert.deepEqual(await state("ibsr-export.timer"), ["enabled", "active"]);
      const { stdout } = await machine.exec("ps", ["-o", "user=", "-p", await machine.show("ibsr.service", "MainPID")]);
      assert.equal(stdout.trim(), "ibsr");
    });
    await t.step("installed again, what runs goes on and what is enabled stays so", async () => {
      const pid = await machine.show("ibsr.service", "MainPID");
      await machine.exec("dpkg", ["--install", "/tmp/ibsr.deb"]);
      assert.equal(await machine.show("ibsr.service", "MainPID"), pid);
      assert.deepEqual(await state("ibsr-export.timer"), ["enabled", "active"]);
    });
    await t.step("removed, nothing runs any more; purged, nothing is enabled", async () => {
      await machine.exec("dpkg", ["--remove", "ibsr"]);
      for (const unit of units) assert.notEqual(await machine.show(unit, "ActiveState"), "active", unit);
      await machine.exec("dpkg", ["--purge", "ibsr"]);
      const links = ["multi-user.target.wants/ibsr.service", "timers.target.wants/ibsr-export.timer"];
      for (const link of links) {
        await assert.rejects(Deno.lstat(`${root}/etc/systemd/system/${link}`), Deno.errors.NotFound, link);
      }
    });
  },
);
