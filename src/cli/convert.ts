/**
 * `ibsr convert`: files in, a folder a stream out.
 */
import { type Converter, createConverter, type LeftOut, streamOf } from "../convert.ts";
import { EXIT, IbsrError, reason } from "../errors.ts";
import { fileError, writeAll } from "../files.ts";
import { listInputs } from "../input.ts";
import { log } from "../log.ts";
import { readSnapshots } from "../snapshot.ts";
import { formatNumberOf } from "../words.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import type { CONVERT_OPTIONS } from "./tables/convert.ts";

/** `ibsr convert`: returns the exit code. */
export async function runConvert(
  values: Values<typeof CONVERT_OPTIONS>,
  { operands, print }: Context,
): Promise<number> {
  if (values.out === undefined || operands.length === 0) {
    throw new IbsrError("usage", `Cannot convert: ${operands.length === 0 ? "no path" : "no --out"} was given`, {
      hint: "ibsr convert --to 5 --out DIR PATH…",
    });
  }
  const done = await convertFiles(operands, values.out);
  for (const { name, lines, leftOut } of done.streams) {
    print(`${values.out}/${name}: ${formatNumberOf(lines, "line")}\n`);
    if (leftOut.ipv6Buckets) log("warning", `${name}: ${leftOut.ipv6Buckets} IPv6 rows left out: version 5 has none`);
    if (leftOut.saturated) {
      log("warning", `${name}: ${leftOut.saturated} counters stay at 4294967295, version 5's limit`);
    }
  }
  for (const error of done.errors) log("error", error);
  return done.errors.length > 0 ? EXIT.data : 0;
}

/** What was written, and what could not be read. */
interface Conversion {
  streams: { name: string; lines: number; leftOut: LeftOut }[];
  errors: string[];
}

/**
 * Converts every snapshot below `paths` to version 5, into `out/<stream>/snapshot_YYYYMMDDHH.jsonl`.
 *
 * @throws {IbsrError} `data`, if a path can't be read; `storage`, if the output can't be written.
 */
async function convertFiles(paths: readonly string[], out: string): Promise<Conversion> {
  const streams = new Map<string, { converter: Converter; lines: number; file?: Deno.FsFile; hour?: string }>();
  const errors: string[] = [];
  const encoder = new TextEncoder();
  for (const input of listInputs(paths)) {
    try {
      for await (const line of readSnapshots(input.read(), input.path)) {
        if ("error" in line) {
          errors.push(line.error.message);
          continue;
        }
        const { snapshot } = line, name = streamOf(snapshot);
        let stream = streams.get(name);
        if (!stream) streams.set(name, stream = { converter: createConverter(), lines: 0 });
        const text = stream.converter.convert(snapshot) + "\n";
        try {
          const hour = new Date(snapshot.ts_unix_sec * 1000).toISOString().slice(0, 13).replaceAll(/[-T]/g, "");
          if (hour !== stream.hour) {
            stream.file?.close();
            Deno.mkdirSync(`${out}/${name}`, { recursive: true });
            const path = `${out}/${name}/snapshot_${hour}.jsonl`;
            stream.file = Deno.openSync(path, { write: true, create: true, truncate: stream.hour === undefined });
            stream.file.seekSync(0, Deno.SeekMode.End);
            stream.hour = hour;
          }
          const bytes = encoder.encode(text);
          writeAll(stream.file!, bytes);
        } catch (cause) {
          throw fileError(`write below ${out}`, cause, { kind: "storage" });
        }
        stream.lines++;
      }
    } catch (cause) {
      if (cause instanceof IbsrError && cause.kind === "storage") throw cause;
      errors.push(`Cannot read ${input.path}: ${reason(cause)}`);
    }
  }
  for (const { file } of streams.values()) file?.close();
  return {
    streams: [...streams].map(([name, { lines, converter }]) => ({ name, lines, leftOut: converter.leftOut })),
    errors,
  };
}
