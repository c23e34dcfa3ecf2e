/**
 * Ironpost as an engine that can be rehearsed: `ironpost.toml`, a file of filter rules, detection rules in YAML.
 *
 * What blocks is the list of filter rules and nothing else; the detectors and the detection rules alert. The
 * documented engine is simulated, unless the profile `as-shipped` is asked for: the daemon as released never loads
 * the list nor hears its detectors, so that it does nothing at all; where the two differ is among the findings
 * (README and sources of Ironpost, February 2026). Pure.
 */
import { IbsrError } from "../../errors.ts";
import { type Document, readDocument } from "../document.ts";
import type { Engine, Finding, Place, Policy, PolicyFile, Rule } from "../policy.ts";
import { PROFILES as PROFILES_OF } from "../profiles.ts";
import { type FilterRule, isBlocklist, readBlocklist } from "./blocklist.ts";
import { joinConditions } from "./conditions.ts";
import { type Config, DEFAULTS, isConfig, readConfig } from "./config.ts";
import type { Detection, LoadTimes, Program } from "./program.ts";
import { type DetectionRule, isDetectionRule, readDetectionRule } from "./rules.ts";
import { simulate } from "./simulate.ts";

const PROFILES = PROFILES_OF.ironpost;

/** The engine. */
export const ironpost: Engine = {
  name: "ironpost",
  profiles: PROFILES,
  detect: (document) =>
    isConfig(document) || isBlocklist(document) || isDetectionRule(document) || isContainerPolicy(document),
  load: (files, { profile }) => loadIronpost(files, profile === undefined ? {} : { profile }),
};

/** How the files are taken. */
export interface IronpostOptions {
  profile?: string;
  /** When the blocklist was loaded and unloaded; all the time if not said. */
  load?: Partial<LoadTimes>;
}

/** What was read of the files. */
interface Parts {
  config: Config | undefined;
  configPlace: Place | undefined;
  filters: FilterRule[];
  detections: DetectionRule[];
  /** Rules that can't be observed: what is listed of them. */
  others: Rule[];
}

/**
 * A policy of files that belong together; see `Engine.load`.
 *
 * @throws {IbsrError} `usage`, if there is no such profile.
 */
export function loadIronpost(files: readonly PolicyFile[], options: IronpostOptions = {}): Policy {
  const profile = options.profile ?? PROFILES[0], findings: Finding[] = [];
  if (!PROFILES.some((p) => p === profile)) {
    throw new IbsrError("usage", `Cannot use profile "${profile}": Ironpost has ${PROFILES.join(", ")}`);
  }
  const parts = readParts(files, findings), shipped = profile === "as-shipped";
  const program = buildProgram(parts, { findings, shipped, load: options.load ?? {} });
  noteDifferences(parts, shipped, findings);
  const windows = [program.synFlood?.windowMs, program.portScan?.windowMs];
  windows.push(...program.detections.map(({ threshold }) => threshold?.windowMs));
  const known = windows.filter((ms) => ms !== undefined), broken = findings.find((f) => f.severity === "error");
  return {
    engine: "ironpost",
    profile,
    rules: program.rules,
    findings,
    ...(parts.filters.length > 0 && options.profile === undefined ? { doubt: WHICH_DAEMON } : {}),
    resolutionMs: Math.min(86_400_000, ...known) / 5,
    windowMs: Math.max(0, ...known),
    simulate(stream) {
      if (broken) throw new IbsrError("data", `Cannot simulate: the policy has an error: ${broken.message}`);
      return simulate(program, stream);
    },
  };
}

// -------------------------------------------------------------------------------------------------- reading

/** `[[policy]]`: what the container guard does with alerts. */
function isContainerPolicy({ format, root }: Document): boolean {
  if (format !== "toml" || root?.kind !== "mapping") return false;
  if (root.members.get("policy")?.value.kind === "list") return true;
  return root.members.has("id") && root.members.has("severity_threshold");
}

