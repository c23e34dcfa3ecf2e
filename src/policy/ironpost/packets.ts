/**
 * Ironpost's detectors, packet by packet, as the engine itself judges them.
 *
 * Here every packet's time and flags are known. Counted intervals know neither: windows.ts bounds what these
 * functions would say, and the tests hold one against the other. Times are milliseconds of any clock that only runs
 * forward. Pure.
 */

/** What the SYN-flood detector is set to; the engine has no keys for it. */
export interface SynFloodOptions {
  windowMs: number;
  /** TCP packets in a window before it is judged. */
  minPackets: number;
  /** SYN / all above this alerts: above, not at. */
  ratio: number;
}

/** What the port-scan detector is set to. */
export interface PortScanOptions {
  windowMs: number;
  /** Distinct destination ports in a window. */
  ports: number;
}

/** A rule's threshold: `count` matches by group within `windowMs`. */
export interface ThresholdOptions {
  /** One second more than the file says: whole seconds are compared, and with >. */
  windowMs: number;
  count: number;
}

/** How alerts of one rule are thinned out. */
export interface AlertLimits {
  /** An alert sooner than this after the one before is dropped. */
  dedupMs: number;
  /** Alerts of a rule in each minute. */
  perMinute: number;
}

/**
 * A source's SYN-flood detector: call it with each TCP packet; true when it alerts. The window begins with the first
 * packet after the last one ended, and alerts once.
 */
export function synFloodDetector(options: SynFloodOptions): (timeMs: number, syn: boolean) => boolean {
  let start = -Infinity, packets = 0, syns = 0, alerted = false;
  return (timeMs, syn) => {
    if (timeMs - start >= options.windowMs) [start, packets, syns, alerted] = [timeMs, 0, 0, false];
    packets++;
    if (syn) syns++;
    if (alerted || packets < options.minPackets || !(syns / packets > options.ratio)) return false;
    return alerted = true;
  };
}

/**
 * A source's port-scan detector: call it with each packet's destination port (0 for protocols without). It alerts
 * with every packet once the window has seen enough ports; `first` is the first of those.
 */
export function portScanDetector(
  options: PortScanOptions,
): (timeMs: number, port: number) => { alert: boolean; first: boolean } {
  let start = -Infinity, alerted = false;
  const ports = new Set<number>();
  return (timeMs, port) => {
    if (timeMs - start >= options.windowMs) {
      [start, alerted] = [timeMs, false];
      ports.clear();
    }
    ports.add(port);
    const alert = ports.size >= options.ports, first = alert && !alerted;
    alerted ||= alert;
    return { alert, first };
  };
}

/** A threshold's counter for one group: call it with each match of the conditions; true when the rule matches. */
export function thresholdCounter(options: ThresholdOptions): (timeMs: number) => boolean {
  let start = -Infinity, count = 0, matched = false;
  return (timeMs) => {
    if (timeMs - start >= options.windowMs) [start, count, matched] = [timeMs, 0, false];
    count++;
    if (matched || count < options.count) return false;
    return matched = true;
  };
}

/** What becomes of a rule's match. */
export type AlertFate = "alert" | "duplicate" | "rate limited";

/** A rule's alerts: call it with each match, whatever source it came from. */
export function alertLimiter({ dedupMs, perMinute }: AlertLimits): (timeMs: number) => AlertFate {
  let last = -Infinity, minute = -Infinity, sent = 0;
  return (timeMs) => {
    if (timeMs - last < dedupMs) return "duplicate";
    if (timeMs - minute >= 60_000) [minute, sent] = [timeMs, 0];
    last = timeMs;
    if (sent >= perMinute) return "rate limited";
    sent++;
    return "alert";
  };
}
