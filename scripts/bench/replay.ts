/** How fast captures are counted, by the program and by its model. */
import { churningFrames, writePcap } from "../../tests/kernel/frames.ts";
import { ibsrCommand } from "../../tests/kernel/lab.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import type { Row, Section } from "./rows.ts";
import { runCommand } from "../run.ts";

const ROUNDS = 5, FRAMES = 500_000, PORT = 80;

export const REPLAY: Section = {
  name: "replay",
  title: "A capture",
  about: `\`ibsr replay\` of a capture of ${FRAMES.toLocaleString("en-US")} packets of as many sources, by the ` +
    "kernel program and by its model, from the start of the process to its end. Compared to tcpdump, which reads it, looks " +
    "for the port, and writes the packets into nothing.",
  missing: () => whatIsMissing("kernel"),
  async run() {
    const folder = await Deno.makeTempDir({ prefix: "ibsr-bench-" }), capture = `${folder}/capture.pcap`;
    try {
      await writePcap(capture, churningFrames(FRAMES, PORT));
      const rates = { kernel: [] as number[], model: [] as number[], tcpdump: [] as number[] };
      const rate = async (command: string, args: string[]) => {
        const start = performance.now();
        await runCommand(command, args);
        return FRAMES / (performance.now() - start) * 1000;
      };
      for (let round = 0; round < ROUNDS; round++) {
        for (const engine of ["kernel", "model"] as const) {
          const out = `${folder}/out`;
          const args = ["replay", "-o", out, "--engine", engine, "-p", String(PORT), "--map-size", String(2 * FRAMES)];
          rates[engine].push(await rate(...ibsrCommand([...args, capture])));
          await Deno.remove(out, { recursive: true });
        }
        // Another user than root would be given /dev/null.
        rates.tcpdump.push(
          await rate("tcpdump", ["-Z", "root", "-nr", capture, "-w", "/dev/null", `tcp dst port ${PORT}`]),
        );
      }
      return (["kernel", "model"] as const).map((engine): Row => ({
        ...{ what: `by the ${engine}`, unit: "packets/s", ours: rates[engine] },
        comparedTo: { what: "tcpdump -r … -w", theirs: rates.tcpdump },
      }));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};
