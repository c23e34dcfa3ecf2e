/** A report's files for programs: schemas, CSV, JSON lines, and how they get onto the disk. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Ajv2020 } from "ajv";
import { IbsrError } from "../src/errors.ts";
import {
  type InputFile,
  renderDecisions,
  renderEvidence,
  renderJson,
  renderRules,
  toManifest,
} from "../src/report/csv.ts";
import { escapeCsv } from "../src/escape.ts";
import manifestSchema from "../src/report/manifest.schema.json" with { type: "json" };
import { makeNrIbsrFiles } from "../src/report/nr_ibsr.ts";
import type { Assessment, NamedDecision } from "../src/report/summary.ts";
import summarySchema from "../src/report/summary.schema.json" with { type: "json" };
import wouldBlockSchema from "../src/report/would_block.schema.json" with { type: "json" };
import { writeNrIbsr, writeReport } from "../src/report/write.ts";
import rulesSchema from "../src/rules/rules.schema.json" with { type: "json" };
import { decodeSnapshot } from "../src/snapshot.ts";
import { empty, fleet, hostile, insufficient, notReady, ready } from "./report/fixture.ts";
import { NR_IBSR_DEFAULTS } from "./report/nr_ibsr.ts";

const SITUATIONS = { ready, notReady, insufficient, fleet, empty, hostile };
const INPUTS: InputFile[] = [{ path: "spool/a.jsonl", sha256: "0".repeat(64), bytes: 812, lines: 4 }];
const ajv = new Ajv2020({ allowUnionTypes: true });
const validate = {
  summary: ajv.compile(summarySchema),
  rules: ajv.compile(rulesSchema),
  decision: ajv.compile(wouldBlockSchema),
  manifest: ajv.compile(manifestSchema),
};

function parse(texts: Iterable<string>): unknown {
  return JSON.parse([...texts].join(""));
}

/** Objects with one more key or one less than `value`, at whatever depth; lists by their first element. */
function* spoil(value: unknown, rebuild: (part: unknown) => unknown, path = ""): Generator<[string, unknown]> {
  if (Array.isArray(value)) {
    if (value.length > 0) {
      yield* spoil(value[0], (part) => rebuild([part, ...value.slice(1)]), `${path}[0]`);
    }
    return;
  }
  if (typeof value !== "object" || value === null) return;
  // Names that a user chose: an object of options, of counters.
  if (/\.(options|measured|thresholds)$/.test(path)) return;
  yield [`${path}.extra`, rebuild({ ...value, extra: 1 })];
  for (const [key, part] of Object.entries(value)) {
    const { [key]: _, ...rest } = value as Record<string, unknown>;
    if (!OPTIONAL.test(`${path}.${key}`)) yield [`${path}.${key}`, rebuild(rest)];
    yield* spoil(part, (changed) => rebuild({ ...value, [key]: changed }), `${path}.${key}`);
  }
}

const OPTIONAL = /\.(policy\.(profile|sha256)|option|reason|place|findings\[0\]\.rule)$/;

Deno.test("The schemas accept the files of every situation", () => {
  for (const [name, make] of Object.entries(SITUATIONS)) {
    const assessment = make(),
      check = (kind: keyof typeof validate, value: unknown) =>
        assert.ok(validate[kind](value), `${name} ${kind}: ${JSON.stringify(validate[kind].errors?.slice(0, 3))}`);
    check("summary", parse(renderJson(assessment.summary)));
    check("rules", parse(renderRules(assessment.rules)));
    check(
      "manifest",
      parse(renderJson(toManifest(assessment, INPUTS, [{ path: "report.md", sha256: "1".repeat(64), bytes: 1 }]))),
    );
    for (const line of renderDecisions(assessment.decisions)) check("decision", JSON.parse(line));
  }
});

Deno.test("The schemas refuse a file with one key more or one less, at any depth", () => {
  const { summary, rules, decisions, ...rest } = notReady();
  const manifest = toManifest({ summary, rules, decisions, ...rest }, INPUTS, [{
    path: "a",
    sha256: "1".repeat(64),
    bytes: 1,
  }]);
  summary.hosts = fleet().summary.hosts;
  summary.shared_offenders = fleet().summary.shared_offenders;
  summary.spoofing = insufficient().summary.spoofing;
  summary.policy.findings[0]!.place = { path: "a", line: 1, column: 1 };
  const files = {
    summary: parse(renderJson(summary)),
    rules: parse(renderRules(rules)),
    manifest,
    decision: JSON.parse([...renderDecisions(decisions)][0]!),
  };
  let tried = 0;
  for (const [kind, file] of Object.entries(files) as [keyof typeof validate, unknown][]) {
    assert.ok(validate[kind](file), JSON.stringify(validate[kind].errors));
    for (const [path, spoilt] of spoil(file, (value) => value)) {
      assert.ok(!validate[kind](spoilt), `${kind}${path}`);
      tried++;
    }
  }
  assert.ok(tried > 400, `${tried}`);
});

