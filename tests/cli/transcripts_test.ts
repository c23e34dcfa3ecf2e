/**
 * The transcripts beside this file, `*.txt` (tests/transcript.ts says how they are written), each run in a folder of
 * its own.
 */
import { parseTranscript, prepareFolder, runSteps } from "../transcript.ts";

for (const entry of [...Deno.readDirSync(new URL(".", import.meta.url))].sort((a, b) => a.name < b.name ? -1 : 1)) {
  if (!entry.name.endsWith(".txt")) continue;
  Deno.test(`ibsr answers as tests/cli/${entry.name} says`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await prepareFolder(folder);
      await runSteps(parseTranscript(await Deno.readTextFile(new URL(entry.name, import.meta.url))), { folder });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
