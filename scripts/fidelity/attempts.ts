/**
 * Real clients: opens TCP connections from one address at a steady rate, whatever becomes of the ones before.
 *
 *     attempts.ts SOURCE TARGET PORT RATE COUNT GIVE_UP_MS START_MS
 *
 * A connection that isn't there after GIVE_UP_MS is given up; until then the kernel sends its SYN again. Prints how
 * many came about and how many didn't.
 */
import { connect } from "node:net";

const [source, target, port, rate, count, giveUpMs, startMs] = Deno.args as [
  string,
  string,
  ...[string, string, string, string, string],
];

function attempt(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: target, port: Number(port), localAddress: source });
    let connected = false;
    const timer = setTimeout(() => socket.destroy(), Number(giveUpMs));
    socket
      .on("connect", () => {
        connected = true;
        clearTimeout(timer);
        socket.write("hello");
        setTimeout(() => socket.destroy(), Number(giveUpMs));
      })
      .on("data", () => {})
      .on("error", () => {})
      .on("close", () => resolve(connected));
  });
}

const attempts: Promise<boolean>[] = [];
for (let n = 0; n < Number(count); n++) {
  const due = Number(startMs) + (n + 0.5) * 1000 / Number(rate);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - Date.now())));
  attempts.push(attempt());
}
const results = await Promise.all(attempts);
const connected = results.filter(Boolean).length;
console.log(JSON.stringify({ connected, failed: results.length - connected }));
Deno.exit(0);
