/**
 * Makes the case, from a compiled object alone, that it can't interfere with traffic, and says it in plain words.
 *
 * src/elf.ts reads the object, src/walk.ts follows every path through it; here what they found is held against
 * six claims, and one refusal is enough for a claim to fall. Nothing is loaded. It makes no claim about
 * the time that a packet takes, nor about what a driver does when a program is attached.
 */
import { parseObject } from "./elf.ts";
import {
  ALLOWED_HELPERS,
  ALLOWED_MAP_TYPES,
  describeReturn,
  type Destination,
  helperName,
  isPass,
  mapTypeName,
  walk,
} from "./walk.ts";
import { formatCount, formatNumberOf } from "./words.ts";

/** What must hold for an object to be safe. */
export interface Claim {
  readonly id: ClaimId;
  readonly claim: string;
  readonly holds: boolean;
  /** What was found, in one line. */
  readonly evidence: string;
}

/** One reason why a claim doesn't hold. */
export interface Refusal {
  readonly claim: ClaimId;
  /** Section and instruction number, as `llvm-objdump -d` counts them. */
  readonly at?: string;
  readonly reason: string;
}

/** The case that an object can't interfere, or why that can't be shown. */
export interface SafetyReport {
  /** Of the object's bytes, in hexadecimal. */
  readonly sha256: string;
  readonly section: string | undefined;
  /** In slots of 8 bytes, as the kernel counts. */
  readonly instructions: number;
  readonly subprograms: readonly string[];
  /** Each `exit` of the program, and what it returns on the paths that lead there. */
  readonly exits: readonly { at: string; returns: string }[];
  readonly helpers: readonly { id: number; name: string; calls: number; allowed: boolean }[];
  readonly maps: readonly { name: string; type: string; allowed: boolean }[];
  /** Storing instructions by where they write. */
  readonly stores: Readonly<Record<Destination, number>>;
  readonly claims: readonly Claim[];
  readonly refusals: readonly Refusal[];
  /** Whether every claim holds. */
  readonly safe: boolean;
}

/** The kernel's own numbers after it verified and loaded the object (`struct bpf_prog_info`). */
export interface VerifierStatistics {
  /** Instructions that the verifier walked, over all paths (`verified_insns`; Linux 5.16). */
  readonly walkedInstructions?: number;
  /** Size of the program after the kernel's rewriting (`xlated_prog_len`). */
  readonly programBytes: number;
  /** Size of the machine code; 0 if the kernel interprets (`jited_prog_len`). */
  readonly jitedBytes: number;
}

type ClaimId = "exits" | "stores" | "helpers" | "maps" | "instructions" | "object";

const CLAIMS: Record<ClaimId, string> = {
  exits: "Every path through it ends in XDP_PASS",
  stores: "It writes to its own stack and maps, never to a packet",
  helpers: "It calls no kernel function that could change, send or drop a packet",
  maps: "Its maps hold counters and settings: none can redirect a packet or call a program",
  instructions: "Every instruction was reached and understood",
  object: "It is one XDP program with its own maps, and the loader changes nothing else in it",
};

/**
 * Judges an object.
 *
 * @throws {IbsrError} `data`, if it is no BPF object at all. Whatever else is wrong is in the report.
 */
export async function proveSafety(object: Uint8Array): Promise<SafetyReport> {
  const bytes = new Uint8Array(object); // what is judged is what was digested, whoever else can write to it
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return { sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""), ...judge(bytes) };
}

