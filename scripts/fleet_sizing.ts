/**
 * What `ibsr fleet report` takes: time, memory, bytes read, as its evidence grows.
 *
 *     deno task fleet-sizing FOLDER [--hosts 100] [--hours 24] [--sources 100] [--max-memory 4G]
 *         [--program PATH] [--wrap COMMAND]
 *
 * Starts a Ceph gateway (scripts/s3-server) in FOLDER, stores the evidence of a generated fleet as `ibsr export s3 --layout
 * hive` does, and measures the program, in a process of its own each time: on one host, ten, a hundred; on one host's four
 * hours; and `ibsr report` on the same bucket. Objects and bytes are counted at the gateway. Needs time(1). `--wrap` is put
 * before each measured command, such as one that waits until the machine is idle.
 */
import { parseArgs } from "node:util";
import { environmentOf, S3Server } from "../tests/s3/server.ts";
import { FLEET_START_MS, fleetHost, makeFleet } from "./fleet_evidence.ts";

const ROOT = new URL("../", import.meta.url).pathname;

interface Case {
  name: string;
  hosts: number;
  args: string[];
}

interface Measured {
  seconds: number;
  processorSeconds: number;
  peakMB: number;
  objects: number;
  readMB: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hosts: { type: "string", default: "100" },
    hours: { type: "string", default: "24" },
    sources: { type: "string", default: "100" },
    "max-memory": { type: "string", default: "4G" },
    program: { type: "string", default: `${ROOT}dist/ibsr` },
    wrap: { type: "string", default: "" },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error("fleet_sizing.ts FOLDER …");

const hosts = Number(values.hosts), hours = Number(values.hours);
await using server = await S3Server.start("radosgw");
await server.makeBucket("fleet");
const sizes = new Map<number, { rows: number; bytes: number; storedBytes: number; files: number }>();
let done = { rows: 0, bytes: 0, storedBytes: 0, files: 0 };
const order = { hosts, hours, intervalSec: 60, sources: Number(values.sources), seed: 1, compress: "zstd" } as const;
for (const { path, bytes, rows, plainBytes } of makeFleet(order)) {
  await server.call("put_object", { Bucket: "fleet", Key: `ibsr/${path}`, Body: { base64: bytes.toBase64() } });
  done = {
    ...{ rows: done.rows + rows, bytes: done.bytes + plainBytes },
    ...{ storedBytes: done.storedBytes + bytes.length, files: done.files + 1 },
  };
  if (done.files % hours === 0) sizes.set(done.files / hours, done);
}
console.error(`${done.files} objects, ${done.rows} rows, ${done.bytes} bytes, ${done.storedBytes} stored`);

const engine = ["--max-memory", values["max-memory"]];
const at = (hour: number) => new Date(FLEET_START_MS + hour * 3_600_000).toISOString();
const cases: Case[] = [
  // The first ten hosts' names begin alike, and so do the first hundred's.
  ...[1, 10, 100].filter((n) => n <= hosts).map((n) => ({
    name: `fleet report, ${n} ${n === 1 ? "host" : "hosts"}`,
    hosts: n,
    args: ["fleet", "report", "--in", `s3://fleet/ibsr/host=${fleetHost(0).slice(0, 8 - Math.log10(n))}`, ...engine],
  })),
  {
    name: "fleet report, one host, 4 hours",
    hosts: 1,
    args: [
      "fleet",
      "report",
      "--in",
      "s3://fleet/ibsr/",
      "--host",
      fleetHost(7),
      "--from",
      at(2),
      "--to",
      at(6),
      ...engine,
    ],
  },
  { name: "report", hosts, args: ["report", "--in", "s3://fleet/ibsr/"] },
];
console.log("| what | rows | stored | objects read | bytes read | time | processor time | memory |");
console.log("|---|---|---|---|---|---|---|---|");
for (const { name, hosts, args } of cases) {
  const m = await measure([
    ...args,
    "--s3-endpoint",
    server.endpoint,
    "--out",
    `${folder}/${name.replaceAll(/\W+/g, "-")}`,
  ]);
  const { rows, storedBytes } = sizes.get(hosts)!;
  console.log(
    `| ${name} | ${rows} | ${(storedBytes / 1e6).toFixed(1)} MB | ${m.objects} | ${m.readMB.toFixed(1)} MB | ` +
      `${m.seconds.toFixed(1)} s | ${m.processorSeconds.toFixed(1)} s | ${m.peakMB.toFixed(0)} MB |`,
  );
}

async function measure(args: string[]): Promise<Measured> {
  const before = await countReads();
  const [command, ...rest] = [
    ...values.wrap === "" ? [] : [values.wrap],
    ...["/usr/bin/time", "-f", "measured %e %U %S %M", values.program, ...args],
  ];
  const { code, stderr } = await new Deno.Command(command!, {
    args: rest,
    env: environmentOf(server),
    ...{ stdin: "null", stdout: "null", stderr: "piped" },
  }).output();
  const said = new TextDecoder().decode(stderr), match = /measured ([\d.]+) ([\d.]+) ([\d.]+) (\d+)/.exec(said);
  if (code !== 0 || !match) throw new Error(`${args.join(" ")}: ${said}`);
  const [seconds, user, system, peakKB] = match.slice(1).map(Number) as [number, number, number, number];
  await new Promise((resolve) => setTimeout(resolve, 1000)); // the gateway writes its log a moment later
  const after = await countReads();
  return {
    ...{ seconds, processorSeconds: user + system, peakMB: peakKB / 1024 },
    ...{ objects: after.objects - before.objects, readMB: (after.bytes - before.bytes) / 1e6 },
  };
}

/** Objects and bytes that the gateway has sent so far. */
async function countReads(): Promise<{ objects: number; bytes: number }> {
  const log = await Deno.readTextFile(`${server.folder}/log/client.rgw.log`);
  const gets = [...log.matchAll(/"GET (\S+) HTTP\/1\.1" 20[06] (\d+)/g)].filter(([, path]) =>
    !path!.includes("list-type=")
  );
  return { objects: gets.length, bytes: gets.reduce((sum, [, , bytes]) => sum + Number(bytes), 0) };
}
