import assert from "node:assert/strict";
import { COUNTER_NAMES, type Counters } from "../src/counters.ts";
import { IbsrError } from "../src/errors.ts";
import { rowsOf } from "../src/evidence/rows.ts";
import { createLineScanner, type Outcome, type ScannedLine } from "../src/evidence/scan.ts";
import { createSources, type SourceTable } from "../src/evidence/sources.ts";
import { decodeSnapshot, readLines } from "../src/snapshot.ts";
import { concat, encoder, line5, line8, type Row, syns } from "./evidence_lines.ts";
import { createRandom } from "./packets.ts";

/** What a line comes to: all of its values, or what is wrong with it. */
function describe(outcome: Outcome, sources: SourceTable): unknown {
  if ("error" in outcome) return outcome.error.message;
  const { head, rows: { count, source, port, counters } } = outcome;
  const list = Array.from(
    { length: count },
    (_, i) => [sources.text(source[i]!), port[i], ...counters.map((c) => c[i])],
  );
  return { head: { ...head, buckets: undefined }, list };
}

/** The lines of a file that comes in pieces of that size. */
function scanned(file: Uint8Array, size = file.length, longest?: number): unknown[] {
  const sources = createSources(7), lines: unknown[] = [];
  const take = (line: ScannedLine) => lines.push([line.number, describe(line, sources)]);
  const scanner = createLineScanner(sources, { take, ...(longest === undefined ? {} : { longest }) });
  for (let at = 0; at < file.length; at += size) scanner.push(file.subarray(at, at + size));
  scanner.finish();
  return lines;
}

/** The same by decodeSnapshot(). */
async function decoded(file: Uint8Array): Promise<unknown[]> {
  const sources = createSources(7), lines: unknown[] = [];
  for await (const { number, text } of readLines(ReadableStream.from([file]))) {
    try {
      const snapshot = decodeSnapshot(text!);
      lines.push([number, describe({ head: snapshot, rows: rowsOf(snapshot.buckets, sources) }, sources)]);
    } catch (error) {
      assert.ok(error instanceof IbsrError && error.kind === "data", String(error));
      lines.push([number, error.message]);
    }
  }
  return lines;
}

/** Counters of any size, some at the ends of their ranges. */
function anyCounters(random: () => number): Counters {
  const limits = [1, 10, 1000, 2 ** 32, 1e15, Number.MAX_SAFE_INTEGER];
  const any = () => Math.floor(random() / 2 ** 32 * limits[random() % limits.length]!);
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, any()])) as unknown as Counters;
}

function anyAddress(random: () => number): string {
  if (random() % 3 > 0) return Array.from({ length: 4 }, () => random() % [2, 256][random() % 2]!).join(".");
  const group = () => (random() % [1, 2, 0x10000][random() % 3]!).toString(16);
  const groups = Array.from({ length: 8 }, group), at = random() % 8;
  return random() % 2 ? groups.join(":") : `${groups.slice(0, at).join(":")}::${groups.slice(at + 1).join(":")}`;
}

function anyLine(random: () => number): string {
  const rows = Array.from({ length: random() % 6 }, (): Row => [
    ...[anyAddress(random), 1 + random() % 65535] as [string, number],
    random() % 2 ? syns(random() % 100) : anyCounters(random),
  ]);
  if (random() % 2) rows.sort(([a], [b]) => a < b ? -1 : 1);
  const line = random() % 2 ? line8(random() % 100, 1010, rows) : line5(1060, rows, { version: 4 + random() % 4 });
  const changes: ((line: string) => string)[] = [
    ...Array<(line: string) => string>(8).fill((l) => l),
    (l) => l.replaceAll(',"syn"', ', "syn"'),
    (l) => l.replace(/"dst_port":\d+,/, ""),
    (l) => l.replace("src_ip", "src_cidr24"),
    (l) => l.replaceAll(/"src_ip":"([0-9a-f:]+)"/g, (_, a: string) => `"src_ip":"${a.toUpperCase()}"`),
    (l) => l.replace(/"src_ip":"[^"]*"/, '"src_ip":"::ffff:192.0.2.1"'),
    (l) => l.replace('"hostname":"web"', '"hostname":"\\"buckets\\":["'),
    (l) => l.replace('{"version"', '{"x":{"buckets":[]},"version"'),
    (l) => l.replace('{"version"', '{"buckets":7,"version"'),
    (l) => `${l.slice(0, -1)},"buckets":[]}`,
    (l) => `${l.slice(0, -1)},"later":1}`,
    (l) => ` ${l} \r`,
    (l) => `${l}x`,
    (l) => l.replace("]}", "],}"),
    (l) => l.replace('"bytes":', '"bytes":1'),
    (l) => l.replace('"bytes":', '"bytes":0'),
    (l) => l.replace(/"version":\d/, '"version":8'),
    (l) => l.replace(/"version":\d/, '"version":5'),
    (l) => l.replace(/"dst_port":\d+,"syn"/, '"dst_port":65536,"syn"'),
  ];
  return changes[random() % changes.length]!(line);
}

/** A line with some of its bytes changed, missing or doubled. */
function damage(whole: Uint8Array<ArrayBuffer>, random: () => number): Uint8Array<ArrayBuffer> {
  let line = whole;
  for (let changes = [0, 0, 1, 3][random() % 4]!; changes > 0 && line.length > 0; changes--) {
    const at = random() % line.length, to = random() % line.length, part = line.subarray(to, to + random() % 40);
    const change = [
      () => line.with(at, '0123456789.:,"{}[]-e '.charCodeAt(random() % 21)),
      () => line.with(at, random() & 255),
      () => concat([line.subarray(0, at), line.subarray(at + random() % 20)]),
      () => concat([line.subarray(0, at), part, line.subarray(at)]),
      () => line.slice(0, at),
    ];
    line = change[random() % change.length]!();
  }
  return line;
}

