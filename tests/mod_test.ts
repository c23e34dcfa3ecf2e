/**
 * The library: its examples run in a process of their own, and say what the command line says.
 */
import assert from "node:assert/strict";
import {
  assessPolicy,
  DEFAULT_LIMITS,
  defaultPolicy,
  listInputs,
  readEvidence,
  readPolicy,
  renderHtml,
} from "../mod.ts";
import { expectedPath, situationOf } from "./golden/run.ts";
import { thrown } from "./thrown.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** A folder with the snapshots of a situation. */
async function writeSituation(name: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const [path, text] of Object.entries(situationOf(name).files)) {
    await Deno.writeTextFile(`${folder}/${path}`, text);
  }
  return folder;
}

/** Runs a script that may read, and write in its folder, and nothing else. */
async function runScript(code: string, folder: string): Promise<string> {
  const script = `${folder}/script.ts`;
  await Deno.writeTextFile(script, code.replaceAll('"./mod.ts"', `"${ROOT}mod.ts"`));
  const permissions = ["--no-prompt", "--allow-read", `--allow-write=${folder}`];
  const { code: exit, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", ...permissions, `--config=${ROOT}deno.json`, script],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(exit, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

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

Deno.test("the examples in mod.ts run, in a process that may do nothing but read and write files", async () => {
  const text = (await Deno.readTextFile(`${ROOT}mod.ts`)).replaceAll(/^ \* ?/gm, "");
  const [report, lines] = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
  const folder = await writeSituation("ready");
  try {
    const said = await runScript(report!.replace("/var/lib/ibsr/snapshots", folder), folder);
    assert.match(said, /^READY \d/);
    assert.match(await Deno.readTextFile(`${folder}/report.html`), /^<!doctype html>/i);
    const each = await runScript(lines!.replaceAll("snapshot_2026112103.jsonl", "web1.jsonl"), folder);
    assert.match(each, /^\d+ \d+\n/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("assessPolicy() with the defaults says what the report says, and limits and addresses move it", async () => {
  const folder = await writeSituation("ready");
  try {
    using evidence = await readEvidence(listInputs([folder]));
    const { summary } = await assessPolicy(evidence, defaultPolicy());
    const expected = JSON.parse(await Deno.readTextFile(expectedPath("ready")));
    for (const part of ["verdict", "verdict_reason", "impact", "gates", "sweep", "spoofing"] as const) {
      assert.deepEqual(JSON.parse(JSON.stringify(summary[part])), expected[part], part);
    }
    const verdictOf = async (
      ...options: Parameters<typeof assessPolicy> extends [unknown, unknown, ...infer R] ? R : never
    ) => (await assessPolicy(evidence, defaultPolicy(), ...options)).summary.verdict;
    assert.equal(await verdictOf({ limits: { minDays: DEFAULT_LIMITS.minDays + 1 } }), "INSUFFICIENT EVIDENCE");
    assert.equal(await verdictOf({ selfAddresses: ["203.0.113.0/24"] }), "NOT READY");
    const spared = await assessPolicy(evidence, defaultPolicy({ allowlist: ["203.0.113.5"] }));
    assert.equal(spared.summary.would_block_sources.possible, 0);
    assert.deepEqual(spared.rules.exceptions, ["203.0.113.5"]);
    assert.match([...renderHtml(spared)].join(""), /NOT READY/);
    assert.equal((await thrown(() => defaultPolicy({ allowlist: ["203.0.113"] }))).kind, "usage");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readPolicy() reads an engine's files, and says what is wrong with them and where", async () => {
  const rule = '[[rules]]\nid = "a"\nsrc_ip = "203.0.113.5"\naction = "block"\ndescription = "x"\n';
  const folder = await writeSituation("ready");
  try {
    using evidence = await readEvidence(listInputs([folder]));
    const { summary } = await assessPolicy(evidence, readPolicy([{ path: "rules.toml", text: rule }]));
    assert.deepEqual([summary.policy.engine, summary.would_block_sources.certain], ["ironpost", 1]);
    assert.equal(summary.sweep, null);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const broken = await thrown(() => readPolicy([{ path: "r.toml", text: rule.replace("block", "drop") }]));
  assert.equal(broken.message, 'Cannot use the policy: r.toml:4:10: rules[0].action: "drop" is none of block, monitor');
  assert.match((await thrown(() => readPolicy([{ path: "x", text: "a: 1" }]))).message, /none of ebpfsentinel/);
});

Deno.test("deno doc finds every public symbol documented", async () => {
  const args = ["doc", "--lint", `${ROOT}mod.ts`];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
});
