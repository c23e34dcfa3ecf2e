/**
 * Capture files → frames: classic pcap, pcapng, and gzip of either, told apart by their first bytes.
 *
 * A capture is decoded as it streams: a decoder looks at the record at hand, says how many bytes it takes, and is
 * called again once they are there. No more than one record is held back, so memory does not grow with the file,
 * whatever lengths the file claims. A capture that ends inside a record gives its whole frames and a warning; one
 * that contradicts itself gives the frames before that place and an error that names it. Only Ethernet is read: other
 * link types are refused by name, in pcapng when a packet of such an interface occurs, because "any" captures often
 * declare interfaces that stay silent.
 *
 * It does not open files, look into frames, sort by time, or verify checksums; a frame check sequence that was
 * captured counts as part of the frame.
 *
 * Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng (whose packet block is called enhanced, simple, or,
 * obsolete, just packet), RFC 1952.
 */
import { decompress } from "./decompress.ts";
import { IbsrError } from "./errors.ts";

/** One frame of a capture. */
export interface Frame {
  /** Milliseconds since 1970 as the file has it, fraction included: exact for µs, within 0.25 µs for ns. */
  timeMs: number;
  /** What was captured, from the Ethernet header on. Valid until the next batch is asked for. */
  bytes: Uint8Array;
  /** Length on the wire; never less than `bytes.length`. */
  length: number;
}

/** What is known of a capture; complete when its frames have been read to the end. */
export interface CaptureSummary {
  /** Frames given so far. */
  frames: number;
  /** Frames of which the capture holds only the beginning (`bytes.length < length`). */
  snapped: number;
  /** Where the capture breaks off: the beginning of the record that is cut short, after decompression. */
  truncatedAtByte?: number;
  /** Sentences for the operator: what is missing from this capture or odd about it. */
  warnings: string[];
}

/** A capture being read. */
export interface Capture {
  /** Frames in the file's order, a few hundred to a batch. Can be read once. */
  frames: AsyncGenerator<Frame[], void, void>;
  /** What was read so far; complete when the frames are. */
  summary: CaptureSummary;
}

/** The longest frame read, in bytes: libpcap's MAXIMUM_SNAPLEN. A longer one is taken for damage. */
export const MAX_FRAME = 262_144;

/** The longest pcapng block that is held in memory: libpcap's limit. Blocks that are only skipped can be longer. */
export const MAX_BLOCK = 16 * 1024 * 1024;

const MAX_INTERFACES = 65_536;
const BATCH = 512;

/** https://www.tcpdump.org/linktypes.html, without the prefix LINKTYPE_. */
const LINK_TYPES: Record<number, string> = {
  0: "NULL",
  3: "AX25",
  6: "IEEE802_5",
  7: "ARCNET_BSD",
  8: "SLIP",
  9: "PPP",
  10: "FDDI",
  12: "RAW",
  14: "RAW",
  50: "PPP_HDLC",
  51: "PPP_ETHER",
  100: "ATM_RFC1483",
  101: "RAW",
  104: "C_HDLC",
  105: "IEEE802_11",
  107: "FRELAY",
  108: "LOOP",
  113: "LINUX_SLL",
  117: "PFLOG",
  119: "IEEE802_11_PRISM",
  127: "IEEE802_11_RADIOTAP",
  147: "USER0",
  163: "IEEE802_11_AVS",
  187: "BLUETOOTH_HCI_H4",
  189: "USB_LINUX",
  192: "PPI",
  195: "IEEE802_15_4_WITHFCS",
  201: "BLUETOOTH_HCI_H4_WITH_PHDR",
  220: "USB_LINUX_MMAPPED",
  227: "CAN_SOCKETCAN",
  228: "IPV4",
  229: "IPV6",
  239: "NFLOG",
  240: "NETANALYZER",
  249: "USBPCAP",
  253: "NETLINK",
  274: "ETHERNET_MPACKET",
  276: "LINUX_SLL2",
};
const ETHERNET = 1;

/**
 * Reads a capture.
 *
 * @param chunks The file's bytes, in pieces of any size; each is looked at until the next is asked for.
 * @param options.name What messages call the capture.
 * @returns Frames, which throw {@link IbsrError} `data` for anything that is no Ethernet capture or is damaged, naming
 * the byte; and the summary they fill.
 */
export function readFrames(chunks: AsyncIterable<Uint8Array>, options: { name: string }): Capture {
  const summary: CaptureSummary = { frames: 0, snapped: 0, warnings: [] };
  return { frames: decode(unpack(chunks, options.name, summary), options.name, summary), summary };
}

/**
 * Decodes the record at `at` of the decoder's window and returns its size as far as that is known. It has been read
 * if it lies in the window whole; otherwise the same record is asked for again when as much is there.
 */
type Step = (at: number) => number;

