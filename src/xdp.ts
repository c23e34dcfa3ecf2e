/**
 * The kernel side: loads the program, attaches it, reads its maps, through libbpf by FFI.
 *
 * Life cycle: `openProgram()` opens and loads an object with its map sizes and ports set; `attach()` puts it on
 * an interface through a link that dies with the process; `read()` takes what was counted since the last read.
 * Nothing outside this file and libbpf.ts touches a pointer.
 *
 * Reading is exact: the maps exist twice (bpf/ibsr.bpf.c). `read()` swaps the generation, which returns when no
 * running program can still write the old one, and then empties that at rest. A read that fails halfway is
 * resumed by the next one, so nothing that was taken out of a map is lost.
 */
import { cString, errno, interfaceIndex, libc, listInterfaces, mapShared, pinned } from "./libc.ts";
import type { CompiledObject, ObjectKind } from "./objects.ts";
import { IbsrError, nearest, reason } from "./errors.ts";
import {
  BPF_LINK_CREATE_OPTS,
  BPF_LINK_INFO,
  BPF_PROG_INFO,
  BPF_TEST_RUN_OPTS,
  CLASS,
  COUNTERS,
  KEY4,
  KEY6,
  LIMIT,
  SETTINGS,
  SKIP,
  SKIPPED,
  SYNS,
  TOTAL,
} from "./layout.ts";
import {
  describeErrno,
  EBUSY,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOSPC,
  EPERM,
  ERANGE,
  type Libraries,
  loadObject,
  openLibraries,
  permissionError,
  readInfo,
} from "./libbpf.ts";
import { expandSyns, type Reading } from "./counters.ts";
import { createPlacing, type Placing } from "./placing.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How a program is attached: in the driver, or in the kernel's generic receive path. */
export type XdpMode = "native" | "generic";

// ----------------------------------------------------------------------------------------------- interfaces

function missingInterface(name: string): IbsrError {
  const names = listInterfaces().filter((n) => n !== "lo");
  const near = nearest(name, names);
  return new IbsrError("kernel", `Cannot attach to "${name}": no such interface`, {
    hint: near
      ? `did you mean "${near}"? Others: ${names.filter((n) => n !== near).join(", ") || "none"}`
      : `interfaces here: ${names.join(", ") || "none but lo"}`,
  });
}

/** libbpf's version and file name. @throws {IbsrError} `kernel`, if it is not installed. */
export function findLibbpf(): string {
  return openLibraries().version;
}

/** The program on an interface's XDP hook, in words; undefined if there is none or it can't be told. */
export function findAttached(name: string): string | undefined {
  return describeAttached(openLibraries(), interfaceIndex(name));
}

/** The program on an interface's XDP hook, as `"name" (id N)`; undefined if it can't be told. */
function describeAttached(lib: Libraries, ifindex: number): string | undefined {
  const id = new Uint32Array(1);
  if (lib.libbpf.bpf_xdp_query_id?.(ifindex, 0, id) !== 0 || id[0] === 0) return undefined;
  const fd = lib.libbpf.bpf_prog_get_fd_by_id(id[0]!);
  if (fd < 0) return `program ${id[0]}`;
  const name = readInfo(lib, fd, 128).subarray(BPF_PROG_INFO.name, BPF_PROG_INFO.name + 16);
  libc().close(fd);
  return `"${new TextDecoder().decode(name).replace(/\0.*$/s, "")}" (program ${id[0]})`;
}

// --------------------------------------------------------------------------------------------------- program

/** What is set before a program is loaded. */
export interface ProgramOptions {
  /** Sources and ports kept apart in each of the LRU maps. */
  mapSize: number;
  /** Destination ports to count; each gets a slot of exact totals. */
  ports: readonly number[];
  /** Slots to reserve, so that later ports fit; at least `ports.length`. */
  slots?: number;
  /** Called with each object before it is given to the kernel. What it throws ends the opening. */
  approve?: (object: CompiledObject) => void;
}

