/**
 * Two network namespaces with a veth pair between them, and what tests do in them.
 *
 * Every name has the process id in it; disposing of a lab ends its processes and deletes its namespaces. Nothing
 * outside the namespaces is touched.
 */
import assert from "node:assert/strict";

/** The lab's addresses: the client's end and the server's. */
export const CLIENT = { v4: "10.77.0.1", v6: "fd77::1" }, SERVER = { v4: "10.77.0.2", v6: "fd77::2" };

const ROOT = new URL("../../", import.meta.url).pathname;
let labs = 0;

/** A finished process: its output as text. */
export interface Finished {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end; fails the test if the command fails, unless `anyCode`. */
export async function run(command: string, args: string[], options: { anyCode?: boolean } = {}): Promise<Finished> {
  const output = await new Deno.Command(command, { args, stdin: "null" }).output();
  const decoder = new TextDecoder();
  const done = { code: output.code, stdout: decoder.decode(output.stdout), stderr: decoder.decode(output.stderr) };
  if (!options.anyCode) assert.equal(done.code, 0, `${command} ${args.join(" ")}: ${done.stdout}${done.stderr}`);
  return done;
}

/** A running process of a lab. */
export interface Running {
  readonly process: Deno.ChildProcess;
  /** What it has written to standard error so far. */
  readonly log: () => string;
  /** Waits until standard error (or, for a server, output) contains `text`. */
  waitFor(text: string, timeoutMs?: number): Promise<void>;
  /** Sends a signal, if one is given, and waits for the end. */
  end(signal?: Deno.Signal): Promise<Finished>;
}

/** A pair of namespaces. The server's interface is `server`, the client's `client`. */
export class Lab implements AsyncDisposable {
  readonly client: string;
  readonly server: string;
  readonly #running: Running[] = [];
  static readonly #open = new Set<Lab>();

  private constructor(name: string) {
    this.client = `${name}c`;
    this.server = `${name}s`;
  }

  /** Makes the namespaces, the pair and its addresses. Frames on it are as on a wire: no offloads. */
  static async create(): Promise<Lab> {
    const lab = new Lab(`ibsr${Deno.pid}x${labs++}`);
    Lab.#open.add(lab);
    await run("ip", ["netns", "add", lab.client]);
    await run("ip", ["netns", "add", lab.server]);
    await lab.connect();
    return lab;
  }

  /** Makes the veth pair. */
  async connect(): Promise<void> {
    const ends = [[this.client, "client", CLIENT], [this.server, "server", SERVER]] as const;
    await run("ip", [
      ...["link", "add", "client", "netns", this.client, "type", "veth"],
      ...["peer", "name", "server", "netns", this.server],
    ]);
    for (const [namespace, device, address] of ends) {
      await this.exec(namespace, "ethtool", [
        ...["-K", device, "tso", "off", "gso", "off", "gro", "off", "tx", "off"],
        ...["txvlan", "off", "rxvlan", "off"],
      ], { anyCode: true });
      await run("ip", ["-n", namespace, "address", "add", `${address.v4}/16`, "dev", device]);
      await run("ip", ["-n", namespace, "-6", "address", "add", `${address.v6}/64`, "dev", device, "nodad"]);
      await run("ip", ["-n", namespace, "link", "set", "lo", "up"]);
      await run("ip", ["-n", namespace, "link", "set", device, "up"]);
    }
  }

  /** Runs a command in a namespace to its end. */
  exec(namespace: string, command: string, args: string[], options: { anyCode?: boolean } = {}): Promise<Finished> {
    return run("ip", ["netns", "exec", namespace, command, ...args], options);
  }

