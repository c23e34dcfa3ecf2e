/**
 * Puts an interface of this namespace on VLAN 7 for as long as it runs: `vlan.ts INTERFACE`.
 *
 * Done in tc, since a kernel may lack the vlan device; frames on the wire are the same.
 */
const INGRESS = 46, EGRESS = 47; // BPF_TCX_INGRESS, BPF_TCX_EGRESS
const libbpf = Deno.dlopen("libbpf.so.1", {
  bpf_object__open_file: { parameters: ["buffer", "pointer"], result: "pointer" },
  bpf_object__load: { parameters: ["pointer"], result: "i32" },
  bpf_object__find_program_by_name: { parameters: ["pointer", "buffer"], result: "pointer" },
  bpf_program__fd: { parameters: ["pointer"], result: "i32" },
  bpf_link_create: { parameters: ["i32", "i32", "i32", "pointer"], result: "i32" },
}).symbols;
const libc = Deno.dlopen("libc.so.6", { if_nametoindex: { parameters: ["buffer"], result: "u32" } }).symbols;
const text = (value: string) => new TextEncoder().encode(value + "\0");

const source = new URL("vlan.bpf.c", import.meta.url).pathname, object = await Deno.makeTempFile({ suffix: ".o" });
const compiled = new Deno.Command("clang", {
  args: ["-O2", "-g", "-target", "bpfel", `-I/usr/include/${Deno.build.arch}-linux-gnu`, "-c", source, "-o", object],
}).outputSync();
if (!compiled.success) throw new Error(new TextDecoder().decode(compiled.stderr));
const opened = libbpf.bpf_object__open_file(text(object), null);
if (libbpf.bpf_object__load(opened) !== 0) throw new Error("Cannot load vlan.bpf.c");
Deno.removeSync(object);
const index = libc.if_nametoindex(text(Deno.args[0]!));
for (const [program, hook] of [["tag", EGRESS], ["untag", INGRESS]] as const) {
  const fd = libbpf.bpf_program__fd(libbpf.bpf_object__find_program_by_name(opened, text(program)));
  const link = libbpf.bpf_link_create(fd, index, hook, null);
  if (link < 0) throw new Error(`Cannot attach ${program}: error ${-link}`);
}
console.log("on VLAN 7");
await new Promise(() => setInterval(() => {}, 1 << 30));
