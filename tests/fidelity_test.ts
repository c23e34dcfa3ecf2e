/** The fidelity lab's comparison: what it must not let pass; and what it makes of recordings and captures. */
import assert from "node:assert/strict";
import { compare, type Happened, keyOf, type Range, type Said, type Unit, UNITS } from "../scripts/fidelity/compare.ts";
import { choosePorts, linkBytes, packetsOf, readCapture } from "../scripts/fidelity/capture.ts";
import { clearEdges, client, flood, makeFrame, mix } from "../scripts/fidelity/traffic.ts";
import { writeTimedPcap } from "./kernel/frames.ts";

const TARGET = { mac: "02:00:00:00:77:02", v4: "10.77.0.2", v6: "fd77::2" };

const exactly = (n: number): Range => ({ lower: n, upper: n });

/** Two sources of a network, blocked on one of two ports each, and one that isn't. */
function makeTruth() {
  const row = (source: string, port: number, packets: number, isDropped: boolean): Said => {
    const recorded = { packets, bytes: 60 * packets, syn: packets - 1 };
    const said = (unit: Unit) => exactly(isDropped ? recorded[unit] : 0);
    return { source, port, recorded, predicted: { packets: said("packets"), bytes: said("bytes"), syn: said("syn") } };
  };
  const said = [
    row("203.0.113.1", 80, 100, true),
    row("203.0.113.1", 443, 7, false),
    row("203.0.113.2", 80, 50, true),
    row("2001:db8::1", 22, 30, true),
    row("192.0.2.1", 80, 20, false),
  ];
  const arrived = new Map(said.map((row) => [keyOf(row), { ...row.recorded }]));
  const dropped = new Map(said.map((row) => {
    const [packets, bytes, syn] = UNITS.map((unit) => row.predicted[unit].lower) as [number, number, number];
    return [keyOf(row), { packets, bytes, syn }];
  }));
  const counted = new Map([
    ["203.0.113.0/24", { packets: 150, bytes: 9000 }],
    ["2001:db8::1", { packets: 30, bytes: 1800 }],
  ]);
  const all = { packets: exactly(180), bytes: exactly(10_800), syn: exactly(177) };
  return { said, happened: { arrived, dropped, counted } satisfies Happened, all };
}

Deno.test("compare() holds what happened as it was said", () => {
  const { said, happened, all } = makeTruth();
  assert.deepEqual(compare(said, happened, all), []);
});

for (const unit of UNITS) {
  for (const by of [-1, 1]) {
    const amount = `${by < 0 ? "less" : "more"} ${unit} by one`;
    Deno.test(`compare() fails on a prediction of ${amount}, at each source and in all`, () => {
      const rows = makeTruth().said.length;
      for (let i = 0; i < rows; i++) {
        const { said, happened } = makeTruth(), range = said[i]!.predicted[unit];
        if (by < 0 && range.lower === 0) continue;
        said[i]!.predicted[unit] = exactly(range.lower + by);
        const wrong = compare(said, happened);
        assert.equal(wrong.length, 1, said[i]!.source);
        assert.ok(wrong[0]!.startsWith(keyOf(said[i]!)) && wrong[0]!.includes(unit), wrong[0]);
      }
      const { said, happened, all } = makeTruth();
      all[unit] = exactly(all[unit].lower + by);
      assert.match(compare(said, happened, all).join(), new RegExp(`^all: said \\d+ ${unit}`));
    });
  }
}

Deno.test("compare() fails where the sum is right and the source or port is not", () => {
  const swapped = makeTruth();
  const [first, other] = [swapped.said[0]!, swapped.said[2]!];
  [first.predicted, other.predicted] = [other.predicted, first.predicted];
  assert.equal(compare(swapped.said, swapped.happened, swapped.all).length, 6);
  const port = makeTruth();
  [port.said[0]!.predicted, port.said[1]!.predicted] = [port.said[1]!.predicted, port.said[0]!.predicted];
  assert.equal(compare(port.said, port.happened, port.all).length, 6);
});

Deno.test("compare() fails on a source that was dropped and not said, or said and not dropped", () => {
  const unsaid = makeTruth();
  assert.match(compare(unsaid.said.slice(1), unsaid.happened).join("\n"), /203.0.113.1 80: nothing was said/);
  const missed = makeTruth();
  missed.happened.dropped.delete("2001:db8::1 22");
  missed.happened.counted.delete("2001:db8::1");
  assert.equal(compare(missed.said, missed.happened, missed.all).length, 6);
});