  /** Starts a command in a namespace. */
  start(namespace: string, command: string, args: string[]): Running {
    const process = new Deno.Command("ip", {
      args: ["netns", "exec", namespace, command, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let stdout = "", stderr = "";
    const gather = async (stream: ReadableStream<Uint8Array>, add: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) add(decoder.decode(chunk, { stream: true }));
    };
    const gathered = Promise.all([
      gather(process.stdout, (text) => stdout += text),
      gather(process.stderr, (text) => stderr += text),
    ]);
    let ended: Deno.CommandStatus | undefined;
    const status = process.status.then((s) => ended = s);
    const running: Running = {
      process,
      log: () => stdout + stderr,
      async waitFor(text, timeoutMs = 15000) {
        const until = performance.now() + timeoutMs;
        while (!(stdout + stderr).includes(text)) {
          assert.ok(!ended, `${command} ended with ${ended?.code} before it said "${text}": ${stdout}${stderr}`);
          assert.ok(performance.now() < until, `${command} did not say "${text}": ${stdout}${stderr}`);
          await pause(20);
        }
      },
      async end(signal) {
        if (signal && !ended) process.kill(signal);
        const { code } = await status;
        await gathered;
        return { code, stdout, stderr };
      },
    };
    this.#running.push(running);
    return running;
  }

  /** Starts ibsr in the server's namespace. */
  ibsr(args: string[]): Running {
    return this.start(this.server, ...ibsrCommand(args));
  }

  /** Starts `ibsr collect` on the server's interface, and waits until it counts. */
  async collect(spool: string, args: string[]): Promise<Running> {
    const running = this.ibsr(["collect", "-i", "server", "-o", spool, ...args]);
    await running.waitFor("attached to server");
    return running;
  }

  /** Starts a TCP server on the server's addresses and waits until it listens. */
  async serve(ports: number[], replyBytes = 3000): Promise<Running> {
    const script = `${ROOT}tests/kernel/traffic.ts`;
    const running = this.start(this.server, Deno.execPath(), [
      ...["run", "--quiet", "--allow-net", script, "serve", ports.join(","), String(replyBytes)],
    ]);
    await running.waitFor("listening");
    return running;
  }

  /** Starts tcpdump on the server's interface, for so many bytes of each frame. End it with SIGINT. */
  async capture(path: string, filter: string, snapBytes = 200): Promise<Running> {
    // Without immediate mode what came in the last second is lost at the end. Another user than root would be given the
    // file, be it /dev/null.
    const options = `-Z root -i server --immediate-mode -U -s ${snapBytes} -B 262144 -w ${path}`.split(" ");
    const running = this.start(this.server, "tcpdump", [...options, filter]);
    await running.waitFor("listening on");
    return running;
  }

  /** Puts both ends on a VLAN, or only some: from now on what they send is tagged, and what comes is untagged. */
  async joinVlan(ends: readonly ("client" | "server")[] = ["client", "server"]): Promise<void> {
    const script = `${ROOT}tests/kernel/vlan.ts`;
    for (const device of ends) {
      const running = this.start(this[device], Deno.execPath(), ["run", "--quiet", "--allow-all", script, device]);
      await running.waitFor("on VLAN 7");
    }
  }

  /** Opens connections one after another: `count` from each source to each target. */
  connectAll(sources: string[], targets: string[], count: number): Promise<Finished> {
    const script = `${ROOT}tests/kernel/traffic.ts`;
    return this.exec(this.client, Deno.execPath(), [
      ...["run", "--quiet", "--allow-net", script, "connect", sources.join(","), targets.join(","), String(count)],
    ]);
  }

  /**
   * Runs `meanwhile` beside a connection to a port of `serve()` that sends and receives all the time, and fails if that
   * breaks or either end's kernel has to send anything again.
   */
  async keepTalking(port: number, meanwhile: () => Promise<void>): Promise<void> {
    const script = `${ROOT}tests/kernel/traffic.ts`;
    const stream = this.start(this.client, Deno.execPath(), [
      ...["run", "--quiet", "--allow-net", script, "stream", `${SERVER.v4}/${port}`, "600000"],
    ]);
    await stream.waitFor("streaming");
    const before = await this.#countSentAgain();
    await meanwhile();
    const again = await this.#countSentAgain() - before;
    const { code, stdout, stderr } = await stream.end("SIGINT");
    assert.equal(code, 0, stderr);
    const { rounds, longestPauseMs } = JSON.parse(stdout.trim().split("\n").at(-1)!);
    assert.ok(rounds > 50, `${rounds} rounds`);
    // Not the pause: on a busy machine that is the machine's.
    assert.equal(again, 0, `segments were sent again; the longest pause was ${longestPauseMs} ms`);
  }

  /** TCP segments that were sent again, in both namespaces since they are there. */
  async #countSentAgain(): Promise<number> {
    let sum = 0;
    for (const namespace of [this.client, this.server]) {
      const { stdout } = await this.exec(namespace, "cat", ["/proc/net/snmp"]);
      const [names, values] = stdout.split("\n").filter((line) => line.startsWith("Tcp:")).map((line) =>
        line.split(" ")
      );
      sum += Number(values![names!.indexOf("RetransSegs")]);
    }
    return sum;
  }

  /** Disposes of every lab there is: for a program that is told to stop. */
  static async disposeAll(): Promise<void> {
    for (const lab of Lab.#open) await lab[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) {
      try {
        running.process.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await running.end();
    }
    for (const namespace of [this.client, this.server]) await run("ip", ["netns", "del", namespace], { anyCode: true });
    // Not before: disposeAll() waits for those that are being disposed of.
    Lab.#open.delete(this);
  }
}

/** How the program is started in tests: the executable of IBSR_PROGRAM, else from source. */
export function ibsrCommand(args: string[]): [string, string[]] {
  const program = Deno.env.get("IBSR_PROGRAM");
  if (program) return [program, args];
  return [Deno.execPath(), [
    ...["run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`, "--allow-read", "--allow-write", "--allow-env"],
    ...["--allow-sys", "--allow-ffi", "--allow-net", "--allow-run", `${ROOT}main.ts`, ...args],
  ]];
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether an interface of a namespace has an XDP program. */
export async function hasXdp(namespace: string, device: string): Promise<boolean> {
  const { stdout } = await run("ip", ["-n", namespace, "-details", "link", "show", "dev", device]);
  return /\bxdp(generic)?\b/.test(stdout) && /prog\/xdp|prog\/xdpgeneric|xdp.*id \d+/.test(stdout);
}
