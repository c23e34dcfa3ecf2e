/**
 * Real TCP for the tests, in whatever namespace it is started:
 *
 *   serve PORTS BYTES             answers each connection's first bytes with BYTES bytes, then closes
 *   connect SOURCES TARGETS N     N connections from each source address to each ADDRESS/PORT, one after another
 *   try SOURCES TARGETS MS        one connection from each source to each target at once; prints those that open in MS
 *   send TARGET BYTES             one connection that sends BYTES bytes at once
 *   stream TARGET MS              one connection that sends and receives for MS, or until SIGINT; prints its longest
 *                                 pause in ms
 */
import { connect, type Socket } from "node:net";

const [mode, ...args] = Deno.args;

function open(target: string, source?: string): Promise<Socket> {
  const [host, port] = target.split("/") as [string, string];
  return new Promise((resolve, reject) => {
    const options = { host, port: Number(port), ...(source ? { localAddress: source } : {}) };
    const socket = connect(options, () => resolve(socket)).once("error", reject);
  });
}

async function serve(ports: number[], bytes: number): Promise<void> {
  const reply = new Uint8Array(bytes).fill(120);
  const answer = async (connection: Deno.Conn) => {
    const buffer = new Uint8Array(65536);
    try {
      for (let n = await connection.read(buffer); n; n = await connection.read(buffer)) {
        if (buffer[0] === 0x45) { // "E": echo until the client closes
          for (let at = 0; at < n;) at += await connection.write(buffer.subarray(at, n));
          continue;
        }
        for (let at = 0; at < reply.length;) at += await connection.write(reply.subarray(at));
        break;
      }
      connection.close();
    } catch {
      // The client has gone.
    }
  };
  for (const port of ports) {
    const listener = Deno.listen({ hostname: "::", port }); // IPv4 too
    (async () => {
      for await (const connection of listener) answer(connection);
    })();
  }
  console.log("listening");
  await new Promise(() => {});
}

async function connectAll(sources: string[], targets: string[], count: number): Promise<void> {
  let done = 0;
  for (let i = 0; i < count; i++) {
    for (const source of sources) {
      for (const target of targets.filter((t) => t.includes(":") === source.includes(":"))) {
        const socket = await open(target, source);
        await new Promise<void>((resolve, reject) => {
          socket.on("data", () => {}).once("close", () => resolve()).once("error", reject);
          socket.write("hello");
        });
        done++;
      }
    }
  }
  console.log(`${done} connections`);
}

async function tryAll(sources: string[], targets: string[], ms: number): Promise<void> {
  const pairs = sources.flatMap((source) =>
    targets.filter((t) => t.includes(":") === source.includes(":")).map((target) => ({ source, target }))
  );
  const opened = await Promise.all(pairs.map(({ source, target }) => {
    const [host, port] = target.split("/") as [string, string];
    return new Promise<string[]>((resolve) => {
      const socket = connect({ host, port: Number(port), localAddress: source });
      const timer = setTimeout(() => (socket.destroy(), resolve([])), ms);
      const end = (result: string[]) => (clearTimeout(timer), socket.destroy(), resolve(result));
      socket.once("connect", () => end([`${source} ${port}`])).once("error", () => end([]));
    });
  }));
  console.log(JSON.stringify(opened.flat()));
}

async function send(target: string, bytes: number): Promise<void> {
  const socket = await open(target);
  await new Promise<void>((resolve, reject) => {
    socket.on("data", () => {}).once("close", () => resolve()).once("error", reject);
    socket.write(new Uint8Array(bytes));
  });
}

async function stream(target: string, ms: number): Promise<void> {
  const socket = await open(target);
  socket.setNoDelay(true);
  let end = performance.now() + ms;
  Deno.addSignalListener("SIGINT", () => end = 0);
  let last = performance.now(), longest = 0, rounds = 0;
  socket.on("data", () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    rounds++;
    if (now < end) setTimeout(() => socket.write("E".repeat(500)), 2);
    else socket.end();
  });
  socket.write("E".repeat(500));
  console.log("streaming");
  await new Promise((resolve) => socket.once("close", resolve));
  console.log(JSON.stringify({ rounds, longestPauseMs: longest }));
}

if (mode === "serve") await serve(args[0]!.split(",").map(Number), Number(args[1]));
else if (mode === "connect") await connectAll(args[0]!.split(","), args[1]!.split(","), Number(args[2]));
else if (mode === "try") await tryAll(args[0]!.split(","), args[1]!.split(","), Number(args[2]));
else if (mode === "send") await send(args[0]!, Number(args[1]));
else if (mode === "stream") await stream(args[0]!, Number(args[1]));
Deno.exit(0);
