/**
 * Words and values that several sections of an eBPFsentinel configuration share. Pure.
 */
import { parseAddress } from "../../address.ts";
import { parsePrefix, type Prefix } from "../../prefix.ts";
import { asInteger, asMembers, asText, type Field, isPresent, note, require } from "../read.ts";

/** `block` acts, `alert` only reports. */
export type Mode = "alert" | "block";

/** What a rule's protocol can be. */
export type Protocol = "tcp" | "udp" | "icmp" | "any";

/** What either dialect calls a mode. */
export const MODES: Readonly<Record<string, Mode>> = {
  alert: "alert",
  monitor: "alert",
  observe: "alert",
  block: "block",
  enforce: "block",
};
/** What either dialect calls a protocol. */
export const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  tcp: "tcp",
  udp: "udp",
  icmp: "icmp",
  any: "any",
  "*": "any",
};
/** The range of an unsigned number of 32 bits. */
export const U32 = { min: 0, max: 0xffff_ffff };
/** The range of one of 64 bits. */
export const U64 = { min: 0, max: 2n ** 64n - 1n };
/** The range of a port, as the engine takes it. */
export const PORT = { min: 0, max: 65535 };

/** Numbers by country. The engine takes any key: one that is no country never applies. */
export function readCountries(field: Field): Map<string, number> | undefined {
  if (!isPresent(field)) return undefined;
  const countries = new Map<string, number>();
  for (const [country, value] of asMembers(field)) {
    if (!/^[A-Z]{2}$/.test(country)) {
      note(
        value,
        "warning",
        "inert",
        `${JSON.stringify(country)} is not two upper-case letters: no source has such a country`,
      );
    }
    const number = asInteger(value, U32);
    if (number !== undefined) countries.set(country, number);
  }
  return countries;
}

/** A rule's id: letters, digits, "-" and "_". */
export function readId(field: Field): string {
  if (!require(field)) return "";
  const id = asText(field, { max: 256 });
  if (id !== undefined && !/^[A-Za-z0-9_-]+$/.test(id)) {
    note(field, "error", "invalid_value", "an id is letters, digits, - and _, at least one");
  }
  return id ?? "";
}

/** An address or CIDR; host bits are dropped. */
export function readPrefix(field: Field): Prefix | undefined {
  const text = asText(field);
  if (text === undefined) return undefined;
  const prefix = parsePrefix(text.trim());
  if (!prefix) {
    const [address, bits] = text.trim().split("/");
    const wrong = address !== undefined && parseAddress(address) && bits !== undefined
      ? `prefix length ${JSON.stringify(bits)} is not from 0 to ${address.includes(":") ? 128 : 32}`
      : `${JSON.stringify(text.slice(0, 60))} is neither an address nor a CIDR`;
    note(field, "error", "invalid_cidr", wrong);
  }
  return prefix;
}
