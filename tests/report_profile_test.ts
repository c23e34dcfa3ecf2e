import assert from "node:assert/strict";
import { ibsrCommand } from "./kernel/lab.ts";
import { goldenDirectory, testWith } from "./needs.ts";

const CASES = ["syn_churn_attacker", "allowlisted_attacker", "boundary_conditions", "legitimate_client", "fp_unknown"];

testWith(
  "golden",
  "ibsr report --profile nr-ibsr writes what the existing reporter's golden files expect",
  async () => {
    for (const name of CASES) {
      const from = `${goldenDirectory()}/nr-ibsr/${name}`, out = await Deno.makeTempDir();
      const config = JSON.parse(await Deno.readTextFile(`${from}/config.json`));
      const scenario = JSON.parse(await Deno.readTextFile(`${from}/scenario.json`));
      const flags = [
        ["--window-sec", config.window_sec],
        ["--syn-rate-threshold", config.syn_rate_threshold],
        ["--success-ratio-threshold", config.success_ratio_threshold],
        ["--block-duration-sec", config.block_duration_sec],
        ["--fp-safe-ratio", config.fp_safe_ratio],
        ["--min-samples-for-fp", config.min_samples_for_fp],
      ].filter(([, value]) => value !== undefined).flat().map(String);
      const hasAllowlist = [...Deno.readDirSync(from)].some((entry) => entry.name === "allowlist.txt");
      const [program, args] = ibsrCommand([
        ...["report", "--profile", "nr-ibsr", "--in", `${from}/snapshots`, "--out", out, ...flags],
        ...hasAllowlist ? ["--allowlist", `${from}/allowlist.txt`] : [],
      ]);
      const env = { SOURCE_DATE_EPOCH: String(scenario.generated_at ?? scenario.config?.generated_at ?? 1000) };
      const { code, stderr } = await new Deno.Command(program, { args, env, stdout: "null", stderr: "piped" }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      for (const file of ["rules.json", "evidence.csv"]) {
        const expected = await Deno.readTextFile(`${from}/expected/${file}`);
        assert.equal(await Deno.readTextFile(`${out}/${file}`), expected, `${name}/${file}`);
      }
      await Deno.remove(out, { recursive: true });
    }
  },
);
