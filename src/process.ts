/**
 * The process as the kernel and systemd see it: its user, its supervisor, the kernel's own files, through libc by FFI.
 *
 * Why libc and not Deno: a change of user has to reach every thread, which glibc does and Deno has no call for; the
 * notify socket is a Unix datagram; and Deno lets only `--allow-all` read /proc and /sys, which is more than ibsr
 * asks for. libc is looked up when first used, never at import.
 *
 * It decides nothing: when to change user, what to tell systemd and what a figure means is for the callers.
 */
import { IbsrError, reason } from "./errors.ts";
import { cString, describeErrno, errno, readKernelFile } from "./libc.ts";

const LIBC = {
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" }, // ssize_t (const char *, char *, size_t)
  opendir: { parameters: ["buffer"], result: "pointer" }, // DIR *(const char *)
  readdir: { parameters: ["pointer"], result: "pointer" }, // struct dirent *(DIR *)
  closedir: { parameters: ["pointer"], result: "i32" }, // int (DIR *)
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" }, // int (int, int, int)
  // ssize_t (int, const void *, size_t, int, const struct sockaddr *, socklen_t)
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  getpwnam: { parameters: ["buffer"], result: "pointer" }, // struct passwd *(const char *)
  geteuid: { parameters: [], result: "u32" }, // uid_t (void)
  getgroups: { parameters: ["i32", "buffer"], result: "i32" }, // int (int, gid_t *)
  setgroups: { parameters: ["usize", "buffer"], result: "i32" }, // int (size_t, const gid_t *)
  initgroups: { parameters: ["buffer", "u32"], result: "i32" }, // int (const char *, gid_t)
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" }, // int (uid_t, uid_t, uid_t)
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" }, // int (gid_t, gid_t, gid_t)
  adjtimex: { parameters: ["buffer"], result: "i32" }, // int (struct timex *)
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" }, // int (clockid_t, struct timespec *)
} as const satisfies Deno.ForeignLibraryInterface;

let symbols: Deno.DynamicLibrary<typeof LIBC>["symbols"] | undefined;

function libc(): Deno.DynamicLibrary<typeof LIBC>["symbols"] {
  return symbols ??= Deno.dlopen("libc.so.6", LIBC).symbols;
}

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** The message of the call that has just failed. */
function lastError(): string {
  return describeErrno(errno());
}

// -------------------------------------------------------------------------------------------- kernel's files

/** What a link in /proc or /sys points to; undefined if there is none. */
export function readKernelLink(path: string): string | undefined {
  const target = new Uint8Array(4096);
  const length = Number(libc().readlink(cString(path), target, BigInt(target.length)));
  return length < 0 ? undefined : decoder.decode(target.subarray(0, length));
}

/** The names in a directory of /proc or /sys; none if it is not there. */
export function listKernelDirectory(path: string): string[] {
  const { opendir, readdir, closedir } = libc();
  const directory = opendir(cString(path));
  if (!directory) return [];
  const names: string[] = [];
  for (let entry = readdir(directory); entry; entry = readdir(directory)) {
    const name = Deno.UnsafePointerView.getCString(entry, 19); // struct dirent: ino, off, reclen, type, name
    if (name !== "." && name !== "..") names.push(name);
  }
  closedir(directory);
  return names;
}

// ------------------------------------------------------------------------------------------------------ users

/** A user of the system. */
export interface User {
  name: string;
  uid: number;
  gid: number;
}

/**
 * The user of that name.
 *
 * @throws {IbsrError} `usage`, if there is none.
 */
export function findUser(name: string): User {
  const entry = libc().getpwnam(cString(name));
  if (!entry) {
    throw new IbsrError("usage", `Cannot run as user "${name}": there is no such user`, {
      hint: `\`useradd --system --no-create-home --shell /usr/sbin/nologin ${name}\` makes one`,
    });
  }
  const view = new Deno.UnsafePointerView(entry); // struct passwd: name, password, uid, gid, …
  return { name, uid: view.getUint32(16), gid: view.getUint32(20) };
}

/** The user whose rights this process has now. */
export function effectiveUid(): number {
  return libc().geteuid();
}

const KEEP = 0xffff_ffff; // (uid_t)-1: leave that id as it is
const ROOT = 0;

/**
 * Runs `action` with the rights of `user`, on every thread and without any capability, and takes root's back.
 *
 * @throws {IbsrError} `permission`, if this process is not root. What `action` throws is passed on.
 */
export async function actAs<T>(user: User, action: () => T | Promise<T>): Promise<T> {
  const { getgroups, setgroups, initgroups, setresgid, setresuid } = libc();
  const count = getgroups(0, null);
  const groups = new Uint32Array(Math.max(count, 0));
  getgroups(groups.length, groups);
  change(`act as user "${user.name}"`, () => initgroups(cString(user.name), user.gid));
  try {
    change(`act as group ${user.gid}`, () => setresgid(KEEP, user.gid, KEEP));
    change(`act as user "${user.name}"`, () => setresuid(KEEP, user.uid, KEEP));
    return await action();
  } finally {
    change("act as root again", () => setresuid(KEEP, ROOT, KEEP));
    change("act as root again", () => setresgid(KEEP, ROOT, KEEP));
    change("act as root again", () => setgroups(BigInt(groups.length), groups));
  }
}

