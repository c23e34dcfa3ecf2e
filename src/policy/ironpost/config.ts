/**
 * `ironpost.toml`: its keys as the engine knows them, what they may be, and the few that decide what happens to packets.
 *
 * The engine ignores unknown keys and judges a section only where it is enabled; both are said here. Its detectors
 * have no keys at all: `[ebpf.detection]` is ours, so that a rehearsal can try other numbers. Pure.
 */
import type { Document } from "../document.ts";
import type { Finding } from "../policy.ts";
import { asBoolean, asInteger, asList, asMembers, asNumber, asText, asWord, checkKeys, type Field } from "../read.ts";
import { isPresent, member, note, openField } from "../read.ts";
import type { PortScanOptions, SynFloodOptions } from "./packets.ts";

/** What of the file decides about packets. */
export interface Config {
  ebpfEnabled: boolean;
  logPipelineEnabled: boolean;
  containerEnabled: boolean;
  sbomEnabled: boolean;
  /** Time until a batch of events is judged by the rules, at most. */
  flushMs: number;
  blocklistEntries: number;
  synFlood: SynFloodOptions;
  portScan: PortScanOptions;
}

/** The engine's own numbers. */
export const DEFAULTS: Config = {
  ebpfEnabled: false,
  logPipelineEnabled: true,
  containerEnabled: false,
  sbomEnabled: false,
  flushMs: 5_000,
  blocklistEntries: 10_000,
  synFlood: { windowMs: 10_000, minPackets: 100, ratio: 0.7 },
  portScan: { windowMs: 60_000, ports: 20 },
};

/** Reads a value; what is wrong is noted. */
type Read = (field: Field) => unknown;

const text: Read = (field) => asText(field);
const boolean: Read = (field) => asBoolean(field);
const integer = (min: number, max = Number.MAX_SAFE_INTEGER): Read => (field) => asInteger(field, { min, max });
const word = (...words: string[]): Read => (field) =>
  asWord(field, Object.fromEntries(words.map((w) => [w, w])), { exact: true });
const texts: Read = (field) => asList(field, 10_000).map((entry) => asText(entry));

const paths: Read = (field) => {
  for (const entry of asList(field, 10_000)) {
    const path = asText(entry);
    if (path === undefined) continue;
    const segments = path.split("/");
    const wrong = !path.startsWith("/")
      ? "is not absolute"
      : segments.includes("..")
      ? 'has ".." in it'
      : /^\/(var\/log|tmp)(\/|$)/.test(path)
      ? undefined
      : "is neither below /var/log nor /tmp";
    if (wrong) note(entry, "error", "invalid_value", `${JSON.stringify(path)} ${wrong}`);
  }
};

const nonEmpty: Read = (field) => {
  if (asText(field) === "") note(field, "error", "invalid_value", "empty");
};

const SOURCES = ["syslog", "syslog_udp", "syslog_tcp", "file"];
const logSources: Read = (field) => {
  for (const entry of asList(field, 100)) {
    const source = asText(entry);
    if (source === undefined || SOURCES.includes(source)) continue;
    note(entry, "warning", "engine_ignores", `${JSON.stringify(source)} is none of ${SOURCES.join(", ")}: skipped`);
  }
};

/** Sections by path, their keys, and how each is read. */
const SECTIONS: Record<string, Record<string, Read>> = {
  general: {
    log_level: word("trace", "debug", "info", "warn", "error"),
    log_format: word("json", "pretty"),
    data_dir: text,
    pid_file: text,
  },
  ebpf: {
    enabled: boolean,
    interface: nonEmpty,
    xdp_mode: word("native", "skb", "hw"),
    ring_buffer_size: integer(1),
    blocklist_max_entries: integer(1),
  },
  "ebpf.detection": {
    syn_ratio: (field) => asNumber(field, { min: 0, max: 1 }),
    syn_window_secs: integer(1, 86_400),
    syn_min_packets: integer(1, 1_000_000_000),
    scan_ports: integer(1, 65_535),
    scan_window_secs: integer(1, 86_400),
  },
  log_pipeline: {
    enabled: boolean,
    sources: logSources,
    syslog_bind: text,
    syslog_tcp_bind: text,
    watch_paths: paths,
    batch_size: integer(1, 10_000),
    flush_interval_secs: integer(1),
  },
  "log_pipeline.storage": { postgres_url: text, redis_url: text, retention_days: integer(1, 3650) },
  container: {
    enabled: boolean,
    docker_socket: text,
    poll_interval_secs: integer(1, 3600),
    policy_path: text,
    auto_isolate: boolean,
  },
  sbom: {
    enabled: boolean,
    scan_dirs: texts,
    vuln_db_update_hours: integer(1, 8760),
    vuln_db_path: text,
    min_severity: word("info", "low", "medium", "high", "critical"),
    output_format: word("cyclonedx", "spdx"),
  },
  metrics: { enabled: boolean, listen_addr: text, port: integer(1, 65_535), endpoint: text },
};

