/**
 * A Debian package of a list of files, by dpkg-deb, with the same bytes for the same list.
 *
 * It knows the format of a binary package and nothing of ibsr; what is in the package is contents.ts.
 */
import { runCommand } from "../run.ts";

/** A file of the package. */
export interface PackageFile {
  /** Where it is installed: `/usr/bin/ibsr`. */
  path: string;
  /** What is in it: bytes, or the path of a file to copy. */
  content: Uint8Array | { copyOf: string };
  /** May be executed. */
  executable?: boolean;
}

/** A package. */
export interface Package {
  /** The fields of its control file, in order; the last one's value may go on for lines. */
  control: Record<string, string>;
  files: readonly PackageFile[];
  /** `postinst`, … by name. */
  scripts: Record<string, string>;
  /** Seconds since 1970: the date of everything in it. */
  epoch: number;
}

/** Makes the package's file at `out`. */
export async function buildDeb(pack: Package, out: string): Promise<void> {
  const tree = await Deno.makeTempDir({ prefix: "ibsr-deb-" });
  try {
    let bytes = 0;
    const sums: string[] = [];
    for (const file of [...pack.files].sort((a, b) => a.path < b.path ? -1 : 1)) {
      const path = tree + file.path, mode = file.executable ? 0o755 : 0o644;
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      if (file.content instanceof Uint8Array) await Deno.writeFile(path, file.content);
      else await Deno.copyFile(file.content.copyOf, path);
      await Deno.chmod(path, mode);
      bytes += (await Deno.stat(path)).size;
      sums.push(await runCommand("md5sum", [file.path.slice(1)], { cwd: tree })); // what `dpkg --verify` compares
    }
    await Deno.mkdir(`${tree}/DEBIAN`);
    const control = { ...pack.control, "Installed-Size": String(Math.ceil(bytes / 1024)) };
    const { Description, ...fields } = control as Record<string, string>;
    const lines = Object.entries({ ...fields, Description }).map(([name, value]) => `${name}: ${value!.trimEnd()}\n`);
    await Deno.writeTextFile(`${tree}/DEBIAN/control`, lines.join(""));
    await Deno.writeTextFile(`${tree}/DEBIAN/md5sums`, sums.join(""));
    for (const [name, text] of Object.entries(pack.scripts)) {
      await Deno.writeTextFile(`${tree}/DEBIAN/${name}`, text, { mode: 0o755 });
      await Deno.chmod(`${tree}/DEBIAN/${name}`, 0o755);
    }
    await runCommand("find", [tree, "-type", "d", "-exec", "chmod", "755", "{}", "+"]);
    await runCommand("find", [tree, "-exec", "touch", "-h", "-d", `@${pack.epoch}`, "{}", "+"]);
    // One thread: with more, xz cuts the archive in as many pieces, and the bytes differ between machines.
    await runCommand("dpkg-deb", ["--root-owner-group", "-Zxz", "-z1", "--build", tree, out], {
      env: { SOURCE_DATE_EPOCH: String(pack.epoch), DPKG_DEB_THREADS_MAX: "1" },
    });
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
}
