/**
 * Rules in force between two namespaces: exactly the sources, ports and times that they name are blocked, shadow rules
 * block nothing and count, and the command leaves out what would cut its own host off.
 */
import assert from "node:assert/strict";
import { renderTo, stemOf } from "../rules/files.ts";
import { setOf } from "../rules/sets.ts";
import { testWith } from "../needs.ts";
import { CLIENT, ibsrCommand, Lab, pause, SERVER } from "./lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

const SOURCES = [
  ...["10.77.0.1", "10.77.0.10", "10.77.0.11", "10.77.5.1", "10.77.5.77", "10.77.6.1"],
  ...["fd77::1", "fd77::10", "fd77::11", "fd77::5:1"],
];
const PORTS = [22, 80, 443, 8080, 8899];

const RULES = [
  { source: "10.77.0.10" },
  { source: "10.77.0.11", dst_ports: [22, "8080-8899" as const] },
  { source: "10.77.5.0/24", dst_ports: [443] },
  { source: "10.77.5.77", dst_ports: [80], duration_sec: null },
  { source: "fd77::10", duration_sec: null },
  { source: "fd77::11", dst_ports: [80, 443] },
  { source: "fd77::5:0/112", dst_ports: ["1-1000" as const] },
];

/** What the rules must block, by source. */
const BLOCKED: Record<string, number[]> = {
  "10.77.0.10": PORTS,
  "10.77.0.11": [22, 8080, 8899],
  "10.77.5.1": [443],
  "10.77.5.77": [80, 443],
  "fd77::10": PORTS,
  "fd77::11": [80, 443],
  "fd77::5:1": [22, 80, 443],
};

const ALL_OPEN = SOURCES.flatMap((source) => PORTS.map((port) => `${source} ${port}`)).sort();

/** A lab whose client has all the sources and whose server listens on all the ports. */
async function prepare(): Promise<Lab> {
  const lab = await Lab.create();
  for (const source of SOURCES) {
    if (source === CLIENT.v4 || source === CLIENT.v6) continue;
    const v6 = source.includes(":");
    await lab.exec(lab.client, "ip", [
      ...["address", "add", `${source}/${v6 ? 64 : 16}`, "dev", "client", ...v6 ? ["nodad"] : []],
    ]);
  }
  await lab.serve(PORTS, 10);
  // IPv6 answers only when the ends have made sure that their link-local addresses are their own.
  for (let tries = 0; tries < 10 && (await probe(lab)).length < ALL_OPEN.length; tries++) await pause(300);
  return lab;
}

/** The pairs of source and port that open within a second, sorted. */
async function probe(lab: Lab, sources: string[] = SOURCES, ports: number[] = PORTS): Promise<string[]> {
  const targets = [SERVER.v4, SERVER.v6].flatMap((host) => ports.map((port) => `${host}/${port}`));
  const { stdout } = await lab.exec(lab.client, Deno.execPath(), [
    ...["run", "--quiet", "--allow-net", `${ROOT}tests/kernel/traffic.ts`],
    ...["try", sources.join(","), targets.join(","), "900"],
  ]);
  return (JSON.parse(stdout) as string[]).sort();
}

/** How each format is applied and undone, in a folder of its files: as its header says. */
const FORMATS: Record<string, { apply: string; undo: string; counters: string }> = {
  nftables: {
    apply: "nft -f STEM.nft",
    undo: "nft delete table inet TABLE",
    counters: "nft list table inet TABLE",
  },
  "nftables-json": {
    apply: "nft -j -f STEM.nft.json",
    undo: "nft delete table inet TABLE",
    counters: "nft list table inet TABLE",
  },
  ipset: {
    apply: "ipset restore -! <STEM.ipset; for ip in ip ip6; do ${ip}tables-restore --noflush <STEM.${ip}tables; " +
      "${ip}tables -t raw -C PREROUTING -j CHAIN 2>/dev/null || ${ip}tables -t raw -I PREROUTING -j CHAIN; done",
    undo: "sed -n '/^# undo:/,$s/^#   //p' STEM.ipset | grep -E '^(ip|ipset)' | sh -ex",
    counters: "iptables -t raw -L CHAIN -v -n; ip6tables -t raw -L CHAIN -v -n",
  },
};

