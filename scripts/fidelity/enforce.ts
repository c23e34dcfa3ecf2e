/**
 * Real enforcement inside a lab's server namespace by nftables, ipset with iptables, and xdp-filter: the files that
 * `ibsr rules` wrote, or blocks that begin when they are told to and end by themselves. Gives what each says it dropped.
 */
import assert from "node:assert/strict";
import { type Lab, pause } from "../../tests/kernel/lab.ts";
import type { Block } from "./schedule.ts";

/** What a firewall's own counter of a source or prefix says. */
export interface Counted {
  packets: number;
  /** Of IP packets; undefined where the tool doesn't count them. */
  ipBytes: number | undefined;
}

/** By source or prefix. */
export type Drops = Map<string, Counted>;

interface NftElement {
  val: unknown;
  counter?: { packets: number; bytes: number };
}

/** The text of an nftables address expression: an address or a prefix. */
function addressOf(value: unknown): string {
  if (typeof value === "string") return value;
  const { concat, prefix } = value as { concat?: unknown[]; prefix?: { addr: string; len: number } };
  if (concat) return addressOf(concat[0]);
  assert.ok(prefix, `unexpected element ${JSON.stringify(value)}`);
  return `${prefix.addr}/${prefix.len}`;
}

/** Counters of all set elements of ibsr's table, by address. */
async function nftDrops(lab: Lab): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "nft", ["-j", "list", "table", "inet", "ibsr"]);
  const drops: Drops = new Map();
  for (const { set } of (JSON.parse(stdout) as { nftables: { set?: { elem?: { elem: NftElement }[] } }[] }).nftables) {
    for (const { elem } of set?.elem ?? []) {
      add(drops, addressOf(elem.val), elem.counter!.packets, elem.counter!.bytes);
    }
  }
  return drops;
}

/** Counters of all ipset elements of the namespace. */
async function ipsetDrops(lab: Lab): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "ipset", ["save"]);
  const drops: Drops = new Map();
  for (const match of stdout.matchAll(/^add \S+ ([^\s,]+)\S*.* packets (\d+) bytes (\d+)/gm)) {
    add(drops, match[1]!, Number(match[2]), Number(match[3]));
  }
  return drops;
}

/** Runs xdp-filter with a script of rules until told to stop; then gives its hits. It has no bytes by address. */
async function startXdpFilter(lab: Lab, script: string, folder: string): Promise<() => Promise<Drops>> {
  // One process for all of it: each gets a mount namespace of its own, and with it a BPF file system.
  const commands = [
    "mount -t bpf bpf /sys/fs/bpf",
    "xdp-filter load server -m native -f ipv4,ipv6",
    `sh ${script} add`,
    "echo loaded",
    `while [ ! -e ${folder}/stop ]; do sleep 0.05; done`,
    "xdp-filter status",
    "xdp-filter unload server",
  ];
  const running = lab.start(lab.server, "sh", ["-e", "-c", commands.join("\n")]);
  await running.waitFor("loaded");
  return async () => {
    await Deno.writeTextFile(`${folder}/stop`, "");
    const { code, stdout, stderr } = await running.end();
    assert.equal(code, 0, stderr);
    const drops: Drops = new Map();
    for (const match of stdout.matchAll(/^\s*([0-9a-f.:]+)\s+src\S*\s+(\d+)\s*$/gm)) {
      drops.set(match[1]!, { packets: Number(match[2]), ipBytes: undefined });
    }
    return drops;
  };
}

function add(drops: Drops, source: string, packets: number, ipBytes: number): void {
  const before = drops.get(source) ?? { packets: 0, ipBytes: 0 };
  drops.set(source, { packets: before.packets + packets, ipBytes: before.ipBytes! + ipBytes });
}

/** Gives what was dropped so far. */
export type ReadDrops = () => Promise<Drops>;

type Apply = (lab: Lab, rules: string, folder: string) => Promise<ReadDrops>;

/** What enforces. */
export type Firewall = "nftables" | "ipset" | "xdp-filter";