function readParts(files: readonly PolicyFile[], findings: Finding[]): Parts {
  const parts: Parts = { config: undefined, configPlace: undefined, filters: [], detections: [], others: [] };
  const ids = new Map<string, string>();
  let blocklistPath: string | undefined;
  for (const file of files) {
    const document = readDocument(file), place = { path: file.path, line: 1, column: 1 };
    findings.push(...document.findings);
    if (!document.root) continue;
    const refuse = (message: string) => findings.push({ severity: "error", code: "file", message, place });
    if (isConfig(document)) {
      if (parts.configPlace) {
        refuse(`a second ironpost.toml: the first is ${parts.configPlace.path}`);
        continue;
      }
      parts.config = readConfig(document, findings);
      parts.configPlace = place;
    } else if (isBlocklist(document)) {
      if (blocklistPath !== undefined) refuse(`a second file of [[rules]]: the engine reads one, ${blocklistPath}`);
      blocklistPath = file.path;
      parts.filters.push(...readBlocklist(document, findings));
    } else if (isDetectionRule(document)) {
      const rule = readDetectionRule(document, findings);
      if (!rule) continue;
      const first = ids.get(rule.id);
      if (first !== undefined) {
        const message = `rule ${rule.id}: skipped: ${first} has a rule of this id already`;
        findings.push({ severity: "warning", code: "engine_ignores", message, place: rule.place, rule: rule.id });
        continue;
      }
      ids.set(rule.id, file.path);
      parts.detections.push(rule);
    } else if (isContainerPolicy(document)) {
      parts.others.push(unobservable("container_policy", file.path, "it isolates containers, and drops no packet"));
    } else {
      refuse("no file of Ironpost: neither ironpost.toml, nor [[rules]], nor a detection rule (id, detection)");
    }
  }
  return parts;
}

function unobservable(kind: string, id: string, reason: string, mode: Rule["mode"] = "alert"): Rule {
  return { id, kind, title: id, coverage: "not observable", reason, mode };
}

// -------------------------------------------------------------------------------------------------- building

interface Building {
  findings: Finding[];
  shipped: boolean;
  load: Partial<LoadTimes>;
}

/** The rules of all parts, and what is simulated of them. */
function buildProgram(parts: Parts, { findings, shipped, load }: Building): Program {
  const rules: Rule[] = [], ids = new Set<string>();
  const config = parts.config ?? { ...DEFAULTS, ebpfEnabled: true };
  const watching = config.ebpfEnabled && !shipped;
  const add = (rule: Rule): number => {
    // The same id may be in both kinds of rules; a report names rules by id alone.
    const id = ids.has(rule.id) ? `${rule.kind}:${rule.id}` : rule.id;
    ids.add(id);
    return rules.push({ ...rule, id }) - 1;
  };

  const blocklist = new Map<number, { rule: number; action: FilterRule["action"] }>();
  for (const filter of parts.filters) {
    const reason = filter.reason ?? offReason(config.ebpfEnabled, shipped, "the daemon never loads the list");
    const works = watching && filter.address !== undefined;
    const index = add({
      id: filter.id,
      kind: filter.action,
      title: filter.description || filter.id,
      coverage: "exact",
      ...(reason ? { reason } : {}),
      mode: works ? filter.action === "block" ? "enforce" : "alert" : "off",
    });
    if (works) blocklist.set(new DataView(filter.address!.buffer).getUint32(0), { rule: index, action: filter.action });
  }
  if (blocklist.size > config.blocklistEntries) {
    findings.push({
      severity: "warning",
      code: "capacity",
      message: `${blocklist.size} addresses are listed, and ebpf.blocklist_max_entries is ${config.blocklistEntries}`,
    });
  }

  let synFlood: Program["synFlood"], portScan: Program["portScan"];
  if (parts.config) {
    const off = offReason(config.ebpfEnabled, shipped, "the daemon doesn't connect the detectors to any alert");
    const mode = watching ? "alert" : "off";
    const syn = add(describeSynFlood(config, mode, off)), scan = add(describePortScan(config, mode, off));
    if (watching) [synFlood, portScan] = [{ ...config.synFlood, rule: syn }, { ...config.portScan, rule: scan }];
  }

  const detections: Detection[] = [];
  for (const detection of parts.detections) {
    const conditions = joinConditions(detection.conditions);
    const unanswerable = conditions.unanswerable ?? ungroupable(detection.threshold?.groupBy);
    const asked = watching && config.logPipelineEnabled && detection.enabled;
    const off = !detection.enabled
      ? "its status is not enabled"
      : !config.logPipelineEnabled
      ? "log_pipeline.enabled is false: no rule is asked"
      : offReason(config.ebpfEnabled, shipped, "the engine makes no event of a packet whose source isn't listed");
    const index = add({
      id: detection.id,
      kind: "detection",
      title: detection.title,
      coverage: unanswerable ? "not observable" : "bounded",
      reason: unanswerable ?? off ?? "counters don't say when within an interval a packet came",
      mode: asked ? "alert" : "off",
    });
    if (asked && !unanswerable) {
      detections.push({ ...conditions, rule: index, id: detection.id, threshold: detection.threshold });
    }
  }

  for (const rule of parts.others) add(rule);
  if (parts.config) addSections(config, add);
  const times = { fromMs: load.fromMs ?? -Infinity, untilMs: load.untilMs ?? Infinity };
  return { rules, blocklist, synFlood, portScan, detections, flushMs: config.flushMs, load: times };
}