Deno.test("renderDecisions() writes seconds, an empty list for all ports and null for what has no end", () => {
  const lines = [...renderDecisions(ready().decisions)].map((line) => JSON.parse(line));
  assert.deepEqual(lines[2].until_unix_sec, { earliest: null, latest: null });
  assert.equal(lines[1].prefix, "198.51.100.0/24");
  const [first] = lines, { fromMs, window } = [...ready().decisions][0]!;
  assert.deepEqual(first.from_unix_sec, { earliest: fromMs.earliest / 1000, latest: fromMs.latest / 1000 });
  assert.deepEqual(first.window, { begin_unix_sec: window.beginMs / 1000, end_unix_sec: window.endMs / 1000 });
  assert.ok(lines.some((line) => line.dst_ports.length === 0));
  const infinite = { ...[...ready().decisions][0]!, measured: { ratio: Infinity, rate: NaN } };
  assert.deepEqual(JSON.parse([...renderDecisions([infinite])][0]!).measured, { ratio: null, rate: null });
});

Deno.test("renderDecisions() writes of each decision its own thresholds and formula", () => {
  const [decision] = ready().decisions as [NamedDecision];
  const decisions = [
    decision,
    { ...decision, formula: "syn ≥ 1" },
    { ...decision, thresholds: { syn_rate: 1 } },
    { ...decision, rule: "other", thresholds: {}, formula: "" },
    decision,
  ];
  const lines = [...renderDecisions(decisions)].map((line) => JSON.parse(line));
  const said = ({ rule, thresholds, formula }: NamedDecision) => ({ rule, thresholds, formula });
  assert.deepEqual(lines.map(said), decisions.map(said));
});

Deno.test("renderRules() writes what JSON.stringify() would, however many rules there are", () => {
  const { rules } = notReady();
  for (const count of [0, 1, 255, 256, 257, 512, 600]) {
    const many = { ...rules, rules: Array.from({ length: count }, (_, i) => rules.rules[i % rules.rules.length]!) };
    assert.equal([...renderRules(many)].join(""), JSON.stringify(many, null, 2) + "\n");
  }
});