interface Decoder {
  name: string;
  summary: CaptureSummary;
  /** The bytes at hand, and the offset in the capture of the first of them. */
  bytes: Uint8Array;
  view: DataView;
  offset: number;
  step: Step;
  /** Where the block that is being skipped begins. */
  skippedFrom: number | undefined;
  frames: Frame[];
  /** Frames that claim to have been shorter than what was captured of them, and frames without a time. */
  shorter: number;
  untimed: number;
}

async function* decode(chunks: AsyncIterable<Uint8Array>, name: string, summary: CaptureSummary) {
  const nothing = new Uint8Array(0);
  const d: Decoder = {
    name,
    summary,
    bytes: nothing,
    view: new DataView(nothing.buffer),
    offset: 0,
    step: () => 0,
    skippedFrom: undefined,
    frames: [],
    shorter: 0,
    untimed: 0,
  };
  const chooseFormat = d.step = formatStep(d);
  // One window for all of the file: what memory it takes is then not up to when garbage is collected.
  let window = new Uint8Array(1 << 17), held = 0, need = 1, done = 0;
  for await (const chunk of chunks) {
    if (held + chunk.length > window.length) window = join([window.subarray(0, held)], 2 * (held + chunk.length));
    window.set(chunk, held);
    held += chunk.length;
    if (held < need) continue;
    d.bytes = window.subarray(0, held);
    d.view = new DataView(window.buffer, 0, held);
    for (let at = 0, starved = false; !starved;) {
      let failure: unknown;
      try {
        while (!starved && d.frames.length < BATCH) {
          need = d.step(at);
          starved = need > held - at;
          if (!starved) at += need;
        }
      } catch (error) {
        failure = error;
      }
      if (d.frames.length > 0) {
        const batch = d.frames;
        d.frames = [];
        summary.frames += batch.length;
        yield batch;
      }
      if (failure) throw failure;
      done = at;
    }
    d.offset += done;
    window.copyWithin(0, done, held);
    held -= done;
  }
  if (d.step === chooseFormat) throw notCapture(name, held === 0 ? "it is empty" : `it has ${held} bytes`);
  warnAtEnd(d, held);
}

function warnAtEnd(d: Decoder, leftBytes: number): void {
  const { summary, name } = d, many = (n: number) => `${n} ${n === 1 ? "frame" : "frames"}`;
  if (leftBytes > 0 || d.skippedFrom !== undefined) {
    summary.truncatedAtByte = d.skippedFrom ?? d.offset;
    summary.warnings.push(
      `"${name}" ends inside the record at byte ${summary.truncatedAtByte}; ${many(summary.frames)} read before it`,
    );
  }
  if (d.shorter > 0) {
    summary.warnings.push(`"${name}" gives ${many(d.shorter)} a length below what it holds; what it holds was counted`);
  }
  if (d.untimed > 0) {
    summary.warnings.push(`"${name}" gives ${many(d.untimed)} no time; the time of the frame before was used`);
  }
}

