/** Uploads to Ceph's gateway on this machine, by ibsr and by two others, in turn. */
import { existsSync } from "node:fs";
import { ibsrCommand } from "../../tests/kernel/lab.ts";
import { whatIsMissing } from "../../tests/needs.ts";
import { bytesOf, environmentOf, S3Server, segmentName } from "../../tests/s3/server.ts";
import type { Row, Section } from "./rows.ts";

const ROUNDS = 3;

export const EXPORT: Section = {
  name: "export",
  title: "An upload to a server on this machine",
  about:
    "`ibsr export s3`, `aws s3 cp --recursive` and `s3cmd put --recursive` put the same files into Ceph's gateway, " +
    "which keeps them in memory. Time from the start of the process to its end, peak resident memory of the process.",
  missing() {
    const others = ["/usr/bin/aws", "/usr/bin/s3cmd", "/usr/bin/time"].filter((path) => !existsSync(path)).join(", ");
    return whatIsMissing("s3") ?? (others || undefined);
  },
  run: measureExport,
};

/** What a process took. */
export interface Cost {
  seconds: number;
  /** Of processor time, of all of its threads. */
  processorSeconds: number;
  peakMb: number;
  /** What it wrote to standard error. */
  said: string;
}

/** Starts a command; what it took, from its start to its end. */
export async function measure(command: string, args: string[], env: Record<string, string>): Promise<Cost> {
  const output = await Deno.makeTempFile(), start = performance.now();
  const { success, stderr } = await new Deno.Command("/usr/bin/time", {
    args: ["-f", "%M %U %S", "-o", output, command, ...args],
    env,
    stdout: "null",
    stderr: "piped",
  }).output();
  const seconds = (performance.now() - start) / 1000;
  const said = new TextDecoder().decode(stderr);
  if (!success) throw new Error(`${command}: ${said}`);
  const [peakKb = 0, user = 0, system = 0] = (await Deno.readTextFile(output)).trim().split(" ").map(Number);
  await Deno.remove(output);
  return { seconds, processorSeconds: user + system, peakMb: peakKb / 1024, said };
}

async function measureExport(): Promise<Row[]> {
  const rows: Row[] = [], folder = await Deno.makeTempDir(), region = { AWS_DEFAULT_REGION: "us-east-1" };
  for (const [count, mib] of [[200, 4], [4, 256]] as const) {
    const input = `${folder}/${count}x${mib}`,
      costs: { ibsr: Cost[]; aws: Cost[]; s3cmd: Cost[] } = {
        ibsr: [],
        aws: [],
        s3cmd: [],
      };
    await Deno.mkdir(input);
    for (let n = 0; n < count; n++) await Deno.writeFile(`${input}/${segmentName(n)}.zst`, bytesOf(mib << 20, n + 1));
    for (let round = 0; round < ROUNDS; round++) {
      await using server = await S3Server.start("radosgw");
      const { endpoint, host, accessKey, secretKey } = server, env = { ...environmentOf(server), ...region };
      const [ibsr, ibsrArgs] = ibsrCommand(["export", "s3", "--input", input, "--endpoint", endpoint]);
      const to = { ibsr: await server.makeBucket("ibsr"), aws: await server.makeBucket("aws") };
      costs.ibsr.push(await measure(ibsr, [...ibsrArgs, "--bucket", to.ibsr, "-v"], env));
      const copy = ["--endpoint-url", endpoint, "s3", "cp", "--quiet", "--recursive", input, `s3://${to.aws}`];
      costs.aws.push(await measure("/usr/bin/aws", copy, env));
      costs.s3cmd.push(
        await measure("s3cmd", [
          ...["--config=/dev/null", "--no-ssl", `--host=${host}`, `--host-bucket=${host}`, "--no-progress"],
          ...[`--access_key=${accessKey}`, `--secret_key=${secretKey}`],
          ...["put", "--recursive", `${input}/`, `s3://${await server.makeBucket("s3cmd")}`],
        ], env),
      );
      await Deno.remove(`${input}/export.jsonl`);
    }
    for (const [other, its] of [["aws-cli", costs.aws], ["s3cmd", costs.s3cmd]] as const) {
      rows.push({
        what: `${count} files of ${mib} MiB`,
        unit: "s",
        ours: costs.ibsr.map((cost) => cost.seconds),
        comparedTo: { what: other, theirs: its.map((cost) => cost.seconds) },
      }, {
        what: `${count} files of ${mib} MiB, peak RSS`,
        unit: "MB",
        ours: costs.ibsr.map((cost) => cost.peakMb),
        comparedTo: { what: other, theirs: its.map((cost) => cost.peakMb) },
      });
    }
    await Deno.remove(input, { recursive: true });
  }
  await Deno.remove(folder, { recursive: true });
  return rows;
}
