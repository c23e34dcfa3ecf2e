/**
 * The C library by FFI: interfaces, files of the kernel, writing past the page cache, and giving memory back (mallopt()
 * and madvise(), for a process that runs for long).
 *
 * `/proc` and `/sys` are read through it because Deno hands them out only with every permission at once. Loaded on
 * first use, so that what needs none of it runs on any operating system.
 */
type Bytes = Uint8Array<ArrayBuffer>;

const LIBC = {
  __errno_location: { parameters: [], result: "pointer" }, // int *(void)
  strerror: { parameters: ["i32"], result: "pointer" }, // char *(int)
  open: { parameters: ["buffer", "i32"], result: "i32" }, // int (const char *, int)
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" }, // ssize_t (int, void *, size_t)
  close: { parameters: ["i32"], result: "i32" }, // int (int)
  if_nametoindex: { parameters: ["buffer"], result: "u32" }, // unsigned (const char *)
  if_nameindex: { parameters: [], result: "pointer" }, // struct if_nameindex *(void)
  if_freenameindex: { parameters: ["pointer"], result: "void" }, // void (struct if_nameindex *)
  // void *(void *, size_t, int, int, int, off_t)
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" }, // int (void *, size_t)
  madvise: { parameters: ["u64", "usize", "i32"], result: "i32" }, // int (void *, size_t, int)
  mallopt: { parameters: ["i32", "i32"], result: "i32", optional: true }, // int (int, int)
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" }, // int (int, const struct rlimit *)
  dlopen: { parameters: ["buffer", "i32"], result: "pointer", optional: true }, // 2.34: void *(const char *, int)
} as const satisfies Deno.ForeignLibraryInterface;

/** The same library's calls that wait for a disk, off the main thread. */
const LIBC_WAITING = {
  // ssize_t (int, const void *, size_t, off_t)
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize", nonblocking: true },
} as const satisfies Deno.ForeignLibraryInterface;

let symbols: Deno.DynamicLibrary<typeof LIBC>["symbols"] | undefined;
let waiting: Deno.DynamicLibrary<typeof LIBC_WAITING> | undefined;

/** The functions, loaded. */
export function libc(): Deno.DynamicLibrary<typeof LIBC>["symbols"] {
  return symbols ??= Deno.dlopen("libc.so.6", LIBC).symbols;
}

const encoder = new TextEncoder();

/** Text as C has it. */
export function cString(text: string): Bytes {
  return encoder.encode(text + "\0");
}

/**
 * Bytes whose address stays: V8 may move small typed arrays that have no buffer of their own, also while a call
 * on another thread uses them.
 */
export function pinned(length: number): Bytes {
  return new Uint8Array(new ArrayBuffer(length));
}

/**
 * Loads a library for the rest of the process: one that has threads of its own must not be unloaded under them, which
 * Deno does at the end.
 */
export function loadForever(path: string): void {
  const RTLD_LAZY_NODELETE = 0x1001, name = cString(path);
  if (libc().dlopen) return void libc().dlopen!(name, RTLD_LAZY_NODELETE);
  const { dlopen } =
    Deno.dlopen("libdl.so.2", { dlopen: { parameters: ["buffer", "i32"], result: "pointer" } }).symbols;
  dlopen(name, RTLD_LAZY_NODELETE);
}

/** The error number of the C call before. */
export function errno(): number {
  return new Deno.UnsafePointerView(libc().__errno_location()!).getInt32();
}

/** An error number in words. */
export function describeErrno(number: number): string {
  return Deno.UnsafePointerView.getCString(libc().strerror(number)!);
}

/**
 * Makes the C library give large buffers back to the kernel as soon as they are free. By itself it raises the size from
 * which on it does so to that of the largest that was ever freed, and keeps 10 MB of holes from then on (mallopt(3)).
 */
export function returnLargeBuffers(): void {
  const M_MMAP_THRESHOLD = -3;
  libc().mallopt?.(M_MMAP_THRESHOLD, 128 * 1024);
}

/**
 * Lets go of what of the executable and the libraries only the start needed: some 25 MB of resident memory. The pages
 * stay in the page cache, and those that are used again are back at once.
 */
