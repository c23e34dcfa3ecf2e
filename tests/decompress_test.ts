/** What comes out of compressed bytes that are whole, cut or damaged: always the same, and as much as can be. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import { decompress } from "../src/decompress.ts";
import { concat } from "./evidence_lines.ts";
import { createRandom } from "./packets.ts";

/** Text of `bytes` bytes that compresses to about a tenth. */
function makeText(bytes: number): Uint8Array {
  const random = createRandom(3).word, words = Array.from({ length: 50 }, () => `${random()} `);
  let text = "";
  while (text.length < bytes) text += words[random() % words.length];
  return new TextEncoder().encode(text.slice(0, bytes));
}

/** What comes out of bytes in pieces of a size, and how it ends. */
async function take(packed: Uint8Array, kind: "gzip" | "zstd", { size, late }: { size: number; late: boolean }) {
  const chunks = async function* () {
    for (let at = 0; at < packed.length; at += size) yield packed.slice(at, at + size);
  };
  const out: Uint8Array[] = [];
  let failed = "";
  try {
    for await (const bytes of decompress(chunks(), kind)) {
      out.push(bytes);
      if (late) await new Promise((resolve) => setTimeout(resolve, out.length % 3));
    }
  } catch (error) {
    failed = (error as Error).message;
  }
  const text = concat(out);
  return { bytes: text.length, sha256: sha256Of(text), failed };
}

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const TEXT = makeText(1_000_000);
const PACK = {
  gzip: (text: Uint8Array) => new Uint8Array(gzipSync(text)),
  zstd: (text: Uint8Array) => {
    return new Uint8Array(zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }));
  },
};

for (const kind of ["gzip", "zstd"] as const) {
  const packed = PACK[kind](TEXT), end = packed.length;
  const flip = (at: number) => packed.map((byte, i) => i === at ? byte ^ 1 : byte);
  /** Bytes, how many of the text come out at least, and how it ends. */
  const cases: Record<string, { bytes: Uint8Array; least: number; failed: RegExp }> = {
    "as they are": { bytes: packed, least: TEXT.length, failed: /^$/ },
    "twice": { bytes: concat([packed, packed]), least: TEXT.length, failed: /^$/ },
    "cut in the middle": { bytes: packed.subarray(0, end / 2), least: 300_000, failed: /unexpected end|ends early/ },
    "cut by a byte": { bytes: packed.subarray(0, -1), least: TEXT.length, failed: /unexpected end|ends early/ },
    "damaged at the end": {
      bytes: flip(end - (kind === "gzip" ? 5 : 1)),
      least: TEXT.length - (1 << 14),
      failed: /incorrect data check|Zstd decompress error/,
    },
    "damaged in the middle": { bytes: flip(end / 2 | 0), least: 300_000, failed: /it can't be decompressed/ },
    "followed by text": {
      bytes: concat([packed, TEXT]),
      least: TEXT.length - (1 << 14),
      failed: /incorrect header check|no frame begins/,
    },
    "none at all": { bytes: TEXT, least: 0, failed: /incorrect header check|no frame begins/ },
    ...kind === "gzip" && {
      "followed by zeros": { bytes: concat([packed, new Uint8Array(100_000)]), least: TEXT.length, failed: /^$/ },
      "twice, with zeros between": {
        bytes: concat([packed, new Uint8Array(100_000), packed]),
        least: TEXT.length,
        failed: /more follows behind its end/,
      },
    },
  };
  for (const [name, { bytes, least, failed }] of Object.entries(cases)) {
    Deno.test(`decompress() gives the same at every pace, in pieces of every size: ${kind}, ${name}`, async () => {
      const first = await take(bytes, kind, { size: bytes.length, late: false });
      assert.match(first.failed, failed);
      assert.ok(first.bytes >= least, `${first.bytes} of ${TEXT.length} bytes`);
      const whole = name === "twice" ? concat([TEXT, TEXT]) : TEXT;
      if (name !== "damaged in the middle") assert.equal(first.sha256, sha256Of(whole.subarray(0, first.bytes)));
      for (const [size, late] of [[1, false], [777, true], [65_536, false], [65_536, true], [end, true]] as const) {
        assert.deepEqual(
          await take(bytes, kind, { size, late }),
          first,
          `pieces of ${size}, ${late ? "late" : "soon"}`,
        );
      }
    });
  }

  Deno.test(`decompress() of ${kind} says what reading throws, and reads no further than is asked for`, async () => {
    let read = 0, closed = false;
    const chunks = async function* () {
      try {
        for (let at = 0; at < end; at += 1000) {
          if (at > end - 2000) throw new Error("a cable");
          read += 1000;
          yield packed.subarray(at, at + 1000);
        }
      } finally {
        closed = true;
      }
    };
    for await (const _ of decompress(chunks(), kind)) break;
    assert.ok(closed && read < 70_000 && read < end - 2000, `${read} of ${end}`);
    await assert.rejects(async () => {
      for await (const _ of decompress(chunks(), kind));
    }, { message: "a cable" });
  });
}
