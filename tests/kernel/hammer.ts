/**
 * A worker that runs a loaded program on frames, pinned to one CPU, as fast as it can.
 *
 * It gets `{ fd, cpu, frame, sources, calls, repeat }`: `calls` runs of `repeat` each, the IPv4 source going round
 * `sources` addresses. It answers with the number of packets.
 */
import { BPF_TEST_RUN_OPTS } from "../../src/layout.ts";

/** What a worker is asked to do. */
export interface Work {
  fd: number;
  cpu: number;
  /** An Ethernet frame with IPv4 and TCP; the last three bytes of the source address are overwritten. */
  frame: Uint8Array;
  sources: number;
  calls: number;
  repeat: number;
}

const libbpf = Deno.dlopen("libbpf.so.1", {
  bpf_prog_test_run_opts: { parameters: ["i32", "buffer"], result: "i32" },
}).symbols;
const libc = Deno.dlopen("libc.so.6", {
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
}).symbols;

const scope = self as unknown as { onmessage: (event: MessageEvent<Work>) => void; postMessage(value: number): void };
scope.onmessage = ({ data: { fd, cpu, frame, sources, calls, repeat } }) => {
  if (libc.sched_setaffinity(0, 8n, new BigUint64Array([1n << BigInt(cpu)])) !== 0) {
    throw new Error("sched_setaffinity");
  }
  // With buffers of their own, whose address the collector of garbage leaves alone.
  const input = new Uint8Array(new ArrayBuffer(frame.length)), opts = new Uint8Array(new ArrayBuffer(72));
  input.set(frame);
  const view = new DataView(opts.buffer);
  view.setBigUint64(BPF_TEST_RUN_OPTS.sz, 72n, true);
  view.setBigUint64(BPF_TEST_RUN_OPTS.data_in, Deno.UnsafePointer.value(Deno.UnsafePointer.of(input)), true);
  view.setUint32(BPF_TEST_RUN_OPTS.data_size_in, input.length, true);
  view.setUint32(BPF_TEST_RUN_OPTS.repeat, repeat, true);
  for (let i = 0; i < calls; i++) {
    const source = i % sources;
    input[27] = source >> 16;
    input[28] = source >> 8;
    input[29] = source;
    view.setUint32(BPF_TEST_RUN_OPTS.data_size_out, 0, true);
    const result = libbpf.bpf_prog_test_run_opts(fd, opts);
    if (result !== 0) throw new Error(`bpf_prog_test_run_opts: ${result}`);
  }
  scope.postMessage(calls * repeat);
};
