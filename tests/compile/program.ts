/**
 * The executable under test (IBSR_PROGRAM), copies of it in folders of their own, and how it is started.
 */
import { Elf, PT } from "../../scripts/compile/elf.ts";

/** Its path. */
export const PROGRAM = Deno.env.get("IBSR_PROGRAM") ?? "";

/** What a start came to. */
export interface Outcome {
  code: number;
  signal: Deno.Signal | null;
  stdout: string;
  stderr: string;
}

/** How to start. */
export interface Start {
  program?: string;
  /** A command that starts the program, as `setpriv` does. */
  by?: string[];
  /** All of the environment. */
  env?: Record<string, string>;
  cwd?: string;
}

/** Runs the program to its end, with no environment but what is given. */
export async function start(args: string[], options: Start = {}): Promise<Outcome> {
  const line = [...(options.by ?? []), options.program ?? PROGRAM, ...args];
  const output = await new Deno.Command(line[0]!, {
    args: line.slice(1),
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...options.env },
    cwd: options.cwd ?? "/",
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    code: output.code,
    signal: output.signal,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** A folder that is removed at the end; others may enter it. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(options: { dir?: string } = {}): Promise<Folder> {
    const path = await Deno.makeTempDir({ ...options, prefix: "ibsr-test-" });
    await Deno.chmod(path, 0o755);
    return new Folder(path);
  }

  /** A copy of the program. */
  async copyProgram(name = "ibsr"): Promise<string> {
    await Deno.copyFile(PROGRAM, `${this.path}/${name}`);
    return `${this.path}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Where in an embedded executable the part begins that is not Deno's, and how long the file is. */
export async function findOwnPart(path: string): Promise<{ offset: number; size: number }> {
  const bytes = await Deno.readFile(path);
  const loads = new Elf(bytes).segments().filter((s) => s.type === PT.LOAD);
  return { offset: loads.at(-1)!.offset, size: bytes.length };
}
