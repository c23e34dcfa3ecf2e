/**
 * Tests that need more than Deno: they are skipped with a reason, or fail if IBSR_REQUIRE names the need.
 */

import { captureDirectory } from "./ground_truth.ts";

/** What a test can need; the values of IBSR_REQUIRE. */
export type Need =
  | "kernel"
  | "captures"
  | "golden"
  | "browser"
  | "shells"
  | "executable"
  | "embedded"
  | "counting"
  | "compiler"
  | "denort"
  | "aarch64"
  | "debian"
  | "prometheus"
  | "s3"
  | "swift"
  | "systemd"
  | "machine"
  | "tracing"
  | "firewalls"
  | "validators"
  | "disks"
  | "chdb"
  | "clickhouse"
  | "duckdb";

/** A Deno for aarch64, as scripts/setup installs it. */
export const AARCH64_DENO = new URL("../.tools/aarch64/node_modules/@deno/linux-arm64-glibc/deno", import.meta.url)
  .pathname;

/** Where scripts/setup unpacks Debian packages whose installation would start services. */
export const UNPACKED = new URL("../.tools/debian", import.meta.url).pathname;

/** libchdb: `IBSR_CHDB`, or as scripts/setup installs it. */
export const CHDB = Deno.env.get("IBSR_CHDB") ??
  new URL(
    `../.tools/chdb/node_modules/@chdb/lib-linux-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}-gnu/libchdb.so`,
    import.meta.url,
  ).pathname;

/** The folder that scripts/setup installs DuckDB into. */
export const DUCKDB = new URL("../.tools/duckdb", import.meta.url).pathname;

/** Commands that start Chromium. */
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];

/** The command that starts Chromium here. */
export function browserCommand(): string {
  return BROWSERS.find(onPath) ?? BROWSERS[0]!;
}

/** Where another reporter's golden files are, or undefined: `IBSR_GOLDEN`. */
export function goldenDirectory(): string | undefined {
  const directory = Deno.env.get("IBSR_GOLDEN");
  return directory !== undefined && exists(directory) ? directory : undefined;
}

/** Whether there is something at that path. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function onPath(command: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((directory) => exists(`${directory}/${command}`));
}

/** Those of the commands that are not there. */
function listMissing(commands: string[]): string | undefined {
  return commands.filter((command) => !onPath(command)).join(", ") || undefined;
}

