/**
 * A systemd that runs as PID 1 in namespaces of its own, on a copy-on-write view of this host's files.
 *
 * Nothing outside is touched: writes go to a tmpfs, the network is a new one, /proc/sys and /sys are read-only, and
 * units that would touch the kernel are masked. ibsr is /usr/local/bin/ibsr in it. Disposing of the machine kills it.
 */
import assert from "node:assert/strict";
import { type Finished, ibsrCommand, pause, run } from "./lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** $1: an empty directory. $2: the program's wrapper. $3…: pairs of a path and where it is to be seen below /opt/ibsr. */
const BOOT = `
set -e
W=$1; shift
WRAPPER=$1; shift
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work" "$W/root"
R=$W/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$W/upper,workdir=$W/work" "$R"
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
for directory in run tmp dev; do mount -t tmpfs tmpfs "$R/$directory"; done
for node in null zero full random urandom tty; do
  touch "$R/dev/$node"
  mount --bind "/dev/$node" "$R/dev/$node"
done
mkdir "$R/dev/shm" "$R/dev/pts" "$R/dev/mqueue" "$R/dev/hugepages"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
mkdir -p "$R/opt/ibsr"
while [ $# -gt 0 ]; do
  if [ -d "$1" ]; then mkdir "$R/opt/ibsr/$2"; else touch "$R/opt/ibsr/$2"; fi
  mount --bind "$1" "$R/opt/ibsr/$2"
  shift 2
done
printf '%s' "$WRAPPER" >"$R/usr/local/bin/ibsr"
chmod 755 "$R/usr/local/bin/ibsr"
rm -rf "$R/etc/systemd/system" "$R/etc/machine-id" "$R/var/lib/ibsr" "$R/var/lib/private" "$R/etc/ibsr"
mkdir -p "$R/etc/systemd/system" "$R/etc/ibsr" "$R/var/log/journal"
echo 0123456789abcdef0123456789abcdef >"$R/etc/machine-id"
cd "$R/etc/systemd/system"
for unit in systemd-sysctl systemd-udevd systemd-udev-trigger systemd-modules-load systemd-timesyncd \\
  systemd-networkd systemd-resolved systemd-logind systemd-random-seed systemd-hwdb-update systemd-remount-fs \\
  systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-update-utmp systemd-sysusers kmod-static-nodes \\
  modprobe@; do
  ln -s /dev/null "$unit.service"
done
for mount in dev-hugepages dev-mqueue sys-kernel-debug sys-kernel-tracing sys-kernel-config \\
  sys-fs-fuse-connections proc-sys-fs-binfmt_misc; do
  ln -s /dev/null "$mount.mount"
done
ln -s /dev/null proc-sys-fs-binfmt_misc.automount
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' >test.target
ln -s test.target default.target
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
mkdir "$R/.old"
cd "$R"
pivot_root . .old
umount -l /.old
exec env -i container=ibsr-test PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --system --log-target=journal --show-status=no </dev/null
`;

/** A booted machine. It has a veth pair, v0 and v1. */
export class Machine implements AsyncDisposable {
  private constructor(
    readonly pid: number,
    readonly process: Deno.ChildProcess,
    readonly folder: string,
    readonly cgroup: string,
  ) {}

  /** Boots, in about a second. */
  static async boot(): Promise<Machine> {
    const folder = await Deno.makeTempDir();
    const { stdout: mounts } = await run("findmnt", ["--noheadings", "--output=TARGET", "--types=cgroup2"]);
    const cgroup = `${mounts.trim().split("\n")[0]}/ibsr-test-${Deno.pid}`;
    await Deno.mkdir(cgroup);
    const { wrapper, shown } = await findProgram();
    const script =
      `echo $$ >${cgroup}/cgroup.procs; exec unshare --fork --kill-child --pid --mount --uts --ipc --net ` +
      `--cgroup --propagation private sh -c "$0" boot "$@"`;
    const process = new Deno.Command("sh", {
      args: ["-c", script, BOOT, folder, wrapper, ...shown],
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    let pid = 0;
    for (const until = performance.now() + 10_000; pid === 0; await pause(50)) {
      assert.ok(performance.now() < until, "no namespace was made");
      const children = await Deno.readTextFile(`/proc/${process.pid}/task/${process.pid}/children`);
      pid = Number(children.trim().split(" ")[0]);
    }
    const machine = new Machine(pid, process, folder, cgroup);
    for (const until = performance.now() + 20_000;; await pause(100)) {
      const { stdout } = await machine.exec("systemctl", ["is-system-running"], { anyCode: true });
      if (/running|degraded/.test(stdout)) return machine;
      if (performance.now() < until) continue;
      await machine[Symbol.asyncDispose]();
      assert.fail(`systemd did not come up: ${stdout}`);
    }
  }

  /** Runs a command in the machine, as root. */
  exec(command: string, args: string[], options: { anyCode?: boolean } = {}): Promise<Finished> {
    const target = ["--target", String(this.pid), "--all", "--"];
    return run("nsenter", [...target, command, ...args], options);
  }

  /** A unit's property, as `systemctl show` has it. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.exec("systemctl", ["show", "--value", `--property=${property}`, unit])).stdout.trim();
  }

  /** Waits until `condition` holds; fails with the journal if it does not within `timeoutMs`. */
  async waitFor(what: string, condition: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
    for (const until = performance.now() + timeoutMs; !await condition(); await pause(100)) {
      if (performance.now() > until) assert.fail(`${what}: not so; the journal says ${await this.journal("ibsr*")}`);
    }
  }

  /** What a unit has logged, or has been logged about it: the collector's unless another is named. */
  async journal(unit = "ibsr"): Promise<string> {
    return (await this.exec("journalctl", [`--unit=${unit}`, "--no-pager"], { anyCode: true })).stdout;
  }

  /** Writes a file in the machine. */
  async write(path: string, text: string): Promise<void> {
    await Deno.writeTextFile(`/proc/${this.pid}/root${path}`, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.status;
    await Deno.remove(this.folder, { recursive: true });
    // The kernel takes a moment to empty the cgroups.
    for (let tries = 0;; tries++) {
      try {
        return await removeCgroup(this.cgroup);
      } catch (error) {
        if (tries > 50) throw error;
        await pause(100);
      }
    }
  }
}

/** Removes a cgroup and those in it; their files are the kernel's. */
async function removeCgroup(path: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    if (isDirectory) await removeCgroup(`${path}/${name}`);
  }
  await Deno.remove(path);
}

/** How ibsr is started in the machine, and what of the host that takes: from source, or the program of IBSR_PROGRAM. */
async function findProgram(): Promise<{ wrapper: string; shown: string[] }> {
  const [command, args] = ibsrCommand([]);
  if (Deno.env.has("IBSR_PROGRAM")) {
    return { wrapper: `#!/bin/sh\nexec /opt/ibsr/ibsr "$@"\n`, shown: [await Deno.realPath(command), "ibsr"] };
  }
  const { denoDir } = JSON.parse((await run(command, ["info", "--json"])).stdout);
  const inside = args.map((arg) => arg.replace(ROOT, "/opt/ibsr/source/"));
  return {
    wrapper: `#!/bin/sh\nDENO_DIR=/opt/ibsr/cache exec /opt/ibsr/deno ${inside.join(" ")} "$@"\n`,
    shown: [await Deno.realPath(command), "deno", ROOT, "source", denoDir, "cache"],
  };
}
