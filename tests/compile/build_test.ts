/**
 * Building: the same bytes everywhere, what is refused, the bundling of `deno compile`, the other architecture.
 */
import assert from "node:assert/strict";
import { makeBundle } from "../../scripts/compile/bundle.ts";
import { buildDeb, type Package } from "../../scripts/compile/deb.ts";
import { Elf, MACHINES, PT } from "../../scripts/compile/elf.ts";
import { embed, type EmbedOptions } from "../../scripts/compile/embed.ts";
import { compileBundle, embedBundle, tryExecutable } from "../../scripts/compile/executable.ts";
import { PERMISSIONS } from "../../scripts/compile/permissions.ts";
import { runCommand, runDeno } from "../../scripts/run.ts";
import { sha256, writeBill } from "../../scripts/compile/sbom.ts";
import { AARCH64_DENO, testWith } from "../needs.ts";
import { Folder, start } from "./program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const MACHINE = MACHINES[Deno.build.arch as keyof typeof MACHINES];

/** The project's sources in another folder, without anything that was built. */
async function copyProject(to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  const sources = ["bpf", "src", "scripts", "main.ts", "mod.ts", "deno.json", "deno.lock", "LICENSE"];
  await runCommand("cp", ["-r", ...sources.map((name) => ROOT + name), to]);
  await runCommand("find", [to, "-name", "*.o", "-delete"]);
}

testWith("compiler", "compile gives the same bytes in another folder, umask, language and time zone", async () => {
  await using folder = await Folder.create();
  const [one, two] = [`${folder.path}/one`, `${folder.path}/a longer path/to/two`];
  const build = async (at: string, env: Record<string, string>) => {
    await runCommand("sh", [
      ...["-c", `umask ${env.UMASK}; exec "$@"`, "sh", Deno.execPath(), "run", "-A", "--quiet", "scripts/compile.ts"],
      ...["--kind", "embed", "--executable-only"],
    ], { cwd: at, env });
    const name = [...Deno.readDirSync(`${at}/dist`)].map((e) => e.name).find((n) => n.startsWith("ibsr-"))!;
    const files = { executable: `dist/${name}`, plain: "bpf/ibsr.o", frags: "bpf/ibsr_frags.o" };
    const sums: Record<string, string> = {};
    for (const [part, path] of Object.entries(files)) sums[part] = await sha256(await Deno.readFile(`${at}/${path}`));
    return sums;
  };
  await copyProject(one);
  await copyProject(two);
  const first = await build(one, { UMASK: "022", TZ: "Asia/Tokyo", LANG: "C" });
  assert.deepEqual(await build(two, { UMASK: "077", TZ: "America/Lima", LANG: "de_DE.UTF-8" }), first);
  // Not because the sources don't matter: in one folder there is now another text.
  const help = await Deno.readTextFile(`${one}/src/cli/help.ts`);
  await Deno.writeTextFile(`${one}/src/cli/help.ts`, help.replace("Commands:", "Orders:"));
  assert.notEqual((await build(one, { UMASK: "022" })).executable, first.executable);
});

testWith("compiler", "the kernel programs are little-endian BPF and name no folder", async () => {
  for (const name of ["ibsr.o", "ibsr_frags.o"]) {
    const bytes = await Deno.readFile(`${ROOT}bpf/${name}`), text = new TextDecoder("latin1").decode(bytes);
    const elf = new Elf(bytes); // which refuses any other than 64-bit little-endian
    assert.equal(elf.machine, 247, "EM_BPF");
    const said = await runCommand("llvm-readelf", ["-S", `${ROOT}bpf/${name}`]);
    const [, offset] = / \.BTF +PROGBITS +[0-9a-f]+ ([0-9a-f]+)/.exec(said)!;
    assert.equal(elf.u16(parseInt(offset!, 16)), 0xeb9f, "BTF's magic number, in the same order");
    for (const place of [ROOT, "/usr/include", "/home", "/root", "/tmp"]) assert.ok(!text.includes(place), place);
  }
});