/** What the kernel said of a loaded program. */
export interface ProgramStatistics {
  /** Instructions the verifier walked; 0 on kernels that don't say (before 5.16). */
  verifiedInstructions: number;
  /** Bytes of translated and of machine code. */
  translatedBytes: number;
  machineBytes: number;
}

/** A loaded program. Closing it closes its maps; what was counted and not read is gone. */
export interface Program extends Disposable {
  /** libbpf's version and file name. */
  readonly libbpf: string;
  readonly statistics: ProgramStatistics;
  /** The file descriptor of the loaded program, for a second thread that runs frames. */
  readonly fd: number;

  /**
   * Puts the program on an interface.
   *
   * @throws {IbsrError} `kernel`: no such interface, its hook is taken, the mode is refused; `permission`.
   */
  attach(name: string, mode: XdpMode | "auto"): Attachment;

  /**
   * Takes what was counted since the last read, and empties it. The tables lie in buffers that the next read
   * writes again.
   *
   * @throws {IbsrError} `kernel`, if a call fails. The next read then goes on where this one stopped.
   */
  read(): Promise<Reading>;

  /** Ports to count from the next `read()` on. @throws {IbsrError} `usage`, if there are more than slots. */
  setPorts(ports: readonly number[]): void;

  /**
   * Runs the program on one frame, without any interface, and returns what it returned.
   *
   * @param frame 14 to 65,549 bytes, from the Ethernet header on.
   * @param after If given, receives the frame's bytes as they are after the program.
   * @throws {IbsrError} `kernel`, if the kernel doesn't take the frame.
   */
  run(frame: Uint8Array, after?: Uint8Array): number;

  /** Runs the program `repeat` times on one frame; the mean duration in nanoseconds, as the kernel measured it. */
  measure(frame: Uint8Array, repeat: number): number;
}

/** A program's place on an interface's hook. Closing it, or the end of the process, detaches. */
export interface Attachment extends Disposable {
  readonly name: string;
  readonly index: number;
  readonly mode: XdpMode;
  /** Why native mode was refused, where `auto` came to generic. */
  readonly refusal: string | undefined;
  /** Whether the kernel still has the program on that interface, and the name still means that interface. */
  isAlive(): boolean;
}

const LRU_MAPS = {
  known4: { key: KEY4.sizeof, value: COUNTERS.sizeof },
  known6: { key: KEY6.sizeof, value: COUNTERS.sizeof },
  syn4: { key: KEY4.sizeof, value: SYNS.sizeof },
  syn6: { key: KEY6.sizeof, value: SYNS.sizeof },
} as const;
type LruMap = keyof typeof LRU_MAPS;
/** In the order that they are read in. */
const LRU_NAMES = ["known4", "syn4", "known6", "syn6"] as const;

const MOST_CPUS = 8192; // CONFIG_NR_CPUS at its largest
const MANY_PORTS = 64; // from here on totals are read in batches
const BATCH = 16384; // rows a call; larger ones gain nothing
const BPF_XDP = 37; // enum bpf_attach_type
const XDP_FLAGS = { native: 4, generic: 2 } as const; // XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
const ZERO_KEY = pinned(4);

/**
 * Opens, configures and loads a program. `declined` is what the kernel said of an object that was tried before it.
 *
 * @param objects The compiled objects in the order to try: the last one's error is thrown.
 * @throws {IbsrError} `kernel`: no libbpf, refused by the verifier, out of memory; `permission`.
 */
