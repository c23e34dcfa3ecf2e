/**
 * libbpf by FFI: its functions, loading an object, and what its failures mean in words.
 *
 * It is looked up when it is first needed, never at import, and silenced: what it would print is in the errors thrown
 * here. What programs and maps there are is xdp.ts's business.
 */
import { describeErrno as describeNumber, errno, pinned } from "./libc.ts";
import { IbsrError } from "./errors.ts";
import { BPF_OBJECT_OPEN_OPTS } from "./layout.ts";
import { missingCapabilities } from "./process.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const LIBBPF = {
  libbpf_version_string: { parameters: [], result: "pointer", optional: true }, // const char *(void), 0.6
  libbpf_set_print: { parameters: ["pointer"], result: "pointer" }, // libbpf_print_fn_t (libbpf_print_fn_t)
  libbpf_num_possible_cpus: { parameters: [], result: "i32" }, // int (void)
  // struct bpf_object *(const void *obj_buf, size_t obj_buf_sz, const struct bpf_object_open_opts *opts)
  bpf_object__open_mem: { parameters: ["buffer", "usize", "buffer"], result: "pointer" },
  bpf_object__load: { parameters: ["pointer"], result: "i32" }, // int (struct bpf_object *)
  bpf_object__close: { parameters: ["pointer"], result: "void" }, // void (struct bpf_object *)
  // struct bpf_program *(const struct bpf_object *, const char *name)
  bpf_object__find_program_by_name: { parameters: ["pointer", "buffer"], result: "pointer" },
  // struct bpf_map *(const struct bpf_object *, const char *name)
  bpf_object__find_map_by_name: { parameters: ["pointer", "buffer"], result: "pointer" },
  bpf_program__fd: { parameters: ["pointer"], result: "i32" }, // int (const struct bpf_program *)
  bpf_map__fd: { parameters: ["pointer"], result: "i32" }, // int (const struct bpf_map *)
  bpf_map__key_size: { parameters: ["pointer"], result: "u32" }, // __u32 (const struct bpf_map *)
  bpf_map__value_size: { parameters: ["pointer"], result: "u32" }, // __u32 (const struct bpf_map *)
  bpf_map__set_max_entries: { parameters: ["pointer", "u32"], result: "i32" }, // int (struct bpf_map *, __u32)
  // int (int prog_fd, int target_fd, enum bpf_attach_type, const struct bpf_link_create_opts *)
  bpf_link_create: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  bpf_obj_get_info_by_fd: { parameters: ["i32", "buffer", "buffer"], result: "i32" }, // int (int, void *, __u32 *)
  bpf_prog_get_fd_by_id: { parameters: ["u32"], result: "i32" }, // int (__u32 id)
  bpf_xdp_query_id: { parameters: ["i32", "i32", "buffer"], result: "i32", optional: true }, // 0.7: int (int, int, __u32 *)
  bpf_map_lookup_elem: { parameters: ["i32", "buffer", "buffer"], result: "i32" }, // int (int, const void *, void *)
  // int (int fd, void *in_batch, void *out_batch, void *keys, void *values, __u32 *count, const opts *)
  bpf_map_lookup_batch: {
    parameters: ["i32", "buffer", "buffer", "buffer", "buffer", "buffer", "pointer"],
    result: "i32",
  },
  // int (int fd, const void *key, const void *value, __u64 flags)
  bpf_map_update_elem: { parameters: ["i32", "buffer", "buffer", "u64"], result: "i32" },
  bpf_prog_test_run_opts: { parameters: ["i32", "buffer"], result: "i32" }, // int (int, struct bpf_test_run_opts *)
} as const satisfies Deno.ForeignLibraryInterface;

