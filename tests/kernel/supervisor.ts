/**
 * A notify socket as systemd has one: what arrives on it, and who sent it.
 */
import assert from "node:assert/strict";
import { type Lab, pause, type Running } from "./lab.ts";

/** Prints each datagram with its sender's process id, as one line of JSON. */
const RECEIVER = `
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
name = sys.argv[1]
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    message, credentials, _, _ = s.recvmsg(65536, 256)
    pid, _, _ = struct.unpack("3i", credentials[0][2])
    print(json.dumps([pid, message.decode()]), flush=True)
`;

/** A supervisor in a lab's server namespace. */
export interface Supervisor {
  /** Process id and text of each message so far. */
  messages(): { pid: number; text: string }[];
  /** Waits for a message with `text` after the first `from` ones; returns their number with it. */
  waitFor(text: string, from?: number): Promise<number>;
}

/** Binds a notify socket at `address`: a path, or `@` and an abstract name. */
export async function startSupervisor(lab: Lab, address: string): Promise<Supervisor> {
  const running: Running = lab.start(lab.server, "python3", ["-c", RECEIVER, address]);
  await running.waitFor("bound");
  const messages = () =>
    running.log().split("\n").slice(1, -1).map((line) => JSON.parse(line) as [number, string]).map(([pid, text]) => ({
      pid,
      text,
    }));
  return {
    messages,
    async waitFor(text, from = 0) {
      for (const until = performance.now() + 10_000;; await pause(20)) {
        const found = messages().findIndex((message, i) => i >= from && message.text.includes(text));
        if (found >= 0) return found + 1;
        assert.ok(performance.now() < until, `no "${text}" in ${JSON.stringify(messages())}`);
      }
    },
  };
}
