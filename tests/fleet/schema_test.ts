/** `ibsr fleet schema`: the statements run, and say what is in the files. */
import assert from "node:assert/strict";
import { FLEET_START_MS, fleetHost, type FleetOrder, writeFleet } from "../../scripts/fleet_evidence.ts";
import { openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import { describeSchema, type Dialect } from "../../src/fleet/schema.ts";
import { listInputs } from "../../src/input.ts";
import { readSnapshots } from "../../src/snapshot.ts";
import { CHDB, DUCKDB, testWith } from "../needs.ts";

const FLEET: FleetOrder = { hosts: 6, hours: 3, intervalSec: 600, sources: 8, seed: 3, compress: "zstd" };
const DATE = new Date(FLEET_START_MS).toISOString().slice(0, 10);

/** A fleet in a folder with a name that needs quoting, and beside it a plain segment and a broken line. */
async function makeEvidence(): Promise<string> {
  const folder = `${await Deno.makeTempDir()}/it's evidence`;
  await writeFleet(folder, FLEET);
  const { hosts: _, ...order } = FLEET;
  await writeFleet(`${folder}/plain`, { ...order, hosts: 1, hours: 1, compress: "none" });
  const [name] = [...Deno.readDirSync(`${folder}/plain/host=${fleetHost(0)}/date=${DATE}/hour=00`)].map((e) => e.name);
  const path = `${folder}/host=${fleetHost(0)}/date=${DATE}/hour=00/snapshot_2026010100_0001.jsonl`;
  const text = await Deno.readTextFile(`${folder}/plain/host=${fleetHost(0)}/date=${DATE}/hour=00/${name}`);
  await Deno.remove(`${folder}/plain`, { recursive: true });
  await Deno.writeTextFile(path, `${text.replaceAll('"run_id":', '"run_id":1')}{"version":8,"torn`);
  return folder;
}

/** What the files say, read by ibsr itself. */
async function readTruth(folder: string) {
  const sum = { snapshots: 0, rows: 0, syn: 0, bytes: 0, totalPackets: 0 }, hosts = new Map<string, Set<string>>();
  const opened = new Map<string, { syn: number; data: number }>();
  for (const input of listInputs([folder])) {
    for await (const line of readSnapshots(input.read(), input.path)) {
      if (!("snapshot" in line)) continue;
      const { snapshot } = line;
      sum.snapshots++;
      sum.totalPackets += snapshot.totals!.reduce((packets, total) => packets + total.packets, 0);
      for (const bucket of snapshot.buckets) {
        sum.rows++;
        sum.syn += bucket.syn;
        sum.bytes += bucket.bytes;
        hosts.set(bucket.src_ip, (hosts.get(bucket.src_ip) ?? new Set()).add(snapshot.hostname!));
        const key = `${bucket.src_ip} ${bucket.dst_port}`, of = opened.get(key) ?? { syn: 0, data: 0 };
        opened.set(key, { syn: of.syn + bucket.syn, data: of.data + bucket.data! });
      }
    }
  }
  const manyHosts = [...hosts].map(([source, { size }]) => [source, size] as const).filter(([, size]) => size >= 5)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, 20);
  const most = [...opened].filter(([, { syn }]) => syn >= 1000).map((
    [key, { syn, data }],
  ) => [...key.split(" "), syn, data])
    .sort((a, b) => Number(b[2]) - Number(a[2]) || (String(a[0]) < String(b[0]) ? -1 : 1)).slice(0, 20);
  return { sum, manyHosts, most };
}

const SUMS = `SELECT count(*) AS rows, sum(syn) AS syn, sum(bytes) AS bytes FROM ibsr_buckets WHERE date = '${DATE}';
SELECT count(*) AS snapshots, min(hour) AS first, max(hour) AS last FROM ibsr_snapshots WHERE host = 'web-0003' OR host <> 'web-0003';
SELECT sum(packets) AS packets FROM ibsr_totals;`;

function statementsOf(dialect: Dialect, folder: string): string {
  return describeSchema(dialect, { folder }, { examples: true }).replaceAll("2026-11-21", DATE) + SUMS;
}

/** Holds the results of the examples and of SUMS against the truth. */
async function checkResults(results: Record<string, unknown>[][], folder: string): Promise<void> {
  const { sum, manyHosts, most } = await readTruth(folder);
  const [opened, many, lost, rows, snapshots, totals] = results;
  assert.deepEqual(opened!.map((r) => [r.src_ip, String(r.dst_port), Number(r.opened), Number(r.with_data)]), most);
  assert.deepEqual(many!.map((r) => [r.src_ip, Number(r.hosts)]), manyHosts);
  assert.ok(most.length > 0 && manyHosts.length > 0);
  assert.deepEqual(
    lost!.map((r) => [r.hostname, Number(r.packets_without_source)]),
    Array.from({ length: FLEET.hosts }, (_, i) => [fleetHost(i), 0]),
  );
  const [row] = rows!, [snapshot] = snapshots!, [total] = totals!;
  assert.deepEqual([row!.rows, row!.syn, row!.bytes].map(Number), [sum.rows, sum.syn, sum.bytes]);
  assert.deepEqual([snapshot!.snapshots, snapshot!.first, snapshot!.last].map(Number), [sum.snapshots, 0, 2]);
  assert.equal(Number(total!.packets), sum.totalPackets);
}

testWith("chdb", "the schema for ClickHouse says what is in the files", async () => {
  const folder = await makeEvidence();
  await using engine = await openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 1e9, threads: 2 });
  const results: Record<string, unknown>[][] = [];
  for (const statement of statementsOf("clickhouse", folder).split(/;\n|;$/)) {
    const sql = statement.replaceAll(/^--.*$/gm, "").trim();
    if (sql === "") continue;
    const rows = await engine.rows<Record<string, unknown>>(sql);
    if (sql.startsWith("SELECT")) results.push(rows);
  }
  await checkResults(results, folder);
  await Deno.remove(folder, { recursive: true });
});

testWith("duckdb", "the schema for DuckDB says what is in the files", async () => {
  const folder = await makeEvidence();
  const child = new Deno.Command("node", {
    args: [new URL("duckdb.cjs", import.meta.url).pathname, DUCKDB],
    ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(statementsOf("duckdb", folder)));
  await writer.close();
  const { code, stdout, stderr } = await child.output(), decoder = new TextDecoder();
  assert.equal(code, 0, decoder.decode(stderr));
  await checkResults(decoder.decode(stdout).trim().split("\n").map((line) => JSON.parse(line)), folder);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("no schema has a key in it, and names that need quoting are quoted", () => {
  const location = {
    bucket: "b",
    prefix: "it's/",
    url: "https://b.s3.eu-west-1.amazonaws.com/it's/",
    region: "eu-west-1",
    endpoint: undefined,
  };
  for (const dialect of ["clickhouse", "duckdb", "athena", "trino"] as const) {
    const text = describeSchema(dialect, location, { examples: true });
    assert.match(text, dialect === "clickhouse" ? /it\\'s\// : /it''s\//);
    for (const name of ["ibsr_snapshots", "ibsr_totals", "ibsr_buckets"]) {
      assert.ok(text.includes(`VIEW ${dialect === "clickhouse" ? "IF NOT EXISTS " : ""}${name} AS`));
    }
  }
});