/** Puts the files of `ibsr rules` in force, as they say themselves; gives how to read what they drop. */
export const APPLY: Record<Firewall, Apply> = {
  async nftables(lab, rules) {
    await lab.exec(lab.server, "nft", ["-f", `${rules}/ibsr.nft`]);
    return () => nftDrops(lab);
  },
  async ipset(lab, rules) {
    await lab.exec(lab.server, "sh", ["-c", `ipset restore -! < ${rules}/ibsr.ipset`]);
    for (const ip of ["ip", "ip6"]) {
      const command = `${ip}tables-restore --noflush < ${rules}/ibsr.${ip}tables && ` +
        `${ip}tables -t raw -I PREROUTING -j IBSR`;
      await lab.exec(lab.server, "sh", ["-c", command]);
    }
    return () => ipsetDrops(lab);
  },
  "xdp-filter": (lab, rules, folder) => startXdpFilter(lab, `${rules}/ibsr.xdp-filter.sh`, folder),
};

/** A line for the firewall's tool at its time. */
export interface Command {
  atMs: number;
  line: string;
}

/** A firewall that blocks when it is told to. */
interface Timed {
  /** Rules that can block each of the sources, block none yet, and count what they drop of each. */
  prepare(lab: Lab, sources: readonly string[], folder: string): Promise<ReadDrops>;
  /** The commands that begin a block, and hold it if one can't say how long it lasts. */
  commands(block: Block): Command[];
  /** The shell's command that carries out a file of lines. */
  apply: string;
}

const isV6 = (source: string) => source.includes(":");

/** Blocks that begin and end at given times: sets that are filled and emptied while traffic goes. */
export const TIMED: Record<"nftables" | "ipset", Timed> = {
  nftables: {
    async prepare(lab, sources, folder) {
      await Deno.writeTextFile(`${folder}/blocks.nft`, blockTable(sources));
      await lab.exec(lab.server, "nft", ["-f", `${folder}/blocks.nft`]);
      return () => readCounters(lab, sources);
    },
    commands({ source, port, atMs, durationMs }) {
      const v = isV6(source) ? "6" : "4", key = port === undefined ? source : `${source} . ${port}`;
      const set = `${port === undefined ? "all" : "ports"}${v}`;
      return [{ atMs, line: `add element inet lab ${set} { ${key} timeout ${Math.round(durationMs)}ms }` }];
    },
    apply: "nft -f",
  },
  ipset: {
    async prepare(lab, sources, folder) {
      const sets = ["4", "6"].flatMap((v) => {
        const family = `family ${v === "6" ? "inet6" : "inet"} timeout 0\n`;
        return `create all${v} hash:net ${family}create ports${v} hash:net,port ${family}`;
      });
      await Deno.writeTextFile(`${folder}/blocks.ipset`, sets.join(""));
      await lab.exec(lab.server, "sh", ["-c", `ipset restore < ${folder}/blocks.ipset`]);
      for (const v of ["4", "6"]) {
        const rules = sources.filter((source) => isV6(source) === (v === "6")).flatMap((source) => [
          `-A PREROUTING -s ${source} -p tcp -m set --match-set all${v} src -j DROP\n`,
          `-A PREROUTING -s ${source} -p tcp -m set --match-set ports${v} src,dst -j DROP\n`,
        ]);
        await Deno.writeTextFile(`${folder}/blocks.iptables${v}`, `*raw\n${rules.join("")}COMMIT\n`);
        const restore = `${IPTABLES[v]}-restore --noflush < ${folder}/blocks.iptables${v}`;
        await lab.exec(lab.server, "sh", ["-c", restore]);
      }
      return () => iptablesDrops(lab);
    },
    // Times are whole seconds: a block of 7.3 s is one of 7 s that is renewed after 0.3 s.
    commands({ source, port, atMs, durationMs }) {
      const v = isV6(source) ? "6" : "4", key = port === undefined ? source : `${source},tcp:${port}`;
      const whole = Math.max(1, Math.floor(durationMs / 1000 + 0.01)), rest = durationMs - 1000 * whole;
      const line = `add ${port === undefined ? "all" : "ports"}${v} ${key} timeout ${whole}`;
      return [{ atMs, line }, ...(rest > 20 ? [{ atMs: atMs + rest, line }] : [])];
    },
    apply: "ipset restore -exist -file",
  },
};

