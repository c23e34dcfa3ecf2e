/**
 * What this host must not block if it is to stay reachable: its own addresses, its gateways, its resolvers, and who
 * is logged in to it over SSH.
 */
import { IbsrError, reason } from "../errors.ts";
import { defaultGateways } from "../interfaces.ts";
import { readKernelFile } from "../libc.ts";
import { parsePrefix, prefixOf } from "../prefix.ts";
import type { Protected } from "./normalise.ts";

/** The files that name resolvers; the second is what systemd-resolved asks behind 127.0.0.53. */
const RESOLVERS = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/**
 * The addresses that this host needs, with why.
 *
 * @param environment The process's: an SSH session's peer is in it. `sudo` takes that away, so the processes above
 * this one are asked too, as far as the kernel shows them.
 * @throws {IbsrError} `kernel`, if they can't be looked up here.
 */
export function readHostAddresses(environment: Record<string, string>): Protected[] {
  try {
    return lookUp(environment);
  } catch (cause) {
    throw new IbsrError("kernel", `Cannot look up this host's addresses: ${reason(cause)}`, {
      hint: "for rules that another host will use: --protect its addresses, and --no-host-check",
      cause,
    });
  }
}

function lookUp(environment: Record<string, string>): Protected[] {
  return [
    ...Deno.networkInterfaces().flatMap(({ name, address }) => protect(address, `this host's own address on ${name}`)),
    ...defaultGateways().flatMap((bytes) =>
      bytes.length === 4 || bytes.length === 16 ? [{ prefix: prefixOf(bytes), why: "the default gateway" }] : []
    ),
    ...RESOLVERS.flatMap(readResolvers).flatMap((address) => protect(address, "a resolver")),
    ...[environment, ...ancestors()].flatMap(sshPeer).flatMap((address) => protect(address, "the SSH peer")),
  ];
}

function protect(address: string, why: string): Protected[] {
  const prefix = parsePrefix(address.replace(/%.*$/, ""));
  return prefix ? [{ prefix, why }] : [];
}

/** The nameservers of a resolver's file; none if it can't be read. */
function readResolvers(path: string): string[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch {
    return [];
  }
  return [...text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map((match) => match[1]!);
}

function sshPeer(environment: Record<string, string>): string[] {
  return ["SSH_CONNECTION", "SSH_CLIENT"].flatMap((name) => environment[name]?.split(" ")[0] ?? []);
}

/** The environments of the processes above this one, as they began. */
function ancestors(): Record<string, string>[] {
  const environments: Record<string, string>[] = [];
  let id = Deno.ppid;
  for (let depth = 0; id > 1 && depth < 32; depth++) {
    const text = readKernelFile(`/proc/${id}/environ`) ?? "";
    environments.push(Object.fromEntries(
      text.split("\0").filter((pair) => pair.startsWith("SSH_")).map((pair) => {
        const at = pair.indexOf("=");
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
    ));
    // "pid (name) state parent": the name may hold anything, so what follows the last bracket counts.
    id = Number(readKernelFile(`/proc/${id}/stat`)?.replace(/^.*\) \S+ /s, "").split(" ")[0] ?? 0);
  }
  return environments;
}
