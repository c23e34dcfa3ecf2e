/**
 * Sends the frames of a capture file out of an interface at the times it has them, the first at a given moment:
 *
 *     send.ts CAPTURE INTERFACE START_MS
 *
 * Prints how many were sent and how late the latest was. Two runs with the same file put the same traffic on the
 * wire, each frame within about a millisecond of its time.
 */
import { readFrames } from "../../src/pcap.ts";

const [path, iface, start] = Deno.args as [string, string, string];

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" }, // int (int, int, int)
  if_nametoindex: { parameters: ["buffer"], result: "u32" }, // unsigned (const char *)
  // ssize_t (int, const void *, size_t, int, const struct sockaddr *, socklen_t)
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  sched_setscheduler: { parameters: ["i32", "i32", "buffer"], result: "i32" }, // int (pid_t, int, const struct sched_param *)
  usleep: { parameters: ["u32"], result: "i32" }, // int (useconds_t)
}).symbols;

const AF_PACKET = 17, SOCK_RAW = 3, ETH_P_ALL = 0x0300; // in network order
const socket = libc.socket(AF_PACKET, SOCK_RAW, 0);
if (socket < 0) throw new Error("Cannot open a raw socket");
const index = libc.if_nametoindex(new TextEncoder().encode(`${iface}\0`));
// struct sockaddr_ll: family, protocol, index; the rest is not looked at.
const address = new Uint8Array(new ArrayBuffer(20)), view = new DataView(address.buffer);
view.setUint16(0, AF_PACKET, true);
view.setUint16(2, ETH_P_ALL, true);
view.setInt32(4, index, true);

const frames: { timeMs: number; bytes: Uint8Array<ArrayBuffer> }[] = [];
using file = await Deno.open(path);
for await (const batch of readFrames(file.readable, { name: path }).frames) {
  for (const { timeMs, bytes } of batch) frames.push({ timeMs, bytes: new Uint8Array(bytes) });
}

// Frames keep their times beside whatever else runs here. Sleeping to the end, this takes little of a processor.
const SCHED_RR = 2;
libc.sched_setscheduler(0, SCHED_RR, new Int32Array([1]));

const origin = Date.now() - performance.now(), first = frames[0]?.timeMs ?? 0;
let latest = 0;
for (const { timeMs, bytes } of frames) {
  const due = Number(start) + timeMs - first;
  for (;;) {
    const wait = due - (origin + performance.now());
    if (wait <= 0) break;
    if (wait > 0.1) libc.usleep(Math.min(50_000, Math.floor((wait - 0.05) * 1000)));
  }
  const sent = libc.sendto(socket, bytes, BigInt(bytes.length), 0, address, 20);
  if (Number(sent) !== bytes.length) throw new Error(`A frame of ${bytes.length} bytes was not sent: ${sent}`);
  latest = Math.max(latest, origin + performance.now() - due);
}
console.log(JSON.stringify({ frames: frames.length, latestMs: latest }));
