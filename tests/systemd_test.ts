/**
 * The systemd units: what systemd itself says of them, and how the operator's flags get into them.
 */
import assert from "node:assert/strict";
import { commandLine, isStateDirectory, renderUnits, type UnitOptions } from "../src/systemd.ts";
import { testWith } from "./needs.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const OPTIONS: UnitOptions = {
  program: ["/bin/true"],
  collect: ["-p", "443"],
  exports: ["export", "s3"],
  directory: "/var/lib/ibsr/snapshots",
  writable: [],
  user: undefined,
};

async function run(command: string, args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/** Runs ibsr from source. */
function ibsr(...args: string[]): Promise<{ code: number; text: string }> {
  const permissions = "--allow-read --allow-write --allow-env".split(" ");
  return run(Deno.execPath(), ["run", "--quiet", "--no-prompt", ...permissions, `${ROOT}main.ts`, ...args]);
}

/** A folder with the units in it. */
async function writeUnits(options: UnitOptions): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const { name, text } of renderUnits(options)) await Deno.writeTextFile(`${folder}/${name}`, text);
  return folder;
}

const SHAPES: Record<string, Partial<UnitOptions>> = {
  "with a user of systemd's making": {},
  "with a user of the operator's and a spool of its own": {
    user: "daemon",
    directory: "/data/ibsr",
    writable: ["/run/x"],
  },
};

