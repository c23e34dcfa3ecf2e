/**
 * When the default policy blocks: by an engine that sees each packet, and by one that looks at each snapshot as it is
 * written. Times are milliseconds from the recording's start.
 */
import type { NativeOptions } from "../../src/policy/native.ts";
import type { Bucket, Snapshot } from "../../src/snapshot.ts";
import { blockExactly, unitOf } from "../../tests/exact_engine.ts";
import type { Packet } from "../../tests/streams.ts";

/** A block that is to begin some time and to end by itself. */
export interface Block {
  /** Address or prefix. */
  source: string;
  /** Undefined: all ports. */
  port: number | undefined;
  atMs: number;
  durationMs: number;
}

/** Blocks of one source and port that meet are one, whichever rules they are of. */
function join(blocks: readonly Block[]): Block[] {
  const last = new Map<string, Block>(), joined: Block[] = [];
  for (const block of blocks.toSorted((a, b) => a.atMs - b.atMs)) {
    const key = `${block.source} ${block.port}`, before = last.get(key);
    if (before && block.atMs <= before.atMs + before.durationMs) {
      before.durationMs = Math.max(before.durationMs, block.atMs + block.durationMs - before.atMs);
      continue;
    }
    const own = { ...block };
    last.set(key, own);
    joined.push(own);
  }
  return joined;
}

/** As an engine would that sees every packet: a block begins behind the packet that meets a rule. */
export function blockByPacket(options: NativeOptions, packets: readonly Packet[]): Block[] {
  const blockings = blockExactly(options, packets).flat();
  return join(blockings.map(({ unit, port, fromMs, untilMs }) => {
    return { source: unit, port, atMs: fromMs, durationMs: untilMs - fromMs };
  }));
}

/**
 * As an engine would that only has snapshots: where the intervals of a window certainly meet a rule it blocks from the
 * edge on, and until the last edge that the block certainly lasts to. Intervals are no longer than the window.
 *
 * @param startMs When the recording was sent, which is at an edge.
 */
export function blockByInterval(
  options: NativeOptions,
  snapshots: readonly Snapshot[],
  { startMs, intervalMs }: { startMs: number; intervalMs: number },
): Block[] {
  const blocks: Block[] = [], { windowMs } = options, windowSec = windowMs / 1000;
  const heldMs = Math.floor(options.blockDurationMs / intervalMs) * intervalMs;
  const run = Math.floor(windowMs / intervalMs), ratioRun = run + 1;
  for (const [i, { ts_unix_sec, buckets }] of snapshots.entries()) {
    const endMs = Math.round((1000 * ts_unix_sec - startMs) / intervalMs) * intervalMs;
    const within = tally(options, snapshots.slice(Math.max(0, i + 1 - run), i + 1));
    const touched = tally(options, snapshots.slice(Math.max(0, i + 1 - ratioRun), i + 1));
    const block = (source: string, port: number | undefined) =>
      blocks.push({ source, port, atMs: endMs, durationMs: heldMs - intervalMs });
    for (const [key, { unit, port }] of tally(options, [{ buckets }])) {
      const { syn, packets, bytes } = within.get(key)!, { handshakeAck, data } = touched.get(key)!;
      if (syn >= options.synRate * windowSec && Math.min(handshakeAck, data) <= options.successRatio * syn) {
        block(unit, port);
      }
      const reached = [
        syn >= options.volSynRate * windowSec,
        packets >= options.volPacketRate * windowSec,
        bytes >= options.volByteRate * windowSec,
      ];
      if (reached.filter(Boolean).length >= 2) block(unit, port);
    }
    const units = new Set(buckets.map(({ src_ip }) => unitOf(options, src_ip)));
    for (const unit of units) {
      const probed = [...within.values()].filter((sums) => sums.unit === unit && sums.probes > 0).length;
      if (probed >= options.sweepPorts) block(unit, undefined);
    }
  }
  return join(blocks.filter(({ durationMs }) => durationMs > 0));
}

interface Sums {
  unit: string;
  port: number;
  syn: number;
  probes: number;
  handshakeAck: number;
  data: number;
  packets: number;
  bytes: number;
}

function tally(options: NativeOptions, snapshots: readonly { buckets: readonly Bucket[] }[]): Map<string, Sums> {
  const sums = new Map<string, Sums>();
  for (const bucket of snapshots.flatMap(({ buckets }) => buckets)) {
    const unit = unitOf(options, bucket.src_ip), port = bucket.dst_port!, key = `${unit} ${port}`;
    const none = { unit, port, syn: 0, probes: 0, handshakeAck: 0, data: 0, packets: 0, bytes: 0 };
    const sum = sums.get(key) ?? none;
    sum.syn += bucket.syn;
    sum.probes += Math.max(0, bucket.syn - (bucket.syn_ack ?? 0));
    sum.handshakeAck += bucket.handshake_ack;
    sum.data += bucket.data ?? 0;
    sum.packets += bucket.packets;
    sum.bytes += bucket.bytes;
    sums.set(key, sum);
  }
  return sums;
}
