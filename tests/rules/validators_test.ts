/**
 * Every format with a validator in Debian 12 goes through it, in networks of the test's own: empty, mixed, hostile and
 * large sets, shadow variants too. Each validator must also refuse a file that is broken on purpose.
 */
import assert from "node:assert/strict";
import { testWith, UNPACKED } from "../needs.ts";
import { containsPrefix, parsePrefix, type Prefix } from "../../src/prefix.ts";
import { spansOf } from "../../src/rules/spans.ts";
import { inside, renderTo, stemOf } from "./files.ts";
import { manyRules, setOf, situations } from "./sets.ts";

/** Runs a check on every situation, plain and shadow. */
async function forEach(
  t: Deno.TestContext,
  format: string,
  { shadow, check }: { shadow: boolean; check(folder: string, name: string, stem: string): Promise<void> },
): Promise<void> {
  for (const [name, set] of Object.entries(situations())) {
    for (const counting of shadow ? [false, true] : [false]) {
      await t.step(`${name}${counting ? ", shadow" : ""}`, async () => {
        const folder = await renderTo(format, set, { shadow: counting });
        try {
          await check(folder, name, stemOf(counting));
        } finally {
          await Deno.remove(folder, { recursive: true });
        }
      });
    }
  }
}

testWith("validators", "nft checks and applies every nftables file, and applying it twice is once", async (t) => {
  await forEach(t, "nftables", {
    shadow: true,
    async check(folder, _name, stem) {
      const script = `nft -c -f ${stem}.nft; nft -f ${stem}.nft; nft list ruleset >one; nft -f ${stem}.nft; ` +
        "nft list ruleset >two; grep -c elements one || true; nft list tables";
      const { stdout } = await inside(folder, script);
      assert.match(stdout, /^\d+\ntable inet ibsr(_shadow)?\n$/, "no other table came in");
      const [one, two] = await Promise.all(["one", "two"].map((f) => Deno.readTextFile(`${folder}/${f}`)));
      assert.equal(two!.replaceAll(/ expires \w+/g, ""), one!.replaceAll(/ expires \w+/g, ""));
      const dropping = one!.match(/counter packets 0 bytes 0 drop$/gm)?.length ?? 0;
      assert.equal(dropping, stdout.includes("shadow") ? 0 : one!.match(/^\tset /gm)?.length ?? 0);
    },
  });
});

testWith("validators", "nft reads the JSON as it reads the text", async (t) => {
  for (const [name, set] of Object.entries(situations())) {
    for (const shadow of [false, true]) {
      await t.step(`${name}${shadow ? ", shadow" : ""}`, async () => {
        const folder = await renderTo("nftables", set, { shadow });
        const json = await renderTo("nftables-json", set, { shadow });
        const listing = "nft list ruleset | sed 's/ expires [0-9a-z]*//g'";
        const stem = stemOf(shadow);
        const text = await inside(folder, `nft -f ${stem}.nft; ${listing}`);
        const same = await inside(json, `nft -j -c -f ${stem}.nft.json; nft -j -f ${stem}.nft.json; ${listing}`);
        // The order of sets is that of their making, which is the same.
        assert.equal(same.stdout, text.stdout);
        await Deno.remove(folder, { recursive: true });
        await Deno.remove(json, { recursive: true });
      });
    }
  }
});

testWith("validators", "ipset and iptables restore every file, twice, and the sets hold every entry", async (t) => {
  await forEach(t, "ipset", {
    shadow: true,
    async check(folder, _name, stem) {
      const restore =
        `ipset restore -! <${stem}.ipset; for ip in ip ip6; do \${ip}tables-restore --test <${stem}.\${ip}tables; ` +
        `\${ip}tables-restore --noflush <${stem}.\${ip}tables; done; `;
      const { stdout } = await inside(
        folder,
        `${restore}${restore}ipset save | grep -c '^add ' || true; iptables-save -t raw; ip6tables-save -t raw`,
      );
      const text = await Deno.readTextFile(`${folder}/${stem}.ipset`);
      const wanted = text.split("\n").filter((line) => line.startsWith("add ")).reduce((sum, line) => {
        const range = /tcp:(\d+)-(\d+)/.exec(line);
        return sum + (range ? Number(range[2]) - Number(range[1]) + 1 : 1);
      }, 0);
      assert.equal(Number(stdout.split("\n")[0]), wanted);
      assert.ok(!/INPUT -j ACCEPT/.test(stdout));
      const files = await Promise.all(["ip", "ip6"].map((ip) => Deno.readTextFile(`${folder}/${stem}.${ip}tables`)));
      const rules = files.join("").split("\n").filter((line) => line.startsWith("-A ")).length;
      assert.equal(stdout.split("\n").filter((line) => /^-A IBSR/.test(line)).length, rules);
    },
  });
});