testWith("compiler", "deno compile takes the bundle with the permissions, and gives the same bytes twice", async () => {
  await using folder = await Folder.create();
  const { path: bundle } = await makeBundle(ROOT, folder.path);
  // Any ELF file will do as a base for making the file; it takes the real one to run it.
  Deno.env.set("DENORT_BIN", Deno.execPath());
  try {
    await compileBundle(bundle, `${folder.path}/one`, MACHINE);
    await Deno.mkdir(`${folder.path}/elsewhere`);
    await Deno.copyFile(bundle, `${folder.path}/elsewhere/ibsr.js`);
    await compileBundle(`${folder.path}/elsewhere/ibsr.js`, `${folder.path}/two`, MACHINE);
  } finally {
    Deno.env.delete("DENORT_BIN");
  }
  const one = await Deno.readFile(`${folder.path}/one`), two = await Deno.readFile(`${folder.path}/two`);
  assert.equal(await sha256(one), await sha256(two));
  const added = new TextDecoder("latin1").decode(one.subarray((await Deno.stat(Deno.execPath())).size - 4096));
  const permissions = JSON.parse(/"permissions":(\{.*?\})/.exec(added)![1]!);
  const allowed = Object.keys(permissions).filter((name) => name.startsWith("allow_") && permissions[name] !== null);
  // Deno allows imports from its registries by default; without --allow-net to them and with nothing to import, idle.
  const asked = PERMISSIONS.map((flag) => flag.replace(/^--allow-(\w+).*/, "allow_$1"));
  assert.deepEqual(allowed.filter((name) => name !== "allow_import").sort(), asked.sort());
  assert.ok(added.includes("// src/cli/run.ts"), "the bundle is in it");
  assert.ok(!added.includes(folder.path), "a folder's name is in it");
  await assert.rejects(tryExecutable(`${folder.path}/one`, MACHINE, "0.0.0"), /^Error: Cannot (use|run) /);
});

testWith("denort", "deno compile makes an executable that starts and says how it was made", async () => {
  await using folder = await Folder.create();
  await runDeno(["run", "-A", "scripts/compile.ts", "--kind", "compile", "--executable-only", "--out", folder.path], {
    cwd: ROOT,
  });
  const { stdout, code } = await start(["version"], { program: `${folder.path}/ibsr` });
  assert.match(stdout, /^made by deno compile$/m);
  assert.equal(code, 0);
});

testWith(
  "compiler",
  "compile --kind compile fails where there is no runtime base, and makes no other kind",
  async () => {
    await using folder = await Folder.create();
    const output = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "scripts/compile.ts", "--kind", "compile", "--executable-only", "--out", folder.path],
      cwd: ROOT,
      env: { DENORT_BIN: `${folder.path}/none` },
    }).output();
    assert.equal(output.code, 1);
    assert.match(new TextDecoder().decode(output.stderr), /Cannot run .*deno compile /);
    assert.deepEqual([...Deno.readDirSync(folder.path)], []);
  },
);

testWith(
  "compiler",
  "embed() gives the program its arguments, its own variables, HOME, and nothing of Deno's",
  async () => {
    await using folder = await Folder.create();
    await Deno.writeTextFile(`${folder.path}/deno.lock`, "{}");
    await Deno.writeTextFile(
      `${folder.path}/main.ts`,
      `import { userInfo as who } from "node:os";
     import { existsSync } from "node:fs";
     console.log(JSON.stringify({ args: Deno.args, env: Deno.env.toObject(), path: Deno.execPath(),
       exists: existsSync(Deno.execPath()), who: typeof who }));`,
    );
    const { path } = await makeBundle(`${folder.path}/`, folder.path, []);
    await embedBundle(path, `${folder.path}/it`, { path: Deno.execPath(), version: "" }, MACHINE);
    const given = {
      HOME: "/home/x",
      IBSR_A: "1",
      AWS_B: "2",
      home: "evil",
      DENO_DIR: "/x",
      LD_BIND_NOT: "1",
      FOO: "3",
    };
    const { stdout, stderr } = await start(["a b", "", "--help"], { program: `${folder.path}/it`, env: given });
    const said = JSON.parse(stdout || stderr);
    assert.deepEqual(said.args, ["a b", "", "--help"]);
    assert.equal(said.path, `${folder.path}/it`);
    assert.equal(said.exists, true);
    assert.equal(said.who, "function");
    assert.deepEqual(Object.keys(said.env).sort(), [
      ...["AWS_B", "DENO_DIR", "DENO_DISABLE_NODE_SHIM", "DENO_LOG", "DENO_NO_UPDATE_CHECK", "HOME", "IBSR_A", "PATH"],
    ]);
    assert.deepEqual([said.env.HOME, said.env.IBSR_A, said.env.AWS_B], ["/home/x", "1", "2"]);
    assert.notEqual(said.env.DENO_DIR, "/x");
  },
);

