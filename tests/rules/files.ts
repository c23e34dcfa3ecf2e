/** Rules rendered into a folder, and the validators that look at them. */
import assert from "node:assert/strict";
import { parsePrefix } from "../../src/prefix.ts";
import type { Rendered } from "../../src/rules/format.ts";
import { FORMATS } from "../../src/rules/formats.ts";
import { normalise } from "../../src/rules/normalise.ts";
import type { RuleSet } from "../../src/rules/ruleset.ts";
import { run } from "../kernel/lab.ts";

/** What a test chooses; all else is as the command's defaults. */
export interface Chosen {
  shadow?: boolean;
  iface?: string;
  dialect?: "code" | "seed";
  protect?: string[];
  durationSec?: number;
}

/** Renders a set in a format. */
export function render(name: string, set: RuleSet, chosen: Chosen = {}): Rendered {
  const format = FORMATS.find((f) => f.name === name);
  assert.ok(format, name);
  const plan = normalise(set, {
    allowlist: [],
    protected: (chosen.protect ?? []).map((text) => ({ prefix: parsePrefix(text)!, why: "a test's address" })),
    widest: { v4: 16, v6: 32 },
    durationSec: chosen.durationSec,
  });
  return format.render(plan, {
    shadow: chosen.shadow ?? false,
    iface: chosen.iface,
    dialect: chosen.dialect ?? "code",
    hostChecked: true,
  });
}

/** What a format's files begin with. */
export function stemOf(shadow: boolean): string {
  return shadow ? "ibsr.shadow" : "ibsr";
}

/** The text of one of the files. */
export function textOf(rendered: Rendered, name: string): string {
  const file = rendered.files.find((f) => f.name === name);
  assert.ok(file, `${name} of ${rendered.files.map((f) => f.name).join(", ")}`);
  return file.text;
}

/** Writes a format's files into a new folder. */
export async function renderTo(name: string, set: RuleSet, chosen: Chosen = {}): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-rules-" });
  for (const file of render(name, set, chosen).files) await Deno.writeTextFile(`${folder}/${file.name}`, file.text);
  return folder;
}

/** Runs a script in a folder, with networks and mounts of its own; fails the test if it fails, unless `anyCode`. */
export function inside(folder: string, script: string, options: { anyCode?: boolean } = {}) {
  return run(
    "unshare",
    ["--net", "--mount", "--propagation", "private", "sh", "-euc", `cd "$0"\n${script}`, folder],
    options,
  );
}
