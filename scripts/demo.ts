/**
 * The demo: a lab, real clients beside an attack, `ibsr collect` on the server's interface, and what it saw.
 *
 * `demo.ts recorded` needs no rights: it writes a capture of the same kinds of traffic and replays that.
 */
import type { Counters } from "../src/counters.ts";
import { add, type Counts, readSpool, sumBuckets, sumTotals } from "../tests/kernel/counts.ts";
import { mixedFrames, scanSyns, spoofedSyns, writePcap } from "../tests/kernel/frames.ts";
import { CLIENT, ibsrCommand, Lab, pause, run, SERVER } from "../tests/kernel/lab.ts";
import { whatIsMissing } from "../tests/needs.ts";
import { runExport, S3Server } from "../tests/s3/server.ts";

const PORTS = [8080, 8443], SECONDS = 20;
const folder = await Deno.makeTempDir({ prefix: "ibsr-demo-" });
const spool = `${folder}/spool`;

/** Prints a step of the story. */
function tell(text: string): void {
  console.log(Deno.stdout.isTerminal() ? `\n\x1b[1m${text}\x1b[0m` : `\n${text}`);
}

async function collectLive(): Promise<void> {
  await using lab = await Lab.create();
  const clients = Array.from({ length: 8 }, (_, i) => `10.77.0.${10 + i}`);
  for (const address of clients) {
    await run("ip", ["-n", lab.client, "address", "add", `${address}/16`, "dev", "client"]);
  }
  await run("ip", ["-n", lab.server, "route", "add", "blackhole", "198.0.0.0/8"]); // answers to spoofed sources end here
  tell(`A lab: a client and a server, two namespaces with a veth pair; TCP servers on ports ${PORTS.join(" and ")}.`);
  await lab.serve(PORTS);

  const args = `-p ${PORTS.join(",")} --snapshot-interval-sec 2 --status-interval-sec 5 --duration-sec ${SECONDS}`;
  tell(`ibsr collect -i server -o ${spool} ${args}`);
  const ibsr = await lab.collect(spool, args.split(" "));
  console.log(ibsr.log().trim());

  tell("Real clients, IPv4 and IPv6, connect all the time. After 5 s a scan of 1,000 ports, then a SYN flood:");
  console.log("one host at 5,000 SYN/s, and 50,000 spoofed sources, one SYN each.");
  await writePcap(`${folder}/scan.pcap`, scanSyns("10.77.66.66", 1000));
  await writePcap(`${folder}/flood.pcap`, spoofedSyns(50_000, PORTS[0]!));
  await writePcap(`${folder}/one.pcap`, repeatSyn("10.77.66.67", PORTS[0]!, 25_000));
  const attack = async () => {
    await pause(5000);
    for (const [file, rate] of [["scan", 1000], ["one", 5000], ["flood", 20_000]] as const) {
      await lab.exec(lab.client, "tcpreplay", ["-i", "client", "--pps", String(rate), `${folder}/${file}.pcap`], {
        anyCode: true,
      });
    }
  };
  const targets = PORTS.flatMap((p) => [`${SERVER.v4}/${p}`, `${SERVER.v6}/${p}`]);
  let ended = false;
  const talk = async () => {
    while (!ended) {
      await lab.connectAll([CLIENT.v6, ...clients], targets, 2);
      await pause(500);
    }
  };
  const work = Promise.allSettled([attack(), talk()]);
  const { code, stdout, stderr } = await ibsr.end();
  ended = true;
  await work;
  console.log(stdout.trim());
  if (code !== 0) throw new Error(`ibsr ended with ${code}: ${stderr}`);
}

/** SYNs of one source. */
function* repeatSyn(source: string, port: number, count: number): Generator<Uint8Array<ArrayBuffer>> {
  const [frame] = [...scanSyns(source, 1)];
  new DataView(frame!.buffer).setUint16(36, port);
  for (let i = 0; i < count; i++) yield frame!;
}

async function replayRecorded(): Promise<void> {
  await writePcap(`${folder}/capture.pcap`, mixedFrames(50_000, PORTS));
  const args = ["replay", "--engine", "model", "-p", PORTS.join(","), "-o", spool, `${folder}/capture.pcap`];
  tell(`ibsr ${args.join(" ")}`);
  const { stdout, stderr } = await run(...ibsrCommand(args));
  console.log((stderr + stdout).trim());
}

