import assert from "node:assert/strict";
import { constants, zstdCompressSync } from "node:zlib";
import { listInputs } from "../src/input.ts";
import { concat, encoder } from "./evidence_lines.ts";
import { createRandom } from "./packets.ts";

Deno.test("listInputs() reads all frames of a Zstandard file, and says where it is cut, at whatever byte", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const random = createRandom(3).word,
      text = encoder.encode(Array.from({ length: 3000 }, () => `${random()}\n`).join(""));
    const skippable = new Uint8Array([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const { ZSTD_c_checksumFlag: checksum } = constants;
    const parts = [
      zstdCompressSync(text.subarray(0, 10)),
      skippable,
      zstdCompressSync(text.subarray(10, 10)),
      zstdCompressSync(text.subarray(10, 9000), { params: { [checksum]: 1 } }),
      zstdCompressSync(new Uint8Array(300_000)), // a block of one byte, repeated
      zstdCompressSync(text.subarray(9000)),
    ];
    const whole = concat(parts), path = `${folder}/a.jsonl.zst`;
    const ends = parts.map((_, i) => parts.slice(0, i + 1).reduce((sum, part) => sum + part.length, 0));
    const readFrom = async (bytes: Uint8Array<ArrayBuffer>) => {
      Deno.writeFileSync(path, bytes);
      return new Uint8Array(await new Response(ReadableStream.from(listInputs([path])[0]!.read())).arrayBuffer());
    };
    const expected = concat([text.subarray(0, 9000), new Uint8Array(300_000), text.subarray(9000)]);
    assert.deepEqual(await readFrom(whole), expected);
    for (let end = 1; end < whole.length; end += 1 + random() % (whole.length / 300)) {
      const early = readFrom(whole.slice(0, end));
      if (ends.includes(end)) await early;
      else await assert.rejects(early, /it ends early|can't be decompressed/, `cut at ${end} of ${whole.length}`);
    }
    await assert.rejects(readFrom(new Uint8Array([...whole, 1, 2, 3, 4])), /no frame begins where one should/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("read() says what can't be decompressed, and hands on all of the file's stored bytes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const random = createRandom(6).word, path = `${folder}/a.jsonl.zst`;
    const text = Uint8Array.from({ length: 3 << 20 }, () => random() & 63);
    const bytes = zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    for (const at of [0, 70_000, 1_000_000, bytes.length - 5]) {
      const wrong = new Uint8Array(bytes);
      wrong.fill(0xff, at, at + 5);
      Deno.writeFileSync(path, wrong);
      const stored: Uint8Array[] = [], read = listInputs([path])[0]!.read((part) => stored.push(part.slice()));
      await assert.rejects(Array.fromAsync(read), {
        ...{
          name: "IbsrError",
          kind: "data",
          message: at === 0 ? /no frame begins/ : /^it can't be decompressed: Zstd/,
        },
      });
      assert.deepEqual(concat(stored), wrong);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("read() reads plain files into the room that it is given, and hands on what is stored", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const random = createRandom(5).word, rooms = [1 << 20, 4096, 1].map((size) => new Uint8Array(size));
    for (const [i, size] of [5 << 20, 3, 100_000, 0].entries()) {
      const path = `${folder}/${i}.jsonl`, bytes = Uint8Array.from({ length: size }, () => random());
      Deno.writeFileSync(path, bytes);
      const parts: Uint8Array[] = [], stored: Uint8Array[] = [];
      let given: Uint8Array | undefined;
      const room = () => given = rooms[random() % 50 ? 0 : 1 + random() % 2]!;
      for await (const part of listInputs([path])[0]!.read((part) => stored.push(part.slice()), room)) {
        assert.equal(part.buffer, given!.buffer);
        parts.push(part.slice());
      }
      for (const all of [parts, stored]) assert.deepEqual(concat(all), bytes);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