testWith("compiler", "embed() refuses a binary that is not what it rests on", async () => {
  const deno = await Deno.readFile(Deno.execPath()), elf = new Elf(deno);
  const options: Omit<EmbedOptions, "runtime"> = {
    bundle: new Uint8Array(1),
    arguments: ["deno"],
    kept: [],
    added: {},
    hidden: ["a", "b"],
    thorough: "",
  };
  const refuse = async (runtime: Uint8Array, reason: RegExp) => {
    await assert.rejects(embed({ ...options, runtime }), { name: "ElfError", message: reason });
  };
  /** Refused with some bytes changed, which are put back. */
  const refuseChanged = async (at: number, bytes: number[], reason: RegExp) => {
    const before = deno.slice(at, at + bytes.length);
    deno.set(bytes, at);
    await refuse(deno, reason);
    deno.set(before, at);
  };
  const find = (type: number) => elf.segments().findLast((s) => s.type === type)!;
  await refuse(new Uint8Array(0), /no ELF file/);
  await refuse(deno.subarray(0, 63), /no ELF file/);
  await refuseChanged(4, [1], /no 64-bit little-endian/);
  await refuseChanged(5, [2], /no 64-bit little-endian/);
  await refuseChanged(16, [2, 0], /not position-independent/);
  await refuseChanged(18, [3, 0], /machine 3, which/);
  await refuseChanged(18, MACHINE.id === 62 ? [183, 0] : [62, 0], /its loader is not/);
  await refuseChanged(24, [0x10, 0, 0, 0], /its entry point is not code/);
  await refuseChanged(find(PT.NOTE).at, [0], /no notes/);
  await refuseChanged(find(PT.DYNAMIC).at, [0], /no dynamic section/);
  await refuseChanged(find(PT.LOAD).at + 16, [0, 0, 0, 0, 0, 0, 0, 0], /segments are not in order/);
  const slot = elf.gotSlot("environ", MACHINE);
  const name = new TextDecoder("latin1").decode(deno.subarray(0, 1 << 20)).indexOf("\0environ\0");
  assert.ok(slot > 0 && name > 0);
  await refuseChanged(name + 1, [0x45], /0 GOT slots for "environ"/);
  const once = await embed({ ...options, runtime: deno });
  await refuse(once, /no notes.*is it a plain deno/);
});

testWith("embedded", "ibsr runs on x86-64-v2 and needs no newer glibc than 2.27", async () => {
  const program = Deno.env.get("IBSR_PROGRAM")!;
  const said = await runCommand("llvm-readelf", ["--version-info", program]);
  const versions = [...said.matchAll(/GLIBC_2\.(\d+)/g)].map((m) => Number(m[1]));
  assert.ok(versions.length > 0 && Math.max(...versions) <= 27, `2.${Math.max(...versions)}`);
  if (Deno.build.arch !== "x86_64") return;
  // Nehalem is the first of that level: no AVX.
  const { stdout, stderr } = await start(["--version"], { by: ["qemu-x86_64-static", "-cpu", "Nehalem"] });
  assert.match(stdout, /^ibsr /, stderr);
});