const IPTABLES: Record<string, string> = { 4: "iptables", 6: "ip6tables" };

/**
 * Begins blocks at their times; commands that are due together are one.
 *
 * @returns How late the latest of them was done, in milliseconds.
 */
export async function enforce(
  lab: Lab,
  blocks: readonly Block[],
  { by, startMs, folder }: { by: keyof typeof TIMED; startMs: number; folder: string },
): Promise<number> {
  const firewall = TIMED[by], commands = blocks.flatMap(firewall.commands).sort((a, b) => a.atMs - b.atMs);
  let late = 0;
  for (let i = 0; i < commands.length;) {
    const due = startMs + commands[i]!.atMs, from = i;
    while (i < commands.length && startMs + commands[i]!.atMs <= due + 2) i++;
    const path = `${folder}/commands-${from}`;
    await Deno.writeTextFile(path, commands.slice(from, i).map(({ line }) => `${line}\n`).join(""));
    await pause(Math.max(0, due + REACTION_MS - Date.now()));
    await lab.exec(lab.server, "sh", ["-c", `${firewall.apply} ${path}`]);
    late = Math.max(late, Date.now() - due);
  }
  return late;
}

/** So long an engine takes to act on what it saw. */
const REACTION_MS = 5;

/** Counters of the rules by the source they are about. */
async function iptablesDrops(lab: Lab): Promise<Drops> {
  const drops: Drops = new Map();
  for (const command of Object.values(IPTABLES)) {
    const { stdout } = await lab.exec(lab.server, `${command}-save`, ["-c", "-t", "raw"]);
    for (const match of stdout.matchAll(/^\[(\d+):(\d+)\] -A PREROUTING -s (\S+)/gm)) {
      add(drops, match[3]!.replace(/\/(32|128)$/, ""), Number(match[1]), Number(match[2]));
    }
  }
  return drops;
}

/** Counters c0, c1, … by the source they are about. */
export async function readCounters(lab: Lab, sources: readonly string[]): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "nft", ["-j", "list", "counters"]);
  const drops: Drops = new Map();
  type Counter = { name: string; packets: number; bytes: number };
  for (const { counter } of (JSON.parse(stdout) as { nftables: { counter?: Counter }[] }).nftables) {
    if (counter) add(drops, sources[Number(counter.name.slice(1))]!, counter.packets, counter.bytes);
  }
  return drops;
}

/** A table that can block each of the sources, blocks none yet, and counts what it drops of each. */
function blockTable(sources: readonly string[]): string {
  const set = (v: string) =>
    `\tset all${v} {\n\t\ttype ipv${v}_addr\n\t\tflags interval, timeout\n\t}\n` +
    `\tset ports${v} {\n\t\ttype ipv${v}_addr . inet_service\n\t\tflags interval, timeout\n\t}\n`;
  const rules = sources.flatMap((source, i) => {
    const v = isV6(source) ? "6" : "4", saddr = `${v === "6" ? "ip6" : "ip"} saddr`;
    return [
      `\t\tmeta l4proto tcp ${saddr} ${source} ${saddr} @all${v} counter name c${i} drop\n`,
      `\t\t${saddr} ${source} ${saddr} . tcp dport @ports${v} counter name c${i} drop\n`,
    ];
  });
  return chainTable(sources, rules, set("4") + set("6"));
}

/** A table with the kernel's own rate limit for each of the sources. */
export function limitTable(sources: readonly string[], limit: { rate: number; burst: number }): string {
  const rules = sources.map((source, i) =>
    `\t\t${isV6(source) ? "ip6" : "ip"} saddr ${source} limit rate over ${limit.rate}/second burst ${limit.burst} ` +
    `packets counter name c${i} drop\n`
  );
  return chainTable(sources, rules);
}

function chainTable(sources: readonly string[], rules: readonly string[], sets = ""): string {
  const counters = sources.map((_, i) => `\tcounter c${i} {\n\t}\n`).join("");
  return `table inet lab {\n${counters}${sets}` +
    `\tchain c {\n\t\ttype filter hook prerouting priority raw; policy accept;\n${rules.join("")}\t}\n}\n`;
}
