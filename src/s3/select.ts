/**
 * Which files of a folder are uploaded, and as what.
 *
 * Sealed segments and the files of a report, in subfolders too. Never: what the program keeps for itself there, hidden
 * and temporary files, symbolic links.
 */
import { globToRegExp } from "@std/path/posix/glob-to-regexp";
import { IbsrError } from "../errors.ts";
import { attempt } from "../files.ts";
import { isTwin, parseSegmentName, type SegmentName, SUFFIX } from "../segment.ts";
import { LEDGER } from "./ledger.ts";

/** A file to upload. */
export interface Candidate {
  /** Below the folder. */
  path: string;
  key: string;
  /** What its key would be, were it compressed differently. */
  otherKeys: readonly string[];
  /** Of the file, when it was listed. */
  size: number;
  mtimeMs: number;
  /** Lines may still be added: only whole ones are uploaded. */
  isGrowing: boolean;
  /** If the file is one. */
  segment: SegmentName | undefined;
  /** How it is compressed on the way. */
  compress: "none" | "zstd" | "gzip";
}

/** What to select, and where to. */
export interface Selection {
  include: readonly string[];
  exclude: readonly string[];
  includeOpen: boolean;
  compress: "none" | "zstd" | "gzip";
  /** What keys begin with; ends in `/`, or is empty. */
  prefix: string;
  layout: "plain" | "hive";
  hostname: string;
}

/** What a report consists of. */
const REPORT =
  /^(report\.(md|html|json)|summary\.json|evidence\.(csv|json)|would_block\.jsonl|rules\.\w+|manifest\.json|comparison\.(html|json|md))$/;
/** What never is a result: the ledger, locks, what is being written. */
const OWN = new RegExp(`^(\\..*|${RegExp.escape(LEDGER)}|.*\\.lock|.*\\.tmp|upload-manifest\\.json)$`);
const LONGEST_KEY_BYTES = 1024;

/**
 * The files to upload, in the order of their paths.
 *
 * @throws {IbsrError} `storage` or `permission`, if the folder can't be read; `usage`, if two files would get one key.
 */
export function selectFiles(directory: string, selection: Selection): Candidate[] {
  const matches = (globs: readonly RegExp[], path: string) =>
    globs.some((glob) => glob.test(path) || glob.test(path.slice(path.lastIndexOf("/") + 1)));
  const included = selection.include.map((glob) => globToRegExp(glob)),
    excluded = selection.exclude.map((glob) => globToRegExp(glob));
  const selected: Candidate[] = [];
  for (const { path, size, mtimeMs, segment, hasSealedTwin } of listFiles(directory)) {
    const isOpen = segment?.state === "open";
    if (isOpen && hasSealedTwin) continue; // left by a crash; sealing it removes it
    const isResult = REPORT.test(path.slice(path.lastIndexOf("/") + 1));
    const byDefault = segment ? !isOpen || selection.includeOpen : isResult;
    if (!(byDefault || matches(included, path)) || matches(excluded, path)) continue;
    const compress = segment?.state === "sealed" && segment.compression === "none" ? selection.compress : "none";
    // Any other file of lines may be somebody's log.
    const isGrowing = isOpen || (!segment && !isResult && path.endsWith(".jsonl"));
    const keyFor = (how: Candidate["compress"]) => keyOf({ path, segment, compress: how }, selection);
    const isPlain = segment?.state === "sealed" && segment.compression === "none";
    const others = isPlain ? (["none", "zstd", "gzip"] as const).filter((how) => how !== compress) : [];
    selected.push({
      ...{ path, key: keyFor(compress), otherKeys: others.map(keyFor), size, mtimeMs },
      ...{ isGrowing, segment, compress },
    });
  }
  const keys = new Map<string, string>();
  for (const { path, key } of selected) {
    const other = keys.get(key);
    if (other !== undefined) {
      throw new IbsrError("usage", `Cannot upload ${path} and ${other}: both would be "${key}"`, {
        hint: "--exclude leaves one out",
      });
    }
    keys.set(key, path);
  }
  return selected;
}

interface Listed {
  path: string;
  size: number;
  mtimeMs: number;
  segment: SegmentName | undefined;
  hasSealedTwin: boolean;
}

function listFiles(root: string): Listed[] {
  const listed: Listed[] = [];
  const walk = (folder: string) => {
    const directory = `${root}/${folder}`, found: Omit<Listed, "hasSealedTwin">[] = [];
    for (const { name, isFile, isDirectory } of Deno.readDirSync(directory)) {
      if (OWN.test(name)) continue;
      if (isDirectory) walk(`${folder}${name}/`);
      if (!isFile) continue;
      try {
        const { size, mtime } = Deno.lstatSync(`${directory}${name}`), segment = parseSegmentName(name);
        found.push({ path: folder + name, size, mtimeMs: mtime?.getTime() ?? 0, segment });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error; // pruned or sealed meanwhile
      }
    }
    const sealed = found.flatMap(({ segment }) => segment?.state === "sealed" ? [segment] : []);
    listed.push(...found.map((file) => ({
      ...file,
      hasSealedTwin: file.segment !== undefined && sealed.some((s) => isTwin(s, file.segment!)),
    })));
  };
  attempt(`read the folder "${root}"`, () => walk(""));
  return listed.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** @throws {IbsrError} `usage`, if it is too long or can't be one. */
function keyOf(
  { path, segment, compress }: Pick<Candidate, "path" | "segment" | "compress">,
  { prefix, layout, hostname }: Selection,
): string {
  const hour = segment && new Date(segment.start).toISOString();
  const place = layout === "plain"
    ? ""
    : `host=${hostname}/${hour ? `date=${hour.slice(0, 10)}/hour=${hour.slice(11, 13)}/` : ""}`;
  return checkKey(`${prefix}${place}${path}${SUFFIX[compress]}`);
}

/** @throws {IbsrError} `usage`, if no object can be called that. */
export function checkKey(key: string): string {
  const segments = key.replace(/\/$/, "").split("/");
  const wrong = key !== "" && segments.some((segment) => ["", ".", ".."].includes(segment))
    ? "an empty part, . or .. between slashes ends up elsewhere"
    : new TextEncoder().encode(key).length > LONGEST_KEY_BYTES
    ? `longer than ${LONGEST_KEY_BYTES} bytes`
    : undefined;
  if (wrong === undefined) return key;
  throw new IbsrError("usage", `Cannot use "${key}" as an object key: ${wrong}`);
}

const TYPES: Record<string, string> = {
  jsonl: "application/x-ndjson",
  json: "application/json",
  zst: "application/zstd",
  gz: "application/gzip",
  md: "text/markdown; charset=utf-8",
  html: "text/html; charset=utf-8",
  csv: "text/csv; charset=utf-8",
  txt: "text/plain; charset=utf-8",
  xml: "application/xml",
  yaml: "application/yaml",
  yml: "application/yaml",
  toml: "application/toml",
  pdf: "application/pdf",
};

/** The media type of an object, by its name. */
export function contentTypeOf(key: string): string {
  return TYPES[key.slice(key.lastIndexOf(".") + 1).toLowerCase()] ?? "application/octet-stream";
}