/** A table of the sources with the most packets, the exact totals beside it. */
async function showResult(): Promise<void> {
  const snapshots = await readSpool(spool);
  const counts = sumBuckets(snapshots), totals = sumTotals(snapshots);
  const sources: Counts = new Map();
  for (const [key, counters] of counts) add(sources, key.split(" ")[0]!, counters);
  const top = [...sources].sort(([, a], [, b]) => b.packets - a.packets).slice(0, 14);
  const line = (name: string, c: Counters) => {
    const ratio = c.syn === 0 ? "–" : (c.handshake_ack / c.syn).toFixed(2);
    return [name.padEnd(24), ...[c.packets, c.syn].map((n) => String(n).padStart(9)), ratio.padStart(16)].join(" ");
  };
  tell(`What was counted: ${snapshots.length} snapshots, ${sources.size} sources; those with the most packets:`);
  console.log(`${"source".padEnd(24)}   packets       SYN  handshake ratio`);
  for (const [name, counters] of top) console.log(line(name, counters));
  const oneShot = [...sources.values()].filter((c) => c.packets === c.syn && c.syn <= 3).length;
  console.log(`… ${oneShot} sources sent at most 3 SYNs and nothing else: spoofed addresses, or a scan`);
  tell("Exact totals, whatever the maps had room for");
  for (const [port, counters] of totals) console.log(line(`port ${port}`, counters));
  const lost = snapshots.reduce((sum, s) => sum + s.unattributed!.packets, 0);
  const skipped = Object.entries(snapshots.reduce((sum, s) => {
    for (const [why, n] of Object.entries(s.not_counted!)) sum[why] = (sum[why] ?? 0) + n;
    return sum;
  }, {} as Record<string, number>));
  console.log(
    `packets whose source was lost: ${lost}; frames not counted: ${skipped.map(([w, n]) => `${n} ${w}`).join(", ")}`,
  );
}

/** Uploads the spool to a server of this host's own, twice, and shows what that has then. */
async function uploadSpool(): Promise<void> {
  const missing = whatIsMissing("s3");
  if (missing !== undefined) {
    tell(`The upload is not shown: no S3 server is installed here (missing: ${missing}).`);
    return;
  }
  await using server = await S3Server.start("radosgw");
  tell(`A local S3 server, Ceph's radosgw, at ${server.endpoint}. What is there is uploaded, and nothing twice:`);
  const bucket = await server.makeBucket("demo");
  const args = ["--input", spool, "--bucket", bucket, "--endpoint", server.endpoint, "--compress", "zstd"];
  for (const _ of [1, 2]) {
    tell(`ibsr export s3 ${args.join(" ")}`);
    const { code, stdout, stderr } = await runExport(args, { keys: server });
    console.log((stderr + stdout).trim());
    if (code !== 0) throw new Error(`the upload ended with ${code}`);
  }
  tell(`What boto3 finds in s3://${bucket}`);
  for (const [key, bytes] of await server.download(bucket)) console.log(`${String(bytes.length).padStart(10)} ${key}`);
}

/** What blocking would have done, with a window and a block as short as the demo. */
async function reportSpool(): Promise<void> {
  const args = ["report", "--in", spool, "--out", `${folder}/report`, "--window-sec", "2", "--block-duration-sec", "5"];
  tell(`What blocking would have done: ibsr ${args.join(" ")}`);
  console.log((await run(...ibsrCommand(args))).stdout.trim());
  const rules = [
    "rules",
    "--format",
    "nftables",
    "--from",
    `${folder}/report/rules.json`,
    "--shadow",
    "--no-host-check",
  ];
  tell(`And as a firewall's rules, for review: ibsr ${rules.join(" ")}`);
  const { stdout } = await run(...ibsrCommand(rules), { anyCode: true });
  console.log(
    stdout.split("\n").filter((line) => line !== "" && !line.startsWith("#")).slice(0, 14).join("\n") + "\n…",
  );
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    // The namespaces end with their processes: nothing is left behind.
    Lab.disposeAll().finally(() => Deno.exit(130));
  });
}
if (Deno.args[0] === "recorded") await replayRecorded();
else await collectLive();
await showResult();
await reportSpool();
await uploadSpool();
tell(`The snapshots are in ${spool}, the report is ${folder}/report/report.html`);
Deno.exit(0);
