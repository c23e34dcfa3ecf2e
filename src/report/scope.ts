/**
 * What sources are judged by: evidence outside of what triggered, in columns by source, of some time. Pure.
 */
import { atLeast } from "../evidence/pairs.ts";

/** Evidence outside of what triggered, by source. */
export interface Scope {
  uses: Uint32Array;
  periods: Uint16Array;
  lastPeriod: Int32Array;
  syn: Float64Array;
  handshakeAck: Float64Array;
  data: Float64Array;
}

/** The same of a part of the time that is in one half and in one day. */
export interface Part extends Scope {
  /** Of sources with a use. */
  firstPeriod: Int32Array;
}

/** Nothing is known, of nobody. */
export function emptyScope(): Scope {
  return {
    uses: new Uint32Array(0),
    periods: new Uint16Array(0),
    lastPeriod: new Int32Array(0),
    syn: new Float64Array(0),
    handshakeAck: new Float64Array(0),
    data: new Float64Array(0),
  };
}

/** Forgets all of it. */
export function clearScope(scope: Scope): void {
  for (const column of Object.values(scope)) column.fill(0);
  scope.lastPeriod.fill(-1);
}

/** Adds what was counted in a part of the time, which comes after all that was added before it. */
export function addPart(to: Scope, part: Part, sourceCount: number): void {
  for (let local = 0; local < sourceCount; local++) {
    to.syn[local]! += part.syn[local]!;
    to.handshakeAck[local]! += part.handshakeAck[local]!;
    to.data[local]! += part.data[local]!;
    if (part.uses[local] === 0) continue;
    to.uses[local]! += part.uses[local]!;
    // The middle of the time may be within a period.
    const again = to.lastPeriod[local] === part.firstPeriod[local] ? 1 : 0;
    to.periods[local] = Math.min(0xffff, to.periods[local]! + part.periods[local]! - again);
    to.lastPeriod[local] = part.lastPeriod[local]!;
  }
}

/** Makes room for so many sources. */
export function growScope(scope: Scope, count: number): void {
  scope.uses = atLeast(scope.uses, count);
  scope.periods = atLeast(scope.periods, count);
  scope.lastPeriod = atLeast(scope.lastPeriod, count, -1);
  scope.syn = atLeast(scope.syn, count);
  scope.handshakeAck = atLeast(scope.handshakeAck, count);
  scope.data = atLeast(scope.data, count);
}
