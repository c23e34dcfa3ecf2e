/**
 * What is published besides the executable: man page, completions, example, and the Debian package of all of it.
 */
import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { COMMANDS } from "../../src/cli/commands.ts";
import { completionScript } from "../../src/cli/completions.ts";
import { manualPage } from "../../src/cli/manual.ts";
import { renderUnits } from "../../src/systemd.ts";
import type { Package, PackageFile } from "./deb.ts";
import type { Machine } from "./elf.ts";

const root = resolve(import.meta.dirname!, "../..");
const encoder = new TextEncoder();

/** A part of the release that is the same for all machines; `path` is its place in the package. */
export interface Part {
  name: string;
  path: string;
  text: string;
}

/** Man page and completions. */
export function listParts(version: string): Part[] {
  const completions = "/usr/share/bash-completion/completions/ibsr";
  return [
    { name: "ibsr.1", path: "/usr/share/man/man1/ibsr.1.gz", text: manualPage(COMMANDS, version) },
    { name: "ibsr.bash", path: completions, text: completionScript("bash", COMMANDS) },
    { name: "_ibsr", path: "/usr/share/zsh/vendor-completions/_ibsr", text: completionScript("zsh", COMMANDS) },
    {
      name: "ibsr.fish",
      path: "/usr/share/fish/vendor_completions.d/ibsr.fish",
      text: completionScript("fish", COMMANDS),
    },
  ];
}

/**
 * The systemd units, by file name, for the package's user and its config file, which says what to count and where to
 * upload it. The package and its scripts follow from this list.
 */
function listUnits(): Record<string, string> {
  const units = renderUnits({
    program: ["/usr/bin/ibsr"],
    collect: [],
    exports: ["export", "s3"],
    directory: "/var/lib/ibsr/snapshots",
    writable: [],
    user: "ibsr",
  });
  return Object.fromEntries(units.map(({ name, text }) => [name, text]));
}

/** The Debian package of an executable. */
export async function describePackage(
  executable: string,
  options: { machine: Machine; version: string; epoch: number },
): Promise<Package> {
  const { machine, version, epoch } = options;
  const read = (name: string) => Deno.readTextFile(`${root}/scripts/package/${name}`);
  const units = listUnits(), doc = "/usr/share/doc/ibsr";
  const texts: [path: string, text: string][] = [
    ...listParts(version).map(({ path, text }): [string, string] => [path, text]),
    ...Object.entries(units).map(([name, text]): [string, string] => [`/usr/lib/systemd/system/${name}`, text]),
    ["/usr/lib/sysusers.d/ibsr.conf", await read("ibsr.sysusers")],
    [`${doc}/examples/ibsr.jsonc`, await read("ibsr.jsonc")],
    [`${doc}/copyright`, copyright(await Deno.readTextFile(`${root}/LICENSE`))],
    [`${doc}/changelog.gz`, changelog(version, epoch)],
    ["/usr/share/lintian/overrides/ibsr", await read("lintian-overrides")],
  ];
  const files: PackageFile[] = [{ path: "/usr/bin/ibsr", content: { copyOf: executable }, executable: true }];
  for (const [path, text] of texts) {
    const bytes = encoder.encode(text);
    files.push({ path, content: path.endsWith(".gz") ? gzipSync(bytes, { level: 9 }) : bytes });
  }
  const scripts: Record<string, string> = {};
  for (const name of ["postinst", "prerm", "postrm"]) {
    scripts[name] = (await read(name)).replaceAll("@UNITS@", Object.keys(units).join(" "));
  }
  return {
    control: {
      Package: "ibsr",
      Version: version,
      Architecture: DEBIAN[machine.name],
      Maintainer: MAINTAINER,
      Section: "net",
      Priority: "optional",
      // The C library of the oldest release that Deno's own binary starts on.
      Depends: "libbpf1 | libbpf0, libc6 (>= 2.27), libgcc-s1 | libgcc1",
      Description: await read("description"),
    },
    files,
    scripts,
    epoch,
  };
}

const DEBIAN: Record<Machine["name"], string> = { x86_64: "amd64", aarch64: "arm64" };
const MAINTAINER = "IBSR authors <ibsr@example.org>";

function changelog(version: string, epoch: number): string {
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `ibsr (${version}) unstable; urgency=medium\n\n  * Release ${version}.\n\n -- ${MAINTAINER}  ${date}\n`;
}

/** In Debian's format; the executable has Deno in it, which has V8. */
function copyright(license: string): string {
  const [, holder] = /^(Copyright .*)$/m.exec(license)!;
  const terms = license.slice(license.indexOf("Permission is")).trim().split("\n").map((line) => ` ${line || "."}`);
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
${holder!.replace(/^Copyright \(c\)/, "Copyright:")}
License: Expat

Files: usr/bin/ibsr
Copyright: 2018-2026 the Deno authors
License: Expat
Comment: The executable is Deno with ibsr's code in it. Deno's own parts, V8 among
 them, are under the licenses that its source distribution lists.

License: Expat
${terms.join("\n")}
`;
}
