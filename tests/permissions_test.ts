/**
 * What Deno still lets each command do while it runs. Widening a row is a decision, not an accident.
 */
import assert from "node:assert/strict";
import { COMMANDS } from "../src/cli/commands.ts";
import { PERMISSIONS } from "../scripts/compile/permissions.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Says at the end which permissions are left. */
const WATCH = `globalThis.addEventListener("unload", () => {
  const names = ["read", "write", "net", "env", "sys", "run", "ffi", "import"];
  const left = names.filter((name) => Deno.permissions.querySync({ name }).state === "granted");
  // In a list, sys is asked for by kind.
  if (Deno.permissions.querySync({ name: "sys", kind: "hostname" }).state === "granted") left.push("sys");
  Deno.stderr.writeSync(new TextEncoder().encode("LEFT:" + left.join(" ")));
});`;

/**
 * By command: arguments with which it comes to its work, and what it may do then. libc (ffi) is what reads /proc and
 * /sys; the network is for S3 alone, and to run programs for a profile's credential_process alone.
 */
const LEFT: [command: string, args: string, left: string][] = [
  ["collect", "-i none -p 1 -o DIR/spool", "read write ffi sys"],
  ["check", "-i none -p 1 -o DIR/spool --config DIR/empty.jsonc", "read write ffi sys"],
  ["check", "-i none -p 1 -o DIR/spool --config DIR/bucket.jsonc", "read write net ffi sys"],
  ["status", "-o DIR", "read ffi sys"],
  ["export s3", "--input DIR --bucket abc --dry-run", "read write net sys"],
  ["report", "--in DIR --out DIR/report", "read write"],
  ["report", "--in s3://abc/ --out DIR/report --s3-endpoint http://127.0.0.1:8", "read write net"],
  ["simulate", "--policy native --in DIR --out DIR/simulated", "read write env"],
  ["policy check", "DIR/policy.yaml", "read env"],
  ["rules", "--from DIR/rules.json -f nftables", "read write ffi sys"],
  ["convert", "DIR/none.jsonl", "read write"],
  ["replay", "DIR/none.pcap -p 1", "read write ffi sys"],
  ["safety", "", "read ffi"],
  ["config check", "--config DIR/empty.jsonc", "read"],
  ["config show", "--config DIR/empty.jsonc", "read"],
  ["systemd print", "--program /ibsr -- -p 1", "read"],
  ["systemd install", "--root DIR/root --program /ibsr -- -p 1", "read write"],
  ["systemd uninstall", "--root DIR/root", "read write"],
  ["fleet report", "--in DIR --out DIR/fleet --chdb DIR/none", "read write net env run ffi sys"],
  ["fleet schema", "--in s3://abc/ibsr/", ""],
  ["completions", "bash", ""],
  ["man", "", ""],
  ["version", "", ""],
];

Deno.test("each command may do what it needs and nothing else, from before it begins", async (t) => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/watch.js`, WATCH);
  await Deno.writeTextFile(`${folder}/empty.jsonc`, "{}");
  await Deno.writeTextFile(
    `${folder}/bucket.jsonc`,
    '{ "export s3": { "bucket": "abc", "endpoint": "http://[::1]:8" } }',
  );
  await Deno.writeTextFile(`${folder}/policy.yaml`, "a: 1\n");
  const nobody = {
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  for (const [name, line, left] of LEFT) {
    await t.step(`ibsr ${name} ${line}`, async () => {
      const args = `${name} ${line}`.replaceAll("DIR", folder).split(" ").filter(Boolean);
      const { stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`, `--preload=${folder}/watch.js`],
          ...[...PERMISSIONS, `${ROOT}main.ts`, ...args],
        ],
        env: nobody,
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      }).output();
      const said = new TextDecoder().decode(stderr);
      assert.equal(said.split("LEFT:")[1], left, said);
      assert.doesNotMatch(said, /NotCapable|a bug in ibsr/);
    });
  }
  await Deno.remove(folder, { recursive: true });
  assert.deepEqual([...new Set(LEFT.map(([name]) => name))].sort(), COMMANDS.map(({ name }) => name).sort());
});

Deno.test("a path that Deno keeps from every program is named, without advice about Deno's flags", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`, ...PERMISSIONS, `${ROOT}main.ts`],
      ...["config", "check", "--config", "/proc/none.jsonc"],
    ],
    stdout: "null",
  }).output();
  assert.equal(code, 64);
  assert.match(
    new TextDecoder().decode(stderr),
    /^ibsr: error: Cannot read the config file: Deno lets no program use files in \/proc\S*$/m,
  );
});