/** The report without the digest. @throws {IbsrError} `data`, if it is no BPF object at all. */
export function judge(object: Uint8Array): Omit<SafetyReport, "sha256"> {
  const parsed = parseObject(object);
  const found = walk(parsed);
  const refusals: Refusal[] = parsed.objections.map((reason) => ({ claim: "object", reason }));
  for (const { about, slot, reason } of found.refusals) {
    refusals.push({ claim: about, at: parsed.place(slot), reason });
  }
  const exits = [...found.exits].sort(([a], [b]) => a - b).map(([slot, value]) => {
    const exit = { at: parsed.place(slot), returns: describeReturn(value) };
    if (!isPass(value)) refusals.push({ claim: "exits", at: exit.at, reason: `returns ${exit.returns}` });
    return exit;
  });
  const maps = parsed.maps.map((map) => {
    const types = (map.inner ? [map, map.inner] : [map]).map(({ type }) => mapTypeName(type));
    const type = types.join(" of "), allowed = types.every((name) => ALLOWED_MAP_TYPES.includes(name));
    if (!allowed) {
      refusals.push({ claim: "maps", reason: `map "${map.name}" has type ${type}, which is not on the list` });
    }
    return { name: map.name, type, allowed };
  });
  const facts = {
    section: parsed.section,
    instructions: parsed.slots.length,
    subprograms: parsed.functions.slice(1).map((fn) => fn.name),
    exits,
    helpers: [...found.helpers].sort(([a], [b]) => a - b).map(([id, slots]) => (
      { id, name: helperName(id), calls: slots.size, allowed: ALLOWED_HELPERS.has(id) }
    )),
    maps,
    stores: { stack: found.stores.stack.size, mapValue: found.stores.mapValue.size, atomic: found.stores.atomic.size },
  };
  const evidence = describeFacts(facts);
  // An instruction that was not followed may return, write or call anything.
  const followed = exits.length > 0 && !refusals.some((r) => r.claim === "instructions" || r.claim === "object");
  const claims = (Object.keys(CLAIMS) as ClaimId[]).map((id): Claim => {
    const shown = followed || id === "object" || id === "maps";
    const holds = shown && !refusals.some((refusal) => refusal.claim === id);
    return { id, claim: CLAIMS[id], holds, evidence: shown ? evidence[id] : "not every path could be followed" };
  });
  return { ...facts, claims, refusals, safe: claims.every((claim) => claim.holds) };
}

function describeFacts(facts: Omit<SafetyReport, "sha256" | "claims" | "refusals" | "safe">): Record<ClaimId, string> {
  const { exits, stores, helpers, maps, subprograms } = facts;
  const types = [...Map.groupBy(maps, (map) => map.type)].map(([type, of]) => `${of.length} ${type}`);
  return {
    exits: list(exits.map((exit) => `${exit.at} returns ${exit.returns}`)),
    stores: `${formatNumberOf(stores.stack, "store")} to the stack, ${formatCount(stores.mapValue)} to map values, ` +
      `${formatNumberOf(stores.atomic, "atomic addition")} to map values`,
    helpers: list(helpers.map((helper) => `${helper.name} (${formatNumberOf(helper.calls, "call")})`)),
    maps: list(types),
    instructions: `${formatNumberOf(facts.instructions, "instruction")}; subprograms: ${list(subprograms)}`,
    object: `section ${facts.section}; every relocation is of a map or a subprogram of its own`,
  };
}

/**
 * The report for a person who asks whether the object can hurt the host. Ends in a line feed.
 *
 * @param verifier The kernel's numbers after a real load; without them the text says that nothing was loaded.
 */
export function renderSafety(report: SafetyReport, verifier?: VerifierStatistics): string {
  const lines = [
    report.safe
      ? "This object cannot interfere with traffic: it counts packets and passes every one of them on."
      : "REFUSED: it cannot be shown that this object leaves traffic alone.",
    "",
    `object    sha256 ${report.sha256}`,
    `verifier  ${verifier ? describeVerifier(verifier) : "not asked: nothing was loaded"}`,
  ];
  for (const { id, claim, holds, evidence } of report.claims) {
    lines.push("", `${holds ? "yes" : "NO "}  ${claim}`);
    const reasons = report.refusals.filter((refusal) => refusal.claim === id);
    if (reasons.length === 0) lines.push(`       ${evidence}`);
    for (const { at, reason } of reasons.slice(0, SHOWN)) lines.push(`       ${at ? `${at} ` : ""}${reason}`);
    if (reasons.length > SHOWN) lines.push(`       and ${reasons.length - SHOWN} more`);
  }
  lines.push(
    "",
    "Places are section:instruction, as `llvm-objdump -d` prints them. Not shown here: the time a packet takes in",
    "the program, and what a network driver does on attaching (some drivers reset the link in native mode).",
  );
  return lines.join("\n") + "\n";
}

const SHOWN = 8;

function describeVerifier({ walkedInstructions, programBytes, jitedBytes }: VerifierStatistics): string {
  const walked = walkedInstructions === undefined
    ? ""
    : `${formatNumberOf(walkedInstructions, "instruction")} walked, `;
  const jited = jitedBytes ? `${formatNumberOf(jitedBytes, "byte")} of machine code` : "interpreted";
  return `accepted: ${walked}${formatNumberOf(programBytes, "byte")} of BPF, ${jited}`;
}

function list(parts: readonly string[]): string {
  if (parts.length === 0) return "none";
  return parts.slice(0, SHOWN).join(", ") + (parts.length > SHOWN ? ` and ${parts.length - SHOWN} more` : "");
}
