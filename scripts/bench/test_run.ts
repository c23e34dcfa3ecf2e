/**
 * Kernel programs for comparison: compiled, loaded and timed by BPF_PROG_TEST_RUN, through libbpf by FFI.
 *
 * src/xdp.ts loads ibsr's own program alone. These take whatever is in programs/, and time any loaded program, ours
 * included, by the same clock: the kernel's own figure has no digits after the point.
 */
import { BPF_TEST_RUN_OPTS } from "../../src/layout.ts";
import { cString, pinned } from "../../src/libc.ts";
import { runCommand } from "../run.ts";

const libbpf = Deno.dlopen("libbpf.so.1", {
  bpf_object__open_file: { parameters: ["buffer", "pointer"], result: "pointer" }, // (const char *, const opts *)
  bpf_object__load: { parameters: ["pointer"], result: "i32" },
  bpf_object__close: { parameters: ["pointer"], result: "void" },
  bpf_object__find_program_by_name: { parameters: ["pointer", "buffer"], result: "pointer" },
  bpf_object__find_map_by_name: { parameters: ["pointer", "buffer"], result: "pointer" },
  bpf_program__fd: { parameters: ["pointer"], result: "i32" },
  bpf_map__fd: { parameters: ["pointer"], result: "i32" },
  bpf_map__set_max_entries: { parameters: ["pointer", "u32"], result: "i32" },
  bpf_map_update_elem: { parameters: ["i32", "buffer", "buffer", "u64"], result: "i32" },
  bpf_map_lookup_elem: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  bpf_prog_get_fd_by_id: { parameters: ["u32"], result: "i32" },
  bpf_map_get_fd_by_id: { parameters: ["u32"], result: "i32" },
  // int (int fd, void *in_batch, void *out_batch, void *keys, void *values, __u32 *count, const opts *)
  bpf_map_lookup_and_delete_batch: {
    parameters: ["i32", "buffer", "buffer", "buffer", "buffer", "buffer", "pointer"],
    result: "i32",
  },
  bpf_prog_test_run_opts: { parameters: ["i32", "buffer"], result: "i32" },
  libbpf_set_print: { parameters: ["pointer"], result: "pointer" },
}).symbols;
const libc = Deno.dlopen("libc.so.6", {
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  syscall: { parameters: ["i64", "i32", "u32", "i32"], result: "i64" },
}).symbols;

type Bytes = Uint8Array<ArrayBuffer>;
const XDP_PASS = 2;

/** A loaded program of programs/. */
export interface Loaded extends Disposable {
  readonly fd: number;
  /** Sets a map's entry. */
  update(map: string, key: Bytes, value: Bytes): void;
  /** Reads a map's entry into `value`; false if there is none. */
  lookup(map: string, key: Bytes, value: Bytes): boolean;
}

/** Compiles all of programs/ into `folder`, with the flags of ibsr's own program. */
export async function compilePrograms(folder: string): Promise<void> {
  const sources = new URL("programs/", import.meta.url).pathname;
  for (const { name } of Deno.readDirSync(sources)) {
    await runCommand("clang", [
      ...["-O2", "-g", "-target", "bpfel", "-mcpu=v2", `-I/usr/include/${Deno.build.arch}-linux-gnu`],
      ...["-c", sources + name, "-o", `${folder}/${name.replace(".bpf.c", ".o")}`],
    ]);
  }
}

/** Loads `FOLDER/NAME.o`, whose program has that name; `sizes` are maps' numbers of entries. */
export function load(folder: string, name: string, sizes: Record<string, number> = {}): Loaded {
  libbpf.libbpf_set_print(null);
  const object = libbpf.bpf_object__open_file(cString(`${folder}/${name}.o`), null);
  if (!object) throw new Error(`${name}.o can't be opened`);
  const find = (map: string) => {
    const found = libbpf.bpf_object__find_map_by_name(object, cString(map));
    if (!found) throw new Error(`${name}.o has no map ${map}`);
    return found;
  };
  for (const [map, entries] of Object.entries(sizes)) libbpf.bpf_map__set_max_entries(find(map), entries);
  const result = libbpf.bpf_object__load(object);
  if (result !== 0) throw new Error(`${name}.o can't be loaded: error ${-result}`);
  return {
    fd: libbpf.bpf_program__fd(libbpf.bpf_object__find_program_by_name(object, cString(name))),
    update(map, key, value) {
      const updated = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(find(map)), key, value, 0n);
      if (updated !== 0) throw new Error(`map ${map} can't be updated: error ${-updated}`);
    },
    lookup: (map, key, value) => libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(find(map)), key, value) === 0,
    [Symbol.dispose]: () => libbpf.bpf_object__close(object),
  };
}