Deno.test("createLineScanner() and decodeSnapshot() give the same for 10,000 lines, as written and damaged, in any pieces", async () => {
  const random = createRandom(11).word, newline = new Uint8Array([0x0a]);
  let good = 0, all = 0;
  for (let files = 0; files < 1000; files++) {
    const lines = Array.from({ length: 1 + random() % 20 }, () => damage(encoder.encode(anyLine(random)), random));
    const mark = random() % 5 ? [] : [new Uint8Array([0xef, 0xbb, 0xbf])];
    const file = concat([...mark, ...lines.flatMap((line) => [line, newline])]);
    const cut = file.subarray(0, file.length - random() % 2), expected = await decoded(cut);
    for (const size of [cut.length, 1 + random() % 40, 1 + random() % 3000]) {
      assert.deepEqual(scanned(cut, size), expected, `pieces of ${size}: ${new TextDecoder().decode(cut)}`);
    }
    good += expected.filter((line) => typeof (line as unknown[])[1] === "object").length;
    all += expected.length;
  }
  assert.ok(all > 10_000 && good > all / 4 && good < 3 * all / 4, `${good} of ${all} are snapshots`);
});

Deno.test("createLineScanner() takes less than half of JSON.parse()'s time for lines as they are always written", () => {
  const rows = Array.from({ length: 10_000 }, (_, i): Row => [`10.1.${i >> 8}.${i & 255}`, 80, syns(i)]);
  let read = 0, scans = 0;
  const take = (line: ScannedLine) => read += "rows" in line ? line.rows.count : 0;
  const scanner = createLineScanner(createSources(1), { take }), decoder = new TextDecoder();
  const time = (run: () => unknown) => {
    const start = performance.now();
    run();
    return performance.now() - start;
  };
  for (const text of [line8(0, 1010, rows), line5(1060, rows), line5(1060, rows, { version: 7 })]) {
    const line = encoder.encode(`${text}\n`);
    // The least of each, in turns: what else runs only adds to some. More turns where it leaves few moments free.
    let scan = Infinity, parse = Infinity;
    for (let turn = 0; turn < 25 || (scan >= parse / 2 && turn < 400); turn++) {
      scan = Math.min(scan, time(() => scanner.push(line)));
      parse = Math.min(parse, time(() => JSON.parse(decoder.decode(line))));
      scans++;
    }
    assert.ok(scan < parse / 2, `${scan} ms, JSON.parse() ${parse} ms`);
  }
  scanner.finish();
  assert.equal(read, scans * 10_000);
});

Deno.test("createLineScanner() reads longer lines than can be decoded if they are as always, and no others", () => {
  const rows = Array.from({ length: 200 }, (_, i): Row => [`10.0.0.${i}`, 80, syns(i)]);
  const long = line8(0, 1010, rows), odd = long.replace('"10.0.0.150"', ' "10.0.0.150"'), longest = 10_000;
  const file = encoder.encode(
    [long, odd, "x".repeat(longest + 1), "x", `{${" ".repeat(30_000)}}`, long, long].join("\n"),
  );
  for (const size of [100, 1000, 5000]) {
    const lines = scanned(file, size, longest) as [number, string | { list: unknown[] }][];
    assert.deepEqual(
      lines.map(([number, line]) => [number, typeof line === "string" ? line.slice(0, 32) : line.list.length]),
      [
        [1, 200],
        [2, "it is longer than 10000 bytes"],
        [3, "it is longer than 10000 bytes"],
        [4, "it is not JSON: Unexpected token"],
        [5, "it is longer than 10000 bytes"],
        [6, 200],
        [7, 200],
      ],
      `pieces of ${size}`,
    );
  }
});

Deno.test("createLineScanner() reads nothing of what lies behind a line in memory", () => {
  const text = encoder.encode(line5(1060, [["10.0.0.1", 80, syns(3)], ["10.0.0.2", 80, syns(6)]]));
  const lines: ScannedLine[] = [];
  const scanner = createLineScanner(createSources(1), { take: (line) => lines.push(line) });
  for (let end = 1; end <= text.length; end++) {
    scanner.push(text); // which is then in memory where the next line is read
    scanner.abandon();
    scanner.push(text.subarray(0, end));
    scanner.finish();
    assert.equal("error" in lines.pop()!, end < text.length, `cut at ${end}`);
  }
  assert.equal(lines.length, 0);
});

Deno.test("createLineScanner() finds each of 80,000 sources again, in lines of many sizes", () => {
  const sources = createSources(9), random = createRandom(5).word, known = new Map<string, number>();
  const take = (line: ScannedLine) => {
    assert.ok("rows" in line);
    const { count, source } = line.rows;
    for (let i = 0; i < count; i++) {
      const text = sources.text(source[i]!);
      assert.equal(known.get(text) ?? source[i], source[i], text);
      known.set(text, source[i]!);
      if (i > 0) assert.ok(sources.compare(source[i - 1]!, source[i]!) <= 0, "sorted");
    }
  };
  const scanner = createLineScanner(sources, { take });
  for (let n = 0; n < 20; n++) {
    const rows = Array.from({ length: 1 + random() % 8000 }, (_, i): Row => [
      n % 2 && i % 3 === 0
        ? `2001:db8::${(random() % 0xffff + 1).toString(16)}:1`
        : `${random() % 3 + 10}.${random() % 200}.${random() & 255}.${random() & 255}`,
      80,
      syns(1),
    ]);
    scanner.push(encoder.encode(`${line8(n, 1010, rows)}\n`));
    scanner.finish();
    for (const [address] of rows) assert.ok(known.has(address));
  }
  assert.equal(sources.count, known.size);
});
