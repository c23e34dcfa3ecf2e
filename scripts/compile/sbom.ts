/**
 * The bill of materials of an executable: CycloneDX 1.5, as JSON.
 *
 * Packages are those that the bundler names, so that nothing is listed that is not in it and nothing is
 * in it that is not listed. The same build gives the same text.
 */
import type { BundledPackage } from "./bundle.ts";
import type { Kind } from "./executable.ts";
import type { Machine } from "./elf.ts";

/** What the executable was made of. */
export interface Materials {
  version: string;
  machine: Machine;
  kind: Kind;
  deno: string;
  executable: Uint8Array<ArrayBuffer>;
  packages: readonly BundledPackage[];
  /** Compiled kernel programs by path. */
  objects: Record<string, Uint8Array<ArrayBuffer>>;
  epoch: number;
}

/** The bill, as the text of a `.cdx.json` file. */
export async function writeBill(materials: Materials): Promise<string> {
  const { version, machine, kind, deno, packages, epoch } = materials;
  const digest = await sha256(materials.executable);
  const mit = [{ license: { id: "MIT" } }];
  const runtime = {
    type: "platform",
    "bom-ref": `deno@${deno}`,
    name: "deno",
    version: deno,
    description: kind === "compile" ? "the runtime base of deno compile" : "Deno's own binary",
    licenses: mit,
    purl: kind === "compile"
      ? `pkg:github/denoland/deno@v${deno}`
      : `pkg:npm/%40deno/linux-${machine.name === "aarch64" ? "arm64" : "x64"}-glibc@${deno}`,
  };
  const bundled = packages.map(({ name, version, license, sha512 }) => ({
    type: "library",
    "bom-ref": `${name}@${version}`,
    name,
    version,
    ...(license ? { licenses: [{ license: { id: license } }] } : {}),
    ...(sha512 ? { hashes: [{ alg: "SHA-512", content: sha512 }] } : {}),
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
  }));
  const objects = await Promise.all(
    Object.entries(materials.objects).map(async ([path, bytes]) => ({
      type: "file",
      "bom-ref": path,
      name: path,
      hashes: [{ alg: "SHA-256", content: await sha256(bytes) }],
    })),
  );
  const libbpf = {
    type: "library",
    "bom-ref": "libbpf",
    name: "libbpf",
    description: "of the host, loaded when a kernel program is (libbpf.so.1 or libbpf.so.0); not included",
    scope: "required",
    licenses: [{ expression: "LGPL-2.1-only OR BSD-2-Clause" }],
  };
  const components = [runtime, ...bundled, ...objects, libbpf];
  const bill = {
    $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    // A UUID made of the digest: of its own for each executable, the same each time.
    serialNumber: `urn:uuid:${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-8${
      digest.slice(17, 20)
    }-${digest.slice(20, 32)}`,
    version: 1,
    metadata: {
      timestamp: new Date(epoch * 1000).toISOString().replace(".000", ""),
      component: {
        type: "application",
        "bom-ref": "ibsr",
        name: "ibsr",
        version,
        description: `Linux ${machine.name}`,
        licenses: mit,
        hashes: [{ alg: "SHA-256", content: digest }],
      },
    },
    components,
    dependencies: [
      { ref: "ibsr", dependsOn: components.map((c) => c["bom-ref"]) },
      ...components.map((c) => ({ ref: c["bom-ref"] })),
    ],
  };
  return JSON.stringify(bill, null, 2) + "\n";
}

/** A digest in hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
