/** report.html in a real browser: what it requests, what it says, how it looks and works. */
import assert from "node:assert/strict";
import { renderHtml } from "../../src/report/html.ts";
import type { Assessment } from "../../src/report/summary.ts";
import { testWith } from "../needs.ts";
import { empty, fleet, HOSTILE, hostile, insufficient, notReady, ready } from "../report/fixture.ts";
import { type Page, startBrowser, type View } from "./chromium.ts";

const SITUATIONS = { ready, notReady, insufficient, fleet, empty, hostile };
const VIEWS: View[] = [
  { width: 1280, height: 800, scheme: "light" },
  { width: 1280, height: 800, scheme: "dark" },
  { width: 390, height: 844, scheme: "light" },
  { width: 390, height: 844, scheme: "dark" },
];

type Open = (assessment: Assessment, view: View) => Promise<Page & { url: string }>;

/** Runs `look` with pages opened from files, as an operator would open them. */
async function inBrowser(look: (open: Open) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await using browser = await startBrowser();
    let pages = 0;
    await look(async (assessment, view) => {
      const url = `file://${folder}/${pages++}.html`;
      await Deno.writeTextFile(new URL(url), [...renderHtml(assessment)].join(""));
      return { url, ...await browser.open(url, view) };
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

testWith(
  "browser",
  "report.html requests nothing, says nothing to the console and fits 1280 and 390 px, light and dark",
  () =>
    inBrowser(async (open) => {
      // Where the pictures are wanted: IBSR_SCREENSHOTS names a folder.
      const pictures = Deno.env.get("IBSR_SCREENSHOTS");
      for (const [name, make] of Object.entries(SITUATIONS)) {
        for (const view of VIEWS) {
          const page = await open(make(), view), what = `${name} ${view.width} ${view.scheme}`;
          assert.deepEqual(page.requests, [page.url], what);
          assert.deepEqual(page.messages, [], what);
          assert.deepEqual(page.dialogs, [], what);
          const width = await page.evaluate<number>("document.documentElement.scrollWidth");
          assert.equal(width, view.width, `${what}: it is ${width} px wide`);
          const background = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
          assert.equal(Number(/\d+/.exec(background)![0]) < 128, view.scheme === "dark", `${what}: ${background}`);
          if (pictures) {
            const path = `${pictures}/${name}-${view.width}-${view.scheme}`;
            await Deno.writeFile(`${path}.png`, await page.screenshot());
            await Deno.writeFile(`${path}-whole.png`, await page.screenshot(true));
          }
          await page.close();
        }
      }
    }),
);

testWith(
  "browser",
  "report.html on a phone has tables of lines, not of words, with a shade where more is to the right",
  () =>
    inBrowser(async (open) => {
      for (const make of [ready, notReady, fleet]) {
        const page = await open(make(), { width: 390, height: 844 });
        const tables = await page.evaluate<{ caption: string; lines: number; scrolls: boolean; shades: number }[]>(`
        [...document.querySelectorAll(".table")].filter((box) => box.clientHeight > 0).map((box) => ({
          caption: box.ariaLabel,
          lines: Math.max(...[...box.querySelectorAll("th,td")].map((cell) => cell.clientHeight)) / 18,
          scrolls: box.scrollWidth > box.clientWidth,
          shades: getComputedStyle(box).backgroundAttachment.split(", ").filter((how) => how === "scroll").length,
        }))`);
        assert.ok(tables.some(({ scrolls }) => scrolls));
        for (const { caption, lines, shades } of tables) {
          assert.ok(lines < 9, `${caption}: a cell of ${lines} lines`);
          assert.equal(shades, 2, caption);
        }
        // No line ends between a number and its unit.
        assert.doesNotMatch(
          await page.evaluate<string>("document.querySelector('header').innerText"),
          /\d (%|s|MiB)(?!\w)/,
        );
        await page.close();
      }
    }),
);

testWith("browser", "A page that requests, logs, asks and overflows is seen to do so", async () => {
  const folder = await Deno.makeTempDir(), url = `file://${folder}/bad.html`;
  const bad = `<img src="beside.png"><p style="width:2000px">wide</p><script>console.log("x"); alert(1)</script>`;
  await Deno.writeTextFile(new URL(url), bad);
  await using browser = await startBrowser();
  const page = await browser.open(url, { width: 390 });
  assert.deepEqual(page.requests, [url, `file://${folder}/beside.png`]);
  assert.ok(page.messages.length >= 1);
  assert.equal(page.dialogs.length, 1);
  assert.ok(await page.evaluate<number>("document.documentElement.scrollWidth") > 390);
  await Deno.remove(folder, { recursive: true });
});

testWith(
  "browser",
  "report.html shows hostile names as text and makes no element or attribute of them",
  () =>
    inBrowser(async (open) => {
      const plain = await open(notReady(), { width: 1280 }), page = await open(hostile(), { width: 1280 });
      const tags = `[...new Set([...document.querySelectorAll("*")].map((e) => e.localName))].sort().join()`;
      const strangers = (await page.evaluate<string>(tags)).split(",").filter((tag) => !ALLOWED.has(tag));
      assert.deepEqual(strangers, []);
      assert.ok((await plain.evaluate<string>(tags)).split(",").every((tag) => ALLOWED.has(tag)));
      assert.equal(await page.evaluate(`document.querySelectorAll("script").length`), 1);
      assert.equal(
        await page.evaluate(
          `[...document.querySelectorAll("*")].flatMap((e) => [...e.attributes]).filter((a) => /^on|^style$|^src$|^href$/.test(a.name)).length`,
        ),
        0,
      );
      const text = await page.evaluate<string>("document.body.textContent");
      for (const name of HOSTILE.slice(0, 3)) assert.ok(text.includes(name), name);
      assert.ok(text.includes("\\u{202e}gnp.exe\\u{2066}\\u{200b}\\u{0}\\u{1b}[31m"));
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069\u200b\u0000\u001b]/);
      assert.doesNotMatch(text, /x{1100}/, "names of 10,000 characters are shortened");
    }),
);

/** Everything a page is made of. */
const ALLOWED = new Set(
  ("a b body button caption circle dd defs desc details div dl dt figcaption figure footer g h1 h2 h3 head header html " +
    "input label li line main meta p path pattern polyline rect script section small span style summary svg table tbody td text " +
    "th thead title tr tspan ul").split(" "),
);

testWith(
  "browser",
  "report.html runs no script and loads no style, image or frame that is not its own",
  () =>
    inBrowser(async (open) => {
      const page = await open(ready(), { width: 1280 });
      const tried = await page.evaluate<string[]>(`(async () => {
      const refused = [];
      addEventListener("securitypolicyviolation", (e) => refused.push(e.effectiveDirective));
      document.body.insertAdjacentHTML("beforeend", '<img src="x.png"><p style="color:red" onclick="1">x</p><iframe src="x.html"></iframe>');
      const script = document.createElement("script"); script.textContent = "window.ran = true"; document.body.append(script);
      await fetch("x.json").catch(() => {});
      await new Promise((done) => setTimeout(done, 300));
      return [...new Set(refused)].sort().concat(String(window.ran));
    })()`);
      assert.deepEqual(tried, [
        "connect-src",
        "frame-src",
        "img-src",
        "script-src-attr",
        "script-src-elem",
        "style-src-attr",
        "undefined",
      ]);
    }),
);

testWith(
  "browser",
  "report.html sorts its source table by number and by text, both ways, and filters it",
  () =>
    inBrowser(async (open) => {
      const page = await open(notReady(), { width: 1280 });
      const column = (i: number) =>
        page.evaluate<string[]>(
          `[...document.querySelectorAll("#sources tbody tr")].map((r) => r.cells[${i}].dataset.v ?? r.cells[${i}].textContent)`,
        );
      const press = (i: number) => page.evaluate(`document.querySelectorAll("#sources th button")[${i}].click()`);
      const heads = await page.evaluate<string[]>(
        `[...document.querySelectorAll("#sources thead th")].map((h) => h.textContent)`,
      );
      const rows = notReady().summary.top_sources.length;
      for (
        const [name, numeric] of [["Source", false], ["Port", true], ["SYN blocked", true], ["Peak", true], [
          "Looks",
          false,
        ]] as const
      ) {
        const i = heads.indexOf(name);
        assert.ok(i >= 0, `${name} in ${heads}`);
        const before = await column(i);
        assert.equal(before.length, rows);
        const ordered = numeric
          ? before.toSorted((a, b) => Number(b) - Number(a))
          : before.toSorted((a, b) => a.localeCompare(b));
        await press(i);
        assert.deepEqual(await column(i), ordered, name);
        await press(i);
        assert.deepEqual(
          await column(i),
          numeric ? ordered.toReversed() : ordered.toSorted((a, b) => b.localeCompare(a)),
          `${name}, again`,
        );
        assert.equal(await page.evaluate(`document.querySelectorAll("#sources th[aria-sort]").length`), 1);
      }
      const shown = () =>
        page.evaluate<number>(`[...document.querySelectorAll("#sources tbody tr")].filter((r) => !r.hidden).length`);
      const type = (text: string) =>
        page.evaluate(
          `(() => { const i = document.querySelector(".filter input"); i.value = ${
            JSON.stringify(text)
          }; i.dispatchEvent(new Event("input")); })()`,
        );
      await type("2001:DB8");
      const six = notReady().summary.top_sources.filter((row) => row.source.startsWith("2001:db8")).length;
      assert.equal(await shown(), six);
      assert.equal(
        await page.evaluate(`document.querySelector(".filter [role=status]").textContent`),
        `${six} of ${rows}`,
      );
      await type("");
      assert.equal(await shown(), rows);
    }),
);

testWith("browser", "report.html says the same without a script, and on paper", () =>
  inBrowser(async (open) => {
    const text = `document.body.innerText.replaceAll(/\\s+/g, " ")`;
    const scripted = await open(notReady(), { width: 1280 }),
      still = await open(notReady(), { width: 1280, scriptless: true });
    const without = await still.evaluate<string>(text);
    assert.equal(without, (await scripted.evaluate<string>(text)).replace("Show only rows with ", ""));
    assert.equal(await still.evaluate(`document.querySelectorAll("button, input").length`), 0);
    const paper = await open(notReady(), { width: 1000, scheme: "dark", print: true });
    const [background, cut] = await paper.evaluate<[string, number]>(
      `[getComputedStyle(document.body).backgroundColor, [...document.querySelectorAll(".table")].filter((t) => t.scrollHeight > t.clientHeight + 1).length]`,
    );
    assert.equal(background, "rgb(255, 255, 255)");
    assert.equal(cut, 0, "tables that are cut off");
    const colours = `["paper", "ink", "traffic", "would", "harm", "unseen"].map((name) =>
      getComputedStyle(document.documentElement).getPropertyValue("--" + name))`;
    const light = await open(notReady(), { width: 1000, scheme: "light", print: true });
    assert.deepEqual(await paper.evaluate(colours), await light.evaluate(colours));
  }));

testWith(
  "browser",
  "report.html has one first heading, names for its charts and tables, and texts that contrast with the paper",
  () =>
    inBrowser(async (open) => {
      for (const scheme of ["light", "dark"] as const) {
        const page = await open(notReady(), { width: 1280, scheme });
        const found = await page.evaluate<Record<string, unknown>>(`(${inspect})()`);
        assert.deepEqual(found, { first: 1, skipped: [], unnamed: 0, uncaptioned: 0, dim: [], duplicates: [] }, scheme);
      }
    }),
);

/** Runs in the page. Contrast as WCAG 2.2 has it, 4.5 for text. */
const inspect = `() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const levels = all("h1, h2, h3").map((h) => Number(h.localName[1]));
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => parse(color).slice(0, 3).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = light(getComputedStyle(document.body).backgroundColor), dim = new Set();
  for (const e of all("body *")) {
    if (e.checkVisibility && !e.checkVisibility()) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    if (e.closest("script, style, title, desc")) continue;
    const style = getComputedStyle(e), ink = light(e.closest("svg") ? style.fill : style.color);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) dim.add(e.localName + "." + e.className + " " + ratio.toFixed(2));
  }
  const ids = all("[id]").map((e) => e.id);
  return {
    first: all("h1").length,
    skipped: levels.filter((level, i) => i > 0 && level > levels[i - 1] + 1),
    unnamed: all("svg:not([aria-hidden])").filter((s) => s.getAttribute("role") !== "img" ||
      !s.getAttribute("aria-labelledby").split(" ").every((id) => document.getElementById(id)?.textContent)).length,
    uncaptioned: all("table").filter((t) => !t.caption?.textContent).length,
    dim: [...dim],
    duplicates: ids.filter((id, i) => ids.indexOf(id) !== i),
  };
}`;
