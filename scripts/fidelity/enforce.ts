/**
 * Real enforcement inside a lab's server namespace, and what it dropped: nftables, ipset with iptables, xdp-filter.
 *
 * Counts are per source. Bytes are of whole frames, as a snapshot's are: netfilter counts IP packets, so the Ethernet
 * header is added.
 */
import assert from "node:assert/strict";
import type { Lab } from "../../tests/kernel/lab.ts";

/** What was really dropped. */
export interface Dropped {
  packets: number;
  /** Undefined where the tool doesn't count them. */
  bytes?: number;
}

/** Drops by source or prefix. */
export type Drops = Map<string, Dropped>;

const ETHERNET_BYTES = 14;

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

/** Counters of all set elements of the namespace's nftables, by address. */
export async function nftDrops(lab: Lab): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "nft", ["-j", "list", "ruleset"]);
  const drops: Drops = new Map();
  for (const { set } of (JSON.parse(stdout) as { nftables: { set?: { elem?: { elem: NftElement }[] } }[] }).nftables) {
    for (const { elem } of set?.elem ?? []) {
      add(drops, addressOf(elem.val), elem.counter!.packets, elem.counter!.bytes);
    }
  }
  return drops;
}

/** Counters of all ipset elements of the namespace. */
export async function ipsetDrops(lab: Lab): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "ipset", ["save"]);
  const drops: Drops = new Map();
  for (const match of stdout.matchAll(/^add \S+ ([^\s,]+)\S*.* packets (\d+) bytes (\d+)/gm)) {
    add(drops, match[1]!, Number(match[2]), Number(match[3]));
  }
  return drops;
}

/** Runs xdp-filter with a script of rules until told to stop; then gives its hits. It has no bytes by address. */
export async function startXdpFilter(lab: Lab, script: string, folder: string): Promise<() => Promise<Drops>> {
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
      drops.set(match[1]!, { packets: Number(match[2]) });
    }
    return drops;
  };
}

function add(drops: Drops, source: string, packets: number, ipBytes: number): void {
  const before = drops.get(source) ?? { packets: 0, bytes: 0 };
  const bytes = before.bytes! + ipBytes + ETHERNET_BYTES * packets;
  drops.set(source, { packets: before.packets + packets, bytes });
}

/** Named counters of blocks() by the source they are about. */
export async function blockDrops(lab: Lab, sources: readonly string[]): Promise<Drops> {
  const { stdout } = await lab.exec(lab.server, "nft", ["-j", "list", "counters"]);
  const drops: Drops = new Map();
  type Counter = { name: string; packets: number; bytes: number };
  for (const { counter } of (JSON.parse(stdout) as { nftables: { counter?: Counter }[] }).nftables) {
    if (counter) add(drops, sources[Number(counter.name.slice(1))]!, counter.packets, counter.bytes);
  }
  return drops;
}

/** A block that is to begin some time and to end by itself. */
export interface Block {
  /** Address or prefix. */
  source: string;
  /** Empty: all. */
  ports: readonly (number | string)[];
  /** Milliseconds from the recording's start. */
  atMs: number;
  durationMs: number;
}

/** A table that can block each of the sources, blocks none yet, and counts what it drops of each. */
export function blockTable(sources: readonly string[]): string {
  const family = (source: string) => source.includes(":") ? "6" : "4";
  const set = (v: string) =>
    `\tset all${v} {\n\t\ttype ipv${v}_addr\n\t\tflags interval, timeout\n\t}\n` +
    `\tset ports${v} {\n\t\ttype ipv${v}_addr . inet_service\n\t\tflags interval, timeout\n\t}\n`;
  const rules = sources.flatMap((source, i) => {
    const v = family(source), saddr = `${v === "6" ? "ip6" : "ip"} saddr`;
    return [
      `\t\t${saddr} ${source} ${saddr} @all${v} counter name c${i} drop`,
      `\t\t${saddr} ${source} ${saddr} . tcp dport @ports${v} counter name c${i} drop`,
    ];
  });
  return `table inet lab {\n${sources.map((_, i) => `\tcounter c${i} {\n\t}\n`).join("")}${set("4")}${set("6")}` +
    `\tchain c {\n\t\ttype filter hook prerouting priority raw; policy accept;\n${rules.join("\n")}\n\t}\n}\n`;
}

/** The command that begins a block. An element that is there already is replaced, so that its time starts anew. */
export function blockCommand({ source, ports, durationMs }: Block): string {
  const v = source.includes(":") ? "6" : "4", timeout = `timeout ${Math.round(durationMs)}ms`;
  const set = ports.length === 0 ? `all${v}` : `ports${v}`;
  const keys = ports.length === 0 ? [source] : ports.map((port) => `${source} . ${port}`);
  return keys.map((key) => `add element inet lab ${set} { ${key} ${timeout} }`).join("; ");
}