/** A reader of RFC 4180, to read back with. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain = "", end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    rows.at(-1)!.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === "\r\n") rows.push([]);
    else if (end === "") break;
  }
  return rows.slice(0, -1);
}

Deno.test("renderEvidence() writes a table that reads back cell by cell, with hostile names as well", () => {
  for (const make of [ready, hostile, empty]) {
    const { sources } = make(), rows = readCsv([...renderEvidence(sources)].join("")), [header, ...body] = rows;
    assert.equal(header!.length, 24);
    assert.deepEqual(new Set(rows.map((row) => row.length)), new Set([24]));
    const all = [...sources];
    assert.equal(body.length, all.length);
    all.forEach((source, i) => {
      const cell = (name: string) => body[i]![header!.indexOf(name)];
      assert.equal(cell("source")!.replace(/^'/, ""), source.source);
      assert.equal(cell("syn"), String(source.syn));
      assert.equal(cell("would_block_bytes_upper"), String(source.would_block.bytes.upper));
      assert.equal(cell("class"), source.class ?? "");
    });
    for (const text of rows.flat()) assert.doesNotMatch(text, /^[=+\-@\t\r\n]/);
  }
});

Deno.test("escapeCsv() puts an apostrophe before what a spreadsheet would run", () => {
  const cases = [
    ["=1+1", `"'=1+1"`],
    ["+1", `"'+1"`],
    ["-1", `"'-1"`],
    ["@SUM(A1)", `"'@SUM(A1)"`],
    ["\t=1", `"'\t=1"`],
    ["\r=1", `"'\r=1"`],
    ["a,b", `"a,b"`],
    ['a"b', `"a""b"`],
    ["a\nb", `"a\nb"`],
    ["192.0.2.1", "192.0.2.1"],
    ["plain words", "plain words"],
    ['=HYPERLINK("x")', `"'=HYPERLINK(""x"")"`],
    ["", ""],
  ];
  for (const [text, cell] of cases) assert.equal(escapeCsv(text!), cell);
  assert.deepEqual([escapeCsv(-1), escapeCsv(null)], ["-1", ""]);
});

function listFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

const FILES = [
  "evidence.csv",
  "manifest.json",
  "report.html",
  "report.md",
  "rules.json",
  "summary.json",
  "would_block.jsonl",
];

Deno.test("writeReport() writes the same bytes for the same assessment, and a manifest that knows them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["a", "b/c/"]) await writeReport(notReady(), INPUTS, `${folder}/${name}`);
    assert.deepEqual(listFiles(`${folder}/a`), FILES);
    const manifest = JSON.parse(await Deno.readTextFile(`${folder}/a/manifest.json`));
    assert.deepEqual(manifest.inputs, INPUTS);
    assert.deepEqual(
      manifest.outputs.map((o: { path: string }) => o.path).sort(),
      FILES.filter((f) => f !== "manifest.json"),
    );
    for (const { path, sha256, bytes } of manifest.outputs) {
      const written = await Deno.readFile(`${folder}/a/${path}`);
      assert.equal(sha256, createHash("sha256").update(written).digest("hex"), path);
      assert.equal(bytes, written.length, path);
    }
    for (const file of FILES) {
      assert.deepEqual(await Deno.readFile(`${folder}/a/${file}`), await Deno.readFile(`${folder}/b/c/${file}`), file);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("writeReport() leaves an earlier report as it was if it can't write a whole one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await writeReport(ready(), INPUTS, folder);
    await Deno.writeTextFile(`${folder}/mine.txt`, "mine");
    const before = FILES.map((file) => Deno.readTextFileSync(`${folder}/${file}`));
    const broken: Assessment = {
      ...notReady(),
      sources: (function* () {
        yield* notReady().sources;
        throw new RangeError("the source of sources broke");
      })(),
    };
    // A bug stays a bug: it is not told as a failure of the disk.
    await assert.rejects(() => writeReport(broken, INPUTS, folder), RangeError);
    assert.deepEqual(FILES.map((file) => Deno.readTextFileSync(`${folder}/${file}`)), before);
    assert.deepEqual(listFiles(folder), [...FILES, "mine.txt"].sort());
    await writeReport(notReady(), INPUTS, folder);
    assert.match(Deno.readTextFileSync(`${folder}/report.md`), /^# IBSR Report: NOT READY\n/);
    assert.deepEqual(listFiles(folder), [...FILES, "mine.txt"].sort());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("writeReport() leaves no manifest beside files of two reports", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await writeReport(ready(), INPUTS, folder);
    await Deno.remove(`${folder}/rules.json`);
    await Deno.mkdir(`${folder}/rules.json/taken`, { recursive: true });
    await assert.rejects(() => writeReport(notReady(), INPUTS, folder), /^IbsrError: Cannot write the report/);
    assert.ok(!listFiles(folder).includes("manifest.json"));
    assert.deepEqual(listFiles(folder).filter((name) => name.startsWith(".")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("writeReport() says where it can't write", async () => {
  const file = await Deno.makeTempFile();
  for (const path of [file, `${file}/below`, "/proc/report"]) {
    await assert.rejects(
      () => writeReport(ready(), INPUTS, path),
      (error) =>
        error instanceof IbsrError && ["storage", "permission"].includes(error.kind) &&
        error.message.startsWith(`Cannot write the report into "${path}": `),
      path,
    );
  }
  await Deno.remove(file);
});

Deno.test("writeNrIbsr() writes the three files of the existing reporter and no others", async () => {
  const folder = await Deno.makeTempDir();
  const line = '{"version":5,"aggregation":"src_ip_dst_port","ts_unix_sec":60,"interval_sec":60,"run_id":1,' +
    '"counter_mode":"cumulative","base_ts_unix_sec":0,"dst_ports":[80],"buckets":[]}';
  const files = await makeNrIbsrFiles([decodeSnapshot(line)], {
    ...NR_IBSR_DEFAULTS,
    allowlist: [],
    generatedAtSec: 1,
  });
  await writeNrIbsr(files, folder);
  assert.deepEqual(listFiles(folder), ["evidence.csv", "report.md", "rules.json"]);
  assert.equal(await Deno.readTextFile(`${folder}/rules.json`), files.rules);
  await Deno.remove(folder, { recursive: true });
});