export function releaseStartup(): void {
  const MADV_DONTNEED = 4;
  // Only what is a file's, can't be written, and has not one page that differs from the file: nothing can be lost.
  const mapping =
    /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ [1-9]\d* +\/.*\n(?:(?![0-9a-f]+-).*\n)*?Anonymous: +0 kB$/gm;
  for (const [, from, to] of readKernelFile("/proc/self/smaps")?.matchAll(mapping) ?? []) {
    const start = BigInt(`0x${from}`);
    libc().madvise(start, BigInt(`0x${to}`) - start, MADV_DONTNEED);
  }
}

/** Memory that is shared with the kernel. Bytes must not be touched once it is closed. */
export interface SharedMemory extends Disposable {
  readonly buffer: ArrayBuffer;
}

/** Maps the first bytes of what a file descriptor stands for, to be read and written; undefined if errno() says why not. */
export function mapShared(fd: number, length: number): SharedMemory | undefined {
  const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_FAILED = 2n ** 64n - 1n;
  const address = libc().mmap(null, BigInt(length), PROT_READ_WRITE, MAP_SHARED, fd, 0n);
  if (address === null || BigInt.asUintN(64, Deno.UnsafePointer.value(address)) === MAP_FAILED) return undefined;
  return {
    buffer: Deno.UnsafePointerView.getArrayBuffer(address, length),
    [Symbol.dispose]() {
      libc().munmap(address, BigInt(length));
    },
  };
}

/** A file of /proc or /sys as text, at most 4 MiB of it; undefined if it can't be read. */
export function readKernelFile(path: string): string | undefined {
  const { open, read, close } = libc();
  const fd = open(cString(path), 0x80000); // O_RDONLY | O_CLOEXEC
  if (fd < 0) return undefined;
  const decoder = new TextDecoder(), buffer = pinned(65536);
  let text = "";
  for (let parts = 0; parts < 64; parts++) {
    const length = Number(read(fd, buffer, BigInt(buffer.length)));
    if (length < 0) break;
    text += decoder.decode(buffer.subarray(0, length), { stream: length > 0 });
    if (length === 0) {
      close(fd);
      return text;
    }
  }
  close(fd);
  return undefined;
}

/** An interface's index, or 0 if there is none of that name. */
export function interfaceIndex(name: string): number {
  return libc().if_nametoindex(cString(name));
}

/** The names of all interfaces in this network namespace, in the kernel's order. */
export function listInterfaces(): string[] {
  const { if_nameindex, if_freenameindex } = libc();
  const array = if_nameindex();
  if (!array) return [];
  const view = new Deno.UnsafePointerView(array);
  const names: string[] = [];
  for (let at = 0; view.getUint32(at) !== 0; at += 16) { // struct if_nameindex: index, padding, name
    names.push(Deno.UnsafePointerView.getCString(view.getPointer(at + 8)!));
  }
  if_freenameindex(array);
  return names;
}

/** Bytes of a block: positions, lengths and addresses of what goes past the page cache are multiples of it. */
export const BLOCK = 4096;

/** A file that is written past the page cache. */
export interface DirectFile extends Disposable {
  /**
   * Writes whole blocks from alignedBytes() at a position in the file, on another thread.
   *
   * @returns the bytes written: fewer than all, down to none, where the file takes no more of them this way.
   */
  write(blocks: Bytes, position: number): Promise<number>;
}

/** Whether this process may call the C library. */
function mayCall(): boolean {
  return Deno.build.os === "linux" && Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

/** Opens a file for that; undefined where the file system, the system or the permissions don't have it. */
export function openDirect(path: string): DirectFile | undefined {
  const O_DIRECT = Deno.build.arch === "aarch64" ? 0x10000 : 0x4000, O_WRONLY_CLOEXEC = 0x80001;
  if (!mayCall()) return undefined;
  const fd = libc().open(cString(path), O_WRONLY_CLOEXEC | O_DIRECT);
  if (fd < 0) return undefined;
  const { pwrite } = (waiting ??= Deno.dlopen("libc.so.6", LIBC_WAITING)).symbols;
  return {
    async write(blocks, position) {
      return Math.max(0, Number(await pwrite(fd, blocks, BigInt(blocks.length), BigInt(position))));
    },
    [Symbol.dispose]() {
      libc().close(fd);
    },
  };
}

/** Memory that begins on a block's border, if openDirect() is to be had. */
export function alignedBytes(length: number): Bytes {
  if (!mayCall()) return pinned(length);
  const bytes = pinned(length + BLOCK);
  const from = -Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)) & BigInt(BLOCK - 1)) & (BLOCK - 1);
  return bytes.subarray(from, from + length);
}
