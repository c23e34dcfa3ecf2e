import assert from "node:assert/strict";

Deno.test("mod.ts reads snapshots in a process that may do nothing but read files", async () => {
  const root = new URL("../", import.meta.url).pathname, path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{"version":3,"ts_unix_sec":1,"dst_ports":[80],"buckets":[]}\n{"version":9}\n');
  const code = `import { readSnapshots } from "${root}mod.ts";
    const lines = await Array.fromAsync(readSnapshots((await Deno.open("${path}")).readable, "x"));
    console.log(lines.map((l) => "snapshot" in l ? l.snapshot.version : l.error.message).join("|"));`;
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(script, code);
  const args = ["run", "--quiet", "--no-prompt", "--allow-read", `--config=${root}deno.json`, script];
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  assert.equal(
    new TextDecoder().decode(stdout),
    "3|Cannot read x:2: version 9 is none of 3 to 8\n",
    new TextDecoder().decode(stderr),
  );
  await Deno.remove(path);
  await Deno.remove(script);
});
