/**
 * Changes compiled objects at random, in places and to values where a change is likely to mean something.
 */

/** The offsets of an ELF object's instructions, 8 bytes each. */
export function findInstructions(object: Uint8Array): number[] {
  const view = new DataView(object.buffer, object.byteOffset, object.byteLength);
  const table = Number(view.getBigUint64(0x28, true)), found: number[] = [];
  for (let at = table; at < table + 64 * view.getUint16(0x3c, true); at += 64) {
    if (view.getUint32(at + 4, true) !== 1 || (view.getUint32(at + 8, true) & 4) === 0) continue;
    const start = Number(view.getBigUint64(at + 24, true)), size = Number(view.getBigUint64(at + 32, true));
    for (let offset = start; offset < start + size; offset += 8) found.push(offset);
  }
  return found;
}

/** Moves, arithmetic, loads, stores, atomic additions, jumps, call, exit. */
const OPS = [
  ...[0xb7, 0xbf, 0xb4, 0xbc, 0x07, 0x0f, 0x17, 0x1f, 0x47, 0x57, 0x67, 0x77],
  ...[0x61, 0x71, 0x79, 0x63, 0x73, 0x7b, 0x72, 0x7a, 0xc3, 0xdb, 0x05, 0x15, 0x55, 0x85, 0x95],
];
const OFFSETS = [-24, -16, -8, -1, 0, 1, 2, 3, 4, 8];
const CONSTANTS = [-16, -8, 0, 1, 2, 3, 4, 14, 188];

/** A copy with one to three fields changed, or instructions copied over others. */
export function mutate(object: Uint8Array, random: (below: number) => number): Uint8Array {
  const mutant = object.slice();
  const view = new DataView(mutant.buffer), places = findInstructions(object);
  for (let changes = 1 + random(3); changes > 0; changes--) {
    const at = places[random(places.length)]!, other = places[random(places.length)]!;
    const registers = mutant[at + 1]!;
    const change = [
      () => mutant[at] = OPS[random(OPS.length)]!,
      () => mutant[at + 1] = registers & 0xf0 | random(11),
      () => mutant[at + 1] = registers & 0x0f | random(11) << 4,
      () => view.setInt16(at + 2, OFFSETS[random(OFFSETS.length)]!, true),
      () => view.setInt32(at + 4, CONSTANTS[random(CONSTANTS.length)]!, true),
      () => mutant.copyWithin(at, other, other + 8),
    ];
    change[random(change.length)]!();
  }
  return mutant;
}