/** The simplest correct counter, for ports 80 and 443: programs/simple.bpf.c. */
export function loadSimple(folder: string, mapSize: number): Loaded {
  const simple = load(folder, "simple", { sources: mapSize });
  simple.update("ports", new Uint8Array(4), new Uint8Array(Uint16Array.of(80, 443, 0, 0, 0, 0, 0, 0).buffer));
  return simple;
}

/** A wrapper that gives the frame another source each time and goes on with the program `fd`: programs/flood.bpf.c. */
export function loadFlood(folder: string, fd: number): Loaded {
  const flood = load(folder, "flood");
  flood.update("target", new Uint8Array(4), new Uint8Array(Int32Array.of(fd).buffer));
  return flood;
}

/** The file descriptor of a loaded program, of this process or another one, by its id. */
export function openLoaded(id: number): number {
  const fd = libbpf.bpf_prog_get_fd_by_id(id);
  if (fd < 0) throw new Error(`program ${id} can't be opened: error ${-fd}`);
  return fd;
}

/** The file descriptor of a map by its id. */
export function openMap(id: number): number {
  const fd = libbpf.bpf_map_get_fd_by_id(id);
  if (fd < 0) throw new Error(`map ${id} can't be opened: error ${-fd}`);
  return fd;
}

/** Takes all out of a hash map, in batches, and looks at none of it; returns how many entries there were. */
export function drain(fd: number, { keySize, valueSize }: { keySize: number; valueSize: number }): number {
  const BATCH = 16384, ENOENT = 2; // as src/xdp.ts reads
  const keys = pinned(BATCH * keySize), values = pinned(BATCH * valueSize), cursor = pinned(8);
  const count = new Uint32Array(pinned(4).buffer);
  for (let first = true, sum = 0;; first = false) {
    count[0] = BATCH;
    const buffers = [cursor, keys, values, count, null] as const;
    const result = libbpf.bpf_map_lookup_and_delete_batch(fd, first ? null : cursor, ...buffers);
    if (result !== 0 && -result !== ENOENT) throw new Error(`bpf_map_lookup_and_delete_batch: error ${-result}`);
    sum += count[0]!;
    if (-result === ENOENT) return sum;
  }
}

/** Milliseconds of one synchronize_rcu(): membarrier(MEMBARRIER_CMD_GLOBAL) is nothing else. */
export function timeGracePeriod(): number {
  const membarrier = Deno.build.arch === "aarch64" ? 283n : 324n, MEMBARRIER_CMD_GLOBAL = 1;
  const start = performance.now(), result = libc.syscall(membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
  if (result !== 0n) throw new Error("membarrier");
  return performance.now() - start;
}

/** Keeps this thread on one CPU. */
export function pin(cpu: number): void {
  if (libc.sched_setaffinity(0, 8n, new BigUint64Array([1n << BigInt(cpu)])) !== 0) {
    throw new Error("sched_setaffinity");
  }
}

const input = pinned(1 << 17), opts = pinned(BPF_TEST_RUN_OPTS.duration + 8), view = new DataView(opts.buffer);

const timespec = pinned(16), times = new DataView(timespec.buffer);

/** Nanoseconds of processor time that this thread has had: what others take of it meanwhile doesn't count. */
function threadNs(): number {
  const CLOCK_THREAD_CPUTIME_ID = 3;
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec);
  return Number(times.getBigInt64(0, true)) * 1e9 + Number(times.getBigInt64(8, true));
}

/** Runs a loaded program `repeat` times on a frame, from the Ethernet header on; nanoseconds each. */
export function time(fd: number, frame: Uint8Array, repeat: number): number {
  input.set(frame);
  opts.fill(0);
  view.setBigUint64(BPF_TEST_RUN_OPTS.sz, BigInt(opts.length), true);
  view.setBigUint64(BPF_TEST_RUN_OPTS.data_in, Deno.UnsafePointer.value(Deno.UnsafePointer.of(input)), true);
  view.setUint32(BPF_TEST_RUN_OPTS.data_size_in, frame.length, true);
  view.setUint32(BPF_TEST_RUN_OPTS.repeat, repeat, true);
  const start = threadNs(), result = libbpf.bpf_prog_test_run_opts(fd, opts);
  const ns = (threadNs() - start) / repeat;
  if (result !== 0) throw new Error(`bpf_prog_test_run_opts: error ${-result}`);
  const returned = view.getUint32(BPF_TEST_RUN_OPTS.retval, true);
  if (returned !== XDP_PASS) throw new Error(`the program returns ${returned}`);
  return ns;
}
