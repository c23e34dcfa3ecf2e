/**
 * What `ibsr policy check` takes; how policy files are read is also for `ibsr simulate`.
 */
import { type EngineName, PROFILES } from "../../policy/profiles.ts";
import { COMMON, defineCommand, JSON_OUTPUT } from "../command.ts";
import { choiceKind, integerKind, type Kind, option, textKind } from "../options.ts";

const ENGINES = Object.keys(PROFILES) as EngineName[];

/** `ID=FILE`. */
const feedKind: Kind<{ id: string; path: string }> = {
  metavar: "ID=FILE",
  json: ["string"],
  parse: (text) => {
    const at = text.indexOf("=");
    return at > 0 && at < text.length - 1
      ? { value: { id: text.slice(0, at), path: text.slice(at + 1) } }
      : { expected: "the list's id, =, and a file" };
  },
};

/** How policy files are taken. */
export const POLICY_FILE_OPTIONS = {
  engine: option(choiceKind("ENGINE", ENGINES), {
    group: "Policy",
    help: "Engine whose files they are.",
    defaultHelp: "what the files look like",
  }),
  profile: option(textKind("PROFILE"), {
    group: "Policy",
    help: `Reading of the engine: ${ENGINES.map((name) => `${name}: ${PROFILES[name].join(", ")}`).join("; ")}.`,
    defaultHelp: "the engine's first",
  }),
  countries: option(textKind("FILE"), {
    group: "Policy",
    help: "Countries of networks, for rules that ask: lines of PREFIX,COUNTRY.",
  }),
  feed: option(feedKind, {
    group: "Policy",
    repeat: true,
    help: "What a list holds that the policy names by URL.",
  }),
  "host-address": option(textKind("ADDRESS"), {
    group: "Policy",
    repeat: true,
    help: "Address of the protected host, for rules that ask for the destination.",
  }),
  cpus: option(integerKind("N", 1, 4096), {
    group: "Policy",
    default: "1",
    help: "CPUs that receive packets: some engines count on each apart.",
  }),
};

export const POLICY_CHECK_OPTIONS = {
  ...POLICY_FILE_OPTIONS,
  ...JSON_OUTPUT,
  ...COMMON,
};

export const policyCheckCommand = defineCommand({
  name: "policy check",
  summary: "check another engine's policy, and what of it can be seen",
  operands: "FILE…",
  description:
    "Reads files that belong together (a folder stands for its YAML and TOML files) as their engine would: errors, what " +
    "the engine ignores or does otherwise than the file says, and for each rule whether counters show its work exactly, " +
    "within bounds, or not at all. Exit code: 0, or 65 if a file has an error.",
  examples: [
    ["ibsr policy check ebpfsentinel.yaml", "One file."],
    ["ibsr policy check ironpost.toml rules.toml rules.d --profile as-shipped", "Files and a folder, another reading."],
    ["ibsr policy check --json p.yaml | jq '.rules[] | select(.mode == \"enforce\")'", "For a program."],
  ],
  permissions: ["read", "env"], // the YAML parser reads LOG_TOKENS
  options: POLICY_CHECK_OPTIONS,
  load: async () => (await import("../policy.ts")).runPolicyCheck,
});
