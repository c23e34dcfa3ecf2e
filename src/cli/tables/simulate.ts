/**
 * What `ibsr simulate` takes.
 */
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";
import { option, textKind } from "../options.ts";
import { POLICY_FILE_OPTIONS } from "./policy.ts";
import { GATE_OPTIONS, REPORT_OPTIONS, S3_SOURCE_OPTIONS } from "./report.ts";

/** Stands for the default policy of `ibsr report`. */
export const NATIVE = "native";

const { in: IN, out: OUT, allowlist, "self-address": selfAddress } = REPORT_OPTIONS;

export const SIMULATE_OPTIONS = {
  policy: option(textKind("FILE"), {
    group: "Policy",
    repeat: true,
    help: `Policy to try: FILE[,FILE…][#PROFILE], or ${NATIVE}. Required; may be given several times.`,
  }),
  ...POLICY_FILE_OPTIONS,
  ...{ in: IN, out: OUT, allowlist, "self-address": selfAddress },
  json: {
    ...JSON_OUTPUT.json,
    group: "Report",
    help: "Print comparison.json in place of the text; of one policy, its summary.json.",
  },
  ...S3_SOURCE_OPTIONS,
  ...GATE_OPTIONS,
  ...COMMON,
};

export const simulateCommand = defineCommand({
  name: "simulate",
  summary: "try other engines' policies on recorded traffic",
  operands: "[PATH…]",
  description:
    "Simulates each policy on the same snapshots and writes a report for each: what it would have dropped, as bounds " +
    "that hold for every order of the packets, and whom it would have harmed. With several policies it also writes a " +
    "comparison; two versions of one file compare as a change. A policy is a file, a folder, or several joined by " +
    `commas; #PROFILE behind it chooses a reading of its engine, and "${NATIVE}" is the policy of ibsr report.`,
  examples: [
    ["ibsr simulate --policy ebpfsentinel.yaml --in spool --out rehearsal", "One policy, tried before it may act."],
    ["ibsr simulate --policy old.yaml --policy new.yaml -i spool -o change", "What a change would change."],
    ["ibsr simulate --policy ironpost.toml,rules --policy native -i spool -o out", "Two files of one, and ours."],
    ["ibsr simulate --policy p.yaml#seed --policy p.yaml#code -i spool -o out", "Two readings of one file."],
  ],
  permissions: ["read", "write", "env", "net", "run"], // env: the YAML parser reads LOG_TOKENS
  options: SIMULATE_OPTIONS,
  load: async () => (await import("../simulate.ts")).runSimulate,
});