export function openProgram(
  objects: readonly CompiledObject[],
  options: ProgramOptions,
): Program & { readonly kind: ObjectKind; readonly declined: string | undefined } {
  const lib = openLibraries();
  const { libbpf, waiting } = lib;
  const slots = Math.max(options.slots ?? 0, options.ports.length);
  // Kernels before 5.11 count map memory against this limit; where it may not be raised the load says so.
  libc().setrlimit(8, /* RLIMIT_MEMLOCK */ new BigUint64Array([2n ** 64n - 1n, 2n ** 64n - 1n]));

  const findMap = (pointer: Deno.PointerObject, name: string, key: number, value: number) => {
    const map = libbpf.bpf_object__find_map_by_name(pointer, cString(name));
    if (!map) throw new IbsrError("kernel", `Cannot load the kernel program: it has no map ${name}`);
    const [keySize, valueSize] = [libbpf.bpf_map__key_size(map), libbpf.bpf_map__value_size(map)];
    if (keySize !== key || valueSize !== value) {
      throw new IbsrError(
        "kernel",
        `Cannot load the kernel program: map ${name} has ${keySize}-byte keys and ${valueSize}-byte values, ` +
          `not ${key} and ${value}`,
        { hint: "program and reader are of different versions: `deno task layout`, or install ibsr again" },
      );
    }
    return map;
  };

  let kind: ObjectKind | undefined, pointer: Deno.PointerObject | undefined, declined: string | undefined;
  for (const [i, object] of objects.entries()) {
    options.approve?.(object);
    try {
      pointer = loadObject(lib, object.bytes, (opened) => {
        for (const generation of [0, 1]) {
          for (const name of LRU_NAMES) {
            const { key, value } = LRU_MAPS[name];
            const map = findMap(opened, `${name}_${generation}`, key, value);
            libbpf.bpf_map__set_max_entries(map, options.mapSize);
          }
          libbpf.bpf_map__set_max_entries(findMap(opened, `totals_${generation}`, 4, TOTAL.sizeof), slots + 1);
        }
      });
      kind = object.kind;
      break;
    } catch (error) {
      if (i === objects.length - 1 || (error instanceof IbsrError && error.kind === "permission")) throw error;
      declined = reason(error);
    }
  }
  if (!pointer || !kind) throw new IbsrError("kernel", "Cannot load the kernel program: none was given");
  const object = pointer;

  const mapFd = (name: string, key: number, value: number) => libbpf.bpf_map__fd(findMap(object, name, key, value));
  const both = (name: string, key: number, value: number) =>
    [mapFd(`${name}_0`, key, value), mapFd(`${name}_1`, key, value)] as const;
  const fds = {
    lru: Object.fromEntries(LRU_NAMES.map((n) => [n, both(n, LRU_MAPS[n].key, LRU_MAPS[n].value)])) as Record<
      LruMap,
      readonly [number, number]
    >,
    totals: both("totals", 4, TOTAL.sizeof),
    settings: mapFd("settings", 4, SETTINGS.sizeof),
    skipped: mapFd("skipped", 4, SKIPPED.sizeof),
    grace: mapFd("grace", 4, 4),
    nothing: mapFd("nothing", 4, 4),
  };
  const programFd = libbpf.bpf_program__fd(libbpf.bpf_object__find_program_by_name(object, cString("ibsr"))!);
  // libbpf reads /sys, which a bare chroot hasn't: then there is room for as many CPUs as any kernel supports.
  const possible = libbpf.libbpf_num_possible_cpus(), cpus = possible > 0 ? possible : MOST_CPUS;

  const fail = (action: string, result: number): never => {
    if (-result === EPERM) throw permissionError(action, -result);
    throw new IbsrError("kernel", `${action}: ${describeErrno(-result)}`);
  };

  // ------------------------------------------------------------------------------------ settings, generations
  let generation: 0 | 1 = 0;
  let wanted: readonly number[] = options.ports;
  const portsOf: [readonly number[] | undefined, readonly number[] | undefined] = [undefined, undefined];

  // The value itself, where the program reads it: what is stored here is in force at once.
  const shared = mapShared(fds.settings, SETTINGS.sizeof);
  if (!shared) {
    const number = errno();
    libbpf.bpf_object__close(object);
    return fail("Cannot map the settings", -number);
  }
  let closed = false;
  const mapInfo = new Uint8Array(64);
  const inForce = new Uint32Array(shared.buffer, SETTINGS.generation, 1);
  const slotsOf = (of: 0 | 1) => new Uint16Array(shared.buffer, SETTINGS.slot + 2 * LIMIT.PORTS * of, LIMIT.PORTS);

  /**
   * Makes a generation's ports what is wanted; whether they were not. Only ever called for the one that is not written,
   * or before attach.
   */
  const writePorts = (of: 0 | 1): boolean => {
    if (portsOf[of] === wanted) return false;
    const slots = slotsOf(of).fill(0);
    wanted.forEach((port, i) => slots[inNetworkOrder(port)] = i + 1);
    portsOf[of] = wanted;
    return true;
  };

  writePorts(generation); // before the first packet

  /** Resolves when no program runs any more that ran before. */
  const waitForPrograms = async () => {
    const fd = pinned(4);
    new DataView(fd.buffer).setInt32(0, fds.nothing, true);
    const result = await waiting.bpf_map_update_elem(fds.grace, ZERO_KEY, fd, 0n);
    if (result !== 0) fail("Cannot wait for running programs", result);
  };

  /** Before the settings are touched, which are gone with the program. */
  const requireOpen = () => {
    if (closed) throw new IbsrError("kernel", "Cannot read the maps: the program is closed");
  };

  /** The generation that is written no more, since when, and whether a running program may still do. */
  let left: { of: 0 | 1; takenAt: Reading["takenAt"]; atRest: boolean } | undefined;

  /** Makes the other generation the one that is written; resolves when none can still write this one. */
  const swapGeneration = async (): Promise<NonNullable<typeof left>> => {
    if (!left) {
      const of = generation, next = of === 0 ? 1 : 0;
      requireOpen();
      // Whoever sees the other generation must see its ports.
      if (writePorts(next)) await waitForPrograms();
      requireOpen();
      // Where the kernel answers nothing, the reading ends before it has begun, and the interval goes on.
      const answer = libbpf.bpf_obj_get_info_by_fd(fds.settings, mapInfo, new Uint32Array([mapInfo.length]));
      if (answer !== 0) fail("Cannot swap the generation of maps", answer);
      const takenAt = { monotonicMs: performance.now(), wallMs: Date.now() };
      inForce[0] = next;
      generation = next;
      left = { of, takenAt, atRest: false };
    }
    if (!left.atRest) await waitForPrograms();
    left.atRest = true;
    return left;
  };

  // ------------------------------------------------------------------------------------------------- reading
  const placings = { v4: createPlacing(KEY4.sizeof), v6: createPlacing(KEY6.sizeof) };
  // Two batches: one is filled by the kernel while the rows of the other are placed.
  const batches: [Batch, Batch] = [createBatch(), createBatch()];

  /** A reading in progress: what is done is done, whatever fails after it. */
  interface Draft {
    of: 0 | 1;
    reading: Omit<Reading, "v4" | "v6">;
    drained: Set<LruMap>;
  }
  let draft: Draft | undefined;

  /** Per-CPU values of one key, added up: `words` 64-bit numbers, exact to 2^53. */
  const sumPerCpu = (values: Int32Array, words: number, at = 0): Float64Array => {
    const sums = new Float64Array(words);
    for (let i = 0; i < words * cpus; i++) {
      const word = 2 * (at * words * cpus + i);
      sums[i % words]! += values[word + 1]! * 2 ** 32 + (values[word]! >>> 0);
    }
    return sums;
  };

  const readPerCpu = (fd: number, key: number, words: number, what: string): Float64Array => {
    const values = new Int32Array(2 * words * cpus);
    const result = libbpf.bpf_map_lookup_elem(fd, new Uint32Array([key]), values);
    if (result !== 0) fail(`Cannot read ${what}`, result);
    return sumPerCpu(values, words);
  };

  /** The totals of each slot from 1 on that has counted a packet. */
  const readTotals = (of: 0 | 1, count: number): Map<number, Float64Array> => {
    const words = TOTAL.sizeof / 8, found = new Map<number, Float64Array>();
    const keep = (slot: number, sums: Float64Array) => {
      if (sums[TOTAL.bytes / 8] !== 0) found.set(slot, sums);
    };
    if (count > MANY_PORTS) {
      const rows = Math.max(1, Math.floor((1 << 20) / (TOTAL.sizeof * cpus)));
      const keys = new Uint32Array(rows), values = new Int32Array(2 * words * cpus * rows);
      const cursor = pinned(4), got = new Uint32Array(pinned(4).buffer);
      for (let first = true;; first = false) {
        got[0] = rows;
        const batch = [keys, values, got, null] as const;
        const result = libbpf.bpf_map_lookup_batch(fds.totals[of], first ? null : cursor, cursor, ...batch);
        if (first && result !== 0 && -result !== ENOENT) break; // a kernel without batches of per-CPU arrays
        if (result !== 0 && -result !== ENOENT) fail("Cannot read the totals", result);
        for (let i = 0; i < got[0]!; i++) keep(keys[i]!, sumPerCpu(values, words, i));
        if (-result === ENOENT) return found;
      }
    }
    for (let slot = 1; slot <= count; slot++) keep(slot, readPerCpu(fds.totals[of], slot, words, "the totals"));
    return found;
  };

  const zeroPerCpu = (fd: number, key: number, words: number, what: string) => {
    const result = libbpf.bpf_map_update_elem(fd, new Uint32Array([key]), new Uint8Array(8 * words * cpus), 0n);
    if (result !== 0) fail(`Cannot reset ${what}`, result);
  };

  const startDraft = (of: 0 | 1, takenAt: Reading["takenAt"]): Draft => {
    const ports = portsOf[of]!;
    const totals: Reading["totals"] = [];
    let inserted = 0;
    for (const [slot, sums] of readTotals(of, ports.length)) {
      inserted += sums[TOTAL.inserted / 8]!;
      const classes = sums.subarray(TOTAL.class / 8, TOTAL.class / 8 + CLASS.CLASSES);
      totals.push({ port: ports[slot - 1]!, bytes: sums[0]!, classes });
    }
    const skipped = readPerCpu(fds.skipped, of, SKIP.SKIPS, "the counters of frames not counted");
    for (const placing of [placings.v4, placings.v6]) placing.begin(inserted);
    return {
      of,
      drained: new Set(),
      reading: {
        takenAt,
        ports,
        totals,
        skipped,
        inserted,
        entries: { known4: 0, known6: 0, syn4: 0, syn6: 0 },
      },
    };
  };

  const drainMap = async ({ of, reading, drained }: Draft, name: LruMap) => {
    if (drained.has(name)) return;
    const placing = name.endsWith("4") ? placings.v4 : placings.v6, isSyn = name.startsWith("syn");
    const cursor = pinned(8), count = new Uint32Array(pinned(4).buffer);
    let [batch, other] = batches, rows = 0;
    for (let first = true;; first = false) {
      count[0] = batch.rows;
      const { keys, values, syns } = batch;
      const taking = waiting.bpf_map_lookup_and_delete_batch(
        fds.lru[name][of],
        first ? null : cursor,
        cursor,
        keys,
        isSyn ? syns : values,
        count,
        null,
      );
      placeBatch(placing, other, { rows, isSyn });
      rows = 0;
      const result = await taking;
      if (-result === ENOSPC) {
        growBatch(batch); // a bucket with more entries than were asked for
        continue;
      }
      if (result !== 0 && -result !== ENOENT) fail(`Cannot read map ${name}`, result);
      rows = count[0]!;
      reading.entries[name] += rows;
      [batch, other] = [other, batch];
      if (-result === ENOENT) break;
    }
    placeBatch(placing, other, { rows, isSyn });
    drained.add(name);
  };

  const read = async (): Promise<Reading> => {
    if (!draft) {
      const { of, takenAt } = await swapGeneration();
      draft = startDraft(of, takenAt);
      left = undefined;
    }
    const { of, reading } = draft, { entries } = reading;
    for (const name of LRU_NAMES) {
      // Where all that was put in has been found, the other maps are empty: to look through one costs as much as a
      // thirtieth of its size in entries.
      if (entries.known4 + entries.known6 + entries.syn4 + entries.syn6 === reading.inserted) break;
      await drainMap(draft, name);
    }
    const slots = reading.totals.length > 0 ? new Map(reading.ports.map((port, i) => [port, i + 1])) : new Map();
    for (const { port } of reading.totals) {
      zeroPerCpu(fds.totals[of], slots.get(port), TOTAL.sizeof / 8, `the totals of port ${port}`);
    }
    zeroPerCpu(fds.skipped, of, SKIP.SKIPS, "the counters of frames not counted");
    draft = undefined;
    return { ...reading, v4: placings.v4.finish(), v6: placings.v6.finish() };
  };

  // ------------------------------------------------------------------------------------------------ attaching
  const createLink = (index: number, mode: XdpMode): number => {
    const opts = new Uint8Array(BPF_LINK_CREATE_OPTS.flags + 8), view = new DataView(opts.buffer);
    view.setBigUint64(BPF_LINK_CREATE_OPTS.sz, BigInt(opts.length), true);
    view.setUint32(BPF_LINK_CREATE_OPTS.flags, XDP_FLAGS[mode], true);
    return libbpf.bpf_link_create(programFd, index, BPF_XDP, opts);
  };

  const attachError = (name: string, index: number, mode: XdpMode, number: number, refusal?: string): IbsrError => {
    const action = `Cannot attach to "${name}" in ${mode} mode${refusal ? `, nor native (${refusal})` : ""}`;
    switch (number) {
      case EPERM:
        return permissionError(action, number);
      case EBUSY:
      case EEXIST: {
        const other = describeAttached(lib, index) ?? "another program";
        return new IbsrError("kernel", `${action}: ${other} is attached there`, {
          hint: `\`bpftool net show dev ${name}\` says who; one XDP program an interface is the kernel's rule`,
        });
      }
      case ENODEV:
        return missingInterface(name);
      case ERANGE:
        return new IbsrError("kernel", `${action}: the interface's MTU is too large for its driver`, {
          hint: "--xdp-mode generic takes any MTU",
        });
      default:
        return new IbsrError("kernel", `${action}: ${describeErrno(number)}`, {
          hint: mode === "native"
            ? "the driver has no XDP, or not with these settings: --xdp-mode generic works on every interface"
            : "`dmesg | tail` may say why",
        });
    }
  };

  const attach = (name: string, mode: XdpMode | "auto"): Attachment => {
    const index = interfaceIndex(name);
    if (index === 0) throw missingInterface(name);
    let got: XdpMode = mode === "auto" ? "native" : mode, refusal: string | undefined;
    let fd = createLink(index, got);
    if (fd < 0 && mode === "auto" && ![EPERM, EBUSY, EEXIST, ENODEV].includes(-fd)) {
      refusal = describeErrno(-fd);
      got = "generic";
      fd = createLink(index, got);
    }
    if (fd < 0) throw attachError(name, index, got, -fd, refusal);
    let open = true;
    return {
      name,
      index,
      mode: got,
      refusal,
      isAlive() {
        if (!open || interfaceIndex(name) !== index) return false;
        const info = new Uint8Array(64);
        // A link that can't be asked stays: to close it for that would detach what may well be at work.
        if (libbpf.bpf_obj_get_info_by_fd(fd, info, new Uint32Array([info.length])) !== 0) return true;
        return new DataView(info.buffer).getUint32(BPF_LINK_INFO.xdp_ifindex, true) === index;
      },
      [Symbol.dispose]() {
        if (open) libc().close(fd);
        open = false;
      },
    };
  };

  // -------------------------------------------------------------------------------------------------- running
  let run: ((frame: Uint8Array, repeat: number, after?: Uint8Array) => DataView) | undefined;
  const prepareRun = (): NonNullable<typeof run> => {
    const input = pinned(1 << 17), output = pinned(1 << 17);
    const opts = pinned(BPF_TEST_RUN_OPTS.duration + 8), view = new DataView(opts.buffer);
    const address = (bytes: Bytes) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
    view.setBigUint64(BPF_TEST_RUN_OPTS.sz, BigInt(opts.length), true);
    view.setBigUint64(BPF_TEST_RUN_OPTS.data_in, address(input), true);
    const out = address(output);
    let wantsOutput = false;
    return (frame, repeat, after) => {
      if (frame.length > input.length) fail(`Cannot run a frame of ${frame.length} bytes`, -EINVAL);
      input.set(frame);
      view.setUint32(BPF_TEST_RUN_OPTS.data_size_in, frame.length, true);
      view.setUint32(BPF_TEST_RUN_OPTS.repeat, repeat, true);
      if (wantsOutput !== (after !== undefined)) {
        wantsOutput = !wantsOutput;
        view.setBigUint64(BPF_TEST_RUN_OPTS.data_out, wantsOutput ? out : 0n, true);
      }
      // The call writes the size back, and fails the next time if it is smaller than that frame.
      view.setUint32(BPF_TEST_RUN_OPTS.data_size_out, wantsOutput ? output.length : 0, true);
      const result = libbpf.bpf_prog_test_run_opts(programFd, opts);
      if (result !== 0) fail(`Cannot run a frame of ${frame.length} bytes`, result);
      if (after) after.set(output.subarray(0, Math.min(after.length, frame.length)));
      return view;
    };
  };

  const info = new DataView(readInfo(lib, programFd, BPF_PROG_INFO.verified_insns + 4).buffer);
  return {
    kind,
    declined,
    libbpf: lib.version,
    fd: programFd,
    statistics: {
      verifiedInstructions: info.getUint32(BPF_PROG_INFO.verified_insns, true),
      translatedBytes: info.getUint32(BPF_PROG_INFO.xlated_prog_len, true),
      machineBytes: info.getUint32(BPF_PROG_INFO.jited_prog_len, true),
    },
    attach,
    read,
    setPorts(ports) {
      if (ports.length > slots) {
        throw new IbsrError("usage", `Cannot count ${ports.length} ports: ${slots} fit without a restart`, {
          hint: "restart the collector with the new ports",
        });
      }
      wanted = ports;
    },
    run(frame, after) {
      run ??= prepareRun();
      return run(frame, 1, after).getUint32(BPF_TEST_RUN_OPTS.retval, true);
    },
    measure(frame, repeat) {
      run ??= prepareRun();
      return run(frame, repeat).getUint32(BPF_TEST_RUN_OPTS.duration, true);
    },
    [Symbol.dispose]() {
      if (closed) return;
      closed = true;
      shared[Symbol.dispose]();
      libbpf.bpf_object__close(object);
    },
  };
}

/** The number that a port in network order is to this machine, a little-endian one as the program is. */
function inNetworkOrder(port: number): number {
  return (port & 0xff) << 8 | port >> 8;
}

/** Room for what the kernel hands over in one call. */
interface Batch {
  rows: number;
  keys: Uint32Array<ArrayBuffer>;
  values: Uint32Array<ArrayBuffer>;
  /** Values of `syn4_*` and `syn6_*`. */
  syns: Uint8Array<ArrayBuffer>;
}

function createBatch(rows = BATCH): Batch {
  const words = (size: number) => new Uint32Array(new ArrayBuffer(rows * size));
  return { rows, keys: words(KEY6.sizeof), values: words(COUNTERS.sizeof), syns: pinned(rows * SYNS.sizeof) };
}

function growBatch(batch: Batch): void {
  Object.assign(batch, createBatch(2 * batch.rows));
}

/** Adds the rows of a batch to a table. */
function placeBatch(
  placing: Placing,
  { keys, values, syns }: Batch,
  { rows, isSyn }: { rows: number; isSyn: boolean },
) {
  if (isSyn) expandSyns(syns, new Uint8Array(values.buffer), rows);
  placing.place(keys, values, rows);
}