/** Sections that are judged whether enabled or not. */
const ALWAYS = ["general", "ebpf.detection"];
const ENABLED_BY_DEFAULT = ["log_pipeline", "metrics"];

/** Whether a document's top level is this file's. */
export function isConfig({ format, root }: Document): boolean {
  if (format !== "toml" || root?.kind !== "mapping") return false;
  const names = Object.keys(SECTIONS).filter((name) => !name.includes("."));
  return names.some((name) => root.members.get(name)?.value.kind === "mapping");
}

/** Reads the file; what is wrong, ignored or without effect is among the findings. */
export function readConfig(document: Document, findings: Finding[]): Config {
  const root = openField(document, findings);
  const sections = Object.keys(SECTIONS).filter((name) => !name.includes("."));
  checkKeys(root, sections, { code: "engine_ignores" });
  for (const name of Object.keys(SECTIONS)) readSection(root, name);
  const ebpf = member(root, "ebpf"), detection = member(ebpf, "detection"), pipeline = member(root, "log_pipeline");
  // Everything was read and noted above: these readings only fetch.
  const silent: Finding[] = [];
  const quiet = (field: Field): Field => ({ ...field, notes: { path: document.path, findings: silent } });
  const flag = (section: string, otherwise: boolean) =>
    asBoolean(quiet(member(member(root, section), "enabled"))) ?? otherwise;
  const number = (field: Field, otherwise: number) =>
    asNumber(quiet(field), { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? otherwise;
  const config: Config = {
    ebpfEnabled: flag("ebpf", DEFAULTS.ebpfEnabled),
    logPipelineEnabled: flag("log_pipeline", DEFAULTS.logPipelineEnabled),
    containerEnabled: flag("container", DEFAULTS.containerEnabled),
    sbomEnabled: flag("sbom", DEFAULTS.sbomEnabled),
    flushMs: 1000 * number(member(pipeline, "flush_interval_secs"), DEFAULTS.flushMs / 1000),
    blocklistEntries: number(member(ebpf, "blocklist_max_entries"), DEFAULTS.blocklistEntries),
    synFlood: {
      windowMs: 1000 * number(member(detection, "syn_window_secs"), DEFAULTS.synFlood.windowMs / 1000),
      minPackets: number(member(detection, "syn_min_packets"), DEFAULTS.synFlood.minPackets),
      ratio: number(member(detection, "syn_ratio"), DEFAULTS.synFlood.ratio),
    },
    portScan: {
      windowMs: 1000 * number(member(detection, "scan_window_secs"), DEFAULTS.portScan.windowMs / 1000),
      ports: number(member(detection, "scan_ports"), DEFAULTS.portScan.ports),
    },
  };
  noteInert(root, config);
  return config;
}

/** Reads a section's values. A value out of range in a section that is off is a warning: the engine doesn't look. */
function readSection(root: Field, name: string): void {
  const section = name.split(".").reduce(member, root), keys = SECTIONS[name]!;
  if (!isPresent(section)) return;
  const nested = Object.keys(SECTIONS).filter((n) => n.startsWith(`${name}.`)).map((n) => n.slice(name.length + 1));
  // `[[ebpf.rules]]` has a finding of its own.
  checkKeys(section, [...Object.keys(keys), ...nested, ...(name === "ebpf" ? ["rules"] : [])], {
    code: "engine_ignores",
  });
  const top = member(root, name.split(".")[0]!), found: Finding[] = [];
  const enabled = asBoolean({ ...member(top, "enabled"), notes: { ...root.notes, findings: [] } }) ??
    ENABLED_BY_DEFAULT.includes(name.split(".")[0]!);
  const judged = enabled || ALWAYS.includes(name);
  for (const [key, value] of asMembers({ ...section, notes: { ...root.notes, findings: found } })) {
    keys[key]?.(value);
  }
  for (const finding of found) {
    const spared = !judged && finding.severity === "error" && finding.code !== "type";
    root.notes.findings.push(
      spared ? { ...finding, severity: "warning", message: `${finding.message} (the section is off)` } : finding,
    );
  }
}

/** What the file says and the engine does nothing with. */
function noteInert(root: Field, config: Config): void {
  const ebpf = member(root, "ebpf");
  const inert: Record<string, string> = {
    ring_buffer_size: "the engine's buffer is compiled in: 256 KiB",
    blocklist_max_entries: "the engine's blocklist is compiled in: 10,000 entries",
  };
  for (const [key, what] of Object.entries(inert)) {
    const field = member(ebpf, key);
    if (isPresent(field)) note(field, "note", "engine_ignores", `without effect: ${what}`);
  }
  const rules = member(ebpf, "rules");
  if (isPresent(rules)) {
    note(rules, "warning", "engine_ignores", "no rules are read from here: they are [[rules]] in a file of their own");
  }
  if (!config.ebpfEnabled) {
    const at = isPresent(ebpf) ? ebpf : root;
    note(
      { ...at, path: "" },
      "warning",
      "disabled",
      "ebpf.enabled is not true: the engine looks at no packet, blocks nothing and detects nothing",
    );
  }
}
