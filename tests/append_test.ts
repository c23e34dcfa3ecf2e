/** Long lines on a real file system: past the page cache where it has that, and the ordinary way. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { appendLine, makeParts } from "../src/append.ts";

/** What is written at once. */
const PART = 1 << 19;

/** A line of `length` bytes, newline included, in chunks of random lengths from one buffer that is written over. */
function* randomLine(line: Uint8Array, most: number): Generator<Uint8Array> {
  const buffer = new Uint8Array(most);
  for (let at = 0; at < line.length;) {
    const part = line.subarray(at, at + Math.floor(Math.random() * (most + 1)));
    buffer.set(part);
    yield buffer.subarray(0, part.length);
    at += part.length;
  }
  buffer.fill(0);
}

function makeLine(length: number): Uint8Array {
  const line = new Uint8Array(length);
  for (let i = 0; i < length; i++) line[i] = 0x20 + (i * 2654435761 >>> 24) % 90;
  line[length - 1] = 10;
  return line;
}

Deno.test("appendLine() adds just the line's bytes, whatever its length, its chunks and the file's size", async () => {
  const path = await Deno.makeTempFile();
  using file = await Deno.open(path, { append: true });
  const parts = makeParts();
  const expected: Uint8Array[] = [];
  let size = 0;
  const edges = [0, 1, 4095, 4096, 4097].flatMap((more) => [PART, 2 * PART, 3 * PART].map((parts) => parts + more));
  for (const length of [1, 4095, 4096, 4097, PART - 1, ...edges, 1, 5 * PART + 3]) {
    const line = makeLine(length);
    const chunks = randomLine(line, Math.random() < 0.5 ? 70_000 : 3 * PART);
    assert.equal(await appendLine(chunks, { file, path, size, parts, action: "append" }), length);
    expected.push(line);
    size += length;
  }
  const got = await Deno.readFile(path);
  assert.equal(got.length, size);
  let at = 0;
  for (const line of expected) {
    assert.ok(Buffer.compare(got.subarray(at, at + line.length), line) === 0, `line at ${at}`);
    at += line.length;
  }
  await Deno.remove(path);
});

Deno.test("appendLine() refuses a line without its newline, or with one in its first part, however long", async () => {
  const path = await Deno.makeTempFile();
  using file = await Deno.open(path, { append: true });
  const parts = makeParts(), line = makeLine(3 * PART);
  const append = (chunks: Uint8Array[]) => appendLine(chunks, { file, path, size: 0, parts, action: "append" });
  for (
    const wrong of [[], [line.subarray(0, -1)], [line, line], [line.with(PART - 1, 10)], [line.with(5, 10)], [
      line,
      line.subarray(-1),
    ]]
  ) {
    await assert.rejects(() => append(wrong), TypeError);
    file.truncateSync(0);
  }
  await Deno.remove(path);
});
