/**
 * The metrics file: a heartbeat as OpenMetrics text.
 *
 * node_exporter's textfile collector reads the older Prometheus format, so only what both understand is used:
 * counters and gauges, no timestamps, no units but in names. Pure: writing the file is for the collector.
 *
 * @see https://prometheus.io/docs/specs/om/open_metrics_spec/
 */
import type { Heartbeat } from "./heartbeat.ts";

interface Metric {
  name: string;
  type: "counter" | "gauge";
  help: string;
  samples: { labels?: Record<string, string>; value: number }[];
}

/** The text of a heartbeat, its final line included. */
export function formatMetrics(heartbeat: Heartbeat): string {
  const perInterface = (value: (state: Heartbeat["interfaces"][number]) => number | null) =>
    heartbeat.interfaces.flatMap((state) => {
      const number = value(state);
      return number === null ? [] : [{ labels: { interface: state.iface }, value: number }];
    });
  const metrics: Metric[] = [
    gauge("ibsr_build_info", "ibsr's version, as a label.", [{ labels: { version: heartbeat.program }, value: 1 }]),
    gauge("ibsr_up", "1 while the collector runs, 0 after it has stopped in good order.", [
      { value: heartbeat.state === "running" ? 1 : 0 },
    ]),
    gauge("ibsr_heartbeat_timestamp_seconds", "When this was written.", [{ value: heartbeat.timestamp }]),
    gauge("ibsr_start_timestamp_seconds", "When the collector started.", [{ value: heartbeat.run_id / 1000 }]),
    gauge(
      "ibsr_attached",
      "Whether the program is on the interface, by the mode it runs in.",
      heartbeat.interfaces.map(({ iface, xdp_mode }) => ({
        labels: { interface: iface, mode: xdp_mode ?? "none" },
        value: xdp_mode === null ? 0 : 1,
      })),
    ),
    gauge(
      "ibsr_last_snapshot_timestamp_seconds",
      "End of the last snapshot on disk.",
      perInterface((s) => s.last_snapshot),
    ),
    counter("ibsr_covered_seconds", "Time counted and written.", perInterface((s) => s.covered_sec)),
    gauge(
      "ibsr_snapshot_unwritten",
      "Whether a snapshot waits for the spool.",
      perInterface((s) => Number(s.unwritten)),
    ),
    counter("ibsr_snapshots", "Snapshots written.", [{ value: heartbeat.snapshots_written }]),
    counter("ibsr_packets", "TCP packets to the counted ports.", [{ value: heartbeat.packets }]),
    counter("ibsr_unattributed_packets", "Packets counted without their source: the map was full.", [
      { value: heartbeat.unattributed },
    ]),
    counter("ibsr_evicted_entries", "Entries that the kernel dropped from a full map.", [{ value: heartbeat.evicted }]),
    gauge("ibsr_entries", "Sources and ports in the last snapshots.", [{ value: heartbeat.ips_collected }]),
    gauge("ibsr_failing", "Things that don't work now; the log and `ibsr status` name them.", [
      { value: heartbeat.failing.length },
    ]),
  ];
  return metrics.filter((metric) => metric.samples.length > 0).map(formatMetric).join("") + "# EOF\n";
}

function gauge(name: string, help: string, samples: Metric["samples"]): Metric {
  return { name, type: "gauge", help, samples };
}

/** `name` is without the `_total` that each sample of a counter ends in. */
function counter(name: string, help: string, samples: Metric["samples"]): Metric {
  return { name, type: "counter", help, samples };
}

function formatMetric({ name, type, help, samples }: Metric): string {
  const sampleName = type === "counter" ? `${name}_total` : name;
  const lines = samples.map(({ labels = {}, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escape(text)}"`);
    return `${sampleName}${pairs.length ? `{${pairs.join(",")}}` : ""} ${value}`;
  });
  return `# HELP ${name} ${escape(help)}\n# TYPE ${name} ${type}\n${lines.join("\n")}\n`;
}

function escape(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