testWith(
  "aarch64",
  "compile --target aarch64 makes an executable that does under qemu what needs no kernel program",
  async () => {
    await using folder = await Folder.create();
    await runDeno([
      ...["run", "-A", "scripts/compile.ts", "--target", "aarch64", "--kind", "embed", "--executable-only"],
      ...["--runtime", AARCH64_DENO, "--out", folder.path],
    ], { cwd: ROOT });
    const name = [...Deno.readDirSync(folder.path)].map((e) => e.name).find((n) => n.endsWith("-linux-aarch64"))!;
    const program = `${folder.path}/${name}`, by = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];
    const elf = new Elf(await Deno.readFile(program));
    assert.equal(elf.machine, MACHINES.aarch64.id);
    const version = await start(["version"], { program, by });
    assert.match(version.stdout, /^embedded .*\ndeno .*aarch64-unknown-linux-gnu/m, version.stderr);
    const wrong = await start(["a b\n", ""], { program, by });
    assert.match(wrong.stderr, /Cannot run "a b\\x0a"/);
    assert.equal(wrong.code, 64);
    await Deno.writeTextFile(`${folder.path}/x.jsonl`, "no snapshot\n");
    const converted = await start(["convert", "--out", `${folder.path}/out`, `${folder.path}/x.jsonl`], {
      program,
      by,
    });
    assert.equal(converted.code, 65, converted.stderr);
    await Deno.truncate(program, (await Deno.stat(program)).size - 1);
    const cut = await start(["version"], { program, by });
    assert.match(cut.stderr, /this executable file is damaged/);
    assert.equal(cut.code, 70);
  },
);

Deno.test("writeBill() lists what is in the executable with the right digests, the same each time", async () => {
  const materials = {
    version: "1.2.3",
    machine: MACHINES.x86_64,
    kind: "embed" as const,
    deno: "2.9.6",
    executable: new TextEncoder().encode("it"),
    packages: [{ name: "@a/b", version: "4.5.6", license: "MIT", sha512: "00" }],
    objects: { "bpf/x.o": new TextEncoder().encode("object") },
    epoch: 1_700_000_000,
  };
  const text = await writeBill(materials), bill = JSON.parse(text);
  assert.equal(await writeBill(materials), text);
  assert.deepEqual([bill.bomFormat, bill.specVersion, bill.version], ["CycloneDX", "1.5", 1]);
  assert.match(bill.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(bill.metadata.timestamp, "2023-11-14T22:13:20Z");
  assert.equal(bill.metadata.component.hashes[0].content, await sha256(materials.executable));
  const refs = bill.components.map((c: { "bom-ref": string }) => c["bom-ref"]);
  assert.deepEqual(refs, ["deno@2.9.6", "@a/b@4.5.6", "bpf/x.o", "libbpf"]);
  assert.deepEqual(bill.dependencies[0], { ref: "ibsr", dependsOn: refs });
  assert.equal(bill.components[1].purl, "pkg:npm/%40a/b@4.5.6");
  assert.equal(bill.components[2].hashes[0].content, await sha256(materials.objects["bpf/x.o"]));
});

testWith(
  "compiler",
  "buildDeb() gives the same bytes for the same files, with owner, modes and dates of its own",
  async () => {
    await using folder = await Folder.create();
    const pack: Package = {
      control: {
        Package: "x",
        Version: "1",
        Architecture: "all",
        Maintainer: "A <a@example.org>",
        Description: "x\n y",
      },
      files: [
        { path: "/usr/bin/x", content: { copyOf: "/bin/true" }, executable: true },
        { path: "/usr/share/x", content: new Uint8Array(3) },
      ],
      scripts: { postinst: "#!/bin/sh\n" },
      epoch: 1_700_000_000,
    };
    await buildDeb(pack, `${folder.path}/a.deb`);
    await new Promise((resolve) => setTimeout(resolve, 1100)); // another second
    await buildDeb({ ...pack, files: pack.files.toReversed() }, `${folder.path}/b.deb`);
    assert.deepEqual(await Deno.readFile(`${folder.path}/a.deb`), await Deno.readFile(`${folder.path}/b.deb`));
    const list = await runCommand("dpkg-deb", ["-c", `${folder.path}/a.deb`], { env: { TZ: "UTC" } });
    assert.match(list, /^-rwxr-xr-x root\/root +\d+ 2023-11-14 22:13 \.\/usr\/bin\/x$/m);
    assert.match(list, /^-rw-r--r-- root\/root +3 2023-11-14 22:13 \.\/usr\/share\/x$/m);
    assert.equal(await runCommand("dpkg-deb", ["-f", `${folder.path}/a.deb`, "Description"]), "x\n y\n");
  },
);
