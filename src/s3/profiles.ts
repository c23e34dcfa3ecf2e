/**
 * The AWS configuration files: their text, their profiles.
 *
 * `~/.aws/config` has `[default]` and `[profile NAME]`, `~/.aws/credentials` has `[NAME]`; where both have a key, the
 * credentials file's counts. Indented lines are settings of a setting (`s3 =`) and none of ours. Pure.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
import { IbsrError } from "../errors.ts";

/** The settings of a profile, names in lower case. */
export type Profile = Record<string, string>;

/**
 * The profiles of one file's text, by name.
 *
 * @throws {IbsrError} `usage`, if a line is neither a section, a setting nor a comment. The line is not shown: it may
 * be a secret.
 */
export function parseProfiles(text: string, { path, kind }: { path: string; kind: "config" | "credentials" }) {
  const profiles = new Map<string, Profile>();
  let profile: Profile | undefined;
  for (const [number, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    if (/^\s*([#;].*)?$/.test(line) || /^\s/.test(line)) continue;
    const section = /^\[\s*([^\]]*?)\s*\]/.exec(line)?.[1];
    if (section !== undefined) {
      const name = profileName(section, kind);
      profile = name === undefined ? {} : profiles.get(name) ?? {};
      if (name !== undefined) profiles.set(name, profile);
      continue;
    }
    const setting = /^([^=\s]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (!setting || !profile) {
      throw new IbsrError("usage", `Cannot read ${path}:${number + 1}: neither [section] nor key = value`);
    }
    profile[setting[1]!.toLowerCase()] = setting[2]!.replace(/\s[#;].*$/, "").trimEnd();
  }
  return profiles;
}

/** The profile that a section is of; undefined for other sections (`sso-session`, `services`). */
function profileName(section: string, kind: "config" | "credentials"): string | undefined {
  if (kind === "credentials" || section === "default") return section;
  return /^profile\s+"?([^"]+?)"?$/.exec(section)?.[1];
}

/** Both files' profiles as one. */
export function mergeProfiles(config: Map<string, Profile>, credentials: Map<string, Profile>): Map<string, Profile> {
  const merged = new Map(config);
  for (const [name, profile] of credentials) merged.set(name, { ...merged.get(name), ...profile });
  return merged;
}

/**
 * The words of a command line, as `credential_process` has it: separated by spaces, quotes hold words together, a
 * backslash keeps the next character. No shell is involved.
 *
 * @returns undefined, if a quote is left open.
 */
export function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined, quote = "";
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!;
    if (c === "\\" && quote !== "'" && i + 1 < line.length) {
      const next = line[++i]!;
      word = (word ?? "") + (quote === '"' && !/["\\$`]/.test(next) ? c + next : next);
    } else if (quote) {
      if (c === quote) quote = "";
      else word += c;
    } else if (c === "'" || c === '"') {
      quote = c;
      word ??= "";
    } else if (/\s/.test(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + c;
    }
  }
  if (quote) return undefined;
  return word === undefined ? words : [...words, word];
}