/** What is missing for a need, in words; undefined if nothing is. */
const MISSING: Record<Need, () => string | undefined> = {
  kernel: () => {
    if (Deno.build.os !== "linux") return "Linux";
    if (Deno.uid() !== 0) return "root";
    const missing = listMissing("ip clang bpftool ethtool tcpdump tshark tcpreplay setpriv python3".split(" "));
    if (missing) return missing;
    if (!exists(new URL("../bpf/ibsr_frags.o", import.meta.url).pathname)) return "the compiled kernel program";
    const { success } = new Deno.Command("bpftool", { args: ["prog", "list"], stdout: "null", stderr: "null" })
      .outputSync();
    return success ? undefined : "bpf()";
  },
  shells: () => listMissing(["man", "bash", "zsh", "fish"]),
  executable: () => {
    if (Deno.build.os !== "linux") return "Linux";
    if (Deno.uid() !== 0) return "root";
    const program = Deno.env.get("IBSR_PROGRAM");
    if (!program || !exists(program)) return "the executable (IBSR_PROGRAM)";
    return listMissing(["unshare", "setpriv", "setcap", "strace", "clang"]);
  },
  compiler: () => {
    if (Deno.build.os !== "linux") return "Linux";
    return listMissing(["clang", "llvm-strip", "llvm-readelf", "dpkg-deb"]);
  },
  counting: () => MISSING.executable() ?? MISSING.kernel(),
  denort: () => {
    const missing = MISSING.compiler();
    if (missing || Deno.env.has("DENORT_BIN")) return missing;
    const { stdout } = new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stderr: "null" }).outputSync();
    const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
    const path = `dl/release/v${Deno.version.deno}/denort-${Deno.build.arch}-unknown-linux-gnu.zip`;
    return exists(`${denoDir}/${path}`) ? undefined : "Deno's runtime base (DENORT_BIN, or in Deno's cache)";
  },
  embedded: () => {
    const missing = MISSING.executable() ?? listMissing(["llvm-readelf", "qemu-x86_64-static"]);
    if (missing) return missing;
    const { stdout } = new Deno.Command(Deno.env.get("IBSR_PROGRAM")!, { args: ["version"] }).outputSync();
    return new TextDecoder().decode(stdout).includes("embedded") ? undefined : "an embedded executable";
  },
  aarch64: () => {
    if (!exists("/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1")) return "libc6-arm64-cross";
    if (!exists(AARCH64_DENO)) return "Deno for aarch64 (install_deno_aarch64 of scripts/setup)";
    return listMissing(["qemu-aarch64-static", "clang"]);
  },
  debian: () => {
    return MISSING.executable() ?? listMissing(["debootstrap", "lintian", "dpkg-deb"]);
  },
  captures: () => captureDirectory() ? undefined : "the captures with ground truth (IBSR_PCAPS)",
  golden: () => goldenDirectory() ? undefined : "the existing reporter's golden files (IBSR_GOLDEN)",
  browser: () => BROWSERS.some(onPath) ? undefined : "chromium",
  prometheus: () => {
    if (!exists("/usr/bin/python3")) return "python3-prometheus-client";
    const { success } = new Deno.Command("/usr/bin/python3", {
      args: ["-c", "import prometheus_client"],
      stderr: "null",
    })
      .outputSync();
    return success ? undefined : "python3-prometheus-client";
  },
  disks: () => {
    if (Deno.build.os !== "linux") return "Linux";
    if (Deno.uid() !== 0) return "root";
    const missing = listMissing(["mount", "umount", "mkfs.ext4", "chattr", "strace", "unshare"]);
    if (missing) return missing;
    const mount = "truncate -s 1M /tmp/ibsr-disk.$$ && mkfs.ext4 -q /tmp/ibsr-disk.$$ && " +
      "mount -o loop /tmp/ibsr-disk.$$ /mnt; result=$?; rm -f /tmp/ibsr-disk.$$; exit $result";
    const { success } = new Deno.Command("unshare", { args: ["--mount", "sh", "-c", mount], stderr: "null" })
      .outputSync();
    return success ? undefined : "loop mounts";
  },
  tracing: () => {
    const missing = listMissing(["strace"]);
    if (missing) return missing;
    const { success } = new Deno.Command("strace", { args: ["true"], stdout: "null", stderr: "null" }).outputSync();
    return success ? undefined : "ptrace()";
  },
  s3: () => {
    if (Deno.build.os !== "linux") return "Linux";
    const commands = [
      "radosgw",
      "radosgw-admin",
      "ceph",
      "ceph-mon",
      "ceph-osd",
      "monmaptool",
      "curl",
      "setsid",
    ];
    return listMissing(commands) ?? (exists("/usr/lib/python3/dist-packages/boto3") ? undefined : "python3-boto3");
  },
  swift: () => MISSING.s3() ?? listMissing(["swift-proxy-server", "swift-object-server"]),
  systemd: () => onPath("systemd-analyze") ? undefined : "systemd",
  firewalls: () => {
    if (Deno.build.os !== "linux") return "Linux";
    if (Deno.uid() !== 0) return "root";
    const commands = "ip unshare nsenter mount chrt renice nft ipset iptables-restore ip6tables-restore xdp-filter";
    const missing = listMissing(commands.split(" "));
    if (missing) return missing;
    const { success } = new Deno.Command("unshare", { args: ["--net", "--mount", "nft", "list", "ruleset"] })
      .outputSync();
    return success ? undefined : "nftables in a network namespace of its own";
  },
  validators: () => {
    const unpacked = ["usr/bin/fail2ban-client", "usr/bin/cscli"].filter((path) => !exists(`${UNPACKED}/${path}`));
    const missing = [MISSING.firewalls(), ...unpacked.map((path) => `.tools/debian/${path}`)].filter(Boolean);
    for (const module of ["botocore", "yaml"]) {
      if (!exists(`/usr/lib/python3/dist-packages/${module}`)) missing.push(`python3-${module}`);
    }
    return missing.join(", ") || undefined;
  },
  chdb: () => exists(CHDB) ? undefined : "libchdb (install_chdb of scripts/setup, or IBSR_CHDB)",
  clickhouse: () => {
    if (!exists(`${UNPACKED}/usr/sbin/clickhouse-server`)) return ".tools/debian/usr/sbin/clickhouse-server";
    const libraries = [...Deno.readDirSync("/usr/lib")].filter(({ isDirectory }) => isDirectory);
    const isThere = libraries.some(({ name }) => exists(`/usr/lib/${name}/libclickhouse.so.18.16.1`));
    return isThere ? listMissing(["openssl"]) : "clickhouse-common";
  },
  duckdb: () => {
    if (!exists(`${DUCKDB}/node_modules/@duckdb/node-api`)) return "DuckDB (install_duckdb of scripts/setup)";
    return listMissing(["node"]);
  },
  machine: () => {
    const commands = ["systemctl", "journalctl", "nsenter", "unshare", "findmnt"].filter((c) => !onPath(c));
    if (!exists("/lib/systemd/systemd")) commands.push("systemd");
    const missing = commands.length > 0 ? commands.join(", ") : MISSING.kernel();
    if (missing !== undefined) return missing;
    const chroot = new Deno.Command("systemd-detect-virt", { args: ["--chroot"], stdout: "null", stderr: "null" });
    if (chroot.outputSync().success) return "a root of its own (this is a chroot)";
    // Where / is an overlay already (a container) there may be none on top of it.
    const overlay = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && " +
      "mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r && mount -t cgroup2 c /mnt/w";
    const { success } = new Deno.Command("unshare", {
      args: ["--mount", "--cgroup", "--propagation", "private", "sh", "-c", overlay],
      stderr: "null",
    }).outputSync();
    return success ? undefined : "overlay and cgroup2 mounts";
  },
};

/** What is missing here for a need, in words; undefined if nothing is. */
export function whatIsMissing(need: Need): string | undefined {
  return MISSING[need]();
}

/** Declares a test with one need or several. */
export function testWith(
  needs: Need | readonly Need[],
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const lacking = [needs].flat().map((need) => ({ need, missing: MISSING[need]() })).find((n) => n.missing);
  if (!lacking) return Deno.test(name, fn);
  const { need, missing } = lacking;
  if ((Deno.env.get("IBSR_REQUIRE") ?? "").split(",").includes(need)) {
    return Deno.test(name, () => {
      throw new Error(`missing: ${missing}`);
    });
  }
  Deno.test({ name: `${name} [skipped, missing: ${missing}]`, ignore: true, fn });
}
