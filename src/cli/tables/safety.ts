/**
 * What `ibsr safety` takes.
 */
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";

export const SAFETY_OPTIONS = { ...JSON_OUTPUT, ...COMMON };

export const safetyCommand = defineCommand({
  name: "safety",
  summary: "show that the program can't interfere with traffic",
  description:
    "Follows every path through the compiled program: what it returns, what it calls, where it writes. With the " +
    "rights to load it, adds what the kernel's verifier says. Exit code 0 only if every claim holds. `ibsr collect` " +
    "makes the same check before it attaches.",
  operands: "[OBJECT…]",
  examples: [
    ["ibsr safety", "The programs in this executable."],
    ["ibsr safety some.bpf.o", "Any other compiled XDP program."],
  ],
  permissions: ["read", "ffi"],
  options: SAFETY_OPTIONS,
  load: async () => (await import("../safety.ts")).runSafety,
});
