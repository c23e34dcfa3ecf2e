/**
 * Counts TCP by source and port before and behind a firewall, in a table of its own that passes everything: what is
 * missing behind has been dropped, whatever the firewall says itself.
 */
import type { Lab } from "../../tests/kernel/lab.ts";
import { keyOf } from "./compare.ts";

/** IP bytes, as netfilter counts them. */
export interface Seen {
  packets: number;
  ipBytes: number;
  syn: number;
}

/** Packets before the firewall and behind it, by source and port. */
export interface Witnessed {
  before: Map<string, Seen>;
  behind: Map<string, Seen>;
}

/** Rules of others in `prerouting` are at `raw`, -300. */
const PLACES = { before: "raw - 10", behind: "raw + 10" };

/** Puts the table into the server's namespace. */
export async function startWitness(lab: Lab, folder: string): Promise<() => Promise<Witnessed>> {
  const places = Object.entries(PLACES), families = ["4", "6"];
  const sets = places.flatMap(([place]) =>
    families.flatMap((v) =>
      ["all", "syn"].map((what) =>
        `\tset ${place}_${what}${v} {\n\t\ttype ipv${v}_addr . inet_service\n\t\tsize 262144\n\t\tflags dynamic\n\t}\n`
      )
    )
  );
  const chains = places.map(([place, priority]) => {
    const rules = families.flatMap((v) => {
      const key = `${v === "6" ? "ip6" : "ip"} saddr . tcp dport`;
      return [
        `\t\tupdate @${place}_all${v} { ${key} counter }\n`,
        `\t\ttcp flags & syn == syn update @${place}_syn${v} { ${key} counter }\n`,
      ];
    });
    return `\tchain ${place} {\n\t\ttype filter hook prerouting priority ${priority}; policy accept;\n${
      rules.join("")
    }\t}\n`;
  });
  await Deno.writeTextFile(`${folder}/witness.nft`, `table inet witness {\n${sets.join("")}${chains.join("")}}\n`);
  await lab.exec(lab.server, "nft", ["-f", `${folder}/witness.nft`]);
  return () => readWitness(lab);
}

interface Listed {
  set?: {
    name: string;
    elem?: { elem: { val: { concat: [string, number] }; counter: { packets: number; bytes: number } } }[];
  };
}

async function readWitness(lab: Lab): Promise<Witnessed> {
  const { stdout } = await lab.exec(lab.server, "nft", ["-nj", "list", "table", "inet", "witness"]);
  const witnessed: Witnessed = { before: new Map(), behind: new Map() };
  for (const { set } of (JSON.parse(stdout) as { nftables: Listed[] }).nftables) {
    const seen = set?.name.startsWith("before") ? witnessed.before : witnessed.behind;
    for (const { elem: { val, counter } } of set?.elem ?? []) {
      const key = keyOf({ source: val.concat[0], port: val.concat[1] });
      const amount = seen.get(key) ?? { packets: 0, ipBytes: 0, syn: 0 };
      if (set!.name.includes("syn")) amount.syn = counter.packets;
      else [amount.packets, amount.ipBytes] = [counter.packets, counter.bytes];
      seen.set(key, amount);
    }
  }
  return witnessed;
}