for (const [shape, own] of Object.entries(SHAPES)) {
  testWith("systemd", `systemd-analyze verify finds nothing wrong with the units ${shape}`, async () => {
    const folder = await writeUnits({ ...OPTIONS, ...own });
    const paths = renderUnits(OPTIONS).map(({ name }) => `${folder}/${name}`);
    assert.equal(paths.length, 3);
    assert.deepEqual(await run("systemd-analyze", ["verify", "--man=no", ...paths]), { code: 0, text: "" });
    await Deno.writeTextFile(paths[0]!, "WatchdogSecs=1\n", { append: true });
    assert.match((await run("systemd-analyze", ["verify", "--man=no", paths[0]!])).text, /WatchdogSecs/);
    await Deno.remove(folder, { recursive: true });
  });

  testWith("systemd", `systemd-analyze security gives the services ${shape} 2.5 or better`, async () => {
    const folder = await writeUnits({ ...OPTIONS, ...own });
    for (const name of ["ibsr.service", "ibsr-export.service"]) {
      const { text } = await run("systemd-analyze", [
        ...["security", "--offline=true", "--no-pager", `${folder}/${name}`],
      ]);
      const score = Number(/Overall exposure level for .*: ([\d.]+)/.exec(text)?.[1]);
      assert.ok(score <= 2.5, `${name}: ${score}`);
      console.log(`${name}: ${score}`);
    }
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("the collector's unit denies what Deno can do without, and not what it can't", () => {
  const [collector] = renderUnits(OPTIONS);
  assert.ok(!/^(MemoryDenyWriteExecute|PrivateUsers|PrivateNetwork)=/m.test(collector!.text));
  for (
    const line of ["Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "ExecReload=/bin/kill -HUP $MAINPID"]
  ) {
    assert.ok(collector!.text.split("\n").includes(line), line);
  }
  const filters = [...collector!.text.matchAll(/^SystemCallFilter=(.*)$/gm)].map((m) => m[1]);
  assert.deepEqual(filters, ["@system-service @pkey", "~@privileged @resources", "bpf @chown prlimit64"]);
});

Deno.test("the units are without export's where nothing is exported", () => {
  assert.deepEqual(renderUnits({ ...OPTIONS, exports: undefined }).map((unit) => unit.name), ["ibsr.service"]);
});

Deno.test("commandLine() keeps each word a word, with nothing expanded in it", () => {
  assert.equal(commandLine(["/usr/bin/ibsr", "-p", "80,443"]), "/usr/bin/ibsr -p 80,443");
  assert.equal(
    commandLine(["a b", 'c"d', "e'f", "g\\h", "100%", "$HOME", ""]),
    `"a b" "c\\"d" "e'f" "g\\\\h" 100%% $$HOME ""`,
  );
});

Deno.test("isStateDirectory() is true of what systemd can make below /var/lib", () => {
  for (const path of ["/var/lib/ibsr", "/var/lib/ibsr/snapshots"]) assert.ok(isStateDirectory(path), path);
  for (const path of ["/var/lib/", "/data", "/var/library", "/var/lib/../x"]) assert.ok(!isStateDirectory(path), path);
});

Deno.test("ibsr systemd print and install write the same unit, with the flags as they were given; uninstall removes it", async () => {
  const root = await Deno.makeTempDir();
  const flags = ["--program", "/usr/bin/ibsr", "--", "-p", "443", "--group", "x y", "-o", "/var/lib/other/spool"];
  const printed = await ibsr("systemd", "print", ...flags);
  assert.equal(printed.code, 0, printed.text);
  assert.match(printed.text, /^ExecStart=\/usr\/bin\/ibsr collect -p 443 --group "x y" -o \/var\/lib\/other\/spool$/m);
  assert.match(printed.text, /^StateDirectory=other$/m);
  const installed = await ibsr("systemd", "install", "--root", root, ...flags);
  const path = `${root}/etc/systemd/system/ibsr.service`, exporter = `${root}/etc/systemd/system/ibsr-export`;
  const paths = [path, `${exporter}.service`, `${exporter}.timer`];
  assert.deepEqual(installed, { code: 0, text: paths.map((p) => `wrote ${p}\n`).join("") });
  for (const each of paths) assert.ok(printed.text.includes(await Deno.readTextFile(each)), each);
  assert.match(printed.text, /^ExecStart=\/usr\/bin\/ibsr export s3 --out-dir \/var\/lib\/other\/spool$/m);
  assert.equal((await Deno.stat(path)).mode! & 0o777, 0o644);

  const wants = `${root}/etc/systemd/system/multi-user.target.wants`;
  await Deno.mkdir(wants);
  await Deno.symlink("../ibsr.service", `${wants}/ibsr.service`);
  const refused = await ibsr("systemd", "uninstall", "--root", root);
  assert.equal(refused.code, 64);
  assert.match(refused.text, /still enabled\n.*`systemctl disable --now ibsr.service`/);
  await Deno.remove(`${wants}/ibsr.service`);
  assert.deepEqual(await ibsr("systemd", "uninstall", "--root", root), {
    code: 0,
    text: paths.map((p) => `removed ${p}\n`).join(""),
  });
  assert.match((await ibsr("systemd", "uninstall", "--root", root)).text, /^no unit of ibsr is in /);
  await Deno.remove(root, { recursive: true });
});

Deno.test("ibsr systemd install refuses where a package's units are, unless forced", async () => {
  for (const place of ["lib/systemd/system", "usr/lib/systemd/system"]) {
    const root = await Deno.makeTempDir(), written = `${root}/etc/systemd/system/ibsr.service`;
    await Deno.mkdir(`${root}/${place}`, { recursive: true });
    await Deno.writeTextFile(`${root}/${place}/ibsr.service`, "");
    const install = (...more: string[]) =>
      ibsr("systemd", "install", "--root", root, "--program", "/usr/bin/ibsr", ...more, "--", "-p", "443");
    const { code, text } = await install();
    assert.equal(code, 64, text);
    assert.ok(text.includes(`a package's are there (${root}/${place}/ibsr.service)`), text);
    assert.match(text, /hint: .*systemctl enable --now ibsr\.service.*--force/);
    await assert.rejects(Deno.stat(written), Deno.errors.NotFound);
    assert.equal((await install("--force")).code, 0);
    await Deno.stat(written);
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("ibsr systemd install refuses what would fail when the unit starts", async () => {
  const root = await Deno.makeTempDir();
  const install = (...flags: string[]) =>
    ibsr("systemd", "install", "--root", root, "--program", "/usr/bin/ibsr", "--", ...flags);
  const cases: [string[], RegExp][] = [
    [["-p", "x"], /Cannot use --dst-port "x"/],
    [["--prt", "1"], /--prt is not an option of this command/],
    [["443"], /"443" is no option of ibsr collect/],
    [["-o", "spool"], /--out-dir "spool" is relative/],
    [["-o", "/data/spool"], /a user that systemd makes can't own \/data\/spool\n.*--user USER/],
    [["--user", "ibsr"], /--user is for a collector that is started as root/],
    [["--config", "/nonexistent"], /Cannot read the config file/],
  ];
  for (const [flags, expected] of cases) {
    const { code, text } = await install(...flags);
    assert.equal(code, 64, text);
    assert.match(text, expected);
  }
  assert.match(
    (await ibsr("systemd", "install", "--root", root)).text,
    /Cannot name the program in the unit: ibsr runs from/,
  );
  assert.deepEqual([...Deno.readDirSync(root)], [], "nothing was written");
  await Deno.remove(root, { recursive: true });
});
