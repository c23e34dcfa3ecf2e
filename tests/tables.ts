/** Rows in the kernel's layout, made from what a test writes down. */
import { parseAddress } from "../src/address.ts";
import { type Counters, type Table, writeCounters } from "../src/counters.ts";
import { COUNTERS } from "../src/layout.ts";

/** Address, port, counters. */
export type Row = readonly [address: string, port: number, counters: Counters];

/** A table of rows with keys of 8 (IPv4) or 20 bytes (IPv6). */
export function tableOf(rows: readonly Row[], keySize: 8 | 20): Table {
  const keys = new Uint8Array(rows.length * keySize), values = new Uint8Array(rows.length * COUNTERS.sizeof);
  const words = new Uint32Array(values.buffer);
  rows.forEach(([address, port, counters], i) => {
    keys.set(parseAddress(address)!, i * keySize);
    new DataView(keys.buffer).setUint16(i * keySize + keySize - 4, port);
    writeCounters(words, i * COUNTERS.sizeof / 4, counters);
  });
  return { keySize, count: rows.length, keys, values };
}