testWith("validators", "ipset takes ports of each source's own in one set, and lists of over 15 ports", async () => {
  const many = Array.from({ length: 40 }, (_, i) => ({ source: `192.0.2.${i + 1}`, dst_ports: [1000 + i, 2000 + i] }));
  const ports = Array.from({ length: 23 }, (_, i) => i % 3 === 0 ? `${100 * i + 1}-${100 * i + 50}` as const : 100 * i);
  for (
    const [rules, expected] of [[many, /hash:net,port/], [
      [{ source: "192.0.2.1", dst_ports: ports }],
      /dports/,
    ]] as const
  ) {
    const folder = await renderTo("ipset", setOf(rules));
    const { stdout } = await inside(
      folder,
      "ipset restore -! <ibsr.ipset; iptables-restore --test <ibsr.iptables; iptables-restore <ibsr.iptables; " +
        "ipset list -t; iptables-save -t raw",
    );
    assert.match(stdout, expected);
    await Deno.remove(folder, { recursive: true });
  }
});

testWith("validators", "xdp-filter adds every address of the script on a veth, and removes them", async (t) => {
  await forEach(t, "xdp-filter", {
    shadow: false,
    async check(folder) {
      const { stdout } = await inside(
        folder,
        "mount -t bpf bpf /sys/fs/bpf; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; " +
          "xdp-filter load -m skb -f ipv4,ipv6 v0; sh ibsr.xdp-filter.sh add; xdp-filter status >added; " +
          "sh ibsr.xdp-filter.sh remove; xdp-filter status >removed; xdp-filter unload v0; " +
          "grep -c src added || true; grep -c src removed || true; sh ibsr.xdp-filter.sh x || echo code $?",
      );
      const script = await Deno.readTextFile(`${folder}/ibsr.xdp-filter.sh`);
      const wanted = script.split("\n").filter((line) => line.startsWith("source_address ")).length;
      assert.deepEqual(stdout.trim().split("\n"), [String(wanted), "0", "code 64"]);
    },
  });
});

/** fail2ban from the unpacked package, with a folder of configuration of its own. */
async function prepareFail2ban(folder: string, stem: string): Promise<string> {
  const name = stem.replace(".", "-");
  await inside(
    folder,
    `cp -r ${UNPACKED}/etc/fail2ban etc; rm -f etc/jail.d/*.conf; mkdir bin; touch candidates.log\n` +
      `cp ${stem}.filter.conf etc/filter.d/${name}.conf\n` +
      `sed "s#/var/log/ibsr-candidates.log#$0/candidates.log#" ${stem}.jail.conf >etc/jail.d/${name}.conf\n` +
      'printf "[Definition]\\nlogtarget = STDOUT\\ndbfile = None\\n" >etc/fail2ban.local\n' +
      "cat >bin/fail2ban-client <<EOF\n#!/bin/sh\nexport PYTHONPATH=" +
      `${UNPACKED}/usr/lib/python3/dist-packages\nexec /usr/bin/python3 ${UNPACKED}/usr/bin/fail2ban-client ` +
      '-c $0/etc -s $0/sock -p $0/pid "\\$@"\nEOF\nchmod +x bin/fail2ban-client\n',
  );
  return `PATH=${folder}/bin:$PATH`;
}