/** The same functions off the main thread: they wait in the kernel, or copy for a long time. */
const LIBBPF_WAITING = {
  bpf_map_update_elem: { parameters: ["i32", "buffer", "buffer", "u64"], result: "i32", nonblocking: true },
  // int (int fd, void *in_batch, void *out_batch, void *keys, void *values, __u32 *count, const opts *)
  bpf_map_lookup_and_delete_batch: {
    parameters: ["i32", "buffer", "buffer", "buffer", "buffer", "buffer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** libbpf's functions, and its version and file name. */
export interface Libraries {
  libbpf: Deno.DynamicLibrary<typeof LIBBPF>["symbols"];
  waiting: Deno.DynamicLibrary<typeof LIBBPF_WAITING>["symbols"];
  version: string;
}

let libraries: Libraries | undefined;

/** Looks libbpf up, once. @throws {IbsrError} `kernel`, if it is not installed. */
export function openLibraries(): Libraries {
  if (libraries) return libraries;
  const failures: unknown[] = [];
  for (const name of ["libbpf.so.1", "libbpf.so.0"]) {
    try {
      const libbpf = Deno.dlopen(name, LIBBPF).symbols;
      const waiting = Deno.dlopen(name, LIBBPF_WAITING).symbols;
      libbpf.libbpf_set_print(null);
      const version = libbpf.libbpf_version_string?.();
      const text = version ? Deno.UnsafePointerView.getCString(version).replace(/^v/, "") : "older than 0.6";
      return libraries = { libbpf, waiting, version: `${text} (${name})` };
    } catch (cause) {
      failures.push(cause);
    }
  }
  throw new IbsrError("kernel", "Cannot load libbpf: neither libbpf.so.1 nor libbpf.so.0 is installed", {
    hint: "`apt-get install libbpf1` on Debian and Ubuntu, `dnf install libbpf` on Fedora and RHEL",
    cause: failures[0],
  });
}

// --------------------------------------------------------------------------------------------------- errors

const ERRNO: Record<number, string> = {
  1: "EPERM, operation not permitted",
  2: "ENOENT, no such entry",
  7: "E2BIG, too big",
  12: "ENOMEM, out of memory",
  13: "EACCES, refused by the verifier",
  16: "EBUSY, device or resource busy",
  17: "EEXIST, already there",
  19: "ENODEV, no such interface",
  22: "EINVAL, invalid argument",
  28: "ENOSPC, no space",
  34: "ERANGE, out of range",
  95: "EOPNOTSUPP, not supported",
  524: "ENOTSUPP, not supported",
};
/** Error numbers that callers tell apart. */
export const EPERM = 1, ENOENT = 2, EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, ENOSPC = 28, ERANGE = 34;

/** An error number in words. */
export function describeErrno(number: number): string {
  return ERRNO[number] ?? `error ${number}, ${describeNumber(number).toLowerCase()}`;
}

/** The negative errno of a call that returns a pointer; libbpf 0.x returns it as the pointer itself. */
function pointerError(pointer: Deno.PointerValue): number {
  const value = Deno.UnsafePointer.value(pointer);
  if (value >= 2n ** 64n - 4095n) return Number(2n ** 64n - value);
  return errno();
}

/** Why the kernel refused `action`: capabilities that are missing, or something beyond them. */
export function permissionError(action: string, number: number): IbsrError {
  const missing = missingCapabilities();
  return new IbsrError(
    "permission",
    missing.length ? `${action}: ${missing.join(", ")} missing` : `${action}: ${describeErrno(number)}`,
    {
      hint: missing.length
        ? "run as root, or grant cap_bpf, cap_net_admin and cap_perfmon (AmbientCapabilities= in the unit)"
        : "all capabilities are there: look for a security module or a container's seccomp profile that denies bpf()",
    },
  );
}

/** The telling end of a verifier log: the last lines, without the statistics after them. */
function summariseVerifierLog(log: string): string {
  const lines = log.split("\n").map((l) => l.trim()).filter((l) =>
    l && !/^(processed|verification time|stack depth|mark_)/.test(l)
  );
  return lines.slice(-3).join(" | ");
}

// --------------------------------------------------------------------------------------------------- objects

const LOG_BYTES = 1 << 20;

/**
 * Opens an object and loads it.
 *
 * @param configure Called between the two.
 * @throws {IbsrError} `kernel`, with what the verifier said last; `permission`.
 */
export function loadObject(lib: Libraries, object: Bytes, configure: (pointer: Deno.PointerObject) => void) {
  const { libbpf } = lib;
  const log = new Uint8Array(LOG_BYTES);
  const opts = pinned(BPF_OBJECT_OPEN_OPTS.kernel_log_level + 8);
  const view = new DataView(opts.buffer);
  view.setBigUint64(BPF_OBJECT_OPEN_OPTS.sz, BigInt(opts.length), true);
  view.setBigUint64(
    BPF_OBJECT_OPEN_OPTS.kernel_log_buf,
    BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(log))),
    true,
  );
  view.setBigUint64(BPF_OBJECT_OPEN_OPTS.kernel_log_size, BigInt(log.length), true);

  const open = (options: Bytes | null) => libbpf.bpf_object__open_mem(object, BigInt(object.length), options);
  let pointer = open(opts);
  if (!pointer || pointerIsError(pointer)) pointer = open(null); // libbpf before 0.7 has no log options
  if (!pointer || pointerIsError(pointer)) {
    throw new IbsrError(
      "kernel",
      `Cannot open the kernel program: libbpf says ${describeErrno(pointerError(pointer))}`,
      {
        hint: "the object is damaged: install ibsr again",
      },
    );
  }
  try {
    configure(pointer);
    const result = libbpf.bpf_object__load(pointer);
    if (result !== 0) {
      const text = summariseVerifierLog(new TextDecoder().decode(log.subarray(0, log.indexOf(0))));
      // Without CAP_PERFMON it is the verifier that refuses, with EACCES.
      if (-result === EPERM || missingCapabilities().length > 0) {
        throw permissionError("Cannot load the kernel program", -result);
      }
      throw new IbsrError(
        "kernel",
        `Cannot load the kernel program: ${describeErrno(-result)}${text ? `: ${text}` : ""}`,
        { hint: "Linux 5.9 or newer is needed; `ibsr check` says what this kernel lacks" },
      );
    }
    return pointer;
  } catch (error) {
    libbpf.bpf_object__close(pointer);
    throw error;
  }
}

function pointerIsError(pointer: Deno.PointerValue): boolean {
  return Deno.UnsafePointer.value(pointer) >= 2n ** 64n - 4095n;
}

/** `bpf_obj_get_info_by_fd`: the first `size` bytes, fewer known ones being zero. */
export function readInfo(lib: Libraries, fd: number, size: number): Bytes {
  const info = new Uint8Array(size);
  lib.libbpf.bpf_obj_get_info_by_fd(fd, info, new Uint32Array([size]));
  return info;
}