/** The chunks one after the other, in new memory of a length. */
function join(chunks: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Takes nothing: sets the step for the format that the first four bytes name. */
function formatStep(d: Decoder): Step {
  return (at) => {
    if (d.bytes.length - at < 4) return 4;
    const magic = d.view.getUint32(at);
    if (magic === 0xa1b2c3d4) d.step = pcapHeader(d, false, 1e6);
    else if (magic === 0xd4c3b2a1) d.step = pcapHeader(d, true, 1e6);
    else if (magic === 0xa1b23c4d) d.step = pcapHeader(d, false, 1e9);
    else if (magic === 0x4d3cb2a1) d.step = pcapHeader(d, true, 1e9);
    else if (magic === SECTION) d.step = pcapngBlocks(d);
    else throw notCapture(d.name, `it begins with ${magic.toString(16).padStart(8, "0")}`);
    return 0;
  };
}

function pcapHeader(d: Decoder, little: boolean, ticksPerSecond: number): Step {
  return (at) => {
    if (d.bytes.length - at < 24) return 24;
    const major = d.view.getUint16(at + 4, little), minor = d.view.getUint16(at + 6, little);
    if (major !== 2 || minor < 3) throw damaged(d, at, `pcap version ${major}.${minor} is not supported`);
    const linkType = d.view.getUint32(at + 20, little) & 0xffff; // above it: length of the frame check sequence
    if (linkType !== ETHERNET) throw notEthernet(d.name, linkType);
    d.step = pcapRecords(d, little, ticksPerSecond);
    return 24;
  };
}

function pcapRecords(d: Decoder, little: boolean, ticksPerSecond: number): Step {
  const ticksPerMs = ticksPerSecond / 1000;
  return (at) => {
    const have = d.bytes.length - at;
    if (have < 16) return 16;
    const captured = d.view.getUint32(at + 8, little);
    if (captured > MAX_FRAME) throw tooLong(d, at, captured);
    if (have < 16 + captured) return 16 + captured;
    const ticks = d.view.getUint32(at, little) * ticksPerSecond + d.view.getUint32(at + 4, little);
    addFrame(d, { timeMs: ticks / ticksPerMs, at: at + 16, captured, length: d.view.getUint32(at + 12, little) });
    return 16 + captured;
  };
}

function addFrame(d: Decoder, record: { timeMs: number; at: number; captured: number; length: number }): void {
  const { timeMs, at, captured, length } = record;
  if (captured < length) d.summary.snapped++;
  if (captured > length) d.shorter++;
  d.frames.push({ timeMs, bytes: d.bytes.subarray(at, at + captured), length: Math.max(captured, length) });
}

/** Block types, and the byte-order magic of a section (draft-ietf-opsawg-pcapng, sections 4 and 11.1). */
const SECTION = 0x0a0d0d0a, INTERFACE = 1, PACKET = 2, SIMPLE_PACKET = 3, ENHANCED_PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;

/** The least a block of that type measures: its fixed fields and its two lengths. */
const LEAST: Record<number, number> = {
  [SECTION]: 28,
  [INTERFACE]: 20,
  [PACKET]: 32,
  [SIMPLE_PACKET]: 16,
  [ENHANCED_PACKET]: 32,
};

/** An interface of the current section. */
interface Interface {
  linkType: number;
  /** 0: unlimited. */
  snapBytes: number;
  ticksPerMs: number;
  offsetMs: number;
}

function pcapngBlocks(d: Decoder): Step {
  let little = false, timeMs = 0, interfaces: Interface[] = [];

  const onInterface = (at: number, id: number): Interface => {
    const of = interfaces[id];
    if (!of) throw damaged(d, at, `a packet of interface ${id}, of ${interfaces.length} declared`);
    if (of.linkType !== ETHERNET) throw notEthernet(d.name, of.linkType, id);
    return of;
  };

  const readBlock = (at: number, type: number, size: number): void => {
    const { view } = d;
    if (type === SECTION) {
      const major = view.getUint16(at + 12, little);
      if (major !== 1) throw damaged(d, at, `pcapng version ${major} is not supported`);
      interfaces = [];
      return;
    }
    if (type === INTERFACE) {
      if (interfaces.length === MAX_INTERFACES) throw damaged(d, at, `more than ${MAX_INTERFACES} interfaces`);
      interfaces.push(readInterface(d, at, { size, little }));
      return;
    }
    if (type === SIMPLE_PACKET) {
      const length = view.getUint32(at + 8, little), { snapBytes } = onInterface(at, 0);
      const captured = Math.min(length, snapBytes || length);
      d.untimed++;
      addBlockFrame(at, { body: 12, end: size - 4, captured, length });
      return;
    }
    const id = type === PACKET ? view.getUint16(at + 8, little) : view.getUint32(at + 8, little);
    const { ticksPerMs, offsetMs } = onInterface(at, id);
    const ticks = view.getUint32(at + 12, little) * 2 ** 32 + view.getUint32(at + 16, little);
    timeMs = ticks / ticksPerMs + offsetMs;
    const captured = view.getUint32(at + 20, little), length = view.getUint32(at + 24, little);
    addBlockFrame(at, { body: 28, end: size - 4, captured, length });
  };

  const addBlockFrame = (
    at: number,
    frame: { body: number; end: number; captured: number; length: number },
  ): void => {
    const { body, end, captured, length } = frame;
    if (captured > MAX_FRAME) throw tooLong(d, at, captured);
    if (body + captured > end) throw damaged(d, at, `a frame of ${captured} bytes in a block that has ${end - body}`);
    addFrame(d, { timeMs, at: at + body, captured, length });
  };

  const nextBlock: Step = (at) => {
    const have = d.bytes.length - at;
    if (have < 12) return 12;
    const type = d.view.getUint32(at, little);
    if (type === SECTION) {
      little = d.view.getUint32(at + 8, true) === BYTE_ORDER;
      if (!little && d.view.getUint32(at + 8) !== BYTE_ORDER) throw damaged(d, at, "a section without a byte order");
    }
    const size = d.view.getUint32(at + 4, little), least = LEAST[type];
    if (size % 4 !== 0 || size < (least ?? 12)) throw damaged(d, at, `a block of ${size} bytes`);
    if (least === undefined) {
      d.skippedFrom = d.offset + at;
      d.step = skipBlock(size);
      return 8;
    }
    if (size > MAX_BLOCK) throw damaged(d, at, `a block of ${size} bytes, of at most ${MAX_BLOCK}`);
    if (have < size) return size;
    checkTrailer(at + size - 4, size, at);
    readBlock(at, type, size);
    return size;
  };

  /** Passes over a block of no interest without holding it, from behind its first length. */
  const skipBlock = (size: number): Step => {
    let left = size - 12;
    return (at) => {
      if (left > 0) {
        const here = Math.min(left, d.bytes.length - at);
        left -= here;
        return here || 1;
      }
      if (d.bytes.length - at < 4) return 4;
      checkTrailer(at, size, d.skippedFrom! - d.offset);
      d.skippedFrom = undefined;
      d.step = nextBlock;
      return 4;
    };
  };

  const checkTrailer = (at: number, size: number, start: number): void => {
    const last = d.view.getUint32(at, little);
    if (last !== size) throw damaged(d, start, `a block of ${size} bytes that ends as one of ${last}`);
  };

  return nextBlock;
}

/** An interface description block (draft-ietf-opsawg-pcapng, section 4.2), its options if_tsresol and if_tsoffset. */
function readInterface(d: Decoder, at: number, block: { size: number; little: boolean }): Interface {
  const { view } = d, { little } = block, end = at + block.size - 4;
  const of: Interface = {
    linkType: view.getUint16(at + 8, little),
    snapBytes: view.getUint32(at + 12, little),
    ticksPerMs: 1000,
    offsetMs: 0,
  };
  for (let option = at + 16; option + 4 <= end;) {
    const code = view.getUint16(option, little), length = view.getUint16(option + 2, little);
    if (code === 0) break;
    const next = option + 4 + Math.ceil(length / 4) * 4;
    if (next > end) throw damaged(d, at, `an option of ${length} bytes that is longer than its block`);
    if (code === 9 && length === 1) {
      const resolution = view.getUint8(option + 4), digits = resolution & 0x7f;
      of.ticksPerMs = resolution & 0x80 ? 2 ** digits / 1000 : 10 ** (digits - 3);
    }
    if (code === 14 && length === 8) of.offsetMs = Number(view.getBigInt64(option + 4, little)) * 1000;
    option = next;
  }
  return of;
}

/** Passes bytes through, or what they decompress to if they begin like gzip. */
async function* unpack(chunks: AsyncIterable<Uint8Array>, name: string, summary: CaptureSummary) {
  const source = chunks[Symbol.asyncIterator]();
  try {
    let head: Uint8Array = new Uint8Array(0);
    while (head.length < 2) {
      const { value, done } = await source.next();
      if (done) break;
      head = join([head, value], head.length + value.length);
    }
    const all = async function* () {
      if (head.length > 0) yield head;
      for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
    }();
    if (head[0] !== 0x1f || head[1] !== 0x8b) yield* all;
    else yield* gunzip(all, name, summary);
  } finally {
    await source.return?.();
  }
}

/** What the gzip holds, also where it is cut. */
async function* gunzip(chunks: AsyncIterable<Uint8Array>, name: string, summary: CaptureSummary) {
  let given = 0;
  try {
    for await (const bytes of decompress(chunks, "gzip")) {
      given += bytes.length;
      yield bytes;
    }
  } catch (error) {
    if (!(error instanceof IbsrError)) throw error;
    if ((error.cause as { code?: unknown } | undefined)?.code !== "Z_BUF_ERROR") {
      throw new IbsrError("data", `Cannot read "${name}": ${error.message} after byte ${given}`, {
        hint: "`gzip -t FILE` checks a file",
        cause: error,
      });
    }
    summary.truncatedAtByte = given;
    summary.warnings.push(`"${name}" ends inside its gzip data; ${given} bytes were decompressed`);
  }
}

function damaged(d: Decoder, at: number, state: string): IbsrError {
  return new IbsrError("data", `Cannot read "${d.name}": ${state} at byte ${d.offset + at}`, {
    hint: "the capture is damaged there; `editcap FILE NEW` saves what Wireshark can still read",
  });
}

function tooLong(d: Decoder, at: number, captured: number): IbsrError {
  return damaged(d, at, `a frame of ${captured} bytes, of at most ${MAX_FRAME},`);
}

function notCapture(name: string, state: string): IbsrError {
  return new IbsrError("data", `Cannot read "${name}": ${state}, and is no pcap or pcapng capture`, {
    hint: "`editcap -F pcap FILE NEW` converts other capture formats",
  });
}

function notEthernet(name: string, linkType: number, id?: number): IbsrError {
  const packets = id === undefined ? "its packets" : `packets of its interface ${id}`;
  const type = `${LINK_TYPES[linkType] ?? "unnamed"} (link type ${linkType})`;
  return new IbsrError("data", `Cannot read "${name}": ${packets} are ${type}, not Ethernet`, {
    hint: "capture on one Ethernet interface: `tcpdump -i eth0 -w FILE`; `-i any` records LINUX_SLL or LINUX_SLL2",
  });
}