testWith(
  "validators",
  "fail2ban-client accepts every jail, and its regex finds IPv4, IPv6 and hosts in the log",
  async (t) => {
    await forEach(t, "fail2ban", {
      shadow: true,
      async check(folder, _name, stem) {
        const path = await prepareFail2ban(folder, stem);
        const { stdout } = await inside(folder, `${path} fail2ban-client -t`);
        assert.match(stdout, /OK: configuration test is successful/);
      },
    });
    const folder = await renderTo("fail2ban", situations().mixed!);
    await prepareFail2ban(folder, "ibsr");
    await Deno.writeTextFile(
      `${folder}/lines`,
      ["192.0.2.7", "2001:db8::7", "198.51.100.0/24"].map((s) => `2026-11-21T00:49:04Z ibsr candidate src=${s}\n`).join(
        "",
      ),
    );
    const { stdout } = await inside(
      folder,
      `PYTHONPATH=${UNPACKED}/usr/lib/python3/dist-packages /usr/bin/python3 ${UNPACKED}/usr/bin/fail2ban-regex ` +
        "-c etc lines etc/filter.d/ibsr.conf",
    );
    assert.match(stdout, /3 matched, 0 missed/);
    await Deno.remove(folder, { recursive: true });
  },
);

testWith(
  "validators",
  "fail2ban bans every address of the script for its time and ports, and lifts the bans",
  async () => {
    const set = setOf([
      { source: "192.0.2.7" },
      { source: "192.0.2.8/31", dst_ports: [22, "8080-8899"], duration_sec: 60 },
      { source: "2001:db8::7", duration_sec: null },
    ]);
    for (const shadow of [false, true]) {
      const folder = await renderTo("fail2ban", set, { shadow }), stem = stemOf(shadow);
      const path = await prepareFail2ban(folder, stem);
      const { stdout } = await inside(
        folder,
        `export ${path}; fail2ban-client -b start >log 2>&1; fail2ban-client ping\n` +
          `sh ${stem}.fail2ban.sh ban; sleep 2; nft list ruleset; fail2ban-client status\n` +
          "for n in 1 2 3; do for j in ibsr-$n ibsr-shadow-$n; do fail2ban-client get $j bantime 2>&1 || true; done; done\n" +
          `sh ${stem}.fail2ban.sh unban; sleep 1; echo ==; nft list ruleset; fail2ban-client stop`,
      );
      const [banned, lifted] = stdout.split("==") as [string, string];
      assert.match(banned, /192\.0\.2\.7/);
      assert.match(banned, /192\.0\.2\.8[^/]*192\.0\.2\.9|192\.0\.2\.8-192\.0\.2\.9/);
      assert.match(banned, /2001:db8::7/);
      assert.match(banned, /tcp dport \{ 22, 8080-8899 \} ip saddr @\S+ (?:counter|drop)/);
      assert.equal(/\bdrop\b/.test(banned), !shadow, banned);
      assert.equal(/\bcounter\b/.test(banned), shadow, banned);
      assert.ok(!/192\.0\.2|2001:db8/.test(lifted), lifted);
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** A CrowdSec API on the loopback of a network of its own: the configuration, and how it is begun. */
async function prepareCrowdsec(folder: string): Promise<string> {
  const write = (name: string, text: string) => Deno.writeTextFile(`${folder}/${name}`, text);
  await Deno.mkdir(`${folder}/hub`);
  await write("hub/.index.json", "{}");
  await write("simulation.yaml", "simulation: false\n");
  await write("lapi.yaml", "");
  await write(
    "profiles.yaml",
    "name: p\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   duration: 4h\non_success: break\n",
  );
  await write(
    "config.yaml",
    JSON.stringify({
      common: { daemonize: false, log_media: "stdout", log_level: "info", working_dir: folder },
      config_paths: {
        config_dir: folder,
        data_dir: folder,
        simulation_path: `${folder}/simulation.yaml`,
        hub_dir: `${folder}/hub`,
        index_path: `${folder}/hub/.index.json`,
      },
      cscli: { output: "json" },
      db_config: { type: "sqlite", db_path: `${folder}/crowdsec.db`, use_wal: true },
      api: {
        client: { credentials_path: `${folder}/lapi.yaml` },
        server: { enable: true, listen_uri: "127.0.0.1:8080", profiles_path: `${folder}/profiles.yaml` },
      },
      prometheus: { enabled: false },
    }),
  );
  const bin = `${UNPACKED}/usr/bin`;
  return `ip link set lo up; c="${bin}/cscli -c $0/config.yaml"\n` +
    "$c machines add -a -f $0/lapi.yaml --url http://127.0.0.1:8080 >/dev/null 2>&1\n" +
    `${bin}/crowdsec -c $0/config.yaml -no-cs >log 2>&1 & api=$!; trap 'kill $api; wait $api || true' EXIT\n` +
    'for i in $(seq 100); do grep -q "listening on" log && break; sleep 0.1; done\n';
}

for (const [format, file] of [["crowdsec", "ibsr.crowdsec.json"], ["crowdsec-csv", "ibsr.crowdsec.csv"]] as const) {
  testWith("validators", `cscli imports every decision of the format ${format}`, async (t) => {
    await forEach(t, format, {
      shadow: false,
      async check(folder, name) {
        if (name === "empty") return; // cscli reports an empty list as an error
        const begin = await prepareCrowdsec(folder);
        const { stdout, stderr } = await inside(
          folder,
          `${begin}$c decisions import -i ${file}; $c decisions list -a -l 5000 -o json >listed; $c decisions list -a -l 5000 -o raw\n` +
            '$c $(sed -n "s/^ *cscli \\(decisions delete .*\\)/\\1/p" *.README.txt) >/dev/null 2>&1; ' +
            "$c decisions list -a -l 5000 -o raw >after",
        );
        const rendered = await Deno.readTextFile(`${folder}/${file}`);
        const wanted = format === "crowdsec" ? JSON.parse(rendered).length : rendered.trim().split("\n").length - 1;
        assert.equal(stdout.split("\n").filter((line) => line.includes(",cscli-import,")).length, wanted, stderr);
        assert.ok(!(await Deno.readTextFile(`${folder}/after`)).includes("cscli-import"), "deleted as the README says");
        if (name !== "mixed") return;
        const [alert] = JSON.parse(await Deno.readTextFile(`${folder}/listed`));
        const found = new Map<string, string>(
          alert.decisions.map((d: { value: string; duration: string }) => [d.value, d.duration]),
        );
        assert.match(found.get("192.0.2.8") ?? "", /^5\d\.\d+s$/);
        assert.match(found.get("192.0.2.10") ?? "", /^87599h59m/);
        assert.match(found.get("203.0.113.0/24") ?? "", /^59m/);
      },
    });
  });
}

testWith(
  "validators",
  "botocore's model of AWS takes every WAF set and rule and every network ACL entry",
  async (t) => {
    const validate = `
import glob, json, botocore.session, botocore.validate
session = botocore.session.get_session()
def check(service, operation, value):
    shape = session.get_service_model(service).operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()
n = 0
for path in sorted(glob.glob("*.json")):
    value = json.load(open(path))
    if "nacl" in path:
        for entry in value: check("ec2", "CreateNetworkAclEntry", entry); n += 1
    elif "rule" in path:
        check("wafv2", "CreateWebACL", {"Name": "x", "Scope": "REGIONAL", "DefaultAction": {"Allow": {}}, "Rules": [value],
            "VisibilityConfig": value["VisibilityConfig"]}); n += 1
    else:
        check("wafv2", "CreateIPSet", value); n += 1
print(n)
try:
    check("wafv2", "CreateIPSet", {"Name": "x", "Scope": "REGIONAL", "IPAddressVersion": "IPV4", "Addresses": "1.2.3.4/32"})
    raise SystemExit("a text in place of a list was taken")
except AssertionError:
    pass
`;
    for (const format of ["aws-waf", "aws-nacl"]) {
      await forEach(t, format, {
        shadow: format === "aws-waf",
        async check(folder, name) {
          await Deno.writeTextFile(`${folder}/check.py`, validate);
          const { stdout } = await inside(folder, "/usr/bin/python3 check.py");
          assert.equal(Number(stdout) > 0, name !== "empty", stdout);
        },
      });
    }
  },
);

testWith("validators", "the validators refuse files that are broken on purpose", async () => {
  const set = setOf(manyRules(20));
  const broken: [string, string, string][] = [
    ["nftables", "sed -i '0,/20[.]0/s//20.999/' ibsr.nft", "nft -c -f ibsr.nft"],
    ["nftables-json", "sed -i '0,/inet_service/s//inet_servant/' ibsr.nft.json", "nft -j -c -f ibsr.nft.json"],
    ["ipset", "sed -i 's/20[.]/20.999./' ibsr.ipset", "ipset restore -! <ibsr.ipset"],
    ["ipset", "ipset restore <ibsr.ipset; sed -i /COMMIT/d ibsr.iptables", "iptables-restore --test <ibsr.iptables"],
  ];
  for (const [format, damage, check] of broken) {
    const folder = await renderTo(format, set);
    const { code } = await inside(folder, `${damage}; ${check}`, { anyCode: true });
    assert.notEqual(code, 0, `${format}: ${damage}`);
    await Deno.remove(folder, { recursive: true });
  }
});

testWith(
  "validators",
  "nft holds in the kernel what rules say: each address, port and time of random overlapping rules",
  async () => {
    const durations = [60, 600, 3600, null], ports = [0, 21, 22, 79, 80, 85, 90, 91, 443, 65535];
    for (let seed = 1; seed <= 20; seed++) {
      let state = seed * 7919;
      const random = (below: number) => (state = (state * 1103515245 + 12345) % 2147483648, (state >> 8) % below);
      const v6 = seed % 2 === 0, base = v6 ? "2001:db8::" : "20.0.0.", bits = v6 ? 128 : 32;
      const rules = Array.from({ length: 2 + random(10) }, () => ({
        source: `${base}${random(10)}/${bits - random(4)}`,
        dst_ports: [[], [22], ["80-90" as const], [443, "85-90" as const]][random(4)]!,
        duration_sec: durations[random(4)]!,
      }));
      const folder = await renderTo(seed % 4 < 2 ? "nftables" : "nftables-json", setOf(rules));
      const { stdout } = await inside(
        folder,
        "if [ -e ibsr.nft ]; then nft -f ibsr.nft; else nft -j -f ibsr.nft.json; fi; " +
          "nft -j list ruleset",
      );
      const held = heldByNft(stdout);
      for (let host = 0; host < 10; host++) {
        for (const port of ports) {
          const address = parsePrefix(`${base}${host}`)!;
          const found = held.filter((e) => containsPrefix(e.prefix, address) && e.low <= port && port <= e.high);
          assert.ok(found.length <= 1, `${base}${host} ${port} is held once`);
          const expected = Math.max(
            0,
            ...rules.filter((r) => containsPrefix(parsePrefix(r.source)!, address)).flatMap((r) =>
              spansOf(r.dst_ports, r.duration_sec).filter((s) => s.low <= port && port <= s.high).map((s) =>
                s.durationSec
              )
            ),
          );
          assert.equal(found[0]?.seconds ?? 0, expected, `seed ${seed}: ${base}${host} port ${port}`);
        }
      }
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** The elements of all sets in a listing of nft as JSON. */
function heldByNft(listing: string): { prefix: Prefix; low: number; high: number; seconds: number }[] {
  type Value = string | number | { prefix?: { addr: string; len: number }; range?: [Value, Value]; concat?: Value[] };
  type Element = { elem: { val: Value; timeout?: number } };
  const { nftables } = JSON.parse(listing) as { nftables: { set?: { elem?: Element[] } }[] };
  const prefixesOf = (value: Value): Prefix[] => {
    if (typeof value === "string") return [parsePrefix(value)!];
    if (typeof value === "object" && value.prefix) return [parsePrefix(`${value.prefix.addr}/${value.prefix.len}`)!];
    // What nft shows as a range isn't one prefix: no rule makes such a one, but a merged neighbour would.
    throw new Error(`an element that is no prefix: ${JSON.stringify(value)}`);
  };
  return nftables.flatMap(({ set }) => set?.elem ?? []).flatMap(({ elem: { val, timeout } }) => {
    const [address, port] = typeof val === "object" && val.concat ? val.concat : [val, undefined];
    const [low, high] = typeof port === "object" && port.range
      ? port.range.map(Number) as [number, number]
      : port === undefined
      ? [0, 65535]
      : [Number(port), Number(port)];
    return prefixesOf(address!).map((prefix) => ({ prefix, low, high, seconds: timeout ?? Infinity }));
  });
}
