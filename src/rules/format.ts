/**
 * What a format is: its abilities, and a function from a plan to files. Pure types, and what all formats share.
 */
import type { Abilities, Entry, Loss } from "./fit.ts";
import { commentLines, headerLines } from "./header.ts";
import type { Plan } from "./normalise.ts";

/** How files are rendered. */
export interface RenderOptions {
  /** Count or report, drop nothing; only for formats that can. */
  shadow: boolean;
  /** Whether the addresses of the host that will use the files were kept out. */
  hostChecked: boolean;
  /** Restrict to one interface, where the format can. */
  iface: string | undefined;
  /** The reading of eBPFsentinel: `code` is what its releases load, `seed` what its README of the first day says. */
  dialect: "code" | "seed";
}

/** A file to be written. */
export interface RuleFile {
  name: string;
  text: string;
}

/** What a format made of a plan. */
export interface Rendered {
  files: RuleFile[];
  losses: Loss[];
  entries: number;
}

/** A format that operators enforce. */
export interface Format {
  name: string;
  title: string;
  can: Abilities;
  render(plan: Plan, options: RenderOptions): Rendered;
}

/** What a renderer says of its files. */
export interface Told {
  format: Format;
  entries: readonly Entry[];
  losses: readonly Loss[];
  apply: readonly string[];
  undo: readonly string[];
}

/** A file's name by its ending: what enforces and what only counts never share one, in the same folder or by mistake. */
export function fileName(ending: string, { shadow }: RenderOptions): string {
  return `ibsr${shadow ? ".shadow" : ""}.${ending}`;
}

/** The header of a format's files, as plain lines. */
function tellHeader(plan: Plan, options: RenderOptions, told: Told): string[] {
  const { format, ...rest } = told;
  return headerLines(plan, { title: format.title, expires: format.can.expiry, ...options, ...rest });
}

/** The header as the comment of a file. */
export function tell(plan: Plan, options: RenderOptions, told: Told): string {
  return commentLines(tellHeader(plan, options, told));
}

/** The header as a file of its own, for formats without comments. */
export function readme(plan: Plan, options: RenderOptions, told: Told): RuleFile {
  const name = `${told.format.name}${options.shadow ? ".shadow" : ""}.README.txt`;
  return { name, text: tellHeader(plan, options, told).join("\n") + "\n" };
}

/** Said by formats that have no match on interfaces, or weren't given one. */
export function ifaceLoss(plan: Plan, iface?: string): Loss[] {
  const names = [...new Set(plan.set.evidence.streams.map((stream) => stream.iface))];
  if (iface !== undefined || names.length === 0) return [];
  const shown = names.slice(0, 4).join(", ") + (names.length > 4 ? ", ..." : "");
  const text =
    `the rules act on every interface of the host (--iface limits them to one): the evidence is of ${shown} alone`;
  return [{ kind: "note", text }];
}

/** A value as JSON on several lines. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}
