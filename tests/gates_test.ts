/** Gates in words: what is said of a number never contradicts what follows from it. */
import assert from "node:assert/strict";
import { DEFAULT_LIMITS } from "../src/report/gate_limits.ts";
import { describeNumber, type GateInput, judge, percent } from "../src/report/gates.ts";
import type { FpBound, Gate } from "../src/report/summary.ts";
import { tellApart } from "../src/words.ts";

const NOBODY: FpBound = {
  ...{ legitimate: 0, hit: 0, point: null, upper: null },
  by_network: { legitimate: 0, hit: 0, upper: null },
};
const MANY: FpBound = {
  ...{ legitimate: 500, hit: 0, point: 0, upper: 0.006 },
  by_network: { legitimate: 500, hit: 0, upper: 0.006 },
};
const EFFECT = { syn: 1000, certainSynShare: 0.5, possibleSynShare: 0.6, certainAbusive: 1, possibleAbusive: 1 };
const READY: GateInput = {
  ...{ observedSec: 7 * 86400, coverage: 1, loss: 0, blur: 0, resolutionSec: 2, notObservable: 0 },
  ...{ falsePositives: MANY, halves: [MANY, MANY], mixed: 0, effect: EFFECT, spoofed: 0, lockedOut: [] },
  given: { selfAddresses: true, allowlist: true },
};

function judged(changed: Partial<GateInput>, id: string): Gate {
  const { gates } = judge({ ...READY, ...changed }, DEFAULT_LIMITS);
  return gates.find((gate) => gate.id === id)!;
}

Deno.test("judge() never says that a number misses a limit which it reads like", () => {
  const reason = (changed: Partial<GateInput>) => judge({ ...READY, ...changed }, DEFAULT_LIMITS).reason;
  assert.match(reason({ coverage: 0.9899 }), /^98\.99 % of the time was watched, less than the 99 % asked for/);
  assert.match(reason({ coverage: 0.98996 }), /^98\.996 % of the time was watched, less than the 99 % asked for/);
  assert.match(reason({ coverage: 0.99 - 1e-9 }), /^98\.9999999 % of the time/);
  assert.match(reason({ loss: 0.01002 }), /for 1\.002 % of packets, more than the 1 % that is accepted/);
  assert.match(reason({ observedSec: 7 * 86400 - 60 }), /^6 d 23 h were observed, less than the 7 d asked for/);
  assert.match(reason({ observedSec: 7 * 86400 - 0.25 }), /^604799\.75 s were observed, less than the 7 d asked for/);
  for (let i = 1; i < 2000; i++) {
    const share = 0.99 + (i - 1000) / 1e6, shown = Number.parseFloat(percent(share, 0.99));
    assert.equal(Math.sign(shown - 99), Math.sign(i - 1000), `${share}: ${shown}`);
  }
  assert.equal(tellApart(7, { short: 7, limit: 7 }), 7);
});

Deno.test("judge() says which way a limit goes, and gives it with all of its digits", () => {
  assert.equal(describeNumber(judged({}, "coverage")), "100 % (≥ 99 %, --min-coverage)");
  assert.equal(describeNumber(judged({}, "fp_bound")), "0.6 % (≤ 1 %, --fp-limit)");
  assert.equal(describeNumber(judged({}, "lockout")), "0 (≤ 0)");
  const { gates } = judge(READY, { ...DEFAULT_LIMITS, minCoverage: 0.98996 });
  assert.match(describeNumber(gates[1]!), /^100 % \(≥ 98\.996 %/);
});

Deno.test("judge() says of the effect what passes, what may be, and why there is none", () => {
  const effect = (changed: Partial<GateInput["effect"]>, observedSec = 7 * 86400) => {
    const { outcome, reason } = judged({ observedSec, effect: { ...EFFECT, ...changed } }, "effect");
    return `${outcome}: ${reason}`;
  };
  const none = { certainSynShare: 0, possibleSynShare: 0, certainAbusive: 0, possibleAbusive: 0 };
  assert.equal(effect({ certainAbusive: 0 }), "pass: something to gain");
  assert.equal(
    effect({ certainSynShare: 0.001, certainAbusive: 2 }),
    "pass: little, but 2 likely-abusive sources certainly would be blocked: that is enough",
  );
  assert.equal(effect({ ...none, possibleSynShare: 0.6 }), "unknown: it may be up to 60 %");
  // Not "nothing to gain": a short time can't unsay what may be.
  assert.equal(effect({ ...none, possibleSynShare: 0.6 }, 60), "unknown: it may be up to 60 %");
  assert.equal(effect({ ...none, possibleAbusive: 1 }), "unknown: 1 likely-abusive source may be blocked, or may not");
  assert.match(effect(none), /^fail: nothing to gain/);
  assert.match(effect(none, 60), /^unknown: nothing to gain.*so short a time proves nothing$/);
});

Deno.test("judge() says what it takes to look likely legitimate, and which half of the time has nobody who does", () => {
  assert.match(
    judged({ falsePositives: NOBODY }, "fp_bound").reason,
    /yet: it takes .* 3 intervals, in 2 periods of 10 min/,
  );
  assert.match(judged({ halves: [MANY, NOBODY] }, "halves").reason, /^in the second half of the time no source looks/);
  const nobody = { falsePositives: NOBODY, halves: [NOBODY, NOBODY] as const };
  assert.equal(
    judged(nobody, "halves").reason,
    "in either half of the time no source looks likely legitimate: see fp_bound",
  );
});

Deno.test("judge() lets no gate pass where nothing was watched, whatever is asked for", () => {
  const nothing: Partial<GateInput> = { observedSec: 0, coverage: 0, effect: { ...EFFECT, syn: 0 }, spoofed: null };
  const asked = { ...DEFAULT_LIMITS, minDays: 0, minCoverage: 0 };
  for (const limits of [DEFAULT_LIMITS, asked]) {
    const { gates, verdict } = judge({ ...READY, ...nothing }, limits);
    assert.deepEqual(gates.filter(({ outcome }) => outcome !== "unknown"), []);
    assert.equal(verdict, "INSUFFICIENT EVIDENCE");
    assert.equal(gates.find(({ id }) => id === "loss")!.reason, "nothing was watched");
  }
});

Deno.test("judge() says of the lockout gate what was looked for, and passes in part where nothing was given", () => {
  const lockout = (selfAddresses: boolean, allowlist: boolean, lockedOut: string[] = []) => {
    const { outcome, in_part, reason } = judged({ given: { selfAddresses, allowlist }, lockedOut }, "lockout");
    return `${outcome}${in_part ? " in part" : ""}: ${reason}`;
  };
  assert.equal(
    lockout(false, false),
    "pass in part: long-known sources: none hit; own addresses and an allowlist were not given " +
      "(--self-address, --allowlist)",
  );
  assert.equal(lockout(true, false), "pass: own and long-known addresses: none hit; no --allowlist was given");
  assert.equal(
    lockout(false, true),
    "pass: allowlisted and long-known addresses: none hit; no --self-address was given",
  );
  assert.equal(lockout(true, true), "pass: none would be hit");
  assert.equal(lockout(false, false, ["192.0.2.1"]), "fail: 192.0.2.1");
  const { verdict, reason } = judge({ ...READY, given: { selfAddresses: false, allowlist: false } }, DEFAULT_LIMITS);
  assert.equal(verdict, "READY");
  assert.match(reason, /Whether it would lock you out was not asked/);
  assert.doesNotMatch(judge(READY, DEFAULT_LIMITS).reason, /lock you out/);
});