function offReason(ebpfEnabled: boolean, shipped: boolean, asShipped: string): string | undefined {
  if (!ebpfEnabled) return "ebpf.enabled is not true: the engine looks at no packet";
  return shipped ? `as shipped: ${asShipped}` : undefined;
}

/** Why matches can't be counted by this field; undefined: they can. */
function ungroupable(groupBy: string | undefined): string | undefined {
  const known = ["src_ip", "dst_port", "event_type", "protocol", "source"];
  if (groupBy === undefined || known.includes(groupBy)) return undefined;
  return `counts by ${groupBy}, which is not recorded`;
}

function describeSynFlood({ synFlood }: Config, mode: Rule["mode"], off: string | undefined): Rule {
  const { minPackets, ratio, windowMs } = synFlood;
  return {
    id: "syn_flood",
    kind: "syn_flood",
    title: `at least ${minPackets} TCP packets in ${windowMs / 1000} s, more than ${ratio} of them SYN`,
    coverage: "bounded",
    reason: off ?? "counters don't say when within an interval a window begins, nor in which order packets came",
    mode,
  };
}

function describePortScan({ portScan }: Config, mode: Rule["mode"], off: string | undefined): Rule {
  return {
    id: "port_scan",
    kind: "port_scan",
    title: `at least ${portScan.ports} destination ports in ${portScan.windowMs / 1000} s`,
    coverage: "bounded",
    reason: off ?? "UDP ports, and ports that are not counted, are not seen: there may be more",
    mode,
  };
}

/** What of the engine has nothing to do with packets. */
function addSections(config: Config, add: (rule: Rule) => number): void {
  const mode = (enabled: boolean) => enabled ? "alert" : "off";
  add(unobservable("log_pipeline", "log_pipeline", "reads log lines, not packets", mode(config.logPipelineEnabled)));
  add(unobservable("container", "container", "isolates containers, drops no packet", mode(config.containerEnabled)));
  add(unobservable("sbom", "sbom", "looks for vulnerable packages", mode(config.sbomEnabled)));
}

const NEVER_LOADED = "as shipped the daemon never loads a file of filter rules: nothing would be blocked";

/** Whoever doesn't choose a profile hasn't said that his daemon does what the documents say. */
const WHICH_DAEMON = `${NEVER_LOADED}. FILE#documented says that yours loads it, FILE#as-shipped that it doesn't`;

/** What the engine as released does otherwise, and what is assumed. */
function noteDifferences(parts: Parts, shipped: boolean, findings: Finding[]): void {
  const differs = (message: string) => findings.push({ severity: "warning", code: "as_shipped", message });
  if (parts.filters.length > 0) {
    findings.push({ severity: "warning", code: "as_shipped", message: NEVER_LOADED, decisive: true });
  }
  if (parts.config?.ebpfEnabled) {
    differs("as shipped no alert of syn_flood and port_scan goes anywhere, and it names the source backwards");
  }
  if (parts.detections.length > 0) {
    differs("as shipped only packets of listed sources become events: detection rules see no other");
  }
  if (parts.config && !shipped) {
    findings.push({
      severity: "note",
      code: "assumed",
      message: "the detectors' thresholds have no keys in Ironpost: these are its own; [ebpf.detection] tries others " +
        "(syn_min_packets, syn_ratio, syn_window_secs, scan_ports, scan_window_secs)",
    });
  }
  if (!parts.config && parts.filters.length + parts.detections.length > 0) {
    findings.push({
      severity: "note",
      code: "assumed",
      message: "no ironpost.toml is given: ebpf.enabled is taken to be true, and the detectors are left out",
    });
  }
  if (parts.filters.some((f) => f.address && f.action === "block")) {
    findings.push({
      severity: "note",
      code: "wider",
      message: "the engine blocks all ports and protocols of a source, and passes VLAN-tagged frames: " +
        "a recording of some ports, or of tagged frames, shows less, or more, than would be dropped",
    });
  }
}