/** A script with the names of files, table and chain. */
function fill(script: string, shadow = false): string {
  const table = shadow ? "ibsr_shadow" : "ibsr";
  return script.replaceAll("STEM", stemOf(shadow)).replaceAll("TABLE", table).replaceAll("CHAIN", table.toUpperCase());
}

for (const [format, { apply, undo, counters }] of Object.entries(FORMATS)) {
  testWith(
    ["kernel", "validators"],
    `${format} blocks the sources and ports of its rules and no others; shadow rules count and block nothing`,
    async () => {
      await using lab = await prepare();
      assert.deepEqual(await probe(lab), ALL_OPEN, "before");
      for (const shadow of [true, false]) {
        const folder = await renderTo(format, setOf(RULES), { shadow });
        const sh = (script: string) => {
          const named = fill(script, shadow);
          return lab.exec(lab.server, "sh", ["-euc", `cd "$0"; ${named}`, folder]);
        };
        await sh(apply);
        await sh(apply); // again: nothing doubles
        const expected = shadow
          ? ALL_OPEN
          : ALL_OPEN.filter((pair) => !BLOCKED[pair.split(" ")[0]!]?.includes(Number(pair.split(" ")[1])));
        assert.deepEqual(await probe(lab), expected, shadow ? "shadow" : "in force");
        const { stdout } = await sh(counters);
        assert.match(
          stdout,
          /10\.77\.0\.10 counter packets [1-9]|^ *[1-9]\d* +\d+ .*ibsr4s?_all/m,
          "packets were counted",
        );
        await sh(undo);
        assert.deepEqual(await probe(lab), ALL_OPEN, "undone");
        await Deno.remove(folder, { recursive: true });
      }
      const { stdout } = await lab.exec(lab.server, "sh", [
        "-c",
        "nft list tables; ipset list -n; iptables-save -t raw",
      ]);
      assert.ok(!/ibsr/i.test(stdout), stdout);
    },
  );
}

testWith(
  ["kernel", "validators"],
  "xdp-filter blocks the addresses of its script on every port, and no others",
  async () => {
    await using lab = await prepare();
    const folder = await renderTo("xdp-filter", setOf([{ source: "10.77.5.76/31" }, { source: "fd77::10" }]));
    // In one shell: the pins of xdp-filter are in a mount of its own.
    const filter = lab.start(lab.server, "sh", [
      "-euc",
      'cd "$0"; mount -t bpf bpf /sys/fs/bpf; xdp-filter load -m skb -f ipv4,ipv6 server; sh ibsr.xdp-filter.sh add; ' +
      "echo added; while [ ! -e end ]; do sleep 0.1; done; xdp-filter status; sh ibsr.xdp-filter.sh remove; " +
      "echo removed; while [ -e end ]; do sleep 0.1; done; xdp-filter unload server",
      folder,
    ]);
    await filter.waitFor("added");
    const open = ALL_OPEN.filter((pair) => !/^(10\.77\.5\.77|fd77::10) /.test(pair));
    assert.deepEqual(await probe(lab), open);
    await Deno.writeTextFile(`${folder}/end`, "");
    await filter.waitFor("removed");
    assert.deepEqual(await probe(lab), ALL_OPEN);
    await Deno.remove(`${folder}/end`);
    const { code, stdout, stderr } = await filter.end();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /10\.77\.5\.77 +src +[1-9]/);
    await Deno.remove(folder, { recursive: true });
  },
);

for (const format of ["nftables", "ipset"]) {
  testWith(["kernel", "validators"], `${format} lets sources in again when their time is over`, async () => {
    await using lab = await prepare();
    const rules = [
      { source: "10.77.0.10", duration_sec: 4 },
      { source: "10.77.0.11", dst_ports: [80], duration_sec: 4 },
      { source: "10.77.5.1", dst_ports: [80], duration_sec: 3600 },
      { source: "fd77::10", duration_sec: 4 },
    ];
    const folder = await renderTo(format, setOf(rules));
    await lab.exec(lab.server, "sh", [
      "-euc",
      `cd "$0"; ${fill(FORMATS[format]!.apply)}`,
      folder,
    ]);
    const sources = ["10.77.0.1", "10.77.0.10", "10.77.0.11", "10.77.5.1", "fd77::10"];
    assert.deepEqual(await probe(lab, sources, [80]), ["10.77.0.1 80"]);
    await pause(4500);
    assert.deepEqual(await probe(lab, sources, [80]), [
      "10.77.0.1 80",
      "10.77.0.10 80",
      "10.77.0.11 80",
      "fd77::10 80",
    ]);
    await Deno.remove(folder, { recursive: true });
  });
}

