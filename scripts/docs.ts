/**
 * `deno task docs`: writes the parts of the documentation that the code knows better.
 *
 * A part stands in a page between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of the page is a person's.
 * tests/docs_test.ts fails where a page is out of step.
 */
import type { Option } from "../src/cli/options.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { COMMON } from "../src/cli/command.ts";
import { EXIT_CODES } from "../src/cli/manual.ts";
import type { Heartbeat } from "../src/heartbeat.ts";
import { formatMetrics } from "../src/metrics.ts";
import { PROFILES } from "../src/policy/profiles.ts";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { GATES } from "../src/report/gates.ts";
import { FORMATS } from "../src/rules/formats.ts";
import schema from "../src/snapshot.schema.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

/** A name of code in text. */
const code = (text: string) => `\`${text}\``;

/** A Markdown table. */
function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Text in which words that Markdown would take for its own stand as they are. */
function plain(text: string): string {
  return text.replaceAll(/[_*<>]/g, "\\$&").replaceAll(/(?<![\w`-])--[a-z][a-z0-9-]*/g, "`$&`");
}

function describeOption(name: string, option: Option<unknown>): string {
  const { metavar, choices } = option.kind;
  const names = [...(option.short ? [`-${option.short}`] : []), `--${name}`].map(code).join(", ");
  const notes = [
    choices ? `one of ${choices.map(code).join(", ")}` : "",
    option.repeat ? "repeatable" : "",
    option.live ? "live" : "",
    option.defaultHelp
      ? `default: ${option.defaultHelp}`
      : option.default !== undefined
      ? `default: ${code(option.default)}`
      : "",
  ].filter(Boolean);
  return `- ${names}${metavar ? ` ${metavar}` : ""}: ${plain(option.help)}` +
    (notes.length > 0 ? ` (${notes.join("; ")})` : "");
}

/** Every command with its options, but for those that all commands have. */
function describeCommands(): string {
  const common = Object.keys(COMMON);
  const general = Object.entries(COMMON).map(([name, option]) => describeOption(name, option));
  const commands = COMMANDS.flatMap(({ name, summary, operands, options }) => {
    const own = Object.entries(options).filter(([option]) => !common.includes(option));
    const groups = [...Map.groupBy(own, ([, option]) => option.group)];
    return [
      `### ibsr ${name}`,
      `${code(`ibsr ${name} [options]${operands ? ` ${operands}` : ""}`)}: ${plain(summary)}.`,
      ...groups.flatMap(([group, members]) => [
        `_${group}_`,
        members.map(([option, its]) => describeOption(option, its)).join("\n"),
      ]),
    ];
  });
  return ["### All commands", general.join("\n"), ...commands].join("\n\n");
}

/** A heartbeat with everything in it, for the metrics' names. */
const HEARTBEAT: Heartbeat = {
  ...{ timestamp: 0, state: "running", run_id: 0, pid: 1, program: "", uptime_sec: 0, interval_sec: 10 },
  ...{ status_interval_sec: 60, dst_ports: [443], cycle: 1, ips_collected: 0, snapshots_written: 0, packets: 0 },
  ...{ unattributed: 0, evicted: 0, failing: [] },
  interfaces: [{ iface: "eth0", xdp_mode: "native", seq: 0, last_snapshot: 0, covered_sec: 0, unwritten: false }],
};

