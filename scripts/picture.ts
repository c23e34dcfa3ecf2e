/**
 * `deno task picture`: makes docs/report.png, a picture of a report as a browser shows it.
 *
 * The report is `ibsr report` of the sample week (scripts/sample.ts), opened by Chromium; the picture is its top.
 */
import { startBrowser } from "../tests/browser/chromium.ts";
import { ibsrCommand, run } from "../tests/kernel/lab.ts";

const PICTURE = new URL("../docs/report.png", import.meta.url), VIEW = { width: 1100, height: 1160 };

if (import.meta.main) {
  const folder = await Deno.makeTempDir({ prefix: "ibsr-picture-" });
  try {
    await run(new URL("sample", import.meta.url).pathname, [`${folder}/spool`]);
    await run(...ibsrCommand(["report", "--in", `${folder}/spool`, "--out", `${folder}/report`]));
    await using browser = await startBrowser();
    const page = await browser.open(`file://${folder}/report/report.html`, VIEW);
    const bytes = await page.screenshot();
    await Deno.writeFile(PICTURE, bytes);
    console.log(`${PICTURE.pathname}: ${(bytes.length / 1000).toFixed(0)} kB`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