/**
 * Makes this process `user`'s for good, and checks on every thread that nothing of root is left.
 *
 * @throws {IbsrError} `permission`, if a change was refused or did not take.
 */
export function becomeUser(user: User): void {
  const { initgroups, setresgid, setresuid } = libc();
  const { name, uid, gid } = user;
  change(`become user "${name}"`, () => initgroups(cString(name), gid));
  change(`become group ${gid}`, () => setresgid(gid, gid, gid));
  change(`become user "${name}"`, () => setresuid(uid, uid, uid));
  for (const task of listKernelDirectory("/proc/self/task")) {
    const status = readKernelFile(`/proc/self/task/${task}/status`);
    if (status === undefined) continue; // the thread has ended
    const uids = field(status, "Uid").split(/\s+/), gids = field(status, "Gid").split(/\s+/);
    const capabilities = ["CapEff", "CapPrm", "CapAmb"].map((set) => BigInt(`0x${field(status, set) || 0}`));
    if (uids.every((u) => u === String(uid)) && gids.every((g) => g === String(gid)) && capabilities.every((c) => !c)) {
      continue;
    }
    throw new IbsrError("permission", `Cannot become user "${name}": thread ${task} still has rights of root`);
  }
}

function change(action: string, call: () => number): void {
  if (call() === 0) return;
  const cause = lastError();
  throw new IbsrError("permission", `Cannot ${action}: ${reason(cause)}`, {
    hint: "only root can change user; started as another user, ibsr needs no --user",
  });
}

/** A field of a `status` file in /proc: what follows its name. */
function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
}

/** Bits of the capability sets that ibsr needs, as in linux/capability.h. */
const CAPABILITIES = { CAP_BPF: 39, CAP_NET_ADMIN: 12, CAP_PERFMON: 38 } as const;
const CAP_SYS_ADMIN = 21;

/** The capabilities for loading and attaching that this process lacks (CAP_SYS_ADMIN stands for BPF and PERFMON). */
export function missingCapabilities(): string[] {
  const effective = BigInt(`0x${field(readKernelFile("/proc/self/status") ?? "", "CapEff") || 0}`);
  const has = (bit: number) => (effective >> BigInt(bit) & 1n) === 1n;
  return Object.entries(CAPABILITIES)
    .filter(([name, bit]) => !has(bit) && !(name !== "CAP_NET_ADMIN" && has(CAP_SYS_ADMIN)))
    .map(([name]) => name);
}

// ----------------------------------------------------------------------------------------------------- clocks

/** The kernel's monotonic clock, in microseconds, as systemd compares it. */
export function monotonicUsec(): bigint {
  const time = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  libc().clock_gettime(1, /* CLOCK_MONOTONIC */ time);
  return time[0]! * 1_000_000n + time[1]! / 1000n;
}

/** Whether something (NTP, PTP) keeps the wall clock right, and how far off it is at most, in milliseconds. */
export function readClockSync(): { synchronised: boolean; maxErrorMs: number } {
  const timex = new Uint8Array(208), view = new DataView(timex.buffer); // struct timex; modes 0 changes nothing
  libc().adjtimex(timex);
  const STA_UNSYNC = 0x40;
  return {
    synchronised: (view.getInt32(40, true) & STA_UNSYNC) === 0,
    maxErrorMs: Number(view.getBigInt64(24, true)) / 1000,
  };
}

// ------------------------------------------------------------------------------------------------- supervisor

/** Tells the supervisor something: lines such as `READY=1`. Returns whether it was taken. */
export type Notify = (state: string) => boolean;

/**
 * The way to the supervisor at `address`, which is `NOTIFY_SOCKET`'s text: a path, or `@` and an abstract name.
 *
 * @see https://www.freedesktop.org/software/systemd/man/sd_notify.html
 * @throws {IbsrError} `usage`, if the address is of another kind or too long.
 */
export function openNotify(address: string): Notify {
  const AF_UNIX = 1, SOCK_DGRAM_CLOEXEC = 2 | 0x80000, MSG_NOSIGNAL = 0x4000, PATH_MAX = 107;
  const path = encoder.encode(address.startsWith("@") ? `\0${address.slice(1)}` : address);
  if (!/^[@/]/.test(address) || path.length > PATH_MAX) {
    throw new IbsrError("usage", `Cannot notify "${address}": it is no path and no abstract socket`, {
      hint: "NOTIFY_SOCKET is systemd's to set",
    });
  }
  const target = new Uint8Array(2 + path.length); // struct sockaddr_un; the kernel ends a path by itself
  new DataView(target.buffer).setUint16(0, AF_UNIX, true);
  target.set(path, 2);
  const fd = libc().socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return () => false;
  return (state) => {
    const message = encoder.encode(state);
    const sent = libc().sendto(fd, message, BigInt(message.length), MSG_NOSIGNAL, target, target.length);
    return Number(sent) === message.length;
  };
}
