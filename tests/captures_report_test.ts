/**
 * Real captures with known attackers, through `ibsr replay` and `ibsr report`: who is found, and who is hit besides.
 *
 * The captures are seconds to minutes long: rates are lowered to 5 SYN/s, snapshots are one second apart.
 */
import assert from "node:assert/strict";
import type { NamedDecision, Summary } from "../src/report/summary.ts";
import { captureDirectory } from "./ground_truth.ts";
import { ibsrCommand } from "./kernel/lab.ts";
import { testWith } from "./needs.ts";

/** Options of the runs. */
const OPTIONS = [
  "--syn-rate-threshold",
  "5",
  "--sweep-ports",
  "20",
  "--vol-pkt-rate",
  "200",
  "--vol-byte-rate",
  "100000",
];

/** Attackers that a rule is made for; those that complete their connections at a slow pace are for no rule here. */
const ATTACKERS: { file: string; rule: string; source: string }[] = [
  { file: "synflood-1src", rule: "syn_flood", source: "192.0.2.10" },
  { file: "nmap-syn-1000", rule: "port_sweep", source: "172.16.0.8" },
];

/** Brute force and exploits over complete connections: seldom enough that no rate shows them. */
const UNSEEN: Record<string, string> = {
  "ssh-hydra-1": "240.0.1.2",
  "ssh-ncrack-paranoid": "240.0.3.2",
  "ssh-guess": "192.168.56.1",
  "ssh-brute-small": "192.168.0.59",
};

/** Ordinary traffic. */
const NORMAL = [
  ...["normal-1kxun", "normal-netflix", "normal-gnutella", "normal-sites", "normal-ssh-sessions", "normal-tcpreplay"],
  ...["merge-clients-ndpi", "c2-beacon-small", "ipv6-reddit", "ipv6-ftp", "nmap-p80-services"],
];

interface Result {
  summary: Summary;
  /** Would-be-blocked sources by rule. */
  blocked: { rule: string; source: string; certain: boolean }[];
}

async function run(command: string[]): Promise<void> {
  const [program, args] = ibsrCommand(command);
  const { code, stderr } = await new Deno.Command(program, { args, stdout: "null", stderr: "piped" }).output();
  assert.equal(code, 0, `${command.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

async function reportOf(file: string, options: readonly string[] = OPTIONS): Promise<Result> {
  const directory = await Deno.makeTempDir(), spool = `${directory}/spool`, out = `${directory}/report`;
  try {
    const capture = `${captureDirectory()}/${file}.pcap`;
    await run(["replay", "--engine", "model", "--snapshot-interval-sec", "1", "--hostname", "h", "-o", spool, capture]);
    await run(["report", "--in", spool, "--out", out, ...options]);
    const summary: Summary = JSON.parse(await Deno.readTextFile(`${out}/summary.json`));
    const lines = (await Deno.readTextFile(`${out}/would_block.jsonl`)).split("\n").filter((line) => line !== "");
    const blocked = new Map<string, Result["blocked"][number]>();
    for (const { rule, source, certain } of lines.map((line): NamedDecision => JSON.parse(line))) {
      const key = `${rule} ${source}`;
      blocked.set(key, { rule, source, certain: certain || blocked.get(key)?.certain === true });
    }
    return { summary, blocked: [...blocked.values()] };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

testWith(
  "captures",
  "floods and sweeps of real captures are found, each by its rule, and nobody else is hit",
  async () => {
    const files = [...new Set([...ATTACKERS.map((a) => a.file), ...Object.keys(UNSEEN), ...NORMAL])];
    const table = new Map(
      ["syn_flood", "volumetric", "port_sweep"].map((rule) => [rule, { hit: 0, missed: 0, wrong: 0 }]),
    );
    const wrong: string[] = [];
    let others = 0;
    for (const file of files) {
      const { blocked, summary } = await reportOf(file);
      others += summary.traffic.sources - ATTACKERS.filter((a) => a.file === file).length;
      for (const { rule, source } of ATTACKERS.filter((a) => a.file === file)) {
        const found = blocked.some((b) => b.rule === rule && b.source === source && b.certain);
        table.get(rule)![found ? "hit" : "missed"]++;
      }
      for (const { rule, source, certain } of blocked) {
        if (ATTACKERS.some((a) => a.file === file && a.source === source)) continue;
        table.get(rule)!.wrong++;
        wrong.push(`${file}: ${rule} ${source}${certain ? "" : " (possible)"}`);
      }
    }
    for (const [rule, { hit, missed, wrong }] of table) {
      const share = (part: number, whole: number) => whole === 0 ? "-" : (part / whole).toFixed(2);
      console.log(
        `${rule.padEnd(12)} found ${hit} missed ${missed} wrong ${wrong} of ${files.length} captures: precision ` +
          `${share(hit, hit + wrong)}, recall ${share(hit, hit + missed)}`,
      );
    }
    console.log(`${others} other sources, hit: ${wrong.join(", ") || "none"}`);
    assert.deepEqual([...table.values()].map(({ missed }) => missed), [0, 0, 0]);
    // The host that was captured itself: it opens P2P connections to more than 20 ports in 10 s, and all ports count here.
    assert.deepEqual(wrong, ["normal-gnutella: port_sweep 10.0.2.15"]);
  },
);

testWith("captures", "a flood from spoofed sources is called one, and no list of sources is made of it", async () => {
  const { summary, blocked } = await reportOf("synflood-spoofed", []);
  assert.ok(summary.spoofing.likely_spoofed && summary.spoofing.share_of_syn > 0.99);
  assert.deepEqual(blocked, []);
  assert.equal(summary.gates.find((gate) => gate.id === "spoofing")!.outcome, "fail");
});