testWith(["kernel", "validators"], "nftables restricted to an interface leaves the others alone", async () => {
  await using lab = await prepare();
  for (const [iface, open] of [["server", false], ["other", true]] as const) {
    for (const format of ["nftables", "nftables-json", "ipset"]) {
      const folder = await renderTo(format, setOf([{ source: "10.77.0.10" }]), { iface });
      const { apply, undo } = FORMATS[format]!;
      const sh = (script: string) =>
        lab.exec(lab.server, "sh", [
          "-euc",
          `cd "$0"; ${fill(script)}`,
          folder,
        ]);
      await sh(apply);
      assert.equal((await probe(lab, ["10.77.0.10"], [80])).length > 0, open, `${format} on ${iface}`);
      await sh(undo);
      await Deno.remove(folder, { recursive: true });
    }
  }
});

testWith(
  "kernel",
  "ibsr rules leaves out this host, its gateways, resolvers and SSH peer, says so, and ends with 1",
  async () => {
    await using lab = await Lab.create();
    await lab.exec(lab.server, "ip", ["route", "add", "default", "via", "10.77.9.1"]);
    await lab.exec(lab.server, "ip", ["-6", "route", "add", "default", "via", "fd77::9:1"]);
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(
      `${folder}/resolv.conf`,
      "# x\nnameserver 10.77.9.53\n nameserver fd77::53%eth0\noptions rotate\n",
    );
    const cut = [SERVER.v4, SERVER.v6, "10.77.9.1", "fd77::9:1", "10.77.9.53", "fd77::53", "10.77.9.22", "10.77.9.23"];
    const kept = ["10.77.0.77", "fd77::77"];
    const set = setOf([...cut, ...kept, "10.77.9.0/24", "10.99.0.0/24"].map((source) => ({ source })));
    await Deno.writeTextFile(`${folder}/rules.json`, JSON.stringify(set));
    const [program, args] = ibsrCommand(["rules", "-f", "plain", "--from", `${folder}/rules.json`, "--out", folder]);
    // The SSH session of the command itself, and that of a shell above it which the command's environment hides.
    const script =
      `mount --bind "$0/resolv.conf" /etc/resolv.conf; export SSH_CONNECTION="10.77.9.22 1 10.77.0.2 22"; ` +
      `sh -c 'env -u SSH_CONNECTION SSH_CLIENT="10.77.9.23 5 22" "$@"; exit $?' sh "$@"`;
    const { code, stderr } = await lab.exec(lab.server, "unshare", [
      ...["--mount", "--propagation", "private", "sh", "-euc", script, folder, program, ...args],
      ...["--protect", "10.99.0.7"],
    ], { anyCode: true });
    assert.equal(code, 1, stderr);
    const written = await Deno.readTextFile(`${folder}/ibsr.v4.txt`) + await Deno.readTextFile(`${folder}/ibsr.v6.txt`);
    const sources = written.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) =>
      line.split(" ")[0]
    );
    assert.deepEqual(sources, kept);
    for (const source of [...cut, "10.77.9.0/24", "10.99.0.0/24"]) {
      assert.ok(
        stderr.includes(`WOULD LOCK OUT: r${set.rules.findIndex((r) => r.source === source) + 1} (${source})`),
        stderr,
      );
      assert.ok(written.includes(`WOULD LOCK OUT: ${source}`), source);
    }
    const whys = ["own address on server", "the default gateway", "a resolver", "the SSH peer", "--protect"];
    for (const why of whys) assert.ok(stderr.includes(why), why);
    await Deno.remove(folder, { recursive: true });
  },
);
