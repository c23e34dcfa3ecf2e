/**
 * The compiled kernel programs, as bytes.
 *
 * From source they are the files that `deno task bpf` makes; in the executable they are part of the bundle. They
 * are loaded when asked for, so that everything offline works without them.
 */
import { IbsrError } from "./errors.ts";

/** `frags` handles multi-buffer frames (Linux 5.18); `plain` is for everything older. */
export type ObjectKind = "frags" | "plain";

/** A compiled object. */
export interface CompiledObject {
  kind: ObjectKind;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * One compiled object's bytes.
 *
 * @throws {IbsrError} `kernel`, if it was not compiled.
 */
async function readObject(kind: ObjectKind): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const module = kind === "frags"
      ? await import("../bpf/ibsr_frags.o", { with: { type: "bytes" } })
      : await import("../bpf/ibsr.o", { with: { type: "bytes" } });
    return new Uint8Array(module.default);
  } catch (cause) {
    throw new IbsrError("kernel", `Cannot read the kernel program (${kind}): it is not compiled`, {
      hint: "`deno task bpf` compiles it; it needs clang and libbpf-dev",
      cause,
    });
  }
}

/** Both objects, in the order to try them. */
export async function readObjects(): Promise<CompiledObject[]> {
  return [
    { kind: "frags", bytes: await readObject("frags") },
    { kind: "plain", bytes: await readObject("plain") },
  ];
}