Deno.test("compare() fails where a bound is passed by one, and not at the bound", () => {
  for (const unit of UNITS) {
    const { said, happened } = makeTruth(), [row] = said as [Said], n = row.predicted[unit].lower;
    for (const range of [{ lower: n, upper: n + 9 }, { lower: n - 9, upper: n }]) {
      row.predicted[unit] = range;
      assert.deepEqual(compare(said, happened), []);
    }
    for (const range of [{ lower: n + 1, upper: n + 9 }, { lower: n - 9, upper: n - 1 }]) {
      row.predicted[unit] = range;
      assert.equal(compare(said, happened).length, 1);
    }
  }
});

Deno.test("compare() fails where the firewall's own counter differs, or frames did not come", () => {
  for (const change of [{ packets: 151, bytes: 9000 }, { packets: 150, bytes: 9001 }]) {
    const { said, happened } = makeTruth();
    happened.counted.set("203.0.113.0/24", change);
    assert.equal(compare(said, happened).length, 1);
  }
  const uncounted = makeTruth();
  uncounted.happened.counted.delete("203.0.113.0/24");
  assert.match(compare(uncounted.said, uncounted.happened).join("\n"), /100 packets are missing that no rule counted/);
  const lost = makeTruth();
  lost.happened.arrived.get("192.0.2.1 80")!.packets--;
  assert.deepEqual(compare(lost.said, lost.happened), ["192.0.2.1 80: recorded 20 packets, 19 came to the firewall"]);
});

Deno.test("clearEdges() keeps each frame's interval and order, and the edges free", () => {
  const recording = mix(
    flood({ source: "198.51.100.1", ports: [80], fromSec: 0, toSec: 5, rate: 97 }, TARGET),
    client({ source: "2001:db8::1", ports: [443], fromSec: 0, toSec: 5, rate: 3 }, TARGET),
  );
  const cleared = clearEdges(recording, 1000, 150);
  assert.deepEqual(cleared.map(({ frame }) => frame), recording.map(({ frame }) => frame));
  for (const [i, { timeMs }] of cleared.entries()) {
    assert.equal(Math.floor(timeMs / 1000), Math.floor(recording[i]!.timeMs / 1000));
    assert.ok(timeMs % 1000 >= 150 && timeMs % 1000 <= 850 && timeMs >= (cleared[i - 1]?.timeMs ?? 0));
  }
});

Deno.test("readCapture() gives a capture's TCP at its times, without padding, with right checksums, compressed", async () => {
  const segments = [
    { source: "198.51.100.1", port: 80, flags: 2 },
    { source: "198.51.100.1", port: 80, flags: 16 },
    { source: "2001:db8::1", port: 22, flags: 2, vlan: 7 },
    { source: "198.51.100.1", port: 80, flags: 24, payload: 9 },
  ];
  const frames = segments.map((segment) => makeFrame(segment, TARGET)), path = await Deno.makeTempFile();
  try {
    const spoilt = frames.map((frame) => {
      const padded = new Uint8Array(frame.length + 6);
      padded.set(frame);
      padded.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      if (linkBytes(padded) === 14) padded.fill(9, 24, 26);
      return padded;
    });
    await writeTimedPcap(path, spoilt.map((frame, i) => ({ timeMs: [5, 100, 60_100, 60_200][i]!, frame })));
    const read = await readCapture(path, { mac: TARGET.mac, longestMs: 1e9 });
    assert.deepEqual(read.map(({ frame }) => frame), frames);
    assert.deepEqual(read.map(({ timeMs }) => Math.round(timeMs)), [0, 95, 60_095, 60_195]);
    const compressed = await readCapture(path, { mac: TARGET.mac, longestMs: 2000 });
    assert.deepEqual(compressed.map(({ timeMs }) => Math.round(timeMs)), [0, 95, 1095, 1195]);
    const faster = await readCapture(path, { mac: TARGET.mac, longestMs: 239 });
    assert.deepEqual(faster.map(({ timeMs }) => Math.round(timeMs)), [0, 19, 219, 239]);
    assert.deepEqual(choosePorts(read), [22, 80]);
    assert.deepEqual(packetsOf(read, [80]).map(({ kind, bytes }) => [kind, bytes]), [["syn", 54], ["ack", 54], [
      "data",
      63,
    ]]);
  } finally {
    await Deno.remove(path);
  }
});