function describeMetrics(): string {
  const lines = formatMetrics(HEARTBEAT).split("\n"), rows: string[][] = [];
  for (const [i, line] of lines.entries()) {
    const [, name, help] = /^# HELP (\S+) (.*)$/.exec(line) ?? [];
    if (name === undefined || help === undefined) continue;
    const type = lines[i + 1]!.split(" ").at(-1)!, sample = lines[i + 2]!;
    const labels = [...sample.matchAll(/(\w+)="/g)].map(([, label]) => code(label!)).join(", ");
    rows.push([code(sample.replace(/[{ ].*$/, "")), type, labels, plain(help)]);
  }
  return table(["metric", "type", "labels", "what it is"], rows);
}

interface Field {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  description?: string;
  $ref?: string;
  properties?: Record<string, Field>;
  items?: Field;
}

function describeSnapshot(): string {
  const rows: string[][] = [];
  const typeOf = ({ type, const: only, enum: several, $ref, items }: Field): string => {
    if (only !== undefined) return code(JSON.stringify(only));
    if (several) return several.map((one) => code(JSON.stringify(one))).join(", ");
    if ($ref) return $ref.replace("#/$defs/", "");
    return type === "array" ? `list of ${items?.properties ? "objects" : "ports"}` : type ?? "";
  };
  const add = (fields: Record<string, Field>, within: string) => {
    for (const [name, field] of Object.entries(fields)) {
      rows.push([code(within + name), typeOf(field), plain(field.description ?? "")]);
      const inner = field.properties ?? field.items?.properties;
      // What the rows say of each counter is true of the totals.
      if (inner && name !== "totals" && name !== "unattributed") {
        add(inner, `${within}${name}${field.items ? "[]" : ""}.`);
      }
    }
  };
  add(schema.properties as unknown as Record<string, Field>, "");
  return table(["field", "type", "what it says"], rows);
}

function describeExitCodes(): string {
  return table(["code", "meaning"], EXIT_CODES.map(([code, meaning]) => [String(code), meaning]));
}

function describeFormats(): string {
  const columns = { v6: "IPv6", cidr: "CIDR", ports: "ports", tcpOnly: "TCP only", expiry: "expiry", shadow: "shadow" };
  const rows = FORMATS.map(({ name, title, can }) => [
    code(name),
    plain(title),
    ...Object.keys(columns).map((key) => can[key as keyof typeof columns] ? "yes" : "–"),
  ]);
  return table(["format", "for", ...Object.values(columns)], rows);
}

function describeGates(): string {
  const limits: Record<string, string> = {
    observation: `≥ ${DEFAULT_LIMITS.minDays} days`,
    coverage: `≥ ${DEFAULT_LIMITS.minCoverage}`,
    loss: `≤ ${DEFAULT_LIMITS.maxLoss}`,
    resolution: `≤ ${DEFAULT_LIMITS.maxBlur}`,
    observable: "0",
    fp_bound: `≤ ${DEFAULT_LIMITS.fpLimit}`,
    halves: `≤ ${DEFAULT_LIMITS.fpLimit}`,
    mixed: `≤ ${DEFAULT_LIMITS.maxMixed}`,
    effect: `≥ ${DEFAULT_LIMITS.minEffect}, or a likely-abusive source certainly blocked`,
    spoofing: `≤ ${DEFAULT_LIMITS.maxSpoofed}`,
    lockout: "0",
  };
  const rows = Object.entries(GATES).map(([id, gate]) => [
    code(id),
    gate.title,
    limits[id]!,
    "option" in gate ? code(gate.option) : "–",
  ]);
  return table(["gate", "its number", "passes if", "option"], rows);
}

/** Parts by name. */
const PARTS: Record<string, () => string> = {
  options: describeCommands,
  metrics: describeMetrics,
  snapshot: describeSnapshot,
  "exit codes": describeExitCodes,
  "rule formats": describeFormats,
  gates: describeGates,
  profiles: () =>
    table(
      ["engine", "readings, the default first"],
      Object.entries(PROFILES).map(([name, profiles]) => [name, profiles.map(code).join(", ")]),
    ),
};

/** A page with its generated parts as they should be, laid out by `deno fmt`. */
export async function renderPage(text: string): Promise<string> {
  const whole = text.replaceAll(/(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)/gs, (_, begin, name, end) => {
    const part = PARTS[name];
    if (!part) throw new Error(`there is no part "${name}": ${Object.keys(PARTS).join(", ")}`);
    return `${begin}\n${part()}\n\n${end}`;
  });
  const fmt = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "--config", new URL("deno.json", ROOT).pathname, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = fmt.stdin.getWriter();
  await writer.write(new TextEncoder().encode(whole));
  await writer.close();
  const { code: exit, stdout } = await fmt.output();
  if (exit !== 0) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}

/** The pages, as paths below the project's folder. */
export function listPages(): string[] {
  const docs = [...Deno.readDirSync(new URL("docs", ROOT))].map(({ name }) => `docs/${name}`);
  return ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...docs.filter((path) => path.endsWith(".md")).sort()];
}

if (import.meta.main) {
  for (const path of listPages()) {
    const url = new URL(path, ROOT), text = await Deno.readTextFile(url);
    if (!text.includes("<!-- generated:")) continue;
    const page = await renderPage(text);
    if (page === text) continue;
    await Deno.writeTextFile(url, page);
    console.log(`wrote ${path}`);
  }
}
